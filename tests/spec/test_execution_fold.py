"""What the executor remembers of a cluster from `outcomes` alone: who comes after a crash has nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass
from types import ModuleType
from typing import Any

import pytest

from executors import changes, protocol
from executors.changes import Claim, Step
from executors.protocol import ANSWERED_KEPT, Cluster, evolve
from schemas import events as e
from schemas.values import Head, Sample
from tests.actions.clusters import NOW, healthy
from tests.spec.test_protocol_properties import EVICT, claimed

ABOUT: dict[str, Any] = {"cluster_id": "prod", "remediation_id": "R"}
CHANGE = EVICT.plan(healthy())[0]


def after(*events: e.Event, cluster: Cluster | None = None) -> Cluster:
    cluster = cluster or Cluster("prod")
    for second, event in enumerate(events):
        cluster = evolve(cluster, event, Head(event_id="x", at_ms=NOW + second * 1000))
    return cluster


def claim_after(*events: e.Event) -> Claim:
    claim = after(claimed(EVICT, healthy(), "on"), *events).claim
    assert claim is not None
    return claim


def intended(number: int) -> e.StepIntended:
    return e.StepIntended(
        **ABOUT, attempt=1, step=number, change=0, kind="do", call=CHANGE.do, undo=CHANGE.undo, keep_s=60, window_s=15
    )


def test_how_each_order_was_answered_is_known_beside_the_others() -> None:
    refused = e.ClaimRefused(cluster_id="prod", remediation_id="R0", code="frozen", text="")
    other = e.ClaimRefused(cluster_id="prod", remediation_id="R1", code="expired", text="")
    found = after(refused, other, claimed(EVICT, healthy(), "on"))
    assert found.answered == {"R0": "frozen", "R1": "expired", "R": "claimed"}


def test_a_claim_knows_its_place_in_the_chain_and_since_when_it_is() -> None:
    claim = evolve(Cluster("prod"), claimed(EVICT, healthy(), "on"), Head(event_id="x", at_ms=NOW, seq=7)).claim
    assert claim is not None
    assert (claim.seq, claim.claimed_at_ms, claim.attempt) == (7, NOW, 1)


@pytest.mark.parametrize(("outcome", "quarantine"), [("succeeded", ""), ("unknown", "R")])
def test_a_conclusion_closes_the_claim_and_only_unknown_quarantines(outcome: Any, quarantine: str) -> None:
    said = e.Concluded(**ABOUT, incident_id="I", attempt=1, outcome=outcome, code="c", text="")
    found = after(claimed(EVICT, healthy(), "on"), said)
    assert (found.claim, found.quarantine, found.answered) == (None, quarantine, {"R": outcome})


def test_a_quarantine_outlasts_another_conclusion_and_ends_when_a_person_lifts_it() -> None:
    said = e.Concluded(**ABOUT, incident_id="I", attempt=1, outcome="not_started", code="c", text="")
    still = after(claimed(EVICT, healthy(), "on"), said, cluster=Cluster("prod", quarantine="R0"))
    assert still.quarantine == "R0"
    lifted = after(e.QuarantineLifted(cluster_id="prod", remediation_id="R0", person="anna", reason="t"), cluster=still)
    assert lifted.quarantine == ""


def test_a_step_that_a_look_found_applied_was_made_when_it_was_intended() -> None:
    """Nobody heard an answer: the earliest it can have been, so that a temporary change is never kept for too long."""
    never = e.StepTaken(**ABOUT, attempt=1, step=1, answer="never_sent", code="frozen")
    applied = e.StepProbed(**ABOUT, attempt=1, step=2, finding="applied")
    first, second = claim_after(intended(1), never, intended(2), applied).steps
    assert (first.taken_at_ms, first.finding) == (NOW + 2000, None)
    assert (second.taken_at_ms, second.finding) == (NOW + 3000, "applied")


def test_a_step_that_was_answered_keeps_the_time_of_its_answer_when_it_is_looked_at() -> None:
    lost = e.StepTaken(**ABOUT, attempt=1, step=1, answer="may_have_run", code="timeout")
    claim = claim_after(intended(1), lost, e.StepProbed(**ABOUT, attempt=1, step=1, finding="applied"))
    assert (claim.steps[0].taken_at_ms, claim.steps[0].code, claim.errors) == (NOW + 2000, "timeout", 1)


def test_what_is_said_of_no_open_claim_changes_nothing() -> None:
    assert after(intended(1)) == Cluster("prod")


def kinds_of(*modules: ModuleType) -> list[type]:
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__
    ]


@pytest.mark.parametrize("kind", kinds_of(changes, protocol), ids=lambda kind: kind.__name__)
def test_nothing_that_is_folded_or_asked_can_be_changed_in_place(kind: type) -> None:
    assert claim_after(intended(1)).may_have_effect()  # `make mutate` tries the tests that run the file
    with pytest.raises(FrozenInstanceError):
        setattr(object.__new__(kind), "changed", 1)  # noqa: B010


def test_of_a_claim_that_has_just_begun_nothing_is_known() -> None:
    found = claim_after()
    nothing = {f.name: getattr(found, f.name) for f in fields(Claim) if f.name not in ("claimed", "attempt")}
    assert nothing == {
        "seq": 0,
        "claimed_at_ms": NOW,
        "facts": None,
        "before": None,
        "looked_at_ms": 0,
        "steps": (),
        "aborting": None,
        "worse": False,
        "samples": (),
        "gone": {},
        "gone_as": {},
        "settled": frozenset(),
        "errors": 0,
    }


def test_of_a_step_all_is_kept_that_was_said_of_it() -> None:
    assert claim_after(intended(1)).steps == (
        Step(
            number=1,
            kind="do",
            change=0,
            call=CHANGE.do,
            undo=CHANGE.undo,
            keep_s=60,
            intended_at_ms=NOW + 1000,
            window_s=15,
            attempt=1,
            answer=None,
            taken_at_ms=0,
            code="",
            finding=None,
        ),
    )


def test_who_takes_over_forgets_what_was_seen_before_where_nothing_may_have_been_done() -> None:
    seen = Sample(at_ms=NOW, figures={"leaders": 1.0})
    looked = e.Looked(**ABOUT, attempt=1, facts=healthy(), before=seen)
    over = e.TakenOver(**ABOUT, attempt=2, owner="me")
    assert [claim_after(looked, *step, over).before for step in ((), (intended(1),))] == [None, seen]


def test_the_last_twenty_samples_are_kept() -> None:
    samples = [Sample(at_ms=NOW + n, figures={"leaders": 1.0}) for n in range(25)]
    found = claim_after(*(e.Sampled(**ABOUT, attempt=1, sample=sample) for sample in samples))
    assert found.samples == tuple(samples[5:])


def test_how_a_thousand_orders_were_answered_is_kept_beside_the_one_that_is_claimed() -> None:
    answered = {f"R{n}": "expired" for n in range(1002)}
    found = after(claimed(EVICT, healthy(), "on"), cluster=Cluster("prod", answered=answered))
    assert list(found.answered) == [*list(answered)[2:], "R"]


@pytest.mark.parametrize(
    "said",
    [
        lambda rid: e.ClaimRefused(cluster_id="prod", remediation_id=rid, code="mode", text="t"),
        lambda rid: e.Concluded(
            cluster_id="prod", incident_id="I", remediation_id=rid, attempt=1, outcome="succeeded", code="c", text="t"
        ),
    ],
    ids=["refusals", "conclusions"],
)
def test_of_answers_the_latest_are_kept(said: Callable[[str], e.Event]) -> None:
    cluster = Cluster("prod")
    for n in range(ANSWERED_KEPT + 5):
        cluster = evolve(cluster, said(f"R-{n}"), Head(event_id="x", at_ms=1))
    assert list(cluster.answered)[:1] == ["R-4"]
    assert len(cluster.answered) == ANSWERED_KEPT + 1
