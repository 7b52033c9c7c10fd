"""Real roles in this process, for the time of one measurement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from infra.runners.kafka import KafkaControls, KafkaSettings
from infra.runners.roles import OwnerRole
from schemas.processors import Decides
from streams.pipeline import Processor


@dataclass
class Counted:
    """What one role has committed so far."""

    role: OwnerRole
    task: asyncio.Task[None]
    events: int = 0
    inputs: int = 0
    commits: int = 0


class Running:
    """Started roles over one set of topics; leaving stops them."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.controls = KafkaControls(settings)
        self.roles: list[Counted] = []
        self._moved = asyncio.Event()

    async def __aenter__(self) -> Running:
        await self.controls.read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for counted in self.roles:
            await counted.role.stop()
        await asyncio.gather(*(c.task for c in self.roles), return_exceptions=True)
        await asyncio.to_thread(self.controls.close)

    async def start(self, line: Processor, rules: Decides[Any]) -> Counted:
        """Returns once it owns every partition and has restored it."""

        def committed(role: str, events: int, inputs: int) -> None:
            counted.events += events
            counted.inputs += inputs
            counted.commits += 1
            self._moved.set()

        role = OwnerRole(line, rules, self.settings, self.controls, name="bench", build="bench", on_commit=committed)
        counted = Counted(role, asyncio.ensure_future(role.run()))
        self.roles.append(counted)
        await self.until(
            lambda: len(role.owners) == self.settings.partitions and all(o.ready.is_set() for o in role.owners.values())
        )
        return counted

    async def until(self, found: Callable[[], bool], within_s: float = 120) -> None:
        """Looks at each commit, and now and then; a role that has failed ends the measurement."""
        async with asyncio.timeout(within_s):
            while not found():
                for counted in self.roles:
                    if counted.task.done():
                        counted.task.result()
                self._moved.clear()
                try:
                    async with asyncio.timeout(0.02):
                        await self._moved.wait()
                except TimeoutError:
                    continue
