"""The playbook's own rule for each cause that admits an action, by facts read after the diagnosis. Pure.

It proposes what a careful person would, or says with a code why nothing; whether it is allowed is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actions.set_store_weight import WEIGHT_MIN
from agents.causes import known
from agents.evidence import (
    HOT_RATIO,
    entities_of,
    ids_of,
    low_stores,
    overloaded_by,
    slow_stores,
    tombstones,
)
from schemas.events import DiagnosisAdopted
from schemas.facts import Facts

LIGHTER = 0.75  # of its weight: a quarter less at a time


@dataclass(frozen=True)
class Proposed:
    """An action of the catalogue with its parameters, why, and the evidence that names what the parameters name."""

    action: str
    params: dict[str, int | float | str | list[int]]
    why: str
    cited: tuple[str, ...]


@dataclass(frozen=True)
class Nothing:
    code: str
    reason: str


@dataclass(frozen=True)
class Times:
    """Seconds, as configured: how long what is temporary is kept, and PD's own moving of leaders held; 0: not."""

    keep_s: int = 900
    hold_s: int = 0


def hopeless(diagnosis: DiagnosisAdopted) -> Nothing | None:
    """Why nothing can be proposed whatever PD says now, or None."""
    cause = known(diagnosis.cause)
    if cause is None or diagnosis.cause == "unknown":
        return Nothing("no_diagnosis", "no cause is known; nothing is done on a guess")
    if not cause.admits:
        return Nothing("no_action_for_cause", f"no action mends «{cause.words}»; by hand: {cause.for_people}")
    return None


def propose(diagnosis: DiagnosisAdopted, facts: Facts, times: Times) -> Proposed | Nothing:
    """The playbook's own rule for a cause that admits an action, by facts read after the diagnosis was made."""
    if reason := facts.warming_up():
        return Nothing("pd_warming_up", f"PD's counts are not complete yet: {reason}")
    if rule := RULES_BY_CAUSE.get(diagnosis.cause):
        return rule(diagnosis, facts, times)
    cause = known(diagnosis.cause)
    hint = f"; by hand: {cause.for_people}" if cause else ""
    return Nothing("no_rule", f"the playbook has no rule for {diagnosis.cause}{hint}")


def _evict(diagnosis: DiagnosisAdopted, facts: Facts, times: Times) -> Proposed | Nothing:
    slow, shown = slow_stores(facts), ids_of(entities_of(diagnosis.evidence), "store")
    if not slow:
        return Nothing("no_longer_slow", "no store is slow any more")
    if len(slow) > 1:
        return Nothing("several_slow_stores", "more than one store is slow: moving leaders would only move the trouble")
    store = slow[0]
    if store.id not in shown:
        return Nothing("another_store", f"store {store.id} is slow now, and the diagnosis speaks of another one")
    if store.id in facts.slow_evicting:
        return Nothing("pd_took_it", f"PD's evict-slow-store-scheduler has taken store {store.id} itself")
    if store.id in facts.evicting:
        return Nothing(
            "already_evicting", f"an evict-leader-scheduler holds store {store.id} already, and it is not ours"
        )
    others = [s for s in facts.living() if s.id != store.id]
    if unwell := [s.id for s in others if s.state in ("Down", "Disconnected") or s.is_busy]:
        return Nothing(
            "others_unwell", f"stores {unwell} are not well either: the leaders would have nowhere safe to go"
        )
    if sum(s.state == "Up" for s in others) < max(1, facts.max_replicas - 1):
        return Nothing("too_few_others", "too few other stores are up to take the leaders")
    if store.leader_count == 0:
        return Nothing("no_leaders_there", f"store {store.id} leads no region: there is nothing to move away")
    why = f"slow_score {store.slow_score} on store {store.id}, the {len(others)} others are well: keep leaders off it"
    return Proposed(
        "evict_store_leaders",
        {"store_id": store.id, "keep_s": times.keep_s},
        why,
        _citing(diagnosis, f"store:{store.id}"),
    )


