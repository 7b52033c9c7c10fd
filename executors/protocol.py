"""The execution protocol: what comes next in an open claim. Pure: a fold of `outcomes`, and one function that decides.

The shell (executors/execute.py) does what `next_move` says and nothing else: says an event, looks at the cluster, sends
one call, or rests. Read `next_move` from top to bottom: it is the order of precedence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from actions.action import Action, Limits, least_tier
from actions.calls import CALLS
from actions.catalogue import BadParameters, ForbiddenAction, UnknownAction, parse
from actions.drift import drifted, exceeds
from actions.preflight import not_now, objections
from executors.changes import Claim, Step
from schemas.approvals import enough
from schemas.controls import Controls
from schemas.events import (
    ChangeUndone,
    Claimed,
    ClaimRefused,
    Concluded,
    Event,
    ExecutionAborting,
    ExecutionAuthorized,
    Finding,
    Looked,
    Outcome,
    QuarantineLifted,
    Sampled,
    StepIntended,
    StepProbed,
    StepTaken,
    TakenOver,
)
from schemas.facts import Facts, kept_facts
from schemas.policy import CLUSTER_TIER_DEAREST, LimitsPolicy, Policy
from schemas.values import TIERS, Head, Objection, Sample
from schemas.wire import TooLarge, body_of, digest_of

ATTEMPTS_MAX = 3
SAMPLES_MIN = 3
SAMPLES_KEPT = 20
PROGRESS_S = 15  # while PD is still at work, it is said so often how far it is
ANSWERED_KEPT = 1000
BROKEN_LOOK_MS = 30_000
PAUSE_S = 5  # before what had no effect, or was lost, is tried again; longer with every time
LONG_HEAD = Head(event_id="x" * 500, at_ms=0)  # longer than any: what is as large with it can be written
AFTER_RELEASE = "after_release"  # the figure that marks the last sample of a plan that held PD back


@dataclass(frozen=True)
class Rules:
    """What the executor is told at start: where it is, whose signatures count, and its margins (seconds)."""

    environment: str
    owner: str  # names this process in TakenOver
    keys: Mapping[str, Mapping[str, str]]  # kid -> public JWK
    pinned: Mapping[str, int]  # cluster -> PD cluster id
    tiers: Mapping[str, int] = field(default_factory=dict)  # cluster -> its tier
    mode_max: str = "on"  # `dry_run` where the broker can't keep what acting relies on
    window_s: float = 15.0
    proxy_margin_s: float = 5.0  # PD's follower may hold a request for 3 s before it passes it on
    poll_s: float = 2.0
    probe_for_s: float = 120.0  # then: UNKNOWN
    look_for_s: float = 60.0  # facts that can't be had for so long before the first step: not started

    def tier(self, cluster_id: str) -> int:
        return self.tiers.get(cluster_id, CLUSTER_TIER_DEAREST)

    def limits(self, policy: Policy, cluster_id: str, now_ms: int) -> Limits:
        """What this cluster is judged by now."""
        return Limits.of(policy, cluster_id, self.tier(cluster_id), now_ms)


@dataclass(frozen=True)
class Cluster:
    """All that `outcomes` says of one cluster."""

    FOLD: ClassVar[int] = 2  # of answers only the latest are kept

    cluster_id: str
    claim: Claim | None = None
    quarantine: str = ""  # the remediation that ended UNKNOWN
    answered: Mapping[str, str] = field(default_factory=dict)  # remediation -> how it was answered


# -- claim or refuse ------------------------------------------------------------------------------------------------


def claim_or_refuse(
    cluster: Cluster, order: ExecutionAuthorized, asked_ms: int, now_ms: int, controls: Controls, rules: Rules
) -> Claimed | ClaimRefused:
    """Everything is checked again here, independently of who authorised it. The first refusal is said. Unknown: no.

    `asked_ms`: when the order was appended; what has expired by either clock has expired."""
    if refusal := _refusal(cluster, order, max(now_ms, asked_ms), controls, rules):
        code, text = refusal
        return ClaimRefused(cluster_id=order.cluster_id, remediation_id=order.remediation_id, code=code, text=text)
    return Claimed(
        cluster_id=order.cluster_id,
        incident_id=order.incident_id,
        remediation_id=order.remediation_id,
        attempt=1,
        action=order.action,
        params=order.params,
        plan=order.plan,
        digest=order.digest,
        tier=order.tier,
        mode=order.mode,
        approvals=order.approvals,
        deadline_ms=now_ms + controls.policy.limits.of(rules.tier(order.cluster_id)).execution_s_max * 1000,
        needed=order.needed,
        proposed_by=order.proposed_by,
    )


def _refusal(
    cluster: Cluster, order: ExecutionAuthorized, now_ms: int, controls: Controls, rules: Rules
) -> tuple[str, str] | None:
    if cluster.quarantine:
        return "quarantined", f"{cluster.quarantine} ended UNKNOWN and nobody has resolved it"
    if cluster.claim:
        return "busy", f"{cluster.claim.claimed.remediation_id} is open on this cluster"
    if stop := controls.refuses_forward(order.cluster_id):
        return stop
    if now_ms > order.expires_at_ms:
        return "expired", "the authorisation is too old"
    plan = order.plan
    if digest_of(plan) != order.digest:
        return "digest_mismatch", "the plan is not the one that was approved"
    if plan.environment != rules.environment or plan.cluster_id != order.cluster_id:
        return "wrong_environment", f"the plan is for {plan.environment}/{plan.cluster_id}"
    pinned = rules.pinned.get(order.cluster_id)
    if pinned is None or plan.pd_cluster_id != pinned:
        return "wrong_cluster", f"the plan is for PD cluster {plan.pd_cluster_id}, configured is {pinned}"
    return unauthorised(order, now_ms, controls, rules)


def unauthorised(
    order: ExecutionAuthorized | Claimed, now_ms: int, controls: Controls, rules: Rules
) -> tuple[str, str] | None:
    """Why this plan may not be run now: asked at the claim, and again before the first call that can have an effect."""
    plan = order.plan
    if (plan.action, plan.params) != (order.action, order.params):
        return "digest_mismatch", "action or parameters are not those of the plan"
    try:
        action = parse(order.action, order.params)
    except ForbiddenAction as error:
        return "forbidden", str(error)
    except (UnknownAction, BadParameters) as error:  # of a build that knows other actions than this one
        return _code_of(error), str(error)
    rule = controls.policy.approval_rule(order.tier)
    if not {f"approval.{order.tier.lower()}={rule}", f"mode={order.mode}"} <= set(plan.policy_rules):
        return "wrong_tier", f"the plan was not judged as {order.tier} under the rule {rule} and mode {order.mode}"
    cluster_tier = rules.tier(order.cluster_id)
    if f"cluster_tier={cluster_tier}" not in plan.policy_rules:
        return "wrong_tier", f"the plan was not judged by the limits of a cluster of tier {cluster_tier}, which this is"
    if TIERS.index(order.tier) < TIERS.index(least_tier(action)):
        return "wrong_tier", f"{order.action} is never {order.tier}"
    if plan.policy_version != controls.policy.version:
        return "policy_changed", f"planned under policy {plan.policy_version}, in force is {controls.policy.version}"
    mode = controls.policy.mode(order.action, order.cluster_id)
    if order.mode == "observe" or mode == "observe" or (order.mode == "on" and mode != "on"):
        return "mode", f"the mode in force is {mode}"
    if order.mode == "on" and rules.mode_max != "on":
        return "broker_not_safe", "this broker keeps neither isolation nor fencing: nothing is run over it"
    if kept := not_now(order.action, order.tier, rules.limits(controls.policy, order.cluster_id, now_ms)):
        return kept[0].code, kept[0].text
    return enough(
        order.approvals,
        rule=rule,
        tier=order.tier,
        environment=rules.environment,
        pd_cluster_id=plan.pd_cluster_id,
        remediation_id=order.remediation_id,
        digest=order.digest,
        now_ms=now_ms,
        keys=rules.keys,
        revoked_kids=controls.revoked_kids,
        proposer=order.proposed_by,
        at_least=order.needed,
    )


def _code_of(error: UnknownAction | BadParameters) -> str:
    return "bad_parameters" if isinstance(error, BadParameters) else "unknown_action"


# -- the fold -------------------------------------------------------------------------------------------------------


def evolve(cluster: Cluster, event: Event, head: Head) -> Cluster:
    """One event of `outcomes` further."""
    at = head.at_ms
    match event:
        case Claimed():
            answered = _answered(cluster, event.remediation_id, "claimed")
            return replace(cluster, claim=Claim(event, event.attempt, head.seq, at), answered=answered)
        case ClaimRefused():
            return replace(cluster, answered=_answered(cluster, event.remediation_id, event.code))
        case QuarantineLifted():
            return replace(cluster, quarantine="")
        case Concluded():
            answered = _answered(cluster, event.remediation_id, event.outcome)
            unknown = event.remediation_id if event.outcome == "unknown" else cluster.quarantine
            return replace(cluster, claim=None, quarantine=unknown, answered=answered)
    if cluster.claim is None:
        return cluster
    return replace(cluster, claim=_further(cluster.claim, event, at))


def _answered(cluster: Cluster, remediation_id: str, said: str) -> dict[str, str]:
    """The latest answers, so that an order that comes again is not answered again."""
    return dict(list(cluster.answered.items())[-ANSWERED_KEPT:]) | {remediation_id: said}


def _further(claim: Claim, event: Event, at: int) -> Claim:
    match event:
        case TakenOver():  # what was seen before is old: a forward step needs a new look
            seen = claim.before if claim.may_have_effect() else None
            return replace(claim, attempt=event.attempt, before=seen)
        case Looked():
            return replace(claim, facts=event.facts, before=event.before, looked_at_ms=at)
        case StepIntended():
            step = Step(
                number=event.step,
                kind=event.kind,
                change=event.change,
                call=event.call,
                undo=event.undo,
                keep_s=event.keep_s,
                intended_at_ms=at,
                window_s=event.window_s,
                attempt=event.attempt,
            )
            gone = {c: t for c, t in claim.gone.items() if c != event.change}
            return replace(claim, steps=(*claim.steps, step), gone=gone)
        case StepTaken():
            bad = event.answer not in ("accepted", "rehearsed")
            return replace(
                claim,
                errors=claim.errors + bad,
                steps=_with(claim.steps, event.step, answer=event.answer, taken_at_ms=at, code=event.code),
            )
        case StepProbed():
            steps = _with(claim.steps, event.step, finding=event.finding)
            made = next(s for s in steps if s.number == event.step)
            if event.finding == "applied" and not made.taken_at_ms:
                steps = _with(steps, event.step, taken_at_ms=made.intended_at_ms)
            probed = replace(claim, steps=steps)  # where nothing has been done, time has passed: a new look comes first
            return probed if probed.may_have_effect() else replace(probed, before=None)
        case Sampled():
            return replace(claim, samples=(*claim.samples, event.sample)[-SAMPLES_KEPT:])
        case ExecutionAborting() if claim.aborting is None:
            return replace(claim, aborting=(event.code, event.text), worse=event.worse)
        case ChangeUndone() if event.settled:
            return replace(claim, settled=claim.settled | {event.change})
        case ChangeUndone():
            gone_as = {**claim.gone_as, event.change: event}
            return replace(claim, gone={**claim.gone, event.change: event.looked_at_ms or at}, gone_as=gone_as)
    return claim


def _with(steps: tuple[Step, ...], number: int, **changed: object) -> tuple[Step, ...]:
    return tuple(replace(s, **changed) if s.number == number else s for s in steps)  # type: ignore[arg-type]


# -- what comes next ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Say:
    """Commit these events, then ask again."""

    events: tuple[Event, ...]


@dataclass(frozen=True)
class Look:
    """Read the cluster, then ask again. Where it can't be read: rest for `poll_s` first."""


