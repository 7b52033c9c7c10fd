"""What the acting ledger says in each kind of life, word for word and to the millisecond."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from textwrap import dedent
from typing import Any

import pytest

from schemas import events as e
from schemas.controls import Controls
from schemas.policy import LimitsByTier
from schemas.values import Evidence, Head, Objection, SignedApproval
from streams import remediations
from streams.remediations import Acting, Remediation
from tests.spec.test_execution_fold import kinds_of
from tests.spec.test_remediations_lifecycle import CONTROLS, LIVE, POLICY, RULES, START_MS, Ledger, inputs, plan


def ruled(**approval: Any) -> Controls:
    return replace(LIVE, policy=POLICY.model_copy(update={"approval": POLICY.approval.model_copy(update=approval)}))


def cooling(limits: dict[str, Any]) -> Controls:
    return replace(LIVE, policy=POLICY.model_copy(update={"limits": LimitsByTier.model_validate(limits)}))


UNDER = {
    **CONTROLS,
    "one": ruled(low="one"),
    "quick": cooling({"cooldown_s": 60}),
    "quick where it is cheap": cooling({"tier": {"2": {"cooldown_s": 60}}}),
    "quick where it is dear": cooling({"tier": {"1": {"cooldown_s": 60}}}),
    "veto": ruled(low="veto:10s"),
    "long": ruled(ask_s=3600, escalation=("a", "b")),
    "short": ruled(ask_s=30, escalation=("a", "b", "c")),
}


def said(*kinds: str) -> tuple[Objection, ...]:
    return tuple(Objection(code=f"{kind}{n}", kind=kind, text=f"t{n}") for n, kind in enumerate(kinds))


def word(ledger: Ledger, name: str, rid: str, person: str) -> e.Event:
    """What is heard, by its name: those of the lifecycle, and some more; a number at its end is the attempt."""
    attempt = int(name[-1]) if name[-1].isdigit() else 1
    known = inputs(rid, ledger.now_ms, person, attempt=attempt)
    name = name.rstrip("23456")
    match name:
        case "disputed":
            return known["proposed"].model_copy(update={"disputed": True})
        case "refused for all":
            return known["refused"].model_copy(update={"objections": said("wait", "no", "never")})
        case "refused for nothing":
            return known["refused"].model_copy(update={"objections": ()})
        case "soon":
            return known["deferred"].model_copy(update={"objections": said("wait")})
        case "night":
            kept = Objection(code="quiet_hours", kind="wait", text="t", until_ms=ledger.now_ms + 36_000_000)
            return known["deferred"].model_copy(update={"objections": (kept, *said("wait"))})
        case "in no hour":
            never_opens = Objection(code="no_window", kind="no", text="t")
            return known["deferred"].model_copy(update={"objections": (never_opens,)})
        case "forgotten":
            return known["approve"].model_copy(update={"digest": "0" * 64})
        case "not started":
            ended: dict[str, Any] = {"outcome": "not_started", "code": "drifted", "objections": said("no")}
            return known["succeeded"].model_copy(update=ended)
        case "deny another plan":
            return inputs(rid, ledger.now_ms, person, version=2)["deny"]
        case "taken over":
            return e.TakenOver(cluster_id="c", remediation_id=rid, attempt=2, owner="x")
        case "another incident closed":
            return known["incident closed"].model_copy(update={"incident_id": "I2"})
    return known[name]


def lines(ledger: Ledger, step: str) -> list[str]:
    """`+seconds`, or `remediation person: name`, under controls after a slash."""
    what, _, under = step.partition("/")
    controls = UNDER[under or "live"]
    if what.startswith("+"):
        events = ledger.passes(float(what), controls)
    else:
        who, _, name = what.rpartition(": ")
        rid, _, person = who.partition(" ")
        events = ledger.hears(word(ledger, name, rid or "R", person or "anna"), controls)
    return [line(event) for event in events]


def line(event: e.Event) -> str:
    """Every field that is not as ever, but for what a remediation is about: that has a spec of its own."""
    fields = type(event).model_fields
    seen = {name: getattr(event, name) for name in fields if name not in ABOUT.get(type(event), ())}
    changed = {name: value for name, value in seen.items() if value != EVER.get(name, fields[name].default)}
    return " ".join([type(event).__name__, *(f"{name}={short(value)}" for name, value in changed.items())])


ABOUT: dict[type[e.Event], tuple[str, ...]] = {
    e.RemediationOpened: tuple(e.RemediationOpened.model_fields),
    e.ProposalAskedAgain: tuple(set(e.ProposalAskedAgain.model_fields) - {"attempt", "remediation_id"}),
    e.ApprovalRejected: ("approval_id", "text"),
    e.ExecutionBlocked: ("text",),
    e.ApprovalAsked: tuple(set(e.ApprovalAsked.model_fields) - {"needed", "rule", "expires_at_ms"}),
    e.ExecutionAuthorized: tuple(set(e.ExecutionAuthorized.model_fields) - {"approvals", "expires_at_ms"}),
}
EVER = {"cluster_id": "c", "remediation_id": "R", "incident_id": "I", "attempt": 1}


def short(value: Any) -> str:
    match value:
        case SignedApproval():
            return value.person
        case Objection():
            return value.code
        case tuple():
            return f"({','.join(map(short, value))})"
        case int() if value > START_MS - 10**6:
            return f"@{(value - START_MS) / 1000:.3f}"
        case str() if " " in value:
            return f"'{value:.40}'"
    return str(value)


LIVES = {
    "nobody validates it": """
        proposed -> RemediationOpened
        +119.999
        +0.001 -> RemediationClosed code=validation_overdue text='nobody has validated it in time'
        """,
    "it waits and is asked again": """
        proposed -> RemediationOpened
        deferred -> ProposalDeferred until_ms=@20.000 gives_up_ms=@1800.000 objections=(wait)
        +19.999
        +0.001 -> ProposalAskedAgain attempt=2
        deferred2 -> ProposalDeferred attempt=2 until_ms=@40.000 gives_up_ms=@1800.000 objections=(wait)
        +19.999
        +1700.001 -> ProposalAskedAgain attempt=3
        deferred3 -> ProposalDeferred attempt=3 until_ms=@1780.000 gives_up_ms=@1800.000 objections=(wait)
        +40 -> ProposalAskedAgain attempt=4
        deferred4 -> RemediationClosed code=waited_too_long text= objections=(wait)
        """,
    "it waits for ten seconds at least, and until it has waited for too long": """
        proposed -> RemediationOpened
        soon -> ProposalDeferred until_ms=@10.000 gives_up_ms=@1800.000 objections=(wait0)
        +9.999
        +1770.001 -> ProposalAskedAgain attempt=2
        deferred2 -> ProposalDeferred attempt=2 until_ms=@1800.000 gives_up_ms=@1800.000 objections=(wait)
        +20 -> ProposalAskedAgain attempt=3
        soon3 -> RemediationClosed code=waited_too_long text=t0 objections=(wait0)
        """,
    "it is asked again less and less often": """
        proposed -> RemediationOpened
        soon -> ProposalDeferred until_ms=@10.000 gives_up_ms=@1800.000 objections=(wait0)
        +10 -> ProposalAskedAgain attempt=2
        soon2 -> ProposalDeferred attempt=2 until_ms=@30.000 gives_up_ms=@1800.000 objections=(wait0)
        +20 -> ProposalAskedAgain attempt=3
        soon3 -> ProposalDeferred attempt=3 until_ms=@70.000 gives_up_ms=@1800.000 objections=(wait0)
        +40 -> ProposalAskedAgain attempt=4
        soon4 -> ProposalDeferred attempt=4 until_ms=@130.000 gives_up_ms=@1800.000 objections=(wait0)
        +60 -> ProposalAskedAgain attempt=5
        soon5 -> ProposalDeferred attempt=5 until_ms=@190.000 gives_up_ms=@1800.000 objections=(wait0)
        """,
    "it waits for its hour, and its patience begins there": """
        proposed -> RemediationOpened
        deferred -> ProposalDeferred until_ms=@20.000 gives_up_ms=@1800.000 objections=(wait)
        +20 -> ProposalAskedAgain attempt=2
        night2 -> ProposalDeferred attempt=2 until_ms=@36020.000 gives_up_ms=@37820.000 objections=(quiet_hours,wait0)
        +35999.999
        +0.001 -> ProposalAskedAgain attempt=3
        deferred3 -> ProposalDeferred attempt=3 until_ms=@36060.000 gives_up_ms=@37820.000 objections=(wait)
        +1790 -> ProposalAskedAgain attempt=4
        deferred4 -> RemediationClosed code=waited_too_long text= objections=(wait)
        """,
    "at no hour may it start": """
        proposed -> RemediationOpened
        in no hour -> RemediationClosed code=no_window text=t objections=(no_window)
        """,
    "all have agreed at an hour at which it may not start": """
        proposed -> RemediationOpened
        high -> ApprovalAsked rule=two needed=2 expires_at_ms=@480.000
        approve/quiet -> ApprovalCounted approval=anna counted=1 needed=2
        R bert: approve/quiet -> ApprovalCounted approval=bert counted=2 needed=2
            -> ProposalDeferred until_ms=@14400.000 gives_up_ms=@16200.000 objections=(quiet_hours)
        approve -> ApprovalRejected person=anna code=wrong_digest
        +14399.999
        +0.001/quiet -> ProposalAskedAgain attempt=2
        medium2 -> ApprovalAsked rule=one needed=1 expires_at_ms=@14880.000
        approve/quiet -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@15000.000
        """,
    "what is frozen when all agree may be let go at such an hour": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/frozen -> ApprovalCounted approval=anna counted=1 needed=1 -> ExecutionBlocked code=frozen
        +1/quiet -> ProposalDeferred until_ms=@14400.000 gives_up_ms=@16200.000 objections=(quiet_hours)
        cancel -> RemediationClosed code=cancelled text='by anna: t' note=t
        """,
    "what nobody is asked for waits for its hour too": """
        proposed -> RemediationOpened
        low/quiet -> ApprovalAsked rule=auto needed=0 expires_at_ms=@480.000
            -> ProposalDeferred until_ms=@14400.000 gives_up_ms=@16200.000 objections=(quiet_hours)
        incident closed -> RemediationClosed code=incident_closed text='the incident has ended: '
        """,
    "it is refused": """
        proposed -> RemediationOpened
        refused -> RemediationClosed code=no text= objections=(no)
        refused
        """,
    "it is refused, and not only by what passes": """
        proposed -> RemediationOpened
        refused for all -> RemediationClosed code=no1 text='t0; t1; t2' objections=(wait0,no1,never2)
        """,
    "it is refused, and nobody says why": """
        proposed -> RemediationOpened
        refused for nothing -> RemediationClosed code=refused text=
        """,
    "an answer to an earlier question says nothing": """
        proposed -> RemediationOpened
        deferred -> ProposalDeferred until_ms=@20.000 gives_up_ms=@1800.000 objections=(wait)
        +20 -> ProposalAskedAgain attempt=2
        refused
        medium
        low
        medium2 -> ApprovalAsked rule=one needed=1 expires_at_ms=@500.000
        """,
    "nobody answers": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        +479.999
        +0.001 -> ApprovalEscalated step=1 asked=leads expires_at_ms=@960.000
        +479.999
        +0.001 -> RemediationClosed code=expired text='nobody answered; asked were first respon'
        """,
    "nobody answers, of three": """
        proposed -> RemediationOpened
        medium/short -> ApprovalAsked rule=one needed=1 expires_at_ms=@30.000
        +30 -> ApprovalEscalated step=1 asked=b expires_at_ms=@60.000
        +30 -> ApprovalEscalated step=2 asked=c expires_at_ms=@90.000
        +30 -> RemediationClosed code=expired text='nobody answered; asked were a, b, c'
        """,
    "one agrees": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        +59.999
        +0.001 -> RemediationFlagged code=unclaimed text='no executor has claimed it'
        +3600
        claimed -> ExecutionStarted
        +3599.999
        +0.001 -> RemediationFlagged code=long_running text='the execution is still open after an hou'
        +3600
        succeeded -> RemediationClosed code=succeeded text=
        """,
    "two agree": """
        proposed -> RemediationOpened
        high -> ApprovalAsked rule=two needed=2 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=2
        approve -> ApprovalRejected person=anna code=already_counted
        R bo: approve -> ApprovalCounted approval=bo counted=2 needed=2
            -> ExecutionAuthorized approvals=(anna,bo) expires_at_ms=@600.000
        claimed -> ExecutionStarted
        not started -> RemediationClosed code=not_started text= objections=(no0)
        """,
    "somebody agrees with another plan": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        forgotten -> ApprovalRejected person=anna code=wrong_digest
        R playbook: approve -> ApprovalRejected person=playbook code=self_approval
        """,
    "nobody needs to agree": """
        proposed -> RemediationOpened
        low -> ApprovalAsked rule=auto needed=0 expires_at_ms=@480.000
            -> ExecutionAuthorized approvals=() expires_at_ms=@600.000
        claim refused -> RemediationClosed code=claim_busy text=
        approve -> ApprovalRejected person=anna code=closed
        R-9: approve -> ApprovalRejected remediation_id=R-9 person=anna code=unknown_remediation
        """,
    "a policy asks a person where none was needed": """
        proposed -> RemediationOpened
        low/one -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        """,
    "nobody needs to agree, but causes are disputed": """
        disputed -> RemediationOpened
        low -> ApprovalAsked rule=auto needed=1 expires_at_ms=@480.000
        """,
    "nobody objects": """
        proposed -> RemediationOpened
        low/veto -> ApprovalAsked rule=veto:10s needed=0 expires_at_ms=@10.000
        +9.999
        +0.001 -> ExecutionAuthorized approvals=() expires_at_ms=@610.000
        """,
    "nobody objects, but causes are disputed": """
        disputed -> RemediationOpened
        low/veto -> ApprovalAsked rule=veto:10s needed=1 expires_at_ms=@10.000
        +9.999
        +0.001 -> ApprovalEscalated step=1 asked=leads expires_at_ms=@40.000
        +29.999
        +0.001 -> RemediationClosed code=expired text='nobody answered; asked were first respon'
        """,
    "somebody objects": """
        proposed -> RemediationOpened
        low/veto -> ApprovalAsked rule=veto:10s needed=0 expires_at_ms=@10.000
        deny -> RemediationClosed code=denied text='by anna: t' note=t
        deny -> ApprovalRejected person=anna code=closed
        """,
    "only observed": """
        proposed -> RemediationOpened
        observed -> RemediationClosed code=mode_observe text='evict_store_leaders only observes on c'
        """,
    "a freeze": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/frozen -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionBlocked code=frozen
        +1/frozen
        +1/halted -> ExecutionBlocked code=halted
        +1/halted
        +597/frozen -> ExecutionBlocked code=frozen
        +0.001 -> RemediationClosed code=expired text='blocked for too long: frozen'
        """,
    "a freeze that ends before the approval": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        +10
        approve/frozen -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionBlocked code=frozen
        +590 -> ExecutionAuthorized approvals=(anna) expires_at_ms=@610.000
        +10/frozen
        +0.001/frozen
        """,
    "a freeze of what nobody needs to agree to": """
        proposed -> RemediationOpened
        low/frozen -> ApprovalAsked rule=auto needed=0 expires_at_ms=@480.000
            -> ExecutionBlocked code=frozen
        +2280/frozen
        +0.001/frozen -> RemediationClosed code=expired text='blocked for too long: frozen'
        """,
    "a freeze of what nobody needs to agree to, that ends": """
        proposed -> RemediationOpened
        low/frozen -> ApprovalAsked rule=auto needed=0 expires_at_ms=@480.000
            -> ExecutionBlocked code=frozen
        +2280 -> ExecutionAuthorized approvals=() expires_at_ms=@2880.000
        """,
    "a policy that comes later": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/new policy -> ApprovalCounted approval=anna counted=1 needed=1
            -> ProposalAskedAgain attempt=2
        +119.999
        +0.001 -> RemediationClosed code=validation_overdue text='nobody has validated it in time'
        """,
    "a policy that comes while it is blocked": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/frozen -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionBlocked code=frozen
        +1/new policy -> ProposalAskedAgain attempt=2
        medium2 -> ApprovalAsked rule=one needed=1 expires_at_ms=@481.000
        """,
    "controls that can't be read know of no policy": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/not live -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionBlocked code=controls_not_live
        """,
    "another is at work": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        R-2: proposed -> RemediationOpened
        R-2: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-2: approve -> ApprovalCounted remediation_id=R-2 approval=anna counted=1 needed=1
            -> ExecutionBlocked remediation_id=R-2 code=busy
        claimed -> ExecutionStarted
        +1
        unknown -> ClusterQuarantined text=
        +1 -> ExecutionBlocked remediation_id=R-2 code=quarantined
        lifted -> RemediationClosed code=resolved text='by anna: t'
        +1 -> ExecutionBlocked remediation_id=R-2 code=cooldown until_ms=@902.000
        +898.999
        +0.001 -> RemediationClosed remediation_id=R-2 code=expired text='blocked for too long: cooldown'
        """,
    "the last one has just ended": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        claimed -> ExecutionStarted
        succeeded -> RemediationClosed code=succeeded text=
        R-2: proposed -> RemediationOpened
        R-2: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        +5
        R-2: approve/quick -> ApprovalCounted remediation_id=R-2 approval=anna counted=1 needed=1
            -> ExecutionBlocked remediation_id=R-2 code=cooldown until_ms=@60.000
        +54.999/quick
        +0.001/quick -> ExecutionAuthorized approvals=(anna) expires_at_ms=@605.000
        """,
    "the last one has just ended, and limits are those of the cluster's tier": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        claimed -> ExecutionStarted
        succeeded -> RemediationClosed code=succeeded text=
        R-2: proposed -> RemediationOpened
        R-2: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-3: proposed -> RemediationOpened
        R-3: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-2: approve/quick where it is cheap -> ApprovalCounted remediation_id=R-2 approval=anna counted=1 needed=1
            -> ExecutionBlocked remediation_id=R-2 code=cooldown until_ms=@900.000
        R-3: approve/quick where it is dear -> ApprovalCounted remediation_id=R-3 approval=anna counted=1 needed=1
            -> ExecutionBlocked remediation_id=R-3 code=cooldown until_ms=@60.000
        """,
    "what was never run cools nothing": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        claim refused -> RemediationClosed code=claim_busy text=
        R-2: proposed -> RemediationOpened
        R-2: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-2: approve -> ApprovalCounted remediation_id=R-2 approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        """,
    "a cancel while it is run": """
        proposed -> RemediationOpened
        cancel -> RemediationClosed code=cancelled text='by anna: t' note=t
        R-2: proposed -> RemediationOpened
        R-2: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-2: approve -> ApprovalCounted remediation_id=R-2 approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        R-2: cancel -> CancelOrdered remediation_id=R-2 person=anna reason=t
        R-2: claimed -> ExecutionStarted remediation_id=R-2
        R-2: cancel -> CancelOrdered remediation_id=R-2 person=anna reason=t
        R-2: did-it-myself -> CancelOrdered remediation_id=R-2 person=anna reason=t
        R-2: undo -> UndoOrdered remediation_id=R-2 person=anna reason=t
        R-2: deny -> ApprovalRejected remediation_id=R-2 person=anna code=wrong_state
        R-2: approve -> ApprovalRejected remediation_id=R-2 person=anna code=not_asked
        R-2: resolve -> ApprovalRejected remediation_id=R-2 person=anna code=wrong_state
        """,
    "a cancel before": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        undo -> ApprovalRejected person=anna code=wrong_state
        cancel -> RemediationClosed code=cancelled text='by anna: t' note=t
        cancel -> ApprovalRejected person=anna code=closed
        """,
    "it is done by hand": """
        proposed -> RemediationOpened
        deferred -> ProposalDeferred until_ms=@20.000 gives_up_ms=@1800.000 objections=(wait)
        did-it-myself -> RemediationClosed code=by_hand text='by anna: t' note=t
        """,
    "it is denied while it is blocked": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/frozen -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionBlocked code=frozen
        deny another plan/frozen -> ApprovalRejected person=anna code=wrong_digest
        deny/frozen -> RemediationClosed code=denied text='by anna: t' note=t
        """,
    "it is cancelled while it is blocked": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/frozen -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionBlocked code=frozen
        cancel/frozen -> RemediationClosed code=cancelled text='by anna: t' note=t
        """,
    "it is done by hand while it is blocked": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve/frozen -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionBlocked code=frozen
        did-it-myself/frozen -> RemediationClosed code=by_hand text='by anna: t' note=t
        """,
    "the first of two approvals runs out": """
        proposed -> RemediationOpened
        high -> ApprovalAsked rule=two needed=2 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=2
        +480 -> ApprovalEscalated step=1 asked=leads expires_at_ms=@960.000
        +120.001
        R bo: approve -> ApprovalCounted approval=bo counted=1 needed=2
        approve -> ApprovalCounted approval=anna counted=2 needed=2
            -> ExecutionAuthorized approvals=(bo,anna) expires_at_ms=@1200.001
        """,
    "whoever is asked last answers in time": """
        proposed -> RemediationOpened
        medium/long -> ApprovalAsked rule=one needed=1 expires_at_ms=@3600.000
        +3600 -> ApprovalEscalated step=1 asked=b expires_at_ms=@7200.000
        +3599
        approve -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@7799.000
        """,
    "a wait that is over does not count against the next": """
        proposed -> RemediationOpened
        soon -> ProposalDeferred until_ms=@10.000 gives_up_ms=@1800.000 objections=(wait0)
        +10 -> ProposalAskedAgain attempt=2
        medium2/long -> ApprovalAsked rule=one needed=1 expires_at_ms=@3610.000
        +3000
        approve/new policy -> ApprovalCounted approval=anna counted=1 needed=1
            -> ProposalAskedAgain attempt=3
        soon3 -> ProposalDeferred attempt=3 until_ms=@3050.000 gives_up_ms=@4810.000 objections=(wait0)
        """,
    "a policy that comes after it has escalated": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        +480 -> ApprovalEscalated step=1 asked=leads expires_at_ms=@960.000
        approve/new policy -> ApprovalCounted approval=anna counted=1 needed=1
            -> ProposalAskedAgain attempt=2
        medium2 -> ApprovalAsked rule=one needed=1 expires_at_ms=@960.000
        +480 -> ApprovalEscalated step=1 asked=leads expires_at_ms=@1440.000
        +480 -> RemediationClosed code=expired text='nobody answered; asked were first respon'
        """,
    "how it ended is not known": """
        proposed -> RemediationOpened
        medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        approve -> ApprovalCounted approval=anna counted=1 needed=1
            -> ExecutionAuthorized approvals=(anna) expires_at_ms=@600.000
        claimed -> ExecutionStarted
        unknown -> ClusterQuarantined text=
        +100000
        cancel -> ApprovalRejected person=anna code=wrong_state
        resolve -> ResolutionOrdered outcome=worse person=anna reason=t approval=anna
        lifted -> RemediationClosed code=resolved text='by anna: t'
        """,
    "what executors say of what they were not asked": """
        proposed -> RemediationOpened
        taken over
        claimed
        claim refused
        succeeded
        unknown
        lifted
        R-9: claimed
        """,
    "the incident ends": """
        proposed -> RemediationOpened
        R-2: proposed -> RemediationOpened
        R-2: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-4: proposed -> RemediationOpened
        R-4: deferred -> ProposalDeferred remediation_id=R-4 until_ms=@20.000 gives_up_ms=@1800.000 objections=(wait)
        R-5: proposed -> RemediationOpened
        R-5: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-5: approve/frozen -> ApprovalCounted remediation_id=R-5 approval=anna counted=1 needed=1
            -> ExecutionBlocked remediation_id=R-5 code=frozen
        another incident closed
        incident closed -> RemediationClosed code=incident_closed text='the incident has ended: '
            -> RemediationClosed remediation_id=R-2 code=incident_closed text='the incident has ended: '
            -> RemediationClosed remediation_id=R-4 code=incident_closed text='the incident has ended: '
            -> RemediationClosed remediation_id=R-5 code=incident_closed text='the incident has ended: '
        R-3: proposed -> RemediationOpened
        R-3: low -> ApprovalAsked rule=auto needed=0 expires_at_ms=@480.000
            -> ExecutionAuthorized approvals=() expires_at_ms=@600.000
        incident closed
        """,
    "nothing is proposed": """
        nothing -> RemediationClosed code=none text=
        nothing
        R-2: proposed -> RemediationOpened
        R-2: nothing -> RemediationClosed remediation_id=R-2 code=none text=
        R-3: proposed -> RemediationOpened
        R-3: medium -> ApprovalAsked rule=one needed=1 expires_at_ms=@480.000
        R-3: nothing
        proposed
        R-2: proposed
        R-3: proposed
        """,
}


@pytest.mark.parametrize("name", LIVES)
def test_it_is_told_so(name: str) -> None:
    ledger = Ledger()
    text = dedent(LIVES[name]).strip().replace("\n    ->", " ->")
    steps = [row.split(" -> ") for row in text.splitlines()]
    assert [[step, *lines(ledger, step)] for step, *_ in steps] == steps


# -- what is carried on ---------------------------------------------------------------------------------------------

EVIDENCE = (Evidence(id="E1", text="t", source="alert", seen_at_ms=1),)
PROPOSED = inputs("R", START_MS)["proposed"].model_copy(
    update={"why": "w", "cause": "slow_store", "evidence": EVIDENCE, "disputed": True, "params": '{"a":1}'}
)


def carried(event: e.Event, *names: str) -> dict[str, Any]:
    return {name: getattr(event, name) for name in names}


@pytest.mark.parametrize("synthetic", [False, True])
def test_all_that_was_proposed_is_opened_and_asked_again(synthetic: bool) -> None:
    ledger, proposed = Ledger(), PROPOSED.model_copy(update={"synthetic": synthetic})
    (opened,) = ledger.hears(proposed)
    names = list(e.RemediationOpened.model_fields)
    assert carried(opened, *names) == carried(proposed, *names)

    ledger.hears(inputs("R", START_MS)["deferred"])
    (again,) = ledger.passes(20)
    names = [name for name in e.ProposalAskedAgain.model_fields if name != "attempt"]
    assert carried(again, *names) == carried(proposed, *names)


def test_who_is_asked_is_told_all_of_the_plan_and_why_and_all_of_it_is_what_may_run() -> None:
    ledger = Ledger()
    ledger.hears(PROPOSED)
    validated = inputs("R", START_MS)["medium"].model_copy(update={"tier_reasons": ("many",)})
    (asked,) = ledger.hears(validated)
    same: tuple[str, ...] = (
        "cluster_id",
        "remediation_id",
        "incident_id",
        "digest",
        "action",
        "tier",
        "tier_reasons",
        "mode",
        "plan",
    )
    assert carried(asked, *same, "reach") == carried(validated, *same, "reach")
    why = ("why", "evidence", "cause", "confidence")
    assert carried(asked, *why) == carried(PROPOSED, *why)
    assert isinstance(asked, e.ApprovalAsked)
    assert (asked.params, asked.facts_taken_at_ms, asked.step) == (plan().params, START_MS, 0)
    assert asked.escalation == POLICY.approval.escalation

    _, authorised = ledger.hears(inputs("R", START_MS)["approve"])
    same = tuple(set(e.ExecutionAuthorized.model_fields) - {"approvals", "expires_at_ms", "proposed_by"})
    assert carried(authorised, *same) == carried(asked, *same)
    assert isinstance(authorised, e.ExecutionAuthorized)
    assert (authorised.proposed_by, ledger.state.open["R"].ask) == ("playbook", asked)


def test_of_what_has_just_been_opened_nothing_is_known() -> None:
    ledger = Ledger()
    (opened,) = ledger.hears(PROPOSED)
    assert isinstance(opened, e.RemediationOpened)
    assert replace(ledger.state, open={}) == Acting("c", open={}, closed={}, quarantine="", ended_ms=0)
    assert ledger.state.open["R"] == Remediation(
        opened,
        "proposed",
        START_MS,
        attempt=1,
        gives_up_ms=0,
        until_ms=0,
        ask=None,
        step=0,
        expires_at_ms=0,
        approvals=(),
        blocked="",
        blocked_until_ms=0,
        flagged=frozenset(),
    )


def test_a_quarantine_outlasts_the_end_of_others_and_ends_with_its_own() -> None:
    ledger = Ledger()
    for step in ("proposed", "medium", "approve", "claimed", "unknown", "R-2: proposed", "R-2: refused"):
        lines(ledger, step)
    assert (ledger.state.quarantine, ledger.state.closed) == ("R", {"R-2": "no"})
    lines(ledger, "lifted")
    assert (ledger.state.quarantine, ledger.state.ended_ms) == ("", START_MS)


@pytest.mark.parametrize("kind", kinds_of(remediations), ids=lambda kind: kind.__name__)
def test_nothing_that_is_folded_or_asked_can_be_changed_in_place(kind: type) -> None:
    assert lines(Ledger(), "proposed")  # `make mutate` tries the tests that run the file
    with pytest.raises(FrozenInstanceError):
        setattr(object.__new__(kind), "changed", 1)  # noqa: B010


def test_housekeeping_changes_nothing() -> None:
    ledger = Ledger()
    lines(ledger, "proposed")
    ignored = e.InputRejected(cluster_id="c", code="x", text="t")
    assert RULES.evolve(ledger.state, ignored, Head(event_id="x", at_ms=START_MS)) == ledger.state


def test_the_last_thousand_ends_are_kept_beside_the_newest() -> None:
    closed = {f"R{n}": "denied" for n in range(1002)}
    ledger = Ledger(Acting("c", closed=closed))
    ledger.hears(inputs("R", START_MS)["nothing"])
    assert list(ledger.state.closed) == [*list(closed)[2:], "R"]


def test_what_is_asked_again_has_forgotten_who_agreed_and_what_it_waited_for() -> None:
    ledger = Ledger()
    for step in ("proposed", "medium", "approve/frozen", "+1/new policy"):
        lines(ledger, step)
    left = ledger.state.open["R"]
    assert (left.attempt, left.ask, left.approvals, left.blocked, left.since_ms) == (2, None, (), "", START_MS + 1000)
