"""The log in memory, and a loop whose time jumps to the next thing due: the same owners and stages, for specs.

It has transactions that are atomic, append time, partitions and fencing by owner; what a real broker does beyond that
is the business of the contract suites and of the simulator.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import selectors
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVarTuple

from infra.runners.books import Raw, admit, fold_control
from infra.runners.maps import Mapped
from schemas.chain import Stamped
from schemas.controls import Controls
from schemas.events import Unreadable
from schemas.processors import Fenced, Record
from schemas.topics import partition_of
from schemas.wire import frame
from streams.pipeline import BY_NAME, dead_letters

Ts = TypeVarTuple("Ts")
SWEPT_ABOVE, SWEPT_SHARE = 100, 0.5  # timers: asyncio throws cancelled ones away where there are more, and so many are


class _NothingToPoll(selectors.SelectSelector):
    """No socket has anything to say, unless nothing else will ever happen."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None) if timeout is None else []


class _Call(asyncio.TimerHandle):
    """A callback that the loop owes. asyncio's own takes twice as long to make, and what they all cost is most of what
    waiting costs. Two that are due at the same time are in no order: as asyncio has it."""

    __slots__ = ()
    _loop: JumpingLoop
    _callback: Any
    _context: contextvars.Context
    _when: float
    _scheduled: bool
    _repr: None
    _source_traceback: None

    def __init__(self, loop: JumpingLoop, callback: Any, args: Any, context: contextvars.Context | None) -> None:
        self._loop, self._callback, self._args = loop, callback, args
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = self._scheduled = False
        self._repr = self._source_traceback = None

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled, self._callback, self._args = True, None, ()
            if self._scheduled:
                self._loop._timer_cancelled_count += 1

    def __lt__(self, other: object) -> bool:
        return False

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time: where nothing is ready, it is at once the time of the next timer."""

    _ready: deque[asyncio.Handle]
    _timer_cancelled_count: int
    _stopping: bool
    _selector: selectors.BaseSelector
    _clock_resolution: float

    def __init__(self, start_s: float) -> None:
        super().__init__(_NothingToPoll())
        self._virtual_s = start_s
        self._timers: list[tuple[float, _Call]] = []  # a heap

    def time(self) -> float:
        return self._virtual_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        call = _Call(self, callback, args, context)
        self._ready.append(call)
        return call

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        call = _Call(self, callback, args, context)
        call._when, call._scheduled = when, True
        heapq.heappush(self._timers, (when, call))
        return call

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._virtual_s + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """As asyncio's, in its order, without a look for sockets."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][1]._cancelled:  # asyncio drops them later, and would sleep for real until the next
            heapq.heappop(timers)[1]._scheduled = False
            self._timer_cancelled_count -= 1
        if len(timers) > SWEPT_ABOVE and self._timer_cancelled_count / len(timers) > SWEPT_SHARE:
            for _, call in timers:
                call._scheduled = not call._cancelled
            timers = self._timers = [timer for timer in timers if timer[1]._scheduled]
            heapq.heapify(timers)
            self._timer_cancelled_count = 0
        if not ready:
            if timers:
                self._virtual_s = max(self._virtual_s, timers[0][0] + 1e-6)  # more than a float of this size loses
            elif not self._stopping:
                self._process_events(self._selector.select(None))  # type: ignore[attr-defined]
        ends_s = self._virtual_s + self._clock_resolution
        while timers and timers[0][0] < ends_s:
            due = heapq.heappop(timers)[1]
            due._scheduled = False
            ready.append(due)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()


