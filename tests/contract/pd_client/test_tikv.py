"""The status port of a store's TiKV: as the model answers it, as it is read, and what is sent there and what is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from actions import calls
from actions.tikv_config import CONFIG_BYTES_MAX
from executors.pd import NoEndpoint, NotAllowed, PdWriter
from executors.tikv import ClusterWriter
from infra import tikv
from infra.pd import PdEndpoint, PdReader
from pdsim import faults as f
from pdsim.http import serve, transport
from pdsim.model import Cluster
from pdsim.stores import Settings
from schemas.facts import Facts, Look, TikvSetting
from schemas.values import Call
from tests.contract.pd_client.conftest import START, URLS, Pd

pytestmark = pytest.mark.contract
CACHE = "storage.block-cache.capacity"
LOOK = Look(tikv_setting=TikvSetting(store_id=4, key=CACHE))
CONFIG = "http://10.0.4.4:20180/config"


async def of(pd: Pd, was: str, value: str, *, restore: bool = False) -> Call:
    store = (await pd.reader.facts("prod", LOOK)).store(4)
    assert store is not None
    make = calls.restore_tikv_config if restore else calls.set_tikv_config
    return make(store, CACHE, was, value)


async def sent(pd: Pd, call: Call) -> Any:
    writer = pd.writer("set_tikv_config", "restore_tikv_config")
    await writer.cluster_id()
    return await writer.send(call, caller_id="steward/R-1/1.1", within_s=10)


def has(pd: Pd, store_id: int = 4) -> str:
    return pd.cluster.stores[store_id].settings.now[CACHE]


def restart(pd: Pd) -> None:
    pd.cluster.kill_store(4)
    pd.later(5)
    pd.cluster.revive_store(4)


# the model of it


@pytest.fixture
def status_port(pd: Pd) -> Iterator[httpx.Client]:
    with httpx.Client(transport=transport(pd.cluster, pd.clock, pd.faults)) as client:
        yield client


def test_a_store_shows_its_settings_and_who_it_is(status_port: httpx.Client) -> None:
    answer = status_port.get(CONFIG)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    shown = answer.json()
    assert shown["storage"]["block-cache"]["capacity"] == "8GiB"
    assert shown["server"]["advertise-addr"] == "10.0.4.4:20160"
    assert status_port.get("http://10.0.4.5:20180/config").json()["server"]["advertise-addr"] == "10.0.4.5:20160"
    alive = status_port.get("http://10.0.4.4:20180/status")
    assert (alive.status_code, alive.content) == (200, b"")
    assert status_port.get("http://10.0.4.4:20180/nosuch").status_code == 404
    assert status_port.get("http://10.0.4.4:20180/pd/api/v1/cluster").status_code == 200  # PD's, by its path


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"storage.block-cache.nosuch": "1GiB"}, 'failed to update, error: "unexpect fields: nosuch"'),
        ({"nosuch": "1"}, 'failed to update, error: "unexpect fields: nosuch"'),
        ({"storage.data-dir": "/tmp"}, 'failed to update, error: "config data_dir can not be changed"'),
        ({CACHE: "4XiB"}, 'failed to update, error: "failed to parse: 4XiB"'),
        ({CACHE: "1.2.3GiB"}, 'failed to update, error: "failed to parse: 1.2.3GiB"'),
        ({CACHE: ["4GiB"]}, 'failed to decode, error: "wrong format"'),
        ([CACHE], 'failed to decode, error: "wrong format"'),
    ],
)
def test_what_tikv_refuses_changes_nothing(pd: Pd, status_port: httpx.Client, body: Any, says: str) -> None:
    answer = status_port.post(CONFIG, params={"persist": "false"}, json=body)
    assert (answer.status_code, answer.text) == (500, says)
    assert "content-type" not in answer.headers
    assert pd.cluster.stores[4].settings == Settings()


def test_a_body_that_is_no_json_and_an_odd_query(status_port: httpx.Client) -> None:
    assert status_port.post(CONFIG, content=b"x").text.startswith("failed to decode, error: ")
    answer = status_port.post(CONFIG, params={"persist": "no"}, json={CACHE: "4GiB"})
    assert (answer.status_code, answer.text) == (400, "provided string was not `true` or `false`")


@pytest.mark.parametrize(
    ("given", "shown"),
    [("4GiB", "4GiB"), ("4096MiB", "4GiB"), ("0.5GB", "512MiB"), (1025, "1025B"), ("1e3K", "1000KiB"), ("0", "0KiB")],
)
def test_a_size_is_shown_in_the_largest_unit_that_divides_it(status_port: httpx.Client, given: Any, shown: str) -> None:
    answer = status_port.post(CONFIG, params={"persist": "false"}, json={CACHE: given})
    assert (answer.status_code, answer.content, answer.headers.get("content-type")) == (200, b"", None)
    assert status_port.get(CONFIG).json()["storage"]["block-cache"]["capacity"] == shown


@pytest.mark.parametrize(
    ("version", "query", "after"),
    [
        ("8.5.7", {"persist": "false"}, "8GiB"),
        ("7.4.0", {"persist": "false"}, "8GiB"),
        ("7.3.0", {"persist": "false"}, "4GiB"),  # reads it over
        ("6.5.12", {"persist": "false"}, "4GiB"),
        ("8.5.7", {"persist": "true"}, "4GiB"),
        ("8.5.7", {}, "4GiB"),
    ],
)
def test_what_a_restart_keeps(
    pd: Pd, status_port: httpx.Client, version: str, query: dict[str, str], after: str
) -> None:
    pd.cluster.stores[4].version = version
    assert status_port.post(CONFIG, params=query, json={CACHE: "4GiB"}).status_code == 200
    assert has(pd) == "4GiB"
    restart(pd)
    assert has(pd) == after


def test_a_store_that_is_dead_or_gone_listens_no_more(pd: Pd, status_port: httpx.Client) -> None:
    pd.cluster.kill_store(4)
    with pytest.raises(httpx.ConnectError):
        status_port.get(CONFIG)
    pd.cluster.make_tombstone(5)
    with pytest.raises(httpx.ConnectError):
        status_port.get("http://10.0.4.5:20180/config")


# reading it


async def read(pd: Pd, look: Look = LOOK) -> tuple[str, str]:
    facts = await pd.reader.facts("prod", look)
    seen = facts.tikv_setting
    assert seen is not None
    assert look.tikv_setting is not None
    assert (seen.store_id, seen.key) == (look.tikv_setting.store_id, look.tikv_setting.key)
    assert Facts.model_validate_json(facts.model_dump_json()) == facts
    return seen.value, seen.code


async def test_a_setting_is_read_with_the_facts(pd: Pd) -> None:
    assert await read(pd) == ("8GiB", "")
    pd.cluster.stores[4].settings.now[CACHE] = "45%"
    assert await read(pd) == ("45%", "")
    store = (await pd.reader.facts("prod", LOOK)).store(4)
    assert store is not None
    assert (store.version, store.started_at_s) == ("8.5.7", int(START) - 7 * 86_400)
    assert pd.writes() == []


async def test_it_is_asked_for_only_where_it_is_needed(pd: Pd) -> None:
    assert (await pd.reader.facts("prod")).tikv_setting is None
    assert not any(c.path == "/config" for c in pd.cluster.calls)
    await read(pd)
    assert [c.caller_id for c in pd.cluster.calls if c.path == "/config"] == ["steward/read"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (f.ConnectionRefused(), "tikv_unreachable"),
        (f.DroppedAfter(), "tikv_unreachable"),
        (f.NeverAnswers(), "tikv_timeout"),
        (f.Slow(60.0), "tikv_timeout"),
        (f.HtmlBody(502), "tikv_error"),
        (f.HtmlBody(200), "tikv_malformed"),
        (f.HalfBody(), "tikv_malformed"),
        (f.Garbage(302, b""), "tikv_error"),
        (f.Garbage(200, b"{}"), "tikv_malformed"),
        (f.Garbage(200, b" " * CONFIG_BYTES_MAX), "tikv_malformed"),
        (f.Garbage(200, b" " * (CONFIG_BYTES_MAX + 1)), "tikv_too_large"),
    ],
)
async def test_a_store_that_gives_no_setting_is_a_fact_like_others(pd: Pd, fault: f.Fault, code: str) -> None:
    pd.faults.add(fault, path="/config", times=None)
    assert await read(pd) == ("", code)
    assert len((await pd.reader.facts("prod", LOOK)).stores) == 5  # and PD's breaker is not open


async def test_what_is_not_asked(pd: Pd) -> None:
    for store_id, key in ((9, CACHE), (4, "log.level")):
        assert await read(pd, Look(tikv_setting=TikvSetting(store_id=store_id, key=key))) == ("", "tikv_not_asked")
    pd.cluster.stores[3].labels["engine"] = "tiflash"
    assert await read(pd, Look(tikv_setting=TikvSetting(store_id=3, key=CACHE))) == ("", "tikv_not_asked")
    pd.cluster.make_tombstone(5)
    assert await read(pd, Look(tikv_setting=TikvSetting(store_id=5, key=CACHE))) == ("", "tikv_not_asked")
    pd.cluster.stores[4].status_address = "169.254.169.254:80"
    assert await read(pd) == ("", "status_address_elsewhere")
    assert not any(c.path == "/config" for c in pd.cluster.calls)


async def test_another_store_that_answers_is_not_believed(pd: Pd) -> None:
    """Two on one host; PD has the port of the other one."""
    pd.cluster.stores[4].address = "10.0.4.3:20170"
    pd.cluster.stores[4].status_address = pd.cluster.stores[3].status_address
    assert await read(pd) == ("", "tikv_wrong_store")


class Body(httpx.AsyncBaseTransport):
    """The simulated cluster, but for its status ports."""

    def __init__(self, pd: Pd, **answer: Any) -> None:
        self.inner, self.answer, self.asked = pd.transport(), answer, list[httpx.Request]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/config":
            return await self.inner.handle_async_request(request)
        self.asked.append(request)
        if "hangs" in self.answer:
            await asyncio.sleep(60)
        return httpx.Response(200, **self.answer)


def reader_with(pd: Pd, other: Body, url: str = URLS[0]) -> PdReader:
    endpoint = PdEndpoint((url,), pd.cluster.id)
    return PdReader({"prod": endpoint}, monotonic_s=pd.clock, wall_s=pd.clock, transport=lambda _: other)


async def test_a_compressed_answer_is_not_unpacked(pd: Pd) -> None:
    other = Body(pd, stream=httpx.ByteStream(b"x"), headers={"content-encoding": "gzip"})
    seen = (await reader_with(pd, other).facts("prod", LOOK)).tikv_setting
    assert seen is not None
    assert (seen.code, "compressed" in seen.text) == ("tikv_malformed", True)


async def test_a_store_that_hangs_holds_nobody_up_for_long(pd: Pd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tikv, "BUDGET_S", 0.05)
    seen = (await reader_with(pd, Body(pd, hangs=True)).facts("prod", LOOK)).tikv_setting
    assert seen is not None
    assert (seen.code, seen.text) == ("tikv_timeout", "store 4 (10.0.4.4:20180) gave no answer within 0.05 s")


@pytest.mark.parametrize(("pd_url", "asked"), [(URLS[0], "http"), ("https://pd-0:2379", "https")])
async def test_a_store_is_asked_as_its_pd_is(pd: Pd, pd_url: str, asked: str) -> None:
    config = {"server": {"advertise-addr": "10.0.4.4:20160"}, "storage": {"block-cache": {"capacity": "8GiB"}}}
    other = Body(pd, json=config)
    seen = (await reader_with(pd, other, pd_url).facts("prod", LOOK)).tikv_setting
    assert seen is not None
    assert seen.value == "8GiB"
    assert [str(r.url) for r in other.asked] == [f"{asked}://10.0.4.4:20180/config"]
    other.asked.clear()
    may_call = frozenset({"set_tikv_config"})
    writer = ClusterWriter((pd_url,), may_call=may_call, transport=lambda: other)
    await writer.cluster_id()
    await writer.send(await of(pd, "8GiB", "4GiB"), caller_id="x", within_s=5)
    url = f"{asked}://10.0.4.4:20180/config"
    assert [str(r.url) for r in other.asked] == [url, f"{url}?persist=false"]


# changing it


async def test_a_setting_is_set_and_restored_and_never_written_down(pd: Pd) -> None:
    made = await sent(pd, await of(pd, "8GiB", "4GiB"))
    assert (made.answer, made.status, made.code) == ("accepted", 200, "")
    written = pd.cluster.calls[-1]
    assert (written.method, written.path, written.query) == ("POST", "/config", "persist=false")
    assert (written.caller_id, json.loads(written.body)) == ("steward/R-1/1.1", {CACHE: "4GiB"})
    assert (has(pd), has(pd, 5)) == ("4GiB", "8GiB")
    assert (await sent(pd, await of(pd, "4GiB", "8GiB", restore=True))).answer == "accepted"
    assert pd.cluster.stores[4].settings == Settings()


async def test_a_value_that_is_not_the_one_that_was_approved_is_not_overwritten(pd: Pd) -> None:
    call = await of(pd, "8GiB", "4GiB")
    for value in ("6GiB", "4GiB"):
        pd.cluster.stores[4].settings.now[CACHE] = value
        made = await sent(pd, call)
        assert (made.answer, made.code) == ("never_sent", "tikv_changed")
        assert made.body == f"{CACHE} is {value}, was 8GiB"
    assert pd.writes() == []


async def test_what_is_not_ours_any_more_is_not_taken_back(pd: Pd) -> None:
    call = await of(pd, "4GiB", "8GiB", restore=True)
    pd.cluster.stores[4].settings.now[CACHE] = "6GiB"
    taken = await sent(pd, call)
    assert (taken.answer, taken.code) == ("accepted", "already_so")
    assert has(pd) == "6GiB"
    assert pd.writes() == []


async def test_a_restart_has_taken_it_back(pd: Pd) -> None:
    """Also where its file has our value by now: that is somebody's."""
    call, back = await of(pd, "8GiB", "4GiB"), await of(pd, "4GiB", "8GiB", restore=True)
    pd.cluster.stores[4].settings.file[CACHE] = "4GiB"
    restart(pd)
    taken = await sent(pd, back)
    assert (taken.answer, taken.code) == ("accepted", "already_so")
    assert taken.body == f"the store's start_timestamp was {int(START) - 7 * 86_400}, is {int(START) + 5}"
    assert (await sent(pd, call)).code == "tikv_changed"
    assert pd.writes() == []


