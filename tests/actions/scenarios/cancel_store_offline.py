"""A store that somebody has taken out, and that shall stay."""

from pdsim import repair
from pdsim.model import Cluster
from tests.actions.scenario import Scenario


def take_out(cluster: Cluster) -> None:
    cluster.config.schedule["replica-schedule-limit"] = 0  # else it has left long before anybody looks
    repair.begin_removal(cluster, cluster.stores[max(cluster.stores)])


SCENARIO = Scenario(
    params=lambda cluster: {"store_id": max(cluster.stores)},
    arrange=take_out,
    also=lambda cluster: {("state", s.id): s.state.name for s in cluster.stores.values()},
    unlike={
        "the store slow": ("succeeded", "it is asked to stay, and not to do more than it does"),
    },
)
