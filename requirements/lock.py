"""The locks: made from pyproject.toml by `make lock`, compared with it, without a network, by `make check`.

Each lock carries hashes and no index address, so that pip's own configuration decides where packages come from.
The first line of a lock is the hash of everything in pyproject.toml that a lock depends on.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYPROJECT = HERE.parent / "pyproject.toml"

# What pip is given -> what it holds. The widest comes first; the others are constrained to its versions.
LOCKS = {
    "development.txt": ("--extra", "embedded", "--group", "test", "--group", "dev"),
    "embedded.txt": ("--extra", "embedded"),
    "production.txt": (),
}


def fingerprint(pyproject: Path = PYPROJECT) -> str:
    tables = tomllib.loads(pyproject.read_text())
    project = tables["project"]
    relevant = {
        "requires-python": project["requires-python"],
        "dependencies": sorted(project["dependencies"]),
        "optional-dependencies": project.get("optional-dependencies", {}),
        "dependency-groups": tables.get("dependency-groups", {}),
        "build-system": tables["build-system"],
    }
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def header() -> str:
    return f"# pyproject.toml {fingerprint()}; made by `make lock`, not by hand\n"


def make(uv: str) -> None:
    for name, extra in LOCKS.items():
        target = HERE / name
        constraint = () if name == "development.txt" else ("--constraint", str(HERE / "development.txt"))
        command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-header", "--no-annotate", *extra, *constraint]
        compiled = subprocess.run(
            [*command, str(PYPROJECT)], check=True, stdout=subprocess.PIPE, text=True, cwd=PYPROJECT.parent
        ).stdout
        if "://" in compiled:
            sys.exit(f"{name}: uv wrote an address into the lock")
        target.write_text(header() + compiled)
        print(
            f"{target.relative_to(HERE.parent)}: {sum(line[:1].isalnum() for line in compiled.splitlines())} packages"
        )


def check() -> int:
    stale = [name for name in LOCKS if not (HERE / name).exists() or not _is_current(HERE / name)]
    for name in stale:
        print(f"requirements/{name} was not made from this pyproject.toml: run `make lock`", file=sys.stderr)
    return 1 if stale else 0


def _is_current(lock: Path) -> bool:
    with lock.open() as lines:
        return lines.readline() == header()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the locks with pyproject.toml")
    parser.add_argument("--uv", default="uv", help="the uv that compiles (default: the one on PATH)")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    make(arguments.uv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
