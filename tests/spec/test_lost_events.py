"""A broker that loses what it has acknowledged: what came of the lost events is on other topics, and stops whoever
would do it all again."""

from __future__ import annotations

from infra.runners.books import Books
from schemas import events as e
from tests.spec.test_execution_recovery import ADD, EVICT
from tests.spec.world import CLUSTER, SMALL, World, live


def lose(world: World, topic: str, offset: int) -> None:
    """From that offset on, and for good: a leader was elected that did not have it."""
    held = world.log.records[topic, 0]
    world.log._order = [raw for raw in world.log._order if raw not in held[offset:]]
    world.log._admitted, world.log._read_up_to = [], 0
    del held[offset:]


def offset_of(world: World, kind: type[e.Event]) -> int:
    return next(r.offset for r in world.log.all() if isinstance(r.event, kind))


async def claimed_and_lost(world: World, until: type[e.Event] = e.StepIntended) -> int:
    """Approved, claimed, said so on `remediations`; then all that `execute` knows of it is lost. Returns where it
    was."""
    world.approve(await world.asks("evict_store_leaders", **EVICT))
    await world.until(lambda: world.one(e.ExecutionStarted))
    await world.kill_after("execute", until)
    claimed = offset_of(world, e.Claimed)
    lose(world, "outcomes", claimed)
    return claimed


def test_what_its_ledger_has_lost_is_not_done_again() -> None:
    """Nothing else would show it: the ledger is whole as far as it goes, and the order is there to be taken."""

    async def spec(world: World) -> None:
        lost = await claimed_and_lost(world)
        said = offset_of(world, e.ExecutionStarted)
        writes = list(world.writes())

        world.start("execute")
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", "controls_unreadable")
        assert f"remediations/0@{said}: it came of outcomes/0@{lost}, and the ledger ends at {lost}" in concluded.text
        assert world.writes() == writes
        (letter,) = world.dead("execute")
        assert (letter.code, letter.field, letter.offset) == ("ledger_lost_events", "cause", said)

    live(spec, intruder=True, off_record=True, **SMALL)


def test_a_person_who_has_looked_lifts_it() -> None:
    async def spec(world: World) -> None:
        await claimed_and_lost(world)
        said = offset_of(world, e.ExecutionStarted)
        world.start("execute")
        await world.concluded()
        assert world.owners["execute"][0].books.controls_of(CLUSTER, await world.controls.read()).poisoned

        await world.kill("execute")
        world.lift_input(f"remediations/0@{said}", CLUSTER)
        world.start("execute")
        await world.passes(10)
        assert not world.owners["execute"][0].books.controls_of(CLUSTER, await world.controls.read()).poisoned

    live(spec, intruder=True, off_record=True, **SMALL)


def test_what_only_came_of_what_is_there_stops_nobody() -> None:
    """The same kill, and nothing is lost."""

    async def spec(world: World) -> None:
        world.approve(await world.asks("evict_store_leaders", **EVICT))
        await world.until(lambda: world.one(e.ExecutionStarted))
        await world.kill_after("execute", e.StepIntended)
        world.start("execute")
        assert (await world.closed()).code == "succeeded"
        assert ADD in world.applied()

    live(spec, **SMALL)


def test_an_unreadable_input_says_nothing_of_what_was_lost() -> None:
    books: Books[object] = Books("execute", "outcomes", 0, 1, rules=None)  # type: ignore[arg-type]

    async def spec(world: World) -> None:
        books.look_ahead(world.log.append("remediations", CLUSTER, b"junk"))
        assert books.lost == {}

    live(spec, intruder=True, **SMALL)
