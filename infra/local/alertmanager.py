"""A real Prometheus Alertmanager on loopback, posting to a webhook of ours.

with LocalAlertmanager("http://127.0.0.1:8080/alerts") as alertmanager:
    alertmanager.post([alert("TiKV_server_is_down", {"env": "prod-eu-7"})])
"""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from infra.local.process import LOOPBACK, DidNotStart, NotAvailable, ServerProcess, free_port

# Debian's name for it, then its own.
_NAMES = ("prometheus-alertmanager", "alertmanager")


def missing() -> str | None:
    """Why a LocalAlertmanager can't start on this machine, or None."""
    return None if _program() else f"none of {', '.join(_NAMES)} is on PATH"


def alert(
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    *,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> dict[str, Any]:
    """One alert as Prometheus posts it. Without `ends_at` it fires until the configuration's resolve_timeout."""
    posted: dict[str, Any] = {"labels": {"alertname": name, **labels}, "annotations": dict(annotations or {})}
    if starts_at is not None:
        posted["startsAt"] = starts_at.isoformat()
    if ends_at is not None:
        posted["endsAt"] = ends_at.isoformat()
    return posted


def post_alerts(url: str, alerts: Sequence[Mapping[str, Any]]) -> None:
    """To any Alertmanager's API v2; httpx.HTTPStatusError if it refuses."""
    httpx.post(f"{url}/api/v2/alerts", json=list(alerts), timeout=10, trust_env=False).raise_for_status()


def webhook_config(
    webhook_url: str, *, bearer_token: str | None = None, group_by: Sequence[str] = ("alertname",)
) -> dict[str, Any]:
    """One route to one webhook, hurried: a test should wait for the gateway, not for Alertmanager."""
    webhook: dict[str, Any] = {"url": webhook_url, "send_resolved": True}
    if bearer_token is not None:
        webhook["http_config"] = {"authorization": {"type": "Bearer", "credentials": bearer_token}}
    return {
        "route": {
            "receiver": "steward",
            "group_by": list(group_by),
            "group_wait": "100ms",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "steward", "webhook_configs": [webhook]}],
    }


class LocalAlertmanager:
    """`receiver` is the URL to post to, or a whole configuration. Use as a context manager, or start() and stop()."""

    def __init__(self, receiver: str | Mapping[str, Any], *, bearer_token: str | None = None) -> None:
        self._config = (
            webhook_config(receiver, bearer_token=bearer_token) if isinstance(receiver, str) else dict(receiver)
        )
        self._port = free_port()
        self._directory: Path | None = None
        self._server: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        assert self._server is not None, "not started"
        return self._server.pid

    def start(self, timeout_s: float = 30) -> Self:
        program = _program()
        if program is None:
            raise NotAvailable(f"none of {', '.join(_NAMES)} is on PATH")
        self._directory = Path(tempfile.mkdtemp(prefix="steward-alertmanager-"))
        config = self._directory / "alertmanager.yml"
        config.write_text(json.dumps(self._config, indent=2))  # JSON is YAML
        command = [
            program,
            f"--config.file={config}",
            f"--storage.path={self._directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self._port}",
            # Empty: no gossip. Its default listens beyond loopback.
            "--cluster.listen-address=",
        ]
        try:
            self._server = ServerProcess(command, self._directory / "alertmanager.log")
            self._wait_until_ready(timeout_s)
        except BaseException:
            self.stop()
            raise
        return self

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        post_alerts(self.url, alerts)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(timeout_s=5)
            self._server = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def log_tail(self) -> str:
        return "" if self._server is None else self._server.log_tail()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_ready(self.url):
            if self._server is None or not self._server.running or time.monotonic() > deadline:
                raise DidNotStart(f"Alertmanager at {self.url} is not ready; the end of its log:\n{self.log_tail()}")
            time.sleep(0.05)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _program() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)
