"""A test for each tampering: a recorded run, changed as an administrator of the table or of the topics could, and
`verify` names what was done and where.

The table is the real engine, changed by mutations. The topics are the records as a reader gets them: what Kafka keeps
can't be edited in place, but who owns the brokers writes another topic of that name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bootstrap.roles import folds
from infra.clickhouse.checkpoints import Checkpoints, Known, read
from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import row_of
from infra.clickhouse.store import Store, open_store
from infra.clickhouse.verify import Break, Verdict, compare, verify_store, verify_topics
from infra.runners.books import Raw
from infra.settings import Settings
from schemas import events as e
from schemas.values import sha256
from schemas.wire import decode, encode
from tests.integration.audit_fixtures import StoryReader, keep
from tests.servers import ClickhouseDatabase
from tests.spec.world import CLUSTER, World, live

DAY_MS = 86_400_000
ROW_MS = 1_900_000_000_000
Raws = list[Raw]


@dataclass(frozen=True)
class Run:
    """Two days of `prod-eu-7`: on each a store goes slow and is relieved, and the books are closed."""

    raws: tuple[Raw, ...]
    settings: Settings

    def of(self, topic: str) -> Raws:
        return [r for r in self.raws if r.topic == topic]

    def chain(self, topic: str = "outcomes", cluster: str = CLUSTER) -> Raws:
        return [r for r in self.of(topic) if r.key == cluster.encode()]

    @property
    def second_day_ms(self) -> int:
        """When the first day's books were closed."""
        return next(r.at_ms for r in self.of("outcomes") if kind(r) == "DayClosed") + 1


def kind(raw: Raw) -> str:
    return type(decode(raw.value).event).__name__


def seq(raw: Raw) -> int:
    return decode(raw.value).head.seq


@pytest.fixture(scope="module")
def run() -> Run:
    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        for day in range(1, 3):
            world.pd.set_slow(4, 90)
            await world.passes(15)
            world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
            asks = await world.until(lambda day=day: world.found(e.ApprovalAsked)[day - 1 :], 60)  # type: ignore[misc]
            world.approve(asks[0])
            await world.until(lambda day=day: len(world.found(e.RemediationClosed)) == day, 3600)  # type: ignore[misc]
            world.pd.set_slow(4, 1)
            await world.passes(86_400)

    world = live(spec, partitions=1, stores=4, regions=12, poll_s=5.0)
    return Run(tuple(raw for held in world.log.records.values() for raw in held), world.settings)


# -- what is done to it ---------------------------------------------------------------------------------------------


def one_byte(run: Run) -> tuple[Raws, Raw]:
    at = run.chain()[6]
    value = at.value or b""
    return [replace(r, value=value[:-2] + bytes([value[-2] ^ 1]) + value[-1:]) if r is at else r for r in run.raws], at


def one_removed(run: Run) -> tuple[Raws, Raw]:
    gone, after = run.chain()[6:8]
    return [r for r in run.raws if r is not gone], after


def a_copy_added(run: Run) -> tuple[Raws, Raw]:
    copy = replace(run.chain()[6], offset=run.of("outcomes")[-1].offset + 1)
    return [*run.raws, copy], copy


def forged(run: Run, by_seq: int) -> Raw:
    """Behind the last one of its topic, with the right hash of the one before it: by who can write to the ledger."""
    before = next(r for r in run.chain() if seq(r) == by_seq - 1)
    was = decode(before.value)
    head = was.head.model_copy(update={"seq": by_seq, "prev_hash": sha256(was.body), "cause": None})
    event = e.QuarantineLifted(cluster_id=CLUSTER, remediation_id="R-1", person="mallory", reason="x")
    offset = run.of("outcomes")[-1].offset + 1
    return Raw("outcomes", 0, offset, run.raws[-1].at_ms, CLUSTER.encode(), encode(event, head))


def a_forged_one_added(run: Run) -> tuple[Raws, Raw]:
    made = forged(run, seq(run.chain()[-1]))
    return [*run.raws, made], made


def one_forged_where_another_stands(run: Run) -> tuple[Raws, Raw]:
    at = run.chain()[6]
    made = replace(forged(run, seq(at)), offset=at.offset)
    return [made if r is at else r for r in run.raws], at


def two_swapped(run: Run) -> tuple[Raws, Raw]:
    one, two = run.chain()[6:8]
    changed = {one: replace(two, offset=one.offset), two: replace(one, offset=two.offset)}
    return [changed.get(r, r) for r in run.raws], changed[two]


def last_hundred_cut(run: Run) -> tuple[Raws, Raw]:
    """Of the whole record, as it came."""
    gone = sorted(run.raws, key=lambda r: r.at_ms)[-100:]
    left = [r for r in run.raws if r not in gone]
    return left, [r for r in left if r.topic == "outcomes" and r.key == CLUSTER.encode()][-1]


