"""Where an action makes sense: what every test that goes over the whole catalogue takes from the action's scenario.

A module of `tests/actions/scenarios/`, named as the action is, says it in a `SCENARIO`. There is nothing else to add.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from actions.action import Action, Limits
from actions.catalogue import CATALOGUE, parse
from pdsim.model import Cluster
from schemas.facts import Facts
from schemas.policy import LimitsPolicy
from schemas.values import Call, Change, canonical_json
from tests.actions import scenarios
from tests.contract.pd_client.conftest import START, Pd

HERE: Mapping[str, Any] = {"stores": 4, "regions": 12, "seed": 7, "now": START}  # the usual cluster: small, and quick
WATCHED_S = 310  # longer than the youngest PD leader that a preflight accepts
DONE_WITHIN_S = 600

Params = Callable[[Cluster], Mapping[str, Any]]
State = Mapping[tuple[object, ...], object]


def as_it_is(cluster: Cluster) -> None:
    """A healthy cluster will do."""


def nothing_else(cluster: Cluster) -> State:
    return {}


@dataclass(frozen=True)
class Scenario:
    """On which simulated cluster an action makes sense, with which parameters, and how the cluster is brought there.

    `arrange` is called on the new cluster; then it runs, and is watched, for five minutes; then `params` are asked for.
    Either may be called on other healthy clusters too, of 3 to 7 stores and 5 to 40 regions of 3 replicas: on one that
    has nothing for the action, `params` raises LookupError.
    """

    params: Params
    arrange: Callable[[Cluster], None] = as_it_is
    just_before: Callable[[Cluster], None] = as_it_is  # what would not last for five minutes
    others: tuple[Params, ...] = ()  # parameters with which it makes its other calls, if one plan hasn't them all
    cluster: Mapping[str, Any] = field(default_factory=dict)  # what Cluster.healthy takes, if it must be a special one
    also: Callable[[Cluster], State] = nothing_else  # what it changes that `state` below does not see
    unlike: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # fault -> (how it ends, why unlike the others)


def found_scenarios() -> dict[str, Scenario]:
    names = (module.name for module in pkgutil.iter_modules(scenarios.__path__))
    return {name: importlib.import_module(f"{scenarios.__name__}.{name}").SCENARIO for name in names}


SCENARIOS = found_scenarios()


@dataclass(frozen=True)
class Case:
    """An action of the catalogue with parameters; its first case is the one with the scenario's `params`."""

    name: str
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.nth + 1}" if self.nth else self.name

    @property
    def scenario(self) -> Scenario:
        return SCENARIOS[self.name]

    def params(self, cluster: Cluster) -> str:
        ways = (self.scenario.params, *self.scenario.others)
        return canonical_json(dict(ways[self.nth](cluster)))

    def on(self, cluster: Cluster) -> tuple[Pd, Action]:
        """The cluster brought to where the action makes sense, five minutes later. Raises LookupError."""
        self.scenario.arrange(cluster)
        pd = watched(cluster)
        self.scenario.just_before(cluster)
        return pd, parse(self.name, self.params(cluster))

    def ready(self) -> tuple[Pd, Action]:
        return self.on(Cluster.healthy(**{**HERE, **self.scenario.cluster}))

    def state(self, cluster: Cluster, action: Action) -> State:
        return {**state(cluster, action.look().region_ids), **self.scenario.also(cluster)}


def cases() -> list[Case]:
    """Every action of the catalogue that has a scenario, with all its parameters."""
    known = [(name, SCENARIOS[name]) for name in CATALOGUE if name in SCENARIOS]
    return [Case(name, nth) for name, scenario in known for nth in range(1 + len(scenario.others))]


# from facts to facts


def watched(cluster: Cluster) -> Pd:
    """The cluster behind the real clients, watched for long enough to act on."""
    pd = Pd(cluster, now_s=cluster.now)
    asyncio.run(pd.reader.watch("prod"))
    pd.later(WATCHED_S)
    return pd


