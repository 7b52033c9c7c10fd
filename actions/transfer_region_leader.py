"""Move one region's leader to another of its replicas."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from actions import calls, holding, regions
from actions.action import Action, Limits, Undo, figure, health, is_settled, no, wait
from schemas.events import Finding
from schemas.facts import Facts, Look, OperatorFacts, RegionFacts, StoreFacts
from schemas.text import duration
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, RegionId, Sample, StoreId

RETRY_S = 60
_CONFLICTS = ("balance-leader-scheduler", "balance-hot-region-scheduler")  # either could move the leader back


class TransferRegionLeader(Action):
    """Move the Raft leader of one region to another store that already holds a voting replica of it.

    For one hot or stuck region whose leader sits on a store with too much to do. No data is copied: a replica that is
    up to date takes over.

    What clients notice: requests on this one region are retried once, some milliseconds. Nothing else.

    The undo is to move it back to the store that leads now, which the plan names. PD's own balancing may move the
    leader again later: that is its right, and shows as "no better". With `hold_s`, PD's schedulers that balance leaders
    and hot regions are paused first, for so long, and then resumed; what PD has done with the leader by then counts.
    """

    name = "transfer_region_leader"
    version = 1
    risk = "LOW"
    undo = Undo.REVERSIBLE
    may_call = frozenset({"transfer_leader", "pause_scheduler", "resume_scheduler"})
    clients_notice = "one retry on this one region, some milliseconds"

    region_id: RegionId = Field(description="The region whose leader is moved.")
    to_store_id: StoreId = Field(description="The store that shall lead: it must hold a healthy voter of the region.")
    hold_s: int = Field(
        0, ge=0, le=1800, multiple_of=60, description="For how long PD's own moving of leaders is paused, in seconds."
    )

    def title(self) -> str:
        held = f", PD's balancing of leaders held for {duration(self.hold_s * 1000)}" if self.hold_s else ""
        return f"Move the leader of region {self.region_id} to store {self.to_store_id}{held}"

    def look(self) -> Look:
        return Look(region_ids=(self.region_id,))

    def entities(self) -> tuple[str, ...]:
        return (f"region:{self.region_id}", f"store:{self.to_store_id}")

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The epoch changes with every split, merge and change of replicas; the leader, so that the undo is exact."""
        region, store = facts.region(self.region_id), facts.store(self.to_store_id)
        of_region = f"region:{self.region_id}"
        return (
            Premise(name=f"{of_region}.conf_ver", value=str(region.conf_ver) if region else "unknown"),
            Premise(name=f"{of_region}.version", value=str(region.version) if region else "unknown"),
            Premise(name=f"{of_region}.leader", value=f"store:{region.leader_store_id}" if region else "unknown"),
            Premise(name=f"store:{self.to_store_id}.address", value=store.address if store else "unknown"),
            Premise(name=f"store:{self.to_store_id}.state", value=store.state if store else "unknown"),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        region, target = facts.region(self.region_id), facts.store(self.to_store_id)
        if region is None:
            yield no("no_such_region", f"PD knows no region {self.region_id}")
        if target is None:
            yield no("no_such_store", f"PD knows no store {self.to_store_id}")
        else:
            yield from self._target(target, facts, limits)
        if region is not None:
            yield from self._region(region, facts, limits)

    def _target(self, target: StoreFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        if target.state != "Up":
            yield no("target_not_up", f"store {target.id} is {target.state}")
        if target.id in facts.evicting or target.id in facts.slow_evicting:
            yield no("target_evicted", f"leaders are kept off store {target.id}")
        if target.is_strained():
            yield no("target_slow", f"store {target.id} is busy or slow (slow_score {target.slow_score})")
        if target.has_low_space(facts.low_space_ratio):
            yield no("target_low_space", f"store {target.id} is low on space")
        yield from regions.too_many_writes(f"store {target.id}", target.written_bytes_per_s, limits)

    def _region(self, region: RegionFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        if region.is_joint():
            yield wait("joint_state", f"region {region.id} changes its replicas", limits.now_ms + RETRY_S * 1000)
        if region.leader_store_id == 0:
            yield wait("no_leader", f"PD knows no leader of region {region.id}", limits.now_ms + RETRY_S * 1000)
        if region.leader_store_id == self.to_store_id:
            yield no("already_there", f"store {self.to_store_id} leads region {region.id}")
        if self.to_store_id not in region.voter_store_ids():
            yield no("no_voter_there", f"store {self.to_store_id} holds no voter of region {region.id}")
        if ill := sorted({*region.down_store_ids, *region.pending_store_ids}):
            yield no("unhealthy_peers", f"region {region.id} has down or lagging replicas on stores {ill}")
        yield from regions.too_many_writes(f"region {region.id}", region.written_bytes_per_s, limits)
        leader = facts.store(region.leader_store_id)
        if leader is not None:
            yield from regions.too_many_writes(f"store {leader.id}", leader.written_bytes_per_s, limits)

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        region = facts.region(self.region_id)
        led_by = region.leader_store_id if region else 0
        back = calls.transfer_leader(self.region_id, led_by) if led_by else None
        held = holding.at_work(_CONFLICTS, facts) if self.hold_s else ()
        return (
            *(holding.held(scheduler, self.hold_s) for scheduler in held),
            Change(do=calls.transfer_leader(self.region_id, self.to_store_id), undo=back),
        )

    def reach(self, facts: Facts) -> Reach:
        total = facts.leaders_total()
        return Reach(stores=2, regions=1, leaders=1, leaders_share=1 / total if total > 0 else 1.0)

    def bounds(self, facts: Facts) -> Bounds:
        return Bounds(stores_max=2, regions_max=1, leaders_max=1)

    def figures(self, facts: Facts) -> dict[str, float]:
        region = facts.region(self.region_id)
        own = {} if region is None else {"leads": float(region.leader_store_id == self.to_store_id)}
        return health(facts) | own

    def is_done(self, facts: Facts) -> bool:
        """Its operator has ended, well or not; PD ends it by itself within a minute or so. A PD that has just begun to
        lead has no operators, and shows the region as it was before."""
        return self._operator(facts) is None and regions.are_heard(facts)

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "leads") == 1

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the region alone: PD's record of operators may show somebody else's, or be lost with its leader.

        Moved and moved on again reads as not started: sending it once more has the effect that was approved. That it
        leads where it led before is no news, so it is believed of an undo only when no operator is about to move it,
        and when every region has reported to this PD.
        """
        if found := holding.probe(call, now):
            return found
        if call.name != "transfer_leader" or call.args.get("region_id") != str(self.region_id):
            return "cant_tell"
        region = now.region(self.region_id)
        is_undo = call != calls.transfer_leader(self.region_id, self.to_store_id)
        if region is None and is_settled(now) and is_undo:
            return "applied"  # merged away: with it went what was to be undone
        if region is None or region.leader_store_id == 0:
            return "cant_tell"
        leads = str(region.leader_store_id) == call.args.get("to_store_id")
        if leads and not is_undo:
            return "applied"
        if self._operator(now):
            return "under_way"
        if not regions.are_heard(now):
            return "cant_tell"  # a lost operator's command may still arrive, or have arrived unheard
        return "applied" if leads else "not_started"

    def _operator(self, facts: Facts) -> OperatorFacts | None:
        """An operator that a person or a tool such as we made on this region."""
        mine = (o for o in facts.operators if o.region_id == self.region_id and o.desc == "admin-transfer-leader")
        return next(mine, None)
