"""Single moves of the protocol, where a whole history would hide what one of them hangs on."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from actions import calls
from actions.pause_scheduler import PauseScheduler
from actions.transfer_region_leader import TransferRegionLeader
from executors.changes import Claim
from executors.protocol import Ask, Look, Rest, Say, Seen, Send, next_move
from schemas import events as e
from schemas.controls import Stop
from schemas.values import Change, Sample
from tests.actions.clusters import NOW, healthy, store, with_store
from tests.spec.test_execution_claims import adopted
from tests.spec.test_execution_fold import ABOUT, after
from tests.spec.test_protocol_properties import (
    ACTIONS,
    BURY,
    CONTROLS,
    EVICT,
    LIVE,
    RULES,
    TRANSFER,
    Execution,
    claimed,
)


def moved(run: Execution) -> Any:
    assert run.claim is not None
    return next_move(run.claim, run.seen, run.now_ms, RULES)


def test_facts_of_another_pd_cluster_end_it_before_the_first_step() -> None:
    run = Execution(EVICT, healthy())
    run.step("well")
    assert run.seen.facts is not None
    run.seen = replace(run.seen, facts=run.seen.facts.model_copy(update={"pd_cluster_id": 42}))
    run.step("well")
    concluded = run.events[-1]
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.code) == ("not_started", "wrong_cluster")
    assert run.sent == []


def test_that_a_given_up_call_has_had_no_effect_is_not_concluded_from_a_pd_that_has_not_settled() -> None:
    run = Execution(EVICT, healthy())
    while not any(isinstance(x, e.StepTaken) for x in run.events):
        run.step("lost before")
    while not any(isinstance(x, e.StepProbed) for x in run.events):
        run.step("well")
    run.seen = replace(run.seen, controls=CONTROLS["frozen"])
    assert isinstance(moved(run), Rest), "until a late effect would show"
    run.step("well")
    for _ in range(10):
        run.step("unsettled")
        assert run.claim is not None
    assert isinstance(moved(run), Look | Rest)
    for _ in range(5):
        if run.claim is not None:
            run.step("well")
    concluded = run.events[-1]
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.code) == ("not_started", "frozen")


def test_what_takes_longer_than_the_policy_allows_is_aborted_and_not_a_moment_earlier() -> None:
    run = Execution(TRANSFER, healthy())
    while not any(isinstance(x, e.StepTaken) for x in run.events):
        run.step("well")
    assert run.claim is not None
    run.now_ms = run.claim.claimed.deadline_ms
    assert not isinstance(moved(run), Say)
    run.now_ms += 1
    move = moved(run)
    assert isinstance(move, Say)
    (aborting,) = move.events
    assert isinstance(aborting, e.ExecutionAborting)
    assert aborting.code == "deadline"


def test_who_begins_knows_the_controls_alone() -> None:
    begun = Seen(controls=LIVE)
    assert {f.name: getattr(begun, f.name) for f in fields(begun)} == {
        "controls": LIVE,
        "facts": None,
        "looked_at_ms": 0,
        "ended_ms": 0,
        "no_facts": None,
        "no_facts_since_ms": 0,
        "unheard_since_ms": 0,
        "owner_since_ms": 0,
        "resumed": False,
        "audited": 0,
        "asked_at_ms": 0,
    }


def test_since_when_the_controls_can_not_be_read_is_known_until_they_can() -> None:
    heard = Seen(controls=LIVE).hearing(LIVE, NOW)
    lost = heard.hearing(CONTROLS["not live"], NOW + 1)
    still = lost.hearing(CONTROLS["not live"], NOW + 2)
    again = still.hearing(LIVE, NOW + 3)
    assert [x.unheard_since_ms for x in (heard, lost, still, again)] == [0, NOW + 1, NOW + 1, 0]
    assert lost.controls == CONTROLS["not live"]


@pytest.mark.parametrize("resumed", [False, True])
def test_over_a_ledger_that_is_broken_nothing_is_done_and_half_a_minute_later_it_is_looked_whether_it_still_is(
    resumed: bool,
) -> None:
    run = Execution(EVICT, healthy())
    run.seen = replace(run.seen, controls=replace(LIVE, broken="t"), resumed=resumed)
    assert moved(run) == Rest(run.now_ms + 30_000)


# -- before the first step ------------------------------------------------------------------------------------------

NOT_STARTED: dict[str, tuple[Any, Any, Any]] = {
    "another PD cluster": ({"pd_cluster_id": 42}, "wrong_cluster", "PD says it is cluster 42"),
    "what the preflight objects to": (
        {"stores": with_store(healthy(), store(1, state="Down")).stores, "evicting": (4,)},
        "store_not_up",
        "store 1 is Down; somebody evicts store 4 already: our undo would end theirs",
    ),
    "premises that do not hold any more": (
        {"stores": with_store(healthy(), store(4, address="other", status_address="other")).stores},
        "drifted",
        "store:4.address was 10.0.4.4:20160, is other",
    ),
    "more than was approved": (
        {"stores": with_store(healthy(), store(4, leader_count=67)).stores, "regions_total": 400},
        "bound_exceeded",
        "regions: 67, approved were at most 66; leaders: 67, approved were at most 66",
    ),
}


@pytest.mark.parametrize("why", NOT_STARTED)
def test_it_is_not_started_for(why: str) -> None:
    changed, code, text = NOT_STARTED[why]
    run = Execution(EVICT, healthy())
    facts = run.facts().model_copy(update=changed)
    run.seen = replace(run.seen, facts=facts, looked_at_ms=run.now_ms)
    move = moved(run)
    assert isinstance(move, Say)
    (concluded,) = move.events
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.code, concluded.text) == ("not_started", code, text)
    assert "; ".join(o.text for o in concluded.objections) == (text if code == "store_not_up" else "")
    assert concluded.facts == facts


@pytest.mark.parametrize(("tier", "begins"), [(1, False), (2, True)])
def test_it_is_looked_at_again_by_the_limits_of_the_clusters_tier(tier: int, begins: bool) -> None:
    run = Execution(EVICT, healthy(pd_leader_age_s=100))
    run.now_ms += 1
    tiered = adopted(limits={"pd_leader_age_s_min": 50, "tier": {"1": {"pd_leader_age_s_min": 200}}})
    facts = run.facts().model_copy(update={"pd_leader_age_s": 100.0})
    run.seen = replace(run.seen, controls=tiered, facts=facts, looked_at_ms=run.now_ms)
    assert run.claim is not None
    move = next_move(run.claim, run.seen, run.now_ms, replace(RULES, tiers={"prod": tier}))
    assert isinstance(move, Say)
    (event,) = move.events
    assert isinstance(event, e.Looked) if begins else isinstance(event, e.Concluded) and event.code == "pd_leader_young"


@pytest.mark.parametrize(("waited_ms", "ends"), [(0, False), (60_000, False), (60_001, True)])
def test_facts_that_can_not_be_had_for_a_minute_end_it_before_the_first_step(waited_ms: int, ends: bool) -> None:
    run = Execution(EVICT, healthy())
    run.seen = replace(run.seen, no_facts=("pd_unreachable", "t"), no_facts_since_ms=run.now_ms - waited_ms)
    move = moved(run)
    if not ends:
        assert move == Look()
        return
    (concluded,) = move.events
    assert (concluded.outcome, concluded.code, concluded.text) == ("not_started", "pd_unreachable", "t")


def test_without_the_controls_nothing_is_begun_and_they_are_read_again_with_the_next_look() -> None:
    run = Execution(EVICT, healthy())
    run.seen = run.seen.hearing(CONTROLS["not live"], run.now_ms)
    assert moved(run) == Rest(run.now_ms + 2000)


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_what_is_relied_on_and_what_is_lost_is_on_record_before_it_is_done(name: str) -> None:
    action, facts = ACTIONS[name]
    run = Execution(action, facts)
    while not run.sent:
        run.step("well")
    assert run.seen.facts is not None
    looked = next(x for x in run.events if isinstance(x, e.Looked))
    assert looked.facts == run.seen.facts
    assert looked.before.figures == action.figures(run.seen.facts)
    assert run.sent[0].before == action.relies_on(facts)
    assert run.sent[0].snapshot == action.snapshot(run.seen.facts)
    assert bool(run.sent[0].snapshot) == (action is BURY)


def test_what_is_not_allowed_any_more_when_the_first_step_is_due_is_aborted() -> None:
    run = Execution(EVICT, healthy())
    while not any(isinstance(x, e.Looked) for x in run.events):
        run.step("well")
    run.seen = replace(run.seen, controls=adopted(version=2))
    (aborting,) = moved(run).events
    assert isinstance(aborting, e.ExecutionAborting)
    assert (aborting.code, aborting.text) == ("policy_changed", "planned under policy 1, in force is 2")


BEGUN = {"quiet": {"kind": "quiet", "start": "08:01", "end": "09:00"}}
OVER = {"window": {"kind": "maintenance", "start": "07:00", "end": "08:01"}}


@pytest.mark.parametrize(("windows", "code"), [(BEGUN, "quiet_hours"), (OVER, "outside_window")])
def test_what_was_claimed_in_time_is_not_started_when_the_hour_is_over(windows: Any, code: str) -> None:
    run = Execution(EVICT, healthy())
    run.now_ms = NOW + 60_000
    facts = run.facts()
    run.seen = replace(run.seen, facts=facts, looked_at_ms=run.now_ms, controls=adopted(windows=windows))
    (concluded,) = moved(run).events
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.code) == ("not_started", code)
    assert [(o.code, o.kind, o.until_ms > NOW) for o in concluded.objections] == [(code, "wait", True)]


def test_an_hour_that_is_quiet_for_the_tier_it_was_approved_as_is_quiet_for_it() -> None:
    run = Execution(EVICT, healthy())
    assert run.claim is not None
    high = replace(run.claim, claimed=run.claim.claimed.model_copy(update={"tier": "HIGH"}))
    windows = {"quiet": {"kind": "quiet", "start": "08:00", "end": "09:00", "risk_min": "HIGH"}}
    run.seen = replace(run.seen, facts=run.facts(), looked_at_ms=run.now_ms, controls=adopted(windows=windows))
    ended = next_move(high, run.seen, run.now_ms, RULES)
    assert isinstance(ended, Say)
    assert isinstance(ended.events[0], e.Concluded)
    assert ended.events[0].code == "quiet_hours"
    assert isinstance(moved(run).events[0], e.Looked)


@pytest.mark.parametrize(("windows", "code"), [(BEGUN, "quiet_hours"), (OVER, "outside_window")])
def test_an_hour_that_ends_between_the_look_and_the_first_step_ends_it(windows: Any, code: str) -> None:
    run = Execution(EVICT, healthy(), now_ms=NOW + 58_000)
    run.seen = replace(run.seen, controls=adopted(windows=windows))
    while not any(isinstance(x, e.Looked) for x in run.events):
        run.step("well")
    run.now_ms = NOW + 59_999
    assert isinstance(moved(run), Send)
    run.now_ms = NOW + 60_000
    (aborting,) = moved(run).events
    assert isinstance(aborting, e.ExecutionAborting)
    assert aborting.code == code
    run.step("well")
    run.step("well")
    concluded = run.events[-1]
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.code, run.sent) == ("not_started", code, [])


@pytest.mark.parametrize("windows", [BEGUN, OVER])
def test_no_window_stops_what_has_begun_nor_its_undo(windows: Any) -> None:
    run = Execution(EVICT, healthy(), now_ms=NOW + 50_000)
    run.seen = replace(run.seen, controls=adopted(windows=windows))
    while run.claim is not None:
        run.step("well")
    assert run.now_ms > NOW + 110_000, "the undo was due in the quiet hours"
    assert [(s.kind, s.change) for s in run.sent] == [("do", 0), ("undo", 0)]
    concluded = run.events[-1]
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.owed) == ("succeeded", ())


def test_of_two_changes_the_second_follows_into_quiet_hours() -> None:
    """It has begun: half of a plan is worse than either."""
    move = next_move(
        of_two(*took(1, 0, "accepted")),
        Seen(controls=adopted(windows=BEGUN), facts=healthy(), looked_at_ms=NOW + 61_000),
        NOW + 61_000,
        RULES,
    )
    assert isinstance(move, Send)
    assert move.intended.change == 1


WITHIN_60_S = adopted(limits={"audit_within_s": 60})


def high(tier: str = "HIGH", **claim: Any) -> Claim:
    """A claim that nothing has been done for yet, the third event of its chain."""
    run = Execution(EVICT, healthy())
    assert run.claim is not None
    said = run.claim.claimed.model_copy(update={"tier": tier})
    return replace(run.claim, claimed=said, **{"seq": 3, "claimed_at_ms": NOW, **claim})


@pytest.mark.parametrize(
    ("claim", "seen", "after_ms", "move"),
    [
        (high(), {}, 0, Ask()),
        (high(), {}, 90_000, Ask()),  # a successor asks once, however late it comes
        (high(), {"asked_at_ms": NOW}, 1_999, Rest(NOW + 2_000)),
        (high(), {"asked_at_ms": NOW}, 2_000, Ask()),
        (high(), {"asked_at_ms": NOW + 58_000}, 60_000, Ask()),
        (high(), {"asked_at_ms": NOW + 58_000, "audited": 2}, 60_001, "audit_behind"),
        (high(), {"asked_at_ms": NOW + 58_000, "audited": 3}, 60_001, Look()),
        (high(seq=2), {"audited": 2}, 0, Look()),
        (high("MEDIUM"), {}, 0, Look()),
    ],
)
def test_high_waits_for_the_audit_to_show_its_claim(claim: Claim, seen: Any, after_ms: int, move: Any) -> None:
    found = next_move(claim, Seen(controls=WITHIN_60_S, **seen), NOW + after_ms, RULES)
    if isinstance(found, Say):
        (concluded,) = found.events
        assert isinstance(concluded, e.Concluded)
        assert (concluded.outcome, concluded.code) == ("not_started", move)
        assert concluded.text.startswith("60 s after the claim")
    else:
        assert found == move


def test_without_that_rule_nobody_asks_the_audit() -> None:
    assert next_move(high(), Seen(controls=adopted()), NOW, RULES) == Look()


def test_a_look_that_is_too_old_when_the_first_step_is_due_is_taken_again() -> None:
    run = Execution(EVICT, healthy())
    while not any(isinstance(x, e.Looked) for x in run.events):
        run.step("well")
    assert run.claim is not None
    run.now_ms = run.claim.looked_at_ms + 6000
    assert isinstance(moved(run), Send)
    run.now_ms += 1
    assert moved(run) == Look()
    looked(run, run.now_ms)
    assert isinstance(moved(run).events[0], e.Looked)


# -- when -----------------------------------------------------------------------------------------------------------


def after_the(nth: int, kind: type[e.Event], name: str = "evict", fate: str = "well", looks: str = "well") -> Execution:
    """Until so many of these have been said; the calls end so, and the looks."""
    run = Execution(*ACTIONS[name])
    for _ in range(500):
        if sum(isinstance(x, kind) for x in run.events) == nth:
            return run
        run.step(fate if isinstance(moved(run), Send) else looks)
    raise AssertionError(run.events[-3:])


def looked(run: Execution, at_ms: int, settled: bool = True) -> None:
    run.now_ms = at_ms
    run.seen = replace(run.seen, facts=run.facts(settled), looked_at_ms=at_ms, ended_ms=at_ms)


def test_a_call_without_an_answer_is_looked_for_when_it_can_no_longer_arrive() -> None:
    run = after_the(1, e.StepTaken, fate="lost before")
    assert run.claim is not None
    ends_ms = run.claim.steps[0].intended_at_ms + 20_000
    looked(run, ends_ms)
    assert moved(run) == Rest(ends_ms + 1)
    run.now_ms += 1
    assert moved(run) == Look(), "what was begun before then says nothing"
    looked(run, ends_ms + 1)
    assert isinstance(moved(run), Say)


def test_what_can_not_be_told_is_unknown_after_two_minutes_and_not_a_moment_earlier() -> None:
    run = after_the(1, e.StepTaken, "bury", fate="lost before")
    assert run.claim is not None
    run.base = run.base.model_copy(update={"stores": tuple(s for s in run.base.stores if s.id != 8)})
    last_ms = run.claim.steps[0].intended_at_ms + 140_000
    looked(run, last_ms)
    assert moved(run) == Rest(last_ms + 2000)
    looked(run, last_ms + 1)
    probed, concluded = moved(run).events
    assert isinstance(concluded, e.Concluded)
    told = "PD answers, but it can't be told whether remove_tombstones was applied (cant_tell)"
    assert (probed.text, concluded.text) == (told, told)


def test_while_pd_is_at_work_it_is_said_every_quarter_of_a_minute_how_far_it_is() -> None:
    run = after_the(1, e.Sampled, looks="unsettled")
    assert run.claim is not None
    last_ms = run.claim.samples[-1].at_ms
    looked(run, last_ms + 14_999, settled=False)
    assert moved(run) == Rest(last_ms + 16_999)
    looked(run, last_ms + 15_000, settled=False)
    assert isinstance(moved(run).events[0], e.Sampled)


def test_what_is_kept_for_a_time_ends_with_it_to_the_millisecond_although_pd_is_still_at_work() -> None:
    run = after_the(1, e.Sampled, looks="unsettled")
    assert run.claim is not None
    due_ms = run.claim.steps[0].taken_at_ms + 60_000
    looked(run, due_ms - 1, settled=False)
    assert isinstance(moved(run), Say)
    looked(run, due_ms, settled=False)
    assert isinstance(moved(run), Send)


def test_what_is_kept_is_watched_by_looks_that_are_young() -> None:
    run = after_the(3, e.Sampled)
    assert moved(run) == Rest(run.seen.looked_at_ms + 2000)
    run.now_ms = run.seen.looked_at_ms + 6001
    assert moved(run) == Look()


def test_what_is_gone_is_looked_at_once_more_just_when_it_has_stayed_away_for_long_enough() -> None:
    run = after_the(1, e.ChangeUndone)
    assert run.claim is not None
    settled_ms = run.claim.gone[0] + 10_000
    looked(run, settled_ms - 1000)
    assert moved(run) == Rest(settled_ms)
    looked(run, settled_ms)
    assert moved(run).events[0].settled


@pytest.mark.parametrize(("tier", "settling_ms"), [(1, 30_000), (2, 10_000)])
def test_how_long_it_has_to_stay_away_is_said_for_the_clusters_tier(tier: int, settling_ms: int) -> None:
    run = after_the(1, e.ChangeUndone)
    assert run.claim is not None
    rules = replace(RULES, tiers={"prod": tier})
    run.seen = replace(run.seen, controls=adopted(limits={"settling_s": 10, "tier": {"1": {"settling_s": 30}}}))
    settled_ms = run.claim.gone[0] + settling_ms
    looked(run, settled_ms - 1)
    assert next_move(run.claim, run.seen, run.now_ms, rules) == Rest(settled_ms)
    looked(run, settled_ms)
    assert isinstance(next_move(run.claim, run.seen, run.now_ms, rules), Say)


@pytest.mark.parametrize(("later_ms", "ours"), [(0, False), (1, True)])
def test_what_is_there_again_is_ours_where_pd_has_led_for_less_time_than_it_was_seen_to_be_gone(
    later_ms: int, ours: bool
) -> None:
    run = after_the(1, e.ChangeUndone)
    assert run.claim is not None
    run.present, run.led_since_ms = True, run.claim.gone[0] + later_ms
    looked(run, run.claim.gone[0] + 9000)
    assert isinstance(moved(run), Send) == ours


def test_a_call_that_was_given_up_is_looked_for_once_more_when_a_late_effect_would_have_shown() -> None:
    run = after_the(1, e.StepProbed, fate="lost before")
    assert run.claim is not None
    run.seen = replace(run.seen, controls=CONTROLS["frozen"])
    settled_ms = run.claim.steps[0].intended_at_ms + 30_000
    looked(run, settled_ms)
    assert moved(run) == Rest(settled_ms + 1)
    run.now_ms += 1
    assert moved(run) == Look(), "what was begun before then says nothing"
    looked(run, settled_ms + 1)
    assert isinstance(moved(run).events[0], e.Concluded)


def test_a_late_effect_that_can_not_be_told_is_unknown_after_two_minutes_more() -> None:
    """The region was merged away: a look would tell nothing for ever, and the claim would bar its cluster."""
    run = after_the(1, e.StepProbed, "transfer", fate="lost before")
    assert run.claim is not None
    run.base = run.base.model_copy(update={"regions": ()})
    run.seen = replace(run.seen, controls=CONTROLS["frozen"])
    last_ms = run.claim.steps[0].intended_at_ms + 30_000 + 120_000
    looked(run, last_ms)
    assert moved(run) == Rest(last_ms + 2000)
    looked(run, last_ms + 1, settled=False)
    assert isinstance(moved(run), Rest), "a PD that leads since a moment has to settle first"
    looked(run, last_ms + 1)
    probed, concluded = moved(run).events
    assert (probed.step, probed.finding) == (1, "cant_tell")
    told = "PD answers, but it can't be told whether transfer_leader was applied (cant_tell)"
    assert (probed.text, concluded.text) == (told, told)
    assert (concluded.outcome, concluded.code, [c.do for c in concluded.owed]) == (
        "unknown",
        "cant_tell",
        [run.claim.steps[0].call],
    )


@pytest.mark.parametrize("undo", [TransferRegionLeader(region_id=180, to_store_id=2).plan(healthy())[0].undo, None])
@pytest.mark.parametrize("again", [True, False])
def test_a_late_effect_is_looked_for_where_it_would_have_to_be_taken_back(undo: Any, again: bool) -> None:
    """Not of a change that was made after all, nor of one that can't be taken back."""
    one = claimed(TRANSFER, healthy(), "on")
    do = one.plan.changes[0].do
    events: list[e.Event] = [
        e.Looked(**ABOUT, attempt=1, facts=healthy(), before=Sample(at_ms=NOW, figures=TRANSFER.figures(healthy()))),
    ]
    for step, answer in ((1, "may_have_run"), (2, "accepted" if again else "never_sent")):
        said: dict[str, Any] = {"step": step, "change": 0, "kind": "do", "call": do, "undo": undo, "window_s": 15}
        events += [
            e.StepIntended(**ABOUT, attempt=1, **said),
            e.StepTaken(**ABOUT, attempt=1, step=step, answer=answer),
        ]
        if step == 1:
            events.append(e.StepProbed(**ABOUT, attempt=1, step=1, finding="not_started"))
    events += [aborting(), e.ChangeUndone(**ABOUT, attempt=1, change=0, settled=True)]
    claim = after(one, *events).claim
    assert claim is not None
    move = next_move(claim, Seen(controls=LIVE), claim.steps[-1].taken_at_ms, RULES)
    assert isinstance(move, Rest) == (undo is not None and not again)
    assert isinstance(move, Say) != isinstance(move, Rest)


