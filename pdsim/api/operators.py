"""/operators and the writes on ranges of regions: tasks by hand, how they go, and how they are cancelled."""

from __future__ import annotations

from collections.abc import Callable

from pdsim import building, go
from pdsim.api.route import Route
from pdsim.building import Refused, admin
from pdsim.model import Cluster
from pdsim.operators import Operator
from pdsim.regions import Region
from pdsim.wire import Ask, Refusal, Response, panicked, said

CREATED = "The operator is created."
Body = dict[str, go.Json]


def _not_found(cluster: Cluster) -> Response:
    return said(500, cluster.coded("PD:operator:ErrOperatorNotFound", "operator not found"))


def get_operators(cluster: Cluster, ask: Ask) -> Response:
    """Strings; since 8.1 objects with ?object. With ?kind nothing found is null, and an unknown kind finds nothing."""
    running = list(cluster.book.running.values())
    if "kind" in ask.query:
        wanted = ask.query["kind"]
        running = [operator for kind in wanted for operator in running if kind in ("admin", "leader", "region")
                   and kind in operator.kinds]  # fmt: skip
        if not running:
            return said(200, None)
    if "object" in ask.query and cluster.since(8, 1):
        return said(200, [operator.view() for operator in running])
    return said(200, [operator.text(cluster.booted_at) for operator in running])


def get_operator(cluster: Cluster, ask: Ask) -> Response:
    operator = cluster.book.latest(ask.plain_uint("region_id"), cluster.now)
    if operator is None:
        return _not_found(cluster)
    return said(200, f"status: {operator.state_word}, operator: {operator.text(cluster.booted_at)}")


def get_records(cluster: Cluster, ask: Ask) -> Response:
    since = 0
    if "from" in ask.query:
        try:
            since = go.parse_int(ask.first("from"))
        except go.GoError as error:
            return said(400, str(error).replace("strconv.Atoi", "strconv.ParseInt"))
    kept = [record for record in cluster.book.kept(cluster.now) if (record.finished_at or 0.0) >= since]
    if not kept:
        return _not_found(cluster)
    return said(200, [record.record_text(cluster.booted_at) for record in kept])


def delete_operator(cluster: Cluster, ask: Ask) -> Response:
    operator = cluster.book.running.get(ask.plain_uint("region_id"))
    if operator is None:
        return _not_found(cluster)
    cluster.cancel(operator)
    return said(200, "The pending operator is canceled.")


def delete_operators(cluster: Cluster, _: Ask) -> Response:
    for operator in list(cluster.book.running.values()):
        cluster.cancel(operator)
    return said(200, "All pending operators are canceled.")


# Creating. JSON numbers are float64 in PD: 1.5 acts on region 1.


def _number(body: Body, name: str, otherwise: str) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal(said(400, otherwise))
    return go.uint64_of(float(value))


def _region(cluster: Cluster, body: Body, name: str = "region_id") -> Callable[[], Region]:
    """The id is checked now, whether the region exists later: as in PD, missing fields are named first."""
    region_id = _number(body, name, "missing region id")
    return lambda: building.find(cluster, region_id)


def _transfer_leader(cluster: Cluster, body: Body) -> list[Operator]:
    region = _region(cluster, body)
    store = _number(body, "to_store_id", "missing store id to transfer leader to")
    return [building.transfer_leader(cluster, region(), store, admin("admin-transfer-leader"))]


def _transfer_peer(cluster: Cluster, body: Body) -> list[Operator]:
    find = _region(cluster, body)
    source = _number(body, "from_store_id", "invalid store id to transfer peer from")
    target = _number(body, "to_store_id", "invalid store id to transfer peer to")
    region = find()
    if region.peer_on(source) is None:
        raise Refused(f"region has no peer in store {source}")
    building.check_target(cluster, target)
    if (there := region.peer_on(target)) is not None:
        peer = f"store_id:{target} "
        raise Refused(f"cannot add peer {peer}: already have peer id:{there.id} {peer}")
    wanted = [target if peer.store_id == source else peer.store_id for peer in region.peers]
    return [building.move(cluster, region, wanted, admin("admin-move-peer"))]


