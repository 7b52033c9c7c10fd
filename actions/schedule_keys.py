"""The keys of PD's schedule configuration that a machine may set, each with a range of our own: PD takes any number.

Deliberately absent: what decides whether data is safe (`max-store-down-time`, `low-space-ratio`, the `enable-...`
switches), what stops everything (`halt-scheduling`), and what no repair needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ScheduleKey = Literal[
    "leader-schedule-limit",
    "region-schedule-limit",
    "hot-region-schedule-limit",
    "merge-schedule-limit",
    "replica-schedule-limit",
    "max-snapshot-count",
    "max-pending-peer-count",
]


@dataclass(frozen=True)
class Range:
    """What a key may be set to, and why one would."""

    least: int
    most: int
    usual: int  # PD's default
    unit: str  # of what so many may go on at a time
    why: str
    each_store: bool = False  # counted on each store; otherwise in the whole cluster
    repairs: bool = False  # lost replicas are made again within it, so it is never near 0
    leaders: bool = False  # what goes on may be moves of leaders


KEYS: Mapping[ScheduleKey, Range] = {
    "leader-schedule-limit": Range(
        least=0,
        most=16,
        usual=4,
        unit="moves of leaders",
        why="0 holds all leaders where they are, evictions included; more lets them spread sooner",
        leaders=True,
    ),
    "region-schedule-limit": Range(
        least=0,
        most=2048,
        usual=2048,
        unit="moves of replicas",
        why="less where balancing takes too much of disks and network",
    ),
    "hot-region-schedule-limit": Range(
        least=0,
        most=16,
        usual=4,
        unit="moves of hot regions",
        why="0 where hot regions go to and fro, more where many are hot",
        leaders=True,
    ),
    "merge-schedule-limit": Range(
        least=0,
        most=32,
        usual=8,
        unit="merges",
        why="0 while tables are split or loaded, more after much was dropped",
    ),
    "replica-schedule-limit": Range(
        least=16,
        most=256,
        usual=64,
        unit="repairs of replicas",
        why="more makes lost replicas again sooner, less leaves more of the disks to clients",
        repairs=True,
    ),
    "max-snapshot-count": Range(
        least=16,
        most=128,
        usual=64,
        unit="snapshots a store",
        why="less where sending snapshots slows the stores",
        each_store=True,
        repairs=True,
    ),
    "max-pending-peer-count": Range(
        least=16,  # 0 is no limit at all to PD
        most=256,
        usual=64,
        unit="lagging replicas a store",
        why="less where replicas lag because too many are made at once",
        each_store=True,
        repairs=True,
    ),
}


def in_words(key: ScheduleKey) -> str:
    """`leader-schedule-limit 0..16 (moves of leaders; PD's default 4)`"""
    of = KEYS[key]
    return f"{key} {of.least}..{of.most} ({of.unit}; PD's default {of.usual})"
