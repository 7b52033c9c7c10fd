"""offline_store: who would take over, why not, has it begun, is it taken back."""

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
from actions.drift import drifted, exceeds
from actions.offline_store import OfflineStore
from actions.preflight import objections
from schemas.facts import Facts, OperatorFacts, RemovalFacts, StoreFacts
from schemas.policy import LimitsPolicy
from schemas.values import Change, Reach, Sample
from tests.actions.clusters import LIMITS, NOW, healthy, operator, region, store, tombstone, with_store
from tests.actions.test_actions import plan_of, sample

OFFLINE = OfflineStore(store_id=4)
TIFLASH = {"engine": "tiflash"}
HOSTS_ENOUGH = tuple({"zone": z, "host": h} for z, h in zip("abbcb", "hijkl", strict=True))  # but in two zones then
ZONES = ("z1", "z2", "z3", "z1", "z2", "z3")


def codes(facts: Facts, limits: Limits = LIMITS) -> list[str]:
    return [o.code for o in objections(OFFLINE, facts, limits)]


def other_stores(*changed: StoreFacts, **facts: Any) -> Facts:
    """Healthy, but for these."""
    found = healthy(**facts)
    for each in changed:
        found = with_store(found, each)
    return found


def placed(*labels: dict[str, str], names: tuple[str, ...] = ("zone",), **facts: Any) -> Facts:
    """Stores 1, 2, ... with these labels."""
    stores = tuple(store(n, labels=given) for n, given in enumerate(labels, 1))
    return healthy(location_labels=names, **facts).model_copy(update={"stores": stores})


def zones(*names: str, **facts: Any) -> Facts:
    return placed(*({"zone": name} if name else {} for name in names), **facts)


def in_zones(store_id: int, **changed: Any) -> Facts:
    """Stores 1 and 4 in one zone, 2 and 5 in another, 3 in a third; one of them changed so."""
    facts = zones("z1", "z2", "z3", "z1", "z2")
    (one,) = [s for s in facts.stores if s.id == store_id]
    return with_store(facts, one.model_copy(update=changed))


def dead(**changed: Any) -> StoreFacts:
    """Store 4, down for long, and led by nobody."""
    silent: dict[str, Any] = {"state": "Down", "last_heartbeat_ms": NOW - 10**7, "leader_count": 0}
    return store(4, **(silent | changed))


# what it does


def test_it_is_undone_by_cancelling() -> None:
    assert OFFLINE.plan(healthy()) == (Change(do=calls.offline_store(4), undo=calls.cancel_store_offline(4)),)
    shown = card(plan_of(OFFLINE, healthy()))
    assert shown.calls == (
        "DELETE /pd/api/v1/store/4",
        "if undone: POST /pd/api/v1/store/4/state?state=Up",
    )
    assert shown.do_by_hand == ("pd-ctl store delete 4",)
    assert shown.undo_by_hand == ("pd-ctl store cancel-delete 4",)
    assert "nothing has moved after 10 min" in shown.stops_if
    assert "low on space" in shown.stops_if


def test_it_reads_how_far_it_is() -> None:
    assert OFFLINE.look().removal_of == (4,)
    assert OFFLINE.look().region_ids == ()
    assert "  store_id: id, required. The store to take out, as PD numbers it." in describe(OfflineStore).splitlines()


@pytest.mark.parametrize(
    ("changed", "now"),
    [
        ({"location_labels": ("zone",)}, "3 over zone, isolated by none"),
        ({"isolation_level": "zone"}, "3 over no labels, isolated by zone"),
        ({"max_replicas": 5}, "5 over no labels, isolated by none"),
    ],
)
def test_where_replicas_have_to_be_is_relied_on(changed: dict[str, Any], now: str) -> None:
    moved = drifted(plan_of(OFFLINE, healthy()), healthy(**changed), OFFLINE)
    assert moved == [f"replicas was 3 over no labels, isolated by none, is {now}"]


def test_a_limit_that_was_set_since_voids_the_plan() -> None:
    plan = plan_of(OFFLINE, other_stores(store(4, remove_peer_limit=15)))
    now = other_stores(store(4, remove_peer_limit=0.5))
    assert drifted(plan, now, OFFLINE) == ["store:4.remove_peer_limit was 15, is 0.5"]
    assert drifted(plan, other_stores(store(4, remove_peer_limit=15, region_count=1)), OFFLINE) == []


