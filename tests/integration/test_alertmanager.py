"""A real Alertmanager on loopback posts what it is given to a webhook, and opens no other port."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from infra.local.alertmanager import LocalAlertmanager, alert, is_ready
from tests.conftest import StartAlertmanager

Posted = Queue[tuple[str | None, dict[str, Any]]]


@pytest.fixture
def webhook() -> Iterator[tuple[str, Posted]]:
    """A URL that answers 200, and what was posted to it: the Authorization header and the body."""
    posted: Posted = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.put((self.headers["Authorization"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alerts", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_alert_reaches_the_webhook_as_version_4_with_the_bearer_token(
    alertmanager: StartAlertmanager, webhook: tuple[str, Posted]
) -> None:
    url, posted = webhook
    real = alertmanager(url, bearer_token="s3cret")

    real.post([alert("TiKV_server_is_down", {"env": "prod-eu-7", "instance": "10.0.4.12:20180"})])

    authorization, body = posted.get(timeout=30)
    assert authorization == "Bearer s3cret"
    assert body["version"] == "4"
    assert [one["labels"]["alertname"] for one in body["alerts"]] == ["TiKV_server_is_down"]


def test_it_starts_is_ready_and_listens_on_one_loopback_port_only(alertmanager: StartAlertmanager) -> None:
    real = alertmanager("http://127.0.0.1:9/nobody")

    assert is_ready(real.url)
    if isinstance(real, LocalAlertmanager):
        assert listening(real.pid) == {real.url.removeprefix("http://")}


def listening(pid: int) -> set[str]:
    """host:port of every TCP socket in state LISTEN that the process holds."""
    mine = {link for fd in Path(f"/proc/{pid}/fd").iterdir() if (link := str(fd.readlink())).startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in mine:
                address, port = fields[1].split(":")
                host = ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) if table == "tcp" else address
                found.add(f"{host}:{int(port, 16)}")
    return found
