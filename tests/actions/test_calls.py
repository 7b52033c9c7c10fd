"""What can be said to a cluster, and what its answers mean. Bodies are those of a real PD."""

from __future__ import annotations

import re
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import calls
from actions.calls import CALLS, BadCall, judge, render
from actions.schedule_keys import KEYS
from schemas.values import Call
from tests.actions.clusters import store

J = "application/json; charset=UTF-8"
EVICT = calls.add_evict_leader(4)
UNEVICT = calls.remove_evict_leader(4)
TRANSFER = calls.transfer_leader(180, 5)
MOVE = calls.transfer_peer(180, 3, 5)
BURY = calls.remove_tombstones()
SPLIT = calls.split_region(180, 3)
LEAD = calls.transfer_pd_leader("pd-1")
LIMIT = calls.set_store_limit(4, "remove-peer", 30)
SCATTER = calls.scatter_region(180, conf_ver=5, leader_store_id=1)
WEIGH = calls.set_store_weight(4, 1.0, 0.25)
OFFLINE = calls.offline_store(4)
KEEP = calls.cancel_store_offline(4)
PAUSE = calls.pause_scheduler("balance-region-scheduler", 960)
RESUME = calls.resume_scheduler("balance-hot-region-scheduler")
CONFIG = calls.set_schedule_config("leader-schedule-limit", 0)
CANCEL = calls.cancel_operator(180, 1_799_999_900_123_456_789)
WEIGH = calls.set_store_weight(4, 1.0, 0.25)
CACHE = "storage.block-cache.capacity"
SET = calls.set_tikv_config(store(4), CACHE, "8GiB", "4GiB")
RESTORE = calls.restore_tikv_config(store(4), CACHE, "4GiB", "8GiB")
TO_TIKV = (SET, RESTORE)
ALL = (
    EVICT,
    UNEVICT,
    TRANSFER,
    BURY,
    SPLIT,
    WEIGH,
    PAUSE,
    RESUME,
    MOVE,
    SCATTER,
    CONFIG,
    CANCEL,
    OFFLINE,
    KEEP,
    SET,
    RESTORE,
    LEAD,
    LIMIT,
)

ARGS = sorted({name for kind in CALLS.values() for name in kind.args})


@pytest.mark.parametrize(
    ("call", "line", "by_hand"),
    [
        (
            EVICT,
            'POST /pd/api/v1/schedulers {"name":"evict-leader-scheduler","store_id":4}',
            "pd-ctl scheduler add evict-leader-scheduler 4",
        ),
        (
            UNEVICT,
            "DELETE /pd/api/v1/schedulers/evict-leader-scheduler-4",
            "pd-ctl scheduler remove evict-leader-scheduler-4",
        ),
        (
            TRANSFER,
            'POST /pd/api/v1/operators {"name":"transfer-leader","region_id":180,"to_store_id":5}',
            "pd-ctl operator add transfer-leader 180 5",
        ),
        (
            MOVE,
            'POST /pd/api/v1/operators {"from_store_id":3,"name":"transfer-peer","region_id":180,"to_store_id":5}',
            "pd-ctl operator add transfer-peer 180 3 5",
        ),
        (CANCEL, "DELETE /pd/api/v1/operators/180", "pd-ctl operator remove 180"),
        (BURY, "DELETE /pd/api/v1/stores/remove-tombstone", "pd-ctl store remove-tombstone"),
        (
            SPLIT,
            'POST /pd/api/v1/operators {"name":"split-region","policy":"approximate","region_id":180}',
            "pd-ctl operator add split-region 180 --policy=approximate",
        ),
        (
            PAUSE,
            'POST /pd/api/v1/schedulers/balance-region-scheduler {"delay":960}',
            "pd-ctl scheduler pause balance-region-scheduler 960",
        ),
        (
            RESUME,
            'POST /pd/api/v1/schedulers/balance-hot-region-scheduler {"delay":0}',
            "pd-ctl scheduler resume balance-hot-region-scheduler",
        ),
        (LEAD, "POST /pd/api/v1/leader/transfer/pd-1", "pd-ctl member leader transfer pd-1"),
        (
            LIMIT,
            'POST /pd/api/v1/store/4/limit {"rate":30,"type":"remove-peer"}',
            "pd-ctl store limit 4 30 remove-peer",
        ),
        (
            SCATTER,
            'POST /pd/api/v1/operators {"name":"scatter-region","region_id":180}',
            "pd-ctl operator add scatter-region 180",
        ),
        (WEIGH, 'POST /pd/api/v1/store/4/weight {"leader":1,"region":0.25}', "pd-ctl store weight 4 1 0.25"),
        (OFFLINE, "DELETE /pd/api/v1/store/4", "pd-ctl store delete 4"),
        (KEEP, "POST /pd/api/v1/store/4/state?state=Up", "pd-ctl store cancel-delete 4"),
        (
            CONFIG,
            'POST /pd/api/v1/config {"schedule.leader-schedule-limit":0}',
            "pd-ctl config set leader-schedule-limit 0",
        ),
        (
            SET,
            'POST 10.0.4.4:20180/config?persist=false {"storage.block-cache.capacity":"4GiB"}',
            "curl -X POST 'http://10.0.4.4:20180/config?persist=false' -d"
            """ '{"storage.block-cache.capacity":"4GiB"}'   # if GET /config there shows 8GiB""",
        ),
        (
            RESTORE,
            'POST 10.0.4.4:20180/config?persist=false {"storage.block-cache.capacity":"8GiB"}',
            "curl -X POST 'http://10.0.4.4:20180/config?persist=false' -d"
            """ '{"storage.block-cache.capacity":"8GiB"}'   # only where it still shows 4GiB""",
        ),
    ],
)
def test_a_call_is_exactly_one_request(call: Call, line: str, by_hand: str) -> None:
    assert str(render(call)) == line
    assert calls.by_hand(call) == by_hand


