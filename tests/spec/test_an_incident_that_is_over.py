"""Once its alerts are over, an incident is repaired no more: nobody is asked, and nothing runs by itself."""

from __future__ import annotations

from pdsim.faults import ConnectionRefused
from schemas import events as e
from streams.pipeline import PROCESSORS
from tests.spec.world import SMALL, World, live

ALERT = "PD_cluster_slow_tikv_nums"


async def diagnosed(world: World) -> None:
    """By everybody but `propose`, who is not there."""
    world.adopt()
    world.start(*(p.role for p in PROCESSORS if p.role != "propose"))
    world.pd.set_slow(4, 90)
    await world.passes(15)
    world.alert(ALERT, instance="127.0.0.1:2379")
    await world.until(lambda: [d for d in world.found(e.DiagnosisAdopted) if d.final], 300)


async def over(world: World) -> e.IncidentClosed:
    world.alert(ALERT, instance="127.0.0.1:2379", status="resolved")
    closed = await world.until(lambda: world.one(e.IncidentClosed), 3600)
    await world.passes(30)
    return closed


def test_what_propose_had_not_begun_when_it_ended_is_not_proposed() -> None:
    async def spec(world: World) -> None:
        await diagnosed(world)
        ended = await over(world)
        world.start("propose")
        nothing = await world.until(lambda: world.one(e.NothingProposed))
        await world.passes(60)
        assert (nothing.code, nothing.incident_id) == ("incident_closed", ended.incident_id)
        assert nothing.reason == f"the incident has ended: {ended.text}"
        closed = world.one(e.RemediationClosed)
        assert closed is not None
        assert closed.code == "incident_closed"
        assert not world.found(e.ActionProposed)
        assert not world.found(e.ApprovalAsked)
        assert len(world.found(e.NothingProposed)) == 1

    live(spec, **SMALL)


def test_what_propose_was_still_thinking_about_when_it_ended_is_not_proposed() -> None:
    async def spec(world: World) -> None:
        await diagnosed(world)
        world.alert(ALERT, instance="127.0.0.1:2379", status="resolved")
        await world.passes(290)
        world.faults.add(ConnectionRefused(), times=None)  # it waits for PD
        world.start("propose")
        await world.until(lambda: world.one(e.ProposalStarted))
        await world.until(lambda: world.one(e.IncidentClosed), 3600)
        world.faults.clear()
        await world.passes(120)
        assert not world.found(e.ActionProposed)
        assert not world.found(e.ApprovalAsked)
        assert [nothing.code for nothing in world.found(e.NothingProposed)] == ["incident_closed"]

    live(spec, **SMALL)
