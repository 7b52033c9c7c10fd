"""The values that events are made of. Frozen, typed, without behaviour that needs a clock or a network."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ClusterId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
StoreId = Annotated[int, Field(ge=1, le=2**63 - 1)]
RegionId = Annotated[int, Field(ge=1, le=2**63 - 1)]

Mode = Literal["observe", "dry_run", "on"]
Tier = Literal["LOW", "MEDIUM", "HIGH", "FORBIDDEN"]
TIERS: tuple[Tier, ...] = ("LOW", "MEDIUM", "HIGH", "FORBIDDEN")


class Model(BaseModel):
    """A frozen value; an unknown field is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Cause(Model):
    """The input that an event answers. `topic` is `tick` where time alone was the input (then offset is -1)."""

    topic: str
    partition: int = 0
    offset: int = -1
    sha256: bytes = b""


class Head(Model):
    """What the runner adds to a decided event; see schemas/chain.py for how it is made and checked."""

    event_id: str
    at_ms: int  # the log's time when it was decided: ms since 1970 UTC
    seq: int = 0  # 1, 2, 3... per cluster and owned topic; 0: not chained (maps and edges)
    prev_hash: bytes = b""  # SHA-256 of the predecessor's Avro body; empty at seq <= 1
    cause: Cause | None = None  # None: an edge, where the outside is the cause
    controls_offset: int = -1  # how far `controls` had been read when this was decided; -1: not consulted


EVERY_CLUSTER = "*"


class Poison(Model):
    """An input that stops executions, because it could have been a no, until a person lifts exactly it."""

    place: str  # topic/partition@offset
    stops: str  # a cluster; `~N`: those of partition N; `*`: all
    text: str  # what was wrong with it
    at_ms: int  # since when
    controls_offset: int  # how far the controls had been read when it was found

    @property
    def scope(self) -> str:
        """What is named to lift it: its cluster, or `*` where it stops more than one."""
        return EVERY_CLUSTER if self.stops.startswith("~") else self.stops


class Evidence(Model):
    """One thing that was seen, cited by its id (`E1`, `E2`, ...) in what is concluded from it."""

    id: str
    text: str  # bounded, as an on-call engineer would say it
    source: str  # e.g. `alert`, `GET /stores`
    entities: tuple[str, ...] = ()  # e.g. `store:4`, `region:180`: what a proposal may name
    seen_at_ms: int


class AlertRef(Model):
    """One alert inside an incident."""

    fingerprint: str
    name: str
    starts_at_ms: int
    level: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Objection(Model):
    """Why not. `wait` says until when; `never` is not asked again; `no` may change with the facts."""

    code: str
    kind: Literal["no", "wait", "never"]
    text: str
    until_ms: int = 0


class Call(Model):
    """One request to a cluster as a typed value. Built by actions/calls.py alone, which also renders it for the
    wire."""

    name: str
    args: dict[str, str] = {}


class Change(Model):
    """One change to a cluster and how it is taken back. `undo` None: cannot be undone (the card says so)."""

    do: Call
    undo: Call | None = None
    keep_s: int = 0  # temporary: undone after so long; 0: meant to stay


class Premise(Model):
    """An identity, state or epoch that the plan relies on, e.g. `store:4.state` = `Up`. Never a count."""

    name: str
    value: str


class Bounds(Model):
    """The most that the plan may touch; checked again just before acting."""

    stores_max: int
    regions_max: int
    leaders_max: int
    bytes_moved_max: int = 0


class Reach(Model):
    """What the plan would touch by the facts at hand. Counts move, so they are shown and bounded, never digested."""

    stores: int
    regions: int
    leaders: int
    leaders_share: float  # of the cluster's leaders, 0..1
    bytes_moved: int = 0


class Plan(Model):
    """All that an approval is for. The digest is SHA-256 over this record's Avro body."""

    environment: str
    cluster_id: ClusterId
    pd_cluster_id: int
    action: str
    action_version: int
    params: str  # canonical JSON
    changes: tuple[Change, ...]
    premises: tuple[Premise, ...]
    bounds: Bounds
    policy_version: int
    policy_rules: tuple[str, ...]  # the rules of the policy that were applied, each as `name=value`


class SignedApproval(Model):
    """A person's word as the console signed it: `jws` is the compact JWS whose payload repeats the other fields."""

    approval_id: str
    person: str
    via: str  # `cli`, `web`, `grant`, `policy`
    kid: str
    decided_at_ms: int
    expires_at_ms: int
    reason: str
    jws: str


class Sample(Model):
    """One look at what verification judges by."""

    at_ms: int
    figures: dict[str, float] = {}


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """One spelling for one value: sorted keys, no blanks, UTF-8 kept. NaN and infinities are refused."""
    return _CANONICAL.encode(value)


def sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
