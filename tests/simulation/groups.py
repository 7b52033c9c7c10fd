"""A consumer group: its generations, who belongs to it, which partitions each was given, and its committed offsets.

A generation begins when everybody who belongs to the group has (re)joined it. Until then the one before it counts: its
metadata is accepted from whoever still belongs to the group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tests.simulation.errors import Abortable, NotYet
from tests.simulation.partitions import Place

Strategy = Literal["range", "cooperative-sticky"]


class GroupMetadata(NamedTuple):
    """What a member says of itself in a transaction. A consumer that never joined is member "" of generation -1."""

    group: str
    generation: int = -1
    member: str = ""


@dataclass(slots=True)
class Belonging:
    """One member as the coordinator sees it. `beats`: does it send heartbeats at this moment?"""

    topics: tuple[str, ...]
    session_ms: int
    heard_ms: int
    beats: Callable[[], bool]
    joined: bool = True
    held: tuple[Place, ...] = ()  # what it said, when it joined, that it still holds
    given: tuple[Place, ...] = ()


@dataclass(slots=True, eq=False)
class Group:
    """`topics`: their partitions, by name. `changed` is told whenever a member may hear something new; of
    offsets, who asks for them asks again."""

    name: str
    topics: Mapping[str, Sequence[object]]
    changed: Callable[[Group], object]
    rebalance_ms: int = 300_000  # max.poll.interval.ms: how long a rebalance waits for who doesn't come
    strategy: Strategy = "range"
    generation: int = 0
    rebalancing_since_ms: int | None = None
    members: dict[str, Belonging] = field(default_factory=dict)
    offsets: dict[Place, tuple[int, int]] = field(default_factory=dict)  # offset, and when it was sent (order)
    pending: dict[str, dict[Place, tuple[int, int]]] = field(default_factory=dict)  # by transactional id
    _named: int = 0
    is_at_rest: bool = False  # everybody beats, and is where they belong: time alone brings nothing about

    @property
    def label(self) -> str:
        return self.name

    # membership

    def join(
        self,
        member: str,
        topics: Sequence[str],
        held: tuple[Place, ...],
        session_ms: int,
        beats: Callable[[], bool],
        now_ms: int,
    ) -> str:
        """Its member id: the same, or a new one for who has none, or one that is not known any more."""
        if member not in self.members:
            self._named += 1
            member = f"{self.name}-{self._named}"
            self._rebalance(now_ms)
        elif self.rebalancing_since_ms is None:
            self._rebalance(now_ms)
        self.members[member] = Belonging(tuple(topics), session_ms, now_ms, beats, True, held)
        self._complete()
        return member

    def leave(self, member: str, now_ms: int) -> None:
        if self.members.pop(member, None) is not None:
            self._rebalance(now_ms)
            self._complete()

    def word_for(self, member: str) -> Literal["unknown", "rejoin", "wait", "given"]:
        """What a member's heartbeat, or its waiting for an assignment, is answered."""
        known = self.members.get(member)
        if known is None:
            return "unknown"
        if self.rebalancing_since_ms is None:
            return "given"
        return "wait" if known.joined else "rejoin"

    def advance(self, now_ms: int) -> None:
        """Evict whoever was not heard of for its session's time-out, or does not come to a rebalance."""
        if self.is_at_rest:
            return
        gone = []
        since_ms = self.rebalancing_since_ms
        self.is_at_rest = since_ms is None
        for name, known in self.members.items():
            if known.beats():
                known.heard_ms = now_ms
            else:
                self.is_at_rest = False
            missed = since_ms is not None and not known.joined and now_ms - since_ms >= self.rebalance_ms
            if missed or now_ms - known.heard_ms >= known.session_ms:
                gone.append(name)
        for name in gone:
            self.leave(name, now_ms)

    def links_change(self, now_ms: int) -> None:
        """Who has been at rest has been heard up to now."""
        if self.is_at_rest:
            self.is_at_rest = False
            for known in self.members.values():
                known.heard_ms = now_ms

    def next_due_ms(self) -> int | None:
        """When time alone would bring something about, as things are."""
        if self.is_at_rest:
            return None
        due = [known.heard_ms + known.session_ms for known in self.members.values() if not known.beats()]
        if self.rebalancing_since_ms is not None:
            due.append(self.rebalancing_since_ms + self.rebalance_ms)
        return min(due, default=None)

    def _rebalance(self, now_ms: int) -> None:
        if self.rebalancing_since_ms is None:
            self.links_change(now_ms)
            self.rebalancing_since_ms = now_ms
            for known in self.members.values():
                known.joined = False
            self.changed(self)

    def _complete(self) -> None:
        if self.rebalancing_since_ms is None or not all(known.joined for known in self.members.values()):
            return
        self.rebalancing_since_ms = None
        self.generation += 1
        counts = {topic: len(partitions) for topic, partitions in self.topics.items()}
        wants = {name: known.topics for name, known in sorted(self.members.items())}
        if self.strategy == "range":
            plan = by_range(wants, counts)
        else:
            plan = sticky(wants, counts, {name: known.held for name, known in self.members.items()})
        for name, known in self.members.items():
            known.given = plan[name]
        self.changed(self)

    # offsets

    def check(self, metadata: GroupMetadata, transactional: bool) -> None:
        """Raises Abortable. Metadata without a member is believed in a transaction, whoever belongs to the group."""
        if metadata.generation < 0 and not metadata.member:
            if not transactional and self.members:
                raise Abortable("UNKNOWN_MEMBER_ID")
            return
        if metadata.member not in self.members:
            raise Abortable("UNKNOWN_MEMBER_ID")
        if metadata.generation != self.generation:
            raise Abortable("ILLEGAL_GENERATION")

    def hold(self, transactional_id: str, offsets: Mapping[Place, int], order: int) -> None:
        held = self.pending.setdefault(transactional_id, {})
        held.update({place: (offset, order) for place, offset in offsets.items()})

    def commit(self, offsets: Mapping[Place, tuple[int, int]]) -> None:
        """What was sent later wins, also over what is marked as committed after it."""
        for place, (offset, order) in offsets.items():
            if order > self.offsets.get(place, (0, -1))[1]:
                self.offsets[place] = (offset, order)

    def mark(self, transactional_id: str, committed: bool) -> None:
        held = self.pending.pop(transactional_id, {})
        if committed:
            self.commit(held)

    def committed(self, places: Sequence[Place], stable: bool) -> dict[Place, int | None]:
        """`stable`: as a committed reader asks. NotYet while an open transaction holds one of them."""
        if stable and any(place in held for held in self.pending.values() for place in places):
            raise NotYet("UNSTABLE_OFFSET_COMMIT")
        return {place: self.offsets[place][0] if place in self.offsets else None for place in places}

    def state(self) -> tuple[object, ...]:
        members = [
            (name, m.topics, m.session_ms, m.heard_ms, m.joined, m.held, m.given)
            for name, m in sorted(self.members.items())
        ]
        pending = [(name, sorted(held.items())) for name, held in sorted(self.pending.items())]
        offsets, since_ms = sorted(self.offsets.items()), self.rebalancing_since_ms
        return (self.name, self.strategy, self.generation, since_ms, self._named, members, offsets, pending)


