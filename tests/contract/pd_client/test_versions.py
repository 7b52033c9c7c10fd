"""The same client against each PD from 6.5 to 8.5: what they say differently, and that it is read alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actions import calls
from actions.preflight import objections
from actions.split_region import SplitRegion
from infra import pd_parse
from pdsim import building
from pdsim.api.router import PREFIX, ROUTES
from pdsim.http import Request, Response, answer
from pdsim.model import Cluster
from pdsim.operators import Priority
from pdsim.schedulers import BALANCE_LEADER
from schemas.facts import Look, NoFacts
from schemas.values import Call
from tests.actions.clusters import LIMITS
from tests.contract.pd_client.conftest import START, Pd
from tests.contract.pd_client.test_reader import parsed, said_by

pytestmark = pytest.mark.contract

VERSIONS = ("v6.5.12", "v7.1.6", "v7.5.7", "v8.1.2", "v8.5.7")
EVICT, UNEVICT = calls.add_evict_leader(4), calls.remove_evict_leader(4)

# What is said to each, since which version; the earlier row holds before. As in tikv/pd: server/api, pkg/errs.
# call | status | since | body
ANSWERS: dict[str, tuple[Call, int, dict[tuple[int, int], str]]] = {
    "an eviction is made": (EVICT, 200, {(0, 0): "The scheduler is created."}),
    "a leader of nowhere": (
        calls.transfer_leader(999_999, 1),
        500,
        {
            (0, 0): "region 999999 not found",
            (7, 5): "[PD:region:ErrRegionNotFound]region 999999 not found",
        },
    ),
    "a region of nowhere is split": (
        calls.split_region(999_999, 1),
        500,
        {
            (0, 0): "region 999999 not found",
            (7, 5): "[PD:region:ErrRegionNotFound]region 999999 not found",
        },
    ),
    "no operator to cancel": (
        calls.cancel_operator(999_999, 1),
        500,
        {(0, 0): "operator not found", (7, 5): "[PD:operator:ErrOperatorNotFound]operator not found"},
    ),
    "a weight is set": (
        calls.set_store_weight(4, 0.5, 1),
        200,
        {(0, 0): "The store's label is updated.", (8, 1): "The store's weight is updated."},
    ),
    "tombstones are removed": (calls.remove_tombstones(), 200, {(0, 0): "Remove tombstone successfully."}),
}


def numbers(version: str) -> tuple[int, int]:
    major, minor, _ = version.removeprefix("v").split(".")
    return int(major), int(minor)


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest) -> Pd:
    return Pd(Cluster.healthy(stores=5, regions=60, now=START, seed=7, version=request.param))


@pytest.mark.parametrize("what", sorted(ANSWERS))
async def test_each_version_says_it_in_its_own_words_and_means_the_same(old: Pd, what: str) -> None:
    call, status, said = ANSWERS[what]
    writer = old.writer(call.name)
    await writer.cluster_id()
    reply = await writer.send(call, caller_id="x", within_s=1)
    assert reply.body == next(
        said[since] for since in sorted(said, reverse=True) if numbers(old.cluster.version) >= since
    )
    assert (reply.status, reply.answer) == (status, "accepted" if status == 200 else "refused")


async def test_facts_of_each_version_let_an_action_be_planned(old: Pd) -> None:
    await old.reader.watch("prod")
    old.later(310)
    split = SplitRegion(region_id=max(r.id for r in old.cluster.cache))
    facts = await old.reader.facts("prod", split.look())
    assert facts.version == old.cluster.version
    assert ("evict-slow-store-scheduler" in facts.schedulers) == (numbers(facts.version) >= (8, 1))
    assert (facts.slow_evicting, facts.slow_evicting_known) == ((), True)
    limits = LIMITS.model_copy(update={"now_ms": int(old.now_s * 1000)})
    assert objections(split, facts, limits) == ()


async def test_operators_are_read_where_pd_knows_no_objects(old: Pd) -> None:
    region = replace(min(old.cluster.cache, key=lambda r: r.id), approximate_size=9_600)
    old.cluster.truth.put(region)
    old.cluster.cache.put(region)
    out = next(p.store_id for p in region.peers if p.store_id != region.leader)
    into = next(s for s in old.cluster.stores if region.peer_on(s) is None)
    wanted = [into if p.store_id == out else p.store_id for p in region.peers]
    maker = building.Maker("balance-region", (), Priority.MEDIUM)
    assert old.cluster.add_operator(building.move(old.cluster, region, wanted, maker))
    facts = await old.reader.facts("prod", Look(operators_of=(region.id,)))
    (running,) = facts.operators
    assert (running.region_id, running.desc, running.brief) == (
        region.id,
        "balance-region",
        f"mv peer: store [{out}] to [{into}]",
    )
    (newest,) = facts.newest_operators
    assert (newest.desc, newest.brief, newest.status) == (running.desc, running.brief, "RUNNING")


async def test_a_scheduler_that_does_not_say_what_it_has_taken_bars_acting(old: Pd) -> None:
    """It can be added before 8.1 too, and has no list there: `not implements`."""
    old.cluster.schedulers.names["evict-slow-store-scheduler"] = None
    old.cluster.set_slow(4, 100)
    old.later(5)
    facts = await old.reader.facts("prod")
    told = numbers(old.cluster.version) >= (8, 1)
    assert (facts.slow_evicting, facts.slow_evicting_known) == ((4,) if told else (), told)
    codes = [o.code for o in objections(SplitRegion(region_id=1), facts, LIMITS)]
    assert ("slow_evicting_unknown" in codes) == (not told)


async def test_an_eviction_is_made_seen_and_taken_back_on_each_version(old: Pd) -> None:
    writer = old.writer(EVICT.name, UNEVICT.name)
    await writer.cluster_id()
    for call, evicting in ((EVICT, (4,)), (UNEVICT, ())):
        assert (await writer.send(call, caller_id="x", within_s=1)).answer == "accepted"
        assert (await old.reader.facts("prod")).evicting == evicting


async def test_before_8_5_an_operator_is_called_by_the_kind_of_its_scheduler(old: Pd) -> None:
    old.cluster.stores[4].leader_weight = 0.5
    old.later(20)
    made = {o.desc for o in old.cluster.book.records}
    assert made == {BALANCE_LEADER if numbers(old.cluster.version) >= (8, 5) else "balance-leader"}


@pytest.mark.parametrize(
    ("method", "path", "since", "status"),
    [
        ("GET", "/stores/check?state=Down", (7, 5), 404),
        ("DELETE", "/operators", (8, 1), 405),  # the path is there
        ("GET", "/regions/readquery", (8, 5), 404),
        ("GET", "/regions/writequery", (8, 5), 404),
        ("GET", "/regions/writeflow", (0, 0), 404),
    ],
)
def test_what_an_older_pd_does_not_have_it_does_not_answer(
    old: Pd, method: str, path: str, since: tuple[int, int], status: int
) -> None:
    bare, _, query = f"{PREFIX}{path}".partition("?")
    given = answer(old.cluster, Request(method, bare, query), START)
    assert isinstance(given, Response)
    assert given.status == (200 if numbers(old.cluster.version) >= since else status)


def test_no_call_nor_read_of_ours_needs_more_than_the_oldest_pd_has() -> None:
    """Else an old one would read as if the thing were not there."""
    newer = {(r.method, r.pattern) for r in ROUTES if r.since > (0, 0)}
    ours = {("GET", path.partition("?")[0]) for path in pd_parse.READS}
    ours |= {(kind.method, kind.path.removeprefix(PREFIX)) for kind in calls.CALLS.values()}
    assert ours & newer == set()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("balance-region", "operators?object: [0]: is no operator as PD writes it"),
        (
            "x {y} (kind:region, region:9999999999999999999(1, 1), createAt:t, startAt:t)",
            "operators?object: [0].region_id: is not between 1 and 2^63",
        ),
        (7, "operators?object: [0]: is no object"),
    ],
)
def test_an_odd_text_of_an_operator_is_named(text: object, says: str) -> None:

    answers = said_by(Cluster.healthy(stores=3, regions=9, now=START))
    answers[pd_parse.OPERATORS] = [text]
    with pytest.raises(NoFacts) as none:
        parsed(answers)
    assert says in none.value.text
