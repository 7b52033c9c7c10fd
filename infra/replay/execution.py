"""The steps of an execution, each asked again of the protocol: by the claim as it was folded, the controls as they were
heard, and the look that led to it.

Of most looks the record holds what they showed, and not the facts: a stand-in answers with that. Where the record
leaves open what was seen, every picture that PD may have given is tried: a step that none leads to comes out
differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actions.action import Action
from actions.catalogue import parse
from executors.changes import Claim
from executors.execute import Execute
from executors.protocol import AFTER_RELEASE, Ask, Look, Rest, Rules, Say, Seen, Send, next_move
from infra.replay.lanes import FACTS
from infra.replay.ledger import NOT_LIVE, Judged, Past
from infra.replay.record import NEVER_HEARD, NOT_HEARD, as_heard
from infra.replay.report import NOTHING, Difference, compare
from schemas import events as e
from schemas.facts import Facts
from schemas.values import Call, Sample

LOOKS = "looks of which the record holds what they showed"
ANSWERS = "answers of PD"
NOT_SENT = "calls that were not sent"
WORSE = "looks that showed it get worse"
NOT_AUDITED = "an audit that did not show a claim"
LONG_S = 1e7
ALL = 2**63
ANEW: dict[str, Any] = {"pd_leader_age_s": 0.0, "pd_leader": "?"}  # a PD that has just begun to lead
MARKS = ("done", AFTER_RELEASE)
# What the protocol itself says when it gives up; whatever else stops a claim is an action's own abort condition.
# fmt: off
OWN_ABORTS = frozenset((
    "deadline", "refused", "not_reached", "late_effect", "taken_back", "lost_again", "cancelled", "undo_asked",
    "frozen", "halted", "ledger_broken", "controls_unreadable", "controls_not_live", "digest_mismatch", "forbidden",
    "wrong_tier", "policy_changed", "mode", "broker_not_safe",
))
# fmt: on


class Told:
    """An action that answers for a look whose facts are not on record, by what was said of it. All else is its own."""

    def __init__(
        self,
        action: Action,
        *,
        figures: dict[str, float] | None = None,
        done: bool | None = None,
        finding: str | None = None,
        worse: tuple[str, str] | None = None,
    ) -> None:
        self._action, self._figures, self._done, self._finding, self._worse = action, figures, done, finding, worse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._action, name)

    def figures(self, facts: Facts) -> dict[str, float]:
        return self._action.figures(facts) if self._figures is None else self._figures

    def is_done(self, facts: Facts) -> bool:
        return self._action.is_done(facts) if self._done is None else self._done

    def is_seen(self, facts: Facts) -> bool:
        return self._action.is_seen(facts) if self._finding is None else True

    def probe(self, call: Call, now: Facts) -> Any:
        return self._action.probe(call, now) if self._finding is None else self._finding

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        return self._action.abort_if(before, now) if self._worse is None else self._worse


@dataclass(frozen=True)
class _Picture:
    """What may have been known beside the claim. `action` answers for the look; None: the claim's own."""

    seen: Seen
    action: Any = None
    outside: tuple[str, ...] = ()
    owner: str = ""


def executed(rules: Execute, past: Past) -> Judged:
    """What a lane of `execute` has said."""
    event, claim = past.event, past.state.claim
    if claim is None:
        return Judged(differs=(Difference("event", type(event).__name__, NOTHING),))
    if isinstance(event, e.StepTaken) and claim.claimed.mode == "on":
        return _taken(claim, event)
    first: tuple[Difference, ...] = ()
    for controls, believed in _controls(past):
        for picture in _pictures(claim, past, controls):
            told = replace(rules.rules, owner=picture.owner) if picture.owner else rules.rules
            for seen, now_ms in _moments(picture.seen, past, told):
                said = _said(claim, seen, picture.action, now_ms, told)
                differs = tuple(compare([r.event for r in past.run[: max(1, len(said))]], said))
                if not differs:
                    return Judged(events=len(said), outside=(*picture.outside, *believed))
                first = first if first and len(first) <= len(differs) else differs
    return Judged(differs=first)


def _moments(seen: Seen, past: Past, rules: Rules) -> Iterator[tuple[Seen, int]]:
    """It was decided when it was written, or before: a commit takes its time, but no longer than since the ledger had
    last moved, and since the look. A look whose time nobody has said was as young as can be, or as old as it may be."""
    yield seen, past.at_ms
    before_ms = max(past.since_ms, min(past.at_ms, seen.looked_at_ms))
    if before_ms != past.at_ms:
        yield seen, before_ms
    if seen.looked_at_ms == past.at_ms:
        oldest_ms = max(past.since_ms, past.at_ms - int(max(3 * rules.poll_s, 5) * 1000))
        yield replace(seen, looked_at_ms=oldest_ms, ended_ms=oldest_ms), past.at_ms


def _said(claim: Claim, seen: Seen, action: Any, now_ms: int, rules: Rules) -> Sequence[e.Event]:
    match next_move(claim, seen, now_ms, rules, action):
        case Say(events):
            return events
        case Send(intended):
            return (intended,)
        case Look() | Ask() | Rest():
            return ()


