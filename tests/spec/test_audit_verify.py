"""The record proves itself: each kind of tampering is named, with its place; an untouched record is whole."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.clickhouse.rows import AT, row_of, row_of_unreadable
from infra.clickhouse.verify import AHEAD_MS_MAX, Break, Kept, Verdict, compare, verify, verify_topics
from infra.runners.books import Books, Raw
from schemas import events as e
from schemas.chain import Link, edge
from schemas.topics import partition_of
from schemas.values import Head
from schemas.wire import decode, frame
from tests.integration.audit_fixtures import (
    CLUSTER,
    PARTITIONS,
    START_MS,
    Story,
    StoryReader,
    long_story,
    the_main_story,
)


def first(verdict: Verdict, topic: str = "outcomes") -> Break:
    return next(b for b in verdict.breaks if b.topic == topic)


def outcomes(kept: list[Kept]) -> list[int]:
    """Where the chain of outcomes is, among all."""
    return [n for n, k in enumerate(kept) if k.raw.topic == "outcomes"]


def with_value(kept: Kept, value: bytes) -> Kept:
    assert kept.stored is not None
    stored = list(kept.stored)
    stored[AT["raw"]] = value
    return Kept(replace(kept.raw, value=value), tuple(stored))


def with_column(kept: Kept, name: str, value: object) -> Kept:
    assert kept.stored is not None
    stored = list(kept.stored)
    stored[AT[name]] = value
    return Kept(kept.raw, tuple(stored))


def test_an_untouched_record_is_whole() -> None:
    verdict = verify(the_main_story().kept())
    assert verdict.breaks == ()
    assert verdict.counts["causes"] > 10
    assert verdict.to_text().startswith("whole")


def test_every_event_there_is_can_be_verified() -> None:
    verdict = verify(k for k in long_story(600).kept() if k.raw.value is not None and len(k.raw.value) > 2)
    assert verdict.breaks == ()
    assert verdict.counts["chains"] > 20


def test_one_byte_of_the_bytes_is_edited() -> None:
    kept = the_main_story().kept()
    at = outcomes(kept)[3]
    value = kept[at].raw.value or b""
    kept[at] = with_value(kept[at], value[:-3] + bytes([value[-3] ^ 1]) + value[-2:])
    found = first(verify(kept))
    assert (found.kind, found.offset) == ("edited", kept[at].raw.offset)
    assert "the hash kept beside them is another one" in found.text


@pytest.mark.parametrize(
    "name", ["payload", "outcome", "actor", "cluster_id", "hash", "seq", "occurred_at", "approvers"]
)
def test_a_column_that_is_not_what_the_bytes_say_is_edited(name: str) -> None:
    kept = the_main_story().kept()
    at = outcomes(kept)[2]
    other = {"payload": '{"a":1}', "seq": 77, "occurred_at": 5, "approvers": ["mallory"]}
    kept[at] = with_column(kept[at], name, other.get(name, "mallory"))
    found = first(verify(kept))
    assert (found.kind, found.offset) == ("edited", kept[at].raw.offset)
    assert name in found.text


def test_an_edit_with_its_hash_made_to_fit_is_found_by_what_came_after() -> None:
    kept = the_main_story().kept()
    at = outcomes(kept)[3]
    value = kept[at].raw.value or b""
    forged = replace(kept[at].raw, value=value.replace(b"R-1", b"R-9"))
    kept[at] = Kept(forged, row_of(forged, START_MS))
    found = first(verify(kept))
    assert (found.kind, found.offset) == ("edited", forged.offset)
    assert "is not what it was when seq" in found.text


def test_a_removed_row_is_missing() -> None:
    kept = the_main_story().kept()
    del kept[outcomes(kept)[3]]
    found = first(verify(kept))
    assert (found.kind, found.seq) == ("missing", 5)
    assert "seq 4" in found.text


def test_an_added_row_is_repeated() -> None:
    kept = the_main_story().kept()
    at = outcomes(kept)
    kept.insert(at[-1] + 1, Kept(replace(kept[at[2]].raw, offset=9999)))
    found = first(verify(kept))
    assert (found.kind, found.offset, found.seq) == ("repeated", 9999, 3)


def test_two_swapped_rows_are_out_of_order() -> None:
    kept = the_main_story().kept()
    a, b = outcomes(kept)[3:5]
    one, two = kept[a].raw, kept[b].raw
    kept[a], kept[b] = Kept(replace(two, offset=one.offset)), Kept(replace(one, offset=two.offset))
    found = first(verify(kept))
    assert (found.kind, found.seq) == ("out_of_order", 4)


def test_an_identical_row_twice_is_harmless_and_counted() -> None:
    kept = the_main_story().kept()
    verdict = verify([k for one in kept for k in (one, one)])
    assert verdict.ok
    assert verdict.counts["repeated_rows"] == len(kept)
    assert verdict.counts["records"] == len(kept)


def test_one_offset_with_two_contents_is_twofold() -> None:
    kept = the_main_story().kept()
    at = outcomes(kept)
    kept.insert(at[2] + 1, Kept(replace(kept[at[3]].raw, offset=kept[at[2]].raw.offset)))
    found = first(verify(kept))
    assert (found.kind, found.offset) == ("twofold", kept[at[2]].raw.offset)


def test_an_input_that_is_not_what_was_answered_is_named() -> None:
    kept = the_main_story().kept()
    at = next(n for n, k in enumerate(kept) if k.raw.topic == "approvals")
    forged = replace(kept[at].raw, value=(kept[at].raw.value or b"").replace(b"disk known bad", b"disk known god"))
    kept[at] = Kept(forged)
    found = first(verify(kept), "remediations")
    assert found.kind == "cause"
    assert f"approvals/{forged.partition}@{forged.offset}" in found.text


def test_a_removed_input_that_was_answered_is_missing() -> None:
    story = the_main_story()
    story.says("controls", e.Frozen(cluster_id=CLUSTER, by="a", reason="r"))
    story.alerted("INC-2")
    kept = story.kept()
    gone = next(k for k in kept if k.raw.topic == "signals")
    found = first(verify(k for k in kept if k is not gone), "incidents")
    assert found.kind == "missing"
    assert f"signals/{gone.raw.partition}@{gone.raw.offset}" in found.text


def test_a_cut_tail_shows_against_what_is_known_from_elsewhere() -> None:
    kept = the_main_story().kept()
    whole = verify(kept)
    for n in reversed(outcomes(kept)[-3:]):
        del kept[n]
    assert [b for b in verify(kept).breaks if b.topic == "outcomes"] == []
    found = first(verify(kept, tails=whole.links))
    assert (found.kind, found.seq) == ("cut", whole.links[CLUSTER, "outcomes"].seq - 3)


def test_a_chain_that_ends_in_another_event_than_is_known_is_edited() -> None:
    kept = the_main_story().kept()
    end = verify(kept).links[CLUSTER, "outcomes"]
    assert first(verify(kept, tails={(CLUSTER, "outcomes"): Link(end.seq, b"x" * 32)})).kind == "edited"


def cut_tail(raws: list[Raw]) -> list[Raw]:
    return [r for r in raws if r.topic != "outcomes"] + [r for r in raws if r.topic == "outcomes"][:-2]


def edited_last(raws: list[Raw]) -> list[Raw]:
    last = [r for r in raws if r.topic == "outcomes"][-1]
    return [replace(r, value=(r.value or b"").replace(b"succeeded", b"succeedee")) if r is last else r for r in raws]


def one_removed(raws: list[Raw]) -> list[Raw]:
    gone = [r for r in raws if r.topic == "outcomes"][4]
    return [r for r in raws if r is not gone]


class Folding:
    """Rules that decide nothing and fold everything."""

    def initial(self, cluster_id: str) -> int:
        return 0

    def decide(self, *what: Any) -> tuple[e.Event, ...]:
        return ()

    def evolve(self, state: int, event: e.Event, head: Head) -> int:
        return state + 1

    def wakes_at(self, state: int) -> int | None:
        return None


def noted(n: int) -> e.Event:
    return e.IncidentClosed(cluster_id=CLUSTER, incident_id=f"INC-{n}", code="resolved", text="x")


def junk(story: Story, topic: str = "outcomes", key: str = CLUSTER, value: bytes = b"junk") -> Raw:
    return story.stands(topic, key, value)


def an_edge_event(story: Story, topic: str) -> Raw:
    """Well made, by somebody whose topic this is not."""
    event = e.Frozen(cluster_id=CLUSTER, by="mallory", reason="x")
    return junk(story, topic, value=frame(e.Frozen, edge(event, "id", story.now_ms).body))


def without_a_seq(story: Story, topic: str) -> Raw:
    event = e.InputRejected(cluster_id=CLUSTER, code="x", text="y")
    return junk(story, topic, value=frame(type(event), edge(event, "id", story.now_ms).body))


@pytest.mark.parametrize("topic", ["outcomes", "remediations", "incidents", "tickets"])
@pytest.mark.parametrize("foreign", [junk, an_edge_event, without_a_seq])
def test_what_somebody_else_wrote_on_a_topic_is_listed_and_breaks_no_chain(
    foreign: Callable[[Story, str], Raw], topic: str
) -> None:
    story = the_main_story()
    stranger = foreign(story, topic)
    story.alerted("INC-2")  # the owners go on behind it
    for kept in (story.kept(), [Kept(raw) for raw in story.all()]):
        verdict = verify(kept)
        assert verdict.ok, verdict.to_text()
        assert verdict.counts["foreign"] == 1
        assert [(f.topic, f.partition, f.offset) for f in verdict.foreign] == [
            (topic, stranger.partition, stranger.offset)
        ]
        assert f"foreign: {topic}/{stranger.partition}@{stranger.offset} key 'prod-eu-7'" in verdict.to_text()
        assert "1 foreign records, of no chain" in verdict.headline
        assert verdict.to_dict()["foreign"][0]["offset"] == stranger.offset


@pytest.mark.parametrize("before_the_restart", [0, 1, 2])
@pytest.mark.parametrize("strangers", [1, 2])
def test_an_owner_that_starts_behind_a_foreign_record_counts_it_and_its_chain_is_whole(
    strangers: int, before_the_restart: int
) -> None:
    """What it writes next is taken from infra.runners.books itself."""
    story = the_main_story()
    was = story.links["incidents", CLUSTER]
    for n in range(strangers):
        junk(story, "incidents", value=b"junk %d" % n)
    for n in range(before_the_restart):
        story.says("incidents", noted(n))
    restarted = Books("incidents", "incidents", partition_of(CLUSTER, PARTITIONS), PARTITIONS, Folding())
    for raw in story.records["incidents", restarted.partition]:
        restarted.restore(raw)
    assert restarted.links[CLUSTER].seq == was.seq + (before_the_restart or strangers)
    story.links["incidents", CLUSTER] = restarted.links[CLUSTER]
    for n in range(3):
        story.says("incidents", noted(10 + n))

    verdict = verify(story.kept())

    assert verdict.ok, verdict.to_text()
    assert verdict.counts["foreign"] == strangers
    lacking = [k for k in story.kept() if k.raw.value != b"junk 0"]
    if not before_the_restart:  # it was counted, so now it is missed
        assert first(verify(lacking), "incidents").kind in ("missing", "edited")


def test_what_is_told_moves_no_cursor_whatever_a_key_says() -> None:
    story = the_main_story()
    at = junk(story, "outcomes", "\x1b[2Jc")
    kept = [Kept(raw, row_of(raw, START_MS)) for raw in story.all()]
    forged = next(n for n, k in enumerate(kept) if k.raw is at)
    kept[forged] = with_column(kept[forged], "hash", "\x1b[2J")
    text = verify(kept).to_text()
    assert "\n  edited: " in text
    assert "\x1b" not in text


def test_a_real_break_does_not_hide_among_foreign_records() -> None:
    story = the_main_story()
    kept = story.kept()
    at = outcomes(kept)[3]
    replaced = Raw("outcomes", kept[at].raw.partition, kept[at].raw.offset, START_MS, CLUSTER.encode(), b"junk")
    kept[at] = Kept(replaced, row_of(replaced, START_MS))  # the whole row made to fit
    verdict = verify(kept)
    assert (first(verdict).kind, first(verdict).seq) == ("missing", 5)
    assert [f.offset for f in verdict.foreign] == [replaced.offset]

    kept = story.kept()
    kept[at] = with_value(kept[at], b"junk")  # only its bytes
    assert first(verify(kept)).kind == "edited"


def test_a_tail_that_was_replaced_by_junk_is_cut_and_shows_against_another_source_too() -> None:
    kept = the_main_story().kept()
    whole, last = verify(kept), outcomes(kept)[-1]
    replaced = replace(kept[last].raw, value=b"junk", key=CLUSTER.encode())
    kept[last] = Kept(replaced, row_of(replaced, START_MS))

    assert first(verify(kept, tails=whole.links)).kind == "cut"
    found = first(compare(verify(kept, source="clickhouse"), replace(whole, source="kafka")))
    assert (found.kind, found.offset) == ("edited", replaced.offset)


def test_many_foreign_records_are_counted_and_the_first_ones_listed() -> None:
    story = the_main_story()
    for _ in range(150):
        junk(story)
    verdict = verify(story.kept())
    assert verdict.ok
    assert (verdict.counts["foreign"], len(verdict.foreign)) == (150, 100)


@pytest.mark.parametrize(("harm", "kind"), [(cut_tail, "cut"), (edited_last, "edited"), (one_removed, "missing")])
def test_two_sources_are_compared_and_the_poorer_one_is_named(
    harm: Callable[[list[Raw]], list[Raw]], kind: str
) -> None:
    raws = the_main_story().all()
    here, there = verify(map(Kept, harm(raws)), source="clickhouse"), verify(map(Kept, raws), source="kafka")
    found = first(compare(here, there))
    assert found.kind == kind
    assert "clickhouse" in found.text
    assert compare(there, there).ok


def test_on_a_live_log_what_came_after_the_earlier_look_is_not_held_against_it() -> None:
    raws = the_main_story().all()
    later = verify(map(Kept, raws), source="kafka")
    earlier = verify((Kept(r, row_of(r, START_MS)) for r in cut_tail(raws)), source="clickhouse")
    assert not compare(later, earlier).ok
    assert compare(later, earlier, live=True).ok
    assert compare(later, earlier, live=True).counts["lag"] == 2
    assert "2 records not yet in the table" in compare(later, earlier, live=True).headline
    assert not compare(earlier, later, live=True).ok


def test_an_answer_whose_input_is_not_there_yet_is_a_cut_once_the_sink_has_had_time() -> None:
    """It reads topics side by side; in the log an input stands before its answer, whoever looks."""
    raws = cut_tail(the_main_story().all())

    def rows(later_ms: int) -> list[Kept]:
        return [Kept(r, row_of(r, START_MS + (later_ms if r.topic == "tickets" else 0))) for r in [*raws, note]]

    note = junk(the_main_story(), "tickets")
    fresh, late = verify(rows(0)), verify(rows(AHEAD_MS_MAX + 1))
    assert fresh.ok
    assert fresh.counts["inputs_ahead"] == 1
    assert first(late, "remediations").kind == "cut"
    assert "where that topic ends at offset" in first(late, "remediations").text
    assert first(verify(map(Kept, raws)), "remediations").kind == "cut"


def test_alerts_of_which_the_log_has_let_all_go_break_nothing() -> None:
    kept = the_main_story().kept()
    table = verify(kept, source="clickhouse")
    kafka = verify([Kept(k.raw) for k in kept if k.raw.topic != "alerts"], source="kafka")
    assert kafka.ok
    assert kafka.counts["inputs_expired"] == sum(k.raw.topic == "signals" for k in kept)
    assert compare(kafka, table, live=True).ok


def test_alerts_that_are_gone_from_the_table_are_a_cut() -> None:
    """It keeps them for good, whatever the log lets go."""
    kept = [k for k in the_main_story().kept() if k.raw.topic != "alerts"]
    later = row_of(junk(the_main_story(), "tickets"), kept[0].raw.at_ms + 2 * AHEAD_MS_MAX)
    assert first(verify([*kept, Kept(junk(the_main_story(), "tickets"), later)]), "signals").kind == "cut"


def test_one_cluster_alone_can_be_judged() -> None:
    story = the_main_story()
    story.alerted("INC-9", "lab-3")
    kept = [k for k in story.kept() if not (k.raw.topic == "diagnoses" and k.raw.key == b"lab-3")]
    assert verify(kept, cluster=CLUSTER).ok
    assert verify(kept, cluster=CLUSTER).counts["records"] < len(kept)
    broken = [k for k in story.kept() if not (k.raw.key == b"lab-3" and decode_seq(k.raw) == 2)]
    assert verify(broken, cluster=CLUSTER).ok
    assert not verify(broken, cluster="lab-3").ok


def decode_seq(raw: Raw) -> int:
    try:
        return decode(raw.value).head.seq
    except e.Unreadable:
        return 0


def test_what_was_not_judged_is_said() -> None:
    kept = the_main_story().kept()
    no_tails = "not judged: whether tails were cut off; there are no checkpoints"
    assert verify(kept).notes == (no_tails,)
    assert f"  {no_tails}" in verify(kept).to_text()
    assert verify(kept, tails=verify(kept).links).notes == ()
    (partition,) = verify(kept, cluster=CLUSTER, tails=verify(kept).links).notes
    assert "what is said of a whole partition" in partition
    assert verify(kept).to_dict()["notes"] == [no_tails]
    assert compare(verify(kept), verify(kept)).notes == (no_tails,)


def test_a_payload_of_a_build_that_knew_fewer_fields_is_no_edit() -> None:
    kept = the_main_story().kept()
    at = next(n for n, k in enumerate(kept) if k.stored and k.stored[AT["kind"]] == "AlertFired")
    payload = json.loads((kept[at].stored or ())[AT["payload"]])
    kept[at] = with_column(kept[at], "payload", json.dumps({k: v for k, v in payload.items() if k != "synthetic"}))
    assert verify(kept).ok
    kept[at] = with_column(kept[at], "payload", json.dumps({k: v for k, v in payload.items() if k != "name"}))
    assert first(verify(kept), "signals").kind == "edited"


def kept_as_unreadable(kept: Kept) -> Kept:
    """As by an audit that knew the schema of no such event yet."""
    print_ = (kept.raw.value or b"")[2:10].hex()
    unknown = e.Unreadable("unknown_fingerprint", f"no schema of ours has the fingerprint {print_}")
    return Kept(kept.raw, row_of_unreadable(kept.raw, unknown, START_MS))


def test_what_an_older_audit_could_not_read_yet_is_judged_by_its_bytes() -> None:
    kept = the_main_story().kept()
    some = [outcomes(kept)[1], outcomes(kept)[2], next(n for n, k in enumerate(kept) if k.raw.topic == "signals")]
    for n in some:
        kept[n] = kept_as_unreadable(kept[n])
    verdict = verify(kept)
    assert verdict.ok, verdict.to_text()
    assert verdict.counts["kept_as_unreadable"] == len(some)
    assert "kept as unreadable by an older build: 3 rows" in verdict.to_text()
    assert not verdict.counts["foreign"]


@pytest.mark.parametrize("name", ["hash", "cluster_id", "seq", "fingerprint", "payload", "approvers"])
def test_a_row_that_was_made_unreadable_can_say_nothing_else(name: str) -> None:
    kept = the_main_story().kept()
    at = outcomes(kept)[2]
    other = {"payload": '{"a":1}', "seq": 77, "approvers": ["mallory"]}
    kept[at] = with_column(kept_as_unreadable(kept[at]), name, other.get(name, "mallory"))
    found = first(verify(kept))
    assert (found.kind, found.offset) == ("edited", kept[at].raw.offset)
    assert name in found.text


def test_the_answer_is_text_and_json() -> None:
    kept = the_main_story().kept()
    del kept[outcomes(kept)[3]]
    verdict = verify(kept)
    said = json.loads(verdict.to_json())
    assert said["ok"] is False
    assert "missing" in {b["kind"] for b in said["breaks"]}
    assert "missing: prod-eu-7 outcomes/" in verdict.to_text()


async def test_the_log_alone_can_be_judged() -> None:
    story = the_main_story()
    verdict = await verify_topics(StoryReader(story.all()))
    assert verdict.ok
    assert verdict.source == "kafka"
    assert verdict.counts["records"] == len(story.all())
