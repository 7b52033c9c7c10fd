"""A real Alertmanager, configured with what `steward connect` prints, posts to a whole Steward on a real Kafka; also
while the broker is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from console.onboarding import TOP_RECEIVER
from infra.local import kafka as local_kafka
from infra.local.alertmanager import alert
from tests import servers
from tests.integration.stack import CLUSTER, Running, Stack, stack

pytestmark = [pytest.mark.kafka, pytest.mark.alertmanager]

GONE = "prod-gone-1"  # still routed here, and no longer configured
EXPR = "what somebody once pasted there"


@pytest.fixture(scope="module")
def broker() -> Iterator[local_kafka.LocalKafka]:
    """One to stop and to start again."""
    if reason := local_kafka.missing():
        pytest.skip(reason)
    with local_kafka.LocalKafka() as it:
        yield it


@pytest.fixture(scope="module")
def made(broker: local_kafka.LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("whole"), broker.bootstrap) as it:
        assert it.steward("topics", "apply").code == 0
        yield it


@pytest.fixture(scope="module")
def up(made: Stack) -> Running:
    running = made.up()
    made.wait_until_up()
    return running


@pytest.fixture(scope="module")
def existing() -> Iterator[tuple[str, list[str]]]:
    """The webhook that people had before, and the names of the alerts that it was told."""
    told: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.extend(one["labels"]["alertname"] for one in body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", told
    server.shutdown()
    thread.join()
    server.server_close()


def pasted(printed: str, existing_url: str, token_file: str) -> dict[str, Any]:
    """The printed receiver beside the existing one, as a person pastes it; only its waits are shortened."""
    theirs: dict[str, Any] = {
        "route": {"receiver": "theirs", "group_by": ["alertname"], "group_wait": "100ms", "group_interval": "1s"},
        "receivers": [{"name": "theirs", "webhook_configs": [{"url": existing_url}]}],
    }
    ours = yaml.safe_load(printed)
    route, rest = ours["route"]["routes"]
    assert rest == {"receiver": TOP_RECEIVER}
    assert route["continue"] is True
    assert route["matchers"] == [f'env="{CLUSTER}"']
    (receiver,) = ours["receivers"]
    authorization = receiver["webhook_configs"][0]["http_config"]["authorization"]
    authorization["credentials_file"] = token_file  # as the comment beside it says
    route |= {"group_wait": "100ms", "group_interval": "1s"}
    theirs["route"]["routes"] = [route, {**route, "matchers": [f'env="{GONE}"']}, {"receiver": "theirs"}]
    theirs["receivers"].append(receiver)
    return theirs


@pytest.fixture(scope="module")
def alertmanager(made: Stack, up: Running, existing: tuple[str, list[str]]) -> Iterator[servers.Alertmanager]:
    try:
        make = servers.alertmanager_program()
    except servers.NoServer as reason:
        pytest.skip(str(reason))
    printed = made.steward("connect", CLUSTER)
    assert printed.code == 0
    assert made.secret("gateway-token") not in printed.out
    config = pasted(printed.out, existing[0], str(made.directory / "secrets" / "gateway-token"))
    with ExitStack() as close:
        real = make(config)
        close.callback(real.stop)
        yield real.start()


def stock(name: str, **labels: str) -> dict[str, Any]:
    """As the stock rules make it."""
    rule = {"env": CLUSTER, "level": "critical", "expr": EXPR, **labels}
    value = {"description": f"cluster: {rule['env']}, values:1", "value": "1", "summary": name}
    return alert(name, rule, value, starts_at=datetime.now(UTC))


def incidents(made: Stack) -> dict[str, dict[str, Any]]:
    """Each by its first alert's name, as the command line gives them."""
    found = {}
    for one in made.answer("incidents", "--all")["incidents"]:
        shown = made.answer("show", one["incident_id"])
        found[shown["text"].split("Alerts")[1].split()[1]] = one | shown
    return found


