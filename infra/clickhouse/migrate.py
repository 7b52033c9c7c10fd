"""Migrations of the audit table: forward only, numbered, and the ones applied are known by their hash.

For a migrator with rights of its own, at installation and upgrade. At run time nobody alters anything.
"""

from __future__ import annotations

from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from infra.clickhouse.migrations import BOOK, DIRECTORY, Migration, differences, migrations
from infra.clickhouse.store import AuditRefused, Place, connect, judged


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
            client.command(BOOK)
            applied = _applied(client)
            if wrong := differences(wanted, applied):
                raise AuditRefused(*(f"{place}: {w}" for w in wrong))
            return [_apply(client, m) for m in wanted[len(applied) :]]
        finally:
            client.close()
    except (ClickHouseError, OSError) as error:
        raise judged(error, place) from error


def _applied(client: Client) -> list[tuple[int, str, str]]:
    rows = client.query("SELECT number, name, sha256 FROM migrations ORDER BY number").result_rows
    return [(int(number), str(name), str(sha)) for number, name, sha in rows]


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
