"""The books of one partition: states, chains, and how far each input has been answered. Pure; runners commit what it
drafts.

A draft is decided on top of what is already in it and changes nothing: only `accept`, after its commit, moves the
books.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

from schemas import controls as control_fold
from schemas.chain import BrokenChain, Link, Stamped, edge, follow, stamp
from schemas.controls import Controls
from schemas.events import (
    BookClosed,
    DayClosed,
    DeadLetter,
    Event,
    GenesisMarked,
    IgnoredInput,
    InputIgnored,
    InputRejected,
    OwnerStarted,
    Unreadable,
)
from schemas.processors import Decides, Record, Tick
from schemas.saved import Saved, saved_of
from schemas.topics import partition_of
from schemas.values import Cause, Head, Poison, sha256
from schemas.wire import Decoded, decode, unframed
from streams.pipeline import BY_NAME, OWNER, PROCESSORS, may_stand_on

S = TypeVar("S")
FIRST = Link()
NONE: Mapping[str, Mapping[str, Poison]] = {}
RAW_KEPT_MAX = 64 * 1024
BROKEN_SAID_MAX = 200
CLUSTER_ID_CHARS_MAX = 128
LOOK_AGAIN_MS = 1000
READS = {line.role: frozenset(line.reads) for line in PROCESSORS}
OBEYS = frozenset({"execute"})  # an input that `remediations` could not take may have been the end of what runs
OWN_TIME = frozenset(line.role for line in PROCESSORS if line.verb == "works")  # see Owner
STOPS_EXECUTION = frozenset({"approvals"})  # an unreadable record there could be a person's no


@dataclass(frozen=True)
class Raw:
    """A record as the broker gives it."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None

    def cause(self) -> Cause:
        return Cause(topic=self.topic, partition=self.partition, offset=self.offset, sha256=sha256(self.value or b""))


@dataclass(frozen=True)
class Witnessed:
    """The last event of a chain, as somebody else keeps it: SHA-256 of its body (`hash`) and of its bytes on the topic
    (`sha256`)."""

    seq: int
    hash: bytes
    offset: int
    sha256: bytes


def admit(raw: Raw, partitions: int) -> Record:
    """A record that this topic's sole writer may have written, on its cluster's partition. Raises Unreadable."""
    return record_of(raw, admitted(raw, partitions))


def admitted(raw: Raw, partitions: int) -> Decoded:
    """As `admit`, without the record's own hash: for who reads back what is its own."""
    decoded = decode(raw.value)
    event = decoded.event
    if not may_stand_on(raw.topic, event):
        raise Unreadable("not_of_this_topic", f"{type(event).__name__} is no event of `{raw.topic}`")
    if event.cluster_id.startswith("~"):
        belongs = event.cluster_id == f"~{raw.partition}"
    else:
        belongs = BY_NAME[raw.topic].partitions == 1 or _place(event.cluster_id, partitions) == raw.partition
    if not belongs:
        raise Unreadable("wrong_partition", f"{event.cluster_id} does not live on partition {raw.partition}", "key")
    if raw.key is not None and raw.key.decode("utf-8", "replace") != event.cluster_id:
        raise Unreadable("wrong_key", f"the key says {raw.key!r}, the event {event.cluster_id}", "key")
    return decoded


@lru_cache(maxsize=100_000)
def _place(cluster_id: str, partitions: int) -> int:
    """Few clusters, many records."""
    return partition_of(cluster_id, partitions)


def record_of(raw: Raw, decoded: Decoded) -> Record:
    return Record(raw.topic, raw.partition, raw.offset, raw.at_ms, decoded.head, decoded.event, raw.cause())


def fold_control(held: Controls, raw: Raw) -> Controls:
    """Controls after one more record of their topic. One that can't be read stops execution until it is lifted."""
    try:
        return control_fold.evolve(held, decode(raw.value).event, raw.offset, raw.at_ms)
    except Exception as error:  # whatever a policy that this version does not know provokes, too
        return control_fold.unreadable(held, raw.offset, raw.at_ms, str(error)[:500])


def impossible(error: Exception) -> Unreadable:
    """What is wrong with an input on which our own rules raise: a bug of ours, which must not stop those behind it."""
    return Unreadable("impossible", f"{type(error).__name__}: {error}")


