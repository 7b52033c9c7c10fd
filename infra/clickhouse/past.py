"""What the sources hold of one incident: all that it takes to decide it again (infra/replay), and no more.

From the table: its cluster's ledgers from the latest closing of the books before it, and the inputs that are cited.
From Kafka, which finds nothing by name: its cluster's ledgers whole, read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.clickhouse.store import Store
from infra.clickhouse.verify import WholeReader, up_to
from infra.replay.record import Place, Recorded, cited
from infra.runners.books import Raw
from schemas.events import IncidentOpened, Unreadable
from schemas.topics import partition_of
from schemas.wire import decode
from streams.pipeline import OWNED

Begins = Callable[[str, Raw], int | None]  # (topic, record): where to begin to fold, if it ends a readable closing
AFTER_MS = 60_000  # the answers to its last event are written within that
OFFSETS_MAX = 5000  # of one question


@dataclass(frozen=True)
class Past:
    cluster_id: str
    raws: tuple[Raw, ...]


_COLUMNS = "topic, partition, offset, toUnixTimestamp64Milli(appended_at), cluster_id, raw"
_INCIDENT = """
SELECT cluster_id, toUnixTimestamp64Milli(min(appended_at)), groupUniqArray(remediation_id)
FROM events WHERE incident_id = {incident:String} AND NOT startsWith(cluster_id, '~')
GROUP BY cluster_id ORDER BY min(appended_at) LIMIT 1
"""
_LAST = """
SELECT toUnixTimestamp64Milli(max(appended_at)) FROM events
WHERE incident_id = {incident:String} OR (remediation_id != '' AND remediation_id IN {remediations:Array(String)})
"""
_CLOSINGS = f"""
SELECT {_COLUMNS} FROM events
WHERE topic = {{topic:String}} AND partition = {{partition:Int32}} AND kind = 'DayClosed'
  AND appended_at < fromUnixTimestamp64Milli({{before_ms:Int64}}, 'UTC')
ORDER BY offset DESC, recorded_at
"""
_LEDGER = f"""
SELECT {_COLUMNS} FROM events
WHERE topic = {{topic:String}} AND partition = {{partition:Int32}} AND offset >= {{since:Int64}}
  AND cluster_id IN {{keys:Array(String)}} AND appended_at <= fromUnixTimestamp64Milli({{until_ms:Int64}}, 'UTC')
ORDER BY offset, recorded_at
"""
_PLACES = f"""
SELECT {_COLUMNS} FROM events
WHERE topic = {{topic:String}} AND partition = {{partition:Int32}} AND offset IN {{offsets:Array(Int64)}}
ORDER BY offset, recorded_at
"""
_CONTROLS = f"SELECT {_COLUMNS} FROM events WHERE topic = 'controls' ORDER BY offset, recorded_at"


def past_in(store: Store, incident: str, partitions: int, begins: Begins) -> Past | None:
    """From ClickHouse; None: it knows no such incident. Blocks. Raises AuditUnreachable or AuditRefused."""
    found = store.query(_INCIDENT, {"incident": incident}).rows
    if not found:
        return None
    cluster_id, first_ms, remediations = found[0]
    last = store.query(_LAST, {"incident": incident, "remediations": [r for r in remediations if r]}).rows
    until_ms, partition = int(last[0][0]) + AFTER_MS, partition_of(cluster_id, partitions)
    raws = list(_rows(store, _CONTROLS, {}))
    for topic in OWNED:
        place = {"topic": topic, "partition": partition}
        closings = _rows(store, _CLOSINGS, {**place, "before_ms": int(first_ms)})
        since = next((at for raw in closings if (at := begins(topic, raw)) is not None), 0)
        keys = [cluster_id, f"~{partition}"]
        raws += _rows(store, _LEDGER, {**place, "since": since, "keys": keys, "until_ms": until_ms})
    recorded = Recorded(raws, partitions)
    asked: set[Place] = set()
    while wanted := _missing(recorded, int(first_ms) - AFTER_MS) - asked:
        asked |= wanted
        fetched = list(_at(store, wanted))
        raws += fetched
        recorded.add(fetched)
    return Past(cluster_id, tuple(raws))


def _missing(recorded: Recorded, since_ms: int) -> set[Place]:
    """Inputs that are cited, and not there yet."""
    return {
        (cause.topic, cause.partition, cause.offset)
        for record in recorded.all()
        if record.at_ms >= since_ms or record.topic not in OWNED
        for cause in cited(record)
        if recorded.at(cause) is None
    }


def _at(store: Store, places: Iterable[Place]) -> Iterator[Raw]:
    by_partition: dict[tuple[str, int], list[int]] = {}
    for topic, partition, offset in sorted(places):
        by_partition.setdefault((topic, partition), []).append(offset)
    for (topic, partition), offsets in by_partition.items():
        for at in range(0, len(offsets), OFFSETS_MAX):
            some = {"topic": topic, "partition": partition, "offsets": offsets[at : at + OFFSETS_MAX]}
            yield from _rows(store, _PLACES, some)


def _rows(store: Store, sql: str, params: Mapping[str, Any]) -> Iterator[Raw]:
    """Of a place that is there twice, the row that was recorded first."""
    for topic, partition, offset, at_ms, key, raw in store.query(sql, params).rows:
        yield Raw(topic, int(partition), int(offset), int(at_ms), key.encode(), bytes(raw))


async def past_on(reader: WholeReader, incident: str, partitions: int) -> Past | None:
    """From Kafka alone; None: it knows no such incident. Reads all topics twice, and keeps one cluster's records, the
    controls and the alerts. Raises Unreachable."""
    cluster_id = ""
    await reader.seek({})
    ends = await reader.ends()
    async for raws in up_to(reader, ends):
        for raw in raws:
            if raw.topic == "incidents" and not cluster_id and incident.encode() in (raw.value or b""):
                cluster_id = _opened(raw, incident)
    if not cluster_id:
        return None
    partition, kept = partition_of(cluster_id, partitions), list[Raw]()
    keys = (cluster_id.encode(), f"~{partition}".encode())
    await reader.seek({})
    async for raws in up_to(reader, ends):
        kept += [
            raw
            for raw in raws
            if raw.topic in ("controls", "alerts") or (raw.partition == partition and raw.key in keys)
        ]
    return Past(cluster_id, tuple(kept))


def _opened(raw: Raw, incident: str) -> str:
    try:
        event = decode(raw.value).event
    except Unreadable:
        return ""
    return event.cluster_id if isinstance(event, IncidentOpened) and event.incident_id == incident else ""
