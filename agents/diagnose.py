"""The `diagnose` role: each ask of the incidents ledger gets one answer, a diagnosis or an abstention with its code.

The playbook's asks are answered first and at once, also while a model still thinks about others; no failure of PD, of
the model or of its wire leaves an ask without an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.causes import for_people
from agents.evidence import ALERT, Collected, collect, collect_without_facts, entities_of, ids_of, look_for, quoted
from agents.looking import NO_FACTS, facts_soon
from agents.playbook import Abstention, Case, Finding, diagnose
from agents.rendering import diagnosis_request, prompt_named
from agents.replies import REPLY_KEPT_MAX, diagnosis_reply
from agents.thinking import LOOK_AGAIN_MS, ModelTimedOut, Reply, Request, Thinker, ThinkingFailed, Thought, conclude
from schemas.controls import Controls
from schemas.events import (
    DiagnosisAbstained,
    DiagnosisAsked,
    DiagnosisMade,
    DiagnosisStarted,
    Event,
    RuledOut,
)
from schemas.facts import Facts, FactsReader, NoFacts, kept_facts
from schemas.processors import Lane, Record, Tick
from schemas.values import Head

ANSWERED_KEPT = 256  # ask ids remembered per cluster, so that an ask told twice is answered once
AT_ONCE_MAX = 4  # thoughts of one cluster at the same time
LOOK_ENDS_MS = 5000  # before its deadline: what was seen, or not, is said in time
TO_ANSWER_MS = 1000  # kept from a model's deadline for checking and committing its reply


@dataclass(frozen=True)
class Diagnosing:
    """What is asked of one cluster and not yet answered, oldest first."""

    cluster_id: str
    open: tuple[DiagnosisStarted, ...] = ()
    answered: tuple[str, ...] = ()

    def of(self, by: str) -> tuple[DiagnosisStarted, ...]:
        return tuple(a for a in self.open if a.by == by)

    def knows(self, ask_id: str) -> bool:
        return ask_id in self.answered or any(a.ask_id == ask_id for a in self.open)


@dataclass
class UnderWay:
    """A model's ask and what is known of it so far."""

    ask: DiagnosisStarted
    facts: Facts
    seen: Collected
    request: Request
    thought: Thought
    started_ms: int


