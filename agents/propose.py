"""The `propose` role: one proposal, or nothing and why, for each final diagnosis; the same again when asked again; and
nothing any more once its incident has ended.

Whether it is allowed is not judged here. With a model it is asked a question of its own, and only where it also stands
behind the diagnosis; a bad reply leaves the playbook's rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from actions.action import Action, params_json
from actions.catalogue import BadParameters, UnknownAction, parse
from agents.evidence import entities_of, ids_of, quoted
from agents.looking import NO_FACTS, facts_soon
from agents.offers import offered, proposal_reply, proposal_request
from agents.remedies import Nothing, Proposed, Times, hopeless, propose
from agents.rendering import prompt_named
from agents.replies import REPLY_KEPT_MAX
from agents.thinking import Reply, Request, Thinker, ThinkingFailed, think
from schemas.controls import Controls
from schemas.events import (
    ActionProposed,
    By,
    DiagnosisAdopted,
    Event,
    IncidentClosed,
    NothingProposed,
    ProposalAskedAgain,
    ProposalStarted,
)
from schemas.facts import Facts, FactsReader, Look, NoFacts, kept_facts
from schemas.processors import Lane, Record, Tick
from schemas.values import Evidence, Head, canonical_json, sha256

STARTED_KEPT = 256  # attempts remembered per cluster, so that a diagnosis told twice is proposed for once


@dataclass(frozen=True)
class Proposing:
    """What is being thought about on one cluster, oldest first."""

    cluster_id: str
    open: tuple[ProposalStarted, ...] = ()
    started: tuple[str, ...] = ()


class Propose:
    """Works (schemas/processors.py). `thinker` None: the playbook alone."""

    def __init__(
        self,
        reader: FactsReader,
        thinker: Thinker | None = None,
        times: Times = Times(),  # noqa: B008  (frozen)
        model_deadline_s: float = 60,
    ) -> None:
        self.reader, self.thinker, self.times, self.model_deadline_s = reader, thinker, times, model_deadline_s
        self.prompt = prompt_named("proposal")

    # -- deciding: pure

    def initial(self, cluster_id: str) -> Proposing:
        return Proposing(cluster_id)

    def decide(self, state: Proposing, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[Event]:
        match given.event if isinstance(given, Record) else None:
            case DiagnosisAdopted(final=True) as diagnosis:
                started = started_for(diagnosis)
            case ProposalAskedAgain() as again:
                started = started_again(again)
            case IncidentClosed(incident_id=closed, text=text):  # what is still thought about is not needed any more
                why_not = Nothing("incident_closed", f"the incident has ended: {text}")
                return tuple(nothing(p, why_not) for p in state.open if p.incident_id == closed)
            case _:
                return ()
        if _key(started) in state.started:
            return ()
        answer = at_once(started)
        return (started, answer) if answer else (started,)

    def evolve(self, state: Proposing, event: Event, head: Head) -> Proposing:
        match event:
            case ProposalStarted():
                return replace(state, open=(*state.open, event), started=(*state.started, _key(event))[-STARTED_KEPT:])
            case ActionProposed() | NothingProposed():
                still = tuple(p for p in state.open if p.remediation_id != event.remediation_id)
                return replace(state, open=still)
            case _:
                return state

    def wakes_at(self, state: Proposing) -> int | None:
        return None

    def owed(self, state: Proposing) -> bool:
        return bool(state.open)

    # -- working

    async def work(self, lane: Lane[Proposing], resumed: bool) -> None:
        """Answer the oldest. A resumed one is thought about again: nothing but reading has happened."""
        started = lane.state.open[0]
        answer = await self._answer(lane, started)
        if started in lane.state.open:  # its incident may have ended meanwhile
            await lane.commit(answer)

    async def _answer(self, lane: Lane[Proposing], started: ProposalStarted) -> ActionProposed | NothingProposed:
        diagnosis = started.diagnosis
        try:
            facts = await facts_soon(self.reader, lane, look_for(diagnosis))
        except NoFacts as missing:
            return nothing(started, without_facts(missing))
        except Exception as defect:  # of the reader: a diagnosis is answered all the same
            return nothing(started, Nothing("facts_failed", f"PD gives no facts: {type(defect).__name__}"))
        if self.thinker is None or diagnosis.by != "model":  # one that failed or abstained is not asked again
            return by_playbook(started, facts, self.times)
        return await self._by_model(lane, started, facts, self.thinker)

    async def _by_model(
        self, lane: Lane[Proposing], started: ProposalStarted, facts: Facts, thinker: Thinker
    ) -> ActionProposed | NothingProposed:
        """The model's choice among what the cause admits; a bad reply leaves the playbook's rule, if that has one."""
        request = self.request(started)
        try:
            reply = await think(thinker, request, lane)
        except ThinkingFailed as failed:
            return unless_by_playbook(started, failed, thinker.model, facts, self.times)
        return by_model(started, reply, thinker.model, facts, self.times, request)

    def request(self, started: ProposalStarted) -> Request:
        """The question to the model; pure."""
        diagnosis = started.diagnosis
        offer = offered(diagnosis.cause)
        return proposal_request(self.prompt, diagnosis, offer, self.times.keep_s, self.model_deadline_s)


# -- what needs nobody's thinking -----------------------------------------------------------------------------------


def started_for(diagnosis: DiagnosisAdopted) -> ProposalStarted:
    return ProposalStarted(
        cluster_id=diagnosis.cluster_id,
        incident_id=diagnosis.incident_id,
        remediation_id=remediation_id(diagnosis.cluster_id, diagnosis.incident_id, diagnosis.ask_id),
        attempt=1,
        diagnosis=diagnosis,
    )


def started_again(again: ProposalAskedAgain) -> ProposalStarted:
    """The diagnosis stands in what is asked again; it is not made up anew."""
    diagnosis = DiagnosisAdopted(
        cluster_id=again.cluster_id,
        incident_id=again.incident_id,
        ask_id="",
        by=again.by,
        final=True,
        cause=again.cause,
        confidence=again.confidence,
        summary=again.why,
        evidence=again.evidence,
        agreed=False if again.disputed else None,
        synthetic=again.synthetic,
    )
    return ProposalStarted(
        cluster_id=again.cluster_id,
        incident_id=again.incident_id,
        remediation_id=again.remediation_id,
        attempt=again.attempt,
        diagnosis=diagnosis,
        again=again,
    )


def at_once(started: ProposalStarted) -> ActionProposed | NothingProposed | None:
    """The answer where no facts and no model are needed: the same again, or a cause that admits nothing."""
    if started.again is None:
        why_not = hopeless(started.diagnosis)
        return nothing(started, why_not, started.diagnosis.by, started.diagnosis.model) if why_not else None
    again = started.again
    try:
        action = parse(again.action, again.params)
    except (UnknownAction, BadParameters) as error:  # the catalogue has moved on
        return nothing(started, Nothing("no_longer_possible", quoted(str(error))), again.by)
    return proposed(started, action, again.why, again.evidence, again.by)


# -- what is concluded: pure, and asked again by `steward replay` ------------------------------------------------------


def without_facts(missing: NoFacts) -> Nothing:
    return Nothing(missing.code, f"{NO_FACTS}{quoted(missing.text)}")


def by_playbook(
    started: ProposalStarted, facts: Facts, times: Times, reply: str = ""
) -> ActionProposed | NothingProposed:
    """The playbook's rule by these facts. `reply`: what a model said before, and was no use."""
    rule = propose(started.diagnosis, facts, times)
    if isinstance(rule, Nothing):
        return nothing(started, rule, facts=facts, reply=reply)
    try:
        action = parse(rule.action, canonical_json(rule.params))
    except (UnknownAction, BadParameters) as error:  # not installed, or the configured keep_s is out of its range
        return nothing(started, Nothing("not_in_catalogue", quoted(str(error))), facts=facts, reply=reply)
    cited = tuple(e for e in started.diagnosis.evidence if e.id in rule.cited)
    return proposed(started, action, rule.why, cited, "playbook", facts=facts, reply=reply)


