"""The checkers can fail: of a history that is in order, each is broken in one way, and the right invariant says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from schemas import events as e
from schemas.processors import Record
from tests.simulation.invariants import CHECKERS, History, judge
from tests.spec.test_execution_recovery import EVICT
from tests.spec.world import CLUSTER, SMALL, World, live

EVICTION = "evict-leader-scheduler-4"


@cache
def in_order() -> History:
    """One repair from its proposal to its end, as it should be."""

    async def spec(world: World) -> None:
        world.approve(await world.asks("evict_store_leaders", **EVICT))
        await world.closed()
        await world.passes(60)
        kept.append(replace(world.history(), ended=True))

    kept: list[History] = []
    live(spec, **SMALL)
    return kept[0]


def changed(kind: type[e.Event], change: Callable[[Any], Any], *, nth: int = 0) -> Callable[[History], History]:
    """The event of this kind becomes what `change` makes of it; None: it is gone."""

    def tamper(history: History) -> History:
        found = [r for r in history.records if isinstance(r.event, kind)][nth]
        made = change(found.event)
        records = [r if r is not found else made and replace(r, event=made) for r in history.records]
        return replace(history, records=[r for r in records if r is not None])

    return tamper


def gone(kind: type[e.Event], *, nth: int = 0) -> Callable[[History], History]:
    return changed(kind, lambda event: None, nth=nth)


def updated(kind: type[e.Event], **fields: Any) -> Callable[[History], History]:
    return changed(kind, lambda event: event.model_copy(update=fields))


def moved(kind: type[e.Event], by_ms: int, *, nth: int = 0) -> Callable[[History], History]:
    """It was appended earlier or later than it was."""

    def tamper(history: History) -> History:
        found = [r for r in history.records if isinstance(r.event, kind)][nth]
        return replace(
            history, records=[replace(r, at_ms=r.at_ms + by_ms) if r is found else r for r in history.records]
        )

    return tamper


def more(
    topic: str, at: type[e.Event], make: Callable[[Any], e.Event], *, earlier_ms: int = 0
) -> Callable[[History], History]:
    """After the event of this kind stands one more."""

    def tamper(history: History) -> History:
        records: list[Record] = []
        for record in history.records:
            records.append(record)
            if isinstance(record.event, at):
                at_ms = record.at_ms - earlier_ms
                records.append(replace(record, topic=topic, offset=10_000, at_ms=at_ms, event=make(record.event)))
        return replace(history, records=records)

    return tamper


def said(kind: type[e.Event], by_ms: int) -> Callable[[History], History]:
    """Its writer's clock read so much later when it was decided."""

    def tamper(history: History) -> History:
        records = [
            replace(r, head=r.head.model_copy(update={"at_ms": r.head.at_ms + by_ms}))
            if isinstance(r.event, kind)
            else r
            for r in history.records
        ]
        return replace(history, records=records)

    return tamper


def call(number: int, **fields: Any) -> Callable[[History], History]:
    """The nth write of ours was another."""

    def tamper(history: History) -> History:
        calls = list(history.calls[CLUSTER])
        at = [i for i, c in enumerate(calls) if c.method != "GET"][number]
        calls[at] = replace(calls[at], **fields)
        return replace(history, calls={CLUSTER: calls})

    return tamper


def call_again(history: History) -> History:
    calls: Sequence[Any] = history.calls[CLUSTER]
    return replace(history, calls={CLUSTER: [*calls, *(c for c in calls if c.method == "POST")]})


def freeze(event: e.PolicyAdopted) -> e.Event:
    return e.Frozen(cluster_id="*", by="anna", reason="spec")


def halt(event: e.StepTaken) -> e.Event:
    return e.Halted(cluster_id="*", by="anna", reason="spec")


def of_another_machine(looked: e.Looked) -> e.Looked:
    stores = [x.model_copy(update={"address": "10.9.9.9:20160"}) for x in looked.facts.stores]
    return looked.model_copy(update={"facts": looked.facts.model_copy(update={"stores": tuple(stores)})})


