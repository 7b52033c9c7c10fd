"""Deterministic histories: `make sim SEED=7 HISTORIES=1000`, `make sim PLANT=freeze-blocks-an-undo`.

Exit 0: no history broke an invariant (with a plant: it was caught); 1: one did, and is named with the commands that
replay and shrink it (with a plant: it was not caught), or not all were told.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import logging
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from schemas.lifecycle import TRANSITIONS
from tests.simulation.histories import Happening, Told, planned, tell
from tests.simulation.plants import PLANTS

EXAMPLE = """example:
  python -m tests.simulation --seed 7 --histories 1000    histories 7 to 1006, on all cores
  python -m tests.simulation --seed 7 --histories 1 --story    one, told event by event
  python -m tests.simulation --seed 7 --shrink                 the least of it that still goes wrong
  python -m tests.simulation --seed 7 --only 3,12              of all that goes wrong in it, these
  python -m tests.simulation --plant freeze-blocks-an-undo     until it is caught, at most 20,000 histories"""
PLANTED_MAX = 20_000
GARBAGE = (200_000, 10, 10)  # a history makes about so much: each is collected once or twice
ROOT = Path(__file__).resolve().parents[2]
VENV = ".venv"
ALL_ROWS_WITHIN = 1_000  # histories: then each row of the lifecycle table must have been taken


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first history")
    parser.add_argument("--histories", type=int, metavar="N", help="how many (1000; with a plant at most 20,000)")
    parser.add_argument("--plant", type=_plant, metavar="NAME", help=", ".join((*PLANTS, "all")))
    parser.add_argument("--story", action="store_true", help="tell each event")
    parser.add_argument("--shrink", action="store_true", help="leave out of the first history what it can do without")
    parser.add_argument(
        "--only", type=_numbers, metavar="N,N", help="of the first history, only these of its happenings ('': none)"
    )
    given = parser.parse_args(arguments)
    if given.plant and given.plant not in (*PLANTS, "all"):
        parser.error(f"--plant: there is no {given.plant}; there are {', '.join(PLANTS)}")
    with _quiet():
        return _asked(given)


def _asked(given: argparse.Namespace) -> int:
    console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 140)
    if given.shrink:
        return _shrunk(given, console)
    if given.only is not None:
        return _replayed(given, console)
    if given.plant:
        return _plants(given, console)
    return _histories(given, console)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The story tells it all; a log of it would only be slow. So would be looking for garbage all the time, among
    modules and schemas that stay."""
    before, thresholds = structlog.get_config(), gc.get_threshold()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        structlog.configure(**before)


