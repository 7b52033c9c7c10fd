"""Each fault, as a caller meets it: in memory (sync and async) and over a socket; and whether the call took effect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from pdsim import faults
from pdsim.faults import Fault, Faults
from pdsim.http import serve, transport
from pdsim.model import Cluster

EVICT = {"name": "evict-leader-scheduler", "store_id": 1}
PATH = "/pd/api/v1/schedulers"
START = 1_800_000_000.0

Seen = tuple[type[Exception] | int, bool]
FATES: list[tuple[Fault, type[Exception] | int, bool]] = [
    (faults.ConnectionRefused(), httpx.ConnectError, False),
    (faults.ConnectTimedOut(), httpx.ConnectTimeout, False),
    (faults.DroppedBefore(), httpx.RemoteProtocolError, False),
    (faults.DroppedAfter(), httpx.RemoteProtocolError, True),
    (faults.Slow(5.0), httpx.ReadTimeout, True),
    (faults.NeverAnswers(), httpx.ReadTimeout, False),
    (faults.NotLeader(), 500, False),
    (faults.NotLeader(applied=True), 500, True),
    (faults.NoLeader(), 503, False),
    (faults.TooMany(), 429, False),
    (faults.HtmlBody(), 502, False),
    (faults.HtmlBody(status=200), 200, False),
    (faults.HalfBody(), 200, True),
    (faults.RegionAbsent(), 200, False),
    (faults.Panic(), 500, False),
    (faults.Garbage(200, b"\x00\xff"), 200, False),
]
named = pytest.mark.parametrize(("fault", "fate", "applied"), FATES, ids=[repr(fault) for fault, _, _ in FATES])


def _outcome(send: Callable[[], httpx.Response]) -> type[Exception] | int:
    try:
        return send().status_code
    except httpx.TransportError as error:
        return type(error)


@named
def test_in_memory(fault: Fault, fate: type[Exception] | int, applied: bool) -> None:
    cluster, schedule = Cluster.healthy(now=START, regions=10), Faults()
    schedule.add(fault)
    with httpx.Client(transport=transport(cluster, lambda: START, schedule), base_url="http://pd", timeout=1) as client:
        assert _outcome(lambda: client.post(PATH, json=EVICT)) == fate
        assert (1 in cluster.schedulers.evicted) is applied
        assert [call.applied for call in cluster.calls] == [applied]
        assert client.post(PATH, json=EVICT).status_code == 200, "it strikes once"


@named
async def test_in_memory_async(fault: Fault, fate: type[Exception] | int, applied: bool) -> None:
    cluster, schedule = Cluster.healthy(now=START, regions=10), Faults()
    schedule.add(fault)
    through = transport(cluster, lambda: START, schedule)
    async with httpx.AsyncClient(transport=through, base_url="http://pd", timeout=1) as client:
        seen: type[Exception] | int
        try:
            seen = (await client.post(PATH, json=EVICT)).status_code
        except httpx.TransportError as error:
            seen = type(error)
    assert seen == fate
    assert (1 in cluster.schedulers.evicted) is applied


@pytest.fixture(scope="module")
def port() -> Iterator[tuple[Cluster, Faults, httpx.Client]]:
    cluster, schedule = Cluster.healthy(now=time.time(), regions=10), Faults()
    with (
        serve(cluster, faults=schedule) as served,
        httpx.Client(base_url=served.url, timeout=0.4, trust_env=False) as client,
    ):
        yield cluster, schedule, client


@named
@pytest.mark.local
def test_over_a_socket(
    port: tuple[Cluster, Faults, httpx.Client], fault: Fault, fate: type[Exception] | int, applied: bool
) -> None:
    cluster, schedule, client = port
    client.delete(f"{PATH}/evict-leader-scheduler-1")
    schedule.add(fault, method="POST")
    seen = _outcome(lambda: client.post(PATH, json=EVICT))
    if fate in (httpx.ConnectError, httpx.ConnectTimeout):
        assert isinstance(seen, type)
        assert issubclass(seen, httpx.ReadError | httpx.RemoteProtocolError), "the port listens: the connection breaks"
    else:
        assert seen == fate
    assert (1 in cluster.schedulers.evicted) is applied


def _client(schedule: Faults, now: Callable[[], float] = lambda: START) -> httpx.Client:
    cluster = Cluster.healthy(now=START, regions=10)
    return httpx.Client(transport=transport(cluster, now, schedule), base_url="http://pd")


def test_another_cluster_answers() -> None:
    schedule = Faults()
    schedule.add(faults.WrongCluster(42), times=None)
    client = _client(schedule)
    assert client.get("/pd/api/v1/cluster").json()["id"] == 42
    assert client.get("/pd/api/v1/members").json()["header"]["cluster_id"] == 42
    assert client.get("/pd/api/v1/stores").json()["count"] == 5


def test_half_a_body_is_no_json() -> None:
    schedule = Faults()
    schedule.add(faults.HalfBody())
    with pytest.raises(ValueError, match=r".*"):
        _client(schedule).get("/pd/api/v1/stores").json()


def test_a_rule_waits_for_its_method_path_time_and_turn() -> None:
    now = [START]
    schedule = Faults()
    schedule.add(faults.TooMany(), method="GET", path="/pd/api/v1/store", between=(START, START + 10), skip=1, times=2)
    client = _client(schedule, lambda: now[0])

    def codes(path: str) -> list[int]:
        return [client.get(f"/pd/api/v1{path}").status_code for _ in range(4)]

    assert codes("/health") == [200, 200, 200, 200]
    assert codes("/stores") == [200, 429, 429, 200]
    assert [fault for _, _, fault in schedule.struck] == [faults.TooMany(), faults.TooMany()]
    late = Faults()
    late.add(faults.TooMany(), between=(START, START + 10), times=None)
    client = _client(late, lambda: now[0])
    now[0] = START + 11
    assert codes("/stores") == [200] * 4


def test_a_rule_may_ask_anything_of_the_request() -> None:
    schedule = Faults()
    schedule.add(faults.Panic(), when=lambda request, now: b"999" in request.body, times=None)
    client = _client(schedule)
    assert client.post(PATH, json=EVICT | {"store_id": 999}).text.startswith("PANIC: ")
    assert client.post(PATH, json=EVICT).status_code == 200


@pytest.mark.local
def test_two_callers_meet_on_one_server(port: tuple[Cluster, Faults, httpx.Client]) -> None:
    cluster, _, client = port
    before = len(cluster.calls)
    more: dict[str, Any] = {"headers": {"X-Caller-ID": "somebody/else"}}
    client.get("/pd/api/v1/stores", **more)
    client.get("/pd/api/v1/health")
    assert [call.caller_id for call in cluster.calls[before:]] == ["somebody/else", ""]
