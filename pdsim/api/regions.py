"""/region, /regions, /stats, /hotspot: what PD's region cache holds, as it was last heard."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from pdsim import go
from pdsim.api.route import Route
from pdsim.model import Cluster
from pdsim.regions import ABSENT, Region, Role
from pdsim.stores import State
from pdsim.wire import Answer, Ask, Refusal, Response, Silence, regions, said, text
from pdsim.world import Flow, Hot

EMPTY_MIB = 1
TYPES = ("leader", "follower", "learner", "witness", "pending", "all")


def _listed(found: list[Region]) -> Response:
    return regions({"count": len(found), "regions": [region.view() for region in found]})


def get_by_id(cluster: Cluster, ask: Ask) -> Response:
    """A region that does not exist is 200 with id 0."""
    region = cluster.cache.get(ask.plain_uint("id"))
    return regions(region.view() if region else ABSENT)


def _hex_key(word: str, *, is_hex: bool) -> str:
    """A key of the path or query as upper-case hex. Raises Refusal."""
    if not is_hex:
        return unquote_to_bytes(word).hex().upper()
    try:
        return bytes.fromhex(word).hex().upper()
    except ValueError:
        bad = next((char for char in word if char not in "0123456789abcdefABCDEF"), None)
        message = "encoding/hex: odd length hex string" if bad is None else f"encoding/hex: invalid byte: {_rune(bad)}"
        raise Refusal(said(400, message)) from None


def _rune(char: str) -> str:
    """%#U of Go's fmt."""
    return f"U+{ord(char):04X} '{char}'"


def get_by_key(cluster: Cluster, ask: Ask) -> Response:
    region = cluster.cache.by_key(_hex_key(ask.path["key"], is_hex=ask.first("format") == "hex"))
    return regions(region.view() if region else ABSENT)


def get_all(cluster: Cluster, _: Ask) -> Response:
    return _listed(list(cluster.cache))


def scan(cluster: Cluster, ask: Ask) -> Response:
    """From `key` to `end_key`; limit 16 by default, at most 10240, all when negative."""
    is_hex = ask.first("format") == "hex"
    low = _hex_key(ask.first("key"), is_hex=is_hex)
    high = _hex_key(ask.first("end_key"), is_hex=is_hex)
    limit = _limit(ask, 10240)
    found = [
        region
        for region in cluster.cache
        if (not region.end_key or region.end_key > low) and (not high or region.start_key < high)
    ]
    return _listed(found if limit < 0 else found[:limit])


def _limit(ask: Ask, most: int) -> int:
    word = ask.first("limit")
    if not word:
        return 16
    try:
        return min(go.parse_int(word), most)
    except go.GoError as error:
        raise Refusal(said(400, str(error))) from None


def count(cluster: Cluster, _: Ask) -> Response:
    return said(200, {"count": len(cluster.cache), "regions": None})


def of_store(cluster: Cluster, ask: Ask) -> Answer:
    """DANGEROUS as in 8.5: an unknown ?type is refused and leaves the PD leader's region lock held, for good.

    From then on this path hangs, and no heartbeat of a region is heard until another member leads.
    """
    store_id = ask.plain_uint("id")
    kind = ask.first("type", "all") or "all"
    if cluster.members.leading.wedged:
        return Silence("hangs")
    if kind not in TYPES:
        cluster.freeze_regions()
        return said(400, f"unknown sub tree region type {kind}", changed=True)
    chosen: dict[str, Callable[[Region], bool]] = {
        "leader": lambda region: region.leader == store_id,
        "follower": lambda region: region.leader != store_id and region.voter_on(store_id) is not None,
        "learner": lambda region: region.voter_on(store_id) is None,
        "witness": lambda region: False,
        "pending": lambda region: any(peer.id in region.pending for peer in region.peers if peer.store_id == store_id),
        "all": lambda region: True,
    }
    return _listed([region for region in cluster.cache.held_by(store_id) if chosen[kind](region)])


def siblings(cluster: Cluster, ask: Ask) -> Response:
    region_id = ask.plain_uint("id")
    region = cluster.cache.get(region_id)
    if region is None:
        return said(404, f"[PD:region:ErrRegionNotFound]region {region_id} not found")
    return _listed([other for other in cluster.cache.siblings(region) if other is not None])