def _taken(claim: Claim, event: e.StepTaken) -> Judged:
    """PD's answer is believed; that it answers a step that waits for it, and by which name it was sent, is not."""
    step = next((s for s in claim.steps if s.number == event.step), None)
    if step is None or step.answer is not None:
        return Judged(differs=(Difference("step", event.step, NOTHING),))
    sent = event.answer in ("accepted", "refused", "may_have_run")
    name = f"steward/{event.remediation_id}/{step.attempt}.{event.step}"
    names = (name,) if sent else ("", name)  # of what never left, some had been given their name already
    differs = [Difference("caller_id", event.caller_id, names[0])] if event.caller_id not in names else []
    if event.attempt != step.attempt:
        differs.append(Difference("attempt", event.attempt, step.attempt))
    if event.answer == "rehearsed":
        differs.append(Difference("answer", event.answer, "what came of the call"))
    return Judged(differs=tuple(differs), outside=(ANSWERS if sent else NOT_SENT,))


def _controls(past: Past) -> Iterator[tuple[Seen, tuple[str, ...]]]:
    """As they were heard; and as they may have been, where nobody could read them for long. Or the audit was behind."""
    asked = Seen(controls=past.heard[0], audited=ALL, asked_at_ms=past.at_ms)
    for controls in past.heard:
        yield replace(asked, controls=controls), ()
    for hearing in (NOT_HEARD, NEVER_HEARD):
        yield replace(asked, controls=as_heard(past.heard[0], hearing), unheard_since_ms=1), (NOT_LIVE,)
    yield replace(asked, audited=0), (NOT_AUDITED,)


def _pictures(claim: Claim, past: Past, heard: Seen) -> Iterator[_Picture]:
    """What may have been seen just before this was said, the likeliest first."""
    event, at_ms = past.event, past.at_ms
    action = parse(claim.claimed.action, claim.claimed.params)
    still = claim.before.figures if claim.before else {}
    blind = replace(heard, facts=None)

    def told(facts: Facts, looked_ms: int, **said: Any) -> _Picture:
        figures = {k: v for k, v in still.items() if k not in MARKS} if claim.before else None
        answers = Told(action, **{"figures": figures, **said})
        seen = replace(heard, facts=facts, looked_at_ms=looked_ms, ended_ms=looked_ms)
        return _Picture(seen, answers, (LOOKS,))

    match event:
        case e.TakenOver():
            seen = replace(blind, resumed=True, owner_since_ms=past.owner_since_ms)
            yield _Picture(seen, owner=event.owner)
        case e.Looked():
            looked_ms = event.before.at_ms
            seen = replace(heard, facts=event.facts, looked_at_ms=looked_ms, ended_ms=looked_ms)
            yield _Picture(seen, outside=(FACTS,))
        case e.Sampled():
            figures = {k: v for k, v in event.sample.figures.items() if k not in MARKS}
            done = bool(event.sample.figures.get("done"))
            yield told(_stand_in(claim), event.sample.at_ms, figures=figures, done=done, finding="applied")
        case e.StepProbed():
            ended = past.run[1].event if len(past.run) > 1 else None  # what can't be told ends it at once
            facts = ended.facts if isinstance(ended, e.Concluded) and ended.facts else _stand_in(claim)
            for finding in (event.finding, "under_way") if event.finding == "cant_tell" else (event.finding,):
                yield told(facts, at_ms, finding=finding)
        case e.StepTaken():
            yield _Picture(blind)
        case e.ChangeUndone():
            facts = _stand_in(claim)
            if event.pd_leader:
                by = {"pd_leader": event.pd_leader, "pd_started_at_ms": event.pd_started_at_ms}
                facts = facts.model_copy(update=by)
            finding = "not_started" if event.text else "applied"
            yield told(facts, event.looked_at_ms or at_ms, finding=finding)
        case e.StepIntended(kind="do"):
            yield _Picture(blind)
            yield told(_stand_in(claim).model_copy(update=ANEW), at_ms, finding="not_started")
        case e.StepIntended():
            yield _Picture(replace(blind, no_facts=("pd_unreachable", ""), no_facts_since_ms=at_ms))
            for led in ({}, ANEW):
                yield told(_stand_in(claim).model_copy(update=led), at_ms, finding="not_started")
        case e.ExecutionAborting():
            yield _Picture(blind)
            for led in ({}, ANEW):
                yield told(_stand_in(claim).model_copy(update=led), at_ms, finding="not_started")
            if event.code not in OWN_ABORTS:
                worse = told(_stand_in(claim), at_ms, finding="applied", worse=(event.code, event.text))
                yield replace(worse, outside=(WORSE,))
        case e.Concluded():
            yield from _ends(claim, event, at_ms, heard, action)


def _ends(claim: Claim, event: e.Concluded, at_ms: int, heard: Seen, action: Action) -> Iterator[_Picture]:
    """The end says what was seen last, but not when: fresh, as it is; or too old to be asked."""
    facts = event.facts
    seen = replace(heard, facts=facts, looked_at_ms=at_ms, ended_ms=at_ms)
    if facts is not None:
        yield _Picture(seen, outside=(FACTS,))
    yield _Picture(replace(heard, facts=facts, looked_at_ms=0), outside=(FACTS,) if facts else ())
    missing = replace(heard, facts=facts, looked_at_ms=at_ms, no_facts=(event.code, event.text), no_facts_since_ms=0)
    yield _Picture(missing, outside=(LOOKS,))
    if facts is not None:
        for finding in ("not_started", "applied"):
            yield _Picture(seen, Told(action, finding=finding), (FACTS, LOOKS))


def _stand_in(claim: Claim) -> Facts:
    """Facts for a look that is known by what it showed: of a PD that leads for long, and has not changed."""
    held = claim.facts
    if held is None:
        plan = claim.claimed.plan
        held = Facts(cluster_id=plan.cluster_id, pd_cluster_id=plan.pd_cluster_id, taken_at_ms=0)
    return held.model_copy(update={"pd_leader_age_s": LONG_S})
