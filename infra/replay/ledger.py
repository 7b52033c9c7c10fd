"""One cluster on one owned topic, decided again: each input in the ledger's own order, at its recorded time.

The recorded events are folded, never the ones decided here, so that one difference is shown once. What is judged is the
content of events; their places in the chain are `steward audit verify`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.replay.record import HEARD, NEVER_HEARD, NOT_HEARD, Chosen, Heard, Hearing, Recorded, as_heard, cited
from infra.replay.report import NOTHING, Difference, Report, compare
from infra.runners.books import OBEYS, Books, Draft, Raw, poison_of
from schemas.controls import Controls
from schemas.events import BookClosed, Event, InputIgnored, InputRejected, OwnerStarted
from schemas.processors import Decides, Record
from schemas.values import Cause
from streams.pipeline import OWNER, Processor

IGNORED_CODE = "changes_nothing"
SAID_MAX = 4  # events of one move of a lane; there are two at most
TRAIL_MAX = 2000  # a draft takes a thousand inputs at most
PEOPLES = "words of people"
GONE = "inputs that are not on record any more"
LOST = "events that the broker had lost"
NOT_LIVE = "controls that could not be read"
NOT_SAFE = "a broker that was not safe"


@dataclass(frozen=True)
class Past:
    """Just before a lane spoke: all that it may have known from the log."""

    state: Any
    run: Sequence[Record]  # what it said then and right after, without a cause
    heard: Sequence[Controls]  # the controls that it may have gone by, the likeliest first
    since_ms: int  # when the cluster's ledger had last moved
    owner_since_ms: int

    @property
    def event(self) -> Event:
        return self.run[0].event

    @property
    def at_ms(self) -> int:
        return self.run[0].head.at_ms


@dataclass(frozen=True)
class Judged:
    """`events`: how many of the run this decision was. `outside`: what had to be believed. `decided` False: nothing was
    decided here, it came from outside."""

    events: int = 1
    differs: tuple[Difference, ...] = ()
    outside: tuple[str, ...] = ()
    decided: bool = True


Lane = Callable[[Any, Past], Judged]  # the role's rules, and what it knew


@dataclass(frozen=True)
class _Entry:
    """One record of the cluster, and what was known after it."""

    record: Record
    state: Any
    causes: tuple[Cause, ...]


class Ledger:
    """`rules`: the role's as configured, then as they would be over a broker that is not safe, where that matters."""

    def __init__(
        self,
        line: Processor,
        rules: Sequence[Decides[Any]],
        recorded: Recorded,
        heard: Heard,
        chosen: Chosen,
        report: Report,
        *,
        cluster_id: str,
        partition: int,
        lane: Lane | None = None,
    ) -> None:
        self.line, self.rules, self.recorded, self.heard = line, rules, recorded, heard
        self.chosen, self.report, self.cluster_id, self.lane = chosen, report, cluster_id, lane
        self.topic, self.partition = line.writes[0], partition
        self.books: Books[Any] = Books(line.role, self.topic, partition, recorded.partitions, rules[0])
        self.builds: set[str] = set()
        self._raws = [r for r in recorded.of(self.topic, partition) if self._is_ours(r)]
        self._broken: dict[str, str] = {}  # as the owner of then knew
        self._breaks: dict[str, str] = {}  # as this fold has found
        self._owner_since_ms = 0
        self._trail: list[_Entry] = []
        self._answered: dict[str, set[int]] = {}

    def run(self) -> None:
        firsts: dict[str, int] = {}
        for raw in self._raws:
            if (record := self.recorded.record(raw)) is not None:
                firsts.setdefault(record.event.cluster_id, record.head.seq)
        self.books.since = 0 if all(seq <= 1 for seq in firsts.values()) else max(1, self._raws[0].offset)
        at = 0
        while at < len(self._raws):
            record = self.recorded.record(self._raws[at])
            taken = 1
            if record is not None and self._is_open(record):
                taken = self._judge(self._run(at))
            for raw in self._raws[at : at + taken]:
                self._fold(raw)
            at += taken
        self._unanswered()
        for text in self._breaks.values():
            self.report.note(f"the ledger breaks at {text}: see `steward audit verify`")

    def _is_ours(self, raw: Raw) -> bool:
        record = self.recorded.record(raw)
        key = record.event.cluster_id if record else (raw.key or b"").decode("utf-8", "replace")
        return key in (self.cluster_id, f"~{self.partition}")

    def _is_open(self, record: Record) -> bool:
        return not self.books.since or record.head.seq == 1 or record.event.cluster_id in self.books.links

    def _run(self, at: int) -> list[Record]:
        """This record, and those right behind it with the same key and cause."""
        found: list[Record] = []
        while at + len(found) < len(self._raws):
            record = self.recorded.record(self._raws[at + len(found)])
            if record is None:
                break
            first = found[0] if found else record
            if (record.event.cluster_id, record.head.cause) != (first.event.cluster_id, first.head.cause):
                break
            if record.head.cause == Cause(topic="tick") and record.head.at_ms != first.head.at_ms:
                break
            if record.head.cause is None and (len(found) == SAID_MAX or (found and isinstance(record.event, OWNER))):
                break
            found.append(record)
        return found

    # -- one decision -------------------------------------------------------------------------------------------------

    def _judge(self, run: list[Record]) -> int:
        """Decide it again. Returns how many records it was."""
        record, cause = run[0], run[0].head.cause
        event = record.event
        if isinstance(event, InputIgnored):
            self._ignored(record, event)
            return 1
        if isinstance(event, BookClosed):
            self._closed(record, event)
            return 1
        if cause is None:
            return 1 if isinstance(event, OWNER) or self.lane is None else self._said(run)
        if isinstance(event, InputRejected) and event.code == "ledger_lost_events":
            self._outside(run, LOST)
            return len(run)
        if cause.topic not in (*self.line.reads, "tick") or (cause.topic == "tick" and self.line.role in OBEYS):
            self._adopted(run)
            return len(run)
        if cause.topic == "tick":
            return self._ticked(run)
        given = self.recorded.at(cause)
        if given is None:
            self._outside(run, GONE)
        elif self._is_chosen(run, given):
            if cause.topic == "approvals":
                self.report.outside[PEOPLES] += 1
            self._compare(run, lambda draft: draft.take(given))
        return len(run)

    def _adopted(self, run: Sequence[Record]) -> None:
        """What has stopped whoever orders stops whoever obeys, under the same name: the cause is theirs."""
        said, about = run[0].event, None
        poison = poison_of(said, run[0].head)
        for topic in self.line.reads:
            for raw in self.recorded.of(topic, self.partition):
                record = self.recorded.record(raw)
                found = record and poison_of(record.event, record.head)
                if record and found and poison and (record.event, found.place) == (said, poison.place):
                    about = about or raw
        if not any(map(self.chosen.about, run)):
            return
        if about is None:
            self.report.judged(self.line.role, run[0], (Difference("event", type(said).__name__, NOTHING),))
            return
        theirs = about
        self._compare(run, lambda draft: draft.take(theirs))

    def _is_chosen(self, run: Sequence[Record], given: Raw) -> bool:
        about = self.recorded.record(given)
        return any(map(self.chosen.about, run)) or (about is not None and self.chosen.about(about))

    def _outside(self, run: Sequence[Record], kind: str) -> None:
        if any(map(self.chosen.about, run)):
            self.report.outside[kind] += 1

    def _ticked(self, run: list[Record]) -> int:
        """Time may have been asked several times in the same millisecond: as many events as one tick brings about."""
        first = self._decided(run[0], lambda draft: draft.tick(self.cluster_id, run[0].head.at_ms), 0, HEARD)
        run = run[: max(1, len(first))]
        if any(map(self.chosen.about, run)):
            self._compare(run, lambda draft: draft.tick(self.cluster_id, run[0].head.at_ms))
        return len(run)

    def _compare(self, run: Sequence[Record], ask: Callable[[Draft[Any]], Any]) -> None:
        first: list[Difference] | None = None
        for which, hearing, believed in self._worlds():
            differs = self._differs(run, self._decided(run[0], ask, which, hearing))
            if not differs:
                self.report.judged(self.line.role, run[0], ())
                self.report.outside.update(believed)
                return
            first = first or differs
        self.report.judged(self.line.role, run[0], first or ())

    def _worlds(self) -> Iterator[tuple[int, Hearing, tuple[str, ...]]]:
        """What the record leaves open: could the controls be read, and was the broker safe? The plain one first."""
        for which in range(len(self.rules)):
            safe = () if which == 0 else (NOT_SAFE,)
            yield which, HEARD, safe
            if self.line.consults:
                yield which, NOT_HEARD, (*safe, NOT_LIVE)
                yield which, NEVER_HEARD, (*safe, NOT_LIVE)

    def _decided(
        self, record: Record, ask: Callable[[Draft[Any]], Any], which: int, hearing: Hearing
    ) -> list[tuple[Event, Cause | None, int]]:
        controls = as_heard(self.heard.at(record.head.controls_offset), hearing)
        self.books.rules = self.rules[which]
        draft = Draft(self.books, controls, record.head.at_ms)
        ask(draft)
        self.books.rules = self.rules[0]
        return [(s.event, s.head.cause, s.head.at_ms) for s in draft.stamped]

    def _differs(self, run: Sequence[Record], decided: Sequence[tuple[Event, Cause | None, int]]) -> list[Difference]:
        found = compare([r.event for r in run], [event for event, _, _ in decided])
        for record, (_, cause, at_ms) in zip(run, decided, strict=False):
            was = record.head
            if was.cause and cause and was.cause != cause:
                found.append(Difference("head.cause.sha256", was.cause.sha256.hex(), cause.sha256.hex()))
            if was.at_ms != at_ms:
                found.append(Difference("head.at_ms", was.at_ms, at_ms))
        return found

    # -- what changed nothing -----------------------------------------------------------------------------------------

    def _ignored(self, record: Record, event: InputIgnored) -> None:
        for number, ignored in enumerate(event.inputs):
            given = self.recorded.at(ignored.cause)
            about = self.recorded.record(given) if given else None
            if given is None or about is None:
                if not self.chosen.incident:
                    self.report.outside[GONE] += 1
                continue
            if not self.chosen.about(about):
                continue
            path = f"inputs.{number}"
            differs = self._would_change(record, about, path)
            if ignored.code != IGNORED_CODE:
                differs = [*differs, Difference(f"{path}.code", ignored.code, IGNORED_CODE)]
            if about.cause != ignored.cause:
                was, now = ignored.cause.sha256.hex(), about.cause.sha256.hex()
                differs = [*differs, Difference(f"{path}.cause.sha256", was, now)]
            self.report.judged(self.line.role, record, differs)

    def _would_change(self, record: Record, given: Record, path: str) -> list[Difference]:
        """It has no time and no place of its own on record: it was taken somewhere before its answer was written, in
        its topic's order and after its own cause. It must have changed nothing at one of these places."""
        first: list[Difference] | None = None
        for state, low_ms, high_ms, offset in self._places(record, given):
            for now_ms in dict.fromkeys((high_ms, low_ms)):
                for which, hearing, believed in self._worlds():
                    decided = self._answers(state, given, now_ms, as_heard(self.heard.at(offset), hearing), which)
                    if not decided:
                        self.report.outside.update(believed)
                        return []
                    what = ", ".join(type(e).__name__ for e in decided)
                    first = first or [Difference(path, IGNORED_CODE, what)]
        return first or [Difference(path, IGNORED_CODE, "it stands before what it answers")]

    def _answers(self, state: Any, given: Record, now_ms: int, controls: Controls, which: int) -> Sequence[Event]:
        controls = self.books.controls_of(self.cluster_id, controls)
        try:
            return self.rules[which].decide(state, given, now_ms, controls)
        except Exception as error:  # then it would have been rejected
            return (InputRejected(cluster_id=self.cluster_id, code="impossible", text=str(error)[:500]),)

    def _places(self, record: Record, given: Record) -> Iterator[tuple[Any, int, int, int]]:
        """State, the least and the latest time, controls: from the latest place backwards."""
        heard_ms = self.books.heard_ms(Raw(given.topic, given.partition, given.offset, given.at_ms, None, None))
        high_ms, offset = record.head.at_ms, record.head.controls_offset
        behind = [
            at
            for at, e in enumerate(self._trail)
            if any(c.topic == given.topic and c.offset > given.offset for c in e.causes)
        ]
        until = behind[0] if behind else len(self._trail)
        own = given.head.cause
        for at in range(until, -1, -1):
            before = self._trail[at - 1] if at else None
            state = before.state if before else self.rules[0].initial(self.cluster_id)
            low_ms = max(before.record.head.at_ms if before else 0, heard_ms)
            yield state, min(low_ms, high_ms), high_ms, offset
            if before is None or isinstance(before.record.event, InputIgnored):
                return
            if any(c.topic == given.topic and c.offset < given.offset for c in before.causes):
                return
            if own and (own.topic, own.offset) == (self.topic, before.record.offset):
                return
            high_ms, offset = before.record.head.at_ms, before.record.head.controls_offset

    def _unanswered(self) -> None:
        """Between the first and the last input that has an answer, each has one."""
        for topic, answered in self._answered.items():
            first, last = min(answered), max(answered)
            for raw in self.recorded.of(topic, self.partition):
                if not first < raw.offset < last or raw.offset in answered:
                    continue
                record = self.recorded.record(raw)
                if record is None or record.event.cluster_id != self.cluster_id or isinstance(record.event, OWNER):
                    continue
                if self.chosen.about(record):
                    text = f"no answer of {self.line.role}"
                    self.report.judged(self.line.role, record, (Difference("answer", text, "one event at least"),))

    # -- what a lane has said, and closed books ----------------------------------------------------------------------

    def _said(self, run: list[Record]) -> int:
        assert self.lane is not None
        run = [r for r in run if r.head.cause is None]
        if not any(map(self.chosen.about, run[:1])):
            return 1
        before = self._trail[-1].record.head if self._trail else run[0].head
        offset = run[0].head.controls_offset
        heard = [
            self.books.controls_of(self.cluster_id, c)
            for c in self.heard.until(offset, min(before.controls_offset, offset))
        ]
        past = Past(
            state=self.books.state(self.cluster_id),
            run=run,
            heard=heard,
            since_ms=before.at_ms,
            owner_since_ms=self._owner_since_ms,
        )
        first: Judged | None = None
        for which in range(len(self.rules)):
            judged = self.lane(self.rules[which], past)
            if not judged.differs:
                judged = replace(judged, outside=(*judged.outside, *((NOT_SAFE,) if which else ())))
                first = judged
                break
            first = first or judged
        assert first is not None
        self.report.outside.update(first.outside)
        if first.decided or first.differs:
            self.report.judged(self.line.role, run[0], first.differs)
        return max(1, min(first.events, len(run)))

    def _closed(self, record: Record, event: BookClosed) -> None:
        saved = self.books.saved()
        if event.state_schema != saved.schema or not self.chosen.about(record):
            return
        draft = Draft(self.books, self.heard.at(record.head.controls_offset), record.head.at_ms)
        draft.close(self.cluster_id)
        self.report.judged(self.line.role, record, compare([event], [s.event for s in draft.stamped]))

    # -- the fold -----------------------------------------------------------------------------------------------------

    def _fold(self, raw: Raw) -> None:
        read = self.recorded.read(raw)
        self.books.broken = self._breaks
        self.books.restore(raw, read[0] if read else None)
        self._breaks, self.books.broken = self.books.broken, self._broken
        if read is None:
            return
        record = read[1]
        if isinstance(record.event, OwnerStarted):  # it knows what is broken from its start on, and says so
            self.books.broken = self._broken = dict(record.event.broken)
            self._owner_since_ms = record.head.at_ms
            self.builds.add(record.event.build)
        causes = tuple(cited(record))
        for cause in causes:
            if cause.topic not in self.line.reads:
                continue
            self._answered.setdefault(cause.topic, set()).add(cause.offset)
        if record.event.cluster_id == self.cluster_id:
            self._trail.append(_Entry(record, self.books.state(self.cluster_id), causes))
            del self._trail[:-TRAIL_MAX]
