"""The audit's tables as SQL to be run by hand: on one server, replicated, or sharded. Pure; from the migrations' text.

For whoever runs a cluster of servers and makes its tables themselves. What differs between the variants is here, and
nothing else: columns, order, indexes and the reading view are those of `ddl/`.

Sharded, a partition of a topic lives on one shard whole (`SHARDING`): there its part of a block is one insert, all or
nothing, so max(offset) + 1 is where that partition goes on, as on one server. A row that was inserted twice lies on one
shard too, so each shard drops it by itself (`events_read_local`), and filters reach its indexes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.clickhouse.migrations import BOOK, Migration

SHARDING = "cityHash64(topic, partition)"
_LOCAL = "_local"
_TABLES = ("events", "events_read")
# ClickHouse may be away for days before an insert of unknown fate is repeated: it must know the block again.
_WINDOW = "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"
_HEADS = re.compile(
    r"(CREATE TABLE IF NOT EXISTS|CREATE VIEW IF NOT EXISTS|CREATE OR REPLACE VIEW|ALTER TABLE) ([a-z_]+)(?=\s)"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLUSTER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class CantRender(ValueError):
    """A variant that makes no sense, or a name that can't be one; says which and why."""


@dataclass(frozen=True)
class Variant:
    """`cluster`: as in the servers' `remote_servers`; empty: each statement is run on every server by hand. Sharded is
    replicated too: a shard of one replica is a shard all the same."""

    database: str
    replicated: bool = False
    sharded: bool = False
    cluster: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.database):
            raise CantRender(f"database: {self.database!r} is no plain name")
        if self.cluster and not _CLUSTER_NAME.fullmatch(self.cluster):
            raise CantRender(f"cluster: {self.cluster!r} is no plain name")
        if self.sharded and not self.cluster:
            raise CantRender("cluster: a sharded table is spread over a cluster of servers, which has to be named")

    @property
    def on_cluster(self) -> str:
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def engine(self, table: str, path: str, replica: str = "{replica}") -> str:
        if not (self.replicated or self.sharded):
            return "MergeTree"
        return f"ReplicatedMergeTree('/clickhouse/tables/{path}/{self.database}/{table}', '{replica}')"

    def named(self, table: str) -> str:
        """Where a statement of the migrations goes: sharded, to the part of the table that a server itself has."""
        local = _LOCAL if self.sharded and table in _TABLES else ""
        return f"{self.database}.{table}{local}"


def rendered(migrations: Sequence[Migration], variant: Variant) -> list[str]:
    """Statements, in the order in which they are to be run; each may be repeated. Raises CantRender."""
    made = [f"CREATE DATABASE IF NOT EXISTS {variant.database}{variant.on_cluster}"]
    # One book for all servers: `migrate` and the sink read it wherever they are connected.
    book = variant.engine("migrations", "all", "{shard}-{replica}")
    made.append(_placed(BOOK.strip(), variant).replace("ENGINE = MergeTree", f"ENGINE = {book}"))
    for migration in migrations:
        made += [_statement(text, variant) for text in migration.statements]
    if variant.sharded:
        made += _spread(variant)
    return [*made, *(_noted(migration, variant) for migration in migrations)]


def as_text(statements: Sequence[str]) -> str:
    return "".join(f"{statement};\n\n" for statement in statements).rstrip("\n")


def _statement(text: str, variant: Variant) -> str:
    text = _placed(text, variant)
    if "ENGINE = MergeTree" in text and (variant.replicated or variant.sharded):
        engine = variant.engine("events", "{shard}")
        text = text.replace("ENGINE = MergeTree", f"ENGINE = {engine}")
        text, windows = re.subn(r"non_replicated_deduplication_window = \d+", _WINDOW, text)
        if windows != 1:
            raise CantRender("a table that drops no repeated block, or says so twice")
    return text


def _placed(text: str, variant: Variant) -> str:
    """With the database before every name, and the cluster behind what is made or altered."""
    text, heads = _HEADS.subn(lambda m: f"{m[1]} {variant.named(m[2])}{variant.on_cluster}", text, count=1)
    if heads != 1:
        raise CantRender(f"a statement of a kind that is not known here: {text[:80]!r}")
    return re.sub(r"(?m)^FROM ([a-z_]+)$", lambda m: f"FROM {variant.named(m[1])}", text)


def _spread(variant: Variant) -> Iterator[str]:
    """What the sink and the questions name: it holds nothing, so it may be made anew with every column there is now."""
    for table, key in (("events", f", {SHARDING}"), ("events_read", "")):  # nothing is written to the latter
        local = variant.named(table)
        yield (
            f"CREATE OR REPLACE TABLE {variant.database}.{table}{variant.on_cluster} AS {local}\n"
            f"ENGINE = Distributed(`{variant.cluster}`, {variant.database}, {table}{_LOCAL}{key})"
        )


def _noted(migration: Migration, variant: Variant) -> str:
    """So that the sink finds its own past, by the hash of the source. Once, however often it is run."""
    values = f"{migration.number}, '{migration.name}', '{migration.sha256}'"
    book = f"{variant.database}.migrations"
    return (
        f"INSERT INTO {book} (number, name, sha256)\n"
        f"SELECT {values} WHERE {migration.number} NOT IN (SELECT number FROM {book})"
    )
