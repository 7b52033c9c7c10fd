"""Closing the books: a restart folds from there, and knows what it would know had it folded all of it."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass, replace
from typing import Any

import pytest

from schemas import events as e
from schemas.saved import Saved, saved_of
from schemas.wire import decode, encode
from tests.spec.test_execution_recovery import EVICT, approved, nothing_is_left_behind
from tests.spec.test_the_main_job import slow_store
from tests.spec.world import CLUSTER, OWNED, SMALL, World, live

STAGES = (e.ApprovalAsked, e.Looked, e.StepTaken, e.Sampled, e.ChangeUndone, e.RemediationClosed)
OFTEN = {**SMALL, "close_books_every_s": 60}


def test_what_is_folded_from_the_books_is_what_is_folded_from_the_start() -> None:
    async def spec(world: World) -> None:
        await slow_store(world)
        shorter = 0
        await world.until(lambda: world.found(e.ApprovalAsked))
        world.approve(world.found(e.ApprovalAsked)[0])
        for kind in STAGES:
            await world.until(lambda kind=kind: world.found(kind))  # type: ignore[misc]
            assert [*world.books_differ()] == []
            shorter += sum(world.folded(role).since > 0 for role in OWNED)
        for _ in range(3):
            await world.passes(50)
            assert [*world.books_differ()] == []
            shorter += sum(world.folded(role).since > 0 for role in OWNED)
        assert shorter > 3 * len(OWNED)

    live(spec, **OFTEN)


@pytest.mark.parametrize("kind", STAGES, ids=lambda kind: str(kind.__name__))
def test_who_begins_with_the_books_goes_on_where_the_work_was(kind: type[e.Event]) -> None:
    async def spec(world: World) -> None:
        if kind is e.ApprovalAsked:
            ask = await world.asks("evict_store_leaders", **EVICT)
        else:
            await approved(world)
        await world.until(lambda: world.found(kind))
        closed = len(world.found(e.DayClosed))
        await world.until(lambda: len(world.found(e.DayClosed)) >= closed + len(OWNED))
        for role in ("execute", "remediations"):
            await world.kill(role)
            world.start(role)
            await world.until(lambda role=role: world.owners.get(role))  # type: ignore[misc]
            (owner,) = world.owners[role]
            await owner.ready.wait()
            assert owner.books.since > 0
        if kind is e.ApprovalAsked:
            world.approve(ask)
        await world.closed()
        nothing_is_left_behind(world)
        assert [*world.books_differ(("execute", "remediations"))] == []

    live(spec, **OFTEN)


def test_states_of_another_shape_are_not_read() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.closed()
        await world.until(lambda: len(world.found(e.DayClosed)) >= len(OWNED))
        topic = world.log.read("outcomes", 0, 0, 10**6)
        books = world.folded("execute")
        (day, *_) = [raw for raw in reversed(topic) if books.begins(raw) is not None]
        found = [r for r in world.log.all() if (r.topic, r.offset) == ("outcomes", day.offset)]
        other = found[0].event.model_copy(update={"state_schema": "0" * 16})
        assert books.begins(replace(day, value=encode(other, found[0].head))) is None

    live(spec, **OFTEN)


def test_a_book_that_was_changed_breaks_the_ledger_of_its_cluster() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.closed()
        await world.until(lambda: len(world.found(e.DayClosed)) >= 3 * len(OWNED))
        raws = world.log.read("outcomes", 0, 0, 10**6)
        books = world.folded("execute")
        books.since = next(first for raw in raws if (first := books.begins(raw)) is not None)
        books.states, books.links = {}, {}
        for raw in raws[books.since :]:
            event, head = decode(raw.value).event, decode(raw.value).head
            if isinstance(event, e.BookClosed) and CLUSTER not in books.links:
                state = event.state.replace('"quarantine":""', '"quarantine":"R-7"')
                assert state != event.state
                raw = replace(raw, value=encode(event.model_copy(update={"state": state}), head))
            books.restore(raw)
        assert list(books.broken) == [CLUSTER]

    live(spec, **OFTEN)


def test_a_state_that_cannot_be_written_down_stops_the_closing_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: Saved[Any], state: Any) -> str:
        raise TypeError("a bug")

    async def spec(world: World) -> None:
        said: list[str] = []
        world.loop.set_exception_handler(lambda loop, context: said.append(context["message"]))
        await approved(world)
        await world.closed()
        assert world.found(e.DayClosed) == []
        assert any("execute: the books of prod-eu-7 can't be closed" in text for text in said)

    monkeypatch.setattr(Saved, "dump", fails)
    live(spec, **OFTEN)


def test_sets_are_written_in_order() -> None:
    saved = saved_of(frozenset[str])
    assert saved.dump(frozenset({"b", "a", "c"})) == '["a","b","c"]'
    assert saved.load('["a","b","c"]') == frozenset({"a", "b", "c"})


def test_a_state_is_written_down_as_json_that_a_person_can_read() -> None:
    saved = saved_of(dict[str, tuple[int, str]])
    assert saved.dump({"é": (1, "ü"), "a": (2, "")}) == '{"é":[1,"ü"],"a":[2,""]}'
    with pytest.raises(ValueError, match="JSON"):
        saved.load("[")


def test_a_state_has_another_schema_when_its_shape_or_its_fold_is_another() -> None:
    @dataclass(frozen=True)
    class Counted:
        count: int = 0

    @dataclass(frozen=True)
    class Named:
        name: str = ""

    def schema(kind: type[Any], fold: int | None) -> str:
        if fold is not None:
            kind.FOLD = fold
        return Saved(kind).schema

    schemas = [schema(Counted, None), schema(Named, None), schema(Counted, 1), schema(Counted, 2)]
    assert {len(each) for each in schemas} == {16}
    assert schemas[0] == schemas[2], "a state that says nothing of its fold has the first"
    assert len(set(schemas)) == 3


def test_the_order_of_its_fields_is_no_part_of_a_states_schema() -> None:
    one = make_dataclass("State", [("b", int, 0), ("a", str, "")])
    other = make_dataclass("State", [("a", str, ""), ("b", int, 0)])

    assert Saved(one).schema == Saved(other).schema


def test_what_has_no_place_in_a_state_is_not_written_down_as_something_else() -> None:
    with pytest.raises(TypeError, match="complex has no place in a state"):
        saved_of(Any).dump({"at": 1j})
