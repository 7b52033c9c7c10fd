"""The life of a remediation: each step of the table is reached by the decider, and nothing else is ever said."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.keys import make_key
from schemas import events as e
from schemas.controls import Controls, Stop
from schemas.facts import Facts
from schemas.lifecycle import OPEN, TRANSITIONS, VERBS, State, after
from schemas.policy import Policy
from schemas.processors import Record, Tick
from schemas.signing import Claims, kid_of, public_of, sign
from schemas.values import Bounds, Call, Cause, Change, Head, Mode, Objection, Plan, Reach, SignedApproval, Tier
from schemas.wire import digest_of
from streams.pipeline import BY_NAME
from streams.remediations import Acting, Remediations, Settings

CLUSTER, PD_ID, START_MS = "c", 7, 1_800_000_000_000
KEY = make_key()
RULES = Remediations(Settings("test", {kid_of(KEY): public_of(KEY)}))
POLICY = Policy.model_validate({"version": 1, "actions": {"evict_store_leaders": {"mode": "on"}}})
LIVE = Controls(live=True, read_once=True, policy=POLICY)
MORNINGS = {"kind": "quiet", "start": "07:00", "end": "12:00"}  # it starts at 08:00 UTC
CONTROLS = {
    "live": LIVE,
    "frozen": replace(LIVE, stops={("freeze", CLUSTER): Stop("freeze", "anna", "t", 0)}),
    "halted": replace(LIVE, stops={("halt", "*"): Stop("halt", "anna", "t", 0)}),
    "not live": Controls(),
    "new policy": replace(LIVE, policy=POLICY.model_copy(update={"version": 2})),
    "quiet": replace(LIVE, policy=Policy.model_validate(POLICY.model_dump() | {"windows": {"mornings": MORNINGS}})),
}
FACTS: Facts = cast(Any, Facts).model_construct(cluster_id=CLUSTER, taken_at_ms=START_MS)  # the ledger reads no more


def plan(version: int = 1) -> Plan:
    return Plan(
        environment="test",
        cluster_id=CLUSTER,
        pd_cluster_id=PD_ID,
        action="evict_store_leaders",
        action_version=1,
        params="{}",
        changes=(Change(do=Call(name="add_evict_leader", args={"store_id": "4"})),),
        premises=(),
        bounds=Bounds(stores_max=1, regions_max=1, leaders_max=1),
        policy_version=version,
        policy_rules=(),
    )


DIGESTS = {version: digest_of(plan(version)) for version in (1, 2)}


def _signed(rid: str, person: str, decision: str, version: int, now_ms: int) -> SignedApproval:
    claims = Claims(
        environment="test",
        pd_cluster_id=PD_ID,
        remediation_id=rid,
        digest=DIGESTS[version] if decision in ("approve", "deny") else "",
        decision=decision,
        person=person,
        via="cli",
        iat=now_ms,
        exp=now_ms + 600_000,
        approval_id=f"A{now_ms}",
        reason="t",
    )
    return SignedApproval(
        approval_id=claims.approval_id,
        person=person,
        via="cli",
        kid=kid_of(KEY),
        decided_at_ms=claims.iat,
        expires_at_ms=claims.exp,
        reason="t",
        jws=sign(KEY, claims),
    )


@cache
def inputs(rid: str, now_ms: int, person: str = "anna", version: int = 1, attempt: int = 1) -> dict[str, e.Event]:
    """One of each input that the ledger reads, about this remediation."""
    about: dict[str, Any] = {"cluster_id": CLUSTER, "remediation_id": rid}
    proposed: dict[str, Any] = {**about, "incident_id": "I", "proposal_id": "P", "attempt": attempt}
    proposed["action"] = "evict_store_leaders"

    def validated(tier: Tier, mode: Mode = "on") -> e.Event:
        return e.ProposalValidated.model_construct(
            **proposed,
            mode=mode,
            facts=FACTS,
            plan=plan(version),
            reach=Reach(stores=1, regions=1, leaders=1, leaders_share=0.1),
            tier=tier,
            tier_reasons=(),
            digest=DIGESTS[version],
        )

    def word(decision: str) -> SignedApproval:
        return _signed(rid, person, decision, version, now_ms)

    def concluded(outcome: str) -> e.Event:
        return e.Concluded(
            **about,
            incident_id="I",
            attempt=1,
            outcome=outcome,
            code=outcome,
            text="",
        )

    objection = {kind: Objection(code=kind, kind=kind, text="", until_ms=now_ms + 20_000) for kind in ("no", "wait")}
    return {
        "proposed": e.ActionProposed(
            **proposed, params="{}", why="", cause="", confidence=0.9, disputed=False, evidence=(), by="playbook"
        ),
        "nothing": e.NothingProposed(**about, incident_id="I", code="none", reason="", by="playbook"),
        "low": validated("LOW"),
        "medium": validated("MEDIUM"),
        "high": validated("HIGH"),
        "observed": validated("LOW", "observe"),
        "refused": e.ProposalRefused(**proposed, objections=(objection["no"],)),
        "deferred": e.ProposalRefused(**proposed, objections=(objection["wait"],)),
        "approve": e.Approved(**about, digest=DIGESTS[version], approval=word("approve")),
        "deny": e.Denied(**about, approval=word("deny")),
        "cancel": e.CancelAsked(**about, approval=word("cancel")),
        "undo": e.UndoAsked(**about, approval=word("undo")),
        "did-it-myself": e.DoneByHand(**about, approval=word("by_hand")),
        "resolve": e.OutcomeResolved(**about, outcome="worse", approval=word("resolve:worse")),
        "claimed": e.Claimed.model_construct(**about, attempt=1),
        "claim refused": e.ClaimRefused(**about, code="busy", text=""),
        "succeeded": concluded("succeeded"),
        "unknown": concluded("unknown"),
        "lifted": e.QuarantineLifted(**about, person="anna", reason="t"),
        "incident closed": e.IncidentClosed(cluster_id=CLUSTER, incident_id="I", code="resolved", text=""),
    }


NAMES = tuple(inputs("R", START_MS))


@dataclass
class Ledger:
    """The decider with its state, as a runner would carry it; what was said is checked against the table."""

    state: Acting = field(default_factory=lambda: RULES.initial(CLUSTER))
    now_ms: int = START_MS
    said: list[e.Event] = field(default_factory=list)
    taken: set[tuple[State | None, str]] = field(default_factory=set)

    def hears(self, event: e.Event, controls: Controls = LIVE) -> Sequence[e.Event]:
        head = Head(event_id="x", at_ms=self.now_ms)
        return self._say(
            RULES.decide(
                self.state, Record("t", 0, 0, self.now_ms, head, event, Cause(topic="t")), self.now_ms, controls
            )
        )

    def passes(self, seconds: float, controls: Controls = LIVE) -> Sequence[e.Event]:
        self.now_ms += int(seconds * 1000)
        due = RULES.wakes_at(self.state)
        if due is None or due > self.now_ms:
            return ()
        return self._say(RULES.decide(self.state, Tick(CLUSTER, self.now_ms), self.now_ms, controls))

    def _say(self, events: Sequence[e.Event]) -> Sequence[e.Event]:
        for event in events:
            assert isinstance(event, BY_NAME["remediations"].events)
            rid = getattr(event, "remediation_id", "")
            was = self.state.open[rid].state if rid in self.state.open else None
            if was or isinstance(event, e.RemediationOpened):
                self.taken.add((was, type(event).__name__))
            self.state = RULES.evolve(self.state, event, Head(event_id="x", at_ms=self.now_ms))
            running = [r for r in self.state.open.values() if r.state in ("authorised", "running", "unknown")]
            assert len(running) <= 1, "two executions are open"
        self.said += events
        return events


PATHS: Mapping[State, tuple[str, ...]] = {
    "proposed": ("proposed",),
    "deferred": ("proposed", "deferred"),
    "asked": ("proposed", "medium"),
    "approved": ("proposed", "medium", "approve while frozen"),
    "authorised": ("proposed", "medium", "approve"),
    "running": ("proposed", "medium", "approve", "claimed"),
    "unknown": ("proposed", "medium", "approve", "claimed", "unknown"),
    "closed": ("proposed", "refused"),
}


def ledger_in(state: State) -> Ledger:
    return Ledger(_state_of(state))


@cache
def _state_of(state: State) -> Acting:
    made = Ledger()
    for name in PATHS[state]:
        event = inputs("R", made.now_ms)[name.removesuffix(" while frozen")]
        made.hears(event, CONTROLS["frozen" if "frozen" in name else "live"])
    assert state == "closed" or made.state.open["R"].state == state
    return made.state


def steps_from(state: State) -> set[tuple[State | None, str]]:
    """Every step that some input, under some controls, or time alone brings about in this state."""
    found: set[tuple[State | None, str]] = set()
    for controls in CONTROLS.values():
        for name in NAMES:
            for person, version, rid in itertools.product(("anna", "playbook"), (1, 2), ("R", "R-2")):
                made = ledger_in(state)
                made.taken.clear()
                made.hears(inputs(rid, made.now_ms, person, version)[name], controls)
                found |= made.taken
        for seconds in (1, 30, 200, 500, 3700, 90_000):
            made = ledger_in(state)
            made.taken.clear()
            made.passes(seconds, controls)
            found |= made.taken
    return found


def test_every_step_of_the_table_is_taken_and_no_other_is() -> None:
    taken = {step for state in get_args(State) for step in steps_from(state)}
    assert taken == set(TRANSITIONS)


@pytest.mark.parametrize("state", get_args(State))
def test_what_a_person_may_say_is_what_the_table_of_verbs_says(state: State) -> None:
    heard = set()
    for verb in ("approve", "deny", "cancel", "undo", "did-it-myself", "resolve"):
        said = ledger_in(state).hears(inputs("R", START_MS)[verb])
        if said and not isinstance(said[0], e.ApprovalRejected):
            heard.add(verb)
    assert heard == set(VERBS[state])


def test_each_open_state_has_a_deadline_or_waits_for_a_person() -> None:
    for state in OPEN:
        assert RULES.wakes_at(ledger_in(state).state) is not None or state == "unknown"


def test_every_open_state_can_be_closed_and_every_step_leads_to_a_state() -> None:
    assert {after(state, "RemediationClosed") for state in OPEN} == {"closed"}
    assert set(TRANSITIONS.values()) == set(get_args(State))


@pytest.mark.parametrize(("tier", "last"), [(1, "ExecutionAuthorized"), (2, "ProposalDeferred")])
def test_what_may_start_is_asked_for_the_tier_that_the_cluster_is_given(tier: int, last: str) -> None:
    windows = {"mornings": {**MORNINGS, "cluster_tiers": [2]}}
    controls = replace(LIVE, policy=Policy.model_validate(POLICY.model_dump() | {"windows": windows}))
    rules = Remediations(replace(RULES.settings, tiers={CLUSTER: tier}))
    heard = Record(
        "t", 0, 0, START_MS, Head(event_id="x", at_ms=START_MS), inputs("R", START_MS)["low"], Cause(topic="t")
    )
    said = rules.decide(_state_of("proposed"), heard, START_MS, controls)
    assert [type(event).__name__ for event in said] == ["ApprovalAsked", last]


def test_an_impossible_step_is_a_bug() -> None:
    with pytest.raises(KeyError):
        after("proposed", "ExecutionAuthorized")


MOVES = st.one_of(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["R-1", "R-2", "R-3"]),
        st.sampled_from(["anna", "bo", "playbook"]),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 2]),
        st.sampled_from(sorted(CONTROLS)),
    ),
    st.tuples(st.sampled_from([1, 15, 60, 130, 500, 2000, 4000]), st.sampled_from(sorted(CONTROLS))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, max_size=25))
def test_no_history_breaks_the_decider_or_opens_two_executions(moves: list[tuple[Any, ...]]) -> None:
    made = Ledger()
    for move in moves:
        made.now_ms += 1
        if len(move) == 2:
            made.passes(move[0], CONTROLS[move[1]])
        else:
            name, rid, person, version, attempt, controls = move
            made.hears(inputs(rid, made.now_ms, person, version, attempt)[name], CONTROLS[controls])
    authorised = [x for x in made.said if isinstance(x, e.ExecutionAuthorized)]
    assert len({x.remediation_id for x in authorised}) == len(authorised), "authorised twice"
    for order in authorised:
        assert order.tier == "LOW" or len({a.person for a in order.approvals}) >= order.needed > 0
        assert all(a.expires_at_ms >= START_MS for a in order.approvals)
    assert not made.taken - set(TRANSITIONS)


def test_of_two_plans_whose_time_comes_together_one_is_run_and_the_other_is_told_to_wait() -> None:
    ledger = Ledger()
    for rid in ("R-1", "R-2"):
        for name in ("proposed", "medium", "approve"):
            ledger.hears(inputs(rid, ledger.now_ms)[name], CONTROLS["frozen"])
    said = ledger.passes(60)
    assert [(type(x).__name__, getattr(x, "remediation_id", "")) for x in said] == [
        ("ExecutionAuthorized", "R-1"),
        ("ExecutionBlocked", "R-2"),
    ]
    assert isinstance(said[1], e.ExecutionBlocked)
    assert said[1].code == "busy"


@settings(max_examples=60, deadline=None)
@given(st.lists(MOVES, max_size=15))
def test_every_remediation_ends_when_time_alone_passes_and_execute_answers(moves: list[tuple[Any, ...]]) -> None:
    made = Ledger()
    for move in moves:
        made.now_ms += 1
        if len(move) == 6:
            made.hears(inputs(move[1], made.now_ms, *move[2:5])[move[0]], CONTROLS[move[5]])
    for _ in range(200):
        for r in list(made.state.open.values()):
            if r.state == "authorised":
                made.hears(inputs(r.id, made.now_ms)["claimed"])
                made.hears(inputs(r.id, made.now_ms)["succeeded"])
            elif r.state == "running":
                made.hears(inputs(r.id, made.now_ms)["succeeded"])
            elif r.state == "unknown":
                made.hears(inputs(r.id, made.now_ms)["lifted"])
        if not made.state.open:
            return
        made.passes(600)
    raise AssertionError([f"{r.id} is still {r.state}" for r in made.state.open.values()])


def test_a_synthetic_incidents_proposal_ends_before_anybody_is_asked() -> None:
    ledger = Ledger()
    proposed = inputs("R", START_MS)["proposed"].model_copy(update={"synthetic": True})
    (opened,) = ledger.hears(proposed)
    assert isinstance(opened, e.RemediationOpened)
    assert opened.synthetic

    (closed,) = ledger.hears(inputs("R", START_MS)["low"])
    assert isinstance(closed, e.RemediationClosed)
    assert closed.code == "synthetic"
    assert ledger.state.closed == {"R": "synthetic"}


@pytest.mark.parametrize(("tier", "rule"), [("HIGH", "never"), ("FORBIDDEN", "two")])
def test_what_nobody_may_allow_is_closed_with_the_reasons_of_its_tier_and_nobody_is_asked(
    tier: Tier, rule: str
) -> None:
    ledger = Ledger()
    ledger.hears(inputs("R", START_MS)["proposed"])
    never = POLICY.model_copy(update={"approval": POLICY.approval.model_copy(update={"high": rule})})
    judged = inputs("R", START_MS)["high"].model_copy(update={"tier": tier, "tier_reasons": ("many leaders", "dark")})

    (closed,) = ledger.hears(judged, replace(LIVE, policy=never))
    assert isinstance(closed, e.RemediationClosed)
    assert (closed.code, closed.text) == ("forbidden", f"tier {tier}: many leaders, dark")
