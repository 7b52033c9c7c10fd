"""split_region through the pipeline in memory: asked for, approved, split once, verified; nothing is owed for it."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import building
from pdsim import faults as f
from pdsim.regions import Region
from schemas import events as e
from tests.spec.world import ACTING_POLICY, SMALL, World, live

POLICY: dict[str, Any] = {**ACTING_POLICY, "actions": {"split_region": {"mode": "on"}}}
SENT = "POST /pd/api/v1/operators"


async def asked(world: World) -> tuple[Any, Region]:
    region = next(iter(world.pd.truth))
    return await world.asks("split_region", POLICY, region_id=region.id), region


def version(world: World, region: Region) -> int:
    now = world.pd.truth.get(region.id)
    assert now is not None
    return now.version


@pytest.mark.parametrize(
    "fault",
    [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader(), f.NotLeader(applied=True)],
    ids=str,
)
def test_a_region_is_split_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        ask, region = await asked(world)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        assert world.writes() == []
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert version(world, region) == region.version + 1
        assert world.applied() == [SENT]
        assert world.found(e.ChangeUndone) == []

    live(spec, **SMALL)


def test_a_region_that_somebody_has_split_since_the_approval_is_not_split_again() -> None:
    async def spec(world: World) -> None:
        ask, region = await asked(world)
        assert world.pd.add_operator(building.split(world.pd, region, "scan", []))
        world.pd.advance(world.now_s() + 1)
        assert version(world, region) == region.version + 1
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert (concluded.outcome, concluded.code) == ("not_started", "drifted")
        assert f"region:{region.id}.version was" in concluded.text
        assert (world.writes(), version(world, region)) == ([], region.version + 1)

    live(spec, **SMALL)


def test_a_split_that_tikv_does_not_carry_out_ends_without_success_and_is_not_sent_again() -> None:
    async def spec(world: World) -> None:
        ask, region = await asked(world)
        world.approve(ask)
        await world.until(lambda: world.one(e.Looked))
        world.pd.config.schedule["enable-tikv-split-region"] = "false"
        closed = await world.closed()
        assert (closed.code, version(world, region)) == ("no_better", region.version)
        assert world.applied() == [SENT]

    live(spec, **SMALL)
