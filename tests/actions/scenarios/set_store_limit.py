"""A store that takes replicas more slowly than it could."""

from tests.actions.scenario import Scenario

SCENARIO = Scenario(
    params=lambda cluster: {"store_id": max(cluster.stores), "limit_type": "add-peer", "per_minute": 30},
)
