"""A proposal meets quiet hours: it is asked again when they end, and what has begun is brought to its end in them."""

from __future__ import annotations

from typing import Any

from schemas import events as e
from tests.spec.test_execution_recovery import EVICT, nothing_is_left_behind
from tests.spec.world import ACTING_POLICY, SMALL, START_S, TRUST, World, live

START_MS = int(START_S * 1000)  # 08:00 UTC


def quiet(start: str, end: str) -> dict[str, Any]:
    mornings = {"kind": "quiet", "start": start, "end": end, "cluster_tiers": [2]}  # as the world's cluster is
    return {**ACTING_POLICY, "windows": {"mornings": mornings}}


def test_what_is_proposed_in_quiet_hours_is_asked_again_when_they_end() -> None:
    async def spec(world: World) -> None:
        world.adopt(quiet("07:00", "09:30"))
        world.start("propose", *TRUST)
        await world.passes(1)
        world.proposes("evict_store_leaders", **EVICT)

        deferred = await world.until(lambda: world.one(e.ProposalDeferred))
        assert [o.code for o in deferred.objections] == ["quiet_hours"]
        assert deferred.until_ms == START_MS + 90 * 60_000
        ask = await world.until(lambda: world.one(e.ApprovalAsked), 6000)
        assert world.now_ms() >= deferred.until_ms
        assert "windows.mornings=quiet 07:00-09:30 UTC" in ask.plan.policy_rules
        world.approve(ask)
        assert (await world.closed()).code == "succeeded"

    live(spec, **SMALL)


def test_what_is_agreed_to_in_quiet_hours_is_asked_anew_when_they_end() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", quiet("08:01", "09:30"), **EVICT)
        world.start("propose")
        await world.passes(60)
        world.approve(ask)

        deferred = await world.until(lambda: world.one(e.ProposalDeferred))
        assert deferred.until_ms == START_MS + 90 * 60_000
        again = await world.until(lambda: next(iter(world.found(e.ApprovalAsked)[1:]), None), 6000)
        assert again.remediation_id == ask.remediation_id
        assert world.writes() == []
        world.approve(again)
        assert (await world.closed()).code == "succeeded"

    live(spec, **SMALL)


def test_what_has_begun_is_undone_in_quiet_hours() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", quiet("08:01", "07:59"), **EVICT)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken))
        assert world.now_ms() < START_MS + 60_000

        assert (await world.closed()).code == "succeeded"
        assert world.now_ms() > START_MS + 60_000
        nothing_is_left_behind(world)

    live(spec, **SMALL)
