"""Forget the stores that have left the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, no, sorted_once
from schemas.events import Finding
from schemas.facts import Facts, StoreFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId, canonical_json


class RemoveTombstones(Action):
    """Delete PD's records of stores that have left the cluster for good (state Tombstone).

    For alerts and dashboards that go on counting stores which nobody has any more. The stores hold no region; no data
    is touched, and nothing moves.

    What clients notice: nothing.

    It can't be undone: PD forgets id, address, labels and version of each, and never uses the ids again. What is lost
    is written into the record first. PD removes all tombstones in one call, so every one there is must be named here;
    one that appears meanwhile voids the plan. A tombstone that a region still refers to is refused: something is
    wrong with it.
    """

    name = "remove_tombstones"
    version = 1
    risk = "HIGH"
    undo = Undo.IRREVERSIBLE
    may_call = frozenset({"remove_tombstones"})
    clients_notice = "nothing"

    store_ids: Annotated[tuple[StoreId, ...], AfterValidator(sorted_once)] = Field(
        min_length=1, max_length=100, description="Every Tombstone store there is, by id."
    )

    def title(self) -> str:
        return f"Remove the records of tombstone stores {', '.join(map(str, self.store_ids))}"

    def entities(self) -> tuple[str, ...]:
        return tuple(f"store:{store_id}" for store_id in self.store_ids)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """Each named store as it stands, and that PD has these tombstones and no others."""
        named = []
        for store_id in self.store_ids:
            store = facts.store(store_id)
            named += [
                Premise(name=f"store:{store_id}.address", value=store.address if store else "unknown"),
                Premise(name=f"store:{store_id}.state", value=store.state if store else "unknown"),
            ]
        every = ",".join(str(s.id) for s in _tombstones(facts))
        return (*named, Premise(name="tombstones", value=every))

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        referred = {
            p.store_id for region in (*facts.troubled, *facts.regions) for p in region.peers
        }  # counts come from the same regions, but a contradiction must not pass
        for store_id in self.store_ids:
            store = facts.store(store_id)
            if store is None:
                yield no("no_such_store", f"PD knows no store {store_id}")
            elif store.state != "Tombstone":
                yield no("not_a_tombstone", f"store {store_id} is {store.state}")
            elif store.region_count != 0 or store.leader_count != 0 or store_id in referred:
                yield no("still_has_regions", f"tombstone {store_id} still has {store.region_count} regions")
        if others := [s.id for s in _tombstones(facts) if s.id not in self.store_ids]:
            yield no("other_tombstones", f"PD would also remove {others}: every tombstone must be named")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        return (Change(do=calls.remove_tombstones()),)

    def reach(self, facts: Facts) -> Reach:
        return Reach(stores=len(_tombstones(facts)), regions=0, leaders=0, leaders_share=0.0)

    def bounds(self, facts: Facts) -> Bounds:
        return Bounds(stores_max=len(self.store_ids), regions_max=0, leaders_max=0)

    def snapshot(self, facts: Facts) -> str:
        """All that PD will have forgotten."""
        kept = {"id", "address", "status_address", "state", "labels", "region_count", "last_heartbeat_ms"}
        return canonical_json([s.model_dump(include=kept) for s in _tombstones(facts)])

    def figures(self, facts: Facts) -> dict[str, float]:
        return health(facts) | {"remaining": float(len(self._remaining(facts)))}

    def is_done(self, facts: Facts) -> bool:
        return not self._remaining(facts) and bool(facts.living())

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "remaining") == 0

    def probe(self, call: Call, now: Facts) -> Finding:
        """Store records are in etcd, so a PD leader change hides none. Some gone and some not: a person must look."""
        if call != calls.remove_tombstones() or not now.living():
            return "cant_tell"
        remaining = self._remaining(now)
        if not remaining:
            return "applied"
        return "not_started" if len(remaining) == len(self.store_ids) else "cant_tell"

    def _remaining(self, facts: Facts) -> tuple[int, ...]:
        return tuple(store_id for store_id in self.store_ids if facts.store(store_id) is not None)


def _tombstones(facts: Facts) -> tuple[StoreFacts, ...]:
    return tuple(sorted((s for s in facts.stores if s.state == "Tombstone"), key=lambda s: s.id))