# how much moves


def test_what_its_disk_holds_moves_or_as_much_as_its_replicas_are_on_average() -> None:
    def moved(**changed: Any) -> int:
        return OFFLINE.reach(other_stores(store(4, **changed))).bytes_moved

    assert moved() == 400
    assert moved(available_bytes=300) == 700
    assert moved(capacity_bytes=0, available_bytes=0) == 320  # 120 x 1600/600: of a dead one PD knows no sizes
    assert moved(available_bytes=2000) == 320
    assert moved(region_count=0) == 0  # what else is on the disk stays there
    assert OFFLINE.reach(healthy(stores=3)) == Reach(stores=1, regions=0, leaders=0, leaders_share=0)


def test_a_share_of_leaders_that_nobody_counts_is_none_or_all() -> None:
    none = healthy().model_copy(update={"stores": tuple(store(n, leader_count=0) for n in range(1, 6))})
    assert OFFLINE.reach(none).leaders_share == 0
    assert OFFLINE.reach(with_store(none, store(4, leader_count=1))).leaders_share == 1
    assert OFFLINE.reach(with_store(none, store(1, leader_count=2))).leaders_share == 0
    odd = with_store(with_store(none, store(4, leader_count=1)), store(1, leader_count=-1))
    assert OFFLINE.reach(odd).leaders_share == 1


def test_bounds_leave_room_for_a_quarter_more() -> None:
    bounds = OFFLINE.bounds(healthy())
    assert exceeds(bounds, OFFLINE.reach(other_stores(store(4, region_count=166, leader_count=66)))) == []
    over = exceeds(bounds, OFFLINE.reach(other_stores(store(4, region_count=167, leader_count=67))))
    assert [text.split(":")[0] for text in over] == ["regions", "leaders"]
    full = OFFLINE.bounds(other_stores(store(4, available_bytes=0)))
    assert full.bytes_moved_max == 1250  # a quarter more than the whole disk


@pytest.mark.parametrize(
    ("facts", "heirs"),
    [
        (healthy(), 4),
        (zones("z1", "z2", "z3", "z1", "z2"), 1),  # a region has one in each zone: what leaves z1 stays in z1
        (zones("z1", "z2", "z3", "Z1", "z1"), 2),  # PD compares without case
        (zones("z1", "z2", "z3", "z1", "z4"), 4),  # a fourth zone is free for some region
        (zones("z1", "z2", "z3", "", "z1"), 4),  # in no place
        (zones("z1", "z2", "z3", "z4", "z1"), 4),  # its zone would be gone
        (zones("z1", "z1", "z1", "z1", "z1"), 4),
        (placed(*({"zone": "z1", "host": h} for h in "abcab"), names=("zone", "host")), 1),  # on the same host
        (placed(*({"zone": "z1", "host": h} for h in "abcde"), names=("zone", "host")), 4),
        (placed(*({"zone": z, "host": h} for z, h in zip(ZONES, "abcdef", strict=True)), names=("zone", "host")), 1),
    ],
)
def test_who_gets_its_data(facts: Facts, heirs: int) -> None:
    assert OFFLINE.reach(facts).stores == heirs + 1


# why not


def room(each: int, **changed: Any) -> Facts:
    """Store 4 is full with 600 bytes, so that each of four would get 150; of store 1 so much would then be free."""
    return other_stores(store(4, available_bytes=400), store(1, available_bytes=150 + each, **changed))


