"""Keep a store that is being taken out: it is Up again, with what it still holds."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from pydantic import Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, never, no, wait
from actions.offline_store import others_up
from actions.set_store_weight import balanced_stores, region_bytes
from schemas.events import Finding
from schemas.facts import UP_HEARTBEAT_S_MAX, Facts, Look
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId

RETRY_S = 300


class CancelStoreOffline(Action):
    """Set a store that is Offline Up again: PD stops moving its replicas away, and balances some back.

    For a store that was taken out by mistake, or whose data the others can't take after all. Only while it is Offline
    and its process runs: a Tombstone is gone for good, and so is a store that was taken out by force.

    What clients notice: nothing at once. Then one retry for each leader that PD's balancing moves back, 1 to 20 ms
    each; replicas that move back keep disks and network busy for hours, within PD's own limits. What had moved away
    stays where it is until then.

    When it was taken out, PD lifted its remove-peer limit to 100000000. It sets back the old one only if the PD leader
    has not changed since: the premise store:4.remove_peer_limit says which it is. Otherwise it stays so for good, and
    one day's balancing empties the store at full speed: look at pd-ctl store limit, and set the old one, normally 15:
    pd-ctl store limit 4 15 remove-peer.

    By hand: pd-ctl store cancel-delete 4. Undo, to take it out again: pd-ctl store delete 4. Whoever took it out may
    do so again: tidb-operator does, until its spec says otherwise.
    """

    name = "cancel_store_offline"
    version = 1
    risk = "MEDIUM"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"cancel_store_offline", "offline_store"})
    clients_notice = "nothing at once; one retry a leader that is balanced back, 1 to 20 ms each"

    store_id: StoreId = Field(description="The store to keep, as PD numbers it.")

    def title(self) -> str:
        return f"Cancel the removal of store {self.store_id}"

    def look(self) -> Look:
        return Look(removal_of=(self.store_id,))

    def entities(self) -> tuple[str, ...]:
        return (f"store:{self.store_id}",)

    def brings_back(self) -> frozenset[int]:
        return frozenset({self.store_id})

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """Also whether PD still knows the limit: it forgets it together with how far the removal is."""
        store = facts.store(self.store_id)
        knows = facts.removal(self.store_id) is not None
        limit = "set back by PD" if knows else "forgotten by PD: look at it afterwards"
        return (
            Premise(name=f"store:{self.store_id}.address", value=store.address if store else "unknown"),
            Premise(name=f"store:{self.store_id}.state", value=store.state if store else "unknown"),
            Premise(name=f"store:{self.store_id}.remove_peer_limit", value=limit),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        store = facts.store(self.store_id)
        if store is None:
            yield no("no_such_store", f"PD knows no store {self.store_id}")
            return
        silent_s = (facts.taken_at_ms - store.last_heartbeat_ms) / 1000
        if store.state == "Tombstone":
            text = f"store {store.id} is a Tombstone: its process needs an empty directory and a new id to come back"
            yield never("gone_for_good", text)
        elif store.physically_destroyed:
            yield never("gone_for_good", f"store {store.id} was taken out by force: PD never takes it back")
        elif store.state != "Offline":
            yield no("not_offline", f"store {store.id} is {store.state}: there is nothing to cancel")
        elif not silent_s <= UP_HEARTBEAT_S_MAX:  # PD's word Offline hides a dead process
            text = f"store {store.id} has been silent for {silent_s:.0f} s: it would be back without its process"
            yield wait("target_silent", text, limits.now_ms + RETRY_S * 1000)
        if store.is_tiflash():
            yield no("target_is_tiflash", f"store {store.id} is TiFlash: it is not taken out here, as the undo would")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        return (Change(do=calls.cancel_store_offline(self.store_id), undo=calls.offline_store(self.store_id)),)

    def reach(self, facts: Facts) -> Reach:
        """What PD balances back, by counts: as much as an equal share of all."""
        store, stores = facts.store(self.store_id), balanced_stores(facts)
        if store is None:
            return Reach(stores=1, regions=0, leaders=0, leaders_share=0.0)
        count, total = max(1, len(stores)), facts.leaders_total()
        regions = max(0, ceil(sum(s.region_count for s in stores) / count) - store.region_count)
        leaders = max(0, ceil(sum(s.leader_count for s in stores) / count) - store.leader_count)
        return Reach(
            stores=count,
            regions=max(regions, leaders),
            leaders=leaders,
            leaders_share=leaders / total if total > 0 else float(leaders > 0),
            bytes_moved=ceil(regions * region_bytes(facts)),
        )

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more, and 16, than the estimate; and it goes on draining until this is done."""
        reach = self.reach(facts)
        most = ceil(reach.regions * 1.25) + 16
        return Bounds(
            stores_max=reach.stores,
            regions_max=most,
            leaders_max=ceil(reach.leaders * 1.25) + 16,
            bytes_moved_max=ceil(most * region_bytes(facts)),
        )

    def figures(self, facts: Facts) -> dict[str, float]:
        """`stores_up` without its own: that would hide another one that goes."""
        store = facts.store(self.store_id)
        own = {}
        if store is not None:
            own = {
                "up": float(store.state == "Up"),
                "leaders": float(store.leader_count),
                "regions": float(store.region_count),
                "remove_peer_limit": store.remove_peer_limit,
            }
        return health(facts) | {"stores_up": others_up(facts, self.store_id)} | own

    def is_done(self, facts: Facts) -> bool:
        store = facts.store(self.store_id)
        return store is not None and store.state == "Up"

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "up") == 1

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the state, as of offline_store. A Tombstone has drained before this was sent: PD refuses, whenever it is
        sent again. And it is as much out of the cluster as the undo would make it, with or without its record."""
        store = now.store(self.store_id)
        if call == calls.cancel_store_offline(self.store_id):
            if store is None:
                return "cant_tell"
            if store.state == "Tombstone":
                return "not_started"
            if store.state != "Offline":
                return "applied"
            return "not_started" if is_settled(now) else "cant_tell"
        if call == calls.offline_store(self.store_id):
            if store is not None and store.state == "Tombstone":
                return "applied"
            if not now.living() or not is_settled(now):
                return "cant_tell"
            return "applied" if store is None or store.state == "Offline" else "not_started"
        return "cant_tell"
