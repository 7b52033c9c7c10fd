"""The fault kit: each fault is brought about as a real PD shows it (pd-seen.md), and only where it can befall anything.

That the faults of one answer are what they say is tested in test_pdsim_faults.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from pdsim.faults import Faults, Meanwhile
from pdsim.http import Request, transport
from pdsim.kit import GROUPS, KIT, Aim
from pdsim.model import Cluster

START = 1_800_000_000.0
OPERATORS, SCHEDULERS = "/pd/api/v1/operators", "/pd/api/v1/schedulers"


@dataclass
class Caller:
    """Moves the leader of a region, and takes it back; or evicts the leaders of a store, and takes that back."""

    evicts: bool = False
    now_s: float = START
    cluster: Cluster = field(default_factory=lambda: Cluster.healthy(now=START, stores=4, regions=12, seed=7))
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        region = next(iter(self.cluster.truth))
        assert region.leader is not None
        self.region_id, self.from_id = region.id, region.leader
        self.to_id = next(p.store_id for p in region.peers if p.store_id != region.leader)
        self.other_id = next(s for s in self.cluster.stores if region.peer_on(s) is None)

    def aim(self) -> Aim:
        if self.evicts:
            body = b'{"name":"evict-leader-scheduler","store_id":%d}' % self.to_id
            undo = Request("DELETE", f"{SCHEDULERS}/evict-leader-scheduler-{self.to_id}")
            return Aim(Request("POST", SCHEDULERS, body=body), undo, self.to_id, self.other_id)
        there, back = (
            b'{"name":"transfer-leader","region_id":%d,"to_store_id":%d}' % (self.region_id, to)
            for to in (self.to_id, self.from_id)
        )
        do, undo = (Request("POST", OPERATORS, body=body) for body in (there, back))
        return Aim(do, undo, self.to_id, self.other_id, self.region_id, "[PD:region:ErrRegionNotFound]no such region")

    def strikes(self, name: str, **changed: Any) -> bool:
        return KIT[name].strike(self.cluster, self.faults, replace(self.aim(), **changed))

    def sends(self, request: Request | None) -> httpx.Response:
        assert request is not None
        through = transport(self.cluster, lambda: self.now_s, self.faults)
        with httpx.Client(transport=through, base_url="http://pd-1:2379", timeout=2) as client:
            return client.request(request.method, request.path, content=request.body)

    def gets(self, path: str, after_s: float = 0.0) -> Any:
        self.now_s += after_s
        through = transport(self.cluster, lambda: self.now_s, self.faults)
        with httpx.Client(transport=through, base_url="http://pd-1:2379", timeout=2) as client:
            return client.get(f"/pd/api/v1{path}").json()

    def operator(self, after_s: float) -> str:
        """As GET /operators/{region} shows it."""
        return str(self.gets(f"/operators/{self.region_id}", after_s))

    def befalls(self, name: str) -> None:
        """The fault, and the call that it is aimed at."""
        assert self.strikes(name)
        assert self.sends(self.aim().do).status_code == 200


def test_each_says_what_it_stands_for() -> None:
    for name, fault in KIT.items():
        assert fault.name == name
        assert fault.group in GROUPS
        assert fault.stands_for


@pytest.mark.parametrize(
    ("name", "after_s", "shown"),
    [
        ("operator replaced", 0.1, "status: REPLACE"),
        ("operator cancelled", 0.1, "status: CANCEL"),
        ("operator timed out", 59, "status: RUNNING"),
        ("operator timed out", 60.01, "status: TIMEOUT"),  # later the record is of whoever came next
        ("operator stuck", 1_790, "status: RUNNING"),
        ("operator stuck", 1_800.01, "status: TIMEOUT"),
    ],
)
def test_an_operator_that_does_not_do_its_work(name: str, after_s: float, shown: str) -> None:
    caller = Caller()
    caller.befalls(name)
    assert shown in caller.operator(after_s)
    leads = caller.gets(f"/region/id/{caller.region_id}")["leader"]["store_id"]
    # After a cancel the store still does the step that it was told before.
    assert leads == (caller.to_id if name == "operator cancelled" else caller.from_id)


def test_an_operator_that_is_refused_because_the_region_has_one_as_urgent() -> None:
    caller = Caller()
    assert caller.strikes("operator refused")
    answer = caller.sends(caller.aim().do)
    assert answer.status_code == 500
    assert answer.json().startswith("[PD:operator:ErrAddOperator]")


@pytest.mark.parametrize("name", ["operator replaced", "operator cancelled", "operator timed out", "operator stuck"])
def test_a_call_that_makes_no_operator_is_not_befallen(name: str) -> None:
    caller = Caller(evicts=True)
    caller.befalls(name)
    ((_, _, fault),) = caller.faults.struck
    assert isinstance(fault, Meanwhile)
    assert not fault.found


def test_a_new_leader_hides_its_schedulers_and_has_no_operators() -> None:
    """tikv/pd#4707"""
    caller = Caller(evicts=True)
    caller.befalls("leader change mid-operation")
    assert caller.gets("/schedulers", 0.3) == []
    assert "evict-leader-scheduler" in caller.gets("/schedulers", 1)
    moving = Caller()
    moving.befalls("leader change mid-operation")
    assert "ErrOperatorNotFound" in moving.operator(1)


