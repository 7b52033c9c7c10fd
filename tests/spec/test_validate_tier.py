"""How many people a plan needs. Only upwards."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.action import Action
from actions.evict_store_leaders import EvictStoreLeaders
from actions.preflight import objections
from actions.remove_tombstones import RemoveTombstones
from actions.split_region import SplitRegion
from actions.transfer_region_leader import TransferRegionLeader
from schemas.policy import LimitsPolicy
from schemas.values import TIERS, Reach, Tier
from streams.rules.risk import tier_of
from tests.actions.clusters import LIMITS, healthy, region

EVICT = EvictStoreLeaders(store_id=4)
TRANSFER = TransferRegionLeader(region_id=180, to_store_id=2)
BURY = RemoveTombstones(store_ids=(8,))
SPLIT = SplitRegion(region_id=180)
ONE = Reach(stores=2, regions=1, leaders=1, leaders_share=0.005)
MANY = Reach(stores=2, regions=1, leaders=5000, leaders_share=0.1, bytes_moved=100 * 2**30)  # just not too many


class Unsafe(EvictStoreLeaders):
    """Not in the catalogue: what nobody may do."""

    risk: ClassVar[Tier] = "FORBIDDEN"  # type: ignore[assignment]


def tier(action: Action, reach: Reach = ONE, **changed: Any) -> Tier:
    given: dict[str, Any] = {
        "facts": healthy(),
        "cluster_tier": 1,
        "disputed": False,
        "by": "playbook",
        "limits": LimitsPolicy(),
    }
    return tier_of(action, reach, **(given | changed))[0]


def test_the_actions_as_they_stand() -> None:
    assert tier(TRANSFER) == "LOW"
    assert tier(EVICT, EVICT.reach(healthy())) == "MEDIUM"
    assert tier(BURY) == "HIGH"
    assert tier(SPLIT, SPLIT.reach(healthy())) == "MEDIUM"


class Harmless(SplitRegion):
    """Not in the catalogue: says that its risk is less than its kind of undo allows."""

    risk: ClassVar[Tier] = "LOW"  # type: ignore[assignment]


def test_what_nobody_can_take_back_is_asked_for() -> None:
    harmless = Harmless(region_id=180)
    tier_, why = tier_of(harmless, harmless.reach(healthy()), healthy(), 1, False, "playbook", LimitsPolicy())
    assert (tier_, why) == ("MEDIUM", ("nobody can take it back",))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"disputed": True}, "MEDIUM"),
        ({"by": "model", "confidence": 0.79}, "MEDIUM"),
        ({"by": "model", "confidence": float("nan")}, "MEDIUM"),
        ({"by": "model", "confidence": 0.8}, "LOW"),
        ({"by": "playbook", "confidence": 0.1}, "LOW"),
        ({"facts": healthy(troubled=(region(7, 1, 5, 3, pending_store_ids=(5,)),))}, "MEDIUM"),
        ({"reach": Reach(stores=2, regions=2, leaders=2, leaders_share=0.01)}, "MEDIUM"),
        ({"reach": Reach(stores=2, regions=1, leaders=1, leaders_share=0.35)}, "HIGH"),
        ({"reach": Reach(stores=2, regions=1, leaders=1, leaders_share=float("nan"))}, "HIGH"),
        ({"reach": MANY}, "LOW"),
        ({"reach": MANY, "limits": LimitsPolicy(leaders_many=4999)}, "HIGH"),
        ({"reach": MANY, "limits": LimitsPolicy(bytes_moved_many=100 * 2**30 - 1)}, "HIGH"),
        ({"reach": MANY.model_copy(update={"leaders": 5001})}, "HIGH"),
        ({"reach": MANY.model_copy(update={"leaders": 5001}), "cluster_tier": 2}, "HIGH"),
        ({"reach": MANY.model_copy(update={"leaders": 5001}), "limits": LimitsPolicy(leaders_many=5001)}, "LOW"),
        ({"reach": MANY.model_copy(update={"bytes_moved": 100 * 2**30 + 1})}, "HIGH"),
        ({"reach": Reach(stores=1, regions=9, leaders=9, leaders_share=0.1), "disputed": True}, "HIGH"),
    ],
)
def test_what_raises_a_low_one(changed: dict[str, Any], expected: Tier) -> None:
    assert tier(TRANSFER, **changed) == expected


@given(st.booleans(), st.sampled_from(["playbook", "model"]), st.floats(), st.integers(0, 4))
def test_forbidden_is_never_lowered(disputed: bool, by: str, confidence: float, cluster_tier: int) -> None:
    unsafe = Unsafe(store_id=4)
    given: dict[str, Any] = {"disputed": disputed, "by": by, "confidence": confidence, "cluster_tier": cluster_tier}
    assert tier(unsafe, **given) == "FORBIDDEN"
    assert [(o.code, o.kind) for o in objections(unsafe, healthy(), LIMITS)] == [("forbidden", "never")]


@given(st.sampled_from([EVICT, TRANSFER, BURY]), st.booleans(), st.sampled_from(["playbook", "model"]), st.floats())
def test_nothing_that_anybody_says_lowers_a_tier(action: Action, disputed: bool, by: str, confidence: float) -> None:
    least = TIERS.index(tier(action))
    assert TIERS.index(tier(action, disputed=disputed, by=by, confidence=confidence)) >= least


def test_the_reasons_say_why_it_is_not_lower() -> None:
    assert tier_of(TRANSFER, ONE, healthy(), 1, True, "model", LimitsPolicy()) == (
        "MEDIUM",
        ("playbook and model disagree",),
    )
