"""Requests and answers as values, and PD's few ways of writing an answer down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import parse_qs

from pdsim import go

JSON = "application/json; charset=UTF-8"
OCTETS = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `path` and `query` are as on the wire; header names are lower-case."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key == name), default)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer. `after_s` is how long the caller waits for it; `changed`: is the cluster another now?"""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    after_s: float = 0.0
    changed: bool | None = None  # None: a write that answered 2xx


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer: the connection is refused or never made, dropped without a byte, or nothing comes until the caller
    gives up."""

    how: Literal["refused", "unreachable", "dropped", "hangs"]
    changed: bool = False


Answer: TypeAlias = Response | Silence


class Refusal(Exception):
    """Leave a handler early with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(frozen=True, slots=True)
class Ask:
    """A request at its handler: the path's variables, the query, the body."""

    request: Request
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    def uint(self, name: str) -> int:
        """A path variable; a bad one gets the error object."""
        try:
            return go.parse_uint(self.path[name])
        except go.GoError as error:
            raise Refusal(bad_input(str(error))) from None

    def plain_uint(self, name: str) -> int:
        """A path variable of those routes that answer a bad one with a string."""
        try:
            return go.parse_uint(self.path[name])
        except go.GoError as error:
            raise Refusal(said(400, str(error))) from None

    def json(self) -> go.Json:
        """The body; a malformed one gets the error object."""
        try:
            return go.loads(self.request.body)
        except go.SyntaxErrorInJson as error:
            raise Refusal(bad_input(str(error), {"Offset": error.offset})) from None

    def json_object(self) -> dict[str, go.Json]:
        """The body as an object; null is an empty one, as in Go."""
        value = self.json()
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Refusal(wrong_type(value, "map[string]interface {}"))
        return value


def parsed_query(query: str) -> Mapping[str, Sequence[str]]:
    return parse_qs(query, keep_blank_values=True) if query else {}


def said(status: int, value: object, *, changed: bool | None = None) -> Response:
    """Indented JSON with a final newline; a plain message is a JSON string."""
    return Response(status, (("content-type", JSON),), go.dumps_indented(value), changed=changed)


def regions(value: object) -> Response:
    """Region bodies are compact, without newline, and typed as octets."""
    return Response(200, (("content-type", OCTETS),), go.dumps_compact(value))


def text(status: int, body: str, content_type: str = TEXT) -> Response:
    headers = [("content-type", content_type)]
    if status >= 400 and content_type == TEXT:
        headers.append(("x-content-type-options", "nosniff"))
    return Response(status, tuple(headers), body.encode())


def bad_input(message: str, data: object = None) -> Response:
    """errcode's error object with its header."""
    headers = (("content-type", JSON), ("tidb-error-code", "input"))
    body = {"code": "input", "msg": message, "data": {} if data is None else data}
    return Response(400, headers, go.dumps_indented(body))


def wrong_type(value: go.Json, wanted: str, name: str = "") -> Response:
    """encoding/json's UnmarshalTypeError inside the error object."""
    into = f"Go struct field .{name} of type {wanted}" if name else f"Go value of type {wanted}"
    kind = go.kind_of(value)
    data = {"Value": kind, "Type": {}, "Offset": 1, "Struct": "", "Field": name}
    return bad_input(f"json: cannot unmarshal {kind} into {into}", data)


NOT_FOUND = text(404, "404 page not found\n")
WRONG_METHOD = Response(405)
EMPTY = Response(200)
NOT_BOOTSTRAPPED = said(500, "[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped, please start TiKV first")


def panicked(what: str) -> Response:
    """A Go panic reaches the client as text."""
    trace = (
        "\n\ngoroutine 13705 [running]:\nruntime/debug.Stack()\n\t/usr/local/go/src/runtime/debug/stack.go:26 +0x5e\n"
    )
    return text(500, f"PANIC: {what}{trace.removeprefix(chr(10))}", "text/plain; charset=utf-8")
