"""How many people are asked. What makes one approval count is schemas/approvals.py, which executors ask as well."""

from __future__ import annotations

from schemas.approvals import people_needed
from schemas.values import Tier


def needed(rule: str, tier: Tier, disputed: bool) -> int | None:
    """Different people that must approve; 0: nobody is waited for; None: never.

    `disputed`: playbook and model name different causes. Then a person decides, even where the policy lets LOW act."""
    people = people_needed(rule, tier)
    return max(people, 1) if people is not None and disputed else people
