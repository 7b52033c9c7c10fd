"""One history a seed: the production roles over a simulated cluster, while processes die, PD lies and people are late.

What runs is production's own: the lines of the pipeline page, their owners and lanes, the execution protocol, the
actions, the PD clients. Made up are the log (in memory), the cluster (pdsim), the time, the people, what goes wrong. A
history is made of a random part of all features and faults (a swarm), so that each has room to matter.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bootstrap.roles import Hands
from executors.execute import Reply, Writer
from pdsim import faults as pd_faults
from schemas import events as e
from schemas.facts import Facts, FactsReader, Look
from schemas.lifecycle import TRANSITIONS, State, after
from schemas.values import Call
from streams.pipeline import ACT, OBSERVE
from tests.simulation.invariants import History, judge
from tests.spec.world import ACTING_POLICY, CLUSTER, World, run_world

TROUBLE_S = 1_500  # so long things go wrong
PEACE_S = 9_000  # then nothing does, and all deadlines pass
ROLES = tuple(p.role for p in OBSERVE + ACT)
SMALL: dict[str, Any] = {"stores": 4, "regions": 12, "partitions": 1, "poll_s": 5.0}


class Chance:
    """Everything that a seed decides. Built on `random()` alone, whose results no version of Python changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def share(self) -> float:
        return self._random.random()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.share()

    def happens(self, share: float) -> bool:
        return self.share() < share

    def one_of(self, things: Sequence[Any]) -> Any:
        return things[int(self.share() * len(things))]

    def some_of(self, things: Sequence[Any], share: float = 0.5) -> tuple[Any, ...]:
        return tuple(thing for thing in things if self.happens(share))


# -- the world ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distant:
    """PD is some way off: time passes before it has the request, and before the caller has the answer."""

    inner: Writer
    reader: FactsReader
    chance: Chance

    async def cluster_id(self) -> int:
        await asyncio.sleep(self.chance.between(0.001, 0.3))
        return await self.inner.cluster_id()

    async def send(self, call: Call, *, caller_id: str, within_s: float) -> Reply:
        await asyncio.sleep(self.chance.between(0.001, 0.5))
        reply = await self.inner.send(call, caller_id=caller_id, within_s=within_s)
        await asyncio.sleep(self.chance.between(0.001, 0.5))
        return reply

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        await asyncio.sleep(self.chance.between(0.001, 0.4))
        return await self.reader.facts(cluster_id, look)


class Simulated(World):
    """A world that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.chance = Chance(seed)
        super().__init__(**SMALL, seed=int(self.chance.share() * 1e9))
        self.key = key_of(seed)
        self.others: list[str] = []

    def hands(self) -> Hands:
        made = super().hands()
        return replace(
            made,
            reader=Distant(None, made.reader, self.chance),  # type: ignore[arg-type]  # no writer is needed to read
            writer=lambda cluster, may: Distant(made.writer(cluster, may), made.reader, self.chance),
        )

    def history(self) -> History:
        there = [f"evict-leader-scheduler-{store}" for store in self.pd.schedulers.evicted]
        return replace(super().history(), others={CLUSTER: self.others}, left={CLUSTER: there}, ended=True, roles=ROLES)


def key_of(seed: int) -> dict[str, str]:
    """A console's key that is the same in each run of a seed."""
    secret = hashlib.sha256(f"simulated key {seed}".encode()).digest()
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x, d = (base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in (public, secret))
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "d": d, "kid": f"simulated-{seed}"}


# -- what goes wrong ------------------------------------------------------------------------------------------------


@dataclass
class Trouble:
    """One history's people and faults."""

    world: Simulated
    answered: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)

    @property
    def chance(self) -> Chance:
        return self.world.chance

    # processes

    async def kill(self) -> None:
        """At any moment: between a commit and what follows it, in the middle of a request."""
        role = self.chance.one_of(ROLES)
        if self.chance.happens(0.5):
            role = "execute"
        await asyncio.sleep(self.chance.between(0, 1.5))
        await self.world.kill(role)
        self.dead.add(role)

    async def kill_at_an_event(self) -> None:
        """In the very moment when something of its own is durable."""
        kind = self.chance.one_of((e.Claimed, e.Looked, e.StepIntended, e.StepTaken, e.ChangeUndone, e.StepProbed))
        seen, ends_s = len(self.world.found(kind)), self.world.now_s() + 120
        while len(self.world.found(kind)) == seen and self.world.now_s() < ends_s:
            await asyncio.wait([asyncio.ensure_future(self.world.log.changed())], timeout=5)
        if self.chance.happens(0.5):
            await asyncio.sleep(self.chance.between(0, 1.2))
        await self.world.kill("execute")
        self.dead.add("execute")

    async def restart(self) -> None:
        for role in ROLES:
            if role in self.dead:
                await self.world.kill(role)
                self.dead.discard(role)
                self.world.start(role)
                return

    async def drain(self) -> None:
        """A rebalance: the partition is given up in good order, and taken by another."""
        role = self.chance.one_of(("execute", "remediations", "propose", "tickets"))
        if role in self.dead:
            return
        for owner in self.world.owners.get(role, []):
            await owner.drained(5)
        if role not in self.dead:
            await self.world.kill(role)
            self.world.start(role)

    # PD

    async def pd_fails(self) -> None:
        fault = self.chance.one_of(
            (
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
        )
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
            self.world.orders(self.chance.one_of((e.CancelAsked, e.UndoAsked, e.DoneByHand)), asks[-1])

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
        self.world.controls.cut_off = True
        await asyncio.sleep(self.chance.between(1, 60))
        self.world.controls.cut_off = False

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
    ("drain", 1),
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
    world.adopt()
    world.start()
    world.pd.set_slow(4, 90)
    await world.passes(chance.between(5, 15))
    await trouble.alert()
    people = asyncio.ensure_future(_every(lambda: chance.between(2, 30), trouble.people_answer))
    going: list[asyncio.Future[None]] = []
    ends_s = world.now_s() + chance.between(60, TROUBLE_S)
    while world.now_s() < ends_s:
        await world.passes(chance.between(0.1, 60))
        if chance.happens(0.6):
            await trouble.restart()
        if features:
            name = _chosen(features, chance)
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
    world.controls.cut_off = False
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


async def _every(pause: Callable[[], float], do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(pause())
        await do()


def _chosen(features: Sequence[tuple[str, float]], chance: Chance) -> str:
    at = chance.share() * sum(weight for _, weight in features)
    for name, weight in features:
        at -= weight
        if at <= 0:
            return name
    return features[-1][0]


def transitions_of(history: History) -> Counter[tuple[State | None, str]]:
    """Which rows of the lifecycle table were taken."""
    states: dict[str, State] = {}
    taken: Counter[tuple[State | None, str]] = Counter()
    for record, event in history.of(e.Event):
        name, remediation = type(event).__name__, getattr(event, "remediation_id", "")
        state = states.get(remediation)
        if record.topic == "remediations" and (state, name) in TRANSITIONS:
            taken[state, name] += 1
            states[remediation] = after(state, name)
    return taken


def _mark(world: Simulated) -> str:
    digest = hashlib.sha256()
    for (topic, partition), raws in sorted(world.log.records.items()):
        for raw in raws:
            digest.update(f"{topic}/{partition}@{raw.offset} {raw.at_ms} ".encode() + (raw.value or b""))
    for call in world.pd.calls:
        digest.update(f"{call.at} {call.method} {call.path} {call.status} {call.caller_id}".encode())
    return digest.hexdigest()[:16]
