"""What a replay has found: decisions that came out the same, those that did not, field by field, and what was believed.

What came from outside (a look at PD, a model's reply, a person's word) is taken as it stands on record, and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.events import Event
from schemas.processors import Record
from schemas.text import clean

NOTHING = "nothing"
VALUE_CHARS_MAX = 160
LISTED_MAX = 100


@dataclass(frozen=True)
class Difference:
    """`path`: dotted, into the event; `event` where it is of another kind, or there is none."""

    path: str
    recorded: Any
    decided: Any

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.recorded)} -> {_shown(self.decided)}"


@dataclass(frozen=True)
class Decision:
    """One that came out differently, at the place of its first event."""

    role: str
    record: Record
    differs: tuple[Difference, ...]

    @property
    def place(self) -> str:
        r = self.record
        return f"{r.topic}/{r.partition}@{r.offset}"

    def __str__(self) -> str:
        what = f"{self.place} {self.role} {type(self.record.event).__name__}"
        return "\n".join([clean(what), *(f"  {d}" for d in self.differs)])

    def to_dict(self) -> dict[str, Any]:
        cause = self.record.head.cause
        return {
            "role": self.role,
            "topic": self.record.topic,
            "partition": self.record.partition,
            "offset": self.record.offset,
            "seq": self.record.head.seq,
            "at_ms": self.record.head.at_ms,
            "cluster_id": self.record.event.cluster_id,
            "event": type(self.record.event).__name__,
            "cause": f"{cause.topic}/{cause.partition}@{cause.offset}" if cause else "",
            "differs": [{"path": d.path, "recorded": d.recorded, "decided": d.decided} for d in self.differs],
        }


@dataclass
class Report:
    """`same`: decisions by role. `outside`: what was taken as recorded, by kind. `notes`: what else a reader must know,
    in order and once."""

    incident: str = ""
    same: Counter[str] = field(default_factory=Counter)
    differing: list[Decision] = field(default_factory=list)
    outside: Counter[str] = field(default_factory=Counter)
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.differing

    def judged(self, role: str, record: Record, differs: Sequence[Difference]) -> None:
        if differs:
            self.differing.append(Decision(role, record, tuple(differs)))
        else:
            self.same[role] += 1

    def note(self, text: str) -> None:
        self.notes[text] = None

    @property
    def headline(self) -> str:
        of = f" of {self.incident}" if self.incident else ""
        same, outside = sum(self.same.values()), sum(self.outside.values())
        taken = f"{outside} inputs from outside taken as recorded"
        if self.ok:
            return f"{same} decisions{of} come out the same; {taken}"
        every = same + len(self.differing)
        return f"DIFFERENT: {len(self.differing)} of {every} decisions{of} come out differently; {taken}"

    def to_text(self) -> str:
        listed = [str(d) for d in self.differing[:LISTED_MAX]]
        if left := len(self.differing) - LISTED_MAX:
            listed += [f"and {left} more"] if left > 0 else []
        roles = ", ".join(f"{role} {count}" for role, count in sorted(self.same.items()))
        outside = ", ".join(f"{kind} {count}" for kind, count in sorted(self.outside.items()))
        counts = [f"  the same: {roles or NOTHING}", f"  from outside: {outside or NOTHING}"]
        return "\n".join([self.headline, *listed, *counts, *(f"  note: {clean(text)}" for text in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "text": self.to_text(),
            "incident": self.incident,
            "same": dict(self.same),
            "differing": [d.to_dict() for d in self.differing],
            "outside": dict(self.outside),
            "notes": list(self.notes),
        }


def compare(recorded: Sequence[Event], decided: Sequence[Event]) -> list[Difference]:
    """Field by field, event by event; the path names the event where there are several."""
    found: list[Difference] = []
    several = max(len(recorded), len(decided)) > 1
    for at in range(max(len(recorded), len(decided))):
        prefix = f"{at + 1}." if several else ""
        was = recorded[at] if at < len(recorded) else None
        now = decided[at] if at < len(decided) else None
        if was is None or now is None or type(was) is not type(now):
            found.append(Difference(f"{prefix}event", _named(was), _named(now)))
        elif was != now:
            found += _walk(was.model_dump(mode="json"), now.model_dump(mode="json"), prefix)
    return found


def _walk(was: Any, now: Any, path: str) -> list[Difference]:
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [*was, *(k for k in now if k not in was)]
        return [d for k in keys for d in _walk(was.get(k), now.get(k), f"{path}{k}.")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [d for at, (a, b) in enumerate(zip(was, now, strict=True)) for d in _walk(a, b, f"{path}{at}.")]
    same = was == now or (was != was and now != now)  # not a number is itself here
    return [] if same else [Difference(path.rstrip("."), was, now)]


def _named(event: Event | None) -> str:
    if event is None:
        return NOTHING
    said = [str(v) for name in ("outcome", "code", "text", "reason") if (v := getattr(event, name, ""))]
    return ": ".join([type(event).__name__, *said])


def _shown(value: Any) -> str:
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"
