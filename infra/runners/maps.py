"""What a maps stage does with one record, whoever carries it (Faust on Kafka, or memory): look, check, give heads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.runners.books import Raw, admit, dead_letter
from schemas.chain import Stamped, identified
from schemas.events import Event, Unreadable
from schemas.processors import Record
from streams import intake


@dataclass(frozen=True)
class Mapped:
    """What is to be sent: each to its own cluster's partition of the stage's topic, or to its dead letters."""

    events: tuple[Stamped, ...] = ()
    dead: tuple[Stamped, ...] = ()


@dataclass(frozen=True)
class MapStage:
    """A stage over our own events. `look` is its only contact with the world and never raises for the world's
    trouble."""

    role: str
    partitions: int
    look: Callable[[Record], Awaitable[Any]]
    check: Callable[[Record, Any, int], Sequence[Event]]

    async def handle(self, raw: Raw) -> Mapped:
        """Everything that can come of this record. Raises only for a bug of ours, which stops the process
        unacknowledged."""
        try:
            record = admit(raw, self.partitions)
        except Unreadable as error:
            return Mapped(dead=(dead_letter(self.role, raw, error),))
        events = self.check(record, await self.look(record), raw.at_ms)
        return Mapped(
            events=tuple(
                identified(f"{self.role}/{record.head.event_id}/{index}", event, raw.cause(), raw.at_ms)
                for index, event in enumerate(events)
            )
        )


@dataclass
class IntakeStage:
    """The stage over foreign bytes. `clusters`: cluster -> the labels that an alert of it carries."""

    partitions: int
    clusters: Mapping[str, Mapping[str, str]]
    misplaced: int = 0  # alerts whose producer does not use murmur2: re-keyed, and counted

    async def handle(self, raw: Raw) -> Mapped:
        checked = intake.check(raw, raw.at_ms, self.clusters, self.partitions)
        self.misplaced += checked.wrong_partition
        return Mapped(
            events=tuple(identified(intake.identity(e), e, raw.cause(), raw.at_ms) for e in checked.events),
            dead=tuple(dead_letter("intake", raw, d.error, d.cluster_id) for d in checked.dead),
        )