def test_a_killed_leader_leaves_nobody_for_twelve_seconds() -> None:
    caller = Caller(evicts=True)
    caller.befalls("leader killed mid-operation")
    caller.now_s += 12
    assert "ErrRedirect]" in caller.sends(Request("GET", "/pd/api/v1/stores")).text
    assert caller.gets("/stores", 1)["count"] == 4


@pytest.mark.parametrize("name", ["PD restarted", "PD restarts mid-operation"])
def test_a_restarted_pd_counts_no_leaders(name: str) -> None:
    """tikv/pd#3406"""
    caller = Caller(evicts=True)
    assert caller.strikes(name)
    if "mid" in name:
        caller.sends(caller.aim().do)
    caller.now_s += 3.1
    assert [store["status"]["leader_count"] for store in caller.gets("/stores")["stores"]] == [0] * 4
    assert caller.gets("/schedulers") == []


def test_a_region_that_is_said_to_be_missing_is_an_answer_of_200() -> None:
    caller = Caller()
    caller.befalls("200 for a missing region")
    assert caller.gets(f"/region/id/{caller.region_id}")["id"] == 0
    assert caller.gets(f"/region/id/{caller.region_id}", 31)["id"] == caller.region_id


@pytest.mark.parametrize("name", ["slow PD", "half answers"])
def test_reads_are_bad_for_half_a_minute(name: str) -> None:
    caller = Caller()
    caller.befalls(name)
    with pytest.raises((httpx.ReadTimeout, ValueError)):
        caller.gets("/stores")
    assert caller.gets("/stores", 31)["count"] == 4


STORES: list[tuple[str, Callable[[Caller], int], Callable[[dict[str, Any]], bool]]] = [
    ("the store down", lambda c: c.to_id, lambda s: s["store"]["state_name"] == "Disconnected"),
    ("another store down", lambda c: c.other_id, lambda s: s["store"]["state_name"] == "Disconnected"),
    ("the store slow", lambda c: c.to_id, lambda s: bool(s["status"]["slow_score"] == 100 and s["status"]["is_busy"])),
    ("another store slow", lambda c: c.other_id, lambda s: bool(s["status"]["slow_score"] == 100)),
    ("the store low on space", lambda c: c.to_id, lambda s: s["status"]["available"].startswith("93.")),
    ("the store tombstoned before", lambda c: c.to_id, lambda s: s["store"]["state_name"] == "Tombstone"),
    ("the store disconnected mid-operation", lambda c: c.to_id, lambda s: s["store"]["state_name"] == "Disconnected"),
    ("another disconnected mid-operation", lambda c: c.other_id, lambda s: s["store"]["state_name"] == "Disconnected"),
    ("another low on space mid-operation", lambda c: c.other_id, lambda s: s["status"]["available"].startswith("93.")),
    ("the store tombstoned under us", lambda c: c.to_id, lambda s: s["store"]["state_name"] == "Tombstone"),
]


