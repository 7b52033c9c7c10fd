"""A desk over a log in memory, with the true acting ledger behind it: a word is signed, judged and counted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from actions import calls
from console.desk import Desk, Place, Who
from console.journal import Journal
from console.keys import make_key
from infra.runners.books import Books, Draft, Raw, fold_control
from infra.runners.memory import MemoryLog
from schemas import events as e
from schemas.chain import Link, edge, stamp
from schemas.controls import Controls
from schemas.facts import Facts, StoreFacts
from schemas.policy import Policy
from schemas.signing import kid_of, public_of
from schemas.values import AlertRef, Bounds, Cause, Change, Evidence, Plan, Reach, Tier
from schemas.wire import decode, digest_of, encode, frame
from streams.pipeline import BY_NAME
from streams.remediations import Acting, Remediations, Settings

CLUSTER = "prod-eu-7"
PD = 7168243901123456
START_MS = 1_790_000_000_000
ANNA, BEN = Who("anna"), Who("ben")
READS = ("incidents", "proposals", "validations", "approvals", "outcomes")


@dataclass
class Office:
    """The log, the ledger, the journal and the desk, and a clock that stands still unless told."""

    now: int = START_MS
    policy: Policy = field(default_factory=lambda: Policy(version=1, actions={}))
    reachable: bool = True

    def __post_init__(self) -> None:
        self.key = make_key()
        self.log = MemoryLog(1, lambda: self.now)
        self.journal = Journal(caught_up=True)
        self.controls = Controls(live=True, policy=self.policy)
        rules = Remediations(Settings("test", {kid_of(self.key): public_of(self.key)}))
        self.books: Books[Acting] = Books("remediations", "remediations", 0, 1, rules)
        self._ids = (f"id-{n}" for n in itertools.count(1))
        self.desk = Desk(
            environment="test",
            clusters={CLUSTER: Place(PD, 1, {"env": CLUSTER})},
            journal=self.journal,
            publish=self._publish,
            now_ms=lambda: self.now,
            new_id=lambda: next(self._ids),
            key=self.key,
            known_actions=frozenset({"evict_store_leaders"}),
        )

    async def _publish(self, topic: str, cluster_id: str, event: e.Event) -> None:
        if not self.reachable:
            raise ConnectionError("no broker")
        self.write(topic, event)

    def write(self, topic: str, event: e.Event, id: str = "") -> None:
        """One record further, and all that the ledger has to say to it."""
        if event.headless:
            raw = self.log.append(topic, event.cluster_id, encode(event))
        else:
            raw = self.log.write(topic, edge(event, id or f"e-{len(self.log.records)}-{self.now}", self.now))
        self._seen(raw)

    def junk(self, topic: str) -> str:
        """A record that nobody can read. Returns its place."""
        raw = self.log.append(topic, CLUSTER, b"junk")
        self._seen(raw)
        return f"{topic}/{raw.partition}@{raw.offset}"

    def chokes(self, offset: int, ledger: str = "outcomes", cluster_id: str = CLUSTER) -> str:
        """`ledger` says that its decider raised on the record of `remediations` at this offset. Returns its place."""
        rejected = e.InputRejected(cluster_id=cluster_id, code="impossible", text="KeyError: 'x'")
        cause = Cause(topic="remediations", partition=0, offset=offset)
        made, _ = stamp(ledger, Link(), rejected, cause, self.now, self.controls.offset)
        self._seen(self.log.write(ledger, made))
        return f"remediations/0@{offset}"

    def _seen(self, raw: Raw) -> None:
        self.journal.take(raw)
        if raw.topic == "controls":
            self.controls = fold_control(self.controls, raw)
        if raw.topic not in READS:
            return
        draft = self.books.draft(self.controls, self.now)
        draft.take(raw)
        draft.seal()
        self._commit(draft)

    def time_passes(self) -> None:
        """The ledger looks again."""
        draft = self.books.draft(self.controls, self.now)
        draft.tick(CLUSTER, self.now)
        self._commit(draft)

    def _commit(self, draft: Draft[Acting]) -> None:
        self.books.accept(draft)
        for made in draft.stamped:
            key = made.event.cluster_id
            self.journal.take(self.log.append("remediations", key, frame(type(made.event), made.body)))

    def let_pass(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    # beats

    def incident(self, incident_id: str = "INC-1", **more: Any) -> None:
        alert = AlertRef(fingerprint="f1", name="TiKV_slow", starts_at_ms=self.now, level="critical")
        self.write(
            "incidents",
            e.IncidentOpened(
                cluster_id=CLUSTER,
                incident_id=incident_id,
                family="disk",
                title="store 4 disk stall",
                level="critical",
                alert=alert,
                **more,
            ),
        )

    def asked(self, remediation_id: str = "R-1", tier: Tier = "MEDIUM", **proposal: Any) -> str:
        """A proposal that has been validated and is asked about. Returns the digest."""
        evidence = (
            Evidence(id="E1", text="slow_score 84", source="alert", entities=("store:4",), seen_at_ms=self.now),
        )
        said: dict[str, Any] = {"why": "the disk stalls", "disputed": False, "by": "playbook", **proposal}
        self.write(
            "proposals",
            e.ActionProposed(
                cluster_id=CLUSTER,
                incident_id="INC-1",
                remediation_id=remediation_id,
                proposal_id="P-1",
                attempt=1,
                action="evict_store_leaders",
                params='{"keep_s":900,"store_id":4}',
                cause="slow_store",
                confidence=0.86,
                evidence=evidence,
                **said,
            ),
        )
        plan = a_plan()
        self.write(
            "validations",
            e.ProposalValidated(
                cluster_id=CLUSTER,
                incident_id="INC-1",
                remediation_id=remediation_id,
                proposal_id="P-1",
                attempt=1,
                action=plan.action,
                mode="on",
                facts=some_facts(self.now),
                plan=plan,
                reach=Reach(stores=1, regions=812, leaders=812, leaders_share=0.11),
                tier=tier,
                tier_reasons=("evicting leaders is MEDIUM",),
                digest=digest_of(plan),
            ),
        )
        return digest_of(plan)

    async def runs(self, remediation_id: str = "R-1") -> None:
        """Asked, approved by anna, claimed, and its first call made."""
        digest = self.asked(remediation_id)
        await self.desk.approve(ANNA, remediation_id, digest, "disk known bad")
        plan, asked = a_plan(), self.journal.remediations[remediation_id].ask
        assert asked is not None
        claim: dict[str, Any] = {"digest": digest, "tier": "MEDIUM", "mode": "on", "approvals": (), "deadline_ms": 0}
        of_it = {"action": plan.action, "params": plan.params, "plan": plan, "incident_id": "INC-1"}
        self.executes(e.Claimed, remediation_id, **of_it, **claim)
        self.steps(1, "do", "accepted", remediation_id=remediation_id, status=200)

    def steps(self, step: int, kind: str, answer: str, *, remediation_id: str = "R-1", **more: Any) -> None:
        change = a_plan().changes[0]
        call, undo, keep_s = (change.do, change.undo, change.keep_s) if kind == "do" else (change.undo, None, 0)
        said = {"change": 0, "kind": kind, "call": call, "undo": undo, "keep_s": keep_s, "window_s": 15}
        self.executes(e.StepIntended, remediation_id, step=step, **said)
        self.executes(e.StepTaken, remediation_id, step=step, answer=answer, **more)

    def executes(self, said: type[e.Event], remediation_id: str = "R-1", **more: Any) -> None:
        """What `execute` says."""
        given = {"cluster_id": CLUSTER, "remediation_id": remediation_id, "attempt": 1, **more}
        self.write("outcomes", said.model_validate(given))

    def said(self, topic: str) -> list[str]:
        return [type(event).__name__ for event in self.events(topic)]

    def events(self, topic: str) -> list[e.Event]:
        return [decode(raw.value).event for raw in self.log.read(topic, 0, 0)]


def a_plan() -> Plan:
    return Plan(
        environment="test",
        cluster_id=CLUSTER,
        pd_cluster_id=PD,
        action="evict_store_leaders",
        action_version=1,
        params='{"keep_s":900,"store_id":4}',
        changes=(Change(do=calls.add_evict_leader(4), undo=calls.remove_evict_leader(4), keep_s=900),),
        premises=(),
        bounds=Bounds(stores_max=1, regions_max=1031, leaders_max=1031),
        policy_version=1,
        policy_rules=("approval.medium=one",),
    )


def some_facts(now_ms: int) -> Facts:
    stores = tuple(
        StoreFacts(id=n, address=f"10.0.4.{n}:20160", state="Up", written_bytes_per_s=n * 1e6) for n in range(1, 10)
    )
    return Facts(cluster_id=CLUSTER, pd_cluster_id=PD, taken_at_ms=now_ms, stores=stores)


assert set(READS) <= set(BY_NAME)
