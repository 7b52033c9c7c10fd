"""A member of a consumer group: a consumer that subscribes, and is told by its polls what it is given and what it is to
give up. It is never made to read: Steward's members are paused, and others assign a Reader what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from tests.simulation.clients import Link
from tests.simulation.errors import Misused, TimedOut
from tests.simulation.groups import Group, GroupMetadata
from tests.simulation.partitions import Place

if TYPE_CHECKING:
    from tests.simulation.log import Cluster


class Assigned(NamedTuple):
    """`places` are ours; with `range` all of ours, with cooperative-sticky what has come to them."""

    places: tuple[Place, ...]


class Revoked(NamedTuple):
    """Give these up, say so with `gave_up`, and the rebalance goes on. They are still ours until then."""

    places: tuple[Place, ...]


class Lost(NamedTuple):
    """These are somebody else's already: write nothing more for them."""

    places: tuple[Place, ...]


Word = Assigned | Revoked | Lost


class Member:
    """Joins with its first poll."""

    __slots__ = (
        "_cluster",
        "_generation",
        "_group",
        "_id",
        "_link",
        "_revoked",
        "_session_ms",
        "_state",
        "_topics",
        "holds",
    )

    def __init__(
        self, cluster: Cluster, link: Link, group: Group, topics: Sequence[str], session_ms: int = 10_000
    ) -> None:
        self._cluster, self._link, self._group = cluster, link, group
        self._topics, self._session_ms = tuple(topics), session_ms
        self._id, self._generation = "", -1
        self._state: Literal["out", "joining", "in", "giving up", "closed"] = "out"
        self._revoked: tuple[Place, ...] = ()
        self.holds: tuple[Place, ...] = ()

    def metadata(self) -> GroupMetadata:
        """What it knows of itself now; no broker is asked."""
        return GroupMetadata(self._group.name, self._generation, self._id)

    @property
    def is_out(self) -> bool:
        """Its next poll joins the group: nobody will tell it to."""
        return self._state == "out"

    def poll(self, now_ms: int) -> Word | None:
        """What it is to do next, one thing at a time; None where there is nothing, or it is still giving up."""
        self._cluster.advance(now_ms)
        try:
            return self._step(now_ms)
        except TimedOut:
            if self._state == "in" and now_ms - self._link.silent_since_ms >= self._session_ms:
                return self._lose()  # it can tell by itself
            return None

    def gave_up(self, now_ms: int) -> None:
        """The answer to Revoked."""
        if self._state != "giving up":
            raise Misused("nothing was revoked")
        self._cluster.advance(now_ms)
        self._state = "out"
        self.holds = tuple(place for place in self.holds if place not in self._revoked)

    def close(self, now_ms: int) -> None:
        """Leaves. Whoever works on what it holds has stopped before: a real client's close() revokes first."""
        self._cluster.advance(now_ms)
        try:
            if self._id:
                self._link.ask(lambda: self._group.leave(self._id, now_ms))
        except TimedOut:
            pass  # its session's time-out tells them
        self._state, self.holds = "closed", ()

    # inside

    def _step(self, now_ms: int) -> Word | None:
        if self._state == "in":
            word = self._ask()
            if word == "given":
                return None
            if word == "unknown":
                self._id, self._generation = "", -1
                return self._lose()
            if self.holds and not self._is_cooperative:
                return self._revoke(self.holds)
            self._state = "out"
        if self._state == "out":
            held = self.holds if self._is_cooperative else ()
            self._id = self._link.ask(
                lambda: self._group.join(self._id, self._topics, held, self._session_ms, self._beats, now_ms)
            )
            self._state = "joining"
        if self._state == "joining":
            word = self._ask()
            if word == "given":
                return self._take()
            if word == "unknown":
                self._id, self._generation = "", -1
                return self._lose()
            if word == "rejoin":
                self._state = "out"  # another rebalance began before it took what it was given
        return None

    def _take(self) -> Word:
        self._generation, self._state = self._group.generation, "in"
        given = self._group.members[self._id].given
        if removed := tuple(place for place in self.holds if place not in given):
            return self._revoke(removed)  # and rejoins: what is added comes with the next generation
        added = tuple(place for place in given if place not in self.holds)
        self.holds = given
        return Assigned(added)

    def _revoke(self, places: tuple[Place, ...]) -> Revoked:
        self._state, self._revoked = "giving up", places
        return Revoked(places)

    def _lose(self) -> Lost | None:
        lost, self.holds, self._state = self.holds, (), "out"
        return Lost(lost) if lost else None

    def _ask(self) -> Literal["unknown", "rejoin", "wait", "given"]:
        return self._link.ask(lambda: self._group.word_for(self._id))

    def _beats(self) -> bool:
        return self._link.is_up and self._state != "closed"

    @property
    def _is_cooperative(self) -> bool:
        return self._group.strategy != "range"
