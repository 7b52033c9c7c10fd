"""PD's configuration: defaults of 8.5.7, permanent changes, and the temporary ones that no GET ever shows."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from pdsim import go

SCHEDULE: dict[str, go.Json] = {
    "max-snapshot-count": 64,
    "max-pending-peer-count": 64,
    "max-merge-region-size": 54,
    "max-merge-region-keys": 540000,
    "split-merge-interval": "1h0m0s",
    "switch-witness-interval": "1h0m0s",
    "enable-one-way-merge": "false",
    "enable-cross-table-merge": "true",
    "patrol-region-interval": "10ms",
    "max-store-down-time": "30m0s",
    "max-store-preparing-time": "48h0m0s",
    "leader-schedule-limit": 4,
    "leader-schedule-policy": "count",
    "region-schedule-limit": 2048,
    "witness-schedule-limit": 4,
    "replica-schedule-limit": 64,
    "merge-schedule-limit": 8,
    "hot-region-schedule-limit": 4,
    "hot-region-cache-hits-threshold": 3,
    "store-limit": {},
    "tolerant-size-ratio": 0,
    "low-space-ratio": 0.8,
    "high-space-ratio": 0.7,
    "region-score-formula-version": "v2",
    "scheduler-max-waiting-operator": 5,
    "enable-remove-down-replica": "true",
    "enable-replace-offline-replica": "true",
    "enable-make-up-replica": "true",
    "enable-remove-extra-replica": "true",
    "enable-location-replacement": "true",
    "enable-debug-metrics": "false",
    "enable-joint-consensus": "true",
    "enable-tikv-split-region": "true",
    "enable-heartbeat-breakdown-metrics": "true",
    "enable-heartbeat-concurrent-runner": "true",
    "schedulers-v2": [
        {"type": kind, "args": None, "disable": False, "args-payload": ""}
        for kind in ("balance-region", "balance-leader", "hot-region", "evict-slow-store")
    ],
    "hot-regions-write-interval": "10m0s",
    "hot-regions-reserved-days": 7,
    "max-movable-hot-peer-size": 512,
    "enable-diagnostic": "true",
    "enable-witness": "false",
    "slow-store-evicting-affected-store-ratio-threshold": 0.3,
    "store-limit-version": "v1",
    "patrol-region-worker-count": 1,
}
REPLICATION: dict[str, go.Json] = {
    "max-replicas": 3,
    "location-labels": "",
    "strictly-match-label": "false",
    "enable-placement-rules": "true",
    "enable-placement-rules-cache": "false",
    "isolation-level": "",
}
PD_SERVER: dict[str, go.Json] = {
    "use-region-storage": "true",
    "max-gap-reset-ts": "24h0m0s",
    "key-type": "table",
    "runtime-services": "",
    "metric-storage": "",
    "dashboard-address": "none",
    "flow-round-by-digit": 3,
    "min-resolved-ts-persistence-interval": "1s",
    "server-memory-limit": 0,
    "server-memory-limit-gc-trigger": 0.7,
    "enable-gogc-tuner": "false",
    "gc-tuner-threshold": 0.6,
    "block-safe-point-v1": "false",
}
TOP: dict[str, go.Json] = {
    "lease": 5,
    "tso-save-interval": "5s",
    "tso-update-physical-interval": "50ms",
    "quota-backend-bytes": "8GiB",
    "auto-compaction-mode": "periodic",
    "tick-interval": "500ms",
    "election-interval": "3s",
    "enable-prevote": True,
    "enable-grpc-gateway": True,
    "force-new-cluster": False,
}

TTL_KEYS = frozenset(
    f"schedule.{key}"
    for key in (
        "max-snapshot-count", "max-merge-region-size", "max-merge-region-keys", "max-pending-peer-count",
        "leader-schedule-limit", "region-schedule-limit", "replica-schedule-limit", "merge-schedule-limit",
        "hot-region-schedule-limit", "split-scatter-schedule-limit", "scheduler-max-waiting-operator",
        "enable-location-replacement", "enable-tikv-split-region",
    )
) | {"default-add-peer", "default-remove-peer"}  # fmt: skip

DURATIONS = frozenset(
    key
    for key, value in SCHEDULE.items()
    if isinstance(value, str) and (value.endswith(("s", "ms")) and value[0].isdigit())
)


class BadConfig(ValueError):
    """PD refuses the value; str() is the message."""


class Locked(BadConfig):
    """The key is held by a temporary value."""

    def __init__(self, name: str) -> None:
        super().__init__(f"need to clean up TTL first for schedule.{name}")


@dataclass(slots=True)
class Config:
    """The sections PD changes online. `ttl` maps a full key to (value as posted, when it ends)."""

    schedule: dict[str, go.Json] = field(default_factory=lambda: deepcopy(SCHEDULE))
    replication: dict[str, go.Json] = field(default_factory=lambda: deepcopy(REPLICATION))
    pd_server: dict[str, go.Json] = field(default_factory=lambda: deepcopy(PD_SERVER))
    top: dict[str, go.Json] = field(default_factory=lambda: deepcopy(TOP))
    halt_scheduling: bool = False
    ttl: dict[str, tuple[go.Json, float]] = field(default_factory=dict)

    def schedule_view(self) -> dict[str, go.Json]:
        """`halt-scheduling` is absent while false; TTL values never show."""
        seen = dict(self.schedule)
        if self.halt_scheduling:
            seen["halt-scheduling"] = "true"
        return seen

    def limit(self, name: str, now: float) -> int:
        """A schedule limit in force now. A TTL value that isn't a number is stored, locks the key, and does nothing."""
        ttl = self.ttl.get(f"schedule.{name}")
        if ttl is not None and now < ttl[1]:
            try:
                return int(str(ttl[0]))
            except ValueError:
                pass
        value = self.schedule.get(name)
        return int(value) if isinstance(value, int | float) else 0

    def tikv_may_split(self, now: float) -> bool:
        """enable-tikv-split-region in force now; of a TTL value only what Go's ParseBool knows counts."""
        ttl = self.ttl.get("schedule.enable-tikv-split-region")
        if ttl is not None and now < ttl[1] and str(ttl[0]).lower() in ("0", "1", "f", "t", "false", "true"):
            return str(ttl[0]).lower() in ("1", "t", "true")
        return self.schedule["enable-tikv-split-region"] == "true"

    def duration_s(self, name: str) -> float:
        return go.parse_duration(str(self.schedule[name]))

    @property
    def max_replicas(self) -> int:
        value = self.replication["max-replicas"]
        return int(value) if isinstance(value, int | float) else 3

    @property
    def low_space_ratio(self) -> float:
        value = self.schedule["low-space-ratio"]
        return float(value) if isinstance(value, int | float) else 0.8

    def set_ttl(self, values: dict[str, go.Json], seconds: float, now: float) -> None:
        """Neither value nor length is checked: "abc" and -5 s are accepted. Raises BadConfig for other keys."""
        for key in values:
            if key not in TTL_KEYS:
                raise BadConfig(f"unsupported ttl config {key}")
        for key, value in values.items():
            if seconds == 0:
                self.ttl.pop(key, None)
            else:
                self.ttl[key] = (value, now + seconds)

    def locked(self, full_key: str, now: float) -> bool:
        ttl = self.ttl.get(full_key)
        return ttl is not None and now < ttl[1]

    def set_any(self, key: str, value: go.Json, now: float) -> None:
        """One key of `POST /config`, bare or with its section. Raises BadConfig."""
        section, name = self._find(key)
        if section is self.schedule and self.locked(f"schedule.{name}", now):
            raise Locked(name)
        self._set(section, name, value)

    def set_schedule(self, values: dict[str, go.Json], now: float) -> None:
        """`POST /config/schedule`: unknown keys are ignored in silence. Raises Locked or BadConfig."""
        for name in values:
            if self.locked(f"schedule.{name}", now):
                raise Locked(name)
        for name, value in values.items():
            if name in self.schedule or name == "halt-scheduling":
                self._set(self.schedule, name, value)

    def set_replication(self, values: dict[str, go.Json]) -> None:
        for name, value in values.items():
            if name in self.replication:
                self._set(self.replication, name, value)

    def _find(self, key: str) -> tuple[dict[str, go.Json], str]:
        sections = {"schedule": self.schedule, "replication": self.replication, "pd-server": self.pd_server}
        head, _, tail = key.partition(".")
        if tail and head in sections and (tail in sections[head] or key == "schedule.halt-scheduling"):
            return sections[head], tail
        for section in sections.values():
            if key in section:
                return section, key
        if key == "halt-scheduling":
            return self.schedule, key
        raise BadConfig(f"config item {key} not found")

    def _set(self, section: dict[str, go.Json], name: str, value: go.Json) -> None:
        if name == "halt-scheduling":
            self.halt_scheduling = _bool_string(value) == "true"
            return
        old = section[name]
        if old in ("true", "false"):
            section[name] = _bool_string(value)
        elif isinstance(old, int | float) and not isinstance(old, bool):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadConfig(
                    f"json: cannot unmarshal {go.kind_of(value)} into Go struct field .{name} of type uint64"
                )
            if name == "max-replicas" and value == 0:
                raise BadConfig("[PD:placement:ErrRuleContent]invalid rule content, invalid count 0")
            if name == "low-space-ratio" and not float(str(self.schedule["high-space-ratio"])) < value <= 1:
                raise BadConfig("low-space-ratio should be larger than high-space-ratio")
            section[name] = value
        elif name in DURATIONS:
            try:
                section[name] = go.duration(go.parse_duration(str(value)))
            except go.GoError as error:
                raise BadConfig(str(error)) from None
        else:
            section[name] = value


def _bool_string(value: go.Json) -> str:
    if value not in ("true", "false") or isinstance(value, bool):
        raise BadConfig("json: invalid use of ,string struct tag, trying to unmarshal unquoted value into bool")
    return str(value)
