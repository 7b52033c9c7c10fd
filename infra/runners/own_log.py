"""The protocol of an owner's own log, and of reading the controls, over ports: a log's clients whose calls are awaited.

Kafka's clients block: `kafka.py` drives each coroutine from here to its end within one hop to a thread, where no call
suspends. The simulator awaits the very same coroutines, and lets happen what may between any two calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from infra.runners.books import Raw, fold_control
from infra.runners.owner import NotSafe, Rebuild
from schemas.chain import Stamped
from schemas.controls import Controls
from schemas.processors import Fenced
from streams.pipeline import dead_letters

T = TypeVar("T")
_log = structlog.get_logger()
Place = tuple[str, int]  # topic, partition
TRANSACTION_TIMEOUT_MS = 10_000  # a hung transaction blinds every read_committed reader until then
CALL_TIMEOUT_S = 30.0
POLL_S = 0.25
PIECE = 5_000  # records, from the end: where the latest closing is looked for first
LIVE_WITHIN_S = 2.0  # controls that can't be read to their end by then are not live


class Abortable(Exception):
    """This transaction can't be committed: abort it, and another may begin."""


class Reader(Protocol):
    """Partitions assigned by hand. Any call raises Rebuild while the broker is away, Fenced for what no waiting mends,
    and NotSafe where what is to be read is gone."""

    async def assign(self, positions: Mapping[Place, int]) -> None: ...

    async def consume(self, records_max: int, within_s: float) -> tuple[list[Raw], bool]:
        """What has come within that time; and whether a partition's end was said."""
        ...

    async def ends(self, place: Place, within_s: float) -> tuple[int, int]:
        """(low, high) watermark, asked of the broker; the high one of a committed reader is the last stable offset."""
        ...

    async def close(self) -> None: ...


class Writer(Protocol):
    """One transactional id. In a transaction a call raises Abortable; or Fenced: fatal, timed out or unknown. `init`
    and `abort` raise as a Reader does."""

    async def init(self) -> None:
        """Shut predecessors out."""
        ...

    async def begin(self) -> None: ...

    async def produce(self, place: Place, batch: Sequence[Stamped]) -> None:
        """On their way; one that isn't delivered fails the commit."""
        ...

    async def send_offsets(self, offsets: Mapping[Place, int], metadata: Any) -> None: ...

    async def commit(self) -> int:
        """The last append time that was acknowledged (ms), 0 for none."""
        ...

    async def abort(self) -> None: ...


