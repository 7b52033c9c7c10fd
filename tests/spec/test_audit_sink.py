"""The sink: nothing is lost and nothing is written out of order, whatever the table does."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from infra.clickhouse.rows import AT, Row
from infra.clickhouse.sink import RecordsLost, Sink
from infra.clickhouse.store import AuditRefused, AuditUnreachable
from infra.runners.books import Raw
from tests.integration.audit_fixtures import FEBRUARY_MS, StoryReader, long_story, sink_all, the_main_story


@dataclass
class FlakyTable:
    """A table in memory. `trouble` is asked before each insert: raises, or True: the rows are kept, and it fails."""

    trouble: Callable[[int], bool] = lambda n: False
    blocks: list[list[Row]] = field(default_factory=list)
    tried: list[tuple[Row, ...]] = field(default_factory=list)
    insert_ends_within_s: float = 0.0
    refused: str = ""

    def check_settings(self) -> None:
        if self.refused:
            raise AuditRefused(self.refused)

    def positions(self) -> dict[tuple[str, int], int]:
        found: dict[tuple[str, int], int] = {}
        for row in (r for b in self.blocks for r in b):
            place = (row[AT["topic"]], row[AT["partition"]])
            found[place] = max(found.get(place, 0), row[AT["offset"]] + 1)
        return found

    def insert(self, batch: Sequence[Row]) -> None:
        self.tried.append(tuple(batch))
        fate_unknown = self.trouble(len(self.tried))
        self.blocks.append(list(batch))
        if fate_unknown:
            raise AuditUnreachable("the connection was lost after it was sent")

    def offsets(self) -> list[tuple[str, int, int]]:
        return [(r[AT["topic"]], r[AT["partition"]], r[AT["offset"]]) for b in self.blocks for r in b]


def all_of(story_raws: Sequence[object]) -> list[tuple[str, int, int]]:
    return sorted((r.topic, r.partition, r.offset) for r in story_raws)  # type: ignore[attr-defined]


async def test_every_record_is_written_once() -> None:
    table, raws = FlakyTable(), long_story(300).all()
    sink = await sink_all(table, raws, rows_max=17)
    assert sorted(table.offsets()) == all_of(raws)
    assert sink.rows == len(raws)
    assert set(sink.lag.values()) == {0}


async def test_no_block_spans_two_append_months() -> None:
    table = FlakyTable()
    await sink_all(table, long_story(300).all())
    sides = [{r[AT["appended_at"]] < FEBRUARY_MS for r in block} for block in table.blocks]
    assert all(len(side) == 1 for side in sides)
    assert len(sides) > 1


async def test_a_sink_that_starts_anew_goes_on_where_the_table_ends() -> None:
    table, raws = FlakyTable(), long_story(300).all()
    await sink_all(table, raws[:100], rows_max=9)
    await sink_all(table, raws, rows_max=23)
    assert sorted(table.offsets()) == all_of(raws)


async def test_an_insert_of_unknown_fate_is_repeated_with_the_identical_block() -> None:
    table, raws = FlakyTable(lambda n: n in (2, 3)), the_main_story().all()
    await sink_all(table, raws, rows_max=5, backoff_s=(0.001, 0.002))
    assert table.tried[1] == table.tried[2] == table.tried[3]
    assert sorted(set(table.offsets())) == all_of(raws)


async def test_while_clickhouse_is_away_the_lag_grows_and_nothing_is_lost() -> None:
    away, tried_often, loop = True, asyncio.Event(), asyncio.get_running_loop()

    def trouble(n: int) -> bool:
        if n >= 5:
            loop.call_soon_threadsafe(tried_often.set)
        if away:
            raise AuditUnreachable("nobody answers")
        return False

    table, raws = FlakyTable(trouble), the_main_story().all()
    sink = Sink(table, linger_s=0.0, rows_max=5, backoff_s=(0.001, 0.002))
    running = asyncio.ensure_future(sink.run(StoryReader(raws, sink.stop)))
    async with asyncio.timeout(5):
        await tried_often.wait()
    assert sink.trouble == "nobody answers"
    assert sum(sink.lag.values()) == len(raws)
    assert table.blocks == []
    away = False
    await running
    assert sorted(table.offsets()) == all_of(raws)
    assert sink.trouble == ""


async def test_it_starts_while_clickhouse_is_away() -> None:
    table, raws = FlakyTable(), the_main_story().all()
    answers = iter([AuditUnreachable("away"), AuditUnreachable("still"), None])

    def check() -> None:
        if error := next(answers):
            raise error

    table.check_settings = check  # type: ignore[method-assign]
    await sink_all(table, raws, backoff_s=(0.001, 0.001))
    assert len(table.offsets()) == len(raws)


class LosingReader(StoryReader):
    """Says once, after the first records, that a partition is not what it was."""

    polls = 0

    async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        self.polls += 1
        if self.polls == 2:
            raise RecordsLost("alerts/0 ends at 0, and the audit holds up to 3: records were lost")
        return await super().poll(max_records, timeout_s)


async def test_records_that_are_lost_are_said_and_all_else_is_still_recorded() -> None:
    table, raws, said = FlakyTable(), the_main_story().all(), list[str]()
    sink = Sink(table, linger_s=0.0, rows_max=3, on_trouble=said.append)
    await sink.keep_at_it(LosingReader(raws, sink.stop))
    assert sorted(table.offsets()) == all_of(raws)
    assert said == ["alerts/0 ends at 0, and the audit holds up to 3: records were lost"]
    assert sink.lost == said


async def test_nothing_that_goes_wrong_ends_the_role_and_what_it_was_is_said() -> None:
    """Whatever fails, the process that it shares with the gateway and the console goes on."""
    troubles: list[Exception | None] = [
        AuditRefused("no migration has been applied"),
        KeyError("a bug"),
        AuditUnreachable("away"),
        None,
    ]
    table, raws, said = FlakyTable(), the_main_story().all(), list[str]()

    def prepare() -> None:
        if error := troubles.pop(0):
            raise error

    sink = Sink(table, linger_s=0.0, backoff_s=(0.001, 0.002), on_trouble=said.append)
    await sink.keep_at_it(StoryReader(raws, sink.stop), prepare)
    assert said == ["no migration has been applied", "KeyError: 'a bug'", "away", ""]
    assert sorted(table.offsets()) == all_of(raws)


async def test_a_run_that_failed_halfway_is_begun_again_from_the_table() -> None:
    table, raws = FlakyTable(), the_main_story().all()

    class FailingReader(StoryReader):
        polls = 0

        async def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
            self.polls += 1
            if self.polls in (2, 4):
                raise RuntimeError("of the client")
            return await super().poll(max_records, timeout_s)

    sink = Sink(table, linger_s=0.0, rows_max=4, backoff_s=(0.001, 0.002))
    await sink.keep_at_it(FailingReader(raws, sink.stop))
    assert sorted(table.offsets()) == all_of(raws)
    assert set(sink.lag.values()) == {0}


async def test_told_to_stop_while_nothing_works_it_ends() -> None:
    sink = Sink(FlakyTable(refused="no"), backoff_s=(5.0, 5.0))
    running = asyncio.ensure_future(sink.keep_at_it(StoryReader([])))
    await asyncio.sleep(0.05)
    sink.stop()
    async with asyncio.timeout(2):
        await running


async def test_a_store_that_cannot_keep_the_guarantees_is_refused() -> None:
    with pytest.raises(AuditRefused, match="partitioned by nothing"):
        await sink_all(FlakyTable(refused="events is partitioned by nothing"), [])


async def test_a_new_owner_waits_until_its_predecessors_insert_has_ended() -> None:
    table = FlakyTable(insert_ends_within_s=0.15)
    sink = Sink(table, linger_s=0.0)
    running = asyncio.ensure_future(sink.run(StoryReader(the_main_story().all(), sink.stop)))
    await asyncio.sleep(0.05)
    assert not sink.ready.is_set()
    await running
    assert sink.ready.is_set()


async def test_told_to_stop_while_clickhouse_is_away_it_ends() -> None:
    def trouble(n: int) -> bool:
        raise AuditUnreachable("nobody answers")

    sink = Sink(FlakyTable(trouble), linger_s=0.0, backoff_s=(0.01, 5.0))
    running = asyncio.ensure_future(sink.run(StoryReader(the_main_story().all())))
    await asyncio.sleep(0.1)
    sink.stop()
    async with asyncio.timeout(2):
        await running
