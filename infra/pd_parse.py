"""What PD's answers say, or which field of which answer is not what PD sends. Pure: bytes in, Facts out.

Nothing is guessed: a missing field, another type, a number that no cluster has, two answers that contradict each other
are NoFacts that name the path and the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf, isfinite
from typing import Any, Final, NamedTuple, get_args

from actions.schedule_keys import KEYS
from schemas.facts import (
    Facts,
    Look,
    MemberFacts,
    NewestOperator,
    NoFacts,
    OperatorFacts,
    OperatorStatus,
    PeerFacts,
    RegionFacts,
    RemovalFacts,
    StoreFacts,
    StoreState,
)

CLUSTER: Final = "/cluster"
MEMBERS: Final = "/members"
STATUS: Final = "/status"
HEALTH: Final = "/health"
STORES: Final = "/stores?state=0&state=1&state=2"  # without it, Tombstones are left out
RATES: Final = "/hotspot/stores"
STORE_LIMITS: Final = "/stores/limit"
CHECKS: Final = ("/regions/check/down-peer", "/regions/check/pending-peer", "/regions/check/miss-peer")
OPERATORS: Final = "/operators?object"
SCHEDULERS: Final = "/schedulers"
PAUSED: Final = "/schedulers?status=paused"
EVICTING: Final = "/scheduler-config/evict-leader-scheduler/list"
SLOW_EVICTING: Final = "/scheduler-config/evict-slow-store-scheduler/list"
CONFIG: Final = "/config"
RECOVERY: Final = "/admin/unsafe/remove-failed-stores/show"
COUNT: Final = "/regions/count"
FIRST: Final = (CLUSTER, MEMBERS)  # who answers is asked before anything else
THEN: Final = (
    STATUS, HEALTH, STORES, RATES, STORE_LIMITS, *CHECKS, OPERATORS, SCHEDULERS, PAUSED, EVICTING, SLOW_EVICTING,
    CONFIG, RECOVERY, COUNT,
)  # fmt: skip
READS: Final = (*FIRST, *THEN)
MAY_BE_ABSENT: Final = (EVICTING, SLOW_EVICTING)  # 404: no such scheduler

TROUBLED_MAX = 500  # they travel in events
OPERATORS_MAX = 1000
STORES_MAX = 1000
NUMBER_MAX = 2**63 - 1
TEXT_MAX = 500
_SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\+\d+)?)(B|KiB|MiB|GiB|TiB|PiB|EiB)")
_UNITS = {unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|µs|ns)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
_CODE = re.compile(r"\[PD:[a-z_]+:(Err[A-Za-z]+)\]")
_NO_LEADER = {"ErrRedirect", "ErrRedirectNoLeader", "ErrRedirectToNotLeader", "ErrServerNotStarted", "ErrLeaderNil"}
_REGION = re.compile(r"/region/id/[1-9][0-9]{0,18}")
_OPERATOR = re.compile(r"/operators/[1-9][0-9]{0,18}")
_NO_OPERATOR = re.compile(
    rb'"(?:\[PD:operator:ErrOperatorNotFound\])?operator not found"\s*'
)  # before 7.5 without a code
_STATUS_OF = re.compile(r"status: (\w+), operator: (.*)")
_OPERATOR_TEXT = re.compile(
    r"(?P<desc>[^ {}]+) \{(?P<brief>[^{}]*)\} \(kind:[^()]*, region:(?P<region_id>[1-9]\d{0,18})\(\d+, \d+\), "
    r"createAt:(?P<created>[^,]+), startAt:.*\).*"
)
_NOT_TOLD = b"not implements"  # of a scheduler, before 8.1
_GO_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))? ([+-]\d{4}) \S+(?: m=[+-][\d.]+)?")
_REMOVAL = re.compile(r"/stores/progress\?id=[1-9][0-9]{0,18}")


def region_path(region_id: int) -> str:
    return f"/region/id/{region_id}"


def operator_path(region_id: int) -> str:
    return f"/operators/{region_id}"


def removal_path(store_id: int) -> str:
    return f"/stores/progress?id={store_id}"


def asked_paths(look: Look) -> tuple[str, ...]:
    """What is read for this look alone."""
    asked = ((region_path, look.region_ids), (operator_path, look.operators_of), (removal_path, look.removal_of))
    return tuple(path(each) for path, ids in asked for each in sorted(set(ids)))


def may_read(path: str) -> bool:
    """The allow-list: these GETs and no others. `/regions/store/...?type=` can freeze a PD leader for good."""
    return path in READS or any(known.fullmatch(path) for known in (_REGION, _OPERATOR, _REMOVAL))


def is_absent(path: str, said: Said) -> bool:
    """PD answers, and says that there is no such thing."""
    if _OPERATOR.fullmatch(path):
        return said.status == 500 and _NO_OPERATOR.fullmatch(said.body or b"") is not None
    return said.status == 404 and (path in MAY_BE_ABSENT or _REMOVAL.fullmatch(path) is not None)


@dataclass(frozen=True)
class Said:
    """One answer. `body` None: longer than is read."""

    status: int
    body: bytes | None


@dataclass(frozen=True)
class Who:
    """Who answers: the cluster, its PD leader, its members."""

    pd_cluster_id: int
    leader: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Pass:
    """The circumstances of one pass over PD."""

    cluster_id: str
    taken_at_ms: int
    took_ms: int
    leader_age_s: float


def who(said: Mapping[str, Said]) -> Who:
    """Of CLUSTER and MEMBERS. Raises NoFacts."""
    number = _At(CLUSTER, "", _json(CLUSTER, said[CLUSTER])).map("id").number(1)
    members = _At(MEMBERS, "", _json(MEMBERS, said[MEMBERS]))
    if (other := members.map("header").map("cluster_id").number(1)) != number:
        raise NoFacts("pd_wrong_cluster", f"GET {MEMBERS} is of PD cluster {other}, GET {CLUSTER} of {number}")
    leader = members.map("leader", None)
    if leader.value is None:
        raise NoFacts("pd_no_leader", f"GET {MEMBERS}: PD has no leader")
    names = tuple(m.map("name").text() for m in members.map("members").list())
    if not names or len(set(names)) != len(names):
        raise members.map("members").wrong("no members, or one twice")
    return Who(number, leader.map("name").text(), names)


def started_at_ms(said: Said) -> int:
    """When the process that leads PD started, of STATUS. Raises NoFacts."""
    return _At(STATUS, "", _json(STATUS, said)).map("start_timestamp").number() * 1000


def facts(said: Mapping[str, Said], look: Look, given: Pass) -> Facts:
    """All answers of one pass as one picture. Raises NoFacts."""
    at = {p: _At(p, "", _json(p, said[p])) for p in READS if p not in (*MAY_BE_ABSENT, *CHECKS)}
    known, members = who(said), _members(at[MEMBERS], at[HEALTH])
    status = at[STATUS]
    if status.map("loaded", True).value is False:
        raise NoFacts("pd_warming_up", f"GET {STATUS}: PD has not loaded its regions yet")
    schedulers = _names(at[SCHEDULERS])
    slow_evicting = _slow_evicting(said[SLOW_EVICTING], schedulers)
    troubled, complete = _troubled(said)
    schedule, replication = at[CONFIG].map("schedule"), at[CONFIG].map("replication")
    return Facts(
        cluster_id=given.cluster_id,
        pd_cluster_id=known.pd_cluster_id,
        taken_at_ms=given.taken_at_ms,
        took_ms=given.took_ms,
        version=status.map("version", "").text(),
        pd_leader=known.leader,
        pd_leader_age_s=given.leader_age_s,
        pd_started_at_ms=started_at_ms(said[STATUS]),
        members=len(known.members),
        members_healthy=sum(m.is_healthy for m in members),
        pd_members=members,
        max_replicas=replication.map("max-replicas").number(1),
        location_labels=replication.map("location-labels").words(),
        isolation_level=replication.map("isolation-level", "").text(),
        low_space_ratio=schedule.map("low-space-ratio").fraction(),
        leader_schedule_limit=schedule.map("leader-schedule-limit").number(),
        region_schedule_limit=schedule.map("region-schedule-limit").number(),
        replica_schedule_limit=schedule.map("replica-schedule-limit").number(),
        store_limit_version=schedule.map("store-limit-version", "v1").text(),  # older PDs have no other
        replaces_offline_replicas=schedule.map("enable-replace-offline-replica").flag(),
        halt_scheduling=schedule.map("halt-scheduling", "false").flag(),  # PD leaves it out while false
        merge_schedule_limit=schedule.map("merge-schedule-limit").number(),
        max_merge_region_size_mib=schedule.map("max-merge-region-size").number(),
        split_merge_interval_s=schedule.map("split-merge-interval").seconds(),
        schedule_config={k: v.number() for k in KEYS if (v := schedule.map(k, None)).value is not None},
        tikv_may_split=schedule.map("enable-tikv-split-region", "true").flag(),  # older PDs have no such switch
        stores=_stores(at[STORES], at[RATES], at[STORE_LIMITS]),
        schedulers=schedulers,
        paused_schedulers=_names(at[PAUSED]),
        evicting=_evicting(said[EVICTING], schedulers),
        slow_evicting=slow_evicting or (),
        slow_evicting_known=slow_evicting is not None,
        operators=_operators(at[OPERATORS]),
        troubled=troubled,
        troubled_complete=complete,
        regions=_asked(said, look),
        newest_operators=_newest_operators(said, look),
        removals=_removals(said, look),
        regions_total=at[COUNT].map("count").number(),
        unsafe_recovery=_recovery(at[RECOVERY]),
    )


def bytes_of(size: str) -> int | None:
    """`931.5GiB` in bytes: Go's units.BytesSize, base 1024, four significant digits. None: no such size."""
    found = _SIZE.fullmatch(size)
    bytes_ = float(found[1]) * _UNITS[found[2]] if found else inf
    return int(bytes_) if bytes_ < inf else None


