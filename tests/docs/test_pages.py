"""Pages name only what is there: links, anchors, files, commands, tests; and what is generated is fresh."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from console.cli import app
from docs import codes, generate
from infra.settings import Settings
from tests.docs.examples import ROOT

PAGES = sorted(p for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FILE = re.compile(r"`((?:[a-z_]+/)+[a-zA-Z0-9_.-]+\.(?:py|md|sql|toml|avsc)|bootstrap\.py)(?:: ([A-Za-z_.]+))?")
_TEST = re.compile(r"`(test_[A-Za-z0-9_]+)`")
_COMMAND = re.compile(r"`steward ([a-z][a-z -]*)")
_NOT_BUILT = {"replay", "grant", "audit sql", "audit export"}  # named by the README as not built
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """Of its headings, as they are made from them."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{_name(page)}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{_name(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_and_tests_that_are_named_are_there(page: Path) -> None:
    text = page.read_text()
    sources = "\n".join(p.read_text() for p in sorted((ROOT / "tests").rglob("test_*.py")))
    for name, inside in _FILE.findall(text):
        assert (ROOT / name).exists(), f"{_name(page)}: {name}"
        word = inside.rpartition(".")[2]
        assert re.search(rf"(def|class) {word}\b", (ROOT / name).read_text()) or not word, f"{_name(page)}: {word}"
    for name in _TEST.findall(text):
        assert f"def {name}(" in sources or list((ROOT / "tests").rglob(f"{name}.py")), f"{_name(page)}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_that_are_named_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    groups = getattr(root, "commands")  # noqa: B009  (typer's own click has no public types)
    for said in _COMMAND.findall(page.read_text()):
        words = said.split()
        if " ".join(words[:2]) in _NOT_BUILT or words[0] in _NOT_BUILT:
            continue
        assert words[0] in groups, f"{_name(page)}: steward {said}"
        below = getattr(groups[words[0]], "commands", None)
        if below is not None and len(words) > 1:
            assert words[1] in below, f"{_name(page)}: steward {said}"


def test_what_is_derived_is_fresh() -> None:
    assert [_name(path) for path in generate.stale()] == []


def test_a_stale_page_and_a_missing_one_are_found(tmp_path: Path) -> None:
    for path, text in generate.expected().items():
        fresh = tmp_path / path.relative_to(ROOT)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text)
    assert generate.stale(tmp_path) == []
    (tmp_path / "docs/reference/actions.md").write_text("old")
    (tmp_path / "docs/reference/codes.md").unlink()
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text().replace("subgraph ACT", "subgraph OTHER"))
    found = {str(path.relative_to(tmp_path)) for path in generate.stale(tmp_path)}
    assert found == {"docs/reference/actions.md", "docs/reference/codes.md", "README.md"}


def test_a_page_that_lost_its_markers_is_named() -> None:
    with pytest.raises(ValueError, match=r"README\.md: the markers of `pipeline`"):
        generate.filled("no markers", "pipeline", "made", "README.md")


def test_no_table_of_codes_is_empty() -> None:
    for group in codes.GROUPS:
        assert list(codes.found(group)), group.title


def test_every_section_of_the_configuration_is_on_its_page() -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text()
    for name in Settings.model_fields:
        assert name == "environment" or f"[{name}" in page, name
