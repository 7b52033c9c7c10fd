"""A process that does nothing can be asked why, and says the line."""

from __future__ import annotations

import asyncio

import structlog
from structlog.testing import capture_logs

from infra.telemetry import say_where_all_wait


async def outer() -> None:
    await inner()


async def inner() -> None:
    await asyncio.Event().wait()


async def test_each_task_is_said_down_to_the_line_that_waits() -> None:
    task = asyncio.create_task(outer(), name="stuck")
    await asyncio.sleep(0)
    with capture_logs() as said:
        say_where_all_wait()
    structlog.reset_defaults()  # what captures leaves it configured, as a process that keeps a log
    task.cancel()
    (line,) = (entry for entry in said if entry["task"] == "stuck")
    steps = [step.split(":")[0] + " " + step.split(" ")[1] for step in line["where"].split(" > ")]
    assert steps == ["test_telemetry.py outer", "test_telemetry.py inner", "locks.py wait"]
