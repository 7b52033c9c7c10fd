"""Clusters and alerts as the tests of thinking need them: five stores that are well, and what a test changes."""

from __future__ import annotations

from typing import Any

from schemas.alert_rules import BY_NAME, Rule
from schemas.events import By, DiagnosisAdopted, DiagnosisAsked
from schemas.facts import Facts, PeerFacts, RegionFacts, StoreFacts
from schemas.values import AlertRef, Evidence

CLUSTER = "prod-eu-7"
AT_MS = 1_763_000_000_000
GIB = 2**30


def store(store_id: int, **changed: Any) -> StoreFacts:
    usual: dict[str, Any] = {
        "id": store_id,
        "address": f"10.0.4.{store_id}:20160",
        "status_address": f"10.0.4.{store_id}:20180",
        "state": "Up",
        "capacity_bytes": 1000 * GIB,
        "available_bytes": 600 * GIB,
        "leader_count": 40,
        "region_count": 120,
        "slow_score": 1,
        "last_heartbeat_ms": AT_MS - 3000,
        "written_bytes_per_s": 2e6,
    }
    return StoreFacts(**{**usual, **changed})


def facts(*odd: StoreFacts, **changed: Any) -> Facts:
    """Stores 1 to 5, with the odd ones in place of their namesakes (or added)."""
    by_id = {i: store(i) for i in range(1, 6)} | {s.id: s for s in odd}
    usual: dict[str, Any] = {
        "cluster_id": CLUSTER,
        "pd_cluster_id": 7_168_243_901_123_456,
        "taken_at_ms": AT_MS,
        "version": "v8.5.7",
        "pd_leader": "pd0",
        "pd_leader_age_s": 4000.0,
        "members": 3,
        "members_healthy": 3,
        "stores": tuple(by_id[i] for i in sorted(by_id)),
        "schedulers": ("balance-leader-scheduler", "balance-region-scheduler"),
        "regions_total": 200,
    }
    return Facts(**{**usual, **changed})


def region(region_id: int, leader: int, *followers: int, written_bytes: int = 0, **changed: Any) -> RegionFacts:
    peers = tuple(PeerFacts(id=10 * region_id + s, store_id=s, role="Voter") for s in (leader, *followers))
    usual: dict[str, Any] = {"id": region_id, "conf_ver": 5, "version": 30, "leader_store_id": leader, "peers": peers}
    return RegionFacts(**{**usual, "written_bytes": written_bytes, **changed})


def alert(name: str, level: str = "", annotations: dict[str, str] | None = None, /, **labels: str) -> AlertRef:
    rule = BY_NAME.get(name)
    return AlertRef(
        fingerprint=f"{name}/{sorted(labels.items())}",
        name=name,
        starts_at_ms=AT_MS - 90_000,
        level=level or (rule.level if rule else "warning"),
        labels={"alertname": name, "env": CLUSTER, **labels},
        annotations=annotations or {"summary": name},
    )


def stock_alert(rule: Rule, store_id: int = 4) -> AlertRef:
    """An alert as this rule makes it: with the labels that it keeps."""
    at = "10.0.9.1:2379" if rule.name.lower().startswith("pd_") else f"10.0.4.{store_id}:20180"
    values = {"instance": at, "store_id": str(store_id), "job": "tikv"}
    return alert(rule.name, rule.level, **{label: values.get(label, "x") for label in rule.labels})


def asked(
    *alerts: AlertRef, family: str, by: By = "playbook", ask_id: str = "A-1", deadline_ms: int = 1_060_000
) -> DiagnosisAsked:
    return DiagnosisAsked(
        cluster_id=CLUSTER,
        incident_id="INC-1",
        ask_id=ask_id,
        by=by,
        deadline_ms=deadline_ms,
        family=family,
        alerts=alerts,
    )


def adopted(cause: str, evidence: tuple[Evidence, ...], **changed: Any) -> DiagnosisAdopted:
    usual: dict[str, Any] = {
        "cluster_id": CLUSTER,
        "incident_id": "INC-1",
        "ask_id": "A-1",
        "by": "playbook",
        "final": True,
        "cause": cause,
        "confidence": 0.86,
        "summary": f"{cause}, as found",
        "evidence": evidence,
    }
    return DiagnosisAdopted(**{**usual, **changed})
