"""A record of the log as a row of the audit table. Pure. `COLUMNS` is the one table of what is filled from where."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from infra.runners.books import Raw
from schemas.events import Event, Unreadable
from schemas.values import canonical_json, sha256
from schemas.wire import MAGIC, Decoded, decode

Row = tuple[Any, ...]

ROW_VERSION = 1  # a change of how a column is filled raises it, so that older rows are not taken for edited ones
UNREADABLE = "unreadable"
FOREIGN = "foreign"  # an alert in a monitor's own JSON: intake reads it, the audit keeps it
_ENTITY = re.compile(r"(?:[a-z_]+_)?(store|region)_ids?")
LATEST_MS = 7_258_118_399_000  # the end of 2199, which DateTime64 and Python both know


@dataclass(frozen=True)
class Column:
    """`paths`: dotted fields of the event, the first that is there and says something fills the column."""

    name: str
    type: str
    default: Any
    paths: tuple[str, ...] = ()
    of: Callable[[Any], Any] = lambda value: value


def _people(value: Any) -> list[str]:
    approvals = value if isinstance(value, tuple) else (value,)
    return [a.person for a in approvals]


def _entities(value: Any) -> list[str]:
    """What a call, parameters or a snapshot of stores name: `store:4`, `region:180`. Nothing in what can't be read."""
    try:
        named = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return []
    if isinstance(named, list):  # a snapshot: the stores that will be forgotten
        named = {"store_ids": [s.get("id") for s in named if isinstance(s, dict)]}
    if not isinstance(named, dict):
        return []
    found = set()
    for key, said in named.items():
        if entity := _ENTITY.fullmatch(key):
            numbers = said if isinstance(said, list) else [said]
            found |= {f"{entity[1]}:{n}" for n in numbers if str(n).isdecimal()}
    return sorted(found)


def clamped_ms(at_ms: int) -> int:
    """A time that every part here can hold; -1 (the broker gave none) and nonsense become its ends."""
    return min(max(int(at_ms), 0), LATEST_MS)


_TIME = "DateTime64(3, 'UTC')"
_WORD = "LowCardinality(String)"

