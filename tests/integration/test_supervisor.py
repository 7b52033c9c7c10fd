"""Children that end: which are started again, when, and which are not. Tiny scripts stand for `steward run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.supervisor import Supervisor

pytestmark = pytest.mark.local

QUIET_S, RETRY_S = 2.0, 1.0
SCRIPT = """\
import sys, time
role, starts = sys.argv[-1], sys.argv[1]
again = role in open(starts).read()
print(role, time.monotonic(), file=open(starts, "a"))
for_s, code = {"wrong": (0, 2), "good once": (0 if again else 2.5, 2), "fails": (0, 1), "lives": (60, 0)}[role]
time.sleep(for_s)
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A supervisor takes them; the test run has them back."""
    held = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in held.items():
        signal.signal(number, handler)


@dataclass
class Told:
    """How a supervisor ended, and when it has started whom."""

    code: int
    started_s: dict[str, list[float]]


def supervised(
    tmp_path: Path, groups: Mapping[str, Sequence[str]], *, until: Mapping[str, int], within_s: float = 20
) -> Told:
    """Runs until these have been started so often, or it has given up by itself."""
    starts = tmp_path / "starts"
    starts.touch()

    def started_s() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for line in starts.read_text().splitlines():
            role, at_s = line.rsplit(" ", 1)
            found.setdefault(role, []).append(float(at_s))
        return found

    def enough() -> str | None:
        there = started_s()
        assert time.monotonic() < gives_up_s, there
        return "seen" if all(len(there.get(role, ())) >= count for role, count in until.items()) else None

    command = (sys.executable, "-c", SCRIPT, str(starts))
    supervisor = Supervisor(groups, (), os.environ, command=command, on_tick=enough, quiet_s=QUIET_S, retry_s=RETRY_S)
    gives_up_s = time.monotonic() + within_s
    return Told(supervisor.run(), started_s())


def test_a_child_that_has_run_and_then_finds_its_configuration_wrong_is_tried_again_after_a_while(
    tmp_path: Path,
) -> None:
    """A secret that is being rotated, say: what it owes stays owed."""
    told = supervised(tmp_path, {"execute": ["good once"]}, until={"good once": 3})

    first, second, third = told.started_s["good once"]
    assert told.code == 1
    assert second - first > QUIET_S + RETRY_S
    assert third - second > RETRY_S, "what has run once is not given up, however quickly it ends now"


def test_a_child_whose_configuration_never_was_good_is_not_tried_again(tmp_path: Path) -> None:
    told = supervised(tmp_path, {"observe": ["wrong"], "execute": ["good once"]}, until={"good once": 3})

    assert len(told.started_s["wrong"]) == 1


def test_without_a_child_that_can_do_with_the_configuration_it_ends_and_says_so(tmp_path: Path) -> None:
    told = supervised(tmp_path, {"observe": ["wrong"], "act": ["wrong"]}, until={"nobody": 1})

    assert told.code == 2
    assert len(told.started_s["wrong"]) == 2


def test_a_child_that_fails_is_started_again_and_its_neighbours_are_let_be(tmp_path: Path) -> None:
    told = supervised(tmp_path, {"observe": ["lives"], "act": ["fails"]}, until={"lives": 1, "fails": 2})

    assert len(told.started_s["lives"]) == 1
    assert told.started_s["fails"][1] - told.started_s["fails"][0] > 0.5


def test_a_child_that_can_not_be_started_is_tried_again_and_its_neighbours_are_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for one more process, for a moment."""
    start, tried_s = subprocess.Popen, list[float]()

    def popen(command: Sequence[str], **how: Any) -> Any:
        if command[-1] == "fails" and not tried_s:
            tried_s.append(time.monotonic())
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return start(command, **how)

    monkeypatch.setattr("infra.supervisor.subprocess.Popen", popen)
    told = supervised(tmp_path, {"observe": ["lives"], "act": ["fails"]}, until={"lives": 1, "fails": 1})

    assert len(told.started_s["lives"]) == 1
    assert told.started_s["fails"][0] - tried_s[0] > 0.5
