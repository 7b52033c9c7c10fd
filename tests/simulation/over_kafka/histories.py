"""One history a seed: the production roles over a simulated cluster, while processes die, PD lies and people are late.

What runs is production's own: the lines of the pipeline page, their owners and lanes, the protocol of their logs and of
their groups, the execution protocol, the actions, the PD clients. Made up are the log (a model of Kafka's), the cluster
(pdsim), the time, the people, and what goes wrong. Each process of production runs twice, so that partitions move.
A history is made of a random part of all features and faults (a swarm), so that each has room to matter.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bootstrap.roles import Hands
from executors.execute import Reply, Writer
from infra.runners.memory import MemoryClock
from infra.runners.owner import NotSafe
from pdsim import faults as pd_faults
from schemas import events as e
from schemas.facts import Facts, FactsReader, Look
from schemas.lifecycle import State
from schemas.processors import Fenced
from schemas.values import Call
from streams.pipeline import ACT, OBSERVE, PROCESSORS, Processor
from tests.simulation.histories import OF_EXECUTE, ORDERS, Chance, chosen, every, key_of, transitions_of
from tests.simulation.invariants import History, judge
from tests.simulation.over_kafka.brokers import Brokers, ModelledLog
from tests.simulation.over_kafka.processes import Process, ProcessWindow, of_processes
from tests.spec.world import ACTING_POLICY, CLUSTER, World, run_world

HANG_ON = tuple(sorted({topic for line in PROCESSORS for topic in (*line.reads, *line.writes)} - {"controls"}))
TROUBLE_S = 1_500  # so long things go wrong
PEACE_S = 9_000  # then nothing does, and all deadlines pass
ROLES = tuple(p.role for p in OBSERVE + ACT)
SMALL: dict[str, Any] = {"stores": 4, "regions": 12, "poll_s": 5.0}
GROUPS: dict[str, tuple[Processor, ...]] = {  # as `steward up` starts them (bootstrap/commands.py)
    "observe": OBSERVE,
    "act": tuple(p for p in ACT if p.role != "execute"),
    "execute": tuple(p for p in ACT if p.role == "execute"),
}
INSTANCES = tuple((group, number) for group in GROUPS for number in (1, 2))
AGAIN_S = 1.0  # a process that has ended by itself is started again
STARTS_MAX = 500  # of one instance: more is a loop, not a recovery


# -- the world ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distant:
    """PD is some way off: time passes before it has the request, and before the caller has the answer."""

    inner: Writer
    reader: FactsReader
    chance: Chance
    process: Process

    async def cluster_id(self) -> int:
        await self._passes(0.3)
        return await self.inner.cluster_id()

    async def send(self, call: Call, *, caller_id: str, within_s: float) -> Reply:
        await self._passes(0.5)
        reply = await self.inner.send(call, caller_id=caller_id, within_s=within_s)
        await self._passes(0.5)
        return reply

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        await self._passes(0.4)
        return await self.reader.facts(cluster_id, look)

    async def _passes(self, most_s: float) -> None:
        await asyncio.sleep(self.chance.between(0.001, most_s))
        await self.process.is_running()


class Simulated(World):
    """A world that a seed decides."""

    log: ModelledLog

    def __init__(self, seed: int) -> None:
        self.chance = Chance(seed)
        super().__init__(**SMALL, partitions=1 + self.chance.happens(0.3), seed=int(self.chance.share() * 1e9))
        self.loop.set_task_factory(of_processes)
        self.brokers = Brokers(self.log.partitions, self.now_ms)
        self.log = ModelledLog(self.brokers)
        self.key = key_of(seed)
        self.others: list[str] = []
        self.instances: dict[tuple[str, int], Process] = {}
        self.processes: list[Process] = []  # of whom something still runs
        self.starts: Counter[tuple[str, int]] = Counter()
        self.ends: Counter[str] = Counter()  # why processes have ended
        self.is_over = False

    def start_instance(self, instance: tuple[str, int]) -> None:
        """Where it does not live."""
        if self.is_over or instance in self.instances:
            return
        self.starts[instance] += 1
        group, number = instance
        assert self.starts[instance] <= STARTS_MAX, f"{group} is started for ever: {self.ends}"
        self.processes = [process for process in self.processes if not process.is_buried]
        process = self.instances[instance] = Process(
            f"{group}-{number}",
            GROUPS[group],
            self.settings,
            self.brokers,
            MemoryClock(self.log),
            self.chance,
            self.hands_of,
            lambda process, error: self._ended(instance, process, error),
        )
        self.processes.append(process)

    def start(self, *roles: str) -> None:
        for instance in INSTANCES:
            self.start_instance(instance)

    async def kill(self, *roles: str) -> None:
        self.is_over = True
        for process in self.processes:
            await process.buried()

    def kill_instance(self, instance: tuple[str, int]) -> None:
        if process := self.instances.pop(instance, None):
            process.die()

    def _ended(self, instance: tuple[str, int], process: Process, error: BaseException | None) -> None:
        """By itself: fenced, told to go, or killed by its kernel. Its supervisor starts it again."""
        if error is not None and not isinstance(error, (Fenced, NotSafe)):
            self.failures.append(error)
        self.ends[type(error).__name__ if error else "ended"] += 1
        if self.instances.get(instance) is process:
            del self.instances[instance]
            self.loop.call_later(AGAIN_S, self.start_instance, instance)

    def hands_of(self, process: Process) -> Hands:
        made = self.hands()
        return replace(
            made,
            controls=process.controls,
            reader=Distant(None, made.reader, self.chance, process),  # type: ignore[arg-type]  # none is needed to read
            writer=lambda cluster, may: Distant(made.writer(cluster, may), made.reader, self.chance, process),
            window=lambda window_s: ProcessWindow(process, window_s),
        )

    def brokers_are_back(self) -> None:
        self.brokers.come_back()
        self.log.caught_up()

    def markers_are_quick(self) -> None:
        self.brokers.cluster.markers_take(lambda *_: int(self.chance.between(0, 30)))

    def history(self) -> History:
        there = [f"evict-leader-scheduler-{store}" for store in self.pd.schedulers.evicted]
        return replace(
            super().history(),
            others={CLUSTER: self.others},
            left={CLUSTER: there},
            ended=True,
            roles=ROLES,
            usurped=self.brokers.usurped,
        )


# -- what goes wrong ------------------------------------------------------------------------------------------------


@dataclass
class Trouble:
    """One history's people and faults."""

    world: Simulated
    answered: set[str] = field(default_factory=set)
    dead: set[tuple[str, int]] = field(default_factory=set)
    hung: int = 0

    @property
    def chance(self) -> Chance:
        return self.world.chance

    # processes

    def _instance(self) -> tuple[str, int]:
        """Mostly one that executes."""
        number = self.chance.one_of((1, 2))
        return ("execute" if self.chance.happens(0.5) else self.chance.one_of(tuple(GROUPS)), number)

    def _living(self) -> Process | None:
        return self.world.instances.get(self._instance())

    async def kill(self) -> None:
        """At any moment: between a commit and what follows it, in the middle of a request."""
        instance = self._instance()
        await asyncio.sleep(self.chance.between(0, 1.5))
        self.dead.add(instance)
        self.world.kill_instance(instance)

    async def kill_at_an_event(self) -> None:
        """In the very moment when something of its own is durable."""
        kind = self.chance.one_of(OF_EXECUTE)
        seen, ends_s = len(self.world.found(kind)), self.world.now_s() + 120
        outcomes = [self.world.brokers.cluster.partition(("outcomes", n)) for n in range(self.world.log.partitions)]
        while len(self.world.found(kind)) == seen and self.world.now_s() < ends_s:
            await self.world.brokers.change(outcomes, 5)
        if self.chance.happens(0.5):
            await asyncio.sleep(self.chance.between(0, 1.2))
        for number in (1, 2):
            if self.chance.happens(0.9):
                self.dead.add(("execute", number))
                self.world.kill_instance(("execute", number))

    async def kill_at_a_call(self) -> None:
        """Just before the brokers have what it asks for, or just after: the answer is lost."""
        if process := self._living():
            process.dies_at_a_call(int(self.chance.between(1, 60)), self.chance.happens(0.5))

    async def restart(self) -> None:
        for instance in INSTANCES:
            if instance in self.dead:
                self.dead.discard(instance)
                self.world.start_instance(instance)
                return

    async def drain(self) -> None:
        """A rolling restart: partitions are given up in good order, and taken by another."""
        if process := self._living():
            await process.term()

    async def stop(self) -> None:
        """SIGSTOP, for less than a session or for longer, and on."""
        if process := self._living():
            process.stop()
            await asyncio.sleep(self.chance.between(0.1, 40))
            process.go_on()

    async def stop_at_a_call(self) -> None:
        """In the middle of a transaction, say; by the time it goes on, its group may have forgotten it."""
        if process := self._living():
            process.stops_at_a_call(int(self.chance.between(1, 60)), self.chance.between(0.1, 40))

    # the log

    async def cut_off(self) -> None:
        """One process from the brokers; what it has asked for may arrive late."""
        if process := self._living():
            process.cut_off()
            await asyncio.sleep(self.chance.between(0.1, 40))
            process.mend()

    async def brokers_are_away(self) -> None:
        if not self.world.brokers.cluster.is_down:
            self.world.brokers.go_down()
            await asyncio.sleep(self.chance.between(0.5, 40))
            self.world.brokers_are_back()

    async def markers_are_late(self) -> None:
        most_ms = self.chance.between(100, 6_000)
        self.world.brokers.cluster.markers_take(lambda *_: int(self.chance.between(0, most_ms)))
        await asyncio.sleep(self.chance.between(5, 60))
        self.world.markers_are_quick()

    async def transactions_are_aborted(self) -> None:
        """A broker says so, of any of them: nothing of it has happened, and the next one may commit."""
        self.world.brokers.aborting = self.chance.between(0.05, 0.6)
        await asyncio.sleep(self.chance.between(5, 60))
        self.world.brokers.aborting = 0.0

    async def somebody_hangs(self) -> None:
        """A transaction of a foreign producer stays open, and hides what comes after it."""
        if self.world.brokers.cluster.is_down:
            return
        self.hung += 1
        topic = "outcomes" if self.chance.happens(0.4) else self.chance.one_of(HANG_ON)
        place = (topic, int(self.chance.between(0, self.world.log.partitions)))
        timeout_ms = int(self.chance.between(1_000, 60_000))
        self.world.brokers.cluster.hang(place, f"foreign-{self.hung}", self.world.now_ms(), timeout_ms)
        self.world.brokers.advance()

    async def somebody_resets_offsets(self) -> None:
        """An administrator, while a group is empty: committed offsets are nothing that we rely on."""
        name = self.chance.one_of(tuple(GROUPS))
        for number in (1, 2):
            self.dead.add((name, number))
            self.world.kill_instance((name, number))
        await asyncio.sleep(12)  # their sessions are over
        cluster = self.world.brokers.cluster
        for line in GROUPS[name]:
            group = cluster.group(line.role)
            if line.verb != "maps" and not group.members:
                for topic, number in group.offsets:
                    end = cluster.partition((topic, number)).end
                    group.commit({(topic, number): (self.chance.one_of((0, end)), cluster.next_order())})

    # PD

    async def pd_fails(self) -> None:
        faults: tuple[pd_faults.Fault, ...] = (
            pd_faults.ConnectionRefused(),
            pd_faults.DroppedBefore(),
            pd_faults.DroppedAfter(),
            pd_faults.NeverAnswers(),
            pd_faults.NotLeader(),
            pd_faults.NotLeader(applied=True),
            pd_faults.NoLeader(),
            pd_faults.TooMany(),
            pd_faults.HtmlBody(),
            pd_faults.HalfBody(),
            pd_faults.Panic(),
            pd_faults.Slow(self.chance.between(1, 30)),
            pd_faults.WrongCluster(7),
        )
        fault = self.chance.one_of(faults)
        method = self.chance.one_of(("POST", "DELETE", "GET", "POST", "DELETE"))
        self.world.faults.add(fault, method=method, times=1 + int(self.chance.share() * 4))

    async def pd_changes_its_leader(self) -> None:
        self.world.pd.change_pd_leader(self.world.now_s())

    async def pd_restarts(self) -> None:
        self.world.pd.restart_pd(self.world.now_s())

    async def store_goes(self) -> None:
        store = self.chance.one_of((1, 2, 3))
        self.world.pd.kill_store(store)
        await asyncio.sleep(self.chance.between(10, 120))
        self.world.pd.revive_store(store)

    # people

    async def people_answer(self) -> None:
        """Late, twice, wrongly, for another remediation, or not at all."""
        for ask in self.world.found(e.ApprovalAsked):
            if ask.digest in self.answered:
                continue
            self.answered.add(ask.digest)
            await asyncio.sleep(self.chance.between(0, 90))
            self._answer(ask)
            if self.chance.happens(0.2):
                self._answer(ask)

    def _answer(self, ask: e.ApprovalAsked) -> None:
        now = self.world.now_ms()
        if self.chance.happens(0.7):
            return self.world.approve(ask)
        says: Sequence[Callable[[], None]] = (
            lambda: self.world.deny(ask),
            lambda: self.world.approve(ask, digest="0" * 64),
            lambda: self.world.approve(ask, remediation_id="R-of-another"),
            lambda: self.world.approve(ask, environment="prod"),
            lambda: self.world.approve(ask, iat=now - 700_000, exp=now - 100_000),
            lambda: self.world.approve(ask, exp=now + int(self.chance.between(1, 60_000))),
            lambda: self.world.approve(ask, "playbook"),
            lambda: None,
        )
        self.chance.one_of(says)()

    async def people_order(self) -> None:
        asks = self.world.found(e.ApprovalAsked)
        if asks:
            self.world.orders(self.chance.one_of(tuple(ORDERS.values())), asks[-1])

    async def people_resolve(self) -> None:
        asks = {a.remediation_id: a for a in self.world.found(e.ApprovalAsked)}
        for quarantined in self.world.found(e.ClusterQuarantined):
            if quarantined.remediation_id in asks:
                self.world.resolve(asks[quarantined.remediation_id], self.chance.one_of(("succeeded", "no_better")))

    async def somebody_freezes(self) -> None:
        self.chance.one_of((self.world.freeze, lambda: self.world.freeze("*"), self.world.halt))()
        await asyncio.sleep(self.chance.between(5, 300))
        self.world.lift(CLUSTER)
        self.world.lift("*")

    async def controls_are_away(self) -> None:
        self.world.brokers.unreachable.add("controls")
        await asyncio.sleep(self.chance.between(1, 60))
        self.world.brokers.unreachable.discard("controls")

    async def policy_moves_on(self) -> None:
        version = len(self.world.found(e.PolicyAdopted)) + 1
        modes = {name: {"mode": self.chance.one_of(("on", "on", "dry_run"))} for name in ACTING_POLICY["actions"]}
        self.world.adopt({**ACTING_POLICY, "actions": modes}, version)

    async def somebody_evicts_by_hand(self) -> None:
        """A second actor, with pd-ctl, on the same store."""
        store = self.chance.one_of((4, 4, 2))
        if store in self.world.pd.schedulers.evicted:
            return
        self.world.pd.schedulers.evict(store)
        self.world.others.append(f"evict-leader-scheduler-{store}")

    # monitors

    async def alert(self) -> None:
        self.world.pd.set_slow(4, 90)
        self.world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")

    async def alert_flaps(self) -> None:
        starts = str(self.world.now_ms())
        for status in ("firing", "resolved", "firing"):
            self.world.alert("PD_cluster_slow_tikv_nums", status=status, instance="127.0.0.1:2379", starts_at_ms=starts)
            await asyncio.sleep(self.chance.between(0.1, 20))

    async def another_alert(self) -> None:
        self.world.alert(
            "TiKV_server_report_failure_msg_total", instance=f"10.0.0.{int(self.chance.share() * 5)}:20180"
        )

    async def junk(self) -> None:
        """On a topic that anyone may write."""
        self.world.log.append("alerts", CLUSTER, bytes(int(self.chance.share() * 256) for _ in range(20)))


