"""Holding one of PD's own schedulers back while we act: a pause is a change as any other, with its undo and its probe.

It ends by itself too, `SPARE_S` after we would end it; and at once with the PD leader, which keeps it in memory alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from actions import calls
from schemas.events import Finding
from schemas.facts import Facts
from schemas.values import Call, Change

SPARE_S = 60


def held(scheduler: str, keep_s: int) -> Change:
    """Paused for `keep_s` seconds, then resumed by us."""
    return Change(
        do=calls.pause_scheduler(scheduler, keep_s + SPARE_S), undo=calls.resume_scheduler(scheduler), keep_s=keep_s
    )


def at_work(schedulers: Iterable[str], facts: Facts) -> tuple[str, ...]:
    """Those that run now. One that is paused is somebody else's to resume."""
    return tuple(s for s in schedulers if s in facts.schedulers and s not in facts.paused_schedulers)


def probe(call: Call, now: Facts) -> Finding | None:
    """Of a pause or a resume; None: it is neither. By premise the scheduler was not paused before us.

    A new PD leader does not bring a pause back, so absence is believed as soon as PD lists schedulers at all.
    """
    if call.name not in ("pause_scheduler", "resume_scheduler"):
        return None
    paused, wanted = call.args.get("scheduler") in now.paused_schedulers, call.name == "pause_scheduler"
    if not paused and now.warming_up() is not None:
        return "cant_tell"
    return "applied" if paused == wanted else "not_started"
