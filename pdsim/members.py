"""PD's own members: who leads, who is alive, and what a follower says while nobody leads."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Serving(Enum):
    """What a call that needs the PD leader meets."""

    YES = "a leader serves"
    TO_NOT_LEADER = "redirect to not leader"  # it moved within the last 0.1 s
    REDIRECT_FAILED = "redirect failed"  # the leader's process died: 12 s
    NO_LEADER = "redirect finds no leader"  # quorum lost
    NOT_STARTED = "server not started"


@dataclass(slots=True)
class Member:
    """One PD process."""

    name: str
    id: int
    client_url: str
    peer_url: str
    version: str
    alive: bool = True
    priority: int = 0
    wedged: bool = False
    """Holds the region lock for good (GET /regions/store/{id}?type=foo): only a restart of the process frees it."""

    def view(self, *, full: bool) -> dict[str, object]:
        """A member of /members when full; /leader and the two leader entries lack the version and the path."""
        seen: dict[str, object] = {"name": self.name, "member_id": self.id, "peer_urls": [self.peer_url]}
        seen["client_urls"] = [self.client_url]
        if self.priority:
            seen["leader_priority"] = self.priority
        if full:
            seen |= {"deploy_path": "/opt/pd/bin", "binary_version": self.version, "git_hash": "None"}
        return seen


@dataclass(slots=True)
class Members:
    """The members and who leads. Times in seconds since the epoch."""

    all: list[Member]
    leader: str
    led_since: float
    gap: tuple[Serving, float] | None = None  # what calls meet, until when
    quorum_lost_at: float | None = None
    changes: int = field(default=0)

    def get(self, name: str) -> Member | None:
        return next((member for member in self.all if member.name == name), None)

    @property
    def leading(self) -> Member:
        leader = self.get(self.leader)
        assert leader is not None
        return leader

    @property
    def has_quorum(self) -> bool:
        return sum(member.alive for member in self.all) * 2 > len(self.all)

    def at_host(self, host: str) -> Member | None:
        """The member a Host header means, if it means one."""
        return next((member for member in self.all if host and member.client_url.endswith(f"//{host}")), None)

    def serving(self, now: float) -> Serving:
        """A leader that lost its quorum goes on answering for 5 s."""
        if self.quorum_lost_at is not None and now >= self.quorum_lost_at + 5.0:
            return Serving.NO_LEADER
        if self.gap is not None and now < self.gap[1]:
            return self.gap[0]
        return Serving.YES

    def preferred(self) -> Member | None:
        """The living member of a higher priority than the leader's that PD moves its leader to; None: it stays."""
        above = [m for m in self.all if m.alive and m.priority > self.leading.priority]
        return max(above, key=lambda member: member.priority) if above else None

    def next_leader(self) -> Member | None:
        """The next living member after the leader, by place: deterministic where etcd would pick at random."""
        names = [member.name for member in self.all]
        at = names.index(self.leader)
        order = self.all[at + 1 :] + self.all[:at]
        return next((member for member in order if member.alive), None)
