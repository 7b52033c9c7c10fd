"""Sections 0 and 6 of pd-seen: the calls that break a PD, and what a change of PD's leader loses."""

from __future__ import annotations

import httpx
import pytest

from tests.contract.pd.twin import Twin

pytestmark = pytest.mark.contract

EVICT = "evict-leader-scheduler"


def _leader(pd: Twin) -> str:
    return str(pd.get("/leader").json()["name"])


def _another(pd: Twin) -> str:
    return str(next(m["name"] for m in pd.get("/members").json()["members"] if m["name"] != _leader(pd)))


def test_an_empty_type_of_regions_is_fine(pd: Twin) -> None:
    assert pd.get(f"/regions/store/{pd.store_id()}?type=").status_code == 200


def test_an_unknown_type_of_regions_freezes_the_pd_leader(breakable_pd: Twin) -> None:
    pd, store = breakable_pd, breakable_pd.store_id()
    answer = pd.get(f"/regions/store/{store}?type=Leader")
    assert (answer.status_code, answer.json()) == (400, "unknown sub tree region type Leader")
    with pytest.raises(httpx.ReadTimeout):
        pd.get(f"/regions/store/{store}", timeout=0.3)
    region = pd.region()
    to = pd.follower(region)
    accepted = pd.post("/operators", {"name": "transfer-leader", "region_id": region["id"], "to_store_id": to})
    assert accepted.status_code == 200
    pd.sleep(2.0)
    assert pd.leader_of(region["id"]) == region["leader"]["store_id"], "PD hears of no region any more"
    pd.post("/schedulers", {"name": EVICT, "store_id": store})
    count = pd.leader_count(store)
    pd.sleep(2.0)
    assert pd.leader_count(store) == count, "no scheduler makes operators"
    assert all(member["health"] for member in pd.get("/health").json())
    pd.post(f"/leader/transfer/{_another(pd)}")
    assert pd.until(lambda: pd.get("/leader").status_code == 200)
    assert pd.until(lambda: pd.leader_count(store) == 0, within_s=30), "the next leader works"


def test_a_refused_batch_lifts_the_bar_and_only_removal_and_a_new_eviction_help(breakable_pd: Twin) -> None:
    pd, store = breakable_pd, breakable_pd.store_id()
    pd.post("/schedulers", {"name": EVICT, "store_id": store})
    assert pd.until(lambda: pd.leader_count(store) == 0)
    refused = pd.post(f"/scheduler-config/{EVICT}/config", {"store_id": store, "batch": 11})
    assert (refused.status_code, refused.json()) == (400, "batch is invalid, it should be in [1, 10]")
    assert str(store) in pd.get(f"/scheduler-config/{EVICT}/list").json()["store-id-ranges"]
    assert pd.until(lambda: pd.leader_count(store) > 3), "balance-leader refills the store"
    pd.post("/schedulers", {"name": EVICT, "store_id": store})
    pd.sleep(3.0)
    assert pd.leader_count(store) > 0, "posting again does not help"
    pd.delete(f"/schedulers/{EVICT}-{store}")
    pd.post("/schedulers", {"name": EVICT, "store_id": store})
    assert pd.until(lambda: pd.leader_count(store) == 0)


def test_a_batch_within_1_to_10_is_applied(breakable_pd: Twin) -> None:
    pd, store = breakable_pd, breakable_pd.store_id()
    pd.post("/schedulers", {"name": EVICT, "store_id": store})
    assert pd.post(f"/scheduler-config/{EVICT}/config", {"store_id": store, "batch": 10}).status_code == 200
    assert pd.get(f"/scheduler-config/{EVICT}/list").json()["batch"] == 10


def test_transfer_to_an_unknown_member_is_refused(writable_pd: Twin) -> None:
    answer = writable_pd.post("/leader/transfer/nosuch")
    assert (answer.status_code, answer.json()) == (500, "no valid pd to transfer etcd leader")


def test_transfer_to_the_present_leader_changes_nothing(writable_pd: Twin) -> None:
    name = _leader(writable_pd)
    answer = writable_pd.post(f"/leader/transfer/{name}")
    assert (answer.status_code, answer.json()) == (200, "The transfer command is submitted.")
    assert _leader(writable_pd) == name


