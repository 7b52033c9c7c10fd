"""What a ticket knows: the facts that each of its versions carries, and what each event adds to them. Pure.

How it is said stands in streams/ticket_text.py, when it is said in streams/tickets.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas import events as e
from schemas.processors import Record
from schemas.values import Call, Objection, Sample

REMEDIES_KEPT_MAX = 8
NAMES_KEPT_MAX = 20
SENT_KEPT_MAX = 40
SAID_KEPT_MAX = 10


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
    ruled_out: tuple[tuple[str, tuple[str, ...]], ...] = ()


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
    undo: str = ""  # what takes it back
    due_ms: int = 0  # when that is due; 0: it is meant to stay, or is itself an undo
    change: int = 0
    answer: str = ""
    status: int = 0
    code: str = ""
    finding: str = ""


class Undone(Fact):
    change: int
    at_ms: int
    settled_at_ms: int = 0


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
    outcome: str = ""
    outcome_text: str = ""
    concluded_at_ms: int = 0
    figures: str = ""
    samples: int = 0
    errors: int = 0
    owed: tuple[str, ...] = ()
    resolved_as: str = ""  # an UNKNOWN, by a person's word
    closed_code: str = ""
    closed_text: str = ""

    def is_open(self) -> bool:
        return not self.closed_code


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
    folded: int = 0
    firing: int = 0
    again: int = 0
    incomplete: bool = False
    asks: tuple[str, ...] = ()  # of the latest round
    asked: tuple[str, ...] = ()  # who has not answered yet
    overdue: tuple[str, ...] = ()
    abstained: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    remedies: tuple[Remedy, ...] = ()
    closed_code: str = ""
    closed_text: str = ""
    closed_at_ms: int = 0

    def remedy(self) -> Remedy | None:
        """The one to speak of: what is open, else what was done, else what was said last."""
        found = [r for r in self.remedies if r.action and r.is_open()] or [r for r in self.remedies if r.outcome]
        found = found or list(self.remedies)
        return found[-1] if found else None

    def is_open(self) -> bool:
        return not self.closed_code or any(r.action and r.is_open() for r in self.remedies)


# -- what each event adds to the story --------------------------------------------------------------------------------


def learn(story: Story, given: Record, show_call: Callable[[Call], str]) -> Story:
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
        case e.DiagnosisAdopted():
            return _adopted(story, event)
        case e.IncidentClosed():
            return story.model_copy(
                update={"closed_code": event.code, "closed_text": event.text, "closed_at_ms": at_ms, "asked": ()}
            )
    return _learn_remedy(story, given, show_call)


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
        ruled_out=tuple((r.what[:200], r.evidence[:6]) for r in event.ruled_out[:8]),
    )
    asked = () if event.final else _without(story.asked, event.by)
    return story.model_copy(update={"diagnosis": diagnosis, "asked": asked})


def _learn_remedy(story: Story, given: Record, show_call: Callable[[Call], str]) -> Story:
    event, at_ms = given.event, given.head.at_ms
    remediation_id = getattr(event, "remediation_id", "")
    known = next((r for r in story.remedies if r.remediation_id == remediation_id), None)
    r = known or Remedy(remediation_id=remediation_id)
    changes = _of_ledger(r, event, at_ms) or _of_outcomes(r, given, show_call)
    if not remediation_id or not changes:
        return story
    r = r.model_copy(update=changes)
    remedies = (
        tuple(r if x.remediation_id == remediation_id else x for x in story.remedies) if known else (*story.remedies, r)
    )
    return story.model_copy(update={"remedies": remedies[-REMEDIES_KEPT_MAX:]})


def _of_ledger(r: Remedy, event: e.Event, at_ms: int) -> dict[str, Any]:
    """What the acting ledger says."""
    match event:
        case e.RemediationOpened() | e.ProposalAskedAgain():
            again = {
                "stage": "proposed",
                "asked_at_ms": 0,
                "approvals": (),
                "objections": (),
                "blocked": "",
                "until_ms": 0,
            }
            return {**again, "action": event.action, "params": _params(event.params)}
        case e.ProposalDeferred():
            return {"stage": "deferred", "objections": event.objections[:10], "until_ms": event.until_ms}
        case e.ApprovalAsked():
            return {
                "stage": "asked",
                "action": event.action,
                "params": _params(event.params),
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
            return {**said, "objections": event.objections[:10]} if event.objections else said
    return {}


def _of_outcomes(r: Remedy, given: Record, show_call: Callable[[Call], str]) -> dict[str, Any]:
    """What the executor says."""
    event, at_ms = given.event, given.head.at_ms
    match event:
        case e.Claimed():
            return {
                "action": event.action,
                "params": _params(event.params),
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
            owes = event.kind == "do" and event.undo is not None and event.keep_s > 0
            sent = Sent(
                step=event.step,
                text=show_call(event.call),
                undo=show_call(event.undo) if event.undo else "",
                due_ms=at_ms + event.keep_s * 1000 if owes else 0,
                change=event.change,
            )
            return {"sent": (*r.sent, sent)[-SENT_KEPT_MAX:], "attempt": event.attempt}
        case e.StepTaken():
            answer = {"answer": event.answer, "status": event.status, "code": event.code[:60]}
            return {"sent": tuple(s.model_copy(update=answer) if s.step == event.step else s for s in r.sent)}
        case e.StepProbed():
            found = {"finding": event.finding}
            return {"sent": tuple(s.model_copy(update=found) if s.step == event.step else s for s in r.sent)}
        case e.ExecutionAborting():
            return _also_said(r, f"aborted: {event.code}: {event.text}")
        case e.ChangeUndone():
            before = next((u for u in r.undone if u.change == event.change), Undone(change=event.change, at_ms=at_ms))
            now = before.model_copy(update={"settled_at_ms": at_ms} if event.settled else {"at_ms": at_ms})
            return {"undone": (*(u for u in r.undone if u.change != event.change), now)}
        case e.Concluded():
            return {
                "outcome": event.outcome,
                "outcome_text": f"{event.code}: {event.text}"[:500]
                if event.outcome != "succeeded"
                else event.text[:500],
                "concluded_at_ms": at_ms,
                "figures": _moved(event.before, event.after),
                "samples": event.samples,
                "errors": event.errors,
                "owed": tuple(show_call(c.undo) for c in event.owed if c.undo),
                **({"objections": event.objections[:10]} if event.objections else {}),
            }
    return {}


def _also_said(r: Remedy, text: str) -> dict[str, Any]:
    return {"said": (*r.said, text[:300])[-SAID_KEPT_MAX:]}


def _without(asked: tuple[str, ...], by: str) -> tuple[str, ...]:
    return tuple(a for a in asked if a != by)


def _params(params: str) -> str:
    """Canonical JSON as a person would say it: `store_id=4 keep_s=900`."""
    try:
        found = json.loads(params)
    except ValueError:
        return params[:300]
    return " ".join(f"{k}={v}" for k, v in found.items())[:300] if isinstance(found, dict) else params[:300]


_ALWAYS = ("leaders", "slow_score", "down_peers")
_NEVER = ("pd_settled", "done")


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