def seconds_of(duration: str) -> float | None:
    """`1h30m0.5s` in seconds: Go's time.Duration.String(), never negative here. None: no such duration."""
    if not _DURATION.fullmatch(duration):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(duration))


def nanoseconds_of(time: str) -> int | None:
    """`2026-11-23 15:52:00.926094955 +0000 UTC m=+125.4` since 1970: Go's time.Time.String(). None: no such time."""
    found = _GO_TIME.fullmatch(time)
    try:
        whole = datetime.strptime(f"{found[1]} {found[3]}", "%Y-%m-%d %H:%M:%S %z") if found else None
    except ValueError:
        return None
    if found is None or whole is None:
        return None
    return int(whole.timestamp()) * 10**9 + int((found[2] or "").ljust(9, "0"))


# -- the parts ------------------------------------------------------------------------------------------------------


def _members(members: _At, health: _At) -> tuple[MemberFacts, ...]:
    """Those that there are: one that left may linger among those of which PD says whether they answer."""
    answers = {m.map("name").text() for m in health.list() if m.map("health").boolean()}
    found = (
        MemberFacts(
            name=(name := m.map("name").text()),
            is_healthy=name in answers,
            leader_priority=m.map("leader_priority", 0).number(-NUMBER_MAX),  # PD leaves it out while 0
        )
        for m in members.map("members").list()
    )
    return tuple(sorted(found, key=lambda m: m.name))


