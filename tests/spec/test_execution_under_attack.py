"""What a reviewer who wanted to break it found: each sequence once more, and how it ends now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bootstrap.roles import Hands, rules
from console.journal import Journal
from executors.execute import Execute
from executors.protocol import Cluster as Lane
from executors.protocol import Rules, claim_or_refuse
from infra.runners.memory import MemoryControls
from pdsim.faults import DroppedBefore, Garbage
from schemas import events as e
from schemas.controls import Controls, evolve
from schemas.facts import Facts, FactsReader, Look
from schemas.wire import decode
from streams.pipeline import processor
from tests.spec.test_execution_recovery import ADD, EVICT, REMOVE, approved, nothing_is_left_behind
from tests.spec.test_the_main_job import slow_store
from tests.spec.world import ACTING_POLICY, CLUSTER, SMALL, OtherHands, SlowToSayItsId, World, live


def test_a_request_that_takes_effect_after_it_was_given_up_is_taken_back() -> None:
    async def spec(world: World) -> None:
        world.adopt({**ACTING_POLICY, "limits": {**ACTING_POLICY["limits"], "settling_s": 120}})
        world.faults.add(DroppedBefore(), method="POST")
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.freeze()
        probed = await world.until(lambda: world.one(e.StepProbed))
        assert probed.finding == "not_started"
        world.pd.schedulers.evict(4)  # it sat in a follower's buffer

        await world.closed()
        assert world.applied() == [REMOVE]
        assert world.pd.schedulers.evicted == {}

    live(spec, **SMALL)


def test_a_freeze_that_comes_while_pd_is_asked_for_its_id_stops_the_step() -> None:
    class Slow(OtherHands):
        def changed(self, made: Hands) -> dict[str, Any]:
            return {"writer": lambda c, may: SlowToSayItsId(made.writer(c, may), self.freeze)}

    async def spec(world: World) -> None:
        await approved(world)
        taken = await world.until(lambda: world.one(e.StepTaken))
        assert (taken.answer, taken.code) == ("never_sent", "frozen")
        await world.closed()
        assert world.applied() == []

    live(spec, kind=Slow, **SMALL)


class SlowControls(MemoryControls):
    """What the lane of `execute` reads of the controls takes as long as a person's word needs to reach the claim."""

    def __init__(self, world: World, since: type[e.Event], says: Callable[[], None]) -> None:
        super().__init__(world.log)
        self.world, self.since, self.says = world, since, says

    async def read(self) -> Controls:
        held = await super().read()
        owners = self.world.owners.get("execute", [])
        by_a_lane = any(asyncio.current_task() in owner._lanes.values() for owner in owners)
        if by_a_lane and self.world.found(self.since) and not self.world.found(e.ExecutionAborting):
            self.says()
            while not self.world.found(e.ExecutionAborting):
                await self.log.changed()
        return held


ORDERS = [
    pytest.param(kind, code, id=code) for kind, code in ((e.CancelAsked, "cancelled"), (e.UndoAsked, "undo_asked"))
]


async def called_off(world: World, since: type[e.Event], order: type[e.CancelAsked | e.UndoAsked]) -> None:
    """Approved; and a person orders this while the controls are read for the first time since."""
    ask = await world.asks("evict_store_leaders", **EVICT)
    world.controls = SlowControls(world, since, lambda: world.orders(order, ask))
    await world.kill("execute")
    world.start("execute")
    world.approve(ask)
    await world.closed()


@pytest.mark.parametrize(("order", "code"), ORDERS)
def test_an_order_that_comes_while_the_controls_are_read_before_the_intent_leaves_nothing_intended(
    order: type[e.CancelAsked | e.UndoAsked], code: str
) -> None:
    async def spec(world: World) -> None:
        await called_off(world, e.Looked, order)

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", code)
        assert world.found(e.StepIntended) == []
        assert world.writes() == []

    live(spec, **SMALL)


@pytest.mark.parametrize(("order", "code"), ORDERS)
def test_an_order_that_comes_while_the_controls_are_read_after_the_intent_is_a_step_that_was_never_sent(
    order: type[e.CancelAsked | e.UndoAsked], code: str
) -> None:
    async def spec(world: World) -> None:
        await called_off(world, e.StepIntended, order)

        assert [(t.answer, t.code) for t in world.found(e.StepTaken)] == [("never_sent", "called_off")]
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", code)
        assert world.writes() == []

    live(spec, **SMALL)


class OneSlowRead(MemoryControls):
    """The first read of the controls by the lane of `execute` after it has looked takes so long."""

    def __init__(self, world: World, takes_s: float) -> None:
        super().__init__(world.log)
        self.world, self.takes_s = world, takes_s

    async def read(self) -> Controls:
        held = await super().read()
        owners = self.world.owners.get("execute", [])
        by_a_lane = any(asyncio.current_task() in owner._lanes.values() for owner in owners)
        if by_a_lane and self.takes_s and self.world.found(e.Looked):
            takes_s, self.takes_s = self.takes_s, 0.0
            await self.world.passes(takes_s)
        return held


