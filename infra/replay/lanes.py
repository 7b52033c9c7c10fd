"""What the lanes of `diagnose`, `propose` and `notify` have said, concluded again from the grounds on record.

A model's reply is taken as it was and checked again; that it gave none, and that a sink took a message, is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents import diagnose as thinking
from agents import looking
from agents import propose as proposing
from agents.evidence import collect, collect_without_facts
from agents.rendering import diagnosis_request
from agents.replies import REPLY_KEPT_MAX
from agents.thinking import Reply, ThinkingFailed
from infra.replay.ledger import Judged, Past
from infra.replay.report import NOTHING, Difference, compare
from schemas.events import (
    ActionProposed,
    Delivered,
    DiagnosisAbstained,
    DiagnosisMade,
    DiagnosisStarted,
    Event,
    NotDelivered,
    NothingProposed,
    ProposalStarted,
)
from schemas.facts import NoFacts
from streams import notify

FACTS = "facts of PD"
NO_FACTS = "looks at PD that failed"
NOT_KEPT = "conclusions whose facts are not on record"
REPLIES = "replies of a model"
FAILURES = "failures of a model"
CUT = "replies of a model that are cut on record"
DELIVERIES = "deliveries"
REPLY_CODES = frozenset({"model_unsure", "model_proposes_nothing", "action_not_admitted", "bad_parameters"})
REPLY_CODES |= {"entity_not_in_evidence"}
UNPROMPTED = frozenset({"no_model", "too_late"})  # what the configuration and the clock were
PROMPT = ("prompt_version", "prompt_sha256", "evidence")


def _to_nobody(name: str, value: str) -> Judged:
    return Judged(differs=(Difference(name, value, NOTHING),))


def diagnosed(rules: thinking.Diagnose, past: Past) -> Judged:
    """A diagnosis or an abstention: from the facts, or from the model's own words."""
    event = past.event
    assert isinstance(event, DiagnosisMade | DiagnosisAbstained)
    ask = next((a for a in past.state.open if a.ask_id == event.ask_id), None)
    if ask is None:
        return _to_nobody("ask_id", event.ask_id)
    code = event.code if isinstance(event, DiagnosisAbstained) else ""
    if code in UNPROMPTED:
        return Judged(outside=(FAILURES,), decided=False)
    if event.facts is None:
        return _without_facts(ask, event, past)
    seen = collect(ask.alerts, event.facts)
    if event.by == "playbook":
        decided = thinking.by_playbook(ask, event.facts, seen, event.took_ms)
        return Judged(differs=tuple(compare([event], [decided])), outside=(FACTS,))
    request = diagnosis_request(rules.prompt, ask.cluster_id, ask.alerts, seen.evidence(), 0)
    if code and code not in REPLY_CODES and not code.startswith("reply_"):
        assert isinstance(event, DiagnosisAbstained)
        failed = (event.code, event.reason, seen, event.model, request, event.reply, event.took_ms, event.facts)
        return Judged(differs=tuple(compare([event], [thinking.abstained(ask, *failed)])), outside=(FACTS, FAILURES))
    reply = Reply(event.reply, event.model)
    differs = compare([event], [thinking.by_model(ask, reply, event.facts, seen, request, event.took_ms)])
    if len(event.reply) >= REPLY_KEPT_MAX:
        return Judged(differs=_only(PROMPT, differs), outside=(FACTS, CUT))
    return Judged(differs=tuple(differs), outside=(FACTS, REPLIES))


def _without_facts(ask: DiagnosisStarted, event: DiagnosisMade | DiagnosisAbstained, past: Past) -> Judged:
    if not isinstance(event, DiagnosisAbstained) or not event.reason.startswith(looking.NO_FACTS):
        return Judged(outside=(NOT_KEPT,), decided=False)
    missing = NoFacts(event.code, event.reason.removeprefix(looking.NO_FACTS))
    looked_ms = event.evidence[0].seen_at_ms if event.evidence else past.at_ms
    why, seen = thinking.without_facts(missing), collect_without_facts(ask.alerts, missing, looked_ms)
    decided = thinking.abstained(ask, why.code, why.reason, seen, event.model, took_ms=event.took_ms)
    return Judged(differs=tuple(compare([event], [decided])), outside=(NO_FACTS,))


