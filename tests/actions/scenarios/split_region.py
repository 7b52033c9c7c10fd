"""The last region, as large as regions are."""

from tests.actions.scenario import Scenario

SCENARIO = Scenario(params=lambda cluster: {"region_id": max(region.id for region in cluster.truth)})