@pytest.mark.parametrize(("takes_s", "looks", "code"), [(900, 1, "expired"), (60, 2, "succeeded")])
def test_time_that_passes_between_the_look_and_the_first_step_is_seen(takes_s: int, looks: int, code: str) -> None:
    """An approval that has expired meanwhile is not used (seed 500873 of the simulator), nor is an old look."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.controls = OneSlowRead(world, takes_s)
        await world.kill("execute")
        world.start("execute")
        world.approve(ask)

        await world.closed(within_s=2000)
        assert (await world.concluded()).code == code
        assert len(world.found(e.Looked)) == looks
        assert bool(world.found(e.StepIntended)) == (code == "succeeded")

    live(spec, **SMALL)


def test_a_step_that_a_kill_cut_off_is_not_sent_after_its_approval_has_expired() -> None:
    async def spec(world: World) -> None:
        killed = asyncio.ensure_future(world.kill_after("execute", e.StepIntended))
        await approved(world)
        await killed
        await world.passes(1500)
        world.start("execute")

        assert (await world.closed()).code in ("not_started", "failed_without_effect")
        assert world.applied() == []

    live(spec, **SMALL)


def test_a_tier_that_the_plan_was_not_judged_as_is_refused_by_the_executor() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        order = await world.until(lambda: world.one(e.ExecutionAuthorized))
        forged = order.model_copy(update={"tier": "LOW", "rule": "auto", "needed": 0, "approvals": ()})
        execute: Any = rules(processor("execute"), world.settings, world.hands())
        assert isinstance(execute, Execute)
        own: Rules = execute.rules

        answer = claim_or_refuse(
            Lane("prod-eu-7"), forged, world.now_ms(), world.now_ms(), world.controls.current(), own
        )

        assert isinstance(answer, e.ClaimRefused)
        assert answer.code == "wrong_tier"

    live(spec, **SMALL)


def test_a_lift_takes_back_one_stop_and_leaves_what_somebody_else_has_said() -> None:
    held = Controls(live=True, read_once=True)
    said = [
        e.Halted(cluster_id="*", by="anna", reason="t"),
        e.Frozen(cluster_id="*", by="bert", reason="t"),
        e.Lifted(cluster_id="*", by="anna", reason="t", kind="halt"),
    ]
    for offset, event in enumerate(said):
        held = evolve(held, event, offset, offset)
    assert held.refuses_undo("prod") is None
    assert held.refuses_forward("prod") == ("frozen", "freeze by bert: t")


def test_nobody_who_has_never_read_the_controls_writes_even_an_undo() -> None:
    refusal = Controls().refuses_undo("prod")
    assert refusal is not None
    assert refusal[0] == "controls_never_read"


class FailsOnce:
    """A reader with a bug that shows once."""

    def __init__(self, inner: FactsReader) -> None:
        self.inner, self.looks = inner, 0

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        self.looks += 1
        if self.looks == 3:
            raise ValueError("a bug")
        return await self.inner.facts(cluster_id, look)


def test_a_lane_that_failed_is_taken_up_again_and_pays_what_it_owes() -> None:
    class Buggy(OtherHands):
        def changed(self, made: Hands) -> dict[str, Any]:
            return {"reader": FailsOnce(made.reader)}

    async def spec(world: World) -> None:
        world.loop.set_exception_handler(lambda loop, context: None)
        await approved(world)
        assert (await world.closed()).code == "succeeded"
        assert world.applied() == [ADD, REMOVE]
        nothing_is_left_behind(world)

    live(spec, kind=Buggy, **SMALL)


def read_by_the_console(world: World) -> Journal:
    journal = Journal(world.log.partitions, caught_up=True)
    for held in world.log.records.values():
        for raw in held:
            journal.take(raw)
    return journal


def test_an_undo_that_pd_refuses_three_times_is_said_to_be_owed_wherever_people_look() -> None:
    async def spec(world: World) -> None:
        no = Garbage(400, b'{"code":"input","msg":"no"}', "application/json; charset=UTF-8")
        world.faults.add(no, method="DELETE", times=None)
        await slow_store(world)
        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        world.approve(ask)

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("unknown", "undo_refused")
        assert concluded.owed == ask.plan.changes
        assert [t.answer for t in world.found(e.StepTaken)] == ["accepted", "refused", "refused", "refused"]
        await world.until(lambda: world.one(e.ClusterQuarantined))
        assert world.one(e.RemediationClosed) is None

        by_hand = "remove_evict_leader(store_id=4)"
        ticket = await world.until(lambda: t if (t := world.one(e.TicketWritten)) and "UNKNOWN" in t.status else None)
        said = {line.label: line.text for line in ticket.lines}
        assert ticket.tier == "critical"
        assert "undo_refused" in said["Outcome"]
        assert said["Undo"] == f"OWED: {REMOVE}"
        assert "undo by hand: pd-ctl scheduler remove evict-leader-scheduler-4" in said["For you"]
        (waits,) = read_by_the_console(world).waiting(world.now_ms())
        assert (waits.id, waits.verbs) == (ask.remediation_id, ("resolve",))
        assert by_hand in waits.reason

    live(spec)


def unreadable(world: World, kind: type[e.Event]) -> None:
    """This event of `outcomes` can't be read any more: edited, or of a build that was rolled back."""
    held = world.log.records["outcomes", 0]
    at = next(i for i, raw in enumerate(held) if isinstance(decode(raw.value).event, kind))
    held[at] = replace(held[at], value=b"\xc3\x01" + bytes(8) + (held[at].value or b"")[10:])


