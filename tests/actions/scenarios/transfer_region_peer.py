"""A region of which a follower goes to a store that holds none of it."""

from pdsim.model import Cluster
from tests.actions.scenario import Scenario


def to_where_none_is(cluster: Cluster) -> dict[str, object]:
    region = max(cluster.truth, key=lambda region: region.id)
    free = [s.id for s in cluster.stores.values() if region.peer_on(s.id) is None and s.state.name == "Up"]
    if not free:
        raise LookupError("every store holds one")
    follower = next(peer.store_id for peer in region.peers if peer.store_id != region.leader)
    return {"region_id": region.id, "from_store_id": follower, "to_store_id": free[0]}


SCENARIO = Scenario(
    params=to_where_none_is,
    unlike={
        "the store tombstoned under us": ("unknown", "PD can't put it back on a store that is gone: a person is told")
    },
)
