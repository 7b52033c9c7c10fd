"""The objections that all actions share, judged from one consistent set of facts; asked again just before acting.

The caller has compared the pinned PD cluster id. Comparisons are written so that what is not a number objects.
"""

from __future__ import annotations

from collections.abc import Iterator

from actions.action import Action, Limits, least_tier, never, no, wait
from schemas.facts import UP_HEARTBEAT_S_MAX, Facts, RegionFacts
from schemas.values import Objection, Tier
from schemas.windows import MINUTE_MS

SOON_S = 30
LATER_S = 300
CLOCKS_APART_S_MAX = 5  # facts may seem to come from the future by this much: two hosts' clocks
SOME = 5
WINDOWS_DAYS = 15  # every window comes each week, but for one week in which clocks skip it


def objections(action: Action, facts: Facts, limits: Limits, tier: Tier | None = None) -> tuple[Objection, ...]:
    """Every objection, shared and own; none: it may be planned. `tier` None: not known yet, the least it can be."""
    return (
        *_forbidden(action),
        *not_now(action.name, tier or least_tier(action), limits),
        *_readable(facts, limits),
        *_pd(facts, limits),
        *_stores(action, facts, limits),
        *_quorum(action, facts),
        *_others_at_work(action, facts, limits),
        *action.preflight(facts, limits),
    )


def not_now(action: str, tier: Tier, limits: Limits) -> tuple[Objection, ...]:
    """Why an action of this tier may not start at this hour, and until when: the first minute at which it may."""
    about = limits.windows_about(action, tier)
    quiet = {name: window for name, window in about.items() if window.kind == "quiet"}
    maintenance = {name: window for name, window in about.items() if window.kind == "maintenance"}

    def is_outside(at_ms: int) -> bool:
        return bool(maintenance) and not any(window.is_open(at_ms) for window in maintenance.values())

    def may_start(at_ms: int) -> bool:
        return not is_outside(at_ms) and not any(window.is_open(at_ms) for window in quiet.values())

    now_ms = limits.now_ms
    if may_start(now_ms):
        return ()
    minute_ms = now_ms - now_ms % MINUTE_MS
    minutes = range(minute_ms + MINUTE_MS, minute_ms + WINDOWS_DAYS * 24 * 60 * MINUTE_MS, MINUTE_MS)
    until_ms = next(filter(may_start, minutes), None)
    if until_ms is None:
        hours = "; ".join(f"{window.kind} {name}, {window.hours()}" for name, window in about.items())
        return (no("no_window", f"at no hour of {WINDOWS_DAYS} days may it start: {hours}"),)
    kept = [
        wait("quiet_hours", f"nothing of the kind starts in quiet hours {name}: {window.hours()}", until_ms)
        for name, window in quiet.items()
        if window.is_open(now_ms)
    ]
    if is_outside(now_ms):
        hours = "; ".join(f"{name}, {window.hours()}" for name, window in maintenance.items())
        kept.append(wait("outside_window", f"it starts in maintenance windows alone: {hours}", until_ms))
    return tuple(kept)


def _forbidden(action: Action) -> Iterator[Objection]:
    if action.risk == "FORBIDDEN":
        yield never("forbidden", f"{action.name} is never done by a machine")


def _readable(facts: Facts, limits: Limits) -> Iterator[Objection]:
    """May these facts be judged by at all?"""
    age_s, most = facts.age_s(limits.now_ms), limits.policy.facts_age_s_max
    if not -CLOCKS_APART_S_MAX <= age_s <= most:
        yield wait("facts_stale", f"the facts are {age_s:.0f} s old, at most {most:g}", _in(limits, 1))
    if why := facts.warming_up():
        yield wait("pd_warming_up", why, _in(limits, SOON_S))
    if not facts.stores:
        yield wait("no_stores", "PD lists no stores", _in(limits, SOON_S))
    if not facts.troubled_complete:
        yield wait("troubled_incomplete", "more regions are in trouble than were read", _in(limits, LATER_S))


