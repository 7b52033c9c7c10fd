"""The owner of one partition of a decides or works role: restore, then one transaction after another, and its lanes.

The log, the clock and the controls are ports: real Kafka, memory and the simulator carry the same owner. Memory moves
on only after a commit has succeeded; a commit that fails in any way ends this owner, and a successor rebuilds from the
log.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from infra.runners.books import Books, Draft, Raw, Witnessed
from schemas.chain import Stamped
from schemas.controls import Controls
from schemas.events import Event, GenesisMarked
from schemas.processors import Fenced, Works
from schemas.values import Cause

S = TypeVar("S")
BATCH_MAX = 1000
INBOX_MAX = 5000
EARLY_S_MAX = 30.0  # for so long an input waits for its own cause; one that never comes was a lie
IDLE_S = 300.0  # nothing is due, and nothing has come: what comes wakes it
EARLY_LOOK_S = 1.0
QUIET_S = 0.25  # what changes nothing is answered by the next transaction; after a pause of so long by one of its own
LANE_AGAIN_S = 30.0
CLOSED_CHARS_MAX = 500_000  # of states, in one transaction: others wait for it


class NotSafe(Exception):
    """The log is not what it has to be (a cut head, hidden records, a foreign genesis): nothing may be decided on
    it."""


class Rebuild(Exception):
    """This transaction was aborted, or the broker is away, but the partition is still ours: forget what is in memory
    and fold the log again."""


class OwnLog(Protocol):
    """One partition as its owner sees it. Any method may raise Fenced (fatal) or Rebuild (abortable)."""

    async def fence(self) -> None:
        """Shut the predecessor out; its commits fail from here on."""
        ...

    async def closed(self, begins: Callable[[Raw], int | None]) -> int:
        """Where the history that matters begins: what `begins` says of the latest record of which it says something;
        0, the start, where there is none. Raises NotSafe if what matters has been cut off."""
        ...

    def history(self, since: int) -> AsyncIterator[Sequence[Raw]]:
        """The own topic from this offset to its proven end."""
        ...

    async def end(self) -> int:
        """The own topic's next offset; a lower one does no harm."""
        ...

    def ahead(self, positions: Mapping[str, int]) -> AsyncIterator[Sequence[Raw]]:
        """Each input from there on, to its end of now. Before `seek`."""
        ...

    async def seek(self, positions: Mapping[str, int]) -> None:
        """Read each input from there on; an input that is not named, from its start."""
        ...

    async def poll(self, max_records: int) -> Sequence[Raw]:
        """The next committed inputs; waits a little where there are none."""
        ...

    async def commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped], positions: Mapping[str, int]) -> int:
        """One transaction: events, dead letters and input positions. Returns the broker's append time (ms)."""
        ...


class LogClock:
    """The log's time: the last append time seen, and what has passed since by `own_ms`, a clock that nobody sets and
    that goes on in suspend. Before one has been seen it is 0: no host's calendar is asked, for an owner whose calendar
    is a day ahead would move its ledger's time by that for good."""

    def __init__(self, own_ms: Callable[[], int]) -> None:
        self._own_ms = own_ms
        self._ahead_ms: int | None = None

    def now_ms(self) -> int:
        return 0 if self._ahead_ms is None else self._own_ms() + self._ahead_ms

    def saw(self, append_ms: int) -> None:
        """It never goes back."""
        ahead_ms = append_ms - self._own_ms()
        self._ahead_ms = ahead_ms if self._ahead_ms is None else max(self._ahead_ms, ahead_ms)


class Witness(Protocol):
    """Somebody else who keeps our ledger: the audit."""

    async def tails(self, topic: str, partition: int, since: int) -> Mapping[str, Witnessed] | None:
        """By cluster, the last event of its chain at this offset or behind it; None: it can't be asked now. Never
        raises, and answers within seconds."""
        ...


class ControlsPort(Protocol):
    def current(self) -> Controls: ...

    async def read(self) -> Controls:
        """Proven to be read up to the live end; otherwise `live` is False."""
        ...


