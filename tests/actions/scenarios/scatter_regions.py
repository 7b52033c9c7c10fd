"""A region whose leader sits on the store that leads all it can, in a cluster that does not balance leaders."""

from dataclasses import replace

from pdsim.model import Cluster
from tests.actions.scenario import Scenario


def crowd(cluster: Cluster) -> None:
    cluster.config.schedule["leader-schedule-limit"] = 0  # else PD's balancing would be quicker than we
    first = min(cluster.stores)
    for region in list(cluster.truth):
        if region.voter_on(first):
            crowded = replace(region, leader=first)
            cluster.truth.put(crowded)
            cluster.cache.put(crowded)


def one_of_them(cluster: Cluster) -> dict[str, object]:
    return {"region_ids": [max(region.id for region in cluster.truth.led_by(min(cluster.stores)))]}


AS_PD_LIKES = (
    "succeeded",
    "it is PD's to place a region or to leave it: that it is well and no more crowded is enough",
)
SCENARIO = Scenario(
    params=one_of_them,
    arrange=crowd,
    unlike={f"operator {how}": AS_PD_LIKES for how in ("replaced", "cancelled", "timed out")},
)