def checked(cluster: Cluster, name: str) -> list[Region]:
    """The regions of one /regions/check list."""
    wanted = cluster.config.max_replicas
    offline = {store.id for store in cluster.stores.values() if store.state is State.Offline}
    tests: dict[str, Callable[[Region], bool]] = {
        "miss-peer": lambda region: len(region.peers) < wanted,
        "extra-peer": lambda region: len(region.peers) > wanted,
        "pending-peer": lambda region: bool(region.pending),
        "down-peer": lambda region: bool(region.down),
        "learner-peer": lambda region: any(peer.role is Role.Learner for peer in region.peers),
        "offline-peer": lambda region: any(peer.store_id in offline for peer in region.peers),
        "empty-region": lambda region: region.approximate_size <= EMPTY_MIB,
        "oversized-region": lambda region: region.approximate_size >= 144,
        "undersized-region": lambda region: 0 < region.approximate_size <= 54 and region.approximate_keys <= 540_000,
    }
    return [region for region in cluster.cache if tests[name](region)]


CHECKS = (
    "miss-peer", "extra-peer", "pending-peer", "down-peer", "learner-peer", "offline-peer", "empty-region",
    "oversized-region", "undersized-region",
)  # fmt: skip


def _check(name: str) -> Callable[[Cluster, Ask], Response]:
    return lambda cluster, ask: _listed(checked(cluster, name))


def _queries(rate: str) -> Callable[[Cluster, Region], float]:
    return lambda cluster, region: float(getattr(cluster.flows.get(region.id, Flow()), rate))


TOPS: dict[str, Callable[[Cluster, Region], float]] = {
    "writeflow": lambda cluster, region: region.written_bytes,
    "readflow": lambda cluster, region: region.read_bytes,
    "writequery": _queries("write_queries"),
    "readquery": _queries("read_queries"),
    "size": lambda cluster, region: region.approximate_size,
    "keys": lambda cluster, region: region.approximate_keys,
    "cpu": lambda cluster, region: region.cpu_usage,
    "confver": lambda cluster, region: region.conf_ver,
    "version": lambda cluster, region: region.version,
}

TOPS_SINCE = {"writequery": (8, 5), "readquery": (8, 5)}


def _top(name: str) -> Callable[[Cluster, Ask], Response]:
    def answer(cluster: Cluster, ask: Ask) -> Response:
        rank = TOPS[name]
        ordered = sorted(cluster.cache, key=lambda region: (-rank(cluster, region), region.id))
        return _listed(ordered[: max(0, _limit(ask, 10240))])

    return answer


def _histogram(size_of: Callable[[Region], int], default_bound: int) -> Callable[[Cluster, Ask], Response]:
    def answer(cluster: Cluster, ask: Ask) -> Response:
        bound = go.parse_int(ask.first("bound")) if ask.first("bound").isdigit() else default_bound
        buckets: dict[int, int] = {}
        for region in cluster.cache:
            at = size_of(region) // max(1, bound)
            buckets[at] = buckets.get(at, 0) + 1
        shown = [{"start": at * bound, "end": (at + 1) * bound - 1, "count": n} for at, n in sorted(buckets.items())]
        return said(200, shown)

    return answer


def replicated(cluster: Cluster, ask: Ask) -> Response:
    """PENDING while a region lacks replicas and nobody works on it, INPROGRESS while somebody does."""
    low, high = _hex_key(ask.first("startKey"), is_hex=True), _hex_key(ask.first("endKey"), is_hex=True)
    state = "REPLICATED"
    for region in cluster.cache:
        if (high and region.start_key >= high) or (region.end_key and region.end_key <= low):
            continue
        if len(region.voters) < cluster.config.max_replicas or region.down or region.pending:
            if region.id not in cluster.book.running:
                return said(200, "PENDING")
            state = "INPROGRESS"
    return said(200, state)


def range_holes(cluster: Cluster, _: Ask) -> Response:
    holes, edge = [], ""
    for region in cluster.cache:
        if region.start_key != edge:
            holes.append([edge, region.start_key])
        edge = region.end_key
    if edge:
        holes.append([edge, ""])
    return said(200, holes)


