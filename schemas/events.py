"""Every event of Steward, in the order in which a story meets them. Past tense: each is something that has happened.

A field without a default is required of every writer for ever; a field added later has a default, so that old readers
and new ones understand each other both ways (checked over every committed version by `python -m schemas.generate`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from schemas.facts import Facts
from schemas.policy import Policy
from schemas.privacy import OfOthers, marked
from schemas.values import (
    AlertRef,
    Call,
    Cause,
    Change,
    Evidence,
    Mode,
    Model,
    Objection,
    Plan,
    Poison,
    Premise,
    Reach,
    Sample,
    SignedApproval,
    Tier,
)

By = Literal["playbook", "model"]
Address = Annotated[str, OfOthers()]  # a URL of others
Answer = Literal["accepted", "refused", "never_sent", "may_have_run", "rehearsed"]
Finding = Literal["not_started", "under_way", "applied", "cant_tell"]
Outcome = Literal[
    "succeeded", "no_better", "worse", "failed_without_effect", "failed_partly", "not_started", "unknown", "rehearsed"
]


class Event(Model):
    """What happened to one cluster. `cluster_id` is the key of the topic; `~N` stands for partition N as a whole."""

    headless: ClassVar[bool] = False  # only what foreign producers write carries no Head
    cluster_id: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if secret := list(marked(cls)):
            raise TypeError(f"{cls.__name__}: {', '.join(secret)}: what is marked secret is never in an event")


# -- alerts (foreign) -> signals ------------------------------------------------------------------------------------


class AlertReceived(Event):
    """An alert as a monitor gave it: the public schema of the `alerts` topic."""

    headless: ClassVar[bool] = True
    name: str
    status: str  # firing | resolved
    starts_at_ms: int
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    ends_at_ms: int = 0  # 0: not ended
    fingerprint: str = ""  # empty: made from the labels, as Alertmanager does
    generator_url: Address = ""
    source: Address = ""
    truncated_alerts: int = 0
    synthetic: bool = False


class AlertFired(Event):
    name: str
    fingerprint: str
    starts_at_ms: int
    level: str
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    incomplete: bool = False  # the notification said that it left alerts out (truncatedAlerts > 0)
    source: Address = ""
    synthetic: bool = False
    generator_url: Address = ""

    def ref(self) -> AlertRef:
        return AlertRef(
            fingerprint=self.fingerprint,
            name=self.name,
            starts_at_ms=self.starts_at_ms,
            level=self.level,
            labels=self.labels,
            annotations=self.annotations,
        )


class AlertResolved(Event):
    name: str
    fingerprint: str
    starts_at_ms: int
    ends_at_ms: int
    level: str = ""
    labels: dict[str, str] = {}
    synthetic: bool = False


# -- incidents: the observing ledger --------------------------------------------------------------------------------


class IncidentOpened(Event):
    incident_id: str
    family: str  # alerts of one family have one cause to look for: schemas/alert_rules.py
    title: str
    level: str
    alert: AlertRef
    incomplete: bool = False
    synthetic: bool = False
    generator_url: Address = ""  # of this alert


class AlertFolded(Event):
    """One more alert of an open incident, or one that fired again."""

    incident_id: str
    alert: AlertRef
    again: bool = False
    folded: int = 0  # distinct alerts beside the first by now
    firing: int = -1  # how many fire now; -1: not said
    generator_url: Address = ""


class AlertCleared(Event):
    incident_id: str
    fingerprint: str
    starts_at_ms: int
    firing: int = -1  # how many still fire; -1: not said


class DiagnosisAsked(Event):
    incident_id: str
    ask_id: str
    by: By
    deadline_ms: int
    family: str
    alerts: tuple[AlertRef, ...]
    synthetic: bool = False


class RuledOut(Model):
    what: str
    evidence: tuple[str, ...] = ()


class DiagnosisAdopted(Event):
    """`final` False: the playbook's answer while the model's is still awaited. Only a final one is acted on."""

    incident_id: str
    ask_id: str
    by: By
    final: bool
    cause: str  # `unknown` where the answer was an abstention
    confidence: float
    summary: str
    evidence: tuple[Evidence, ...] = ()
    ruled_out: tuple[RuledOut, ...] = ()
    agreed: bool | None = None  # playbook and model named the same cause; None: only one of them answered
    model: str = ""
    synthetic: bool = False


class DiagnosisOverdue(Event):
    incident_id: str
    ask_id: str
    by: By


class IncidentClosed(Event):
    incident_id: str
    code: str  # resolved | silent_too_long
    text: str


class IgnoredInput(Model):
    cause: Cause
    code: str


class InputIgnored(Event):
    """Inputs that changed nothing, batched, so that every input has an answer on record."""

    inputs: tuple[IgnoredInput, ...]


class InputRejected(Event):
    """An input that made the decider fail; its copy is a dead letter, and acting on the cluster is quarantined."""

    code: str
    text: str


class OwnerStarted(Event):
    """A process took over a partition (`cluster_id` is `~N`). Its predecessor is fenced from here on."""

    role: str
    owner: str
    build: str
    positions: dict[str, int] = {}
    broken: dict[str, str] = {}  # cluster or `~N` -> where its ledger is not what was written: acted on no more


class BookClosed(Event):
    """What its owner knows of one cluster here, at this place in its chain: a restart may fold from here on."""

    role: str
    state_schema: str
    state: str  # JSON


class GenesisMarked(Event):
    """What this topic was when it was first written; a mismatch later means no execution."""

    topic_id: str
    partitions: int
    transactional_id: str
    durable: bool


class DayClosed(Event):
    """The books of all clusters of a partition are closed (`cluster_id` is `~N`): a restart folds from `first_offset`,
    and of each cluster what stands after its book."""

    role: str
    state_schema: str  # as in each of its books
    first_offset: int
    clusters: int
    positions: dict[str, int]  # input -> the next offset to read
    poisoned: tuple[Poison, ...] = ()
    genesis: GenesisMarked | None = None


# -- diagnoses ------------------------------------------------------------------------------------------------------


class DiagnosisStarted(Event):
    incident_id: str
    ask_id: str
    by: By
    deadline_ms: int
    family: str
    alerts: tuple[AlertRef, ...]


class DiagnosisMade(Event):
    incident_id: str
    ask_id: str
    by: By
    cause: str
    confidence: float = Field(ge=0, le=1)
    summary: str
    evidence: tuple[Evidence, ...]
    cited: tuple[str, ...]  # ids of the evidence that tells
    ruled_out: tuple[RuledOut, ...] = ()
    model: str = ""
    prompt_version: str = ""
    prompt_sha256: str = ""
    reply: str = ""  # the model's own words, bounded
    took_ms: int = 0
    for_people: str = ""  # what remains for a person whatever is done, with the address of what it is about
    facts: Facts | None = None  # what the evidence was made from; None: not kept (`kept_facts`), or of an older build


class DiagnosisAbstained(Event):
    incident_id: str
    ask_id: str
    by: By
    code: str
    reason: str
    evidence: tuple[Evidence, ...] = ()
    model: str = ""
    prompt_version: str = ""
    prompt_sha256: str = ""
    reply: str = ""
    took_ms: int = 0
    facts: Facts | None = None  # as of DiagnosisMade; None also where PD gave none


# -- tickets and notifications --------------------------------------------------------------------------------------


class TicketLine(Model):
    label: str
    text: str


class TicketWritten(Event):
    """What a ticket says now, whole. The latest version is the ticket."""

    incident_id: str
    version: int
    headline: str  # e.g. `prod-eu-7: store 4 disk stall`
    status: str  # e.g. `FIXED, UNDONE`
    lines: tuple[TicketLine, ...]
    tier: str  # how loudly: routine | notable | critical
    open: bool = True
    remediation_id: str = ""
    synthetic: bool = False
    facts: str = ""  # canonical JSON of what the next version is made from: for the tickets role alone


class TicketNoted(Event):
    """Something that waits for the next version, such as one more alert of a storm."""

    incident_id: str
    facts: str


class NotificationStarted(Event):
    incident_id: str
    version: int
    tier: str
    headline: str
    status: str
    body: str


class Delivered(Event):
    incident_id: str
    version: int
    sinks: tuple[str, ...]


class NotDelivered(Event):
    incident_id: str
    version: int
    sinks: tuple[str, ...]
    code: str
    reason: str


# -- controls -------------------------------------------------------------------------------------------------------


class Frozen(Event):
    """Forward steps stop at once on this cluster, or on all (`*`)."""

    by: str
    reason: str
    via: str = "cli"


class Halted(Event):
    """Every write stops, undos included; what is owed is listed. `cluster_id` is `*`."""

    by: str
    reason: str
    via: str = "cli"


class Lifted(Event):
    by: str
    reason: str
    via: str = "cli"
    kind: str = ""  # freeze | halt | input; empty: freeze and halt, as it was before there was this field
    input: str = ""  # of kind input: what is lifted, as `topic/partition@offset`; nothing else is


class PolicyAdopted(Event):
    """`cluster_id` is `*`."""

    by: str
    reason: str
    version: int
    policy_json: str  # canonical JSON of schemas.policy.Policy

    def policy(self) -> Policy:
        return Policy.model_validate({**json.loads(self.policy_json), "version": self.version})


class KeyRevoked(Event):
    by: str
    reason: str
    kid: str


# -- proposals and validations --------------------------------------------------------------------------------------


class ProposalStarted(Event):
    """A proposal is being thought about. Carries what it is about, so that a restart needs nothing else."""

    incident_id: str
    remediation_id: str
    attempt: int
    diagnosis: DiagnosisAdopted
    again: ProposalAskedAgain | None = None


class ActionProposed(Event):
    incident_id: str
    remediation_id: str
    proposal_id: str
    attempt: int
    action: str
    params: str  # canonical JSON
    why: str
    cause: str
    confidence: float
    disputed: bool  # playbook and model disagree: people decide
    evidence: tuple[Evidence, ...]
    by: By
    model: str = ""
    prompt_version: str = ""
    prompt_sha256: str = ""
    synthetic: bool = False
    facts: Facts | None = None  # what it was chosen by; None: none were needed, or not kept
    reply: str = ""  # the model's own words, bounded; also where they were no use and the playbook's rule stands


class NothingProposed(Event):
    incident_id: str
    remediation_id: str
    code: str
    reason: str
    by: By
    model: str = ""
    facts: Facts | None = None  # as of ActionProposed; None also where PD gave none
    reply: str = ""


class ProposalValidated(Event):
    incident_id: str
    remediation_id: str
    proposal_id: str
    attempt: int
    action: str
    mode: Mode
    facts: Facts
    plan: Plan
    reach: Reach
    tier: Tier
    tier_reasons: tuple[str, ...]
    digest: str  # hex SHA-256 of the plan's Avro body


class ProposalRefused(Event):
    incident_id: str
    remediation_id: str
    proposal_id: str
    attempt: int
    action: str
    objections: tuple[Objection, ...]
    facts: Facts | None = None


# -- approvals: a person's word -------------------------------------------------------------------------------------


class Approved(Event):
    remediation_id: str
    digest: str
    approval: SignedApproval


class Denied(Event):
    remediation_id: str
    approval: SignedApproval


class CancelAsked(Event):
    remediation_id: str
    approval: SignedApproval


class UndoAsked(Event):
    remediation_id: str
    approval: SignedApproval


class DoneByHand(Event):
    remediation_id: str
    approval: SignedApproval


class OutcomeResolved(Event):
    """A person says how an UNKNOWN ended, after having looked; this lifts the quarantine."""

    remediation_id: str
    outcome: Outcome
    approval: SignedApproval


# -- remediations: the acting ledger --------------------------------------------------------------------------------


class RemediationOpened(Event):
    incident_id: str
    remediation_id: str
    proposal_id: str
    action: str
    params: str
    why: str
    cause: str
    confidence: float
    disputed: bool
    by: By
    evidence: tuple[Evidence, ...]
    synthetic: bool = False


class ProposalDeferred(Event):
    """Only `wait` objections: asked again at `until_ms`, while `gives_up_ms` has not passed."""

    remediation_id: str
    attempt: int
    until_ms: int
    gives_up_ms: int
    objections: tuple[Objection, ...]


class ProposalAskedAgain(Event):
    incident_id: str
    remediation_id: str
    attempt: int
    action: str
    params: str
    why: str
    cause: str
    confidence: float
    disputed: bool
    by: By
    evidence: tuple[Evidence, ...]
    synthetic: bool = False


class ApprovalAsked(Event):
    incident_id: str
    remediation_id: str
    digest: str
    action: str
    params: str
    why: str
    tier: Tier
    tier_reasons: tuple[str, ...]
    mode: Mode
    rule: str  # auto | veto:10m | one | two
    needed: int
    escalation: tuple[str, ...]
    step: int
    expires_at_ms: int  # of this step of the escalation
    plan: Plan
    reach: Reach
    facts_taken_at_ms: int
    evidence: tuple[Evidence, ...]
    cause: str
    confidence: float


class ApprovalEscalated(Event):
    remediation_id: str
    step: int
    asked: str
    expires_at_ms: int


class ApprovalCounted(Event):
    remediation_id: str
    approval: SignedApproval
    counted: int
    needed: int


class ApprovalRejected(Event):
    """A person's word that does not count, and why."""

    remediation_id: str
    approval_id: str
    person: str
    code: str
    text: str


