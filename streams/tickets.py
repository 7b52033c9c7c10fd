"""Incidents, diagnoses, remediations and outcomes -> one ticket an incident, whole, version by version.

A ticket is folded from its own topic alone, so each version carries the facts that the next one is made from. What
changes no text, or only a count while a storm lasts, is noted and shown with the next version. Nothing here needs the
acting half: without it a ticket ends with its diagnosis.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas import events as e
from schemas.controls import Controls
from schemas.processors import Record, Tick
from schemas.values import Call, Head, Sample, canonical_json
from streams.ticket_text import (
    Diagnosis,
    Remedy,
    Sent,
    Story,
    Undone,
    Word,
    headline_of,
    lines_of,
    status_of,
    tier_of,
)

COUNTS_EVERY_MS = 30_000  # mere counts make a version at most so often
TICKETS_KEPT_MAX = 200  # of a cluster, closed ones included: late events still find their ticket
REMEDIES_KEPT_MAX = 8
NAMES_KEPT_MAX = 20
SENT_KEPT_MAX = 40
SAID_KEPT_MAX = 10


def in_words(call: Call) -> str:
    """A call where nobody said how to render it: its name and its arguments."""
    return " ".join([call.name, *(f"{k}={v}" for k, v in sorted(call.args.items()))])


@dataclass(frozen=True)
class Ticket:
    """`written` is the latest version, None before the first; `pending`: it would say something else by now."""

    story: Story
    written: e.TicketWritten | None = None
    written_at_ms: int = 0
    pending: bool = False


@dataclass(frozen=True)
class Desk:
    """The tickets of one cluster, the latest written last."""

    cluster_id: str
    tickets: Mapping[str, Ticket] = field(default_factory=dict)  # by incident


@dataclass(frozen=True)
class Tickets:
    """Decides: reads incidents, diagnoses, remediations and outcomes; writes tickets."""

    show_call: Callable[[Call], str] = in_words

    def initial(self, cluster_id: str) -> Desk:
        return Desk(cluster_id)

    def decide(self, state: Desk, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        if isinstance(given, Tick):
            due = [t for t in state.tickets.values() if t.pending and t.written_at_ms + COUNTS_EVERY_MS <= now_ms]
            return [_write(t, t.story) for t in due]
        ticket = self._ticket(state, given.event)
        if ticket is None:
            return ()
        story = learn(ticket.story, given, self.show_call)
        if story == ticket.story:
            return ()
        version = _write(ticket, story)
        if not story.opened_at_ms or _says_the_same(ticket.written, version):
            return [_note(story)]
        if _only_counts(ticket.written, version) and now_ms < ticket.written_at_ms + COUNTS_EVERY_MS:
            return [_note(story)]
        return [version]

    def evolve(self, state: Desk, event: e.Event, head: Head) -> Desk:
        match event:
            case e.TicketWritten():
                story = _story(event)
                ticket = Ticket(story, event.model_copy(update={"facts": ""}), head.at_ms)
            case e.TicketNoted():
                before = state.tickets.get(event.incident_id)
                story = Story.model_validate_json(event.facts)
                ticket = replace(before, story=story) if before else Ticket(story)
                ticket = replace(
                    ticket,
                    pending=ticket.written is not None and not _says_the_same(ticket.written, _write(ticket, story)),
                )
            case _:
                return state
        others = {k: t for k, t in state.tickets.items() if k != event.incident_id}
        return replace(state, tickets=_kept({**others, event.incident_id: ticket}))

    def wakes_at(self, state: Desk) -> int | None:
        return min((t.written_at_ms + COUNTS_EVERY_MS for t in state.tickets.values() if t.pending), default=None)

    def _ticket(self, state: Desk, event: e.Event) -> Ticket | None:
        """The ticket that this event belongs to: by incident, else by remediation. None: it belongs to none."""
        incident_id = getattr(event, "incident_id", "")
        if incident_id in state.tickets:
            return state.tickets[incident_id]
        if incident_id:  # topics are read side by side: its opening may come later
            return Ticket(Story(incident_id=incident_id, cluster_id=state.cluster_id))
        remediation_id = getattr(event, "remediation_id", "")
        for ticket in reversed(list(state.tickets.values())):
            if any(r.remediation_id == remediation_id for r in ticket.story.remedies):
                return ticket
        return None


def _write(ticket: Ticket, story: Story) -> e.TicketWritten:
    """The next version of this ticket."""
    status, remedy = status_of(story), story.remedy()
    return e.TicketWritten(
        cluster_id=story.cluster_id,
        incident_id=story.incident_id,
        version=ticket.written.version + 1 if ticket.written else 1,
        headline=headline_of(story),
        status=status,
        lines=lines_of(story),
        tier=tier_of(story, status),
        open=story.is_open(),
        remediation_id=remedy.remediation_id if remedy and remedy.action else "",
        synthetic=story.synthetic,
        facts=_facts(story),
    )


def _note(story: Story) -> e.TicketNoted:
    return e.TicketNoted(cluster_id=story.cluster_id, incident_id=story.incident_id, facts=_facts(story))


def _facts(story: Story) -> str:
    return canonical_json(story.model_dump(mode="json", exclude_defaults=True))


def _story(event: e.TicketWritten) -> Story:
    if event.facts:
        return Story.model_validate_json(event.facts)
    return Story(  # of a release that did not keep facts
        incident_id=event.incident_id,
        cluster_id=event.cluster_id,
        synthetic=event.synthetic,
        title=event.headline.partition(": ")[2],
        closed_code="" if event.open else "resolved",
    )


def _says_the_same(written: e.TicketWritten | None, version: e.TicketWritten) -> bool:
    return written is not None and _said(written) == _said(version)


def _only_counts(written: e.TicketWritten | None, version: e.TicketWritten) -> bool:
    return written is not None and _said(written, but="Alerts") == _said(version, but="Alerts")


def _said(version: e.TicketWritten, but: str = "") -> tuple[object, ...]:
    lines = tuple(line for line in version.lines if line.label != but)
    return version.headline, version.status, lines, version.tier, version.open, version.remediation_id


def _kept(tickets: dict[str, Ticket]) -> dict[str, Ticket]:
    """Closed ones and those that never opened go first, the oldest before the others."""
    spare = [k for k, t in tickets.items() if not t.pending and not (t.story.opened_at_ms and t.story.is_open())]
    for key in spare[: max(0, len(tickets) - TICKETS_KEPT_MAX)]:
        del tickets[key]
    return tickets


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
