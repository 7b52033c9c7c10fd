"""Regions and their peers: what TiKV knows, and the same shape as PD remembers it.

A region is frozen: TiKV's truth and PD's cache hold the same object until one knows something the other has not heard.
Keys are upper-case hex; "" is unbounded on either side.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum


class Role(IntEnum):
    """metapb.PeerRole: the last two exist only inside a joint configuration."""

    Voter = 0
    Learner = 1
    IncomingVoter = 2
    DemotingVoter = 3


@dataclass(frozen=True, slots=True)
class Peer:
    """One replica of a region."""

    id: int
    store_id: int
    role: Role = Role.Voter

    def view(self) -> dict[str, object]:
        """PD's MetaPeer, own fields before embedded ones as easyjson writes them; a Voter's role 0 is omitted."""
        seen: dict[str, object] = {"role_name": self.role.name}
        if self.role is Role.Learner:
            seen["is_learner"] = True
        seen["id"] = self.id
        seen["store_id"] = self.store_id
        if self.role:
            seen["role"] = int(self.role)
        return seen


@dataclass(frozen=True, slots=True)
class Region:
    """One region. `leader` is a store id or None; flows are totals of the last heartbeat interval; sizes in MiB."""

    id: int
    start_key: str
    end_key: str
    conf_ver: int
    version: int
    peers: tuple[Peer, ...]
    leader: int | None
    down: tuple[tuple[int, int], ...] = ()  # (peer id, seconds it has been down)
    pending: tuple[int, ...] = ()  # peer ids
    written_bytes: int = 0
    read_bytes: int = 0
    written_keys: int = 0
    read_keys: int = 0
    cpu_usage: int = 0
    approximate_size: int = 96
    approximate_keys: int = 960_000

    def peer_on(self, store_id: int) -> Peer | None:
        return next((peer for peer in self.peers if peer.store_id == store_id), None)

    def voter_on(self, store_id: int) -> Peer | None:
        """A peer that may lead: Voter or IncomingVoter, as PD's GetStoreVoter has it."""
        peer = self.peer_on(store_id)
        return peer if peer and peer.role in (Role.Voter, Role.IncomingVoter) else None

    @property
    def voters(self) -> tuple[Peer, ...]:
        return tuple(peer for peer in self.peers if peer.role is not Role.Learner)

    @property
    def in_joint_state(self) -> bool:
        return any(peer.role in (Role.IncomingVoter, Role.DemotingVoter) for peer in self.peers)

    @property
    def shape(self) -> tuple[int, int, bool]:
        """(peers, voters, in joint state): what tells a checker whether the region needs it."""
        return len(self.peers), len(self.voters), self.in_joint_state

    def unhealthy(self, peer: Peer) -> bool:
        return peer.id in self.pending or any(peer.id == down for down, _ in self.down)

    def with_peer(self, peer: Peer, conf_ver_by: int = 0) -> Region:
        """This region with one peer put in place of the one on the same store, or added."""
        if self.peer_on(peer.store_id):
            peers = tuple(peer if old.store_id == peer.store_id else old for old in self.peers)
        else:
            peers = (*self.peers, peer)
        return replace(self, peers=peers, conf_ver=self.conf_ver + conf_ver_by)

    def without_store(self, store_id: int) -> Region:
        kept = tuple(peer for peer in self.peers if peer.store_id != store_id)
        return replace(self, peers=kept, conf_ver=self.conf_ver + 1)

    def holds(self, key: str) -> bool:
        return self.start_key <= key and (not self.end_key or key < self.end_key)

    def view(self) -> dict[str, object]:
        """PD's region JSON; a leaderless region keeps `"leader":{"role_name":""}`."""
        leader = None if self.leader is None else self.peer_on(self.leader)
        by_id = {peer.id: peer for peer in self.peers}
        seen: dict[str, object] = {
            "id": self.id,
            "start_key": self.start_key,
            "end_key": self.end_key,
            "epoch": {"conf_ver": self.conf_ver, "version": self.version},
            "peers": [peer.view() for peer in self.peers],
            "leader": leader.view() if leader else {"role_name": ""},
        }
        if down := [(by_id[peer], age) for peer, age in self.down if peer in by_id]:
            seen["down_peers"] = [{"peer": peer.view(), "down_seconds": age} for peer, age in down]
        if pending := [by_id[peer] for peer in self.pending if peer in by_id]:
            seen["pending_peers"] = [peer.view() for peer in pending]
        return seen | {
            "cpu_usage": self.cpu_usage,
            "written_bytes": self.written_bytes,
            "read_bytes": self.read_bytes,
            "written_keys": self.written_keys,
            "read_keys": self.read_keys,
            "approximate_size": self.approximate_size,
            "approximate_keys": self.approximate_keys,
        }


