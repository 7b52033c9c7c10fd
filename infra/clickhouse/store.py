"""The audit store: one table, written block by block, read by questions. A server over HTTP, or chDB in this process.

Connects when it is first used, so that a sink can start while ClickHouse is away. Readers have a client of their own,
which can't write: chDB runs whatever stands behind a semicolon.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, NotSupportedError, ProgrammingError

from infra.clickhouse.fitness import Finding, Setting, Table, Traces, touched, unfit_settings, unfit_table
from infra.clickhouse.migrations import unapplied
from infra.clickhouse.reading import READER_SETTINGS
from infra.clickhouse.rows import COLUMNS, NAMES, Row

INSERT_S_MAX = 60  # what the server may take for one block
MARGIN_S = 5.0
DATABASE = "steward"

# One block, one part, or an error: what is not so would leave a half-written batch behind a kill.
INSERT_SETTINGS: Mapping[str, Any] = {
    "async_insert": 0,  # 1 by default nowadays: acknowledged before it is kept
    # Of replicated and distributed tables; others take no notice. Acknowledged means: on most replicas of its shard.
    "insert_quorum": "auto",
    "insert_quorum_parallel": 0,  # else select_sequential_consistency promises nothing
    "insert_quorum_timeout": INSERT_S_MAX * 1000,
    "distributed_foreground_insert": 1,
    "max_partitions_per_insert_block": 1,
    "throw_on_max_partitions_per_insert_block": 1,
    "min_insert_block_size_rows": 10_000_000,  # the client sends pieces of 2 MB; the engine joins them into one block
    "min_insert_block_size_bytes": 1 << 34,
    "max_execution_time": INSERT_S_MAX,
    "timeout_overflow_mode": "throw",  # `break` would end a block that takes too long in its middle, and call it done
    "insert_deduplicate": 1,  # a block of unknown fate is repeated
}
_NEVER_SENT = (ProgrammingError, DataError, NotSupportedError)
# Time-outs, network, aborted, cancelled, too few replicas for a quorum or no word from them, keeper.
_FATE_UNKNOWN = frozenset({159, 209, 210, 236, 285, 286, 319, 394, 999})


class AuditUnreachable(Exception):
    """ClickHouse gave no answer, or none that says how it ended. Repeat the identical block later."""


class AuditRefused(Exception):
    """ClickHouse said no, or is not what the guarantees need; lists everything that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Result:
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class Place:
    """Where the engine is. `path`: chDB in this process, else `url` without the database."""

    database: str
    url: str = ""
    path: str = ""

    @classmethod
    def parse(cls, url: str, database: str | None = None) -> Place:
        """`http(s)://HOST:PORT/DATABASE`, or `chdb:PATH` (also `chdb://PATH`)."""
        if url.startswith("chdb:"):
            path = url.removeprefix("chdb:")
            path = "/" + path.lstrip("/") if path.startswith("//") else path
            return cls(database or DATABASE, path=path)
        parts = urlsplit(url)
        server = parts._replace(path="", query="", fragment="").geturl()
        return cls(database or parts.path.strip("/") or DATABASE, url=server)

    @property
    def embedded(self) -> bool:
        return bool(self.path)

    def __str__(self) -> str:
        host = urlsplit(self.url).netloc.rpartition("@")[2] if self.url else self.path
        return f"{host}/{self.database}"


def connect(
    place: Place, credentials: tuple[str, str] | None, *, database: str | None, settings: Mapping[str, Any]
) -> Client:
    """A client of the engine. Raises AuditUnreachable or AuditRefused."""
    try:
        if place.embedded:
            Path(place.path).mkdir(parents=True, exist_ok=True)
            return clickhouse_connect.get_client(
                interface="chdb", path=place.path, database=database, settings=dict(settings), tz_mode="aware"
            )
        parts = urlsplit(place.url)
        user, password = credentials or (parts.username or "default", parts.password or "")
        return clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=user,
            password=password,
            database=database,
            settings=dict(settings),
            tz_mode="aware",
            autogenerate_session_id=False,  # a session takes one query at a time
            connect_timeout=10,
            send_receive_timeout=INSERT_S_MAX + 10,
        )
    except ImportError as error:
        raise AuditRefused("chDB is not installed: it comes with the extra `embedded`") from error
    except (ClickHouseError, OSError) as error:
        if place.embedded:
            raise AuditUnreachable(f"{judged(error, place)}; chDB is one process's: has another opened it?") from error
        raise judged(error, place) from error


