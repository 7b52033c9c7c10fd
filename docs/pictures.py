"""Diagrams (mermaid) of the pipeline and of a remediation's life, drawn from their tables."""

from __future__ import annotations

from schemas.lifecycle import OPEN, TRANSITIONS
from streams.pipeline import ACT, BY_NAME, EDGES, OBSERVE, PROCESSORS, Processor

SEES_EVERYTHING = tuple(line.role for line in EDGES if len(line.reads) == len(BY_NAME))  # drawn as a sentence
_SHAPES = {"maps": ("([", "])"), "decides": ("[", "]"), "works": ("[[", "]]"), "edge": ("{{", "}}")}


def pipeline() -> str:
    """A box a role, an arrow a topic from its writer to whoever reads it."""
    lines = ["```mermaid", "flowchart LR", "  monitors((monitors))"]
    for line in EDGES:
        if line.writes:
            lines.append(_box(line, "  "))
    for title, group in (("OBSERVE", OBSERVE), ("ACT", ACT)):
        lines += [f"  subgraph {title}", *(_box(line, "    ") for line in group), "  end"]
    writers = _writers()
    for reader in PROCESSORS:
        for topic in reader.reads:
            lines += [f"  {writer} -- {topic} --> {reader.role}" for writer in writers[topic]]
    consulting = " & ".join(line.role for line in PROCESSORS if line.consults)
    lines += [f"  {writer} -. controls .-> {consulting}" for writer in writers["controls"]]
    text = (
        f"Round: *maps*, on Faust. Box: *decides*, the topic that it writes is its state. Double box: *works*, a lane a"
        f" cluster. Dotted: read whole to the live end, not as an input. {' and '.join(SEES_EVERYTHING)} read every"
        f" topic; each role's dead letters have a topic of their own."
    )
    return "\n".join([*lines, "```", "", text])


def _box(line: Processor, indent: str) -> str:
    left, right = _SHAPES[line.verb]
    return f"{indent}{line.role}{left}{line.role}{right}"


def _writers() -> dict[str, list[str]]:
    """Who writes each topic, foreign monitors included."""
    found: dict[str, list[str]] = {name: [] for name in BY_NAME}
    for name, topic in BY_NAME.items():
        if topic.writer == "monitors":
            found[name].append("monitors")
    for line in (*EDGES, *PROCESSORS):
        for topic_name in line.writes:
            found[topic_name].append(line.role)
    return found


def lifecycle() -> str:
    """Every step of the table, but those that each open state has."""
    everywhere = everywhere_events()
    lines = ["```mermaid", "stateDiagram-v2"]
    for (before, event), after in TRANSITIONS.items():
        if event not in everywhere:
            lines.append(f"  {before or '[*]'} --> {after}: {event}")
    lines += [f"  {state} --> closed: RemediationClosed" for state in OPEN]
    return "\n".join([*lines, "  closed --> [*]", "```"])


def everywhere_events() -> tuple[str, ...]:
    """Events that every open state takes."""
    names = dict.fromkeys(event for _, event in TRANSITIONS)
    return tuple(name for name in names if all((state, name) in TRANSITIONS for state in OPEN))
