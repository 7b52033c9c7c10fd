"""Alerts as monitors write them -> signals, or dead letters with the reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import alertmanager
from schemas.events import AlertFired, AlertReceived, AlertResolved, TicketWritten, Unreadable
from schemas.topics import partition_of
from schemas.values import Head
from schemas.wire import RAW_BYTES_MAX, encode
from streams.intake import Checked, check, identity

BODIES = Path(__file__).parents[1] / "data" / "alertmanager"
CLUSTERS = {"prod-eu-7": {"env": "prod-eu-7"}, "prod-us-1": {"env": "prod-us-1", "region": "us"}}
PARTITIONS = 12
NOW_MS = 1_795_454_900_000  # 40 s after the real alert began


@dataclass(frozen=True)
class Raw:
    value: bytes | None
    key: bytes | None = b"prod-eu-7"
    partition: int = partition_of("prod-eu-7", PARTITIONS)
    at_ms: int = NOW_MS


def checked(value: bytes | None, **raw: Any) -> Checked:
    return check(Raw(value, **raw), NOW_MS, CLUSTERS, PARTITIONS)


def real_body(name: str) -> bytes:
    return (BODIES / f"PD_cluster_slow_tikv_nums-{name}.json").read_bytes()


def body(*alerts: Any, **top: Any) -> bytes:
    return json.dumps({"version": "4", "alerts": alerts, **top}).encode()


def alert(**fields: Any) -> dict[str, Any]:
    labels = {"alertname": "TiKV_channel_full_total", "env": "prod-eu-7", "level": "critical"}
    return {"status": "firing", "labels": labels, "startsAt": "2026-11-23T17:27:40.858Z", **fields}


def received(**fields: Any) -> bytes:
    known: dict[str, Any] = {
        "cluster_id": "prod-eu-7",
        "name": "TiKV_channel_full_total",
        "status": "firing",
        "starts_at_ms": NOW_MS - 1000,
        "labels": {},
    }
    return encode(AlertReceived(**{**known, **fields}))


def only_fault(found: Checked) -> tuple[str, str]:
    assert found.events == ()
    (dead,) = found.dead
    return dead.error.code, dead.error.field


# -- what goes through ----------------------------------------------------------------------------------------------


def test_a_real_firing_body_becomes_one_signal_of_its_cluster() -> None:
    found = checked(real_body("firing"))
    (fired,) = found.events
    assert isinstance(fired, AlertFired)
    assert found.dead == ()
    assert not found.wrong_partition
    assert (fired.cluster_id, fired.name, fired.level) == ("prod-eu-7", "PD_cluster_slow_tikv_nums", "critical")
    assert (fired.fingerprint, fired.starts_at_ms) == ("709e163173f45522", 1_795_454_860_858)


def test_a_real_resolved_body_says_when_it_ended() -> None:
    (resolved,) = checked(real_body("resolved")).events
    assert isinstance(resolved, AlertResolved)
    assert resolved.ends_at_ms == 1_795_455_020_858


def test_an_end_in_year_1_is_no_end() -> None:
    (read,) = alertmanager.parse(real_body("firing"))
    assert read.ends_at_ms == 0


def test_our_fingerprint_is_the_one_that_alertmanager_makes() -> None:
    (read,) = alertmanager.parse(real_body("firing"))
    assert alertmanager.fingerprint_of(read.labels) == read.fingerprint == "709e163173f45522"


def test_a_missing_fingerprint_is_made_from_the_labels() -> None:
    (fired,) = checked(body(alert())).events
    assert fired.fingerprint == alertmanager.fingerprint_of(fired.labels)


def test_truncated_alerts_make_the_evidence_incomplete() -> None:
    (fired,) = checked(body(alert(), truncatedAlerts=7)).events
    assert isinstance(fired, AlertFired)
    assert fired.incomplete


@pytest.mark.parametrize(
    ("labels", "level"),
    [
        ({"level": "Emergency"}, "emergency"),
        ({"severity": "warning"}, "warning"),
        ({"level": "a", "severity": "b"}, "a"),
        ({}, ""),
    ],
)
def test_the_level_is_called_level_or_else_severity(labels: dict[str, str], level: str) -> None:
    assert alertmanager.level_of(labels) == level


def test_an_ha_pair_that_says_it_twice_gives_the_same_identity() -> None:  # Alertmanager #1005, #2447
    first, second = (checked(real_body("firing")).events[0] for _ in "ab")
    assert identity(first) == identity(second)
    assert identity(first) != identity(checked(real_body("resolved")).events[0])


def test_distinct_alerts_keep_distinct_identities() -> None:  # Keep #958
    labels = {"alertname": "TiKV_channel_full_total", "env": "prod-eu-7"}
    one, other = checked(
        body(alert(labels={**labels, "instance": "a"}), alert(labels={**labels, "instance": "b"}))
    ).events
    assert identity(one) != identity(other)


def test_an_avro_alert_needs_only_five_fields() -> None:
    (fired,) = checked(received()).events
    assert isinstance(fired, AlertFired)
    assert (fired.cluster_id, fired.fingerprint) == ("prod-eu-7", alertmanager.fingerprint_of({}))


@pytest.mark.parametrize(("length", "kept"), [(1024, True), (1025, False)])
def test_the_address_of_its_graph_goes_with_the_alert_whole_or_not_at_all(length: int, kept: bool) -> None:
    url = "https://prometheus/".ljust(length, "x")
    (fired,) = checked(received(generator_url=url)).events
    assert isinstance(fired, AlertFired)
    assert fired.generator_url == (url if kept else "")


def test_an_avro_alert_that_is_synthetic_stays_marked() -> None:
    (fired,) = checked(received(synthetic=True)).events
    assert fired.synthetic


def test_an_alert_that_resolved_without_an_end_ended_when_it_was_appended() -> None:
    (resolved,) = checked(received(status="resolved")).events
    assert isinstance(resolved, AlertResolved)
    assert resolved.ends_at_ms == NOW_MS


# -- whose it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["", "unassigned", "somewhere"])
def test_labels_decide_where_the_said_cluster_is_not_configured(said: str) -> None:
    (fired,) = checked(received(cluster_id=said, labels={"env": "prod-us-1", "region": "us"}), key=said.encode()).events
    assert fired.cluster_id == "prod-us-1"


def test_the_key_decides_where_neither_field_nor_labels_do() -> None:
    (fired,) = checked(received(cluster_id="", labels={}), key=b"prod-eu-7").events
    assert fired.cluster_id == "prod-eu-7"


def test_a_key_never_overrules_a_label() -> None:
    found = checked(received(cluster_id="", labels={"env": "prod-eu-8"}), key=b"prod-eu-7")
    assert only_fault(found) == ("unknown_cluster", "cluster_id")


def test_an_alert_on_the_wrong_partition_is_moved_and_counted() -> None:
    there = (partition_of("prod-eu-7", PARTITIONS) + 1) % PARTITIONS
    found = checked(real_body("firing"), partition=there)
    assert found.wrong_partition
    assert len(found.events) == 1
    assert found.dead == ()


def test_an_alert_of_a_cluster_that_nobody_configured_stays_in_sight() -> None:
    found = checked(body(alert(labels={"alertname": "X", "env": "prod-eu-8"})), key=b"unassigned")
    assert only_fault(found) == ("unknown_cluster", "cluster_id")
    assert "env='prod-eu-8'" in found.dead[0].error.reason


def test_an_alert_that_two_clusters_claim_is_nobodys() -> None:
    clusters = {"a": {"env": "prod"}, "b": {"region": "eu"}}
    found = check(
        Raw(body(alert(labels={"alertname": "X", "env": "prod", "region": "eu"}))), NOW_MS, clusters, PARTITIONS
    )
    assert only_fault(found) == ("unknown_cluster", "cluster_id")
    assert "2 configured clusters: a, b" in found.dead[0].error.reason


def test_a_cluster_without_labels_claims_no_alert() -> None:
    assert alertmanager.cluster_of({"env": "prod"}, {"a": {}}) is None


def test_a_registrys_framing_is_read_whatever_id_the_registry_gave() -> None:
    plain = received()
    framed = b"\x00" + (4711).to_bytes(4, "big") + plain[10:]
    assert checked(framed).events == checked(plain).events != ()


# -- what does not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        (None, "no_value", ""),
        (b"", "no_value", ""),
        (b"hello", "no_schema", ""),
        (b"\xc3\x01" + b"\x00" * 8, "unknown_fingerprint", ""),
        (received()[:-3], "undecodable", ""),
        (b"\x00" + b"\x00\x00\x00\x07", "undecodable", ""),
        (b"\x00" + b"\x00\x00\x00\x07" + received()[10:-3], "undecodable", ""),
        (received() + bytes(RAW_BYTES_MAX), "too_large", ""),
        (b"\x00" + b"\x00\x00\x00\x07" + received()[10:] + bytes(RAW_BYTES_MAX), "too_large", ""),
        (b"\x00" + b"\x00\x00\x00\x07" + received(status="sulking")[10:], "invalid", "status"),
        (b"{", "not_webhook_v4", ""),
        (b"[]", "not_webhook_v4", ""),
        (b"{}", "not_webhook_v4", "version"),
        (b'{"version": 4}', "not_webhook_v4", "version"),
        (b'{"version": "4"}', "not_webhook_v4", "alerts"),
        (b'{"version": "4", "alerts": {}}', "not_webhook_v4", "alerts"),
        (b'{"version": "4", "alerts": [], "truncatedAlerts": -1}', "not_webhook_v4", "truncatedAlerts"),
        (b'{"version": "4", "alerts": [], "truncatedAlerts": NaN}', "not_webhook_v4", ""),
        (b'{"version": "4", "alerts": ' + b"[" * 100_000, "not_webhook_v4", ""),
        (b'{"version": "4", "alerts": [' + b"1" * 5000 + b"]}", "not_webhook_v4", ""),
        (b'{"version": "4", "alerts": []\xff}', "not_webhook_v4", ""),
        (b'{"version": "4", "alerts": [' + b" " * (1 << 20) + b"]}", "too_large", ""),
        (body(7), "not_webhook_v4", "alerts[0]"),
        (body(alert(status="sulking")), "not_webhook_v4", "alerts[0].status"),
        (body(alert(startsAt="yesterday")), "not_webhook_v4", "alerts[0].startsAt"),
        (body(alert(startsAt="0001-01-01T00:00:00Z")), "not_webhook_v4", "alerts[0].startsAt"),
        (body(alert(startsAt=1795454860)), "not_webhook_v4", "alerts[0].startsAt"),
        (body(alert(endsAt="2026-13-23T17:27:40Z")), "not_webhook_v4", "alerts[0].endsAt"),
        (body(alert(labels=None)), "not_webhook_v4", "alerts[0].labels"),
        (body(alert(labels={"alertname": 7})), "not_webhook_v4", "alerts[0].labels.alertname"),
        (body(alert(annotations={"summary": "\ud800"})), "not_webhook_v4", "alerts[0].annotations.summary"),
        (body(alert(labels={"env": "prod-eu-7"})), "invalid", "alerts[0].labels.alertname"),
        (received(name=" "), "invalid", "labels.alertname"),
        (received(name="x" * 300), "invalid", "labels.alertname"),
        (received(status="sulking"), "invalid", "status"),
        (received(starts_at_ms=0), "invalid", "starts_at_ms"),
        (received(starts_at_ms=NOW_MS + 25 * 3600 * 1000), "invalid", "starts_at_ms"),
        (received(labels={str(n): "x" for n in range(65)}), "invalid", "labels"),
        (received(labels={str(n): "x" * 1000 for n in range(20)}), "invalid", "labels"),
        (received(labels={"x" * 300: ""}), "invalid", "labels"),
        (received(fingerprint="x" * 300), "invalid", "fingerprint"),
    ],
)
def test_what_is_no_alert_is_a_dead_letter_that_names_the_field(value: bytes | None, code: str, field: str) -> None:
    assert only_fault(checked(value)) == (code, field)


def test_an_event_of_ours_that_is_no_alert_is_not_taken_for_one() -> None:
    ticket = TicketWritten(
        cluster_id="prod-eu-7", incident_id="INC-1", version=1, headline="", status="", lines=(), tier="routine"
    )
    assert only_fault(checked(encode(ticket, Head(event_id="1", at_ms=1)))) == ("not_of_this_topic", "")


def test_one_wrong_alert_does_not_hide_its_neighbours() -> None:
    found = checked(body(alert(), alert(startsAt="yesterday"), alert(labels={"alertname": "X", "env": "prod-eu-8"})))
    assert [e.name for e in found.events] == ["TiKV_channel_full_total"]
    assert [(d.error.code, d.error.field, d.cluster_id) for d in found.dead] == [
        ("not_webhook_v4", "alerts[1].startsAt", "prod-eu-7"),
        ("unknown_cluster", "cluster_id", ""),
    ]


def test_the_text_of_an_alert_is_bounded() -> None:
    (fired,) = checked(body(alert(annotations={f"{n:03}": "x" * 5000 for n in range(40)}))).events
    assert isinstance(fired, AlertFired)
    assert len(fired.annotations) == 32
    assert {len(text) for text in fired.annotations.values()} == {1024}


def test_a_long_label_is_cut_and_the_fingerprint_is_of_the_whole() -> None:
    labels = {"alertname": "X", "env": "prod-eu-7", "expr": "x" * 3000}
    (fired,) = checked(body(alert(labels=labels))).events
    assert len(fired.labels["expr"]) == 1024
    assert fired.fingerprint == alertmanager.fingerprint_of(labels)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-23T17:27:40.858Z", 1_795_454_860_858),
        ("2026-11-23T17:27:40.858999999Z", 1_795_454_860_858),
        ("2026-11-23t19:57:40.858+02:30", 1_795_454_860_858),
        ("0001-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00+14:00", 0),
        ("2016-12-31T23:59:60Z", 1_483_228_799_999),
        ("2026-02-30T00:00:00Z", None),
        ("2026-11-23 17:27:40Z", None),
        ("2026-11-23T17:27:40", None),
        ("2026-11-23T17:27:40+25:00", None),
        ("٢٠٢٦-11-23T17:27:40Z", None),
    ],
)
def test_times_are_rfc_3339(text: str, ms: int | None) -> None:
    assert alertmanager.time_ms(text) == ms


def test_parse_raises_the_first_fault() -> None:
    with pytest.raises(Unreadable, match=r"alerts\[0\]\.startsAt: not RFC 3339"):
        alertmanager.parse(body(alert(startsAt="yesterday"), alert(status="sulking")))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from([*alert(), "version", "alerts", "alertname"]), inner)
    ),
    max_leaves=12,
)


@given(st.binary() | _json.map(lambda v: json.dumps(v).encode()) | _json.map(lambda v: body(v)))
def test_no_bytes_make_it_raise(value: bytes) -> None:
    found = checked(value)
    for signal in found.events:
        assert encode(signal, Head(event_id="1", at_ms=1))
    for dead in found.dead:
        assert dead.error.reason
        assert dead.error.reason.encode()
        assert dead.error.field.encode() is not None
