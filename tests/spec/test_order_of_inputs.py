"""A broker keeps no order between topics: an input is decided after its own cause, whichever is read first."""

from __future__ import annotations

from infra.runners.books import Books, Draft, Raw
from infra.runners.memory import MemoryOwnLog
from infra.runners.owner import EARLY_S_MAX
from schemas import events as e
from schemas.chain import identified
from schemas.controls import Controls
from schemas.topics import partition_of
from schemas.values import Cause
from schemas.wire import frame
from streams.pipeline import Processor
from streams.remediations import Acting, Remediations, Settings
from tests.spec.test_bad_input import refused
from tests.spec.test_execution_recovery import EVICT
from tests.spec.test_the_main_job import ADD, REMOVE, slow_store
from tests.spec.world import CLUSTER, SMALL, World, live


class Backwards(World):
    """Every owner reads its topics in the reverse order of the page."""

    def own_log(self, line: Processor, partition: int) -> MemoryOwnLog:
        log = super().own_log(line, partition)
        log.inputs = tuple(reversed(log.inputs))
        return log


def ignored(world: World, topic: str) -> list[str]:
    """Why inputs of this topic were ignored."""
    return [i.code for event in world.found(e.InputIgnored) for i in event.inputs if i.cause.topic == topic]


def test_a_validation_that_is_read_before_its_proposal_waits_for_it() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start("validate")
        world.proposes("evict_store_leaders", **EVICT)
        await world.until(lambda: world.one(e.ProposalValidated))
        world.start("remediations")

        ask = await world.until(lambda: world.one(e.ApprovalAsked), 10)
        assert ask.remediation_id == "R-1"
        assert ignored(world, "validations") == []

    live(spec, Backwards, **SMALL)


def test_the_main_job_is_done_whatever_order_topics_are_read_in() -> None:
    async def spec(world: World) -> None:
        await slow_store(world)
        world.approve(await world.until(lambda: world.one(e.ApprovalAsked), 60))
        closed = await world.until(lambda: world.one(e.RemediationClosed), 3600)
        assert closed.code == "succeeded"
        assert world.writes() == [ADD, REMOVE]
        await world.until(lambda: (t := world.one(e.TicketWritten)) is not None and t.status == "FIXED, UNDONE")

    live(spec, Backwards)


def of_cause(offset: int, cause: Cause) -> Raw:
    made = identified(f"validate/{offset}", refused("R-404"), cause, 0)
    value = frame(type(made.event), made.body)
    return Raw("validations", partition_of(CLUSTER, 1), offset, 1000, CLUSTER.encode(), value)


def draft() -> Draft[Acting]:
    return Books("remediations", "remediations", 0, 1, Remediations(Settings("test", {}))).draft(Controls(live=True))


def test_only_a_cause_that_is_still_to_be_read_here_is_waited_for() -> None:
    assert not draft().take(of_cause(0, Cause(topic="proposals", offset=7)), may_wait=True)
    assert draft().take(of_cause(0, Cause(topic="proposals", offset=7)))
    for never in (
        Cause(topic="tick"),
        Cause(topic="signals", offset=7),
        Cause(topic="remediations", offset=7),
        Cause(topic="proposals", partition=1, offset=7),
    ):
        assert draft().take(of_cause(0, never), may_wait=True)
    read = draft()
    read.positions["proposals"] = 8
    assert read.take(of_cause(0, Cause(topic="proposals", offset=7)), may_wait=True)


def test_what_waits_is_not_answered_yet_so_that_a_restart_reads_it_again() -> None:
    made = draft()
    made.take(of_cause(0, Cause(topic="proposals", offset=7)), may_wait=True)
    made.seal()
    assert (made.stamped, made.dead, made.positions) == ([], [], {})


def test_a_cause_that_is_never_read_stops_its_topic_for_a_while_and_no_other() -> None:
    async def spec(world: World) -> None:
        world.adopt()
        world.start("remediations")
        await world.passes(1)
        liar = identified("validate/0", refused("R-404"), Cause(topic="proposals", offset=404), world.now_ms())
        world.log.write("validations", liar)
        began_s = world.now_s()
        world.start("validate")
        world.proposes("evict_store_leaders", **EVICT)
        await world.until(lambda: world.one(e.RemediationOpened), 5)
        assert world.now_s() - began_s < EARLY_S_MAX / 2

        await world.until(lambda: world.one(e.ApprovalAsked), EARLY_S_MAX + 5)
        assert world.now_s() - began_s >= EARLY_S_MAX
        assert ignored(world, "validations") == ["changes_nothing"]

    live(spec, **SMALL)
