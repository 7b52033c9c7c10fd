"""A state as the closing of the books writes it down, and back: JSON that an auditor can read.

Its schema is derived from the state's own types. A state that was written under another schema is not read: whoever
needs it folds the ledger from an earlier closing, or from its start.
"""

from __future__ import annotations

import json
from collections.abc import Set
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from schemas.values import sha256

S = TypeVar("S")


class Saved(Generic[S]):
    """Writes and reads states of one type. `schema` names their shape: hex, 16 digits.

    A type whose fold has changed its mind about old events, in the same shape, says so by a higher `FOLD`."""

    def __init__(self, kind: type[S]) -> None:
        self._adapter: TypeAdapter[S] = TypeAdapter(kind)
        shape = [getattr(kind, "FOLD", 1), self._adapter.json_schema(mode="serialization")]
        self.schema = sha256(json.dumps(shape, sort_keys=True).encode()).hex()[:16]

    def dump(self, state: S) -> str:
        """The same for equal states, in every process: sets are sorted."""
        return json.dumps(self._adapter.dump_python(state), default=_plain, ensure_ascii=False, separators=(",", ":"))

    def load(self, text: str) -> S:
        """Raises ValueError for what is not such a state."""
        return self._adapter.validate_json(text)


@cache
def saved_of(kind: type[S]) -> Saved[S]:
    return Saved(kind)


def _plain(value: object) -> Any:
    if isinstance(value, Set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a state")
