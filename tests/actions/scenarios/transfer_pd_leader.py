"""A PD leader on the wrong node."""

from tests.actions.scenario import Scenario

SCENARIO = Scenario(
    params=lambda cluster: {"member": "pd-1"},
    also=lambda cluster: {("pd leader",): cluster.members.leader},
    unlike={
        "leader change before the call": (
            "succeeded",
            "the member that was to lead leads: that somebody else saw to it is as good",
        ),
        "somebody takes it back": (
            "worse",
            "it was away and back between two looks, which nobody sees, and a new leader calls stores Disconnected",
        ),
    },
)
