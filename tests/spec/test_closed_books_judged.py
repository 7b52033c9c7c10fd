"""What a closing says of its ledger is held against the ledger: a restart would believe a forged one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bootstrap.roles import folds
from infra.clickhouse.verify import Break, Kept, verify
from infra.runners.books import Raw
from infra.settings import Settings
from schemas import events as e
from schemas.chain import Link
from schemas.values import Poison, sha256
from schemas.wire import decode, encode
from tests.spec.test_execution_recovery import approved
from tests.spec.world import CLUSTER, OWNED, SMALL, World, live


@pytest.fixture(scope="module")
def run() -> tuple[list[Raw], Settings]:
    async def spec(world: World) -> None:
        await approved(world)
        await world.closed()
        await world.until(lambda: len(world.found(e.DayClosed)) >= 3 * len(OWNED))

    world = live(spec, **{**SMALL, "close_books_every_s": 60})
    return [raw for held in world.log.records.values() for raw in held], world.settings


def breaks(run: tuple[list[Raw], Settings], raws: list[Raw], cluster: str | None = None) -> list[Break]:
    return [b for b in verify(map(Kept, raws), folds=folds(run[1]), cluster=cluster).breaks if b.topic == "outcomes"]


def forged(
    raws: list[Raw], kind: type[e.Event], change: Callable[[Any], Any], number: int = 1
) -> tuple[list[Raw], Raw]:
    """The so-manieth event of this kind on `outcomes` changed, and its chain made to follow."""
    links: dict[str, Link] = {}
    seen, found, made = -1, None, []
    for raw in raws:
        if raw.topic != "outcomes":
            made.append(raw)
            continue
        was = decode(raw.value)
        key, event = was.event.cluster_id, was.event
        seen += isinstance(event, kind)
        hit = isinstance(event, kind) and seen == number
        event = change(event) if hit else event
        head = was.head.model_copy(update={"prev_hash": links.get(key, Link()).hash})
        made.append(replace(raw, value=encode(event, head)))
        found = made[-1] if hit else found
        links[key] = Link(head.seq, sha256(decode(made[-1].value).body))
    assert found is not None
    return made, found


def test_every_closing_of_a_whole_run_is_what_its_ledger_gives(run: tuple[list[Raw], Settings]) -> None:
    verdict = verify(map(Kept, run[0]), folds=folds(run[1]))
    assert verdict.ok, verdict.to_text()
    assert verdict.counts["books"] >= 6 * len(OWNED)
    assert verdict.counts["books_not_judged"] == 0


def test_without_rules_to_fold_by_books_are_counted_as_not_judged(run: tuple[list[Raw], Settings]) -> None:
    verdict = verify(map(Kept, run[0]))
    assert verdict.ok
    assert verdict.counts["books_not_judged"] > 0


def test_a_book_of_another_shape_is_counted_and_not_judged(run: tuple[list[Raw], Settings]) -> None:
    raws, _ = forged(run[0], e.BookClosed, lambda book: book.model_copy(update={"state_schema": "0" * 16}))
    assert [b for b in breaks(run, raws) if b.kind == "book"] == []
    assert verify(map(Kept, raws), folds=folds(run[1])).counts["books_not_judged"] == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda state: state.replace('"quarantine":""', '"quarantine":"R-7"'),
            'its book says quarantine = "R-7", and its events give ""',
        ),
        (lambda state: state.replace('"answered":{', '"answered":{"R-9":"succeeded",'), "answered.R-9"),
        (lambda state: "{", "its book is no JSON"),
        (lambda state: "{}", "its book says answered = null, and its events give {"),
    ],
)
def test_a_state_that_its_events_do_not_give_is_named(
    run: tuple[list[Raw], Settings], change: Callable[[str], str], text: str
) -> None:
    raws, at = forged(run[0], e.BookClosed, lambda book: book.model_copy(update={"state": change(book.state)}))
    (found,) = breaks(run, raws)
    assert (found.kind, found.cluster_id, found.offset) == ("book", CLUSTER, at.offset)
    assert text in found.text
    assert breaks(run, raws, CLUSTER) == [found]


POISON = Poison(place="approvals/0@3", stops=CLUSTER, text="x", at_ms=1, controls_offset=0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"positions": {"remediations": 10_000}}, "was not"),  # its restart would pass over what came after
        ({"positions": {"remediations": 0}}, "it says that remediations/0 was answered up to 0, and it was up to"),
        ({"positions": {}}, "it says that remediations/0 was answered up to 0"),
        ({"first_offset": 10_000}, f"would know nothing of {CLUSTER}"),
        ({"poisoned": (POISON,)}, "it says that approvals/0@3 stops executions, and no event does"),
        ({"genesis": e.GenesisMarked(cluster_id="~0", topic_id="x", partitions=1, transactional_id="y", durable=True)},
         "its genesis is not the one on record"),
    ],
)  # fmt: skip
def test_what_a_day_says_of_its_partition_is_held_against_it(
    run: tuple[list[Raw], Settings], change: dict[str, Any], text: str
) -> None:
    raws, at = forged(run[0], e.DayClosed, lambda day: day.model_copy(update=change))
    found = [b for b in breaks(run, raws) if b.kind == "book"]
    assert [(b.cluster_id, b.offset) for b in found] == [("~0", at.offset)]
    assert text in found[0].text
    assert breaks(run, raws, CLUSTER) == []  # of one cluster alone it can't be judged


def test_what_stops_executions_and_is_not_in_the_closing_is_named(run: tuple[list[Raw], Settings]) -> None:
    """As an input would be forgotten that could have been a person's no."""

    first = next(
        n for n, r in enumerate(run[0]) if r.topic == "outcomes" and decode(r.value).event.cluster_id == CLUSTER
    )
    was = decode(run[0][first].value)
    assert was.head.cause is not None
    event = e.InputRejected(cluster_id=CLUSTER, code="impossible", text="x")
    raws = list(run[0])
    raws[first] = replace(raws[first], value=encode(event, was.head))
    raws, _ = forged(raws, e.DayClosed, lambda day: day, 0)
    found = [b for b in breaks(run, raws) if (b.kind, b.cluster_id) == ("book", "~0")]
    assert len(found) == 1
    assert "it does not say that" in found[0].text
    assert "stops executions" in found[0].text
