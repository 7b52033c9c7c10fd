"""One process of Steward: the roles it runs side by side, and how they end.

A role that fails takes its process with it, unacknowledged and uncommitted; the supervisor starts it anew. SIGTERM
parks what is open and exits 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from infra.telemetry import say_where_all_wait

STOP_WAIT_S = 12.0
GONE_WITHIN_S = 5.0
_log = structlog.get_logger()


@dataclass
class Role:
    """`run` lasts until `stop` has been called, or fails."""

    name: str
    run: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


@dataclass
class Process:
    roles: list[Role] = field(default_factory=list)
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)  # clients, the last opened first
    background: list[Callable[[], Awaitable[None]]] = field(default_factory=list)  # as roles, but cut off at the end
    on_up: Callable[[str, bool], None] = lambda role, up: None

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Until SIGTERM, SIGINT or `stop`; raises what the first role that failed has raised."""
        stop = stop or asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, say_where_all_wait)
        tasks: dict[asyncio.Future[Any], str] = {asyncio.ensure_future(r.run()): r.name for r in self.roles}
        for work in self.background:
            tasks[asyncio.ensure_future(work())] = getattr(work, "__qualname__", "background")
        for role in self.roles:
            self.on_up(role.name, True)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                error = task.exception() if not task.cancelled() else None
                _log.error("a role has ended", role=tasks[task], error=repr(error))
                raise error or RuntimeError(f"{tasks[task]} has ended by itself")
        finally:
            stopping.cancel()
            await self._wind_up(list(tasks))

    async def _wind_up(self, tasks: list[asyncio.Future[Any]]) -> None:
        for role in self.roles:
            self.on_up(role.name, False)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(STOP_WAIT_S):
                    await role.stop()
        for task in tasks[len(self.roles) :]:
            task.cancel()
        running = [t for t in tasks if not t.done()]
        if running:
            await asyncio.wait(running, timeout=STOP_WAIT_S)
        for task in running:
            task.cancel()
        for close in reversed(self.closing):
            with contextlib.suppress(Exception):
                await close()


def is_gone_within(seconds: float, code: int) -> None:
    """Nothing of ours is in flight any more. A client's thread that hangs (a broker that has left, a close that waits
    for an answer) must not keep the process, and with it a rolling restart: where each thread is goes to stderr, and
    that is the end."""

    def end() -> None:
        faulthandler.dump_traceback()  # of every thread, on stderr
        os._exit(code)

    last = threading.Timer(seconds, end)
    last.daemon = True
    last.start()
