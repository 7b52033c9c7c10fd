"""What an open claim has changed, and what it still owes. Pure: folded from `outcomes`, asked by the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.events import Answer, ChangeUndone, Claimed, Finding
from schemas.facts import Facts
from schemas.values import Call, Change, Sample


@dataclass(frozen=True)
class Step:
    """One intended call. `answer` None: it may or may not have been sent; only a look can tell."""

    number: int
    kind: str  # do | undo
    change: int  # which change of the plan
    call: Call
    undo: Call | None
    keep_s: int
    intended_at_ms: int
    window_s: float
    attempt: int
    answer: Answer | None = None
    taken_at_ms: int = 0
    code: str = ""
    finding: Finding | None = None

    def is_done(self) -> bool:
        return self.answer == "accepted" or self.finding == "applied"

    def is_rehearsed(self) -> bool:
        return self.answer == "rehearsed"

    def had_no_effect(self) -> bool:
        return self.answer in ("refused", "never_sent") or self.finding == "not_started"

    def is_unknown(self) -> bool:
        """Its fate is not known: probe, never repeat."""
        return not (self.is_done() or self.is_rehearsed() or self.had_no_effect())

    def window_ends_ms(self) -> int:
        return self.intended_at_ms + int(self.window_s * 1000)


@dataclass(frozen=True)
class Claim:
    """The one open execution of a cluster."""

    claimed: Claimed
    attempt: int
    seq: int = 0  # of `Claimed`, in this cluster's chain
    claimed_at_ms: int = 0
    facts: Facts | None = None  # what it looked at before its first step
    before: Sample | None = None
    looked_at_ms: int = 0  # when that was said
    steps: tuple[Step, ...] = ()
    aborting: tuple[str, str] | None = None
    worse: bool = False  # and that is why
    samples: tuple[Sample, ...] = ()
    gone: dict[int, int] = field(default_factory=dict)  # change -> since when its undo shows in PD, ms
    gone_as: dict[int, ChangeUndone] = field(default_factory=dict)  # and what was said of it then
    settled: frozenset[int] = frozenset()
    errors: int = 0

    def changes(self) -> tuple[Change, ...]:
        return self.claimed.plan.changes

    def last(self, change: int, kind: str) -> Step | None:
        """The newest step of this kind for this change."""
        return next((s for s in reversed(self.steps) if s.change == change and s.kind == kind), None)

    def undos(self, change: int) -> tuple[Step, ...]:
        """The steps that were to take this change back."""
        return tuple(s for s in self.steps if s.change == change and s.kind == "undo")

    def unknown_step(self) -> Step | None:
        """The step whose fate has to be found out before anything else."""
        return next((s for s in self.steps if s.is_unknown()), None)

    def done(self, change: int) -> Step | None:
        """The step that made this change, if it was made."""
        return next((s for s in self.steps if s.change == change and s.kind == "do" and s.is_done()), None)

    def may_have_effect(self) -> bool:
        """Is there any call of ours that was made, or whose fate is not known?"""
        return any(not s.had_no_effect() for s in self.steps)

    def has_effect(self) -> bool:
        return any(self.done(c) for c in range(len(self.changes())))

    def owed(self, *, all_of_them: bool) -> tuple[int, ...]:
        """Changes to take back, the last first: the temporary ones; with `all_of_them` every one that can be undone."""
        return tuple(
            c
            for c in reversed(range(len(self.changes())))
            if self.done(c)
            and self.changes()[c].undo is not None
            and (all_of_them or self.changes()[c].keep_s)
            and c not in self.settled
        )

    def due_ms(self, change: int) -> int:
        """When a temporary change that was made has been kept for long enough."""
        made = self.done(change)
        assert made is not None
        return made.taken_at_ms + self.changes()[change].keep_s * 1000
