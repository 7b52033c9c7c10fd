"""The desk as a JSON API. Bearer tokens say who somebody is; every error is {code, field, reason}.

There are no cookies, so no page can make a browser speak for its user. /healthz and /metrics ask for no token.
Annotations are evaluated here (no `from __future__`): FastAPI reads those that are made inside `app`.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console import card
from console.desk import AuditPort, Desk, Done, Kind, Refusal, ReplayPort, Who
from console.journal import IncidentStory, RemediationStory, headline, standing
from infra.settings import ConfigError, Secret
from schemas.alertmanager import BODY_BYTES_MAX
from schemas.policy import CLUSTER_TIER_DEAREST, Policy
from schemas.values import EVERY_CLUSTER

STATUS: Mapping[Kind, int] = {
    "wrong_use": 400,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "invalid": 422,
    "unavailable": 503,
}
ANSWER_S = 5.0  # how long a word waits for what the ledger says to it
WATCH_S_MAX = 30.0
LOOK_S = 0.05
VIAS = ("cli", "web")
TOO_LARGE = f"at most {BODY_BYTES_MAX} bytes are read"

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Id = Annotated[str, Path(min_length=1, max_length=128)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Approve(Body):
    digest: Text
    reason: Text


class Said(Body):
    reason: Text


class Resolve(Body):
    outcome: Text
    reason: Text


class Freeze(Body):
    cluster: Text | None = None
    all: bool = False
    reason: Text


class Lift(Freeze):
    input: Text | None = None  # of one input: what it has stopped, and nothing else


class Adopt(Body):
    policy: dict[str, Any] | None = None  # None: the draft in the console's own file
    after_version: int | None = None
    reason: Text


class Compare(Body):
    policy: dict[str, Any] | None = None


class TestAlert(Body):
    cluster: Text


class Question(Body):
    name: Text
    params: dict[str, str] = {}


class Verify(Body):
    cluster: str = ""
    source: Literal["clickhouse", "kafka", "both"] = "clickhouse"


class Again(Body):
    incident: Text
    source: str = ""


def app(
    desk: Desk,
    users: Mapping[str, Secret],
    *,
    audit: AuditPort | None = None,
    replays: ReplayPort | None = None,
    metrics: Callable[[], bytes] = lambda: b"",
    answer_s: float = ANSWER_S,
) -> FastAPI:
    """The application. `metrics` gives the Prometheus text; `audit` None: there is no store here."""
    api = FastAPI(title="TiKV Steward", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    api.add_middleware(_Bounded)
    _errors(api)

    async def person(request: Request) -> Who:
        return _who(request, users)

    Person = Annotated[Who, Depends(person)]

    async def settled(done: Done) -> dict[str, Any]:
        """What was done and, where the ledger answers soon, what it has come to."""
        deadline = asyncio.get_running_loop().time() + answer_s
        while done.awaits >= 0 and (line := desk.answer(done)) is None:
            if asyncio.get_running_loop().time() > deadline:
                text = f"{done.text}. Recorded; not answered yet: see `steward show {done.id}`"
                return {"id": done.id, "approval_id": done.approval_id, "text": text, "answer": None, "counts": None}
            await asyncio.sleep(LOOK_S)
        if done.awaits < 0 or line is None:
            return {"id": done.id, "text": done.text}
        counts = line.event != "ApprovalRejected"
        return {
            "id": done.id,
            "approval_id": done.approval_id,
            "text": line.text,
            "answer": line.event,
            "counts": counts,
        }

    # -- words about a remediation

    @api.post("/api/v1/remediations/{id}/approve")
    async def approve(id: Id, body: Approve, who: Person) -> dict[str, Any]:
        return await settled(await desk.approve(who, id, body.digest, body.reason))

    @api.post("/api/v1/remediations/{id}/deny")
    async def deny(id: Id, body: Said, who: Person) -> dict[str, Any]:
        return await settled(await desk.deny(who, id, body.reason))

    @api.post("/api/v1/remediations/{id}/cancel")
    async def cancel(id: Id, body: Said, who: Person) -> dict[str, Any]:
        return await settled(await desk.cancel(who, id, body.reason))

    @api.post("/api/v1/remediations/{id}/undo")
    async def undo(id: Id, body: Said, who: Person) -> dict[str, Any]:
        return await settled(await desk.undo(who, id, body.reason))

    @api.post("/api/v1/remediations/{id}/did-it-myself")
    async def did_it_myself(id: Id, body: Said, who: Person) -> dict[str, Any]:
        return await settled(await desk.did_it_myself(who, id, body.reason))

    @api.post("/api/v1/remediations/{id}/resolve")
    async def resolve(id: Id, body: Resolve, who: Person) -> dict[str, Any]:
        return await settled(await desk.resolve(who, id, body.outcome, body.reason))

    # -- controls

    @api.post("/api/v1/freeze")
    async def freeze(body: Freeze, who: Person) -> dict[str, Any]:
        return await settled(await desk.freeze(who, _scope(body), body.reason))

    @api.post("/api/v1/halt")
    async def halt(body: Freeze, who: Person) -> dict[str, Any]:
        if not body.all or body.cluster:
            raise Refusal("invalid", "needs_all", "a halt stops everything: say `all`", "all")
        return await settled(await desk.halt(who, body.reason))

    @api.post("/api/v1/lift")
    async def lift(body: Lift, who: Person) -> dict[str, Any]:
        if body.input is not None:
            return await settled(await desk.lift_input(who, _scope(body), body.input, body.reason))
        return await settled(await desk.lift(who, _scope(body), body.reason))

    @api.post("/api/v1/policy/diff")
    async def policy_diff(body: Compare, who: Person) -> dict[str, Any]:
        return desk.policy_diff(_policy(body.policy))

    @api.post("/api/v1/policy")
    async def policy_apply(body: Adopt, who: Person) -> dict[str, Any]:
        return await settled(await desk.policy_apply(who, body.reason, _policy(body.policy), body.after_version))

    # -- alerts

    @api.post("/api/v1/ingest")
    async def ingest(request: Request, who: Person) -> dict[str, Any]:
        return await settled(await desk.ingest(await request.body()))

    @api.post("/api/v1/test-alert")
    async def test_alert(body: TestAlert, who: Person) -> dict[str, Any]:
        return await settled(await desk.test_alert(who, body.cluster))

    @api.get("/api/v1/test-alert/{fingerprint}")
    async def test_ticket(fingerprint: Id, who: Person) -> dict[str, Any]:
        """The ticket that a test alert has become; null while there is none. Having it ends the test."""
        story = desk.journal.ticket_of_test(fingerprint)
        if story is None or story.ticket is None:
            return {"ticket": None}
        if not story.closed:
            await desk.end_test_alert(who, story.cluster_id, story)
        return {"ticket": card.ticket(story, []), "incident_id": story.incident_id}

    # -- looking

    @api.get("/api/v1/incidents")
    async def incidents(who: Person, cluster: str = "", all: bool = False) -> dict[str, Any]:
        return {"incidents": [_incident(desk, i) for i in desk.incidents(cluster, all)]}

    @api.get("/api/v1/waiting")
    async def waiting(who: Person) -> dict[str, Any]:
        return {"waiting": [asdict(w) for w in desk.waiting()]}

    @api.get("/api/v1/show/{id}")
    async def show(id: Id, who: Person) -> dict[str, Any]:
        return _story(desk, desk.show(id))

    @api.get("/api/v1/why/{id}")
    async def why(id: Id, who: Person) -> dict[str, Any]:
        return {"id": id, "reasons": [asdict(r) for r in desk.why(id)]}

    @api.get("/api/v1/status")
    async def status(who: Person) -> dict[str, Any]:
        return desk.status()

    @api.get("/api/v1/dead-letters")
    async def dead_letters(who: Person, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
        latest = list(desk.journal.dead)[-limit:]
        letters = [
            {"at_ms": d.at_ms, **d.letter.model_dump(exclude={"raw"}), "bytes": len(d.letter.raw)} for d in latest
        ]
        return {"count": desk.journal.dead_count, "dead_letters": letters}

    @api.get("/api/v1/events")
    async def events(
        who: Person,
        since: Annotated[int, Query(ge=0)] = 0,
        wait_s: Annotated[float, Query(ge=0, le=WATCH_S_MAX)] = 0,
    ) -> dict[str, Any]:
        """Events after the `since`-th; waits for the first at most `wait_s`. `next` is what to ask for then."""
        since = min(since, desk.journal.n)  # this process has been started anew
        deadline = asyncio.get_running_loop().time() + wait_s
        while not (lines := desk.journal.since(since)):
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(LOOK_S)
        return {"next": lines[-1].n if lines else since, "events": [asdict(line) for line in lines]}

    # -- audit

    @api.post("/api/v1/audit/query")
    async def audit_query(body: Question, who: Person) -> dict[str, Any]:
        return dict(await _audit(audit).query(body.name, body.params))

    @api.post("/api/v1/audit/verify")
    async def audit_verify(body: Verify, who: Person) -> dict[str, Any]:
        return dict(await _audit(audit).verify(body.cluster, body.source))

    @api.get("/api/v1/audit/export")
    async def audit_export(who: Person, cluster: str = "", since: str = "", until: str = "") -> StreamingResponse:
        lines = await _audit(audit).export(cluster, since, until)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @api.post("/api/v1/replay")
    async def replay(body: Again, who: Person) -> dict[str, Any]:
        if replays is None:
            raise Refusal("unavailable", "not_here", "this console replays nothing")
        return dict(await replays.replay(body.incident, body.source))

    # -- for machines

    @api.get("/healthz")
    async def healthz() -> JSONResponse:
        ready = desk.journal.caught_up
        return JSONResponse({"ok": ready, "caught_up": ready}, 200 if ready else 503)

    @api.get("/metrics")
    async def exposed() -> PlainTextResponse:
        own = {
            "steward_waiting": len(desk.journal.waiting(desk.now_ms())),
            "steward_open_incidents": len(desk.journal.open_incidents()),
            "steward_dead_letters_seen": desk.journal.dead_count,
            "steward_console_caught_up": int(desk.journal.caught_up),
        }
        text = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in own.items())
        return PlainTextResponse(metrics().decode() + text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return api


# -- who --------------------------------------------------------------------------------------------------------------


def _who(request: Request, users: Mapping[str, Secret]) -> Who:
    """The user whose token this is. Every user is compared, in constant time, so that timing names nobody."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = hashlib.sha256(token.strip().encode()).digest()
    found = ""
    for name, secret in users.items():
        try:
            expected = hashlib.sha256(secret.read().strip().encode()).digest()
        except ConfigError:
            continue  # `doctor` says so; nobody comes in by a secret that is not there
        if hmac.compare_digest(given, expected):
            found = name
    if scheme.lower() != "bearer" or not token.strip() or not found:
        raise HTTPException(401, "a bearer token of a configured user is needed", {"WWW-Authenticate": "Bearer"})
    via = request.headers.get("x-steward-via", "web")
    return Who(found, via if via in VIAS else "web")


