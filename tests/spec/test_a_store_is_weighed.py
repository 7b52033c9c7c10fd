"""set_store_weight through the pipeline in memory: asked for, approved, set, verified; and set back where need be."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import faults as f
from schemas import events as e
from tests.spec.world import SMALL, World, live

WEIGH: dict[str, Any] = {"store_id": 4, "weight_of": "leader", "weight": 0.5}
SET = "POST /pd/api/v1/store/4/weight"


def pair(world: World) -> tuple[float, float]:
    store = world.pd.stores[4]
    return store.leader_weight, store.region_weight


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader()], ids=str)
def test_a_weight_is_set_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        world.pd.stores[4].region_weight = 1.5
        ask = await world.asks("set_store_weight", **WEIGH)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        assert world.writes() == []
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert pair(world) == (0.5, 1.5)
        assert world.applied() == [SET]

    live(spec, **SMALL)


def test_a_weight_that_made_it_worse_is_set_back_to_the_pair_that_was_there() -> None:
    async def spec(world: World) -> None:
        world.pd.stores[4].leader_weight, world.pd.stores[4].region_weight = 1.25, 1.5
        world.approve(await world.asks("set_store_weight", **WEIGH))
        await world.until(lambda: world.one(e.StepTaken))
        assert pair(world) == (0.5, 1.5)
        world.pd.set_low_space(2)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert concluded.code == "more_low_space"
        assert (closed.code, concluded.owed) == ("worse", ())
        assert pair(world) == (1.25, 1.5)
        assert world.applied() == [SET, SET]

    live(spec, **SMALL)


def test_a_weight_that_somebody_has_changed_since_the_approval_is_not_overwritten() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("set_store_weight", **WEIGH)
        world.pd.stores[4].region_weight = 2.0
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert (concluded.outcome, concluded.code) == ("not_started", "drifted")
        assert "store:4.weights was 1,1, is 1,2" in concluded.text
        assert (world.writes(), pair(world)) == ([], (1.0, 2.0))

    live(spec, **SMALL)
