"""The model as a twin: where a real client waits and tries again by itself, the model's time is let pass here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from tests.contract.log.twin import CALL_MS, Metadata, Seen
from tests.simulation.clients import End, Link
from tests.simulation.clients import Reader as ModelReader
from tests.simulation.errors import NotYet, TimedOut
from tests.simulation.groups import GroupMetadata, Strategy
from tests.simulation.log import Cluster
from tests.simulation.members import Member as ModelMember
from tests.simulation.members import Revoked, Word
from tests.simulation.partitions import Place, Record
from tests.simulation.producers import TransactionalProducer

T = TypeVar("T")
AGAIN_MS = 10
RESETS: dict[bool, Literal["error", "earliest"]] = {False: "error", True: "earliest"}
START_MS = 1_800_000_000_000


class ModelTwin:
    name = "model"
    session_ms = 6_000

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.cluster.advance(START_MS)
        self._made = 0

    def topic(self, partitions: int = 1, *, record_bytes_max: int | None = None) -> str:
        self._made += 1
        name = f"topic-{self._made}"
        self.cluster.create_topic(name, partitions, record_bytes_max or 1_000_000)
        return name

    def passes(self, ms: int) -> None:
        self.cluster.advance(self.cluster.now_ms + ms)

    def now_ms(self) -> int:
        return self.cluster.now_ms

    def producer(self, transactional_id: str, timeout_ms: int = 60_000) -> Producer:
        return Producer(self, self.cluster.producer(self.cluster.link(), transactional_id, timeout_ms))

    def publish(self, place: Place, *values: bytes, within_ms: int = CALL_MS) -> list[tuple[int, int]]:
        producer = self.cluster.plain_producer(self.cluster.link())
        written = [
            self.patiently(lambda value=value: producer.publish(place, None, value, self.now_ms()), within_ms)  # type: ignore[misc]
            for value in values
        ]
        return [(record.offset, record.at_ms) for record in written]

    def reader(self, *, committed_only: bool = True, earliest: bool = False) -> Reader:
        link, reset = self.cluster.link(), RESETS[earliest]
        return Reader(self, self.cluster.reader(link, committed_only=committed_only, reset=reset))

    def member(self, group: str, topics: Sequence[str], strategy: Strategy = "range", *, waits: bool = False) -> Member:
        link = self.cluster.link()
        made = self.cluster.member(link, group, topics, strategy=strategy, session_ms=self.session_ms)
        return Member(self, made, link, waits)

    def stoppable_member(self, group: str, topic: str) -> Member:
        return self.member(group, [topic])

    def commit_offset(self, group: str, place: Place, offset: int) -> None:
        reader = self.cluster.reader(self.cluster.link())
        reader.commit(GroupMetadata(group), {place: offset}, self.now_ms())

    def no_member(self, group: str) -> Metadata:
        return GroupMetadata(group)

    def cut_head(self, place: Place, before: int) -> None:
        self.cluster.cut_head(place, before)

    def markers_are_slow(self) -> None:
        self.cluster.markers_take(lambda _, topic, partition: 70 + 30 * partition)

    def go_down(self) -> None:
        self.cluster.go_down(self.now_ms())

    def come_back(self) -> None:
        self.cluster.come_back(self.now_ms())

    def lose_tails(self, ends: Mapping[Place, int]) -> None:
        for place, end in ends.items():
            self.cluster.lose_tail(place, end)

    def patiently(self, call: Callable[[], T], within_ms: int = CALL_MS) -> T:
        """As a client that tries again until its time-out, as long as it is told to or hears nothing."""
        ends_ms = self.now_ms() + within_ms
        while True:
            try:
                return call()
            except (NotYet, TimedOut) as still:
                if self.now_ms() >= ends_ms:
                    raise TimedOut(str(still)) from still
                self.passes(AGAIN_MS)


class Producer:
    def __init__(self, twin: ModelTwin, made: TransactionalProducer) -> None:
        self._twin, self._made = twin, made

    def init(self) -> None:
        self._twin.patiently(lambda: self._made.init_transactions(self._twin.now_ms()))

    def begin(self) -> None:
        self._made.begin_transaction()

    def produce(self, place: Place, *values: bytes) -> None:
        for value in values:
            self._made.produce(place, None, value)

    def flush(self) -> list[tuple[int, int]]:
        return _told(self._twin.patiently(lambda: self._made.flush(self._twin.now_ms())))

    def send_offsets(self, offsets: Mapping[Place, int], metadata: Metadata) -> None:
        self._twin.patiently(lambda: self._made.send_offsets(offsets, metadata, self._twin.now_ms()))

    def commit(self, within_ms: int = CALL_MS) -> None:
        self._twin.patiently(lambda: self._made.commit_transaction(self._twin.now_ms()), within_ms)

    def abort(self) -> None:
        self._twin.patiently(lambda: self._made.abort_transaction(self._twin.now_ms()))


def _told(records: Sequence[Record]) -> list[tuple[int, int]]:
    return [(record.offset, record.at_ms) for record in records]


class Reader:
    def __init__(self, twin: ModelTwin, made: ModelReader) -> None:
        self._twin, self._made = twin, made
        self._found: list[Record] = []

    def assign(self, positions: Mapping[Place, int]) -> None:
        self._made.assign(positions)

    def read(self, within_ms: int = CALL_MS) -> Seen:
        ends: dict[Place, int] = {}
        gives_up_ms = self._twin.now_ms() + within_ms
        while len(ends) < len(self._made.positions) and self._twin.now_ms() < gives_up_ms:
            said = self._made.poll(3, self._twin.now_ms())
            for one in said:
                if isinstance(one, End):
                    ends[one.topic, one.partition] = one.offset
                else:
                    self._found.append(one)
            if not said:
                self._twin.passes(AGAIN_MS)
        found, self._found = self._found, []
        records = tuple((record.offset, record.value or b"") for record in found)
        return Seen(records, tuple(record.at_ms for record in found), tuple(ends.values()))

    def watermarks(self, place: Place) -> tuple[int, int]:
        return self._twin.patiently(lambda: self._made.watermarks(place, self._twin.now_ms()))

    def committed(self, group: str, place: Place, within_ms: int = CALL_MS) -> int | None:
        asked = self._twin.patiently(lambda: self._made.committed(group, [place], self._twin.now_ms()), within_ms)
        return asked[place]


class Member:
    def __init__(self, twin: ModelTwin, made: ModelMember, link: Link, waits: bool) -> None:
        self._twin, self._made, self._link, self._waits = twin, made, link, waits
        self._stopped = False

    def poll(self) -> list[Word]:
        words = []
        while not self._stopped and (word := self._made.poll(self._twin.now_ms())):
            words.append(word)
            if isinstance(word, Revoked) and not self._waits:
                self.give_up()
        return words

    @property
    def holds(self) -> tuple[Place, ...]:
        return self._made.holds

    def metadata(self) -> Metadata:
        return self._made.metadata()

    def give_up(self) -> None:
        self._made.gave_up(self._twin.now_ms())

    def close(self) -> None:
        self._made.close(self._twin.now_ms())

    def stop(self) -> None:
        self._stopped = True
        self._link.cut(self._twin.now_ms())

    def go_on(self) -> None:
        self._stopped = False
        self._link.mend(self._twin.now_ms())