class ExecutionBlocked(Event):
    """Approved, but it has to wait; said once per reason."""

    remediation_id: str
    code: str
    text: str
    until_ms: int = 0


class ExecutionAuthorized(Event):
    """The one event that `execute` may claim. From here only outcomes and people's orders move the remediation."""

    incident_id: str
    remediation_id: str
    action: str
    params: str
    plan: Plan
    reach: Reach
    digest: str
    tier: Tier
    mode: Mode
    rule: str
    needed: int
    proposed_by: str
    approvals: tuple[SignedApproval, ...]
    expires_at_ms: int


class ExecutionStarted(Event):
    remediation_id: str
    attempt: int


class ClusterQuarantined(Event):
    """An execution ended UNKNOWN: nothing more is done here until a person has looked and said how it ended."""

    remediation_id: str
    text: str


class CancelOrdered(Event):
    remediation_id: str
    person: str
    reason: str


class UndoOrdered(Event):
    remediation_id: str
    person: str
    reason: str


class ResolutionOrdered(Event):
    remediation_id: str
    outcome: Outcome
    person: str
    reason: str
    approval: SignedApproval


class RemediationFlagged(Event):
    """A timer says that something takes too long. It moves nothing; people look."""

    remediation_id: str
    code: str
    text: str


class RemediationClosed(Event):
    incident_id: str
    remediation_id: str
    code: str  # an Outcome, or why it was never run: denied, expired, refused, cancelled, by_hand, ...
    text: str
    objections: tuple[Objection, ...] = ()
    note: str = ""  # a person's reason, for the next proposal