def test_every_row_has_a_constructor() -> None:
    assert {c.name for c in ALL} == set(CALLS)


@pytest.mark.parametrize(
    "call",
    [
        Call(name="regions_of_store", args={"store_id": "1", "type": "Leader"}),
        Call(name="GET /pd/api/v1/regions/store/1?type=foo"),
        Call(name="evict_leader_config", args={"store_id": "1", "batch": "11"}),
        Call(name="add_evict_leader", args={"store_id": "1", "batch": "11"}),
        Call(name="add_evict_leader", args={"store_id": "1?type=foo"}),
        Call(name="add_evict_leader", args={"store_id": "1.5"}),
        Call(name="add_evict_leader", args={"store_id": "-1"}),
        Call(name="add_evict_leader", args={"store_id": "0"}),
        Call(name="add_evict_leader", args={"store_id": "9223372036854775808"}),
        Call(name="add_evict_leader", args={"store_id": "\u0664"}),  # a digit to str.isdigit, none to PD
        Call(name="add_evict_leader"),
        Call(name="remove_evict_leader", args={"store_id": ""}),  # would remove the eviction of every store
        Call(name="transfer_peer", args={"region_id": "180", "to_store_id": "5"}),
        Call(name="transfer_peer", args={"region_id": "180", "from_store_id": "-3", "to_store_id": "5"}),
        Call(name="remove_tombstones", args={"force": "1"}),
        Call(name="split_region", args={"region_id": "180"}),  # of which version?
        Call(name="split_region", args={"region_id": "180", "version": "0"}),
        Call(name="split_region", args={"region_id": "180", "version": "3", "policy": "scan"}),
        *(
            calls.transfer_pd_leader(name)
            for name in (
                "",
                ".",
                "..",
                "a..b",
                "a/b",
                "../x",
                "a%2fb",
                "a?b",
                "a b",
                "a\n",
                "-a",
                "a-",
                "\u0664",
                "x" * 129,
            )
        ),
        Call(name="transfer_pd_leader"),  # PD would choose
        Call(name="set_store_limit", args={"store_id": "1", "per_minute": "15"}),  # PD would set both
        Call(name="set_store_limit", args={"store_id": "1", "limit_type": "", "per_minute": "15"}),
        Call(name="set_store_limit", args={"store_id": "1?ttlSecond=5", "limit_type": "add-peer", "per_minute": "15"}),
        calls.set_store_limit(0, "add-peer", 15),
        calls.set_store_limit(4, "Add-peer", 15),
        calls.set_store_limit(4, "add-peer\n", 15),
        calls.set_store_limit(4, "add-peer", 0),
        calls.set_store_limit(4, "add-peer", 1 / 3),
        calls.set_store_limit(4, "add-peer", 1e9),
        Call(name="scatter_region", args={"region_id": "180"}),  # as it was when?
        Call(name="scatter_region", args={"region_id": "180", "conf_ver": "5", "leader_store_id": "0"}),
        Call(name="cancel_operator", args={"region_id": "180"}),  # which one?
        Call(name="cancel_operator", args={"region_id": "180", "created_ns": "0"}),
        Call(name="cancel_operator", args={"region_id": "", "created_ns": "1"}),  # would cancel those of every region
        Call(name="cancel_operator", args={"region_id": "history", "created_ns": "1"}),
        Call(name="set_store_weight", args={"store_id": "1", "leader": "1"}),  # PD wants both
        Call(name="set_store_weight", args={"store_id": "1.5", "leader": "1", "region": "1"}),
        Call(name="offline_store", args={"store_id": "4", "force": "true"}),  # could never be taken back
        Call(name="offline_store", args={"store_id": "4?force"}),
        Call(name="offline_store", args={"store_id": ""}),
        Call(name="cancel_store_offline", args={"store_id": "4", "state": "Offline"}),
        Call(name="cancel_store_offline", args={"store_id": "4/state?state=Tombstone&x="}),
        calls.pause_scheduler("all", 60),
        calls.pause_scheduler("evict-leader-scheduler", 60),  # would end every eviction's effect
        calls.pause_scheduler("balance-region-scheduler-4", 60),
        calls.pause_scheduler("../stores/remove-tombstone", 60),
        calls.pause_scheduler("balance-region-scheduler", 0),  # is a resume
        calls.resume_scheduler("all"),
        calls.set_store_weight(0, 1, 1),
        calls.set_store_weight(4, 1, 1 / 3),
        calls.set_store_weight(4, nan, 1),
        calls.set_schedule_config("max-replicas", 1),
        calls.set_schedule_config("halt-scheduling", 1),
        calls.set_schedule_config("schedule.leader-schedule-limit", 1),
        calls.set_schedule_config("leader-schedule-limit?ttlSecond=5", 1),
        calls.set_schedule_config("", 1),
        calls.set_schedule_config("leader-schedule-limit", -1),
        calls.set_schedule_config("leader-schedule-limit", 2**31),
        Call(name="set_schedule_config", args={"key": "leader-schedule-limit"}),
        Call(name="set_schedule_config", args={"key": "leader-schedule-limit", "value": "1", "ttlSecond": "5"}),
        Call(name="set_tikv_config", args=SET.args | {"persist": "true"}),
        Call(name="set_tikv_config", args={k: v for k, v in SET.args.items() if k != "was"}),
        *(
            Call(name=name, args=SET.args | {of: bad})
            for name in ("set_tikv_config", "restore_tikv_config")
            for of, bad in (
                ("key", "server.grpc-memory-pool-quota"),
                ("key", "log.level"),
                ("key", ""),
                ("value", "4096MiB"),  # 4GiB is the one spelling
                ("value", "0KiB"),
                ("value", '4GiB","log.level":"debug'),
                ("was", "8G"),
                ("was", "45%"),
                ("status_address", "10.0.4.4:20180/pause_grpc?"),
                ("status_address", "me@10.0.4.4:20180"),
                ("status_address", ""),
                ("address", "10.0.4.4"),
                ("started_at_s", "0"),
            )
        ),
        Call(name=""),
    ],
)
def test_what_is_not_in_the_table_cannot_be_said(call: Call) -> None:
    for say in (render, calls.by_hand, lambda c: judge(c, 200, J, "null")):
        with pytest.raises(BadCall):
            say(call)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (Call(name="drop"), "no call 'drop'; there are add_evict_leader, "),
        (Call(name="add_evict_leader"), "add_evict_leader: takes store_id, got none"),
        (Call(name="remove_tombstones", args={"b": "1", "a": "1"}), "remove_tombstones: takes no arguments, got a, b"),
        (Call(name="remove_evict_leader", args={"store_id": "x"}), "store_id='x' is not a whole positive number"),
        (
            calls.resume_scheduler("all"),
            "scheduler='all' is not one of balance-leader-scheduler, balance-region-scheduler, balance-hot-region-sch",
        ),
        (calls.set_store_weight(4, 0.0, 1), "leader='0.0' is not a plain decimal above 0 and below 100, with at most"),
        (
            calls.set_store_limit(4, "add-peer", 1e9),
            "per_minute='1000000000.0' is not a plain decimal above 0 and below 10^9, with at most",
        ),
        (calls.set_store_limit(4, "all", 15), "limit_type='all' is not one of add-peer, remove-peer"),
        (calls.transfer_pd_leader("a/b"), "member='a/b' is not the name of a member of PD"),
        (
            calls.set_schedule_config("max-replicas", 1),
            "key='max-replicas' is not a key of PD's schedule configuration",
        ),
        (
            calls.set_schedule_config("max-snapshot-count", -1),
            "value='-1' is not a whole number of 0 or more, below 2^31",
        ),
    ],
)
def test_a_call_that_cannot_be_said_says_why(call: Call, says: str) -> None:
    with pytest.raises(BadCall) as bad:
        render(call)
    assert says in str(bad.value)


