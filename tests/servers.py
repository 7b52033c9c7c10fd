"""Where the tests' real servers come from, in order of preference, or the reason why there is none."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlparse

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from infra.local import alertmanager as local_alertmanager
from infra.local import kafka as local_kafka
from tests import containers


class NoServer(Exception):
    """None of the ways to a real server is open on this machine; the message says what each lacks."""


class Alertmanager(Protocol):
    """What a test may do with one, wherever it runs."""

    @property
    def url(self) -> str: ...

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None: ...


@contextmanager
def kafka() -> Iterator[str]:
    """Bootstrap servers: the given ones, else a container's, else the jars'."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield given
    elif (no_docker := containers.missing()) is None:
        with containers.kafka() as bootstrap:
            yield bootstrap
    elif (no_jars := local_kafka.missing()) is None:
        with local_kafka.LocalKafka() as broker:
            yield broker.bootstrap
    else:
        raise NoServer(f"KAFKA_BOOTSTRAP_SERVERS is not set, {no_docker}, {no_jars}")


@dataclass(frozen=True)
class ClickhouseEngine:
    """A server's URL, or `chdb://PATH`: the engine in this process."""

    url: str

    def client(self, database: str | None = None) -> Client:
        return connect(self.url, database)


@dataclass(frozen=True)
class ClickhouseDatabase:
    """A database of one test's own, in the engine at `url`."""

    url: str
    name: str

    def client(self) -> Client:
        return connect(self.url, self.name)


def connect(url: str, database: str | None = None) -> Client:
    """By clickhouse-connect, which takes a DSN's scheme as http unless told otherwise."""
    scheme = urlparse(url).scheme
    return clickhouse_connect.get_client(dsn=url, database=database, interface=scheme)


@contextmanager
def clickhouse() -> Iterator[ClickhouseEngine]:
    """The given server, else a container's, else chDB in a directory of its own: one engine a process, so one a run."""
    if given := os.environ.get("CLICKHOUSE_URL"):
        yield ClickhouseEngine(given)
    elif (no_docker := containers.missing()) is None:
        with containers.clickhouse() as url:
            yield ClickhouseEngine(url)
    elif (no_chdb := _chdb_missing()) is None:
        directory = tempfile.mkdtemp(prefix="steward-chdb-")
        try:
            yield ClickhouseEngine(f"chdb://{directory}")
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    else:
        raise NoServer(f"CLICKHOUSE_URL is not set, {no_docker}, {no_chdb}")


def alertmanager_program() -> Callable[..., local_alertmanager.LocalAlertmanager | containers.ContainerAlertmanager]:
    """What makes one: from PATH (Debian's package, or its own), else in a container."""
    if (not_on_path := local_alertmanager.missing()) is None:
        return local_alertmanager.LocalAlertmanager
    if (no_docker := containers.missing()) is None:
        return containers.ContainerAlertmanager
    raise NoServer(f"{not_on_path}, {no_docker}")


def _chdb_missing() -> str | None:
    try:
        import chdb  # noqa: F401
    except ImportError:
        return "chdb is not installed (the extra `embedded`)"
    return None