AGAINST: list[tuple[str, Callable[[], Facts]]] = [
    ("no_such_store", lambda: healthy(stores=3)),
    ("already_so", lambda: other_stores(store(4, state="Offline"))),
    ("already_so", lambda: other_stores(tombstone(4))),
    ("regions_lost", lambda: other_stores(dead(leader_count=1))),
    ("target_is_tiflash", lambda: other_stores(store(4, labels=TIFLASH))),
    ("replacing_off", lambda: healthy(replaces_offline_replicas=False)),
    ("replacing_off", lambda: healthy(replica_schedule_limit=0)),
    ("replacing_off", lambda: healthy(region_schedule_limit=0)),
    ("halt_scheduling", lambda: healthy(halt_scheduling=True)),
    ("too_few_replicas", lambda: healthy(max_replicas=2)),
    ("too_few_replicas", lambda: healthy(max_replicas=1)),
    ("too_few_stores", lambda: healthy(stores=4, max_replicas=4)),
    ("too_few_stores", lambda: other_stores(*(store(n, labels=TIFLASH) for n in (1, 2)))),  # PD counts them
    ("too_few_stores", lambda: other_stores(tombstone(1), tombstone(2))),
    ("too_few_stores", lambda: other_stores(store(1, state="Down"), store(2, state="Down"))),  # and these
    ("rest_low_on_space", lambda: room(199)),
    ("rest_low_on_space", lambda: room(0)),
    ("rest_low_on_space", lambda: room(600, capacity_bytes=0)),
    ("rest_low_on_space", lambda: healthy(low_space_ratio=nan)),
    ("rest_low_on_space", lambda: in_zones(1, available_bytes=599)),
    ("labels_lost", lambda: zones("z1", "z2", "z2", "z3", "z1")),
    ("labels_lost", lambda: zones("z1", "z1", "z1", "z2", "z1")),
    ("labels_lost", lambda: zones("z1", "z2", "", "z3", "z1")),
    ("labels_lost", lambda: placed(*({"zone": "z1", "host": h} for h in "abbcb"), names=("zone", "host"))),
    ("labels_lost", lambda: placed(*HOSTS_ENOUGH, names=("zone", "host"))),
    ("isolation_lost", lambda: zones("z1", "z2", "z2", "z3", "z1", isolation_level="zone")),
    ("isolation_lost", lambda: zones("z1", "z2", "z1", "z2", "z1", isolation_level="zone")),  # it was lost before
    ("isolation_lost", lambda: healthy(isolation_level="zone")),
    ("store_not_up", lambda: other_stores(store(5, state="Offline"))),  # another removal
    ("store_not_up", lambda: other_stores(store(5, state="Down"))),
    ("store_not_up", lambda: other_stores(store(5, state="Disconnected"))),
    ("quorum_at_risk", lambda: healthy(troubled=(region(7, 1, 4, 5, down_store_ids=(5,)),))),
    ("quorum_at_risk", lambda: healthy(troubled=(region(7, 1, 4, 5, pending_store_ids=(1,)),))),
    ("quorum_at_risk", lambda: healthy(troubled=(region(7, 1, 4),))),
    ("too_many_leaders", lambda: other_stores(store(4, leader_count=400))),
]  # fmt: skip


@pytest.mark.parametrize(("code", "facts"), AGAINST)
def test_why_a_store_is_not_taken_out(code: str, facts: Callable[[], Facts]) -> None:
    assert code in codes(facts())
    assert {o.kind for o in objections(OFFLINE, facts(), LIMITS) if o.code == code} == {"no"}


@pytest.mark.parametrize(
    ("code", "facts", "wait_s"),
    [
        ("target_silent", other_stores(store(4, state="Disconnected", last_heartbeat_ms=NOW - 25_000)), 300),
        ("target_silent", other_stores(store(4, state="Disconnected")), 300),
        ("target_silent", other_stores(store(4, last_heartbeat_ms=NOW - 22_001)), 300),
        ("target_evicting", healthy(evicting=(4,)), 300),
        ("takers_slow", other_stores(store(5, is_busy=True)), 300),
        ("takers_slow", other_stores(store(5, slow_score=80)), 300),
        ("writes_too_high", other_stores(store(4, written_bytes_per_s=20e6 + 1)), 300),
        ("writes_too_high", other_stores(store(4, written_bytes_per_s=nan)), 300),
        ("writes_too_high", other_stores(store(4, written_bytes_per_s=inf)), 300),
        ("operator_running", healthy(operators=(operator(7, "admin-move-peer"),)), 30),
        ("other_eviction", healthy(evicting=(1, 2, 3, 5)), 300),  # nobody could lead
        ("other_eviction", healthy(slow_evicting=(5,)), 300),
    ],
)
def test_what_may_pass_is_waited_for(code: str, facts: Facts, wait_s: int) -> None:
    found = [(o.code, o.kind, o.until_ms) for o in objections(OFFLINE, facts, LIMITS)]
    assert found == [(code, "wait", NOW + wait_s * 1000)]


