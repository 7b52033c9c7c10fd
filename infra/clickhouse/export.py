"""The record as JSON lines, for whoever wants to check the chain with tools of their own.

One line a row of the table, in the order (topic, partition, offset), with the bytes as they stand on the topic; then
one line `{"end": ...}` with the counts and the SHA-256 of all lines before it. Without that an export is cut off.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.clickhouse.questions import plain
from infra.clickhouse.store import Store

AHEAD_ROWS = 5000  # the engine reads some thousands of rows for one
PAGE_BYTES = 4 << 20  # of records: what is held at once, some times over, and at least one record
COLUMNS = (
    "topic", "partition", "offset", "appended_at", "recorded_at", "kind", "cluster_id", "event_id", "occurred_at",
    "seq", "prev_hash", "hash", "fingerprint", "cause_topic", "cause_partition", "cause_offset", "cause_sha", "raw",
)  # fmt: skip
_WANTED = """({cluster:String} = '' OR cluster_id = {cluster:String})
    AND appended_at >= {since:DateTime64(3, 'UTC')} AND appended_at < {until:DateTime64(3, 'UTC')}"""
_PLACES = f"""SELECT topic, partition, min(offset), max(offset)
FROM events WHERE {_WANTED} GROUP BY topic, partition ORDER BY topic, partition"""
_HERE = f"""FROM events
WHERE topic = {{topic:String}} AND partition = {{partition:Int32}}
    AND offset >= {{first:Int64}} AND offset <= {{last:Int64}} AND {_WANTED}
ORDER BY offset"""
_AHEAD = f"SELECT offset, length(raw) {_HERE} LIMIT {{rows:UInt64}}"
_PAGE = f"SELECT {', '.join(COLUMNS)} {_HERE}, recorded_at"  # not from the view: what is there twice is there twice


@dataclass(frozen=True)
class Wanted:
    """`cluster` empty: all. `since` and `until` by append time, the end not included, as ClickHouse reads them."""

    cluster: str = ""
    since: str = "1970-01-01 00:00:00"
    until: str = "2200-01-01 00:00:00"

    def bound(self) -> dict[str, str]:
        return {"cluster": self.cluster, "since": self.since, "until": self.until}


def export(store: Store, wanted: Wanted, ahead_rows: int = AHEAD_ROWS, page_bytes: int = PAGE_BYTES) -> Iterator[bytes]:
    """Some lines at a time, of what stood in the table when it began. Blocks. Raises AuditUnreachable, AuditRefused."""
    digest, topics = hashlib.sha256(), {}
    for topic, partition, first, last in store.query(_PLACES, wanted.bound()).rows:
        held = {"records": 0, "first": int(first), "last": int(last)}
        topics[f"{topic}/{partition}"] = held
        here = {"topic": topic, "partition": partition, "first": first, "last": last, **wanted.bound()}
        while ahead := store.query(_AHEAD, {**here, "rows": ahead_rows}).rows:
            for start, stop in pages(ahead, page_bytes):
                rows = store.query(_PAGE, {**here, "first": start, "last": stop}).rows
                held["records"] += len(rows)
                page = b"".join(_line(_record(dict(zip(COLUMNS, row, strict=True)))) for row in rows)
                digest.update(page)
                yield page
            here["first"] = ahead[-1][0] + 1
    records = sum(held["records"] for held in topics.values())
    end = {"records": records, "topics": topics, "sha256": digest.hexdigest(), **wanted.bound()}
    yield _line({"end": end})


def pages(ahead: Sequence[tuple[int, int]], page_bytes: int) -> Iterator[tuple[int, int]]:
    """From which offset to which to read at once: records of (offset, bytes), in order, as pages of about `page_bytes`.
    Rows of one offset stay together."""
    start, size = ahead[0][0], 0
    for (offset, own), (following, _) in zip(ahead, [*ahead[1:], (-1, 0)], strict=True):
        size += own
        if following == -1 or (size >= page_bytes and following != offset):
            yield start, offset
            start, size = following, 0


def _record(row: dict[str, Any]) -> dict[str, Any]:
    cause = {name: row.pop(f"cause_{name}") for name in ("topic", "partition", "offset", "sha")}
    raw = base64.b64encode(row.pop("raw")).decode()
    return {
        **{name: plain(value) for name, value in row.items()},
        "cause": cause if cause["topic"] else None,
        "raw": raw,
    }


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
