"""STOP_WINS: a freeze stops forward steps at once and never an undo; a halt stops every write, and what is owed
stays."""

from __future__ import annotations

from schemas import events as e
from schemas.controls import Controls
from tests.spec.test_execution_recovery import ADD, EVICT, REMOVE, approved, nothing_is_left_behind
from tests.spec.world import SMALL, World, live


def test_a_freeze_before_the_approval_blocks_once_and_lifting_it_continues() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.freeze()
        world.approve(ask)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        await world.passes(60)
        assert blocked.code == "frozen"
        assert len(world.found(e.ExecutionBlocked)) == 1
        assert world.found(e.Claimed) == []

        world.lift()
        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_freeze_between_authorisation_and_claim_is_a_refused_claim() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        await world.kill("execute")
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionAuthorized))
        world.freeze()
        world.start("execute")

        assert (await world.closed()).code == "claim_frozen"
        assert world.writes() == []

    live(spec, **SMALL)


def test_a_freeze_while_leaders_are_evicted_brings_the_undo_at_once_and_does_not_stop_it() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.freeze()
        frozen_s = world.now_s()

        await world.until(lambda: REMOVE in world.applied() or None)
        assert world.now_s() - frozen_s < 15
        assert world.one(e.ExecutionAborting).code == "frozen"  # type: ignore[union-attr]
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_freeze_that_comes_with_the_look_stops_the_first_step() -> None:
    """The controls are read again between the decision to send and the intent."""

    async def spec(world: World) -> None:
        await approved(world)
        while not world.found(e.Looked):
            await world.log.changed()
        world.freeze()

        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", "frozen")
        assert world.found(e.StepIntended) == []
        assert world.writes() == []

    live(spec, **SMALL)


def test_a_halt_stops_the_undo_too_and_lifting_it_pays() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.halt()
        await world.passes(300)
        assert world.applied() == [ADD]
        assert world.one(e.Concluded) is None

        world.lift("*")
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_halt_stops_the_repeated_undo_of_what_came_back() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.ChangeUndone))
        world.halt()
        world.pd.change_pd_leader(world.now_s())
        world.pd.schedulers.evict(4)
        await world.passes(120)
        assert world.applied() == [ADD, REMOVE]

        world.lift("*")
        await world.closed()
        assert world.applied() == [ADD, REMOVE, REMOVE]
        assert world.pd.schedulers.evicted == {}

    live(spec, **SMALL)


def test_a_halt_outlives_a_kill_and_so_does_what_is_owed() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.halt()
        await world.kill("execute")
        world.start("execute")
        await world.passes(300)
        assert world.applied() == [ADD]

        world.lift("*")
        await world.closed()
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_without_the_controls_no_forward_step_is_taken() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.controls.cut_off = True
        world.approve(ask)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        await world.passes(60)
        assert blocked.code == "controls_not_live"
        assert world.writes() == []

        world.controls.cut_off = False
        assert (await world.closed()).code == "succeeded"
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_controls_that_are_lost_on_the_way_bring_the_undo() -> None:
    async def spec(world: World) -> None:
        await approved(world)
        await world.until(lambda: world.one(e.StepTaken))
        world.controls.cut_off = True

        await world.closed()
        assert world.one(e.ExecutionAborting).code == "controls_not_live"  # type: ignore[union-attr]
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_process_that_has_not_read_the_policy_forgets_no_approval() -> None:
    """Its controls are not live, so it knows of no policy: that is no reason to ask people again."""

    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.freeze()
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionBlocked))
        await world.kill("remediations")
        world.controls._held = Controls()
        world.controls.cut_off = True
        world.start("remediations")
        await world.passes(30)

        world.controls.cut_off = False
        world.lift()
        assert (await world.closed()).code == "succeeded"
        assert len(world.found(e.ApprovalAsked)) == 1
        nothing_is_left_behind(world)

    live(spec, **SMALL)