def _plant(text: str) -> str:
    """With or without its hyphens: is it `mayhaverun`, or `may-have-run`?"""
    names = {name.replace("-", ""): name for name in (*PLANTS, "all")}
    return names.get(text.replace("-", "").lower(), text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _replayed(given: argparse.Namespace, console: Console) -> int:
    """One history, and of all that goes wrong in it only what was asked for."""
    told = _one(Asked(given.seed, "" if given.plant in (None, "all") else given.plant, given.story, given.only))
    if given.story:
        print(told.story)
    _name(told, console)
    print(f"{len(told.wrong)} things are wrong with {_happenings(told)}")
    return 1 if told.wrong else 0


def _shrunk(given: argparse.Namespace, console: Console) -> int:
    """The history without each kind of happening, then shorter, then without each single one: what still fails stays
    out."""
    plant = "" if given.plant in (None, "all") else given.plant
    least = _one(Asked(given.seed, plant))
    if not least.wrong:
        print(f"seed {given.seed}: nothing is wrong")
        return 0
    broken = {invariant for invariant, _ in least.wrong}

    def tried(kept: Sequence[Happening]) -> bool:
        nonlocal least
        told = _one(Asked(given.seed, plant, False, tuple(one.number for one in kept)))
        fails = bool(broken & {invariant for invariant, _ in told.wrong})
        if fails:
            least = told
        return fails

    for name in dict.fromkeys(one.name for one in planned(given.seed)):
        tried([one for one in least.plan if one.name != name])
    while len(least.plan) > 1 and tried(least.plan[: len(least.plan) // 2]):
        pass
    tried(())
    for left_out in reversed(least.plan):
        tried([one for one in least.plan if one != left_out])
    for invariant, what in least.wrong[:5]:
        console.print(f"{invariant}: {what}", markup=False)
    print(f"of {len(planned(given.seed))} happenings these are enough: {_happenings(least)}")
    only = ",".join(str(one.number) for one in least.plan)
    print(f"  replay: python -m tests.simulation --seed {given.seed} --only '{only}'{_planted(plant)} --story")
    return 1


def _happenings(told: Told) -> str:
    return ", ".join(map(str, told.plan)) or "nothing that goes wrong"


def _planted(plant: str) -> str:
    return f" --plant {plant}" if plant else ""


def _histories(given: argparse.Namespace, console: Console) -> int:
    count = given.histories or 1000
    began_s, broken = time.monotonic(), list[Told]()
    taken: Counter[object] = Counter()
    happened: Counter[str] = Counter()
    events = number = 0
    for number, told in enumerate(_until_interrupted(_told(given.seed, count, "", given.story)), 1):
        taken.update(told.transitions)
        happened.update(one.name for one in told.plan)
        events += told.events
        if given.story:
            print(told.story)
        if told.wrong:
            broken.append(told)
            _name(told, console)
        if number % 100 == 0 or number == count:
            spent_s = time.monotonic() - began_s
            console.print(f"{number:,}/{count:,} histories, {events:,} events, {spent_s:.0f} s, {len(broken)} broken")
    if number < count:
        console.print(f"interrupted; go on with --seed {given.seed + number} --histories {count - number}")
    missing = [row for row in TRANSITIONS if not taken[row]]
    console.print(f"sources: {_version()}")
    console.print("what went wrong: " + ", ".join(f"{name} {n:,}" for name, n in happened.most_common()))
    console.print(f"lifecycle: {len(TRANSITIONS) - len(missing)} of {len(TRANSITIONS)} transitions taken")
    if missing:
        console.print("never taken: " + ", ".join(f"{state or 'nothing'} + {event}" for state, event in missing))
    print(f"{number - len(broken)} of {number} histories broke nothing")
    return 1 if broken or number < count or (missing and count >= ALL_ROWS_WITHIN) else 0


def _until_interrupted(histories: Iterator[Told]) -> Iterator[Told]:
    """What was told before Ctrl-C or a SIGTERM is judged all the same."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield from histories
    finally:
        signal.signal(signal.SIGTERM, before)


def _version() -> str:
    """SHA-256 over all that histories run, the same on every machine: runs of equal sources add up."""
    tell(0)  # loads what is loaded late
    files = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
    places = {Path(file) for file in files if file and VENV not in Path(file).parts}
    ours = {place.relative_to(ROOT): place for place in places if place.is_relative_to(ROOT)}
    found = hashlib.sha256()
    for name in sorted(ours):
        found.update(f"{name}\0{ours[name].read_text()}\0".encode())
    return found.hexdigest()


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
    if told.wrong:
        console.print(f"  replay: make sim SEED={told.seed} HISTORIES=1", markup=False)
        console.print(f"  shrink: make sim SEED={told.seed} SHRINK=1", markup=False)


@dataclass(frozen=True)
class Asked:
    seed: int
    plant: str = ""
    story: bool = False
    only: tuple[int, ...] | None = None


def _told(first: int, count: int, plant: str, story: bool) -> Iterator[Told]:
    """The histories in order, told on all cores that this process may use."""
    asked = (Asked(seed, plant, story) for seed in range(first, first + count))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count == 1 or cores == 1:
        yield from map(_one, asked)
        return
    with multiprocessing.get_context("fork").Pool(cores, _is_a_worker) as pool:
        yield from pool.imap(_one, asked, chunksize=4)


def _is_a_worker() -> None:
    """Ctrl-C is for who asked; a SIGTERM is what ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _one(asked: Asked) -> Told:
    warnings.simplefilter("ignore")
    with PLANTS[asked.plant]() if asked.plant else contextlib.nullcontext():
        try:
            return tell(asked.seed, only=asked.only, keep_story=asked.story)
        except Exception as error:  # a role that ends by itself: in no history may that happen
            plan = tuple(one for one in planned(asked.seed) if asked.only is None or one.number in asked.only)
            ended = f"{type(error).__name__}: {error}"
            return Told(asked.seed, plan, (("A ROLE ENDED", ended[:300]),), Counter(), 0, 0, "")


if __name__ == "__main__":
    sys.exit(main())
