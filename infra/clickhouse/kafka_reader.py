"""The audit's reader on Kafka: one consumer, every partition of every topic of ours assigned by hand.

Committed records alone, and no group: where to go on is what the table says. Works on librdkafka's broker too, which
has no isolation to offer.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

import structlog
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its stubs do not re-export

from infra.clickhouse.sink import Positions, RecordsLost
from infra.publisher import Unreachable
from infra.runners.books import Raw
from infra.runners.kafka import KafkaSettings, raw_of
from streams.pipeline import BY_NAME

REFRESH_S = 10.0
CALL_TIMEOUT_S = 5.0  # the sink is told to stop within that, whatever the broker does
ASKED_TIMEOUT_S = 10.0  # where all partitions begin and end
_GONE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})
_NO_USE_WAITING = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError._AUTHENTICATION}
)
_log = structlog.get_logger()


def is_ours(topic: str) -> bool:
    """A topic of the pipeline, or dead letters; named without the prefix."""
    return topic in BY_NAME or topic.startswith("dead-letters.")


def may_lose_its_head(topic: str) -> bool:
    """Foreign topics have the retention that their owners give them; all others keep everything."""
    return topic in BY_NAME and not BY_NAME[topic].keeps_all


class KafkaReader:
    """infra.clickhouse.sink.TopicReader. One task at a time; the client's blocking calls run on threads."""

    def __init__(self, settings: KafkaSettings, refresh_s: float = REFRESH_S) -> None:
        self._settings, self._refresh_s = settings, refresh_s
        # Nothing is subscribed, so nothing is revoked while ClickHouse is away for a day.
        self._consumer = settings.consumer(**{"max.poll.interval.ms": 86_400_000})
        self._wanted: dict[tuple[str, int], int] = {}
        self._next: dict[tuple[str, int], int] = {}  # of what is assigned: the next offset to be handed out
        self._refreshed_s = 0.0
        self._behind: dict[tuple[str, int], int] = {}  # as it was last known
        self._unlisted = "nothing has been read yet"  # why it is not known which topics there are; empty: it is
        self._unread: dict[tuple[str, int], str] = {}  # what is there and is not read, and why
        self._unmeasured: dict[tuple[str, int], str] = {}
        self._asked_s: dict[tuple[str, int], float] = {}  # when the end of what could not be measured was asked for
        self._aside: set[tuple[str, int]] = set()  # lost: not read on
        self._wrong: list[Exception] = []  # to be raised once what came with it has been handed out

    async def seek(self, positions: Positions) -> None:
        self._wanted = dict(positions)
        self._wrong.clear()
        self._aside.clear()
        if self._next:
            self._next = {}
            await asyncio.to_thread(self._consumer.unassign)
        self._refreshed_s = 0.0

    async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        return await asyncio.to_thread(self._poll, max_records, timeout_s)

    async def lag(self) -> Mapping[str, int]:
        return await asyncio.to_thread(self._measure)

    @property
    def trouble(self) -> str:
        if self._unlisted:
            return self._unlisted
        if not self._next and not self._unread:
            return "no topic of ours is there, or none that may be described"
        if unknown := self._unread | self._unmeasured:
            (topic, partition), why = min(unknown.items())
            return f"{len(unknown)} partitions can't be read to their end; {topic}/{partition}: {why}"
        return ""

    async def close(self) -> None:
        await asyncio.to_thread(self._consumer.close)

    # on a thread

    def _poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        if self._wrong:
            raise self._wrong.pop(0)
        if time.monotonic() >= self._refreshed_s + self._refresh_s or not self._next:
            self._refresh()
        if not self._next:  # no topic is there yet
            time.sleep(timeout_s)
            return []
        first = self._consumer.consume(1, timeout_s)  # the first one at once, and what is there with it
        return self._records(first + self._consumer.consume(max_records - 1, 0) if first and max_records > 1 else first)

    def _records(self, messages: Sequence[Message]) -> list[Raw]:
        found = []
        for message in messages:
            error = message.error()
            place = (self._settings.name_of(message.topic() or ""), message.partition() or 0)
            if error is None:
                raw = raw_of(message, self._settings)
                found.append(raw)
                self._next[place] = raw.offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # behind the markers of the last transaction
                self._next[place] = max(self._next.get(place, 0), message.offset() or 0)
            elif error.code() in _GONE:
                if self._goes_on(place):
                    continue
                if place not in self._aside:
                    self._aside.add(place)
                    self._wrong.append(self._lost(place, error))
                self._consumer.incremental_unassign([TopicPartition(self._settings.topic(place[0]), place[1])])
            elif error.fatal() or error.code() in _NO_USE_WAITING:
                self._wrong.append(KafkaException(error))
        return found

    def _goes_on(self, place: tuple[str, int]) -> bool:
        """At its new head, where that is allowed to move: what has gone was another's to keep."""
        if not may_lose_its_head(place[0]):
            return False
        where, at = TopicPartition(self._settings.topic(place[0]), place[1]), self._next.get(place, 0)
        try:
            low, _ = self._ends(place)
            why = "no answer in time"
        except KafkaException as failure:
            low, why = -1, failure.args[0].str()
        if 0 <= low <= at:
            return False
        self._consumer.incremental_unassign([where])
        if low < 0:  # taken up again with what appears
            self._wanted[place], self._unread[place] = at, why
            del self._next[place]
            return True
        self._warn_of_a_gap(place, low - at)
        where.offset = self._next[place] = low
        self._consumer.incremental_assign([where])
        return True

    @staticmethod
    def _warn_of_a_gap(place: tuple[str, int], lost: int) -> None:
        _log.warning("alerts have gone before they were read", topic=place[0], partition=place[1], lost=lost)

    def _lost(self, place: tuple[str, int], error: KafkaError) -> RecordsLost:
        topic, partition = place
        try:
            low, high = self._ends(place)
        except KafkaException:
            low = high = -1
        at = self._next.get(place, 0)
        if 0 <= high < at:
            return RecordsLost(f"{topic}/{partition} ends at {high}, and the audit holds up to {at}: records were lost")
        return RecordsLost(f"{topic}/{partition} begins at {low}, and the audit has read up to {at} ({error.str()})")

    def _refresh(self) -> None:
        """Take up topics and partitions that have appeared. A broker that doesn't answer is asked again later."""
        self._refreshed_s = time.monotonic()
        try:
            topics = self._consumer.list_topics(timeout=CALL_TIMEOUT_S).topics
        except KafkaException as failure:
            self._unlisted = f"the topics can't be listed: {failure.args[0].str()}"
            _log.warning("the topics can't be listed", error=failure.args[0].str())
            return
        self._unlisted, fresh, unread = "", dict[tuple[str, int], int](), dict[tuple[str, int], str]()
        for full, topic in topics.items():
            name = self._settings.name_of(full)
            if not full.startswith(self._settings.prefix) or not is_ours(name):
                continue
            if topic.error is not None:
                unread[name, -1] = topic.error.str()
                continue
            for place in ((name, partition) for partition in topic.partitions):
                if place not in self._next:
                    try:
                        fresh[place] = self._start(place)
                    except KafkaException as failure:  # the others are read all the same
                        unread[place] = failure.args[0].str()
        if unread != self._unread and unread:
            _log.warning("not everything is read", unread={f"{t}/{p}": why for (t, p), why in unread.items()})
        self._unread = unread
        if fresh:
            self._consumer.incremental_assign(
                [TopicPartition(self._settings.topic(t), p, offset) for (t, p), offset in fresh.items()]
            )
            self._next.update(fresh)

    def _start(self, place: tuple[str, int]) -> int:
        start = self._wanted.get(place, 0)
        if not may_lose_its_head(place[0]):
            return start
        low, _ = self._ends(place)
        if low > start:
            self._warn_of_a_gap(place, low - start)
        return max(start, low)

    def _ends(self, place: tuple[str, int], cached: bool = False) -> tuple[int, int]:
        topic = TopicPartition(self._settings.topic(place[0]), place[1])
        found = self._consumer.get_watermark_offsets(topic, CALL_TIMEOUT_S, cached=cached)
        return found if found else (-1, -1)

    def _measure(self) -> dict[str, int]:
        now_s = time.monotonic()
        for place, at in self._next.items():
            try:
                _, high = self._ends(place, cached=True)
                if high < 0 and now_s < self._asked_s.get(place, -inf) + self._refresh_s:
                    continue  # who asks a broker that does not answer waits for long
                if high < 0:  # nothing was fetched from it yet
                    _, high = self._ends(place)
                why = "" if high >= 0 else "no answer in time"
            except KafkaException as failure:
                high, why = -1, failure.args[0].str()
            if why:  # how far behind it is, is as it was last known
                self._unmeasured[place], self._asked_s[place] = why, time.monotonic()
            else:
                self._behind[place] = max(0, high - at)
                self._unmeasured.pop(place, None)
                self._asked_s.pop(place, None)
        lag: Counter[str] = Counter({topic: 0 for topic, _ in self._next})
        for (topic, partition), behind in self._behind.items():
            if (topic, partition) in self._next:
                lag[topic] += behind
        return dict(lag)


