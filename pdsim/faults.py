"""What can go wrong between a caller and PD, as values; and the schedule that says when.

    faults = Faults()
    faults.add(DroppedAfter(), method="POST", path="/pd/api/v1/schedulers", times=1)

A fault decides two things: whether PD applied the call, and what the caller sees. A careful caller
never guesses the first from the second.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from pdsim import go
from pdsim.regions import ABSENT
from pdsim.wire import TEXT, Answer, Request, Response, Silence, panicked, regions, text

Apply: TypeAlias = Callable[[], Answer]
When: TypeAlias = Callable[[Request, float], bool]

NOT_LEADER = text(500, "[PD:apiutil:ErrRedirectToNotLeader]redirect to not leader\n")


@dataclass(frozen=True, slots=True)
class ConnectionRefused:
    """Nothing listens: certainly not applied. (Over a real socket the open connection is reset instead.)"""

    def meet(self, apply: Apply) -> Answer:
        return Silence("refused")


@dataclass(frozen=True, slots=True)
class ConnectTimedOut:
    """Nobody answers the first packet: certainly not applied. (Over a real socket the connection is reset instead.)"""

    def meet(self, apply: Apply) -> Answer:
        return Silence("unreachable")


@dataclass(frozen=True, slots=True)
class DroppedBefore:
    """The connection breaks before PD read the request: not applied, but the caller can't know."""

    def meet(self, apply: Apply) -> Answer:
        return Silence("dropped")


@dataclass(frozen=True, slots=True)
class DroppedAfter:
    """Applied; then the connection breaks without an answer."""

    def meet(self, apply: Apply) -> Answer:
        return Silence("dropped", changed=_changed(apply()))


@dataclass(frozen=True, slots=True)
class Slow:
    """Applied at once, answered only after `seconds`: beyond the caller's time-out it has run all the same."""

    seconds: float

    def meet(self, apply: Apply) -> Answer:
        answer = apply()
        return replace(answer, after_s=answer.after_s + self.seconds) if isinstance(answer, Response) else answer


@dataclass(frozen=True, slots=True)
class NeverAnswers:
    """Not applied, and nothing ever comes: a stopped process behind an open port."""

    def meet(self, apply: Apply) -> Answer:
        return Silence("hangs")


@dataclass(frozen=True, slots=True)
class NotLeader:
    """500 "redirect to not leader", from before the call was applied or, with `applied`, from after it."""

    applied: bool = False

    def meet(self, apply: Apply) -> Answer:
        return replace(NOT_LEADER, changed=_changed(apply())) if self.applied else NOT_LEADER


@dataclass(frozen=True, slots=True)
class NoLeader:
    """503 from a member that finds no leader."""

    def meet(self, apply: Apply) -> Answer:
        return text(503, "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n")


@dataclass(frozen=True, slots=True)
class TooMany:
    """429 of PD's own rate limit: no Retry-After."""

    def meet(self, apply: Apply) -> Answer:
        return text(429, "Too Many Requests\n")


@dataclass(frozen=True, slots=True)
class HtmlBody:
    """A proxy in between answers for PD, with any status, 200 included. Not applied."""

    status: int = 502

    def meet(self, apply: Apply) -> Answer:
        body = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\r\n"
        return Response(self.status, (("content-type", "text/html"),), body, changed=False)


@dataclass(frozen=True, slots=True)
class HalfBody:
    """Applied, and the answer is cut in the middle. Its Content-Length fits the half: only the JSON shows it."""

    def meet(self, apply: Apply) -> Answer:
        answer = apply()
        return replace(answer, body=answer.body[: len(answer.body) // 2]) if isinstance(answer, Response) else answer


@dataclass(frozen=True, slots=True)
class RegionAbsent:
    """200 for a region that does not exist, whichever was asked for: PD has no 404 there."""

    def meet(self, apply: Apply) -> Answer:
        return regions(ABSENT)


@dataclass(slots=True)
class Meanwhile:
    """Answered as ever; but something happens just before PD reads the request, or just after it has answered.

    `found` is what either says: False where there was nothing that it could have happened to.
    """

    before: Callable[[], bool] | None = None
    after: Callable[[], bool] | None = None
    found: bool = True

    def meet(self, apply: Apply) -> Answer:
        if self.before:
            self.found = self.before()
        answer = apply()
        if self.after:
            self.found = self.after()
        return answer


@dataclass(frozen=True, slots=True)
class WrongCluster:
    """Another cluster answers: /cluster and /members carry its id. Everything else is passed through."""

    id: int

    def meet(self, apply: Apply) -> Answer:
        answer = apply()
        if not isinstance(answer, Response) or not answer.body.startswith(b"{"):
            return answer
        try:
            seen = json.loads(answer.body)
        except ValueError:
            return answer
        if "max_peer_count" in seen:
            seen["id"] = self.id
        elif "header" in seen:
            seen["header"]["cluster_id"] = self.id
        else:
            return answer
        return replace(answer, body=go.dumps_indented(seen))


@dataclass(frozen=True, slots=True)
class Panic:
    """The handler panicked: text with a goroutine trace. Not applied."""

    def meet(self, apply: Apply) -> Answer:
        return panicked("runtime error: invalid memory address or nil pointer dereference")


@dataclass(frozen=True, slots=True)
class Garbage:
    """Any answer you like, not applied: for what no list foresees."""

    status: int
    body: bytes
    content_type: str = TEXT

    def meet(self, apply: Apply) -> Answer:
        return Response(self.status, (("content-type", self.content_type),), self.body, changed=False)


Fault: TypeAlias = (
    ConnectionRefused
    | ConnectTimedOut
    | DroppedBefore
    | DroppedAfter
    | Slow
    | NeverAnswers
    | NotLeader
    | NoLeader
    | TooMany
    | HtmlBody
    | HalfBody
    | RegionAbsent
    | Meanwhile
    | WrongCluster
    | Panic
    | Garbage
)


def _changed(answer: Answer) -> bool:
    return bool(answer.changed)


@dataclass(slots=True)
class Rule:
    """One fault and when it strikes. Empty conditions are met; `skip` matches pass first; `times` None is always."""

    fault: Fault
    method: str = ""
    path: str = ""  # prefix, without the query
    between: tuple[float, float] | None = None  # times, seconds since the epoch
    when: When | None = None
    skip: int = 0
    times: int | None = 1

    def strikes(self, request: Request, now: float) -> bool:
        """Whether it strikes here; counts down `skip` and `times`."""
        if self.times == 0 or (self.method and request.method != self.method) or not request.path.startswith(self.path):
            return False
        if self.between is not None and not self.between[0] <= now < self.between[1]:
            return False
        if self.when is not None and not self.when(request, now):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(slots=True)
class Faults:
    """The schedule: the first rule that strikes wins. `struck` is what happened so far, as (time, request, fault)."""

    rules: list[Rule] = field(default_factory=list)
    struck: list[tuple[float, Request, Fault]] = field(default_factory=list)

    def add(
        self,
        fault: Fault,
        *,
        method: str = "",
        path: str = "",
        between: tuple[float, float] | None = None,
        when: When | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        self.rules.append(Rule(fault, method, path, between, when, skip, times))

    def clear(self) -> None:
        self.rules.clear()

    def meet(self, request: Request, now: float, apply: Apply) -> Answer:
        """Let the request meet its fault, if it has one."""
        for rule in self.rules:
            if rule.strikes(request, now):
                self.struck.append((now, request, rule.fault))
                return rule.fault.meet(apply)
        return apply()
