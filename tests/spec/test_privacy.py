"""What is marked secret is in no event; credentials in the addresses of others are taken out where they come in; text
from outside is bounded, field by field."""

import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from structlog.testing import capture_logs

from infra.gateway import gateway
from infra.settings import Secret, Settings, secrets
from schemas import events as e
from schemas.alertmanager import cleansed, read
from schemas.chain import edge
from schemas.events import AlertFired, AlertReceived, AlertResolved, Event, all_events
from schemas.privacy import OfOthers, Secretive, marked, without_credentials
from schemas.values import Model
from schemas.wire import encode
from streams import intake
from tests.spec.world import CLUSTER, World, live

# -- marked


def test_no_event_has_a_field_that_is_marked_secret() -> None:
    assert len(all_events()) > 60
    for kind in all_events().values():
        assert list(marked(kind)) == []


class Held(Model):
    token: Annotated[str, Secretive()]


def refusal(**annotations: Any) -> str:
    """Why there can't be an event with these fields."""
    body = {"__annotations__": annotations, "__module__": __name__, "model_config": {"arbitrary_types_allowed": True}}
    try:
        type("Leaky", (Event,), body)
    except TypeError as error:
        return str(error)
    return ""


def test_an_event_with_a_field_that_is_marked_secret_cannot_be_made() -> None:
    never = "what is marked secret is never in an event"
    assert refusal(token=Annotated[str, Secretive()]) == f"Leaky: token: {never}"
    assert refusal(held=tuple[Held, ...]) == f"Leaky: held.token: {never}"
    assert refusal(key=Secret | None, held=Held) == f"Leaky: key, held.token: {never}"
    gc.collect()  # what was made of them
    assert "Leaky" not in all_events()


def test_whatever_the_configuration_names_as_a_secret_is_marked() -> None:
    """So that nobody can put one into an event, by its type."""
    found = set(marked(Settings))
    assert {"kafka.credentials", "clickhouse.credentials", "gateway.token", "console.signing_key"} <= found
    assert {"console.users", "model.api_key", "sinks.url", "approvals.keys", "clusters.tls_write"} <= found
    given: dict[str, Any] = {
        "environment": "t",
        "gateway": {"token": "env:A"},
        "sinks": {"chat": {"url": "env:B"}},
        "clusters": {
            "c": {"alert_labels": {"a": "b"}, "pd": ["https://pd:1"], "pd_cluster_id": 1, "tls_read": "dir:x"}
        },
    }
    for name, _ in secrets(Settings.model_validate(given, context={"base": Path()})):
        parts = name.split(".")
        assert {".".join(parts), ".".join([parts[0], *parts[2:]])} & found, name


def test_the_addresses_of_others_are_marked_as_that() -> None:
    of_others = {f"{name}.{field}" for name, kind in all_events().items() for field in marked(kind, OfOthers)}
    assert of_others == {
        "AlertReceived.generator_url",
        "AlertReceived.source",
        "AlertFired.generator_url",
        "AlertFired.source",
        "IncidentOpened.generator_url",
        "AlertFolded.generator_url",
    }


# -- addresses


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://prometheus:9090/graph?g0.expr=up", "http://prometheus:9090/graph?g0.expr=up"),
        ("https://anna:hunter2@host:9093/x", "https://host:9093/x"),
        ("https://hunter2@host", "https://host"),
        ("https://anna:p@ss@host/a@b", "https://host/a@b"),
        ("see https://u:hunter2@a/x and ftp://u:hunter2@b", "see https://a/x and ftp://b"),
        ("https://h/x?token=hunter2&a=1", "https://h/x?token=***&a=1"),
        ("https://h/x?a=1&X-Amz-Signature=hunter2#y", "https://h/x?a=1&X-Amz-Signature=***#y"),
        ("https://h/x#access_token=hunter2", "https://h/x#access_token=***"),
        ("https://h/x?api_key=hunter2;sig=hunter2", "https://h/x?api_key=***;sig=***"),
        ("/login?Password=hunter2", "/login?Password=***"),
        ("mail anna@example.org; a=b", "mail anna@example.org; a=b"),
        ("up{job=\"tikv\"} and monkey=1", "up{job=\"tikv\"} and monkey=1"),
        ("https://h/x?monkey=1&key=hunter2", "https://h/x?monkey=1&key=***"),
    ],
)  # fmt: skip
def test_credentials_are_taken_out_of_addresses_and_nothing_else_is(given: str, kept: str) -> None:
    assert without_credentials(given) == kept
    assert without_credentials(kept) == kept


