"""What PD said about one cluster, and when: the only picture of a cluster that a decision may use."""

from __future__ import annotations

from typing import Literal, Protocol

from schemas.values import Model, StoreId

StoreState = Literal["Up", "Disconnected", "Down", "Offline", "Tombstone"]
RECOVERY_OVER = ("no on-going recovery", "unsafe recovery finished", "unsafe recovery failed")
REGION_HEARTBEAT_S = 60  # normally: PD shows what a region took in its last interval, and not how long that was
SLOW_SCORE = 80  # from here PD counts a store as slow; it evicts by itself at 100 only
KEPT_CHARS_MAX = 400_000  # of facts as JSON in an event that has to be said whatever PD shows
UP_HEARTBEAT_S_MAX = 20  # PD itself calls a store Disconnected after 20 s of silence


class StoreFacts(Model):
    id: int
    address: str
    status_address: str = ""
    version: str = ""  # of its TiKV: `8.5.4`
    started_at_s: int = 0  # when its process started, s since 1970; 0: PD does not say
    state: StoreState
    labels: dict[str, str] = {}
    capacity_bytes: int = 0
    available_bytes: int = 0
    leader_count: int = 0
    region_count: int = 0
    region_size_mib: int = 0  # of its replicas, as PD estimates it
    leader_weight: float = 1.0
    region_weight: float = 1.0
    slow_score: int = 0  # 1..100; 0: PD sent none
    is_busy: bool = False
    physically_destroyed: bool = False  # taken offline by force: PD never takes it back
    add_peer_limit: float = 0.0  # replicas a minute that may come to it; 0: PD does not say
    remove_peer_limit: float = 0.0  # replicas a minute that may leave it; 0: PD does not say
    snapshots: int = 0  # copies of regions that it sends and receives
    last_heartbeat_ms: int = 0
    written_bytes_per_s: float = 0.0

    def is_tiflash(self) -> bool:
        """Learners only: it never leads."""
        return self.labels.get("engine") == "tiflash"

    def is_strained(self) -> bool:
        """Busy, or slow: it has enough to do."""
        return self.is_busy or not self.slow_score < SLOW_SCORE

    def has_low_space(self, low_space_ratio: float) -> bool:
        return self.capacity_bytes > 0 and self.available_bytes < (1 - low_space_ratio) * self.capacity_bytes


class PeerFacts(Model):
    id: int
    store_id: int
    role: str  # Voter | Learner | IncomingVoter | DemotingVoter


class RegionFacts(Model):
    id: int
    conf_ver: int
    version: int
    leader_store_id: int  # 0: PD knows of no leader
    peers: tuple[PeerFacts, ...] = ()
    down_store_ids: tuple[int, ...] = ()
    pending_store_ids: tuple[int, ...] = ()
    written_bytes: int = 0  # of the last heartbeat interval
    approximate_size_mib: int = 0

    def voter_store_ids(self) -> tuple[int, ...]:
        return tuple(p.store_id for p in self.peers if p.role == "Voter")

    @property
    def written_bytes_per_s(self) -> float:
        return self.written_bytes / REGION_HEARTBEAT_S

    def is_joint(self) -> bool:
        return any(p.role in ("IncomingVoter", "DemotingVoter") for p in self.peers)

    def healthy_followers(self, up_store_ids: frozenset[int]) -> tuple[int, ...]:
        """Stores that could lead this region now: voters, up, neither down nor pending, not leading already."""
        bad = {*self.down_store_ids, *self.pending_store_ids, self.leader_store_id}
        return tuple(s for s in self.voter_store_ids() if s in up_store_ids and s not in bad)


class OperatorFacts(Model):
    region_id: int
    desc: str  # `admin-transfer-leader`, `balance-leader`, ...
    brief: str = ""


OperatorStatus = Literal["RUNNING", "SUCCESS", "CANCEL", "REPLACE", "TIMEOUT"]