FEATURES: tuple[tuple[str, float], ...] = (  # name of the method, and how often it is chosen
    ("kill", 2),
    ("kill_at_an_event", 3),
    ("kill_at_a_call", 2),
    ("drain", 1),
    ("stop", 1),
    ("stop_at_a_call", 1),
    ("cut_off", 1),
    ("brokers_are_away", 0.5),
    ("markers_are_late", 1),
    ("transactions_are_aborted", 0.7),
    ("somebody_hangs", 0.7),
    ("somebody_resets_offsets", 0.3),
    ("pd_fails", 4),
    ("pd_changes_its_leader", 1),
    ("pd_restarts", 1),
    ("store_goes", 0.5),
    ("people_order", 1),
    ("somebody_freezes", 1),
    ("controls_are_away", 1),
    ("policy_moves_on", 0.5),
    ("somebody_evicts_by_hand", 0.5),
    ("alert", 1),
    ("alert_flaps", 1),
    ("another_alert", 1),
    ("junk", 0.5),
)


# -- a history ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What one seed has led to."""

    seed: int
    features: tuple[str, ...]
    wrong: tuple[tuple[str, str], ...]  # (invariant, what)
    transitions: Counter[tuple[State | None, str]]
    happened: Counter[str]  # features that were used
    events: int
    writes: int
    mark: str  # SHA-256 over all that is on the log and in the cluster's record: two runs of a seed agree
    story: str = ""


