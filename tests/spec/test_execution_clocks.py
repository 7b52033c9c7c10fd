"""Clocks that disagree: the lane judges by its own, so an hour's difference makes nothing fresh and delays nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from infra.pd import PdReader
from pdsim.faults import DroppedBefore
from pdsim.http import transport
from schemas import events as e
from schemas.facts import Facts, FactsReader, Look
from tests.simulation.invariants import History
from tests.spec.test_execution_recovery import ADD, EVICT, REMOVE, approved, nothing_is_left_behind
from tests.spec.world import CLUSTER, SMALL, OtherHands, World, live

HOUR_S = 3600.0
AN_HOUR = [pytest.param(-HOUR_S, id="behind"), pytest.param(HOUR_S, id="ahead")]


class Watched:
    """A reader that notes when the lane began each look."""

    def __init__(self, world: World, inner: FactsReader) -> None:
        self.world, self.inner = world, inner
        self.began_ms: list[int] = []

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        self.began_ms.append(self.world.now_ms())
        return await self.inner.facts(cluster_id, look)


class OtherClocks(OtherHands):
    """The host that reads PD, and PD itself, may have the wrong time; the log has the right one."""

    reader_off_s = 0.0
    pd_off_s = 0.0

    def __init__(self, **world: Any) -> None:
        super().__init__(**world)
        self.transport = transport(self.pd, lambda: self.now_s() + self.pd_off_s, self.faults)
        self.looks: Watched | None = None

    def changed(self, made: Any) -> dict[str, Any]:
        assert isinstance(made.reader, PdReader)
        self.looks = Watched(self, replace(made.reader, wall_s=lambda: self.now_s() + self.reader_off_s))
        return {"reader": self.looks}

    def history(self) -> History:
        """With what PD has recorded by its own clock dated by the log's."""
        made, now_s = super().history(), self.now_s()
        calls = [replace(c, at=c.at - self.pd_off_s) if c.at > now_s else c for c in made.calls[CLUSTER]]
        return replace(made, calls={CLUSTER: calls})

    def looked_since(self, at_ms: int) -> bool:
        assert self.looks
        return any(began_ms > at_ms for began_ms in self.looks.began_ms)

    def at_ms(self, kind: type[e.Event], nth: int = 1) -> int:
        """When the nth of these was appended."""
        return [r.at_ms for r in self.log.all() if isinstance(r.event, kind)][nth - 1]


def with_other_clocks(spec: Callable[[OtherClocks], Awaitable[None]]) -> None:
    async def of(world: World) -> None:
        assert isinstance(world, OtherClocks)
        await spec(world)

    live(of, kind=OtherClocks, **SMALL)


async def ends_as_ever(world: OtherClocks, kept_s: int = 60, settling_s: int = 20) -> None:
    """Kept for its time, seen gone for long enough, and all that about as quickly as with clocks that agree."""
    began_s = world.now_s()
    assert (await world.closed(300)).code == "succeeded"
    nothing_is_left_behind(world)
    made_ms, undo_ms = world.at_ms(e.StepTaken), world.at_ms(e.StepIntended, 2)
    assert undo_ms - made_ms >= kept_s * 1000
    assert world.at_ms(e.ChangeUndone, 2) - world.at_ms(e.ChangeUndone) >= settling_s * 1000
    assert world.now_s() - began_s < 240
    sampled_ms = [r.at_ms for r in world.log.all() if isinstance(r.event, e.Sampled)]
    assert all(later - earlier >= 1000 for earlier, later in pairwise(sampled_ms))


@pytest.mark.parametrize("off_s", AN_HOUR)
def test_a_readers_clock_that_goes_wrong_while_leaders_are_evicted_delays_nothing(off_s: float) -> None:
    async def spec(world: OtherClocks) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.reader_off_s = off_s

        await ends_as_ever(world)

    with_other_clocks(spec)


@pytest.mark.parametrize("off_s", AN_HOUR)
def test_a_readers_clock_that_is_put_right_while_leaders_are_evicted_delays_nothing(off_s: float) -> None:
    """Samples that were dated wrongly do not hold up those that follow."""

    async def spec(world: OtherClocks) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.reader_off_s = off_s
        await world.until(lambda: world.one(e.Sampled))
        world.reader_off_s = 0.0

        await ends_as_ever(world)

    with_other_clocks(spec)


def test_a_pd_whose_clock_goes_an_hour_ahead_while_leaders_are_evicted_delays_nothing() -> None:
    async def spec(world: OtherClocks) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.pd_off_s = HOUR_S

        await ends_as_ever(world)

    with_other_clocks(spec)


def test_a_pd_that_restarts_with_its_clock_an_hour_ahead_is_believed_once_it_has_been_watched_for_long_enough() -> None:
    """By the reader's clock it has not been started yet."""

    async def spec(world: OtherClocks) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.pd_off_s = HOUR_S
        await world.passes(5)
        world.pd.restart_pd(world.now_s() + HOUR_S)

        await world.closed(600)
        assert world.applied() == [ADD, REMOVE]
        assert world.pd.schedulers.evicted == {}

    with_other_clocks(spec)


@pytest.mark.parametrize("off_s", AN_HOUR)
def test_what_was_seen_before_a_call_was_given_up_says_nothing_of_it_whatever_the_readers_clock(off_s: float) -> None:
    async def spec(world: OtherClocks) -> None:
        world.faults.add(DroppedBefore(), method="DELETE")
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.reader_off_s = off_s

        probed = await world.until(lambda: world.one(e.StepProbed), 300)
        assert (probed.step, probed.finding) == (2, "not_started")
        over_ms = world.at_ms(e.StepIntended, 2) + int(world.found(e.StepIntended)[1].window_s * 1000)
        assert world.looked_since(over_ms)
        await world.closed()
        nothing_is_left_behind(world)

    with_other_clocks(spec)


@pytest.mark.parametrize("off_s", AN_HOUR)
def test_before_anything_is_done_clocks_that_disagree_are_a_reason_not_to(off_s: float) -> None:
    async def spec(world: OtherClocks) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.reader_off_s = off_s
        world.approve(ask)

        concluded = await world.concluded(120)
        assert (concluded.outcome, concluded.code) == ("not_started", "facts_stale")
        assert world.writes() == []

    with_other_clocks(spec)