class NewestOperator(Model):
    """The newest operator of one region, whoever made it: the running one, or else the last that ended.

    PD gives operators no id: one is told from the next by when it was created.
    """

    region_id: int
    status: OperatorStatus
    desc: str
    brief: str  # `mv peer: store [1] to [4]`
    created_ns: int  # since 1970, by PD's clock

    def is_running(self) -> bool:
        return self.status == "RUNNING"


class RemovalFacts(Model):
    """How far a store is drained that is being taken out; a new PD leader has forgotten it."""

    store_id: int
    progress: float  # 0..1 of its data
    mib_per_s: float
    left_s: float  # at that speed; the largest number there is while nothing moves


class TikvSetting(Model):
    """One setting of one store's TiKV, which is asked itself."""

    store_id: StoreId
    key: str


class TikvSettingFacts(Model):
    """What it is. Where that could not be had, `code` and `text` say why (`tikv_unreachable`, `tikv_malformed`, ...):
    the rest of the facts is no less true for it."""

    store_id: int
    key: str
    value: str = ""  # as TiKV shows it: `8GiB`
    code: str = ""
    text: str = ""


class MemberFacts(Model):
    """One process of PD."""

    name: str
    is_healthy: bool = False  # as the member that was asked reaches it
    leader_priority: int = 0  # PD itself moves its leader to a member of a higher one


class Facts(Model):
    """One consistent set: everything in it was read between `taken_at_ms - took_ms` and `taken_at_ms`."""

    cluster_id: str
    pd_cluster_id: int
    taken_at_ms: int
    took_ms: int = 0
    version: str = ""
    pd_leader: str = ""
    pd_leader_age_s: float = 0.0  # as this process has seen it: never older than it has watched
    pd_started_at_ms: int = 0
    members: int = 0
    members_healthy: int = 0
    pd_members: tuple[MemberFacts, ...] = ()  # by name
    max_replicas: int = 3
    location_labels: tuple[str, ...] = ()  # keys of the stores' labels, the widest failure domain first
    isolation_level: str = ""  # the location label at which no two replicas of a region may meet; empty: none
    low_space_ratio: float = 0.8
    leader_schedule_limit: int = 4
    region_schedule_limit: int = 2048
    replica_schedule_limit: int = 64
    store_limit_version: str = "v1"  # v2: PD finds the store limits by itself, and lets nobody set them
    replaces_offline_replicas: bool = True  # enable-replace-offline-replica
    halt_scheduling: bool = False
    merge_schedule_limit: int = 8  # 0: PD merges nothing
    max_merge_region_size_mib: int = 54  # PD merges regions up to this size with a neighbour, unless they are hot
    split_merge_interval_s: float = 3600.0  # but not before so long after a split
    schedule_config: dict[str, int] = {}  # the keys that may be set (actions/schedule_keys.py); never what a TTL holds
    tikv_may_split: bool = True  # False: PD gives no ids for new regions (enable-tikv-split-region)
    stores: tuple[StoreFacts, ...] = ()  # by id; Tombstones included
    schedulers: tuple[str, ...] = ()
    paused_schedulers: tuple[str, ...] = ()
    evicting: tuple[int, ...] = ()  # stores in evict-leader-scheduler's list, whoever put them there
    slow_evicting: tuple[int, ...] = ()  # stores that evict-slow-store-scheduler has taken
    slow_evicting_known: bool = True  # False: before 8.1, where that scheduler is there, PD does not say
    operators: tuple[OperatorFacts, ...] = ()
    troubled: tuple[RegionFacts, ...] = ()  # regions with a down or pending peer, or too few peers
    troubled_complete: bool = True  # False: more than we read; nothing may be concluded from absence
    regions: tuple[RegionFacts, ...] = ()  # the regions that the action asked for; absent: PD knows none such
    newest_operators: tuple[NewestOperator, ...] = ()  # of the regions asked for; absent: none in the last 10 min
    removals: tuple[RemovalFacts, ...] = ()  # of the stores that the action asked for, those that PD has any of
    regions_total: int = 0
    tikv_setting: TikvSettingFacts | None = None  # the one that the action asked for
    unsafe_recovery: str = "No on-going recovery."

    def store(self, store_id: int) -> StoreFacts | None:
        return next((s for s in self.stores if s.id == store_id), None)

    def region(self, region_id: int) -> RegionFacts | None:
        return next((r for r in self.regions if r.id == region_id), None)

    def newest_operator(self, region_id: int) -> NewestOperator | None:
        return next((o for o in self.newest_operators if o.region_id == region_id), None)

    def pd_member(self, name: str) -> MemberFacts | None:
        return next((m for m in self.pd_members if m.name == name), None)

    def removal(self, store_id: int) -> RemovalFacts | None:
        return next((r for r in self.removals if r.store_id == store_id), None)

    def living(self) -> tuple[StoreFacts, ...]:
        return tuple(s for s in self.stores if s.state != "Tombstone")

    def up_store_ids(self) -> frozenset[int]:
        return frozenset(s.id for s in self.stores if s.state == "Up")

    def leaders_total(self) -> int:
        return sum(s.leader_count for s in self.stores)

    def down_peers(self) -> int:
        return sum(len(r.down_store_ids) for r in self.troubled)

    def pending_peers(self) -> int:
        return sum(len(r.pending_store_ids) for r in self.troubled)

    def is_recovering(self) -> bool:
        """Unsafe recovery runs, or says what we don't know. How it ended older PDs write in small letters."""
        return not self.unsafe_recovery.casefold().startswith(RECOVERY_OVER)

    def age_s(self, now_ms: int) -> float:
        return (now_ms - self.taken_at_ms) / 1000

    def warming_up(self) -> str | None:
        """Why these are no facts yet (pd-seen.md, section 2), or None. A restarted PD shows zeros and 404s for a
        while."""
        if not self.schedulers:
            return "PD lists no schedulers: it has just started"
        silent = [s.id for s in self.living() if s.state in ("Up", "Disconnected") and s.last_heartbeat_ms == 0]
        if silent:
            return f"no heartbeat heard yet of stores {silent}"
        if self.regions_total and self.leaders_total() == 0:
            return "PD counts no leaders at all: no region heartbeats yet"
        return None


