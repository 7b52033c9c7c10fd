"""Facts of clusters to judge by: a healthy one, from which each test takes what it needs to be wrong."""

from __future__ import annotations

from typing import Any

from actions.action import Limits
from schemas.facts import Facts, MemberFacts, OperatorFacts, PeerFacts, RegionFacts, StoreFacts
from schemas.policy import LimitsPolicy

NOW = 1_800_000_000_000
LIMITS = Limits(policy=LimitsPolicy(), now_ms=NOW)


def store(store_id: int, **changed: Any) -> StoreFacts:
    healthy = StoreFacts(
        id=store_id,
        address=f"10.0.4.{store_id}:20160",
        status_address=f"10.0.4.{store_id}:20180",
        state="Up",
        capacity_bytes=1000,
        available_bytes=600,
        leader_count=40,
        region_count=120,
        region_size_mib=120 * 96,
        slow_score=1,
        add_peer_limit=15.0,
        remove_peer_limit=15.0,
        last_heartbeat_ms=NOW - 5_000,
        written_bytes_per_s=1e6,
    )
    return healthy.model_copy(update=changed)


def tombstone(store_id: int, **changed: Any) -> StoreFacts:
    gone: dict[str, Any] = {
        "state": "Tombstone",
        "leader_count": 0,
        "region_count": 0,
        "last_heartbeat_ms": NOW - 10**9,
    }
    return store(store_id, **(gone | changed))


def region(region_id: int, *store_ids: int, **changed: Any) -> RegionFacts:
    """Led by the first of the stores, voters all."""
    peers = tuple(PeerFacts(id=region_id * 10 + s, store_id=s, role="Voter") for s in store_ids)
    healthy = RegionFacts(
        id=region_id, conf_ver=5, version=3, leader_store_id=store_ids[0], peers=peers, approximate_size_mib=96
    )
    return healthy.model_copy(update=changed)


def operator(region_id: int, desc: str) -> OperatorFacts:
    return OperatorFacts(region_id=region_id, desc=desc, brief="transfer leader: store 1 to 2")


def healthy(*, stores: int = 5, **changed: Any) -> Facts:
    facts = Facts(
        cluster_id="prod",
        pd_cluster_id=7168243901123456,
        taken_at_ms=NOW - 2_000,
        took_ms=40,
        pd_leader="pd-0",
        pd_leader_age_s=900.0,
        members=3,
        members_healthy=3,
        pd_members=tuple(MemberFacts(name=f"pd-{n}", is_healthy=True) for n in range(3)),
        stores=tuple(store(n) for n in range(1, stores + 1)),
        schedulers=("balance-leader-scheduler", "balance-region-scheduler"),
        regions=(region(180, 1, 2, 3),),
        regions_total=200,
    )
    return facts.model_copy(update=changed)


def with_store(facts: Facts, changed: StoreFacts) -> Facts:
    others = [s for s in facts.stores if s.id != changed.id]
    return facts.model_copy(update={"stores": tuple(sorted((*others, changed), key=lambda s: s.id))})
