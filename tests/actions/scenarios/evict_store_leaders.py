"""A store that answers slowly, in a cluster that is well otherwise."""

from tests.actions.scenario import Scenario

SCENARIO = Scenario(params=lambda cluster: {"store_id": max(cluster.stores), "keep_s": 60})
