"""How an owner ends: nothing of it goes on, and nobody who wanted it to end is told otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

import infra.runners.owner
from infra.runners.books import Books, Raw, fold_control
from infra.runners.memory import MemoryControls, MemoryLog, MemoryOwnLog
from infra.runners.owner import Owner, Rebuild
from schemas import events as e
from schemas.chain import Stamped, edge, identified
from schemas.controls import Controls
from schemas.processors import Lane, Record, Tick
from schemas.values import Cause, Head
from schemas.wire import frame
from streams.incidents import Incidents
from streams.pipeline import processor


class Owes:
    """Works that owe something on every cluster, for ever; it takes a moment to let go of what it has in hand."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails, self.began = fails, 0
        self.decided: list[str] = []

    def initial(self, cluster_id: str) -> int:
        return 0

    def decide(self, state: int, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[e.Event]:
        if isinstance(given, Record):
            self.decided.append(type(given.event).__name__)
        return ()

    def evolve(self, state: int, event: e.Event, head: Head) -> int:
        return 0

    def wakes_at(self, state: int) -> int | None:
        return None

    def owed(self, state: int) -> bool:
        return True

    async def work(self, lane: Lane[int], resumed: bool) -> None:
        self.began += 1
        if self.fails and self.began == 1:
            raise ValueError("a bug")
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.05)


class FailsItsSecondCommit(MemoryOwnLog):
    commits = 0

    async def commit(self, stamped: Sequence[Stamped], dead: Sequence[Stamped], positions: Any) -> int:
        self.commits += 1
        if self.commits > 1:
            raise Rebuild("the generation has moved on")
        return await super().commit(stamped, dead, positions)


def owner(role: str, rules: Owes, log_kind: type[MemoryOwnLog] = MemoryOwnLog, now: Any = lambda: 1) -> Owner[int]:
    line, log = processor(role), MemoryLog(1, now)
    books: Books[int] = Books(role, line.writes[0], 0, 1, rules)
    books.states["c"] = 0
    own = log_kind(log, role, line.writes[0], 0, line.reads)
    return Owner(books, own, log.now_ms, MemoryControls(log), works=rules)


async def test_a_cancel_that_comes_while_it_unwinds_is_not_swallowed() -> None:
    """A partition is lost while a transaction of the old generation is being aborted: it is not taken over again."""
    made = owner("diagnose", Owes(), FailsItsSecondCommit)
    again = False

    async def own() -> None:
        nonlocal again
        try:
            await made.run()
        except Rebuild:
            again = True

    running = asyncio.ensure_future(own())
    await made.ready.wait()
    await asyncio.sleep(0.01)
    said = e.DiagnosisAbstained(
        cluster_id="c", incident_id="I", ask_id="A", by="playbook", code="x", reason="x", evidence=()
    )
    asking = asyncio.ensure_future(made.ask((said,), None))
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert not again
    asking.cancel()


async def test_who_is_over_starts_no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that failed, and was to be taken up again after a while."""
    monkeypatch.setattr(infra.runners.owner, "LANE_AGAIN_S", 0.05)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    rules = Owes(fails=True)
    made = owner("notify", rules)
    running = asyncio.ensure_future(made.run())
    await made.ready.wait()
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    await asyncio.sleep(0.15)
    assert rules.began == 1


def raw(topic: str, event: e.Event, cause: Cause | None = None) -> Raw:
    made = identified("x", event, cause, 1) if cause else edge(event, "x", 1)
    return Raw(topic, 0, 0, 1, event.cluster_id.encode(), frame(type(event), made.body))


def test_an_answer_that_has_waited_for_long_still_comes_after_its_question_where_both_are_there() -> None:
    now = [0]
    rules = Owes()
    made = owner("remediations", rules, now=lambda: now[0])
    question = e.NothingProposed(
        cluster_id="c", incident_id="I", remediation_id="R", code="q", reason="q", by="playbook"
    )
    answer = e.ProposalRefused(
        cluster_id="c",
        incident_id="I",
        remediation_id="R",
        proposal_id="P",
        attempt=1,
        action="x",
        objections=(),
        facts=None,
    )
    draft = made.books.draft(Controls())
    made._take(draft, [raw("validations", answer, Cause(topic="proposals", sha256=bytes(32), offset=0))])
    now[0] = 30_500
    made._take(draft, [raw("proposals", question)])
    assert rules.decided == ["NothingProposed", "ProposalRefused"]


@pytest.mark.parametrize("body", ["[]", "3", "null", '"x"', "[" * 100_000, "{"])
def test_a_policy_of_any_shape_is_a_control_that_can_not_be_read_and_ends_nobody(body: str) -> None:
    adopted = e.PolicyAdopted(cluster_id="*", by="anna", reason="t", version=1, policy_json=body)
    held = fold_control(Controls(live=True), raw("controls", adopted))
    assert list(held.poisoned) == ["controls/0@0"]
    assert held.offset == 0


def test_keys_of_any_size_on_an_own_topic_keep_no_owner_from_starting() -> None:
    books: Books[Any] = Books("incidents", "incidents", 0, 1, Incidents())
    books.restore(Raw("incidents", 0, 0, 1, b"k" * 950_000, b"junk"))
    for n in range(2_000):
        books.restore(Raw("incidents", 0, n + 1, 1, f"c-{n:0120}".encode(), b"junk"))
    draft = books.draft(Controls())
    draft.add((books.started("pid-1", "test"),), None, 5)
    assert len(draft.stamped[0].body) < 100_000
