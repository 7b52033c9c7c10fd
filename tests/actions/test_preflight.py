"""Why not: each objection alone, and all of them together."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any, ClassVar

import pytest

from actions.action import Action, Limits
from actions.cancel_operator import CancelOperator
from actions.evict_store_leaders import EvictStoreLeaders
from actions.offline_store import OfflineStore
from actions.preflight import objections
from actions.remove_tombstones import RemoveTombstones
from actions.scatter_regions import ScatterRegions
from actions.set_schedule_config import SetScheduleConfig
from actions.set_store_limit import SetStoreLimit
from actions.set_store_weight import SetStoreWeight
from actions.split_region import SplitRegion
from actions.transfer_pd_leader import TransferPdLeader
from actions.transfer_region_leader import TransferRegionLeader
from actions.transfer_region_peer import TransferRegionPeer
from schemas.facts import Facts, PeerFacts, RegionFacts, StoreFacts
from schemas.policy import LimitsPolicy, WindowPolicy
from schemas.values import Tier
from tests.actions.clusters import LIMITS, NOW, healthy, operator, region, store, tombstone, with_store

EVICT = EvictStoreLeaders(store_id=4)
TRANSFER = TransferRegionLeader(region_id=180, to_store_id=2)
BURY = RemoveTombstones(store_ids=(8, 9))
MOVE = TransferRegionPeer(region_id=180, from_store_id=3, to_store_id=4)
SPLIT = SplitRegion(region_id=180)
LIMIT = SetStoreLimit(store_id=4, limit_type="add-peer", per_minute=30)
LEAD = TransferPdLeader(member="pd-1")
OFFLINE = OfflineStore(store_id=4)
SCATTER = ScatterRegions(region_ids=(180,))
CANCEL = CancelOperator(region_id=180, operator="balance-region-scheduler")
WEIGH = SetStoreWeight(store_id=4, weight_of="region", weight=0.5)
CONFIG = SetScheduleConfig(key="merge-schedule-limit", value=0)


def with_tombstones(facts: Facts) -> Facts:
    return facts.model_copy(update={"stores": (*facts.stores, tombstone(8), tombstone(9))})


def codes(action: Action, facts: Facts) -> list[str]:
    return [o.code for o in objections(action, facts, LIMITS)]


@pytest.mark.parametrize("action", [EVICT, TRANSFER, SPLIT, LIMIT, WEIGH, LEAD])
def test_a_healthy_cluster_has_no_objection(action: Action) -> None:
    assert codes(action, healthy()) == []


class Forbade(EvictStoreLeaders):
    """Not in the catalogue: of a tier that no machine does."""

    risk: ClassVar[Tier] = "FORBIDDEN"  # type: ignore[assignment]


def test_what_is_forbidden_is_never_done() -> None:
    (found,) = objections(Forbade(store_id=4), healthy(), LIMITS)
    assert (found.code, found.kind) == ("forbidden", "never")
    assert found.text == "evict_store_leaders is never done by a machine"


def test_tombstones_without_regions_have_no_objection() -> None:
    assert codes(BURY, with_tombstones(healthy())) == []


# code | for how long it is worth waiting (s), None: it is a no | what is wrong
SHARED: list[tuple[str, float | None, dict[str, Any]]] = [
    ("facts_stale", 1, {"taken_at_ms": NOW - 30_001}),
    ("facts_stale", 1, {"taken_at_ms": NOW + 5_001}),
    ("pd_warming_up", 30, {"schedulers": ()}),
    ("no_stores", 30, {"stores": ()}),
    ("troubled_incomplete", 300, {"troubled_complete": False}),
    ("pd_no_quorum", 30, {"members_healthy": 1}),
    ("pd_no_quorum", 30, {"members": 0, "members_healthy": 0}),
    ("pd_no_quorum", 30, {"members": 0, "members_healthy": 1}),
    ("pd_no_quorum", 30, {"members": 2, "members_healthy": 1}),
    ("pd_no_quorum", 30, {"members": 5, "members_healthy": 2}),
    ("pd_no_leader", 30, {"pd_leader": ""}),
    ("pd_leader_young", 1, {"pd_leader_age_s": 299.9}),
    ("pd_leader_young", 200, {"pd_leader_age_s": 100.0}),
    ("pd_leader_young", 30, {"pd_leader_age_s": nan}),
    ("unsafe_recovery", None, {"unsafe_recovery": "Unsafe recovery enters collect report stage"}),
    ("unsafe_recovery", None, {"unsafe_recovery": ""}),
    ("unsafe_recovery", None, {"unsafe_recovery": "Collecting reports from alive stores(1/3)"}),
    ("halt_scheduling", None, {"halt_scheduling": True}),
    ("other_eviction", 300, {"evicting": (5,)}),
    ("other_eviction", 300, {"slow_evicting": (5,)}),
    ("slow_evicting_unknown", None, {"slow_evicting_known": False}),
]


@pytest.mark.parametrize(("code", "wait_s", "changed"), SHARED)
@pytest.mark.parametrize(
    "action", [EVICT, TRANSFER, MOVE, BURY, SPLIT, SCATTER, WEIGH, CONFIG, CANCEL, OFFLINE, LIMIT, LEAD]
)
def test_every_action_shares_the_objections_to_a_cluster(
    action: Action, code: str, wait_s: float | None, changed: dict[str, Any]
) -> None:
    facts = with_tombstones(healthy()).model_copy(update=changed)
    (found,) = [o for o in objections(action, facts, LIMITS) if o.code == code]
    until_ms = 0 if wait_s is None else NOW + wait_s * 1000
    assert (found.kind, found.until_ms) == ("no" if wait_s is None else "wait", until_ms)


@pytest.mark.parametrize(
    "changed",
    [
        {"taken_at_ms": NOW - 30_000, "stores": tuple(store(n, last_heartbeat_ms=NOW - 31_000) for n in range(1, 6))},
        {"taken_at_ms": NOW + 5_000},
        {"members": 1, "members_healthy": 1},
        {"members": 5, "members_healthy": 3},
        {"pd_leader_age_s": 300.0},
        {"stores": tuple(store(n, last_heartbeat_ms=NOW - 22_000) for n in range(1, 6))},  # 20 s before they were read
    ],
)
def test_what_is_just_within_a_limit_has_no_objection(changed: dict[str, Any]) -> None:
    assert codes(EVICT, healthy().model_copy(update=changed)) == []


@pytest.mark.parametrize(
    "action", [EVICT, TRANSFER, MOVE, BURY, SPLIT, SCATTER, WEIGH, CONFIG, CANCEL, OFFLINE, LIMIT, LEAD]
)
@pytest.mark.parametrize("state", ["Disconnected", "Down", "Offline"])
def test_every_store_that_stays_must_be_up(action: Action, state: str) -> None:
    assert "store_not_up" in codes(action, with_tombstones(with_store(healthy(), store(5, state=state))))


def test_every_store_that_is_not_up_is_named() -> None:
    facts = with_store(with_store(healthy(), store(1, state="Down")), store(5, state="Offline"))
    assert [o.text for o in objections(EVICT, facts, LIMITS)] == ["store 1 is Down", "store 5 is Offline"]


def test_an_up_store_that_is_silent_is_not_believed() -> None:
    (silent,) = objections(EVICT, with_store(healthy(), store(5, last_heartbeat_ms=NOW - 22_001)), LIMITS)
    assert (silent.code, silent.kind, silent.until_ms) == ("store_silent", "wait", NOW + 30_000)
    assert silent.text == "store 5 has been silent for 20 s"


@pytest.mark.parametrize(
    "recovery",
    [
        "No on-going recovery.",
        "Unsafe recovery Finished",
        "Unsafe recovery Failed: time-out",
        "Unsafe recovery finished",
        "Unsafe recovery failed: Exceeds timeout",
    ],
)
def test_a_recovery_that_is_over_bars_nothing(recovery: str) -> None:
    """How it ended older PDs write in small letters."""
    assert codes(EVICT, healthy(unsafe_recovery=recovery)) == []


def test_of_what_pd_says_at_length_only_the_beginning_is_told() -> None:
    (recovery,) = objections(EVICT, healthy(unsafe_recovery="x" * 300), LIMITS)
    assert recovery.text == "unsafe recovery: " + "x" * 200
    long = operator(180, "balance-leader").model_copy(update={"brief": "x" * 300})
    (running,) = objections(TRANSFER, healthy(operators=(long,)), LIMITS)
    assert running.text == "region 180 has an operator: balance-leader " + "x" * 257
    assert len(running.text) == 300
    (running,) = objections(TRANSFER, healthy(operators=(long.model_copy(update={"brief": ""}),)), LIMITS)
    assert running.text == "region 180 has an operator: balance-leader"


def with_a_peer(region: RegionFacts, store_id: int, role: str) -> RegionFacts:
    """One peer more, of this role."""
    return region.model_copy(update={"peers": (*region.peers, PeerFacts(id=1, store_id=store_id, role=role))})


@pytest.mark.parametrize(
    "ill",
    [
        region(7, 1, 4, 5, down_store_ids=(5,)),
        region(7, 1, 4, 5, pending_store_ids=(1,)),
        with_a_peer(region(7, 1, 4), 5, "Learner"),  # which has no vote
        with_a_peer(region(7, 1, 4, 5), 2, "IncomingVoter"),  # about to change its voters
        region(7, 1, 4),  # one replica too few
        region(7, 1, 4, 99),  # a store that isn't there
    ],
)
def test_the_quorum_rule(ill: Any) -> None:
    assert codes(EVICT, healthy(troubled=(ill,))) == ["quorum_at_risk"]


@pytest.mark.parametrize(("count", "named"), [(5, "11, 12, 13, 14, 15"), (6, "11, 12, 13, 14, 15 and 1 more")])
def test_the_quorum_rule_names_some_of_the_regions(count: int, named: str) -> None:
    ill = tuple(region(11 + n, 1, 4, 5, down_store_ids=(5,)) for n in range(count))
    (found,) = objections(EVICT, healthy(troubled=ill), LIMITS)
    assert found.kind == "no"
    assert found.text.endswith(f"in region {named}")


@pytest.mark.parametrize(
    "ill",
    [
        region(7, 1, 2, 5, down_store_ids=(5,)),  # no peer on the target
        region(7, 1, 4, 5, pending_store_ids=(4,)),  # the target's own replica lags: evicting it takes nothing more
    ],
)
def test_the_quorum_rule_protects_only_what_is_touched(ill: Any) -> None:
    assert codes(EVICT, healthy(troubled=(ill,))) == []


def test_an_operator_on_the_same_region_waits() -> None:
    found = objections(TRANSFER, healthy(operators=(operator(180, "balance-leader"),)), LIMITS)
    assert [(o.code, o.kind, o.until_ms) for o in found] == [("operator_running", "wait", NOW + 30_000)]
    assert found[0].text == "region 180 has an operator: balance-leader transfer leader: store 1 to 2"
    assert codes(TRANSFER, healthy(operators=(operator(181, "balance-leader"),))) == []


def test_a_person_at_work_makes_taking_a_store_out_wait() -> None:
    assert codes(EVICT, healthy(operators=(operator(181, "admin-move-peer"),))) == ["operator_running"]
    assert codes(EVICT, healthy(operators=(operator(181, "balance-region"),))) == []
    assert codes(TRANSFER, healthy(operators=(operator(181, "admin-move-peer"),))) == []
    both = healthy(operators=(operator(181, "balance-region"), operator(182, "admin-move-peer")))
    assert codes(EVICT, both) == ["operator_running"]


EVICTIONS: list[tuple[str, Callable[[Facts], Facts]]] = [
    ("no_such_store", lambda f: f.model_copy(update={"stores": tuple(s for s in f.stores if s.id != 4)})),
    ("target_not_up", lambda f: with_store(f, store(4, state="Disconnected"))),
    ("target_not_up", lambda f: with_store(f, store(4, state="Tombstone"))),
    ("already_evicting", lambda f: f.model_copy(update={"evicting": (4,)})),
    ("slow_evicted", lambda f: f.model_copy(update={"slow_evicting": (4,)})),
    ("nowhere_to_go", lambda f: f.model_copy(update={"max_replicas": 1})),
    ("nowhere_to_go", lambda f: f.model_copy(update={"max_replicas": 6})),
    ("nowhere_to_go", lambda f: f.model_copy(update={"stores": tuple(store(n, is_busy=n != 4) for n in range(1, 6))})),
    ("nowhere_to_go", lambda f: f.model_copy(update={"stores": tuple(store(n, slow_score=90) for n in range(1, 6))})),
    (
        "nowhere_to_go",
        lambda f: f.model_copy(
            update={"stores": (store(4), *(store(n, labels={"engine": "tiflash"}) for n in (1, 2, 3)))}
        ),
    ),
    ("leaders_stuck", lambda f: f.model_copy(update={"troubled": (region(7, 4, 1, 2, pending_store_ids=(1, 2)),)})),
    ("no_leaders", lambda f: with_store(f, store(4, leader_count=0))),
    ("too_many_leaders", lambda f: with_store(f, store(4, leader_count=400))),
    ("writes_too_high", lambda f: with_store(f, store(4, written_bytes_per_s=21e6))),
    ("writes_too_high", lambda f: with_store(f, store(4, written_bytes_per_s=nan))),
    ("writes_too_high", lambda f: with_store(f, store(4, written_bytes_per_s=inf))),
    ("leader_scheduling_off", lambda f: f.model_copy(update={"leader_schedule_limit": 0})),
    (
        "heirs_low_on_space",
        lambda f: f.model_copy(update={"stores": tuple(store(n, available_bytes=100) for n in range(1, 6))}),
    ),
]


@pytest.mark.parametrize(
    ("changed", "code"), [({"evicting": (4,)}, "already_evicting"), ({"slow_evicting": (4,)}, "slow_evicted")]
)
def test_the_targets_own_eviction_is_not_another_one(changed: dict[str, Any], code: str) -> None:
    assert codes(EVICT, healthy(**changed)) == [code]


def other_stores(*changed: StoreFacts, **more: Any) -> Facts:
    """Healthy, but for these stores and facts."""
    facts = healthy(**more)
    for store_ in changed:
        facts = with_store(facts, store_)
    return facts


@pytest.mark.parametrize(
    "heir",
    [
        {"is_busy": True},
        {"slow_score": 80},
        {"labels": {"engine": "tiflash"}},
        {"state": "Disconnected"},
        {"evicting": (1,)},
        {"slow_evicting": (1,)},
    ],
    ids=str,
)
def test_a_store_that_could_not_lead_counts_for_no_heir(heir: dict[str, Any]) -> None:
    """Four others, and four are needed: five replicas but for the target's."""
    of_facts = {name: value for name, value in heir.items() if "evicting" in name}
    of_store = {name: value for name, value in heir.items() if name not in of_facts}
    assert "nowhere_to_go" not in codes(EVICT, healthy(max_replicas=5))
    assert "nowhere_to_go" in codes(EVICT, other_stores(store(1, **of_store), max_replicas=5, **of_facts))


