"""pause_scheduler, and holding PD back while another action is at work: why not, what is planned, what tells."""

from __future__ import annotations

from typing import Any, Final

import pytest

from actions import calls, holding
from actions.action import health
from actions.card import card
from actions.catalogue import CATALOGUE, BadParameters, parse
from actions.drift import drifted
from actions.pause_scheduler import PauseScheduler
from actions.preflight import objections
from actions.transfer_region_leader import TransferRegionLeader
from schemas.facts import Facts
from schemas.policy import LimitsPolicy
from schemas.values import Call, Change
from streams.rules.risk import tier_of
from tests.actions.clusters import LIMITS, healthy, operator, store, tombstone, with_store
from tests.actions.test_actions import plan_of, sample

LEADER: Final = "balance-leader-scheduler"
REGION: Final = "balance-region-scheduler"
HOT: Final = "balance-hot-region-scheduler"
PAUSE = PauseScheduler(scheduler=REGION)
QUIET = PauseScheduler(scheduler=LEADER)
DO, UNDO = calls.pause_scheduler(REGION, 960), calls.resume_scheduler(REGION)
HELD = TransferRegionLeader(region_id=180, to_store_id=2, hold_s=300)
BACK = Change(do=calls.transfer_leader(180, 2), undo=calls.transfer_leader(180, 1))
FULL = {"available_bytes": 199}


def codes(action: Any, facts: Facts) -> list[tuple[str, str]]:
    return [(o.code, o.kind) for o in objections(action, facts, LIMITS)]


@pytest.mark.parametrize(
    "params",
    [
        "{}",
        '{"scheduler":"evict-leader-scheduler"}',
        '{"scheduler":"evict-slow-store-scheduler"}',
        '{"scheduler":"all"}',
        f'{{"scheduler":"{REGION}","keep_s":59}}',
        f'{{"scheduler":"{REGION}","keep_s":3601}}',
    ],
)
def test_only_what_balances_is_paused_and_for_an_hour_at_most(params: str) -> None:
    with pytest.raises(BadParameters):
        parse("pause_scheduler", params)
    for keep_s in (60, 3600):
        kept = parse("pause_scheduler", f'{{"scheduler":"{REGION}","keep_s":{keep_s}}}')
        assert kept.title() == f"Pause PD's {REGION} for {'1 min' if keep_s == 60 else '1 h'}"


def test_every_scheduler_that_it_offers_can_be_said() -> None:
    offered = PauseScheduler.model_json_schema()["properties"]["scheduler"]["enum"]
    assert sorted(offered) == sorted(calls.PAUSABLE)
    for name in offered:
        (change,) = PauseScheduler(scheduler=name).plan(healthy())
        assert "all" not in calls.render(change.do).path


@pytest.mark.parametrize(
    ("action", "facts", "expected"),
    [
        (PAUSE, healthy(), []),
        (QUIET, healthy(), []),
        (PAUSE, healthy(schedulers=(LEADER,)), [("no_such_scheduler", "no")]),
        (PAUSE, healthy(paused_schedulers=(REGION,)), [("already_paused", "no")]),
        (PAUSE, healthy(paused_schedulers=(LEADER,)), []),
        (PAUSE, with_store(healthy(), store(3, **FULL)), [("store_low_space", "no")]),
        (QUIET, with_store(healthy(), store(3, **FULL)), []),  # it moves no data
        (PAUSE, with_store(healthy(), store(3, available_bytes=200)), []),
        (PAUSE, with_store(healthy(), tombstone(3, **FULL)), []),
    ],
)
def test_why_not(action: PauseScheduler, facts: Facts, expected: list[tuple[str, str]]) -> None:
    assert codes(action, facts) == expected


def test_an_objection_names_what_is_in_the_way() -> None:
    texts = [o.text for o in PAUSE.preflight(with_store(healthy(schedulers=()), store(3, **FULL)), LIMITS)]
    assert texts == [
        "PD has no balance-region-scheduler",
        "stores [3] are low on space: PD must be able to move replicas off them",
    ]
    (text,) = [o.text for o in PAUSE.preflight(healthy(paused_schedulers=(REGION,)), LIMITS)]
    assert text == "somebody has paused balance-region-scheduler already: our undo would end theirs"


