"""What a maps stage does with one record, whoever carries it (Faust on Kafka, or memory): look, check, give heads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infra.runners.books import Raw, admit, dead_letter
from schemas.chain import Stamped, mapped
from schemas.events import Event, Unreadable
from schemas.processors import Record


@dataclass(frozen=True)
class Mapped:
    """What is to be sent: each to its own cluster's partition of the stage's topic, or to its dead letters."""

    events: tuple[Stamped, ...] = ()
    dead: tuple[Stamped, ...] = ()


@dataclass(frozen=True)
class MapStage:
    """A stage over our own events. `look` is its only contact with the world and never raises for the world's trouble."""

    role: str
    partitions: int
    look: Callable[[Record], Awaitable[Any]]
    check: Callable[[Record, Any, int], Sequence[Event]]

    async def handle(self, raw: Raw) -> Mapped:
        """Everything that can come of this record. Raises only for a bug of ours, which stops the process unacknowledged."""
        try:
            record = admit(raw, self.partitions)
        except Unreadable as error:
            return Mapped(dead=(dead_letter(self.role, raw, error),))
        events = self.check(record, await self.look(record), raw.at_ms)
        return Mapped(
            events=tuple(
                mapped(self.role, record.head, index, event, raw.cause(), raw.at_ms)
                for index, event in enumerate(events)
            )
        )
