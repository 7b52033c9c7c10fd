"""The state of one simulated cluster, TiKV's truth and PD's view of it apart, and the one way news passes between them.

`truth` is what the stores know. `cache` is what PD has heard; everything PD answers or decides comes from there. A
frozen PD leader stops hearing, a new one has forgotten: that is where the dangerous hours of a real cluster come from.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pdsim.config import Config
from pdsim.members import Members, Serving
from pdsim.operators import AddLearner, Book, EnterJoint, LeaveJoint, MergeRegion, Operator, Status, Step
from pdsim.regions import Region, RegionTable
from pdsim.schedulers import Schedulers
from pdsim.stores import State, Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How fast the simulated world goes, in seconds. Defaults are a real cluster's."""

    store_heartbeat_s: float = 10.0
    region_heartbeat_s: float = 60.0
    scheduler_round_s: float = 0.05
    scheduler_idle_s: float = 5.0
    patrol_s: float = 0.1
    patrol_idle_s: float = 1.0
    node_check_s: float = 5.0
    leader_step_s: float = 0.06
    conf_step_s: float = 0.05
    learner_step_s: float = 1.0
    election_s: float = 15.0
    peer_down_s: float = 600.0
    straggler_s: float = 20.0
    resend_s: float = 5.0
    scheduler_warm_up_s: float = 0.5
    """After a PD leader change schedulers read 404 for so long, then are back (tikv/pd#4707)."""
    priority_check_s: float = 60.0
    redirect_s: float = 0.1
    leader_death_s: float = 12.3
    """After kill -9 of the PD leader the others answer "redirect failed" for so long."""


@dataclass(slots=True)
class Flow:
    """What clients do to one region, per second."""

    write_bytes: float = 0.0
    write_keys: float = 0.0
    write_queries: float = 0.0
    read_bytes: float = 0.0
    read_keys: float = 0.0
    read_queries: float = 0.0


@dataclass(slots=True)
class Hot:
    """Consecutive hits and when they were last counted."""

    degree: int
    updated_at: float


@dataclass(slots=True)
class Removal:
    """Progress of one Offline store: memory of the PD leader."""

    regions_before: int
    since: float
    old_limits: dict[str, float]


