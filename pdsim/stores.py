"""Stores: TiKV processes, as they are and as PD last heard of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from pdsim import go

DISCONNECTED_AFTER_S = 20.0
UNHEALTHY_AFTER_S = 600.0
SLOW_FROM = 80
LIMIT_BY_DEFAULT = 15.0  # replicas a minute
UNLIMITED_RATE = 100_000_000.0
SETTINGS = {  # of a TiKV, as it shows them; those that may be changed online
    "storage.block-cache.capacity": "8GiB",
    "server.snap-io-max-bytes-per-sec": "100MiB",
    "server.grpc-memory-pool-quota": "9223372036854775807B",
    "rocksdb.rate-bytes-per-sec": "10GiB",
}


class State(IntEnum):
    """metapb.StoreState."""

    Up = 0
    Offline = 1
    Tombstone = 2


@dataclass(slots=True)
class Limit:
    """Store limit of one kind: peers a minute, and the tokens that are left of it."""

    per_minute: float
    tokens: float = 1.0
    filled_at: float = 0.0

    def take(self, now: float) -> bool:
        """Spend one peer's worth, if there is any."""
        if self.per_minute >= UNLIMITED_RATE:
            return True
        burst = max(1.0, self.per_minute / 60.0)
        self.tokens = min(burst, self.tokens + max(0.0, now - self.filled_at) * self.per_minute / 60.0)
        self.filled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class Settings:
    """A TiKV's settings: those in force, and those in its file, which a start reads."""

    now: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    file: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))

    def restarted(self) -> None:
        self.now = dict(self.file)


@dataclass(slots=True)
class Store:
    """One store. Sizes in bytes, times in seconds since the epoch, rates per second."""

    id: int
    address: str
    status_address: str
    version: str
    labels: dict[str, str]
    capacity: int
    used: int
    started_at: float
    deploy_path: str
    git_hash: str
    limits: dict[str, Limit]
    state: State = State.Up
    physically_destroyed: bool = False
    leader_weight: float = 1.0
    region_weight: float = 1.0
    slow_score: int = 1
    is_busy: bool = False
    sending_snapshots: int = 0
    receiving_snapshots: int = 0
    alive: bool = True  # truth: PD learns of it by the heartbeats that stop
    hung_io: bool = False
    last_heartbeat: float = 0.0  # what PD knows; 0 is never
    saved_heartbeat: float = 0.0  # what PD wrote to disk: all that is left after a leader change
    stats_known: bool = True  # false after a PD restart until the next heartbeat
    heard_slow_score: int = 1
    heard_used: int = 0
    next_heartbeat: float = 0.0
    next_region_heartbeat: float = 0.0
    died_at: float | None = None
    write_rates: dict[str, float] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    @property
    def available(self) -> int:
        return max(0, self.capacity - self.heard_used)

    def state_name(self, now: float, max_down_s: float) -> str:
        """`state_name` as PD computes it: only an Up store can read Down or Disconnected."""
        if self.state is not State.Up:
            return self.state.name
        if self.is_down(now, max_down_s):
            return "Down"
        return "Disconnected" if self.is_disconnected(now) else "Up"

    def is_down(self, now: float, max_down_s: float) -> bool:
        return self.state is State.Up and now - self.last_heartbeat > max_down_s

    def is_disconnected(self, now: float) -> bool:
        return now - self.last_heartbeat > DISCONNECTED_AFTER_S

    def is_unhealthy(self, now: float) -> bool:
        return now - self.last_heartbeat > UNHEALTHY_AFTER_S

    def is_low_space(self, low_space_ratio: float) -> bool:
        return self.stats_known and self.capacity > 0 and self.available / self.capacity < 1 - low_space_ratio

    def meta_view(self, now: float, max_down_s: float) -> dict[str, object]:
        """The `store` half of a STORE; zero values are omitted as protobuf's JSON does."""
        seen: dict[str, object] = {"id": self.id, "address": self.address}
        if self.state:
            seen["state"] = int(self.state)
        if self.labels:
            seen["labels"] = [{"key": key, "value": value} for key, value in self.labels.items()]
        seen |= {"version": self.version, "peer_address": self.address, "status_address": self.status_address}
        seen |= {"git_hash": self.git_hash, "start_timestamp": int(self.started_at), "deploy_path": self.deploy_path}
        if self.last_heartbeat:
            seen["last_heartbeat"] = go.nanoseconds(self.last_heartbeat)
        if self.physically_destroyed:
            seen["physically_destroyed"] = True
        seen["node_state"] = {State.Up: 1, State.Offline: 2, State.Tombstone: 3}[self.state]
        seen["state_name"] = self.state_name(now, max_down_s)
        return seen

    def status_view(
        self, leader: tuple[int, int], region: tuple[int, int], others: dict[str, int]
    ) -> dict[str, object]:
        """The `status` half; `leader` and `region` are (count, MiB) from PD's region cache."""
        leader_weight, region_weight = max(self.leader_weight, 1e-6), max(self.region_weight, 1e-6)
        known = self.stats_known
        seen: dict[str, object] = {
            "capacity": go.bytes_size(self.capacity if known else 0),
            "available": go.bytes_size(self.available if known else 0),
            "used_size": go.bytes_size(self.heard_used if known else 0),
            "leader_count": leader[0],
            "leader_weight": self.leader_weight,
            "leader_score": leader[0] / leader_weight,
            "leader_size": leader[1],
            "region_count": region[0],
            "region_weight": self.region_weight,
            "region_score": region[1] / region_weight,
            "region_size": region[1],
        }
        seen |= {name: count for name, count in others.items() if count}
        if known and self.heard_slow_score:
            seen["slow_score"] = self.heard_slow_score
        if known and self.is_busy:
            seen["is_busy"] = True
        if known:
            seen["start_ts"] = go.rfc3339(int(self.started_at))
        if self.last_heartbeat:
            seen["last_heartbeat_ts"] = go.rfc3339(self.last_heartbeat)
            if (uptime := self.last_heartbeat - int(self.started_at)) > 0 and known:
                seen["uptime"] = go.duration(uptime)
        return seen