BROKEN: dict[str, tuple[str, Callable[[History], History]]] = {
    "claimed while another is open": (
        "ONE_AT_A_TIME",
        more("outcomes", e.Looked, lambda looked: claim_of_another()),
    ),
    "nobody approved": ("NO_UNAPPROVED_EFFECT", updated(e.Claimed, approvals=())),
    "another plan": ("NO_UNAPPROVED_EFFECT", updated(e.Claimed, digest="0" * 64)),
    "approved for another": ("NO_UNAPPROVED_EFFECT", updated(e.Claimed, proposed_by="anna")),
    "a rehearsal": ("NO_UNAPPROVED_EFFECT", updated(e.Claimed, mode="dry_run")),
    "a lower tier than was asked": ("NO_UNAPPROVED_EFFECT", updated(e.Claimed, tier="LOW", approvals=())),
    "the approval has expired": ("NO_UNAPPROVED_EFFECT", moved(e.StepIntended, 3_600_000)),
    "no claim": ("NO_UNAPPROVED_EFFECT", gone(e.Claimed)),
    "no intent": ("CLAIM_BEFORE_EFFECT", gone(e.StepIntended)),
    "the intent came after": ("CLAIM_BEFORE_EFFECT", moved(e.StepIntended, 1_000)),
    "its window had ended": ("CLAIM_BEFORE_EFFECT", moved(e.StepIntended, -60_000)),
    "sent after the conclusion": ("CLAIM_BEFORE_EFFECT", moved(e.Concluded, -90_000)),
    "another path": ("CLAIM_BEFORE_EFFECT", call(0, path="/pd/api/v1/stores/remove-tombstone")),
    "another query": ("CLAIM_BEFORE_EFFECT", call(0, query="type=leader")),
    "another body": ("CLAIM_BEFORE_EFFECT", call(0, body=b'{"name": "evict-leader-scheduler", "store_id": 1}')),
    "sent twice": ("CLAIM_BEFORE_EFFECT", call_again),
    "intended again without a look": ("LOOK_BEFORE_REPEAT", gone(e.StepTaken)),
    "what becomes of it was not known": ("LOOK_BEFORE_REPEAT", updated(e.StepTaken, answer="may_have_run")),
    "an undo that nobody saw hold": ("NOTHING_LEFT_BEHIND", gone(e.ChangeUndone, nth=1)),
    "another undo on record": ("NOTHING_LEFT_BEHIND", updated(e.StepIntended, undo=None)),
    "still there": ("NOTHING_LEFT_BEHIND", lambda history: replace(history, left={CLUSTER: [EVICTION]})),
    "somebody else's was removed": ("NOTHING_LEFT_BEHIND", call(0, caller_id="", at=0.0)),
    "never closed": ("EVERYTHING_ENDS", gone(e.RemediationClosed)),
    "never concluded": ("EVERYTHING_ENDS", gone(e.Concluded)),
    "one is missing": ("EVERYTHING_ON_RECORD", gone(e.Sampled)),
    "edited": ("EVERYTHING_ON_RECORD", updated(e.Sampled, attempt=7)),
    "an input without an answer": ("EVERYTHING_ON_RECORD", gone(e.ExecutionStarted)),
    "not in the audit": ("EVERYTHING_ON_RECORD", lambda history: replace(history, audited=())),
    "intended under a freeze": ("STOP_WINS", more("controls", e.PolicyAdopted, freeze, earlier_ms=20_000)),
    "an undo under a halt": ("STOP_WINS", more("controls", e.StepTaken, halt)),
    "an alert in no incident": (
        "OBSERVE_SURVIVES",
        lambda history: replace(
            more("signals", e.PolicyAdopted, lambda _: an_alert())(history), roles=("incidents", "tickets")
        ),
    ),
    "judged by nobody": ("UNKNOWN_IS_NO", gone(e.ProposalValidated)),
    "under no policy": ("UNKNOWN_IS_NO", gone(e.PolicyAdopted)),
    "without a look": ("UNKNOWN_IS_NO", gone(e.Looked)),
    "on another machine than was judged": ("UNKNOWN_IS_NO", changed(e.Looked, of_another_machine)),
    "on an old look": ("UNKNOWN_IS_NO", said(e.Looked, -20_000)),
}


def answer_lost(*calls: dict[str, Any]) -> History:
    """The only step may have run, was looked for and not found, and what it was for was given up; and what else there
    was of calls."""
    history = changed(e.StepTaken, lambda taken: taken.model_copy(update={"answer": "may_have_run"}))(in_order())
    (first, *_) = [c for c in history.calls[CLUSTER] if c.method == "POST"]
    found = next(r for r in history.records if isinstance(r.event, e.StepTaken))
    ended = next(x for _, x in history.of(e.Concluded)).model_copy(update={"outcome": "not_started"})
    probed = e.StepProbed(
        cluster_id=CLUSTER, remediation_id=ended.remediation_id, attempt=1, step=1, finding="not_started"
    )
    kept = [r for r in history.records if r.topic != "outcomes" or r.offset <= found.offset]
    at_ms = found.at_ms + 60_000
    more = [replace(found, offset=10_000 + n, at_ms=at_ms, event=x) for n, x in enumerate((probed, ended))]
    made = [replace(first, at=first.at + 1, **given) for given in calls]
    return replace(history, records=[*kept, *more], calls={CLUSTER: [first, *made]})


def claim_of_another() -> e.Event:
    (claimed,) = (r.event for r in in_order().records if isinstance(r.event, e.Claimed))
    return claimed.model_copy(update={"remediation_id": "R-2"})


def an_alert() -> e.Event:
    return e.AlertFired(
        cluster_id=CLUSTER,
        name="TiKV_down",
        fingerprint="f",
        starts_at_ms=0,
        level="critical",
        labels={},
        annotations={},
        source="spec",
    )


def test_a_history_in_order_breaks_nothing() -> None:
    assert judge(in_order()) == []
    assert in_order().writes != []


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(name: str) -> None:
    invariant, tamper = BROKEN[name]
    assert invariant in {found for found, _ in judge(tamper(in_order()))}


def test_what_somebody_has_taken_back_before_it_was_looked_for_is_not_owed() -> None:
    """Seed 2000387: the answer to an eviction was lost, and a person with pd-ctl removed it before the probe."""

    def owed(history: History) -> bool:
        return any("is still owed" in text for text in CHECKERS["NOTHING_LEFT_BEHIND"](history))

    by_hand = {"method": "DELETE", "path": f"/pd/api/v1/schedulers/{EVICTION}", "body": b"", "caller_id": "pd-ctl"}
    assert owed(answer_lost())
    assert not owed(answer_lost(by_hand))


def test_every_checker_can_fail() -> None:
    assert {invariant for invariant, _ in BROKEN.values()} == set(CHECKERS)
