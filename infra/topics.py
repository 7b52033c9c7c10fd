"""What has to be on the broker: topics, their configuration, and who may do what. Derived from streams.pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.topics import partition_of
from streams.pipeline import BY_NAME, PROCESSORS, TOPICS, dead_letters


@dataclass(frozen=True)
class Wanted:
    """One topic as it should be. `name` includes the prefix; `config` holds what a broker's default would get wrong."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def wanted(prefix: str, partitions: int) -> tuple[Wanted, ...]:
    """Every topic of the pipeline, and the dead letters of each role."""
    config = {"message.timestamp.type": "LogAppendTime"}
    return (
        *(Wanted(prefix + t.name, t.partitions or partitions, config) for t in TOPICS),
        *(Wanted(prefix + dead_letters(p.role), 1, config) for p in PROCESSORS),
    )


def partition_for(topic: str, key: str, partitions: int) -> int:
    """Where a key lives on a topic, named without its prefix: everything with one partition has only that."""
    known = BY_NAME.get(topic)
    return 0 if known is None or known.partitions == 1 else partition_of(key, partitions)
