"""Migrations of the audit table: forward only, numbered, and the ones applied are known by their hash.

For a migrator with rights of its own, at installation and upgrade. At run time nobody alters anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from infra.clickhouse.store import AuditRefused, Place, connect, judged

if TYPE_CHECKING:
    from infra.clickhouse.store import Store

DIRECTORY = Path(__file__).parent / "ddl"
_NAME = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")
_BOOK = """
CREATE TABLE IF NOT EXISTS migrations
(
    number     UInt32,
    name       String,
    sha256     String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY number
"""


@dataclass(frozen=True)
class Migration:
    """One file. Its statements may be repeated: a crash can come before the note that they were applied."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        return [s.strip() for s in re.split(r";[ \t]*(?:\n|$)", self.text) if s.strip()]


def migrations(directory: Path = DIRECTORY) -> tuple[Migration, ...]:
    """All of this build, in order, numbered from 1 without gaps."""
    found = []
    for path in sorted(directory.glob("*.sql")):
        named = _NAME.fullmatch(path.name)
        assert named, f"{path.name}: a migration is called 003_what_it_does.sql"
        found.append(Migration(int(named[1]), named[2], path.read_text()))
    assert [m.number for m in found] == list(range(1, len(found) + 1)), "migrations are numbered 001, 002, ..."
    return tuple(found)


def migrate(
    url: str,
    credentials: tuple[str, str] | None = None,
    database: str | None = None,
    directory: Path = DIRECTORY,
) -> list[str]:
    """Make the database if it is not there, and apply what is missing; returns the names of what was applied.

    Raises AuditRefused where the past is not this build's past, AuditUnreachable."""
    place = Place.parse(url, database)
    wanted = migrations(directory)
    try:
        bare = connect(place, credentials, database=None, settings={})
        bare.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(place.database)}")
        bare.close()
        client = connect(place, credentials, database=place.database, settings={})
        try:
            client.command(_BOOK)
            applied = _applied(client)
            if wrong := _differences(wanted, applied):
                raise AuditRefused(*(f"{place}: {w}" for w in wrong))
            return [_apply(client, m) for m in wanted[len(applied) :]]
        finally:
            client.close()
    except (ClickHouseError, OSError) as error:
        raise judged(error, place) from error


def unapplied(store: Store) -> list[str]:
    """What keeps this build from using the store: migrations that are missing, changed or from the future."""
    wanted = migrations()
    there = store.query(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
        {"database": store.place.database},
    )
    if not there.rows[0][0]:
        return ["no migration has been applied"]
    found = store.query("SELECT number, name, sha256 FROM migrations ORDER BY number").rows
    applied = [(int(number), str(name), str(sha)) for number, name, sha in found]
    return _differences(wanted, applied) or [
        f"migration {m.number:03} {m.name} is missing" for m in wanted[len(applied) :]
    ]


def _applied(client: Client) -> list[tuple[int, str, str]]:
    rows = client.query("SELECT number, name, sha256 FROM migrations ORDER BY number").result_rows
    return [(int(number), str(name), str(sha)) for number, name, sha in rows]


def _differences(wanted: Sequence[Migration], applied: Sequence[tuple[int, str, str]]) -> list[str]:
    wrong = []
    for index, (number, name, sha) in enumerate(applied):
        ours = wanted[index] if index < len(wanted) else None
        if ours is None:
            wrong.append(f"migration {number:03} {name} was applied by a newer build")
        elif (number, sha) != (ours.number, ours.sha256):
            wrong.append(f"migration {number:03} {name} is not the one that was applied (sha256 {sha[:12]})")
    return wrong


def _apply(client: Client, migration: Migration) -> str:
    for statement in migration.statements:
        client.command(statement)
    client.insert(
        "migrations",
        [[migration.number, migration.name, migration.sha256]],
        column_names=["number", "name", "sha256"],
        settings={"async_insert": 0},
    )
    return f"{migration.number:03} {migration.name}"


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
