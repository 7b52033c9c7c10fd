"""An export is the whole record, in order, some at a time; an outsider with Python alone sees what was done to it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.clickhouse.export import Wanted, export, pages
from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import AT, Row, row_of
from infra.clickhouse.store import Store, open_store
from schemas.values import sha256
from tests.docs.examples import written
from tests.integration.audit_fixtures import CLUSTER, Story, keep, the_main_story
from tests.servers import ClickhouseDatabase


@pytest.fixture
def store(clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    yield made
    made.close()


def the_story() -> Story:
    story = the_main_story()
    story.alerted("INC-2", "lab-3")
    story.stands("signals", "x", b"\xff\xfe", 2)
    return story


def rows_of(story: Story) -> list[Row]:
    return [row_of(raw, story.now_ms) for raw in story.all()]


def lines_of(some: Iterator[bytes]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    said = [json.loads(line) for page in some for line in page.splitlines()]
    return said[:-1], said[-1]["end"]


def judged(some: Iterator[bytes], tmp_path: Path) -> tuple[int, str]:
    """By the program of the how-to page, in a process of its own."""
    (tmp_path / "audit.jsonl").write_bytes(b"".join(some))
    program = written("check_chain.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", program, "audit.jsonl"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_it_is_every_record_in_order_and_holds_a_page_at_a_time(store: Store, tmp_path: Path) -> None:
    story = the_story()
    keep(store, rows_of(story))
    told = list(export(store, Wanted(), ahead_rows=3))
    assert max(page.count(b"\n") for page in told) == 3
    assert list(export(store, Wanted(), page_bytes=1)) != told
    assert b"".join(export(store, Wanted(), page_bytes=1)) == b"".join(export(store, Wanted())) == b"".join(told)
    records, end = lines_of(iter(told))
    expected = [(r.topic, r.partition, r.offset, r.value) for r in story.all()]
    assert [(r["topic"], r["partition"], r["offset"], base64.b64decode(r["raw"])) for r in records] == expected
    assert end["records"] == len(expected)
    assert end["topics"]["outcomes/0"]["records"] == len(story.records["outcomes", 0])
    assert end["topics"]["outcomes/0"]["last"] == story.records["outcomes", 0][-1].offset
    assert end["sha256"] == sha256(b"".join(told[:-1])).hex()
    opened = next(r for r in records if r["kind"] == "IncidentOpened" and r["cluster_id"] == CLUSTER)
    signal = story.records["signals", opened["cause"]["partition"]][0]
    assert opened["cause"] == {
        "topic": "signals",
        "partition": 0,
        "offset": 0,
        "sha": sha256(signal.value or b"").hex(),
    }
    assert (opened["seq"], opened["occurred_at"]) == (1, "2027-01-15T08:00:04.000Z")
    assert judged(iter(told), tmp_path) == (0, f"{len(expected)} records, 8 chains, 0 breaks\n")


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        ([(5, 1)], [(5, 5)]),
        ([(5, 4), (7, 4), (8, 4), (9, 4), (12, 1)], [(5, 7), (8, 9), (12, 12)]),
        ([(5, 100), (6, 1), (7, 1)], [(5, 5), (6, 7)]),
        ([(5, 4), (5, 4), (5, 4), (6, 4)], [(5, 5), (6, 6)]),
        ([(5, 4), (6, 4), (6, 4)], [(5, 6)]),
    ],
)
def test_pages_hold_about_so_many_bytes_and_no_offset_apart(
    ahead: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert list(pages(ahead, 8)) == expected


def test_one_cluster_or_one_stretch_of_time_is_a_chain_too(store: Store, tmp_path: Path) -> None:
    story = the_story()
    keep(store, rows_of(story))
    records, _ = lines_of(export(store, Wanted("lab-3")))
    assert {r["cluster_id"] for r in records} == {"lab-3"}
    assert len(records) == len([r for r in story.all() if r.key == b"lab-3"])
    since, until = "2027-01-15 08:01:00", "2027-01-15 08:01:20.040"
    between, _ = lines_of(export(store, Wanted(since=since, until=until)))
    assert len(between) == len([r for r in story.all() if 60_000 <= r.at_ms - 1_800_000_000_000 < 80_040])
    assert between[0]["appended_at"] >= "2027-01-15T08:01:00"
    assert judged(export(store, Wanted(since=since, until=until)), tmp_path)[0] == 0
    assert lines_of(export(store, Wanted("nobody")))[1]["records"] == 0


def test_a_row_that_is_there_twice_is_exported_twice_wherever_a_page_ends(store: Store) -> None:
    rows = rows_of(the_story())
    keep(store, rows)
    again = [(*row[: AT["recorded_at"]], row[AT["recorded_at"]] + 1, *row[AT["recorded_at"] + 1 :]) for row in rows]
    keep(store, again)
    for ahead_rows in (1, 3):
        records, _ = lines_of(export(store, Wanted(), ahead_rows=ahead_rows))
        assert len(records) == 2 * len(rows)


@pytest.mark.parametrize("harm", ["edited", "missing", "swapped"])
def test_an_outsider_sees_what_was_done_to_it(store: Store, tmp_path: Path, harm: str) -> None:
    rows = rows_of(the_story())
    place = next(i for i, row in enumerate(rows) if row[AT["kind"]] == "StepIntended")
    topic, partition, offset = rows[place][:3]
    if harm == "edited":  # and its hash with it
        raw = rows[place][AT["raw"]].replace(b"add_evict_leader", b"all_evict_leader")
        assert raw != rows[place][AT["raw"]]
        edited = list(rows[place])
        edited[AT["raw"]], edited[AT["hash"]] = raw, sha256(raw[10:]).hex()
        rows[place], at = tuple(edited), rows[place + 1][2]
    elif harm == "missing":
        at = rows[place + 1][2]
        del rows[place]
    else:
        one, other = rows[place], rows[place + 1]
        rows[place] = (*other[:2], one[2], *other[3:])
        rows[place + 1] = (*one[:2], other[2], *one[3:])
        at = offset
    keep(store, rows)
    code, said = judged(export(store, Wanted()), tmp_path)
    assert code == 1
    assert said.splitlines()[0].startswith(f"BROKEN {topic}/{partition}@{at}: ")


def test_an_export_that_lost_its_end_or_a_line_is_broken(store: Store, tmp_path: Path) -> None:
    keep(store, rows_of(the_story()))
    told = list(export(store, Wanted(), page_bytes=1))
    assert "BROKEN the export itself" in judged(iter(told[:-1]), tmp_path)[1]
    foreign = next(i for i, page in enumerate(told) if b'"seq":0' in page)  # of no chain
    assert "BROKEN the export itself" in judged(iter([*told[:foreign], *told[foreign + 1 :]]), tmp_path)[1]