@given(
    st.sampled_from(sorted(CALLS)),
    st.dictionaries(
        st.sampled_from([*ARGS, "force", "state"]),
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(["4", "4?force", "4?force=true", "4/state?state=Offline", "Tombstone"]),
        ),
        max_size=8,  # no call has as many
    ),
)
def test_the_calls_that_harm_can_never_be_rendered(name: str, args: dict[str, str]) -> None:
    try:
        request = render(Call(name=name, args=args))
    except BadCall:
        return
    if CALLS[name].to == "tikv":
        assert request.path == "/config?persist=false"
        return
    path, _, query = str(request).partition("?")
    assert query == ("state=Up" if name == "cancel_store_offline" else "")
    assert not re.search(r"regions/store|type=|force|scheduler-config|batch|\.\.|%|#", path)
    assert re.fullmatch(
        r"/pd/api/v1/(schedulers(/evict-leader-scheduler-\d+|/balance-[a-z-]+-scheduler)?|operators(/\d+)?"
        r"|stores/remove-tombstone|store/\d+(/weight|/limit|/state\?state=Up)?|leader/transfer/[A-Za-z0-9._-]+|config)",
        request.path,
    )


@pytest.mark.parametrize(
    "text",
    ["", "0", "0.0", "0.00", "00.5", "01", "1.0", "1.50", "1.", ".5", "0.125", "100", "1e1", "1E-1", "-1", "+1", " 1",
     "1\n", "1,5", "0x1", "1_0", "nan", "inf", "\u0664", "\uff11", "1.\u0665"],
)  # fmt: skip
def test_a_weight_has_one_plain_spelling(text: str) -> None:
    for args in ({"leader": text, "region": "1"}, {"leader": "1", "region": text}):
        with pytest.raises(BadCall, match="is not a plain decimal"):
            render(Call(name="set_store_weight", args={"store_id": "4", **args}))
    with pytest.raises(BadCall, match="is not a whole positive number"):
        render(Call(name="set_store_weight", args={"store_id": "0.5", "leader": "1", "region": "1"}))


