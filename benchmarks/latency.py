"""From an alert to the claim of an automatic action, through the real roles, against the raw hops of its path."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from confluent_kafka import Consumer, TopicPartition

from actions.calls import PREFIX
from benchmarks import raw
from benchmarks.roles import Running
from benchmarks.rows import Broker, Row, Say, Size, spread
from bootstrap import roles
from executors.pd import PdWriter
from infra.deadline import KernelWindow
from infra.pd import PdEndpoint, PdReader
from infra.pd_parse import FIRST, THEN, region_path
from infra.publisher import Publisher
from infra.runners.faust_app import FaustStage
from infra.runners.kafka import KafkaSettings
from infra.settings import Settings
from pdsim.http import Transport, transport
from pdsim.model import Cluster
from schemas.chain import edge
from schemas.events import AlertReceived, Claimed, PolicyAdopted
from schemas.policy import Policy
from schemas.topics import partition_of
from schemas.values import canonical_json
from schemas.wire import decode, encode
from streams.pipeline import processor

ROLES = ("intake", "incidents", "diagnose", "propose", "validate", "remediations", "execute")
TRANSACTIONAL = 6  # incidents, diagnose, incidents again, propose, remediations, execute
PLAIN = 3  # the alert itself; intake and validate, which Faust carries
LOOKS = 3  # at PD: diagnose, propose and validate read its facts anew
GAP_S = 0.02  # between raw hops: one right after another waits for the broker to end the transaction before
WARM = 5  # not counted, ours and raw
HOT = {1001: 5e6, 1073: 6e6}  # led by store 1, with no other store in common: so one of them is moved away
POLICY: Mapping[str, Any] = {
    "actions": {"transfer_region_leader": {"mode": "on"}},
    "limits": {"pd_leader_age_s_min": 0, "cooldown_s": 0, "settling_s": 5},
}


def run_latency(broker: Broker, size: Size, say: Say) -> Row:
    count, hops = size.of(60, 4), size.of(150, 20)
    settings = broker.settings("hops")
    raw.make_topics(settings)
    plain, committed = plain_hops(settings, hops), transactional_hops(settings, hops)
    say(f"  raw hops: plain {_ms(plain)}, transactional {_ms(committed)}")
    latencies = asyncio.run(alert_to_claim(broker.settings("latency"), count + WARM, say))
    looks = asyncio.run(raw_looks(hops // 2))
    plain += plain_hops(settings, hops)  # half of them afterwards: others use the machine too
    committed += transactional_hops(settings, hops)
    chance = random.Random(0)
    sums = [
        sum(
            chance.choices(plain, k=PLAIN) + chance.choices(committed, k=TRANSACTIONAL) + chance.choices(looks, k=LOOKS)
        )
        for _ in range(10_000)
    ]
    (raw_p50, raw_p99), (own_p50, own_p99) = spread(sums), spread(latencies)
    measured = (
        f"alert to Claimed as a read_committed reader sees it, {count} clusters one after the other, p99; all seven "
        f"roles in this process, PD simulated; raw: the p99 of sums of {PLAIN} plain and {TRANSACTIONAL} transactional "
        f"hops and {LOOKS} looks at PD"
    )
    middles = f"p50: raw {raw_p50 * 1000:.0f}, ours {own_p50 * 1000:.0f} ms, ratio {own_p50 / raw_p50:.2f}"
    note = f"{middles}; a raw look: {_ms(looks)}"
    return Row("latency", measured, "ms", raw_p99 * 1000, own_p99 * 1000, 2.0, "lower", note=note)


def _ms(seconds: list[float]) -> str:
    p50, p99 = spread(seconds)
    return f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"


# the raw client


def plain_hops(settings: KafkaSettings, count: int) -> list[float]:
    """Seconds from `produce` until a reader has it."""
    from confluent_kafka import Producer

    writer = Producer({**settings.client, "enable.idempotence": True, "linger.ms": 0})
    reader = at_end(settings, "alerts")

    def write(number: int) -> None:
        writer.produce(settings.topic("alerts"), b"x" * 400, b"k", 0)
        writer.poll(0)

    return timed(reader, write, count)


def transactional_hops(settings: KafkaSettings, count: int) -> list[float]:
    """Seconds for a transaction of one record with offsets, until a read_committed reader has the record."""
    writer = raw.producer(settings, "raw-hop")
    reader, group = at_end(settings, "incidents"), settings.consumer(**{"group.id": f"{settings.prefix}raw-hops"})

    def write(number: int) -> None:
        writer.begin_transaction()
        writer.produce(settings.topic("incidents"), b"x" * 600, b"k", 0)
        place = TopicPartition(settings.topic("signals"), 0, number + WARM)
        writer.send_offsets_to_transaction([place], group.consumer_group_metadata(), raw.TIMEOUT_S)
        writer.commit_transaction(raw.TIMEOUT_S)

    return timed(reader, write, count)


async def raw_looks(count: int) -> list[float]:
    """Seconds for httpx to GET from the simulated PD what one look at it needs, with nothing made of the answers."""
    fleet = Fleet.of(1, "looks.")
    ((name, there),) = fleet.settings.clusters.items()
    found = []
    for _ in range(count):
        began = time.perf_counter()
        async with httpx.AsyncClient(transport=fleet.transports[name], base_url=there.pd[0]) as client:
            for path in (*FIRST, *THEN, region_path(min(HOT)), *FIRST):
                await client.get(PREFIX + path)
        found.append(time.perf_counter() - began)
    return found


def at_end(settings: KafkaSettings, topic: str) -> Consumer:
    """Of partition 0, from its end on."""
    consumer: Consumer = settings.consumer(**{"group.id": f"{settings.prefix}hops", "enable.partition.eof": False})
    place = TopicPartition(settings.topic(topic), 0)
    place.offset = raw.end_of(consumer, place)
    consumer.assign([place])
    consumer.consume(1, 0.5)
    return consumer


def timed(reader: Consumer, write: Callable[[int], None], count: int) -> list[float]:
    found = []
    for number in range(-WARM, count):
        began = time.perf_counter()
        write(number)
        raw.settled(reader, 1)
        if number >= 0:
            found.append(time.perf_counter() - began)
        time.sleep(GAP_S)
    reader.close()
    return found


# ours


@dataclass(frozen=True)
class Fleet:
    """Clusters whose store 1 is written to far too much, each behind its own simulated PD."""

    settings: Settings
    transports: Mapping[str, Transport]

    @classmethod
    def of(cls, count: int, prefix: str) -> Fleet:
        clusters, transports = {}, {}
        began_s = time.time() - 300
        for number in range(count):
            name, pd_id = f"prod-{number:04}", 7168243901123456 + number
            members = f"http://pd-{{member}}.{name}:2379"
            pd = Cluster.healthy(cluster_id=pd_id, now=began_s, stores=9, regions=45, seed=number, member_url=members)
            for region_id, bytes_per_s in HOT.items():
                pd.set_write_rate(bytes_per_s, region_id=region_id)
            pd.advance(time.time())
            transports[name] = transport(pd, time.time)
            clusters[name] = {"alert_labels": {"env": name}, "pd": [members.format(member=0)], "pd_cluster_id": pd_id}
        return cls(
            Settings.model_validate(
                {
                    "environment": "bench",
                    "kafka": {"partitions": 4, "topic_prefix": prefix},
                    "execution": {"poll_s": 30},  # what has been claimed shall not disturb what is measured next
                    "clusters": clusters,
                }
            ),
            transports,
        )

    def hands(self, running: Running) -> roles.Hands:
        there = self.settings.clusters
        endpoints = {n: PdEndpoint(urls=c.pd, pd_cluster_id=c.pd_cluster_id) for n, c in there.items()}

        def writer(name: str, may_call: frozenset[str]) -> PdWriter:
            return PdWriter(there[name].pd, may_call=may_call, transport=lambda: self.transports[name])

        return roles.Hands(
            reader=PdReader(endpoints, transport=lambda cluster: self.transports[cluster]),
            writer=writer,
            window=KernelWindow,
            controls=running.controls,
            keys={},
        )


async def alert_to_claim(settings: KafkaSettings, count: int, say: Say) -> list[float]:
    """Seconds from handing the alert to the producer until a reader of `outcomes` has the claim, cluster by cluster."""
    raw.make_topics(settings)
    fleet = Fleet.of(count, settings.prefix)
    publisher = Publisher(settings)
    draft = Policy.model_validate(POLICY).model_dump(exclude={"version"})
    adopted = PolicyAdopted(cluster_id="*", by="bench", reason="bench", version=1, policy_json=canonical_json(draft))
    await publisher.publish("controls", "*", encode(adopted, edge(adopted, "policy", _now_ms()).head))
    stages: list[FaustStage] = []
    try:
        async with Running(settings) as running:
            hands = fleet.hands(running)
            for role in ROLES:
                line = processor(role)
                if line.verb == "maps":
                    handle = roles.stage(line, fleet.settings, hands).handle
                    stage = FaustStage(
                        settings, role, line.reads[0], line.writes[0], handle, publisher, isolated=role == "validate"
                    )
                    await stage.start()
                    stages.append(stage)
                    await asyncio.wait_for(stage.ready.wait(), 60)
                else:
                    await running.start(line, roles.rules(line, fleet.settings, hands))
            reader = raw.reader(settings, "outcomes", "claims")
            found = []
            for number, cluster in enumerate(fleet.settings.clusters):
                found.append(await _one(settings, publisher, reader, cluster))
                if number % 20 == 19:
                    say(f"  {number + 1}/{count}: {_ms(found)}")
                await asyncio.sleep(1)  # what was claimed takes its step meanwhile
            reader.close()
            for stage in stages:
                await stage.stop()
            return found[WARM:]  # the first ones also pay for imports and connections
    finally:
        await publisher.close()


async def _one(settings: KafkaSettings, publisher: Publisher, reader: Consumer, cluster: str) -> float:
    alert = AlertReceived(
        cluster_id=cluster,
        name="TiKV_scheduler_latch_wait_duration_seconds",
        status="firing",
        starts_at_ms=_now_ms(),
        labels={
            "alertname": "TiKV_scheduler_latch_wait_duration_seconds",
            "env": cluster,
            "level": "critical",
            "instance": "10.0.4.1:20180",
            "type": "prewrite",
            "region_id": "1001",
        },
    )
    began = time.perf_counter()
    partition = partition_of(cluster, settings.partitions)
    writing = asyncio.ensure_future(publisher.publish("alerts", cluster, encode(alert), partition))
    async with asyncio.timeout(60):
        while True:
            for message in await asyncio.to_thread(reader.consume, 1, 1.0):
                event = decode(message.value()).event if message.error() is None else None
                if isinstance(event, Claimed) and event.cluster_id == cluster:
                    await writing
                    return time.perf_counter() - began


def _now_ms() -> int:
    return int(time.time() * 1000)
