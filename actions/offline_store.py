"""Take one store out of the cluster: PD moves all that it holds to the others, and then it is gone for good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil

from pydantic import Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, more_low_space, no, wait
from actions.set_store_weight import region_bytes
from schemas.events import Finding
from schemas.facts import UP_HEARTBEAT_S_MAX, Facts, Look, StoreFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId

RETRY_S = 300
REPLICAS_MIN = 3  # with fewer, losing one more replica meanwhile loses the region
BEGINS_WITHIN_S = 600
LEAVING = ("Offline", "Tombstone")


class OfflineStore(Action):
    """Set one store Offline: PD moves its replicas to the other stores, over hours; then it is a Tombstone for good.

    For a store whose host has to go, or that is dead and will not come back (Down). One that is Disconnected is waited
    for. Not for a slow store (evict its leaders) or a nearly full one (lower its weight).

    What clients notice: one retry for each leader that moves, 1 to 20 ms each, for as long as it drains. All its data
    is copied to other stores: disks and network are busier meanwhile, within PD's own limits.

    PD checks by count that max-replicas stores are left, dead ones included, and that one of them may lead. Here is
    checked besides that the rest has room for its data and is well, that as many values of each location label are
    left as replicas need, that no region depends on it, and that PD would move anything at all. Placement rules of
    your own are not read: where there are any, look whether they can still be kept.

    It counts as done when PD has begun and goes on: part of the data has moved and PD shows at what speed, in three
    looks. The rest takes hours. An execution that stayed open for so long would be broken off at its deadline and bar
    every other repair from the cluster, cancelling included. So it ends here; but while a store is Offline every
    other action is refused, except cancel_store_offline. If nothing has moved after 10 minutes it is taken back.

    The undo cancels it, until the store is a Tombstone: within seconds where it holds little. After the end here
    cancel_store_offline does the same. Nothing takes a Tombstone back: PD refuses the undo (ErrStoreRemoved), the
    remediation ends UNKNOWN with the undo owed, and a person resolves it. To come back, the process needs an empty
    directory and a new id.

    PD lifts the remove-peer limit of the store to 100000000, and remembers the old one until the PD leader changes.
    After a cancel look at pd-ctl store limit. Where it is still 100000000, set what the premise
    store:4.remove_peer_limit says, normally 15: pd-ctl store limit 4 15 remove-peer.

    By hand: pd-ctl store delete 4, then pd-ctl store 4 until it is a Tombstone. Undo: pd-ctl store cancel-delete 4.
    Where tidb-operator runs the cluster, scale there: it would start the process again.
    """

    name = "offline_store"
    version = 1
    risk = "HIGH"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"offline_store", "cancel_store_offline"})
    clients_notice = "one retry a leader that moves, 1 to 20 ms each; copying keeps disks and network busy for hours"
    stops_if = (
        "a peer goes down, another store is no longer Up or gets low on space, nothing has moved after 10 min,"
        " somebody freezes"
    )
    not_worse = frozenset({"not_draining"})

    store_id: StoreId = Field(description="The store to take out, as PD numbers it.")

    def title(self) -> str:
        return f"Take store {self.store_id} offline for good"

    def look(self) -> Look:
        return Look(removal_of=(self.store_id,))

    def entities(self) -> tuple[str, ...]:
        return (f"store:{self.store_id}",)

    def takes_out(self) -> frozenset[int]:
        return frozenset({self.store_id})

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """Also where replicas have to be, and the limit that somebody may have to set again after a cancel."""
        store = facts.store(self.store_id)
        limit = store.remove_peer_limit if store else 0.0
        where = f"{facts.max_replicas} over {','.join(facts.location_labels) or 'no labels'}"
        return (
            Premise(name=f"store:{self.store_id}.address", value=store.address if store else "unknown"),
            Premise(name=f"store:{self.store_id}.state", value=store.state if store else "unknown"),
            Premise(name=f"store:{self.store_id}.remove_peer_limit", value=f"{limit:g}" if limit else "unknown"),
            Premise(name="replicas", value=f"{where}, isolated by {facts.isolation_level or 'none'}"),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """Comparisons are written so that what is not a number objects."""
        store = facts.store(self.store_id)
        if store is None:
            yield no("no_such_store", f"PD knows no store {self.store_id}")
            return
        yield from self._target(store, facts, limits)
        yield from _replacing(facts)
        yield from self._rest(store, facts, limits)
        yield from self._places(store, facts)

    def _target(self, store: StoreFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        later_ms = limits.now_ms + RETRY_S * 1000
        silent_s = (facts.taken_at_ms - store.last_heartbeat_ms) / 1000
        if store.state in LEAVING:
            yield no("already_so", f"store {store.id} is {store.state} already")
        elif store.state == "Down":
            if not store.leader_count <= 0:
                text = f"store {store.id} is Down and leads {store.leader_count} regions: they have lost their majority"
                yield no("regions_lost", text)
        elif store.state != "Up" or not silent_s <= UP_HEARTBEAT_S_MAX:
            text = f"store {store.id} has been silent for {silent_s:.0f} s: it may come back, or PD will call it Down"
            yield wait("target_silent", text, later_ms)
        if store.is_tiflash():
            yield no(
                "target_is_tiflash",
                f"store {store.id} is TiFlash: its replicas are counted by table; lower those of the tables first",
            )
        if store.id in facts.evicting:
            yield wait("target_evicting", f"somebody keeps leaders off store {store.id}, and will undo it", later_ms)
        share, share_max = self.reach(facts).leaders_share, limits.policy.leaders_share_max
        if not share <= share_max:
            yield no("too_many_leaders", f"store {store.id} leads {share:.0%} of all regions, at most {share_max:.0%}")
        if not store.written_bytes_per_s <= (limit := limits.policy.leader_move_bytes_per_s_max):
            text = (
                f"store {store.id} takes {store.written_bytes_per_s / 1e6:.1f} MB/s of writes, at most {limit / 1e6:g}"
            )
            yield wait("writes_too_high", text, later_ms)

    def _rest(self, store: StoreFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """Those that stay must be enough, well, and have room."""
        takers, heirs = self._takers(facts), self._heirs(store, facts)
        if not facts.max_replicas >= REPLICAS_MIN:
            text = f"with max-replicas {facts.max_replicas} a region is lost by one store more, at least {REPLICAS_MIN}"
            yield no("too_few_replicas", text)
        if not len(takers) >= facts.max_replicas:
            text = f"{len(takers)} stores that are Up would be left for {facts.max_replicas} replicas a region"
            yield no("too_few_stores", text)
        if slow := [s.id for s in takers if s.is_strained()]:
            text = f"stores {slow} would take over from it, and are busy or slow"
            yield wait("takers_slow", text, limits.now_ms + RETRY_S * 1000)
        each = _data_bytes(store, facts) / max(1, len(heirs))
        if cramped := [
            s.id
            for s in heirs
            if not s.available_bytes - each >= (1 - facts.low_space_ratio) * s.capacity_bytes or s.capacity_bytes <= 0
        ]:
            text = f"stores {cramped} would get {each / 2**30:.1f} GiB each, and are low on space or would be then"
            yield no("rest_low_on_space", text)

    def _places(self, store: StoreFacts, facts: Facts) -> Iterator[Objection]:
        """No two replicas may come to share a place that need not share one now."""
        labels, level, takers = facts.location_labels, facts.isolation_level, self._takers(facts)
        if level and level not in labels:
            yield no("isolation_lost", f"isolation-level {level} is none of the location-labels: PD would move nothing")
        for depth, label in enumerate(labels, 1):
            before, after = (len(_values(stores, labels[:depth])) for stores in ((*takers, store), takers))
            if label == level and after < facts.max_replicas:
                text = f"{after} values of {label} would be left for {facts.max_replicas} replicas isolated by it"
                yield no("isolation_lost", text)
            elif after < min(before, facts.max_replicas):
                text = f"{after} of {before} values of {label} would be left for {facts.max_replicas} replicas a region"
                yield no("labels_lost", text)

    def _takers(self, facts: Facts) -> tuple[StoreFacts, ...]:
        """What would be left to hold replicas."""
        return tuple(s for s in facts.living() if s.id != self.store_id and s.state == "Up" and not s.is_tiflash())

    def _heirs(self, store: StoreFacts, facts: Facts) -> tuple[StoreFacts, ...]:
        """Those among them that would get its data. Where there are no more places than replicas, each region has one
        in every place, and what leaves a place has to stay in it."""
        takers = heirs = self._takers(facts)
        for depth in range(1, len(facts.location_labels) + 1):
            labels = facts.location_labels[:depth]
            same = tuple(s for s in takers if _value(s, labels) == _value(store, labels) is not None)
            if same and len(_values(takers, labels)) <= facts.max_replicas:
                heirs = same
        return heirs

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        return (Change(do=calls.offline_store(self.store_id), undo=calls.cancel_store_offline(self.store_id)),)

    def reach(self, facts: Facts) -> Reach:
        store = facts.store(self.store_id)
        if store is None:
            return Reach(stores=1, regions=0, leaders=0, leaders_share=0.0)
        leaders, total = store.leader_count, facts.leaders_total()
        return Reach(
            stores=1 + len(self._heirs(store, facts)),
            regions=store.region_count,
            leaders=leaders,
            leaders_share=leaders / total if total > 0 else float(leaders > 0),
            bytes_moved=_data_bytes(store, facts),
        )

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more, and 16, than it holds now: counts move all the time."""
        reach = self.reach(facts)
        most = ceil(reach.regions * 1.25) + 16
        return Bounds(
            stores_max=reach.stores,
            regions_max=most,
            leaders_max=ceil(reach.leaders * 1.25) + 16,
            bytes_moved_max=ceil(max(reach.bytes_moved * 1.25, most * region_bytes(facts))),
        )

    def figures(self, facts: Facts) -> dict[str, float]:
        """`stores_up` without its own: that it is no longer Up is what it is for."""
        store, removal = facts.store(self.store_id), facts.removal(self.store_id)
        low = sum(s.has_low_space(facts.low_space_ratio) for s in facts.living() if s.id != self.store_id)
        own = {"low_space": float(low), "draining": float(self._drains(facts))}
        if store is not None:
            own |= {
                "leaders": float(store.leader_count),
                "regions": float(store.region_count),
                "remove_peer_limit": store.remove_peer_limit,
            }
        if removal is not None and removal.mib_per_s > 0:
            own["left_s"] = removal.left_s
        return health(facts) | {"stores_up": others_up(facts, self.store_id)} | own

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        if worse := super().abort_if(before, now) or more_low_space(before, now):
            return worse
        if figure(now, "draining") == 0 and now.at_ms - before.at_ms > BEGINS_WITHIN_S * 1000:
            return "not_draining", f"after {BEGINS_WITHIN_S // 60} min PD has moved nothing off store {self.store_id}"
        return None

    def is_done(self, facts: Facts) -> bool:
        """It drains, or has: no more is waited for, for the rest takes hours."""
        return self._drains(facts)

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "draining") == 1

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the state, which PD writes to etcd before it shows it: a new PD leader has it, and one that has lost the
        lead unawares shows what was. So Up is believed of a PD that has settled.

        What is a Tombstone, or has no record any more, was not taken back: the undo is sent, and PD refuses it.
        """
        store = now.store(self.store_id)
        if call == calls.offline_store(self.store_id):
            if store is None:
                return "cant_tell"
            if store.state in LEAVING:
                return "applied"
            return "not_started" if is_settled(now) else "cant_tell"
        if call == calls.cancel_store_offline(self.store_id):
            if store is None:
                return "not_started" if now.living() and is_settled(now) else "cant_tell"
            if store.state in LEAVING:
                return "not_started"
            return "applied" if is_settled(now) else "cant_tell"
        return "cant_tell"

    def _drains(self, facts: Facts) -> bool:
        """PD shows that data has moved, and how fast. It forgets when its leader changes: then by what replaces
        replicas on this store."""
        store, removal = facts.store(self.store_id), facts.removal(self.store_id)
        if store is None or store.state not in LEAVING:
            return False
        if store.state == "Tombstone" or (store.region_count == 0 and is_settled(facts)):
            return True
        if removal is not None:
            return removal.progress > 0 and removal.mib_per_s > 0
        leaves = f"mv peer: store [{store.id}] "
        return any(o.desc.startswith("replace-") and o.brief.startswith(leaves) for o in facts.operators)


def others_up(facts: Facts, store_id: int) -> float:
    """How many stores are Up besides this one."""
    return float(len(facts.up_store_ids() - {store_id}))


def _replacing(facts: Facts) -> Iterator[Objection]:
    """PD must be replacing replicas, or it never drains."""
    if not facts.replaces_offline_replicas:
        yield no("replacing_off", "enable-replace-offline-replica is off: PD would move nothing")
    for name, limit in (("replica", facts.replica_schedule_limit), ("region", facts.region_schedule_limit)):
        if not limit > 0:
            yield no("replacing_off", f"{name}-schedule-limit is 0: PD would move nothing")


def _data_bytes(store: StoreFacts, facts: Facts) -> int:
    """All that is on its disk, or what as many replicas have on average: of a dead store PD may know no sizes."""
    if store.region_count == 0:
        return 0
    return max(store.capacity_bytes - store.available_bytes, ceil(store.region_count * region_bytes(facts)))


def _values(stores: Iterable[StoreFacts], labels: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    """The places that these stores are in. To PD a store without a label is in the same place as every other one."""
    return frozenset(value for s in stores if (value := _value(s, labels)) is not None)


def _value(store: StoreFacts, labels: tuple[str, ...]) -> tuple[str, ...] | None:
    value = tuple(store.labels.get(label, "").casefold() for label in labels)
    return value if all(value) else None
