"""An alert storm through `incidents`, and the restore of what it wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from benchmarks import raw
from benchmarks.roles import Running
from benchmarks.rows import Broker, Pair, Row, Say, Size, cpu_note, middle
from infra.runners.books import Books
from infra.runners.kafka import KafkaOwnLog, KafkaSettings
from schemas.avro import schema_of
from schemas.chain import identified
from schemas.events import AlertFired, AlertFolded
from schemas.topics import partition_of
from schemas.values import Cause, sha256
from schemas.wire import fingerprint_of, frame
from streams.incidents import Incidents
from streams.pipeline import BY_NAME, processor

NOW_MS = 1_800_000_000_000


def alerts(clusters: int, each: int, partitions: int) -> Iterator[tuple[int, bytes, bytes]]:
    """A storm as intake writes it: every cluster fires, each alert is of its own instance, the clusters mixed."""
    places = [(f"prod-{n:04}", partition_of(f"prod-{n:04}", partitions)) for n in range(clusters)]
    for number in range(each):
        for cluster, partition in places:
            labels = {
                "alertname": "TiKV_server_report_failure_msg_total",
                "env": cluster,
                "instance": f"10.0.{number % 250}.{number % 200}:20180",
                "level": "warning",
                "store_id": str(number),
            }
            event = AlertFired(
                cluster_id=cluster,
                name=labels["alertname"],
                fingerprint=sha256(f"{cluster}/{number}".encode()).hex()[:16],
                starts_at_ms=NOW_MS + number,
                level="warning",
                labels=labels,
                annotations={"summary": "TiKV server_report_failure_msg_total error"},
                source="alertmanager",
            )
            cause = Cause(
                topic="alerts", partition=partition, offset=number, sha256=sha256(labels["instance"].encode())
            )
            made = identified(f"{cluster}/{number}", event, cause, NOW_MS)
            yield partition, cluster.encode(), frame(AlertFired, made.body)


def run_storm(broker: Broker, size: Size, say: Say) -> Row:
    clusters, each, rounds = size.of(200, 20), size.of(100, 10), size.of(3, 1)
    pairs = []
    for number in range(rounds):
        theirs, ours = broker.settings(f"storm-raw-{number}"), broker.settings(f"storm-{number}")
        one, other = raw_storm(theirs, clusters, each), asyncio.run(own_storm(ours, clusters, each))
        pairs.append(Pair(clusters * each / one.s, clusters * each / other.s, other.cpu_s / one.cpu_s))
        say(f"  {number + 1}/{rounds}: raw {pairs[-1].raw:,.0f}/s, ours {pairs[-1].ours:,.0f}/s")
    best = middle(pairs)
    measured = (
        f"{clusters * each:,} AlertFired of {clusters} clusters, all distinct, {broker.partitions} partitions, "
        "by Incidents in OwnerRole; raw: consume, decode, encode, produce as many AlertFolded, in transactions of "
        "1,000 with offsets"
    )
    return Row(
        "storm",
        measured,
        "alerts/s",
        best.raw,
        best.ours,
        0.5,
        "higher",
        tuple(p.ratio for p in pairs),
        f"{cpu_note(pairs)}, nearly all of it on one thread, which bounds it: each alert is also validated, hashed, "
        "chained and folded. Partitions spread over processes",
    )


def raw_storm(settings: KafkaSettings, clusters: int, each: int) -> raw.Spent:
    """What it costs the raw client to turn each alert into the AlertFolded that we would write."""
    raw.make_topics(settings)
    filled = raw.Filled(settings, "signals", alerts(clusters, each, settings.partitions))
    read, write = raw.decoder(AlertFired), raw.encoder(AlertFolded)

    def turn(value: bytes) -> bytes:
        fired = read(value)
        ref = {k: fired[k] for k in ("fingerprint", "name", "starts_at_ms", "level", "labels", "annotations")}
        head = {**fired["head"], "seq": 1, "prev_hash": bytes(32)}
        folded: dict[str, Any] = {"head": head, "cluster_id": fired["cluster_id"], "incident_id": "INC-00000000"}
        return write({**folded, "alert": ref, "again": False, "folded": 1, "firing": 1})

    return raw.pipe(settings, "signals", "incidents", filled.count, turn, filled.show)


async def own_storm(settings: KafkaSettings, clusters: int, each: int) -> raw.Spent:
    """From the moment when the alerts can be seen until each is answered on record."""
    raw.make_topics(settings)
    filled = await asyncio.to_thread(raw.Filled, settings, "signals", alerts(clusters, each, settings.partitions))
    async with Running(settings) as running:
        role = await running.start(processor("incidents"), Incidents())
        await asyncio.to_thread(filled.show)
        clock = raw.Clock()
        await running.until(lambda: role.inputs >= filled.count)
        return clock.spent()


def run_restore(broker: Broker, size: Size, say: Say) -> Row:
    clusters, each, rounds = size.of(200, 20), size.of(200, 10), size.of(3, 1)
    settings = broker.settings("restore")
    asyncio.run(own_storm(settings, clusters, each))
    pairs, count = [], 0
    for number in range(rounds):
        # Nearly all of them are AlertFolded; the raw client knows each by its mark, as any reader has to.
        folded = [raw.fold(settings, "incidents", p, _by_mark()) for p in range(settings.partitions)]
        ours = [asyncio.run(own_restore(settings, p)) for p in range(settings.partitions)]
        count = sum(n for n, _ in ours)
        one, other = (sum((s for _, s in each), start=raw.Spent(0, 0)) for each in (folded, ours))
        pairs.append(Pair(sum(n for n, _ in folded) / one.s, count / other.s, other.cpu_s / one.cpu_s))
        say(f"  {number + 1}/{rounds}: raw {pairs[-1].raw:,.0f}/s, ours {pairs[-1].ours:,.0f}/s")
    best = middle(pairs)
    measured = (
        f"{count:,} own events of `incidents` read, decoded, checked against the chain and folded, partition by "
        "partition, as a new owner does; raw: consume and decode"
    )
    return Row(
        "restore",
        measured,
        "events/s",
        best.raw,
        best.ours,
        None,
        "higher",
        tuple(p.ratio for p in pairs),
        cpu_note(pairs),
    )


def _by_mark() -> Any:
    """A raw reader of whatever stands on `incidents`."""
    by_mark = {fingerprint_of(schema_of(event)): raw.decoder(event) for event in BY_NAME["incidents"].events}
    return lambda value: by_mark[value[2:10]](value)


async def own_restore(settings: KafkaSettings, partition: int) -> tuple[int, raw.Spent]:
    clock, count = raw.Clock(), 0
    books = Books("incidents", "incidents", partition, settings.partitions, Incidents())
    log = KafkaOwnLog(settings, "incidents", "incidents", partition, ("signals",), lambda: None)
    books.since = await log.closed(books.begins)
    async for records in log.history(books.since):
        for record in records:
            books.restore(record)
        count += len(records)
    spent = clock.spent()
    await log.close()
    return count, spent
