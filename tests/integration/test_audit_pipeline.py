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

NOTHING = {
    *(name for name, found in questions().items() if found.must_be_empty),
    *("owed-undos", "late-undos", "why-nothing", "freezes", "unused-grants", "what-the-model-said"),
}


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

    closed = world.one(e.RemediationClosed)
    assert closed
    ids = {"incident": closed.incident_id, "remediation": closed.remediation_id, "cluster": CLUSTER, "store": "4"}
    answers = {}
    for name, found in questions().items():
        answers[name] = ask(store, name, {p.name: ids[p.name] for p in found.params if p.default is None})
        assert bool(answers[name].result.rows) == (name not in NOTHING), name
        assert answers[name].ok

    def only(name: str) -> dict[str, object]:
        (row,) = answers[name].result.rows
        return dict(zip(answers[name].result.columns, row, strict=True))

    card, order = only("who-approved"), only("which-policy")
    assert (card["person"], card["counted"], card["tier"]) == ("anna", "counted", "MEDIUM")
    assert '"add_evict_leader"' in str(card["changes"])
    assert '"leaders_max"' in str(card["bounds"])
    assert 0 < card["facts_age_s"] < 60  # type: ignore[operator]
    assert (order["policy_version"], order["in_force"], order["mode"]) == (1, 1, "on")
    assert '"mode":"on"' in str(order["action_rule"])
    assert "approval.medium=one" in order["rules"]  # type: ignore[operator]
    assert len(answers["what-touched-store"].result.rows) == 2
    assert {row[0] for row in answers["lead-times"].result.rows} >= {"alert -> verified", "claim -> effect"}
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
