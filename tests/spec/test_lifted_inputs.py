"""What an input has stopped goes on once a person has lifted exactly that input, and nothing else goes on with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.roles import rules
from executors.protocol import Cluster, claim_or_refuse
from infra.runners.books import Books, Raw, fold_control
from schemas import events as e
from schemas.chain import Link, edge, stamp
from schemas.controls import Controls
from schemas.values import Cause
from schemas.wire import frame
from streams.pipeline import processor
from tests.spec.test_execution_recovery import EVICT, nothing_is_left_behind
from tests.spec.world import CLUSTER, SMALL, World, live


async def blocked_by_junk(world: World, *topics: str) -> list[str]:
    """Approved, and blocked because these could not be read. Returns their places."""
    ask = await world.asks("evict_store_leaders", **EVICT)
    raws = [world.log.append(topic, CLUSTER, b"junk") for topic in topics]
    world.approve(ask)
    blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
    places = [f"{raw.topic}/{raw.partition}@{raw.offset}" for raw in raws]
    assert blocked.code == "controls_unreadable"
    assert all(place in blocked.text for place in places)
    return places


@pytest.mark.parametrize("topic", ["approvals", "controls"])
def test_what_an_unreadable_input_has_stopped_goes_on_once_it_is_lifted(topic: str) -> None:
    async def spec(world: World) -> None:
        (place,) = await blocked_by_junk(world, topic)
        await world.passes(30)
        assert world.found(e.ExecutionAuthorized) == []

        world.lift_input(place)
        assert (await world.closed()).code == "succeeded"
        assert len(world.found(e.ExecutionBlocked)) == 1
        assert len(world.dead("remediations")) == (topic == "approvals")  # what it was stays in sight
        nothing_is_left_behind(world)

    live(spec, **SMALL)


@pytest.mark.parametrize("topic", ["approvals", "controls"])
def test_it_stays_lifted_after_a_restart(topic: str) -> None:
    async def spec(world: World) -> None:
        (place,) = await blocked_by_junk(world, topic)
        await world.kill("remediations", "execute")
        world.lift_input(place)
        world.controls._held = Controls()  # read anew, as by a new process
        world.start("remediations", "execute")
        assert (await world.closed()).code == "succeeded"

    live(spec, **SMALL)


def test_what_was_lifted_before_the_executor_heard_of_it_is_lifted() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        await world.kill("execute")
        raw = world.log.append("approvals", CLUSTER, b"junk")
        await world.passes(10)
        world.lift_input(f"approvals/{raw.partition}@{raw.offset}")
        await world.passes(10)
        world.start("execute")
        await world.passes(10)
        world.approve(ask)
        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_tick_that_stops_who_orders_stops_who_obeys_under_the_same_name() -> None:
    """One lift has to free both."""

    async def spec(world: World) -> None:
        line = processor("execute")
        books: Books[Any] = Books("execute", "outcomes", 0, 1, rules(line, world.settings, world.hands()))
        said = e.InputRejected(cluster_id=CLUSTER, code="impossible", text="KeyError: x")
        stamped, _ = stamp("remediations", Link(), said, Cause(topic="tick"), 1_000_000, 0)
        raw = Raw("remediations", 0, 7, 1_000_000, CLUSTER.encode(), frame(type(said), stamped.body))
        draft = books.draft(Controls(live=True, read_once=True), 1_005_000)
        draft.take(raw)
        assert list(draft.poisoned[CLUSTER]) == ["tick/0@1000000"]
        (adopted,) = draft.stamped
        again: Books[Any] = Books("execute", "outcomes", 0, 1, rules(line, world.settings, world.hands()))
        again.restore(Raw("outcomes", 0, 0, 1_005_000, CLUSTER.encode(), frame(type(adopted.event), adopted.body)))
        assert list(again.poisoned[CLUSTER]) == ["tick/0@1000000"]

    live(spec, off_record=True, **SMALL)


@pytest.mark.parametrize("topics", [("approvals", "approvals"), ("controls", "controls"), ("controls", "approvals")])
def test_each_input_is_lifted_by_itself(topics: tuple[str, str]) -> None:
    async def spec(world: World) -> None:
        first, second = await blocked_by_junk(world, *topics)
        world.lift_input(second)
        await world.passes(30)
        assert world.found(e.ExecutionAuthorized) == []

        world.lift_input(first)
        await world.until(lambda: world.one(e.ExecutionAuthorized), 30)

    live(spec, **SMALL)


def test_a_lift_that_came_before_the_input_counts_for_nothing() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.lift_input("approvals/0@0")
        await world.passes(5)
        world.log.append("approvals", CLUSTER, b"junk")
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionBlocked))
        await world.passes(60)
        assert world.found(e.ExecutionAuthorized) == []

        world.lift_input("approvals/0@0")
        await world.until(lambda: world.one(e.ExecutionAuthorized), 30)

    live(spec, **SMALL)


def test_the_lift_of_another_input_or_of_another_scope_moves_nothing() -> None:
    async def spec(world: World) -> None:
        (place,) = await blocked_by_junk(world, "approvals")
        world.lift_input("approvals/0@1")
        world.lift_input("proposals/0@0")
        world.lift_input(place, CLUSTER)  # it stops the whole partition
        world.lift("*")  # a freeze or a halt
        await world.passes(60)
        assert world.found(e.ExecutionAuthorized) == []

    live(spec, **SMALL)


def test_the_lift_of_an_input_leaves_the_freeze_that_somebody_has_asked_for() -> None:
    async def spec(world: World) -> None:
        (place,) = await blocked_by_junk(world, "controls")
        world.freeze()
        world.lift_input(place)
        world.lift_input(place, CLUSTER)
        await world.until(lambda: world.found(e.ExecutionBlocked)[1:])
        assert world.found(e.ExecutionBlocked)[1].code == "frozen"
        await world.passes(30)
        assert world.found(e.ExecutionAuthorized) == []

    live(spec, **SMALL)


def test_the_lift_of_an_input_leaves_every_stop() -> None:
    held = Controls(live=True, read_once=True)
    for offset, event in enumerate(
        [
            e.Halted(cluster_id="*", by="anna", reason="t"),
            e.Frozen(cluster_id="c", by="anna", reason="t"),
            e.Lifted(cluster_id="*", by="ben", reason="t", kind="input", input="outcomes/0@7"),
            e.Lifted(cluster_id="c", by="ben", reason="t", kind="input", input="R-1"),
        ]
    ):
        held = fold_control(held, record(offset, event))
    assert set(held.stops) == {("halt", "*"), ("freeze", "c")}


def test_execute_claims_again_once_the_order_that_it_choked_on_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = claim_or_refuse

    def choking(state: Cluster, order: e.ExecutionAuthorized, *args: Any) -> Any:
        if order.remediation_id == "R-7":
            raise KeyError("a bug of ours")
        return judge(state, order, *args)

    monkeypatch.setattr("executors.execute.claim_or_refuse", choking)

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        order = await world.until(lambda: world.one(e.ExecutionAuthorized))
        await world.closed()
        await world.kill("remediations")  # from here on the spec writes in its place

        def orders(remediation_id: str) -> Raw:
            about = ask.model_copy(update={"remediation_id": remediation_id})
            named = {"remediation_id": remediation_id, "approvals": (world.signed(about, "anna"),)}
            made = order.model_copy(update={**named, "expires_at_ms": world.now_ms() + 600_000})
            return world.log.write("remediations", edge(made, f"o-{remediation_id}", world.now_ms()))

        bad = orders("R-7")
        rejected = await world.until(lambda: world.one(e.InputRejected))
        assert rejected.code == "impossible"

        orders("R-8")
        refused = await world.until(lambda: world.one(e.ClaimRefused))
        assert (refused.remediation_id, refused.code) == ("R-8", "controls_unreadable")
        world.lift_input(f"remediations/0@{bad.offset}", CLUSTER)
        orders("R-9")
        await world.until(lambda: [c for c in world.found(e.Claimed) if c.remediation_id == "R-9"])

    live(spec, intruder=True, **SMALL)


def record(offset: int, event: e.Event | None) -> Raw:
    value = b"junk" if event is None else frame(type(event), edge(event, f"c{offset}", 0).body)
    return Raw("controls", 0, offset, offset, b"*", value)


@given(st.lists(st.integers(-1, 9), max_size=12))
def test_an_unreadable_control_is_in_force_until_a_later_record_lifts_it(said: list[int]) -> None:
    """-1: junk; N: the lift of offset N."""
    held = Controls(live=True, read_once=True)
    for offset, n in enumerate(said):
        lifted = e.Lifted(cluster_id="*", by="a", reason="t", kind="input", input=f"controls/0@{n}")
        held = fold_control(held, record(offset, None if n < 0 else lifted))
    left = [o for o, n in enumerate(said) if n < 0 and o not in said[o + 1 :]]
    assert list(held.poisoned) == [f"controls/0@{offset}" for offset in left]
    assert (held.refuses_forward("c") is None) == (not left)
    assert held.refuses_undo("c") is None


def test_a_policy_that_this_version_does_not_know_is_lifted_like_what_cant_be_read() -> None:
    """Then the policy before it is in force, as it was."""
    held = Controls(live=True, read_once=True)
    bad = e.PolicyAdopted(cluster_id="*", by="anna", reason="t", version=2, policy_json='{"no_such_key":1}')
    held = fold_control(held, record(0, bad))
    assert held.refuses_forward("c") is not None
    lifted = e.Lifted(cluster_id="*", by="anna", reason="t", kind="input", input="controls/0@0")
    held = fold_control(held, record(1, lifted))
    assert held.refuses_forward("c") is None
    assert held.policy.version == 0
