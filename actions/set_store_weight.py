"""Give one store a larger or a smaller share of the cluster's leaders, or of its replicas, for good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, low_on_space, more_low_space, no, wait
from schemas.events import Finding
from schemas.facts import Facts, StoreFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample, StoreId

RETRY_S = 300
WEIGHT_MIN = 0.1  # all below is an eviction by another name
ODD_BELOW, ODD_ABOVE = 0.01, 100.0  # weights that PD takes, and that no estimate can be made from
REGIONS_SHARE_MAX = 0.1  # of all replicas
BYTES_MOVED_MAX = 2**40
DUST = 1e-6  # of sums of fractions


def _plain(weight: float) -> float:
    if calls.weight_text(weight) is None:
        raise ValueError("has more than 2 decimal places")
    return weight


class SetStoreWeight(Action):
    """Set the leader weight or the region weight of one store: PD balances in proportion to them. 1 is usual.

    `weight_of` leader: how many regions the store leads, and so how much of the clients' load it carries.
    `weight_of` region: how many replicas it holds, and so how much data. For a store that is nearly full, or whose
    host is smaller or larger than the others: 0.5 gives it half the share of a store of weight 1.

    What clients notice: one retry for each leader that moves, 1 to 20 ms each, over minutes. Replicas that move are
    copied from store to store over hours; disks and network are busier meanwhile, within PD's own limits.

    The weight shows at once, and stays until somebody changes it; that it shows is all that is verified here. What
    moves afterwards is estimated from counts and weights: PD itself balances by size, and within placement rules.

    One weight at a time: PD writes the two one after the other, and a pair that was half written could not be told
    from somebody else's. 0 is refused, and so is all below 0.1: that is an eviction by another name, and one that
    nothing shows. The undo sets the pair that the store has now, which the plan names; what has moved by then moves
    back.
    """

    name = "set_store_weight"
    version = 1
    risk = "MEDIUM"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"set_store_weight"})
    clients_notice = "one retry a leader that moves, 1 to 20 ms each; replicas that move keep disks and network busy"
    stops_if = "a peer goes down, a store is no longer Up or gets low on space, somebody freezes"

    store_id: StoreId = Field(description="The store, as PD numbers it.")
    weight_of: Literal["leader", "region"] = Field(
        description="leader: its share of the leaders is changed. region: its share of the replicas."
    )
    weight: Annotated[float, AfterValidator(_plain)] = Field(
        ge=WEIGHT_MIN,
        le=10,
        description="The new weight, with at most 2 decimal places; the other weight stays as it is.",
    )

    def title(self) -> str:
        return f"Set the {self.weight_of} weight of store {self.store_id} to {self.weight:g}"

    def entities(self) -> tuple[str, ...]:
        return (f"store:{self.store_id}",)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The weights of every store: the undo is the pair of this one, and what moves hangs on all of them."""
        store = facts.store(self.store_id)
        return (
            Premise(name=f"store:{self.store_id}.address", value=store.address if store else "unknown"),
            Premise(name=f"store:{self.store_id}.state", value=store.state if store else "unknown"),
            *(
                Premise(name=f"store:{s.id}.weights", value=f"{_spelled(s.leader_weight)},{_spelled(s.region_weight)}")
                for s in facts.living()
            ),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        store = facts.store(self.store_id)
        if store is None:
            yield no("no_such_store", f"PD knows no store {self.store_id}")
            return
        if store.state != "Up":
            yield no("target_not_up", f"store {store.id} is {store.state}: a weight would move nothing there")
        if store.is_tiflash():
            yield no("target_is_tiflash", f"store {store.id} is TiFlash: it never leads, and its replicas are learners")
        if self._weight(store) == self.weight:
            yield no("already_so", f"store {store.id} has the {self.weight_of} weight {self.weight:g}")
        for of, weight in (("leader", store.leader_weight), ("region", store.region_weight)):
            if calls.weight_text(weight) is None:
                text = f"store {store.id} has the {of} weight {weight!r}, which the undo could not set again"
                yield no("old_weight_unsayable", text)
        yield from self._others(facts, limits)
        yield from self._balancing(facts, limits)
        yield from self._too_much(store, facts, limits)
        yield from self._takers(facts)

    def _others(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """What somebody else has done, or is at."""
        for store in balanced_stores(facts):
            if store.id != self.store_id and not ODD_BELOW <= (weight := self._weight(store)) <= ODD_ABOVE:
                text = f"store {store.id} has the {self.weight_of} weight {weight!r}: an eviction by another name"
                yield no("odd_weight", text)
        for operator in facts.operators:
            if operator.desc.startswith("admin-"):
                text = f"region {operator.region_id} has an operator: {operator.desc} {operator.brief}".rstrip()
                yield wait("operator_running", text[:300], limits.now_ms + RETRY_S * 1000)

    def _balancing(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """PD must be balancing, or nothing moves now, and all of it on a day that nobody expects it."""
        scheduler = f"balance-{self.weight_of}-scheduler"
        if scheduler not in facts.schedulers:
            yield no("balancing_off", f"PD has no {scheduler}: nothing would move")
        if scheduler in facts.paused_schedulers:
            text = f"{scheduler} is paused: nothing would move"
            yield wait("balancing_paused", text, limits.now_ms + RETRY_S * 1000)
        limit = facts.leader_schedule_limit if self.weight_of == "leader" else facts.region_schedule_limit
        if not limit > 0:
            yield no("balancing_off", f"{self.weight_of}-schedule-limit is 0: nothing would move")

    def _too_much(self, store: StoreFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """Comparisons are written so that what is not a number objects."""
        reach = self.reach(facts)
        if not reach.regions > 0:
            yield no("nothing_would_move", "by counts and weights not one region would move")
        if not reach.leaders_share <= (most := limits.policy.leaders_share_max):
            yield no("too_many_leaders", f"{reach.leaders_share:.0%} of all leaders would move, at most {most:.0%}")
        if self.weight_of == "region":
            total = sum(s.region_count for s in balanced_stores(facts))
            if not reach.regions <= REGIONS_SHARE_MAX * total:
                text = f"{reach.regions} of {total} replicas would move, at most {REGIONS_SHARE_MAX:.0%}"
                yield no("too_many_regions", text)
            if not reach.bytes_moved <= BYTES_MOVED_MAX:
                text = f"{reach.bytes_moved / 2**30:.0f} GiB would move, at most {BYTES_MOVED_MAX / 2**30:.0f}"
                yield no("too_many_bytes", text)
        elif not store.written_bytes_per_s <= (limit := limits.policy.leader_move_bytes_per_s_max):
            text = (
                f"store {store.id} takes {store.written_bytes_per_s / 1e6:.1f} MB/s of writes, at most {limit / 1e6:g}"
            )
            yield wait("writes_too_high", text, limits.now_ms + RETRY_S * 1000)

    def _takers(self, facts: Facts) -> Iterator[Objection]:
        """The stores that would get more must be able to take it."""
        gains, each_bytes = self._gains(facts), region_bytes(facts)
        takers = [s for s in balanced_stores(facts) if gains[s.id] >= 1]
        if slow := [s.id for s in takers if s.is_strained()]:
            yield no("takers_slow", f"stores {slow} would get more, and are busy or slow")
        if self.weight_of == "region" and (
            cramped := [
                s.id
                for s in takers
                if not s.available_bytes - gains[s.id] * each_bytes >= (1 - facts.low_space_ratio) * s.capacity_bytes
                or s.capacity_bytes <= 0
            ]
        ):
            yield no("takers_low_on_space", f"stores {cramped} would get more, and are low on space or would be then")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        store = facts.store(self.store_id)
        if store is None:
            return ()
        old = {"leader": store.leader_weight, "region": store.region_weight}
        can_say = all(calls.weight_text(weight) for weight in old.values())
        return (
            Change(
                do=calls.set_store_weight(self.store_id, **(old | {self.weight_of: self.weight})),
                undo=calls.set_store_weight(self.store_id, **old) if can_say else None,
            ),
        )

    def reach(self, facts: Facts) -> Reach:
        """What PD would move, by counts and weights: every store's share changes."""
        stores = len(balanced_stores(facts))
        count = ceil(sum(max(0.0, gain) for gain in self._gains(facts).values()) - DUST)
        if self.weight_of == "region":
            moved_bytes = ceil(count * region_bytes(facts))
            return Reach(stores=stores, regions=count, leaders=0, leaders_share=0.0, bytes_moved=moved_bytes)
        total = facts.leaders_total()
        share = count / total if total > 0 else float(count > 0)
        return Reach(stores=stores, regions=count, leaders=count, leaders_share=share)

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more, and 16, than the estimate: counts move all the time."""
        reach = self.reach(facts)
        most = ceil(reach.regions * 1.25) + 16
        if self.weight_of == "leader":
            return Bounds(stores_max=reach.stores, regions_max=most, leaders_max=most)
        most_bytes = ceil(most * region_bytes(facts))
        return Bounds(stores_max=reach.stores, regions_max=most, leaders_max=0, bytes_moved_max=most_bytes)

    def figures(self, facts: Facts) -> dict[str, float]:
        store = facts.store(self.store_id)
        own = {"low_space": float(len(low_on_space(facts)))}
        if store is not None:
            own |= {
                "weight": self._weight(store),
                "leaders": float(store.leader_count),
                "regions": float(store.region_count),
            }
        return health(facts) | own

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        return super().abort_if(before, now) or more_low_space(before, now)

    def is_done(self, facts: Facts) -> bool:
        store = facts.store(self.store_id)
        return store is not None and self._weight(store) == self.weight

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "weight") == self.weight

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the one weight that is changed. PD writes it to etcd before it shows it, so that a new PD leader has it;
        but one that has lost the lead unawares shows what was: until PD has settled only our weight is believed.

        For an undo a weight that is neither ours nor the old one is somebody's word since, and ours is gone.
        """
        if call.name != "set_store_weight" or call.args.get("store_id") != str(self.store_id):
            return "cant_tell"
        store, ours = now.store(self.store_id), calls.weight_text(self.weight)
        is_undo = call.args.get(self.weight_of) != ours
        if store is None:  # its record was removed, weights and all
            return "applied" if is_undo and now.living() and is_settled(now) else "cant_tell"
        if calls.weight_text(self._weight(store)) == ours:
            return "not_started" if is_undo else "applied"
        if not is_settled(now):
            return "cant_tell"
        return "applied" if is_undo else "not_started"

    def _weight(self, store: StoreFacts) -> float:
        return store.leader_weight if self.weight_of == "leader" else store.region_weight

    def _gains(self, facts: Facts) -> dict[int, float]:
        """By store, how many more it will have once PD has balanced: than now, or than its old weight gives it, the
        larger of the two, for a cluster that rules or labels keep out of balance moves by the latter."""
        stores = balanced_stores(facts)
        counts = {s.id: s.leader_count if self.weight_of == "leader" else s.region_count for s in stores}
        old = {s.id: self._weight(s) for s in stores}
        total, most = sum(counts.values()), max(facts.regions_total, *counts.values(), 0)
        before = _shares(total, old, most)
        after = _shares(total, old | ({self.store_id: self.weight} if self.store_id in old else {}), most)
        return {s: after[s] - min(counts[s], before[s]) for s in counts}


def _shares(total: float, weights: Mapping[int, float], most: float) -> dict[int, float]:
    """What each store has in balance: in proportion to its weight, but no store more than there are regions."""
    left, shares = dict(weights), dict[int, float]()
    while full := [s for s, weight in left.items() if weight * total > most * sum(left.values())]:
        shares |= dict.fromkeys(full, most)
        left = {s: weight for s, weight in left.items() if s not in shares}
        total -= most * len(full)
    for_one = total / max(sum(left.values()), 1e-6)  # PD too takes 0 for a millionth
    return shares | {s: for_one * weight for s, weight in left.items()}


def balanced_stores(facts: Facts) -> tuple[StoreFacts, ...]:
    """The stores among which PD balances what this is about."""
    return tuple(s for s in facts.living() if not s.is_tiflash())


def region_bytes(facts: Facts) -> float:
    """A replica's, on average; too many rather than too few, for others may write to the disks too."""
    stores = balanced_stores(facts)
    used = sum(max(0, s.capacity_bytes - s.available_bytes) for s in stores)
    return used / max(1, sum(s.region_count for s in stores))


def _spelled(weight: float) -> str:
    return calls.weight_text(weight) or repr(weight)