# -- shapes -----------------------------------------------------------------------------------------------------------


def _scope(body: Freeze) -> str:
    if body.all == bool(body.cluster):
        raise Refusal("invalid", "which", "name a cluster, or say `all`", "cluster")
    return EVERY_CLUSTER if body.all else str(body.cluster)


def _policy(given: dict[str, Any] | None) -> Policy | None:
    if given is None:
        return None
    if "version" in given:
        raise Refusal("invalid", "invalid", "version counts adoptions: it is not given", "policy.version")
    try:
        return Policy.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["policy", *(str(part) for part in first["loc"])])
        raise Refusal("invalid", "invalid", first["msg"], field) from error


def _incident(desk: Desk, story: IncidentStory) -> dict[str, Any]:
    remediations = [r for i in story.remediations if (r := desk.journal.remediations.get(i))]
    return {
        "incident_id": story.incident_id,
        "cluster_id": story.cluster_id,
        "headline": headline(story),
        "status": standing(story, remediations),
        "opened_ms": story.opened_ms,
        "open": story.closed is None,
        "alerts": len(story.alerts),
        "remediations": story.remediations,
        "synthetic": bool(story.opened and story.opened.synthetic),
    }


def _around(desk: Desk, story: RemediationStory) -> card.Around:
    now, journal = desk.now_ms(), desk.journal
    stopped = tuple(journal.why_stopped(story.cluster_id, now))
    tier = desk.tier_of(story.cluster_id)
    return card.Around(tier, now, journal.controls.policy.limits.of(tier or CLUSTER_TIER_DEAREST), stopped)


