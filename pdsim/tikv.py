"""What the stores do by themselves: send heartbeats, elect leaders, apply the steps they are told."""

from __future__ import annotations

from dataclasses import fields, replace

from pdsim.operators import (
    AddLearner,
    EnterJoint,
    LeaveJoint,
    MergeRegion,
    PromoteLearner,
    RemovePeer,
    SplitRegion,
    Step,
    TransferLeader,
)
from pdsim.regions import Peer, Region, Role
from pdsim.stores import State, Store
from pdsim.world import Flow, Hot, World

HOT_WRITE_BYTES_PER_S = 1024.0
HOT_READ_BYTES_PER_S = 8 * 1024.0
SAVED_EVERY_S = 600.0
APPROXIMATE_MIN_MIB = 8  # files tell of a key every 4 MiB or so: of less, nobody knows the middle without a scan


def store_heartbeat(world: World, store: Store) -> None:
    """PD hears that the store lives, and its statistics. A Tombstone's heartbeats are refused."""
    store.next_heartbeat = world.now + world.timing.store_heartbeat_s
    if not world.pd_serves or store.state is State.Tombstone:
        return
    store.last_heartbeat = world.now
    if world.now - store.saved_heartbeat > SAVED_EVERY_S:
        store.saved_heartbeat = world.now
    store.stats_known = True
    store.heard_slow_score = store.slow_score
    store.heard_used = store.used
    if not world.members.leading.wedged:
        _count_hits(world, store, world.hot_reads, "read_bytes", HOT_READ_BYTES_PER_S)


def region_heartbeats(world: World, store: Store) -> None:
    """The leaders of one store report: their flows as totals of the interval, their peers' health as they see it."""
    every_s = world.timing.region_heartbeat_s
    store.next_region_heartbeat = world.now + every_s
    for region in world.truth.led_by(store.id):
        reported = _as_reported(world, region, every_s)
        world.truth.put(reported)
        world.hear(reported)
    if world.pd_hears_regions:
        _count_hits(world, store, world.hot_writes, "write_bytes", HOT_WRITE_BYTES_PER_S)
        if world.loads_regions and world.schedulers_ready:
            world.loads_regions = False


def _as_reported(world: World, region: Region, every_s: float) -> Region:
    flow = world.flows.get(region.id, _NO_FLOW)
    dead = {peer.id: world.stores[peer.store_id].died_at for peer in region.peers if peer.store_id in world.stores}
    down = tuple(
        (peer, int(world.now - died_at))
        for peer, died_at in dead.items()
        if died_at is not None and world.now - died_at >= world.timing.peer_down_s
    )
    return replace(
        region,
        down=down,
        written_bytes=round(flow.write_bytes * every_s),
        written_keys=round(flow.write_keys * every_s),
        read_bytes=round(flow.read_bytes * every_s),
        read_keys=round(flow.read_keys * every_s),
    )


_NO_FLOW = Flow()


def _count_hits(world: World, store: Store, hits: dict[int, Hot], rate: str, threshold: float) -> None:
    """A region stays in PD's hot cache while its rate does; each report is one hit (a read report is six of 10 s)."""
    for region in world.cache.led_by(store.id):
        if getattr(world.flows.get(region.id, _NO_FLOW), rate) >= threshold:
            hot = hits.setdefault(region.id, Hot(0, world.now))
            hot.degree += 1
            hot.updated_at = world.now
        else:
            hits.pop(region.id, None)


def elect(world: World) -> None:
    """Regions whose leader died choose another after the election time-out, if a majority of voters lives."""
    for store in world.stores.values():
        if store.died_at is None or world.now < store.died_at + world.timing.election_s:
            continue
        for region in world.truth.led_by(store.id):
            if (winner := _candidate(world, region)) is not None:
                region = replace(region, leader=winner)
                world.truth.put(region)
                world.hear(_as_reported(world, region, world.timing.region_heartbeat_s))


def _candidate(world: World, region: Region) -> int | None:
    if not has_quorum(world, region):
        return None
    alive = [peer.store_id for peer in region.voters if _lives(world, peer.store_id)]
    return min(alive, key=lambda store: (world.truth.leader_count(store), store))


def _lives(world: World, store_id: int) -> bool:
    store = world.stores.get(store_id)
    return store is not None and store.alive


def has_quorum(world: World, region: Region) -> bool:
    """Does a majority of the region's voters live?"""
    return sum(_lives(world, peer.store_id) for peer in region.voters) * 2 > len(region.voters)


def next_election(world: World) -> float:
    """When the next election is due; infinity when no dead store leads anything that can be saved."""
    due = float("inf")
    for store in world.stores.values():
        if store.died_at is None:
            continue
        if any(_candidate(world, region) is not None for region in world.truth.led_by(store.id)):
            due = min(due, store.died_at + world.timing.election_s)
    return due


