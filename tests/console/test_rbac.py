"""`steward rbac`, and how far the audit is behind in `steward status`: what is printed, and the exit code."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

from bootstrap.edges import Edges
from bootstrap.rbac import Row
from infra.process import Process
from infra.settings import ConfigError, Settings, parse
from infra.telemetry import Metrics
from tests.console.desks import Office
from tests.console.test_cli import (  # noqa: F401  (fixtures)
    Steward,
    at_console,
    bootstrap,
    console,
    office,
    steward,
)


@pytest.mark.parametrize(
    ("system", "has"),
    [
        ("kafka", "--allow-principal User:admin --operation Create --operation Describe --operation DescribeConfigs"),
        ("clickhouse", "GRANT INSERT, SELECT(topic, partition, offset) ON steward.events TO steward_sink;"),
        ("kubernetes", "automountServiceAccountToken: false"),
    ],
)
def test_rights_are_written_out_without_any_credentials(steward: Steward, system: str, has: str) -> None:  # noqa: F811
    result = steward("rbac", "render", system)
    assert result.exit_code == 0, result.output
    assert has in result.stdout
    assert json.loads(steward("rbac", "render", system, "--json").stdout)["system"] == system


def test_topics_and_rights_share_the_same_acls(steward: Steward) -> None:  # noqa: F811
    def acls(*command: str) -> list[str]:
        return [line for line in steward(*command).stdout.splitlines() if line.startswith("kafka-acls.sh")]

    assert acls("rbac", "render", "kafka") == acls("topics", "render") != []


def test_a_system_that_we_keep_no_rights_for_is_wrong_use(steward: Steward) -> None:  # noqa: F811
    result = steward("rbac", "render", "postgres")
    assert result.exit_code == 2
    assert "kafka, clickhouse, kubernetes" in result.stderr


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([Row("kafka", "execute", "ok", "fine")], 0),
        ([Row("kafka", "execute", "ok", "fine"), Row("kafka", "intake", "beyond", "WRITE on topic controls")], 1),
        ([Row("kafka", "execute", "short", "READ on topic controls")], 1),
        ([Row("kafka", "admin", "unknown", "may not ask")], 1),
        ([Row("kafka", "admin", "unknown", "nobody there", unreached=True)], 3),
        ([Row("kafka", "admin", "unknown", "nobody there", unreached=True), Row("clickhouse", "u", "beyond", "x")], 1),
    ],
)
def test_what_differs_from_the_tables_is_exit_1_and_what_is_not_reached_3(
    steward: Steward,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Row],
    code: int,
) -> None:
    bootstrap(monkeypatch, rbac_audit=lambda settings: rows)
    result = steward("rbac", "audit")
    assert result.exit_code == code
    for row in rows:
        assert f"{row.system}\t{row.principal}\t{row.verdict}\t{row.text}" in result.stdout
    assert json.loads(steward("rbac", "audit", "--json").stdout)["rows"][0]["text"] == rows[0].text


def test_how_far_the_audit_is_behind_is_in_status(at_console: Steward, office: Office) -> None:  # noqa: F811
    assert "audit" not in at_console("status").stdout
    assert json.loads(at_console("status", "--json").stdout)["audit_lag"] is None

    office.desk.audit_lag = lambda: {"outcomes": 700, "alerts": 0, "tickets": 12}
    assert "audit behind by 712 records: outcomes 700, tickets 12" in at_console("status").stdout
    assert json.loads(at_console("status", "--json").stdout)["audit_lag"] == {"outcomes": 700, "tickets": 12}

    office.desk.audit_lag = lambda: {"outcomes": 0}
    assert "audit up to date" in at_console("status").stdout


# -- whose credentials


def edges(settings: Settings) -> Edges:
    return Edges(settings, {}, lambda role: types.SimpleNamespace(), Metrics(), Process())  # type: ignore[arg-type, return-value]


def test_the_console_and_the_sink_have_credentials_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ch").mkdir()
    (tmp_path / "ch" / "audit").write_text("sink:of-the-sink")
    store = {"url": "http://127.0.0.1:1/steward", "credentials": "dir:ch"}
    made = edges(parse({"environment": "t", "clickhouse": store}, base=tmp_path))

    assert made._store("audit")._credentials == ("sink", "of-the-sink")
    with pytest.raises(ConfigError, match=r"can.t read .*/ch/auditor"):
        made._store("auditor")
    (tmp_path / "ch" / "auditor").write_text("reader:of-the-reader")
    assert made._store("auditor")._credentials == ("reader", "of-the-reader")
    assert made._store("auditor") is made._store("auditor") is not made._store("audit")


def test_an_embedded_engine_is_one_for_all_roles_of_a_process(tmp_path: Path) -> None:
    made = edges(parse({"environment": "t", "clickhouse": {"url": f"chdb:{tmp_path}"}}))
    assert made._store("audit") is made._store("auditor")
