"""The gateway role: Alertmanager posts here, and hears 200 only after Kafka has the alerts.

Alertmanager's webhook client retries 5xx alone: so 503 while Kafka does not take them, and 4xx only for what no
repetition would mend. Nothing is kept here: what was not answered with 200 is Alertmanager's to send again.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from infra.publisher import Refused, Unreachable
from schemas.alertmanager import BODY_BYTES_MAX, Clusters, keyed, parse
from schemas.events import AlertReceived, Unreadable

_log = structlog.get_logger()

Publish = Callable[[list[tuple[str, AlertReceived]]], Awaitable[None]]
Ready = Callable[[], Awaitable[None]]


class _No(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.status, self.code, self.reason, self.field = status, code, reason, field


async def always_ready() -> None:
    return None


@dataclass(frozen=True)
class _Metrics:
    requests: Counter
    alerts: Counter
    seconds: Histogram

    @classmethod
    def on(cls, registry: CollectorRegistry) -> _Metrics:
        return cls(
            Counter("steward_gateway_requests", "Alert posts by answer", ["status", "code"], registry=registry),
            Counter(
                "steward_gateway_alerts", "Alerts published, by cluster or `unassigned`", ["cluster"], registry=registry
            ),
            Histogram("steward_gateway_publish_seconds", "Until Kafka had acknowledged", registry=registry),
        )


def gateway(
    publish: Publish,
    clusters: Clusters,
    *,
    token: str | None = None,
    registry: CollectorRegistry | None = None,
    ready: Ready = always_ready,
) -> Starlette:
    """The app. `publish` returns when Kafka has acknowledged all, or raises Unreachable or Refused; `ready` likewise.

    `token` None: no authentication, for a loopback or a mesh that does it.
    """
    if token is not None and not token.strip():
        raise ValueError("the bearer token is empty: that would let everybody in")
    registry = registry or CollectorRegistry()
    metrics = _Metrics.on(registry)

    async def alerts(request: Request) -> Response:
        try:
            published = await _take(request)
        except _No as no:
            metrics.requests.labels(str(no.status), no.code).inc()
            return _error(no)
        metrics.requests.labels("200", "published").inc()
        return JSONResponse({"published": published})

    async def _take(request: Request) -> int:
        _authenticate(request, token)
        body = await _body(request)
        try:
            received = keyed(parse(body), clusters)
        except Unreadable as wrong:
            raise _No(413 if wrong.code == "too_large" else 400, wrong.code, wrong.reason, wrong.field) from wrong
        try:
            with metrics.seconds.time():
                await publish(received)
        except (Unreachable, Refused) as error:
            code = "unreachable" if isinstance(error, Unreachable) else "refused_by_kafka"
            _log.warning("alerts not published", code=code, reason=str(error), alerts=len(received))
            raise _No(503, code, str(error)) from error
        for key, _ in received:
            metrics.alerts.labels(key).inc()
        return len(received)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        try:
            await ready()
        except (Unreachable, Refused) as error:
            return _error(_No(503, "not_ready", str(error)))
        return PlainTextResponse("ok\n")

    async def figures(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def ordinary(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        body = {"code": error.detail.lower().replace(" ", "_"), "field": "", "reason": error.detail}
        return JSONResponse(body, error.status_code, headers=error.headers)

    return Starlette(
        routes=[
            Route("/api/v1/alerts", alerts, methods=["POST"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", figures),
        ],
        exception_handlers={HTTPException: ordinary},
    )


def _authenticate(request: Request, token: str | None) -> None:
    """Before a byte of the body is read. The comparison takes the same time whatever is wrong."""
    if token is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise _No(401, "unauthorized", "the bearer token that is configured here is missing or wrong")


async def _body(request: Request) -> bytes:
    """At most 1 MiB, whatever Content-Length says or does not say."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _No(415, "encoded", "a plain body is expected, without Content-Encoding")
    too_large = _No(413, "too_large", f"at most {BODY_BYTES_MAX} bytes are read")
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and (len(said) > 18 or int(said) > BODY_BYTES_MAX):
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise too_large
    except ClientDisconnect as gone:
        raise _No(400, "cut_off", "the body ended early") from gone
    return bytes(body)


def _error(no: _No) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if no.status == 401 else None
    return JSONResponse({"code": no.code, "field": no.field, "reason": no.reason}, no.status, headers=headers)
