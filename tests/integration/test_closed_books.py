"""Where a fold begins, on a real Kafka: found from the end backwards, and not beyond what is still there."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.runners import own_log
from infra.runners.books import Books
from infra.runners.kafka import KafkaOwnLog, KafkaSettings
from infra.runners.owner import NotSafe
from infra.topics import apply
from schemas.controls import Controls
from schemas.wire import frame
from streams.incidents import Incidents

pytestmark = pytest.mark.kafka
EACH = 40  # records before each closing


def ledger(number: int, *closed_after: int) -> tuple[list[bytes], list[int]]:
    """So many records of one partition, with closings; and where each of these says that a fold may begin."""
    books = Books("incidents", "incidents", 0, 1, Incidents())
    values: list[bytes] = []
    begin: list[int] = []
    while len(values) < number:
        draft = books.draft(Controls(live=True), 1)
        if len(values) in closed_after:
            begin.append(len(values) - 1)
            draft.close_day(begin[-1], 0)
        else:
            draft.add((books.started("somebody", "test"),), None, 1)
        books.accept(draft)
        values += [frame(type(made.event), made.body) for made in draft.stamped]
    return values, begin


async def test_the_latest_closing_is_found_and_what_stands_before_it_may_be_gone(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_log, "PIECE", 7)
    settings = KafkaSettings({"bootstrap.servers": kafka}, topic_prefix, 1)
    admin = AdminClient(dict(settings.client))
    apply(admin, settings)
    values, (_, latest) = ledger(3 * EACH, EACH, 2 * EACH)
    producer = Producer({**settings.client, "acks": "all"})
    for value in values:
        producer.produce(settings.topic("incidents"), value, b"~0", 0)
    assert producer.flush(15) == 0

    async def begins() -> tuple[int, list[int], Books[Any]]:
        books = Books("incidents", "incidents", 0, 1, Incidents())
        log = KafkaOwnLog(settings, "incidents", "incidents", 0, ("signals",), lambda: None)
        try:
            books.since = await log.closed(books.begins)
            offsets = []
            async for raws in log.history(books.since):
                offsets += [raw.offset for raw in raws]
                for raw in raws:
                    books.restore(raw)
            return books.since, offsets, books
        finally:
            await log.close()

    def cut(offset: int) -> None:
        place = TopicPartition(settings.topic("incidents"), 0, offset)
        for done in admin.delete_records([place]).values():
            done.result()

    since, offsets, books = await begins()
    assert (since, offsets) == (latest, list(range(latest, len(values))))
    assert books.broken == {}
    assert books.links["~0"].seq == len(values)

    cut(latest)
    assert (await begins())[:2] == (since, offsets)

    cut(latest + 1)
    with pytest.raises(NotSafe, match="its head has been cut off"):
        await begins()
