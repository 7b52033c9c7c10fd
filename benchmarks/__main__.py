"""Ratios to the raw client on the same real Kafka in one run, and a table. Absolute figures mean nothing."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from benchmarks.clusters import run_clusters, run_idle
from benchmarks.lanes import run_lanes, run_turns
from benchmarks.latency import run_latency
from benchmarks.questions import run_questions
from benchmarks.restart import run_restart
from benchmarks.rows import Broker, Row, Say, Size
from benchmarks.sink import run_sink
from benchmarks.start import run_help
from benchmarks.storm import run_restore, run_storm
from infra.garbage import look_seldom
from infra.local.kafka import LocalKafka
from infra.local.process import DidNotStart, NotAvailable

ROWS: dict[str, Callable[[Broker, Size, Say], Row | list[Row]]] = {
    "storm": run_storm,
    "latency": run_latency,
    "lanes": run_lanes,
    "turns": run_turns,
    "restore": run_restore,
    "restart": run_restart,
    "clusters": run_clusters,
    "idle": run_idle,
    "help": run_help,
    "sink": run_sink,
    "questions": run_questions,
}
EXAMPLE = """example:
  python -m benchmarks --rows storm --rows lanes      two rows, on a Kafka of their own
  python -m benchmarks --quick --json > bench.json    all rows, small: shows that they run, not how fast they are

On a broker of KAFKA_BOOTSTRAP_SERVERS where that is set, else on one started from Kafka's jars for this run. Run it on
a quiet machine: a row is judged by the median of its repetitions, and their spread stands in the table."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", action="append", choices=tuple(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="small, once: not to be judged by")
    parser.add_argument("--json", action="store_true", help="the rows as JSON on stdout, everything else on stderr")
    given = parser.parse_args(arguments)
    progress = Console(stderr=True, highlight=False)
    look_seldom()  # as production does; raw clients have it too
    try:
        with kafka() as bootstrap:
            broker = Broker({"bootstrap.servers": bootstrap, "log_level": 2}, f"bench-{secrets.token_hex(3)}.")
            rows: list[Row] = []
            for name in given.rows or ROWS:
                progress.print(f"{name} ...")
                found = ROWS[name](broker, Size(given.quick), progress.print)
                rows += found if isinstance(found, list) else [found]
    except (DidNotStart, NotAvailable) as error:
        progress.print(str(error))
        return 3
    if given.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    show(rows, Console(stderr=given.json, width=None if sys.stdout.isatty() else 160), given.quick)
    return 0


@contextmanager
def kafka() -> Iterator[str]:
    if there := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield there
    else:
        with LocalKafka() as broker:
            yield broker.bootstrap


def show(rows: Sequence[Row], console: Console, quick: bool) -> None:
    title = "Ours against the raw client, one run" + (", --quick: not to be judged by" if quick else "")
    table = Table(title=title, show_lines=True)
    table.add_column("row")
    table.add_column("measured", ratio=1)
    for name in ("raw", "ours", "ratio", "aim", "met"):
        table.add_column(name, justify="right")
    for row in rows:
        each = f"\n{min(row.ratios):.2f}-{max(row.ratios):.2f}" if len(row.ratios) > 1 else ""
        aim = "-" if row.aim is None else f"{'>=' if row.better == 'higher' else '<='} {row.aim:g}"
        met = {None: "-", True: "yes", False: "NO"}[row.met]
        measured = f"{row.measured}. {row.note}" if row.note else row.measured
        figures = (f"{_figure(row.raw)}\n{row.unit}", f"{_figure(row.ours)}\n{row.unit}", f"{row.ratio:.2f}{each}")
        table.add_row(row.name, measured, *figures, aim, met)
    console.print(table)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
