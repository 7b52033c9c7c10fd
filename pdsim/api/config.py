"""/config: read it, change it for good, change it for a while."""

from __future__ import annotations

from pdsim import go
from pdsim.api.route import Route
from pdsim.config import REPLICATION, SCHEDULE, BadConfig, Locked
from pdsim.model import Cluster
from pdsim.stores import Store
from pdsim.wire import Ask, Refusal, Response, bad_input, said, text

UPDATED = "The config is updated."


def get_all(cluster: Cluster, ask: Ask) -> Response:
    """Booleans are strings only inside schedule, replication, pd-server and replication-mode."""
    config, leader = cluster.config, cluster.members.leading
    member = cluster.members.at_host(ask.request.header("host")) or leader
    shown: dict[str, object] = {
        "client-urls": member.client_url,
        "peer-urls": member.peer_url,
        "advertise-client-urls": member.client_url,
        "advertise-peer-urls": member.peer_url,
        "name": member.name,
        "data-dir": f"/var/lib/{member.name}",
        "initial-cluster": ",".join(f"{each.name}={each.peer_url}" for each in cluster.members.all),
        "initial-cluster-state": "new",
        "initial-cluster-token": "pd-cluster",
        **config.top,
        "schedule": config.schedule_view(),
        "replication": config.replication,
        "pd-server": config.pd_server,
        "cluster-version": cluster.version.removeprefix("v"),
        "labels": {},
        "security": {"cacert-path": "", "cert-path": "", "key-path": "", "redact-info-log": False},
        "label-property": {},
        "dashboard": {"internal-proxy": False, "enable-telemetry": False, "enable-experimental": False},
        "replication-mode": {"replication-mode": "majority"},
    }
    return said(200, shown)


def get_default(_: Cluster, __: Ask) -> Response:
    return said(200, {"schedule": SCHEDULE, "replication": REPLICATION})


def get_schedule(cluster: Cluster, _: Ask) -> Response:
    store_limits = {
        str(store.id): {kind: limit.per_minute for kind, limit in store.limits.items()}
        for store in cluster.stores.values()
    }
    return said(200, cluster.config.schedule_view() | {"store-limit": dict(sorted(store_limits.items()))})


def get_replicate(cluster: Cluster, _: Ask) -> Response:
    return said(200, cluster.config.replication)


def get_version(cluster: Cluster, _: Ask) -> Response:
    return said(200, cluster.version.removeprefix("v"))


def set_any(cluster: Cluster, ask: Ask) -> Response:
    """Keys are applied one by one in random order: a refusal may come after some have taken effect."""
    try:
        body = go.loads(ask.request.body)
    except go.SyntaxErrorInJson as error:
        return said(400, str(error))
    if not isinstance(body, dict):
        kind = go.kind_of(body)
        return said(400, f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
    if "ttlSecond" in ask.query:
        return _set_for_a_while(cluster, ask.first("ttlSecond"), body)
    changed = False
    for key in cluster.shuffled(sorted(body)):
        try:
            cluster.config.set_any(key, body[key], cluster.now)
        except BadConfig as error:
            return said(400, str(error), changed=changed)
        changed = True
    cluster.wake()
    return said(200, UPDATED, changed=changed)


def _set_for_a_while(cluster: Cluster, seconds: str, body: dict[str, go.Json]) -> Response:
    try:
        length = go.parse_int(seconds)
        cluster.config.set_ttl(body, length, cluster.now)
    except (go.GoError, BadConfig) as error:
        return said(400, str(error))
    cluster.wake()
    return said(200, "The ttl config is deleted." if length == 0 else "The ttl config is updated.")


def _set_section(cluster: Cluster, ask: Ask, name: str) -> Response:
    """Wrong JSON types get the error object, refused values a 500, locked keys a 400; unknown keys pass in silence."""
    body = ask.json_object()
    try:
        if name == "schedule":
            cluster.config.set_schedule(body, cluster.now)
        else:
            cluster.config.set_replication(body)
    except Locked as error:
        return said(400, str(error))
    except BadConfig as error:
        is_type_error = str(error).startswith(("json:", "time:"))
        return bad_input(str(error)) if is_type_error else said(500, str(error))
    cluster.wake()
    return said(200, UPDATED)


def set_schedule(cluster: Cluster, ask: Ask) -> Response:
    return _set_section(cluster, ask, "schedule")


def set_replicate(cluster: Cluster, ask: Ask) -> Response:
    return _set_section(cluster, ask, "replicate")


_RULE = {
    "group_id": "pd",
    "id": "default",
    "start_key": "",
    "end_key": "",
    "role": "voter",
    "is_witness": False,
    "count": 3,
}


def get_rules(cluster: Cluster, _: Ask) -> Response:
    return said(200, [_RULE | {"count": cluster.config.max_replicas}])


def region_rules(cluster: Cluster, ask: Ask) -> Response:
    """The default rule and which peers satisfy it; the others are orphans."""
    region_id = ask.plain_uint("region")
    region = cluster.cache.get(region_id)
    if region is None:
        raise Refusal(said(404, f"[PD:region:ErrRegionNotFound]region {region_id} not found"))
    wanted = cluster.config.max_replicas
    peers = [peer.view() for peer in region.voters[:wanted]]
    orphans = [peer.view() for peer in region.peers if peer not in region.voters[:wanted]]
    fit = {"rule": _RULE | {"count": wanted}, "peers": peers, "peers-different-role": None, "isolation-score": 0}
    return said(200, {"regions-fit": [fit], "orphan-peers": orphans or None})


def set_rate_limit(cluster: Cluster, ask: Ask) -> Response:
    """/service-middleware: only by path and queries a second."""
    body = ask.json_object()
    method, path, qps = body.get("method"), body.get("path"), body.get("qps")
    if body.get("type") != "path" or not isinstance(path, str) or not isinstance(method, str):
        return said(400, "The type is empty." if not body.get("type") else "The path is empty.")
    if isinstance(qps, bool) or not isinstance(qps, int | float):
        return said(400, "invalid rate limit config")
    cluster.rate_limits[(method, path)] = float(qps)
    return text(200, "Rate limiter is updated.", "text/plain; charset=UTF-8")


def labels(cluster: Cluster, _: Ask) -> Response:
    """Every store's labels, flat."""

    def of(store: Store) -> list[dict[str, str]]:
        return [{"key": key, "value": value} for key, value in store.labels.items()]

    seen = {(each["key"], each["value"]) for store in cluster.stores.values() for each in of(store)}
    return said(200, [{"key": key, "value": value} for key, value in sorted(seen)])


ROUTES = (
    Route("GET", "/config", get_all, needs_cluster=False, local=True),
    Route("POST", "/config", set_any, needs_cluster=False),
    Route("GET", "/config/default", get_default, needs_cluster=False),
    Route("GET", "/config/schedule", get_schedule, needs_cluster=False),
    Route("POST", "/config/schedule", set_schedule, needs_cluster=False),
    Route("GET", "/config/replicate", get_replicate, needs_cluster=False),
    Route("POST", "/config/replicate", set_replicate, needs_cluster=False),
    Route("GET", "/config/cluster-version", get_version, needs_cluster=False),
    Route("GET", "/config/rules", get_rules),
    Route("GET", "/config/rules/region/{region}/detail", region_rules),
    Route("GET", "/labels", labels),
    Route("POST", "/service-middleware/config/rate-limit", set_rate_limit, needs_cluster=False),
)