def carry_out(world: World, region_id: int, step: Step) -> bool:
    """Apply one step and let PD hear of it. False: not now (no leader, no quorum, target dead, halted)."""
    region = world.truth.get(region_id)
    if region is None or region.leader is None or not _lives(world, region.leader) or not has_quorum(world, region):
        return False
    if isinstance(step, SplitRegion):
        return _split(world, region, step)
    if isinstance(step, MergeRegion):
        return _merge(world, region, step)
    changed = _changed(world, region, step)
    if changed is None:
        return False
    world.truth.put(changed)
    world.hear(_as_reported(world, changed, world.timing.region_heartbeat_s))
    return True


def _changed(world: World, region: Region, step: Step) -> Region | None:
    match step:
        case TransferLeader():
            if region.voter_on(step.to_store) is None or not _lives(world, step.to_store):
                return None
            return replace(region, leader=step.to_store)
        case AddLearner():
            if region.peer_on(step.store) is not None or not _lives(world, step.store):
                return None
            return region.with_peer(Peer(step.peer, step.store, Role.Learner), conf_ver_by=1)
        case PromoteLearner():
            return region.with_peer(Peer(step.peer, step.store, Role.Voter), conf_ver_by=1)
        case EnterJoint():
            for peer in step.promote:
                region = region.with_peer(replace(peer, role=Role.IncomingVoter), conf_ver_by=1)
            for peer in step.demote:
                region = region.with_peer(replace(peer, role=Role.DemotingVoter), conf_ver_by=1)
            return region
        case LeaveJoint():
            for peer in region.peers:
                if peer.role is Role.IncomingVoter:
                    region = region.with_peer(replace(peer, role=Role.Voter), conf_ver_by=1)
                elif peer.role is Role.DemotingVoter:
                    region = region.with_peer(replace(peer, role=Role.Learner), conf_ver_by=1)
            return region
        case RemovePeer():
            return region.without_store(step.store) if region.leader != step.store else None
        case _:
            return None


def _split(world: World, region: Region, step: SplitRegion) -> bool:
    """The old id keeps the right part, as TiKV does by default. A PD that is halted, or has enable-tikv-split-region
    off, refuses the new ids that a split needs."""
    if world.config.halt_scheduling or not world.config.tikv_may_split(world.now):
        return False
    keys = sorted(key for key in step.keys if region.holds(key) and key != region.start_key)
    if step.policy == "usekey" and not keys:
        return False
    if step.policy == "approximate" and region.approximate_size < APPROXIMATE_MIN_MIB:
        return False
    if step.policy != "usekey":
        keys = [middle_key(region)]
    left_edge, version = region.start_key, region.version + len(keys)
    parts = len(keys) + 1
    whole = replace(
        region,
        version=version,
        approximate_size=region.approximate_size // parts,
        approximate_keys=region.approximate_keys // parts,
    )
    flow = _shared(world.flows.get(region.id, _NO_FLOW), parts)
    for key in keys:
        peers = tuple(Peer(world.new_id(), peer.store_id, peer.role) for peer in region.peers)
        part = replace(whole, id=world.new_id(), start_key=left_edge, end_key=key, peers=peers)
        world.truth.put(part)
        left_edge = key
        world.flows[part.id], world.split_at[part.id] = flow, world.now
        world.hear(part)
    right = replace(whole, start_key=left_edge)
    world.truth.put(right)
    world.flows[right.id], world.split_at[right.id] = flow, world.now
    world.hear(right)
    return True


def _shared(flow: Flow, parts: int) -> Flow:
    """What each part of a region gets of its traffic."""
    return Flow(**{f.name: getattr(flow, f.name) / parts for f in fields(Flow)})


def middle_key(region: Region) -> str:
    """A key strictly inside the region: what policy `scan` or `approximate` would find."""
    width = max(len(region.start_key), len(region.end_key), 2) + 2
    low = int(region.start_key.ljust(width, "0") or "0", 16)
    high = int(region.end_key.ljust(width, "0"), 16) if region.end_key else 16**width - 1
    return f"{(low + high) // 2:0{width}X}"


def _merge(world: World, region: Region, step: MergeRegion) -> bool:
    """The target swallows the source; only the source's own operator acts, the target's waits for it."""
    if step.passive or region.id != step.source:
        return False
    target = world.truth.get(step.target)
    if target is None or {peer.store_id for peer in target.peers} != {peer.store_id for peer in region.peers}:
        return False
    if target.start_key == region.end_key:
        start_key, end_key = region.start_key, target.end_key
    elif target.end_key == region.start_key:
        start_key, end_key = target.start_key, region.end_key
    else:
        return False
    merged = replace(
        target,
        start_key=start_key,
        end_key=end_key,
        version=max(target.version, region.version) + 1,
        approximate_size=target.approximate_size + region.approximate_size,
        approximate_keys=target.approximate_keys + region.approximate_keys,
    )
    world.truth.remove(region.id)
    world.truth.put(merged)
    flows = [world.flows.pop(one, _NO_FLOW) for one in (region.id, target.id)]
    world.flows[target.id] = Flow(**{f.name: sum(getattr(flow, f.name) for flow in flows) for f in fields(Flow)})
    if world.pd_hears_regions:
        world.hear_vanished(region.id)
    world.hear(merged)
    return True