@pytest.mark.parametrize(("tier", "settling_ms"), [(1, 50_000), (2, 10_000)])
def test_when_a_late_effect_would_have_shown_is_said_for_the_clusters_tier(tier: int, settling_ms: int) -> None:
    run = after_the(1, e.StepProbed, fate="lost before")
    assert run.claim is not None
    tiered = adopted(limits={"settling_s": 10, "tier": {"1": {"settling_s": 50}}})
    run.seen = replace(run.seen, controls=replace(tiered, stops=CONTROLS["frozen"].stops))
    settled_ms = run.claim.steps[0].intended_at_ms + 20_000 + settling_ms
    looked(run, settled_ms)
    assert next_move(run.claim, run.seen, run.now_ms, replace(RULES, tiers={"prod": tier})) == Rest(settled_ms + 1)


@pytest.mark.parametrize(("unheard_ms", "code"), [(14_999, ""), (15_000, "controls_not_live")])
def test_controls_that_can_not_be_read_for_a_window_stop_what_runs(unheard_ms: int, code: str) -> None:
    run = after_the(1, e.Sampled)
    run.seen = run.seen.hearing(CONTROLS["not live"], run.now_ms - unheard_ms)
    said = moved(run)
    assert [x.code for x in said.events if isinstance(said, Say)] == [code] if code else not isinstance(said, Say)


