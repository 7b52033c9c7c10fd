"""The audit's sink, from real Kafka into a real engine, against the bare client with the same rows already made."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

from confluent_kafka import Producer

from benchmarks import raw
from benchmarks.audit import recorded
from benchmarks.rows import Broker, Pair, Row, Say, Size, cpu_note, middle
from infra.clickhouse.kafka_reader import KafkaReader
from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import COLUMNS, NAMES, cut, row_of
from infra.clickhouse.sink import BYTES_MAX, ROWS_MAX, Sink
from infra.clickhouse.store import INSERT_SETTINGS, Place, connect, open_store
from infra.runners.books import Raw
from infra.runners.kafka import KafkaSettings
from tests.spec.world import CLUSTER


def run_sink(broker: Broker, size: Size, say: Say) -> Row:
    """Both write the same records into tables of their own, in blocks of the same size, one after the other."""
    count, rounds = size.of(100_000, 2_000), size.of(3, 1)
    settings = broker.settings("sink")
    raw.make_topics(settings)
    raws = list(told(count))
    fill(settings, raws)
    pairs = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="steward-bench-sink-") as path:
            one = bare(f"chdb:{path}", raws)
            other = asyncio.run(ours(f"chdb:{path}", settings, len(raws)))
        pairs.append(Pair(len(raws) / one.s, len(raws) / other.s, other.cpu_s / one.cpu_s))
        say(f"  {number + 1}/{rounds}: raw {pairs[-1].raw:,.0f}/s, ours {pairs[-1].ours:,.0f}/s")
    best = middle(pairs)
    return Row(
        "sink",
        f"{len(raws):,} records of every topic, read from Kafka, decoded, made into rows and inserted by the sink in "
        f"blocks of at most {ROWS_MAX:,}; raw: clickhouse-connect inserts the same rows, already made, in such blocks",
        "rows/s",
        best.raw,
        best.ours,
        0.6,
        "higher",
        tuple(p.ratio for p in pairs),
        f"{cpu_note(pairs)}: each record is also consumed, decoded, validated, hashed and spelt as canonical JSON",
    )


def told(count: int) -> Iterator[Raw]:
    """The recorded run over and over, of another cluster each time, so that no two records are the same bytes."""
    run, number = recorded(), 0
    spans = {r.topic: 1 + max(o.offset for o in run if o.topic == r.topic) for r in run}
    while True:
        cluster = f"c{number:08}"
        assert len(cluster) == len(CLUSTER), "Avro says how long a text is"
        for record in run:
            if count == 0:
                return
            count -= 1
            value = (record.value or b"").replace(CLUSTER.encode(), cluster.encode())
            yield replace(
                record, offset=record.offset + number * spans[record.topic], value=value, key=cluster.encode()
            )
        number += 1


def fill(settings: KafkaSettings, raws: Sequence[Raw]) -> None:
    producer = Producer({**settings.client, "acks": "all", "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    for number, record in enumerate(raws):
        partition = 0 if record.topic == "controls" else number % settings.partitions
        producer.produce(settings.topic(record.topic), record.value, record.key, partition)
        if number % 1000 == 0:
            producer.poll(0)
    if left := producer.flush(raw.TIMEOUT_S):
        raise TimeoutError(f"{left} records are not acknowledged after {raw.TIMEOUT_S} s")


def bare(url: str, raws: Sequence[Raw]) -> raw.Spent:
    """The client alone: rows made beforehand, the settings that the sink needs, no check and no position."""
    migrate(url, database="bare")
    blocks = [[row_of(r, r.at_ms) for r in block] for block in cut(raws, ROWS_MAX, BYTES_MAX)]
    client = connect(Place.parse(url, "bare"), None, database="bare", settings={})
    clock = raw.Clock()
    for block in blocks:
        client.insert(
            "events",
            list(zip(*block, strict=True)),
            column_names=NAMES,
            column_type_names=[c.type for c in COLUMNS],
            column_oriented=True,
            settings=dict(INSERT_SETTINGS),
        )
    spent = clock.spent()
    client.close()
    return spent


async def ours(url: str, settings: KafkaSettings, count: int) -> raw.Spent:
    """From an empty table until every record is in it, with a production reader and sink."""
    migrate(url, database="ours")
    store = open_store(url, database="ours")
    reader = KafkaReader(settings)
    sink = Sink(store, on_lag=lambda lag: sink.stop() if sink.rows >= count else None)
    clock = raw.Clock()
    async with asyncio.timeout(600):
        await sink.run(reader)
    spent = clock.spent()
    await reader.close()
    kept = store.query("SELECT count() FROM events").rows[0][0]
    store.close()
    assert kept == count, f"{kept} rows of {count} records"
    return spent
