"""The sink is killed at every step of its loop, once and twice in a row: rows, places and topics agree all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

import pytest

from tests.simulation.plants import PLANTS
from tests.simulation.sink_lives import FATES, IN_FLIGHT, KEPT, LATE, LOST, Death, Weather, live

WEATHERS = {
    "calm": Weather(),
    "answers are lost": Weather({0: LOST, 1: KEPT, 2: LATE, 4: LATE, 6: KEPT, 8: LOST}, frozenset({0, 2, 3})),
}
EVERY_STEP = {
    *("before _prepare", "after _prepare", "pause", "before check_settings", "after check_settings"),
    *("before positions", "after positions", "before seek", "after seek"),
    *("before poll", "after poll, of some", "after poll, of nothing", "lag"),
    *("before rows", "after rows", "before insert", IN_FLIGHT, "after insert"),
}
PLANTED = (
    "audit-resumes-past-a-partial-batch",
    "audit-does-not-wait-out-a-running-insert",
    "audit-makes-a-block-anew",
)


@cache
def steps_of(name: str) -> tuple[str, ...]:
    """Of a sink that nobody kills."""
    (steps,) = live((), WEATHERS[name]).lives
    return steps


def at_every_step(steps: Sequence[str]) -> Iterator[Death]:
    """Every time that it is there; and whatever may become of an insert that is in flight."""
    for step, times in Counter(steps).items():
        for nth in range(times):
            yield from (Death(step, nth, fate) for fate in (FATES if step == IN_FLIGHT else (LOST,)))


def at_each_kind_of_step() -> Iterator[Death]:
    for step in sorted(EVERY_STEP):
        yield from (Death(step, 0, fate) for fate in (FATES if step == IN_FLIGHT else (LOST,)))


@pytest.mark.parametrize("name", WEATHERS)
def test_a_sink_goes_through_every_step_over_the_end_of_a_month(name: str) -> None:
    found = live((), WEATHERS[name])
    assert {*found.lives[0]} == EVERY_STEP
    assert found.months == 2
    assert found.differences == ()


@pytest.mark.parametrize("name", WEATHERS)
def test_a_sink_killed_at_any_step_of_its_loop_loses_and_repeats_nothing(name: str) -> None:
    for death in at_every_step(steps_of(name)):
        found = live((death,), WEATHERS[name])
        assert found.killed == 1, f"it was never there: {death}"
        assert found.differences == (), f"killed: {death}"


@pytest.mark.parametrize("first", [*at_each_kind_of_step()], ids=str)
def test_a_successor_killed_in_its_turn_loses_and_repeats_nothing(first: Death) -> None:
    for second in at_each_kind_of_step():
        found = live((first, second), WEATHERS["answers are lost"])
        assert found.differences == (), f"killed: {first}; then: {second}"


@pytest.mark.parametrize("plant", PLANTED)
def test_a_bug_in_it_is_seen_where_it_is_killed(plant: str) -> None:
    deaths = at_every_step(steps_of("calm"))
    with PLANTS[plant]():
        assert any(live((death,), weather).differences for death in deaths for weather in WEATHERS.values())
