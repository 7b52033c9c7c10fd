"""A broker with Kafka's own default, which makes topics that are asked for: ours are made by `topics apply` alone."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.publisher import Unreachable
from infra.runners.kafka import KafkaSettings
from infra.settings import ConfigError
from infra.topics import look, used_by
from streams.pipeline import processor
from tests.conftest import StartKafka

pytestmark = pytest.mark.kafka


def test_a_role_that_looks_for_its_topics_makes_none(own_kafka: StartKafka) -> None:
    broker = own_kafka(settings={"auto.create.topics.enable": "true"})
    kafka = KafkaSettings({**broker.client_config()}, prefix="p.", partitions=1)
    for _ in range(5):
        with pytest.raises((ConfigError, Unreachable)):
            used_by(processor("remediations"), kafka)
        time.sleep(0.3)
    with pytest.raises(KafkaException):
        kafka.consumer().get_watermark_offsets(TopicPartition("p.alerts", 0), 2)

    _, found = look(AdminClient(dict(kafka.client)), "p.")
    assert sorted(found) == []
