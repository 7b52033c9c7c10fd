"""A store that is to leave, in a cluster that can spare it and has much to copy."""

from dataclasses import replace

from pdsim.model import Cluster
from tests.actions.scenario import Scenario


def large_regions(cluster: Cluster) -> None:
    cluster.config.schedule["replica-schedule-limit"] = 1
    for region in list(cluster.truth):
        large = replace(region, approximate_size=2_000)
        cluster.truth.put(large)
        cluster.cache.put(large)


SCENARIO = Scenario(
    params=lambda cluster: {"store_id": max(cluster.stores)},
    arrange=large_regions,
    also=lambda cluster: {("state", s.id): s.state.name for s in cluster.stores.values()},
    unlike={
        "the store slow": ("succeeded", "a slow store is what may be taken out"),
        "the store tombstoned under us": ("succeeded", "that is where it was to get"),
    },
)