@pytest.mark.parametrize(
    "facts",
    [
        healthy(),
        healthy(stores=4),
        healthy(max_replicas=4),
        healthy(replica_schedule_limit=1, region_schedule_limit=1, leader_schedule_limit=0),
        healthy(slow_evicting=(4,)),  # PD keeps leaders off it, for it is slow: a reason to take it out
        healthy(operators=(operator(7, "balance-region"),)),
        other_stores(store(4, last_heartbeat_ms=NOW - 22_000)),
        other_stores(store(4, is_busy=True, slow_score=100, available_bytes=10)),
        other_stores(dead()),
        other_stores(dead(capacity_bytes=0, available_bytes=0)),
        other_stores(store(5, slow_score=79)),
        other_stores(store(4, written_bytes_per_s=20e6)),
        room(200),
        in_zones(1, available_bytes=600),
        in_zones(2, available_bytes=199, region_count=400),  # is not in its zone
        zones("z1", "z2", "z3", "z1", "z2", isolation_level="zone"),
        zones("z1", "z2", "z3", "z4", "z1"),
        zones("z1", "z1", "z2", "z2", "z2"),  # two zones before, and two after
        zones("z1", "z2", "z3", "", "z1"),
        zones("", "", "", "", ""),
        placed(*({"zone": "z1", "host": h} for h in "abcde"), names=("zone", "host"), isolation_level="host"),
        healthy(troubled=(region(7, 1, 2, 5, pending_store_ids=(5,)),)),  # it is on none of these
        healthy(troubled=(region(7, 1, 4, 5, down_store_ids=(4,)),)),
    ],
)  # fmt: skip
def test_a_store_is_taken_out_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert codes(facts) == []


def test_each_may_be_filled_to_the_last_byte_of_what_is_not_low() -> None:
    for each, found in ((250, []), (249, ["rest_low_on_space"])):
        assert codes(room(each).model_copy(update={"low_space_ratio": 0.75})) == found


def test_the_share_of_leaders_that_may_move_is_the_policys() -> None:
    for share, found in ((0.2, []), (0.1999, ["too_many_leaders"])):
        limits = Limits(policy=LimitsPolicy(leaders_share_max=share), now_ms=NOW)
        assert codes(healthy(), limits) == found


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (other_stores(store(4, state="Offline")), "store 4 is Offline already"),
        (other_stores(dead(leader_count=7)), "store 4 is Down and leads 7 regions: they have lost their majority"),
        (
            other_stores(store(4, state="Disconnected", last_heartbeat_ms=NOW - 92_000)),
            "store 4 has been silent for 90 s: it may come back, or PD will call it Down",
        ),
        (healthy(evicting=(4,)), "somebody keeps leaders off store 4, and will undo it"),
        (
            other_stores(store(4, labels=TIFLASH)),
            "store 4 is TiFlash: its replicas are counted by table; lower those of the tables first",
        ),
        (other_stores(store(4, leader_count=160)), "store 4 leads 50% of all regions, at most 34%"),
        (other_stores(store(4, written_bytes_per_s=21.5e6)), "store 4 takes 21.5 MB/s of writes, at most 20"),
        (healthy(replaces_offline_replicas=False), "enable-replace-offline-replica is off: PD would move nothing"),
        (healthy(replica_schedule_limit=0), "replica-schedule-limit is 0: PD would move nothing"),
        (healthy(region_schedule_limit=0), "region-schedule-limit is 0: PD would move nothing"),
        (healthy(max_replicas=2), "with max-replicas 2 a region is lost by one store more, at least 3"),
        (healthy(stores=4, max_replicas=4), "3 stores that are Up would be left for 4 replicas a region"),
        (other_stores(store(5, is_busy=True)), "stores [5] would take over from it, and are busy or slow"),
        (
            other_stores(store(4, capacity_bytes=10 * 2**30, available_bytes=2**31)),
            "stores [1, 2, 3, 5] would get 2.0 GiB each, and are low on space or would be then",
        ),
        (
            zones("z1", "z2", "z2", "z3", "z1", isolation_level="zone"),
            "2 values of zone would be left for 3 replicas isolated by it",
        ),
        (zones("z1", "z2", "z2", "z3", "z1"), "2 of 3 values of zone would be left for 3 replicas a region"),
        (healthy(isolation_level="rack"), "isolation-level rack is none of the location-labels: PD would move nothing"),
    ],
)  # fmt: skip
def test_an_objection_names_the_numbers(facts: Facts, text: str) -> None:
    assert text in [o.text for o in objections(OFFLINE, facts, LIMITS)]