def _story(desk: Desk, story: IncidentStory | RemediationStory) -> dict[str, Any]:
    """Text for people beside the same as data."""
    lines = [asdict(line) for line in sorted(story.lines, key=lambda x: (x.at_ms, x.n))]
    if isinstance(story, RemediationStory):
        text = card.remediation(story, _around(desk, story))
        return {
            "kind": "remediation",
            "id": story.remediation_id,
            "cluster_id": story.cluster_id,
            "incident_id": story.incident_id,
            "state": story.state,
            "digest": story.ask.digest if story.ask else "",
            "expires_at_ms": story.expires_at_ms,
            "approvals": [{"person": a.person, "reason": a.reason} for a in story.approvals],
            "outcome": story.concluded.outcome if story.concluded else "",
            "closed": story.closed.code if story.closed else "",
            "text": text,
            "timeline": card.timeline(story),
            "events": lines,
        }
    remediations = [r for i in story.remediations if (r := desk.journal.remediations.get(i))]
    return {
        "kind": "incident",
        "id": story.incident_id,
        **_incident(desk, story),
        "cause": story.adopted.cause if story.adopted else "",
        "text": card.ticket(story, remediations),
        "cards": [card.remediation(r, _around(desk, r)) for r in remediations if r.state == "asked"],
        "timeline": card.timeline(story),
        "events": lines,
    }


