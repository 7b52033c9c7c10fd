"""transfer_region_peer through the pipeline in memory: asked for, approved, moved once, verified; or moved back."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import building
from pdsim import faults as f
from pdsim.regions import Region
from schemas import events as e
from tests.spec.world import ACTING_POLICY, SMALL, World, live

POLICY: dict[str, Any] = {**ACTING_POLICY, "actions": {"transfer_region_peer": {"mode": "on"}}}
SENT = "POST /pd/api/v1/operators"


async def asked(world: World) -> tuple[Any, Region, int]:
    """(what is asked, the region as it was, the store that shall get a replica)"""
    region = next(iter(world.pd.truth))
    held = [p.store_id for p in region.peers]
    source = next(s for s in held if s != region.leader)
    target = next(s for s in sorted(world.pd.stores) if s not in held)
    params = {"region_id": region.id, "from_store_id": source, "to_store_id": target}
    return await world.asks("transfer_region_peer", POLICY, **params), region, target


def holds(world: World, region: Region) -> set[int]:
    now = world.pd.truth.get(region.id)
    assert now is not None
    return {p.store_id for p in now.peers}


@pytest.mark.parametrize(
    "fault",
    [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader(), f.NotLeader(applied=True)],
    ids=str,
)
def test_a_replica_is_moved_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        ask, region, target = await asked(world)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        assert world.writes() == []
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert target in holds(world, region)
        assert world.applied() == [SENT]

    live(spec, **SMALL)


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.HalfBody()], ids=str)
def test_a_replica_whose_target_fills_up_is_moved_back(fault: f.Fault | None) -> None:
    """At once, while PD is still at the first move: it is asked again until that has ended."""

    async def spec(world: World) -> None:
        ask, region, target = await asked(world)
        if fault:
            world.faults.add(fault, method="POST", skip=1, times=1)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken))
        world.pd.set_low_space(target)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (concluded.code, concluded.owed) == ("target_low_space", ())
        assert closed.code == "worse"
        assert holds(world, region) == {p.store_id for p in region.peers}
        assert world.applied() == [SENT, SENT]

    live(spec, **SMALL)


def test_a_move_that_its_target_does_not_survive_ends_with_nothing_left_behind() -> None:
    async def spec(world: World) -> None:
        ask, region, target = await asked(world)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepIntended))
        world.pd.kill_store(target)
        await world.until(lambda: world.one(e.Concluded), within_s=4000)
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (concluded.outcome, concluded.code, concluded.owed) == ("worse", "fewer_stores_up", ())
        assert target not in holds(world, region)

    live(spec, **SMALL)


def test_a_region_that_has_changed_since_the_approval_is_left_alone() -> None:
    async def spec(world: World) -> None:
        ask, region, _ = await asked(world)
        moved = next(p.store_id for p in region.peers if p.store_id != region.leader)
        assert world.pd.add_operator(building.transfer_leader(world.pd, region, moved, building.admin("admin")))
        world.pd.advance(world.now_s() + 1)
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert (concluded.outcome, concluded.code) == ("not_started", "drifted")
        assert f"region:{region.id}.leader was" in concluded.text
        assert world.writes() == []

    live(spec, **SMALL)
