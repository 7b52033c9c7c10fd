"""OBSERVE_SURVIVES: alerts, incidents, diagnoses and tickets go on when acting is disabled, crashing or absent."""

from __future__ import annotations

from typing import Any

from pdsim.faults import ConnectionRefused
from schemas import events as e
from streams.pipeline import OBSERVE
from tests.spec.world import ACTING_POLICY, CLUSTER, World, live

QUICK: dict[str, Any] = {"stores": 5, "regions": 20, "partitions": 2, "poll_s": 5.0}


async def a_store_goes_slow(world: World) -> None:
    """Store 4 goes slow: the stock alert fires (PD itself would wait for a score of 100)."""
    world.pd.set_slow(4, 90)
    await world.passes(15)
    world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")


def text_of(ticket: e.TicketWritten) -> str:
    return "\n".join([ticket.headline, ticket.status, *(f"{line.label} {line.text}" for line in ticket.lines)])


async def ticket(world: World, *words: str, within_s: float = 120) -> e.TicketWritten:
    """The newest version of the ticket that holds these words."""

    def found() -> e.TicketWritten | None:
        written = world.one(e.TicketWritten)
        return written if written and all(w in text_of(written) for w in words) else None

    return await world.until(found, within_s)


def test_tickets_are_made_as_before_when_ACT_is_deleted() -> None:
    async def acting(world: World) -> None:
        world.adopt({**ACTING_POLICY, "actions": {}})
        world.start()
        await a_store_goes_slow(world)
        written.append(await ticket(world, "slow store 4", "mode_observe"))
        seen.append(world.one(e.DiagnosisAdopted))

    async def observing(world: World) -> None:
        world.start()
        await a_store_goes_slow(world)
        written.append(await ticket(world, "slow store 4"))
        seen.append(world.one(e.DiagnosisAdopted))
        await world.passes(60)
        assert {r.topic for r in world.log.all()} <= {"controls", "alerts", *(t for p in OBSERVE for t in p.writes)}

    written: list[e.TicketWritten] = []
    seen: list[e.DiagnosisAdopted | None] = []
    live(acting, **QUICK)
    live(observing, processors=OBSERVE, **QUICK)
    first, second = seen
    assert first is not None
    assert second is not None
    assert (first.cause, first.summary, first.confidence) == (second.cause, second.summary, second.confidence)
    assert written[0].headline == written[1].headline
    with_act, without = ([x for x in t.lines if x.label in ("Alerts", "Cause", "Evidence")] for t in written)
    assert with_act == without


def test_tickets_are_made_when_no_policy_was_ever_adopted() -> None:
    async def spec(world: World) -> None:
        world.start()
        await a_store_goes_slow(world)
        closed = await world.until(lambda: world.one(e.RemediationClosed), 600)
        assert closed.code == "mode_observe"
        await ticket(world, "slow store 4", "mode_observe")
        assert world.writes() == []

    live(spec, **QUICK)


def test_tickets_are_made_when_execution_is_disabled() -> None:
    """`execute` is not running at all: the approval is asked, given and flagged, and the ticket says so."""

    async def spec(world: World) -> None:
        world.adopt()
        world.start(*(p.role for p in world.processors if p.role != "execute"))
        await a_store_goes_slow(world)
        world.approve(await world.until(lambda: world.one(e.ApprovalAsked), 120))
        await world.until(lambda: world.one(e.RemediationFlagged), 120)
        await ticket(world, "slow store 4", "evict_store_leaders")
        assert world.writes() == []

    live(spec, **QUICK)


def test_alerts_and_incidents_go_on_while_the_agents_are_down_and_they_catch_up() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start(*(p.role for p in world.processors if p.role not in ("diagnose", "propose")))
        await a_store_goes_slow(world)
        opened = await world.until(lambda: world.one(e.IncidentOpened))
        await world.until(lambda: world.one(e.TicketWritten))
        world.alert("TiKV_raft_append_log_duration_secs", instance="10.0.4.4:20180")
        await world.until(lambda: world.one(e.AlertFolded) or (len(world.found(e.IncidentOpened)) > 1 or None))

        world.start("diagnose", "propose")
        adopted = await world.until(lambda: world.one(e.DiagnosisAdopted), 120)
        assert (adopted.incident_id, adopted.cause) == (opened.incident_id, "slow_store")
        await ticket(world, "slow store 4")

    live(spec, **QUICK)


def test_agents_that_stay_away_leave_a_ticket_that_says_so() -> None:
    async def spec(world: World) -> None:
        world.start(*(p.role for p in world.processors if p.role not in ("diagnose", "propose")))
        await a_store_goes_slow(world)
        overdue = await world.until(lambda: world.one(e.DiagnosisOverdue), 1200)
        assert await ticket(world, within_s=60)
        assert overdue.cluster_id == CLUSTER

    live(spec, **QUICK)


def test_a_failing_execution_does_not_stop_monitoring() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        await a_store_goes_slow(world)
        world.approve(await world.until(lambda: world.one(e.ApprovalAsked), 120))
        await world.until(lambda: world.one(e.StepTaken), 60)
        await world.kill("propose", "validate", "remediations", "execute")

        before = len(world.found(e.TicketWritten))
        world.alert("TiKV_server_is_down", instance="10.0.4.2:20180")
        world.alert("PD_cluster_slow_tikv_nums", status="resolved", instance="127.0.0.1:2379")
        await world.until(lambda: len(world.found(e.IncidentOpened)) == 2 or None, 60)
        await world.until(lambda: len(world.found(e.TicketWritten)) > before or None, 60)
        await world.until(lambda: len(world.found(e.DiagnosisMade) + world.found(e.DiagnosisAbstained)) == 2 or None)

    live(spec, **QUICK)


def test_a_diagnosis_completes_without_a_proposal() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start()
        world.alert("PD_leader_change", instance="127.0.0.1:2379")
        await world.until(lambda: world.found(e.DiagnosisMade) + world.found(e.DiagnosisAbstained) or None, 120)
        closed = await world.until(lambda: world.one(e.RemediationClosed) or world.one(e.NothingProposed), 120)
        assert closed.cluster_id == CLUSTER
        await ticket(world)
        assert world.found(e.ActionProposed) == []

    live(spec, **QUICK)


def test_a_proposal_is_additive_to_its_diagnosis() -> None:
    """What stands in the incident's own topics is the same with and without the acting roles."""
    topics = ("signals", "incidents", "diagnoses")
    said: list[list[str]] = []

    def spec_of(policy: dict[str, Any]) -> Any:
        async def spec(world: World) -> None:
            world.adopt(policy)
            world.start()
            await a_store_goes_slow(world)
            await world.until(lambda: world.one(e.DiagnosisAdopted), 120)
            await world.passes(30)
            kinds = (e.AlertFired, e.IncidentOpened, e.DiagnosisAsked, e.DiagnosisMade, e.DiagnosisAdopted)
            said.append([repr(r.event) for r in world.log.all() if r.topic in topics and isinstance(r.event, kinds)])

        return spec

    live(spec_of(ACTING_POLICY), **QUICK)
    live(spec_of(ACTING_POLICY), processors=OBSERVE, **QUICK)
    assert said[0] == said[1]


def test_with_pd_away_there_is_still_an_incident_and_a_ticket() -> None:
    async def spec(world: World) -> None:
        world.faults.add(ConnectionRefused(), times=None)
        world.start()
        world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")
        abstained = await world.until(lambda: world.one(e.DiagnosisAbstained), 300)
        assert abstained.code.startswith("pd_")
        await ticket(world)

    live(spec, **QUICK)