def a_day_cut(run: Run) -> tuple[Raws, Raw]:
    """The first day, all of it."""
    left = [r for r in run.raws if r.at_ms >= run.second_day_ms]
    return left, next(r for r in left if r.topic == "outcomes" and r.key == CLUSTER.encode())


def the_last_day_cut(run: Run) -> tuple[Raws, Raw]:
    left = [r for r in run.raws if r.at_ms < run.second_day_ms]
    return left, [r for r in left if r.topic == "outcomes" and r.key == CLUSTER.encode()][-1]


def an_approval_cut(run: Run) -> tuple[Raws, Raw]:
    last, before = run.of("approvals")[-1], run.of("approvals")[-2]
    return [r for r in run.raws if r is not last], before


def rechained(run: Run, topic: str, since: int, change: Callable[[Any], Any] | None = None) -> tuple[Raws, Raw]:
    """A ledger written anew from one event on, whole in itself: each head follows the body before it."""
    link, made = b"", dict[Raw, Raw]()
    for raw in run.chain(topic):
        was = decode(raw.value)
        head, event = was.head, was.event
        if head.seq > since:
            head = head.model_copy(update={"prev_hash": link})
        elif head.seq == since:
            head = head if change else head.model_copy(update={"at_ms": head.at_ms + 1})
            event = change(event) if change else event
        value = encode(event, head)
        link = sha256(decode(value).body)
        made[raw] = replace(raw, value=value)
    return [made.get(r, r) for r in run.raws], next(r for r in made.values() if seq(r) == since)


def at_seq(raws: Raws, topic: str, wanted: int) -> Raw:
    return next(r for r in raws if r.topic == topic and r.key == CLUSTER.encode() and seq(r) == wanted)


def rewritten_and_answered(run: Run) -> tuple[Raws, Raw]:
    """What came of it in other ledgers still names what it was."""
    raws, first = rechained(run, "outcomes", 6)
    cites = [r for r in run.of("tickets") if (c := decode(r.value).head.cause) and c.offset >= first.offset]
    return raws, next(r for r in cites if decode(r.value).head.cause.topic == "outcomes")  # type: ignore[union-attr]


def rewritten_where_nobody_answers(run: Run) -> tuple[Raws, Raw]:
    """`notifications` is no input of anybody: its next checkpoint says so."""
    raws, _ = rechained(run, "notifications", 4)
    closed = [r for r in run.chain("notifications") if r.at_ms < run.second_day_ms]
    return raws, closed[-1]


def a_forged_book(run: Run) -> tuple[Raws, Raw]:
    """The cluster is said to be barred, or not to be, and every later event follows."""
    book = next(r for r in run.chain() if kind(r) == "BookClosed")

    def change(event: Any) -> Any:
        state = event.state.replace('"quarantine":""', '"quarantine":"R-7"')
        assert state != event.state
        return event.model_copy(update={"state": state})

    return rechained(run, "outcomes", seq(book), change)


# -- how it shows ---------------------------------------------------------------------------------------------------

Harm = Callable[[Run], tuple[Raws, Raw]]
# what was done; the break that names it, with the topic of its place; whether one source shows it by itself
TAMPERINGS: tuple[tuple[Harm, str, str, bool], ...] = (
    (one_byte, "edited", "outcomes", True),
    (one_removed, "missing", "outcomes", True),
    (a_copy_added, "repeated", "outcomes", True),
    (a_forged_one_added, "repeated", "outcomes", True),
    (one_forged_where_another_stands, "edited", "outcomes", True),
    (two_swapped, "out_of_order", "outcomes", True),
    (a_day_cut, "missing", "outcomes", True),
    (last_hundred_cut, "cut", "outcomes", False),
    (the_last_day_cut, "cut", "outcomes", False),
    (an_approval_cut, "cut", "approvals", False),
    (rewritten_and_answered, "cause", "tickets", True),
    (rewritten_where_nobody_answers, "rewritten", "notifications", False),
    (a_forged_book, "book", "outcomes", True),
)
each = pytest.mark.parametrize(("harm", "what", "topic", "alone"), TAMPERINGS, ids=[t[0].__name__ for t in TAMPERINGS])


