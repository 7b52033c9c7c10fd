"""A decides or works role in a process: membership of its group, and an owner for each partition that it is given.

A role that is fenced, or whose log is not safe, ends with that exception: the process leaves, and its supervisor
starts anew.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.runners.books import Books
from infra.runners.kafka import KafkaOwnLog, KafkaSettings, MonotonicLogClock
from infra.runners.owner import ControlsPort, Owner, Rebuild
from schemas.events import GenesisMarked
from schemas.processors import Decides, Works
from streams.pipeline import Processor

REVOKE_WAIT_S = 5.0
AGAIN_S, AGAIN_S_MAX = 0.5, 15.0  # between two attempts to restore while the broker is away
_log = structlog.get_logger()


class OwnerRole:
    """Runs one line of the pipeline page. `rules` is its Decides, or its Works where the verb is `works`."""

    def __init__(
        self,
        line: Processor,
        rules: Decides[Any],
        settings: KafkaSettings,
        controls: ControlsPort,
        *,
        name: str,
        build: str,
        topic_id: Callable[[str], str] = lambda topic: "",
        session_timeout_ms: int = 10_000,
        on_commit: Callable[[str, int, int], None] = lambda role, events, inputs: None,
        member: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._line, self._rules, self._settings, self._controls = line, rules, settings, controls
        self._name, self._build, self._topic_id, self._on_commit = name, build, topic_id, on_commit
        self._session_timeout_ms, self._member = session_timeout_ms, member
        self._owners: dict[int, asyncio.Task[None]] = {}
        self._running: dict[int, Owner[Any]] = {}
        self._failed: asyncio.Future[None] | None = None
        self._leaving = threading.Event()
        self._metadata: Any = None  # of the generation that we are in; taken on the member's own thread
        self._given: list[int] = []
        self.clock = MonotonicLogClock()

    @property
    def owners(self) -> dict[int, Owner[Any]]:
        """The owner of each partition that is ours now, for metrics and tests."""
        return self._running

    async def run(self) -> None:
        """Until `stop`, or until an owner fails: then its exception."""
        loop = asyncio.get_running_loop()
        self._failed = loop.create_future()
        thread = threading.Thread(target=self._belong, args=(loop,), name=f"{self._line.role}-member", daemon=True)
        thread.start()
        try:
            await self._failed
        finally:
            self._leaving.set()
            await self._give_up(list(self._owners), 0)
            await loop.run_in_executor(None, thread.join, 10)

    async def stop(self) -> None:
        """Park what is open, leave the group, and let `run` return."""
        await self._give_up(list(self._owners), REVOKE_WAIT_S)
        self._leaving.set()
        if self._failed and not self._failed.done():
            self._failed.set_result(None)

    # membership, on a thread of its own

    def _belong(self, loop: asyncio.AbstractEventLoop) -> None:
        member = self._member(
            {
                **self._settings.client,
                "group.id": f"{self._settings.prefix}{self._line.role}",
                "partition.assignment.strategy": "range",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",  # it is paused and reads nothing
                "session.timeout.ms": self._session_timeout_ms,
                "allow.auto.create.topics": False,
            }
        )

        def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            consumer.assign(partitions)
            consumer.pause(partitions)
            self._given = [p.partition for p in partitions]

        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            numbers = [p.partition for p in partitions]
            self._given = [p for p in self._given if p not in numbers]
            parked = asyncio.run_coroutine_threadsafe(self._give_up(numbers, REVOKE_WAIT_S), loop)
            try:
                parked.result(REVOKE_WAIT_S + 3)
            except TimeoutError:
                _log.error("owners did not stop in time", role=self._line.role, partitions=numbers)
            consumer.unassign()

        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            numbers = [p.partition for p in partitions]
            self._given = [p for p in self._given if p not in numbers]
            loop.call_soon_threadsafe(self._lose, numbers)  # no task: it must come before what is assigned next
            consumer.unassign()

        topic = self._settings.topic(
            self._line.reads[0]
        )  # one topic: range over several would split a partition number
        try:
            member.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
            while not self._leaving.is_set():
                message = member.poll(0.2)
                if message is not None and (error := message.error()) and error.fatal():
                    raise KafkaException(error)
                if (
                    self._given
                ):  # not in the callback: from another thread, or in there, this call waits for poll to end
                    self._metadata = member.consumer_group_metadata()
                    loop.call_soon_threadsafe(self._take_over, self._given)
                    self._given = []
        except Exception as error:
            loop.call_soon_threadsafe(self._fail, error)
        finally:
            member.close()

    def _fail(self, error: BaseException) -> None:
        if self._failed and not self._failed.done():
            self._failed.set_exception(error)

    # owners, on the loop

    def _take_over(self, partitions: list[int]) -> None:
        for partition in partitions:
            if partition not in self._owners and not self._leaving.is_set():
                task = asyncio.ensure_future(self._own(partition))
                self._owners[partition] = task
                task.add_done_callback(self._ended)

    def _ended(self, owner: asyncio.Task[None]) -> None:
        if not owner.cancelled() and (error := owner.exception()):
            self._fail(error)

    def _lose(self, partitions: list[int]) -> None:
        for partition in partitions:
            if owner := self._owners.pop(partition, None):
                owner.cancel()

    async def _own(self, partition: int) -> None:
        wait_s = 0.0
        while self._owners.get(partition) is asyncio.current_task():
            began_s = time.monotonic()
            log = KafkaOwnLog(
                self._settings,
                self._line.role,
                self._line.writes[0],
                partition,
                self._line.reads,
                lambda: self._metadata,
            )
            owner = self._running[partition] = self._owner(partition, log)
            try:
                await owner.run()
                return
            except Rebuild as aborted:
                # One that has worked for a while begins again at once; one that could not waits longer each time.
                worked = owner.ready.is_set() and time.monotonic() - began_s > AGAIN_S_MAX
                wait_s = 0.0 if worked else min(AGAIN_S_MAX, max(AGAIN_S, 2 * wait_s))
                _log.warning(
                    "rebuilding", role=self._line.role, partition=partition, reason=str(aborted), again_in_s=wait_s
                )
            finally:
                self._running.pop(partition, None)
                await asyncio.shield(log.close())
            await asyncio.sleep(wait_s)

    def _owner(self, partition: int, log: KafkaOwnLog) -> Owner[Any]:
        line, topic = self._line, self._line.writes[0]
        rules: Any = self._rules
        works: Works[Any] | None = rules if line.verb == "works" else None
        books = Books(line.role, topic, partition, self._settings.partitions, rules)
        genesis = GenesisMarked(
            cluster_id=f"~{partition}",
            topic_id=self._topic_id(topic),
            partitions=self._settings.partitions,
            transactional_id=f"{self._settings.prefix}{line.role}-{partition}",
            durable=self._settings.isolated,
        )
        return Owner(
            books,
            log,
            self.clock,
            self._controls,
            works=works,
            consults=line.consults,
            name=self._name,
            build=self._build,
            genesis=genesis,
            on_commit=lambda events, inputs: self._on_commit(line.role, events, inputs),
        )

    async def _give_up(self, partitions: list[int], within_s: float) -> None:
        """Start nothing; wait at most so long for what is in flight; then cut it off."""
        going = {p: self._owners.pop(p) for p in partitions if p in self._owners}
        if within_s and (drains := [self._running[p].drained(within_s) for p in going if p in self._running]):
            await asyncio.wait([asyncio.ensure_future(d) for d in drains], timeout=within_s + 1)
        for task in going.values():
            task.cancel()
        if going:
            await asyncio.wait(list(going.values()), timeout=3)
