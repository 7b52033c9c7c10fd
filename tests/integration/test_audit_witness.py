"""The audit asked by who acts, on the real engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import row_of
from infra.clickhouse.store import AuditUnreachable, Store, open_store
from infra.clickhouse.witness import AuditWitness
from infra.runners.books import Witnessed
from schemas.values import sha256
from schemas.wire import decode
from tests.integration.audit_fixtures import CLUSTER, Story, the_main_story
from tests.servers import ClickhouseDatabase


@pytest.fixture
def store(clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    yield made
    made.close()


def now_ms() -> int:
    return int(time.time() * 1000)


async def test_it_knows_how_each_chain_ends(store: Store) -> None:
    story = the_main_story()
    rows = [row_of(raw, story.now_ms) for raw in story.all()]
    months = {row[3] // (31 * 86_400_000) for row in rows}
    assert len(months) == 1
    store.insert(rows)
    witness = AuditWitness(store)
    for (topic, partition), held in story.records.items():
        if topic not in ("outcomes", "remediations"):
            continue
        found = await witness.tails(topic, partition, 0)
        ends = {}
        for raw in held:
            decoded = decode(raw.value)
            ends[decoded.event.cluster_id] = Witnessed(
                decoded.head.seq, sha256(decoded.body), raw.offset, sha256(raw.value or b"")
            )
        assert found == ends
        assert await witness.tails(topic, partition, held[-1].offset + 1) == {}
    assert await witness.tails("outcomes", 99, 0) == {}


async def test_it_knows_how_far_a_claim_of_today_is_on_record(store: Store) -> None:
    story = the_main_story(Story(now_ms=now_ms() - 3_600_000))
    outcomes = [raw for raw in story.all() if raw.topic == "outcomes"]
    witness = AuditWitness(store)
    assert await witness.audited(CLUSTER) == 0
    for raw in outcomes:
        store.insert([row_of(raw, story.now_ms)])
        decoded = decode(raw.value)
        if decoded.event.cluster_id == CLUSTER:
            assert await witness.audited(CLUSTER) == decoded.head.seq
    assert await witness.audited("prod-us-1") == 0


class Away(Store):
    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s

    def query(self, *asked: object, **named: object) -> object:  # type: ignore[override]
        time.sleep(self.takes_s)
        raise AuditUnreachable("nobody answers")


@pytest.mark.parametrize("takes_s", [0.0, 0.5])
async def test_of_an_audit_that_is_away_or_hangs_nothing_is_known(takes_s: float) -> None:
    witness = AuditWitness(Away(takes_s), within_s=0.1)
    assert await witness.tails("outcomes", 0, 0) is None
    assert await witness.audited(CLUSTER) == 0
    await asyncio.sleep(takes_s)
