"""The questions that every action answers. One file an action; what the catalogue shows is derived from these."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from math import nan
from typing import Any, ClassVar

from pydantic import ConfigDict

from schemas.events import Finding, Outcome
from schemas.facts import Facts, Look
from schemas.policy import LimitsPolicy
from schemas.values import TIERS, Bounds, Call, Change, Model, Objection, Premise, Reach, Sample, Tier, canonical_json

SAMPLES_MIN = 3  # fewer say nothing: success was once declared from none (Kubernaut #722)
PD_SETTLES_S = 60  # after a PD leader change for so long: a 404 may come back as present (tikv/pd#4707)


class Undo(StrEnum):
    """How what the action does is taken back."""

    REVERSIBLE = "reversible"  # by its undo, when a person asks for it or it made things worse
    TEMPORARY = "temporary"  # undone by us after `keep_s`, always
    NONE = "none"  # nobody takes it back: nothing is lost, and PD evens it out by itself in time
    IRREVERSIBLE = "irreversible"  # never: a snapshot of what is lost is recorded first


class Limits(Model):
    """What a preflight judges by besides the facts: the policy's limits, and the time."""

    policy: LimitsPolicy
    now_ms: int


class Entry(Model):
    """What the catalogue says of each of its types: of those that are done, and of those that are refused."""

    model_config = ConfigDict(strict=True)

    name: ClassVar[str]
    version: ClassVar[int]
    risk: ClassVar[Tier]  # the least tier, before live reach raises it (streams/rules/risk.py)
    undo: ClassVar[Undo]
    may_call: ClassVar[frozenset[str]]  # names in actions/calls.py; the client given to it has no others


class Action(Entry):
    """One repair with its parameters. Pure: it is asked, and never acts.

    The docstring of a subclass is read by the model that proposes, by the approver at 3 a.m., and in the docs: plain
    words; what clients notice; how to do it and undo it by hand.
    """

    clients_notice: ClassVar[str]
    stops_if: ClassVar[str] = "a peer goes down, a store is no longer Up, somebody freezes"  # or it takes too long

    @abstractmethod
    def title(self) -> str:
        """What will be done, with its numbers: `Evict leaders from store 4 for 15 min`."""

    def look(self) -> Look:
        """What has to be read besides the stores."""
        return Look()

    @abstractmethod
    def entities(self) -> tuple[str, ...]:
        """What the parameters name (`store:4`, `region:180`): must occur in the cited evidence, and exist now."""

    def takes_out(self) -> frozenset[int]:
        """Stores that serve less because of this: the quorum rule protects every region with a peer on them."""
        return frozenset()

    @abstractmethod
    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """Identities, states and epochs that the plan relies on. They go into the digest: never counts."""

    @abstractmethod
    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """Every objection of this action's own. actions/preflight.py adds those that all actions share."""

    @abstractmethod
    def plan(self, facts: Facts) -> tuple[Change, ...]:
        """The exact changes, each with its undo."""

    @abstractmethod
    def reach(self, facts: Facts) -> Reach:
        """What the plan touches by these facts."""

    @abstractmethod
    def bounds(self, facts: Facts) -> Bounds:
        """The most it may touch when it runs, with room for ordinary movement; shown to the approver, in the digest."""

    def snapshot(self, facts: Facts) -> str:
        """Canonical JSON of what an irreversible action loses; empty for the others."""
        return ""

    @abstractmethod
    def figures(self, facts: Facts) -> dict[str, float]:
        """The figures that `abort_if` and `verify` judge by: those of `health`, and the action's own."""

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        """(code, text) of why no step may follow, or None.

        Right after a PD leader change every store may read Disconnected: fewer stores are believed once PD has settled.
        """
        if now.figures["down_peers"] > before.figures["down_peers"]:
            return "more_down_peers", f"down peers {before.figures['down_peers']:g} -> {now.figures['down_peers']:g}"
        if now.figures["stores_up"] < before.figures["stores_up"] and now.figures.get("pd_settled", 1.0):
            return "fewer_stores_up", f"stores up {before.figures['stores_up']:g} -> {now.figures['stores_up']:g}"
        return None

    @abstractmethod
    def is_done(self, facts: Facts) -> bool:
        """PD has ended what the plan set going, well or not: verification may begin."""

    @abstractmethod
    def is_reached(self, sample: Sample) -> bool:
        """Does this sample show what the action is for?"""

    def verify(self, before: Sample, later: tuple[Sample, ...]) -> Outcome:
        """succeeded, no_better or worse, from the last three samples; from fewer: unknown, whatever they show."""
        last = later[-SAMPLES_MIN:]
        if len(last) < SAMPLES_MIN:
            return "unknown"
        if any(self.abort_if(before, sample) for sample in last):
            return "worse"
        return "succeeded" if all(self.is_reached(sample) for sample in last) else "no_better"

    @classmethod
    def left_over(cls, facts: Facts) -> tuple[str, ...]:
        """For people: what of a temporary kind is in force by these facts. PD does not say whose it is."""
        return ()

    @abstractmethod
    def probe(self, call: Call, now: Facts) -> Finding:
        """Is this call of ours, an undo included, not started, under way, applied, or can't it be told?

        `not_started` is a promise that sending it (again) is right. Of facts from a PD that has not settled, presence
        is believed and absence is not.
        """


