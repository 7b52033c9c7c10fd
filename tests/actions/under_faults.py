"""Each action under each fault of the kit: the real pipeline in memory against the model; what it said, what is left.

`python -m tests.actions.under_faults` writes the page that shows it all, docs/reference/actions-and-faults.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actions import calls
from actions.action import Undo
from actions.catalogue import CATALOGUE
from bootstrap.roles import Hands
from docs.pages import table
from executors.tikv import ClusterWriter
from infra.pd import PdEndpoint, PdReader
from pdsim.faults import Faults, Meanwhile
from pdsim.http import Request
from pdsim.kit import GROUPS, KIT, UNDO, Aim, Named
from pdsim.model import Cluster
from schemas import events as e
from schemas.values import Call, Change
from tests.actions.scenario import HERE, WATCHED_S, Case, Run, done_well
from tests.contract.pd_client.conftest import URLS
from tests.spec.world import CLUSTER, PD_ID, TRUST, OtherHands, World, live

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/actions-and-faults.md"
POLICY_LIMITS = {"settling_s": 20, "cooldown_s": 0, "execution_s_max": 1_200}
ENDS_WITHIN_S = 4_000
LATER_S = 60  # what was still on its way has arrived by then


@dataclass(frozen=True)
class Cell:
    """How an action ended under a fault. `outcome` empty: the fault found nothing here that it could befall."""

    outcome: str = ""
    code: str = ""
    text: str = ""
    owed: int = 0  # changes that the conclusion hands to a person
    left: tuple[str, ...] = ()  # what of ours is in the model when all is over, and should not be
    untrue: tuple[str, ...] = ()  # what the outcome says, and the model does not bear out

    def __str__(self) -> str:
        if not self.outcome:
            return "-"
        words = self.outcome.replace("_", " ")
        said = words if self.code in (self.outcome, "") else f"{words}: `{self.code}`"
        return f"{said}, {self.owed} owed" if self.owed else said


class Watched(OtherHands):
    """A world of three PD members, watched for as long as a preflight wants."""

    def __init__(self, **world: Any) -> None:
        super().__init__(**world)
        endpoint = PdEndpoint(URLS, PD_ID)
        self.reader = PdReader(
            {CLUSTER: endpoint}, monotonic_s=self.now_s, wall_s=self.now_s, transport=lambda _: self.transport
        )

    def changed(self, made: Hands) -> dict[str, Any]:
        def writer(_: str, may_call: frozenset[str]) -> ClusterWriter:
            return ClusterWriter(URLS, may_call=may_call, transport=lambda: self.transport, monotonic_s=self.now_s)

        return {"reader": self.reader, "writer": writer}


def request_of(call: Call) -> Request:
    rendered = calls.render(call)
    path, _, query = rendered.path.partition("?")
    return Request(rendered.method, path, query, (), rendered.body.encode())


def aim_at(run: Run, cluster: Cluster) -> Aim:
    """Of a plan: the store that it is about, by its parameters or by where its region is led; and one that is not."""
    action, first = run.action, run.changes[0]
    named = [int(entity.removeprefix("store:")) for entity in action.entities() if entity.startswith("store:")]
    region_id = next(iter(action.look().region_ids), None)
    region = cluster.truth.get(region_id) if region_id is not None else None
    store_id = named[0] if named else (region.leader if region else None)
    held = {peer.store_id for peer in region.peers} if region else set()
    others = [s.id for s in cluster.stores.values() if s.alive and s.id != store_id]
    code = next(iter(calls.CALLS[first.do.name].refused_codes), "")
    return Aim(
        do=request_of(first.do),
        undo=request_of(first.undo) if first.undo else None,
        store_id=store_id,
        other_id=next((s for s in others if s not in held), others[0]),
        region_id=region_id,
        refusal=f"[{code}]of this kit" if code else "",
    )


@cache
def cell(name: str, fault_name: str = "") -> Cell:
    """The action of that name under that fault; none: all goes well."""
    case = Case(name)
    run = done_well(case)
    ended: list[Cell] = []

    async def spec(world: World) -> None:
        ended.append(await _story(world, case, run, KIT[fault_name] if fault_name else None))

    live(spec, Watched, partitions=1, poll_s=5.0, **{**HERE, **case.scenario.cluster})
    return ended[0]


async def _story(world: World, case: Case, run: Run, fault: Named | None) -> Cell:
    assert isinstance(world, Watched)
    case.scenario.arrange(world.pd)
    await world.reader.watch(CLUSTER)
    await world.passes(WATCHED_S)
    world.pd.advance(world.now_s())
    world.adopt({"actions": {case.name: {"mode": "on"}}, "approval": {"low": "one"}, "limits": POLICY_LIMITS})
    world.start(*TRUST)
    await world.passes(1)
    case.scenario.just_before(world.pd)
    world.proposes(case.name, **case.scenario.params(world.pd))
    ask = await world.until(lambda: world.one(e.ApprovalAsked), 60)
    assert _timeless(ask.plan.changes) == _timeless(run.changes), "the same cluster gives the same plan"
    if fault:
        world.pd.advance(world.now_s())
        if not fault.strike(world.pd, world.faults, aim_at(run, world.pd)):
            return Cell()
        await world.passes(fault.notice_s)
    for person in ("anna", "bert")[: ask.needed]:
        world.approve(ask, person)
    if fault and fault.group == UNDO and run.action.undo is Undo.REVERSIBLE:  # else nobody takes back what went well
        await world.until(lambda: world.one(e.StepTaken), 60)
        world.orders(e.UndoAsked, ask)
    ends_s = world.now_s() + ENDS_WITHIN_S

    def ended() -> e.Event | None:
        """Or it has stayed open for long, and people are told."""
        return world.one(e.Concluded) or (world.one(e.RemediationFlagged) if world.now_s() > ends_s else None)

    concluded = await world.until(ended, ENDS_WITHIN_S + 60)
    if not isinstance(concluded, e.Concluded):
        return Cell("open", "in_sight", "what is owed is not paid, and people are told")
    if fault and _missed(world.faults):
        return Cell()
    reset = "limit" if fault and fault.name == "limits reset" else ""  # by the fault itself
    untrue = tuple(text for key, text in _untrue(world, case, run, concluded) if not (reset and reset in key))
    await world.passes(LATER_S)
    world.pd.advance(world.now_s())
    left = tuple(_left(world, case, run, concluded))
    return Cell(concluded.outcome, concluded.code, concluded.text, len(concluded.owed), left, untrue)


def _timeless(changes: tuple[Change, ...]) -> list[str]:
    """Without the moments that a call may name: the world begins at another one."""
    return [re.sub(r"'(created_ns|started_at_s)': '\d+'", "", repr(change)) for change in changes]


def _missed(faults: Faults) -> bool:
    """It waited for a call that did not come, or found nothing that it could befall."""
    waited = bool(faults.rules) and not faults.struck
    return waited or any(isinstance(fault, Meanwhile) and not fault.found for _, _, fault in faults.struck)


def _steps(world: World) -> dict[str, e.StepIntended]:
    """Caller id -> what was intended with it."""
    return {f"steward/{x.remediation_id}/{x.attempt}.{x.step}": x for x in world.found(e.StepIntended)}


def _made(world: World) -> dict[int, str]:
    """Change -> whether its do or its undo was the last that the cluster has carried out, by the cluster's record."""
    steps = _steps(world)
    applied = (steps[call.caller_id] for call in world.pd.calls if call.applied and call.caller_id in steps)
    return {step.change: step.kind for step in applied}