def unless_by_playbook(
    started: ProposalStarted, failed: ThinkingFailed, model: str, facts: Facts, times: Times
) -> ActionProposed | NothingProposed:
    """Where the model is no use: the playbook's rule, if that has one; else why nothing."""
    said = failed.reply[:REPLY_KEPT_MAX]
    if isinstance(propose(started.diagnosis, facts, times), Proposed):
        return by_playbook(started, facts, times, said)
    return nothing(started, Nothing(failed.code, failed.text), "model", model, facts, said)


def by_model(
    started: ProposalStarted, reply: Reply, asked: str, facts: Facts, times: Times, request: Request
) -> ActionProposed | NothingProposed:
    """What a whole reply comes to. `asked`: the model that was asked; the reply names the one that answered."""
    diagnosis, text = started.diagnosis, reply.text[:REPLY_KEPT_MAX]
    try:
        said, action = proposal_reply(reply.text, diagnosis.evidence, offered(diagnosis.cause))
    except ThinkingFailed as bad:
        return unless_by_playbook(started, bad, asked, facts, times)
    if action is None:
        return nothing(started, Nothing("model_proposes_nothing", said.why), "model", reply.model, facts, text)
    cited = tuple(e for e in diagnosis.evidence if e.id in said.cited)
    return proposed(started, action, said.why, cited, "model", reply.model, request, facts, text)


