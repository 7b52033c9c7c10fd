"""The playbook: what an experienced person would conclude from the facts. Pure and deterministic.

Each family of alerts has the causes to look for, in order; the first that the facts show is named, with the evidence
that tells. Where the facts tell nothing it abstains with a coded reason: a wrong cause costs more than none. What to do
about a cause is in agents/remedies.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agents.causes import CAUSES
from agents.evidence import (
    Collected,
    low_stores,
    overloaded_by,
    pd_named,
    peers_by_store,
    slow_stores,
    stores_named,
    tombstones,
    uneven_store,
    used_share,
)
from schemas.alert_rules import LEVELS, OTHER, RULES, CauseName, rule_of
from schemas.events import RuledOut
from schemas.facts import Facts
from schemas.values import AlertRef

LAGGING_SHARE_MIN = 0.6  # of the pending peers, on one store
CLUSTER_FULL_MIN = 0.8
DISK_ALERTS = ("TiKV_raft_append_log_duration_secs",)  # how long its disk takes to write; a slow_score alone is no such


@dataclass(frozen=True)
class Finding:
    """A cause that the facts show."""

    cause: CauseName
    confidence: float
    summary: str  # opens with the cause in plain words and the thing it is about
    cited: tuple[str, ...]
    ruled_out: tuple[RuledOut, ...] = ()
    for_people: str = ""


@dataclass(frozen=True)
class Abstention:
    """The facts do not tell, and why."""

    code: str
    reason: str


@dataclass(frozen=True)
class Case:
    """All that a look may use."""

    family: str
    alerts: tuple[AlertRef, ...]
    facts: Facts
    seen: Collected

    def named(self) -> tuple[int, ...]:
        return stores_named(self.alerts, self.facts)

    def cite(self, *kinds: str, about: int | None = None) -> tuple[str, ...]:
        """Ids of these kinds of evidence about a store, and of the alerts."""
        ids = [i for kind in kinds for i in self.seen.ids(kind, about)]
        return (*ids, *self.seen.ids("alert"))


Look = Callable[[Case], Finding | Abstention | None]


def diagnose(case: Case) -> Finding | Abstention:
    """The first cause that this family's looks find, with what it rules out; else an abstention."""
    looks = FAMILY_LOOKS.get(case.family, ())
    if (warming := case.facts.warming_up()) and looks != (_told_by_alert,):
        return Abstention("pd_warming_up", f"PD's counts are not complete yet: {warming}")
    for look in looks:
        found = look(case)
        if isinstance(found, Finding):
            return replace(found, ruled_out=_ruled_out(case, found.cause))
        if found is not None:
            return found
    return _nothing_told(case)


def _nothing_told(case: Case) -> Abstention:
    if case.family.startswith(OTHER) or case.family not in FAMILY_LOOKS:
        return Abstention("unknown_alert", "no rule of the table knows this alert; what PD shows is in the evidence")
    rules = [rule for a in case.alerts if (rule := rule_of(a.name))] or [r for r in RULES if r.family == case.family]
    if reasons := tuple(dict.fromkeys(r.abstains for r in rules if r.abstains)):
        return Abstention("facts_dont_tell", "; ".join(reasons[:3]))
    told = "; ".join(dict.fromkeys(r.tells for r in rules))
    return Abstention("not_seen_in_pd", f"PD shows nothing of it now; what would tell: {told[:300]}")


# -- looks: each a cause or two, or nothing -------------------------------------------------------------------------