def dead_letter(role: str, raw: Raw, error: Unreadable, cluster_id: str = "") -> Stamped:
    """The dead letter of a record: its own place on record, with what was wrong."""
    key = (raw.key or b"").decode("utf-8", "replace")[:200]
    letter = DeadLetter(
        cluster_id=cluster_id or key or "?",
        role=role,
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        code=error.code,
        field=error.field,
        reason=error.reason[:2000],
        raw=(raw.value or b"")[:RAW_KEPT_MAX],
        key=key,
    )
    return edge(letter, f"{role}/{raw.topic}/{raw.partition}/{raw.offset}", raw.at_ms)


def poison_of(event: Event, head: Head) -> Poison | None:
    """What stops acting from here on, where this event is the answer to such an input: one that made the decider raise,
    or that came of what our ledger has lost (its cluster's acting), or one that could be a person's no (the whole
    partition's)."""
    cause = head.cause
    if not isinstance(event, InputRejected) or cause is None:
        return None
    if event.code not in ("impossible", "ledger_lost_events") and cause.topic not in STOPS_EXECUTION:
        return None
    offset = cause.offset if cause.offset >= 0 else head.at_ms  # time has no offsets: a tick is named by its moment
    place = f"{cause.topic}/{cause.partition}@{offset}"
    return Poison(
        place=place,
        stops=event.cluster_id,
        text=event.text,
        at_ms=head.at_ms,
        controls_offset=head.controls_offset,
    )


