"""set_schedule_config through the pipeline in memory: asked for, approved, set, kept, set back; whose word counts."""

from __future__ import annotations

from typing import Any

import pytest

from pdsim import faults as f
from schemas import events as e
from tests.spec.world import SMALL, World, live

KEY = "region-schedule-limit"
SLOWER: dict[str, Any] = {"key": KEY, "value": 4, "keep_s": 120}
SET = "POST /pd/api/v1/config"


def value(world: World) -> object:
    return world.pd.config.schedule[KEY]


def concluded(world: World) -> e.Concluded:
    found = world.one(e.Concluded)
    assert found is not None
    return found


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.DroppedBefore(), f.HalfBody(), f.NotLeader()], ids=str)
def test_a_key_is_set_kept_for_its_time_and_set_back_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        world.pd.config.schedule[KEY] = 100
        ask = await world.asks("set_schedule_config", **SLOWER)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        assert world.writes() == []
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        await world.until(lambda: value(world) == 4 or None)
        set_ms = world.now_ms()
        await world.until(lambda: value(world) == 100 or None)
        assert world.now_ms() - set_ms >= 120_000
        closed = await world.closed()
        assert (closed.code, concluded(world).owed) == ("succeeded", ())
        assert world.applied() == [SET, SET]

    live(spec, **SMALL)


def test_while_somebody_holds_the_key_for_a_while_nothing_is_changed() -> None:
    """A restore by BR, which nothing but PD's refusal shows."""

    async def spec(world: World) -> None:
        world.pd.config.set_ttl({f"schedule.{KEY}": 0}, 3600, world.now_s())
        world.approve(await world.asks("set_schedule_config", **SLOWER))
        await world.closed()
        assert (concluded(world).outcome, concluded(world).owed) == ("failed_without_effect", ())
        assert world.applied() == []
        assert world.pd.config.limit(KEY, world.now_s()) == 0
        assert value(world) == 2048

    live(spec, **SMALL)


def test_where_a_restore_begins_meanwhile_the_undo_is_owed_to_a_person() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("set_schedule_config", **SLOWER))
        await world.until(lambda: world.one(e.Sampled))
        world.pd.config.set_ttl({f"schedule.{KEY}": 0}, 3600, world.now_s())
        found = await world.until(lambda: world.one(e.Concluded))
        assert (found.outcome, found.code) == ("unknown", "undo_refused")
        assert [change.undo and change.undo.args for change in found.owed] == [{"key": KEY, "value": "2048"}]
        assert world.pd.config.limit(KEY, world.now_s()) == 0, "theirs is in force"

    live(spec, **SMALL)


def test_a_value_that_somebody_else_sets_meanwhile_ends_it() -> None:
    async def spec(world: World) -> None:
        world.approve(await world.asks("set_schedule_config", **SLOWER))
        await world.until(lambda: world.one(e.Sampled))
        world.pd.config.schedule[KEY] = 7
        closed = await world.closed()
        assert concluded(world).code == "changed_by_other"
        assert (closed.code, concluded(world).owed) == ("worse", ())
        assert "was 2048 and is 7" in concluded(world).text

    live(spec, **SMALL)


def test_a_value_that_somebody_has_changed_since_the_approval_is_not_overwritten() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("set_schedule_config", **SLOWER)
        world.pd.config.schedule[KEY] = 7
        world.approve(ask)
        found = await world.until(lambda: world.one(e.Concluded))
        assert (found.outcome, found.code) == ("not_started", "drifted")
        assert f"schedule.{KEY} was 2048, is 7" in found.text
        assert (world.writes(), value(world)) == ([], 7)

    live(spec, **SMALL)
