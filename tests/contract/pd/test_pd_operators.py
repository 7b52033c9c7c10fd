"""Section 3 of pd-seen: operators by hand."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.contract.pd.twin import Twin

pytestmark = pytest.mark.contract

CREATED = (200, b'"The operator is created."\n')


def _quiet(pd: Twin) -> None:
    """No scheduler of PD's own may touch the region at hand."""
    pd.post("/schedulers/all", {"delay": 60})


def _post(pd: Twin, **body: object) -> tuple[int, bytes]:
    answer = pd.post("/operators", body)
    return answer.status_code, answer.content


def test_transfer_leader_is_accepted_and_the_region_shows_it(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    to = pd.follower(region)
    assert _post(pd, name="transfer-leader", region_id=region["id"], to_store_id=to) == CREATED
    assert pd.until(lambda: pd.leader_of(region["id"]) == to)
    record = pd.get(f"/operators/{region['id']}").json()
    was = region["leader"]["store_id"]
    epoch = region["epoch"]
    pattern = (
        rf"status: SUCCESS, operator: admin-transfer-leader {{transfer leader: store {was} to {to}}} "
        rf"\(kind:admin,leader, region:{region['id']}\({epoch['version']}, {epoch['conf_ver']}\), "
        rf"createAt:\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]* \+0000 UTC m=\+[\d.]+, startAt:.*, currentStep:1, size:\d+, "
        rf"steps:\[0:{{transfer leader from store {was} to store {to}}}\], timeout:\[1m0s\]\) finished"
    )
    assert re.fullmatch(pattern, record), record


def test_transfer_leader_to_the_leader_builds_no_step(writable_pd: Twin) -> None:
    region = writable_pd.region()
    to = region["leader"]["store_id"]
    assert _post(writable_pd, name="transfer-leader", region_id=region["id"], to_store_id=to) == (
        500,
        b'"no operator step is built"\n',
    )


def test_transfer_leader_needs_a_voter_there(writable_pd: Twin) -> None:
    region = writable_pd.region()
    for store in (writable_pd.outsider(region), 999):
        assert _post(writable_pd, name="transfer-leader", region_id=region["id"], to_store_id=store) == (
            500,
            f'"region has no voter in store {store}"\n'.encode(),
        )


def test_an_unknown_region_is_a_500(writable_pd: Twin) -> None:
    assert _post(writable_pd, name="transfer-leader", region_id=999999, to_store_id=1) == (
        500,
        b'"[PD:region:ErrRegionNotFound]region 999999 not found"\n',
    )


def test_a_negative_region_wraps_around(writable_pd: Twin) -> None:
    status, body = _post(writable_pd, name="transfer-leader", region_id=-1, to_store_id=1)
    assert (status, body) == (500, b'"[PD:region:ErrRegionNotFound]region 18446744073709551615 not found"\n')


def test_a_fraction_is_cut(writable_pd: Twin) -> None:
    region = writable_pd.region()
    to = region["leader"]["store_id"]
    status, body = _post(writable_pd, name="transfer-leader", region_id=region["id"] + 0.5, to_store_id=to)
    assert (status, body) == (500, b'"no operator step is built"\n')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "missing operator name"),
        ({"name": "transfer-leader"}, "missing region id"),
        ({"name": "transfer-leader", "region_id": "2", "to_store_id": 1}, "missing region id"),
        ({"name": "transfer-leader", "region_id": 2}, "missing store id to transfer leader to"),
        ({"name": "nosuch"}, "unknown operator"),
        ({"name": "split-region", "region_id": 2}, "missing split policy"),
        ({"name": "split-region", "region_id": 2, "policy": "usekey", "keys": [1]}, "bad format keys"),
        ({"name": "scatter-regions"}, "region_ids is invalid"),
        ({"name": "transfer-peer", "region_id": 2, "from_store_id": 1}, "invalid store id to transfer peer to"),
        ({"name": "merge-region", "source_region_id": 2}, "invalid target region id to merge to"),
    ],
)
def test_what_is_missing_is_named(pd: Twin, body: dict[str, object], message: str) -> None:
    answer = pd.post("/operators", body)
    assert (answer.status_code, answer.json()) == (400, message)


