"""Building operators: PD's checks in PD's order, with PD's words for each refusal.

Admin calls, the schedulers and the checkers all build here; what differs is the name, the kinds and the priority.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pdsim import go
from pdsim.operators import (
    KIND_BITS,
    AddLearner,
    EnterJoint,
    LeaveJoint,
    MergeRegion,
    Operator,
    Priority,
    PromoteLearner,
    RemovePeer,
    SplitRegion,
    Step,
    TransferLeader,
    limit_s,
)
from pdsim.regions import Peer, Region
from pdsim.stores import State
from pdsim.world import World


class Refused(Exception):
    """PD won't make this operator; str() is its message, sent with status 500."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes the operator."""

    desc: str
    kinds: tuple[str, ...]
    priority: Priority

    def make(self, world: World, region: Region, brief: str, steps: Iterable[Step], *kinds: str) -> Operator:
        planned = tuple(steps)
        together = sorted({*self.kinds, *kinds}, key=KIND_BITS.__getitem__)
        return Operator(
            desc=self.desc,
            brief=brief,
            region_id=region.id,
            version=region.version,
            conf_ver=region.conf_ver,
            kinds=tuple(together),
            priority=self.priority,
            steps=planned,
            size=region.approximate_size,
            timeout_s=sum(limit_s(step, region.approximate_size) for step in planned),
            created_at=world.now,
        )


def admin(desc: str) -> Maker:
    return Maker(desc, ("admin",), Priority.URGENT)


ALREADY_HAVE_ONE = "[PD:operator:ErrAddOperator]failed to add operator, maybe already have one"


def find(world: World, region_id: int) -> Region:
    """The region as PD knows it. Raises Refused."""
    region = world.cache.get(region_id)
    if region is None:
        raise Refused(f"[PD:region:ErrRegionNotFound]region {region_id} not found")
    return region


def start(world: World, *operators: Operator) -> None:
    """Add all or refuse all; a refused one leaves its record. Raises Refused."""
    if not all(world.book.accepts(operator) for operator in operators):
        for operator in operators:
            if not world.book.accepts(operator):
                world.add_operator(operator)
        raise Refused(ALREADY_HAVE_ONE)
    for operator in operators:
        world.add_operator(operator)


def transfer_leader(world: World, region: Region, to_store: int, maker: Maker) -> Operator:
    """Raises Refused, in PD's order of checks."""
    peer = region.voter_on(to_store)
    if peer is None:
        raise Refused(f"region has no voter in store {to_store}")
    if region.leader is None:
        raise Refused("cannot build operator for region with no leader")
    if region.in_joint_state:
        raise Refused("cannot build operator for region which is in joint state")
    if region.unhealthy(peer):
        raise Refused(f"cannot transfer leader to {to_store}: unhealthy")
    if region.leader == to_store:
        raise Refused("no operator step is built")
    if not world.may_take_leader(to_store):
        raise Refused("cannot create operator: target leader is not allowed")
    brief = f"transfer leader: store {region.leader} to {to_store}"
    return maker.make(world, region, brief, [TransferLeader(region.leader, to_store)], "leader")


def check_target(world: World, store_id: int) -> None:
    """PD's mild check of a peer's target: an Offline, Disconnected, busy or full store passes. Raises Refused."""
    store = world.stores.get(store_id)
    if store is None:
        raise Refused(f"[PD:core:ErrStoreNotFound]store {store_id} not found")
    if store.state is State.Tombstone:
        raise Refused(f"[PD:core:ErrStoreRemoved]store {store_id} has been removed")
    if store.is_unhealthy(world.now):
        raise Refused(f"[PD:core:ErrStoreUnhealthy]store {store_id} is unhealthy")


def move(world: World, region: Region, stores: Iterable[int], maker: Maker, leader: int | None = None) -> Operator:
    """Make the region's voters sit on exactly `stores`: learners first, then one joint change, then the old ones go.

    Raises Refused. `leader` is where the leader must end; None leaves it, or moves it if its store gives up its peer.
    """
    if region.leader is None:
        raise Refused("cannot build operator for region with no leader")
    if region.in_joint_state:
        raise Refused("cannot build operator for region which is in joint state")
    wanted = list(dict.fromkeys(stores))
    added = [Peer(world.new_id(), store) for store in wanted if region.peer_on(store) is None]
    removed = [peer for peer in region.peers if peer.store_id not in wanted]
    if not wanted:
        raise Refused("cannot create operator: target peers have no voter")
    kinds = ["region"] if added or removed else []
    steps: list[Step] = [AddLearner(peer.store_id, peer.id) for peer in added]
    leads_at = region.leader
    heir = leader if leader is not None else (leads_at if leads_at in wanted else _heir(world, region, wanted))
    early = heir != leads_at and region.voter_on(heir) is not None
    if early:
        steps.append(TransferLeader(leads_at, heir))
        kinds.append("leader")
    demoted = [peer for peer in removed if peer in region.voters]
    if added and not demoted and len(added) == 1:
        steps.append(PromoteLearner(added[0].store_id, added[0].id))
    elif added or (demoted and len(demoted) > 1) or (added and demoted):
        steps += [EnterJoint(tuple(added), tuple(demoted))]
        if heir != leads_at and not early:
            steps.append(TransferLeader(leads_at, heir))
            kinds.append("leader")
        steps.append(LeaveJoint(tuple(added), tuple(demoted)))
    steps += [RemovePeer(peer.store_id) for peer in removed]
    if not steps:
        raise Refused("no operator step is built")
    return maker.make(world, region, _brief(region, added, removed, heir), steps, *kinds)


