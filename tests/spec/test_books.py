"""The books of one partition: drafts change nothing, poison stops acting, restored books are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from infra.runners.books import Books, Raw
from schemas import events as e
from schemas.chain import Stamped, edge
from schemas.controls import Controls, evolve
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


def lifting(scope: str, *places: str, offset: int = 0) -> Controls:
    """Live controls in which these inputs have been lifted, at this offset and the following ones."""
    held = LIVE
    for n, place in enumerate(places):
        said = e.Lifted(cluster_id=scope, by="anna", reason="t", kind="input", input=place)
        held = evolve(held, said, offset + n, 0)
    return held


def refused(kept: Books[Acting], controls: Controls, cluster_id: str = "c") -> str | None:
    found = kept.controls_of(cluster_id, controls).refuses_forward(cluster_id)
    return found and found[1]


def test_lifting_one_input_leaves_the_others_also_after_a_restart() -> None:
    kept = books()
    said = committed(kept, raw(0, nothing("R-1", "choke")), raw(1, nothing("R-2", "choke")))
    said += committed(kept, Raw("approvals", 0, 5, 1000, b"c", b"junk"))
    for one in (kept, restored(*said)):
        assert "proposals/0@1" in (refused(one, lifting("c", "proposals/0@0")) or "")
        assert "approvals/0@5" in (refused(one, lifting("c", "proposals/0@0", "proposals/0@1")) or "")
        assert "proposals/0@0" in (refused(one, lifting("*", "approvals/0@5")) or "")
        assert refused(one, lifting("*", "approvals/0@5"), "d") is None
        both = evolve(
            lifting("c", "proposals/0@0", "proposals/0@1"),
            e.Lifted(cluster_id="*", by="anna", reason="t", kind="input", input="approvals/0@5"),
            2,
            0,
        )
        assert refused(one, both) is None
        assert set(one.poisoned) == {"c", "~0"}  # it stays on record


def test_what_an_input_has_stopped_is_lifted_only_by_what_came_after_it_was_found() -> None:
    before = lifting("c", "proposals/0@0", offset=7)
    kept = books()
    draft = kept.draft(before)
    draft.take(raw(0, nothing("R-1", "choke")))
    kept.accept(draft)
    for one in (kept, restored(*draft.stamped)):
        assert refused(one, before) is not None
        assert refused(one, lifting("c", "proposals/0@0", offset=8)) is None


def test_in_the_draft_in_which_it_is_found_it_stops_what_follows() -> None:
    kept = books()
    draft = kept.draft(lifting("c", "proposals/0@0"))
    draft.take(raw(0, nothing("R-1", "choke")))
    draft.take(raw(1, nothing("R-2")))
    assert Rules.seen[-1].refuses_forward("c") is not None


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
    assert kept.controls_of("c", LIVE).refuses_forward("c") is not None


def test_a_cluster_whose_time_was_lifted_is_asked_again_and_stops_again_where_it_still_raises() -> None:
    kept = Books("remediations", "remediations", 0, 1, ChokesOnTime(Settings("test", {})))
    committed(kept, raw(0, nothing("R-1")))
    ChokesOnTime.ticked.clear()
    controls, asked = LIVE, []
    for now_ms in range(10_000, 60_000, 10_000):
        if now_ms == 30_000:
            (poison,) = kept.poisoned["c"].values()
            assert poison.place == "tick/0@10000"
            controls = lifting("c", poison.place)
            assert refused(kept, controls) is None
        draft = kept.draft(controls, now_ms)
        for cluster_id in kept.due(now_ms):
            draft.tick(cluster_id, now_ms)
        kept.accept(draft)
        asked.append(ChokesOnTime.ticked.count("c"))
    assert asked == [1, 1, 2, 2, 2]
    assert set(kept.poisoned["c"]) == {"tick/0@10000", "tick/0@30000"}
    assert "tick/0@30000" in (refused(kept, controls) or "")


class ChokesOnFolding(Rules):
    """It decides well, and can't fold the second event of what it decided about R-2."""

    def decide(self, state: Acting, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        decided = super().decide(state, given, now_ms, controls)
        return (*decided, *decided) if decided and "R-2" in str(decided) else decided

    def evolve(self, state: Acting, event: e.Event, head: Head) -> Acting:
        if isinstance(event, e.RemediationClosed) and event.remediation_id in state.closed:
            raise ValueError("a bug")
        return super().evolve(state, event, head)


def test_what_can_not_be_folded_is_rejected_and_leaves_nothing_of_its_input_behind() -> None:
    kept = Books("remediations", "remediations", 0, 1, ChokesOnFolding(Settings("test", {})))
    said = committed(kept, *(raw(n, nothing(f"R-{n}")) for n in (1, 2, 3)))
    assert [type(s.event) for s in said] == [e.RemediationClosed, e.InputRejected, e.RemediationClosed]
    assert list(kept.state("c").closed) == ["R-1", "R-3"]
    assert kept.controls_of("c", LIVE).refuses_forward("c") is not None
    again = restored(*said)
    assert (again.links, again.states) == (kept.links, kept.states)


def test_of_what_a_lane_says_all_is_taken_or_nothing() -> None:
    kept = Books("remediations", "remediations", 0, 1, ChokesOnFolding(Settings("test", {})))
    (closed,) = (s.event for s in committed(kept, raw(0, nothing("R-1"))))
    other = closed.model_copy(update={"remediation_id": "R-9"})
    draft = kept.draft(LIVE)
    with pytest.raises(ValueError, match="a bug"):
        draft.add((other, closed), None, 0)
    assert (draft.stamped, draft.states, draft.links) == ([], {}, {})


class SaysTooMuch(Rules):
    def decide(self, state: Acting, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        decided = super().decide(state, given, now_ms, controls)
        return [d.model_copy(update={"text": "x" * 1_000_000}) if "R-2" in str(d) else d for d in decided]


def test_an_answer_that_no_broker_would_take_is_rejected_and_does_not_meet_every_successor_again() -> None:
    kept = Books("remediations", "remediations", 0, 1, SaysTooMuch(Settings("test", {})))
    said = committed(kept, *(raw(n, nothing(f"R-{n}")) for n in (1, 2, 3)))
    assert [type(s.event) for s in said] == [e.RemediationClosed, e.InputRejected, e.RemediationClosed]
    assert "TooLarge: RemediationClosed has 1000" in said[1].event.text  # type: ignore[attr-defined]


def log_of(*stamped: Stamped) -> list[Raw]:
    return [
        Raw("remediations", 0, n, 2000 + n, s.event.cluster_id.encode(), frame(type(s.event), s.body))
        for n, s in enumerate(stamped)
    ]


def of_three() -> tuple[Stamped, Stamped, Stamped, Stamped]:
    """Three events of `c`, and one of `d` after them."""
    kept = books()
    given = [*(raw(n, nothing(f"R-{n}")) for n in range(3)), raw(3, nothing("R-3", cluster_id="d"))]
    first, second, third, other = (committed(kept, one)[0] for one in given)
    return first, second, third, other


@pytest.mark.parametrize(
    ("what", "at"),
    [("missing", 1), ("again", 2), ("out of order", 1), ("unreadable", 1), ("edited", 2), ("another topic's", 1)],
)
def test_a_broken_ledger_stops_all_writes_to_its_cluster_and_nothing_else(what: str, at: int) -> None:
    first, second, third, other = of_three()
    log = {
        "missing": log_of(first, third, other),
        "again": log_of(first, second, second, third, other),
        "out of order": log_of(first, third, second, other),
        "unreadable": log_of(first, second, third, other),
        "edited": log_of(first, replace(second, body=second.body.replace(b"R-1", b"R-X")), third, other),
        "another topic's": log_of(first, second, third, other),
    }[what]
    stray = raw(0, nothing("R-1")).value
    broken = {"unreadable": b"\xc3\x01" + bytes(8) + second.body, "another topic's": stray}
    if what in broken:
        log[1] = replace(log[1], value=broken[what])

    kept = books()
    for one in log:
        kept.restore(one)

    of_c, of_d = kept.controls_of("c", LIVE), kept.controls_of("d", replace(LIVE, read_once=True))
    for refusal in (of_c.refuses_forward("c"), of_c.refuses_undo("c")):
        assert refusal is not None
        assert refusal[0] == "ledger_broken"
        assert f"remediations/0@{at}" in refusal[1]
    assert (of_d.refuses_forward("d"), of_d.refuses_undo("d")) == (None, None)
    assert list(kept.state("d").closed) == ["R-3"]
    assert set(kept.state("c").closed) >= {"R-0", "R-2"}


def test_a_record_of_a_newer_version_breaks_nothing_that_stands_after_it() -> None:
    first, second, third, _ = of_three()
    log = log_of(first, second, third)
    kept, newer = books(), books()
    for one in log:
        newer.restore(one)
    log[1] = replace(log[1], value=b"\xc3\x01" + bytes(8) + second.body)
    for one in log:
        kept.restore(one)
    assert kept.links == newer.links
    assert list(kept.broken) == ["c"]
    assert newer.broken == {}


def test_each_owner_says_at_its_start_which_ledgers_are_broken() -> None:
    first, _, third, _ = of_three()
    kept = books()
    for one in log_of(first, third):
        kept.restore(one)
    said = kept.started("pid-1", "test").broken
    assert list(said) == ["c"]
    assert said["c"].startswith("remediations/0@1: BrokenChain: c RemediationClosed: seq 2 to 2 are missing")


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


@pytest.mark.parametrize("strangers", [1, 3])
def test_a_foreign_record_on_the_own_topic_costs_no_event_of_the_fold_and_breaks_nothing(strangers: int) -> None:
    first, second, third, _ = of_three()
    whole, kept = books(), books()
    for one in log_of(first, second, third):
        whole.restore(one)
    own = log_of(first, second, third)
    foreign = [replace(own[0], offset=90 + n, value=b"junk") for n in range(strangers)]
    for one in (own[0], *foreign, own[1], *foreign, own[2]):
        kept.restore(one)
    assert (kept.states, kept.links, kept.broken) == (whole.states, whole.links, {})


def test_a_foreign_record_at_the_end_is_not_told_from_one_of_a_newer_version() -> None:
    first, second, _, _ = of_three()
    kept = books()
    for one in (*log_of(first, second), Raw("remediations", 0, 2, 0, b"c", b"junk")):
        kept.restore(one)
    assert list(kept.broken) == ["c"]