async def test_a_store_that_has_gone_for_good_took_it_along(pd: Pd) -> None:
    call, back = await of(pd, "8GiB", "4GiB"), await of(pd, "4GiB", "8GiB", restore=True)
    pd.cluster.kill_store(4)
    for one in (call, back):
        waits = await sent(pd, one)
        assert (waits.answer, waits.code) == ("never_sent", "tikv_unreachable")  # it may come back, or live still
    pd.cluster.make_tombstone(4)
    assert (await sent(pd, back)).code == "already_so"
    assert (await sent(pd, call)).code == "tikv_changed"
    del pd.cluster.stores[4]
    assert (await sent(pd, back)).code == "already_so"
    assert pd.writes() == []


@pytest.mark.parametrize(
    ("fault", "path", "code"),
    [
        (f.ConnectionRefused(), "/config", "tikv_unreachable"),
        (f.NeverAnswers(), "/config", "tikv_unreachable"),
        (f.DroppedAfter(), "/config", "tikv_unreachable"),
        (f.HtmlBody(502), "/config", "tikv_error"),
        (f.HtmlBody(200), "/config", "tikv_malformed"),
        (f.HalfBody(), "/config", "tikv_malformed"),
        (f.ConnectionRefused(), "/pd/api/v1/store/", "tikv_unreachable"),
        (f.NoLeader(), "/pd/api/v1/store/", "tikv_error"),
        (f.NotLeader(), "/pd/api/v1/store/", "tikv_error"),
        (f.HtmlBody(200), "/pd/api/v1/store/", "pd_malformed"),
        (f.Garbage(404, b"404 page not found\n"), "/pd/api/v1/store/", "pd_malformed"),
    ],
)
async def test_where_it_cannot_be_told_nothing_is_sent(pd: Pd, fault: f.Fault, path: str, code: str) -> None:
    for one in (await of(pd, "8GiB", "4GiB"), await of(pd, "8GiB", "6GiB", restore=True)):
        pd.faults.add(fault, method="GET", path=path, times=None)
        made = await sent(pd, one)
        assert (made.answer, made.code) == ("never_sent", code)
        pd.faults.clear()
    assert pd.writes() == []


