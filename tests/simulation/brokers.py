"""The modelled log on the loop's time, and production's client ports over it.

Before a call has reached the brokers, and sometimes before its answer is back, its process may be killed, stopped or
cut off: each call is a scheduling point that the seed decides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from infra.runners.books import Raw, admit
from infra.runners.memory import MemoryLog
from infra.runners.own_log import CALL_TIMEOUT_S, Abortable, Place
from infra.runners.owner import NotSafe, Rebuild
from schemas.chain import Stamped
from schemas.events import Event, Unreadable
from schemas.processors import Fenced, Record
from schemas.topics import partition_of
from schemas.wire import frame
from streams.pipeline import BY_NAME, PROCESSORS, TOPICS, dead_letters
from tests.simulation import errors, partitions
from tests.simulation.clients import End
from tests.simulation.groups import Group
from tests.simulation.log import Cluster

if TYPE_CHECKING:
    from tests.simulation.processes import Process

T = TypeVar("T")
ANY_RECORD = "any record"  # to wait for: written anywhere, if only for who reads uncommitted
COMMITTED = "committed"  # or something that committed readers may see, of any partition


def raw_of(record: partitions.Record) -> Raw:
    return Raw(record.topic, record.partition, record.offset, record.at_ms, record.key, record.value)


def place_of(topic: str, key: str, count: int) -> Place:
    """Where a record of this key belongs."""
    if topic.startswith("dead-letters.") or BY_NAME[topic].partitions == 1:
        return topic, 0
    return topic, int(key[1:]) if key.startswith("~") else partition_of(key, count)


class Brokers:
    """The model, kept at the loop's time. Who waits is woken when what it waits for has changed."""

    def __init__(self, count: int, now_ms: Callable[[], int]) -> None:
        names = {topic.name: topic.partitions or count for topic in TOPICS}
        self.cluster = Cluster(names | {dead_letters(line.role): 1 for line in PROCESSORS})
        self.count, self.now_ms = count, now_ms
        self.unreachable: set[str] = set()  # topics of which nobody is told the ends
        self.usurped: list[str] = []  # commits of who did not own the partition
        self.decided_ms: dict[tuple[str, int], int] = {}  # by (event_id, at_ms) of what somebody wanted committed
        self.skew_ms = 0  # how far their clock has been off, at most
        self.aborting = 0.0  # the share of transactions that a broker does not let commit
        self.changed: dict[partitions.Partition, None] = {}  # since somebody last took it
        self.on_change: Callable[[], object] = lambda: None  # of a partition
        self._seen: dict[partitions.Partition, tuple[int, int, int]] = {}  # what committed readers have been told of
        self._waiting: dict[object, dict[asyncio.Future[None], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ms: int | None = None
        self.cluster.on_change = self._changed
        self.advance()

    def advance(self) -> None:
        """To now; and again when something is next due by itself."""
        self.cluster.advance(self.now_ms())
        due_ms = None if self.cluster.is_down else self.cluster.next_due_ms()
        if due_ms == self._timer_due_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_due_ms = None, due_ms
        if due_ms is not None:
            wait_s = max(0.001, (due_ms - self.now_ms()) / 1000 + 0.001)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._due)

    def _due(self) -> None:
        self._timer = self._timer_due_ms = None
        self.advance()

    def _changed(self, what: partitions.Partition | Group) -> None:
        if isinstance(what, partitions.Partition):
            self.changed[what] = None
            self.wake(ANY_RECORD)
            seen = (what.start, what.stable, what.leader_epoch)
            if seen == self._seen.get(what):
                return  # to committed readers nothing is new
            self._seen[what] = seen
            self.on_change()
            self.wake(COMMITTED)
        self.wake(what)

    def wake(self, what: object) -> None:
        for future in self._waiting.pop(what, ()):
            _let_go(future)

    def wake_all(self) -> None:
        """Links, or the brokers, have come or gone."""
        for what in list(self._waiting):
            self.wake(what)

    async def change(self, of: Sequence[object], within_s: float | None = None) -> None:
        """Until one of these changes, anything comes or goes, or so long has passed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        for what in (*of, self):
            self._waiting.setdefault(what, {})[future] = None
        over = None if within_s is None else loop.call_later(within_s, _let_go, future)
        try:
            await future
        finally:
            if over is not None:
                over.cancel()
            for what in (*of, self):
                if (waiting := self._waiting.get(what)) is not None:
                    waiting.pop(future, None)

    def clock_jumps(self, ahead_ms: int) -> None:
        """All of theirs; to so much ahead of ours."""
        self.cluster.clock_ahead_ms = ahead_ms
        self.skew_ms = max(self.skew_ms, abs(ahead_ms))

    def go_down(self) -> None:
        self.cluster.go_down(self.now_ms())
        self.wake_all()

    def come_back(self) -> None:
        self.cluster.come_back(self.now_ms())
        self.advance()
        self.wake_all()


class ModelledLog(MemoryLog):
    """What people and monitors write, and what judges read: never cut off, but for brokers that are away."""

    def __init__(self, brokers: Brokers) -> None:
        super().__init__(brokers.count, brokers.now_ms)
        self.brokers = brokers
        self._publisher = brokers.cluster.plain_producer(brokers.cluster.link())
        self._late: list[tuple[Place, str, bytes]] = []
        self.cut: dict[Place, list[Raw]] = {}  # what was committed there, and is no longer
        self._taken_in: dict[partitions.Partition, int] = {}
        self._ordered: list[tuple[int, Record]] = []  # with the order of appending
        self._all: list[Record] = []  # up to the last time that somebody asked for them
        self._of_kind: dict[type[Event], list[Event]] = {}
        self._awaited = 0  # so many wait for news of a kind
        brokers.on_change = lambda: self._take_in() if self._awaited else None

    def append(self, topic: str, key: str, value: bytes, partition: int | None = None) -> Raw:
        """Once the brokers are there."""
        place = place_of(topic, key, self.partitions) if partition is None else (topic, partition)
        if self.brokers.cluster.is_down:
            self._late.append((place, key, value))
            return Raw(*place, -1, self.now_ms(), key.encode(), value)
        made = self._publisher.publish(place, key.encode(), value, self.now_ms())
        self.brokers.advance()
        return raw_of(made)

    def caught_up(self) -> None:
        late, self._late = self._late, []
        for place, key, value in late:
            self._publisher.publish(place, key.encode(), value, self.now_ms())
        self.brokers.advance()

    def read(self, topic: str, partition: int, start: int, limit: int = 1000) -> list[Raw]:
        found = self.brokers.cluster.partition((topic, partition))
        cut = [raw for raw in self.cut.get((topic, partition), ()) if raw.offset >= start][:limit]
        there = found.read(max(start, found.start), found.stable, True, limit - len(cut))[0]
        return [*cut, *map(raw_of, there)]

    def cut_head(self, place: Place, before: int) -> None:
        """Nobody but judges will know what it was."""
        self._take_in()
        self.cut[place] = [raw for raw in self.read(*place, 0, 10**6) if raw.offset < before]
        self.brokers.cluster.cut_head(place, before)

    async def changed(self) -> None:
        await self.brokers.change([COMMITTED])

    def all(self) -> list[Record]:
        self._take_in()
        if len(self._ordered) > len(self._all):
            self._ordered.sort(key=_order)
            self._all = [record for _, record in self._ordered]
        return self._all

    def as_it_was(self) -> Sequence[Record]:
        """All, each at the time when it was really appended, whatever the brokers' clock said."""
        records = self.all()
        if not self.brokers.skew_ms:
            return records
        happened_ms = self.brokers.cluster.happened_ms
        return [replace(record, at_ms=happened_ms(order)) for order, record in self._ordered]

    def of_kind(self, kind: type[Event]) -> Sequence[Event]:
        """All of them so far; those of one partition in their order."""
        self._take_in()
        return self._of_kind.get(kind, ())

    async def news_of(self, kind: type[Event], within_s: float) -> None:
        """Until there is one more, or anything comes or goes, or so long has passed."""
        self._awaited += 1
        try:
            await self.brokers.change([kind], within_s)
        finally:
            self._awaited -= 1

    def _take_in(self) -> None:
        """What committed readers may see by now, and could not before."""
        if not self.brokers.changed:
            return
        changed, self.brokers.changed = self.brokers.changed, {}
        for partition in changed:
            if partition.topic not in BY_NAME:
                continue
            start = max(self._taken_in.get(partition, 0), partition.start) - partition.start
            self._taken_in[partition] = partition.stable
            for entry in partition.entries[start : partition.stable - partition.start]:
                if entry.record is not None and not entry.is_hidden:
                    with contextlib.suppress(Unreadable):
                        record = admit(raw_of(entry.record), self.partitions)
                        self._ordered.append((entry.order, record))
                        self._of_kind.setdefault(type(record.event), []).append(record.event)
                        self.brokers.wake(type(record.event))


def _let_go(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _order(ordered: tuple[int, Record]) -> int:
    return ordered[0]


# -- production's ports ---------------------------------------------------------------------------------------------


class ModelReader:
    """infra.runners.own_log.Reader."""

    def __init__(self, clients: ModelClients, committed_only: bool, says_end: bool) -> None:
        self._clients, self._says_end = clients, says_end
        self._process, self._brokers = clients.process, clients.process.brokers
        self._reader = self._brokers.cluster.reader(self._process.link, committed_only=committed_only)

    async def assign(self, positions: Mapping[Place, int]) -> None:
        self._reader.assign(positions)

    async def consume(self, records_max: int, within_s: float) -> tuple[list[Raw], bool]:
        await self._process.point()
        raws, at_end = self._poll(records_max)
        if not raws and not at_end and within_s and not self._clients.queued:
            # A poll that finds nothing is made again, by all who call this: it may as well wait for longer.
            watched: list[object] = [self._brokers.cluster.partition(place) for place in self._reader.positions]
            if not self._reader.committed_only:
                watched = [ANY_RECORD]
            await self._brokers.change((*watched, self._clients), None if self._process.link.is_up else within_s)
            await self._process.point()
            raws, at_end = self._poll(records_max)
        return raws, at_end

    def _poll(self, records_max: int) -> tuple[list[Raw], bool]:
        if not records_max:
            return [], False
        try:
            found = self._reader.poll(records_max, self._brokers.now_ms())
            if found and not self._says_end and all(isinstance(x, End) for x in found):
                found = self._reader.poll(records_max, self._brokers.now_ms())
        except errors.Gone as gone:
            raise NotSafe(str(gone)) from gone
        raws = [raw_of(x) for x in found if not isinstance(x, End)]
        return raws, self._says_end and any(isinstance(x, End) for x in found)

    async def ends(self, place: Place, within_s: float) -> tuple[int, int]:
        if place[0] in self._brokers.unreachable:
            await asyncio.sleep(within_s)
            raise Rebuild("no answer in time")
        try:
            return await self._process.ask(lambda now_ms: self._reader.watermarks(place, now_ms), within_s)
        except errors.TimedOut as away:
            raise Rebuild(str(away)) from away

    async def close(self) -> None:
        self._reader.assign({})


@contextlib.contextmanager
def _told(of_timed_out: type[Exception]) -> Any:
    try:
        yield
    except errors.Abortable as failure:
        raise Abortable(failure.code) from failure
    except errors.TimedOut as away:
        raise of_timed_out(str(away)) from away
    except (errors.Fenced, errors.Misused) as of_no_use:
        raise Fenced(str(of_no_use)) from of_no_use


class ModelWriter:
    """infra.runners.own_log.Writer."""

    def __init__(self, process: Process, transactional_id: str, timeout_ms: int) -> None:
        self._process = process
        self._producer = process.brokers.cluster.producer(process.link, transactional_id, timeout_ms)
        self._appended_ms = 0
        self._began_as_owner = self._sent_as_member = False

    async def init(self) -> None:
        with _told(Rebuild):
            await self._process.ask(self._producer.init_transactions, CALL_TIMEOUT_S)

    async def begin(self) -> None:
        self._appended_ms = 0
        self._began_as_owner = self._process.holds(self._producer.id)
        with _told(Fenced):
            self._producer.begin_transaction()

    async def produce(self, place: Place, batch: Sequence[Stamped]) -> None:
        with _told(Fenced):
            for made in batch:
                self._producer.produce(place, made.event.cluster_id.encode(), frame(type(made.event), made.body))
            if batch and self._process.chance.happens(0.3):  # the client may send some of it by now, or none
                most = int(self._process.chance.between(1, len(batch) + 1))
                self._saw(await self._process.ask(lambda now_ms: self._producer.flush(now_ms, most), CALL_TIMEOUT_S))

    async def send_offsets(self, offsets: Mapping[Place, int], metadata: Any) -> None:
        def send(now_ms: int) -> None:
            self._producer.send_offsets(offsets, metadata, now_ms)
            self._sent_as_member = self._process.belongs(self._producer.id)

        with _told(Fenced):
            await self._process.ask(send, CALL_TIMEOUT_S)
        if self._process.brokers.aborting and self._process.chance.happens(self._process.brokers.aborting):
            raise Abortable("TRANSACTION_ABORTABLE")

    async def commit(self) -> int:
        with _told(Fenced):
            self._saw(await self._process.ask(self._producer.flush, CALL_TIMEOUT_S))
            await self._process.ask(self._producer.commit_transaction, CALL_TIMEOUT_S)
        if not (self._began_as_owner and self._sent_as_member):
            what = "accepted from no member of the group" if self._began_as_owner else "begun without owning it"
            self._process.brokers.usurped.append(
                f"{self._process.name}: a transaction of {self._producer.id} was {what}"
            )
        return self._appended_ms

    async def abort(self) -> None:
        with _told(Rebuild):
            await self._process.ask(self._producer.abort_transaction, CALL_TIMEOUT_S)

    def _saw(self, records: Sequence[partitions.Record]) -> None:
        self._appended_ms = max((self._appended_ms, *(record.at_ms for record in records)))


class ModelClients:
    """infra.runners.own_log.Clients of one process. A call that is under way goes on although nobody waits for it, as
    on a thread."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.queued = 0  # calls that wait for their thread
        self._threads: dict[str, asyncio.Lock] = {}

    def writer(self, transactional_id: str, timeout_ms: int) -> ModelWriter:
        return ModelWriter(self.process, transactional_id, timeout_ms)

    def reader(self, *, committed_only: bool = True, says_end: bool = True) -> ModelReader:
        return ModelReader(self, committed_only, says_end)

    async def on(self, thread: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        lock, loop = self._threads.setdefault(thread, asyncio.Lock()), asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        async def run() -> None:
            try:
                async with lock:
                    self.queued -= 1
                    found = await call()
            except Exception as error:
                if not answer.done():  # otherwise it is nobody's business
                    answer.set_exception(error)
            except asyncio.CancelledError:
                answer.cancel()
                raise
            else:
                if not answer.done():
                    answer.set_result(found)

        if lock.locked():
            self.process.brokers.wake(self)  # a poll that waits returns, for who comes after it
        self.queued += 1
        loop.create_task(run())
        return await answer

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        return None
