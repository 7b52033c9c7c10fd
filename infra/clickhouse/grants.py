"""Who may do what in ClickHouse: one table, and what follows from it. Pure.

`render` writes it as SQL for whoever administers the server; `beyond` and `short` hold a server's own word against it.
Whatever does not stand here is denied: nobody at run time may ALTER, DELETE, TRUNCATE, DROP, OPTIMIZE or SYSTEM.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.clickhouse.fitness import Setting
from infra.clickhouse.reading import READER_SETTINGS
from infra.clickhouse.store import INSERT_SETTINGS

HERE = "."  # of a right: the audit's own database as a whole
QUERY_S_MAX = 600  # verify reads the whole table
QUERY_BYTES_MAX = 8 << 30
WITNESS_S_MAX = 10  # who acts waits no longer than half of that
WITNESS_BYTES_MAX = 2 << 30
_PLACE = ("topic", "partition", "offset")
_BOOK = ("number", "name", "sha256")


@dataclass(frozen=True, order=True)
class Right:
    """One privilege. `on`: a table of ours, `system.NAME`, HERE, or what a `TABLE ENGINE` is named."""

    privilege: str
    on: str
    columns: tuple[str, ...] = ()  # none: all of them

    def __str__(self) -> str:
        columns = f"({', '.join(self.columns)})" if self.columns else ""
        return f"{self.privilege}{columns} ON {self.on}"


@dataclass(frozen=True)
class Account:
    """`member`: the file of its credentials. `settings`: in force at login, and nobody can set them otherwise."""

    member: str
    role: str
    what_for: str
    rights: tuple[Right, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    at_run_time: bool = True

    @property
    def login(self) -> str:
        return f"{self.role}_login"


SINK = Account(
    "audit",
    "steward_sink",
    "the role `audit`: it adds rows, and reads where to go on",
    (
        Right("INSERT", "events"),
        Right("SELECT", "events", _PLACE),
        Right("SELECT", "migrations", _BOOK),
        Right("SELECT", "system.settings"),
        Right("SELECT", "system.tables"),
    ),
    INSERT_SETTINGS,
)
AUDITOR = Account(
    "auditor",
    "steward_auditor",
    "the console (`steward audit`), and whoever asks by themselves: it reads",
    (
        Right("SELECT", "events"),
        Right("SELECT", "events_read"),
        Right("SELECT", "migrations", _BOOK),
        Right("SELECT", "system.mutations"),
        Right("SELECT", "system.parts"),
        Right("SELECT", "system.settings"),
        Right("SELECT", "system.tables"),
    ),
    {"readonly": 1, **READER_SETTINGS, "max_execution_time": QUERY_S_MAX, "max_memory_usage": QUERY_BYTES_MAX},
)
WITNESS = Account(
    "witness",
    "steward_witness",
    "`remediations` and `execute`: how far the audit holds their ledgers; may be left out",
    (
        Right("SELECT", "events", (*_PLACE, "cluster_id", "seq", "hash", "raw", "appended_at", "recorded_at")),
        Right("SELECT", "system.settings"),
    ),
    {"readonly": 1, **READER_SETTINGS, "max_execution_time": WITNESS_S_MAX, "max_memory_usage": WITNESS_BYTES_MAX},
)
MIGRATOR = Account(
    "migrator",
    "steward_migrator",
    "`steward audit migrate` alone, at installation and upgrade",
    (
        Right("CREATE DATABASE", HERE),
        Right("CREATE TABLE", HERE),
        Right("CREATE VIEW", HERE),
        Right("INSERT", "migrations"),
        Right("SELECT", "migrations", _BOOK),
        Right("SELECT", "events"),  # who makes a view has to be allowed what it shows
        Right("ALTER ADD COLUMN", "events"),  # later migrations add, and make the view anew; none takes anything away
        Right("DROP VIEW", "events_read"),
        Right("SELECT", "system.settings"),
        Right("TABLE ENGINE", "MergeTree"),
    ),
    at_run_time=False,
)
ACCOUNTS = (SINK, AUDITOR, WITNESS, MIGRATOR)


def account(member: str) -> Account:
    return next(a for a in ACCOUNTS if a.member == member)


# -- as SQL ---------------------------------------------------------------------------------------------------------


def grants_of(of: Account, database: str) -> list[str]:
    """`GRANT ... ON ...` without its TO, an object each."""
    by_object: dict[str, list[str]] = {}
    for right in of.rights:
        columns = f"({', '.join(quoted(c) for c in right.columns)})" if right.columns else ""
        by_object.setdefault(_object(right, database), []).append(f"{right.privilege}{columns}")
    return [f"GRANT {', '.join(privileges)} ON {on}" for on, privileges in by_object.items()]


def _object(right: Right, database: str) -> str:
    if right.privilege == "TABLE ENGINE":
        return quoted(right.on)
    if right.on == HERE:
        return f"{quoted(database)}.*"
    there, _, table = right.on.rpartition(".")
    return f"{quoted(there or database)}.{quoted(table)}"


def statements(database: str) -> Iterator[tuple[str, list[str]]]:
    """(a comment, what makes one account), account by account. A password's place is taken by what is no hash, so that
    the server refuses it as it stands."""
    for of in ACCOUNTS:
        made = [f"CREATE ROLE IF NOT EXISTS {of.role}"]
        made += [f"{grant} TO {of.role}" for grant in grants_of(of, database)]
        if of.settings:
            fixed = ", ".join(f"{name} = {_value(value)} CONST" for name, value in of.settings.items())
            made.append(f"CREATE SETTINGS PROFILE OR REPLACE {of.role} SETTINGS {fixed} TO {of.role}")
        hashed = f"SHA256-OF-THE-PASSWORD-OF-{of.login}"
        made.append(f"CREATE USER IF NOT EXISTS {of.login} IDENTIFIED WITH sha256_hash BY '{hashed}'")
        made.append(f"GRANT {of.role} TO {of.login}")
        yield f"{of.login}: {of.what_for}", made


def render(database: str) -> str:
    lines = [
        "-- Users, roles, rights and settings of TiKV Steward's audit, for whoever administers ClickHouse.",
        "-- Put the hash of a password of your own into each CREATE USER (printf %s PASSWORD | sha256sum): as it",
        "-- stands the server refuses it. The files of [clickhouse] credentials then say LOGIN:PASSWORD.",
        f"-- A server that does not know {', '.join(READER_SETTINGS)} does not need it: leave it out there.",
    ]
    for comment, made in statements(database):
        lines += ["", f"-- {comment}", *(f"{statement};" for statement in made)]
    lines += [
        "",
        "-- At run time nobody needs the migrator: DROP USER steward_migrator_login, or keep its file elsewhere.",
        "",
    ]
    return "\n".join(lines)


def quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else "`" + name.replace("`", "\\`") + "`"


def _value(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


# -- held against a server's word -----------------------------------------------------------------------------------

_GRANT = re.compile(
    r"(?P<verb>GRANT|REVOKE) (?P<what>.+?) ON (?P<on>.+?) (?:TO|FROM) .+?(?P<option> WITH GRANT OPTION)?"
)
_PRIVILEGE = re.compile(r"\s*([^,(]+?)\s*(?:\(([^)]*)\))?\s*(?:,|$)")


@dataclass(frozen=True)
class Held:
    """One privilege that an account has. `on`: `database.table`, either may be `*`; an engine's or a source's name."""

    privilege: str
    on: str
    columns: tuple[str, ...] = ()
    may_pass_on: bool = False

    def __str__(self) -> str:
        columns = f"({', '.join(self.columns)})" if self.columns else ""
        return f"{self.privilege}{columns} ON {self.on}{' WITH GRANT OPTION' if self.may_pass_on else ''}"


class NotUnderstood(ValueError):
    """A line of SHOW GRANTS that is none that we know: what can't be read is not taken for right."""


