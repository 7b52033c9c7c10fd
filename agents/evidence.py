"""What was seen, as numbered evidence. Pure: alerts and facts in, evidence out; every piece bounded in length.

What PD said comes first, then what the alerts say. The text of an alert is anybody's: it is quoted and cut, and names
no entity by itself. Entities (`store:4`, `region:180`) come only from PD, also where a label led us to look there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from schemas.alert_rules import rule_of
from schemas.facts import SLOW_SCORE, Facts, Look, NoFacts, RegionFacts, StoreFacts
from schemas.values import AlertRef, Evidence

UNEVEN_RATIO = 3.0  # a store that takes so many times the others' median is loaded unevenly
REGION_SHARE_MIN = 0.25  # a hot region takes at least this share of its leader store's writes
HOT_RATIO = 2.0  # and that store takes at least so many times the others' median
TEXT_MAX, QUOTE_MAX = 300, 160
EACH_MAX = 6  # of one kind
ALERTS_MAX = 8
REGIONS_MAX = 8
TOMBSTONES_MAX = 32

_YEAR_9999_MS = 253_402_300_800_000
_ID = re.compile(r"[1-9][0-9]{0,18}")
ALERT = "alert"  # the source of what no look at PD has shown
_STORES, _CHECKS, _REGION = "GET /stores", "GET /regions/check", "GET /region/id"


@dataclass(frozen=True)
class Seen:
    """One piece before it has a number. `about` are the stores or regions that it speaks of; none: it speaks of all."""

    kind: str
    text: str
    source: str
    about: tuple[int, ...] = ()
    entities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collected:
    """All evidence of one look, numbered E1, E2, ... in order."""

    seen: tuple[Seen, ...]
    at_ms: int

    def evidence(self) -> tuple[Evidence, ...]:
        return tuple(
            Evidence(id=f"E{n}", text=s.text, source=s.source, entities=s.entities, seen_at_ms=self.at_ms)
            for n, s in enumerate(self.seen, 1)
        )

    def ids(self, kind: str, about: int | None = None) -> tuple[str, ...]:
        """Ids of one kind, of all or of those about one store or region."""
        return tuple(
            f"E{n}"
            for n, s in enumerate(self.seen, 1)
            if s.kind == kind and (about is None or about in s.about or not s.about)
        )


def collect(alerts: Iterable[AlertRef], facts: Facts) -> Collected:
    """Everything that PD's facts and the alerts of one incident show."""
    fired = tuple(alerts)
    named = stores_named(fired, facts)
    seen = [piece for look in LOOKS for piece in look(facts, named)]
    return Collected((*seen, *_alerts(fired, facts)), facts.taken_at_ms)


def collect_without_facts(alerts: Iterable[AlertRef], missing: NoFacts, now_ms: int) -> Collected:
    """What is left where PD can't be read: that, and what the alerts say."""
    text = bounded(f"PD gives no facts ({quoted(missing.code, 40)}): {quoted(missing.text)}")
    return Collected((Seen("no_facts", text, "PD"), *_alerts(tuple(alerts), None)), now_ms)


# -- one function a kind of evidence --------------------------------------------------------------------------------


