"""The `diagnose` role around its answers: asked once, answered once, nobody waits for somebody slow."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from agents.diagnose import ANSWERED_KEPT, LOOK_ENDS_MS, Diagnose, Diagnosing
from agents.looking import AGAIN_MS, LOOK_FOR_MS
from agents.thinking import ModelOverloaded
from schemas.events import By, DiagnosisAbstained, DiagnosisAsked, DiagnosisMade, DiagnosisStarted, IncidentClosed
from schemas.facts import NoFacts
from tests.agents.cases import CLUSTER, alert, asked, facts, store
from tests.agents.lane import FakeLane, FixedFacts, ScriptedThinker, failing, of_kind, unreachable

SLOW = facts(store(4, slow_score=84))
ALERT = alert("PD_cluster_slow_tikv_nums", instance="10.0.9.1:2379")
GOOD = json.dumps(
    {"cause": "slow_store", "confidence": 0.9, "summary": "disk stall, store 4", "cited": ["E1"], "ruled_out": []}
)


def lane_with(thinker: ScriptedThinker | None = None) -> FakeLane[Diagnosing]:
    lane = FakeLane(Diagnose(FixedFacts(SLOW), thinker))
    if thinker:
        thinker.clock = lane.now_ms
    return lane


def slow_ask(by: By, ask_id: str, deadline_ms: int = 1_060_000) -> DiagnosisAsked:
    return asked(ALERT, family="slow_store", by=by, ask_id=ask_id, deadline_ms=deadline_ms)


def code_of(lane: FakeLane[Diagnosing]) -> str:
    abstained = lane.run()[-1]
    assert isinstance(abstained, DiagnosisAbstained)
    return abstained.code


def test_an_ask_told_twice_is_started_and_answered_once() -> None:
    lane = lane_with()
    assert len(lane.give(slow_ask("playbook", "A-1"))) == 1
    assert not lane.give(slow_ask("playbook", "A-1"))
    lane.run()
    assert not lane.give(slow_ask("playbook", "A-1"))
    assert len(of_kind(lane.said, DiagnosisMade)) == 1


def test_other_events_are_none_of_its_business() -> None:
    lane = lane_with()
    assert not lane.give(IncidentClosed(cluster_id=CLUSTER, incident_id="INC-1", code="resolved", text=""))
    assert not lane.works.owed(lane.state)
    assert lane.works.wakes_at(lane.state) is None


def test_memory_of_answered_asks_is_bounded() -> None:
    lane = lane_with()
    for n in range(ANSWERED_KEPT + 10):
        lane.give(slow_ask("playbook", f"A-{n}"))
    lane.run()
    assert len(lane.state.answered) == ANSWERED_KEPT


def test_the_playbook_answers_first_though_asked_last() -> None:
    lane = lane_with(ScriptedThinker(GOOD))
    lane.give(slow_ask("model", "A-m"))
    lane.give(slow_ask("playbook", "A-p"))
    lane.run()
    assert [e.by for e in of_kind(lane.said, DiagnosisMade)] == ["playbook", "model"]


def test_an_ask_of_the_playbook_is_answered_while_the_model_thinks() -> None:
    lane = lane_with(ScriptedThinker(GOOD, takes_ms=40_000))
    lane.give(slow_ask("model", "A-m"))
    lane.later = [(1_005_000, slow_ask("playbook", "A-p"))]
    lane.run()
    at_ms = {e.ask_id: at for e, at in zip(lane.said, lane.said_at_ms, strict=True) if isinstance(e, DiagnosisMade)}
    assert at_ms["A-p"] == 1_005_000
    assert 1_040_000 <= at_ms["A-m"] <= 1_040_400


def test_thoughts_run_side_by_side_and_a_slow_one_holds_up_no_other() -> None:
    thinker = ScriptedThinker(GOOD, takes_ms=30_000)
    lane = lane_with(thinker)
    for n in range(6):
        lane.give(slow_ask("model", f"A-{n}", deadline_ms=1_200_000))
    lane.run()
    assert len(of_kind(lane.said, DiagnosisMade)) == 6
    assert lane.now_ms() < 1_000_000 + 2 * 30_000 + 2_000, "four at once, then two"


def test_a_thought_that_never_ends_is_given_up_before_the_deadline() -> None:
    thinker = ScriptedThinker(GOOD, takes_ms=10**9)
    lane = lane_with(thinker)
    lane.give(slow_ask("model", "A-m"))
    abstained = lane.run()[-1]
    assert isinstance(abstained, DiagnosisAbstained)
    assert abstained.code == "model_timed_out"
    assert lane.now_ms() < 1_060_000
    assert thinker.thoughts[0].cancelled


def test_a_model_is_given_what_is_left_of_the_deadline() -> None:
    thinker = ScriptedThinker(GOOD)
    lane = lane_with(thinker)
    lane.give(slow_ask("model", "A-m", deadline_ms=lane.now_ms() + 31_000))
    lane.run()
    assert thinker.asked[0].deadline_s == 30


def test_a_model_is_not_asked_after_the_deadline_and_the_playbook_still_answers() -> None:
    thinker = ScriptedThinker(GOOD)
    lane = lane_with(thinker)
    lane.give(slow_ask("model", "A-m", deadline_ms=lane.now_ms() - 1))
    lane.give(slow_ask("playbook", "A-p", deadline_ms=lane.now_ms() - 1))
    made, abstained = lane.run()[-2:]
    assert isinstance(made, DiagnosisMade)
    assert isinstance(abstained, DiagnosisAbstained)
    assert abstained.code == "too_late"
    assert not thinker.asked


def test_without_a_model_its_asks_are_answered_too() -> None:
    lane = lane_with()
    lane.give(slow_ask("model", "A-m"))
    assert code_of(lane) == "no_model"


def test_a_model_is_not_asked_without_facts() -> None:
    thinker = ScriptedThinker(GOOD)
    lane = FakeLane(Diagnose(unreachable(), thinker))
    lane.give(slow_ask("model", "A-m"))
    assert code_of(lane) == "pd_unreachable"
    assert not thinker.asked


BLIP = NoFacts("pd_breaker_open", "PD of prod-eu-7 timed out; asked again in 3.1 s")


def test_a_pd_that_is_away_for_a_moment_is_asked_again() -> None:
    """It gave no answer once, and the incident was left without a diagnosis for good."""
    lane = FakeLane(Diagnose(reader := FixedFacts(SLOW, [BLIP, BLIP])))
    lane.give(slow_ask("playbook", "A-1"))
    made = lane.run()[-1]
    assert isinstance(made, DiagnosisMade)
    assert (made.cause, made.took_ms, len(reader.looks)) == ("slow_store", 2 * AGAIN_MS, 3)


@pytest.mark.parametrize(
    ("seen", "deadline_ms", "looks", "waited_ms"),
    [
        (BLIP, 1_060_000, 6, LOOK_FOR_MS),
        (BLIP, 1_000_000 + LOOK_ENDS_MS + AGAIN_MS, 2, AGAIN_MS),
        (BLIP, 1_000_000 + LOOK_ENDS_MS + AGAIN_MS - 1, 1, 0),
        (NoFacts("pd_wrong_cluster", "x"), 1_060_000, 1, 0),
        (ZeroDivisionError("a defect"), 1_060_000, 1, 0),
    ],
)
def test_a_pd_that_stays_away_is_not_waited_for_for_long(
    seen: Exception, deadline_ms: int, looks: int, waited_ms: int
) -> None:
    lane = FakeLane(Diagnose(reader := FixedFacts(seen)))
    lane.give(slow_ask("playbook", "A-1", deadline_ms=deadline_ms))
    abstained = lane.run()[-1]
    assert isinstance(abstained, DiagnosisAbstained)
    assert (len(reader.looks), abstained.took_ms) == (looks, waited_ms)


def test_a_failing_model_and_a_defect_in_its_wire_are_abstentions() -> None:
    lane = lane_with(failing(ModelOverloaded("529")))
    lane.give(slow_ask("model", "A-m"))
    assert code_of(lane) == "model_overloaded"
    lane = lane_with(ScriptedThinker(ZeroDivisionError("oops")))
    lane.give(slow_ask("model", "A-m"))
    assert code_of(lane) == "model_failed"


def test_a_lane_that_is_stopped_leaves_no_thought_behind() -> None:
    thinker = ScriptedThinker(GOOD, takes_ms=10**9)
    lane = lane_with(thinker)
    lane.give(slow_ask("model", "A-m", deadline_ms=10**12))

    async def stopped() -> None:
        async with asyncio.timeout(0.05):
            await lane.works.work(lane, False)

    with pytest.raises(TimeoutError):
        asyncio.run(stopped())
    assert thinker.thoughts[0].cancelled
    assert lane.works.owed(lane.state), "the next owner asks again"


def test_a_restored_state_owes_what_was_open() -> None:
    lane = lane_with()
    lane.give(slow_ask("playbook", "A-1"))
    restored = FakeLane(Diagnose(FixedFacts(SLOW)))
    restored._fold(of_kind(lane.said, DiagnosisStarted))
    assert restored.works.owed(restored.state)
    assert isinstance(restored.run()[-1], DiagnosisMade)


@pytest.mark.local
def test_diagnosing_works_where_acting_is_not_installed() -> None:
    code = "import sys; sys.modules['actions'] = None; import agents.diagnose, agents.claude; print('observes')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "observes"
