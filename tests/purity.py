"""What a pure test may not do - open a socket, start a process, make a Kafka client - and what notices that it does.

Python announces the first two to audit hooks, whoever calls. librdkafka opens its sockets in C, so its clients are
announced here, as they are made. What else C code does by itself goes unnoticed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient

KAFKA_CLIENT = "tests.kafka_client"
EMBEDDED = "cimpl"  # infra/embedded.py looks for its symbols in what this library is linked with
TOUCHES = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "subprocess.Popen",
        "os.system",
        "os.posix_spawn",
        "os.fork",
        "os.forkpty",
        "os.exec",
        KAFKA_CLIENT,
    }
)


class NotPure(BaseException):
    """A test without a tier has touched the world. No `except Exception` of the code under test hides it."""


class Watch:
    """Of one test: what it has touched, on its own threads; those that others left behind are theirs."""

    def __init__(self) -> None:
        self.touched: list[str] = []
        self._others = {t.ident for t in threading.enumerate()} - {threading.get_ident()}

    def sees(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in TOUCHES and not (event == "ctypes.dlopen" and EMBEDDED in str(args[0])):
            return
        if threading.get_ident() not in self._others:
            what = f"{event} {args[-1] if event != 'subprocess.Popen' else args[1]}"
            self.touched.append(what)
            raise NotPure(f"{what}: a test that does this is no pure one: mark it, as tests/tiers.py says")


_watch: Watch | None = None


@contextmanager
def watched() -> Iterator[Watch]:
    """Whatever touches the world in here raises NotPure, and is kept for whoever was not told."""
    global _watch
    outer, _watch = _watch, Watch()
    try:
        yield _watch
    finally:
        _watch = outer


@contextmanager
def unwatched() -> Iterator[None]:
    global _watch
    outer, _watch = _watch, None
    try:
        yield
    finally:
        _watch = outer


def _heard(event: str, args: tuple[Any, ...]) -> None:
    if _watch is not None:
        _watch.sees(event, args)


def _announced(client: type) -> type:
    class Announced(client):  # type: ignore[misc]
        def __init__(self, *args: Any, **more: Any) -> None:
            sys.audit(KAFKA_CLIENT, client.__name__)
            super().__init__(*args, **more)

    return Announced


# Before any module has taken them by name; a hook that has been added is there for good.
for _name in ("Consumer", "Producer"):
    setattr(confluent_kafka, _name, _announced(getattr(confluent_kafka, _name)))
_init_of_admin = AdminClient.__init__


def _init(self: AdminClient, *args: Any, **more: Any) -> None:
    sys.audit(KAFKA_CLIENT, "AdminClient")
    _init_of_admin(self, *args, **more)


AdminClient.__init__ = _init  # type: ignore[method-assign]
sys.addaudithook(_heard)
