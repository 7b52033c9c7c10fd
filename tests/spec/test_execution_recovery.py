"""After a crash, a lost answer or a PD that is away: looked at before it is repeated, and nothing is left behind."""

from __future__ import annotations

import pytest

from schemas import events as e
from tests.spec.world import SMALL, World, live

SCHEDULERS = "/pd/api/v1/schedulers"
ADD = f"POST {SCHEDULERS}"
REMOVE = f"DELETE {SCHEDULERS}/evict-leader-scheduler-4"
EVICT = {"store_id": 4, "keep_s": 60}


def nothing_is_left_behind(world: World) -> None:
    """No eviction, no doubled effect, at most one claim open at any moment, and that one concluded."""
    assert world.pd.schedulers.evicted == {}
    applied = world.applied()
    assert applied in ([], [ADD, REMOVE]), applied
    is_open = False
    for record in world.log.all():
        if isinstance(record.event, e.Claimed):
            assert not is_open
            is_open = True
        elif isinstance(record.event, e.Concluded):
            is_open = False
            assert record.event.owed == ()
    assert not is_open


async def approved(world: World) -> None:
    world.approve(await world.asks("evict_store_leaders", **EVICT))


KILLED_AFTER = (
    (e.Claimed, 1),
    (e.Looked, 1),
    (e.StepIntended, 1),
    (e.StepTaken, 1),
    (e.Sampled, 1),
    (e.Sampled, 7),
    (e.StepIntended, 2),
    (e.StepTaken, 2),
    (e.ChangeUndone, 1),
    (e.ChangeUndone, 2),
    (e.Concluded, 1),
)
AFTER = [pytest.param(kind, nth, id=f"{kind.__name__}{nth}") for kind, nth in KILLED_AFTER]


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "answer-lost"])
@pytest.mark.parametrize(("kind", "nth"), AFTER)
def test_execute_killed_after_any_event_leaves_nothing_behind(kind: type[e.Event], nth: int, late: bool) -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", kind, nth, late=late)

        world.start("execute")
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


@pytest.mark.parametrize("late", [False, True], ids=["never-sent", "answer-lost"])
@pytest.mark.parametrize("nth", [1, 2], ids=["do", "undo"])
def test_a_step_cut_off_by_a_kill_is_told_apart_even_after_a_long_outage(nth: int, late: bool) -> None:
    """Absence is believed only of a PD that has settled, and the new process has just begun to watch it."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", e.StepIntended, nth, late=late)
        await world.passes(1500)

        world.start("execute")
        assert (await world.closed()).code != "unknown"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_second_takeover_waits_as_the_first_one_did() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", e.StepTaken)
        world.start("execute")
        await world.kill_after("execute", e.TakenOver)

        again_s = world.now_s()
        world.start("execute")
        await world.until(lambda: len(world.found(e.TakenOver)) == 2 or None)
        assert world.now_s() - again_s >= 20
        assert [t.attempt for t in world.found(e.TakenOver)] == [2, 3]
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)
