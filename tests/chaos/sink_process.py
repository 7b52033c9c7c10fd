"""The audit's sink as a process to be killed, and a reader of what it has left. Run by tests/chaos/sink.py:

    python -m tests.chaos.sink_process sink URL DATABASE BOOTSTRAP PREFIX      until it is killed
    python -m tests.chaos.sink_process drain URL DATABASE BOOTSTRAP PREFIX     until it has everything
    python -m tests.chaos.sink_process rows URL DATABASE                       each row, as JSON

Reader, sink and store are production's. Blocks are small, so that most of its life is an insert.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from infra.clickhouse import store as clickhouse
from infra.clickhouse.kafka_reader import KafkaReader
from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import Row
from infra.clickhouse.sink import Sink
from infra.clickhouse.store import Store, open_store
from infra.runners.kafka import KafkaSettings

ROWS_MAX = 50
LINGER_S = 0.02
SERVER_S_MAX = 10  # a server's inserts end sooner than in production, or each new owner would wait out a minute


class SayingStore(Store):
    """Says when an insert begins and when it has ended."""

    def insert(self, batch: Sequence[Row]) -> None:
        print("begin", len(batch), flush=True)
        super().insert(batch)
        print("end", len(batch), flush=True)


async def _sink(url: str, database: str, bootstrap: str, prefix: str, *, drain: bool) -> None:
    reader = KafkaReader(KafkaSettings({"bootstrap.servers": bootstrap}, prefix=prefix))
    store = SayingStore(clickhouse.Place.parse(url, database))
    if not store.place.embedded:
        cast(dict[str, Any], clickhouse.INSERT_SETTINGS)["max_execution_time"] = clickhouse.INSERT_S_MAX = SERVER_S_MAX

    def on_lag(lag: Mapping[str, int]) -> None:
        if drain and lag and not any(lag.values()):
            sink.stop()

    def on_trouble(why: str) -> None:
        print("trouble", why, flush=True)

    sink = Sink(store, rows_max=ROWS_MAX, linger_s=LINGER_S, on_lag=on_lag, on_trouble=on_trouble)
    running = asyncio.ensure_future(sink.keep_at_it(reader, lambda: migrate(url, database=database)))
    await sink.ready.wait()
    print("ready", flush=True)
    await running


def _rows(url: str, database: str) -> None:
    """First what the engine counts."""
    store = open_store(url, database=database)
    (counted,) = store.query("SELECT count(), uniqExact(topic, partition, offset) FROM events").rows
    print(json.dumps(counted))
    sql = "SELECT topic, partition, offset, toUnixTimestamp64Milli(appended_at), raw FROM events"
    for topic, partition, offset, at_ms, raw in store.stream(sql):
        print(json.dumps([topic, partition, offset, at_ms, base64.b64encode(raw).decode()]))


def main(verb: str, *given: str) -> None:
    if verb == "rows":
        _rows(*given)
    else:
        asyncio.run(_sink(*given, drain=verb == "drain"))


if __name__ == "__main__":
    main(*sys.argv[1:])
