"""Why not: each objection alone, and all of them together."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from actions.action import Action
from actions.evict_store_leaders import EvictStoreLeaders
from actions.preflight import objections
from actions.remove_tombstones import RemoveTombstones
from actions.transfer_region_leader import TransferRegionLeader
from schemas.facts import Facts
from tests.actions.clusters import LIMITS, NOW, healthy, operator, region, store, tombstone, with_store

EVICT = EvictStoreLeaders(store_id=4)
TRANSFER = TransferRegionLeader(region_id=180, to_store_id=2)
BURY = RemoveTombstones(store_ids=(8, 9))


def with_tombstones(facts: Facts) -> Facts:
    return facts.model_copy(update={"stores": (*facts.stores, tombstone(8), tombstone(9))})


def codes(action: Action, facts: Facts) -> list[str]:
    return [o.code for o in objections(action, facts, LIMITS)]


@pytest.mark.parametrize("action", [EVICT, TRANSFER])
def test_a_healthy_cluster_has_no_objection(action: Action) -> None:
    assert codes(action, healthy()) == []


def test_tombstones_without_regions_have_no_objection() -> None:
    assert codes(BURY, with_tombstones(healthy())) == []


SHARED: list[tuple[str, dict[str, Any]]] = [
    ("facts_stale", {"taken_at_ms": NOW - 31_000}),
    ("facts_stale", {"taken_at_ms": NOW + 6_000}),
    ("pd_warming_up", {"schedulers": ()}),
    ("troubled_incomplete", {"troubled_complete": False}),
    ("pd_no_quorum", {"members_healthy": 1}),
    ("pd_no_quorum", {"members": 0, "members_healthy": 0}),
    ("pd_no_quorum", {"members": 2, "members_healthy": 1}),
    ("pd_no_leader", {"pd_leader": ""}),
    ("pd_leader_young", {"pd_leader_age_s": 299.0}),
    ("pd_leader_young", {"pd_leader_age_s": nan}),
    ("unsafe_recovery", {"unsafe_recovery": "Unsafe recovery enters collect report stage"}),
    ("unsafe_recovery", {"unsafe_recovery": ""}),
    ("halt_scheduling", {"halt_scheduling": True}),
    ("other_eviction", {"evicting": (5,)}),
    ("other_eviction", {"slow_evicting": (5,)}),
]


@pytest.mark.parametrize(("code", "changed"), SHARED)
@pytest.mark.parametrize("action", [EVICT, TRANSFER, BURY])
def test_every_action_shares_the_objections_to_a_cluster(action: Action, code: str, changed: dict[str, Any]) -> None:
    assert code in codes(action, with_tombstones(healthy(**changed)))


@pytest.mark.parametrize("action", [EVICT, TRANSFER, BURY])
@pytest.mark.parametrize("state", ["Disconnected", "Down", "Offline"])
def test_every_store_that_stays_must_be_up(action: Action, state: str) -> None:
    assert "store_not_up" in codes(action, with_tombstones(with_store(healthy(), store(5, state=state))))


@pytest.mark.parametrize("action", [EVICT, TRANSFER, BURY])
def test_a_pd_that_lists_no_stores_is_waited_for(action: Action) -> None:
    found = objections(action, healthy(stores=0), LIMITS)
    assert ("no_stores", "wait") in [(o.code, o.kind) for o in found]


def test_an_up_store_that_is_silent_is_not_believed() -> None:
    assert codes(EVICT, with_store(healthy(), store(5, last_heartbeat_ms=NOW - 24_000))) == ["store_silent"]


@pytest.mark.parametrize(("recovery"), ["Unsafe recovery Finished", "Unsafe recovery Failed: time-out"])
def test_a_recovery_that_is_over_bars_nothing(recovery: str) -> None:
    assert codes(EVICT, healthy(unsafe_recovery=recovery)) == []


@pytest.mark.parametrize(
    "ill",
    [
        region(7, 1, 4, 5, down_store_ids=(5,)),
        region(7, 1, 4, 5, pending_store_ids=(1,)),
        region(7, 1, 4),  # one replica too few
        region(7, 1, 4, 99),  # a store that isn't there
    ],
)
def test_the_quorum_rule(ill: Any) -> None:
    assert codes(EVICT, healthy(troubled=(ill,))) == ["quorum_at_risk"]


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
    assert [(o.code, o.kind) for o in found] == [("operator_running", "wait")]
    assert found[0].until_ms > NOW
    assert codes(TRANSFER, healthy(operators=(operator(181, "balance-leader"),))) == []


def test_a_person_at_work_makes_taking_a_store_out_wait() -> None:
    assert codes(EVICT, healthy(operators=(operator(181, "admin-move-peer"),))) == ["operator_running"]
    assert codes(EVICT, healthy(operators=(operator(181, "balance-region"),))) == []


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
        ("still_has_regions", with_tombstones(healthy(troubled=(region(7, 1, 2, 8),)))),
        ("other_tombstones", with_store(with_tombstones(healthy()), tombstone(11))),
    ],
)
def test_why_tombstones_are_not_removed(code: str, facts: Facts) -> None:
    assert code in codes(BURY, facts)


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


def test_a_wait_says_until_when() -> None:
    young = objections(EVICT, healthy(pd_leader_age_s=100.0), LIMITS)
    assert [(o.kind, o.until_ms) for o in young] == [("wait", NOW + 200_000)]
