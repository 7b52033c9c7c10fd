"""How a ticket says what it knows: status, loudness, headline, lines. Pure.

Whatever comes from outside is one line of plain text here, and bounded: an alert can't draw on anybody's terminal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from schemas.events import TicketLine
from schemas.text import LINKS, duration, hh_mm, plain, times, zoned
from streams.ticket_story import Diagnosis, Owed, Remedy, Sent, Story

UNKNOWN = "unknown"
At = Callable[[int], str]


# -- in one word ----------------------------------------------------------------------------------------------------

_OUTCOMES = {
    "succeeded": "FIXED",
    "no_better": "NO BETTER",
    "worse": "WORSE",
    "failed_without_effect": "FAILED, NO EFFECT",
    "failed_partly": "FAILED PARTLY",
    "not_started": "NOT STARTED",
    "rehearsed": "REHEARSED",
}
_ENDS = {
    "mode_observe": "OBSERVED ONLY",
    "denied": "DENIED",
    "expired": "EXPIRED",
    "cancelled": "CANCELLED",
    "by_hand": "DONE BY HAND",
    "incident_closed": "NOT NEEDED",
    "resolved": "RESOLVED BY A PERSON",
}
PERSON_NEEDED = "UNKNOWN: PERSON NEEDED"
TAKEN_BACK = "TAKEN BACK"
UNDO_OVERDUE = "RUNNING, UNDO OVERDUE"
_STAYS = (
    TAKEN_BACK,
    "FIXED",
    "NO BETTER",
    "WORSE",
    "FAILED",
    "REHEARSED",
    "DONE BY HAND",
    "UNKNOWN",
    "RESOLVED BY A PERSON",
)
_LEFT_TO_PEOPLE = (
    TAKEN_BACK,
    "NOT DIAGNOSED",
    "DIAGNOSIS OVERDUE",
    "NOTHING PROPOSED",
    "OBSERVED ONLY",
    "REFUSED",
    "DENIED",
    "EXPIRED",
    "NOT STARTED",
    "NO BETTER",
    "FAILED",
)


def status_of(story: Story) -> str:
    """Where it stands, in the words of a ticket's first line."""
    remedy = story.remedy()
    status = _of_remedy(remedy) if remedy else _of_diagnosis(story)
    if not story.closed_code or (remedy and remedy.action and remedy.is_open()) or status.startswith(_STAYS):
        return status
    return "RESOLVED" if story.closed_code == "resolved" else "CLOSED"


def _of_diagnosis(story: Story) -> str:
    if story.diagnosis is None:
        return "DIAGNOSIS OVERDUE" if story.overdue and not story.asked else "NEW"
    if story.diagnosis.cause == UNKNOWN:
        return "NOT DIAGNOSED" if story.diagnosis.final else "NEW"
    return "DIAGNOSED"


def _of_remedy(r: Remedy) -> str:
    if r.outcome == UNKNOWN:
        if r.is_open():
            return PERSON_NEEDED
        return _OUTCOMES.get(r.resolved_as, _ENDS["resolved"])
    if _taken_back(r):
        return TAKEN_BACK
    if r.outcome:
        word = _OUTCOMES.get(r.outcome, r.outcome.upper().replace("_", " "))
        return (
            f"{word}, UNDONE" if r.undone and not r.owed and r.outcome in ("succeeded", "no_better", "worse") else word
        )
    if r.closed_code:
        if not r.action:
            return "NOTHING PROPOSED"
        if r.closed_code.startswith("claim_"):
            return "NOT STARTED"
        return _ENDS.get(r.closed_code, "REFUSED")
    if r.claimed_at_ms:
        return UNDO_OVERDUE if r.undo_overdue else "RUNNING"
    if r.stage == "asked" and not r.needed:
        return "WAITING FOR A VETO" if r.rule.startswith("veto") else "APPROVED"
    return {
        "asked": "WAITING FOR APPROVAL",
        "deferred": "DEFERRED",
        "blocked": "BLOCKED",
        "authorised": "APPROVED",
    }.get(r.stage, "PROPOSED")


_LOUD = ("WAITING FOR APPROVAL", "WORSE", "UNKNOWN", "FAILED PARTLY", UNDO_OVERDUE)


_TAKEN_BACK_BY = {  # why what was done was ended before it could show its worth
    "cancelled": "cancelled by",
    "undo_asked": "undo asked by",
    "frozen": "frozen:",
    "halted": "halted:",
    "deadline": "out of time:",
}


