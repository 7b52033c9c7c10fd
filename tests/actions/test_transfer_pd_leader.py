"""transfer_pd_leader: what would be lost, why not, who leads."""

from __future__ import annotations

from typing import Any

import pytest

from actions import calls
from actions.action import health
from actions.card import card, describe
from actions.drift import drifted
from actions.preflight import objections
from actions.transfer_pd_leader import TransferPdLeader
from schemas.facts import Facts, MemberFacts
from schemas.values import Change
from tests.actions.clusters import LIMITS, NOW, healthy, operator, store, tombstone, with_store
from tests.actions.test_actions import plan_of, sample

LEAD = TransferPdLeader(member="pd-1")
THERE = healthy(pd_leader="pd-1")


def codes(facts: Facts, action: TransferPdLeader = LEAD) -> list[str]:
    return [o.code for o in objections(action, facts, LIMITS)]


def members(*changed: dict[str, Any], **facts: Any) -> Facts:
    """pd-0 leads; pd-0, pd-1, pd-2, changed so."""
    made = tuple(MemberFacts(**({"name": f"pd-{n}", "is_healthy": True} | one)) for n, one in enumerate(changed))
    return healthy(pd_members=made, **facts)


# what it does


def test_the_member_that_leads_now_is_the_undo() -> None:
    back = calls.transfer_pd_leader("pd-0")
    assert LEAD.plan(healthy()) == (Change(do=calls.transfer_pd_leader("pd-1"), undo=back),)
    for nobody in ("", "a/b"):
        assert [change.undo for change in LEAD.plan(healthy(pd_leader=nobody))] == [None]


def test_the_card_names_both_members() -> None:
    shown = card(plan_of(LEAD, healthy()))
    assert shown.calls == ("POST /pd/api/v1/leader/transfer/pd-1", "if undone: POST /pd/api/v1/leader/transfer/pd-0")
    assert shown.do_by_hand == ("pd-ctl member leader transfer pd-1",)
    assert shown.undo_by_hand == ("pd-ctl member leader transfer pd-0",)
    assert "500 ms" in shown.clients


def test_its_parameter_is_described() -> None:
    assert "  member: name, required. The member of PD that shall lead, by its name." in describe(TransferPdLeader)


@pytest.mark.parametrize(
    ("facts", "moved"),
    [
        (healthy(pd_leader="pd-2"), "pd.leader was pd-0, is pd-2"),
        (healthy(pd_started_at_ms=5), "pd.leader_started_at_ms was 0, is 5"),
        (members({}, {"leader_priority": 3}, {}), "pd:pd-1.leader_priority was 0, is 3"),
        (members({}, {}), "pd:pd-2.leader_priority was 0, is not looked at"),
    ],
)
def test_another_leader_or_another_preference_voids_the_plan(facts: Facts, moved: str) -> None:
    plan = plan_of(LEAD, healthy())
    assert drifted(plan, facts, LEAD) == [moved]
    assert drifted(plan, healthy(pd_leader_age_s=901.0), LEAD) == []


# why not


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (members({}, {"name": "x"}, {}), [("no_such_member", "PD has no member pd-1")]),
        (healthy(pd_leader="pd-1"), [("already_leads", "pd-1 leads PD")]),
        (
            members({}, {}, {"is_healthy": False}, members_healthy=2),
            [
                ("member_unhealthy", "members pd-2 of PD are unhealthy: the quorum would be at risk"),
                ("members_unclear", "2 healthy of 3 members, and 3 are listed"),
            ],
        ),
        (
            members({}, {"is_healthy": False}, {}),
            [("member_unhealthy", "members pd-1 of PD are unhealthy: the quorum would be at risk")],
        ),
        (
            members({"is_healthy": False}, {}, {"is_healthy": False}),
            [("member_unhealthy", "members pd-0, pd-2 of PD are unhealthy: the quorum would be at risk")],
        ),
        (members({}, {}), [("members_unclear", "3 healthy of 3 members, and 2 are listed")]),
        (healthy(members=4), [("members_unclear", "3 healthy of 4 members, and 3 are listed")]),
        (
            members({}, {}, {"leader_priority": 1}),
            [
                ("another_preferred", "PD moves its leader from pd-1 to pd-2 by itself (leader_priority)"),
                ("another_preferred", "PD moves its leader from pd-0 to pd-2 by itself (leader_priority)"),
            ],
        ),
        (
            members({}, {"leader_priority": -1}, {"leader_priority": -1}),
            [("another_preferred", "PD moves its leader from pd-1 to pd-0 by itself (leader_priority)")],
        ),
        (
            members({}, {"leader_priority": 1}, {}),  # it will go there by itself, and never back
            [("another_preferred", "PD moves its leader from pd-0 to pd-1 by itself (leader_priority)")],
        ),
        (
            with_store(healthy(), store(5, state="Offline")),
            [
                ("store_not_up", "store 5 is Offline"),
                (
                    "stores_leaving",
                    "stores [5] are being removed: PD would forget how far, and their store limits from before",
                ),
            ],
        ),
    ],
)
def test_why_the_leader_of_pd_is_not_moved(facts: Facts, found: list[tuple[str, str]]) -> None:
    seen = objections(LEAD, facts, LIMITS)
    assert [(o.code, o.text) for o in seen] == found
    assert {o.kind for o in seen} == {"no"}


