"""The partitions that a role's group has given to this process: an owner for each, taken over and given up.

Whoever polls the group says what it has heard, in its order; the loop's part of membership is all here. roles.py polls
a real one on a thread, the simulator a modelled one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from infra.runners.books import Books
from infra.runners.owner import ControlsPort, Owner, OwnLog, Rebuild, Witness
from schemas.events import GenesisMarked
from schemas.processors import Decides, Works
from streams.pipeline import Processor

REVOKE_WAIT_S = 5.0
AGAIN_S, AGAIN_S_MAX = 0.5, 15.0  # between two attempts to restore while the broker is away
_log = structlog.get_logger()


class ClosableLog(OwnLog, Protocol):
    async def close(self) -> None: ...


@dataclass(frozen=True)
class Around:
    """What the owners of a role have around them."""

    open_log: Callable[[int, Callable[[], Any]], ClosableLog]  # of a partition, with the group's metadata as of then
    genesis: Callable[[int], GenesisMarked]  # of a partition
    controls: ControlsPort
    own_ms: Callable[[], int]  # a clock that nobody sets, and that goes on in suspend
    partitions: int
    name: str
    build: str
    on_commit: Callable[[str, int, int], None] = lambda role, events, inputs: None
    closes_every_ms: int = 0  # see Books
    witness: Witness | None = None  # who else keeps the ledger


class PartitionOwners:
    """`line`: a decides or works line, with its rules. Everything runs on one loop."""

    def __init__(self, line: Processor, rules: Decides[Any], around: Around) -> None:
        self._line, self._rules, self._around = line, rules, around
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._running: dict[int, Owner[Any]] = {}
        self._given: list[int] = []
        self._metadata: Any = None  # of the generation that we are in
        self._left = False
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> Mapping[int, Owner[Any]]:
        """The owner of each partition that is ours now."""
        return self._running

    async def end(self) -> None:
        """Until `stop`, or until an owner fails: then its exception. Nothing is owned any more."""
        try:
            await self._end
        finally:
            self._left = True
            await self._give_up(list(self._tasks), 0)

    async def stop(self) -> None:
        """Park what is open, and let `end` return."""
        await self._give_up(list(self._tasks), REVOKE_WAIT_S)
        self._left = True
        if not self._end.done():
            self._end.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self._end.done():
            self._end.set_exception(error)

    # what the group says

    def assigned(self, numbers: Sequence[int]) -> None:
        """Given, and taken over once the poll that has brought them is over: it may still take some of them away."""
        self._given = list(numbers)

    def polled(self, metadata: Any) -> None:
        """The poll is over; `metadata` is the group's word for us since then."""
        self._metadata = metadata
        given, self._given = self._given, []
        for partition in given:
            if partition not in self._tasks and not self._left:
                task = asyncio.ensure_future(self._own(partition))
                self._tasks[partition] = task
                task.add_done_callback(self._ended)

    async def revoked(self, numbers: Sequence[int]) -> None:
        """Returns when they are given up: until then they are ours, and the group waits."""
        self._withhold(numbers)
        await self._give_up(numbers, REVOKE_WAIT_S)

    def lost(self, numbers: Sequence[int]) -> None:
        """They are somebody else's already: nobody waits, and what is assigned next is not of these owners."""
        self._withhold(numbers)
        for partition in numbers:
            if owner := self._tasks.pop(partition, None):
                owner.cancel()

    def _withhold(self, numbers: Sequence[int]) -> None:
        self._given = [p for p in self._given if p not in numbers]

    # owners

    def _ended(self, owner: asyncio.Task[None]) -> None:
        if not owner.cancelled() and (error := owner.exception()):
            self.fail(error)

    async def _own(self, partition: int) -> None:
        wait_s = 0.0
        while self._tasks.get(partition) is asyncio.current_task():
            began_ms = self._around.own_ms()
            log = self._around.open_log(partition, lambda: self._metadata)
            owner = self._running[partition] = self._owner(partition, log)
            try:
                await owner.run()
                return
            except Rebuild as aborted:
                # One that has worked for a while begins again at once; one that could not waits longer each time.
                worked_ms = self._around.own_ms() - began_ms if owner.ready.is_set() else 0
                wait_s = 0.0 if worked_ms > AGAIN_S_MAX * 1000 else min(AGAIN_S_MAX, max(AGAIN_S, 2 * wait_s))
                _log.warning(
                    "rebuilding", role=self._line.role, partition=partition, reason=str(aborted), again_in_s=wait_s
                )
            finally:
                if self._running.get(partition) is owner:  # and not who has come after it was lost
                    del self._running[partition]
                await asyncio.shield(log.close())
            await asyncio.sleep(wait_s)

    def _owner(self, partition: int, log: OwnLog) -> Owner[Any]:
        line, around, rules = self._line, self._around, self._rules
        works: Works[Any] | None = rules if line.verb == "works" else None  # type: ignore[assignment]
        return Owner(
            Books(line.role, line.writes[0], partition, around.partitions, rules, around.closes_every_ms),
            log,
            around.own_ms,
            around.controls,
            works=works,
            consults=line.consults,
            name=around.name,
            build=around.build,
            genesis=around.genesis(partition),
            witness=around.witness,
            on_commit=lambda events, inputs: around.on_commit(line.role, events, inputs),
        )

    async def _give_up(self, partitions: Sequence[int], within_s: float) -> None:
        """Start nothing; wait at most so long for what is in flight; then cut it off."""
        going = {p: self._tasks.pop(p) for p in partitions if p in self._tasks}
        if within_s and (drains := [self._running[p].drained(within_s) for p in going if p in self._running]):
            await asyncio.wait([asyncio.ensure_future(d) for d in drains], timeout=within_s + 1)
        for task in going.values():
            task.cancel()
        if going:
            await asyncio.wait(list(going.values()), timeout=3)
