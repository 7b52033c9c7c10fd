"""/metrics: the few series that the stock alert rules and the diagnosis look at, in Prometheus text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pdsim.api.regions import CHECKS, checked
from pdsim.members import Member
from pdsim.model import Cluster
from pdsim.stores import SLOW_FROM, UNHEALTHY_AFTER_S, State, Store
from pdsim.wire import Response

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"


def scrape(cluster: Cluster, member: Member) -> Response:
    """What one member shows. Only the leader knows the cluster; `store` names the store, alert rules sum it away."""
    leads = member.name == cluster.members.leader
    lines = [
        "# HELP etcd_server_is_leader Whether or not this member is a leader. 1 if is, 0 otherwise.",
        "# TYPE etcd_server_is_leader gauge",
        f"etcd_server_is_leader {int(leads)}",
    ]
    if leads and cluster.bootstrapped:
        lines += ["# HELP pd_cluster_status Status of the cluster.", "# TYPE pd_cluster_status gauge"]
        lines += _cluster_status(cluster)
        lines += ["# HELP pd_regions_status Status of the regions.", "# TYPE pd_regions_status gauge"]
        for name in CHECKS:
            label = f"{name}-count" if name.endswith("region") else f"{name}-region-count"
            lines.append(f'pd_regions_status{{type="{label}"}} {len(checked(cluster, name))}')
    return Response(200, (("content-type", CONTENT_TYPE),), ("\n".join(lines) + "\n").encode())


def _cluster_status(cluster: Cluster) -> Iterator[str]:
    def silent_s(store: Store) -> float:
        return cluster.now - store.last_heartbeat

    def named(store: Store) -> str:
        return store.state_name(cluster.now, cluster.max_down_s)

    counts: dict[str, Callable[[Store], bool]] = {
        "store_up_count": lambda store: named(store) == "Up",
        "store_disconnected_count": lambda store: named(store) == "Disconnected",
        "store_down_count": lambda store: named(store) == "Down",
        "store_unhealth_count": lambda store: store.state is State.Up and silent_s(store) > UNHEALTHY_AFTER_S,
        "store_offline_count": lambda store: store.state is State.Offline,
        "store_tombstone_count": lambda store: store.state is State.Tombstone,
        "store_low_space_count": lambda store: (
            store.state is not State.Tombstone and store.is_low_space(cluster.config.low_space_ratio)
        ),
        "store_slow_count": lambda store: store.state is State.Up and store.heard_slow_score >= SLOW_FROM,
        "store_serving_count": lambda store: store.state is State.Up,
        "store_removing_count": lambda store: store.state is State.Offline,
    }
    for name, test in counts.items():
        for store in cluster.stores.values():
            yield f'pd_cluster_status{{engine="tikv",store="{store.id}",type="{name}"}} {int(test(store))}'
    remaining = [store for store in cluster.stores.values() if store.state is not State.Tombstone]
    totals = {
        "region_count": len(cluster.cache),
        "leader_count": sum(cluster.cache.leader_count(store.id) for store in remaining),
        "storage_capacity": sum(store.capacity for store in remaining),
        "storage_size": sum(store.heard_used for store in remaining),
    }
    for name, total in totals.items():
        yield f'pd_cluster_status{{engine="tikv",store="",type="{name}"}} {total}'
