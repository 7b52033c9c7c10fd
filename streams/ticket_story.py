"""What a ticket knows: the facts that each of its versions carries, and what each event adds to them. Pure.

How it is said stands in streams/ticket_text.py, when it is said in streams/tickets.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from actions import calls
from schemas import events as e
from schemas.processors import Record
from schemas.text import params_text
from schemas.values import AlertRef, Call, Objection, Sample

REMEDIES_KEPT_MAX = 8
NAMES_KEPT_MAX = 20
SENT_KEPT_MAX = 40
LINKS_KEPT_MAX = 6
MADE_KEPT_MAX = 2  # one by the playbook, one by a model
EVIDENCE_KEPT_MAX = 30
SAID_KEPT_MAX = 10
OVERDUE_AFTER_S = 60  # an undo is sent within a poll of being due, and seen gone within another
CONFIRMED_WITHIN_S = 180  # what PD has accepted is seen gone within so long


def in_words(call: Call) -> str:
    """A call that no table renders: its name and its arguments."""
    return " ".join([call.name, *(f"{k}={v}" for k, v in sorted(call.args.items()))])


def as_sent(call: Call) -> str:
    try:
        return str(calls.render(call))
    except calls.BadCall:
        return in_words(call)


def by_hand(call: Call) -> str:
    try:
        return calls.by_hand(call)
    except calls.BadCall:
        return in_words(call)


@dataclass(frozen=True)
class CallWords:
    """How a call is said: as it is sent, and as a person would type it."""

    as_sent: Callable[[Call], str] = as_sent
    by_hand: Callable[[Call], str] = by_hand


CALL_WORDS = CallWords()


class Fact(BaseModel):
    """Kept as JSON in each version of a ticket; a field of a later release is passed over by an earlier one."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Diagnosis(Fact):
    by: str
    cause: str
    confidence: float
    summary: str
    final: bool
    agreed: bool | None = None
    model: str = ""
    evidence: tuple[tuple[str, str], ...] = ()  # id, text
    stores: tuple[str, ...] = ()  # that the evidence names
    ask_id: str = ""
    ruled_out: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Made(Fact):
    """What a diagnosis says beside what is adopted of it. It may be heard before its adoption, or after."""

    ask_id: str
    for_people: str = ""
    evidence: tuple[tuple[str, str], ...] = ()  # id, text: all that was looked at


class Word(Fact):
    """A person's."""

    person: str
    via: str
    at_ms: int
    reason: str


class Sent(Fact):
    """One intended request, and what came of it."""

    step: int
    text: str
    kind: str = "do"  # do | undo
    undo: str = ""  # what takes it back
    undo_by_hand: str = ""
    keep_s: int = 0  # for so long; 0: it is meant to stay, or is itself an undo
    at_ms: int = 0  # when it was intended
    due_ms: int = 0  # when what it has changed is to be taken back; 0: it has changed nothing yet, or is meant to stay
    change: int = 0
    answer: str = ""
    status: int = 0
    code: str = ""
    body: str = ""  # why it was not sent, or what came back
    finding: str = ""

    def is_done(self) -> bool:
        return self.answer == "accepted" or self.finding == "applied"


class Undone(Fact):
    change: int
    at_ms: int
    settled_at_ms: int = 0


class Owed(Fact):
    """A change of ours that has not been seen undone."""

    change: int
    undo: str
    undo_by_hand: str
    due_ms: int
    tried: tuple[Sent, ...] = ()  # the undos so far

    def is_overdue(self, now_ms: int) -> bool:
        return now_ms >= self.overdue_ms()

    def overdue_ms(self) -> int:
        """When it is said that it is not undone yet."""
        late_ms = self.due_ms + OVERDUE_AFTER_S * 1000
        if self.tried and self.tried[-1].answer == "accepted":
            return max(late_ms, self.tried[-1].at_ms + CONFIRMED_WITHIN_S * 1000)
        return late_ms


