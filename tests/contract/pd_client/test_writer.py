"""One call, once: what was certainly never sent, what PD refused, and all the rest."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import httpx
import pytest

from actions import calls
from actions.calls import BadCall
from actions.catalogue import FORBIDDEN
from executors.execute import Writer
from executors.pd import NoEndpoint, NotAllowed, PdWriter
from pdsim import faults as f
from pdsim.http import serve
from pdsim.model import Cluster
from schemas.facts import NoFacts
from schemas.values import Call
from tests.contract.pd_client.conftest import START, URLS, Pd

pytestmark = pytest.mark.contract
EVICT = calls.add_evict_leader(4)
UNEVICT = calls.remove_evict_leader(4)


async def sent(pd: Pd, call: Call, *may_call: str) -> Any:
    writer = pd.writer(*(may_call or (call.name,)))
    await writer.cluster_id()
    return await writer.send(call, caller_id="steward/R-1/1.1", within_s=2)


async def test_an_eviction_is_made_and_taken_back(pd: Pd) -> None:
    made = await sent(pd, EVICT)
    assert (made.answer, made.status, made.code) == ("accepted", 200, "")
    assert pd.cluster.calls[-1].caller_id == "steward/R-1/1.1"
    assert (await pd.reader.facts("prod")).evicting == (4,)
    assert (await sent(pd, UNEVICT)).answer == "accepted"
    assert (await pd.reader.facts("prod")).evicting == ()
    again = await sent(pd, UNEVICT)
    assert (again.answer, again.code, again.status) == ("accepted", "already_so", 404)


async def test_a_leader_is_moved(pd: Pd) -> None:
    region = min(pd.cluster.cache, key=lambda r: r.id)
    target = next(p.store_id for p in region.peers if p.store_id != region.leader)
    call = calls.transfer_leader(region.id, target)
    assert (await sent(pd, call)).answer == "accepted"
    pd.later(5)
    assert pd.cluster.truth.get(region.id).leader == target  # type: ignore[union-attr]
    again = await sent(pd, call)
    assert (again.answer, again.code) == ("accepted", "already_so")


async def test_a_replica_is_moved(pd: Pd) -> None:
    region = min(pd.cluster.cache, key=lambda r: r.id)
    held = [p.store_id for p in region.peers]
    source, (target, spare) = held[-1], sorted(set(pd.cluster.stores) - set(held))
    call = calls.transfer_peer(region.id, source, target)
    assert (await sent(pd, call)).answer == "accepted"
    again = await sent(pd, call)
    assert (again.answer, again.code) == ("may_have_run", "PD:operator:ErrAddOperator")
    pd.later(10)
    again = await sent(pd, call)
    assert (again.answer, again.body) == ("may_have_run", f"region has no peer in store {source}")
    gone = await sent(pd, calls.transfer_peer(region.id, target, 99))
    assert (gone.answer, gone.code) == ("refused", "PD:core:ErrStoreNotFound")
    pd.cluster.make_tombstone(spare)
    gone = await sent(pd, calls.transfer_peer(region.id, target, spare))
    assert (gone.answer, gone.code) == ("refused", "PD:core:ErrStoreRemoved")
    gone = await sent(pd, calls.transfer_peer(999_999, source, target))
    assert (gone.answer, gone.code) == ("refused", "PD:region:ErrRegionNotFound")


async def test_a_region_is_scattered_or_said_to_be(pd: Pd) -> None:
    region = min(pd.cluster.cache, key=lambda r: r.id)
    call = calls.scatter_region(region.id, conf_ver=region.conf_ver, leader_store_id=region.leader or 0)
    made = await sent(pd, call)
    assert (made.answer, pd.cluster.book.running) == ("accepted", {})  # it sits well: nothing is done, nothing shows
    hot = await sent(pd, calls.scatter_region(999_999, conf_ver=1, leader_store_id=1))
    assert (hot.answer, hot.code) == ("refused", "PD:region:ErrRegionNotFound")


async def test_a_500_can_be_a_refusal(pd: Pd) -> None:
    made = await sent(pd, calls.add_evict_leader(99))
    assert (made.answer, made.status, made.code) == ("refused", 500, "PD:core:ErrStoreNotFound")
    await sent(pd, EVICT)
    twice_encoded = await sent(pd, calls.add_evict_leader(99))
    assert (twice_encoded.answer, twice_encoded.code) == ("refused", "PD:core:ErrStoreNotFound")
    moved = await sent(pd, calls.transfer_leader(999_999, 1))
    assert (moved.answer, moved.code) == ("refused", "PD:region:ErrRegionNotFound")


async def test_tombstones_are_removed(pd: Pd) -> None:
    pd.cluster.make_tombstone(5)
    assert (await sent(pd, calls.remove_tombstones())).answer == "accepted"
    assert 5 not in pd.cluster.stores


async def test_a_weight_is_set_and_refused_for_a_store_that_is_not_there(pd: Pd) -> None:
    assert (await sent(pd, calls.set_store_weight(4, 0.5, 2))).answer == "accepted"
    store = pd.cluster.stores[4]
    assert (store.leader_weight, store.region_weight) == (0.5, 2)
    again = await sent(pd, calls.set_store_weight(4, 0.5, 2))
    assert (again.answer, again.code) == ("accepted", "")  # PD doesn't say that it was so already
    made = await sent(pd, calls.set_store_weight(99, 0.5, 2))
    assert (made.answer, made.status, made.code) == ("refused", 500, "PD:core:ErrStoreNotFound")


async def test_a_scheduler_that_is_not_there_is_neither_paused_nor_owed_a_resume(pd: Pd) -> None:
    pd.cluster.schedulers.drop("balance-region-scheduler")
    made = await sent(pd, calls.pause_scheduler("balance-region-scheduler", 60))
    assert (made.answer, made.status, made.code) == ("refused", 500, "PD:scheduler:ErrSchedulerNotFound")
    back = await sent(pd, calls.resume_scheduler("balance-region-scheduler"))
    assert (back.answer, back.code) == ("accepted", "already_so")


async def test_a_key_is_set_and_refused_while_somebody_holds_it_for_a_while(pd: Pd) -> None:
    key, config = "leader-schedule-limit", pd.cluster.config
    for value in (0, 7, 7):  # PD doesn't say that it was so already
        made = await sent(pd, calls.set_schedule_config(key, value))
        assert (made.answer, made.code, config.schedule[key]) == ("accepted", "", value)
    config.set_ttl({f"schedule.{key}": 2}, 60, pd.now_s)
    made = await sent(pd, calls.set_schedule_config(key, 4))
    assert (made.answer, made.status, made.code) == ("refused", 400, "pd_said_no")
    assert made.body == f"need to clean up TTL first for schedule.{key}"
    assert (config.schedule[key], config.limit(key, pd.now_s)) == (7, 2)
    assert (await sent(pd, calls.set_schedule_config("merge-schedule-limit", 0))).answer == "accepted"
    pd.later(61)
    assert (await sent(pd, calls.set_schedule_config(key, 4))).answer == "accepted"
    assert config.limit(key, pd.now_s) == 4


async def test_an_older_pd_refuses_a_key_that_it_does_not_have(pd: Pd) -> None:
    del pd.cluster.config.schedule["max-snapshot-count"]
    made = await sent(pd, calls.set_schedule_config("max-snapshot-count", 16))
    assert (made.answer, made.status, made.code) == ("refused", 400, "pd_said_no")


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (f.ConnectionRefused(), "never_sent"),
        (f.DroppedBefore(), "may_have_run"),
        (f.DroppedAfter(), "may_have_run"),
        (f.Slow(60.0), "may_have_run"),
        (f.NeverAnswers(), "may_have_run"),
        (f.NotLeader(), "may_have_run"),
        (f.NotLeader(applied=True), "may_have_run"),
        (f.NoLeader(), "may_have_run"),
        (f.TooMany(), "may_have_run"),
        (f.HtmlBody(502), "may_have_run"),
        (f.HtmlBody(200), "may_have_run"),
        (f.HalfBody(), "may_have_run"),
        (f.Panic(), "may_have_run"),
        (f.Garbage(307, b"", "application/json"), "may_have_run"),
        (f.Garbage(200, b" " * 10**6 + b'"The scheduler is created."', "application/json"), "may_have_run"),
    ],
)
async def test_what_each_fault_means(pd: Pd, fault: f.Fault, answer: str) -> None:
    pd.faults.add(fault, method="POST", times=None)
    assert (await sent(pd, EVICT)).answer == answer
    assert pd.writes() == ["POST /pd/api/v1/schedulers"]  # no retry, no other endpoint


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (httpx.ConnectError("refused"), "never_sent"),
        (httpx.ConnectTimeout("slow"), "never_sent"),
        (httpx.PoolTimeout("full"), "never_sent"),
        (httpx.ReadTimeout("slow"), "may_have_run"),
        (httpx.WriteTimeout("slow"), "may_have_run"),
        (httpx.WriteError("broken"), "may_have_run"),
        (httpx.ReadError("broken"), "may_have_run"),
        (httpx.CloseError("broken"), "may_have_run"),
        (httpx.RemoteProtocolError("half"), "may_have_run"),
        (httpx.LocalProtocolError("odd"), "may_have_run"),
        (httpx.ProxyError("odd"), "may_have_run"),
        (httpx.DecodingError("odd"), "may_have_run"),
    ],
)
async def test_every_error_of_the_client_has_one_meaning(error: httpx.RequestError, answer: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"id": 7})
        raise error

    writer = PdWriter(URLS, may_call=frozenset({"add_evict_leader"}), transport=lambda: httpx.MockTransport(handle))
    await writer.cluster_id()
    reply = await writer.send(EVICT, caller_id="x", within_s=1)
    assert (reply.answer, reply.code) == (answer, type(error).__name__)


async def test_a_call_that_outlasts_its_window_may_have_run() -> None:
    class Hangs(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return httpx.Response(200, json={"id": 7})
            await asyncio.sleep(60)
            raise AssertionError

    writer = PdWriter(URLS, may_call=frozenset({"add_evict_leader"}), transport=Hangs)
    await writer.cluster_id()
    assert (await writer.send(EVICT, caller_id="x", within_s=0.05)).answer == "may_have_run"


async def test_only_calls_of_the_action_are_sent(pd: Pd) -> None:
    writer = pd.writer("transfer_leader")
    await writer.cluster_id()
    for call in (EVICT, UNEVICT, calls.remove_tombstones(), Call(name="regions_of_store")):
        with pytest.raises(NotAllowed):
            await writer.send(call, caller_id="x", within_s=1)
    with pytest.raises(NotAllowed):
        await pd.writer().send(EVICT, caller_id="x", within_s=1)
    bad = Call(name="transfer_leader", args={"region_id": "1.5", "to_store_id": "2"})
    with pytest.raises(BadCall):
        await writer.send(bad, caller_id="x", within_s=1)
    with pytest.raises(BadCall):
        await pd.writer("regions_of_store").send(Call(name="regions_of_store"), caller_id="x", within_s=1)
    assert pd.writes() == []


async def test_nothing_is_sent_to_an_endpoint_that_has_not_said_who_it_is(pd: Pd) -> None:
    with pytest.raises(NoEndpoint):
        await pd.writer("add_evict_leader").send(EVICT, caller_id="x", within_s=1)
    assert pd.cluster.calls == []


async def test_the_endpoint_that_said_its_id_is_the_one_that_is_used(pd: Pd) -> None:
    pd.cluster.lose_member("pd-1")
    writer = pd.writer("add_evict_leader", urls=(URLS[1], URLS[2]))
    assert await writer.cluster_id() == pd.cluster.id
    pd.cluster.lose_member("pd-2")  # and now it is gone: no other is tried
    assert (await writer.send(EVICT, caller_id="x", within_s=1)).answer == "never_sent"


@pytest.mark.parametrize(
    "fault",
    [
        f.HtmlBody(200),
        f.HalfBody(),
        f.NoLeader(),
        f.NeverAnswers(),
        f.ConnectionRefused(),
        f.Garbage(200, b"[" * 60_000),
    ],
)
async def test_an_identity_that_cannot_be_read_is_no_identity(pd: Pd, fault: f.Fault) -> None:
    pd.faults.add(fault, times=None)
    writer = pd.writer("add_evict_leader")
    with pytest.raises(NoFacts):
        await writer.cluster_id()
    with pytest.raises(NoEndpoint):
        await writer.send(EVICT, caller_id="x", within_s=1)
    assert pd.writes() == []


async def test_an_identity_that_has_been_lost_is_not_used_again(pd: Pd) -> None:
    writer = pd.writer("add_evict_leader")
    await writer.cluster_id()
    pd.faults.add(f.NoLeader(), times=None)
    with pytest.raises(NoFacts):
        await writer.cluster_id()
    pd.faults.clear()
    with pytest.raises(NoEndpoint):
        await writer.send(EVICT, caller_id="x", within_s=1)
    assert pd.writes() == []


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
async def test_a_client_for_what_is_never_done_sends_nothing(pd: Pd, name: str) -> None:
    writer = pd.writer(*FORBIDDEN[name].may_call)
    for call in (Call(name=name), EVICT, UNEVICT, calls.transfer_leader(4, 1), calls.remove_tombstones()):
        with pytest.raises((NotAllowed, BadCall)):
            await writer.send(call, caller_id="x", within_s=1)
    assert pd.writes() == []


async def test_another_cluster_says_its_own_id(pd: Pd) -> None:
    pd.faults.add(f.WrongCluster(42), times=None)
    assert await pd.writer().cluster_id() == 42


async def test_over_a_real_socket() -> None:
    """A connection of its own for each request, closed afterwards; refused when nobody listens."""
    with serve(Cluster.healthy(stores=5, regions=20, now=START), clock=lambda: START) as served:
        writer: Writer = PdWriter((served.url,), may_call=frozenset({"add_evict_leader", "remove_evict_leader"}))
        assert await writer.cluster_id() == served.cluster.id
        assert (await writer.send(EVICT, caller_id="steward/R-1/1.1", within_s=5)).answer == "accepted"
        assert served.do(lambda c: c.calls[-1].caller_id) == "steward/R-1/1.1"
    assert (await writer.send(UNEVICT, caller_id="x", within_s=5)).answer == "never_sent"


async def test_the_environment_chooses_no_proxy(pd: Pd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serve(Cluster.healthy(stores=3, regions=9, now=START), clock=lambda: START) as served:
        writer = PdWriter((served.url,), may_call=frozenset())
        assert await writer.cluster_id() == served.cluster.id


class Deaf:
    """A raw server on loopback that says who it is, and then takes a connection and reads nothing of it until it is
    told to: what the sender's kernel can't deliver waits there."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least there is: it is full at once
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._taken: socket.socket | None = None

    def __enter__(self) -> Deaf:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listening, self._taken):
            if one:
                one.close()

    def says_its_id(self) -> None:
        with self._listening.accept()[0] as asked:
            asked.recv(65536)
            asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n" + b'{"id":7}')

    def takes_one(self) -> None:
        self._taken, _ = self._listening.accept()

    def drains(self) -> bytes:
        """All that arrives from now on, until the sender has closed or reset it."""
        assert self._taken
        self._taken.settimeout(10)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while more := self._taken.recv(65536):
                said += more
        return said


