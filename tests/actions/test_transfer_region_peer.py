"""transfer_region_peer: what PD would take and we don't, what it plans, and what tells how far each way it has come."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import calls
from actions.action import Limits, health
from actions.card import card
from actions.drift import drifted, exceeds
from actions.preflight import objections
from actions.transfer_region_peer import TransferRegionPeer
from schemas.facts import UP_HEARTBEAT_S_MAX, Facts, OperatorFacts, PeerFacts, RegionFacts, StoreFacts
from schemas.policy import LimitsPolicy
from schemas.values import Objection, Reach, Sample
from tests.actions.clusters import LIMITS, NOW, healthy, operator, region, store, with_store
from tests.actions.test_actions import plan_of, sample

MOVE = TransferRegionPeer(region_id=180, from_store_id=3, to_store_id=4)
DO, UNDO = calls.transfer_peer(180, 3, 4), calls.transfer_peer(180, 4, 3)
GIB, MIB = 2**30, 2**20


def roomy(store_id: int, **changed: Any) -> StoreFacts:
    return store(store_id, **({"capacity_bytes": 100 * GIB, "available_bytes": 60 * GIB} | changed))


def cluster(*changed: StoreFacts, **facts: Any) -> Facts:
    """A healthy one with room, but for these stores and facts."""
    well = healthy(stores=0, **facts)
    for each in (*(roomy(n) for n in range(1, 6)), *changed):
        well = with_store(well, each)
    return well


def of_region(*store_ids: int, **changed: Any) -> Facts:
    return cluster(regions=(region(180, *(store_ids or (1, 2, 3)), **changed),))


def roles(**on: str) -> RegionFacts:
    """Region 180 led by store 1, with the role of its peer on each store: `s3="Voter"`."""
    peers = tuple(PeerFacts(id=n, store_id=int(s[1:]), role=role) for n, (s, role) in enumerate(on.items(), 1))
    return region(180, 1, peers=peers)


def found(facts: Facts, limits: Limits = LIMITS) -> list[Objection]:
    return list(objections(MOVE, facts, limits))


# why not


@pytest.mark.parametrize(
    ("code", "wait_s", "facts"),
    [
        ("no_such_region", None, cluster(regions=())),
        ("no_such_region", None, cluster(roomy(1, snapshots=16), regions=())),  # nobody is known to send anything
        ("target_is_tiflash", None, cluster(roomy(4, labels={"engine": "tiflash"}))),
        ("target_slow", None, cluster(roomy(4, slow_score=80))),
        ("target_slow", None, cluster(roomy(4, is_busy=True))),
        ("writes_too_high", 60, cluster(roomy(4, written_bytes_per_s=20_000_001.0))),
        ("writes_too_high", 60, cluster(roomy(4, written_bytes_per_s=nan))),
        ("writes_too_high", 60, of_region(written_bytes=1_200_000_001)),
        ("target_low_space", None, cluster(roomy(4, available_bytes=20 * GIB + 96 * MIB - 1))),
        ("target_low_space", None, cluster(roomy(4, available_bytes=25 * GIB + 96 * MIB - 1), low_space_ratio=0.75)),
        ("target_low_space", None, cluster(roomy(4, capacity_bytes=0))),
        ("target_low_space", None, cluster(low_space_ratio=nan)),
        ("no_voter_there", None, of_region(1, 2, 5)),
        ("no_voter_there", None, cluster(regions=(roles(s1="Voter", s2="Voter", s5="Voter", s3="Learner"),))),
        ("already_there", None, of_region(1, 2, 3, 4)),
        ("already_there", None, cluster(regions=(roles(s1="Voter", s2="Voter", s3="Voter", s4="Learner"),))),
        ("no_size", 60, of_region(approximate_size_mib=0)),
        ("too_large", None, of_region(approximate_size_mib=334)),
        ("no_leader", 60, of_region(leader_store_id=0)),
        ("no_epoch", 60, of_region(conf_ver=0)),
        ("unhealthy_peers", None, of_region(down_store_ids=(2,))),
        ("unhealthy_peers", None, of_region(pending_store_ids=(3,))),
        ("unhealthy_peers", None, cluster(troubled=(region(180, 1, 2, 3, pending_store_ids=(2,)),))),
        ("unhealthy_peers", None, of_region(1, 99, 3)),
        ("replicas_missing", None, of_region(1, 3)),
        ("region_scheduling_off", None, cluster(region_schedule_limit=0)),
        ("many_operators", 60, cluster(operators=tuple(operator(n, "balance-region") for n in range(16)))),
        ("many_snapshots", 60, cluster(roomy(4, snapshots=16))),
        ("many_snapshots", 60, cluster(roomy(1, snapshots=16))),  # the leader's
        ("operator_running", 30, cluster(operators=(operator(180, "balance-region"),))),
    ],
)
def test_why_a_replica_is_not_moved(code: str, wait_s: int | None, facts: Facts) -> None:
    until_ms = 0 if wait_s is None else NOW + wait_s * 1000
    assert [(o.code, o.kind, o.until_ms) for o in found(facts)] == [
        (code, "no" if wait_s is None else "wait", until_ms)
    ]


@pytest.mark.parametrize(
    "facts",
    [
        cluster(),
        cluster(roomy(4, slow_score=79, written_bytes_per_s=20e6, snapshots=15)),
        cluster(roomy(4, available_bytes=20 * GIB + 96 * MIB)),
        cluster(roomy(4, available_bytes=25 * GIB + 96 * MIB), low_space_ratio=0.75),
        cluster(roomy(5, snapshots=16, slow_score=100, is_busy=True, written_bytes_per_s=1e9)),  # it takes no part
        cluster(
            roomy(5, labels={"engine": "tiflash"}),
            regions=(roles(s1="Voter", s2="Voter", s3="Voter", s5="Learner"),),
        ),
        cluster(operators=tuple(operator(n, "balance-region") for n in range(15))),
        cluster(region_schedule_limit=1),
        of_region(1, 2, 3, 5),
        of_region(3, 1, 2),
        of_region(approximate_size_mib=1),
        of_region(approximate_size_mib=333),  # 1998 s for the copy, and eight steps of 200 s
        of_region(written_bytes=1_200_000_000),  # 20 MB/s over a minute
        of_region(conf_ver=1),
    ],
)  # fmt: skip
def test_a_replica_is_moved_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert found(facts) == []


@pytest.mark.parametrize("role", ["IncomingVoter", "DemotingVoter"])
def test_a_region_in_joint_state_is_waited_for(role: str) -> None:
    codes = [o.code for o in found(cluster(regions=(roles(s1="Voter", s2="Voter", s3="Voter", s5=role),)))]
    assert codes == ["joint_state"]


@pytest.mark.parametrize("state", ["Disconnected", "Down", "Offline", "Tombstone"])
def test_a_target_that_pd_would_take_and_that_is_not_up_is_refused(state: str) -> None:
    assert "target_not_up" in [o.code for o in found(cluster(roomy(4, state=state)))]


def test_a_target_that_pd_evicts_for_its_slowness_is_refused() -> None:
    assert [o.code for o in found(cluster(slow_evicting=(4,)))] == ["other_eviction", "target_slow"]


def test_each_store_that_pd_does_not_know_is_named() -> None:
    unknown = TransferRegionPeer(region_id=180, from_store_id=98, to_store_id=99)
    assert [(o.code, o.text) for o in objections(unknown, cluster(), LIMITS)] == [
        ("no_such_store", "PD knows no store 98"),
        ("no_such_store", "PD knows no store 99"),
        ("no_voter_there", "store 98 holds no voter of region 180"),
    ]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (cluster(roomy(4, slow_score=84)), "store 4 is busy or slow (slow_score 84)"),
        (cluster(roomy(4, written_bytes_per_s=21.5e6)), "store 4 takes 21.5 MB/s of writes, at most 20"),
        (of_region(written_bytes=1_290_000_000), "region 180 takes 21.5 MB/s of writes, at most 20"),
        (cluster(roomy(4, available_bytes=GIB)), "store 4 is low on space, or would be with this replica"),
        (of_region(1, 2, 3, 4), "store 4 holds a replica of region 180 already"),
        (of_region(approximate_size_mib=400), "for 400 MiB PD gives itself 4320 s, and the policy us 3600"),
        (of_region(approximate_size_mib=0), "PD does not say how large region 180 is"),
        (cluster(operators=(operator(1, "x"),) * 17), "PD is at 17 operators, at most 15"),
        (cluster(roomy(4, snapshots=20), roomy(1, snapshots=16)), "stores [1, 4] copy 16 regions or more already"),
        (cluster(region_schedule_limit=0), "region-schedule-limit is 0: somebody wants no replica to move"),
    ],
)
def test_an_objection_names_the_numbers(facts: Facts, text: str) -> None:
    assert [o.text for o in found(facts)] == [text]


@pytest.mark.parametrize(("seconds", "codes"), [(1080, []), (1079, ["too_large"])])
def test_pd_must_give_up_before_we_do(seconds: int, codes: list[str]) -> None:
    """17 min for 96 MiB, and one more where the leader moves first."""
    limits = Limits(policy=LimitsPolicy(execution_s_max=seconds), now_ms=NOW)
    assert [o.code for o in found(cluster(), limits)] == codes


def placed(*places: str, isolation_level: str = "", labels: tuple[str, ...] = ("zone", "host")) -> Facts:
    """Stores 1, 2, ... in these places, `z1/h1` each; an empty part is a label that is not set."""
    stores = []
    for n, place in enumerate(places, 1):
        named = dict(zip(labels, place.split("/"), strict=True))
        stores.append(roomy(n, labels={key: value for key, value in named.items() if value}))
    return cluster(*stores, location_labels=labels, isolation_level=isolation_level)


OTHER = "z9/h9"


@pytest.mark.parametrize(
    ("facts", "codes"),
    [
        (placed("z1/a", "z2/b", "z3/c", "z4/d", OTHER), []),
        (placed("z1/a", "z2/b", "z3/c", "z3/d", OTHER), []),
        (placed("z1/a", "z2/b", "z3/c", "z2/d", OTHER), ["less_isolated"]),
        (placed("z1/a", "z2/b", "z3/c", "z2/b", OTHER), ["less_isolated", "less_isolated"]),
        (placed("z1/a", "z2/b", "z2/c", "z2/d", OTHER), []),  # no more in one zone than before
        (placed("z1/a", "z2/b", "z2/c", "z1/d", OTHER), []),
        (placed("z1/a", "z2/b", "z2/c", "z2/b", OTHER), ["less_isolated"]),  # but on one host
        (placed("z1/a", "z2/b", "z2/c", "z3/b", OTHER), []),  # a host of the same name in another zone
        (placed("z1/a", "z1/b", "z2/c", "z1/d", OTHER), ["less_isolated"]),
        (placed("z1/a", "z1/b", "z1/c", "z1/d", OTHER), []),
        (placed("z1/a", "z1/b", "z1/c", "z1/d", OTHER, isolation_level="zone"), ["not_isolated"]),
        (placed("z1/a", "z1/b", "z1/c", "z2/d", OTHER, isolation_level="zone"), []),
        (placed("z1/a", "z1/b", "z1/c", "z1/d", OTHER, isolation_level="host"), []),
        (placed("z1/a", "z1/b", "z1/c", "z1/b", OTHER, isolation_level="host"), ["not_isolated"]),
        (placed("z1/a", "z2/b", "z3/c", "z4/", OTHER), ["location_unknown"]),
        (placed("z1/a", "/b", "z3/c", "z4/d", OTHER), ["location_unknown"]),
        (placed("z1/a", "z2/b", "z3/", "z4/d", OTHER), ["location_unknown"]),
        (placed("z1/a", "z2/b", "z3/c", "z4/d", "/"), []),  # it takes no part
    ],
)
def test_no_more_replicas_fail_together_than_before(facts: Facts, codes: list[str]) -> None:
    assert [o.code for o in found(facts)] == codes


def test_what_fails_together_is_named() -> None:
    assert [o.text for o in found(placed("z1/a", "z2/b", "z3/c", "z2/d", OTHER))] == [
        "stores [2, 4] would fail with one zone"
    ]
    assert [o.text for o in found(placed("z1/a", "z2/b", "z3/c", "z2/d", OTHER, isolation_level="zone"))] == [
        "stores [2, 4] are in one zone, the isolation level"
    ]
    assert [o.text for o in found(placed("z1/a", "z2/", "z3/c", "/d", OTHER))] == [
        "stores [2, 4] lack one of the location labels zone, host"
    ]


def test_a_learner_on_tiflash_shares_no_failure_domain() -> None:
    facts = placed("z1/a", "z2/b", "z3/c", "z4/d", "z4/d")
    facts = with_store(facts, roomy(5, labels={"engine": "tiflash", "zone": "z4"}))
    learner = (roles(s1="Voter", s2="Voter", s3="Voter", s5="Learner"),)
    assert found(facts.model_copy(update={"regions": learner})) == []


places = st.tuples(st.sampled_from("12"), st.sampled_from("ab")).map(lambda p: f"z{p[0]}/{p[1]}")
SOME_STORES = st.lists(st.integers(1, 5), max_size=1).map(tuple)


@st.composite
def clusters(draw: st.DrawFn) -> Facts:
    """Mostly well: with what ails a store or a replica here and there, in few zones."""
    level = draw(st.sampled_from(["", "zone", "host"]))
    facts = placed(*draw(st.lists(places, min_size=5, max_size=5)), isolation_level=level)
    for store_id in draw(st.lists(st.integers(1, 5), max_size=1)):
        state = draw(st.sampled_from(["Up", "Disconnected", "Down", "Offline"]))
        silent_ms = draw(st.sampled_from([1_000, 90_000]))
        old = facts.store(store_id)
        assert old is not None
        ailing = {"state": state, "last_heartbeat_ms": facts.taken_at_ms - silent_ms}
        facts = with_store(facts, old.model_copy(update=ailing))
    held = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4, unique=True))
    ill = {"down_store_ids": draw(SOME_STORES), "pending_store_ids": draw(SOME_STORES)} if draw(st.booleans()) else {}
    return facts.model_copy(update={"regions": (region(180, *draw(st.permutations(held)), **ill),)})


def lives(facts: Facts, store_id: int) -> bool:
    held_by = facts.store(store_id)
    return (
        held_by is not None
        and held_by.state == "Up"
        and facts.taken_at_ms - held_by.last_heartbeat_ms <= UP_HEARTBEAT_S_MAX * 1000
    )


def survives_the_loss_of(label: str, voters: set[int], facts: Facts) -> int:
    """By brute force: the fewest voters that are left when any one failure domain of this level is gone."""

    def place(store_id: int) -> tuple[str, ...]:
        held_by = facts.store(store_id)
        assert held_by is not None
        return tuple(held_by.labels.get(key, "") for key in facts.location_labels[: depth + 1])

    depth = facts.location_labels.index(label)
    return min(len(voters) - sum(place(v) == place(lost) for v in voters) for lost in voters)


@given(clusters())
def test_a_move_never_starts_from_or_ends_with_a_replica_that_could_not_be_counted_on(facts: Facts) -> None:
    if found(facts):
        return
    (here,) = facts.regions
    before = set(here.voter_store_ids())
    after = before - {3} | {4}
    assert len(after) == len(before) >= facts.max_replicas
    for store_id in before | after:
        assert lives(facts, store_id)
        assert store_id not in here.down_store_ids + here.pending_store_ids
    for label in facts.location_labels:
        if len(after) == 3:
            assert survives_the_loss_of(label, after, facts) >= survives_the_loss_of(label, before, facts)


def test_all_objections_are_listed() -> None:
    bad = cluster(
        roomy(4, state="Offline", slow_score=90, available_bytes=0),
        regions=(region(180, 1, 4, leader_store_id=0, approximate_size_mib=0, written_bytes=10**10),),
        region_schedule_limit=0,
    )
    assert [o.code for o in found(bad)] == [
        "store_not_up",
        "target_not_up",
        "target_slow",
        "no_leader",
        "no_size",
        "no_voter_there",
        "already_there",
        "writes_too_high",
        "unhealthy_peers",
        "replicas_missing",
        "target_low_space",
        "region_scheduling_off",
    ]


# what is planned


def test_the_undo_is_the_reverse_move() -> None:
    (change,) = MOVE.plan(healthy())
    assert (change.do, change.undo, change.keep_s) == (DO, UNDO, 0)
    assert MOVE.takes_out() == frozenset()
    assert MOVE.snapshot(healthy()) == ""


def test_where_the_leader_has_to_move_first_it_is_counted() -> None:
    leads = healthy(regions=(region(180, 3, 1, 2),))
    assert MOVE.reach(leads) == Reach(stores=3, regions=1, leaders=1, leaders_share=0.005, bytes_moved=96 * MIB)
    assert (MOVE.bounds(leads).stores_max, MOVE.bounds(leads).leaders_max) == (3, 1)
    nobody = leads.model_copy(update={"stores": ()})
    assert MOVE.reach(nobody).leaders_share == 1
    one = leads.model_copy(update={"stores": (store(1, leader_count=1),)})
    assert MOVE.reach(one.model_copy(update={"stores": (store(1, leader_count=2),)})).leaders_share == 0.5
    assert MOVE.reach(one).leaders_share == 1


def test_a_region_may_grow_by_a_quarter_until_it_is_moved() -> None:
    bounds = MOVE.bounds(healthy())
    grown = healthy(regions=(region(180, 1, 2, 3, approximate_size_mib=120),))
    assert exceeds(bounds, MOVE.reach(grown)) == []
    too_much = healthy(regions=(region(180, 1, 2, 3, approximate_size_mib=121),))
    assert exceeds(bounds, MOVE.reach(too_much)) == [f"bytes moved: {121 * MIB}, approved were at most {120 * MIB}"]
    assert MOVE.reach(healthy(regions=())) == Reach(stores=2, regions=1, leaders=0, leaders_share=0, bytes_moved=0)


@pytest.mark.parametrize(
    ("now", "name"),
    [
        (healthy(regions=(region(180, 1, 2, 3, version=4),)), "region:180.version was 3, is 4"),
        (healthy(regions=(region(180, 1, 2, 3, conf_ver=6),)), "region:180.conf_ver was 5, is 6"),
        (healthy(regions=(region(180, 3, 1, 2),)), "region:180.leader was store:1, is store:3"),
        (with_store(healthy(), store(4, state="Offline")), "store:4.state was Up, is Offline"),
        (with_store(healthy(), store(3, address="x:1")), "store:3.address was 10.0.4.3:20160, is x:1"),
        (healthy(location_labels=("zone",)), None),
        (
            with_store(healthy(location_labels=("zone",)), store(4, labels={"zone": "z2"})),
            "store:4.location was , is z2",
        ),
    ],
)
def test_what_changes_the_region_or_the_target_voids_the_plan(now: Facts, name: str | None) -> None:
    assert drifted(plan_of(MOVE, healthy()), now, MOVE) == ([name] if name else [])


def test_the_card_shows_the_way_there_and_back() -> None:
    shown = card(plan_of(MOVE, healthy()))
    assert shown.do_by_hand == ("pd-ctl operator add transfer-peer 180 3 4",)
    assert shown.undo_by_hand == ("pd-ctl operator add transfer-peer 180 4 3",)


# what came of it


def moving(source: int, target: int) -> OperatorFacts:
    return OperatorFacts(region_id=180, desc="admin-move-peer", brief=f"mv peer: store [{source}] to [{target}]")


MOVED = region(180, 1, 2, 4)
HALF = {
    "learner added": roles(s1="Voter", s2="Voter", s3="Voter", s4="Learner"),
    "joint": roles(s1="Voter", s2="Voter", s3="DemotingVoter", s4="IncomingVoter"),
    "old one left": roles(s1="Voter", s2="Voter", s3="Learner", s4="Voter"),
    "both vote": region(180, 1, 2, 3, 4),
    "only a learner": roles(s1="Voter", s2="Voter", s4="Learner"),
}


@pytest.mark.parametrize(
    ("changed", "do", "undo"),
    [
        ({}, "not_started", "applied"),
        ({"regions": (MOVED,)}, "applied", "not_started"),
        ({"regions": (region(180, 1, 2, 5),)}, "not_started", "applied"),  # moved on by somebody else
        ({"operators": (moving(3, 4),)}, "applied", "not_started"),
        ({"operators": (moving(3, 4),), "regions": (MOVED,)}, "applied", "not_started"),
        ({"operators": (moving(3, 4),), "pd_leader_age_s": 1.0}, "applied", "not_started"),
        ({"operators": (moving(4, 3),), "regions": (MOVED,)}, "under_way", "under_way"),
        ({"operators": (moving(4, 3),), "regions": ()}, "under_way", "under_way"),
        ({"operators": (moving(3, 5),)}, "under_way", "under_way"),
        ({"operators": (moving(3, 4), moving(4, 3))}, "under_way", "under_way"),
        ({"operators": (operator(180, "admin-move-peer"),)}, "under_way", "under_way"),  # other words
        ({"operators": (operator(180, "balance-region"),)}, "not_started", "applied"),
        ({"operators": (moving(3, 4).model_copy(update={"region_id": 181}),)}, "not_started", "applied"),
        ({"pd_leader_age_s": 89.9}, "cant_tell", "cant_tell"),
        ({"pd_leader_age_s": nan}, "cant_tell", "cant_tell"),
        ({"regions": (MOVED,), "pd_leader_age_s": 89.9}, "cant_tell", "cant_tell"),
        ({"regions": (MOVED,), "pd_leader_age_s": 90.0}, "applied", "not_started"),
        ({"schedulers": ()}, "cant_tell", "cant_tell"),
        ({"regions": ()}, "not_started", "applied"),  # merged away: nothing is left to do or to undo
        ({"regions": (), "pd_leader_age_s": 89.9}, "cant_tell", "cant_tell"),
        ({"regions": (region(180, 1, 2, 3, leader_store_id=0),)}, "cant_tell", "cant_tell"),
        *(({"regions": (half,)}, "applied", "under_way") for half in HALF.values()),
    ],
)  # fmt: skip
def test_how_far_there_and_how_far_back(changed: dict[str, Any], do: str, undo: str) -> None:
    facts = healthy(**changed)
    assert (MOVE.probe(DO, facts), MOVE.probe(UNDO, facts)) == (do, undo)


@pytest.mark.parametrize(
    "call",
    [calls.transfer_peer(181, 3, 4), calls.transfer_peer(180, 3, 5), calls.transfer_peer(180, 2, 4),
     calls.transfer_leader(180, 4)],
)  # fmt: skip
def test_of_another_call_nothing_can_be_told(call: Any) -> None:
    assert MOVE.probe(call, healthy()) == "cant_tell"


def test_it_is_done_when_its_operator_has_ended_and_nothing_is_half_done() -> None:
    assert MOVE.is_done(healthy())
    assert MOVE.is_done(healthy(regions=(MOVED,)))
    assert MOVE.is_done(healthy(regions=()))
    assert MOVE.is_done(healthy(operators=(operator(180, "admin-transfer-leader"), operator(181, "admin-move-peer"))))
    assert not MOVE.is_done(healthy(operators=(moving(3, 4),)))
    assert not MOVE.is_done(healthy(operators=(operator(180, "admin-move-peer"),)))


@pytest.mark.parametrize("half", HALF.values(), ids=[*HALF])
def test_what_is_half_done_is_neither_done_nor_moved(half: RegionFacts) -> None:
    facts = healthy(regions=(half,))
    assert not MOVE.is_done(facts)
    assert MOVE.figures(facts)["moved"] == 0


@pytest.mark.parametrize(
    ("now", "moved"),
    [
        (MOVED, 1),
        (region(180, 1, 2, 3), 0),
        (region(180, 1, 2, 5), 0),
        (region(180, 1, 2, 4, pending_store_ids=(4,)), 0),
        (region(180, 1, 2, 4, down_store_ids=(4,)), 0),
        (region(180, 1, 2, 4, pending_store_ids=(2,)), 1),
        (roles(s1="Voter", s2="DemotingVoter", s4="Voter", s5="IncomingVoter"), 0),
    ],
)
def test_what_a_move_is_watched_by(now: RegionFacts, moved: float) -> None:
    facts = healthy(regions=(now,))
    assert MOVE.figures(facts) == health(facts) | {"moved": moved, "target_low_space": 0}


def test_of_what_is_not_there_there_are_no_figures() -> None:
    assert MOVE.figures(healthy(regions=())) == health(healthy()) | {"target_low_space": 0}
    assert MOVE.figures(healthy(stores=3)) == health(healthy(stores=3)) | {"moved": 0}
    assert MOVE.figures(with_store(healthy(), store(4, available_bytes=199)))["target_low_space"] == 1


def test_a_target_that_gets_low_on_space_stops_it() -> None:
    before, low = sample(target_low_space=0), sample(target_low_space=1)
    assert MOVE.abort_if(before, low) == ("target_low_space", "store 4 is low on space now")
    assert MOVE.abort_if(low, low) is MOVE.abort_if(low, before) is MOVE.abort_if(before, sample()) is None
    assert MOVE.abort_if(before, sample(target_low_space=1, down_peers=1)) == ("more_down_peers", "down peers 0 -> 1")


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        ((sample(moved=1),) * 3, "succeeded"),
        ((sample(moved=0), *(sample(moved=1),) * 3), "succeeded"),
        ((sample(moved=1),) * 2, "unknown"),
        ((sample(moved=1), sample(moved=1), sample(moved=0)), "no_better"),  # PD has moved it back
        ((sample(moved=2),) * 3, "no_better"),
        ((sample(moved=1), sample(moved=1), sample(moved=1, target_low_space=1)), "worse"),
    ],
)
def test_three_samples_after_it_the_replica_is_there_and_follows(later: tuple[Sample, ...], verdict: str) -> None:
    assert MOVE.verify(sample(moved=0, target_low_space=0), later) == verdict
