"""What an owner puts into one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from agents.diagnose import Diagnose
from infra.runners.books import Books, Raw
from infra.runners.owner import LogClock
from schemas import events as e
from schemas.chain import Link, edge, stamp
from schemas.wire import frame
from streams.incidents import Incidents
from streams.pipeline import processor
from tests.agents.lane import unreachable
from tests.spec.world import CLUSTER, SMALL, World, live


def stray(world: World, ask_id: str) -> None:
    """An answer to a question that nobody asked."""
    event = e.DiagnosisAbstained(
        cluster_id=CLUSTER, incident_id="INC-404", ask_id=ask_id, by="playbook", code="spec", reason="spec", evidence=()
    )
    world.log.write("diagnoses", edge(event, ask_id, world.now_ms()))


def answers(world: World) -> list[tuple[str, int]]:
    """What `incidents` has said since it started, and how many inputs each InputIgnored answers."""
    said = [r.event for r in world.log.all() if r.topic == "incidents" and not isinstance(r.event, e.OwnerStarted)]
    return [(type(x).__name__, len(x.inputs) if isinstance(x, e.InputIgnored) else 1) for x in said]


def test_inputs_that_change_nothing_are_answered_together_after_a_moment() -> None:
    async def spec(world: World) -> None:
        world.start("incidents")
        await world.passes(5)
        for ask_id in ("A-1", "A-2"):
            stray(world, ask_id)
            await world.passes(0.1)
        assert answers(world) == []
        await world.passes(3)
        assert answers(world) == [("InputIgnored", 2)]

    live(spec, **SMALL)


def test_an_input_that_changes_nothing_is_answered_with_the_next_one_that_does() -> None:
    async def spec(world: World) -> None:
        world.start("intake", "incidents")
        await world.passes(5)
        stray(world, "A-1")
        await world.passes(0.1)
        world.alert("TiKV_server_report_failure_msg_total")
        await world.passes(0.1)
        assert answers(world) == [("IncidentOpened", 1), ("DiagnosisAsked", 1), ("InputIgnored", 1)]
        positions = world.owners["incidents"][0].books.positions
        assert positions["diagnoses"] == 1

    live(spec, **SMALL)


def test_what_was_not_answered_yet_is_read_again_by_the_next_owner() -> None:
    async def spec(world: World) -> None:
        world.start("incidents")
        await world.passes(5)
        stray(world, "A-1")
        await world.passes(0.1)
        await world.kill("incidents")
        assert answers(world) == []
        world.start("incidents")
        await world.passes(3)
        assert answers(world) == [("InputIgnored", 1)]

    live(spec, **SMALL)


def test_time_is_the_brokers_from_the_start_on_whatever_the_hosts_calendar_says() -> None:
    """Known only once something has been appended; then it is what has passed since."""
    own_ms = 7_000
    clock = LogClock(lambda: own_ms)
    assert clock.now_ms() == 0
    clock.saw(1_000_000)
    own_ms += 50
    assert clock.now_ms() == 1_000_050
    clock.saw(1_000_040)  # a broker that is behind
    assert clock.now_ms() == 1_000_050
    clock.saw(1_000_070)
    own_ms += 5
    assert clock.now_ms() == 1_000_075


@pytest.mark.parametrize(("role", "topic", "now_ms"), [("diagnose", "diagnoses", 7), ("incidents", "incidents", 5_000)])
def test_a_successor_begins_with_the_time_of_who_worked_and_with_any_broker_s_of_who_decided(
    role: str, topic: str, now_ms: int
) -> None:
    """Seed 2419: who folded all was an hour ahead of who began with the closed books, as a broker had been once."""
    line = processor(role)
    rules: Any = Diagnose(unreachable()) if role == "diagnose" else Incidents()
    books: Books[Any] = Books(role, line.writes[0], 0, 1, rules)
    started, _ = stamp(
        topic, Link(), e.OwnerStarted(cluster_id="~0", role=role, owner="o", build="b", positions={}), None, 7
    )
    books.restore(Raw(topic, 0, 0, 5_000, b"~0", frame(e.OwnerStarted, started.body)))
    assert books.now_ms == now_ms


def test_books_that_have_only_begun_are_not_closed_at_once() -> None:
    async def spec(world: World) -> None:
        world.start("incidents")
        await world.passes(30)
        assert world.found(e.OwnerStarted)
        assert not world.found(e.DayClosed)

    live(spec, **SMALL)


def test_who_decides_follows_the_brokers_clock_and_who_works_its_own() -> None:
    async def spec(world: World) -> None:
        world.start("incidents", "diagnose", "intake")
        await world.passes(2)
        world.log.now_ms = lambda: world.now_ms() + 3_600_000
        world.alert("TiKV_server_report_failure_msg_total")
        await world.until(lambda: world.found(e.DiagnosisAbstained) or None)
        ahead_s = {r.topic: (r.head.at_ms - world.now_ms()) / 1000 for r in world.log.all()}
        assert ahead_s["incidents"] > 3_500
        assert ahead_s["diagnoses"] < 1

    live(spec, **SMALL)
