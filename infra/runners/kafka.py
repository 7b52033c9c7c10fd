"""Kafka for the owners: one transactional producer and one hand-assigned consumer a partition, and membership apart.

Membership is a consumer subscribed to one topic with the `range` strategy, whose partitions are paused: it only says
which partition numbers are ours, and lends its group metadata to every transaction (a live but evicted member is
stopped by nothing else). Blocking client calls run on threads of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.runners.books import Raw, fold_control
from infra.runners.owner import NotSafe, Rebuild
from schemas.chain import Stamped
from schemas.controls import Controls
from schemas.processors import Fenced
from schemas.wire import frame
from streams.pipeline import dead_letters

T = TypeVar("T")
_log = structlog.get_logger()
TRANSACTION_TIMEOUT_MS = 10_000  # a hung transaction blinds every read_committed reader until then
RETRY_MS = 5  # of what the broker refuses while it ends the transaction before: a few ms, and by default we waited 100
CALL_TIMEOUT_S = 30.0
POLL_S = 0.25


@dataclass(frozen=True)
class KafkaSettings:
    """How to reach the broker, as librdkafka spells it, and what our topics are called there."""

    client: Mapping[str, Any]
    prefix: str = ""
    partitions: int = 1
    isolated: bool = True  # False: librdkafka's broker, which has no isolation, fencing or append time

    @property
    def where(self) -> str:
        """For messages: what can't be reached, and at which address."""
        return f"Kafka at {self.client.get('bootstrap.servers', 'no address')}"

    def topic(self, name: str) -> str:
        return self.prefix + name

    def name_of(self, topic: str) -> str:
        return topic.removeprefix(self.prefix)

    def consumer(self, **more: Any) -> Consumer:
        return Consumer(
            {
                **self.client,
                "group.id": f"{self.prefix}unused",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "topic.metadata.refresh.interval.ms": 10_000,
                "allow.auto.create.topics": False,
                **more,
            }
        )


def raw_of(message: Message, settings: KafkaSettings) -> Raw:
    at_ms = message.timestamp()[1]
    name = settings.name_of(message.topic() or "")
    return Raw(
        name, message.partition() or 0, message.offset() or 0, at_ms, _bytes(message.key()), _bytes(message.value())
    )


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def records_of(messages: Sequence[Message], settings: KafkaSettings) -> list[Raw]:
    """The records among what `consume` returned. Raises NotSafe where the broker says that an offset is gone."""
    found = []
    for message in messages:
        error = message.error()
        if error is None:
            found.append(raw_of(message, settings))
        elif error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
            raise NotSafe(f"{message.topic()}/{message.partition()}: {error.str()}")
        elif error.fatal():
            raise Fenced(error.str())
    return found


_PASSES = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    }
)


def passes(error: KafkaError) -> bool:
    """Trouble of the world that is over once the broker is back: nothing was decided by it, and it is asked again."""
    return not error.fatal() and (error.retriable() or error.code() in _PASSES)


