"""set_tikv_config through the pipeline in memory: set at the store itself, set back, and lost where it restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pdsim import faults as f
from pdsim.stores import Settings
from schemas import events as e
from tests.simulation.invariants import History, judge
from tests.spec.world import ACTING_POLICY, CLUSTER, SMALL, World, live

CACHE = "storage.block-cache.capacity"
SHRINK: dict[str, Any] = {"store_id": 4, "key": CACHE, "mib": 4096}
POLICY: dict[str, Any] = {
    **ACTING_POLICY,
    "actions": {**ACTING_POLICY["actions"], "set_tikv_config": {"mode": "on"}},
}
SET = "POST /config"


def has(world: World) -> str:
    return world.pd.stores[4].settings.now[CACHE]


async def is_set(world: World) -> None:
    world.approve(await world.asks("set_tikv_config", POLICY, **SHRINK))
    await world.until(lambda: world.one(e.StepTaken))
    assert has(world) == "4GiB"


@pytest.mark.parametrize("fault", [None, f.DroppedAfter(), f.DroppedBefore(), f.HtmlBody(502)], ids=str)
def test_a_setting_is_set_once_whatever_becomes_of_the_answer(fault: f.Fault | None) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("set_tikv_config", POLICY, **SHRINK)
        assert (ask.tier, ask.needed) == ("MEDIUM", 1)
        if fault:
            world.faults.add(fault, method="POST", times=1)
        world.approve(ask)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.owed) == ("succeeded", ())
        assert (has(world), world.pd.stores[4].settings.file) == ("4GiB", Settings().file)
        assert world.applied() == [SET]

    live(spec, **SMALL)


def test_a_setting_of_another_store_or_one_that_is_written_down_is_not_what_was_intended() -> None:
    kept: list[History] = []

    async def spec(world: World) -> None:
        await is_set(world)
        await world.closed()
        kept.append(world.history())

    live(spec, **SMALL)
    (history,) = kept
    assert judge(history) == []
    others: tuple[dict[str, Any], ...] = ({"host": "10.0.4.3:20180"}, {"query": "persist=true"}, {"query": ""})
    for changed in others:
        calls = [replace(c, **changed) if c.method == "POST" else c for c in history.calls[CLUSTER]]
        broken = judge(replace(history, calls={CLUSTER: calls}))
        assert [name for name, _ in broken] == ["CLAIM_BEFORE_EFFECT"]


def test_where_the_store_gets_slow_the_old_value_is_set_again() -> None:
    async def spec(world: World) -> None:
        await is_set(world)
        world.pd.set_slow(4, 90)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.code, concluded.owed) == ("worse", "store_slow", ())
        assert (has(world), world.applied()) == ("8GiB", [SET, SET])

    live(spec, **SMALL)


def test_a_store_that_restarts_has_lost_it_and_is_left_alone() -> None:
    """Its file has another value meanwhile, which the undo would have overwritten."""

    async def spec(world: World) -> None:
        await is_set(world)
        world.pd.kill_store(4)
        world.pd.stores[4].settings.file[CACHE] = "6GiB"
        world.pd.revive_store(4)
        closed = await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (closed.code, concluded.code, concluded.owed) == ("no_better", "store_restarted", ())
        assert (has(world), world.applied()) == ("6GiB", [SET])

    live(spec, **SMALL)


def test_a_store_that_dies_is_waited_for_until_it_is_gone_for_good() -> None:
    async def spec(world: World) -> None:
        await is_set(world)
        world.pd.kill_store(4)
        await world.until(lambda: [t for t in world.found(e.StepTaken) if t.answer == "never_sent"], 600)
        assert world.one(e.Concluded) is None
        world.pd.make_tombstone(4)
        await world.closed()
        concluded = world.one(e.Concluded)
        assert concluded is not None
        assert (concluded.outcome, concluded.owed) == ("worse", ())
        assert world.applied() == [SET]

    live(spec, **SMALL)


def test_a_value_that_somebody_has_set_since_the_approval_is_not_overwritten() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("set_tikv_config", POLICY, **SHRINK)
        world.pd.stores[4].settings.now[CACHE] = "6GiB"
        world.approve(ask)
        concluded = await world.until(lambda: world.one(e.Concluded))
        assert (concluded.outcome, concluded.code) == ("not_started", "drifted")
        assert f"store:4.{CACHE} was 8GiB, is 6GiB" in concluded.text
        assert (world.writes(), has(world)) == ([], "6GiB")

    live(spec, **SMALL)