def proposed(rules: proposing.Propose, past: Past) -> Judged:
    """An action, or nothing and why."""
    event = past.event
    assert isinstance(event, ActionProposed | NothingProposed)
    started = next((p for p in past.state.open if p.remediation_id == event.remediation_id), None)
    if started is None:
        return _to_nobody("remediation_id", event.remediation_id)
    if event.facts is None:
        if isinstance(event, NothingProposed) and event.reason.startswith(looking.NO_FACTS):
            missing = NoFacts(event.code, event.reason.removeprefix(looking.NO_FACTS))
            again = proposing.nothing(started, proposing.without_facts(missing))
            return Judged(differs=tuple(compare([event], [again])), outside=(NO_FACTS,))
        return Judged(outside=(NOT_KEPT,), decided=False)
    first: tuple[Difference, ...] = ()
    for decided, outside in _choices(rules, started, event):
        differs = tuple(compare([event], [decided]))
        if len(event.reply) >= REPLY_KEPT_MAX and event.by == "model":
            differs = _only(PROMPT, differs)
            outside = CUT
        if not differs:
            return Judged(outside=(FACTS, *((outside,) if outside else ())))
        first = first or differs
    return Judged(differs=first, outside=(FACTS,))


def _choices(
    rules: proposing.Propose, started: ProposalStarted, event: ActionProposed | NothingProposed
) -> Sequence[tuple[Event, str]]:
    """What may have come of these facts: the playbook's rule; or what the model said, and that it was no use."""
    facts, times = event.facts, rules.times
    assert facts is not None
    by_rule = (proposing.by_playbook(started, facts, times), "")
    if started.diagnosis.by != "model":
        return [by_rule]
    code = event.code if isinstance(event, NothingProposed) else ""
    reply = Reply(event.reply, event.model)
    by_reply = (proposing.by_model(started, reply, event.model, facts, times, rules.request(started)), REPLIES)
    if code and (code in REPLY_CODES or code.startswith("reply_")):
        return [by_reply]
    failed = ThinkingFailed(event.reason if isinstance(event, NothingProposed) else "", event.reply)
    failed.code = code or failed.code
    without = (proposing.unless_by_playbook(started, failed, event.model, facts, times), FAILURES)
    return [by_reply, without] if event.by == "model" or event.reply else [without, by_rule]


def notified(rules: notify.Notify, past: Past) -> Judged:
    """What was delivered, is believed; where to, and what was overtaken, is decided again."""
    event = past.event
    assert isinstance(event, Delivered | NotDelivered)
    this = (event.incident_id, event.version)
    started = next((n for n in past.state.open if (n.incident_id, n.version) == this), None)
    if started is None:
        return _to_nobody("version", str(event.version))
    first: tuple[Difference, ...] = ()
    for controls in past.heard:
        wanted = notify.route(controls.policy.notify, started.tier, rules.settings.sinks)
        if isinstance(event, NotDelivered) and event.code == "superseded":
            decided = notify.superseded(past.state, started, wanted)
            differs = tuple(compare([event], [decided] if decided else []))
            if not differs:
                return Judged()
            first = first or differs
        elif set(event.sinks) <= {*wanted, notify.LOG}:  # the log takes what nobody else does
            return Judged(outside=(DELIVERIES,))
        else:
            first = first or (Difference("sinks", list(event.sinks), list(wanted)),)
    return Judged(differs=first)


def _only(names: Sequence[str], differs: Sequence[Difference]) -> tuple[Difference, ...]:
    return tuple(d for d in differs if d.path.split(".")[0] in names)


LANES: dict[str, Any] = {"diagnose": diagnosed, "propose": proposed, "notify": notified}
