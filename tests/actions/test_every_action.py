"""What every action of the catalogue must answer, over its scenario: a new action is tested by being there."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions import calls
from actions.action import Action, Undo, health, least_tier, params_json, params_schema
from actions.card import card, describe
from actions.catalogue import CATALOGUE, parse
from actions.drift import drifted, exceeds
from actions.preflight import objections
from executors.pd import NotAllowed
from schemas.facts import Facts, OperatorFacts, RegionFacts, StoreFacts
from schemas.values import TIERS, Call, Sample
from streams.rules.risk import tier_of
from tests.actions.clusters import region, store, tombstone
from tests.actions.scenario import SCENARIOS, Case, cases, done_well
from tests.actions.test_actions import plan_of

CASES = cases()
each = pytest.mark.parametrize("case", CASES, ids=str)
first = pytest.mark.parametrize("case", [case for case in CASES if case.nth == 0], ids=str)
FINDINGS = {"not_started", "under_way", "applied", "cant_tell"}
CODE = re.compile(r"[a-z][a-z0-9_]*")


def scenarios_wanted(names: Mapping[str, object]) -> str:
    """What is missing, in words; empty: nothing."""
    missing, orphans = sorted(set(names) - set(SCENARIOS)), sorted(set(SCENARIOS) - set(names))
    said = [f"{n} has no scenario: write tests/actions/scenarios/{n}.py (docs/howto/add-an-action.md)" for n in missing]
    return "; ".join([*said, *(f"tests/actions/scenarios/{n}.py is of no action in the catalogue" for n in orphans)])


def test_every_action_of_the_catalogue_has_a_scenario() -> None:
    assert scenarios_wanted(CATALOGUE) == ""


def test_an_action_without_a_scenario_is_named() -> None:
    said = scenarios_wanted({**CATALOGUE, "drop_database": None})
    assert said.startswith("drop_database has no scenario: write tests/actions/scenarios/drop_database.py")
    gone = {name: kind for name, kind in CATALOGUE.items() if name != "split_region"}
    assert scenarios_wanted(gone) == "tests/actions/scenarios/split_region.py is of no action in the catalogue"


# what people read


@first
def test_it_can_be_read_at_3_am(case: Case) -> None:
    kind = CATALOGUE[case.name]
    text = inspect.getdoc(kind) or ""
    assert "What clients notice:" in text
    assert re.search(r"\b(undo|undone|back)\b", text), "the docstring: how is it taken back?"
    assert re.search(r"\bms\b|millisecond|^nothing", kind.clients_notice), "clients_notice: how long, in milliseconds?"
    assert kind.stops_if
    assert "pd-ctl" in describe(kind) or "by hand: curl" in describe(kind)
    assert kind.version >= 1


@first
def test_every_parameter_has_a_type_a_range_and_a_description(case: Case) -> None:
    schema = params_schema(CATALOGUE[case.name])
    assert schema["additionalProperties"] is False
    for name, said in schema["properties"].items():
        assert said.get("description", "").endswith("."), f"{name}: a sentence that says what it is"
        for kind in _kinds(said, schema):
            assert _has_a_range(kind, schema), f"{name}: any {kind} will do"


def _kinds(said: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the parameter may be, one by one; null apart."""
    for kind in said.get("anyOf", [said]):
        if kind.get("type") != "null":
            yield schema["$defs"][kind["$ref"].rpartition("/")[2]] if "$ref" in kind else kind


