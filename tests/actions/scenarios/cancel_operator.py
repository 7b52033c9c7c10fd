"""A move that PD's balancing has begun, of a region so large that it takes minutes."""

from dataclasses import replace

from pdsim import building
from pdsim.model import Cluster
from pdsim.operators import Priority
from tests.actions.scenario import Scenario

MAKER = building.Maker("balance-region-scheduler", (), Priority.MEDIUM)


def balance(cluster: Cluster) -> None:
    region = max(cluster.cache, key=lambda r: r.id)
    large = replace(region, approximate_size=20_000)
    cluster.truth.put(large)
    cluster.cache.put(large)
    into = [s for s in sorted(cluster.stores) if region.peer_on(s) is None]
    out = [p.store_id for p in region.peers if p.store_id != region.leader]
    if into:
        wanted = [into[0] if p.store_id == out[0] else p.store_id for p in region.peers]
        assert cluster.add_operator(building.move(cluster, large, wanted, MAKER))


def the_one(cluster: Cluster) -> dict[str, object]:
    running = [o for o in cluster.book.running.values() if o.desc == MAKER.desc]
    if not running:
        raise LookupError("PD's balancing has nothing to do")
    return {"region_id": running[0].region_id, "operator": MAKER.desc}


SCENARIO = Scenario(
    params=the_one,
    just_before=balance,
    also=lambda cluster: {("operator on region", o.region_id): o.desc for o in cluster.book.running.values()},
    unlike={
        "leader change before the call": ("succeeded", "the operator went with the leader: that was what it was for"),
        "the store tombstoned before": ("succeeded", "it is about the operator, and that still ran"),
    },
)