def _transfer(diagnosis: DiagnosisAdopted, facts: Facts, times: Times) -> Proposed | Nothing:
    shown = entities_of(diagnosis.evidence)
    hot = [(r, s) for r in facts.regions if f"region:{r.id}" in shown and (s := overloaded_by(r, facts))]
    if not hot:
        return Nothing("no_longer_hot", "no region of the evidence overloads its leader's store any more")
    region, leader = max(hot, key=lambda pair: pair[0].written_bytes)
    if region.is_joint():
        return Nothing("region_in_transition", f"region {region.id} is changing its peers")
    followers = [facts.store(s) for s in region.healthy_followers(facts.up_store_ids()) if f"store:{s}" in shown]
    barred = {
        *facts.evicting,
        *facts.slow_evicting,
        *(s.id for s in slow_stores(facts)),
        *(s.id for s in low_stores(facts)),
    }
    calmer = [
        s
        for s in followers
        if s and s.id not in barred and not s.is_busy and s.written_bytes_per_s < leader.written_bytes_per_s / HOT_RATIO
    ]
    if not calmer:
        return Nothing("no_better_store", f"no follower of region {region.id} is on a store that is well and calmer")
    to = min(calmer, key=lambda s: (s.written_bytes_per_s, s.leader_count, s.id))
    why = (
        f"region {region.id} overloads store {leader.id}; store {to.id} follows it and takes less than half the writes"
    )
    cited = _citing(diagnosis, f"region:{region.id}", f"store:{to.id}")
    return Proposed(
        "transfer_region_leader",
        {"region_id": region.id, "to_store_id": to.id, "hold_s": times.hold_s},
        why,
        cited,
    )


def _remove(diagnosis: DiagnosisAdopted, facts: Facts, times: Times) -> Proposed | Nothing:
    gone = tombstones(facts)
    if not gone:
        return Nothing("no_tombstones", "PD lists no tombstone any more")
    shown = ids_of(entities_of(diagnosis.evidence), "store")
    if new := [s for s in gone if s not in shown]:
        return Nothing("other_tombstones", f"stores {new} are tombstones too, and the diagnosis does not speak of them")
    why = f"the records of {len(gone)} stores that are gone for good are left behind in PD"
    return Proposed(
        "remove_tombstones", {"store_ids": list(gone)}, why, _citing(diagnosis, *(f"store:{s}" for s in gone))
    )


def _lighten(diagnosis: DiagnosisAdopted, facts: Facts, times: Times) -> Proposed | Nothing:
    low, shown = low_stores(facts), ids_of(entities_of(diagnosis.evidence), "store")
    if not low:
        return Nothing("no_longer_low", "no store is low on space any more")
    if len(low) > 1:
        return Nothing("several_low_stores", "more than one store is low on space: what one loses the other would get")
    store = low[0]
    if store.id not in shown:
        return Nothing("another_store", f"store {store.id} is low on space, and the diagnosis speaks of another one")
    others = [s.region_weight for s in facts.living() if s.id != store.id]
    weight = round(store.region_weight * LIGHTER, 2)
    if not others or store.region_weight < min(others) or weight < WEIGHT_MIN:
        text = (
            f"store {store.id} has a region weight of {store.region_weight:g} already, and is low on space all the same"
        )
        return Nothing("lightest_already", text)
    why = f"store {store.id} is low on space and no other one is: region weight {store.region_weight:g} to {weight:g}"
    return Proposed(
        "set_store_weight",
        {"store_id": store.id, "weight_of": "region", "weight": weight},
        why,
        _citing(diagnosis, f"store:{store.id}"),
    )


def _citing(diagnosis: DiagnosisAdopted, *entities: str) -> tuple[str, ...]:
    """Ids of the evidence that speaks of any of these."""
    return tuple(e.id for e in diagnosis.evidence if set(entities) & set(e.entities))


RULES_BY_CAUSE: dict[str, Callable[[DiagnosisAdopted, Facts, Times], Proposed | Nothing]] = {
    "slow_store": _evict,
    "hot_region": _transfer,
    "tombstones_left": _remove,
    "store_nearly_full": _lighten,
}