def look_for(diagnosis: DiagnosisAdopted) -> Look:
    return Look(region_ids=ids_of(entities_of(diagnosis.evidence), "region"))


def remediation_id(cluster_id: str, incident_id: str, ask_id: str) -> str:
    return "R-" + sha256(f"{cluster_id}|{incident_id}|{ask_id}".encode()).hex()[:8]


def proposal_id(started: ProposalStarted) -> str:
    return "P-" + sha256(f"{started.cluster_id}|{started.remediation_id}|{started.attempt}".encode()).hex()[:12]


def proposed(
    started: ProposalStarted,
    action: Action,
    why: str,
    evidence: tuple[Evidence, ...],
    by: By,
    model: str = "",
    request: Request | None = None,
    facts: Facts | None = None,
    reply: str = "",
) -> ActionProposed:
    diagnosis = started.diagnosis
    return ActionProposed(
        cluster_id=started.cluster_id,
        incident_id=started.incident_id,
        remediation_id=started.remediation_id,
        proposal_id=proposal_id(started),
        attempt=started.attempt,
        action=action.name,
        params=params_json(action),
        why=why,
        cause=diagnosis.cause,
        confidence=diagnosis.confidence,
        disputed=diagnosis.agreed is False,
        evidence=evidence,
        by=by,
        model=model,
        prompt_version=request.version if request else "",
        prompt_sha256=request.sha256() if request else "",
        synthetic=diagnosis.synthetic,
        facts=kept_facts(facts),
        reply=reply,
    )


def nothing(
    started: ProposalStarted,
    why_not: Nothing,
    by: By = "playbook",
    model: str = "",
    facts: Facts | None = None,
    reply: str = "",
) -> NothingProposed:
    return NothingProposed(
        cluster_id=started.cluster_id,
        incident_id=started.incident_id,
        remediation_id=started.remediation_id,
        code=why_not.code,
        reason=why_not.reason[:500],
        by=by,
        model=model,
        facts=kept_facts(facts),
        reply=reply,
    )


def _key(started: ProposalStarted) -> str:
    return f"{started.remediation_id}/{started.attempt}"
