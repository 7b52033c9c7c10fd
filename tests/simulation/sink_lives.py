"""Lives of production's sink, one after the other, each killed at a step of its loop, over one log and one table.

The log crosses the end of a month, holds aborted transactions, and goes on growing while sinks die. The table keeps an
insert part by part, loses answers as it is told, and keeps what a dead sink had sent, or a part of it, or later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.clickhouse.rows import Row, month_of
from infra.clickhouse.sink import Positions, Sink
from infra.clickhouse.store import AuditUnreachable
from infra.runners.books import Raw
from infra.runners.memory import JumpingLoop
from tests.simulation.audit import AWAY_S, ModelTable, ModelTopics, Where, parts_of
from tests.simulation.brokers import Brokers
from tests.simulation.chance import Chance
from tests.simulation.world import NEXT_MONTH_S

BEGINS_S = NEXT_MONTH_S - 12
WRITES_S = 36  # so long somebody writes
AGAIN_S = 1.0  # a sink that was killed is started again
ENDS_S = 300.0  # the last one has so long, in virtual time
PLACES = (("outcomes", 0), ("alerts", 0), ("controls", 0))
IN_FLIGHT = "insert in flight"


@dataclass(frozen=True)
class Fate:
    """What becomes of an insert whose caller has not heard: which of its parts are kept, and when."""

    name: str
    parts: slice
    after_s: float = 0.0


NONE, ALL = slice(0, 0), slice(None)
LOST, KEPT, LATE = Fate("lost", NONE), Fate("kept", ALL), Fate("kept later", ALL, 3.0)
FATES = (
    LOST,
    KEPT,
    Fate("kept at the last moment", ALL, AWAY_S - 0.1),
    Fate("its server died with the first part", slice(1)),
    Fate("its server died with the last part", slice(-1, None)),
)


@dataclass(frozen=True)
class Death:
    """kill -9 when a life is at this step for the `nth` time (from 0); `fate`: of the insert that is in flight then."""

    step: str
    nth: int = 0
    fate: Fate = LOST

    def __str__(self) -> str:
        return f"{self.step} {self.nth}" + (f", {self.fate.name}" if self.step == IN_FLIGHT else "")


@dataclass
class ToldTable(ModelTable):
    """Of each insert, in the order of asking, what becomes of it; those that are not named end well."""

    call_later: Callable[..., Any]
    troubles: Mapping[int, Fate] = field(default_factory=dict)
    away: frozenset[int] = frozenset()  # which of the other calls nobody answers
    inserts: int = 0
    calls: int = 0

    def __post_init__(self) -> None:
        super().__init__(Chance("nothing is left to it"), self.call_later)

    def insert(self, batch: Sequence[Row]) -> None:
        self.inserts += 1
        parts, fate = parts_of(batch), self.troubles.get(self.inserts - 1)
        if fate is None:
            return self._keep(parts)
        if fate.after_s:
            self.call_later(fate.after_s, self._keep, parts[fate.parts])
        else:
            self._keep(parts[fate.parts])
        raise AuditUnreachable("no answer came")

    def _may_be_away(self) -> None:
        self.calls += 1
        if self.calls - 1 in self.away:
            raise AuditUnreachable("nobody answers")


@dataclass
class Life:
    """The steps of one sink, up to its death."""

    death: Death | None
    steps: list[str] = field(default_factory=list)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self, name: str) -> None:
        self.steps.append(name)
        if self.dies_here():
            await self.dies()

    def dies_here(self) -> bool:
        death = self.death
        return death is not None and self.steps[-1] == death.step and self.steps.count(death.step) == death.nth + 1

    async def dies(self) -> None:
        """Its process does nothing any more, and then is gone."""
        self.is_over.set()
        await asyncio.Event().wait()


class SteppedTopics(ModelTopics):
    def __init__(self, brokers: Brokers, life: Life) -> None:
        super().__init__(brokers, brokers.cluster.link())
        self._life = life

    async def seek(self, positions: Positions) -> None:
        await self._life.step("before seek")
        self._reader.assign({place: positions.get(place, 0) for place in PLACES})
        await self._life.step("after seek")

    async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        await self._life.step("before poll")
        found = await super().poll(max_records, 4 * timeout_s)
        await self._life.step("after poll, of some" if found else "after poll, of nothing")
        return found

    async def lag(self) -> Mapping[str, int]:
        await self._life.step("lag")
        return await super().lag()


class SteppedSink(Sink):
    def __init__(self, table: ToldTable, life: Life, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self._table, self._life = table, life
        super().__init__(table, now_s=loop.time, elapsed_s=loop.time, on_thread=self._stepped, **settings)

    async def _pause(self, seconds: float) -> None:
        await self._life.step("pause")
        await super()._pause(seconds)

    async def _stepped(self, call: Callable[..., Any], *given: Any) -> Any:
        name = {"_rows": "rows", "<lambda>": "insert"}.get(call.__name__, call.__name__)
        await self._life.step(f"before {name}")
        if name == "insert":
            self._life.steps.append(IN_FLIGHT)
            if self._life.dies_here():
                assert self._life.death is not None
                self._table.troubles = {**self._table.troubles, self._table.inserts: self._life.death.fate}
                with contextlib.suppress(AuditUnreachable):
                    call()
                await self._life.dies()
        done = call(*given)
        await asyncio.sleep(0.05)
        await self._life.step(f"after {name}")
        return done


@dataclass(frozen=True)
class Lived:
    lives: tuple[tuple[str, ...], ...]  # the steps of each sink
    killed: int  # that were where they were to be killed
    months: int  # in which there was something to append
    differences: tuple[str, ...]  # of the table from the log


@dataclass(frozen=True)
class Weather:
    """How the table answers, over all lives together."""

    inserts: Mapping[int, Fate] = field(
        default_factory=dict
    )  # by their number: no answer comes, and this becomes of it
    away: frozenset[int] = frozenset()  # of the other calls: nobody answers


def live(deaths: Sequence[Death], weather: Weather) -> Lived:
    """As many sinks as deaths, one after the other, and one that nobody kills, until it has all that was written."""
    loop = JumpingLoop(BEGINS_S)
    try:
        return loop.run_until_complete(_lived(loop, deaths, weather))
    finally:
        loop.close()


async def _lived(loop: JumpingLoop, deaths: Sequence[Death], weather: Weather) -> Lived:
    brokers = Brokers(1, lambda: int(loop.time() * 1000))
    table = ToldTable(loop.call_later, weather.inserts, weather.away)
    writing = asyncio.ensure_future(_write(brokers))
    lives = []
    for death in (*deaths, None):
        life = Life(death)
        lives.append(life)
        sink = SteppedSink(table, life, rows_max=4, backoff_s=(0.5, 2.0))
        running = asyncio.ensure_future(sink.keep_at_it(SteppedTopics(brokers, life), _prepare))
        if death is None:
            await _has_it_all(brokers, table, writing)
            sink.stop()
            await asyncio.gather(running)
        else:
            over = asyncio.ensure_future(life.is_over.wait())
            await asyncio.wait([over, running], timeout=ENDS_S, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.sleep(AGAIN_S)
    await asyncio.sleep(AWAY_S)  # and what had been under way has ended
    months = {month_of(record.at_ms) for record in brokers.cluster.records()}
    return Lived(
        tuple(tuple(life.steps) for life in lives),
        sum(life.is_over.is_set() for life in lives),
        len(months),
        tuple(_differences(brokers, table)),
    )


def _prepare() -> None:
    """There is nothing to open."""


async def _write(brokers: Brokers) -> None:
    """A transaction every two seconds, each third of them aborted."""
    producer = brokers.cluster.producer(brokers.cluster.link(), "somebody")
    producer.init_transactions(brokers.now_ms())
    for number in range(WRITES_S // 2):
        producer.begin_transaction()
        for place in PLACES[: 1 + number % len(PLACES)]:
            producer.produce(place, b"c", f"{number} {place}".encode())
        producer.flush(brokers.now_ms())
        (producer.abort_transaction if number % 3 == 1 else producer.commit_transaction)(brokers.now_ms())
        brokers.advance()
        await asyncio.sleep(2)


async def _has_it_all(brokers: Brokers, table: ToldTable, writing: asyncio.Future[None]) -> None:
    """Or it has had time enough."""
    await writing
    for _ in range(int(ENDS_S / 5)):
        if len({*table.rows}) >= len(brokers.cluster.records()):
            return
        await asyncio.sleep(5)


def _differences(brokers: Brokers, table: ToldTable) -> list[str]:
    """Rows, distinct places and what stands on the topics agree, byte for byte."""
    stands: dict[Where, bytes] = {(r.topic, r.partition, r.offset): r.value or b"" for r in brokers.cluster.records()}
    keeps = dict(zip(table.rows, table.raws, strict=True))
    wrong = [f"{len(table.rows)} rows for {len(keeps)} places"] if len(table.rows) != len(keeps) else []
    wrong += [f"{place} is not in the table" for place in sorted({*stands} - {*keeps})]
    wrong += [f"{place} is not on the log" for place in sorted({*keeps} - {*stands})]
    return wrong + [f"{place} says something else" for place in sorted(keeps) if stands.get(place) != keeps[place]]