@dataclass
class MemoryLog:
    """All topics. `now_ms` is the broker's clock."""

    partitions: int
    now_ms: Callable[[], int]
    records: dict[tuple[str, int], list[Raw]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    _changed: list[asyncio.Future[None]] = field(default_factory=list)
    _order: list[Raw] = field(default_factory=list)
    _admitted: list[Record] = field(default_factory=list)
    _read_up_to: int = 0

    def append(self, topic: str, key: str, value: bytes, partition: int | None = None) -> Raw:
        if partition is None:
            one = topic.startswith("dead-letters.") or BY_NAME[topic].partitions == 1
            partition = 0 if one else int(key[1:]) if key.startswith("~") else partition_of(key, self.partitions)
        held = self.records.setdefault((topic, partition), [])
        raw = Raw(topic, partition, len(held), self.now_ms(), key.encode(), value)
        held.append(raw)
        self._order.append(raw)
        waiting, self._changed = self._changed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return raw

    def write(self, topic: str, stamped: Stamped) -> Raw:
        return self.append(topic, stamped.event.cluster_id, frame(type(stamped.event), stamped.body))

    def read(self, topic: str, partition: int, start: int, limit: int = 1000) -> list[Raw]:
        return self.records.get((topic, partition), [])[start : start + limit]

    async def changed(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        await future

    def all(self) -> list[Record]:
        """Every readable event of our topics, in append order, as a reader of all of them would see it."""
        for raw in self._order[self._read_up_to :]:
            if raw.topic in BY_NAME:
                with contextlib.suppress(Unreadable):
                    self._admitted.append(admit(raw, self.partitions))
        self._read_up_to = len(self._order)
        return self._admitted


@dataclass
class MemoryOwnLog:
    """infra.runners.owner.OwnLog for one partition in memory. A second one of the same role and partition fences the
    first."""

    log: MemoryLog
    role: str
    topic: str
    partition: int
    inputs: tuple[str, ...]
    epoch: int = -1
    positions: dict[str, int] = field(default_factory=dict)

    def _check(self) -> None:
        if self.log.epochs.get(f"{self.role}-{self.partition}") != self.epoch:
            raise Fenced(f"{self.role}-{self.partition}")

    async def fence(self) -> None:
        name = f"{self.role}-{self.partition}"
        self.epoch = self.log.epochs[name] = self.log.epochs.get(name, 0) + 1

    async def closed(self, begins: Callable[[Raw], int | None]) -> int:
        found = (begins(raw) for raw in reversed(self.log.read(self.topic, self.partition, 0, 10**9)))
        return next((first for first in found if first is not None), 0)

    async def history(self, since: int) -> AsyncIterator[Sequence[Raw]]:
        yield self.log.read(self.topic, self.partition, since, 10**9)

    async def end(self) -> int:
        return len(self.log.read(self.topic, self.partition, 0, 10**9))

    async def ahead(self, positions: Mapping[str, int]) -> AsyncIterator[Sequence[Raw]]:
        for topic in self.inputs:
            yield self.log.read(topic, self.partition, positions.get(topic, 0), 10**9)

    async def seek(self, positions: Mapping[str, int]) -> None:
        self.positions = {t: positions.get(t, 0) for t in self.inputs}

    async def poll(self, max_records: int) -> Sequence[Raw]:
        while True:
            self._check()
            for topic in self.inputs:
                if raws := self.log.read(topic, self.partition, self.positions[topic], max_records):
                    self.positions[topic] += len(raws)
                    return raws
            await self.log.changed()

    async def commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped], positions: Mapping[str, int]) -> int:
        await asyncio.sleep(0.001)
        self._check()
        for made in stamped:
            self.log.write(self.topic, made)
        for made in dead:
            self.log.write(dead_letters(self.role), made)
        return self.log.now_ms()


@dataclass
class MemoryControls:
    """Reads `controls` whole, always live, unless a spec cuts it off."""

    log: MemoryLog
    cut_off: bool = False
    _held: Controls = field(default_factory=lambda: Controls(live=True, read_once=True))

    def current(self) -> Controls:
        return self._held

    async def read(self) -> Controls:
        if self.cut_off:
            return replace(self._held, live=False)
        for raw in self.log.read("controls", 0, self._held.offset + 1):
            self._held = fold_control(self._held, raw)
        self._held = replace(self._held, live=True, read_once=True)
        return self._held


async def run_maps(
    log: MemoryLog, reads: str, writes: str, role: str, handle: Callable[[Raw], Awaitable[Mapped]]
) -> None:
    """Carry one maps stage over all partitions of its input, for ever."""
    positions = dict.fromkeys(range(log.partitions), 0)
    while True:
        moved = False
        for partition in positions:
            for raw in log.read(reads, partition, positions[partition]):
                made = await handle(raw)
                for event in made.events:
                    log.write(writes, event)
                for letter in made.dead:
                    log.write(dead_letters(role), letter)
                positions[partition] += 1
                moved = True
        if not moved:
            await log.changed()