def _slow(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    living = facts.living()
    slow = slow_stores(facts)
    for store in slow[:EACH_MAX]:
        others = [s.slow_score for s in living if s not in slow]
        beside = f"; the other {len(others)} stores at most {max(others)}" if others else ""
        busy = ", busy" if store.is_busy else ""
        yield _of_store("slow", store, f"slow_score {store.slow_score}{busy} on {spoken(store)}{beside}")
    if not slow and living:
        top = max(living, key=lambda s: s.slow_score)
        yield Seen("slow", f"slow_score at most {top.slow_score} on {len(living)} stores: none is slow", _STORES)
    for store_id in facts.slow_evicting[:EACH_MAX]:
        yield Seen(
            "taken",
            f"PD's evict-slow-store-scheduler has taken store {store_id} itself",
            "GET /scheduler-config/evict-slow-store-scheduler",
            (store_id,),
            (f"store:{store_id}",),
        )


def _states(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    living = facts.living()
    odd = sorted((s for s in living if s.state != "Up"), key=lambda s: (s.state, s.id))
    for store in odd[:EACH_MAX]:
        yield _of_store("state", store, f"{spoken(store)} is {store.state}, last heard {_ago(facts, store)}")
    if not odd and living:
        oldest = min(living, key=lambda s: s.last_heartbeat_ms)
        yield Seen("state", f"all {len(living)} stores are Up, heard {_ago(facts, oldest)} at the longest", _STORES)


def _leaders(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    total = facts.leaders_total()
    wanted = dict.fromkeys((*(s.id for s in slow_stores(facts)), *named))
    for store_id in list(wanted)[:EACH_MAX]:
        store = facts.store(store_id)
        if store and total:
            share = f"{100 * store.leader_count / total:.0f} %"
            yield _of_store(
                "leaders", store, f"store {store_id} leads {store.leader_count} of {total} regions ({share})"
            )


def _replicas(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    if not facts.troubled:
        if facts.troubled_complete:
            yield Seen("replicas", "no region has a down, pending or missing peer", _CHECKS)
        return
    at_least = "" if facts.troubled_complete else "at least "
    down, pending = peers_by_store(facts, "down"), peers_by_store(facts, "pending")
    stores = sorted({*down, *pending}, key=lambda s: (-down.get(s, 0) - pending.get(s, 0), s))[:EACH_MAX]
    where = "; ".join(f"store {s}: {down.get(s, 0)} down, {pending.get(s, 0)} pending" for s in stores)
    missing = sum(len(r.peers) < facts.max_replicas for r in facts.troubled)
    peers = where or "no down or pending peer"
    text = f"{at_least}{len(facts.troubled)} regions in trouble, {missing} with too few peers; {peers}"
    yield Seen("replicas", bounded(text), _CHECKS, tuple(stores), tuple(f"store:{s}" for s in stores))


def _load(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    if (uneven := uneven_store(facts)) is not None:
        taken, others = _rate(uneven.written_bytes_per_s), _rate(others_median(facts, uneven))
        text = f"store {uneven.id} takes {taken} of writes; the others' median is {others}"
        yield _of_store("load", uneven, text, "GET /hotspot/stores")
    elif any(s.written_bytes_per_s for s in facts.living()):
        most = max(s.written_bytes_per_s for s in facts.living())
        yield Seen("load", f"writes are spread: at most {_rate(most)} on a store", "GET /hotspot/stores")


def _regions(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    for region in facts.regions[:REGIONS_MAX]:
        followers = region.healthy_followers(facts.up_store_ids())
        text = (
            f"region {region.id} is led by store {region.leader_store_id}, could be led by {_list(followers)}; "
            f"it wrote {_rate(region.written_bytes_per_s)} in its last interval"
        )
        stores = tuple(s for s in (region.leader_store_id, *followers) if s)
        entities = (f"region:{region.id}", *(f"store:{s}" for s in stores))
        yield Seen("region", bounded(text), _REGION, (region.id, *stores), entities)


def _space(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    low = low_stores(facts)
    for store in low[:EACH_MAX]:
        share = 100 * store.available_bytes / store.capacity_bytes
        yield _of_store("space", store, f"{spoken(store)} has {share:.0f} % of {_size(store.capacity_bytes)} available")
    if (used := used_share(facts)) is not None:
        total = sum(s.capacity_bytes for s in facts.living())
        none_low = "" if low else "; no store is low on space"
        yield Seen("space", f"the cluster uses {100 * used:.0f} % of {_size(total)}{none_low}", _STORES)


def _pd(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    leader = quoted(facts.pd_leader or "nobody", 60)
    known = [quoted(m.name, 60) for m in facts.pd_members[:EACH_MAX]]
    names = f" ({', '.join(known)})" if known else ""
    text = f"PD {quoted(facts.version, 20)}: {facts.members_healthy} of {facts.members} members healthy{names}"
    text += f", {leader} leads, seen leading for {_span(facts.pd_leader_age_s)}"
    yield Seen("pd", bounded(text), "GET /health", entities=tuple(f"pd:{name}" for name in known))
    if reason := facts.warming_up():
        yield Seen("warming", bounded(reason), "GET /schedulers")


def _scheduling(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    notes = []
    if facts.halt_scheduling:
        notes.append("scheduling is halted")
    if facts.evicting:
        notes.append(f"an evict-leader-scheduler holds {_list(facts.evicting)}")
    if facts.operators:
        notes.append(f"{len(facts.operators)} operators are running")
    if facts.is_recovering():
        notes.append(f"unsafe recovery: {quoted(facts.unsafe_recovery, 80)}")
    if notes:
        entities = tuple(f"store:{s}" for s in facts.evicting[:EACH_MAX])
        yield Seen("scheduling", bounded("; ".join(notes)), "GET /schedulers", facts.evicting[:EACH_MAX], entities)


def _tombstones(facts: Facts, named: tuple[int, ...]) -> Iterator[Seen]:
    gone = tombstones(facts)
    if gone:
        entities = tuple(f"store:{s}" for s in gone[:TOMBSTONES_MAX])
        text = f"{len(gone)} tombstones are left: {_list(gone, TOMBSTONES_MAX)}"
        yield Seen("tombstones", bounded(text), "GET /stores?state=2", gone[:TOMBSTONES_MAX], entities)


LOOKS: tuple[Callable[[Facts, tuple[int, ...]], Iterator[Seen]], ...] = (
    _slow, _states, _leaders, _replicas, _load, _regions, _space, _pd, _scheduling, _tombstones,
)  # fmt: skip


def _alerts(alerts: tuple[AlertRef, ...], facts: Facts | None) -> Iterator[Seen]:
    for alert in alerts[:ALERTS_MAX]:
        stores = stores_named((alert,), facts) if facts else ()
        regions = tuple(r for r in regions_named((alert,)) if facts and facts.region(r))
        where = _list(stores) if stores else quoted(alert.labels.get("instance", ""), 60)
        said = quoted(alert.annotations.get("description") or alert.annotations.get("summary") or "")
        text = f"alert {quoted(alert.name, 80)} ({quoted(alert.level, 20)}) since {_clock(alert.starts_at_ms)}"
        text += f" on {where}" if where else ""
        text += f'; it says "{said}"' if said else ""
        entities = (*(f"store:{s}" for s in stores), *(f"region:{r}" for r in regions))
        yield Seen("alert", bounded(text), ALERT, (*stores, *regions), entities)
    if (rest := len(alerts) - ALERTS_MAX) > 0:
        yield Seen("alerts_left_out", f"{rest} more alerts are folded into this incident", ALERT)


# -- joining alerts with what PD knows ------------------------------------------------------------------------------


def stores_named(alerts: Iterable[AlertRef], facts: Facts) -> tuple[int, ...]:
    """Stores that alerts name by a label: `store_id`, or `instance` where that is a store's status address. A PD_*
    alert names only the PD that it was asked of, so none."""
    found: dict[int, None] = {}
    for alert in alerts:
        for label in ("store_id", "store"):
            value = alert.labels.get(label, "")
            if _ID.fullmatch(value) and facts.store(int(value)) is not None:
                found[int(value)] = None
        if not alert.name.lower().startswith("pd_") and (store := _store_at(alert.labels.get("instance", ""), facts)):
            found[store.id] = None
    return tuple(found)


def _store_at(instance: str, facts: Facts) -> StoreFacts | None:
    """The one store whose status (or service) address this is. In Kubernetes `instance` is the pod's name alone."""
    if not instance:
        return None
    whole = [s for s in facts.stores if instance in (s.status_address, s.address)]
    pods = [
        s for s in facts.stores if ":" not in instance and s.status_address.startswith((f"{instance}.", f"{instance}:"))
    ]
    living = [s for s in whole or pods if s.state != "Tombstone"]  # an address is used again by the successor
    return living[0] if len(living) == 1 else None


def regions_named(alerts: Iterable[AlertRef]) -> tuple[int, ...]:
    """Regions that alerts name by a label (no stock rule does, people's own may). To be looked up, not believed."""
    values = (a.labels.get(label, "") for a in alerts for label in ("region_id", "region"))
    return tuple(dict.fromkeys(int(v) for v in values if _ID.fullmatch(v)))[:REGIONS_MAX]


def look_for(alerts: Iterable[AlertRef]) -> Look:
    """What has to be read besides the stores for these alerts."""
    return Look(region_ids=regions_named(alerts))


def entities_of(evidence: Iterable[Evidence]) -> frozenset[str]:
    return frozenset(entity for e in evidence for entity in e.entities)


def ids_of(entities: Iterable[str], kind: str) -> tuple[int, ...]:
    """The numbers of one kind of entity: `store:4`, `region:180`."""
    return tuple(sorted(int(e.split(":", 1)[1]) for e in entities if e.startswith(f"{kind}:")))


def pd_named(alert: AlertRef) -> str:
    """The PD member that a PD_* alert was asked of, quoted; empty where the rule keeps no `instance`."""
    rule = rule_of(alert.name)
    return quoted(alert.labels.get("instance", ""), 60) if rule and "instance" in rule.labels else ""


# -- questions to the facts that evidence and playbook share --------------------------------------------------------


def slow_stores(facts: Facts) -> tuple[StoreFacts, ...]:
    return tuple(s for s in facts.living() if s.slow_score >= SLOW_SCORE)


def low_stores(facts: Facts) -> tuple[StoreFacts, ...]:
    return tuple(s for s in facts.living() if s.has_low_space(facts.low_space_ratio))


def used_share(facts: Facts) -> float | None:
    """Used share of the whole cluster, 0..1; None where PD knows no capacities."""
    capacity = sum(s.capacity_bytes for s in facts.living())
    return 1 - sum(s.available_bytes for s in facts.living()) / capacity if capacity else None


def tombstones(facts: Facts) -> tuple[int, ...]:
    return tuple(s.id for s in facts.stores if s.state == "Tombstone")


def others_median(facts: Facts, store: StoreFacts) -> float:
    return median([s.written_bytes_per_s for s in facts.living() if s.id != store.id] or [0.0])


def uneven_store(facts: Facts) -> StoreFacts | None:
    """The store that is written to far more than the others, if there is one."""
    living = [s for s in facts.living() if s.state == "Up"]
    if len(living) < 3:
        return None
    top = max(living, key=lambda s: s.written_bytes_per_s)
    others = others_median(facts, top)
    return top if others > 0 and top.written_bytes_per_s >= UNEVEN_RATIO * others else None


def overloaded_by(region: RegionFacts, facts: Facts) -> StoreFacts | None:
    """The region's leader store, if this one region makes up a good part of too much load on it."""
    store = facts.store(region.leader_store_id)
    if store is None or store.written_bytes_per_s <= 0:
        return None
    overloaded = store.written_bytes_per_s >= HOT_RATIO * others_median(facts, store)
    return store if overloaded and region.written_bytes_per_s >= REGION_SHARE_MIN * store.written_bytes_per_s else None


def peers_by_store(facts: Facts, kind: str) -> dict[int, int]:
    """How many down or pending peers each store holds, among the regions in trouble."""
    found: dict[int, int] = {}
    for region in facts.troubled:
        for store_id in region.down_store_ids if kind == "down" else region.pending_store_ids:
            found[store_id] = found.get(store_id, 0) + 1
    return found


# -- words ----------------------------------------------------------------------------------------------------------


def quoted(text: str, chars_max: int = QUOTE_MAX) -> str:
    """Somebody else's text on one line: printable, without what could close a quotation or a fence, and cut."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * chars_max])
    tame = " ".join(plain.translate(_TAME).split())
    return tame if len(tame) <= chars_max else tame[: chars_max - 3] + "..."


_TAME = str.maketrans({'"': "'", "`": "'", "<": "(", ">": ")", "{": "(", "}": ")"})


def bounded(text: str, chars_max: int = TEXT_MAX) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 3] + "..."


def spoken(store: StoreFacts) -> str:
    return f"store {store.id} ({quoted(store.address, 80)})"


def _of_store(kind: str, store: StoreFacts, text: str, source: str = _STORES) -> Seen:
    return Seen(kind, bounded(text), source, (store.id,), (f"store:{store.id}",))


def _list(store_ids: Iterable[int], shown_max: int = EACH_MAX) -> str:
    ids = tuple(store_ids)
    shown = ", ".join(map(str, ids[:shown_max])) + (", ..." if len(ids) > shown_max else "")
    return f"store{'s' if len(ids) > 1 else ''} {shown}" if ids else "no store"


def _ago(facts: Facts, store: StoreFacts) -> str:
    if not store.last_heartbeat_ms:
        return "never"
    return f"{_span((facts.taken_at_ms - store.last_heartbeat_ms) / 1000)} before"


def _span(seconds: float) -> str:
    s = max(0, round(seconds))
    return f"{s} s" if s < 120 else f"{s // 60} min" if s < 7200 else f"{s // 3600} h"


def _clock(at_ms: int) -> str:
    if not 0 <= at_ms < _YEAR_9999_MS:  # an alert's time is anybody's too
        return "an impossible time"
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e6:.1f} MB/s"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