def test_a_freeze_of_this_cluster_alone_stops_what_runs() -> None:
    run = after_the(1, e.Sampled)
    run.seen = replace(run.seen, controls=replace(LIVE, stops={("freeze", "prod"): Stop("freeze", "anna", "t", 0)}))
    assert [x.code for x in moved(run).events] == ["frozen"]


@pytest.mark.parametrize(
    ("poll_s", "age_ms", "fresh"), [(2, 6000, True), (2, 6001, False), (1, 5000, True), (1, 5001, False)]
)
def test_a_look_is_acted_on_for_three_pauses_and_for_five_seconds_at_least(
    poll_s: float, age_ms: int, fresh: bool
) -> None:
    run = Execution(EVICT, healthy())
    looked(run, NOW + 1000)
    assert run.claim is not None
    move = next_move(run.claim, run.seen, run.now_ms + age_ms, replace(RULES, poll_s=poll_s))
    assert isinstance(move, Say) == fresh
    assert fresh or move == Look()


def test_what_was_seen_before_a_look_that_failed_is_not_acted_on() -> None:
    run = Execution(EVICT, healthy())
    looked(run, NOW + 1000)
    run.seen = replace(run.seen, no_facts=("pd_unreachable", "t"), no_facts_since_ms=run.now_ms)
    assert moved(run) == Look()


