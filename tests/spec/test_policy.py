"""What a policy may say, what it says where nobody has said anything, and which mode an action has under it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.policy import ActionPolicy, ApprovalPolicy, LimitsByTier, LimitsPolicy, Policy, TierLimits, veto_s
from schemas.values import Mode, Tier


def test_what_nobody_has_said_is_on_the_safe_side() -> None:
    assert Policy().model_dump() == {
        "version": 0,
        "default_mode": "observe",
        "actions": {},
        "approval": {
            "low": "auto",
            "medium": "one",
            "high": "two",
            "ask_s": 480,
            "escalation": ("first responder", "leads"),
        },
        "notify": {"routine": "log", "notable": "log", "critical": "all"},
        "limits": {
            "facts_age_s_max": 30,
            "pd_leader_age_s_min": 300,
            "leader_move_bytes_per_s_max": 20e6,
            "leaders_share_max": 0.34,
            "leaders_many": 5000,
            "bytes_moved_many": 107_374_182_400,
            "settling_s": 600,
            "cooldown_s": 900,
            "execution_s_max": 3600,
            "audit_within_s": 0,
            "tier": {},
        },
        "windows": {},
    }
    assert ActionPolicy() == ActionPolicy(mode="observe", canary=())


@pytest.mark.parametrize(
    ("of", "name", "within", "beyond"),
    [
        (LimitsPolicy, "facts_age_s_max", (0.1, 300), (0, 300.1)),
        (LimitsPolicy, "pd_leader_age_s_min", (0, 86_400), (-0.1, 86_400.1)),
        (LimitsPolicy, "leader_move_bytes_per_s_max", (0.1,), (0,)),
        (LimitsPolicy, "leaders_share_max", (0.1, 1), (0, 1.1)),
        (LimitsPolicy, "leaders_many", (0,), (-1,)),
        (LimitsPolicy, "bytes_moved_many", (0,), (-1,)),
        (LimitsPolicy, "settling_s", (5, 86_400), (4, 86_401)),
        (LimitsPolicy, "cooldown_s", (0, 86_400), (-1, 86_401)),
        (LimitsPolicy, "execution_s_max", (30, 86_400), (29, 86_401)),
        (LimitsPolicy, "audit_within_s", (0, 3600), (-1, 3601)),
        (ApprovalPolicy, "ask_s", (30, 86_400), (29, 86_401)),
    ],
)
def test_every_number_of_a_policy_has_bounds(
    of: type[LimitsPolicy | ApprovalPolicy], name: str, within: tuple[float, ...], beyond: tuple[float, ...]
) -> None:
    assert [getattr(of(**{name: number}), name) for number in within] == list(within)
    for number in beyond:
        with pytest.raises(ValidationError, match=name):
            of(**{name: number})


TIERED = LimitsByTier.model_validate(
    {"settling_s": 100, "leaders_share_max": 0.5, "tier": {"1": {"settling_s": 900}, "3": {"leaders_share_max": 0.9}}}
)


@pytest.mark.parametrize(
    ("cluster_tier", "settling_s", "share"), [(1, 900, 0.5), (2, 100, 0.5), (3, 100, 0.9), (9, 100, 0.5)]
)
def test_a_tier_has_limits_of_its_own_where_they_are_written_and_else_those_of_all(
    cluster_tier: int, settling_s: int, share: float
) -> None:
    limits = TIERED.of(cluster_tier)
    assert type(limits) is LimitsPolicy
    assert limits == LimitsPolicy(settling_s=settling_s, leaders_share_max=share)


def test_what_nobody_has_written_for_a_tier_stays_unwritten_when_a_policy_is_adopted() -> None:
    whole = Policy(limits=TIERED).model_dump(mode="json")
    assert whole["limits"]["tier"] == {"1": {"settling_s": 900}, "3": {"leaders_share_max": 0.9}}
    read = Policy.model_validate(whole)
    assert [read.limits.of(tier) for tier in (1, 2, 3)] == [TIERED.of(tier) for tier in (1, 2, 3)]
    stricter = whole | {"limits": whole["limits"] | {"settling_s": 50}}
    assert [Policy.model_validate(stricter).limits.of(tier).settling_s for tier in (1, 2, 3)] == [900, 50, 50]


def test_what_is_written_at_its_default_for_a_tier_is_written() -> None:
    limits = LimitsByTier.model_validate({"settling_s": 100, "tier": {"1": {"settling_s": 600}}})
    assert limits.model_dump()["tier"] == {"1": {"settling_s": 600}}
    assert limits.of(1).settling_s == 600


@pytest.mark.parametrize(
    "tier",
    [
        {"0": {}},
        {"10": {}},
        {"x": {}},
        {"1\n": {}},
        {"": {}},
        {"1": {"settling": 9}},
        {"1": {"settling_s": 4}},
        {"1": {"tier": {}}},
    ],
)
def test_a_tier_that_there_is_not_and_a_key_that_there_is_not_are_refused(tier: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="tier"):
        LimitsByTier.model_validate({"tier": tier})


def test_every_limit_may_be_another_for_a_tier() -> None:
    assert set(TierLimits.model_fields) == set(LimitsPolicy.model_fields)


@pytest.mark.parametrize("rule", ["auto", "veto:5m", "veto:0s", "veto:9999s", "one", "two", "never"])
def test_the_rules_that_there_are(rule: str) -> None:
    assert ApprovalPolicy(low=rule).low == rule


@pytest.mark.parametrize(
    ("tier", "rules"),
    [
        ("low", ["", "three", "veto", "veto:m", "veto:10h", "veto:10000s", "veto:-1s", "autos", "an auto", "one\n"]),
        ("medium", ["auto", "veto:10m", "veto:9999m", "yes"]),
        ("high", ["auto", "veto:10m", "one", "yes"]),
    ],
)
def test_no_rule_lets_more_than_low_act_without_a_person_nor_high_with_one(tier: str, rules: list[str]) -> None:
    for rule in rules:
        with pytest.raises(ValidationError, match=tier):
            ApprovalPolicy(**{tier: rule})


def test_the_default_may_rehearse_and_never_acts() -> None:
    assert Policy(default_mode="dry_run").default_mode == "dry_run"
    with pytest.raises(ValidationError, match="default_mode"):
        Policy(default_mode="on")


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [("veto:10m", 600), ("veto:90s", 90), ("veto:1s", 1), ("auto", None), ("one", None), ("a veto:1s", None)],
)
def test_how_long_a_veto_is_waited_for(rule: str, seconds: int | None) -> None:
    assert veto_s(rule) == seconds


@pytest.mark.parametrize(
    ("version", "rule", "mode"),
    [
        (0, ActionPolicy(mode="on"), "observe"),  # nobody has adopted it
        (1, ActionPolicy(mode="on"), "on"),
        (1, ActionPolicy(mode="on", canary=("prod",)), "on"),
        (1, ActionPolicy(mode="on", canary=("staging",)), "dry_run"),
        (1, ActionPolicy(mode="dry_run", canary=("staging",)), "dry_run"),
        (1, ActionPolicy(mode="observe", canary=("staging",)), "observe"),
        (1, None, "dry_run"),
    ],
)
def test_the_mode_in_force(version: int, rule: ActionPolicy | None, mode: Mode) -> None:
    policy = Policy(version=version, default_mode="dry_run", actions={"evict": rule} if rule else {})

    assert policy.mode("evict", "prod") == mode


@pytest.mark.parametrize(
    ("tier", "rule"), [("LOW", "auto"), ("MEDIUM", "one"), ("HIGH", "two"), ("FORBIDDEN", "never")]
)
def test_each_tier_has_its_rule_and_forbidden_has_none_to_set(tier: Tier, rule: str) -> None:
    assert Policy().approval_rule(tier) == rule
