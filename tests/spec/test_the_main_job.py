"""The main job in memory: an alert becomes a diagnosed, validated, approved, executed and audited repair."""

from pdsim.faults import ConnectionRefused
from schemas import events as e
from tests.spec.world import World, live

ADD = "POST /pd/api/v1/schedulers 200"
REMOVE = "DELETE /pd/api/v1/schedulers/evict-leader-scheduler-4 200"


async def slow_store(world: World) -> None:
    """Store 4 goes slow: the stock alert fires (PD itself would wait for a score of 100)."""
    world.adopt()
    world.start()
    world.pd.set_slow(4, 90)
    await world.passes(15)
    world.alert("PD_cluster_slow_tikv_nums", instance="127.0.0.1:2379")


def test_a_slow_store_is_relieved_of_its_leaders_and_given_back() -> None:
    async def spec(world: World) -> None:
        await slow_store(world)
        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        assert (ask.action, ask.tier, ask.needed) == ("evict_store_leaders", "MEDIUM", 1)
        assert world.writes() == []

        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken), 60)
        assert world.writes() == [ADD]

        concluded = await world.until(lambda: world.one(e.Concluded), 3600)
        assert (concluded.outcome, concluded.owed) == ("succeeded", ())
        assert world.writes() == [ADD, REMOVE]
        closed = await world.until(lambda: world.one(e.RemediationClosed))
        assert closed.code == "succeeded"
        undone = world.found(e.ChangeUndone)
        assert [u.settled for u in undone] == [False, True]
        await world.until(lambda: (t := world.one(e.TicketWritten)) is not None and t.status == "FIXED, UNDONE")
        ticket = world.one(e.TicketWritten)
        assert ticket is not None
        left = next(line.text for line in ticket.lines if line.label == "For you")
        store = next(s for s in world.found(e.Looked)[0].facts.stores if s.id == 4)
        assert left == f"look at the store's disk and host; replace what is bad: store 4 ({store.address})"

    live(spec)


def test_people_are_told_when_pd_is_out_of_reach_while_an_undo_is_owed() -> None:
    async def spec(world: World) -> None:
        await slow_store(world)
        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken), 60)
        world.faults.add(ConnectionRefused(), times=None)
        await world.passes(world.settings.playbook.keep_s + 60 + 10)  # kept, and some polls

        told = [body for _, _, body in world.sink.said if "UNDO OVERDUE" in body.splitlines()[0]]
        assert len(told) == 1
        assert "pd-ctl scheduler remove evict-leader-scheduler-4" in " ".join(told[0].split())

        world.faults.clear()
        await world.until(
            lambda: (t := world.one(e.TicketWritten)) is not None and t.status == "NO BETTER, UNDONE", 3600
        )

    live(spec)
