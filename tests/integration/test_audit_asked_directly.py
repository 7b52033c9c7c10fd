"""`steward audit query` and `export` with `--direct`, as an auditor runs them: in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.audit_fixtures import LONG
from tests.integration.stack import COMMAND

pytestmark = pytest.mark.clickhouse
WITHIN_S = 180.0
Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def steward(tmp_path: Path) -> Callable[..., Ran]:
    pytest.importorskip("chdb")
    made = [sys.executable, "-m", "tests.integration.audit_fixtures", "sink", str(tmp_path / "audit")]
    subprocess.run(made, check=True, capture_output=True, timeout=WITHIN_S)
    (tmp_path / "steward.toml").write_text(f'environment = "test"\n[clickhouse]\nurl = "chdb:{tmp_path / "audit"}"\n')

    def run(*args: str) -> Ran:
        command = [*COMMAND, "--config", str(tmp_path / "steward.toml"), "audit", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S)

    return run


def test_an_auditor_needs_no_console(steward: Callable[..., Ran], tmp_path: Path) -> None:
    asked = steward("query", "completeness", "--direct", "--json")
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)
    held = sum(row[said["columns"].index("events")] for row in said["rows"])
    assert held == LONG + 2  # two that are no events

    exported = steward("export", "--direct", "-o", str(tmp_path / "audit.jsonl"), "--json")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["records"] == held
    assert (tmp_path / "audit.jsonl").read_bytes().count(b"\n") == held + 1

    for args, code, says in (
        (("query", "who-did-it", "--direct"), 2, "there are chain-breaks"),
        (("query", "freezes", "--direct", "--param", "cluster=nowhere"), 1, "unknown_cluster"),
    ):
        ran = steward(*args)
        assert (ran.returncode, says in ran.stderr, "Traceback" in ran.stderr) == (code, True, False), ran.stderr
