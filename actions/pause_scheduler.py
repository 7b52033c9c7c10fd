"""Keep one of PD's balancing schedulers quiet for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from actions import holding
from actions.action import Action, Limits, Undo, figure, health, low_on_space, more_low_space, no
from schemas.events import Finding
from schemas.facts import Facts, OperatorFacts
from schemas.text import duration
from schemas.values import Bounds, Call, Change, Objection, Premise, Reach, Sample

# Scheduler -> how the operators read that it makes: `balance-hot-write-leader`, `move-hot-read-peer`, ...
_MAKES = {
    "balance-leader-scheduler": ("balance-leader",),
    "balance-region-scheduler": ("balance-region",),
    "balance-hot-region-scheduler": ("balance-hot-", "move-hot-", "transfer-hot-", "split-hot-"),
}


class PauseScheduler(Action):
    """Pause one of the schedulers with which PD balances the cluster, for `keep_s` seconds; then resume it.

    For a cluster whose disks or network have no room for balancing just now: while replicas lag, or stores come back
    one after another. What PD repairs goes on: its checkers, and the schedulers that empty a slow or a stopping store,
    are never paused. Operators that the scheduler has made already are carried out.

    What clients notice: nothing at once (0 ms). Leaders or replicas that pile up on one store in the meantime stay
    there until PD balances again: seldom more than some ms a request, within `keep_s`.

    PD keeps a pause in the memory of its leader alone. So a change of PD's leader ends it, and it is asked for again
    as long as it is ours, three times at most. Should a person resume the scheduler meanwhile, that holds: we do not
    argue. PD ends it by itself one minute after we would have, should nobody be there.

    By hand it is `pd-ctl scheduler pause balance-region-scheduler 960`, and to take it back
    `pd-ctl scheduler resume balance-region-scheduler`.
    """

    name = "pause_scheduler"
    version = 1
    risk = "MEDIUM"
    undo = Undo.TEMPORARY
    may_call = frozenset({"pause_scheduler", "resume_scheduler"})
    clients_notice = "nothing at once (0 ms); what piles up on one store stays there until PD balances again"
    stops_if = f"{Action.stops_if}, a store runs low on space, somebody resumes it"

    scheduler: Literal["balance-leader-scheduler", "balance-region-scheduler", "balance-hot-region-scheduler"] = Field(
        description="The scheduler of PD that shall be quiet."
    )
    keep_s: int = Field(900, ge=60, le=3600, description="For how long it is kept quiet, in seconds.")

    def title(self) -> str:
        return f"Pause PD's {self.scheduler} for {duration(self.keep_s * 1000)}"

    def entities(self) -> tuple[str, ...]:
        """None that evidence would name: there is one of each, and the preflight sees whether."""
        return ()

    def relies_on(self, facts: Facts) -> tuple[Premise, ...]:
        state = "paused" if self.scheduler in facts.paused_schedulers else "running"
        known = state if self.scheduler in facts.schedulers else "unknown"
        return (Premise(name=f"scheduler:{self.scheduler}", value=known),)

    def preflight(self, facts: Facts, limits: Limits) -> Iterator[Objection]:
        if self.scheduler not in facts.schedulers:
            yield no("no_such_scheduler", f"PD has no {self.scheduler}")
        if self.scheduler in facts.paused_schedulers:
            yield no("already_paused", f"somebody has paused {self.scheduler} already: our undo would end theirs")
        if self.scheduler != "balance-leader-scheduler" and (full := low_on_space(facts)):
            yield no("store_low_space", f"stores {full} are low on space: PD must be able to move replicas off them")

    def plan(self, facts: Facts) -> tuple[Change, ...]:
        return (holding.held(self.scheduler, self.keep_s),)

    def reach(self, facts: Facts) -> Reach:
        """Nothing is moved; none of the stores is balanced."""
        return Reach(stores=len(facts.living()), regions=0, leaders=0, leaders_share=0.0)

    def bounds(self, facts: Facts) -> Bounds:
        return Bounds(stores_max=len(facts.living()), regions_max=0, leaders_max=0)

    def figures(self, facts: Facts) -> dict[str, float]:
        return health(facts) | {
            "paused": float(self.scheduler in facts.paused_schedulers),
            "its_operators": float(len(self._operators(facts))),
            "low_space": float(len(low_on_space(facts))),
        }

    def abort_if(self, before: Sample, now: Sample) -> tuple[str, str] | None:
        fuller = None if self.scheduler == "balance-leader-scheduler" else more_low_space(before, now)
        return super().abort_if(before, now) or fuller

    def is_done(self, facts: Facts) -> bool:
        """Paused, and what it had begun has ended."""
        return self.scheduler in facts.paused_schedulers and not self._operators(facts)

    def is_reached(self, sample: Sample) -> bool:
        return figure(sample, "paused") == 1

    @classmethod
    def left_over(cls, facts: Facts) -> tuple[str, ...]:
        return tuple(f"{scheduler} is paused" for scheduler in facts.paused_schedulers)

    def probe(self, call: Call, now: Facts) -> Finding:
        if call.args.get("scheduler") != self.scheduler:
            return "cant_tell"
        return holding.probe(call, now) or "cant_tell"

    def _operators(self, facts: Facts) -> list[OperatorFacts]:
        return [o for o in facts.operators if o.desc.startswith(_MAKES[self.scheduler])]