def test_split_keys_that_are_a_string_panic(pd: Twin) -> None:
    answer = pd.post("/operators", {"name": "split-region", "region_id": 1, "policy": "usekey", "keys": "7480"})
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("PANIC: interface conversion: ")


def test_a_leader_may_not_go_to_an_evicted_store(writable_pd: Twin) -> None:
    pd = writable_pd
    region = pd.region()
    to = pd.follower(region)
    pd.post("/schedulers", {"name": "evict-leader-scheduler", "store_id": to})
    refused = _post(pd, name="transfer-leader", region_id=region["id"], to_store_id=to)
    pd.delete(f"/schedulers/evict-leader-scheduler-{to}")
    assert refused == (500, b'"cannot create operator: target leader is not allowed"\n')


def test_transfer_peer_moves_one_replica_and_only_conf_ver_grows(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    source, target = pd.follower(region), pd.outsider(region)
    body = {"name": "transfer-peer", "region_id": region["id"], "from_store_id": source, "to_store_id": target}
    assert _post(pd, **body) == CREATED

    def moved() -> bool:
        seen = pd.get(f"/region/id/{region['id']}").json()
        stores = {peer["store_id"] for peer in seen["peers"]}
        return target in stores and source not in stores and len(seen["peers"]) == 3

    assert pd.until(moved, within_s=60)
    epoch = pd.get(f"/region/id/{region['id']}").json()["epoch"]
    assert epoch == {"conf_ver": region["epoch"]["conf_ver"] + 6, "version": region["epoch"]["version"]}


def test_a_second_admin_operator_is_refused_and_still_leaves_a_record(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    source, target = pd.follower(region), pd.outsider(region)
    pd.post(
        "/operators",
        {"name": "transfer-peer", "region_id": region["id"], "from_store_id": source, "to_store_id": target},
    )
    assert _post(pd, name="transfer-leader", region_id=region["id"], to_store_id=pd.follower(region)) == (
        500,
        b'"[PD:operator:ErrAddOperator]failed to add operator, maybe already have one"\n',
    )
    records = pd.get("/operators/records").json()
    never = [r for r in records if r.startswith("admin-transfer-leader") and f"region:{region['id']}(" in r]
    assert any("startAt:0001-01-01 00:00:00" in record for record in never)


def test_an_operator_is_cancelled_once(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    source, target = pd.follower(region), pd.outsider(region)
    pd.post(
        "/operators",
        {"name": "transfer-peer", "region_id": region["id"], "from_store_id": source, "to_store_id": target},
    )
    assert pd.delete(f"/operators/{region['id']}").json() == "The pending operator is canceled."
    assert pd.get(f"/operators/{region['id']}").json().startswith("status: CANCEL, ")
    again = pd.delete(f"/operators/{region['id']}")
    assert (again.status_code, again.json()) == (500, "[PD:operator:ErrOperatorNotFound]operator not found")


def test_a_running_operator_shows_as_string_and_as_object(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    source, target = pd.follower(region), pd.outsider(region)
    pd.post(
        "/operators",
        {"name": "transfer-peer", "region_id": region["id"], "from_store_id": source, "to_store_id": target},
    )
    shown = [op for op in pd.get("/operators?object").json() if op["region_id"] == region["id"]]
    assert shown[0]["desc"] == "admin-move-peer"
    assert shown[0]["brief"] == f"mv peer: store [{source}] to [{target}]"
    assert shown[0]["kind"] & 129 == 129
    assert any(text.startswith("admin-move-peer") for text in pd.get("/operators").json())
    pd.delete(f"/operators/{region['id']}")


def test_an_added_fourth_peer_is_soon_removed_and_the_record_says_that(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    target = pd.outsider(region)
    assert _post(pd, name="add-peer", region_id=region["id"], store_id=target) == CREATED
    assert pd.until(lambda: "remove-orphan-peer" in str(pd.get(f"/operators/{region['id']}").json()), within_s=90)
    assert pd.until(lambda: len(pd.get(f"/region/id/{region['id']}").json()["peers"]) == 3, within_s=90)


def test_a_removed_peer_is_soon_replaced(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    assert _post(pd, name="remove-peer", region_id=region["id"], store_id=pd.follower(region)) == CREATED
    assert pd.until(lambda: "add-rule-peer" in str(pd.get(f"/operators/{region['id']}").json()), within_s=90)
    assert pd.until(lambda: len(pd.get(f"/region/id/{region['id']}").json()["peers"]) == 3, within_s=90)


def test_a_split_keeps_the_old_id_on_the_right(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = next(r for r in pd.get("/regions/key?limit=8").json()["regions"] if r["start_key"])
    key = region["start_key"] + "00"
    body = {"name": "split-region", "region_id": region["id"], "policy": "usekey", "keys": [key]}
    assert _post(pd, **body) == CREATED
    assert pd.until(lambda: pd.get(f"/region/id/{region['id']}").json()["start_key"] == key, within_s=30)
    after = pd.get(f"/region/id/{region['id']}").json()
    assert after["epoch"]["version"] == region["epoch"]["version"] + 1
    left = pd.get(f"/region/key/{region['start_key']}?format=hex").json()
    assert left["id"] != region["id"]
    assert left["end_key"] == key


def _split(pd: Twin, region: dict[str, Any]) -> tuple[int, bytes]:
    return _post(pd, name="split-region", region_id=region["id"], policy="approximate")


def _version(pd: Twin, region: dict[str, Any]) -> int:
    return int(pd.get(f"/region/id/{region['id']}").json()["epoch"]["version"])


def test_an_approximate_split_parts_one_region_and_is_no_repeatable_call(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    was, total = region["epoch"]["version"], pd.get("/regions/count").json()["count"]
    assert _split(pd, region) == CREATED
    assert pd.until(lambda: _version(pd, region) == was + 1, within_s=30)
    assert _split(pd, region) == CREATED
    assert pd.until(lambda: _version(pd, region) == was + 2, within_s=30)
    assert pd.get("/regions/count").json()["count"] == total + 2
    after = pd.get(f"/region/id/{region['id']}").json()
    assert after["end_key"] == region["end_key"]
    assert after["epoch"]["conf_ver"] == region["epoch"]["conf_ver"]
    assert after["leader"] == region["leader"]
    left = pd.get(f"/region/key/{region['start_key'] or '00'}?format=hex").json()
    assert {p["store_id"] for p in left["peers"]} == {p["store_id"] for p in region["peers"]}
    record = pd.get(f"/operators/{region['id']}").json()
    assert record.startswith("status: SUCCESS, operator: admin-split-region {split: region ")
    assert "use policy APPROXIMATE} (kind:admin,split, " in record


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"region_id": 999999, "policy": "approximate"}, "[PD:region:ErrRegionNotFound]region 999999 not found"),
        ({"policy": "halves"}, "check policy HALVES is not supported"),
    ],
)
def test_why_a_region_is_not_split(pd: Twin, body: dict[str, object], message: str) -> None:
    answer = pd.post("/operators", {"name": "split-region", "region_id": pd.region()["id"]} | body)
    assert (answer.status_code, answer.json()) == (500, message)


def test_a_split_waits_for_no_schedule_limit_but_for_the_leave_to_split(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    pd.post("/config", {"schedule.enable-tikv-split-region": "false"})
    assert _split(pd, region) == CREATED
    pd.sleep(2)
    shown = [op["desc"] for op in pd.get("/operators?object").json() if op["region_id"] == region["id"]]
    assert shown == ["admin-split-region"]
    assert _version(pd, region) == region["epoch"]["version"]
    assert _split(pd, region) == (
        500,
        b'"[PD:operator:ErrAddOperator]failed to add operator, maybe already have one"\n',
    )
    pd.post("/config", {"schedule.enable-tikv-split-region": "true"})
    assert pd.until(lambda: _version(pd, region) == region["epoch"]["version"] + 1, within_s=30)


def test_a_split_is_merged_again_when_its_halves_are_small_and_cold_for_long_enough(breakable_pd: Twin) -> None:
    pd = breakable_pd
    pd.post("/config", {"schedule.split-merge-interval": "3s"})
    region, total = pd.region(), pd.get("/regions/count").json()["count"]
    assert _split(pd, region) == CREATED
    assert pd.until(lambda: pd.get("/regions/count").json()["count"] == total + 1, within_s=2)
    assert pd.until(lambda: pd.get("/regions/count").json()["count"] == total, within_s=30)


def test_nothing_is_merged_where_the_limit_of_merges_is_zero(breakable_pd: Twin) -> None:
    pd = breakable_pd
    pd.post("/config", {"schedule.split-merge-interval": "1s", "schedule.merge-schedule-limit": 0})
    total = pd.get("/regions/count").json()["count"]
    assert _split(pd, pd.region()) == CREATED
    pd.sleep(4)
    assert pd.get("/regions/count").json()["count"] == total + 1


def test_a_merge_ends_cancel_for_the_source_and_success_for_the_target(breakable_pd: Twin) -> None:
    pd = breakable_pd
    _quiet(pd)
    source, target = next(
        (left, right)
        for left, right in _neighbours(pd)
        if {p["store_id"] for p in left["peers"]} != {p["store_id"] for p in right["peers"]}
    )
    body = {"name": "merge-region", "source_region_id": source["id"], "target_region_id": target["id"]}
    assert _post(pd, **body) == CREATED
    assert pd.until(lambda: pd.get(f"/region/id/{source['id']}").json()["id"] == 0, within_s=60)
    assert pd.get(f"/operators/{source['id']}").json().startswith("status: CANCEL")
    assert pd.get(f"/operators/{target['id']}").json().startswith("status: SUCCESS")
    merged = pd.get(f"/region/id/{target['id']}").json()
    assert (merged["start_key"], merged["end_key"]) == (source["start_key"], target["end_key"])


def _neighbours(pd: Twin) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(pairwise(pd.get("/regions/key?limit=-1").json()["regions"]))


def test_regions_that_do_not_touch_are_not_merged(writable_pd: Twin) -> None:
    ordered = writable_pd.get("/regions/key?limit=16").json()["regions"]
    body = {"name": "merge-region", "source_region_id": ordered[0]["id"], "target_region_id": ordered[2]["id"]}
    assert _post(writable_pd, **body) == (
        500,
        b'"[PD:region:ErrRegionNotAdjacent]two regions are not adjacent"\n',
    )


def test_transfer_region_needs_roles(writable_pd: Twin) -> None:
    region = writable_pd.region()
    stores = [peer["store_id"] for peer in region["peers"]]
    status, body = _post(writable_pd, name="transfer-region", region_id=region["id"], to_store_ids=stores)
    assert status == 500
    assert b"transfer region without peer role is not supported when placement rules enabled" in body


def test_scattering_says_created_whether_or_not_there_is_anything_to_do(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    assert _post(pd, name="scatter-region", region_id=region["id"]) == CREATED
    assert pd.until(lambda: not pd.get("/operators?object").json(), within_s=60)
    assert len(pd.get(f"/region/id/{region['id']}").json()["peers"]) == 3


def test_a_busy_or_unknown_region_is_not_scattered(writable_pd: Twin) -> None:
    pd = writable_pd
    _quiet(pd)
    region = pd.region()
    source, target = pd.follower(region), pd.outsider(region)
    _post(pd, name="transfer-peer", region_id=region["id"], from_store_id=source, to_store_id=target)
    busy = f'"the operator of region {region["id"]} already exist"\n'.encode()
    assert _post(pd, name="scatter-region", region_id=region["id"]) == (500, busy)
    pd.delete(f"/operators/{region['id']}")
    unknown = b'"[PD:region:ErrRegionNotFound]region 999999 not found"\n'
    assert _post(pd, name="scatter-region", region_id=999999) == (500, unknown)


def test_scatter_by_range_says_what_it_lacks(pd: Twin) -> None:
    assert pd.post("/regions/scatter", {}).json() == "regions_id is invalid"
    assert pd.post("/regions/split", {}).json() == "split_keys should be provided."


def test_there_are_no_records_of_an_idle_hour(breakable_pd: Twin) -> None:
    answer = breakable_pd.get("/operators/records")
    assert (answer.status_code, answer.json()) == (500, "[PD:operator:ErrOperatorNotFound]operator not found")
    assert breakable_pd.get("/operators").content == b"[]\n"
    assert breakable_pd.get("/operators?object").content == b"[]\n"
    assert breakable_pd.get("/operators?kind=admin").content == b"null\n"