def _transfer_region(cluster: Cluster, body: Body) -> list[Operator]:
    find = _region(cluster, body)
    ids, roles = body.get("to_store_ids"), body.get("peer_roles")
    if not isinstance(ids, list) or not all(isinstance(store, int | float) for store in ids):
        raise Refusal(said(400, "invalid store ids to transfer region to"))
    if roles is not None and (not isinstance(roles, list) or len(roles) not in (0, len(ids))):
        raise Refusal(said(400, "invalid store ids to transfer region to"))
    if not ids:
        raise Refusal(said(400, "missing store ids to transfer region to"))
    stores = building.store_ids(float(str(store)) for store in ids)
    region = find()
    if not roles:
        raise Refused("transfer region without peer role is not supported when placement rules enabled")
    for store in stores:
        building.check_target(cluster, store)
    leads = next((store for store, role in zip(stores, roles, strict=True) if role == "leader"), None)
    return [building.move(cluster, region, stores, admin("admin-move-region"), leads)]


def _add_peer(cluster: Cluster, body: Body) -> list[Operator]:
    region, store = _addition(cluster, body)
    return [building.move(cluster, region, [*_stores(region), store], admin("admin-add-peer"))]


def _add_learner(cluster: Cluster, body: Body) -> list[Operator]:
    region, store = _addition(cluster, body)
    return [building.add_learner(cluster, region, store, admin("admin-add-learner"))]


def _addition(cluster: Cluster, body: Body) -> tuple[Region, int]:
    find = _region(cluster, body)
    store = _number(body, "store_id", "invalid store id to transfer peer to")
    region = find()
    if region.peer_on(store) is not None:
        raise Refused(f"region already has peer in store {store}")
    building.check_target(cluster, store)
    return region, store


def _stores(region: Region) -> list[int]:
    return [peer.store_id for peer in region.peers]


def _remove_peer(cluster: Cluster, body: Body) -> list[Operator]:
    find = _region(cluster, body)
    store = _number(body, "store_id", "invalid store id to transfer peer to")
    region = find()
    if region.peer_on(store) is None:
        raise Refused(f"region has no peer in store {store}")
    kept = [other for other in _stores(region) if other != store]
    return [building.move(cluster, region, kept, admin("admin-remove-peer"))]


def _merge_region(cluster: Cluster, body: Body) -> list[Operator]:
    source = _region(cluster, body, "source_region_id")
    target_id = _number(body, "target_region_id", "invalid target region id to merge to")
    return list(building.merge(cluster, source(), building.find(cluster, target_id), admin("admin-merge-region")))


def _split_region(cluster: Cluster, body: Body) -> list[Operator]:
    find, policy = _region(cluster, body), body.get("policy")
    if not isinstance(policy, str):
        raise Refusal(said(400, "missing split policy"))
    keys = body.get("keys", [])
    if not isinstance(keys, list):
        raise Refusal(panicked(f"interface conversion: interface {{}} is {_go_type(keys)}, not []interface {{}}"))
    if not all(isinstance(key, str) for key in keys):
        raise Refusal(said(400, "bad format keys"))
    return [building.split(cluster, find(), policy, [str(key) for key in keys])]


def _go_type(value: go.Json) -> str:
    kind = go.kind_of(value)
    return {"null": "nil", "object": "map[string]interface {}"}.get(kind, "float64" if "number" in kind else kind)


def _scatter_region(cluster: Cluster, body: Body) -> list[Operator]:
    operator = building.scatter(cluster, _region(cluster, body)())
    return [operator] if operator else []


MAKERS: dict[str, Callable[[Cluster, Body], list[Operator]]] = {
    "transfer-leader": _transfer_leader,
    "transfer-region": _transfer_region,
    "transfer-peer": _transfer_peer,
    "add-peer": _add_peer,
    "add-learner": _add_learner,
    "remove-peer": _remove_peer,
    "merge-region": _merge_region,
    "split-region": _split_region,
    "scatter-region": _scatter_region,
}


