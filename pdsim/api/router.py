"""From a request to its handler: which member was asked, whether anybody leads, which route it is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote

from pdsim import metrics
from pdsim.api import cluster as cluster_api
from pdsim.api import config, operators, regions, schedulers, stores
from pdsim.api.route import Route
from pdsim.members import Member, Serving
from pdsim.model import Cluster
from pdsim.wire import (
    NOT_BOOTSTRAPPED,
    NOT_FOUND,
    WRONG_METHOD,
    Answer,
    Ask,
    Refusal,
    Request,
    Response,
    Silence,
    parsed_query,
    said,
    text,
)

PREFIX = "/pd/api/v1"
ROUTES: tuple[Route, ...] = (
    *cluster_api.ROUTES,
    *stores.ROUTES,
    *regions.ROUTES,
    *operators.ROUTES,
    *schedulers.ROUTES,
    *config.ROUTES,
)
_NOBODY_LEADS = {
    Serving.TO_NOT_LEADER: text(500, "[PD:apiutil:ErrRedirectToNotLeader]redirect to not leader\n"),
    Serving.REDIRECT_FAILED: text(500, "[PD:apiutil:ErrRedirect]redirect failed\n"),
    Serving.NO_LEADER: Response(
        503,
        text(503, "").headers,
        b"[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n",
        after_s=3.0,
    ),
    Serving.NOT_STARTED: text(500, "[PD:server:ErrServerNotStarted]server not started\n"),
}
_REGION_READS = ("/region/", "/regions")


def dispatch(cluster: Cluster, request: Request) -> Answer:
    """The answer of the member that the Host header means, otherwise of the leader. The world is at `now` already."""
    member = cluster.members.at_host(request.header("host")) or _anyone(cluster)
    if not member.alive:
        return Silence("refused")
    if request.path == "/metrics":
        return metrics.scrape(cluster, member) if request.method == "GET" else WRONG_METHOD
    if not request.path.startswith(PREFIX + "/"):
        return NOT_FOUND
    path = request.path.removeprefix(PREFIX)
    query = parsed_query(request.query)
    route, variables = _find(request.method, path, frozenset(query))
    if route is not None and not cluster.since(*route.since):
        route = None
    if route is not None and route.local:
        no_leader = cluster.members.serving(cluster.now) is Serving.NO_LEADER
        if no_leader and path == "/config":
            return said(500, "[PD:server:ErrLeaderNil]leader is nil")
        return route.handler(cluster, Ask(request, variables, query))
    if (instead := _without_leader(cluster, member, request, path)) is not None:
        return instead
    if route is None:
        return WRONG_METHOD if _has_path(cluster, path, frozenset(query)) else NOT_FOUND
    if route.needs_cluster and not cluster.bootstrapped:
        return NOT_BOOTSTRAPPED
    if _is_over_limit(cluster, request):
        return text(429, "Too Many Requests\n")
    try:
        return route.handler(cluster, Ask(request, variables, query))
    except Refusal as refusal:
        return refusal.response


def _anyone(cluster: Cluster) -> Member:
    leader = cluster.members.leading
    return leader if leader.alive else next((each for each in cluster.members.all if each.alive), leader)


def _without_leader(cluster: Cluster, member: Member, request: Request, path: str) -> Answer | None:
    """What stands between a call and the leader, if anything does."""
    serving = cluster.members.serving(cluster.now)
    if serving is not Serving.YES:
        return _NOBODY_LEADS[serving]
    if member.name == cluster.members.leader:
        return None
    if request.header("pd-allow-follower-handle").lower() == "true":
        return None if path.startswith(_REGION_READS) else NOT_BOOTSTRAPPED
    return Silence("hangs") if member.wedged and request.method == "GET" else None


@lru_cache(maxsize=1)
def _by_length() -> dict[int, tuple[Route, ...]]:
    """Routes by number of parts, literal ones before those with variables, as mux registers them."""
    grouped: dict[int, list[Route]] = {}
    for route in ROUTES:
        grouped.setdefault(route.pattern.count("/"), []).append(route)
    return {length: tuple(sorted(group, key=lambda route: "{" in route.pattern)) for length, group in grouped.items()}


@lru_cache(maxsize=512)
def _find(method: str, path: str, given: frozenset[str]) -> tuple[Route | None, Mapping[str, str]]:
    """The route and its path variables. A region key keeps its escapes: it is bytes, not text."""
    parts = tuple(part for part in path.split("/") if part)
    for route in _by_length().get(len(parts), ()):
        found = route.match(parts)
        if found is not None and route.method == method and given.issuperset(route.queries):
            return route, {name: word if name == "key" else unquote(word) for name, word in found.items()}
    return None, {}


def _has_path(cluster: Cluster, path: str, given: frozenset[str]) -> bool:
    """Is there a route, if with another method?"""
    parts = tuple(part for part in path.split("/") if part)
    return any(
        route.match(parts) is not None and given.issuperset(route.queries) and cluster.since(*route.since)
        for route in _by_length().get(len(parts), ())
    )


def _is_over_limit(cluster: Cluster, request: Request) -> bool:
    limit = cluster.rate_limits.get((request.method, request.path))
    if limit is None:
        return False
    recent = 0
    for call in reversed(cluster.calls):
        if call.at <= cluster.now - 1.0:
            break
        recent += call.path == request.path and call.method == request.method and call.status != 429
    return recent >= limit
