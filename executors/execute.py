"""The hands of the execution protocol: it does what `next_move` says, one cluster a lane, and holds no policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from actions.catalogue import CATALOGUE, parse
from executors.protocol import Ask, Cluster, Look, Rest, Rules, Say, Seen, Send, claim_or_refuse, evolve, next_move
from schemas.controls import Controls
from schemas.events import (
    Answer,
    CancelOrdered,
    Event,
    ExecutionAborting,
    ExecutionAuthorized,
    QuarantineLifted,
    ResolutionOrdered,
    StepIntended,
    StepTaken,
    TakenOver,
    UndoOrdered,
)
from schemas.facts import FactsReader, NoFacts
from schemas.processors import Lane, Record, Tick
from schemas.values import Call, Head


class Reply(Protocol):
    """What came of one request."""

    answer: Answer
    status: int
    body: str
    code: str
    took_ms: int


class Writer(Protocol):
    """Sends one request to one endpoint, once; see executors/pd.py."""

    async def cluster_id(self) -> int:
        """The id that the very endpoint gives which `send` will use. Raises NoFacts."""
        ...

    async def send(self, call: Call, *, caller_id: str, within_s: float) -> Reply: ...


class Window(Protocol):
    """The kernel's deadline of one step; see infra/deadline.py. Taken before the intent is committed."""

    def left_s(self) -> float: ...

    def arm(self) -> None:
        """From here on the process dies when the window ends. Raises WindowPassed if it has."""
        ...

    def disarm(self) -> None: ...


class WindowPassed(Exception):
    """Too late to send; nothing was sent."""


async def nobody_audits(cluster_id: str) -> int:
    """Without an audit nothing is known to be in it."""
    return 0


