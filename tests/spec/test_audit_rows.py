"""Every record becomes a row of the audit, whatever its bytes are; what auditors ask for has a column of its own."""

import json
import math
import random

import pytest

from infra.clickhouse.rows import AT, COLUMNS, NAMES, cut, month_of, payload_of, row_of
from infra.runners.books import Raw
from schemas import events as e
from schemas.chain import Link, edge, stamp
from schemas.values import Call, Sample, canonical_json, sha256
from schemas.wire import decode, frame
from tests.integration.audit_fixtures import (
    CLUSTER,
    FEBRUARY_MS,
    START_MS,
    Story,
    sample_event,
    the_main_story,
    topic_of,
)


def column(raw: Raw, name: str) -> object:
    return row_of(raw, START_MS)[AT[name]]


@pytest.mark.parametrize("kind", e.all_events().values(), ids=lambda k: k.__name__)
def test_every_event_becomes_a_row_of_the_declared_types(kind: type[e.Event]) -> None:
    chance = random.Random(kind.__name__)
    for _ in range(30):
        event = sample_event(kind, chance)
        made = (
            edge(event, "id-1", START_MS) if kind.headless else stamp("t", Link(4, b"p" * 32), event, None, START_MS)[0]
        )
        raw = Raw(topic_of(kind), 1, 9, START_MS + 40, b"k", frame(kind, made.body))

        row = row_of(raw, START_MS + 90)

        assert row[AT["kind"]] == kind.__name__
        assert row[AT["cluster_id"]] == event.cluster_id
        assert row[AT["hash"]] == sha256(made.body).hex()
        assert row[AT["raw"]] == raw.value
        assert row[AT["payload"]] == canonical_json(json.loads(event.model_dump_json()))
        for found, declared in zip(row, COLUMNS, strict=True):
            is_bytes = declared.name == "raw"
            wanted = {
                "S": bytes if is_bytes else str,
                "L": str,
                "I": int,
                "U": int,
                "D": int,
                "F": float,
                "B": bool,
                "A": list,
            }
            assert type(found) is wanted[declared.type[0]], declared.name


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf, -0.0, 1e16, 1e-7, 5e-324, 0.1])
def test_the_payload_is_one_spelling_of_what_pydantic_says_whatever_the_figures(figure: float) -> None:
    """Rows of every build are compared with what is made anew: the quick way must write the bytes of the long one."""
    sample = Sample(at_ms=1, figures={"z": figure, "a": 1.0, "süß\u2028\x7f\x01": figure})
    event = e.Sampled(cluster_id=CLUSTER, remediation_id="R-1", attempt=1, sample=sample)
    assert payload_of(event) == canonical_json(json.loads(event.model_dump_json()))


def test_the_columns_hold_what_the_event_says() -> None:
    story = the_main_story()
    by_kind = {row_of(r, 0)[AT["kind"]]: row_of(r, START_MS) for r in story.all()}

    def said(kind: str, *names: str) -> tuple[object, ...]:
        return tuple(by_kind[kind][AT[n]] for n in names)

    assert said("Claimed", "action_type", "target", "mode", "tier", "approvers", "policy_version") == (
        "evict_store_leaders",
        ["store:4"],
        "on",
        "MEDIUM",
        ["anna"],
        1,
    )
    assert said("StepIntended", "call", "target", "direction", "step", "change") == (
        "remove_evict_leader",
        ["store:4"],
        "undo",
        2,
        0,
    )
    assert said("StepTaken", "outcome", "step") == ("accepted", 2)
    assert said("Concluded", "outcome", "reason_code", "text") == ("succeeded", "verified", "leaders 2 -> 0")
    assert said("Approved", "actor", "via", "text", "approval_id") == ("anna", "cli", "disk known bad", "A-R-1-anna")
    assert said("DiagnosisMade", "actor", "diagnosis", "model", "prompt_sha") == (
        "model",
        "disk_stall",
        "claude",
        "ab12",
    )
    assert said("PolicyAdopted", "policy_version", "actor", "text") == (1, "anna", "trial")
    assert said("OwnerStarted", "actor", "build", "cluster_id") == ("host-1", "b1", "~1")
    assert said("AlertFired", "alert", "cause_topic") == ("TiKV_slow", "alerts")


