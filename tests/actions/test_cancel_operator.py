"""cancel_operator: whose operators are cancelled, and which never; why not; and what tells that it was that one."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import calls
from actions.action import health
from actions.cancel_operator import BALANCING, CancelOperator
from actions.card import card, describe
from actions.drift import drifted
from actions.preflight import objections
from schemas.facts import Facts, Look, PeerFacts
from schemas.values import Call, Objection, Sample
from tests.actions.clusters import LIMITS, NOW, balancing, healthy, newest, operator, region, store, with_store
from tests.actions.test_actions import plan_of, sample

MADE_NS = 1_799_999_900_123_456_789
CANCEL = CancelOperator(region_id=180, operator="balance-region-scheduler")
CALL = calls.cancel_operator(180, MADE_NS)
BEFORE = sample(running=1, created_s=7.0, cancelled=0)


def found(facts: Facts, action: CancelOperator = CANCEL) -> list[Objection]:
    return list(objections(action, facts, LIMITS))


def named(name: str) -> tuple[CancelOperator, Facts]:
    """An operator of this name runs, and is to be cancelled."""
    return CancelOperator(region_id=180, operator=name), balancing(newest_operators=(newest(desc=name),))


def of_region(**changed: Any) -> Facts:
    return balancing(regions=(region(180, 1, 2, 3, **changed),))


def doing(brief: str, **changed: Any) -> Facts:
    return balancing(newest_operators=(newest(brief=brief),), **changed)


# whose it is


@pytest.mark.parametrize("name", sorted(BALANCING))
def test_what_balances_is_cancelled(name: str) -> None:
    action, facts = named(name)
    assert found(facts, action) == []


@pytest.mark.parametrize(
    ("code", "kind", "names"),
    [
        (
            "made_by_hand",
            "never",
            ["admin-transfer-leader", "admin-move-peer", "admin-split-region", "admin-merge-region", "scatter-region",
             "split-scatter-region", "region-splitter"],
        ),
        (
            "mends_replicas",
            "never",
            ["replace-rule-down-peer", "replace-rule-offline-peer", "replace-rule-down-leader-peer",
             "replace-down-peer-with-orphan-peer", "replace-offline-replica", "add-rule-peer", "make-up-replica",
             "remove-orphan-peer", "remove-extra-replica", "fix-peer-role", "fix-demote-voter", "promote-learner",
             "promote-witness-for-down", "move-to-better-location", "leave-joint-state"],
        ),
        (
            "drains_a_store",
            "never",
            ["evict-leader", "evict-leader-scheduler", "evict-slow-store-scheduler", "evict-slow-trend",
             "grant-leader-scheduler", "grant-hot-region-leader", "label-reject-leader"],
        ),
        (
            "unknown_maker",
            "no",
            ["merge-region", "split-hot-read-region", "balance-witness-scheduler", "scatter-range-leader-t",
             "balance", "balance-region-scheduler-2", "shuffle-leader", "affinity-move-region", "administer", "x"],
        ),
    ],
)  # fmt: skip
def test_what_others_have_made_is_not(code: str, kind: str, names: list[str]) -> None:
    for name in names:
        action, facts = named(name)
        assert [(o.code, o.kind) for o in found(facts, action)] == [(code, kind)], name


@given(st.from_regex(r"[a-z][a-z0-9-]{0,63}", fullmatch=True))
def test_no_name_but_those_of_balancing_is_ever_cancelled(name: str) -> None:
    action, facts = named(name)
    assert bool(found(facts, action)) == (name not in BALANCING)


# why not


@pytest.mark.parametrize(
    ("code", "wait_s", "facts"),
    [
        ("no_such_region", None, balancing(regions=())),
        ("no_such_operator", None, balancing(newest_operators=())),
        ("no_such_operator", None, balancing(newest_operators=(newest(181),))),
        ("no_such_operator", None, balancing(newest_operators=(newest(status="SUCCESS"),))),
        ("no_such_operator", None, balancing(newest_operators=(newest(desc="balance-leader-scheduler"),))),
        ("no_leader", 60, of_region(leader_store_id=0)),
        ("no_leader", 60, balancing(troubled=(region(180, 1, 2, 3, leader_store_id=0),))),
        ("unhealthy_peers", None, of_region(down_store_ids=(3,))),
        ("unhealthy_peers", None, of_region(pending_store_ids=(2,))),
        ("unhealthy_peers", None, balancing(troubled=(region(180, 1, 2, 3, pending_store_ids=(2,)),))),
        ("unhealthy_peers", None, balancing(regions=(region(180, 1, 2, 99),))),
        ("replicas_missing", None, balancing(regions=(region(180, 1, 2),))),
        ("replicas_missing", None, balancing(troubled=(region(180, 1, 2),))),
        ("purpose_unknown", None, doing("")),
        ("purpose_unknown", None, doing("mv peer: store [1 2] to [4 5]")),
        ("purpose_unknown", None, doing("rm peer: store [2]")),
        ("purpose_unknown", None, doing("mv light peer: store [2] to [4]")),
        ("purpose_unknown", None, doing("mv peer: store [2] to [4], and more")),
        ("already_moved", None, doing("mv peer: store [5] to [3]")),
        ("already_moved", None, doing("transfer leader: store 2 to 1")),
        ("relieves_slow_store", None, with_store(balancing(), store(2, slow_score=80))),
        ("relieves_slow_store", None, with_store(balancing(), store(2, is_busy=True))),
        ("relieves_slow_store", None, doing("transfer leader: store 9 to 2")),
        ("relieves_full_store", None, with_store(balancing(), store(2, available_bytes=199))),
    ],
)
def test_why_an_operator_is_not_cancelled(code: str, wait_s: int | None, facts: Facts) -> None:
    until_ms = 0 if wait_s is None else NOW + wait_s * 1000
    assert [(o.code, o.kind, o.until_ms) for o in found(facts)] == [
        (code, "no" if wait_s is None else "wait", until_ms)
    ]


def with_role(role: str) -> Facts:
    here = region(180, 1, 2, 3)
    return balancing(regions=(here.model_copy(update={"peers": (*here.peers, peer(4, role))}),))


def peer(store_id: int, role: str) -> PeerFacts:
    return PeerFacts(id=1800 + store_id, store_id=store_id, role=role)


@pytest.mark.parametrize("role", ["IncomingVoter", "DemotingVoter"])
def test_in_a_joint_state_nothing_is_cancelled(role: str) -> None:
    for facts in (with_role(role), balancing(troubled=with_role(role).regions)):
        assert [(o.code, o.kind, o.until_ms) for o in found(facts)] == [("joint_state", "wait", NOW + 60_000)]


@pytest.mark.parametrize(
    "facts",
    [
        with_role("Learner"),
        with_role("Learner").model_copy(
            update={"regions": (with_role("Learner").regions[0].model_copy(update={"pending_store_ids": (4,)}),)}
        ),  # the copy that is under way
        with_store(balancing(), store(2, slow_score=79)),
        with_store(balancing(), store(2, available_bytes=200)),
        with_store(balancing(), store(4, slow_score=100, is_busy=True, available_bytes=1)),  # where it goes to
        doing("transfer leader: store 1 to 2"),
        balancing(troubled=(region(181, 1, 2, pending_store_ids=(2,)),)),
        balancing(operators=(operator(181, "admin-move-peer"),)),
        balancing(newest_operators=(newest(181, desc="admin-move-peer"), newest())),
    ],
)
def test_an_operator_is_cancelled_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert found(facts) == []


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (balancing(newest_operators=()), "no balance-region-scheduler runs on region 180"),
        (
            balancing(newest_operators=(newest(desc="admin-move-peer"),)),
            "no balance-region-scheduler runs on region 180; its newest one is admin-move-peer RUNNING",
        ),
        (balancing(regions=()), "PD knows no region 180"),
        (of_region(leader_store_id=0), "PD knows no leader of region 180"),
        (with_role("DemotingVoter"), "region 180 changes its replicas"),
        (
            of_region(pending_store_ids=(3,), down_store_ids=(2,)),
            "region 180 has down, lagging or lost replicas on stores [2, 3]",
        ),
        (balancing(regions=(region(180, 1, 2),)), "region 180 has 2 voters of 3"),
        (doing("mv peer: store [5] to [3]"), "region 180 has moved from store 5 to 3 already"),
        (doing("x" * 300), f"it can't be told what the operator does: '{'x' * 100}'"),
        (
            with_store(balancing(), store(2, is_busy=True)),
            "it takes load off store 2, which is busy, slow or not known",
        ),
        (with_store(balancing(), store(2, available_bytes=0)), "it takes data off store 2, which is low on space"),
    ],
)
def test_an_objection_names_the_numbers(facts: Facts, text: str) -> None:
    assert [o.text for o in found(facts)] == [text]


def test_a_refusal_for_whose_it_is_says_why() -> None:
    for name, text in (
        ("admin-move-peer", "admin-move-peer is made by a person or a tool, and only they cancel it"),
        ("add-rule-peer", "add-rule-peer mends a region: without it data stays less safe for longer"),
        ("evict-leader", "evict-leader keeps leaders where they are wanted: end that, not its moves"),
        ("merge-region", "merge-region is none of those that PD's balancing makes"),
    ):
        action, facts = named(name)
        assert [o.text for o in found(facts, action)] == [text]


def test_all_objections_are_listed() -> None:
    bad = balancing(
        regions=(region(180, 1, 2, leader_store_id=0, down_store_ids=(1,)),),
        newest_operators=(newest(desc="admin-move-peer", brief="?"),),
    )
    assert [o.code for o in found(bad, CancelOperator(region_id=180, operator="admin-move-peer"))] == [
        "made_by_hand",
        "no_leader",
        "unhealthy_peers",
        "replicas_missing",
        "purpose_unknown",
    ]


ROLES = st.sampled_from(["Voter", "Voter", "Voter", "Learner", "IncomingVoter", "DemotingVoter"])


@st.composite
def placed(draw: st.DrawFn) -> Facts:
    stores = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4, unique=True))
    peers = tuple(peer(s, draw(ROLES)) for s in stores)
    ailing = st.lists(st.sampled_from(stores), max_size=1).map(tuple)
    changed = {"peers": peers, "down_store_ids": draw(ailing), "pending_store_ids": draw(ailing)}
    facts = doing(draw(st.sampled_from([f"mv peer: store [{stores[0]}] to [5]", "transfer leader: store 1 to 2"])))
    return facts.model_copy(update={"regions": (region(180, *stores, **changed),)})


@given(placed())
def test_a_region_that_lacks_a_voter_or_has_an_ill_one_is_left_alone(facts: Facts) -> None:
    """By brute force: without the operator at least max_replicas healthy voters are there."""
    (here,) = facts.regions
    ill = {*here.down_store_ids, *here.pending_store_ids}
    healthy_voters = [p for p in here.peers if p.role == "Voter" and p.store_id not in ill and p.store_id <= 5]
    if len(healthy_voters) < facts.max_replicas or any(p.role.endswith("ingVoter") for p in here.peers):
        assert found(facts)


# what is planned


def test_the_plan_is_one_call_for_the_operator_that_was_seen_and_has_no_undo() -> None:
    (change,) = CANCEL.plan(balancing())
    assert (change.do, change.undo, change.keep_s) == (CALL, None, 0)
    for other in ((), (newest(status="CANCEL"),), (newest(desc="admin-move-peer"),)):
        assert CANCEL.plan(balancing(newest_operators=other)) == ()
    assert CANCEL.look() == Look(region_ids=(180,), operators_of=(180,))
    assert CANCEL.takes_out() == frozenset()
    assert (CANCEL.reach(healthy(regions=())).stores, CANCEL.bounds(healthy(regions=())).stores_max) == (0, 1)


@pytest.mark.parametrize(
    ("changed", "moved"),
    [
        (
            {"created_ns": MADE_NS + 1},
            [f"region:180.operator.created_ns was {MADE_NS}, is {MADE_NS + 1}"],
        ),
        (
            {"brief": "mv peer: store [3] to [4]"},
            ["region:180.operator was balance-region-scheduler mv peer: store [2] to [4], "
             "is balance-region-scheduler mv peer: store [3] to [4]"],
        ),
        (
            {"status": "SUCCESS"},
            ["region:180.operator was balance-region-scheduler mv peer: store [2] to [4], is unknown",
             f"region:180.operator.created_ns was {MADE_NS}, is unknown"],
        ),
    ],
)  # fmt: skip
def test_a_newer_operator_of_the_region_is_never_cancelled_in_place_of_the_one_that_was_seen(
    changed: dict[str, Any], moved: list[str]
) -> None:
    now = balancing(newest_operators=(newest(**changed),))
    assert drifted(plan_of(CANCEL, balancing()), now, CANCEL) == moved


def test_the_card_says_that_there_is_no_way_back() -> None:
    shown = card(plan_of(CANCEL, balancing()))
    assert shown.calls == ("DELETE /pd/api/v1/operators/180 (no undo)",)
    assert shown.do_by_hand == ("pd-ctl operator remove 180",)
    assert (shown.undo, shown.undo_by_hand) == ("none: nothing is lost, and PD evens it out by itself in time", ())
    assert shown.clients.startswith("nothing, 0 ms")
    assert "pd-ctl operator check REGION" in describe(CancelOperator)


# what came of it


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({}, "not_started"),
        ({"pd_leader_age_s": 1.0}, "not_started"),  # presence is believed
        ({"newest_operators": (newest(status="CANCEL"),)}, "applied"),
        ({"newest_operators": (newest(status="CANCEL"),), "pd_leader_age_s": 1.0}, "applied"),
        ({"newest_operators": (newest(status="SUCCESS"),)}, "not_started"),
        ({"newest_operators": (newest(status="TIMEOUT"),)}, "not_started"),
        ({"newest_operators": (newest(status="REPLACE"),)}, "not_started"),
        ({"newest_operators": (newest(created_ns=MADE_NS + 1),)}, "applied"),
        ({"newest_operators": (newest(created_ns=MADE_NS + 1, desc="admin-move-peer"),)}, "applied"),
        ({"newest_operators": (newest(created_ns=MADE_NS + 1, status="CANCEL"),)}, "cant_tell"),  # by whom?
        ({"newest_operators": (newest(created_ns=MADE_NS - 1),)}, "cant_tell"),
        ({"newest_operators": (newest(created_ns=MADE_NS - 1, status="CANCEL"),)}, "cant_tell"),
        ({"newest_operators": ()}, "applied"),
        ({"newest_operators": (newest(181),)}, "applied"),
        ({"newest_operators": (), "pd_leader_age_s": 59.9}, "cant_tell"),
        ({"newest_operators": (), "pd_leader_age_s": nan}, "cant_tell"),
        ({"newest_operators": (), "schedulers": ()}, "cant_tell"),
    ],
)
def test_was_it_cancelled(changed: dict[str, Any], finding: str) -> None:
    assert CANCEL.probe(CALL, balancing(**changed)) == finding


@pytest.mark.parametrize(
    "call",
    [
        calls.cancel_operator(181, MADE_NS),
        calls.split_region(180, 3),
        Call(name="split_region", args=CALL.args),
        Call(name="cancel_operator", args={"region_id": "180"}),
        Call(name="cancel_operator", args={"region_id": "180", "created_ns": "x"}),
        Call(name="cancel_operator", args={"created_ns": str(MADE_NS)}),
    ],
)
def test_of_another_call_nothing_can_be_told(call: Call) -> None:
    for facts in (balancing(), balancing(newest_operators=(newest(status="CANCEL"),)), healthy()):
        assert CANCEL.probe(call, facts) == "cant_tell"


def test_it_is_done_when_the_region_is_in_no_joint_state() -> None:
    """Also where PD has made the same again: that is no better, and waiting makes it none."""
    assert CANCEL.is_done(balancing())
    assert CANCEL.is_done(balancing(newest_operators=()))
    assert not CANCEL.is_done(with_role("DemotingVoter"))
    assert not CANCEL.is_done(with_role("IncomingVoter").model_copy(update={"newest_operators": ()}))
    assert CANCEL.is_done(healthy(regions=()))


def test_what_it_is_judged_by() -> None:
    made_s = {"created_s": MADE_NS / 1e9}
    assert CANCEL.figures(balancing()) == health(balancing()) | made_s | {"running": 1, "cancelled": 0}
    over = balancing(newest_operators=(newest(status="CANCEL"),))
    assert CANCEL.figures(over) == health(over) | made_s | {"running": 0, "cancelled": 1}
    assert CANCEL.figures(healthy()) == health(healthy()) | {"running": 0}


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        ((sample(running=0, created_s=7.0, cancelled=1),) * 3, "succeeded"),
        ((sample(running=0),) * 3, "succeeded"),  # PD's leader has changed
        ((sample(running=0, created_s=8.0, cancelled=0),) * 3, "succeeded"),  # another kind has come after it
        ((sample(running=0, created_s=7.0, cancelled=0),) * 3, "no_better"),  # it had ended by itself
        ((sample(running=0, created_s=7.0),) * 3, "no_better"),
        (
            (sample(running=0), sample(running=0, created_s=7.0, cancelled=0), sample(running=0)),
            "no_better",
        ),
        (
            (sample(running=0, created_s=7.0, cancelled=0), *(sample(running=0, created_s=8.0, cancelled=0),) * 3),
            "succeeded",
        ),
        ((*(sample(running=0),) * 2, sample(running=1, created_s=9.0, cancelled=0)), "no_better"),  # PD made it again
        ((sample(running=0),) * 2, "unknown"),
        ((sample(running=0, down_peers=1, created_s=7.0, cancelled=0),) * 3, "worse"),
    ],
)
def test_it_succeeds_where_it_was_that_one_and_pd_makes_no_other(later: tuple[Sample, ...], verdict: str) -> None:
    assert CANCEL.verify(BEFORE, later) == verdict