class Remedy(Fact):
    """One remediation, as far as it has come."""

    remediation_id: str
    action: str = ""  # empty: nothing was proposed
    params: str = ""
    stage: str = "proposed"  # proposed | deferred | asked | blocked | authorised, as the acting ledger said last
    tier: str = ""
    mode: str = ""
    rule: str = ""
    needed: int = 0
    asked_at_ms: int = 0
    expires_at_ms: int = 0
    asked: str = ""
    digest: str = ""
    approvals: tuple[Word, ...] = ()
    not_counted: tuple[str, ...] = ()
    objections: tuple[Objection, ...] = ()
    blocked: str = ""  # coded
    until_ms: int = 0
    claimed_at_ms: int = 0
    token: str = ""
    attempt: int = 0
    sent: tuple[Sent, ...] = ()
    undone: tuple[Undone, ...] = ()
    said: tuple[str, ...] = ()  # orders, aborts, flags
    aborting_ms: int = 0  # since when all that can be undone is to be
    undo_overdue: bool = False  # time has shown it: no event comes while PD can't be read
    outcome: str = ""
    outcome_code: str = ""
    outcome_text: str = ""
    concluded_at_ms: int = 0
    figures: str = ""
    samples: int = 0
    errors: int = 0
    owed: tuple[str, ...] = ()
    owed_by_hand: tuple[str, ...] = ()
    resolved_as: str = ""  # an UNKNOWN, by a person's word
    closed_code: str = ""
    closed_text: str = ""

    def is_open(self) -> bool:
        return not self.closed_code

    def is_undone(self) -> bool:
        """Something was made that can be undone, and all of that is seen undone."""
        made = {s.change for s in self.sent if s.kind == "do" and s.is_done() and s.undo}
        return bool(made) and made <= {u.change for u in self.undone}

    def still_owed(self) -> tuple[Owed, ...]:
        """What an open execution has to take back, each with when. At its end `owed` says what is left."""
        gone = {u.change for u in self.undone}
        found = []
        for s in self.sent:
            due_ms = min(filter(None, (s.due_ms, self.aborting_ms)), default=0)
            if s.kind == "do" and s.is_done() and s.undo and due_ms and s.change not in gone and not self.outcome:
                tried = tuple(u for u in self.sent if u.kind == "undo" and u.change == s.change)
                found.append(
                    Owed(change=s.change, undo=s.undo, undo_by_hand=s.undo_by_hand, due_ms=due_ms, tried=tried)
                )
        return tuple(found)

    def overdue(self, now_ms: int) -> tuple[Owed, ...]:
        return tuple(o for o in self.still_owed() if o.is_overdue(now_ms))


class Story(Fact):
    """All that a ticket is made from. `opened_at_ms` 0: the incident itself has not been heard of yet."""

    incident_id: str
    cluster_id: str
    synthetic: bool = False
    opened_at_ms: int = 0
    title: str = ""
    level: str = ""
    alert_at_ms: int = 0
    names: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (what it is, URL), as the alerts have them
    folded: int = 0
    firing: int = 0
    again: int = 0
    incomplete: bool = False
    asks: tuple[str, ...] = ()  # of the latest round
    asked: tuple[str, ...] = ()  # who has not answered yet
    overdue: tuple[str, ...] = ()
    abstained: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    made: tuple[Made, ...] = ()  # the latest of each round
    remedies: tuple[Remedy, ...] = ()
    closed_code: str = ""
    closed_text: str = ""
    closed_at_ms: int = 0

    def left_to_people(self) -> str:
        """What remains for a person by the diagnosis that stands."""
        d = self.diagnosis
        return next((m.for_people for m in self.made if d and d.final and m.ask_id == d.ask_id), "")

    def remedy(self) -> Remedy | None:
        """The one to speak of: what is open, else what was done, else what was said last."""
        found = [r for r in self.remedies if r.action and r.is_open()] or [r for r in self.remedies if r.outcome]
        found = found or list(self.remedies)
        return found[-1] if found else None

    def is_open(self) -> bool:
        return not self.closed_code or any(r.action and r.is_open() for r in self.remedies)


# -- what each event adds to the story --------------------------------------------------------------------------------


