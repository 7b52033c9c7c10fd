"""scatter_regions through the pipeline in memory: asked for, approved, one call a region, verified; nothing is owed."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import building
from pdsim import faults as f
from schemas import events as e
from tests.spec.world import ACTING_POLICY, SMALL, World, live

POLICY: dict[str, Any] = {**ACTING_POLICY, "actions": {"scatter_regions": {"mode": "on"}}}
SENT = "POST /pd/api/v1/operators"


async def asked(world: World, count: int = 3) -> tuple[Any, list[int]]:
    ids = sorted(r.id for r in world.pd.truth)[:count]
    return await world.asks("scatter_regions", POLICY, region_ids=ids), ids


@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        (None, 3),
        (f.DroppedAfter(), 4),  # it sat well: nothing shows, and asking again is right
        (f.DroppedBefore(), 3),
        (f.HalfBody(), 4),
    ],
    ids=str,
)
def test_regions_are_scattered_whatever_becomes_of_an_answer(fault: f.Fault | None, sent: int) -> None:
    async def spec(world: World) -> None:
        ask, ids = await asked(world)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        assert world.writes() == []
        if fault:
            world.faults.add(fault, method="POST", skip=1, times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert world.applied() == [SENT] * sent
        assert world.found(e.ChangeUndone) == []
        assert len(ids) == 3

    live(spec, **SMALL)


def test_where_pd_refuses_one_of_them_the_rest_is_left_and_said_to_be() -> None:
    """It has become hot since it was looked at: PD says so before it does anything."""

    async def spec(world: World) -> None:
        ask, ids = await asked(world)
        refused = f.Garbage(500, f'"region {ids[1]} is a hot region"\n'.encode(), "application/json")
        world.faults.add(refused, method="POST", skip=1, times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (concluded.outcome, concluded.code, concluded.owed) == ("failed_partly", "refused", ())
        assert closed.code == "failed_partly"
        assert world.applied() == [SENT]

    live(spec, **SMALL)


def test_regions_of_which_one_has_changed_since_the_approval_are_left_alone() -> None:
    async def spec(world: World) -> None:
        ask, ids = await asked(world)
        region = world.pd.truth.get(ids[0])
        assert region is not None
        to = next(p.store_id for p in region.peers if p.store_id != region.leader)
        assert world.pd.add_operator(building.transfer_leader(world.pd, region, to, building.admin("admin")))
        world.pd.advance(world.now_s() + 1)
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert (concluded.outcome, concluded.code) == ("not_started", "drifted")
        assert world.writes() == []

    live(spec, **SMALL)
