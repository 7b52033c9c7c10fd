"""The broker inside librdkafka: it has our topics, carries records, and says how full it is."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.embedded import LIMITS, OVERHEAD_BYTES, PARTITION_BYTES_MAX, EmbeddedBroker
from infra.runners.kafka import KafkaOwnLog
from schemas.chain import edge
from schemas.events import GenesisMarked
from streams.pipeline import PROCESSORS, TOPICS, dead_letters
from tests.integration.test_publisher import eventually

pytestmark = pytest.mark.local


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(prefix="emb.", partitions=3) as started:
        yield started


def test_every_topic_of_the_pipeline_is_there_with_its_partitions(broker: EmbeddedBroker) -> None:
    consumer = broker.settings.consumer()
    try:
        found = {name: len(t.partitions) for name, t in consumer.list_topics(timeout=10).topics.items()}
    finally:
        consumer.close()
    for topic in TOPICS:
        assert found[f"emb.{topic.name}"] == (topic.partitions or 3)
    for line in PROCESSORS:
        assert found[f"emb.{dead_letters(line.role)}"] == 1


def test_it_names_what_it_is_not_good_for_and_its_settings_say_not_isolated(broker: EmbeddedBroker) -> None:
    assert len(LIMITS) == 5
    assert not broker.settings.isolated


async def test_the_fullest_partition_is_known_before_its_head_is_cut(broker: EmbeddedBroker) -> None:
    def write(records: int) -> None:
        for _ in range(records):
            producer.produce("emb.signals", b"x" * 1000, b"k", 1)
        assert producer.flush(10) == 0

    producer = Producer({"bootstrap.servers": broker.bootstrap})
    assert broker.fullest().share == 0.0
    write(3000)
    await eventually(lambda: broker.fullest().share > 0.6)
    fill = broker.fullest()
    assert (fill.topic, fill.partition) == ("emb.signals", 1)
    assert fill.share < 0.7
    write(9000)
    await eventually(lambda: broker.fullest().share > 1)
    assert _low(broker) > 0, "the head was cut, as LIMITS says, and the bound had passed 1 by then"


async def test_an_owner_over_it_goes_by_the_hosts_calendar(broker: EmbeddedBroker) -> None:
    """It has no append time. What it says of one (1234 ms after 1970) made every fact 57 years old to who works."""
    member = Consumer({**broker.settings.client, "group.id": "emb.diagnose"})
    log = KafkaOwnLog(broker.settings, "diagnose", "diagnoses", 0, ("incidents",), member.consumer_group_metadata)
    await log.fence()
    began_ms = int(time.time() * 1000)
    said = GenesisMarked(cluster_id="~0", topic_id="", partitions=3, transactional_id="emb.diagnose-0", durable=False)
    appended_ms = await log.commit([edge(said, "e", 0)], [], {})
    assert began_ms <= appended_ms <= time.time() * 1000
    await log.close()
    member.close()


def _low(broker: EmbeddedBroker) -> int:
    consumer: Consumer = broker.settings.consumer()
    try:
        low: int = consumer.get_watermark_offsets(TopicPartition("emb.signals", 1), 10)[0]
        return low
    finally:
        consumer.close()


async def test_markers_of_transactions_count_too(broker: EmbeddedBroker) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "t"})
    producer.init_transactions(10)
    for _ in range(200):
        producer.begin_transaction()
        producer.produce("emb.signals", b"x", b"k", 0)
        producer.commit_transaction(10)
    offsets = 400  # a record and a marker each
    await eventually(lambda: broker.fullest().share >= offsets * OVERHEAD_BYTES / PARTITION_BYTES_MAX)


def test_closing_twice_is_harmless_and_two_brokers_are_apart() -> None:
    with EmbeddedBroker(partitions=1) as one, EmbeddedBroker(partitions=1) as other:
        assert one.bootstrap != other.bootstrap
        one.close()
        one.close()
        assert other.fullest().share == 0.0
