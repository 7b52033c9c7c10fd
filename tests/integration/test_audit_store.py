"""The audit on the real engine: made, written, resumed, read once, proven, and unable to be changed by a reader."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.models import SettingDef

from infra.clickhouse.migrate import migrate
from infra.clickhouse.migrations import DIRECTORY, Migration, migrations
from infra.clickhouse.questions import ask
from infra.clickhouse.rows import AT, COLUMNS, NAMES, row_of
from infra.clickhouse.store import AuditRefused, AuditUnreachable, Place, Store, changes, open_store
from infra.clickhouse.verify import compare, verify_store, verify_topics
from schemas.values import sha256
from tests.integration.audit_fixtures import (
    CLUSTER,
    FEBRUARY_MS,
    LONG,
    START_MS,
    Story,
    StoryReader,
    contents,
    keep,
    long_story,
    sink_all,
    the_main_story,
)
from tests.servers import ClickhouseDatabase


@pytest.fixture
def store(clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    yield made
    made.close()


def expected(story: Story) -> list[tuple[object, ...]]:
    found = [(r.topic, r.partition, r.offset, sha256(r.value or b"").hex()) for r in story.all()]
    return sorted(found)


def rows_in(store: Store, table: str) -> int:
    return int(store.query(f"SELECT count() FROM {table}").rows[0][0])


# -- migrations


def test_migrations_are_applied_once_and_known_by_their_hash(clickhouse: ClickhouseDatabase, tmp_path: Path) -> None:
    names = [f"{m.number:03} {m.name}" for m in migrations()]
    assert migrate(clickhouse.url, database=clickhouse.name) == names
    assert migrate(clickhouse.url, database=clickhouse.name) == []

    for path in DIRECTORY.glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text() + ("\n-- touched" if path.name.startswith("001") else ""))
    with pytest.raises(AuditRefused, match="001 events is not the one that was applied"):
        migrate(clickhouse.url, database=clickhouse.name, directory=tmp_path)

    newer = tmp_path / "newer"
    newer.mkdir()
    for path in DIRECTORY.glob("*.sql"):
        (newer / path.name).write_text(path.read_text())
    (newer / f"{len(names) + 1:03}_more.sql").write_text("CREATE TABLE IF NOT EXISTS more (a UInt8) ENGINE = Memory;\n")
    assert migrate(clickhouse.url, database=clickhouse.name, directory=newer) == [f"{len(names) + 1:03} more"]
    with pytest.raises(AuditRefused, match="newer build"):
        migrate(clickhouse.url, database=clickhouse.name)


def test_a_migration_may_hold_several_statements() -> None:
    assert Migration(1, "x", "-- a; b\nSELECT 1;\n\nSELECT\n 2;\n").statements == ["-- a; b\nSELECT 1", "SELECT\n 2"]


def test_the_columns_of_the_table_are_those_that_rows_fill(store: Store) -> None:
    found = store.query(
        "SELECT name, type FROM system.columns"
        " WHERE database = {d:String} AND table = 'events' AND default_kind = '' ORDER BY position",
        {"d": store.place.database},
    ).rows
    assert [tuple(r) for r in found] == [(c.name, c.type) for c in COLUMNS]


def test_rows_of_before_say_what_caused_them_and_which_change_they_are_about(
    clickhouse: ClickhouseDatabase, tmp_path: Path
) -> None:
    """What 003 adds is made of other columns: it is there for rows that were written by an older build."""
    for number in ("001", "002"):
        (found,) = DIRECTORY.glob(f"{number}_*.sql")
        (tmp_path / found.name).write_text(found.read_text())
    migrate(clickhouse.url, database=clickhouse.name, directory=tmp_path)
    store = open_store(clickhouse.url, database=clickhouse.name)
    raws = the_main_story().all()
    keep(store, [row_of(r, START_MS) for r in raws])
    migrate(clickhouse.url, database=clickhouse.name)

    sql = "SELECT caused_by, change_id FROM events_read WHERE topic = 'outcomes' AND kind = {kind:String}"
    signal = next(r for r in raws if r.topic == "signals")
    opened = store.query("SELECT caused_by FROM events_read WHERE kind = 'IncidentOpened'").rows
    assert opened == [(f"signals/{signal.partition}@{signal.offset}",)]
    order = next(r for r in raws if r.topic == "remediations" and row_of(r, 0)[AT["kind"]] == "ExecutionAuthorized")
    assert store.query(sql, {"kind": "Claimed"}).rows == [(f"remediations/{order.partition}@{order.offset}", "")]
    assert store.query(sql, {"kind": "ChangeUndone"}).rows == [("", "R-1/0")]
    assert verify_store(store).ok
    store.close()


def test_the_read_view_reads_in_order_and_lets_filters_reach_the_table(store: Store) -> None:
    """Else it would keep a hash of every place there is, or read every row for one story; nothing else shows it."""
    keep(store, [row_of(r, START_MS) for r in the_main_story().all()])

    def told(sql: str) -> str:
        return "\n".join(str(line) for (line,) in store.query(sql).rows)

    whole = "SELECT sum(length(raw)) FROM events_read"
    assert "LimitBySortedStream" in told(f"EXPLAIN PIPELINE {whole}")
    for filtered in (
        "incident_id = 'INC-1'",
        "remediation_id = 'R-1'",
        f"cluster_id = '{CLUSTER}'",
        "kind = 'Claimed'",
    ):
        plan = told(f"EXPLAIN indexes = 1 {whole} WHERE topic = 'outcomes' AND {filtered}")
        read = plan[plan.index("ReadFromMergeTree") :]
        assert f"by_{filtered.partition('_id')[0].partition(' ')[0]}" in read, plan
        assert "PrimaryKey" in read


# -- what the engine must be


def test_a_fresh_store_is_fit(store: Store) -> None:
    store.check_settings()


def test_a_store_without_its_migrations_is_refused(clickhouse: ClickhouseDatabase) -> None:
    bare = open_store(clickhouse.url, database=clickhouse.name)
    with pytest.raises(AuditRefused, match="no migration has been applied"):
        bare.check_settings()
    bare.close()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("ALTER TABLE events MODIFY TTL toDateTime(appended_at) + INTERVAL 1 YEAR", "has a TTL"),
        ("DROP TABLE events", "is not there"),
        (
            "CREATE OR REPLACE TABLE events (topic String, partition Int32, offset Int64) "
            "ENGINE = ReplacingMergeTree ORDER BY offset",
            "is a ReplacingMergeTree.*\n.*partitioned by nothing.*\n.*ordered by offset",
        ),
    ],
)
def test_a_table_that_breaks_the_guarantees_is_refused(
    store: Store, clickhouse: ClickhouseDatabase, harm: str, said: str
) -> None:
    clickhouse.client().command(harm)
    with pytest.raises(AuditRefused, match=said):
        store.check_settings()


@pytest.mark.local
def test_nobody_there_is_unreachable_not_refused() -> None:
    with pytest.raises(AuditUnreachable, match=r"127\.0\.0\.1:1"):
        open_store("http://127.0.0.1:1/steward").positions()


# -- writing and reading


async def test_every_kind_of_row_comes_back_as_it_went_in(store: Store) -> None:
    story = long_story(400)
    await sink_all(store, story.all())
    assert contents(store) == expected(story)
    verdict = verify_store(store)
    assert verdict.breaks == ()
    assert verdict.counts["records"] == len(story.all())


async def test_a_block_is_one_part_however_large(store: Store) -> None:
    chance = random.Random(1)
    story = Story()
    for _ in range(40):
        story.stands("signals", "c", chance.randbytes(400_000), 0)
    await sink_all(store, story.all(), rows_max=100)
    parts = store.query(
        "SELECT count() FROM system.parts WHERE database = {d:String} AND table = 'events'", {"d": store.place.database}
    )
    assert parts.rows == [(1,)]


def test_a_block_over_two_months_is_refused_by_the_engine(store: Store) -> None:
    story = Story(now_ms=FEBRUARY_MS - 500)
    raws = [story.stands("signals", "c", b"1", 0)]
    story.now_ms += 1000
    raws.append(story.stands("signals", "c", b"2", 0))
    with pytest.raises(AuditRefused, match="Too many partitions"):
        store.insert([row_of(r, START_MS) for r in raws])
    assert rows_in(store, "events") == 0


def test_positions_are_one_after_the_last_offset_of_each_partition(store: Store) -> None:
    story = the_main_story()
    keep(store, [row_of(r, START_MS) for r in story.all()])
    assert store.positions() == {place: held[-1].offset + 1 for place, held in story.records.items()}


def test_the_identical_block_twice_is_kept_once(store: Store) -> None:
    rows = [row_of(r, START_MS) for r in the_main_story().all()]
    keep(store, rows)
    keep(store, rows)
    assert rows_in(store, "events") == len(rows)


def test_a_batch_repeated_with_other_boundaries_is_read_once(store: Store) -> None:
    raws = the_main_story().all()
    keep(store, [row_of(r, START_MS) for r in raws[:20]])
    keep(store, [row_of(r, START_MS + 5) for r in raws[10:]])
    assert rows_in(store, "events") == len(raws) + 10
    assert rows_in(store, "events_read") == len(raws)
    verdict = verify_store(store)
    assert verdict.ok
    assert verdict.counts["repeated_rows"] == 10


def test_a_reader_can_change_nothing(store: Store) -> None:
    keep(store, [row_of(r, START_MS) for r in the_main_story().all()])
    before = contents(store)
    for sql in (
        "DROP TABLE events",
        "TRUNCATE TABLE events; SELECT 1",
        "ALTER TABLE events DELETE WHERE 1",
        "INSERT INTO events (topic) VALUES ('x')",
        "SELECT 1 SETTINGS readonly = 0",
        "SET readonly = 0",
        "OPTIMIZE TABLE events FINAL",
    ):
        with pytest.raises(AuditRefused):
            store.query(sql)
    assert contents(store) == before


def test_what_was_asked_before_changes_no_answer(store: Store) -> None:
    """The engine remembers what a condition did not find, and takes for that what a join has left out."""
    story = the_main_story()
    keep(store, [row_of(raw, story.now_ms) for raw in story.all()])
    assert ask(store, "unused-grants", {"at": "2020-01-01"}).result.rows == []  # before anything was adopted
    assert len(ask(store, "policy-history").result.rows) == 1


def test_a_server_that_would_miss_rows_is_refused_where_that_can_not_be_set() -> None:
    place = Place("steward", url="http://clickhouse:8123")

    def server(value: str, readonly: int) -> dict[str, SettingDef]:
        return {"use_query_condition_cache": SettingDef("use_query_condition_cache", value, readonly)}

    assert changes(place, server("1", 0)) == {"use_query_condition_cache": 0}
    assert changes(place, server("0", 1)) == {}
    assert changes(place, {}) == {}  # it has no such cache
    with pytest.raises(AuditRefused, match="use_query_condition_cache is 1 and this user may not change it"):
        changes(place, server("1", 1))


def test_parameters_are_bound_not_pasted(store: Store) -> None:
    nasty = "'; DROP TABLE events; -- \\ {x:String}\n"
    assert store.query("SELECT {name:String}", {"name": nasty}).rows == [(nasty,)]
    assert rows_in(store, "events") == 0


# -- tampering, with the rights of an administrator


def tampered(store: Store, clickhouse: ClickhouseDatabase, sql: str) -> None:
    client = clickhouse.client()
    client.command(f"ALTER TABLE events {sql} SETTINGS mutations_sync = 2")
    client.close()


SOME = "topic = 'outcomes' AND seq = 4"


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        ("UPDATE payload = replace(payload, 'accepted', 'refused') WHERE topic = 'outcomes' AND seq = 3", "edited"),
        (f"UPDATE raw = concat(substring(raw, 1, 40), 'X', substring(raw, 42)) WHERE {SOME}", "edited"),
        (f"UPDATE hash = prev_hash WHERE {SOME}", "edited"),
        (f"UPDATE actor = 'mallory' WHERE {SOME}", "edited"),
        (f"DELETE WHERE {SOME}", "missing"),
    ],
)
async def test_tampering_is_named(store: Store, clickhouse: ClickhouseDatabase, harm: str, kind: str) -> None:
    keep(store, [row_of(r, START_MS) for r in the_main_story().all()])
    assert verify_store(store).ok
    tampered(store, clickhouse, harm)
    found = [b for b in verify_store(store).breaks if (b.cluster_id, b.topic) == (CLUSTER, "outcomes")]
    assert [b.kind for b in found] == [kind]
    assert not compare(verify_store(store), await verify_topics(StoryReader(the_main_story().all()))).ok


def test_an_added_row_is_named(store: Store) -> None:
    story = the_main_story()
    keep(store, [row_of(r, START_MS) for r in story.all()])
    forged = next(r for r in story.all() if r.topic == "outcomes")
    keep(store, [row_of(type(forged)(**{**forged.__dict__, "offset": 999}), START_MS)])
    assert [(b.kind, b.offset) for b in verify_store(store).breaks] == [("repeated", 999)]


def test_two_swapped_rows_are_named(store: Store) -> None:
    raws = the_main_story().all()
    at = [n for n, r in enumerate(raws) if r.topic == "outcomes"][2:4]
    one, two = raws[at[0]], raws[at[1]]
    raws[at[0]] = type(one)(**{**two.__dict__, "offset": one.offset})
    raws[at[1]] = type(one)(**{**one.__dict__, "offset": two.offset})
    keep(store, [row_of(r, START_MS) for r in raws])
    assert [b.kind for b in verify_store(store).breaks if b.topic == "outcomes"] == ["out_of_order"]


async def test_a_cut_tail_shows_against_the_topics(store: Store, clickhouse: ClickhouseDatabase) -> None:
    story = the_main_story()
    keep(store, [row_of(r, START_MS) for r in story.all()])
    topics = await verify_topics(StoryReader(story.all()))
    assert compare(verify_store(store), topics).ok
    tampered(store, clickhouse, "DELETE WHERE topic = 'tickets' OR (topic = 'outcomes' AND seq > 6)")
    found = compare(verify_store(store), topics).breaks
    assert [(b.kind, b.topic) for b in found if b.kind == "cut"] == [("cut", "outcomes")]
    assert verify_store(store, tails=topics.links).breaks != ()


# -- killed


@pytest.mark.clickhouse
def test_a_sink_killed_between_or_in_its_blocks_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """kill -9 of a real sink writing into a real chDB, again and again, then once to the end."""
    pytest.importorskip("chdb")
    chance = random.Random(11)
    story = long_story(LONG)
    for kill in range(4):
        process = _sink(tmp_path)
        assert process.stdout
        for _ in range(chance.randrange(2, 9)):
            process.stdout.readline()
        time.sleep(chance.random() * 0.03)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"it had ended before kill {kill}"
    said, _ = _sink(tmp_path).communicate(timeout=120)

    found = [tuple(row) for row in json.loads(said.splitlines()[-1])]

    assert len(found) == len(story.all())
    assert sorted(found) == expected(story)


def _sink(path: Path) -> "subprocess.Popen[str]":
    program = [sys.executable, "-m", "tests.integration.audit_fixtures", "sink", str(path / "chdb")]
    root = Path(__file__).parents[2]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root)


def test_every_column_is_named_once() -> None:
    assert tuple(AT) == NAMES