def _left(world: World, case: Case, run: Run, concluded: e.Concluded) -> list[str]:
    """What of ours is there, though by the outcome it should be gone."""
    now, left = case.state(world.pd, run.action), []
    for n, kind in _made(world).items():
        change = run.changes[n]
        stays = concluded.outcome == "succeeded" and not change.keep_s
        if kind == "do" and change.undo is not None and not stays:
            left += [key for key in sorted(run.touched[n], key=str) if now.get(key) == run.became.get(key)]
            running = [world.pd.book.running.get(region_id) for region_id in run.action.look().region_ids]
            left += [(o.desc, "on region", o.region_id) for o in running if o and "admin" in o.kinds]
    return [" ".join(map(str, key)) for key in left]


def _untrue(world: World, case: Case, run: Run, concluded: e.Concluded) -> Iterator[tuple[tuple[object, ...], str]]:
    """Where the outcome says more or less than the cluster's own record of calls, and its state, show."""
    made = _made(world)
    if concluded.outcome in ("not_started", "failed_without_effect") and "do" in made.values():
        yield (), "it is said to have had no effect, and the cluster has carried it out"
    if concluded.outcome != "succeeded":
        return
    if all(change.keep_s for change in run.changes):
        if not made:
            yield (), "it is said to have succeeded, and the cluster has carried out nothing of it"
        return
    now = case.state(world.pd, run.action)
    kept = {key for change, keys in zip(run.changes, run.touched, strict=True) if not change.keep_s for key in keys}
    for key in kept:
        if now.get(key) != run.became.get(key):
            yield key, f"it is said to have succeeded, and {key} is {now.get(key)}"


# the page

INTRODUCTION = """<!-- Written by `python -m tests.actions.under_faults` from runs on the simulated cluster. -->

# Actions under faults

Every action of the catalogue, approved and run by the real pipeline in memory, under every fault of the simulated
PD's kit: how it is concluded, and with which code where the outcome alone does not say why. `succeeded` of a temporary
action includes its undo. `-` is where the fault finds nothing that it could befall.

Nothing of ours is left behind in any of them, or the conclusion hands it to a person and bars the cluster
(`unknown`, with what is owed), or it stays open in sight of people (`open`); the test that makes this page holds every
cell to that, to the outcomes that are right for its fault, and to the cluster's own record of the calls.

A section number of `pd-seen.md` is that of our notes on a running PD 8.5.7."""


def page() -> str:
    """A table for each group of faults; a column for each action."""
    names = sorted(CATALOGUE)
    columns = ["fault", *(f"`{name}`" for name in names)]
    parts = [INTRODUCTION, table(columns, [["none", *(str(cell(name)) for name in names)]])]
    for group in GROUPS:
        rows = [
            [f"**{fault.name}**: {fault.stands_for}", *(str(cell(name, fault.name)) for name in names)]
            for fault in KIT.values()
            if fault.group == group
        ]
        parts += [f"## {group}", table(columns, rows)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
