"""Which migrations this build knows, and which of them an audit store lacks. Those applied are known by their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "ddl"
BOOK = """
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
_NAME = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")


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


def unapplied(query: Callable[..., Any], database: str) -> list[str]:
    """What keeps this build from using the store behind `query`: migrations missing, changed or from the future."""
    wanted = migrations()
    there = query(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
        {"database": database},
    )
    if not there.rows[0][0]:
        return ["no migration has been applied"]
    found = query("SELECT number, name, sha256 FROM migrations ORDER BY number").rows
    applied = [(int(number), str(name), str(sha)) for number, name, sha in found]
    return differences(wanted, applied) or [
        f"migration {m.number:03} {m.name} is missing" for m in wanted[len(applied) :]
    ]


def differences(wanted: Sequence[Migration], applied: Sequence[tuple[int, str, str]]) -> list[str]:
    """Where the past is not this build's past."""
    wrong = []
    for index, (number, name, sha) in enumerate(applied):
        ours = wanted[index] if index < len(wanted) else None
        if ours is None:
            wrong.append(f"migration {number:03} {name} was applied by a newer build")
        elif (number, sha) != (ours.number, ours.sha256):
            wrong.append(f"migration {number:03} {name} is not the one that was applied (sha256 {sha[:12]})")
    return wrong
