"""What an executor may meet between a claim and its end that no plan foresaw: another build's action, a reader's
defect, facts that no broker takes, a person who has set it otherwise meanwhile, an effect that comes late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from actions.catalogue import CATALOGUE
from actions.transfer_region_leader import TransferRegionLeader
from bootstrap.roles import Hands
from executors.protocol import Look as LookMove
from executors.protocol import Seen, next_move
from infra.pd_parse import OPERATORS_MAX, TEXT_MAX
from pdsim.faults import ConnectionRefused
from schemas import events as e
from schemas.facts import Facts, FactsReader, Look, OperatorFacts
from schemas.values import Sample
from tests.actions.clusters import NOW, healthy
from tests.spec.test_execution_fold import ABOUT, after
from tests.spec.test_execution_recovery import EVICT
from tests.spec.test_protocol_properties import LIVE, RULES, claimed
from tests.spec.world import SMALL, OtherHands, World, live

LIMIT: dict[str, Any] = {"store_id": 4, "limit_type": "remove-peer", "per_minute": 15}


# -- an action of another build, in a rolling upgrade or after one that was rolled back ------------------------------


OLDER = pytest.mark.parametrize(
    ("older", "code", "names"),
    [("unknown", "unknown_action", "evict_store_leaders"), ("other parameters", "bad_parameters", "store_ids")],
    ids=["type", "params"],
)


@OLDER
def test_an_action_that_this_executor_does_not_know_is_refused_with_a_code(
    monkeypatch: pytest.MonkeyPatch, older: str, code: str, names: str
) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        await world.kill("execute")
        world.approve(ask)
        await world.until(lambda: world.one(e.ExecutionAuthorized))
        with monkeypatch.context() as build:
            _older(build, older)
            world.start("execute")
            refused = await world.until(lambda: world.one(e.ClaimRefused))
            assert (refused.code, names in refused.text) == (code, True)
            closed = await world.closed()
        assert (closed.code, world.applied()) == (f"claim_{code}", [])

    live(spec, off_record=True, **SMALL)


@OLDER
def test_what_has_begun_and_is_not_known_to_this_executor_is_handed_to_a_person_with_what_is_owed(
    monkeypatch: pytest.MonkeyPatch, older: str, code: str, names: str
) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        taken = await world.until(lambda: world.one(e.StepTaken))
        await world.kill("execute")
        with monkeypatch.context() as build:
            _older(build, older)
            world.start("execute")
            concluded = await world.concluded()
        assert (concluded.outcome, concluded.code, concluded.attempt) == ("unknown", code, 2)
        assert concluded.text.startswith("this build of the executor can't go on with it: ")
        assert names in concluded.text
        assert [change.undo and change.undo.name for change in concluded.owed] == ["remove_evict_leader"]
        assert (taken.answer, len(world.applied())) == ("accepted", 1)

    live(spec, off_record=True, **SMALL)


def test_what_has_not_begun_and_is_not_known_to_this_executor_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.faults.add(ConnectionRefused(), times=None)
        world.approve(ask)
        await world.until(lambda: world.one(e.Claimed))
        await world.kill("execute")
        with monkeypatch.context() as build:
            _older(build, "unknown")
            world.start("execute")
            concluded = await world.concluded()
        assert (concluded.outcome, concluded.code, concluded.owed) == ("not_started", "unknown_action", ())

    live(spec, off_record=True, **SMALL)


def _older(build: pytest.MonkeyPatch, how: str) -> None:
    if how == "unknown":
        build.delitem(CATALOGUE, "evict_store_leaders")
    else:
        build.setitem(CATALOGUE, "evict_store_leaders", CATALOGUE["remove_tombstones"])


# -- a reader's defect, and facts that no broker takes ---------------------------------------------------------------


@dataclass
class Odd:
    inner: FactsReader
    how: str = ""

    async def facts(self, cluster_id: str, look: Look = Look()) -> Facts:  # noqa: B008
        if self.how == "defective":
            raise KeyError("what PD has never said before")
        facts = await self.inner.facts(cluster_id, look)
        if self.how != "wordy":
            return facts
        long: dict[str, Any] = {"desc": "d" * TEXT_MAX, "brief": "b" * TEXT_MAX}
        return facts.model_copy(
            update={"operators": tuple(OperatorFacts(region_id=10_000 + n, **long) for n in range(OPERATORS_MAX))}
        )


class OddReader(OtherHands):
    reader: Odd

    def changed(self, made: Hands) -> dict[str, Any]:
        self.reader = Odd(made.reader)
        return {"reader": self.reader}


def test_an_undo_that_is_due_is_sent_although_the_reader_fails() -> None:
    """As it is where PD can't be read."""

    async def spec(world: Any) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken))
        world.reader.how = "defective"
        await world.until(lambda: [w for w in world.applied() if w.startswith("DELETE")], 1000)

    live(spec, OddReader, **SMALL)