@dataclass
class _Closing:
    """The books are being closed, a piece a transaction."""

    first_offset: int
    left: list[str]
    clusters: int


@dataclass
class _Asked:
    """What a lane wants committed."""

    events: tuple[Event, ...]
    cause: Cause | None
    done: asyncio.Future[None]


class Owner(Generic[S]):
    """Runs until cancelled, fenced or told to rebuild. `on_commit` is for metrics.

    Who works has the log's time from its take-over, and its own since: a broker whose clock is ahead would make a look
    that is old seem new, and a wait that has begun last for as long as it is ahead."""

    def __init__(
        self,
        books: Books[S],
        log: OwnLog,
        own_ms: Callable[[], int],
        controls: ControlsPort,
        *,
        works: Works[S] | None = None,
        consults: bool = False,
        name: str = "",
        build: str = "",
        genesis: GenesisMarked | None = None,
        witness: Witness | None = None,
        on_commit: Callable[[int, int], None] = lambda events, inputs: None,
    ) -> None:
        self._books, self._log, self._clock, self._controls = books, log, LogClock(own_ms), controls
        self._works, self._consults, self._name, self._build = works, consults, name, build
        self._genesis, self._witness, self._on_commit = genesis, witness, on_commit
        self._inbox: list[Raw] = []
        self._early: list[tuple[Raw, int]] = []  # what was read before its own cause, and since when it waits (ms)
        self._asked: list[_Asked] = []
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._stirred: dict[str, asyncio.Event] = {}
        self._resumed: set[str] = set()
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._draining = False
        self._closing: _Closing | None = None
        self.ready = asyncio.Event()

    @property
    def books(self) -> Books[S]:
        return self._books

    async def run(self) -> None:
        """Take over, then work. Raises Fenced or Rebuild; whatever else it raises is a bug, and ends the process."""
        await self._log.fence()
        since = self._books.since = await self._log.closed(self._books.begins)
        if self._witness:  # asked before the fold, which compares; execution doesn't wait for one that is away
            self._books.witnessed = await self._witness.tails(self._books.topic, self._books.partition, since) or {}
        async for raws in self._log.history(self._books.since):
            for raw in raws:
                self._books.restore(raw)
        draft = self._books.draft(self._controls.current())
        if self._genesis:
            if foreign := self._books.foreign_genesis(self._genesis):
                raise NotSafe(f"{self._books.topic}/{self._books.partition} is not the topic it was: {foreign}")
            if self._books.genesis is None:
                draft.add((self._genesis,), None, self._clock.now_ms())
        if self._works and self._consults:
            async for raws in self._log.ahead(self._books.positions):
                for raw in raws:
                    self._books.look_ahead(raw)
        await self._log.seek(self._books.positions)
        draft.say_lost()
        draft.add((self._books.started(self._name, self._build),), None, self._clock.now_ms())
        await self._commit(draft)
        self._books.genesis = self._books.genesis or self._genesis
        if self._works:
            self._resumed = {c for c, s in self._books.states.items() if self._works.owed(s)}
            for cluster_id in sorted(self._resumed):
                self._stir(cluster_id)
        self.ready.set()
        tasks = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._decide())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            await self._stop([*tasks, *self._lanes.values()])

    def drain(self) -> None:
        """Take no further input and begin nothing more; what is under way may still be committed."""
        self._draining = True
        self._something.set()
        for asleep in self._stirred.values():
            asleep.set()

    async def drained(self, within_s: float) -> None:
        """Waits for lanes at most so long; they are then cut, and their claims stay open on record."""
        self.drain()
        if self._lanes:
            await asyncio.wait(list(self._lanes.values()), timeout=within_s)

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self._draining = True  # who is over starts nothing more
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # a cancellation of our own goes on from here

    async def _read(self) -> None:
        while not self._draining:
            await self._room.wait()
            raws = await self._log.poll(BATCH_MAX)
            if raws:
                self._inbox.extend(raws)
                self._something.set()
            if len(self._inbox) >= INBOX_MAX:
                self._room.clear()

    async def _decide(self) -> None:
        draft: Draft[S] | None = None
        while True:
            await self._wait(QUIET_S if draft else EARLY_LOOK_S if self._early else IDLE_S)
            self._something.clear()
            batch, self._inbox = self._inbox[:BATCH_MAX], self._inbox[BATCH_MAX:]
            asked, self._asked = self._asked, []
            if len(self._inbox) < INBOX_MAX:
                self._room.set()
            if self._inbox:
                self._something.set()
            due = self._books.due(self._clock.now_ms())
            given = bool(batch or due or self._early)
            closes = await self._closes()
            if not (given or asked or draft or closes):
                continue
            controls = await self._controls.read() if self._consults and given else self._controls.current()
            draft = draft or self._books.draft(controls)
            draft.controls, draft.now_ms = controls, max(draft.now_ms, self._clock.now_ms())
            for want in asked:
                try:
                    draft.add(want.events, want.cause, self._clock.now_ms())
                except Exception as error:  # the lane's bug, and its alone
                    want.done.set_exception(error)
            self._take(draft, batch)
            for cluster_id in due:
                draft.tick(cluster_id, self._clock.now_ms())
            if batch and not (asked or closes) and draft.only_ignores() and draft.inputs < BATCH_MAX:
                continue
            if closes:
                self._close_some(draft)
            draft.seal()
            lost = bool(self._books.lost)
            if draft.stamped or draft.dead:
                await self._commit(draft)
            for want in asked:
                if not want.done.done():
                    want.done.set_result(None)
            for cluster_id in list(self._books.states) if lost else draft.touched:
                self._stir(cluster_id)
            draft = None

    async def _closes(self) -> bool:
        """Are the books to be closed, or being closed?"""
        at_ms = self._books.closes_at()
        if self._closing is None and at_ms is not None and self._clock.now_ms() >= at_ms:
            clusters = self._books.clusters()
            self._closing = _Closing(await self._log.end(), clusters, len(clusters))
        return self._closing is not None

    def _close_some(self, draft: Draft[S]) -> None:
        """The next piece, and after the last one the day. A state that can't be written down stops the closing, and
        nothing else: a restart then folds more."""
        closing = self._closing
        assert closing is not None
        written = 0
        try:
            while closing.left and written < CLOSED_CHARS_MAX:
                written += draft.close(closing.left[0])
                del closing.left[0]
            if not closing.left:
                draft.close_day(closing.first_offset, closing.clusters)
        except Exception as error:
            self.failed(f"the books of {closing.left[0] if closing.left else 'the day'} can't be closed", error)
            self._books.put_off(draft.now_ms)
            closing.left = []
        if closing.left:
            self._something.set()
        else:
            self._closing = None

    def _take(self, draft: Draft[S], batch: Sequence[Raw]) -> None:
        """Answer what has been read, each input after its own cause: a broker keeps no order between topics. What waits
        keeps those behind it on its topic waiting too."""
        now_ms = self._clock.now_ms()
        left: list[tuple[Raw, int]] = [*self._early, *((raw, now_ms) for raw in batch)]
        while True:
            waiting, left, before = left, [], draft.inputs
            stopped: set[str] = set()
            for raw, since_ms in waiting:
                if raw.topic in stopped or not draft.take(raw, may_wait=True):
                    stopped.add(raw.topic)
                    left.append((raw, since_ms))
            if left and draft.inputs == before:  # nothing moves: the oldest has waited long enough, or all may go on
                if now_ms - left[0][1] < EARLY_S_MAX * 1000 and len(left) < INBOX_MAX:
                    break
                draft.take(left.pop(0)[0])
            if not left:
                break
        self._early = left

    async def _wait(self, at_most_s: float) -> None:
        left_s = at_most_s
        for at_ms in (self._books.wakes_at(), self._books.closes_at()):
            if at_ms is not None:
                left_s = min(left_s, max(0.0, (at_ms - self._clock.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._something.wait()

    async def _commit(self, draft: Draft[S]) -> None:
        appended_ms = await self._log.commit(draft.stamped, draft.dead, draft.positions)
        if not (self._works and self.ready.is_set()):
            self._clock.saw(max(appended_ms, draft.now_ms))
        self._books.accept(draft, appended_ms)
        self._on_commit(len(draft.stamped), draft.inputs)

    # lanes

    def _stir(self, cluster_id: str) -> None:
        """The cluster's state has moved: wake its lane, or start one where work is owed; none before it is on record
        what this ledger has lost."""
        if cluster_id.startswith("~") or self._works is None or self._books.lost:
            return
        if event := self._stirred.get(cluster_id):
            event.set()
        if cluster_id not in self._lanes and self._works.owed(self._books.state(cluster_id)) and not self._draining:
            self._start_lane(cluster_id)

    def _start_lane(self, cluster_id: str) -> None:
        self._stirred[cluster_id] = asyncio.Event()
        self._lanes[cluster_id] = asyncio.ensure_future(self._run_lane(cluster_id))

    async def _run_lane(self, cluster_id: str) -> None:
        assert self._works is not None
        lane = OwnLane(self, cluster_id)
        try:
            while self._works.owed(self._books.state(cluster_id)):
                await self._works.work(lane, cluster_id in self._resumed)
                self._resumed.discard(cluster_id)
                if self._draining:
                    return
        except (asyncio.CancelledError, Fenced):
            raise
        except Exception as error:  # a bug in a worker: the other clusters go on, and this one is tried again
            self.lane_failed(cluster_id, error)
            self._resumed.add(cluster_id)  # whatever it was at: what is under way is found out first
            asyncio.get_running_loop().call_later(LANE_AGAIN_S, self._stir, cluster_id)
        finally:
            self._lanes.pop(cluster_id, None)
            self._stirred.pop(cluster_id, None)

    def lane_failed(self, cluster_id: str, error: Exception) -> None:
        """The work stays owed, and is taken up again after a while."""
        self.failed(f"the lane of {cluster_id} failed", error)

    def failed(self, what: str, error: Exception) -> None:
        """Said loudly by the process that runs this."""
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{self._books.role}: {what}", "exception": error}
        )

    async def ask(self, events: tuple[Event, ...], cause: Cause | None) -> None:
        want = _Asked(events, cause, asyncio.get_running_loop().create_future())
        self._asked.append(want)
        self._something.set()
        await want.done

    async def stirred(self, cluster_id: str, within_s: float) -> None:
        event = self._stirred[cluster_id]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await event.wait()
        event.clear()  # only now: what stirred it while it was not asleep must not be missed

    def now_ms(self) -> int:
        return self._clock.now_ms()

    @property
    def leaving(self) -> bool:
        return self._draining

    @property
    def controls(self) -> ControlsPort:
        return self._controls


class OwnLane(Generic[S]):
    """schemas.processors.Lane over an owner."""

    def __init__(self, owner: Owner[S], cluster_id: str) -> None:
        self._owner, self.cluster_id = owner, cluster_id

    @property
    def state(self) -> S:
        return self._owner.books.state(self.cluster_id)

    def now_ms(self) -> int:
        return self._owner.now_ms()

    @property
    def leaving(self) -> bool:
        return self._owner.leaving

    def controls(self) -> Controls:
        return self._owner.books.controls_of(self.cluster_id, self._owner.controls.current())

    async def read_controls(self) -> Controls:
        return self._owner.books.controls_of(self.cluster_id, await self._owner.controls.read())

    async def commit(self, *decided: Event, cause: Cause | None = None) -> None:
        await self._owner.ask(decided, cause)

    async def sleep_until(self, at_ms: int) -> None:
        await self._owner.stirred(self.cluster_id, max(0.001, (at_ms - self.now_ms()) / 1000))
