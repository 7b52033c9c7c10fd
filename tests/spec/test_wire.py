"""Bytes on a topic: what is written is read, what is not ours is told apart by a code, and a digest stays the same."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import ActionProposed, AlertReceived, IncidentClosed, Unreadable
from schemas.values import Bounds, Call, Cause, Change, Head, Plan, Premise, sha256
from schemas.wire import (
    EVENT_BYTES_MAX,
    RAW_BYTES_MAX,
    TooLarge,
    body_of,
    decode,
    decode_registered,
    digest_of,
    encode,
    frame,
    unframed,
)

HEAD = Head(
    event_id="e-1", at_ms=7, seq=3, prev_hash=b"\x01\x02", cause=Cause(topic="signals", offset=9), controls_offset=5
)
CLOSED = IncidentClosed(cluster_id="prod", incident_id="INC-1", code="resolved", text="over")
RECEIVED = AlertReceived(
    cluster_id="prod", name="A", status="firing", starts_at_ms=1, labels={"a": "b"}, source="alertmanager"
)


def closed(text: str) -> IncidentClosed:
    return CLOSED.model_copy(update={"text": text})


def refusal(raw: bytes | None, read: Any = decode) -> tuple[str, str, str]:
    with pytest.raises(Unreadable) as unreadable:
        read(raw)
    return unreadable.value.code, unreadable.value.field, unreadable.value.reason


@pytest.mark.parametrize("head", [HEAD, HEAD.model_copy(update={"cause": None})])
@pytest.mark.parametrize("text", ["over", "x" * 100_000])
def test_what_is_written_is_read(head: Head, text: str) -> None:
    raw = encode(closed(text), head)
    read = decode(raw)

    assert (read.event, read.head) == (closed(text), head)
    assert raw[:2] == b"\xc3\x01"
    assert raw[2:10] == read.fingerprint
    assert raw[10:] == read.body == body_of(closed(text), head) == unframed(raw)
    assert raw == frame(IncidentClosed, read.body)


def test_an_event_of_ours_needs_its_head_and_one_from_outside_has_its_own_bytes_for_an_id() -> None:
    with pytest.raises(AssertionError, match="IncidentClosed without a head"):
        body_of(CLOSED, None)
    read = decode(encode(RECEIVED))
    assert read.event == RECEIVED
    assert read.head == Head(event_id=sha256(read.body).hex()[:32], at_ms=0)


@pytest.mark.parametrize(
    ("raw", "code", "reason"),
    [
        (None, "no_value", "the record has no value"),
        (b"", "no_value", "the record has no value"),
        (b"\xc3\x02" + encode(CLOSED, HEAD)[2:], "no_schema", "found c302"),
        (b"\x00" + encode(CLOSED, HEAD)[1:], "no_schema", "found 0001"),
        (b"\xc3\x01" + b"12345678" + encode(CLOSED, HEAD)[10:], "unknown_fingerprint", "fingerprint 3132333435363738"),
        (encode(CLOSED, HEAD)[:-1], "undecodable", "not a IncidentClosed: "),
        (encode(CLOSED, HEAD) + b"xy", "undecodable", "2 bytes after the end of IncidentClosed"),
        (b"x" * RAW_BYTES_MAX, "no_schema", "found 7878"),
        (b"x" * (RAW_BYTES_MAX + 1), "too_large", f"{RAW_BYTES_MAX + 1} bytes, at most {1 << 20} are read"),
    ],
    ids=range(9),
)
def test_what_is_no_event_of_ours_is_told_apart(raw: bytes | None, code: str, reason: str) -> None:
    assert refusal(raw)[:2] == (code, "")
    assert refusal(raw)[2].startswith(reason) or refusal(raw)[2].endswith(reason)


def test_what_has_the_right_bytes_and_a_wrong_value_names_its_field() -> None:
    proposed = ActionProposed(
        cluster_id="prod",
        incident_id="I",
        remediation_id="R",
        proposal_id="P",
        attempt=1,
        action="a",
        params="{}",
        why="w",
        cause="c",
        confidence=0.5,
        disputed=False,
        evidence=(),
        by="playbook",
    )
    code, field, reason = refusal(encode(proposed.model_copy(update={"by": "nobody"}), HEAD))
    assert (code, field) == ("invalid", "by")
    assert reason


def test_no_event_is_written_that_a_broker_would_not_take() -> None:
    room = EVENT_BYTES_MAX - len(body_of(closed("x" * 800_000), HEAD)) + 800_000
    assert len(body_of(closed("x" * room), HEAD)) == EVENT_BYTES_MAX == 900_000

    with pytest.raises(TooLarge, match="IncidentClosed has 900001 bytes, at most 900000 are written"):
        body_of(closed("x" * (room + 1)), HEAD)


def test_a_registrys_framing_is_read_where_it_fits_to_the_last_byte() -> None:
    body = body_of(RECEIVED, None)

    def read(raw: bytes) -> Any:
        return decode_registered(raw, AlertReceived)

    assert read(b"\x00\x00\x00\x01\x07" + body).event == RECEIVED
    assert refusal(b"\x00\x00\x00\x01\x07" + body[:-1], read)[:2] == ("undecodable", "")
    assert refusal(b"\x00\x01\x00\x00\x07" + body + b"x", read) == (
        "undecodable",
        "",
        "registered schema 16777223: 1 bytes after the end of AlertReceived",
    )
    assert refusal(b"\x00" * (RAW_BYTES_MAX + 1), read)[0] == "too_large"
    assert refusal(b"\x00" * RAW_BYTES_MAX, read)[0] == "undecodable"


PLAN = Plan(
    environment="test",
    cluster_id="prod",
    pd_cluster_id=77,
    action="evict_store_leaders",
    action_version=1,
    params='{"keep_s":900,"store_id":4}',
    changes=(
        Change(
            do=Call(name="add_evict_leader", args={"store_id": "4"}),
            undo=Call(name="remove_evict_leader", args={"store_id": "4"}),
            keep_s=900,
        ),
    ),
    premises=(Premise(name="store:4.state", value="Up"),),
    bounds=Bounds(stores_max=1, regions_max=66, leaders_max=66),
    policy_version=3,
    policy_rules=("mode=on",),
)


def test_a_digest_that_people_have_approved_is_the_same_in_every_version() -> None:
    """Should this change, no approval that is under way counts any more."""
    assert digest_of(PLAN) == "841927151d854365c50ed482be6b941ddf5db2eda2fef7bcabef63bbf5f3e91d"


ANOTHER: dict[str, Any] = {
    "environment": "prod",
    "cluster_id": "other",
    "pd_cluster_id": 78,
    "action": "remove_tombstones",
    "action_version": 2,
    "params": "{}",
    "changes": (),
    "premises": (),
    "bounds": Bounds(stores_max=1, regions_max=66, leaders_max=67),
    "policy_version": 4,
    "policy_rules": (),
}


def test_all_that_a_plan_says_is_in_its_digest() -> None:
    assert set(ANOTHER) == set(Plan.model_fields)
    digests = {digest_of(PLAN.model_copy(update={name: value})) for name, value in ANOTHER.items()}
    assert len(digests | {digest_of(PLAN)}) == len(ANOTHER) + 1
