"""Production's protocol of its own logs, over a broker that has lost acknowledged records; what is asked of it stands
in tests/spec/test_lost_events.py."""

from __future__ import annotations

import asyncio

from infra.runners.books import admit
from schemas import events as e
from tests.simulation.chance import Chance
from tests.simulation.trouble import Trouble
from tests.simulation.world import Simulated, is_simulated
from tests.spec.world import World, run_world

SEED = 0  # nobody audits it, and the audit would stop here too


def test_a_successor_finds_in_its_inputs_what_its_ledger_has_lost() -> None:
    async def spec(world: World) -> None:
        simulated = is_simulated(world)
        simulated.adopt()
        simulated.start()
        await Trouble(simulated).alert(Chance("alert"))
        ask = await world.until(lambda: world.one(e.ApprovalAsked))
        for person in ("anna", "bo"):
            world.approve(ask, person)
        await world.until(lambda: world.one(e.StepIntended))
        await world.until(lambda: world.one(e.ExecutionStarted))
        for instance in simulated.instances_with("execute"):
            simulated.away.add(instance)
            simulated.kill_instance(instance)
        await asyncio.sleep(20)
        claimed = next(r for r in simulated.log.all() if isinstance(r.event, e.Claimed))
        place, writes = (claimed.topic, claimed.partition), world.writes()
        simulated.brokers.cluster.lose_tail(place, claimed.offset)
        for instance in simulated.instances_with("execute"):
            simulated.away.discard(instance)
            simulated.start_instance(instance)
        await asyncio.sleep(60)
        there = [admit(raw, simulated.log.partitions).event for raw in simulated.log.read(*place, claimed.offset)]
        (rejected,) = [x for x in there if isinstance(x, e.InputRejected)]
        assert rejected.code == "ledger_lost_events"
        assert f"it came of outcomes/{place[1]}@{claimed.offset}" in rejected.text
        assert [x.outcome for x in there if isinstance(x, e.Concluded)] == ["not_started"]
        assert world.writes() == writes
        assert set(simulated.ends) == {"NotSafe"}  # who has read what is lost says so, and starts again

    run_world(spec, lambda: Simulated(SEED))
