"""Kafka's clients under the protocols of own_log.py: what each call is with librdkafka, and what its errors mean.

Nothing is decided here. A client's calls block, and are `async` in name only: `driven` runs a whole coroutine of theirs
on a thread of its own, within one hop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.runners.books import Raw
from infra.runners.own_log import CALL_TIMEOUT_S, Abortable, LiveControls, PartitionLog, Place
from infra.runners.owner import NotSafe, Rebuild
from schemas.chain import Stamped
from schemas.processors import Fenced
from schemas.wire import frame

T = TypeVar("T")
RETRY_MS = 5  # of what the broker refuses while it ends the transaction before: a few ms, and by default we waited 100


@dataclass(frozen=True)
class KafkaSettings:
    """How to reach the broker, as librdkafka spells it, and what our topics are called there."""

    client: Mapping[str, Any]
    prefix: str = ""
    partitions: int = 1
    isolated: bool = True  # False: librdkafka's broker, which has no isolation, fencing or append time

    def __post_init__(self) -> None:
        """No client of ours makes a topic by asking for it, whatever the broker allows: an administrator's would, with
        the broker's defaults for retention and time."""
        object.__setattr__(self, "client", {**self.client, "allow.auto.create.topics": False})

    @property
    def where(self) -> str:
        """For messages: what can't be reached, and at which address."""
        return f"Kafka at {self.client.get('bootstrap.servers', 'no address')}"

    def topic(self, name: str) -> str:
        return self.prefix + name

    def name_of(self, topic: str) -> str:
        return topic.removeprefix(self.prefix)

    def appended_ms(self, acknowledged: Message, else_ms: int) -> int:
        """When it was appended, by the broker's clock. librdkafka's own broker has none, and makes a time up: there it
        is `else_ms`, of this host's calendar."""
        return acknowledged.timestamp()[1] if self.isolated else else_ms

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
        KafkaError._DESTROY_BROKER,  # one has left the cluster; the others answer
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._NOENT,  # list_offsets: no partition that was asked for has a leader yet
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


@contextmanager
def judged() -> Iterator[None]:
    """Every client error outside a transaction ends what asked: for good, or until the broker is back.

    A new owner fences what this one left behind and folds what was committed, in this process or in the next."""
    try:
        yield
    except KafkaException as failure:
        error = failure.args[0]
        raise (Rebuild if passes(error) else Fenced)(error.str()) from failure


@contextmanager
def judged_in_transaction() -> Iterator[None]:
    """Only what is known to be abortable is aborted; what was committed otherwise is for a successor to read."""
    try:
        yield
    except KafkaException as failure:
        error = failure.args[0]
        abortable = error.txn_requires_abort() and not error.fatal()
        raise (Abortable if abortable else Fenced)(error.str()) from failure


class KafkaReader:
    """infra.runners.own_log.Reader."""

    def __init__(self, settings: KafkaSettings, consumer: Consumer) -> None:
        self._settings, self._consumer = settings, consumer

    async def assign(self, positions: Mapping[Place, int]) -> None:
        with judged():
            self._consumer.assign([TopicPartition(self._settings.topic(t), p, o) for (t, p), o in positions.items()])

    async def consume(self, records_max: int, within_s: float) -> tuple[list[Raw], bool]:
        with judged():
            messages = self._consumer.consume(records_max, within_s)
            at_end = any((e := m.error()) and e.code() == KafkaError._PARTITION_EOF for m in messages)
            return records_of(messages, self._settings), at_end

    async def ends(self, place: Place, within_s: float) -> tuple[int, int]:
        with judged():
            return ends_of(self._consumer, TopicPartition(self._settings.topic(place[0]), place[1]), within_s)

    async def close(self) -> None:
        self._consumer.close()


