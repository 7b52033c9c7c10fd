"""/store, /stores: read them, take them out, label, weigh and limit them."""

from __future__ import annotations

from pdsim import go, repair
from pdsim.api.route import Route
from pdsim.model import Cluster
from pdsim.regions import Role
from pdsim.schedulers import EVICT_LEADER
from pdsim.stores import State, Store
from pdsim.wire import Ask, Refusal, Response, bad_input, said, wrong_type

Limits = dict[str, float]


def view(cluster: Cluster, store: Store) -> dict[str, object]:
    """The STORE of the API, counts and sizes from PD's region cache."""
    led, held = cluster.cache.led_by(store.id), cluster.cache.held_by(store.id)
    learners = pending = 0
    for region in held:
        peer = region.peer_on(store.id)
        assert peer is not None
        learners += peer.role is Role.Learner
        pending += peer.id in region.pending
    leader = (len(led), sum(region.approximate_size for region in led))
    region_totals = (len(held), sum(region.approximate_size for region in held))
    others = {
        "learner_count": learners,
        "pending_peer_count": pending,
        "sending_snap_count": store.sending_snapshots,
        "receiving_snap_count": store.receiving_snapshots,
    }
    return {
        "store": store.meta_view(cluster.now, cluster.max_down_s),
        "status": store.status_view(leader, region_totals, others),
    }


def _listed(cluster: Cluster, chosen: list[Store]) -> Response:
    shown = [view(cluster, store) for store in cluster.shuffled(chosen)]
    return said(200, {"count": len(shown), "stores": shown})


def get_stores(cluster: Cluster, ask: Ask) -> Response:
    """Up and Offline ones unless ?state= numbers say otherwise; the order is random per call."""
    wanted = {State.Up, State.Offline}
    if ask.query.get("state"):
        wanted = set()
        for word in ask.query["state"]:
            try:
                number = go.parse_int(word)
            except go.GoError as error:
                return said(500, str(error))
            if number not in (0, 1, 2):
                return said(500, f"unknown StoreState: {number}")
            wanted.add(State(number))
    return _listed(cluster, [store for store in cluster.stores.values() if store.state in wanted])


def check_stores(cluster: Cluster, ask: Ask) -> Response:
    """By state_name, any case. An Offline store whose process is dead counts as Offline only."""
    names = {name.lower(): name for name in ("Up", "Offline", "Tombstone", "Down", "Disconnected")}
    wanted = set()
    for word in ask.query.get("state", []):
        if word.lower() not in names:
            return said(400, f"unknown StoreState: {word}")
        wanted.add(names[word.lower()])
    chosen = [store for store in cluster.stores.values() if store.state_name(cluster.now, cluster.max_down_s) in wanted]
    return _listed(cluster, chosen)


def _not_found(store_id: int) -> str:
    return f"[PD:core:ErrStoreNotFound]store {store_id} not found"


def _store(cluster: Cluster, store_id: int, status: int = 404) -> Store:
    store = cluster.stores.get(store_id)
    if store is None:
        raise Refusal(said(status, _not_found(store_id)))
    return store


def get_store(cluster: Cluster, ask: Ask) -> Response:
    return said(200, view(cluster, _store(cluster, ask.uint("id"))))


def _remaining(cluster: Cluster, ask: Ask) -> Store:
    """The path's store unless it is a Tombstone (410)."""
    store = _store(cluster, ask.uint("id"))
    if store.state is State.Tombstone:
        raise Refusal(said(410, f"[PD:core:ErrStoreRemoved]store {store.id} has been removed"))
    return store


def _take_out(cluster: Cluster, store: Store, *, force: bool) -> None:
    """Set Offline, with PD's slight checks: it counts stores Up by name, dead ones included. Raises Refusal."""
    if store.physically_destroyed:
        raise Refusal(said(400, f"[PD:core:ErrStoreDestroyed]store {store.id} has been physically destroyed"))
    if store.state is State.Offline and not force:
        return
    if not force:
        others = [other for other in cluster.stores.values() if other.state is State.Up and other is not store]
        need = cluster.config.max_replicas
        if len(others) < need:
            raise Refusal(
                said(
                    400,
                    f"[PD:core:ErrStoresNotEnough]can not remove store {store.id} since the number of up stores "
                    f"would be {len(others)} while need {need}",
                )
            )
        if all(cluster.schedulers.bars(other.id) for other in others):
            raise Refusal(
                said(
                    400,
                    f"[PD:core:ErrNoStoreForRegionLeader]can not remove store {store.id} since there are no extra "
                    "up store to store the leader",
                )
            )
    repair.begin_removal(cluster, store)
    store.physically_destroyed = store.physically_destroyed or force
    cluster.wake()


