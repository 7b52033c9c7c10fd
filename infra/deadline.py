"""The kernel's deadline of one step: a process paused between its check and its send dies instead of sending late.

A timer of `timer_create(CLOCK_BOOTTIME)` each (monotonic clocks stop in suspend; `setitimer` is one a process, so a
second lane would lose the first one's deadline). Its signal has the default action, which ends the process: execute
therefore has a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

from executors.execute import WindowPassed
from infra.clock import boot_s

_TIMER_ABSTIME = 1
_SIGEV_SIGNAL = 0


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class _Sigevent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal_number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("pad", ctypes.c_char * 48),
    )


_libc = ctypes.CDLL(None, use_errno=True)


class KernelWindow:
    """`window_s` from its making, on CLOCK_BOOTTIME. Make it before the intent is committed, arm it before the send."""

    def __init__(self, window_s: float, *, number: int = signal.SIGALRM) -> None:
        self._ends_s = boot_s() + window_s
        self._signal = number
        self._timer: ctypes.c_void_p | None = None

    def left_s(self) -> float:
        return self._ends_s - boot_s()

    def arm(self) -> None:
        """Raises WindowPassed where the window has ended already; OSError where the kernel gives no timer."""
        if self.left_s() <= 0:
            raise WindowPassed
        event = _Sigevent(signal_number=self._signal, notify=_SIGEV_SIGNAL)
        timer = ctypes.c_void_p()
        _checked(_libc.timer_create(time.CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(timer)))
        self._timer = timer
        seconds = int(self._ends_s)
        ends = _Timespec(seconds, int((self._ends_s - seconds) * 1e9))
        setting = _Itimerspec(_Timespec(0, 0), ends)
        _checked(_libc.timer_settime(timer, _TIMER_ABSTIME, ctypes.byref(setting), None))

    def disarm(self) -> None:
        if self._timer is not None:
            _checked(_libc.timer_delete(self._timer))
            self._timer = None


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
