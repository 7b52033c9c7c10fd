"""A region whose leader goes to the first of its followers."""

from pdsim.model import Cluster
from tests.actions.scenario import Scenario


def to_a_follower(cluster: Cluster) -> dict[str, object]:
    region = max(cluster.truth, key=lambda region: region.id)
    return {
        "region_id": region.id,
        "to_store_id": next(p.store_id for p in region.peers if p.store_id != region.leader),
    }


SCENARIO = Scenario(params=to_a_follower, others=(lambda cluster: {**to_a_follower(cluster), "hold_s": 60},))
