"""STOP_WINS: a freeze stops forward steps at once and never an undo; a halt stops every write, and what is owed
stays."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.roles import Hands
from schemas import events as e
from schemas.controls import Controls
from schemas.values import Poison
from tests.spec.test_execution_recovery import ADD, EVICT, REMOVE, approved, nothing_is_left_behind
from tests.spec.world import CLUSTER, SMALL, OtherHands, SlowToSayItsId, World, live


def test_a_freeze_before_the_approval_blocks_once_and_lifting_it_continues() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.freeze()
        world.approve(ask)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        await world.passes(60)
        assert blocked.code == "frozen"
        assert len(world.found(e.ExecutionBlocked)) == 1
        assert world.found(e.Claimed) == []

        world.lift()
        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_freeze_between_authorisation_and_claim_is_a_refused_claim() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        await world.kill("execute")
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionAuthorized))
        world.freeze()
        world.start("execute")

        assert (await world.closed()).code == "claim_frozen"
        assert world.writes() == []

    live(spec, **SMALL)


def test_a_freeze_while_leaders_are_evicted_brings_the_undo_at_once_and_does_not_stop_it() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.freeze()
        frozen_s = world.now_s()

        await world.until(lambda: REMOVE in world.applied() or None)
        assert world.now_s() - frozen_s < 15
        assert world.one(e.ExecutionAborting).code == "frozen"  # type: ignore[union-attr]
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_freeze_that_comes_with_the_look_stops_the_first_step() -> None:
    """The controls are read again between the decision to send and the intent."""

    async def spec(world: World) -> None:
        await approved(world)
        while not world.found(e.Looked):
            await world.log.changed()
        world.freeze()

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", "frozen")
        assert world.found(e.StepIntended) == []
        assert world.writes() == []

    live(spec, **SMALL)


def test_a_halt_stops_the_undo_too_and_lifting_it_pays() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.halt()
        await world.passes(300)
        assert world.applied() == [ADD]
        assert world.one(e.Concluded) is None

        world.lift("*")
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_halt_stops_the_repeated_undo_of_what_came_back() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.ChangeUndone))
        world.halt()
        world.pd.change_pd_leader(world.now_s())
        world.pd.schedulers.evict(4)
        await world.passes(120)
        assert world.applied() == [ADD, REMOVE]

        world.lift("*")
        await world.closed()
        assert world.applied() == [ADD, REMOVE, REMOVE]
        assert world.pd.schedulers.evicted == {}

    live(spec, **SMALL)


def test_a_halt_outlives_a_kill_and_so_does_what_is_owed() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.halt()
        await world.kill("execute")
        world.start("execute")
        await world.passes(300)
        assert world.applied() == [ADD]

        world.lift("*")
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_without_the_controls_no_forward_step_is_taken() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.controls.cut_off = True
        world.approve(ask)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        await world.passes(60)
        assert blocked.code == "controls_not_live"
        assert world.writes() == []

        world.controls.cut_off = False
        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_controls_that_are_lost_on_the_way_bring_the_undo() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.controls.cut_off = True

        await world.closed()
        assert world.one(e.ExecutionAborting).code == "controls_not_live"  # type: ignore[union-attr]
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_controls_that_are_slow_once_take_nothing_back() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.Sampled))
        world.controls.cut_off = True
        await world.passes(10)
        world.controls.cut_off = False

        assert (await world.closed()).code == "succeeded"
        assert world.found(e.ExecutionAborting) == []

    live(spec, **SMALL)


def test_no_forward_step_is_taken_while_the_controls_are_slow() -> None:
    """Between the look and the first step they can't be read: it is neither taken nor given up before a window."""

    async def spec(world: World) -> None:
        await approved(world)
        while not world.found(e.Looked):
            await world.log.changed()
        world.controls.cut_off = True
        await world.passes(10)
        assert world.found(e.StepIntended) == []

        world.controls.cut_off = False
        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_an_input_that_makes_the_executor_raise_stops_what_runs_and_pays_the_undo() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        (owner,) = world.owners["execute"]
        poison = Poison(
            place="remediations/0@7", stops=CLUSTER, text="ValueError: a bug", at_ms=world.now_ms(), controls_offset=0
        )
        owner.books.poisoned[CLUSTER] = {poison.place: poison}

        await world.closed()
        assert world.one(e.ExecutionAborting).code == "controls_unreadable"  # type: ignore[union-attr]
        assert world.applied() == [ADD, REMOVE]

    live(spec, off_record=True, **SMALL)


