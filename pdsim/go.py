"""How Go writes things down: byte sizes, durations, times, floats, JSON, number parsing errors.

PD is a Go program, its answers are compared byte for byte: each of Go's habits that reaches a client has one home here.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

MAX_FLOAT64 = 1.7976931348623157e308
MAX_UINT64 = 2**64 - 1
ZERO_TIME = "0001-01-01 00:00:00 +0000 UTC"

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class GoError(ValueError):
    """An error as Go's standard library words it; str() is the message."""


class SyntaxErrorInJson(GoError):
    """Malformed JSON; `offset` is what json.SyntaxError carries (bytes read, counted from 1)."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


_compact = json.JSONEncoder(ensure_ascii=False).encode


def _number(value: float) -> int | float:
    """Go prints a float64 without exponent below 1e21 and never writes `1.0`."""
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def _normal(value: object) -> object:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return {str(key): _normal(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(inner) for inner in value]
    return value


def _escape(text: str) -> str:
    """encoding/json escapes these three so that JSON may sit inside HTML."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def dumps_indented(value: object) -> bytes:
    """As PD's render package: two spaces, one final newline."""
    return _indented(_compact(value))


@lru_cache(maxsize=512)
def _indented(text: str) -> bytes:
    """Most answers are those of a moment ago, and the encoder that indents is slow."""
    return (_escape(_lines(json.loads(text), "\n")) + "\n").encode()


def _lines(value: object, margin: str) -> str:
    """As json.dumps(_normal(value), indent=2), which is slow: it makes a generator for each list and object."""
    inner = margin + "  "
    if isinstance(value, dict) and value:
        fields = [f"{_compact(key)}: {_lines(of_key, inner)}" for key, of_key in value.items()]
        return f"{{{inner}{f',{inner}'.join(fields)}{margin}}}"
    if isinstance(value, list) and value:
        items = [_lines(item, inner) for item in value]
        return f"[{inner}{f',{inner}'.join(items)}{margin}]"
    if type(value) is int:  # as most are
        return str(value)
    return _compact(_number(value) if isinstance(value, float) else value)


def dumps_compact(value: object) -> bytes:
    """As easyjson writes regions: no space, no final newline."""
    return _escape(json.dumps(_normal(value), separators=(",", ":"), ensure_ascii=False)).encode()


def loads(body: bytes) -> Json:
    """Parse JSON; raises SyntaxErrorInJson with Go's wording."""
    text = body.decode("utf-8", "replace")
    try:
        parsed: Json = json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            raise SyntaxErrorInJson("unexpected end of JSON input", len(text)) from None
        where = "after top-level value" if error.msg == "Extra data" else "looking for beginning of value"
        raise SyntaxErrorInJson(f"invalid character '{text[error.pos]}' {where}", error.pos + 1) from None
    return parsed


def kind_of(value: Json) -> str:
    """The JSON kind as Go's UnmarshalTypeError names it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {_number(float(value))}" if isinstance(value, float) else "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"


def parse_uint(text: str) -> int:
    """strconv.ParseUint(text, 10, 64); raises GoError with its wording."""
    quoted = json.dumps(text)
    if not text or any(char not in "0123456789" for char in text):
        raise GoError(f"strconv.ParseUint: parsing {quoted}: invalid syntax")
    number = int(text)
    if number > MAX_UINT64:
        raise GoError(f"strconv.ParseUint: parsing {quoted}: value out of range")
    return number


def parse_int(text: str) -> int:
    """strconv.Atoi; raises GoError with its wording."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not digits or any(char not in "0123456789" for char in digits):
        raise GoError(f"strconv.Atoi: parsing {json.dumps(text)}: invalid syntax")
    return int(text)


def uint64_of(number: float) -> int:
    """uint64(float64): the fraction is cut, negative numbers wrap (-1 becomes 18446744073709551615)."""
    return math.trunc(number) % 2**64


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def bytes_size(count: float) -> str:
    """docker/go-units BytesSize: four significant digits, base 1024, so 1023.9 GiB reads "1024GiB"."""
    size, unit = float(count), 0
    while size >= 1024.0 and unit < len(_UNITS) - 1:
        size, unit = size / 1024.0, unit + 1
    return f"{size:.4g}{_UNITS[unit]}"


def duration(seconds: float) -> str:
    """time.Duration.String(), to the microsecond."""
    micros = round(seconds * 1e6)
    if micros == 0:
        return "0s"
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    if micros < 1000:
        return f"{sign}{micros}µs"
    if micros < 1_000_000:
        return f"{sign}{_trim(micros / 1000, 3)}ms"
    minutes, rest = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_trim(rest / 1e6, 6)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else f"{sign}{text}"


def _trim(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".")


_DURATION_UNITS = {"h": 3600.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "m": 60.0, "s": 1.0}


@lru_cache(maxsize=256)
def parse_duration(text: str) -> float:
    """time.ParseDuration, in seconds; raises GoError with its wording."""
    rest, total = text, 0.0
    while rest:
        digits = 0
        while digits < len(rest) and rest[digits] in "0123456789.":
            digits += 1
        unit = next((name for name in _DURATION_UNITS if rest[digits:].startswith(name)), None)
        if digits == 0 or unit is None:
            raise GoError(f"time: invalid duration {json.dumps(text)}")
        if unit == "m" and rest[digits:].startswith("ms"):
            unit = "ms"
        total += float(rest[:digits]) * _DURATION_UNITS[unit]
        rest = rest[digits + len(unit) :]
    if not text:
        raise GoError('time: invalid duration ""')
    return total


def nanoseconds(at: float) -> int:
    """Unix nanoseconds, to the microsecond: a float of this century holds no more."""
    return round(at * 1e6) * 1000


def _datetime(at: float) -> tuple[datetime, str]:
    micros = round(at * 1e6)
    whole, fraction = divmod(micros, 1_000_000)
    text = f".{fraction:06d}".rstrip("0") if fraction else ""
    return datetime.fromtimestamp(whole, UTC), text


def rfc3339(at: float, *, fraction: bool = True) -> str:
    """time.RFC3339Nano (or RFC3339) in UTC."""
    moment, parts = _datetime(at)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (parts if fraction else "") + "Z"


def time_string(at: float | None, monotonic_from: float) -> str:
    """time.Time.String() with its monotonic reading; None is the zero time."""
    if at is None:
        return ZERO_TIME
    moment, parts = _datetime(at)
    return f"{moment.strftime('%Y-%m-%d %H:%M:%S')}{parts} +0000 UTC m=+{max(0.0, at - monotonic_from):.9f}"