@dataclass(frozen=True)
class Ask:
    """Ask the audit how far it holds this cluster's `outcomes`, then ask again."""


@dataclass(frozen=True)
class Send:
    """Read the controls, commit `intended`, send its one call inside its window, commit the answer."""

    intended: StepIntended


@dataclass(frozen=True)
class Rest:
    until_ms: int


@dataclass(frozen=True)
class Seen:
    """What the shell knows besides the log: the latest look at the cluster, and the controls."""

    controls: Controls
    facts: Facts | None = None
    looked_at_ms: int = 0  # when the latest look was begun, on the lane's own clock: PD's and the log's may differ
    ended_ms: int = 0  # and when it was over: only then PD's age was taken
    no_facts: tuple[str, str] | None = None  # why the latest look failed
    no_facts_since_ms: int = 0
    unheard_since_ms: int = 0  # since when the controls could not be read to their live end; 0: they are
    owner_since_ms: int = 0  # when this process came to own the partition
    resumed: bool = False  # the claim was open already, and this process has not said yet that it takes it over
    audited: int = 0  # the last seq of this cluster's `outcomes` that the audit holds, as it was last asked
    asked_at_ms: int = 0  # when that was

    def hearing(self, controls: Controls, now_ms: int) -> Seen:
        since = 0 if controls.live else self.unheard_since_ms or now_ms
        return replace(self, controls=controls, unheard_since_ms=since)


