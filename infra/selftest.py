"""At start: is this broker what execution relies on? Proven on the scratch topic, never assumed from a setting.

An aborted record stays invisible, a predecessor that was replaced can't commit, and the time on a record is the
broker's. A broker of which that is not proven allows at most a dry run.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs do not re-export

from infra.publisher import Unreachable
from infra.runners.kafka import KafkaSettings, ends_of, passes
from infra.topics import SELF_TEST, wanted

CALL_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 15.0
TRANSACTION_TIMEOUT_MS = 10_000
AN_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Verdict:
    """`allows`: the most that any action may do. `isolated` is False only where the broker was seen not to isolate."""

    allows: Literal["dry_run", "on"]
    isolated: bool
    reasons: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        if not self.reasons:
            return "isolates transactions, fences predecessors, keeps its own time"
        return f"at most {self.allows}: " + "; ".join(self.reasons)


class _NotTested(Exception):
    """Something stood in the way of a test; the message says what."""


async def judge_broker(settings: KafkaSettings, role: str = "") -> Verdict:
    """Takes a second or two. Raises Unreachable where no broker answers at all.

    `role`: whose transactional ids these credentials may use; by default, that of the user who logs in.
    """
    role = role or str(settings.client.get("sasl.username", SELF_TEST))
    return await asyncio.to_thread(_judge, settings, role)


def _judge(settings: KafkaSettings, role: str) -> Verdict:
    try:
        _make_sure_of_the_topic(settings)
        seen = _Seen.of(settings, f"{settings.prefix}{role}-{SELF_TEST}-{secrets.token_hex(4)}")
    except _NotTested as reason:
        return Verdict("dry_run", True, (f"not tested: {reason}",))
    reasons = tuple(seen.objections())
    isolated = not (seen.aborted_was_visible or seen.predecessor_committed)
    return Verdict("dry_run" if reasons else "on", isolated, reasons)


@dataclass(frozen=True)
class _Seen:
    """What happened on the scratch topic."""

    committed_was_visible: bool
    aborted_was_visible: bool
    predecessor_committed: bool
    appended_by_broker: bool

    def objections(self) -> Iterator[str]:
        if not self.committed_was_visible:
            yield "a committed record was not seen by a reader of committed records"
        if self.aborted_was_visible:
            yield "a reader of committed records saw a record of an aborted transaction"
        if self.predecessor_committed:
            yield "a predecessor committed after its successor had taken over"
        if not self.appended_by_broker:
            yield "the time on a record is its producer's, not the broker's (message.timestamp.type=LogAppendTime)"

    @classmethod
    def of(cls, settings: KafkaSettings, transactional_id: str) -> _Seen:
        place = TopicPartition(settings.topic(SELF_TEST), 0)
        start = _end(settings, place)
        first = _Writer(settings, place, transactional_id)
        first.write(b"aborted")
        first.abort()
        first.write(b"committed")
        first.commit()
        first.write(b"of the predecessor")
        successor = _Writer(settings, place, transactional_id)  # takes over, and aborts what the first has open
        predecessor_committed = first.commits_although_replaced()
        successor.write(b"of the successor")
        successor.commit()
        read = _read_committed(settings, TopicPartition(place.topic, 0, start), transactional_id)
        values = {message.value() for message in read}
        return cls(
            committed_was_visible={b"committed", b"of the successor"} <= values,
            aborted_was_visible=b"aborted" in values,
            predecessor_committed=predecessor_committed or b"of the predecessor" in values,
            appended_by_broker=bool(read) and all(_is_append_time(message) for message in read),
        )


def _is_append_time(message: Message) -> bool:
    """The writers claim an hour ago: a broker that keeps its own time doesn't believe them."""
    kind, at_ms = message.timestamp()
    return kind == TIMESTAMP_LOG_APPEND_TIME and at_ms > time.time() * 1000 - AN_HOUR_MS / 2