@pytest.fixture(scope="module")
def known(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Written when the first day's books were closed, and at the end."""
    kept = Checkpoints(tmp_path_factory.mktemp("checkpoints"))
    for part in (
        [r for r in run.raws if r.at_ms < run.second_day_ms],
        [r for r in run.raws if r.at_ms >= run.second_day_ms],
    ):
        kept.take([row_of(r, ROW_MS) for r in part])
        asyncio.run(kept.write())
    return read(kept.directory)


def named(verdict: Verdict, what: str, place: Raw) -> list[Break]:
    return [b for b in verdict.breaks if (b.kind, b.topic, b.offset) == (what, place.topic, place.offset)]


def judged(run: Run, raws: Sequence[Raw], known: Known) -> Verdict:
    return asyncio.run(verify_topics(StoryReader(raws), known=known, folds=folds(run.settings)))


def test_what_was_not_touched_is_whole(run: Run, known: Known) -> None:
    verdict = judged(run, run.raws, known)
    assert verdict.ok, verdict.to_text()
    assert verdict.counts["books"] == 28
    assert verdict.counts["books_not_judged"] == 0
    assert verdict.counts["checkpoints"] > 20


@each
def test_in_the_topics(run: Run, known: Known, harm: Harm, what: str, topic: str, alone: bool) -> None:
    raws, place = harm(run)
    by_itself, with_checkpoints = judged(run, raws, Known()), judged(run, raws, known)
    verdict = by_itself if alone else with_checkpoints
    assert named(verdict, what, place), verdict.to_text()
    assert place.topic == topic
    assert not with_checkpoints.ok
    if harm is not an_approval_cut:  # the log always has what was answered
        assert by_itself.ok is not alone


@pytest.fixture
def store(run: Run, clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    keep(made, [row_of(r, ROW_MS) for r in run.raws])
    yield made
    made.close()


def alter(clickhouse: ClickhouseDatabase, sql: str) -> None:
    client = clickhouse.client()
    client.command(f"ALTER TABLE events {sql} SETTINGS mutations_sync = 2")
    client.close()


def put(store: Store, clickhouse: ClickhouseDatabase, run: Run, raws: Raws) -> None:
    """Make the table hold these, as an administrator would: with rows that fit their bytes."""
    before, after = set(run.raws), set(raws)
    gone = ", ".join(f"('{r.topic}', {r.partition}, {r.offset})" for r in before - after)
    if gone:
        alter(clickhouse, f"DELETE WHERE (topic, partition, offset) IN ({gone})")
    keep(store, [row_of(r, ROW_MS) for r in sorted(after - before, key=lambda r: (r.topic, r.offset))])


@each
def test_in_the_table(
    run: Run,
    known: Known,
    store: Store,
    clickhouse: ClickhouseDatabase,
    harm: Harm,
    what: str,
    topic: str,
    alone: bool,
) -> None:
    raws, place = harm(run)
    put(store, clickhouse, run, raws)
    by_itself = verify_store(store, folds=folds(run.settings))
    with_checkpoints = verify_store(store, known=known, folds=folds(run.settings))
    verdict = by_itself if alone else with_checkpoints
    assert named(verdict, what, place), verdict.to_text()
    assert not with_checkpoints.ok
    assert by_itself.ok is not alone
    assert not compare(by_itself, judged(run, run.raws, Known())).ok


ROW = "topic = 'outcomes' AND cluster_id = 'prod-eu-7' AND seq = 7"


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        (f"UPDATE payload = replaceOne(payload, 'a', 'b') WHERE {ROW}", "payload"),
        (f"UPDATE raw = concat(substring(raw, 1, 20), 'X', substring(raw, 22)) WHERE {ROW}", "its bytes are not those"),
        (f"UPDATE actor = 'mallory' WHERE {ROW}", "actor"),
        (f"UPDATE occurred_at = occurred_at + 1 WHERE {ROW}", "occurred_at"),
    ],
)
def test_one_column_of_one_row(run: Run, store: Store, clickhouse: ClickhouseDatabase, sql: str, column: str) -> None:
    alter(clickhouse, sql)
    (found,) = named(verify_store(store), "edited", run.chain()[6])
    assert column in found.text


def test_a_second_row_at_one_place(run: Run, store: Store) -> None:
    at = run.chain()[6]
    keep(store, [row_of(replace(forged(run, 7), offset=at.offset), ROW_MS + 1)])
    assert named(verify_store(store), "twofold", at)


def test_a_row_that_continues_its_chain_well_shows_against_the_topics(run: Run, store: Store) -> None:
    made = forged(run, seq(run.chain()[-1]) + 1)
    keep(store, [row_of(made, ROW_MS)])
    table = verify_store(store)
    assert table.ok
    (found,) = compare(judged(run, run.raws, Known()), table, live=True).breaks
    assert (found.kind, found.topic, found.offset) == ("cut", "outcomes", made.offset)
    assert "kafka ends before it; clickhouse has it" in found.text


def test_a_ledger_rewritten_in_both_shows_against_the_checkpoints_alone(
    run: Run, known: Known, store: Store, clickhouse: ClickhouseDatabase
) -> None:
    raws, place = rewritten_where_nobody_answers(run)
    put(store, clickhouse, run, raws)
    both = compare(judged(run, raws, Known()), verify_store(store, folds=folds(run.settings)), live=True)
    assert both.ok, both.to_text()
    seen = compare(judged(run, raws, known), verify_store(store, known=known), live=True)
    assert [(b.kind, b.topic, b.offset) for b in seen.breaks] == [("rewritten", "notifications", place.offset)]
    assert "they agreed up to seq 0" in seen.breaks[0].text