def _stores(stores: _At, rates: _At, limits: _At) -> tuple[StoreFacts, ...]:
    listed = stores.map("stores").list()
    if stores.map("count").number() != len(listed):
        raise stores.map("count").wrong(f"{len(listed)} stores are listed")
    if len(listed) > STORES_MAX:
        raise NoFacts("pd_too_large", f"GET {STORES}: {len(listed)} stores, at most {STORES_MAX} are read")
    written = rates.map("bytes-write-rate")
    found = tuple(sorted((_store(s, written, limits) for s in listed), key=lambda s: s.id))
    if len({s.id for s in found}) != len(found):
        raise stores.map("stores").wrong("lists a store twice")
    return found


def _store(entry: _At, written: _At, limits: _At) -> StoreFacts:
    """`state_name` Offline hides a dead process; after a restart of PD zeros stand for what it has not heard yet."""
    store, status = entry.map("store"), entry.map("status")
    store_id = store.map("id").number(1)
    state = store.map("state_name").one_of(get_args(StoreState))
    rate = written.map(str(store_id), None)
    if rate.value is None and state == "Up":
        raise NoFacts("pd_warming_up", f"GET {rate.path}: {rate.field}: PD knows no write rate of this store yet")
    labels = {label.map("key").text(): label.map("value", "").text() for label in store.map("labels", None).list()}
    heartbeat_ns = store.map("last_heartbeat", 0)
    limit = limits.map(str(store_id), None)  # a Tombstone has none
    return StoreFacts(
        id=store_id,
        address=store.map("address").text(),
        status_address=store.map("status_address", "").text(),
        version=store.map("version", "").text(),
        started_at_s=store.map("start_timestamp", 0).number(),
        state=state,
        labels=labels,
        capacity_bytes=status.map("capacity").size(),
        available_bytes=status.map("available").size(),
        leader_count=status.map("leader_count").number(),
        region_count=status.map("region_count").number(),
        region_size_mib=status.map("region_size").number(),
        leader_weight=status.map("leader_weight", 1.0).real(),
        region_weight=status.map("region_weight", 1.0).real(),
        slow_score=status.map("slow_score", 0).number(),
        is_busy=status.map("is_busy", False).boolean(),
        physically_destroyed=store.map("physically_destroyed", False).boolean(),
        add_peer_limit=0.0 if limit.value is None else limit.map("add-peer").real(),
        remove_peer_limit=0.0 if limit.value is None else limit.map("remove-peer").real(),
        snapshots=status.map("sending_snap_count", 0).number() + status.map("receiving_snap_count", 0).number(),
        last_heartbeat_ms=0 if _is_before_1970(heartbeat_ns.value) else heartbeat_ns.number() // 1_000_000,
        written_bytes_per_s=0.0 if rate.value is None else rate.real(),
    )


