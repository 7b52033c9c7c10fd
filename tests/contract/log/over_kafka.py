"""A broker that speaks Kafka's protocol as a twin, by librdkafka: a real one, or the one inside librdkafka.

`python -m tests.contract.log.over_kafka JSON` is a member of a group as a process of its own, to be stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka import Producer as Client
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs do not re-export

from infra.embedded import EmbeddedBroker
from infra.local.kafka import LocalKafka
from tests.contract.log.twin import CALL_MS, CantDo, Metadata, Seen
from tests.simulation.errors import Abortable, Fenced, Gone, LogError, Misused, Refused, TimedOut
from tests.simulation.groups import Strategy
from tests.simulation.members import Assigned, Lost, Revoked, Word
from tests.simulation.partitions import Place

T = TypeVar("T")
CALL_S = CALL_MS / 1000
ROOT = Path(__file__).resolve().parents[3]
_NO_ANSWER = (KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT)


class KafkaTwin:
    """A real broker that others use too."""

    name = "kafka"
    session_ms = 6_000  # the least that a broker allows by default

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.client: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self.prefix = prefix
        self._made = 0
        self._closing: list[Callable[[], object]] = []

    def topic(self, partitions: int = 1, *, record_bytes_max: int | None = None) -> str:
        self._made += 1
        name = f"{self.prefix}topic-{self._made}"
        config = {"message.timestamp.type": "LogAppendTime"}
        if record_bytes_max:
            config["max.message.bytes"] = str(record_bytes_max)
        admin = AdminClient(self.client)
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(CALL_S)
        return name

    def passes(self, ms: int) -> None:
        time.sleep(ms / 1000)

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def producer(self, transactional_id: str, timeout_ms: int = 60_000) -> Producer:
        return Producer(
            Client(
                {
                    **self.client,
                    "transactional.id": self.prefix + transactional_id,
                    "transaction.timeout.ms": timeout_ms,
                    "linger.ms": 1,
                }
            )
        )

    def publish(self, place: Place, *values: bytes, within_ms: int = CALL_MS) -> list[tuple[int, int]]:
        client = Client({**self.client, "acks": "all", "message.timeout.ms": within_ms})
        told: list[tuple[int, int]] = []
        for value in values:  # a batch each
            failed: list[KafkaError] = []
            client.produce(place[0], value, partition=place[1], timestamp=1, on_delivery=_into(told, failed))
            _judged(lambda: client.flush(within_ms / 1000 + 5))
            if failed:
                raise _error(failed[0], Refused)
        return told

    def reader(self, *, committed_only: bool = True, earliest: bool = False) -> Reader:
        reader = Reader(self, committed_only, earliest)
        self._closing.append(reader.close)
        return reader

    def member(self, group: str, topics: Sequence[str], strategy: Strategy = "range", *, waits: bool = False) -> Member:
        member = Member(self.client, self.prefix + group, topics, strategy, self.session_ms, waits)
        self._closing.append(member.close)
        return member

    def stoppable_member(self, group: str, topic: str) -> RemoteMember:
        member = RemoteMember(self.client, self.prefix + group, topic, self.session_ms)
        self._closing.append(member.close)
        return member

    def commit_offset(self, group: str, place: Place, offset: int) -> None:
        consumer = Consumer({**self.client, "group.id": self.prefix + group, "enable.auto.commit": False})
        try:
            consumer.commit(offsets=[TopicPartition(*place, offset)], asynchronous=False)
        finally:
            consumer.close()

    def no_member(self, group: str) -> Metadata:
        consumer = Consumer({**self.client, "group.id": self.prefix + group})
        self._closing.append(consumer.close)
        return consumer.consumer_group_metadata()

    def cut_head(self, place: Place, before: int) -> None:
        at = TopicPartition(*place, before)
        admin = AdminClient(self.client)  # kept until it has answered: a client that is dropped takes its futures along
        admin.delete_records([at])[at].result(CALL_S)

    def markers_are_slow(self) -> None:
        """They take as long as they take."""

    def go_down(self) -> None:
        raise CantDo("others use this broker")

    def come_back(self) -> None:
        raise CantDo("others use this broker")

    def lose_tails(self, ends: Mapping[Place, int]) -> None:
        raise CantDo("others use this broker")

    def close(self) -> None:
        for close in self._closing:
            close()


class OwnKafkaTwin(KafkaTwin):
    """A real broker of the suite's own, to be stopped and damaged."""

    name = "own-kafka"

    def __init__(self, broker: LocalKafka, prefix: str) -> None:
        super().__init__(broker.bootstrap, prefix)
        self._broker = broker

    def go_down(self) -> None:
        self._broker.pause()

    def come_back(self) -> None:
        self._broker.resume()

    def close(self) -> None:
        """The next case finds it up, however this one ended."""
        self._broker.resume()
        super().close()

    def lose_tails(self, ends: Mapping[Place, int]) -> None:
        """As if a leader had been elected that has less: killed, its files cut, started again."""
        self._broker.kill()
        for (topic, partition), end in ends.items():
            (segment,) = (self._broker.directory / "data-0" / f"{topic}-{partition}").glob("*.log")
            with segment.open("r+b") as file:
                file.truncate(next(at for at, first in _batches(segment.read_bytes()) if first == end))
        self._broker.restart()