def _heir(world: World, region: Region, wanted: list[int]) -> int:
    kept = [store for store in wanted if region.voter_on(store) is not None and world.may_take_leader(store)]
    return min(kept or wanted, key=lambda store: (world.cache.leader_count(store), store))


def _brief(region: Region, added: list[Peer], removed: list[Peer], heir: int) -> str:
    into = "[" + " ".join(str(peer.store_id) for peer in added) + "]"
    out = "[" + " ".join(str(peer.store_id) for peer in removed) + "]"
    if added and removed:
        return f"mv peer: store {out} to {into}"
    if added:
        return f"add peer: store {into}"
    if removed:
        return f"rm peer: store {out}"
    return f"transfer leader: store {region.leader} to {heir}"


def add_learner(world: World, region: Region, store_id: int, maker: Maker) -> Operator:
    peer = world.new_id()
    return maker.make(world, region, f"add peer: store [{store_id}]", [AddLearner(store_id, peer)], "region")


def is_whole(world: World, region: Region) -> bool:
    """Healthy and fully replicated: others are not merged."""
    ill = region.down or region.pending or region.in_joint_state
    return not ill and len(region.voters) == world.config.max_replicas


def merge(world: World, source: Region, target: Region, maker: Maker) -> tuple[Operator, Operator]:
    """Both operators of one merge. Raises Refused."""
    for region in (source, target):
        if not is_whole(world, region):
            raise Refused(f"[PD:region:ErrRegionAbnormalPeer]region {region.id} has abnormal peer")
    if (source.end_key != target.start_key and target.end_key != source.start_key) or source.id == target.id:
        raise Refused("[PD:region:ErrRegionNotAdjacent]two regions are not adjacent")
    brief = f"merge: region {source.id} to {target.id}"
    steps: list[Step] = []
    kinds = ["merge", "leader"]
    if {peer.store_id for peer in source.peers} != {peer.store_id for peer in target.peers}:
        steps += move(world, source, [peer.store_id for peer in target.peers], maker).steps
    kinds.append("region")
    active = MergeRegion(source.id, target.id, False, target.version)
    passive = MergeRegion(source.id, target.id, True, target.version)
    moving = maker.make(world, source, brief, [*steps, active], *kinds)
    waiting = maker.make(world, target, brief, [passive], *kinds)
    waiting.timeout_s = moving.timeout_s
    return moving, waiting


def split(world: World, region: Region, policy: str, keys: list[str]) -> Operator:
    """Raises Refused. A usekey outside the region is accepted and runs till its time-out."""
    if policy not in ("scan", "approximate", "usekey"):
        raise Refused(f"check policy {policy.upper()} is not supported")
    for key in keys:
        if len(key) % 2 or any(char not in "0123456789abcdefABCDEF" for char in key):
            raise Refused(f"split key {key} is not in hex format")
    if region.in_joint_state:
        raise Refused("cannot split region which is in joint state")
    upper = [key.upper() for key in keys]
    brief = f"split: region {region.id} use policy {policy.upper()}"
    if keys:
        brief += f" and keys [{' '.join(upper)}]"
    return admin("admin-split-region").make(
        world, region, brief, [SplitRegion(policy, tuple(upper), region.version)], "split"
    )


def scatter(world: World, region: Region) -> Operator | None:
    """None when the region sits well already. Raises Refused."""
    if region.id in world.hot_writes or region.id in world.hot_reads:
        raise Refused(f"region {region.id} is a hot region")
    if region.id in world.book.running:
        raise Refused(f"the operator of region {region.id} already exist")
    if region.leader is None:
        raise Refused("cannot build operator for region with no leader")
    maker = Maker("scatter-region", ("admin",), Priority.URGENT)
    wanted = _spread(world, region)
    leads = region.leader if region.leader in wanted else None
    holders = [store for store in wanted if world.may_take_leader(store)]
    best = min(holders, key=lambda store: (world.cache.leader_count(store), store), default=region.leader)
    if leads is not None and world.cache.leader_count(best) + 1 >= world.cache.leader_count(leads):
        best = leads
    if {*wanted} != {peer.store_id for peer in region.voters}:
        return move(world, region, wanted, maker, best)
    return None if best == region.leader else transfer_leader(world, region, best, maker)


def _spread(world: World, region: Region) -> list[int]:
    """Where its voters would sit better: the one on the fullest store on the emptiest that has none, if that is less
    full by two regions at least."""
    held, count = [peer.store_id for peer in region.voters], world.cache.region_count
    free = [s.id for s in world.stores.values() if region.peer_on(s.id) is None and world.may_take_peer(s)]
    if not held or not free:
        return held
    full, empty = max(held, key=lambda store: (count(store), store)), min(free, key=lambda store: (count(store), store))
    return held if count(empty) + 1 >= count(full) else [empty if store == full else store for store in held]


def store_ids(numbers: Iterable[float]) -> list[int]:
    """JSON numbers as PD takes them: the fraction is cut, -1 wraps."""
    return [go.uint64_of(number) for number in numbers]