def _is_before_1970(nanoseconds: object) -> bool:
    """Go's zero time: never heard of."""
    return isinstance(nanoseconds, int) and nanoseconds < 0


def _troubled(said: Mapping[str, Said]) -> tuple[tuple[RegionFacts, ...], bool]:
    """(regions with a down, lagging or missing peer; are these all?)."""
    found: dict[int, RegionFacts] = {}
    complete = True
    for path in CHECKS:
        if said[path].body is None and said[path].status == 200:
            complete = False
            continue
        answer = _At(path, "", _json(path, said[path]))
        listed = answer.map("regions").list()
        if answer.map("count").number() != len(listed):
            raise answer.map("count").wrong(f"{len(listed)} regions are listed")
        for entry in listed:
            region = _region(entry)
            found[region.id] = _more_ill(found.get(region.id), region)
    kept = tuple(found[region_id] for region_id in sorted(found)[:TROUBLED_MAX])
    return kept, complete and len(kept) == len(found)


def _more_ill(one: RegionFacts | None, other: RegionFacts) -> RegionFacts:
    """Two reads of one region, moments apart: what either says is wrong counts."""
    if one is None:
        return other
    down = tuple(sorted({*one.down_store_ids, *other.down_store_ids}))
    pending = tuple(sorted({*one.pending_store_ids, *other.pending_store_ids}))
    return other.model_copy(update={"down_store_ids": down, "pending_store_ids": pending})


def _region(entry: _At) -> RegionFacts:
    epoch, leader = entry.map("epoch"), entry.map("leader", None)
    peers = tuple(
        PeerFacts(
            id=p.map("id").number(1),
            store_id=p.map("store_id").number(1),
            role=p.map("role_name").one_of(("Voter", "Learner", "IncomingVoter", "DemotingVoter")),
        )
        for p in entry.map("peers").list()
    )
    return RegionFacts(
        id=entry.map("id").number(1),
        conf_ver=epoch.map("conf_ver", 0).number(),
        version=epoch.map("version", 0).number(),
        leader_store_id=0 if leader.value is None else leader.map("store_id", 0).number(),
        peers=peers,
        down_store_ids=tuple(d.map("peer").map("store_id").number(1) for d in entry.map("down_peers", None).list()),
        pending_store_ids=tuple(p.map("store_id").number(1) for p in entry.map("pending_peers", None).list()),
        written_bytes=entry.map("written_bytes", 0).number(),
        approximate_size_mib=entry.map("approximate_size", 0).number(),
    )


def _asked(said: Mapping[str, Said], look: Look) -> tuple[RegionFacts, ...]:
    """A region that does not exist is HTTP 200 with id 0 (or null): it is simply not here."""
    found = []
    for region_id in sorted(set(look.region_ids)):
        path = region_path(region_id)
        answer = _At(path, "", _json(path, said[path]))
        if answer.value is None or answer.map("id").number() == 0:
            continue
        region = _region(answer)
        if region.id != region_id:
            raise answer.map("id").wrong(f"is {region.id}")
        found.append(region)
    return tuple(found)


