"""What has been seen on all topics, folded for people: stories of incidents and remediations, what waits, what is dead.

Pure: whoever runs it hands it every record. Topics are read side by side, so an event may come before the one that it
answers; each finds its story by its ids. A record that comes twice changes nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from console.words import call, lifting, objections, said, stopped
from infra.runners.books import Raw, admit, fold_control, poison_of
from schemas import events as e
from schemas.controls import Controls
from schemas.lifecycle import VERBS, State, after
from schemas.processors import Record
from schemas.text import moment, people, times, zoned
from schemas.topics import partition_of
from schemas.values import EVERY_CLUSTER, AlertRef, Call, Poison, SignedApproval
from schemas.wire import decode
from streams.pipeline import ACT, BY_NAME
from streams.rules.windows import its_hour_ms
from streams.ticket_story import Owed, Remedy, learn_remedy

CLOSED_KEPT = 5000
LINES_KEPT = 500  # of one story; the first ones and the latest
FIRST_LINES = 50
EXECUTING: tuple[State, ...] = ("authorised", "running")
LIFTED_BY_PEOPLE = ("frozen", "halted", "quarantined", "controls_unreadable")
EVENTS_KEPT = 5000
DEAD_KEPT = 1000
DEAD_TOPICS = "dead-letters."
ACTING_LEDGERS = frozenset(
    p.writes[0] for p in ACT if p.consults and p.verb != "maps"
)  # what poisons these stops acting
MACHINERY = (  # no story has them
    e.InputIgnored,
    e.OwnerStarted,
    e.GenesisMarked,
    e.BookClosed,
    e.DayClosed,
    e.TicketNoted,
    e.NotificationStarted,
)


@dataclass(frozen=True)
class Line:
    """One event as `watch` and `show` print it. `n` counts what this process has seen."""

    n: int
    at_ms: int
    topic: str
    event: str
    cluster_id: str
    incident_id: str
    remediation_id: str
    text: str


@dataclass(frozen=True)
class Waits:
    """Something that waits for somebody, until when, and what can be said to it. `command`: where one is all there
    is."""

    id: str
    cluster_id: str
    incident_id: str
    what: str
    who: str
    until_ms: int
    verbs: tuple[str, ...]
    reason: str = ""
    since_ms: int = 0
    command: str = ""


@dataclass(frozen=True)
class Reason:
    """Why something was not done, or was: a code that is counted, words, and the command that moves it, if one does."""

    at_ms: int
    id: str
    code: str
    text: str
    command: str = ""
    count: int = 1  # how often it was said; `at_ms` is the latest


@dataclass
class IncidentStory:
    incident_id: str
    cluster_id: str
    opened: e.IncidentOpened | None = None
    opened_ms: int = 0
    closed: e.IncidentClosed | None = None
    adopted: e.DiagnosisAdopted | None = None
    ticket: e.TicketWritten | None = None
    alerts: dict[str, AlertRef] = field(default_factory=dict)
    remediations: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


@dataclass
class RemediationStory:
    """`state` is what the acting ledger says; the rest is what was said around it."""

    remediation_id: str
    cluster_id: str
    incident_id: str = ""
    state: State | None = None
    since_ms: int = 0
    proposed: e.ActionProposed | None = None
    validated: e.ProposalValidated | None = None
    deferred: e.ProposalDeferred | None = None
    ask: e.ApprovalAsked | None = None
    asked_of: str = ""
    expires_at_ms: int = 0
    approvals: list[SignedApproval] = field(default_factory=list)
    blocked: e.ExecutionBlocked | None = None
    flagged: e.RemediationFlagged | None = None
    owed: dict[int, Call] = field(default_factory=dict)  # change of the plan -> its undo, until it is undone
    concluded: e.Concluded | None = None
    closed: e.RemediationClosed | None = None
    remedy: Remedy = field(default_factory=lambda: Remedy(remediation_id=""))  # as its ticket knows it
    by: str = ""
    answers: list[tuple[Line, e.Event]] = field(default_factory=list)  # what the ledger has said to words of people
    reasons: list[Reason] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Dead:
    at_ms: int
    letter: e.DeadLetter


@dataclass
class Journal:
    """All that the console knows. Whoever reads the topics sets `caught_up` once it has read to their ends."""

    partitions: int = 1
    caught_up: bool = False
    incidents: dict[str, IncidentStory] = field(default_factory=dict)
    remediations: dict[str, RemediationStory] = field(default_factory=dict)
    controls: Controls = field(default_factory=lambda: Controls(live=True, read_once=True))
    policy_adopted: e.PolicyAdopted | None = None
    dead: deque[Dead] = field(default_factory=lambda: deque(maxlen=DEAD_KEPT))
    dead_count: int = 0
    dead_by: Counter[tuple[str, str]] = field(default_factory=Counter)  # (role, code)
    unreadable: int = 0  # records that this process could not read: others have dead-lettered what matters
    heard_ms: dict[str, int] = field(default_factory=dict)  # topic -> append time of its latest record
    clusters: set[str] = field(default_factory=set)
    _lines: deque[Line] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    _n: int = 0
    _positions: dict[tuple[str, int], int] = field(default_factory=dict)
    _closed: deque[str] = field(default_factory=deque)
    _tests: dict[str, tuple[str, int]] = field(default_factory=dict)  # synthetic alert -> its incident, and since when
    _poisoned: dict[tuple[str, str, str], Poison] = field(default_factory=dict)  # by ledger, what it stops, place
    _broken: dict[tuple[str, int], tuple[int, dict[str, str]]] = field(default_factory=dict)  # as each last owner said

    # -- what goes in ----------------------------------------------------------------------------------------------

    def take(self, raw: Raw) -> None:
        """One record of any topic, a dead-letter topic included. Never raises."""
        if raw.offset <= self._positions.get((raw.topic, raw.partition), -1):
            return
        self._positions[raw.topic, raw.partition] = raw.offset
        self.heard_ms[raw.topic] = max(raw.at_ms, self.heard_ms.get(raw.topic, 0))
        if raw.topic == "controls":  # by the fold of those who act: what can't be read stops them
            self.controls = fold_control(self.controls, raw)
        try:
            if raw.topic.startswith(DEAD_TOPICS):
                decoded = decode(raw.value)
                self._see(raw.topic, raw.at_ms, decoded.event, "")
            elif raw.topic in BY_NAME:
                self._record(admit(raw, self.partitions))
        except e.Unreadable:
            self.unreadable += raw.topic != "alerts"  # there anything may stand

    def _record(self, record: Record) -> None:
        cause = record.head.cause
        if record.topic in ACTING_LEDGERS and (poison := poison_of(record.event, record.head)):
            self._poisoned[record.topic, poison.stops, poison.place] = poison
        if isinstance(record.event, e.OwnerStarted):
            self._broken[record.topic, record.partition] = (record.at_ms, record.event.broken)
        self._see(record.topic, record.at_ms, record.event, cause.topic if cause else "")
        if story := self.remediations.get(getattr(record.event, "remediation_id", "")):
            story.remedy = learn_remedy(story.remedy, record)

    def _see(self, topic: str, at_ms: int, event: e.Event, cause: str) -> None:
        if isinstance(event, MACHINERY):
            return
        self._n += 1
        found: Any = event
        remediation_id = str(getattr(found, "remediation_id", ""))
        incident_id = str(getattr(found, "incident_id", ""))
        known = self.remediations.get(remediation_id)
        incident_id = incident_id or (known.incident_id if known else "")
        name = type(event).__name__
        line = Line(self._n, at_ms, topic, name, event.cluster_id, incident_id, remediation_id, said(event))
        self._lines.append(line)
        if isinstance(event, e.DeadLetter):
            self.dead.append(Dead(at_ms, event))
            self.dead_count += 1
            self.dead_by[event.role, event.code] += 1
            return
        if topic == "controls":
            if isinstance(event, e.PolicyAdopted):
                self.policy_adopted = event
            return
        if not event.cluster_id.startswith(("~", "*")) and topic != "alerts":
            self.clusters.add(event.cluster_id)
        if remediation_id and not isinstance(event, e.TicketWritten):
            self._of_remediation(line, event, cause)
        if incident_id:
            self._of_incident(line, event)

    def _of_incident(self, line: Line, event: e.Event) -> None:
        story = self.incidents.get(line.incident_id)
        if story is None:
            story = self.incidents[line.incident_id] = IncidentStory(line.incident_id, line.cluster_id)
            story.opened_ms = line.at_ms
        _keep(story.lines, line)
        match event:
            case e.IncidentOpened():
                story.opened, story.opened_ms = event, line.at_ms
                story.alerts[event.alert.fingerprint] = event.alert
                if event.synthetic:
                    self._tests[event.alert.fingerprint] = (story.incident_id, line.at_ms)
            case e.AlertFolded():
                story.alerts[event.alert.fingerprint] = event.alert
                if story.opened and story.opened.synthetic:
                    self._tests.setdefault(event.alert.fingerprint, (story.incident_id, line.at_ms))
            case e.DiagnosisAdopted():
                story.adopted = event
            case e.DiagnosisAbstained():
                story.reasons.append(Reason(line.at_ms, event.by, event.code, event.reason))
            case e.DiagnosisOverdue():
                story.reasons.append(Reason(line.at_ms, event.by, "diagnosis_overdue", line.text))
            case e.TicketWritten() if story.ticket is None or event.version >= story.ticket.version:
                story.ticket = event
            case e.IncidentClosed():
                story.closed = event
                self._closed.append(story.incident_id)
                self._forget()
        if line.remediation_id and line.remediation_id not in story.remediations:
            story.remediations.append(line.remediation_id)

    def _of_remediation(self, line: Line, event: e.Event, cause: str) -> None:
        story = self.remediations.get(line.remediation_id)
        if story is None:
            story = self.remediations[line.remediation_id] = RemediationStory(line.remediation_id, line.cluster_id)
            story.remedy = Remedy(remediation_id=line.remediation_id)
        story.incident_id = story.incident_id or line.incident_id
        _keep(story.lines, line)
        if line.topic == "remediations":
            self._moves(story, line, event)
            if cause == "approvals":
                story.answers.append((line, event))
        _tell(story, line, event)

    def _moves(self, story: RemediationStory, line: Line, event: e.Event) -> None:
        """The state, by the one table of the lifecycle; what the table does not have moves nothing."""
        try:
            moved = "closed" if isinstance(event, e.RemediationClosed) else after(story.state, line.event)
        except KeyError:
            return
        if moved != story.state:
            story.state, story.since_ms = moved, line.at_ms

    def _forget(self) -> None:
        while len(self._closed) > CLOSED_KEPT:
            story = self.incidents.pop(self._closed.popleft(), None)
            for remediation_id in story.remediations if story else ():
                self.remediations.pop(remediation_id, None)

    # -- what comes out --------------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        return self._n

    def since(self, n: int, most: int = 500) -> list[Line]:
        """Events after the n-th, oldest first; what is older than is kept is missing, and `n` shows it."""
        return [line for line in self._lines if line.n > n][:most]

    def ticket_of_test(self, fingerprint: str) -> IncidentStory | None:
        """The incident that a test alert has become or joined, once its ticket has been written since."""
        incident_id, since_ms = self._tests.get(fingerprint, ("", 0))
        story = self.incidents.get(incident_id)
        told = story is not None and any(x.topic == "tickets" and x.at_ms >= since_ms for x in story.lines)
        return story if told else None

    def open_incidents(self, cluster_id: str = "") -> list[IncidentStory]:
        found = (i for i in self.incidents.values() if not i.closed and cluster_id in ("", i.cluster_id))
        return sorted(found, key=lambda i: i.opened_ms, reverse=True)

    def all_incidents(self, cluster_id: str = "") -> list[IncidentStory]:
        found = (i for i in self.incidents.values() if cluster_id in ("", i.cluster_id))
        return sorted(found, key=lambda i: i.opened_ms, reverse=True)

    def waiting(self, now_ms: int) -> list[Waits]:
        """What waits for whom, the most urgent first."""
        found = [w for r in self.remediations.values() if (w := _waits(r, self.controls, now_ms))]
        found += [_waits_to_be_lifted(p) for p in self.poisoned()]
        found += [
            Waits(
                id=topic,
                cluster_id=key,
                incident_id="",
                what="its ledger is broken",
                who="the people who run Steward",
                until_ms=0,
                verbs=(),
                reason=text,
                since_ms=at_ms,
                command="" if key.startswith("~") else f"steward audit verify {key}",
            )
            for topic, key, at_ms, text in self.broken()
        ]
        return sorted(found, key=lambda w: (w.until_ms or 2**62, w.id))

    def poisoned(self, cluster_id: str = "") -> list[Poison]:
        """The inputs that stop acting, on this cluster or anywhere, and that nobody has lifted; the oldest first."""
        by_place = {(p.stops, p.place): p for p in self._poisoned.values()}  # two ledgers may have said it
        found = [p for p in by_place.values() if not self.controls.has_lifted(p)]
        found += self.controls.poisoned.values()
        if cluster_id:
            here = (EVERY_CLUSTER, f"~{partition_of(cluster_id, self.partitions)}", cluster_id)
            found = [p for p in found if p.stops in here]
        return sorted(found, key=lambda p: (p.at_ms, p.place))

    def broken(self, cluster_id: str = "") -> list[tuple[str, str, int, str]]:
        """(topic, cluster or `~N`, since when that is known, what is wrong) of each ledger that its latest owner found
        broken."""
        here = (cluster_id, f"~{partition_of(cluster_id, self.partitions)}")
        return [
            (topic, key, at_ms, text)
            for (topic, _), (at_ms, found) in sorted(self._broken.items())
            for key, text in sorted(found.items())
            if not cluster_id or key in here
        ]

    def overdue(self, cluster_id: str, now_ms: int) -> list[tuple[RemediationStory, Owed]]:
        """What is to be taken back on this cluster, and is not though its time has come."""
        here = [r for r in self.remediations.values() if r.cluster_id == cluster_id and r.state in EXECUTING]
        return [(r, owed) for r in here for owed in r.remedy.overdue(now_ms)]

    def why_stopped(self, cluster_id: str, now_ms: int) -> list[Reason]:
        """What keeps this cluster from being acted on: stops, quarantine, inputs, an undo that is owed, no policy."""
        found = [
            Reason(p.at_ms, p.place, "controls_unreadable", f"stops {stopped(p)}: {p.text}", lifting(p.scope, p.place))
            for p in self.poisoned(cluster_id)
        ]
        found += [Reason(at_ms, topic, "ledger_broken", text) for topic, _, at_ms, text in self.broken(cluster_id)]
        for (kind, scope), stop in self.controls.stops.items():
            if scope in (EVERY_CLUSTER, cluster_id):
                code = "halted" if kind == "halt" else "frozen"
                found.append(Reason(stop.at_ms, scope, code, f"{kind} by {stop.by}: {stop.reason}", lifting(scope)))
        for r in self.remediations.values():
            if r.cluster_id == cluster_id and r.state == "unknown":
                command = f'steward resolve {r.remediation_id} --outcome ... --reason "..."'
                found.append(Reason(r.since_ms, r.remediation_id, "quarantined", "it ended UNKNOWN", command))
        found += [_late(r, owed) for r, owed in self.overdue(cluster_id, now_ms)]
        if self.controls.policy.version == 0:
            text = "nobody has adopted a policy, so everything observes"
            found.append(Reason(0, cluster_id, "no_policy", text, 'steward policy apply --reason "..."'))
        return sorted(found, key=lambda r: r.at_ms)

    def why(self, id: str, now_ms: int) -> list[Reason] | None:
        """Every coded reason of an incident (its remediations' included) or a remediation; None: no such story."""
        if remediation := self.remediations.get(id):
            return _folded(_reasons(remediation, now_ms))
        story = self.incidents.get(id)
        if story is None:
            return None
        found = list(story.reasons)
        for remediation_id in story.remediations:
            known = self.remediations.get(remediation_id)
            found += _reasons(known, now_ms) if known else []
        if not story.remediations:
            found.append(self._no_remediation(story))
        return _folded(found)

    def _no_remediation(self, story: IncidentStory) -> Reason:
        last = story.lines[-1].at_ms if story.lines else story.opened_ms
        if story.adopted is None:
            return Reason(last, story.incident_id, "no_diagnosis", "there is no diagnosis yet that could be acted on")
        if not story.adopted.final:
            return Reason(last, story.incident_id, "diagnosis_not_final", "the model's answer is still awaited")
        if self.controls.policy.version == 0:
            text = "nobody has adopted a policy, so everything observes: steward policy apply"
            return Reason(last, story.incident_id, "no_policy", text)
        text = "no repair has been proposed yet: acting may be busy, down or not installed"
        return Reason(last, story.incident_id, "nothing_heard", text)

    def near(self, id: str) -> list[str]:
        """What there is, for who asked for something that there is not: the open ones, latest first."""
        open_ones = [r.remediation_id for r in self.remediations.values() if r.state not in (None, "closed")]
        return [*reversed(open_ones), *(i.incident_id for i in self.open_incidents())][:10]


def _folded(reasons: list[Reason]) -> list[Reason]:
    """Each once with its count, in the order of when it was said last."""
    found: dict[tuple[str, str, str], Reason] = {}
    for r in sorted(reasons, key=lambda r: r.at_ms):
        said = found.pop((r.id, r.code, r.text), None)
        found[r.id, r.code, r.text] = replace(r, count=said.count + 1) if said else r
    return list(found.values())


def _reasons(story: RemediationStory, now_ms: int) -> list[Reason]:
    late = story.remedy.overdue(now_ms) if story.state in EXECUTING else ()
    return [*story.reasons, *(_late(story, owed) for owed in late)]


def _late(story: RemediationStory, owed: Owed) -> Reason:
    return Reason(owed.due_ms, story.remediation_id, "undo_overdue", overdue_text(owed), owed.undo_by_hand)


def overdue_text(owed: Owed) -> str:
    """What was to be undone when, and what has kept it from being."""
    since = f"due {moment(owed.due_ms)}, not seen undone: {owed.undo}"
    if not owed.tried:
        return f"{since}; nothing is on record of it having been tried: can PD be read, does `execute` run?"
    last = owed.tried[-1]
    came = ": ".join(filter(None, (last.answer.replace("_", " ") or "no answer yet", last.code, last.body)))
    return f"{since}; tried {times(len(owed.tried))}, last {moment(last.at_ms)}: {came}"


def _keep(lines: list[Line], line: Line) -> None:
    lines.append(line)
    if len(lines) > LINES_KEPT:
        del lines[FIRST_LINES]


def _tell(story: RemediationStory, line: Line, event: e.Event) -> None:
    """What one event adds to a remediation's story."""

    def because(code: str, text: str) -> None:
        story.reasons.append(Reason(line.at_ms, story.remediation_id, code, text))

    match event:
        case e.ActionProposed():
            story.proposed, story.by = event, event.by
        case e.NothingProposed():
            because(event.code, event.reason)
        case e.RemediationOpened():
            story.by = event.by
        case e.ProposalValidated():
            story.validated = event
        case e.ProposalRefused():
            for objection in event.objections:
                because(objection.code, objection.text)
        case e.ProposalDeferred():
            story.deferred = event
            story.ask, story.approvals, story.blocked = None, [], None
            because("deferred", objections(event.objections))
        case e.ProposalAskedAgain():
            story.ask, story.approvals, story.blocked = None, [], None
        case e.ApprovalAsked():
            story.ask, story.expires_at_ms, story.approvals = event, event.expires_at_ms, []
            story.asked_of = event.escalation[event.step] if event.step < len(event.escalation) else "people"
        case e.ApprovalEscalated():
            story.asked_of, story.expires_at_ms = event.asked, event.expires_at_ms
        case e.ApprovalCounted():
            story.approvals.append(event.approval)
        case e.ApprovalRejected():
            because(event.code, f"{event.person}: {event.text}")
        case e.ExecutionBlocked():
            story.blocked = event
            because(event.code, event.text)
        case e.ClaimRefused() | e.ExecutionAborting():
            because(event.code, event.text)
        case e.RemediationFlagged():
            story.flagged = event
            because(event.code, event.text)
        case e.ClusterQuarantined():
            because("quarantined", event.text)
        case e.StepIntended(kind="do") if event.undo:
            story.owed[event.change] = event.undo
        case e.ChangeUndone():
            story.owed.pop(event.change, None)
        case e.StepTaken(answer="never_sent" | "may_have_run" | "refused"):
            because(event.code or event.answer, f"step {event.step}, {event.answer.replace('_', ' ')}: {event.body}")
        case e.Concluded():
            story.concluded = event
            because(event.code or event.outcome, event.text)
        case e.RemediationClosed():
            story.closed = event
            if not story.concluded:  # else it repeats how it concluded
                because(event.code, event.text)


def said_now(story: RemediationStory) -> tuple[str, ...]:
    """What a person can say of it now: by the table of the lifecycle, and while there is something to undo."""
    verbs = VERBS[story.state] if story.state else ()
    return tuple(v for v in verbs if v != "undo" or not story.remedy.is_undone())


def _waits(story: RemediationStory, controls: Controls, now_ms: int) -> Waits | None:
    """For whom this remediation waits; None: for nobody, it goes on by itself."""

    def waits(what: str, who: str, until_ms: int = 0, reason: str = "") -> Waits:
        return Waits(
            story.remediation_id,
            story.cluster_id,
            story.incident_id,
            what,
            who,
            until_ms,
            said_now(story),
            reason,
            since_ms=story.since_ms,
        )

    match story.state:
        case "asked" if story.ask:
            missing = story.ask.needed - len(story.approvals)
            if missing <= 0:
                return waits("acts unless stopped", "anyone", story.expires_at_ms, story.ask.rule)
            return waits(f"approval by {people(missing)}", story.asked_of, story.expires_at_ms, story.ask.why)
        case "approved" if story.blocked:
            until = story.blocked.until_ms
            who = "whoever can lift it" if story.blocked.code in LIFTED_BY_PEOPLE else "time"
            return waits(f"blocked: {story.blocked.code}", who, until, story.blocked.text)
        case "deferred" if story.deferred:
            for_what = "its hour" if its_hour_ms(story.deferred.objections) else "better facts"
            return waits(for_what, "time", story.deferred.until_ms, objections(story.deferred.objections))
        case "unknown":
            why = f": {_how(story.concluded)}" if story.concluded else ""
            by_hand = "; ".join(story.remedy.owed_by_hand)
            owed = f"; if it is there, undo it by hand: {by_hand}" if by_hand else ""
            return waits("a person must look and say how it ended", "anyone", 0, f"its outcome is UNKNOWN{why}{owed}")
        case "authorised" | "running" if stopped := controls.refuses_undo(story.cluster_id):
            owed = ", ".join(call(c) for c in story.owed.values()) or "nothing"
            return waits("halted in the middle", "whoever can lift it", 0, f"{stopped[1]}; owed meanwhile: {owed}")
        case "authorised" | "running" if late := story.remedy.overdue(now_ms):
            text = "; ".join(f"{overdue_text(o)}; by hand: {o.undo_by_hand}" for o in late)
            return waits("an undo is overdue", "the people who run Steward, or anyone by hand", late[0].due_ms, text)
        case "authorised" | "running" if story.flagged:
            return waits(f"takes long: {story.flagged.code}", "the people who run Steward", 0, story.flagged.text)
        case "closed" if story.concluded and story.concluded.owed:
            by_hand = "; ".join(story.remedy.owed_by_hand)
            text = f"{_how(story.concluded)}; by hand: {by_hand}"
            return waits("an undo is still owed", "a person, by hand", 0, text)
    return None


def _how(concluded: e.Concluded) -> str:
    """How it ended, and what is owed since."""
    owed = ", ".join(call(change.undo or change.do) for change in concluded.owed)
    return concluded.text + (f"; still owed: {owed}" if owed else "")


def _waits_to_be_lifted(poison: Poison) -> Waits:
    return Waits(
        id=poison.place,
        cluster_id=poison.scope,
        incident_id="",
        what="to be lifted",
        who="anyone",
        until_ms=0,
        verbs=("lift",),
        reason=f"since {moment(poison.at_ms)} it stops {stopped(poison)}: {poison.text}",
        since_ms=poison.at_ms,
        command=lifting(poison.scope, poison.place),
    )


def headline(story: IncidentStory) -> str:
    """The ticket's headline, or what there is before the first ticket."""
    if story.ticket:
        return story.ticket.headline
    return f"{story.cluster_id}: {story.opened.title}" if story.opened else f"{story.cluster_id}: {story.incident_id}"


def standing(story: IncidentStory, remediations: Iterable[RemediationStory]) -> str:
    """How it stands, in a word or two."""
    if story.ticket:
        return story.ticket.status
    if story.closed:
        return f"CLOSED, {story.closed.code}"
    states = [r.state for r in remediations if r.state not in (None, "closed")]
    if states:
        return str(states[-1]).upper()
    return f"DIAGNOSED {zoned(story.lines[-1].at_ms)}" if story.adopted else "OPEN"
