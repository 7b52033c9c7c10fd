"""The API over the desk: who may come in, and that every no is {code, field, reason} with its status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from console.desk import Refusal
from console.web import _around, app
from infra.publisher import Refused, Unreachable
from infra.settings import Secret
from schemas.alertmanager import BODY_BYTES_MAX
from schemas.events import Unreadable
from schemas.policy import Policy
from tests.console.desks import ANNA, CLUSTER, Office

TOKENS = {"anna": "token-of-anna", "ben": "token-of-ben"}


class Audit:
    """Stands for the store: one question, and a chain that holds."""

    async def query(self, name: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        if name != "executions":
            raise Refusal("wrong_use", "unknown_question", f"no question {name!r}", "name")
        return {"columns": ["cluster"], "rows": [[params.get("cluster", "")]]}

    async def verify(self, cluster_id: str, source: str = "clickhouse") -> Mapping[str, Any]:
        return {"ok": True, "text": "12 events, no gap"}

    async def export(self, cluster_id: str, since: str, until: str) -> AsyncIterator[bytes]:
        async def lines() -> AsyncIterator[bytes]:
            yield f'{{"cluster":"{cluster_id}","since":"{since}","until":"{until}"}}\n'.encode()

        return lines()


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
async def web(office: Office, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    users = {}
    for name, token in TOKENS.items():
        (tmp_path / name).write_text(token + "\n")
        users[name] = Secret.parse(f"file:{tmp_path / name}")
    users["gone"] = Secret.parse(f"file:{tmp_path / 'gone'}")
    api = app(office.desk, users, audit=Audit(), metrics=lambda: b"# from elsewhere\n", answer_s=0.2)
    transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
    headers = {"Authorization": "Bearer token-of-anna"}
    async with httpx.AsyncClient(transport=transport, base_url="http://console", headers=headers) as client:
        yield client


def said(reply: httpx.Response) -> tuple[int, str, str]:
    body = reply.json()
    assert set(body) == {"code", "field", "reason"}, body
    return reply.status_code, body["code"], body["field"]


EVERY_ROUTE = [
    ("POST", "/api/v1/remediations/R-1/approve"),
    ("POST", "/api/v1/remediations/R-1/deny"),
    ("POST", "/api/v1/remediations/R-1/cancel"),
    ("POST", "/api/v1/remediations/R-1/undo"),
    ("POST", "/api/v1/remediations/R-1/did-it-myself"),
    ("POST", "/api/v1/remediations/R-1/resolve"),
    ("POST", "/api/v1/freeze"),
    ("POST", "/api/v1/halt"),
    ("POST", "/api/v1/lift"),
    ("POST", "/api/v1/policy"),
    ("POST", "/api/v1/policy/diff"),
    ("POST", "/api/v1/ingest"),
    ("POST", "/api/v1/test-alert"),
    ("GET", "/api/v1/test-alert/f"),
    ("GET", "/api/v1/incidents"),
    ("GET", "/api/v1/waiting"),
    ("GET", "/api/v1/show/R-1"),
    ("GET", "/api/v1/why/R-1"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/dead-letters"),
    ("GET", "/api/v1/events"),
    ("POST", "/api/v1/audit/query"),
    ("POST", "/api/v1/audit/verify"),
    ("GET", "/api/v1/audit/export"),
    ("POST", "/api/v1/replay"),
]


@pytest.mark.parametrize(
    "header", ["", "Bearer ", "Bearer wrong", "Basic token-of-anna", "token-of-anna", "Bearer token-of-anna2"]
)
async def test_nobody_comes_in_without_a_users_token(web: httpx.AsyncClient, office: Office, header: str) -> None:
    office.asked()

    for method, path in EVERY_ROUTE:
        reply = await web.request(method, path, headers={"Authorization": header}, json={})
        assert said(reply) == (401, "unauthenticated", ""), path
        assert reply.headers["www-authenticate"] == "Bearer"
    assert office.said("approvals") + office.said("controls") + office.said("alerts") == []


def test_that_list_is_the_whole_api(office: Office) -> None:
    spec = app(office.desk, {}).openapi()
    paths = {(m.upper(), p) for p, verbs in spec["paths"].items() for m in verbs}

    wanted = {(m, p.replace("R-1", "{id}").replace("alert/f", "alert/{fingerprint}")) for m, p in EVERY_ROUTE}
    assert paths == wanted | {("GET", "/healthz"), ("GET", "/metrics")}


async def test_the_identity_is_that_of_the_token_and_nobody_can_say_otherwise(
    web: httpx.AsyncClient, office: Office
) -> None:
    digest = office.asked(tier="HIGH")
    body = {"digest": digest, "reason": "because"}

    assert said(await web.post("/api/v1/remediations/R-1/approve", json={**body, "person": "ben"}))[0] == 422
    await web.post("/api/v1/remediations/R-1/approve", json=body)
    reply = await web.post(
        "/api/v1/remediations/R-1/approve", json=body, headers={"Authorization": "bearer token-of-ben", "X-User": "eve"}
    )

    assert reply.json()["answer"] == "ExecutionAuthorized"
    assert [a.person for a in office.journal.remediations["R-1"].approvals] == ["anna", "ben"]


async def test_an_approval_answers_with_what_the_ledger_says(web: httpx.AsyncClient, office: Office) -> None:
    digest = office.asked()

    reply = await web.post("/api/v1/remediations/R-1/approve", json={"digest": digest[:12], "reason": "disk known bad"})

    assert reply.status_code == 200
    assert (reply.json()["counts"], reply.json()["answer"]) == (True, "ExecutionAuthorized")


async def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    web: httpx.AsyncClient, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = office.asked()

    async def lost(topic: str, cluster_id: str, event: Any) -> None:
        return None

    office.desk.publish = lost
    reply = await web.post("/api/v1/remediations/R-1/approve", json={"digest": digest, "reason": "x"})

    assert (reply.status_code, reply.json()["counts"]) == (200, None)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("approve", {"digest": "0" * 12, "reason": "x"}, (409, "wrong_digest", "digest")),
        ("approve", {"digest": "zz", "reason": "x"}, (422, "bad_digest", "digest")),
        ("approve", {"reason": "x"}, (422, "invalid", "digest")),
        ("approve", {"digest": 12, "reason": "x"}, (422, "invalid", "digest")),
        ("deny", {}, (422, "invalid", "reason")),
        ("deny", {"reason": " "}, (422, "no_reason", "reason")),
        ("deny", {"reason": "x", "force": True}, (422, "invalid", "force")),
        ("undo", {"reason": "x"}, (409, "wrong_state", "")),
        ("resolve", {"outcome": "fine", "reason": "x"}, (422, "bad_outcome", "outcome")),
    ],
)
async def test_a_word_that_cannot_be_said_is_refused_with_its_field(
    web: httpx.AsyncClient, office: Office, path: str, body: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    office.asked()

    assert said(await web.post(f"/api/v1/remediations/R-1/{path}", json=body)) == expected
    assert office.said("approvals") == []


async def test_an_expired_ask_is_a_conflict(web: httpx.AsyncClient, office: Office) -> None:
    digest = office.asked()
    office.let_pass(1000)

    reply = await web.post("/api/v1/remediations/R-1/approve", json={"digest": digest, "reason": "x"})

    assert said(reply) == (409, "expired", "")


@pytest.mark.parametrize("id", ["R-2", "%00", "..%2F..%2Fetc", "'%20OR%201=1--", "R-1%0d%0aX:%20y", "%3Cscript%3E"])
async def test_an_unknown_id_is_not_found_whatever_it_looks_like(
    web: httpx.AsyncClient, office: Office, id: str
) -> None:
    office.asked()

    reply = await web.post(f"/api/v1/remediations/{id}/deny", json={"reason": "x"})

    assert said(reply)[0] == 404


async def test_what_cannot_be_reached_is_503(web: httpx.AsyncClient, office: Office) -> None:
    office.reachable = False

    reply = await web.post("/api/v1/freeze", json={"cluster": CLUSTER, "reason": "stop"})

    assert said(reply) == (503, "not_acknowledged", "")


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (Unreachable("Kafka at kafka:9092: timed out"), (503, "not_acknowledged", "")),
        (Refused("Kafka at kafka:9092: topic authorisation failed"), (403, "refused_by_kafka", "")),
        (ConnectionError("Kafka at kafka:9092: no route"), (503, "not_acknowledged", "")),
    ],
)
async def test_every_verb_that_writes_says_that_kafka_has_not_taken_it_and_where_it_is(
    web: httpx.AsyncClient, office: Office, trouble: Exception, expected: tuple[int, str, str]
) -> None:
    async def lost(*what: Any, **named: Any) -> Any:
        raise trouble

    digest = office.asked()
    office.desk.publish = office.desk.take_in = lost
    bodies = {
        "remediations/R-1/approve": {"digest": digest, "reason": "x"},
        "remediations/R-1/deny": {"reason": "x"},
        "remediations/R-1/cancel": {"reason": "x"},
        "freeze": {"all": True, "reason": "x"},
        "halt": {"all": True, "reason": "x"},
        "policy": {"reason": "x"},
        "test-alert": {"cluster": CLUSTER},
        "ingest": {},
    }
    for path, body in bodies.items():
        reply = await web.post(f"/api/v1/{path}", json=body)
        assert said(reply) == expected, path
        assert "Kafka at kafka:9092" in reply.json()["reason"], path


async def test_a_freeze_names_a_cluster_or_all_and_not_both(web: httpx.AsyncClient, office: Office) -> None:
    for body in ({"reason": "x"}, {"reason": "x", "cluster": CLUSTER, "all": True}):
        assert said(await web.post("/api/v1/freeze", json=body)) == (422, "which", "cluster")
    assert said(await web.post("/api/v1/halt", json={"reason": "x", "cluster": CLUSTER}))[0] == 422

    assert (await web.post("/api/v1/freeze", json={"reason": "x", "all": True})).status_code == 200
    assert office.said("controls") == ["Frozen"]


async def test_an_input_is_lifted_by_its_place_and_never_with_a_freeze(web: httpx.AsyncClient, office: Office) -> None:
    place = office.chokes(7)
    body = {"cluster": CLUSTER, "reason": "read it"}
    await web.post("/api/v1/freeze", json=body)

    assert said(await web.post("/api/v1/lift", json={**body, "input": ""})) == (422, "invalid", "input")
    assert said(await web.post("/api/v1/lift", json={**body, "input": "x"})) == (422, "bad_input", "input")
    assert said(await web.post("/api/v1/lift", json={"reason": "x", "input": place})) == (422, "which", "cluster")
    assert said(await web.post("/api/v1/lift", json={**body, "input": "remediations/0@8"})) == (
        409,
        "nothing_to_lift",
        "input",
    )
    assert (await web.post("/api/v1/lift", json={**body, "input": place})).status_code == 200
    assert (await web.get("/api/v1/status")).json()["stopped_by_inputs"] == []
    assert list(office.journal.controls.stops) == [("freeze", CLUSTER)]


async def test_a_policy_is_compared_then_adopted(web: httpx.AsyncClient, office: Office) -> None:
    draft = {"actions": {"evict_store_leaders": {"mode": "dry_run"}}}

    diff = (await web.post("/api/v1/policy/diff", json={"policy": draft})).json()
    reply = await web.post("/api/v1/policy", json={"policy": draft, "after_version": diff["version"], "reason": "try"})

    assert diff["changes"] == {
        "actions.evict_store_leaders.mode": [None, "dry_run"],
        "actions.evict_store_leaders.canary": [None, []],
    }
    assert reply.status_code == 200
    assert office.journal.controls.policy.version == 1
    wrong = {"policy": {"approval": {"medium": "auto"}}, "reason": "x"}
    assert said(await web.post("/api/v1/policy", json=wrong)) == (422, "invalid", "policy.approval")


async def test_a_body_that_is_no_webhook_names_its_field(web: httpx.AsyncClient, office: Office) -> None:
    async def take_in(body: bytes) -> str:
        raise Unreadable("not_webhook_v4", "missing", "alerts")

    office.desk.take_in = take_in

    assert said(await web.post("/api/v1/ingest", content=b"{}")) == (422, "not_webhook_v4", "alerts")


async def test_a_body_over_the_limit_is_not_read(web: httpx.AsyncClient, office: Office) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (BODY_BYTES_MAX // 2)

    assert said(await web.post("/api/v1/ingest", content=b"x" * (BODY_BYTES_MAX + 1))) == (413, "too_large", "body")
    assert said(await web.post("/api/v1/ingest", content=parts()))[:2] == (413, "too_large")
    assert said(await web.post("/api/v1/freeze", content=parts()))[:2] == (413, "too_large")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"x"', b"[" * 100_000])
async def test_junk_for_a_body_is_refused_and_breaks_nothing(web: httpx.AsyncClient, content: bytes) -> None:
    reply = await web.post("/api/v1/freeze", content=content, headers={"Content-Type": "application/json"})

    assert said(reply)[0] in (400, 422)


async def test_show_has_the_card_the_digest_and_the_timeline(web: httpx.AsyncClient, office: Office) -> None:
    office.incident()
    digest = office.asked()

    remediation = (await web.get("/api/v1/show/R-1")).json()
    incident = (await web.get("/api/v1/show/INC-1")).json()

    assert (remediation["state"], remediation["digest"]) == ("asked", digest)
    assert digest[:12] in remediation["text"]
    assert incident["remediations"] == ["R-1"]
    assert "APPROVE?" in incident["cards"][0]


async def test_what_is_listed_is_what_there_is(web: httpx.AsyncClient, office: Office) -> None:
    office.incident()
    office.asked()

    assert [i["incident_id"] for i in (await web.get("/api/v1/incidents")).json()["incidents"]] == ["INC-1"]
    assert said(await web.get("/api/v1/incidents?cluster=nowhere")) == (404, "unknown_cluster", "cluster")
    assert [w["id"] for w in (await web.get("/api/v1/waiting")).json()["waiting"]] == ["R-1"]
    (row,) = (await web.get("/api/v1/status")).json()["clusters"]
    assert (row["cluster"], row["incidents"], row["waiting"]) == (CLUSTER, 1, 1)


async def test_events_come_once_each_from_where_one_asks(web: httpx.AsyncClient, office: Office) -> None:
    office.incident()

    first = (await web.get("/api/v1/events")).json()
    office.asked()
    more = (await web.get(f"/api/v1/events?since={first['next']}&wait_s=1")).json()

    assert [x["event"] for x in first["events"]] == ["IncidentOpened"]
    assert more["events"][0]["event"] == "ActionProposed"
    assert (await web.get(f"/api/v1/events?since={more['next']}")).json()["events"] == []
    assert said(await web.get("/api/v1/events?since=-1")) == (422, "invalid", "since")


async def test_the_audit_is_asked_through_the_process_that_has_it(web: httpx.AsyncClient, office: Office) -> None:
    reply = await web.post("/api/v1/audit/query", json={"name": "executions", "params": {"cluster": CLUSTER}})

    assert reply.json()["rows"] == [[CLUSTER]]
    assert said(await web.post("/api/v1/audit/query", json={"name": "x"})) == (400, "unknown_question", "name")
    assert (await web.post("/api/v1/audit/verify", json={})).json()["ok"] is True
    exported = await web.get(f"/api/v1/audit/export?cluster={CLUSTER}&since=2027-01-01")
    assert exported.json() == {"cluster": CLUSTER, "since": "2027-01-01", "until": ""}


async def test_a_console_without_replays_says_so(web: httpx.AsyncClient, office: Office) -> None:
    assert said(await web.post("/api/v1/replay", json={"incident": "INC-1"})) == (503, "not_here", "")
    assert said(await web.post("/api/v1/replay", json={})) == (422, "invalid", "incident")


async def test_a_console_that_still_reads_the_log_says_so_but_freezes(web: httpx.AsyncClient, office: Office) -> None:
    office.journal.caught_up = False

    assert (await web.get("/healthz", headers={"Authorization": ""})).status_code == 503
    assert said(await web.get("/api/v1/waiting")) == (503, "catching_up", "")
    assert (await web.post("/api/v1/freeze", json={"all": True, "reason": "x"})).status_code == 200


async def test_metrics_need_no_token(web: httpx.AsyncClient) -> None:
    text = (await web.get("/metrics", headers={"Authorization": ""})).text

    assert "# from elsewhere" in text
    assert "steward_waiting 0" in text


async def test_unknown_paths_and_methods_are_errors_of_the_same_shape(web: httpx.AsyncClient) -> None:
    assert said(await web.get("/api/v1/nothing")) == (404, "not_found", "")
    assert said(await web.get("/api/v1/freeze")) == (405, "method_not_allowed", "")


async def test_a_card_shows_the_limits_of_the_clusters_tier(office: Office) -> None:
    draft = Policy.model_validate({"limits": {"tier": {"1": {"execution_s_max": 120}, "2": {"execution_s_max": 60}}}})
    await office.desk.policy_apply(ANNA, "dear ones are quick", draft)
    office.asked()

    assert _around(office.desk, office.journal.remediations["R-1"]).limits.execution_s_max == 120