def held(lines: Iterable[str]) -> list[Held]:
    """What `SHOW GRANTS FINAL` says. Raises NotUnderstood."""
    found = []
    for line in lines:
        said = _GRANT.fullmatch(line)
        if said is None or said["verb"] == "REVOKE":
            raise NotUnderstood(f"not understood: {line}")
        on = said["on"].replace("`", "")
        for privilege, columns in _PRIVILEGE.findall(said["what"]):
            names = tuple(sorted(c.strip().strip("`") for c in columns.split(",") if c.strip()))
            found.append(Held(privilege, on, names, bool(said["option"])))
    return found


def beyond(of: Account, database: str, has: Sequence[Held]) -> list[str]:
    """What it may do and should not."""
    wanted = [(right, _plain(right, database)) for right in of.rights]
    return [str(h) for h in has if h.may_pass_on or not any(_within(h, right, on) for right, on in wanted)]


def short(of: Account, database: str, has: Sequence[Held]) -> list[str]:
    """What it should be able to do and may not."""
    return [
        str(Right(right.privilege, _plain(right, database), right.columns))
        for right in of.rights
        if not right.on.startswith("system.") and not _covered(right, _plain(right, database), has)
    ]


def unfixed(of: Account, settings: Mapping[str, Setting]) -> list[str]:
    """Settings that are otherwise, or that it can change."""
    found = []
    for name, wanted in of.settings.items():
        if name not in settings:
            if name in READER_SETTINGS:  # older servers need it as little as they know it
                continue
            found.append(f"{name} is not known to this server; it should be {wanted}")
            continue
        there = settings[name]
        if there.value != str(wanted):
            found.append(f"{name} is {there.value}; it should be {wanted}")
        elif there.changeable:
            found.append(f"{name} is {there.value}, and can be changed by whoever logs in")
    return found


def _plain(right: Right, database: str) -> str:
    return _object(right, database).replace("`", "")


def _within(has: Held, right: Right, on: str) -> bool:
    columns = not right.columns or (bool(has.columns) and set(has.columns) <= set(right.columns))
    return has.privilege == right.privilege and has.on == on and columns


def _covered(right: Right, on: str, has: Sequence[Held]) -> bool:
    allows = [h for h in has if _is_in(right.privilege, h.privilege) and _reaches(h.on, on)]
    if any(not h.columns for h in allows):
        return True
    return bool(right.columns) and set(right.columns) <= {c for h in allows for c in h.columns}


def _is_in(privilege: str, group: str) -> bool:
    """`CREATE` and `ALL` are groups: `CREATE TABLE` is in both."""
    return group == "ALL" or privilege == group or privilege.startswith(f"{group} ")


def _reaches(pattern: str, on: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), on) is not None
