"""Tickets -> people: what is said, how loudly, and whether it arrived.

Works: reads tickets, consults the policy in force, writes notifications. A ticket has many versions; people hear of it
when its status or its loudness changes, and of what changes again within seconds once. At least once: what was started
and not answered is sent again after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from schemas.controls import Controls
from schemas.events import Delivered, Event, NotDelivered, NotificationStarted, TicketWritten
from schemas.policy import NotifyPolicy
from schemas.processors import Lane, Record, Tick
from schemas.text import page, plain
from schemas.values import Head

LOG = "log"
ALL = "all"
TIERS = ("routine", "notable", "critical")  # rising
HEARD_KEPT_MAX = 500


class NotDeliveredError(Exception):
    """The sink did not take it, or nobody knows whether it did. `reason` is for people and holds no secret."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


class Deliver(Protocol):
    """The way to the sinks; bounded in time. See infra/sinks.py."""

    async def deliver(self, sink: str, title: str, body: str) -> None:
        """Returns when the sink has taken it. Raises NotDeliveredError for everything else."""
        ...


@dataclass(frozen=True)
class NotifySettings:
    sinks: tuple[str, ...] = ()  # as configured, beside `log`
    attempts: int = 3
    wait_s: float = 5  # before the second attempt; doubled before each further one
    fold_s: float = 3  # so long a notification waits for a newer one that takes its place


@dataclass(frozen=True)
class Heard:
    """What was last said of one incident."""

    version: int
    tier: str
    status: str


@dataclass(frozen=True)
class Outbox:
    """One cluster. `open`: started and not answered yet, the oldest first."""

    cluster_id: str
    heard: Mapping[str, Heard] = field(default_factory=dict)  # by incident
    open: tuple[NotificationStarted, ...] = ()


