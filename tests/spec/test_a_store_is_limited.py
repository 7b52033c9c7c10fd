"""set_store_limit through the pipeline in memory: asked for, approved, set, verified; and set back where need be."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import faults as f
from pdsim import repair
from schemas import events as e
from tests.spec.world import SMALL, World, live

LIMIT: dict[str, Any] = {"store_id": 4, "limit_type": "remove-peer", "per_minute": 15}
SET = "POST /pd/api/v1/store/4/limit"


def limits(world: World) -> dict[str, float]:
    return {kind: limit.per_minute for kind, limit in world.pd.stores[4].limits.items()}


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader()], ids=str)
def test_a_limit_is_set_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        world.pd.stores[4].limits["remove-peer"].per_minute = 1e8
        ask = await world.asks("set_store_limit", **LIMIT)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert limits(world) == {"add-peer": 15, "remove-peer": 15}
        assert world.applied() == [SET]

    live(spec, **SMALL)


def test_a_limit_that_made_it_worse_is_set_back_to_the_one_that_was_there() -> None:
    async def spec(world: World) -> None:
        world.pd.stores[4].limits["remove-peer"].per_minute = 22.5
        world.approve(await world.asks("set_store_limit", **LIMIT))
        await world.until(lambda: world.one(e.StepTaken))
        assert limits(world)["remove-peer"] == 15
        world.pd.set_low_space(2)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (concluded.code, closed.code, concluded.owed) == ("more_low_space", "worse", ())
        assert limits(world) == {"add-peer": 15, "remove-peer": 22.5}
        assert world.applied() == [SET, SET]

    live(spec, **SMALL)


def test_a_store_that_somebody_begins_to_remove_after_the_approval_is_left_alone() -> None:
    async def spec(world: World) -> None:
        world.pd.stores[4].limits["remove-peer"].per_minute = 22.5
        ask = await world.asks("set_store_limit", **LIMIT)
        repair.begin_removal(world.pd, world.pd.stores[4])
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert concluded.outcome == "not_started"
        assert {o.code for o in concluded.objections} >= {"being_removed"}
        assert world.writes() == []

    live(spec, **SMALL)
