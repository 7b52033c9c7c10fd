"""Bytes on a topic: Avro single-object encoding (C3 01, CRC-64-AVRO fingerprint, body). A registry's framing is read.

Every schema version ever committed ships in schemas/avro/, so decoding needs no server. The hash of an event is over
its body, without framing, so that re-framing (a schema registry) changes no chain.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pydantic import BaseModel, ValidationError

from schemas.avro import NAMESPACE, schema_of, schema_of_value
from schemas.events import Event, Unreadable, all_events
from schemas.values import Cause, Head, Plan, sha256

REGISTERED = b"\x00"
MAGIC = b"\xc3\x01"
AVRO_DIRECTORY = Path(__file__).parent / "avro"
RAW_BYTES_MAX = 1 << 20
_CAUSE = f"{NAMESPACE}.{Cause.__name__}"
KEPT_BYTES_MAX = 4096  # of a record whose decoded form is kept for who reads it next
EVENT_BYTES_MAX = 900_000  # with its framing and its key, a broker's default of a million takes it


class TooLarge(ValueError):
    """No broker would take this event: whoever made it must say less."""


@dataclass(frozen=True)
class _Schema:
    event: type[Event]
    parsed: Any
    print: bytes  # 8 bytes, little-endian


def fingerprint_of(schema: dict[str, Any]) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, as it stands on the wire (little-endian)."""
    canonical = to_parsing_canonical_form(fastavro.parse_schema(json.loads(json.dumps(schema))))
    return bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


@cache
def _current(event: type[Event]) -> _Schema:
    schema = schema_of(event)
    return _Schema(event, fastavro.parse_schema(json.loads(json.dumps(schema))), fingerprint_of(schema))


@lru_cache(maxsize=1)
def _known() -> dict[bytes, _Schema]:
    """Every version by its fingerprint: the committed ones, and the current ones of this build."""
    known: dict[bytes, _Schema] = {}
    for name, event in all_events().items():
        for path in sorted((AVRO_DIRECTORY / name).glob("v*.avsc")):
            schema = json.loads(path.read_text())
            print_ = fingerprint_of(schema)  # half of what starting costs: once is enough
            known[print_] = _Schema(event, fastavro.parse_schema(schema), print_)
        known.setdefault(_current(event).print, _current(event))
    return known


def body_of(event: Event, head: Head | None) -> bytes:
    """The Avro body: what is hashed and, framed, what is sent. Every event but a headless one needs its head. Raises
    TooLarge."""
    record = event.model_dump()
    if not event.headless:
        assert head is not None, f"{type(event).__name__} without a head"
        cause = None if head.cause is None else (_CAUSE, head.cause.__dict__)  # by its name: fastavro need not guess
        record["head"] = {**head.__dict__, "cause": cause}  # as model_dump, quicker
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _current(type(event)).parsed, record)
    if out.tell() > EVENT_BYTES_MAX:
        raise TooLarge(f"{type(event).__name__} has {out.tell()} bytes, at most {EVENT_BYTES_MAX} are written")
    return out.getvalue()


def frame(event: type[Event], body: bytes) -> bytes:
    return MAGIC + _current(event).print + body


def unframed(value: bytes) -> bytes:
    """The body in a frame of ours, also of a schema that this version does not know."""
    return value[len(MAGIC) + 8 :]


def encode(event: Event, head: Head | None = None) -> bytes:
    """The bytes on the topic."""
    return frame(type(event), body_of(event, head))


@dataclass(frozen=True)
class Decoded:
    event: Event
    head: Head
    body: bytes
    fingerprint: bytes


def decode(raw: bytes | None) -> Decoded:
    """An event and its head. Raises Unreadable with the code, the field and the reason for everything else."""
    if raw is None or not raw:
        raise Unreadable("no_value", "the record has no value")
    if len(raw) > RAW_BYTES_MAX:
        raise Unreadable("too_large", f"{len(raw)} bytes, at most {RAW_BYTES_MAX} are read")
    return _once(raw) if len(raw) <= KEPT_BYTES_MAX else _framed(raw)


def _framed(raw: bytes) -> Decoded:
    if raw[:2] != MAGIC:
        raise Unreadable("no_schema", f"expected Avro single-object encoding (c301...), found {raw[:2].hex()}")
    schema = _known().get(raw[2:10])
    if schema is None:
        raise Unreadable("unknown_fingerprint", f"no schema of ours has the fingerprint {raw[2:10].hex()}")
    return _decoded(schema, raw[10:])


_once = lru_cache(maxsize=1000)(_framed)  # several roles of a process read the same record within moments


def decode_registered(raw: bytes, event: type[Event]) -> Decoded:
    """A value in a schema registry's framing (00, 4 bytes of schema id) on a topic that holds one kind of event.

    The id is the registry's; the writer's schema must be one of our versions of `event`, so the bytes are tried against
    them, the newest first. Raises Unreadable where none fits to the last byte.
    """
    if len(raw) > RAW_BYTES_MAX:
        raise Unreadable("too_large", f"{len(raw)} bytes, at most {RAW_BYTES_MAX} are read")
    versions = [schema for schema in _known().values() if schema.event is event]
    wrong: Unreadable | None = None
    for schema in reversed(versions):
        try:
            return _decoded(schema, raw[5:])
        except Unreadable as error:
            wrong = wrong or error
    assert wrong is not None, f"no version of {event.__name__}"
    id_ = int.from_bytes(raw[1:5], "big")
    raise Unreadable(wrong.code, f"registered schema {id_}: {wrong.reason}", wrong.field) from wrong


def _decoded(schema: _Schema, body: bytes) -> Decoded:
    source = io.BytesIO(body)
    try:
        current = _current(schema.event)
        same = schema.print == current.print  # nothing to resolve, and no two whole schemas to compare
        record: Any = fastavro.schemaless_reader(source, schema.parsed, None if same else current.parsed)
    except Exception as error:  # fastavro raises whatever the bytes provoke
        raise Unreadable("undecodable", f"not a {schema.event.__name__}: {type(error).__name__}: {error}") from error
    if source.tell() != len(body):
        raise Unreadable("undecodable", f"{len(body) - source.tell()} bytes after the end of {schema.event.__name__}")
    try:
        head = Head.model_validate(record.pop("head")) if not schema.event.headless else _headless(body)
        return Decoded(schema.event.model_validate(record), head, body, schema.print)
    except ValidationError as error:
        first = error.errors()[0]
        raise Unreadable("invalid", first["msg"], ".".join(str(part) for part in first["loc"])) from error


def _headless(body: bytes) -> Head:
    return Head(event_id=sha256(body).hex()[:32], at_ms=0)


@cache
def _value_schema(model: type[BaseModel]) -> Any:
    return fastavro.parse_schema(json.loads(json.dumps(schema_of_value(model))))


def digest_of(plan: Plan) -> str:
    """Hex SHA-256 of the plan's Avro body: what an approval is for."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _value_schema(Plan), plan.model_dump())
    return sha256(out.getvalue()).hex()
