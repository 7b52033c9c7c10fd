"""The audit's reader on librdkafka's broker and on a real Kafka: everything that is committed, once, in order."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bootstrap.edges import Edges
from infra.clickhouse.kafka_reader import KafkaReader, WholeTopics, is_ours
from infra.clickhouse.migrate import migrate
from infra.clickhouse.sink import RecordsLost, Sink
from infra.clickhouse.store import open_store
from infra.clickhouse.verify import Verdict, compare, verify_store, verify_topics
from infra.embedded import EmbeddedBroker
from infra.runners.books import Raw
from infra.runners.kafka import KafkaSettings
from infra.settings import parse
from infra.topics import wanted
from tests.integration.audit_fixtures import PARTITIONS, Story, contents, the_main_story
from tests.servers import ClickhouseDatabase


def make(settings: KafkaSettings, *names: str, **config: str) -> None:
    """Topics of ours, or only these."""
    admin = AdminClient(dict(settings.client))
    topics = [t for t in wanted(settings.prefix, PARTITIONS) if not names or settings.name_of(t.name) in names]
    made = [NewTopic(t.name, num_partitions=t.partitions, config={**t.config, **config}) for t in topics]
    for future in admin.create_topics(made).values():
        future.result(30)


def write(settings: KafkaSettings, story: Story, **config: object) -> Producer:
    producer = Producer({**settings.client, **config})
    for raw in story.all():
        producer.produce(settings.topic(raw.topic), raw.value, raw.key, raw.partition)
    producer.flush(30)
    return producer


async def until(found: Callable[[], bool], step: Callable[[], Awaitable[None]], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not found():
            await step()


async def read(reader: KafkaReader, count: int) -> list[Raw]:
    found: list[Raw] = []

    async def step() -> None:
        found.extend(await reader.poll(100, 0.2))

    await until(lambda: len(found) >= count, step)
    await step()
    return found


async def whole(settings: KafkaSettings) -> Verdict:
    reader = WholeTopics(settings)
    try:
        return await verify_topics(reader)
    finally:
        await reader.close()


def values(raws: list[Raw]) -> list[tuple[str, int, bytes | None]]:
    return sorted((r.topic, r.partition, r.value) for r in raws)


@pytest.fixture
def embedded() -> Iterator[KafkaSettings]:
    with EmbeddedBroker(prefix="audit.", partitions=PARTITIONS) as broker:
        yield broker.settings


@pytest.fixture
def real(kafka: str, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings({"bootstrap.servers": kafka}, prefix=topic_prefix, partitions=PARTITIONS)


def test_only_topics_of_ours_are_read() -> None:
    assert [is_ours(t) for t in ("outcomes", "dead-letters.intake", "other", "my-alerts")] == [True, True, False, False]


@pytest.mark.local
async def test_everything_on_the_embedded_broker_is_read_and_lag_ends_at_zero(embedded: KafkaSettings) -> None:
    story = the_main_story()
    write(embedded, story)
    reader = KafkaReader(embedded)
    await reader.seek({})
    assert values(await read(reader, len(story.all()))) == values(story.all())
    assert set((await reader.lag()).values()) == {0}
    await reader.close()


@pytest.mark.local
async def test_it_goes_on_where_it_is_told_to(embedded: KafkaSettings) -> None:
    story = the_main_story()
    write(embedded, story)
    reader = KafkaReader(embedded)
    places = {place: len(held) for place, held in story.records.items()}
    outcomes = next(place for place in places if place[0] == "outcomes")
    places[outcomes] -= 2
    await reader.seek(places)
    found = await read(reader, 2)
    assert [r.value for r in found] == [r.value for r in story.records[outcomes][-2:]]
    await reader.close()


@pytest.mark.local
async def test_a_partition_that_has_lost_records_is_set_aside_once_and_the_others_are_read(
    embedded: KafkaSettings,
) -> None:
    story = the_main_story()
    write(embedded, story)
    reader = KafkaReader(embedded)
    await reader.seek({("alerts", 1): 3})
    found, lost = list[Raw](), list[str]()
    others = [r for r in story.all() if (r.topic, r.partition) != ("alerts", 1)]

    async def step() -> None:
        try:
            found.extend(await reader.poll(100, 0.2))
        except RecordsLost as error:
            lost.append(str(error))

    await until(lambda: len(found) >= len(others) and bool(lost), step)
    for _ in range(3):
        await step()
    assert values(found) == values(others)
    assert len(lost) == 1
    assert "and the audit holds up to 3: records were lost" in lost[0]
    await reader.close()


async def test_from_kafka_through_the_sink_into_the_table_and_both_compared(
    embedded: KafkaSettings, clickhouse: ClickhouseDatabase
) -> None:
    story = the_main_story()
    write(embedded, story)
    migrate(clickhouse.url, database=clickhouse.name)
    store = open_store(clickhouse.url, database=clickhouse.name)
    reader = KafkaReader(embedded)
    sink = Sink(store, linger_s=0.05)
    running = asyncio.ensure_future(sink.run(reader))
    await until(lambda: sink.rows == len(story.all()) and not any(sink.lag.values()), lambda: asyncio.sleep(0.05))
    sink.stop()
    await running
    await reader.close()
    topics = await whole(embedded)
    assert topics.counts["records"] == len(contents(store)) == len(story.all())
    # The story's causes cite its own offsets, with gaps, and this broker has given others: only differences count here.
    assert [b for b in compare(verify_store(store), topics).breaks if not b.cluster_id] == []
    store.close()


async def test_on_real_kafka_only_what_was_committed_is_read(real: KafkaSettings) -> None:
    make(real)
    producer = Producer({**real.client, "transactional.id": f"{real.prefix}t", "linger.ms": 0})
    producer.init_transactions(30)
    topic = real.topic("outcomes")
    for value, commit in ((b"one", True), (b"aborted", False), (b"two", True)):
        producer.begin_transaction()
        producer.produce(topic, value, b"c", 1)
        producer.flush(10)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    reader = KafkaReader(real)
    await reader.seek({})
    assert [(r.offset, r.value) for r in await read(reader, 2)] == [(0, b"one"), (4, b"two")]

    async def step() -> None:
        assert await reader.poll(10, 0.2) == []

    lag: dict[str, int] = {"outcomes": 1}

    async def measured() -> None:
        await step()
        lag.update(await reader.lag())

    await until(lambda: lag["outcomes"] == 0, measured)  # the markers behind the last record are no lag
    await reader.close()


async def test_a_topic_that_appears_later_is_taken_up_from_its_start(real: KafkaSettings) -> None:
    make(real, "signals", "controls")
    story = the_main_story()
    reader = KafkaReader(real, refresh_s=0.2)
    await reader.seek({})
    assert await reader.poll(10, 0.2) == []
    make(
        real,
        *(
            t.removeprefix(real.prefix)
            for t in (w.name for w in wanted(real.prefix, 1))
            if not t.endswith(("signals", "controls"))
        ),
    )
    write(real, story)
    assert values(await read(reader, len(story.all()))) == values(story.all())
    await reader.close()


async def test_a_ledger_whose_head_is_gone_stops_the_audit_but_old_alerts_may_go(real: KafkaSettings) -> None:
    make(real)
    producer = Producer(dict(real.client))
    for topic in ("alerts", "outcomes"):
        for n in range(3):
            producer.produce(real.topic(topic), str(n).encode(), b"c", 0)
    producer.flush(30)
    admin = AdminClient(dict(real.client))

    def forget(topic: str) -> None:
        for future in admin.delete_records([TopicPartition(real.topic(topic), 0, 2)]).values():
            future.result(30)

    forget("alerts")
    reader = KafkaReader(real)
    await reader.seek({("outcomes", 0): 3})
    assert [(r.topic, r.offset) for r in await read(reader, 1)] == [("alerts", 2)]
    forget("outcomes")
    await reader.seek({("outcomes", 0): 1})
    with pytest.raises(RecordsLost, match="outcomes/0 begins at 2"):
        await read(reader, 5)
    await reader.seek({("outcomes", 0): 9})
    with pytest.raises(RecordsLost, match="outcomes/0 ends at 3, and the audit holds up to 9"):
        await read(reader, 5)
    await reader.close()


@pytest.mark.local
async def test_a_broker_that_is_away_is_waited_for() -> None:
    reader = KafkaReader(KafkaSettings({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}))
    await reader.seek({})
    asked = asyncio.ensure_future(reader.poll(10, 0.1))
    assert await asyncio.wait_for(asked, 30) == []
    assert await reader.lag() == {}
    assert reader.trouble.startswith("the topics can't be listed: ")
    await reader.close()


class Broker:
    """As a consumer sees one on which some partitions have no leader: `away`. Every other one ends at 500."""

    def __init__(self, *away: tuple[str, int]) -> None:
        self.away, self.assigned, self.asked = set(away), dict[tuple[str, int], int](), 0
        self.low, self.messages, self.topics = 0, list[Any](), ["alerts", "outcomes", "signals"]
        self.error: KafkaError | None = None

    def list_topics(self, timeout: float) -> Any:
        if self.error:
            raise KafkaException(self.error)
        partitions = {0: None, 1: None}
        there = {f"p.{t}": SimpleNamespace(error=None, partitions=partitions) for t in self.topics}
        broken = KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "just made")
        return SimpleNamespace(topics={**there, "p.controls": SimpleNamespace(error=broken, partitions={})})

    def get_watermark_offsets(self, at: TopicPartition, timeout: float, cached: bool = False) -> tuple[int, int]:
        place = (at.topic.removeprefix("p."), at.partition)
        if cached:
            return -1001, -1001
        self.asked += 1
        if place in self.away:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no leader"))
        return self.low, 500

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self.assigned |= {(place.topic.removeprefix("p."), place.partition): place.offset for place in places}

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        for place in places:
            self.assigned.pop((place.topic.removeprefix("p."), place.partition))

    def consume(self, most: int, timeout: float) -> list[Any]:
        found, self.messages = self.messages, []
        return found


def reading(broker: Broker) -> KafkaReader:
    settings: Any = SimpleNamespace(
        consumer=lambda **_: broker, prefix="p.", name_of=lambda t: t.removeprefix("p."), topic=lambda t: f"p.{t}"
    )
    return KafkaReader(settings, refresh_s=3600)


async def test_a_partition_without_a_leader_keeps_no_other_from_being_read_and_is_named() -> None:
    broker = Broker(("alerts", 1), ("outcomes", 0))
    reader = reading(broker)
    assert reader.trouble == "nothing has been read yet"
    await reader.seek({("outcomes", 1): 7})
    assert await reader.poll(100, 0.01) == []
    assert broker.assigned == {
        ("alerts", 0): 0, ("outcomes", 0): 0, ("outcomes", 1): 7, ("signals", 0): 0, ("signals", 1): 0,
    }  # fmt: skip
    lag = await reader.lag()
    assert lag == {"alerts": 500, "outcomes": 493, "signals": 1000}  # as far as it is known
    text = "3 partitions can't be read to their end; alerts/1: no leader"
    assert reader.trouble == text
    asked = broker.asked
    await reader.lag()
    assert broker.asked == asked + 4, "what did not answer is not asked again at once"
    broker.away.clear()
    reader._refreshed_s = reader._refresh_s = 0.0
    await reader.poll(100, 0.01)
    assert await reader.lag() == {"alerts": 1000, "outcomes": 993, "signals": 1000}
    assert reader.trouble == "1 partitions can't be read to their end; controls/-1: just made"


async def test_a_reader_to_whom_no_topic_is_shown_has_not_read_everything() -> None:
    broker = Broker()
    broker.topics = []
    reader = reading(broker)
    broker.list_topics = lambda timeout: SimpleNamespace(topics={})  # type: ignore[method-assign]
    await reader.seek({})
    await reader.poll(100, 0.01)
    assert (await reader.lag(), reader.trouble) == ({}, "no topic of ours is there, or none that may be described")


@pytest.mark.parametrize(
    ("topic", "low", "goes_on"),
    [
        ("alerts", 40, True),
        ("alerts", 0, False),  # it ends before what was read: records were lost
        ("outcomes", 40, False),  # nobody may take its head off
    ],
)
async def test_alerts_that_have_gone_while_clickhouse_was_away_are_passed_over(
    topic: str, low: int, goes_on: bool
) -> None:
    broker = Broker()
    reader = reading(broker)
    await reader.seek({(topic, 0): 7})
    await reader.poll(100, 0.01)
    broker.low = low
    gone = KafkaError(KafkaError._AUTO_OFFSET_RESET, "out of range")
    broker.messages = [SimpleNamespace(error=lambda: gone, topic=lambda: f"p.{topic}", partition=lambda: 0)]
    assert await reader.poll(1, 0.01) == []
    if goes_on:
        assert broker.assigned[topic, 0] == low
        assert await reader.poll(1, 0.01) == []
    else:
        assert (topic, 0) not in broker.assigned
        with pytest.raises(RecordsLost):
            await reader.poll(1, 0.01)


async def test_verified_from_real_kafka_alone_up_to_its_stable_end_and_from_where_it_begins(
    real: KafkaSettings,
) -> None:
    make(real)
    story = the_main_story(gaps=False)
    write(real, story)
    count = len(story.all())
    verdict = await whole(real)
    assert verdict.ok, verdict.to_text()
    assert verdict.counts["records"] == count

    producer = Producer({**real.client, "transactional.id": f"{real.prefix}t", "linger.ms": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    at = next(held[-1] for (topic, _), held in story.records.items() if topic == "outcomes")
    producer.produce(real.topic("outcomes"), at.value, at.key, at.partition)
    producer.flush(10)
    assert (await whole(real)).counts["records"] == count  # what is not committed is not there, and nobody waits for it
    producer.abort_transaction(30)
    assert (await whole(real)).ok

    place = TopicPartition(real.topic("outcomes"), at.partition, 3)
    admin = AdminClient(dict(real.client))
    for done in admin.delete_records([place]).values():
        done.result(30)
    found = [b for b in (await whole(real)).breaks if b.topic == "outcomes"]
    assert [(b.kind, b.offset, b.seq) for b in found] == [("missing", 3, 4)]
    assert "seq 1 to 3 not on record before it" in found[0].text


async def test_alerts_whose_new_head_is_not_known_yet_are_taken_up_again_once_it_is() -> None:
    broker = Broker()
    reader = reading(broker)
    await reader.seek({("alerts", 0): 7})
    await reader.poll(100, 0.01)
    broker.away = {("alerts", 0)}
    gone = KafkaError(KafkaError._AUTO_OFFSET_RESET, "out of range")
    broker.messages = [SimpleNamespace(error=lambda: gone, topic=lambda: "p.alerts", partition=lambda: 0)]
    assert await reader.poll(1, 0.01) == []
    assert ("alerts", 0) not in broker.assigned
    assert "alerts/0: no leader" in reader.trouble
    broker.away, broker.low = set(), 40
    reader._refreshed_s = reader._refresh_s = 0.0
    assert await reader.poll(1, 0.01) == []
    assert broker.assigned["alerts", 0] == 40


async def test_the_sink_tells_what_the_log_does_not_hand_out() -> None:
    said: list[str] = []
    sink = Sink(Kept(), owner_wait_s=0, on_trouble=said.append)
    running = asyncio.ensure_future(sink.run(reading(Broker(("alerts", 1)))))
    await until(lambda: bool(said), lambda: asyncio.sleep(0.05))
    running.cancel()
    assert said == ["2 partitions can't be read to their end; alerts/1: no leader"]


class Kept:
    insert_ends_within_s = 0.0

    def check_settings(self) -> None: ...

    def positions(self) -> dict[tuple[str, int], int]:
        return {}

    def insert(self, block: object) -> None: ...


@pytest.mark.parametrize("away", [("alerts", 1), ("alerts", 0), ("signals", 0)])
async def test_a_console_that_does_not_read_everything_is_not_caught_up_and_says_so(
    away: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, desks = Broker(away), list[Any]()
    monkeypatch.setattr("infra.clickhouse.kafka_reader.KafkaReader", lambda settings: reading(broker))
    monkeypatch.setattr("console.web.app", lambda desk, *_, **__: desks.append(desk))
    monkeypatch.setattr("infra.http.http_role", lambda *_: None)
    process: Any = SimpleNamespace(background=[], closing=[], roles=[])
    kafka: Any = {"console": None}
    unused: Any = SimpleNamespace()
    edges = Edges(parse({"environment": "t"}), kafka, lambda role: unused, unused, process)
    await edges._console()
    following = asyncio.ensure_future(process.background[0]())
    await until(lambda: bool(edges.troubles), lambda: asyncio.sleep(0.05))
    following.cancel()
    said = desks[0].status()
    assert not said["caught_up"]
    assert said["troubles"]["console"].startswith("2 partitions can't be read to their end; ")
