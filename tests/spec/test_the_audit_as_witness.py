"""A broker that loses what it has acknowledged, and what came of it too: the audit alone still knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from infra.runners.books import FIRST, Books, Raw, Witnessed
from schemas import events as e
from schemas.chain import Link
from schemas.values import sha256
from schemas.wire import decode
from tests.spec.test_execution_recovery import ADD, EVICT
from tests.spec.test_lost_events import lose, offset_of
from tests.spec.world import ACTING_POLICY, CLUSTER, SMALL, World, live


@dataclass
class Kept:
    """As infra.clickhouse.witness.AuditWitness, over what the log held when it was last told to keep it. `away`: it
    can't be asked; `live`: it is never behind."""

    world: World
    raws: list[Raw] = field(default_factory=list)
    away: bool = False
    live: bool = False
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    def keep(self) -> None:
        self.raws = list(self.world.log._order)

    async def audited(self, cluster_id: str) -> int:
        tails = await self.tails("outcomes", 0, 0) or {}
        return tails[cluster_id].seq if cluster_id in tails else 0

    async def tails(self, topic: str, partition: int, since: int) -> Mapping[str, Witnessed] | None:
        self.asked.append((topic, partition, since))
        if self.away:
            return None
        found = {}
        for raw in self.world.log._order if self.live else self.raws:
            if (raw.topic, raw.partition) == (topic, partition) and raw.offset >= since:
                decoded = decode(raw.value)
                found[decoded.event.cluster_id] = Witnessed(
                    decoded.head.seq, sha256(decoded.body), raw.offset, sha256(raw.value or b"")
                )
        return found


async def claimed_and_lost(world: World) -> str:
    """Approved, claimed, a call intended, and nobody has answered yet; then all that `execute` knows of it is lost.
    Returns the place of the last lost event."""
    witness = world.witness = Kept(world)
    ask = await world.asks("evict_store_leaders", **EVICT)
    world.approve(ask)
    await world.kill_after("remediations", e.ExecutionAuthorized)
    await world.kill_after("execute", e.StepIntended)
    witness.keep()
    last = world.log.records["outcomes", 0][-1].offset
    lose(world, "outcomes", offset_of(world, e.Claimed))
    return f"outcomes/0@{last}"


def test_what_the_audit_alone_still_knows_is_not_done_again() -> None:
    async def spec(world: World) -> None:
        last = await claimed_and_lost(world)
        writes = list(world.writes())
        world.start("execute")
        refused = await world.until(lambda: world.one(e.ClaimRefused))
        assert refused.code == "controls_unreadable"
        rejected = world.found(e.InputRejected, "outcomes")
        said = {r.cluster_id: r.text for r in rejected}
        assert {r.code for r in rejected} == {"ledger_lost_events"}
        assert set(said) == {CLUSTER}
        assert f"at {last}, and the ledger ends at seq 0" in said[CLUSTER]
        assert world.writes() == writes

    live(spec, intruder=True, **SMALL)


def test_without_a_witness_it_would_be_done_again() -> None:
    """That the loss above shows nowhere else."""

    async def spec(world: World) -> None:
        await claimed_and_lost(world)
        world.witness = None
        world.start("remediations", "execute")
        assert (await world.concluded()).outcome == "succeeded"

    live(spec, intruder=True, **SMALL)


def test_execution_does_not_wait_for_an_audit_that_is_away() -> None:
    async def spec(world: World) -> None:
        world.witness = Kept(world, away=True)
        world.approve(await world.asks("evict_store_leaders", **EVICT))
        assert (await world.closed()).code == "succeeded"
        assert ADD in world.applied()
        assert {topic for topic, _, _ in world.witness.asked} == {"remediations", "outcomes"}

    live(spec, **SMALL)


def test_an_audit_that_is_behind_stops_nobody() -> None:
    async def spec(world: World) -> None:
        witness = world.witness = Kept(world)
        world.approve(await world.asks("evict_store_leaders", **EVICT))
        await world.until(lambda: world.one(e.Claimed))
        witness.keep()
        await world.kill_after("execute", e.StepIntended)
        world.start("execute")
        assert (await world.closed()).code == "succeeded"
        assert not world.found(e.InputRejected)

    live(spec, **SMALL)


