"""`steward doctor`: everything that the configuration names, reached read-only. A line a thing: is it well, what was
found, what to do."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.publisher import Unreachable
from infra.runners.kafka import KafkaSettings, records_of
from infra.settings import ConfigError, Settings
from infra.topics import plan
from schemas.events import DeadLetter, Unreadable
from schemas.facts import FactsReader, Look, NoFacts
from schemas.wire import decode
from streams.pipeline import PROCESSORS, dead_letters

if TYPE_CHECKING:
    from infra.clickhouse.store import Store

Line = tuple[str, bool, str, str]  # (what, well, what was found, what to do)
CALL_TIMEOUT_S = 10.0
LATEST = 500  # dead letters of a role that are looked at
A_DAY_MS = 86_400_000


def kafka(settings: KafkaSettings) -> Iterator[Line]:
    """The broker, the topics on it, and what could not be read lately."""
    where = str(settings.client.get("bootstrap.servers", ""))
    admin = AdminClient(dict(settings.client))
    try:
        admin.list_topics(timeout=CALL_TIMEOUT_S)
        yield "kafka", True, f"{where} answers", ""
        differences = [str(d) for d in plan(admin, settings)]
        what_to_do = "`steward topics apply`, or give `steward topics render` to the platform team"
        yield "topics", not differences, "\n".join(differences) or "all there, as they should be", what_to_do
        if not differences:
            yield from unread(settings)
    except (KafkaException, Unreachable) as error:
        yield "kafka", False, f"{where}: {error}", "does it run there, and are the credentials good?"


def unread(settings: KafkaSettings) -> Iterator[Line]:
    """What was dead-lettered in the last day, by role and reason; alerts of clusters nobody configured among it."""
    found = Counter(
        (letter.role, letter.code, letter.reason if letter.code == "unknown_cluster" else "")
        for line in PROCESSORS
        for letter in _letters(settings, dead_letters(line.role))
    )
    if not found:
        yield "dead letters", True, "none in the last day", ""
    for (role, code, reason), count in sorted(found.items()):
        text = f"{count} x {code} by {role} in the last day{': ' + reason if reason else ''}"
        do = "add the cluster to [clusters], or stop its alerts" if reason else "`steward dead-letters` shows them"
        yield "dead letters", False, text, do


def _letters(settings: KafkaSettings, topic: str) -> Iterator[DeadLetter]:
    consumer = settings.consumer()
    place = TopicPartition(settings.topic(topic), 0)
    since_ms = time.time() * 1000 - A_DAY_MS
    try:
        low, high = consumer.get_watermark_offsets(place, CALL_TIMEOUT_S)
        place.offset = max(low, high - LATEST)
        if place.offset >= high:
            return
        consumer.assign([place])
        give_up_s = time.monotonic() + CALL_TIMEOUT_S
        reached = place.offset
        while reached < high and time.monotonic() < give_up_s:
            messages = consumer.consume(LATEST, 0.5)
            for raw in records_of(messages, settings):
                reached = raw.offset + 1
                try:
                    event = decode(raw.value).event
                except Unreadable:
                    continue
                if isinstance(event, DeadLetter) and raw.at_ms >= since_ms:
                    yield event
            if any(m.error() for m in messages):  # the end, where transaction markers are left
                return
    finally:
        consumer.close()


def audit(settings: Settings, store: Store | None) -> Iterator[Line]:
    """The audit store; None: there is none, or it is a chDB, which belongs to the process that runs `audit`."""
    from infra.clickhouse.migrate import unapplied
    from infra.clickhouse.store import AuditRefused, AuditUnreachable

    if store is None:
        text = "embedded: it belongs to the process that runs `audit`" if settings.clickhouse else "not configured"
        yield "clickhouse", True, text, ""
        return
    try:
        if missing := unapplied(store):
            yield "clickhouse", False, "; ".join(missing), "`steward audit migrate`, with a user that may create tables"
            return
        store.check_settings()
        yield "clickhouse", True, str(store.place), ""
    except (AuditRefused, AuditUnreachable) as error:
        yield "clickhouse", False, str(error), "is the address right, does it run, may this user read?"
    finally:
        store.close()


def clusters(settings: Settings, reader: FactsReader) -> Iterator[Line]:
    """Every PD: is it the pinned cluster, and how does it stand?"""
    for name in sorted(settings.clusters):
        try:
            facts = asyncio.run(reader.facts(name, Look()))
        except (NoFacts, ConfigError) as error:
            yield name, False, str(error), "is it the right PD, is it reachable from here, are the certificates good?"
            continue
        text = f"PD {facts.version}, cluster {facts.pd_cluster_id}, "
        text += f"{len(facts.up_store_ids())} of {len(facts.living())} stores up"
        yield name, True, text, ""
