"""Empty one store of leaders for a while: it keeps its data, and serves no client until we take the eviction back."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from pydantic import Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, no, wait
from schemas.events import Finding
from schemas.facts import Facts, StoreFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId

RETRY_S = 300


class EvictStoreLeaders(Action):
    """Move every Raft leader off one store, keep them off for `keep_s` seconds, then let PD bring them back.

    For a store that answers slowly but is alive: a stalling disk, a starved CPU, a bad network card. Its replicas
    stay and go on following, so no data is copied and nothing is lost; the other stores carry its clients meanwhile.

    What clients notice: one retry for each region, some milliseconds each, over the first seconds to minutes. After
    that they are faster than before if the store was the cause; the other stores are busier by its share.

    It never expires inside PD: a forgotten eviction unbalances a cluster for good. So its removal is on record before
    it is made, is done by us when the time is over, whatever happened in between, and is watched for coming back.

    It does not repair the store. Within `keep_s` somebody should look at its disk. Do not use it on a store that is
    down (its leaders have moved by themselves), or where another store is already in trouble.
    """

    name = "evict_store_leaders"
    version = 1
    risk = "MEDIUM"
    undo = Undo.TEMPORARY
    may_call = frozenset({"add_evict_leader", "remove_evict_leader"})
    clients_notice = "one retry a region, some milliseconds each; the other stores carry its load meanwhile"

    store_id: StoreId = Field(description="The store to empty of leaders, as PD numbers it.")
    keep_s: int = Field(900, ge=60, le=3600, description="For how long leaders are kept off it, in seconds.")

    def title(self) -> str:
        return f"Evict leaders from store {self.store_id} for {_duration(self.keep_s)}"

    def entities(self) -> tuple[str, ...]:
        return (f"store:{self.store_id}",)

    def takes_out(self) -> frozenset[int]:
        return frozenset({self.store_id})

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        store = facts.store(self.store_id)
        evicting = self.store_id in facts.evicting or self.store_id in facts.slow_evicting
        return (
            Premise(name=f"store:{self.store_id}.address", value=store.address if store else "unknown"),
            Premise(name=f"store:{self.store_id}.state", value=store.state if store else "unknown"),
            Premise(name=f"store:{self.store_id}.evicting", value="yes" if evicting else "no"),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        store = facts.store(self.store_id)
        if store is None:
            yield no("no_such_store", f"PD knows no store {self.store_id}")
            return
        if store.state != "Up":
            yield no("target_not_up", f"store {store.id} is {store.state}: its leaders move by themselves")
        if store.id in facts.evicting:
            yield no("already_evicting", f"somebody evicts store {store.id} already: our undo would end theirs")
        if store.id in facts.slow_evicting:
            yield no("slow_evicted", f"PD's evict-slow-store-scheduler has store {store.id} already")
        heirs = self._heirs(facts)
        if facts.max_replicas < 2 or len(heirs) < facts.max_replicas - 1:
            ids = ", ".join(str(s.id) for s in heirs) or "none"
            yield no(
                "nowhere_to_go", f"too few stores could lead instead ({ids}; {facts.max_replicas} replicas a region)"
            )
        heir_ids = frozenset(s.id for s in heirs)
        stuck = [r.id for r in facts.troubled if r.leader_store_id == store.id and not r.healthy_followers(heir_ids)]
        if stuck:
            yield no("leaders_stuck", f"no healthy follower could lead {_some(stuck)}")
        if store.leader_count <= 0:
            yield no("no_leaders", f"store {store.id} leads nothing")
        if facts.leader_schedule_limit <= 0:
            yield no("leader_scheduling_off", "leader-schedule-limit is 0: PD would not move a single leader")
        yield from self._too_much(store, heirs, facts, limits)

    def _too_much(
        self, store: StoreFacts, heirs: tuple[StoreFacts, ...], facts: Facts, limits: Limits
    ) -> Iterator[Objection]:
        """Comparisons are written so that what is not a number objects."""
        share, share_max = self.reach(facts).leaders_share, limits.policy.leaders_share_max
        if not share <= share_max:
            yield no("too_many_leaders", f"store {store.id} leads {share:.0%} of all regions, at most {share_max:.0%}")
        limit = limits.policy.leader_move_bytes_per_s_max
        if not store.written_bytes_per_s <= limit:
            yield wait(
                "writes_too_high",
                f"store {store.id} takes {store.written_bytes_per_s / 1e6:.1f} MB/s of writes, at most {limit / 1e6:g}",
                limits.now_ms + RETRY_S * 1000,
            )
        cramped = [s.id for s in heirs if s.has_low_space(facts.low_space_ratio)]
        if cramped and len(heirs) - len(cramped) < facts.max_replicas - 1:
            yield no("heirs_low_on_space", f"stores {cramped} are low on space")

    def _heirs(self, facts: Facts) -> tuple[StoreFacts, ...]:
        """Stores that could take leaders now."""
        barred = {self.store_id, *facts.evicting, *facts.slow_evicting}
        return tuple(
            s
            for s in facts.stores
            if s.state == "Up" and s.id not in barred and not s.is_strained() and not s.is_tiflash()
        )

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        return (
            Change(
                do=calls.add_evict_leader(self.store_id),
                undo=calls.remove_evict_leader(self.store_id),
                keep_s=self.keep_s,
            ),
        )

    def reach(self, facts: Facts) -> Reach:
        store = facts.store(self.store_id)
        leaders, total = store.leader_count if store else 0, facts.leaders_total()
        share = leaders / total if total > 0 else float(leaders > 0)
        return Reach(stores=1, regions=leaders, leaders=leaders, leaders_share=share)

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more, and 16, than it leads now: balancing moves a few at any moment."""
        most = ceil(self.reach(facts).leaders * 1.25) + 16
        return Bounds(stores_max=1, regions_max=most, leaders_max=most)

    def figures(self, facts: Facts) -> dict[str, float]:
        store = facts.store(self.store_id)
        own = {"evicting": float(self.store_id in facts.evicting)}
        if store is not None:
            own |= {"leaders": float(store.leader_count), "slow_score": float(store.slow_score)}
        return health(facts) | own

    def is_done(self, facts: Facts) -> bool:
        """No leader left. A restarted PD counts 0 for a while: that is not done."""
        store = facts.store(self.store_id)
        return is_settled(facts) and store is not None and store.leader_count == 0 and store.id in facts.evicting

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "leaders") == 0

    @classmethod
    def left_over(cls, facts: Facts) -> tuple[str, ...]:
        return tuple(f"leaders are kept off store {s} (evict-leader-scheduler-{s})" for s in facts.evicting)

    def probe(self, call: Call, now: Facts) -> Finding:
        present = self.store_id in now.evicting
        if call == calls.add_evict_leader(self.store_id):
            if present:  # by premise nobody evicted this store before
                return "applied"
            return "not_started" if is_settled(now) else "cant_tell"
        if call == calls.remove_evict_leader(self.store_id):
            if present:
                return "not_started"
            return "applied" if is_settled(now) else "cant_tell"
        return "cant_tell"


def _duration(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def _some(regions: list[int]) -> str:
    more = f" and {len(regions) - 5} more" if len(regions) > 5 else ""
    return f"region {', '.join(map(str, regions[:5]))}{more}"
