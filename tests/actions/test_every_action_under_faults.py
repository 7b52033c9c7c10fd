"""Every action under every fault of the kit: it ends as is right for the fault, and leaves nothing of ours behind."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from actions.catalogue import CATALOGUE
from pdsim.kit import ANSWER, GROUPS, KIT, UNDO
from schemas.events import Outcome
from tests.actions.scenario import SCENARIOS
from tests.actions.under_faults import PAGE, Cell, cell, page

CODE = re.compile(r"[a-z][a-z0-9_]*")
NAMES = sorted(set(CATALOGUE) & set(SCENARIOS))
WELL: frozenset[Outcome] = frozenset({"succeeded"})
NO_USE: frozenset[Outcome] = frozenset({"succeeded", "no_better"})
NOT_BEGUN: frozenset[Outcome] = frozenset({"not_started"})

# How an action may end under a fault, unless its scenario says why it is unlike the others.
RIGHT: Mapping[str, frozenset[Outcome]] = {
    **{name: WELL for name, fault in KIT.items() if fault.group == ANSWER},  # once: looked for, and sent again or not
    **{name: NO_USE for name, fault in KIT.items() if fault.group == UNDO},
    "connect refused for good": NOT_BEGUN,
    "refused": frozenset({"failed_without_effect"}),
    "leader change before the call": NOT_BEGUN,  # it had no effect; and a young leader is none to begin under
    "leader change mid-operation": NO_USE,
    "leader killed mid-operation": NO_USE,
    "PD restarts mid-operation": NO_USE,
    "fresh leader": NOT_BEGUN,
    "PD restarted": NOT_BEGUN,
    "slow PD": WELL,
    "half answers": WELL,
    "200 for a missing region": NO_USE,
    "another cluster answers": NOT_BEGUN,
    "halted": NOT_BEGUN,
    "operator refused": frozenset({"failed_without_effect", "not_started", "succeeded"}),  # or over when sent again
    "operator replaced": frozenset({"no_better"}),
    "operator cancelled": frozenset({"no_better"}),
    "operator timed out": frozenset({"no_better"}),
    "operator stuck": frozenset({"no_better", "failed_partly"}),  # partly, where nobody can take it back
    "the store down": NOT_BEGUN,
    "another store down": NOT_BEGUN,
    "the store disconnected mid-operation": frozenset({"worse", "succeeded"}),  # or over before PD has noticed
    "another disconnected mid-operation": frozenset({"worse", "succeeded"}),
    "the store slow": NOT_BEGUN,  # PD's evict-slow-store-scheduler is at it
    "another store slow": NOT_BEGUN,
    "the store low on space": frozenset({"not_started", "succeeded"}),
    "another low on space mid-operation": NO_USE | {"worse"},
    "the store tombstoned before": NOT_BEGUN,
    "the store tombstoned under us": frozenset({"worse", "no_better"}),
    "somebody does the same before our look": NOT_BEGUN,
    "somebody does the same under our call": frozenset({"succeeded", "failed_without_effect"}),
    "somebody takes it back": frozenset({"no_better"}),
    "another store's leaders evicted": NOT_BEGUN,
    "limits reset": NO_USE,
}


def right_of(name: str, fault: str) -> frozenset[str]:
    unlike = SCENARIOS[name].unlike.get(fault)
    return frozenset({unlike[0]}) if unlike else frozenset(RIGHT[fault])


def wrong_with(ended: Cell, right: frozenset[str], *, unlike: bool = False) -> list[str]:
    """What is not as it should be, in words. Of who is `unlike` the others it is said why the outcome is right."""
    if not ended.outcome:
        return []
    said = [] if ended.outcome in right else [f"it ended {ended}, right is {' or '.join(sorted(right))}: {ended.text}"]
    if ended.outcome not in WELL and not (CODE.fullmatch(ended.code) and (ended.text or ended.code == ended.outcome)):
        said.append(f"it ended {ended.outcome} without a reason in code and words: {ended.code!r} {ended.text!r}")
    if ended.left and not (ended.outcome == "unknown" and ended.owed):
        said.append(f"left behind: {', '.join(ended.left)}")
    return said if unlike else [*said, *ended.untrue]


@pytest.mark.parametrize("name", NAMES)
def test_all_goes_well_where_there_is_no_fault(name: str) -> None:
    assert wrong_with(cell(name), frozenset(WELL)) == []
    assert cell(name).outcome == "succeeded"


@pytest.mark.parametrize("fault", KIT)
@pytest.mark.parametrize("name", NAMES)
def test_it_ends_as_is_right_and_leaves_nothing_of_ours(name: str, fault: str) -> None:
    unlike = fault in SCENARIOS[name].unlike
    assert wrong_with(cell(name, fault), right_of(name, fault), unlike=unlike) == []


def test_every_fault_has_its_right_outcomes() -> None:
    assert set(RIGHT) == set(KIT)
    assert {fault.group for fault in KIT.values()} == set(GROUPS)


def test_an_action_that_is_unlike_the_others_says_why_and_is() -> None:
    for name in NAMES:
        for fault, (outcome, because) in SCENARIOS[name].unlike.items():
            assert because, f"{name}: why is it unlike the others under {fault!r}?"
            assert outcome not in RIGHT[fault], f"{name} under {fault!r} is like the others: say nothing of it"


@pytest.mark.parametrize("fault", KIT)
def test_every_fault_befalls_some_action(fault: str) -> None:
    assert any(cell(name, fault).outcome for name in NAMES)


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Cell("succeeded", "succeeded"), ""),
        (Cell(), ""),
        (
            Cell("worse", "more_down_peers", "down peers 0 -> 1"),
            "it ended worse: `more_down_peers`, right is succeeded",
        ),
        (Cell("no_better", ""), "without a reason"),
        (Cell("succeeded", "succeeded", left=("evicted 4",)), "left behind: evicted 4"),
        (Cell("unknown", "cant_tell", "", owed=1, left=("evicted 4",)), "it ended unknown"),
        (Cell("succeeded", "succeeded", untrue=("it is not",)), "it is not"),
    ],
    ids=str,
)
def test_what_would_be_wrong_is_seen(ended: Cell, said: str) -> None:
    found = wrong_with(ended, frozenset(WELL))
    assert (found == []) == (said == "")
    assert said in "; ".join(found)


def test_the_page_shows_how_they_end() -> None:
    assert PAGE.read_text() == page(), "not fresh: python -m tests.actions.under_faults"
