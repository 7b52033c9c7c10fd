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
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bootstrap.roles import Hands
from executors.execute import Reply, Writer
from pdsim import faults as pd_faults
from pdsim.regions import Region
from schemas import events as e
from schemas.facts import Facts, FactsReader, Look
from schemas.lifecycle import OPEN, TRANSITIONS, VERBS, State, after
from schemas.processors import Record
from schemas.values import Call, Plan
from schemas.wire import frame
from streams.pipeline import ACT, OBSERVE
from tests.simulation.invariants import History, MeantStop, judge, put_there_by
from tests.spec.world import ACTING_POLICY, CLUSTER, PD_ID, World, run_world

T = TypeVar("T")
TROUBLE_S = 1_500  # so long things go wrong
PEACE_S = 9_000  # then nothing does, and all deadlines pass
PAUSE_S = 60  # at most, between one trouble and the next
PLOTS = ("slow_store", "tombstones_left", "hot_region")  # what there is to mend: MEDIUM, HIGH, LOW
ROLES = tuple(p.role for p in OBSERVE + ACT)
SMALL: dict[str, Any] = {"stores": 4, "regions": 12, "partitions": 1, "poll_s": 5.0}


class Chance:
    """Everything that a seed decides. Built on `random()` alone, whose results no version of Python changes."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def share(self) -> float:
        return self._random.random()

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.share()

    def happens(self, share: float) -> bool:
        return self.share() < share

    def one_of(self, things: Sequence[T]) -> T:
        return things[int(self.share() * len(things))]

    def some_of(self, things: Sequence[T], share: float = 0.5) -> tuple[T, ...]:
        return tuple(thing for thing in things if self.happens(share))


# -- the world ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distant:
    """PD is some way off: time passes before it has the request, and before the caller has the answer. The host that
    reads it has a clock of its own, which is `ahead_ms` before ours."""

    inner: Writer
    reader: FactsReader
    chance: Chance
    ahead_ms: int = 0

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
        facts = await self.reader.facts(cluster_id, look)
        return facts.model_copy(update={"taken_at_ms": facts.taken_at_ms + self.ahead_ms})


class Simulated(World):
    """A world that a seed decides."""

    def __init__(self, seed: int) -> None:
        chance = Chance(seed)
        self.far = Chance(f"{seed}/far")
        self.plots = chance.some_of(PLOTS) or PLOTS[:1]
        living = 6 if "hot_region" in self.plots else SMALL["stores"]
        self.gone = (living + 1, living + 2) if "tombstones_left" in self.plots else ()  # in time, for good
        self.ahead_ms = int(chance.between(-29, 4) * 1000) if chance.happens(0.25) else 0
        stores = living + len(self.gone)
        super().__init__(**{**SMALL, "stores": stores, "regions": 3 * stores}, seed=int(chance.share() * 1e9))
        self.key = key_of(seed)
        self.meant: list[MeantStop] = []
        self.led_since_ms: list[float] = []

    def hands(self) -> Hands:
        made = super().hands()
        return replace(
            made,
            reader=Distant(None, made.reader, self.far, self.ahead_ms),  # type: ignore[arg-type]  # reading needs none
            writer=lambda cluster, may: Distant(made.writer(cluster, may), made.reader, self.far),
        )

    def leads_anew(self, *, restarted: bool) -> None:
        """Another PD leads, or the same one again, and knows only what was persisted."""
        (self.pd.restart_pd if restarted else self.pd.change_pd_leader)(self.now_s())
        self.led_since_ms.append(self.now_s() * 1000)

    def history(self) -> History:
        there = [f"evict-leader-scheduler-{store}" for store in self.pd.schedulers.evicted]
        by = put_there_by(self.pd.calls)
        others = [name for name in there if not by.get(name, "").startswith("steward/")]
        return replace(
            super().history(),
            others={CLUSTER: others},
            left={CLUSTER: there},
            meant=tuple(self.meant),
            led_since_ms={CLUSTER: tuple(self.led_since_ms)},
            ended=True,
            roles=ROLES,
        )


def key_of(seed: int) -> dict[str, str]:
    """A console's key that is the same in each run of a seed."""
    secret = hashlib.sha256(f"simulated key {seed}".encode()).digest()
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x, d = (base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in (public, secret))
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "d": d, "kid": f"simulated-{seed}"}


