"""Reads PD: one consistent set of facts of a configured cluster, by allow-listed GETs, within a budget of seconds."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import httpx

from actions.calls import PREFIX
from infra import pd_parse, tikv
from infra.pd_parse import CHECKS, FIRST, STATUS, THEN, Pass, Said, Who
from schemas.facts import Facts, Look, NoFacts, TikvSetting

T = TypeVar("T")

BODY_BYTES_MAX = 8 << 20
CONNECTIONS_MAX = 6
ROUNDS_MAX = 2  # over all endpoints: a read may be repeated, where PD is between two leaders
AGAIN_S = 0.25  # which takes 0.1 s where the old one steps down, and 12 s where it died: then the next pass finds it
BETWEEN_LEADERS = frozenset({"pd_no_leader", "pd_leader_changed"})
REGIONS_MAX = 100  # regions that one action may ask for
WATCH_S = 10.0
HEADERS = {"X-Caller-ID": "steward/read", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class PdEndpoint:
    """One configured cluster. `pd_cluster_id` None: not pinned, so its id is reported, and nothing may act on it."""

    urls: tuple[str, ...]
    pd_cluster_id: int | None = None
    tls: ssl.SSLContext | None = None


@dataclass
class _Watched:
    """What this process has seen of a cluster so far."""

    leader: tuple[str, int] = ("", 0)  # name, start of its process
    since_s: float = 0.0  # on the monotonic clock
    closed_until_s: float = 0.0  # the breaker
    first_url: int = 0  # the one that answered last


class NotOnTheList(Exception):
    """A GET that this reader may not make. Nothing was sent."""


@dataclass(frozen=True)
class PdReader:
    """Implements schemas.facts.FactsReader. Holds no connection between two reads.

    A PD leader is as old as this process has watched it, from a restart of its process on; so call `keep_watch` from
    the start of every process that judges facts, or each restart of ours waits for `pd_leader_age_s_min`. A leader that
    moved away and back between two looks goes unnoticed.
    """

    clusters: Mapping[str, PdEndpoint]
    budget_s: float = 2.0
    breaker_s: float = 5.0
    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    transport: Callable[[str], httpx.AsyncBaseTransport] | None = None  # of a cluster; None: the network
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _tls: dict[str, ssl.SSLContext] = field(default_factory=dict)

    async def facts(self, cluster_id: str, look: Look = Look()) -> Facts:  # noqa: B008  (frozen)
        """Raises NoFacts: what PD did not say, or said so that it can't be believed."""
        asked = len(look.region_ids) + len(look.operators_of)
        if asked > REGIONS_MAX:
            raise NoFacts("pd_too_large", f"{asked} regions asked for, at most {REGIONS_MAX} are read")
        paths = (*THEN, *pd_parse.asked_paths(look))

        async def read(ask: _Ask) -> Facts:
            began = self.monotonic_s()
            first = await ask.each(FIRST)
            known = self._believed(cluster_id, pd_parse.who(first))
            said = first | await ask.each(paths)
            if pd_parse.who(await ask.each(FIRST)) != known:
                raise NoFacts("pd_leader_changed", "PD's leader or members changed while they were read")
            now_s = self.wall_s()
            age_s = self._leader_age_s(cluster_id, known.leader, pd_parse.started_at_ms(said[STATUS]))
            took_ms = max(0, int((self.monotonic_s() - began) * 1000))
            return pd_parse.facts(said, look, Pass(cluster_id, int(now_s * 1000), took_ms, age_s))

        facts = await self._on_some_endpoint(cluster_id, read)
        return await self._with_setting(facts, look.tikv_setting) if look.tikv_setting else facts

    async def _with_setting(self, facts: Facts, asked: TikvSetting) -> Facts:
        """A budget of its own: a store that hangs is no reason to think that PD does."""
        endpoint = self.clusters[facts.cluster_id]
        url = endpoint.urls[self._watched[facts.cluster_id].first_url]
        began = self.monotonic_s()
        async with self._client(facts.cluster_id, endpoint, url, tikv.BUDGET_S) as client:
            found = await tikv.setting(client, httpx.URL(url).scheme, asked, facts.store(asked.store_id))
        took_ms = facts.took_ms + max(0, int((self.monotonic_s() - began) * 1000))
        seen = {"tikv_setting": found, "taken_at_ms": int(self.wall_s() * 1000), "took_ms": took_ms}
        return facts.model_copy(update=seen)

    async def watch(self, cluster_id: str) -> None:
        """Notice who leads PD, so that its age is known when it is asked for. Raises NoFacts."""

        async def read(ask: _Ask) -> None:
            known = self._believed(cluster_id, pd_parse.who(await ask.each(FIRST)))
            started = pd_parse.started_at_ms((await ask.each((STATUS,)))[STATUS])
            self._leader_age_s(cluster_id, known.leader, started)

        await self._on_some_endpoint(cluster_id, read)

    async def keep_watch(self, every_s: float = WATCH_S) -> None:
        """Watch every cluster until cancelled; what can't be read now is read next time."""
        while True:
            await asyncio.gather(*(self.watch(c) for c in self.clusters), return_exceptions=True)
            await asyncio.sleep(every_s)

    # who answers

    def _believed(self, cluster_id: str, known: Who) -> Who:
        pinned = self.clusters[cluster_id].pd_cluster_id
        if pinned is not None and known.pd_cluster_id != pinned:
            text = f"{cluster_id} is pinned to PD cluster {pinned}, but {known.pd_cluster_id} answers"
            raise NoFacts("pd_wrong_cluster", text)
        return known

    def _leader_age_s(self, cluster_id: str, leader: str, started_at_ms: int) -> float:
        """By our own clock alone: by PD's, a process may not have been started yet."""
        watched = self._watched[cluster_id]
        if watched.leader != (leader, started_at_ms):
            watched.leader, watched.since_s = (leader, started_at_ms), self.monotonic_s()
        return self.monotonic_s() - watched.since_s

    # which endpoint

    async def _on_some_endpoint(self, cluster_id: str, read: Callable[[_Ask], Awaitable[T]]) -> T:
        """The first endpoint that answers, the one of last time first; each gets its share of the budget.

        Where PD was between two leaders, all are asked once more.
        """
        endpoint = self.clusters.get(cluster_id)
        if endpoint is None or not endpoint.urls:
            raise NoFacts("pd_not_configured", f"no PD is configured for {cluster_id}")
        watched = self._watched.setdefault(cluster_id, _Watched())
        if (left_s := watched.closed_until_s - self.monotonic_s()) > 0:
            raise NoFacts("pd_breaker_open", f"PD of {cluster_id} timed out; asked again in {left_s:.1f} s")
        ends_s = self.monotonic_s() + self.budget_s
        count = len(endpoint.urls)
        failed: list[NoFacts] = []
        for tried in range(count * ROUNDS_MAX):
            if tried == count:
                if failed[-1].code not in BETWEEN_LEADERS or ends_s - self.monotonic_s() < 2 * AGAIN_S:
                    break
                await asyncio.sleep(AGAIN_S)
            index = (watched.first_url + tried) % count
            share_s = max(0.05, (ends_s - self.monotonic_s()) / (count - tried % count))
            try:
                url = endpoint.urls[index]
                async with asyncio.timeout(share_s), self._connections(cluster_id, endpoint, url) as transport:
                    found = await read(_Ask(transport, url, httpx.Timeout(share_s).as_dict()))
            except (TimeoutError, httpx.TimeoutException):
                failed.append(NoFacts("pd_timeout", f"{endpoint.urls[index]} gave no answer within {share_s:.1f} s"))
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
                failed.append(NoFacts("pd_unreachable", f"{endpoint.urls[index]}: {type(error).__name__}: {error}"))
            except NoFacts as error:
                if error.code != "pd_error" and error.code not in BETWEEN_LEADERS:
                    raise
                failed.append(error)
            else:
                watched.first_url = index
                return found
        if any(f.code == "pd_timeout" for f in failed):
            watched.closed_until_s = self.monotonic_s() + self.breaker_s
        raise NoFacts(failed[0].code, "; ".join(dict.fromkeys(f.text for f in failed)))

    def _connections(self, cluster_id: str, endpoint: PdEndpoint, url: str) -> httpx.AsyncBaseTransport:
        """Fresh for each pass; deaf to proxies and credentials in the environment; follows no redirect."""
        if self.transport:
            return self.transport(cluster_id)
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX)
        verify = self._context(cluster_id, endpoint) if url.startswith("https") else False
        return httpx.AsyncHTTPTransport(verify=verify, limits=limits, retries=0)

    def _client(self, cluster_id: str, endpoint: PdEndpoint, url: str, share_s: float) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=self._connections(cluster_id, endpoint, url),
            timeout=httpx.Timeout(share_s),
            follow_redirects=False,
            trust_env=False,
            headers=HEADERS,
        )

    def _context(self, cluster_id: str, endpoint: PdEndpoint) -> ssl.SSLContext:
        """Made once: reading the trusted certificates costs more than the whole pass."""
        if cluster_id not in self._tls:
            self._tls[cluster_id] = endpoint.tls or ssl.create_default_context()
        return self._tls[cluster_id]


