"""scatter_regions: why not, what it plans, and what tells that PD placed a region anew, or that nothing was done."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import calls
from actions.action import Limits, health
from actions.card import card
from actions.catalogue import parse
from actions.drift import drifted, exceeds
from actions.preflight import objections
from actions.scatter_regions import ScatterRegions
from schemas.facts import UP_HEARTBEAT_S_MAX, Facts, PeerFacts, RegionFacts, StoreFacts
from schemas.policy import LimitsPolicy
from schemas.values import Call, Change, Objection, Reach, Sample
from tests.actions.clusters import LIMITS, NOW, healthy, operator, region, store, with_store
from tests.actions.test_actions import plan_of, sample

SCATTER = ScatterRegions(region_ids=(180, 181))
CALL = calls.scatter_region(180, conf_ver=5, leader_store_id=1)
GIB, MIB = 2**30, 2**20
NEXT = region(181, 1, 2, 4)


def roomy(store_id: int, **changed: Any) -> StoreFacts:
    return store(store_id, **({"capacity_bytes": 100 * GIB, "available_bytes": 60 * GIB} | changed))


def cluster(*changed: StoreFacts, **facts: Any) -> Facts:
    """A healthy one with room and both regions, but for these stores and facts."""
    well = healthy(stores=0, **({"regions": (region(180, 1, 2, 3), NEXT)} | facts))
    for each in (*(roomy(n) for n in range(1, 6)), *changed):
        well = with_store(well, each)
    return well


def of_region(*store_ids: int, **changed: Any) -> Facts:
    return cluster(regions=(region(180, *(store_ids or (1, 2, 3)), **changed), NEXT))


def with_role(role: str) -> Facts:
    here = region(180, 1, 2, 3)
    return of_region(peers=(*here.peers[:2], here.peers[2].model_copy(update={"role": role})))


def found(facts: Facts, limits: Limits = LIMITS) -> list[Objection]:
    return list(objections(SCATTER, facts, limits))


# why not


@pytest.mark.parametrize(
    ("code", "wait_s", "facts"),
    [
        ("no_such_region", None, cluster(regions=(NEXT,))),
        ("joint_state", 60, with_role("DemotingVoter")),
        ("no_leader", 60, of_region(leader_store_id=0)),
        ("no_epoch", 60, of_region(conf_ver=0)),
        ("no_size", 60, of_region(approximate_size_mib=0)),
        ("hot_region", None, of_region(written_bytes=60_000_001)),
        ("unhealthy_peers", None, of_region(down_store_ids=(3,))),
        ("unhealthy_peers", None, of_region(pending_store_ids=(2,))),
        ("unhealthy_peers", None, cluster(troubled=(region(181, 1, 2, 4, pending_store_ids=(2,)),))),
        ("replicas_missing", None, of_region(1, 2)),
        ("replicas_missing", None, with_role("Learner")),
        ("too_many_leaders", None, cluster(*(roomy(n, leader_count=1) for n in range(1, 6)))),
        ("takers_slow", None, cluster(roomy(5, slow_score=80))),
        ("takers_slow", None, cluster(roomy(5, is_busy=True))),
        ("takers_low_on_space", None, cluster(roomy(5, available_bytes=20 * GIB + 192 * MIB - 1))),
        ("takers_low_on_space", None, cluster(roomy(5, capacity_bytes=0))),
        ("takers_low_on_space", None, cluster(low_space_ratio=nan)),
        ("region_scheduling_off", None, cluster(region_schedule_limit=0)),
        ("many_operators", 60, cluster(operators=tuple(operator(n, "balance-region") for n in range(16)))),
        ("many_snapshots", 60, cluster(roomy(5, snapshots=16))),
        ("operator_running", 30, cluster(operators=(operator(181, "balance-region"),))),
    ],
)
def test_why_regions_are_not_scattered(code: str, wait_s: int | None, facts: Facts) -> None:
    until_ms = 0 if wait_s is None else NOW + wait_s * 1000
    assert [(o.code, o.kind, o.until_ms) for o in found(facts)] == [
        (code, "no" if wait_s is None else "wait", until_ms)
    ]


@pytest.mark.parametrize(
    "facts",
    [
        cluster(),
        of_region(1, 2, 3, 4),
        of_region(approximate_size_mib=1),
        of_region(written_bytes=60_000_000),  # 1 MB/s over a minute
        cluster(*(roomy(n, leader_count=2) for n in range(1, 6))),
        cluster(*(roomy(n, available_bytes=25 * GIB + 192 * MIB) for n in range(1, 6)), low_space_ratio=0.75),
        cluster(roomy(5, slow_score=79, snapshots=15, available_bytes=20 * GIB + 192 * MIB)),
        cluster(roomy(6, labels={"engine": "tiflash"}, slow_score=100, is_busy=True, capacity_bytes=0, snapshots=99)),
        cluster(operators=tuple(operator(n, "balance-region") for n in range(15))),
    ],
)
def test_regions_are_scattered_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert found(facts) == []


def test_a_policy_may_call_a_region_hot_sooner() -> None:
    limits = Limits(policy=LimitsPolicy(leader_move_bytes_per_s_max=5e5), now_ms=NOW)
    assert [o.text for o in found(of_region(written_bytes=36_000_000), limits)] == [
        "region 180 takes 0.6 MB/s of writes, at most 0.5"
    ]
    assert found(of_region(written_bytes=30_000_000), limits) == []


def test_how_much_may_be_copied() -> None:
    big = [region(n, 1, 2, 3, 4, approximate_size_mib=256) for n in range(1, 33)]
    many = ScatterRegions(region_ids=tuple(range(1, 33)))
    facts = cluster(regions=tuple(big))
    assert many.reach(facts).bytes_moved == 32 * GIB
    assert found_by(many, facts) == []
    big[0] = region(1, 1, 2, 3, 4, approximate_size_mib=257)
    assert found_by(many, facts.model_copy(update={"regions": tuple(big)})) == [
        ("too_many_bytes", "32 GiB may move, at most 32")
    ]


def found_by(action: ScatterRegions, facts: Facts) -> list[tuple[str, str]]:
    return [(o.code, o.text) for o in objections(action, facts, LIMITS)]


def test_how_many_leaders_may_move() -> None:
    facts = cluster(*(roomy(n, leader_count=2) for n in range(1, 6)))
    for most, codes in ((0.2, []), (0.199, ["too_many_leaders"])):
        limits = Limits(policy=LimitsPolicy(leaders_share_max=most), now_ms=NOW)
        assert [o.code for o in found(facts, limits)] == codes


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (cluster(regions=(NEXT,)), "PD knows no region 180"),
        (of_region(written_bytes=90_000_000), "region 180 takes 1.5 MB/s of writes, at most 1"),
        (of_region(written_bytes=60 * 10**12), "region 180 takes 1000000.0 MB/s of writes, at most 1"),
        (cluster(*(roomy(n, leader_count=1) for n in range(1, 6))), "40% of all leaders may move, at most 34%"),
        (
            cluster(roomy(5, is_busy=True), roomy(2, slow_score=90)),
            "stores [2, 5] might get some of them, and are busy or slow",
        ),
        (cluster(roomy(5, available_bytes=0)), "stores [5] might get them all, and are low on space or would be"),
    ],
)
def test_an_objection_names_the_numbers(facts: Facts, text: str) -> None:
    assert [o.text for o in found(facts)] == [text]


def test_all_objections_are_listed() -> None:
    bad = cluster(
        roomy(5, is_busy=True, available_bytes=0, snapshots=16),
        roomy(1, leader_count=1),
        *(roomy(n, leader_count=0) for n in (2, 3, 4)),
        regions=(region(180, 1, leader_store_id=0, approximate_size_mib=0, written_bytes=10**9, down_store_ids=(1,)),),
        region_schedule_limit=0,
    )
    assert [o.code for o in found(bad)] == [
        "no_leader",
        "no_size",
        "hot_region",
        "unhealthy_peers",
        "replicas_missing",
        "no_such_region",
        "takers_slow",
        "takers_low_on_space",
        "region_scheduling_off",
        "many_snapshots",
    ]


SOME_STORES = st.lists(st.integers(1, 5), max_size=1).map(tuple)
ROLES = st.sampled_from(["Voter"] * 9 + ["Learner", "IncomingVoter", "DemotingVoter"])


@st.composite
def clusters(draw: st.DrawFn) -> Facts:
    """Mostly well: with what ails a store or a replica here and there."""
    facts = cluster()
    for store_id in draw(st.lists(st.integers(1, 5), max_size=1)):
        state = draw(st.sampled_from(["Up", "Disconnected", "Down", "Offline"]))
        silent_ms = draw(st.sampled_from([1_000, 90_000]))
        facts = with_store(facts, roomy(store_id, state=state, last_heartbeat_ms=facts.taken_at_ms - silent_ms))

    def one(region_id: int) -> RegionFacts:
        placed = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4, unique=True))
        ill = {"down_store_ids": draw(SOME_STORES), "pending_store_ids": draw(SOME_STORES)}
        ill = ill if draw(st.booleans()) else {}
        peers = tuple(PeerFacts(id=n, store_id=s, role=draw(ROLES)) for n, s in enumerate(placed, 1))
        return region(region_id, *placed, peers=peers, **ill)

    return facts.model_copy(update={"regions": (one(180), one(181))})


@given(clusters())
def test_a_region_with_a_replica_that_could_not_be_counted_on_is_never_scattered(facts: Facts) -> None:
    """By brute force, replica by replica."""
    if found(facts):
        return
    for one in facts.regions:
        voters = [p.store_id for p in one.peers if p.role == "Voter"]
        assert len(voters) >= facts.max_replicas
        for peer in one.peers:
            held_by = facts.store(peer.store_id)
            assert held_by is not None
            assert held_by.state == "Up"
            assert facts.taken_at_ms - held_by.last_heartbeat_ms <= UP_HEARTBEAT_S_MAX * 1000
            assert peer.store_id not in one.down_store_ids + one.pending_store_ids
            assert peer.role in ("Voter", "Learner")


# what is planned


def test_the_plan_is_one_call_a_region_as_it_was_seen_and_has_no_undo() -> None:
    other = calls.scatter_region(181, conf_ver=5, leader_store_id=1)
    assert SCATTER.plan(cluster()) == (Change(do=CALL), Change(do=other))
    assert SCATTER.plan(cluster(regions=(NEXT,))) == (Change(do=other),)
    assert SCATTER.snapshot(cluster()) == ""
    assert SCATTER.takes_out() == frozenset()
    assert SCATTER.title() == "Scatter regions 180, 181"
    assert parse("scatter_regions", '{"region_ids":[181,180]}') == SCATTER


def test_what_is_moved_at_the_most() -> None:
    facts = cluster(roomy(6, labels={"engine": "tiflash"}, leader_count=0))
    assert SCATTER.reach(facts) == Reach(stores=5, regions=2, leaders=2, leaders_share=0.01, bytes_moved=576 * MIB)
    assert SCATTER.reach(healthy(stores=0, regions=())).leaders_share == 1
    one = cluster(roomy(1, leader_count=1), *(roomy(n, leader_count=0) for n in range(2, 6)))
    assert SCATTER.reach(one).leaders_share == 2
    bounds = SCATTER.bounds(facts)
    grown = cluster(regions=(region(180, 1, 2, 3, approximate_size_mib=144), NEXT))
    assert exceeds(bounds, SCATTER.reach(grown)) == []
    too_much = cluster(regions=(region(180, 1, 2, 3, approximate_size_mib=145), NEXT))
    assert exceeds(bounds, SCATTER.reach(too_much)) == [f"bytes moved: {723 * MIB}, approved were at most {720 * MIB}"]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"version": 4}, "region:180.version was 3, is 4"),
        ({"conf_ver": 6}, "region:180.conf_ver was 5, is 6"),
        ({"leader_store_id": 2}, "region:180.leader was store:1, is store:2"),
    ],
)
def test_what_changes_a_region_voids_the_plan(changed: dict[str, Any], name: str) -> None:
    assert drifted(plan_of(SCATTER, cluster()), of_region(**changed), SCATTER) == [name]


def test_the_card_says_that_there_is_no_way_back() -> None:
    shown = card(plan_of(SCATTER, cluster()))
    assert shown.do_by_hand == (
        "pd-ctl operator add scatter-region 180",
        "pd-ctl operator add scatter-region 181",
    )
    assert (shown.undo, shown.undo_by_hand) == ("none: nothing is lost, and PD evens it out by itself in time", ())


# what came of it

MOVED = region(180, 1, 2, 4, conf_ver=11)
LED = region(180, 2, 1, 3)


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({}, "not_started"),  # or PD left it where it was: nothing was done, and asking again is right
        ({"regions": (MOVED,)}, "applied"),
        ({"regions": (LED,)}, "applied"),
        ({"operators": (operator(180, "scatter-region"),)}, "applied"),
        ({"operators": (operator(180, "scatter-region"),), "pd_leader_age_s": 1.0}, "applied"),
        ({"operators": (operator(181, "scatter-region"), operator(180, "balance-region"))}, "not_started"),
        ({"pd_leader_age_s": 89.9}, "cant_tell"),
        ({"pd_leader_age_s": nan}, "cant_tell"),
        ({"pd_leader_age_s": 90.0}, "not_started"),
        ({"regions": (MOVED,), "pd_leader_age_s": 89.9}, "cant_tell"),
        ({"schedulers": ()}, "cant_tell"),
        ({"regions": ()}, "cant_tell"),  # merged away, after it or without it
        ({"regions": (region(180, 1, 2, 3, conf_ver=4),)}, "cant_tell"),  # older than what was approved
        ({"regions": (region(180, 1, 2, 3, leader_store_id=0),)}, "cant_tell"),
        ({"regions": (region(180, 1, 2, 3, version=4),)}, "not_started"),
    ],
)
def test_was_it_scattered(changed: dict[str, Any], finding: str) -> None:
    assert SCATTER.probe(CALL, cluster(**changed)) == finding


@pytest.mark.parametrize(
    "call",
    [
        calls.scatter_region(182, conf_ver=5, leader_store_id=1),
        calls.split_region(180, 3),
        Call(name="scatter_region", args={"region_id": "180", "conf_ver": "5"}),
        Call(name="scatter_region", args={"region_id": "180", "leader_store_id": "1"}),
        Call(name="scatter_region", args={"region_id": "180", "conf_ver": "x", "leader_store_id": "1"}),
        Call(name="scatter_region", args={"conf_ver": "5", "leader_store_id": "1"}),
    ],
)
def test_of_another_call_nothing_can_be_told(call: Call) -> None:
    assert SCATTER.probe(call, cluster(regions=(region(180, 1, 2, 3), NEXT, region(182, 1, 2, 3)))) == "cant_tell"


def test_it_is_done_when_the_operators_have_ended_and_no_region_is_in_joint_state() -> None:
    assert SCATTER.is_done(cluster())
    assert SCATTER.is_done(cluster(operators=(operator(182, "scatter-region"), operator(180, "balance-leader"))))
    assert not SCATTER.is_done(cluster(operators=(operator(181, "scatter-region"),)))
    assert not SCATTER.is_done(with_role("DemotingVoter"))
    assert SCATTER.is_done(cluster(regions=()))


@pytest.mark.parametrize(
    ("facts", "unwell", "most_led", "most_held"),
    [
        (cluster(), 0, 2, 2),
        (of_region(2, 3, 5), 0, 1, 2),
        (of_region(3, 5), 1, 1, 1),
        (of_region(1, 2, 3, leader_store_id=0), 1, 1, 2),
        (of_region(pending_store_ids=(2,)), 1, 2, 2),
        (of_region(down_store_ids=(2,)), 1, 2, 2),
        (of_region(1, 2, 3, 4), 0, 2, 2),
        (with_role("IncomingVoter"), 1, 2, 2),
        (cluster(regions=(NEXT,)), 1, 1, 1),
        (cluster(regions=()), 2, 0, 0),
    ],
)
def test_what_it_is_watched_by(facts: Facts, unwell: float, most_led: float, most_held: float) -> None:
    own = {"unwell": unwell, "most_led": most_led, "most_held": most_held}
    assert SCATTER.figures(facts) == health(facts) | own


def test_a_region_that_changes_its_replicas_is_not_well_however_many_vote() -> None:
    peers = (*region(180, 1, 2, 3).peers, PeerFacts(id=9, store_id=5, role="IncomingVoter"))
    assert SCATTER.figures(of_region(peers=peers))["unwell"] == 1


def crowd(most_led: float, most_held: float, unwell: float = 0, **changed: float) -> Sample:
    return sample(most_led=most_led, most_held=most_held, unwell=unwell, **changed)


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        ((crowd(2, 2),) * 3, "succeeded"),
        ((crowd(1, 1),) * 3, "succeeded"),
        ((crowd(3, 3), *(crowd(1, 1),) * 3), "succeeded"),
        ((crowd(1, 1),) * 2, "unknown"),
        ((crowd(1, 1), crowd(1, 1), crowd(3, 2)), "no_better"),
        ((crowd(3, 2), crowd(1, 1), crowd(1, 1)), "no_better"),
        ((crowd(1, 1), crowd(1, 1), crowd(2, 3)), "no_better"),
        ((crowd(1, 1), crowd(1, 1), crowd(1, 1, unwell=1)), "no_better"),
        ((crowd(1, 1), crowd(1, 1), sample(unwell=0, most_led=1)), "no_better"),
        ((crowd(1, 1), crowd(1, 1), sample(unwell=0, most_held=1)), "no_better"),
        ((crowd(3, 3), crowd(3, 3), crowd(3, 3, down_peers=1)), "worse"),
    ],
)
def test_three_samples_after_it_all_are_well_and_no_more_crowded(later: tuple[Sample, ...], verdict: str) -> None:
    assert SCATTER.verify(crowd(2, 2), later) == verdict