def ends_of(consumer: Consumer, place: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """(low, high) watermark. Raises KafkaException, also where the client says None: no answer in time."""
    found = consumer.get_watermark_offsets(place, timeout_s)
    if found is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{place.topic}: no answer within {timeout_s:g} s"))
    return found


class MonotonicLogClock:
    """The last append time seen, and what has passed since on CLOCK_BOOTTIME (monotonic clocks stop in suspend)."""

    def __init__(self) -> None:
        self._append_ms, self._at_s = int(time.time() * 1000), time.clock_gettime(time.CLOCK_BOOTTIME)

    def now_ms(self) -> int:
        return self._append_ms + int((time.clock_gettime(time.CLOCK_BOOTTIME) - self._at_s) * 1000)

    def saw(self, append_ms: int) -> None:
        if append_ms > self.now_ms():
            self._append_ms, self._at_s = append_ms, time.clock_gettime(time.CLOCK_BOOTTIME)

    def elapsed_ms(self) -> int:
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


@dataclass
class KafkaOwnLog:
    """infra.runners.owner.OwnLog on Kafka. `group_metadata` is the membership consumer's, asked anew for each
    transaction."""

    settings: KafkaSettings
    role: str
    topic: str
    partition: int
    inputs: tuple[str, ...]
    group_metadata: Callable[[], Any]
    _producer: Producer | None = None
    _consumer: Consumer | None = None
    _positions: dict[str, int] = field(default_factory=dict)
    _threads: dict[str, ThreadPoolExecutor] = field(default_factory=dict)

    async def _on(self, thread: str, call: Callable[[], T]) -> T:
        pool = self._threads.setdefault(thread, ThreadPoolExecutor(1, f"{self.role}-{self.partition}-{thread}"))
        return await asyncio.get_running_loop().run_in_executor(pool, call)

    async def _read(self, call: Callable[[], T]) -> T:
        return await self._on("read", lambda: _judged(call))

    async def fence(self) -> None:
        def init() -> Producer:
            producer = Producer(
                {
                    **self.settings.client,
                    "transactional.id": f"{self.settings.prefix}{self.role}-{self.partition}",
                    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                    "linger.ms": 2,
                    "retry.backoff.ms": RETRY_MS,
                }
            )
            producer.init_transactions(CALL_TIMEOUT_S)
            return producer

        self._producer = await self._on("write", lambda: _judged(init))

    async def history(self) -> AsyncIterator[Sequence[Raw]]:
        consumer = self._consumer = self.settings.consumer()
        low, end = await self._read(self._proven_end)
        if low > 0:
            raise NotSafe(f"{self.topic}/{self.partition} begins at offset {low}: its head has been cut off")
        own = TopicPartition(self.settings.topic(self.topic), self.partition, 0)
        await self._read(lambda: consumer.assign([own]))
        reached = 0
        while reached < end:
            messages = await self._read(lambda: consumer.consume(5000, POLL_S))
            at_end = any((e := m.error()) and e.code() == KafkaError._PARTITION_EOF for m in messages)
            if raws := records_of(messages, self.settings):
                reached = raws[-1].offset + 1
                yield raws
            if at_end:  # what is left up to the high watermark are transaction markers
                return

    def _proven_end(self) -> tuple[int, int]:
        """(low, high) watermark, once the last stable offset has reached the high one: nothing committed is hidden."""
        topic = TopicPartition(self.settings.topic(self.topic), self.partition)
        plain = self.settings.consumer(**{"isolation.level": "read_uncommitted"})
        assert self._consumer is not None
        try:
            give_up_s = time.monotonic() + TRANSACTION_TIMEOUT_MS / 1000 + 5
            while True:
                low, high = ends_of(plain, topic, CALL_TIMEOUT_S)
                _, stable = ends_of(self._consumer, topic, CALL_TIMEOUT_S)
                if stable >= high:
                    return low, high
                if time.monotonic() > give_up_s:
                    raise NotSafe(
                        f"{self.topic}/{self.partition}: stable up to {stable} of {high}: a transaction hides records"
                    )
                time.sleep(0.1)
        finally:
            plain.close()

    async def seek(self, positions: Mapping[str, int]) -> None:
        self._positions = {t: positions.get(t, 0) for t in self.inputs}
        wanted = [TopicPartition(self.settings.topic(t), self.partition, o) for t, o in self._positions.items()]

        def begin() -> Consumer:
            """A new one: a fetch of the old one still waits at the own log's end, and holds up the next."""
            assert self._consumer is not None
            self._consumer.close()
            consumer = self.settings.consumer(**{"enable.partition.eof": False})
            consumer.assign(wanted)
            return consumer

        self._consumer = await self._read(begin)

    async def poll(self, max_records: int) -> Sequence[Raw]:
        consumer = self._consumer
        assert consumer is not None

        def some() -> list[Message]:
            first = consumer.consume(1, POLL_S)  # the first one at once, and what is there with it
            return [*first, *consumer.consume(max_records - 1, 0)] if first else first

        return records_of(await self._read(some), self.settings)

    async def commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped], positions: Mapping[str, int]) -> int:
        self._positions.update(positions)
        return await self._on("write", lambda: _judged(lambda: self._commit(stamped, dead)))

    def _commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped]) -> int:
        producer = self._producer
        assert producer is not None
        appended: list[int] = [0]
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                appended[0] = max(appended[0], message.timestamp()[1])

        try:
            producer.begin_transaction()
            for topic, partition, batch in (
                (self.topic, self.partition, stamped),
                (dead_letters(self.role), 0, dead),
            ):
                name, last = self.settings.topic(topic), len(batch) - 1
                for index, made in enumerate(batch):  # one that isn't delivered fails the commit, callback or not
                    _produce(producer, name, partition, made, delivered if index == last else None)
            offsets = [TopicPartition(self.settings.topic(t), self.partition, o) for t, o in self._positions.items()]
            producer.send_offsets_to_transaction(offsets, self.group_metadata(), CALL_TIMEOUT_S)
            producer.commit_transaction(CALL_TIMEOUT_S)
        except KafkaException as failure:
            error = failure.args[0]
            if error.txn_requires_abort() and not error.fatal():
                producer.abort_transaction(CALL_TIMEOUT_S)
                raise Rebuild(error.str()) from failure
            raise Fenced(
                error.str()
            ) from failure  # fatal, timed out or unknown: what was committed is for a successor to read
        if failed:
            raise Fenced(f"committed, but a delivery failed: {failed[0].str()}")
        return appended[0]

    async def close(self) -> None:
        """Let go of the clients; an open transaction of ours is aborted by whoever comes next."""
        if self._consumer is not None:
            await self._on("read", self._consumer.close)
        self._producer = None
        for pool in self._threads.values():
            pool.shutdown(wait=False)


