"""Tickets -> people: who hears what, how often, and what happens when a sink does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from infra.sinks import Sinks
from schemas.controls import Controls
from schemas.events import (
    Delivered,
    Event,
    NotDelivered,
    NotificationStarted,
    TicketLine,
    TicketNoted,
    TicketWritten,
)
from schemas.policy import NotifyPolicy, Policy
from schemas.processors import Record, Tick
from schemas.values import Cause, Head
from streams.notify import NotDeliveredError, Notify, NotifySettings, Outbox, route
from streams.pipeline import may_stand_on

POLICY = Policy(version=1, notify=NotifyPolicy(routine="log", notable="chat", critical="all"))


def ticket(version: int, status: str, tier: str = "routine", incident_id: str = "INC-1") -> TicketWritten:
    return TicketWritten(
        cluster_id="c1",
        incident_id=incident_id,
        version=version,
        headline="c1: store 4 disk stall",
        status=status,
        lines=(TicketLine(label="Cause", text="disk stall"),),
        tier=tier,
    )


@dataclass
class People:
    """The sinks: what arrived, and how often each fails first."""

    arrived: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)

    async def deliver(self, sink: str, title: str, body: str) -> None:
        if self.fails.get(sink, 0) > 0:
            self.fails[sink] -= 1
            raise NotDeliveredError("not_taken", f"{sink} is down")
        self.arrived.append((sink, title))
        self.bodies.append(body)


@dataclass
class Told:
    """The story of one cluster; it is its own lane, on a clock that jumps."""

    leaving = False

    people: People = field(default_factory=People)
    cluster_id: str = "c1"
    now_s: float = 0
    decided: list[Event] = field(default_factory=list)
    policy: Policy = POLICY
    later: list[tuple[float, TicketWritten]] = field(default_factory=list)  # at which second what comes

    def __post_init__(self) -> None:
        self.rules = Notify(self.people, NotifySettings(sinks=("chat", "pager")))
        self.state: Outbox = self.rules.initial("c1")

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            assert may_stand_on("notifications", event)
            self.state = self.rules.evolve(self.state, event, Head(event_id="x", at_ms=self.now_ms()))
        self.decided += events

    def given(self, event: Event) -> Sequence[Event]:
        record = Record("tickets", 0, 0, 0, Head(event_id="x", at_ms=0), event, Cause(topic="tickets"))
        decided = self.rules.decide(self.state, record, self.now_ms(), Controls(policy=self.policy))
        self._record(decided)
        return decided

    def restarted(self) -> Told:
        """A new process that has only the log."""
        other = Told(people=self.people)
        other._record(self.decided)
        return other

    async def works(self, *, resumed: bool = False) -> None:
        while self.rules.owed(self.state):
            await self.rules.work(self, resumed)

    # the lane

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def controls(self) -> Controls:
        return Controls(policy=self.policy)

    async def read_controls(self) -> Controls:
        return self.controls()

    async def commit(self, *decided: Event, cause: Cause | None = None) -> None:
        self._record(decided)

    async def sleep_until(self, at_ms: int) -> None:
        self.now_s = min(at_ms / 1000, self.now_s + 2)  # something stirs every two seconds
        while self.later and self.later[0][0] <= self.now_s:
            self.given(self.later.pop(0)[1])

    def answers(self) -> list[Delivered | NotDelivered]:
        return [e for e in self.decided if isinstance(e, Delivered | NotDelivered)]


async def test_people_hear_once_of_each_status_not_of_each_version() -> None:
    told = Told()
    told.given(ticket(1, "NEW"))
    assert told.given(ticket(2, "NEW")) == ()
    assert len(told.given(ticket(3, "DIAGNOSED"))) == 1
    assert told.given(ticket(4, "DIAGNOSED")) == ()
    assert len(told.given(ticket(5, "DIAGNOSED", "notable"))) == 1, "it became louder"


async def test_a_version_that_comes_again_is_not_said_again() -> None:
    told = Told()
    told.given(ticket(1, "NEW"))
    told.given(ticket(2, "DIAGNOSED"))
    assert told.given(ticket(1, "NEW")) == ()


async def test_what_is_only_noted_and_what_is_a_tick_say_nothing() -> None:
    told = Told()
    assert told.given(TicketNoted(cluster_id="c1", incident_id="INC-1", facts="{}")) == ()
    assert told.rules.decide(told.state, Tick("c1", 5), 5, Controls()) == ()
    assert told.rules.wakes_at(told.state) is None


@pytest.mark.parametrize(
    ("tier", "sinks"), [("routine", ["log"]), ("notable", ["chat"]), ("critical", ["log", "chat", "pager"])]
)
async def test_how_loudly_decides_where_it_goes(tier: str, sinks: list[str]) -> None:
    told = Told()
    told.given(ticket(1, "NEW", tier))
    await told.works()
    assert [sink for sink, _ in told.people.arrived] == sinks
    assert told.answers() == [Delivered(cluster_id="c1", incident_id="INC-1", version=1, sinks=tuple(sinks))]


async def test_a_notification_is_the_ticket_as_people_read_it() -> None:
    told = Told()
    told.given(ticket(1, "RUNNING"))
    await told.works()
    assert told.people.arrived == [("log", "c1: store 4 disk stall RUNNING")]
    assert told.people.bodies == ["c1: store 4 disk stall    RUNNING   INC-1\nCause     disk stall\n"]


async def test_a_sink_that_fails_is_tried_again_and_the_others_are_not() -> None:
    told = Told(People(fails={"pager": 2}))
    told.given(ticket(1, "WORSE", "critical"))
    await told.works()
    assert [sink for sink, _ in told.people.arrived] == ["log", "chat", "pager"]
    assert told.now_s >= 15, "5 s, then 10 s, whatever stirs meanwhile"
    assert told.answers() == [
        Delivered(cluster_id="c1", incident_id="INC-1", version=1, sinks=("log", "chat", "pager"))
    ]


async def test_what_did_not_arrive_is_on_record_and_in_the_log() -> None:
    told = Told(People(fails={"chat": 99}))
    told.given(ticket(1, "FIXED", "notable"))
    await told.works()
    delivered, failed = told.answers()
    assert isinstance(delivered, Delivered)
    assert isinstance(failed, NotDelivered)
    assert (delivered.sinks, failed.sinks, failed.code, failed.reason) == (
        ("log",),
        ("chat",),
        "not_taken",
        "chat is down",
    )


async def test_what_not_even_the_log_took_is_on_record_for_each() -> None:
    told = Told(People(fails={"chat": 99, "log": 99}))
    told.given(ticket(1, "FIXED", "notable"))
    await told.works()
    assert [type(answer) for answer in told.answers()] == [NotDelivered, NotDelivered]
    assert [(f.sinks, f.code, f.reason) for f in told.answers() if isinstance(f, NotDelivered)] == [
        (("chat",), "not_taken", "chat is down"),
        (("log",), "not_taken", "log is down"),
    ]
    assert not told.rules.owed(told.state), "it is answered, and not tried for ever"


async def test_a_sink_that_nobody_configured_is_said_and_the_log_has_it() -> None:
    told = Told(policy=Policy(version=1, notify=NotifyPolicy(routine="matrix")))
    told.given(ticket(1, "NEW"))
    await told.works()
    delivered, failed = told.answers()
    assert isinstance(failed, NotDelivered)
    assert (delivered.sinks, failed.code) == (("log",), "unknown_sink")
    assert told.now_s == told.rules.settings.fold_s, "no waiting for what can't come, but for what may be newer"


async def test_what_was_started_is_sent_again_after_a_restart() -> None:
    told = Told()
    told.given(ticket(1, "WORSE", "critical"))
    again = told.restarted()
    assert again.rules.owed(again.state)
    await again.works(resumed=True)
    assert len(again.people.arrived) == 3
    assert again.now_s == 0, "it has waited for what may be newer already"
    assert not again.rules.owed(again.restarted().state)


async def test_a_process_that_is_to_go_sends_nothing_more() -> None:
    told = Told()
    told.given(ticket(1, "WORSE", "critical"))
    told.leaving = True
    await told.rules.work(told, resumed=False)
    assert (told.people.arrived, told.answers()) == ([], [])
    assert told.rules.owed(told.state)


async def test_old_news_is_overtaken_by_what_is_as_loud_but_never_by_what_is_quieter() -> None:
    told = Told()
    told.given(ticket(1, "NEW"))
    told.given(ticket(2, "WORSE", "critical"))
    told.given(ticket(3, "RESOLVED"))
    told.given(ticket(1, "NEW", incident_id="INC-2"))
    await told.works()
    assert [title.rpartition(" ")[2] for _, title in told.people.arrived] == [
        "WORSE",
        "WORSE",
        "WORSE",
        "RESOLVED",
        "NEW",
    ]
    first = told.answers()[0]
    assert isinstance(first, NotDelivered)
    assert (first.code, first.version) == ("superseded", 1)


async def test_versions_within_seconds_of_each_other_are_one_notification() -> None:
    """Each was sent before the next was there: an incident is opened, asked about and diagnosed in half a second."""
    told = Told()
    told.given(ticket(1, "NEW"))
    told.later = [(0.3, ticket(2, "DIAGNOSED")), (0.5, ticket(3, "WAITING FOR APPROVAL", "notable"))]
    await told.works()
    assert [title.rpartition("stall ")[2] for _, title in told.people.arrived] == ["WAITING FOR APPROVAL"]
    assert told.now_s <= 5, "the first stir comes after two seconds, the last one waits for three"


async def test_every_notification_that_was_started_is_answered() -> None:
    told = Told(People(fails={"chat": 4, "log": 2, "pager": 9}))
    for version, tier in enumerate(["routine", "critical", "notable", "critical", "nobody knows"], 1):
        told.given(ticket(version, f"S{version}", tier))
    await told.works()
    started = {n.version for n in told.decided if isinstance(n, NotificationStarted)}
    assert {a.version for a in told.answers()} == started == {1, 2, 3, 4, 5}


def test_a_tier_that_nobody_knows_goes_everywhere() -> None:
    assert route(POLICY.notify, "apocalyptic", ("chat",)) == ("log", "chat")


# -- the sinks themselves -------------------------------------------------------------------------------------------


async def test_the_log_needs_no_configuration() -> None:
    said: list[tuple[str, str]] = []
    await Sinks({}, log=lambda title, body: said.append((title, body))).deliver("log", "t", "b")
    assert said == [("t", "b")]


@pytest.mark.parametrize(
    ("url", "code"),
    [("nonsense-of-a-url", "bad_url"), pytest.param("json://127.0.0.1:1/secret", "not_taken", marks=pytest.mark.local)],
)
async def test_a_sink_that_cannot_take_it_says_so_without_its_url(url: str, code: str) -> None:
    with pytest.raises(NotDeliveredError) as found:
        await Sinks({"chat": url}).deliver("chat", "t", "b")
    assert found.value.code == code
    assert url not in str(found.value)
    assert "secret" not in str(found.value)


async def test_a_sink_without_a_url_is_unknown() -> None:
    with pytest.raises(NotDeliveredError, match="unknown_sink"):
        await Sinks({}).deliver("chat", "t", "b")
