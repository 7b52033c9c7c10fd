"""Section 1 of pd-seen: how PD says no, and the shapes of what it says."""

from __future__ import annotations

import json

import pytest

from tests.contract.pd.twin import Twin

pytestmark = pytest.mark.contract

JSON = "application/json; charset=UTF-8"
OCTETS = "application/octet-stream"
BAD_NUMBER = 'strconv.ParseUint: parsing "abc": invalid syntax'
ABSENT_REGION = (
    b'{"id":0,"start_key":"","end_key":"","leader":{"role_name":""},"cpu_usage":0,"written_bytes":0,"read_bytes":0,'
    b'"written_keys":0,"read_keys":0,"approximate_size":0,"approximate_keys":0}'
)


def test_an_unknown_store_is_404_with_a_json_string(pd: Twin) -> None:
    answer = pd.get("/store/999")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == JSON
    assert answer.content == b'"[PD:core:ErrStoreNotFound]store 999 not found"\n'


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/store/abc"), ("POST", "/store/abc/weight"), ("DELETE", "/store/abc")],
)
def test_a_store_id_that_is_no_number_gets_the_error_object(pd: Twin, method: str, path: str) -> None:
    answer = pd.ask(method, path)
    assert answer.status_code == 400
    assert answer.headers["tidb-error-code"] == "input"
    assert answer.json() == {"code": "input", "msg": BAD_NUMBER, "data": {}}


@pytest.mark.parametrize("path", ["/region/id/abc", "/operators/abc"])
def test_a_region_id_that_is_no_number_gets_a_string_without_header(pd: Twin, path: str) -> None:
    answer = pd.get(path)
    assert answer.status_code == 400
    assert "tidb-error-code" not in answer.headers
    assert answer.json() == BAD_NUMBER


def test_there_is_no_operator_history_route(pd: Twin) -> None:
    assert pd.get("/operators/history").json() == 'strconv.ParseUint: parsing "history": invalid syntax'


def test_a_region_that_does_not_exist_is_200_with_id_0(pd: Twin) -> None:
    answer = pd.get("/region/id/999999")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == OCTETS
    assert answer.content == ABSENT_REGION


def test_region_bodies_are_compact_octets_without_newline(pd: Twin) -> None:
    answer = pd.get("/regions/key", params={"limit": "2"})
    assert answer.headers["content-type"] == OCTETS
    assert answer.content == json.dumps(answer.json(), separators=(",", ":")).encode()


def test_other_bodies_are_indented_by_two_spaces_with_a_final_newline(pd: Twin) -> None:
    for path in ("/cluster", "/members", "/stores", "/health", "/config/schedule"):
        answer = pd.get(path)
        assert answer.headers["content-type"] == JSON
        indented = json.dumps(answer.json(), indent=2, ensure_ascii=False) + "\n"
        assert answer.text.replace(" ", "").count("\n") == indented.count("\n"), path
        assert answer.text.endswith("\n")
        assert '\n  "' in answer.text or "\n  {" in answer.text


def test_the_count_of_regions_has_null_for_regions(pd: Twin) -> None:
    answer = pd.get("/regions/count")
    assert answer.headers["content-type"] == JSON
    assert answer.text == f'{{\n  "count": {answer.json()["count"]},\n  "regions": null\n}}\n'


def test_regions_of_an_unknown_store_are_an_empty_list(pd: Twin) -> None:
    assert pd.get("/regions/store/999").content == b'{"count":0,"regions":[]}'


@pytest.mark.parametrize("path", ["/regions/sibling/999999", "/config/rules/region/999999/detail"])
def test_siblings_and_rules_of_an_unknown_region_are_404(pd: Twin, path: str) -> None:
    answer = pd.get(path)
    assert (answer.status_code, answer.json()) == (404, "[PD:region:ErrRegionNotFound]region 999999 not found")


def test_the_resolved_time_of_an_unknown_store_is_the_largest_number(pd: Twin) -> None:
    assert pd.get("/min-resolved-ts/999").json()["min_resolved_ts"] == 2**64 - 1


def test_resolved_times_by_store_come_only_with_a_scope(pd: Twin) -> None:
    assert pd.get("/min-resolved-ts").json()["stores_min_resolved_ts"] is None


def test_replicated_needs_both_keys(pd: Twin) -> None:
    answer = pd.get("/regions/replicated?startKey=")
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert pd.get("/regions/replicated?startKey=&endKey=").json() in ("REPLICATED", "INPROGRESS", "PENDING")


def test_range_holes_of_a_whole_cluster_are_an_empty_list(pd: Twin) -> None:
    assert pd.get("/regions/range-holes").content == b"[]\n"


def test_counting_stats_leave_all_maps_null(pd: Twin) -> None:
    seen = pd.get("/stats/region?start_key=&end_key=&count").json()
    assert seen["count"] > 0
    assert seen["store_leader_count"] is None
    assert seen["store_peer_size"] is None


