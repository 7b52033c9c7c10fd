"""set_tikv_config: why not, what is set and set back, was it."""

from __future__ import annotations

from math import inf, nan
from typing import Any, Literal, get_args

import pytest

from actions import calls
from actions.action import health
from actions.card import card, describe
from actions.catalogue import BadParameters, parse
from actions.drift import drifted
from actions.preflight import objections
from actions.set_tikv_config import SetTikvConfig
from actions.tikv_config import KEYS
from schemas.facts import Facts, Look, TikvSetting
from schemas.values import Call, Change
from tests.actions.clusters import LIMITS, NOW, healthy, store, tombstone, with_setting, with_store
from tests.actions.test_actions import plan_of, sample

CACHE: Literal["storage.block-cache.capacity"] = "storage.block-cache.capacity"
SNAP: Literal["server.snap-io-max-bytes-per-sec"] = "server.snap-io-max-bytes-per-sec"
RATE: Literal["rocksdb.rate-bytes-per-sec"] = "rocksdb.rate-bytes-per-sec"
ACTION = SetTikvConfig(store_id=4, key=CACHE, mib=4096)
STARTED_S = NOW // 1000 - 86_400
SET = calls.set_tikv_config(store(4), CACHE, "8GiB", "4GiB")
RESTORE = calls.restore_tikv_config(store(4), CACHE, "4GiB", "8GiB")


def facts(value: str = "8GiB", key: str = CACHE, **changed: Any) -> Facts:
    """Store 4 so changed, with this setting."""
    return with_setting(with_store(healthy(), store(4, **changed)), key, value)


def codes(given: Facts, action: SetTikvConfig = ACTION) -> list[str]:
    return [o.code for o in objections(action, given, LIMITS)]


# what it does


def test_the_value_that_was_there_is_the_undo() -> None:
    assert ACTION.plan(facts()) == (Change(do=SET, undo=RESTORE),)
    assert ACTION.look() == Look(tikv_setting=TikvSetting(store_id=4, key=CACHE))
    assert SET.args == {
        "store_id": "4",
        "address": "10.0.4.4:20160",
        "status_address": "10.0.4.4:20180",
        "started_at_s": str(STARTED_S),
        "key": CACHE,
        "was": "8GiB",
        "value": "4GiB",
    }


@pytest.mark.parametrize("given", [healthy(), healthy(stores=3), facts(""), facts("45%"), facts("0KiB")])
def test_where_the_value_is_not_known_there_is_no_plan(given: Facts) -> None:
    assert ACTION.plan(given) == ()


def test_a_store_that_is_not_there_holds_nothing() -> None:
    assert ACTION.reach(healthy(stores=3)).regions == 0
    assert ACTION.bounds(healthy(stores=3)).regions_max == 16


def test_what_is_read_of_another_store_or_setting_is_not_this_one() -> None:
    for other in (with_setting(healthy(), SNAP, "8GiB"), with_setting(healthy(), CACHE, "8GiB", store_id=5)):
        assert ACTION.plan(other) == ()
        assert codes(other) == ["setting_unread"]
        assert ACTION.probe(SET, other) == "cant_tell"


def test_the_card_names_the_server_and_both_values() -> None:
    shown = card(plan_of(ACTION, facts()))
    assert shown.calls == (
        'POST 10.0.4.4:20180/config?persist=false {"storage.block-cache.capacity":"4GiB"}',
        'if undone: POST 10.0.4.4:20180/config?persist=false {"storage.block-cache.capacity":"8GiB"}',
    )
    assert shown.undo_by_hand[0].startswith("curl -X POST 'http://10.0.4.4:20180/config?persist=false' -d '{")
    assert "POST {status_address}/config?persist=false    by hand: curl" in describe(SetTikvConfig)


@pytest.mark.parametrize(
    ("changed", "drift"),
    [
        ({"started_at_s": 1}, f"store:4.started_at_s was {STARTED_S}, is 1"),
        ({"status_address": "10.0.4.4:80"}, "store:4.status_address was 10.0.4.4:20180, is 10.0.4.4:80"),
        ({"version": "8.5.5"}, "store:4.version was 8.5.4, is 8.5.5"),
        ({"value": "6GiB"}, f"store:4.{CACHE} was 8GiB, is 6GiB"),
        ({"leader_count": 41}, ""),
    ],
)
def test_another_process_or_value_voids_the_plan(changed: dict[str, Any], drift: str) -> None:
    assert drifted(plan_of(ACTION, facts()), facts(**changed), ACTION) == ([drift] if drift else [])


