"""What an owner puts into one transaction."""

from __future__ import annotations

from schemas import events as e
from schemas.chain import edge
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