def test_the_most_that_a_policy_allows_is_told_in_megabytes_too() -> None:
    limits = Limits(policy=LimitsPolicy(leader_move_bytes_per_s_max=999_999e6), now_ms=NOW)
    found = objections(OFFLINE, other_stores(store(4, written_bytes_per_s=1e12)), limits)
    assert [o.text for o in found] == ["store 4 takes 1000000.0 MB/s of writes, at most 999999"]


@given(
    st.lists(st.sampled_from(["", "z1", "z2", "z3", "z4"]), min_size=4, max_size=7),
    st.sampled_from([3, 5]),
    st.lists(st.integers(0, 1000), min_size=7, max_size=7),
    st.lists(st.sampled_from(["Up", "Up", "Up", "Up", "Down", "Disconnected", "Offline"]), min_size=7, max_size=7),
)
def test_whatever_passes_leaves_room_and_places_for_every_replica(
    names: list[str], replicas: int, available: list[int], states: list[Any]
) -> None:
    """By an eye of its own: the rest holds the data as it is now within the space that is left."""
    facts = zones(*names, max_replicas=replicas)
    stores = [
        s.model_copy(update={"available_bytes": free, "state": state})
        for s, free, state in zip(facts.stores, available, states, strict=False)
    ]
    facts = facts.model_copy(update={"stores": tuple(stores)})
    if codes(facts):
        return
    rest = [s for s in facts.stores if s.id != 4]
    assert all(s.state == "Up" for s in rest)
    assert len(rest) >= replicas
    of_4 = next(s for s in facts.stores if s.id == 4)
    assert sum(s.available_bytes for s in rest) - (1000 - of_4.available_bytes) >= 0
    before, after = ({s.labels["zone"] for s in some if s.labels} for some in ((*rest, of_4), rest))
    assert len(after) >= min(len(before), replicas)


# has it begun?

DO, UNDO = calls.offline_store(4), calls.cancel_store_offline(4)
LEAVING = other_stores(store(4, state="Offline"))
MOVES = OperatorFacts(region_id=7, desc="replace-rule-offline-peer", brief="mv peer: store [4] to [2]")


def moving(**changed: str) -> Facts:
    """PD has forgotten how far it is, and has this operator."""
    return LEAVING.model_copy(update={"operators": (MOVES.model_copy(update=changed),)})


def removing(progress: float, mib_per_s: float, left_s: float = 600.0, **changed: Any) -> Facts:
    found = RemovalFacts(store_id=4, progress=progress, mib_per_s=mib_per_s, left_s=left_s)
    return LEAVING.model_copy(update={"removals": (found,), **changed})


@pytest.mark.parametrize(
    ("facts", "begun"),
    [
        (healthy(), False),
        (healthy(stores=3), False),
        (LEAVING, False),
        (removing(0.01, 0.5), True),
        (removing(0.0, 0.5), False),
        (removing(0.01, 0.0), False),
        (removing(0.01, nan), False),
        (removing(0.0, 0.0, operators=(MOVES,)), False),  # they may be stuck: PD knows better
        (moving(), True),
        (other_stores(store(4), operators=(MOVES,)), False),
        (moving(brief="mv peer: store [5] to [4]"), False),
        (moving(brief="mv peer: store [42] to [5]"), False),
        (moving(desc="balance-region"), False),
        (other_stores(store(4, state="Offline", region_count=0)), True),
        (other_stores(store(4, state="Offline", region_count=0), pd_leader_age_s=1.0), False),  # not heard of any yet
        (other_stores(tombstone(4)), True),
        (other_stores(tombstone(4), pd_leader_age_s=1.0), True),  # for good
        (other_stores(store(4, state="Down", region_count=0)), False),
    ],
)  # fmt: skip
def test_it_is_done_when_pd_moves_data_away_steadily(facts: Facts, begun: bool) -> None:
    assert OFFLINE.is_done(facts) == begun
    figures = OFFLINE.figures(facts)
    assert figures["draining"] == begun
    assert OFFLINE.is_reached(Sample(at_ms=0, figures=figures)) == begun


