"""The real servers, as fixtures. What this machine can't have skips its tests, and `tiers.py` says so at the end."""

import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

import hypothesis
import pytest

from infra.local import kafka as local_kafka
from tests import servers
from tests.tiers import report_from_environment

# What a test says is not how fast this machine is just now: in a fresh clone the first text drawn takes seconds.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(report_from_environment(), "tiers")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a real Kafka that all tests share: make topics under `topic_prefix`, break nothing."""
    with ExitStack() as stack:
        yield _or_skip(lambda: stack.enter_context(servers.kafka()))


@pytest.fixture
def topic_prefix() -> str:
    """For topics, groups and transactional ids on a shared broker: no two tests get the same."""
    return f"test-{secrets.token_hex(4)}."


class StartKafka(Protocol):
    def __call__(
        self, *, brokers: int = 1, users: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ) -> local_kafka.LocalKafka: ...


@pytest.fixture
def own_kafka() -> Iterator[StartKafka]:
    """Starts brokers for this test alone: to kill, pause, restart, or with users and ACLs."""
    if reason := local_kafka.missing():
        pytest.skip(reason)
    with ExitStack() as stack:

        def start(
            *, brokers: int = 1, users: Sequence[str] = (), settings: Mapping[str, str] | None = None
        ) -> local_kafka.LocalKafka:
            return stack.enter_context(local_kafka.LocalKafka(brokers=brokers, users=users, settings=settings))

        yield start


@pytest.fixture(scope="session")
def clickhouse_engine() -> Iterator[servers.ClickhouseEngine]:
    with ExitStack() as stack:
        yield _or_skip(lambda: stack.enter_context(servers.clickhouse()))


@pytest.fixture
def clickhouse(clickhouse_engine: servers.ClickhouseEngine) -> Iterator[servers.ClickhouseDatabase]:
    """An empty database of the test's own, dropped afterwards."""
    name = f"test_{secrets.token_hex(4)}"
    admin = clickhouse_engine.client()
    admin.command(f"CREATE DATABASE {name}")
    try:
        yield servers.ClickhouseDatabase(clickhouse_engine.url, name)
    finally:
        admin.command(f"DROP DATABASE {name}")
        admin.close()


class StartAlertmanager(Protocol):
    def __call__(
        self, receiver: str | Mapping[str, Any], *, bearer_token: str | None = None
    ) -> servers.Alertmanager: ...


@pytest.fixture
def alertmanager() -> Iterator[StartAlertmanager]:
    """Starts a real Alertmanager that posts to `receiver` (a webhook's URL, or a whole configuration)."""
    make = _or_skip(servers.alertmanager_program)
    with ExitStack() as stack:

        def start(receiver: str | Mapping[str, Any], *, bearer_token: str | None = None) -> servers.Alertmanager:
            made = make(receiver, bearer_token=bearer_token)
            stack.callback(made.stop)
            return made.start()

        yield start


T = TypeVar("T")


def _or_skip(get: Callable[[], T]) -> T:
    try:
        return get()
    except servers.NoServer as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[_SESSION] = session


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Faust that was cut off from its broker, as some tests do on purpose, waits for it for ever on threads of its own:
    with all said and torn down, the run does not wait for them."""
    left = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    if left and _SESSION in config.stash:
        print(f"left behind: {len(left)} threads", flush=True)
        sys.stderr.flush()
        os._exit(int(config.stash[_SESSION].exitstatus))  # as it is by now: a tier that was required may have failed it


_SESSION = pytest.StashKey[pytest.Session]()