def _batches(segment: bytes) -> Iterator[tuple[int, int]]:
    """Where each batch stands in the file, and its first offset."""
    at = 0
    while at + 12 <= len(segment) and (size := int.from_bytes(segment[at + 8 : at + 12], "big")):
        yield at, int.from_bytes(segment[at : at + 8], "big")
        at += 12 + size


class EmbeddedTwin(KafkaTwin):
    """librdkafka's broker. Topics can't be made on it by a client: it is started with some."""

    name = "embedded"
    session_ms = 2_000  # for all of it but a second, it makes every rebalance wait
    TOPICS: Mapping[str, int] = {f"one-{n}": 1 for n in range(80)} | {f"three-{n}": 3 for n in range(20)}

    def __init__(self, broker: EmbeddedBroker, prefix: str, left: list[str]) -> None:
        super().__init__(broker.bootstrap, prefix)
        self._left = left

    def topic(self, partitions: int = 1, *, record_bytes_max: int | None = None) -> str:
        if record_bytes_max:
            raise CantDo("a topic has no configuration")
        found = next(name for name in self._left if self.TOPICS[name] == partitions)
        self._left.remove(found)
        return found

    def cut_head(self, place: Place, before: int) -> None:
        raise CantDo("records can't be deleted")


class Producer:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._told: list[tuple[int, int]] = []
        self._failed: list[KafkaError] = []

    def init(self) -> None:
        _judged(lambda: self._client.init_transactions(CALL_S))

    def begin(self) -> None:
        _judged(self._client.begin_transaction)

    def produce(self, place: Place, *values: bytes) -> None:
        """With a time of its own, which a broker that keeps the time doesn't take over."""
        for value in values:
            _judged(
                lambda value=value: self._client.produce(  # type: ignore[misc]
                    place[0], value, partition=place[1], timestamp=1, on_delivery=_into(self._told, self._failed)
                )
            )

    def flush(self) -> list[tuple[int, int]]:
        """A delivery that failed is told by the commit: what the client says of it there is more to the point."""
        _judged(lambda: self._client.flush(CALL_S))
        told, self._told = self._told, []
        return told

    def send_offsets(self, offsets: Mapping[Place, int], metadata: Metadata) -> None:
        sent = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        _judged(lambda: self._client.send_offsets_to_transaction(sent, metadata, CALL_S))

    def commit(self, within_ms: int = CALL_MS) -> None:
        _judged(lambda: self._client.commit_transaction(within_ms / 1000))

    def abort(self) -> None:
        _judged(lambda: self._client.abort_transaction(CALL_S))


def _into(told: list[tuple[int, int]], failed: list[KafkaError]) -> Callable[[KafkaError | None, Message], None]:
    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            told.append((message.offset() or 0, message.timestamp()[1]))
        else:
            failed.append(error)  # not to be looked at in here: a fatal one is being raised

    return delivered


class Reader:
    def __init__(self, twin: KafkaTwin, committed_only: bool, earliest: bool) -> None:
        self._twin = twin
        self._settings = {
            **twin.client,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest" if earliest else "error",
            "isolation.level": "read_committed" if committed_only else "read_uncommitted",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "fetch.error.backoff.ms": 20,
        }
        self._consumer = Consumer({**self._settings, "group.id": f"{twin.prefix}unused"})
        self._assigned = 0
        self._found: list[tuple[int, bytes, int]] = []

    def assign(self, positions: Mapping[Place, int]) -> None:
        self._assigned = len(positions)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in positions.items()])

    def read(self, within_ms: int = CALL_MS) -> Seen:
        ends: dict[Place, int] = {}
        gone: Gone | None = None
        gives_up_s = time.monotonic() + within_ms / 1000
        while gone is None and len(ends) < self._assigned and time.monotonic() < gives_up_s:
            for message in self._consumer.consume(100, 0.02):
                error, place = message.error(), (message.topic() or "", message.partition() or 0)
                if error is None:
                    self._found.append((message.offset() or 0, _bytes(message.value()), message.timestamp()[1]))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ends[place] = message.offset() or 0
                elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                    gone = Gone(*place, message.offset() or 0, error.str())  # what comes with it is not lost
        if gone is not None:
            raise gone
        found, self._found = self._found, []
        records = tuple((offset, value) for offset, value, _ in found)
        return Seen(records, tuple(at_ms for _, _, at_ms in found), tuple(ends.values()))

    def watermarks(self, place: Place) -> tuple[int, int]:
        found: tuple[int, int] = _judged(
            lambda: self._consumer.get_watermark_offsets(TopicPartition(*place), CALL_S, cached=False)
        )
        return found

    def committed(self, group: str, place: Place, within_ms: int = CALL_MS) -> int | None:
        asker = Consumer({**self._settings, "group.id": self._twin.prefix + group})
        try:
            (found,) = _judged(lambda: asker.committed([TopicPartition(*place)], within_ms / 1000))
        finally:
            asker.close()
        return None if found.offset == OFFSET_INVALID else int(found.offset)

    def close(self) -> None:
        self._consumer.close()