def test_alerts_of_the_stock_rules_become_incidents_with_a_diagnosis_and_a_ticket(
    made: Stack, alertmanager: servers.Alertmanager, existing: tuple[str, list[str]]
) -> None:
    made.cluster(lambda c: c.set_slow(4, 90))
    status_address = made.cluster(lambda c: c.stores[4].status_address)
    names = ["TiKV_raft_append_log_duration_secs", "PD_cluster_slow_tikv_nums", "TiKV_server_report_failure_msg_total"]

    alertmanager.post([stock(names[0], instance=status_address)])
    made.until("the first incident", lambda: made.console("/api/v1/incidents")["incidents"], 60)
    alertmanager.post([stock(names[1], instance="10.0.4.1:2379"), stock(names[2], store_id="2")])

    def told() -> bool:
        open_ones = [
            made.console(f"/api/v1/show/{i['incident_id']}") for i in made.console("/api/v1/incidents")["incidents"]
        ]
        return sum(i["alerts"] for i in open_ones) == 3 and all(i["cause"] for i in open_ones)

    made.until("incidents and their causes", told, 60)
    found = incidents(made)
    assert set(found) == {names[0], names[2]}  # the two about slowness are one incident
    slow = found[names[0]]
    assert slow["cluster_id"] == CLUSTER
    assert slow["alerts"] == 2
    assert slow["cause"] == "slow_store"
    assert "store 4" in slow["text"]
    assert "Evidence  E1 " in slow["text"]
    assert "store 2" in found[names[2]]["text"]
    assert EXPR not in slow["cause"]
    # and those who were told before are told as before
    made.until("the existing receiver", lambda: set(names) <= set(existing[1]), 30)


def test_an_alert_of_a_cluster_that_nobody_configured_stays_in_sight(
    made: Stack, alertmanager: servers.Alertmanager
) -> None:
    before = {i["incident_id"] for i in made.answer("incidents", "--all")["incidents"]}

    alertmanager.post([stock("TiKV_server_is_down", env=GONE, instance="10.9.9.9:20180")])

    made.until("the dead letter", lambda: made.console("/api/v1/dead-letters")["dead_letters"], 60)
    (letter,) = made.answer("dead-letters")["dead_letters"]
    assert (letter["role"], letter["topic"], letter["code"]) == ("intake", "alerts", "unknown_cluster")
    assert "TiKV_server_is_down" in letter["reason"]
    shown = made.steward("dead-letters").out
    assert "unknown_cluster" in shown
    assert {i["incident_id"] for i in made.answer("incidents", "--all")["incidents"]} == before
    doctor = made.steward("doctor").out
    assert "unknown_cluster" in doctor


def test_without_the_token_nothing_comes_in(made: Stack, up: Running) -> None:
    reply = httpx.post(made.url("gateway", "/api/v1/alerts"), json={}, trust_env=False)

    assert reply.status_code == 401


def test_while_kafka_is_away_the_gateway_says_503_and_nothing_is_lost(
    made: Stack, broker: local_kafka.LocalKafka, alertmanager: servers.Alertmanager
) -> None:
    broker.stop()
    try:
        alertmanager.post([stock("TiKV_coprocessor_pending_request", level="warning", instance="10.0.4.3:20180")])
        body = json.dumps({"version": "4", "status": "firing", "receiver": "x", "alerts": [_in_v4()]})
        reply = made.post_alerts(json.loads(body))

        assert reply.status_code == 503
        assert reply.json()["code"] == "unreachable"
    finally:
        broker.restart()

    def delivered() -> Any:
        found = made.console("/api/v1/incidents", all=True)
        return found and any("coprocessor" in _story(made, i["incident_id"]) for i in found["incidents"])

    made.until("Alertmanager's retry to be an incident", delivered, 150)
    made.until("everything to be up again", lambda: made.http("gateway", "/readyz").status_code == 200, 90)

    def told() -> bool:
        """It waits for a minute itself; on a loaded machine the roles may need more to be members again."""
        return made.steward("test-alert", CLUSTER, timeout_s=150).code == 0

    made.until("a test alert to have its ticket", told, 240)


def _in_v4() -> dict[str, Any]:
    """One alert in a webhook's body."""
    return {**stock("TiKV_never_told"), "status": "firing", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "00ff"}


def _story(made: Stack, incident: str) -> str:
    return str((made.console(f"/api/v1/show/{incident}") or {}).get("text", ""))
