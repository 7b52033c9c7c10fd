"""What the executor refuses to claim, each by its code: asked of it alone, as if nobody had asked before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actions.compact_store import CompactStore
from actions.unsafe_remove_failed_stores import UnsafeRemoveFailedStores
from executors.changes import Claim
from executors.protocol import Cluster, claim_or_refuse, unauthorised
from schemas import events as e
from schemas.controls import Controls, Stop
from schemas.policy import Policy
from schemas.signing import kid_of
from schemas.wire import digest_of
from tests.actions.clusters import NOW, healthy
from tests.spec.test_protocol_properties import EVICT, KEY, LIVE, RULES, approval, claimed

CLUSTER = Cluster("prod")
EXPIRES = NOW + 600_000
CLAIMED = claimed(EVICT, healthy(), "on")
MORNINGS = {"kind": "quiet", "start": "07:00", "end": "12:00"}  # now it is 08:00 UTC


def order(plan: dict[str, Any] | None = None, **changed: Any) -> e.ExecutionAuthorized:
    """What is right in every point, but for what is changed; a changed plan has been approved as it is."""
    with_it = CLAIMED.plan.model_copy(update=plan or {})
    given: dict[str, Any] = {
        "cluster_id": "prod",
        "incident_id": "I",
        "remediation_id": "R",
        "action": CLAIMED.action,
        "params": CLAIMED.params,
        "plan": with_it,
        "reach": EVICT.reach(healthy()),
        "digest": digest_of(with_it),
        "tier": CLAIMED.tier,
        "mode": "on",
        "rule": LIVE.policy.approval_rule(CLAIMED.tier),
        "needed": 1,
        "proposed_by": "playbook",
        "approvals": tuple(approval(with_it, person) for person in ("anna", "bert")),
        "expires_at_ms": EXPIRES,
    }
    return e.ExecutionAuthorized(**given | changed)


def adopted(**changed: Any) -> Controls:
    return replace(LIVE, policy=Policy.model_validate(LIVE.policy.model_dump() | changed))


def test_what_is_right_is_claimed_until_the_policys_deadline() -> None:
    said = order()
    answer = claim_or_refuse(CLUSTER, said, NOW, NOW, LIVE, RULES)
    assert isinstance(answer, e.Claimed)
    same = ("cluster_id", "incident_id", "remediation_id", "action", "params", "plan", "digest", "tier", "mode")
    for name in (*same, "approvals", "needed", "proposed_by"):
        assert getattr(answer, name) == getattr(said, name), name
    assert answer.attempt == 1
    assert answer.deadline_ms == NOW + LIVE.policy.limits.execution_s_max * 1000


def test_the_deadline_is_that_of_the_clusters_tier() -> None:
    tiered = adopted(limits={"execution_s_max": 60, "tier": {"1": {"execution_s_max": 120}}})
    answer = claim_or_refuse(CLUSTER, order(), NOW, NOW, tiered, RULES)
    assert isinstance(answer, e.Claimed), "a cluster that nobody has given a tier is of the dearest"
    assert answer.deadline_ms == NOW + 120_000
    rules = ("approval.medium=one", "mode=on", "cluster_tier=3")
    cheap = order({"policy_rules": rules})
    answer = claim_or_refuse(CLUSTER, cheap, NOW, NOW, tiered, replace(RULES, tiers={"prod": 3}))
    assert isinstance(answer, e.Claimed), answer
    assert answer.deadline_ms == NOW + 60_000


@pytest.mark.parametrize(
    ("keys", "at_ms"),
    [
        ({"start": "08:01"}, NOW + 59_999),
        ({"end": "08:01"}, NOW + 60_000),
        ({}, NOW + 4 * 3_600_000),
        ({"cluster_tiers": [2]}, NOW),
        ({"clusters": ["stage-*"]}, NOW),
        ({"risk_min": "HIGH"}, NOW),
        ({"actions": ["split_region"]}, NOW),
        ({"kind": "maintenance"}, NOW),
    ],
)
def test_what_no_window_keeps_is_claimed(keys: dict[str, Any], at_ms: int) -> None:
    controls = adopted(windows={"mornings": {**MORNINGS, **keys}})
    said = order(expires_at_ms=NOW + 24 * 3_600_000)
    assert isinstance(claim_or_refuse(CLUSTER, said, NOW, at_ms, controls, RULES), e.Claimed)


def test_an_authorisation_is_claimed_up_to_the_last_moment_of_its_life() -> None:
    assert isinstance(claim_or_refuse(CLUSTER, order(), NOW, EXPIRES, LIVE, RULES), e.Claimed)


def test_what_has_expired_by_the_time_of_its_own_append_has_expired_whatever_the_owners_clock_says() -> None:
    """An owner that took over while brokers were behind goes by a time that is behind."""
    assert isinstance(claim_or_refuse(CLUSTER, order(), EXPIRES, NOW, LIVE, RULES), e.Claimed)
    refused = claim_or_refuse(CLUSTER, order(), EXPIRES + 1, NOW, LIVE, RULES)
    assert isinstance(refused, e.ClaimRefused)
    assert refused.code == "expired"


def test_an_action_that_is_run_on_this_cluster_alone_is_claimed() -> None:
    canary = adopted(actions={EVICT.name: {"mode": "on", "canary": ["prod"]}})
    assert isinstance(claim_or_refuse(CLUSTER, order(), NOW, NOW, canary, RULES), e.Claimed)


Changes = tuple[Cluster, e.ExecutionAuthorized, int, Controls, Any]
RIGHT: Changes = (CLUSTER, order(), NOW, LIVE, RULES)
REFUSED: dict[str, tuple[str, str, Callable[[], Changes]]] = {
    "a quarantine": (
        "quarantined",
        "R0 ended UNKNOWN and nobody has resolved it",
        lambda: (replace(CLUSTER, quarantine="R0"), *RIGHT[1:]),
    ),
    "another that is open": (
        "busy",
        "R is open on this cluster",
        lambda: (replace(CLUSTER, claim=Claim(CLAIMED, 1)), *RIGHT[1:]),
    ),
    "a freeze": (
        "frozen",
        "freeze by anna: t",
        lambda: (*RIGHT[:3], replace(LIVE, stops={("freeze", "prod"): Stop("freeze", "anna", "t", 0)}), RULES),
    ),
    "controls that are not live": (
        "controls_not_live",
        "the controls are not proven to be read up to their live end",
        lambda: (*RIGHT[:3], replace(LIVE, live=False), RULES),
    ),
    "its age": ("expired", "the authorisation is too old", lambda: (*RIGHT[:2], EXPIRES + 1, LIVE, RULES)),
    "a plan that is not the one approved": (
        "digest_mismatch",
        "the plan is not the one that was approved",
        lambda: (CLUSTER, order(digest=digest_of(CLAIMED.plan.model_copy(update={"policy_version": 7}))), *RIGHT[2:]),
    ),
    "another environment": (
        "wrong_environment",
        "the plan is for other/prod",
        lambda: (CLUSTER, order({"environment": "other"}), *RIGHT[2:]),
    ),
    "a plan for another cluster": (
        "wrong_environment",
        "the plan is for test/stage",
        lambda: (CLUSTER, order({"cluster_id": "stage"}), *RIGHT[2:]),
    ),
    "another PD": (
        "wrong_cluster",
        "the plan is for PD cluster 7, configured is 7168243901123456",
        lambda: (CLUSTER, order({"pd_cluster_id": 7}), *RIGHT[2:]),
    ),
    "a cluster that is not pinned": (
        "wrong_cluster",
        "the plan is for PD cluster 7168243901123456, configured is None",
        lambda: (*RIGHT[:4], replace(RULES, pinned={})),
    ),
    "another action than the plan's": (
        "digest_mismatch",
        "action or parameters are not those of the plan",
        lambda: (CLUSTER, order(action="remove_tombstones"), *RIGHT[2:]),
    ),
    "other parameters than the plan's": (
        "digest_mismatch",
        "action or parameters are not those of the plan",
        lambda: (CLUSTER, order(params='{"keep_s":61,"store_id":4}'), *RIGHT[2:]),
    ),
    "what no machine does, approved by two and switched on": (
        "forbidden",
        CompactStore.why_not(),
        lambda: (
            CLUSTER,
            order(
                {"action": "compact_store", "params": '{"store_id":4}'}, action="compact_store", params='{"store_id":4}'
            ),
            NOW,
            adopted(actions={"compact_store": {"mode": "on"}}),
            RULES,
        ),
    ),
    "what no machine does, as the tier that it is": (
        "forbidden",
        UnsafeRemoveFailedStores.why_not(),
        lambda: (
            CLUSTER,
            order(
                {
                    "action": "unsafe_remove_failed_stores",
                    "params": "{}",
                    "policy_rules": ("approval.forbidden=never", "mode=on"),
                },
                action="unsafe_remove_failed_stores",
                params="{}",
                tier="FORBIDDEN",
            ),
            *RIGHT[2:],
        ),
    ),
    "a rule that is not the plan's": (
        "wrong_tier",
        "the plan was not judged as MEDIUM under the rule one and mode on",
        lambda: (CLUSTER, order({"policy_rules": ("mode=on",)}), *RIGHT[2:]),
    ),
    "a mode that is not the plan's": (
        "wrong_tier",
        "the plan was not judged as MEDIUM under the rule one and mode on",
        lambda: (CLUSTER, order({"policy_rules": ("approval.medium=one", "mode=dry_run")}), *RIGHT[2:]),
    ),
    "a cluster that is dearer than the plan's was": (
        "wrong_tier",
        "the plan was not judged by the limits of a cluster of tier 1, which this is",
        lambda: (CLUSTER, order({"policy_rules": ("approval.medium=one", "mode=on", "cluster_tier=2")}), *RIGHT[2:]),
    ),
    "a plan that says nothing of the cluster's tier": (
        "wrong_tier",
        "the plan was not judged by the limits of a cluster of tier 1, which this is",
        lambda: (CLUSTER, order({"policy_rules": ("approval.medium=one", "mode=on")}), *RIGHT[2:]),
    ),
    "a tier below the action's": (
        "wrong_tier",
        "evict_store_leaders is never LOW",
        lambda: (
            CLUSTER,
            order(
                {"policy_rules": (f"approval.low={LIVE.policy.approval_rule('LOW')}", "mode=on", "cluster_tier=1")},
                tier="LOW",
            ),
            *RIGHT[2:],
        ),
    ),
    "a policy that came later": (
        "policy_changed",
        "planned under policy 1, in force is 2",
        lambda: (*RIGHT[:3], adopted(version=2), RULES),
    ),
    "an action that only observes now": (
        "mode",
        "the mode in force is observe",
        lambda: (*RIGHT[:3], adopted(actions={}), RULES),
    ),
    "an action that only rehearses now": (
        "mode",
        "the mode in force is dry_run",
        lambda: (*RIGHT[:3], adopted(actions={EVICT.name: {"mode": "dry_run"}}), RULES),
    ),
    "a rehearsal of an action that only observes now": (
        "mode",
        "the mode in force is observe",
        lambda: (
            CLUSTER,
            order({"policy_rules": ("approval.medium=one", "mode=dry_run", "cluster_tier=1")}, mode="dry_run"),
            NOW,
            adopted(actions={}),
            RULES,
        ),
    ),
    "an action that is run on other clusters alone": (
        "mode",
        "the mode in force is dry_run",
        lambda: (*RIGHT[:3], adopted(actions={EVICT.name: {"mode": "on", "canary": ["stage"]}}), RULES),
    ),
    "an order that only observes": (
        "mode",
        "the mode in force is on",
        lambda: (
            CLUSTER,
            order({"policy_rules": ("approval.medium=one", "mode=observe", "cluster_tier=1")}, mode="observe"),
            *RIGHT[2:],
        ),
    ),
    "an hour that is quiet": (
        "quiet_hours",
        "nothing of the kind starts in quiet hours mornings: 07:00-12:00 UTC",
        lambda: (*RIGHT[:3], adopted(windows={"mornings": MORNINGS}), RULES),
    ),
    "an hour that is quiet where it is dear": (
        "quiet_hours",
        "nothing of the kind starts in quiet hours mornings: 07:00-12:00 UTC",
        lambda: (*RIGHT[:3], adopted(windows={"mornings": {**MORNINGS, "cluster_tiers": [1]}}), RULES),
    ),
    "an hour that is quiet for this action": (
        "quiet_hours",
        "nothing of the kind starts in quiet hours mornings: 07:00-12:00 UTC",
        lambda: (*RIGHT[:3], adopted(windows={"mornings": {**MORNINGS, "actions": [EVICT.name]}}), RULES),
    ),
    "an hour outside its windows": (
        "outside_window",
        "it starts in maintenance windows alone: nights, 12:00-07:00 UTC",
        lambda: (
            *RIGHT[:3],
            adopted(windows={"nights": {"kind": "maintenance", "start": "12:00", "end": "07:00"}}),
            RULES,
        ),
    ),
    "a broker that is not safe": (
        "broker_not_safe",
        "this broker keeps neither isolation nor fencing: nothing is run over it",
        lambda: (*RIGHT[:4], replace(RULES, mode_max="dry_run")),
    ),
    "no approval": (
        "too_few_approvals",
        "0 of 1 people have approved it",
        lambda: (CLUSTER, order(approvals=()), *RIGHT[2:]),
    ),
    "fewer people than were asked for": (
        "too_few_approvals",
        "2 of 3 people have approved it",
        lambda: (CLUSTER, order(needed=3), *RIGHT[2:]),
    ),
    "approvals of another environment": (
        "wrong_environment",
        "0 of 1 people have approved it; anna: it was given in test, not other; bert: it was given in test, not other",
        lambda: (
            CLUSTER,
            order(
                {"environment": "other"},
                approvals=tuple(
                    approval(CLAIMED.plan.model_copy(update={"environment": "other"}), p) for p in ("anna", "bert")
                ),
            ),
            NOW,
            LIVE,
            replace(RULES, environment="other"),
        ),
    ),
    "approvals of a key that is not known": (
        "unknown_key",
        "0 of 1 people have approved it",
        lambda: (*RIGHT[:4], replace(RULES, keys={})),
    ),
    "approvals of a key that was revoked": (
        "revoked_key",
        "0 of 1 people have approved it",
        lambda: (*RIGHT[:3], replace(LIVE, revoked_kids=frozenset({kid_of(KEY)})), RULES),
    ),
    "the approval of who proposed it": (
        "self_approval",
        "0 of 1 people have approved it; anna: anna proposed it",
        lambda: (CLUSTER, order(proposed_by="anna", approvals=(approval(CLAIMED.plan, "anna"),)), *RIGHT[2:]),
    ),
    "approvals of another remediation": (
        "wrong_remediation",
        "0 of 1 people have approved it; anna: it was given for R",
        lambda: (CLUSTER, order(remediation_id="R2"), *RIGHT[2:]),
    ),
    "approvals that have run out": (
        "expired",
        "0 of 1 people have approved it; anna: it has expired",
        lambda: (
            CLUSTER,
            order(expires_at_ms=NOW + 48 * 3_600_000),
            NOW + 24 * 3_600_000,
            LIVE,
            RULES,
        ),
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_an_order_is_refused_for(why: str) -> None:
    code, text, changed = REFUSED[why]
    cluster, said, now_ms, controls, rules = changed()
    answer = claim_or_refuse(cluster, said, now_ms, now_ms, controls, rules)
    assert isinstance(answer, e.ClaimRefused), answer
    assert (answer.cluster_id, answer.remediation_id) == ("prod", said.remediation_id)
    assert answer.code == code
    assert answer.text.startswith(text), answer.text


def test_a_rehearsal_is_allowed_where_the_mode_is_on_and_where_the_broker_is_not_safe() -> None:
    rehearsal = claimed(EVICT, healthy(), "dry_run")
    assert unauthorised(rehearsal, NOW, LIVE, RULES) is None
    assert unauthorised(rehearsal, NOW, adopted(actions={EVICT.name: {"mode": "dry_run"}}), RULES) is None
    assert unauthorised(rehearsal, NOW, LIVE, replace(RULES, mode_max="dry_run")) is None