def learn(story: Story, given: Record, words: CallWords) -> Story:
    """The story with this event in it; the same story where it adds nothing."""
    event, at_ms = given.event, given.head.at_ms
    match event:
        case e.IncidentOpened():
            return story.model_copy(
                update={
                    "opened_at_ms": at_ms,
                    "title": event.title,
                    "level": event.level,
                    "alert_at_ms": event.alert.starts_at_ms,
                    "names": (event.alert.name,),
                    "links": _linked((), event.alert, event.generator_url),
                    "firing": 1,
                    "incomplete": event.incomplete,
                    "synthetic": event.synthetic,
                }
            )
        case e.AlertFolded():
            names = story.names if event.alert.name in story.names else (*story.names, event.alert.name)
            return story.model_copy(
                update={
                    "names": names[:NAMES_KEPT_MAX],
                    "links": _linked(story.links, event.alert, event.generator_url),
                    "folded": event.folded,
                    "firing": event.firing,
                    "again": story.again + event.again,
                }
            )
        case e.AlertCleared():
            return story.model_copy(update={"firing": event.firing})
        case e.DiagnosisAsked():
            begun = event.by == "playbook"  # it begins a round
            return story.model_copy(
                update={
                    "asks": (event.ask_id,) if begun else (*story.asks, event.ask_id),
                    "asked": (event.by,) if begun else (*story.asked, event.by),
                    "overdue": () if begun else story.overdue,
                    "abstained": () if begun else story.abstained,
                }
            )
        case e.DiagnosisOverdue():
            return story.model_copy(
                update={"asked": _without(story.asked, event.by), "overdue": (*story.overdue, event.by)}
            )
        case e.DiagnosisAbstained():
            said = f"{event.by} abstains: {event.code}: {event.reason}"[:500]
            if event.ask_id not in story.asks or said in story.abstained:
                return story
            abstained = (*story.abstained, said)
            return story.model_copy(update={"asked": _without(story.asked, event.by), "abstained": abstained})
        case e.DiagnosisMade():
            looked = tuple((x.id, x.text[:300]) for x in event.evidence[:EVIDENCE_KEPT_MAX])
            made = Made(ask_id=event.ask_id, for_people=event.for_people[:300], evidence=looked)
            others = [m for m in story.made if m.ask_id != event.ask_id]
            return story.model_copy(update={"made": (*others, made)[-MADE_KEPT_MAX:]})
        case e.DiagnosisAdopted():
            return _adopted(story, event)
        case e.IncidentClosed():
            return story.model_copy(
                update={"closed_code": event.code, "closed_text": event.text, "closed_at_ms": at_ms, "asked": ()}
            )
    return _learn_remedy(story, given, words)


_LINKS = ("runbook_url", "runbook", "dashboard_url", "dashboard")
_URL = re.compile(r"https?://[!-~]{1,1000}")


def _linked(links: tuple[tuple[str, str], ...], alert: AlertRef, graph: str) -> tuple[tuple[str, str], ...]:
    """Where its author says that more is to be found. What is no plain URL is left out."""
    said = [(name.removesuffix("_url"), alert.annotations.get(name) or alert.labels.get(name, "")) for name in _LINKS]
    found = [(name, url) for name, url in (*said, ("graph", graph)) if _URL.fullmatch(url)]
    return tuple(dict.fromkeys((*links, *found)))[:LINKS_KEPT_MAX]


def _adopted(story: Story, event: e.DiagnosisAdopted) -> Story:
    stores = {name.removeprefix("store:") for x in event.evidence for name in x.entities if name.startswith("store:")}
    diagnosis = Diagnosis(
        by=event.by,
        cause=event.cause,
        confidence=event.confidence,
        summary=event.summary[:500],
        final=event.final,
        agreed=event.agreed,
        model=event.model,
        evidence=tuple((x.id, x.text[:300]) for x in event.evidence[:12]),
        stores=tuple(sorted(stores))[:4],
        ask_id=event.ask_id,
        ruled_out=tuple((r.what[:200], r.evidence[:6]) for r in event.ruled_out[:8]),
    )
    asked = () if event.final else _without(story.asked, event.by)
    return story.model_copy(update={"diagnosis": diagnosis, "asked": asked})


def time_shows(story: Story, now_ms: int) -> Story:
    """The story, where an undo has become overdue since; the same story where none has."""
    if not any(not r.undo_overdue and r.overdue(now_ms) for r in story.remedies):
        return story
    late = (r.model_copy(update={"undo_overdue": True}) if r.overdue(now_ms) else r for r in story.remedies)
    return story.model_copy(update={"remedies": tuple(late)})


def overdue_ms(story: Story) -> int | None:
    """When time will show something that no event says; None: never, as it stands."""
    waiting = (o.overdue_ms() for r in story.remedies if not r.undo_overdue for o in r.still_owed())
    return min(waiting, default=None)


