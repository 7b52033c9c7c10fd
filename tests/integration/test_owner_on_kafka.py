"""The owner protocol on real Kafka: state restored after kill -9, partitions that move, zombies, freezes seen in time.

`python -m tests.integration.test_owner_on_kafka JSON` is the execute role as a process of its own, to be killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from console.keys import make_key
from executors.execute import Execute
from executors.pd import PdWriter
from executors.protocol import Rules
from infra.deadline import KernelWindow
from infra.pd import PdEndpoint, PdReader
from infra.runners.kafka import KafkaControls, KafkaOwnLog, KafkaSettings, records_of
from infra.runners.roles import OwnerRole
from infra.topics import apply
from pdsim.http import Served, serve
from pdsim.model import Cluster
from schemas import events as e
from schemas.chain import edge
from schemas.facts import Facts, Look
from schemas.policy import Policy
from schemas.processors import Fenced, Record
from schemas.signing import Claims, kid_of, public_of, sign
from schemas.topics import partition_of
from schemas.values import Cause, Head, SignedApproval, canonical_json
from schemas.wire import decode, frame
from streams import validate
from streams.pipeline import processor

T = TypeVar("T")
CLUSTER, PD_ID, PARTITIONS = "prod-eu-7", 7168243901123456, 2
POLICY = Policy.model_validate(
    {
        "version": 1,
        "actions": {"evict_store_leaders": {"mode": "on"}},
        "limits": {"settling_s": 5, "pd_leader_age_s_min": 0},
    }
)
WATCHED_TIMES = 30  # the reader's clock runs so much faster: PD counts as settled after two seconds, not sixty
SESSION_MS = 6_000


# -- the role ---------------------------------------------------------------------------------------------------------


def reader(pd: str) -> PdReader:
    return PdReader({CLUSTER: PdEndpoint((pd,), PD_ID)}, monotonic_s=lambda: time.monotonic() * WATCHED_TIMES)


def execute(pd: str, keys: dict[str, Any]) -> Execute:
    rules = Rules(
        environment="test",
        owner=f"pid-{os.getpid()}",
        keys=keys,
        pinned={CLUSTER: PD_ID},
        window_s=3,
        proxy_margin_s=1,
        poll_s=0.3,
    )
    return Execute(rules, reader(pd), lambda cluster, may: PdWriter((pd,), may_call=may), KernelWindow)


def role(settings: KafkaSettings, rules: Execute, controls: KafkaControls, name: str) -> OwnerRole:
    line = processor("execute")
    return OwnerRole(line, rules, settings, controls, name=name, build="test", session_timeout_ms=SESSION_MS)


async def main(config: dict[str, Any]) -> None:
    settings = KafkaSettings({"bootstrap.servers": config["kafka"]}, config["prefix"], PARTITIONS)
    controls = KafkaControls(settings)
    await controls.read()
    await role(settings, execute(config["pd"], config["keys"]), controls, f"pid-{os.getpid()}").run()


# -- the bench --------------------------------------------------------------------------------------------------------


class Bench:
    """Our topics on the shared broker, a simulated cluster behind a real port, and a person's key."""

    def __init__(self, kafka: str, prefix: str, pd: Served, logs: Path) -> None:
        self.settings = KafkaSettings({"bootstrap.servers": kafka}, prefix, PARTITIONS)
        self.pd, self._logs, self.key = pd, logs, make_key()
        self.keys = {kid_of(self.key): public_of(self.key)}
        self._producer = Producer({**self.settings.client, "acks": "all"})
        self._started: list[subprocess.Popen[bytes]] = []
        apply(AdminClient(dict(self.settings.client)), self.settings)

    def write(self, topic: str, event: e.Event, partition: int = 0) -> None:
        """Acknowledged when it returns."""
        made = edge(event, f"t{time.monotonic_ns()}", int(time.time() * 1000))
        self._producer.produce(self.settings.topic(topic), frame(type(event), made.body), event.cluster_id, partition)
        assert self._producer.flush(15) == 0

    def adopt(self) -> None:
        draft = canonical_json(POLICY.model_dump(exclude={"version"}))
        self.write("controls", e.PolicyAdopted(cluster_id="*", by="anna", reason="t", version=1, policy_json=draft))

    def freeze(self) -> None:
        self.write("controls", e.Frozen(cluster_id="*", by="anna", reason="t"))

    def lift(self) -> None:
        self.write("controls", e.Lifted(cluster_id="*", by="anna", reason="t"))

    def read(self, topic: str, partition: int) -> list[e.Event]:
        """All that is committed there now."""
        consumer = self.settings.consumer()
        place = TopicPartition(self.settings.topic(topic), partition, 0)
        try:
            consumer.assign([place])
            found: list[e.Event] = []
            while True:
                messages = consumer.consume(500, 1.0)
                found += [decode(raw.value).event for raw in records_of(messages, self.settings)]
                if any(m.error() for m in messages) or not messages:
                    return found
        finally:
            consumer.close()

    async def until(self, found: Callable[[], T | None], within_s: float = 60) -> T:
        ends = time.monotonic() + within_s
        while not (value := await asyncio.to_thread(found)):
            assert time.monotonic() < ends, [type(x).__name__ for x in self.read("outcomes", self.home())]
            await asyncio.sleep(0.1)
        return value

    def outcome(self, kind: type[T]) -> T | None:
        return next((x for x in reversed(self.read("outcomes", self.home())) if isinstance(x, kind)), None)

    @staticmethod
    def home() -> int:
        return partition_of(CLUSTER, PARTITIONS)

    async def authorise(self, remediation_id: str = "R-1", cluster_id: str = CLUSTER, expires_ms: int = 0) -> None:
        """An execution that one person has allowed, as `remediations` writes it."""
        facts = await reader(self.pd.url).facts(CLUSTER, Look())
        order = authorised(remediation_id, facts, self.key)
        changed = {"cluster_id": cluster_id, "expires_at_ms": expires_ms or order.expires_at_ms}
        self.write("remediations", order.model_copy(update=changed), partition_of(cluster_id, PARTITIONS))

    def start(self) -> subprocess.Popen[bytes]:
        config = {
            "kafka": self.settings.client["bootstrap.servers"],
            "prefix": self.settings.prefix,
            "pd": self.pd.url,
            "keys": self.keys,
        }
        log = (self._logs / f"execute-{len(self._started)}.log").open("wb")
        command = [sys.executable, "-m", "tests.integration.test_owner_on_kafka", json.dumps(config)]
        self._started.append(subprocess.Popen(command, stderr=log, stdout=log))
        return self._started[-1]

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def authorised(remediation_id: str, facts: Facts, key: dict[str, Any]) -> e.ExecutionAuthorized:
    proposal = e.ActionProposed(
        cluster_id=CLUSTER,
        incident_id="INC-1",
        remediation_id=remediation_id,
        proposal_id="P-1",
        attempt=1,
        action="evict_store_leaders",
        params='{"keep_s":3600,"store_id":4}',
        why="t",
        cause="slow_store",
        confidence=0.9,
        disputed=False,
        evidence=(),
        by="playbook",
    )
    now_ms = int(time.time() * 1000)
    record = Record("proposals", 0, 0, now_ms, Head(event_id="p", at_ms=now_ms), proposal, Cause(topic="proposals"))
    (answer,) = validate.check(
        record, facts, environment="test", pd_cluster_id=PD_ID, cluster_tier=1, policy=POLICY, now_ms=now_ms
    )
    assert isinstance(answer, e.ProposalValidated), answer
    claims = Claims(
        environment="test",
        pd_cluster_id=PD_ID,
        remediation_id=remediation_id,
        digest=answer.digest,
        decision="approve",
        person="anna",
        via="cli",
        iat=now_ms,
        exp=now_ms + 600_000,
        approval_id="A1",
        reason="t",
    )
    approval = SignedApproval(
        approval_id="A1",
        person="anna",
        via="cli",
        kid=kid_of(key),
        decided_at_ms=claims.iat,
        expires_at_ms=claims.exp,
        reason="t",
        jws=sign(key, claims),
    )
    return e.ExecutionAuthorized(
        cluster_id=CLUSTER,
        incident_id="INC-1",
        remediation_id=remediation_id,
        action=answer.action,
        params=answer.plan.params,
        plan=answer.plan,
        reach=answer.reach,
        digest=answer.digest,
        tier=answer.tier,
        mode="on",
        rule="one",
        needed=1,
        proposed_by="playbook",
        approvals=(approval,),
        expires_at_ms=now_ms + 600_000,
    )