def stats(cluster: Cluster, ask: Ask) -> Response:
    """Totals over a key range (raw keys in the query); ?count fills only the two counts."""
    low, high = (ask.first(name).encode().hex().upper() for name in ("start_key", "end_key"))
    found = [r for r in cluster.cache if r.start_key >= low and (not high or r.start_key < high)]
    empty = sum(region.approximate_size <= EMPTY_MIB for region in found)
    names = ("store_leader_count", "store_peer_count", "store_leader_size", "store_leader_keys", "store_peer_size",
             "store_peer_keys")  # fmt: skip
    seen: dict[str, object] = {"count": len(found), "empty_count": empty}
    if "count" in ask.query:
        seen |= {"storage_size": 0, "user_storage_size": 0, "storage_keys": 0}
        return said(200, seen | dict.fromkeys(names))
    size = sum(region.approximate_size for region in found)
    seen |= {"storage_size": size, "user_storage_size": size}
    seen["storage_keys"] = sum(region.approximate_keys for region in found)
    totals: dict[str, dict[str, int]] = {name: {} for name in names}
    for region in found:
        places = [("peer", peer.store_id) for peer in region.peers]
        places += [("leader", region.leader)] if region.leader is not None else []
        for what, store in places:
            shares = {"count": 1, "size": region.approximate_size, "keys": region.approximate_keys}
            for unit, amount in shares.items():
                if (name := f"store_{what}_{unit}") in totals:
                    totals[name][str(store)] = totals[name].get(str(store), 0) + amount
    return said(200, seen | {name: dict(sorted(by_store.items())) for name, by_store in totals.items()})


def _hot(kind: str) -> Callable[[Cluster, Ask], Response]:
    def answer(cluster: Cluster, ask: Ask) -> Response:
        """All stores are always present; an entry has been hot for hot-region-cache-hits-threshold reports."""
        stores = _stores_asked(cluster, ask)
        hits: dict[int, Hot] = cluster.hot_writes if kind == "write" else cluster.hot_reads
        factor = 1 if kind == "write" else 6  # reads are counted each 10 s, writes each 60 s
        need = cluster.config.limit("hot-region-cache-hits-threshold", cluster.now) * factor
        hot = [
            (region, hit)
            for region_id, hit in sorted(hits.items())
            if hit.degree >= need and (region := cluster.cache.get(region_id)) is not None
        ]
        by_leader = {str(s): _hot_of(cluster, kind, s, [h for h in hot if h[0].leader == s]) for s in stores}
        by_peer = {str(s): _hot_of(cluster, kind, s, [h for h in hot if h[0].peer_on(s)]) for s in stores}
        return said(200, {"as_peer": by_peer, "as_leader": by_leader})

    return answer


def _stores_asked(cluster: Cluster, ask: Ask) -> list[int]:
    asked = []
    for word in ask.query.get("store_id", []):
        try:
            store_id = go.parse_uint(word)
        except go.GoError:
            raise Refusal(said(400, f"invalid store id: {word}")) from None
        if store_id not in cluster.stores:
            raise Refusal(said(500, f"[PD:core:ErrStoreNotFound]store {store_id} not found"))
        asked.append(store_id)
    alive = [store.id for store in cluster.stores.values() if store.state is not State.Tombstone]
    return sorted(asked or alive, key=str)


