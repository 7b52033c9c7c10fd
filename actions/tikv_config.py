"""The settings of a TiKV that may be changed while it runs, our ranges for them, and how TiKV shows and reads them.

Read from the sources of TiKV 7.4.0 to 8.5.5: all three take effect at once and are shown as they are in force. Absent
on purpose: sizes of thread pools and of gRPC's memory (too small a one stops the store), whatever is read at a start
only, and `gc.max-write-bytes-per-sec` (without effect while GC is done by compaction, which is the default).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

KIB, MIB, GIB = 2**10, 2**20, 2**30
SIZE_BYTES_MAX = 2**53  # TiKV reads a number with a unit as a float
CONFIG_BYTES_MAX = 1 << 20  # a whole configuration is some 60 KiB
NOT_PERSISTED_SINCE = (7, 4, 0)  # before, `persist=false` is read over, and tikv.toml rewritten (tikv/tikv#15587)
KNOWN_BELOW = (9, 0, 0)
_UNITS = {"PiB": 2**50, "TiB": 2**40, "GiB": GIB, "MiB": MIB, "KiB": KIB, "B": 1}
_SIZE = re.compile(r"([1-9][0-9]{0,18})(B|KiB|MiB|GiB|TiB|PiB)")
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:[-+][0-9A-Za-z.+-]{1,64})?")


@dataclass(frozen=True)
class Key:
    """One setting, in bytes or bytes per second. The new value is between `least` and `most`, and at most `factor`
    times what it is, or a `factor`th; `only_down`: never above what it is."""

    unit: Literal["bytes", "bytes/s"]
    least: int
    most: int
    factor: int
    only_down: bool = False


KEYS: Mapping[str, Key] = {
    # Memory grows towards the host's limit: a smaller cache gives some back before the kernel kills the store.
    "storage.block-cache.capacity": Key("bytes", GIB, 256 * GIB, factor=2, only_down=True),
    # Replicas that are copied take the disk from clients, or are copied too slowly.
    "server.snap-io-max-bytes-per-sec": Key("bytes/s", 10 * MIB, GIB, factor=10),
    # Compaction takes the disk from clients; far below what they write, its debt grows until writes stall.
    "rocksdb.rate-bytes-per-sec": Key("bytes/s", 128 * MIB, 10 * GIB, factor=100),
}


def bytes_of(size: str) -> int | None:
    """`8GiB` as TiKV shows a size: whole, in the largest unit that divides it. None: unknown, and 0, which means no
    limit there or nothing at all."""
    found = _SIZE.fullmatch(size)
    if found is None:
        return None
    number = int(found[1]) * _UNITS[found[2]]
    return number if number <= SIZE_BYTES_MAX and size_text(number) == size else None


def size_text(size_bytes: int) -> str:
    """The one spelling of a size, TiKV's own: what is written is then shown letter by letter."""
    unit = next(u for u, factor in _UNITS.items() if size_bytes % factor == 0)
    return f"{size_bytes // _UNITS[unit]}{unit}"


def version_of(text: str) -> tuple[int, int, int] | None:
    """`8.5.4` or `v8.5.4-nightly`; None: no such version."""
    found = _VERSION.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


class NoSetting(Exception):
    """What a status port answered is not the configuration of a TiKV; `code` and text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Shown:
    """Of a configuration: the address by which its TiKV is known to PD, and one setting, as it is written there."""

    address: str
    value: str


def shown(body: bytes, key: str) -> Shown:
    """Of the answer to GET /config. Raises NoSetting; never guesses."""
    try:
        config = json.loads(body)
    except (ValueError, RecursionError):
        raise NoSetting("tikv_malformed", f"GET /config: not JSON: {body[:60].decode('utf-8', 'replace')!r}") from None
    advertised = _at(config, "server.advertise-addr")
    return Shown(advertised or _at(config, "server.addr"), _at(config, key))


def ended(body: bytes, meant: Mapping[str, str]) -> str:
    """Of PD's answer to GET /store/{id}: why the process that is meant has ended, or moved; empty: it is still there.
    `meant` has the address, the status address and the start as they were. Raises NoSetting."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise NoSetting("pd_malformed", "GET /store: not JSON") from None
    if isinstance(said, str) and said.startswith("[PD:core:ErrStoreNotFound]"):
        return "PD knows this store no more"
    store = said.get("store") if isinstance(said, dict) else None
    if not isinstance(store, dict) or str(store.get("id")) != meant["store_id"]:
        raise NoSetting("pd_malformed", f"GET /store: not about store {meant['store_id']}")
    if store.get("state_name") == "Tombstone":
        return "the store is a Tombstone"
    for name, was in (
        ("start_timestamp", "started_at_s"),
        ("address", "address"),
        ("status_address", "status_address"),
    ):
        if str(store.get(name)) != meant[was]:
            return f"the store's {name} was {meant[was]}, is {str(store.get(name))[:100]}"
    return ""


def _at(config: object, key: str) -> str:
    value = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise NoSetting("tikv_malformed", f"GET /config: {key} is missing")
        value = value[part]
    if not isinstance(value, str) or len(value) > 300:
        raise NoSetting("tikv_malformed", f"GET /config: {key} is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NoSetting("tikv_malformed", f"GET /config: {key} is no UTF-8") from None
    return value
