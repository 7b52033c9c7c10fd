"""Each action from facts to its end on a simulated PD: preflight, plan, call, probe, done, verdict, undo."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions import calls
from actions.action import Action, Limits
from actions.drift import drifted, exceeds
from actions.evict_store_leaders import EvictStoreLeaders
from actions.pause_scheduler import PauseScheduler
from actions.preflight import objections
from actions.remove_tombstones import RemoveTombstones
from actions.scatter_regions import ScatterRegions
from actions.schedule_keys import KEYS, ScheduleKey
from actions.set_schedule_config import SetScheduleConfig
from actions.set_store_weight import SetStoreWeight
from actions.split_region import SplitRegion
from actions.transfer_region_leader import TransferRegionLeader
from actions.transfer_region_peer import TransferRegionPeer
from pdsim import building
from pdsim import faults as f
from pdsim.model import Cluster
from pdsim.regions import Region
from pdsim.stores import State
from schemas.facts import Facts
from schemas.policy import LimitsPolicy
from schemas.values import Call, Sample
from tests.actions.clusters import LIMITS
from tests.actions.test_actions import plan_of
from tests.contract.pd_client.conftest import START, Pd

pytestmark = pytest.mark.contract
EVICT = EvictStoreLeaders(store_id=4)
BURY = RemoveTombstones(store_ids=(5,))
WEIGH = SetStoreWeight(store_id=4, weight_of="leader", weight=0.5)
PAUSE = PauseScheduler(scheduler="balance-leader-scheduler", keep_s=60)
CONFIG = SetScheduleConfig(key="leader-schedule-limit", value=2)


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


def move(pd: Pd, *, leads: bool = False) -> TransferRegionPeer:
    """Of a region that nothing else here touches, off a follower's store or the leader's."""
    region = sorted(pd.cluster.cache, key=lambda r: r.id)[30]
    held = [p.store_id for p in region.peers]
    source = region.leader if leads else next(s for s in held if s != region.leader)
    assert source is not None
    target = next(s for s in sorted(pd.cluster.stores) if s not in held)
    return TransferRegionPeer(region_id=region.id, from_store_id=source, to_store_id=target)


def held_by(pd: Pd, region_id: int) -> set[int]:
    return {p.store_id for p in found(pd, region_id).peers}


def split(pd: Pd) -> SplitRegion:
    return SplitRegion(region_id=max(r.id for r in pd.cluster.cache))


def found(pd: Pd, region_id: int) -> Region:
    """As TiKV has it."""
    region = pd.cluster.truth.get(region_id)
    assert region is not None
    return region


def weights(cluster: Cluster) -> dict[int, tuple[float, ...]]:
    return {s.id: (s.leader_weight, s.region_weight) for s in cluster.stores.values()}


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


async def test_a_scheduler_is_paused_and_resumed(pd: Pd) -> None:
    await settled(pd)
    assert await run(pd, PAUSE) == "succeeded"
    assert (await pd.reader.facts("prod")).paused_schedulers == ()


async def test_a_pause_ends_by_itself_a_minute_after_we_would_have_ended_it(pd: Pd) -> None:
    (change,) = PAUSE.plan(await facts_for(pd, PAUSE))
    assert await send(pd, change.do) == "accepted"
    pd.later(60 + 59)
    assert (await pd.reader.facts("prod")).paused_schedulers == (PAUSE.scheduler,)
    pd.later(2)
    assert (await pd.reader.facts("prod")).paused_schedulers == ()


async def test_a_new_pd_leader_has_forgotten_a_pause(pd: Pd) -> None:
    (change,) = PAUSE.plan(await facts_for(pd, PAUSE))
    assert change.undo
    await send(pd, change.do)
    pd.cluster.change_pd_leader(pd.now_s)
    pd.later(30)
    facts = await facts_for(pd, PAUSE)
    assert PAUSE.probe(change.do, facts) == "not_started"
    assert PAUSE.probe(change.undo, facts) == "applied"


@pytest.mark.parametrize("leads", [False, True])
async def test_a_replica_is_moved_and_moved_back(pd: Pd, leads: bool) -> None:
    await settled(pd)
    action = move(pd, leads=leads)
    was, before = found(pd, action.region_id), await facts_for(pd, action)
    assert action.reach(before).leaders == leads
    assert await run(pd, action) == "succeeded"
    now = found(pd, action.region_id)
    assert held_by(pd, action.region_id) == {p.store_id for p in was.peers}
    assert (now.version, now.conf_ver) == (was.version, was.conf_ver + 12)
    assert pd.writes() == ["POST /pd/api/v1/operators"] * 2


async def test_a_move_that_is_to_be_undone_while_pd_is_at_it_is_undone_when_it_has_ended(pd: Pd) -> None:
    """PD does one operator a region, and says ErrAddOperator or that a peer is there already: neither is a refusal."""
    await settled(pd)
    action = move(pd)
    (change,) = action.plan(await facts_for(pd, action))
    assert change.undo is not None
    assert await send(pd, change.do) == "accepted"
    told = []
    for _ in range(40):
        answer = await send(pd, change.undo)
        if answer == "accepted":
            break
        told.append((answer, action.probe(change.undo, await facts_for(pd, action))))
        pd.later(0.1)
    assert set(told) == {("may_have_run", "not_started")}
    assert action.probe(change.undo, await facts_for(pd, action)) == "under_way"
    pd.later(10)
    assert action.probe(change.undo, await facts_for(pd, action)) == "applied"
    assert action.to_store_id not in held_by(pd, action.region_id)


@pytest.mark.parametrize("at_s", [0.01, 0.1, 0.3, 0.6, 1.0])
async def test_of_a_move_that_a_pd_leader_change_cuts_short_nothing_is_left_half_done(pd: Pd, at_s: float) -> None:
    """Its operator is lost; what TiKV was told may still come, and the checkers tidy up: nobody is told otherwise."""
    await settled(pd)
    action = move(pd)
    (change,) = action.plan(await facts_for(pd, action))
    assert change.undo is not None
    assert await send(pd, change.do) == "accepted"
    pd.later(at_s)
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(1)
    early = await facts_for(pd, action)
    assert {action.probe(c, early) for c in (change.do, change.undo)} == {"cant_tell"}
    pd.later(100)
    facts = await facts_for(pd, action)
    assert action.is_done(facts)
    moved = action.to_store_id in held_by(pd, action.region_id)
    told = (action.probe(change.do, facts), action.probe(change.undo, facts))
    assert told == (("applied", "not_started") if moved else ("not_started", "applied"))
    assert len(held_by(pd, action.region_id)) == 3


async def test_a_target_that_dies_is_refused_by_us_and_taken_by_pd_until_its_time_is_up(pd: Pd) -> None:
    await settled(pd)
    action = move(pd)
    (change,) = action.plan(await facts_for(pd, action))
    assert change.undo is not None
    pd.cluster.kill_store(action.to_store_id)
    pd.later(30)
    facts = await facts_for(pd, action)
    codes = {o.code for o in objections(action, facts, Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000)))}
    assert {"target_not_up", "store_not_up"} <= codes
    assert await send(pd, change.do) == "accepted"
    pd.later(900)
    facts = await facts_for(pd, action)
    assert (action.probe(change.do, facts), action.is_done(facts)) == ("applied", False)
    assert await send(pd, change.undo) == "may_have_run"
    pd.later(200)
    facts = await facts_for(pd, action)
    assert action.is_done(facts)
    assert (action.probe(change.do, facts), action.probe(change.undo, facts)) == ("not_started", "applied")


async def test_a_target_that_leaves_is_refused_by_us_and_taken_by_pd_which_moves_it_on(pd: Pd) -> None:
    await settled(pd)
    action = move(pd)
    before = await facts_for(pd, action)
    (change,) = action.plan(before)
    assert change.undo is not None
    pd.cluster.stores[action.to_store_id].state = State.Offline
    facts = await facts_for(pd, action)
    assert "target_not_up" in {o.code for o in action.preflight(facts, LIMITS)}
    assert await send(pd, change.do) == "accepted"
    pd.later(600)
    facts = await facts_for(pd, action)
    later = (Sample(at_ms=1, figures=action.figures(facts)),) * 3
    assert action.verify(Sample(at_ms=0, figures=action.figures(before)), later) != "succeeded"
    assert action.probe(change.undo, facts) == "applied"


async def test_a_replica_that_is_moved_on_is_no_longer_ours_to_move_back(pd: Pd) -> None:
    await settled(pd)
    action = move(pd)
    (change,) = action.plan(await facts_for(pd, action))
    assert change.undo is not None
    assert await send(pd, change.do) == "accepted"
    pd.later(10)
    others = held_by(pd, action.region_id) | {action.from_store_id}
    elsewhere = next(s for s in sorted(pd.cluster.stores) if s not in others)
    assert await send(pd, calls.transfer_peer(action.region_id, action.to_store_id, elsewhere)) == "accepted"
    pd.later(10)
    facts = await facts_for(pd, action)
    assert await send(pd, change.undo) == "may_have_run"  # the region has no peer there
    assert action.probe(change.undo, facts) == "applied"


def crowded(pd: Pd, count: int = 5) -> ScatterRegions:
    """Some of 15 regions that are all led by store 1 and all on stores 1 to 3: as when a table was just split."""
    chosen = sorted(pd.cluster.truth, key=lambda r: r.id)[:15]
    for region in chosen:
        peers = tuple(replace(peer, store_id=store) for peer, store in zip(region.peers, (1, 2, 3), strict=True))
        there = replace(region, peers=peers, leader=1, conf_ver=region.conf_ver + 6)
        pd.cluster.truth.put(there)
        pd.cluster.cache.put(there)
    pd.cluster.schedulers.paused["balance-leader-scheduler"] = (pd.now_s, pd.now_s + 10_000)
    return ScatterRegions(region_ids=tuple(r.id for r in chosen[:count]))


async def scattered(pd: Pd, action: ScatterRegions) -> str:
    """As the protocol does, one call a region."""
    facts = await facts_for(pd, action)
    assert objections(action, facts, Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))) == ()
    before = Sample(at_ms=0, figures=action.figures(facts))
    for change in action.plan(facts):
        assert await send(pd, change.do) == "accepted"
        pd.later(1)
    later: list[Sample] = []
    while len(later) < 3:
        pd.later(2)
        facts = await facts_for(pd, action)
        if action.is_done(facts):
            later.append(Sample(at_ms=facts.taken_at_ms, figures=action.figures(facts)))
    return action.verify(before, tuple(later))


async def test_crowded_regions_are_scattered(pd: Pd) -> None:
    action = crowded(pd)
    await settled(pd)
    before = await facts_for(pd, action)
    assert await scattered(pd, action) == "succeeded"
    after = await facts_for(pd, action)
    for name in ("most_led", "most_held"):
        assert action.figures(after)[name] < action.figures(before)[name]
    assert pd.writes() == ["POST /pd/api/v1/operators"] * 5
    told = {action.probe(change.do, after) for change in action.plan(before)}
    assert told <= {"applied", "not_started"}
    assert "applied" in told


async def test_of_regions_that_sit_well_pd_says_created_and_does_nothing(pd: Pd) -> None:
    await settled(pd)
    action = ScatterRegions(region_ids=tuple(r.id for r in pd.cluster.cache)[:3])
    before = await facts_for(pd, action)
    assert await scattered(pd, action) == "succeeded"
    after = await facts_for(pd, action)
    assert after.regions == before.regions
    assert {action.probe(change.do, after) for change in action.plan(before)} == {"not_started"}


async def test_a_hot_region_is_refused_by_us_and_by_pd(pd: Pd) -> None:
    action = crowded(pd, 2)
    hot = action.region_ids[0]
    pd.cluster.set_write_rate(5e6, region_id=hot)
    await settled(pd)
    facts = await facts_for(pd, action)
    assert [o.code for o in action.preflight(facts, LIMITS)] == ["hot_region"]
    assert await send(pd, action.plan(facts)[0].do) == "refused"
    assert pd.cluster.truth.get(hot) is not None
    assert action.probe(action.plan(facts)[0].do, await facts_for(pd, action)) == "not_started"


async def test_a_scatter_that_is_under_way_refuses_another_and_reads_as_applied(pd: Pd) -> None:
    action = crowded(pd, 1)
    await settled(pd)
    (change,) = action.plan(await facts_for(pd, action))
    assert await send(pd, change.do) == "accepted"
    facts = await facts_for(pd, action)
    assert (action.probe(change.do, facts), action.is_done(facts)) == ("applied", False)
    assert await send(pd, change.do) == "may_have_run"
    assert "operator_running" in {o.code for o in objections(action, facts, LIMITS)}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (f.ConnectionRefused(), "not_started"),
        (f.DroppedBefore(), "not_started"),
        (f.DroppedAfter(), "applied"),
        (f.Slow(60), "applied"),
        (f.NotLeader(), "not_started"),
        (f.NotLeader(applied=True), "applied"),
        (f.HalfBody(), "applied"),
        (f.Panic(), "not_started"),
    ],
    ids=str,
)
async def test_a_look_tells_of_a_scatter_what_the_answer_did_not(pd: Pd, fault: f.Fault, told: str) -> None:
    action = crowded(pd, 1)
    await settled(pd)
    (change,) = action.plan(await facts_for(pd, action))
    pd.faults.add(fault, method="POST", times=1)
    assert await send(pd, change.do) in ("may_have_run", "never_sent")
    pd.later(5)
    assert action.probe(change.do, await facts_for(pd, action)) == told


@pytest.mark.parametrize("at_s", [0.05, 0.3, 1.0])
async def test_after_a_pd_leader_change_a_scatter_is_told_once_every_region_is_heard_of(pd: Pd, at_s: float) -> None:
    action = crowded(pd, 1)
    await settled(pd)
    (change,) = action.plan(await facts_for(pd, action))
    assert await send(pd, change.do) == "accepted"
    pd.later(at_s)
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(1)
    assert action.probe(change.do, await facts_for(pd, action)) == "cant_tell"
    pd.later(100)
    facts = await facts_for(pd, action)
    region = found(pd, action.region_ids[0])
    was = calls.scatter_region(region.id, conf_ver=region.conf_ver, leader_store_id=region.leader or 0)
    assert action.probe(change.do, facts) == ("not_started" if change.do == was else "applied")
    assert action.is_done(facts)


async def test_a_region_is_split(pd: Pd) -> None:
    await settled(pd)
    action = split(pd)
    was = (await facts_for(pd, action)).region(action.region_id)
    total = len(pd.cluster.truth)
    assert await run(pd, action) == "succeeded"
    now = (await facts_for(pd, action)).region(action.region_id)
    assert was is not None
    assert now is not None
    assert (now.version, now.conf_ver, now.leader_store_id) == (was.version + 1, was.conf_ver, was.leader_store_id)
    assert {p.store_id for p in now.peers} == {p.store_id for p in was.peers}
    assert len(pd.cluster.truth) == total + 1
    assert pd.writes() == ["POST /pd/api/v1/operators"]


@pytest.mark.parametrize(
    ("config", "size"),
    [({"schedule.enable-tikv-split-region": "false"}, 96), ({"schedule.halt-scheduling": "true"}, 96), ({}, 4)],
)
async def test_a_split_that_tikv_does_not_carry_out_is_under_way_until_pd_gives_it_up(
    pd: Pd, config: dict[str, Any], size: int
) -> None:
    """PD gives no leave, or the region is so small that nobody knows its middle: why preflight refuses these."""
    await settled(pd)
    action = split(pd)
    (change,) = action.plan(await facts_for(pd, action))
    for table in (pd.cluster.truth, pd.cluster.cache):
        table.put(replace(found(pd, action.region_id), approximate_size=size))
    for key, value in config.items():
        pd.cluster.config.set_any(key, value, pd.now_s)
    facts = await facts_for(pd, action)
    assert objections(action, facts, Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000)))
    before = Sample(at_ms=0, figures=action.figures(facts))
    assert await send(pd, change.do) == "accepted"
    pd.later(5)
    facts = await facts_for(pd, action)
    assert (action.probe(change.do, facts), action.is_done(facts)) == ("under_way", False)
    assert await send(pd, change.do) == "refused"
    pd.later(60)
    facts = await facts_for(pd, action)
    assert (action.probe(change.do, facts), action.is_done(facts)) == ("not_started", True)
    assert action.verify(before, (Sample(at_ms=1, figures=action.figures(facts)),) * 3) == "no_better"


async def test_a_split_in_the_moments_of_a_pd_leader_change_shows_with_the_next_heartbeat(pd: Pd) -> None:
    """Its operator is lost with the leader, TiKV does what it was told, and nobody hears of it: never sent again."""
    await settled(pd)
    action = split(pd)
    (change,) = action.plan(await facts_for(pd, action))
    assert await send(pd, change.do) == "accepted"
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(1)
    assert found(pd, action.region_id).version == int(change.do.args["version"]) + 1
    told: list[str] = []
    while len(told) < 60 and "applied" not in told:
        told.append(action.probe(change.do, await facts_for(pd, action)))
        pd.later(2)
    assert set(told) == {"cant_tell", "applied"}


async def test_of_a_split_that_never_came_a_new_pd_leader_says_nothing_for_a_minute_and_a_half(pd: Pd) -> None:
    await settled(pd)
    action = split(pd)
    (change,) = action.plan(await facts_for(pd, action))
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(1)
    assert action.probe(change.do, await facts_for(pd, action)) == "cant_tell"
    pd.later(85)
    assert action.probe(change.do, await facts_for(pd, action)) == "cant_tell"
    pd.later(10)
    assert action.probe(change.do, await facts_for(pd, action)) == "not_started"


async def test_a_region_that_somebody_else_has_split_or_merged_away_is_not_split_once_more(pd: Pd) -> None:
    await settled(pd)
    action = split(pd)
    plan = plan_of(action, await facts_for(pd, action))
    (change,) = plan.changes
    pd.cluster.add_operator(building.split(pd.cluster, found(pd, action.region_id), "scan", []))
    pd.later(2)
    facts = await facts_for(pd, action)
    assert drifted(plan, facts, action)
    assert action.probe(change.do, facts) == "applied"
    pd.cluster.truth.remove(action.region_id)
    pd.cluster.hear_vanished(action.region_id)
    facts = await facts_for(pd, action)
    assert [o.code for o in action.preflight(facts, LIMITS)] == ["no_such_region"]
    assert action.probe(change.do, facts) == "cant_tell"
    assert await send(pd, change.do) == "refused"


async def test_halves_that_are_small_and_cold_are_merged_again_by_pd(pd: Pd) -> None:
    """Not before its interval, which preflight asks for; and the region is then as large as it was."""
    await settled(pd)
    action, total = split(pd), len(pd.cluster.truth)
    pd.cluster.config.set_any("schedule.split-merge-interval", "10m0s", pd.now_s)
    assert await run(pd, action) == "succeeded"
    pd.later(500)
    assert len(pd.cluster.truth) == total + 1
    pd.later(200)
    assert len(pd.cluster.truth) == total
    pd.cluster.config.set_any("schedule.split-merge-interval", "9m0s", pd.now_s)
    other = SplitRegion(region_id=min(r.id for r in pd.cluster.cache))
    facts = await facts_for(pd, other)
    codes = [o.code for o in objections(other, facts, Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000)))]
    assert codes == ["merged_again"]


async def test_tombstones_are_removed(pd: Pd) -> None:
    pd.cluster.make_tombstone(5)
    await settled(pd)
    assert await run(pd, BURY) == "succeeded"


@pytest.mark.parametrize("weight_of", ["leader", "region"])
async def test_a_weight_is_set_and_the_old_pair_set_again(pd: Pd, weight_of: Literal["leader", "region"]) -> None:
    pd.cluster.stores[4].leader_weight, pd.cluster.stores[4].region_weight = 1.25, 1.5
    pd.later(600)
    before = weights(pd.cluster)
    await settled(pd)
    weigh = SetStoreWeight(store_id=4, weight_of=weight_of, weight=1)
    assert await run(pd, weigh) == "succeeded"
    assert weights(pd.cluster) == before
    assert pd.writes() == ["POST /pd/api/v1/store/4/weight"] * 2


async def test_leaders_follow_the_weight_as_was_estimated_and_come_back(pd: Pd) -> None:
    await settled(pd)
    before = await facts_for(pd, WEIGH)
    (change,) = WEIGH.plan(before)
    assert await send(pd, change.do) == "accepted"
    pd.later(600)
    after = await facts_for(pd, WEIGH)
    moved = sum(max(0, a.leader_count - b.leader_count) for a, b in zip(after.stores, before.stores, strict=True))
    assert 0 < moved <= WEIGH.reach(before).leaders <= WEIGH.bounds(before).leaders_max
    assert after.stores[3].leader_count < before.stores[3].leader_count
    assert change.undo is not None
    assert await send(pd, change.undo) == "accepted"
    pd.later(600)
    back = await facts_for(pd, WEIGH)
    assert abs(back.stores[3].leader_count - before.stores[3].leader_count) <= 2


@pytest.mark.parametrize("cold", [False, True], ids=["leader-change", "restart"])
async def test_a_new_pd_leader_has_the_weight_that_was_set(pd: Pd, cold: bool) -> None:
    """It is in etcd before PD shows it. What is absent is believed once PD has settled."""
    await settled(pd)
    (change,) = WEIGH.plan(await facts_for(pd, WEIGH))
    assert change.undo is not None
    for call, other in ((change.do, change.undo), (change.undo, change.do)):
        assert await send(pd, call) == "accepted"
        if cold:
            pd.cluster.restart_pd(pd.now_s, down_s=1.0)
        else:
            pd.cluster.change_pd_leader(pd.now_s)
        pd.later(90 if cold else 1)
        unsettled = await facts_for(pd, WEIGH)
        assert unsettled.pd_leader_age_s < 60
        assert WEIGH.probe(change.do, unsettled) == ("applied" if call == change.do else "cant_tell")
        pd.later(120)
        facts = await facts_for(pd, WEIGH)
        assert WEIGH.probe(call, facts) == "applied"
        assert WEIGH.probe(other, facts) == "not_started"


async def test_a_store_that_is_no_more_refuses_its_weight_and_leaves_nothing(pd: Pd) -> None:
    await settled(pd)
    (change,) = WEIGH.plan(await facts_for(pd, WEIGH))
    pd.cluster.make_tombstone(4)
    assert await send(pd, change.do) == "accepted"  # PD weighs a Tombstone without complaint
    pd.later(2)
    assert WEIGH.probe(change.do, await facts_for(pd, WEIGH)) == "applied"
    assert await send(pd, calls.remove_tombstones()) == "accepted"
    assert await send(pd, change.do) == "refused"
    assert change.undo is not None
    assert WEIGH.probe(change.undo, await facts_for(pd, WEIGH)) == "applied"


hundredths = st.integers(1, 9_999).map(lambda n: n / 100)


@settings(max_examples=40, deadline=None)
@given(
    stores=st.integers(3, 7),
    seed=st.integers(0, 99),
    pairs=st.lists(st.tuples(hundredths, hundredths), min_size=7, max_size=7),
    weight_of=st.sampled_from(["leader", "region"]),
    weight=st.integers(10, 1_000).map(lambda n: n / 100),
    moves_for_s=st.sampled_from([0, 1, 60]),
)
def test_whatever_the_weights_do_and_undo_leave_them_as_they_were(
    stores: int,
    seed: int,
    pairs: list[tuple[float, float]],
    weight_of: Literal["leader", "region"],
    weight: float,
    moves_for_s: float,
) -> None:
    async def example() -> None:
        pd = Pd(Cluster.healthy(stores=stores, regions=12, now=START, seed=seed))
        for store, (leader, region) in zip(pd.cluster.stores.values(), pairs, strict=False):
            store.leader_weight, store.region_weight = leader, region
        action = SetStoreWeight(store_id=1 + seed % stores, weight_of=weight_of, weight=weight)
        before = weights(pd.cluster)
        (change,) = action.plan(await facts_for(pd, action))
        assert change.undo is not None
        assert await send(pd, change.do) == "accepted"
        expected = dict(zip(("leader", "region"), before[action.store_id], strict=True)) | {weight_of: weight}
        assert weights(pd.cluster) == before | {action.store_id: tuple(expected.values())}
        pd.later(moves_for_s)
        assert action.is_done(await facts_for(pd, action))
        assert await send(pd, change.undo) == "accepted"
        assert weights(pd.cluster) == before

    asyncio.run(example())


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_is_set_and_its_old_value_set_again(pd: Pd, key: ScheduleKey) -> None:
    await settled(pd)
    pd.cluster.config.schedule[key] = KEYS[key].most - 1
    before = dict(pd.cluster.config.schedule)
    action = SetScheduleConfig(key=key, value=KEYS[key].least)
    assert await run(pd, action) == "succeeded"
    assert pd.cluster.config.schedule == before
    assert pd.writes() == ["POST /pd/api/v1/config"] * 2
    assert not pd.cluster.config.ttl


async def test_leaders_are_held_while_the_limit_is_0_and_move_again_afterwards(pd: Pd) -> None:
    await settled(pd)
    action = SetScheduleConfig(key="leader-schedule-limit", value=0)
    (change,) = action.plan(await facts_for(pd, action))
    assert await send(pd, change.do) == "accepted"
    assert await send(pd, calls.add_evict_leader(4)) == "accepted"
    pd.later(60)
    held = (await facts_for(pd, action)).store(4)
    assert held is not None
    assert held.leader_count > 0
    assert change.undo is not None
    assert await send(pd, change.undo) == "accepted"
    pd.later(120)
    drained = (await facts_for(pd, action)).store(4)
    assert drained is not None
    assert drained.leader_count == 0


@pytest.mark.parametrize("cold", [False, True], ids=["leader-change", "restart"])
async def test_a_new_pd_leader_has_the_value_that_was_set(pd: Pd, cold: bool) -> None:
    await settled(pd)
    (change,) = CONFIG.plan(await facts_for(pd, CONFIG))
    assert change.undo is not None
    for call, other in ((change.do, change.undo), (change.undo, change.do)):
        assert await send(pd, call) == "accepted"
        if cold:
            pd.cluster.restart_pd(pd.now_s, down_s=1.0)
        else:
            pd.cluster.change_pd_leader(pd.now_s)
        pd.later(90 if cold else 1)
        unsettled = await facts_for(pd, CONFIG)
        assert unsettled.pd_leader_age_s < 60
        assert CONFIG.probe(change.do, unsettled) == ("applied" if call == change.do else "cant_tell")
        pd.later(120)
        facts = await facts_for(pd, CONFIG)
        assert CONFIG.probe(call, facts) == "applied"
        assert CONFIG.probe(other, facts) == "not_started"


async def test_what_somebody_holds_for_a_while_is_neither_overwritten_nor_ended(pd: Pd) -> None:
    """As BR does while it restores. PD's refusal is the only sign of it: nothing has changed, and a look shows that."""
    await settled(pd)
    key = "leader-schedule-limit"
    pd.cluster.config.set_ttl({f"schedule.{key}": 0}, 300, pd.now_s)
    facts = await facts_for(pd, CONFIG)
    assert CONFIG.plan(facts) == CONFIG.plan(facts.model_copy(update={"schedule_config": {key: 4}}))
    (change,) = CONFIG.plan(facts)
    assert await send(pd, change.do) == "refused"
    assert CONFIG.probe(change.do, await facts_for(pd, CONFIG)) == "not_started"
    assert pd.cluster.config.limit(key, pd.now_s) == 0
    pd.later(301)
    assert pd.cluster.config.limit(key, pd.now_s) == 4


async def test_the_undo_is_refused_while_somebody_holds_the_key_and_the_value_shows_on(pd: Pd) -> None:
    await settled(pd)
    (change,) = CONFIG.plan(await facts_for(pd, CONFIG))
    assert change.undo is not None
    assert await send(pd, change.do) == "accepted"
    pd.cluster.config.set_ttl({"schedule.leader-schedule-limit": 0}, 60, pd.now_s)
    assert await send(pd, change.undo) == "refused"
    assert CONFIG.probe(change.undo, await facts_for(pd, CONFIG)) == "not_started"
    pd.later(61)
    assert await send(pd, change.undo) == "accepted"
    assert CONFIG.probe(change.undo, await facts_for(pd, CONFIG)) == "applied"


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
    for action in (EVICT, transfer(pd), move(pd), BURY, split(pd), WEIGH, CONFIG):
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