@pytest.mark.parametrize(
    "facts",
    [
        healthy(max_replicas=2),
        healthy(max_replicas=5),
        healthy(leader_schedule_limit=1),
        other_stores(store(1, slow_score=79, labels={"engine": "tikv"}), max_replicas=5),
        other_stores(store(4, leader_count=1)),
        other_stores(store(4, leader_count=34), *(store(n, leader_count=66 if n == 1 else 0) for n in (1, 2, 3, 5))),
        other_stores(store(4, written_bytes_per_s=20e6)),
        other_stores(store(1, available_bytes=100)),
        other_stores(store(1, available_bytes=100), store(2, available_bytes=100)),  # two are left, and two are needed
        healthy(troubled=(region(7, 4, 1, 2, pending_store_ids=(4,)), region(8, 1, 2, 3, pending_store_ids=(2, 3)))),
    ],
)
def test_leaders_are_evicted_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert codes(EVICT, facts) == []


@pytest.mark.parametrize(
    "facts",
    [
        other_stores(store(4, leader_count=35), *(store(n, leader_count=66 if n == 1 else 0) for n in (1, 2, 3, 5))),
        other_stores(store(4, leader_count=9), store(1, leader_count=-200)),  # counts that make no sense
    ],
)
def test_too_large_a_share_of_the_leaders_is_not_moved(facts: Facts) -> None:
    assert "too_many_leaders" in codes(EVICT, facts)