def test_what_is_forgotten_for_good_counts_as_its_target() -> None:
    step = e.StepIntended(
        cluster_id=CLUSTER, remediation_id="R-2", attempt=1, step=1, change=0, kind="do", window_s=15,
        call=Call(name="remove_tombstones"), snapshot='[{"id":9,"state":"Tombstone"},{"id":12}]',
    )  # fmt: skip
    assert column(Story().says("outcomes", step), "target") == ["store:12", "store:9"]


@pytest.mark.parametrize("params", ["{oops", "[" * 100_000])
def test_parameters_that_are_no_json_leave_the_target_empty(params: str) -> None:
    """What is nested deeper than Python reads is none either: the sink would not get past it."""
    proposed = next(decode(r.value).event for r in the_main_story().all() if r.topic == "proposals")
    broken = proposed.model_copy(update={"params": params})
    assert column(Story().says("proposals", broken), "target") == []


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "no_value"),
        (b"", "no_value"),
        (b"\xff\x00", "no_schema"),
        (b"\xc3\x01" + b"\0" * 9, "unknown_fingerprint"),
    ],
)
def test_bytes_that_are_no_event_become_a_row_with_the_reason(value: bytes | None, code: str) -> None:
    raw = Raw("signals", 0, 3, START_MS, b"prod\xff", value)
    row = row_of(raw, START_MS)
    assert (row[AT["kind"]], row[AT["reason_code"]], row[AT["raw"]]) == ("unreadable", code, value or b"")
    assert row[AT["cluster_id"]] == "prod\ufffd"
    assert row[AT["seq"]] == 0


def test_an_alert_in_a_monitors_own_json_is_kept_as_foreign_not_as_broken() -> None:
    raw = Raw("alerts", 0, 3, START_MS, b"c", b'{"version": "4", "alerts": []}')
    assert (column(raw, "kind"), column(raw, "payload")) == ("foreign", '{"alerts":[],"version":"4"}')


@pytest.mark.parametrize("at_ms", [-1, 10**18])
def test_a_time_nobody_can_mean_is_held_at_its_end(at_ms: int) -> None:
    raw = Raw("signals", 0, 3, at_ms, b"c", b"x")
    assert month_of(at_ms) in (197001, 219912)
    assert isinstance(column(raw, "appended_at"), int)


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


# -- blocks


def raws_at(*places: tuple[str, int, int]) -> list[Raw]:
    return [Raw(topic, 0, offset, at_ms, b"c", b"v") for topic, offset, at_ms in places]


def test_blocks_are_cut_at_the_append_month() -> None:
    before, after = FEBRUARY_MS - 1, FEBRUARY_MS
    raws = raws_at(("a", 0, before), ("a", 1, after), ("b", 0, before), ("b", 1, before), ("b", 2, after))
    blocks = [[(r.topic, r.offset) for r in block] for block in cut(raws, 100, 10**9)]
    assert blocks == [[("a", 0), ("b", 0), ("b", 1)], [("a", 1), ("b", 2)]]


def test_a_clock_that_goes_back_over_the_month_never_puts_a_later_offset_first() -> None:
    before, after = FEBRUARY_MS - 1, FEBRUARY_MS
    raws = raws_at(("a", 0, before), ("a", 1, after), ("a", 2, before), ("a", 3, after), ("b", 0, after))
    blocks = cut(raws, 100, 10**9)
    assert [r.offset for block in blocks for r in block if r.topic == "a"] == [0, 1, 2, 3]
    assert all(len({month_of(r.at_ms) for r in block}) == 1 for block in blocks)


@pytest.mark.parametrize("seed", range(20))
def test_any_batch_is_cut_without_loss_in_order_one_month_a_block(seed: int) -> None:
    chance = random.Random(seed)
    raws = [
        Raw(
            chance.choice("abc"),
            chance.randrange(2),
            n,
            FEBRUARY_MS + chance.choice([-1, 1]),
            None,
            b"v" * chance.randrange(99),
        )
        for n in range(chance.randrange(200))
    ]
    blocks = cut(raws, 7, 12_000)
    assert sorted(r.offset for b in blocks for r in b) == list(range(len(raws)))
    assert all(b and len(b) <= 7 and len({month_of(r.at_ms) for r in b}) == 1 for b in blocks)
    for place in {(r.topic, r.partition) for r in raws}:
        order = [r.offset for b in blocks for r in b if (r.topic, r.partition) == place]
        assert order == sorted(order)