def no(code: str, text: str) -> Objection:
    """It may change with the facts, but not by waiting a little."""
    return Objection(code=code, kind="no", text=text)


def wait(code: str, text: str, until_ms: int) -> Objection:
    return Objection(code=code, kind="wait", text=text, until_ms=until_ms)


def never(code: str, text: str) -> Objection:
    return Objection(code=code, kind="never", text=text)


def health(facts: Facts) -> dict[str, float]:
    """The figures of the whole cluster that every action watches."""
    return {
        "down_peers": float(facts.down_peers()),
        "pending_peers": float(facts.pending_peers()),
        "stores_up": float(len(facts.up_store_ids())),
        "pd_settled": float(is_settled(facts)),
    }


def low_on_space(facts: Facts) -> list[int]:
    """The stores that PD calls so."""
    return [s.id for s in facts.living() if s.has_low_space(facts.low_space_ratio)]


def more_low_space(before: Sample, now: Sample) -> tuple[str, str] | None:
    """Of actions whose figures have `low_space`, for their `abort_if`."""
    was, is_now = figure(before, "low_space"), figure(now, "low_space")
    return ("more_low_space", f"stores low on space {was:g} -> {is_now:g}") if is_now > was else None


def is_settled(facts: Facts) -> bool:
    """May absence and zeros be believed? Not from a PD that has just started or just changed its leader."""
    return facts.warming_up() is None and facts.pd_leader_age_s >= PD_SETTLES_S


def figure(sample: Sample, name: str) -> float:
    """Missing is not a number, which equals nothing: it never makes a sample look good."""
    return sample.figures.get(name, nan)


_FLOOR: dict[Undo, Tier] = {
    Undo.REVERSIBLE: "LOW",
    Undo.TEMPORARY: "MEDIUM",
    Undo.NONE: "MEDIUM",  # should it make things worse, there is no way back: a person says yes
    Undo.IRREVERSIBLE: "HIGH",
}


def least_tier(action: Action) -> Tier:
    """No reach, policy or event makes it less than this."""
    return max(action.risk, _FLOOR[action.undo], key=TIERS.index)


def sorted_once(ids: tuple[int, ...]) -> tuple[int, ...]:
    """One spelling for a set of ids. Raises ValueError."""
    if len(set(ids)) != len(ids):
        raise ValueError("names one of them twice")
    return tuple(sorted(ids))


def params_json(action: Action) -> str:
    """The parameters in their one spelling."""
    return canonical_json(action.model_dump())


def params_schema(kind: type[Entry]) -> dict[str, Any]:
    """JSON schema of the parameters, for the model's tool and the reference page."""
    return kind.model_json_schema()
