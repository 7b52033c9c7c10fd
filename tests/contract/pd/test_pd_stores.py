"""Section 2 of pd-seen: stores, taken out, labelled, weighed, limited."""

from __future__ import annotations

import pytest

from tests.contract.pd.twin import Twin

pytestmark = pytest.mark.contract


def test_the_weight_needs_both_numbers(writable_pd: Twin) -> None:
    path = f"/store/{writable_pd.store_id()}/weight"
    assert writable_pd.post(path, {"leader": 1}).json() == "region weight unset"
    assert writable_pd.post(path, {"leader": "1", "region": 1}).json() == "bad format leader weight"
    assert writable_pd.post(path, {"leader": -1, "region": 1}).json() == "bad format leader weight"
    assert writable_pd.post(path, {"region": 1}).json() == "leader weight unset"
    assert writable_pd.post(path, {"leader": 1, "region": -0.1}).json() == "bad format region weight"
    assert writable_pd.post(path, {"leader": 1, "region": None}).status_code == 400
    unknown = writable_pd.post("/store/999/weight", {"leader": 1, "region": 1})
    assert (unknown.status_code, unknown.json()) == (500, "[PD:core:ErrStoreNotFound]store 999 not found")
    malformed = writable_pd.ask("POST", path, content=b"x")
    assert (malformed.status_code, malformed.json()["code"]) == (400, "input")


