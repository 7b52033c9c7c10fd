"""Bad inputs by the hour: each decoder in a process of its own, led by what it covers. What breaks one is kept.

Exit 0: nothing broke; 1: something did, and stands in tests/fuzz/found, where `make test` tries it again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.decoders import DECODERS
from tests.fuzz.mutations import SIZE_MAX, mutated

EXAMPLE = """example:
  python -m tests.fuzz --seconds 60                       each decoder for a minute
  python -m tests.fuzz --decoder webhook --seconds 3600   one of them, for an hour"""
FOUND = Path(__file__).parent / "found"
HANGS_AFTER_S = 10
MEMORY_MAX_MB = 1_024


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--decoder", choices=tuple(DECODERS), metavar="NAME", help=", ".join(DECODERS))
    parser.add_argument("--seconds", type=int, default=30, metavar="N", help="for each decoder (30)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.inside:
        return _inside(given.decoder, given.seconds)
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("atheris is not here: it has no build for this platform or this Python. Nothing was tried.")
        return 1
    names = [given.decoder] if given.decoder else list(DECODERS)
    broken = [name for name in names if not _tried(name, given.seconds)]
    print(f"{len(names) - len(broken)} of {len(names)} decoders held" + (f"; broken: {broken}" if broken else ""))
    return 1 if broken else 0


def _tried(name: str, seconds: int) -> bool:
    """In a process of its own, which libFuzzer ends where something breaks."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--inside"]
    command += ["--decoder", name, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = done.stderr.splitlines()
    runs = next((line for line in reversed(said) if line.startswith("Done ")), "")
    print(f"{name:18} {'held' if done.returncode == 0 else 'BROKEN'} {runs}", flush=True)
    if done.returncode:
        print("\n".join(said[-25:]), file=sys.stderr)
    return done.returncode == 0


def _inside(name: str, seconds: int) -> int:
    import atheris

    decoder = DECODERS[name]
    decoder.decode(decoder.seeds()[0])  # what is made once

    def one(data: bytes) -> None:
        with contextlib.suppress(*decoder.errors):
            decoder.decode(data)

    place = FOUND / name
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate([*decoder.seeds(), *mutated(decoder.seeds(), 200, name)]):
            Path(corpus, str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-max_len={SIZE_MAX}", f"-timeout={HANGS_AFTER_S}"]
        options += [f"-rss_limit_mb={MEMORY_MAX_MB}", f"-artifact_prefix={place}{os.sep}", "-seed=1"]
        atheris.instrument_all()  # takes half a minute
        atheris.Setup([sys.argv[0], *options, corpus], one)
        atheris.Fuzz()  # does not come back
    return 0


if __name__ == "__main__":
    sys.exit(main())
