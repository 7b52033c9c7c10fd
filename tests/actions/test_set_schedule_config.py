"""set_schedule_config: which keys, within which range, why not, was it set, by whom."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from math import nan
from typing import Any, get_args

import pytest

from actions import calls
from actions.action import health
from actions.card import card, describe
from actions.catalogue import BadParameters, parse
from actions.drift import drifted, exceeds
from actions.preflight import objections
from actions.schedule_keys import KEYS, ScheduleKey, in_words
from actions.set_schedule_config import SetScheduleConfig
from pdsim.config import SCHEDULE, TTL_KEYS
from schemas.facts import Facts
from schemas.values import Bounds, Change, Reach, Sample
from tests.actions.clusters import LIMITS, healthy, operator, region, store, tombstone, with_store
from tests.actions.test_actions import plan_of, sample

LEADER: ScheduleKey = "leader-schedule-limit"
REPLICA: ScheduleKey = "replica-schedule-limit"
LOWER = SetScheduleConfig(key=LEADER, value=2)
RAISE = SetScheduleConfig(key=LEADER, value=8)
SLOWER = SetScheduleConfig(key=REPLICA, value=16)
USUAL = {key: of.usual for key, of in KEYS.items()}


def usual(**changed: Any) -> Facts:
    """A cluster with PD's defaults."""
    return healthy(schedule_config=USUAL, **changed)


def where(key: ScheduleKey, value: int, **changed: Any) -> Facts:
    return healthy(schedule_config=USUAL | {key: value}, **changed)


def codes(action: SetScheduleConfig, facts: Facts) -> list[str]:
    return [o.code for o in objections(action, facts, LIMITS)]


# which keys, and how far


def test_the_keys_are_these_each_within_a_range_that_has_pds_default_in_it() -> None:
    assert tuple(KEYS) == get_args(ScheduleKey)
    assert {key: (of.least, of.most) for key, of in KEYS.items()} == {
        "leader-schedule-limit": (0, 16),
        "region-schedule-limit": (0, 2048),
        "hot-region-schedule-limit": (0, 16),
        "merge-schedule-limit": (0, 32),
        "replica-schedule-limit": (16, 256),
        "max-snapshot-count": (16, 128),
        "max-pending-peer-count": (16, 256),
    }
    assert {key: SCHEDULE[key] for key in KEYS} == USUAL
    assert {key for key, of in KEYS.items() if of.repairs} == {
        "replica-schedule-limit",
        "max-snapshot-count",
        "max-pending-peer-count",
    }
    assert all((of.least == 0) != of.repairs for of in KEYS.values())  # lost replicas are always made again
    assert {key for key, of in KEYS.items() if of.each_store} == {"max-snapshot-count", "max-pending-peer-count"}
    assert {key for key, of in KEYS.items() if of.leaders} == {"leader-schedule-limit", "hot-region-schedule-limit"}
    assert {type(said) for of in KEYS.values() for said in (of.repairs, of.each_store, of.leaders)} == {bool}


def test_nobody_can_widen_a_range_while_it_runs() -> None:
    with pytest.raises(FrozenInstanceError):
        KEYS[LEADER].most = 17  # type: ignore[misc]


def test_where_somebody_holds_one_of_them_by_a_ttl_pd_refuses_us() -> None:
    """BR and Lightning hold them so: it is the only sign of it."""
    assert {f"schedule.{key}" for key in KEYS} <= TTL_KEYS


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_set_within_its_own_range_and_no_further(key: ScheduleKey) -> None:
    least, most = KEYS[key].least, KEYS[key].most
    for value in (least, most):
        assert SetScheduleConfig(key=key, value=value).plan(where(key, least + 1))
    for value in (least - 1, most + 1):
        with pytest.raises(BadParameters) as bad:
            parse("set_schedule_config", f'{{"key":"{key}","value":{value}}}')
        assert bad.value.field == "value"


def test_a_value_out_of_range_is_told_the_range() -> None:
    with pytest.raises(BadParameters, match=r"replica-schedule-limit is set to 16\.\.256 only"):
        parse("set_schedule_config", '{"key":"replica-schedule-limit","value":15}')


