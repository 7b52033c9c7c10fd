"""What several actions on one region ask: is it well, does it take too many writes, has PD heard of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from actions.action import Limits, is_settled, no, wait
from schemas.facts import REGION_HEARTBEAT_S, Facts, RegionFacts
from schemas.values import Objection

RETRY_S = 60
MIB = 2**20
OPERATORS_MAX = 16  # with so many PD has enough to do
SNAPSHOTS_MAX = 16  # a quarter of what PD itself lets a store copy at a time
HEARD_S = 1.5 * REGION_HEARTBEAT_S  # a new PD leader has heard of every region by then


def are_heard(facts: Facts) -> bool:
    """May absence be believed of regions too? A PD leader shows them as it knows them until their next heartbeat."""
    return is_settled(facts) and facts.pd_leader_age_s >= HEARD_S


def reads(region: RegionFacts, facts: Facts) -> tuple[RegionFacts, ...]:
    """The region as it was read, moments apart: the worse one counts."""
    return (region, *(r for r in facts.troubled if r.id == region.id))


def in_between(region: RegionFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
    """Why nothing can be said of it yet."""
    retry_ms = limits.now_ms + RETRY_S * 1000
    if any(r.is_joint() for r in reads(region, facts)):
        yield wait("joint_state", f"region {region.id} changes its replicas", retry_ms)
    if region.leader_store_id == 0:
        yield wait("no_leader", f"PD knows no leader of region {region.id}", retry_ms)
    if region.version < 1 or region.conf_ver < 1:
        yield wait("no_epoch", f"PD does not say which version region {region.id} has", retry_ms)


def without_size(region: RegionFacts, limits: Limits) -> Iterator[Objection]:
    """Even of an empty one PD says 1."""
    if region.approximate_size_mib < 1:
        text = f"PD does not say how large region {region.id} is"
        yield wait("no_size", text, limits.now_ms + RETRY_S * 1000)


def size_bytes(region: RegionFacts) -> int:
    """Of one replica of it, about."""
    return region.approximate_size_mib * MIB


def too_many_writes(what: str, bytes_per_s: float, limits: Limits) -> Iterator[Objection]:
    """`what`: the region, or a store that it is on, for people."""
    most = limits.policy.leader_move_bytes_per_s_max
    if not bytes_per_s <= most:  # so written, what is not a number objects
        text = f"{what} takes {bytes_per_s / 1e6:.1f} MB/s of writes, at most {most / 1e6:g}"
        yield wait("writes_too_high", text, limits.now_ms + RETRY_S * 1000)


def ill(region: RegionFacts, facts: Facts) -> Iterator[Objection]:
    """Replicas that can't be counted on."""
    seen = reads(region, facts)
    lagging = {s for r in seen for s in (*r.down_store_ids, *r.pending_store_ids)}
    away = {p.store_id for r in seen for p in r.peers} - facts.up_store_ids()
    if lagging or away:
        stores = sorted(lagging | away)
        yield no("unhealthy_peers", f"region {region.id} has down, lagging or lost replicas on stores {stores}")
    voters = min(len(r.voter_store_ids()) for r in seen)
    if voters < facts.max_replicas and not any(r.is_joint() for r in seen):
        yield no("replicas_missing", f"region {region.id} has {voters} voters of {facts.max_replicas}")


def too_busy(copying: Collection[int], facts: Facts, limits: Limits) -> Iterator[Objection]:
    """Why these stores should copy no more now. PD's own limits do not bind what is asked of it by hand."""
    retry_ms = limits.now_ms + RETRY_S * 1000
    if not facts.region_schedule_limit > 0:
        yield no("region_scheduling_off", "region-schedule-limit is 0: somebody wants no replica to move")
    if (running := len(facts.operators)) >= OPERATORS_MAX:
        yield wait("many_operators", f"PD is at {running} operators, at most {OPERATORS_MAX - 1}", retry_ms)
    if busy := [s.id for s in facts.stores if s.id in copying and s.snapshots >= SNAPSHOTS_MAX]:
        yield wait("many_snapshots", f"stores {busy} copy {SNAPSHOTS_MAX} regions or more already", retry_ms)
