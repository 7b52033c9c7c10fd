"""Bad inputs made from good ones: the same for the same seed, on every version of Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.simulation.chance import Chance

SIZE_MAX = 200_000  # bytes
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 2**64, 10**400, -(10**400), 1e308, 0.1, float("nan"), float("inf"), "", "\x00",
    "\ud800", "\u202e", "\ufeff", "A" * 10_000, "🧨", "../../etc/passwd", "{{x}}", "'; DROP TABLE events --", [], {},
    [[]], {"": None}, [0] * 1_000,
)  # fmt: skip
ODD_BYTES = (
    b"\x00", b"\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"[" * 5_000,
    b'{"a":' * 2_000, b"1e999", b"NaN", b"-0", b"\r\n\r\n", b'"', b"\\u0000", b"9" * 5_000, b"\xc3\x01", b"#", b"'''",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], count: int, seed: int | str) -> Iterator[bytes]:
    chance = Chance(seed)
    for _ in range(count):
        data = chance.one_of(seeds) if chance.happens(0.97) else _noise(chance, 200)
        if chance.happens(0.5):
            data = _other_value(data, chance)
        for _ in range(int(chance.between(0, 4))):
            data = _other_bytes(data, seeds, chance)
        yield data[:SIZE_MAX]


def _noise(chance: Chance, most: int) -> bytes:
    return bytes(int(chance.share() * 256) for _ in range(int(chance.share() * most)))


def _other_bytes(data: bytes, seeds: Sequence[bytes], chance: Chance) -> bytes:
    at, end = sorted(int(chance.share() * (len(data) + 1)) for _ in range(2))
    end = min(end, at + 1 + int(chance.share() * 20)) if chance.happens(0.7) else end
    match int(chance.share() * 7):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:end] + data[at:]
        case 3:
            return data[:at] + _noise(chance, 12) + data[end:]
        case 4:
            return data[:at] + chance.one_of(ODD_BYTES) + data[end:]
        case 5:
            other = chance.one_of(seeds)
            return data[:at] + other[int(chance.share() * len(other)) :]
        case _:
            return data[:at] + bytes(b ^ (1 << int(chance.share() * 8)) for b in data[at : at + 1]) + data[at + 1 :]


def _other_value(data: bytes, chance: Chance) -> bytes:
    """Of JSON: another value somewhere, or a field more, or a field less."""
    start = data.find(b"{")
    try:
        value = json.loads(data[start:])
    except ValueError:
        return data
    return data[:start] + json.dumps(_changed(value, chance)).encode()


def _changed(value: Any, chance: Chance) -> Any:
    if not isinstance(value, dict | list) or not value or chance.happens(0.15):
        return chance.one_of(ODD_VALUES)
    if isinstance(value, list):
        at = int(chance.share() * len(value))
        return [*value[:at], _changed(value[at], chance), *value[at + 1 :]]
    name = chance.one_of(tuple(value))
    match int(chance.share() * 6):
        case 0:
            return {k: v for k, v in value.items() if k != name}
        case 1:
            return {**value, "something": chance.one_of(ODD_VALUES)}
        case _:
            return {**value, name: _changed(value[name], chance)}
