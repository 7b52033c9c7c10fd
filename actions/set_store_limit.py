"""Let replicas come to one store, or leave it, faster or slower, for good."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Literal

from pydantic import Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, low_on_space, more_low_space, no, wait
from schemas.events import Finding
from schemas.facts import Facts, StoreFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId

RETRY_S = 300
PER_MINUTE_MIN = 5  # a third of PD's own 15: all below stops what PD repairs, by another name
PER_MINUTE_MAX = 200
COPIED_BYTES_PER_S_MAX = 200 * 2**20  # at the new limit, with regions of the size that they have here
REPLICA_MIB = 96  # where PD knows no sizes: what TiKV splits at
HORIZON_MIN = 60  # what moves more is told for so many minutes


class SetStoreLimit(Action):
    """Set one store limit of one store: how many replicas a minute PD lets come to it, or leave it. 15 is usual.

    `limit_type` add-peer: replicas that come. `limit_type` remove-peer: replicas that leave. Lower, for a store whose
    disk or network has no room for copies just now; higher, for one that has, and that PD fills or drains too slowly.
    It is also how a remove-peer limit of 100000000 is mended: PD sets that while it removes a store, and leaves it
    where the removal is cancelled after a change of the PD leader.

    What clients notice: nothing at once (0 ms). Where replicas are copied faster, disks and network are busier: some
    1 to 20 ms a request on the stores that send and receive, as long as copies go on.

    Refused while the store is being removed: PD keeps the limits of before in the memory of its leader, and sets them
    again where the removal is cancelled, over ours. Refused while replicas are missing, if it is to be lowered: PD
    repairs within these limits. Operators that a person adds by hand keep to none of them.

    The limit shows at once, and stays until somebody changes it; that it shows is all that is verified here. What may
    move more by it is told for an hour. A limit that a tool (BR, Lightning) has set for a while with `ttlSecond` shows
    nowhere, and holds in place of this one until its time is over.

    The undo sets the limit that the store has now, which the plan names. Should somebody begin to remove the store
    while the undo is owed, it is settled when the removal has ended or was cancelled.

    By hand it is `pd-ctl store limit 4 30 add-peer`, and the same with the old limit to take it back; `pd-ctl store
    limit` shows them all.
    """

    name = "set_store_limit"
    version = 1
    risk = "MEDIUM"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"set_store_limit"})
    clients_notice = "nothing at once (0 ms); while replicas are copied faster, 1 to 20 ms a request on busier disks"
    stops_if = "a peer goes down, a store is no longer Up or gets low on space, somebody freezes"

    store_id: StoreId = Field(description="The store, as PD numbers it.")
    limit_type: Literal["add-peer", "remove-peer"] = Field(
        description="add-peer: of replicas that come to it. remove-peer: of replicas that leave it."
    )
    per_minute: int = Field(
        ge=PER_MINUTE_MIN,
        le=PER_MINUTE_MAX,
        description="The new limit, in replicas a minute; the other limit stays as it is.",
    )

    def title(self) -> str:
        return f"Set the {self.limit_type} limit of store {self.store_id} to {self.per_minute} a minute"

    def entities(self) -> tuple[str, ...]:
        return (f"store:{self.store_id}",)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The old limit, which is the undo; and that PD is not removing the store."""
        store = facts.store(self.store_id)
        of_store = f"store:{self.store_id}"
        return (
            Premise(name=f"{of_store}.address", value=store.address if store else "unknown"),
            Premise(name=f"{of_store}.state", value=store.state if store else "unknown"),
            Premise(name=f"{of_store}.{self.limit_type}", value=_spelled(self._limit(store)) if store else "unknown"),
            Premise(name="store-limit-version", value=facts.store_limit_version),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        store = facts.store(self.store_id)
        if store is None:
            yield no("no_such_store", f"PD knows no store {self.store_id}")
            return
        if store.state == "Offline":
            text = (
                f"store {store.id} is being removed: PD sets its limits itself, and those of before if it is cancelled"
            )
            yield no("being_removed", text)
        elif store.state != "Up":
            yield no("target_not_up", f"store {store.id} is {store.state}: a limit would hold nothing there")
        if facts.store_limit_version != "v1":
            yield no("limits_not_v1", f"store-limit-version is {facts.store_limit_version}: PD lets nobody set a limit")
        old = self._limit(store)
        if old == self.per_minute:
            yield no("already_so", f"store {store.id} has the {self.limit_type} limit {self.per_minute}")
        if calls.rate_text(old) is None:
            text = f"store {store.id} has the {self.limit_type} limit {old!r}, which the undo could not set again"
            yield no("old_limit_unsayable", text)
        if not self.per_minute >= old:  # here and below so written, what is not a number objects
            yield from self._lower(facts, limits)
        if not self.per_minute <= old:
            yield from self._higher(store, facts)

    def _lower(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        if short := [r.id for r in facts.troubled if r.down_store_ids or len(r.voter_store_ids()) < facts.max_replicas]:
            text = f"{len(short)} regions lack a replica, and PD repairs within this limit"
            yield wait("repairs_needed", text, limits.now_ms + RETRY_S * 1000)

    def _higher(self, store: StoreFacts, facts: Facts) -> Iterator[Objection]:
        if slow := [s.id for s in facts.living() if s.is_strained()]:
            yield no("stores_slow", f"stores {slow} are busy or slow: no more copies now")
        least = (1 - facts.low_space_ratio) * store.capacity_bytes
        if self.limit_type == "add-peer" and not (store.capacity_bytes > 0 and store.available_bytes >= least):
            yield no("target_low_space", f"store {store.id} is low on space")
        copied = self.per_minute * _replica_bytes(facts) / 60
        if not copied <= COPIED_BYTES_PER_S_MAX:
            text = f"{copied / 2**20:.0f} MiB/s could be copied, at most {COPIED_BYTES_PER_S_MAX / 2**20:.0f}"
            yield no("too_fast", text)

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        store = facts.store(self.store_id)
        if store is None:
            return ()
        old = self._limit(store)
        return (
            Change(
                do=calls.set_store_limit(self.store_id, self.limit_type, self.per_minute),
                undo=calls.set_store_limit(self.store_id, self.limit_type, old) if calls.rate_text(old) else None,
            ),
        )

    def reach(self, facts: Facts) -> Reach:
        """What may move in an hour, more than now: at most what the store could be given, or what it holds."""
        store = facts.store(self.store_id)
        if store is None:
            return Reach(stores=1, regions=0, leaders=0, leaders_share=0.0)
        there_are = store.region_count if self.limit_type == "remove-peer" else facts.regions_total - store.region_count
        more = max(0.0, self.per_minute - self._limit(store)) * HORIZON_MIN
        count = ceil(min(more, max(0, there_are)))
        return Reach(
            stores=1, regions=count, leaders=0, leaders_share=0.0, bytes_moved=ceil(count * _replica_bytes(facts))
        )

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more, and 16, than the estimate, for counts move all the time; nothing where it is lowered."""
        store, reach = facts.store(self.store_id), self.reach(facts)
        higher = store is not None and self.per_minute > self._limit(store)
        most = ceil(reach.regions * 1.25) + 16 if higher else 0
        most_bytes = ceil(most * _replica_bytes(facts))
        return Bounds(stores_max=1, regions_max=most, leaders_max=0, bytes_moved_max=most_bytes)

    def figures(self, facts: Facts) -> dict[str, float]:
        store = facts.store(self.store_id)
        own = {"low_space": float(len(low_on_space(facts)))}
        if store is not None:
            own |= {"limit": self._limit(store), "regions": float(store.region_count)}
        return health(facts) | own

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        return super().abort_if(before, now) or more_low_space(before, now)

    def is_done(self, facts: Facts) -> bool:
        store = facts.store(self.store_id)
        return store is not None and self._limit(store) == self.per_minute

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "limit") == self.per_minute

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the one limit that is changed. A PD that has lost the lead unawares shows what was: until PD has settled
        only our limit is believed.

        For an undo a limit that is neither ours nor the old one is somebody's word since, and ours is gone. But not
        while the store is being removed: if that is cancelled, PD sets the limits again that were there before it.
        """
        about = (call.args.get("store_id"), call.args.get("limit_type"))
        if call.name != "set_store_limit" or about != (str(self.store_id), self.limit_type):
            return "cant_tell"
        store = now.store(self.store_id)
        is_undo = call.args.get("per_minute") != str(self.per_minute)
        if store is None or store.state == "Tombstone":  # its limits went with it
            return "applied" if is_undo and now.living() and is_settled(now) else "cant_tell"
        ours = self._limit(store) == self.per_minute
        if ours and not is_undo:
            return "applied"
        if store.state == "Offline" or (not ours and not (self._limit(store) > 0 and is_settled(now))):
            return "cant_tell"
        return "not_started" if ours == is_undo else "applied"

    def _limit(self, store: StoreFacts) -> float:
        return store.add_peer_limit if self.limit_type == "add-peer" else store.remove_peer_limit


def _spelled(rate: float) -> str:
    return calls.rate_text(rate) or repr(rate)


def _replica_bytes(facts: Facts) -> float:
    """What the copy of one takes, on average."""
    count, mib = sum(s.region_count for s in facts.living()), sum(s.region_size_mib for s in facts.living())
    return 2**20 * (mib / count if count > 0 and mib > 0 else REPLICA_MIB)
