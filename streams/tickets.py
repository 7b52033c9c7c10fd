"""Incidents, diagnoses, remediations and outcomes -> one ticket an incident, whole, version by version.

A ticket is folded from its own topic alone, so each version carries the facts that the next one is made from. What
changes no text, or only a count while a storm lasts, is noted and shown with the next version. Nothing here needs the
acting half: without it a ticket ends with its diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas import events as e
from schemas.controls import Controls
from schemas.processors import Record, Tick
from schemas.values import Head, canonical_json
from streams.ticket_story import CALL_WORDS, CallWords, Story, learn, overdue_ms, time_shows
from streams.ticket_text import headline_of, lines_of, status_of, tier_of

COUNTS_EVERY_MS = 30_000  # mere counts make a version at most so often
TICKETS_KEPT_MAX = 200  # of a cluster, closed ones included: late events still find their ticket


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

    words: CallWords = CALL_WORDS

    def initial(self, cluster_id: str) -> Desk:
        return Desk(cluster_id)

    def decide(self, state: Desk, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        if isinstance(given, Tick):
            return [_write(t, time_shows(t.story, now_ms)) for t in state.tickets.values() if _is_due(t, now_ms)]
        ticket = self._ticket(state, given.event)
        if ticket is None:
            return ()
        story = learn(ticket.story, given, self.words)
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
                story = _story(event, head.at_ms)
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
        return min((at for t in state.tickets.values() if (at := _due_ms(t)) is not None), default=None)

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


def _due_ms(ticket: Ticket) -> int | None:
    """When it is written although nothing is heard: counts that wait, and an undo that does not come."""
    counts_ms = ticket.written_at_ms + COUNTS_EVERY_MS if ticket.pending else None
    late_ms = overdue_ms(ticket.story) if ticket.written else None
    return min((at for at in (counts_ms, late_ms) if at is not None), default=None)


def _is_due(ticket: Ticket, now_ms: int) -> bool:
    at = _due_ms(ticket)
    return at is not None and at <= now_ms


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


def _story(event: e.TicketWritten, written_at_ms: int) -> Story:
    if event.facts:
        return Story.model_validate_json(event.facts)
    return Story(  # of a release that did not keep facts
        incident_id=event.incident_id,
        cluster_id=event.cluster_id,
        synthetic=event.synthetic,
        title=event.headline.partition(": ")[2],
        opened_at_ms=written_at_ms,  # no later: what is not known to be opened is not written
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
