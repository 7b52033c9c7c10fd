"""split_region: why not, what it plans, what tells that it was done, and that no ill replica is ever split."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import calls
from actions.action import health
from actions.card import card, describe
from actions.catalogue import BadParameters, parse
from actions.drift import drifted
from actions.preflight import objections
from actions.split_region import SplitRegion
from schemas.facts import UP_HEARTBEAT_S_MAX, Facts, PeerFacts, RegionFacts
from schemas.values import Call, Objection, Sample
from tests.actions.clusters import LIMITS, NOW, healthy, operator, region, store, with_store
from tests.actions.test_actions import plan_of, sample

SPLIT = SplitRegion(region_id=180)
CALL = calls.split_region(180, 3)
BEFORE = sample(version=3, led=1)


def found(facts: Facts) -> list[Objection]:
    return list(objections(SPLIT, facts, LIMITS))


def of_region(**changed: Any) -> Facts:
    return healthy(regions=(region(180, 1, 2, 3, **changed),))


def with_role(role: str) -> Facts:
    here = region(180, 1, 2, 3)
    return of_region(peers=(*here.peers[:2], here.peers[2].model_copy(update={"role": role})))


@pytest.mark.parametrize("params", ["{}", '{"region_id":0}', '{"region_id":"7"}', '{"region_id":7,"keys":["7480"]}'])
def test_only_a_region_is_given(params: str) -> None:
    """Neither policy nor keys: those are left out on purpose."""
    with pytest.raises(BadParameters):
        parse("split_region", params)


# why not


@pytest.mark.parametrize(
    ("code", "wait_s", "facts"),
    [
        ("no_such_region", None, healthy(regions=())),
        ("splits_off", None, healthy(tikv_may_split=False)),
        ("joint_state", 60, with_role("DemotingVoter")),
        ("joint_state", 60, with_role("IncomingVoter")),
        ("no_leader", 60, of_region(leader_store_id=0)),
        ("no_epoch", 60, of_region(version=0)),
        ("too_small", None, of_region(approximate_size_mib=15)),
        ("too_small", None, of_region(approximate_size_mib=0)),
        ("merged_again", None, healthy(split_merge_interval_s=599.0)),
        ("merged_again", None, healthy(split_merge_interval_s=nan)),
        ("writes_too_high", 60, of_region(written_bytes=1_200_000_001)),
        ("unhealthy_peers", None, of_region(down_store_ids=(3,))),
        ("unhealthy_peers", None, of_region(pending_store_ids=(2,))),
        ("unhealthy_peers", None, healthy(troubled=(region(180, 1, 2, 3, pending_store_ids=(2,)),))),
        ("unhealthy_peers", None, healthy(regions=(region(180, 1, 2, 99),))),
        ("replicas_missing", None, healthy(regions=(region(180, 1, 2),))),
        ("replicas_missing", None, healthy(troubled=(region(180, 1, 2),))),
        ("replicas_missing", None, with_role("Learner")),
        ("operator_running", 30, healthy(operators=(operator(180, "balance-region"),))),
    ],
)
def test_why_a_region_is_not_split(code: str, wait_s: int | None, facts: Facts) -> None:
    until_ms = 0 if wait_s is None else NOW + wait_s * 1000
    assert [(o.code, o.kind, o.until_ms) for o in found(facts)] == [
        (code, "no" if wait_s is None else "wait", until_ms)
    ]


@pytest.mark.parametrize(
    "facts",
    [
        of_region(approximate_size_mib=16),
        of_region(written_bytes=1_200_000_000),  # 20 MB/s over a minute
        of_region(version=1),
        healthy(split_merge_interval_s=600.0),
        healthy(split_merge_interval_s=1.0, merge_schedule_limit=0),
        of_region(approximate_size_mib=110).model_copy(update={"split_merge_interval_s": 1.0}),  # halves of 55 MiB
        healthy(troubled=(region(181, 1, 2, 3, pending_store_ids=(2,)),)),
        healthy(operators=(operator(181, "balance-region"),)),
        healthy(regions=(region(180, 1, 2, 3, 4),)),
    ],
)
def test_a_region_is_split_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert found(facts) == []


def test_halves_just_as_large_as_pd_merges_are_merged_again() -> None:
    facts = of_region(approximate_size_mib=108).model_copy(
        update={"split_merge_interval_s": 60.0, "merge_schedule_limit": 1}
    )
    assert [o.text for o in found(facts)] == [
        "PD would merge halves of 54 MiB again after 60 s (split-merge-interval), at least 600"
    ]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (of_region(approximate_size_mib=3), "region 180 holds about 3 MiB, at least 16"),
        (of_region(written_bytes=1_290_000_000), "region 180 takes 21.5 MB/s of writes, at most 20"),
        (of_region(leader_store_id=0), "PD knows no leader of region 180"),
        (of_region(version=0), "PD does not say which version region 180 has"),
        (with_role("DemotingVoter"), "region 180 changes its replicas"),
        (
            of_region(pending_store_ids=(3,), down_store_ids=(2,)),
            "region 180 has down, lagging or lost replicas on stores [2, 3]",
        ),
        (healthy(regions=(region(180, 1, 2),)), "region 180 has 2 voters of 3"),
        (healthy(regions=()), "PD knows no region 180"),
        (healthy(tikv_may_split=False), "PD lets TiKV split nothing (enable-tikv-split-region)"),
    ],
)
def test_an_objection_names_the_numbers(facts: Facts, text: str) -> None:
    assert [o.text for o in found(facts)] == [text]


def test_all_objections_are_listed() -> None:
    bad = of_region(leader_store_id=0, approximate_size_mib=1, down_store_ids=(3,), written_bytes=10**10)
    assert [o.code for o in found(bad.model_copy(update={"tikv_may_split": False, "split_merge_interval_s": 0.0}))] == [
        "no_leader",
        "too_small",
        "merged_again",
        "writes_too_high",
        "unhealthy_peers",
        "splits_off",
    ]


ROLES = st.sampled_from(["Voter", "Voter", "Voter", "Voter", "Learner", "IncomingVoter", "DemotingVoter"])
SOME_STORES = st.lists(st.integers(1, 5), max_size=2, unique=True).map(tuple)


@st.composite
def clusters(draw: st.DrawFn) -> Facts:
    """Mostly well: with what ails a store or a replica here and there."""
    facts = healthy()
    for store_id in draw(st.lists(st.integers(1, 5), max_size=1)):
        state = draw(st.sampled_from(["Up", "Disconnected", "Down", "Offline", "Tombstone"]))
        silent_ms = draw(st.sampled_from([1_000, 19_000, 90_000]))
        facts = with_store(facts, store(store_id, state=state, last_heartbeat_ms=facts.taken_at_ms - silent_ms))

    def one() -> RegionFacts:
        placed = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4, unique=True))
        ailing = {"down_store_ids": draw(SOME_STORES), "pending_store_ids": draw(SOME_STORES)}
        ailing = ailing if draw(st.booleans()) else {}
        peers = tuple(PeerFacts(id=n, store_id=s, role=draw(ROLES)) for n, s in enumerate(placed, 1))
        return region(180, *placed, peers=peers, **ailing)

    troubled = (one(),) if draw(st.booleans()) else ()
    return facts.model_copy(update={"regions": (one(),), "troubled": troubled})


def is_ill(region: RegionFacts, facts: Facts) -> bool:
    """By brute force, replica by replica: is there one that could not be counted on in the moment of the split?"""
    for peer in region.peers:
        held_by = facts.store(peer.store_id)
        if held_by is None or held_by.state != "Up":
            return True
        if facts.taken_at_ms - held_by.last_heartbeat_ms > UP_HEARTBEAT_S_MAX * 1000:
            return True
        if peer.store_id in region.down_store_ids or peer.store_id in region.pending_store_ids:
            return True
        if peer.role not in ("Voter", "Learner"):
            return True
    return sum(p.role == "Voter" for p in region.peers) < facts.max_replicas


@given(clusters())
def test_a_region_with_an_ill_replica_is_never_split(facts: Facts) -> None:
    if any(is_ill(r, facts) for r in (*facts.regions, *facts.troubled)):
        assert found(facts)


def test_a_region_that_one_of_two_reads_shows_joint_is_waited_for() -> None:
    was = healthy().regions[0]
    peers = (*was.peers, PeerFacts(id=4, store_id=4, role="IncomingVoter"))
    for region_, other in (
        (was, was.model_copy(update={"peers": peers})),
        (was.model_copy(update={"peers": peers}), was),
    ):
        facts = healthy().model_copy(update={"regions": (region_,), "troubled": (other,)})
        assert "joint_state" in {o.code for o in objections(SPLIT, facts, LIMITS)}


def test_a_region_that_is_well_is_split() -> None:
    """Else the property above says nothing."""
    assert not is_ill(healthy().regions[0], healthy())
    assert found(healthy()) == []


# what is planned


def test_the_plan_is_one_call_for_the_version_that_was_seen_and_has_no_undo() -> None:
    (change,) = SPLIT.plan(healthy())
    assert (change.do, change.undo, change.keep_s) == (CALL, None, 0)
    assert SPLIT.plan(healthy(regions=())) == ()
    assert SPLIT.snapshot(healthy()) == ""
    assert SPLIT.takes_out() == frozenset()


def test_only_the_stores_that_hold_it_are_touched() -> None:
    five = healthy(regions=(region(180, 1, 2, 3, 4, 5),))
    assert (SPLIT.reach(five).stores, SPLIT.bounds(five).stores_max) == (5, 5)
    assert SPLIT.reach(five).bytes_moved == SPLIT.bounds(five).bytes_moved_max == 0
    assert (SPLIT.reach(healthy(regions=())).stores, SPLIT.bounds(healthy(regions=())).stores_max) == (0, 0)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"version": 4}, "region:180.version was 3, is 4"),
        ({"conf_ver": 6}, "region:180.conf_ver was 5, is 6"),
        ({"leader_store_id": 2}, "region:180.leader was store:1, is store:2"),
    ],
)
def test_what_changes_the_region_voids_the_plan(changed: dict[str, Any], name: str) -> None:
    assert drifted(plan_of(SPLIT, healthy()), of_region(**changed), SPLIT) == [name]


def test_the_card_says_that_there_is_no_way_back() -> None:
    shown = card(plan_of(SPLIT, healthy()))
    assert shown.calls == (
        'POST /pd/api/v1/operators {"name":"split-region","policy":"approximate","region_id":180} (no undo)',
    )
    assert shown.do_by_hand == ("pd-ctl operator add split-region 180 --policy=approximate",)
    assert (shown.undo, shown.undo_by_hand) == ("none: nothing is lost, and PD evens it out by itself in time", ())
    assert shown.clients == "one retry on this one region, some 5 to 50 ms"
    assert "Undo      none: nothing is lost" in describe(SplitRegion)


# what came of it


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({}, "not_started"),
        ({"regions": (region(180, 1, 2, 3, version=4),)}, "applied"),
        ({"regions": (region(180, 1, 2, 3, version=7),)}, "applied"),
        ({"regions": (region(180, 1, 2, 3, version=4),), "pd_leader_age_s": 1.0}, "applied"),
        (
            {"regions": (region(180, 1, 2, 3, version=4),), "operators": (operator(180, "admin-split-region"),)},
            "applied",
        ),
        ({"operators": (operator(180, "admin-split-region"),)}, "under_way"),
        ({"operators": (operator(180, "admin-split-region"),), "pd_leader_age_s": 1.0}, "under_way"),
        ({"operators": (operator(181, "admin-split-region"), operator(180, "balance-region"))}, "not_started"),
        ({"pd_leader_age_s": 89.9}, "cant_tell"),  # the region's own heartbeat may have been lost with the leader
        ({"pd_leader_age_s": 90.0}, "not_started"),
        ({"pd_leader_age_s": nan}, "cant_tell"),
        ({"schedulers": ()}, "cant_tell"),
        ({"regions": ()}, "cant_tell"),  # merged away, after a split or without one
        ({"regions": (region(180, 1, 2, 3, version=2),)}, "cant_tell"),  # older than what was approved
        ({"regions": (region(180, 1, 2, 3, leader_store_id=0),)}, "cant_tell"),  # as PD reads it back from disk
    ],
)
def test_was_it_split(changed: dict[str, Any], finding: str) -> None:
    assert SPLIT.probe(CALL, healthy(**changed)) == finding


@pytest.mark.parametrize(
    "call",
    [
        calls.split_region(181, 3),
        calls.transfer_leader(180, 3),
        Call(name="split_region", args={"region_id": "180"}),
        Call(name="split_region", args={"region_id": "180", "version": "x"}),
        Call(name="split_region", args={"version": "3"}),
    ],
)
def test_of_another_call_nothing_can_be_told(call: Call) -> None:
    assert SPLIT.probe(call, healthy()) == "cant_tell"


def test_once_split_it_is_never_sent_again() -> None:
    """A second split would part a half: whatever PD says of operators and leaders, a raised version ends it."""
    changes: list[Callable[[Facts], Facts]] = [
        lambda f: f,
        lambda f: f.model_copy(update={"operators": ()}),
        lambda f: f.model_copy(update={"pd_leader_age_s": 5.0}),
        lambda f: f.model_copy(update={"schedulers": ()}),
    ]
    split = of_region(version=4, leader_store_id=0)
    assert {SPLIT.probe(CALL, change(split)) for change in changes} == {"applied"}


def test_it_is_done_when_its_operator_has_ended() -> None:
    assert SPLIT.is_done(healthy())
    assert SPLIT.is_done(healthy(pd_leader_age_s=90.0))
    assert not SPLIT.is_done(healthy(pd_leader_age_s=89.9))  # it shows the region as it was before
    assert not SPLIT.is_done(healthy(operators=(operator(180, "admin-split-region"),)))
    assert SPLIT.is_done(
        healthy(operators=(operator(181, "admin-split-region"), operator(180, "admin-transfer-leader")))
    )


def test_what_a_split_is_watched_by() -> None:
    own = {"regions": 200, "version": 3, "led": 1, "size_mib": 96}
    assert SPLIT.figures(healthy()) == health(healthy()) | own
    assert SPLIT.figures(of_region(leader_store_id=0))["led"] == 0
    assert SPLIT.figures(healthy(regions=())) == health(healthy()) | {"regions": 200}


GOOD = sample(version=4, led=1)


@pytest.mark.parametrize(
    ("before", "later", "verdict"),
    [
        (BEFORE, (GOOD,) * 3, "succeeded"),
        (BEFORE, (BEFORE, GOOD, GOOD, GOOD), "succeeded"),
        (BEFORE, (GOOD,) * 2, "unknown"),
        (BEFORE, (BEFORE,) * 3, "no_better"),
        (BEFORE, (GOOD, GOOD, BEFORE), "no_better"),
        (BEFORE, (GOOD, GOOD, sample(version=4, led=0)), "no_better"),
        (BEFORE, (GOOD, GOOD, sample(led=1)), "no_better"),
        (BEFORE, (GOOD, GOOD, sample(version=4)), "no_better"),
        (sample(), (GOOD,) * 3, "no_better"),
        (BEFORE, (GOOD, GOOD, sample(version=4, led=1, down_peers=1)), "worse"),
        (BEFORE, (sample(version=3, led=1, stores_up=4), BEFORE, BEFORE), "worse"),
    ],
)
def test_three_samples_after_it_the_version_is_raised_and_the_region_is_led(
    before: Sample, later: tuple[Sample, ...], verdict: str
) -> None:
    assert SPLIT.verify(before, later) == verdict
