"""Operators: PD's tasks on one region, their steps, and the book of running and ended ones (all in memory only)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from pdsim import go
from pdsim.regions import Peer, Region, Role

KEPT_S = 600.0
KIND_BITS = {
    "admin": 1,
    "affinity": 2,
    "merge": 4,
    "range": 8,
    "replica": 16,
    "split": 32,
    "hot-region": 64,
    "region": 128,
    "leader": 256,
}


class Status(IntEnum):
    """Numbers of ?object; RUNNING is not among them: created and started both read RUNNING in the string form."""

    CREATED = 0
    STARTED = 1
    SUCCESS = 2
    CANCEL = 3
    REPLACE = 4
    EXPIRED = 5
    TIMEOUT = 6


class Priority(IntEnum):
    """An operator gives way only to a higher one."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    URGENT = 3


@dataclass(frozen=True, slots=True)
class TransferLeader:
    """Move the leader between two stores that hold a voter."""

    from_store: int
    to_store: int

    def __str__(self) -> str:
        return f"transfer leader from store {self.from_store} to store {self.to_store}"

    def done(self, region: Region) -> bool:
        return region.leader == self.to_store


@dataclass(frozen=True, slots=True)
class AddLearner:
    """Add a learner and wait until it has caught up."""

    store: int
    peer: int

    def __str__(self) -> str:
        return f"add learner peer {self.peer} on store {self.store}"

    def done(self, region: Region) -> bool:
        peer = region.peer_on(self.store)
        return peer is not None and peer.id == self.peer and peer.id not in region.pending


@dataclass(frozen=True, slots=True)
class PromoteLearner:
    """Make a learner a voter, without a joint state."""

    store: int
    peer: int

    def __str__(self) -> str:
        return f"promote learner peer {self.peer} on store {self.store} to voter"

    def done(self, region: Region) -> bool:
        peer = region.peer_on(self.store)
        return peer is not None and peer.role is Role.Voter


@dataclass(frozen=True, slots=True)
class _Joint:
    promote: tuple[Peer, ...]
    demote: tuple[Peer, ...]

    def _changes(self) -> str:
        promoted = (f", promote learner peer {peer.id} on store {peer.store_id} to voter" for peer in self.promote)
        demoted = (f", demote voter peer {peer.id} on store {peer.store_id} to learner" for peer in self.demote)
        return "".join((*promoted, *demoted))


@dataclass(frozen=True, slots=True)
class EnterJoint(_Joint):
    """Enter the joint configuration: both the old and the new majority must agree."""

    def __str__(self) -> str:
        return "use joint consensus" + self._changes()

    def done(self, region: Region) -> bool:
        return region.in_joint_state


@dataclass(frozen=True, slots=True)
class LeaveJoint(_Joint):
    """Leave it: incoming voters are voters, demoted ones learners."""

    def __str__(self) -> str:
        return "leave joint state" + self._changes()

    def done(self, region: Region) -> bool:
        return not region.in_joint_state


@dataclass(frozen=True, slots=True)
class RemovePeer:
    """Drop the peer of one store."""

    store: int

    def __str__(self) -> str:
        return f"remove peer on store {self.store}"

    def done(self, region: Region) -> bool:
        return region.peer_on(self.store) is None


@dataclass(frozen=True, slots=True)
class SplitRegion:
    """Split at keys (hex) or, without keys, in the middle; `version` is the one before."""

    policy: str
    keys: tuple[str, ...]
    version: int

    def __str__(self) -> str:
        return f"split region with policy {self.policy.upper()}"

    def done(self, region: Region) -> bool:
        return region.version > self.version


@dataclass(frozen=True, slots=True)
class MergeRegion:
    """Merge `source` into `target`. The source's own record ends CANCEL: PD sees that region vanish."""

    source: int
    target: int
    passive: bool
    target_version: int

    def __str__(self) -> str:
        return f"merge region {self.source} into region {self.target}"

    def done(self, region: Region) -> bool:
        return self.passive and region.version > self.target_version


Step: TypeAlias = (
    TransferLeader | AddLearner | PromoteLearner | EnterJoint | LeaveJoint | RemovePeer | SplitRegion | MergeRegion
)