def test_heirs_that_are_low_on_space_are_no_heirs_where_the_others_are_too_few() -> None:
    facts = other_stores(*(store(n, available_bytes=100) for n in (1, 2, 3)))
    assert codes(EVICT, facts) == ["heirs_low_on_space"]


@pytest.mark.parametrize(("count", "named"), [(5, "11, 12, 13, 14, 15"), (6, "11, 12, 13, 14, 15 and 1 more")])
def test_leaders_that_are_stuck_are_named(count: int, named: str) -> None:
    stuck = tuple(region(11 + n, 4, 1, 2, pending_store_ids=(1, 2)) for n in range(count))
    texts = [o.text for o in objections(EVICT, healthy(troubled=stuck), LIMITS) if o.code == "leaders_stuck"]
    assert texts == [f"no healthy follower could lead region {named}"]


@pytest.mark.parametrize(
    ("action", "facts", "code", "wait_s"),
    [
        (EVICT, other_stores(store(4, written_bytes_per_s=20e6 + 1)), "writes_too_high", 300),
        (TRANSFER, other_stores(store(2, written_bytes_per_s=20e6 + 1)), "writes_too_high", 60),
        (TRANSFER, healthy(regions=(region(180, 1, 2, 3, written_bytes=1_200_000_001),)), "writes_too_high", 60),
        (TRANSFER, healthy(regions=(region(180, 1, 2, 3, leader_store_id=0),)), "no_leader", 60),
        (
            TRANSFER,
            healthy(regions=(with_a_peer(region(180, 1, 2, 3), 5, "IncomingVoter"),)),
            "joint_state",
            60,
        ),
    ],
)
def test_what_may_pass_is_waited_for(action: Action, facts: Facts, code: str, wait_s: int) -> None:
    assert [(o.code, o.kind, o.until_ms) for o in objections(action, facts, LIMITS)] == [
        (code, "wait", NOW + wait_s * 1000)
    ]


