"""What PD's schedulers and checkers remember: who exists, who is paused, which stores are evicted or barred."""

from __future__ import annotations

from dataclasses import dataclass, field

EVICT_LEADER = "evict-leader-scheduler"
EVICT_SLOW = "evict-slow-store-scheduler"
EVICT_STOPPING = "evict-stopping-store-scheduler"
GRANT_LEADER = "grant-leader-scheduler"
BALANCE_LEADER = "balance-leader-scheduler"
DEFAULTS = (
    BALANCE_LEADER,
    "balance-region-scheduler",
    "balance-hot-region-scheduler",
    EVICT_SLOW,
    EVICT_STOPPING,
)
WITHOUT_ARGUMENTS = (
    *DEFAULTS,
    "random-merge-scheduler",
    "shuffle-leader-scheduler",
    "shuffle-region-scheduler",
    "label-scheduler",
    "evict-slow-trend-scheduler",
)
CHECKERS = ("learner", "replica", "rule", "split", "merge", "joint-state", "affinity")
BATCH_MAX = 10


@dataclass(slots=True)
class Schedulers:
    """Existence, eviction lists and batches are persisted; pauses are memory of the PD leader alone."""

    names: dict[str, None] = field(default_factory=lambda: dict.fromkeys(DEFAULTS))
    evicted: dict[int, None] = field(default_factory=dict)  # evict-leader's list
    granted: dict[int, None] = field(default_factory=dict)  # grant-leader's list
    batch: int = 3
    slow_evicted: dict[int, float] = field(default_factory=dict)  # store -> since when
    slow_batch: int = 3
    slow_recovery_s: int = 1800
    unbarred: dict[int, None] = field(default_factory=dict)
    """Evicted stores whose bar as a leader target was lifted by a refused batch: the fight with balance-leader."""
    paused: dict[str, tuple[float, float]] = field(default_factory=dict)  # name -> (since, until)
    checkers_paused: dict[str, float] = field(default_factory=dict)  # name -> until
    ready_at: float = 0.0
    """Before this nothing of the schedulers can be read (tikv/pd#4707), though all of it is persisted."""

    def bars(self, store_id: int) -> bool:
        """Is the store refused as a target of leaders?"""
        return (store_id in self.evicted and store_id not in self.unbarred) or store_id in self.slow_evicted

    def is_paused(self, name: str, now: float) -> bool:
        pause = self.paused.get(name)
        return pause is not None and now < pause[1]

    def checker_is_paused(self, name: str, now: float) -> bool:
        return now < self.checkers_paused.get(name, 0.0)

    def evict(self, store_id: int) -> None:
        """Put a store on evict-leader's list. One that is there already stays as it is, lifted bar and all."""
        if store_id not in self.evicted:
            self.evicted[store_id] = None
            self.unbarred.pop(store_id, None)
        self.names[EVICT_LEADER] = None

    def forgive(self, store_id: int) -> bool:
        """Take a store off the list; the scheduler goes with its last store. False when it was not there."""
        if store_id not in self.evicted:
            return False
        del self.evicted[store_id]
        self.unbarred.pop(store_id, None)
        if not self.evicted:
            self.drop(EVICT_LEADER)
        return True

    def drop(self, name: str) -> None:
        self.names.pop(name, None)
        self.paused.pop(name, None)
        if name == EVICT_LEADER:
            self.evicted.clear()
            self.unbarred.clear()
            self.batch = 3
        elif name == GRANT_LEADER:
            self.granted.clear()
        elif name == EVICT_SLOW:
            self.slow_evicted.clear()

    def forget(self, ready_at: float) -> None:
        """A new PD leader knows only what was persisted; loading it also bars the evicted stores again."""
        self.paused.clear()
        self.checkers_paused.clear()
        self.unbarred.clear()
        self.ready_at = ready_at
