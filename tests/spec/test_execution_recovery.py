"""After a crash, a lost answer or a PD that is away: looked at before it is repeated, and nothing is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bootstrap.roles import rules
from infra.runners.books import Books, admit
from pdsim.faults import ConnectionRefused, DroppedAfter, DroppedBefore, Fault, Garbage, HalfBody, NotLeader
from schemas import events as e
from schemas.processors import Fenced
from streams.pipeline import OWNER, processor
from tests.spec.world import SMALL, World, live

SCHEDULERS = "/pd/api/v1/schedulers"
ADD = f"POST {SCHEDULERS}"
REMOVE = f"DELETE {SCHEDULERS}/evict-leader-scheduler-4"
EVICT = {"store_id": 4, "keep_s": 120}


def nothing_is_left_behind(world: World) -> None:
    """No eviction, no doubled effect, at most one claim open at any moment, and that one concluded."""
    assert world.pd.schedulers.evicted == {}
    applied = world.applied()
    assert applied in ([], [ADD, REMOVE]), applied
    is_open = False
    for record in world.log.all():
        if isinstance(record.event, e.Claimed):
            assert not is_open
            is_open = True
        elif isinstance(record.event, e.Concluded):
            is_open = False
            assert record.event.owed == ()
    assert not is_open


async def approved(world: World) -> None:
    world.approve(await world.asks("evict_store_leaders", **EVICT))


KILLED_AFTER = (
    (e.Claimed, 1),
    (e.Looked, 1),
    (e.StepIntended, 1),
    (e.StepTaken, 1),
    (e.Sampled, 1),
    (e.Sampled, 7),
    (e.StepIntended, 2),
    (e.StepTaken, 2),
    (e.ChangeUndone, 1),
    (e.ChangeUndone, 2),
    (e.Concluded, 1),
)
AFTER = [pytest.param(kind, nth, id=f"{kind.__name__}{nth}") for kind, nth in KILLED_AFTER]


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "answer-lost"])
@pytest.mark.parametrize(("kind", "nth"), AFTER)
def test_execute_killed_after_any_event_leaves_nothing_behind(kind: type[e.Event], nth: int, late: bool) -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", kind, nth, late=late)

        world.start("execute")
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


@pytest.mark.parametrize("late", [False, True], ids=["never-sent", "answer-lost"])
@pytest.mark.parametrize("nth", [1, 2], ids=["do", "undo"])
def test_a_step_cut_off_by_a_kill_is_told_apart_even_after_a_long_outage(nth: int, late: bool) -> None:
    """Absence is believed only of a PD that has settled, and the new process has just begun to watch it."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", e.StepIntended, nth, late=late)
        await world.passes(1500)

        world.start("execute")
        assert (await world.closed()).code != "unknown"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_second_takeover_waits_as_the_first_one_did() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.kill_after("execute", e.StepTaken)
        world.start("execute")
        await world.kill_after("execute", e.TakenOver)

        again_s = world.now_s()
        world.start("execute")
        await world.until(lambda: len(world.found(e.TakenOver)) == 2 or None)
        assert world.now_s() - again_s >= 20
        assert [t.attempt for t in world.found(e.TakenOver)] == [2, 3]
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


@pytest.mark.parametrize(
    "fault",
    [DroppedAfter(), NotLeader(applied=True), HalfBody()],
    ids=["dropped-after", "500-after", "half-a-json"],
)
def test_a_call_that_ran_and_lost_its_answer_is_probed_and_not_repeated(fault: Fault) -> None:
    async def spec(world: World) -> None:
        world.faults.add(fault, method="POST", path=SCHEDULERS)
        await approved(world)
        probed = await world.until(lambda: world.one(e.StepProbed), 120)
        assert probed.finding == "applied"
        assert [t.answer for t in world.found(e.StepTaken)] == ["may_have_run"]

        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)
        assert len([w for w in world.writes() if w.startswith("POST")]) == 1

    live(spec, **SMALL)


