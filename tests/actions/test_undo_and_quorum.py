"""Two properties of every action over generated clusters: its undo restores what was, and it loses no region its
majority. The oracle of the second counts peers in the model; it knows nothing of the product's quorum rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from actions import preflight
from actions.action import Action, Undo
from actions.catalogue import CATALOGUE
from actions.preflight import objections
from pdsim import repair
from pdsim.http import answer
from pdsim.model import Cluster
from pdsim.regions import Peer, Region, Role
from pdsim.stores import State
from schemas.values import Change
from tests.actions.scenario import Case, cases, differing, facts_for, limits_of, send, until_done
from tests.actions.under_faults import request_of
from tests.contract.pd_client.conftest import START, Pd

CASES = cases()
CAN_BE_UNDONE = [c for c in CASES if CATALOGUE[c.name].undo in (Undo.REVERSIBLE, Undo.TEMPORARY)]
GONE_WITHIN_S = 600
# Without shrinking, which takes minutes here: what is drawn is small as it is.
PER_ACTION = settings(
    max_examples=10,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Made:
    """A healthy cluster, with weights, rates and limits that somebody has set."""

    stores: int
    regions: int
    replicas: int
    members: int
    seed: int
    weights: Mapping[int, float]  # store -> its leader weight; its region weight is half a step further
    leader_schedule_limit: int
    write_bytes_per_s: float

    def cluster(self) -> Cluster:
        cluster = Cluster.healthy(
            stores=self.stores,
            regions=self.regions,
            replicas=self.replicas,
            members=self.members,
            seed=self.seed,
            now=START,
        )
        for store_id, weight in self.weights.items():
            store = cluster.stores[store_id]
            store.leader_weight, store.region_weight = weight, weight + 0.25
            store.limits["add-peer"].per_minute = 60.0
        cluster.config.schedule["leader-schedule-limit"] = self.leader_schedule_limit
        cluster.set_write_rate(self.write_bytes_per_s)
        return cluster


def made(*replicas: int) -> st.SearchStrategy[Made]:
    return st.builds(
        Made,
        stores=st.integers(5, 7),
        regions=st.integers(14, 24),
        replicas=st.sampled_from(replicas),
        members=st.sampled_from([1, 3]),
        seed=st.integers(0, 99),
        weights=st.dictionaries(st.integers(1, 5), st.sampled_from([0.75, 1.0, 1.25, 2.0]), max_size=2),
        leader_schedule_limit=st.sampled_from([1, 4, 16]),
        write_bytes_per_s=st.sampled_from([0.0, 1e4, 1e6]),
    )


def ready(case: Case, cluster: Cluster) -> tuple[Pd, Action]:
    try:
        return case.on(cluster)
    except LookupError:
        assume(False)
        raise


# do and undo


@pytest.mark.parametrize("case", CAN_BE_UNDONE, ids=str)
@PER_ACTION
@given(data=st.data())
def test_do_and_undo_restore_what_was(case: Case, data: st.DataObject) -> None:
    pd, action = ready(case, data.draw(made(3)).cluster())
    facts = facts_for(pd, action)
    assume(not objections(action, facts, limits_of(pd)))
    was, changes = case.state(pd.cluster, action), action.plan(facts)
    for change in changes:
        assert send(pd, action, change.do) == "accepted"
    until_done(pd, action)
    changed = differing(was, case.state(pd.cluster, action))
    assert changed, "nothing was done"
    pd.later(data.draw(st.sampled_from([0, 10, 30]), label="kept for, s"))
    for change in reversed(changes):
        assert change.undo is not None
        assert send(pd, action, change.undo) == "accepted"
        until_taken_back(pd, action, change)
    now = case.state(pd.cluster, action)
    differs = {key: (was.get(key), now.get(key)) for key in differing(was, now)}
    assert {key: values for key, values in differs.items() if key in changed or not is_balanced(key)} == {}


def is_balanced(key: tuple[object, ...]) -> bool:
    """PD moves leaders by itself."""
    return key[0] == "region" and key[-1] == "leader"


def until_taken_back(pd: Pd, action: Action, change: Change) -> None:
    assert change.undo is not None
    for _ in range(GONE_WITHIN_S):
        pd.later(1)
        if action.probe(change.undo, facts_for(pd, action)) == "applied":
            return
    raise AssertionError(f"{change.undo} is not shown within {GONE_WITHIN_S} s")


# quorum


def serves(cluster: Cluster, store_id: int) -> bool:
    """Can the store be counted on? Not when it is dead, on its way out, or when leaders are being kept off it: whoever
    does that expects it to fail."""
    store = cluster.stores.get(store_id)
    if store is None or not store.alive or store.state is not State.Up:
        return False
    return store_id not in cluster.schedulers.evicted and store_id not in cluster.schedulers.slow_evicted


def well(cluster: Cluster, region: Region, peer: Peer) -> bool:
    ill = {*region.pending, *(peer_id for peer_id, _ in region.down)}
    return peer.id not in ill and serves(cluster, peer.store_id)


def has_majority(cluster: Cluster, region: Region) -> bool:
    """Of its voters; of both sets of them, while it changes from one to the other."""
    for roles in ((Role.Voter, Role.DemotingVoter), (Role.Voter, Role.IncomingVoter)):
        voters = [peer for peer in region.peers if peer.role in roles]
        if not sum(well(cluster, region, peer) for peer in voters) * 2 > len(voters):
            return False
    return True


def is_led(cluster: Cluster, region: Region) -> bool:
    """A store on its way out leads what it still holds."""
    peer = region.peer_on(region.leader) if region.leader is not None else None
    if peer is None:
        return False
    store = cluster.stores[peer.store_id]
    return (store.alive and store.state is State.Offline) or well(cluster, region, peer)


def lost_by(changes: tuple[Change, ...], cluster: Cluster) -> set[int]:
    """Brute force: do it to a copy of the cluster, and count each region's peers at once, and again when PD has done
    its part; then also whether anybody who serves leads it."""
    had = {region.id for region in cluster.truth if has_majority(cluster, region)}
    led = {region.id for region in cluster.truth if is_led(cluster, region)}
    after = deepcopy(cluster)
    for change in changes:
        answer(after, request_of(change.do), after.now)
    lost = {region.id for region in after.truth if region.id in had and not has_majority(after, region)}
    after.advance(after.now + 120)
    lost |= {region.id for region in after.truth if region.id in had and not has_majority(after, region)}
    return lost | {region.id for region in after.truth if region.id in led and not is_led(after, region)}


def pending(cluster: Cluster, region: Region, peer: Peer) -> Region:
    return replace(region, pending=(peer.id,))


def down(cluster: Cluster, region: Region, peer: Peer) -> Region:
    return replace(region, down=((peer.id, 700),))


def missing(cluster: Cluster, region: Region, peer: Peer) -> Region:
    return region.without_store(peer.store_id)


def learner(cluster: Cluster, region: Region, peer: Peer) -> Region:
    return region.with_peer(replace(peer, role=Role.Learner), conf_ver_by=1)


def joint(cluster: Cluster, region: Region, peer: Peer) -> Region:
    free = next((s for s in cluster.stores if region.peer_on(s) is None), None)
    leaving = region.with_peer(replace(peer, role=Role.DemotingVoter), conf_ver_by=1)
    return leaving if free is None else leaving.with_peer(Peer(cluster.new_id(), free, Role.IncomingVoter))


def dies(cluster: Cluster, store_id: int) -> None:
    cluster.kill_store(store_id)


def leaves(cluster: Cluster, store_id: int) -> None:
    repair.begin_removal(cluster, cluster.stores[store_id])


def is_evicted(cluster: Cluster, store_id: int) -> None:
    cluster.schedulers.evict(store_id)


BEFALLS = (None, None, None, dies, leaves, is_evicted)
ILLS = (pending, down, missing)  # not `learner` and `joint`: see below
AILMENTS = st.tuples(st.integers(0, 23), st.integers(0, 1), st.sampled_from(ILLS))


def fall_ill(cluster: Cluster, nth: int, at: int, ill: Callable[[Cluster, Region, Peer], Region]) -> None:
    """One follower of one region, whose store is well."""
    regions = sorted(cluster.truth, key=lambda region: region.id)
    region = regions[nth % len(regions)]
    followers = [peer for peer in region.peers if peer.store_id != region.leader]
    sick = ill(cluster, region, followers[at % len(followers)])
    cluster.truth.put(sick)
    cluster.cache.put(sick)


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(PER_ACTION, max_examples=20)
@given(data=st.data())
def test_no_preflight_passes_where_a_region_would_lose_its_majority(case: Case, data: st.DataObject) -> None:
    cluster = data.draw(made(3, 3, 5)).cluster()
    pd, action = ready(case, cluster)
    befalls = data.draw(st.sampled_from(BEFALLS), label="a store")
    if befalls:
        store_id = data.draw(st.sampled_from(sorted(s.id for s in cluster.stores.values() if s.alive)))
        befalls(cluster, store_id)
        pd.later(40)
    for nth, at, ill in data.draw(st.lists(AILMENTS, max_size=2, unique_by=lambda x: x[0]), label="replicas"):
        fall_ill(cluster, nth, at, ill)
    facts = facts_for(pd, action)
    if not objections(action, facts, limits_of(pd)):
        assert lost_by(action.plan(facts), cluster) == set()


@pytest.mark.xfail(
    reason="miss-peer counts peers, learners included (PD: pkg/statistics/region_collection.go), so nobody tells us;"
    " learner-peer would, and lists every region of a cluster with TiFlash. Of a joint state that nobody is at no check"
    " tells at all; PD's own checker leaves it within seconds"
)
@pytest.mark.parametrize("ill", [learner, joint])
def test_a_learner_or_a_joint_state_in_the_place_of_a_voter_is_seen(
    ill: Callable[[Cluster, Region, Peer], Region],
) -> None:
    cluster = Made(5, 20, 3, 3, 0, {}, 4, 0.0).cluster()
    pd, action = Case("evict_store_leaders").on(cluster)
    fall_ill(cluster, *follower_beside(cluster, min(action.takes_out())), ill)
    facts = facts_for(pd, action)
    assert lost_by(action.plan(facts), cluster)
    assert objections(action, facts, limits_of(pd))


def follower_beside(cluster: Cluster, store_id: int) -> tuple[int, int]:
    """A region that has a follower on this store: which one it is, and which its other follower."""
    for nth, region in enumerate(sorted(cluster.truth, key=lambda region: region.id)):
        if region.peer_on(store_id) and region.leader != store_id:
            followers = [peer.store_id for peer in region.peers if peer.store_id != region.leader]
            return nth, followers.index(store_id) ^ 1
    raise LookupError(store_id)


def test_the_oracle_sees_what_a_preflight_without_the_quorum_rule_lets_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Made(5, 20, 3, 3, 0, {}, 4, 0.0).cluster()
    pd, action = Case("evict_store_leaders").on(cluster)
    nth, other = follower_beside(cluster, min(action.takes_out()))
    fall_ill(cluster, nth, other, pending)
    facts, limits = facts_for(pd, action), limits_of(pd)
    assert len(lost_by(action.plan(facts), cluster)) == 1
    assert [objection.code for objection in objections(action, facts, limits)] == ["quorum_at_risk"]
    monkeypatch.setattr(preflight, "_quorum", lambda action, facts: ())
    assert objections(action, facts, limits) == ()


@pytest.mark.parametrize("ill", [pending, down, missing, learner])
def test_of_three_that_are_ill_in_one_place_no_other_may_go(ill: Callable[[Cluster, Region, Peer], Region]) -> None:
    cluster = Made(5, 20, 3, 3, 0, {}, 4, 0.0).cluster()
    fall_ill(cluster, 0, 0, ill)
    sick = min(cluster.truth, key=lambda region: region.id)
    assert has_majority(cluster, sick)
    assert sick.leader is not None
    dies(cluster, sick.leader)
    assert not has_majority(cluster, sick)
    assert not is_led(cluster, sick)


def test_in_joint_state_both_sets_of_voters_count() -> None:
    cluster = Made(5, 20, 3, 3, 0, {}, 4, 0.0).cluster()
    fall_ill(cluster, 0, 0, joint)
    sick = min(cluster.truth, key=lambda region: region.id)
    assert has_majority(cluster, sick)
    for peer in sick.peers:
        if peer.role is Role.IncomingVoter or (peer.role is Role.Voter and peer.store_id != sick.leader):
            dies(cluster, peer.store_id)
    assert not has_majority(cluster, sick), "two of the three old voters live, and one of the three new ones"
