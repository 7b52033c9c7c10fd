"""A server process of ours, stopped and told to go on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from infra.local.process import ServerProcess

COUNTS = """
import sys, threading
def count(path):
    while True:
        with open(path, "a") as file:
            file.write(".")
for n in range(8):
    threading.Thread(target=count, args=(f"{sys.argv[1]}/{n}",)).start()
"""


@pytest.mark.local
def test_who_is_paused_does_nothing_more_from_then_on(tmp_path: Path) -> None:
    server = ServerProcess([sys.executable, "-c", COUNTS, str(tmp_path)], tmp_path / "log")

    def written() -> int:
        return sum((tmp_path / str(n)).stat().st_size for n in range(8) if (tmp_path / str(n)).exists())

    try:
        while written() < 100:
            time.sleep(0.01)
        for _ in range(20):
            server.pause()
            then = written()
            time.sleep(0.02)
            assert written() == then
            server.resume()
            while written() == then:
                time.sleep(0.001)
    finally:
        server.stop()