def _learn_remedy(story: Story, given: Record, words: CallWords) -> Story:
    remediation_id = getattr(given.event, "remediation_id", "")
    known = next((r for r in story.remedies if r.remediation_id == remediation_id), None)
    before = known or Remedy(remediation_id=remediation_id)
    r = learn_remedy(before, given, words)
    if not remediation_id or r == before:
        return story
    remedies = (
        tuple(r if x.remediation_id == remediation_id else x for x in story.remedies) if known else (*story.remedies, r)
    )
    return story.model_copy(update={"remedies": remedies[-REMEDIES_KEPT_MAX:]})


def learn_remedy(r: Remedy, given: Record, words: CallWords = CALL_WORDS) -> Remedy:
    """One remediation with this event of its ledger or of its execution in it."""
    r = r.model_copy(update=_of_ledger(r, given.event, given.head.at_ms) or _of_outcomes(r, given, words))
    return r if not r.undo_overdue or r.still_owed() else r.model_copy(update={"undo_overdue": False})


def _of_ledger(r: Remedy, event: e.Event, at_ms: int) -> dict[str, Any]:
    """What the acting ledger says."""
    match event:
        case e.ProposalAskedAgain() if r.stage == "deferred":
            return {"action": event.action, "params": params_text(event.params)}  # it waits until it is answered
        case e.RemediationOpened() | e.ProposalAskedAgain():
            again = {
                "stage": "proposed",
                "asked_at_ms": 0,
                "approvals": (),
                "objections": (),
                "blocked": "",
                "until_ms": 0,
            }
            return {**again, "action": event.action, "params": params_text(event.params)}
        case e.ProposalDeferred():
            agreed: dict[str, Any] = {"asked_at_ms": 0, "approvals": (), "blocked": ""}  # it will be asked anew
            return {**agreed, "stage": "deferred", "objections": event.objections[:10], "until_ms": event.until_ms}
        case e.ApprovalAsked():
            return {
                "stage": "asked",
                "action": event.action,
                "params": params_text(event.params),
                "tier": event.tier,
                "mode": event.mode,
                "rule": event.rule,
                "needed": event.needed,
                "asked_at_ms": at_ms,
                "expires_at_ms": event.expires_at_ms,
                "asked": event.escalation[0] if event.escalation else "",
                "digest": event.digest,
                "objections": (),
                "until_ms": 0,
            }
        case e.ApprovalEscalated():
            return {"asked": event.asked, "expires_at_ms": event.expires_at_ms}
        case e.ApprovalCounted():
            a = event.approval
            word = Word(person=a.person, via=a.via, at_ms=a.decided_at_ms, reason=a.reason[:300])
            return {"approvals": (*r.approvals, word)[:5]}
        case e.ApprovalRejected():
            return {"not_counted": (*r.not_counted, f"{event.person}: {event.code}: {event.text}"[:300])[-3:]}
        case e.ExecutionBlocked():
            return {"stage": "blocked", "blocked": f"{event.code}: {event.text}"[:300], "until_ms": event.until_ms}
        case e.ExecutionAuthorized():
            return {
                "stage": "authorised",
                "tier": event.tier,
                "mode": event.mode,
                "action": event.action,
                "until_ms": 0,
            }
        case e.CancelOrdered():
            return _also_said(r, f"cancelled by {event.person}: {event.reason}")
        case e.UndoOrdered():
            return _also_said(r, f"undo asked by {event.person}: {event.reason}")
        case e.RemediationFlagged():
            return _also_said(r, f"{event.code}: {event.text}")
        case e.ResolutionOrdered():
            return {"resolved_as": event.outcome}
        case e.RemediationClosed():
            said = {"closed_code": event.code, "closed_text": event.text[:500]}
            return {**said, "objections": event.objections[:10]}  # what it waited for no longer matters
    return {}


