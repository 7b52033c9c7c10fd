"""What is allowed: a draft in the file, in force once somebody adopts it (an event on `controls`)."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from schemas.values import TIERS, Mode, Model, Tier
from schemas.windows import minute_of_week, minutes, zone

_VETO = re.compile(r"^veto:(\d{1,4})([sm])$")
CLUSTER_TIER_DEAREST = 1  # also of a cluster that nobody has given a tier
ClusterTier = Annotated[str, Field(pattern=r"^[1-9]$")]  # as a key: what a cluster's `tier` may be
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
WindowName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
ApprovalRule = Annotated[str, Field(pattern=r"^(auto|veto:\d{1,4}[sm]|one|two|never)$")]


class ActionPolicy(Model):
    """One action type: its mode, and the clusters that `on` is limited to (`canary`; empty: every cluster)."""

    mode: Mode = "observe"
    canary: tuple[str, ...] = ()


class ApprovalPolicy(Model):
    """Who must agree, by tier. FORBIDDEN has no key: it is never allowed."""

    low: ApprovalRule = "auto"
    medium: ApprovalRule = "one"
    high: ApprovalRule = "two"
    ask_s: int = Field(480, ge=30, le=86_400)  # how long the first responder is asked before the next step
    escalation: tuple[str, ...] = ("first responder", "leads")  # frozen when the request opens; at its end: deny

    @model_validator(mode="after")
    def _no_quiet_yes(self) -> ApprovalPolicy:
        for tier in ("medium", "high"):
            rule = getattr(self, tier)
            if rule == "auto" or rule.startswith("veto"):
                raise ValueError(f"approval.{tier}: {rule!r} would let more than LOW act without a person")
        if self.high == "one":
            raise ValueError("approval.high: needs two distinct people, or `never`")
        return self


class NotifyPolicy(Model):
    """Tier of a notification -> a sink's name, `log`, or `all`."""

    routine: str = "log"
    notable: str = "log"
    critical: str = "all"


