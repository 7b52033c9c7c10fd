"""What never reaches an event: whatever a schema marks as a secret, and the credentials in addresses of others. Pure.

A class of events with a field that is marked can't be made (`schemas.events.Event` asks `marked`). Text of alerts is
kept as it was given, but for the credentials in its addresses: it has passed `without_credentials` where it came in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

REMOVED = "***"


class Secretive:
    """Marks a secret: as the class of a field's value (steward.toml's are such), or in its annotation."""


class OfOthers:
    """Marks a text of an event that somebody else wrote and that may be an address: it has been through
    `without_credentials`."""


def marked(model: type[BaseModel], by: type[Any] = Secretive) -> Iterator[str]:
    """Dotted names of the fields that are marked so, in whatever is nested too."""
    for name, field in model.model_fields.items():
        if any(isinstance(m, by) or m is by for m in field.metadata) or _is_marked(field.annotation, by):
            yield name
            continue
        for inner in _models_in(field.annotation):
            yield from (f"{name}.{below}" for below in marked(inner, by))


def _is_marked(annotation: Any, by: type[Any]) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, by):
        return True
    return any(_is_marked(inner, by) or isinstance(inner, by) for inner in get_args(annotation))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


# `https://user:password@host`; a password may hold an @ itself.
_USER = re.compile(r"(?<=://)[^\s/?#]*@")
# `?token=...`. Names and the way to them are bounded: this reads whatever a monitor sends.
_NAMED = re.compile(
    r"([?&;#][^=&;#?\s]{0,40}?(?:token|passw(?:or)?d|pwd|secret|signature|credential|api[-_]?key|access[-_]?key)"
    r"[^=&;#?\s]{0,40}=|[?&;#](?:sig|key|auth|authorization)=)[^&;#\s]+",
    re.IGNORECASE,
)


def without_credentials(text: str) -> str:
    """The same text. Of addresses in it: without users, passwords, and values of parameters named as secrets."""
    kept = _USER.sub("", text) if "://" in text else text
    return _NAMED.sub(rf"\g<1>{REMOVED}", kept) if "=" in kept else kept