def tell(seed: int, *, keep_story: bool = False) -> Told:
    """Live through the history of this seed, and judge it."""
    kept: list[Told] = []

    async def live(world: World) -> None:
        assert isinstance(world, Simulated)
        kept.append(await _lived(world, seed, keep_story))

    run_world(live, lambda: Simulated(seed))
    return kept[0]


async def _lived(world: Simulated, seed: int, keep_story: bool) -> Told:
    trouble, chance = Trouble(world), world.chance
    features = chance.some_of(FEATURES, chance.between(0.2, 0.9))
    happened: Counter[str] = Counter()
    world.markers_are_quick()
    world.adopt()
    world.start()
    world.pd.set_slow(4, 90)
    await world.passes(chance.between(5, 15))
    await trouble.alert()
    people = asyncio.ensure_future(every(lambda: chance.between(2, 30), trouble.people_answer))
    going: list[asyncio.Future[None]] = []
    ends_s = world.now_s() + chance.between(60, TROUBLE_S)
    while world.now_s() < ends_s:
        await world.passes(chance.between(0.1, 60))
        if chance.happens(0.6):
            await trouble.restart()
        if features:
            name = chosen(features, chance)
            happened[name] += 1
            going.append(asyncio.ensure_future(getattr(trouble, name)()))
    if going:
        await asyncio.wait(going)
    await _peace(trouble)
    people.cancel()
    await asyncio.gather(people, return_exceptions=True)
    history = world.history()
    return Told(
        seed,
        tuple(name for name, _ in features),
        tuple(judge(history)),
        transitions_of(history),
        happened,
        len(history.records),
        len(history.writes),
        _mark(world),
        world.story() if keep_story else "",
    )


async def _peace(trouble: Trouble) -> None:
    """Faults stop, who died lives again, stops are lifted, people resolve; and all deadlines pass."""
    world = trouble.world
    world.faults.clear()
    world.brokers.unreachable.clear()
    world.brokers.aborting = 0.0
    for scope in (CLUSTER, "*"):
        world.lift(scope)
    for store in (1, 2, 3, 4):
        world.pd.revive_store(store)
    while trouble.dead:
        await trouble.restart()
    for _ in range(3):
        await world.passes(PEACE_S / 3)
        await trouble.people_resolve()
    await world.passes(600)


def _mark(world: Simulated) -> str:
    digest = hashlib.sha256(world.brokers.cluster.dump())
    for call in world.pd.calls:
        digest.update(f"{call.at} {call.method} {call.path} {call.status} {call.caller_id}".encode())
    return digest.hexdigest()[:16]