def test_under_a_halt_what_is_owed_stays_and_the_controls_are_read_again_with_the_next_look() -> None:
    run = after_the(3, e.Sampled)
    run.hears(e.ExecutionAborting(**ABOUT, attempt=1, code="cancelled", text="t"))
    run.seen = replace(run.seen, controls=replace(LIVE, stops={("halt", "prod"): Stop("halt", "anna", "t", 0)}))
    assert moved(run) == Rest(run.now_ms + 2000)


def test_a_rehearsal_that_was_cut_off_is_gone_on_with() -> None:
    run = Execution(EVICT, healthy(), mode="dry_run")
    while not isinstance(moved(run), Send):
        run.step("well")
    intended = moved(run).intended
    run.hears(intended)
    assert moved(run) == Say((e.StepTaken(**ABOUT, attempt=1, step=1, answer="rehearsed"),))


# -- what PD's leader keeps in memory --------------------------------------------------------------------------------


def test_a_pause_is_made_anew_under_a_new_pd_leader_after_a_pause_that_grows() -> None:
    run = after_the(1, e.StepTaken, "pause")
    assert run.claim is not None
    first_ms = run.claim.steps[0].taken_at_ms
    for made, pause_ms in ((1, 0), (2, 5_000), (3, 10_000)):
        last_ms = run.claim.steps[-1].taken_at_ms
        run.present, run.led_since_ms = False, last_ms + 1
        looked(run, last_ms + 1)
        if pause_ms:
            assert moved(run) == Rest(last_ms + pause_ms)
            looked(run, last_ms + pause_ms)
        intended = moved(run).intended
        assert (intended.kind, intended.change, intended.step, intended.keep_s) == ("do", 0, made + 1, 60)
        run.step("well")
    assert run.claim.due_ms(0) == first_ms + 60_000, "its time is counted from the first"
    last_ms = run.claim.steps[-1].taken_at_ms
    run.present, run.led_since_ms = False, last_ms + 1
    looked(run, last_ms + 1)
    (event,) = moved(run).events
    assert (event.code, event.text) == ("lost_again", "PD has lost pause_scheduler 4 times")


