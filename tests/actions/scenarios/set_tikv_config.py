"""A TiKV that takes more memory than it should."""

from pdsim.stores import State
from tests.actions.scenario import Scenario

SCENARIO = Scenario(
    params=lambda cluster: {"store_id": max(cluster.stores), "key": "storage.block-cache.capacity", "mib": 4096},
    also=lambda cluster: {
        ("setting", s.id, key): value
        for s in cluster.stores.values()
        if s.state is not State.Tombstone
        for key, value in s.settings.now.items()
    },
    unlike={
        "leader change before the call": ("succeeded", "the call goes to TiKV: who leads PD is nothing to it"),
        "the store disconnected mid-operation": (
            "open",
            "whether a process that cannot be asked still has the setting nobody can tell: it stays owed, in sight",
        ),
    },
)
