"""A transactional producer as librdkafka's behaves towards a broker of Kafka 4: an epoch a producer, not a transaction
(librdkafka has no KIP-890)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from tests.simulation.clients import Link
from tests.simulation.errors import Abortable, Fenced, Misused
from tests.simulation.groups import Group, GroupMetadata
from tests.simulation.partitions import Partition, Place, Record
from tests.simulation.transactions import Identity

if TYPE_CHECKING:
    from tests.simulation.log import Cluster

T = TypeVar("T")


@dataclass(slots=True)
class _Sent:
    """A record on its way. `record`: as written, whether or not its producer has heard of that."""

    place: Place
    key: bytes | None
    value: bytes | None
    record: Record | None = None


class TransactionalProducer:
    """One producer of a transactional id. Raises Fenced from its first request after another one's `init`, and from
    every call after that."""

    __slots__ = (
        "_aborting",
        "_added",
        "_cluster",
        "_fatal",
        "_heard_of",
        "_link",
        "_queue",
        "_skipped",
        "_state",
        "_who",
        "id",
        "timeout_ms",
    )

    def __init__(self, cluster: Cluster, link: Link, transactional_id: str, timeout_ms: int = 60_000) -> None:
        self._cluster, self._link, self.id, self.timeout_ms = cluster, link, transactional_id, timeout_ms
        self._who: Identity | None = None
        self._state: Literal["new", "ready", "open", "committing", "aborting"] = "new"
        self._queue: list[_Sent] = []
        self._added: dict[Partition | Group, None] = {}  # partitions and groups that are in this transaction
        self._heard_of = False  # may a broker know of this transaction?
        self._aborting = ""  # why nothing but an abort is of use
        self._fatal = ""
        self._skipped = False

    def init_transactions(self, now_ms: int) -> None:
        """Shuts predecessors out. NotYet until what they have left is aborted or completed; TimedOut."""
        self._usable("new")
        self._who = self._ask(
            lambda: self._cluster.coordinator.init(self.id, self.timeout_ms, self._cluster.now_ms), now_ms
        )
        self._state = "ready"

    def begin_transaction(self) -> None:
        """Of this the brokers hear nothing."""
        self._usable("ready")
        self._state, self._added, self._heard_of = "open", {}, False

    def produce(self, place: Place, key: bytes | None, value: bytes | None) -> None:
        """Into the queue: nobody but this process knows of it before a flush or the commit."""
        self._usable("open")
        self._queue.append(_Sent(place, key, value))

    def flush(self, now_ms: int, at_most: int | None = None) -> list[Record]:
        """Writes what is queued, or its first few, and returns it as acknowledged. Readers don't see it yet, and the
        transaction counts as open from here on. Raises NotYet (the markers of the one before are still owed), TimedOut,
        Abortable, Fenced. To be called again is harmless: what is written is not written twice."""
        self._usable("open")
        self._abortable()
        delivered = self._queue[:at_most]
        for place in dict.fromkeys(sent.place for sent in delivered):
            self._add(self._cluster.partition(place), now_ms)
        if delivered:
            self._ask(lambda: self._write(delivered), now_ms)
        self._queue = self._queue[len(delivered) :]
        return [sent.record for sent in delivered if sent.record]

    def send_offsets(self, offsets: Mapping[Place, int], metadata: GroupMetadata, now_ms: int) -> None:
        """In this transaction. Abortable where the group knows no such member, or is in another generation. Without any
        offset, no broker hears of it."""
        self._usable("open")
        self._abortable()
        if not offsets:
            return
        group = self._cluster.group(metadata.group)
        self._add(group, now_ms)
        who = self._identity()
        sent = dict(offsets)
        self._ask(
            lambda: self._cluster.coordinator.send_offsets(who, group, sent, metadata, self._cluster.next_order()),
            now_ms,
        )

    def commit_transaction(self, now_ms: int) -> list[Record]:
        """What it had still to flush, as acknowledged. Returns when the commit is prepared: readers see it once its
        markers are written. A transaction that no broker has heard of commits without asking one: also a zombie's.

        TimedOut: committed or not; the same call again finds out. NotYet: that is still being found out.
        """
        self._usable("open", "committing")
        delivered = self.flush(now_ms) if self._state == "open" else []
        self._state = "committing"
        self._end(True, now_ms)
        return delivered

    def abort_transaction(self, now_ms: int) -> None:
        """What is still queued is dropped."""
        self._usable("open", "aborting")
        self._state, self._queue, self._aborting = "aborting", [], ""
        self._end(False, now_ms)

    def _end(self, commits: bool, now_ms: int) -> None:
        if self._heard_of:
            who = self._identity()
            self._ask(lambda: self._cluster.coordinator.end(who, commits, self._cluster.now_ms), now_ms)
        self._state = "ready"

    def _add(self, target: Partition | Group, now_ms: int) -> None:
        if target not in self._added:
            who, self._heard_of = self._identity(), True
            self._ask(lambda: self._cluster.coordinator.add(who, target, self._cluster.now_ms), now_ms)
            self._added[target] = None

    def _write(self, sent: Sequence[_Sent]) -> None:
        who = self._identity()
        self._cluster.coordinator.check(who)
        if self._skipped:  # librdkafka's sequence numbers are in order again only after one more abort
            self._skipped = False
            raise Abortable("OUT_OF_ORDER_SEQUENCE_NUMBER")
        if any(self._cluster.is_too_large(one.place, one.key, one.value) for one in sent):
            self._skipped = True
            raise Abortable("MSG_SIZE_TOO_LARGE")
        for one in sent:
            if one.record is None:
                partition = self._cluster.partition(one.place)
                one.record = partition.append(one.key, one.value, self._cluster.append_ms(), *who)

    def _ask(self, request: Callable[[], T], now_ms: int) -> T:
        self._cluster.advance(now_ms)
        try:
            return self._link.ask(request, writes=True)
        except Fenced as fatal:
            self._fatal = str(fatal)
            raise
        except Abortable as failure:
            self._aborting = failure.code
            raise

    def _identity(self) -> Identity:
        assert self._who is not None
        return self._who

    def _usable(self, *states: str) -> None:
        if self._fatal:
            raise Fenced(self._fatal)
        if self._state not in states:
            raise Misused(f"not in state {self._state}")

    def _abortable(self) -> None:
        if self._aborting:
            raise Abortable(self._aborting)