class WindowPolicy(Model):
    """Hours in which actions may not start (`quiet`), or in which alone they may (`maintenance`): whoever has approved
    them, and never their undo. What several keys name has to be true at once; one that is empty says nothing.

    `quiet` is stronger than `maintenance`; of several `maintenance` windows about an action, one that is open is
    enough. The hours are what a clock on the wall shows: in a night in which clocks are changed they are one more or
    one less."""

    kind: Literal["quiet", "maintenance"]
    zone: str = "UTC"  # as in Europe/Berlin
    days: tuple[Day, ...] = ()  # on which it begins; empty: every day
    start: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    end: str = Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")  # before `start`: on the next day
    clusters: tuple[str, ...] = ()  # names, or patterns as `prod-*`; empty: every cluster
    cluster_tiers: tuple[Annotated[int, Field(ge=1, le=9)], ...] = ()  # empty: every tier
    actions: tuple[str, ...] = ()  # empty: every action
    risk_min: Literal["LOW", "MEDIUM", "HIGH"] = "LOW"  # plans of this tier and of those above

    @field_validator("zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        zone(name)
        return name

    @field_validator("end")
    @classmethod
    def _has_a_length(cls, end: str, info: ValidationInfo) -> str:
        if end == info.data.get("start"):
            raise ValueError("is its start too; a whole day is 00:00 to 24:00")
        return end

    def is_about_cluster(self, cluster_id: str, cluster_tier: int) -> bool:
        named = not self.clusters or any(fnmatchcase(cluster_id, pattern) for pattern in self.clusters)
        return named and (not self.cluster_tiers or cluster_tier in self.cluster_tiers)

    def is_about(self, action: str, tier: Tier) -> bool:
        return (not self.actions or action in self.actions) and TIERS.index(tier) >= TIERS.index(self.risk_min)

    def is_open(self, at_ms: int) -> bool:
        return minute_of_week(at_ms, self.zone) in _minutes(self.days, self.start, self.end)

    def hours(self) -> str:
        """As people say it, and as the digest has it."""
        days = ",".join(day for day in DAYS if day in self.days)
        return " ".join(filter(None, (days, f"{self.start}-{self.end}", self.zone)))


@cache
def _minutes(days: tuple[Day, ...], start: str, end: str) -> frozenset[int]:
    return minutes(tuple(map(DAYS.index, days or DAYS)), start, end)


class LimitsPolicy(Model):
    """Limits of one cluster."""

    facts_age_s_max: float = Field(30, gt=0, le=300)
    pd_leader_age_s_min: float = Field(300, ge=0, le=86_400)  # counts are incomplete on a fresh leader (tikv/pd#3406)
    leader_move_bytes_per_s_max: float = Field(20e6, gt=0)
    leaders_share_max: float = Field(0.34, gt=0, le=1)
    leaders_many: int = Field(5000, ge=0)  # a plan that moves more of them is HIGH
    bytes_moved_many: int = Field(100 * 2**30, ge=0)  # a plan that moves more of them is HIGH
    settling_s: int = Field(600, ge=5, le=86_400)  # an undone change is watched for so long
    cooldown_s: int = Field(900, ge=0, le=86_400)  # between two executions on one cluster
    execution_s_max: int = Field(3600, ge=30, le=86_400)
    audit_within_s: int = Field(0, ge=0, le=3600)  # HIGH begins once the audit holds its claim; 0: not asked


class TierLimits(LimitsPolicy):
    """For clusters of one tier, `[policy.limits.tier.1]` to `.9`: a key that is written here is in force there instead
    of that of `[policy.limits]`, whether it is stricter or looser."""

    @model_serializer(mode="wrap")
    def _as_written(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A key that nobody has written stays unwritten, or its default would be in force once it is adopted."""
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}


class LimitsByTier(LimitsPolicy):
    """Limits that preflights, tiers and executions are judged by."""

    tier: dict[ClusterTier, TierLimits] = {}

    def of(self, cluster_tier: int) -> LimitsPolicy:
        """Those of a cluster of this tier."""
        whole = {name: getattr(self, name) for name in LimitsPolicy.model_fields}
        other = self.tier.get(str(cluster_tier))
        return LimitsPolicy(**whole | (other.model_dump() if other else {}))


class Policy(Model):
    """The whole policy. `version` counts adoptions; 0: nobody has adopted one, so everything observes."""

    version: int = 0
    default_mode: Mode = "observe"
    actions: dict[str, ActionPolicy] = {}
    approval: ApprovalPolicy = ApprovalPolicy()
    notify: NotifyPolicy = NotifyPolicy()
    limits: LimitsByTier = LimitsByTier()
    windows: dict[WindowName, WindowPolicy] = {}

    @field_validator("default_mode")
    @classmethod
    def _default_never_acts(cls, mode: Mode) -> Mode:
        if mode == "on":
            raise ValueError("default_mode: `on` is given per action, never as the default")
        return mode

    def mode(self, action: str, cluster_id: str) -> Mode:
        """The mode in force; an action outside its canary list is rehearsed, not run."""
        if self.version == 0:
            return "observe"
        rule = self.actions.get(action)
        if rule is None:
            return self.default_mode
        if rule.mode == "on" and rule.canary and cluster_id not in rule.canary:
            return "dry_run"
        return rule.mode

    def at_most(self, mode: str) -> Policy:
        """The same policy where nothing goes beyond `dry_run`, should that be all that the broker is good for."""
        if mode == "on":
            return self
        actions = {
            name: rule.model_copy(update={"mode": "dry_run" if rule.mode == "on" else rule.mode})
            for name, rule in self.actions.items()
        }
        return self.model_copy(update={"actions": actions})

    def windows_of(self, cluster_id: str, cluster_tier: int) -> dict[str, WindowPolicy]:
        """The windows that are about this cluster, by name."""
        return {n: w for n, w in sorted(self.windows.items()) if w.is_about_cluster(cluster_id, cluster_tier)}

    def approval_rule(self, tier: Tier) -> str:
        return "never" if tier == "FORBIDDEN" else str(getattr(self.approval, tier.lower()))


def veto_s(rule: str) -> int | None:
    """Seconds that `veto:10m` waits for an objection; None for every other rule."""
    found = _VETO.match(rule)
    return int(found[1]) * (60 if found[2] == "m" else 1) if found else None


NotifyTier = Literal["routine", "notable", "critical"]
