"""What Alertmanager gets to hear: 200 only after Kafka has it, 5xx for what it shall repeat, 4xx for the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from infra.gateway import gateway
from infra.publisher import Refused, Unreachable
from schemas.events import AlertReceived

BODIES = Path(__file__).parents[1] / "data" / "alertmanager"
FIRING = (BODIES / "PD_cluster_slow_tikv_nums-firing.json").read_bytes()
RESOLVED = (BODIES / "PD_cluster_slow_tikv_nums-resolved.json").read_bytes()
CLUSTERS = {"prod-eu-7": {"env": "prod-eu-7"}}
ALERTS = "/api/v1/alerts"


@dataclass
class Kafka:
    """The edge to the log: what was acknowledged, or why nothing is."""

    got: list[tuple[str, AlertReceived]] = field(default_factory=list)
    down: Exception | None = None

    async def publish(self, alerts: list[tuple[str, AlertReceived]]) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise self.down
        self.got += alerts

    async def ready(self) -> None:
        if self.down:
            raise self.down


@pytest.fixture
def kafka_edge() -> Kafka:
    return Kafka()


@pytest.fixture
async def client(kafka_edge: Kafka) -> AsyncIterator[httpx.AsyncClient]:
    app = gateway(kafka_edge.publish, CLUSTERS, registry=CollectorRegistry(), ready=kafka_edge.ready)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


def error(answer: httpx.Response) -> tuple[int, str, str]:
    said: dict[str, Any] = answer.json()
    assert said["reason"]
    return answer.status_code, said["code"], said["field"]


@pytest.mark.parametrize(("body", "status"), [(FIRING, "firing"), (RESOLVED, "resolved")])
async def test_a_real_body_is_published_under_its_cluster(
    client: httpx.AsyncClient, kafka_edge: Kafka, body: bytes, status: str
) -> None:
    answer = await client.post(ALERTS, content=body)
    assert (answer.status_code, answer.json()) == (200, {"published": 1})
    ((key, alert),) = kafka_edge.got
    assert (key, alert.cluster_id, alert.status) == ("prod-eu-7", "prod-eu-7", status)
    assert alert.fingerprint == "709e163173f45522"


async def test_200_waits_for_the_acknowledgement() -> None:
    acknowledged, asked = asyncio.Event(), asyncio.Event()

    async def publish(alerts: list[tuple[str, AlertReceived]]) -> None:
        asked.set()
        await acknowledged.wait()

    app = gateway(publish, CLUSTERS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        post = asyncio.ensure_future(client.post(ALERTS, content=FIRING))
        await asked.wait()
        await asyncio.sleep(0.05)
        assert not post.done()
        acknowledged.set()
        assert (await post).status_code == 200


@pytest.mark.parametrize(
    ("down", "code"),
    [(Unreachable("no broker answers"), "unreachable"), (Refused("no such topic"), "refused_by_kafka")],
)
async def test_what_kafka_does_not_take_is_alertmanagers_to_send_again(
    client: httpx.AsyncClient, kafka_edge: Kafka, down: Exception, code: str
) -> None:
    kafka_edge.down = down
    assert error(await client.post(ALERTS, content=FIRING)) == (503, code, "")
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200
    kafka_edge.down = None
    assert (await client.post(ALERTS, content=FIRING)).status_code == 200
    assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""),
        (b"not json", ""),
        (b"[]", ""),
        (b"{}", "version"),
        (b'{"version": "3", "alerts": []}', "version"),
        (b'{"version": "4"}', "alerts"),
        (FIRING.replace(b'"startsAt": "2026', b'"startsAt": "MMXXVI'), "alerts[0].startsAt"),
        (
            FIRING.replace(b'"status": "firing",\n      "labels"', b'"status": "off",\n      "labels"'),
            "alerts[0].status",
        ),
        (FIRING.replace(b'"annotations": {', b'"annotations": 7, "x": {', 1), "alerts[0].annotations"),
        (FIRING.replace(b'"truncatedAlerts": 0', b'"truncatedAlerts": "none"'), "truncatedAlerts"),
    ],
)
async def test_a_body_that_is_not_v4_is_told_which_field(
    client: httpx.AsyncClient, kafka_edge: Kafka, body: bytes, field: str
) -> None:
    assert error(await client.post(ALERTS, content=body)) == (400, "not_webhook_v4", field)
    assert kafka_edge.got == []


async def test_an_alert_that_nobody_claims_is_published_in_sight(client: httpx.AsyncClient, kafka_edge: Kafka) -> None:
    answer = await client.post(ALERTS, content=FIRING.replace(b"prod-eu-7", b"prod-eu-8"))
    assert answer.status_code == 200
    ((key, alert),) = kafka_edge.got
    assert (key, alert.cluster_id, alert.labels["env"]) == ("unassigned", "", "prod-eu-8")


async def test_a_body_over_1_mib_is_refused_by_its_length(client: httpx.AsyncClient) -> None:
    assert error(await client.post(ALERTS, content=b" " * ((1 << 20) + 1))) == (413, "too_large", "")


async def test_a_body_over_1_mib_is_refused_without_a_length(client: httpx.AsyncClient, kafka_edge: Kafka) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 << 20:
            sent += 1 << 16
            yield b" " * (1 << 16)

    assert error(await client.post(ALERTS, content=endless())) == (413, "too_large", "")
    assert sent <= (1 << 20) + (1 << 17), "it stopped reading"
    assert kafka_edge.got == []


async def test_a_body_of_exactly_1_mib_is_read(client: httpx.AsyncClient) -> None:
    padded = FIRING + b" " * ((1 << 20) - len(FIRING))
    assert (await client.post(ALERTS, content=padded)).status_code == 200


async def test_a_length_that_lies_does_not_help(client: httpx.AsyncClient) -> None:
    answer = await client.post(ALERTS, content=b" " * ((1 << 20) + 1), headers={"Content-Length": "10"})
    assert answer.status_code == 413


async def test_an_encoded_body_is_not_guessed_at(client: httpx.AsyncClient) -> None:
    answer = await client.post(ALERTS, content=b"x", headers={"Content-Encoding": "gzip"})
    assert error(answer) == (415, "encoded", "")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Bearer t0ken2", "Basic t0ken", "t0ken", "Bearer t\u00f6ken"]
)
async def test_without_the_token_nothing_is_read(kafka_edge: Kafka, header: str | None) -> None:
    app = gateway(kafka_edge.publish, CLUSTERS, token="t0ken")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        headers = {} if header is None else {"Authorization": header.encode()}
        answer = await client.post(ALERTS, content=FIRING, headers=headers)  # type: ignore[arg-type]
        assert error(answer) == (401, "unauthorized", "")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "t0ken" not in answer.text
        right = await client.post(ALERTS, content=FIRING, headers={"Authorization": "Bearer t0ken"})
        assert right.status_code == 200
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("token", ["", " \n"])
def test_an_empty_token_is_no_token(kafka_edge: Kafka, token: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        gateway(kafka_edge.publish, CLUSTERS, token=token)


async def test_other_methods_and_paths_get_the_ordinary_answers(client: httpx.AsyncClient) -> None:
    answer = await client.get(ALERTS)
    assert error(answer) == (405, "method_not_allowed", "")
    assert answer.headers["allow"] == "POST"
    assert error(await client.post("/api/v2/alerts", content=FIRING)) == (404, "not_found", "")


async def test_a_bug_is_a_5xx_so_that_nothing_is_lost(kafka_edge: Kafka) -> None:
    kafka_edge.down = KeyError("a bug of ours")
    app = gateway(kafka_edge.publish, CLUSTERS)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.post(ALERTS, content=FIRING)).status_code == 500


async def test_metrics_tell_answers_and_whose_alerts(client: httpx.AsyncClient) -> None:
    await client.post(ALERTS, content=FIRING)
    await client.post(ALERTS, content=FIRING.replace(b"prod-eu-7", b"prod-eu-8"))
    await client.post(ALERTS, content=b"{}")
    text = (await client.get("/metrics")).text
    assert 'steward_gateway_alerts_total{cluster="prod-eu-7"} 1.0' in text
    assert 'steward_gateway_alerts_total{cluster="unassigned"} 1.0' in text
    assert 'steward_gateway_requests_total{code="not_webhook_v4",status="400"} 1.0' in text


async def test_several_alerts_of_one_body_all_arrive(client: httpx.AsyncClient, kafka_edge: Kafka) -> None:
    body = json.loads(FIRING)
    body["alerts"] *= 50
    assert (await client.post(ALERTS, json=body)).json() == {"published": 50}
    assert len(kafka_edge.got) == 50
