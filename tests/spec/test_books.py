"""The books of one partition: drafts change nothing, poison stops acting, restored books are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from infra.runners.books import Books, Raw
from schemas import events as e
from schemas.chain import BrokenChain, Stamped, edge
from schemas.controls import Controls
from schemas.processors import Record, Tick
from schemas.values import Head
from schemas.wire import frame
from streams.remediations import Acting, Remediations, Settings

LIVE = Controls(live=True)


class Rules(Remediations):
    """The real ledger, with one bug: it chokes on a reason."""

    def decide(self, state: Acting, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        if isinstance(given, Record) and isinstance(given.event, e.NothingProposed):
            self.seen.append(controls)
            if given.event.reason == "choke":
                raise ValueError("a bug")
        return super().decide(state, given, now_ms, controls)

    seen: list[Controls] = []  # noqa: RUF012


def books() -> Books[Acting]:
    Rules.seen.clear()
    return Books("remediations", "remediations", 0, 1, Rules(Settings("test", {})))


def nothing(rid: str, reason: str = "", cluster_id: str = "c") -> e.NothingProposed:
    return e.NothingProposed(
        cluster_id=cluster_id, incident_id="I", remediation_id=rid, code="none", reason=reason, by="playbook"
    )


def raw(offset: int, event: e.Event, topic: str = "proposals") -> Raw:
    body = frame(type(event), edge(event, f"{topic}{offset}", 0).body)
    return Raw(topic, 0, offset, 1000 + offset, event.cluster_id.encode(), body)


def committed(kept: Books[Acting], *given: Raw) -> list[Stamped]:
    draft = kept.draft(LIVE)
    for one in given:
        draft.take(one)
    draft.seal()
    kept.accept(draft)
    return draft.stamped


def restored(*stamped: Stamped) -> Books[Acting]:
    made = books()
    for offset, one in enumerate(stamped):
        value = frame(type(one.event), one.body)
        made.restore(Raw("remediations", 0, offset, 2000 + offset, one.event.cluster_id.encode(), value))
    return made


def test_a_draft_that_is_not_committed_changes_nothing() -> None:
    kept = books()
    draft = kept.draft(LIVE)
    draft.take(raw(0, nothing("R-1")))
    draft.seal()
    assert draft.stamped
    assert (kept.states, kept.links, kept.positions) == ({}, {}, {})


def test_every_input_has_its_answer() -> None:
    kept = books()
    said = committed(kept, raw(0, nothing("R-1")), raw(1, nothing("R-1")), raw(2, nothing("R-1")))
    assert [type(s.event) for s in said] == [e.RemediationClosed, e.InputIgnored]
    ignored = said[1].event
    assert isinstance(ignored, e.InputIgnored)
    assert [i.cause.offset for i in ignored.inputs] == [1, 2]


def test_an_input_that_makes_the_decider_raise_costs_no_other_its_answer() -> None:
    kept = books()
    draft = kept.draft(LIVE)
    for one in (raw(0, nothing("R-1", "choke")), raw(1, nothing("R-2"))):
        draft.take(one)
    draft.seal()
    assert [type(s.event) for s in draft.stamped] == [e.InputRejected, e.RemediationClosed]
    letter = draft.dead[0].event
    assert isinstance(letter, e.DeadLetter)
    assert (letter.code, letter.offset, "a bug" in letter.reason) == ("impossible", 0, True)


def test_it_stops_that_clusters_acting_and_no_other_ones_also_after_a_restart() -> None:
    kept = books()
    said = committed(kept, raw(0, nothing("R-1", "choke")))
    for one in (kept, restored(*said)):
        Rules.seen.clear()
        committed(one, raw(1, nothing("R-2")), raw(2, nothing("R-3", cluster_id="d")))
        of_c, of_d = Rules.seen
        assert of_c.refuses_forward("c") is not None
        assert of_d.refuses_forward("d") is None


@pytest.mark.parametrize("topic", ["approvals", "proposals"])
def test_an_unreadable_approval_stops_the_whole_partition_and_other_junk_does_not(topic: str) -> None:
    kept = books()
    said = committed(kept, Raw(topic, 0, 0, 1000, b"c", b"junk"))
    for one in (kept, restored(*said)):
        Rules.seen.clear()
        committed(one, raw(1, nothing("R-2", cluster_id="d")))
        assert (Rules.seen[0].refuses_forward("d") is not None) == (topic == "approvals")


def test_restored_books_are_those_that_were() -> None:
    kept = books()
    said = [
        *committed(kept, raw(0, nothing("R-1")), raw(1, nothing("R-1"))),
        *committed(kept, raw(2, nothing("R-2", "choke")), raw(3, nothing("R-3", cluster_id="d"))),
        *committed(kept, Raw("approvals", 0, 0, 1000, b"c", b"junk")),
    ]
    again = restored(*said)
    assert again.states == kept.states
    assert again.links == kept.links
    assert again.positions == kept.positions == {"proposals": 4, "approvals": 1}
    assert again.poisoned == kept.poisoned


class ChokesOnTime(Rules):
    """Every cluster is due at once; `c` chokes on it."""

    def wakes_at(self, state: Acting) -> int | None:
        return 0

    def decide(self, state: Acting, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        if isinstance(given, Tick):
            self.ticked.append(given.cluster_id)
            if given.cluster_id == "c":
                raise ValueError("a bug")
            return ()
        return super().decide(state, given, now_ms, controls)

    ticked: list[str] = []  # noqa: RUF012


def test_a_cluster_whose_time_makes_the_decider_raise_stops_no_other_and_is_not_asked_for_ever() -> None:
    kept = Books("remediations", "remediations", 0, 1, ChokesOnTime(Settings("test", {})))
    committed(kept, raw(0, nothing("R-1")), raw(1, nothing("R-2", cluster_id="d")))
    rejected = []
    for now_ms in (10_000, 20_000, 30_000):
        draft = kept.draft(LIVE, now_ms)
        for cluster_id in kept.due(now_ms):
            draft.tick(cluster_id, now_ms)
        kept.accept(draft)
        rejected += [s.event for s in draft.stamped]
    assert [(type(x), x.cluster_id) for x in rejected] == [(e.InputRejected, "c")]
    assert ChokesOnTime.ticked.count("d") == 3
    assert kept.draft(LIVE)._controls("c").refuses_forward("c") is not None


def test_a_record_that_is_missing_from_the_log_is_noticed() -> None:
    kept = books()
    first, second, third = (committed(kept, raw(n, nothing(f"R-{n}")))[0] for n in range(3))
    with pytest.raises(BrokenChain):
        restored(first, third)
    with pytest.raises(BrokenChain):
        restored(first, second, second)


def test_a_ledger_writes_only_what_is_its_own() -> None:
    kept = books()
    stray: Any = e.Frozen(cluster_id="c", by="anna", reason="t")
    with pytest.raises(AssertionError):
        kept.draft(LIVE).add((stray,), None, 0)


def test_a_time_that_runs_backwards_is_not_followed() -> None:
    kept = books()
    late = replace(raw(0, nothing("R-1")), at_ms=9_000)
    early = replace(raw(1, nothing("R-2")), at_ms=1_000)
    heads: list[Head] = [s.head for s in (*committed(kept, late), *committed(kept, early))]
    assert [h.at_ms for h in heads] == [9_000, 9_000]