def _taken_back(r: Remedy) -> bool:
    """It had an effect, and was ended by a word or a limit before there was anything to judge it by."""
    return r.outcome == "no_better" and r.outcome_code in _TAKEN_BACK_BY


def tier_of(story: Story, status: str) -> str:
    """How loudly: routine | notable | critical. An emergency that is left to people is said as loudly as can be; a test
    wakes nobody."""
    if story.synthetic:
        return "routine"
    remedy = story.remedy()
    emergency = story.level == "emergency"
    if status.startswith(("WAITING FOR APPROVAL", "WORSE", "UNKNOWN", "FAILED PARTLY", UNDO_OVERDUE)) or (
        remedy and remedy.owed
    ):
        return "critical"
    if status.startswith(_LEFT_TO_PEOPLE):
        return "critical" if emergency else "notable"
    if status.startswith(("FIXED", "BLOCKED", "WAITING FOR A VETO", "DONE BY HAND", "CANCELLED", "RESOLVED BY")):
        return "notable"
    return "notable" if emergency else "routine"


def headline_of(story: Story) -> str:
    """E.g. `prod-eu-7: store 4 disk stall`."""
    subject = _cause(story.diagnosis) if story.diagnosis and story.diagnosis.cause != UNKNOWN else story.title
    return plain(f"{'TEST ' if story.synthetic else ''}{story.cluster_id}: {subject}", 160)


def _cause(diagnosis: Diagnosis) -> str:
    words = diagnosis.cause.split("_")
    if len(diagnosis.stores) == 1:
        store = f"store {diagnosis.stores[0]}"
        words = [store if w == "store" else w for w in words] if "store" in words else [store, *words]
    return " ".join(words)


# -- line by line ---------------------------------------------------------------------------------------------------


def lines_of(story: Story) -> tuple[TicketLine, ...]:
    """The lines that have something to say, in their order. Several lines of text are parted by newlines."""
    remedy = story.remedy()
    test = "injected by a person to see that the pipe works; no cluster is in trouble" if story.synthetic else ""
    found = [("TEST", test), ("Alerts", _alerts(story)), ("Cause", _causes(story))]
    if story.diagnosis:
        found += [
            ("Evidence", "; ".join(f"{i} {plain(text, 160)}" for i, text in story.diagnosis.evidence)),
            ("Ruled out", _ruled_out(story, story.diagnosis)),
        ]
    if remedy:
        before = [x for x in story.remedies if x.remediation_id != remedy.remediation_id]
        found += lines_of_remedy(remedy, partial(hh_mm, day_ms=story.opened_at_ms), before)
    found += [("For you", _for_you(story, remedy)), (LINKS, _links(story))]
    return tuple(TicketLine(label=label, text=text) for label, text in found if text)


def lines_of_remedy(r: Remedy, at: At, before: Sequence[Remedy] = ()) -> list[tuple[str, str]]:
    """What one remediation adds: also what `steward show R-...` says of it. `at` says a time."""
    return [
        ("Action", _action(r, at, before)),
        ("Approved", _approved(r, at)),
        ("Ran", _ran(r, at)),
        ("Outcome", _outcome(r)),
        ("Errors", _errors(r, at)),
        ("Undo", _undo(r, at)),
    ]


def _alerts(story: Story) -> str:
    first, others = story.names[:1], story.names[1:6]
    text = f"{zoned(story.alert_at_ms, story.opened_at_ms)} {plain(first[0], 160) if first else '?'}"
    if story.folded:
        text += f" (+{story.folded} folded)"
    if others:
        text += f"; also {', '.join(plain(name, 100) for name in others)}{', ...' if len(story.names) > 6 else ''}"
    if story.again:
        text += f"; fired again {times(story.again)}"
    if story.incomplete:
        text += "; incomplete: Alertmanager left some out"
    if story.closed_code:
        text += f"; {hh_mm(story.closed_at_ms, story.opened_at_ms)} {story.closed_code}: {plain(story.closed_text)}"
    elif story.firing == 0 and story.opened_at_ms:
        text += "; none fires now"
    return text


