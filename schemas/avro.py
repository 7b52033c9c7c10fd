"""Avro schemas derived from the events: one record a class, `head` first. Strings for enumerations, so that a new word
does not break an old reader; pydantic checks the words."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from schemas.events import Event
from schemas.values import Head

NAMESPACE = "steward"
_PRIMITIVES: dict[type, str] = {str: "string", int: "long", float: "double", bool: "boolean", bytes: "bytes"}


def schema_of(event: type[Event]) -> dict[str, Any]:
    """The Avro record schema of one event class, named `steward.<ClassName>`."""
    seen: set[str] = set()  # a name is defined where it comes first: so the head has to be walked first
    head = [] if event.headless else [{"name": "head", "type": _record(Head, seen)}]
    schema = _record(event, seen)
    return {**schema, "fields": [*head, *schema["fields"]]}


def schema_of_value(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a bare value, such as the Plan whose bytes are digested."""
    return _record(model, set())


def _record(model: type[BaseModel], seen: set[str]) -> dict[str, Any]:
    seen.add(model.__name__)
    fields: list[dict[str, Any]] = []
    for name, info in model.model_fields.items():
        field: dict[str, Any] = {"name": name, "type": _type(info.annotation, seen)}
        if not info.is_required():
            field["default"] = _default(info.get_default(call_default_factory=True))
        fields.append(field)
    return {"type": "record", "name": model.__name__, "namespace": NAMESPACE, "fields": fields}


def _type(annotation: Any, seen: set[str]) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if origin is Literal:
        return "string"
    if origin in (Union, types.UnionType):
        (inner,) = [a for a in args if a is not type(None)]
        return ["null", _type(inner, seen)]
    if origin is tuple:
        return {"type": "array", "items": _type(args[0], seen)}
    if origin is dict:
        return {"type": "map", "values": _type(args[1], seen)}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation.__name__ in seen:
            return f"{NAMESPACE}.{annotation.__name__}"
        return _record(annotation, seen)
    raise TypeError(f"no Avro type for {annotation!r}")


def _default(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return list(value) if isinstance(value, tuple) else value