@pytest.mark.parametrize(
    ("facts", "code", "text"),
    [
        (
            healthy(operators=(operator(7, "balance-leader"), operator(8, "admin-move-peer"))),
            "operators_running",
            "2 operators run, and would be lost (regions 7, 8)",
        ),
        (
            healthy(operators=tuple(operator(n, "x") for n in range(1, 8))),
            "operators_running",
            "7 operators run, and would be lost (regions 1, 2, 3, 4, 5)",
        ),
        (
            healthy(paused_schedulers=("a", "b")),
            "schedulers_paused",
            "a, b are paused by somebody, and would go on",
        ),
    ],
)
def test_what_is_in_the_memory_of_the_leader_is_waited_for(facts: Facts, code: str, text: str) -> None:
    (found,) = objections(LEAD, facts, LIMITS)
    assert (found.code, found.kind, found.text, found.until_ms) == (code, "wait", text, NOW + 300_000)


def test_a_name_that_cannot_be_said_is_refused() -> None:
    odd = members({}, {"name": "a/b"}, {})
    (found,) = objections(TransferPdLeader(member="a/b"), odd, LIMITS)
    assert (found.code, found.kind) == ("odd_name", "no")
    assert found.text == "'a/b' is no name of a member that a call could say"
    assert codes(members({"name": "a/b"}, {}, {}, pd_leader="a/b")) == ["odd_name"]


@pytest.mark.parametrize(
    "facts",
    [
        healthy(),
        members({"leader_priority": 5}, {"leader_priority": 5}, {"leader_priority": 4}),
        members({"leader_priority": -5}, {"leader_priority": -5}, {"leader_priority": -6}),
        members({}, {}, members=2, members_healthy=2),
        with_store(healthy(), tombstone(9)),
    ],
)
def test_it_is_moved_where_nothing_is_lost(facts: Facts) -> None:
    assert codes(facts) == []


# who leads?

DO, UNDO = calls.transfer_pd_leader("pd-1"), calls.transfer_pd_leader("pd-0")


@pytest.mark.parametrize(
    ("facts", "do", "undo"),
    [
        (healthy(), "not_started", "applied"),
        (healthy(pd_leader_age_s=59.9), "cant_tell", "applied"),  # of presence a young leader is believed
        (healthy(schedulers=()), "cant_tell", "applied"),
        (THERE, "applied", "not_started"),
        (healthy(pd_leader="pd-1", pd_leader_age_s=0.5), "applied", "not_started"),
        (healthy(pd_leader="pd-2"), "not_started", "applied"),  # moved on by somebody: ours is gone
        (healthy(pd_leader="pd-2", pd_leader_age_s=1.0), "cant_tell", "cant_tell"),
        (healthy(pd_leader=""), "cant_tell", "cant_tell"),
        (members({}, {"is_healthy": False}, {}), "cant_tell", "applied"),  # to send it again would not be right
        (members({}, {"name": "x"}, {}), "cant_tell", "applied"),
    ],
)
def test_was_the_leader_moved(facts: Facts, do: str, undo: str) -> None:
    assert LEAD.probe(DO, facts) == do
    assert LEAD.probe(UNDO, facts) == undo


def test_a_call_of_another_kind_cannot_be_told() -> None:
    assert LEAD.probe(calls.transfer_leader(1, 1), THERE) == "cant_tell"


def test_it_is_done_when_whoever_leads_has_settled() -> None:
    assert LEAD.is_done(THERE)
    assert LEAD.is_done(healthy())
    assert not LEAD.is_done(healthy(pd_leader="pd-1", pd_leader_age_s=59.9))
    assert not LEAD.is_done(healthy(pd_leader="pd-1", schedulers=()))
    assert LEAD.figures(THERE) == health(THERE) | {"leads": 1}
    assert LEAD.figures(healthy())["leads"] == 0
    assert not LEAD.is_reached(sample(leads=0))


def test_stores_that_the_new_leader_has_not_heard_of_yet_stop_nothing() -> None:
    before, young = sample(leads=0), sample(leads=1, stores_up=0, pd_settled=0)
    assert LEAD.abort_if(before, young) is None
    assert LEAD.abort_if(before, sample(leads=1, stores_up=4)) == ("fewer_stores_up", "stores up 5 -> 4")
    assert LEAD.verify(before, (young, sample(leads=1), sample(leads=1))) == "succeeded"
