"""What one more cluster costs: an event among many clusters, and a cluster of which nothing is open. No broker."""

from __future__ import annotations

import gc
import tracemalloc
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from statistics import median

from benchmarks import raw
from benchmarks.rows import Broker, Pair, Row, Say, Size, middle
from benchmarks.storm import NOW_MS, alerts
from infra.runners.books import Books, Draft, Raw
from schemas.chain import identified
from schemas.controls import Controls
from schemas.events import AlertFired, AlertResolved
from schemas.values import Cause
from schemas.wire import decode, frame
from streams.incidents import Cluster, Incidents

BATCH = 1000
FEW = 10
DAY_MS = 86_400_000


def run_clusters(broker: Broker, size: Size, say: Say) -> Row:
    """The same events, where few or many clusters are known."""
    some, many = size.of(1_000, 100), size.of(100_000, 1_000)
    count, rounds = size.of(10_000, 1_000), size.of(3, 1)
    books = {clusters: filled(clusters) for clusters in (FEW, some, many)}
    pairs, of_some = [], []
    for number in range(rounds):
        spent = {clusters: each_us(kept, count, number) for clusters, kept in books.items()}
        pairs.append(Pair(spent[FEW], spent[many]))
        of_some.append(spent[some] / spent[FEW])
        say(f"  {number + 1}/{rounds}: " + ", ".join(f"{n:,}: {us:.0f} us" for n, us in spent.items()))
    best = middle(pairs)
    return Row(
        "clusters",
        f"an alert of one of {FEW} clusters decided, chained and folded by `incidents`, with {many:,} clusters; "
        f"in place of the raw client: with {FEW} clusters",
        "us CPU",
        best.raw,
        best.ours,
        1.2,
        "lower",
        tuple(p.ratio for p in pairs),
        f"with {some:,} clusters: {median(of_some):.2f}",
    )


def run_idle(broker: Broker, size: Size, say: Say) -> Row:
    """Python's own count of what is kept for clusters whose one incident is over."""
    clusters = size.of(10_000, 200)
    filled(10)  # whatever is kept once
    gc.collect()
    tracemalloc.start()
    books = filled(clusters)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    each = kept / len(books.clusters())
    say(f"  {each:,.0f} bytes a cluster")
    return Row(
        "idle",
        f"memory of an idle cluster in `incidents`, of {clusters:,}; in place of the raw client: 2 KiB",
        "bytes",
        2048,
        each,
        1.0,
        "lower",
    )


def filled(clusters: int) -> Books[Cluster]:
    """All of them known: each has had an incident, which is over."""
    books = Books("incidents", "incidents", 0, 1, Incidents())
    fired = [(key, value) for _, key, value in alerts(clusters, 1, 1)]
    take(books, fired, 0, NOW_MS)
    take(books, ((key, resolved(value)) for key, value in fired), clusters, NOW_MS + 1000)
    over_ms = NOW_MS + DAY_MS
    while due := books.due(over_ms):
        draft = books.draft(Controls(live=True), over_ms)
        for cluster_id in due:
            draft.tick(cluster_id, over_ms)
        draft.seal()
        books.accept(draft)
    assert not any(state.open for state in books.states.values())
    return books


def resolved(value: bytes) -> bytes:
    fired = decode(value).event
    assert isinstance(fired, AlertFired)
    event = AlertResolved(
        cluster_id=fired.cluster_id,
        name=fired.name,
        fingerprint=fired.fingerprint,
        starts_at_ms=fired.starts_at_ms,
        ends_at_ms=fired.starts_at_ms + 500,
    )
    return frame(AlertResolved, identified(f"{fired.fingerprint}/over", event, Cause(topic="alerts"), NOW_MS).body)


def each_us(books: Books[Cluster], count: int, number: int) -> float:
    """CPU time of one event of those that come from some of the clusters, one after the other."""
    now_ms = NOW_MS + (number + 2) * DAY_MS
    of_few = islice(alerts(FEW, (number + 2) * count, 1), (number + 1) * count, (number + 2) * count)
    given = [(key, value) for _, key, value in of_few]
    clock = raw.Clock()
    take(books, given, 10_000_000 * (number + 1), now_ms)
    return clock.spent().cpu_s / count * 1e6


def take(books: Books[Cluster], given: Iterable[tuple[bytes, bytes]], first: int, now_ms: int) -> None:
    deque(taken(books, given, first, now_ms), 0)


def taken(
    books: Books[Cluster], given: Iterable[tuple[bytes, bytes]], first: int, now_ms: int
) -> Iterator[Draft[Cluster]]:
    """What `incidents` says to these inputs, from that offset on; each transaction is folded once it is handed out."""
    numbered = enumerate(given, first)
    while batch := list(islice(numbered, BATCH)):
        draft = books.draft(Controls(live=True), now_ms)
        for offset, (key, value) in batch:
            draft.take(Raw("signals", 0, offset, now_ms, key, value))
        draft.seal()
        books.accept(draft)
        yield draft