# -- outcomes -------------------------------------------------------------------------------------------------------


class Claimed(Event):
    """The right to act, now. Carries all that a successor needs after a crash."""

    incident_id: str
    remediation_id: str
    attempt: int
    action: str
    params: str
    plan: Plan
    digest: str
    tier: Tier
    mode: Mode
    approvals: tuple[SignedApproval, ...]
    deadline_ms: int
    needed: int = 0  # what whoever authorised it asked for, so that a successor can ask again
    proposed_by: str = ""


class ClaimRefused(Event):
    remediation_id: str
    code: str
    text: str


class TakenOver(Event):
    """A new owner found this claim open; it probes before it does anything."""

    remediation_id: str
    attempt: int
    owner: str


class Looked(Event):
    """Fresh facts before the first step agreed with the plan: what the executor saw, and the figures it starts from."""

    remediation_id: str
    attempt: int
    facts: Facts
    before: Sample


class StepIntended(Event):
    """Committed before the request is sent; the sender's kernel kills it `window_s` after it looked at the clock."""

    remediation_id: str
    attempt: int
    step: int  # 1, 2, 3... over the whole claim
    change: int  # which change of the plan, from 0
    kind: Literal["do", "undo"]
    call: Call
    undo: Call | None = None
    keep_s: int = 0
    window_s: float
    before: tuple[Premise, ...] = ()
    snapshot: str = ""  # canonical JSON of what an irreversible call loses, recorded first


