"""The example in each command's help is one that works: no example is wrong use."""

from __future__ import annotations

import itertools
import shlex
import time
import types
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
from typer.testing import CliRunner

import console.cli
from console.cli import app
from console.web import app as web
from infra.clickhouse.questions import bind, question, questions
from infra.settings import Secret
from tests.console.desks import CLUSTER, Office
from tests.console.test_cli import CONFIGURATION, bootstrap

EXAMPLE = "Example: "
NO = 1  # nobody knows an R-1093 here: the use was right, and the answer is no


def commands(at: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its path, groups included."""
    for info in at.registered_commands:
        yield (*path, info.name or info.callback.__name__), info
    for group in at.registered_groups:
        yield from commands(group.typer_instance, (*path, group.name))


def examples() -> Iterator[list[str]]:
    """What each help page shows, without `steward` and what the shell does around it."""
    for _, info in commands(app):
        for line in str(info.epilog).removeprefix(EXAMPLE).split("    or: "):
            words = shlex.split(line.rpartition(" | ")[2].partition(" > ")[0])
            assert words[0] == "steward", line
            yield words[1:]


class Audit:
    """Knows the questions that there are."""

    async def query(self, name: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        bind(question(name), params)
        return {"columns": ["cluster"], "rows": []}

    async def verify(self, cluster_id: str, source: str = "clickhouse") -> Mapping[str, Any]:
        return {"ok": True, "text": "whole"}

    async def export(self, cluster_id: str, since: str, until: str) -> AsyncIterator[bytes]:
        async def lines() -> AsyncIterator[bytes]:
            yield b'{"end":{"records":0,"topics":{},"sha256":""}}\n'

        return lines()


class Replays:
    """Every incident comes out the same."""

    async def replay(self, incident: str, source: str) -> Mapping[str, Any]:
        return {"ok": True, "text": "the same"}


@pytest.fixture
def office() -> Office:
    office = Office()
    office.incident("INC-2f81")
    return office


@pytest.fixture
def at_console(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory with a configuration and the files that examples name, and a console that answers in this process."""
    from fastapi.testclient import TestClient

    async def take_in(body: bytes) -> str:
        return "1 alerts published"

    office.desk.take_in = take_in
    monkeypatch.setenv("TOKEN_OF_ANNA", "token-of-anna")
    monkeypatch.setenv("STEWARD_TOKEN", "token-of-anna")
    monkeypatch.setenv("STEWARD_CONSOLE", "http://console")
    monkeypatch.delenv("STEWARD_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steward.toml").write_text(CONFIGURATION)
    (tmp_path / "alerts.json").write_text("{}")
    api = web(office.desk, {"anna": Secret.parse("env:TOKEN_OF_ANNA")}, audit=Audit(), replays=Replays(), answer_s=0.1)
    with TestClient(api, base_url="http://console") as client:
        watched = itertools.count(1)

        def request(method: str, url: str, *, timeout: float, trust_env: bool, **what: Any) -> Any:
            if url.endswith("/events") and next(watched) > 2:
                raise KeyboardInterrupt  # whoever watches has seen enough
            return client.request(method, url, **what)

        def stream(method: str, url: str, *, timeout: float, trust_env: bool, **what: Any) -> Any:
            return client.stream(method, url, **what)

        monkeypatch.setattr(httpx, "request", request)
        monkeypatch.setattr(httpx, "stream", stream)
        yield


@pytest.mark.parametrize("words", list(examples()), ids=" ".join)
def test_an_example_is_not_wrong_use(
    words: list[str], at_console: None, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap(
        monkeypatch,
        up=lambda settings, embedded: 0,
        run=lambda settings, roles: 0,
        doctor=lambda settings: [],
        topics=lambda settings, verb: ([], []),
        topics_rendered=lambda settings: "",
        leftovers=lambda settings, cluster: [],
        migrate_audit=lambda settings: [],
        rbac_rendered=lambda settings, system: "",
        rbac_audit=lambda settings: [],
        publish_control=lambda settings, event: None,
    )
    minutes = itertools.count(0, 60)
    hurried = types.SimpleNamespace(**vars(time) | {"monotonic": lambda: next(minutes), "sleep": lambda seconds: None})
    monkeypatch.setattr(console.cli, "time", hurried)
    monkeypatch.setattr(console.cli, "WATCH_WAIT_S", 0.01)
    if words[:1] == ["init"]:
        Path("steward.toml").unlink()
    given = [*words[:-1], "it has to be"] if words[-1] == "..." else words
    if "--yes" not in given and words[:2] == ["policy", "apply"]:
        given = [*given, "--yes"]  # nobody is there to ask

    result = CliRunner().invoke(app, given, input="{}")

    assert result.exit_code in (0, NO), result.output
    assert isinstance(result.exception, SystemExit | None), result.exception


@pytest.mark.parametrize("name", questions())
def test_a_questions_own_example_asks_it(name: str) -> None:
    steward, audit, query, asked, *given = shlex.split(question(name).example)
    assert [steward, audit, query, asked] == ["steward", "audit", "query", name]
    assert given[::2] == ["--param"] * (len(given) // 2)
    bind(question(name), dict(pair.split("=", 1) for pair in given[1::2]))


def test_help_shows_every_word_of_what_is_written_brackets_too() -> None:
    """Rich takes `[policy]` for markup, and leaves it out."""

    def squeezed(text: str) -> str:
        return "".join(text.replace("\\[", "[").replace("│", "").split())

    for path, info in commands(app):
        shown = squeezed(CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "1000"}).stdout)
        said = [info.callback.__doc__, info.epilog]
        for hint in get_type_hints(info.callback, include_extras=True).values():
            said += [getattr(of, "help", None) for of in getattr(hint, "__metadata__", ())]
        for text in filter(None, said):
            assert squeezed(text) in shown, path


def test_every_command_shows_one() -> None:
    for path, info in commands(app):
        assert str(info.epilog).startswith(f"{EXAMPLE}steward {' '.join(path)}"), path


def test_they_are_about_the_cluster_that_these_tests_have() -> None:
    assert any(CLUSTER in words for words in examples())
