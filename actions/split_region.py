"""Split one region in two."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from actions import calls, regions
from actions.action import SAMPLES_MIN, Action, Limits, Undo, figure, health, no
from schemas.events import Finding, Outcome
from schemas.facts import Facts, Look, RegionFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, RegionId, Sample

SIZE_MIN_MIB = 16  # TiKV looks for the middle in steps of some 4 MiB: of less it finds none, or a poor one
APART_S_MIN = 600  # if PD merges sooner than this, it does before a half could be moved away


class SplitRegion(Action):
    """Split one region in the middle of its data, so that PD can move and lead the two halves apart.

    For one region that is hot or has grown too large. No data is copied: TiKV writes down where the second region
    begins. The old id keeps the right half; the left half gets a new id, on the same stores, led by the same store.

    What clients notice: requests on this one region are retried once, some 5 to 50 ms each, while the new half elects
    its leader. Nothing else.

    The policy is always `approximate`: TiKV takes the middle by size, from what it knows of its files, without a scan.
    Keys chosen by a person are left out on purpose: a wrong one makes a useless region, or runs until its time is
    over. So it parts data, not load: where all is written at one end, or to one row, one half stays as hot as the
    whole was. It only makes room for PD: its schedulers move leaders and replicas of the halves as they see fit.

    There is no undo, and nothing is lost. PD itself merges regions that are small and no longer hot
    (max-merge-region-size), not before split-merge-interval has passed; by hand it is
    `pd-ctl operator add merge-region SOURCE TARGET`. Splitting again would split a half: so the plan holds for the
    version of the region that was seen, and any split or merge in between voids it.
    """

    name = "split_region"
    version = 1
    risk = "MEDIUM"
    undo = Undo.NONE
    may_call = frozenset({"split_region"})
    clients_notice = "one retry on this one region, some 5 to 50 ms"

    region_id: RegionId = Field(description="The region to split.")

    def title(self) -> str:
        return f"Split region {self.region_id} in the middle of its data"

    def look(self) -> Look:
        return Look(region_ids=(self.region_id,))

    def entities(self) -> tuple[str, ...]:
        return (f"region:{self.region_id}",)

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The epoch changes with every split, merge and change of replicas; the leader's store gets both halves."""
        region, of_region = facts.region(self.region_id), f"region:{self.region_id}"
        return (
            Premise(name=f"{of_region}.conf_ver", value=str(region.conf_ver) if region else "unknown"),
            Premise(name=f"{of_region}.version", value=str(region.version) if region else "unknown"),
            Premise(name=f"{of_region}.leader", value=f"store:{region.leader_store_id}" if region else "unknown"),
        )

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        region = facts.region(self.region_id)
        if region is None:
            yield no("no_such_region", f"PD knows no region {self.region_id}")
        else:
            yield from regions.in_between(region, facts, limits)
            yield from self._region(region, facts)
            # every request is sent again, as when a leader moves
            yield from regions.too_many_writes(f"region {region.id}", region.written_bytes_per_s, limits)
            yield from regions.ill(region, facts)  # the left half inherits whatever is wrong
        if not facts.tikv_may_split:
            yield no("splits_off", "PD lets TiKV split nothing (enable-tikv-split-region)")

    def _region(self, region: RegionFacts, facts: Facts) -> Iterator[Objection]:
        size, merged = region.approximate_size_mib, facts.max_merge_region_size_mib
        if size < SIZE_MIN_MIB:
            yield no("too_small", f"region {region.id} holds about {size} MiB, at least {SIZE_MIN_MIB}")
        merges = facts.merge_schedule_limit > 0 and size / 2 <= merged
        if merges and not facts.split_merge_interval_s >= APART_S_MIN:  # so written, what is not a number objects
            text = f"PD would merge halves of {size / 2:g} MiB again after {facts.split_merge_interval_s:g} s"
            yield no("merged_again", f"{text} (split-merge-interval), at least {APART_S_MIN}")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        """Of a region that nobody knows there is nothing to plan."""
        region = facts.region(self.region_id)
        return () if region is None else (Change(do=calls.split_region(self.region_id, region.version)),)

    def reach(self, facts: Facts) -> Reach:
        """No leader moves: the new region is led where the old one is."""
        return Reach(stores=self._stores(facts), regions=1, leaders=0, leaders_share=0.0)

    def bounds(self, facts: Facts) -> Bounds:
        return Bounds(stores_max=self._stores(facts), regions_max=1, leaders_max=0)

    def _stores(self, facts: Facts) -> int:
        region = facts.region(self.region_id)
        return len({p.store_id for p in region.peers}) if region else 0

    def figures(self, facts: Facts) -> dict[str, float]:
        own = {"regions": float(facts.regions_total)}
        if region := facts.region(self.region_id):
            own |= {
                "version": float(region.version),
                "led": float(region.leader_store_id != 0),
                "size_mib": float(region.approximate_size_mib),
            }
        return health(facts) | own

    def is_done(self, facts: Facts) -> bool:
        """Its operator has ended, well or not; PD ends it by itself within a minute or so. A PD that has just begun to
        lead has no operators, and shows the region as it was before."""
        return not self._is_running(facts) and regions.are_heard(facts)

    def is_reached(self, sample: Sample) -> bool:
        """It serves. That it was split shows only against the sample before: `verify` asks for that."""
        return figure(sample, "led") == 1

    def verify(self, before: Sample, later: tuple[Sample, ...]) -> Outcome:
        """As for all, and no better where the version of the last three is not above the one before."""
        verdict = super().verify(before, later)
        raised = all(figure(s, "version") > figure(before, "version") for s in later[-SAMPLES_MIN:])
        return "no_better" if verdict == "succeeded" and not raised else verdict

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the region's version: PD's record of operators may show somebody else's, or be lost with its leader.

        A merge into the region raises it too. That then reads as applied, and never as a reason to split once more.
        A split in the moments of a PD leader change shows only with the region's next heartbeat.
        """
        region = now.region(self.region_id)
        if call.name != "split_region" or call.args.get("region_id") != str(self.region_id) or region is None:
            return "cant_tell"  # a region that has been merged away may have been split before
        was = call.args.get("version", "")
        if was.isdecimal() and region.version > int(was):
            return "applied"
        if self._is_running(now):
            return "under_way"
        same = str(region.version) == was and region.leader_store_id != 0  # else PD shows what it has read from disk
        return "not_started" if same and regions.are_heard(now) else "cant_tell"

    def _is_running(self, facts: Facts) -> bool:
        """An operator that a person or a tool such as we made on this region."""
        return any(o.region_id == self.region_id and o.desc == "admin-split-region" for o in facts.operators)
