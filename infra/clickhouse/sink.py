"""The role `audit`: every record of every topic into the table, once, whatever crashes or repeats.

What the table holds is the only position: it resumes from max(offset) + 1 of each partition, and commits nothing.
While ClickHouse is away it keeps one batch, reads no further, and goes on trying: the log keeps the rest. Whatever else
goes wrong is said, and tried again: the process that it runs in may be that of the gateway and of the console.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from infra.clickhouse.rows import Row, cut, row_of, weight
from infra.clickhouse.store import AuditRefused, AuditUnreachable
from infra.runners.books import Raw

T = TypeVar("T")
Positions = Mapping[tuple[str, int], int]

ROWS_MAX = 20_000
BYTES_MAX = 64 << 20
LINGER_S = 1.0
POLL_S = 0.25
BACKOFF_S = (0.5, 30.0)
_log = structlog.get_logger()


class RecordsLost(Exception):
    """The log no longer has what the audit has still to read, or has less than the audit: a person must look."""


class TopicReader(Protocol):
    """Every partition of every topic of ours, committed records alone. Topics are named without the prefix."""

    async def seek(self, positions: Positions) -> None:
        """Read each partition from there on; one that is not named, now or when it appears, from its start."""
        ...

    async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        """What is next, each partition in offset order; empty after `timeout_s`. Raises RecordsLost, once for each
        partition that can't be read on; the others can."""
        ...

    async def lag(self) -> Mapping[str, int]:
        """By topic, how many offsets lie between what was handed out and the live end, as far as that is known. Never
        raises."""
        ...

    @property
    def trouble(self) -> str:
        """What is not read, or not known, and why: then `lag` does not say how far behind it is. Empty: all is."""
        ...


class Table(Protocol):
    """What a sink needs of infra.clickhouse.store.Store."""

    @property
    def insert_ends_within_s(self) -> float: ...

    def check_settings(self) -> None: ...

    def positions(self) -> dict[tuple[str, int], int]: ...

    def insert(self, batch: Sequence[Row]) -> None: ...


@dataclass
class Batch:
    """Records on their way to becoming blocks. Pure."""

    rows_max: int = ROWS_MAX
    bytes_max: int = BYTES_MAX
    linger_s: float = LINGER_S
    raws: list[Raw] = field(default_factory=list)
    size: int = 0
    since_s: float = 0.0

    def add(self, raws: Sequence[Raw], now_s: float) -> None:
        if raws and not self.raws:
            self.since_s = now_s
        self.raws.extend(raws)
        self.size += sum(weight(r) for r in raws)

    def room(self) -> int:
        return max(1, self.rows_max - len(self.raws))

    def is_due(self, now_s: float) -> bool:
        full = len(self.raws) >= self.rows_max or self.size >= self.bytes_max
        return bool(self.raws) and (full or now_s - self.since_s >= self.linger_s)

    def take(self) -> list[list[Raw]]:
        """Blocks, in the order in which they must be inserted."""
        raws, self.raws, self.size = self.raws, [], 0
        return cut(raws, self.rows_max, self.bytes_max)


