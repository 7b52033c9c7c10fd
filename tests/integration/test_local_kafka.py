"""What a real broker promises and an imitation does not: isolation, fencing, durability, authorization."""

import time
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import KafkaError, NewTopic

from tests.conftest import StartKafka


def make_topic(config: dict[str, Any], topic: str, replicas: int = 1) -> None:
    admin = AdminClient(config)  # kept until it has answered: a client that is dropped takes its futures along
    admin.create_topics([NewTopic(topic, 1, replicas)])[topic].result(30)


def transactional_producer(bootstrap: str, transactional_id: str) -> Producer:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
    producer.init_transactions(30)
    return producer


def values_committed(bootstrap: str, topic: str) -> list[bytes]:
    """All that a read_committed reader sees, from the beginning to the last stable offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    try:
        while (message := consumer.poll(30)) is not None:
            error = message.error()
            if error is None:
                values.append(message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                return values
            else:
                raise KafkaException(error)
    finally:
        consumer.close()
    raise AssertionError(f"{topic}: no end of the partition within 30 s, after {values}")


def test_a_committed_transaction_is_read_and_an_aborted_one_stays_invisible(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}isolation"
    make_topic({"bootstrap.servers": kafka}, topic)
    producer = transactional_producer(kafka, topic)
    for value, ends in ((b"kept", "commit"), (b"never happened", "abort"), (b"kept too", "commit")):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(30)
        producer.commit_transaction(30) if ends == "commit" else producer.abort_transaction(30)

    assert values_committed(kafka, topic) == [b"kept", b"kept too"]


def test_a_zombie_is_fenced_and_what_it_wrote_stays_invisible(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}fencing"
    make_topic({"bootstrap.servers": kafka}, topic)
    zombie = transactional_producer(kafka, topic)
    zombie.begin_transaction()
    zombie.produce(topic, b"from the grave")
    zombie.flush(30)

    successor = transactional_producer(kafka, topic)
    successor.begin_transaction()
    successor.produce(topic, b"from the living")
    successor.commit_transaction(30)

    with pytest.raises(KafkaException) as refused:
        zombie.commit_transaction(30)
    assert refused.value.args[0].code() == KafkaError._FENCED
    assert values_committed(kafka, topic) == [b"from the living"]


def test_a_broker_killed_and_started_again_still_has_what_was_committed(
    own_kafka: StartKafka, topic_prefix: str
) -> None:
    broker = own_kafka()
    topic = f"{topic_prefix}durability"
    make_topic(broker.client_config(), topic)
    producer = transactional_producer(broker.bootstrap, topic)
    producer.begin_transaction()
    producer.produce(topic, b"durable")
    producer.commit_transaction(30)
    give_up_s = time.monotonic() + 30  # acknowledged is not yet marked: a reader sees it a moment later
    while values_committed(broker.bootstrap, topic) != [b"durable"]:
        assert time.monotonic() < give_up_s

    first = broker.pid()
    broker.kill()
    broker.restart()

    assert broker.pid() != first
    assert values_committed(broker.bootstrap, topic) == [b"durable"]


def test_three_brokers_with_users_deny_what_no_acl_allows(own_kafka: StartKafka, topic_prefix: str) -> None:
    brokers = own_kafka(brokers=3, users=["intake"])
    topic = f"{topic_prefix}denied"
    make_topic(brokers.client_config(), topic, replicas=3)
    said: list[KafkaError | None] = []

    producer = Producer(brokers.client_config("intake"))
    producer.produce(topic, b"let me in", on_delivery=lambda error, _: said.append(error))
    producer.flush(30)

    (error,) = said
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
