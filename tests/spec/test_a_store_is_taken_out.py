"""offline_store and cancel_store_offline through the pipeline in memory: asked for, approved, begun; kept where need
be, and what can't be taken back any more is said to be owed."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import faults as f
from pdsim import repair
from pdsim.stores import State
from schemas import events as e
from tests.spec.world import World, live

OUT = "DELETE /pd/api/v1/store/4"
KEEP = "POST /pd/api/v1/store/4/state"
LARGE: dict[str, Any] = {"stores": 5, "regions": 200, "partitions": 1, "poll_s": 5.0}  # it drains for minutes


def limit(world: World) -> float:
    return world.pd.stores[4].limits["remove-peer"].per_minute


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader()], ids=str)
def test_a_store_is_taken_out_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("offline_store", store_id=4)
        assert (ask.tier, ask.needed) == ("HIGH", 2)
        assert world.writes() == []
        if fault:
            world.faults.add(fault, method="DELETE", times=1)
        for person in ("anna", "ben"):
            world.approve(ask, person)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert world.pd.stores[4].state is State.Offline  # it goes on draining
        assert world.applied() == [OUT]

    live(spec, **LARGE)


def test_a_store_is_kept_where_the_others_get_low_on_space_before_it_drains() -> None:
    async def spec(world: World) -> None:
        world.pd.config.set_schedule({"replica-schedule-limit": 1}, world.pd.now)
        before = limit(world)
        ask = await world.asks("offline_store", store_id=4)
        for person in ("anna", "ben"):
            world.approve(ask, person)
        await world.until(lambda: world.one(e.StepTaken))
        assert world.pd.stores[4].state is State.Offline
        world.pd.set_low_space(2)
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code, concluded.owed) == ("worse", "more_low_space", ())
        assert (world.pd.stores[4].state, limit(world)) == (State.Up, before)
        assert world.applied() == [OUT, KEEP]

    live(spec, **LARGE)


def test_what_drained_before_it_could_be_kept_is_said_to_be_owed_and_bars_the_cluster() -> None:
    """Nothing takes a Tombstone back: PD refuses the undo, and a person resolves it."""

    async def spec(world: World) -> None:
        ask = await world.asks("offline_store", store_id=4)
        for person in ("anna", "ben"):
            world.approve(ask, person)
        await world.until(lambda: world.one(e.StepTaken))
        world.pd.make_tombstone(4)
        world.pd.set_low_space(2)
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("unknown", "undo_refused")
        assert concluded.text == "PD refuses to take it back: PD:core:ErrStoreRemoved"
        assert [change.undo.name for change in concluded.owed if change.undo] == ["cancel_store_offline"]

    live(spec, **LARGE)


def test_a_removal_is_cancelled() -> None:
    async def spec(world: World) -> None:
        world.pd.config.set_schedule({"replica-schedule-limit": 1}, world.pd.now)
        before = limit(world)
        repair.begin_removal(world.pd, world.pd.stores[4])
        ask = await world.asks("cancel_store_offline", store_id=4)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        world.approve(ask)
        closed = await world.closed()
        assert closed.code == "succeeded"
        assert (world.pd.stores[4].state, limit(world)) == (State.Up, before)

    live(spec, **LARGE)
