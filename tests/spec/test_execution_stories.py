"""What the protocol says and does in each kind of history, word for word and to the millisecond.

Between two lines it has only looked and rested. Every event takes a millisecond, and every look 50.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from executors.protocol import Send, next_move
from schemas import events as e
from schemas.values import Call, Change, Sample
from tests.actions.clusters import NOW, region
from tests.spec.test_protocol_properties import ACTIONS, CONTROLS, RULES, Execution


@dataclass
class Told(Execution):
    """An execution that keeps what was said when."""

    lines: list[str] = field(default_factory=list)
    looks: str = "well"

    def hears(self, *events: e.Event) -> None:
        super().hears(*events)
        told = [event for event in events if not isinstance(event, e.Claimed)]
        self.lines += (f"{(self.now_ms - NOW) / 1000:.3f} {line(event)}" for event in told)


def line(event: e.Event) -> str:
    """Every field that is not as ever."""
    fields = type(event).model_fields
    said = {name: getattr(event, name) for name in fields if (type(event), name) not in TOO_LONG}
    changed = {name: value for name, value in said.items() if value != EVER.get(name, fields[name].default)}
    return " ".join([type(event).__name__, *(f"{name}={short(value)}" for name, value in changed.items())])


TOO_LONG = {(e.Looked, "facts"), (e.StepIntended, "before"), (e.StepIntended, "snapshot"), (e.Concluded, "facts")}
EVER = {"cluster_id": "prod", "remediation_id": "R", "incident_id": "I", "attempt": 1, "change": 0, "window_s": 15.0}


def short(value: Any) -> str:
    match value:
        case Call():
            return value.name
        case Change():
            return value.do.name
        case Sample():
            return f"@{(value.at_ms - NOW) / 1000:.3f}" + ("*" if value.figures.get("done") else "")
        case tuple():
            return str(len(value))
        case str() if " " in value:
            return value.split()[0]
        case int() if value > NOW:
            return f"@{(value - NOW) / 1000:.3f}"
    return str(value)


# -- what happens meanwhile -----------------------------------------------------------------------------------------

Happening = Callable[[Told], None]


def cancelled(run: Told) -> None:
    run.hears(e.ExecutionAborting(cluster_id="prod", remediation_id="R", attempt=1, code="cancelled", text="anna: t"))


def dies(run: Told) -> None:
    run.dies()


def set_by_somebody(run: Told) -> None:
    run.present = True


def brought_back(run: Told) -> None:
    """By a PD that has just begun to lead."""
    run.present, run.led_since_ms = True, run.now_ms


def taken_back_by_somebody(run: Told) -> None:
    run.present = False


def another_pd_leads(run: Told) -> None:
    run.base = run.base.model_copy(update={"pd_leader": "pd-1"})


def pd_restarts(run: Told) -> None:
    run.base = run.base.model_copy(update={"pd_started_at_ms": 1})


def half_of_it_is_there(run: Told) -> None:
    run.base = run.base.model_copy(update={"stores": tuple(s for s in run.base.stores if s.id != 8)})


def a_store_fails(run: Told) -> None:
    stores = (s.model_copy(update={"state": "Disconnected"} if s.id == 1 else {}) for s in run.base.stores)
    run.base = run.base.model_copy(update={"stores": tuple(stores)})


def a_peer_fails(run: Told) -> None:
    run.base = run.base.model_copy(update={"troubled": (region(7, 1, 2, 3, down_store_ids=(3,)),)})


def controls(name: str) -> Happening:
    def happens(run: Told) -> None:
        run.seen = run.seen.hearing(CONTROLS[name], run.now_ms)

    return happens


def looks(how: str) -> Happening:
    def happens(run: Told) -> None:
        run.looks = how

    return happens


def both(*all_of: Happening) -> Happening:
    def happens(run: Told) -> None:
        for one in all_of:
            one(run)

    return happens


# -- the stories ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """Calls end as `sends` says, and then well; after the nth event of a kind something happens."""

    action: str
    told: tuple[str, ...]
    sends: tuple[str, ...] = ()
    then: Mapping[str, Happening] = field(default_factory=dict)
    mode: str = "on"

    def lived(self) -> list[str]:
        run, sends, happened = Told(*ACTIONS[self.action], mode=self.mode), list(self.sends), set[str]()
        for _ in range(300):
            if run.claim is None:
                return run.lines
            for when, happens in self.then.items():
                kind, nth = when.split()
                if when not in happened and sum(type(x).__name__ == kind for x in run.events) >= int(nth):
                    happened.add(when)
                    happens(run)
            sending = isinstance(next_move(run.claim, run.seen, run.now_ms, RULES), Send)
            run.step(run.looks if not sending else sends.pop(0) if sends else "well")
        return [*run.lines, "and so on"]


# What several begin with.
INTENDED = (
    "0.052 Looked before=@0.001",
    "0.053 StepIntended step=1 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
)
MADE = (*INTENDED, "0.054 StepTaken step=1 answer=accepted")
SEEN = (*MADE, "0.155 Sampled sample=@0.104*", "2.155 Sampled sample=@2.104*", "4.155 Sampled sample=@4.104*")
GONE = (
    *SEEN,
    "60.055 StepIntended step=2 kind=undo call=remove_evict_leader",
    "60.056 StepTaken step=2 answer=accepted",
    "60.157 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@60.106",
)

STORIES = {
    "all goes well": Story(
        "evict",
        (
            *GONE,
            "70.157 ChangeUndone settled=True",
            "70.158 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
    ),
    "a rehearsal": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=rehearsed",
            "0.055 Concluded outcome=rehearsed code=dry_run text=everything before=@0.001",
        ),
        mode="dry_run",
    ),
    "a transfer stays": Story(
        "transfer",
        (
            "0.052 Looked before=@0.001",
            "0.053 StepIntended step=1 kind=do call=transfer_leader undo=transfer_leader",
            "0.054 StepTaken step=1 answer=accepted",
            "0.155 Sampled sample=@0.104*",
            "2.155 Sampled sample=@2.104*",
            "4.155 Sampled sample=@4.104*",
            "4.156 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
    ),
    "tombstones stay removed": Story(
        "bury",
        (
            "0.052 Looked before=@0.001",
            "0.053 StepIntended step=1 kind=do call=remove_tombstones",
            "0.054 StepTaken step=1 answer=accepted",
            "0.155 Sampled sample=@0.104*",
            "2.155 Sampled sample=@2.104*",
            "4.155 Sampled sample=@4.104*",
            "4.156 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
    ),
    "a call is lost": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=may_have_run",
            "20.105 StepProbed step=1 finding=not_started",
            "20.106 Looked before=@20.054",
            "20.107 StepIntended step=2 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
            "20.108 StepTaken step=2 answer=accepted",
            "20.209 Sampled sample=@20.158*",
            "22.209 Sampled sample=@22.158*",
            "24.209 Sampled sample=@24.158*",
            "80.109 StepIntended step=3 kind=undo call=remove_evict_leader",
            "80.110 StepTaken step=3 answer=accepted",
            "80.211 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@80.160",
            "90.211 ChangeUndone settled=True",
            "90.212 Concluded outcome=succeeded code=succeeded text= before=@20.054 after=@24.158* samples=3 errors=1",
        ),
        sends=("lost before",),
    ),
    "an answer is lost": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=may_have_run",
            "20.105 StepProbed step=1 finding=applied",
            "20.106 Sampled sample=@20.054*",
            "22.105 Sampled sample=@22.054*",
            "24.105 Sampled sample=@24.054*",
            "60.055 StepIntended step=2 kind=undo call=remove_evict_leader",
            "60.056 StepTaken step=2 answer=accepted",
            "60.157 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@60.106",
            "70.157 ChangeUndone settled=True",
            "70.158 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@24.054* samples=3 errors=1",
        ),
        sends=("lost after",),
    ),
    "a call is never sent": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=never_sent",
            "0.055 StepIntended step=2 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
            "0.056 StepTaken step=2 answer=never_sent",
            "0.057 StepIntended step=3 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
            "0.058 StepTaken step=3 answer=never_sent",
            "0.059 ExecutionAborting code=not_reached text=3",
            "0.060 Concluded outcome=not_started code=not_reached text=3 before=@0.001 errors=3",
        ),
        sends=("no answer",) * 3,
    ),
    "PD refuses it": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=refused",
            "0.055 ExecutionAborting code=refused text=",
            "0.056 Concluded outcome=failed_without_effect code=refused text= before=@0.001 errors=1",
        ),
        sends=("refused",),
    ),
    "PD refuses to take it back": Story(
        "evict",
        (
            *SEEN,
            "60.055 StepIntended step=2 kind=undo call=remove_evict_leader",
            "60.056 StepTaken step=2 answer=refused",
            "65.057 StepIntended step=3 kind=undo call=remove_evict_leader",
            "65.058 StepTaken step=3 answer=refused",
            "75.109 StepIntended step=4 kind=undo call=remove_evict_leader",
            "75.110 StepTaken step=4 answer=refused",
            (
                "75.111 Concluded outcome=unknown code=undo_refused text=PD"
                " before=@0.001 after=@4.104* samples=3 errors=3 owed=1"
            ),
        ),
        sends=("well", "refused", "refused", "refused"),
    ),
    "PD is away when it is taken back": Story(
        "evict",
        (
            *SEEN,
            "60.055 StepIntended step=2 kind=undo call=remove_evict_leader",
            "60.056 StepTaken step=2 answer=never_sent",
            "65.057 StepIntended step=3 kind=undo call=remove_evict_leader",
            "65.058 StepTaken step=3 answer=never_sent",
            "75.109 StepIntended step=4 kind=undo call=remove_evict_leader",
            "75.110 StepTaken step=4 answer=accepted",
            "75.211 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@75.160",
            "85.211 ChangeUndone settled=True",
            "85.212 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3 errors=2",
        ),
        sends=("well", "no answer", "no answer"),
    ),
    "the call that takes it back is lost": Story(
        "evict",
        (
            *SEEN,
            "60.055 StepIntended step=2 kind=undo call=remove_evict_leader",
            "60.056 StepTaken step=2 answer=may_have_run",
            "80.107 StepProbed step=2 finding=not_started",
            "80.108 StepIntended step=3 kind=undo call=remove_evict_leader",
            "80.109 StepTaken step=3 answer=accepted",
            "80.210 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@80.159",
            "90.210 ChangeUndone settled=True",
            "90.211 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3 errors=1",
        ),
        sends=("well", "lost before"),
    ),
    "a crash before the call": Story(
        "evict",
        (
            *INTENDED,
            "20.054 TakenOver attempt=2 owner=me",
            "20.105 StepProbed attempt=2 step=1 finding=not_started",
            "20.106 Looked attempt=2 before=@20.054",
            "20.107 StepIntended attempt=2 step=2 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
            "20.108 StepTaken step=2 answer=accepted",
            "20.209 Sampled attempt=2 sample=@20.158*",
            "22.209 Sampled attempt=2 sample=@22.158*",
            "24.209 Sampled attempt=2 sample=@24.158*",
            "80.109 StepIntended attempt=2 step=3 kind=undo call=remove_evict_leader",
            "80.110 StepTaken step=3 answer=accepted",
            "80.211 ChangeUndone attempt=2 settled=False pd_leader=pd-0 looked_at_ms=@80.160",
            "90.211 ChangeUndone attempt=2 settled=True",
            (
                "90.212 Concluded attempt=2 outcome=succeeded code=succeeded text="
                " before=@20.054 after=@24.158* samples=3"
            ),
        ),
        sends=("died before",),
    ),
    "a crash after the call": Story(
        "evict",
        (
            *INTENDED,
            "20.054 TakenOver attempt=2 owner=me",
            "20.105 StepProbed attempt=2 step=1 finding=applied",
            "20.106 Sampled attempt=2 sample=@20.054*",
            "22.105 Sampled attempt=2 sample=@22.054*",
            "24.105 Sampled attempt=2 sample=@24.054*",
            "60.054 StepIntended attempt=2 step=2 kind=undo call=remove_evict_leader",
            "60.055 StepTaken step=2 answer=accepted",
            "60.156 ChangeUndone attempt=2 settled=False pd_leader=pd-0 looked_at_ms=@60.105",
            "70.156 ChangeUndone attempt=2 settled=True",
            "70.157 Concluded attempt=2 outcome=succeeded code=succeeded text= before=@0.001 after=@24.054* samples=3",
        ),
        sends=("died after",),
    ),
    "a crash after the call that takes it back": Story(
        "evict",
        (
            *SEEN,
            "60.055 StepIntended step=2 kind=undo call=remove_evict_leader",
            "80.056 TakenOver attempt=2 owner=me",
            "80.107 StepProbed attempt=2 step=2 finding=applied",
            "80.108 ChangeUndone attempt=2 settled=False pd_leader=pd-0 looked_at_ms=@80.056",
            "90.107 ChangeUndone attempt=2 settled=True",
            "90.108 Concluded attempt=2 outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
        sends=("well", "died after"),
    ),
    "a crash before anything is done": Story(
        "evict",
        (
            "0.052 Looked before=@0.001",
            "20.053 TakenOver attempt=2 owner=me",
            "20.104 Looked attempt=2 before=@20.053",
            "20.105 StepIntended attempt=2 step=1 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
            "20.106 StepTaken step=1 answer=accepted",
            "20.207 Sampled attempt=2 sample=@20.156*",
            "22.207 Sampled attempt=2 sample=@22.156*",
            "24.207 Sampled attempt=2 sample=@24.156*",
            "80.107 StepIntended attempt=2 step=2 kind=undo call=remove_evict_leader",
            "80.108 StepTaken step=2 answer=accepted",
            "80.209 ChangeUndone attempt=2 settled=False pd_leader=pd-0 looked_at_ms=@80.158",
            "90.209 ChangeUndone attempt=2 settled=True",
            (
                "90.210 Concluded attempt=2 outcome=succeeded code=succeeded text="
                " before=@20.053 after=@24.156* samples=3"
            ),
        ),
        then={"Looked 1": dies},
    ),
    "a crash while it is watched": Story(
        "evict",
        (
            *MADE,
            "0.155 Sampled sample=@0.104*",
            "20.156 TakenOver attempt=2 owner=me",
            "20.207 Sampled attempt=2 sample=@20.156*",
            "22.207 Sampled attempt=2 sample=@22.156*",
            "60.055 StepIntended attempt=2 step=2 kind=undo call=remove_evict_leader",
            "60.056 StepTaken step=2 answer=accepted",
            "60.157 ChangeUndone attempt=2 settled=False pd_leader=pd-0 looked_at_ms=@60.106",
            "70.157 ChangeUndone attempt=2 settled=True",
            "70.158 Concluded attempt=2 outcome=succeeded code=succeeded text= before=@0.001 after=@22.156* samples=3",
        ),
        then={"Sampled 1": dies},
    ),
    "only a person can tell what a call has done": Story(
        "bury",
        (
            "0.052 Looked before=@0.001",
            "0.053 StepIntended step=1 kind=do call=remove_tombstones",
            "0.054 StepTaken step=1 answer=may_have_run",
            "140.055 StepProbed step=1 finding=cant_tell text=PD",
            "140.055 Concluded outcome=unknown code=cant_tell text=PD before=@0.001 errors=1",
        ),
        sends=("lost before",),
        then={"StepTaken 1": half_of_it_is_there},
    ),
    "a call takes effect when it had been given up": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=may_have_run",
            "20.105 StepProbed step=1 finding=not_started",
            "30.105 StepProbed step=1 finding=applied text=it",
            "30.106 ExecutionAborting code=late_effect text=a",
            "30.107 StepIntended step=2 kind=undo call=remove_evict_leader",
            "30.108 StepTaken step=2 answer=accepted",
            "30.209 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@30.158",
            "40.209 ChangeUndone settled=True",
            "40.210 Concluded outcome=no_better code=late_effect text=a errors=1",
        ),
        sends=("lost before",),
        then={"StepProbed 1": both(controls("frozen"), set_by_somebody)},
    ),
    "a call is given up for good": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=may_have_run",
            "20.105 StepProbed step=1 finding=not_started",
            "30.105 Concluded outcome=not_started code=frozen text=freeze errors=1",
        ),
        sends=("lost before",),
        then={"StepProbed 1": controls("frozen")},
    ),
    "a call is given up for good after one that was never sent": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=never_sent",
            "0.055 StepIntended step=2 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
            "0.056 StepTaken step=2 answer=may_have_run",
            "20.107 StepProbed step=2 finding=not_started",
            "30.107 Concluded outcome=not_started code=frozen text=freeze errors=2",
        ),
        sends=("no answer", "lost before"),
        then={"StepProbed 1": controls("frozen")},
    ),
    "PD refuses it after a call that was lost": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=may_have_run",
            "20.105 StepProbed step=1 finding=not_started",
            "20.106 Looked before=@20.054",
            "20.107 StepIntended step=2 kind=do call=add_evict_leader undo=remove_evict_leader keep_s=60",
            "20.108 StepTaken step=2 answer=refused",
            "20.109 ExecutionAborting code=refused text=",
            "30.105 Concluded outcome=failed_without_effect code=refused text= before=@20.054 errors=2",
        ),
        sends=("lost before", "refused"),
    ),
    "somebody sets it after it was gone": Story(
        "evict",
        (
            *GONE,
            "62.157 ChangeUndone settled=True text=it",
            "62.158 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
        then={"ChangeUndone 1": set_by_somebody},
    ),
    "a new PD leader brings it back": Story(
        "evict",
        (
            *GONE,
            "65.057 StepIntended step=3 kind=undo call=remove_evict_leader",
            "65.058 StepTaken step=3 answer=accepted",
            "121.159 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@121.108",
            "131.159 ChangeUndone settled=True",
            "131.160 Concluded outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
        then={"ChangeUndone 1": brought_back},
    ),
    "it is there again after a crash": Story(
        "evict",
        (
            *GONE,
            "80.158 TakenOver attempt=2 owner=me",
            (
                "80.209 Concluded attempt=2 outcome=unknown code=cant_tell_whose text=it"
                " before=@0.001 after=@4.104* samples=3 owed=1"
            ),
        ),
        then={"ChangeUndone 1": both(dies, brought_back)},
    ),
    "another PD leads after a crash and brings it back": Story(
        "evict",
        (
            *GONE,
            "80.158 TakenOver attempt=2 owner=me",
            "80.209 StepIntended attempt=2 step=3 kind=undo call=remove_evict_leader",
            "80.210 StepTaken step=3 answer=accepted",
            "120.311 ChangeUndone attempt=2 settled=False pd_leader=pd-1 looked_at_ms=@120.260",
            "130.311 ChangeUndone attempt=2 settled=True",
            "130.312 Concluded attempt=2 outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
        then={"ChangeUndone 1": both(dies, brought_back, another_pd_leads)},
    ),
    "PD restarts after a crash and brings it back": Story(
        "evict",
        (
            *GONE,
            "80.158 TakenOver attempt=2 owner=me",
            "80.209 StepIntended attempt=2 step=3 kind=undo call=remove_evict_leader",
            "80.210 StepTaken step=3 answer=accepted",
            "120.311 ChangeUndone attempt=2 settled=False pd_leader=pd-0 pd_started_at_ms=1 looked_at_ms=@120.260",
            "130.311 ChangeUndone attempt=2 settled=True",
            "130.312 Concluded attempt=2 outcome=succeeded code=succeeded text= before=@0.001 after=@4.104* samples=3",
        ),
        then={"ChangeUndone 1": both(dies, brought_back, pd_restarts)},
    ),
    "a cancel before anything has an effect": Story(
        "evict",
        (
            *INTENDED,
            "0.054 StepTaken step=1 answer=never_sent",
            "0.055 ExecutionAborting code=cancelled text=anna:",
            "0.056 Concluded outcome=not_started code=cancelled text=anna: before=@0.001 errors=1",
        ),
        sends=("no answer",),
        then={"StepTaken 1": cancelled},
    ),
    "a cancel on the way": Story(
        "evict",
        (
            *MADE,
            "0.155 Sampled sample=@0.104*",
            "0.156 ExecutionAborting code=cancelled text=anna:",
            "0.157 StepIntended step=2 kind=undo call=remove_evict_leader",
            "0.158 StepTaken step=2 answer=accepted",
            "0.259 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@0.208",
            "10.259 ChangeUndone settled=True",
            "10.260 Concluded outcome=no_better code=cancelled text=anna: before=@0.001 after=@0.104* samples=1",
        ),
        then={"Sampled 1": cancelled},
    ),
    "a cancel after it has succeeded": Story(
        "evict",
        (
            *SEEN,
            "4.156 ExecutionAborting code=cancelled text=anna:",
            "4.157 StepIntended step=2 kind=undo call=remove_evict_leader",
            "4.158 StepTaken step=2 answer=accepted",
            "4.259 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@4.208",
            "14.259 ChangeUndone settled=True",
            "14.260 Concluded outcome=succeeded code=cancelled text=anna: before=@0.001 after=@4.104* samples=3",
        ),
        then={"Sampled 3": cancelled},
    ),
    "a cancel of what can't be taken back": Story(
        "bury",
        (
            "0.052 Looked before=@0.001",
            "0.053 StepIntended step=1 kind=do call=remove_tombstones",
            "0.054 StepTaken step=1 answer=accepted",
            "0.055 ExecutionAborting code=cancelled text=anna:",
            "0.056 Concluded outcome=failed_partly code=cancelled text=anna: before=@0.001",
        ),
        then={"StepTaken 1": cancelled},
    ),
    "a cancel while a call may be under way": Story(
        "transfer",
        (
            "0.052 Looked before=@0.001",
            "0.053 StepIntended step=1 kind=do call=transfer_leader undo=transfer_leader",
            "0.054 StepTaken step=1 answer=may_have_run",
            "0.055 ExecutionAborting code=cancelled text=anna:",
            "20.105 StepProbed step=1 finding=applied",
            "20.106 StepIntended step=2 kind=undo call=transfer_leader",
            "20.107 StepTaken step=2 answer=accepted",
            "20.208 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@20.157",
            "30.208 ChangeUndone settled=True",
            "30.209 Concluded outcome=no_better code=cancelled text=anna: before=@0.001 errors=1",
        ),
        sends=("lost after",),
        then={"StepTaken 1": cancelled},
    ),
    "a freeze on the way": Story(
        "evict",
        (
            *MADE,
            "0.055 ExecutionAborting code=frozen text=freeze",
            "0.106 StepIntended step=2 kind=undo call=remove_evict_leader",
            "0.107 StepTaken step=2 answer=accepted",
            "0.208 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@0.157",
            "10.208 ChangeUndone settled=True",
            "10.209 Concluded outcome=no_better code=frozen text=freeze before=@0.001",
        ),
        then={"StepTaken 1": controls("frozen")},
    ),
    "a halt on the way, until it is lifted": Story(
        "evict",
        (
            *SEEN,
            "4.156 ExecutionAborting code=halted text=halt",
            "4.157 StepIntended step=2 kind=undo call=remove_evict_leader",
            "4.158 StepTaken step=2 answer=accepted",
            "4.259 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@4.208",
            "14.259 ChangeUndone settled=True",
            "14.260 Concluded outcome=succeeded code=halted text=halt before=@0.001 after=@4.104* samples=3",
        ),
        then={"Sampled 3": controls("halted"), "ExecutionAborting 1": controls("live")},
    ),
    "the controls can't be read any more": Story(
        "evict",
        (
            *SEEN,
            "16.105 ExecutionAborting code=controls_not_live text=the",
            "16.106 StepIntended step=2 kind=undo call=remove_evict_leader",
            "16.107 StepTaken step=2 answer=accepted",
            "16.208 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@16.157",
            "26.208 ChangeUndone settled=True",
            "26.209 Concluded outcome=succeeded code=controls_not_live text=the before=@0.001 after=@4.104* samples=3",
        ),
        then={"StepTaken 1": controls("not live")},
    ),
    "the controls can't be read before it is done": Story(
        "evict",
        (
            "0.052 Looked before=@0.001",
            "16.053 ExecutionAborting code=controls_not_live text=the",
            "16.054 Concluded outcome=not_started code=controls_not_live text=the before=@0.001",
        ),
        then={"Looked 1": controls("not live")},
    ),
    "a store fails on the way": Story(
        "evict",
        (
            *MADE,
            "0.155 Sampled sample=@0.104*",
            "2.155 ExecutionAborting code=fewer_stores_up text=stores worse=True",
            "2.156 StepIntended step=2 kind=undo call=remove_evict_leader",
            "2.157 StepTaken step=2 answer=accepted",
            "2.258 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@2.207",
            "12.258 ChangeUndone settled=True",
            "12.259 Concluded outcome=worse code=fewer_stores_up text=stores before=@0.001 after=@0.104* samples=1",
        ),
        then={"Sampled 1": a_store_fails},
    ),
    "a peer fails on the way": Story(
        "evict",
        (
            *MADE,
            "0.155 Sampled sample=@0.104*",
            "2.155 ExecutionAborting code=more_down_peers text=down worse=True",
            "2.156 StepIntended step=2 kind=undo call=remove_evict_leader",
            "2.157 StepTaken step=2 answer=accepted",
            "2.258 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@2.207",
            "12.258 ChangeUndone settled=True",
            "12.259 Concluded outcome=worse code=more_down_peers text=down before=@0.001 after=@0.104* samples=1",
        ),
        then={"Sampled 1": a_peer_fails},
    ),
    "a store fails while it is kept": Story(
        "evict",
        (
            *SEEN,
            "6.155 ExecutionAborting code=fewer_stores_up text=stores worse=True",
            "6.156 StepIntended step=2 kind=undo call=remove_evict_leader",
            "6.157 StepTaken step=2 answer=accepted",
            "6.258 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@6.207",
            "16.258 ChangeUndone settled=True",
            "16.259 Concluded outcome=worse code=fewer_stores_up text=stores before=@0.001 after=@4.104* samples=3",
        ),
        then={"Sampled 3": a_store_fails},
    ),
    "it was of no use": Story(
        "transfer",
        (
            "0.052 Looked before=@0.001",
            "0.053 StepIntended step=1 kind=do call=transfer_leader undo=transfer_leader",
            "0.054 StepTaken step=1 answer=accepted",
            "0.155 Sampled sample=@0.104*",
            "2.155 Sampled sample=@2.104*",
            "4.155 Sampled sample=@4.104*",
            "4.156 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@4.104",
            "14.155 ChangeUndone settled=True",
            "14.156 Concluded outcome=no_better code=no_better text= before=@0.001 after=@4.104* samples=3",
        ),
        then={"StepTaken 1": taken_back_by_somebody},
    ),
    "PD does not come to an end": Story(
        "evict",
        (
            *MADE,
            "0.155 Sampled sample=@0.104",
            "16.155 Sampled sample=@16.104",
            "32.155 Sampled sample=@32.104",
            "48.155 Sampled sample=@48.104",
            "60.105 StepIntended step=2 kind=undo call=remove_evict_leader",
            "60.106 StepTaken step=2 answer=accepted",
            "60.207 ChangeUndone settled=False pd_leader=pd-0 looked_at_ms=@60.156",
            "70.207 ChangeUndone settled=True",
            "70.208 Concluded outcome=no_better code=time_is_up text=when before=@0.001 after=@48.104 samples=4",
        ),
        then={"StepTaken 1": looks("unsettled"), "StepTaken 2": looks("well")},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_it_is_told_so(name: str) -> None:
    assert STORIES[name].lived() == list(STORIES[name].told)
