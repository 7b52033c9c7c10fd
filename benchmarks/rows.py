"""A row of the table: what was measured, the raw client's figure, ours, and whether the aim was met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from infra.runners.kafka import KafkaSettings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Broker:
    """Where the rows run. `prefix` is this run's own; each measurement adds to it."""

    client: dict[str, Any]
    prefix: str
    partitions: int = 4

    def settings(self, name: str) -> KafkaSettings:
        return KafkaSettings(self.client, f"{self.prefix}{name}.", self.partitions)


@dataclass(frozen=True)
class Size:
    """How much of each: `full` to judge by, `quick` to see that it runs."""

    quick: bool

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True)
class Row:
    """`ratio` is ours / raw. Rates aim at least at `aim`, times at most."""

    name: str
    measured: str
    unit: str
    raw: float
    ours: float
    aim: float | None
    better: Literal["higher", "lower"]
    ratios: tuple[float, ...] = ()  # of each repetition; raw and ours are those of the median one
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.raw if self.raw else float("inf")

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.ratio >= self.aim if self.better == "higher" else self.ratio <= self.aim

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": round(self.ratio, 4), "met": self.met}


@dataclass(frozen=True)
class Pair:
    """One repetition: both figures, taken right after each other. `cpu`: our CPU time / the raw client's."""

    raw: float
    ours: float
    cpu: float = 0.0

    @property
    def ratio(self) -> float:
        return self.ours / self.raw


def middle(pairs: Sequence[Pair]) -> Pair:
    """The repetition with the median ratio (of an even number, the lower one of the two in the middle)."""
    wanted = sorted(p.ratio for p in pairs)[(len(pairs) - 1) // 2]
    return next(p for p in pairs if p.ratio == wanted)


def cpu_note(pairs: Sequence[Pair]) -> str:
    """CPU time moves less than the clock where others use the machine too."""
    low, high = min(p.cpu for p in pairs), max(p.cpu for p in pairs)
    return f"CPU of this process: {middle(pairs).cpu:.1f} times the raw client's ({low:.1f}-{high:.1f})"


def spread(values: Sequence[float]) -> tuple[float, float]:
    """(median, 99th percentile) of what was measured."""
    ordered = sorted(values)
    return median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
