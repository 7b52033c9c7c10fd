"""The raw client: what confluent-kafka and fastavro cost with nothing of ours around them."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra import topics
from infra.runners.kafka import RETRY_MS, KafkaSettings
from schemas.avro import schema_of
from schemas.events import Event

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Spent:
    """Wall clock, and CPU of this process with all threads."""

    s: float
    cpu_s: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.s + other.s, self.cpu_s + other.cpu_s)


class Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._began = Spent(time.perf_counter(), time.process_time())

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._began.s, time.process_time() - self._began.cpu_s)


def make_topics(settings: KafkaSettings) -> None:
    """Every topic of the pipeline, configured as in production."""
    topics.apply(AdminClient(dict(settings.client)), settings, 1)


def parsed(event: type[Event]) -> Any:
    """Its Avro schema, ready for fastavro."""
    return fastavro.parse_schema(json.loads(json.dumps(schema_of(event))))


def producer(settings: KafkaSettings, transactional_id: str, **more: Any) -> Producer:
    made = Producer(
        {
            **settings.client,
            "transactional.id": f"{settings.prefix}{transactional_id}",
            "linger.ms": 2,
            "retry.backoff.ms": RETRY_MS,  # as ours: to wait longer than needed is no merit
            "queue.buffering.max.messages": 1_000_000,
            **more,
        }
    )
    made.init_transactions(TIMEOUT_S)
    return made


class Filled:
    """Input that all readers get to see at one moment: written in a transaction that `show` commits."""

    def __init__(self, settings: KafkaSettings, topic: str, records: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Each record is (partition, key, value)."""
        self._producer = producer(settings, f"fill-{topic}", **{"transaction.timeout.ms": 300_000})
        self._producer.begin_transaction()
        self.count = 0
        for partition, key, value in records:
            self._producer.produce(settings.topic(topic), value, key, partition)
            self.count += 1
            if self.count % 1000 == 0:
                self._producer.poll(0)
        self._producer.flush(TIMEOUT_S)

    def show(self) -> None:
        self._producer.commit_transaction(TIMEOUT_S)


def reader(settings: KafkaSettings, topic: str, group: str = "raw", **more: Any) -> Consumer:
    """Of all partitions of a topic, from their starts, committed records alone."""
    made: Consumer = settings.consumer(
        **{"group.id": f"{settings.prefix}{group}", "enable.partition.eof": False, **more}
    )
    made.assign([TopicPartition(settings.topic(topic), p, 0) for p in range(settings.partitions)])
    return made


def pipe(
    settings: KafkaSettings,
    reads: str,
    writes: str,
    count: int,
    turn: Callable[[bytes], bytes],
    show: Callable[[], None],
    *,
    batch: int = 1000,
) -> Spent:
    """Consume, decode, encode, produce, in transactions with offsets; measured from the input's commit on."""
    consumer, writer = reader(settings, reads), producer(settings, "raw-pipe")
    consumer.consume(1, 0.1)  # connected
    show()
    clock, done = Clock(), 0
    while done < count:
        messages = consumer.consume(batch, 0.05)
        if not messages:
            continue
        writer.begin_transaction()
        for message in messages:
            writer.produce(settings.topic(writes), turn(_value(message)), message.key(), message.partition() or 0)
        writer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), TIMEOUT_S
        )
        writer.commit_transaction(TIMEOUT_S)
        done += len(messages)
    spent = clock.spent()
    consumer.close()
    return spent


def fold(settings: KafkaSettings, topic: str, partition: int, read: Callable[[bytes], Any]) -> tuple[int, Spent]:
    """Consume and decode one partition to its end: how many records, and what it cost."""
    clock, count = Clock(), 0
    consumer = settings.consumer(**{"group.id": f"{settings.prefix}raw-fold"})
    consumer.assign([TopicPartition(settings.topic(topic), partition, 0)])
    while True:
        for message in consumer.consume(5000, 0.25):
            if error := message.error():
                if error.code() == KafkaError._PARTITION_EOF:
                    consumer.close()
                    return count, clock.spent()
                raise RuntimeError(error.str())
            read(_value(message))
            count += 1


def _value(message: Message) -> bytes:
    value = message.value()
    assert isinstance(value, bytes), message.error()
    return value


def decoder(event: type[Event]) -> Callable[[bytes], dict[str, Any]]:
    """Our framing skipped, the body read by fastavro."""
    schema = parsed(event)

    def read(value: bytes) -> dict[str, Any]:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None)
        return record  # type: ignore[no-any-return]

    return read


def encoder(event: type[Event]) -> Callable[[dict[str, Any]], bytes]:
    schema, mark = parsed(event), b"\xc3\x01" + bytes(8)

    def write(record: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(mark)
        fastavro.schemaless_writer(out, schema, record)
        return out.getvalue()

    return write


def end_of(consumer: Consumer, place: TopicPartition) -> int:
    """The high watermark; a topic just made has no leader for a moment."""
    ends = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return int(consumer.get_watermark_offsets(place, TIMEOUT_S)[1])
        except KafkaException:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def settled(consumer: Consumer, wanted: int, seconds: float = 60) -> list[Message]:
    """So many records, or a TimeoutError."""
    found: list[Message] = []
    ends = time.monotonic() + seconds
    while len(found) < wanted:
        found += [m for m in consumer.consume(wanted - len(found), 0.05) if m.error() is None]
        if time.monotonic() > ends:
            raise TimeoutError(f"{len(found)} of {wanted} records")
    return found


class Committer:
    """The least that makes what lanes ask for durable: whoever asks while a transaction is open shares the next.

    Each transaction carries the group's metadata and a position, as every one of ours must.
    """

    def __init__(self, settings: KafkaSettings, topic: str, partition: int, reads: str) -> None:
        self._group = settings.consumer(**{"group.id": f"{settings.prefix}raw-lanes"})
        self._position = [TopicPartition(settings.topic(reads), partition, 1)]
        self._topic, self._partition = settings.topic(topic), partition
        self._producer = producer(settings, f"raw-lanes-{partition}")
        self._asked: list[tuple[bytes, bytes, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def commit(self, key: bytes, value: bytes) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append((key, value, done))
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        await done

    async def _run(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            await asyncio.to_thread(self._write, [(key, value) for key, value, _ in asked])
            for _, _, done in asked:
                done.set_result(None)

    def _write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        self._producer.begin_transaction()
        for key, value in records:
            self._producer.produce(self._topic, value, key, self._partition)
        self._producer.send_offsets_to_transaction(self._position, self._group.consumer_group_metadata(), TIMEOUT_S)
        self._producer.commit_transaction(TIMEOUT_S)
