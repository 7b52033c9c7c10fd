"""cancel_store_offline: what can still be kept, and was it kept?"""

from __future__ import annotations

from typing import Any

import pytest

from actions import calls
from actions.action import health
from actions.cancel_store_offline import CancelStoreOffline
from actions.card import card, describe
from actions.preflight import objections
from schemas.facts import Facts, StoreFacts
from schemas.values import Bounds, Change, Reach
from tests.actions.clusters import LIMITS, NOW, healthy, region, store, tombstone, with_store
from tests.actions.test_actions import plan_of, sample

CANCEL = CancelStoreOffline(store_id=4)


def leaving(*others: StoreFacts, **changed: Any) -> Facts:
    """Store 4 is Offline, and has half of what it had."""
    of_store = {name: value for name, value in changed.items() if name in StoreFacts.model_fields}
    of_facts = {name: value for name, value in changed.items() if name not in of_store}
    half: dict[str, Any] = {"state": "Offline", "leader_count": 20, "region_count": 60}
    facts = healthy(**of_facts)
    for each in (*others, store(4, **(half | of_store))):
        facts = with_store(facts, each)
    return facts


def test_it_is_undone_by_taking_it_out_again() -> None:
    assert CANCEL.plan(leaving()) == (Change(do=calls.cancel_store_offline(4), undo=calls.offline_store(4)),)
    shown = card(plan_of(CANCEL, leaving()))
    assert shown.calls == ("POST /pd/api/v1/store/4/state?state=Up", "if undone: DELETE /pd/api/v1/store/4")
    assert shown.do_by_hand == ("pd-ctl store cancel-delete 4",)
    assert shown.undo_by_hand == ("pd-ctl store delete 4",)
    assert CANCEL.look().removal_of == (4,)
    assert "  store_id: id, required. The store to keep, as PD numbers it." in describe(CancelStoreOffline).splitlines()


# how much moves back


def test_it_gets_back_an_equal_share() -> None:
    """540 replicas and 180 leaders on five stores, 108 and 36 on each; 2000 bytes in 540 replicas."""
    assert CANCEL.reach(leaving()) == Reach(stores=5, regions=48, leaders=16, leaders_share=16 / 180, bytes_moved=178)
    assert CANCEL.bounds(leaving()) == Bounds(stores_max=5, regions_max=76, leaders_max=36, bytes_moved_max=282)
    assert CANCEL.reach(leaving(leader_count=200, region_count=600)).regions == 0
    assert CANCEL.reach(leaving(region_count=120)) == Reach(stores=5, regions=16, leaders=16, leaders_share=16 / 180)
    only = with_store(healthy(stores=0), store(4, state="Offline", labels={"engine": "tiflash"}))
    assert CANCEL.reach(only) == Reach(stores=1, regions=0, leaders=0, leaders_share=0)
    assert CANCEL.reach(healthy(stores=3)) == Reach(stores=1, regions=0, leaders=0, leaders_share=0)


def test_a_share_of_leaders_that_nobody_counts_is_none_or_all() -> None:
    none = leaving(*(store(n, leader_count=0) for n in (1, 2, 3, 5)), leader_count=0)
    assert CANCEL.reach(none).leaders_share == 0
    odd = with_store(none, tombstone(9, leader_count=-300))
    assert CANCEL.reach(with_store(odd, store(1, leader_count=5))).leaders_share == 1


# why not


@pytest.mark.parametrize(
    ("facts", "code", "kind", "text"),
    [
        (healthy(stores=3), "no_such_store", "no", "PD knows no store 4"),
        (healthy(), "not_offline", "no", "store 4 is Up: there is nothing to cancel"),
        (
            with_store(healthy(), tombstone(4)),
            "gone_for_good",
            "never",
            "store 4 is a Tombstone: its process needs an empty directory and a new id to come back",
        ),
        (
            leaving(physically_destroyed=True),
            "gone_for_good",
            "never",
            "store 4 was taken out by force: PD never takes it back",
        ),
        (
            leaving(last_heartbeat_ms=NOW - 22_001),
            "target_silent",
            "wait",
            "store 4 has been silent for 20 s: it would be back without its process",
        ),
        (
            leaving(labels={"engine": "tiflash"}),
            "target_is_tiflash",
            "no",
            "store 4 is TiFlash: it is not taken out here, as the undo would",
        ),
        (leaving(store(5, state="Offline")), "store_not_up", "no", "store 5 is Offline"),
        (leaving(store(5, state="Down")), "store_not_up", "no", "store 5 is Down"),
    ],
)
def test_why_a_store_is_not_kept(facts: Facts, code: str, kind: str, text: str) -> None:
    until_ms = NOW + 300_000 if kind == "wait" else 0
    found = [(o.code, o.kind, o.text, o.until_ms) for o in objections(CANCEL, facts, LIMITS)]
    assert found == [(code, kind, text, until_ms)]


