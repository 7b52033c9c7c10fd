# ruff: noqa: E501  (the table is read by rows)
"""The stock alert rules of PD and TiKV: what each one means, which labels it keeps, and what to look for behind it.

Read from metrics/alertmanager/{pd,tikv}.rules.yml (tikv/pd and tikv/tikv, 8.5 and master of 2026-08). Three traps that
this table exists for: a PD_* alert about stores names only the PD itself, so the bad store is looked up; the `instance`
of a TiKV alert is the *status* address (host:20180), so it joins with a store's `status_address`; the `expr` label is
what somebody once pasted there and need not be the expression that fired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CauseName = Literal[
    "clock_went_back",
    "cluster_nearly_full",
    "etcd_nearly_full",
    "hot_region",
    "pd_cpu_short",
    "pd_disk_slow",
    "pd_leader_moved",
    "pd_member_down",
    "pd_memory_short",
    "pd_network_slow",
    "pd_overloaded",
    "pd_restarted",
    "pd_stalled",
    "replica_lags",
    "replicas_missing",
    "several_slow_stores",
    "slow_store",
    "store_disconnected",
    "store_down",
    "store_nearly_full",
    "store_restarted",
    "store_unreachable",
    "tombstones_left",
    "uneven_load",
    "unknown",
]
Level = Literal["emergency", "critical", "warning"]
LEVELS: tuple[Level, ...] = ("warning", "critical", "emergency")  # rising


@dataclass(frozen=True)
class Rule:
    """One stock rule. Either `cause` is what usually stands behind it, or `abstains` says why none can be named.

    `labels` are those that the expression keeps beside what the rule adds (`env`, `level`, `expr`); `whole_series`: it
    aggregates nothing away, so every label of the scraped series is there and `labels` are the ones to count on.
    `told_by_alert`: what the rule measures *is* the cause, so the alert alone is evidence enough.
    """

    name: str
    level: Level
    labels: tuple[str, ...]
    family: str
    tells: str  # the evidence that tells
    cause: CauseName = "unknown"
    abstains: str = ""
    whole_series: bool = False
    told_by_alert: bool = False
    note: str = ""


_PD = ("instance", "job")
_METRICS = "TiKV's own metrics tell, and Steward does not read them yet"

# fmt: off
RULES: tuple[Rule, ...] = (
    # a store is gone, or its replicas are
    Rule("PD_cluster_down_store_nums", "emergency", ("instance",), "store_down", "a store that PD calls Down, and its last heartbeat", "store_down",
         note="silent for longer than max-store-down-time (30 min): PD re-makes its replicas; does not name the store"),
    Rule("PD_cluster_unhealthy_store_nums", "warning", ("instance",), "store_down", "a store silent for over 10 min", "store_down", note="does not name the store"),
    Rule("PD_cluster_lost_connect_store_nums", "warning", ("instance",), "store_down", "a store that PD calls Disconnected (silent for 20 s)", "store_disconnected",
         note="does not name the store; all stores read Disconnected for some seconds after a PD leader change"),
    Rule("PD_down_peer_region_nums", "warning", ("instance",), "store_down", "the stores that hold the down peers", "replicas_missing"),
    Rule("PD_miss_peer_region_count", "critical", ("instance",), "store_down", "regions with too few peers", "replicas_missing",
         note="never fires on PD >= 6.5: the label value that it selects is exported no longer (`miss-peer-region-count` now)"),
    Rule("TiKV_server_report_failure_msg_total", "critical", ("store_id",), "store_down", "what PD says about the store of `store_id`: the one that the others can't reach",
         "store_unreachable", note="`store_id` is the unreachable store, not the one that complains"),

    # a store writes slowly
    Rule("PD_cluster_slow_tikv_nums", "critical", ("instance",), "slow_store", "slow_score >= 80 on one store", "slow_store",
         note="does not name the store; PD's evict-slow-store-scheduler takes it at 100 only, and only one"),
    Rule("TiKV_raft_append_log_duration_secs", "critical", ("instance",), "slow_store", "slow_score of the store at `instance`, against its peers", "slow_store"),
    Rule("TiKV_raft_apply_log_duration_secs", "critical", ("instance",), "slow_store", "slow_score of the store at `instance`, against its peers", "slow_store"),
    Rule("TiKV_raft_process_ready_duration_secs", "warning", ("instance", "type"), "slow_store", "slow_score: log append is stuck", "slow_store"),
    Rule("TiKV_async_request_write_duration_seconds", "critical", ("instance", "type"), "slow_store", "slow_score; else raftstore or apply under pressure", "slow_store"),
    Rule("TiKV_raft_log_lag", "critical", ("instance",), "slow_store", "slow_score of the followers: one of them is stuck", "slow_store"),
    Rule("TiKV_channel_full_total", "critical", ("instance", "type"), "slow_store", "slow_score (disk), else a hot region on the store at `instance`", "slow_store"),

    # more is asked of a store than it can do
    Rule("TiKV_write_stall", "critical", ("instance", "job", "type", "db"), "write_pressure", "slow_score; one store written to far more than the others; a hot region",
         "uneven_load", whole_series=True),
    Rule("TiKV_maybe_write_stall", "critical", ("instance",), "write_pressure", "one store written to far more than the others; a hot region", "uneven_load",
         note="many L0 files: compaction doesn't keep up"),
    Rule("TiKV_scheduler_latch_wait_duration_seconds", "critical", ("instance", "type"), "write_pressure", "a hot region on that store, else conflicting transactions", "hot_region"),
    Rule("TiKV_thread_apply_worker_cpu_seconds", "critical", ("instance",), "write_pressure", "one store written to far more than the others", "uneven_load",
         note='never fires as shipped: it compares with ="apply_.*", a pattern, by equality'),
    Rule("TiKV_scheduler_context_total", "warning", ("instance", "job"), "write_pressure", "one store written to far more than the others; a hot region", "uneven_load", whole_series=True),
    Rule("TiKV_scheduler_command_duration_seconds", "warning", ("instance", "type"), "write_pressure", "a hot region on that store; slow_score", "hot_region"),
    Rule("TiKV_pending_task", "warning", ("instance", "name"), "write_pressure", "which worker (`name`) queues; load against the other stores", "uneven_load"),
    Rule("TiKV_raftstore_thread_cpu_seconds_total", "critical", ("instance",), "raftstore_busy", "a hot region, or far more regions than on the other stores", "hot_region"),
    Rule("TiKV_raft_process_tick_duration_secs", "warning", ("instance", "type"), "raftstore_busy", "far more regions than on the other stores", "uneven_load"),
    Rule("TiKV_async_request_snapshot_duration_seconds", "critical", ("instance", "type"), "raftstore_busy", "a hot region; slow_score", "hot_region"),
    Rule("TiKV_leader_drops", "warning", ("instance", "job", "type"), "raftstore_busy", "slow_score; operators moving leaders away", "slow_store", whole_series=True),
    Rule("TiKV_cpu_quota", "warning", ("instance", "job"), "raftstore_busy", "load of the store at `instance` against the others", "uneven_load", whole_series=True),
    Rule("TiKV_coprocessor_request_wait_seconds", "critical", ("instance", "req"), "read_pressure", "slow queries, or reads of one region",
         abstains="slow queries stand in TiDB's log, and PD's facts here hold no read rates"),
    Rule("TiKV_coprocessor_pending_request", "warning", ("instance", "job", "req"), "read_pressure", "slow queries, or reads of one region",
         abstains="slow queries stand in TiDB's log, and PD's facts here hold no read rates", whole_series=True),
    Rule("TiKV_coprocessor_cpu_util", "warning", ("instance",), "read_pressure", "slow queries, or reads of one region",
         abstains="slow queries stand in TiDB's log, and PD's facts here hold no read rates"),
    Rule("PD_pending_peer_region_count", "warning", ("instance",), "replicas_lagging", "the store that holds most pending peers, and its slow_score", "replica_lags"),

    # space
    Rule("PD_cluster_low_space", "warning", ("instance",), "low_space", "stores with less than 20 % available", "store_nearly_full", note="does not name the store"),
    Rule("TiKV_low_space", "warning", ("instance",), "low_space", "available space of the store at `instance`, and of the cluster", "store_nearly_full"),
    Rule("PD_cluster_store_space_used_more_than_80%", "warning", (), "low_space", "used space over all stores", "cluster_nearly_full"),

    # a TiKV by itself
    Rule("TiKV_node_restart", "warning", ("instance", "job"), "tikv_restart", "the alert itself: the process's start time changed", "store_restarted", whole_series=True, told_by_alert=True),
    Rule("TiKV_critical_error", "critical", ("type", "instance"), "critical_error", "the log of the store at `instance`, by `type`",
         abstains="the counter says that something broke, the store's log says what, and Steward reads no logs"),
    Rule("TiKV_memory_used_too_fast", "emergency", ("instance", "job"), "tikv_memory", "memory by component", abstains=f"why memory grew: {_METRICS}", whole_series=True),
    Rule("TiKV_memory_quota", "warning", ("instance", "job"), "tikv_memory", "memory by component", abstains=f"why memory is short: {_METRICS}", whole_series=True),
    Rule("TiKV_approximate_region_size", "warning", (), "region_size", "regions by size", abstains=f"which regions are too big, and why they were not split: {_METRICS}"),
    Rule("TiKV_GC_can_not_work", "emergency", (), "gc_stuck", "TiDB's GC leader and the service safe points",
         abstains="garbage collection is led by TiDB: its GC leader and the service safe points tell, PD's facts here do not", note="its `expr` label is not its expression"),
    Rule("TiDB_tikvclient_gc_action_fail", "critical", (), "gc_stuck", "TiDB's log", abstains="which GC action fails and why stands in TiDB's log"),

    # PD
    Rule("PD_etcd_write_disk_latency", "critical", _PD, "pd_slow", "the alert itself: fsync of etcd's log takes over 1 s", "pd_disk_slow", told_by_alert=True),
    Rule("PD_etcd_network_peer_latency", "warning", ("To", *_PD), "pd_slow", "the alert itself: round trips between members take over 1 s", "pd_network_slow", told_by_alert=True),
    Rule("PD_tidb_handle_requests_duration", "warning", _PD, "pd_slow", "the alert itself: time stamps take over 0.1 s", "pd_overloaded", told_by_alert=True),
    Rule("PD_leader_lease_drop_without_failover", "warning", (*_PD, "service"), "pd_slow", "the alert itself: the lease was lost and regained by the same member", "pd_stalled",
         whole_series=True, told_by_alert=True),
    Rule("PD_leader_change", "warning", (), "pd_leader", "the alert itself; who leads now, and for how long", "pd_leader_moved", told_by_alert=True),
    Rule("PD_node_restart", "warning", _PD, "pd_leader", "the alert itself: the process's start time changed", "pd_restarted", whole_series=True, told_by_alert=True),
    Rule("PD_system_time_slow", "warning", (*_PD, "type"), "pd_clock", "the alert itself: PD saw its clock go back", "clock_went_back", whole_series=True, told_by_alert=True),
    Rule("PD_cpu_quota", "warning", _PD, "pd_quota", "the alert itself: over 80 % of the quota", "pd_cpu_short", whole_series=True, told_by_alert=True),
    Rule("PD_memory_quota", "warning", _PD, "pd_quota", "the alert itself: over 80 % of the quota", "pd_memory_short", whole_series=True, told_by_alert=True),
    Rule("pd_etcd_quota", "warning", _PD, "pd_quota", "the alert itself: etcd's database fills over 80 % of its quota", "etcd_nearly_full", whole_series=True, told_by_alert=True),
)

ALIASES: dict[str, str] = {  # names of before PD 4, still in use where rules were copied once
    "PD_cluster_offline_tikv_nums": "PD_cluster_down_store_nums",
    "PD_cluster_lost_connect_tikv_nums": "PD_cluster_lost_connect_store_nums",
    "PD_cluster_unhealthy_tikv_nums": "PD_cluster_unhealthy_store_nums",
}
# fmt: on

BY_NAME: dict[str, Rule] = {r.name: r for r in RULES}
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(r.family for r in RULES))
OTHER = "other:"


def rule_of(alertname: str) -> Rule | None:
    """The stock rule of that name, old names included; None for somebody's own rule."""
    return BY_NAME.get(ALIASES.get(alertname, alertname))


def family_of(alertname: str) -> str:
    """Alerts of one family have one cause to look for, and fold into one incident. Unknown: a family of its own."""
    rule = rule_of(alertname)
    return rule.family if rule else OTHER + alertname


def level_of(alertname: str, labelled: str = "") -> Level:
    """The level that the alert's own label gives if it is one of ours, else the rule's, else `warning`."""
    for level in LEVELS:
        if labelled == level:
            return level
    rule = rule_of(alertname)
    return rule.level if rule else "warning"
