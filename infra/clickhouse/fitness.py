"""What makes an engine unfit for the audit, or shows that its rows were touched: each with what to do. Pure.

`unfit` is asked by the sink before it writes, and by `steward doctor`; `touched` by `steward doctor` alone: a row that
somebody has changed is no reason to stop keeping the ones that come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

PARTITIONED_BY = "toYYYYMM(appended_at)"
ORDERED_BY = "topic, partition, offset"
ANEW = "keep what is there, make the table anew with `steward audit migrate`, and let `audit` fill it from Kafka"
_REPLICATED = ("ReplicatedMergeTree", "SharedMergeTree")
_HARMLESS = re.compile(r"\(?MATERIALIZE (INDEX|PROJECTION|STATISTICS|COLUMN)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """What is wrong, and what a person does about it."""

    what: str
    do: str


@dataclass(frozen=True)
class Setting:
    """As system.settings has it for the user who asks. `least`, `most`: constraints; None: there is none."""

    value: str
    changeable: bool
    least: str | None = None
    most: str | None = None


@dataclass(frozen=True)
class Table:
    """As system.tables has it. `engine_full` ends in the table's own settings; `views` are filled by each insert."""

    engine: str
    partition_key: str
    sorting_key: str
    engine_full: str
    views: Sequence[str] = ()

    def setting(self, name: str) -> str | None:
        found = re.search(rf"\b{name} = ([^,\s]+)", self.engine_full.partition(" SETTINGS ")[2])
        return found[1] if found else None


def unfit_settings(wanted: Mapping[str, object], found: Mapping[str, Setting]) -> Iterator[Finding]:
    """Settings that each insert asks for and can't have."""
    for name, value in wanted.items():
        if name not in found:
            yield Finding(f"the setting {name} is not known here: this ClickHouse is too old", "upgrade ClickHouse")
            continue
        there = found[name]
        do = f"let this user's settings profile have {name} = {value}: `steward rbac render clickhouse`"
        if there.value == str(value):
            continue
        if not there.changeable:
            yield Finding(f"{name} is {there.value} and may not be changed; it must be {value}", do)
        elif isinstance(value, int) and not _between(value, there):
            bounds = f"{there.least or 'anything'} to {there.most or 'anything'}"
            yield Finding(f"{name} may be {bounds} only; it must be {value}", do)


def _between(value: int, there: Setting) -> bool:
    least, most = _number(there.least), _number(there.most)
    return (least is None or value >= least) and (most is None or value <= most)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def unfit_table(table: Table | None) -> Iterator[Finding]:
    """Where the table is not the one of our migrations in what exactly-once and for-ever rest on."""
    if table is None:
        yield Finding("the table events is not there", "`steward audit migrate`")
        return
    if table.engine not in ("MergeTree", *_REPLICATED):
        yield Finding(f"events is a {table.engine}: rows may be replaced or dropped; it must be a MergeTree", ANEW)
    if table.partition_key != PARTITIONED_BY:
        by = table.partition_key or "nothing"
        yield Finding(f"events is partitioned by {by}: batches are cut at the append month", ANEW)
    if table.sorting_key != ORDERED_BY:
        yield Finding(f"events is ordered by {table.sorting_key}, not by its place on the log", ANEW)
    if " TTL " in table.engine_full.partition(" SETTINGS ")[0]:
        yield Finding("events has a TTL: an audit does not forget", "ALTER TABLE events REMOVE TTL")
    if table.engine in _REPLICATED:
        yield from _unfit_window(table, "replicated_deduplication_window", unset_is_well=True)
    else:
        yield from _unfit_window(table, "non_replicated_deduplication_window", unset_is_well=False)
        for name in ("fsync_after_insert", "fsync_part_directory"):
            if table.setting(name) != "1":
                lost = "after a power cut a block can be gone under a later one that is there"
                yield Finding(f"events has no {name}: {lost}", f"ALTER TABLE events MODIFY SETTING {name} = 1")
    for view in table.views:
        text = f"the materialized view {view} is filled by each insert: where it fails, so does the audit"
        yield Finding(text, f"drop {view}, and fill what it is for by a query of its own")


def _unfit_window(table: Table, name: str, *, unset_is_well: bool) -> Iterator[Finding]:
    value = table.setting(name)
    if value == "0" or (value is None and not unset_is_well):
        text = f"events has {name} = 0: a block whose fate was unknown is kept twice when it is repeated"
        yield Finding(text, f"ALTER TABLE events MODIFY SETTING {name} = 100")


@dataclass(frozen=True)
class Traces:
    """What an engine shows of rows changed after they were written. `rows`: in its parts, counted before `seen`, what
    the asking user is shown of them. `mutations`: (id, command)."""

    rows: int
    seen: int
    mutations: Sequence[tuple[str, str]] = ()
    masked_parts: int = 0
    patches: int = 0


MUTATIONS_NAMED = 5


def touched(traces: Traces) -> Iterator[Finding]:
    """An audit is written once: whatever has changed or hidden a row since is named."""
    verify = "`steward audit verify` names what is no longer as written; ask who did it"
    changing = [(name, command) for name, command in traces.mutations if not _HARMLESS.match(command)]
    for name, command in changing[:MUTATIONS_NAMED]:
        yield Finding(f"events was changed by the mutation {name}: {' '.join(command.split())[:200]}", verify)
    if more := changing[MUTATIONS_NAMED:]:
        yield Finding(f"events was changed by {len(more)} more mutations", verify)
    if traces.masked_parts:
        yield Finding(f"rows of {traces.masked_parts} parts of events are marked as deleted", verify)
    if traces.patches:
        yield Finding(f"events has {traces.patches} parts that patch rows of others", verify)
    if traces.seen < traces.rows and not traces.masked_parts:
        text = f"of {traces.rows} rows of events this user is shown {traces.seen}: a row policy or a filter hides them"
        yield Finding(text, "SHOW ROW POLICIES ON events; and look for additional_table_filters in its profile")