def test_its_parameters_are_described_with_their_ranges_and_why() -> None:
    """Word for word: a model and an approver choose by it."""
    lines = describe(SetScheduleConfig).splitlines()
    (key,) = (line for line in lines if line.startswith("  key: "))
    (value,) = (line for line in lines if line.startswith("  value: "))
    assert key.partition(", required. ")[2] == (
        "leader-schedule-limit: 0 holds all leaders where they are, evictions included; more lets them spread sooner. "
        "region-schedule-limit: less where balancing takes too much of disks and network. "
        "hot-region-schedule-limit: 0 where hot regions go to and fro, more where many are hot. "
        "merge-schedule-limit: 0 while tables are split or loaded, more after much was dropped. "
        "replica-schedule-limit: more makes lost replicas again sooner, less leaves more of the disks to clients. "
        "max-snapshot-count: less where sending snapshots slows the stores. "
        "max-pending-peer-count: less where replicas lag because too many are made at once."
    )
    assert all(in_words(each) in value for each in KEYS)
    assert value == (
        "  value: whole number 0..2048, required. What may go on at a time: "
        "leader-schedule-limit 0..16 (moves of leaders; PD's default 4); "
        "region-schedule-limit 0..2048 (moves of replicas; PD's default 2048); "
        "hot-region-schedule-limit 0..16 (moves of hot regions; PD's default 4); "
        "merge-schedule-limit 0..32 (merges; PD's default 8); "
        "replica-schedule-limit 16..256 (repairs of replicas; PD's default 64); "
        "max-snapshot-count 16..128 (snapshots a store; PD's default 64); "
        "max-pending-peer-count 16..256 (lagging replicas a store; PD's default 64)."
    )
    assert "  keep_s: whole number 60..3600, default 900. For how long the value is kept, in seconds." in lines


def test_for_how_long_is_said_exactly() -> None:
    assert SetScheduleConfig(key=LEADER, value=2, keep_s=3600).title() == "Set leader-schedule-limit to 2 for 1 h"


# what it does


def test_the_value_that_was_there_is_the_undo() -> None:
    assert LOWER.plan(where(LEADER, 7)) == (
        Change(do=calls.set_schedule_config(LEADER, 2), undo=calls.set_schedule_config(LEADER, 7), keep_s=900),
    )
    assert LOWER.plan(healthy()) == ()
    assert [c.undo for c in LOWER.plan(where(LEADER, 2**31))] == [None]


def test_the_card_names_both_values_and_when() -> None:
    shown = card(plan_of(SetScheduleConfig(key=LEADER, value=0, keep_s=90), usual()))
    assert shown.title == "Set leader-schedule-limit to 0 for 1 min 30 s"
    assert shown.calls == (
        'POST /pd/api/v1/config {"schedule.leader-schedule-limit":0}',
        'after 1 min 30 s: POST /pd/api/v1/config {"schedule.leader-schedule-limit":4}',
    )
    assert shown.do_by_hand == ("pd-ctl config set leader-schedule-limit 0",)
    assert shown.undo_by_hand == ("pd-ctl config set leader-schedule-limit 4",)
    assert "somebody else sets the key" in shown.stops_if


def test_a_value_that_was_changed_under_us_voids_the_plan() -> None:
    plan = plan_of(LOWER, usual())
    assert drifted(plan, where(LEADER, 5), LOWER) == ["schedule.leader-schedule-limit was 4, is 5"]
    assert drifted(plan, healthy(), LOWER) == ["schedule.leader-schedule-limit was 4, is unknown"]
    assert drifted(plan, where(REPLICA, 5), LOWER) == []


@pytest.mark.parametrize(
    ("key", "value", "regions", "leaders"),
    [
        (LEADER, 2, 0, 0),
        (LEADER, 8, 4, 4),
        ("hot-region-schedule-limit", 16, 12, 12),
        ("region-schedule-limit", 4, 0, 0),
        ("merge-schedule-limit", 32, 24, 0),
        (REPLICA, 256, 192, 0),
        ("max-snapshot-count", 80, 80, 0),  # 16 more on each of five stores
        ("max-pending-peer-count", 256, 200, 0),  # no more than there are
        ("max-pending-peer-count", 16, 0, 0),
    ],
)
def test_it_reaches_every_store_and_so_many_regions_more_at_a_time(
    key: ScheduleKey, value: int, regions: int, leaders: int
) -> None:
    action, facts = SetScheduleConfig(key=key, value=value), with_store(usual(), tombstone(9))
    assert action.reach(facts) == Reach(stores=5, regions=regions, leaders=leaders, leaders_share=leaders / 200)
    assert exceeds(action.bounds(facts), action.reach(with_store(facts, store(6)))) == []
    assert exceeds(action.bounds(facts), action.reach(with_store(with_store(facts, store(6)), store(7))))


