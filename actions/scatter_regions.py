"""Let PD place a few regions anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import ceil
from typing import Annotated

from pydantic import AfterValidator, Field

from actions import calls, regions
from actions.action import SAMPLES_MIN, Action, Limits, Undo, figure, health, no, sorted_once
from schemas.events import Finding, Outcome
from schemas.facts import Facts, Look, RegionFacts, StoreFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, RegionId, Sample

HOT_BYTES_PER_S = 1e6  # from here a region is hot to us; PD calls it so by comparison, and refuses it by itself
BYTES_MOVED_MAX = 2**35
OURS = "scatter-region"  # what PD calls the operator


class ScatterRegions(Action):
    """Have PD spread the leaders and replicas of a few regions over the stores, as it thinks best.

    For regions that belong together and sit crowded: of one table that was split or loaded at once, say. PD takes them
    one by one, and moves the leader or replicas of each where few of these are. It keeps to its placement rules. A
    region that sits well is left as it is.

    What clients notice: one retry for each region whose leader moves, 1 to 20 ms each. Replicas that move are copied,
    which keeps disks and network busier for seconds to minutes.

    By hand: `pd-ctl operator add scatter-region REGION`, one at a time: PD can take many in one call, but then leaves
    some out in silence. There is no undo, and nothing is lost: PD's balancing evens out by count what it did not place
    well. Where each replica was stands in the record, and `pd-ctl operator add transfer-peer` moves one back.

    Not for a hot region: PD refuses it, for moving it costs most; its hot-region scheduler sees to those. PD says
    "created" of a region too that it then leaves alone, so success is that every one was taken, that all are well
    afterwards, and that no store leads or holds more of them than before. Crowded as before is not held against it.
    """

    name = "scatter_regions"
    version = 1
    risk = "MEDIUM"
    undo = Undo.NONE
    may_call = frozenset({"scatter_region"})
    clients_notice = "one retry a region whose leader moves, 1 to 20 ms each; copies keep disks and network busier"

    region_ids: Annotated[tuple[RegionId, ...], AfterValidator(sorted_once)] = Field(
        min_length=1, max_length=32, description="The regions to place anew: at most 32, and none that is hot."
    )

    def title(self) -> str:
        return f"Scatter {'regions' if len(self.region_ids) > 1 else 'region'} {', '.join(map(str, self.region_ids))}"

    def look(self) -> Look:
        return Look(region_ids=self.region_ids)

    def entities(self) -> tuple[str, ...]:
        return tuple(f"region:{region_id}" for region_id in self.region_ids)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The epoch changes with every split, merge and change of replicas; by it and the leader a probe tells."""
        found = []
        for region_id in self.region_ids:
            region, of_region = facts.region(region_id), f"region:{region_id}"
            found += [
                Premise(name=f"{of_region}.conf_ver", value=str(region.conf_ver) if region else "unknown"),
                Premise(name=f"{of_region}.version", value=str(region.version) if region else "unknown"),
                Premise(name=f"{of_region}.leader", value=f"store:{region.leader_store_id}" if region else "unknown"),
            ]
        return tuple(found)

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        for region_id in self.region_ids:
            region = facts.region(region_id)
            if region is None:
                yield no("no_such_region", f"PD knows no region {region_id}")
            else:
                yield from regions.in_between(region, facts, limits)
                yield from regions.without_size(region, limits)
                yield from _hot(region, limits)
                yield from regions.ill(region, facts)
        yield from self._too_much(facts, limits)
        yield from self._takers(facts)
        yield from regions.too_busy({s.id for s in _takers(facts)}, facts, limits)

    def _too_much(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        """Comparisons are written so that what is not a number objects."""
        reach = self.reach(facts)
        if not reach.leaders_share <= (most := limits.policy.leaders_share_max):
            yield no("too_many_leaders", f"{reach.leaders_share:.0%} of all leaders may move, at most {most:.0%}")
        if not reach.bytes_moved <= BYTES_MOVED_MAX:
            text = f"{reach.bytes_moved / 2**30:.0f} GiB may move, at most {BYTES_MOVED_MAX / 2**30:.0f}"
            yield no("too_many_bytes", text)

    def _takers(self, facts: Facts) -> Iterator[Objection]:
        """PD chooses the stores: each must be able to take a replica of every region."""
        takers, gain = _takers(facts), sum(regions.size_bytes(r) for r in self._regions(facts))
        if slow := [s.id for s in takers if s.is_strained()]:
            yield no("takers_slow", f"stores {slow} might get some of them, and are busy or slow")
        if cramped := [
            s.id
            for s in takers
            if s.capacity_bytes <= 0 or not s.available_bytes - gain >= (1 - facts.low_space_ratio) * s.capacity_bytes
        ]:
            yield no("takers_low_on_space", f"stores {cramped} might get them all, and are low on space or would be")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        """One call a region. Of one that nobody knows there is nothing to plan."""
        return tuple(
            Change(do=calls.scatter_region(r.id, conf_ver=r.conf_ver, leader_store_id=r.leader_store_id))
            for r in self._regions(facts)
        )

    def reach(self, facts: Facts) -> Reach:
        """At the most: every leader moves, and every voter is copied."""
        count, total = len(self.region_ids), facts.leaders_total()
        return Reach(
            stores=len(_takers(facts)),
            regions=count,
            leaders=count,
            leaders_share=count / total if total > 0 else 1.0,
            bytes_moved=sum(regions.size_bytes(r) * len(r.voter_store_ids()) for r in self._regions(facts)),
        )

    def bounds(self, facts: Facts) -> Bounds:
        """A quarter more bytes: regions grow while they wait."""
        reach = self.reach(facts)
        return Bounds(
            stores_max=reach.stores,
            regions_max=reach.regions,
            leaders_max=reach.leaders,
            bytes_moved_max=ceil(reach.bytes_moved * 1.25),
        )

    def figures(self, facts: Facts) -> dict[str, float]:
        """`most_led`, `most_held`: how many of these regions one store leads, and holds, at the most."""
        seen = self._regions(facts)
        led = Counter(r.leader_store_id for r in seen)
        held = Counter(s for r in seen for s in r.voter_store_ids())
        well = sum(_is_well(r, facts) for r in seen)
        return health(facts) | {
            "unwell": float(len(self.region_ids) - well),
            "most_led": float(max(led.values(), default=0)),
            "most_held": float(max(held.values(), default=0)),
        }

    def is_done(self, facts: Facts) -> bool:
        """Their operators have ended, well or not; PD's checkers tidy up what one leaves half done."""
        return not any(self._is_at(region_id, facts) for region_id in self.region_ids) and not any(
            r.is_joint() for r in self._regions(facts)
        )

    def is_reached(self, sample: Sample) -> bool:
        """All are well. That they are no more crowded shows only against the sample before: `verify` asks for that."""
        return figure(sample, "unwell") == 0

    def verify(self, before: Sample, later: tuple[Sample, ...]) -> Outcome:
        """As for all, and no better where a store leads or holds more of them than before."""
        verdict = super().verify(before, later)
        spread = all(
            figure(s, name) <= figure(before, name) for s in later[-SAMPLES_MIN:] for name in ("most_led", "most_held")
        )
        return "no_better" if verdict == "succeeded" and not spread else verdict

    def probe(self, call: Call, now: Facts) -> Finding:
        """By PD's operator while it runs; then by what it changes, the region's epoch or its leader.

        Where nothing has changed, PD never got it or left the region as it was: nothing was done, and asking again is
        right, which PD then answers. What somebody else changed in that moment reads as applied, and never as a reason
        to scatter it once more.
        """
        if call.name != "scatter_region":
            return "cant_tell"
        region = next((r for r in self._regions(now) if str(r.id) == call.args.get("region_id")), None)
        if region is None:
            return "cant_tell"  # a region that has been merged away may have been moved before
        if self._is_at(region.id, now):
            return "applied"
        conf_ver, leader = call.args.get("conf_ver", ""), call.args.get("leader_store_id", "")
        if not (conf_ver.isdecimal() and leader.isdecimal() and region.conf_ver >= int(conf_ver)):
            return "cant_tell"  # of another one, or older than what was approved
        if not regions.are_heard(now) or region.leader_store_id == 0:
            return "cant_tell"
        same = (region.conf_ver, region.leader_store_id) == (int(conf_ver), int(leader))
        return "not_started" if same else "applied"

    def _regions(self, facts: Facts) -> tuple[RegionFacts, ...]:
        """Those of them that PD knows."""
        return tuple(r for region_id in self.region_ids if (r := facts.region(region_id)))

    def _is_at(self, region_id: int, facts: Facts) -> bool:
        return any(o.region_id == region_id and o.desc == OURS for o in facts.operators)


def _hot(region: RegionFacts, limits: Limits) -> Iterator[Objection]:
    rate, most = region.written_bytes_per_s, min(HOT_BYTES_PER_S, limits.policy.leader_move_bytes_per_s_max)
    if not rate <= most:  # so written, what is not a number objects
        yield no("hot_region", f"region {region.id} takes {rate / 1e6:.1f} MB/s of writes, at most {most / 1e6:g}")


def _takers(facts: Facts) -> tuple[StoreFacts, ...]:
    """The stores on which PD may place them."""
    return tuple(s for s in facts.living() if not s.is_tiflash())


def _is_well(region: RegionFacts, facts: Facts) -> bool:
    ill = region.down_store_ids or region.pending_store_ids or region.is_joint() or region.leader_store_id == 0
    return not ill and len(region.voter_store_ids()) >= facts.max_replicas