class Clients(Protocol):
    """All that the protocols ask of the world."""

    def writer(self, transactional_id: str, timeout_ms: int) -> Writer: ...

    def reader(self, *, committed_only: bool = True, says_end: bool = True) -> Reader: ...

    async def on(self, thread: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run this to its end, one at a time a thread; it goes on although nobody waits for it any more."""
        ...

    def monotonic_s(self) -> float: ...

    async def pause(self, seconds: float) -> None: ...

    def close(self) -> None: ...


@dataclass
class PartitionLog:
    """infra.runners.owner.OwnLog over such clients. `group_metadata` is the membership consumer's, asked anew for each
    transaction (a live but evicted member is stopped by nothing else)."""

    clients: Clients
    role: str
    topic: str
    partition: int
    inputs: tuple[str, ...]
    group_metadata: Callable[[], Any]
    _writer: Writer | None = None
    _reader: Reader | None = None
    _positions: dict[str, int] = field(default_factory=dict)
    _ends: int = 0  # the proven end of the own topic when it was taken over

    async def _read(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self.clients.on("read", call)

    async def fence(self) -> None:
        await self.clients.on("write", self._fence)

    async def _fence(self) -> None:
        writer = self.clients.writer(f"{self.role}-{self.partition}", TRANSACTION_TIMEOUT_MS)
        await writer.init()
        self._writer = writer

    async def closed(self, begins: Callable[[Raw], int | None]) -> int:
        """Looks from the end backwards, piece by piece. A log without its head is no history, unless what is missing
        stands before the latest closing."""
        low, self._ends = await self._read(self._proven_end)
        upto, piece = self._ends, PIECE
        while upto > low:
            since = max(low, upto - piece)
            found: int | None = None
            async for raws in self._between((self.topic, self.partition), since, upto):
                for raw in raws:
                    first = begins(raw)
                    found = found if first is None else first
            if found is not None and found >= low:
                return found
            upto, piece = since, piece * 2
        if low > 0:
            raise NotSafe(f"{self.topic}/{self.partition} begins at offset {low}: its head has been cut off")
        return 0

    def history(self, since: int) -> AsyncIterator[Sequence[Raw]]:
        return self._between((self.topic, self.partition), since, self._ends)

    async def ahead(self, positions: Mapping[str, int]) -> AsyncIterator[Sequence[Raw]]:
        """What an open transaction hides comes later, to who polls."""
        for topic in self.inputs:
            place = (topic, self.partition)
            low, upto = await self._read(partial(self._of_reader().ends, place, CALL_TIMEOUT_S))
            async for raws in self._between(place, max(low, positions.get(topic, 0)), upto):
                yield raws

    async def _between(self, place: Place, since: int, upto: int) -> AsyncIterator[Sequence[Raw]]:
        if since >= upto:
            return
        await self._read(lambda: self._read_from({place: since}, says_end=True))
        reached = since
        while reached < upto:
            raws, at_end = await self._read(lambda: self._of_reader().consume(5000, POLL_S))
            if raws:
                reached = raws[-1].offset + 1
                yield raws if reached <= upto else [raw for raw in raws if raw.offset < upto]
            if at_end:  # what is left up to the high watermark are transaction markers
                return

    async def _proven_end(self) -> tuple[int, int]:
        """(low, high) watermark, once the last stable offset has reached the high one: nothing committed is hidden."""
        place = (self.topic, self.partition)
        self._reader = self.clients.reader()
        plain = self.clients.reader(committed_only=False)
        try:
            give_up_s = self.clients.monotonic_s() + TRANSACTION_TIMEOUT_MS / 1000 + 5
            while True:
                low, high = await plain.ends(place, CALL_TIMEOUT_S)
                _, stable = await self._of_reader().ends(place, CALL_TIMEOUT_S)
                if stable >= high:
                    return low, high
                if self.clients.monotonic_s() > give_up_s:
                    raise NotSafe(
                        f"{self.topic}/{self.partition}: stable up to {stable} of {high}: a transaction hides records"
                    )
                await self.clients.pause(0.1)
        finally:
            await plain.close()

    async def seek(self, positions: Mapping[str, int]) -> None:
        self._positions = {t: positions.get(t, 0) for t in self.inputs}
        places = {(t, self.partition): o for t, o in self._positions.items()}
        await self._read(lambda: self._read_from(places, says_end=False))

    async def _read_from(self, positions: Mapping[Place, int], *, says_end: bool) -> None:
        """By a new one: a fetch of the old one may still wait at the log's end, and hold up the next."""
        await self._of_reader().close()
        self._reader = self.clients.reader(says_end=says_end)
        await self._reader.assign(positions)

    async def end(self) -> int:
        _, stable = await self._read(lambda: self._of_reader().ends((self.topic, self.partition), CALL_TIMEOUT_S))
        return stable

    async def poll(self, max_records: int) -> Sequence[Raw]:
        return await self._read(lambda: self._some(max_records))

    async def _some(self, records_max: int) -> list[Raw]:
        """The first one at once, and what is there with it."""
        reader = self._of_reader()
        first, _ = await reader.consume(1, POLL_S)
        return [*first, *(await reader.consume(records_max - 1, 0))[0]] if first else first

    async def commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped], positions: Mapping[str, int]) -> int:
        self._positions.update(positions)
        return await self.clients.on("write", lambda: self._commit(stamped, dead))

    async def _commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped]) -> int:
        writer = self._writer
        assert writer is not None
        try:
            await writer.begin()
            await writer.produce((self.topic, self.partition), stamped)
            await writer.produce((dead_letters(self.role), 0), dead)
            offsets = {(t, self.partition): o for t, o in self._positions.items()}
            await writer.send_offsets(offsets, self.group_metadata())
            return await writer.commit()
        except Abortable as failure:
            await writer.abort()
            raise Rebuild(str(failure)) from failure

    async def close(self) -> None:
        """Let go of the clients; an open transaction of ours is aborted by whoever comes next."""
        if self._reader is not None:
            await self.clients.on("read", self._reader.close)
        self._writer = None
        self.clients.close()

    def _of_reader(self) -> Reader:
        assert self._reader is not None
        return self._reader


class LiveControls:
    """`controls` read uncommitted (a freeze behind an open transaction must be seen), whole, and proven up to its live
    end."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._reader = clients.reader(committed_only=False)
        self._asker = clients.reader(committed_only=False)  # its requests wait behind no fetch
        self._held = Controls()
        self._next = 0
        self._assigned = False
        self._begun = self._ended = 0
        self._running: asyncio.Future[None] | None = None

    def current(self) -> Controls:
        return self._held

    async def read(self) -> Controls:
        """Callers that come while a read is under way share the next one: a proof must begin after it was asked for."""
        wanted = self._begun + 1
        while self._ended < wanted:
            if self._running is None:
                self._running = asyncio.ensure_future(self._run())
            await asyncio.shield(self._running)
        return self._held

    async def _run(self) -> None:
        self._begun += 1
        try:
            await self._clients.on("controls", self._read_to_end)
        finally:
            self._ended, self._running = self._begun, None

    async def _read_to_end(self) -> None:
        """`live` only if the high watermark of this moment was reached within 2 s. Never raises."""
        place, give_up_s = ("controls", 0), self._clients.monotonic_s() + LIVE_WITHIN_S
        try:
            low, high = await self._asker.ends(place, LIVE_WITHIN_S)
            if low > 0 and self._next < low:
                raise NotSafe(f"controls begin at offset {low}: the head has been cut off")
            if high < self._next:
                raise NotSafe(f"controls end at {high}, and have been read up to {self._next}: records were lost")
            if not self._assigned:
                await self._reader.assign({place: self._next})
                self._assigned = True
            while self._next < high:
                if self._clients.monotonic_s() > give_up_s:
                    raise NotSafe(f"controls: read up to {self._next} of {high}")
                raws, _ = await self._reader.consume(500, 0.2)
                for raw in raws:
                    if raw.offset != self._next:  # they are written without transactions: there are no gaps
                        raise NotSafe(f"controls: {raw.offset} comes after {self._next - 1}")
                    self._held = fold_control(self._held, raw)
                    self._next = raw.offset + 1
            self._held = replace(self._held, live=True, read_once=True)
        except Exception as error:  # whatever it is: not read, and next time read on from what has been folded
            if not isinstance(error, (Rebuild, NotSafe, Fenced)):
                _log.exception("the controls can't be read", at=self._next)
            self._held, self._assigned = replace(self._held, live=False), False
