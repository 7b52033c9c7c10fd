"""A store whose host is smaller than the others."""

from tests.actions.scenario import Scenario

SCENARIO = Scenario(params=lambda cluster: {"store_id": max(cluster.stores), "weight_of": "leader", "weight": 0.5})