@given(st.integers(1, 9_999))
def test_every_weight_of_two_places_is_said_and_read_back(hundredths: int) -> None:
    weight = hundredths / 100
    text = calls.weight_text(weight)
    assert text is not None
    assert float(text) == weight
    assert "e" not in text
    said = render(calls.set_store_weight(4, weight, 1)).body
    assert said == f'{{"leader":{text},"region":1}}'


@given(st.floats())
def test_a_weight_that_is_not_one_of_these_is_never_rounded_to_one(weight: float) -> None:
    text = calls.weight_text(weight)
    assert text is None or float(text) == weight
    assert (text is not None) == (0 < weight < 100 and round(weight * 100) / 100 == weight)


@pytest.mark.parametrize("weight", [0.0, -0.0, -1.0, 0.001, 100.0, 1e300, nan, inf])
def test_what_is_no_weight_has_no_spelling(weight: float) -> None:
    assert calls.weight_text(weight) is None


def test_no_template_names_the_calls_that_harm() -> None:
    for name, kind in CALLS.items():
        path, _, query = kind.path.partition("?")
        queries = {
            "cancel_store_offline": "state=Up",
            **dict.fromkeys(("set_tikv_config", "restore_tikv_config"), "persist=false"),
        }
        assert query == queries.get(name, "")
        assert not re.search(r"regions/store|scheduler-config|force|ttl", kind.path)
        assert kind.path.startswith("/pd/api/v1/") == (kind.to == "pd")
        assert not re.search(r"[?&%#]", path + query)


@pytest.mark.parametrize("name", ["p", "pd-0", "pd_0", "basic-pd-0", "pd-10.0.1.1-2379", "pd--1", "PD.x", "x" * 128])
def test_a_member_is_named_as_it_is(name: str) -> None:
    assert calls.can_name(name)
    assert render(calls.transfer_pd_leader(name)).path == f"/pd/api/v1/leader/transfer/{name}"


@pytest.mark.parametrize(
    ("rate", "text"),
    [(15, "15"), (15.0, "15"), (0.5, "0.5"), (0.25, "0.25"), (1e8, "100000000"), (999_999_999.99, "999999999.99"),
     (0.0, None), (-1.0, None), (0.001, None), (1 / 3, None), (1e9, None), (nan, None), (inf, None)],
)  # fmt: skip
def test_what_a_store_limit_may_be_set_back_to_has_one_spelling(rate: float, text: str | None) -> None:
    assert calls.rate_text(rate) == text
    if text is not None:
        assert render(calls.set_store_limit(4, "add-peer", rate)).body == f'{{"rate":{text},"type":"add-peer"}}'


@pytest.mark.parametrize(
    "text",
    ["", "00", "01", "1.0", "1.5", "-1", "-0", "+1", " 1", "1\n", "1e1", "0x1", "1_0", "true", "null", "nan", "abc",
     "\u0664", "2147483648", "4294967296", "99999999999"],
)  # fmt: skip
def test_a_count_has_one_spelling(text: str) -> None:
    with pytest.raises(BadCall, match="is not a whole number of 0 or more"):
        render(Call(name="set_schedule_config", args={"key": "leader-schedule-limit", "value": text}))


@pytest.mark.parametrize(("value", "can"), [(-1, False), (0, True), (1, True), (2**31 - 1, True), (2**31, False)])
def test_a_key_can_be_set_to_0_and_to_less_than_2_to_the_31st(value: int, can: bool) -> None:
    assert calls.can_set(value) == can
    if can:
        said = render(calls.set_schedule_config("max-snapshot-count", value)).body
        assert said == f'{{"schedule.max-snapshot-count":{value}}}'


