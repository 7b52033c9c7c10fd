"""Writes the Avro schemas out, a file a version: schemas/avro/<Event>/v<N>.avsc. Versions are only ever added.

`python -m schemas.generate` writes a new version where an event changed; `--check` says what is missing or
incompatible.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import fastavro

from schemas.avro import schema_of
from schemas.events import all_events
from schemas.wire import AVRO_DIRECTORY


def versions(name: str, directory: Path = AVRO_DIRECTORY) -> list[dict[str, Any]]:
    """The committed versions of one event, oldest first."""
    paths = sorted((directory / name).glob("v*.avsc"), key=lambda p: int(p.stem[1:]))
    return [json.loads(p.read_text()) for p in paths]


def is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def incompatibilities(all_versions: list[dict[str, Any]]) -> list[str]:
    """FULL_TRANSITIVE: every version must read what every other wrote. One line a failure."""
    found = []
    for writer, reader in itertools.permutations(range(len(all_versions)), 2):
        if problem := cannot_read(all_versions[writer], all_versions[reader]):
            found.append(f"{reader_name(reader)} cannot read what {reader_name(writer)} wrote: {problem}")
    return found


def reader_name(index: int) -> str:
    return f"v{index + 1}"


def cannot_read(writer: dict[str, Any], reader: dict[str, Any], path: str = "") -> str | None:
    """Why `reader` cannot read every value of `writer` (schema resolution over the subset that we generate)."""
    return _resolve(writer, reader, path, _named(writer, {}), _named(reader, {}))


def _named(schema: Any, found: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema, list):
        for branch in schema:
            _named(branch, found)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            found[f"{schema.get('namespace', 'steward')}.{schema['name']}"] = schema
            for field in schema["fields"]:
                _named(field["type"], found)
        else:
            _named(schema.get("items", schema.get("values")), found)
    return found


def _resolve(w: Any, r: Any, path: str, ws: dict[str, Any], rs: dict[str, Any]) -> str | None:
    w = ws.get(w, w) if isinstance(w, str) else w
    r = rs.get(r, r) if isinstance(r, str) else r
    if isinstance(w, list):
        return next((p for branch in w if (p := _resolve(branch, r, path, ws, rs))), None)
    if isinstance(r, list):
        problems = [_resolve(w, branch, path, ws, rs) for branch in r]
        return None if None in problems else f"{path}: no branch of the reader fits {_kind(w)}"
    if _kind(w) != _kind(r):
        return f"{path}: {_kind(w)} became {_kind(r)}"
    if not isinstance(w, dict):
        return None
    if w["type"] != "record":
        inner = "items" if w["type"] == "array" else "values"
        return _resolve(w[inner], r[inner], f"{path}[]", ws, rs)
    written = {f["name"]: f for f in w["fields"]}
    for field in r["fields"]:
        there = f"{path}.{field['name']}".lstrip(".")
        if field["name"] not in written:
            if "default" not in field:
                return f"{there}: has no default, and the writer has no such field"
        elif problem := _resolve(written[field["name"]]["type"], field["type"], there, ws, rs):
            return problem
    return None


def _kind(schema: Any) -> str:
    if not isinstance(schema, dict):
        return str(schema)
    return f"record {schema['name']}" if schema["type"] == "record" else str(schema["type"])


def check(directory: Path = AVRO_DIRECTORY) -> list[str]:
    """What is not fresh or not compatible, one line each."""
    problems = []
    for name, event in all_events().items():
        known = versions(name, directory)
        if not known or not is_same(known[-1], json.loads(json.dumps(schema_of(event)))):
            problems.append(f"{name}: schemas/avro/{name} is not fresh: run `python -m schemas.generate`")
        problems += [f"{name}: {p}" for p in incompatibilities(known)]
    return problems


def write(directory: Path = AVRO_DIRECTORY) -> list[Path]:
    """Add a version for each event that changed. Refuses (ValueError) a change that breaks an old reader or writer."""
    written = []
    for name, event in all_events().items():
        known, now = versions(name, directory), json.loads(json.dumps(schema_of(event)))
        if known and is_same(known[-1], now):
            continue
        if problems := incompatibilities([*known, now]):
            raise ValueError(f"{name}: {problems[0]}")
        path = directory / name / f"v{len(known) + 1}.avsc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(now, indent=1) + "\n")
        written.append(path)
    return written


def round_trip(writer: dict[str, Any], reader: dict[str, Any], value: dict[str, Any]) -> Any:
    """A value written by one version and read by another, by the Avro library itself."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(writer))), value)
    out.seek(0)
    return fastavro.schemaless_reader(
        out,
        fastavro.parse_schema(json.loads(json.dumps(writer))),
        fastavro.parse_schema(json.loads(json.dumps(reader))),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something is not fresh")
    if parser.parse_args().check:
        problems = check()
        print("\n".join(problems) or f"{len(all_events())} event schemas are fresh and compatible")
        return 1 if problems else 0
    for path in write():
        print(f"wrote {path.relative_to(AVRO_DIRECTORY.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
