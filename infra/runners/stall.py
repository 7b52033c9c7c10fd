"""Is a record waiting that a stage should have answered? What Faust throws away in a rebalance it reads again only if
all of it goes well, and it says nothing where it does not; a stage that is found stalled leaves with its process, and
starts anew."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, TopicPartition

from infra.runners.kafka import KafkaSettings, records_of

CALL_TIMEOUT_S = 5.0
READ_S = 1.0


class StallWatch:
    """Asks the broker by a client of its own. Blocks: call it on a thread, one call at a time."""

    def __init__(self, settings: KafkaSettings, role: str, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._consumer: Consumer = settings.consumer(**{"group.id": f"{settings.prefix}{role}"})  # never joins it
        self._clear: dict[int, int] = {}  # up to here nothing waits: what is left are transaction markers

    def waiting(self, partitions: Iterable[int], answered: dict[int, int]) -> tuple[int, int] | None:
        """(partition, offset) of the oldest committed record beyond `answered` (next offsets), or None."""
        for partition in sorted(partitions):
            place = TopicPartition(self._settings.topic(self._topic), partition)
            committed = self._consumer.committed([place], CALL_TIMEOUT_S)[0].offset  # maybe by another, meanwhile
            start = max(answered.get(partition, 0), self._clear.get(partition, 0), committed)
            ends = self._consumer.get_watermark_offsets(place, CALL_TIMEOUT_S, cached=False)
            if ends is None or ends[1] <= start:
                continue
            place.offset = max(start, ends[0])
            self._consumer.assign([place])
            messages = self._consumer.consume(1, READ_S)
            self._consumer.unassign()
            if found := records_of(messages, self._settings):
                return partition, found[0].offset
            if any((e := m.error()) and e.code() == KafkaError._PARTITION_EOF for m in messages):
                self._clear[partition] = ends[1]  # a broker that is only slow has not said so
        return None

    def close(self) -> None:
        self._consumer.close()
