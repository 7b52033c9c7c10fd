"""A look at a cluster that is taken again: trouble of PD's that passes by itself is waited for, while there is time."""

from __future__ import annotations

from typing import Any

from schemas.facts import MAY_PASS, Facts, FactsReader, Look, NoFacts
from schemas.processors import Lane

LOOK_FOR_MS = 10_000
AGAIN_MS = 2_000
NO_FACTS = "PD gives no facts: "  # how what is concluded without them begins


async def facts_soon(reader: FactsReader, lane: Lane[Any], look: Look, until_ms: int | None = None) -> Facts:
    """Raises NoFacts: at once where time does not heal it, else what was wrong `LOOK_FOR_MS` later, or by `until_ms`.

    A process that is to go does not say so: it is cut, and its successor looks anew."""
    ends_ms = lane.now_ms() + LOOK_FOR_MS
    ends_ms = ends_ms if until_ms is None else min(ends_ms, until_ms)
    while True:
        try:
            return await reader.facts(lane.cluster_id, look)
        except NoFacts as missing:
            if missing.code not in MAY_PASS or lane.now_ms() + AGAIN_MS > ends_ms:
                raise
        await lane.sleep_until(lane.now_ms() + AGAIN_MS)
