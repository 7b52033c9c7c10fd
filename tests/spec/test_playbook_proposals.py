"""A proposal follows a final diagnosis, is additive to it, and names nothing that the evidence does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from actions.catalogue import FORBIDDEN
from agents.causes import CAUSES
from agents.diagnose import Diagnose
from agents.evidence import collect
from agents.looking import AGAIN_MS
from agents.offers import offered, proposal_reply, proposal_schema
from agents.propose import STARTED_KEPT, Propose, nothing, started_for
from agents.remedies import Nothing, Times, propose
from agents.rendering import diagnosis_request, prompt_named
from agents.replies import BadReply
from agents.thinking import ModelOverloaded
from schemas.alert_rules import CauseName
from schemas.events import (
    ActionProposed,
    DiagnosisAdopted,
    DiagnosisMade,
    NothingProposed,
    ProposalAskedAgain,
    ProposalStarted,
)
from schemas.facts import Facts, Look, MemberFacts, NoFacts, PeerFacts
from schemas.values import Evidence
from tests.agents.cases import CLUSTER, GIB, adopted, alert, asked, facts, region, store
from tests.agents.lane import FakeLane, FixedFacts, ScriptedThinker, failing, of_kind, unreachable

SLOW = facts(store(4, slow_score=84))
ALERT = alert("PD_cluster_slow_tikv_nums", instance="10.0.9.1:2379")
HOT = facts(
    store(4, written_bytes_per_s=20e6),
    store(1, written_bytes_per_s=3e6),
    regions=(region(180, 4, 1, 2, written_bytes=900_000_000),),
)
GONE = facts(store(7, state="Tombstone"), store(9, state="Tombstone"))


def cited(seen: Facts, *kinds: str) -> tuple[Evidence, ...]:
    """The evidence of these kinds, as an adopted diagnosis carries what it cites."""
    collected = collect((ALERT,), seen)
    ids = {i for kind in kinds for i in collected.ids(kind)}
    return tuple(e for e in collected.evidence() if e.id in ids)


SLOW_STORE = adopted("slow_store", cited(SLOW, "slow", "alert"))
HOT_REGION = adopted("hot_region", cited(HOT, "region", "load"))
FULL = facts(store(4, available_bytes=190 * GIB))
NEARLY_FULL = adopted("store_nearly_full", cited(FULL, "space"))
EMPTY = facts(store(4, state="Down", region_count=0, leader_count=0))
STORE_DOWN = adopted("store_down", cited(EMPTY, "state"))
TOMBSTONES = adopted("tombstones_left", cited(GONE, "tombstones"))


def proposed(
    diagnosis: DiagnosisAdopted, seen: Facts | Exception | None = SLOW, thinker: Any = None, **settings: Any
) -> Any:
    lane = FakeLane(Propose(FixedFacts(seen) if seen else unreachable(), thinker, **settings))
    if isinstance(thinker, ScriptedThinker):
        thinker.clock = lane.now_ms
    lane.give(diagnosis)
    lane.run()
    assert isinstance(lane.said[0], ProposalStarted)
    assert len(lane.said) == 2
    return lane.said[1]


def chosen(action: str, params: dict[str, Any], ids: list[str], why: str = "it helps") -> ScriptedThinker:
    return ScriptedThinker(json.dumps({"proposal": {"action": action, "params": params}, "why": why, "cited": ids}))


# -- diagnosing stands alone


def test_a_diagnosis_completes_without_a_proposal() -> None:
    lane = FakeLane(Diagnose(FixedFacts(SLOW)))
    lane.give(asked(ALERT, family="slow_store"))
    assert isinstance(lane.run()[-1], DiagnosisMade)
    assert not lane.works.owed(lane.state)


def test_a_proposal_is_additive_to_its_diagnosis() -> None:
    diagnosed = FakeLane(Diagnose(FixedFacts(SLOW)))
    diagnosed.give(asked(ALERT, family="slow_store"))
    before = [e.model_dump_json() for e in diagnosed.run()]
    proposal = proposed(SLOW_STORE)
    assert isinstance(proposal, ActionProposed)
    assert proposal.incident_id == SLOW_STORE.incident_id
    assert set(proposal.evidence) <= set(SLOW_STORE.evidence), "it adds no evidence of its own"
    assert [e.model_dump_json() for e in diagnosed.said] == before, "and changes nothing that was said"


def test_the_diagnosis_prompt_does_not_change_when_acting_is_switched_on() -> None:
    def rendered() -> str:
        seen = collect((ALERT,), SLOW)
        return diagnosis_request(prompt_named("diagnosis"), CLUSTER, (ALERT,), seen.evidence(), 60).sha256()

    before = rendered()
    request = diagnosis_request(prompt_named("diagnosis"), CLUSTER, (ALERT,), collect((ALERT,), SLOW).evidence(), 60)
    assert rendered() == before
    for action in (name for known in CAUSES.values() for name in known.admits):
        assert action not in request.system + request.user + request.schema


# -- the playbook's rules


def test_a_slow_store_is_emptied_of_leaders_for_a_while() -> None:
    proposal = proposed(SLOW_STORE, times=Times(keep_s=60))
    assert (proposal.action, proposal.params) == ("evict_store_leaders", '{"keep_s":60,"store_id":4}')
    assert "store:4" in {i for e in proposal.evidence for i in e.entities}
    assert (proposal.by, proposal.disputed, proposal.attempt) == ("playbook", False, 1)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (facts(), "no_longer_slow"),
        (facts(store(4, slow_score=84), store(3, slow_score=84)), "several_slow_stores"),
        (facts(store(3, slow_score=84)), "another_store"),
        (facts(store(4, slow_score=100), slow_evicting=(4,)), "pd_took_it"),
        (facts(store(4, slow_score=84), evicting=(4,)), "already_evicting"),
        (facts(store(4, slow_score=84), store(2, state="Disconnected")), "others_unwell"),
        (facts(store(4, slow_score=84), store(2, state="Down")), "others_unwell"),
        (facts(store(4, slow_score=84), store(2, is_busy=True)), "others_unwell"),
        (facts(store(4, slow_score=84), *(store(i, state="Offline") for i in (1, 2, 3))), "too_few_others"),
        (facts(store(4, slow_score=84, leader_count=0)), "no_leaders_there"),
        (facts(store(4, slow_score=84), schedulers=()), "pd_warming_up"),
        (None, "pd_unreachable"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_slow_store_is_left_alone_when_the_facts_have_moved_on(seen: Facts | None, code: str) -> None:
    nothing = proposed(SLOW_STORE, seen)
    assert isinstance(nothing, NothingProposed)
    assert nothing.code == code


@pytest.mark.parametrize(
    "seen",
    [
        facts(store(4, slow_score=84, leader_count=1)),
        facts(store(4, slow_score=84), *(store(i, state="Offline") for i in (1, 2))),  # two others, for three replicas
        facts(store(4, slow_score=84), *(store(i, state="Offline") for i in (1, 2, 3)), max_replicas=1),
        facts(store(4, slow_score=84), store(7, state="Tombstone", slow_score=84)),
    ],
)
def test_a_slow_store_is_emptied_where_that_is_just_possible(seen: Facts) -> None:
    proposal = proposed(SLOW_STORE, seen)
    assert isinstance(proposal, ActionProposed)
    assert proposal.params == '{"keep_s":900,"store_id":4}'


def test_one_other_store_at_least_has_to_be_up() -> None:
    seen = facts(store(4, slow_score=84), *(store(i, state="Offline") for i in (1, 2, 3, 5)), max_replicas=1)
    assert proposed(SLOW_STORE, seen).code == "too_few_others"


def test_a_hot_region_is_led_by_the_calmest_of_its_healthy_followers() -> None:
    proposal = proposed(HOT_REGION, HOT)
    assert (proposal.action, proposal.params) == (
        "transfer_region_leader",
        '{"hold_s":0,"region_id":180,"to_store_id":2}',
    )
    assert {"region:180", "store:2"} <= {i for e in proposal.evidence for i in e.entities}


@pytest.mark.parametrize(
    ("changed", "to"),
    [
        ({"store": {"slow_score": 84}}, 1),
        ({"store": {"is_busy": True}}, 1),
        ({"store": {"available_bytes": 100 * GIB}}, 1),
        ({"store": {"state": "Offline"}}, 1),
        ({"store": {"written_bytes_per_s": 3e6}}, 1),  # no calmer: the lower id
        ({"store": {"written_bytes_per_s": 3e6, "leader_count": 39}}, 2),
        ({"evicting": (2,)}, 1),
        ({"slow_evicting": (2,)}, 1),
        ({"region": {"pending_store_ids": (2,)}}, 1),
    ],
    ids=str,
)
def test_a_follower_that_is_not_well_does_not_lead_a_hot_region(changed: dict[str, Any], to: int) -> None:
    by_id = {s.id: s for s in HOT.stores}
    by_id[2] = by_id[2].model_copy(update=changed.pop("store", {}))
    hot = HOT.regions[0].model_copy(update=changed.pop("region", {}))
    seen = HOT.model_copy(update={"stores": tuple(by_id.values()), "regions": (hot,), **changed})
    assert proposed(HOT_REGION, seen).params == f'{{"hold_s":0,"region_id":180,"to_store_id":{to}}}'


def test_pd_is_held_back_while_a_leader_is_moved_where_that_is_configured() -> None:
    held = proposed(HOT_REGION, HOT, times=Times(hold_s=300))
    assert isinstance(held, ActionProposed)
    assert '"hold_s":300' in held.params


def test_a_hot_region_moves_only_where_less_than_half_of_the_writes_are() -> None:
    def seen(bytes_per_s: float) -> Facts:
        stores = [s.model_copy(update={"written_bytes_per_s": bytes_per_s}) if s.id == 2 else s for s in HOT.stores]
        return HOT.model_copy(update={"stores": tuple(stores), "evicting": (1,)})

    assert proposed(HOT_REGION, seen(10e6)).code == "no_better_store"
    assert proposed(HOT_REGION, seen(10e6 - 1)).params == '{"hold_s":0,"region_id":180,"to_store_id":2}'


def test_only_what_the_evidence_names_is_moved_and_only_to_what_it_names() -> None:
    less = tuple(e.model_copy(update={"entities": ("region:180", "store:4", "store:1")}) for e in HOT_REGION.evidence)
    assert (
        proposed(HOT_REGION.model_copy(update={"evidence": less}), HOT).params
        == '{"hold_s":0,"region_id":180,"to_store_id":1}'
    )
    other = region(181, 4, 1, 2, written_bytes=10**9)
    seen = HOT.model_copy(update={"regions": (*HOT.regions, other)})
    assert proposed(HOT_REGION, seen).params == '{"hold_s":0,"region_id":180,"to_store_id":2}'
    named = tuple(e.model_copy(update={"entities": (*e.entities, "region:181")}) for e in HOT_REGION.evidence)
    assert proposed(HOT_REGION.model_copy(update={"evidence": named}), seen).params == (
        '{"hold_s":0,"region_id":181,"to_store_id":2}'
    ), "the one that writes more"


def test_a_proposal_cites_what_names_what_it_is_about_and_nothing_else() -> None:
    strange = Evidence(id="E99", text="t", source="GET /stores", entities=("store:5",), seen_at_ms=1)
    for diagnosis, seen in ((SLOW_STORE, SLOW), (HOT_REGION, HOT), (TOMBSTONES, GONE)):
        proposal = proposed(diagnosis.model_copy(update={"evidence": (*diagnosis.evidence, strange)}), seen)
        assert proposal.evidence
        assert strange not in proposal.evidence


def test_the_reader_is_asked_for_the_regions_of_the_evidence() -> None:
    reader = FixedFacts(HOT)
    lane = FakeLane(Propose(reader))
    lane.give(HOT_REGION)
    lane.run()
    assert reader.looks == [Look(region_ids=(180,))]


def test_a_hot_region_stays_where_no_other_store_is_better() -> None:
    seen = HOT.model_copy(update={"evicting": (2,), "slow_evicting": (1,)})
    assert proposed(HOT_REGION, seen).code == "no_better_store"
    assert proposed(HOT_REGION, facts()).code == "no_longer_hot"
    joint = PeerFacts(id=1, store_id=3, role="IncomingVoter")
    changing = HOT.regions[0].model_copy(update={"peers": (*HOT.regions[0].peers, joint)})
    assert proposed(HOT_REGION, HOT.model_copy(update={"regions": (changing,)})).code == "region_in_transition"


def test_tombstones_are_removed_only_if_the_diagnosis_speaks_of_every_one() -> None:
    proposal = proposed(TOMBSTONES, GONE)
    assert (proposal.action, proposal.params) == ("remove_tombstones", '{"store_ids":[7,9]}')
    more = facts(store(7, state="Tombstone"), store(9, state="Tombstone"), store(11, state="Tombstone"))
    assert proposed(TOMBSTONES, more).code == "other_tombstones"
    assert proposed(TOMBSTONES, facts()).code == "no_tombstones"


def light(weight: float) -> Facts:
    """Store 4 is low on space, and all have this region weight."""
    return facts(*(store(n, region_weight=weight, available_bytes=(190 if n == 4 else 600) * GIB) for n in range(1, 6)))


def test_a_nearly_full_store_is_made_a_quarter_lighter() -> None:
    proposal = proposed(NEARLY_FULL, FULL)
    assert (proposal.action, proposal.params) == (
        "set_store_weight",
        '{"store_id":4,"weight":0.75,"weight_of":"region"}',
    )
    assert proposal.why == "store 4 is low on space and no other one is: region weight 1 to 0.75"
    assert "store:4" in {i for e in proposal.evidence for i in e.entities}
    heavy = proposed(NEARLY_FULL, facts(store(4, available_bytes=190 * GIB, region_weight=1.25)))
    assert json.loads(heavy.params)["weight"] == 0.94


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (facts(), "no_longer_low"),
        (facts(*(store(n, available_bytes=190 * GIB) for n in (3, 4))), "several_low_stores"),
        (facts(store(3, available_bytes=190 * GIB)), "another_store"),
        (facts(store(4, available_bytes=190 * GIB, region_weight=0.75)), "lightest_already"),
        (light(0.12), "lightest_already"),
        (facts(stores=(store(4, available_bytes=190 * GIB),)), "lightest_already"),
    ],
)
def test_why_a_nearly_full_store_is_not_made_lighter(seen: Facts, code: str) -> None:
    assert proposed(NEARLY_FULL, seen).code == code


def test_a_store_as_light_as_the_others_is_made_no_lighter_than_can_be_set() -> None:
    assert json.loads(proposed(NEARLY_FULL, light(0.13)).params)["weight"] == 0.1


def test_a_dead_store_that_holds_nothing_any_more_is_taken_out() -> None:
    proposal = proposed(STORE_DOWN, EMPTY)
    assert (proposal.action, proposal.params) == ("offline_store", '{"store_id":4}')
    assert proposal.why == "store 4 is down, and PD has re-made all its replicas elsewhere: what is left is its record"
    assert "store:4" in {i for e in proposal.evidence for i in e.entities}


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (facts(), "no_longer_down"),
        (facts(store(4, state="Disconnected")), "no_longer_down"),
        (facts(*(store(n, state="Down", region_count=0, leader_count=0) for n in (3, 4))), "several_stores_down"),
        (facts(store(3, state="Down", region_count=0, leader_count=0)), "another_store"),
        (facts(store(4, state="Down", region_count=1, leader_count=0)), "replicas_not_remade"),
        (facts(store(4, state="Down", region_count=0, leader_count=1)), "replicas_not_remade"),
    ],
)
def test_why_a_dead_store_is_not_taken_out(seen: Facts, code: str) -> None:
    assert proposed(STORE_DOWN, seen).code == code


def test_what_a_person_does_about_a_dead_store_is_still_said() -> None:
    nothing = proposed(STORE_DOWN, facts(store(4, state="Down", region_count=7, leader_count=0)))
    assert nothing.reason.startswith("PD still counts 7 replicas on store 4; by hand: restart the process or its node")


def test_a_defect_of_the_reader_leaves_no_diagnosis_unanswered() -> None:
    nothing = proposed(SLOW_STORE, KeyError("oops"))
    assert (nothing.code, nothing.reason) == ("facts_failed", "PD gives no facts: KeyError")


def test_what_the_catalogue_does_not_take_is_not_proposed() -> None:
    nothing = proposed(SLOW_STORE, times=Times(keep_s=30))
    assert nothing.code == "not_in_catalogue"
    assert "keep_s" in nothing.reason


def test_without_a_diagnosis_nothing_is_proposed_and_nobody_is_asked() -> None:
    thinker = chosen("evict_store_leaders", {"store_id": 4, "keep_s": 900}, ["E1"])
    nothing = proposed(adopted("unknown", cited(SLOW, "slow"), by="model"), SLOW, thinker)
    assert nothing.code == "no_diagnosis"
    assert (nothing.by, nothing.remediation_id[:2]) == ("model", "R-")
    assert not thinker.asked
    assert proposed(adopted("made_up", cited(SLOW, "slow"))).code == "no_diagnosis"


def test_a_cause_that_the_playbook_has_no_rule_for_is_left_alone() -> None:
    found = propose(adopted("store_disconnected", ()), SLOW, Times())
    assert isinstance(found, Nothing)
    assert found == Nothing(
        "no_rule",
        f"the playbook has no rule for store_disconnected; by hand: {CAUSES['store_disconnected'].for_people}",
    )
    assert propose(adopted("made_up", ()), SLOW, Times()) == Nothing("no_rule", "the playbook has no rule for made_up")


def test_where_replicas_lag_a_model_may_slow_pds_work_and_the_playbook_says_what_a_person_does() -> None:
    assert list(offered("replica_lags")) == ["pause_scheduler", "set_schedule_config"]
    found = propose(adopted("replica_lags", ()), SLOW, Times())
    assert isinstance(found, Nothing)
    assert found.reason.endswith("by hand: look at that store's disk and network; lower schedule limits")
    params = {"key": "max-snapshot-count", "value": 32, "keep_s": 900}
    by_model = adopted("replica_lags", cited(SLOW, "slow"), by="model")
    proposal = proposed(by_model, SLOW, chosen("set_schedule_config", params, ["E1"]))
    assert (proposal.action, json.loads(proposal.params)) == ("set_schedule_config", params)


def test_diagnoses_are_answered_in_their_order_each_by_itself() -> None:
    lane = FakeLane(Propose(FixedFacts(SLOW)))
    second = SLOW_STORE.model_copy(update={"incident_id": "INC-2"})
    lane.give(SLOW_STORE)
    lane.give(second)
    assert lane.works.owed(lane.state)
    lane.run()
    assert [e.incident_id for e in of_kind(lane.said, ActionProposed)] == ["INC-1", "INC-2"]


def test_a_pd_that_is_away_for_a_moment_loses_no_proposal() -> None:
    lane = FakeLane(Propose(FixedFacts(SLOW, [NoFacts("pd_no_leader", "PD has no leader")])))
    lane.give(SLOW_STORE)
    assert isinstance(lane.run()[-1], ActionProposed)
    assert lane.now_ms() == 1_000_000 + AGAIN_MS


def test_so_many_attempts_are_remembered_and_no_more() -> None:
    lane = FakeLane(Propose(FixedFacts(SLOW)))
    for n in range(STARTED_KEPT + 2):
        lane.give(adopted("unknown", (), incident_id=f"INC-{n}"))
    assert len(lane.state.started) == STARTED_KEPT == 256
    assert not lane.give(adopted("unknown", (), incident_id="INC-2"))
    assert lane.give(adopted("unknown", (), incident_id="INC-1"))


def test_a_long_reason_is_cut() -> None:
    started = started_for(SLOW_STORE)
    assert nothing(started, Nothing("c", "x" * 600)).reason == "x" * 500


def test_a_cause_that_admits_no_action_ends_with_a_hint_for_people() -> None:
    nothing = proposed(adopted("store_disconnected", cited(SLOW, "state")))
    assert nothing.code == "no_action_for_cause"
    assert "by hand" in nothing.reason


def test_a_diagnosis_that_is_not_final_is_not_acted_on() -> None:
    lane = FakeLane(Propose(FixedFacts(SLOW)))
    assert not lane.give(SLOW_STORE.model_copy(update={"final": False}))
    assert not lane.works.owed(lane.state)


def test_a_diagnosis_told_twice_is_proposed_for_once() -> None:
    lane = FakeLane(Propose(FixedFacts(SLOW)))
    lane.give(SLOW_STORE)
    assert not lane.give(SLOW_STORE)
    lane.run()
    assert not lane.give(SLOW_STORE)


def test_ids_are_the_same_whoever_works_it_out() -> None:
    one, other = proposed(SLOW_STORE), proposed(SLOW_STORE)
    assert one == other
    assert one.remediation_id.startswith("R-")
    assert len(one.remediation_id) == 10
    assert (one.proposal_id[:2], len(one.proposal_id)) == ("P-", 14)
    assert proposed(SLOW_STORE.model_copy(update={"ask_id": "A-2"})).remediation_id != one.remediation_id


def test_disagreement_goes_with_the_proposal() -> None:
    disputed = SLOW_STORE.model_copy(update={"agreed": False, "synthetic": True})
    proposal = proposed(disputed)
    assert proposal.disputed
    assert proposal.synthetic


def test_asked_again_the_same_is_proposed_under_a_new_id() -> None:
    first = proposed(SLOW_STORE)
    again = ProposalAskedAgain(
        cluster_id=CLUSTER,
        incident_id=first.incident_id,
        remediation_id=first.remediation_id,
        attempt=2,
        action=first.action,
        params=first.params,
        why=first.why,
        cause=first.cause,
        confidence=first.confidence,
        disputed=True,
        by="playbook",
        evidence=first.evidence,
    )
    lane = FakeLane(Propose(unreachable()))
    started, second = lane.give(again)
    assert isinstance(started, ProposalStarted)
    assert started.diagnosis == DiagnosisAdopted(
        cluster_id=CLUSTER,
        incident_id=first.incident_id,
        ask_id="",
        by="playbook",
        final=True,
        cause=first.cause,
        confidence=first.confidence,
        summary=first.why,
        evidence=first.evidence,
        agreed=False,
    )
    assert isinstance(second, ActionProposed)
    assert (second.action, second.params, second.attempt) == (first.action, first.params, 2)
    assert second.proposal_id != first.proposal_id
    changed = {"attempt": 2, "proposal_id": second.proposal_id, "disputed": True, "facts": None}
    assert second == first.model_copy(update=changed), "and all else is as it was"
    agreed = again.model_copy(update={"attempt": 4, "disputed": False, "synthetic": True})
    third = of_kind(FakeLane(Propose(unreachable())).give(agreed), ActionProposed)[0]
    assert (third.disputed, third.synthetic) == (False, True)
    assert not lane.works.owed(lane.state)
    assert not lane.give(again)
    gone = again.model_copy(update={"attempt": 3, "action": "no_longer_there"})
    assert of_kind(lane.give(gone), NothingProposed)[0].code == "no_longer_possible"


# -- a model's choice

BY_MODEL = SLOW_STORE.model_copy(update={"by": "model", "model": "m", "agreed": True})
SLOW_ID = SLOW_STORE.evidence[0].id
ALERT_ID = SLOW_STORE.evidence[-1].id


def test_a_models_choice_is_proposed_in_its_name() -> None:
    thinker = chosen("evict_store_leaders", {"store_id": 4, "keep_s": 600}, [SLOW_ID], "disk of store 4 <stalls>")
    proposal = proposed(BY_MODEL, SLOW, thinker)
    assert (proposal.params, proposal.by, proposal.model) == ('{"keep_s":600,"store_id":4}', "model", "scripted")
    assert proposal.why == "disk of store 4 (stalls)"
    assert (proposal.prompt_version, proposal.prompt_sha256) == ("proposal-1", thinker.asked[0].sha256())
    assert [e.id for e in proposal.evidence] == [SLOW_ID]
    assert (proposal.cause, proposal.confidence, proposal.disputed) == ("slow_store", 0.86, False)
    assert thinker.asked[0].deadline_s == 60


def test_what_a_model_is_asked() -> None:
    thinker = chosen("nothing", {}, [])
    proposed(BY_MODEL, SLOW, thinker, model_deadline_s=7)
    asked_for = thinker.asked[0]
    assert (asked_for.prompt, asked_for.deadline_s) == ("proposal", 7)
    parts = asked_for.user.split("\n\n")
    assert parts[:3] == [
        f"Cluster: {CLUSTER}",
        "## Diagnosis",
        "slow_store: slow_store, as found\nconfidence 0.86, by model",
    ]
    assert parts[3] == "## Evidence"
    assert parts[5:7] == ["## Actions offered", "### evict_store_leaders"]
    assert parts[-1].endswith("What is temporary is usually kept for 900 s here.")


def test_a_model_may_choose_among_the_offered_with_their_own_parameters_or_nothing() -> None:
    params = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}

    def branch(name: str, **properties: Any) -> dict[str, Any]:
        closed = {"type": "object", "additionalProperties": False}
        inner = {**closed, "properties": properties, "required": sorted(properties)}
        of = {"action": {"type": "string", "const": name}, "params": inner}
        return {**closed, "properties": of, "required": ["action", "params"]}

    assert json.loads(proposal_schema({"b": params, "a": {"type": "object"}})) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["cited", "proposal", "why"],
        "properties": {
            "proposal": {
                "anyOf": [
                    {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["action", "params"],
                        "properties": {
                            "action": {"type": "string", "const": "a"},
                            "params": {"type": "object", "additionalProperties": False, "required": []},
                        },
                    },
                    branch("b", n={"type": "integer"}),
                    branch("nothing"),
                ]
            },
            "why": {"type": "string"},
            "cited": {"type": "array", "items": {"type": "string"}},
        },
    }


def said(action: str, why: str) -> str:
    return json.dumps({"proposal": {"action": action, "params": {}}, "why": why, "cited": []})


@pytest.mark.parametrize("why", ["x", "x" * 300])
def test_how_much_a_model_may_say(why: str) -> None:
    assert proposal_reply(said("nothing", why), SLOW_STORE.evidence, ())[0].why == why


@pytest.mark.parametrize(
    ("action", "why", "code"),
    [
        ("nothing", "x" * 301, "reply_out_of_bounds"),
        ("nothing", "", "reply_out_of_bounds"),
        ("a" * 64, "x", "action_not_admitted"),
        ("a" * 65, "x", "reply_out_of_bounds"),
    ],
)
def test_a_model_that_says_too_much_or_nothing_is_not_heard(action: str, why: str, code: str) -> None:
    with pytest.raises(BadReply) as bad:
        proposal_reply(said(action, why), SLOW_STORE.evidence, ())
    assert bad.value.code == code


def test_of_what_a_cause_admits_only_what_the_catalogue_has_is_offered() -> None:
    assert list(offered("slow_store")) == ["evict_store_leaders"]
    assert list(offered("hot_region")) == ["split_region", "transfer_region_leader"]
    assert list(offered("store_down")) == ["offline_store"]
    assert offered("store_disconnected") == {}
    assert offered("made_up") == {}


def test_what_is_never_done_is_not_offered_even_where_a_cause_admits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    admits = ("evict_store_leaders", *FORBIDDEN)
    monkeypatch.setitem(CAUSES, "slow_store", replace(CAUSES["slow_store"], admits=admits))
    assert list(offered("slow_store")) == ["evict_store_leaders"]


def test_only_actions_that_the_cause_admits_are_offered() -> None:
    thinker = chosen("nothing", {}, [])
    proposed(BY_MODEL, SLOW, thinker)
    asked_for = thinker.asked[0]
    assert "evict_store_leaders" in asked_for.user + asked_for.schema
    for other in ("remove_tombstones", "set_store_weight", "transfer_region_leader"):
        assert other not in asked_for.user + asked_for.schema


def test_a_model_may_propose_to_split_a_hot_region_that_its_evidence_names() -> None:
    by_model, ids = HOT_REGION.model_copy(update={"by": "model"}), [e.id for e in HOT_REGION.evidence]
    split = proposed(by_model, HOT, chosen("split_region", {"region_id": 180}, ids))
    assert (split.action, split.params, split.by) == ("split_region", '{"region_id":180}', "model")
    other = proposed(by_model, HOT, chosen("split_region", {"region_id": 181}, ids))
    assert other.params != '{"region_id":181}'


@pytest.mark.parametrize("cause", ["pd_disk_slow", "pd_overloaded"])
def test_a_model_may_propose_that_a_member_leads_pd_that_its_evidence_names(cause: CauseName) -> None:
    members = tuple(MemberFacts(name=f"pd-{n}", is_healthy=True) for n in range(3))
    seen = facts(members=3, members_healthy=3, pd_leader="pd-0", pd_members=members)
    (evidence,) = cited(seen, "pd")
    assert "3 of 3 members healthy (pd-0, pd-1, pd-2), pd-0 leads" in evidence.text
    diagnosis = adopted(cause, (evidence,), by="model")
    assert list(offered(cause)) == ["transfer_pd_leader"]
    moved = proposed(diagnosis, seen, chosen("transfer_pd_leader", {"member": "pd-1"}, [evidence.id]))
    assert (moved.action, moved.params, moved.by) == ("transfer_pd_leader", '{"member":"pd-1"}', "model")
    other = proposed(diagnosis, seen, chosen("transfer_pd_leader", {"member": "pd-9"}, [evidence.id]))
    assert other.code == "entity_not_in_evidence"
    by_hand = proposed(adopted(cause, (evidence,)), seen)
    assert by_hand.code == "no_rule"


def test_a_model_may_propose_nothing() -> None:
    nothing = proposed(BY_MODEL, SLOW, chosen("nothing", {}, [], "PD will take it"))
    assert (nothing.code, nothing.reason, nothing.by) == ("model_proposes_nothing", "PD will take it", "model")
    assert nothing.model == "scripted"


BAD: dict[str, tuple[ScriptedThinker, str]] = {
    "not_offered": (chosen("remove_tombstones", {"store_ids": [7]}, ["E1"]), "action_not_admitted"),
    "never_done": (chosen("compact_store", {"store_id": 4, "column_family": "write"}, ["E1"]), "action_not_admitted"),
    "made_up": (chosen("drop_everything", {}, ["E1"]), "action_not_admitted"),
    "store_not_in_evidence": (
        chosen("evict_store_leaders", {"store_id": 3, "keep_s": 900}, ["E1"]),
        "entity_not_in_evidence",
    ),
    "cites_what_does_not_name_it": (
        chosen("evict_store_leaders", {"store_id": 4, "keep_s": 900}, [ALERT_ID]),
        "entity_not_in_evidence",
    ),
    "unknown_id": (
        chosen("evict_store_leaders", {"store_id": 4, "keep_s": 900}, ["E99"]),
        "reply_cites_unknown_evidence",
    ),
    "out_of_range": (chosen("evict_store_leaders", {"store_id": 4, "keep_s": 10**6}, ["E1"]), "bad_parameters"),
    "wrong_type": (chosen("evict_store_leaders", {"store_id": "4", "keep_s": 900}, ["E1"]), "bad_parameters"),
    "junk": (ScriptedThinker("Sure!"), "reply_not_json"),
    "down": (failing(ModelOverloaded("529")), "model_overloaded"),
    "hangs": (ScriptedThinker("", takes_ms=10**9), "model_timed_out"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_choice_leaves_the_playbooks_rule(name: str) -> None:
    proposal = proposed(BY_MODEL, SLOW, BAD[name][0])
    assert (proposal.action, proposal.by) == ("evict_store_leaders", "playbook")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_choice_where_the_playbook_has_none_is_nothing_with_the_code(name: str) -> None:
    thinker, code = BAD[name]
    nothing = proposed(BY_MODEL, facts(), thinker)
    assert (nothing.code, nothing.by, nothing.model) == (code, "model", "scripted")
    assert nothing.reason


def test_a_model_that_did_not_diagnose_is_not_asked_what_to_do() -> None:
    thinker = chosen("nothing", {}, [])
    assert isinstance(proposed(SLOW_STORE, SLOW, thinker), ActionProposed)
    assert not thinker.asked
