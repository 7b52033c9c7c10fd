"""How many people a plan needs: its tier, from one table of what raises it. Nothing lowers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actions.action import Action, Undo
from schemas.events import By
from schemas.facts import Facts
from schemas.policy import LimitsPolicy
from schemas.values import TIERS, Reach, Tier

CONFIDENT = 0.8  # a model less sure than this: people look
LEADERS_MANY = 5_000
BYTES_MANY = 100 * 2**30


@dataclass(frozen=True)
class Weighed:
    """All that a tier depends on."""

    action: Action
    reach: Reach
    facts: Facts
    cluster_tier: int
    disputed: bool
    by: By
    confidence: float
    limits: LimitsPolicy


# At least this tier | when | because. Comparisons are written so that what is not a number raises.
RAISES: tuple[tuple[Tier, Callable[[Weighed], bool], str], ...] = (
    ("MEDIUM", lambda w: w.disputed, "playbook and model disagree"),
    ("MEDIUM", lambda w: w.by == "model" and not w.confidence >= CONFIDENT, f"a model less sure than {CONFIDENT:g}"),
    ("MEDIUM", lambda w: any(c.keep_s for c in w.action.plan(w.facts)), "an undo is owed afterwards"),
    ("MEDIUM", lambda w: w.action.undo is Undo.NONE, "nobody can take it back"),
    ("MEDIUM", lambda w: w.reach.regions > 1, "touches more than one region"),
    ("MEDIUM", lambda w: bool(w.facts.troubled) or w.facts.down_peers() > 0, "some regions are in trouble already"),
    ("HIGH", lambda w: w.action.undo is Undo.IRREVERSIBLE, "can't be undone"),
    ("HIGH", lambda w: len(w.action.takes_out()) > 1, "takes more than one store out of service"),
    (
        "HIGH",
        lambda w: not w.reach.leaders_share <= w.limits.leaders_share_max,
        "moves too large a share of the leaders",
    ),
    ("HIGH", lambda w: w.reach.bytes_moved > BYTES_MANY, "moves more than 100 GiB"),
    ("HIGH", lambda w: w.cluster_tier <= 1 and w.reach.leaders > LEADERS_MANY, "many leaders on a cluster of tier 1"),
    ("HIGH", lambda w: w.cluster_tier <= 1 and w.disputed and w.reach.regions > 1, "disputed, on a cluster of tier 1"),
)


def tier_of(
    action: Action,
    reach: Reach,
    facts: Facts,
    cluster_tier: int,
    disputed: bool,
    by: By,
    limits: LimitsPolicy,
    confidence: float = 1.0,
) -> tuple[Tier, tuple[str, ...]]:
    """(tier, why it is not lower). FORBIDDEN stays FORBIDDEN; confidence and agreement lower nothing."""
    given = Weighed(action, reach, facts, cluster_tier, disputed, by, confidence, limits)
    reasons = [(action.risk, f"{action.name} is {action.risk} at least")]
    reasons += [(least, because) for least, when, because in RAISES if when(given)]
    tier = max((least for least, _ in reasons), key=TIERS.index)
    return tier, tuple(because for least, because in reasons if least == tier)
