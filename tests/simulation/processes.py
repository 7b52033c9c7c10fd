"""A process of Steward over the modelled log: the roles that production runs together, and what can befall it.

Carried are production's own parts: the owners of its partitions, their logs and the controls. A maps stage is carried
at least once: its offsets are committed late, and after a crash or a rebalance it repeats what came after them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from bootstrap.roles import WITNESSED, Hands, rules, stage
from executors.execute import WindowPassed
from infra.runners.maps import Mapped
from infra.runners.own_log import LiveControls, PartitionLog
from infra.runners.owners import REVOKE_WAIT_S, Around, PartitionOwners
from infra.settings import Settings
from schemas.chain import Stamped
from schemas.events import GenesisMarked
from schemas.wire import frame
from streams.pipeline import Processor, dead_letters
from tests.simulation import errors
from tests.simulation.brokers import Brokers, ModelClients, place_of, raw_of
from tests.simulation.chance import Chance
from tests.simulation.clients import End
from tests.simulation.members import Assigned, Lost, Member, Revoked, Word

T = TypeVar("T")
SESSION_MS = 10_000
COMMIT_EVERY_S = 1.0


OF: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def of_processes(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    """A task factory: each task knows which process it belongs to, and dies with it."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **more)
    process = OF.get()
    if process is not None:
        process.took(task)
    return task


class Noted(PartitionLog):
    """When something was decided is noted: its head says so by its owner's clock."""

    async def commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped], positions: Mapping[str, int]) -> int:
        assert isinstance(self.clients, ModelClients)
        brokers = self.clients.process.brokers
        for made in stamped:
            brokers.decided_ms[made.head.event_id, made.head.at_ms] = brokers.now_ms()
        return await super().commit(stamped, dead, positions)