class Member:
    """Its consumer is polled by a thread: one that is not polled holds up everybody's rebalance."""

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        topics: Sequence[str],
        strategy: str,
        session_ms: int,
        waits: bool = False,
    ) -> None:
        self._waits, self._giving_up = waits, threading.Event()
        self._words: list[Word] = []
        self._holds: set[Place] = set()
        self._cooperative = strategy == "cooperative-sticky"
        self._closing = threading.Event()
        self._consumer = Consumer(
            {
                **client,
                "group.id": group,
                "partition.assignment.strategy": strategy,
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": 100,
            }
        )
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self._metadata: Metadata = None
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def poll(self) -> list[Word]:
        words, self._words = self._words, []
        return words

    @property
    def holds(self) -> tuple[Place, ...]:
        return tuple(sorted(self._holds))

    def metadata(self) -> Metadata:
        return self._metadata

    def give_up(self) -> None:
        self._giving_up.set()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._consumer.poll(0.02)
            self._metadata = self._consumer.consumer_group_metadata()
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        (consumer.incremental_assign if self._cooperative else consumer.assign)(partitions)
        consumer.pause(partitions)
        self._holds |= set(_places(partitions))
        self._words.append(Assigned(_places(partitions)))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._words.append(Revoked(_places(partitions)))
        while self._waits and not self._closing.is_set() and not self._giving_up.wait(0.02):
            pass
        self._giving_up.clear()
        self._drop(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._words.append(Lost(_places(partitions)))
        self._drop(consumer, partitions)

    def _drop(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._cooperative:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()
        self._holds -= set(_places(partitions))


class RemoteMember:
    """A member in a process of its own, which can be stopped."""

    KINDS = (Assigned, Revoked, Lost)

    def __init__(self, client: Mapping[str, Any], group: str, topic: str, session_ms: int) -> None:
        asked = json.dumps({"client": client, "group": group, "topic": topic, "session_ms": session_ms})
        command = [sys.executable, "-m", "tests.contract.log.over_kafka", asked]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT)
        self._words: list[Word] = []
        self._holds: set[Place] = set()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def poll(self) -> list[Word]:
        words, self._words = self._words, []
        return words

    @property
    def holds(self) -> tuple[Place, ...]:
        return tuple(sorted(self._holds))

    def stop(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Killed: it says nothing to its group."""
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, told = json.loads(line)
            places = tuple((str(topic), int(number)) for topic, number in told)
            if kind == "Assigned":
                self._holds |= set(places)
            else:
                self._holds -= set(places)
            self._words.append(next(k for k in self.KINDS if k.__name__ == kind)(places))


def _places(partitions: Sequence[TopicPartition]) -> tuple[Place, ...]:
    return tuple(sorted((p.topic, p.partition) for p in partitions))


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value or b"")


def _judged(call: Callable[[], T]) -> T:
    try:
        return call()
    except KafkaException as failure:
        raise _error(failure.args[0]) from failure


def _error(error: KafkaError, otherwise: type[LogError] = LogError) -> LogError:
    if error.fatal() or error.code() == KafkaError._FATAL:
        return Fenced(error.str())
    if error.txn_requires_abort():
        return Abortable(error.name())
    if error.code() == KafkaError._STATE:
        return Misused(error.str())
    if error.code() in _NO_ANSWER:
        return TimedOut(error.str())
    return otherwise(error.str())


def main(asked: str) -> None:
    """A member whose every word is a line, until it is killed."""
    given = json.loads(asked)
    member = Member(given["client"], given["group"], [given["topic"]], "range", given["session_ms"])
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for word in member.poll():
                print(json.dumps([type(word).__name__, word.places]), flush=True)
            time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1])
