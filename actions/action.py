"""The questions that every action answers. One file an action; what the catalogue shows is derived from these."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import ConfigDict, ValidationError

from schemas.events import Finding, Outcome
from schemas.facts import Facts, Look
from schemas.policy import LimitsPolicy
from schemas.values import Bounds, Call, Change, Model, Objection, Premise, Reach, Sample, canonical_json


class Undo(StrEnum):
    """How what the action does is taken back."""

    REVERSIBLE = "reversible"  # by its undo, when a person asks for it or it made things worse
    TEMPORARY = "temporary"  # undone by us after `keep_s`, always
    IRREVERSIBLE = "irreversible"  # never: a snapshot of what is lost is recorded first


class Limits(Model):
    """What a preflight judges by besides the facts: the policy's limits, the cluster's tier (1 is the dearest), the time."""

    policy: LimitsPolicy
    cluster_tier: int
    now_ms: int


class Action(Model):
    """One repair with its parameters. Pure: it is asked, and never acts.

    The docstring of a subclass is read by the model that proposes, by the approver at 3 a.m., and in the docs: plain
    words; what clients notice; how to do it and undo it by hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: ClassVar[str]
    version: ClassVar[int]
    risk: ClassVar[str]  # LOW | MEDIUM | HIGH | FORBIDDEN: the least tier, before live reach raises it
    undo: ClassVar[Undo]
    may_call: ClassVar[frozenset[str]]  # names in actions/calls.py; the client given to it has no others
    clients_notice: ClassVar[str]

    @abstractmethod
    def title(self) -> str:
        """What will be done, with its numbers: `Evict leaders from store 4 for 15 min`."""

    def look(self) -> Look:
        """What has to be read besides the stores."""
        return Look()

    @abstractmethod
    def entities(self) -> tuple[str, ...]:
        """What the parameters name (`store:4`, `region:180`): must occur in the cited evidence, and exist now."""

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
        """The figures that `abort_if` and `verify` judge by; must hold `down_peers` and `stores_up`."""

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        """(code, text) of why no step may follow, or None."""
        if now.figures["down_peers"] > before.figures["down_peers"]:
            return "more_down_peers", f"down peers {before.figures['down_peers']:g} -> {now.figures['down_peers']:g}"
        if now.figures["stores_up"] < before.figures["stores_up"]:
            return "fewer_stores_up", f"stores up {before.figures['stores_up']:g} -> {now.figures['stores_up']:g}"
        return None

    @abstractmethod
    def is_done(self, facts: Facts) -> bool:
        """PD has ended what the plan set going: verification may begin."""

    @abstractmethod
    def verify(self, before: Sample, later: tuple[Sample, ...]) -> Outcome:
        """succeeded, no_better or worse, from at least three later samples."""

    @abstractmethod
    def probe(self, call: Call, now: Facts) -> Finding:
        """Is this call of ours, an undo included, not started, under way, applied, or can't it be told?"""

    def by_hand(self) -> tuple[str, str]:
        """(do, undo) as a person would type them into pd-ctl."""
        return "", ""


CATALOGUE: dict[str, type[Action]] = {}


def in_catalogue(action: type[Action]) -> type[Action]:
    """Class decorator: this action may be proposed."""
    assert action.name not in CATALOGUE, action.name
    CATALOGUE[action.name] = action
    return action


class UnknownAction(Exception):
    """No such type in the catalogue."""


class BadParameters(Exception):
    """Parameters of a known action that are of the wrong type or out of range; `field` names the first."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def parse(name: str, params: str) -> Action:
    """The action from its name and its parameters as JSON. Raises UnknownAction or BadParameters."""
    import actions.catalogue  # noqa: F401  (fills CATALOGUE)

    kind = CATALOGUE.get(name)
    if kind is None:
        raise UnknownAction(f"no action {name!r}; there are {', '.join(sorted(CATALOGUE))}")
    try:
        return kind.model_validate(json.loads(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise BadParameters(".".join(str(p) for p in first["loc"]) or "params", first["msg"]) from error
    except ValueError as error:
        raise BadParameters("params", f"not JSON: {error}") from error


def params_json(action: Action) -> str:
    """The parameters in their one spelling."""
    return canonical_json(action.model_dump())


def params_schema(kind: type[Action]) -> dict[str, Any]:
    """JSON schema of the parameters, for the model's tool and the reference page."""
    return kind.model_json_schema()

