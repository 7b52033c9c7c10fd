"""The status port of a store's TiKV, as far as its settings go: shown, changed online, and what a restart keeps of it.

As TiKV's own status server does it, `src/server/status_server` and `src/config`: answers are untyped text but for the
configuration itself, and before 7.4.0 `persist=false` is read over (tikv/tikv#15587): the change goes into the file.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pdsim.stores import SETTINGS, State, Store
from pdsim.wire import Answer, Request, Response, Silence, parsed_query
from pdsim.world import World

FIXED: dict[str, str] = {"storage.data-dir": "/data/tikv", "rocksdb.wal-dir": "", "server.labels-file": ""}
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"([0-9.eE+-]+)\s*(?:([KMGTP])(?:i?B)?|B|)")
_PERSISTS_ONLY_IF_ASKED = (7, 4)


def at_host(world: World, host: str) -> Store | None:
    """The store whose status port this is; of a Tombstone there is none left."""
    return next((s for s in world.stores.values() if host and s.status_address == host), None)


def answer(store: Store, request: Request) -> Answer:
    if not store.alive or store.state is State.Tombstone:
        return Silence("refused")
    match request.method, request.path:
        case "GET", "/status":
            return Response(200)
        case "GET", "/config":
            return Response(200, (("content-type", "application/json"),), json.dumps(_shown(store)).encode())
        case "POST", "/config":
            return _change(store, request)
    return _text(404, "path not found")


def _text(status: int, text: str) -> Response:
    return Response(status, (), text.encode())


def _shown(store: Store) -> dict[str, Any]:
    addresses = {
        "server.addr": "0.0.0.0:20160",
        "server.advertise-addr": store.address,
        "server.status-addr": "0.0.0.0:20180",
        "server.advertise-status-addr": store.status_address,
        "raftstore.apply-pool-size": 2,
    }
    shown: dict[str, Any] = {}
    for key, value in (FIXED | addresses | store.settings.now).items():
        *modules, name = key.split(".")
        at = shown
        for module in modules:
            at = at.setdefault(module, {})
        at[name] = value
    return shown


def _change(store: Store, request: Request) -> Response:
    persist = parsed_query(request.query).get("persist", ["true"])[0]
    if persist not in ("true", "false"):
        return _text(400, "provided string was not `true` or `false`")
    try:
        asked = json.loads(request.body)
    except ValueError:
        return _text(500, 'failed to decode, error: Error("expected value", line: 1, column: 1)')
    if not isinstance(asked, dict) or not all(isinstance(v, str | int | float) for v in asked.values()):
        return _text(500, 'failed to decode, error: "wrong format"')
    changed = {}
    for key, given in asked.items():
        value = json.dumps(given) if not isinstance(given, str) else given
        if key not in SETTINGS:
            name = key.rpartition(".")[2]
            if key in FIXED:
                return _text(500, f'failed to update, error: "config {name.replace("-", "_")} can not be changed"')
            return _text(500, f'failed to update, error: "unexpect fields: {name.replace("-", "_")}"')
        if (size := _size(value)) is None:
            return _text(500, f'failed to update, error: "failed to parse: {value}"')
        changed[key] = _readable(size)
    store.settings.now |= changed
    if persist == "true" or tuple(int(n) for n in store.version.split(".")[:2]) < _PERSISTS_ONLY_IF_ASKED:
        store.settings.file |= changed
    return Response(200)


def _size(text: str) -> int | None:
    """ReadableSize's FromStr: a fraction and an exponent are fine, a number without a unit is bytes."""
    found = _SIZE.fullmatch(text.strip().strip('"'))
    if found is None:
        return None
    try:
        return int(float(found[1]) * _UNITS[found[2]]) if found[2] else int(found[1])
    except (ValueError, OverflowError):
        return None


def _readable(size: int) -> str:
    """And how it is shown: in the largest unit that divides it."""
    if size == 0:
        return "0KiB"
    unit = next((u for u in "PTGMK" if size % _UNITS[u] == 0), "")
    return f"{size // _UNITS[unit]}{unit}iB" if unit else f"{size}B"
