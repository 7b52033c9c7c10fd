"""A simulated PD behind the real clients, and a clock that both sides share."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
import pytest

from executors.tikv import ClusterWriter
from infra.pd import PdEndpoint, PdReader
from pdsim.faults import Faults
from pdsim.http import transport
from pdsim.model import Cluster

START = 1_800_000_000.0
URLS = ("http://pd-0:2379", "http://pd-1:2379", "http://pd-2:2379")


@dataclass
class Pd:
    """Clients and the cluster behind them."""

    cluster: Cluster
    now_s: float = START
    faults: Faults = field(default_factory=Faults)
    pinned: int | None = None
    urls: tuple[str, ...] = URLS

    def __post_init__(self) -> None:
        self.pinned = self.cluster.id
        self.reader = self.new_reader()

    def new_reader(self) -> PdReader:
        return PdReader(
            {"prod": PdEndpoint(self.urls, self.pinned)},
            monotonic_s=self.clock,
            wall_s=self.clock,
            transport=lambda _: self.transport(),
        )

    def writer(self, *may_call: str, urls: tuple[str, ...] | None = None) -> ClusterWriter:
        return ClusterWriter(urls or self.urls, may_call=frozenset(may_call), transport=self.transport)

    def transport(self) -> httpx.AsyncBaseTransport:
        return transport(self.cluster, self.clock, self.faults)

    def clock(self) -> float:
        return self.now_s

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.cluster.advance(self.now_s)

    def writes(self) -> list[str]:
        return [f"{c.method} {c.path}" for c in self.cluster.calls if c.method != "GET"]


@pytest.fixture
def pd() -> Pd:
    return Pd(Cluster.healthy(stores=5, regions=60, now=START, seed=7))