@dataclass
class Draft(Generic[S]):
    """What one transaction will say. Made by `Books.draft`."""

    books: Books[S]
    controls: Controls
    now_ms: int
    stamped: list[Stamped] = field(default_factory=list)
    dead: list[Stamped] = field(default_factory=list)
    states: dict[str, S] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, list[IgnoredInput]] = field(default_factory=dict)
    touched: dict[str, None] = field(default_factory=dict)  # clusters, in order
    poisoned: dict[str, dict[str, Poison]] = field(default_factory=dict)
    inputs: int = 0  # taken
    day: DayClosed | None = None

    def only_ignores(self) -> bool:
        """No input so far has changed anything: their answer may wait for the next transaction."""
        return not (self.stamped or self.dead)

    def state(self, cluster_id: str) -> S:
        if cluster_id in self.states:
            return self.states[cluster_id]
        return self.books.state(cluster_id)

    def take(self, raw: Raw, *, may_wait: bool = False) -> bool:
        """Answer one input: events, or its place among the ignored, or a dead letter. `may_wait`: False, and nothing is
        answered, where its own cause is an input that is still to be answered here."""
        whole = f"~{raw.partition}"
        try:
            record = admit(raw, self.books.partitions)
        except Unreadable as error:
            self._took(raw)
            self.dead.append(dead_letter(self.books.role, raw, error))
            self._reject(whole, error.code, str(error), raw.cause())
            return True
        if may_wait and self._is_to_come(raw.topic, record.head.cause):
            return False
        self._took(raw)
        if text := self.books.lost.pop((raw.topic, raw.offset), None):
            lost = Unreadable("ledger_lost_events", text, "cause")
            self.dead.append(dead_letter(self.books.role, raw, lost, record.event.cluster_id))
            self._reject(record.event.cluster_id, lost.code, lost.reason, raw.cause())
            return True
        if isinstance(record.event, OWNER):  # housekeeping of another owner; answering it would never end
            self._adopt(record)
            return True
        cluster_id = record.event.cluster_id
        try:
            decided = self.books.rules.decide(self.state(cluster_id), record, self.now_ms, self._controls(cluster_id))
            self._add(decided, record.cause)
        except Exception as error:  # a poison input must not stop the partition
            wrong = impossible(error)
            self.dead.append(dead_letter(self.books.role, raw, wrong, cluster_id))
            self._reject(cluster_id, wrong.code, wrong.reason, raw.cause())
            return True
        if not decided:
            self._ignore(cluster_id, record.cause, "changes_nothing")
        return True

    def _adopt(self, record: Record) -> None:
        """What stops the acting of whoever orders stops that of whoever obeys: once a place, under the same name."""
        poison = poison_of(record.event, record.head) if self.books.role in OBEYS else None
        if poison is None or self.controls.has_lifted(poison):  # before it was heard of here
            return
        if poison.place in self.books.poisoned.get(poison.stops, {}) | self.poisoned.get(poison.stops, {}):
            return
        said = record.event
        assert isinstance(said, InputRejected)
        cause = record.head.cause
        if cause is not None and cause.offset < 0:  # a tick keeps the name that it has where it was found
            cause = cause.model_copy(update={"offset": record.head.at_ms})
        self._add((InputRejected(cluster_id=said.cluster_id, code=said.code, text=said.text),), cause)

    def _took(self, raw: Raw) -> None:
        self.now_ms = max(self.now_ms, self.books.heard_ms(raw))
        self.positions[raw.topic] = raw.offset + 1
        self.inputs += 1

    def _is_to_come(self, topic: str, cause: Cause | None) -> bool:
        """Is this an input of our own partition that has not been answered yet? Nothing has its cause behind it on its
        own topic: where one is named, it was lost."""
        if cause is None or cause.partition != self.books.partition or cause.topic not in READS[self.books.role]:
            return False
        if cause.topic == topic:
            return False
        return cause.offset >= self.positions.get(cause.topic, self.books.positions.get(cause.topic, 0))

    def tick(self, cluster_id: str, now_ms: int) -> None:
        """Let time pass for one cluster; the tick is the cause of what it brings about."""
        still = self.books._still.get(cluster_id)
        if still and not self.controls.has_lifted(still):
            return
        self.now_ms = max(self.now_ms, now_ms)
        tick = Tick(cluster_id, self.now_ms)
        try:
            decided = self.books.rules.decide(self.state(cluster_id), tick, self.now_ms, self._controls(cluster_id))
            self._add(decided, Cause(topic="tick"))
        except Exception as error:  # as with an input: said once; this owner asks no more until it is lifted
            wrong = impossible(error)
            self._reject(cluster_id, wrong.code, wrong.reason, Cause(topic="tick"))

    def add(self, events: Sequence[Event], cause: Cause | None, now_ms: int) -> None:
        """What a lane has to say: all of it, or nothing and what folding one of them has raised."""
        self.now_ms = max(self.now_ms, now_ms)
        self._add(events, cause)

    def say_lost(self) -> None:
        """What the audit holds of this ledger and the ledger does not: once a place, and acting waits for a person."""
        for cluster_id, cause, text in self.books.contradictions():
            self._reject(cluster_id, "ledger_lost_events", text, cause)

    def seal(self) -> None:
        """Give the ignored inputs their answer too: one event a cluster."""
        for cluster_id, inputs in self.ignored.items():
            self._add((InputIgnored(cluster_id=cluster_id, inputs=tuple(inputs)),), None)
        self.ignored = {}

    def close(self, cluster_id: str) -> int:
        """Write down what is known of this cluster. Returns how many characters that took. Raises TooLarge."""
        saved = self.books.saved()
        state = saved.dump(self.state(cluster_id))
        book = BookClosed(cluster_id=cluster_id, role=self.books.role, state_schema=saved.schema, state=state)
        self._add((book,), None)
        return len(state)

    def close_day(self, first_offset: int, clusters: int) -> None:
        """All are closed, each at or after this offset of the own topic."""
        held = [*self.books.poisoned.values(), *self.poisoned.values()]
        self.day = DayClosed(
            cluster_id=f"~{self.books.partition}",
            role=self.books.role,
            state_schema=self.books.saved().schema,
            first_offset=first_offset,
            clusters=clusters,
            positions=self.books.positions | self.positions,
            poisoned=tuple({(p.stops, p.place): p for by_place in held for p in by_place.values()}.values()),
            genesis=self.books.genesis,
        )
        self._add((self.day,), None)

    def _controls(self, cluster_id: str) -> Controls:
        return self.books.controls_of(cluster_id, self.controls, self.poisoned)

    def _ignore(self, cluster_id: str, cause: Cause, code: str) -> None:
        self.ignored.setdefault(cluster_id, []).append(IgnoredInput(cause=cause, code=code))

    def _reject(self, key: str, code: str, reason: str, cause: Cause) -> None:
        self._add((InputRejected(cluster_id=key, code=code, text=reason[:500]),), cause)

    def _add(self, events: Sequence[Event], cause: Cause | None) -> None:
        """All of these, or none where one may not stand here or can't be folded."""
        made: list[Stamped] = []
        links: dict[str, Link] = {}
        states: dict[str, S] = {}
        for event in events:
            if not may_stand_on(self.books.topic, event):
                raise AssertionError(f"{self.books.role} may not write {type(event).__name__} on {self.books.topic}")
            key = event.cluster_id
            link = links.get(key) or self.links.get(key) or self.books.links.get(key, FIRST)
            stamped, links[key] = stamp(self.books.topic, link, event, cause, self.now_ms, self.controls.offset)
            if not key.startswith("~"):
                state = states[key] if key in states else self.state(key)
                states[key] = self.books.rules.evolve(state, event, stamped.head)
            made.append(stamped)
        self.stamped += made
        self.links |= links
        self.states |= states
        self.touched |= dict.fromkeys(links)
        for one in made:
            if poison := poison_of(one.event, one.head):
                self.poisoned.setdefault(poison.stops, {})[poison.place] = poison