def test_a_broken_ledger_concludes_nothing_about_what_it_may_have_done() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", e.StepTaken)
        unreadable(world, e.StepIntended)
        world.start("execute")
        await world.passes(600)
        assert world.found(e.Concluded) == []
        assert world.found(e.RemediationClosed) == []
        assert world.applied() == [ADD]
        (started,) = [s for s in world.found(e.OwnerStarted, "outcomes") if s.broken]
        assert list(started.broken) == [CLUSTER]

    live(spec, intruder=True, off_record=True, **SMALL)


def test_a_word_that_can_not_be_read_stops_what_runs_too() -> None:
    """A cancel by a console of a newer version, say."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        place = world.log.append("approvals", CLUSTER, b"\xc3\x01" + b"12345678" + b"a cancel").offset
        concluded = await world.concluded(200)
        assert (concluded.outcome, concluded.code) == ("no_better", "controls_unreadable")
        assert world.applied() == [ADD, REMOVE]

        world.lift_input(f"approvals/0@{place}", "*")
        await world.passes(5)
        world.proposes("evict_store_leaders", "R-2", **EVICT)
        await world.until(lambda: [a for a in world.found(e.ApprovalAsked) if a.remediation_id == "R-2"] or None)
        world.approve(world.found(e.ApprovalAsked)[-1])
        await world.until(lambda: [c for c in world.found(e.Claimed) if c.remediation_id == "R-2"] or None, 60)

    live(spec, **SMALL)


def test_one_slow_look_at_the_controls_gives_no_approved_repair_up() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        while not world.found(e.Claimed):
            await world.log.changed()
        world.controls.cut_off = True
        await world.passes(8)
        world.controls.cut_off = False
        assert (await world.closed()).code == "succeeded"

    live(spec, **SMALL)


def test_another_brokers_clock_shortens_no_wait_of_a_take_over() -> None:
    """An input of a broker whose clock is half a minute ahead comes just when a claim is taken over."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", e.StepIntended)
        began_s = world.now_s()
        world.start("execute")
        await world.passes(1)
        world.log.now_ms = lambda: world.now_ms() + 26_000
        world.orders(e.CancelAsked, world.found(e.ApprovalAsked)[-1])
        await world.until(lambda: world.one(e.TakenOver))
        assert world.now_s() - began_s >= 20

    live(spec, intruder=True, **SMALL)


@pytest.mark.parametrize("from_kind", [e.Claimed, e.StepIntended, e.StepTaken, e.ChangeUndone])
def test_a_broker_whose_clock_is_a_day_ahead_holds_up_no_undo(from_kind: type[e.Event]) -> None:
    async def spec(world: World) -> None:
        await approved(world)
        while not world.found(from_kind):
            await world.log.changed()
        world.log.now_ms = lambda: world.now_ms() + 86_400_000
        began_s = world.now_s()
        await world.concluded(400)
        assert world.now_s() - began_s < EVICT["keep_s"] + 120
        assert world.applied() == [ADD, REMOVE]
        assert world.pd.schedulers.evicted == {}

    live(spec, intruder=True, **SMALL)


def test_a_look_is_as_old_as_it_is_whatever_a_brokers_clock_says() -> None:
    """Between the look and the first step it grows old, and it was appended by a broker that is ahead by more."""

    async def spec(world: World) -> None:
        await approved(world)
        while not world.found(e.Claimed):
            await world.log.changed()
        world.log.now_ms = lambda: world.now_ms() + 600_000
        while not world.found(e.Looked):
            await world.log.changed()
        world.controls.cut_off = True
        await world.passes(10)
        world.controls.cut_off = False
        await world.until(lambda: world.found(e.StepIntended) or None)
        looks = [r for r in world.log.all() if isinstance(r.event, e.Looked)]
        steps = [r for r in world.log.all() if isinstance(r.event, e.StepIntended)]
        assert steps[0].at_ms - looks[-1].at_ms < 5_000

    live(spec, intruder=True, **{**SMALL, "poll_s": 1.0})
