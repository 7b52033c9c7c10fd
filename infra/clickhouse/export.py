"""The record as JSON lines, for whoever wants to check the chain with tools of their own.

One line a row of the table, in the order (topic, partition, offset), with the bytes as they stand on the topic; then
one line `{"end": ...}` with the counts and the SHA-256 of all lines before it. Without that an export is cut off.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.clickhouse.questions import plain
from infra.clickhouse.store import Store

PAGE_ROWS = 500  # of at most a megabyte each: what is held at once
COLUMNS = (
    "topic", "partition", "offset", "appended_at", "recorded_at", "kind", "cluster_id", "event_id", "occurred_at",
    "seq", "prev_hash", "hash", "fingerprint", "cause_topic", "cause_partition", "cause_offset", "cause_sha", "raw",
)  # fmt: skip
_WANTED = """({cluster:String} = '' OR cluster_id = {cluster:String})
    AND appended_at >= {since:DateTime64(3, 'UTC')} AND appended_at < {until:DateTime64(3, 'UTC')}"""
_PLACES = f"""SELECT topic, partition, min(offset), max(offset)
FROM events WHERE {_WANTED} GROUP BY topic, partition ORDER BY topic, partition"""
# Not from the view: a row that is there twice is there twice. With ties, so that no page ends between the two.
_PAGE = f"""SELECT {", ".join(COLUMNS)}
FROM events
WHERE topic = {{topic:String}} AND partition = {{partition:Int32}}
    AND offset >= {{first:Int64}} AND offset <= {{last:Int64}} AND {_WANTED}
ORDER BY offset LIMIT {{rows:UInt64}} WITH TIES"""


@dataclass(frozen=True)
class Wanted:
    """`cluster` empty: all. `since` and `until` by append time, the end not included, as ClickHouse reads them."""

    cluster: str = ""
    since: str = "1970-01-01 00:00:00"
    until: str = "2200-01-01 00:00:00"

    def bound(self) -> dict[str, str]:
        return {"cluster": self.cluster, "since": self.since, "until": self.until}


def export(store: Store, wanted: Wanted, page_rows: int = PAGE_ROWS) -> Iterator[bytes]:
    """Some lines at a time, of what stood in the table when it began. Blocks. Raises AuditUnreachable, AuditRefused."""
    digest, topics = hashlib.sha256(), {}
    for topic, partition, first, last in store.query(_PLACES, wanted.bound()).rows:
        held = {"records": 0, "first": int(first), "last": int(last)}
        topics[f"{topic}/{partition}"] = held
        at = int(first)
        while at <= last:
            place = {"topic": topic, "partition": partition, "first": at, "last": last, "rows": page_rows}
            rows = [
                dict(zip(COLUMNS, row, strict=True)) for row in store.query(_PAGE, {**place, **wanted.bound()}).rows
            ]
            if not rows:
                break
            rows.sort(key=lambda row: (row["offset"], row["recorded_at"]))
            at = int(rows[-1]["offset"]) + 1
            held["records"] += len(rows)
            page = b"".join(_line(_record(row)) for row in rows)
            digest.update(page)
            yield page
    records = sum(held["records"] for held in topics.values())
    end = {"records": records, "topics": topics, "sha256": digest.hexdigest(), **wanted.bound()}
    yield _line({"end": end})


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
