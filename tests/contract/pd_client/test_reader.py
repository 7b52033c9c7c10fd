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
J = "application/json; charset=UTF-8"


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
    assert (facts.replica_schedule_limit, facts.replaces_offline_replicas) == (64, True)
    assert (facts.location_labels, facts.isolation_level, facts.removals) == ((), "", ())
    assert {(s.add_peer_limit, s.remove_peer_limit, s.physically_destroyed) for s in facts.stores} == {(15, 15, False)}
    assert sum(s.region_size_mib for s in facts.stores) == 3 * 60 * 96
    assert facts.store_limit_version == "v1"
    assert [(m.name, m.is_healthy, m.leader_priority) for m in facts.pd_members] == [
        (f"pd-{n}", True, 0) for n in range(3)
    ]
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


async def test_the_newest_operator_of_a_region_is_read_in_full_where_it_is_asked_for(pd: Pd) -> None:
    region = min(pd.cluster.cache, key=lambda r: r.id)
    look = Look(operators_of=(region.id, 999_999))
    assert (await pd.reader.facts("prod", look)).newest_operators == ()
    pd.now_s += 0.25
    to = next(p.store_id for p in region.peers if p.store_id != region.leader)
    writer = pd.writer("transfer_leader")
    await writer.cluster_id()
    await writer.send(calls.transfer_leader(region.id, to), caller_id="x", within_s=1)
    (running,) = (await pd.reader.facts("prod", look)).newest_operators
    assert (running.region_id, running.desc) == (region.id, "admin-transfer-leader")
    assert (running.status, running.brief) == ("RUNNING", f"transfer leader: store {region.leader} to {to}")
    assert running.created_ns == int(START * 10**9) + 250_000_000
    pd.later(5)
    (ended,) = (await pd.reader.facts("prod", look)).newest_operators
    assert ended == running.model_copy(update={"status": "SUCCESS"})
    assert (await pd.reader.facts("prod")).newest_operators == ()
    pd.later(700)
    assert (await pd.reader.facts("prod", look)).newest_operators == ()


async def test_no_more_regions_and_operators_are_read_than_fit(pd: Pd) -> None:
    assert await pd.reader.facts("prod", Look(region_ids=tuple(range(1, 51)), operators_of=tuple(range(1, 51))))
    none = await none_from(pd.reader, Look(region_ids=tuple(range(1, 51)), operators_of=tuple(range(1, 52))))
    assert (none.code, none.text[:25]) == ("pd_too_large", "101 regions asked for, at")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, b'"[PD:operator:ErrOperatorNotFound]operator not found"\n', None),
        (500, b'"operator not found"\n', None),  # before 7.5
        (404, b'"operator not found"\n', "pd_unexpected"),
        (404, b"404 page not found\n", "pd_unexpected"),
        (500, b'"operator not found, nor anything else"\n', "pd_error"),
        (500, b"[PD:apiutil:ErrRedirect]redirect failed\n", "pd_no_leader"),
        (200, b'"[PD:operator:ErrOperatorNotFound]operator not found"\n', "pd_malformed"),
        (200, b"null\n", "pd_malformed"),
    ],
)
async def test_only_pds_own_word_means_that_there_is_no_operator(
    pd: Pd, status: int, body: bytes, code: str | None
) -> None:
    pd.faults.add(f.Garbage(status, body, "application/json"), path="/pd/api/v1/operators/7", times=None)
    if code is None:
        assert (await pd.reader.facts("prod", Look(operators_of=(7,)))).newest_operators == ()
    else:
        assert (await none_from(pd.reader, Look(operators_of=(7,)))).code == code


async def test_the_weights_of_a_store_are_seen(pd: Pd) -> None:
    store = pd.cluster.stores[2]
    store.leader_weight, store.region_weight = 0.5, 1 / 3
    seen = (await pd.reader.facts("prod")).stores
    assert (seen[1].leader_weight, seen[1].region_weight) == (0.5, 1 / 3)
    assert (seen[0].leader_weight, seen[0].region_weight) == (1, 1)


async def test_the_limits_of_a_store_are_seen_but_a_tombstone_has_none(pd: Pd) -> None:
    pd.cluster.stores[2].limits["add-peer"].per_minute = 0.5
    pd.cluster.stores[2].limits["remove-peer"].per_minute = 30
    pd.cluster.make_tombstone(5)
    pd.cluster.config.set_schedule({"store-limit-version": "v2"}, pd.now_s)
    facts = await pd.reader.facts("prod")
    limits = {s.id: (s.add_peer_limit, s.remove_peer_limit) for s in facts.stores}
    assert limits == {1: (15, 15), 2: (0.5, 30), 3: (15, 15), 4: (15, 15), 5: (0, 0)}
    assert facts.store_limit_version == "v2"