@lru_cache(maxsize=4096)
def _url(endpoint: str, path: str) -> httpx.URL:
    """Parsed once: a pass asks for the same twenty, again and again. Raises InvalidURL."""
    return httpx.URL(endpoint.rstrip("/") + PREFIX + path)


@dataclass(frozen=True)
class _Ask:
    """GETs to one endpoint. Straight to its connections: cookies, redirects and credentials, which a client would see
    to, are not wanted, and take as long as all the rest."""

    transport: httpx.AsyncBaseTransport
    endpoint: str
    timeout: dict[str, float | None]

    async def each(self, paths: Iterable[str]) -> dict[str, Said]:
        """All of them, side by side. Raises for the first that fails, and lets none go on."""
        tasks = {path: asyncio.ensure_future(self.get(path)) for path in paths}
        try:
            await asyncio.gather(*tasks.values())
        except BaseException:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            raise
        return {path: task.result() for path, task in tasks.items()}

    async def get(self, path: str) -> Said:
        """One answer: 200, or that there is no such thing. Raises NotOnTheList, NoFacts, httpx's errors."""
        if not pd_parse.may_read(path):
            raise NotOnTheList(path)
        url = _url(self.endpoint, path)
        request = httpx.Request("GET", url, headers=HEADERS, extensions={"timeout": self.timeout})
        response = await self.transport.handle_async_request(request)
        async with contextlib.aclosing(response):
            if "content-encoding" in response.headers:  # not asked for: it could unpack to any size
                raise NoFacts("pd_unexpected", f"GET {path}: the answer is compressed")
            body: bytes | None = b""
            async for chunk in response.aiter_bytes():
                body = (body or b"") + chunk
                if len(body) > BODY_BYTES_MAX:
                    body = None
                    break
            said = Said(response.status_code, body)
        if said.status != 200 and not pd_parse.is_absent(path, said):
            raise pd_parse.refusal(path, said)
        if said.body is None and path not in CHECKS:
            raise NoFacts("pd_too_large", f"GET {path}: more than {BODY_BYTES_MAX} bytes")
        return said