@pytest.mark.parametrize(
    ("fault", "answer", "after"),
    [
        (f.ConnectionRefused(), "never_sent", "8GiB"),
        (f.DroppedBefore(), "may_have_run", "8GiB"),
        (f.DroppedAfter(), "may_have_run", "4GiB"),
        (f.Slow(60.0), "may_have_run", "4GiB"),
        (f.NeverAnswers(), "may_have_run", "8GiB"),
        (f.HtmlBody(502), "may_have_run", "8GiB"),
        (f.HtmlBody(200), "may_have_run", "8GiB"),
        (f.Garbage(200, b'""', "application/json"), "may_have_run", "8GiB"),
        (f.Garbage(307, b""), "may_have_run", "8GiB"),
    ],
)
async def test_what_each_fault_means_to_a_store_s_call(pd: Pd, fault: f.Fault, answer: str, after: str) -> None:
    call = await of(pd, "8GiB", "4GiB")
    pd.faults.add(fault, method="POST", times=None)
    assert (await sent(pd, call)).answer == answer
    assert has(pd) == after
    assert pd.writes() == ["POST /config"]  # no retry


async def test_another_tikv_at_the_address_is_left_alone(pd: Pd) -> None:
    call = await of(pd, "8GiB", "4GiB")
    other = Body(
        pd, json={"server": {"advertise-addr": "10.0.4.4:20170"}, "storage": {"block-cache": {"capacity": "8GiB"}}}
    )
    writer = ClusterWriter(URLS[:1], may_call=frozenset({"set_tikv_config"}), transport=lambda: other)
    await writer.cluster_id()
    made = await writer.send(call, caller_id="x", within_s=5)
    assert (made.answer, made.code) == ("never_sent", "tikv_wrong_store")
    assert [r.method for r in other.asked] == ["GET"]


