"""The whole pipeline in memory, for specs: the production parts over a simulated cluster, on a clock that jumps.

A spec is three beats: given a world, when this happens, then these events. Nothing of ours is replaced; the edges are
pdsim by an in-process transport, a sink that keeps what it is given, and the log in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from bootstrap.roles import Hands, rules, stage
from console.keys import make_key
from executors.execute import Reply, WindowPassed, Writer
from executors.tikv import ClusterWriter
from infra.pd import PdEndpoint, PdReader
from infra.replay.again import replay
from infra.replay.report import Report
from infra.runners.books import Books, Raw
from infra.runners.memory import JumpingLoop, MemoryControls, MemoryLog, MemoryOwnLog, run_maps
from infra.runners.owner import Owner, Rebuild
from infra.settings import Settings
from pdsim.faults import Faults
from pdsim.http import transport
from pdsim.model import Cluster
from schemas import events as e
from schemas.chain import edge
from schemas.policy import Policy
from schemas.signing import Claims, kid_of, public_of, sign
from schemas.values import Call, SignedApproval, canonical_json
from schemas.wire import decode, frame
from streams.pipeline import ACT, BY_NAME, OBSERVE, PROCESSORS, Processor, dead_letters, processor
from tests.simulation.invariants import History, judge, left_on

T = TypeVar("T")
E = TypeVar("E", bound=e.Event)
START_S = 1_800_000_000.0
PD_ID = 7168243901123456
CLUSTER = "prod-eu-7"

ACTING_POLICY: dict[str, Any] = {
    "actions": {
        name: {"mode": "on"}
        for name in (
            "evict_store_leaders",
            "transfer_region_leader",
            "remove_tombstones",
            "set_store_limit",
            "set_store_weight",
            "offline_store",
            "cancel_store_offline",
            "set_schedule_config",
            "transfer_pd_leader",
        )
    },
    "limits": {"settling_s": 20, "pd_leader_age_s_min": 0, "cooldown_s": 0},
}
DRY_RUN_POLICY: dict[str, Any] = {
    **ACTING_POLICY,
    "actions": {name: {"mode": "dry_run"} for name in ACTING_POLICY["actions"]},
}
OWNED = tuple(line.role for line in PROCESSORS if line.verb != "maps")
# Of a World: enough for one repair, and quick.
SMALL: dict[str, Any] = {"stores": 4, "regions": 12, "partitions": 1, "poll_s": 5.0}
TRUST = ("validate", "remediations", "execute")  # all that carries a proposal to its end


@dataclass
class Sink:
    """What was said to people."""

    said: list[tuple[str, str, str]] = field(default_factory=list)

    async def deliver(self, sink: str, title: str, body: str) -> None:
        self.said.append((sink, title, body))


class VirtualWindow:
    """A step's window on the world's clock. Nothing pauses here; the kernel's timer is tested with real processes."""

    def __init__(self, now_s: Callable[[], float], window_s: float) -> None:
        self._now_s, self._ends_s = now_s, now_s() + window_s

    def left_s(self) -> float:
        return self._ends_s - self._now_s()

    def arm(self) -> None:
        if self.left_s() <= 0:
            raise WindowPassed

    def disarm(self) -> None:
        return None


