"""Facts of a cluster, or why there are none: the reader against a simulated PD, and against what is no PD."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from actions import calls
from actions.schedule_keys import KEYS
from infra import pd_parse
from infra.pd import NotOnTheList, PdEndpoint, PdReader, _Ask
from pdsim import faults as f
from pdsim.http import Request, Response, answer
from pdsim.model import Cluster
from schemas.facts import Facts, Look, NoFacts
from tests.contract.pd_client.conftest import START, URLS, Pd

pytestmark = pytest.mark.contract


async def none_from(reader: PdReader, look: Look | None = None) -> NoFacts:
    with pytest.raises(NoFacts) as none:
        await reader.facts("prod", look or Look())
    return none.value


# what is there


async def test_facts_of_a_healthy_cluster(pd: Pd) -> None:
    region_id = min(r.id for r in pd.cluster.cache)
    facts = await pd.reader.facts("prod", Look(region_ids=(region_id, 999_999)))
    assert (facts.pd_cluster_id, facts.cluster_id) == (pd.cluster.id, "prod")
    assert (facts.pd_leader, facts.members, facts.members_healthy) == ("pd-0", 3, 3)
    assert [s.id for s in facts.stores] == [1, 2, 3, 4, 5]
    assert {s.state for s in facts.stores} == {"Up"}
    assert facts.leaders_total() == facts.regions_total == 60
    assert facts.stores[0].capacity_bytes == int(1.819 * 2**40)
    assert facts.stores[0].labels["zone"] == "z1"
    assert all(s.written_bytes_per_s > 0 for s in facts.stores)
    assert all(0 <= facts.taken_at_ms - s.last_heartbeat_ms <= 20_000 for s in facts.stores)
    assert [r.id for r in facts.regions] == [region_id]
    assert len(facts.regions[0].voter_store_ids()) == 3
    assert (facts.max_replicas, facts.low_space_ratio) == (3, 0.8)
    assert (facts.location_labels, facts.isolation_level) == ((), "")
    assert (facts.leader_schedule_limit, facts.region_schedule_limit) == (4, 2048)
    assert facts.schedule_config == {key: of.usual for key, of in KEYS.items()}
    assert (facts.merge_schedule_limit, facts.max_merge_region_size_mib) == (8, 54)
    assert (facts.split_merge_interval_s, facts.tikv_may_split) == (3600, True)
    assert facts.warming_up() is None
    assert (facts.evicting, facts.slow_evicting, facts.operators, facts.troubled) == ((), (), (), ())
    assert facts.unsafe_recovery == "No on-going recovery."
    assert not facts.halt_scheduling
    assert Facts.model_validate_json(facts.model_dump_json()) == facts
    assert pd.writes() == []


async def test_what_is_wrong_is_seen(pd: Pd) -> None:
    pd.cluster.set_slow(3, 90)
    pd.cluster.kill_store(5)
    pd.cluster.make_tombstone(4)
    pd.later(700)
    facts = await pd.reader.facts("prod")
    assert {s.id: s.state for s in facts.stores} == {1: "Up", 2: "Up", 3: "Up", 4: "Tombstone", 5: "Disconnected"}
    assert facts.stores[2].slow_score == 90
    assert facts.down_peers() > 0
    assert facts.troubled_complete


async def test_evictions_and_operators_are_seen(pd: Pd) -> None:
    writer = pd.writer("add_evict_leader")
    await writer.cluster_id()
    await writer.send(calls.add_evict_leader(2), caller_id="x", within_s=1)
    pd.cluster.set_slow(4, 100)
    pd.later(0.1)
    facts = await pd.reader.facts("prod")
    assert facts.evicting == (2,)
    assert facts.slow_evicting == (4,)
    assert "evict-leader-scheduler" in facts.schedulers
    assert facts.operators


async def test_the_weights_of_a_store_are_seen(pd: Pd) -> None:
    store = pd.cluster.stores[2]
    store.leader_weight, store.region_weight = 0.5, 1 / 3
    seen = (await pd.reader.facts("prod")).stores
    assert (seen[1].leader_weight, seen[1].region_weight) == (0.5, 1 / 3)
    assert (seen[0].leader_weight, seen[0].region_weight) == (1, 1)


async def test_the_snapshots_that_a_store_sends_and_receives_are_seen(pd: Pd) -> None:
    pd.cluster.stores[2].sending_snapshots, pd.cluster.stores[2].receiving_snapshots = 2, 5
    assert [s.snapshots for s in (await pd.reader.facts("prod")).stores] == [0, 7, 0, 0, 0]


async def test_where_replicas_must_stand_apart_is_seen(pd: Pd) -> None:
    pd.cluster.config.replication |= {"location-labels": "zone, host,", "isolation-level": "zone"}
    facts = await pd.reader.facts("prod")
    assert (facts.location_labels, facts.isolation_level) == (("zone", "host"), "zone")


async def test_a_restarted_pd_is_warming_up(pd: Pd) -> None:
    await pd.reader.facts("prod")
    pd.cluster.restart_pd(pd.now_s, down_s=1.0)
    pd.later(1.1)
    assert (await none_from(pd.reader)).code == "pd_warming_up"


async def test_a_pd_that_lists_no_schedulers_is_warming_up(pd: Pd) -> None:
    """Older ones do not say that they have not loaded their regions; a 404 of an eviction says nothing then."""
    pd.faults.add(f.Garbage(200, b"[]\n"), path="/pd/api/v1/schedulers", times=None)
    assert (await pd.reader.facts("prod")).warming_up() is not None


# how old the PD leader is


async def test_a_leader_is_no_older_than_it_was_watched(pd: Pd) -> None:
    assert (await pd.reader.facts("prod")).pd_leader_age_s == 0
    pd.later(100)
    assert (await pd.reader.facts("prod")).pd_leader_age_s == 100
    assert (await pd.new_reader().facts("prod")).pd_leader_age_s == 0


async def test_a_new_leader_is_young(pd: Pd) -> None:
    await pd.reader.watch("prod")
    pd.later(100)
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(5)
    facts = await pd.reader.facts("prod")
    assert (facts.pd_leader, facts.pd_leader_age_s) == ("pd-1", 0)
    pd.later(7)
    assert (await pd.reader.facts("prod")).pd_leader_age_s == 7


async def test_keeping_watch_survives_a_pd_that_does_not_answer(pd: Pd) -> None:
    pd.faults.add(f.NeverAnswers(), times=6)
    watching = asyncio.ensure_future(pd.reader.keep_watch(every_s=0.001))
    await asyncio.sleep(0.05)
    pd.later(10)  # the breaker closes again
    await asyncio.sleep(0.05)
    pd.later(50)
    assert (await pd.reader.facts("prod")).pd_leader_age_s == 50
    watching.cancel()


async def test_a_leader_that_changes_during_the_read_gives_no_facts(pd: Pd) -> None:
    def change(request: Any, now: float) -> bool:
        pd.cluster.change_pd_leader(now, "pd-2")
        pd.later(3)
        return False

    pd.faults.add(f.NoLeader(), path="/pd/api/v1/regions/count", when=change)
    assert (await none_from(pd.reader)).code in ("pd_leader_changed", "pd_no_leader")


# which endpoint


async def test_the_next_endpoint_is_asked_and_remembered(pd: Pd) -> None:
    pd.cluster.lose_member("pd-1")
    reader = PdReader(
        {"prod": PdEndpoint((URLS[1], URLS[2]), pd.cluster.id)},
        monotonic_s=pd.clock,
        wall_s=pd.clock,
        transport=lambda _: pd.transport(),
    )
    assert (await reader.facts("prod")).members_healthy == 2
    asked = len(pd.cluster.calls)
    await reader.facts("prod")
    assert len(pd.cluster.calls) == asked + len(pd_parse.READS) + len(pd_parse.FIRST)


async def test_nobody_answers(pd: Pd) -> None:
    pd.faults.add(f.ConnectionRefused(), times=None)
    none = await none_from(pd.reader)
    assert none.code == "pd_unreachable"
    assert all(url in none.text for url in URLS)


async def test_an_unknown_cluster_is_not_configured(pd: Pd) -> None:
    with pytest.raises(NoFacts) as none:
        await pd.reader.facts("other")
    assert none.value.code == "pd_not_configured"


async def test_the_breaker_opens_at_the_first_time_out(pd: Pd) -> None:
    pd.faults.add(f.NeverAnswers(), times=None)
    assert (await none_from(pd.reader)).code == "pd_timeout"
    pd.faults.clear()
    asked = len(pd.cluster.calls)
    assert (await none_from(pd.reader)).code == "pd_breaker_open"
    assert len(pd.cluster.calls) == asked
    pd.later(5.1)
    assert (await pd.reader.facts("prod")).pd_cluster_id == pd.cluster.id


async def test_a_breaker_is_for_one_cluster(pd: Pd) -> None:
    pd.faults.add(f.NeverAnswers(), times=None)
    reader = PdReader(
        {"prod": PdEndpoint(URLS), "other": PdEndpoint(URLS)}, transport=lambda _: pd.transport(), wall_s=pd.clock
    )
    await none_from(reader)
    pd.faults.clear()
    assert (await reader.facts("other")).cluster_id == "other"


async def test_the_whole_read_keeps_to_its_budget() -> None:
    class Hangs(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError

    reader = PdReader({"prod": PdEndpoint(URLS)}, budget_s=0.2, transport=lambda _: Hangs())
    began = asyncio.get_running_loop().time()
    assert (await none_from(reader)).code == "pd_timeout"
    assert asyncio.get_running_loop().time() - began < 1.0


# each fault


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (f.ConnectionRefused(), "pd_unreachable"),
        (f.DroppedBefore(), "pd_unreachable"),
        (f.DroppedAfter(), "pd_unreachable"),
        (f.Slow(3.0), "pd_timeout"),
        (f.NeverAnswers(), "pd_timeout"),
        (f.NotLeader(), "pd_no_leader"),
        (f.NoLeader(), "pd_no_leader"),
        (f.TooMany(), "pd_busy"),
        (f.HtmlBody(502), "pd_error"),
        (f.HtmlBody(200), "pd_malformed"),
        (f.HalfBody(), "pd_malformed"),
        (f.Panic(), "pd_error"),
        (f.Garbage(200, b""), "pd_malformed"),
        (f.Garbage(200, b"[" * 100_000), "pd_malformed"),
        (f.Garbage(200, b'"fine"'), "pd_malformed"),
        (f.Garbage(200, b"NaN"), "pd_malformed"),
        (f.Garbage(302, b""), "pd_unexpected"),
        (f.Garbage(403, b"forbidden"), "pd_unexpected"),
        (f.Garbage(500, b'"[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped"'), "pd_not_bootstrapped"),
        (f.Garbage(200, b" " * (9 << 20)), "pd_too_large"),
    ],
)
@pytest.mark.parametrize("path", ["/cluster", "/stores", "/schedulers", "/config"])
async def test_every_fault_on_every_read_is_no_facts(pd: Pd, fault: f.Fault, code: str, path: str) -> None:
    pd.faults.add(fault, path=f"/pd/api/v1{path}", times=None)
    none = await none_from(pd.reader)
    assert none.code == code
    if code not in ("pd_unreachable", "pd_timeout"):
        assert f"GET {path}" in none.text


@pytest.mark.parametrize("path", sorted({*pd_parse.READS} - {pd_parse.EVICTING}))  # its 404 has no half
async def test_half_of_any_answer_is_no_facts(pd: Pd, path: str) -> None:
    pd.faults.add(f.HalfBody(), path=f"/pd/api/v1{path.partition('?')[0]}", times=None)
    assert (await none_from(pd.reader)).code in ("pd_malformed", "pd_inconsistent")


async def test_another_clusters_id_is_refused(pd: Pd) -> None:
    pd.faults.add(f.WrongCluster(42), times=None)
    none = await none_from(pd.reader)
    assert none.code == "pd_wrong_cluster"
    assert str(pd.cluster.id) in none.text
    assert "42" in none.text


async def test_two_ids_in_one_pass_are_refused_even_unpinned(pd: Pd) -> None:
    pd.pinned = None
    pd.faults.add(f.WrongCluster(42), path="/pd/api/v1/members", times=None)
    assert (await none_from(pd.new_reader())).code == "pd_wrong_cluster"


async def test_more_trouble_than_is_read_is_said_to_be_incomplete(pd: Pd) -> None:
    pd.faults.add(f.Garbage(200, b" " * (9 << 20)), path="/pd/api/v1/regions/check/miss-peer", times=None)
    assert not (await pd.reader.facts("prod")).troubled_complete


# the allow-list


@pytest.mark.parametrize(
    "path",
    [
        "/regions/store/1?type=Leader",  # freezes a PD leader for good
        "/regions/store/1",
        "/scheduler-config/evict-leader-scheduler/config",
        "/region/id/1/../../stores/remove-tombstone",
        "/region/id/1?x=/regions/store/1",
        "/region/id/0",
        "/region/id/-1",
        "/stores?state=0",
        "/cluster ",
        "",
    ],
)
async def test_the_allow_list_cannot_be_bypassed(pd: Pd, path: str) -> None:
    async with httpx.AsyncClient(transport=pd.transport()) as client:
        with pytest.raises(NotOnTheList):
            await _Ask(client, URLS[0]).get(path)
        with pytest.raises(NotOnTheList):
            await _Ask(client, URLS[0]).each(("/cluster", path))
    assert not pd.writes()
    assert {c.path for c in pd.cluster.calls} <= {"/pd/api/v1/cluster"}


async def test_only_gets_are_sent(pd: Pd) -> None:
    await pd.reader.facts("prod", Look(region_ids=(1001,)))
    await pd.reader.watch("prod")
    assert {c.method for c in pd.cluster.calls} == {"GET"}


async def test_a_redirect_is_not_followed(pd: Pd) -> None:
    asked: list[str] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"location": "http://evil/pd/api/v1/cluster"})

    reader = PdReader({"prod": PdEndpoint(URLS[:1])}, transport=lambda _: httpx.MockTransport(elsewhere))
    assert (await none_from(reader)).code == "pd_unexpected"
    assert set(asked) == {"pd-0"}


# odd answers, field by field


def said_by(cluster: Cluster) -> dict[str, Any]:
    """Every answer of a healthy PD, as JSON."""
    cluster.advance(START + 60)
    found = {}
    for path in pd_parse.READS:
        name, _, query = path.partition("?")
        given = answer(cluster, Request("GET", f"/pd/api/v1{name}", query), START + 60)
        assert isinstance(given, Response)
        found[path] = json.loads(given.body) if given.status == 200 else None
    return found


def parsed(answers: dict[str, Any], look: Look | None = None) -> Facts:
    said = {
        path: pd_parse.Said(404, b"404 page not found\n")
        if value is None
        else pd_parse.Said(200, json.dumps(value).encode())
        for path, value in answers.items()
    }
    return pd_parse.facts(said, look or Look(), pd_parse.Pass("prod", int(START * 1000), 5, 300.0))


ODD: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("/cluster", lambda a: a["/cluster"].pop("id"), "id: is missing"),
    ("/cluster", lambda a: a["/cluster"].update(id="7"), "id: is no whole number"),
    ("/cluster", lambda a: a["/cluster"].update(id=True), "id: is no whole number"),
    ("/cluster", lambda a: a["/cluster"].update(id=2**63), "2^63"),
    ("/members", lambda a: a["/members"].update(members=[]), "no members"),
    ("/members", lambda a: a["/members"]["leader"].pop("name"), "leader.name: is missing"),
    ("/health", lambda a: a["/health"][0].pop("health"), "[0].health: is missing"),
    ("/health", lambda a: a["/health"][0].update(health="true"), "neither true nor false"),
    ("/status", lambda a: a["/status"].pop("start_timestamp"), "start_timestamp: is missing"),
    (pd_parse.STORES, lambda a: a[pd_parse.STORES]["stores"].pop(), "count: 4 stores are listed"),
    (pd_parse.STORES, lambda a: a[pd_parse.STORES]["stores"][0]["store"].pop("id"), "stores[0].store.id: is missing"),
    (
        pd_parse.STORES,
        lambda a: a[pd_parse.STORES]["stores"][0]["store"].update(state_name="Fine"),
        "'Fine' is none of",
    ),
    (pd_parse.STORES, lambda a: a[pd_parse.STORES]["stores"][0]["status"].update(capacity="1 TB"), "is no size"),
    (pd_parse.STORES, lambda a: a[pd_parse.STORES]["stores"][0]["status"].update(leader_count=-1), "leader_count"),
    (pd_parse.STORES, lambda a: a[pd_parse.STORES]["stores"][0]["store"].update(address="\ud800"), "is no UTF-8"),
    (pd_parse.RATES, lambda a: a[pd_parse.RATES]["bytes-write-rate"].update({"3": -1}), "bytes-write-rate.3"),
    (pd_parse.RATES, lambda a: a[pd_parse.RATES]["bytes-write-rate"].update({"3": 10**400}), "bytes-write-rate.3"),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG].pop("schedule"), "schedule: is missing"),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["schedule"].update({"halt-scheduling": "no"}), "halt-scheduling"),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["schedule"].pop("split-merge-interval"), "interval: is missing"),
    (
        pd_parse.CONFIG,
        lambda a: a[pd_parse.CONFIG]["schedule"].update({"split-merge-interval": "soon"}),
        "split-merge-interval: 'soon' is no duration",
    ),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["schedule"].pop("max-merge-region-size"), "size: is missing"),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["schedule"].pop("merge-schedule-limit"), "limit: is missing"),
    (
        pd_parse.CONFIG,
        lambda a: a[pd_parse.CONFIG]["schedule"].update({"enable-tikv-split-region": "off"}),
        "enable-tikv-split-region: is neither true nor false",
    ),
    (
        pd_parse.CONFIG,
        lambda a: a[pd_parse.CONFIG]["schedule"].update({"max-snapshot-count": "64"}),
        "schedule.max-snapshot-count: is no whole number",
    ),
    (
        pd_parse.CONFIG,
        lambda a: a[pd_parse.CONFIG]["schedule"].update({"replica-schedule-limit": -1}),
        "schedule.replica-schedule-limit: is not between 0 and 2^63",
    ),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["replication"].update({"max-replicas": 0}), "max-replicas"),
    (pd_parse.RECOVERY, lambda a: a[pd_parse.RECOVERY].clear(), "is empty"),
    (pd_parse.SCHEDULERS, lambda a: a[pd_parse.SCHEDULERS].append(7), "is no text"),
    (pd_parse.COUNT, lambda a: a[pd_parse.COUNT].update(count=1.5), "count: is no whole number"),
    (pd_parse.EVICTING, lambda a: a.update({pd_parse.EVICTING: {"store-id-ranges": {"x": []}}}), "is no store"),
    (pd_parse.EVICTING, lambda a: a.update({pd_parse.EVICTING: {"store-id-ranges": None}}), "is no map"),
]


@pytest.mark.parametrize(("path", "spoil", "says"), ODD)
def test_an_odd_field_is_named(path: str, spoil: Callable[[dict[str, Any]], Any], says: str) -> None:
    answers = said_by(Cluster.healthy(stores=5, regions=20, now=START, seed=3))
    parsed(answers)
    spoil(answers)
    with pytest.raises(NoFacts) as none:
        parsed(answers)
    assert none.value.code == "pd_malformed"
    assert f"GET {path}" in none.value.text
    assert says in none.value.text


def test_an_eviction_that_is_listed_and_not_shown_is_inconsistent() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.SCHEDULERS].append("evict-leader-scheduler")
    with pytest.raises(NoFacts) as none:
        parsed(answers)
    assert none.value.code == "pd_inconsistent"


def test_no_more_troubled_regions_travel_in_an_event_than_fit() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    peer = {"role_name": "Voter", "id": 9, "store_id": 1}
    regions = [
        {"id": n, "epoch": {"conf_ver": 1, "version": 1}, "peers": [peer], "leader": peer} for n in range(1, 502)
    ]
    answers[pd_parse.CHECKS[2]] = {"count": 501, "regions": regions}
    facts = parsed(answers)
    assert (len(facts.troubled), facts.troubled_complete) == (500, False)


def test_pd_without_a_leader() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers["/members"].pop("leader")
    with pytest.raises(NoFacts) as none:
        parsed(answers)
    assert none.value.code == "pd_no_leader"


def test_a_missing_region_is_http_200_with_id_0() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.region_path(5)] = {"id": 0, "start_key": "", "end_key": "", "leader": {"role_name": ""}}
    assert parsed(answers, Look(region_ids=(5,))).regions == ()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("931.5GiB", int(931.5 * 2**30)),
        ("1.819TiB", int(1.819 * 2**40)),
        ("0B", 0),
        ("1000GiB", 1000 * 2**30),
        ("100", None),
        ("1GB", None),
        ("-1GiB", None),
        ("", None),
        ("1e999TiB", None),
    ],
)
def test_sizes_are_base_1024(size: str, expected: int | None) -> None:
    assert pd_parse.bytes_of(size) == expected


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("1h0m0s", 3600.0),
        ("30m0s", 1800.0),
        ("1m30.5s", 90.5),
        ("500ms", 0.5),
        ("1µs", 1e-6),
        ("1ns", 1e-9),
        ("0s", 0.0),
        ("-1h0m0s", None),
        ("1h ", None),
        ("1", None),
        ("h", None),
        ("", None),
        ("\u0661s", None),
    ],
)
def test_durations_are_gos(duration: str, expected: float | None) -> None:
    assert pd_parse.seconds_of(duration) == expected


def test_a_duration_that_no_number_holds_is_none_of_pds() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.CONFIG]["schedule"]["split-merge-interval"] = "9" * 400 + "h"
    with pytest.raises(NoFacts, match="is no duration"):
        parsed(answers)


def test_a_pd_that_knows_no_such_switch_lets_tikv_split() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.CONFIG]["schedule"].pop("enable-tikv-split-region")
    assert parsed(answers).tikv_may_split
    answers[pd_parse.CONFIG]["schedule"]["enable-tikv-split-region"] = "false"
    assert not parsed(answers).tikv_may_split


def test_the_configuration_that_may_be_set_is_what_pd_shows_of_it_and_no_more() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    schedule = answers[pd_parse.CONFIG]["schedule"]
    schedule.pop("hot-region-schedule-limit")
    schedule |= {"max-snapshot-count": 0, "max-pending-peer-count": 2**63 - 1}
    found = parsed(answers).schedule_config
    assert set(found) == {*KEYS} - {"hot-region-schedule-limit"}
    assert (found["max-snapshot-count"], found["max-pending-peer-count"]) == (0, 2**63 - 1)


async def test_what_is_set_for_a_while_is_never_seen(pd: Pd) -> None:
    pd.cluster.config.set_ttl({"schedule.leader-schedule-limit": 0}, 600, pd.now_s)
    assert pd.cluster.config.limit("leader-schedule-limit", pd.now_s) == 0
    assert (await pd.reader.facts("prod")).schedule_config["leader-schedule-limit"] == 4