@pytest.mark.parametrize(
    ("action", "facts", "text"),
    [
        (
            EVICT,
            other_stores(store(4, written_bytes_per_s=21.5e6)),
            "store 4 takes 21.5 MB/s of writes, at most 20",
        ),
        (
            TRANSFER,
            healthy(regions=(region(180, 1, 2, 3, written_bytes=1_290_000_000),)),
            "region 180 takes 21.5 MB/s of writes, at most 20",
        ),
        (
            TRANSFER,
            other_stores(store(1, written_bytes_per_s=30e6)),
            "store 1 takes 30.0 MB/s of writes, at most 20",
        ),
        (
            TRANSFER,
            other_stores(store(2, written_bytes_per_s=30e6)),
            "store 2 takes 30.0 MB/s of writes, at most 20",
        ),
        (
            EVICT,
            other_stores(store(4, written_bytes_per_s=1e12)),
            "store 4 takes 1000000.0 MB/s of writes, at most 20",
        ),
        (
            EVICT,
            other_stores(store(2, is_busy=True), max_replicas=5),
            "too few stores could lead instead (1, 3, 5; 5 replicas a region)",
        ),
        (
            EVICT,
            other_stores(*(store(n, is_busy=True) for n in (1, 2, 3, 5))),
            "too few stores could lead instead (none; 3 replicas a region)",
        ),
        (
            EVICT,
            other_stores(*(store(n, leader_count=0) for n in (2, 3, 5))),
            "store 4 leads 50% of all regions, at most 34%",
        ),
    ],
)
def test_an_objection_names_the_numbers(action: Action, facts: Facts, text: str) -> None:
    assert text in [o.text for o in objections(action, facts, LIMITS)]


