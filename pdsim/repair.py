"""What PD's checkers do by themselves: replace replicas on dead and leaving stores, add missing ones, drop extra ones.

No scheduler pause stops them; pausing the rule checker or halt-scheduling does.
"""

from __future__ import annotations

from pdsim.building import Maker, Refused, is_whole, merge, move, start
from pdsim.operators import LeaveJoint, Operator, Priority, RemovePeer
from pdsim.regions import Peer, Region
from pdsim.stores import LIMIT_BY_DEFAULT, UNLIMITED_RATE, State, Store
from pdsim.world import Removal, World

_MERGE = Maker("merge-region", ("merge",), Priority.MEDIUM)


def run_patrol(world: World) -> bool:
    """One walk over the regions that need something; true when anything was made."""
    if not world.schedules:
        return False
    made = 0
    for region in _troubled(world):
        room = world.config.limit("replica-schedule-limit", world.now)
        if world.book.count(lambda operator: "replica" in operator.kinds) >= room:
            break
        if region.id not in world.book.running and (operator := _repair(world, region)) is not None:
            made += world.add_operator(operator)
    return made + _merge_split(world) > 0


def _merge_split(world: World) -> int:
    """Regions that were split a while ago, are small and not hot go back into the smaller neighbour that may take
    them. Nothing else makes a region small here."""
    if not world.split_at or world.schedulers.checker_is_paused("merge", world.now):
        return 0
    since = world.now - world.config.duration_s("split-merge-interval")
    made = 0
    for region_id in [region_id for region_id, split_at in world.split_at.items() if split_at <= since]:
        room = world.config.limit("merge-schedule-limit", world.now)
        if world.book.count(lambda operator: "merge" in operator.kinds) >= room:
            break
        region = world.cache.get(region_id)
        if region is None or not _is_small(world, region) or not _may_merge(world, region, since):
            continue
        targets = [other for other in world.cache.siblings(region) if other and _may_merge(world, other, since)]
        if targets:
            target = min(targets, key=lambda other: (other.approximate_size, other.id))
            start(world, *merge(world, region, target, _MERGE))
            made += 1
    return made


def _is_small(world: World, region: Region) -> bool:
    size_max, keys_max = (world.config.limit(f"max-merge-region-{what}", world.now) for what in ("size", "keys"))
    return region.approximate_size <= size_max and region.approximate_keys <= keys_max


def _may_merge(world: World, region: Region, since: float) -> bool:
    hot = region.id in world.hot_writes or region.id in world.hot_reads
    idle = region.id not in world.book.running and world.split_at.get(region.id, since) <= since
    return idle and not hot and region.leader is not None and is_whole(world, region)


def _troubled(world: World) -> list[Region]:
    """Regions with a replica on a Down or Offline store, too few, too many, or stuck in a joint state."""
    max_down_s = world.max_down_s
    bad = [store for store in world.stores.values() if _is_leaving(store, world.now, max_down_s)]
    found = {region.id: region for store in bad for region in world.cache.held_by(store.id)}
    found |= {region.id: region for region in world.cache.misshapen(world.config.max_replicas)}
    return list(found.values())


def _is_leaving(store: Store, now: float, max_down_s: float) -> bool:
    return store.state is State.Offline or store.is_down(now, max_down_s)


def _repair(world: World, region: Region) -> Operator | None:
    if region.leader is None:
        return None
    if region.in_joint_state:
        if world.schedulers.checker_is_paused("joint-state", world.now):
            return None
        maker = Maker("leave-joint-state", ("replica", "region"), Priority.HIGH)
        return maker.make(world, region, "", [LeaveJoint((), ())])
    if world.schedulers.checker_is_paused("rule", world.now):
        return None
    try:
        return _replace_bad(world, region) or _fit_count(world, region)
    except Refused:
        return None


def _replace_bad(world: World, region: Region) -> Operator | None:
    for peer in region.peers:
        store = world.stores.get(peer.store_id)
        if store is None or not _is_leaving(store, world.now, world.max_down_s):
            continue
        target = _target(world, region)
        if target is None or not store.limits["remove-peer"].take(world.now):
            return None
        word = "offline" if store.state is State.Offline else "down"
        maker = Maker(f"replace-rule-{word}-peer", ("replica",), Priority.HIGH)
        kept = [other.store_id for other in region.voters if other.store_id != peer.store_id]
        return move(world, region, [*kept, target.id], maker)
    return None


def _fit_count(world: World, region: Region) -> Operator | None:
    wanted = world.config.max_replicas
    if len(region.voters) < wanted:
        target = _target(world, region)
        if target is None:
            return None
        maker = Maker("add-rule-peer", ("replica",), Priority.HIGH)
        return move(world, region, [*(peer.store_id for peer in region.voters), target.id], maker)
    orphan = _orphan(world, region)
    if orphan is None:
        return None
    maker = Maker("remove-orphan-peer", ("replica",), Priority.HIGH)
    if orphan in region.voters:
        return move(world, region, [peer.store_id for peer in region.voters if peer is not orphan], maker)
    return maker.make(world, region, f"rm peer: store [{orphan.store_id}]", [RemovePeer(orphan.store_id)], "region")


def _orphan(world: World, region: Region) -> Peer | None:
    """The newest peer that no rule asks for: learners first, then the voter with the highest id that doesn't lead."""
    learners = [peer for peer in region.peers if peer not in region.voters]
    if learners:
        return max(learners, key=lambda peer: peer.id)
    if len(region.voters) <= world.config.max_replicas:
        return None
    return max((peer for peer in region.voters if peer.store_id != region.leader), key=lambda peer: peer.id)


def _target(world: World, region: Region) -> Store | None:
    """The healthy store with fewest regions that holds no peer; one token of its add-peer limit is spent."""
    fit = [store for store in world.stores.values() if region.peer_on(store.id) is None and world.may_take_peer(store)]
    for store in sorted(fit, key=lambda store: (world.cache.region_count(store.id), store.id)):
        if store.limits["add-peer"].take(world.now):
            return store
    return None


def check_nodes(world: World) -> None:
    """Offline stores without regions become Tombstone, for good."""
    for store in world.stores.values():
        if store.state is State.Offline and world.schedules and world.cache.region_count(store.id) == 0:
            bury(world, store)


def bury(world: World, store: Store) -> None:
    store.state = State.Tombstone
    store.alive = False
    for limit in store.limits.values():  # PD forgets those of a store that is gone
        limit.per_minute = LIMIT_BY_DEFAULT
    world.removals.pop(store.id, None)


def begin_removal(world: World, store: Store) -> None:
    """Set the store Offline: its remove-peer limit becomes unlimited, the old one is remembered in memory only."""
    if store.state is State.Offline:
        return
    old = {kind: limit.per_minute for kind, limit in store.limits.items()}
    world.removals[store.id] = Removal(world.cache.region_count(store.id), world.now, old)
    store.state = State.Offline
    store.limits["remove-peer"].per_minute = UNLIMITED_RATE


def cancel_removal(world: World, store: Store) -> None:
    """Set it Up again. After a PD leader change nobody knows the old limit, and remove-peer stays unlimited."""
    store.state = State.Up
    removal = world.removals.pop(store.id, None)
    if removal is not None:
        for kind, per_minute in removal.old_limits.items():
            store.limits[kind].per_minute = per_minute