def test_the_bounds_leave_room_for_one_store() -> None:
    assert RAISE.bounds(usual()) == Bounds(stores_max=6, regions_max=4, leaders_max=4)
    snapshots = SetScheduleConfig(key="max-snapshot-count", value=80)
    assert snapshots.bounds(usual()) == Bounds(stores_max=6, regions_max=96, leaders_max=0)


def test_a_share_of_leaders_that_nobody_counts_is_none_or_all() -> None:
    none = usual().model_copy(update={"stores": (store(1, leader_count=0),)})
    assert LOWER.reach(none).leaders_share == 0
    assert RAISE.reach(none).leaders_share == 1
    assert RAISE.reach(with_store(none, store(1, leader_count=1))).leaders_share == 4
    assert SetScheduleConfig(key=LEADER, value=5).reach(none).leaders_share == 1
    assert RAISE.reach(usual(regions_total=-1)).regions == 0


# why not


@pytest.mark.parametrize(
    ("action", "facts", "code", "text"),
    [
        (LOWER, healthy(), "no_such_key", "this PD has no leader-schedule-limit"),
        (LOWER, where(LEADER, 2), "already_so", "leader-schedule-limit is 2 already"),
        (RAISE, where(LEADER, 0), "held_by_other", "leader-schedule-limit is 0: somebody has set it so on purpose"),
        (
            LOWER,
            where(LEADER, 2**31),
            "old_value_unsayable",
            "leader-schedule-limit is 2147483648, which the undo could not set again",
        ),
        (
            SLOWER,
            usual(troubled=(region(7, 1, 2, 3, down_store_ids=(3,)), region(8, 1, 2))),
            "repairs_wait",
            "2 regions have a replica down or missing: that would wait",
        ),
        (
            RAISE,
            with_store(with_store(usual(), store(4, is_busy=True)), store(5, slow_score=80)),
            "stores_slow",
            "stores [4, 5] are busy or slow: PD would ask more of them",
        ),
    ],
)
def test_why_a_key_is_not_set(action: SetScheduleConfig, facts: Facts, code: str, text: str) -> None:
    assert [(o.code, o.kind, o.text) for o in objections(action, facts, LIMITS)] == [(code, "no", text)]


def test_a_value_that_is_0_and_shall_be_is_so_already_and_every_objection_is_named() -> None:
    zero = SetScheduleConfig(key=LEADER, value=0)
    assert codes(zero, where(LEADER, 0)) == ["already_so", "held_by_other"]


def test_a_value_that_stays_neither_slows_a_repair_nor_asks_more_of_a_slow_store() -> None:
    ill = region(7, 1, 2, 3, down_store_ids=(3,))
    facts = with_store(where(REPLICA, 16, troubled=(ill,)), store(4, is_busy=True))
    assert codes(SLOWER, facts) == ["already_so"]


@pytest.mark.parametrize("key", [key for key, of in KEYS.items() if of.repairs])
@pytest.mark.parametrize("ill", [region(7, 1, 2, 3, down_store_ids=(3,)), region(7, 1, 2)])
def test_what_makes_lost_replicas_again_is_not_slowed_while_some_are_lost(key: ScheduleKey, ill: Any) -> None:
    assert codes(SetScheduleConfig(key=key, value=16), usual(troubled=(ill,))) == ["repairs_wait"]
    assert codes(SetScheduleConfig(key=key, value=100), usual(troubled=(ill,))) == []


@pytest.mark.parametrize(
    ("action", "facts"),
    [
        (LOWER, usual(troubled=(region(7, 1, 2),))),  # balancing is no repair
        (SLOWER, usual(troubled=(region(7, 1, 2, 3, pending_store_ids=(3,)),))),  # what lags may lag for being too much
        (LOWER, with_store(usual(), store(4, is_busy=True, slow_score=100))),  # it is for this
        (RAISE, with_store(usual(), store(4, slow_score=79))),
        (RAISE, with_store(usual(), tombstone(9, slow_score=100, is_busy=True))),
        (RAISE, usual(operators=(operator(7, "admin-move-peer"),))),
        (LOWER, where(LEADER, 2**31 - 1)),
        (RAISE, where(LEADER, 1)),
    ],
)
def test_a_key_is_set_where_it_is_just_within_the_limits(action: SetScheduleConfig, facts: Facts) -> None:
    assert codes(action, facts) == []


def test_a_slow_store_that_says_no_number_is_slow() -> None:
    assert codes(RAISE, with_store(usual(), store(4, slow_score=nan))) == ["stores_slow"]
    assert codes(SLOWER, usual(max_replicas=nan, troubled=(region(7, 1, 2, 3),))) == ["repairs_wait"]


