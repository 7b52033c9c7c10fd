"""One file and its scenario are all that a new action needs: a toy, in no catalogue but these tests', proves it.

The toy is what an author writes; the test below it is what he gets for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, ClassVar

import pytest
from pydantic import Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, no
from actions.catalogue import CATALOGUE
from pdsim.kit import GROUPS, KIT
from schemas.events import Finding
from schemas.facts import Facts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId
from tests.actions import test_every_action
from tests.actions.scenario import SCENARIOS, Case, Scenario
from tests.actions.test_every_action_under_faults import right_of, wrong_with
from tests.actions.under_faults import cell

# What would be actions/lighten_store.py


class LightenStore(Action):
    """Give one store half as many leaders as the others, for a while.

    What clients notice: one retry for each leader that moves, 1 to 20 ms each, over minutes.

    The undo sets the weight to 1 again, by hand `pd-ctl store weight`.
    """

    name: ClassVar[str] = "lighten_store"
    version = 1
    risk = "MEDIUM"
    undo = Undo.TEMPORARY
    may_call = frozenset({"set_store_weight"})
    clients_notice = "one retry a leader that moves, 1 to 20 ms each"

    store_id: StoreId = Field(description="The store, as PD numbers it.")
    keep_s: int = Field(60, ge=60, le=3600, description="For how long, in seconds.")

    def title(self) -> str:
        return f"Halve the leader weight of store {self.store_id}"

    def entities(self) -> tuple[str, ...]:
        return (f"store:{self.store_id}",)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        store = facts.store(self.store_id)
        weights = f"{store.leader_weight!r},{store.region_weight!r}" if store else "unknown"
        return (Premise(name=f"store:{self.store_id}.weights", value=weights),)

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        store = facts.store(self.store_id)
        if store is None:
            yield no("no_such_store", f"PD knows no store {self.store_id}")
        elif store.state != "Up":
            yield no("target_not_up", f"store {store.id} is {store.state}")
        elif store.leader_weight != 1 or calls.weight_text(store.region_weight) is None:
            yield no("odd_weight", f"store {store.id} is weighed {store.leader_weight!r}, {store.region_weight!r}")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        store = facts.store(self.store_id)
        if store is None or calls.weight_text(store.region_weight) is None:
            return ()
        do, undo = (calls.set_store_weight(self.store_id, weight, store.region_weight) for weight in (0.5, 1))
        return (Change(do=do, undo=undo, keep_s=self.keep_s),)

    def reach(self, facts: Facts) -> Reach:
        store = facts.store(self.store_id)
        half, total = (store.leader_count // 2 if store else 0), facts.leaders_total()
        return Reach(stores=1, regions=half, leaders=half, leaders_share=half / total if total > 0 else 0.0)

    def bounds(self, facts: Facts) -> Bounds:
        most = self.reach(facts).leaders + 16
        return Bounds(stores_max=1, regions_max=most, leaders_max=most)

    def figures(self, facts: Facts) -> dict[str, float]:
        store = facts.store(self.store_id)
        return health(facts) | ({"weight": store.leader_weight} if store else {})

    def is_done(self, facts: Facts) -> bool:
        store = facts.store(self.store_id)
        return store is not None and store.leader_weight == 0.5

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "weight") == 0.5

    def probe(self, call: Call, now: Facts) -> Finding:
        store = now.store(self.store_id)
        if call.name != "set_store_weight" or call.args.get("store_id") != str(self.store_id) or store is None:
            return "cant_tell"
        if calls.weight_text(store.leader_weight) == call.args.get("leader") and (
            store.leader_weight == 0.5 or is_settled(now)
        ):
            return "applied"
        return "not_started" if is_settled(now) else "cant_tell"


# What would be tests/actions/scenarios/lighten_store.py

SCENARIO = Scenario(params=lambda cluster: {"store_id": max(cluster.stores)})


# And with mistakes


class Forgetful(LightenStore):
    """Believes that its undo was made because it was sent."""

    name = "forgetful"

    def probe(self, call: Call, now: Facts) -> Finding:
        return "applied"


class Counting(LightenStore):
    """Relies on what moves all the time."""

    name = "counting"

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        store = facts.store(self.store_id)
        return (Premise(name="leaders", value=str(store.leader_count if store else 0)),)


class Overreaching(LightenStore):
    """May do more than it does."""

    name = "overreaching"
    may_call = frozenset({"set_store_weight", "remove_tombstones"})


TESTS = {name: test for name, test in vars(test_every_action).items() if name.startswith("test_")}


def inherited(case: Case) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every test that goes over the catalogue, on this action."""
    for name, test in TESTS.items():
        marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        if "case" not in inspect.signature(test).parameters:
            continue
        others = {args[0]: args[1] for args in marks if args[0] != "case"}
        for values in product(*others.values()):
            given: dict[str, Any] = dict(zip(others, values, strict=True))
            yield name, lambda test=test, given=given: test(case=case, **given)  # type: ignore[misc]


def failed(case: Case) -> set[str]:
    found = set()
    for name, test in inherited(case):
        try:
            test()
        except AssertionError:
            found.add(name)
    return found


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Action]], Case]:
    """Put an action into the catalogue, as an author does with one line; and its scenario beside the others."""

    def added(kind: type[Action]) -> Case:
        monkeypatch.setitem(CATALOGUE, kind.name, kind)
        monkeypatch.setitem(SCENARIOS, kind.name, SCENARIO)
        return Case(kind.name)

    return added


def test_a_new_action_is_tested_by_being_there(add: Callable[[type[Action]], Case]) -> None:
    case = add(LightenStore)
    assert len(TESTS) > 20
    for _, test in inherited(case):
        test()


@pytest.mark.parametrize("group", GROUPS)
def test_a_new_action_is_run_under_every_fault(add: Callable[[type[Action]], Case], group: str) -> None:
    case = add(LightenStore)
    for fault in KIT.values():
        if fault.group == group:
            assert wrong_with(cell(case.name, fault.name), right_of(case.name, fault.name)) == [], fault.name


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Forgetful, "test_a_probe_tells_of_each_call_whether_it_was_made"),
        (Counting, "test_a_premise_is_never_a_count"),
        (Overreaching, "test_it_may_make_the_calls_of_its_plans_and_no_others"),
    ],
)
def test_a_mistake_in_a_new_action_is_seen(add: Callable[[type[Action]], Case], kind: type[Action], test: str) -> None:
    assert test in failed(add(kind))


def test_what_a_mistake_leaves_behind_is_seen(add: Callable[[type[Action]], Case]) -> None:
    case = add(Forgetful)
    assert cell(case.name, "the store disconnected mid-operation").left == ("store 4 leader weight",)