def test_a_refused_weight_changes_neither(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    before = writable_pd.get(f"/store/{store}").json()["status"]
    for refused in ({"leader": 2}, {"leader": 2, "region": -1}, {"leader": -1, "region": 2}):
        assert writable_pd.post(f"/store/{store}/weight", refused).status_code == 400
    after = writable_pd.get(f"/store/{store}").json()["status"]
    weights = ("leader_weight", "region_weight")
    assert [after[name] for name in weights] == [before[name] for name in weights]


def test_both_weights_show_at_once_and_as_they_were_said(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    old = writable_pd.get(f"/store/{store}").json()["status"]
    try:
        for leader, region in ((0.25, 1.5), (10, 0.01), (99.99, 1)):
            answer = writable_pd.post(f"/store/{store}/weight", {"leader": leader, "region": region})
            assert (answer.status_code, answer.json()) == (200, "The store's weight is updated.")
            shown = writable_pd.get(f"/store/{store}").json()["status"]
            assert (shown["leader_weight"], shown["region_weight"]) == (leader, region)
    finally:
        pair = {"leader": old["leader_weight"], "region": old["region_weight"]}
        writable_pd.post(f"/store/{store}/weight", pair)


def test_a_weight_of_0_is_accepted_and_the_score_is_a_million_times_the_count(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    path = f"/store/{store}/weight"
    assert writable_pd.post("/schedulers/balance-leader-scheduler", {"delay": 60}).status_code == 200
    answer = writable_pd.post(path, {"leader": 0, "region": 1})
    assert (answer.status_code, answer.json()) == (200, "The store's weight is updated.")
    status = writable_pd.get(f"/store/{store}").json()["status"]
    assert status["leader_score"] == pytest.approx(status["leader_count"] * 1e6)
    writable_pd.post(path, {"leader": 1, "region": 1})
    writable_pd.post("/schedulers/balance-leader-scheduler", {"delay": 0})


def test_the_limit_names_what_is_wrong(writable_pd: Twin) -> None:
    path = f"/store/{writable_pd.store_id()}/limit"
    assert writable_pd.post(path, {}).json() == "rate unset"
    assert writable_pd.post(path, {"rate": 5, "type": "nosuch"}).json() == "unknown type"
    for bad in (0, -1, "5"):
        answer = writable_pd.post(path, {"rate": bad, "type": "add-peer"})
        assert (answer.status_code, answer.json()) == (400, "invalid rate which should be larger than 0")
    assert writable_pd.post("/store/999/limit", {"rate": 5}).status_code == 500


def test_a_limit_is_set_and_read_back(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    old = writable_pd.get("/stores/limit").json()[str(store)]["add-peer"]
    answer = writable_pd.post(f"/store/{store}/limit", {"rate": 77, "type": "add-peer"})
    assert answer.json() == "The store's limit is updated."
    assert writable_pd.get("/stores/limit").json()[str(store)]["add-peer"] == 77
    writable_pd.post(f"/store/{store}/limit", {"rate": old, "type": "add-peer"})


def test_one_type_of_limit_is_set_alone_and_where_none_is_named_both_are(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    path, old = f"/store/{store}/limit", writable_pd.get("/stores/limit").json()[str(store)]
    try:
        writable_pd.post(path, {"rate": 0.5, "type": "remove-peer"})
        assert writable_pd.get("/stores/limit").json()[str(store)] == old | {"remove-peer": 0.5}
        writable_pd.post(path, {"rate": 100000000})
        assert writable_pd.get("/stores/limit").json()[str(store)] == {"add-peer": 1e8, "remove-peer": 1e8}
    finally:
        for kind, rate in old.items():
            writable_pd.post(path, {"rate": rate, "type": kind})


def test_a_refused_limit_changes_neither(writable_pd: Twin) -> None:
    before = writable_pd.get("/stores/limit").content
    path = f"/store/{writable_pd.store_id()}/limit"
    for refused in ({"type": "add-peer"}, {"rate": 7, "type": "both"}, {"rate": -7, "type": "add-peer"}):
        assert writable_pd.post(path, refused).status_code == 400
    assert writable_pd.get("/stores/limit").content == before


def test_with_limits_of_the_second_version_nobody_sets_one(breakable_pd: Twin) -> None:
    assert breakable_pd.post("/config", {"store-limit-version": "v2"}).status_code == 200
    before = breakable_pd.get("/stores/limit").content
    answer = breakable_pd.post(f"/store/{breakable_pd.store_id()}/limit", {"rate": 30, "type": "add-peer"})
    assert (answer.status_code, answer.json()) == (400, "current store limit version:v2 not support set limit")
    assert breakable_pd.get("/stores/limit").content == before


def test_a_temporary_limit_never_shows(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    before = writable_pd.get("/stores/limit").content
    assert writable_pd.post(f"/store/{store}/limit?ttlSecond=5", {"rate": 78}).status_code == 200
    assert writable_pd.get("/stores/limit").content == before


def test_a_label_is_set_and_deleted_but_not_twice(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    assert writable_pd.post(f"/store/{store}/label", {"steward": "x"}).json() == "The store's label is updated."
    gone = writable_pd.delete(f"/store/{store}/label", json="steward")
    assert gone.json() == f"The label steward is deleted for store {store}."
    again = writable_pd.delete(f"/store/{store}/label", json="steward")
    assert (again.status_code, again.json()) == (500, "the label key steward does not exist")


def test_a_label_of_an_unknown_store_has_a_code_of_its_own(writable_pd: Twin) -> None:
    answer = writable_pd.post("/store/999/label", {"zone": "z"})
    assert answer.json() == "[PD:cluster:ErrInvalidStoreID]invalid store id 999, not found"


def test_a_state_in_any_case_and_an_unknown_one(writable_pd: Twin) -> None:
    store = writable_pd.store_id()
    assert writable_pd.post(f"/store/{store}/state?state=up").json() == "The store's state is updated."
    answer = writable_pd.post(f"/store/{store}/state?state=foo")
    assert (answer.status_code, answer.json()) == (400, "invalid state foo")


def test_offline_lifts_the_remove_peer_limit_and_cancel_restores_it(writable_pd: Twin) -> None:
    store = writable_pd.stores()[-1]["store"]["id"]
    before = writable_pd.get("/stores/limit").json()[str(store)]
    assert writable_pd.delete(f"/store/{store}").json() == "The store is set as Offline."
    assert writable_pd.delete(f"/store/{store}").json() == "The store is set as Offline."
    assert writable_pd.get(f"/store/{store}").json()["store"]["state_name"] == "Offline"
    assert writable_pd.get("/stores/limit").json()[str(store)]["remove-peer"] == 100000000
    progress = writable_pd.get(f"/stores/progress?id={store}").json()
    assert (progress["action"], progress["store_id"]) == ("removing", store)
    assert "store_id" not in writable_pd.get("/stores/progress?action=removing").json()
    assert writable_pd.post(f"/store/{store}/state?state=Up").json() == "The store's state is updated."
    assert writable_pd.get("/stores/limit").json()[str(store)] == before
    assert writable_pd.get(f"/stores/progress?id={store}").status_code == 404


def test_removing_tombstones_is_fine_when_there_is_none(writable_pd: Twin) -> None:
    answer = writable_pd.delete("/stores/remove-tombstone")
    assert (answer.status_code, answer.json()) == (200, "Remove tombstone successfully.")


def test_an_offline_store_drains_becomes_a_tombstone_and_is_removed(breakable_pd: Twin) -> None:
    pd = breakable_pd
    store = pd.stores()[-1]["store"]["id"]
    pd.post("/stores/limit", {"rate": 20000})
    pd.delete(f"/store/{store}")
    assert pd.until(lambda: pd.get(f"/store/{store}").json()["store"]["state_name"] == "Tombstone", within_s=60)
    gone = pd.delete(f"/store/{store}")
    assert (gone.status_code, gone.json()) == (410, f"[PD:core:ErrStoreRemoved]store {store} has been removed")
    assert pd.post(f"/store/{store}/state?state=Up").status_code == 410
    assert pd.post(f"/store/{store}/weight", {"leader": 1, "region": 1}).status_code == 200
    assert pd.post(f"/store/{store}/limit", {"rate": 15, "type": "add-peer"}).status_code == 200
    assert str(store) not in pd.get("/stores/limit").json()
    assert store not in [each["store"]["id"] for each in pd.get("/stores").json()["stores"]]
    assert pd.get("/stores?state=2").json()["count"] == 1
    pd.delete("/stores/remove-tombstone")
    assert pd.get(f"/store/{store}").status_code == 404
    assert pd.get("/regions/check/miss-peer").json()["count"] == 0


def test_pd_counts_up_stores_before_it_lets_one_go(breakable_pd: Twin) -> None:
    pd, ids = breakable_pd, [store["store"]["id"] for store in breakable_pd.stores()]
    for store in ids[3:]:
        assert pd.delete(f"/store/{store}").status_code == 200
    answer = pd.delete(f"/store/{ids[0]}")
    assert answer.status_code == 400
    assert answer.json() == (
        f"[PD:core:ErrStoresNotEnough]can not remove store {ids[0]} since the number of up stores would be 2 while "
        "need 3"
    )


def test_pd_refuses_to_remove_the_last_store_that_may_lead(breakable_pd: Twin) -> None:
    pd, ids = breakable_pd, [store["store"]["id"] for store in breakable_pd.stores()]
    for store in ids[1:]:
        pd.post("/schedulers", {"name": "evict-leader-scheduler", "store_id": store})
    assert pd.delete(f"/store/{ids[0]}").json() == (
        f"[PD:core:ErrNoStoreForRegionLeader]can not remove store {ids[0]} since there are no extra up store to store "
        "the leader"
    )


def test_a_destroyed_store_can_never_come_back(breakable_pd: Twin) -> None:
    pd = breakable_pd
    store = pd.stores()[-1]["store"]["id"]
    assert pd.delete(f"/store/{store}?force").status_code == 200
    answer = pd.post(f"/store/{store}/state?state=Up")
    assert (answer.status_code, answer.json()) == (
        400,
        f"[PD:core:ErrStoreDestroyed]store {store} has been physically destroyed",
    )


def test_limits_can_not_be_set_under_store_limit_version_2(breakable_pd: Twin) -> None:
    pd = breakable_pd
    pd.post("/config", {"store-limit-version": "v2"})
    answer = pd.post(f"/store/{pd.store_id()}/limit", {"rate": 5})
    assert (answer.status_code, answer.json()) == (400, "current store limit version:v2 not support set limit")
