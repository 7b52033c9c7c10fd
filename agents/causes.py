"""What a diagnosis may name: each cause in plain words, what a person does about it, and which actions it admits.

Only admitted actions are ever proposed: a cause with none is still worth naming, and ends with a hint for people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.alert_rules import CauseName
from schemas.facts import Facts


@dataclass(frozen=True)
class Known:
    """`words` name the cause in a ticket; `for_people` is what remains for a person; `admits` are action types."""

    words: str
    for_people: str
    admits: tuple[str, ...] = ()


CAUSES: dict[CauseName, Known] = {
    "slow_store": Known(
        "slow store", "look at the store's disk and host; replace what is bad", ("evict_store_leaders",)
    ),
    "several_slow_stores": Known(
        "several stores slow at once", "look for what they share: load, network, storage backend, a scan or backup"
    ),
    "hot_region": Known(
        "hot region",
        "find the table or index behind the region; split it, or spread its keys",
        ("split_region", "transfer_region_leader"),
    ),
    "tombstones_left": Known(
        "tombstones left behind",
        "check that the stores are gone for good; then their records can be removed",
        ("remove_tombstones",),
    ),
    "store_down": Known(
        "store down", "restart the process or its node; if it is dead, let PD re-make its replicas, then offline it"
    ),
    "store_disconnected": Known(
        "store not heard of", "look at the process, its node and the network; it may come back"
    ),
    "store_unreachable": Known(
        "store unreachable for its peers", "look at the network between the stores: PD still hears this one"
    ),
    "store_restarted": Known("store restarted", "find out why; leave the cluster alone until leaders are back"),
    "replicas_missing": Known(
        "replicas missing", "watch the count fall; take no store out until it is zero; check space and labels"
    ),
    "replica_lags": Known(
        "replicas lag on one store",
        "look at that store's disk and network; lower schedule limits",
        ("pause_scheduler", "set_schedule_config"),
    ),
    "uneven_load": Known("one store written to far more than the others", "find the hot table; split or spread it"),
    "store_nearly_full": Known(
        "store nearly full", "remove what should not be there; add a store; lower its weight", ("set_store_weight",)
    ),
    "cluster_nearly_full": Known("cluster nearly full", "add stores"),
    "pd_disk_slow": Known("slow disk under PD", "move the PD leader off that node; look at its disk"),
    "pd_network_slow": Known("slow network between PD members", "look at the network; move or replace the member"),
    "pd_overloaded": Known("PD overloaded", "profile PD; move its leader to a member with more room"),
    "pd_stalled": Known("PD leader stalled", "look for a disk or CPU stall on the PD leader's node"),
    "pd_leader_moved": Known("PD leader moved", "if nobody moved it: look at load and network of the PD nodes"),
    "pd_restarted": Known("PD restarted", "find out why; its counts are incomplete for some minutes"),
    "pd_member_down": Known("PD member down", "bring the member back before another one goes: quorum is at stake"),
    "clock_went_back": Known("clock went back on PD", "look at NTP on the PD nodes"),
    "pd_cpu_short": Known("PD short of CPU", "give PD more CPU, or find who asks so much of it"),
    "pd_memory_short": Known("PD short of memory", "give PD more memory"),
    "etcd_nearly_full": Known("PD's etcd nearly full", "compact and defragment etcd, or raise its quota"),
    "unknown": Known("unknown", "look by hand"),
}


def for_people(cause: CauseName, store_ids: Iterable[int], facts: Facts) -> str:
    """What remains for a person, with the address of the store that it is about, where it is about one."""
    found = CAUSES[cause]
    stores = [s for i in dict.fromkeys(store_ids) if (s := facts.store(i))]
    return f"{found.for_people}: store {stores[0].id} ({stores[0].address})" if len(stores) == 1 else found.for_people


def known(cause: str) -> Known | None:
    """The cause of that name, from an event or a reply; None: no such cause."""
    return next((found for name, found in CAUSES.items() if name == cause), None)
