"""How often the interpreter looks for objects that only refer to each other."""

from __future__ import annotations

import gc

SELDOM = (50_000, 20, 20)


def look_seldom() -> None:
    """What is there now stays: modules and schemas. To go through all of it, and through the states of thousands of
    clusters, with every few hundred new objects is a quarter of what an event costs, and finds next to nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SELDOM)