def test_its_parameters_are_described_with_their_ranges() -> None:
    lines = describe(SetTikvConfig).splitlines()
    assert lines[0] == "set_tikv_config, version 1: MEDIUM at least, reversible"
    assert "  store_id: id, required. The store, as PD numbers it." in lines
    assert f"  key: {CACHE} or {SNAP} or {RATE}, required. The setting, as TiKV names it." in lines
    (mib,) = (line for line in lines if line.startswith("  mib: "))
    assert mib.startswith("  mib: whole number 10..262144, required. The new value in MiB, or MiB per second. Cache: 1")


def test_a_parameter_may_be_every_setting_on_the_list() -> None:
    assert KEYS.keys() == set(get_args(SetTikvConfig.model_fields["key"].annotation))


@pytest.mark.parametrize(
    ("key", "mib", "says"),
    [
        (CACHE, 1023, "storage.block-cache.capacity is set to 1024 to 262144"),
        (CACHE, 262_145, "less than or equal to 262144"),
        (SNAP, 9, "greater than or equal to 10"),
        (SNAP, 1025, "server.snap-io-max-bytes-per-sec is set to 10 to 1024$"),
        (RATE, 127, "rocksdb.rate-bytes-per-sec is set to 128 to 10240"),
        (RATE, 10_241, "rocksdb.rate-bytes-per-sec is set to 128 to 10240"),
        ("log.level", 100, "Input should be"),
        ("server.grpc-memory-pool-quota", 1024, "Input should be"),
    ],
)
def test_what_may_not_be_set(key: str, mib: int, says: str) -> None:
    with pytest.raises(BadParameters, match=says):
        parse("set_tikv_config", f'{{"store_id":4,"key":"{key}","mib":{mib}}}')


@pytest.mark.parametrize(
    ("key", "mib", "title"),
    [
        (CACHE, 1024, f"Set {CACHE} of store 4 to 1GiB until it restarts"),
        (CACHE, 262_144, f"Set {CACHE} of store 4 to 256GiB until it restarts"),
        (SNAP, 10, f"Set {SNAP} of store 4 to 10MiB/s until it restarts"),
        (SNAP, 1024, f"Set {SNAP} of store 4 to 1GiB/s until it restarts"),
        (RATE, 128, f"Set {RATE} of store 4 to 128MiB/s until it restarts"),
        (RATE, 10_240, f"Set {RATE} of store 4 to 10GiB/s until it restarts"),
    ],
)
def test_what_may_be_set(key: str, mib: int, title: str) -> None:
    assert parse("set_tikv_config", f'{{"store_id":4,"key":"{key}","mib":{mib}}}').title() == title


# why not