@pytest.mark.parametrize("key", KEYS)
def test_every_key_that_may_be_set_can_be_said(key: str) -> None:
    assert render(calls.set_schedule_config(key, 0)).body == f'{{"schedule.{key}":0}}'
    for other in (key.upper(), f"{key} ", f" {key}", f"{key}\n", key[:-1], f"{key}s"):
        with pytest.raises(BadCall, match="is not a key"):
            render(calls.set_schedule_config(other, 0))


def test_what_is_not_on_the_list_of_settings_cannot_be_said_to_a_store() -> None:
    paths = {kind.path for kind in CALLS.values() if kind.to == "tikv"}
    assert paths == {"/config?persist=false"}
    assert {kind.to for kind in CALLS.values()} == {"pd", "tikv"}
    assert all(render(call).server == "" for call in ALL if call not in TO_TIKV)


@pytest.mark.parametrize("call", TO_TIKV, ids=str)
@pytest.mark.parametrize(
    ("status", "content_type", "body", "answer", "code"),
    [
        (200, "", "", "accepted", ""),
        (200, "", "x", "may_have_run", "http_200"),
        (200, J, "", "may_have_run", "http_200_not_tikv"),
        (200, "text/html", "", "may_have_run", "http_200_not_tikv"),
        (204, "", "", "may_have_run", "http_204"),
        (500, "", 'failed to update, error: "unexpect fields: nosuch"', "refused", "tikv_said_no"),
        (500, "", 'failed to update, error: "config data_dir can not be changed"', "refused", "tikv_said_no"),
        (500, "", 'failed to update, error: "failed to parse: 4XiB"', "refused", "tikv_said_no"),
        (500, "", 'failed to decode, error: "wrong format"', "refused", "tikv_said_no"),
        (403, "", "certificate role error", "refused", "tikv_said_no"),
        (500, "text/plain", 'failed to decode, error: "wrong format"', "may_have_run", "http_500_not_tikv"),
        (200, "", 'failed to decode, error: "wrong format"', "may_have_run", "http_200"),
        (500, "", 'failed to update, error: "shared block cache is disabled"', "may_have_run", "http_500"),
        (500, "", "config changed, but failed to persist change due to err: Os", "may_have_run", "http_500"),
        (500, "", "Internal Server Error", "may_have_run", "http_500"),
        (400, "", "provided string was not `true` or `false`", "may_have_run", "http_400"),
        (400, "", '{"code":"input"}', "may_have_run", "http_400"),
        (502, "text/html", "<html>", "may_have_run", "http_502_not_tikv"),
        (500, "", "[PD:core:ErrStoreNotFound]store 4", "may_have_run", "PD:core:ErrStoreNotFound"),
    ],
)
def test_what_a_store_answers(call: Call, status: int, content_type: str, body: str, answer: str, code: str) -> None:
    assert judge(call, status, content_type, body)[:2] == (answer, code)


@pytest.mark.parametrize(
    ("call", "status", "body", "code"),
    [
        (EVICT, 200, '"The scheduler is created."\n', ""),
        (EVICT, 200, '"The scheduler has been applied to the store."\n', ""),
        (UNEVICT, 200, "null\n", ""),
        (UNEVICT, 404, "null\n", "already_so"),
        (TRANSFER, 200, '"The operator is created."\n', ""),
        (TRANSFER, 500, '"no operator step is built"\n', "already_so"),
        (MOVE, 200, '"The operator is created."\n', ""),
        (BURY, 200, '"Remove tombstone successfully."\n', ""),
        (SPLIT, 200, '"The operator is created."\n', ""),
        (LEAD, 200, '"The transfer command is submitted."\n', ""),
        (LIMIT, 200, '"The store\'s limit is updated."\n', ""),
        (SCATTER, 200, '"The operator is created."\n', ""),
        (WEIGH, 200, '"The store\'s weight is updated."\n', ""),
        (OFFLINE, 200, '"The store is set as Offline."\n', ""),
        (KEEP, 200, '"The store\'s state is updated."\n', ""),
        (PAUSE, 200, '"Pause or resume the scheduler successfully."\n', ""),
        (RESUME, 200, '"Pause or resume the scheduler successfully."\n', ""),
        (RESUME, 500, '"[PD:scheduler:ErrSchedulerNotFound]scheduler not found"\n', "already_so"),
        (CONFIG, 200, '"The config is updated."\n', ""),
        (CANCEL, 200, '"The pending operator is canceled."\n', ""),
        (WEIGH, 200, '"The store\'s label is updated."\n', ""),  # before 8.1
    ],
)
def test_what_pd_accepts(call: Call, status: int, body: str, code: str) -> None:
    assert judge(call, status, J, body)[:2] == ("accepted", code)