def test_a_call_that_never_ran_is_repeated_once_its_window_is_over() -> None:
    async def spec(world: World) -> None:
        world.faults.add(DroppedBefore(), method="POST", path=SCHEDULERS)
        await approved(world)
        first = await world.until(lambda: world.one(e.StepIntended))
        await world.until(lambda: len(world.found(e.StepIntended)) == 2 or None, 200)

        again_ms = next(r.at_ms for r in world.log.all() if isinstance(r.event, e.StepIntended) and r.event.step == 2)
        sent_ms = next(r.at_ms for r in world.log.all() if isinstance(r.event, e.StepIntended))
        assert again_ms > sent_ms + first.window_s * 1000
        assert world.one(e.StepProbed).finding == "not_started"  # type: ignore[union-attr]
        assert len(world.found(e.Looked)) == 2  # time has passed: it is looked again before it is sent again
        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_refusal_in_a_500_ends_it_without_effect() -> None:
    """PD says no to some requests with a 500; that one text is known, and means that nothing was done."""

    async def spec(world: World) -> None:
        said = b'"[PD:core:ErrStoreNotFound]store 4 not found"\n'
        world.faults.add(Garbage(500, said, "application/json; charset=UTF-8"), method="POST", path=SCHEDULERS)
        await approved(world)

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("failed_without_effect", "refused")
        assert world.applied() == []

    live(spec, **SMALL)


def test_an_undo_is_paid_when_pd_is_back() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.faults.add(ConnectionRefused(), times=None)
        await world.passes(400)
        assert world.one(e.Concluded) is None
        assert world.pd.schedulers.evicted == {4: None}

        world.faults.clear()
        await world.until(lambda: REMOVE in world.applied() or None, 65)  # tried once a minute by now
        assert (await world.concluded()).code == "time_is_up"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_pd_unreachable_while_it_is_undone() -> None:
    async def spec(world: World) -> None:
        world.faults.add(ConnectionRefused(), method="DELETE", times=3)
        await approved(world)
        assert (await world.closed()).code == "succeeded"
        assert [t.answer for t in world.found(e.StepTaken)] == ["accepted", *["never_sent"] * 3, "accepted"]
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_an_eviction_that_comes_back_is_removed_again() -> None:
    """tikv/pd#4707: after a PD leader change a scheduler reads 404, and then is back."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.ChangeUndone))
        world.pd.change_pd_leader(world.now_s())
        world.pd.schedulers.evict(4)

        assert (await world.closed()).code == "succeeded"
        assert world.applied() == [ADD, REMOVE, REMOVE]
        assert world.pd.schedulers.evicted == {}
        assert [u.settled for u in world.found(e.ChangeUndone)] == [False, False, True]

    live(spec, **SMALL)


def test_an_eviction_that_somebody_else_sets_after_ours_is_gone_is_not_ours_to_undo() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.ChangeUndone))
        world.pd.schedulers.evict(4)  # tidb-operator, in a rolling restart, under the same PD leader

        assert (await world.closed()).code == "succeeded"
        assert world.applied() == [ADD, REMOVE]
        assert world.pd.schedulers.evicted == {4: None}
        assert "somebody else" in world.found(e.ChangeUndone)[-1].text

    live(spec, **SMALL)


def test_who_leads_since_before_ours_was_seen_to_be_gone_has_not_brought_it_back() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        world.faults.add(DroppedAfter(), method="DELETE")
        await world.until(lambda: len(world.found(e.StepTaken)) >= 2 or None)
        world.pd.change_pd_leader(world.now_s())
        await world.until(lambda: world.one(e.ChangeUndone))
        world.pd.schedulers.evict(4)

        assert (await world.closed()).code == "succeeded"
        assert world.applied() == [ADD, REMOVE]
        assert world.pd.schedulers.evicted == {4: None}

    live(spec, **SMALL)


@pytest.mark.parametrize("led_anew", [False, True], ids=["the same PD leads", "another PD leads"])
def test_a_successor_takes_back_only_what_a_new_pd_leader_has_brought_back(led_anew: bool) -> None:
    """How long PD has led, a process that has just started can't know; the ledger says who led when it was gone. The
    same PD may have been elected again meanwhile: then it is a person's matter."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.ChangeUndone))
        await world.kill("execute")
        world.pd.schedulers.evict(4)
        if led_anew:
            world.pd.change_pd_leader(world.now_s())
        world.start("execute")

        concluded = await world.concluded()
        assert concluded.code == ("succeeded" if led_anew else "cant_tell_whose")
        assert bool(concluded.owed) == (not led_anew)
        assert world.applied() == ([ADD, REMOVE, REMOVE] if led_anew else [ADD, REMOVE])

    live(spec, **SMALL)