def test_the_plan_is_one_pause_that_ends_by_itself_a_minute_later() -> None:
    assert PAUSE.plan(healthy()) == (Change(do=DO, undo=UNDO, keep_s=900),)
    assert card(plan_of(PAUSE, healthy())).calls == (
        'POST /pd/api/v1/schedulers/balance-region-scheduler {"delay":960}',
        'after 15 min: POST /pd/api/v1/schedulers/balance-region-scheduler {"delay":0}',
    )


@pytest.mark.parametrize(
    ("facts", "value"),
    [
        (healthy(), "running"),
        (healthy(paused_schedulers=(REGION,)), "paused"),
        (healthy(schedulers=(), paused_schedulers=(REGION,)), "unknown"),
    ],
)
def test_it_relies_on_the_scheduler_alone(facts: Facts, value: str) -> None:
    (premise,) = PAUSE.relies_on(facts)
    assert (premise.name, premise.value) == ("scheduler:balance-region-scheduler", value)


def test_its_figures() -> None:
    facts = with_store(
        healthy(paused_schedulers=(REGION,), operators=(operator(1, "balance-region"), operator(2, "balance-leader"))),
        store(3, **FULL),
    )
    assert PAUSE.figures(facts) == health(facts) | {"paused": 1.0, "its_operators": 1.0, "low_space": 1.0}
    assert QUIET.figures(healthy()) == health(healthy()) | {"paused": 0.0, "its_operators": 0.0, "low_space": 0.0}


@pytest.mark.parametrize(
    ("scheduler", "desc"),
    [
        (LEADER, "balance-leader"),
        (REGION, "balance-region"),
        (HOT, "balance-hot-write-leader"),
        (HOT, "move-hot-read-peer"),
        (HOT, "transfer-hot-write-leader"),
        (HOT, "split-hot-read-region"),
    ],
)
def test_it_is_done_when_what_the_scheduler_had_begun_has_ended(scheduler: Any, desc: str) -> None:
    action, paused = PauseScheduler(scheduler=scheduler), healthy(paused_schedulers=(scheduler,))
    assert not action.is_done(healthy())
    assert not action.is_done(paused.model_copy(update={"operators": (operator(7, desc),)}))
    assert action.is_done(paused.model_copy(update={"operators": (operator(7, "admin-move-hot"),)}))
    assert action.is_done(paused)


def test_it_is_reached_while_it_is_paused() -> None:
    assert PAUSE.is_reached(sample(paused=1))
    assert not PAUSE.is_reached(sample(paused=0))
    assert not PAUSE.is_reached(sample())


@pytest.mark.parametrize(
    ("action", "was", "now", "found"),
    [
        (PAUSE, sample(low_space=0), sample(low_space=0), None),
        (PAUSE, sample(low_space=1), sample(low_space=0), None),
        (PAUSE, sample(low_space=0), sample(low_space=1), ("more_low_space", "stores low on space 0 -> 1")),
        (QUIET, sample(low_space=0), sample(low_space=1), None),
        (QUIET, sample(), sample(down_peers=1), ("more_down_peers", "down peers 0 -> 1")),
        (PAUSE, sample(), sample(down_peers=1), ("more_down_peers", "down peers 0 -> 1")),
    ],
)
def test_what_ends_it_early(action: PauseScheduler, was: Any, now: Any, found: Any) -> None:
    assert action.abort_if(was, now) == found


@pytest.mark.parametrize(
    ("call", "facts", "finding"),
    [
        (DO, healthy(), "not_started"),
        (DO, healthy(paused_schedulers=(REGION,)), "applied"),
        (DO, healthy(paused_schedulers=(LEADER,)), "not_started"),
        (DO, healthy(pd_leader_age_s=1), "not_started"),  # a new leader has forgotten it, and never brings it back
        (DO, healthy(schedulers=()), "cant_tell"),
        (UNDO, healthy(), "applied"),
        (UNDO, healthy(pd_leader_age_s=1), "applied"),
        (UNDO, healthy(paused_schedulers=(REGION,)), "not_started"),
        (UNDO, healthy(schedulers=()), "cant_tell"),
        (UNDO, healthy(schedulers=(), paused_schedulers=(REGION,)), "not_started"),
        (calls.pause_scheduler(LEADER, 960), healthy(), "cant_tell"),
        (calls.add_evict_leader(4), healthy(), "cant_tell"),
        (Call(name="set_store_weight", args={"scheduler": REGION}), healthy(), "cant_tell"),
    ],
)
def test_what_became_of_a_call(call: Call, facts: Facts, finding: str) -> None:
    assert PAUSE.probe(call, facts) == finding


