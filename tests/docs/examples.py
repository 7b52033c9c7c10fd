"""The examples of the how-to pages, taken from the pages themselves."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto"
_EXAMPLE = re.compile(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


def examples() -> dict[str, str]:
    """File name -> its text, of every page."""
    found: dict[str, str] = {}
    for page in sorted(HOWTO.glob("*.md")):
        for name, text in _EXAMPLE.findall(page.read_text()):
            assert name not in found, f"two examples are called {name}"
            found[name] = text
    return found


def written(name: str, directory: Path) -> Path:
    path = directory / name
    path.write_text(examples()[name])
    return path
