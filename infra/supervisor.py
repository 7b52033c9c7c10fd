"""`steward up`: one child a kind of work, restarted when it fails, so that what acts can die without what observes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

QUIET_S = 30.0  # a child that ran for so long starts anew at once
BACKOFF_S_MAX = 30.0
RETRY_S = 60.0
STOP_WAIT_S = 30.0
SUPERVISED_BY = "STEWARD_SUPERVISED_BY"  # in a child's environment: the pid of its supervisor
WRONG_CONFIGURATION = 2
_PR_SET_PDEATHSIG = 1
_log = structlog.get_logger()


def end_with_supervisor(environment: Mapping[str, str]) -> None:
    """In a child: however its supervisor ends, this process is told to stop, and never meets its own successor.

    The kernel does it on Linux alone; elsewhere fencing by Kafka is what keeps two of a kind apart.
    """
    supervisor = environment.get(SUPERVISED_BY, "")
    if not supervisor.isdigit() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(supervisor):  # it has ended before we could ask
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Child:
    """`steward run ROLE...` as a process of its own."""

    name: str
    roles: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    failures: int = 0
    not_before_s: float = 0.0
    has_run: bool = False  # for long enough to show that the configuration was good once


class Supervisor:
    """Runs in the foreground until SIGTERM or SIGINT. A child that exits for wrong configuration (2) is not
    restarted."""

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = (sys.executable, "-m", "console.cli"),
        on_tick: Callable[[], str | None] = lambda: None,
        quiet_s: float = QUIET_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self.children = [Child(name, roles) for name, roles in groups.items() if roles]
        self._arguments, self._command = list(arguments), list(command)
        self._environment = {**environment, SUPERVISED_BY: str(os.getpid())}
        self._on_tick, self._quiet_s, self._retry_s = on_tick, quiet_s, retry_s
        self._stopping = threading.Event()

    def run(self) -> int:
        """0 after a stop that was asked for, 2 where no child can do with this configuration, 1 where `on_tick` says
        why not to go on. All of it is logged."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        try:
            while not self._stopping.is_set():
                if why := self._on_tick():
                    _log.error("stopping", reason=why)
                    return 1
                for child in self.children:
                    self._look_after(child)
                if all(c.process is None and c.not_before_s == float("inf") for c in self.children):
                    return WRONG_CONFIGURATION
                self._stopping.wait(0.2)
            return 0
        finally:
            self._stop_all()

    def _look_after(self, child: Child) -> None:
        now_s = time.monotonic()
        if child.process is None:
            if now_s >= child.not_before_s:
                command = [*self._command, *self._arguments, "run", *child.roles]
                try:
                    child.process = subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL)
                except OSError as error:  # no room for one more process: the others go on
                    child.failures += 1
                    self._again_later(child, now_s, str(error))
                    return
                child.started_s = now_s
                _log.info("started", child=child.name, pid=child.process.pid, roles=list(child.roles))
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        child.has_run = child.has_run or now_s - child.started_s > self._quiet_s
        if code == WRONG_CONFIGURATION and child.has_run:  # a secret that is being rotated, say: what is owed is owed
            _log.error("wrong configuration; tried again", child=child.name, in_s=self._retry_s)
            child.not_before_s = now_s + self._retry_s
            return
        if code == WRONG_CONFIGURATION:
            _log.error("wrong configuration; not started again", child=child.name)
            child.not_before_s = float("inf")
            return
        child.failures = 1 if now_s - child.started_s > self._quiet_s else child.failures + 1
        self._again_later(child, now_s, f"exit code {code}")

    @staticmethod
    def _again_later(child: Child, now_s: float, why: str) -> None:
        wait_s = min(BACKOFF_S_MAX, 0.5 * 2 ** min(child.failures, 10))
        child.not_before_s = now_s + wait_s
        _log.warning("ended; starting it again", child=child.name, why=why, in_s=round(wait_s, 1))

    def _stop_all(self) -> None:
        """The acting ones first, by their own pid; those that do not leave in time are killed."""
        going = [c for c in reversed(self.children) if c.process is not None and c.process.poll() is None]
        for child in going:
            assert child.process is not None
            child.process.send_signal(signal.SIGTERM)
        give_up_s = time.monotonic() + STOP_WAIT_S
        for child in going:
            assert child.process is not None
            try:
                child.process.wait(max(0.1, give_up_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("killed: it did not stop in time", child=child.name)
                child.process.kill()
                child.process.wait()
