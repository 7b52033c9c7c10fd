"""The people of one history, and all that goes wrong in it: each method that FEATURES names is one thing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from pdsim import faults as pd_faults
from pdsim.regions import Region
from schemas import events as e
from schemas.lifecycle import OPEN, TRANSITIONS, VERBS, State, after
from schemas.processors import Record
from schemas.values import Plan
from schemas.wire import frame
from streams.pipeline import PROCESSORS
from tests.simulation.chance import Chance
from tests.simulation.invariants import MeantStop
from tests.simulation.processes import Process
from tests.simulation.world import NEXT_MONTH_S, Instance, Simulated
from tests.spec.world import ACTING_POLICY, CLUSTER, PD_ID

HANG_ON = tuple(sorted({topic for line in PROCESSORS for topic in (*line.reads, *line.writes)} - {"controls"}))


@dataclass
class Trouble:
    world: Simulated
    answered: set[str] = field(default_factory=set)
    dead: list[Instance] = field(default_factory=list)  # killed: `restart` brings them back
    firing: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    hung: int = 0

    async def happen(self, name: str, at_a_moment: bool, chance: Chance) -> None:
        if at_a_moment:
            await self._moment(chance.one_of(MOMENTS), 300)
        await getattr(self, name)(chance)

    async def _moment(self, kind: type[e.Event], within_s: float) -> bool:
        """The next time that an event of this kind is durable."""
        log, ends_s = self.world.log, self.world.now_s() + within_s
        seen = len(log.of_kind(kind))
        while len(log.of_kind(kind)) == seen:
            if self.world.now_s() >= ends_s:
                return False
            await log.news_of(kind, ends_s - self.world.now_s())
        return True

    async def _brokers_answer(self) -> None:
        while self.world.brokers.cluster.is_down:
            await self.world.brokers.change(())

    # processes

    def _instance(self, chance: Chance) -> Instance:
        """Mostly one that executes."""
        if chance.happens(0.5):
            return chance.one_of(self.world.instances_with("execute"))
        return chance.one_of(self.world.all_instances())

    def _living(self, chance: Chance) -> Process | None:
        return self.world.instances.get(self._instance(chance))

    def _kill(self, instance: Instance) -> None:
        self.world.kill_instance(instance)
        if instance not in self.dead and instance not in self.world.away:
            self.dead.append(instance)

    async def kill(self, chance: Chance) -> None:
        """At any moment: between a commit and what follows it, in the middle of a request."""
        await asyncio.sleep(chance.between(0, 1.5))
        self._kill(self._instance(chance))

    async def kill_at_an_event(self, chance: Chance) -> None:
        """In the very moment when something of its own is durable."""
        await self._moment(chance.one_of(OF_EXECUTE), 120)
        if chance.happens(0.5):
            await asyncio.sleep(chance.between(0, 1.2))
        for instance in self.world.instances_with("execute"):
            if chance.happens(0.9):
                self._kill(instance)

    async def kill_at_a_call(self, chance: Chance) -> None:
        """Just before the brokers have what it asks for, or just after: the answer is lost."""
        if process := self._living(chance):
            process.dies_at_a_call(int(chance.between(1, 60)), chance.happens(0.5))

    async def restart(self) -> None:
        if self.dead:
            self.world.start_instance(self.dead.pop(0))

    async def somebody_is_away(self, chance: Chance) -> None:
        """For minutes: nobody validates, nobody claims."""
        role = chance.one_of(("execute", "execute", "validate", "validate", "remediations", "incidents", "tickets"))
        await self._away(role, chance.one_of((70.0, 150.0, 400.0, 700.0)))

    async def an_hour_without_execute(self, chance: Chance) -> None:
        await self._away("execute", chance.between(3_650, 4_000))

    async def _away(self, role: str, for_s: float) -> None:
        """All that carry the role."""
        going = [instance for instance in self.world.instances_with(role) if instance not in self.world.away]
        for instance in going:
            self.world.away.add(instance)
            if instance in self.dead:
                self.dead.remove(instance)
            self.world.kill_instance(instance)
        await asyncio.sleep(for_s)
        for instance in going:
            self.world.away.discard(instance)
            self.world.start_instance(instance)

    async def drain(self, chance: Chance) -> None:
        """A rolling restart: partitions are given up in good order, and taken by another."""
        if process := self._living(chance):
            await process.term()

    async def stop(self, chance: Chance) -> None:
        """SIGSTOP, for less than a session or for longer, and on."""
        if process := self._living(chance):
            process.stop()
            await asyncio.sleep(chance.between(0.1, 40))
            process.go_on()

    async def stop_at_a_call(self, chance: Chance) -> None:
        """In the middle of a transaction, say; by the time it goes on, its group may have forgotten it."""
        if process := self._living(chance):
            process.stops_at_a_call(int(chance.between(1, 60)), chance.between(0.1, 40))

    # the log

    async def cut_off(self, chance: Chance) -> None:
        """One process from the brokers; what it has asked for may arrive late."""
        if process := self._living(chance):
            process.cut_off()
            await asyncio.sleep(chance.between(0.1, 40))
            process.mend()

    async def cut_off_from_both(self, chance: Chance) -> None:
        """From the brokers and from PD."""
        now_s, for_s = self.world.now_s(), chance.between(1, 40)
        self.world.faults.add(pd_faults.ConnectionRefused(), between=(now_s, now_s + for_s), times=None)
        if process := self._living(chance):
            process.cut_off()
            await asyncio.sleep(for_s)
            process.mend()

    async def brokers_are_away(self, chance: Chance) -> None:
        if not self.world.brokers.cluster.is_down:
            self.world.brokers.go_down()
            await asyncio.sleep(chance.between(0.5, 40))
            self.world.brokers_are_back()

    async def markers_are_late(self, chance: Chance) -> None:
        self.world.markers_take(chance.between(100, 6_000))
        await asyncio.sleep(chance.between(5, 60))
        self.world.markers_take(30)

    async def transactions_are_aborted(self, chance: Chance) -> None:
        """A broker says so, of any of them: nothing of it has happened, and the next one may commit."""
        self.world.brokers.aborting = chance.between(0.05, 0.6)
        await asyncio.sleep(chance.between(5, 60))
        self.world.brokers.aborting = 0.0

    async def clock_jumps(self, chance: Chance) -> None:
        """The brokers' clock, forward or back, for a while or for good."""
        by_ms = chance.one_of((300, 3_000, 40_000, 600_000, 3_600_000))
        self.world.brokers.clock_jumps(chance.one_of((by_ms, -by_ms)))
        if chance.happens(0.6):
            await asyncio.sleep(chance.between(1, 300))
            self.world.brokers.clock_jumps(0)

    async def heads_are_cut(self, chance: Chance) -> None:
        await asyncio.sleep(chance.between(0, 300))
        self.world.cut_heads()

    async def somebody_hangs(self, chance: Chance) -> None:
        """A transaction of a foreign producer stays open, and hides what comes after it."""
        await self._brokers_answer()
        self.hung += 1
        topic = "outcomes" if chance.happens(0.4) else chance.one_of(HANG_ON)
        place = (topic, int(chance.between(0, self.world.log.partitions)))
        timeout_ms = int(chance.between(1_000, 60_000))
        self.world.brokers.cluster.hang(place, f"foreign-{self.hung}", self.world.now_ms(), timeout_ms)
        self.world.brokers.advance()

    async def somebody_resets_offsets(self, chance: Chance) -> None:
        """An administrator, while a group is empty: committed offsets are nothing that we rely on."""
        name = chance.one_of(tuple(self.world.groups))
        for instance in self.world.all_instances():
            if instance[0] == name:
                self._kill(instance)
        await asyncio.sleep(12)  # their sessions are over
        await self._brokers_answer()
        cluster = self.world.brokers.cluster
        for line in self.world.groups[name]:
            group = cluster.group(line.role)
            if line.verb != "maps" and not group.members:
                for topic, number in group.offsets:
                    end = cluster.partition((topic, number)).end
                    group.commit({(topic, number): (chance.one_of((0, end)), cluster.next_order())})

    # the audit

    async def audit_is_killed(self, chance: Chance) -> None:
        await asyncio.sleep(chance.between(0, 3))
        await self.world.kill_audit()
        await asyncio.sleep(chance.between(0, 60))
        self.world.audit()

    async def table_fails(self, chance: Chance) -> None:
        """Just when there is much to write: nobody has audited for a while, mostly since before the month ended."""
        if self.world.table is None:
            return
        left_s = NEXT_MONTH_S - self.world.now_s()
        if 0 < left_s < 600:
            await asyncio.sleep(max(0, left_s - chance.between(5, 150)))
        await self.world.kill_audit()
        await asyncio.sleep(chance.between(10, 60))
        self.world.table.fails = chance.between(0.2, 0.8)
        self.world.audit()
        await asyncio.sleep(chance.between(25, 120))
        self.world.table.fails = 0.0

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

    async def pd_never_takes_back(self, chance: Chance) -> None:
        """Somebody does at last, and does not say so; and then something else needs mending."""
        self.world.faults.add(NO_OF_PD, method="DELETE", path=SCHEDULERS, times=6)
        if await self._moment(e.ClusterQuarantined, 900):
            for _ in range(7):
                await self._by_hand("DELETE", f"{SCHEDULERS}/evict-leader-scheduler-4")
            await self._all_clear(chance)
            await self._alert_of(self.world.plots[-1], chance)

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

    async def store_gets_another_address(self, chance: Chance) -> None:
        """Of the very store that people are asked about: a pod, say, that comes up elsewhere."""
        await self._moment(e.ApprovalAsked, 300)
        await asyncio.sleep(chance.between(0, 20))
        self.world.pd.stores[4].address = f"10.0.{int(chance.between(5, 250))}.4:20160"

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
            await self._moment(e.RemediationOpened if not states else e.RemediationClosed, 10)
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
        await self._brokers_answer()
        raw = self.world.log.append("controls", event.cluster_id, bytes(value))
        place = f"controls/0@{raw.offset}"
        self.world.meant.append(MeantStop(place, "freeze", CLUSTER, self.world.now_ms()))
        await asyncio.sleep(chance.between(20, 300))
        self.world.lift_input(place)

    async def controls_are_away(self, chance: Chance) -> None:
        with self.world.nobody_hears():
            await asyncio.sleep(chance.between(1, 60))

    async def frozen_while_nobody_hears(self, chance: Chance) -> None:
        """Just when all have agreed, the controls can't be read, and in them stands a freeze."""
        kinds: tuple[type[e.Event], ...] = (e.ApprovalAsked, e.ApprovalAsked, e.Claimed, e.StepIntended)
        await self._moment(chance.one_of(kinds), 300)
        with self.world.nobody_hears():
            self.world.freeze()
            await asyncio.sleep(chance.between(20, 200))
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
        self.world.adopt({**self.world.policy, "actions": modes}, version)

    async def agreed_to_at_a_wrong_hour(self, chance: Chance) -> None:
        """They are asked in time. By when the last of them has agreed, or a freeze is lifted, it may not start."""
        hours = self.world.hours
        if hours is None or not await self._moment(e.ApprovalAsked, max(0.0, hours.begins_s - self.world.now_s())):
            return
        ask, is_frozen = self.world.found(e.ApprovalAsked)[-1], chance.happens(0.5)
        if is_frozen:
            self.world.freeze()
        else:
            self.answered.add(ask.digest)
        await asyncio.sleep(max(0.0, hours.begins_s - self.world.now_s()) + chance.between(1, 60))
        if is_frozen:
            return self.world.lift()
        for person in ("anna", "bo")[: max(1, ask.needed)]:
            self.world.approve(ask, person)

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

    async def somebody_moves_the_leader_by_hand(self, chance: Chance) -> None:
        """Of the very region that people are asked about."""
        if not await self._moment(e.ApprovalAsked, 300):
            return
        await asyncio.sleep(chance.between(0, 20))
        for change in self.world.found(e.ApprovalAsked)[-1].plan.changes:
            if change.do.name == "transfer_leader":
                region = int(change.do.args["region_id"])
                found = self.world.pd.truth.get(region)
                assert found is not None
                others = _followers(found)
                body = {"name": "transfer-leader", "region_id": region, "to_store_id": chance.one_of(sorted(others))}
                await self._by_hand("POST", "/pd/api/v1/operators", body)

    async def _by_hand(self, method: str, path: str, body: Any = None) -> None:
        async with httpx.AsyncClient(transport=self.world.transport, base_url="http://pd-0:2379", timeout=5) as client:
            with suppress(httpx.HTTPError):
                await client.request(method, path, json=body, headers={"X-Caller-ID": "pd-ctl"})

    # monitors

    async def alert(self, chance: Chance) -> None:
        """There is something to mend, and a monitor says so."""
        await self._alert_of(chance.one_of(self.world.plots), chance)

    async def _alert_of(self, plot: str, chance: Chance) -> None:
        pd = self.world.pd
        match plot:
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
        await self._all_clear(chance)
        await self.alert(chance)

    async def _all_clear(self, chance: Chance) -> None:
        self.world.pd.set_slow(4, 1)
        ended, self.firing = self.firing, []
        for name, labels in ended:
            self.world.alert(name, status="resolved", **labels)
        await asyncio.sleep(chance.between(305, 400))  # until it is closed

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
    ("kill_at_a_call", 2),
    ("drain", 1),
    ("stop", 1),
    ("stop_at_a_call", 1),
    ("cut_off", 1),
    ("cut_off_from_both", 0.5),
    ("brokers_are_away", 0.5),
    ("markers_are_late", 0.7),
    ("transactions_are_aborted", 0.7),
    ("clock_jumps", 0.7),
    ("heads_are_cut", 0.7),
    ("somebody_hangs", 0.7),
    ("somebody_resets_offsets", 0.3),
    ("audit_is_killed", 0.5),
    ("table_fails", 0.7),
    ("pd_fails", 4),
    ("pd_refuses", 1),
    ("pd_never_takes_back", 0.7),
    ("pd_is_away", 0.7),
    ("pd_cant_tell", 0.7),
    ("pd_changes_its_leader", 1),
    ("pd_restarts", 1),
    ("store_goes", 0.5),
    ("store_gets_another_address", 0.3),
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
    ("somebody_moves_the_leader_by_hand", 0.5),
    ("alert", 1),
    ("alert_ends", 3),
    ("alert_flaps", 1),
    ("another_alert", 0.7),
    ("junk", 0.5),
)


MOVING = frozenset(name for _, name in TRANSITIONS)


def moves(records: Sequence[Record]) -> Iterator[tuple[str, State | None, str, State]]:
    """(remediation, its state, event, its next state), in order."""
    states: dict[str, State] = {}
    for record in records:
        if record.topic == "remediations" and (name := type(record.event).__name__) in MOVING:
            remediation = getattr(record.event, "remediation_id", "")
            state = states.get(remediation)
            if (state, name) in TRANSITIONS:
                states[remediation] = after(state, name)
                yield remediation, state, name, states[remediation]


def states_of(records: Sequence[Record]) -> dict[str, State]:
    """Where each remediation is."""
    return {remediation: state for remediation, _, _, state in moves(records)}
