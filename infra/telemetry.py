"""What a process tells about itself: structured lines on stderr, and counters for Prometheus."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


class Metrics:
    """The counters of one process. `serve` answers from a thread of its own, so nothing that roles do holds it up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter("steward_events_total", "Events committed", ["role"], registry=self.registry)
        self.inputs = Counter("steward_inputs_total", "Inputs answered", ["role"], registry=self.registry)
        self.dead = Gauge("steward_dead_letters", "Dead letters on record", ["role", "code"], registry=self.registry)
        self.up = Gauge("steward_role_up", "1 while the role runs in this process", ["role"], registry=self.registry)
        self.lag = Gauge("steward_audit_lag", "Records not yet in ClickHouse", ["topic"], registry=self.registry)
        self.audit_trouble = Gauge(
            "steward_audit_trouble", "1 while the audit is not written, or has lost records", registry=self.registry
        )
        self.checkpoint = Gauge("steward_audit_checkpoint", "Number of the last checkpoint", registry=self.registry)
        self.checkpoint_trouble = Gauge(
            "steward_audit_checkpoint_trouble", "1 while no checkpoint can be written", registry=self.registry
        )
        self._server: tuple[WSGIServer, Thread] | None = None

    def committed(self, role: str, events: int, inputs: int) -> None:
        self.events.labels(role).inc(events)
        self.inputs.labels(role).inc(inputs)

    def serve(self, listen: str) -> str:
        """Serve /metrics on HOST:PORT (port 0: a free one); returns where."""
        host, _, port = listen.rpartition(":")
        self._server = start_http_server(int(port), host, self.registry)
        return f"http://{host}:{self._server[0].server_port}/metrics"

    def close(self) -> None:
        if self._server:
            self._server[0].shutdown()
            self._server[0].server_close()


def set_up_logging(process: str) -> None:
    """One line an event on stderr: key=value for people at a terminal, a JSON object elsewhere. So too for what the
    libraries say, librdkafka included, and for what ends the process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    look: Any = (
        structlog.dev.ConsoleRenderer(colors=True) if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, look],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[*shared, _whose], processors=[remove, look])
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for noisy in ("httpx", "httpx2", "aiokafka", "faust", "mode"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.excepthook = _ended_by


def _whose(logger: Any, method: str, event: Any) -> Any:
    record = event.get("_record")
    return {**event, "logger": record.name} if record is not None else event


def _ended_by(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    structlog.get_logger().critical("ended by an exception", exc_info=(kind, error, trace))


def say_where_all_wait() -> None:
    """What every task of this loop waits for, a line each: for whoever wonders why nothing happens (SIGUSR1)."""
    log = structlog.get_logger()
    for task in asyncio.all_tasks():
        log.warning("waits", task=task.get_name(), where=" > ".join(_waits_in(task.get_coro())))


def _waits_in(awaited: Any) -> list[str]:
    """Where a coroutine stands, from its own line to the innermost: of a suspended task the stack is one frame."""
    found = []
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            found.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return found