def _has_a_range(kind: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    if "enum" in kind or "const" in kind:
        return True
    match kind.get("type"):
        case "boolean":
            return True
        case "integer" | "number":
            low, high = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
            return bool(low & set(kind)) and bool(high & set(kind))
        case "string":
            return "pattern" in kind or "maxLength" in kind
        case "array":
            bounded = {"minItems", "maxItems"} <= set(kind)
            return bounded and all(_has_a_range(item, schema) for item in _kinds(kind["items"], schema))
    return False


@each
def test_an_approver_is_shown_how_to_do_and_undo_it_by_hand(case: Case) -> None:
    run = done_well(case)
    shown = card(plan_of(run.action, run.before))
    assert len(shown.do_by_hand) == len(run.changes)
    assert len(shown.undo_by_hand) == sum(change.undo is not None for change in run.changes)
    assert "\n" not in shown.title
    assert any(char.isdigit() for char in shown.title), "the title: which store, which region, how much?"


# what it may do


@each
def test_it_makes_sense_on_the_cluster_of_its_scenario(case: Case) -> None:
    run = done_well(case)
    assert objections(run.action, run.before, run.limits) == ()
    assert run.changes
    assert all(run.touched), "nothing of what tests/actions/scenario.py sees has changed: say what in `also`"


@each
def test_a_plan_has_its_undos(case: Case) -> None:
    run = done_well(case)
    for change in run.changes:
        assert (change.undo is None) == (run.action.undo in (Undo.NONE, Undo.IRREVERSIBLE))
    holds_pd_back = "pause_scheduler" in run.action.may_call  # beside what it is for
    temporary = [change.keep_s > 0 for change in run.changes]
    assert all(temporary) if run.action.undo is Undo.TEMPORARY else any(temporary) <= holds_pd_back
    assert all(temporary) == (run.action.undo is Undo.TEMPORARY)
    assert bool(run.action.snapshot(run.before)) == (run.action.undo is Undo.IRREVERSIBLE)
    assert run.action.undo is not Undo.IRREVERSIBLE or json.loads(run.action.snapshot(run.before))


@first
def test_it_may_make_the_calls_of_its_plans_and_no_others(case: Case) -> None:
    plans = [done_well(Case(case.name, nth)).changes for nth in range(1 + len(case.scenario.others))]
    made = {call.name for plan in plans for change in plan for call in (change.do, change.undo) if call}
    assert CATALOGUE[case.name].may_call == made
    assert made <= set(calls.CALLS)


@first
def test_the_client_it_is_given_refuses_every_other_call(case: Case) -> None:
    pd, action = case.ready()
    refused = sorted({*calls.CALLS, "drop_database"} - action.may_call)

    async def tried() -> None:
        writer = pd.writer(*action.may_call)
        await writer.cluster_id()
        for name in refused:
            args = {arg: "1" for arg in calls.CALLS[name].args} if name in calls.CALLS else {}
            with pytest.raises(NotAllowed, match=name):
                await writer.send(Call(name=name, args=args), caller_id="steward/R-1/1.1", within_s=2)

    asyncio.run(tried())
    assert pd.writes() == []


@each
def test_the_same_parameters_come_back(case: Case) -> None:
    action = done_well(case).action
    assert parse(action.name, params_json(action)) == action


# what it relies on, and touches


@each
def test_what_it_names_has_to_exist(case: Case) -> None:
    run = done_well(case)
    for entity in run.action.entities():
        what, _, name = entity.partition(":")
        if what == "store":
            assert run.before.store(int(name)), f"{entity} does not exist on the cluster of its scenario"
            without: dict[str, Any] = {"stores": tuple(s for s in run.before.stores if s.id != int(name))}
        elif what == "region":
            assert run.before.region(int(name)), f"{entity} is not looked at, or does not exist"
            without = {"regions": tuple(r for r in run.before.regions if r.id != int(name))}
        else:
            continue
        facts = run.before.model_copy(update=without)
        assert objections(run.action, facts, run.limits), f"it would go on without {entity}"


@each
def test_a_frozen_picture_does_not_drift(case: Case) -> None:
    run = done_well(case)
    assert drifted(plan_of(run.action, run.before), run.before, run.action) == []
    assert len({p.name for p in run.action.relies_on(run.before)}) == len(run.action.relies_on(run.before)) > 0


@each
def test_a_premise_is_never_a_count(case: Case) -> None:
    """Counts, sizes and rates move all the time: a plan that relied on one would never be carried out."""
    run = done_well(case)
    moved = run.before.model_copy(
        update={
            "taken_at_ms": run.before.taken_at_ms + 3_000,
            "took_ms": run.before.took_ms + 7,
            "regions_total": run.before.regions_total + 1,
            "pd_leader_age_s": run.before.pd_leader_age_s + 3,
            "stores": tuple(_busier(s) for s in run.before.stores),
            "regions": tuple(
                r.model_copy(
                    update={
                        "written_bytes": r.written_bytes + 1000,
                        "approximate_size_mib": r.approximate_size_mib + 1,
                    }
                )
                for r in run.before.regions
            ),
        }
    )
    assert run.action.relies_on(moved) == run.action.relies_on(run.before)
    assert drifted(plan_of(run.action, run.before), moved, run.action) == []


def _busier(found: StoreFacts) -> StoreFacts:
    if found.state == "Tombstone":
        return found
    return found.model_copy(
        update={
            "leader_count": found.leader_count + 1,
            "region_count": found.region_count + 1,
            "available_bytes": found.available_bytes - 4096,
            "last_heartbeat_ms": found.last_heartbeat_ms + 3_000,
            "written_bytes_per_s": found.written_bytes_per_s + 1.0,
            "slow_score": found.slow_score + 1,
        }
    )


@each
def test_its_reach_is_within_its_bounds(case: Case) -> None:
    run = done_well(case)
    reach = run.action.reach(run.before)
    assert exceeds(run.action.bounds(run.before), reach) == []
    assert reach.stores > 0
    assert 0 <= reach.leaders_share <= 1


@each
def test_its_tier_is_never_less_than_how_it_is_undone_allows(case: Case) -> None:
    run = done_well(case)
    floor = {Undo.REVERSIBLE: "LOW", Undo.TEMPORARY: "MEDIUM", Undo.NONE: "MEDIUM", Undo.IRREVERSIBLE: "HIGH"}
    least = TIERS.index(least_tier(run.action))
    assert TIERS.index(floor[run.action.undo]) <= least < TIERS.index("FORBIDDEN")
    reach, limits = run.action.reach(run.before), run.limits.policy
    assert TIERS.index(tier_of(run.action, reach, run.before, 2, False, "playbook", limits)[0]) >= least


# what it is judged by


@each
def test_its_figures_are_those_of_health_and_its_own(case: Case) -> None:
    run = done_well(case)
    figures = run.action.figures(run.before)
    shared = health(run.before)
    if figures["stores_up"] != shared["stores_up"]:  # of an action that takes out the one Up store that it is about
        assert run.action.takes_out() <= run.before.up_store_ids()
        shared["stores_up"] -= len(run.action.takes_out())
    assert shared.items() < figures.items()


def _samples(case: Case) -> tuple[Action, Sample, Sample]:
    run = done_well(case)
    before = Sample(at_ms=1, figures=run.action.figures(run.before))
    return run.action, before, Sample(at_ms=2, figures=run.action.figures(run.after))


def _with(sample: Sample, **figures: float) -> Sample:
    return sample.model_copy(update={"figures": sample.figures | figures})


@each
@pytest.mark.parametrize("count", [0, 1, 2])
def test_success_is_never_declared_from_fewer_than_three_samples(case: Case, count: int) -> None:
    """Kubernaut #722 declared it from none."""
    action, before, after = _samples(case)
    assert action.verify(before, (after,) * count) == "unknown"
    assert action.verify(before, (after,) * 3) == "succeeded"


@each
def test_what_has_not_changed_is_no_success(case: Case) -> None:
    """What nobody takes back may be that PD was asked: a region that sits well is left as it is."""
    action, before, _ = _samples(case)
    assert action.undo is Undo.NONE or action.verify(before, (before,) * 3) == "no_better"


@each
def test_a_sample_without_the_figure_is_no_success(case: Case) -> None:
    action, before, _ = _samples(case)
    bare = Sample(at_ms=2, figures=health(done_well(case).before))
    assert action.verify(before, (bare,) * 3) == "no_better"


@each
def test_one_bad_sample_of_the_last_three_is_worse(case: Case) -> None:
    action, before, after = _samples(case)
    bad = _with(after, down_peers=before.figures["down_peers"] + 1)
    assert action.verify(before, (after, bad, after)) == "worse"
    assert action.verify(before, (bad, after, after, after)) == "succeeded"


@each
def test_abort_when_the_cluster_gets_worse(case: Case) -> None:
    action, before, after = _samples(case)
    up = before.figures["stores_up"]
    assert action.abort_if(before, before) is None
    assert action.abort_if(before, after) is None
    assert action.abort_if(before, _with(before, down_peers=1)) == ("more_down_peers", "down peers 0 -> 1")
    fewer = ("fewer_stores_up", f"stores up {up:g} -> {up - 1:g}")
    assert action.abort_if(before, _with(before, stores_up=up - 1)) == fewer


# what a probe tells


@each
def test_a_probe_tells_of_each_call_whether_it_was_made(case: Case) -> None:
    run = done_well(case)
    for change in run.changes:
        assert run.action.probe(change.do, run.before) == "not_started"
        assert run.action.probe(change.do, run.after) == "applied"
        if change.undo:
            assert run.action.probe(change.undo, run.after) == "not_started"
            assert run.action.probe(change.undo, run.before) == "applied"


@each
def test_a_foreign_call_cannot_be_told(case: Case) -> None:
    run = done_well(case)
    foreign = [Call(name="other"), *(Call(name=n) for n in sorted(set(calls.CALLS) - run.action.may_call))]
    for call in foreign:
        assert run.action.probe(call, run.before) == run.action.probe(call, run.after) == "cant_tell"
    for change in run.changes:  # of another store, another region
        other = change.do.model_copy(update={"args": {name: "999999" for name in change.do.args}})
        assert not change.do.args or run.action.probe(other, run.after) != "applied"


numbers = st.sampled_from([0, 1, 3, 80, 2**63 - 1])
rates = st.sampled_from([0.0, 1.0, 1e12, nan, inf, -1.0])


@st.composite
def strange(draw: st.DrawFn, facts: Facts) -> Facts:
    """Facts as no cluster should give them: emptied, doubled in part, zeroed, not a number."""
    changed: dict[str, Any] = {}
    stores = [s for s in facts.stores if draw(st.integers(0, 3))]
    states = ("Up", "Disconnected", "Down", "Offline", "Tombstone")
    changed["stores"] = tuple(
        s.model_copy(
            update={
                "state": draw(st.sampled_from(states)),
                "leader_count": draw(numbers),
                "region_count": draw(numbers),
                "capacity_bytes": draw(numbers),
                "available_bytes": draw(numbers),
                "leader_weight": draw(rates),
                "region_weight": draw(rates),
                "written_bytes_per_s": draw(rates),
                "last_heartbeat_ms": draw(numbers),
            }
        )
        if draw(st.booleans())
        else s
        for s in [*stores, *draw(st.lists(st.sampled_from([store(77), tombstone(78)]), max_size=2, unique_by=id))]
    )
    changed["regions"] = tuple(_strange_region(draw, r) for r in facts.regions if draw(st.integers(0, 3)))
    changed["troubled"] = tuple(_strange_region(draw, r) for r in facts.regions if draw(st.booleans()))
    ids = [r.id for r in facts.regions] or [180]
    changed["operators"] = tuple(
        OperatorFacts(
            region_id=draw(st.sampled_from([*ids, 7])), desc=draw(st.sampled_from(["admin-x", "", "balance"]))
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    changed["schedulers"] = draw(st.sampled_from([facts.schedulers, ()]))
    changed["evicting"] = draw(st.sampled_from([(), tuple(s.id for s in facts.stores)]))
    changed["pd_leader_age_s"] = draw(rates)
    changed["low_space_ratio"] = draw(rates)
    changed["max_replicas"] = draw(st.sampled_from([0, 1, 3, 5]))
    changed["leader_schedule_limit"] = draw(st.sampled_from([0, 4]))
    changed["region_schedule_limit"] = draw(st.sampled_from([0, 2048]))
    changed["regions_total"] = draw(numbers)
    return facts.model_copy(update=changed)


def _strange_region(draw: st.DrawFn, found: RegionFacts) -> RegionFacts:
    bare = region(found.id, 1)
    return draw(
        st.sampled_from(
            [
                found,
                bare.model_copy(update={"peers": (), "leader_store_id": 0}),
                found.model_copy(update={"leader_store_id": 0, "version": 0, "conf_ver": 0}),
                found.model_copy(
                    update={"down_store_ids": (999,), "pending_store_ids": (1, 2), "written_bytes": 2**62}
                ),
                found.model_copy(update={"peers": tuple(p.model_copy(update={"role": "?"}) for p in found.peers)}),
            ]
        )
    )


@each
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nothing_that_facts_may_say_makes_it_crash(case: Case, data: st.DataObject) -> None:
    run = done_well(case)
    facts = data.draw(strange(data.draw(st.sampled_from([run.before, run.after]))))
    for objection in objections(run.action, facts, run.limits):
        assert CODE.fullmatch(objection.code)
        assert objection.text
        assert objection.kind != "wait" or objection.until_ms > run.limits.now_ms
    for change in (*run.changes, *run.action.plan(facts)):
        for call in (change.do, change.undo):
            assert call is None or run.action.probe(call, facts) in FINDINGS
    run.action.relies_on(facts)
    run.action.reach(facts)
    run.action.bounds(facts)
    run.action.snapshot(facts)
    drifted(plan_of(run.action, run.before), facts, run.action)
    assert isinstance(run.action.is_done(facts), bool)
    sample = Sample(at_ms=3, figures=run.action.figures(facts))
    before = Sample(at_ms=1, figures=run.action.figures(run.before))
    assert run.action.verify(before, (sample,) * 3) in ("succeeded", "no_better", "worse", "unknown")


@each
def test_nothing_is_promised_of_facts_that_say_nothing(case: Case) -> None:
    """Of a cluster that lists no store and no region, `not_started` would send it again."""
    run = done_well(case)
    lists = dict.fromkeys(("stores", "regions", "schedulers", "operators", "newest_operators"), ())
    empty = run.before.model_copy(update={**lists, "pd_leader": "", "pd_leader_age_s": 1.0})
    for change in run.changes:
        for call in (change.do, change.undo):
            assert call is None or run.action.probe(call, empty) in ("cant_tell", "under_way")
    assert objections(run.action, empty, run.limits)
