"""What people read at night, 80 columns wide: the card that asks for an approval, and the ticket. Pure text."""

from __future__ import annotations

from actions.calls import BadCall
from actions.card import Card, card
from actions.catalogue import BadParameters, UnknownAction
from console.journal import IncidentStory, RemediationStory, headline, standing
from console.words import call, coded
from schemas.events import ApprovalAsked
from schemas.policy import veto_s
from schemas.text import counted, moment, page, people, wrapped, zoned
from schemas.values import Plan

DIGITS = 12  # of the digest: what is shown must be given back
_CARD = 9  # columns of the labels


def asking(story: RemediationStory, *, cluster_tier: int | None, now_ms: int) -> str:
    """The card of a remediation that is asked about."""
    ask = story.ask
    assert ask is not None
    shown = _shown(ask.plan)
    lines = wrapped("APPROVE?", _first(story, ask, cluster_tier), _CARD)
    lines += wrapped("", shown.title if shown else f"{ask.action} {ask.params}", 0)
    cited = "; ".join(f"{x.id} {x.text}" for x in ask.evidence)
    lines += wrapped("Why", f"{ask.cause}, {ask.confidence:.2f}: {cited or ask.why}", _CARD)
    if ask.tier_reasons:
        lines += wrapped("Tier", f"{ask.tier}: {'; '.join(ask.tier_reasons)}", _CARD)
    lines += wrapped("Calls", "; ".join(shown.calls if shown else (call(c.do) for c in ask.plan.changes)), _CARD)
    lines += wrapped("Touches", _touches(story, ask), _CARD)
    if shown:
        lines += wrapped("Clients", shown.clients, _CARD)
        lines += wrapped("Stops if", shown.stops_if, _CARD)
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


def _touches(story: RemediationStory, ask: ApprovalAsked) -> str:
    reach, bounds = ask.reach, ask.plan.bounds
    facts = story.validated.facts if story.validated and story.validated.digest == ask.digest else None
    stores = f"{reach.stores} of {len(facts.living())} stores" if facts else counted(reach.stores, "store")
    leaders = f"{counted(reach.leaders, 'leader')} ({reach.leaders_share:.0%})"
    text = f"{stores}, {leaders}, {counted(reach.regions, 'region')}"
    moved = f"; moves {reach.bytes_moved / 1e6:.0f} MB" if reach.bytes_moved else ""
    return f"{text}{moved}; at most {counted(bounds.stores_max, 'store')}, {counted(bounds.leaders_max, 'leader')}"


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


def remediation(story: RemediationStory, *, cluster_tier: int | None, now_ms: int) -> str:
    """The card while it is asked about; else what it is and how it stands."""
    if story.state == "asked" and story.ask:
        return asking(story, cluster_tier=cluster_tier, now_ms=now_ms)
    action = story.ask or story.proposed
    what = f"{action.action} {action.params}" if action else "nothing was proposed"
    lines = wrapped(
        "", f"{story.remediation_id}  {story.cluster_id}  {story.state or 'not heard of by the ledger yet'}", 0
    )
    lines += wrapped("Incident", story.incident_id)
    lines += wrapped("Action", what)
    for approval in story.approvals:
        lines += wrapped("Approved", f"{approval.person}, {zoned(approval.decided_at_ms)}: {approval.reason}")
    if story.state == "approved" and story.blocked:
        lines += wrapped("Blocked", f"{story.blocked.code}: {story.blocked.text}")
    if story.concluded:
        lines += wrapped("Outcome", coded(story.concluded.outcome.upper(), story.concluded.text))
        owed = "; ".join(call(c.undo or c.do) for c in story.concluded.owed)
        lines += wrapped("Undo", f"STILL OWED: {owed}" if owed else "nothing left behind")
    if story.closed:
        lines += wrapped("Closed", coded(story.closed.code, story.closed.text))
    return "\n".join(lines)