def _audit(audit: AuditPort | None) -> AuditPort:
    if audit is None:
        raise Refusal("unavailable", "no_audit", "no audit store is configured here", "clickhouse")
    return audit


# -- errors -----------------------------------------------------------------------------------------------------------


def _error(status: int, code: str, field: str, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"code": code, "field": field, "reason": reason}, status, headers=dict(headers or {}))


def _errors(api: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return _error(STATUS[error.kind], error.code, error.field, error.reason)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = [str(part) for part in first["loc"][1:]]
        return _error(422, "invalid", ".".join(place), first["msg"])

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StarletteHTTPException)
        codes = {401: "unauthenticated", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
        return _error(error.status_code, codes.get(error.status_code, "refused"), "", error.detail, error.headers)

    async def broken(request: Request, error: Exception) -> JSONResponse:
        return _error(500, "bug", "", type(error).__name__)

    for kind, handler in (
        (Refusal, refused),
        (RequestValidationError, invalid),
        (StarletteHTTPException, http),
        (Exception, broken),
    ):
        api.add_exception_handler(kind, handler)


class _Bounded:
    """No body is larger than a webhook may be, whether or not it says how long it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > BODY_BYTES_MAX:
            return await _error(413, "too_large", "body", f"at most {BODY_BYTES_MAX} bytes are read")(
                scope, receive, send
            )
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > BODY_BYTES_MAX:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self._app(scope, counted, send)
