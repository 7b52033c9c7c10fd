"""The transaction coordinator: who may write under an id, what is open, and markers that are owed.

A commit is acknowledged when it is prepared. Its markers are written afterwards, partition by partition: until then the
transaction is still open to readers, its offsets are pending, and its id can begin nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tests.simulation.errors import Fenced, NotYet
from tests.simulation.groups import Group, GroupMetadata
from tests.simulation.partitions import Partition, Place


class Identity(NamedTuple):
    """What `init` gives a producer: its id, and which of its holders it is."""

    transactional_id: str
    epoch: int


@dataclass(slots=True)
class Transaction:
    """All that the coordinator knows of one transactional id."""

    timeout_ms: int
    epoch: int = -1
    state: Literal["none", "ongoing", "prepared"] = "none"
    commits: bool = False  # how the last one ends, or ended
    ended: bool = False  # the last one of this epoch was ended by its producer: it may say so again
    since_ms: int = 0
    partitions: dict[Place, Partition] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)


class Marker(NamedTuple):
    """Owed to a partition or a group. `order` settles which of two that are due comes first."""

    due_ms: int
    order: int
    transactional_id: str
    target: Partition | Group


MarkersTake = Callable[[str, str, int], int]


def at_once(transactional_id: str, topic: str, partition: int) -> int:
    return 0


@dataclass(slots=True)
class Coordinator:
    """`markers_take`: how many ms after a transaction was prepared its marker is written, asked for each partition (and
    for each group, as topic `GROUP_OFFSETS` and partition 0)."""

    markers_take: MarkersTake = at_once
    late_ms: int = 0
    known: dict[str, Transaction] = field(default_factory=dict)
    owed: list[Marker] = field(default_factory=list)
    _ongoing: dict[str, Transaction] = field(default_factory=dict)
    _ordered: int = 0

    def init(self, transactional_id: str, timeout_ms: int, now_ms: int) -> Identity:
        """Shuts every predecessor out. What one has open is aborted first, what one has prepared is completed: NotYet
        until that is done."""
        known = self.known.get(transactional_id)
        if known is None:
            known = self.known[transactional_id] = Transaction(timeout_ms)
        if known.state == "ongoing":
            self._give_up(transactional_id, known, now_ms)
        if known.state == "prepared":
            raise NotYet("the predecessor's transaction is being completed")
        known.epoch, known.timeout_ms, known.ended = known.epoch + 1, timeout_ms, False
        return Identity(transactional_id, known.epoch)

    def add(self, who: Identity, target: Partition | Group, now_ms: int) -> None:
        """The partition's, or the group's offsets', part in who's transaction begins."""
        known = self._checked(who)
        if known.state == "prepared":
            raise NotYet("the transaction before this one is being completed")
        if known.state == "none":
            known.state, known.since_ms, known.ended = "ongoing", now_ms, False
            self._ongoing[who.transactional_id] = known
        if isinstance(target, Partition):
            known.partitions[target.topic, target.number] = target
        else:
            known.groups[target.name] = target

    def check(self, who: Identity) -> None:
        """Raises Fenced where who has been replaced, or was given up for its time-out."""
        self._checked(who)

    def send_offsets(
        self, who: Identity, group: Group, offsets: dict[Place, int], metadata: GroupMetadata, order: int
    ) -> None:
        self._checked(who)
        group.check(metadata, transactional=True)
        group.hold(who.transactional_id, offsets, order)

    def end(self, who: Identity, commits: bool, now_ms: int) -> None:
        """Returns when it is prepared. Who says it again hears NotYet until it is completed."""
        known = self._checked(who)
        if known.state == "ongoing":
            known.ended = True
            self._prepare(who.transactional_id, known, commits, now_ms)
        elif known.state == "none" and not known.ended and not commits:
            return  # what would have begun it never arrived
        elif not (known.ended and known.commits == commits):
            raise Fenced("there is no such transaction")
        elif known.state == "prepared":
            raise NotYet("it is being completed")

    # time

    def advance(self, now_ms: int) -> None:
        """Write the markers that are due, and abort what has been open for longer than its time-out."""
        if any(now_ms - known.since_ms >= known.timeout_ms + self.late_ms for known in self._ongoing.values()):
            for transactional_id, known in self.known.items():
                if known.state == "ongoing" and now_ms - known.since_ms >= known.timeout_ms + self.late_ms:
                    self._give_up(transactional_id, known, now_ms)
        if self.owed and any(marker.due_ms <= now_ms for marker in self.owed):
            self.settle(lambda marker: marker.due_ms <= now_ms)

    def next_due_ms(self) -> int | None:
        """When time alone would bring something about, as things are."""
        if not self._ongoing and not self.owed:
            return None
        open_ones = [known.since_ms + known.timeout_ms + self.late_ms for known in self._ongoing.values()]
        return min(open_ones + [marker.due_ms for marker in self.owed])

    def settle(self, which: Callable[[Marker], bool] = lambda marker: True) -> None:
        """Write the markers of which it is true now, whenever they are due."""
        chosen = sorted(marker for marker in self.owed if which(marker))
        self.owed = [marker for marker in self.owed if not which(marker)]
        for marker in chosen:
            marker.target.mark(marker.transactional_id, self.known[marker.transactional_id].commits)
        still = {marker.transactional_id for marker in self.owed}
        for marker in chosen:
            if marker.transactional_id not in still:
                known = self.known[marker.transactional_id]
                known.state = "none"

    # inside

    def _checked(self, who: Identity) -> Transaction:
        known = self.known[who.transactional_id]
        if who.epoch != known.epoch:
            raise Fenced(f"{who.transactional_id}: epoch {who.epoch} was replaced")
        return known

    def _give_up(self, transactional_id: str, known: Transaction, now_ms: int) -> None:
        known.epoch += 1
        self._prepare(transactional_id, known, False, now_ms)

    def _prepare(self, transactional_id: str, known: Transaction, commits: bool, now_ms: int) -> None:
        known.state, known.commits = "prepared", commits
        del self._ongoing[transactional_id]
        targets: list[Partition | Group] = [*known.partitions.values(), *known.groups.values()]
        for target in targets:
            place = (target.topic, target.number) if isinstance(target, Partition) else (GROUP_OFFSETS, 0)
            self._ordered += 1
            due_ms = now_ms + self.markers_take(transactional_id, *place)
            self.owed.append(Marker(due_ms, self._ordered, transactional_id, target))
        known.partitions, known.groups = {}, {}
        self.settle(lambda marker: marker.due_ms <= now_ms)

    def state(self) -> tuple[object, ...]:
        known = [
            (
                name,
                k.epoch,
                k.timeout_ms,
                k.state,
                k.commits,
                k.ended,
                k.since_ms,
                sorted(k.partitions),
                sorted(k.groups),
            )
            for name, k in sorted(self.known.items())
        ]
        owed = [(m.due_ms, m.order, m.transactional_id, m.target.label) for m in sorted(self.owed)]
        return (known, owed)


GROUP_OFFSETS = "__consumer_offsets"
