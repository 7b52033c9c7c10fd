"""The ten invariants, judged from outside: by what stands on the topics and by the cluster's own record of calls.

No checker looks at a state of ours, nor asks a rule of ours whether it was kept: signatures, digests and tiers are
checked here once more, by other code. Each yields what is wrong, in words that name the event or the call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from joserfc import jwk, jws
from joserfc.errors import JoseError

from actions.calls import render
from pdsim.model import Call
from pdsim.schedulers import Schedulers
from schemas import events as e
from schemas.chain import BrokenChain, Link, follow
from schemas.facts import Facts
from schemas.processors import Record
from schemas.values import Plan
from schemas.wire import Decoded, body_of, digest_of
from streams.pipeline import OWNER, PROCESSORS

E = TypeVar("E", bound=e.Event)
PEOPLE = {"LOW": 0, "MEDIUM": 1, "HIGH": 2}
FACTS_KEPT_MS = 15_000  # what was seen is acted on for so long
HEARD_WITHIN_MS = 5_000  # a stop is known to whoever intends a step so long after it stands on the topic


@dataclass(frozen=True)
class MeantStop:
    """A record on `controls` that nobody of this version can read, and that whoever wrote it meant as a stop."""

    place: str  # topic/partition@offset; it ends when a person lifts exactly it
    kind: str
    scope: str
    at_ms: int


@dataclass(frozen=True)
class History:
    """What is left of one run. Times are ms of one clock, that of the clusters' own records, and of the broker where
    its own has never been off.

    `ended`: faults have stopped, and all deadlines since then have passed: now what should end must have ended.
    """

    records: Sequence[Record]  # of all topics, in the order of appending, as a read_committed reader sees them
    calls: Mapping[str, Sequence[Call]]  # cluster -> every request that its PD got
    left: Mapping[str, Sequence[str]]  # cluster -> what is there now: schedulers that evict leaders, `paused X`
    others: Mapping[str, Sequence[str]]  # cluster -> of these, what somebody else has put there
    keys: Mapping[str, Mapping[str, str]]  # kid -> public key
    environment: str
    pd_ids: Mapping[str, int]
    roles: Sequence[str]  # that took part
    window_ms: int = 15_000
    proxy_margin_ms: int = 5_000
    ended: bool = True
    usurped: Sequence[str] = ()  # commits for a partition by who did not own it, where the brokers could see that
    meant: Sequence[MeantStop] = ()
    led_since_ms: Mapping[str, Sequence[float]] = field(default_factory=dict)  # cluster -> since when a PD leads anew
    decided_ms: Mapping[tuple[str, int], int] = field(default_factory=dict)  # by a head's event_id and at_ms, if known
    skew_ms: int = 0  # how far the broker's clock has been off, at most
    unheard_ms: Sequence[tuple[int, int]] = ()  # when nobody could read the controls
    audited: Sequence[tuple[str, int, int]] | None = None  # (topic, partition, offset) of each row of the audit

    def of(self, *kinds: type[e.Event]) -> Iterator[tuple[Record, Any]]:
        for record in self.records:
            if isinstance(record.event, kinds):
                yield record, record.event

    @cached_property
    def executions(self) -> Sequence[Execution]:
        return tuple(_executions(self))

    @cached_property
    def writes(self) -> Sequence[Write]:
        """Our own writes, as the clusters have recorded them."""
        return tuple(
            Write(cluster, call, *_token(call.caller_id))
            for cluster, calls in self.calls.items()
            for call in calls
            if call.method != "GET" and call.caller_id.startswith("steward/")
        )

    def execution_of(self, write: Write) -> Execution | None:
        return next((x for x in self.executions if x.claimed.remediation_id == write.remediation_id), None)


@dataclass(frozen=True)
class Write:
    cluster_id: str
    call: Call
    remediation_id: str
    attempt: int
    step: int

    @property
    def at_ms(self) -> float:
        return self.call.at * 1000

    def __str__(self) -> str:
        return f"{self.call.caller_id} {self.call.method} {self.call.path} at {self.at_ms:.0f}"


@dataclass
class Execution:
    """One claim and all that followed it on `outcomes`."""

    claimed: e.Claimed
    at_ms: int
    events: list[tuple[Record, Any]] = field(default_factory=list)
    ended: tuple[Record, e.Concluded] | None = None

    def of(self, *kinds: type[E]) -> list[tuple[Record, E]]:
        return [(r, x) for r, x in self.events if isinstance(x, kinds)]

    def step(self, attempt: int, number: int) -> tuple[Record, e.StepIntended] | None:
        return next(((r, x) for r, x in self.of(e.StepIntended) if (x.attempt, x.step) == (attempt, number)), None)

    def answer(self, number: int) -> e.StepTaken | None:
        return next((x for _, x in self.of(e.StepTaken) if x.step == number), None)


def _executions(history: History) -> Iterator[Execution]:
    open_: dict[str, Execution] = {}
    for record, event in history.of(e.Event):
        if record.topic != "outcomes":
            continue
        if isinstance(event, e.Claimed):
            open_[event.remediation_id] = Execution(event, record.at_ms)
            yield open_[event.remediation_id]
        elif (name := getattr(event, "remediation_id", "")) in open_:
            open_[name].events.append((record, event))
            if isinstance(event, e.Concluded):
                open_.pop(name).ended = (record, event)


def _token(caller_id: str) -> tuple[str, int, int]:
    """steward/<remediation>/<attempt>.<step>"""
    _, remediation_id, token = caller_id.split("/")
    attempt, step = token.split(".")
    return remediation_id, int(attempt), int(step)


# -- the checkers ---------------------------------------------------------------------------------------------------


def one_at_a_time(history: History) -> Iterator[str]:
    """At most one execution is open per PD cluster id, and nobody but its owner commits for a partition."""
    yield from history.usurped
    is_open: dict[int, str] = {}
    for record, event in history.of(e.Claimed, e.Concluded):
        if isinstance(event, e.Claimed):
            pd_id = event.plan.pd_cluster_id
            if other := is_open.get(pd_id):
                yield f"{event.remediation_id} is claimed at {_where(record)} while {other} is open on PD {pd_id}"
            is_open[pd_id] = event.remediation_id
        else:
            is_open = {k: v for k, v in is_open.items() if v != event.remediation_id}


def no_unapproved_effect(history: History) -> Iterator[str]:
    """No write without a claim that carries valid approvals of exactly this plan, for this remediation, unexpired."""
    used: dict[str, str] = {}
    for execution in history.executions:
        claimed = execution.claimed
        first = execution.of(e.StepIntended)[:1]
        writes = [w for w in history.writes if w.remediation_id == claimed.remediation_id]
        if not writes:
            continue
        if claimed.mode != "on":
            yield f"{writes[0]}: the claim is in mode {claimed.mode}"
        if digest_of(claimed.plan) != claimed.digest:
            yield f"{claimed.remediation_id}: the digest is not that of the plan"
        asked = _asked(history, claimed)
        if asked is None:
            yield f"{claimed.remediation_id}: nobody was asked about this digest"
        at_ms = _decided_ms(history, first[0][0]) if first else execution.at_ms
        people = {who for a in claimed.approvals if (who := _valid(history, claimed, a.jws, at_ms)) is not None}
        needed = max(PEOPLE.get(claimed.tier, 99), claimed.needed, asked.needed if asked else 0)
        if len(people - {claimed.proposed_by.casefold()}) < needed:
            yield f"{writes[0]}: {len(people)} people have validly approved it, {needed} are needed ({claimed.tier})"
        for approval in claimed.approvals:
            other = used.setdefault(approval.approval_id, claimed.remediation_id)
            if other != claimed.remediation_id:
                yield f"{claimed.remediation_id}: approval {approval.approval_id} was used for {other} before"
    for write in history.writes:
        if history.execution_of(write) is None:
            yield f"{write}: there is no claim"


def _decided_ms(history: History, record: Record) -> int:
    """A step is decided a moment before that is durable: when its head says, but no longer before than its window."""
    return max(_drafted_ms(history, record), record.at_ms - history.window_ms)


def _drafted_ms(history: History, record: Record) -> int:
    """Where it is not known otherwise: when its head says."""
    return history.decided_ms.get((record.head.event_id, record.head.at_ms), record.head.at_ms)


def _asked(history: History, claimed: e.Claimed) -> e.ApprovalAsked | None:
    said = [x for _, x in history.of(e.ApprovalAsked) if x.remediation_id == claimed.remediation_id]
    return next((x for x in said if x.digest == claimed.digest and x.tier == claimed.tier), None)


def _valid(history: History, claimed: e.Claimed, token: str, now_ms: int) -> str | None:
    """Who has approved exactly this, as the signature says; None: it does not count."""
    try:
        kid = jws.extract_compact(token.encode()).headers()["kid"]
        key = jwk.import_key(dict(history.keys[kid]))
        payload = jws.deserialize_compact(token, key, algorithms=["Ed25519", "ES256"]).payload
    except (JoseError, KeyError, ValueError):
        return None
    said = json.loads(payload)
    wanted = {
        "environment": history.environment,
        "pd_cluster_id": history.pd_ids.get(claimed.cluster_id),
        "remediation_id": claimed.remediation_id,
        "digest": claimed.digest,
        "decision": "approve",
    }
    if any(said.get(k) != v for k, v in wanted.items()) or now_ms > said["exp"] + history.skew_ms:
        return None
    return str(said["person"]).strip().casefold()


def claim_before_effect(history: History) -> Iterator[str]:
    """Every write follows its own committed intent, under an open claim, inside that step's window; a claim is of a
    remediation that is still open."""
    yield from _claimed_when_closed(history)
    seen: dict[tuple[str, int, int], Write] = {}
    for write in history.writes:
        execution = history.execution_of(write)
        if execution is None:
            continue  # no_unapproved_effect says so
        found = execution.step(write.attempt, write.step)
        if found is None:
            yield f"{write}: there is no such intent"
            continue
        record, intended = found
        if write.at_ms < record.at_ms - 1:
            yield f"{write}: its intent was only committed at {record.at_ms}"
        if write.at_ms > record.at_ms + intended.window_s * 1000 + history.proxy_margin_ms:
            yield f"{write}: its window began at {record.at_ms} and has ended"
        if execution.ended and write.at_ms > execution.ended[0].at_ms + 1:
            yield f"{write}: the claim was concluded at {execution.ended[0].at_ms}"
        request = render(intended.call)
        if (write.call.method, write.call.path) != (request.method, request.path) or _other(write, request.body):
            yield f"{write}: intended was {request}"
        if intended.call not in _calls_of(execution.claimed.plan):
            yield f"{write}: the plan has no such call"
        if earlier := seen.get((write.remediation_id, write.attempt, write.step)):
            yield f"{write}: sent twice for one intent, before at {earlier.at_ms:.0f}"
        seen[write.remediation_id, write.attempt, write.step] = write


def _claimed_when_closed(history: History) -> Iterator[str]:
    closed: set[str] = set()
    for record, event in history.of(e.RemediationClosed, e.Claimed):
        if isinstance(event, e.RemediationClosed):
            closed.add(event.remediation_id)
        elif event.remediation_id in closed:
            yield f"{event.remediation_id} is claimed at {_where(record)}, and was closed before"


def _other(write: Write, body: str) -> bool:
    return bool(body) and json.loads(write.call.body or b"null") != json.loads(body)


def _calls_of(plan: Plan) -> list[Any]:
    return [call for change in plan.changes for call in (change.do, change.undo) if call is not None]


def look_before_repeat(history: History) -> Iterator[str]:
    """A call whose fate is unknown is probed, late enough, before anything is intended; UNKNOWN bars the cluster."""
    for execution in history.executions:
        unknown: dict[int, tuple[Record, e.StepIntended]] = {}
        for record, event in execution.events:
            match event:
                case e.StepIntended():
                    for number in unknown:
                        yield f"{event.remediation_id}: step {event.step} is intended, what became of {number} unknown"
                    unknown[event.step] = (record, event)
                case e.StepTaken() if event.answer != "may_have_run":
                    unknown.pop(event.step, None)
                case e.StepProbed() if event.finding in ("applied", "not_started"):
                    yield from _too_early(history, unknown.pop(event.step, None), record, event)
    yield from _barred(history)


def _too_early(
    history: History, step: tuple[Record, e.StepIntended] | None, record: Record, probed: e.StepProbed
) -> Iterator[str]:
    if step is None:
        return
    ends_ms = _drafted_ms(history, step[0]) + int(step[1].window_s * 1000)  # it begins before its intent is durable
    for write in history.writes:
        late = (write.remediation_id, write.attempt, write.step) == (
            probed.remediation_id,
            step[1].attempt,
            probed.step,
        )
        if late and write.at_ms > record.at_ms:
            yield f"{write}: what became of it was said before, at {_where(record)}"
    if record.at_ms < ends_ms:
        yield f"{probed.remediation_id}: step {probed.step} is probed at {record.at_ms}, its window ends at {ends_ms}"
    calls = history.calls.get(probed.cluster_id, ())
    if not any(c.method == "GET" and ends_ms <= c.at * 1000 < record.at_ms + 1 for c in calls):
        yield f"{probed.remediation_id}: nobody has looked between step {probed.step}'s window and {_where(record)}"


def _barred(history: History) -> Iterator[str]:
    barred: dict[str, str] = {}
    for record, event in history.of(e.Claimed, e.Concluded, e.OutcomeResolved):
        match event:
            case e.Concluded() if event.outcome == "unknown":
                barred[event.cluster_id] = event.remediation_id
            case e.OutcomeResolved() if barred.get(event.cluster_id) == event.remediation_id:
                barred.pop(event.cluster_id)
            case e.Claimed() if event.cluster_id in barred:
                yield f"{event.remediation_id} is claimed at {_where(record)}: {barred[event.cluster_id]} is UNKNOWN"


def nothing_left_behind(history: History) -> Iterator[str]:
    """Every temporary change is on record with its undo before it is made, and is gone when its remediation ends."""
    for execution in history.executions:
        name = execution.claimed.remediation_id
        for _, intended in execution.of(e.StepIntended):
            planned = execution.claimed.plan.changes[intended.change]
            if intended.kind == "do" and intended.undo != planned.undo:
                yield f"{name}: step {intended.step} has another undo on record than the plan"
        if execution.ended and execution.ended[1].outcome != "unknown":
            yield from _unpaid(history, execution)
    owed = {
        f"paused {call.args['scheduler']}" if "scheduler" in call.args else call.args.get("store_id")
        for execution in history.executions
        if execution.ended is None or execution.ended[1].owed
        for call in _calls_of(execution.claimed.plan)
    }
    for cluster, there in history.left.items():
        for scheduler in there if history.ended else ():
            name = scheduler if scheduler.startswith("paused ") else scheduler.rpartition("-")[2]
            if scheduler not in history.others.get(cluster, ()) and name not in owed:
                yield f"{cluster}: {scheduler} is there, and nobody owes its removal"
    yield from _taken_from_others(history)


def _unpaid(history: History, execution: Execution) -> Iterator[str]:
    """Concluded as known: then what our calls have changed for a time was taken back; by us, or where we could not
    know that it had come about, by somebody else before we looked."""
    assert execution.ended is not None
    name, ended_ms = execution.claimed.remediation_id, execution.ended[0].at_ms
    settled = {x.change for _, x in execution.of(e.ChangeUndone) if x.settled}
    gone = {x.step for _, x in execution.of(e.StepProbed) if x.finding == "not_started"}
    calls = history.calls.get(execution.claimed.cluster_id, ())
    there = put_there_by([call for call in calls if call.at * 1000 <= ended_ms])
    applied = [w for w in history.writes if w.remediation_id == name and w.call.applied]
    for write in applied:
        found = execution.step(write.attempt, write.step)
        if found is None or found[1].kind != "do":
            continue
        if write.step in gone and there.get(_scheduler(write.call)) != write.call.caller_id:
            continue
        change = execution.claimed.plan.changes[found[1].change]
        if change.undo is not None and change.keep_s and found[1].change not in settled:
            yield f"{name}: concluded {execution.ended[1].outcome}, and the undo of {write} is still owed"


def _taken_from_others(history: History) -> Iterator[str]:
    """What was there when we looked, or was put there by somebody else after ours was seen to be gone, is not ours to
    undo; nor is what a later remediation of ours has put there an earlier one's.

    Nobody can tell, as PD keeps one list for all: what somebody has put there since our look, when we put it there too
    or could have; and what is there again under another PD leader, which may have brought back ours (tikv/pd#4707)."""
    for cluster, calls in history.calls.items():
        there: dict[str, Call] = {}
        for call in calls:
            name = _scheduler(call)
            if not name or call.method == "GET" or not call.applied:
                continue
            put, ours = there.get(name), _ours(call.caller_id)
            _follow(there, call)
            if not ours or call.method != "DELETE" or put is None or _ours(put.caller_id) == ours:
                continue
            now_ms, put_ms = call.at * 1000, put.at * 1000
            looked_ms, gone_ms = _looked_and_gone(history, ours, now_ms)
            led_anew = any(gone_ms <= led_ms <= now_ms for led_ms in history.led_since_ms.get(cluster, ()))
            if _ours(put.caller_id) or put_ms < looked_ms - FACTS_KEPT_MS or (put_ms > gone_ms and not led_anew):
                yield f"{cluster}: {call.caller_id} has removed {name} of {put.caller_id or 'somebody'}"


def _looked_and_gone(history: History, remediation_id: str, now_ms: float) -> tuple[float, float]:
    """When it looked last before its first step, and since when it has seen its change gone; never: infinity."""
    looked_ms, gone_ms = float("inf"), float("inf")
    for record, event in history.of(e.Looked, e.ChangeUndone):
        if event.remediation_id == remediation_id and record.at_ms <= now_ms:
            if isinstance(event, e.Looked):
                looked_ms = record.at_ms
            else:
                gone_ms = min(gone_ms, record.at_ms)
    return looked_ms, gone_ms


def _ours(caller_id: str) -> str:
    """The remediation that has called; empty: somebody else."""
    return _token(caller_id)[0] if caller_id.startswith("steward/") else ""


def left_on(schedulers: Schedulers, now_s: float) -> list[str]:
    """What stands in a cluster's PD and has to be taken back by whoever has put it there."""
    evicted = [f"evict-leader-scheduler-{store}" for store in schedulers.evicted]
    return [*evicted, *(f"paused {name}" for name in schedulers.names if schedulers.is_paused(name, now_s))]


def put_there_by(calls: Sequence[Call]) -> dict[str, str]:
    """Scheduler that evicts leaders -> who has put it there, by the cluster's own record."""
    there: dict[str, Call] = {}
    for call in calls:
        _follow(there, call)
    return {name: call.caller_id for name, call in there.items()}


def _scheduler(call: Call) -> str:
    """Which scheduler this call evicts leaders by, or no longer."""
    if "/schedulers" not in call.path or "/schedulers/balance-" in call.path:
        return ""
    if call.method == "POST":
        return f"evict-leader-scheduler-{json.loads(call.body or b'{}').get('store_id')}"
    return call.path.rpartition("/")[2]


def _follow(there: dict[str, Call], call: Call) -> None:
    name = _scheduler(call)
    if name and call.applied and call.method == "POST":  # to put there what is there leaves it whose it was
        there.setdefault(name, call)
    elif name and call.applied and call.method == "DELETE":
        there.pop(name, None)


def everything_ends(history: History) -> Iterator[str]:
    """Once faults have stopped: every proposal is closed, or waits for a person; every claim is concluded."""
    if not history.ended:
        return
    stopped = _stops_at_the_end(history)
    closed = {x.remediation_id for _, x in history.of(e.RemediationClosed)}
    unknown = {x.remediation_id for _, x in history.of(e.ClusterQuarantined)}
    for _, opened in history.of(e.RemediationOpened):
        if opened.remediation_id not in closed | unknown and opened.cluster_id not in stopped and "*" not in stopped:
            yield f"{opened.remediation_id} has neither ended nor waits for anybody"
    for execution in history.executions:
        halted = "*" in {s for s, kind in stopped.items() if kind == "halt"}
        if execution.ended is None and not halted:
            yield f"the execution of {execution.claimed.remediation_id} has not been concluded"


def _stops_at_the_end(history: History) -> dict[str, str]:
    stops: dict[str, str] = {}
    for _, event in history.of(e.Frozen, e.Halted, e.Lifted):
        match event:
            case e.Frozen():
                stops[event.cluster_id] = "freeze"
            case e.Halted():
                stops["*"] = "halt"
            case e.Lifted():
                stops.pop(event.cluster_id, None)
    return stops


def everything_on_record(history: History) -> Iterator[str]:
    """One whole chain a cluster and owned topic; an answer to every input; in the audit exactly once."""
    links: dict[tuple[str, str], Link] = {}
    answered: set[tuple[str, str, int, int]] = set()
    owned = {p.writes[0]: p for p in PROCESSORS if p.verb != "maps" and p.role in history.roles}
    for record in history.records:
        line = owned.get(record.topic)
        if line is None:
            continue
        place = (record.topic, record.event.cluster_id)
        body = body_of(record.event, record.head)
        try:
            links[place] = follow(links.get(place, Link()), Decoded(record.event, record.head, body, b""))
        except BrokenChain as broken:
            yield f"{_where(record)}: {broken}"
            links[place] = Link(record.head.seq, links.get(place, Link()).hash)
        ignored = [i.cause for i in record.event.inputs] if isinstance(record.event, e.InputIgnored) else []
        for cause in [c for c in (record.head.cause, *ignored) if c is not None]:
            answered.add((line.role, cause.topic, cause.partition, cause.offset))
    if history.ended:
        for record in history.records:
            for line in owned.values():
                asked = record.topic in line.reads and not isinstance(record.event, OWNER)
                if asked and (line.role, record.topic, record.partition, record.offset) not in answered:
                    yield f"{line.role} has not answered {_where(record)} {type(record.event).__name__}"
    if history.audited is not None:
        wanted = [(r.topic, r.partition, r.offset) for r in history.records]
        if sorted(wanted) != sorted(history.audited):
            lost, twice = len(set(wanted) - set(history.audited)), len(history.audited) - len(set(history.audited))
            yield f"the audit has {len(history.audited)} rows for {len(wanted)} records: {lost} lost, {twice} twice"


def stop_wins(history: History) -> Iterator[str]:
    """No forward step is intended once a stop can be known, and no write at all under a halt."""
    for execution in history.executions:
        for record, intended in execution.of(e.StepIntended):
            cluster = execution.claimed.cluster_id
            now_ms = _decided_ms(history, record)
            kind = _stop_at(history, cluster, now_ms - HEARD_WITHIN_MS, now_ms)
            if (kind == "halt" and not _unheard(history, now_ms)) or (kind and intended.kind == "do"):
                yield f"{execution.claimed.remediation_id}: step {intended.step} ({intended.kind}) under a {kind}"
    for write in history.writes:
        found = (x := history.execution_of(write)) and x.step(write.attempt, write.step)
        kind = _stop_at(history, write.cluster_id, write.at_ms - history.window_ms, write.at_ms)
        heard = kind == "halt" and not _unheard(history, write.at_ms)
        if found and kind and (found[1].kind == "do" or heard):
            yield f"{write}: under a {kind}"


def _unheard(history: History, at_ms: float) -> bool:
    """Was it only just possible to know of a halt? What is owed is paid meanwhile: a freeze could not stop that."""
    return any(since <= at_ms <= until + history.window_ms for since, until in history.unheard_ms)


def _stop_at(history: History, cluster: str, since_ms: float, now_ms: float) -> str:
    """The stop in force over all of this time for this cluster: halt, freeze, or nothing."""
    stops: dict[tuple[str, str], int] = {}
    for record, event in history.of(e.Frozen, e.Halted, e.Lifted):
        if record.at_ms > now_ms:
            break
        match event:
            case e.Frozen():
                stops.setdefault(("freeze", event.cluster_id), record.at_ms)
            case e.Halted():
                stops.setdefault(("halt", "*"), record.at_ms)
            case e.Lifted():
                for kind in (event.kind,) if event.kind else ("halt", "freeze"):
                    stops.pop((kind, event.cluster_id), None)
    held = [kind for (kind, scope), at_ms in sorted(stops.items()) if scope in ("*", cluster) and at_ms < since_ms]
    lifted: dict[str, int] = {}
    for record, event in history.of(e.Lifted):
        lifted.setdefault(event.input, record.at_ms)
    held += [
        meant.kind
        for meant in history.meant
        if meant.scope in ("*", cluster) and meant.at_ms < since_ms and lifted.get(meant.place, now_ms + 1) > now_ms
    ]
    return "halt" if "halt" in held else held[0] if held else ""


def observe_survives(history: History) -> Iterator[str]:
    """Alerts become incidents, diagnoses and tickets, whatever becomes of acting."""
    if not history.ended or not {"incidents", "tickets"} <= set(history.roles):
        return
    folded = {x.alert.fingerprint for _, x in history.of(e.IncidentOpened, e.AlertFolded)}
    for _, fired in history.of(e.AlertFired):
        if fired.fingerprint not in folded:
            yield f"the alert {fired.name} of {fired.cluster_id} is in no incident"
    tickets = {x.incident_id for _, x in history.of(e.TicketWritten)}
    ended = {x.incident_id for _, x in history.of(e.DiagnosisAdopted, e.DiagnosisOverdue, e.IncidentClosed)}
    for _, opened in history.of(e.IncidentOpened):
        if opened.incident_id not in tickets:
            yield f"{opened.incident_id} has no ticket"
        if "diagnose" in history.roles and opened.incident_id not in ended:
            yield f"{opened.incident_id} waits for its diagnosis for ever"


def unknown_is_no(history: History) -> Iterator[str]:
    """What is run was judged on facts, under a policy that was adopted; the first step follows a look."""
    for execution in history.executions:
        claimed = execution.claimed
        judged = [x for _, x in history.of(e.ProposalValidated) if x.remediation_id == claimed.remediation_id]
        same = [x for x in judged if x.digest == claimed.digest]
        if not same:
            yield f"{claimed.remediation_id}: no validation has this digest"
        policy = [x for r, x in history.of(e.PolicyAdopted) if r.at_ms <= execution.at_ms]
        if not any(x.version == claimed.plan.policy_version for x in policy):
            yield f"{claimed.remediation_id}: policy {claimed.plan.policy_version} was never adopted"
        looked_ms: int | None = None
        facts: Facts | None = None
        for record, event in execution.events:
            match event:
                case e.Looked():
                    # by the same clock as that of the step: who takes over looks anew
                    looked_ms, facts = _drafted_ms(history, record), event.facts
                case e.StepIntended() if event.kind == "do" and facts and same and _moved(event, same[0].facts, facts):
                    yield f"{claimed.remediation_id}: step {event.step} is on another machine than was approved"
                case e.StepIntended() if event.kind == "do" and looked_ms is None:
                    yield f"{claimed.remediation_id}: step {event.step} was intended without a look"
                case e.StepIntended() if (
                    event.step == 1 and _drafted_ms(history, record) > (looked_ms or 0) + FACTS_KEPT_MS
                ):
                    yield f"{claimed.remediation_id}: step 1 was intended on a look that was {FACTS_KEPT_MS} ms old"


def _moved(intended: e.StepIntended, was: Facts, now: Facts) -> bool:
    """The store that is named has another address, so it may be another machine."""
    store = int(intended.call.args.get("store_id", 0))
    return bool(store) and _address(store, was) != _address(store, now)


def _address(store_id: int, facts: Facts) -> str:
    return next((store.address for store in facts.stores if store.id == store_id), "")


CHECKERS: Mapping[str, Callable[[History], Iterator[str]]] = {
    "ONE_AT_A_TIME": one_at_a_time,
    "NO_UNAPPROVED_EFFECT": no_unapproved_effect,
    "CLAIM_BEFORE_EFFECT": claim_before_effect,
    "LOOK_BEFORE_REPEAT": look_before_repeat,
    "NOTHING_LEFT_BEHIND": nothing_left_behind,
    "EVERYTHING_ENDS": everything_ends,
    "EVERYTHING_ON_RECORD": everything_on_record,
    "STOP_WINS": stop_wins,
    "OBSERVE_SURVIVES": observe_survives,
    "UNKNOWN_IS_NO": unknown_is_no,
}


def judge(history: History) -> list[tuple[str, str]]:
    """(invariant, what is wrong) of everything that any checker finds."""
    return [(name, wrong) for name, check in CHECKERS.items() for wrong in check(history)]


def _where(record: Record) -> str:
    return f"{record.topic}/{record.partition}@{record.offset}"