def test_leaders_are_not_held_while_some_are_moved_off_a_store() -> None:
    """Its eviction would never end."""
    zero = SetScheduleConfig(key=LEADER, value=0)
    assert codes(zero, usual(evicting=(4,))) == ["other_eviction"]
    assert codes(zero, usual(slow_evicting=(4,))) == ["other_eviction"]


# was it set?

DO, UNDO = calls.set_schedule_config(LEADER, 2), calls.set_schedule_config(LEADER, 4)


@pytest.mark.parametrize(
    ("value", "changed", "do", "undo"),
    [
        (4, {}, "not_started", "applied"),
        (2, {}, "applied", "not_started"),
        (7, {}, "not_started", "applied"),  # somebody has set another since: theirs stands, ours is gone
        (0, {}, "not_started", "applied"),
        (2, {"pd_leader_age_s": 1.0}, "applied", "not_started"),  # it is in etcd: a new leader has it
        (4, {"pd_leader_age_s": 1.0}, "cant_tell", "cant_tell"),  # a leader of yesterday shows what was
        (7, {"pd_leader_age_s": nan}, "cant_tell", "cant_tell"),
        (2, {"schedulers": ()}, "applied", "not_started"),
        (4, {"schedulers": ()}, "cant_tell", "cant_tell"),
    ],
)
def test_was_the_value_set(value: int, changed: dict[str, Any], do: str, undo: str) -> None:
    facts = where(LEADER, value, **changed)
    assert LOWER.probe(DO, facts) == do
    assert LOWER.probe(UNDO, facts) == undo


def test_of_a_pd_that_does_not_show_the_key_nothing_can_be_told() -> None:
    assert LOWER.probe(DO, healthy()) == LOWER.probe(UNDO, healthy()) == "cant_tell"


def test_the_call_for_another_key_cannot_be_told() -> None:
    assert LOWER.probe(calls.set_schedule_config(REPLICA, 2), where(LEADER, 2)) == "cant_tell"
    assert LOWER.probe(calls.add_evict_leader(4), where(LEADER, 2)) == "cant_tell"


def test_it_is_done_and_reached_when_the_value_shows() -> None:
    assert LOWER.is_done(where(LEADER, 2))
    assert not LOWER.is_done(usual())
    assert not LOWER.is_done(healthy())
    assert LOWER.figures(usual()) == health(usual()) | {"value": 4}
    assert LOWER.figures(healthy()) == health(healthy())
    assert LOWER.is_reached(sample(value=2))
    assert not LOWER.is_reached(sample(value=4))


@pytest.mark.parametrize("value", [0, 7])
def test_a_value_that_is_neither_ours_nor_the_old_one_is_somebody_elses_and_ends_it(value: int) -> None:
    text = f"leader-schedule-limit was 4 and is {value}: somebody else has set it"
    assert LOWER.abort_if(sample(value=4), sample(value=value)) == ("changed_by_other", text)
    assert LOWER.verify(sample(value=4), (sample(value=2), sample(value=2), sample(value=value))) == "worse"
    assert LOWER.not_worse == {"changed_by_other"}


def test_the_old_value_and_ours_end_nothing() -> None:
    """Before the call the old one shows; and so it does where somebody has set it back."""
    for now in (sample(value=4), sample(value=2), sample()):
        assert LOWER.abort_if(sample(value=4), now) is None
    assert LOWER.abort_if(sample(), sample(value=7)) is None
    assert LOWER.verify(sample(value=4), (sample(value=2),) * 3) == "succeeded"
    assert LOWER.verify(sample(value=4), (sample(value=2), sample(value=4), sample(value=2))) == "no_better"


def test_what_is_not_pds_default_may_be_left_over() -> None:
    assert SetScheduleConfig.left_over(usual()) == SetScheduleConfig.left_over(healthy()) == ()
    tuned = healthy(schedule_config={REPLICA: 16, LEADER: 0})
    assert SetScheduleConfig.left_over(tuned) == (
        "leader-schedule-limit is 0, PD's default is 4",
        "replica-schedule-limit is 16, PD's default is 64",
    )


def test_what_is_worse_for_the_cluster_comes_first() -> None:
    now = Sample(at_ms=0, figures={"down_peers": 1, "stores_up": 5, "pd_settled": 1, "value": 7})
    assert LOWER.abort_if(sample(value=4), now) == ("more_down_peers", "down peers 0 -> 1")
