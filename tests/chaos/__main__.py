"""Kills, pauses and broker faults on a real Kafka: `make chaos MINUTES=30`.

Every role is a process of its own, two of each. Exit 0: the ten invariants hold for what is left; 1: one does not.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.local import kafka
from tests.chaos.run import ACTS, CLOSED_EVERY_S, PARTITIONS, Chaos
from tests.integration.stack import stack

EXAMPLE = """example:
  python -m tests.chaos --minutes 30             at least 200 kills in half an hour
  python -m tests.chaos --minutes 5 --seed 7     the same plan again; what real clocks do with it differs"""
KILLS_A_MINUTE = 7


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=5, metavar="N", help="so long things go wrong (5)")
    parser.add_argument("--seed", type=int, metavar="N", help="the plan (another each time)")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="of three, one or two fall (1)")
    given = parser.parse_args(arguments)
    if (reason := kafka.missing()) is not None:
        print(f"there is no Kafka to be had here: {reason}")
        return 1
    seed = secrets.randbelow(10_000) if given.seed is None else given.seed
    kills = int(KILLS_A_MINUTE * given.minutes)
    print(f"seed {seed}: {given.minutes:g} min, {kills} kills at least", flush=True)
    with (
        kafka.LocalKafka(brokers=given.brokers) as broker,
        tempfile.TemporaryDirectory(prefix="chaos-") as place,
        stack(
            Path(place), broker.bootstrap, partitions=PARTITIONS, more=ACTS, close_books_every_s=CLOSED_EVERY_S
        ) as made,
    ):
        chaos = Chaos(made, seed, kills=kills, seconds=60 * given.minutes, broker=broker, say=_say)
        report = chaos.run()
    print(report.text())
    return 1 if report.wrong else 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