def test_who_gives_the_partition_up_begins_no_step_and_its_successor_takes_it() -> None:
    """A revoke comes between the look and the first step; what is asleep wakes up for it."""

    async def spec(world: World) -> None:
        await approved(world)
        while not world.found(e.Looked):
            await world.log.changed()
        began_s = world.now_s()
        for owner in world.owners["execute"]:
            await owner.drained(5)
        assert world.now_s() - began_s < 1
        assert world.found(e.StepIntended) == []
        await world.kill("execute")
        world.start("execute")

        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_who_gives_the_partition_up_while_leaders_are_kept_away_does_not_wait_for_the_undo() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("evict_store_leaders", store_id=4, keep_s=300))
        await world.until(lambda: len(world.found(e.Sampled)) >= 3 or None)
        began_s = world.now_s()
        for owner in world.owners["execute"]:
            await owner.drained(5)
        assert world.now_s() - began_s < 1
        assert world.applied() == [ADD]
        await world.kill("execute")
        world.start("execute")

        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_who_is_told_to_leave_while_pd_is_asked_for_its_id_sends_nothing() -> None:
    class Leaves(OtherHands):
        def changed(self, made: Hands) -> dict[str, Any]:
            return {"writer": lambda c, may: SlowToSayItsId(made.writer(c, may), self.leaves)}

        def leaves(self) -> None:
            for owner in self.owners["execute"]:
                owner.drain()

    async def spec(world: World) -> None:
        await approved(world)
        taken = await world.until(lambda: world.one(e.StepTaken))
        assert (taken.answer, taken.code) == ("never_sent", "leaving")
        assert world.writes() == []

    live(spec, kind=Leaves, **SMALL)


def test_a_process_that_has_not_read_the_policy_forgets_no_approval() -> None:
    """Its controls are not live, so it knows of no policy: that is no reason to ask people again."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.freeze()
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionBlocked))
        await world.kill("remediations")
        world.controls._held = Controls()
        world.controls.cut_off = True
        world.start("remediations")
        await world.passes(30)

        world.controls.cut_off = False
        world.lift()
        assert (await world.closed()).code == "succeeded"
        assert len(world.found(e.ApprovalAsked)) == 1
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_what_is_kept_for_a_time_ends_then_although_pd_has_moved_nothing() -> None:
    """PD takes the eviction and moves no leader, as with `halt-scheduling`."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        while not world.found(e.Looked):
            await world.log.changed()
        world.pd.config.halt_scheduling = True
        taken = await world.until(lambda: world.one(e.StepTaken))
        began_s = world.now_s()
        assert taken.answer == "accepted"

        await world.until(lambda: REMOVE in world.applied() or None)
        assert EVICT["keep_s"] - 1 < world.now_s() - began_s < EVICT["keep_s"] + 15
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("no_better", "time_is_up")
        nothing_is_left_behind(world)

    live(spec, **SMALL)


@pytest.mark.parametrize("order", [e.CancelAsked, e.UndoAsked, e.DoneByHand])
def test_what_a_person_takes_back_on_the_way_is_no_better_and_not_without_effect(order: Any) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken))
        world.orders(order, ask)
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == (
            "no_better",
            "undo_asked" if order is e.UndoAsked else "cancelled",
        )
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_what_has_succeeded_stays_a_success_when_a_person_takes_it_back_early() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        await world.until(lambda: len([s for s in world.found(e.Sampled) if s.sample.figures["done"]]) >= 3 or None)
        world.orders(e.UndoAsked, ask)
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("succeeded", "undo_asked")
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_freeze_after_it_has_succeeded_brings_the_undo_at_once_and_it_stays_a_success() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: len([s for s in world.found(e.Sampled) if s.sample.figures["done"]]) >= 3 or None)
        world.freeze()
        frozen_s = world.now_s()

        await world.until(lambda: REMOVE in world.applied() or None)
        assert world.now_s() - frozen_s < 15
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("succeeded", "frozen")
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_store_that_fails_while_what_has_succeeded_is_kept_brings_the_undo_and_makes_it_worse() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: len([s for s in world.found(e.Sampled) if s.sample.figures["done"]]) >= 3 or None)
        assert world.found(e.ExecutionAborting) == []
        world.pd.kill_store(1)

        aborting = await world.until(lambda: world.one(e.ExecutionAborting), 60)
        assert aborting.code == "fewer_stores_up"
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("worse", "fewer_stores_up")
        nothing_is_left_behind(world)

    live(spec, **SMALL)
