"""Many clusters at once on the works runner: each step waits for its intent to be durable, then takes 100 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks import raw
from benchmarks.roles import Running
from benchmarks.rows import Broker, Pair, Row, Say, Size, middle
from infra.runners.kafka import KafkaSettings
from schemas.chain import edge
from schemas.controls import Controls
from schemas.events import Claimed, Concluded, Event, ExecutionAuthorized, StepIntended
from schemas.processors import Lane, Record, Tick
from schemas.topics import partition_of
from schemas.values import Bounds, Call, Head, Plan, Reach
from schemas.wire import encode
from streams.pipeline import processor

STEPS, STEP_S = 10, 0.1
NOW_MS = 1_800_000_000_000


@dataclass(frozen=True)
class Turns:
    """One cluster: what it has claimed, how far it is, and how often it is still to begin anew."""

    cluster_id: str
    claimed: Claimed | None = None
    step: int = 0
    concluded: int = 0


@dataclass(frozen=True)
class Steps:
    """Works: an authorisation is claimed at once; its lane commits every intent before the step, then concludes."""

    turns: int = 1

    def initial(self, cluster_id: str) -> Turns:
        return Turns(cluster_id)

    def decide(self, state: Turns, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[Event]:
        if isinstance(given, Record) and isinstance(given.event, ExecutionAuthorized) and state.claimed is None:
            return (claim(given.event.cluster_id, 1),)
        return ()

    def evolve(self, state: Turns, event: Event, head: Head) -> Turns:
        match event:
            case Claimed():
                return replace(state, claimed=event, step=0)
            case StepIntended():
                return replace(state, step=event.step)
            case Concluded():
                return replace(state, claimed=None, concluded=state.concluded + 1)
        return state

    def wakes_at(self, state: Turns) -> int | None:
        return None

    def owed(self, state: Turns) -> bool:
        return state.claimed is not None or 0 < state.concluded < self.turns

    async def work(self, lane: Lane[Turns], resumed: bool) -> None:
        if lane.state.claimed is None:
            await lane.commit(claim(lane.cluster_id, lane.state.concluded + 1))
        while (step := lane.state.step) < STEPS:
            await lane.commit(intent(lane.cluster_id, lane.state.concluded + 1, step + 1))
            await asyncio.sleep(STEP_S)
        await lane.commit(conclusion(lane.cluster_id, lane.state.concluded + 1))


def run_lanes(broker: Broker, size: Size, say: Say) -> Row:
    clusters, rounds = size.of(200, 20), size.of(3, 1)
    pairs, loops = [], []
    for number in range(rounds):
        loops.append(asyncio.run(raw_lanes(broker.settings(f"lanes-raw-{number}"), clusters, 1)))
        pairs.append(Pair(STEPS * STEP_S, asyncio.run(own_lanes(broker.settings(f"lanes-{number}"), clusters, 1))))
        say(f"  {number + 1}/{rounds}: ideal 1 s, raw loop {loops[-1]:.2f} s, ours {pairs[-1].ours:.2f} s")
    best = middle(pairs)
    measured = (
        f"{clusters} clusters at once, each one remediation of {STEPS} steps of {STEP_S * 1000:.0f} ms, every claim, "
        "intent and conclusion durable before the next; against the ideal, which commits nothing"
    )
    note = f"a raw loop that makes the same commits took {sorted(loops)[len(loops) // 2]:.2f} s"
    return Row("lanes", measured, "s", best.raw, best.ours, 1.5, "lower", tuple(p.ratio for p in pairs), note)


def run_turns(broker: Broker, size: Size, say: Say) -> Row:
    clusters, turns, rounds = size.of(200, 20), size.of(10, 2), size.of(3, 1)
    pairs = []
    for number in range(rounds):
        one = asyncio.run(raw_lanes(broker.settings(f"turns-raw-{number}"), clusters, turns))
        other = asyncio.run(own_lanes(broker.settings(f"turns-{number}"), clusters, turns))
        pairs.append(Pair(one, other))
        say(f"  {number + 1}/{rounds}: raw {one:.2f} s, ours {other:.2f} s")
    best = middle(pairs)
    measured = (
        f"{clusters} clusters at once, {turns} such remediations in turn on each; raw: a loop over the raw client that "
        "makes the same commits, whoever asks while one is open sharing the next"
    )
    return Row("turns", measured, "s", best.raw, best.ours, 1.5, "lower", tuple(p.ratio for p in pairs))


async def own_lanes(settings: KafkaSettings, clusters: int, turns: int) -> float:
    """Seconds from the moment when the authorisations can be seen until the last conclusion is durable."""
    raw.make_topics(settings)
    filled = await asyncio.to_thread(raw.Filled, settings, "remediations", authorised(clusters, settings.partitions))
    async with Running(settings) as running:
        execute = await running.start(processor("execute"), Steps(turns))

        def all_done() -> bool:
            states: list[Turns] = [s for o in execute.role.owners.values() for s in o.books.states.values()]
            return sum(s.concluded >= turns for s in states) == clusters

        await asyncio.to_thread(filled.show)
        clock = raw.Clock()
        await running.until(all_done)
        return clock.spent().s


async def raw_lanes(settings: KafkaSettings, clusters: int, turns: int) -> float:
    """Seconds for the raw client to make the same commits between the same waits."""
    raw.make_topics(settings)
    committers = [
        await asyncio.to_thread(raw.Committer, settings, "outcomes", p, "remediations")
        for p in range(settings.partitions)
    ]

    async def lane(cluster_id: str) -> None:
        committer, key = committers[partition_of(cluster_id, settings.partitions)], cluster_id.encode()
        head = edge(claim(cluster_id, 1), "6f1f0c39-5f0e-5d8e-9b61-7a1f3a0f7e55", NOW_MS).head
        begin, end = encode(claim(cluster_id, 1), head), encode(conclusion(cluster_id, 1), head)
        step = encode(intent(cluster_id, 1, 1), head)
        for _ in range(turns):
            await committer.commit(key, begin)
            for _ in range(STEPS):
                await committer.commit(key, step)
                await asyncio.sleep(STEP_S)
            await committer.commit(key, end)

    for committer in committers:
        await committer.commit(b"warm", b"up")
    clock = raw.Clock()
    await asyncio.gather(*(lane(cluster) for cluster in names(clusters)))
    return clock.spent().s


# what is said


def names(clusters: int) -> list[str]:
    return [f"prod-{n:04}" for n in range(clusters)]


def plan(cluster_id: str) -> Plan:
    return Plan(
        environment="bench",
        cluster_id=cluster_id,
        pd_cluster_id=7168243901123456,
        action="bench",
        action_version=1,
        params="{}",
        changes=(),
        premises=(),
        bounds=Bounds(stores_max=1, regions_max=1, leaders_max=1),
        policy_version=1,
        policy_rules=(),
    )


def authorised(clusters: int, partitions: int) -> Iterator[tuple[int, bytes, bytes]]:
    for cluster in names(clusters):
        event = ExecutionAuthorized(
            cluster_id=cluster,
            incident_id="INC-00000000",
            remediation_id="REM-00000001",
            action="bench",
            params="{}",
            plan=plan(cluster),
            reach=Reach(stores=1, regions=1, leaders=1, leaders_share=0.01),
            digest="0" * 64,
            tier="LOW",
            mode="on",
            rule="auto",
            needed=0,
            proposed_by="playbook",
            approvals=(),
            expires_at_ms=NOW_MS,
        )
        made = edge(event, f"authorised/{cluster}", NOW_MS)
        yield partition_of(cluster, partitions), cluster.encode(), encode(event, made.head)


def claim(cluster_id: str, turn: int) -> Claimed:
    return Claimed(
        cluster_id=cluster_id,
        incident_id="INC-00000000",
        remediation_id=f"REM-{turn:08}",
        attempt=1,
        action="bench",
        params="{}",
        plan=plan(cluster_id),
        digest="0" * 64,
        tier="LOW",
        mode="on",
        approvals=(),
        deadline_ms=NOW_MS,
    )


def intent(cluster_id: str, turn: int, step: int) -> StepIntended:
    return StepIntended(
        cluster_id=cluster_id,
        remediation_id=f"REM-{turn:08}",
        attempt=1,
        step=step,
        change=0,
        kind="do",
        call=Call(name="transfer_leader", args={"region_id": "180", "to_store_id": "4"}),
        window_s=15,
    )


def conclusion(cluster_id: str, turn: int) -> Concluded:
    return Concluded(
        cluster_id=cluster_id,
        incident_id="INC-00000000",
        remediation_id=f"REM-{turn:08}",
        attempt=1,
        outcome="succeeded",
        code="succeeded",
        text="",
    )