def _causes(story: Story) -> str:
    d = story.diagnosis
    waits = f"asked: {', '.join(story.asked)}" if story.asked else ""
    silent = [*(f"{by} did not answer in time" for by in story.overdue), *(plain(text) for text in story.abstained)]
    if d is None:
        return "; ".join([*silent, waits] if waits else silent)
    if d.cause == UNKNOWN:
        return "; ".join(["not known", *(silent or [plain(d.summary)]), *([waits] if waits else [])])
    who = _who(d)
    if d.agreed is not None:
        who += ", playbook agrees" if d.agreed else ", playbook disagrees"
    text = "; ".join([_cause(d), f"{d.confidence:.2f}", who, *silent, *([waits] if waits else [])])
    return f"{text}\n{plain(d.summary)}" if set(_words(d.summary)) - set(_words(_cause(d))) else text


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _who(d: Diagnosis) -> str:
    if d.by == "playbook":
        return "playbook"
    return "Claude" if d.model.startswith("claude") else plain(d.model, 60) or "model"


def _ruled_out(story: Story, d: Diagnosis) -> str:
    """Each with what speaks against it. Only what stands on the page is cited, so what does not is told here."""
    looked = {i: text for m in story.made if m.ask_id == d.ask_id for i, text in m.evidence}
    shown = {i for i, _ in d.evidence}
    parts = []
    for what, ids in d.ruled_out:
        told = [f"{plain(looked[i], 160)} ({i})" for i in ids if i in looked and i not in shown]
        cited = ", ".join(i for i in ids if i in shown)
        against = "; ".join([*told, *([cited] if cited else [])])
        parts.append(f"{plain(what.replace('_', ' '), 80)}{f': {against}' if against else ''}")
    return "\n".join(parts)


def _action(r: Remedy, at: At, before: Sequence[Remedy]) -> str:
    if not r.action:
        return f"none: {r.closed_code}: {plain(r.closed_text)}"
    tier = f"; {r.tier}" if r.tier else ""
    mode = f"; {r.mode}" if r.mode and r.mode != "on" else ""
    text = [f"{r.remediation_id} {r.action} {plain(r.params, 200)}".rstrip() + tier + mode]
    until = f" until {at(r.until_ms)}" if r.until_ms and r.is_open() else ""
    text += [f"{o.kind}{until if o.kind == 'wait' else ''}: {o.code}: {plain(o.text)}" for o in r.objections]
    if r.stage == "blocked" and r.is_open() and not r.claimed_at_ms:
        text.append(f"blocked{until}: {r.blocked}")
    if r.closed_code and not r.objections and not r.outcome:
        text.append(f"not done: {r.closed_code}: {plain(r.closed_text)}")
    text += [
        f"before: {x.remediation_id} {x.action or 'nothing'}: {_of_remedy(x)} {x.closed_code}" for x in before[-3:]
    ]
    return "\n".join(text)


def _approved(r: Remedy, at: At) -> str:
    if not r.asked_at_ms:
        return ""
    plan = f"plan {r.digest[:4]}...{r.digest[-2:]}"
    text = [f'{w.person}, {at(w.at_ms)} {w.via.upper()}, {plan}: "{plain(w.reason)}"' for w in r.approvals]
    asked = f"asked {at(r.asked_at_ms)}"
    if text:
        text[-1] += f" ({asked})"
    elif not r.needed and r.rule and not r.rule.startswith("veto"):
        text.append(f"by policy: {r.tier} is {r.rule}, {plan}")
    if r.stage == "asked" and r.is_open() and not r.claimed_at_ms and (missing := r.needed - len(r.approvals)) > 0:
        who = f", now {plain(r.asked, 80)}" if r.asked else ""
        text.append(f"{asked}{who}; {missing} more; expires {at(r.expires_at_ms)}")
    elif r.stage == "asked" and r.is_open() and r.rule.startswith("veto"):
        text.append(f"{asked}; acts {at(r.expires_at_ms)} unless somebody denies it, {plan}")
    elif not text:
        text.append(f"nobody ({asked})")
    return "\n".join([*text, *(f"not counted: {plain(n)}" for n in r.not_counted)])


def _ran(r: Remedy, at: At) -> str:
    if not r.claimed_at_ms:
        return ""
    took = f"{duration(r.concluded_at_ms - r.claimed_at_ms)}, " if r.concluded_at_ms else ""
    text = [f"{at(r.claimed_at_ms)}, {took}attempt {r.attempt}, token {r.token}"]
    for line, often in Counter(f"{s.text} -> {_came(s)}" for s in r.sent).items():
        text.append(f"{line} ({times(often)})" if often > 1 else line)
    return "\n".join([*text, *(plain(s) for s in r.said)])


def _came(sent: Sent) -> str:
    came = sent.answer if sent.answer in ("rehearsed", "never_sent") else str(sent.status or sent.answer or "...")
    return f"{came} {sent.code}" if sent.code else came


