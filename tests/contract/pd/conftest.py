"""The twins: pdsim in memory, pdsim over a socket, and a real PD where PD_URL names one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from pdsim.http import Served, serve, transport
from pdsim.model import Cluster
from pdsim.world import Timing
from tests.contract.pd.twin import ONLY_READ, Twin, at, real

TWINS = ("memory", "socket", *(("real",) if os.environ.get("PD_URL") else ()))
START = 1_800_000_000.0
FAST = Timing(
    store_heartbeat_s=0.5,
    region_heartbeat_s=1.0,
    scheduler_idle_s=0.5,
    node_check_s=0.5,
    learner_step_s=0.2,
    priority_check_s=1.0,
)


@contextmanager
def _in_memory() -> Iterator[Twin]:
    cluster, now = Cluster.healthy(now=START, regions=60, timing=FAST), [START]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        cluster.advance(now[0])

    with httpx.Client(transport=transport(cluster, lambda: now[0]), base_url="http://any-pd:2379") as client:
        yield Twin("memory", client, sleep)


def _served() -> Served:
    return serve(Cluster.healthy(now=time.time(), regions=60, timing=FAST))


@pytest.fixture(scope="session")
def served_for_reading() -> Iterator[Served]:
    """One server for all cases that only read: starting one takes longer than they do."""
    with _served() as served:
        yield served


@pytest.fixture(params=TWINS)
def pd(request: pytest.FixtureRequest) -> Iterator[Twin]:
    """A PD to read from, or to send what it refuses; a real one is sent that only where PD_WRITES=1."""
    if request.param == "memory":
        with _in_memory() as twin:
            yield twin
        return
    if request.param == "socket":
        served: Served = request.getfixturevalue("served_for_reading")
        with at("socket", served.url) as twin:
            yield twin
        return
    with real() as twin:
        yield twin


@pytest.fixture(params=TWINS)
def writable_pd(request: pytest.FixtureRequest) -> Iterator[Twin]:
    """A PD to write to: a real one only where PD_WRITES=1 says that it is disposable."""
    if request.param == "memory":
        with _in_memory() as twin:
            yield twin
    elif request.param == "socket":
        with _served() as served, at("socket", served.url) as twin:
            yield twin
    elif os.environ.get("PD_WRITES") != "1":
        pytest.skip(ONLY_READ)
    else:
        with real() as twin:
            yield twin


@pytest.fixture
def breakable_pd(writable_pd: Twin) -> Twin:
    """A PD that the case leaves broken or changed for good: never a real one."""
    if writable_pd.name == "real":
        pytest.skip("this case leaves a PD broken or changed for good: never run on a real one")
    return writable_pd
