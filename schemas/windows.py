"""What a clock on the wall shows: which minutes of the week a window covers, and whether one of them is now. Pure.

There is no rule for the days on which clocks are changed, and none is needed: an hour that is skipped shows on no
clock, so nothing is open in it, and what begins in it begins when the clock has jumped; one that comes twice is open
twice.

The rules of the zones are those of the `tzdata` that Steward is locked to, never the host's: two hosts would differ,
and a container often has none. They are data of a package, as a table of ours would be, and the same at every replay.
"""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
_DAY = 24 * 60
_WEEK = 7 * _DAY


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of this name. Raises ValueError, with the near one, where there is none."""
    names = files("tzdata").joinpath("zones").read_text().split()
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "they are named as in Europe/Berlin or UTC"
        raise ValueError(f"unknown time zone; {hint}")
    with files("tzdata").joinpath(f"zoneinfo/{name}").open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def minutes(days: tuple[int, ...], start: str, end: str) -> frozenset[int]:
    """Minutes of the week (0: Monday 00:00) from `start` to before `end`, `HH:MM`; `days` (0: Monday) it begins on.
    An end that is not after its start is that of the next day."""
    first = _minute(start)
    length = (_minute(end) - first) % _DAY or _DAY
    return frozenset((day * _DAY + first + n) % _WEEK for day in days for n in range(length))


def minute_of_week(at_ms: int, zone_name: str) -> int:
    """What the clock of this zone shows then."""
    shown = datetime.fromtimestamp(at_ms // 1000, zone(zone_name))
    return shown.weekday() * _DAY + shown.hour * 60 + shown.minute


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
