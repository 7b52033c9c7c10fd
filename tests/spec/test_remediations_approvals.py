"""Who may allow what: each person's word counts once, for one plan of one remediation, or is refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from console.keys import make_key
from schemas import events as e
from schemas.signing import Claims, kid_of, sign
from tests.spec.test_execution_recovery import EVICT, nothing_is_left_behind
from tests.spec.world import ACTING_POLICY, CLUSTER, SMALL, World, live

QUICK = {**ACTING_POLICY, "approval": {"ask_s": 60, "escalation": ["first responder", "leads"]}}


def rejected(world: World) -> list[str]:
    return [r.code for r in world.found(e.ApprovalRejected)]


async def two_tombstones(world: World, policy: Any = ACTING_POLICY) -> e.ApprovalAsked:
    """An irreversible action: HIGH."""
    for store in (5, 6):
        world.pd.make_tombstone(store)
    return await world.asks("remove_tombstones", policy, store_ids=[5, 6])


SIX = {**SMALL, "stores": 6}


def test_nobody_answers_so_it_escalates_and_then_is_denied() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", QUICK, **EVICT)
        escalated = await world.until(lambda: world.one(e.ApprovalEscalated))
        assert (escalated.asked, escalated.expires_at_ms - ask.expires_at_ms >= 60_000) == ("leads", True)

        closed = await world.closed()
        assert (closed.code, "leads" in closed.text) == ("expired", True)
        assert len(world.found(e.ApprovalEscalated)) == 1
        assert world.found(e.ExecutionAuthorized) == []
        world.approve(ask)
        await world.until(lambda: world.one(e.ApprovalRejected))
        assert rejected(world) == ["closed"]

    live(spec, **SMALL)


def test_a_high_risk_action_waits_for_two_different_people() -> None:
    async def spec(world: World) -> None:
        ask = await two_tombstones(world)
        assert (ask.tier, ask.needed) == ("HIGH", 2)
        world.approve(ask, "anna")
        await world.until(lambda: world.one(e.ApprovalCounted))
        await world.passes(20)
        assert world.found(e.ExecutionAuthorized) == []

        world.approve(ask, "bo")
        assert (await world.closed()).code == "succeeded"
        assert world.applied() == ["DELETE /pd/api/v1/stores/remove-tombstone"]
        authorised = world.one(e.ExecutionAuthorized)
        assert authorised is not None
        assert [a.person for a in authorised.approvals] == ["anna", "bo"]
        intended = world.one(e.StepIntended)
        assert intended is not None
        assert '"address":"10.0.4.5:20160"' in intended.snapshot  # what is lost is on record before it is lost

    live(spec, **SIX)


@pytest.mark.parametrize("again", ["anna", "Anna ", "ANNA"])
def test_the_same_person_twice_is_one_person(again: str) -> None:
    async def spec(world: World) -> None:
        ask = await two_tombstones(world)
        world.approve(ask, "anna")
        world.approve(ask, again)
        await world.passes(20)
        assert world.found(e.ExecutionAuthorized) == []
        assert world.writes() == []

    live(spec, **SIX)


def replayed(world: World, ask: e.ApprovalAsked) -> None:
    approval = world.signed(ask, "anna")
    for _ in range(2):
        world.says(e.Approved(cluster_id=CLUSTER, remediation_id="R-1", digest=ask.digest, approval=approval))


def forged(world: World, ask: e.ApprovalAsked) -> None:
    """Signed by a key of the forger's own."""
    true = world.signed(ask, "anna")
    key = make_key()
    claims = Claims(
        environment="test",
        pd_cluster_id=ask.plan.pd_cluster_id,
        remediation_id="R-1",
        digest=ask.digest,
        decision="approve",
        person="anna",
        via="cli",
        iat=true.decided_at_ms,
        exp=true.expires_at_ms,
        approval_id=true.approval_id,
        reason=true.reason,
    )
    approval = true.model_copy(update={"jws": sign(key, claims), "kid": kid_of(key)})
    world.says(e.Approved(cluster_id=CLUSTER, remediation_id="R-1", digest=ask.digest, approval=approval))


def renamed(world: World, ask: e.ApprovalAsked) -> None:
    """A true signature under somebody else's name."""
    approval = world.signed(ask, "anna").model_copy(update={"person": "bo"})
    world.says(e.Approved(cluster_id=CLUSTER, remediation_id="R-1", digest=ask.digest, approval=approval))