def test_the_most_that_a_policy_allows_is_told_in_megabytes_too() -> None:
    limits = Limits(policy=LimitsPolicy(leader_move_bytes_per_s_max=999_999e6), now_ms=NOW)
    found = objections(EVICT, other_stores(store(4, written_bytes_per_s=1e12)), limits)
    assert [o.text for o in found] == ["store 4 takes 1000000.0 MB/s of writes, at most 999999"]


@pytest.mark.parametrize(("code", "spoil"), EVICTIONS)
def test_why_leaders_are_not_evicted(code: str, spoil: Callable[[Facts], Facts]) -> None:
    assert code in codes(EVICT, spoil(healthy()))


TRANSFERS: list[tuple[str, Callable[[Facts], Facts]]] = [
    ("no_such_region", lambda f: f.model_copy(update={"regions": ()})),
    ("no_such_store", lambda f: f.model_copy(update={"stores": (store(1), store(3))})),
    ("target_not_up", lambda f: with_store(f, store(2, state="Offline"))),
    ("target_evicted", lambda f: f.model_copy(update={"evicting": (2,)})),
    ("target_evicted", lambda f: f.model_copy(update={"slow_evicting": (2,)})),
    ("target_slow", lambda f: with_store(f, store(2, is_busy=True))),
    ("target_slow", lambda f: with_store(f, store(2, slow_score=80))),
    ("target_low_space", lambda f: with_store(f, store(2, available_bytes=100))),
    ("already_there", lambda f: f.model_copy(update={"regions": (region(180, 2, 1, 3),)})),
    ("no_voter_there", lambda f: f.model_copy(update={"regions": (region(180, 1, 3, 5),)})),
    ("no_leader", lambda f: f.model_copy(update={"regions": (region(180, 1, 2, 3, leader_store_id=0),)})),
    ("unhealthy_peers", lambda f: f.model_copy(update={"regions": (region(180, 1, 2, 3, pending_store_ids=(2,)),)})),
    ("unhealthy_peers", lambda f: f.model_copy(update={"regions": (region(180, 1, 2, 3, down_store_ids=(3,)),)})),
    ("writes_too_high", lambda f: f.model_copy(update={"regions": (region(180, 1, 2, 3, written_bytes=10**10),)})),
    ("writes_too_high", lambda f: with_store(f, store(1, written_bytes_per_s=21e6))),
    ("writes_too_high", lambda f: with_store(f, store(2, written_bytes_per_s=nan))),
]