async def test_an_address_that_may_not_be_asked_is_not_asked(pd: Pd) -> None:
    call = await of(pd, "8GiB", "4GiB")
    made = await sent(pd, Call(name=call.name, args=call.args | {"status_address": "127.0.0.1:20180"}))
    assert (made.answer, made.code) == ("never_sent", "status_address_elsewhere")
    assert not any(c.path == "/config" and c.method == "POST" for c in pd.cluster.calls)


async def test_a_window_that_has_passed_while_it_was_asked_sends_nothing(pd: Pd) -> None:
    ticks = iter(range(0, 100, 20))
    writer = ClusterWriter(
        URLS, may_call=frozenset({"set_tikv_config"}), transport=pd.transport, monotonic_s=lambda: float(next(ticks))
    )
    await writer.cluster_id()
    made = await writer.send(await of(pd, "8GiB", "4GiB"), caller_id="x", within_s=20)
    assert (made.answer, made.code) == ("never_sent", "window_passed")
    assert pd.writes() == []


@pytest.mark.parametrize(("identity_s", "within_s"), [(0.05, 10.0), (10.0, 0.05)])
async def test_a_store_that_hangs_when_it_is_asked_is_not_written_to(
    pd: Pd, identity_s: float, within_s: float
) -> None:
    """Within the time that there is to ask, and within the window."""
    call, other = await of(pd, "8GiB", "4GiB"), Body(pd, hangs=True)
    may_call = frozenset({"set_tikv_config"})
    writer = ClusterWriter(URLS, may_call=may_call, transport=lambda: other, identity_s=identity_s)
    await writer.cluster_id()
    made = await asyncio.wait_for(writer.send(call, caller_id="x", within_s=within_s), 5)
    assert (made.answer, made.code) == ("never_sent", "tikv_unreachable")
    assert made.body.startswith("before it was sent: TimeoutError")
    assert [r.method for r in other.asked] == ["GET"]