def test_what_the_same_pd_leader_has_no_more_somebody_has_taken_back() -> None:
    run = after_the(1, e.StepTaken, "pause")
    assert run.claim is not None
    made_ms = run.claim.steps[0].taken_at_ms
    run.present, run.led_since_ms = False, made_ms
    looked(run, made_ms + 1)
    (event,) = moved(run).events
    assert (event.code, event.text) == ("taken_back", "somebody has taken pause_scheduler back")


def test_a_look_from_before_the_pause_says_nothing_of_it() -> None:
    run = after_the(1, e.StepTaken, "pause")
    assert run.claim is not None
    made_ms = run.claim.steps[0].taken_at_ms
    run.present, run.led_since_ms = False, made_ms
    looked(run, made_ms)
    assert moved(run) == Look()


@pytest.mark.parametrize(
    ("changed", "again"), [({}, False), ({"pd_leader": "pd-1"}, True), ({"pd_started_at_ms": 7}, True)]
)
def test_who_takes_over_goes_by_who_led_when_it_was_begun(changed: dict[str, Any], again: bool) -> None:
    run = after_the(1, e.StepTaken, "pause")
    run.dies()
    while not isinstance(run.events[-1], e.TakenOver):
        run.step("well")
    run.base = run.base.model_copy(update=changed)
    run.present, run.led_since_ms = False, run.now_ms
    looked(run, run.now_ms + 1)
    move = moved(run)
    assert isinstance(move, Send) == again
    if not again:
        assert move.events[0].code == "taken_back"


