"""`python -m pdsim`: runs, prints its address, answers; and says what is wrong with its options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.local

ROOT = Path(__file__).parents[2]


def test_it_prints_an_address_that_answers() -> None:
    command = [sys.executable, "-m", "pdsim", "--stores", "4", "--regions", "12", "--slow-store", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[0]
            store = httpx.get(f"{url}/pd/api/v1/store/3", trust_env=False).json()
        finally:
            process.terminate()
    assert store["status"]["slow_score"] == 90


def test_a_store_that_is_not_there_is_named() -> None:
    command = [sys.executable, "-m", "pdsim", "--stores", "4", "--slow-store", "9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--slow-store 9: stores are 1 to 4" in done.stderr
