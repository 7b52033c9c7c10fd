"""Sends one call to PD, once. No retry, no failover, no redirect: what became of it is found out by looking.

Connections are never reused: one that the server closed meanwhile fails in a way that can't be told from a request that
was read and dropped. With a fresh one, failing to connect is proof that nothing was sent.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import httpx

from actions.calls import PREFIX, Request, judge, render
from schemas.events import Answer
from schemas.facts import NoFacts
from schemas.values import Call

BODY_BYTES_MAX = 64 * 1024
IDENTITY_S = 3.0
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class NotAllowed(Exception):
    """The action that this client was made for may not make this call. Nothing was sent."""


class NoEndpoint(Exception):
    """`cluster_id` was not asked first, so no endpoint has said which cluster it is. Nothing was sent."""


@dataclass(slots=True)
class Reply:
    """What came of one request."""

    answer: Answer
    status: int = 0
    body: str = ""
    code: str = ""
    took_ms: int = 0


class PdWriter:
    """A client of one cluster that can say the calls in `may_call` and nothing else.

    `urls` are tried in turn by `cluster_id` alone, a read; `send` goes to the one that answered it, and to no other.
    """

    def __init__(
        self,
        urls: tuple[str, ...],
        *,
        may_call: frozenset[str],
        tls: ssl.SSLContext | None = None,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        identity_s: float = IDENTITY_S,
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        self._urls, self._may_call, self._identity_s = urls, may_call, identity_s
        self._tls, self._transport, self._monotonic_s = tls, transport, monotonic_s
        self._endpoint: str | None = None

    async def cluster_id(self) -> int:
        """The id that the very endpoint gives which `send` will use. Raises NoFacts."""
        self._endpoint = None
        heard: list[str] = []
        for url in self._urls:
            try:
                found = await self._identity(url)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                heard.append(f"{url}: {type(error).__name__}")
                continue
            except ValueError as error:
                heard.append(f"{url}: {error}")
                continue
            self._endpoint = url
            return found
        raise NoFacts("pd_unreachable", "GET /cluster: " + ("; ".join(heard) or "no PD is configured"))

    async def _identity(self, url: str) -> int:
        async with asyncio.timeout(self._identity_s), self._client(url, self._identity_s) as client:
            status, _, body = await exchange(
                client, client.build_request("GET", f"{PREFIX}/cluster", headers={"X-Caller-ID": "steward/read"})
            )
        if status != 200:
            raise ValueError(f"HTTP {status}")
        try:
            said = json.loads(body)
        except RecursionError as error:
            raise ValueError("not a cluster") from error
        found = said.get("id") if isinstance(said, dict) else None
        if not isinstance(found, int) or isinstance(found, bool) or found <= 0:
            raise ValueError("no cluster id in the answer")
        return found

    async def send(self, call: Call, *, caller_id: str, within_s: float) -> Reply:
        """One request to one endpoint. Raises NotAllowed, NoEndpoint or BadCall, all before anything is sent."""
        request, endpoint = self._allowed(call)
        if request.server:
            raise NotAllowed(f"{call.name!r} goes to a store")
        began_s = self._monotonic_s()
        return await self._once(endpoint, request, call, caller_id=caller_id, within_s=within_s, began_s=began_s)

    def _allowed(self, call: Call) -> tuple[Request, str]:
        """The request, and the PD that has said its id. Raises NotAllowed, NoEndpoint or BadCall."""
        if call.name not in self._may_call:
            raise NotAllowed(f"{call.name!r} is not among {', '.join(sorted(self._may_call)) or 'no calls at all'}")
        request = render(call)
        if self._endpoint is None:
            raise NoEndpoint("ask for the cluster's id first")
        return request, self._endpoint

    async def _once(
        self, url: str, request: Request, call: Call, *, caller_id: str, within_s: float, began_s: float
    ) -> Reply:
        try:
            async with asyncio.timeout(within_s), self._client(url, within_s) as client:
                headers = {"X-Caller-ID": caller_id}
                if request.body:
                    headers["Content-Type"] = "application/json"
                built = client.build_request(
                    request.method, request.path, content=request.body.encode() or None, headers=headers
                )
                status, content_type, body = await exchange(client, built)
        except NEVER_SENT as error:
            return Reply("never_sent", code=type(error).__name__, body=str(error), took_ms=self._since(began_s))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError) as error:
            return Reply("may_have_run", code=type(error).__name__, body=str(error), took_ms=self._since(began_s))
        answer, code, text = judge(call, status, content_type, body)
        return Reply(answer, status, text, code, self._since(began_s))

    def _since(self, began_s: float) -> int:
        return int((self._monotonic_s() - began_s) * 1000)

    def _client(self, url: str, within_s: float) -> httpx.AsyncClient:
        """Fresh each time; deaf to proxies and credentials in the environment."""
        return httpx.AsyncClient(
            base_url=url,
            transport=self._transport() if self._transport else self._wire(url),
            timeout=httpx.Timeout(within_s),
            follow_redirects=False,
            trust_env=False,
            headers={"Connection": "close", "Accept-Encoding": "identity"},
        )

    def _wire(self, url: str) -> httpx.AsyncBaseTransport:
        if self._tls is None and url.startswith("https"):
            self._tls = ssl.create_default_context()
        return httpx.AsyncHTTPTransport(
            verify=self._tls or False, retries=0, http1=True, http2=False, socket_options=_UNSENT_DIES
        )


# A request that the kernel still holds when we give up must not be delivered later: closing resets the connection and
# drops what is unsent, also when the process dies; and nothing unacknowledged is retransmitted for longer than this.
_UNSENT_DIES: list[tuple[int, int, int] | tuple[int, int, bytes]] = [
    (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000),
]


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, most: int = BODY_BYTES_MAX
) -> tuple[int, str, str]:
    """(status, content type, body); more than fits is cut, and then is no JSON."""
    response = await client.send(request, stream=True)
    try:
        body = b""
        if "content-encoding" in response.headers:  # not asked for: it could unpack to any size
            return response.status_code, "", "a compressed answer"
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > most:
                break
    finally:
        await response.aclose()
    text = body[:most].decode("utf-8", "replace")
    return response.status_code, response.headers.get("content-type", ""), text
