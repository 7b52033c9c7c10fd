"""/cluster, /members, /leader, /health and what else speaks of PD itself."""

from __future__ import annotations

from pdsim import go
from pdsim.api.route import Route
from pdsim.members import Member
from pdsim.model import Cluster
from pdsim.stores import State
from pdsim.wire import EMPTY, Ask, Response, said


def ping(_: Cluster, __: Ask) -> Response:
    return EMPTY


def version(cluster: Cluster, _: Ask) -> Response:
    return said(200, {"version": cluster.version, "build_time": "None", "hash": "None", "branch": "None"})


def status(cluster: Cluster, _: Ask) -> Response:
    return said(
        200,
        {
            "build_ts": "None",
            "version": cluster.version,
            "git_hash": "None",
            "start_timestamp": int(cluster.booted_at),
            "loaded": not cluster.loads_regions,
        },
    )


def health(cluster: Cluster, _: Ask) -> Response:
    """Each member as the asked one reaches it; a wedged one is still true."""
    return said(
        200,
        [
            {"name": each.name, "member_id": each.id, "client_urls": [each.client_url], "health": each.alive}
            for each in cluster.members.all
        ],
    )


def get_cluster(cluster: Cluster, _: Ask) -> Response:
    return said(200, {"id": cluster.id, "max_peer_count": cluster.config.max_replicas})


def cluster_status(cluster: Cluster, _: Ask) -> Response:
    born = go.rfc3339(cluster.bootstrapped_at) if cluster.bootstrapped else "0001-01-01T00:00:00Z"
    return said(200, {"raft_bootstrap_time": born, "is_initialized": cluster.bootstrapped, "replication_status": ""})


def members(cluster: Cluster, _: Ask) -> Response:
    leader = cluster.members.leading.view(full=False)
    return said(
        200,
        {
            "header": {"cluster_id": cluster.id},
            "members": [member.view(full=True) for member in cluster.members.all],
            "leader": leader,
            "etcd_leader": leader,
        },
    )


def leader(cluster: Cluster, _: Ask) -> Response:
    return said(200, cluster.members.leading.view(full=False))


def resign(cluster: Cluster, _: Ask) -> Response:
    """Alone, it resigns and leads on."""
    moves = cluster.members.next_leader() is not None
    if moves:
        cluster.change_pd_leader(cluster.now)
    return said(200, "The resign command is submitted.", changed=moves)


def transfer(cluster: Cluster, ask: Ask) -> Response:
    chosen: Member | None = cluster.members.get(ask.path["next_leader"])
    if chosen is None or not chosen.alive:
        return said(500, "no valid pd to transfer etcd leader")
    moves = chosen.name != cluster.members.leader
    if moves:
        cluster.change_pd_leader(cluster.now, to=chosen.name)
    return said(200, "The transfer command is submitted.", changed=moves)


def set_member(cluster: Cluster, ask: Ask) -> Response:
    member = cluster.members.get(ask.path["name"])
    if member is None:
        return said(404, f"not found, pd: {ask.path['name']}")
    value = ask.json_object().get("leader-priority")
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return said(400, "bad format leader priority")
        member.priority = int(value)
    return said(200, "success")


def _min_resolved(cluster: Cluster, store_id: int) -> int:
    """A store's TSO, a second behind its last heartbeat; an unknown store's is the largest number there is."""
    store = cluster.stores.get(store_id)
    return go.MAX_UINT64 if store is None else int((store.last_heartbeat - 1.0) * 1000) << 18


def min_resolved(cluster: Cluster, ask: Ask) -> Response:
    """The map comes only with ?scope; stores that do not exist show in it and don't count in the total."""
    up = [store.id for store in cluster.stores.values() if store.state is State.Up]
    total = min((_min_resolved(cluster, store) for store in up), default=0)
    by_store: dict[str, int] | None = None
    if "scope" in ask.query:
        scope = ask.first("scope")
        try:
            wanted = up if scope in ("cluster", "") else [go.parse_uint(part) for part in scope.split(",")]
        except go.GoError as error:
            return said(400, str(error))
        by_store = {str(store): _min_resolved(cluster, store) for store in sorted(wanted, key=str)}
    return _resolved(total, by_store)


def store_min_resolved(cluster: Cluster, ask: Ask) -> Response:
    return said(
        200,
        {
            "is_real_time": True,
            "min_resolved_ts": _min_resolved(cluster, ask.plain_uint("store_id")),
            "persist_interval": "1s",
        },
    )


def _resolved(total: int, by_store: dict[str, int] | None) -> Response:
    seen = {
        "is_real_time": True,
        "min_resolved_ts": total,
        "persist_interval": "1s",
        "stores_min_resolved_ts": by_store,
    }
    return said(200, seen)


def unsafe_recovery(_: Cluster, __: Ask) -> Response:
    """Unsafe recovery itself is not simulated: nothing of ours may start it."""
    return said(200, [{"info": "No on-going recovery."}])


def unsafe_start(_: Cluster, ask: Ask) -> Response:
    """Only the refusals: a malformed body gets two JSON documents one after the other, as seen."""
    try:
        go.loads(ask.request.body)
    except go.SyntaxErrorInJson as error:
        body = {"code": "input", "msg": str(error), "data": {"Offset": error.offset}}
        twice = go.dumps_indented(body) + go.dumps_indented(str(error))
        headers = (*said(400, "").headers, ("tidb-error-code", "input"))
        return Response(400, headers, twice)
    return said(400, "Store ids are invalid")


def replication_mode(_: Cluster, __: Ask) -> Response:
    return said(200, {"mode": "majority"})


ROUTES = (
    Route("GET", "/ping", ping, needs_cluster=False, local=True),
    Route("GET", "/version", version, needs_cluster=False, local=True),
    Route("GET", "/health", health, needs_cluster=False, local=True),
    Route("GET", "/status", status, needs_cluster=False),
    Route("GET", "/cluster", get_cluster, needs_cluster=False),
    Route("GET", "/cluster/status", cluster_status, needs_cluster=False),
    Route("GET", "/members", members, needs_cluster=False),
    Route("POST", "/members/name/{name}", set_member, needs_cluster=False),
    Route("GET", "/leader", leader, needs_cluster=False),
    Route("POST", "/leader/resign", resign, needs_cluster=False),
    Route("POST", "/leader/transfer/{next_leader}", transfer, needs_cluster=False),
    Route("GET", "/min-resolved-ts", min_resolved),
    Route("GET", "/min-resolved-ts/{store_id}", store_min_resolved),
    Route("GET", "/admin/unsafe/remove-failed-stores/show", unsafe_recovery),
    Route("POST", "/admin/unsafe/remove-failed-stores", unsafe_start),
    Route("GET", "/replication_mode/status", replication_mode),
)