def _slow_store(case: Case) -> Finding | None:
    slow = slow_stores(case.facts)
    if not slow:
        return None
    if len(slow) > 1:
        ids = ", ".join(str(s.id) for s in slow)
        cited = tuple(i for s in slow for i in case.seen.ids("slow", s.id))
        return Finding(
            "several_slow_stores", 0.6, f"several stores slow at once: {ids}", (*cited, *case.seen.ids("alert"))
        )
    store, named = slow[0], case.named()
    confidence = (
        0.86 if not named or store.id in named else 0.6
    )  # the alerts speak of other stores: their writes wait for it?
    if uneven_store(case.facts) == store:
        confidence = min(confidence, 0.7)  # load may be what makes it slow
    words = f"{CAUSES['slow_store'].words} {store.id}"
    shown = [a.name for a in case.alerts if a.name in DISK_ALERTS and store.id in stores_named((a,), case.facts)]
    if shown:
        words += f", by its disk: {shown[0]} names it"
    return Finding("slow_store", confidence, words, case.cite("slow", "leaders", about=store.id))


def _hot_region(case: Case) -> Finding | None:
    hot = [(r, s) for r in case.facts.regions if (s := overloaded_by(r, case.facts))]
    if not hot:
        return None
    region, store = max(hot, key=lambda pair: pair[0].written_bytes)
    cited = (*case.seen.ids("region", region.id), *case.seen.ids("load", store.id), *case.seen.ids("alert"))
    return Finding("hot_region", 0.7, f"hot region {region.id} on store {store.id}", cited)


def _uneven_load(case: Case) -> Finding | None:
    store, named = uneven_store(case.facts), case.named()
    if store is None or (named and store.id not in named):
        return None
    summary = f"store {store.id} is written to far more than the others"
    return Finding("uneven_load", 0.55, summary, case.cite("load", about=store.id))


def _silent_stores(case: Case) -> Finding | Abstention | None:
    living = case.facts.living()
    silent = [s for s in living if s.state in ("Down", "Disconnected")]
    if len(living) > 1 and len(silent) == len(living):
        return Abstention(
            "pd_hears_nobody", "PD hears of no store at all: it has just changed leaders, or is cut off itself"
        )
    if not silent:
        return None
    down = [s for s in silent if s.state == "Down"]
    cause: CauseName = "store_down" if down else "store_disconnected"
    accused = down or silent
    cited = tuple(i for s in accused for i in case.seen.ids("state", s.id))
    return Finding(
        cause,
        0.9 if down else 0.8,
        f"{CAUSES[cause].words}: store {', '.join(str(s.id) for s in accused)}",
        (*cited, *case.seen.ids("replicas"), *case.seen.ids("alert")),
    )


def _unreachable_store(case: Case) -> Finding | None:
    complaints = tuple(a for a in case.alerts if "store_id" in a.labels)
    up = case.facts.up_store_ids()
    for store_id in stores_named(complaints, case.facts):
        if store_id in up:
            summary = f"{CAUSES['store_unreachable'].words}: store {store_id}"
            return Finding("store_unreachable", 0.6, summary, case.cite("state", about=store_id))
    return None


def _missing_replicas(case: Case) -> Finding | None:
    down = peers_by_store(case.facts, "down")
    missing = [r.id for r in case.facts.troubled if len(r.peers) < case.facts.max_replicas]
    if not down and not missing:
        return None
    where = f", down ones on store {', '.join(map(str, sorted(down)))}" if down else ""
    return Finding("replicas_missing", 0.6, f"replicas missing{where}", case.cite("replicas", "state"))


def _tombstones_left(case: Case) -> Finding | None:
    gone = tombstones(case.facts)
    if not gone or case.facts.troubled or not case.facts.troubled_complete:
        return None
    ids = ", ".join(map(str, gone[:6]))
    return Finding(
        "tombstones_left", 0.6, f"{CAUSES['tombstones_left'].words}: store {ids}", case.cite("tombstones", "state")
    )


def _lagging_replicas(case: Case) -> Finding | None:
    pending = peers_by_store(case.facts, "pending")
    if not pending:
        return None
    store_id, count = max(pending.items(), key=lambda item: (item[1], -item[0]))
    if count < LAGGING_SHARE_MIN * sum(pending.values()):
        return None
    summary = f"replicas lag on store {store_id}"
    return Finding("replica_lags", 0.55, summary, case.cite("replicas", about=store_id))


