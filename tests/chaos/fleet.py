"""Steward as real processes, a role in each and two of each, that are killed and started again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from infra.local.process import ServerProcess
from streams.pipeline import ACT, OBSERVE
from tests.integration.stack import COMMAND, Running, Stack

EDGES = ("gateway", "console", "audit")  # in one process: they listen, and hold the audit's file
ROLES = tuple(line.role for line in (*OBSERVE, *ACT))
COPIES = 2
ANYWHERE = {f"STEWARD_METRICS__{name}": "127.0.0.1:0" for name in ("OBSERVE", "ACT", "EXECUTE")}

Name = tuple[str, int]  # the role (`edges` for the edges), and which of its processes


@dataclass
class Fleet:
    stack: Stack
    living: dict[Name, Running] = field(default_factory=dict)
    paused: set[Name] = field(default_factory=set)
    starts: int = 0

    @property
    def names(self) -> tuple[Name, ...]:
        return (("edges", 1), *((role, copy) for role in ROLES for copy in range(1, COPIES + 1)))

    def keep(self) -> None:
        """Whoever is not there is started, as a supervisor does."""
        for name in self.names:
            running = self.living.get(name)
            if running is None or not running.server.running:
                self._start(name)

    def _start(self, name: Name) -> None:
        if (before := self.living.pop(name, None)) is not None:
            before.server.kill()
        self.starts += 1
        roles = EDGES if name[0] == "edges" else (name[0],)
        log = self.stack.directory / f"{name[0]}-{name[1]}.log"
        command = [*COMMAND, "--config", str(self.stack.config), "run", *roles]
        self.living[name] = Running(ServerProcess(command, log, env=self.stack.environment | ANYWHERE))
        self.paused.discard(name)

    def kill(self, name: Name) -> None:
        """kill -9; `keep` starts it again."""
        if running := self.living.get(name):
            running.server.kill()

    def term(self, name: Name) -> None:
        """SIGTERM: it parks what it is at, and goes."""
        if running := self.living.get(name):
            with contextlib.suppress(ProcessLookupError):
                running.server._process.terminate()

    def pause(self, name: Name) -> None:
        if (running := self.living.get(name)) and running.server.running:
            running.server.pause()
            self.paused.add(name)

    def go_on(self, name: Name) -> None:
        if name in self.paused and (running := self.living.get(name)):
            with contextlib.suppress(ProcessLookupError):
                running.server.resume()
            self.paused.discard(name)

    def logs(self, lines: int = 8) -> str:
        return "\n".join(f"--- {n[0]}-{n[1]}\n{r.server.log_tail(lines)}" for n, r in self.living.items())

    def stop(self) -> None:
        for name in list(self.paused):
            self.go_on(name)
        for running in self.living.values():
            running.server.kill()
        self.living.clear()
