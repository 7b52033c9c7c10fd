"""An HTTP server as a role of a process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

from infra.process import Role


def http_role(name: str, app: Any, listen: str) -> Role:
    """An HTTP server in this loop. It leaves signals to the process."""
    host, _, port = listen.rpartition(":")

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = Server(
        uvicorn.Config(app, host=host, port=int(port), log_level="warning", log_config=None, lifespan="off")
    )

    async def stop() -> None:
        server.should_exit = True

    return Role(name, server.serve, stop)