def test_a_reader_that_fails_begins_nothing_and_says_so() -> None:
    async def spec(world: Any) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.reader.how = "defective"
        world.approve(ask)
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", "facts_failed")
        assert concluded.text == "PD gives no facts: KeyError"

    live(spec, OddReader, **SMALL)


def test_nothing_is_begun_on_facts_that_no_broker_would_take() -> None:
    """Between the validation and the claim, which may be hours, PD comes to show more."""

    async def spec(world: Any) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.reader.how = "wordy"
        world.approve(ask)
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code, concluded.facts) == ("not_started", "pd_too_large", None)
        assert concluded.text.startswith("Looked has 1")
        assert world.applied() == []

    live(spec, OddReader, **SMALL)


# -- people who are faster -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tried", [False, True], ids=["the first undo", "one that was tried in vain"])
def test_a_limit_that_a_person_has_set_meanwhile_is_not_overwritten_by_the_undo(tried: bool) -> None:
    async def spec(world: World) -> None:
        limit = world.pd.stores[4].limits["remove-peer"]
        limit.per_minute = 22.5
        ask = await world.asks("set_store_limit", **LIMIT)
        await world.passes(120)  # PD has settled
        world.approve(ask)
        await world.until(lambda: world.one(e.StepTaken))
        if tried:
            world.faults.add(ConnectionRefused(), times=None)  # for us alone
            world.orders(e.UndoAsked, ask)
            await world.until(lambda: [t for t in world.found(e.StepTaken) if t.answer == "never_sent"])
            await world.passes(300)
            limit.per_minute = 50.0  # the person who was told how to do it by hand, and knows better now
            world.faults.clear()
        else:
            limit.per_minute = 50.0
            await world.passes(20)
            world.orders(e.UndoAsked, ask)
        await world.closed()
        assert limit.per_minute == 50.0, f"{world.applied()}"

    live(spec, **SMALL)


def test_what_a_person_has_cancelled_before_it_has_looked_ends_as_cancelled() -> None:
    async def spec(world: World) -> None:
        ask = await world.asks("evict_store_leaders", **EVICT)
        world.faults.add(ConnectionRefused(), times=None)
        world.approve(ask)
        await world.until(lambda: world.one(e.Claimed))
        world.orders(e.CancelAsked, ask)
        aborting = await world.until(lambda: world.one(e.ExecutionAborting))
        concluded = await world.concluded()
        assert (aborting.code, concluded.outcome, concluded.code) == ("cancelled", "not_started", "cancelled")

    live(spec, **SMALL)


# -- what comes late -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold_s", [0, 60])
@pytest.mark.parametrize("moved", [False, True])
def test_an_effect_that_comes_late_is_found_whatever_was_done_before_it(hold_s: int, moved: bool) -> None:
    """A leader transfer was given up, was not to be seen, and takes effect while a hold is being taken back."""
    action = TransferRegionLeader(region_id=180, to_store_id=2, hold_s=hold_s)
    one = claimed(action, healthy(), "on")
    events: list[e.Event] = [
        e.Looked(**ABOUT, attempt=1, facts=healthy(), before=Sample(at_ms=NOW, figures=action.figures(healthy())))
    ]
    for number, change in enumerate(one.plan.changes):
        said: dict[str, Any] = {"step": number + 1, "change": number, "kind": "do", "call": change.do}
        events += [
            e.StepIntended(**ABOUT, attempt=1, **said, undo=change.undo, keep_s=change.keep_s, window_s=15),
            e.StepTaken(**ABOUT, attempt=1, step=number + 1, answer="accepted" if change.keep_s else "may_have_run"),
        ]
    events.append(e.StepProbed(**ABOUT, attempt=1, step=len(one.plan.changes), finding="not_started"))
    events.append(e.ExecutionAborting(**ABOUT, attempt=1, code="frozen", text="t"))
    if hold_s:
        events.append(e.ChangeUndone(**ABOUT, attempt=1, change=0, settled=True))
    claim = after(one, *events).claim
    assert claim is not None
    now_ms = NOW + 700_000
    regions = tuple(r.model_copy(update={"leader_store_id": 2}) for r in healthy().regions)
    facts = healthy(regions=regions) if moved else healthy()
    assert next_move(claim, Seen(controls=LIVE), now_ms, RULES) == LookMove()
    move: Any = next_move(claim, Seen(controls=LIVE, facts=facts, looked_at_ms=now_ms, ended_ms=now_ms), now_ms, RULES)
    (event,) = move.events
    if moved:
        assert isinstance(event, e.StepProbed)
        assert (event.step, event.finding, event.text) == (1 + (hold_s > 0), "applied", "it has taken effect late")
    else:
        assert isinstance(event, e.Concluded)
        assert event.code == "frozen"
