"""A proposal is validated with the facts it was judged by, or refused with every objection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions.action import Limits
from actions.catalogue import CATALOGUE, FORBIDDEN, parse
from actions.drift import drifted, exceeds
from actions.evict_store_leaders import EvictStoreLeaders
from actions.preflight import objections
from schemas.events import ActionProposed, NothingProposed, ProposalRefused, ProposalValidated
from schemas.facts import MAY_PASS, Facts, Look, NoFacts, OperatorFacts, PeerFacts, RegionFacts, StoreFacts
from schemas.policy import ActionPolicy, Policy
from schemas.processors import Record
from schemas.values import Bounds, Cause, Evidence, Head, Objection, Tier
from schemas.wire import body_of, digest_of
from streams.validate import check, look_for
from tests.actions.clusters import NOW, healthy, region, store, tombstone, with_store

PINNED = 7168243901123456
HEAD = Head(event_id="e", at_ms=NOW)
POLICY = Policy(
    version=3,
    actions={
        "evict_store_leaders": ActionPolicy(mode="on", canary=("prod",)),
        "transfer_region_leader": ActionPolicy(mode="on"),
        "remove_tombstones": ActionPolicy(mode="dry_run"),
        "set_store_weight": ActionPolicy(mode="on"),
        "set_schedule_config": ActionPolicy(mode="on"),
    },
)
SEEN = Evidence(id="E1", text="slow_score 84", source="GET /stores", entities=("store:4",), seen_at_ms=NOW)


def proposed(action: str = "evict_store_leaders", params: str = '{"store_id":4}', **changed: Any) -> ActionProposed:
    whole: dict[str, Any] = {
        "cluster_id": "prod",
        "incident_id": "I",
        "remediation_id": "R",
        "proposal_id": "P",
        "attempt": 1,
        "action": action,
        "params": params,
        "why": "slow",
        "cause": "disk_stall",
        "confidence": 0.9,
        "disputed": False,
        "evidence": (SEEN,),
        "by": "playbook",
    }
    return ActionProposed(**(whole | changed))


def judged(proposal: Any, facts: Facts | NoFacts | None, **changed: Any) -> ProposalValidated | ProposalRefused:
    record = Record("proposals", 0, 7, NOW, HEAD, proposal, Cause(topic="proposals", offset=7))
    given: dict[str, Any] = {
        "environment": "prod",
        "pd_cluster_id": PINNED,
        "cluster_tier": 2,
        "policy": POLICY,
        "now_ms": NOW,
    }
    (answer,) = check(record, facts, **(given | changed))
    return answer


def validated(proposal: Any, facts: Facts, **changed: Any) -> ProposalValidated:
    answer = judged(proposal, facts, **changed)
    assert isinstance(answer, ProposalValidated), answer
    return answer


def refused(proposal: Any, facts: Facts | NoFacts | None, **changed: Any) -> tuple[Objection, ...]:
    answer = judged(proposal, facts, **changed)
    assert isinstance(answer, ProposalRefused)
    assert answer.objections
    return answer.objections


def kinds(found: tuple[Objection, ...]) -> list[tuple[str, str]]:
    return [(o.code, o.kind) for o in found]


# what is validated


def test_a_sound_proposal_becomes_an_exact_plan() -> None:
    answer = validated(proposed(), healthy())
    assert (answer.tier, answer.mode, answer.reach.leaders) == ("MEDIUM", "on", 40)
    assert answer.facts == healthy()
    assert answer.plan.params == '{"keep_s":900,"store_id":4}'
    assert [c.do.name for c in answer.plan.changes] == ["add_evict_leader"]
    assert answer.digest == digest_of(answer.plan)
    assert answer.plan.policy_rules[:2] == ("mode=on", "approval.medium=one")
    assert body_of(answer, HEAD)


def test_the_digest_is_the_same_while_only_counts_within_it_move() -> None:
    first = validated(proposed(), healthy())
    later = validated(proposed(), with_store(healthy(taken_at_ms=NOW - 1_000), store(3, leader_count=41)))
    assert first.digest == later.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"environment": "staging"},
        {"policy": POLICY.model_copy(update={"version": 4})},
        {"policy": POLICY.model_copy(update={"limits": POLICY.limits.model_copy(update={"settling_s": 601})})},
    ],
)
def test_the_digest_is_another_when_what_was_approved_is_another(changed: dict[str, Any]) -> None:
    assert validated(proposed(), healthy()).digest != validated(proposed(), healthy(), **changed).digest


def test_the_mode_is_the_policys() -> None:
    assert validated(proposed(), healthy(), policy=Policy()).mode == "observe"
    away = healthy(cluster_id="other")
    assert validated(proposed(cluster_id="other"), away).mode == "dry_run"  # outside the canary list


HOT = SEEN.model_copy(update={"entities": ("region:180", "store:2")})


@pytest.mark.parametrize(
    ("changed", "tier", "reason"),
    [
        ({}, "LOW", "transfer_region_leader is LOW at least"),
        ({"confidence": 0.1}, "LOW", "transfer_region_leader is LOW at least"),
        ({"disputed": True}, "MEDIUM", "playbook and model disagree"),
        ({"by": "model", "confidence": 0.9}, "LOW", "transfer_region_leader is LOW at least"),
        ({"by": "model", "confidence": 0.5}, "MEDIUM", "a model less sure than 0.8"),
    ],
)
def test_who_proposes_it_and_how_sure_they_are_goes_into_the_tier(
    changed: dict[str, Any], tier: Tier, reason: str
) -> None:
    transfer = proposed("transfer_region_leader", '{"region_id":180,"to_store_id":2}', evidence=(HOT,), **changed)
    answer = validated(transfer, healthy())
    assert (answer.tier, answer.tier_reasons) == (tier, (reason,))


def test_other_events_have_no_answer() -> None:
    nothing = NothingProposed(
        cluster_id="prod", incident_id="I", remediation_id="R", code="x", reason="y", by="playbook"
    )
    record = Record("proposals", 0, 7, NOW, HEAD, nothing, Cause(topic="proposals", offset=7))
    given: dict[str, Any] = {"environment": "e", "pd_cluster_id": 1, "cluster_tier": 1, "policy": POLICY, "now_ms": NOW}
    assert check(record, healthy(), **given) == ()


# what is refused as it stands


def test_an_unknown_action_is_never() -> None:
    proposal = proposed("drop_table", "{}")
    assert look_for(proposal) is None
    (why,) = refused(proposal, None)
    assert (why.code, why.kind) == ("unknown_action", "never")
    assert "drop_table" in why.text


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ('{"store_id":0}', "store_id"),
        ('{"store_id":4,"keep_s":5}', "keep_s"),
        ("{", "params"),
        ('{"store":4}', "store"),
    ],
)
def test_bad_parameters_name_the_field(params: str, field: str) -> None:
    proposal = proposed(params=params)
    assert look_for(proposal) is None
    (why,) = refused(proposal, None)
    assert (why.code, why.kind) == ("bad_parameters", "never")
    assert field in why.text


def test_what_is_looked_for() -> None:
    assert look_for(proposed()) == Look()
    assert look_for(proposed("transfer_region_leader", '{"region_id":180,"to_store_id":2}')) == Look(region_ids=(180,))


def test_a_model_may_name_only_what_it_was_shown() -> None:
    unseen = proposed(params='{"store_id":3}', by="model")
    assert kinds(refused(unseen, healthy())) == [("not_in_evidence", "no")]
    assert kinds(refused(unseen, NoFacts("pd_timeout", "x"))) == [("not_in_evidence", "no"), ("pd_timeout", "wait")]
    validated(proposed(by="model"), healthy())
    validated(proposed(params='{"store_id":3}'), healthy())  # the playbook's own rule joins by address


def test_what_a_model_names_must_exist_now() -> None:
    gone = healthy(stores=3)
    assert ("no_such_store", "no") in kinds(refused(proposed(by="model"), gone))


def test_all_objections_are_listed_with_the_facts_judged() -> None:
    facts = healthy(evicting=(4, 5), halt_scheduling=True, members_healthy=1, pd_cluster_id=42)
    answer = judged(proposed(by="model", params='{"store_id":4}', evidence=()), facts)
    assert isinstance(answer, ProposalRefused)
    assert answer.facts == facts
    assert [o.code for o in answer.objections] == [
        "not_in_evidence",
        "pd_wrong_cluster",
        "pd_no_quorum",
        "halt_scheduling",
        "other_eviction",
        "already_evicting",
    ]


PASSING = (
    "pd_breaker_open",
    "pd_busy",
    "pd_error",
    "pd_inconsistent",
    "pd_leader_changed",
    "pd_no_leader",
    "pd_timeout",
    "pd_unreachable",
    "pd_warming_up",
)


def test_what_may_pass_is_told_here_once_more() -> None:
    assert sorted(MAY_PASS) == list(PASSING)


@pytest.mark.parametrize("code", PASSING)
def test_a_pd_that_cannot_be_read_now_is_waited_for(code: str) -> None:
    (why,) = refused(proposed(), NoFacts(code, "PD is away"))
    assert (why.kind, why.until_ms, why.text) == ("wait", NOW + 30_000, "PD is away")


@pytest.mark.parametrize("code", ["pd_wrong_cluster", "pd_malformed", "pd_not_configured", "pd_too_large", "anything"])
def test_a_pd_that_cannot_be_believed_is_a_no(code: str) -> None:
    assert kinds(refused(proposed(), NoFacts(code, "x"))) == [(code, "no")]


def test_nothing_read_is_a_no() -> None:
    assert kinds(refused(proposed(), None)) == [("no_facts", "no")]


def test_facts_of_another_cluster_are_refused() -> None:
    assert ("wrong_cluster", "never") in kinds(refused(proposed(), healthy(cluster_id="other")))
    assert kinds(refused(proposed(), healthy(), pd_cluster_id=42)) == [("pd_wrong_cluster", "no")]


def test_over_a_broker_that_is_not_safe_what_may_run_is_rehearsed_and_what_may_not_stays_so() -> None:
    policy = POLICY.model_copy(update={"actions": {**POLICY.actions, "never_tried": ActionPolicy(mode="observe")}})
    modes = {name: rule.mode for name, rule in policy.at_most("dry_run").actions.items()}
    assert modes == {
        "evict_store_leaders": "dry_run",
        "transfer_region_leader": "dry_run",
        "remove_tombstones": "dry_run",
        "set_store_weight": "dry_run",
        "set_schedule_config": "dry_run",
        "never_tried": "observe",
    }
    assert policy.at_most("dry_run").version == policy.version
    assert policy.at_most("on") == policy


def test_an_unpinned_cluster_is_only_observed() -> None:
    assert kinds(refused(proposed(), healthy(), pd_cluster_id=None)) == [("pd_cluster_not_pinned", "no")]
    assert validated(proposed(), healthy(), pd_cluster_id=None, policy=Policy()).mode == "observe"


class Greedy(EvictStoreLeaders):
    """Not in the catalogue: plans more than it bounds."""

    def bounds(self, facts: Facts) -> Bounds:
        return Bounds(stores_max=1, regions_max=1, leaders_max=1)


@pytest.fixture
def greedy() -> Iterator[None]:
    CATALOGUE["greedy"] = Greedy
    yield
    del CATALOGUE["greedy"]


@pytest.mark.usefixtures("greedy")
def test_a_plan_beyond_its_own_bounds_is_refused() -> None:
    answer = judged(proposed("greedy"), healthy())
    assert isinstance(answer, ProposalRefused)
    assert kinds(answer.objections) == [("bound_exceeded", "no")] * 2
    assert answer.facts == healthy()


# no facts, however odd

store_ids = st.integers(1, 6)
numbers = st.one_of(st.integers(0, 200), st.sampled_from([-1, 2**62]))
floats = st.one_of(st.floats(0, 1e9), st.sampled_from([float("nan"), float("inf"), -1.0]))
weights = st.sampled_from([1.0, 1.0, 1.0, 0.5, 1 / 3, 0.0, float("nan"), float("inf"), 1e300])
stores = st.builds(
    StoreFacts,
    id=store_ids,
    address=st.sampled_from(["a:1", "b:2", ""]),
    state=st.sampled_from(["Up", "Up", "Up", "Disconnected", "Down", "Offline", "Tombstone"]),
    capacity_bytes=numbers,
    available_bytes=numbers,
    leader_count=numbers,
    region_count=numbers,
    leader_weight=weights,
    region_weight=weights,
    slow_score=numbers,
    is_busy=st.booleans(),
    last_heartbeat_ms=st.sampled_from([0, NOW - 1_000, NOW - 60_000, NOW + 10**9]),
    written_bytes_per_s=floats,
)
peers = st.builds(
    PeerFacts, id=numbers, store_id=store_ids, role=st.sampled_from(["Voter", "Voter", "Learner", "IncomingVoter", "?"])
)
regions = st.builds(
    RegionFacts,
    id=st.sampled_from([180, 181]),
    conf_ver=numbers,
    version=numbers,
    leader_store_id=st.integers(0, 6),
    peers=st.lists(peers, max_size=4).map(tuple),
    down_store_ids=st.lists(store_ids, max_size=2).map(tuple),
    pending_store_ids=st.lists(store_ids, max_size=2).map(tuple),
    written_bytes=numbers,
)
odd = {
    "taken_at_ms": st.sampled_from([0, NOW - 5_000, NOW - 40_000, NOW + 60_000]),
    "pd_leader": st.sampled_from(["", "pd-0"]),
    "pd_leader_age_s": floats,
    "members": st.integers(-1, 3),
    "members_healthy": st.integers(-1, 3),
    "max_replicas": st.integers(-1, 6),
    "low_space_ratio": floats,
    "leader_schedule_limit": numbers,
    "region_schedule_limit": numbers,
    "schedule_config": st.dictionaries(st.just("merge-schedule-limit"), numbers),
    "halt_scheduling": st.booleans(),
    "stores": st.lists(stores, max_size=6).map(tuple),
    "schedulers": st.sampled_from([(), ("balance-leader-scheduler",)]),
    "evicting": st.lists(store_ids, max_size=2).map(tuple),
    "slow_evicting": st.lists(store_ids, max_size=2).map(tuple),
    "operators": st.lists(
        st.builds(OperatorFacts, region_id=st.sampled_from([180, 7]), desc=st.sampled_from(["admin-x", "balance"])),
        max_size=2,
    ).map(tuple),
    "troubled": st.lists(regions, max_size=3).map(tuple),
    "troubled_complete": st.booleans(),
    "regions": st.lists(regions, max_size=2).map(tuple),
    "regions_total": numbers,
    "unsafe_recovery": st.sampled_from(["No on-going recovery.", "Unsafe recovery Finished", "stage", ""]),
    "pd_cluster_id": st.sampled_from([0, 1, PINNED]),
}


@st.composite
def odd_facts(draw: st.DrawFn) -> Facts:
    """A healthy cluster, in which any number of things are drawn instead."""
    names = draw(st.lists(st.sampled_from(sorted(odd)), unique=True, max_size=4))
    facts = healthy().model_copy(update={name: draw(odd[name]) for name in names})
    return facts.model_copy(update={"stores": (*facts.stores, tombstone(8))}) if draw(st.booleans()) else facts


PROPOSALS = st.sampled_from(
    [
        proposed(),
        proposed(by="model"),
        proposed(by="model", evidence=()),
        proposed("transfer_region_leader", '{"region_id":180,"to_store_id":2}'),
        proposed("transfer_region_leader", '{"region_id":180,"to_store_id":6}'),
        proposed("remove_tombstones", '{"store_ids":[8]}'),
        proposed("set_store_weight", '{"store_id":4,"weight":0.5,"weight_of":"leader"}'),
        proposed("set_store_weight", '{"store_id":4,"weight":0.9,"weight_of":"region"}'),
        proposed("set_schedule_config", '{"key":"merge-schedule-limit","value":4}'),
        proposed("set_schedule_config", '{"key":"merge-schedule-limit","value":32}', by="model"),
        proposed("nothing_known", "{}"),
        proposed(params="[]"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(PROPOSALS, odd_facts(), st.sampled_from([None, PINNED, 1]), st.integers(0, 3))
def test_no_facts_however_odd_validate_a_plan_with_an_objection(
    proposal: ActionProposed, facts: Facts, pinned: int | None, cluster_tier: int
) -> None:
    answer = judged(proposal, facts, pd_cluster_id=pinned, cluster_tier=cluster_tier)
    if isinstance(answer, ProposalRefused):
        assert answer.objections
        return
    action = parse(proposal.action, proposal.params)
    assert objections(action, facts, Limits(policy=POLICY.limits, now_ms=NOW)) == ()
    assert drifted(answer.plan, facts, action) == []
    assert exceeds(answer.plan.bounds, answer.reach) == []
    assert answer.tier != "FORBIDDEN"
    assert body_of(answer, HEAD)
    # and by an eye of its own
    assert facts.pd_cluster_id == pinned
    assert 0 <= NOW - facts.taken_at_ms <= 30_000
    assert facts.members_healthy * 2 > facts.members
    assert facts.pd_leader_age_s >= 300
    assert facts.troubled_complete
    assert not facts.halt_scheduling
    target = {4} if action.name == "evict_store_leaders" else set()
    assert not {*facts.evicting, *facts.slow_evicting}
    assert all(s.state == "Up" for s in facts.stores if s.state != "Tombstone")
    for ill in facts.troubled:
        if target & {p.store_id for p in ill.peers}:
            assert not {*ill.down_store_ids, *ill.pending_store_ids} - target
            assert {p.store_id for p in ill.peers} <= {s.id for s in facts.stores if s.state == "Up"} | target


@given(PROPOSALS, st.text(max_size=20))
def test_no_facts_at_all_validate_nothing(proposal: ActionProposed, code: str) -> None:
    assert isinstance(judged(proposal, NoFacts(code, "x")), ProposalRefused)


def test_the_quorum_rule_is_heard() -> None:
    ill = region(7, 1, 4, 5, down_store_ids=(5,))
    assert kinds(refused(proposed(), healthy(troubled=(ill,)))) == [("quorum_at_risk", "no")]


class Unsafe(EvictStoreLeaders):
    """Not in the catalogue: what no machine may do."""

    risk: ClassVar[Tier] = "FORBIDDEN"  # type: ignore[assignment]


def test_what_no_machine_may_do_is_refused_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "unsafe", Unsafe)
    assert kinds(refused(proposed("unsafe"), healthy())) == [("forbidden", "never")]


@pytest.mark.parametrize("by", ["model", "playbook"])
@pytest.mark.parametrize("params", ['{"store_id":4,"column_family":"write"}', '{"store_ids":[4]}', "{}", "junk"])
@pytest.mark.parametrize("facts", [None, healthy(), NoFacts("pd_timeout", "t")])
@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_what_the_catalogue_refuses_is_refused_for_ever_whoever_asks_and_whatever_pd_and_the_policy_say(
    name: str, facts: Facts | NoFacts | None, params: str, by: str
) -> None:
    """Nothing is read for it, and a PD that does not answer makes it no matter of waiting."""
    on = POLICY.model_copy(update={"actions": {name: ActionPolicy(mode="on")}})
    proposal = proposed(name, params, by=by, evidence=(), confidence=1.0)
    assert look_for(proposal) is None
    (why,) = refused(proposal, facts, policy=on)
    assert why == Objection(code="forbidden", kind="never", text=FORBIDDEN[name].why_not())
