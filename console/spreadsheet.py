"""Rows as CSV that a spreadsheet may open: what others have written stays text there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from schemas.text import clean

FORMULA = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet computes


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """RFC 4180, UTF-8, lines end in CR LF. Text that a spreadsheet would compute has an apostrophe before it: among it
    is what alerts say, and anybody can make one. Exact values are in the JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):  # numbers, true and false, lists
        return json.dumps(value, ensure_ascii=False)
    text = clean(value)
    return f"'{text}" if text.startswith(FORMULA) else text
