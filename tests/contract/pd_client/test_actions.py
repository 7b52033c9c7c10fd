"""Each action from facts to its end on a simulated PD: preflight, plan, call, probe, done, verdict, undo."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions import calls
from actions.action import Action, Limits
from actions.cancel_operator import CancelOperator
from actions.cancel_store_offline import CancelStoreOffline
from actions.drift import drifted, exceeds
from actions.evict_store_leaders import EvictStoreLeaders
from actions.offline_store import OfflineStore
from actions.pause_scheduler import PauseScheduler
from actions.preflight import objections
from actions.remove_tombstones import RemoveTombstones
from actions.scatter_regions import ScatterRegions
from actions.schedule_keys import KEYS, ScheduleKey
from actions.set_schedule_config import SetScheduleConfig
from actions.set_store_limit import SetStoreLimit
from actions.set_store_weight import SetStoreWeight
from actions.set_tikv_config import SetTikvConfig
from actions.split_region import SplitRegion
from actions.transfer_pd_leader import TransferPdLeader
from actions.transfer_region_leader import TransferRegionLeader
from actions.transfer_region_peer import TransferRegionPeer
from pdsim import building
from pdsim import faults as f
from pdsim.model import Cluster
from pdsim.operators import Priority
from pdsim.regions import Region
from pdsim.stores import State
from schemas.facts import Facts, NoFacts
from schemas.policy import LimitsPolicy
from schemas.values import Call, Sample
from tests.actions.clusters import LIMITS
from tests.actions.test_actions import plan_of
from tests.contract.pd_client.conftest import START, Pd

pytestmark = pytest.mark.contract
EVICT = EvictStoreLeaders(store_id=4)
BURY = RemoveTombstones(store_ids=(5,))
LIMIT = SetStoreLimit(store_id=4, limit_type="remove-peer", per_minute=30)
LEAD = TransferPdLeader(member="pd-1")
WEIGH = SetStoreWeight(store_id=4, weight_of="leader", weight=0.5)
OFFLINE = OfflineStore(store_id=4)
CANCEL = CancelStoreOffline(store_id=4)
PAUSE = PauseScheduler(scheduler="balance-leader-scheduler", keep_s=60)
CONFIG = SetScheduleConfig(key="leader-schedule-limit", value=2)
SHRINK = SetTikvConfig(store_id=4, key="storage.block-cache.capacity", mib=4096)


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


def balance(pd: Pd, scheduler: str = "balance-region-scheduler") -> CancelOperator:
    """PD has begun to move a replica of a large region: it takes minutes. It is to be cancelled."""
    region = sorted(pd.cluster.cache, key=lambda r: r.id)[1]
    for table in (pd.cluster.truth, pd.cluster.cache):
        table.put(replace(found(pd, region.id), approximate_size=20_000))
    out = next(p.store_id for p in region.peers if p.store_id != region.leader)
    into = next(s for s in pd.cluster.stores if region.peer_on(s) is None)
    wanted = [into if p.store_id == out else p.store_id for p in region.peers]
    maker = building.Maker(scheduler, (), Priority.MEDIUM)
    assert pd.cluster.add_operator(building.move(pd.cluster, found(pd, region.id), wanted, maker))
    return CancelOperator(region_id=region.id, operator=scheduler)


def found(pd: Pd, region_id: int) -> Region:
    """As TiKV has it."""
    region = pd.cluster.truth.get(region_id)
    assert region is not None
    return region


def weights(cluster: Cluster) -> dict[int, tuple[float, ...]]:
    return {s.id: (s.leader_weight, s.region_weight) for s in cluster.stores.values()}


def limits_of(cluster: Cluster) -> dict[int, dict[str, float]]:
    return {s.id: {kind: limit.per_minute for kind, limit in s.limits.items()} for s in cluster.stores.values()}


def removals(cluster: Cluster) -> dict[int, tuple[str, dict[str, float]]]:
    """By store its state, and its limits a minute."""
    limits = {s.id: {kind: limit.per_minute for kind, limit in s.limits.items()} for s in cluster.stores.values()}
    return {s.id: (s.state.name, limits[s.id]) for s in cluster.stores.values()}


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


async def test_a_cache_is_made_smaller_and_set_back(pd: Pd) -> None:
    await settled(pd)
    was = {s.id: s.settings for s in pd.cluster.stores.values()}
    assert await run(pd, SHRINK) == "succeeded"
    assert {s.id: s.settings for s in pd.cluster.stores.values()} == was
    assert pd.cluster.stores[4].settings.file == pd.cluster.stores[5].settings.now
    assert pd.writes() == ["POST /config", "POST /config"]


async def test_a_restart_takes_a_setting_back(pd: Pd) -> None:
    await settled(pd)
    before = await facts_for(pd, SHRINK)
    (change,) = SHRINK.plan(before)
    assert change.undo is not None
    assert await send(pd, change.do) == "accepted"
    assert SHRINK.probe(change.do, await facts_for(pd, SHRINK)) == "applied"
    pd.cluster.kill_store(4)
    dead = await facts_for(pd, SHRINK)
    assert (SHRINK.probe(change.do, dead), SHRINK.probe(change.undo, dead)) == ("cant_tell", "cant_tell")
    pd.later(5)
    pd.cluster.revive_store(4)
    now = await facts_for(pd, SHRINK)
    assert (SHRINK.probe(change.do, now), SHRINK.probe(change.undo, now)) == ("not_started", "applied")
    stopped = SHRINK.abort_if(
        Sample(at_ms=0, figures=SHRINK.figures(before)), Sample(at_ms=1, figures=SHRINK.figures(now))
    )
    assert stopped is not None
    assert stopped[0] == "store_restarted"
    assert f"store:4.started_at_s was {int(START) - 604_800}, is {int(START) + 315}" in drifted(
        plan_of(SHRINK, before), now, SHRINK
    )
    assert await send(pd, change.undo) == "accepted"  # without a word to the store
    assert pd.writes() == ["POST /config"]


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


async def test_an_operator_is_cancelled_and_what_the_store_was_told_already_is_taken_back_by_pd(pd: Pd) -> None:
    await settled(pd)
    action = balance(pd)
    was = found(pd, action.region_id)
    assert await run(pd, action) == "succeeded"
    assert pd.writes() == [f"DELETE /pd/api/v1/operators/{action.region_id}"]
    assert found(pd, action.region_id).conf_ver == was.conf_ver
    pd.later(60)
    now = found(pd, action.region_id)
    assert now.conf_ver == was.conf_ver + 2  # the learner appeared after all, and went
    assert {p.store_id for p in now.peers} == {p.store_id for p in was.peers}
    (newest,) = (await facts_for(pd, action)).newest_operators
    assert (newest.desc, newest.status) == ("remove-orphan-peer", "SUCCESS")


async def test_of_an_operator_that_ends_by_itself_nothing_is_cancelled_nor_sent_again(pd: Pd) -> None:
    await settled(pd)
    action = balance(pd)
    plan = plan_of(action, await facts_for(pd, action))
    (change,) = plan.changes
    pd.later(400)
    facts = await facts_for(pd, action)
    assert (action.probe(change.do, facts), action.is_done(facts)) == ("not_started", True)
    assert [o.code for o in action.preflight(facts, LIMITS)] == ["no_such_operator"]
    assert drifted(plan, facts, action)
    assert await send(pd, change.do) == "refused"


async def test_an_operator_that_a_person_has_put_in_its_place_is_seen_to_be_another(pd: Pd) -> None:
    """The record trap: PD shows the newest operator of a region, whoever made it."""
    await settled(pd)
    action = balance(pd)
    plan = plan_of(action, await facts_for(pd, action))
    (change,) = plan.changes
    pd.later(1)
    region = found(pd, action.region_id)
    to = next(p.store_id for p in region.peers if p.store_id != region.leader)
    assert await send(pd, calls.transfer_leader(region.id, to)) == "accepted"
    facts = await facts_for(pd, action)
    assert [o.code for o in action.preflight(facts, LIMITS)] == ["no_such_operator"]
    assert len(drifted(plan, facts, action)) == 2
    assert action.probe(change.do, facts) == "applied"  # the one that was meant runs no more


@pytest.mark.parametrize("sent", [True, False])
async def test_a_pd_leader_change_loses_operators_and_their_records(pd: Pd, sent: bool) -> None:
    await settled(pd)
    action = balance(pd)
    (change,) = action.plan(await facts_for(pd, action))
    if sent:
        assert await send(pd, change.do) == "accepted"
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(1)
    facts = await facts_for(pd, action)
    assert facts.newest_operators == ()
    assert action.probe(change.do, facts) == "cant_tell"
    pd.later(65)
    assert action.probe(change.do, await facts_for(pd, action)) == "applied"
    assert await send(pd, change.do) == "refused"


@pytest.mark.parametrize("name", ["replace-rule-down-peer", "admin-move-peer", "evict-leader-scheduler"])
async def test_of_an_operator_of_others_nothing_is_planned_to_be_cancelled(pd: Pd, name: str) -> None:
    await settled(pd)
    action = balance(pd, name)
    codes = [(o.code, o.kind) for o in action.preflight(await facts_for(pd, action), LIMITS)]
    assert codes in ([("mends_replicas", "never")], [("made_by_hand", "never")], [("drains_a_store", "never")])


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


@pytest.mark.parametrize("limit_type", ["add-peer", "remove-peer"])
async def test_a_limit_is_set_and_the_old_one_set_again(pd: Pd, limit_type: Literal["add-peer", "remove-peer"]) -> None:
    pd.cluster.stores[4].limits["add-peer"].per_minute = 0.5
    pd.cluster.stores[4].limits["remove-peer"].per_minute = 1e8
    before = limits_of(pd.cluster)
    await settled(pd)
    assert await run(pd, SetStoreLimit(store_id=4, limit_type=limit_type, per_minute=15)) == "succeeded"
    assert limits_of(pd.cluster) == before
    assert pd.writes() == ["POST /pd/api/v1/store/4/limit"] * 2


async def test_a_removal_that_was_cancelled_under_another_pd_leader_leaves_a_limit_that_is_mended(pd: Pd) -> None:
    await settled(pd)
    client = httpx.AsyncClient(transport=pd.transport(), base_url="http://pd-1:2379/pd/api/v1")
    assert (await client.delete("/store/4")).status_code == 200
    action = SetStoreLimit(store_id=4, limit_type="remove-peer", per_minute=15)
    while_it_goes = await facts_for(pd, action)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))
    assert [o.code for o in objections(action, while_it_goes, limits)] == ["store_not_up", "being_removed"]
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(1)
    assert (await client.post("/store/4/state?state=Up")).status_code == 200
    await facts_for(pd, action)
    pd.later(600)
    assert limits_of(pd.cluster)[4] == {"add-peer": 15, "remove-peer": 1e8}
    facts = await facts_for(pd, action)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))
    assert objections(action, facts, limits) == ()
    (change,) = action.plan(facts)
    assert await send(pd, change.do) == "accepted"
    assert limits_of(pd.cluster)[4] == {"add-peer": 15, "remove-peer": 15}


async def test_an_undo_is_not_settled_while_the_store_is_being_removed_for_pd_may_bring_our_limit_back(pd: Pd) -> None:
    await settled(pd)
    (change,) = LIMIT.plan(await facts_for(pd, LIMIT))
    assert change.undo is not None
    assert await send(pd, change.do) == "accepted"
    client = httpx.AsyncClient(transport=pd.transport(), base_url="http://pd-0:2379/pd/api/v1")
    assert (await client.delete("/store/4")).status_code == 200
    assert await send(pd, change.undo) == "accepted"
    pd.later(1)
    assert LIMIT.probe(change.undo, await facts_for(pd, LIMIT)) == "cant_tell"
    assert (await client.post("/store/4/state?state=Up")).status_code == 200
    pd.later(1)
    assert LIMIT.probe(change.undo, await facts_for(pd, LIMIT)) == "not_started"  # ours again: taken back once more
    assert await send(pd, change.undo) == "accepted"
    assert LIMIT.probe(change.undo, await facts_for(pd, LIMIT)) == "applied"
    assert limits_of(pd.cluster)[4]["remove-peer"] == 15


@pytest.mark.parametrize("cold", [False, True], ids=["leader-change", "restart"])
async def test_a_new_pd_leader_has_the_limit_that_was_set(pd: Pd, cold: bool) -> None:
    await settled(pd)
    (change,) = LIMIT.plan(await facts_for(pd, LIMIT))
    assert change.undo is not None
    for call, other in ((change.do, change.undo), (change.undo, change.do)):
        assert await send(pd, call) == "accepted"
        if cold:
            pd.cluster.restart_pd(pd.now_s, down_s=1.0)
        else:
            pd.cluster.change_pd_leader(pd.now_s)
        pd.later(90 if cold else 1)
        unsettled = await facts_for(pd, LIMIT)
        assert LIMIT.probe(change.do, unsettled) == ("applied" if call == change.do else "cant_tell")
        pd.later(120)
        facts = await facts_for(pd, LIMIT)
        assert LIMIT.probe(call, facts) == "applied"
        assert LIMIT.probe(other, facts) == "not_started"


async def test_a_limit_that_pd_would_refuse_is_refused_by_us_first(pd: Pd) -> None:
    pd.cluster.config.set_schedule({"store-limit-version": "v2"}, pd.now_s)
    await settled(pd)
    facts = await facts_for(pd, LIMIT)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))
    assert [o.code for o in objections(LIMIT, facts, limits)] == ["limits_not_v1"]
    (change,) = LIMIT.plan(facts)
    assert await send(pd, change.do) == "refused"
    assert LIMIT.probe(change.do, await facts_for(pd, LIMIT)) == "not_started"


async def lead(pd: Pd, *, do: str, seconds: float) -> list[Facts]:
    """What is seen every 2 s after the leader of PD was told to move there."""
    assert await send(pd, calls.transfer_pd_leader(do)) == "accepted"
    found = []
    while seconds > 0:
        pd.later(2)
        seconds -= 2
        with suppress(NoFacts):  # in the moments in which nobody leads
            found.append(await facts_for(pd, LEAD))
    return found


async def test_the_leader_of_pd_is_moved_and_moved_back_and_judged_once_it_has_settled(pd: Pd) -> None:
    await settled(pd)
    before = await facts_for(pd, LEAD)
    assert objections(LEAD, before, Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))) == ()
    (change,) = LEAD.plan(before)
    assert change.undo == calls.transfer_pd_leader("pd-0")
    was = Sample(at_ms=0, figures=LEAD.figures(before))
    seen = await lead(pd, do="pd-1", seconds=70)
    assert any(len(s.up_store_ids()) < 5 for s in seen), "a new leader has not heard of every store yet"
    assert not any(LEAD.abort_if(was, Sample(at_ms=0, figures=LEAD.figures(s))) for s in seen)
    assert [LEAD.is_done(s) for s in seen] == [s.pd_leader_age_s >= 60 for s in seen]
    assert [LEAD.probe(change.do, s) for s in seen] == ["applied"] * len(seen)
    done = [Sample(at_ms=0, figures=LEAD.figures(s)) for s in seen if LEAD.is_done(s)]
    assert LEAD.verify(was, tuple(done)) == "succeeded"
    assert [LEAD.probe(change.undo, s) for s in seen] == ["not_started"] * len(seen)
    back = await lead(pd, do="pd-0", seconds=70)
    assert [LEAD.probe(change.undo, s) for s in back] == ["applied"] * len(back)
    assert (back[-1].pd_leader, LEAD.probe(change.do, back[-1])) == ("pd-0", "not_started")


async def test_what_a_pd_leader_forgets_bars_its_move(pd: Pd) -> None:
    await settled(pd)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))

    async def codes() -> list[str]:
        return [o.code for o in objections(LEAD, await facts_for(pd, LEAD), limits)]

    client = httpx.AsyncClient(transport=pd.transport(), base_url="http://pd-0:2379/pd/api/v1")
    await client.post("/schedulers/balance-region-scheduler", json={"delay": 600})
    assert await codes() == ["schedulers_paused"]
    await client.post("/schedulers/balance-region-scheduler", json={"delay": 0})
    move = transfer(pd)
    (change,) = move.plan(await facts_for(pd, move))
    assert await send(pd, change.do) == "accepted"
    assert await codes() == ["operators_running"]
    pd.later(5)
    assert await codes() == []
    await client.delete("/store/5")
    assert await codes() == ["store_not_up", "stores_leaving"]


async def test_where_another_member_is_preferred_pd_moves_its_leader_on_which_is_seen(pd: Pd) -> None:
    await settled(pd)
    before = await facts_for(pd, LEAD)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))
    pd.cluster.members.all[2].priority = 5
    assert [o.code for o in objections(LEAD, await facts_for(pd, LEAD), limits)] == ["another_preferred"] * 2
    seen = await lead(pd, do="pd-1", seconds=140)
    assert (seen[0].pd_leader, seen[-1].pd_leader) == ("pd-1", "pd-2")
    was = Sample(at_ms=0, figures=LEAD.figures(before))
    done = tuple(Sample(at_ms=0, figures=LEAD.figures(s)) for s in seen if LEAD.is_done(s))
    assert LEAD.verify(was, done) == "no_better"


async def test_with_a_member_of_pd_down_its_leader_is_not_moved(pd: Pd) -> None:
    await settled(pd)
    pd.cluster.lose_member("pd-2")
    facts = await facts_for(pd, LEAD)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))
    assert [o.code for o in objections(LEAD, facts, limits)] == ["member_unhealthy", "members_unclear"]


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
        (f.NoLeader(), "not_started"),
        (f.HtmlBody(), "not_started"),
        (f.HalfBody(), "applied"),
        (f.Panic(), "not_started"),
    ],
)
async def test_a_look_tells_who_leads_whatever_the_answer_was(pd: Pd, fault: f.Fault, found: str) -> None:
    await settled(pd)
    (change,) = LEAD.plan(await facts_for(pd, LEAD))
    pd.faults.add(fault, method="POST", times=1)
    assert await send(pd, change.do) in ("may_have_run", "never_sent")
    pd.later(5)
    facts = await facts_for(pd, LEAD)
    assert LEAD.probe(change.do, facts) == found
    assert change.undo is not None
    assert LEAD.probe(change.undo, facts) == {"not_started": "applied", "applied": "not_started"}[found]


async def test_where_a_third_member_leads_it_is_not_told_at_once_and_not_while_ours_is_down(pd: Pd) -> None:
    await settled(pd)
    (change,) = LEAD.plan(await facts_for(pd, LEAD))
    pd.cluster.change_pd_leader(pd.now_s, "pd-2")
    pd.cluster.lose_member("pd-1")
    pd.later(20)
    assert (await facts_for(pd, LEAD)).pd_leader == "pd-2"
    assert LEAD.probe(change.do, await facts_for(pd, LEAD)) == "cant_tell"
    pd.later(60)
    assert LEAD.probe(change.do, await facts_for(pd, LEAD)) == "cant_tell"  # pd-1 is down: not to be sent again
    pd.cluster.restart_member("pd-1")
    pd.later(1)
    assert LEAD.probe(change.do, await facts_for(pd, LEAD)) == "not_started"


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    old=st.tuples(*(st.one_of(st.just(1e8), st.integers(1, 99_999).map(lambda n: n / 100)) for _ in range(2))),
    limit_type=st.sampled_from(["add-peer", "remove-peer"]),
    per_minute=st.integers(5, 200),
    moves_for_s=st.sampled_from([0, 1, 60]),
)
def test_whatever_the_limits_do_and_undo_leave_them_as_they_were(
    seed: int,
    old: tuple[float, float],
    limit_type: Literal["add-peer", "remove-peer"],
    per_minute: int,
    moves_for_s: float,
) -> None:
    async def example() -> None:
        pd = Pd(Cluster.healthy(stores=4, regions=12, now=START, seed=seed))
        action = SetStoreLimit(store_id=1 + seed % 4, limit_type=limit_type, per_minute=per_minute)
        for limit, rate in zip(pd.cluster.stores[action.store_id].limits.values(), old, strict=True):
            limit.per_minute = rate
        before = limits_of(pd.cluster)
        (change,) = action.plan(await facts_for(pd, action))
        assert change.undo is not None
        assert await send(pd, change.do) == "accepted"
        ours = before[action.store_id] | {limit_type: per_minute}
        assert limits_of(pd.cluster) == before | {action.store_id: ours}
        pd.later(moves_for_s)
        assert action.is_done(await facts_for(pd, action))
        assert await send(pd, change.undo) == "accepted"
        assert limits_of(pd.cluster) == before

    asyncio.run(example())


async def test_a_store_is_taken_out_until_it_drains_and_kept_again(pd: Pd) -> None:
    await settled(pd)
    before = removals(pd.cluster)
    assert await run(pd, OFFLINE) == "succeeded"
    assert removals(pd.cluster) == before
    assert 0 < pd.cluster.cache.region_count(4) < 36
    assert pd.writes() == ["DELETE /pd/api/v1/store/4", "POST /pd/api/v1/store/4/state"]
    assert [c.query for c in pd.cluster.calls if c.method != "GET"] == ["", "state=Up"]


async def test_a_store_that_has_drained_is_gone_and_pd_refuses_to_take_it_back(pd: Pd) -> None:
    await settled(pd)
    facts = await facts_for(pd, OFFLINE)
    (change,) = OFFLINE.plan(facts)
    assert change.undo is not None
    before = Sample(at_ms=0, figures=OFFLINE.figures(facts))
    assert await send(pd, change.do) == "accepted"
    left = []
    for _ in range(600):
        pd.later(10)
        facts = await facts_for(pd, OFFLINE)
        assert OFFLINE.abort_if(before, Sample(at_ms=0, figures=OFFLINE.figures(facts))) is None
        left.append(OFFLINE.figures(facts)["regions"])
        if facts.stores[3].state == "Tombstone":
            break
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert OFFLINE.is_done(facts)
    assert await send(pd, change.do) == "refused"
    assert await send(pd, change.undo) == "refused"
    facts = await facts_for(pd, OFFLINE)
    assert (OFFLINE.probe(change.do, facts), OFFLINE.probe(change.undo, facts)) == ("applied", "not_started")
    assert CANCEL.probe(change.undo, facts) == "not_started"
    assert await send(pd, calls.remove_tombstones()) == "accepted"
    assert await send(pd, change.undo) == "refused"
    assert OFFLINE.probe(change.undo, await facts_for(pd, OFFLINE)) == "not_started"


async def test_a_removal_is_cancelled_and_begun_again(pd: Pd) -> None:
    await settled(pd)
    before = removals(pd.cluster)
    assert await send(pd, calls.offline_store(4)) == "accepted"
    pd.later(5)
    draining = pd.cluster.cache.region_count(4)
    assert draining < 36
    assert await run(pd, CANCEL) == "succeeded"
    assert removals(pd.cluster)[4] == ("Offline", before[4][1] | {"remove-peer": 100_000_000})
    assert await send(pd, calls.cancel_store_offline(4)) == "accepted"
    assert removals(pd.cluster) == before


async def test_after_a_pd_leader_change_nobody_knows_the_old_limit_and_the_plan_says_so(pd: Pd) -> None:
    """pd-seen: a cancel then leaves remove-peer 100000000 for ever."""
    await settled(pd)
    premises = {p.name: p.value for p in OFFLINE.relies_on(await facts_for(pd, OFFLINE))}
    assert premises["store:4.remove_peer_limit"] == "15"
    assert await send(pd, calls.offline_store(4)) == "accepted"
    plan = plan_of(CANCEL, await facts_for(pd, CANCEL))
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(3)
    facts = await facts_for(pd, CANCEL)
    assert drifted(plan, facts, CANCEL) == [
        "store:4.remove_peer_limit was set back by PD, is forgotten by PD: look at it afterwards"
    ]
    assert not OFFLINE.is_done(facts)
    while not OFFLINE.is_done(facts) and pd.now_s < START + 340:
        pd.later(0.5)
        facts = await facts_for(pd, OFFLINE)
    assert {o.desc for o in facts.operators} == {"replace-rule-offline-peer"}  # by these, without PD's own figures
    assert facts.stores[3].state == "Offline"
    assert await send(pd, calls.cancel_store_offline(4)) == "accepted"
    pd.later(10)
    facts = await facts_for(pd, CANCEL)
    assert (facts.stores[3].state, CANCEL.figures(facts)["remove_peer_limit"]) == ("Up", 100_000_000)


async def test_a_dead_store_is_taken_out_once_pd_calls_it_down_and_has_replaced_its_replicas(pd: Pd) -> None:
    pd.cluster.config.set_schedule({"max-store-down-time": "1m0s"}, pd.now_s)
    await settled(pd)
    pd.cluster.kill_store(4)
    limits = Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))
    pd.later(40)
    codes = [o.code for o in objections(OFFLINE, await facts_for(pd, OFFLINE), limits)]
    assert "target_silent" in codes
    pd.later(600)
    facts = await facts_for(pd, OFFLINE)
    assert (facts.stores[3].state, facts.stores[3].region_count) == ("Down", 0)
    assert OFFLINE.reach(facts).bytes_moved == 0
    (change,) = OFFLINE.plan(facts)
    assert objections(OFFLINE, facts, Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))) == ()
    before = Sample(at_ms=0, figures=OFFLINE.figures(facts))
    assert await send(pd, change.do) == "accepted"
    pd.later(10)
    facts = await facts_for(pd, OFFLINE)
    assert facts.stores[3].state == "Tombstone"
    assert OFFLINE.verify(before, (Sample(at_ms=1, figures=OFFLINE.figures(facts)),) * 3) == "succeeded"


@pytest.mark.parametrize(
    "config",
    [{"schedule.replica-schedule-limit": 0}, {"schedule.halt-scheduling": "true"}],
    ids=["replica-schedule-limit", "halt-scheduling"],
)
async def test_a_store_that_pd_does_not_drain_is_not_done_and_given_up_after_ten_minutes(
    pd: Pd, config: dict[str, Any]
) -> None:
    await settled(pd)
    (change,) = OFFLINE.plan(await facts_for(pd, OFFLINE))
    for key, value in config.items():
        pd.cluster.config.set_any(key, value, pd.now_s)
    facts = await facts_for(pd, OFFLINE)
    assert objections(OFFLINE, facts, Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000)))
    before = Sample(at_ms=0, figures=OFFLINE.figures(facts))
    assert await send(pd, change.do) == "accepted"
    pd.later(590)
    facts = await facts_for(pd, OFFLINE)
    assert not OFFLINE.is_done(facts)
    figures = OFFLINE.figures(facts)
    assert OFFLINE.abort_if(before, Sample(at_ms=600_000, figures=figures)) is None
    stopped = OFFLINE.abort_if(before, Sample(at_ms=600_001, figures=figures))
    assert stopped == ("not_draining", "after 10 min PD has moved nothing off store 4")


@pytest.mark.parametrize("cold", [False, True], ids=["leader-change", "restart"])
async def test_a_new_pd_leader_knows_that_a_store_is_offline(pd: Pd, cold: bool) -> None:
    """It is in etcd before PD shows it. What was there before is believed once PD has settled."""
    await settled(pd)
    pd.cluster.config.set_schedule({"replica-schedule-limit": 0}, pd.now_s)  # it does not drain meanwhile
    offline, cancel = calls.offline_store(4), calls.cancel_store_offline(4)
    for call, other in ((offline, cancel), (cancel, offline)):
        assert await send(pd, call) == "accepted"
        if cold:
            pd.cluster.restart_pd(pd.now_s, down_s=1.0)
        else:
            pd.cluster.change_pd_leader(pd.now_s)
        pd.later(90 if cold else 1)
        unsettled = await facts_for(pd, OFFLINE)
        assert unsettled.pd_leader_age_s < 60
        assert OFFLINE.probe(offline, unsettled) == ("applied" if call == offline else "cant_tell")
        assert CANCEL.probe(cancel, unsettled) == ("cant_tell" if call == offline else "applied")
        pd.later(120)
        facts = await facts_for(pd, OFFLINE)
        for action in (OFFLINE, CANCEL):
            assert action.probe(call, facts) == "applied"
            assert action.probe(other, facts) == "not_started"


@settings(max_examples=30, deadline=None)
@given(
    stores=st.integers(4, 7),
    seed=st.integers(0, 99),
    rates=st.lists(st.integers(1, 2_000), min_size=7, max_size=7),
    drains_for_s=st.sampled_from([0, 1, 10]),
)
def test_whatever_the_limits_a_store_that_is_kept_has_its_own_again(
    stores: int, seed: int, rates: list[int], drains_for_s: float
) -> None:
    async def example() -> None:
        pd = Pd(Cluster.healthy(stores=stores, regions=60, now=START, seed=seed))
        for store, rate in zip(pd.cluster.stores.values(), rates, strict=False):
            store.limits["remove-peer"].per_minute = rate
        action = OfflineStore(store_id=1 + seed % stores)
        before = removals(pd.cluster)
        (change,) = action.plan(await facts_for(pd, action))
        assert change.undo is not None
        assert await send(pd, change.do) == "accepted"
        pd.later(drains_for_s)
        if removals(pd.cluster)[action.store_id][0] == "Tombstone":
            assert await send(pd, change.undo) == "refused"
            return
        assert await send(pd, change.undo) == "accepted"
        assert removals(pd.cluster) == before

    asyncio.run(example())


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


FAULTS = pytest.mark.parametrize(
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


@FAULTS
async def test_a_look_tells_what_the_answer_did_not(pd: Pd, fault: f.Fault, found: str) -> None:
    pd.cluster.make_tombstone(5)
    await settled(pd)
    for action in (EVICT, transfer(pd), move(pd), BURY, split(pd), WEIGH, CONFIG, balance(pd)):
        (change,) = action.plan(await facts_for(pd, action))
        pd.faults.add(fault, method=calls.render(change.do).method, times=1)
        assert await send(pd, change.do) in ("may_have_run", "never_sent")
        pd.later(5)
        assert action.probe(change.do, await facts_for(pd, action)) == found


@FAULTS
async def test_a_look_tells_whether_a_store_was_taken_out_or_kept(pd: Pd, fault: f.Fault, found: str) -> None:
    await settled(pd)
    for action in (OFFLINE, CANCEL):
        (change,) = action.plan(await facts_for(pd, action))
        assert change.undo is not None
        pd.faults.add(fault, method=calls.render(change.do).method, times=1)
        assert await send(pd, change.do) in ("may_have_run", "never_sent")
        pd.later(5)
        assert action.probe(change.do, await facts_for(pd, action)) == found
        assert await send(pd, change.do) == "accepted"
        pd.faults.add(fault, method=calls.render(change.undo).method, times=1)
        assert await send(pd, change.undo) in ("may_have_run", "never_sent")
        pd.later(5)
        facts = await facts_for(pd, action)
        assert action.probe(change.undo, facts) == found
        assert await send(pd, calls.offline_store(4)) == "accepted"  # where the next one begins


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
