"""A TiKV cluster as PD shows it: build one, move its time on, do things to it.

Pure and deterministic: time is an argument in seconds since the epoch, all chance comes from the seed. The same calls
at the same times give the same cluster, byte for byte, whatever PYTHONHASHSEED says.

    cluster = Cluster.healthy(stores=5, regions=200, now=1_800_000_000.0, seed=7)
    cluster.set_slow(4, 100)
    cluster.advance(1_800_000_030.0)
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Self

from pdsim import repair, scheduling, tikv
from pdsim.members import Member, Members, Serving
from pdsim.operators import Status
from pdsim.regions import Peer, Region, RegionTable, table_key
from pdsim.schedulers import EVICT_SLOW, EVICT_STOPPING
from pdsim.stores import LIMIT_BY_DEFAULT, Limit, Store
from pdsim.world import Flow, Timing, World

NEVER = float("inf")
TIB = 2**40
GIT_HASH = "a3f1e6c2d4b5978810fe2dcb34a5967b80c1d2e3"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived, and whether it changed the cluster: what checkers judge by."""

    at: float
    method: str
    path: str
    query: str
    body: bytes
    caller_id: str
    status: int | None  # None: the caller got no answer
    applied: bool
    host: str = ""  # which server was asked


@dataclass(slots=True, kw_only=True)
class Cluster(World):
    """A world with a timetable, the controls a scenario pulls, and the record of all calls."""

    calls: list[Call] = field(default_factory=list)
    rate_limits: dict[tuple[str, str], float] = field(default_factory=dict)  # (method, path) -> queries a second
    next_round: float = 0.0
    next_patrol: float = 0.0
    next_node_check: float = 0.0
    next_priority_check: float = 0.0

    @classmethod
    def healthy(
        cls,
        *,
        cluster_id: int = 7168243901123456789,
        stores: int = 5,
        regions: int = 200,
        replicas: int = 3,
        now: float = 1_800_000_000.0,
        seed: int = 0,
        version: str = "v8.5.7",
        members: int = 3,
        timing: Timing | None = None,
        store_host: str = "10.0.4.{store}",
        member_url: str = "http://pd-{member}:2379",
        write_bytes_per_s: float = 200.0,
    ) -> Self:
        """Every store Up, leaders spread evenly, all heartbeats fresh, a little traffic on each region (not hot)."""
        if not 1 <= replicas <= stores:
            raise ValueError(f"replicas={replicas} must be between 1 and stores={stores}")
        chance = random.Random(f"{seed}/build")
        timing = timing or Timing()
        started_at = float(int(now) - 7 * 86_400)
        made = {
            store: _store(store, store_host.format(store=store), version, started_at, now, timing, chance)
            for store in range(1, stores + 1)
        }
        names = [f"pd-{member}" for member in range(members)]
        cluster = cls(
            id=cluster_id,
            seed=seed,
            now=now,
            version=version,
            timing=timing,
            stores=made,
            truth=RegionTable(),
            members=Members(
                [_member(at, name, member_url, version) for at, name in enumerate(names)], names[0], started_at
            ),
            bootstrapped_at=started_at,
            booted_at=started_at,
            next_id=1000,
            next_round=now,
            next_patrol=now,
            next_node_check=now + timing.node_check_s,
            next_priority_check=now + timing.priority_check_s,
        )
        for region in _regions(cluster, stores, regions, replicas):
            cluster.truth.put(region)
            cluster.cache.put(region)
            share = 0.5 + chance.random()
            cluster.flows[region.id] = Flow(
                write_bytes_per_s * share, 2 * share, share, 400 * share, 4 * share, 2 * share
            )
        cluster.config.replication["max-replicas"] = replicas
        for scheduler, since in ((EVICT_SLOW, (8, 1)), (EVICT_STOPPING, (8, 5))):
            if not cluster.since(*since):
                cluster.schedulers.drop(scheduler)
        for store in made.values():
            tikv.store_heartbeat(cluster, store)
            tikv.region_heartbeats(cluster, store)
            phase = chance.random()
            store.next_heartbeat = now + phase * timing.store_heartbeat_s
            store.next_region_heartbeat = now + phase * timing.region_heartbeat_s
        return cluster

    # Time

    def advance(self, now: float) -> None:
        """Move the world to `now` (seconds since the epoch), event by event. An earlier time changes nothing."""
        while (due := self._next_due()) <= now:
            self.now = max(self.now, due)
            self._run_due()
        self.now = max(self.now, now)

    def _next_due(self) -> float:
        due = [self.next_round, self.next_patrol, self.next_node_check, tikv.next_election(self)]
        for store in self.stores.values():
            if store.alive:
                due += (store.next_heartbeat, store.next_region_heartbeat)
        for operator in self.book.running.values():
            due += (operator.due, operator.expires_at)
        due += [straggler[0] for straggler in self.stragglers]
        return min(due)

    def _run_due(self) -> None:
        self._run_heartbeats()
        tikv.elect(self)
        self._run_operators()
        self._run_pd()

    def _run_heartbeats(self) -> None:
        for store in self.stores.values():
            if store.alive and store.next_heartbeat <= self.now:
                tikv.store_heartbeat(self, store)
            if store.alive and store.next_region_heartbeat <= self.now:
                tikv.region_heartbeats(self, store)

    def _run_operators(self) -> None:
        for operator in list(self.book.running.values()):
            if operator.is_over:
                continue
            if operator.expires_at <= self.now:
                self.book.end(operator, Status.TIMEOUT, self.now)
            elif operator.due <= self.now:
                step = operator.steps[operator.current_step]
                operator.due = self.now + self.timing.resend_s
                tikv.carry_out(self, operator.region_id, step)
        if self.stragglers:
            due = [told for told in self.stragglers if told[0] <= self.now]
            self.stragglers = [told for told in self.stragglers if told[0] > self.now]
            for _, region, step in due:
                tikv.carry_out(self, region, step)

    def _run_pd(self) -> None:
        if self.next_round <= self.now:
            busy = scheduling.run_round(self) or any("leader" in op.kinds for op in self.book.running.values())
            self.next_round = self.now + (self.timing.scheduler_round_s if busy else self.timing.scheduler_idle_s)
        if self.next_patrol <= self.now:
            busy = repair.run_patrol(self)
            self.next_patrol = self.now + (self.timing.patrol_s if busy else self.timing.patrol_idle_s)
        if self.next_node_check <= self.now:
            repair.check_nodes(self)
            self.next_node_check = self.now + self.timing.node_check_s
        if self.next_priority_check <= self.now:
            self.next_priority_check = self.now + self.timing.priority_check_s
            if self.members.has_quorum and (preferred := self.members.preferred()):
                self._hand_over(preferred, (Serving.TO_NOT_LEADER, self.now + self.timing.redirect_s))

    def wake(self) -> None:
        """Let PD look again at once instead of at its next idle round: call it after changing what PD decides by."""
        self.next_round = min(self.next_round, self.now + self.timing.scheduler_round_s)
        self.next_patrol = min(self.next_patrol, self.now + self.timing.patrol_s)

    # Controls: what happens to stores

    def set_slow(self, store_id: int, score: int) -> None:
        """The store reports this slow_score (1 healthy to 100) from its next heartbeat on, which comes at once."""
        self.stores[store_id].slow_score = score
        self._report(store_id)

    def set_busy(self, store_id: int, busy: bool = True) -> None:
        self.stores[store_id].is_busy = busy
        self._report(store_id)

    def set_low_space(self, store_id: int, used_ratio: float = 0.9) -> None:
        """Fill the store's disk to this share."""
        store = self.stores[store_id]
        store.used = int(store.capacity * used_ratio)
        self._report(store_id)

    def _report(self, store_id: int) -> None:
        store = self.stores[store_id]
        if store.alive:
            tikv.store_heartbeat(self, store)
            self.wake()

    def kill_store(self, store_id: int) -> None:
        """The process is gone: heartbeats stop now, its regions elect other leaders after the election time-out."""
        store = self.stores[store_id]
        store.alive = False
        store.died_at = self.now

    def revive_store(self, store_id: int) -> None:
        """The process starts again and reports at once. A Tombstone stays one."""
        store = self.stores[store_id]
        store.alive, store.died_at, store.started_at = True, None, self.now
        store.settings.restarted()
        tikv.store_heartbeat(self, store)
        tikv.region_heartbeats(self, store)
        self.wake()

    def make_tombstone(self, store_id: int) -> None:
        """The store has left: its peers are gone to others where there is room, or are dropped."""
        for region in self.truth.held_by(store_id):
            moved = _without_store(self, region, store_id)
            self.truth.put(moved)
            self.cache.put(moved)
        repair.bury(self, self.stores[store_id])

    def set_write_rate(
        self,
        bytes_per_s: float,
        *,
        region_id: int | None = None,
        store_id: int | None = None,
        keys_per_s: float | None = None,
        queries_per_s: float | None = None,
    ) -> None:
        """Client writes: on one region, spread over those that a store leads, or over all. Seen at the next reports."""
        if region_id is not None:
            chosen = [region_id]
        else:
            chosen = [region.id for region in (self.truth.led_by(store_id) if store_id is not None else self.truth)]
        for region in chosen:
            flow = self.flows.setdefault(region, Flow())
            flow.write_bytes = bytes_per_s / len(chosen)
            flow.write_keys = (bytes_per_s / 512 if keys_per_s is None else keys_per_s) / len(chosen)
            flow.write_queries = (bytes_per_s / 2048 if queries_per_s is None else queries_per_s) / len(chosen)

    def set_read_rate(self, bytes_per_s: float, *, region_id: int) -> None:
        flow = self.flows.setdefault(region_id, Flow())
        flow.read_bytes, flow.read_keys, flow.read_queries = bytes_per_s, bytes_per_s / 512, bytes_per_s / 2048

    # Controls: what happens to PD

    def change_pd_leader(self, now: float, to: str | None = None) -> None:
        """Another member leads (warm). In-memory state is lost; a wedged old leader stays stuck until restarted."""
        self.advance(now)
        chosen = self.members.get(to) if to else self.members.next_leader()
        if chosen is None:
            raise ValueError(f"no living member {to or 'but the leader'} to lead")
        if chosen.name == self.members.leader:
            return
        self._hand_over(chosen, (Serving.TO_NOT_LEADER, self.now + self.timing.redirect_s))

    def kill_pd_leader(self, now: float) -> None:
        """kill -9: the others answer "redirect failed" for about 12 s, then one of them leads."""
        self.advance(now)
        self.members.leading.alive = False
        if not self.members.has_quorum:
            self.members.quorum_lost_at = self.now - 5.0
            return
        chosen = self.members.next_leader()
        assert chosen is not None
        self._hand_over(chosen, (Serving.REDIRECT_FAILED, self.now + self.timing.leader_death_s))

    def _hand_over(self, chosen: Member, gap: tuple[Serving, float]) -> None:
        self.members.leader, self.members.gap = chosen.name, gap
        self.members.led_since = gap[1]
        self.members.changes += 1
        self.forget(cold=False)
        self.schedulers.ready_at = gap[1] + self.timing.scheduler_warm_up_s

    def restart_pd(self, now: float, *, down_s: float = 3.0) -> None:
        """All of PD restarts cold: no leaders known, no statistics, no schedulers readable until heartbeats come."""
        self.advance(now)
        for member in self.members.all:
            member.alive, member.wedged = True, False
        self.members.quorum_lost_at = None
        self.members.gap = (Serving.NOT_STARTED, self.now + down_s)
        self.members.led_since = self.now + down_s
        self.members.changes += 1
        self.forget(cold=True)
        self.schedulers.ready_at = self.now + down_s + self.timing.scheduler_warm_up_s

    def restart_member(self, name: str) -> None:
        """One PD process restarts: unwedged, alive. If it led, another leads."""
        member = self.members.get(name)
        if member is None:
            raise ValueError(f"no PD member {name}")
        if name == self.members.leader and self.members.next_leader() is not None:
            self.change_pd_leader(self.now)
        member.alive, member.wedged = True, False
        self._judge_quorum()

    def lose_member(self, name: str) -> None:
        """One PD process dies. Without a majority the leader answers for 5 s more, then 503."""
        member = self.members.get(name)
        if member is None:
            raise ValueError(f"no PD member {name}")
        if name == self.members.leader:
            self.kill_pd_leader(self.now)
            return
        member.alive = False
        self._judge_quorum()

    def _judge_quorum(self) -> None:
        if self.members.has_quorum:
            self.members.quorum_lost_at = None
        elif self.members.quorum_lost_at is None:
            self.members.quorum_lost_at = self.now

    def freeze_regions(self) -> None:
        """What GET /regions/store/{id}?type=foo does: the leader's region lock is held for good."""
        self.members.leading.wedged = True


