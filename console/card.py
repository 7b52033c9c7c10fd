"""What people read at night, 80 columns wide: the card that asks for an approval, and the ticket. Pure text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from actions.calls import BadCall
from actions.card import Card, card
from actions.catalogue import BadParameters, UnknownAction, parse
from console.journal import IncidentStory, Reason, RemediationStory, headline, said_now, standing
from console.words import call, coded
from schemas.events import ApprovalAsked
from schemas.facts import Facts
from schemas.policy import LimitsPolicy, veto_s
from schemas.text import counted, duration, hh_mm, moment, page, params_text, people, times, wrapped, zoned
from schemas.values import Plan
from streams.ticket_text import lines_of_remedy

DIGITS = 12  # of the digest: what is shown must be given back
_CARD = 9  # columns of the labels


@dataclass(frozen=True)
class Around:
    """What a card needs beside its story."""

    cluster_tier: int | None
    now_ms: int
    limits: LimitsPolicy
    stopped: tuple[Reason, ...] = ()  # what keeps the cluster from being acted on


def asking(story: RemediationStory, around: Around) -> str:
    """The card of a remediation that is asked about."""
    ask, now_ms = story.ask, around.now_ms
    assert ask is not None
    shown = _shown(ask.plan)
    lines = wrapped("APPROVE?", _first(story, ask, around.cluster_tier), _CARD)
    lines += wrapped("", shown.title if shown else f"{ask.action} {params_text(ask.params)}", 0)
    lines += _stops(around, "approving counts, and waits until that is lifted")
    cited = "; ".join(f"{x.id} {x.text}" for x in ask.evidence)
    lines += wrapped("Why", f"{ask.cause}, {ask.confidence:.2f}: {cited or ask.why}", _CARD)
    if ask.tier_reasons:
        lines += wrapped("Tier", f"{ask.tier}: {'; '.join(ask.tier_reasons)}", _CARD)
    lines += wrapped("Calls", "; ".join(shown.calls if shown else (call(c.do) for c in ask.plan.changes)), _CARD)
    lines += wrapped("Touches", _touches(story, ask, around.limits), _CARD)
    longest_ms = around.limits.execution_s_max * 1000
    if shown:
        lines += wrapped("Clients", shown.clients, _CARD)
        lines += wrapped("Stops if", f"{shown.stops_if}, or it takes over {duration(longest_ms)}", _CARD)
        lines += wrapped("By hand", "; ".join(shown.do_by_hand), _CARD)
        by_hand = f", or: {'; '.join(shown.undo_by_hand)}" if shown.undo_by_hand else ""
        lines += wrapped("Undo", shown.undo + by_hand, _CARD)
    else:
        lines += wrapped(
            "Unknown", "this build does not know this action: nobody should approve what can't be shown", _CARD
        )
    if ask.mode != "on":
        lines += wrapped("Mode", f"{ask.mode}: rehearsed up to the calls, none is sent", _CARD)
    age_s = max(0, now_ms - ask.facts_taken_at_ms) // 1000
    lines += wrapped("Facts", f"{age_s} s old, plan {ask.digest[:DIGITS]}; drift voids this", 6)
    lines += [f"steward approve {story.remediation_id} --digest {ask.digest[:DIGITS]} --reason ..."]
    return "\n".join(lines)


def _first(story: RemediationStory, ask: ApprovalAsked, cluster_tier: int | None) -> str:
    tier = f", tier {cluster_tier}" if cluster_tier is not None else ""
    wanted = people(ask.needed) if ask.needed else "acts unless stopped"
    got = f", {len(story.approvals)} so far" if story.approvals else ""
    return (
        f"{story.cluster_id}{tier}. {ask.tier}: {wanted}{got}. Expires {zoned(story.expires_at_ms)}{_then(story, ask)}"
    )


def _then(story: RemediationStory, ask: ApprovalAsked) -> str:
    """What comes when nobody answers."""
    if veto_s(ask.rule) is not None and not ask.needed:
        return ", then it acts"
    asked = list(ask.escalation)
    left = asked[asked.index(story.asked_of) + 1 :] if story.asked_of in asked else []
    return "".join(f", then {name}" for name in (*left, "deny"))


def _stops(around: Around, then: str) -> list[str]:
    """Everything that stands in its way now, each with the command that lifts it, if one does."""
    found = [r for r in around.stopped if r.code != "no_policy"]
    lines: list[str] = []
    for reason in found:
        lines += wrapped("", f"{reason.code.upper().replace('_', ' ')}: {reason.text}", 0)
        lines += wrapped("  ->", reason.command, 5) if reason.command else []
    return [*lines, *(wrapped("  ", then, 2) if then else [])] if found else []


def _touches(story: RemediationStory, ask: ApprovalAsked, limits: LimitsPolicy) -> str:
    reach, bounds = ask.reach, ask.plan.bounds
    facts = story.validated.facts if story.validated and story.validated.digest == ask.digest else None
    stores = f"{reach.stores} of {len(facts.living())} stores" if facts else counted(reach.stores, "store")
    leaders = f"{counted(reach.leaders, 'leader')} ({reach.leaders_share:.0%})"
    text = f"{stores}, {leaders}, {counted(reach.regions, 'region')}"
    moved = f"; moves {reach.bytes_moved / 1e6:.0f} MB" if reach.bytes_moved else ""
    most = f"at most {counted(bounds.stores_max, 'store')}, {counted(bounds.leaders_max, 'leader')}"
    return f"{text}{moved}{_writes(ask, facts, limits)}; {most}"


def _writes(ask: ApprovalAsked, facts: Facts | None, limits: LimitsPolicy) -> str:
    """What the busiest store whose leaders move takes of writes, by the facts that the plan was judged by."""
    if facts is None or not ask.reach.leaders:
        return ""
    action = parse(ask.plan.action, ask.plan.params)
    ids = {int(name.partition(":")[2]) for name in action.entities() if name.startswith("store:")}
    ids |= {r.leader_store_id for r in facts.regions if f"region:{r.id}" in action.entities()}
    taken = [s.written_bytes_per_s for i in ids if (s := facts.store(i))]
    limit = limits.leader_move_bytes_per_s_max
    return f"; writes {round(max(taken) / 1e6, 1):g} MB/s, limit {limit / 1e6:g}" if taken else ""


def _shown(plan: Plan) -> Card | None:
    try:
        return card(plan)
    except (UnknownAction, BadParameters, BadCall):
        return None


def ticket(story: IncidentStory, remediations: list[RemediationStory]) -> str:
    """The ticket as it stands; before its first version, what there is."""
    if story.ticket:
        return page(story.ticket).rstrip("\n")
    first = f"{headline(story)}    {standing(story, remediations)}   {story.incident_id}"
    return "\n".join([*wrapped("", first, 0), *wrapped("Ticket", "not written yet")])


def timeline(story: IncidentStory | RemediationStory) -> str:
    """Every event of a story, oldest first. Not cut to 80 columns: it is for looking something up."""
    lines = sorted(story.lines, key=lambda x: (x.at_ms, x.n))
    return "\n".join(f"{moment(x.at_ms)}  {x.topic:<12}  {x.text}" for x in lines)


def remediation(story: RemediationStory, around: Around) -> str:
    """The card while it is asked about; from then on what is run, how far it is, and what can be said to it."""
    if story.state == "asked" and story.ask:
        return asking(story, around)
    r, at = story.remedy, partial(hh_mm, day_ms=story.since_ms)
    state = (story.state or "not heard of by the ledger yet").upper()
    first = f"{story.remediation_id} {story.cluster_id} {state}"
    lines = wrapped("", f"{first} since {moment(story.since_ms)}" if story.since_ms else first, 0)
    plan = story.ask.plan if story.ask else None
    shown = _shown(plan) if plan else None
    if shown and story.state != "closed":
        lines += wrapped("", shown.title, 0)
    if story.state in ("approved", "authorised", "running"):
        lines += _stops(around, "")
    lines += wrapped("Incident", story.incident_id)
    told = dict(lines_of_remedy(r, at))
    if not r.action and story.proposed:
        told["Action"] = f"{story.proposed.action} {params_text(story.proposed.params)}"
    lines += _parts("Action", told["Action"])
    lines += _parts("Approved", told["Approved"])
    if plan and story.state in ("approved", "authorised", "running", "unknown"):
        lines += wrapped("Calls", "; ".join(shown.calls if shown else (call(c.do) for c in plan.changes)))
    for label in ("Ran", "Outcome", "Errors", "Undo"):
        lines += _parts(label, told[label])
    lines += _parts("Now", _now(story, len(plan.changes) if plan else 0, at))
    if shown and story.state in ("approved", "authorised", "running", "unknown"):
        lines += wrapped("By hand", "; ".join(shown.do_by_hand))
        lines += wrapped("", f"undo: {'; '.join(shown.undo_by_hand) or 'there is none'}")
    if story.closed:
        lines += wrapped("Closed", coded(story.closed.code, story.closed.text))
    for verb in said_now(story):
        lines += wrapped("You may" if verb == said_now(story)[0] else "", _command(verb, story.remediation_id))
    return "\n".join(lines)


def _parts(label: str, text: str) -> list[str]:
    """Lines of text beside one label; nothing where there is no text."""
    parts = text.split("\n") if text else []
    return [line for n, part in enumerate(parts) for line in wrapped(label if n == 0 else "", part)]


def _now(story: RemediationStory, changes: int, at: Callable[[int], str]) -> str:
    """Which step it is at, and until when what it has made is kept."""
    r = story.remedy
    if story.state == "authorised" and not r.claimed_at_ms:
        return "all have agreed; not claimed by `execute` yet"
    if story.state not in ("authorised", "running") or not r.claimed_at_ms:
        return ""
    made = sum(s.kind == "do" and s.is_done() for s in r.sent)
    last = r.sent[-1] if r.sent else None
    text = [f"{made} of {counted(changes, 'change')} made" if last else "it looks at the cluster before its first step"]
    if last and not last.answer:
        text.append(f"step {last.step} ({last.kind}) intended {at(last.at_ms)}, not answered yet")
    if r.aborting_ms:
        text.append(f"taking back what can be, since {at(r.aborting_ms)}")
    for owed in r.still_owed():
        if not owed.tried:
            text.append(f"kept until {at(owed.due_ms)}, then undone by itself")
        else:
            text.append(f"its undo, due {at(owed.due_ms)}, was tried {times(len(owed.tried))}")
    text += [f"undone {at(u.at_ms)}; watched to stay so" for u in r.undone if not u.settled_at_ms]
    return "; ".join(text)


def _command(verb: str, id: str) -> str:
    more = {"resolve": " --outcome ...", "approve": " --digest ..."}.get(verb, "")
    return f"steward {verb} {id}{more} --reason ..."
