"""Deterministic histories: `make sim LOG=kafka SEED=7 HISTORIES=1000`, `make sim PLANT=skip-fence`.

Exit 0: no history broke an invariant (with a plant: it was caught); 1: one did, and is named with the commands that
replay it (with a plant: it was not caught).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

import structlog
from rich.console import Console
from rich.table import Table

from schemas.lifecycle import TRANSITIONS
from tests.simulation.over_kafka.histories import Told, tell
from tests.simulation.over_kafka.plants import PLANTS

EXAMPLE = """example:
  python -m tests.simulation.over_kafka --seed 7 --histories 1000    histories 7 to 1006, on all cores
  python -m tests.simulation.over_kafka --seed 7 --histories 1 --story    one, told event by event
  python -m tests.simulation.over_kafka --plant skip-fence    until it is caught, at most 20,000 histories"""
PLANTED_MAX = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.over_kafka",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first history")
    parser.add_argument("--histories", type=int, metavar="N", help="how many (1000; with a plant at most 20,000)")
    parser.add_argument("--plant", choices=[*PLANTS, "all"], metavar="NAME", help=", ".join((*PLANTS, "all")))
    parser.add_argument("--story", action="store_true", help="tell each event")
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the story tells it all
    console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 140)
    if given.plant:
        return _plants(given, console)
    return _histories(given, console)


def _histories(given: argparse.Namespace, console: Console) -> int:
    count = given.histories or 1000
    began_s, broken = time.monotonic(), list[Told]()
    taken: Counter[object] = Counter()
    happened: Counter[str] = Counter()
    events = 0
    for number, told in enumerate(_told(given.seed, count, "", given.story), 1):
        taken.update(told.transitions)
        happened.update(told.happened)
        events += told.events
        if given.story:
            print(told.story)
        if told.wrong:
            broken.append(told)
            _name(told, console)
        if number % 100 == 0 or number == count:
            spent_s = time.monotonic() - began_s
            console.print(f"{number:,}/{count:,} histories, {events:,} events, {spent_s:.0f} s, {len(broken)} broken")
    missing = [row for row in TRANSITIONS if not taken[row]]
    console.print("what went wrong: " + ", ".join(f"{name} {n:,}" for name, n in happened.most_common()))
    console.print(f"lifecycle: {len(TRANSITIONS) - len(missing)} of {len(TRANSITIONS)} transitions taken")
    if missing:
        console.print("never taken: " + ", ".join(f"{state or 'nothing'} + {event}" for state, event in missing))
    print(f"{count - len(broken)} of {count} histories broke nothing")
    return 1 if broken else 0


def _plants(given: argparse.Namespace, console: Console) -> int:
    names = list(PLANTS) if given.plant == "all" else [given.plant]
    table = Table(title="Planted bugs")
    for column in ("plant", "histories until caught", "by"):
        table.add_column(column)
    missed = 0
    for name in names:
        most = given.histories or PLANTED_MAX
        caught = next((told for told in _told(given.seed, most, name, False) if told.wrong), None)
        if caught is not None:
            invariant, what = caught.wrong[0]
            table.add_row(name, f"{caught.seed - given.seed + 1:,}", f"{invariant}: {what} (seed {caught.seed})")
            console.print(f"{name}: caught after {caught.seed - given.seed + 1:,}")
        else:
            missed += 1
            table.add_row(name, f"not in {most:,}", "nothing")
            console.print(f"{name}: NOT CAUGHT in {most:,}")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 1 if missed else 0


def _name(told: Told, console: Console) -> None:
    for invariant, what in told.wrong[:5]:
        console.print(f"seed {told.seed}: {invariant}: {what}", markup=False)
    console.print(f"  replay: make sim LOG=kafka SEED={told.seed} HISTORIES=1", markup=False)


def _told(first: int, count: int, plant: str, story: bool) -> Iterator[Told]:
    """The histories in order, told on all cores."""
    asked = ((seed, plant, story) for seed in range(first, first + count))
    if count == 1:
        yield from map(_one, asked)
        return
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        yield from pool.imap(_one, asked, chunksize=4)


def _one(asked: tuple[int, str, bool]) -> Told:
    seed, plant, story = asked
    warnings.simplefilter("ignore")
    with PLANTS[plant]() if plant else contextlib.nullcontext():
        try:
            return tell(seed, keep_story=story)
        except Exception as error:  # a role that ends by itself: in no history may that happen
            ended = f"{type(error).__name__}: {error}"
            return Told(seed, (), (("A ROLE ENDED", ended[:300]),), Counter(), Counter(), 0, 0, "")


if __name__ == "__main__":
    sys.exit(main())