@pytest.mark.parametrize(
    ("call", "status", "body", "code"),
    [
        (EVICT, 500, '"[PD:core:ErrStoreNotFound]store 4 not found"\n', "PD:core:ErrStoreNotFound"),
        (EVICT, 500, '"\\"[PD:core:ErrStoreNotFound]store 4 not found\\"\\n"\n', "PD:core:ErrStoreNotFound"),
        (EVICT, 500, '"[PD:core:ErrPauseLeaderTransfer]store 3 is paused"', "PD:core:ErrPauseLeaderTransfer"),
        (EVICT, 400, '"missing store id"\n', "pd_said_no"),
        (TRANSFER, 500, '"[PD:region:ErrRegionNotFound]region 9 not found"', "PD:region:ErrRegionNotFound"),
        (TRANSFER, 500, '"region has no voter in store 5"\n', "pd_said_no"),
        (TRANSFER, 500, '"cannot transfer leader to 5: unhealthy"\n', "pd_said_no"),
        (TRANSFER, 500, '"cannot create operator: target leader is not allowed"\n', "pd_said_no"),
        (
            TRANSFER,
            500,
            '"[PD:operator:ErrAddOperator]failed to add operator, maybe already have one"\n',
            "PD:operator:ErrAddOperator",
        ),
        (MOVE, 500, '"[PD:region:ErrRegionNotFound]region 180 not found"\n', "PD:region:ErrRegionNotFound"),
        (MOVE, 500, '"[PD:core:ErrStoreNotFound]store 5 not found"\n', "PD:core:ErrStoreNotFound"),
        (MOVE, 500, '"[PD:core:ErrStoreRemoved]store 5 has been removed"\n', "PD:core:ErrStoreRemoved"),
        (MOVE, 500, '"[PD:core:ErrStoreUnhealthy]store 5 is unhealthy"\n', "PD:core:ErrStoreUnhealthy"),
        (MOVE, 400, '"invalid store id to transfer peer to"\n', "pd_said_no"),
        (MOVE, 400, '"invalid store id to transfer peer from"\n', "pd_said_no"),
        (SPLIT, 500, '"[PD:region:ErrRegionNotFound]region 180 not found"\n', "PD:region:ErrRegionNotFound"),
        (
            SPLIT,
            500,
            '"[PD:operator:ErrAddOperator]failed to add operator, maybe already have one"\n',
            "PD:operator:ErrAddOperator",
        ),
        (SPLIT, 500, '"cannot split region which is in joint state"\n', "pd_said_no"),
        (SPLIT, 400, '"missing split policy"\n', "pd_said_no"),
        (SPLIT, 500, '"check policy APPROXIMATE is not supported"\n', "pd_said_no"),
        (LIMIT, 500, '"[PD:core:ErrStoreNotFound]store 4 not found"\n', "PD:core:ErrStoreNotFound"),
        (LIMIT, 400, '"current store limit version:v2 not support set limit"\n', "pd_said_no"),
        (LEAD, 500, '"no valid pd to transfer etcd leader"\n', "pd_said_no"),
        (LIMIT, 400, '"rate unset"\n', "pd_said_no"),
        (LIMIT, 400, '"unknown type"\n', "pd_said_no"),
        (LIMIT, 400, '"invalid rate which should be larger than 0"\n', "pd_said_no"),
        (SCATTER, 500, '"[PD:region:ErrRegionNotFound]region 180 not found"\n', "PD:region:ErrRegionNotFound"),
        (SCATTER, 500, '"region 180 is a hot region"\n', "pd_said_no"),
        (SCATTER, 500, '"cannot build operator for region with no leader"\n', "pd_said_no"),
        (SCATTER, 400, '"missing region id"\n', "pd_said_no"),
        (
            CANCEL,
            500,
            '"[PD:operator:ErrOperatorNotFound]operator not found"\n',
            "PD:operator:ErrOperatorNotFound",
        ),
        (CANCEL, 500, '"operator not found"\n', "pd_said_no"),  # before 7.5
        (TRANSFER, 500, '"region 180 not found"\n', "pd_said_no"),
        (SPLIT, 500, '"region 180 not found"\n', "pd_said_no"),
        (TRANSFER, 500, '"failed to add operator, maybe already have one"\n', "pd_said_no"),
        (SPLIT, 500, '"failed to add operator, maybe already have one"\n', "pd_said_no"),
        (WEIGH, 500, '"[PD:core:ErrStoreNotFound]store 4 not found"\n', "PD:core:ErrStoreNotFound"),
        (WEIGH, 400, '"region weight unset"\n', "pd_said_no"),
        (WEIGH, 400, '"bad format leader weight"\n', "pd_said_no"),
        *(
            (call, status, f'"[PD:core:{code}]store 4 {said}"\n', f"PD:core:{code}")
            for call in (OFFLINE, KEEP)
            for status, code, said in (
                (404, "ErrStoreNotFound", "not found"),
                (410, "ErrStoreRemoved", "has been removed"),
                (400, "ErrStoreDestroyed", "has been physically destroyed"),
            )
        ),
        (
            OFFLINE,
            400,
            '"[PD:core:ErrStoresNotEnough]can not remove store 4 since the number of up stores would be 2 while'
            ' need 3"',
            "PD:core:ErrStoresNotEnough",
        ),
        (
            OFFLINE,
            400,
            '"[PD:core:ErrNoStoreForRegionLeader]can not remove store 4 since there are no extra up store to store the'
            ' leader"',
            "PD:core:ErrNoStoreForRegionLeader",
        ),
        (PAUSE, 400, '"missing pause time"\n', "pd_said_no"),
        (
            PAUSE,
            500,
            '"[PD:scheduler:ErrSchedulerNotFound]scheduler not found"\n',
            "PD:scheduler:ErrSchedulerNotFound",
        ),
        (CONFIG, 400, '"need to clean up TTL first for schedule.leader-schedule-limit"\n', "pd_said_no"),
        (CONFIG, 400, '"config item leader-schedule-limit not found"\n', "pd_said_no"),
        (CONFIG, 400, '"config item schedule.leader-schedule-limit not found"\n', "pd_said_no"),
        (TRANSFER, 400, '{"code":"input","msg":"invalid character","data":{"Offset":1}}', "input"),
        (TRANSFER, 400, '"region has no voter in store 5"', "pd_said_no"),
        (TRANSFER, 599, '"region has no voter in store 5"', "pd_said_no"),
        (TRANSFER, 400, '"[PD:region:ErrRegionNotFound]region 9 not found"', "PD:region:ErrRegionNotFound"),
        (TRANSFER, 599, '{"msg":"[PD:region:ErrRegionNotFound]region 9 not found"}', "PD:region:ErrRegionNotFound"),
    ],
)
def test_what_pd_refuses_before_it_changes_anything(call: Call, status: int, body: str, code: str) -> None:
    assert judge(call, status, J, body)[:2] == ("refused", code)


