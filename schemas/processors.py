"""What a processor on the pipeline page must offer, for each of the three verbs. Runners in infra/ carry them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from schemas.controls import Controls
from schemas.events import Event
from schemas.values import Cause, Head

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True)
class Record:
    """An event as it stands on its topic. `at_ms` is the broker's append time."""

    topic: str  # without the configured prefix
    partition: int
    offset: int
    at_ms: int
    head: Head
    event: Event
    cause: Cause  # how an answer to this record cites it


@dataclass(frozen=True)
class Tick:
    """Time alone as an input: `now_ms` has reached what the state's `wakes_at` asked for."""

    cluster_id: str
    now_ms: int


class Maps(Protocol):
    """event -> events. Stateless, quick, repeats harmless. `seen` is what the shell looked up for this record."""

    def check(self, record: Record, seen: Any) -> Sequence[Event]: ...


class Decides(Protocol[S]):
    """The topic that it writes is its state; one state a cluster. Pure: time and controls are arguments.

    `decide` never changes anything; `evolve` folds one own event, when it is decided as when it is restored.
    """

    def initial(self, cluster_id: str) -> S: ...

    def decide(self, state: S, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[Event]:
        """Events that answer this input; none: the runner records it as ignored."""
        ...

    def evolve(self, state: S, event: Event, head: Head) -> S: ...

    def wakes_at(self, state: S) -> int | None:
        """When time alone will matter next (ms), or None."""
        ...


class Lane(Protocol[S_co]):
    """What one piece of work may do to the world of the log. One lane a cluster; lanes run side by side."""

    cluster_id: str

    @property
    def state(self) -> S_co:
        """The cluster's state; it has moved on after each commit."""
        ...

    @property
    def leaving(self) -> bool:
        """The partition is being given up: begin nothing; what is under way may be brought to its commit."""
        ...

    def now_ms(self) -> int: ...

    def controls(self) -> Controls:
        """The controls for this cluster as last read; `live` only after `read_controls`."""
        ...

    async def read_controls(self) -> Controls:
        """The controls, proven to be read up to their live end; `live` is False where that could not be proven."""
        ...

    async def commit(self, *decided: Event, cause: Cause | None = None) -> None:
        """Durable and folded when it returns; raises Fenced when this process is no longer the owner."""
        ...

    async def sleep_until(self, at_ms: int) -> None:
        """Returns at that time, or earlier when an input of this cluster has been folded."""
        ...


class Works(Decides[S], Protocol[S]):
    """Slow work. `decide` answers each input at once (accepted, claimed, refused); `owed` names what lanes must do."""

    def owed(self, state: S) -> bool:
        """Is there open work on this cluster? Then a lane runs `work` until there is none."""
        ...

    def work(self, lane: Lane[S], resumed: bool) -> Awaitable[None]:
        """Do one piece of the work owed. `resumed`: it was already open when this process became the owner."""
        ...


class Fenced(Exception):
    """This process no longer owns the partition: start nothing, write nothing."""
