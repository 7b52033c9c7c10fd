"""A server on 127.0.0.1 that speaks enough of the Messages API to be good, and to be bad in every way we know."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Play = Callable[["Handler"], None]


@dataclass
class MessagesApi:
    """What it was asked, and how it answers (`play`)."""

    play: Play
    url: str = ""
    asked: list[str] = field(default_factory=list)  # by GET
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    api: MessagesApi

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        self.api.bodies.append(json.loads(self.rfile.read(length)))
        self.api.headers.append({k.lower(): v for k, v in self.headers.items()})
        try:
            self.api.play(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_GET(self) -> None:
        self.api.asked.append(self.path)
        self.api.headers.append({k.lower(): v for k, v in self.headers.items()})
        self.api.play(self)

    def send(self, status: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def messages_api(play: Play) -> Iterator[MessagesApi]:
    api = MessagesApi(play)
    handler = type("BoundHandler", (Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        api.over.set()
        server.shutdown()
        server.server_close()


def says(text: str, stop_reason: str = "end_turn", **changed: Any) -> Play:
    """A whole message with this text."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-of-the-test",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 10},
    }
    return raw(200, json.dumps({**message, **changed}).encode())


def fails(status: int, kind: str, **headers: str) -> Play:
    """An error as the API words them."""
    body = {"type": "error", "error": {"type": kind, "message": f"{kind} for the test"}, "request_id": "req_1"}
    return raw(status, json.dumps(body).encode(), **headers)


def raw(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Play:
    return lambda handler: handler.send(status, body, content_type, **headers)


def hangs(handler: Handler) -> None:
    """Takes the question and says nothing until the test is over."""
    handler.api.over.wait(30)
    handler.close_connection = True


def drips(handler: Handler) -> None:
    """A byte now and then: each read is in time, the whole never is."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "100000")
    handler.end_headers()
    while not handler.api.over.is_set():
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def hangs_up(handler: Handler) -> None:
    """Closes the connection in the middle of a message."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "msg_')
    handler.close_connection = True
