"""All that a replay goes by: the records of one cluster, by place, with the controls as they were heard.

`Chosen` says which of them belong to the incident that is asked about.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace

from infra.runners.books import Raw, admitted, fold_control, record_of
from schemas.controls import Controls
from schemas.events import Event, InputIgnored, Unreadable
from schemas.processors import Record
from schemas.values import Cause
from schemas.wire import Decoded

Place = tuple[str, int, int]  # topic, partition, offset
Hearing = tuple[bool, bool]  # are the controls read up to their live end now, and have they been once?
HEARD, NOT_HEARD, NEVER_HEARD = (True, True), (False, True), (False, False)


class Recorded:
    """Records by place; each is read once. Of a place that is given twice the first counts."""

    def __init__(self, raws: Iterable[Raw], partitions: int) -> None:
        self.partitions = partitions
        self._raws: dict[Place, Raw] = {}
        self._read: dict[Place, tuple[Decoded, Record] | None] = {}
        self._by_topic: dict[tuple[str, int], list[Raw]] = {}
        self.add(raws)

    def add(self, raws: Iterable[Raw]) -> None:
        for raw in raws:
            self._raws.setdefault((raw.topic, raw.partition, raw.offset), raw)
        self._by_topic = {}
        for place in sorted(self._raws):
            self._by_topic.setdefault(place[:2], []).append(self._raws[place])

    def of(self, topic: str, partition: int) -> Sequence[Raw]:
        """In the order of the log."""
        return self._by_topic.get((topic, partition), ())

    def partitions_of(self, topic: str) -> list[int]:
        return sorted(p for t, p in self._by_topic if t == topic)

    def at(self, cause: Cause) -> Raw | None:
        return self._raws.get((cause.topic, cause.partition, cause.offset))

    def read(self, raw: Raw) -> tuple[Decoded, Record] | None:
        """None for what can't be read."""
        place = (raw.topic, raw.partition, raw.offset)
        if place not in self._read:
            try:
                decoded = admitted(raw, self.partitions)
                self._read[place] = decoded, record_of(raw, decoded)
            except Unreadable:
                self._read[place] = None
        return self._read[place]

    def record(self, raw: Raw) -> Record | None:
        found = self.read(raw)
        return found[1] if found else None

    def all(self) -> Iterable[Record]:
        """Every record that can be read, but foreign ones."""
        for topic, partition in sorted(self._by_topic):
            if topic != "alerts":
                for raw in self.of(topic, partition):
                    if (record := self.record(raw)) is not None:
                        yield record


class Heard:
    """The controls as they were after each of their records. Read up to the live end, unless somebody says otherwise:
    whether they could be is not on record."""

    def __init__(self, raws: Sequence[Raw]) -> None:
        self._at: list[Controls] = [Controls()]
        for raw in raws:
            self._at.append(fold_control(self._at[-1], raw))
        self._offsets = [c.offset for c in self._at]
        self._appended = [0, *(raw.at_ms for raw in raws)]

    def at(self, offset: int) -> Controls:
        held = self._at[bisect_right(self._offsets, offset) - 1]
        return replace(held, offset=offset, live=True, read_once=True)

    def until(self, offset: int, since: int) -> list[Controls]:
        """As they were at this offset, and before it, back to the other one; the latest first."""
        between = [o for o in self._offsets if since <= o < offset]
        return [self.at(o) for o in (offset, *reversed(between))]

    def by_time(self, until_ms: int) -> list[Controls]:
        """As whoever has not said how far it had read may have heard them by then; the latest first."""
        held = [o for o, at_ms in zip(self._offsets, self._appended, strict=True) if at_ms <= until_ms]
        return [replace(self.at(o), offset=-1) for o in reversed(held)]


def as_heard(controls: Controls, hearing: Hearing) -> Controls:
    return replace(controls, live=hearing[0], read_once=hearing[1])


class Chosen:
    """Does this belong to the incident? Without one everything does."""

    def __init__(self, recorded: Recorded, incident: str = "") -> None:
        self.incident = incident
        self.remediations: set[str] = set()
        self._signals: set[Place] = set()
        if not incident:
            return
        for record in recorded.all():
            if getattr(record.event, "incident_id", "") == incident:
                self.remediations |= {r for r in (getattr(record.event, "remediation_id", ""),) if r}
                cause = record.head.cause
                if record.topic == "incidents" and cause is not None:
                    self._signals.add((cause.topic, cause.partition, cause.offset))

    def about(self, record: Record) -> bool:
        if not self.incident:
            return True
        place = (record.topic, record.partition, record.offset)
        return place in self._signals or self.says(record.event)

    def says(self, event: Event) -> bool:
        if not self.incident or getattr(event, "incident_id", "") == self.incident:
            return True
        return getattr(event, "remediation_id", "") in self.remediations and bool(self.remediations)


def cited(record: Record) -> list[Cause]:
    """Every input on a topic that this record answers."""
    found = [record.head.cause] if record.head.cause else []
    if isinstance(record.event, InputIgnored):
        found += [i.cause for i in record.event.inputs]
    return [c for c in found if c.topic != "tick" and c.offset >= 0]