def another_digest_in_the_event(world: World, ask: e.ApprovalAsked) -> None:
    approval = world.signed(ask, "anna")
    world.says(e.Approved(cluster_id=CLUSTER, remediation_id="R-1", digest="0" * 64, approval=approval))


def revoked(world: World, ask: e.ApprovalAsked) -> None:
    world.control(e.KeyRevoked(cluster_id="*", by="anna", reason="spec", kid=kid_of(world.key)))
    world.approve(ask)


def changed(**claims: Any) -> Callable[[World, e.ApprovalAsked], None]:
    return lambda world, ask: world.approve(ask, **claims)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (replayed, "already_counted"),
        (forged, "unknown_key"),
        (renamed, "fields_differ"),
        (another_digest_in_the_event, "wrong_digest"),
        (revoked, "revoked_key"),
        (changed(digest="0" * 64), "wrong_digest"),
        (changed(remediation_id="R-0"), "wrong_remediation"),
        (changed(environment="prod"), "wrong_environment"),
        (changed(pd_cluster_id=99), "wrong_cluster"),
        (changed(iat=1, exp=2), "expired"),
        (changed(exp=9_000_000_000_000), "wrong_claims"),
        (changed(person="playbook"), "self_approval"),
    ],
)
def test_a_word_that_does_not_count_is_rejected_with_its_code(
    says: Callable[[World, e.ApprovalAsked], None], code: str
) -> None:
    async def spec(world: World) -> None:
        ask = await two_tombstones(world)
        says(world, ask)
        await world.until(lambda: world.one(e.ApprovalRejected), 10)
        assert rejected(world) == [code]
        await world.passes(10)
        assert world.found(e.ExecutionAuthorized) == []

    live(spec, **SIX)


def test_an_approval_of_one_decision_is_not_one_of_another() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        denial = world.signed(ask, "anna", "deny")
        world.says(e.Approved(cluster_id=CLUSTER, remediation_id="R-1", digest=ask.digest, approval=denial))
        await world.until(lambda: world.one(e.ApprovalRejected))
        assert rejected(world) == ["wrong_decision"]

    live(spec, **SMALL)


def test_an_approval_of_an_earlier_remediation_is_of_no_use_for_the_next() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        used = world.signed(ask, "anna")
        world.deny(ask)
        await world.closed()
        world.proposes("evict_store_leaders", "R-2", **EVICT)
        await world.until(lambda: len(world.found(e.ApprovalAsked)) == 2 or None)

        world.says(e.Approved(cluster_id=CLUSTER, remediation_id="R-2", digest=ask.digest, approval=used))
        await world.until(lambda: world.one(e.ApprovalRejected))
        assert rejected(world) == ["wrong_remediation"]

    live(spec, **SMALL)


def test_a_denial_closes_it_with_its_reason() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.deny(ask, "bo")
        closed = await world.closed()
        assert (closed.code, closed.note, closed.text) == ("denied", "spec", "by bo: spec")

    live(spec, **SMALL)


def test_i_did_it_myself_is_an_answer() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.orders(e.DoneByHand, ask)
        assert (await world.closed()).code == "by_hand"
        assert world.writes() == []

    live(spec, **SMALL)


def test_a_cancel_before_the_approval_closes_it() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.orders(e.CancelAsked, ask)
        assert (await world.closed()).code == "cancelled"
        world.approve(ask)
        await world.until(lambda: world.one(e.ApprovalRejected))
        assert world.found(e.ExecutionAuthorized) == []

    live(spec, **SMALL)


@pytest.mark.parametrize(("kind", "code"), [(e.CancelAsked, "cancelled"), (e.UndoAsked, "undo_asked")])
def test_a_cancel_or_an_undo_on_the_way_takes_back_what_was_done(kind: Any, code: str) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken))
        world.orders(kind, ask)

        await world.closed()
        assert world.one(e.ExecutionAborting).code == code  # type: ignore[union-attr]
        nothing_is_left_behind(world)

    live(spec, **SMALL)


def test_a_cancel_of_what_nobody_has_claimed_yet_is_kept_and_heeded() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        await world.kill("execute")
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionAuthorized))
        world.orders(e.CancelAsked, ask)
        await world.until(lambda: world.one(e.CancelOrdered))
        flagged = await world.until(lambda: world.one(e.RemediationFlagged))
        assert flagged.code == "unclaimed"

        world.start("execute")
        await world.closed()
        assert world.writes() == []

    live(spec, **SMALL)


