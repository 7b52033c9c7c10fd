"""Split one region in two."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from actions import calls
from actions.action import SAMPLES_MIN, Action, Limits, Undo, figure, has_heard, health, no, wait
from schemas.events import Finding, Outcome
from schemas.facts import Facts, Look, RegionFacts
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, RegionId, Sample

RETRY_S = 60
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
            yield from self._region(region, facts, limits)
            yield from self._replicas(region, facts)
        if not facts.tikv_may_split:
            yield no("splits_off", "PD lets TiKV split nothing (enable-tikv-split-region)")

    def _region(self, region: RegionFacts, facts: Facts, limits: Limits) -> Iterator[Objection]:
        retry_ms = limits.now_ms + RETRY_S * 1000
        if any(r.is_joint() for r in _reads(region, facts)):
            yield wait("joint_state", f"region {region.id} changes its replicas", retry_ms)
        if region.leader_store_id == 0:
            yield wait("no_leader", f"PD knows no leader of region {region.id}", retry_ms)
        if region.version < 1:
            yield wait("no_epoch", f"PD does not say which version region {region.id} has", retry_ms)
        size, merged = region.approximate_size_mib, facts.max_merge_region_size_mib
        if size < SIZE_MIN_MIB:
            yield no("too_small", f"region {region.id} holds about {size} MiB, at least {SIZE_MIN_MIB}")
        merges = facts.merge_schedule_limit > 0 and size / 2 <= merged
        if merges and not facts.split_merge_interval_s >= APART_S_MIN:  # so written, what is not a number objects
            text = f"PD would merge halves of {size / 2:g} MiB again after {facts.split_merge_interval_s:g} s"
            yield no("merged_again", f"{text} (split-merge-interval), at least {APART_S_MIN}")
        rate, most = region.written_bytes_per_s, limits.policy.leader_move_bytes_per_s_max
        if not rate <= most:  # every request is sent again, as when a leader moves
            text = f"region {region.id} takes {rate / 1e6:.1f} MB/s of writes, at most {most / 1e6:g}"
            yield wait("writes_too_high", text, retry_ms)

    def _replicas(self, region: RegionFacts, facts: Facts) -> Iterator[Objection]:
        """The left half inherits whatever is wrong."""
        seen = _reads(region, facts)
        ill = {s for r in seen for s in (*r.down_store_ids, *r.pending_store_ids)}
        away = {p.store_id for r in seen for p in r.peers} - facts.up_store_ids()
        if ill or away:
            stores = sorted(ill | away)
            yield no("unhealthy_peers", f"region {region.id} has down, lagging or lost replicas on stores {stores}")
        voters = min(len(r.voter_store_ids()) for r in seen)
        if voters < facts.max_replicas and not any(r.is_joint() for r in seen):
            yield no("replicas_missing", f"region {region.id} has {voters} voters of {facts.max_replicas}")

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
        return not self._is_running(facts) and has_heard(facts)

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
        return "not_started" if same and has_heard(now) else "cant_tell"

    def _is_running(self, facts: Facts) -> bool:
        """An operator that a person or a tool such as we made on this region."""
        return any(o.region_id == self.region_id and o.desc == "admin-split-region" for o in facts.operators)


def _reads(region: RegionFacts, facts: Facts) -> tuple[RegionFacts, ...]:
    """The region as it was read, moments apart: the worse one counts."""
    return (region, *(r for r in facts.troubled if r.id == region.id))
