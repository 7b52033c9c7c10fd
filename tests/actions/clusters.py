"""Facts of clusters to judge by: a healthy one, from which each test takes what it needs to be wrong."""

from __future__ import annotations

from typing import Any

from actions.action import Limits
from schemas.facts import (
    Facts,
    MemberFacts,
    NewestOperator,
    OperatorFacts,
    PeerFacts,
    RegionFacts,
    StoreFacts,
    TikvSettingFacts,
)
from schemas.policy import LimitsPolicy

NOW = 1_800_000_000_000
LIMITS = Limits(policy=LimitsPolicy(), now_ms=NOW)


def store(store_id: int, **changed: Any) -> StoreFacts:
    healthy = StoreFacts(
        id=store_id,
        address=f"10.0.4.{store_id}:20160",
        status_address=f"10.0.4.{store_id}:20180",
        version="8.5.4",
        started_at_s=NOW // 1000 - 86_400,
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


def with_setting(facts: Facts, key: str, value: str = "", **changed: Any) -> Facts:
    """Store 4 was asked for this setting."""
    seen = TikvSettingFacts(store_id=4, key=key, value=value).model_copy(update=changed)
    return facts.model_copy(update={"tikv_setting": seen})


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


def newest(region_id: int = 180, **changed: Any) -> NewestOperator:
    """PD moves a replica from store 2 to store 4, to balance."""
    running = NewestOperator(
        region_id=region_id,
        status="RUNNING",
        desc="balance-region-scheduler",
        brief="mv peer: store [2] to [4]",
        created_ns=1_799_999_900_123_456_789,
    )
    return running.model_copy(update=changed)


def balancing(**changed: Any) -> Facts:
    """A healthy cluster in which that operator runs."""
    listed = OperatorFacts(region_id=180, desc="balance-region-scheduler", brief="mv peer: store [2] to [4]")
    return healthy(**({"operators": (listed,), "newest_operators": (newest(),)} | changed))


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
