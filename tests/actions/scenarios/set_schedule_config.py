"""Stores that PD's own moving of leaders slows down."""

from tests.actions.scenario import Scenario

SCENARIO = Scenario(params=lambda cluster: {"key": "leader-schedule-limit", "value": 2, "keep_s": 60})
