"""The real servers in Docker, for machines with a daemon: each published on loopback only, removed at the end.

Testcontainers is imported when it is used: it costs every run, and most machines have no daemon.
"""

import functools
import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx

from infra.local import alertmanager as local_alertmanager
from infra.local.process import LOOPBACK, DidNotStart, free_port

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

KAFKA_IMAGE = "apache/kafka:4.3.1"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.3"
ALERTMANAGER_IMAGE = "prom/alertmanager:v0.28.1"

_START_TIMEOUT_S = 120


@functools.cache
def missing() -> str | None:
    """Why no container can be started here, or None. Asks the daemon once a run, for a few seconds at most."""
    docker = shutil.which("docker")
    if docker is None:
        return "docker is not installed"
    try:
        done = subprocess.run([docker, "info"], capture_output=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return "no Docker daemon answers within 5 s"
    return None if done.returncode == 0 else "no Docker daemon answers"


@contextmanager
def kafka() -> Iterator[str]:
    """Bootstrap servers of a single KRaft broker."""
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(KAFKA_IMAGE)
    port = _publish(container, 9092)
    single = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": "CLIENT://:9092,INSIDE://:19092,CONTROLLER://:9093",
        "advertised.listeners": f"CLIENT://{LOOPBACK}:{port},INSIDE://localhost:19092",
        "inter.broker.listener.name": "INSIDE",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.min.isr": "1",
        **{f"{topic}.replication.factor": "1" for topic in single},
    }
    for key, value in settings.items():
        container.with_env(f"KAFKA_{key.upper().replace('.', '_')}", value)
    with container:
        _wait_for_log(container, "Kafka Server started")
        yield f"{LOOPBACK}:{port}"


@contextmanager
def clickhouse() -> Iterator[str]:
    """The URL of a server, with its user and password in it."""
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(CLICKHOUSE_IMAGE)
    port = _publish(container, 8123)
    password = secrets.token_hex(16)
    container.with_env("CLICKHOUSE_USER", "steward").with_env("CLICKHOUSE_PASSWORD", password)
    container.with_env("CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT", "1")
    with container:
        _wait_until(container, lambda: _answers(f"http://{LOOPBACK}:{port}/ping"))
        yield f"http://steward:{password}@{LOOPBACK}:{port}"


class ContainerAlertmanager:
    """As infra.local.alertmanager.LocalAlertmanager. On the host's network: it has to reach a webhook on loopback."""

    def __init__(self, receiver: str | Mapping[str, Any], *, bearer_token: str | None = None) -> None:
        from testcontainers.core.container import DockerContainer

        config = (
            local_alertmanager.webhook_config(receiver, bearer_token=bearer_token)
            if isinstance(receiver, str)
            else receiver
        )
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        self._directory = tempfile.TemporaryDirectory(prefix="steward-alertmanager-")
        path = Path(self._directory.name)
        path.chmod(0o755)  # the image runs as nobody
        (path / "alertmanager.yml").write_text(json.dumps(config))
        self._container = DockerContainer(ALERTMANAGER_IMAGE).with_kwargs(network_mode="host")
        self._container.with_volume_mapping(self._directory.name, "/etc/steward", "ro")
        self._container.with_command(
            [
                "--config.file=/etc/steward/alertmanager.yml",
                "--storage.path=/tmp/data",
                f"--web.listen-address={LOOPBACK}:{port}",
                "--cluster.listen-address=",
            ]
        )

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        local_alertmanager.post_alerts(self.url, alerts)

    def start(self) -> "ContainerAlertmanager":
        self._container.start()
        _wait_until(self._container, lambda: local_alertmanager.is_ready(self.url))
        return self

    def stop(self) -> None:
        self._container.stop()
        self._directory.cleanup()


def _publish(container: "DockerContainer", inside: int) -> int:
    """On loopback: left to itself, Docker publishes on every address of the machine."""
    outside = free_port()
    container.ports[f"{inside}/tcp"] = cast(Any, (LOOPBACK, outside))
    return outside


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _wait_for_log(container: "DockerContainer", line: str) -> None:
    _wait_until(container, lambda: line in b"".join(container.get_logs()).decode(errors="replace"))


def _wait_until(container: "DockerContainer", ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            raise DidNotStart(f"{container.image} did not start:\n{b''.join(container.get_logs()).decode()[-3000:]}")
        time.sleep(0.2)
