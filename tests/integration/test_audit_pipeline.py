"""What the production pipeline writes, in the audit: whole, approved, one claim at a time, and nothing owed."""

import asyncio

import pytest

from infra.clickhouse.migrate import migrate
from infra.clickhouse.questions import ask, questions
from infra.clickhouse.store import open_store
from infra.clickhouse.verify import compare, verify_store, verify_topics
from schemas import events as e
from tests.integration.audit_fixtures import StoryReader, sink_all
from tests.servers import ClickhouseDatabase
from tests.spec.world import CLUSTER, World, live


def test_the_main_job_leaves_a_record_that_proves_itself(clickhouse: ClickhouseDatabase) -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        world.pd.set_slow(4, 90)
        await world.passes(15)
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
        ask_ = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        world.approve(ask_)
        await world.until(lambda: world.one(e.RemediationClosed), 3600)
        await world.passes(30)

    world = live(spec)
    raws = [raw for held in world.log.records.values() for raw in held]
    migrate(clickhouse.url, database=clickhouse.name)
    store = open_store(clickhouse.url, database=clickhouse.name)
    asyncio.run(sink_all(store, raws))

    verdict = verify_store(store)
    assert verdict.breaks == ()
    assert verdict.counts["records"] == len(raws)
    assert verdict.counts["inputs_ahead"] == 0
    assert compare(verdict, asyncio.run(verify_topics(StoryReader(raws)))).ok
    assert verify_store(store, cluster=CLUSTER).ok

    for name, found in questions().items():
        if found.must_be_empty:
            assert ask(store, name).result.rows == [], name
    assert ask(store, "owed-undos").result.rows == []
    assert len(ask(store, "what-touched-store", {"cluster": CLUSTER, "store": "4"}).result.rows) == 2
    assert {row[0] for row in ask(store, "lead-times").result.rows} >= {"alert -> verified", "claim -> effect"}
    completeness = ask(store, "completeness").result
    assert {row[completeness.columns.index("missing_seqs")] for row in completeness.rows} == {0}
    store.close()


@pytest.mark.parametrize("name", sorted(questions()))
def test_every_question_can_be_asked_of_an_empty_audit(clickhouse: ClickhouseDatabase, name: str) -> None:
    migrate(clickhouse.url, database=clickhouse.name)
    store = open_store(clickhouse.url, database=clickhouse.name)
    needed = {p.name: "1" for p in questions()[name].params if p.default is None}
    assert ask(store, name, needed).result.rows == []
    store.close()