@dataclass
class Books(Generic[S]):
    """All that the owner of one partition knows. Rebuilt from its topic: whole, or from where the books were closed.

    `closes_every_ms`: how often they are closed, at the whole multiples of it since 1970; 0: never."""

    role: str
    topic: str
    partition: int
    partitions: int
    rules: Decides[S]
    closes_every_ms: int = 0
    since: int = 0  # from this offset on the topic is folded; 0: whole
    states: dict[str, S] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    now_ms: int = 0
    poisoned: dict[str, dict[str, Poison]] = field(default_factory=dict)  # cluster, or `~N` for all -> place -> poison
    broken: dict[str, str] = field(default_factory=dict)  # cluster or `~N` -> where its ledger first breaks
    genesis: GenesisMarked | None = None
    ends: int = 0  # the offset after the last record that was folded
    lost: dict[tuple[str, int], str] = field(default_factory=dict)  # (topic, offset) of an input -> what it came of
    witnessed: Mapping[str, Witnessed] = field(default_factory=dict)  # by cluster, or `~N`: how far the audit holds it
    _otherwise: set[str] = field(default_factory=set)  # whose ledger has another event at that seq
    _without: dict[str, tuple[Link, bool]] = field(
        default_factory=dict
    )  # before what can't be read: link, was it broken
    _wakes: list[tuple[int, str]] = field(default_factory=list)
    _closed_at_ms: int | None = None  # the latest closing that this version can read, or where the topic begins
    _still: dict[str, Poison] = field(default_factory=dict)  # cluster -> the tick on which this owner's decider raised
    _asked: dict[str, int] = field(default_factory=dict)  # cluster -> its earliest entry in _wakes
    _moved: dict[str, None] = field(default_factory=dict)  # clusters that have not been asked since when to wake them

    def state(self, cluster_id: str) -> S:
        found = self.states.get(cluster_id)
        return self.rules.initial(cluster_id) if found is None else found

    def heard_ms(self, raw: Raw) -> int:
        """What a broker's time says to us; 0, nothing, to who works."""
        return 0 if self.role in OWN_TIME else raw.at_ms

    def saved(self) -> Saved[S]:
        kind: Any = type(self.rules.initial(""))
        found: Saved[S] = saved_of(kind)
        return found

    def begins(self, raw: Raw) -> int | None:
        """Where to begin to fold, if this is the end of a closing that this version can read."""
        if raw.key != f"~{self.partition}".encode():
            return None
        try:
            event = admitted(raw, self.partitions).event
        except Unreadable:
            return None
        return event.first_offset if isinstance(event, DayClosed) and self._can_load(event) else None

    def _can_load(self, event: BookClosed | DayClosed) -> bool:
        return event.state_schema == self.saved().schema

    def restore(self, raw: Raw, known: Decoded | None = None) -> None:
        """Fold one record of the own topic, decoded already where it is `known`. One that can't be read or folded, or
        does not continue what stands before it, breaks its cluster's ledger: the fold goes on, but nothing is written
        to that cluster any more.

        Where the fold begins with closed books, what stands before a cluster's own book is in it already."""
        self.ends = raw.offset + 1
        try:
            decoded = known or admitted(raw, self.partitions)
        except Unreadable as error:
            key = (raw.key or b"").decode("utf-8", "replace") or f"~{self.partition}"
            if len(key) > CLUSTER_ID_CHARS_MAX:
                return  # of no cluster: none of ours
            if self.since and key not in self.links:
                return
            link = self.links.get(key, FIRST)
            self._without.setdefault(key, (link, key in self.broken))
            self._break(key, raw, error)
            self.links[key] = Link(link.seq + 1, sha256(unframed(raw.value or b"")))
            return
        event, head = decoded.event, decoded.head
        if self.since and event.cluster_id not in self.links and not self._open(raw, event, head):
            return
        key, link = event.cluster_id, self.links.get(event.cluster_id, FIRST)
        before, was_broken = self._without.pop(key, (link, True))
        if before != link and (head.seq, head.prev_hash) == (before.seq + 1, before.hash):
            link = before  # what could not be read was none of ours: our own chain goes on without it
            if not was_broken:
                del self.broken[key]
        try:
            self.links[key] = follow(link, decoded)
        except BrokenChain as error:
            self._break(key, raw, error)
            if head.seq <= link.seq:  # again, or from before: it has been folded
                return
            self.links[key] = Link(head.seq, sha256(decoded.body))
        held = self.witnessed.get(key)
        if held and held.seq == head.seq and held.hash != self.links[key].hash:
            self._otherwise.add(key)
        self.now_ms = max(self.now_ms, head.at_ms, self.heard_ms(raw))
        for cause in _causes(event, head.cause):
            if cause.topic not in ("tick", self.topic) and cause.partition == self.partition:
                self.positions[cause.topic] = max(self.positions.get(cause.topic, 0), cause.offset + 1)
        if isinstance(event, GenesisMarked):
            self.genesis = self.genesis or event
        if self._closed_at_ms is None or (isinstance(event, DayClosed) and self._can_load(event)):
            self._closed_at_ms = max(raw.at_ms, head.at_ms)
        if poison := poison_of(event, head):
            self.poisoned.setdefault(key, {})[poison.place] = poison
        if not key.startswith("~"):
            try:
                self.states[key] = self.rules.evolve(self.state(key), event, head)
            except Exception as error:
                self._break(key, raw, error)
            self._moved[key] = None

    def look_ahead(self, raw: Raw) -> None:
        """An input of before our time that came of an event of ours that is not there: the broker has lost what it had
        acknowledged, so nobody knows here what was done."""
        try:
            cause = admitted(raw, self.partitions).head.cause
        except Unreadable:
            return
        if cause and (cause.topic, cause.partition) == (self.topic, self.partition) and cause.offset >= self.ends:
            text = f"it came of {cause.topic}/{cause.partition}@{cause.offset}, and the ledger ends at {self.ends}"
            self.lost[raw.topic, raw.offset] = f"{text}: the broker has lost acknowledged events"

    def contradictions(self) -> Iterator[tuple[str, Cause, str]]:
        """Whose ledger is not what `witnessed` says: the event that it lacks, in words too. What was said before is not
        said again: a person may have lifted it."""
        for key, held in sorted(self.witnessed.items()):
            link = self.links.get(key, FIRST)
            if link.seq >= held.seq and key not in self._otherwise:
                continue
            place = f"{self.topic}/{self.partition}@{held.offset}"
            if place in self.poisoned.get(key, {}):
                continue
            there = "has another event there" if link.seq >= held.seq else f"ends at seq {link.seq}"
            text = f"the audit holds seq {held.seq} of this ledger at {place}, and the ledger {there}"
            cause = Cause(topic=self.topic, partition=self.partition, offset=held.offset, sha256=held.sha256)
            yield key, cause, f"{text}: the broker has lost acknowledged events"

    def _open(self, raw: Raw, event: Event, head: Head) -> bool:
        """Does what counts of this cluster begin here: with its book, or with its very first event?"""
        key = event.cluster_id
        if isinstance(event, BookClosed) and self._can_load(event):
            try:
                self.states[key] = self.saved().load(event.state)
            except ValueError as error:
                self._break(key, raw, error)
        elif isinstance(event, DayClosed):
            for topic, position in event.positions.items():
                self.positions[topic] = max(self.positions.get(topic, 0), position)
            for poison in event.poisoned:
                self.poisoned.setdefault(poison.stops, {})[poison.place] = poison
            self.genesis = event.genesis
        else:
            return head.seq == 1
        self.links[key] = Link(head.seq - 1, head.prev_hash)
        return True

    def _break(self, key: str, raw: Raw, error: Exception) -> None:
        text = f"{raw.topic}/{raw.partition}@{raw.offset}: {type(error).__name__}: {error}"
        self.broken.setdefault(key, text[:500])

    def controls_of(
        self, cluster_id: str, controls: Controls, drafted: Mapping[str, Mapping[str, Poison]] = NONE
    ) -> Controls:
        """The controls as they are for one cluster: with what has poisoned it, here or in a draft, and nobody has
        lifted; or with what has broken it."""
        for key in (cluster_id, f"~{self.partition}"):
            if found := self.broken.get(key):
                controls = replace(controls, broken=found)
            held = (*self.poisoned.get(key, {}).values(), *drafted.get(key, {}).values())
            if in_force := {p.place: p for p in held if not controls.has_lifted(p)}:
                controls = replace(controls, poisoned=controls.poisoned | in_force)
        return controls

    def draft(self, controls: Controls, now_ms: int = 0) -> Draft[S]:
        return Draft(self, controls, max(self.now_ms, now_ms))

    def accept(self, draft: Draft[S], appended_ms: int = 0) -> None:
        """The draft is committed: from now on it is what was. `appended_ms`: as the broker says; 0 where it doesn't."""
        self.states.update(draft.states)
        self.links.update(draft.links)
        self.positions.update(draft.positions)
        self.now_ms = max(self.now_ms, draft.now_ms)
        if draft.day or self._closed_at_ms is None:
            self._closed_at_ms = max(draft.now_ms, appended_ms)
        for key, found in draft.poisoned.items():
            self.poisoned.setdefault(key, {}).update(found)
            if ticks := [p for p in found.values() if p.place.startswith("tick/")]:
                self._still[key] = ticks[-1]
        self._moved |= {key: None for key in draft.touched if not key.startswith("~")}

    def started(self, owner: str, build: str) -> OwnerStarted:
        return OwnerStarted(
            cluster_id=f"~{self.partition}",
            role=self.role,
            owner=owner,
            build=build,
            positions=dict(self.positions),
            broken=dict(list(self.broken.items())[:BROKEN_SAID_MAX]),
        )

    def foreign_genesis(self, expected: GenesisMarked) -> str | None:
        """What this topic was when it was first written, where that is not what it is now; None: the same, or new."""
        if self.genesis is None or self.genesis == expected:
            return None
        was, now = self.genesis.model_dump(), expected.model_dump()
        return "; ".join(f"{k}: {was[k]!r} became {now[k]!r}" for k in was if was[k] != now[k])

    def clusters(self) -> list[str]:
        """Whose books are kept here, in order."""
        return sorted(key for key in self.links if not key.startswith("~"))

    def closes_at(self) -> int | None:
        """When the books are to be closed next (ms); None: never. What is broken stays in sight: it is not closed."""
        if not self.closes_every_ms or self._closed_at_ms is None or self.broken:
            return None
        return (self._closed_at_ms // self.closes_every_ms + 1) * self.closes_every_ms

    def put_off(self, now_ms: int) -> None:
        """They could not be closed: not before the next time."""
        self._closed_at_ms = now_ms

    def wakes_at(self) -> int | None:
        """When the next tick is due (ms), or None."""
        self._ask_to_wake()
        return self._wakes[0][0] if self._wakes else None

    def due(self, now_ms: int) -> list[str]:
        """Clusters whose tick is due. Each is looked at again after a while, should its tick bring nothing about
        yet."""
        self._ask_to_wake()
        found: dict[str, None] = {}
        while self._wakes and self._wakes[0][0] <= now_ms:
            at, key = heapq.heappop(self._wakes)
            if self._asked.get(key) != at:
                continue  # superseded by an earlier entry
            del self._asked[key]
            wanted = self.rules.wakes_at(self.state(key))
            if wanted is None:
                continue
            if wanted <= now_ms:
                found[key] = None
            self._push(key, max(wanted, now_ms + LOOK_AGAIN_MS))
        return list(found)

    def _ask_to_wake(self) -> None:
        """Once for all that has moved a cluster: a fold moves it again and again."""
        for key in self._moved:
            at = self.rules.wakes_at(self.state(key))
            if at is not None:
                self._push(key, at)
        self._moved.clear()

    def _push(self, key: str, at: int) -> None:
        if at < self._asked.get(key, at + 1):
            self._asked[key] = at
            heapq.heappush(self._wakes, (at, key))


def _causes(event: Any, cause: Cause | None) -> list[Cause]:
    found = [cause] if cause else []
    if isinstance(event, InputIgnored):
        found += [i.cause for i in event.inputs]
    return found