def _hot_of(cluster: Cluster, kind: str, store: int, hot: list[tuple[Region, Hot]]) -> dict[str, object]:
    entries = []
    for region, hit in hot:
        flow = cluster.flows.get(region.id, Flow())
        rates = {unit: float(getattr(flow, f"{kind}_{unit}")) for unit in ("bytes", "keys", "queries")}
        entries.append(
            {
                "store_id": store,
                "stores": [peer.store_id for peer in region.peers],
                "is_leader": region.leader == store,
                "is_learner": region.voter_on(store) is None,
                "region_id": region.id,
                "hot_degree": hit.degree,
                "flow_bytes": rates["bytes"],
                "flow_keys": rates["keys"],
                "flow_query": rates["queries"],
                "flow_cpu": 0,
                "anti_count": 2,
                "last_update_time": go.rfc3339(hit.updated_at),
            }
        )
    own = store_rates(cluster, store)
    return {
        "store_bytes": own[f"bytes-{kind}-rate"],
        "store_keys": own[f"keys-{kind}-rate"],
        "store_query": own[f"query-{kind}-rate"],
        "store_cpu": 0,
        "total_flow_bytes": sum(float(str(entry["flow_bytes"])) for entry in entries),
        "total_flow_keys": sum(float(str(entry["flow_keys"])) for entry in entries),
        "total_flow_query": sum(float(str(entry["flow_query"])) for entry in entries),
        "total_flow_cpu": 0,
        "regions_count": len(entries),
        "statistics": entries,
    }


def store_rates(cluster: Cluster, store: int) -> dict[str, float]:
    """Per-second rates of one store: writes on every peer, reads and queries where it leads."""
    held = [cluster.flows.get(region.id, Flow()) for region in cluster.cache.held_by(store)]
    led = [cluster.flows.get(region.id, Flow()) for region in cluster.cache.led_by(store)]
    return {
        "bytes-write-rate": sum(flow.write_bytes for flow in held),
        "bytes-read-rate": sum(flow.read_bytes for flow in led),
        "keys-write-rate": sum(flow.write_keys for flow in held),
        "keys-read-rate": sum(flow.read_keys for flow in led),
        "query-write-rate": sum(flow.write_queries for flow in led),
        "query-read-rate": sum(flow.read_queries for flow in led),
        "cpu-read-rate": 0.0,
    }


def hot_stores(cluster: Cluster, _: Ask) -> Response:
    stores = sorted((store.id for store in cluster.stores.values() if store.state is not State.Tombstone), key=str)
    rates = {store: store_rates(cluster, store) for store in stores}
    kinds = next(iter(rates.values()), {})
    return said(200, {kind: {str(store): rates[store][kind] for store in stores} for kind in kinds})


def accelerate(cluster: Cluster, ask: Ask) -> Response:
    body = ask.json_object()
    edges = []
    for name in ("start_key", "end_key"):
        if not isinstance(body.get(name), str):
            return said(400, f"{name} is not found")
        edges.append(_hex_key(str(body[name]), is_hex=True))
    cluster.wake()
    plain = "text/plain; charset=UTF-8"
    return text(200, f"Accelerate regions scheduling in a given range [{edges[0]},{edges[1]})", plain)


def drop_cached(cluster: Cluster, ask: Ask) -> Response:
    """PD forgets the region until its next heartbeat; an unknown one is dropped as gladly."""
    cluster.cache.remove(ask.uint("id"))
    return said(200, "The region is removed from server cache.")


ROUTES = (
    Route("GET", "/region/id/{id}", get_by_id),
    Route("GET", "/region/key/{key}", get_by_key),
    Route("GET", "/regions", get_all),
    Route("GET", "/regions/key", scan),
    Route("GET", "/regions/count", count),
    Route("GET", "/regions/store/{id}", of_store),
    Route("GET", "/regions/sibling/{id}", siblings),
    Route("GET", "/regions/replicated", replicated, queries=("startKey", "endKey")),
    Route("GET", "/regions/range-holes", range_holes),
    Route("GET", "/regions/check/hist-size", _histogram(lambda region: region.approximate_size, 1)),
    Route("GET", "/regions/check/hist-keys", _histogram(lambda region: region.approximate_keys, 10000)),
    *(Route("GET", f"/regions/check/{name}", _check(name)) for name in CHECKS),
    *(Route("GET", f"/regions/{name}", _top(name), since=TOPS_SINCE.get(name, (0, 0))) for name in TOPS),
    Route("POST", "/regions/accelerate-schedule", accelerate),
    Route("GET", "/stats/region", stats),
    Route("GET", "/hotspot/regions/write", _hot("write")),
    Route("GET", "/hotspot/regions/read", _hot("read")),
    Route("GET", "/hotspot/stores", hot_stores),
    Route("DELETE", "/admin/cache/region/{id}", drop_cached),
)
