"""A deterministic model of a Kafka cluster's log, as its clients see it. START HERE.

`Cluster` holds topics, the transaction coordinator and the groups, and makes clients; its methods are what can befall a
log. Everything is synchronous and pure: time is an argument, nothing is drawn by chance, and the same calls give the
same `dump()`, byte for byte. tests/contract/log/ holds it against a real Kafka.

Time moves only by the `now_ms` of calls, or by `advance`: it may stand still, and never goes back. The brokers' wall
clock is apart (`clock_ahead_ms`), and may jump.

Left out: replicas (a record is acknowledged once it is appended, so the high watermark is the end), compaction, quotas,
static membership, KIP-848, a leader that fails between the answers to JoinGroup and SyncGroup, topics that are deleted
and made anew, and the loss of a tail of the brokers' own topics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from tests.simulation.clients import Link, PlainProducer, Reader
from tests.simulation.groups import Group, Strategy
from tests.simulation.members import Member
from tests.simulation.partitions import Partition, Place, Record
from tests.simulation.producers import TransactionalProducer
from tests.simulation.transactions import Coordinator, Marker


class Cluster:
    """Clients are given a Link each, or share one with the other clients of their process.

    Who waits for something need not ask again and again: `on_change` is told of every partition and group of which
    somebody may hear something new, and `next_due_ms` when time alone will bring something about.
    """

    __slots__ = (
        "_groups",
        "_happened_ms",
        "_limits",
        "_topics",
        "clock_ahead_ms",
        "coordinator",
        "down_ms",
        "now_ms",
        "on_change",
    )

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self._topics: dict[str, list[Partition]] = {}
        self._limits: dict[str, int] = {}
        self._groups: dict[str, Group] = {}
        self._happened_ms: list[int] = []  # by order
        self.coordinator = Coordinator()
        self.now_ms = 0
        self.on_change: Callable[[Partition | Group], object] = lambda what: None
        self.clock_ahead_ms = 0
        self.down_ms: int | None = None  # since when
        for name, count in (topics or {}).items():
            self.create_topic(name, count)

    # topics

    def create_topic(self, name: str, partitions: int = 1, record_bytes_max: int = 1_000_000) -> None:
        assert name not in self._topics
        self._topics[name] = [Partition(name, number, self.next_order, self._changed) for number in range(partitions)]
        self._limits[name] = record_bytes_max

    def topics(self) -> dict[str, int]:
        """How many partitions each has."""
        return {name: len(partitions) for name, partitions in self._topics.items()}

    def partition(self, place: Place) -> Partition:
        return self._topics[place[0]][place[1]]

    # clients

    def link(self) -> Link:
        return Link(self)

    def reader(
        self, link: Link, *, committed_only: bool = True, reset: Literal["error", "earliest"] = "error"
    ) -> Reader:
        return Reader(self, link, committed_only=committed_only, reset=reset)

    def plain_producer(self, link: Link) -> PlainProducer:
        return PlainProducer(self, link)

    def producer(self, link: Link, transactional_id: str, timeout_ms: int = 60_000) -> TransactionalProducer:
        return TransactionalProducer(self, link, transactional_id, timeout_ms)

    def member(
        self,
        link: Link,
        group: str,
        topics: Sequence[str],
        *,
        strategy: Strategy = "range",
        session_ms: int = 10_000,
        rebalance_ms: int = 300_000,
    ) -> Member:
        """The first one of a group settles its strategy."""
        known = self.group(group)
        if not known.members and known.generation == 0:
            known.strategy, known.rebalance_ms = strategy, rebalance_ms
        return Member(self, link, known, topics, session_ms)

    # time

    def advance(self, now_ms: int) -> None:
        """What is due by then happens: markers are written, transactions and sessions time out."""
        assert now_ms >= self.now_ms, f"{now_ms} is before {self.now_ms}"
        if now_ms > self.now_ms:
            self.now_ms = now_ms
            if self.down_ms is None:
                self._time_passes(now_ms)

    def links_change(self) -> None:
        """Somebody's heartbeats may stop, or come again, from this moment on."""
        for group in self._groups.values():
            group.links_change(self.now_ms)

    def next_due_ms(self) -> int | None:
        """Until then nothing happens by itself. May be in the past while no broker is up."""
        due_ms = self.coordinator.next_due_ms()
        for group in self._groups.values():
            if not group.is_at_rest and (of_group_ms := group.next_due_ms()) is not None:
                due_ms = of_group_ms if due_ms is None else min(due_ms, of_group_ms)
        return due_ms

    def _time_passes(self, now_ms: int) -> None:
        self.coordinator.advance(now_ms)
        for group in self._groups.values():
            if not group.is_at_rest:
                group.advance(now_ms)

    def append_ms(self) -> int:
        """By the brokers' clock."""
        return self.now_ms + self.clock_ahead_ms

    def happened_ms(self, order: int) -> int:
        """When something was really appended."""
        return self._happened_ms[order - 1]

    # what may befall it

    def reaper_is_late(self, late_ms: int) -> None:
        """A transaction past its time-out goes on for so long, as if nobody had looked (a broker looks every 10 s)."""
        self.coordinator.late_ms = late_ms

    def markers_take(self, delay: int | Callable[[str, str, int], int]) -> None:
        """From here on, a prepared transaction's marker is written so many ms later; by (transactional id, topic,
        partition) where a function is given. Zero: within the call that prepares it."""
        self.coordinator.markers_take = delay if callable(delay) else lambda *_: delay

    def settle(self, which: Callable[[Marker], bool] = lambda marker: True) -> None:
        """Write markers that are owed now, all of them or those of which it is true."""
        self.coordinator.settle(which)

    def cut_head(self, place: Place, before: int) -> None:
        """Retention deletes everything below that offset."""
        self.partition(place).cut_head(before)

    def lose_tail(self, place: Place, end: int) -> None:
        """Acknowledged records from that offset on are lost, and their offsets will be given to others."""
        self.partition(place).lose_tail(end)

    def hang(self, place: Place, transactional_id: str, now_ms: int, timeout_ms: int = 60_000) -> TransactionalProducer:
        """A foreign producer begins a transaction there, writes a record, and goes silent."""
        producer = self.producer(self.link(), transactional_id, timeout_ms)
        producer.init_transactions(now_ms)
        producer.begin_transaction()
        producer.produce(place, b"foreign", b"hung")
        producer.flush(now_ms)
        return producer

    def go_down(self, now_ms: int) -> None:
        """No broker answers anybody. Time-outs stand still."""
        self.advance(now_ms)
        self.links_change()
        self.down_ms = now_ms

    def come_back(self, now_ms: int) -> None:
        """Nothing acknowledged was lost. The coordinators have loaded: every session begins anew, a transaction's
        time-out does not."""
        self.advance(now_ms)
        self.links_change()
        self.down_ms = None
        for group in self._groups.values():
            for known in group.members.values():
                known.heard_ms = now_ms
        self._time_passes(now_ms)

    # for clients

    @property
    def is_down(self) -> bool:
        return self.down_ms is not None

    def group(self, name: str) -> Group:
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = Group(name, self._topics, self._changed)
        return found

    def is_too_large(self, place: Place, key: bytes | None, value: bytes | None) -> bool:
        return len(key or b"") + len(value or b"") > self._limits[place[0]]

    def _changed(self, what: Partition | Group) -> None:
        self.on_change(what)

    def next_order(self) -> int:
        self._happened_ms.append(self.now_ms)
        return len(self._happened_ms)

    # all of it

    def records(self) -> list[Record]:
        """Whatever a committed reader of every partition could be given by now, in the order of appending."""
        found = []
        for topic in self._topics.values():
            for partition in topic:
                for entry in partition.entries[: partition.stable - partition.start]:
                    if entry.record is not None and not entry.is_hidden:
                        found.append((entry.order, entry.record))
        return [record for _, record in sorted(found)]

    def dump(self) -> bytes:
        """Everything that the brokers hold, in a settled order: equal histories give equal bytes."""
        partitions = [p.state() for _, topic in sorted(self._topics.items()) for p in topic]
        groups = [group.state() for _, group in sorted(self._groups.items())]
        rest = (self.now_ms, self.clock_ahead_ms, self.down_ms, len(self._happened_ms))
        return repr((rest, self.coordinator.state(), groups, partitions)).encode()
