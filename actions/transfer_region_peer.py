"""Move one replica of one region from a store to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil

from pydantic import Field

from actions import calls, regions
from actions.action import Action, Limits, Undo, figure, health, no
from schemas.events import Finding
from schemas.facts import Facts, Look, OperatorFacts, RegionFacts, StoreFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, RegionId, Sample, StoreId

OURS = "admin-move-peer"  # what PD calls the operator


class TransferRegionPeer(Action):
    """Move one voting replica of one region from one store to another, which holds none of it yet.

    For one region whose replica is in the wrong place: on a store with too little room or too much to do, or in the
    same failure domain as another replica. PD copies the region's data to the new store, some 100 MB, lets the new
    replica catch up, and only then removes the old one: at no moment are there fewer replicas than before. It takes
    seconds to minutes; PD gives it up after 17 min, or later for a large region.

    What clients notice: where the old replica leads, the leader moves first, and requests on this one region are
    retried once, 1 to 20 ms. Otherwise nothing. Two stores have more to read, send and write while it is copied.

    PD checks next to nothing of the target: it takes one that is Offline, Disconnected, low on space, or in the wrong
    failure domain. So all of that is checked here, and again just before.

    By hand: `pd-ctl operator add transfer-peer REGION FROM TO`. The undo is the same with the stores exchanged. It
    waits for the first move to end, for PD does one at a time, and copies the data once more; where the leader was, it
    does not see to. PD's balancing and its rule checker may move the replica back, or on: that is their right, and
    shows as "no better". If balance-region would rather have it where it was, lower the weight of that store instead.
    """

    name = "transfer_region_peer"
    version = 1
    risk = "MEDIUM"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"transfer_peer"})
    clients_notice = "one retry on this one region if its leader has to move, 1 to 20 ms; else nothing"
    stops_if = "a peer goes down, a store is no longer Up, the target gets low on space, somebody freezes"

    region_id: RegionId = Field(description="The region of which one replica is moved.")
    from_store_id: StoreId = Field(description="The store that gives its replica up: it must hold a voter.")
    to_store_id: StoreId = Field(description="The store that gets it: it must hold no replica of the region.")

    def title(self) -> str:
        return f"Move a replica of region {self.region_id} from store {self.from_store_id} to {self.to_store_id}"

    def look(self) -> Look:
        return Look(region_ids=(self.region_id,))

    def entities(self) -> tuple[str, ...]:
        return (f"region:{self.region_id}", f"store:{self.from_store_id}", f"store:{self.to_store_id}")

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The epoch changes with every split, merge and change of replicas; where it leads tells what clients notice;
        and the failure domain of the target."""
        region, of_region = facts.region(self.region_id), f"region:{self.region_id}"
        target, of_target = facts.store(self.to_store_id), f"store:{self.to_store_id}"
        source, of_source = facts.store(self.from_store_id), f"store:{self.from_store_id}"
        return (
            Premise(name=f"{of_region}.conf_ver", value=str(region.conf_ver) if region else "unknown"),
            Premise(name=f"{of_region}.version", value=str(region.version) if region else "unknown"),
            Premise(name=f"{of_region}.leader", value=f"store:{region.leader_store_id}" if region else "unknown"),
            Premise(name=f"{of_source}.address", value=source.address if source else "unknown"),
            Premise(name=f"{of_target}.address", value=target.address if target else "unknown"),
            Premise(name=f"{of_target}.state", value=target.state if target else "unknown"),
            Premise(
                name=f"{of_target}.location",
                value="/".join(_place(target, facts.location_labels)) if target else "unknown",
            ),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        region = facts.region(self.region_id)
        source, target = facts.store(self.from_store_id), facts.store(self.to_store_id)
        if region is None:
            yield no("no_such_region", f"PD knows no region {self.region_id}")
        for store_id, store in ((self.from_store_id, source), (self.to_store_id, target)):
            if store is None:
                yield no("no_such_store", f"PD knows no store {store_id}")
        if target is not None:
            yield from self._target(target, facts, limits)
        if region is not None:
            yield from regions.in_between(region, facts, limits)
            yield from regions.without_size(region, limits)
            yield from self._region(region, limits)
            yield from regions.too_many_writes(f"region {region.id}", region.written_bytes_per_s, limits)
            yield from regions.ill(region, facts)
        if region is not None and target is not None:
            yield from self._room(region, target, facts)
            yield from self._isolation(region, target, facts)
        copying = {self.to_store_id, region.leader_store_id if region else 0}  # the leader sends what the target gets
        yield from regions.too_busy(copying, facts, limits)

    def _target(self, target: StoreFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        if target.state != "Up":
            yield no("target_not_up", f"store {target.id} is {target.state}: PD would take it all the same")
        if target.is_tiflash():
            yield no("target_is_tiflash", f"store {target.id} is TiFlash: it holds no voters")
        if target.is_strained() or target.id in facts.slow_evicting:
            yield no("target_slow", f"store {target.id} is busy or slow (slow_score {target.slow_score})")
        yield from regions.too_many_writes(f"store {target.id}", target.written_bytes_per_s, limits)

    def _region(self, region: RegionFacts, limits: Limits) -> Iterator[Objection]:
        if self.from_store_id not in region.voter_store_ids():
            yield no("no_voter_there", f"store {self.from_store_id} holds no voter of region {region.id}")
        if _role(region, self.to_store_id):
            yield no("already_there", f"store {self.to_store_id} holds a replica of region {region.id} already")
        if not (takes_s := _timeout_s(region.approximate_size_mib)) <= (most := limits.policy.execution_s_max):
            text = f"for {region.approximate_size_mib} MiB PD gives itself {takes_s:.0f} s, and the policy us {most}"
            yield no("too_large", text)

    def _room(self, region: RegionFacts, target: StoreFacts, facts: Facts) -> Iterator[Objection]:
        """With the replica it must still not be low on space."""
        left = target.available_bytes - regions.size_bytes(region)
        if target.capacity_bytes <= 0 or not left >= (1 - facts.low_space_ratio) * target.capacity_bytes:
            yield no("target_low_space", f"store {target.id} is low on space, or would be with this replica")

    def _isolation(self, region: RegionFacts, target: StoreFacts, facts: Facts) -> Iterator[Objection]:
        """No more replicas in one failure domain than before, at any level; at isolation-level no two at all."""
        held = [s for p in region.peers if (s := facts.store(p.store_id)) and not s.is_tiflash()]
        labels = facts.location_labels
        if missing := sorted({s.id for s in (*held, target) if "" in _place(s, labels)}):
            yield no("location_unknown", f"stores {missing} lack one of the location labels {', '.join(labels)}")
            return
        source, kept = facts.store(self.from_store_id), [s for s in held if s.id != self.from_store_id]
        for depth, label in enumerate(labels, 1):
            place = {s.id: _place(s, labels[:depth]) for s in facts.stores}
            beside = [s.id for s in kept if place[s.id] == place[target.id]]
            were_beside = [s.id for s in kept if source and place[s.id] == place[source.id]]
            if beside and label == facts.isolation_level:
                yield no("not_isolated", f"stores {[*beside, target.id]} are in one {label}, the isolation level")
            elif len(beside) > len(were_beside):
                yield no("less_isolated", f"stores {[*beside, target.id]} would fail with one {label}")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        return (Change(do=self._move(), undo=self._move_back()),)

    def reach(self, facts: Facts) -> Reach:
        """Where the leader has to move, a third store may come to lead: PD chooses which."""
        region, total = facts.region(self.region_id), facts.leaders_total()
        leads = region is not None and region.leader_store_id == self.from_store_id
        return Reach(
            stores=2 + leads,
            regions=1,
            leaders=int(leads),
            leaders_share=(1 / total if total > 0 else 1.0) if leads else 0.0,
            bytes_moved=regions.size_bytes(region) if region else 0,
        )

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more bytes: a region grows while it waits."""
        reach = self.reach(facts)
        return Bounds(
            stores_max=reach.stores,
            regions_max=1,
            leaders_max=reach.leaders,
            bytes_moved_max=ceil(reach.bytes_moved * 1.25),
        )

    def figures(self, facts: Facts) -> dict[str, float]:
        own: dict[str, float] = {}
        if region := facts.region(self.region_id):
            own["moved"] = float(self._is_moved(region))
        if target := facts.store(self.to_store_id):
            own["target_low_space"] = float(target.has_low_space(facts.low_space_ratio))
        return health(facts) | own

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        if shared := super().abort_if(before, now):
            return shared
        low = figure(now, "target_low_space") > figure(before, "target_low_space")
        return ("target_low_space", f"store {self.to_store_id} is low on space now") if low else None

    def is_done(self, facts: Facts) -> bool:
        """Its operator has ended, well or not, and nothing is half done: PD's checkers tidy up what one leaves."""
        region = facts.region(self.region_id)
        return not self._operators(facts) and (region is None or not self._is_half_done(region))

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "moved") == 1

    def probe(self, call: Call, now: Facts) -> Finding:
        """By PD's operator, which says from where to where, and by the region's replicas.

        The move is applied once PD is at it, as if PD had said so, for a copy takes longer than an answer is looked
        for; what becomes of it is watched. If PD is still at it when it is to be undone, the undo has not started: PD
        takes it when the first has ended. What was moved on from the target by somebody else is ours no more.
        """
        if call not in (self._move(), self._move_back()):
            return "cant_tell"
        is_undo, region = call == self._move_back(), now.region(self.region_id)
        if running := self._operators(now):
            forward = f"mv peer: store [{self.from_store_id}] to [{self.to_store_id}]"
            if all(o.brief == forward for o in running):
                return "not_started" if is_undo else "applied"
            return "under_way"  # the undo, another move, or one in words that we do not know
        if not regions.are_heard(now):
            return "cant_tell"
        if region is None:  # merged away: with it went what was to be undone, and PD refuses what is sent of it
            return "applied" if is_undo else "not_started"
        if region.leader_store_id == 0:
            return "cant_tell"
        if is_undo and self._is_half_done(region):
            return "under_way"
        return "not_started" if bool(_role(region, self.to_store_id)) == is_undo else "applied"

    def _move(self) -> Call:
        return calls.transfer_peer(self.region_id, self.from_store_id, self.to_store_id)

    def _move_back(self) -> Call:
        return calls.transfer_peer(self.region_id, self.to_store_id, self.from_store_id)

    def _is_moved(self, region: RegionFacts) -> bool:
        ill = {*region.down_store_ids, *region.pending_store_ids}
        moved = _role(region, self.to_store_id) == "Voter" and not _role(region, self.from_store_id)
        return moved and self.to_store_id not in ill and not region.is_joint()

    def _is_half_done(self, region: RegionFacts) -> bool:
        """Changes its replicas, has both, or one that does not vote yet or any more."""
        roles = [_role(region, s) for s in (self.from_store_id, self.to_store_id)]
        return region.is_joint() or all(roles) or "Learner" in roles

    def _operators(self, facts: Facts) -> tuple[OperatorFacts, ...]:
        """Of this kind on this region, made by a person or a tool such as we: one at the most."""
        return tuple(o for o in facts.operators if o.region_id == self.region_id and o.desc == OURS)


def _role(region: RegionFacts, store_id: int) -> str:
    """Of the region's replica on this store; empty: it has none there."""
    return next((p.role for p in region.peers if p.store_id == store_id), "")


def _timeout_s(size_mib: int) -> float:
    """What PD gives a move: for the copy 6 s a MiB, for each of eight short steps a tenth of that, the leader's among
    them; but not less than 10 min and 1 min."""
    return max(600.0, 6.0 * size_mib) + 8 * max(60.0, 0.6 * size_mib)


def _place(store: StoreFacts, labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(store.labels.get(label, "") for label in labels)