# Those without paths are filled from the record's place and head, below.
COLUMNS: tuple[Column, ...] = (
    Column("topic", _WORD, ""),
    Column("partition", "Int32", 0),
    Column("offset", "Int64", 0),
    Column("appended_at", _TIME, 0),
    Column("recorded_at", _TIME, 0),
    Column("kind", _WORD, ""),
    Column("event_id", "String", ""),
    Column("occurred_at", _TIME, 0),
    Column("seq", "Int64", 0),
    Column("prev_hash", "String", ""),
    Column("hash", "String", ""),
    Column("cause_topic", _WORD, ""),
    Column("cause_partition", "Int64", -1),
    Column("cause_offset", "Int64", -1),
    Column("cause_sha", "String", ""),
    Column("controls_offset", "Int64", -1),
    Column("cluster_id", _WORD, ""),
    Column("incident_id", "String", "", ("incident_id",)),
    Column("remediation_id", "String", "", ("remediation_id",)),
    Column("approval_id", "String", "", ("approval.approval_id", "approval_id")),
    Column("attempt", "Int64", 0, ("attempt",)),
    Column("actor", _WORD, "", ("by", "person", "approval.person", "owner")),
    Column("via", _WORD, "", ("via", "approval.via", "source")),
    Column("approvers", "Array(String)", [], ("approvals", "approval"), _people),
    Column("action_type", _WORD, "", ("action", "plan.action")),
    Column("target", "Array(String)", [], ("call.args", "snapshot", "params", "plan.params"), _entities),
    Column("call", _WORD, "", ("call.name",)),
    Column("undo_call", _WORD, "", ("undo.name",)),
    Column("direction", _WORD, "", ("StepIntended:kind",)),
    Column("step", "Int64", 0, ("step",)),
    Column("change", "Int64", -1, ("change",)),
    Column("keep_s", "Int64", 0, ("keep_s",)),
    Column("settled", "Bool", False, ("settled",)),
    Column("owed", "Int64", 0, ("owed",), len),
    Column("mode", _WORD, "", ("mode",)),
    Column("tier", _WORD, "", ("tier",)),
    Column("rule", _WORD, "", ("rule",)),
    Column("needed", "Int64", 0, ("needed",)),
    Column("digest", "String", "", ("digest",)),
    Column("policy_version", "Int64", 0, ("plan.policy_version", "PolicyAdopted:version")),
    Column(
        "valid_until",
        _TIME,
        0,
        ("expires_at_ms", "deadline_ms", "until_ms", "approval.expires_at_ms"),
        clamped_ms,
    ),
    Column("outcome", _WORD, "", ("outcome", "answer", "finding")),
    Column("reason_code", _WORD, "", ("code",)),
    Column("objections", "Array(String)", [], ("objections",), lambda found: [o.code for o in found]),
    Column("text", "String", "", ("text", "reason", "approval.reason", "why", "summary", "title", "headline")),
    Column("alert", _WORD, "", ("alert.name", "AlertFired:name", "AlertResolved:name", "AlertReceived:name")),
    Column("diagnosis", _WORD, "", ("cause", "diagnosis.cause")),
    Column("confidence", "Float64", 0.0, ("confidence", "diagnosis.confidence"), float),
    Column("model", _WORD, "", ("model",)),
    Column("prompt_version", _WORD, "", ("prompt_version",)),
    Column("prompt_sha", _WORD, "", ("prompt_sha256",)),
    Column("build", _WORD, "", ("build",)),
    Column("synthetic", "Bool", False, ("synthetic",)),
    Column("payload", "String", "{}"),
    Column("raw", "String", b""),
    Column("fingerprint", _WORD, ""),
    Column("row_version", "UInt16", ROW_VERSION),
)
NAMES: tuple[str, ...] = tuple(c.name for c in COLUMNS)
AT: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
_DEFAULTS: Row = tuple(c.default for c in COLUMNS)


def row_of(raw: Raw, recorded_ms: int) -> Row:
    """The row of any record: bytes that are no event of ours become one too, with the reason."""
    try:
        return row_of_event(raw, decode(raw.value), recorded_ms)
    except Unreadable as error:
        return row_of_unreadable(raw, error, recorded_ms)


def row_of_unreadable(raw: Raw, error: Unreadable, recorded_ms: int) -> Row:
    return _row(raw, recorded_ms, _unreadable(raw, error))


def row_of_event(raw: Raw, decoded: Decoded, recorded_ms: int) -> Row:
    head, event = decoded.head, decoded.event
    said: dict[str, Any] = {
        "kind": type(event).__name__,
        "event_id": head.event_id,
        "occurred_at": clamped_ms(head.at_ms or raw.at_ms),  # a headless event has no time of its own
        "seq": head.seq,
        "prev_hash": head.prev_hash.hex(),
        "hash": sha256(decoded.body).hex(),
        "controls_offset": head.controls_offset,
        "cluster_id": event.cluster_id,
        "payload": payload_of(event),
        "fingerprint": decoded.fingerprint.hex(),
    }
    if cause := head.cause:
        said |= {
            "cause_topic": cause.topic,
            "cause_partition": cause.partition,
            "cause_offset": cause.offset,
            "cause_sha": cause.sha256.hex(),
        }
    for name, paths, of in _filled(type(event)):
        for path in paths:
            found = _follow(event, path)
            if not (found is None or found == "" or found == () or found == {}):  # 0 and False do say something
                said[name] = of(found)
                break
    if type(event).__name__ == "ClaimRefused" and not said.get("outcome"):
        said["outcome"] = "refused"
    return _row(raw, recorded_ms, said)


def payload_of(event: Event) -> str:
    """The event as canonical JSON: bytes as base64, what JSON can't say (NaN) as null."""
    try:
        return canonical_json(event.model_dump(mode="json"))  # the same as below, in half the time
    except ValueError:  # NaN and infinities, which pydantic makes null in JSON alone
        return canonical_json(json.loads(event.model_dump_json()))


