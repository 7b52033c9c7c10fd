"""How far each chain is stands in a second place: appended, chained, and named where it was touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.clickhouse.checkpoints import Checkpoints, Known, files_in, read
from infra.clickhouse.rows import Row, row_of
from infra.clickhouse.verify import Kept, verify
from infra.runners.books import Raw
from schemas import events as e
from schemas.values import sha256
from tests.integration.audit_fixtures import CLUSTER, FEBRUARY_MS, START_MS, Story, sink_all, the_main_story


class Clock:
    now_s = START_MS / 1000

    def __call__(self) -> float:
        return self.now_s


class Table:
    """Takes everything."""

    insert_ends_within_s = 0.0

    def check_settings(self) -> None: ...

    def positions(self) -> dict[tuple[str, int], int]:
        return {}

    def insert(self, batch: Any) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def kept(tmp_path: Path, clock: Clock, said: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path / "kept", 3600, clock, on_trouble=said.append)


def rows(raws: list[Raw]) -> list[Row]:
    return [row_of(raw, START_MS) for raw in raws]


async def written(kept: Checkpoints, story: Story) -> list[dict[str, Any]]:
    kept.take(rows(story.all()))
    await kept.write()
    return lines(kept)


def lines(kept: Checkpoints) -> list[dict[str, Any]]:
    return [json.loads(line) for path in files_in(kept.directory) for line in path.read_text().splitlines()]


def day_closed(topic: str = "outcomes") -> e.Event:
    return e.DayClosed(cluster_id="~1", role="execute", state_schema="x", first_offset=0, clusters=0, positions={})


async def test_the_end_of_each_chain_and_of_each_other_partition_is_a_line(kept: Checkpoints) -> None:
    story = the_main_story()
    found = await written(kept, story)
    links = verify(story.kept()).links
    assert {(c["cluster"], c["topic"]): (c["seq"], c["hash"]) for c in found if c["cluster"]} == {
        chain: (link.seq, link.hash.hex()) for chain, link in links.items()
    }
    others = {(c["topic"], c["partition"], c["offset"]) for c in found if not c["cluster"]}
    assert others == {
        (topic, partition, held[-1].offset)
        for (topic, partition), held in story.records.items()
        if topic in ("alerts", "signals", "controls", "approvals", "validations")
    }


async def test_each_line_holds_the_hash_of_the_one_before_as_sha256sum_says_it(kept: Checkpoints) -> None:
    await written(kept, the_main_story())
    (path,) = files_in(kept.directory)
    text = path.read_bytes().splitlines()
    assert [json.loads(line)["prev_hash"] for line in text] == ["", *(sha256(line).hex() for line in text[:-1])]
    assert [json.loads(line)["n"] for line in text] == list(range(1, len(text) + 1))


async def test_what_has_not_moved_is_not_said_again(kept: Checkpoints) -> None:
    story = the_main_story()
    first = await written(kept, story)
    await kept.write()
    assert lines(kept) == first
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="y"))]))
    await kept.write()
    assert [(c["n"], c["cluster"], c["topic"]) for c in lines(kept)[len(first) :]] == [
        (len(first) + 1, CLUSTER, "tickets")
    ]


async def test_they_are_due_at_once_then_every_so_often_and_when_a_days_books_are_closed(
    kept: Checkpoints, clock: Clock
) -> None:
    story = the_main_story()
    assert not kept.is_due()
    await written(kept, story)
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="y"))]))
    clock.now_s += 3599
    assert not kept.is_due()
    clock.now_s += 1
    assert kept.is_due()
    await kept.write()
    kept.take(rows([story.says("outcomes", day_closed(), partition=1)]))
    assert kept.is_due()


async def test_the_sink_hands_over_what_is_in_the_table_and_nothing_else(kept: Checkpoints) -> None:
    story = the_main_story()
    await sink_all(Table(), story.all(), on_kept=kept.take)
    await kept.write()
    assert verify(story.kept(), known=read(kept.directory)).counts["checkpoints"] == len(lines(kept)) > 5


async def test_a_month_is_a_file_and_the_chain_goes_on_in_it(kept: Checkpoints, clock: Clock) -> None:
    story = the_main_story()
    await written(kept, story)
    clock.now_s = FEBRUARY_MS / 1000
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="y"))]))
    await kept.write()
    assert [p.name for p in files_in(kept.directory)] == ["checkpoints-2027-01.jsonl", "checkpoints-2027-02.jsonl"]
    clock.now_s = START_MS / 1000  # a clock that goes back writes no line among earlier ones
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="z"))]))
    await kept.write()
    assert len(files_in(kept.directory)[1].read_text().splitlines()) == 2
    assert read(kept.directory).fault is None
    files_in(kept.directory)[0].unlink()
    fault = read(kept.directory).fault
    assert fault is not None
    assert fault.kind == "missing"


async def test_a_successor_goes_on_where_the_file_ends(kept: Checkpoints, clock: Clock) -> None:
    story = the_main_story()
    first = await written(kept, story)
    again = Checkpoints(kept.directory, 3600, clock)
    again.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="y"))]))
    await again.write()
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="z"))]))
    await kept.write()  # while both are there
    assert [c["n"] for c in lines(kept)] == list(range(1, len(first) + 3))
    assert read(kept.directory).fault is None


async def test_a_disk_that_is_full_is_said_leaves_nothing_torn_and_is_tried_again(
    kept: Checkpoints, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    story = the_main_story()
    first = await written(kept, story)
    write = os.write

    def full(file: int, body: bytes) -> int:
        monkeypatch.setattr(os, "write", fails)
        return write(file, body[:7])

    def fails(file: int, body: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="y"))]))
    await kept.write()
    assert said == ["checkpoints can't be written: No space left on device"]
    assert lines(kept) == first
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="z"))]))
    monkeypatch.setattr(os, "write", write)
    await kept.write()
    assert said[1:] == [""]
    (last,) = lines(kept)[len(first) :]
    assert last["seq"] == story.links["tickets", CLUSTER].seq


async def test_a_torn_line_that_a_crash_has_left_is_taken_off(kept: Checkpoints, clock: Clock) -> None:
    story = the_main_story()
    await written(kept, story)
    (path,) = files_in(kept.directory)
    with path.open("ab") as file:
        file.write(b'{"n":99,"at')
    fault = read(kept.directory).fault
    assert fault is not None
    assert (fault.kind, "ends in its middle" in fault.text) == ("cut", True)
    successor = Checkpoints(kept.directory, 3600, clock)
    successor.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="y"))]))
    await successor.write()
    assert read(kept.directory).fault is None


async def test_a_writer_under_whom_the_file_was_cut_writes_no_further_and_says_so(
    kept: Checkpoints, said: list[str]
) -> None:
    story = the_main_story()
    first = await written(kept, story)
    (path,) = files_in(kept.directory)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    kept.take(rows([story.says("tickets", e.InputRejected(cluster_id=CLUSTER, code="x", text="y"))]))
    await kept.write()
    assert lines(kept) == first[:-2]
    assert f"no longer holds n {len(first)}" in said[-1]


def one_line_out(text: list[bytes]) -> list[bytes]:
    return [*text[:3], *text[4:]]


def one_line_twice(text: list[bytes]) -> list[bytes]:
    return [*text[:4], *text[3:]]


def a_hash_changed(text: list[bytes]) -> list[bytes]:
    said = json.loads(text[3])
    return [*text[:3], json.dumps({**said, "hash": "0" * 64}, separators=(",", ":")).encode() + b"\n", *text[4:]]


def nonsense(text: list[bytes]) -> list[bytes]:
    return [*text[:3], b"nonsense\n", *text[4:]]


def the_head_off(text: list[bytes]) -> list[bytes]:
    return text[2:]


def in_a_line(text: list[bytes]) -> list[bytes]:
    return [*text[:-1], text[-1][:20]]


def in_no_year(text: list[bytes]) -> list[bytes]:
    line = json.loads(text[3]) | {"at_ms": 10**17}
    return [*text[:3], json.dumps(line).encode() + b"\n", *text[4:]]


@pytest.mark.parametrize(
    ("harm", "kind", "line"),
    [
        (in_no_year, "edited", 4),
        (one_line_out, "missing", 4),
        (one_line_twice, "repeated", 5),
        (a_hash_changed, "edited", 5),  # seen by the one behind it
        (nonsense, "edited", 4),
        (the_head_off, "missing", 1),
        (in_a_line, "cut", 10),
    ],
)
async def test_a_file_that_was_touched_is_named_with_its_line(
    kept: Checkpoints, harm: Callable[[list[bytes]], list[bytes]], kind: str, line: int
) -> None:
    story = the_main_story()
    await written(kept, story)
    (path,) = files_in(kept.directory)
    path.write_bytes(b"".join(harm(path.read_bytes().splitlines(keepends=True))))
    known = read(kept.directory)
    assert known.fault is not None
    assert (known.fault.kind, known.fault.line) == (kind, line)
    found = [b for b in verify(story.kept(), known=known).breaks if b.topic == "checkpoints"]
    assert [(b.kind, b.offset) for b in found] == [(kind, line)]
    assert path.name in found[0].text


async def test_without_a_line_where_some_are_configured_the_record_is_not_whole(tmp_path: Path) -> None:
    story = the_main_story()
    (found,) = verify(story.kept(), known=read(tmp_path / "gone")).breaks
    assert (found.kind, found.topic) == ("cut", "checkpoints")
    assert "no checkpoint is there" in found.text
    assert verify([], known=read(tmp_path / "gone")).ok
    assert verify(story.kept(), known=Known()).ok


async def test_a_tail_of_checkpoints_that_was_cut_shows_once_the_table_has_gone_on(kept: Checkpoints) -> None:
    story = the_main_story()
    await written(kept, story)
    known = read(kept.directory, kept.every_s)

    def later(by_ms: int) -> list[Kept]:
        return [Kept(raw, row_of(raw, START_MS + by_ms)) for raw in story.all()]

    assert verify(later(3 * 3_600_000), source="clickhouse", known=known).ok
    (found,) = verify(later(3 * 3_600_000 + 1000), source="clickhouse", known=known).breaks
    assert (found.kind, found.topic) == ("cut", "checkpoints")
    assert f"they end with n {known.lines[-1].n}" in found.text