async def test_the_members_of_pd_are_seen_one_by_one(pd: Pd) -> None:
    pd.cluster.members.all[1].priority = -3
    pd.cluster.lose_member("pd-2")
    facts = await pd.reader.facts("prod")
    seen = [(m.name, m.is_healthy, m.leader_priority) for m in facts.pd_members]
    assert seen == [("pd-0", True, 0), ("pd-1", True, -3), ("pd-2", False, 0)]
    assert (facts.members, facts.members_healthy) == (3, 2)
    assert facts.pd_member("pd-1") == facts.pd_members[1]
    assert facts.pd_member("pd-3") is None


async def test_whether_pd_replaces_what_is_on_leaving_stores_is_seen(pd: Pd) -> None:
    pd.cluster.config.set_schedule({"enable-replace-offline-replica": "false", "replica-schedule-limit": 7}, pd.now_s)
    facts = await pd.reader.facts("prod")
    assert (facts.replaces_offline_replicas, facts.replica_schedule_limit) == (False, 7)


async def test_how_far_the_removal_of_a_store_is_is_seen_until_the_pd_leader_changes(pd: Pd) -> None:
    look = Look(removal_of=(4, 5))
    assert (await pd.reader.facts("prod", look)).removals == ()
    writer = pd.writer("offline_store")
    await writer.cluster_id()
    await writer.send(calls.offline_store(4), caller_id="x", within_s=1)
    begun = (await pd.reader.facts("prod", look)).removal(4)
    assert begun is not None
    assert (begun.store_id, begun.progress, begun.mib_per_s) == (4, 0, 0)
    pd.later(20)
    facts = await pd.reader.facts("prod", look)
    further = facts.removal(4)
    assert further is not None
    assert 0 < further.progress < 1
    assert further.mib_per_s > 0
    assert 0 < further.left_s < 3600
    assert (facts.removal(5), facts.stores[3].remove_peer_limit) == (None, 100_000_000)
    assert (await pd.reader.facts("prod")).removals == ()  # not asked for
    pd.cluster.change_pd_leader(pd.now_s, "pd-1")
    pd.later(5)
    facts = await pd.reader.facts("prod", look)
    assert (facts.removals, facts.stores[3].state) == ((), "Offline")


async def test_a_store_that_was_taken_out_by_force_is_seen(pd: Pd) -> None:
    answer(pd.cluster, Request("DELETE", "/pd/api/v1/store/4", "force=true"), pd.now_s)
    assert [s.physically_destroyed for s in (await pd.reader.facts("prod")).stores] == [False] * 3 + [True, False]


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


async def test_a_leader_that_changes_during_every_read_gives_no_facts(pd: Pd) -> None:
    def change(request: Any, now: float) -> bool:
        pd.cluster.change_pd_leader(now, "pd-1" if pd.cluster.members.leader == "pd-2" else "pd-2")
        pd.later(0.2)
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


def reads_of(pd: Pd, url: str = URLS[0]) -> PdReader:
    return PdReader(
        {"prod": PdEndpoint((url,), pd.cluster.id)},
        monotonic_s=pd.clock,
        wall_s=pd.clock,
        transport=lambda _: pd.transport(),
    )


@pytest.mark.parametrize("fault", [f.NotLeader(), f.NoLeader()], ids=str)
async def test_a_pd_between_two_leaders_is_asked_once_more(pd: Pd, fault: f.Fault) -> None:
    reader = reads_of(pd)
    pd.faults.add(fault, path="/pd/api/v1/cluster", times=1)
    assert (await reader.facts("prod")).pd_cluster_id == pd.cluster.id
    pd.faults.add(fault, path="/pd/api/v1/cluster", times=2)
    assert (await none_from(reader)).code == "pd_no_leader"
    assert len(pd.faults.struck) == 3
    assert pd.writes() == []


async def test_a_leader_that_changes_during_the_read_is_followed(pd: Pd) -> None:
    changed: list[float] = []

    def change(request: Any, now: float) -> bool:
        if not changed:
            changed.append(now)
            pd.cluster.change_pd_leader(now, "pd-2")
            pd.later(1)
        return False

    pd.faults.add(f.NoLeader(), path="/pd/api/v1/regions/count", when=change)
    facts = await reads_of(pd).facts("prod")
    assert (facts.pd_leader, facts.pd_leader_age_s) == ("pd-2", 0)


@pytest.mark.parametrize(
    "fault", [f.ConnectionRefused(), f.Panic(), f.HtmlBody(502), f.NeverAnswers(), f.TooMany()], ids=str
)
async def test_what_another_leader_would_not_mend_is_not_asked_again_at_the_same_place(pd: Pd, fault: f.Fault) -> None:
    pd.faults.add(fault, path="/pd/api/v1/cluster", times=None)
    await none_from(reads_of(pd))
    assert len(pd.faults.struck) == 1