@dataclass(slots=True, kw_only=True)
class World:
    """Everything there is. Plain state and elementary moves; what happens when is decided above."""

    id: int
    seed: int
    now: float
    version: str
    timing: Timing
    stores: dict[int, Store]
    truth: RegionTable
    members: Members
    bootstrapped: bool = True
    bootstrapped_at: float
    booted_at: float
    next_id: int
    cache: RegionTable = field(default_factory=RegionTable)
    config: Config = field(default_factory=Config)
    schedulers: Schedulers = field(default_factory=Schedulers)
    book: Book = field(default_factory=Book)
    flows: dict[int, Flow] = field(default_factory=dict)
    hot_writes: dict[int, Hot] = field(default_factory=dict)
    hot_reads: dict[int, Hot] = field(default_factory=dict)
    removals: dict[int, Removal] = field(default_factory=dict)
    stragglers: list[tuple[float, int, Step]] = field(default_factory=list)
    """Steps that stores were told by an operator that is gone: (when applied, region, step)."""
    removed_stores: set[int] = field(default_factory=set)
    split_at: dict[int, float] = field(default_factory=dict)
    """When PD saw regions split, or began to lead: before split-merge-interval has passed it merges none of them."""
    shuffles: int = 0
    loads_regions: bool = False
    """A PD that restarted cold schedules nothing until it has heard of four fifths of the regions' leaders."""

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    # Which PD it is

    def since(self, major: int, minor: int) -> bool:
        """Is PD of this version or a later one?"""
        numbers = self.version.removeprefix("v").split(".")
        return (int(numbers[0]), int(numbers[1])) >= (major, minor)

    def coded(self, code: str, text: str) -> str:
        """An error about an operator or its region: before 7.5 without a code."""
        return f"[{code}]{text}" if self.since(7, 5) else text

    # What PD can do now

    @property
    def pd_serves(self) -> bool:
        return self.members.serving(self.now) is Serving.YES

    @property
    def pd_hears_regions(self) -> bool:
        return self.pd_serves and not self.members.leading.wedged

    @property
    def schedulers_ready(self) -> bool:
        """Can the schedulers be read, and do they run?"""
        if self.now < self.schedulers.ready_at:
            return False
        return not self.loads_regions or self.cache.leaderless_count() * 5 <= len(self.cache)

    @property
    def schedules(self) -> bool:
        """Does PD make operators by itself?"""
        return self.schedulers_ready and self.pd_hears_regions and not self.config.halt_scheduling

    @property
    def max_down_s(self) -> float:
        return self.config.duration_s("max-store-down-time")

    def shuffled(self, items: list[T]) -> list[T]:
        """Go's map order: another one each call, the same for the same seed and history."""
        self.shuffles += 1
        mixed = list(items)
        random.Random(f"{self.seed}/{self.shuffles}").shuffle(mixed)
        return mixed

    # What PD thinks of stores

    def may_take_leader(self, store_id: int) -> bool:
        """PD's filter for a leader's target, except the placement rule."""
        store = self.stores.get(store_id)
        if store is None or store.state is not State.Up or store.is_disconnected(self.now) or store.is_busy:
            return False
        return not self.schedulers.bars(store_id)

    def leader_score(self, store: Store) -> float:
        return self.cache.leader_count(store.id) / max(store.leader_weight, 1e-6)

    def may_take_peer(self, store: Store) -> bool:
        """The checkers' filter for a new replica; an admin's own calls are judged more mildly."""
        if store.state is not State.Up or store.is_disconnected(self.now) or store.is_busy:
            return False
        return not store.is_low_space(self.config.low_space_ratio)

    # News

    def hear(self, region: Region) -> None:
        """A region heartbeat reaches PD, if PD listens."""
        if not self.pd_hears_regions:
            return
        self.cache.put(region)
        if (operator := self.book.running.get(region.id)) is not None:
            self._follow(operator, region)

    def _follow(self, operator: Operator, region: Region) -> None:
        """Move the operator over the steps that the region shows as done."""
        moved = False
        while operator.current_step < len(operator.steps) and operator.steps[operator.current_step].done(region):
            operator.current_step += 1
            moved = True
        if operator.current_step == len(operator.steps):
            self.book.end(operator, Status.SUCCESS, self.now)
        elif moved:
            self.tell(operator)

    def hear_vanished(self, region_id: int) -> None:
        """A region merged away. Its operator ends CANCEL: PD knows of no success without the region."""
        self.cache.remove(region_id)
        self.split_at.pop(region_id, None)
        if (operator := self.book.running.get(region_id)) is not None:
            self.book.end(operator, Status.CANCEL, self.now)

    def tell(self, operator: Operator) -> None:
        """PD sends the current step to the region's leader; it will be applied at `due`."""
        step = operator.steps[operator.current_step]
        if isinstance(step, AddLearner):
            took = self.timing.learner_step_s * max(operator.size, 1) / 96.0
        elif isinstance(step, MergeRegion):
            took = self.timing.leader_step_s if not step.passive else float("inf")
        elif isinstance(step, EnterJoint | LeaveJoint):
            took = self.timing.conf_step_s
        else:
            took = self.timing.leader_step_s
        operator.due = self.now + took

    def add_operator(self, operator: Operator) -> bool:
        """Take it into the book and tell the store. False: the region has one of equal or higher priority."""
        if not self.book.add(operator, self.now):
            return False
        self.tell(operator)
        return True

    def cancel(self, operator: Operator) -> None:
        """End it, and with a merge its other half. What the store was already told may still be done: a learner may
        appear well after."""
        step = operator.steps[operator.current_step] if operator.current_step < len(operator.steps) else None
        if isinstance(step, AddLearner):
            self.stragglers.append((self.now + self.timing.straggler_s, operator.region_id, step))
        elif step is not None and operator.due < float("inf"):
            self.stragglers.append((operator.due, operator.region_id, step))
        self.book.end(operator, Status.CANCEL, self.now)
        if operator.steps and isinstance(merge := operator.steps[-1], MergeRegion):
            other = self.book.running.get(merge.source if merge.passive else merge.target)
            if other is not None and isinstance(other.steps[-1], MergeRegion):
                self.book.end(other, Status.CANCEL, self.now)

    def forget(self, *, cold: bool) -> None:
        """What a PD leader change loses; `cold` is a restart, which loses the statistics and every leader too."""
        for operator in self.book.running.values():
            if operator.due < float("inf"):
                self.stragglers.append((operator.due, operator.region_id, operator.steps[operator.current_step]))
        self.book = Book()
        self.hot_writes.clear()
        self.hot_reads.clear()
        self.removals.clear()
        self.split_at = dict.fromkeys(self.split_at, self.now)
        self.schedulers.forget(self.now + self.timing.scheduler_warm_up_s)
        for store in self.stores.values():
            store.last_heartbeat = store.saved_heartbeat
        if cold:
            self.loads_regions = True
            self.booted_at = self.now
            for store in self.stores.values():
                store.stats_known = False
            for region in list(self.cache):
                self.cache.put(without_reports(region))


def without_reports(region: Region) -> Region:
    """A region as PD reads it back from disk: no leader, no peers' health, no flow."""
    return replace(
        region,
        leader=None,
        down=(),
        pending=(),
        written_bytes=0,
        read_bytes=0,
        written_keys=0,
        read_keys=0,
        cpu_usage=0,
    )