class Process:
    """Lives from its making until `die`. `points`: the share of its calls before which others come."""

    def __init__(
        self,
        name: str,
        lines: Sequence[Processor],
        settings: Settings,
        brokers: Brokers,
        chance: Chance,
        points: float,
        hands: Callable[[Process], Hands],
        ended: Callable[[Process, BaseException | None], None],
    ) -> None:
        self.name, self.lines, self.brokers, self.chance = name, lines, brokers, chance
        self._began_ms = int(brokers.now_ms() - chance.between(0, 1e9))  # its host, long before
        self._points = points
        self.link = brokers.cluster.link()
        self.is_dead = False
        self.owners: dict[str, PartitionOwners] = {}
        self.members: dict[str, Member] = {}
        self._settings, self._hands, self._told = settings, hands, ended
        self._tasks: list[asyncio.Task[Any]] = []  # and some that are done
        self._tasks_swept = 0  # how many were left the last time that those were thrown away
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._armed: asyncio.TimerHandle | None = None
        self._alarmed = False
        self._ambush: tuple[int, bool] | None = None  # calls until it dies, and whether the last of them is done
        self._stops_for: tuple[int, float] | None = None  # calls until it is stopped, and for how long
        self._leaving = asyncio.Event()
        around = contextvars.copy_context()
        around.run(OF.set, self)
        around.run(self._start)

    # its life

    def _start(self) -> None:
        self.controls = LiveControls(ModelClients(self))
        asyncio.ensure_future(self._run())  # noqa: RUF006  # kept by `took`

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            await self.controls.read()
            hands = self._hands(self)
            roles = [asyncio.ensure_future(self._role(line, hands)) for line in self.lines]
            done, _ = await asyncio.wait(roles, return_when=asyncio.FIRST_EXCEPTION)
            for role in done:
                role.result()
        except asyncio.CancelledError:
            if self.is_dead:
                return
            raise
        except Exception as failure:
            error = failure
        self.die()
        self._told(self, error)

    async def _role(self, line: Processor, hands: Hands) -> None:
        if line.verb == "maps":
            await Carried(self, line, stage(line, self._settings, hands).handle).run()
            return
        made = rules(line, self._settings, hands)
        around = Around(
            lambda partition, metadata: Noted(
                ModelClients(self), line.role, line.writes[0], partition, line.reads, metadata
            ),
            lambda partition: GenesisMarked(
                cluster_id=f"~{partition}",
                topic_id=line.writes[0],
                partitions=self.brokers.count,
                transactional_id=f"{line.role}-{partition}",
                durable=True,
            ),
            self.controls,
            self.own_ms,
            self.brokers.count,
            self.name,
            "simulated",
            closes_every_ms=int(self._settings.kafka.close_books_every_s * 1000),
            witness=hands.witness if line.role in WITNESSED else None,
        )
        owners = self.owners[line.role] = PartitionOwners(line, made, around)
        member = self.members[line.role] = self.member(line)
        belongs = asyncio.ensure_future(self._belong(member, owners))
        try:
            await owners.end()
        finally:
            belongs.cancel()
        await self.point()
        member.close(self.brokers.now_ms())
        self.brokers.advance()

    async def _belong(self, member: Member, owners: PartitionOwners) -> None:
        """As infra/runners/roles.py does on its thread."""
        while True:
            match await self.word(member):
                case Assigned(places):
                    owners.assigned([number for _, number in places])
                    if places:
                        owners.polled(member.metadata())
                case Revoked(places):
                    revoked = [number for _, number in places]
                    await asyncio.wait([asyncio.ensure_future(owners.revoked(revoked))], timeout=REVOKE_WAIT_S + 3)
                    await self.point()
                    member.gave_up(self.brokers.now_ms())
                case Lost(places):
                    owners.lost([number for _, number in places])

    def member(self, line: Processor) -> Member:
        return self.brokers.cluster.member(self.link, line.role, [line.reads[0]], session_ms=SESSION_MS)

    async def word(self, member: Member, others: Sequence[object] = (), within_s: float | None = None) -> Word | None:
        """The group's next word; None where something else has come, or the time is over."""
        while True:
            await self.point()
            found = member.poll(self.brokers.now_ms())
            self.brokers.advance()
            if found is not None:
                return found
            wait_s = within_s if self.link.is_up and not member.is_out else 1.0
            await self.brokers.change((member._group, *others), wait_s)
            if others or within_s is not None:
                await self.point()
                found = member.poll(self.brokers.now_ms())
                self.brokers.advance()
                return found

    def own_ms(self) -> int:
        return self.brokers.now_ms() - self._began_ms

    def took(self, task: asyncio.Task[Any]) -> None:
        if self.is_dead:
            task.cancel()
        self._tasks.append(task)
        if len(self._tasks) > 2 * self._tasks_swept + 50:  # a call back from each of them would cost more
            self._tasks = self._alive()
            self._tasks_swept = len(self._tasks)

    def _alive(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._tasks if not task.done()]

    def die(self) -> None:
        """As kill -9: nothing is said, nothing is finished."""
        if self.is_dead:
            return
        self.is_dead = True
        self.link.cut(self.brokers.now_ms())
        self.disarmed()
        self._goes_on.set()
        for task in self._alive():
            task.cancel()
        self.brokers.advance()
        self.brokers.wake_all()

    @property
    def is_buried(self) -> bool:
        return self.is_dead and not self._alive()

    async def buried(self) -> None:
        """Nothing of it waits for anything any more."""
        self.die()
        while alive := self._alive():
            for task in alive:
                task.cancel()
            await asyncio.sleep(0)

    def holds(self, transactional_id: str) -> bool:
        """Has the group given it the partition of that id, and has it not given it up or lost it since?"""
        role, partition = transactional_id.split("-")[:2]
        return int(partition) in [number for _, number in self.members[role].holds]

    def belongs(self, transactional_id: str) -> bool:
        """Do the brokers know it as a member of that id's group?"""
        member = self.members[transactional_id.split("-")[0]]
        return member._id in member._group.members

    async def term(self) -> None:
        """As SIGTERM: what is open is parked, the groups are left."""
        self._leaving.set()
        self.brokers.wake_all()
        await asyncio.gather(*(owners.stop() for owners in self.owners.values()))

    @property
    def is_leaving(self) -> bool:
        return self._leaving.is_set()

    # what it asks of the world

    async def point(self) -> None:
        """Others may come, or time may pass, during which anything may happen to it."""
        if self._ambush is not None:
            self._ambush = (self._ambush[0] - 1, self._ambush[1])
        if self._stops_for is not None:
            self._stops_for = (self._stops_for[0] - 1, self._stops_for[1])
        if self.chance.happens(self._points):
            slow = self.chance.happens(0.03)
            await asyncio.sleep(self.chance.between(0.05, 1.0) if slow else self.chance.between(0.0005, 0.006))
        await self.is_running()

    async def is_running(self) -> None:
        """Returns while it runs: a stopped process does nothing, a dead one nothing ever."""
        while not self._goes_on.is_set():
            await self._goes_on.wait()
        if self.is_dead:
            raise asyncio.CancelledError

    async def ask(self, call: Callable[[int], T], within_s: float) -> T:
        """As a client of Kafka's asks: again while it is told to, or has no answer, until its time is over."""
        ends_s = asyncio.get_running_loop().time() + within_s
        while True:
            await self.point()
            self._killed_here(done=False)
            if self._stops_for is not None and self._stops_for[0] <= 0:
                await self._stopped_here(self._stops_for[1])
            left_s = ends_s - asyncio.get_running_loop().time()
            try:
                found = call(self.brokers.now_ms())
            except errors.NotYet as later:
                if left_s <= 0:
                    raise errors.TimedOut(str(later)) from later
                await asyncio.sleep(0.02)
            except errors.TimedOut:
                if left_s <= 0:
                    raise
                await self.brokers.change((), left_s if not self.link.is_up else 0.1)
            else:
                self._killed_here(done=True)
                if self.chance.happens(0.2):
                    await self.point()
                return found
            finally:
                self.brokers.advance()

    async def _stopped_here(self, for_s: float) -> None:
        self._stops_for = None
        self.stop()
        asyncio.get_running_loop().call_later(for_s, self.go_on)
        await self.is_running()

    def _killed_here(self, done: bool) -> None:
        if self._ambush is not None and self._ambush[0] <= 0 and self._ambush[1] == done:
            self.die()
            self._told(self, None)
            raise asyncio.CancelledError

    # what befalls it

    def dies_at_a_call(self, after: int, done: bool) -> None:
        """So many calls from now it is killed, just before the brokers have it or just after."""
        self._ambush = (after, done)

    def stops_at_a_call(self, after: int, for_s: float) -> None:
        """So many calls from now it is stopped, before the brokers have what it asks for."""
        self._stops_for = (after, for_s)

    def is_spared(self) -> None:
        """What was to befall it at a call does not."""
        self._ambush = self._stops_for = None

    def stop(self) -> None:
        """As SIGSTOP."""
        self._goes_on.clear()
        self.link.stall(self.brokers.now_ms()) if self.chance.happens(0.5) else self.link.cut(self.brokers.now_ms())
        self.brokers.wake_all()

    def go_on(self) -> None:
        """As SIGCONT. An alarm that has come meanwhile is the first that it hears of."""
        if self.is_dead:
            return
        self.mend()
        if self._alarmed:
            self.die()
            self._told(self, None)
            return
        self._goes_on.set()

    def cut_off(self) -> None:
        self.link.stall(self.brokers.now_ms()) if self.chance.happens(0.5) else self.link.cut(self.brokers.now_ms())
        self.brokers.wake_all()

    def mend(self) -> None:
        if self.is_dead:
            return
        if self.chance.happens(0.5):
            self.link.arrive(self.brokers.now_ms())
        self.link.mend(self.brokers.now_ms())
        self.brokers.advance()
        self.brokers.wake_all()

    # the kernel's deadline of a step

    def armed(self, at_s: float) -> None:
        self._armed = asyncio.get_running_loop().call_at(at_s, self._alarm)

    def disarmed(self) -> None:
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None
        self._alarmed = False

    def _alarm(self) -> None:
        if self._goes_on.is_set():
            self.die()
            self._told(self, None)
        else:
            self._alarmed = True