async def test_there_is_no_second_round_where_the_budget_is_spent(pd: Pd) -> None:
    def late(request: Any, now: float) -> bool:
        pd.later(1.6)
        return True

    pd.faults.add(f.NoLeader(), path="/pd/api/v1/cluster", when=late, times=None)
    assert (await none_from(reads_of(pd))).code == "pd_no_leader"
    assert len(pd.faults.struck) == 1


@pytest.mark.parametrize(
    ("status", "content_type", "body", "code"),
    [
        (500, J, b'"[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped"\n', "pd_not_bootstrapped"),
        (500, J, b'"\\"[PD:cluster:ErrNotBootstrapped]x\\"\\n"\n', "pd_not_bootstrapped"),  # encoded twice
        (500, J, b'{"code":"x","msg":"[PD:server:ErrLeaderNil]leader is nil"}', "pd_no_leader"),
        (400, J, b'{"code":"input","msg":"m"}\n"m"\n', "pd_unexpected"),  # two documents
        (503, "text/plain", b"[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n", "pd_no_leader"),
        (500, "text/plain", b"[PD:server:ErrServerNotStarted]server not started\n", "pd_no_leader"),
        (429, "text/plain", b"Too Many Requests\n", "pd_busy"),
        (405, "", b"", "pd_unexpected"),
        (200, J, b'{"id":7}\n"and more"\n', "pd_malformed"),
    ],
)
async def test_an_error_is_told_by_its_code_however_it_is_wrapped(
    pd: Pd, status: int, content_type: str, body: bytes, code: str
) -> None:
    pd.faults.add(f.Garbage(status, body, content_type), path="/pd/api/v1/cluster", times=None)
    assert (await none_from(reads_of(pd))).code == code


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
        "/operators/0",
        "/operators/records",
        "/operators/7?x=/regions/store/1",
        "/region/id/-1",
        "/stores?state=0",
        "/stores/progress",
        "/stores/progress?id=0",
        "/stores/progress?id=4&action=removing",
        "/cluster ",
        "",
    ],
)
async def test_the_allow_list_cannot_be_bypassed(pd: Pd, path: str) -> None:
    ask = _Ask(pd.transport(), URLS[0], {})
    with pytest.raises(NotOnTheList):
        await ask.get(path)
    with pytest.raises(NotOnTheList):
        await ask.each(("/cluster", path))
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
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["replication"].pop("location-labels"), "labels: is missing"),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["schedule"].pop("replica-schedule-limit"), "limit: is missing"),
    (
        pd_parse.CONFIG,
        lambda a: a[pd_parse.CONFIG]["schedule"].pop("enable-replace-offline-replica"),
        "replica: is missing",
    ),
    (
        pd_parse.STORE_LIMITS,
        lambda a: a[pd_parse.STORE_LIMITS]["4"].update({"remove-peer": -1}),
        "4.remove-peer: is no number",
    ),
    (pd_parse.STORE_LIMITS, lambda a: a[pd_parse.STORE_LIMITS]["4"].pop("remove-peer"), "remove-peer: is missing"),
    (pd_parse.STORE_LIMITS, lambda a: a[pd_parse.STORE_LIMITS]["4"].pop("add-peer"), "add-peer: is missing"),
    (pd_parse.CONFIG, lambda a: a[pd_parse.CONFIG]["schedule"].update({"store-limit-version": 1}), "is no text"),
    (pd_parse.STORES, lambda a: a[pd_parse.STORES]["stores"][0]["status"].pop("region_size"), "region_size: is miss"),
    (
        "/members",
        lambda a: a["/members"]["members"][1].update(leader_priority=0.5),
        "members[1].leader_priority: is no whole number",
    ),
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


REMOVING = {"action": "removing", "store_id": 4, "progress": 0.25, "current_speed": 8, "left_seconds": 1.7e308}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"action": None}, "action: is no text"),
        ({"progress": 1.1}, "progress: is more than 1"),
        ({"current_speed": -1}, "current_speed: is no number"),
        ({"left_seconds": "long"}, "left_seconds: is no number"),
    ],
)
def test_an_odd_progress_is_named(changed: dict[str, Any], says: str) -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    path = pd_parse.removal_path(4)
    answers[path] = REMOVING
    (removal,) = parsed(answers, Look(removal_of=(4,))).removals
    assert (removal.store_id, removal.progress, removal.mib_per_s, removal.left_s) == (4, 0.25, 8, 1.7e308)
    answers[path] = REMOVING | changed
    with pytest.raises(NoFacts) as none:
        parsed(answers, Look(removal_of=(4,)))
    assert f"GET {path}: {says}" in none.value.text


