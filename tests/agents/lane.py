"""A lane without a log: the state evolves on commit, time moves when somebody sleeps. Beside it, scripted edges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from agents.thinking import Reply, Request, ThinkingFailed
from schemas.controls import Controls
from schemas.events import Event
from schemas.facts import Facts, Look, NoFacts
from schemas.processors import Record, Works
from schemas.values import Cause, Head

S = TypeVar("S")


class FakeLane(Generic[S]):
    """One cluster of a works processor: `give` inputs, `run` until nothing is owed, read what was `said`."""

    leaving = False

    def __init__(self, works: Works[S], cluster_id: str = "prod-eu-7", now_ms: int = 1_000_000) -> None:
        self.works, self.cluster_id = works, cluster_id
        self.said: list[Event] = []
        self.said_at_ms: list[int] = []
        self.later: list[tuple[int, Event]] = []  # inputs that arrive while a lane sleeps
        self._state, self._now_ms = works.initial(cluster_id), now_ms

    @property
    def state(self) -> S:
        return self._state

    def now_ms(self) -> int:
        return self._now_ms

    def controls(self) -> Controls:
        return Controls()

    async def read_controls(self) -> Controls:
        return Controls(live=True)

    async def commit(self, *decided: Event, cause: Cause | None = None) -> None:
        self._fold(decided)

    async def sleep_until(self, at_ms: int) -> None:
        await asyncio.sleep(0)
        due = [at for at, _ in self.later if at <= at_ms]
        self._now_ms = max(self._now_ms, min([at_ms, *due]))
        for at, event in [x for x in self.later if x[0] <= self._now_ms]:
            self.later.remove((at, event))
            self.give(event)

    def give(self, event: Event) -> Sequence[Event]:
        record = Record(
            "given", 0, 0, self._now_ms, Head(event_id="e", at_ms=self._now_ms), event, Cause(topic="given")
        )
        decided = self.works.decide(self._state, record, self._now_ms, Controls())
        self._fold(decided)
        return decided

    def run(self) -> list[Event]:
        """Work until nothing is owed; what was said, all of it."""

        async def until_done() -> None:
            while self.works.owed(self._state):
                await self.works.work(self, False)

        asyncio.run(until_done())
        return self.said

    def advance(self, ms: int) -> None:
        self._now_ms += ms

    def _fold(self, decided: Sequence[Event]) -> None:
        for event in decided:
            self._state = self.works.evolve(self._state, event, Head(event_id="e", at_ms=self._now_ms))
            self.said.append(event)
            self.said_at_ms.append(self._now_ms)


@dataclass
class FixedFacts:
    """A FactsReader that always sees the same, or fails the same way; at first it fails as `before` says."""

    seen: Facts | Exception
    before: list[Exception] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    async def facts(self, cluster_id: str, look: Look) -> Facts:
        self.looks.append(look)
        if self.before:
            raise self.before.pop(0)
        if isinstance(self.seen, Exception):
            raise self.seen
        return self.seen


def unreachable() -> FixedFacts:
    return FixedFacts(NoFacts("pd_unreachable", "connect to pd0:2379: refused"))


@dataclass
class ScriptedThought:
    answer: Reply | Exception
    is_done: Callable[[], bool]
    cancelled: bool = False

    def done(self) -> bool:
        return self.is_done()

    def result(self) -> Reply:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class ScriptedThinker:
    """A Thinker that gives one answer, `takes_ms` after it was asked by the clock of `lane`."""

    answer: str | Exception
    takes_ms: int = 0
    clock: Callable[[], int] = lambda: 0
    model: str = "scripted"
    asked: list[Request] = field(default_factory=list)
    thoughts: list[ScriptedThought] = field(default_factory=list)

    async def ask(self, request: Request) -> Reply:
        raise NotImplementedError("lanes begin thoughts; they never wait for one in place")

    def begin(self, request: Request) -> ScriptedThought:
        self.asked.append(request)
        ready_ms = self.clock() + self.takes_ms
        answer = self.answer if isinstance(self.answer, Exception) else Reply(self.answer, self.model)
        thought = ScriptedThought(answer, lambda: self.clock() >= ready_ms)
        self.thoughts.append(thought)
        return thought


def failing(failure: ThinkingFailed) -> ScriptedThinker:
    return ScriptedThinker(failure)


def of_kind(events: Sequence[Event], kind: type[Any]) -> list[Any]:
    return [e for e in events if isinstance(e, kind)]