class ProcessWindow:
    """executors.execute.Window of a process that the kernel kills at its end, also where it was stopped meanwhile."""

    def __init__(self, process: Process, window_s: float) -> None:
        self._process, self._ends_s = process, asyncio.get_running_loop().time() + window_s

    def left_s(self) -> float:
        return self._ends_s - asyncio.get_running_loop().time()

    def arm(self) -> None:
        if self.left_s() <= 0:
            raise WindowPassed
        self._process.armed(self._ends_s)

    def disarm(self) -> None:
        self._process.disarmed()


class Carried:
    """A maps stage in one process."""

    def __init__(self, process: Process, line: Processor, handle: Callable[[Any], Awaitable[Mapped]]) -> None:
        self._process, self._line, self._handle = process, line, handle
        cluster = process.brokers.cluster
        self._member = process.member(line)
        self._reader = cluster.reader(process.link, reset="earliest")
        self._publisher = cluster.plain_producer(process.link)
        self._answered: dict[tuple[str, int], int] = {}
        self._uncommitted_since_s = 0.0

    async def run(self) -> None:
        process, brokers = self._process, self._process.brokers
        while not process.is_leaving:
            watched = [brokers.cluster.partition(place) for place in self._reader.positions]
            match await process.word(self._member, watched, COMMIT_EVERY_S if self._answered else None):
                case Assigned(places):
                    await self._begin(places)
                case Revoked():
                    await self._commit()
                    self._reader.assign({})
                    self._member.gave_up(brokers.now_ms())
                case Lost():
                    self._answered = {}
                    self._reader.assign({})
            for record in self._reader.poll(10, brokers.now_ms()):
                if not isinstance(record, End) and not process.is_leaving:
                    await self._answer(record)
            if self._answered and asyncio.get_running_loop().time() - self._uncommitted_since_s > COMMIT_EVERY_S:
                await self._commit()
        await self._commit()
        self._member.close(brokers.now_ms())
        brokers.advance()

    async def _begin(self, places: Sequence[tuple[str, int]]) -> None:
        found: Mapping[tuple[str, int], int | None] | None = None
        while found is None:
            with contextlib.suppress(errors.TimedOut):
                found = await self._process.ask(
                    lambda now_ms: self._reader.committed(self._line.role, places, now_ms), 30
                )
        self._reader.assign({place: offset or 0 for place, offset in found.items()})

    async def _answer(self, record: Any) -> None:
        mapped = await self._handle(raw_of(record))
        await self._process.is_running()
        for topic, batch in ((self._line.writes[0], mapped.events), (dead_letters(self._line.role), mapped.dead)):
            for made in batch:
                await self._publish(topic, made)
        if not self._answered:
            self._uncommitted_since_s = asyncio.get_running_loop().time()
        self._answered[record.topic, record.partition] = record.offset + 1

    async def _publish(self, topic: str, made: Stamped) -> None:
        """Until it is acknowledged."""
        key, value = made.event.cluster_id, frame(type(made.event), made.body)
        place = place_of(topic, key, self._process.brokers.count)
        while True:
            with contextlib.suppress(errors.TimedOut):
                await self._process.ask(lambda now_ms: self._publisher.publish(place, key.encode(), value, now_ms), 30)
                return

    async def _commit(self) -> None:
        sent, self._answered = self._answered, {}
        if sent:
            with contextlib.suppress(errors.TimedOut, errors.Abortable):
                await self._process.ask(lambda now_ms: self._reader.commit(self._member.metadata(), sent, now_ms), 5)