def test_a_healthy_store_s_cache_may_be_made_smaller() -> None:
    assert codes(facts()) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"labels": {"engine": "tiflash"}}, ["target_is_tiflash"]),
        ({"version": "7.4.0"}, []),
        ({"version": "7.3.9"}, ["version_persists"]),
        ({"version": "6.5.12"}, ["version_persists"]),
        ({"version": "8.99.0"}, []),
        ({"version": "9.0.0"}, ["version_unknown"]),
        ({"version": ""}, ["version_unknown"]),
        ({"version": "dev"}, ["version_unknown"]),
        ({"started_at_s": 0}, ["start_unknown"]),
        ({"started_at_s": -1}, ["start_unknown"]),
        ({"started_at_s": 1}, []),
        ({"started_at_s": NOW // 1000 - 600}, []),
        ({"started_at_s": NOW // 1000 - 599}, ["store_just_started"]),
        ({"started_at_s": NOW // 1000 + 9}, ["store_just_started"]),
        ({"status_address": ""}, ["no_status_address"]),
        ({"status_address": "10.0.4.4"}, ["status_address_odd"]),
        ({"status_address": "10.0.4.5:20180"}, ["status_address_elsewhere"]),
        ({"slow_score": 79}, []),
        ({"slow_score": 80}, ["target_slow"]),
        ({"is_busy": True}, ["target_slow"]),
        ({"value": "45%"}, ["old_value_unsayable"]),
        ({"value": "0KiB"}, ["old_value_unsayable"]),
        ({"value": ""}, ["old_value_unsayable"]),
        ({"value": "4GiB"}, ["already_so"]),
        ({"value": "4097MiB"}, []),
        ({"value": "4095MiB"}, ["only_down"]),
        ({"value": "8193MiB"}, ["step_too_large"]),
        ({"value": "1GiB"}, ["only_down", "step_too_large"]),
    ],
)
def test_why_not(changed: dict[str, Any], expected: list[str]) -> None:
    assert codes(facts(**changed)) == expected


def test_an_odd_value_is_told_in_part() -> None:
    (found,) = objections(ACTION, facts("x" * 300), LIMITS)
    assert found.text == f"{CACHE} of store 4 is {'x' * 100!r}, which the undo could not set again"


def test_a_store_that_is_not_there_or_not_up() -> None:
    assert codes(with_setting(healthy(stores=3), CACHE, "8GiB")) == ["no_such_store"]
    assert codes(facts(state="Disconnected")) == ["store_not_up", "target_not_up"]
    assert "target_not_up" in codes(with_setting(with_store(healthy(), tombstone(4)), CACHE, "8GiB"))


@pytest.mark.parametrize(
    ("code", "objection", "kind"),
    [
        ("tikv_unreachable", "setting_out_of_reach", "wait"),
        ("tikv_timeout", "setting_out_of_reach", "wait"),
        ("tikv_error", "setting_unread", "no"),
        ("tikv_malformed", "setting_unread", "no"),
        ("tikv_wrong_store", "setting_unread", "no"),
    ],
)
def test_a_setting_that_could_not_be_read(code: str, objection: str, kind: str) -> None:
    given = with_setting(healthy(), CACHE, code=code, text="store 4 said: " + "x" * 1000)
    (found,) = objections(ACTION, given, LIMITS)
    assert (found.code, found.kind, len(found.text)) == (objection, kind, 300)
    assert found.text.startswith(f"{code}: store 4 said")
    assert found.until_ms == (NOW + 60_000 if kind == "wait" else 0)
    assert codes(healthy()) == ["setting_unread"]


def test_a_store_that_has_just_started_is_waited_for() -> None:
    (found,) = objections(ACTION, facts(started_at_s=NOW // 1000 - 100), LIMITS)
    assert (found.kind, found.until_ms) == ("wait", NOW + 500_000)
    (soon,) = objections(ACTION, facts(started_at_s=NOW // 1000 - 599), LIMITS)
    assert soon.until_ms == NOW + 1_000


@pytest.mark.parametrize(
    ("key", "mib", "was", "expected"),
    [
        (SNAP, 100, "10MiB", []),
        (SNAP, 101, "10MiB", ["step_too_large"]),
        (SNAP, 10, "100MiB", []),
        (SNAP, 10, "101MiB", ["step_too_large"]),
        (SNAP, 100, "100MiB", ["already_so"]),
        (RATE, 128, "10GiB", []),
        (RATE, 128, "12801MiB", ["step_too_large"]),
        (RATE, 10_240, "128MiB", []),
    ],
)
def test_a_rate_goes_both_ways_by_so_much(key: Any, mib: int, was: str, expected: list[str]) -> None:
    action = SetTikvConfig(store_id=4, key=key, mib=mib)
    assert codes(facts(was, key), action) == expected
    assert codes(facts(was, key, slow_score=100), action) == expected  # it is for such stores


@pytest.mark.parametrize(
    ("written", "expected"),
    [(0.0, []), (13_421_772.8, []), (13_421_773.0, ["rate_too_low"]), (nan, ["rate_too_low"]), (inf, ["rate_too_low"])],
)
def test_compaction_is_left_ten_times_what_is_written(written: float, expected: list[str]) -> None:
    action = SetTikvConfig(store_id=4, key=RATE, mib=128)
    assert codes(facts("10GiB", RATE, written_bytes_per_s=written), action) == expected
    said = [o.text for o in objections(action, facts("10GiB", RATE, written_bytes_per_s=13_520_000.0), LIMITS)]
    assert said == ["store 4 takes 13.5 MB/s of writes, at most 13.4 with 128MiB/s"]
    faster = SetTikvConfig(store_id=4, key=RATE, mib=772)  # 80.95 MB/s and a little
    said = [o.text for o in objections(faster, facts("10GiB", RATE, written_bytes_per_s=1e12), LIMITS)]
    assert said[-1] == "store 4 takes 1000000.0 MB/s of writes, at most 81.0 with 772MiB/s"
    other = SetTikvConfig(store_id=4, key=SNAP, mib=128)
    assert codes(facts("100MiB", SNAP, written_bytes_per_s=written), other) == []


# is it so


def test_it_is_done_when_it_shows() -> None:
    assert ACTION.is_done(facts("4GiB"))
    assert not ACTION.is_done(facts("8GiB"))
    assert not ACTION.is_done(healthy())
    assert ACTION.is_reached(sample(bytes=2**32))
    assert not ACTION.is_reached(sample(bytes=2**33))
    assert not ACTION.is_reached(sample())


def test_its_figures() -> None:
    own = {"bytes": 2.0**33, "started_at_s": float(STARTED_S), "slow": 0.0}
    assert ACTION.figures(facts()) == health(facts()) | own
    assert ACTION.figures(facts("45%", is_busy=True))["slow"] == 1
    assert "bytes" not in ACTION.figures(facts("45%"))
    assert ACTION.figures(facts(slow_score=79))["slow"] == 0
    assert ACTION.figures(facts(slow_score=80))["slow"] == 1
    assert ACTION.figures(healthy(stores=3)) == health(healthy(stores=3)) | {"started_at_s": 0}


@pytest.mark.parametrize(
    ("now", "code"),
    [
        ({}, None),
        ({"started_at_s": 2}, "store_restarted"),
        ({"slow": 1}, "store_slow"),
        ({"down_peers": 1, "slow": 1}, "more_down_peers"),
    ],
)
def test_when_it_stops(now: dict[str, float], code: str | None) -> None:
    before = sample(started_at_s=1, slow=0)
    found = ACTION.abort_if(before, sample(**({"started_at_s": 1, "slow": 0} | now)))
    assert (found and found[0]) == code
    assert ACTION.abort_if(sample(started_at_s=1, slow=1), sample(started_at_s=1, slow=1)) is None
    assert ACTION.abort_if(sample(started_at_s=1, slow=1), sample(started_at_s=1, slow=0)) is None


def test_a_store_that_is_not_shown_any_more_is_no_good_sign() -> None:
    gone = ACTION.abort_if(sample(started_at_s=1, slow=0), sample(started_at_s=0))
    assert gone is not None
    assert gone[0] == "store_restarted"


def test_of_what_ends_it_only_a_restart_made_the_cluster_no_worse() -> None:
    assert ACTION.not_worse == {"store_restarted"}


UNSETTLED: dict[str, Any] = {"pd_leader_age_s": 59.0}
GONE = with_setting(healthy(stores=3), CACHE, code="tikv_not_asked")


@pytest.mark.parametrize(
    ("now", "do", "undo"),
    [
        (facts("8GiB"), "not_started", "applied"),
        (facts("4GiB"), "applied", "not_started"),
        (facts("6GiB"), "not_started", "applied"),  # somebody's since
        (facts("4GiB").model_copy(update=UNSETTLED), "applied", "not_started"),  # TiKV says so, not PD
        (facts("8GiB").model_copy(update=UNSETTLED), "not_started", "applied"),
        (healthy(), "cant_tell", "cant_tell"),
        (with_setting(healthy(), CACHE, code="tikv_unreachable"), "cant_tell", "cant_tell"),
        (facts("4GiB", started_at_s=STARTED_S + 1), "not_started", "applied"),  # what it had is gone with it
        (facts("", started_at_s=STARTED_S + 1), "not_started", "applied"),
        (facts("4GiB", started_at_s=0), "applied", "not_started"),  # PD doesn't say
        (facts("", state="Down"), "cant_tell", "cant_tell"),
        (with_store(healthy(), tombstone(4)), "not_started", "applied"),
        (GONE, "not_started", "applied"),
        (GONE.model_copy(update=UNSETTLED), "cant_tell", "cant_tell"),
        (healthy(stores=0), "cant_tell", "cant_tell"),
    ],
)
def test_was_it_set(now: Facts, do: str, undo: str) -> None:
    assert ACTION.probe(SET, now) == do
    assert ACTION.probe(RESTORE, now) == undo


@pytest.mark.parametrize(
    "call",
    [
        calls.add_evict_leader(4),
        calls.set_tikv_config(store(5), CACHE, "8GiB", "4GiB"),
        calls.set_tikv_config(store(4), SNAP, "8GiB", "4GiB"),
        Call(name="set_tikv_config"),
        Call(name="restore_tikv_config", args={"store_id": "4"}),
    ],
)
def test_of_another_call_nothing_can_be_told(call: Call) -> None:
    assert ACTION.probe(call, facts("4GiB")) == "cant_tell"
