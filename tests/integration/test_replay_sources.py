"""A replay from what the audit holds, on the real engine, and from the log: the same decisions, and no more is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from bootstrap.replay import rules_of
from console.desk import Refusal
from console.replay import Replays
from infra.clickhouse.kafka_reader import WholeTopics
from infra.clickhouse.migrate import migrate
from infra.clickhouse.past import past_in, past_on
from infra.clickhouse.store import AuditUnreachable, Store, open_store
from infra.publisher import Unreachable
from infra.replay.again import begins_of
from infra.runners.books import Raw
from infra.runners.kafka import KafkaSettings
from schemas import events as e
from schemas.signing import kid_of, public_of
from tests.integration.audit_fixtures import PARTITIONS, StoryReader, sink_all
from tests.integration.test_audit_kafka import make
from tests.servers import ClickhouseDatabase
from tests.spec.test_replay import forged, repaired, where
from tests.spec.world import SMALL, World, live


async def two_incidents(world: World) -> None:
    await repaired(world)
    world.alert("TiKV_node_restart", instance="10.0.4.1:20180")
    await world.until(lambda: len(world.found(e.IncidentOpened)) == 2, 60)
    await world.passes(90)


@pytest.fixture(scope="module")
def world() -> World:
    """The books are closed every five minutes: before the second incident they have been."""
    return live(two_incidents, **SMALL, close_books_every_s=300)


@pytest.fixture
def store(clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    yield made
    made.close()


def all_of(world: World) -> list[Raw]:
    return [raw for held in world.log.records.values() for raw in held]


def replays(world: World, store: Store | None, raws: Sequence[Raw]) -> Replays:
    keys = {kid_of(world.key): public_of(world.key)}
    return Replays(rules_of(world.settings, keys), world.log.partitions, "", store, lambda: StoryReader(raws))


def incidents(world: World) -> list[str]:
    return [i.incident_id for i in world.found(e.IncidentOpened)]


def test_from_the_table_and_from_the_log_it_is_the_same(world: World, store: Store) -> None:
    raws = all_of(world)
    asyncio.run(sink_all(store, raws))
    asked = replays(world, store, raws)
    for incident in incidents(world):
        held = asyncio.run(asked.replay(incident, ""))
        read = asyncio.run(asked.replay(incident, "kafka"))
        assert held["ok"], held["text"]
        assert (held["same"], held["outside"]) == (read["same"], read["outside"])
        assert (held["source"], read["source"]) == ("clickhouse", "kafka")
        assert held["same"] == dict(world.replayed(incident).same)


def test_of_what_stands_before_the_latest_closing_nothing_is_read(world: World, store: Store) -> None:
    raws = all_of(world)
    asyncio.run(sink_all(store, raws))
    rules = rules_of(world.settings, {})
    first, second = (past_in(store, i, 1, begins_of(rules, 1)) for i in incidents(world))
    assert first
    assert second
    closed = max(r.offset for r in world.log.all() if r.topic == "outcomes" and isinstance(r.event, e.Concluded))
    assert min(r.offset for r in first.raws if r.topic == "outcomes") == 0
    assert min(r.offset for r in second.raws if r.topic == "outcomes") > closed
    assert len({(r.topic, r.partition, r.offset) for r in second.raws}) < len(raws) / 2


def test_what_was_tampered_with_is_named_from_either_source(world: World, store: Store) -> None:
    raws = forged(world, where(e.Concluded, outcome="worse"))
    asyncio.run(sink_all(store, raws))
    first, second = incidents(world)
    for source in ("clickhouse", "kafka"):
        said = asyncio.run(replays(world, store, raws).replay(first, source))
        assert not said["ok"]
        assert "  outcome: worse -> succeeded" in said["text"]
        assert asyncio.run(replays(world, store, raws).replay(second, source))["ok"]


def test_rows_that_are_there_twice_are_decided_once(world: World, store: Store) -> None:
    raws = all_of(world)
    asyncio.run(sink_all(store, raws))
    again = replays(world, store, raws)
    once = asyncio.run(again.replay(incidents(world)[0], "clickhouse"))
    store.query("INSERT INTO events SELECT * FROM events", readonly=False)
    assert asyncio.run(again.replay(incidents(world)[0], "clickhouse")) == once


async def test_from_a_real_kafka_it_is_the_same(kafka: str, topic_prefix: str) -> None:
    """With the times of appending that the record has: decisions go by them."""
    world = await asyncio.to_thread(live, repaired, **{**SMALL, "partitions": PARTITIONS})
    settings = KafkaSettings({"bootstrap.servers": kafka}, prefix=topic_prefix, partitions=PARTITIONS)
    make(settings, **{"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(10**15)})
    producer = Producer(dict(settings.client))
    for raw in world.raws():
        producer.produce(settings.topic(raw.topic), raw.value, raw.key, raw.partition, timestamp=raw.at_ms)
    assert producer.flush(30) == 0
    asked = replace(replays(world, None, []), topics=lambda: WholeTopics(settings))
    (incident,) = incidents(world)
    said = await asked.replay(incident, "")
    assert said["ok"], said["text"]
    assert (said["source"], said["same"]) == ("kafka", dict(world.replayed(incident).same))


def refused(asked: Replays, incident: str, source: str) -> Refusal:
    with pytest.raises(Refusal) as found:
        asyncio.run(asked.replay(incident, source))
    return found.value


def test_an_incident_that_nobody_knows_is_said_to_be_unknown(world: World, store: Store) -> None:
    asyncio.run(sink_all(store, all_of(world)))
    asked = replays(world, store, all_of(world))
    for source in ("clickhouse", "kafka"):
        error = refused(asked, "INC-nobody", source)
        assert (error.kind, error.code, error.field) == ("not_found", "unknown_incident", "incident")
    assert asyncio.run(past_on(StoryReader(all_of(world)), "INC-", 1)) is None


class Silent(StoryReader):
    """A broker that does not answer."""

    async def ends(self) -> Any:
        raise Unreachable("kafka:9092: no answer")


class Away:
    """A store that can't be reached."""

    def query(self, sql: str, params: Any = None) -> Any:
        raise AuditUnreachable("clickhouse:8123: refused")


def test_a_source_that_cant_be_reached_is_named(world: World) -> None:
    first = incidents(world)[0]
    away: Any = Away()
    cases = [
        (replays(world, away, []), "", "audit_unreachable"),
        (replays(world, None, []), "clickhouse", "no_audit"),
        (replace(replays(world, None, []), topics=lambda: Silent([])), "", "kafka_unreachable"),
    ]
    for asked, source, code in cases:
        error = refused(asked, first, source)
        assert (error.kind, error.code) == ("unavailable", code)
    error = refused(replays(world, None, []), first, "tape")
    assert (error.kind, error.code, error.field) == ("wrong_use", "unknown_source", "source")