@pytest.mark.parametrize("why", ["frozen", "not live"])
def test_under_a_stop_nothing_is_paused_anew(why: str) -> None:
    run = after_the(1, e.StepTaken, "pause")
    assert run.claim is not None
    made_ms = run.claim.steps[0].taken_at_ms
    run.present, run.led_since_ms = False, made_ms + 1
    looked(run, made_ms + 1)
    assert isinstance(moved(run), Send)
    run.seen = run.seen.hearing(CONTROLS[why], run.now_ms)
    assert not isinstance(moved(run), Send)


def test_what_is_over_is_not_paused_anew() -> None:
    """Neither after its time, nor while it is taken back."""
    run = after_the(1, e.StepTaken, "pause")
    assert run.claim is not None
    due_ms = run.claim.due_ms(0)
    run.present, run.led_since_ms = False, due_ms - 1
    looked(run, due_ms)
    assert isinstance(moved(run).events[0], e.ChangeUndone)


@pytest.mark.parametrize(
    ("shown", "again"),
    [({"paused": 1.0}, True), ({"paused": 0.0}, False), ({"paused": 1.0, "down_peers": 1.0}, False)],
    ids=["succeeded", "no better", "worse"],
)
def test_what_has_not_helped_or_made_it_worse_is_not_paused_anew(shown: dict[str, float], again: bool) -> None:
    run = after_the(1, e.StepTaken, "pause")
    assert run.claim is not None
    assert run.claim.before is not None
    figures = {**run.claim.before.figures, "done": 1.0, **shown}
    for n in range(3):
        run.hears(e.Sampled(**ABOUT, attempt=1, sample=Sample(at_ms=run.now_ms + n, figures=figures)))
    made_ms = run.claim.steps[0].taken_at_ms
    run.present, run.led_since_ms = False, made_ms + 1
    looked(run, made_ms + 1)
    move = moved(run)
    assert isinstance(move, Send) == again
    if not again:
        assert isinstance(move.events[0], e.ChangeUndone)


def test_a_look_from_before_it_was_paused_anew_does_not_say_that_there_is_nothing_to_take_back() -> None:
    run = after_the(1, e.StepTaken, "pause")
    assert run.claim is not None
    run.present, run.led_since_ms = False, run.claim.due_ms(0) - 1000
    looked(run, run.claim.due_ms(0) - 500)
    run.step("well")
    assert run.present
    run.now_ms = run.claim.due_ms(0)
    assert moved(run) == Look()


# -- what somebody has taken back before us -------------------------------------------------------------------------


def frozen_with(present: bool) -> Execution:
    """Evicted, frozen: the undo is due."""
    run = after_the(1, e.StepTaken)
    run.seen = replace(run.seen, controls=CONTROLS["frozen"])
    run.step("well")
    assert run.claim is not None
    assert run.claim.aborting is not None
    run.present = present
    return run


def test_before_the_first_undo_it_is_looked_whether_there_is_anything_to_take_back() -> None:
    run = frozen_with(present=True)
    assert run.claim is not None
    made_ms = run.claim.steps[0].taken_at_ms
    looked(run, made_ms)
    assert moved(run) == Look(), "what was begun before the change was made says nothing"
    looked(run, made_ms + 1)
    assert moved(run).intended.kind == "undo"


def test_what_somebody_has_taken_back_already_or_set_otherwise_is_not_ours_to_touch() -> None:
    run = frozen_with(present=False)
    looked(run, run.now_ms + 1)
    (undone,) = moved(run).events
    assert isinstance(undone, e.ChangeUndone)
    assert (undone.settled, undone.change, undone.looked_at_ms) == (False, 0, run.seen.looked_at_ms)
    run.step("well")
    run.step("well")
    assert isinstance(moved(run), Look | Rest), "it is watched for coming back, as ever"
    run.present, run.led_since_ms = True, run.now_ms
    looked(run, run.now_ms + 1)
    assert moved(run).intended.kind == "undo", "a new PD leader has brought ours back (tikv/pd#4707)"


def test_the_first_undo_does_not_wait_for_a_pd_that_can_not_be_read_or_has_not_settled() -> None:
    run = frozen_with(present=False)
    looked(run, run.now_ms + 1, settled=False)
    assert moved(run).intended.kind == "undo"
    run.seen = replace(run.seen, no_facts=("pd_timeout", "t"), no_facts_since_ms=run.now_ms)
    assert moved(run).intended.kind == "undo"


# -- a plan of two changes ------------------------------------------------------------------------------------------

TWO = (
    Change(do=calls.add_evict_leader(4), undo=calls.remove_evict_leader(4), keep_s=60),
    Change(do=calls.add_evict_leader(5), undo=calls.remove_evict_leader(5), keep_s=60),
)


def of_two(*events: e.Event) -> Claim:
    """A claim of a plan with two changes, looked at, and what came after, each a second later."""
    one = claimed(EVICT, healthy(), "on")
    plan = one.plan.model_copy(update={"changes": TWO})
    looked = e.Looked(**ABOUT, attempt=1, facts=healthy(), before=Sample(at_ms=NOW, figures=EVICT.figures(healthy())))
    claim = after(one.model_copy(update={"plan": plan}), looked, *events).claim
    assert claim is not None
    return claim


def seeing(at_ms: int) -> Seen:
    """Both are there."""
    facts = healthy(evicting=(4, 5), taken_at_ms=at_ms)
    return Seen(controls=LIVE, facts=facts, looked_at_ms=at_ms, ended_ms=at_ms)


def took(step: int, change: int, answer: Any, kind: Any = "do") -> tuple[e.StepIntended, e.StepTaken]:
    call = TWO[change].do if kind == "do" else TWO[change].undo
    assert call is not None
    intended = e.StepIntended(**ABOUT, attempt=1, step=step, change=change, kind=kind, call=call, window_s=15)
    return intended, e.StepTaken(**ABOUT, attempt=1, step=step, answer=answer)


