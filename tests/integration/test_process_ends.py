"""A process that has parked everything is gone soon after, whatever a client's thread still waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.local

HANGS = """
import asyncio, sys, threading
from infra.process import is_gone_within

async def running():
    threading.Thread(target=threading.Event().wait).start()  # as a client's close() that nobody answers
    is_gone_within(0.2, int(sys.argv[1]))

asyncio.run(running())
"""


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    """Chaos, seed 1128: after a SIGTERM a process was still there a minute later."""
    for code in (0, 1):
        ended = subprocess.run([sys.executable, "-c", HANGS, str(code)], capture_output=True, text=True, timeout=60)
        assert ended.returncode == code
        assert "most recent call first" in ended.stderr
        assert "wait" in ended.stderr
