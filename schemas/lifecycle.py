"""The life of a remediation: one table. Verbs for people, the diagram and the exhaustive test derive from it."""

from __future__ import annotations

from typing import Literal

State = Literal["proposed", "deferred", "asked", "approved", "authorised", "running", "unknown", "closed"]
OPEN: tuple[State, ...] = ("proposed", "deferred", "asked", "approved", "authorised", "running", "unknown")

TRANSITIONS: dict[tuple[State | None, str], State] = {
    (None, "RemediationOpened"): "proposed",
    ("proposed", "ProposalDeferred"): "deferred",
    ("deferred", "ProposalAskedAgain"): "proposed",
    ("asked", "ProposalAskedAgain"): "proposed",  # the policy moved on under the plan
    ("approved", "ProposalAskedAgain"): "proposed",
    ("asked", "ProposalDeferred"): "deferred",  # all have agreed, at an hour at which it may not start
    ("approved", "ProposalDeferred"): "deferred",
    ("proposed", "ApprovalAsked"): "asked",
    ("asked", "ApprovalEscalated"): "asked",
    ("asked", "ApprovalCounted"): "asked",
    ("asked", "ExecutionBlocked"): "approved",  # all have agreed, but it has to wait
    ("approved", "ExecutionBlocked"): "approved",
    ("asked", "ExecutionAuthorized"): "authorised",
    ("approved", "ExecutionAuthorized"): "authorised",
    ("authorised", "ExecutionStarted"): "running",
    ("running", "ClusterQuarantined"): "unknown",
    ("authorised", "CancelOrdered"): "authorised",
    ("running", "CancelOrdered"): "running",
    ("running", "UndoOrdered"): "running",
    ("unknown", "ResolutionOrdered"): "unknown",
}
for _state in OPEN:
    TRANSITIONS[_state, "RemediationClosed"] = "closed"
    TRANSITIONS[_state, "ApprovalRejected"] = _state
for _state in ("authorised", "running"):  # the others end at their deadline
    TRANSITIONS[_state, "RemediationFlagged"] = _state

VERBS: dict[State, tuple[str, ...]] = {  # what a person may say, by state
    "proposed": ("cancel", "did-it-myself"),
    "deferred": ("cancel", "did-it-myself"),
    "asked": ("approve", "deny", "cancel", "did-it-myself"),
    "approved": ("deny", "cancel", "did-it-myself"),
    "authorised": ("cancel", "did-it-myself"),
    "running": ("cancel", "undo", "did-it-myself"),
    "unknown": ("resolve",),
    "closed": (),
}


def after(state: State | None, event: str) -> State:
    """The next state. Raises KeyError for a step that the table does not have: a bug, never an input."""
    return TRANSITIONS[state, event]
