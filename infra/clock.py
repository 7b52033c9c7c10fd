"""A clock that nobody sets and that goes on in suspend: for deadlines, and for what has passed since an append."""

from __future__ import annotations

import time


def boot_s() -> float:
    """Seconds since the machine was started, by CLOCK_BOOTTIME (monotonic clocks stop in suspend)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_ms() -> int:
    return int(boot_s() * 1000)
