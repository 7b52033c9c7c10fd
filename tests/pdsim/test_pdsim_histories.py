"""What pd-seen tells of hours, not of single answers: deaths, slow stores, changes and restarts of PD's leader."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pdsim.http import transport
from pdsim.model import Cluster
from pdsim.world import Timing

START = 1_800_000_000.0
API = "/pd/api/v1"


class World:
    """A cluster, a clock, and a client that talks to it."""

    def __init__(self, **more: Any) -> None:
        self.now = START
        self.cluster = Cluster.healthy(now=START, **more)
        self.http = httpx.Client(transport=transport(self.cluster, lambda: self.now), base_url=f"http://pd{API}")

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.cluster.advance(self.now)

    def get(self, path: str, **more: Any) -> Any:
        return self.http.get(path, **more).json()

    def state(self, store: int) -> str:
        return str(self.get(f"/store/{store}")["store"]["state_name"])

    def leaders(self, store: int) -> int:
        return int(self.get(f"/store/{store}")["status"]["leader_count"])

    def regions(self, store: int) -> int:
        return int(self.get(f"/store/{store}")["status"]["region_count"])


@pytest.fixture
def world() -> World:
    return World()


def test_a_killed_store_reads_disconnected_after_20_s_and_down_after_max_store_down_time(world: World) -> None:
    world.http.post("/config", json={"max-store-down-time": "60s"})
    world.sleep(9.0)
    world.cluster.kill_store(2)
    silent = world.now - world.cluster.stores[2].last_heartbeat
    world.sleep(19.0 - silent)
    assert world.state(2) == "Up"
    world.sleep(2.0)
    assert world.state(2) == "Disconnected"
    world.sleep(40.0)
    assert world.state(2) == "Down"
    assert world.get("/stores/check?state=Down")["count"] == 1


def test_leaders_of_a_killed_store_are_elected_elsewhere(world: World) -> None:
    world.cluster.kill_store(2)
    assert world.leaders(2) == 40
    world.sleep(20.0)
    assert world.leaders(2) == 0
    assert sum(world.leaders(store) for store in (1, 3, 4, 5)) == 200


def test_repair_of_a_down_store_makes_every_region_whole_again(world: World) -> None:
    world.http.post("/config", json={"max-store-down-time": "60s"})
    world.http.post("/stores/limit", json={"rate": 20000})
    world.cluster.kill_store(2)
    world.sleep(90.0)
    assert world.regions(2) == 0
    assert world.get("/regions/check/miss-peer")["count"] == 0
    assert world.get("/regions/replicated?startKey=&endKey=") == "REPLICATED"


def test_regions_that_lost_their_majority_stay_as_pd_last_saw_them(world: World) -> None:
    for store in (1, 2, 3):
        world.cluster.kill_store(store)
    world.sleep(120.0)
    lost = [r for r in world.cluster.truth if {p.store_id for p in r.peers} <= {1, 2, 3}]
    assert lost
    assert all(world.cluster.cache.get(region.id) == region for region in lost)


def test_a_dead_peer_shows_as_down_after_ten_minutes_and_refuses_leaders(world: World) -> None:
    world.cluster.kill_store(2)
    world.sleep(700.0)
    down = world.get("/regions/check/down-peer")["regions"]
    assert down
    answer = world.http.post(
        "/operators", json={"name": "transfer-leader", "region_id": down[0]["id"], "to_store_id": 2}
    )
    assert (answer.status_code, answer.json()) == (500, "cannot transfer leader to 2: unhealthy")
    assert down[0]["down_peers"][0]["down_seconds"] >= 600


def test_a_disconnected_store_takes_peers_but_no_leaders(world: World) -> None:
    world.cluster.kill_store(2)
    world.sleep(60.0)
    region = next(r for r in world.cluster.cache if r.peer_on(2) is None)
    held = next(r for r in world.cluster.cache if r.peer_on(2) is not None)
    refused = world.http.post("/operators", json={"name": "transfer-leader", "region_id": held.id, "to_store_id": 2})
    assert refused.json() == "cannot create operator: target leader is not allowed"
    source = next(p.store_id for p in region.peers if p.store_id != region.leader)
    body = {"name": "transfer-peer", "region_id": region.id, "from_store_id": source, "to_store_id": 2}
    assert world.http.post("/operators", json=body).status_code == 200
    world.sleep(600.0)
    assert world.get(f"/operators/{region.id}").startswith("status: RUNNING")
    assert "timeout:[17m0s]" in world.get(f"/operators/{region.id}")


def test_an_operator_that_can_not_finish_times_out(world: World) -> None:
    region = next(iter(world.cluster.cache))
    to = next(p.store_id for p in region.peers if p.store_id != region.leader)
    world.cluster.kill_store(to)
    world.http.post("/operators", json={"name": "transfer-leader", "region_id": region.id, "to_store_id": to})
    world.sleep(59.0)
    assert world.get(f"/operators/{region.id}").startswith("status: RUNNING")
    world.sleep(2.0)
    seen = world.get(f"/operators/{region.id}")
    assert seen.startswith("status: TIMEOUT")
    assert seen.endswith(" timeout")
    world.sleep(601.0)
    assert world.http.get(f"/operators/{region.id}").status_code == 500, "records are kept for ten minutes"


def test_a_cancelled_learner_may_still_appear_and_is_removed_later(world: World) -> None:
    region = next(iter(world.cluster.cache))
    target = next(s for s in world.cluster.stores if region.peer_on(s) is None)
    source = next(p.store_id for p in region.peers if p.store_id != region.leader)
    body = {"name": "transfer-peer", "region_id": region.id, "from_store_id": source, "to_store_id": target}
    world.http.post("/operators", json=body)
    world.http.delete(f"/operators/{region.id}")
    world.sleep(10.0)
    assert len(world.get(f"/region/id/{region.id}")["peers"]) == 3
    world.sleep(10.05)
    assert [p["role_name"] for p in world.get(f"/region/id/{region.id}")["peers"]].count("Learner") == 1
    world.sleep(10.0)
    assert len(world.get(f"/region/id/{region.id}")["peers"]) == 3


def test_a_store_at_slow_score_100_is_taken_in_by_its_own_scheduler(world: World) -> None:
    world.cluster.set_slow(3, 100)
    world.sleep(3.0)
    assert world.leaders(3) == 0
    assert world.get("/scheduler-config/evict-slow-store-scheduler/list")["evict-stores"] == [3]
    assert world.http.get("/scheduler-config/evict-leader-scheduler/list").status_code == 404
    world.cluster.set_slow(3, 1)
    world.sleep(60.0)
    assert world.leaders(3) == 0, "still evicted 60 s after the score was 1 again"
    world.sleep(1800.0)
    assert world.leaders(3) > 30


def test_a_store_at_slow_score_90_is_slow_for_alerts_but_keeps_its_leaders(world: World) -> None:
    world.cluster.set_slow(3, 90)
    world.sleep(30.0)
    assert world.leaders(3) == 40
    assert world.get("/store/3")["status"]["slow_score"] == 90
    text = world.http.get("http://pd/metrics").text
    assert 'pd_cluster_status{engine="tikv",store="3",type="store_slow_count"} 1' in text
    assert 'pd_cluster_status{engine="tikv",store="1",type="store_slow_count"} 0' in text


def test_an_eviction_never_expires_and_leaders_come_back_after_it(world: World) -> None:
    world.http.post("/schedulers", json={"name": "evict-leader-scheduler", "store_id": 1})
    world.sleep(3.0)
    assert world.leaders(1) == 0
    world.sleep(7200.0)
    assert world.leaders(1) == 0
    world.http.delete("/schedulers/evict-leader-scheduler-1")
    world.sleep(10.0)
    assert world.leaders(1) >= 38


def test_with_all_stores_evicted_leaders_stay(world: World) -> None:
    for store in range(1, 6):
        world.http.post("/schedulers", json={"name": "evict-leader-scheduler", "store_id": store})
    world.sleep(5.0)
    before = [world.leaders(store) for store in range(1, 6)]
    world.sleep(30.0)
    assert [world.leaders(store) for store in range(1, 6)] == before
    assert sum(before) == 200


def test_a_lifted_bar_is_a_fight_without_end(world: World) -> None:
    world.http.post("/schedulers", json={"name": "evict-leader-scheduler", "store_id": 1})
    world.sleep(3.0)
    world.http.post("/scheduler-config/evict-leader-scheduler/config", json={"store_id": 1, "batch": 11})
    world.sleep(10.0)
    seen = []
    for _ in range(12):
        world.sleep(10.0)
        seen.append(world.leaders(1))
    assert min(seen) > 20, f"more than 20 leaders for two minutes, never 0: {seen}"


def test_a_restarted_pd_knows_no_leaders_no_schedulers_and_no_sizes_until_heartbeats(world: World) -> None:
    world.http.post("/schedulers", json={"name": "evict-leader-scheduler", "store_id": 1})
    world.sleep(3.0)
    world.cluster.restart_pd(world.now)
    starting = world.http.get("/stores")
    assert (starting.status_code, starting.text) == (500, "[PD:server:ErrServerNotStarted]server not started\n")
    world.sleep(3.2)
    assert world.leaders(2) == 0
    assert world.regions(2) > 0
    assert world.get("/schedulers") == []
    assert world.http.get("/scheduler-config/evict-leader-scheduler/list").status_code == 404
    assert {"role_name": ""} in [region["leader"] for region in world.get("/regions/key?limit=-1")["regions"]]
    cold = [s["status"] for s in world.get("/stores")["stores"] if s["status"]["capacity"] == "0B"]
    assert cold
    world.sleep(70.0)
    assert world.leaders(1) == 0
    assert world.leaders(2) > 40
    assert "1" in world.get("/scheduler-config/evict-leader-scheduler/list")["store-id-ranges"]


def test_a_leaderless_region_can_not_be_built_for(world: World) -> None:
    world.cluster.restart_pd(world.now)
    world.sleep(3.2)
    region = next(r for r in world.cluster.cache if r.leader is None)
    to = region.peers[0].store_id
    answer = world.http.post("/operators", json={"name": "transfer-leader", "region_id": region.id, "to_store_id": to})
    assert (answer.status_code, answer.json()) == (500, "cannot build operator for region with no leader")


def test_after_a_change_of_leader_operators_and_records_are_gone_but_stores_go_on(world: World) -> None:
    region = next(iter(world.cluster.cache))
    target = next(s for s in world.cluster.stores if region.peer_on(s) is None)
    source = next(p.store_id for p in region.peers if p.store_id != region.leader)
    body = {"name": "transfer-peer", "region_id": region.id, "from_store_id": source, "to_store_id": target}
    world.http.post("/operators", json=body)
    world.cluster.change_pd_leader(world.now)
    world.sleep(0.2)
    assert world.http.get(f"/operators/{region.id}").status_code == 500
    assert world.http.get("/operators/records").status_code == 500
    assert world.get("/leader")["name"] == "pd-1"


def test_kill_9_of_the_leader_is_redirect_failed_for_12_s(world: World) -> None:
    world.cluster.kill_pd_leader(world.now)
    failed = world.http.get("/stores")
    assert (failed.status_code, failed.text) == (500, "[PD:apiutil:ErrRedirect]redirect failed\n")
    world.sleep(12.0)
    assert world.http.get("/stores").status_code == 500
    world.sleep(0.6)
    assert world.http.get("/stores").status_code == 200
    with pytest.raises(httpx.ConnectError):
        world.http.get("http://pd-0:2379/pd/api/v1/stores")
    assert [m["health"] for m in world.get("/health")] == [False, True, True]


def test_without_quorum_the_leader_answers_for_5_s_more_then_503_after_3_s(world: World) -> None:
    world.cluster.lose_member("pd-1")
    world.cluster.lose_member("pd-2")
    world.sleep(4.0)
    assert world.http.get("/stores").status_code == 200
    world.sleep(2.0)
    answer = world.http.get("/leader", timeout=10)
    assert (answer.status_code, answer.text) == (503, "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n")
    with pytest.raises(httpx.ReadTimeout):
        world.http.get("/members", timeout=2)
    assert world.http.get("/config").json() == "[PD:server:ErrLeaderNil]leader is nil"
    assert world.http.get("/health").status_code == 200
    assert world.http.get("/ping").status_code == 200


def test_a_wedged_old_leader_stays_stuck_until_its_process_restarts(world: World) -> None:
    world.http.get("/regions/store/1?type=foo")
    world.cluster.change_pd_leader(world.now)
    world.sleep(1.0)
    assert world.http.get("/regions/store/1").status_code == 200, "the cluster recovers"
    with pytest.raises(httpx.ReadTimeout):
        world.http.get("http://pd-0:2379/pd/api/v1/stores")
    assert all(member["health"] for member in world.get("/health"))
    world.cluster.restart_member("pd-0")
    assert world.http.get("http://pd-0:2379/pd/api/v1/stores").status_code == 200


def test_a_follower_asked_to_answer_itself_knows_no_cluster(world: World) -> None:
    headers = {"PD-Allow-follower-handle": "true"}
    stores = world.http.get("http://pd-1:2379/pd/api/v1/stores", headers=headers)
    assert stores.status_code == 500
    assert "ErrNotBootstrapped" in stores.text
    assert world.http.get("http://pd-1:2379/pd/api/v1/regions/count", headers=headers).status_code == 200


def test_resigning_alone_changes_nothing() -> None:
    world = World(members=1)
    assert world.http.post("/leader/resign").status_code == 200
    assert world.http.get("/stores").status_code == 200


def test_a_hot_region_shows_after_three_minutes(world: World) -> None:
    region = next(iter(world.cluster.cache))
    world.cluster.set_write_rate(5e6, region_id=region.id)
    world.sleep(100.0)
    assert world.get("/hotspot/regions/write")["as_leader"][str(region.leader)]["regions_count"] == 0
    world.sleep(85.0)
    side = world.get("/hotspot/regions/write")["as_leader"][str(region.leader)]
    assert [entry["region_id"] for entry in side["statistics"]] == [region.id]
    assert side["statistics"][0]["flow_bytes"] == 5e6
    assert world.get(f"/region/id/{region.id}")["written_bytes"] == 3e8, "a total of 60 s"
    assert world.get("/regions/writeflow?limit=1")["regions"][0]["id"] == region.id
    answer = world.http.post("/operators", json={"name": "scatter-region", "region_id": region.id})
    assert (answer.status_code, answer.json()) == (500, f"region {region.id} is a hot region")


def test_a_split_waits_while_scheduling_is_halted_and_ends_success_after(world: World) -> None:
    region = next(iter(world.cluster.cache))
    world.http.post("/config", json={"halt-scheduling": "true"})
    world.http.post("/operators", json={"name": "split-region", "region_id": region.id, "policy": "scan"})
    world.sleep(20.0)
    assert world.get(f"/operators/{region.id}").startswith("status: RUNNING")
    world.http.post("/config", json={"halt-scheduling": "false"})
    world.sleep(6.0)
    assert world.get(f"/operators/{region.id}").startswith("status: SUCCESS")


def test_a_usekey_outside_the_region_runs_till_its_time_out(world: World) -> None:
    region = next(iter(world.cluster.cache))
    body = {"name": "split-region", "region_id": region.id, "policy": "usekey", "keys": ["FF"]}
    assert world.http.post("/operators", json=body).status_code == 200
    world.sleep(61.0)
    assert world.get(f"/operators/{region.id}").startswith("status: TIMEOUT")


def test_low_space_shows_in_the_store_and_in_the_metrics(world: World) -> None:
    world.cluster.set_low_space(4)
    assert world.get("/store/4")["status"]["available"].endswith("GiB")
    assert 'store="4",type="store_low_space_count"} 1' in world.http.get("http://pd/metrics").text


def test_without_stores_pd_says_not_bootstrapped(world: World) -> None:
    world.cluster.bootstrapped = False
    for path in ("/stores", "/regions/count", "/operators", "/schedulers", "/hotspot/stores", "/stats/region"):
        answer = world.http.get(path)
        assert answer.status_code == 500, path
        assert answer.json() == (
            "[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped, please start TiKV first"
        )
    for path in ("/cluster", "/cluster/status", "/members", "/health", "/config/schedule"):
        assert world.http.get(path).status_code == 200, path
    assert world.get("/cluster/status")["is_initialized"] is False
    assert world.http.post("/operators", json={"name": "transfer-leader"}).text.startswith("PANIC: ")


def test_a_paused_rule_checker_repairs_nothing(world: World) -> None:
    world.http.post("/checker/rule", json={"delay": 100})
    region = next(iter(world.cluster.cache))
    gone = next(p.store_id for p in region.peers if p.store_id != region.leader)
    world.http.post("/operators", json={"name": "remove-peer", "region_id": region.id, "store_id": gone})
    world.sleep(60.0)
    assert len(world.get(f"/region/id/{region.id}")["peers"]) == 2
    assert world.get("/regions/check/miss-peer")["count"] == 1
    world.sleep(60.0)
    assert world.get("/regions/check/miss-peer")["count"] == 0


def test_an_offline_dead_store_still_reads_offline(world: World) -> None:
    world.http.post("/store/5/state?state=Offline")
    world.cluster.kill_store(5)
    world.sleep(60.0)
    assert world.state(5) == "Offline"
    assert world.get("/stores/check?state=disconnected")["count"] == 0
    world.http.post("/store/5/state?state=Up")
    assert world.state(5) == "Disconnected"


def test_a_revived_store_is_up_again_and_gets_leaders_back(world: World) -> None:
    world.cluster.kill_store(2)
    world.sleep(60.0)
    world.cluster.revive_store(2)
    assert world.state(2) == "Up"
    world.sleep(30.0)
    assert world.leaders(2) > 35


def test_a_tombstone_made_by_hand_holds_nothing(world: World) -> None:
    world.cluster.make_tombstone(5)
    assert world.state(5) == "Tombstone"
    assert world.regions(5) == 0
    assert world.get("/regions/check/miss-peer")["count"] == 0
    assert world.http.post("/schedulers", json={"name": "evict-leader-scheduler", "store_id": 5}).status_code == 200


def test_the_demo_runs_on_heartbeats_of_one_second() -> None:
    world = World(timing=Timing(store_heartbeat_s=1.0, region_heartbeat_s=6.0))
    world.cluster.change_pd_leader(world.now)
    world.sleep(1.5)
    assert len(world.get("/stores/check?state=Up")["stores"]) == 5


def test_every_call_is_on_record_with_whether_it_took_effect(world: World) -> None:
    world.http.get("/stores", headers={"X-Caller-ID": "steward/executor"})
    world.http.post("/schedulers", json={"name": "evict-leader-scheduler", "store_id": 1})
    world.http.post("/schedulers", json={"name": "evict-leader-scheduler", "store_id": 999})
    world.http.get("/regions/store/1?type=foo")
    got, made, refused, froze = world.cluster.calls
    assert (got.method, got.path, got.caller_id, got.applied) == ("GET", f"{API}/stores", "steward/executor", False)
    assert (made.status, made.applied, made.body) == (
        200,
        True,
        b'{"name":"evict-leader-scheduler","store_id":1}',
    )
    assert (refused.status, refused.applied) == (500, False)
    assert (froze.status, froze.query, froze.applied) == (400, "type=foo", True)