WORD = st.text("abc:@?&;=/#. ", max_size=30)


@given(before=WORD, user=st.text("ab:@.", max_size=10), after=WORD)
def test_no_password_before_a_host_is_left(before: str, user: str, after: str) -> None:
    text = f"{before} https://{user}PLANTED@host/{after}"
    assert "PLANTED" not in without_credentials(text)


@given(st.text())
def test_a_text_is_cleansed_once(text: str) -> None:
    assert without_credentials(without_credentials(text)) == without_credentials(text)


def test_a_text_that_is_made_to_take_long_does_not() -> None:
    """A monitor may send a mebibyte of anything. What is read for each character is bounded."""
    import time

    began_s = time.process_time()
    for piece in ("://", "?a", "?token", "&key=", "://a@", "?" + "a" * 80):
        without_credentials(piece * (200_000 // len(piece)) + "=")
    assert time.process_time() - began_s < 5


# -- where alerts come in

PLANTED = ("hunter2", "tok-5ecret", "s3cr3t-pa55", "bearer-of-the-gateway")
TEXTS = {
    "url": "https://anna:hunter2@prometheus:9090/graph?token=tok-5ecret&g0.expr=up",
    "runbook": "see https://wiki:s3cr3t-pa55@wiki/runbook",
}


def body(status: str = "firing", at: str = "2027-01-15T08:00:00Z") -> bytes:
    """A webhook whose texts all hold credentials."""
    labels = {"alertname": "PD_cluster_slow_tikv_nums", "env": CLUSTER, "level": "critical", "panel": TEXTS["url"]}
    labels["instance"] = "127.0.0.1:2379"
    alert = {
        "status": status,
        "labels": labels,
        "annotations": {"summary": TEXTS["runbook"], "runbook_url": TEXTS["url"]},
        "startsAt": at,
        "generatorURL": TEXTS["url"],
        "fingerprint": "f1",
    }
    return json.dumps({"version": "4", "externalURL": TEXTS["url"], "alerts": [alert]}).encode()


@dataclass
class Record:
    value: bytes
    partition: int = 0
    at_ms: int = 1_800_000_100_000
    key: bytes = CLUSTER.encode()


CLUSTERS = {CLUSTER: {"env": CLUSTER}}


def signals(value: bytes) -> list[AlertFired | AlertResolved]:
    checked = intake.check(Record(value), 1_800_000_100_000, CLUSTERS, 1)
    assert not checked.dead, checked.dead
    return list(checked.events)


def test_a_monitors_own_json_and_avro_lose_their_credentials_at_intake() -> None:
    (by_json,) = signals(body())
    raw = AlertReceived(
        cluster_id=CLUSTER,
        name="Slow",
        status="firing",
        starts_at_ms=1,
        labels={"env": CLUSTER, "panel": TEXTS["url"]},
        annotations={"a": TEXTS["runbook"]},
        generator_url=TEXTS["url"],
        source=TEXTS["url"],
    )
    (by_avro,) = signals(encode(raw))
    for fired in (by_json, by_avro):
        said = fired.model_dump_json()
        assert not [p for p in PLANTED if p in said]
        assert isinstance(fired, AlertFired)
        assert fired.generator_url == "https://prometheus:9090/graph?token=***&g0.expr=up"
    assert by_avro.fingerprint == cleansed(raw).fingerprint != ""
    assert cleansed(cleansed(raw)) == cleansed(raw)


def test_what_names_no_cluster_is_a_dead_letter_that_says_no_credential() -> None:
    raw = AlertReceived(
        cluster_id="", name="Slow", status="firing", starts_at_ms=1, labels={"env": f"x {TEXTS['url']}"}
    )
    (dead,) = intake.check(Record(encode(raw), key=b"nobody"), 2, CLUSTERS, 1).dead
    assert dead.error.code == "unknown_cluster"
    assert not [p for p in PLANTED if p in dead.error.reason]


def test_planted_secrets_are_in_no_event_log_line_or_ticket_of_a_whole_run(capfd: pytest.CaptureFixture[str]) -> None:
    """From Alertmanager's post, with its token, to the repaired store."""

    async def spec(world: World) -> None:
        async def publish(alerts: list[tuple[str, AlertReceived]]) -> None:
            for key, alert in alerts:
                world.log.write("alerts", edge(alert.model_copy(update={"cluster_id": key}), "", world.now_ms()))

        app = gateway(publish, CLUSTERS, token="bearer-of-the-gateway", registry=CollectorRegistry())
        world.adopt()
        world.start()
        world.pd.set_slow(4, 90)
        await world.passes(15)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            for token, status in (("s3cr3t-pa55", 401), ("bearer-of-the-gateway", 200)):
                answer = await client.post(
                    "/api/v1/alerts", content=body(), headers={"Authorization": f"Bearer {token}"}
                )
                assert answer.status_code == status
                assert not [p for p in PLANTED if p in answer.text]
        ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
        world.approve(ask)
        await world.until(lambda: world.one(e.Concluded), 3600)
        await world.until(lambda: (t := world.one(e.TicketWritten)) is not None and t.status == "FIXED, UNDONE")

        ticket = world.one(e.TicketWritten)
        assert ticket is not None
        assert "https://prometheus:9090/graph" in ticket.model_dump_json()  # it has come all the way
        assert len(world.sink.said) > 0
        found = [(topic, p) for topic, text in everything(world) for p in PLANTED if p in text]
        assert found == []

    with capture_logs() as lines:
        live(spec)
    out, err = capfd.readouterr()
    assert not [p for p in PLANTED if p in f"{lines}{out}{err}"]


def everything(world: World) -> Iterator[tuple[str, str]]:
    for (topic, _), raws in world.log.records.items():
        for raw in raws:
            yield topic, f"{raw.key!r} {(raw.value or b'').decode('latin-1')}"
    for said in world.sink.said:
        yield "sink", " ".join(said)


# -- bounds

HUGE = "x" * 200_000
OUTSIDE: dict[str, Any] = {  # every text of an alert, with what it is bounded to; a number of entries beside it
    "cluster_id": "one that is configured",
    "name": intake.NAME_CHARS_MAX,
    "status": "firing or resolved",
    "labels": (intake.LABELS_MAX, intake.LABEL_CHARS_MAX),
    "annotations": (intake.ANNOTATIONS_MAX, intake.ANNOTATION_CHARS_MAX),
    "fingerprint": intake.NAME_CHARS_MAX,
    "generator_url": intake.URL_CHARS_MAX,
    "source": intake.LABEL_CHARS_MAX,
}


def test_every_text_of_an_alert_has_its_bound() -> None:
    texts = {n for n, f in AlertReceived.model_fields.items() if f.annotation in (str, dict[str, str])}
    assert texts == set(OUTSIDE)


@pytest.mark.parametrize("field", sorted(OUTSIDE))
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_no_text_of_an_alert_is_longer_in_an_event_than_its_bound(field: str, status: str) -> None:
    given: dict[str, Any] = {
        "cluster_id": CLUSTER,
        "name": "Slow",
        "status": status,
        "starts_at_ms": 1,
        "labels": {"env": CLUSTER},
    }
    is_mapping = isinstance(OUTSIDE[field], tuple)
    huge: list[Any] = [{"env": CLUSTER, "k": HUGE}, {"env": CLUSTER, HUGE: "v"}] if is_mapping else [HUGE]
    if is_mapping:
        huge.append({"env": CLUSTER, **{f"k{n}": "v" for n in range(1000)}})
    for value in huge:
        alert = AlertReceived(**{**given, field: value})
        checked = intake.check(Record(encode(alert)), 2, CLUSTERS, 1)
        assert checked.events or checked.dead
        for dead in checked.dead:
            assert len(dead.error.reason) < 1500, dead.error.field
        for event in checked.events:
            for text in texts_in(event):
                assert len(text) <= intake.LABEL_CHARS_MAX
            assert len(getattr(event, "labels", {})) <= intake.LABELS_MAX
            assert len(getattr(event, "annotations", {})) <= intake.ANNOTATIONS_MAX


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from texts_in(getattr(value, name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*texts_in(key), *texts_in(inner))
    elif isinstance(value, tuple):
        for inner in value:
            yield from texts_in(inner)


def test_a_webhook_reads_the_same_text_that_it_was_given_where_that_holds_no_credential() -> None:
    plain = json.loads(body())
    plain["alerts"][0]["annotations"] = {"summary": "TiKV is slow; see panel 3 = 4"}
    (alert,) = read(json.dumps(plain).encode()).alerts
    assert alert.annotations == {"summary": "TiKV is slow; see panel 3 = 4"}
