"""PD's HTTP face over the model: pure (`answer`), in memory (`transport`), as ASGI (`asgi`), on a port (`serve`).

Which host is asked says whether it is PD or the status port of a store's TiKV (status_port.py), over the same cluster.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import httpx

from pdsim import status_port
from pdsim.api import router
from pdsim.faults import Faults
from pdsim.model import Call, Cluster
from pdsim.wire import Answer, Request, Response, Silence

__all__ = ["Request", "Response", "Served", "Silence", "Transport", "answer", "asgi", "serve", "transport"]

Clock = Callable[[], float]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def answer(cluster: Cluster, request: Request, now: float, faults: Faults | None = None) -> Answer:
    """Move the cluster to `now` (seconds since the epoch), answer, and put the call on record.

    Pure but for the cluster and the faults it is given. A Silence is no answer: refused, dropped, or hanging for ever.
    """
    cluster.advance(now)

    def apply() -> Answer:
        store = None if request.path.startswith("/pd/") else status_port.at_host(cluster, request.header("host"))
        given = status_port.answer(store, request) if store else router.dispatch(cluster, request)
        if isinstance(given, Silence):
            return given
        return Response(given.status, given.headers, given.body, given.after_s, _changed(request, given))

    seen = faults.meet(request, cluster.now, apply) if faults else apply()
    cluster.calls.append(
        Call(
            at=cluster.now,
            method=request.method,
            path=request.path,
            query=request.query,
            body=request.body,
            caller_id=request.header("x-caller-id"),
            status=seen.status if isinstance(seen, Response) else None,
            applied=bool(seen.changed),
            host=request.header("host"),
        )
    )
    return seen


def _changed(request: Request, given: Response) -> bool:
    if given.changed is not None:
        return given.changed
    return request.method != "GET" and 200 <= given.status < 300


# In memory


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """An httpx transport without sockets. Nothing sleeps: an answer beyond the read time-out is a time-out at once."""

    def __init__(self, cluster: Cluster, clock: Clock, faults: Faults | None = None) -> None:
        self.cluster, self.clock, self.faults = cluster, clock, faults

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._exchange(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._exchange(request, await request.aread())

    def _exchange(self, request: httpx.Request, body: bytes) -> httpx.Response:
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        headers = tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in request.headers.raw)
        asked = Request(request.method, path, query, headers, body)
        given = answer(self.cluster, asked, self.clock(), self.faults)
        if isinstance(given, Silence):
            raise _SILENCES[given.how](given.how, request=request)
        patience_s = request.extensions.get("timeout", {}).get("read")
        if patience_s is not None and given.after_s > patience_s:
            raise httpx.ReadTimeout("the answer comes later than the read time-out", request=request)
        return httpx.Response(given.status, headers=_headers(given), content=given.body, request=request)


_SILENCES: dict[str, type[httpx.TransportError]] = {
    "refused": httpx.ConnectError,
    "unreachable": httpx.ConnectTimeout,
    "dropped": httpx.RemoteProtocolError,
    "hangs": httpx.ReadTimeout,
}


def transport(cluster: Cluster, clock: Clock, faults: Faults | None = None) -> Transport:
    """For httpx.Client(transport=...) and httpx.AsyncClient(transport=...) alike."""
    return Transport(cluster, clock, faults)


def _headers(given: Response) -> list[tuple[str, str]]:
    return [*given.headers, ("content-length", str(len(given.body)))]


# Over a socket

ABORT = "pdsim.abort"
"""Key in the ASGI scope under which `serve` puts the function that breaks the connection."""


def asgi(cluster: Cluster, clock: Clock, faults: Faults | None = None, lock: threading.Lock | None = None) -> App:
    """An ASGI app. Hold `lock` to touch the cluster from another thread while the app runs."""
    guard = lock or threading.Lock()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        asked = await _asked(scope, receive)
        with guard:
            given = answer(cluster, asked, clock(), faults)
        if isinstance(given, Response):
            if given.after_s:
                await asyncio.sleep(given.after_s)
            headers = [(name.encode(), value.encode()) for name, value in _headers(given)]
            await send({"type": "http.response.start", "status": given.status, "headers": headers})
            await send({"type": "http.response.body", "body": given.body})
            return
        if given.how != "hangs" and ABORT in scope:
            scope[ABORT]()
        while (await receive())["type"] != "http.disconnect":
            pass

    return app


async def _asked(scope: Scope, receive: Receive) -> Request:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = tuple((name.decode().lower(), value.decode("latin-1")) for name, value in scope["headers"])
    path = scope.get("raw_path") or scope["path"].encode()
    return Request(scope["method"], path.decode("ascii"), scope["query_string"].decode("ascii"), headers, body)


class Served:
    """A simulated PD on a loopback port. `do` touches the cluster safely while it serves; `stop` ends it."""

    def __init__(
        self, cluster: Cluster, url: str, lock: threading.Lock, clock: Clock, stop: Callable[[], None]
    ) -> None:
        self.cluster, self.url, self.stop = cluster, url, stop
        self._lock, self._clock = lock, clock

    def do(self, act: Callable[[Cluster], Any]) -> Any:
        """Advance to the present, then act, with no request in between; what `act` gives back."""
        with self._lock:
            self.cluster.advance(self._clock())
            return act(self.cluster)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(
    cluster: Cluster,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Clock = time.time,
    faults: Faults | None = None,
    tls: Path | None = None,
) -> Served:
    """Serve from a thread of its own; port 0 takes a free one. Returns when the port accepts connections.

    With `tls`, a directory of ca.pem, cert.pem and key.pem, every client must show a certificate of that authority.
    """
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Breakable(H11Protocol):
        """uvicorn's own protocol, which also lets the app break the connection."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            inner = self.app

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await inner({**scope, ABORT: transport.abort}, receive, send)

            self.app = app

    lock = threading.Lock()
    listener = socket.create_server((host, port))
    app: Any = asgi(cluster, clock, faults, lock)
    config = uvicorn.Config(
        app,
        http=Breakable,
        lifespan="off",
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls and tls / "cert.pem",
        ssl_keyfile=tls and str(tls / "key.pem"),
        ssl_ca_certs=tls and str(tls / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls else ssl.CERT_NONE,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="pdsim", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=5)
        listener.close()

    return Served(cluster, f"http{'s' if tls else ''}://{host}:{listener.getsockname()[1]}", lock, clock, stop)
