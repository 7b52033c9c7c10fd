"""What no history may break: whatever happens, the model stays a cluster, and the same seed tells the same story."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdsim import go
from pdsim.http import Request, Response, answer
from pdsim.model import Cluster
from pdsim.stores import State

START = 1_800_000_000.0
API = "/pd/api/v1"

Step = tuple[float, str, int, int]

VERBS = (
    "transfer-leader", "transfer-peer", "add-peer", "remove-peer", "split-region", "merge-region", "scatter-region",
    "cancel", "evict", "forgive", "offline", "up", "kill", "revive", "slow", "pd-leader", "pd-restart", "freeze",
    "batch-11", "halt", "go-on", "pause", "remove-tombstone",
)  # fmt: skip
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.03, 0.1, 0.7, 3.0, 25.0, 400.0, 2000.0]),
        st.sampled_from(VERBS),
        st.integers(0, 40),
        st.integers(1, 6),
    ),
    max_size=18,
)
thorough = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _build(seed: int = 1) -> Cluster:
    return Cluster.healthy(stores=5, regions=20, now=START, seed=seed)


def _send(cluster: Cluster, method: str, path: str, body: object = None) -> Response | None:
    path, _, query = path.partition("?")
    data = b"" if body is None else json.dumps(body).encode()
    given = answer(cluster, Request(method, API + path, query, (), data), cluster.now)
    return given if isinstance(given, Response) else None


def _do(cluster: Cluster, step: Step) -> None:
    """One step of a history: some time passes, then somebody does something, sensible or not."""
    wait_s, verb, pick, store = step
    cluster.advance(cluster.now + wait_s)
    regions = list(cluster.cache)
    region = regions[pick % len(regions)] if regions else None
    region_id = region.id if region else 0
    right = cluster.cache.siblings(region)[1] if region else None
    other = store % 5 + 1
    operators: dict[str, dict[str, object]] = {
        "transfer-leader": {"region_id": region_id, "to_store_id": store},
        "transfer-peer": {"region_id": region_id, "from_store_id": store, "to_store_id": other},
        "add-peer": {"region_id": region_id, "store_id": store},
        "remove-peer": {"region_id": region_id, "store_id": store},
        "split-region": {"region_id": region_id, "policy": "scan"},
        "merge-region": {"source_region_id": region_id, "target_region_id": right.id if right else 0},
        "scatter-region": {"region_id": region_id},
    }
    if verb in operators:
        _send(cluster, "POST", "/operators", {"name": verb} | operators[verb])
    elif verb in ("kill", "revive", "slow"):
        if store in cluster.stores and cluster.stores[store].state is not State.Tombstone:
            _to_a_store(cluster, verb, store)
    elif verb == "pd-leader":
        cluster.change_pd_leader(cluster.now)
    elif verb == "pd-restart":
        cluster.restart_pd(cluster.now)
    else:
        calls: dict[str, tuple[str, str, object]] = {
            "cancel": ("DELETE", f"/operators/{region_id}", None),
            "evict": ("POST", "/schedulers", {"name": "evict-leader-scheduler", "store_id": store}),
            "forgive": ("DELETE", f"/schedulers/evict-leader-scheduler-{store}", None),
            "offline": ("DELETE", f"/store/{store}", None),
            "up": ("POST", f"/store/{store}/state?state=Up", None),
            "freeze": ("GET", f"/regions/store/{store}?type=foo", None),
            "batch-11": ("POST", "/scheduler-config/evict-leader-scheduler/config", {"store_id": store, "batch": 11}),
            "halt": ("POST", "/config", {"halt-scheduling": "true"}),
            "go-on": ("POST", "/config", {"halt-scheduling": "false"}),
            "pause": ("POST", "/checker/rule", {"delay": 30}),
            "remove-tombstone": ("DELETE", "/stores/remove-tombstone", None),
        }
        if verb in calls:
            _send(cluster, *calls[verb])


def _to_a_store(cluster: Cluster, verb: str, store: int) -> None:
    if verb == "kill":
        cluster.kill_store(store)
    elif verb == "revive":
        cluster.revive_store(store)
    else:
        cluster.set_slow(store, 100)


def _check(cluster: Cluster) -> None:
    for table in (cluster.truth, cluster.cache):
        for region in table:
            held = [peer.store_id for peer in region.peers]
            assert len(held) == len(set(held)), f"two peers on one store: {region}"
            assert region.voters, f"nobody may vote: {region}"
            assert region.leader is None or region.leader in held, f"led from outside: {region}"
        stores = range(1, 7)
        led = [region.id for store in stores for region in table.led_by(store)]
        assert len(led) == len(set(led)), "a leader on two stores"
        assert len(led) + table.leaderless_count() == len(table)
        assert sum(table.region_count(store) for store in stores) == sum(len(region.peers) for region in table)
    edge = ""
    for region in cluster.truth:
        assert region.start_key == edge, "a hole or an overlap in the key space"
        edge = region.end_key
    assert edge == ""
    assert all(operator.region_id == region for region, operator in cluster.book.running.items())


@given(steps)
@thorough
def test_leaders_are_never_on_two_stores_and_counts_add_up(history: list[Step]) -> None:
    cluster = _build()
    for step in history:
        _do(cluster, step)
        _check(cluster)
    cluster.advance(cluster.now + 120.0)
    _check(cluster)


@given(steps)
@thorough
def test_what_pd_says_of_stores_agrees_with_what_it_says_of_regions(history: list[Step]) -> None:
    cluster = _build()
    for step in history:
        _do(cluster, step)
    seen = _send(cluster, "GET", "/stores?state=0&state=1&state=2")
    if seen is None or seen.status != 200:
        return
    stores = {each["store"]["id"]: each["status"] for each in json.loads(seen.body)["stores"]}
    listed = _send(cluster, "GET", "/regions/key?limit=-1")
    assert listed is not None
    regions = json.loads(listed.body)["regions"]
    for store, status in stores.items():
        assert status["leader_count"] == sum(region["leader"].get("store_id") == store for region in regions)
        assert status["region_count"] == sum(
            peer["store_id"] == store for region in regions for peer in region["peers"]
        )


@given(steps, st.integers(0, 5))
@thorough
def test_the_same_seed_and_history_give_the_same_bytes(history: list[Step], seed: int) -> None:
    def told() -> tuple[bytes, str]:
        cluster = _build(seed)
        for step in history:
            _do(cluster, step)
        seen = b"".join(
            given.body
            for path in ("/stores", "/schedulers", "/regions/key?limit=-1", "/operators", "/config/schedule")
            if (given := _send(cluster, "GET", path)) is not None
        )
        return seen, repr(cluster.calls)

    assert told() == told()


@given(st.lists(st.floats(0.01, 200.0), min_size=1, max_size=8), st.sampled_from(["kill", "evict", "slow", "offline"]))
@thorough
def test_time_in_small_steps_and_in_one_leap_come_to_the_same(leaps: list[float], verb: str) -> None:
    small, large = _build(), _build()
    for cluster in (small, large):
        _do(cluster, (0.0, verb, 3, 2))
    for leap in leaps:
        small.advance(small.now + leap)
    large.advance(small.now)
    assert list(small.truth) == list(large.truth)
    assert list(small.cache) == list(large.cache)
    assert repr(small.stores) == repr(large.stores)


_TELL = """
import hashlib, json
from tests.pdsim.test_pdsim_properties import _build, _do, _send
cluster = _build(7)
for step in [(3.0, "kill", 0, 2), (25.0, "evict", 0, 1), (400.0, "split-region", 5, 1), (2000.0, "pd-restart", 0, 1),
             (0.7, "offline", 0, 3), (25.0, "scatter-region", 4, 1), (400.0, "transfer-leader", 2, 4)]:
    _do(cluster, step)
bodies = [_send(cluster, "GET", path) for path in ("/stores", "/schedulers", "/regions/key?limit=-1", "/members")]
print(hashlib.sha256(b"".join(body.body for body in bodies) + repr(cluster.calls).encode()).hexdigest())
"""


@pytest.mark.local
def test_the_hash_seed_of_the_interpreter_changes_nothing() -> None:
    root = Path(__file__).parents[2]
    told = {
        subprocess.run(
            [sys.executable, "-c", _TELL],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(told) == 1


scalars = st.none() | st.booleans() | st.integers() | st.text()
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(documents)
def test_an_answer_is_indented_as_the_standard_library_does_it(value: object) -> None:
    plain = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    escaped = plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    assert go.dumps_indented(value) == escaped.encode()