@pytest.mark.parametrize("state", ["Disconnected", "Down"])
def test_a_store_that_is_only_away_is_not_kept(state: Any) -> None:
    assert "not_offline" in [o.code for o in objections(CANCEL, leaving(state=state), LIMITS)]


@pytest.mark.parametrize(
    "facts",
    [
        leaving(),
        leaving(last_heartbeat_ms=NOW - 22_000),
        leaving(region_count=0, leader_count=0),
        leaving(available_bytes=1, slow_score=100, is_busy=True),  # it takes over nothing by it
        leaving(troubled=(region(7, 1, 4, 5, pending_store_ids=(5,)),)),  # it drains: that is what this ends
        leaving(replaces_offline_replicas=False, replica_schedule_limit=0),
    ],
)
def test_a_store_is_kept_where_it_is_just_within_the_limits(facts: Facts) -> None:
    assert objections(CANCEL, facts, LIMITS) == ()


# was it kept?

DO, UNDO = calls.cancel_store_offline(4), calls.offline_store(4)


@pytest.mark.parametrize(
    ("state", "changed", "do", "undo"),
    [
        ("Offline", {}, "not_started", "applied"),
        ("Up", {}, "applied", "not_started"),
        ("Disconnected", {}, "applied", "not_started"),
        ("Down", {}, "applied", "not_started"),
        ("Tombstone", {}, "not_started", "applied"),  # sent again, PD refuses it; and it is out of the cluster
        ("Offline", {"pd_leader_age_s": 1.0}, "cant_tell", "cant_tell"),  # a leader of yesterday shows what was
        ("Offline", {"schedulers": ()}, "cant_tell", "cant_tell"),
        ("Up", {"pd_leader_age_s": 1.0}, "applied", "cant_tell"),
        ("Tombstone", {"pd_leader_age_s": 1.0}, "not_started", "applied"),
    ],
)
def test_was_it_kept(state: Any, changed: dict[str, Any], do: str, undo: str) -> None:
    facts = leaving(state=state, **changed)
    assert CANCEL.probe(DO, facts) == do
    assert CANCEL.probe(UNDO, facts) == undo


def test_a_store_without_a_record_is_out_of_the_cluster() -> None:
    assert CANCEL.probe(DO, healthy(stores=3)) == "cant_tell"
    assert CANCEL.probe(UNDO, healthy(stores=3)) == "applied"
    assert CANCEL.probe(UNDO, healthy(stores=3, pd_leader_age_s=1.0)) == "cant_tell"
    assert CANCEL.probe(UNDO, healthy(stores=0)) == "cant_tell"


def test_the_call_of_another_store_cannot_be_told() -> None:
    for call in (calls.offline_store(5), calls.cancel_store_offline(5), calls.set_store_weight(4, 1, 1)):
        assert CANCEL.probe(call, leaving()) == "cant_tell"


def test_it_is_done_and_reached_when_the_store_is_up() -> None:
    kept = leaving(state="Up", remove_peer_limit=1e8)
    own = {"stores_up": 4, "up": 1, "leaders": 20, "regions": 60, "remove_peer_limit": 1e8}
    assert CANCEL.figures(kept) == health(kept) | own
    assert CANCEL.figures(leaving()) == health(leaving()) | own | {"up": 0, "remove_peer_limit": 15.0}
    assert "up" not in CANCEL.figures(healthy(stores=3))
    assert CANCEL.is_done(kept)
    for state in ("Offline", "Disconnected", "Tombstone"):
        assert not CANCEL.is_done(leaving(state=state))
    assert not CANCEL.is_done(healthy(stores=3))
    assert CANCEL.is_reached(sample(up=1))
    assert not CANCEL.is_reached(sample(up=0))