async def test_only_what_the_action_may_is_said_to_a_store(pd: Pd) -> None:
    call = await of(pd, "8GiB", "4GiB")
    writer = pd.writer("add_evict_leader")
    await writer.cluster_id()
    with pytest.raises(NotAllowed):
        await writer.send(call, caller_id="x", within_s=1)
    with pytest.raises(NoEndpoint):
        await pd.writer("set_tikv_config").send(call, caller_id="x", within_s=1)
    of_pd = PdWriter(URLS, may_call=frozenset({"set_tikv_config"}), transport=pd.transport)
    await of_pd.cluster_id()
    with pytest.raises(NotAllowed, match="goes to a store"):
        await of_pd.send(call, caller_id="x", within_s=1)
    assert pd.writes() == []


async def test_over_real_sockets() -> None:
    """PD and one store's status port on one port of loopback, where the store serves too."""
    cluster = Cluster.healthy(stores=4, regions=20, now=START)
    with serve(cluster, clock=lambda: START) as served:
        place = served.url.removeprefix("http://")
        store = cluster.stores[4]
        store.address, store.status_address = "127.0.0.1:1", place
        reader = PdReader({"prod": PdEndpoint((served.url,), cluster.id)}, wall_s=lambda: START)
        facts = await reader.facts("prod", LOOK)
        known, seen = facts.store(4), facts.tikv_setting
        assert known is not None
        assert seen is not None
        assert (seen.value, seen.code) == ("8GiB", "")
        writer = ClusterWriter((served.url,), may_call=frozenset({"set_tikv_config"}))
        await writer.cluster_id()
        made = await writer.send(calls.set_tikv_config(known, CACHE, "8GiB", "4GiB"), caller_id="x", within_s=5)
        assert (made.answer, made.code) == ("accepted", "")
        assert served.do(lambda c: c.stores[4].settings.now[CACHE]) == "4GiB"
