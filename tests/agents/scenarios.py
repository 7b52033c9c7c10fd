"""Recorded cases of thinking: alerts and facts, what the model replied, what became of it, and what it had read.

`python -m tests.agents.scenarios --record` adds what a *new* version of a prompt renders to; it never replaces what was
recorded for a version, so a changed prompt needs a new version, and the difference between the two is there to be read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from actions.action import Action
from agents.diagnose import Diagnose
from agents.evidence import collect
from agents.offers import proposal_request
from agents.propose import Propose
from agents.rendering import Prompt, diagnosis_request, prompt_named
from agents.thinking import Request
from schemas.events import ActionProposed, DiagnosisAbstained, DiagnosisAdopted, DiagnosisMade, Event, NothingProposed
from schemas.facts import Facts
from schemas.values import AlertRef, Evidence, StoreId
from tests.agents.cases import CLUSTER, adopted, asked
from tests.agents.lane import FakeLane, FixedFacts, ScriptedThinker

SCENARIOS = Path(__file__).parents[2] / "agents" / "scenarios"
RENDERED = SCENARIOS / "rendered"
DEADLINE_S = 60.0
Prompts = Callable[[str], Prompt]


class StandIn(Action):
    """Stands for any action, so that the words of the real ones may change without a new version of the prompt."""

    name: ClassVar[str] = "stand_in"
    store_id: StoreId


@dataclass(frozen=True)
class Scenario:
    path: Path

    @cached_property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def facts(self) -> Facts:
        return Facts.model_validate_json(json.dumps(self.told["facts"]))

    @property
    def alerts(self) -> tuple[AlertRef, ...]:
        return tuple(AlertRef.model_validate(a) for a in self.told["alerts"])

    def evidence(self) -> tuple[Evidence, ...]:
        return collect(self.alerts, self.facts).evidence()

    def requests(self, prompts: Prompts = prompt_named) -> tuple[Request, Request]:
        """What a model reads of this case: for its diagnosis, and for its proposal about the diagnosis told."""
        offer = {"stand_in": StandIn}
        return (
            diagnosis_request(prompts("diagnosis"), CLUSTER, self.alerts, self.evidence(), DEADLINE_S),
            proposal_request(prompts("proposal"), self.adopted(), offer, 900, DEADLINE_S),
        )

    def diagnosed(self, by_model: bool) -> DiagnosisMade | DiagnosisAbstained:
        """The answer of the real processor, with the recorded reply in place of the model."""
        thinker = ScriptedThinker(json.dumps(self.told["diagnosis"]["reply"])) if by_model else None
        lane = FakeLane(Diagnose(FixedFacts(self.facts), thinker))
        lane.give(asked(*self.alerts, family=self.told["family"], by="model" if by_model else "playbook"))
        answer = lane.run()[-1]
        assert isinstance(answer, DiagnosisMade | DiagnosisAbstained)
        return answer

    def adopted(self) -> DiagnosisAdopted:
        answer = self.diagnosed(by_model=True)
        if isinstance(answer, DiagnosisAbstained):
            return adopted("unknown", answer.evidence, by="model", summary=answer.reason, confidence=0.0)
        cited = tuple(e for e in answer.evidence if e.id in answer.cited)
        return adopted(
            answer.cause, cited, by="model", summary=answer.summary, confidence=answer.confidence, model=answer.model
        )

    def proposed(self) -> ActionProposed | NothingProposed:
        thinker = ScriptedThinker(json.dumps(self.told["proposal"]["reply"]))
        lane = FakeLane(Propose(FixedFacts(self.facts), thinker))
        lane.give(self.adopted())
        answer = lane.run()[-1]
        assert isinstance(answer, ActionProposed | NothingProposed)
        return answer

    def rendered_at(self, request: Request, directory: Path = RENDERED) -> Path:
        return directory / f"{self.name}.{request.version}.md"


def scenarios() -> list[Scenario]:
    return [Scenario(path) for path in sorted(SCENARIOS.glob("*.json"))]


def spoken(request: Request) -> str:
    """All that the model reads, as a page that people can compare."""
    return (
        f"prompt {request.version}, sha256 {request.sha256()}\n\n# System\n\n{request.system}\n\n"
        f"# User\n\n{request.user}\n\n# Schema of the reply\n\n{request.schema}\n"
    )


def picked(answer: Event, expected: dict[str, Any]) -> dict[str, Any]:
    """The fields of an answer that a scenario speaks of."""
    whole = {"event": type(answer).__name__, **json.loads(answer.model_dump_json())}
    return {key: whole[key] for key in expected}


def record(prompts: Prompts = prompt_named, directory: Path = RENDERED) -> list[Path]:
    """Write what new versions render to; returns what was added."""
    added = []
    for scenario in scenarios():
        for request in scenario.requests(prompts):
            path = scenario.rendered_at(request, directory)
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text(spoken(request))
                added.append(path)
    return added


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit("usage: python -m tests.agents.scenarios --record")
    for path in record():
        print(path.relative_to(SCENARIOS.parent.parent))
