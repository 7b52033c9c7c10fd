"""What a model reads, rendered. Pure: the same evidence gives the same words, so that a change of a prompt shows.

A prompt is a file of agents/prompts with its version on the first line. The version counts for everything the model
reads: the file, the evidence's words, the causes offered and the reply's schema. Recorded cases in agents/scenarios
hold it to that. Nothing about acting may come in here: switching it on must change no diagnosis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from agents.causes import CAUSES
from agents.evidence import quoted
from agents.replies import diagnosis_schema
from agents.thinking import Request
from schemas.alert_rules import ALIASES, rule_of
from schemas.values import AlertRef, Evidence

_FIRST_LINE = re.compile(r"version: (\d+)\n\n")


@dataclass(frozen=True)
class Prompt:
    """The standing part of a question: `diagnosis-2` and its text."""

    name: str
    version: str
    text: str


def prompt_named(name: str) -> Prompt:
    """A prompt as it ships with this version of Steward."""
    whole = files("agents").joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")
    found = _FIRST_LINE.match(whole)
    assert found, f"agents/prompts/{name}.md does not begin with its version"
    return Prompt(name, f"{name}-{found[1]}", whole[found.end() :].strip())


def diagnosis_request(
    prompt: Prompt, cluster_id: str, alerts: Iterable[AlertRef], evidence: Iterable[Evidence], deadline_s: float
) -> Request:
    """The question that a model is asked about one incident."""
    causes = [f"- {name}: {known.words}" for name, known in sorted(CAUSES.items()) if name != "unknown"]
    parts = [
        f"Cluster: {quoted(cluster_id, 128)}",
        section("What the rules that fired mean", rules_spoken(alerts)),
        section("Evidence", evidence_spoken(evidence)),
        section("Causes", [*causes, "- unknown: the evidence does not tell"]),
    ]
    return Request(prompt.name, prompt.version, prompt.text, "\n\n".join(parts), diagnosis_schema(), deadline_s)


def section(title: str, lines: Iterable[str]) -> str:
    return "\n".join((f"## {title}", "", *lines))


def evidence_spoken(evidence: Iterable[Evidence]) -> list[str]:
    """One line a piece; what came from an alert is fenced, and can't hold a fence of its own."""
    return [
        f"{e.id} [alert] <untrusted>{_unfenced(e.text)}</untrusted>"
        if e.source == "alert"
        else f"{e.id} [{e.source}] {_unfenced(e.text)}"
        for e in evidence
    ]


def rules_spoken(alerts: Iterable[AlertRef]) -> list[str]:
    """What our own table says about the rules behind the alerts, once each, by the table's names."""
    lines = {}
    for alert in alerts:
        if rule := rule_of(alert.name):
            renamed = f" (here by its old name {alert.name})" if alert.name in ALIASES else ""
            note = f" Note: {rule.note}." if rule.note else ""
            lines[rule.name] = f"- {rule.name}{renamed}: look for {rule.tells}.{note}"
    return list(lines.values()) or ["- none of them is a stock rule"]


def _unfenced(text: str) -> str:
    return text.replace("<", "(").replace(">", ")")
