"""What an event says to a person, in one line."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from schemas import events as e
from schemas.text import clean, params_text, people, zoned
from schemas.values import EVERY_CLUSTER, Call, Objection, Poison

SAID_MAX = 300


def coded(code: str, text: str) -> str:
    return f"{code}: {text}" if text else code


def objections(listed: tuple[Objection, ...]) -> str:
    return "; ".join(f"{o.code}: {o.text}" for o in listed) or "no reason given"


def call(given: Call) -> str:
    return f"{given.name}({', '.join(f'{k}={v}' for k, v in sorted(given.args.items()))})"


def stopped(poison: Poison) -> str:
    """What it stops."""
    if poison.stops.startswith("~"):
        return f"executions on the clusters of partition {poison.stops[1:]}"
    return "executions everywhere" if poison.stops == EVERY_CLUSTER else f"executions on {poison.stops}"


def lifting(scope: str, place: str = "") -> str:
    """The command that takes back a stop, or what one input has stopped: it is copied into a shell."""
    which = "--all" if scope == EVERY_CLUSTER else shlex.quote(clean(scope))
    return f'steward lift {which}{f" --input {shlex.quote(place)}" if place else ""} --reason "..."'


def said(event: e.Event) -> str:
    """One line. An event that nobody has written words for is named."""
    words = WORDS.get(type(event))
    return clean(words(event) if words else type(event).__name__)[:SAID_MAX]


def _concluded(event: e.Concluded) -> str:
    owed = f"; STILL OWED: {', '.join(call(c.undo or c.do) for c in event.owed)}" if event.owed else ""
    return coded(event.outcome.upper(), event.text) + owed


WORDS: dict[type[e.Event], Callable[[Any], str]] = {
    e.AlertReceived: lambda v: f"received {v.name} {v.status}",
    e.AlertFired: lambda v: f"{v.name} fires",
    e.AlertResolved: lambda v: f"{v.name} is resolved",
    e.IncidentOpened: lambda v: f"opened: {v.title} ({v.level})",
    e.AlertFolded: lambda v: f"folded in: {v.alert.name}{' again' if v.again else ''}",
    e.AlertCleared: lambda v: f"cleared: {v.fingerprint}",
    e.DiagnosisAsked: lambda v: f"diagnosis asked of the {v.by}, until {zoned(v.deadline_ms)}",
    e.DiagnosisAdopted: lambda v: (
        f"cause: {v.cause}, {v.confidence:.2f}, by the {v.by}{'' if v.final else ' (for now)'}: {v.summary}"
    ),
    e.DiagnosisOverdue: lambda v: f"the {v.by}'s diagnosis is overdue",
    e.IncidentClosed: lambda v: f"closed, {coded(v.code, v.text)}",
    e.InputRejected: lambda v: f"REJECTED an input, {v.code}: {v.text}",
    e.DiagnosisStarted: lambda v: f"the {v.by} is looking",
    e.DiagnosisMade: lambda v: f"the {v.by} says {v.cause}, {v.confidence:.2f}: {v.summary}",
    e.DiagnosisAbstained: lambda v: f"the {v.by} abstains, {v.code}: {v.reason}",
    e.TicketWritten: lambda v: f"ticket version {v.version}: {v.headline} {v.status}",
    e.Delivered: lambda v: f"told {', '.join(v.sinks) or 'nobody'}",
    e.NotDelivered: lambda v: f"NOT TOLD {', '.join(v.sinks)}, {v.code}: {v.reason}",
    e.Frozen: lambda v: f"FROZEN {_scope(v)} by {v.by}: {v.reason}",
    e.Halted: lambda v: f"HALTED {_scope(v)} by {v.by}: {v.reason}",
    e.Lifted: lambda v: f"lifted {v.input and f'input {v.input} of '}{_scope(v)} by {v.by}: {v.reason}",
    e.PolicyAdopted: lambda v: f"policy {v.version} adopted by {v.by}: {v.reason}",
    e.KeyRevoked: lambda v: f"key {v.kid} revoked by {v.by}: {v.reason}",
    e.ProposalStarted: lambda v: f"thinking about a repair, attempt {v.attempt}",
    e.ActionProposed: lambda v: f"proposed by the {v.by}: {v.action} {params_text(v.params)}: {v.why}",
    e.NothingProposed: lambda v: f"nothing proposed, {v.code}: {v.reason}",
    e.ProposalValidated: lambda v: f"valid: {v.action}, {v.tier} ({', '.join(v.tier_reasons)}), plan {v.digest[:12]}",
    e.ProposalRefused: lambda v: f"refused: {objections(v.objections)}",
    e.Approved: lambda v: f"{v.approval.person} approves: {v.approval.reason}",
    e.Denied: lambda v: f"{v.approval.person} denies: {v.approval.reason}",
    e.CancelAsked: lambda v: f"{v.approval.person} cancels: {v.approval.reason}",
    e.UndoAsked: lambda v: f"{v.approval.person} wants it undone: {v.approval.reason}",
    e.DoneByHand: lambda v: f"{v.approval.person} did it by hand: {v.approval.reason}",
    e.OutcomeResolved: lambda v: f"{v.approval.person} says it ended {v.outcome}: {v.approval.reason}",
    e.RemediationOpened: lambda v: f"remediation {v.remediation_id}: {v.action} {params_text(v.params)}",
    e.ProposalDeferred: lambda v: f"waits until {zoned(v.until_ms)}: {objections(v.objections)}",
    e.ProposalAskedAgain: lambda v: f"looked at again, attempt {v.attempt}",
    e.ApprovalAsked: lambda v: (
        f"{v.tier}: {people(v.needed) + ' must approve' if v.needed else 'nobody is waited for'}"
        f" ({v.rule}), until {zoned(v.expires_at_ms)}, plan {v.digest[:12]}"
    ),
    e.ApprovalEscalated: lambda v: f"nobody answered: now {v.asked} until {zoned(v.expires_at_ms)}",
    e.ApprovalCounted: lambda v: f"approved by {v.approval.person}, {v.counted} of {v.needed}: {v.approval.reason}",
    e.ApprovalRejected: lambda v: f"the word of {v.person} does not count, {v.code}: {v.text}",
    e.ExecutionBlocked: lambda v: f"has to wait, {v.code}: {v.text}",
    e.ExecutionAuthorized: lambda v: f"authorised: {v.action} {params_text(v.params)} ({v.mode})",
    e.ExecutionStarted: lambda v: f"execution started, attempt {v.attempt}",
    e.ClusterQuarantined: lambda v: f"QUARANTINED: {v.text}",
    e.CancelOrdered: lambda v: f"{v.person} ordered it cancelled: {v.reason}",
    e.UndoOrdered: lambda v: f"{v.person} ordered it undone: {v.reason}",
    e.ResolutionOrdered: lambda v: f"{v.person} resolved it as {v.outcome}: {v.reason}",
    e.RemediationFlagged: lambda v: f"takes long, {v.code}: {v.text}",
    e.RemediationClosed: lambda v: f"closed, {coded(v.code, v.text)}",
    e.Claimed: lambda v: f"claimed, attempt {v.attempt}, {v.mode}",
    e.ClaimRefused: lambda v: f"claim refused, {v.code}: {v.text}",
    e.TakenOver: lambda v: f"taken over by {v.owner}, attempt {v.attempt}: probes first",
    e.Looked: lambda v: "looked again: the facts agree with the plan",
    e.StepIntended: lambda v: f"step {v.step} intended: {'undo ' if v.kind == 'undo' else ''}{call(v.call)}",
    e.StepTaken: lambda v: f"step {v.step}: {v.answer}{f' {v.status}' if v.status else ''} {v.code} {v.body}",
    e.StepProbed: lambda v: f"step {v.step} probed: {v.finding} {v.text}",
    e.Sampled: lambda v: "sample " + ", ".join(f"{k} {x:g}" for k, x in sorted(v.sample.figures.items())),
    e.ExecutionAborting: lambda v: f"ABORTING, {v.code}: {v.text}",
    e.ChangeUndone: lambda v: f"change {v.change} is undone{', and has stayed so' if v.settled else ''} {v.text}",
    e.Concluded: _concluded,
    e.QuarantineLifted: lambda v: f"quarantine lifted by {v.person}: {v.reason}",
    e.DeadLetter: lambda v: f"DEAD LETTER of {v.role}, {v.topic}/{v.partition}@{v.offset}, {v.code}: {v.reason}",
}


def _scope(event: e.Event) -> str:
    return "everything" if event.cluster_id == "*" else event.cluster_id
