"""set_store_limit: how much more may move by it, why not, was it set."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from actions import calls
from actions.action import health
from actions.card import card, describe
from actions.drift import drifted
from actions.preflight import objections
from actions.set_store_limit import SetStoreLimit
from schemas.facts import Facts
from schemas.values import Bounds, Change, Reach
from tests.actions.clusters import LIMITS, NOW, healthy, region, store, tombstone, with_store
from tests.actions.test_actions import plan_of, sample

ADD = SetStoreLimit(store_id=4, limit_type="add-peer", per_minute=30)
REMOVE = SetStoreLimit(store_id=4, limit_type="remove-peer", per_minute=30)
LOWER = SetStoreLimit(store_id=4, limit_type="remove-peer", per_minute=15)
UNLIMITED = with_store(healthy(), store(4, remove_peer_limit=1e8))
BOTH = pytest.mark.parametrize("action", [ADD, REMOVE], ids=["add", "remove"])


def codes(action: SetStoreLimit, facts: Facts) -> list[str]:
    return [o.code for o in objections(action, facts, LIMITS)]


def with_4(**changed: Any) -> Facts:
    return with_store(healthy(), store(4, **changed))


# what it does


def test_the_limit_that_was_there_is_the_undo() -> None:
    facts = with_4(add_peer_limit=12.5, remove_peer_limit=1e8)
    assert ADD.plan(facts) == (
        Change(do=calls.set_store_limit(4, "add-peer", 30), undo=calls.set_store_limit(4, "add-peer", 12.5)),
    )
    assert REMOVE.plan(facts) == (
        Change(do=calls.set_store_limit(4, "remove-peer", 30), undo=calls.set_store_limit(4, "remove-peer", 1e8)),
    )


def test_where_the_limit_is_not_known_there_is_no_undo_and_no_plan() -> None:
    for odd in (0.0, 1 / 3, 1e9, nan):
        assert [change.undo for change in ADD.plan(with_4(add_peer_limit=odd))] == [None]
    assert ADD.plan(healthy(stores=3)) == ()


def test_the_card_names_both_limits() -> None:
    shown = card(plan_of(LOWER, UNLIMITED))
    assert shown.calls == (
        'POST /pd/api/v1/store/4/limit {"rate":15,"type":"remove-peer"}',
        'if undone: POST /pd/api/v1/store/4/limit {"rate":100000000,"type":"remove-peer"}',
    )
    assert shown.do_by_hand == ("pd-ctl store limit 4 15 remove-peer",)
    assert shown.undo_by_hand == ("pd-ctl store limit 4 100000000 remove-peer",)
    assert "low on space" in shown.stops_if
    assert "(0 ms)" in shown.clients


def test_its_parameters_are_described_with_their_ranges() -> None:
    lines = describe(SetStoreLimit).splitlines()
    assert any(line.startswith("  store_id: ") and line.endswith("The store, as PD numbers it.") for line in lines)
    assert any(line.startswith("  limit_type: add-peer or remove-peer, required. add-peer: of repl") for line in lines)
    assert any(line.startswith("  per_minute: whole number 5..200, required. The new limit, in repl") for line in lines)


@pytest.mark.parametrize(
    ("facts", "moved"),
    [
        (with_4(add_peer_limit=16.0), "store:4.add-peer was 15, is 16"),
        (with_4(state="Offline"), "store:4.state was Up, is Offline"),
        (with_4(address="x:1"), "store:4.address was 10.0.4.4:20160, is x:1"),
        (healthy(store_limit_version="v2"), "store-limit-version was v1, is v2"),
    ],
)
def test_what_was_changed_under_us_voids_the_plan(facts: Facts, moved: str) -> None:
    plan = plan_of(ADD, healthy())
    assert drifted(plan, facts, ADD) == [moved]
    assert drifted(plan, with_4(remove_peer_limit=99.0, region_count=7), ADD) == []
    assert drifted(plan, with_store(healthy(), store(5, add_peer_limit=99.0)), ADD) == []


# how much more may move


@pytest.mark.parametrize(
    ("action", "changed", "moved"),
    [
        (ADD, {}, 80),  # there are 200 regions, and it has 120
        (ADD, {"region_count": 0}, 200),
        (ADD, {"region_count": 200}, 0),
        (ADD, {"region_count": 300}, 0),
        (REMOVE, {}, 120),
        (REMOVE, {"region_count": 5000}, 900),  # 15 more a minute, for an hour
        (REMOVE, {"region_count": 5000, "remove_peer_limit": 29.99}, 1),
        (REMOVE, {"remove_peer_limit": 31.0}, 0),
        (REMOVE, {"remove_peer_limit": 1e8}, 0),
        (REMOVE, {"remove_peer_limit": nan}, 0),
    ],
)
def test_what_may_move_in_an_hour_more_than_now(action: SetStoreLimit, changed: dict[str, Any], moved: int) -> None:
    facts = with_4(**changed)
    reach = action.reach(facts)
    assert (reach.stores, reach.regions, reach.leaders, reach.leaders_share) == (1, moved, 0, 0)
    others = 4 * 120
    here = facts.stores[3].region_count
    assert reach.bytes_moved == pytest.approx(moved * 600 * 96 / (others + here) * 2**20, abs=1)


def test_where_it_is_lowered_nothing_more_may_move() -> None:
    assert LOWER.bounds(UNLIMITED) == Bounds(stores_max=1, regions_max=0, leaders_max=0)
    assert ADD.bounds(healthy(stores=3)) == Bounds(stores_max=1, regions_max=0, leaders_max=0)
    assert ADD.bounds(with_4(add_peer_limit=30.0)) == Bounds(stores_max=1, regions_max=0, leaders_max=0)
    assert ADD.reach(healthy(stores=3)) == Reach(stores=1, regions=0, leaders=0, leaders_share=0.0)
    room = REMOVE.bounds(with_4(region_count=0))
    assert (room.regions_max, room.bytes_moved_max) == (16, 16 * 120 * 2**20)
    assert REMOVE.bounds(healthy()).bytes_moved_max == 166 * 96 * 2**20


@pytest.mark.parametrize("unknown", [{"region_size_mib": 0}, {"region_count": 0}])
def test_where_pd_knows_no_sizes_a_replica_is_taken_for_as_large_as_tikv_lets_it_get(unknown: dict[str, Any]) -> None:
    stores = tuple(store(n, **unknown) for n in range(1, 6))
    facts = healthy().model_copy(update={"stores": (*stores, tombstone(9, region_count=9, region_size_mib=9))})
    reach = ADD.reach(facts)
    assert reach.bytes_moved == reach.regions * 96 * 2**20 > 0


def test_the_sizes_that_pd_knows_are_believed_from_the_first_replica_on() -> None:
    stores = tuple(store(n, region_count=int(n == 4), region_size_mib=int(n == 4)) for n in range(1, 6))
    facts = healthy().model_copy(update={"stores": stores})
    assert REMOVE.bounds(facts).bytes_moved_max == REMOVE.bounds(facts).regions_max * 2**20 > 0


# why not


AGAINST: list[tuple[str, SetStoreLimit, Callable[[], Facts]]] = [
    ("no_such_store", ADD, lambda: healthy(stores=3)),
    ("being_removed", ADD, lambda: with_4(state="Offline")),
    ("being_removed", LOWER, lambda: with_4(state="Offline", remove_peer_limit=1e8)),
    ("target_not_up", ADD, lambda: with_store(healthy(), tombstone(4))),
    ("target_not_up", REMOVE, lambda: with_4(state="Disconnected")),
    ("target_not_up", REMOVE, lambda: with_4(state="Down")),
    ("limits_not_v1", ADD, lambda: healthy(store_limit_version="v2")),
    ("limits_not_v1", ADD, lambda: healthy(store_limit_version="")),
    ("already_so", ADD, lambda: with_4(add_peer_limit=30.0)),
    ("already_so", REMOVE, lambda: with_4(remove_peer_limit=30.0)),
    ("old_limit_unsayable", ADD, lambda: with_4(add_peer_limit=0.0)),
    ("old_limit_unsayable", REMOVE, lambda: with_4(remove_peer_limit=1e9)),
    ("old_limit_unsayable", REMOVE, lambda: with_4(remove_peer_limit=nan)),
    ("stores_slow", ADD, lambda: with_4(is_busy=True)),
    ("stores_slow", ADD, lambda: with_store(healthy(), store(5, slow_score=80))),
    ("stores_slow", REMOVE, lambda: with_store(healthy(), store(5, is_busy=True))),
    ("stores_slow", REMOVE, lambda: with_4(remove_peer_limit=nan, is_busy=True)),
    ("target_low_space", ADD, lambda: with_4(available_bytes=199)),
    ("target_low_space", ADD, lambda: with_4(capacity_bytes=0, available_bytes=600)),
    ("target_low_space", ADD, lambda: healthy(low_space_ratio=nan)),
    ("too_fast", ADD, lambda: with_4(region_size_mib=600 * 401)),
    ("too_fast", REMOVE, lambda: with_4(region_size_mib=600 * 401)),
]


@pytest.mark.parametrize(("code", "action", "facts"), AGAINST)
def test_why_a_limit_is_not_set(code: str, action: SetStoreLimit, facts: Callable[[], Facts]) -> None:
    found = [o for o in objections(action, facts(), LIMITS) if o.code == code]
    assert [o.kind for o in found] == ["no"]


@pytest.mark.parametrize(
    "ill",
    [region(7, 1, 2, 3, down_store_ids=(3,)), region(7, 1, 2), region(7, 1, 2, 3).model_copy(update={"peers": ()})],
)
def test_a_limit_is_not_lowered_while_pd_repairs_within_it(ill: Any) -> None:
    facts = UNLIMITED.model_copy(update={"troubled": (ill,)})
    (found,) = objections(LOWER, facts, LIMITS)
    assert (found.code, found.kind, found.until_ms) == ("repairs_needed", "wait", NOW + 300_000)
    assert found.text == "1 regions lack a replica, and PD repairs within this limit"
    assert codes(REMOVE, healthy(troubled=(ill,))) == []
    unknown = with_4(remove_peer_limit=nan).model_copy(update={"troubled": (ill,)})
    assert "repairs_needed" in codes(LOWER, unknown)


@pytest.mark.parametrize(
    ("action", "facts"),
    [
        (ADD, healthy()),
        (REMOVE, healthy()),
        (LOWER, UNLIMITED),
        (LOWER, UNLIMITED.model_copy(update={"troubled": (region(7, 1, 2, 3, pending_store_ids=(2,)),)})),
        (LOWER, with_store(UNLIMITED, store(5, is_busy=True, slow_score=100))),  # less is copied
        (SetStoreLimit(store_id=4, limit_type="add-peer", per_minute=5), with_4(available_bytes=1)),
        (REMOVE, with_4(available_bytes=1)),  # it gets more room
        (ADD, with_4(available_bytes=200)),
        (ADD, with_store(healthy(low_space_ratio=0.75), store(4, available_bytes=250))),
        (ADD, with_4(capacity_bytes=1, available_bytes=1)),
        (ADD, with_store(healthy(), store(5, slow_score=79))),
        (ADD, with_4(add_peer_limit=0.5)),
        (ADD, with_4(remove_peer_limit=0.0)),  # not the one that is set
        (ADD, with_4(labels={"engine": "tiflash"})),
        (ADD, with_store(healthy(), tombstone(9, is_busy=True))),
    ],
)
def test_a_limit_is_set_where_it_is_just_within_the_limits(action: SetStoreLimit, facts: Facts) -> None:
    assert codes(action, facts) == []


def test_a_limit_that_is_so_already_is_neither_raised_nor_lowered() -> None:
    facts = with_store(with_4(add_peer_limit=30.0), store(5, is_busy=True))
    assert codes(ADD, facts.model_copy(update={"troubled": (region(7, 1, 2),)})) == ["already_so"]


@pytest.mark.parametrize(("mib", "found"), [(400, []), (401, ["too_fast"])])
def test_at_most_200_mib_a_second_may_be_copied(mib: int, found: list[str]) -> None:
    """30 replicas a minute of 400 MiB each."""
    facts = healthy().model_copy(update={"stores": tuple(store(n, region_size_mib=120 * mib) for n in range(1, 6))})
    assert codes(REMOVE, facts) == found


@pytest.mark.parametrize(
    ("action", "facts", "text"),
    [
        (ADD, with_4(state="Offline"),
         "store 4 is being removed: PD sets its limits itself, and those of before if it is cancelled"),
        (ADD, with_store(healthy(), tombstone(4)), "store 4 is Tombstone: a limit would hold nothing there"),
        (ADD, healthy(store_limit_version="v2"), "store-limit-version is v2: PD lets nobody set a limit"),
        (ADD, with_4(add_peer_limit=30.0), "store 4 has the add-peer limit 30"),
        (ADD, with_4(add_peer_limit=1 / 3),
         "store 4 has the add-peer limit 0.3333333333333333, which the undo could not set again"),
        (ADD, with_store(healthy(), store(5, is_busy=True)), "stores [5] are busy or slow: no more copies now"),
        (ADD, with_4(region_size_mib=216 * 960), "211 MiB/s could be copied, at most 200"),
    ],
)  # fmt: skip
def test_an_objection_names_the_numbers(action: SetStoreLimit, facts: Facts, text: str) -> None:
    assert text in [o.text for o in objections(action, facts, LIMITS)]


# was it set?

DO, UNDO = calls.set_store_limit(4, "remove-peer", 15), calls.set_store_limit(4, "remove-peer", 1e8)


@pytest.mark.parametrize(
    ("limit", "of_store", "changed", "do", "undo"),
    [
        (1e8, {}, {}, "not_started", "applied"),
        (15.0, {}, {}, "applied", "not_started"),
        (7.0, {}, {}, "not_started", "applied"),  # somebody has set another since: theirs stands, ours is gone
        (inf, {}, {}, "not_started", "applied"),
        (0.5, {}, {}, "not_started", "applied"),
        (0.0, {}, {}, "cant_tell", "cant_tell"),  # PD does not say
        (nan, {}, {}, "cant_tell", "cant_tell"),
        (15.0, {}, {"pd_leader_age_s": 1.0}, "applied", "not_started"),
        (1e8, {}, {"pd_leader_age_s": 1.0}, "cant_tell", "cant_tell"),  # a leader of yesterday shows what was
        (1e8, {}, {"pd_leader_age_s": nan}, "cant_tell", "cant_tell"),
        (1e8, {}, {"schedulers": ()}, "cant_tell", "cant_tell"),
        (15.0, {"state": "Disconnected"}, {}, "applied", "not_started"),
        (1e8, {"state": "Down"}, {}, "not_started", "applied"),
        (1e8, {"state": "Offline"}, {}, "cant_tell", "cant_tell"),  # of PD's own making; it may set ours again
        (15.0, {"state": "Offline"}, {}, "applied", "cant_tell"),
        (15.0, {"state": "Tombstone"}, {}, "cant_tell", "applied"),
        (0.0, {"state": "Tombstone"}, {}, "cant_tell", "applied"),
        (0.0, {"state": "Tombstone"}, {"pd_leader_age_s": 1.0}, "cant_tell", "cant_tell"),
    ],
)  # fmt: skip
def test_was_the_limit_set(limit: float, of_store: dict[str, Any], changed: dict[str, Any], do: str, undo: str) -> None:
    facts = with_store(healthy(**changed), store(4, remove_peer_limit=limit, **of_store))
    assert LOWER.probe(DO, facts) == do
    assert LOWER.probe(UNDO, facts) == undo


def test_a_store_whose_record_is_gone_has_no_limit_to_undo() -> None:
    assert LOWER.probe(DO, healthy(stores=3)) == "cant_tell"
    assert LOWER.probe(UNDO, healthy(stores=3)) == "applied"
    assert LOWER.probe(UNDO, healthy(stores=3, pd_leader_age_s=1.0)) == "cant_tell"
    assert LOWER.probe(UNDO, healthy(stores=0)) == "cant_tell"


def test_the_call_of_another_store_or_limit_cannot_be_told() -> None:
    facts = with_4(add_peer_limit=15.0, remove_peer_limit=15.0)
    assert LOWER.probe(calls.set_store_limit(5, "remove-peer", 15), facts) == "cant_tell"
    assert LOWER.probe(calls.set_store_limit(4, "add-peer", 15), facts) == "cant_tell"
    assert LOWER.probe(calls.set_store_weight(4, 1, 1), facts) == "cant_tell"


@BOTH
def test_it_is_done_and_reached_when_the_limit_shows(action: SetStoreLimit) -> None:
    shown = with_4(**{action.limit_type.replace("-", "_") + "_limit": 30.0})
    assert action.is_done(shown)
    assert not action.is_done(healthy())
    assert not action.is_done(healthy(stores=3))
    assert action.figures(shown) == health(shown) | {"low_space": 0, "limit": 30, "regions": 120}
    assert action.figures(with_store(healthy(), store(5, available_bytes=1)))["low_space"] == 1
    assert action.figures(healthy())["limit"] == 15
    assert "limit" not in action.figures(healthy(stores=3))
    assert action.is_reached(sample(limit=30))
    assert not action.is_reached(sample(limit=29))


def test_a_store_that_gets_low_on_space_stops_it() -> None:
    text = ("more_low_space", "stores low on space 0 -> 1")
    assert ADD.abort_if(sample(low_space=0), sample(low_space=1)) == text
    assert ADD.abort_if(sample(low_space=1), sample(low_space=1)) is None
    assert ADD.verify(sample(low_space=0), (sample(low_space=1, limit=30),) * 3) == "worse"
