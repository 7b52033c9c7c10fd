"""The scheduler that moves replicas, while stores come back one after another."""

from tests.actions.scenario import Scenario

SCENARIO = Scenario(params=lambda cluster: {"scheduler": "balance-region-scheduler", "keep_s": 60})
