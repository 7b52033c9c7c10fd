"""A decides or works role in a process: membership of its group, polled on a thread of its own.

Membership is a consumer subscribed to one topic with the `range` strategy, whose partitions are paused: it only says
which partition numbers are ours, and lends its group metadata to every transaction. A role that is fenced, or whose log
is not safe, ends with that exception: the process leaves, and its supervisor starts anew.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.clock import boot_ms
from infra.runners.kafka import KafkaOwnLog, KafkaSettings
from infra.runners.owner import ControlsPort, Owner, Witness
from infra.runners.owners import REVOKE_WAIT_S, Around, PartitionOwners
from schemas.events import GenesisMarked
from schemas.processors import Decides
from streams.pipeline import Processor

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
        close_books_every_s: float = 0,
        witness: Witness | None = None,
        on_commit: Callable[[str, int, int], None] = lambda role, events, inputs: None,
        member: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self._line, self._rules, self._settings = line, rules, settings
        self._topic_id, self._session_timeout_ms, self._member = topic_id, session_timeout_ms, member
        self._around = Around(
            self._log,
            self._genesis,
            controls,
            boot_ms,
            settings.partitions,
            name,
            build,
            on_commit,
            int(close_books_every_s * 1000),
            witness,
        )
        self._owners: PartitionOwners | None = None
        self._leaving = threading.Event()

    @property
    def owners(self) -> Mapping[int, Owner[Any]]:
        """The owner of each partition that is ours now, for metrics and tests."""
        return self._owners.running if self._owners else {}

    async def run(self) -> None:
        """Until `stop`, or until an owner fails: then its exception."""
        loop = asyncio.get_running_loop()
        owners = self._owners = PartitionOwners(self._line, self._rules, self._around)
        name = f"{self._line.role}-member"
        thread = threading.Thread(target=self._belong, args=(owners, loop), name=name, daemon=True)
        thread.start()
        try:
            await owners.end()
        finally:
            self._leaving.set()
            await loop.run_in_executor(None, thread.join, 10)

    async def stop(self) -> None:
        """Park what is open, leave the group, and let `run` return."""
        if self._owners:
            await self._owners.stop()
        self._leaving.set()

    def _log(self, partition: int, metadata: Callable[[], Any]) -> KafkaOwnLog:
        line = self._line
        return KafkaOwnLog(self._settings, line.role, line.writes[0], partition, line.reads, metadata)

    def _genesis(self, partition: int) -> GenesisMarked:
        return GenesisMarked(
            cluster_id=f"~{partition}",
            topic_id=self._topic_id(self._line.writes[0]),
            partitions=self._settings.partitions,
            transactional_id=f"{self._settings.prefix}{self._line.role}-{partition}",
            durable=self._settings.isolated,
        )

    # membership, on a thread of its own; what it hears is handed to the loop in its order

    def _belong(self, owners: PartitionOwners, loop: asyncio.AbstractEventLoop) -> None:
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
        has_been_given = False

        def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            nonlocal has_been_given
            consumer.assign(partitions)
            consumer.pause(partitions)
            loop.call_soon_threadsafe(owners.assigned, _numbers(partitions))
            has_been_given = has_been_given or bool(partitions)

        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            parked = asyncio.run_coroutine_threadsafe(owners.revoked(_numbers(partitions)), loop)
            try:
                parked.result(REVOKE_WAIT_S + 3)
            except TimeoutError:
                _log.error("owners did not stop in time", role=self._line.role, partitions=_numbers(partitions))
            consumer.unassign()

        def lost(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            loop.call_soon_threadsafe(owners.lost, _numbers(partitions))
            consumer.unassign()

        # One topic: range over several would split a partition number.
        topic = self._settings.topic(self._line.reads[0])
        try:
            member.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
            while not self._leaving.is_set():
                message = member.poll(0.2)
                if message is not None and (error := message.error()) and error.fatal():
                    raise KafkaException(error)
                if has_been_given:  # not in the callback: from another thread, or in there, this call waits for poll
                    has_been_given = False
                    loop.call_soon_threadsafe(owners.polled, member.consumer_group_metadata())
        except Exception as error:
            loop.call_soon_threadsafe(owners.fail, error)
        finally:
            member.close()


def _numbers(partitions: list[TopicPartition]) -> list[int]:
    return [p.partition for p in partitions]