def test_what_is_left_over_is_named_for_people() -> None:
    facts = healthy(paused_schedulers=(REGION, "label-scheduler"), evicting=(4,))
    found = [text for name in sorted(CATALOGUE) for text in CATALOGUE[name].left_over(facts)]
    assert found == [
        "leaders are kept off store 4 (evict-leader-scheduler-4)",
        "balance-region-scheduler is paused",
        "label-scheduler is paused",
    ]
    assert [text for kind in CATALOGUE.values() for text in kind.left_over(healthy())] == []


# holding PD back for another action


def test_a_leader_is_moved_while_what_could_move_it_back_is_held() -> None:
    facts = healthy(schedulers=(LEADER, REGION, HOT))
    assert HELD.plan(facts) == (holding.held(LEADER, 300), holding.held(HOT, 300), BACK)
    assert HELD.title() == "Move the leader of region 180 to store 2, PD's balancing of leaders held for 5 min"
    longest = TransferRegionLeader(region_id=180, to_store_id=2, hold_s=1800)
    assert longest.title().endswith("held for 30 min")
    assert TransferRegionLeader(region_id=180, to_store_id=2).plan(facts) == (BACK,)
    assert {c.do.name for c in HELD.plan(facts)} | {c.undo.name for c in HELD.plan(facts) if c.undo} == HELD.may_call


def test_a_scheduler_that_does_not_run_is_not_held_and_one_that_is_resumed_since_voids_the_plan() -> None:
    paused = healthy(schedulers=(LEADER, HOT), paused_schedulers=(LEADER,))
    assert HELD.plan(paused) == (holding.held(HOT, 300), BACK)
    assert HELD.plan(healthy(schedulers=())) == (BACK,)
    assert drifted(plan_of(HELD, paused), healthy(schedulers=(LEADER, HOT)), HELD) == [
        "the changes would be others now"
    ]


@pytest.mark.parametrize(
    ("hold_s", "good"), [(-60, False), (0, True), (60, True), (90, False), (1800, True), (1860, False)]
)
def test_it_is_held_for_whole_minutes_half_an_hour_at_most(hold_s: int, good: bool) -> None:
    params = f'{{"region_id":180,"to_store_id":2,"hold_s":{hold_s}}}'
    if good:
        assert parse("transfer_region_leader", params)
        return
    with pytest.raises(BadParameters):
        parse("transfer_region_leader", params)


def test_it_can_be_told_of_each_of_its_calls() -> None:
    facts = healthy(schedulers=(LEADER, HOT))
    hold, _, move = HELD.plan(facts)
    assert hold.undo
    assert HELD.probe(hold.do, facts) == "not_started"
    assert HELD.probe(hold.undo, facts) == "applied"
    assert HELD.probe(hold.do, facts.model_copy(update={"paused_schedulers": (LEADER,)})) == "applied"
    assert HELD.probe(move.do, facts) == "not_started"


def test_a_leader_that_is_still_on_its_way_is_not_back_yet() -> None:
    """Right after the call the old store leads still: an undo that takes that for its own effect leaves the move."""
    action, facts = TransferRegionLeader(region_id=180, to_store_id=2), healthy()
    (change,) = action.plan(facts)
    assert change.undo
    moving = facts.model_copy(update={"operators": (operator(180, "admin-transfer-leader"),)})
    assert [action.probe(change.undo, seen) for seen in (moving, facts)] == ["under_way", "applied"]


def test_a_region_that_pd_does_not_know_just_now_is_not_seen() -> None:
    """Before the first undo: a leader that was moved and is not shown may be shown again."""
    assert HELD.is_seen(healthy())
    assert not HELD.is_seen(healthy(regions=()))
    assert PAUSE.is_seen(healthy(regions=()))


@pytest.mark.parametrize(("hold_s", "tier"), [(0, "LOW"), (300, "MEDIUM")])
def test_who_holds_pd_back_owes_an_undo_and_asks_a_person(hold_s: int, tier: str) -> None:
    action, facts = TransferRegionLeader(region_id=180, to_store_id=2, hold_s=hold_s), healthy()
    found, why = tier_of(action, action.reach(facts), facts, 2, False, "playbook", LimitsPolicy())
    assert found == tier
    assert ("an undo is owed afterwards" in why) == (tier == "MEDIUM")
