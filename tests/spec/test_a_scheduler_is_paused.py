"""pause_scheduler, and a move that holds PD back, through the pipeline in memory."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pdsim import faults as f
from pdsim.schedulers import BALANCE_LEADER
from schemas import events as e
from tests.spec.world import ACTING_POLICY, SMALL, World, live

REGION = "balance-region-scheduler"
POST = f"POST /pd/api/v1/schedulers/{REGION}"
PAUSE: dict[str, Any] = {"scheduler": REGION, "keep_s": 120}
POLICY = {**ACTING_POLICY, "actions": {name: {"mode": "on"} for name in ("pause_scheduler", "transfer_region_leader")}}


def is_paused(world: World, name: str = REGION) -> bool:
    return world.pd.schedulers.is_paused(name, world.now_s())


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader()], ids=str)
def test_it_is_paused_for_its_time_and_resumed_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("pause_scheduler", POLICY, **PAUSE)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        await world.until(lambda: is_paused(world))
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert not is_paused(world)
        assert world.applied() == [POST, POST]

    live(spec, **SMALL)


def test_a_pause_that_went_with_the_pd_leader_is_asked_for_again() -> None:
    """Pauses are kept in memory (pd-seen.md, section 6): for the rest of its time PD would balance unasked."""

    async def spec(world: World) -> None:
        world.approve(await world.asks("pause_scheduler", POLICY, **PAUSE))
        await world.until(lambda: is_paused(world))
        begun_s = world.now_s()
        await world.passes(20)
        world.pd.change_pd_leader(world.now_s())
        assert not is_paused(world)
        await world.until(lambda: is_paused(world), 30)
        closed = await world.closed()
        steps = [(s.kind, s.call.name) for s in world.found(e.StepIntended)]
        assert steps == [("do", "pause_scheduler"), ("do", "pause_scheduler"), ("undo", "resume_scheduler")]
        assert closed.code == "succeeded"
        assert not is_paused(world)
        undone = next(s for s in world.log.all() if isinstance(s.event, e.StepIntended) and s.event.kind == "undo")
        assert undone.at_ms / 1000 - begun_s < 130, "its time is counted from the first"

    live(spec, **SMALL)


def test_a_person_who_resumes_it_is_not_argued_with() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("pause_scheduler", POLICY, **PAUSE))
        await world.until(lambda: is_paused(world))
        await world.passes(20)
        world.pd.schedulers.paused.clear()
        closed = await world.closed()
        aborting = world.one(e.ExecutionAborting)
        assert aborting is not None
        assert (aborting.code, aborting.text) == ("taken_back", "somebody has taken pause_scheduler back")
        assert closed.code == "succeeded", "it had been verified by then"
        assert [s.call.name for s in world.found(e.StepIntended)] == ["pause_scheduler"]

    live(spec, **SMALL)


def test_a_pd_that_loses_its_leader_again_and_again_is_left_alone() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("pause_scheduler", POLICY, **PAUSE | {"keep_s": 600}))
        for _ in range(4):
            await world.until(lambda: is_paused(world), 60)
            await world.passes(20)
            world.pd.change_pd_leader(world.now_s())
        await world.closed()
        aborting = world.one(e.ExecutionAborting)
        assert aborting is not None
        assert (aborting.code, aborting.text) == ("lost_again", "PD has lost pause_scheduler 4 times")
        assert [s.kind for s in world.found(e.StepIntended)] == ["do"] * 4, "there is nothing to take back"

    live(spec, **SMALL)


@pytest.mark.parametrize(
    ("moved_back", "outcome", "code"), [(False, "succeeded", "succeeded"), (True, "no_better", "moved_back")]
)
def test_what_pd_does_with_a_leader_once_it_goes_on_by_itself_is_looked_at(
    moved_back: bool, outcome: str, code: str
) -> None:
    async def spec(world: World) -> None:
        region = min(world.pd.cache, key=lambda r: r.id)
        was, to = region.leader, next(p.store_id for p in region.peers if p.store_id != region.leader)
        ask = await world.asks("transfer_region_leader", POLICY, region_id=region.id, to_store_id=to, hold_s=120)
        assert ask.tier == "MEDIUM"
        world.approve(ask)
        undone = await world.until(lambda: world.one(e.ChangeUndone))
        assert not undone.settled
        assert not is_paused(world, BALANCE_LEADER)
        if moved_back:
            order = {"name": "transfer-leader", "region_id": region.id, "to_store_id": was}
            async with httpx.AsyncClient(transport=world.transport) as pd_ctl:
                await pd_ctl.post("http://pd-0:2379/pd/api/v1/operators", json=order)
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code, concluded.owed) == (outcome, code, ())
        assert concluded.after is not None
        assert concluded.after.figures["leads"] == float(not moved_back)
        assert [s.call.name for s in world.found(e.StepIntended) if s.kind == "undo"] == ["resume_scheduler"] * 2

    live(spec, **SMALL)
