"""The audit of one history: production's sink, killed at any moment, over a table that keeps rows as ClickHouse does.

The table's parts are of one append month each. An insert is kept part by part: one whose server dies in its midst
leaves some of them; one that was given up may be kept later; and a part that is there already is not kept again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.clickhouse.rows import AT, Row, month_of
from infra.clickhouse.sink import LINGER_S, Positions, Sink
from infra.clickhouse.store import AuditUnreachable
from infra.runners.books import Raw, Witnessed
from schemas.values import sha256
from tests.simulation.brokers import COMMITTED, Brokers, raw_of
from tests.simulation.chance import Chance
from tests.simulation.clients import End, Link
from tests.simulation.partitions import Place

Where = tuple[str, int, int]  # a record's topic, partition and offset
Part = tuple[Row, ...]
AWAY_S = 20.0  # an insert whose answer doesn't come is given up after so long; by then it is kept or never


class ModelTable:
    """infra.clickhouse.sink.Table. `fails`: the share of calls that do not end well."""

    def __init__(self, chance: Chance, call_later: Callable[..., Any]) -> None:
        self._chance, self._call_later = chance, call_later
        self.fails = 0.0
        self.rows: list[Where] = []
        self.ends: dict[Place, dict[str, Row]] = {}  # by cluster: the last row of its chain
        self.raws: list[bytes] = []  # of each row: the bytes that it says stand there
        self._parts: set[str] = set()

    @property
    def insert_ends_within_s(self) -> float:
        return AWAY_S

    def check_settings(self) -> None:
        self._may_be_away()

    def positions(self) -> dict[Place, int]:
        self._may_be_away()
        return self.held()

    def held(self) -> dict[Place, int]:
        """Behind the last row of each partition."""
        found: dict[Place, int] = {}
        for topic, partition, offset in self.rows:
            found[topic, partition] = max(found.get((topic, partition), 0), offset + 1)
        return found

    def insert(self, batch: Sequence[Row]) -> None:
        self._may_be_away()
        parts = parts_of(batch)
        if not self._chance.happens(self.fails):
            return self._keep(parts)
        kept = self._chance.some_of(parts)
        self._call_later(self._chance.between(0, AWAY_S - 1), self._keep, kept)
        raise AuditUnreachable("no answer came")

    def _keep(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if (block := repr(part)) not in self._parts:
                self._parts.add(block)
                self.rows += [(row[AT["topic"]], row[AT["partition"]], row[AT["offset"]]) for row in part]
                self.raws += [row[AT["raw"]] for row in part]
                for row in part:
                    self._ends(row)

    def _ends(self, row: Row) -> None:
        ends = self.ends.setdefault((row[AT["topic"]], row[AT["partition"]]), {})
        last = ends.get(row[AT["cluster_id"]])
        if row[AT["seq"]] and (last is None or last[AT["offset"]] <= row[AT["offset"]]):
            ends[row[AT["cluster_id"]]] = row

    def _may_be_away(self) -> None:
        if self._chance.happens(self.fails):
            raise AuditUnreachable("nobody answers")


class ModelWitness:
    """As infra.clickhouse.witness.AuditWitness. It is away as often as the table."""

    def __init__(self, table: ModelTable, chance: Chance) -> None:
        self._table, self._chance = table, chance

    async def tails(self, topic: str, partition: int, since: int) -> Mapping[str, Witnessed] | None:
        if await self._is_away():
            return None
        ends = self._table.ends.get((topic, partition), {}).items()
        return {cluster: _witnessed(row) for cluster, row in ends if row[AT["offset"]] >= since}

    async def audited(self, cluster_id: str) -> int:
        if await self._is_away():
            return 0
        ends = [ends for (topic, _), ends in self._table.ends.items() if topic == "outcomes"]
        return max((found[cluster_id][AT["seq"]] for found in ends if cluster_id in found), default=0)

    async def _is_away(self) -> bool:
        await asyncio.sleep(self._chance.between(0.001, 2))
        return self._chance.happens(self._table.fails)


def _witnessed(row: Row) -> Witnessed:
    own = bytes.fromhex(row[AT["hash"]])
    return Witnessed(row[AT["seq"]], own, row[AT["offset"]], sha256(row[AT["raw"]]))


def parts_of(batch: Sequence[Row]) -> list[Part]:
    """What the engine makes of one insert: a part a month, each kept whole or not at all."""
    months: dict[int, list[Row]] = {}
    for row in batch:
        months.setdefault(month_of(row[AT["appended_at"]]), []).append(row)
    return [tuple(rows) for _, rows in sorted(months.items())]


class ModelTopics:
    """infra.clickhouse.sink.TopicReader."""

    def __init__(self, brokers: Brokers, link: Link) -> None:
        self._brokers, self._link = brokers, link
        self._reader = brokers.cluster.reader(link)
        self._found_ms = 0

    async def seek(self, positions: Positions) -> None:
        places = [(topic, n) for topic, count in self._brokers.cluster.topics().items() for n in range(count)]
        self._reader.assign({place: positions.get(place, 0) for place in places})

    async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        """Once what was found has been written, a poll that finds nothing would be made again: it may as well wait."""
        found = self._poll()
        if not found:
            quiet = self._brokers.now_ms() - self._found_ms > 2_000 * LINGER_S
            await self._brokers.change([COMMITTED], 60 if quiet else timeout_s)
            found = self._poll()
        if found:
            self._found_ms = self._brokers.now_ms()
        return found

    def _poll(self) -> list[Raw]:
        found = self._reader.poll(10_000, self._brokers.now_ms())
        return [raw_of(one) for one in found if not isinstance(one, End)]

    async def lag(self) -> Mapping[str, int]:
        return {}

    trouble = ""


class Auditor:
    """The sink's process. Lives from its making until `die`, or until it falls with the table: then `ended` is told."""

    def __init__(self, brokers: Brokers, table: ModelTable, chance: Chance, ended: Callable[[], None]) -> None:
        self._brokers, self._chance, self._ended = brokers, chance, ended
        self._link = brokers.cluster.link()
        loop = asyncio.get_running_loop()
        sink = Sink(table, now_s=loop.time, elapsed_s=loop.time, on_thread=self._on_thread)
        self._task = asyncio.ensure_future(sink.keep_at_it(ModelTopics(brokers, self._link)))

    async def _on_thread(self, call: Callable[..., Any], *given: Any) -> Any:
        await asyncio.sleep(self._chance.between(0.001, 0.1))
        try:
            done = call(*given)
        except AuditUnreachable:
            if self._chance.happens(0.5):
                self._ended()
                await asyncio.Event().wait()
            raise
        await asyncio.sleep(self._chance.between(0.001, 0.1))
        return done

    async def die(self) -> None:
        """As kill -9: also between an insert and its being known."""
        self._link.cut(self._brokers.now_ms())
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
