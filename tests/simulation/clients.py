"""Clients of the log as librdkafka's behave, and the link of a process to the brokers. No client waits or calls back:
each call is what one or a few requests do at `now_ms`.

A scheduler may crash or pause the process that uses them between any two calls: it cuts the process's link, and calls
nothing more until it goes on, if ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from tests.simulation.errors import Gone, LogError, Refused, TimedOut
from tests.simulation.groups import GroupMetadata
from tests.simulation.partitions import Place, Record

if TYPE_CHECKING:
    from tests.simulation.log import Cluster

T = TypeVar("T")


class Link:
    """The way of one process to the brokers. While it is cut, no heartbeat comes through either: a process that is
    stopped or dead is one whose link is cut."""

    __slots__ = ("_cluster", "_cut_ms", "_left", "_under_way")

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._left: int | None = None
        self._cut_ms = 0
        self._under_way: list[Callable[[], object]] | None = None  # where requests are only slow

    def cut(self, now_ms: int, after: int = 0) -> None:
        """`after`: so many requests still arrive and are done, and the answer of the last one of them is lost."""
        self._cluster.advance(now_ms)
        self._cluster.links_change()
        self._left, self._cut_ms, self._under_way = after, now_ms, None

    def stall(self, now_ms: int) -> None:
        """As if it were cut; but what producers ask for meanwhile is under way, and may still arrive."""
        self.cut(now_ms)
        self._under_way = []

    def arrive(self, now_ms: int) -> None:
        """What was under way reaches the brokers, in its order, and nobody waits for the answer any more. Whether its
        process is still there makes no difference."""
        self._cluster.advance(now_ms)
        arriving, self._under_way = self._under_way or [], None if self._under_way is None else []
        for request in arriving:
            with contextlib.suppress(LogError):
                request()

    def mend(self, now_ms: int) -> None:
        """What is under way then, is lost."""
        self._cluster.advance(now_ms)
        self._cluster.links_change()
        self._left, self._under_way = None, None

    @property
    def is_up(self) -> bool:
        return self._left != 0 and not self._cluster.is_down

    @property
    def silent_since_ms(self) -> int:
        """Of a link that is not up: since when no heartbeat has been answered."""
        if self._left != 0:
            return self._cluster.down_ms or 0
        return self._cut_ms if self._cluster.down_ms is None else min(self._cut_ms, self._cluster.down_ms)

    def ask(self, request: Callable[[], T], *, writes: bool = False) -> T:
        """Raises TimedOut; otherwise what the brokers answer, or raise. `writes`: may it arrive late?"""
        if not self.is_up:
            if writes and self._under_way is not None:
                self._under_way.append(request)
            raise TimedOut("no broker answers")
        if self._left is None:
            return request()
        self._left -= 1
        self._cluster.links_change()
        try:
            answer = request()
        except LogError as refused:
            if self._left == 0:
                raise TimedOut("the answer was lost") from refused
            raise
        if self._left == 0:
            raise TimedOut("the answer was lost")
        return answer


class End(NamedTuple):
    """A reader stands at its end of a partition: the last stable offset, or the high watermark. One that stands behind
    the last stable offset is told nothing at all until that has passed it."""

    topic: str
    partition: int
    offset: int


class Reader:
    """A consumer whose partitions are assigned by hand. `reset`: what auto.offset.reset says."""

    __slots__ = ("_cluster", "_epochs", "_link", "_said", "_turn", "committed_only", "positions", "reset")

    def __init__(
        self,
        cluster: Cluster,
        link: Link,
        *,
        committed_only: bool = True,
        reset: Literal["error", "earliest"] = "error",
    ) -> None:
        self._cluster, self._link = cluster, link
        self.committed_only, self.reset = committed_only, reset
        self.positions: dict[Place, int] = {}
        self._epochs: dict[Place, int] = {}  # leader epoch of the last record that it was given
        self._said: dict[Place, int] = {}  # at which position its end was said
        self._turn = 0

    def assign(self, positions: Mapping[Place, int]) -> None:
        """These partitions, from there on, and no others."""
        self.positions, self._epochs, self._said, self._turn = {}, {}, {}, 0
        self.add(positions)

    def add(self, positions: Mapping[Place, int]) -> None:
        """These as well: librdkafka's incremental_assign."""
        self.positions.update(positions)

    def poll(self, limit: int, now_ms: int, of: Sequence[Place] | None = None) -> list[Record | End]:
        """At most so many records, each partition's in their order, and its end once it is reached: then again only
        after it has moved. Nothing while no broker answers. Raises Gone, once a partition.

        Partitions are asked in turn, or in the order `of`: which comes first with a real client is anybody's guess.
        """
        self._cluster.advance(now_ms)
        found: list[Record | End] = []
        try:
            self._link.ask(lambda: None)
        except TimedOut:
            return found
        if of is None:
            places = list(self.positions)
            turn = self._turn % len(places) if places else 0
            of = places[turn:] + places[:turn]
            self._turn += 1
        for place in of:
            if place not in self.positions or len(found) >= limit or self._is_quiet(place):
                continue
            if not self._read(place, limit, found):
                break
        return found

    def _is_quiet(self, place: Place) -> bool:
        """As most are most often: its end was said, and nothing has come since."""
        position = self._said.get(place)
        if position is None or position != self.positions[place]:
            return False
        partition = self._cluster.partition(place)
        return position == partition.start + len(partition.entries) and not (partition.open or partition.was_truncated)

    def _read(self, place: Place, limit: int, found: list[Record | End]) -> bool:
        """False where what is found so far has to be handed out before anything else is said."""
        partition, position = self._cluster.partition(place), self.positions[place]
        try:
            partition.check(position, self._epochs.get(place, -1))
        except Gone:
            if found:
                return False
            if self.reset == "error":
                del self.positions[place]
                raise
            position = partition.start
            self._epochs.pop(place, None)
        end = partition.stable if self.committed_only else partition.end
        if position < end:
            records, position = partition.read(position, end, self.committed_only, limit - len(found))
            found += records
            if records:
                self._epochs[place] = partition.epoch_at(records[-1].offset)
        self.positions[place] = position
        if position == end and self._said.get(place) != position:
            self._said[place] = position
            found.append(End(*place, position))
        return True

    def watermarks(self, place: Place, now_ms: int) -> tuple[int, int]:
        """(first offset, end) as this reader is told them: a committed one's end is the last stable offset. Raises
        TimedOut."""
        self._cluster.advance(now_ms)
        partition = self._cluster.partition(place)
        return self._link.ask(lambda: (partition.start, partition.stable if self.committed_only else partition.end))

    def committed(self, group: str, places: Sequence[Place], now_ms: int) -> dict[Place, int | None]:
        """A group's committed offsets; None where there is none. Raises TimedOut, and a committed reader NotYet while a
        transaction that is open holds one of them."""
        self._cluster.advance(now_ms)
        return self._link.ask(lambda: self._cluster.group(group).committed(places, self.committed_only))

    def commit(self, metadata: GroupMetadata, offsets: Mapping[Place, int], now_ms: int) -> None:
        """A group's offsets, outside of transactions; what was sent to a transaction before that does not replace them.
        Raises TimedOut, and Abortable where the group does not accept the word of this member, or of nobody."""
        self._cluster.advance(now_ms)
        group, sent = self._cluster.group(metadata.group), dict(offsets)

        def write() -> None:
            group.check(metadata, transactional=False)
            order = self._cluster.next_order()
            group.commit({place: (offset, order) for place, offset in sent.items()})

        self._link.ask(write, writes=True)


class PlainProducer:
    """A producer without transactions, `acks=all`."""

    __slots__ = ("_cluster", "_link")

    def __init__(self, cluster: Cluster, link: Link) -> None:
        self._cluster, self._link = cluster, link

    def publish(self, place: Place, key: bytes | None, value: bytes | None, now_ms: int, *, times: int = 1) -> Record:
        """As acknowledged: its offset and its append time. Raises TimedOut (written or not), Refused (not written).

        `times`: how often the broker writes it, where a producer that is not idempotent repeats by itself.
        """
        self._cluster.advance(now_ms)
        return self._link.ask(lambda: self._write(place, key, value, times), writes=True)

    def _write(self, place: Place, key: bytes | None, value: bytes | None, times: int) -> Record:
        if self._cluster.is_too_large(place, key, value):
            raise Refused("MSG_SIZE_TOO_LARGE")
        partition = self._cluster.partition(place)
        return [partition.append(key, value, self._cluster.append_ms()) for _ in range(times)][-1]
