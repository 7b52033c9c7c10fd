"""Who may do what: every principal, topic and operation that is declared, tried on a broker that asks who one is."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.local.kafka import LocalKafka
from infra.runners.kafka import KafkaSettings
from infra.topics import ADMIN, AUDITOR, DOCTOR, STOP, apply, matrix, wanted
from streams.pipeline import EDGES, PROCESSORS
from tests.conftest import StartKafka
from tests.integration.test_topics import give_grants

PREFIX = "matrix."
PRINCIPALS = (*(line.role for line in (*EDGES, *PROCESSORS)), STOP, DOCTOR, ADMIN, AUDITOR)
TOPICS = tuple(topic.name for topic in wanted(PREFIX, 1))
DENIED = {KafkaError.TOPIC_AUTHORIZATION_FAILED}
ANSWER_S = 20.0
AT_ONCE = 6


@pytest.fixture
def broker(own_kafka: StartKafka) -> LocalKafka:
    made = own_kafka(users=PRINCIPALS)
    admin = AdminClient(made.client_config())
    apply(admin, KafkaSettings(made.client_config(), PREFIX, 1))
    give_grants(admin, PREFIX)
    return made


def described(broker: LocalKafka, principal: str) -> set[str]:
    admin = AdminClient(broker.client_config(principal))
    return {t for t in TOPICS if admin.list_topics(t, timeout=ANSWER_S).topics[t].error is None}


def written(broker: LocalKafka, principal: str) -> set[str]:
    producer = Producer(broker.client_config(principal) | {"message.timeout.ms": int(ANSWER_S * 1000)})
    done: dict[str, KafkaError | None] = {}

    def told(topic: str, error: KafkaError | None, _: Message) -> None:
        done[topic] = error

    for topic in TOPICS:
        producer.produce(topic, b"forged", partition=0, on_delivery=partial(told, topic))
    assert producer.flush(ANSWER_S + 5) == 0
    assert {e.code() for e in done.values() if e is not None} <= DENIED, done
    return {topic for topic, error in done.items() if error is None}


def read(broker: LocalKafka, principal: str) -> set[str]:
    """Of each topic comes its end, or a no. A client does not even ask for what it may not describe."""
    consumer = Consumer(broker.client_config(principal) | {"group.id": f"{PREFIX}unused", "enable.partition.eof": True})
    try:
        return {topic for topic in sorted(described(broker, principal)) if reads(consumer, topic)}
    finally:
        consumer.close()


def reads(consumer: Consumer, topic: str) -> bool:
    consumer.assign([TopicPartition(topic, 0, 0)])
    ends_s = time.monotonic() + ANSWER_S
    while time.monotonic() < ends_s:
        message = consumer.poll(0.5)
        if message is None or message.topic() != topic:
            continue
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return True
        if error.code() in DENIED:
            return False
    raise AssertionError(f"{topic}: no answer")


def allowed(principal: str, operation: str) -> set[str]:
    return {topic for who, topic, what, yes in matrix(PREFIX) if (who, what) == (principal, operation) and yes}


def test_every_cell_of_the_matrix_is_as_declared(broker: LocalKafka) -> None:
    """A client that is denied asks for long; so they ask side by side."""
    tried = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = pool.map(lambda who: (described(broker, who), written(broker, who), read(broker, who)), PRINCIPALS)
        for principal, (describes, writes, read_) in zip(PRINCIPALS, answers, strict=True):
            assert describes == allowed(principal, "DESCRIBE"), f"{principal} describes"
            assert writes == allowed(principal, "WRITE"), f"{principal} writes"
            assert read_ == allowed(principal, "READ"), f"{principal} reads"
            tried += 3 * len(TOPICS)
    assert tried == len(list(matrix(PREFIX)))
