"""What was written stays readable: every committed version of every event, both ways, as bytes and as objects.

The checker (`schemas.generate.incompatibilities`) and the Avro library are asked about the same pairs: neither is
believed alone.
"""

from __future__ import annotations

import copy
import io
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import fastavro
import pytest
from pydantic import BaseModel

from schemas import generate
from schemas.avro import schema_of
from schemas.events import ActionProposed, Event, TicketWritten, all_events
from schemas.values import Head
from schemas.wire import MAGIC, decode, fingerprint_of

NAMES = sorted(all_events())
HEAD = Head(event_id="e-1", at_ms=1_790_000_000_000, seq=7, prev_hash=b"\x01" * 32)


# values, made from a schema: as little as it allows, and something everywhere


def sample(schema: Any, full: bool, named: dict[str, Any] | None = None) -> Any:
    named = {} if named is None else named
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if isinstance(schema, list):
        there = sample(schema[-1], full, named)  # walked for the names that it defines, even where it stays away
        return there if full else None
    kind = schema["type"] if isinstance(schema, dict) else schema
    match kind:
        case "record":
            named[f"steward.{schema['name']}"] = schema
            return {f["name"]: sample(f["type"], full, named) for f in schema["fields"]}
        case "array":
            item = sample(schema["items"], full, named)
            return [item, item] if full else []
        case "map":
            inner = sample(schema["values"], full, named)
            return {"a": inner, "b": inner} if full else {}
    return {
        "string": "text" if full else "",
        "long": 2**40 if full else 0,
        "double": 0.75 if full else 0.0,
        "boolean": full,
        "bytes": b"\x00\xff" if full else b"",
    }[kind]


def defaulted(writer: dict[str, Any], reader: dict[str, Any]) -> list[str]:
    """The top fields that the reader has to make up."""
    written = {f["name"] for f in writer["fields"]}
    return [f["name"] for f in reader["fields"] if f["name"] not in written]


def only(schema: Any, value: Any, named: dict[str, Any] | None = None) -> Any:
    """Of a value what the schema has a field for, however deep inside."""
    named = {} if named is None else named
    if isinstance(schema, list):
        schema = schema[-1]
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if value is None or not isinstance(schema, dict):
        return value
    match schema["type"]:
        case "record":
            named[f"steward.{schema['name']}"] = schema
            return {f["name"]: only(f["type"], value[f["name"]], named) for f in schema["fields"] if f["name"] in value}
        case "array":
            return [only(schema["items"], item, named) for item in value]
        case "map":
            return {key: only(schema["values"], inner, named) for key, inner in value.items()}
    return value


# objects, made from a class


def an(annotation: Any) -> Any:
    """A value that the class takes."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return an(args[0])
    if origin is Literal:
        return args[0]
    if origin in (Union, types.UnionType):
        return an(next(a for a in args if a is not type(None)))
    if origin is tuple:
        return (an(args[0]),)
    if origin is dict:
        return {"key": an(args[1])}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return a_model(annotation)
    return {str: "text", int: 3, float: 0.5, bool: True, bytes: b"\x02"}[annotation]


def a_model(model: type[BaseModel]) -> Any:
    return model.model_validate({n: an(info.annotation) for n, info in model.model_fields.items()})


def written_by(schema: dict[str, Any], event: Event) -> bytes:
    """The event's bytes as a build with that version of its schema wrote them: without what it had no field for."""
    record = event.model_dump() | ({} if event.headless else {"head": HEAD.model_dump()})
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(schema)), record)
    return MAGIC + fingerprint_of(schema) + out.getvalue()