class KafkaWriter:
    """infra.runners.own_log.Writer."""

    def __init__(self, settings: KafkaSettings, transactional_id: str, timeout_ms: int) -> None:
        self._settings = settings
        self._producer = Producer(
            {
                **settings.client,
                "transactional.id": f"{settings.prefix}{transactional_id}",
                "transaction.timeout.ms": timeout_ms,
                "linger.ms": 2,
                "retry.backoff.ms": RETRY_MS,
            }
        )
        self._appended_ms = 0
        self._failed: list[KafkaError] = []

    async def init(self) -> None:
        with judged():
            self._producer.init_transactions(CALL_TIMEOUT_S)

    async def begin(self) -> None:
        self._appended_ms, self._failed = 0, []
        with judged_in_transaction():
            self._producer.begin_transaction()

    async def produce(self, place: Place, batch: Sequence[Stamped]) -> None:
        name, last = self._settings.topic(place[0]), len(batch) - 1
        with judged_in_transaction():
            for index, made in enumerate(batch):  # one that isn't delivered fails the commit, callback or not
                _produce(self._producer, name, place[1], made, self._delivered if index == last else None)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error)
        else:
            self._appended_ms = max(self._appended_ms, self._settings.appended_ms(message, int(time.time() * 1000)))

    async def send_offsets(self, offsets: Mapping[Place, int], metadata: Any) -> None:
        sent = [TopicPartition(self._settings.topic(t), p, o) for (t, p), o in offsets.items()]
        with judged_in_transaction():
            self._producer.send_offsets_to_transaction(sent, metadata, CALL_TIMEOUT_S)

    async def commit(self) -> int:
        with judged_in_transaction():
            self._producer.commit_transaction(CALL_TIMEOUT_S)
        if self._failed:
            raise Fenced(f"committed, but a delivery failed: {self._failed[0].str()}")
        return self._appended_ms

    async def abort(self) -> None:
        with judged():
            self._producer.abort_transaction(CALL_TIMEOUT_S)


def _produce(producer: Producer, topic: str, partition: int, made: Stamped, delivered: Any) -> None:
    value = frame(type(made.event), made.body)
    while True:
        try:
            producer.produce(topic, value, made.event.cluster_id, partition, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def driven(call: Coroutine[Any, Any, T]) -> T:
    """What this coroutine returns: nothing that it awaits ever suspends."""
    try:
        call.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    call.close()
    raise AssertionError("a client of Kafka's has suspended")


class KafkaClients:
    """infra.runners.own_log.Clients. `name` is that of its threads."""

    def __init__(self, settings: KafkaSettings, name: str) -> None:
        self._settings, self._name = settings, name
        self._threads: dict[str, ThreadPoolExecutor] = {}

    def writer(self, transactional_id: str, timeout_ms: int) -> KafkaWriter:
        return KafkaWriter(self._settings, transactional_id, timeout_ms)

    def reader(self, *, committed_only: bool = True, says_end: bool = True) -> KafkaReader:
        isolation = "read_committed" if committed_only else "read_uncommitted"
        changed = {"isolation.level": isolation, "enable.partition.eof": says_end}
        return KafkaReader(self._settings, self._settings.consumer(**changed))

    async def on(self, thread: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool(thread), lambda: driven(call()))

    def blocking_on(self, thread: str, call: Callable[[], Coroutine[Any, Any, T]], within_s: float) -> T:
        """As `on`, for who is on no loop."""
        return self._pool(thread).submit(lambda: driven(call())).result(within_s)

    def _pool(self, thread: str) -> ThreadPoolExecutor:
        if thread not in self._threads:
            self._threads[thread] = ThreadPoolExecutor(1, f"{self._name}-{thread}")
        return self._threads[thread]

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # on a thread of its own

    def close(self) -> None:
        """Takes nothing more; what is under way goes on to its end."""
        for pool in self._threads.values():
            pool.shutdown(wait=False)


class KafkaOwnLog(PartitionLog):
    """infra.runners.owner.OwnLog on Kafka."""

    def __init__(
        self,
        settings: KafkaSettings,
        role: str,
        topic: str,
        partition: int,
        inputs: tuple[str, ...],
        group_metadata: Callable[[], Any],
    ) -> None:
        clients = KafkaClients(settings, f"{role}-{partition}")
        super().__init__(clients, role, topic, partition, inputs, group_metadata)


class KafkaControls(LiveControls):
    """infra.runners.owner.ControlsPort on Kafka."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._kafka = KafkaClients(settings, "steward")
        super().__init__(self._kafka)

    def close(self) -> None:
        for reader in (self._reader, self._asker):
            self._kafka.blocking_on("controls", reader.close, 5)
        self._kafka.close()