def test_what_a_person_has_lifted_is_not_said_again() -> None:
    async def spec(world: World) -> None:
        last = await claimed_and_lost(world)
        world.start("execute")
        await world.until(lambda: world.one(e.ClaimRefused))
        world.lift_input(last, CLUSTER)
        await world.kill("execute")
        world.start("execute")
        await world.passes(10)
        books = world.owners["execute"][0].books
        assert not books.controls_of(CLUSTER, await world.controls.read()).poisoned
        assert len(world.found(e.InputRejected, "outcomes")) == 1

    live(spec, intruder=True, **SMALL)


def test_what_stops_the_ordering_ledger_stops_who_obeys_at_once() -> None:
    """The order was lost with what it came of, and has been given again; nobody waits for the lost one to come."""

    async def spec(world: World) -> None:
        witness = world.witness = Kept(world)
        world.approve(await world.asks("evict_store_leaders", **EVICT))
        await world.kill("execute")
        await world.kill_after("remediations", e.ExecutionAuthorized)
        witness.keep()
        lost = offset_of(world, e.ApprovalCounted)
        lose(world, "remediations", lost)
        world.start("remediations", "execute")
        rejected = await world.until(lambda: world.one(e.InputRejected))
        assert rejected.code == "ledger_lost_events"
        began_s = world.now_s()
        await world.until(lambda: world.found(e.InputRejected, "outcomes"))
        assert world.now_s() - began_s < 5
        await world.passes(60)
        assert not world.found(e.Claimed)
        assert not world.writes()

    live(spec, intruder=True, **SMALL)


HIGH_ON_RECORD = {**ACTING_POLICY, "limits": {**ACTING_POLICY["limits"], "audit_within_s": 60}}


async def asks_high(world: World) -> None:
    ask = await world.asks("offline_store", HIGH_ON_RECORD, store_id=4)
    assert ask.tier == "HIGH"
    for person in ("anna", "bo"):
        world.approve(ask, person)


def test_high_begins_once_its_claim_is_in_the_audit() -> None:
    async def spec(world: World) -> None:
        witness = world.witness = Kept(world)
        await asks_high(world)
        await world.until(lambda: world.one(e.Claimed))
        await world.passes(40)
        assert not world.found(e.Looked)
        assert not world.writes()
        witness.live = True
        await world.until(lambda: world.one(e.StepTaken), 30)

    live(spec, **{**SMALL, "stores": 5})


def test_high_is_not_begun_where_the_audit_stays_behind() -> None:
    async def spec(world: World) -> None:
        world.witness = Kept(world)
        await asks_high(world)
        await world.until(lambda: world.one(e.Claimed))
        claimed_s = world.now_s()
        concluded = await world.concluded()
        assert (concluded.outcome, concluded.code) == ("not_started", "audit_behind")
        assert 60 <= world.now_s() - claimed_s < 75
        assert not world.writes()

    live(spec, **{**SMALL, "stores": 5})


def test_high_is_not_begun_where_there_is_no_audit_to_ask() -> None:
    async def spec(world: World) -> None:
        await asks_high(world)
        assert (await world.concluded()).code == "audit_behind"

    live(spec, **{**SMALL, "stores": 5})


@pytest.mark.parametrize(
    ("tells", "of"),
    [
        (lambda held: held, None),
        (lambda held: Witnessed(held.seq, b"\0" * 32, held.offset, held.sha256), "has another event there"),
        (lambda held: Witnessed(held.seq + 1, held.hash, held.offset + 1, held.sha256), "ends at seq 2"),
    ],
)
def test_a_ledger_is_compared_with_its_witness(tells: Callable[[Witnessed], Witnessed], of: str | None) -> None:
    """The same end; another event there, for the ledger has grown again since; an end that is further on."""

    async def spec(world: World) -> None:
        await world.asks("evict_store_leaders", **EVICT)
        witness = Kept(world)
        witness.keep()
        tails = await witness.tails("remediations", 0, 0) or {}
        held = tails[CLUSTER]
        books = world.folded("remediations", whole=True)
        assert books.links[CLUSTER] == Link(held.seq, held.hash) != FIRST
        fresh = world.folded("remediations", whole=True)
        again: Books[object] = Books("remediations", "remediations", 0, 1, fresh.rules)
        again.witnessed = {CLUSTER: tells(held)}
        for raw in world.log.read("remediations", 0, 0, 10**6):
            again.restore(raw)
        found = list(again.contradictions())
        assert len(found) == (of is not None)
        for key, cause, text in found:
            assert key == CLUSTER
            assert cause.topic == "remediations"
            assert str(of).replace("seq 2", f"seq {held.seq}") in text

    live(spec, **SMALL)