def _removals(said: Mapping[str, Said], look: Look) -> tuple[RemovalFacts, ...]:
    """Of a store that is not being taken out, or since another PD leader was, PD knows nothing: 404."""
    found = []
    for store_id in sorted(set(look.removal_of)):
        path = removal_path(store_id)
        if is_absent(path, said[path]):
            continue
        answer = _At(path, "", _json(path, said[path]))
        if answer.map("action").text() == "removing":
            found.append(
                RemovalFacts(
                    store_id=store_id,
                    progress=answer.map("progress").fraction(),
                    mib_per_s=answer.map("current_speed").real(),
                    left_s=answer.map("left_seconds").real(),
                )
            )
    return tuple(found)


def _operators(answer: _At) -> tuple[OperatorFacts, ...]:
    listed = answer.list()
    if len(listed) > OPERATORS_MAX:
        raise NoFacts("pd_too_large", f"GET {OPERATORS}: {len(listed)} operators, at most {OPERATORS_MAX} are read")
    return tuple(sorted((_operator(o) for o in listed), key=lambda o: (o.region_id, o.desc)))


def _operator(entry: _At) -> OperatorFacts:
    """An object; before 8.1 PD knows no `?object`, and writes it out."""
    if isinstance(entry.value, str):
        written = _written(entry, entry.whole_text())
        region_id = _At(entry.path, f"{entry.field}.region_id", int(written["region_id"])).number(1)
        return OperatorFacts(region_id=region_id, desc=written["desc"][:TEXT_MAX], brief=written["brief"][:TEXT_MAX])
    return OperatorFacts(
        region_id=entry.map("region_id").number(1),
        desc=entry.map("desc").text(),
        brief=entry.map("brief", "").text(),
    )


def _written(at: _At, text: str) -> re.Match[str]:
    if (found := _OPERATOR_TEXT.fullmatch(text)) is None:
        raise at.wrong("is no operator as PD writes it")
    return found


def _newest_operators(said: Mapping[str, Said], look: Look) -> tuple[NewestOperator, ...]:
    """Each as PD writes it out in full: nothing else that it says has the time of its creation."""
    found = []
    for region_id in sorted(set(look.operators_of)):
        path = operator_path(region_id)
        if is_absent(path, said[path]):
            continue
        answer = _At(path, "", _json(path, said[path]))
        if (with_status := _STATUS_OF.fullmatch(answer.whole_text())) is None:
            raise answer.wrong("is no operator as PD writes it")
        status = _At(path, "status", with_status[1]).one_of(get_args(OperatorStatus))
        written = _written(answer, with_status[2])
        created_ns = nanoseconds_of(written["created"])
        if created_ns is None or not 0 < created_ns <= NUMBER_MAX:
            raise answer.wrong("is no operator as PD writes it")
        if int(written["region_id"]) != region_id:
            raise answer.wrong(f"is of region {written['region_id'][:20]}")
        found.append(
            NewestOperator(
                region_id=region_id,
                status=status,
                desc=written["desc"],
                brief=written["brief"],
                created_ns=created_ns,
            )
        )
    return tuple(found)


def _names(answer: _At) -> tuple[str, ...]:
    return tuple(sorted(name.text() for name in answer.list()))


def _evicting(said: Said, schedulers: Iterable[str]) -> tuple[int, ...]:
    """404 means none; but a PD that has just started lists no schedulers at all, and then it means nothing."""
    if said.status == 404:
        if "evict-leader-scheduler" in schedulers:
            raise NoFacts("pd_inconsistent", f"GET {SCHEDULERS} has evict-leader-scheduler, GET {EVICTING} is 404")
        return ()
    ranges = _At(EVICTING, "", _json(EVICTING, said)).map("store-id-ranges")
    if not isinstance(ranges.value, dict):
        raise ranges.wrong("is no map of stores")
    found = []
    for key in ranges.value:
        if not re.fullmatch(r"[1-9][0-9]{0,18}", key):
            raise ranges.wrong(f"{key[:20]!r} is no store")
        found.append(int(key))
    return tuple(sorted(found))


def _slow_evicting(said: Said, schedulers: Iterable[str]) -> tuple[int, ...] | None:
    """None: the scheduler is there, and this PD does not say which stores it has taken."""
    if said.status == 200 and said.body == _NOT_TOLD:
        return None
    if said.status == 404:
        if "evict-slow-store-scheduler" in schedulers:
            raise NoFacts("pd_inconsistent", f"GET {SCHEDULERS} has its scheduler, GET {SLOW_EVICTING} is 404")
        return ()
    answer = _At(SLOW_EVICTING, "", _json(SLOW_EVICTING, said))
    return tuple(sorted(store.number(1) for store in answer.map("evict-stores", None).list()))


