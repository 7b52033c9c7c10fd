"""What a topic is, and which partition a cluster lives on."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import Event


@dataclass(frozen=True)
class Topic:
    """`events` are all that may stand on it; `keeps_all`: retention.ms=-1, because it is folded or audited."""

    name: str
    writer: str
    events: tuple[type[Event], ...]
    partitions: int = 0  # 0: as many as configured, the same for all of these
    keeps_all: bool = True


def partition_of(key: str, partitions: int) -> int:
    """murmur2 as Kafka's Java client does it (`murmur2_random` in librdkafka): never librdkafka's default, CRC32."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's murmur2, unsigned 32 bits."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little")
        k = (k * m) & mask
        k ^= k >> 24
        h = (h * m) & mask
        h ^= (k * m) & mask
    rest = data[whole:]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)