@dataclass(frozen=True)
class Notify:
    port: Deliver
    settings: NotifySettings = NotifySettings()

    def initial(self, cluster_id: str) -> Outbox:
        return Outbox(cluster_id)

    def decide(self, state: Outbox, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[Event]:
        if isinstance(given, Tick) or not isinstance(given.event, TicketWritten):
            return ()
        ticket = given.event
        heard = state.heard.get(ticket.incident_id)
        if heard and (ticket.version <= heard.version or (ticket.status, ticket.tier) == (heard.status, heard.tier)):
            return ()
        return (
            NotificationStarted(
                cluster_id=ticket.cluster_id,
                incident_id=ticket.incident_id,
                version=ticket.version,
                tier=ticket.tier,
                headline=ticket.headline,
                status=ticket.status,
                body=page(ticket),
            ),
        )

    def evolve(self, state: Outbox, event: Event, head: Head) -> Outbox:
        match event:
            case NotificationStarted():
                others = {k: h for k, h in state.heard.items() if k != event.incident_id}
                heard = {**others, event.incident_id: Heard(event.version, event.tier, event.status)}
                return replace(state, heard=_kept(heard), open=(*state.open, event))
            case Delivered() | NotDelivered():
                this = (event.incident_id, event.version)
                return replace(state, open=tuple(n for n in state.open if (n.incident_id, n.version) != this))
        return state

    def wakes_at(self, state: Outbox) -> int | None:
        return None

    def owed(self, state: Outbox) -> bool:
        return bool(state.open)

    async def work(self, lane: Lane[Outbox], resumed: bool) -> None:
        """Send the oldest that is open. What something as loud has overtaken is not sent any more."""
        started = lane.state.open[0]
        if not resumed:
            await self._wait_for_newer(lane, started)
        if lane.leaving:
            return
        policy = lane.controls().policy.notify
        wanted = route(policy, started.tier, self.settings.sinks)
        if overtaken := superseded(lane.state, started, wanted):
            await lane.commit(overtaken)
            return
        taken, failed = await self._send(lane, started, wanted)
        answers: list[Event] = []
        if taken:
            answers.append(
                Delivered(
                    cluster_id=started.cluster_id, incident_id=started.incident_id, version=started.version, sinks=taken
                )
            )
        for sink, error in failed.items():
            answers.append(_not_delivered(started, (sink,), error.code, error.reason))
        await lane.commit(*answers)

    async def _wait_for_newer(self, lane: Lane[Outbox], started: NotificationStarted) -> None:
        """What is written within seconds is one notification: the last of it."""
        until_ms = lane.now_ms() + int(self.settings.fold_s * 1000)
        while lane.now_ms() < until_ms and not lane.leaving and not _overtaken(lane.state, started):
            await lane.sleep_until(until_ms)

    async def _send(
        self, lane: Lane[Outbox], started: NotificationStarted, wanted: tuple[str, ...]
    ) -> tuple[tuple[str, ...], dict[str, NotDeliveredError]]:
        """Every sink that is wanted, again where it fails; what nobody took stands in the log at least."""
        title = f"{plain(started.headline)} {started.status}"
        taken: list[str] = []
        failed: dict[str, NotDeliveredError] = {}
        left = list(wanted)
        for attempt in range(self.settings.attempts):
            if attempt:
                await _rest(lane, self.settings.wait_s * 2 ** (attempt - 1))
            for sink in list(left):
                try:
                    await self._deliver(sink, title, started.body)
                except NotDeliveredError as error:
                    failed[sink] = error
                    if error.code == "unknown_sink":
                        left.remove(sink)
                else:
                    failed.pop(sink, None)
                    left.remove(sink)
                    taken.append(sink)
            if not left:
                break
        if not taken and LOG not in wanted:
            try:
                await self.port.deliver(LOG, title, started.body)
                taken.append(LOG)
            except NotDeliveredError as error:
                failed[LOG] = error
        return tuple(taken), failed

    async def _deliver(self, sink: str, title: str, body: str) -> None:
        if sink != LOG and sink not in self.settings.sinks:
            raise NotDeliveredError("unknown_sink", f"the policy names {sink!r}, which is not configured")
        await self.port.deliver(sink, title, body)


def route(policy: NotifyPolicy, tier: str, sinks: Sequence[str]) -> tuple[str, ...]:
    """Where a notification of this loudness goes. A tier that nobody knows goes everywhere."""
    named = str(getattr(policy, tier)) if tier in TIERS else ALL
    return (LOG, *sinks) if named == ALL else (named,)


def superseded(state: Outbox, started: NotificationStarted, wanted: tuple[str, ...]) -> NotDelivered | None:
    """What is said of a notification that need not be sent any more; None: it has to be."""
    newer = _overtaken(state, started)
    if newer is None:
        return None
    return _not_delivered(started, wanted, "superseded", f"version {newer.version} says `{newer.status}`")


def _overtaken(state: Outbox, started: NotificationStarted) -> NotificationStarted | None:
    """A newer notification of the same incident that is at least as loud and not sent yet either."""
    return next(
        (
            n
            for n in state.open
            if n.incident_id == started.incident_id and n.version > started.version and _loud(n) >= _loud(started)
        ),
        None,
    )


def _loud(started: NotificationStarted) -> int:
    return TIERS.index(started.tier) if started.tier in TIERS else len(TIERS)


def _not_delivered(started: NotificationStarted, sinks: tuple[str, ...], code: str, reason: str) -> NotDelivered:
    return NotDelivered(
        cluster_id=started.cluster_id,
        incident_id=started.incident_id,
        version=started.version,
        sinks=sinks,
        code=code,
        reason=plain(reason),
    )


async def _rest(lane: Lane[Outbox], seconds: float) -> None:
    """So long, whatever stirs meanwhile."""
    until_ms = lane.now_ms() + int(seconds * 1000)
    while lane.now_ms() < until_ms:
        await lane.sleep_until(until_ms)


def _kept(heard: dict[str, Heard]) -> dict[str, Heard]:
    return dict(list(heard.items())[-HEARD_KEPT_MAX:])
