"""cancel_operator through the pipeline in memory: that one and no other, once whatever becomes of the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pdsim import building
from pdsim import faults as f
from pdsim.operators import Priority
from pdsim.regions import Region
from schemas import events as e
from tests.spec.world import ACTING_POLICY, SMALL, World, live

POLICY: dict[str, Any] = {**ACTING_POLICY, "actions": {"cancel_operator": {"mode": "on"}}}
BALANCE = building.Maker("balance-region-scheduler", (), Priority.MEDIUM)


def balances(world: World) -> Region:
    """PD begins to move a replica of a large region: it takes minutes."""
    region = replace(next(iter(world.pd.truth)), approximate_size=50_000)
    for table in (world.pd.truth, world.pd.cache):
        table.put(region)
    out = next(p.store_id for p in region.peers if p.store_id != region.leader)
    into = next(s for s in world.pd.stores if region.peer_on(s) is None)
    wanted = [into if p.store_id == out else p.store_id for p in region.peers]
    assert world.pd.add_operator(building.move(world.pd, region, wanted, BALANCE))
    return region


async def asked(world: World) -> tuple[Any, Region]:
    region = balances(world)
    return await world.asks("cancel_operator", POLICY, region_id=region.id, operator=BALANCE.desc), region


@pytest.mark.parametrize(
    "fault",
    [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader(), f.NotLeader(applied=True)],
    ids=str,
)
def test_an_operator_is_cancelled_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        ask, region = await asked(world)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        assert world.writes() == []
        if fault:
            world.faults.add(fault, method="DELETE", times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert region.id not in world.pd.book.running
        assert world.applied() == [f"DELETE /pd/api/v1/operators/{region.id}"]
        assert world.found(e.ChangeUndone) == []

    live(spec, **SMALL)


def test_an_operator_that_has_taken_its_place_since_the_approval_is_not_cancelled() -> None:
    async def spec(world: World) -> None:
        ask, region = await asked(world)
        world.pd.cancel(world.pd.book.running[region.id])
        world.pd.advance(world.now_s() + 1)
        balances(world)
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert (concluded.outcome, concluded.code) == ("not_started", "drifted")
        assert f"region:{region.id}.operator.created_ns was" in concluded.text
        assert world.writes() == []
        assert region.id in world.pd.book.running

    live(spec, **SMALL)


def test_an_operator_that_has_ended_since_the_approval_leaves_nothing_to_do() -> None:
    async def spec(world: World) -> None:
        ask, region = await asked(world)
        world.pd.cancel(world.pd.book.running[region.id])
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert (concluded.outcome, concluded.code) == ("not_started", "no_such_operator")
        assert world.writes() == []

    live(spec, **SMALL)


def test_an_operator_that_pd_makes_again_at_once_is_no_better() -> None:
    async def spec(world: World) -> None:
        ask, region = await asked(world)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken))
        assert region.id not in world.pd.book.running
        balances(world)
        concluded = await world.until(lambda: world.one(e.Concluded), 1200)
        assert (concluded.outcome, len(world.writes())) == ("no_better", 1)

    live(spec, **SMALL)
