"""Text for people: what anybody wrote made fit for a terminal, times, and the page of a ticket. Pure.

A ticket and a card say their zone once (`02:11Z`); every further time of theirs is `HH:MM`, with its date where that is
not the day of the ticket. A line of a list stands alone and says all of it (`moment`).
"""

from __future__ import annotations

import json
import textwrap
import unicodedata
from datetime import UTC, datetime

from schemas.events import TicketWritten

COLUMNS = 80
LABEL_COLUMNS = 10
TEXT_MAX = 400
LINKS = "Links"  # the line whose parts are never broken: they are clicked, or copied whole


def clean(text: str) -> str:
    """One line without anything that moves a cursor, hides, or turns the text around: alerts are untrusted."""
    line = " ".join(text.split())
    if line.isascii() and line.isprintable():
        return line
    return "".join("?" if unicodedata.category(c)[0] == "C" else c for c in line)


def plain(text: str, chars_max: int = TEXT_MAX) -> str:
    """The same, bounded."""
    kept = clean(text)
    return kept if len(kept) <= chars_max else kept[: chars_max - 1] + "…"


def wrapped(label: str, text: str, column: int = LABEL_COLUMNS) -> list[str]:
    """`label` in its column and the text beside it, at most 80 wide."""
    first = label.ljust(column) if len(label) < column else f"{label} " if label else ""
    # Commands are copied from here: a line breaks at blanks, and inside a word only where the word is too long for one.
    lines = textwrap.wrap(
        clean(text) or "-", COLUMNS, initial_indent=first, subsequent_indent=" " * column, break_on_hyphens=False
    )
    return lines or [first]


def params_text(params: str) -> str:
    """Parameters, canonical JSON in events, as a person would say them: `store_id=4 keep_s=900`."""
    try:
        found = json.loads(params)
    except ValueError:
        return plain(params, 300)
    spoken = " ".join(f"{k}={v}" for k, v in found.items()) if isinstance(found, dict) else params
    return plain(spoken, 300)


def page(ticket: TicketWritten) -> str:
    """A ticket as people read it, wherever they do."""
    headline, end = plain(ticket.headline), f"{plain(ticket.status, 60)}   {ticket.incident_id}"
    first = f"{headline}    {end}"
    lines = [first] if len(first) <= COLUMNS else [*wrapped("", headline, 0), end]
    for line in ticket.lines:
        label = line.label
        for part in line.text.split("\n"):  # in its column, so that no text of others can pass for a line of ours
            link = f"{label:<{LABEL_COLUMNS}}{clean(part)}"
            lines += [link] if line.label == LINKS else wrapped(label, plain(part, 4000))
            label = ""
    return "\n".join(lines) + "\n"


# -- times and counts -----------------------------------------------------------------------------------------------


def hh_mm(at_ms: int, day_ms: int = 0) -> str:
    """`02:11`; with its date where that is not the day of `day_ms`."""
    at, day = _utc(at_ms), _utc(day_ms)
    if at is None:
        return "?"
    return f"{at:%H:%M}" if not day_ms or (day and at.date() == day.date()) else f"{at:%Y-%m-%d %H:%M}"


def zoned(at_ms: int, day_ms: int = 0) -> str:
    """The first time of a text: it names the zone for all that follow."""
    return f"{hh_mm(at_ms, day_ms)}Z" if at_ms else "-"


def moment(at_ms: int) -> str:
    """A time that stands alone."""
    at = _utc(at_ms)
    return f"{at:%Y-%m-%d %H:%M:%SZ}" if at_ms and at else "-"


def _utc(at_ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(at_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def duration(ms: int) -> str:
    minutes, seconds = divmod(max(0, ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "0 s"


def people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def counted(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"
