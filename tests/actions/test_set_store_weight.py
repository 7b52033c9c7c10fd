"""set_store_weight: what moves by it, why not, was it set."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import calls
from actions.action import Limits, health
from actions.card import card, describe
from actions.catalogue import BadParameters, parse
from actions.drift import drifted
from actions.preflight import objections
from actions.set_store_weight import SetStoreWeight, region_bytes
from schemas.facts import Facts
from schemas.policy import LimitsPolicy
from schemas.values import Change, Reach
from tests.actions.clusters import LIMITS, NOW, healthy, operator, store, tombstone, with_store
from tests.actions.test_actions import plan_of, sample

REGION = SetStoreWeight(store_id=4, weight_of="region", weight=0.5)
LEADER = SetStoreWeight(store_id=4, weight_of="leader", weight=0.5)
BOTH = pytest.mark.parametrize("action", [REGION, LEADER], ids=["region", "leader"])


def codes(action: SetStoreWeight, facts: Facts, limits: Limits = LIMITS) -> list[str]:
    return [o.code for o in objections(action, facts, limits)]


def with_stores(*changed: dict[str, Any], **facts: Any) -> Facts:
    """Five stores, 1 to 5, changed so."""
    stores = tuple(store(n, **(changed[n - 1] if n <= len(changed) else {})) for n in range(1, 6))
    return healthy(**facts).model_copy(update={"stores": stores})


def every(**changed: Any) -> Facts:
    return with_stores(*([changed] * 5))


# what it does


def test_the_pair_that_was_there_is_the_undo() -> None:
    facts = with_store(healthy(), store(4, leader_weight=2.0, region_weight=1.25))
    assert REGION.plan(facts) == (
        Change(do=calls.set_store_weight(4, 2, 0.5), undo=calls.set_store_weight(4, 2, 1.25)),
    )
    assert LEADER.plan(facts) == (
        Change(do=calls.set_store_weight(4, 0.5, 1.25), undo=calls.set_store_weight(4, 2, 1.25)),
    )


def test_where_the_pair_is_not_known_there_is_no_undo_and_no_plan() -> None:
    odd = with_store(healthy(), store(4, region_weight=1 / 3))
    assert [change.undo for change in LEADER.plan(odd)] == [None]
    assert LEADER.plan(healthy(stores=3)) == ()


def test_the_card_names_both_pairs() -> None:
    shown = card(plan_of(LEADER, healthy()))
    assert shown.calls == (
        'POST /pd/api/v1/store/4/weight {"leader":0.5,"region":1}',
        'if undone: POST /pd/api/v1/store/4/weight {"leader":1,"region":1}',
    )
    assert shown.do_by_hand == ("pd-ctl store weight 4 0.5 1",)
    assert shown.undo_by_hand == ("pd-ctl store weight 4 1 1",)
    assert "low on space" in shown.stops_if


@BOTH
def test_a_weight_of_another_store_that_was_changed_under_us_voids_the_plan(action: SetStoreWeight) -> None:
    plan = plan_of(action, healthy())
    (other,) = drifted(plan, with_store(healthy(), store(5, region_weight=0.5)), action)
    assert other == "store:5.weights was 1,1, is 1,0.5"
    assert drifted(plan, with_store(healthy(), store(5, leader_count=41)), action) == []
    assert drifted(plan, with_store(healthy(), tombstone(9)), action) == []
    (new,) = drifted(plan, healthy(stores=6), action)
    assert new == "store:6.weights was not relied on, is 1,1"
    (ours,) = drifted(plan, with_store(healthy(), store(4, leader_weight=0.0)), action)
    assert ours == "store:4.weights was 1,1, is 0.0,1"


def test_its_parameters_are_described_with_their_ranges() -> None:
    lines = describe(SetStoreWeight).splitlines()
    of, weight = (next(line for line in lines if line.startswith(f"  {name}: ")) for name in ("weight_of", "weight"))
    assert of.startswith("  weight_of: leader or region, required. leader: its share of the leaders")
    assert weight.startswith("  weight: number 0.1..10, required. The new weight, with at most 2 decimal places")
    assert "  store_id: id, required. The store, as PD numbers it." in lines
    with pytest.raises(BadParameters, match="more than 2 decimal places"):
        parse("set_store_weight", '{"store_id":4,"weight_of":"leader","weight":0.125}')


# how much moves


@pytest.mark.parametrize(
    ("weight", "moved"),
    [(0.5, 18), (2, 27), (0.1, 36), (10, 103)],
)
def test_leaders_move_until_they_are_in_proportion_to_the_weights(weight: float, moved: int) -> None:
    """200 leaders on five stores."""
    reach = SetStoreWeight(store_id=4, weight_of="leader", weight=weight).reach(healthy())
    assert (reach.leaders, reach.regions, reach.leaders_share) == (moved, moved, moved / 200)
    assert (reach.stores, reach.bytes_moved) == (5, 0)


@pytest.mark.parametrize(("weight", "moved"), [(0.5, 54), (2, 80), (10, 80), (0.1, 106)])
def test_no_store_holds_a_region_twice(weight: float, moved: int) -> None:
    """600 replicas of 200 regions on five stores: none can hold more than 200."""
    reach = SetStoreWeight(store_id=4, weight_of="region", weight=weight).reach(healthy())
    assert (reach.regions, reach.leaders, reach.bytes_moved) == (moved, 0, -(-moved * 2000 // 600))


def test_what_does_not_fit_on_full_stores_is_shared_by_the_others() -> None:
    """Stores 1 and 2 hold every region; 200 replicas are left for the other three."""
    full, third = {"region_weight": 10.0, "region_count": 200}, {"region_count": 66}
    facts = with_stores(full, full, {"region_count": 67}, {"region_count": 67}, third)
    assert SetStoreWeight(store_id=4, weight_of="region", weight=2).reach(facts).regions == 34  # 66 2/3 to 100


def test_of_no_stores_nothing_moves() -> None:
    for action in (REGION, LEADER):
        assert action.reach(healthy(stores=0)) == Reach(stores=0, regions=0, leaders=0, leaders_share=0)


def test_what_is_out_of_balance_already_moves_too() -> None:
    """Its new weight gives it 22, where it has none now. The others get 4 each by it: by weights alone, 18 in all."""
    facts = with_stores({}, {}, {}, {"leader_count": 0}, {"leader_count": 80})
    assert LEADER.reach(facts).leaders == 40


def test_tiflash_and_tombstones_take_no_part() -> None:
    facts = with_store(healthy(), tombstone(9))
    facts = with_store(facts, store(8, labels={"engine": "tiflash"}, region_count=200, leader_count=0))
    assert REGION.reach(facts) == REGION.reach(healthy())


def test_a_share_of_leaders_that_nobody_counts_is_none_or_all() -> None:
    none = every(leader_count=0)
    assert (LEADER.reach(none).leaders, LEADER.reach(none).leaders_share) == (0, 0)
    assert REGION.reach(every(region_count=0, capacity_bytes=0)).bytes_moved == 0
    assert LEADER.reach(with_store(none, tombstone(9, leader_count=-1))).leaders_share == 0
    some = with_store(healthy(), tombstone(9, leader_count=-300))
    assert LEADER.reach(some).leaders_share == 1
    one = LEADER.reach(with_store(every(leader_count=2), tombstone(9, leader_count=-20)))
    assert (one.leaders, one.leaders_share) == (1, 1)


def test_where_pd_counts_fewer_regions_than_a_store_holds_the_store_is_believed() -> None:
    assert REGION.reach(healthy(regions_total=1)) == REGION.reach(healthy(regions_total=120))


def test_weights_count_in_proportion_however_small_they_are() -> None:
    small = SetStoreWeight(store_id=4, weight_of="leader", weight=0.2).reach(every(leader_weight=0.1))
    assert small == SetStoreWeight(store_id=4, weight_of="leader", weight=2).reach(healthy())


def test_one_replica_is_as_large_as_all_that_is_used() -> None:
    one = {"region_count": 0}
    assert region_bytes(with_stores({"region_count": 1}, one, one, one, one)) == 5 * 400


numbers = st.integers(0, 10_000)
weights = st.integers(1, 1_000).map(lambda n: n / 100)


@given(
    st.lists(st.tuples(numbers, numbers, weights, weights), min_size=4, max_size=8),
    st.sampled_from(["leader", "region"]),
    st.integers(10, 1_000).map(lambda n: n / 100),
)
def test_no_more_moves_than_there_is_and_what_is_there_is_all_that_is_shared(
    given_stores: list[tuple[int, int, float, float]], weight_of: Any, weight: float
) -> None:
    stores = tuple(
        store(n, leader_count=leaders, region_count=regions, leader_weight=of_leader, region_weight=of_region)
        for n, (leaders, regions, of_leader, of_region) in enumerate(given_stores, 1)
    )
    facts = healthy().model_copy(update={"stores": stores, "regions_total": 20_000})
    action = SetStoreWeight(store_id=4, weight_of=weight_of, weight=weight)
    reach, bounds = action.reach(facts), action.bounds(facts)
    total = sum(s.leader_count if weight_of == "leader" else s.region_count for s in stores)
    assert 0 <= reach.regions <= 2 * total + 1  # what is out of balance, and what the weight moves
    assert reach.leaders <= bounds.leaders_max
    assert reach.bytes_moved <= bounds.bytes_moved_max
    assert reach.regions <= bounds.regions_max


# why not


AGAINST: list[tuple[str, SetStoreWeight, Callable[[], Facts]]] = [
    ("no_such_store", REGION, lambda: healthy(stores=3)),
    ("target_not_up", REGION, lambda: with_store(healthy(), store(4, state="Offline"))),
    ("target_not_up", LEADER, lambda: with_store(healthy(), tombstone(4))),
    ("target_is_tiflash", REGION, lambda: with_store(healthy(), store(4, labels={"engine": "tiflash"}))),
    ("already_so", REGION, lambda: with_store(healthy(), store(4, region_weight=0.5))),
    ("already_so", LEADER, lambda: with_store(healthy(), store(4, leader_weight=0.5))),
    ("old_weight_unsayable", REGION, lambda: with_store(healthy(), store(4, region_weight=1 / 3))),
    ("old_weight_unsayable", REGION, lambda: with_store(healthy(), store(4, leader_weight=0.0))),
    ("old_weight_unsayable", LEADER, lambda: with_store(healthy(), store(4, leader_weight=nan))),
    ("old_weight_unsayable", LEADER, lambda: with_store(healthy(), store(4, region_weight=100.0))),
    ("odd_weight", REGION, lambda: with_store(healthy(), store(5, region_weight=0.0))),
    ("odd_weight", LEADER, lambda: with_store(healthy(), store(5, leader_weight=0.0))),
    ("odd_weight", LEADER, lambda: with_store(healthy(), store(5, leader_weight=nan))),
    ("odd_weight", LEADER, lambda: with_store(healthy(), store(5, leader_weight=100.01))),
    ("odd_weight", LEADER, lambda: with_store(healthy(), store(5, leader_weight=inf))),
    ("balancing_off", REGION, lambda: healthy(schedulers=("balance-leader-scheduler",))),
    ("balancing_off", LEADER, lambda: healthy(schedulers=("balance-region-scheduler",))),
    ("balancing_off", REGION, lambda: healthy(region_schedule_limit=0)),
    ("balancing_off", LEADER, lambda: healthy(leader_schedule_limit=0)),
    ("nothing_would_move", REGION, lambda: every(region_count=0)),
    ("nothing_would_move", LEADER, lambda: every(leader_count=0)),
    ("too_many_regions", REGION, lambda: with_store(healthy(), store(4, region_count=200))),
    ("too_many_bytes", REGION, lambda: every(capacity_bytes=10**14, available_bytes=5 * 10**13)),
    ("too_many_leaders", LEADER, lambda: with_store(healthy(), store(4, leader_count=400))),
    ("takers_slow", REGION, lambda: with_store(healthy(), store(5, is_busy=True))),
    ("takers_slow", LEADER, lambda: with_store(healthy(), store(5, slow_score=80))),
    ("takers_low_on_space", REGION, lambda: with_store(healthy(), store(5, available_bytes=199))),
    ("takers_low_on_space", REGION, lambda: with_store(healthy(), store(5, available_bytes=240))),  # no room for 14
    ("takers_low_on_space", REGION, lambda: with_store(healthy(), store(5, capacity_bytes=0, available_bytes=0))),
    ("takers_low_on_space", REGION, lambda: every(capacity_bytes=0, available_bytes=0)),
    ("takers_low_on_space", REGION, lambda: healthy(low_space_ratio=nan)),
    ("takers_slow", LEADER, lambda: with_stores(*([{"leader_count": 9}] * 4), {"leader_count": 9, "is_busy": True})),
]  # fmt: skip


@pytest.mark.parametrize(("code", "action", "facts"), AGAINST)
def test_why_a_weight_is_not_set(code: str, action: SetStoreWeight, facts: Callable[[], Facts]) -> None:
    found = [o for o in objections(action, facts(), LIMITS) if o.code == code]
    assert [o.kind for o in found] == ["no"]


@pytest.mark.parametrize(
    ("action", "facts", "code"),
    [
        (REGION, healthy(paused_schedulers=("balance-region-scheduler",)), "balancing_paused"),
        (LEADER, healthy(paused_schedulers=("balance-leader-scheduler",)), "balancing_paused"),
        (REGION, healthy(operators=(operator(7, "admin-move-peer"),)), "operator_running"),
        (LEADER, healthy(operators=(operator(7, "admin-transfer-leader"),)), "operator_running"),
        (LEADER, with_store(healthy(), store(4, written_bytes_per_s=21e6)), "writes_too_high"),
        (LEADER, with_store(healthy(), store(4, written_bytes_per_s=nan)), "writes_too_high"),
        (REGION, healthy(evicting=(5,)), "other_eviction"),
        (LEADER, healthy(evicting=(4,)), "other_eviction"),
        (LEADER, healthy(slow_evicting=(4,)), "other_eviction"),
    ],
)
def test_what_may_pass_is_waited_for(action: SetStoreWeight, facts: Facts, code: str) -> None:
    assert [(o.code, o.kind, o.until_ms) for o in objections(action, facts, LIMITS)] == [(code, "wait", NOW + 300_000)]


@pytest.mark.parametrize(
    ("action", "facts"),
    [
        (REGION, healthy(leader_schedule_limit=0, paused_schedulers=("balance-leader-scheduler",))),
        (REGION, healthy(region_schedule_limit=1, schedulers=("balance-region-scheduler",))),
        (REGION, with_store(healthy(), store(4, written_bytes_per_s=1e9))),  # replicas are written to wherever they are
        (REGION, with_store(healthy(), store(4, is_busy=True, available_bytes=1))),  # it gets less
        (REGION, with_store(healthy(), store(5, available_bytes=260))),
        (REGION, every(region_count=9, available_bytes=550).model_copy(update={"low_space_ratio": 0.5})),  # 50 for one
        (REGION, with_store(healthy(), store(5, leader_weight=0.0))),
        (REGION, healthy(operators=(operator(7, "balance-region"),))),
        (LEADER, healthy(region_schedule_limit=0, paused_schedulers=("balance-region-scheduler",))),
        (LEADER, healthy(leader_schedule_limit=1, schedulers=("balance-leader-scheduler",))),
        (LEADER, with_store(healthy(), store(5, available_bytes=1))),  # leaders take no space
        (LEADER, with_store(healthy(), store(5, slow_score=79, region_weight=0.0))),
        (LEADER, with_store(healthy(), store(4, written_bytes_per_s=20e6))),
        (LEADER, with_store(healthy(), store(5, leader_weight=0.5))),
        (LEADER, every(leader_count=2)),  # one moves
    ],
)  # fmt: skip
def test_a_weight_is_set_where_it_is_just_within_the_limits(action: SetStoreWeight, facts: Facts) -> None:
    assert codes(action, facts) == []


@pytest.mark.parametrize("weight", [0.01, 100.0])
def test_the_least_and_the_largest_weights_that_are_not_odd(weight: float) -> None:
    assert "odd_weight" not in codes(LEADER, with_store(healthy(), store(5, leader_weight=weight)))


def test_a_nearly_full_store_does_not_get_a_larger_weight() -> None:
    more = SetStoreWeight(store_id=4, weight_of="region", weight=1.5)
    assert codes(more, healthy()) == []
    assert codes(more, with_store(healthy(), store(4, available_bytes=199))) == ["takers_low_on_space"]


def test_with_as_many_stores_as_replicas_no_replica_could_move() -> None:
    stores = tuple(store(n, region_count=200) for n in (1, 2, 4))
    facts = healthy().model_copy(update={"stores": stores})
    assert codes(REGION, facts) == ["nothing_would_move"]
    assert codes(LEADER, facts) == []


def test_the_share_of_leaders_that_may_move_is_the_policys() -> None:
    for share, found in ((0.09, []), (0.0899, ["too_many_leaders"])):
        limits = Limits(policy=LimitsPolicy(leaders_share_max=share), now_ms=NOW)
        assert codes(LEADER, healthy(), limits) == found


@pytest.mark.parametrize(
    ("action", "facts", "text"),
    [
        (REGION, with_store(healthy(), store(4, region_weight=0.5)), "store 4 has the region weight 0.5"),
        (LEADER, with_store(healthy(), store(5, leader_weight=0.0)),
         "store 5 has the leader weight 0.0: an eviction by another name"),
        (LEADER, with_store(healthy(), store(4, region_weight=1 / 3)),
         "store 4 has the region weight 0.3333333333333333, which the undo could not set again"),
        (REGION, with_store(healthy(), store(4, leader_weight=0.0)),
         "store 4 has the leader weight 0.0, which the undo could not set again"),
        (REGION, healthy(schedulers=("x",)), "PD has no balance-region-scheduler: nothing would move"),
        (LEADER, healthy(leader_schedule_limit=0), "leader-schedule-limit is 0: nothing would move"),
        (SetStoreWeight(store_id=4, weight_of="region", weight=2), healthy(),
         "80 of 600 replicas would move, at most 10%"),
        (SetStoreWeight(store_id=4, weight_of="leader", weight=10), healthy(),
         "52% of all leaders would move, at most 34%"),
        (REGION, with_store(healthy(), store(5, is_busy=True)), "stores [5] would get more, and are busy or slow"),
        (LEADER, with_store(healthy(), store(4, written_bytes_per_s=21.5e6)),
         "store 4 takes 21.5 MB/s of writes, at most 20"),
        (LEADER, healthy(operators=(operator(7, "admin-x"),)),
         "region 7 has an operator: admin-x transfer leader: store 1 to 2"),
        (REGION, every(capacity_bytes=10**14, available_bytes=5 * 10**13), "20955 GiB would move, at most 1024"),
    ],
)  # fmt: skip
def test_an_objection_names_the_numbers(action: SetStoreWeight, facts: Facts, text: str) -> None:
    assert text in [o.text for o in objections(action, facts, LIMITS)]


@pytest.mark.parametrize(
    ("desc", "brief", "said"),
    [("admin-x", "", "admin-x"), ("admin-x", "b" * 400, f"admin-x {'b' * 400}")],
)
def test_an_operator_is_told_in_one_line_that_ends(desc: str, brief: str, said: str) -> None:
    one = operator(7, desc).model_copy(update={"brief": brief})
    (found,) = objections(LEADER, healthy(operators=(one,)), LIMITS)
    assert found.text == f"region 7 has an operator: {said}"[:300]


def test_the_most_that_may_move_may_move() -> None:
    """Of 600 replicas a tenth; and as much as a TiB, where each is as large as makes it so."""
    tenth = SetStoreWeight(store_id=4, weight_of="region", weight=0.45)
    assert tenth.reach(healthy()).regions == 60
    assert codes(tenth, healthy()) == []
    full = every(capacity_bytes=10**14, available_bytes=10**14 - 120 * 2**35)
    some = SetStoreWeight(store_id=4, weight_of="region", weight=0.69)
    assert some.reach(full).bytes_moved == 32 * 2**35 == 2**40
    assert codes(some, full) == []


def test_the_most_that_a_policy_allows_is_told_in_megabytes_too() -> None:
    limits = Limits(policy=LimitsPolicy(leader_move_bytes_per_s_max=999_999e6), now_ms=NOW)
    found = objections(LEADER, with_store(healthy(), store(4, written_bytes_per_s=1e12)), limits)
    assert [o.text for o in found] == ["store 4 takes 1000000.0 MB/s of writes, at most 999999"]


# was it set?

DO, UNDO = calls.set_store_weight(4, 1, 0.5), calls.set_store_weight(4, 1, 1)


@pytest.mark.parametrize(
    ("region_weight", "changed", "do", "undo"),
    [
        (1.0, {}, "not_started", "applied"),
        (0.5, {}, "applied", "not_started"),
        (2.0, {}, "not_started", "applied"),  # somebody has set another since: theirs stands, ours is gone
        (1 / 3, {}, "not_started", "applied"),
        (0.0, {}, "not_started", "applied"),
        (0.5, {"pd_leader_age_s": 1.0}, "applied", "not_started"),  # it is in etcd: a new leader has it
        (1.0, {"pd_leader_age_s": 1.0}, "cant_tell", "cant_tell"),  # a leader of yesterday shows what was
        (2.0, {"pd_leader_age_s": nan}, "cant_tell", "cant_tell"),
        (0.5, {"schedulers": ()}, "applied", "not_started"),
        (1.0, {"schedulers": ()}, "cant_tell", "cant_tell"),
    ],
)  # fmt: skip
def test_was_the_weight_set(region_weight: float, changed: dict[str, Any], do: str, undo: str) -> None:
    facts = with_store(healthy(**changed), store(4, region_weight=region_weight))
    assert REGION.probe(DO, facts) == do
    assert REGION.probe(UNDO, facts) == undo


def test_a_store_whose_record_is_gone_has_no_weight_to_undo() -> None:
    gone = healthy(stores=3)
    assert REGION.probe(DO, gone) == "cant_tell"
    assert REGION.probe(UNDO, gone) == "applied"
    assert REGION.probe(UNDO, healthy(stores=3, pd_leader_age_s=1.0)) == "cant_tell"
    assert REGION.probe(UNDO, healthy(stores=0)) == "cant_tell"
    buried = with_store(healthy(), tombstone(4, region_weight=0.5))
    assert REGION.probe(UNDO, buried) == "not_started"


def test_the_call_of_another_store_cannot_be_told() -> None:
    facts = with_store(healthy(), store(4, region_weight=0.5))
    assert REGION.probe(calls.set_store_weight(5, 1, 0.5), facts) == "cant_tell"
    assert REGION.probe(calls.add_evict_leader(4), facts) == "cant_tell"


@BOTH
def test_it_is_done_and_reached_when_the_weight_shows(action: SetStoreWeight) -> None:
    shown = with_store(healthy(), store(4, **{f"{action.weight_of}_weight": 0.5}))
    assert action.is_done(shown)
    assert not action.is_done(healthy())
    assert not action.is_done(healthy(stores=3))
    assert action.figures(shown) == health(shown) | {"low_space": 0, "weight": 0.5, "leaders": 40, "regions": 120}
    assert action.figures(healthy())["weight"] == 1
    assert "weight" not in action.figures(healthy(stores=3))
    assert action.is_reached(sample(weight=0.5))
    assert not action.is_reached(sample(weight=0.49))


@BOTH
def test_a_store_that_gets_low_on_space_stops_it(action: SetStoreWeight) -> None:
    assert action.figures(with_store(healthy(), store(5, available_bytes=100)))["low_space"] == 1
    text = ("more_low_space", "stores low on space 1 -> 2")
    assert action.abort_if(sample(low_space=1), sample(low_space=2)) == text
    assert action.abort_if(sample(low_space=1), sample(low_space=1)) is None
    assert action.abort_if(sample(low_space=1), sample(low_space=0)) is None
    good = sample(low_space=1, weight=0.5)
    assert action.verify(sample(low_space=1), (good,) * 3) == "succeeded"
    assert action.verify(sample(low_space=0), (good,) * 3) == "worse"
    assert action.abort_if(sample(low_space=1), sample(low_space=2, down_peers=1)) == (
        "more_down_peers",
        "down peers 0 -> 1",
    )