class _Writer:
    """A transactional producer on the scratch topic, whose every record names the test that it belongs to."""

    def __init__(self, settings: KafkaSettings, place: TopicPartition, transactional_id: str) -> None:
        self._place, self._id, self._open = place, transactional_id, False
        self._producer = Producer(
            {
                **settings.client,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "log_level": 2,  # that a predecessor is fenced is what is wanted
            }
        )
        self._do(lambda: self._producer.init_transactions(CALL_TIMEOUT_S), "a transactional producer did not start")

    def write(self, value: bytes) -> None:
        def send() -> None:
            if not self._open:
                self._producer.begin_transaction()
            claimed_ms = int(time.time() * 1000) - AN_HOUR_MS
            self._producer.produce(self._place.topic, value, self._id.encode(), 0, timestamp=claimed_ms)
            if self._producer.flush(CALL_TIMEOUT_S):
                raise _NotTested("a record was not acknowledged")

        self._do(send, "a record was not written")
        self._open = True

    def commit(self) -> None:
        self._do(lambda: self._producer.commit_transaction(CALL_TIMEOUT_S), "a transaction was not committed")
        self._open = False

    def abort(self) -> None:
        self._do(lambda: self._producer.abort_transaction(CALL_TIMEOUT_S), "a transaction was not aborted")
        self._open = False

    def commits_although_replaced(self) -> bool:
        try:
            self._producer.commit_transaction(CALL_TIMEOUT_S)
        except KafkaException as refused:
            error = refused.args[0]
            if error.fatal() or error.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
                return False
            raise _NotTested(f"a predecessor's commit ended in neither way: {error.str()}") from refused
        return True

    def _do(self, call: Any, otherwise: str) -> None:
        try:
            call()
        except KafkaException as failure:
            raise _NotTested(f"{otherwise}: {failure.args[0].str()}") from failure


def _end(settings: KafkaSettings, place: TopicPartition) -> int:
    """A topic that was just made, or whose leader moves, is unknown for a moment: that is no verdict on the broker."""
    consumer = settings.consumer()
    give_up_s = time.monotonic() + CALL_TIMEOUT_S
    try:
        while True:
            try:
                return ends_of(consumer, place, CALL_TIMEOUT_S)[1]
            except KafkaException as failure:
                if time.monotonic() > give_up_s or not passes(failure.args[0]):
                    raise _NotTested(f"{place.topic} can't be read: {failure.args[0].str()}") from failure
                time.sleep(0.2)
    finally:
        consumer.close()


def _read_committed(settings: KafkaSettings, place: TopicPartition, transactional_id: str) -> list[Message]:
    """This test's records, up to the last one that its writers committed."""
    consumer, found = settings.consumer(), list[Message]()
    give_up_s = time.monotonic() + READ_TIMEOUT_S
    try:
        consumer.assign([place])
        while time.monotonic() < give_up_s:
            for message in consumer.consume(100, 0.2):
                if message.error() is None and message.key() == transactional_id.encode():
                    found.append(message)
                    if message.value() == b"of the successor":
                        return found
        return found
    finally:
        consumer.close()


def _make_sure_of_the_topic(settings: KafkaSettings) -> None:
    name = settings.topic(SELF_TEST)
    admin = AdminClient(dict(settings.client))
    try:
        there = admin.list_topics(timeout=CALL_TIMEOUT_S).topics
    except KafkaException as failure:
        raise Unreachable(f"{settings.where}: {failure.args[0].str()}") from failure
    if name in there:
        return
    config = next(t.config for t in wanted(settings.prefix, settings.partitions) if t.name == name)
    new = NewTopic(name, num_partitions=1, replication_factor=-1, config=dict(config))
    try:
        admin.create_topics([new], request_timeout=CALL_TIMEOUT_S)[name].result(CALL_TIMEOUT_S + 5)
    except KafkaException as failure:
        if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise _NotTested(f"{name} is missing, and can't be made: {failure.args[0].str()}") from failure
