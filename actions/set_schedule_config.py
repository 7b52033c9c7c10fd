"""Set one key of PD's schedule configuration for a while: how much PD does at a time, of one kind of its work."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, ValidationInfo, field_validator

from actions import calls
from actions.action import Action, Limits, Undo, figure, health, is_settled, no
from actions.schedule_keys import KEYS, Range, ScheduleKey, in_words
from schemas.events import Finding
from schemas.facts import Facts
from schemas.text import duration
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample


class SetScheduleConfig(Action):
    """Set one key of PD's schedule configuration for `keep_s` seconds, then set it back to what it was.

    Lower a limit where PD's own work is what slows the stores: it begins less of it at a time, and what runs already
    ends as it would have. Raise one where PD's work is wanted sooner. It is the pace that changes: what moves is what
    PD finds to move. Each key has a range of ours, for PD takes any number.

    What clients notice: nothing where a limit is lowered. Where it is raised: more retries at a time, 1 to 20 ms for
    each leader that moves, and busier disks and networks while replicas are copied.

    The value is written for good, so it never ends by itself: setting it back is on record before it is made, and is
    done by us when the time is over, whatever happened in between. PD can also set a value by `ttlSecond`, but nothing
    shows whether it did, and BR and TiDB Lightning use that: ours would overwrite theirs unseen. So while one of theirs
    is in force PD refuses this, and nothing is changed. Should theirs begin while ours is kept, PD refuses our undo as
    well: then this ends UNKNOWN with the undo owed, for a person, once theirs has ended.

    If somebody else sets the key meanwhile, it ends at once, and what they have set stays.

    That the key shows the value is all that is verified.
    """

    name = "set_schedule_config"
    version = 1
    risk = "MEDIUM"
    undo = Undo.TEMPORARY
    may_call = frozenset({"set_schedule_config"})
    clients_notice = "lowered: nothing; raised: one retry a leader that moves, 1 to 20 ms each, and busier disks"
    stops_if = "a peer goes down, a store is no longer Up, somebody else sets the key, somebody freezes"
    not_worse = frozenset({"changed_by_other"})

    key: ScheduleKey = Field(description=" ".join(f"{key}: {of.why}." for key, of in KEYS.items()))
    value: int = Field(
        ge=min(of.least for of in KEYS.values()),
        le=max(of.most for of in KEYS.values()),
        description=f"What may go on at a time: {'; '.join(in_words(key) for key in KEYS)}.",
    )
    keep_s: int = Field(900, ge=60, le=3600, description="For how long the value is kept, in seconds.")

    @field_validator("value")
    @classmethod
    def _in_range(cls, value: int, info: ValidationInfo) -> int:
        key = info.data.get("key")
        if key is not None and not KEYS[key].least <= value <= KEYS[key].most:
            raise ValueError(f"{key} is set to {KEYS[key].least}..{KEYS[key].most} only")
        return value

    def title(self) -> str:
        return f"Set {self.key} to {self.value} for {duration(self.keep_s * 1000)}"

    def entities(self) -> tuple[str, ...]:
        """None: it is the whole cluster's."""
        return ()

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        """The value that was there: the undo sets it again."""
        was = facts.schedule_config.get(self.key)
        return (Premise(name=f"schedule.{self.key}", value="unknown" if was is None else str(was)),)

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        was = facts.schedule_config.get(self.key)
        if was is None:
            yield no("no_such_key", f"this PD has no {self.key}")
            return
        if was == self.value:
            yield no("already_so", f"{self.key} is {was} already")
        if was == 0:
            yield no("held_by_other", f"{self.key} is 0: somebody has set it so on purpose")
        if not calls.can_set(was):
            yield no("old_value_unsayable", f"{self.key} is {was}, which the undo could not set again")
        if self.value < was and self._of.repairs:
            yield from self._repairs(facts)
        if self.value > was:
            yield from self._strained(facts)

    def _repairs(self, facts: Facts) -> Iterator[Objection]:
        """Nobody slows the making of what is missing."""
        lost = [r.id for r in facts.troubled if r.down_store_ids or not len(r.voter_store_ids()) >= facts.max_replicas]
        if lost:
            yield no("repairs_wait", f"{len(lost)} regions have a replica down or missing: that would wait")

    def _strained(self, facts: Facts) -> Iterator[Objection]:
        """More work at a time is for stores that can take it."""
        if strained := [s.id for s in facts.living() if s.is_strained()]:
            yield no("stores_slow", f"stores {strained} are busy or slow: PD would ask more of them")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        was = facts.schedule_config.get(self.key)
        if was is None:
            return ()
        return (
            Change(
                do=calls.set_schedule_config(self.key, self.value),
                undo=calls.set_schedule_config(self.key, was) if calls.can_set(was) else None,
                keep_s=self.keep_s,
            ),
        )

    def reach(self, facts: Facts) -> Reach:
        """Every store; and how many regions more than before PD may have at work at a time."""
        stores = len(facts.living())
        regions = min(self._more(facts, stores), max(0, facts.regions_total))
        leaders = regions if self._of.leaders else 0
        total = facts.leaders_total()
        share = leaders / total if total > 0 else float(leaders > 0)
        return Reach(stores=stores, regions=regions, leaders=leaders, leaders_share=share)

    def bounds(self, facts: Facts) -> Bounds:
        """As much, with one store more: the values are premises, and don't move."""
        stores = len(facts.living()) + 1
        most = self._more(facts, stores)
        return Bounds(stores_max=stores, regions_max=most, leaders_max=most if self._of.leaders else 0)

    def figures(self, facts: Facts) -> dict[str, float]:
        value = facts.schedule_config.get(self.key)
        return health(facts) | ({} if value is None else {"value": float(value)})

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        if shared := super().abort_if(before, now):
            return shared
        was, is_now = before.figures.get("value"), now.figures.get("value")
        if was is not None and is_now is not None and is_now not in (was, self.value):
            return "changed_by_other", f"{self.key} was {was:g} and is {is_now:g}: somebody else has set it"
        return None

    def is_done(self, facts: Facts) -> bool:
        return facts.schedule_config.get(self.key) == self.value

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "value") == self.value

    @classmethod
    def left_over(cls, facts: Facts) -> tuple[str, ...]:
        """What is not PD's default: also where a person has tuned it for good."""
        found = ((key, facts.schedule_config.get(key, of.usual), of.usual) for key, of in KEYS.items())
        return tuple(f"{key} is {now}, PD's default is {usual}" for key, now, usual in found if now != usual)

    def probe(self, call: Call, now: Facts) -> Finding:
        """By the one key. PD shows what it has written to etcd, so that a new PD leader has it; but one that has lost
        the lead unawares shows what was: until PD has settled only our value is believed.

        For an undo a value that is neither ours nor the old one is somebody's word since, and ours is gone.
        """
        if call.name != "set_schedule_config" or call.args.get("key") != self.key:
            return "cant_tell"
        value, is_undo = now.schedule_config.get(self.key), call.args.get("value") != str(self.value)
        if value == self.value:
            return "not_started" if is_undo else "applied"
        if value is None or not is_settled(now):
            return "cant_tell"
        return "applied" if is_undo else "not_started"

    @property
    def _of(self) -> Range:
        return KEYS[self.key]

    def _more(self, facts: Facts, stores: int) -> int:
        more = max(0, self.value - facts.schedule_config.get(self.key, 0))
        return more * stores if self._of.each_store else more
