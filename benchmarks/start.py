"""What it costs to ask `steward` for help, as anybody does first."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.rows import Broker, Pair, Row, Say, Size, middle

BUDGET_S = 0.5


def run_help(broker: Broker, size: Size, say: Say) -> Row:
    """CPU, not wall clock; against its budget, and a bare interpreter for comparison."""
    steward = Path(sys.executable).with_name("steward")
    helps = [cpu_of(str(steward), "--help") for _ in range(size.of(7, 2))]
    bare = sorted(cpu_of(sys.executable, "-c", "pass") for _ in helps)[len(helps) // 2]
    best = middle([Pair(BUDGET_S, cpu_s) for cpu_s in helps])
    say(f"  {best.ours:.2f} s")
    note = f"a bare interpreter takes {bare:.2f} s"
    ratios = tuple(cpu_s / BUDGET_S for cpu_s in helps)
    return Row(
        "help", "CPU of `steward --help`, against its budget", "s", BUDGET_S, best.ours, 1, "lower", ratios, note
    )


def cpu_of(*command: str) -> float:
    """User and system seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