@pytest.mark.parametrize(
    "facts",
    [
        other_stores(store(2, slow_score=79, available_bytes=200, written_bytes_per_s=20e6)),
        other_stores(store(1, written_bytes_per_s=20e6)),
        healthy(regions=(region(180, 1, 2, 3, written_bytes=1_200_000_000),)),  # 20 MB/s over a minute
    ],
)
def test_a_leader_is_moved_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert codes(TRANSFER, facts) == []


@pytest.mark.parametrize(("code", "spoil"), TRANSFERS)
def test_why_a_leader_is_not_moved(code: str, spoil: Callable[[Facts], Facts]) -> None:
    assert code in codes(TRANSFER, spoil(healthy()))


def test_a_region_in_joint_state_is_waited_for() -> None:
    here = region(180, 1, 2, 3)
    joint = here.model_copy(
        update={"peers": (*here.peers[:2], here.peers[2].model_copy(update={"role": "DemotingVoter"}))}
    )
    assert codes(TRANSFER, healthy(regions=(joint,))) == ["joint_state"]


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        ("no_such_store", healthy()),
        ("not_a_tombstone", with_store(with_tombstones(healthy()), store(8))),
        ("still_has_regions", with_store(with_tombstones(healthy()), tombstone(8, region_count=1))),
        ("still_has_regions", with_store(with_tombstones(healthy()), tombstone(8, region_count=2))),
        ("still_has_regions", with_store(with_tombstones(healthy()), tombstone(8, leader_count=1))),
        ("still_has_regions", with_store(with_tombstones(healthy()), tombstone(8, leader_count=2))),
        ("still_has_regions", with_tombstones(healthy(troubled=(region(7, 1, 2, 8),)))),
        ("still_has_regions", with_tombstones(healthy(regions=(region(7, 1, 2, 9),)))),
        ("other_tombstones", with_store(with_tombstones(healthy()), tombstone(11))),
    ],
)
def test_why_tombstones_are_not_removed(code: str, facts: Facts) -> None:
    assert code in codes(BURY, facts)


@pytest.mark.parametrize(
    ("about", "tier", "kept"),
    [
        ({"actions": ["evict_store_leaders"]}, None, True),
        ({"actions": ["split_region"]}, None, False),
        ({"risk_min": "MEDIUM"}, None, True),
        ({"risk_min": "HIGH"}, None, False),
        ({"risk_min": "HIGH"}, "HIGH", True),
    ],
    ids=str,
)
def test_quiet_hours_are_asked_for_by_action_and_tier_or_by_the_least_it_can_be(
    about: dict[str, Any], tier: Tier | None, kept: bool
) -> None:
    morning = WindowPolicy.model_validate({"kind": "quiet", "start": "07:00", "end": "09:00", **about})
    limits = Limits(policy=LIMITS.policy, now_ms=NOW, windows={"morning": morning})
    found = [(o.code, o.until_ms) for o in objections(EVICT, healthy(), limits, tier)]
    assert found == ([("quiet_hours", NOW + 3_600_000)] if kept else [])


def test_all_objections_are_listed() -> None:
    facts = with_store(
        healthy(members_healthy=1, pd_leader_age_s=1.0, halt_scheduling=True, evicting=(4, 5)), store(1, state="Down")
    )
    assert codes(EVICT, facts) == [
        "pd_no_quorum",
        "pd_leader_young",
        "halt_scheduling",
        "store_not_up",
        "other_eviction",
        "already_evicting",
    ]