@dataclass(frozen=True)
class Execute:
    """Works: reads `remediations`, consults `controls`, writes `outcomes`."""

    rules: Rules
    reader: FactsReader
    writer: Callable[[str, frozenset[str]], Writer]  # (cluster, may_call) -> a client that has no other calls
    window: Callable[[float], Window]
    audited: Callable[[str], Awaitable[int]] = nobody_audits  # how far, by seq, a cluster's `outcomes` are in the audit

    def initial(self, cluster_id: str) -> Cluster:
        return Cluster(cluster_id)

    def decide(self, state: Cluster, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[Event]:
        if isinstance(given, Tick):
            return ()
        order = given.event
        match order:
            case ExecutionAuthorized() if order.remediation_id not in state.answered:
                return (claim_or_refuse(state, order, given.at_ms, now_ms, controls, self.rules),)
            case ResolutionOrdered() if state.quarantine == order.remediation_id:
                return (
                    QuarantineLifted(
                        cluster_id=order.cluster_id,
                        remediation_id=order.remediation_id,
                        person=order.person,
                        reason=order.reason,
                    ),
                )
            case CancelOrdered() | UndoOrdered():
                claim = state.claim
                if claim and claim.claimed.remediation_id == order.remediation_id and claim.aborting is None:
                    code = "cancelled" if isinstance(order, CancelOrdered) else "undo_asked"
                    text = f"{order.person}: {order.reason}"
                    return (
                        ExecutionAborting(
                            cluster_id=order.cluster_id,
                            remediation_id=order.remediation_id,
                            attempt=claim.attempt,
                            code=code,
                            text=text,
                        ),
                    )
        return ()

    def evolve(self, state: Cluster, event: Event, head: Head) -> Cluster:
        return evolve(state, event, head)

    def wakes_at(self, state: Cluster) -> int | None:
        return None

    def owed(self, state: Cluster) -> bool:
        return state.claim is not None

    async def work(self, lane: Lane[Cluster], resumed: bool) -> None:
        """Carry the open claim to its conclusion."""
        seen = Seen(controls=lane.controls(), owner_since_ms=lane.now_ms(), resumed=resumed)
        while lane.state.claim is not None and not lane.leaving:
            seen = seen.hearing(await lane.read_controls(), lane.now_ms())
            claim = lane.state.claim  # as it is after that read: a person's word may have come meanwhile
            if claim is None or lane.leaving:
                return
            match next_move(claim, seen, lane.now_ms(), self.rules):
                case Say(events):
                    await lane.commit(*events)
                    if any(isinstance(event, TakenOver) for event in events):
                        seen = replace(seen, resumed=False)
                case Look():
                    seen = await self._look(lane, seen)
                case Ask():
                    audited = await self.audited(lane.cluster_id)
                    seen = replace(seen, audited=audited, asked_at_ms=lane.now_ms())
                case Send(intended):
                    await self._send(lane, intended)
                case Rest(until_ms):
                    await lane.sleep_until(until_ms)

    async def _look(self, lane: Lane[Cluster], seen: Seen) -> Seen:
        claim = lane.state.claim
        assert claim is not None
        action = parse(claim.claimed.action, claim.claimed.params)
        pause_ms = int(self.rules.poll_s * 1000)
        if lane.now_ms() < seen.looked_at_ms + pause_ms // 2:  # whatever other clocks say, PD gets a pause
            await lane.sleep_until(seen.looked_at_ms + pause_ms)
        began_ms = lane.now_ms()
        try:
            facts = await self.reader.facts(lane.cluster_id, action.look())
        except Exception as error:  # a defect of the reader is no reason to keep an undo back either
            missing = (
                error
                if isinstance(error, NoFacts)
                else NoFacts("facts_failed", f"PD gives no facts: {type(error).__name__}")
            )
            since = seen.no_facts_since_ms if seen.no_facts else lane.now_ms()
            await lane.sleep_until(lane.now_ms() + pause_ms)
            return replace(seen, looked_at_ms=began_ms, no_facts=(missing.code, missing.text), no_facts_since_ms=since)
        return replace(seen, looked_at_ms=began_ms, ended_ms=lane.now_ms(), facts=facts, no_facts=None)

    async def _send(self, lane: Lane[Cluster], intended: StepIntended) -> None:
        """Durable intent -> controls at their live end -> kernel timer -> one request -> durable answer.

        Nothing is awaited between the move that was decided, on the controls read for it, and the commit."""
        claim = lane.state.claim
        assert claim is not None
        window = self.window(intended.window_s)
        await lane.commit(intended)
        if claim.claimed.mode != "on":
            await lane.commit(_taken(intended, "rehearsed"))
            return
        kind = CATALOGUE[claim.claimed.action]
        writer = self.writer(lane.cluster_id, kind.may_call)
        caller_id = f"steward/{intended.remediation_id}/{intended.attempt}.{intended.step}"
        try:
            identity = await writer.cluster_id()
        except NoFacts as error:
            await lane.commit(_taken(intended, "never_sent", code=error.code, body=error.text))
            return
        if identity != claim.claimed.plan.pd_cluster_id:
            text = f"the endpoint is of PD cluster {identity}"
            await lane.commit(_taken(intended, "never_sent", code="wrong_cluster", body=text))
            return
        if stop := _stopped(await lane.read_controls(), intended):  # to ask for the identity took its time
            await lane.commit(_taken(intended, "never_sent", code=stop[0], body=stop[1]))
            return
        if _called_off(lane, intended) or lane.leaving:
            await lane.commit(_taken(intended, "never_sent", code="leaving" if lane.leaving else "called_off"))
            return
        try:
            window.arm()
        except WindowPassed:
            await lane.commit(_taken(intended, "never_sent", code="window_passed"))
            return
        try:
            reply = await writer.send(intended.call, caller_id=caller_id, within_s=max(0.1, window.left_s() - 1))
        finally:
            window.disarm()
        await lane.commit(
            _taken(
                intended,
                reply.answer,
                status=reply.status,
                body=reply.body[:2000],
                code=reply.code,
                caller_id=caller_id,
                took_ms=reply.took_ms,
            )
        )


def _stopped(controls: Controls, intended: StepIntended) -> tuple[str, str] | None:
    """Why this step may not be taken under these controls: a freeze stops forward steps, only a halt an undo."""
    refuses = controls.refuses_undo if intended.kind == "undo" else controls.refuses_forward
    return refuses(intended.cluster_id)


def _called_off(lane: Lane[Cluster], intended: StepIntended) -> bool:
    """Has a person's word reached the claim since this forward step was decided?"""
    claim = lane.state.claim
    return intended.kind == "do" and (claim is None or claim.aborting is not None)


def _taken(intended: StepIntended, answer: Answer, **said: object) -> StepTaken:
    return StepTaken(
        cluster_id=intended.cluster_id,
        remediation_id=intended.remediation_id,
        attempt=intended.attempt,
        step=intended.step,
        answer=answer,
        **said,
    )