def _pd(facts: Facts, limits: Limits) -> Iterator[Objection]:
    if not facts.members_healthy * 2 > facts.members > 0:
        text = f"{facts.members_healthy} of {facts.members} PD members are healthy"
        yield wait("pd_no_quorum", text, _in(limits, SOON_S))
    if not facts.pd_leader:
        yield wait("pd_no_leader", "PD has no leader", _in(limits, SOON_S))
    least, age_s = limits.policy.pd_leader_age_s_min, facts.pd_leader_age_s
    if not age_s >= least:  # its counts are incomplete: tikv/pd#3406
        text = f"the PD leader has been watched for {age_s:.0f} s, at least {least:g}"
        yield wait("pd_leader_young", text, _in(limits, max(1.0, least - age_s) if age_s == age_s else SOON_S))
    if facts.is_recovering():
        yield no("unsafe_recovery", f"unsafe recovery: {facts.unsafe_recovery[:200]}")
    if facts.halt_scheduling:
        yield no("halt_scheduling", "somebody has halted all scheduling (halt-scheduling)")


def _stores(action: Action, facts: Facts, limits: Limits) -> Iterator[Objection]:
    """Every store that stays must be Up and heard of lately; PD's word Offline hides a dead process."""
    for store in facts.living():
        if store.id in action.takes_out() | action.brings_back():
            continue
        if store.state != "Up":
            yield no("store_not_up", f"store {store.id} is {store.state}")
            continue
        silent_s = (facts.taken_at_ms - store.last_heartbeat_ms) / 1000
        if not silent_s <= UP_HEARTBEAT_S_MAX:
            text = f"store {store.id} has been silent for {silent_s:.0f} s"
            yield wait("store_silent", text, _in(limits, SOON_S))


def _quorum(action: Action, facts: Facts) -> Iterator[Objection]:
    """The quorum rule: no region with a peer on what is taken out has another one that is down, lagging or away."""
    out, up = action.takes_out(), facts.up_store_ids()
    at_risk = [r.id for r in facts.troubled if _has_peer_on(r, out) and _ill_besides(r, out, up, facts.max_replicas)]
    if at_risk:
        more = f" and {len(at_risk) - SOME} more" if len(at_risk) > SOME else ""
        named = ", ".join(map(str, at_risk[:SOME]))
        yield no("quorum_at_risk", f"another replica is missing, down or lagging in region {named}{more}")


def _has_peer_on(region: RegionFacts, stores: frozenset[int]) -> bool:
    return any(p.store_id in stores for p in region.peers)


def _ill_besides(region: RegionFacts, out: frozenset[int], up: frozenset[int], replicas: int) -> bool:
    ill = {*region.down_store_ids, *region.pending_store_ids} - out
    away = {p.store_id for p in region.peers} - up - out
    return bool(ill or away or len(region.voter_store_ids()) < replicas or region.is_joint())


def _others_at_work(action: Action, facts: Facts, limits: Limits) -> Iterator[Objection]:
    """Somebody else moves things here: a person with pd-ctl, tidb-operator, PD itself."""
    others = sorted({*facts.evicting, *facts.slow_evicting} - action.takes_out())
    if others:
        yield wait("other_eviction", f"leaders are being kept off store {others} by somebody", _in(limits, LATER_S))
    if not facts.slow_evicting_known:
        yield no("slow_evicting_unknown", "PD does not say which stores its evict-slow-store-scheduler has taken")
    look = action.look()
    regions = frozenset(look.region_ids) - frozenset(look.operators_of)
    for operator in facts.operators:
        on_region = operator.region_id in regions
        by_a_person = bool(action.takes_out()) and operator.desc.startswith("admin-")
        if on_region or by_a_person:
            text = f"region {operator.region_id} has an operator: {operator.desc} {operator.brief}".rstrip()
            yield wait("operator_running", text[:300], _in(limits, SOON_S))


def _in(limits: Limits, seconds: float) -> int:
    return limits.now_ms + int(seconds * 1000)