def test_the_leader_is_moved_and_is_another_a_moment_later(breakable_pd: Twin) -> None:
    pd, to = breakable_pd, _another(breakable_pd)
    answer = pd.post(f"/leader/transfer/{to}")
    assert (answer.status_code, answer.json()) == (200, "The transfer command is submitted.")
    assert pd.until(lambda: pd.get("/leader").status_code == 200)
    assert _leader(pd) == to
    members = pd.get("/members").json()
    assert (members["leader"]["name"], members["etcd_leader"]["name"]) == (to, to)


def test_pd_moves_its_leader_to_the_member_of_the_highest_priority_by_itself(breakable_pd: Twin) -> None:
    pd, preferred = breakable_pd, _another(breakable_pd)
    assert pd.post(f"/members/name/{preferred}", {"leader-priority": 5}).json() == "success"
    at = pd.get("/members").json()["members"]
    assert [m.get("leader_priority") for m in at if m["name"] == preferred] == [5]

    def leads(name: str) -> bool:
        return pd.get("/leader").status_code == 200 and _leader(pd) == name

    assert pd.until(lambda: leads(preferred), within_s=90)
    pd.post(f"/leader/transfer/{_another(pd)}")
    assert pd.until(lambda: leads(preferred), within_s=90), "and back, whoever moved it"


def test_a_priority_is_omitted_when_0_and_checked(writable_pd: Twin) -> None:
    name = _leader(writable_pd)
    unknown = writable_pd.post("/members/name/nosuch", {"leader-priority": 1})
    assert (unknown.status_code, unknown.json()) == (404, "not found, pd: nosuch")
    bad = writable_pd.post(f"/members/name/{name}", {"leader-priority": "x"})
    assert (bad.status_code, bad.json()) == (400, "bad format leader priority")
    assert writable_pd.post(f"/members/name/{name}", {"leader-priority": 0}).json() == "success"
    assert "leader_priority" not in writable_pd.get("/leader").json()


def test_a_change_of_leader_loses_pauses_and_operators_and_keeps_evictions(breakable_pd: Twin) -> None:
    pd, store = breakable_pd, breakable_pd.store_id()
    pd.post("/schedulers", {"name": EVICT, "store_id": store})
    assert pd.until(lambda: pd.leader_count(store) == 0)
    pd.post("/schedulers/balance-leader-scheduler", {"delay": 600})
    pd.post("/checker/merge", {"delay": 600})
    pd.post("/config?ttlSecond=60", {"schedule.merge-schedule-limit": 0})
    leaving = pd.stores()[-1]["store"]["id"]
    pd.delete(f"/store/{leaving}")
    assert pd.post("/leader/resign").json() == "The resign command is submitted."
    moving = pd.get("/stores")
    assert moving.status_code == 500
    assert moving.text.startswith("[PD:apiutil:ErrRedirectToNotLeader]redirect to not leader")
    assert pd.until(lambda: pd.get("/stores").status_code == 200)
    assert pd.get(f"/scheduler-config/{EVICT}/list").status_code == 404, "a scheduler may read 404 (tikv/pd#4707)"
    assert pd.delete(f"/schedulers/{EVICT}-{store}").status_code == 404
    assert pd.until(lambda: pd.get(f"/scheduler-config/{EVICT}/list").status_code == 200), "and is back"
    assert pd.get("/schedulers?status=paused").json() == []
    assert pd.get("/checker/merge").json() == {"paused": False}
    assert pd.post("/config", {"merge-schedule-limit": 8}).status_code == 400, "the TTL is kept"
    assert pd.get(f"/store/{leaving}").json()["store"]["state_name"] == "Offline"
    assert pd.get(f"/stores/progress?id={leaving}").status_code == 404
    pd.post(f"/store/{leaving}/state?state=Up")
    assert pd.get("/stores/limit").json()[str(leaving)]["remove-peer"] == 100000000, "nobody knows the old limit"


def test_after_a_change_of_leader_stores_read_disconnected_until_their_next_heartbeat(breakable_pd: Twin) -> None:
    pd = breakable_pd
    count = len(pd.stores())
    pd.post("/leader/resign")
    pd.until(lambda: pd.get("/stores").status_code == 200)
    assert pd.get("/stores/check?state=Disconnected").json()["count"] > 0
    assert pd.until(lambda: len(pd.stores()) == count)