def _short_of_space(case: Case) -> Finding | None:
    low, used = low_stores(case.facts), used_share(case.facts) or 0.0
    if used > CLUSTER_FULL_MIN:
        return Finding("cluster_nearly_full", 0.9, f"cluster nearly full: {100 * used:.0f} % used", case.cite("space"))
    if not low:
        return None
    ids = ", ".join(str(s.id) for s in low)
    return Finding("store_nearly_full", 0.85, f"store nearly full: store {ids}", case.cite("space"))


def _pd_member_down(case: Case) -> Finding | None:
    dead = case.facts.members - case.facts.members_healthy
    if dead <= 0:
        return None
    return Finding("pd_member_down", 0.85, f"PD member down: {dead} of {case.facts.members}", case.cite("pd"))


def _told_by_alert(case: Case) -> Finding | None:
    """Where a rule measures the cause itself: that of the gravest alert, in the table's order."""
    told = [(a, r) for a in case.alerts if (r := rule_of(a.name)) and r.told_by_alert]
    if not told:
        return None
    alert, rule = min(told, key=lambda pair: (-LEVELS.index(pair[1].level), RULES.index(pair[1])))
    stores = stores_named((alert,), case.facts)
    where = f": store {stores[0]}" if stores else f" ({pd})" if (pd := pd_named(alert)) else ""
    return Finding(rule.cause, 0.65, f"{CAUSES[rule.cause].words}{where}", case.cite("pd"))


_PRESSURE: tuple[Look, ...] = (_slow_store, _hot_region, _uneven_load)
FAMILY_LOOKS: dict[str, tuple[Look, ...]] = {
    "store_down": (_silent_stores, _unreachable_store, _missing_replicas, _tombstones_left),
    "slow_store": _PRESSURE,
    "write_pressure": _PRESSURE,
    "raftstore_busy": _PRESSURE,
    "read_pressure": (_slow_store,),
    "replicas_lagging": (_slow_store, _lagging_replicas),
    "low_space": (_short_of_space,),
    "tikv_restart": (_told_by_alert,),
    "critical_error": (),
    "tikv_memory": (),
    "region_size": (),
    "gc_stuck": (),
    "pd_slow": (_pd_member_down, _told_by_alert),
    "pd_leader": (_pd_member_down, _told_by_alert),
    "pd_clock": (_told_by_alert,),
    "pd_quota": (_told_by_alert,),
}


# -- what the evidence speaks against -------------------------------------------------------------------------------


def _ruled_out(case: Case, cause: CauseName) -> tuple[RuledOut, ...]:
    """Other causes that were looked for and not found, each with the evidence against it."""
    facts = case.facts
    checks: tuple[tuple[str, str, bool, frozenset[CauseName]], ...] = (
        ("slow store", "slow", not slow_stores(facts), frozenset({"slow_store", "several_slow_stores"})),
        (
            "store down",
            "state",
            all(s.state == "Up" for s in facts.living()),
            frozenset({"store_down", "store_disconnected"}),
        ),
        (
            "missing replicas",
            "replicas",
            not facts.troubled and facts.troubled_complete,
            frozenset({"replicas_missing"}),
        ),
        ("uneven load", "load", uneven_store(facts) is None, frozenset({"uneven_load", "hot_region"})),
        ("hot region", "region", not any(overloaded_by(r, facts) for r in facts.regions), frozenset({"hot_region"})),
        ("low space", "space", not low_stores(facts), frozenset({"store_nearly_full", "cluster_nearly_full"})),
        ("PD member down", "pd", facts.members_healthy == facts.members > 0, frozenset({"pd_member_down"})),
    )
    return tuple(
        RuledOut(what=what, evidence=ids)
        for what, kind, is_clear, same in checks
        if is_clear and cause not in same and (ids := case.seen.ids(kind))
    )
