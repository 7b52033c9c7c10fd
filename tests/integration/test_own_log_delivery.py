"""A transaction of an owner is whole or not at all, also where a record in its middle is refused by the broker."""

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs do not re-export

from infra.runners.kafka import KafkaOwnLog, KafkaSettings
from infra.runners.owner import Rebuild
from schemas.chain import Stamped, edge
from schemas.events import IncidentClosed
from schemas.processors import Fenced


def closed(text: str) -> Stamped:
    return edge(IncidentClosed(cluster_id="prod", incident_id="INC-1", code="resolved", text=text), "e", 1)


@pytest.mark.kafka
async def test_a_record_refused_in_the_middle_of_a_transaction_fails_its_commit(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings({"bootstrap.servers": kafka, "log_level": 2}, topic_prefix, 1)
    small = NewTopic(settings.topic("incidents"), 1, 1, config={"max.message.bytes": "2000"})
    admin = AdminClient(dict(settings.client))
    for made in admin.create_topics([small]).values():
        made.result(20)
    member = Consumer({**settings.client, "group.id": f"{topic_prefix}incidents"})
    log = KafkaOwnLog(settings, "incidents", "incidents", 0, ("signals",), member.consumer_group_metadata)
    await log.fence()
    try:
        with pytest.raises((Rebuild, Fenced)):
            await log.commit([closed("first"), closed("x" * 50_000), closed("last")], [], {"signals": 3})
    finally:
        await log.close()
    reader = settings.consumer(**{"enable.partition.eof": False})
    reader.assign([TopicPartition(settings.topic("incidents"), 0, 0)])
    assert [m for m in reader.consume(10, 2) if m.error() is None] == []
    reader.close()
    member.close()