def lost_by_pd(changes: tuple[Change, ...], *taken: tuple[int, str]) -> Any:
    """What is done where PD's new leader knows of no pause, after these calls were accepted."""
    one = claimed(ACTIONS["pause"][0], healthy(), "on")
    figures = {"down_peers": 0.0, "stores_up": 5.0}
    events: list[e.Event] = [
        e.Looked(**ABOUT, attempt=1, facts=healthy(), before=Sample(at_ms=NOW, figures=figures)),
    ]
    for step, (change, kind) in enumerate(taken, 1):
        call = changes[change].do if kind == "do" else changes[change].undo
        said: dict[str, Any] = {"step": step, "change": change, "kind": kind, "call": call}
        events += [
            e.StepIntended(**ABOUT, attempt=1, **said, window_s=15),
            e.StepTaken(**ABOUT, attempt=1, step=step, answer="accepted"),
        ]
    claim = after(one.model_copy(update={"plan": one.plan.model_copy(update={"changes": changes})}), *events).claim
    assert claim is not None
    at_ms = claim.steps[-1].taken_at_ms + 1000
    facts = healthy(taken_at_ms=at_ms, pd_leader_age_s=0.5)
    return next_move(claim, Seen(controls=LIVE, facts=facts, looked_at_ms=at_ms, ended_ms=at_ms), at_ms, RULES)


PAUSED = ACTIONS["pause"][0].plan(healthy())[0]


ANOTHER = PauseScheduler(scheduler="balance-leader-scheduler", keep_s=60).plan(healthy())[0]


@pytest.mark.parametrize(
    "changes",
    [(PAUSED, TWO[0]), (TWO[0], PAUSED), (ANOTHER, PAUSED)],
    ids=["first", "last", "behind one that is not lost"],
)
def test_of_two_changes_what_pd_has_lost_is_made_anew_at_once_wherever_it_stands(changes: tuple[Change, ...]) -> None:
    move = lost_by_pd(changes, (0, "do"), (1, "do"))
    assert isinstance(move, Send)
    assert (move.intended.step, move.intended.kind, move.intended.call) == (3, "do", PAUSED.do)


def test_what_has_been_taken_back_is_not_made_anew() -> None:
    assert isinstance(lost_by_pd((PAUSED,), (0, "do")), Send)
    assert not isinstance(lost_by_pd((PAUSED,), (0, "do"), (0, "undo")), Send)


@pytest.mark.parametrize("seconds", [10, 50])
@pytest.mark.parametrize("controls", [LIVE, adopted(version=2)], ids=["the policy", "another policy"])
def test_once_the_first_change_is_made_the_second_follows_however_old_the_look_is(controls: Any, seconds: int) -> None:
    claim = of_two(*took(1, 0, "never_sent"), *took(2, 0, "never_sent"), *took(3, 0, "accepted"))
    move = next_move(claim, Seen(controls=controls), NOW + seconds * 1000, RULES)
    assert isinstance(move, Send)
    assert (move.intended.step, move.intended.change, move.intended.call) == (4, 1, TWO[1].do)


def test_what_was_made_last_is_taken_back_first_and_of_what_is_refused_each_change_has_its_own_count() -> None:
    made = (*took(1, 0, "accepted"), *took(2, 1, "accepted"), aborting())
    claim = of_two(*made, *took(3, 1, "refused", "undo"), *took(4, 1, "refused", "undo"))
    move = next_move(claim, seeing(NOW + 60_000), NOW + 60_000, RULES)
    assert isinstance(move, Send)
    assert (move.intended.step, move.intended.change, move.intended.call) == (5, 1, TWO[1].undo)
    gone = e.ChangeUndone(**ABOUT, attempt=1, change=1, settled=True)
    claim = of_two(
        *made, *took(3, 1, "refused", "undo"), *took(4, 1, "refused", "undo"), *took(5, 1, "accepted", "undo"), gone
    )
    move = next_move(claim, seeing(NOW + 60_000), NOW + 60_000, RULES)
    assert isinstance(move, Send)
    assert (move.intended.step, move.intended.change, move.intended.call) == (6, 0, TWO[0].undo)
    refused = (*took(6, 0, "refused", "undo"), *took(7, 0, "refused", "undo"))
    claim = of_two(*made, *took(3, 1, "accepted", "undo"), gone, *refused)
    move = next_move(claim, seeing(NOW + 60_000), NOW + 60_000, RULES)
    assert isinstance(move, Send)


@pytest.mark.parametrize(("second", "last", "owed"), [("accepted", 1, TWO), ("refused", 0, TWO[:1])])
def test_what_is_concluded_of_an_undo_that_is_refused_says_the_last_refusal_and_what_is_owed(
    second: str, last: int, owed: tuple[Change, ...]
) -> None:
    refusals = [
        event.model_copy(update={"code": f"the {step}th"}) if isinstance(event, e.StepTaken) else event
        for step in (3, 4, 5)
        for event in took(step, last, "refused", "undo")
    ]
    claim = of_two(*took(1, 0, "accepted"), *took(2, 1, second), aborting(), *refusals)
    (concluded,) = next_move(claim, seeing(NOW + 60_000), NOW + 60_000, RULES).events  # type: ignore[union-attr]
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.code) == ("unknown", "undo_refused")
    assert concluded.text == "PD refuses to take it back: the 5th"
    assert concluded.owed == owed


def test_what_could_not_be_taken_back_is_tried_again_every_minute_in_the_end() -> None:
    unsent = [event for step in range(3, 16) for event in took(step, 1, "never_sent", "undo")]
    claim = of_two(*took(1, 0, "accepted"), *took(2, 1, "accepted"), aborting(), *unsent)
    last_ms = claim.steps[-1].taken_at_ms
    away = Seen(controls=LIVE, no_facts=("pd_unreachable", "t"), looked_at_ms=last_ms + 59_000)
    assert next_move(claim, away, last_ms + 59_999, RULES) == Rest(last_ms + 60_000)
    assert isinstance(next_move(claim, away, last_ms + 60_000, RULES), Send)
    for seen in (Seen(controls=LIVE), replace(away, looked_at_ms=last_ms + 53_999)):
        assert next_move(claim, seen, last_ms + 60_000, RULES) == Look(), "it may be back, and show something else"