def by_range(wants: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> dict[str, tuple[Place, ...]]:
    """Topic by topic: members in the order of their ids get ranges, the first ones one more where it doesn't divide. So
    the same partition number of two topics with the same count goes to the same member."""
    plan: dict[str, list[Place]] = {name: [] for name in wants}
    for topic in sorted({t for topics in wants.values() for t in topics}):
        takers = [name for name in sorted(wants) if topic in wants[name]]
        each, more = divmod(counts[topic], len(takers))
        first = 0
        for index, name in enumerate(takers):
            last = first + each + (index < more)
            plan[name] += [(topic, number) for number in range(first, last)]
            first = last
    return {name: tuple(places) for name, places in plan.items()}


def sticky(
    wants: Mapping[str, Sequence[str]], counts: Mapping[str, int], held: Mapping[str, Sequence[Place]]
) -> dict[str, tuple[Place, ...]]:
    """As even as it goes, moving little, whatever the topic: so two topics' partitions of one number come apart. What
    has to move is taken from its holder now, and given away in the next generation."""
    places = sorted({(topic, n) for topics in wants.values() for topic in topics for n in range(counts[topic])})
    names = sorted(wants)
    each, more = divmod(len(places), len(names)) if names else (0, 0)
    plan: dict[str, list[Place]] = {}
    taken: set[Place] = set()
    for index, name in enumerate(names):
        share = each + (index < more)
        plan[name] = [place for place in sorted(held[name], reverse=True) if place in places and place not in taken][
            :share
        ]
        taken |= set(plan[name])
    still_held = {place for owned in held.values() for place in owned}
    for place in places:
        if place not in still_held:
            taker = min(names, key=lambda name: (len(plan[name]), name))
            plan[taker].append(place)
    return {name: tuple(sorted(places)) for name, places in plan.items()}
