"""Between approval and execution a cluster moves on: what was approved is what runs, or nothing does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.runners.memory import MemoryControls
from pdsim.faults import Garbage, HalfBody, HtmlBody, WrongCluster
from schemas import events as e
from schemas.controls import Controls
from tests.spec.test_execution_recovery import EVICT, approved
from tests.spec.world import ACTING_POLICY, DRY_RUN_POLICY, SMALL, TRUST, World, live


def goes_down(world: World) -> None:
    world.pd.kill_store(4)


def has_another_address(world: World) -> None:
    world.pd.stores[4].address = "10.0.9.9:20160"


@pytest.mark.parametrize(
    ("moves", "wait_s", "codes"),
    [
        (goes_down, 40, {"drifted", "target_not_up"}),
        (goes_down, 2000, {"drifted", "target_not_up"}),
        (has_another_address, 1, {"drifted"}),
    ],
    ids=["disconnected", "down", "another-address"],
)
def test_a_cluster_that_moved_on_since_the_approval_is_left_alone(
    moves: Callable[[World], None], wait_s: float, codes: set[str]
) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.freeze()
        world.approve(ask, exp=world.now_ms() + 6_000_000)
        await world.until(lambda: world.one(e.ExecutionBlocked))
        moves(world)
        await world.passes(wait_s)
        world.lift()

        closed = await world.closed()
        if wait_s < 2000:
            concluded = await world.concluded()
            assert (closed.code, concluded.outcome) == ("not_started", "not_started")
            assert concluded.code in codes
        assert world.writes() == []

    live(spec, **SMALL)


def test_more_leaders_than_were_approved_are_not_moved() -> None:
    """A count is no premise, but the approver saw a bound."""

    async def spec(world: World) -> None:
        limits = {**ACTING_POLICY["limits"], "leaders_share_max": 1.0}
        ask = await world.asks("evict_store_leaders", {**ACTING_POLICY, "limits": limits}, **EVICT)
        for region in list(world.pd.truth):
            if region.peer_on(4) is not None:
                world.pd.truth.put(replace(region, leader=4))
                world.pd.cache.put(replace(region, leader=4))
        assert world.pd.truth.leader_count(4) > ask.plan.bounds.leaders_max
        world.approve(ask)

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", "bound_exceeded")
        assert world.writes() == []

    live(spec, **{**SMALL, "regions": 120})


def test_a_young_pd_leader_is_waited_for_and_then_the_plan_is_made() -> None:
    """Its counts are incomplete (tikv/pd#3406): deferred, asked again, validated."""

    async def spec(world: World) -> None:
        world.adopt({**ACTING_POLICY, "limits": {**ACTING_POLICY["limits"], "pd_leader_age_s_min": 60}})
        world.start("propose", *TRUST)
        await world.passes(1)
        world.proposes("evict_store_leaders", **EVICT)

        deferred = await world.until(lambda: world.one(e.ProposalDeferred))
        assert [o.code for o in deferred.objections] == ["pd_leader_young"]
        ask = await world.until(lambda: world.one(e.ApprovalAsked), 300)
        assert (ask.remediation_id, world.one(e.ProposalAskedAgain).attempt) == ("R-1", 2)  # type: ignore[union-attr]

    live(spec, **SMALL)


def test_waiting_has_an_end() -> None:
    async def spec(world: World) -> None:
        world.adopt({**ACTING_POLICY, "limits": {**ACTING_POLICY["limits"], "pd_leader_age_s_min": 80_000}})
        world.start("propose", *TRUST)
        await world.passes(1)
        world.proposes("evict_store_leaders", **EVICT)

        closed = await world.closed(4000)
        assert closed.code == "waited_too_long"
        assert [o.code for o in closed.objections] == ["pd_leader_young"]

    live(spec, **SMALL)


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (HtmlBody(200), {"pd_malformed"}),
        (HtmlBody(502), {"pd_error"}),
        (HalfBody(), {"pd_malformed"}),
        (Garbage(500, b'"[PD:core:ErrStoreNotFound]store 4 not found"\n', "application/json"), {"pd_error"}),
        (WrongCluster(99), {"pd_wrong_cluster"}),
    ],
    ids=["html-200", "html-502", "half-a-json", "500-with-a-refusal", "another-cluster"],
)
def test_a_pd_that_answers_nonsense_before_the_first_step_means_nothing_is_done(fault: object, codes: set[str]) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.faults.add(fault, method="GET", times=None)  # type: ignore[arg-type]
        world.approve(ask)

        concluded = await world.concluded()
        assert concluded.outcome == "not_started"
        assert concluded.code in codes, concluded.code
        assert world.writes() == []

    live(spec, **SMALL)


def test_an_endpoint_of_another_cluster_is_never_written_to() -> None:
    """The pinned id is asked of the very endpoint, just before each call."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        while not world.found(e.StepIntended):
            await world.log.changed()
        world.faults.add(WrongCluster(99), method="GET", times=None)

        await world.until(lambda: world.one(e.StepTaken))
        world.faults.clear()
        taken = world.one(e.StepTaken)
        assert taken is not None
        assert (taken.answer, taken.code) in {("never_sent", "wrong_cluster"), ("accepted", "")}
        if taken.answer == "never_sent":
            assert world.applied() == []

    live(spec, **SMALL)


def test_a_rehearsal_goes_all_the_way_and_writes_nothing() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", DRY_RUN_POLICY, **EVICT)
        assert ask.mode == "dry_run"
        world.approve(ask)

        assert (await world.closed()).code == "rehearsed"
        assert [t.answer for t in world.found(e.StepTaken)] == ["rehearsed"]
        assert world.writes() == []

    live(spec, **SMALL)


def test_a_rehearsal_that_is_killed_is_finished_as_one() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("evict_store_leaders", DRY_RUN_POLICY, **EVICT))
        await world.kill_after("execute", e.StepIntended)
        world.start("execute")

        assert (await world.closed()).code == "rehearsed"
        assert world.writes() == []

    live(spec, **SMALL)


class Counted(MemoryControls):
    """Controls that count how often they are read."""

    reads = 0

    async def read(self) -> Controls:
        self.reads += 1
        return await super().read()


class CountedWorld(World):
    def __init__(self, **world: Any) -> None:
        super().__init__(**world)
        self.controls: Counted = Counted(self.log)


def test_a_lane_that_waits_for_the_next_look_asks_nobody_meanwhile() -> None:
    """Seen in the simulator: between the end of the settling time and the next look the controls were read every
    millisecond, from a real broker as often as it answers."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.closed()

    world = live(spec, CountedWorld, **{**SMALL, "poll_s": 7.0})
    assert isinstance(world, CountedWorld)
    assert world.controls.reads < 200