def facts_for(pd: Pd, action: Action) -> Facts:
    return asyncio.run(pd.reader.facts("prod", action.look()))


def limits_of(pd: Pd) -> Limits:
    return Limits(policy=LimitsPolicy(), now_ms=int(pd.now_s * 1000))


def send(pd: Pd, action: Action, call: Call) -> str:
    """By the client that the action is given; what the answer means."""

    async def sent() -> str:
        writer = pd.writer(*action.may_call)
        assert await writer.cluster_id() == pd.cluster.id
        return (await writer.send(call, caller_id="steward/R-1/1.1", within_s=2)).answer

    return asyncio.run(sent())


@dataclass(frozen=True)
class Run:
    """An action done well: the facts before and after, and the model's state."""

    action: Action
    changes: tuple[Change, ...]
    before: Facts
    after: Facts
    became: State
    touched: tuple[frozenset[tuple[object, ...]], ...]  # what each change has changed of the model's state
    limits: Limits


@cache
def done_well(case: Case) -> Run:
    """Read, planned, sent and waited for, by the product's clients on the scenario's cluster."""
    pd, action = case.ready()
    before, was, limits = facts_for(pd, action), case.state(pd.cluster, action), limits_of(pd)
    changes, touched = action.plan(before), []
    after, became = before, was
    for change in changes:
        assert send(pd, action, change.do) == "accepted"
        if change is changes[-1]:
            after = until_done(pd, action)
        was, became = became, case.state(pd.cluster, action)
        touched.append(differing(was, became))
    return Run(action, changes, before, after, became, tuple(touched), limits)


def until_done(pd: Pd, action: Action) -> Facts:
    """PD and TiKV at work until the action says that they have ended."""
    for _ in range(DONE_WITHIN_S // 5):
        pd.later(5)
        facts = facts_for(pd, action)
        if action.is_done(facts):
            return facts
    raise AssertionError(f"{action.name} is not done within {DONE_WITHIN_S} s")


# the model's state


def state(cluster: Cluster, region_ids: tuple[int, ...] = ()) -> State:
    """All that somebody has set in the model and that stays as it is by itself; and the named regions' placement."""
    found: dict[tuple[object, ...], object] = {("pd", "leader"): cluster.members.leader}
    for store in cluster.stores.values():
        of = ("store", store.id)
        found[*of, "state"] = store.state.name
        found[*of, "leader weight"] = store.leader_weight
        found[*of, "region weight"] = store.region_weight
        found[*of, "labels"] = tuple(sorted(store.labels.items()))
        if store.state.name != "Tombstone":  # PD forgets the limits of one
            found |= {(*of, "limit", kind): limit.per_minute for kind, limit in store.limits.items()}
    schedulers, config, now = cluster.schedulers, cluster.config, cluster.now
    found |= {("scheduler", name): True for name in schedulers.names}
    found |= {("paused", name): True for name in schedulers.paused if schedulers.is_paused(name, now)}
    found |= {("paused", name): True for name, until in schedulers.checkers_paused.items() if now < until}
    found |= {("evicted", store_id): True for store_id in schedulers.evicted}
    found |= {("granted", store_id): True for store_id in schedulers.granted}
    for section in (config.schedule, config.replication, config.pd_server):
        found |= {("config", key): str(value) for key, value in section.items()}
    found |= {("ttl", key): value for key, (value, until) in config.ttl.items() if now < until}
    found["config", "halt-scheduling"] = config.halt_scheduling
    for region_id in region_ids:
        if region := cluster.truth.get(region_id):
            placed = tuple(sorted((peer.store_id, peer.role.name) for peer in region.peers))
            found["region", region_id, "leader"] = region.leader
            found["region", region_id, "peers"] = placed
            found["region", region_id, "version"] = region.version
    return found


def differing(one: State, other: State) -> frozenset[tuple[object, ...]]:
    return frozenset(key for key in {*one, *other} if one.get(key) != other.get(key))