@pytest.mark.parametrize(
    "path", ["/schedulers", "/operators", "/schedulers/balance-leader-scheduler", "/config/schedule"]
)
def test_malformed_json_gets_the_error_object_with_an_offset(pd: Twin, path: str) -> None:
    answer = pd.post(path, content=b"x")
    assert answer.status_code == 400
    assert answer.json() == {
        "code": "input",
        "msg": "invalid character 'x' looking for beginning of value",
        "data": {"Offset": 1},
    }


def test_malformed_json_to_config_gets_a_string(pd: Twin) -> None:
    answer = pd.post("/config", content=b"x")
    assert (answer.status_code, answer.json()) == (400, "invalid character 'x' looking for beginning of value")


def test_malformed_json_to_unsafe_recovery_gets_two_documents(pd: Twin) -> None:
    answer = pd.post("/admin/unsafe/remove-failed-stores", content=b"x")
    assert answer.status_code == 400
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_wrong_method_is_405_without_body_or_type(pd: Twin) -> None:
    answer = pd.ask("PUT", "/stores")
    assert (answer.status_code, answer.content) == (405, b"")
    assert "content-type" not in answer.headers


def test_an_unknown_path_is_a_404_in_text(pd: Twin) -> None:
    answer = pd.get("/nosuch")
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert answer.headers["content-type"].startswith("text/plain")


def test_operators_of_an_unknown_kind_are_null(pd: Twin) -> None:
    answer = pd.get("/operators?kind=foo")
    assert (answer.status_code, answer.content) == (200, b"null\n")


def test_an_unknown_status_lists_all_schedulers(pd: Twin) -> None:
    assert sorted(pd.get("/schedulers?status=foo").json()) == sorted(pd.get("/schedulers").json())


def test_ping_is_200_and_empty(pd: Twin) -> None:
    answer = pd.get("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_cluster_says_its_id(pd: Twin) -> None:
    seen = pd.get("/cluster").json()
    assert seen["id"] == pd.get("/members").json()["header"]["cluster_id"]
    assert set(seen) == {"id", "max_peer_count"}


def test_a_leader_has_no_version_or_path_but_members_have(pd: Twin) -> None:
    leader = pd.get("/leader").json()
    assert "binary_version" not in leader
    assert "deploy_path" not in leader
    full = next(m for m in pd.get("/members").json()["members"] if m["name"] == leader["name"])
    assert {"binary_version", "deploy_path"} <= set(full)


def test_health_lists_every_member(pd: Twin) -> None:
    names = {member["name"] for member in pd.get("/members").json()["members"]}
    assert {member["name"] for member in pd.get("/health").json()} == names


def test_unsafe_recovery_is_idle(pd: Twin) -> None:
    assert pd.get("/admin/unsafe/remove-failed-stores/show").json()[-1]["info"] == "No on-going recovery."


def test_halt_scheduling_is_absent_while_false_and_booleans_are_strings(pd: Twin) -> None:
    schedule = pd.get("/config/schedule").json()
    assert "halt-scheduling" not in schedule
    assert schedule["enable-joint-consensus"] in ("true", "false")
    assert isinstance(schedule["leader-schedule-limit"], int)
    assert pd.get("/config").json()["enable-prevote"] in (True, False)


def test_the_hotspot_lists_all_stores_cold_ones_with_zero_and_an_empty_list(pd: Twin) -> None:
    seen = pd.get("/hotspot/regions/write").json()
    ids = {str(store["store"]["id"]) for store in pd.stores()}
    assert ids <= set(seen["as_leader"])
    assert ids <= set(seen["as_peer"])
    for side in seen["as_leader"].values():
        assert side["regions_count"] == len(side["statistics"])


def test_a_peer_is_voter_id_and_store(pd: Twin) -> None:
    assert set(pd.region()["peers"][0]) == {"role_name", "id", "store_id"}


def test_an_approximate_kv_size_of_0_is_omitted_and_flows_never(pd: Twin) -> None:
    region = pd.region()
    assert {"written_bytes", "read_bytes", "written_keys", "read_keys"} <= set(region)
    assert region.get("approximate_kv_size") != 0


def test_metrics_name_the_store_of_a_cluster_status(pd: Twin) -> None:
    text = pd.root("/metrics").text
    assert "etcd_server_is_leader" in text
    lines = [line for line in text.splitlines() if line.startswith("pd_cluster_status{")]
    assert any('type="store_slow_count"' in line and 'store="' in line for line in lines)


def test_stores_are_indented_and_name_what_alerts_are_joined_by(pd: Twin) -> None:
    store = pd.stores()[0]
    assert {"id", "address", "status_address", "version", "last_heartbeat", "state_name"} <= set(store["store"])
    assert {"leader_count", "region_count", "capacity", "available", "start_ts", "last_heartbeat_ts"} <= set(
        store["status"]
    )


def test_an_unknown_state_is_refused_by_check_and_by_stores(pd: Twin) -> None:
    assert pd.get("/stores/check?state=Nosuch").status_code == 400
    assert pd.get("/stores?state=9").status_code == 500


def test_states_are_checked_in_any_case(pd: Twin) -> None:
    assert pd.get("/stores/check?state=up").json()["count"] == len(pd.stores())