@pytest.mark.parametrize(("name", "store", "is_so"), STORES, ids=[name for name, _, _ in STORES])
def test_what_befalls_a_store_shows(
    name: str, store: Callable[[Caller], int], is_so: Callable[[dict[str, Any]], bool]
) -> None:
    caller = Caller()
    assert caller.strikes(name)
    if "mid-operation" in name or "under us" in name:
        caller.sends(caller.aim().do)
    shown = caller.gets(f"/store/{store(caller)}", 40)
    assert is_so(shown), shown


def test_a_store_that_is_gone_is_befallen_by_nothing() -> None:
    caller = Caller()
    caller.cluster.make_tombstone(caller.to_id)
    for name in ("the store down", "the store slow", "the store low on space", "the store tombstoned before"):
        assert not caller.strikes(name)


def test_somebody_does_the_same_and_takes_it_back() -> None:
    caller = Caller(evicts=True)
    assert caller.strikes("somebody does the same before our look")
    assert [call.caller_id for call in caller.cluster.calls] == ["pd-ctl"]
    assert list(caller.cluster.schedulers.evicted) == [caller.to_id]
    assert not caller.strikes("somebody does the same before our look"), "nothing is left to do"
    moving = Caller()
    moving.befalls("somebody takes it back")
    assert moving.gets(f"/region/id/{moving.region_id}", 2)["leader"]["store_id"] == moving.from_id


def test_a_scheduler_that_was_removed_is_back_under_the_next_leader() -> None:
    """tikv/pd#4707, tikv/pd#9185"""
    caller = Caller(evicts=True)
    caller.befalls("undo: scheduler comes back")
    assert caller.sends(caller.aim().undo).status_code == 200
    assert caller.gets("/schedulers", 0.3) == []
    assert "evict-leader-scheduler" in caller.gets("/schedulers", 1)


def test_what_was_taken_back_is_there_again_by_somebody_else() -> None:
    caller = Caller(evicts=True)
    caller.befalls("undo: somebody does it again")
    caller.sends(caller.aim().undo)
    assert "evict-leader-scheduler" not in caller.gets("/schedulers", 11)
    assert "evict-leader-scheduler" in caller.gets("/schedulers", 2)


@pytest.mark.parametrize("name", [name for name, fault in KIT.items() if name.startswith("undo: ")])
def test_an_undo_that_there_is_not_is_not_befallen(name: str) -> None:
    assert not Caller().strikes(name, undo=None)


@pytest.mark.parametrize("evicts", [False, True])
def test_the_fault_of_an_undo_lets_the_call_pass_that_is_sent_to_the_same_place(evicts: bool) -> None:
    caller = Caller(evicts=evicts)
    caller.befalls("undo: 5xx with a code")
    caller.now_s += 2
    assert "ErrRedirectToNotLeader" in caller.sends(caller.aim().undo).text


def test_limits_and_weights_are_written_as_they_were_installed() -> None:
    caller = Caller()
    caller.cluster.config.schedule["leader-schedule-limit"] = 0
    caller.cluster.stores[1].leader_weight = 0.5
    caller.cluster.stores[1].limits["add-peer"].per_minute = 100.0
    caller.befalls("limits reset")
    assert caller.gets("/config/schedule")["leader-schedule-limit"] == 4
    assert caller.gets("/stores/limit")["1"] == {"add-peer": 15.0, "remove-peer": 15.0}
    assert caller.gets("/store/1")["status"]["leader_weight"] == 1


def test_refused_is_what_pd_says_of_this_call_and_nothing_where_it_never_refuses() -> None:
    caller = Caller()
    assert caller.strikes("refused")
    answer = caller.sends(caller.aim().do)
    assert (answer.status_code, answer.json()) == (500, caller.aim().refusal)
    assert not caller.strikes("refused", refusal="")