# -- the specs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_adding_action_fields_does_not_break_older_tickets(name: str) -> None:
    """Every committed version reads what every other wrote, whatever it wrote; tickets among them."""
    versions = generate.versions(name)
    assert versions, f"{name} has no committed schema: run `python -m schemas.generate`"
    assert generate.incompatibilities(versions) == []
    for writer in versions:
        for reader in versions:
            for full in (False, True):
                value = sample(writer, full)
                read = generate.round_trip(writer, reader, value)
                made_up = defaulted(writer, reader)
                kept = {f["name"] for f in reader["fields"]} - set(made_up)
                assert only(writer, read) == only(reader, value)
                assert set(read) == kept | set(made_up)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_older_build_wrote_is_an_event_of_this_one(name: str) -> None:
    event = a_model(all_events()[name])
    for version in generate.versions(name):
        decoded = decode(written_by(version, event))
        assert type(decoded.event) is type(event)
        assert decoded.event == type(event).model_validate(only(version, event.model_dump())), "what is absent: default"
        if not event.headless:
            assert decoded.head == HEAD


def test_some_event_has_more_than_one_version() -> None:
    """Else the specs above compare each schema with itself alone."""
    assert any(len(generate.versions(name)) > 1 for name in NAMES)


def with_field(schema: dict[str, Any], **field: Any) -> dict[str, Any]:
    return {**schema, "fields": [*schema["fields"], field]}


@pytest.mark.parametrize("event", [TicketWritten, ActionProposed])
def test_a_field_added_with_a_default_is_accepted_and_one_without_is_refused(event: type[Event]) -> None:
    committed = generate.versions(event.__name__)
    good = with_field(committed[-1], name="blast_radius", type="long", default=-1)
    bad = with_field(committed[-1], name="blast_radius", type="long")
    assert generate.incompatibilities([*committed, good]) == []
    newest = f"v{len(committed) + 1}"
    assert generate.incompatibilities([*committed, bad]) == [
        f"{newest} cannot read what v{n} wrote: blast_radius: has no default, and the writer has no such field"
        for n in range(1, len(committed) + 1)
    ]
    for old in committed:
        assert generate.round_trip(old, good, sample(old, True))["blast_radius"] == -1
        assert "blast_radius" not in generate.round_trip(good, old, sample(good, True))
        with pytest.raises(Exception, match="blast_radius"):
            generate.round_trip(old, bad, sample(old, True))


@pytest.mark.parametrize("event", [TicketWritten, ActionProposed])
def test_a_field_taken_away_breaks_its_older_readers_unless_it_had_a_default(event: type[Event]) -> None:
    last = generate.versions(event.__name__)[-1]

    def without(name: str) -> dict[str, Any]:
        return {**last, "fields": [f for f in last["fields"] if f["name"] != name]}

    assert generate.incompatibilities([last, without("synthetic")]) == []
    assert generate.incompatibilities([last, without("incident_id")]) != []


def test_a_changed_type_is_refused_also_deep_inside() -> None:
    last = generate.versions("TicketWritten")[-1]
    changed = json.loads(json.dumps(last))
    head = next(f for f in changed["fields"] if f["name"] == "head")["type"]
    next(f for f in head["fields"] if f["name"] == "seq")["type"] = "string"
    assert any("head.seq" in line for line in generate.incompatibilities([last, changed]))


def test_a_breaking_change_of_an_event_is_not_written_and_a_good_one_becomes_the_next_version(tmp_path: Path) -> None:
    """`python -m schemas.generate`, over schemas that an invented earlier build has committed."""
    for name, event in all_events().items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "v1.avsc").write_text(json.dumps(schema_of(event)))
    path = tmp_path / "TicketWritten" / "v1.avsc"
    now = schema_of(TicketWritten)

    path.write_text(json.dumps(with_field(now, name="gone", type="string")))
    with pytest.raises(ValueError, match=r"TicketWritten: v1 cannot read what v2 wrote: gone"):
        generate.write(tmp_path)
    assert list(path.parent.iterdir()) == [path]

    path.write_text(json.dumps({**now, "fields": [f for f in now["fields"] if f["name"] != "facts"]}))
    assert generate.write(tmp_path) == [path.parent / "v2.avsc"]
    assert generate.check(tmp_path) == []


def test_a_field_of_no_kind_that_avro_has_is_refused_when_its_schema_is_made() -> None:
    class Odd(Event):
        when: complex

    with pytest.raises(TypeError, match="no Avro type for <class 'complex'>"):
        schema_of(Odd)