def _member(at: int, name: str, url: str, version: str) -> Member:
    client = url.format(member=at)
    return Member(name, 3474484975246189100 + at, client, client.replace(":2379", ":2380"), version)


def _store(
    store: int, host: str, version: str, started_at: float, now: float, timing: Timing, chance: random.Random
) -> Store:
    used = int((0.42 + 0.06 * chance.random()) * TIB)
    return Store(
        id=store,
        address=f"{host}:20160",
        status_address=f"{host}:20180",
        version=version.removeprefix("v"),
        labels={"zone": f"z{(store - 1) % 3 + 1}", "host": f"tikv-{store}"},
        capacity=int(1.819 * TIB),
        used=used,
        heard_used=used,
        started_at=started_at,
        deploy_path="/opt/tikv/bin",
        git_hash=GIT_HASH,
        limits={
            "add-peer": Limit(LIMIT_BY_DEFAULT, filled_at=now),
            "remove-peer": Limit(LIMIT_BY_DEFAULT, filled_at=now),
        },
        saved_heartbeat=now - 120.0 - 60.0 * chance.random(),
    )


def _regions(world: World, stores: int, count: int, replicas: int) -> list[Region]:
    """Regions in key order over the whole key space, leaders round robin, replicas on the stores that follow."""
    edges = ["", *(table_key(48 + 2 * at) for at in range(1, count)), ""]
    made = []
    for at in range(count):
        leader = at % stores + 1
        skip = 1 + (at // stores) % max(1, stores - 1)
        followers = [(leader - 1 + skip + step) % stores + 1 for step in range(stores)]
        placed = [leader, *[store for store in followers if store != leader][: replicas - 1]]
        region_id = world.new_id()
        peers = tuple(Peer(world.new_id(), store) for store in placed)
        made.append(Region(region_id, edges[at], edges[at + 1], 2 * replicas - 1, count // 4 + 1, peers, leader))
    return made


def _without_store(world: World, region: Region, store_id: int) -> Region:
    """The region with the store's peer moved to the emptiest other store, its leader included."""
    free = [store for store in world.stores.values() if store.alive and region.peer_on(store.id) is None]
    if free:
        best = min(free, key=lambda store: (world.truth.region_count(store.id), store.id))
        region = region.with_peer(Peer(world.new_id(), best.id), conf_ver_by=1)
    region = region.without_store(store_id)
    if region.leader == store_id and region.peers:
        heir = min((peer.store_id for peer in region.peers), key=lambda store: (world.truth.leader_count(store), store))
        region = replace(region, leader=heir)
    return region