def test_a_404_right_after_a_pd_leader_change_is_not_taken_for_gone() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: len(world.found(e.Sampled)) >= 3 or None)
        world.pd.change_pd_leader(world.now_s())

        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_an_eviction_of_somebody_else_is_refused_and_never_undone() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.pd.schedulers.evict(4)
        world.approve(ask)

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", "already_evicting")
        await world.passes(120)
        assert world.writes() == []
        assert world.pd.schedulers.evicted == {4: None}

    live(spec, **SMALL)


def test_what_cant_be_told_bars_the_cluster_until_a_person_has_looked() -> None:
    """Two tombstones, one gone: PD never removes some of them. Only a person can say what happened."""

    async def spec(world: World) -> None:
        world.pd.make_tombstone(5)
        world.pd.make_tombstone(6)
        ask = await world.asks("remove_tombstones", store_ids=[5, 6])
        world.faults.add(DroppedBefore(), method="DELETE")
        world.approve(ask)
        world.approve(ask, "bo")
        await world.until(lambda: world.one(e.StepIntended))
        del world.pd.stores[5]

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("unknown", "cant_tell")
        await world.until(lambda: world.one(e.ClusterQuarantined))
        assert world.one(e.RemediationClosed) is None

        world.proposes("evict_store_leaders", "R-2", **EVICT)
        second = await world.until(
            lambda: a if (a := world.one(e.ApprovalAsked)) and a.remediation_id == "R-2" else None
        )
        world.approve(second)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        assert blocked.code == "quarantined"
        for scope in ("*", ask.cluster_id):
            world.lift_input("outcomes/0@0", scope)
            world.lift(scope)
        await world.passes(30)
        assert len(world.found(e.Claimed)) == 1  # neither of these is a word about how it ended

        world.resolve(ask, "failed_without_effect")
        await world.until(lambda: world.one(e.QuarantineLifted))
        await world.until(lambda: len(world.found(e.Claimed)) == 2 or None)
        codes = [c.code for c in world.found(e.RemediationClosed)]
        assert codes == ["resolved"]

    live(spec, **{**SMALL, "stores": 6})


def test_a_zombie_executor_can_commit_nothing() -> None:
    """A second owner of the partition has fenced the first, which was only slow."""

    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        zombie = world.tasks.pop("execute")
        world.start("execute")
        ended = await asyncio.gather(*zombie, return_exceptions=True)
        assert [type(error) for error in ended] == [Fenced]
        world.failures.clear()

        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_state_restored_from_the_log_is_the_state_that_was() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        for kind in (e.Looked, e.StepTaken, e.Sampled, e.ChangeUndone, e.RemediationClosed):
            await world.until(lambda kind=kind: world.one(kind))  # type: ignore[misc]
            was = {role: world.owners[role][-1].books for role in ("execute", "remediations")}
            for role, books in was.items():
                line = processor(role)
                made = rules(line, world.settings, world.hands())
                again: Books[Any] = Books(role, books.topic, 0, books.partitions, made)
                for raw in world.log.read(books.topic, 0, 0, 10**6):
                    again.restore(raw)
                assert again.states == books.states
                assert again.links == books.links
                for topic, position in again.positions.items():  # housekeeping of others is read again
                    rest = world.log.read(topic, 0, position)[: books.positions[topic] - position]
                    assert all(isinstance(admit(raw, 1).event, OWNER) for raw in rest)

    live(spec, **SMALL)