def next_move(
    claim: Claim, seen: Seen, now_ms: int, rules: Rules, action: Action | None = None
) -> Say | Look | Ask | Send | Rest:
    """What to do next. Every path ends in Concluded, or waits visibly for a person to lift a halt or to mend PD.

    `action`: the claim's own, unless somebody answers in its place for looks whose facts are not on record (replay)."""
    opened = _Open(claim, seen, now_ms, rules)
    if seen.controls.broken:  # what was done here is not known: the claim stays open, in sight, for a person
        return Rest(now_ms + BROKEN_LOOK_MS)
    if seen.resumed:
        return opened.take_over()
    try:
        here = _Here(claim, seen, now_ms, rules, action or parse(claim.claimed.action, claim.claimed.params))
    except (UnknownAction, BadParameters) as error:
        return opened.give_up(error)
    if step := claim.unknown_step():
        return here.probe(step)
    if claim.before is None and not claim.has_effect():
        return here.look_again()
    if claim.before is None and claim.aborting is None:
        return Say((here.aborting("late_effect", "a call that did not seem to have run has taken effect"),))
    if stop := here.must_stop():
        return Say((stop,))
    if claim.aborting is None and not here.time_is_up():
        if step_ := here.say_again() or here.next_step():
            return step_
        if not here.outcome_known():
            return here.watch()
    return here.undo_and_conclude()