def test_low_and_reversible_is_done_by_policy_alone() -> None:
    async def spec(world: World) -> None:
        world.pd.schedulers.drop("balance-leader-scheduler")  # it would move the leader back, as is its right
        region = next(iter(world.pd.truth))
        to = next(p.store_id for p in region.peers if p.store_id != region.leader)
        ask = await world.asks("transfer_region_leader", region_id=region.id, to_store_id=to)
        assert (ask.tier, ask.rule, ask.needed) == ("LOW", "auto", 0)

        closed = await world.closed()
        assert closed.code == "succeeded", closed
        assert world.applied() == ["POST /pd/api/v1/operators"]
        assert world.found(e.Approved) == []
        made_ms = next(r.head.at_ms for r in world.log.all() if isinstance(r.event, e.StepTaken))
        assert all(s.sample.at_ms > made_ms for s in world.found(e.Sampled))  # judged by what was read afterwards

    live(spec, **SMALL)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_veto_waits_for_an_objection(stopped: bool) -> None:
    async def spec(world: World) -> None:
        world.pd.schedulers.drop("balance-leader-scheduler")  # it would move the leader back, as is its right
        region = next(iter(world.pd.truth))
        to = next(p.store_id for p in region.peers if p.store_id != region.leader)
        policy = {**ACTING_POLICY, "approval": {"low": "veto:2m"}}
        ask = await world.asks("transfer_region_leader", policy, region_id=region.id, to_store_id=to)
        asked_s = world.now_s()
        if stopped:
            world.deny(ask)
        closed = await world.closed()
        if stopped:
            assert (closed.code, world.writes()) == ("denied", [])
        else:
            assert closed.code == "succeeded"
            assert next(c.at for c in world.pd.calls if c.method == "POST") >= asked_s + 119

    live(spec, **SMALL)


def test_a_policy_adopted_after_the_approval_makes_a_new_plan_that_is_asked_about_anew() -> None:
    async def spec(world: World) -> None:
        world.start("propose")
        await world.passes(1)
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.adopt(QUICK, version=2)
        world.approve(ask)

        second = await world.until(lambda: a if (a := world.one(e.ApprovalAsked)) and a is not ask else None)
        assert (second.plan.policy_version, second.digest != ask.digest) == (2, True)
        assert world.found(e.ExecutionAuthorized) == []
        world.approve(second)
        await world.until(lambda: world.one(e.Claimed))

    live(spec, **SMALL)


def test_one_execution_at_a_time_on_a_cluster() -> None:
    async def spec(world: World) -> None:
        first = await world.asks("evict_store_leaders", **EVICT)
        world.proposes("evict_store_leaders", "R-2", **EVICT)
        await world.until(lambda: len(world.found(e.ApprovalAsked)) == 2 or None)
        second = world.found(e.ApprovalAsked)[1]
        world.approve(first)
        world.approve(second)
        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        assert blocked.code == "busy"

        await world.until(lambda: len(world.found(e.RemediationClosed)) == 2 or None, 900)
        assert [c.code for c in world.found(e.RemediationClosed)] == ["succeeded", "succeeded"]
        spans = [type(r.event).__name__ for r in world.log.all() if isinstance(r.event, e.Claimed | e.Concluded)]
        assert spans == ["Claimed", "Concluded"] * 2

    live(spec, **SMALL)


def test_a_cooldown_is_waited_for() -> None:
    async def spec(world: World) -> None:
        policy = {**ACTING_POLICY, "limits": {**ACTING_POLICY["limits"], "cooldown_s": 300}}
        world.approve(await world.asks("evict_store_leaders", policy, **EVICT))
        await world.closed()
        ended_s = world.now_s()
        world.proposes("evict_store_leaders", "R-2", **EVICT)
        await world.until(lambda: len(world.found(e.ApprovalAsked)) == 2 or None)
        world.approve(world.found(e.ApprovalAsked)[1])

        blocked = await world.until(lambda: world.one(e.ExecutionBlocked))
        assert blocked.code == "cooldown"
        await world.until(lambda: len(world.found(e.Claimed)) == 2 or None)
        assert world.now_s() - ended_s >= 299

    live(spec, **SMALL)