def test_what_it_is_watched_by() -> None:
    facts = removing(0.25, 8.0, left_s=90.0)
    facts = with_store(facts, store(4, state="Offline", available_bytes=1, remove_peer_limit=1e8))
    assert OFFLINE.figures(facts) == health(facts) | {
        "stores_up": 4,
        "draining": 1,
        "low_space": 0,  # of the others
        "leaders": 40,
        "regions": 120,
        "remove_peer_limit": 1e8,
        "left_s": 90,
    }
    assert OFFLINE.figures(removing(0.25, 0.5))["left_s"] == 600
    assert "left_s" not in OFFLINE.figures(removing(0.0, 0.0))
    assert "regions" not in OFFLINE.figures(healthy(stores=3))
    assert OFFLINE.figures(healthy())["stores_up"] == 4  # as before: that it goes is no reason to stop
    assert OFFLINE.figures(other_stores(store(5, state="Down")))["stores_up"] == 3
    assert OFFLINE.figures(other_stores(store(5, available_bytes=199)))["low_space"] == 1


def at(at_ms: int, **figures: float) -> Sample:
    return sample(low_space=0, **figures).model_copy(update={"at_ms": at_ms})


def test_what_stops_it() -> None:
    before = at(5_000, draining=0)
    assert OFFLINE.abort_if(before, at(605_000, draining=0)) is None
    text = "after 10 min PD has moved nothing off store 4"
    assert OFFLINE.abort_if(before, at(605_001, draining=0)) == ("not_draining", text)
    assert OFFLINE.not_worse == {"not_draining"}
    assert OFFLINE.abort_if(before, at(10**7, draining=1)) is None
    low = sample(low_space=1, draining=1)
    assert OFFLINE.abort_if(before, low) == ("more_low_space", "stores low on space 0 -> 1")
    assert OFFLINE.abort_if(low, sample(low_space=1)) is None
    assert OFFLINE.abort_if(low, sample(low_space=0)) is None
    worse = low.model_copy(update={"figures": {**low.figures, "down_peers": 1}})
    assert OFFLINE.abort_if(before, worse) == ("more_down_peers", "down peers 0 -> 1")
    assert OFFLINE.verify(before, (at(6_000, draining=1),) * 3) == "succeeded"
    assert OFFLINE.verify(before, (low,) * 3) == "worse"


# is it taken back?


@pytest.mark.parametrize(
    ("state", "changed", "do", "undo"),
    [
        ("Up", {}, "not_started", "applied"),
        ("Disconnected", {}, "not_started", "applied"),
        ("Down", {}, "not_started", "applied"),
        ("Offline", {}, "applied", "not_started"),
        ("Tombstone", {}, "applied", "not_started"),  # sent again, PD refuses it: that is on record then
        ("Up", {"pd_leader_age_s": 1.0}, "cant_tell", "cant_tell"),  # a leader of yesterday shows what was
        ("Disconnected", {"pd_leader_age_s": nan}, "cant_tell", "cant_tell"),
        ("Up", {"schedulers": ()}, "cant_tell", "cant_tell"),
        ("Offline", {"pd_leader_age_s": 1.0}, "applied", "not_started"),
        ("Tombstone", {"schedulers": ()}, "applied", "not_started"),
    ],
)  # fmt: skip
def test_was_it_taken_out(state: Any, changed: dict[str, Any], do: str, undo: str) -> None:
    facts = other_stores(store(4, state=state), **changed)
    assert OFFLINE.probe(DO, facts) == do
    assert OFFLINE.probe(UNDO, facts) == undo


def test_a_store_without_a_record_was_not_taken_back() -> None:
    gone = healthy(stores=3)
    assert OFFLINE.probe(DO, gone) == "cant_tell"
    assert OFFLINE.probe(UNDO, gone) == "not_started"
    assert OFFLINE.probe(UNDO, healthy(stores=3, pd_leader_age_s=1.0)) == "cant_tell"
    assert OFFLINE.probe(UNDO, healthy(stores=0)) == "cant_tell"


def test_the_call_of_another_store_cannot_be_told() -> None:
    for call in (calls.offline_store(5), calls.cancel_store_offline(5), calls.set_store_weight(4, 1, 1)):
        assert OFFLINE.probe(call, LEAVING) == "cant_tell"