LONG = "x" * 50_000  # more than a deaf server's window takes, and less than the sender's kernel does


async def given_up(server: Deaf, within_s: float, then_s: float = 0.0) -> tuple[Any, bytes]:
    """(what the client made of it, what the server reads once it does) of a request that nobody has read in time."""
    writer = PdWriter((server.url,), may_call=frozenset({"add_evict_leader"}))
    asked = asyncio.to_thread(server.says_its_id)
    _, identity = await asyncio.gather(asked, writer.cluster_id())
    assert identity == 7
    taken = asyncio.to_thread(server.takes_one)
    _, reply = await asyncio.gather(taken, writer.send(EVICT, caller_id=LONG, within_s=within_s))
    return reply, await asyncio.to_thread(server.drains)


async def test_a_request_that_was_given_up_while_pd_reads_nothing_is_never_delivered() -> None:
    with Deaf() as server:
        reply, arrived = await given_up(server, within_s=0.5)

    assert reply.answer == "may_have_run"
    assert not arrived.endswith(b"}"), "the whole request has arrived, after it was given up"
    assert len(arrived) < len(LONG)


async def test_a_request_that_pd_does_not_take_for_ten_seconds_is_given_up_by_the_kernel_itself() -> None:
    """Also where nobody is left to close the connection: the process is paused, or hangs."""
    with Deaf() as server:
        reply, arrived = await given_up(server, within_s=25)

    assert reply.answer == "may_have_run"
    assert reply.code in ("WriteError", "ReadError"), "it was not the client's own deadline that ended it"
    assert 9_000 < reply.took_ms < 20_000
    assert not arrived.endswith(b"}")
