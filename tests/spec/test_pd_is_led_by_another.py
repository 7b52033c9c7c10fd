"""transfer_pd_leader through the pipeline in memory: asked for, approved, moved, judged once it has settled."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import faults as f
from schemas import events as e
from tests.spec.world import SMALL, World, live

LEAD: dict[str, Any] = {"member": "pd-1"}
THERE, BACK = (f"POST /pd/api/v1/leader/transfer/pd-{n}" for n in (1, 0))


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader()], ids=str)
def test_the_leader_is_moved_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("transfer_pd_leader", **LEAD)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert world.pd.members.leader == "pd-1"
        assert world.applied() == [THERE]
        first = next(s for s in world.found(e.Sampled) if s.sample.figures["done"])
        assert first.sample.figures["pd_settled"] == 1

    live(spec, **SMALL)


def test_a_leader_that_pd_moves_on_is_no_success_and_is_not_argued_with() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("transfer_pd_leader", **LEAD))
        await world.until(lambda: world.one(e.StepTaken))
        world.pd.members.all[2].priority = 5
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("no_better", ())
        assert world.applied() == [THERE]
        assert world.pd.members.leader == "pd-2"

    live(spec, **SMALL)


def test_a_leader_that_changed_since_the_approval_is_left_where_it_is() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("transfer_pd_leader", **LEAD)
        world.pd.change_pd_leader(world.now_s(), "pd-2")
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert concluded.outcome == "not_started"
        assert (world.writes(), world.pd.members.leader) == ([], "pd-2")

    live(spec, **SMALL)


def test_where_it_is_worse_the_old_leader_leads_again() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("transfer_pd_leader", **LEAD))
        await world.until(lambda: world.one(e.StepTaken))
        world.pd.kill_store(4)
        closed = await world.closed(3600)
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (concluded.code, closed.code, concluded.owed) == ("fewer_stores_up", "worse", ())
        assert world.applied() == [THERE, BACK]
        assert world.pd.members.leader == "pd-0"

    live(spec, **SMALL)