@dataclass(frozen=True)
class _Open:
    """A claim that is open, of whatever action."""

    claim: Claim
    seen: Seen
    now_ms: int
    rules: Rules

    def take_over(self) -> Say | Rest:
        """Wait until the predecessor's last call can no longer be under way; on the own clock, from the own fence."""
        until = self.seen.owner_since_ms + int((self.rules.window_s + self.rules.proxy_margin_s) * 1000)
        if self.now_ms < until:
            return Rest(until)
        return Say((TakenOver(**self._ids(), attempt=self.claim.attempt + 1, owner=self.rules.owner),))

    def give_up(self, error: UnknownAction | BadParameters) -> Say:
        """It was claimed by a build that knows other actions. What it may have done is handed to a person."""
        outcome: Outcome = "unknown" if self.claim.may_have_effect() else "not_started"
        text = f"this build of the executor can't go on with it: {error}"
        return Say((self._concluded(outcome, _code_of(error), text),))

    def _concluded(self, outcome: Outcome, code: str, text: str, objections: tuple[Objection, ...] = ()) -> Concluded:
        owed = () if outcome != "unknown" else tuple(self.claim.changes()[c] for c in self._maybe_owed())
        return Concluded(
            **self._ids(),
            incident_id=self.claim.claimed.incident_id,
            attempt=self.claim.attempt,
            outcome=outcome,
            code=code,
            text=text,
            before=self.claim.before,
            after=self.claim.samples[-1] if self.claim.samples else None,
            samples=len(self.claim.samples),
            errors=self.claim.errors,
            owed=owed,
            objections=objections,
            facts=kept_facts(self.seen.facts),
        )

    def _maybe_owed(self) -> tuple[int, ...]:
        """Of an UNKNOWN: every change that was intended and can't be shown to be absent."""
        return tuple(
            c
            for c, change in enumerate(self.claim.changes())
            if change.undo
            and c not in self.claim.settled
            and any(s.change == c and s.kind == "do" and not s.had_no_effect() for s in self.claim.steps)
        )

    def _ids(self) -> dict[str, str]:
        return {"cluster_id": self.claim.claimed.cluster_id, "remediation_id": self.claim.claimed.remediation_id}


