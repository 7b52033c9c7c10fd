"""What PD moves by itself to balance or protect: evict-leader, evict-slow-store, grant-leader, balance-leader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from pdsim.building import Maker, transfer_leader
from pdsim.operators import Operator, Priority, TransferLeader
from pdsim.regions import Region
from pdsim.schedulers import BALANCE_LEADER, EVICT_LEADER, EVICT_SLOW, GRANT_LEADER
from pdsim.stores import SLOW_FROM, State
from pdsim.world import World

BALANCE_BATCH = 4
TOLERANCE = 1.5
SLOW_CAPTURE = 100

_EVICT = Maker(EVICT_LEADER, (), Priority.URGENT)
_EVICT_SLOW = Maker("evict-slow-store-scheduler", (), Priority.URGENT)
_GRANT = Maker(GRANT_LEADER, (), Priority.HIGH)
_BALANCE = Maker(BALANCE_LEADER, (), Priority.MEDIUM)


def run_round(world: World) -> bool:
    """One round of every scheduler; true when any operator was made, so that the next round comes soon."""
    if not world.schedules:
        return False
    _watch_slow_stores(world)
    made = 0
    for name, round_of in _ROUNDS:
        if name in world.schedulers.names and not world.schedulers.is_paused(name, world.now):
            made += round_of(world)
    return made > 0


def _called(world: World, maker: Maker) -> Maker:
    """Before 8.5 an operator is called by its scheduler's kind, and not by its name."""
    return maker if world.since(8, 5) else replace(maker, desc=maker.desc.removesuffix("-scheduler"))


def _room(world: World) -> int:
    """How many more leader operators leader-schedule-limit allows."""
    running = world.book.count(lambda operator: "leader" in operator.kinds)
    return max(0, world.config.limit("leader-schedule-limit", world.now) - running)


def _watch_slow_stores(world: World) -> None:
    """Take in the one store at slow_score 100; let it go when healthy and recovery-duration is over."""
    state = world.schedulers
    if EVICT_SLOW not in state.names or state.is_paused(EVICT_SLOW, world.now):
        return
    for store_id, since in list(state.slow_evicted.items()):
        store = world.stores.get(store_id)
        if store is None or (store.heard_slow_score <= 1 and world.now - since >= state.slow_recovery_s):
            del state.slow_evicted[store_id]
    up = [store for store in world.stores.values() if store.state is State.Up and not store.is_disconnected(world.now)]
    slow = [store for store in up if store.heard_slow_score >= SLOW_FROM]
    if not state.slow_evicted and len(slow) == 1 and slow[0].heard_slow_score >= SLOW_CAPTURE:
        state.slow_evicted[slow[0].id] = world.now


def _evict_leaders(world: World) -> int:
    return sum(_drain(world, store, world.schedulers.batch, _EVICT) for store in list(world.schedulers.evicted))


def _evict_slow(world: World) -> int:
    return sum(
        _drain(world, store, world.schedulers.slow_batch, _EVICT_SLOW) for store in world.schedulers.slow_evicted
    )


def _drain(world: World, store_id: int, batch: int, maker: Maker) -> int:
    """Up to `batch` leaders off the store; those that have nowhere to go stay."""
    made = 0
    for region in world.cache.led_by(store_id):
        if made == min(batch, made + _room(world)):
            break
        if region.id not in world.book.running and (operator := _best_transfer(world, region, maker)):
            made += world.add_operator(operator)
    return made


def _best_transfer(world: World, region: Region, maker: Maker) -> Operator | None:
    targets = [
        peer.store_id
        for peer in region.voters
        if peer.store_id != region.leader
        and peer.store_id in world.stores
        and not region.unhealthy(peer)
        and world.may_take_leader(peer.store_id)
    ]
    if not targets or region.in_joint_state:
        return None
    best = min(targets, key=lambda store: (world.leader_score(world.stores[store]), store))
    return transfer_leader(world, region, best, _called(world, maker))


def _grant_leaders(world: World) -> int:
    """Pull every leader that can come to the granted stores."""
    made = 0
    for store_id in world.schedulers.granted:
        for region in world.cache.held_by(store_id):
            if made >= world.schedulers.batch or not _room(world):
                break
            movable = region.leader not in (None, store_id) and region.voter_on(store_id) is not None
            if movable and region.id not in world.book.running and world.may_take_leader(store_id):
                made += world.add_operator(transfer_leader(world, region, store_id, _called(world, _GRANT)))
    return made


def _balance_leaders(world: World) -> int:
    """From the store with most leaders for its weight to the one with fewest, while they differ by enough.

    A store whose bar was lifted while still on evict-leader's list is refilled from here: the two fight for ever.
    """
    made = 0
    planned = _under_way(world)
    for _ in range(BALANCE_BATCH):
        if not _room(world) or not _balance_once(world, planned):
            break
        made += 1
    return made


def _under_way(world: World) -> dict[int, int]:
    """Leaders that running operators will still bring or take, by store: without them balancing overshoots for ever."""
    change: dict[int, int] = {}
    for operator in world.book.running.values():
        for step in operator.steps[operator.current_step :]:
            if isinstance(step, TransferLeader):
                change[step.from_store] = change.get(step.from_store, 0) - 1
                change[step.to_store] = change.get(step.to_store, 0) + 1
    return change


def _balance_once(world: World, planned: dict[int, int]) -> bool:
    score = {
        store.id: (world.cache.leader_count(store.id) + planned.get(store.id, 0)) / max(store.leader_weight, 1e-6)
        for store in world.stores.values()
        if store.state is State.Up and not store.is_disconnected(world.now)
    }
    if not score or max(score.values()) - min(score.values()) <= TOLERANCE:
        return False
    targets = sorted(
        (store for store in score if world.may_take_leader(store)), key=lambda store: (score[store], store)
    )
    for source in sorted(score, key=lambda store: (-score[store], store)):
        for target in targets:
            if score[source] - score[target] <= TOLERANCE:
                break
            if (region := _led_here_held_there(world, source, target)) is not None:
                world.add_operator(transfer_leader(world, region, target, _called(world, _BALANCE)))
                planned[source] = planned.get(source, 0) - 1
                planned[target] = planned.get(target, 0) + 1
                return True
    return False


def _led_here_held_there(world: World, source: int, target: int) -> Region | None:
    def fits(region: Region) -> bool:
        peer = region.voter_on(target)
        idle = region.id not in world.book.running and not region.in_joint_state
        return peer is not None and idle and not region.unhealthy(peer)

    return next(filter(fits, world.cache.led_by(source)), None)


_ROUNDS: Iterable[tuple[str, Callable[[World], int]]] = (
    (BALANCE_LEADER, _balance_leaders),
    (EVICT_LEADER, _evict_leaders),
    (EVICT_SLOW, _evict_slow),
    (GRANT_LEADER, _grant_leaders),
)
