"""A restart over a ledger that has grown old: what stands before the latest closing of the books is not read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import cycle, islice

from confluent_kafka import Producer

from benchmarks import raw
from benchmarks.clusters import taken
from benchmarks.rows import Broker, Pair, Row, Say, Size, middle
from benchmarks.storm import NOW_MS, alerts, own_restore
from infra.runners.books import Books, Draft
from infra.runners.kafka import KafkaSettings
from schemas.chain import Stamped
from schemas.controls import Controls
from schemas.wire import frame
from streams.incidents import Cluster, Incidents

Written = tuple[bytes, bytes]  # key, value


def run_restart(broker: Broker, size: Size, say: Say) -> Row:
    clusters, open_, rounds = size.of(200, 20), size.of(50_000, 400), size.of(3, 1)
    old, young = size.of(5_000_000, 5_000), size.of(1_000_000, 1_000)
    ledgers = {n: replace(broker.settings(f"restart-{n}"), partitions=1) for n in (young, old)}
    for number, settings in ledgers.items():
        raw.make_topics(settings)
        say(f"  {fill(settings, number, open_, clusters):,} events written")
    pairs, count = [], 0
    for number in range(rounds):
        (count, one), (_, other) = (asyncio.run(own_restore(ledgers[n], 0)) for n in (young, old))
        pairs.append(Pair(one.s, other.s))
        say(f"  {number + 1}/{rounds}: {pairs[-1].raw:.2f} s, {pairs[-1].ours:.2f} s")
    best = middle(pairs)
    return Row(
        "restart",
        f"a partition of `incidents` with {old:,} events, {open_:,} of them since the books of {clusters} clusters "
        f"were closed ({count:,} are folded); in place of the raw client: {young:,} events, with as many since then",
        "s",
        best.raw,
        best.ours,
        1.2,
        "lower",
        tuple(p.ratio for p in pairs),
    )


def fill(settings: KafkaSettings, number: int, open_: int, clusters: int) -> int:
    """A ledger of about so many events. Those before its closing are the same few over and over: nobody folds them."""
    books = Books("incidents", "incidents", 0, 1, Incidents())
    fired = ((key, value) for _, key, value in alerts(clusters, 1_000_000, 1))
    first = list(_written_of(taken(books, islice(fired, 20 * clusters), 0, NOW_MS)))
    filler = list(islice(cycle(first), number - open_))
    producer = Producer({**settings.client, "acks": "all", "linger.ms": 20, "batch.size": 1_000_000})
    count = 0
    since = _written_of(taken(books, islice(fired, open_), 20 * clusters, NOW_MS))
    for records in (filler, closed(books, len(filler)), since):
        for key, value in records:
            while True:
                try:
                    producer.produce(settings.topic("incidents"), value, key, 0)
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
    if left := producer.flush(raw.TIMEOUT_S):
        raise TimeoutError(f"{left} records are not acknowledged after {raw.TIMEOUT_S} s")
    return count


def closed(books: Books[Cluster], first_offset: int) -> Iterable[Written]:
    draft = books.draft(Controls(live=True), NOW_MS)
    for cluster_id in books.clusters():
        draft.close(cluster_id)
    draft.close_day(first_offset, len(books.clusters()))
    books.accept(draft)
    return _written_of([draft])


def _written_of(drafts: Iterable[Draft[Cluster]]) -> Iterator[Written]:
    return (_written(made) for draft in drafts for made in draft.stamped)


def _written(made: Stamped) -> Written:
    return made.event.cluster_id.encode(), frame(type(made.event), made.body)
