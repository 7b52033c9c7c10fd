"""All that a seed decides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Built on `random()` alone, whose results no version of Python changes."""

    def __init__(self, seed: int | str) -> None:
        self.share = random.Random(seed).random

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.share()

    def happens(self, share: float) -> bool:
        return self.share() < share

    def one_of(self, things: Sequence[T]) -> T:
        return things[int(self.share() * len(things))]

    def some_of(self, things: Sequence[T], share: float = 0.5) -> tuple[T, ...]:
        return tuple(thing for thing in things if self.happens(share))

    def shuffled(self, things: Sequence[T]) -> list[T]:
        return [thing for _, thing in sorted(((self.share(), n), thing) for n, thing in enumerate(things))]

    def weighted(self, things: Sequence[tuple[T, float]]) -> T:
        """One of these things, each with its weight."""
        at = self.share() * sum(weight for _, weight in things)
        for thing, weight in things:
            at -= weight
            if at <= 0:
                return thing
        return things[-1][0]