@pytest.mark.parametrize(
    ("status", "content_type", "body", "code", "said"),
    [
        (500, J, '"failed stores: [4]"', "http_500", "failed stores: [4]"),
        (500, J, '  {"b":1,"a":[2]}\n', "http_500", '{"a":[2],"b":1}'),
        (500, J, '{"msg":" no\\n","code":"x"}', "http_500", "no"),
        (500, J, '{"msg":7}', "http_500", '{"msg":7}'),
        (500, J, '["msg"]', "http_500", '["msg"]'),
        (500, "Application/JSON", '"null"', "http_500", "null"),
        (502, "text/html", " <html>\n", "http_502_not_json", "<html>"),
        (502, "text/json", '"x"', "http_502_not_json", '"x"'),
        (500, J, '"x', "http_500_not_json", '"x'),
        (500, J, '"[PD:cluster:ErrNotBootstrapped]x"', "PD:cluster:ErrNotBootstrapped", None),
        (500, "text/plain", "[PD:apiutil:ErrRedirect]x", "PD:apiutil:ErrRedirect", None),
        (500, J, '"x [PD:core:ErrStoreNotFound]"', "http_500", None),
        (500, "", "x" * 400, "http_500_not_json", "x" * 300),
        (399, J, '"[PD:core:ErrStoreNotFound]x"', "PD:core:ErrStoreNotFound", None),
        (600, J, '"[PD:core:ErrStoreNotFound]x"', "PD:core:ErrStoreNotFound", None),
        (399, J, '"missing store id"', "http_399", None),
        (600, J, '"missing store id"', "http_600", None),
        (500, J, '"missing store id, or not"', "http_500", None),
        (400, J, '{"code":"data","msg":"m"}', "http_400", "m"),
        (400, J, '{"code":"input","msg":"m"}\n"missing store id"\n', "http_400_not_json", None),  # two documents
        (400, J, '["input"]', "http_400", None),
        (500, J, '{"code":"input","msg":"m"}', "http_500", "m"),
        (401, J, '{"code":"input","msg":"m"}', "http_401", "m"),
    ],
)
def test_what_is_told_of_an_answer_that_says_nothing_for_certain(
    status: int, content_type: str, body: str, code: str, said: str | None
) -> None:
    answer, given_code, text = judge(EVICT, status, content_type, body)
    assert (answer, given_code) == ("may_have_run", code)
    assert said is None or text == said


@pytest.mark.parametrize(
    "said",
    [
        "[PD:operator:ErrAddOperator]failed to add operator, maybe already have one",
        "region has no peer in store 3",
        "cannot add peer store_id:5 : already have peer id:7 store_id:5 ",
        "cannot build operator for region with no leader",
        "cannot build operator for region which is in joint state",
    ],
)
def test_what_a_move_of_ours_may_be_the_reason_for_is_no_refusal_of_another(said: str) -> None:
    """A move takes minutes; and what passes by itself must not end an undo."""
    assert judge(MOVE, 500, J, f'"{said}"\n')[0] == "may_have_run"


