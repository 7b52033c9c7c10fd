"""The edges' producer, and that of the maps stages: acknowledged or not, and the loop never waits for it.

It is idempotent within its own life; who repeats a publish that ended in Unreachable may write the record twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.runners.kafka import KafkaSettings
from schemas.topics import partition_of
from streams.pipeline import BY_NAME

READY_S = 3.0
DELIVERY_TIMEOUT_S = 5.0
_POLL_S = 0.1
_FULL_WAIT_S = 0.02
_REPLACE_WAIT_S = 1.0
_SILENCE_S_MAX = 5.0  # beyond what a delivery may take: then the client has lost the message, with its report


class Unreachable(Exception):
    """No acknowledgement in time: it may have been written or not. Try again later."""


class Refused(Exception):
    """Nobody will write this record: too large, not authorised, no such topic. It was not written."""


class Publishes(Protocol):
    """What a maps stage and an edge need of a publisher."""

    async def publish(
        self, topic: str, key: str, value: bytes, partition: int | None = None
    ) -> tuple[int, int, int]: ...


def partition_for(topic: str, key: str, partitions: int) -> int:
    """Where a key lives on a topic, named without its prefix: everything with one partition has only that."""
    known = BY_NAME.get(topic)
    return 0 if known is None or known.partitions == 1 else partition_of(key, partitions)


class Publisher:
    """Use from any loop; `topic` is the pipeline's name, without prefix."""

    def __init__(self, settings: KafkaSettings, *, delivery_timeout_s: float = DELIVERY_TIMEOUT_S) -> None:
        self._settings, self._timeout_s = settings, delivery_timeout_s
        self._broken = ""
        self._producer = self._new_producer()
        self._closed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    async def publish(self, topic: str, key: str, value: bytes, partition: int | None = None) -> tuple[int, int, int]:
        """(partition, offset, append time in ms), once acknowledged by the broker. Raises Unreachable or Refused."""
        where = partition_for(topic, key, self._settings.partitions) if partition is None else partition
        now_ms = int(time.time() * 1000)
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[tuple[int, int, int]] = loop.create_future()

        def settle(error: KafkaError | None, message: Message) -> None:
            if acknowledged.done():
                return  # whoever waited has left
            if error is None:
                at_ms = self._settings.appended_ms(message, now_ms)
                acknowledged.set_result((message.partition() or 0, message.offset() or 0, at_ms))
            else:
                acknowledged.set_exception(self._judged(error))

        def delivered(error: KafkaError | None, message: Message) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, error, message)

        await self._hand_over(self._settings.topic(topic), key.encode(), value, where, now_ms, delivered)
        within_s = self._timeout_s + _SILENCE_S_MAX
        try:
            async with asyncio.timeout(within_s):
                return await acknowledged
        except TimeoutError:  # as for what a producer still held when it was replaced
            raise Unreachable(f"the client has said nothing of it within {within_s:g} s") from None

    async def ready(self) -> None:
        """Does a broker answer? Raises Unreachable."""
        try:
            await asyncio.to_thread(self._producer.list_topics, timeout=READY_S)
        except KafkaException as failure:
            raise Unreachable(f"{self._settings.where}: {failure.args[0].str()}") from failure

    async def close(self) -> None:
        """What is under way is waited for as long as a delivery may take. Harmless to repeat."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(KafkaException):
                await asyncio.to_thread(self._producer.flush, self._timeout_s)
            self._closing.set()
            await asyncio.to_thread(self._thread.join)
            del self._producer  # the client ends its own threads and connections only when it is forgotten

    async def _hand_over(
        self, topic: str, key: bytes, value: bytes, partition: int, now_ms: int, delivered: Any
    ) -> None:
        if self._closed:
            raise Unreachable("this publisher is closed")
        give_up_at = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            why = "the client's queue has been full for too long"
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=delivered, timestamp=now_ms)
                return
            except BufferError:
                pass  # it drains as the broker acknowledges
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.code() != KafkaError._FATAL:
                    raise self._judged(error) from failure
                why = self._broken or error.str()  # the polling thread is about to replace it
            if asyncio.get_running_loop().time() > give_up_at:
                raise Unreachable(f"{self._settings.where}: {why}")
            await asyncio.sleep(_FULL_WAIT_S)

    def _poll(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(_POLL_S)
            except KafkaException as fatal:  # the only kind that it raises
                self._broken = fatal.args[0].str()
                self._replace()

    def _replace(self) -> None:
        """An idempotent producer whose sequence is broken, or that got none, writes nothing more. A new one may."""
        with contextlib.suppress(KafkaException):
            self._producer.purge()
            self._producer.flush(1)  # tells those who wait
        while not self._closing.wait(_REPLACE_WAIT_S):
            with contextlib.suppress(KafkaException):
                self._producer, self._broken = self._new_producer(), ""
                return

    def _new_producer(self) -> Producer:
        return Producer(
            {
                **self._settings.client,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": int(self._timeout_s * 1000),
                "linger.ms": 2,
                "allow.auto.create.topics": False,
            }
        )

    def _judged(self, error: KafkaError) -> Exception:
        kind = Refused if error.code() in _REFUSALS else Unreachable
        return kind(f"{self._settings.where}: {self._broken or error.str()}")


_REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.POLICY_VIOLATION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
