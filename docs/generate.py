"""Writes the pages, and the parts of pages, that derive from the code: `python -m docs.generate`.

With --check it writes nothing and exits 1 where a page is not what the code says, naming it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs import codes, pages, pictures
from infra.clickhouse import dashboard

ROOT = Path(__file__).resolve().parent.parent
DO_NOT_EDIT = "<!-- Written by `python -m docs.generate` from {source}. Change it there. -->\n\n"

# page -> (what it derives from, what it says)
WHOLE: Mapping[str, tuple[str, Callable[[], str]]] = {
    "docs/reference/topics-and-events.md": ("streams/pipeline.py and schemas/events.py", pages.topics_and_events),
    "docs/reference/actions.md": ("actions/", pages.catalogue),
    "docs/reference/remediation-lifecycle.md": ("schemas/lifecycle.py", pages.lifecycle),
    "docs/reference/configuration.md": ("infra/settings.py and schemas/policy.py", pages.configuration),
    "docs/reference/alert-rules.md": ("schemas/alert_rules.py", pages.alert_rules),
    "docs/reference/command-line.md": ("console/cli.py", pages.command_line),
    "docs/reference/questions.md": ("infra/clickhouse/questions/", pages.questions),
    "docs/reference/codes.md": ("the source, read as text", codes.page),
}
# file that is no page -> what it says
FILES: Mapping[str, Callable[[], str]] = {"infra/clickhouse/steward-audit.json": dashboard.text}
# page -> (the name between its markers, what stands there)
PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"pipeline": pictures.pipeline},
    "docs/least-privilege.md": {
        "kafka": pages.kafka_grants,
        "pd": pages.pd_calls,
        "clickhouse": pages.clickhouse_grants,
    },
    "docs/howto/connect-alertmanager.md": {"receiver": pages.receiver},
}


def expected(root: Path = ROOT) -> dict[Path, str]:
    """Every page with something derived in it, as it should be. Raises ValueError for a page without its markers."""
    found = {}
    for name, (source, made) in WHOLE.items():
        found[root / name] = DO_NOT_EDIT.format(source=source) + made().rstrip("\n") + "\n"
    for name, written in FILES.items():
        found[root / name] = written()
    for name, parts in PARTS.items():
        text = (root / name).read_text()
        for part, made in parts.items():
            text = filled(text, part, made(), name)
        found[root / name] = text
    return found


def filled(text: str, part: str, made: str, page: str) -> str:
    """The page with this part renewed between its markers."""
    begin, end = f"<!-- begin generated: {part} -->", f"<!-- end generated: {part} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{page}: the markers of `{part}` have to be there once")
    renewed = f"{begin}\n\n{made.strip()}\n\n{end}"
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: renewed, text, flags=re.DOTALL)


def stale(root: Path = ROOT) -> list[Path]:
    """Pages that are missing, or not as they should be."""
    return [path for path, text in expected(root).items() if not path.exists() or path.read_text() != text]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is not fresh")
    check = parser.parse_args().check
    texts, found = expected(), stale()
    for path in found:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is not fresh: run `python -m docs.generate`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path])
            print(f"wrote {name}")
    if not found:
        print(f"{len(WHOLE) + len(FILES) + len(PARTS)} pages are fresh")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