def limit_s(step: Step, size: int) -> float:
    """How long PD waits for one step on a region of `size` MiB; an operator gets the sum over its steps."""
    fast_s, slow_s = max(60.0, float(int(0.6 * size))), max(600.0, 6.0 * size)
    match step:
        case AddLearner():
            return slow_s
        case EnterJoint() | LeaveJoint():
            return fast_s * (len(step.promote) + len(step.demote) + 1)
        case MergeRegion():
            return fast_s * 10
        case _:
            return fast_s


@dataclass(slots=True, eq=False)
class Operator:
    """One task. `status` moves once from STARTED to an end; times in seconds since the epoch."""

    desc: str
    brief: str
    region_id: int
    version: int
    conf_ver: int
    kinds: tuple[str, ...]
    priority: Priority
    steps: tuple[Step, ...]
    size: int
    timeout_s: float
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    current_step: int = 0
    status: Status = Status.CREATED
    due: float = 0.0  # when the store will have applied the step it was told

    @property
    def expires_at(self) -> float:
        return (self.started_at or self.created_at) + self.timeout_s

    @property
    def is_over(self) -> bool:
        return self.status >= Status.SUCCESS

    @property
    def state_word(self) -> str:
        return self.status.name if self.is_over else "RUNNING"

    def text(self, booted_at: float) -> str:
        """PD's string form; `booted_at` is where Go's monotonic clock began."""
        steps = ", ".join(f"{at}:{{{step}}}" for at, step in enumerate(self.steps))
        text = (
            f"{self.desc} {{{self.brief}}} (kind:{','.join(self.kinds)}, region:{self.region_id}({self.version}, "
            f"{self.conf_ver}), createAt:{go.time_string(self.created_at, booted_at)}, "
            f"startAt:{go.time_string(self.started_at, booted_at)}, currentStep:{self.current_step}, size:{self.size}, "
            f"steps:[{steps}], timeout:[{go.duration(self.timeout_s)}])"
        )
        if self.status is Status.SUCCESS:
            text += " finished"
        return text + " timeout" if self.status is Status.TIMEOUT else text

    def record_text(self, booted_at: float) -> str:
        finished = self.finished_at or self.created_at
        took = go.duration(finished - self.started_at) if self.started_at else "0s"
        return f"{self.text(booted_at)} (finishAt:{go.time_string(finished, booted_at)}, duration:{took})"

    def view(self) -> dict[str, object]:
        """The ?object form."""
        return {
            "desc": self.desc,
            "brief": self.brief,
            "region_id": self.region_id,
            "region_epoch": {"conf_ver": self.conf_ver, "version": self.version},
            "kind": sum(KIND_BITS[kind] for kind in self.kinds),
            "timeout": go.duration(self.timeout_s),
            "status": int(self.status),
        }


@dataclass(slots=True)
class Book:
    """Running operators by region and the records of ended ones. A PD leader change empties it."""

    running: dict[int, Operator] = field(default_factory=dict)
    records: list[Operator] = field(default_factory=list)

    def accepts(self, operator: Operator) -> bool:
        """An admin operator takes the place of a weaker one only; evict-leader's are equally urgent."""
        other = self.running.get(operator.region_id)
        return other is None or operator.priority > other.priority

    def add(self, operator: Operator, now: float) -> bool:
        """Start the operator, ending a weaker one. A refused one leaves a record that never started."""
        if not self.accepts(operator):
            operator.status, operator.finished_at = Status.CANCEL, now
            self.records.append(operator)
            return False
        if (other := self.running.get(operator.region_id)) is not None:
            self.end(other, Status.REPLACE, now)
        operator.status, operator.started_at = Status.STARTED, now
        self.running[operator.region_id] = operator
        return True

    def end(self, operator: Operator, status: Status, now: float) -> None:
        operator.status, operator.finished_at = status, now
        if self.running.get(operator.region_id) is operator:
            del self.running[operator.region_id]
        self.records.append(operator)

    def latest(self, region_id: int, now: float) -> Operator | None:
        """The newest operator of the region, whoever made it: the record trap."""
        if (operator := self.running.get(region_id)) is not None:
            return operator
        return next((done for done in reversed(self.kept(now)) if done.region_id == region_id), None)

    def kept(self, now: float) -> list[Operator]:
        """The records of the last ten minutes; older ones are dropped for good."""
        self.records = [done for done in self.records if now - (done.finished_at or 0.0) <= KEPT_S]
        return self.records

    def count(self, matches: Callable[[Operator], bool]) -> int:
        return sum(1 for operator in self.running.values() if matches(operator))
