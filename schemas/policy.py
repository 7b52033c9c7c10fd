"""What is allowed: a draft in the file, in force once somebody adopts it (an event on `controls`)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from schemas.values import Mode, Model, Tier

_VETO = re.compile(r"^veto:(\d{1,4})([sm])$")
CLUSTER_TIER_DEAREST = 1  # also of a cluster that nobody has given a tier
ClusterTier = Annotated[str, Field(pattern=r"^[1-9]$")]  # as a key: what a cluster's `tier` may be
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

    def approval_rule(self, tier: Tier) -> str:
        return "never" if tier == "FORBIDDEN" else str(getattr(self.approval, tier.lower()))


def veto_s(rule: str) -> int | None:
    """Seconds that `veto:10m` waits for an objection; None for every other rule."""
    found = _VETO.match(rule)
    return int(found[1]) * (60 if found[2] == "m" else 1) if found else None


NotifyTier = Literal["routine", "notable", "critical"]
