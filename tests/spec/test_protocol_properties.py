"""The execution protocol against every history: there is always a next move, and none repeats what may be running."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actions.action import Action, Undo, least_tier
from actions.calls import CALLS
from actions.catalogue import CATALOGUE
from actions.evict_store_leaders import EvictStoreLeaders
from actions.pause_scheduler import PauseScheduler
from actions.remove_tombstones import RemoveTombstones
from actions.set_schedule_config import SetScheduleConfig
from actions.set_store_weight import SetStoreWeight
from actions.transfer_region_leader import TransferRegionLeader
from console.keys import make_key
from executors.changes import Claim
from executors.protocol import Cluster, Look, Rest, Rules, Say, Seen, Send, evolve, next_move
from schemas import events as e
from schemas.controls import Controls, Stop
from schemas.facts import Facts
from schemas.policy import Policy
from schemas.signing import Claims, kid_of, public_of, sign
from schemas.values import Head, Plan, SignedApproval, canonical_json
from schemas.wire import digest_of
from tests.actions.clusters import NOW, healthy, tombstone

LIMITS = {"settling_s": 10, "pd_leader_age_s_min": 0}
ON = {name: {"mode": "on"} for name in CATALOGUE}
LIVE = Controls(
    live=True, read_once=True, policy=Policy.model_validate({"version": 1, "actions": ON, "limits": LIMITS})
)
KEY = make_key()
CONTROLS = {
    "live": LIVE,
    "frozen": replace(LIVE, stops={("freeze", "*"): Stop("freeze", "anna", "t", 0)}),
    "halted": replace(LIVE, stops={("halt", "*"): Stop("halt", "anna", "t", 0)}),
    "not live": replace(LIVE, live=False),
}
RULES = Rules(environment="test", owner="me", keys={kid_of(KEY): public_of(KEY)}, pinned={"prod": 7168243901123456})
EVICT = EvictStoreLeaders(store_id=4, keep_s=60)
TRANSFER = TransferRegionLeader(region_id=180, to_store_id=2)
BURY = RemoveTombstones(store_ids=(8, 9))
WEIGH = SetStoreWeight(store_id=4, weight_of="leader", weight=0.5)
PAUSE = PauseScheduler(scheduler="balance-region-scheduler", keep_s=60)
CONFIG = SetScheduleConfig(key="leader-schedule-limit", value=2, keep_s=60)
ACTIONS: dict[str, tuple[Action, Facts]] = {
    "pause": (PAUSE, healthy()),
    "evict": (EVICT, healthy()),
    "transfer": (TRANSFER, healthy()),
    "bury": (BURY, healthy().model_copy(update={"stores": (*healthy().stores, tombstone(8), tombstone(9))})),
    "weigh": (WEIGH, healthy()),
    "config": (CONFIG, healthy(schedule_config={"leader-schedule-limit": 4})),
}


def claimed(action: Action, facts: Facts, mode: str) -> e.Claimed:
    params = canonical_json(action.model_dump())
    tier = least_tier(action)
    plan = Plan(
        environment="test",
        cluster_id="prod",
        pd_cluster_id=facts.pd_cluster_id,
        action=action.name,
        action_version=action.version,
        params=params,
        changes=action.plan(facts),
        premises=action.relies_on(facts),
        bounds=action.bounds(facts),
        policy_version=1,
        policy_rules=(f"approval.{tier.lower()}={LIVE.policy.approval_rule(tier)}", f"mode={mode}"),
    )
    return e.Claimed(
        cluster_id="prod",
        incident_id="I",
        remediation_id="R",
        attempt=1,
        action=action.name,
        params=params,
        plan=plan,
        digest=digest_of(plan),
        tier=tier,
        mode=mode,
        approvals=tuple(approval(plan, person) for person in ("anna", "bert")),
        deadline_ms=NOW + 600_000,
    )


def approval(plan: Plan, person: str) -> SignedApproval:
    said = Claims(
        environment="test",
        pd_cluster_id=plan.pd_cluster_id,
        remediation_id="R",
        digest=digest_of(plan),
        decision="approve",
        person=person,
        via="cli",
        iat=NOW,
        exp=NOW + 23 * 3_600_000,
        approval_id=person,
        reason="spec",
    )
    return SignedApproval(
        approval_id=person,
        person=person,
        via="cli",
        kid=kid_of(KEY),
        decided_at_ms=said.iat,
        expires_at_ms=said.exp,
        reason=said.reason,
        jws=sign(KEY, said),
    )


@dataclass
class Execution:
    """A shell without a world: it does what `next_move` says, and the history decides how each call and look ends.

    `sent`: calls that may have reached the cluster. `present`: is the change there, as PD would show it."""

    action: Action
    base: Facts
    mode: str = "on"
    now_ms: int = NOW
    seen: Seen = field(default_factory=lambda: Seen(controls=LIVE))
    cluster: Cluster = field(default_factory=lambda: Cluster("prod"))
    events: list[e.Event] = field(default_factory=list)
    sent: list[e.StepIntended] = field(default_factory=list)
    present: bool = False
    led_since_ms: int = 0  # when PD's leader last changed

    def __post_init__(self) -> None:
        self.hears(claimed(self.action, self.base, self.mode))

    def hears(self, *events: e.Event) -> None:
        self.now_ms += 1
        for event in events:
            self.cluster = evolve(self.cluster, event, Head(event_id="x", at_ms=self.now_ms))
        self.events += events

    @property
    def claim(self) -> Claim | None:
        return self.cluster.claim

    def facts(self, settled: bool = True) -> Facts:
        age_s = min(900.0, (self.now_ms - self.led_since_ms) / 1000) if settled else 1.0
        now: dict[str, Any] = {"taken_at_ms": self.now_ms, "took_ms": 0, "pd_leader_age_s": age_s}
        if self.present and self.action is EVICT:
            stores = tuple(s.model_copy(update={"leader_count": 0}) if s.id == 4 else s for s in self.base.stores)
            now |= {"evicting": (4,), "stores": stores}
        elif self.present and self.action is TRANSFER:
            now["regions"] = tuple(r.model_copy(update={"leader_store_id": 2}) for r in self.base.regions)
        elif self.present and self.action is BURY:
            now["stores"] = tuple(s for s in self.base.stores if s.id not in (8, 9))
        elif self.present and self.action is PAUSE:
            now["paused_schedulers"] = ("balance-region-scheduler",)
        elif self.present and self.action is WEIGH:
            weighed = {"leader_weight": 0.5}
            now["stores"] = tuple(s.model_copy(update=weighed) if s.id == 4 else s for s in self.base.stores)
        elif self.present and self.action is CONFIG:
            now["schedule_config"] = {"leader-schedule-limit": 2}
        beats = tuple(
            s.model_copy(update={"last_heartbeat_ms": self.now_ms - 1000}) if s.state == "Up" else s
            for s in now.get("stores", self.base.stores)
        )
        return self.base.model_copy(update=now | {"stores": beats})

    def step(self, fate: str) -> None:
        """Ask for the next move and let it end so. `fate` is read as far as the move has any choice."""
        claim = self.claim
        assert claim is not None
        move = next_move(claim, self.seen, self.now_ms, RULES)
        match move:
            case Say(events):
                assert events
                self.hears(*events)
                if any(isinstance(x, e.TakenOver) for x in events):
                    self.seen = replace(self.seen, resumed=False)
            case Rest(until_ms):
                assert until_ms > self.now_ms, "it would never sleep"
                self.now_ms = until_ms
            case Look():
                began_ms = self.now_ms
                self.now_ms += 50
                if fate == "no answer":
                    self.now_ms += 2000
                    self.seen = replace(self.seen, no_facts=("pd_unreachable", "t"), no_facts_since_ms=self.now_ms)
                else:
                    self.seen = replace(self.seen, facts=self.facts(fate != "unsettled"), no_facts=None)
                self.seen = replace(self.seen, looked_at_ms=began_ms, ended_ms=self.now_ms)
            case Send(intended):
                self.send(claim, intended, fate)

    def send(self, claim: Claim, intended: e.StepIntended, fate: str) -> None:
        for step in claim.steps:
            assert not step.is_unknown(), "a step was sent while another may be running"
        stop = self.seen.controls
        if intended.kind == "do":
            assert stop.refuses_forward("prod") is None, "a forward step in spite of a stop"
            assert claim.aborting is None
            made = claim.last(intended.change, "do")
            lost = CALLS[intended.call.name].volatile and made is not None and self.led_since_ms > made.intended_at_ms
            assert made is None or made.had_no_effect() or lost, "what was done is not done again"
            assert not self.present, "it is there, and is made once more"
        else:
            assert stop.refuses_undo("prod") is None, "an undo in spite of a halt"
        assert intended.step == len(claim.steps) + 1
        self.hears(intended)
        if self.mode != "on":
            return self.hears(self.taken(intended, "rehearsed"))
        if fate == "died before":
            return self.dies()
        if fate in ("refused", "no answer"):
            return self.hears(self.taken(intended, "refused" if fate == "refused" else "never_sent"))
        runs = fate != "lost before"
        if runs:
            self.sent.append(intended)
            self.present = intended.kind == "do"
        if fate == "died after":
            return self.dies()
        lost = fate in ("lost before", "lost after")
        self.hears(self.taken(intended, "may_have_run" if lost else "accepted"))

    def taken(self, intended: e.StepIntended, answer: Any) -> e.StepTaken:
        return e.StepTaken(cluster_id="prod", remediation_id="R", attempt=1, step=intended.step, answer=answer)

    def dies(self, down_ms: int = 0) -> None:
        self.now_ms += down_ms
        self.seen = Seen(controls=self.seen.controls, owner_since_ms=self.now_ms, resumed=True)


FATES = ("well", "no answer", "unsettled", "refused", "lost before", "lost after", "died before", "died after")
HISTORY = st.lists(
    st.one_of(
        st.sampled_from(FATES),
        st.tuples(st.just("controls"), st.sampled_from(sorted(CONTROLS))),
        st.tuples(st.just("dies"), st.sampled_from([0, 1000, 1_000_000])),
        st.tuples(st.just("goes on"), st.sampled_from([5, 20, 60])),
        st.tuples(st.just("cancelled"), st.just(0)),
        st.tuples(st.just("comes back"), st.just(0)),
        st.tuples(st.just("PD's leader changes"), st.just(0)),
        st.tuples(st.just("waits"), st.sampled_from([100, 5000, 700_000])),
    ),
    max_size=20,
)


def live_through(run: Execution, history: list[Any]) -> None:
    for happened in history:
        if run.claim is None:
            return
        match happened:
            case ("controls", name):
                run.seen = replace(run.seen, controls=CONTROLS[name])
            case ("dies", down_ms):
                run.dies(down_ms)
            case ("goes on", moves):
                for _ in range(moves):
                    if run.claim is not None:
                        run.step("well")
            case ("waits", ms):
                run.now_ms += ms
            case ("comes back", _):  # tikv/pd#4707; later than the settling time nobody looks any more
                undone = bool(run.sent) and run.sent[-1].kind == "undo"
                settling = run.now_ms < run.claim.gone.get(0, run.now_ms) + LIMITS["settling_s"] * 1000
                if run.action is EVICT and undone and settling:
                    run.present, run.led_since_ms = True, run.now_ms
            case ("PD's leader changes", _):
                run.led_since_ms = run.now_ms
                if run.action is PAUSE:
                    run.present = False
            case ("cancelled", _):
                if run.claim.aborting is None:
                    text = "anna: t"
                    run.hears(
                        e.ExecutionAborting(
                            cluster_id="prod", remediation_id="R", attempt=1, code="cancelled", text=text
                        )
                    )
            case fate:
                run.step(fate)


def ends_well(run: Execution) -> None:
    """From here on nothing goes wrong any more: it ends, and nothing is left behind."""
    run.seen = replace(run.seen, controls=LIVE)
    for _ in range(3000):
        if run.claim is None:
            break
        run.step("well")
    concluded = run.events[-1]
    assert isinstance(concluded, e.Concluded), run.events[-3:]
    if concluded.outcome == "unknown":
        assert concluded.owed or all(c.undo is None for c in run.action.plan(run.base))
        return
    assert concluded.owed == ()
    if run.action.undo is Undo.TEMPORARY:
        assert not run.present, "what was for a while was left behind"
    if concluded.outcome in ("not_started", "rehearsed"):
        assert not run.present


COMES_BACK_WHILE_IT_IS_SAID_TO_BE_GONE = [("goes on", 5), ("controls", "frozen"), ("goes on", 5), ("comes back", 0)]


COMES_BACK_WHILE_NOBODY_WATCHES = [
    "well",
    "well",
    "well",
    ("cancelled", 0),
    ("goes on", 5),
    ("comes back", 0),
    ("dies", 0),
]

COMES_BACK_AT_THE_END_OF_A_LOOK = [
    "well",
    "well",
    "well",
    ("cancelled", 0),
    ("dies", 0),
    ("goes on", 5),
    ("comes back", 0),
]


@pytest.mark.parametrize("name", sorted(ACTIONS))
@settings(max_examples=200, deadline=None)
@given(history=HISTORY)
@example(COMES_BACK_WHILE_IT_IS_SAID_TO_BE_GONE)
@example(COMES_BACK_WHILE_NOBODY_WATCHES)
@example(COMES_BACK_AT_THE_END_OF_A_LOOK)
def test_from_every_history_it_ends_with_nothing_left_behind(name: str, history: list[Any]) -> None:
    run = Execution(*ACTIONS[name])
    live_through(run, history)
    ends_well(run)


@settings(max_examples=60, deadline=None)
@given(history=HISTORY)
def test_a_rehearsal_sends_nothing_whatever_happens(history: list[Any]) -> None:
    run = Execution(*ACTIONS["evict"], mode="dry_run")
    live_through(run, history)
    ends_well(run)
    assert run.sent == []


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_when_all_goes_well_each_change_is_made_once(name: str) -> None:
    run = Execution(*ACTIONS[name])
    ends_well(run)
    assert [s.kind for s in run.sent] == (["do", "undo"] if run.action.undo is Undo.TEMPORARY else ["do"])
    assert isinstance(run.events[-1], e.Concluded)
    assert run.events[-1].outcome == "succeeded"
