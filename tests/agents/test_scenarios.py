"""A prompt has a version, and a change of it is compared over recorded cases: what is read, what came of replies."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agents import rendering
from agents.rendering import Prompt, prompt_named
from tests.agents.cases import alert
from tests.agents.scenarios import RENDERED, Prompts, Scenario, picked, record, scenarios, spoken

ALL = scenarios()
RECORD = "python -m tests.agents.scenarios --record"


def objections(scenario: Scenario, prompts: Prompts = prompt_named, directory: Path = RENDERED) -> list[str]:
    """What is wrong between what a case renders to now and what was recorded for that version."""
    found = []
    for request in scenario.requests(prompts):
        path = scenario.rendered_at(request, directory)
        if not path.exists():
            found.append(f"{path.name}: nothing is recorded for {request.version}; compare, then: {RECORD}")
        elif path.read_text() != spoken(request):
            found.append(f"{path.name}: what {request.version} renders to has changed; give the prompt a new version")
    return found


@pytest.mark.parametrize("scenario", ALL, ids=lambda s: s.name)
def test_the_diagnosis_prompt_is_versioned_and_a_change_to_it_is_compared_over_recorded_cases(
    scenario: Scenario,
) -> None:
    assert not objections(scenario)
    expected = scenario.told["diagnosis"]["expected"]
    assert picked(scenario.diagnosed(by_model=True), expected) == expected


@pytest.mark.parametrize("scenario", ALL, ids=lambda s: s.name)
def test_the_playbook_answers_recorded_cases_as_it_did(scenario: Scenario) -> None:
    expected = scenario.told["playbook"]
    assert picked(scenario.diagnosed(by_model=False), expected) == expected


@pytest.mark.parametrize("scenario", ALL, ids=lambda s: s.name)
def test_recorded_proposals_are_taken_as_they_were(scenario: Scenario) -> None:
    expected = scenario.told["proposal"]["expected"]
    assert picked(scenario.proposed(), expected) == expected


def test_a_changed_prompt_under_an_old_version_is_seen() -> None:
    def changed(name: str) -> Prompt:
        return dataclasses.replace(prompt_named(name), text=prompt_named(name).text + "\nBe bold.")

    for scenario in ALL:
        assert len(objections(scenario, changed)) == 2
        assert all("give the prompt a new version" in line for line in objections(scenario, changed))
    assert not record(changed), "and recording does not paper over it"


def test_a_new_version_wants_its_cases_recorded(tmp_path: Path) -> None:
    def newer(name: str) -> Prompt:
        return dataclasses.replace(prompt_named(name), version=f"{name}-999")

    assert all("nothing is recorded" in line for line in objections(ALL[0], newer, tmp_path))
    assert len(record(newer, tmp_path)) == 2 * len(ALL)
    assert not objections(ALL[0], newer, tmp_path)


def test_there_are_cases_at_all_and_each_is_one_sentence() -> None:
    assert len(ALL) >= 5
    assert all(s.told["what"].endswith(".") for s in ALL)


def test_what_alerts_say_stands_inside_a_fence_that_it_cannot_close() -> None:
    text = next(s for s in ALL if s.name == "an_alert_gives_orders").requests()[0].user
    fenced = [line for line in text.splitlines() if "SYSTEM:" in line]
    assert len(fenced) == 1
    assert fenced[0].count("<untrusted>") == fenced[0].count("</untrusted>") == 1
    assert fenced[0].endswith("</untrusted>")
    assert not [line for line in text.splitlines() if line.startswith("E40")]


def test_rendering_is_the_same_each_time() -> None:
    asked = [Scenario(s.path).requests() for s in ALL]
    assert asked == [Scenario(s.path).requests() for s in ALL]
    assert rendering.rules_spoken((alert("Mine"),)) == ["- none of them is a stock rule"]
