"""What a window means to a proposal's patience.

Which hours a window has is schemas/policy.py; the objection is of actions/preflight.py, which executors ask too."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.values import Objection

CODES = ("quiet_hours", "outside_window")


def its_hour_ms(objections: Iterable[Objection]) -> int:
    """When windows let it start; 0: none of them keeps it. A night that is waited for is no sign that nothing will come
    of it, as half an hour without better facts is: patience begins at its hour."""
    return max((o.until_ms for o in objections if o.code in CODES), default=0)