@pytest.fixture
def bench(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    cluster = Cluster.healthy(cluster_id=PD_ID, stores=4, regions=12, now=time.time())
    with serve(cluster) as pd, closing(Bench(kafka, topic_prefix, pd, tmp_path)) as made:
        yield made


@contextmanager
def closing(bench: Bench) -> Iterator[Bench]:
    try:
        yield bench
    finally:
        bench.close()


@asynccontextmanager
async def running(bench: Bench, name: str) -> AsyncIterator[OwnerRole]:
    """The execute role in this process, until it is left as SIGTERM would have it."""
    controls = KafkaControls(bench.settings)
    await controls.read()
    made = role(bench.settings, execute(bench.pd.url, bench.keys), controls, name)
    task = asyncio.ensure_future(made.run())
    try:
        yield made
    finally:
        await made.stop()
        await asyncio.wait([task], timeout=20)
        controls.close()


# -- specs ------------------------------------------------------------------------------------------------------------


async def test_executor_state_is_restored_from_the_log_after_kill_9(bench: Bench) -> None:
    """A successor finds the claim open, waits, looks, and pays the undo; nothing is done twice."""
    bench.adopt()
    first = bench.start()
    await bench.authorise()
    await bench.until(lambda: bench.outcome(e.Sampled))
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert bench.pd.do(lambda pd: dict(pd.schedulers.evicted)) == {4: None}

    bench.start()
    taken_over = await bench.until(lambda: bench.outcome(e.TakenOver))
    assert taken_over.attempt == 2
    bench.freeze()
    concluded = await bench.until(lambda: bench.outcome(e.Concluded))
    assert (concluded.code, concluded.owed) == ("frozen", ())
    writes = bench.pd.do(lambda pd: [(c.method, c.applied) for c in pd.calls if c.method != "GET"])
    assert writes == [("POST", True), ("DELETE", True)]
    assert bench.pd.do(lambda pd: dict(pd.schedulers.evicted)) == {}
    kinds = [type(x) for x in bench.read("outcomes", bench.home())]
    assert (kinds.count(e.Claimed), kinds.count(e.Concluded)) == (1, 1)


async def test_a_restart_restores_what_was_answered(bench: Bench) -> None:
    bench.adopt()
    async with running(bench, "first") as one:
        await bench.authorise("R-1", expires_ms=1)
        await bench.until(lambda: bench.outcome(e.ClaimRefused))
        was = one.owners[bench.home()].books
    async with running(bench, "second") as two:
        await bench.until(lambda: (bench.home() in two.owners and two.owners[bench.home()].ready.is_set()) or None)
        books = two.owners[bench.home()].books
        assert books.state(CLUSTER) == was.state(CLUSTER)
        assert books.state(CLUSTER).answered == {"R-1": "expired"}
        await bench.authorise("R-1", expires_ms=1)  # the same again is not answered again
        await bench.authorise("R-2", expires_ms=1)
        await bench.until(lambda: ((x := bench.outcome(e.ClaimRefused)) and x.remediation_id == "R-2") or None)
    refused = [x for x in bench.read("outcomes", bench.home()) if isinstance(x, e.ClaimRefused)]
    assert [x.remediation_id for x in refused] == ["R-1", "R-2"]


async def test_a_second_instance_takes_over_half_of_the_partitions(bench: Bench) -> None:
    clusters = {partition_of(f"c{n}", PARTITIONS): f"c{n}" for n in range(20)}
    bench.adopt()
    async with running(bench, "first") as one:
        await bench.until(lambda: len(one.owners) == PARTITIONS or None)
        async with running(bench, "second") as two:
            await bench.until(lambda: len(one.owners) == len(two.owners) == 1 or None)
            assert set(one.owners) | set(two.owners) == {0, 1}
            for partition, cluster_id in clusters.items():
                await bench.authorise("R-1", cluster_id, expires_ms=1)
                await bench.until(
                    lambda p=partition: next(
                        (x for x in bench.read("outcomes", p) if isinstance(x, e.ClaimRefused)), None
                    )  # type: ignore[misc]
                )
        await bench.until(lambda: len(one.owners) == PARTITIONS or None)


async def test_a_zombies_commit_fails(bench: Bench) -> None:
    def own_log() -> KafkaOwnLog:
        member = bench.settings.consumer(
            **{"group.id": f"{bench.settings.prefix}execute", "auto.offset.reset": "latest"}
        )
        metadata = member.consumer_group_metadata()
        return KafkaOwnLog(bench.settings, "execute", "outcomes", 0, ("remediations",), lambda: metadata)

    zombie, successor = own_log(), own_log()
    await zombie.fence()
    await successor.fence()
    with pytest.raises(Fenced):
        await zombie.commit(
            [edge(e.OwnerStarted(cluster_id="~0", role="execute", owner="zombie", build=""), "z", 0)], [], {}
        )
    await successor.commit(
        [edge(e.OwnerStarted(cluster_id="~0", role="execute", owner="new", build=""), "s", 0)], [], {}
    )
    assert [x.owner for x in bench.read("outcomes", 0) if isinstance(x, e.OwnerStarted)] == ["new"]
    await zombie.close()
    await successor.close()


async def test_a_freeze_that_was_acknowledged_is_seen_by_the_next_read(bench: Bench) -> None:
    """Controls are read up to their live end before each step: not once in a while."""
    controls = KafkaControls(bench.settings)
    try:
        for _ in range(5):
            bench.freeze()
            seen = await controls.read()
            assert (seen.live, seen.refuses_forward(CLUSTER)) == (True, ("frozen", "freeze by anna: t"))
            bench.lift()
            assert (await controls.read()).refuses_forward(CLUSTER) is None
    finally:
        controls.close()


async def test_a_frozen_cluster_is_not_claimed(bench: Bench) -> None:
    bench.adopt()
    async with running(bench, "first"):
        bench.freeze()
        await bench.authorise()
        refused = await bench.until(lambda: bench.outcome(e.ClaimRefused))
        assert refused.code == "frozen"
    assert bench.pd.do(lambda pd: [c for c in pd.calls if c.method != "GET"]) == []


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
