"""Cancel one task that PD's balancing has begun on one region."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import Field

from actions import calls, regions
from actions.action import SAMPLES_MIN, Action, Limits, Undo, figure, health, is_settled, never, no, wait
from schemas.events import Finding, Outcome
from schemas.facts import Facts, Look, NewestOperator, RegionFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, RegionId, Sample

RETRY_S = 60
BALANCING = frozenset(  # 8.5 names the scheduler, older ones its kind
    {
        "balance-leader",
        "balance-leader-scheduler",
        "balance-region",
        "balance-region-scheduler",
        "move-hot-read-leader",
        "move-hot-read-peer",
        "move-hot-write-leader",
        "move-hot-write-peer",
        "transfer-hot-read-leader",
        "transfer-hot-write-leader",
    }
)
BY_HAND = re.compile(r"admin-.*|scatter-region|split-scatter-region|region-splitter")
MENDING = re.compile(
    r"(?:replace|fix|remove|promote)-.*|add-rule-peer|make-up-replica|move-to-better-location|leave-joint-state"
)
DRAINING = re.compile(r"(?:evict|grant)-.*|label-reject-leader")
_MOVES_PEER = re.compile(r"mv peer: store \[([1-9]\d*)\] to \[([1-9]\d*)\]")
_MOVES_LEADER = re.compile(r"transfer leader: store ([1-9]\d*) to ([1-9]\d*)")


class CancelOperator(Action):
    """Cancel the operator that one of PD's balancing schedulers runs on one region: PD stops telling TiKV to do it.

    For a move of a replica or of a leader that is stuck, or that loads a store which has enough to do: a copy to a slow
    store, for one, may run for 17 minutes before PD gives it up.

    Only what PD's balance-leader, balance-region and balance-hot-region schedulers made: their operators serve an even
    load, and PD makes them again when it still wants them. Never what mends replicas or rules, nor what leaves a joint
    state: that would leave data less safe. Never what drains a store: end the eviction instead. Never what a person or
    a tool made, nor a scatter: PD does not record whose `admin-...` operator is whose, so ours can't be told from
    theirs. A kind that is not known is not cancelled.

    What clients notice: nothing, 0 ms. The region is led and written as before; a copy that was under way is thrown
    away.

    What has been done stays done, and a store may still do the one step that it was told already: a learner may appear
    some 20 s after. PD removes it, as it leaves a joint state that the cancel has left behind. PD's scheduler may make
    the same operator again, within seconds, where the reason for it remains: that shows as "no better". To keep it
    from that, pause the scheduler first.

    There is no undo; nothing is lost. By hand it is `pd-ctl operator show`, `pd-ctl operator check REGION`, and
    `pd-ctl operator remove REGION`. PD takes no condition: it cancels whatever runs on the region when the call
    arrives. So the plan is for the operator that was seen, by the moment of its creation; it is looked at once more
    just before, and another one voids the plan. What is left is the second in between, in which it would have to end
    and another one to begin.
    """

    name = "cancel_operator"
    version = 1
    risk = "MEDIUM"
    undo = Undo.NONE
    may_call = frozenset({"cancel_operator"})
    clients_notice = "nothing, 0 ms: the region is led as before, and a copy that was under way is thrown away"

    region_id: RegionId = Field(description="The region whose operator is cancelled.")
    operator: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,63}$",
        description="What PD calls the operator, as in pd-ctl operator show: `balance-region-scheduler`, for one.",
    )

    def title(self) -> str:
        return f"Cancel the operator {self.operator} of region {self.region_id}"

    def look(self) -> Look:
        return Look(region_ids=(self.region_id,), operators_of=(self.region_id,))

    def entities(self) -> tuple[str, ...]:
        return (f"region:{self.region_id}",)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """Which operator it is, and what it does."""
        running, of_region = self._running(facts), f"region:{self.region_id}.operator"
        return (
            Premise(name=of_region, value=f"{running.desc} {running.brief}" if running else "unknown"),
            Premise(name=f"{of_region}.created_ns", value=str(running.created_ns) if running else "unknown"),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        yield from self._kind()
        region, running = facts.region(self.region_id), self._running(facts)
        if region is None:
            yield no("no_such_region", f"PD knows no region {self.region_id}")
        if running is None:
            other = facts.newest_operator(self.region_id)
            seen = f"; its newest one is {other.desc} {other.status}" if other else ""
            yield no("no_such_operator", f"no {self.operator} runs on region {self.region_id}{seen}")
        if region is not None:
            yield from self._region(region, facts, limits)
        if region is not None and running is not None:
            yield from self._purpose(region, running, facts)

    def _kind(self) -> Iterator[Objection]:
        """Who makes operators of this name."""
        if self.operator in BALANCING:
            return
        if BY_HAND.fullmatch(self.operator):
            yield never("made_by_hand", f"{self.operator} is made by a person or a tool, and only they cancel it")
        elif MENDING.fullmatch(self.operator):
            yield never("mends_replicas", f"{self.operator} mends a region: without it data stays less safe for longer")
        elif DRAINING.fullmatch(self.operator):
            yield never(
                "drains_a_store", f"{self.operator} keeps leaders where they are wanted: end that, not its moves"
            )
        else:
            yield no("unknown_maker", f"{self.operator} is none of those that PD's balancing makes")

    def _region(self, region: RegionFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """A learner that lags is what the operator may be about; of voters none may."""
        reads = regions.reads(region, facts)
        retry_ms = limits.now_ms + RETRY_S * 1000
        if joint := any(r.is_joint() for r in reads):
            yield wait("joint_state", f"region {region.id} changes its replicas", retry_ms)
        if any(r.leader_store_id == 0 for r in reads):
            yield wait("no_leader", f"PD knows no leader of region {region.id}", retry_ms)
        ill = {s for r in reads for s in (*r.down_store_ids, *r.pending_store_ids) if s in r.voter_store_ids()}
        if stores := sorted(ill | ({p.store_id for r in reads for p in r.peers} - facts.up_store_ids())):
            yield no("unhealthy_peers", f"region {region.id} has down, lagging or lost replicas on stores {stores}")
        voters = min(len(r.voter_store_ids()) for r in reads)
        if voters < facts.max_replicas and not joint:
            yield no("replicas_missing", f"region {region.id} has {voters} voters of {facts.max_replicas}")

    def _purpose(self, region: RegionFacts, running: NewestOperator, facts: Facts) -> Iterator[Objection]:
        """What would be left undone, by PD's words: those of another kind are not understood."""
        peer, leader = _MOVES_PEER.fullmatch(running.brief), _MOVES_LEADER.fullmatch(running.brief)
        if not (found := peer or leader):
            yield no("purpose_unknown", f"it can't be told what the operator does: {running.brief[:100]!r}")
            return
        from_, to = int(found[1]), int(found[2])
        moved = from_ not in region.voter_store_ids() if peer else region.leader_store_id == to
        if moved:
            yield no("already_moved", f"region {region.id} has moved from store {from_} to {to} already")
        source = facts.store(from_)
        if source is None or source.is_strained():
            yield no("relieves_slow_store", f"it takes load off store {from_}, which is busy, slow or not known")
        elif source.has_low_space(facts.low_space_ratio):
            yield no("relieves_full_store", f"it takes data off store {from_}, which is low on space")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        """Where no such operator runs there is nothing to plan."""
        running = self._running(facts)
        return () if running is None else (Change(do=calls.cancel_operator(self.region_id, running.created_ns)),)

    def reach(self, facts: Facts) -> Reach:
        """Nothing moves: the stores are those that hold a replica."""
        return Reach(stores=self._stores(facts), regions=1, leaders=0, leaders_share=0.0)

    def bounds(self, facts: Facts) -> Bounds:
        """One store more: the operator itself may add a replica meanwhile."""
        return Bounds(stores_max=self._stores(facts) + 1, regions_max=1, leaders_max=0)

    def _stores(self, facts: Facts) -> int:
        region = facts.region(self.region_id)
        return len({p.store_id for p in region.peers}) if region else 0

    def figures(self, facts: Facts) -> dict[str, float]:
        newest = facts.newest_operator(self.region_id)
        own = {"running": float(self._running(facts) is not None)}
        if newest is not None:
            own |= {"created_s": newest.created_ns / 1e9, "cancelled": float(newest.status == "CANCEL")}
        return health(facts) | own

    def is_done(self, facts: Facts) -> bool:
        """PD ends it at once; but a joint state that it may have left behind only soon after."""
        region = facts.region(self.region_id)
        return region is None or not region.is_joint()

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "running") == 0

    def verify(self, before: Sample, later: tuple[Sample, ...]) -> Outcome:
        """As for all; and no better where the operator that was meant has ended otherwise than by a cancel."""
        verdict = super().verify(before, later)
        meant = figure(before, "created_s")
        by_itself = any(figure(s, "created_s") == meant and figure(s, "cancelled") != 1 for s in later[-SAMPLES_MIN:])
        return "no_better" if verdict == "succeeded" and by_itself else verdict

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the newest operator of the region, which PD keeps for 10 minutes; its leader's memory alone has it.

        One that has ended otherwise was not cancelled: a new look, which comes before anything is sent again, then
        finds none to cancel. A newer one shows that the one that was meant is over; but of a newer one that was
        cancelled it can't be told by whom.
        """
        meant = call.args.get("created_ns", "")
        ours = call.name == "cancel_operator" and call.args.get("region_id") == str(self.region_id)
        if not ours or not meant.isdecimal():
            return "cant_tell"
        newest = now.newest_operator(self.region_id)
        if newest is None:  # lost with PD's leader, or its record has expired
            return "applied" if is_settled(now) else "cant_tell"
        if newest.created_ns == int(meant):
            return "applied" if newest.status == "CANCEL" else "not_started"
        return "applied" if newest.created_ns > int(meant) and newest.status != "CANCEL" else "cant_tell"

    def _running(self, facts: Facts) -> NewestOperator | None:
        """The operator of this name, if it runs."""
        newest = facts.newest_operator(self.region_id)
        return newest if newest and newest.is_running() and newest.desc == self.operator else None
