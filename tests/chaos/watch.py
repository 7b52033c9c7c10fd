"""What stands on the real topics, read as it comes."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

from bootstrap.production import kafka_settings
from infra.clickhouse.kafka_reader import KafkaReader
from infra.runners.books import Raw, admit
from infra.settings import load
from schemas.events import Unreadable
from schemas.processors import Record
from streams.pipeline import BY_NAME, OWNER
from tests.integration.stack import Stack

QUIET_POLLS = 40  # 10 s without a record: on a loaded machine a first fetch takes its time
HOUSEKEEPING = frozenset(kind.__name__ for kind in OWNER)


class Watch:
    """Follows all topics on a thread. `seen`: how often each kind of event; `last`: of what is done about a cluster."""

    def __init__(self, stack: Stack, partitions: int) -> None:
        self._settings = kafka_settings(load(stack.config, {}), "audit")
        self._partitions = partitions
        self.seen: Counter[str] = Counter()
        self.last = "nothing"
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._follow()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    async def _follow(self) -> None:
        reader = KafkaReader(self._settings)
        await reader.seek({})
        while not self._over.is_set():
            for record in records_of(await reader.poll(500, 0.1), self._partitions):
                kind = type(record.event).__name__
                self.seen[kind] += 1
                if record.topic in ("remediations", "outcomes") and kind not in HOUSEKEEPING:
                    self.last = kind
        await reader.close()

    def all(self) -> list[Record]:
        """What a committed reader finds now, in the order of appending."""

        async def read() -> list[Raw]:
            reader, found, quiet = KafkaReader(self._settings), list[Raw](), 0
            await reader.seek({})
            while quiet < QUIET_POLLS:
                some = await reader.poll(1000, 0.25)
                quiet = 0 if some else quiet + 1
                found += some
            await reader.close()
            return found

        records = records_of(asyncio.run(read()), self._partitions)
        return sorted(records, key=lambda r: (r.at_ms, r.topic, r.partition, r.offset))


def records_of(raws: list[Raw], partitions: int) -> list[Record]:
    """Those that are events of ours."""
    found = []
    for raw in raws:
        if raw.topic in BY_NAME:
            try:
                found.append(admit(raw, partitions))
            except Unreadable:
                continue
    return found