def _of_outcomes(r: Remedy, given: Record, words: CallWords) -> dict[str, Any]:
    """What the executor says."""
    event, at_ms = given.event, given.head.at_ms
    match event:
        case e.Claimed():
            return {
                "action": event.action,
                "params": params_text(event.params),
                "mode": event.mode,
                "tier": event.tier,
                "claimed_at_ms": at_ms,
                "token": f"{given.topic}/{given.partition}@{given.offset}",
                "attempt": event.attempt,
            }
        case e.ClaimRefused():
            return _also_said(r, f"not claimed: {event.code}: {event.text}")
        case e.TakenOver():
            return {"attempt": event.attempt, **_also_said(r, f"taken over by {event.owner}")}
        case e.StepIntended():
            sent = Sent(
                step=event.step,
                text=words.as_sent(event.call),
                kind=event.kind,
                undo=words.as_sent(event.undo) if event.undo else "",
                undo_by_hand=words.by_hand(event.undo) if event.undo else "",
                keep_s=event.keep_s,
                at_ms=at_ms,
                change=event.change,
            )
            undone = tuple(u for u in r.undone if u.change != event.change)  # it is there again
            return {"sent": _kept((*r.sent, sent)), "attempt": event.attempt, "undone": undone}
        case e.StepTaken():
            answer = {"answer": event.answer, "status": event.status, "code": event.code[:60], "body": event.body[:200]}
            return {"sent": tuple(_made(s, at_ms, **answer) if s.step == event.step else s for s in r.sent)}
        case e.StepProbed():
            found = {"finding": event.finding}
            return {"sent": tuple(_made(s, s.at_ms, **found) if s.step == event.step else s for s in r.sent)}
        case e.ExecutionAborting():
            said = _also_said(r, f"aborted: {event.code}: {event.text}")
            return {**said, "aborting_ms": r.aborting_ms or at_ms}
        case e.ChangeUndone():
            before = next((u for u in r.undone if u.change == event.change), Undone(change=event.change, at_ms=at_ms))
            now = before.model_copy(update={"settled_at_ms": at_ms} if event.settled else {"at_ms": at_ms})
            return {"undone": (*(u for u in r.undone if u.change != event.change), now)}
        case e.Concluded():
            return {
                "outcome": event.outcome,
                "outcome_code": event.code,
                "outcome_text": f"{event.code}: {event.text}"[:500]
                if event.outcome != "succeeded"
                else event.text[:500],
                "concluded_at_ms": at_ms,
                "figures": _moved(event.before, event.after),
                "samples": event.samples,
                "errors": event.errors,
                "owed": tuple(words.as_sent(c.undo) for c in event.owed if c.undo),
                "owed_by_hand": tuple(words.by_hand(c.undo) for c in event.owed if c.undo),
                **({"objections": event.objections[:10]} if event.objections else {}),
            }
    return {}


def _made(sent: Sent, at_ms: int, **learned: Any) -> Sent:
    """This step with its answer or finding; from here its change is kept for its time, if it was made."""
    sent = sent.model_copy(update=learned)
    if sent.due_ms or not sent.is_done() or not sent.undo or not sent.keep_s:
        return sent
    return sent.model_copy(update={"due_ms": at_ms + sent.keep_s * 1000})


def _kept(sent: tuple[Sent, ...]) -> tuple[Sent, ...]:
    """Undos that were tried go first: what was done is what is owed."""
    spare = [s for s in sent[:-1] if s.kind == "undo"] or list(sent)
    return sent if len(sent) <= SENT_KEPT_MAX else tuple(s for s in sent if s is not spare[0])


def _also_said(r: Remedy, text: str) -> dict[str, Any]:
    return {"said": (*r.said, text[:300])[-SAID_KEPT_MAX:]}


def _without(asked: tuple[str, ...], by: str) -> tuple[str, ...]:
    return tuple(a for a in asked if a != by)


_ALWAYS = ("leaders", "slow_score", "down_peers")
_NEVER = ("pd_settled", "done", "evicting", "leads")  # the executor's own: how far it is, not how the cluster is


def _moved(before: Sample | None, after: Sample | None) -> str:
    """`leaders 812 -> 0, down peers 0 -> 0`: what people ask about, and whatever else has changed."""
    if before is None or after is None:
        return ""
    names = [n for n in _ALWAYS if n in before.figures] + sorted(set(before.figures) - {*_ALWAYS, *_NEVER})
    pairs = [(n, before.figures[n], after.figures[n]) for n in names if n in after.figures]
    return ", ".join(
        f"{n.replace('_', ' ')} {_figure(was)} -> {_figure(now)}" for n, was, now in pairs if n in _ALWAYS or was != now
    )


def _figure(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else f"{value:.3g}"