class World:
    """One cluster, `prod-eu-7`, and all of Steward. Use inside `live`."""

    def __init__(
        self,
        *,
        processors: Sequence[Processor] = OBSERVE + ACT,
        partitions: int = 3,
        poll_s: float = 2.0,
        close_books_every_s: float = 86_400,
        hold_s: int = 0,
        **cluster: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.processors = processors
        self.pd = Cluster.healthy(**{"cluster_id": PD_ID, "now": self.now_s(), "stores": 5, "regions": 60, **cluster})
        self.faults = Faults()
        self.settings = Settings.model_validate(
            {
                "environment": "test",
                "kafka": {"partitions": partitions, "close_books_every_s": close_books_every_s},
                "execution": {"poll_s": poll_s},
                "playbook": {"keep_s": 120, "hold_s": hold_s},
                "clusters": {
                    CLUSTER: {"alert_labels": {"env": CLUSTER}, "pd": ["http://pd-0:2379"], "pd_cluster_id": PD_ID}
                },
            }
        )
        self.log = MemoryLog(partitions, self.now_ms)
        self.controls = MemoryControls(self.log)
        self.sink = Sink()
        self.key = make_key()
        self.owners: dict[str, list[Owner[Any]]] = {}
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}
        self.failures: list[BaseException] = []
        self._said = 0
        self.transport = transport(self.pd, self.now_s, self.faults)
        self.witness: Any = None  # as infra.clickhouse.witness.AuditWitness

    # time

    def now_s(self) -> float:
        return self.loop.time()

    def now_ms(self) -> int:
        return int(self.loop.time() * 1000)

    async def until(self, found: Callable[[], T | None], within_s: float = 600) -> T:
        """Let time pass until this is found; fails with what happened last if it isn't."""
        ends = self.loop.time() + within_s
        while not (value := found()):
            if self.failures:
                raise self.failures[0]
            assert self.loop.time() < ends, f"not within {within_s} s; the last events:\n{self.story(20)}"
            await asyncio.sleep(0.2)
        return value

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.failures:
            raise self.failures[0]

    # running

    def start(self, *roles: str) -> None:
        """Start these roles, or all: each partition of each role is an owner of its own."""
        hands = self.hands()
        for line in self.processors:
            if roles and line.role not in roles:
                continue
            if line.verb == "maps":
                made: Any = stage(line, self.settings, hands)
                work: list[Awaitable[None]] = [
                    run_maps(self.log, line.reads[0], line.writes[0], line.role, made.handle)
                ]
            else:
                work = [self._own(line, p, hands) for p in range(self.log.partitions)]
            self.tasks[line.role] = [asyncio.ensure_future(self._watched(w)) for w in work]

    def hands(self) -> Hands:
        endpoint = PdEndpoint(urls=("http://pd-0:2379",), pd_cluster_id=PD_ID)
        return Hands(
            reader=PdReader(
                {CLUSTER: endpoint}, monotonic_s=self.now_s, wall_s=self.now_s, transport=lambda cluster: self.transport
            ),
            writer=lambda cluster, may_call: ClusterWriter(
                ("http://pd-0:2379",), may_call=may_call, transport=lambda: self.transport, monotonic_s=self.now_s
            ),
            window=lambda window_s: VirtualWindow(self.now_s, window_s),
            controls=self.controls,
            deliver=self.sink,
            keys={kid_of(self.key): public_of(self.key)},
            witness=self.witness,
        )

    def own_log(self, line: Processor, partition: int) -> MemoryOwnLog:
        return MemoryOwnLog(self.log, line.role, line.writes[0], partition, line.reads)

    async def _own(self, line: Processor, partition: int, hands: Hands) -> None:
        while True:
            made = rules(line, self.settings, hands)
            every_ms = int(self.settings.kafka.close_books_every_s * 1000)
            books = Books(line.role, line.writes[0], partition, self.log.partitions, made, every_ms)
            owner: Owner[Any] = Owner(
                books,
                self.own_log(line, partition),
                self.now_ms,
                self.controls,
                works=made if line.verb == "works" else None,  # type: ignore[arg-type]
                consults=line.consults,
                name=f"{line.role}-{partition}",
                witness=self.witness,
            )
            self.owners.setdefault(line.role, []).append(owner)
            try:
                await owner.run()
                return
            except Rebuild:
                continue

    def folded(self, role: str, partition: int = 0, *, whole: bool = False) -> Books[Any]:
        """What a process would know that takes over now: from the latest closing, or from the start."""
        line, partitions = processor(role), self.log.partitions
        books: Books[Any] = Books(role, line.writes[0], partition, partitions, rules(line, self.settings, self.hands()))
        raws = self.log.read(line.writes[0], partition, 0, 10**6)
        if not whole:
            closings = (books.begins(raw) for raw in reversed(raws))
            books.since = next((first for first in closings if first is not None), 0)
        for raw in raws:
            if raw.offset >= books.since:
                books.restore(raw)
        return books

    def books_differ(self, roles: Sequence[str] = OWNED) -> Iterator[str]:
        """Where who begins with the closed books would know anything else than who folds all."""
        for role in roles:
            for partition in range(self.log.partitions):
                short, whole = self.folded(role, partition), self.folded(role, partition, whole=True)
                for name in ("states", "links", "poisoned", "broken", "genesis", "now_ms"):
                    if getattr(short, name) != getattr(whole, name):
                        yield f"{role}-{partition}: {name} from {short.since} are not those from the start"
                for topic in processor(role).reads:  # housekeeping is no cause, and is in the books alone
                    if short.positions.get(topic, 0) < whole.positions.get(topic, 0):
                        yield f"{role}-{partition}: {topic} would be read again from {short.positions.get(topic, 0)}"

    async def _watched(self, work: Awaitable[None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failures.append(error)
            raise

    async def kill_after(self, role: str, kind: type[e.Event], nth: int = 1, *, late: bool = False) -> None:
        """As kill -9 in the very moment when this event is durable; `late`: its lane has gone on to its next commit,
        so that what it had to send has been sent, and the answer is lost."""
        while len(self.found(kind)) < nth:
            await self.log.changed()
        if not late:
            for owner in self.owners[role]:
                for lane in owner._lanes.values():
                    lane.cancel()
        await self.kill(role)

    async def kill(self, *roles: str) -> None:
        """As kill -9: nothing is said, nothing is finished."""
        for role in roles or tuple(self.tasks):
            tasks = self.tasks.pop(role, [])
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.owners.pop(role, None)

    # what people and monitors do

    def alert(self, name: str, *, status: str = "firing", cluster: str = CLUSTER, **labels: str) -> None:
        """An alert as a monitor writes it."""
        labels = {"alertname": name, "env": cluster, "level": "critical", **labels}
        starts = labels.pop("starts_at_ms", str(self.now_ms()))
        event = e.AlertReceived(
            cluster_id=cluster,
            name=name,
            status=status,
            starts_at_ms=int(starts),
            ends_at_ms=self.now_ms() if status == "resolved" else 0,
            labels=labels,
            annotations={"summary": name},
        )
        self.log.write("alerts", edge(event, "", self.now_ms()))

    def proposes(self, action: str, remediation_id: str = "R-1", /, *, attempt: int = 1, **params: Any) -> str:
        """A proposal as `propose` would write it, outside its chain; returns the remediation's id."""
        event = e.ActionProposed(
            cluster_id=CLUSTER,
            incident_id="INC-1",
            remediation_id=remediation_id,
            proposal_id=f"P-{remediation_id}-{attempt}",
            attempt=attempt,
            action=action,
            params=canonical_json(params),
            why="spec",
            cause="slow_store",
            confidence=0.9,
            disputed=False,
            evidence=(),
            by="playbook",
        )
        self.log.write("proposals", edge(event, f"p{self._next()}", self.now_ms()))
        return remediation_id

    async def asks(self, action: str, policy: Mapping[str, Any] = ACTING_POLICY, /, **params: Any) -> e.ApprovalAsked:
        """The acting roles run under this policy, this is proposed, and people are asked."""
        self.adopt(policy)
        self.start(*TRUST)
        await self.passes(1)
        asked = len(self.found(e.ApprovalAsked))
        self.proposes(action, **params)
        return await self.until(lambda: next(iter(self.found(e.ApprovalAsked)[asked:]), None), 60)

    def control(self, event: e.Event) -> None:
        self.log.append(
            "controls", event.cluster_id, frame(type(event), edge(event, f"c{self._next()}", self.now_ms()).body)
        )

    def adopt(self, policy: Mapping[str, Any] = ACTING_POLICY, version: int = 1) -> None:
        draft = Policy.model_validate(policy).model_dump(exclude={"version"})
        self.control(
            e.PolicyAdopted(
                cluster_id="*", by="anna", reason="spec", version=version, policy_json=canonical_json(draft)
            )
        )

    def freeze(self, cluster: str = CLUSTER) -> None:
        self.control(e.Frozen(cluster_id=cluster, by="anna", reason="spec"))

    def halt(self) -> None:
        self.control(e.Halted(cluster_id="*", by="anna", reason="spec"))

    def lift(self, cluster: str = CLUSTER) -> None:
        self.control(e.Lifted(cluster_id=cluster, by="anna", reason="spec"))

    def lift_input(self, place: str, scope: str = "*") -> None:
        self.control(e.Lifted(cluster_id=scope, by="anna", reason="spec", kind="input", input=place))

    def signed(self, ask: e.ApprovalAsked, person: str, decision: str = "approve", **changed: Any) -> SignedApproval:
        """A person's word as the console signs it; `changed` is for forgers."""
        claims: dict[str, Any] = {
            "environment": "test",
            "pd_cluster_id": ask.plan.pd_cluster_id,
            "remediation_id": ask.remediation_id,
            "digest": ask.digest if decision in ("approve", "deny") else "",
            "decision": decision,
            "person": person,
            "via": "cli",
            "iat": self.now_ms(),
            "exp": self.now_ms() + 600_000,
            "approval_id": f"A{self._next()}",
            "reason": "spec",
            **changed,
        }
        return SignedApproval(
            approval_id=claims["approval_id"],
            person=claims["person"],
            via=claims["via"],
            kid=kid_of(self.key),
            decided_at_ms=claims["iat"],
            expires_at_ms=claims["exp"],
            reason=claims["reason"],
            jws=sign(self.key, Claims(**claims)),
        )

    def approve(self, ask: e.ApprovalAsked, person: str = "anna", **changed: Any) -> None:
        self.says(
            e.Approved(
                cluster_id=ask.cluster_id,
                remediation_id=ask.remediation_id,
                digest=ask.digest,
                approval=self.signed(ask, person, **changed),
            )
        )

    def deny(self, ask: e.ApprovalAsked, person: str = "anna") -> None:
        approval = self.signed(ask, person, "deny")
        self.says(e.Denied(cluster_id=ask.cluster_id, remediation_id=ask.remediation_id, approval=approval))

    def orders(self, kind: type[e.CancelAsked | e.UndoAsked | e.DoneByHand], ask: e.ApprovalAsked) -> None:
        """Cancel, undo, or `I did it myself`."""
        decision = {"CancelAsked": "cancel", "UndoAsked": "undo", "DoneByHand": "by_hand"}[kind.__name__]
        approval = self.signed(ask, "anna", decision)
        self.says(kind(cluster_id=ask.cluster_id, remediation_id=ask.remediation_id, approval=approval))

    def resolve(self, ask: e.ApprovalAsked, outcome: Any) -> None:
        approval = self.signed(ask, "anna", f"resolve:{outcome}")
        self.says(
            e.OutcomeResolved(
                cluster_id=ask.cluster_id, remediation_id=ask.remediation_id, outcome=outcome, approval=approval
            )
        )

    def says(self, event: e.Event) -> None:
        self.log.write("approvals", edge(event, f"a{self._next()}", self.now_ms()))

    def _next(self) -> int:
        self._said += 1
        return self._said

    # what happened

    def found(self, kind: type[E], topic: str = "") -> list[E]:
        """All events of a kind, in append order."""
        return [r.event for r in self.log.all() if isinstance(r.event, kind) and (not topic or r.topic == topic)]

    def one(self, kind: type[E]) -> E | None:
        events = self.found(kind)
        return events[-1] if events else None

    def dead(self, role: str) -> list[e.DeadLetter]:
        """The dead letters of a role."""
        events = [decode(raw.value).event for raw in self.log.read(dead_letters(role), 0, 0)]
        return [event for event in events if isinstance(event, e.DeadLetter)]

    def writes(self) -> list[str]:
        """The cluster's own record of writes: the independent witness."""
        return [f"{c.method} {c.path} {c.status}" for c in self.pd.calls if c.method != "GET"]

    def applied(self) -> list[str]:
        """The writes that changed the cluster, whatever their caller was told."""
        return [f"{c.method} {c.path}" for c in self.pd.calls if c.method != "GET" and c.applied]

    async def closed(self, within_s: float = 900) -> e.RemediationClosed:
        return await self.until(lambda: self.one(e.RemediationClosed), within_s)

    async def concluded(self, within_s: float = 900) -> e.Concluded:
        return await self.until(lambda: self.one(e.Concluded), within_s)

    def history(self) -> History:
        """What checkers judge by: the log, and the cluster's own record. Of a topic that a spec has written in its
        owner's place, outside its chain, they don't ask for one."""
        forged = {r.topic for r in self.log.all() if r.head.seq == 0}
        return History(
            records=self.log.all(),
            calls={CLUSTER: self.pd.calls},
            left={CLUSTER: left_on(self.pd.schedulers, self.now_s())},
            others={},
            keys={kid_of(self.key): public_of(self.key)},
            environment="test",
            pd_ids={CLUSTER: PD_ID},
            roles=tuple(
                line.role for line in self.processors if line.role in self.tasks and line.writes[0] not in forged
            ),
            ended=False,
        )

    def raws(self) -> list[Raw]:
        """All that stands on our topics."""
        return [raw for held in self.log.records.values() for raw in held if raw.topic in BY_NAME]

    def replayed(
        self, incident: str = "", *, raws: Sequence[Raw] = (), settings: Settings | None = None, build: str = ""
    ) -> Report:
        """All that was decided, or all about an incident, decided again from the record by the rules of these hands.

        `raws`, `settings`: others than those that there are."""
        forged = {r.topic for r in self.log.all() if r.head.seq == 0}
        hands, settings = self.hands(), settings or self.settings

        def made(mode_max: str) -> dict[str, Any]:
            held = replace(hands, mode_max=mode_max) if mode_max != "on" else hands
            return {
                line.role: stage(line, settings, held) if line.verb == "maps" else rules(line, settings, held)
                for line in self.processors
            }

        return replay(
            raws or self.raws(),
            made,
            cluster_id=CLUSTER,
            partitions=self.log.partitions,
            incident=incident,
            build=build,
            roles=[li.role for li in self.processors if li.verb == "maps" or li.writes[0] not in forged],
        )

    def story(self, last: int = 1000) -> str:
        lines = [f"{r.at_ms / 1000 - START_S:8.1f} {r.topic:14} {type(r.event).__name__}" for r in self.log.all()]
        return "\n".join(lines[-last:])


class OtherHands(World):
    """A world whose hands a spec may change."""

    def hands(self) -> Hands:
        made = super().hands()
        return replace(made, **self.changed(made))

    def changed(self, made: Hands) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class SlowToSayItsId:
    """A PD that takes its time to say its id; `meanwhile` happens."""

    inner: Writer
    meanwhile: Callable[[], None]

    async def cluster_id(self) -> int:
        found = await self.inner.cluster_id()
        self.meanwhile()
        return found

    async def send(self, call: Call, *, caller_id: str, within_s: float) -> Reply:
        return await self.inner.send(call, caller_id=caller_id, within_s=within_s)


def live(
    spec: Callable[[World], Awaitable[None]],
    kind: type[World] = World,
    *,
    intruder: bool = False,
    off_record: bool = False,
    **world: Any,
) -> World:
    """Run one spec in a world of its own; what is left is judged by the ten invariants, and decided again from the
    record. Returns the world.

    `kind`: a world with other hands. `intruder`: the spec itself writes on ledgers, so the log is not judged.
    `off_record`: what was decided on is not what is on record in the end: the spec lays hands on an owner's memory, or
    takes from a ledger, or puts there, what its owner did not know of.
    """

    async def judged(world: World) -> None:
        await spec(world)
        assert intruder or judge(world.history()) == []
        assert off_record or (replayed := world.replayed()).ok, replayed.to_text()

    return run_world(judged, lambda: kind(**world))


def run_world(spec: Callable[[World], Awaitable[None]], make: Callable[[], World], start_s: float = START_S) -> World:
    """A loop on virtual time, a world in it, and its end."""
    made: list[World] = []

    async def run() -> None:
        made.append(make())
        try:
            await spec(made[0])
        finally:
            await made[0].kill()

    loop = JumpingLoop(start_s)
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(run())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return made[0]
