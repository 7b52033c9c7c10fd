"""The world of one history: production's roles in processes of their own, over a model of Kafka and a simulated PD.

What runs is production's own: the lines of the pipeline page, their owners and lanes, the protocols of their logs, of
their groups and of the controls, the execution protocol, the actions, the PD clients. Made up are the log, the cluster,
the time, the people, and what goes wrong.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bootstrap.roles import Hands
from executors.execute import Reply, Writer
from infra.runners.books import Raw
from infra.runners.owner import NotSafe
from schemas.facts import Facts, FactsReader, Look
from schemas.processors import Fenced, Record
from schemas.values import Call
from streams.pipeline import ACT, OBSERVE, TOPICS, Processor
from tests.simulation.audit import Auditor, ModelTable, ModelWitness, Where
from tests.simulation.brokers import Brokers, ModelledLog
from tests.simulation.chance import Chance
from tests.simulation.invariants import History, MeantStop, left_on, put_there_by
from tests.simulation.processes import Process, ProcessWindow, of_processes
from tests.spec.world import ACTING_POLICY, CLUSTER, START_S, E, World

PLOTS = ("slow_store", "tombstones_left", "hot_region")  # what there is to mend: MEDIUM, HIGH, LOW
LINES = (*OBSERVE, *ACT)
ROLES = tuple(line.role for line in LINES)
AS_UP: dict[str, tuple[Processor, ...]] = {  # as `steward up` starts them (bootstrap/commands.py)
    "observe": OBSERVE,
    "act": tuple(line for line in ACT if line.role != "execute"),
    "execute": tuple(line for line in ACT if line.role == "execute"),
}
AS_RUN = {line.role: (line,) for line in LINES}  # each by `steward run`
NEXT_MONTH_S = 1_801_440_000.0  # begins then
AGAIN_S = 1.0  # a process that has ended by itself is started again
STARTS_MAX = 500  # of one instance: more is a loop, not a recovery

Instance = tuple[str, int]  # which roles, and which of the processes that carry them


@dataclass(frozen=True)
class Distant:
    """PD is some way off: time passes before it has the request, and before the caller has the answer. The host that
    asks has a clock of its own, which is `ahead_ms` before ours."""

    inner: Writer
    reader: FactsReader
    process: Process
    ahead_ms: int

    async def cluster_id(self) -> int:
        await self._passes(0.3)
        return await self.inner.cluster_id()

    async def send(self, call: Call, *, caller_id: str, within_s: float) -> Reply:
        await self._passes(0.5)
        reply = await self.inner.send(call, caller_id=caller_id, within_s=within_s)
        await self._passes(0.5)
        return reply

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        await self._passes(0.4)
        facts = await self.reader.facts(cluster_id, look)
        return facts.model_copy(update={"taken_at_ms": facts.taken_at_ms + self.ahead_ms})

    async def _passes(self, most_s: float) -> None:
        await asyncio.sleep(self.process.chance.between(0.001, most_s))
        await self.process.is_running()


class Simulated(World):
    """A world that a seed decides."""

    log: ModelledLog

    def __init__(self, seed: int) -> None:
        self.seed, chance = seed, Chance(f"{seed}/world")
        self.plots = chance.some_of(PLOTS) or PLOTS[:1]
        living = 6 if "hot_region" in self.plots else 4
        self.gone = (living + 1, living + 2) if "tombstones_left" in self.plots else ()  # in time, for good
        stores = living + len(self.gone)
        super().__init__(
            stores=stores,
            regions=3 * stores,
            partitions=1 + chance.happens(0.3),
            poll_s=chance.one_of((5.0, 10.0, 20.0)),
            close_books_every_s=Chance(f"{seed}/books").one_of((240, 1000, 5000)),
            hold_s=Chance(f"{seed}/hold").one_of((0, 0, 60)),
            seed=int(chance.share() * 1e9),
        )
        self.loop.set_task_factory(of_processes)
        self.brokers = Brokers(self.log.partitions, self.now_ms)
        self.log = ModelledLog(self.brokers)
        self.key = key_of(seed)
        self.hours = hours_of(seed)
        self.policy = ACTING_POLICY if self.hours is None else {**ACTING_POLICY, "windows": {"some": self.hours.window}}
        if is_audited(seed):  # what is HIGH may have to wait for it
            within_s = Chance(f"{seed}/on-record").one_of((0, 60, 600))
            self.policy = {**self.policy, "limits": {**ACTING_POLICY["limits"], "audit_within_s": within_s}}
        self.meant: list[MeantStop] = []
        self.led_since_ms: list[float] = []
        self.unheard_ms: list[tuple[int, int]] = []
        self.groups = AS_RUN if chance.happens(0.2) else AS_UP
        self.copies = 1 + chance.happens(0.4)  # of each: then partitions move
        self.points = chance.one_of((0.1, 0.3, 1.0))  # the share of calls before which others may come
        self.ahead_ms = {
            n: int(chance.between(-29, 4) * 1000) if chance.happens(0.15) else 0 for n in self._numbers()
        }  # of the hosts' clocks
        self.instances: dict[Instance, Process] = {}
        self.processes: list[Process] = []  # of whom something still runs
        self.starts: Counter[Instance] = Counter()
        self.ends: Counter[str] = Counter()  # why processes have ended
        self.away: set[Instance] = set()  # nobody starts them just now
        self.is_over = False
        self.table = ModelTable(Chance(f"{seed}/table"), self.loop.call_later) if is_audited(seed) else None
        self.auditor: Auditor | None = None
        self.is_end_of_month = starts_s(seed) != START_S
        self.audits = 0
        self._falling: asyncio.Future[None] | None = None
        self._markers = Chance(f"{seed}/markers")
        self.markers_take(30)

    def _numbers(self) -> range:
        return range(1, self.copies + 1)

    # processes

    def all_instances(self) -> tuple[Instance, ...]:
        return tuple((group, number) for group in self.groups for number in self._numbers())

    def instances_with(self, role: str) -> tuple[Instance, ...]:
        """All that carry it."""
        return tuple(i for i in self.all_instances() if any(line.role == role for line in self.groups[i[0]]))

    def start(self, *roles: str) -> None:
        for instance in self.all_instances():
            self.start_instance(instance)
        self.audit()

    def start_instance(self, instance: Instance) -> None:
        """Where it does not live, and may."""
        if self.is_over or instance in self.instances or instance in self.away:
            return
        self.starts[instance] += 1
        group, number = instance
        assert self.starts[instance] <= STARTS_MAX, f"{group} is started for ever: {self.ends}"
        self.processes = [process for process in self.processes if not process.is_buried]
        process = self.instances[instance] = Process(
            f"{group}-{number}",
            self.groups[group],
            self.settings,
            self.brokers,
            Chance(f"{self.seed}/{group}-{number}/{self.starts[instance]}"),
            self.points,
            lambda process: self._hands_of(process, self.ahead_ms[number]),
            lambda process, error: self._ended(instance, process, error),
        )
        self.processes.append(process)

    def audit(self) -> None:
        """If this history is audited at all, and nobody does."""
        if self.table is not None and self.auditor is None and not self.is_over:
            self.audits += 1
            chance = Chance(f"{self.seed}/audit/{self.audits}")
            self.auditor = Auditor(self.brokers, self.table, chance, self._audit_fell)

    def _audit_fell(self) -> None:
        self._falling = asyncio.ensure_future(self.kill_audit())
        self.loop.call_later(AGAIN_S, self.audit)

    async def kill_audit(self) -> None:
        if self.auditor is not None:
            auditor, self.auditor = self.auditor, None
            await auditor.die()

    async def kill(self, *roles: str) -> None:
        self.is_over = True
        await self.kill_audit()
        for process in self.processes:
            await process.buried()

    def kill_instance(self, instance: Instance) -> None:
        if process := self.instances.pop(instance, None):
            process.die()

    def _ended(self, instance: Instance, process: Process, error: BaseException | None) -> None:
        """By itself: fenced, told to go, or killed by its kernel. Its supervisor starts it again."""
        if error is not None and not isinstance(error, (Fenced, NotSafe)):
            self.failures.append(error)
        self.ends[type(error).__name__ if error else "ended"] += 1
        if self.instances.get(instance) is process:
            del self.instances[instance]
            self.loop.call_later(AGAIN_S, self.start_instance, instance)

    def _hands_of(self, process: Process, ahead_ms: int) -> Hands:
        made = self.hands()
        return replace(
            made,
            controls=process.controls,
            reader=Distant(None, made.reader, process, ahead_ms),  # type: ignore[arg-type]  # none is needed to read
            writer=lambda cluster, may: Distant(made.writer(cluster, may), made.reader, process, ahead_ms),
            window=lambda window_s: ProcessWindow(process, window_s),
            witness=ModelWitness(self.table, process.chance) if self.table else None,
        )

    # the log and PD

    def brokers_are_back(self) -> None:
        self.brokers.come_back()
        self.log.caught_up()

    def markers_take(self, most_ms: float) -> None:
        self.brokers.cluster.markers_take(lambda *_: int(self._markers.between(0, most_ms)))

    @contextlib.contextmanager
    def nobody_hears(self) -> Iterator[None]:
        """Nobody can read the controls to their end."""
        began_ms = self.now_ms()
        self.brokers.unreachable.add("controls")
        try:
            yield
        finally:
            self.brokers.unreachable.discard("controls")
            self.unheard_ms.append((began_ms, self.now_ms()))

    def leads_anew(self, *, restarted: bool) -> None:
        """Another PD leads, or the same one again, and knows only what was persisted."""
        (self.pd.restart_pd if restarted else self.pd.change_pd_leader)(self.now_s())
        self.led_since_ms.append(self.now_s() * 1000)

    def cut_heads(self) -> None:
        """Retention, of what nobody needs any more: it stands before the closed books, all who read it have answered
        it, and the audit has it."""
        audited = None if self.table is None else self.table.held()
        partitions = range(self.log.partitions)
        books = {(line.role, n): self.folded(line.role, n) for line in LINES if line.verb != "maps" for n in partitions}
        for place in ((topic.name, n) for topic in TOPICS if topic.partitions != 1 for n in partitions):
            topic, number = place
            needed = [self.brokers.cluster.partition(place).stable]
            for line in LINES:
                if line.verb == "maps" and topic in line.reads:
                    needed.append((self.brokers.cluster.group(line.role).offsets.get(place) or (0,))[0])
                elif line.verb != "maps":
                    known = books[line.role, number]
                    needed += [known.positions.get(topic, 0)] if topic in line.reads else []
                    needed += [known.since] if topic in line.writes else []
            if audited is not None:
                needed.append(audited.get(place, 0))
            if min(needed) > self.brokers.cluster.partition(place).start:
                self.log.cut_head(place, min(needed))

    # what is left

    def found(self, kind: type[E], topic: str = "") -> list[E]:
        return super().found(kind, topic) if topic else list(self.log.of_kind(kind))  # type: ignore[arg-type]

    def raws(self) -> list[Raw]:
        """With what retention has cut off: the audit would have it."""
        places = ((t.name, n) for t in TOPICS for n in range(t.partitions or self.log.partitions))
        return [raw for place in places for raw in self.log.read(*place, 0, 10**6)]

    def history(self) -> History:
        there = left_on(self.pd.schedulers, self.now_s())
        by = put_there_by(self.pd.calls)
        others = [x for x in there if x.startswith("evict") and not by.get(x, "").startswith("steward/")]
        return replace(
            super().history(),
            records=self.log.as_it_was(),
            decided_ms=self.brokers.decided_ms,
            skew_ms=self.brokers.skew_ms,
            others={CLUSTER: others},
            left={CLUSTER: there},
            meant=tuple(self.meant),
            led_since_ms={CLUSTER: tuple(self.led_since_ms)},
            ended=True,
            roles=ROLES,
            usurped=self.brokers.usurped,
            unheard_ms=tuple(self.unheard_ms),
            audited=self._audited(),
        )

    def _audited(self) -> list[Where] | None:
        """What the audit has of events; it keeps dead letters too, and what nobody can read."""
        if self.table is None:
            return None
        cut = {(*place, raw.offset) for place, raws in self.log.cut.items() for raw in raws}
        others = (cut | {r[:3] for r in self.brokers.cluster.records()}) - {_place(r) for r in self.log.all()}
        return [row for row in self.table.rows if row not in others]

    def mark(self) -> str:
        """Over all that is on the log and in the cluster's record: two runs of a seed agree."""
        digest = hashlib.sha256(self.brokers.cluster.dump())
        for call in self.pd.calls:
            digest.update(f"{call.at} {call.method} {call.path} {call.status} {call.caller_id}".encode())
        return digest.hexdigest()[:16]