def test_a_store_that_is_being_prepared_is_not_being_removed() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.removal_path(4)] = REMOVING | {"action": "preparing"}
    assert parsed(answers, Look(removal_of=(4,))).removals == ()


def test_a_missing_region_is_http_200_with_id_0() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.region_path(5)] = {"id": 0, "start_key": "", "end_key": "", "leader": {"role_name": ""}}
    assert parsed(answers, Look(region_ids=(5,))).regions == ()


WRITTEN = (
    "status: RUNNING, operator: balance-region {mv peer: store [1] to [4]} (kind:region, region:5(3, 12), "
    "createAt:2026-11-23 15:52:00.926094955 +0000 UTC m=+125.496320521, startAt:2026-11-23 15:52:01 +0000 UTC, "
    "currentStep:0, size:96, steps:[0:{add learner peer 9 on store 4}], timeout:[17m0s])"
)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (WRITTEN, "RUNNING"),
        (WRITTEN.replace("], timeout:", "]\uff0ctimeout:"), "RUNNING"),  # as 6.5 writes it
        (WRITTEN.replace("RUNNING", "SUCCESS") + " finished", "SUCCESS"),
        (WRITTEN.replace("RUNNING", "TIMEOUT") + " timeout", "TIMEOUT"),
        (WRITTEN.replace("RUNNING", "CANCEL"), "CANCEL"),
        (WRITTEN.replace("RUNNING", "REPLACE"), "REPLACE"),
    ],
)
def test_an_operator_is_read_as_each_version_writes_it(text: str, status: str) -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.operator_path(5)] = text
    (read,) = parsed(answers, Look(operators_of=(5,))).newest_operators
    assert (read.status, read.desc, read.brief) == (status, "balance-region", "mv peer: store [1] to [4]")
    assert read.created_ns == 1_795_449_120_926_094_955


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no operator as PD writes it"),
        (7, "is no text"),
        (WRITTEN.replace("status", "state"), "is no operator as PD writes it"),
        (WRITTEN.replace(", startAt", " startAt"), "is no operator as PD writes it"),
        (WRITTEN.replace("15:52:00.9", "25:52:00.9"), "is no operator as PD writes it"),
        (WRITTEN.replace("createAt:2026-11-23", "createAt:0001-01-01"), "is no operator as PD writes it"),
        (WRITTEN.replace("createAt:2026-11-23", "createAt:9999-01-01"), "is no operator as PD writes it"),
        (WRITTEN.replace("RUNNING", "ASLEEP"), "'ASLEEP' is none of RUNNING, SUCCESS, CANCEL, REPLACE, TIMEOUT"),
        (WRITTEN.replace("region:5", "region:6"), "is of region 6"),
    ],
)
def test_an_odd_operator_is_named(text: object, says: str) -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.operator_path(5)] = text
    with pytest.raises(NoFacts) as none:
        parsed(answers, Look(operators_of=(5,)))
    assert none.value.code == "pd_malformed"
    assert none.value.text.startswith("GET /operators/5: ")
    assert says in none.value.text


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-11-23 15:52:00.926094955 +0000 UTC m=+125.496320521", 1_795_449_120_926_094_955),
        ("2026-11-23 15:52:00 +0000 UTC", 1_795_449_120_000_000_000),
        ("2026-11-23 15:52:00.5 +0000 UTC m=-0.1", 1_795_449_120_500_000_000),
        ("2026-11-23 23:52:00.05 +0800 CST m=+1.0", 1_795_449_120_050_000_000),
        ("2026-11-23 08:22:00 -0730 -0730", 1_795_449_120_000_000_000),
        ("2026-11-23 15:52:00", None),
        ("2026-11-31 15:52:00 +0000 UTC", None),
        ("2026-11-23 15:52:00.1234567890 +0000 UTC", None),
        ("2026-11-23T15:52:00Z", None),
        ("", None),
    ],
)
def test_times_are_gos(time: str, expected: int | None) -> None:
    assert pd_parse.nanoseconds_of(time) == expected


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
        ("1e+400B", None),
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


def test_a_pd_that_knows_no_versions_of_store_limits_has_the_first() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.CONFIG]["schedule"].pop("store-limit-version")
    assert parsed(answers).store_limit_version == "v1"


def test_a_member_that_left_may_linger_among_the_healthy_ones() -> None:
    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers["/health"].append({"name": "pd-9", "member_id": 9, "client_urls": [], "health": True})
    answers["/members"]["members"].reverse()
    facts = parsed(answers)
    assert ([m.name for m in facts.pd_members], facts.members_healthy) == (["pd-0", "pd-1", "pd-2"], 3)


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