def _recovery(answer: _At) -> str:
    stages = answer.list()
    if not stages:
        raise answer.wrong("is empty")
    return stages[-1].map("info").text()


# -- one answer -----------------------------------------------------------------------------------------------------


def _json(path: str, said: Said) -> Any:
    """The JSON of an answer that is 200. Raises NoFacts."""
    if said.status != 200:
        raise refusal(path, said)
    if said.body is None:
        raise NoFacts("pd_too_large", f"GET {path}: the answer is longer than is read")
    try:
        return json.loads(said.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        start = said.body[:60].decode("utf-8", "replace")
        raise NoFacts("pd_malformed", f"GET {path}: not JSON: {start!r}") from None


def refusal(path: str, said: Said) -> NoFacts:
    """What an answer other than 200 means."""
    text = (said.body or b"")[:200].decode("utf-8", "replace").strip()
    found = _CODE.search(text)
    code = found[1] if found else ""
    if said.status == 429:
        kind = "pd_busy"
    elif said.status == 503 or code in _NO_LEADER:
        kind = "pd_no_leader"
    elif code == "ErrNotBootstrapped":
        kind = "pd_not_bootstrapped"
    else:
        kind = "pd_error" if said.status >= 500 else "pd_unexpected"
    return NoFacts(kind, f"GET {path}: HTTP {said.status} {text!r}")


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_REQUIRED: Final = object()


class _At(NamedTuple):
    """A value inside an answer, which knows its place in it."""

    path: str
    field: str
    value: Any

    def wrong(self, why: str) -> NoFacts:
        return NoFacts("pd_malformed", f"GET {self.path}: {self.field or 'the answer'}: {why}")

    def map(self, key: str, default: object = _REQUIRED) -> _At:
        if not isinstance(self.value, dict):
            raise self.wrong("is no object")
        field = f"{self.field}.{key}" if self.field else key
        if key not in self.value and default is _REQUIRED:
            raise _At(self.path, field, None).wrong("is missing")
        return _At(self.path, field, self.value.get(key, default))

    def list(self) -> tuple[_At, ...]:
        """Go's nil slice is null."""
        if self.value is None:
            return ()
        if not isinstance(self.value, list):
            raise self.wrong("is no list")
        return tuple(_At(self.path, f"{self.field}[{n}]", v) for n, v in enumerate(self.value))

    def number(self, least: int = 0) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.wrong("is no whole number")
        if not least <= self.value <= NUMBER_MAX:
            raise self.wrong(f"is not between {least} and 2^63")
        return self.value

    def real(self) -> float:
        try:
            number = float(self.value) if isinstance(self.value, int | float) else -1.0
        except OverflowError:
            number = -1.0
        if isinstance(self.value, bool) or not isfinite(number) or number < 0:
            raise self.wrong("is no number of 0 or more")
        return number

    def fraction(self) -> float:
        if (number := self.real()) > 1:
            raise self.wrong("is more than 1")
        return number

    def text(self) -> str:
        return self.whole_text()[:TEXT_MAX]

    def whole_text(self) -> str:
        """As long as the answer is."""
        if not isinstance(self.value, str):
            raise self.wrong("is no text")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            raise self.wrong("is no UTF-8") from None
        return self.value

    def words(self) -> tuple[str, ...]:
        """PD's config writes a list of words as one text, with commas between them."""
        return tuple(word.strip() for word in self.text().split(",") if word.strip())

    def one_of(self, words: tuple[Any, ...]) -> Any:
        if self.text() not in words:
            raise self.wrong(f"{self.text()[:40]!r} is none of {', '.join(words)}")
        return self.value

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("is neither true nor false")
        return self.value

    def flag(self) -> bool:
        """PD's config writes booleans as strings; some versions don't."""
        if self.value in ("true", True):
            return True
        if self.value in ("false", False):
            return False
        raise self.wrong("is neither true nor false")

    def size(self) -> int:
        if (found := bytes_of(self.text())) is None or found > NUMBER_MAX:
            raise self.wrong(f"{self.text()[:40]!r} is no size")
        return found

    def seconds(self) -> float:
        if (found := seconds_of(self.text())) is None or found > NUMBER_MAX:
            raise self.wrong(f"{self.text()[:40]!r} is no duration")
        return found
