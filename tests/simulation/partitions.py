"""One partition of a topic: offsets, records, transaction markers, and what each kind of reader may see of them.

A marker takes an offset, so a reader sees gaps. A committed reader sees nothing at or above the last stable offset:
the first record of the oldest transaction that is still open here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tests.simulation.errors import Fenced, Gone

Place = tuple[str, int]  # topic, partition
State = Literal["open", "committed", "aborted"]


class Record(NamedTuple):
    """A record as the broker gives it. `at_ms` is the time at which the broker appended it."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None


class Span:
    """What one transaction wrote on one partition, from its first record to its marker."""

    __slots__ = ("epoch", "first", "state", "writer")
    state: State

    def __init__(self, writer: str, epoch: int, first: int) -> None:
        self.writer, self.epoch, self.first, self.state = writer, epoch, first, "open"

    @property
    def key(self) -> tuple[int, State, str]:
        return (self.first, self.state, self.writer)


class Entry(NamedTuple):
    """What stands at an offset. A marker has no record; a record outside of transactions has no span. `order`: of
    appending, over all partitions."""

    record: Record | None
    span: Span | None
    leader_epoch: int
    order: int

    @property
    def is_hidden(self) -> bool:
        """From a committed reader, now or for ever."""
        return self.record is None or (self.span is not None and self.span.state != "committed")


@dataclass(slots=True, eq=False)
class Partition:
    """`changed` is told whenever a reader may see something new, or that something is gone. `next_order` numbers what
    is appended, over all partitions."""

    topic: str
    number: int
    next_order: Callable[[], int]
    changed: Callable[[Partition], object]
    start: int = 0
    leader_epoch: int = 0
    entries: list[Entry] = field(default_factory=list)
    open: dict[str, Span] = field(default_factory=dict)  # by transactional id
    _ends: dict[int, int] = field(default_factory=dict)  # where each earlier leader's records end
    _behind: dict[str, int] = field(default_factory=dict)  # by transactional id: the epoch of which records were lost

    @property
    def label(self) -> str:
        return f"{self.topic}/{self.number}"

    @property
    def end(self) -> int:
        """The high watermark."""
        return self.start + len(self.entries)

    @property
    def was_truncated(self) -> bool:
        return bool(self._ends)

    @property
    def stable(self) -> int:
        """The last stable offset."""
        if not self.open:
            return self.end
        return max(self.start, min(span.first for span in self.open.values()))

    def append(self, key: bytes | None, value: bytes | None, at_ms: int, writer: str = "", epoch: int = -1) -> Record:
        """`writer`, `epoch`: the transactional id whose open transaction this record belongs to, and its holder. Raises
        Fenced where records of this very holder were lost here: its sequence numbers don't fit any more."""
        offset = self.end
        span = None
        if writer:
            if self._behind.get(writer) == epoch:
                raise Fenced("OUT_OF_ORDER_SEQUENCE_NUMBER")
            span = self.open.get(writer)
            if span is None:
                span = self.open[writer] = Span(writer, epoch, offset)
            span.epoch = epoch
        record = Record(self.topic, self.number, offset, at_ms, key, value)
        self.entries.append(Entry(record, span, self.leader_epoch, self.next_order()))
        self.changed(self)
        return record

    def mark(self, writer: str, committed: bool) -> None:
        """A marker is written also where the transaction has written nothing else."""
        span = self.open.pop(writer, None)
        if span is not None:
            span.state = "committed" if committed else "aborted"
        self.entries.append(Entry(None, span, self.leader_epoch, self.next_order()))
        self.changed(self)

    def read(self, position: int, end: int, committed: bool, limit: int) -> tuple[list[Record], int]:
        """Records from `position` on, before `end`, and the position behind them and behind what this reader doesn't
        see."""
        found: list[Record] = []
        entries, base = self.entries, self.start
        while position < end and len(found) < limit:
            record, span, _, _ = entries[position - base]
            position += 1
            if record is not None and not (committed and span is not None and span.state == "aborted"):
                found.append(record)
        return found, position

    def epoch_at(self, offset: int) -> int:
        return self.entries[offset - self.start].leader_epoch

    def check(self, position: int, leader_epoch: int) -> None:
        """Raises Gone. `leader_epoch`: of the last record that the reader was given; -1 where there was none."""
        ends = self._ends.get(leader_epoch)
        if ends is not None and ends < position:
            raise Gone(self.topic, self.number, position, f"the log was truncated to {ends}")
        if not self.start <= position <= self.end:
            raise Gone(self.topic, self.number, position, f"there is {self.start} to {self.end}")

    # faults

    def cut_head(self, before: int) -> None:
        """Retention, or an administrator: nothing below `before` is there any more."""
        assert self.start <= before <= self.end
        del self.entries[: before - self.start]
        self.start = before
        self.changed(self)

    def lose_tail(self, end: int) -> None:
        """Acknowledged records from `end` on are lost (a leader was elected that did not have them); others will take
        their offsets. A transaction whose marker is lost is open again, and nobody will end it but the next transaction
        of the same id here. Who wrote what is lost hears of it by its next write here, and by nothing else: a commit
        passes."""
        assert self.start <= end <= self.end
        lost = self.entries[end - self.start :]
        del self.entries[end - self.start :]
        for record, span, _, _ in reversed(lost):
            if span is None:
                continue
            if record is not None:
                self._behind[span.writer] = max(span.epoch, self._behind.get(span.writer, -1))
            if record is None and span.first < end:
                span.state = "open"
                self.open[span.writer] = span
            elif span.first >= end and self.open.get(span.writer) is span:
                del self.open[span.writer]
        for epoch in range(self.leader_epoch, -1, -1):  # an earlier leader's records may be lost too
            self._ends[epoch] = min(self._ends.get(epoch, end), end)
        self.leader_epoch += 1
        self.changed(self)

    def state(self) -> tuple[object, ...]:
        """Everything, as plain values in a settled order."""
        entries = [
            (e.record[2:] if e.record else "marker", e.order, e.span.key if e.span else None) for e in self.entries
        ]
        opened = sorted((s.first, s.writer) for s in self.open.values())
        lost = (self.leader_epoch, sorted(self._ends.items()), sorted(self._behind.items()))
        return (self.topic, self.number, self.start, lost, opened, entries)
