"""Each action from facts to its end on a simulated PD: preflight, plan, call, probe, done, verdict, undo."""

from __future__ import annotations

import pytest

from actions import calls
from actions.action import Action, Limits
from actions.drift import drifted, exceeds
from actions.evict_store_leaders import EvictStoreLeaders
from actions.preflight import objections
from actions.remove_tombstones import RemoveTombstones
from actions.transfer_region_leader import TransferRegionLeader
from pdsim import faults as f
from schemas.facts import Facts
from schemas.policy import LimitsPolicy
from schemas.values import Call, Sample
from tests.actions.test_actions import plan_of
from tests.contract.pd_client.conftest import Pd

pytestmark = pytest.mark.contract
EVICT = EvictStoreLeaders(store_id=4)
BURY = RemoveTombstones(store_ids=(5,))


async def settled(pd: Pd) -> None:
    """Watched for long enough to act on."""
    await pd.reader.watch("prod")
    pd.later(310)


async def facts_for(pd: Pd, action: Action) -> Facts:
    return await pd.reader.facts("prod", action.look())


async def send(pd: Pd, call: Call) -> str:
    writer = pd.writer(call.name)
    assert await writer.cluster_id() == pd.cluster.id
    return (await writer.send(call, caller_id="steward/R-1/1.1", within_s=2)).answer


def transfer(pd: Pd) -> TransferRegionLeader:
    region = min(pd.cluster.cache, key=lambda r: r.id)
    return TransferRegionLeader(
        region_id=region.id, to_store_id=next(p.store_id for p in region.peers if p.store_id != region.leader)
    )


async def run(pd: Pd, action: Action) -> str:
    """As the protocol does, without its books; gives the verdict."""
    facts = await facts_for(pd, action)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))
    assert objections(action, facts, limits) == ()
    plan = plan_of(action, facts)
    (change,) = plan.changes
    again = await facts_for(pd, action)
    assert drifted(plan, again, action) == []
    assert exceeds(plan.bounds, action.reach(again)) == []
    assert action.probe(change.do, again) == "not_started"
    before = Sample(at_ms=0, figures=action.figures(again))
    assert await send(pd, change.do) == "accepted"
    later: list[Sample] = []
    for _ in range(60):
        pd.later(2)
        facts = await facts_for(pd, action)
        if action.is_done(facts):
            later.append(Sample(at_ms=facts.taken_at_ms, figures=action.figures(facts)))
        if len(later) == 3:
            break
    assert action.probe(change.do, facts) == "applied"
    verdict = action.verify(before, tuple(later))
    if change.undo:
        assert action.probe(change.undo, facts) == "not_started"
        assert await send(pd, change.undo) == "accepted"
        pd.later(2)
        assert action.probe(change.undo, await facts_for(pd, action)) == "applied"
    return verdict


async def test_leaders_are_evicted_and_let_back(pd: Pd) -> None:
    await settled(pd)
    assert await run(pd, EVICT) == "succeeded"
    pd.later(120)
    assert (await pd.reader.facts("prod")).evicting == ()


async def test_a_leader_is_moved_and_moved_back(pd: Pd) -> None:
    await settled(pd)
    assert await run(pd, transfer(pd)) == "succeeded"


async def test_tombstones_are_removed(pd: Pd) -> None:
    pd.cluster.make_tombstone(5)
    await settled(pd)
    assert await run(pd, BURY) == "succeeded"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (f.ConnectionRefused(), "not_started"),
        (f.DroppedBefore(), "not_started"),
        (f.DroppedAfter(), "applied"),
        (f.Slow(60), "applied"),
        (f.NeverAnswers(), "not_started"),
        (f.NotLeader(), "not_started"),
        (f.NotLeader(applied=True), "applied"),
        (f.HtmlBody(), "not_started"),
        (f.HalfBody(), "applied"),
        (f.Panic(), "not_started"),
    ],
)
async def test_a_look_tells_what_the_answer_did_not(pd: Pd, fault: f.Fault, found: str) -> None:
    pd.cluster.make_tombstone(5)
    await settled(pd)
    for action in (EVICT, transfer(pd), BURY):
        (change,) = action.plan(await facts_for(pd, action))
        pd.faults.add(fault, method=calls.render(change.do).method, times=1)
        assert await send(pd, change.do) in ("may_have_run", "never_sent")
        pd.later(5)
        assert action.probe(change.do, await facts_for(pd, action)) == found


async def test_right_after_a_pd_leader_change_absence_says_nothing(pd: Pd) -> None:
    """A scheduler that reads 404 may come back: tikv/pd#4707."""
    await settled(pd)
    assert await send(pd, calls.add_evict_leader(4)) == "accepted"
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(1)
    facts = await pd.reader.facts("prod")
    assert EVICT.probe(calls.remove_evict_leader(4), facts) in ("not_started", "cant_tell")
    assert await send(pd, calls.remove_evict_leader(4)) == "accepted"
    pd.later(1)
    assert EVICT.probe(calls.remove_evict_leader(4), await pd.reader.facts("prod")) == "cant_tell"
    pd.later(60)
    assert EVICT.probe(calls.remove_evict_leader(4), await pd.reader.facts("prod")) == "applied"