# -- what goes wrong ------------------------------------------------------------------------------------------------


@dataclass
class Trouble:
    """One history's people and faults. Each of its methods that is named in FEATURES is one thing that happens."""

    world: Simulated
    answered: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)  # killed: `restart` brings them back
    away: set[str] = field(default_factory=set)  # these come back by themselves
    beginning: set[str] = field(default_factory=set)
    firing: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def happen(self, what: Happening, chance: Chance) -> None:
        if what.at_a_moment:
            await self._moment(chance.one_of(MOMENTS), 300)
        await getattr(self, what.name)(chance)

    async def _moment(self, kind: type[e.Event], within_s: float) -> bool:
        """The next time that an event of this kind is durable."""
        seen, ends_s = len(self.world.found(kind)), self.world.now_s() + within_s
        while len(self.world.found(kind)) == seen:
            if self.world.now_s() >= ends_s:
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(self.world.log.changed(), 5)
        return True

    # processes

    async def kill(self, chance: Chance) -> None:
        """At any moment: between a commit and what follows it, in the middle of a request."""
        role = "execute" if chance.happens(0.5) else chance.one_of(ROLES)
        await asyncio.sleep(chance.between(0, 1.5))
        if role not in self.away:
            await self.world.kill(role)
            self.dead.add(role)

    async def kill_at_an_event(self, chance: Chance) -> None:
        """In the very moment when something of its own is durable."""
        await self._moment(chance.one_of(OF_EXECUTE), 120)
        if chance.happens(0.5):
            await asyncio.sleep(chance.between(0, 1.2))
        if "execute" not in self.away:
            await self.world.kill("execute")
            self.dead.add("execute")

    async def restart(self) -> None:
        for role in ROLES:
            if role in self.dead:
                self.dead.discard(role)
                await self._begins_anew(role)
                return

    async def _begins_anew(self, role: str) -> None:
        """One process of each role: whoever else has it begin anew just now, once is enough."""
        if role not in self.beginning:
            self.beginning.add(role)
            await self.world.kill(role)
            self.world.start(role)
            self.beginning.discard(role)

    async def somebody_is_away(self, chance: Chance) -> None:
        """For minutes: nobody validates, nobody claims."""
        role = chance.one_of(("execute", "execute", "validate", "validate", *ROLES))
        await self._away(role, chance.one_of((70.0, 150.0, 400.0, 700.0)))

    async def an_hour_without_execute(self, chance: Chance) -> None:
        await self._away("execute", chance.between(3_650, 4_000))

    async def _away(self, role: str, for_s: float) -> None:
        if role in self.away:
            return
        self.away.add(role)
        self.dead.discard(role)
        await self.world.kill(role)
        await asyncio.sleep(for_s)
        self.away.discard(role)
        await self._begins_anew(role)

    async def drain(self, chance: Chance) -> None:
        """A rebalance: the partition is given up in good order, and taken by another."""
        role = chance.one_of(("execute", "remediations", "propose", "tickets"))
        if role in self.dead | self.away:
            return
        for owner in self.world.owners.get(role, []):
            await owner.drained(5)
        if role not in self.dead | self.away:
            await self._begins_anew(role)

    # PD

    async def pd_fails(self, chance: Chance) -> None:
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
            pd_faults.Slow(chance.between(1, 30)),
            pd_faults.WrongCluster(7),
        )
        method = chance.one_of(("POST", "DELETE", "GET", "POST", "DELETE"))
        self.world.faults.add(chance.one_of(faults), method=method, times=1 + int(chance.share() * 4))

    async def pd_refuses(self, chance: Chance) -> None:
        """It says no, and goes on saying it."""
        method = chance.one_of(("POST", "DELETE", "DELETE"))
        self.world.faults.add(NO_OF_PD, method=method, times=1 + int(chance.share() * 6))

    async def pd_is_away(self, chance: Chance) -> None:
        """It can't be read for minutes."""
        now_s = self.world.now_s()
        self.world.faults.add(
            pd_faults.ConnectionRefused(), between=(now_s, now_s + chance.between(30, 400)), times=None
        )

    async def pd_cant_tell(self, chance: Chance) -> None:
        """What becomes of a step is not known, and a PD that has just begun to lead hears nothing of a store."""
        lost: tuple[pd_faults.Fault, ...] = (pd_faults.DroppedBefore(), pd_faults.DroppedAfter())
        self.world.faults.add(chance.one_of(lost), method="POST")
        self.world.faults.add(pd_faults.DroppedBefore(), method="DELETE", path="/pd/api/v1/stores")
        if not await self._moment(e.StepIntended, 300):
            return
        self.world.pd.kill_store(3)
        await asyncio.sleep(chance.between(0.5, 3))
        self.world.leads_anew(restarted=True)
        for store in self.world.gone[:1]:  # of two tombstones one: PD never does that
            if store in self.world.pd.stores and not self.world.pd.truth.held_by(store):
                del self.world.pd.stores[store]
        await asyncio.sleep(chance.between(200, 500))
        self.world.pd.revive_store(3)

    async def pd_changes_its_leader(self, chance: Chance) -> None:
        self.world.leads_anew(restarted=False)

    async def pd_restarts(self, chance: Chance) -> None:
        self.world.leads_anew(restarted=True)

    async def store_goes(self, chance: Chance) -> None:
        store = chance.one_of((1, 2, 3))
        self.world.pd.kill_store(store)
        await asyncio.sleep(chance.between(10, 120))
        self.world.pd.revive_store(store)

    # people

    async def people_answer(self, chance: Chance) -> None:
        """Late, twice, wrongly, for another remediation, or not at all."""
        for ask in self.world.found(e.ApprovalAsked):
            if ask.digest in self.answered:
                continue
            self.answered.add(ask.digest)
            for person in ("anna", "bo")[: max(1, ask.needed)]:
                await asyncio.sleep(chance.between(0, 90))
                self._answer(ask, person, chance)
                if chance.happens(0.2):
                    self._answer(ask, person, chance)

    def _answer(self, ask: e.ApprovalAsked, person: str, chance: Chance) -> None:
        now = self.world.now_ms()
        if chance.happens(0.75):
            return self.world.approve(ask, person)
        says: Sequence[Callable[[], None]] = (
            lambda: self.world.deny(ask),
            lambda: self.world.approve(ask, person, digest="0" * 64),
            lambda: self.world.approve(ask, person, remediation_id="R-of-another"),
            lambda: self.world.approve(ask, person, environment="prod"),
            lambda: self.world.approve(ask, person, iat=now - 700_000, exp=now - 100_000),
            lambda: self.world.approve(ask, person, exp=now + int(chance.between(1, 60_000))),
            lambda: self.world.approve(ask, "playbook"),
            lambda: self.world.approve(ask, person.upper()),
            lambda: None,
        )
        chance.one_of(says)()

    async def people_speak(self, chance: Chance) -> None:
        """Of a remediation in any of its states, what can be said then, or what can't."""
        await self._speak_of_one_that_is(chance.one_of(OPEN), chance)

    async def spoken_of_before_it_is_judged(self, chance: Chance) -> None:
        away = asyncio.ensure_future(self._away("validate", chance.between(100, 250)))
        await self._speak_of_one_that_is("proposed", chance)
        await away

    async def _speak_of_one_that_is(self, wanted: State, chance: Chance) -> None:
        ends_s = self.world.now_s() + 300
        while True:
            states = states_of(self.world.log.all())
            found = [name for name, state in states.items() if state == wanted]
            if found or self.world.now_s() >= ends_s:
                break
            await asyncio.sleep(2)
        for name in found[-1:] or tuple(states)[-1:]:
            for _ in range(1 + int(chance.share() * 2)):
                verbs = VERBS[wanted] if chance.happens(0.6) else ALL_VERBS
                self._say(name, chance.one_of(verbs or ALL_VERBS), chance)
                await asyncio.sleep(chance.between(0, 5))

    def _say(self, remediation_id: str, verb: str, chance: Chance) -> None:
        wrong = chance.happens(0.25)
        ask = self._ask(remediation_id)
        if wrong:
            ask = ask.model_copy(update={"plan": ask.plan.model_copy(update={"pd_cluster_id": 7})})
        match verb:
            case "approve":
                self.world.approve(ask, "bo")
            case "deny":
                self.world.deny(ask)
            case "resolve":
                self.world.resolve(ask, chance.one_of(("succeeded", "no_better")))
            case _:
                self.world.orders(ORDERS[verb], ask)

    def _ask(self, remediation_id: str) -> e.ApprovalAsked:
        """What people were asked last of it; of one that they were not asked about, what there is to name."""
        asks = [ask for ask in self.world.found(e.ApprovalAsked) if ask.remediation_id == remediation_id]
        made: Any = e.ApprovalAsked.model_construct
        plan: Any = Plan.model_construct
        nothing = made(cluster_id=CLUSTER, remediation_id=remediation_id, digest="", plan=plan(pd_cluster_id=PD_ID))
        return asks[-1] if asks else nothing

    async def called_off_before_it_begins(self, chance: Chance) -> None:
        """Nobody claims for a while, and meanwhile things change."""
        if not await self._moment(e.ApprovalAsked, 300):
            return
        away = asyncio.ensure_future(self._away("execute", chance.between(70, 200)))
        ask = self.world.found(e.ApprovalAsked)[-1]
        self.answered.add(ask.digest)
        for person in ("anna", "bo")[: max(1, ask.needed)]:
            self.world.approve(ask, person)
        await asyncio.sleep(chance.between(1, 60))
        match chance.one_of(("cancel", "cancel", "did-it-myself", "deny", "freeze", "policy", "evict")):
            case "freeze":
                self.world.freeze()
                await away
                await asyncio.sleep(chance.between(0, 30))
                self.world.lift()
            case "policy":
                self._next_policy(chance)
            case "evict":
                await self._by_hand("POST", SCHEDULERS, {"name": "evict-leader-scheduler", "store_id": 4})
            case verb:
                self._say(ask.remediation_id, verb, chance)
        await away

    async def people_resolve(self, chance: Chance) -> None:
        for quarantined in self.world.found(e.ClusterQuarantined):
            ask = self._ask(quarantined.remediation_id)
            self.world.resolve(ask, chance.one_of(("succeeded", "no_better")))

    async def somebody_freezes(self, chance: Chance) -> None:
        chance.one_of((self.world.freeze, lambda: self.world.freeze("*"), self.world.halt))()
        await asyncio.sleep(chance.between(5, 300))
        self.world.lift(CLUSTER)
        self.world.lift("*")

    async def halted_for_an_hour(self, chance: Chance) -> None:
        self.world.halt()
        await asyncio.sleep(chance.between(3_650, 4_000))
        self.world.lift("*")

    async def frozen_in_new_words(self, chance: Chance) -> None:
        """A freeze as a later version will write it: nobody here can read it, and it has to stop all the same."""
        if chance.happens(0.6):
            await self._moment(e.ApprovalAsked, 300)
        await asyncio.sleep(chance.between(0, 5))
        event = e.Frozen(cluster_id=CLUSTER, by="anna", reason="spec")
        value = bytearray(frame(e.Frozen, b"\x00" * 40))
        value[2:10] = b"\xff" * 8  # the print of its schema
        raw = self.world.log.append("controls", event.cluster_id, bytes(value))
        place = f"controls/0@{raw.offset}"
        self.world.meant.append(MeantStop(place, "freeze", CLUSTER, raw.at_ms))
        await asyncio.sleep(chance.between(20, 300))
        self.world.lift_input(place)

    async def controls_are_away(self, chance: Chance) -> None:
        self.world.controls.cut_off = True
        await asyncio.sleep(chance.between(1, 60))
        self.world.controls.cut_off = False

    async def frozen_while_nobody_hears(self, chance: Chance) -> None:
        """Just when all have agreed, the controls can't be read, and in them stands a freeze."""
        kinds: tuple[type[e.Event], ...] = (e.ApprovalAsked, e.ApprovalAsked, e.Claimed, e.StepIntended)
        await self._moment(chance.one_of(kinds), 300)
        self.world.controls.cut_off = True
        self.world.freeze()
        await asyncio.sleep(chance.between(20, 200))
        self.world.controls.cut_off = False
        await asyncio.sleep(chance.between(20, 60))
        self.world.lift()

    async def policy_moves_on(self, chance: Chance) -> None:
        if chance.happens(0.6):
            kinds: tuple[type[e.Event], ...] = (e.ApprovalAsked, e.ExecutionBlocked)
            await self._moment(chance.one_of(kinds), 300)
        self._next_policy(chance)

    def _next_policy(self, chance: Chance) -> None:
        version = len(self.world.found(e.PolicyAdopted)) + 1
        modes = {name: {"mode": chance.one_of(("on", "on", "dry_run"))} for name in ACTING_POLICY["actions"]}
        self.world.adopt({**ACTING_POLICY, "actions": modes}, version)

    async def a_word_that_nobody_can_read(self, chance: Chance) -> None:
        """It could be a person's no."""
        self.world.log.append("approvals", CLUSTER, bytes(int(chance.share() * 256) for _ in range(20)))
        await asyncio.sleep(chance.between(5, 200))
        self.lift_inputs()

    def lift_inputs(self) -> None:
        for record in self.world.log.all():
            cause = record.head.cause
            if isinstance(record.event, e.InputRejected) and cause is not None:
                self.world.lift_input(f"{cause.topic}/{cause.partition}@{cause.offset}")

    async def somebody_evicts_by_hand(self, chance: Chance) -> None:
        """A second actor, with pd-ctl, on the same store."""
        if chance.happens(0.5):
            await self._moment(e.ApprovalAsked, 300)
        body = {"name": "evict-leader-scheduler", "store_id": chance.one_of((4, 4, 4, 2))}
        await self._by_hand("POST", SCHEDULERS, body)

    async def somebody_takes_it_back_by_hand(self, chance: Chance) -> None:
        await self._by_hand("DELETE", f"{SCHEDULERS}/evict-leader-scheduler-{chance.one_of((4, 4, 2))}")

    async def _by_hand(self, method: str, path: str, body: Any = None) -> None:
        async with httpx.AsyncClient(transport=self.world.transport, base_url="http://pd-0:2379", timeout=5) as client:
            with suppress(httpx.HTTPError):
                await client.request(method, path, json=body, headers={"X-Caller-ID": "pd-ctl"})

    # monitors

    async def alert(self, chance: Chance) -> None:
        """There is something to mend, and a monitor says so."""
        pd = self.world.pd
        match chance.one_of(self.world.plots):
            case "slow_store":
                pd.set_slow(4, 90)
                self._fire("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
            case "tombstones_left":
                for store in self.world.gone:
                    if store in pd.stores and pd.truth.held_by(store):
                        pd.make_tombstone(store)
                self._fire("PD_cluster_down_store_nums", instance="127.0.0.1:2379")
            case "hot_region":
                await self._a_region_gets_hot(chance)

    async def _a_region_gets_hot(self, chance: Chance) -> None:
        """Its store has enough to do already, and those that follow the region have not."""
        pd = self.world.pd
        led = [pd.truth.led_by(store) for store in range(1, 7)]
        pairs = [(hot, other) for of in led for hot in of for other in of if not _followers(hot) & _followers(other)]
        if not pairs:
            return
        hot, other = chance.one_of(pairs)
        pd.set_write_rate(4e6, region_id=hot.id)
        pd.set_write_rate(5e6, region_id=other.id)
        await asyncio.sleep(chance.between(70, 130))
        where = {"instance": f"10.0.4.{hot.leader}:20180", "region_id": str(hot.id)}
        self._fire("TiKV_raftstore_thread_cpu_seconds_total", **where)
        await asyncio.sleep(chance.between(60, 600))
        for region in (hot, other):
            pd.set_write_rate(200, region_id=region.id)

    def _fire(self, name: str, **labels: str) -> None:
        labels["starts_at_ms"] = str(self.world.now_ms())
        self.firing.append((name, labels))
        self.world.alert(name, **labels)

    async def alert_ends(self, chance: Chance) -> None:
        """And what is wrong then is another incident."""
        ended, self.firing = self.firing, []
        for name, labels in ended:
            self.world.alert(name, status="resolved", **labels)
        await asyncio.sleep(chance.between(305, 400))  # until it is closed
        await self.alert(chance)

    async def alert_flaps(self, chance: Chance) -> None:
        for name, labels in self.firing[-1:]:
            for status in ("resolved", "firing"):
                self.world.alert(name, status=status, **labels)
                await asyncio.sleep(chance.between(0.1, 20))

    async def another_alert(self, chance: Chance) -> None:
        instance = f"10.0.0.{int(chance.share() * 5)}:20180"
        self.world.alert("TiKV_server_report_failure_msg_total", instance=instance)

    async def junk(self, chance: Chance) -> None:
        """On a topic that anyone may write."""
        self.world.log.append("alerts", CLUSTER, bytes(int(chance.share() * 256) for _ in range(20)))


def _followers(region: Region) -> set[int]:
    return {peer.store_id for peer in region.peers} - {region.leader}


SCHEDULERS = "/pd/api/v1/schedulers"
NO_OF_PD = pd_faults.Garbage(400, b'{"code":"input","msg":"no","data":null}', "application/json")
ORDERS: dict[str, type[e.CancelAsked | e.UndoAsked | e.DoneByHand]] = {
    "cancel": e.CancelAsked,
    "undo": e.UndoAsked,
    "did-it-myself": e.DoneByHand,
}
ALL_VERBS = ("approve", "deny", "cancel", "did-it-myself", "undo", "resolve")
OF_EXECUTE: tuple[type[e.Event], ...] = (e.Claimed, e.Looked, e.StepIntended, e.StepTaken, e.ChangeUndone, e.StepProbed)
MOMENTS: tuple[type[e.Event], ...] = (  # when something going wrong has most to spoil
    e.ActionProposed,
    e.ProposalDeferred,
    e.ApprovalAsked,
    e.ApprovalCounted,
    e.ExecutionAuthorized,
    e.ExecutionStarted,
    e.Sampled,
    e.ExecutionAborting,
    e.Concluded,
    e.ClusterQuarantined,
    *OF_EXECUTE,
)
FEATURES: tuple[tuple[str, float], ...] = (  # name of the method, and how often it is chosen
    ("kill", 2),
    ("kill_at_an_event", 3),
    ("somebody_is_away", 1.5),
    ("an_hour_without_execute", 0.2),
    ("drain", 1),
    ("pd_fails", 4),
    ("pd_refuses", 1),
    ("pd_is_away", 0.7),
    ("pd_cant_tell", 0.7),
    ("pd_changes_its_leader", 1),
    ("pd_restarts", 1),
    ("store_goes", 0.5),
    ("people_speak", 3),
    ("spoken_of_before_it_is_judged", 0.7),
    ("called_off_before_it_begins", 1),
    ("people_resolve", 0.7),
    ("somebody_freezes", 1),
    ("halted_for_an_hour", 0.2),
    ("frozen_in_new_words", 0.7),
    ("controls_are_away", 1),
    ("frozen_while_nobody_hears", 0.7),
    ("a_word_that_nobody_can_read", 0.3),
    ("policy_moves_on", 1),
    ("somebody_evicts_by_hand", 1),
    ("somebody_takes_it_back_by_hand", 0.3),
    ("alert", 1),
    ("alert_ends", 3),
    ("alert_flaps", 1),
    ("another_alert", 0.7),
    ("junk", 0.5),
)


# -- a history ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Happening:
    """One thing that goes wrong, and when. Each has chance of its own: without one, the others stay as they are."""

    number: int
    after_s: float  # since the one before
    name: str
    at_a_moment: bool  # waits for something to spoil
    restarts: bool  # one of the dead comes back before it

    def __str__(self) -> str:
        return f"{self.number}:{self.name}"


def planned(seed: int) -> tuple[Happening, ...]:
    """All that goes wrong in the history of this seed."""
    chance = Chance(f"{seed}/plan")
    features = chance.some_of(FEATURES, chance.between(0.2, 0.9)) or FEATURES[:1]
    ends_s, at_s, plan = chance.between(60, TROUBLE_S), 0.0, list[Happening]()
    while at_s < ends_s:
        after_s = chance.between(0.1, PAUSE_S)
        name = chosen(features, chance)
        plan.append(Happening(len(plan), after_s, name, chance.happens(0.4), chance.happens(0.6)))
        at_s += after_s
    return tuple(plan)


@dataclass(frozen=True)
class Told:
    """What one seed has led to."""

    seed: int
    plan: tuple[Happening, ...]
    wrong: tuple[tuple[str, str], ...]  # (invariant, what)
    transitions: Counter[tuple[State | None, str]]
    events: int
    writes: int
    mark: str  # SHA-256 over all that is on the log and in the cluster's record: two runs of a seed agree
    story: str = ""


def tell(seed: int, *, only: Collection[int] | None = None, keep_story: bool = False) -> Told:
    """Live through the history of this seed, or through `only` these of its happenings, and judge it."""
    kept: list[Told] = []
    plan = tuple(one for one in planned(seed) if only is None or one.number in only)

    async def live(world: World) -> None:
        assert isinstance(world, Simulated)
        kept.append(await _lived(world, seed, plan, keep_story))

    run_world(live, lambda: Simulated(seed))
    return kept[0]


async def _lived(world: Simulated, seed: int, plan: Sequence[Happening], keep_story: bool) -> Told:
    trouble, chance = Trouble(world), Chance(f"{seed}/people")
    world.adopt()
    world.start()
    going = [asyncio.ensure_future(_begin(trouble, Chance(f"{seed}/alert")))]
    people = asyncio.ensure_future(every(lambda: chance.between(2, 30), lambda: trouble.people_answer(chance)))
    number = 0
    for one in planned(seed)[: plan[-1].number + 1 if plan else 0]:
        await world.passes(one.after_s)
        if one.restarts:
            await trouble.restart()
        if one in plan[number : number + 1]:
            going.append(asyncio.ensure_future(trouble.happen(one, Chance(f"{seed}/{one.number}"))))
            number += 1
    await asyncio.gather(*going)
    await _peace(trouble, Chance(f"{seed}/peace"))
    people.cancel()
    await asyncio.gather(people, return_exceptions=True)
    history = world.history()
    return Told(
        seed,
        tuple(plan),
        tuple(judge(history)),
        transitions_of(history),
        len(history.records),
        len(history.writes),
        _mark(world),
        world.story() if keep_story else "",
    )


async def _begin(trouble: Trouble, chance: Chance) -> None:
    await asyncio.sleep(chance.between(5, 15) if chance.happens(0.4) else chance.between(15, 300))
    await trouble.alert(chance)


async def _peace(trouble: Trouble, chance: Chance) -> None:
    """Faults stop, who died lives again, stops are lifted, people resolve; and all deadlines pass. A freeze may stay:
    under it everything that has begun ends all the same."""
    world = trouble.world
    world.faults.clear()
    world.controls.cut_off = False
    for scope in (CLUSTER, "*"):
        world.lift(scope)
    for meant in world.meant:
        world.lift_input(meant.place)
    for store in (1, 2, 3, 4):
        world.pd.revive_store(store)
    while trouble.dead:
        await trouble.restart()
    if chance.happens(0.2):
        world.freeze()
    for _ in range(3):
        await world.passes(PEACE_S / 3)
        trouble.lift_inputs()
        await trouble.people_resolve(chance)
    await world.passes(600)


async def every(pause: Callable[[], float], do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(pause())
        await do()


def chosen(features: Sequence[tuple[str, float]], chance: Chance) -> str:
    at = chance.share() * sum(weight for _, weight in features)
    for name, weight in features:
        at -= weight
        if at <= 0:
            return name
    return features[-1][0]


def _moves(records: Sequence[Record]) -> Iterator[tuple[str, State | None, str, State]]:
    """(remediation, its state, event, its next state), in order."""
    states: dict[str, State] = {}
    for record in records:
        if record.topic == "remediations":
            name, remediation = type(record.event).__name__, getattr(record.event, "remediation_id", "")
            state = states.get(remediation)
            if (state, name) in TRANSITIONS:
                states[remediation] = after(state, name)
                yield remediation, state, name, states[remediation]


def states_of(records: Sequence[Record]) -> dict[str, State]:
    """Where each remediation is."""
    return {remediation: state for remediation, _, _, state in _moves(records)}


def transitions_of(history: History) -> Counter[tuple[State | None, str]]:
    """Which rows of the lifecycle table were taken."""
    return Counter((state, name) for _, state, name, _ in _moves(history.records))


def _mark(world: Simulated) -> str:
    digest = hashlib.sha256()
    for (topic, partition), raws in sorted(world.log.records.items()):
        for raw in raws:
            digest.update(f"{topic}/{partition}@{raw.offset} {raw.at_ms} ".encode() + (raw.value or b""))
    for call in world.pd.calls:
        digest.update(f"{call.at} {call.method} {call.path} {call.status} {call.caller_id}".encode())
    return digest.hexdigest()[:16]
