"""Single moves of the protocol, where a whole history would hide what one of them hangs on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from executors.protocol import Look, Rest, Say, next_move
from schemas import events as e
from tests.actions.clusters import healthy
from tests.spec.test_protocol_properties import CONTROLS, EVICT, RULES, TRANSFER, Execution


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