class Sink:
    """Runs until stopped or cancelled. `lag`: records not yet in the table, by topic. `on_trouble`: all that is wrong
    now, empty when nothing is."""

    def __init__(
        self,
        store: Table,
        *,
        owner_wait_s: float | None = None,  # None: as long as a predecessor's insert may still be under way
        rows_max: int = ROWS_MAX,
        bytes_max: int = BYTES_MAX,
        linger_s: float = LINGER_S,
        backoff_s: tuple[float, float] = BACKOFF_S,
        now_s: Callable[[], float] = time.time,
        elapsed_s: Callable[[], float] = time.monotonic,
        on_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread,
        on_lag: Callable[[Mapping[str, int]], None] = lambda lag: None,
        on_trouble: Callable[[str], None] = lambda trouble: None,
        on_kept: Callable[[Sequence[Row]], None] = lambda block: None,  # is quick, and raises nothing
    ) -> None:
        self._store, self._now_s, self._on_lag, self._on_trouble = store, now_s, on_lag, on_trouble
        self._owner_wait_s = store.insert_ends_within_s if owner_wait_s is None else owner_wait_s
        self._elapsed_s, self._on_thread, self._on_kept = elapsed_s, on_thread, on_kept
        self._batch = Batch(rows_max, bytes_max, linger_s)
        self._backoff_s = backoff_s
        self._stopping = asyncio.Event()
        self._unkept: Counter[str] = Counter()  # handed out by the log, not yet in the table
        self.lag: dict[str, int] = {}
        self.trouble = ""  # why nothing is being written now; empty: all is well
        self.lost: list[str] = []  # partitions that are recorded no further, and why
        self._unread = ""  # what the log can't hand out, or does not know
        self._told = ""
        self.rows = 0
        self.ready = asyncio.Event()  # positions are known, reading has begun

    async def keep_at_it(self, log: TopicReader, prepare: Callable[[], object] = lambda: None) -> None:
        """Until stopped, whatever happens. `prepare` blocks, and comes before each attempt."""
        first_s, longest_s = self._backoff_s
        wait_s = first_s
        while not self._stopping.is_set():
            began_s = self._elapsed_s()
            try:
                await self._on_thread(prepare)
                await self.run(log)
            except Exception as error:
                expected = isinstance(error, AuditRefused | AuditUnreachable)
                wait_s = first_s if self._elapsed_s() - began_s > longest_s + self._owner_wait_s else wait_s
                self._tell(str(error) if expected else f"{type(error).__name__}: {error}")
                _log.error("the audit is not written", error=self.trouble, again_in_s=wait_s, exc_info=not expected)
                await self._pause(wait_s)
                wait_s = min(wait_s * 2, longest_s)

    async def run(self, log: TopicReader) -> None:
        """Raises AuditRefused where the store can't keep the guarantees, and what the log raises but RecordsLost."""
        self._batch.take()  # of a run that failed: what is not in the table is read again
        self._unkept.clear()
        self.lost.clear()
        await self._pause(self._owner_wait_s)
        if not await self._until_done(self._store.check_settings, give_up=AuditRefused):
            return
        found = await self._until_done(self._store.positions)
        if not found:
            return
        await log.seek(found[0])
        self.ready.set()
        while not self._stopping.is_set():
            try:
                raws = await log.poll(self._batch.room(), POLL_S)
            except RecordsLost as error:
                _log.error("RECORDS LOST: a person must look", reason=str(error))
                self.lost.append(str(error))
                self._tell(self.trouble)
                continue
            self._batch.add(raws, self._elapsed_s())
            self._unkept.update(r.topic for r in raws)
            if self._batch.is_due(self._elapsed_s()):
                await self._write(log)
            await self._measure(log)
        await self._write(log)

    def stop(self) -> None:
        """Write what has been read, and end. What can't be written now is read again by the next one."""
        self._stopping.set()

    async def _write(self, log: TopicReader) -> None:
        for raws in self._batch.take():
            # Made once: an insert of unknown fate is repeated with these very bytes, which the engine knows again.
            block = await self._on_thread(self._rows, raws)
            if not await self._until_done(lambda block=block: self._store.insert(block), log=log):  # type: ignore[misc]
                return
            self.rows += len(block)
            self._on_kept(block)
            self._unkept.subtract(r.topic for r in raws)

    def _rows(self, raws: Sequence[Raw]) -> list[Row]:
        recorded_ms = int(self._now_s() * 1000)
        return [row_of(raw, recorded_ms) for raw in raws]

    async def _until_done(
        self,
        call: Callable[[], T],
        *,
        give_up: type[Exception] | tuple[()] = (),
        log: TopicReader | None = None,
    ) -> tuple[T] | None:
        """Its result, in a tuple, however long ClickHouse is away; None: stopped before."""
        wait_s, longest_s = self._backoff_s
        while True:
            try:
                done = await self._on_thread(call)
            except give_up:
                raise
            except (AuditUnreachable, AuditRefused) as error:
                self._tell(str(error))
                _log.warning("the audit can't be written", error=self.trouble, again_in_s=wait_s)
            else:
                self._tell("")
                return (done,)
            if log is not None:
                await self._measure(log)
            if self._stopping.is_set():
                return None
            await self._pause(wait_s)
            wait_s = min(wait_s * 2, longest_s)

    def _tell(self, trouble: str) -> None:
        self.trouble = trouble
        if (all_of_it := "; ".join([*filter(None, (trouble, self._unread)), *self.lost])) != self._told:
            self._told = all_of_it
            self._on_trouble(all_of_it)

    async def _measure(self, log: TopicReader) -> None:
        unread = await log.lag()
        self.lag = {topic: unread.get(topic, 0) + self._unkept[topic] for topic in {*unread, *self._unkept}}
        self._on_lag(self.lag)
        self._unread = log.trouble
        self._tell(self.trouble)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
