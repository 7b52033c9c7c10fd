"""The acting ledger: follows each proposal until it is closed. Decides who is asked, when, and what may run.

Read `Remediations.decide` first: one line an input. From ExecutionAuthorized on, only outcomes and recorded orders of
people move a remediation; timers flag it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from actions.action import Limits
from actions.preflight import not_now
from schemas import events as e
from schemas.approvals import counted, judge
from schemas.controls import Controls
from schemas.lifecycle import State, after
from schemas.policy import CLUSTER_TIER_DEAREST, veto_s
from schemas.processors import Record, Tick
from schemas.values import Head, Objection, SignedApproval
from streams.rules.approval import needed
from streams.rules.windows import its_hour_ms

DEFER_S_MIN, DEFER_S_MAX = 10, 60  # after a `wait`: doubled with each attempt
GIVES_UP_S = 1800  # `wait` objections for so long, from when the hour was right: the proposal is closed with them
VALIDATION_S = 120  # validate answers within seconds; silence for so long closes the proposal
CLAIM_S = 60  # an authorisation nobody has claimed is flagged
RUN_FLAG_S = 3600  # an execution that is open for so long is flagged
AUTHORISED_S = 600  # an authorisation not claimed by then is refused by execute
CLOSED_KEPT = 1000

Word = e.Approved | e.Denied | e.CancelAsked | e.UndoAsked | e.DoneByHand | e.OutcomeResolved
DECISIONS: dict[type[e.Event], str] = {  # what a person has signed with it; with how it ended, where that is the word
    e.Approved: "approve",
    e.Denied: "deny",
    e.CancelAsked: "cancel",
    e.UndoAsked: "undo",
    e.DoneByHand: "by_hand",
}


@dataclass(frozen=True)
class Settings:
    """Whose word counts, where we are, and how dear each cluster is. `keys`: kid -> public JWK."""

    environment: str
    keys: Mapping[str, Mapping[str, str]]
    tiers: Mapping[str, int] = field(default_factory=dict)  # cluster -> its tier


@dataclass(frozen=True)
class Remediation:
    opened: e.RemediationOpened
    state: State
    since_ms: int  # when it came into this state
    attempt: int = 1
    gives_up_ms: int = 0
    until_ms: int = 0
    ask: e.ApprovalAsked | None = None
    step: int = 0
    expires_at_ms: int = 0
    approvals: tuple[SignedApproval, ...] = ()
    blocked: str = ""
    blocked_until_ms: int = 0
    flagged: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return self.opened.remediation_id


@dataclass(frozen=True)
class Acting:
    """One cluster. `closed`: how earlier ones ended, so that a late word finds its answer."""

    FOLD: ClassVar[int] = 2  # approvals that have run out are dropped; what is asked waits no more
    cluster_id: str
    open: Mapping[str, Remediation] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    quarantine: str = ""
    ended_ms: int = 0  # when the last execution ended

    def executing(self) -> Remediation | None:
        return next((r for r in self.open.values() if r.state in ("authorised", "running")), None)


@dataclass(frozen=True)
class Remediations:
    """Decides: reads incidents, proposals, validations, approvals, outcomes; consults controls; writes remediations."""

    settings: Settings

    def initial(self, cluster_id: str) -> Acting:
        return Acting(cluster_id)

    def decide(self, state: Acting, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        here = _Here(state, now_ms, controls, self.settings)
        if isinstance(given, Tick):
            return here.time_passes()
        event = given.event
        match event:
            case e.ActionProposed():
                return here.open(event)
            case e.NothingProposed():
                return here.nothing(event)
            case e.ProposalValidated():
                return here.validated(event)
            case e.ProposalRefused():
                return here.refused(event)
            case _ if isinstance(event, Word):
                return here.heard(event)
            case e.IncidentClosed():
                return here.incident_closed(event)
            case e.Claimed() | e.ClaimRefused() | e.Concluded() | e.QuarantineLifted():
                return here.executed(event)
            case _:
                return ()

    def evolve(self, state: Acting, event: e.Event, head: Head) -> Acting:
        return _evolve(state, event, head.at_ms)

    def wakes_at(self, state: Acting) -> int | None:
        times = [t for r in state.open.values() if (t := _wakes_at(r)) is not None]
        return min(times) if times else None


# -- the fold -------------------------------------------------------------------------------------------------------


def _evolve(state: Acting, event: e.Event, at: int) -> Acting:
    if isinstance(event, e.RemediationOpened):
        fresh = Remediation(event, after(None, "RemediationOpened"), at)
        return replace(state, open={**state.open, event.remediation_id: fresh})
    remediation = state.open.get(getattr(event, "remediation_id", ""))
    if remediation is None:
        if isinstance(event, e.RemediationClosed):  # nothing was ever proposed
            return replace(state, closed=_kept(state.closed, event))
        return state
    moved = after(remediation.state, type(event).__name__)
    since = at if moved != remediation.state else remediation.since_ms
    r = replace(remediation, state=moved, since_ms=since)
    match event:
        case e.RemediationClosed():
            left = {k: v for k, v in state.open.items() if k != r.id}
            ran = remediation.state in ("running", "unknown")
            lifted = "" if state.quarantine == r.id else state.quarantine
            return replace(
                state,
                open=left,
                closed=_kept(state.closed, event),
                quarantine=lifted,
                ended_ms=at if ran else state.ended_ms,
            )
        case e.ClusterQuarantined():
            return replace(state, open={**state.open, r.id: r}, quarantine=r.id)
        case e.ProposalDeferred():
            r = replace(r, until_ms=event.until_ms, gives_up_ms=event.gives_up_ms, ask=None, approvals=(), blocked="")
        case e.ProposalAskedAgain():
            r = replace(r, attempt=event.attempt, ask=None, approvals=(), blocked="")
        case e.ApprovalAsked():
            r = replace(r, ask=event, step=0, expires_at_ms=event.expires_at_ms, gives_up_ms=0)  # it waits no more
        case e.ApprovalEscalated():
            r = replace(r, step=event.step, expires_at_ms=event.expires_at_ms)
        case e.ApprovalCounted():
            r = replace(r, approvals=(*_living(r.approvals, at), event.approval))
        case e.ExecutionBlocked():
            r = replace(r, blocked=event.code, blocked_until_ms=event.until_ms)
        case e.RemediationFlagged():
            r = replace(r, flagged=r.flagged | {event.code})
    return replace(state, open={**state.open, r.id: r})


def _living(approvals: Sequence[SignedApproval], at: int) -> tuple[SignedApproval, ...]:
    return tuple(a for a in approvals if a.expires_at_ms >= at)


def _kept(closed: Mapping[str, str], event: e.RemediationClosed) -> dict[str, str]:
    return dict(list(closed.items())[-CLOSED_KEPT:]) | {event.remediation_id: event.code}


def _wakes_at(r: Remediation) -> int | None:
    match r.state:
        case "proposed":
            return r.since_ms + VALIDATION_S * 1000
        case "deferred":
            return r.until_ms
        case "asked":
            return r.expires_at_ms
        case "approved":
            return max(r.blocked_until_ms, r.since_ms)
        case "authorised":
            return None if "unclaimed" in r.flagged else r.since_ms + CLAIM_S * 1000
        case "running":
            return None if "long_running" in r.flagged else r.since_ms + RUN_FLAG_S * 1000
    return None


# -- the decisions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Here:
    state: Acting
    now_ms: int
    controls: Controls
    settings: Settings

    # proposals

    def open(self, event: e.ActionProposed) -> Sequence[e.Event]:
        if event.remediation_id in self.state.open or event.remediation_id in self.state.closed:
            return ()
        return (
            e.RemediationOpened(
                cluster_id=event.cluster_id,
                incident_id=event.incident_id,
                remediation_id=event.remediation_id,
                proposal_id=event.proposal_id,
                action=event.action,
                params=event.params,
                why=event.why,
                cause=event.cause,
                confidence=event.confidence,
                disputed=event.disputed,
                by=event.by,
                evidence=event.evidence,
                synthetic=event.synthetic,
            ),
        )

    def nothing(self, event: e.NothingProposed) -> Sequence[e.Event]:
        r = self.state.open.get(event.remediation_id)
        if r is None and event.remediation_id in self.state.closed:
            return ()
        if r is not None and r.state != "proposed":
            return ()
        return (
            e.RemediationClosed(
                cluster_id=event.cluster_id,
                incident_id=event.incident_id,
                remediation_id=event.remediation_id,
                code=event.code,
                text=event.reason,
            ),
        )

    # validations

    def refused(self, event: e.ProposalRefused) -> Sequence[e.Event]:
        r = self._awaiting(event)
        if r is None:
            return ()
        return (self._put_off(r, event.objections),)

    def _put_off(self, r: Remediation, objections: tuple[Objection, ...]) -> e.ProposalDeferred | e.RemediationClosed:
        """Asked again later, where all that is said against it passes, and it has not waited for too long."""
        text = "; ".join(o.text for o in objections)
        if any(o.kind != "wait" for o in objections) or not objections:
            code = next((o.code for o in objections if o.kind != "wait"), "refused")
            return self._close(r, code, text, objections=objections)
        gives_up = r.gives_up_ms or self.now_ms + GIVES_UP_S * 1000
        if hour_ms := its_hour_ms(objections):
            gives_up = max(gives_up, hour_ms + GIVES_UP_S * 1000)
        pause_s = min(DEFER_S_MIN * 2 ** (r.attempt - 1), DEFER_S_MAX)
        until = max([self.now_ms + pause_s * 1000, *(o.until_ms for o in objections)])
        if until > gives_up:
            return self._close(r, "waited_too_long", text, objections=objections)
        return e.ProposalDeferred(
            cluster_id=self.state.cluster_id,
            remediation_id=r.id,
            attempt=r.attempt,
            until_ms=until,
            gives_up_ms=gives_up,
            objections=objections,
        )

    def validated(self, event: e.ProposalValidated) -> Sequence[e.Event]:
        r = self._awaiting(event)
        if r is None:
            return ()
        if r.opened.synthetic:
            return (self._close(r, "synthetic", "an injected incident: it ends before anybody is asked"),)
        if event.mode == "observe":
            return (self._close(r, "mode_observe", f"{event.action} only observes on {event.cluster_id}"),)
        policy = self.controls.policy
        rule = policy.approval_rule(event.tier)
        people = needed(rule, event.tier, r.opened.disputed)
        if people is None:
            return (self._close(r, "forbidden", f"tier {event.tier}: {', '.join(event.tier_reasons)}"),)
        ask_s = veto_s(rule) or policy.approval.ask_s
        ask = e.ApprovalAsked(
            cluster_id=event.cluster_id,
            incident_id=event.incident_id,
            remediation_id=r.id,
            digest=event.digest,
            action=event.action,
            params=event.plan.params,
            why=r.opened.why,
            tier=event.tier,
            tier_reasons=event.tier_reasons,
            mode=event.mode,
            rule=rule,
            needed=people,
            escalation=policy.approval.escalation,
            step=0,
            expires_at_ms=self.now_ms + ask_s * 1000,
            plan=event.plan,
            reach=event.reach,
            facts_taken_at_ms=event.facts.taken_at_ms,
            evidence=r.opened.evidence,
            cause=r.opened.cause,
            confidence=r.opened.confidence,
        )
        if people or veto_s(rule):
            return (ask,)
        return (ask, *self.authorise(replace(r, ask=ask)))

    # people

    def heard(self, event: Word) -> Sequence[e.Event]:
        """A person's word: counted only where its signature says exactly this, here, now."""
        approval = event.approval
        r = self.state.open.get(event.remediation_id)
        if r is None:
            ended = self.state.closed.get(event.remediation_id)
            code, text = (
                ("closed", f"it has ended: {ended}") if ended else ("unknown_remediation", "no such remediation")
            )
            return (self._reject(event, code, text),)
        if refusal := self._judge(event, r):
            return (self._reject(event, *refusal),)
        who = approval.person
        match event:
            case e.Approved():
                return self._approve(event, r)
            case e.Denied() if r.state in ("asked", "approved"):
                return (self._close(r, "denied", f"by {who}: {approval.reason}", note=approval.reason),)
            case e.CancelAsked() | e.DoneByHand() if r.state in ("proposed", "deferred", "asked", "approved"):
                code = "cancelled" if isinstance(event, e.CancelAsked) else "by_hand"
                return (self._close(r, code, f"by {who}: {approval.reason}", note=approval.reason),)
            case e.CancelAsked() | e.DoneByHand() if r.state in ("authorised", "running"):
                return (
                    e.CancelOrdered(
                        cluster_id=event.cluster_id, remediation_id=r.id, person=who, reason=approval.reason
                    ),
                )
            case e.UndoAsked() if r.state == "running":
                return (
                    e.UndoOrdered(cluster_id=event.cluster_id, remediation_id=r.id, person=who, reason=approval.reason),
                )
            case e.OutcomeResolved() if r.state == "unknown":
                return (
                    e.ResolutionOrdered(
                        cluster_id=event.cluster_id,
                        remediation_id=r.id,
                        outcome=event.outcome,
                        person=who,
                        reason=approval.reason,
                        approval=approval,
                    ),
                )
        return (self._reject(event, "wrong_state", f"it is {r.state}: that can't be said of it now"),)

    def _approve(self, event: e.Approved, r: Remediation) -> Sequence[e.Event]:
        if r.state != "asked" or r.ask is None:
            return (self._reject(event, "not_asked", f"it is {r.state}: nobody is asked to approve it now"),)
        living = _living(r.approvals, self.now_ms)  # one that has run out counts no more, and may be given again
        if event.approval.person in {a.person for a in living}:
            return (self._reject(event, "already_counted", f"{event.approval.person} has approved it already"),)
        agreed = replace(r, approvals=(*living, event.approval))
        count = counted(agreed.approvals)
        heard = e.ApprovalCounted(
            cluster_id=event.cluster_id,
            remediation_id=r.id,
            approval=event.approval,
            counted=count,
            needed=r.ask.needed,
        )
        if count < r.ask.needed:
            return (heard,)
        return (heard, *self.authorise(agreed))

    def _judge(self, event: Word, r: Remediation) -> tuple[str, str] | None:
        decision = f"resolve:{event.outcome}" if isinstance(event, e.OutcomeResolved) else DECISIONS[type(event)]
        digest = r.ask.digest if r.ask and isinstance(event, e.Approved | e.Denied) else ""
        if isinstance(event, e.Approved) and event.digest != digest:
            return "wrong_digest", "the plan that was approved is not the one that is asked about"
        return judge(
            event.approval,
            environment=self.settings.environment,
            pd_cluster_id=r.ask.plan.pd_cluster_id if r.ask else 0,
            remediation_id=r.id,
            digest=digest,
            decision=decision,
            now_ms=self.now_ms,
            keys=self.settings.keys,
            revoked_kids=self.controls.revoked_kids,
            proposer=r.opened.by,
        )

    # execution

    def authorise(self, r: Remediation) -> Sequence[e.Event]:
        """All have agreed: the one place from which execution comes. Blocked: says why once, and looks again."""
        ask = r.ask
        assert ask is not None
        if self.controls.live and ask.plan.policy_version != self.controls.policy.version:
            return (self._ask_again(r),)
        late = [a.person for a in r.approvals if a.expires_at_ms < self.now_ms]
        if late or self.now_ms > self._patience_ends(r):
            return (self._close(r, "expired", f"blocked for too long: {r.blocked or 'approvals ran out'}"),)
        if block := self._blocked():
            code, text, until = block
            if code == r.blocked and until <= r.blocked_until_ms:
                return ()
            return (
                e.ExecutionBlocked(
                    cluster_id=self.state.cluster_id, remediation_id=r.id, code=code, text=text, until_ms=until
                ),
            )
        limits = Limits.of(self.controls.policy, self.state.cluster_id, self._cluster_tier(), self.now_ms)
        if kept := not_now(ask.action, ask.tier, limits):  # what was agreed to is not what will be true then
            return (self._put_off(r, kept),)
        expires = min([self.now_ms + AUTHORISED_S * 1000, *(a.expires_at_ms for a in r.approvals)])
        return (
            e.ExecutionAuthorized(
                cluster_id=self.state.cluster_id,
                incident_id=ask.incident_id,
                remediation_id=r.id,
                action=ask.action,
                params=ask.params,
                plan=ask.plan,
                reach=ask.reach,
                digest=ask.digest,
                tier=ask.tier,
                mode=ask.mode,
                rule=ask.rule,
                needed=ask.needed,
                proposed_by=r.opened.by,
                approvals=r.approvals,
                expires_at_ms=expires,
            ),
        )

    def _blocked(self) -> tuple[str, str, int] | None:
        cluster = self.state.cluster_id
        if stop := self.controls.refuses_forward(cluster):
            return (*stop, 0)
        if self.state.quarantine:
            return "quarantined", f"{self.state.quarantine} ended UNKNOWN: `steward resolve` it", 0
        if other := self.state.executing():
            return "busy", f"{other.id} is {other.state} on this cluster", 0
        limits = self.controls.policy.limits.of(self._cluster_tier())
        cooled = self.state.ended_ms + limits.cooldown_s * 1000
        if self.state.ended_ms and self.now_ms < cooled:
            return "cooldown", "the last execution on this cluster has just ended", cooled
        return None

    def _cluster_tier(self) -> int:
        return self.settings.tiers.get(self.state.cluster_id, CLUSTER_TIER_DEAREST)

    def _patience_ends(self, r: Remediation) -> int:
        """A plan agreed to without people has no expiry of its own: it gets that of whoever was asked last."""
        assert r.ask is not None
        return max(r.ask.expires_at_ms, r.expires_at_ms) + GIVES_UP_S * 1000

    def executed(self, event: e.Claimed | e.ClaimRefused | e.Concluded | e.QuarantineLifted) -> Sequence[e.Event]:
        r = self.state.open.get(event.remediation_id)
        if r is None:
            return ()
        match event:
            case e.Claimed() if r.state == "authorised":
                return (e.ExecutionStarted(cluster_id=event.cluster_id, remediation_id=r.id, attempt=event.attempt),)
            case e.ClaimRefused() if r.state == "authorised":
                return (self._close(r, f"claim_{event.code}", event.text),)
            case e.Concluded(outcome="unknown") if r.state == "running":
                return (e.ClusterQuarantined(cluster_id=event.cluster_id, remediation_id=r.id, text=event.text),)
            case e.Concluded() if r.state == "running":
                return (self._close(r, event.outcome, event.text, objections=event.objections),)
            case e.QuarantineLifted() if r.state == "unknown":
                return (self._close(r, "resolved", f"by {event.person}: {event.reason}"),)
        return ()

    def incident_closed(self, event: e.IncidentClosed) -> Sequence[e.Event]:
        """The alert is over: what nobody has authorised yet is not needed any more."""
        over = [
            r
            for r in self.state.open.values()
            if r.opened.incident_id == event.incident_id and r.state in ("proposed", "deferred", "asked", "approved")
        ]
        return tuple(self._close(r, "incident_closed", f"the incident has ended: {event.text}") for r in over)

    # time

    def time_passes(self) -> Sequence[e.Event]:
        said: list[e.Event] = []
        for r in self.state.open.values():
            at = _wakes_at(r)
            if at is not None and at <= self.now_ms:
                here = replace(self, state=_after_all(self.state, said, self.now_ms))
                said += here.overdue(here.state.open[r.id])
        return said

    def overdue(self, r: Remediation) -> Sequence[e.Event]:
        """What the end of a waiting state brings; its last word is no."""
        deadlines: dict[str, Callable[[], Sequence[e.Event]]] = {
            "proposed": lambda: (self._close(r, "validation_overdue", "nobody has validated it in time"),),
            "deferred": lambda: (self._ask_again(r),),
            "asked": lambda: self._ask_expired(r),
            "approved": lambda: self.authorise(r),
            "authorised": lambda: (self._flag(r, "unclaimed", "no executor has claimed it"),),
            "running": lambda: (self._flag(r, "long_running", "the execution is still open after an hour"),),
        }
        return deadlines[r.state]()

    def _ask_expired(self, r: Remediation) -> Sequence[e.Event]:
        assert r.ask is not None
        if veto_s(r.ask.rule) and not r.ask.needed:
            return self.authorise(r)
        step = r.step + 1
        if step < len(r.ask.escalation):
            length = r.ask.expires_at_ms - r.since_ms
            return (
                e.ApprovalEscalated(
                    cluster_id=self.state.cluster_id,
                    remediation_id=r.id,
                    step=step,
                    asked=r.ask.escalation[step],
                    expires_at_ms=self.now_ms + max(30_000, length),
                ),
            )
        return (self._close(r, "expired", f"nobody answered; asked were {', '.join(r.ask.escalation)}"),)

    # small things

    def _awaiting(self, event: e.ProposalValidated | e.ProposalRefused) -> Remediation | None:
        r = self.state.open.get(event.remediation_id)
        return r if r and r.state == "proposed" and r.attempt == event.attempt else None

    def _ask_again(self, r: Remediation) -> e.ProposalAskedAgain:
        o = r.opened
        return e.ProposalAskedAgain(
            cluster_id=self.state.cluster_id,
            incident_id=o.incident_id,
            remediation_id=r.id,
            attempt=r.attempt + 1,
            action=o.action,
            params=o.params,
            why=o.why,
            cause=o.cause,
            confidence=o.confidence,
            disputed=o.disputed,
            by=o.by,
            evidence=o.evidence,
            synthetic=o.synthetic,
        )

    def _close(self, r: Remediation, code: str, text: str, **more: Any) -> e.RemediationClosed:
        return e.RemediationClosed(
            cluster_id=self.state.cluster_id,
            incident_id=r.opened.incident_id,
            remediation_id=r.id,
            code=code,
            text=text,
            **more,
        )

    def _flag(self, r: Remediation, code: str, text: str) -> e.RemediationFlagged:
        return e.RemediationFlagged(cluster_id=self.state.cluster_id, remediation_id=r.id, code=code, text=text)

    def _reject(self, event: Word, code: str, text: str) -> e.ApprovalRejected:
        return e.ApprovalRejected(
            cluster_id=self.state.cluster_id,
            remediation_id=event.remediation_id,
            approval_id=event.approval.approval_id,
            person=event.approval.person,
            code=code,
            text=text,
        )


def _after_all(state: Acting, said: Sequence[e.Event], at: int) -> Acting:
    for event in said:
        state = _evolve(state, event, at)
    return state