@dataclass(frozen=True)
class _Here(_Open):
    """One question to the protocol: the claim, what was seen, and the time.

    All times are on the lane's own clock: of facts it is when their look was begun, never `taken_at_ms`, which is the
    reader's."""

    action: Action

    # where it begins, or begins again

    def look_again(self) -> Say | Look | Ask | Rest:
        """The same preflight and plan over fresh facts; anything else than what was approved is never re-planned."""
        if self.claim.aborting is not None:  # a person's word needs no look to end what has not begun
            return self._conclusion(None)
        facts = self._fresh()
        if stop := self._told_to_stop():
            return self.conclude("not_started", *stop)
        if not self.seen.controls.live:
            return Rest(self.now_ms + int(self.rules.poll_s * 1000))
        if wait := self._on_record_first():
            return wait
        if facts is None:
            if self.seen.no_facts and self.now_ms - self.seen.no_facts_since_ms > self.rules.look_for_s * 1000:
                return self.conclude("not_started", *self.seen.no_facts)
            return Look()
        plan = self.claim.claimed.plan
        if facts.pd_cluster_id != plan.pd_cluster_id:
            return self.conclude("not_started", "wrong_cluster", f"PD says it is cluster {facts.pd_cluster_id}")
        limits = self.rules.limits(self.seen.controls.policy, plan.cluster_id, self.now_ms)
        if found := objections(self.action, facts, limits, self.claim.claimed.tier):
            text = "; ".join(o.text for o in found)
            return self.conclude("not_started", found[0].code, text, objections=found)
        if moved := drifted(plan, facts, self.action):
            return self.conclude("not_started", "drifted", "; ".join(moved))
        if over := exceeds(plan.bounds, self.action.reach(facts)):
            return self.conclude("not_started", "bound_exceeded", "; ".join(over))
        looked = Looked(**self._ids(), attempt=self.claim.attempt, facts=facts, before=self._sample(facts))
        try:
            body_of(looked, LONG_HEAD)
        except TooLarge as error:  # nothing is begun on facts that can't be put on record
            return self.conclude("not_started", "pd_too_large", str(error))
        return Say((looked,))

    def _on_record_first(self) -> Ask | Say | Look | Rest | None:
        """Where the policy asks for it, HIGH begins only when its claim, with who approved it, is in the audit."""
        within_s = self._limits().audit_within_s
        if not within_s or self.claim.claimed.tier != "HIGH" or self.seen.audited >= self.claim.seq:
            return None
        if self.seen.asked_at_ms and self.now_ms > self.claim.claimed_at_ms + within_s * 1000:
            text = f"{within_s} s after the claim the audit does not show it, or could not be asked"
            return self.conclude("not_started", "audit_behind", text)
        due_ms = self.seen.asked_at_ms + int(self.rules.poll_s * 1000)
        return Ask() if self.now_ms >= due_ms else Rest(due_ms)

    # one step

    def next_step(self) -> Send | Say | Look | Ask | Rest | None:
        """The first change that has not been made; refused, or out of attempts: abort. What was seen before the first
        step must still be young when that is decided."""
        for index in range(len(self.claim.changes())):
            last = self.claim.last(index, "do")
            if last and (last.is_done() or last.is_rehearsed()):
                continue
            if last and last.answer == "refused":
                return Say((self.aborting("refused", last.code),))
            if not self.claim.may_have_effect() and (refusal := self._unauthorised()):
                return Say((self.aborting(*refusal),))
            tried = sum(1 for s in self.claim.steps if s.change == index and s.kind == "do")
            if tried >= ATTEMPTS_MAX:
                return Say((self.aborting("not_reached", f"{tried} attempts had no effect"),))
            if not self.seen.controls.live:  # no forward step, and not yet a reason to take back what was done
                return Rest(self.now_ms + int(self.rules.poll_s * 1000))
            if not self.claim.may_have_effect() and self._is_old(self.claim.looked_at_ms):
                return self.look_again()
            return Send(self._do_step(index))
        return None

    def _do_step(self, index: int) -> StepIntended:
        change = self.claim.changes()[index]
        assert self.claim.facts is not None
        return StepIntended(
            **self._ids(),
            attempt=self.claim.attempt,
            step=len(self.claim.steps) + 1,
            change=index,
            kind="do",
            call=change.do,
            undo=change.undo,
            keep_s=change.keep_s,
            window_s=self.rules.window_s,
            before=self.claim.claimed.plan.premises,
            snapshot=self.action.snapshot(self.claim.facts),
        )

    def say_again(self) -> Send | Say | Rest | None:
        """What PD's leader keeps in its memory alone goes with it, and is asked for again while it is ours. Where it
        may be the same leader, somebody has taken it back: nobody is argued with."""
        facts = self._fresh()
        if facts is None or not self.seen.controls.live or self._told_to_stop():
            return None
        if self._verdict() in ("worse", "no_better"):
            return None
        for index, change in enumerate(self.claim.changes()):
            made = [s for s in self.claim.steps if s.change == index and s.kind == "do"]
            done = [s for s in made if s.is_done()]
            if not (done and change.keep_s and CALLS[change.do.name].volatile) or self.claim.last(index, "undo"):
                continue
            at_ms = max(s.taken_at_ms for s in made)
            if self.seen.looked_at_ms <= at_ms or self.action.probe(change.do, facts) != "not_started":
                continue
            if not self._leads_anew(facts, done[-1]):
                return Say((self.aborting("taken_back", f"somebody has taken {change.do.name} back"),))
            if len(made) > ATTEMPTS_MAX:
                return Say((self.aborting("lost_again", f"PD has lost {change.do.name} {len(made)} times"),))
            due_ms = at_ms + PAUSE_S * (len(made) - 1) * 1000
            return Send(self._do_step(index)) if self.now_ms >= due_ms else Rest(due_ms)
        return None

    def _leads_anew(self, facts: Facts, since: Step) -> bool:
        """Who has taken the claim over has not watched PD all the time: it goes by who led when it was begun."""
        begun = self.claim.facts
        if since.attempt != self.claim.attempt and begun is not None:
            return (facts.pd_leader, facts.pd_started_at_ms) != (begun.pd_leader, begun.pd_started_at_ms)
        return self._led_since_ms(facts) > since.taken_at_ms

    def probe(self, step: Step) -> Say | Look | Rest:
        """Look before anything is repeated; what can't be told in time is UNKNOWN, and a person's matter."""
        if self.claim.claimed.mode != "on":  # of a rehearsal nothing is ever sent
            taken = StepTaken(**self._ids(), attempt=self.claim.attempt, step=step.number, answer="rehearsed")
            return Say((taken,))
        ends_ms = self._can_arrive_until(step)
        if self.now_ms <= ends_ms:
            return Rest(ends_ms + 1)
        facts = self._fresh_after(ends_ms)
        if facts is None:  # PD can't be read: the claim stays open, and bars the cluster, until it can
            return Look()
        finding = self.action.probe(step.call, facts)
        if finding in ("applied", "not_started"):
            return Say((StepProbed(**self._ids(), attempt=self.claim.attempt, step=step.number, finding=finding),))
        return self._told_or_unknown(step, finding, ends_ms, facts)

    def _told_or_unknown(self, step: Step, finding: Finding, since_ms: int, facts: Facts) -> Say | Look | Rest:
        """Looked for again and again, and in the end a person's matter. A PD new to us has to settle first."""
        if self.now_ms <= max(since_ms, self._led_since_ms(facts)) + int(self.rules.probe_for_s * 1000):
            return self._rest_then_look()
        text = f"PD answers, but it can't be told whether {step.call.name} was applied ({finding})"
        probed = StepProbed(**self._ids(), attempt=self.claim.attempt, step=step.number, finding="cant_tell", text=text)
        known = replace(self, claim=_further(self.claim, probed, self.now_ms))
        return Say((probed, known._concluded("unknown", "cant_tell", text)))

    # watching

    def must_stop(self) -> ExecutionAborting | None:
        """A freeze, the deadline, or an abort condition: no forward step, and what is owed is undone."""
        if self.claim.aborting or self.outcome_known():
            return None
        if stop := self._told_to_stop():
            return self.aborting(*stop)
        if self.now_ms > self.claim.claimed.deadline_ms:
            return self.aborting("deadline", "it took longer than the policy allows")
        facts = self._fresh()
        return self._got_worse(facts) if facts else None

    def _got_worse(self, facts: Facts) -> ExecutionAborting | None:
        bad = self.action.abort_if(self.claim.before, self._sample(facts)) if self.claim.before else None
        return self.aborting(*bad, worse=bad[0] not in self.action.not_worse) if bad else None

    def watch(self) -> Say | Look | Rest:
        """Sample until PD has ended what was set going, and then three times more."""
        if self._all_rehearsed():
            return self.conclude("rehearsed", "dry_run", "everything but the calls")
        made_ms = max(s.taken_at_ms for s in self.claim.steps)
        facts = self._fresh_after(made_ms)  # what was read before the call was made shows nothing of it
        if facts is None:
            return Look()
        last = self.claim.samples[-1] if self.claim.samples else None
        if last and self.seen.looked_at_ms <= last.at_ms:
            return self._rest_then_look()
        done = self.action.is_done(facts)
        if last and not done and self.seen.looked_at_ms < last.at_ms + PROGRESS_S * 1000:
            return self._rest_then_look()
        return self._sampled(facts, {"done": float(done)})

    def _sampled(self, facts: Facts, besides: dict[str, float]) -> Say:
        sample = self._sample(facts)
        marked = Sample(at_ms=sample.at_ms, figures=sample.figures | besides)
        return Say((Sampled(**self._ids(), attempt=self.claim.attempt, sample=marked),))

    def time_is_up(self) -> bool:
        """A temporary change has been kept for its time: it ends then, whatever PD is still at."""
        temporary = [c for c, change in enumerate(self.claim.changes()) if change.keep_s and self.claim.done(c)]
        return any(self.now_ms >= self.claim.due_ms(c) for c in temporary)

    def outcome_known(self) -> bool:
        return self._verdict() is not None

    def _verdict(self) -> Outcome | None:
        """What the samples since PD was done say; None: too early. At the end of a temporary change they must do."""
        done = tuple(s for s in self.claim.samples if s.figures.get("done"))
        if self.claim.before is None or len(done) < SAMPLES_MIN:
            return None
        return self.action.verify(self.claim.before, done)

    # the end

    def undo_and_conclude(self) -> Say | Look | Send | Rest:
        """Take back what is temporary (all of it, where things went wrong), see it gone, see it stay gone, conclude."""
        verdict = self._verdict()
        wrong = self.claim.aborting is not None or verdict != "succeeded"
        owed = self.claim.owed(all_of_them=wrong)
        if not owed:
            return self._look_after_release(verdict) or self._conclusion(verdict)
        index = next((c for c in owed if c not in self.claim.gone), owed[0])  # all are taken back before any is watched
        return self._hold(index) if not wrong and self.now_ms < self.claim.due_ms(index) else self._undo(index)

    def _look_after_release(self, verdict: Outcome | None) -> Say | Look | None:
        """A plan that held PD back for what shall stay is judged once more, now that PD goes on by itself."""
        changes = self.claim.changes()
        mixed = any(c.keep_s for c in changes) and not all(c.keep_s for c in changes)
        if not mixed or verdict != "succeeded" or self.claim.aborting:
            return None
        last = self.claim.samples[-1]
        if AFTER_RELEASE in last.figures:
            text = "it was reached, and when PD went on by itself it was moved back"
            return None if self.action.is_reached(last) else Say((self._concluded("no_better", "moved_back", text),))
        facts = self._fresh()
        if facts is None:
            return Look()
        return self._sampled(facts, {AFTER_RELEASE: 1.0})  # without `done`: the verdict is given

    def _hold(self, index: int) -> Say | Look | Rest:
        """A temporary change is kept for its time; meanwhile the abort conditions are watched."""
        if stop := self._told_to_stop():
            return Say((self.aborting(*stop),))
        facts = self._fresh()
        if facts is None:
            return Look()
        if bad := self._got_worse(facts):
            return Say((bad,))
        return self._rest_then_look(self.claim.due_ms(index))

    def _undo(self, index: int) -> Say | Look | Send | Rest:
        """One move towards this change being gone and staying gone."""
        change = self.claim.changes()[index]
        assert change.undo is not None
        last = self.claim.last(index, "undo")
        if self.seen.controls.refuses_undo(self.claim.claimed.cluster_id):
            return Rest(self.now_ms + int(self.rules.poll_s * 1000))  # halted: owed, and listed, until it is lifted
        refused = [s for s in self.claim.steps if s.kind == "undo" and s.change == index and s.answer == "refused"]
        if len(refused) >= ATTEMPTS_MAX:  # PD says no, and will go on saying it: a person's matter
            return Say((self._concluded("unknown", "undo_refused", f"PD refuses to take it back: {refused[-1].code}"),))
        since = self.claim.gone.get(index)
        is_first = since is None and not any(not s.had_no_effect() for s in self.claim.undos(index))
        facts = self._fresh_after(max(s.taken_at_ms for s in self.claim.steps if s.change == index))
        if facts is None:  # the first undo that gets there does not wait for a PD that can't be read
            away = self.seen.no_facts and (last is None or not self._is_old(self.seen.looked_at_ms))
            return self._undo_again(index, last) if is_first and away else Look()
        finding = self.action.probe(change.undo, facts)
        if is_first and not (finding == "applied" and self.action.is_seen(facts)):
            was_away = last is not None and last.answer == "never_sent" and self.now_ms <= self._told_by_ms(last)
            if was_away and finding == "cant_tell":
                return self._rest_then_look()  # it settles first: somebody may have set it otherwise meanwhile
            return self._undo_again(index, last)  # else somebody has taken it back already, or set it otherwise
        if finding == "not_started":  # it is there again, or still
            anew = since is None or self._led_anew(index, since, facts)
            if anew:  # still there; or a new leader brought it back (tikv/pd#4707)
                return self._undo_again(index, last)
            if anew is None:
                text = "it was gone, and is there again: by somebody else, or by the same PD as it led anew unwatched"
                return Say((self._concluded("unknown", "cant_tell_whose", text),))
            text = "it was gone, and is there again under the same PD leader: somebody else's, not ours to undo"
            undone = ChangeUndone(**self._ids(), attempt=self.claim.attempt, change=index, settled=True, text=text)
            return Say((undone,))
        if finding != "applied":
            return self._rest_then_look()
        if since is None:
            undone = ChangeUndone(
                **self._ids(),
                attempt=self.claim.attempt,
                change=index,
                settled=False,
                pd_leader=facts.pd_leader,
                pd_started_at_ms=facts.pd_started_at_ms,
                looked_at_ms=self.seen.looked_at_ms,
            )
            return Say((undone,))
        settled_ms = since + self._limits().settling_s * 1000
        if self.seen.looked_at_ms >= settled_ms:
            return Say((ChangeUndone(**self._ids(), attempt=self.claim.attempt, change=index, settled=True),))
        return self._rest_then_look(settled_ms)

    def _led_anew(self, index: int, since_ms: int, facts: Facts) -> bool | None:
        """Has a PD begun to lead since this change was seen to be gone? None: who has taken the claim over has not
        watched it all the time, and it is the same PD by the ledger. That may have been elected again meanwhile."""
        if self._led_since_ms(facts) <= since_ms:
            return False
        gone = self.claim.gone_as.get(index)
        if gone is None or gone.attempt == self.claim.attempt:
            return True
        return (gone.pd_leader, gone.pd_started_at_ms) != (facts.pd_leader, facts.pd_started_at_ms) or None

    def _led_since_ms(self, facts: Facts) -> int:
        return max(self.seen.looked_at_ms, self.seen.ended_ms) - int(facts.pd_leader_age_s * 1000)

    def _told_by_ms(self, step: Step) -> int:
        """Until when it is waited for a PD that can tell."""
        return max(step.taken_at_ms, step.intended_at_ms) + int(self.rules.probe_for_s * 1000)

    def _undo_again(self, index: int, last: Step | None) -> Send | Rest:
        """At once the first time; then after a pause that grows to a minute."""
        if last is not None:
            tried = sum(s.kind == "undo" and s.change == index for s in self.claim.steps)
            at_ms = max(last.taken_at_ms, last.intended_at_ms) + min(60, PAUSE_S * tried) * 1000
            if self.now_ms < at_ms:
                return Rest(at_ms)
        return Send(self._undo_step(index))

    def _undo_step(self, index: int) -> StepIntended:
        change = self.claim.changes()[index]
        assert change.undo is not None
        return StepIntended(
            **self._ids(),
            attempt=self.claim.attempt,
            step=len(self.claim.steps) + 1,
            change=index,
            kind="undo",
            call=change.undo,
            window_s=self.rules.window_s,
        )

    def _conclusion(self, verdict: Outcome | None) -> Say | Look | Rest:
        if self.claim.aborting is None and verdict is None:
            return self.conclude(
                "no_better", "time_is_up", "when its time was over PD had not ended it, or could not be read"
            )
        if self.claim.aborting is None:
            assert verdict is not None
            return self.conclude(verdict, verdict, "")
        code, text = self.claim.aborting
        if not self.claim.has_effect():
            sent = any(s.answer == "refused" for s in self.claim.steps)
            return self.conclude("failed_without_effect" if sent else "not_started", code, text)
        stays = any(
            self.claim.done(c) and self.claim.changes()[c].undo is None for c in range(len(self.claim.changes()))
        )
        taken_back: Outcome = "succeeded" if verdict == "succeeded" else "no_better"
        return self.conclude("worse" if self.claim.worse else "failed_partly" if stays else taken_back, code, text)

    def conclude(
        self, outcome: Outcome, code: str, text: str, objections: tuple[Objection, ...] = ()
    ) -> Say | Look | Rest:
        """The end; but where a change seems not to have happened, only after a late look has shown that it has not."""
        if move := self._late_look():
            return move
        return Say((self._concluded(outcome, code, text, objections),))

    def _late_look(self) -> Say | Look | Rest | None:
        """A request that was given up, and whose effect a look did not find, may still sit in somebody's buffer."""
        for step in self.claim.steps:
            if step.finding != "not_started" or step.undo is None or self.claim.done(step.change):
                continue
            settled_ms = self._can_arrive_until(step) + self._limits().settling_s * 1000
            if self.now_ms <= settled_ms:
                return Rest(settled_ms + 1)
            facts = self._fresh_after(settled_ms)
            if facts is None:
                return Look()
            finding = self.action.probe(step.call, facts)
            if finding == "applied":
                text = "it has taken effect late"
                probed = StepProbed(
                    **self._ids(), attempt=self.claim.attempt, step=step.number, finding=finding, text=text
                )
                return Say((probed,))
            if finding != "not_started":
                return self._told_or_unknown(step, finding, settled_ms, facts)
        return None

    def aborting(self, code: str, text: str, worse: bool = False) -> ExecutionAborting:
        return ExecutionAborting(**self._ids(), attempt=self.claim.attempt, code=code, text=text, worse=worse)

    # small things

    def _limits(self) -> LimitsPolicy:
        return self.seen.controls.policy.limits.of(self.rules.tier(self.claim.claimed.cluster_id))

    def _told_to_stop(self) -> tuple[str, str] | None:
        """What takes back what was done, or gives it up. Of controls that can't be read, what was heard last holds for
        a window: one slow look is no reason, and forward steps wait by themselves."""
        controls = self.seen.controls
        if self.now_ms - self.seen.unheard_since_ms < self.rules.window_s * 1000:
            controls = replace(controls, live=True)
        return controls.refuses_forward(self.claim.claimed.cluster_id)

    def _all_rehearsed(self) -> bool:
        return bool(self.claim.steps) and all(s.is_rehearsed() for s in self.claim.steps)

    def _unauthorised(self) -> tuple[str, str] | None:
        """Approvals, keys, policy and mode as they are now: time may have passed since the claim."""
        return unauthorised(self.claim.claimed, self.now_ms, self.seen.controls, self.rules)

    def _can_arrive_until(self, step: Step) -> int:
        """The end of its window, and of what a follower of PD may hold it for."""
        return step.window_ends_ms() + int(self.rules.proxy_margin_s * 1000)

    def _fresh(self) -> Facts | None:
        """The latest look, if it is young enough to act on; on the lane's own clock."""
        return None if self.seen.no_facts or self._is_old(self.seen.looked_at_ms) else self.seen.facts

    def _fresh_after(self, ms: int) -> Facts | None:
        """The same, if it was begun after this."""
        return self._fresh() if self.seen.looked_at_ms > ms else None

    def _is_old(self, at_ms: int) -> bool:
        return self.now_ms - at_ms > max(3 * self.rules.poll_s, 5) * 1000

    def _rest_then_look(self, until_ms: int | None = None) -> Look | Rest:
        """Until the next look is due; or until that moment, if it is before."""
        wake = self.seen.looked_at_ms + int(self.rules.poll_s * 1000)
        if until_ms is not None:
            wake = min(wake, until_ms)
        return Look() if self.now_ms >= wake else Rest(wake)

    def _sample(self, facts: Facts) -> Sample:
        return Sample(at_ms=self.seen.looked_at_ms, figures=self.action.figures(facts))