class StepTaken(Event):
    remediation_id: str
    attempt: int
    step: int
    answer: Answer
    status: int = 0
    body: str = ""  # bounded
    code: str = ""
    caller_id: str = ""
    took_ms: int = 0


class StepProbed(Event):
    """What a look at the cluster says about a call whose fate was unknown."""

    remediation_id: str
    attempt: int
    step: int
    finding: Finding
    text: str = ""


class Sampled(Event):
    remediation_id: str
    attempt: int
    sample: Sample


class ExecutionAborting(Event):
    """No further forward step; what is owed is undone."""

    remediation_id: str
    attempt: int
    code: str
    text: str
    worse: bool = False  # the cluster got worse meanwhile, by the action's own abort conditions


class ChangeUndone(Event):
    """The undo of a change shows in PD, and has stayed for the settling time where `settled`."""

    remediation_id: str
    attempt: int
    change: int
    settled: bool
    text: str = ""
    pd_leader: str = ""  # who led PD when it was seen, and since when that process runs: empty: not said
    pd_started_at_ms: int = 0
    looked_at_ms: int = 0  # when the look that showed it was begun, by the log's time; 0: not said


class Concluded(Event):
    incident_id: str
    remediation_id: str
    attempt: int
    outcome: Outcome
    code: str
    text: str
    before: Sample | None = None
    after: Sample | None = None
    samples: int = 0
    errors: int = 0
    owed: tuple[Change, ...] = ()  # handed to a named person; empty: nothing left behind
    objections: tuple[Objection, ...] = ()
    facts: Facts | None = None


class QuarantineLifted(Event):
    remediation_id: str
    person: str
    reason: str


# -- dead letters ---------------------------------------------------------------------------------------------------


class DeadLetter(Event):
    """What could not be read, or was impossible: never lost, never acted on."""

    role: str
    topic: str
    partition: int
    offset: int
    code: str
    field: str = ""
    reason: str
    raw: bytes = b""  # the first 64 KiB
    key: str = ""


class Unreadable(Exception):
    """Bytes that are no event of ours: `code`, the `field` at fault and a `reason` for people."""

    def __init__(self, code: str, reason: str, field: str = "") -> None:
        super().__init__(f"{code}: {field + ': ' if field else ''}{reason}")
        self.code, self.reason, self.field = code, reason, field


def all_events() -> dict[str, type[Event]]:
    """Every concrete event by name, in the order of this page."""
    return {c.__name__: c for c in Event.__subclasses__()}


for _event in Event.__subclasses__():
    _event.model_rebuild()
