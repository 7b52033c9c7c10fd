"""`steward audit`: lists, tables, CSV, SQL and exports, as people and their spreadsheets get them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from console.audit_commands import COLUMNS_MAX
from console.cli import app
from console.desk import Refusal
from console.spreadsheet import csv_text
from console.terminal import as_records
from console.web import app as web
from infra.clickhouse.dashboard import FILE
from infra.clickhouse.questions import QuestionRefused, bind, question, questions
from infra.clickhouse.verify import Source
from infra.settings import Secret
from tests.console.desks import Office

END = b'{"end":{"records":2,"topics":{},"sha256":"ab"}}\n'
ROWS: list[list[Any]] = [["prod-eu-7", "=HYPERLINK(1)", -3, 0.5, True, None, ["anna", "ben"], 'say "hi",\nplease']]
COLUMNS = ["cluster", "text", "n", "share", "ok", "at", "people", "said"]


class Audit:
    """Answers every question that there is with ROWS, and exports what `pages` says."""

    pages: tuple[bytes, ...] = (b'{"a":1}\n{"b"', b":2}\n" + END)

    async def query(self, name: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            bind(question(name), params)
        except QuestionRefused as refused:
            raise Refusal("wrong_use", "bad_params", str(refused), "params") from None
        return {"columns": COLUMNS, "rows": ROWS, "ok": not question(name).must_be_empty}

    async def verify(self, cluster_id: str, source: Source = "clickhouse") -> Mapping[str, Any]:
        raise AssertionError("nobody asks here")

    async def export(self, cluster_id: str, since: str, until: str) -> AsyncIterator[bytes]:
        async def some() -> AsyncIterator[bytes]:
            for page in self.pages:
                yield page

        return some()


Steward = Callable[..., Any]


@pytest.fixture
def audit() -> Audit:
    return Audit()


@pytest.fixture
def steward(audit: Audit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Steward]:
    """Runs one command in an empty directory, with a console in this process and no configuration."""
    from fastapi.testclient import TestClient

    monkeypatch.setenv("TOKEN_OF_ANNA", "token-of-anna")
    monkeypatch.setenv("STEWARD_TOKEN", "token-of-anna")
    monkeypatch.setenv("STEWARD_CONSOLE", "http://console")
    monkeypatch.chdir(tmp_path)
    api = web(Office().desk, {"anna": Secret.parse("env:TOKEN_OF_ANNA")}, audit=audit, answer_s=0.1)
    with TestClient(api, base_url="http://console") as client:

        def without(call: Any) -> Any:
            return lambda method, url, *, timeout, trust_env, **what: call(method, url, **what)

        monkeypatch.setattr(httpx, "request", without(client.request))
        monkeypatch.setattr(httpx, "stream", without(client.stream))
        yield lambda *args: CliRunner().invoke(app, ["audit", *args])


@pytest.mark.parametrize("args", [("query",), ("query", "--list"), ("sql",)])
def test_without_a_name_every_question_is_listed_and_nobody_is_asked(
    steward: Steward, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    monkeypatch.delenv("STEWARD_TOKEN")
    result = steward(*args)
    assert result.exit_code == 0, result.output
    head, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert head == ["question", "parameters", "rows", "what it answers"]
    assert [line[0] for line in lines] == list(questions())
    by_name = {line[0]: line for line in lines}
    assert by_name["what-touched-store"][1] == "cluster, store"
    assert by_name["freezes"][1] == "[cluster]"
    assert by_name["overlapping-claims"][2] == "must be none"
    told = json.loads(steward(*args, "--json").stdout)["questions"]
    assert [q["name"] for q in told] == list(questions())
    assert {"purpose", "params", "columns", "notes", "example", "must_be_empty"} <= set(told[0])


def test_what_is_too_wide_for_a_table_is_shown_row_under_row() -> None:
    assert as_records(["said_at", "by"], [["8:00", "anna\x1b[2J"], ["9:00", ""]]) == (
        "-- 1 of 2\nsaid_at  8:00\nby       anna?[2J\n-- 2 of 2\nsaid_at  9:00\nby       -"
    )
    assert as_records(["a"], [], "no rows") == "no rows"
    assert len(question("who-approved").columns) > COLUMNS_MAX >= len(question("what-touched-store").columns)


def test_csv_is_what_a_spreadsheet_reads_and_does_not_compute(steward: Steward) -> None:
    result = steward("query", "freezes", "--csv")
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes.endswith(b"\r\n")
    (row,) = csv.DictReader(io.StringIO(result.stdout_bytes.decode(), newline=""))
    assert row == {
        "cluster": "prod-eu-7",
        "text": "'=HYPERLINK(1)",
        "n": "-3",
        "share": "0.5",
        "ok": "true",
        "at": "",
        "people": '["anna", "ben"]',
        "said": 'say "hi", please',
    }


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\x00=1"])
def test_no_text_of_others_begins_a_formula(text: str) -> None:
    _, (cell,) = csv.reader(io.StringIO(csv_text(["a"], [[text]]), newline=""))
    assert cell[0] not in "=+-@\t\r\n "


def test_a_check_with_rows_is_a_no_in_every_form(steward: Steward) -> None:
    for form in ((), ("--csv",), ("--json",)):
        result = steward("query", "overlapping-claims", *form)
        assert result.exit_code == 1
        assert "prod-eu-7" in result.stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("query", "freezes", "--csv", "--json"), "can't be both"),
        (("query", "freezes", "--param", "cluster"), "K=V"),
        (("query", "freezes", "--param", "cluster=a", "--param", "cluster=b"), "given twice"),
        (("query", "what-touched-store", "--param", "store=four"), "store is not a UInt64"),
        (("query", "what-touched-store", "--param", "store=four"), "needs cluster"),
        (("sql", "what-touched-store", "--param", "store=four"), "store is not a UInt64"),
        (("sql", "who-did-it"), "there are chain-breaks"),
        (("export", "-o", "nowhere/at/all"), "No such file"),
    ],
)
def test_wrong_use_is_said_with_its_name_and_reason(steward: Steward, args: tuple[str, ...], says: str) -> None:
    result = steward(*args)
    assert (result.exit_code, says in result.stderr) == (2, True), result.output


def test_sql_is_printed_with_its_parameters_and_without_a_console(
    steward: Steward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEWARD_TOKEN")
    result = steward("sql", "owed-undos", "--param", "cluster=prod-eu-7", "--param", "at=2027-01-31")
    assert result.exit_code == 0, result.output
    assert "SET use_query_condition_cache = 0;" in result.stdout
    assert "SET param_cluster = 'prod-eu-7';" in result.stdout
    assert "SET param_at = '2027-01-31 00:00:00.000';" in result.stdout
    assert result.stdout.endswith(question("owed-undos").sql + ";\n")
    assert json.loads(steward("sql", "owed-undos", "--json").stdout)["sql"] == question("owed-undos").sql


def test_an_export_goes_to_stdout_or_into_a_file_as_it_came(steward: Steward, audit: Audit, tmp_path: Path) -> None:
    whole = b"".join(audit.pages)
    assert steward("export").stdout_bytes == whole
    result = steward("export", "prod-eu-7", "--since", "2027-01-01", "-o", "audit.jsonl", "--json")
    assert (result.exit_code, json.loads(result.stdout)["records"]) == (0, 2), result.output
    assert (tmp_path / "audit.jsonl").read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["audit.jsonl"]


@pytest.mark.parametrize("pages", [(), (b'{"a":1}\n',), (b'{"a":1}\n', END[:-1])])
def test_an_export_that_was_cut_off_is_none(
    steward: Steward, audit: Audit, tmp_path: Path, pages: tuple[bytes, ...]
) -> None:
    audit.pages = pages
    result = steward("export", "-o", "audit.jsonl")
    assert (result.exit_code, "cut off" in result.stderr) == (3, True), result.output
    assert list(tmp_path.iterdir()) == []
    assert steward("export").exit_code == 3


def test_the_dashboard_is_the_file_of_the_package(steward: Steward) -> None:
    assert steward("dashboard").stdout == FILE.read_text()
