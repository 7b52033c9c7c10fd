"""One history a seed: what goes wrong in it and when, how it is lived through, and what is told of it.

A history is made of a random part of all features and faults (a swarm), so that each has room to matter.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from schemas.lifecycle import State
from tests.simulation.chance import Chance
from tests.simulation.invariants import everything_ends, judge
from tests.simulation.trouble import FEATURES, Trouble, moves, states_of
from tests.simulation.world import Simulated, is_audited, is_simulated, starts_s
from tests.spec.world import CLUSTER, World, run_world

TROUBLE_S = 1_500  # so long things go wrong, at most: mostly for about as long as one remediation takes
PEACE_S = 9_000  # then nothing does, until everything has ended, at most so long
STILL_S = 300  # and this goes on twice as long
PAUSE_S = 60  # at most, between one trouble and the next


@dataclass(frozen=True)
class Happening:
    """One thing that goes wrong, and when. Each has chance of its own: without one, the others stay as they are."""

    number: int
    after_s: float  # since the one before
    name: str
    at_a_moment: bool  # waits for something to spoil
    restarts: bool  # one of the dead comes back before it

    def __str__(self) -> str:
        return f"{self.number}:{self.name}"


def planned(seed: int) -> tuple[Happening, ...]:
    """All that goes wrong in the history of this seed."""
    chance = Chance(f"{seed}/plan")
    features = chance.some_of(FEATURES, chance.between(0.2, 0.9)) or FEATURES[:1]
    ends_s, at_s, plan = 60 + TROUBLE_S * chance.share() ** 3, 0.0, list[Happening]()
    while at_s < ends_s:
        after_s = chance.between(0.1, PAUSE_S)
        plan.append(Happening(len(plan), after_s, chance.weighted(features), chance.happens(0.4), chance.happens(0.6)))
        at_s += after_s
    return tuple(plan)


@dataclass(frozen=True)
class Told:
    """What one seed has led to."""

    seed: int
    plan: tuple[Happening, ...]
    wrong: tuple[tuple[str, str], ...]  # (invariant, what)
    transitions: Counter[tuple[State | None, str]]
    events: int
    writes: int
    mark: str  # SHA-256 over all that is on the log and in the cluster's record: two runs of a seed agree
    story: str = ""


def tell(seed: int, *, only: Collection[int] | None = None, keep_story: bool = False) -> Told:
    """Live through the history of this seed, or through `only` these of its happenings, and judge it."""
    kept: list[Told] = []
    plan = tuple(one for one in planned(seed) if only is None or one.number in only)

    async def live(world: World) -> None:
        kept.append(await _lived(is_simulated(world), seed, plan, keep_story))

    run_world(live, lambda: Simulated(seed), starts_s(seed))
    return kept[0]


async def _lived(world: Simulated, seed: int, plan: Sequence[Happening], keep_story: bool) -> Told:
    trouble, chance = Trouble(world), Chance(f"{seed}/people")
    world.adopt(world.policy)
    world.start()
    going = [asyncio.ensure_future(_begin(trouble, Chance(f"{seed}/alert")))]
    if world.is_end_of_month:
        going.append(asyncio.ensure_future(trouble.table_fails(Chance(f"{seed}/month"))))
    if world.hours is not None:
        going.append(asyncio.ensure_future(trouble.agreed_to_at_a_wrong_hour(Chance(f"{seed}/wrong-hour"))))
    people = asyncio.ensure_future(_people(trouble, chance))
    number = 0
    for one in planned(seed)[: plan[-1].number + 1 if plan else 0]:
        await world.passes(one.after_s)
        if one.restarts:
            await trouble.restart()
        if one in plan[number : number + 1]:
            going.append(
                asyncio.ensure_future(trouble.happen(one.name, one.at_a_moment, Chance(f"{seed}/{one.number}")))
            )
            number += 1
    await asyncio.gather(*going)
    await _peace(trouble, Chance(f"{seed}/peace"))
    people.cancel()
    await asyncio.gather(people, return_exceptions=True)
    history = world.history()
    differ = [("EVERYTHING_ON_RECORD", text) for text in world.books_differ()] if is_audited(seed) else []
    return Told(
        seed,
        tuple(plan),
        (*judge(history), *differ),
        Counter((state, name) for _, state, name, _ in moves(history.records)),
        len(history.records),
        len(history.writes),
        world.mark(),
        world.story() if keep_story else "",
    )


async def _begin(trouble: Trouble, chance: Chance) -> None:
    await asyncio.sleep(chance.between(5, 15) if chance.happens(0.7) else chance.between(15, 200))
    await trouble.alert(chance)


async def _people(trouble: Trouble, chance: Chance) -> None:
    """They are told of what they are asked, and take their time."""
    world = trouble.world
    asked = [world.brokers.cluster.partition(("remediations", n)) for n in range(world.log.partitions)]
    while True:
        await world.brokers.change(asked, 300)
        await asyncio.sleep(chance.between(2, 30))
        await trouble.people_answer(chance)


async def _peace(trouble: Trouble, chance: Chance) -> None:
    """Faults stop, who died lives again, stops are lifted, people resolve; and everything ends within its deadlines. A
    freeze may stay: under it everything that has begun ends all the same."""
    world = trouble.world
    world.faults.clear()
    world.brokers.aborting = 0.0
    for process in world.processes:
        process.is_spared()
    world.audit()
    if world.table is not None:
        world.table.fails = 0.0
    for scope in (CLUSTER, "*"):
        world.lift(scope)
    for meant in world.meant:
        world.lift_input(meant.place)
    for store in (1, 2, 3, 4):
        world.pd.revive_store(store)
    if chance.happens(0.3):
        world.cut_heads()
    while trouble.dead:
        await trouble.restart()
    if chance.happens(0.2):
        world.freeze()
    ends_s, still = world.now_s() + PEACE_S, 0
    while world.now_s() < ends_s and still < 2:
        await world.passes(STILL_S)
        trouble.lift_inputs()
        await trouble.people_resolve(chance)
        still = still + 1 if _has_ended(world) else 0
    await world.passes(60)
    for _ in range(20):  # and what has just been said is answered
        if world.now_ms() - world.log.as_it_was()[-1].at_ms > 5_000:
            break
        await world.passes(5)


def _has_ended(world: Simulated) -> bool:
    """Nothing is open, and nobody is waited for. What is wrong with that, and what comes all the same, judges say."""
    history = world.history()
    under_way = [
        state for state in states_of(history.records).values() if state in ("running", "unknown", "authorised")
    ]
    return not under_way and not [*everything_ends(history)]