class WholeTopics(KafkaReader):
    """infra.clickhouse.verify.WholeReader: what is there is read, from where it begins; what is missing is for who
    verifies to say. Where Kafka can't be read Unreachable is raised."""

    _begins: Mapping[tuple[str, int], int] = {}

    async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        try:
            return await super().poll(max_records, timeout_s)
        except KafkaException as failure:
            raise Unreachable(f"{self._settings.where}: {failure.args[0].str()}") from failure

    async def ends(self) -> Positions:
        """Where each partition ends now, by the broker; what stands behind an open transaction is not there yet."""
        return await asyncio.to_thread(self._ends_now)

    async def reached(self, ends: Positions) -> bool:
        """Has everything before these been handed out?"""
        return all(self._next.get(place, 0) >= end for place, end in ends.items())

    def _start(self, place: tuple[str, int]) -> int:
        return self._begins.get(place, 0)

    def _ends_now(self) -> dict[tuple[str, int], int]:
        try:
            there = self._consumer.list_topics(timeout=CALL_TIMEOUT_S).topics
            names = {full: self._settings.name_of(full) for full in there if full.startswith(self._settings.prefix)}
            places = [(name, p) for full, name in names.items() if is_ours(name) for p in there[full].partitions]
            if not places:
                raise Unreachable(f"{self._settings.where}: no topic of ours is there, or none that may be described")
            self._begins = self._asked(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
            self._refresh()
            return self._asked(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        except KafkaException as failure:
            raise Unreachable(f"{self._settings.where}: {failure.args[0].str()}") from failure

    def _asked(self, places: Sequence[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        """In one request a broker: asked one by one, as a consumer does, a partition takes a fifth of a second."""
        asked = {place: TopicPartition(self._settings.topic(place[0]), place[1]) for place in places}
        admin = AdminClient(dict(self._settings.client))
        committed = IsolationLevel.READ_COMMITTED
        found = admin.list_offsets(
            dict.fromkeys(asked.values(), spec), isolation_level=committed, request_timeout=ASKED_TIMEOUT_S
        )
        try:
            return {place: found[at].result(ASKED_TIMEOUT_S + 5).offset for place, at in asked.items()}
        except TimeoutError as late:
            raise Unreachable(f"{self._settings.where}: no answer in time") from late