def delete_store(cluster: Cluster, ask: Ask) -> Response:
    _take_out(cluster, _remaining(cluster, ask), force="force" in ask.query)
    return said(200, "The store is set as Offline.")


def set_state(cluster: Cluster, ask: Ask) -> Response:
    store, word = _remaining(cluster, ask), ask.first("state")
    if word.lower() == "offline":
        _take_out(cluster, store, force=False)
    elif word.lower() == "up":
        if store.physically_destroyed:
            return said(400, f"[PD:core:ErrStoreDestroyed]store {store.id} has been physically destroyed")
        if store.state is State.Offline:
            repair.cancel_removal(cluster, store)
    else:
        return said(400, f"invalid state {word}")
    return said(200, "The store's state is updated.")


def set_weight(cluster: Cluster, ask: Ask) -> Response:
    """Both weights, numbers from 0 on; a Tombstone is weighed without complaint."""
    store_id, body = ask.uint("id"), ask.json_object()
    weights = {}
    for name in ("leader", "region"):
        if name not in body:
            return said(400, f"{name} weight unset")
    for name in ("leader", "region"):
        value = body[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            return said(400, f"bad format {name} weight")
        weights[name] = float(value)
    store = _store(cluster, store_id, 500)
    store.leader_weight, store.region_weight = weights["leader"], weights["region"]
    cluster.wake()
    return said(200, f"The store's {'weight' if cluster.since(8, 1) else 'label'} is updated.")


def set_label(cluster: Cluster, ask: Ask) -> Response:
    """Merged into the old set, or with ?force in place of it."""
    store_id, body = ask.uint("id"), ask.json_object()
    labels: dict[str, str] = {}
    for key, value in body.items():
        if not isinstance(value, str):
            return wrong_type(value, "string")
        if not key or not all(char.isalnum() or char in "-_./$" for char in key):
            return bad_input(f"invalid label key: {key}")
        labels[key] = value
    store = cluster.stores.get(store_id)
    if store is None:
        return said(500, f"[PD:cluster:ErrInvalidStoreID]invalid store id {store_id}, not found")
    merged = labels if "force" in ask.query else store.labels | labels
    if cluster.config.replication["strictly-match-label"] == "true":
        for wanted in str(cluster.config.replication["location-labels"]).split(","):
            if wanted and not merged.get(wanted):
                return said(500, f"key matching the label was not found in the PD, store label key: {wanted} ")
    store.labels = merged
    return said(200, "The store's label is updated.")


def delete_label(cluster: Cluster, ask: Ask) -> Response:
    store_id, key = ask.uint("id"), ask.json()
    if not isinstance(key, str):
        return wrong_type(key, "string")
    store = cluster.stores.get(store_id)
    if store is None:
        return said(500, f"[PD:cluster:ErrInvalidStoreID]invalid store id {store_id}, not found")
    if key not in store.labels:
        return said(500, f"the label key {key} does not exist")
    del store.labels[key]
    return said(200, f"The label {key} is deleted for store {store_id}.")


def _rates(cluster: Cluster, ask: Ask) -> Limits:
    """The limits that a body asks for, per minute. Raises Refusal."""
    body = ask.json_object()
    rate = body.get("rate")
    if "rate" not in body:
        raise Refusal(said(400, "rate unset"))
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        raise Refusal(said(400, "invalid rate which should be larger than 0"))
    kind = body.get("type", "")
    if kind not in ("", None, "add-peer", "remove-peer"):
        raise Refusal(said(400, "unknown type"))
    return {name: float(rate) for name in ("add-peer", "remove-peer") if kind in ("", None, name)}


def _check_limit_version(cluster: Cluster) -> None:
    version = cluster.config.schedule["store-limit-version"]
    if version == "v2":
        raise Refusal(said(400, f"current store limit version:{version} not support set limit"))


def set_limit(cluster: Cluster, ask: Ask) -> Response:
    """With ?ttlSecond the limit is temporary and shows nowhere; here it is accepted and forgotten."""
    _check_limit_version(cluster)
    store = _store(cluster, ask.uint("id"), 500)
    for kind, rate in _rates(cluster, ask).items():
        if "ttlSecond" not in ask.query:
            store.limits[kind].per_minute = rate
    return said(200, "The store's limit is updated.")


def set_all_limits(cluster: Cluster, ask: Ask) -> Response:
    _check_limit_version(cluster)
    for kind, rate in _rates(cluster, ask).items():
        for store in cluster.stores.values():
            if store.state is not State.Tombstone and "ttlSecond" not in ask.query:
                store.limits[kind].per_minute = rate
    return said(200, "Set store limit successfully.")


def get_limits(cluster: Cluster, _: Ask) -> Response:
    shown = {
        str(store.id): {kind: limit.per_minute for kind, limit in store.limits.items()}
        for store in cluster.stores.values()
        if store.state is not State.Tombstone
    }
    return said(200, dict(sorted(shown.items())))


def remove_tombstones(cluster: Cluster, _: Ask) -> Response:
    """The records of Tombstones go for good; one that still has regions is named in the refusal."""
    buried = [store.id for store in cluster.stores.values() if store.state is State.Tombstone]
    stuck = [str(store) for store in buried if cluster.cache.region_count(store)]
    if stuck:
        return said(500, f"failed stores: {', '.join(stuck)}")
    for store_id in buried:
        del cluster.stores[store_id]
        cluster.removed_stores.add(store_id)
        cluster.schedulers.evicted.pop(store_id, None)
    if not cluster.schedulers.evicted:
        cluster.schedulers.names.pop(EVICT_LEADER, None)
    return said(200, "Remove tombstone successfully.", changed=bool(buried))


def get_progress(cluster: Cluster, ask: Ask) -> Response:
    """Of one store, or of all with an action (without store_id). Speed and time left are unknown till one moved."""
    if "id" in ask.query:
        try:
            store_id = go.parse_uint(ask.first("id"))
        except go.GoError as error:
            return bad_input(str(error))
        if store_id not in cluster.removals:
            return said(404, f"[PD:progress:ErrProgressNotFound]no progress found for the given store ID: {store_id}")
        progress, speed, left = _progress(cluster, store_id)
        return said(200, _progress_view("removing", progress, speed, left, store_id))
    if "action" in ask.query:
        action = ask.first("action")
        if action != "removing" or not cluster.removals:
            return said(404, f"[PD:progress:ErrProgressNotFound]no progress found for the action: {action}")
        all_of = [_progress(cluster, store_id) for store_id in cluster.removals]
        mean = [sum(column) / len(all_of) for column in zip(*all_of, strict=True)]
        return said(200, _progress_view(action, mean[0], mean[1], min(mean[2], go.MAX_FLOAT64)))
    return said(400, "need query parameters")


def _progress(cluster: Cluster, store_id: int) -> tuple[float, float, float]:
    """(share done, MiB/s, seconds left)."""
    removal, left = cluster.removals[store_id], cluster.cache.region_count(store_id)
    moved = max(0, removal.regions_before - left)
    took = cluster.now - removal.since
    if not moved or took <= 0:
        return 0.0, 0.0, go.MAX_FLOAT64
    speed = moved * 96 / took
    return moved / max(1, removal.regions_before), speed, left * 96 / speed


def _progress_view(
    action: str, progress: float, speed: float, left: float, store_id: int | None = None
) -> dict[str, object]:
    seen: dict[str, object] = {"action": action}
    if store_id is not None:
        seen["store_id"] = store_id
    return seen | {"progress": progress, "current_speed": speed, "left_seconds": left}


ROUTES = (
    Route("GET", "/stores", get_stores),
    Route("GET", "/stores/check", check_stores, since=(7, 5)),
    Route("GET", "/stores/limit", get_limits),
    Route("POST", "/stores/limit", set_all_limits),
    Route("GET", "/stores/progress", get_progress),
    Route("DELETE", "/stores/remove-tombstone", remove_tombstones),
    Route("GET", "/store/{id}", get_store),
    Route("DELETE", "/store/{id}", delete_store),
    Route("POST", "/store/{id}/state", set_state),
    Route("POST", "/store/{id}/label", set_label),
    Route("DELETE", "/store/{id}/label", delete_label),
    Route("POST", "/store/{id}/weight", set_weight),
    Route("POST", "/store/{id}/limit", set_limit),
)
