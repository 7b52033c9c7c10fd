"""One log to write and to read, modelled, imitated or real, and a clock to wait by: what lets the same case run against
all of them.

Errors are the model's (tests/simulation/errors.py), and so are the words of a member. Names are the case's own: a twin
on a shared broker gives topics, groups and transactional ids a prefix. Time-outs are real time on real twins: short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.simulation.groups import Strategy
from tests.simulation.members import Word
from tests.simulation.partitions import Place

CALL_MS = 20_000  # how long a call may take that is to succeed
Metadata = Any  # of a group: each twin's own


@dataclass(frozen=True)
class Seen:
    """What one reading brought: records as (offset, value), append times, and where the end was said."""

    records: tuple[tuple[int, bytes], ...]
    times: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def values(self) -> list[bytes]:
        return [value for _, value in self.records]

    @property
    def offsets(self) -> list[int]:
        return [offset for offset, _ in self.records]


class Producer(Protocol):
    """A transactional one. `flush` and `commit` return (offset, append time) of what was acknowledged by them."""

    def init(self) -> None: ...

    def begin(self) -> None: ...

    def produce(self, place: Place, *values: bytes) -> None: ...

    def flush(self) -> list[tuple[int, int]]: ...

    def send_offsets(self, offsets: Mapping[Place, int], metadata: Metadata) -> None: ...

    def commit(self, within_ms: int = CALL_MS) -> None:
        """Raises TimedOut: it may be said again."""
        ...

    def abort(self) -> None: ...


class Reader(Protocol):
    def assign(self, positions: Mapping[Place, int]) -> None: ...

    def read(self, within_ms: int = CALL_MS) -> Seen:
        """Up to where the end of each partition is said anew, or the time is over. Raises Gone: what was read until
        then is in the next answer."""
        ...

    def watermarks(self, place: Place) -> tuple[int, int]: ...

    def committed(self, group: str, place: Place, within_ms: int = CALL_MS) -> int | None:
        """Raises TimedOut."""
        ...


class Member(Protocol):
    """Gives up at once whatever it is to give up, unless it was made to wait for `give_up`."""

    def poll(self) -> list[Word]:
        """What it was told since the last time, in order."""
        ...

    @property
    def holds(self) -> tuple[Place, ...]: ...

    def metadata(self) -> Metadata: ...

    def give_up(self) -> None: ...

    def close(self) -> None: ...


class Stoppable(Protocol):
    """A member whose process can be stopped, as by SIGSTOP."""

    def poll(self) -> list[Word]: ...

    @property
    def holds(self) -> tuple[Place, ...]: ...

    def stop(self) -> None: ...

    def go_on(self) -> None: ...

    def close(self) -> None: ...


class Twin(Protocol):
    name: str
    session_ms: int  # after which a member that is silent is evicted

    def topic(self, partitions: int = 1, *, record_bytes_max: int | None = None) -> str: ...

    def passes(self, ms: int) -> None:
        """Time goes by in its own way: the model's is free."""
        ...

    def now_ms(self) -> int:
        """By the broker's wall clock, more or less."""
        ...

    def producer(self, transactional_id: str, timeout_ms: int = 60_000) -> Producer: ...

    def publish(self, place: Place, *values: bytes, within_ms: int = CALL_MS) -> list[tuple[int, int]]:
        """Outside of transactions; (offset, append time) of each. Raises TimedOut, Refused."""
        ...

    def reader(self, *, committed_only: bool = True, earliest: bool = False) -> Reader: ...

    def member(self, group: str, topics: Sequence[str], strategy: Strategy = "range", *, waits: bool = False) -> Member:
        """`waits`: it keeps what is revoked until it is told to give it up."""
        ...

    def stoppable_member(self, group: str, topic: str) -> Stoppable: ...

    def commit_offset(self, group: str, place: Place, offset: int) -> None:
        """Outside of transactions, by a consumer that never joined."""
        ...

    def no_member(self, group: str) -> Metadata:
        """The metadata of a consumer that never joined."""
        ...

    def cut_head(self, place: Place, before: int) -> None: ...

    def markers_are_slow(self) -> None:
        """Where that can be arranged, and never so slow that a call times out over it."""
        ...

    # only of a log that may be broken

    def go_down(self) -> None:
        """The brokers answer nobody, and lose nothing."""
        ...

    def come_back(self) -> None: ...

    def lose_tails(self, ends: Mapping[Place, int]) -> None:
        """Acknowledged records from there on are lost; an end is where a batch begins."""
        ...


class CantDo(Exception):
    """This twin has no way to do that; the message says why."""


def until(twin: Twin, true: Callable[[], bool], within_ms: int = CALL_MS) -> None:
    """Ask until it is true; the case fails where the time is over."""
    waited_ms = 0
    while not true():
        assert waited_ms < within_ms, "it did not become true"
        twin.passes(50)
        waited_ms += 50


def read(twin: Twin, place: Place, start: int = 0, *, committed_only: bool = True) -> Seen:
    """What a new reader sees from there on."""
    reader = twin.reader(committed_only=committed_only)
    reader.assign({place: start})
    return reader.read()


def write(producer: Producer, place: Place, *values: bytes) -> None:
    """One transaction, committed."""
    producer.begin()
    producer.produce(place, *values)
    producer.commit()


def ready(twin: Twin, transactional_id: str, timeout_ms: int = 60_000) -> Producer:
    producer = twin.producer(transactional_id, timeout_ms)
    producer.init()
    return producer


def hanging(twin: Twin, transactional_id: str, place: Place, *values: bytes, timeout_ms: int = 60_000) -> Producer:
    """A producer with a transaction open that others can tell of."""
    producer = ready(twin, transactional_id, timeout_ms)
    producer.begin()
    producer.produce(place, *values)
    producer.flush()
    return producer