def _produce(producer: Producer, topic: str, partition: int, made: Stamped, delivered: Any) -> None:
    value = frame(type(made.event), made.body)
    while True:
        try:
            producer.produce(topic, value, made.event.cluster_id, partition, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def _judged(call: Callable[[], T]) -> T:
    """Every client error outside a transaction's own handling ends this owner: for good, or until the broker is back.

    A new one fences what this one left behind and folds what was committed, in this process or in the next."""
    try:
        return call()
    except KafkaException as failure:
        error = failure.args[0]
        raise (Rebuild if passes(error) else Fenced)(error.str()) from failure


class KafkaControls:
    """`controls` read uncommitted (a freeze behind an open transaction must be seen), whole, and proven up to its live
    end."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer = settings.consumer(**{"isolation.level": "read_uncommitted"})
        self._asker = settings.consumer(**{"isolation.level": "read_uncommitted"})  # its requests wait behind no fetch
        self._topic = TopicPartition(settings.topic("controls"), 0)
        self._pool = ThreadPoolExecutor(1, "controls")
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
            await asyncio.get_running_loop().run_in_executor(self._pool, self._read_to_end)
        finally:
            self._ended, self._running = self._begun, None

    def _read_to_end(self) -> Controls:
        """Controls; `live` only if the high watermark of this moment was reached within 2 s. Never raises."""
        give_up_s = time.monotonic() + 2.0
        try:
            ends = self._asker.get_watermark_offsets(self._topic, 2.0, cached=False)
            if ends is None:
                raise NotSafe("controls: no answer within 2 s")
            low, high = ends
            if low > 0 and self._next < low:
                raise NotSafe(f"controls begin at offset {low}: the head has been cut off")
            if high < self._next:
                raise NotSafe(f"controls end at {high}, and have been read up to {self._next}: records were lost")
            if not self._assigned:
                self._topic.offset = self._next
                self._consumer.assign([self._topic])
                self._assigned = True
            while self._next < high:
                if time.monotonic() > give_up_s:
                    raise NotSafe(f"controls: read up to {self._next} of {high}")
                for raw in records_of(self._consumer.consume(500, 0.2), self._settings):
                    if raw.offset != self._next:  # they are written without transactions: there are no gaps
                        raise NotSafe(f"controls: {raw.offset} comes after {self._next - 1}")
                    self._held = fold_control(self._held, raw)
                    self._next = raw.offset + 1
            self._held = replace(self._held, live=True, read_once=True)
        except Exception as error:  # whatever it is: not read, and next time read on from what has been folded
            if not isinstance(error, (KafkaException, NotSafe, Fenced)):
                _log.exception("the controls can't be read", at=self._next)
            self._held, self._assigned = replace(self._held, live=False), False
        return self._held

    def close(self) -> None:
        for consumer in (self._consumer, self._asker):
            self._pool.submit(consumer.close).result(5)
        self._pool.shutdown()