class Diagnose:
    """Works (schemas/processors.py). `thinker` None: the playbook alone."""

    def __init__(self, reader: FactsReader, thinker: Thinker | None = None) -> None:
        self.reader, self.thinker = reader, thinker
        self.prompt = prompt_named("diagnosis")

    # -- deciding: pure

    def initial(self, cluster_id: str) -> Diagnosing:
        return Diagnosing(cluster_id)

    def decide(self, state: Diagnosing, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[Event]:
        if not isinstance(given, Record) or not isinstance(given.event, DiagnosisAsked):
            return ()
        asked = given.event
        if state.knows(asked.ask_id):
            return ()
        return (
            DiagnosisStarted(
                cluster_id=asked.cluster_id,
                incident_id=asked.incident_id,
                ask_id=asked.ask_id,
                by=asked.by,
                deadline_ms=asked.deadline_ms,
                family=asked.family,
                alerts=asked.alerts,
            ),
        )

    def evolve(self, state: Diagnosing, event: Event, head: Head) -> Diagnosing:
        match event:
            case DiagnosisStarted():
                return replace(state, open=(*state.open, event))
            case DiagnosisMade() | DiagnosisAbstained():
                still = tuple(a for a in state.open if a.ask_id != event.ask_id)
                return replace(state, open=still, answered=(*state.answered, event.ask_id)[-ANSWERED_KEPT:])
            case _:
                return state

    def wakes_at(self, state: Diagnosing) -> int | None:
        return None

    def owed(self, state: Diagnosing) -> bool:
        return bool(state.open)

    # -- working

    async def work(self, lane: Lane[Diagnosing], resumed: bool) -> None:
        """Answer the oldest ask of the playbook; with none of those, the model's, together. A resumed ask is simply
        asked again: nothing but reading has happened."""
        if asks := lane.state.of("playbook"):
            await self._by_playbook(lane, asks[0])
        else:
            await self._by_model(lane)

    async def _by_playbook(self, lane: Lane[Diagnosing], ask: DiagnosisStarted) -> None:
        started_ms = lane.now_ms()
        facts, seen = await self._look(lane, ask)
        await lane.commit(by_playbook(ask, facts, seen, max(0, lane.now_ms() - started_ms)))

    async def _by_model(self, lane: Lane[Diagnosing]) -> None:
        """Several thoughts side by side, and the playbook's asks between them, until no thought is left."""
        under_way: list[UnderWay] = []
        try:
            while True:
                begun = {u.ask.ask_id for u in under_way}
                fresh = next((a for a in lane.state.of("model") if a.ask_id not in begun), None)
                if asks := lane.state.of("playbook"):
                    await self._by_playbook(lane, asks[0])
                elif fresh and len(under_way) < AT_ONCE_MAX:
                    if (thinking := await self._begin(lane, fresh)) is not None:
                        under_way.append(thinking)
                elif ended := next(
                    (u for u in under_way if u.thought.done() or lane.now_ms() >= _until_ms(u.ask)), None
                ):
                    under_way.remove(ended)
                    await self._answer(lane, ended)
                elif under_way:
                    soonest = min(_until_ms(u.ask) for u in under_way)
                    await lane.sleep_until(min(soonest, lane.now_ms() + LOOK_AGAIN_MS))
                else:
                    return
        finally:
            for left in under_way:
                left.thought.cancel()

    async def _begin(self, lane: Lane[Diagnosing], ask: DiagnosisStarted) -> UnderWay | None:
        """Put the question to the model; None where the ask could be answered without."""
        started_ms = lane.now_ms()
        if self.thinker is None:
            await lane.commit(abstained(ask, "no_model", "no model is configured"))
            return None
        facts, seen = await self._look(lane, ask)
        if isinstance(facts, Abstention):
            await lane.commit(abstained(ask, facts.code, facts.reason, seen, model=self.thinker.model))
            return None
        left_s = (_until_ms(ask) - lane.now_ms()) / 1000
        if left_s <= 0:
            text = "the deadline had passed before the model could be asked"
            await lane.commit(abstained(ask, "too_late", text, seen, model=self.thinker.model, facts=facts))
            return None
        request = diagnosis_request(self.prompt, ask.cluster_id, ask.alerts, seen.evidence(), left_s)
        return UnderWay(ask, facts, seen, request, self.thinker.begin(request), started_ms)

    async def _answer(self, lane: Lane[Diagnosing], ended: UnderWay) -> None:
        """What the model made of it, checked; whatever went wrong is an abstention."""
        took_ms = max(0, lane.now_ms() - ended.started_ms)
        answer: Event
        try:
            if not ended.thought.done():
                ended.thought.cancel()
                raise ModelTimedOut("no reply before the deadline of this ask")
            answer = by_model(ended.ask, conclude(ended.thought), ended.facts, ended.seen, ended.request, took_ms)
        except ThinkingFailed as failed:
            answer = abstained(
                ended.ask,
                failed.code,
                failed.text,
                ended.seen,
                self.thinker.model if self.thinker else "",
                ended.request,
                failed.reply[:REPLY_KEPT_MAX],
                took_ms,
                ended.facts,
            )
        await lane.commit(answer)

    async def _look(self, lane: Lane[Diagnosing], ask: DiagnosisStarted) -> tuple[Facts | Abstention, Collected]:
        """Facts and evidence; or why there are none, and the evidence that is left."""
        try:
            facts = await facts_soon(self.reader, lane, look_for(ask.alerts), ask.deadline_ms - LOOK_ENDS_MS)
        except NoFacts as missing:
            error = missing
        except Exception as defect:  # of the reader: an ask is answered all the same
            error = NoFacts("facts_failed", type(defect).__name__)
        else:
            return facts, collect(ask.alerts, facts)
        seen = collect_without_facts(ask.alerts, error, lane.now_ms())
        return without_facts(error), seen


def _until_ms(ask: DiagnosisStarted) -> int:
    return ask.deadline_ms - TO_ANSWER_MS


# -- what is concluded: pure, and asked again by `steward replay` ------------------------------------------------------


def without_facts(missing: NoFacts) -> Abstention:
    return Abstention(missing.code, f"{NO_FACTS}{quoted(missing.text)}")


def by_playbook(
    ask: DiagnosisStarted, facts: Facts | Abstention, seen: Collected, took_ms: int = 0
) -> DiagnosisMade | DiagnosisAbstained:
    """The playbook's answer by these facts; or why there are none."""
    if isinstance(facts, Abstention):
        return abstained(ask, facts.code, facts.reason, seen, took_ms=took_ms)
    found = diagnose(Case(ask.family, ask.alerts, facts, seen))
    if isinstance(found, Abstention):
        return abstained(ask, found.code, found.reason, seen, took_ms=took_ms, facts=facts)
    return made(ask, left_to_people(found, facts, seen), seen, took_ms=took_ms, facts=facts)


def by_model(
    ask: DiagnosisStarted, reply: Reply, facts: Facts, seen: Collected, request: Request, took_ms: int = 0
) -> DiagnosisMade | DiagnosisAbstained:
    """What a whole reply comes to."""
    text = reply.text[:REPLY_KEPT_MAX]
    try:
        said = diagnosis_reply(reply.text, seen.evidence())
    except ThinkingFailed as bad:
        return abstained(ask, bad.code, bad.text, seen, reply.model, request, text, took_ms, facts)
    if said.cause == "unknown":
        return abstained(ask, "model_unsure", said.summary, seen, reply.model, request, text, took_ms, facts)
    ruled_out = tuple(RuledOut(what=quoted(r.what, 120), evidence=r.evidence) for r in said.ruled_out)
    found = left_to_people(Finding(said.cause, said.confidence, said.summary, said.cited, ruled_out), facts, seen)
    return made(ask, found, seen, reply.model, request, text, took_ms, facts)


def left_to_people(found: Finding, facts: Facts, seen: Collected) -> Finding:
    """The finding with what remains for a person, about the one store that what PD said of it names, if it is one."""
    cited = [e for e in seen.evidence() if e.id in found.cited]
    names = entities_of(e for e in cited if e.source != ALERT) or entities_of(cited)
    return replace(found, for_people=for_people(found.cause, ids_of(names, "store"), facts))


def made(
    ask: DiagnosisStarted,
    found: Finding,
    seen: Collected,
    model: str = "",
    asked: Request | None = None,
    reply: str = "",
    took_ms: int = 0,
    facts: Facts | None = None,
) -> DiagnosisMade:
    return DiagnosisMade(
        cluster_id=ask.cluster_id,
        incident_id=ask.incident_id,
        ask_id=ask.ask_id,
        by=ask.by,
        cause=found.cause,
        confidence=found.confidence,
        summary=found.summary,
        evidence=seen.evidence(),
        cited=found.cited,
        ruled_out=found.ruled_out,
        model=model,
        prompt_version=asked.version if asked else "",
        prompt_sha256=asked.sha256() if asked else "",
        reply=reply,
        took_ms=took_ms,
        for_people=found.for_people,
        facts=kept_facts(facts),
    )


def abstained(
    ask: DiagnosisStarted,
    code: str,
    reason: str,
    seen: Collected | None = None,
    model: str = "",
    asked: Request | None = None,
    reply: str = "",
    took_ms: int = 0,
    facts: Facts | None = None,
) -> DiagnosisAbstained:
    return DiagnosisAbstained(
        cluster_id=ask.cluster_id,
        incident_id=ask.incident_id,
        ask_id=ask.ask_id,
        by=ask.by,
        code=code,
        reason=reason[:500],
        evidence=seen.evidence() if seen else (),
        model=model,
        prompt_version=asked.version if asked else "",
        prompt_sha256=asked.sha256() if asked else "",
        reply=reply,
        took_ms=took_ms,
        facts=kept_facts(facts),
    )