def judged(error: Exception, place: object) -> Exception:
    """What a client error means for the caller."""
    text = f"{place}: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
    code = getattr(error, "code", None)
    if code is None:  # a gateway's page, or nothing at all, unless our own client would not even send it
        return AuditRefused(text) if isinstance(error, _NEVER_SENT) else AuditUnreachable(text)
    return AuditUnreachable(text) if code in _FATE_UNKNOWN else AuditRefused(text)


class Store:
    """Calls block; run them on a thread. Any may raise AuditUnreachable or AuditRefused."""

    def __init__(self, place: Place, credentials: tuple[str, str] | None = None) -> None:
        self.place = place
        self._credentials = credentials
        self._clients: dict[str, Client] = {}
        self._opening = threading.Lock()

    @property
    def insert_ends_within_s(self) -> float:
        """An insert begun by a predecessor has ended after so long. Of chDB nobody else has one under way."""
        return 0.0 if self.place.embedded else INSERT_S_MAX + MARGIN_S

    # writing

    def insert(self, batch: Sequence[Row]) -> None:
        """All of it or nothing, as one block. The batch must be of one append month."""
        if not batch:
            return
        client = self._client("write")
        try:
            client.insert(
                "events",
                list(zip(*batch, strict=True)),
                column_names=NAMES,
                column_type_names=[c.type for c in COLUMNS],
                column_oriented=True,
                settings=dict(INSERT_SETTINGS),
            )
        except (ClickHouseError, OSError) as error:
            raise self._judged(error) from error

    def positions(self) -> dict[tuple[str, int], int]:
        """Where each partition goes on: max(offset) + 1 of what is kept."""
        sql = (
            "SELECT topic, partition, max(offset) + 1 FROM events GROUP BY topic, partition"
            " SETTINGS select_sequential_consistency = 1, skip_unavailable_shards = 0"
        )
        return {(topic, partition): int(start) for topic, partition, start in self._select(sql, {}, "write").rows}

    # reading

    def query(self, sql: str, params: Mapping[str, Any] | None = None, readonly: bool = True) -> Result:
        """Rows of one statement; `{name:Type}` in it is bound by the server. Times are aware, in UTC."""
        return self._select(sql, params or {}, "read" if readonly else "write")

    def stream(self, sql: str, params: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """The same, block by block, for what does not fit. On a client of its own, which is busy until the end."""
        client = self._client("stream")
        try:
            with client.query_row_block_stream(
                sql, parameters=dict(params or {}), column_formats={"raw": "bytes"}
            ) as blocks:
                for block in blocks:
                    yield from (tuple(row) for row in block)
        except (ClickHouseError, OSError) as error:
            raise self._judged(error) from error

    def _select(self, sql: str, params: Mapping[str, Any], role: str) -> Result:
        client = self._client(role)
        try:
            found = client.query(sql, parameters=dict(params), column_formats={"raw": "bytes"})
        except (ClickHouseError, OSError) as error:
            raise self._judged(error) from error
        return Result(tuple(found.column_names), [tuple(row) for row in found.result_rows])

    # looking after itself

    def check_settings(self) -> None:
        """Refuses an engine that would break the guarantees. Raises AuditRefused with everything that is wrong."""
        if wrong := self.unfit():
            raise AuditRefused(*(f"{self.place}: {finding.what}" for finding in wrong))

    def unfit(self) -> list[Finding]:
        """What keeps a sink from writing here, each with what to do: migrations, the table, this user's settings."""
        missing = [Finding(m, "`steward audit migrate`") for m in unapplied(self.query, self.place.database)]
        return [
            *(missing or unfit_table(self._table())),
            *unfit_settings(INSERT_SETTINGS, self.settings(list(INSERT_SETTINGS))),
        ]

    def granted(self) -> list[str]:
        """What this user may do, roles included, in the words of the engine."""
        return [str(line) for (line,) in self.query("SHOW GRANTS FINAL").rows]

    def settings(self, names: Sequence[str]) -> dict[str, Setting]:
        """As they are for this user at login."""
        rows = self._select(
            "SELECT name, value, readonly = 0, min, max FROM system.settings WHERE name IN {names:Array(String)}",
            {"names": list(names)},
            "write",
        ).rows
        return {name: Setting(value, bool(free), least, most) for name, value, free, least, most in rows}

    def is_there(self) -> bool:
        """Is there a table to look at? For this user's eyes."""
        sql = "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'events'"
        return bool(self.query(sql, {"database": self.place.database}).rows[0][0])

    def touched(self) -> list[Finding]:
        """What shows that rows were changed or hidden after they were written, for the eyes of this user."""
        of_events = "WHERE database = {database:String} AND table = 'events'"
        database = {"database": self.place.database}
        parts = self.query(
            "SELECT sumIf(rows, NOT startsWith(name, 'patch-')), countIf(has_lightweight_delete = 1),"
            f" countIf(startsWith(name, 'patch-')) FROM system.parts {of_events} AND active",
            database,
        ).rows[0]
        (seen,) = self.query("SELECT count() FROM events").rows[0]
        mutations = self.query(f"SELECT mutation_id, command FROM system.mutations {of_events}", database).rows
        named = sorted((str(name), str(command)) for name, command in mutations)
        return list(touched(Traces(int(parts[0]), int(seen), named, int(parts[1]), int(parts[2]))))

    def _table(self) -> Table | None:
        found = self._select(
            "SELECT engine, partition_key, sorting_key, engine_full,"
            " arrayMap((d, t) -> concat(d, '.', t), dependencies_database, dependencies_table) FROM system.tables"
            " WHERE database = {database:String} AND name = 'events'",
            {"database": self.place.database},
            "write",
        ).rows
        return Table(*found[0]) if found else None

    def close(self) -> None:
        with self._opening:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, role: str) -> Client:
        with self._opening:
            if role not in self._clients:
                self._clients[role] = self._opened(readonly=role != "write")
            return self._clients[role]

    def _opened(self, readonly: bool) -> Client:
        if self.place.embedded:
            client = connect(self.place, None, database=self.place.database, settings={})
            for name, value in READER_SETTINGS.items():
                client.command(f"SET {name} = {value}")
            if readonly:
                client.command("SET readonly = 1")  # for good: nothing can set it back
            return client
        client = connect(self.place, self._credentials, database=self.place.database, settings={})
        for name, value in changes(self.place, client.server_settings).items():
            client.set_client_setting(name, value)
        already = client.server_settings.get("readonly")
        if readonly and (already is None or str(already.value) == "0"):
            client.set_client_setting("readonly", 1)
        return client

    def _judged(self, error: Exception) -> Exception:
        return judged(error, self.place)


def changes(place: Place, found: Mapping[str, Any]) -> dict[str, int]:
    """Which of READER_SETTINGS have to be set on a server whose settings these are: each with its `value`, and
    `readonly` where the user may not change it. Raises AuditRefused where one has to be set and can't be."""
    wrong = {n: v for n, v in READER_SETTINGS.items() if n in found and str(found[n].value) != str(v)}
    fixed = [
        f"{place}: {name} is {found[name].value} and this user may not change it: answers may miss rows; put"
        f" {name} = {value} into its settings profile"
        for name, value in wrong.items()
        if found[name].readonly
    ]
    if fixed:
        raise AuditRefused(*fixed)
    return wrong


def open_store(url: str, credentials: tuple[str, str] | None = None, database: str | None = None) -> Store:
    """The store at `http(s)://HOST:PORT/DATABASE` or `chdb:PATH`. Nothing is connected yet."""
    return Store(Place.parse(url, database), credentials)