def _place(record: Record) -> Where:
    return record.topic, record.partition, record.offset


def is_audited(seed: int) -> bool:
    return Chance(f"{seed}/audited").happens(0.25)


def starts_s(seed: int) -> float:
    """At any time of a month; where it is audited, mostly when one ends and another begins."""
    chance = Chance(f"{seed}/begins")
    return NEXT_MONTH_S - chance.between(20, 150) if is_audited(seed) and chance.happens(0.8) else START_S


@dataclass(frozen=True)
class Hours:
    """In which the policy lets nothing start. Windows know of whole minutes."""

    begins_s: float
    ends_s: float
    kind: str  # quiet: these; maintenance: all others are the window

    @property
    def window(self) -> dict[str, str]:
        begins, ends = (f"{datetime.fromtimestamp(at_s, UTC):%H:%M}" for at_s in (self.begins_s, self.ends_s))
        start, end = (begins, ends) if self.kind == "quiet" else (ends, begins)
        return {"kind": self.kind, "start": start, "end": end}


def hours_of(seed: int) -> Hours | None:
    """Of some histories: they begin or end while there is something to start."""
    chance = Chance(f"{seed}/hours")
    if not chance.happens(0.15):
        return None
    first = starts_s(seed) // 60 + int(chance.between(-1, 5))
    return Hours(60 * first, 60 * (first + int(chance.between(2, 15))), chance.one_of(("quiet", "maintenance")))


def key_of(seed: int) -> dict[str, str]:
    """A console's key that is the same in each run of a seed."""
    secret = hashlib.sha256(f"simulated key {seed}".encode()).digest()
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x, d = (base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in (public, secret))
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "d": d, "kid": f"simulated-{seed}"}


def is_simulated(world: World) -> Simulated:
    assert isinstance(world, Simulated)
    return world