def _unreadable(raw: Raw, error: Unreadable) -> dict[str, Any]:
    value = raw.value or b""
    said: dict[str, Any] = {
        "kind": UNREADABLE,
        "occurred_at": clamped_ms(raw.at_ms),
        "hash": sha256(value).hex(),
        "cluster_id": (raw.key or b"").decode("utf-8", "replace")[:200],
        "reason_code": error.code,
        "text": f"{error.field}: {error.reason}" if error.field else error.reason,
        "fingerprint": value[2:10].hex() if value[:2] == MAGIC else "",
    }
    if raw.topic == "alerts" and (body := _json_object(value)) is not None:
        said |= {"kind": FOREIGN, "payload": body, "reason_code": "", "text": ""}
    return said


def _json_object(value: bytes) -> str | None:
    try:
        found = json.loads(value)
        body = canonical_json(found) if isinstance(found, dict) else None
        if body is not None:
            body.encode()
        return body
    except (ValueError, RecursionError):  # not JSON, not UTF-8, NaN, or lone surrogates
        return None


def _row(raw: Raw, recorded_ms: int, said: dict[str, Any]) -> Row:
    said |= {
        "topic": raw.topic,
        "partition": raw.partition,
        "offset": raw.offset,
        "appended_at": clamped_ms(raw.at_ms),
        "recorded_at": clamped_ms(recorded_ms),
        "raw": raw.value or b"",
    }
    row = list(_DEFAULTS)
    for name, value in said.items():
        row[AT[name]] = value
    return tuple(row)


@cache
def _filled(event: type[Event]) -> tuple[tuple[str, tuple[tuple[str, ...], ...], Callable[[Any], Any]], ...]:
    """Which columns an event class fills, by which paths. `Class:` before a path limits it to that one."""
    plan = []
    for column in COLUMNS:
        paths = []
        for path in column.paths:
            only, _, dotted = path.rpartition(":")
            parts = tuple(dotted.split("."))
            if only in ("", event.__name__) and parts[0] in event.model_fields:
                paths.append(parts)
        if paths:
            plan.append((column.name, tuple(paths), column.of))
    return tuple(plan)


def _follow(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        value = getattr(value, name, None)
    return value


# -- blocks ---------------------------------------------------------------------------------------------------------


def month_of(at_ms: int) -> int:
    """The partition of the table: toYYYYMM of the append time, in UTC."""
    at = datetime.fromtimestamp(clamped_ms(at_ms) / 1000, UTC)
    return at.year * 100 + at.month


def cut(raws: Sequence[Raw], rows_max: int, bytes_max: int) -> list[list[Raw]]:
    """Blocks to insert one after the other: each of one append month, and no record before an earlier one of its
    partition. Whichever of these inserts is the last to succeed, max(offset) + 1 is where to go on."""
    queues: dict[tuple[str, int], list[Raw]] = {}
    for raw in raws:
        queues.setdefault((raw.topic, raw.partition), []).append(raw)
    for queue in queues.values():
        queue.sort(key=lambda r: r.offset, reverse=True)  # the next one is the last
    blocks: list[list[Raw]] = []
    while queues:
        month = min(month_of(queue[-1].at_ms) for queue in queues.values())
        block: list[Raw] = []
        size = 0
        for place in sorted(queues):
            queue = queues[place]
            while queue and month_of(queue[-1].at_ms) == month:
                raw = queue.pop()
                if block and (len(block) >= rows_max or size + weight(raw) > bytes_max):
                    blocks.append(block)
                    block, size = [], 0
                block.append(raw)
                size += weight(raw)
            if not queue:
                del queues[place]
        blocks.append(block)
    return blocks


def weight(raw: Raw) -> int:
    """About what a record takes in memory as a row: its bytes, and again as JSON."""
    return 3 * len(raw.value or b"") + 1000
