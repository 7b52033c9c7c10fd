"""The whole pipeline. Everything else is a detail of one line here.

Each topic is keyed by cluster id. Three verbs:
  maps     event -> events. Stateless, quick; repeats harmless. On Faust.
  decides  decide(state, event, now) -> events; the topic that it writes is its state. Transactional.
  works    slow, one lane a cluster; what was asked and is not answered is owed. Transactional.
`by` names the module with the rules; bootstrap/roles.py gives it its hands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.events import *
from schemas.events import Event
from schemas.topics import Topic

# fmt: off
OWNER = (OwnerStarted, GenesisMarked, InputIgnored, InputRejected, BookClosed, DayClosed)  # of every decides and works topic
TOPICS = (  # name, sole writer, events
    Topic("alerts",        "monitors",     (AlertReceived,), keeps_all=False),  # foreign: checked by intake, never acted on in place
    Topic("signals",       "intake",       (AlertFired, AlertResolved)),        # right cluster, right partition, right schema
    Topic("incidents",     "incidents",    (IncidentOpened, AlertFolded, AlertCleared, DiagnosisAsked, DiagnosisAdopted, DiagnosisOverdue, IncidentClosed, *OWNER)),
    Topic("diagnoses",     "diagnose",     (DiagnosisStarted, DiagnosisMade, DiagnosisAbstained, *OWNER)),
    Topic("tickets",       "tickets",      (TicketWritten, TicketNoted, *OWNER)),
    Topic("notifications", "notify",       (NotificationStarted, Delivered, NotDelivered, *OWNER)),
    Topic("controls",      "console",      (Frozen, Halted, Lifted, PolicyAdopted, KeyRevoked), partitions=1),
    # acting
    Topic("proposals",     "propose",      (ProposalStarted, ActionProposed, NothingProposed, *OWNER)),
    Topic("validations",   "validate",     (ProposalValidated, ProposalRefused)),
    Topic("approvals",     "console",      (Approved, Denied, CancelAsked, UndoAsked, DoneByHand, OutcomeResolved)),
    Topic("remediations",  "remediations", (RemediationOpened, ProposalDeferred, ProposalAskedAgain, ApprovalAsked, ApprovalEscalated, ApprovalCounted, ApprovalRejected,
                                            ExecutionBlocked, ExecutionAuthorized, ExecutionStarted, ClusterQuarantined,
                                            CancelOrdered, UndoOrdered, ResolutionOrdered, RemediationFlagged, RemediationClosed, *OWNER)),
    Topic("outcomes",      "execute",      (Claimed, ClaimRefused, TakenOver, Looked, StepIntended, StepTaken, StepProbed, Sampled, ExecutionAborting, ChangeUndone,
                                            Concluded, QuarantineLifted, *OWNER)),
)
# fmt: on


@dataclass(frozen=True)
class Processor:
    """One line of the page. `consults`: controls are read whole by the process itself, not as an input."""

    verb: Literal["maps", "decides", "works", "edge"]
    role: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    by: str
    consults: bool = False


def maps(role: str, *, reads: str, writes: str, by: str, consults: bool = False) -> Processor:
    return Processor("maps", role, tuple(reads.split()), (writes,), by, consults)


def decides(role: str, *, reads: str, writes: str, by: str, consults: bool = False) -> Processor:
    return Processor("decides", role, tuple(reads.split()), (writes,), by, consults)


def works(role: str, *, reads: str, writes: str, by: str, consults: bool = False) -> Processor:
    return Processor("works", role, tuple(reads.split()), (writes,), by, consults)


def edge(role: str, *, reads: str = "", writes: str = "", by: str) -> Processor:
    return Processor("edge", role, tuple(reads.split()), tuple(writes.split()), by)


# fmt: off
EVERYTHING = " ".join(t.name for t in TOPICS)
EDGES = (  # what touches topics from outside
    edge("gateway", writes="alerts", by="infra.gateway"),
    edge("console", reads=EVERYTHING, writes="alerts controls approvals", by="console.web"),
    edge("audit",   reads=EVERYTHING, by="infra.clickhouse.sink"),
)
OBSERVE = (
    maps("intake",          reads="alerts",                                   writes="signals",       by="streams.intake"),
    decides("incidents",    reads="signals diagnoses",                        writes="incidents",     by="streams.incidents"),
    works("diagnose",       reads="incidents",                                writes="diagnoses",     by="agents.diagnose"),
    decides("tickets",      reads="incidents diagnoses remediations outcomes", writes="tickets",      by="streams.tickets"),
    works("notify",         reads="tickets",                                  writes="notifications", by="streams.notify", consults=True),
)
ACT = (  # tests/spec/test_observe_survives.py deletes this tuple, and a product remains
    works("propose",        reads="incidents remediations",                   writes="proposals",     by="agents.propose"),
    maps("validate",        reads="proposals",                                writes="validations",   by="streams.validate", consults=True),
    decides("remediations", reads="incidents proposals validations approvals outcomes", writes="remediations", by="streams.remediations", consults=True),
    works("execute",        reads="remediations",                             writes="outcomes",      by="executors.protocol", consults=True),
)
# fmt: on
PROCESSORS = OBSERVE + ACT
BY_NAME = {t.name: t for t in TOPICS}
OWNED = tuple(line.writes[0] for line in PROCESSORS if line.verb != "maps")  # topics whose events are chained


def processor(role: str) -> Processor:
    """The line of a role. Raises KeyError, naming the roles there are."""
    for line in (*EDGES, *PROCESSORS):
        if line.role == role:
            return line
    raise KeyError(f"no role {role!r}; there are {', '.join(p.role for p in (*EDGES, *PROCESSORS))}")


def dead_letters(role: str) -> str:
    return f"dead-letters.{role}"


def may_stand_on(topic: str, event: Event) -> bool:
    """Is this kind of event one that the topic's sole writer writes there?"""
    return isinstance(event, BY_NAME[topic].events)