@pytest.mark.parametrize(("answer", "waits"), [("never_sent", True), ("refused", False)])
def test_a_pd_that_was_away_settles_before_what_was_not_sent_is_sent_again(answer: str, waits: bool) -> None:
    """Of the second change PD can't tell: somebody may have set it otherwise. It is waited for two minutes."""
    claim = of_two(*took(1, 0, "accepted"), *took(2, 1, "accepted"), aborting(), *took(3, 1, answer, "undo"))
    until_ms = claim.steps[-1].taken_at_ms + 120_000
    for at_ms, waited in ((until_ms, waits), (until_ms + 1, False)):
        move = next_move(claim, seeing(at_ms), at_ms, RULES)
        assert isinstance(move, Rest) == waited
        assert isinstance(move, Send) != waited


def aborting() -> e.ExecutionAborting:
    return e.ExecutionAborting(**ABOUT, attempt=1, code="cancelled", text="t")


def test_samples_that_got_worse_bring_the_undo_at_once_although_it_would_be_kept() -> None:
    bad = [
        e.Sampled(**ABOUT, attempt=1, sample=Sample(at_ms=NOW + n, figures={**figures, "down_peers": 1.0, "done": 1.0}))
        for n in range(3)
        if (figures := EVICT.figures(healthy()))
    ]
    claim = of_two(*took(1, 0, "accepted"), *took(2, 1, "accepted"), *bad)
    move = next_move(claim, seeing(NOW + 10_000), NOW + 10_000, RULES)
    assert isinstance(move, Send)
    assert move.intended.kind == "undo"


def test_what_did_not_help_is_not_looked_at_once_more_when_pd_goes_on_by_itself() -> None:
    held = TransferRegionLeader(region_id=180, to_store_id=2, hold_s=60)
    one, figures = claimed(held, healthy(), "on"), held.figures(healthy())
    events: list[e.Event] = [e.Looked(**ABOUT, attempt=1, facts=healthy(), before=Sample(at_ms=NOW, figures=figures))]
    for step, change in enumerate(one.plan.changes, 1):
        said: dict[str, Any] = {"step": step, "change": step - 1, "kind": "do", "call": change.do, "window_s": 15}
        events += [
            e.StepIntended(**ABOUT, attempt=1, **said),
            e.StepTaken(**ABOUT, attempt=1, step=step, answer="accepted"),
        ]
    samples = [Sample(at_ms=NOW + n, figures=figures | {"leads": 0.0, "done": 1.0}) for n in range(3)]
    events += [e.Sampled(**ABOUT, attempt=1, sample=sample) for sample in samples]
    events += [e.ChangeUndone(**ABOUT, attempt=1, change=number, settled=True) for number in (1, 0)]
    claim = after(one, *events).claim
    assert claim is not None
    (concluded,) = next_move(claim, Seen(controls=LIVE), NOW + 700_000, RULES).events  # type: ignore[union-attr]
    assert isinstance(concluded, e.Concluded)
    assert (concluded.outcome, concluded.code) == ("no_better", "no_better")


def test_all_is_taken_back_before_any_of_it_is_watched() -> None:
    """A pause that waited for another one's settling time would end too late."""
    made = (*took(1, 0, "accepted"), *took(2, 1, "accepted"), aborting())
    gone = e.ChangeUndone(**ABOUT, attempt=1, change=1, settled=False)
    claim = of_two(*made, *took(3, 1, "accepted", "undo"), gone)
    move = next_move(claim, seeing(NOW + 60_000), NOW + 60_000, RULES)
    assert isinstance(move, Send)
    assert (move.intended.step, move.intended.change, move.intended.call) == (4, 0, TWO[0].undo)


def test_what_shall_stay_is_looked_at_once_more_when_pd_goes_on_by_itself() -> None:
    held = TransferRegionLeader(region_id=180, to_store_id=2, hold_s=60)
    one, figures = claimed(held, healthy(), "on"), held.figures(healthy())
    hold, move = one.plan.changes
    events: list[e.Event] = [
        e.Looked(**ABOUT, attempt=1, facts=healthy(), before=Sample(at_ms=NOW, figures=figures)),
    ]
    for step, change in ((1, hold), (2, move)):
        said = {"step": step, "change": step - 1, "kind": "do", "call": change.do, "window_s": 15}
        events += [
            e.StepIntended(**ABOUT, attempt=1, **said),
            e.StepTaken(**ABOUT, attempt=1, step=step, answer="accepted"),
        ]
    good = figures | {"leads": 1.0}
    samples = [Sample(at_ms=NOW + n, figures=good | {"done": 1.0}) for n in range(3)]
    events += [e.Sampled(**ABOUT, attempt=1, sample=sample) for sample in samples]
    settled = e.ChangeUndone(**ABOUT, attempt=1, change=0, settled=True)
    claim = after(one, *events, settled).claim
    assert claim is not None
    now_ms = NOW + 700_000
    assert next_move(claim, Seen(controls=LIVE), now_ms, RULES) == Look()
    seen = Seen(controls=LIVE, facts=healthy(), looked_at_ms=now_ms, ended_ms=now_ms)
    (sampled,) = next_move(claim, seen, now_ms, RULES).events  # type: ignore[union-attr]
    assert isinstance(sampled, e.Sampled)
    assert (sampled.sample.figures["after_release"], sampled.sample.figures["leads"]) == (1.0, 0.0)
    assert "done" not in sampled.sample.figures
    for leads, outcome in ((0.0, "no_better"), (1.0, "succeeded")):
        last = Sample(at_ms=now_ms, figures=good | {"leads": leads, "after_release": 1.0})
        claim = after(one, *events, settled, e.Sampled(**ABOUT, attempt=1, sample=last)).claim
        assert claim is not None
        (concluded,) = next_move(claim, seen, now_ms, RULES).events  # type: ignore[union-attr]
        assert isinstance(concluded, e.Concluded)
        assert (concluded.outcome, concluded.owed) == (outcome, ())