@pytest.mark.parametrize(
    "said",
    [
        "the operator of region 180 already exist",
        "[PD:operator:ErrAddOperator]failed to add operator, maybe already have one",
    ],
)
def test_what_is_at_a_region_already_may_be_the_scatter_that_was_sent_before(said: str) -> None:
    assert judge(SCATTER, 500, J, f'"{said}"\n')[0] == "may_have_run"


def test_the_largest_id_that_there_is_can_be_said() -> None:
    assert render(calls.remove_evict_leader(2**63 - 1)).path.endswith("-9223372036854775807")


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (500, "text/plain; charset=utf-8", "[PD:apiutil:ErrRedirectToNotLeader]redirect to not leader\n"),
        (500, "text/plain; charset=utf-8", "[PD:apiutil:ErrRedirect]redirect failed\n"),
        (503, "text/plain; charset=utf-8", "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n"),
        (500, J, '"[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped, please start TiKV first"'),
        (500, J, '"[PD:scheduler:ErrSchedulerExisted]scheduler existed"'),
        (500, "text/plain; charset=utf-8", "PANIC: interface conversion: ...\ngoroutine 13705 [running]:"),
        (500, J, '"failed stores: [4]"'),
        (500, J, ""),
        (429, "text/plain; charset=utf-8", "Too Many Requests\n"),
        (404, "text/plain; charset=utf-8", "404 page not found\n"),
        (405, "", ""),
        (301, J, ""),
        (200, "text/html", "<html>null</html>"),
        (200, "text/plain", "null"),
        (200, J, '"The scheduler is crea'),
        (200, J, '"OK"'),
        (200, J, "[" * 60_000),
        (200, J, "NaN"),
        (200, J, '"\\ud800"'),
        (502, "text/html", '<html>"no operator step is built"</html>'),
        (500, "text/html", '"[PD:core:ErrStoreNotFound]store 4 not found"'),
        (200, J, '"[PD:core:ErrStoreNotFound]store 4 not found"'),
        (200, J, '"The ttl config is updated."'),
        (200, J, '"need to clean up TTL first for schedule.leader-schedule-limit"'),
        (400, J, '"need to clean up TTL first for schedule.leader-schedule-limit, or not"'),
        (400, J, '"leader is lost while the config is written"'),
    ],
)
def test_everything_else_may_have_run(call: Call, status: int, content_type: str, body: str) -> None:
    answer, code, text = judge(call, status, content_type, body)
    assert answer == "may_have_run"
    assert code
    text.encode()


@given(st.sampled_from(ALL), st.integers(0, 999), st.sampled_from([J, "", "text/html"]), st.text(max_size=80))
def test_no_answer_makes_judging_fail(call: Call, status: int, content_type: str, body: str) -> None:
    answer, _, _ = judge(call, status, content_type, body)
    assert answer in ("accepted", "refused", "may_have_run")
    if answer == "accepted":
        assert content_type == ("" if call in TO_TIKV else J)


def test_only_this_room_builds_calls() -> None:
    """`Call(` by hand anywhere else would be a second table."""
    root = Path(__file__).parents[2]
    rooms = [root / name for name in ("actions", "streams", "executors", "agents", "infra", "console")]
    makers = [str(p) for room in rooms for p in room.rglob("*.py") if re.search(r"\bCall\(name", p.read_text())]
    assert makers == [str(root / "actions/calls.py")]


def test_only_pauses_go_with_the_pd_leader() -> None:
    assert {name for name, kind in CALLS.items() if kind.volatile} == {"pause_scheduler", "resume_scheduler"}


@pytest.mark.parametrize(
    ("call", "arg"), [(call, arg) for call in ALL for arg in call.args], ids=lambda given: str(given)[:60]
)
def test_what_an_argument_has_to_be_is_said_where_it_is_not(call: Call, arg: str) -> None:
    spelling = CALLS[call.name].spelled.get(arg, calls.WHOLE)
    bad = call.model_copy(update={"args": {**call.args, arg: "no\tsuch"}})
    with pytest.raises(BadCall, match=re.escape(f"is not {spelling.words}")):
        render(bad)


def test_a_weight_or_a_rate_that_can_not_be_said_is_named_as_it_is() -> None:
    assert calls.set_store_weight(4, 1 / 3, 2).args == {"store_id": "4", "leader": repr(1 / 3), "region": "2"}
    assert calls.set_store_weight(4, 2, 1 / 3).args == {"store_id": "4", "leader": "2", "region": repr(1 / 3)}
    assert calls.set_store_limit(4, "add-peer", 1 / 3).args["per_minute"] == repr(1 / 3)