def create(cluster: Cluster, ask: Ask) -> Response:
    """400 names what is missing; PD's every other refusal is a 500."""
    if not cluster.bootstrapped:
        return panicked("runtime error: invalid memory address or nil pointer dereference")
    body = ask.json_object()
    name = body.get("name")
    if not isinstance(name, str):
        return said(400, "missing operator name")
    if name == "scatter-regions":
        return _scatter_regions(cluster, body)
    if name not in MAKERS:
        return said(400, "unknown operator")
    try:
        building.start(cluster, *MAKERS[name](cluster, body))
    except Refused as refused:
        return said(500, str(refused))
    return said(200, CREATED)


def _scatter_regions(cluster: Cluster, body: Body) -> Response:
    ids = body.get("region_ids")
    if not isinstance(ids, list) or not all(isinstance(one, int | float) for one in ids):
        return said(400, "region_ids is invalid")
    done, error = _scatter_all(cluster, building.store_ids(float(str(one)) for one in ids))
    return said(200, {"processed-percentage": done, "error": error})


def _scatter_all(cluster: Cluster, ids: list[int]) -> tuple[int, str]:
    """(percent scattered, error). Hot regions are retried for some seconds by PD, then left out in silence."""
    if not ids:
        return 0, "empty region"
    found = [region for one in ids if (region := cluster.cache.get(one)) is not None]
    if not found:
        return 0, "region not found"
    done = 0
    for region in found:
        try:
            if (operator := building.scatter(cluster, region)) is not None:
                building.start(cluster, operator)
            done += 1
        except Refused:
            continue
    return done * 100 // len(found), ""


def scatter(cluster: Cluster, ask: Ask) -> Response:
    """POST /regions/scatter: by ids or by a key range."""
    body = ask.json_object()
    ids = body.get("regions_id")
    if isinstance(body.get("start_key"), str) and isinstance(body.get("end_key"), str):
        low, high = str(body["start_key"]).upper(), str(body["end_key"]).upper()
        chosen = [
            r.id for r in cluster.cache if (not r.end_key or r.end_key > low) and (not high or r.start_key < high)
        ]
    elif isinstance(ids, list) and all(isinstance(one, int | float) for one in ids):
        chosen = building.store_ids(float(str(one)) for one in ids)
    else:
        return said(500, "regions_id is invalid")
    done, error = _scatter_all(cluster, chosen)
    return said(500, error) if error else said(200, {"processed-percentage": done})


def split(cluster: Cluster, ask: Ask) -> Response:
    """POST /regions/split. `regions-id` are the regions that start at a key: the old ids, not the new ones."""
    keys = ask.json_object().get("split_keys")
    if not isinstance(keys, list) or not keys:
        return said(400, "split_keys should be provided.")
    old = []
    for key in keys:
        if not isinstance(key, str) or len(key) % 2 or any(char not in "0123456789abcdefABCDEF" for char in key):
            return said(500, f"split key {key} is not in hex format")
        region = cluster.cache.by_key(key.upper())
        if region is None:
            continue
        try:
            building.start(cluster, building.split(cluster, region, "usekey", [key]))
        except Refused:
            continue
        old.append(region.id)
    return said(200, {"processed-percentage": len(old) * 100 // len(keys), "regions-id": old})


ROUTES = (
    Route("GET", "/operators", get_operators),
    Route("POST", "/operators", create, needs_cluster=False),
    Route("DELETE", "/operators", delete_operators, since=(8, 1)),
    Route("GET", "/operators/records", get_records),
    Route("GET", "/operators/{region_id}", get_operator),
    Route("DELETE", "/operators/{region_id}", delete_operator),
    Route("POST", "/regions/scatter", scatter),
    Route("POST", "/regions/split", split),
)
