"""What a verification keeps of each record: its place and its hash, so that inputs can be held against what cites them
and one source against another. In arrays, because there are many: 41 bytes a record, and 64 for each citation that
comes before what it cites. Pure.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

HASH_BYTES = 32
Partition = tuple[str, int]


@dataclass
class Held:
    """SHA-256 of each record of one partition, by offset. `housekeeping`: what an owner says of itself, which another
    one doesn't answer."""

    offsets: array[int] = field(default_factory=lambda: array("q"))
    hashes: bytearray = field(default_factory=bytearray)
    housekeeping: bytearray = field(default_factory=bytearray)

    def add(self, offset: int, sha256: bytes) -> None:
        """The first record at an offset counts. Quick where they come in order."""
        at = len(self.offsets)
        if at and offset <= self.offsets[-1]:
            at = bisect_left(self.offsets, offset)
            if self.offsets[at] == offset:
                return
        self.offsets.insert(at, offset)
        self.hashes[at * HASH_BYTES : at * HASH_BYTES] = sha256
        self.housekeeping.insert(at, 0)

    def get(self, offset: int) -> bytes | None:
        at = bisect_left(self.offsets, offset)
        if at == len(self.offsets) or self.offsets[at] != offset:
            return None
        return self._hash(at)

    def is_housekeeping(self, offset: int) -> None:
        at = bisect_left(self.offsets, offset)
        self.housekeeping[at] = 1

    def to_answer(self, since: int, upto: int) -> int | None:
        """The first record from `since` on and before `upto` that its readers owe an answer."""
        for at in range(bisect_left(self.offsets, since), bisect_left(self.offsets, upto)):
            if not self.housekeeping[at]:
                return self.offsets[at]
        return None

    def after(self, offset: int) -> int:
        """How many stand behind it."""
        return len(self.offsets) - bisect_right(self.offsets, offset)

    def differs(self, other: Held, since: int, upto: int) -> tuple[int, bytes | None, bytes | None] | None:
        """The first offset from `since` to `upto` (both included) at which they differ, and what each has there."""
        n, m = bisect_left(self.offsets, since), bisect_left(other.offsets, since)
        while True:
            here = self.offsets[n] if n < len(self.offsets) else None
            there = other.offsets[m] if m < len(other.offsets) else None
            offset = min((o for o in (here, there) if o is not None), default=None)
            if offset is None or offset > upto:
                return None
            one = self._hash(n) if here == offset else None
            two = other._hash(m) if there == offset else None
            if one != two:
                return offset, one, two
            n, m = n + 1, m + 1

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def first(self) -> int:
        """-1: there is none."""
        return self.offsets[0] if self.offsets else -1

    @property
    def last(self) -> int:
        return self.offsets[-1] if self.offsets else -1

    def _hash(self, at: int) -> bytes:
        return bytes(self.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES])


class Citation(NamedTuple):
    """One event names one input. `recorded_ms`: when the citing row was made; 0: unknown."""

    cluster_id: str
    by: Partition
    offset: int
    seq: int
    cited: Partition
    cited_offset: int
    sha256: bytes
    recorded_ms: int


@dataclass
class Citations:
    """Those that are still to be held against what they name."""

    _kept: dict[tuple[str, Partition, Partition], tuple[array[int], bytearray]] = field(default_factory=dict)

    def add(self, c: Citation) -> None:
        numbers, hashes = self._kept.setdefault((c.cluster_id, c.by, c.cited), (array("q"), bytearray()))
        numbers.extend((c.offset, c.seq, c.cited_offset, c.recorded_ms))
        hashes += c.sha256.ljust(HASH_BYTES, b"\0")[:HASH_BYTES]

    def __iter__(self) -> Iterator[Citation]:
        for (cluster_id, by, cited), (numbers, hashes) in self._kept.items():
            for n in range(len(numbers) // 4):
                offset, seq, cited_offset, recorded_ms = numbers[4 * n : 4 * n + 4]
                sha256 = bytes(hashes[n * HASH_BYTES : (n + 1) * HASH_BYTES])
                yield Citation(cluster_id, by, offset, seq, cited, cited_offset, sha256, recorded_ms)

    def waiting_for(self) -> dict[Partition, int]:
        """The furthest offset that is cited of each partition."""
        found: dict[Partition, int] = {}
        for (_, _, cited), (numbers, _) in self._kept.items():
            found[cited] = max(found.get(cited, -1), *numbers[2::4])
        return found
