"""A store that has left, and that PD still lists."""

from pdsim.model import Cluster
from tests.actions.scenario import Scenario


def a_store_has_left(cluster: Cluster) -> None:
    if len(cluster.stores) > 3:  # of three, none could leave
        cluster.make_tombstone(max(cluster.stores))


def tombstones(cluster: Cluster) -> dict[str, object]:
    ids = [store.id for store in cluster.stores.values() if store.state.name == "Tombstone"]
    if not ids:
        raise LookupError("no store has left")
    return {"store_ids": ids}


SCENARIO = Scenario(params=tombstones, arrange=a_store_has_left)