ABSENT: dict[str, object] = {
    "id": 0,
    "start_key": "",
    "end_key": "",
    "leader": {"role_name": ""},
    "cpu_usage": 0,
    "written_bytes": 0,
    "read_bytes": 0,
    "written_keys": 0,
    "read_keys": 0,
    "approximate_size": 0,
    "approximate_keys": 0,
}
"""What PD answers, with status 200, for a region that does not exist."""


class RegionTable:
    """Regions by id, key, leader and store. Dicts stand in for ordered sets: iteration must not depend on hashing."""

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self._by_id: dict[int, Region] = {}
        self._led: dict[int, dict[int, None]] = {}
        self._held: dict[int, dict[int, None]] = {}
        self._leaderless: dict[int, None] = {}
        self._shapes: dict[tuple[int, int, bool], dict[int, None]] = {}
        self._sorted: list[Region] | None = None
        for region in regions:
            self.put(region)

    def put(self, region: Region) -> None:
        old = self._by_id.get(region.id)
        if old is region:
            return
        if old is None or old.peers != region.peers or old.leader != region.leader:
            if old is not None:
                self._unlink(old)
            for peer in region.peers:
                self._held.setdefault(peer.store_id, {})[region.id] = None
            self._shapes.setdefault(region.shape, {})[region.id] = None
            if region.leader is None:
                self._leaderless[region.id] = None
            else:
                self._led.setdefault(region.leader, {})[region.id] = None
        self._by_id[region.id] = region
        self._sorted = None

    def _unlink(self, old: Region) -> None:
        for peer in old.peers:
            self._held.get(peer.store_id, {}).pop(old.id, None)
        self._shapes.get(old.shape, {}).pop(old.id, None)
        self._leaderless.pop(old.id, None)
        if old.leader is not None:
            self._led.get(old.leader, {}).pop(old.id, None)

    def remove(self, region_id: int) -> None:
        if (old := self._by_id.pop(region_id, None)) is not None:
            self._unlink(old)
            self._sorted = None

    def get(self, region_id: int) -> Region | None:
        return self._by_id.get(region_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Region]:
        """In key order, as PD scans them."""
        return iter(self._in_key_order())

    def _in_key_order(self) -> list[Region]:
        if self._sorted is None:
            self._sorted = sorted(self._by_id.values(), key=lambda region: region.start_key)
        return self._sorted

    def by_key(self, key: str) -> Region | None:
        """The region that holds the key (hex), if any."""
        ordered = self._in_key_order()
        at = bisect_right(ordered, key, key=lambda region: region.start_key) - 1
        return ordered[at] if at >= 0 and ordered[at].holds(key) else None

    def siblings(self, region: Region) -> tuple[Region | None, Region | None]:
        """The neighbours to the left and to the right."""
        ordered = self._in_key_order()
        at = bisect_right(ordered, region.start_key, key=lambda other: other.start_key) - 1
        left = ordered[at - 1] if at > 0 and ordered[at - 1].end_key == region.start_key else None
        right = ordered[at + 1] if at + 1 < len(ordered) and ordered[at + 1].start_key == region.end_key else None
        return left, right

    def led_by(self, store_id: int) -> list[Region]:
        return [self._by_id[region] for region in self._led.get(store_id, ())]

    def held_by(self, store_id: int) -> list[Region]:
        return [self._by_id[region] for region in self._held.get(store_id, ())]

    def leader_count(self, store_id: int) -> int:
        return len(self._led.get(store_id, ()))

    def region_count(self, store_id: int) -> int:
        return len(self._held.get(store_id, ()))

    def misshapen(self, replicas: int) -> list[Region]:
        """Regions that are not just `replicas` voters, without walking over those that are."""
        well = (replicas, replicas, False)
        return [self._by_id[region] for shape, ids in self._shapes.items() if shape != well for region in ids]

    def leaderless_count(self) -> int:
        return len(self._leaderless)


def table_key(table_id: int) -> str:
    """The memcomparable key of a TiDB table's first row, as hex: what real region boundaries look like."""
    raw = b"t" + (0x8000000000000000 + table_id).to_bytes(8, "big")
    padded = raw + b"\x00" * (-len(raw) % 8)
    groups = [padded[at : at + 8] for at in range(0, len(padded), 8)]
    marks = [0xFF] * (len(groups) - 1) + [0xFF - (-len(raw) % 8)]
    return b"".join(group + bytes([mark]) for group, mark in zip(groups, marks, strict=True)).hex().upper()