def kept_facts(facts: Facts | None) -> Facts | None:
    """The facts as they go on record with what is concluded from them; None where there are none, or so many that no
    broker would take the event: an answer is worth more than its grounds."""
    return facts if facts is not None and len(facts.model_dump_json()) <= KEPT_CHARS_MAX else None


class Look(Model):
    """What to read beyond the stores: regions by id, and tombstones are always read. `removal_of`: stores of which is
    read how far their removal is."""

    region_ids: tuple[int, ...] = ()
    operators_of: tuple[int, ...] = ()  # regions whose operator is what the action is about
    removal_of: tuple[int, ...] = ()
    tikv_setting: TikvSetting | None = None


MAY_PASS = frozenset(  # reasons for no facts that time may heal; every other one is a no
    {
        "pd_unreachable",
        "pd_timeout",
        "pd_breaker_open",
        "pd_busy",
        "pd_error",
        "pd_no_leader",
        "pd_leader_changed",
        "pd_warming_up",
        "pd_inconsistent",
    }
)


class NoFacts(Exception):
    """PD could not be read, or what it said cannot be believed: `code` (`pd_unreachable`, `pd_wrong_cluster`,
    `pd_malformed`, ...) and `text` for people. Unknown means no."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


class FactsReader(Protocol):
    """Reads one consistent set of facts of a configured cluster (GETs only). Raises NoFacts."""

    async def facts(self, cluster_id: str, look: Look) -> Facts: ...
