"""The same rows in tables of several shapes: what each costs to keep, and what each question then reads.

`python -m benchmarks.shapes --rows 1000000` makes the table of docs/adr/0018; no broker, one chDB in a temporary place.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.audit import Audits, asked_of
from infra.clickhouse.migrations import migrations
from infra.clickhouse.rows import NAMES

_PLACE = "topic, partition, offset"
_KEYS = "cluster_id, incident_id, remediation_id, kind, appended_at"
# As 002 had it: the columns behind the place are no prefix of the order, so every place is kept in a hash table.
HASHED = f"ORDER BY {_PLACE}, recorded_at LIMIT 1 BY {_PLACE}, {_KEYS}"
IN_ORDER = f"ORDER BY {_PLACE}, {_KEYS}, recorded_at LIMIT 1 BY {_PLACE}, {_KEYS}"
_BY_CLUSTER = "topic, cluster_id, partition, offset"
_REST = "incident_id, remediation_id, kind, appended_at"


@dataclass(frozen=True)
class Shape:
    """`swaps`: parts of 001_events.sql, and what stands in their place."""

    view: str = IN_ORDER
    swaps: tuple[tuple[str, str], ...] = ()


SHAPES: Mapping[str, Shape] = {
    "002": Shape(HASHED),
    "003": Shape(),
    "by cluster": Shape(
        f"ORDER BY {_BY_CLUSTER}, {_REST}, recorded_at LIMIT 1 BY {_BY_CLUSTER}, {_REST}",
        ((f"ORDER BY ({_PLACE})", f"ORDER BY ({_BY_CLUSTER})"),),
    ),
    "granules of 1024": Shape(swaps=(("SETTINGS ", "SETTINGS index_granularity = 1024, "),)),
    "bloom 0.001": Shape(swaps=(("bloom_filter(0.01)", "bloom_filter(0.001)"),)),
    "no skip index": Shape(swaps=(("    INDEX ", "    -- INDEX "), ("'how the typed columns were filled',", "''"))),
    "projections": Shape(
        swaps=(
            ("    INDEX by_incident incident_id TYPE bloom_filter(0.01) GRANULARITY 1,\n", ""),
            ("    INDEX by_remediation remediation_id TYPE bloom_filter(0.01) GRANULARITY 1,\n", ""),
            (
                "TYPE minmax GRANULARITY 1\n",
                "TYPE minmax GRANULARITY 1,\n"
                "    PROJECTION of_incident (SELECT _part_offset ORDER BY incident_id),\n"
                "    PROJECTION of_remediation (SELECT _part_offset ORDER BY remediation_id)\n",
            ),
        )
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shapes", action="append", choices=tuple(SHAPES))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="steward-shapes-") as path:
        audits = Audits(path)
        stories = audits.make("source", given.rows)
        shown = [measured(audits, "source", name, stories) for name in given.shapes or SHAPES]
    show(shown)
    return 0


def measured(audits: Audits, source: str, name: str, stories: int) -> dict[str, str]:
    """Makes the shape, fills it from a table, and asks everything; each figure as text."""
    shape, database = SHAPES[name], "shape_" + "".join(c if c.isalnum() else "_" for c in name)
    text = migrations()[0].text
    for old, new in shape.swaps:
        assert old in text, old
        text = text.replace(old, new)
    for statement in (
        f"DROP DATABASE IF EXISTS {database}",
        f"CREATE DATABASE {database}",
        text.replace("EXISTS events", f"EXISTS {database}.events").strip().rstrip(";"),
        f"CREATE VIEW {database}.events_read AS SELECT * FROM {database}.events {shape.view}",
    ):
        audits.client.command(statement)
    began = time.process_time()
    columns = ", ".join(NAMES)
    audits.client.command(f"INSERT INTO {database}.events ({columns}) SELECT {columns} FROM {source}.events")
    audits.client.command(f"OPTIMIZE TABLE {database}.events FINAL")
    found = {"shape": name, "made, s CPU": f"{time.process_time() - began:.0f}"}
    size = "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = {d:String} AND table = 'events' AND active"
    found["on disk, MB"] = f"{_one(audits, size, database) / 1e6:,.0f}"
    resume = "SELECT topic, partition, max(offset) + 1 FROM events GROUP BY topic, partition"
    for question, sql, params in (("resume", resume, {}), *asked_of(audits, stories // 2)):
        began = time.process_time()
        spent = audits.ask(database, sql, params)
        cpu = time.process_time() - began
        found[question] = f"{spent.rows:,} / {spent.bytes / 1e6:,.1f} / {cpu * 1000:,.0f}"
        print(name, question, found[question], file=sys.stderr, flush=True)
    return found


def _one(audits: Audits, sql: str, database: str) -> Any:
    return audits.client.query(sql, {"d": database}).result_rows[0][0]


def show(shown: Sequence[Mapping[str, str]]) -> None:
    table = Table(title="rows read / MB read / ms CPU")
    table.add_column("")
    for found in shown:
        table.add_column(found["shape"], justify="right")
    for line in (key for key in shown[0] if key != "shape"):
        table.add_row(line, *(found[line] for found in shown))
    Console(width=220).print(table)


if __name__ == "__main__":
    sys.exit(main())