def _outcome(r: Remedy) -> str:
    if not r.outcome:
        return ""
    if _taken_back(r):
        text = r.outcome_text.removeprefix(f"{r.outcome_code}: ")
        figures = f"; {r.figures}" if r.figures else ""
        return f"{TAKEN_BACK}: {_TAKEN_BACK_BY[r.outcome_code]} {plain(text)}{figures}"
    told = [r.figures] if r.figures else []
    told += [f"{r.samples} samples"] if r.samples else []
    told += [plain(r.outcome_text)] if r.outcome_text else []
    text = f"{r.outcome.upper().replace('_', ' ')}: {', '.join(told)}" if told else r.outcome.upper().replace("_", " ")
    if r.closed_code == "resolved":
        text += f"\n{r.resolved_as or 'resolved'} {plain(r.closed_text)}"
    return text


def _errors(r: Remedy, at: At) -> str:
    found = [
        f"step {s.step}: no answer to count on, looked: {s.finding.replace('_', ' ')}" for s in r.sent if s.finding
    ]
    unanswered: dict[tuple[str, str, str], list[Sent]] = {}
    for s in r.sent:
        if s.answer in ("never_sent", "may_have_run", "refused") and not s.finding:
            unanswered.setdefault((s.kind, s.answer, s.code), []).append(s)
    for (kind, answer, code), same in unanswered.items():
        last = same[-1]
        why = ": ".join(filter(None, (code, plain(last.body, 120))))
        often = f" {times(len(same))}, last" if len(same) > 1 else ""
        what = "the undo" if kind == "undo" else f"step {last.step}"
        found.append(f"{what} {_ANSWERS[answer]}{often} {at(last.at_ms)}{f': {why}' if why else ''}")
    if r.errors and not unanswered:
        found.append(f"{r.errors} read error{'s' if r.errors > 1 else ''}, looked again")
    return "\n".join(found) if unanswered else "; ".join(found)


_ANSWERS = {
    "never_sent": "was not sent",
    "may_have_run": "was sent, and nobody knows whether it ran",
    "refused": "was refused",
}


def _undo(r: Remedy, at: At) -> str:
    text = []
    for u in r.undone:
        stayed = f"; still absent {at(u.settled_at_ms)}" if u.settled_at_ms else ""
        text.append(f"removed {at(u.at_ms)}{stayed}.")
    if r.still_owed():
        text += [_owing(r, o, at) for o in r.still_owed()]
    elif r.owed:
        text += [f"OWED: {owed}" for owed in r.owed]
    elif r.sent and r.outcome not in ("", UNKNOWN) and r.undone:
        text.append("Nothing left behind.")
    return " ".join(text)


def _owing(r: Remedy, owed: Owed, at: At) -> str:
    when = f"OVERDUE since {at(owed.due_ms)}" if r.undo_overdue else f"owed {at(owed.due_ms)}"
    return f"{when}: {owed.undo}"


def _for_you(story: Story, r: Remedy | None) -> str:
    status = status_of(story)
    text = [f"undo by hand: {owed}" for owed in r.owed_by_hand or r.owed] if r and not r.closed_code else []
    if r and status == UNDO_OVERDUE:
        by_hand = ", ".join(o.undo_by_hand for o in r.still_owed())
        text.append(f"Steward goes on trying; by hand: {by_hand}")
    if status == PERSON_NEEDED and r:
        text.append(f"look at the cluster, then: steward resolve {r.remediation_id} --outcome ... --reason ...")
    elif status == "WAITING FOR APPROVAL" and r:
        text.append(f"steward approve {r.remediation_id} --digest {r.digest[:12]} --reason ...")
        text.append(f"or: steward deny {r.remediation_id} --reason ...")
    elif status == "WAITING FOR A VETO" and r:
        text.append(f"to stop it: steward deny {r.remediation_id} --reason ...")
    elif status.startswith((*_LEFT_TO_PEOPLE, "WORSE")):
        text.append(f"nothing more is done by itself; why: steward why {story.incident_id}")
    if not status.startswith("WAITING"):
        text += filter(None, [plain(story.left_to_people())])
    return "\n".join(text)


def _links(story: Story) -> str:
    """Each on a line of its own: what the alerts name, and what there is of ours."""
    text = [f"{name} {url}" for name, url in story.links]
    text.append(f"steward show {story.incident_id} --timeline")
    text.append(f"steward audit query incident-story --param incident={story.incident_id}")
    return "\n".join(text)
