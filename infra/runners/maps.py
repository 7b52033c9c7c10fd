"""What a maps stage does with one record, whoever carries it (Faust on Kafka, or memory): look, check, give heads.

A bug of ours that a record meets is answered as bad input is: a dead letter of code `impossible` in its place. To raise
instead would end the process, and its successor would meet the same record again, for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from infra.runners.books import Raw, admit, dead_letter, impossible
from schemas.chain import Stamped, identified
from schemas.events import Event, Unreadable
from schemas.processors import Record
from streams import intake

_log = structlog.get_logger()


@dataclass(frozen=True)
class Mapped:
    """What is to be sent: each to its own cluster's partition of the stage's topic, or to its dead letters."""

    events: tuple[Stamped, ...] = ()
    dead: tuple[Stamped, ...] = ()


@dataclass(frozen=True)
class MapStage:
    """A stage over our own events. `look` is its only contact with the world, and answers for the world's trouble: what
    it raises is a bug. `heard`: how far the controls had been read, by what it saw."""

    role: str
    partitions: int
    look: Callable[[Record], Awaitable[Any]]
    check: Callable[[Record, Any, int], Sequence[Event]]
    heard: Callable[[Any], int] = lambda seen: -1

    async def handle(self, raw: Raw) -> Mapped:
        """Everything that can come of this record. Never raises but when it is cancelled."""
        try:
            record = admit(raw, self.partitions)
        except Unreadable as error:
            return Mapped(dead=(dead_letter(self.role, raw, error),))
        except Exception as error:
            return _impossible(self.role, raw, error)
        try:
            seen = await self.look(record)
            return Mapped(events=self.made(record, seen))
        except Exception as error:
            return _impossible(self.role, raw, error, record.event.cluster_id)

    def made(self, record: Record, seen: Any) -> tuple[Stamped, ...]:
        """What it answers to a record, with what was seen; pure."""
        heard = self.heard(seen)
        return tuple(
            identified(f"{self.role}/{record.head.event_id}/{index}", event, record.cause, record.at_ms, heard)
            for index, event in enumerate(self.check(record, seen, record.at_ms))
        )


@dataclass
class IntakeStage:
    """The stage over foreign bytes. `clusters`: cluster -> the labels that an alert of it carries."""

    partitions: int
    clusters: Mapping[str, Mapping[str, str]]
    misplaced: int = 0  # alerts whose producer does not use murmur2: re-keyed, and counted

    async def handle(self, raw: Raw) -> Mapped:
        """Everything that can come of this record. Never raises."""
        try:
            checked = intake.check(raw, raw.at_ms, self.clusters, self.partitions)
            self.misplaced += checked.wrong_partition
            return Mapped(
                events=tuple(identified(intake.identity(e), e, raw.cause(), raw.at_ms) for e in checked.events),
                dead=tuple(dead_letter("intake", raw, d.error, d.cluster_id) for d in checked.dead),
            )
        except Exception as error:
            return _impossible("intake", raw, error)


def _impossible(role: str, raw: Raw, error: Exception, cluster_id: str = "") -> Mapped:
    """The record's answer where our own code raised. The trace is for whoever mends it."""
    where = f"{raw.topic}/{raw.partition}@{raw.offset}"
    _log.error("an input is impossible: a dead letter in its place", role=role, where=where, exc_info=error)
    return Mapped(dead=(dead_letter(role, raw, impossible(error), cluster_id),))
