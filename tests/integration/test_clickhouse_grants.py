"""Each account does what it is there for, and is refused all else: by the engine's own access control.

In a chDB with one user, who has the account's rights and settings, the engine enforces them as a server does. What only
a server has (users, roles, passwords, profiles made by the rendered SQL, over HTTP) is tried where there is one.
"""

import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.clickhouse.grants import ACCOUNTS, AUDITOR, MIGRATOR, SINK, WITNESS, Account, statements
from infra.clickhouse.migrate import migrate
from infra.clickhouse.store import open_store
from tests.integration.clickhouse_accounts import DENIED, differs, does, refused
from tests.servers import ClickhouseDatabase

ROOT = Path(__file__).parents[2]


def told(of: Account, path: Path, hides: str = "") -> dict[str, Any]:
    """What a process that is this account did, and was refused."""
    program = [sys.executable, "-m", "tests.integration.clickhouse_accounts", of.member, str(path), hides]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.clickhouse
def test_each_account_does_its_work_and_is_refused_all_else_by_the_real_engine(tmp_path: Path) -> None:
    pytest.importorskip("chdb")
    for of in (MIGRATOR, SINK, AUDITOR, WITNESS):
        said = told(of, tmp_path / "chdb")
        assert said["did"]
        assert said["differs"] == []
        assert set(said["refused"]) == set(DENIED[of.member])
        for statement, why in said["refused"].items():
            words = ("ACCESS_DENIED", "READONLY", "SETTING_CONSTRAINT_VIOLATION")
            assert any(w in why for w in words), f"{of.member} was not refused {statement}: {why}"

    hidden = told(AUDITOR, tmp_path / "chdb", hides="topic != 'outcomes'")
    assert hidden["touched"] == ["of 25 rows of events this user is shown 17: a row policy or a filter hides them"]


def test_the_engine_reads_every_statement_that_is_rendered(clickhouse: ClickhouseDatabase) -> None:
    client = clickhouse.client()
    made = [statement for _, some in statements("some-where") for statement in some]
    assert len(made) > 20
    for statement in made:
        (formatted,) = client.query("SELECT formatQuery({sql:String})", parameters={"sql": statement}).result_rows[0]
        assert formatted


# -- on a server


@pytest.fixture
def server(clickhouse: ClickhouseDatabase) -> Iterator[dict[str, tuple[str, str]]]:
    """The rendered SQL, run: (user, password) by member. Under names of its own, and dropped afterwards."""
    if clickhouse.url.startswith("chdb:"):
        pytest.skip("users and roles need a ClickHouse server: chDB has one user; no CLICKHOUSE_URL, no Docker")
    ours = f"{clickhouse.name}_"
    admin = clickhouse.client()
    logins = {of.member: (of.login.replace("steward_", ours), secrets.token_hex(16)) for of in ACCOUNTS}
    try:
        for _, made in statements(clickhouse.name):
            for statement in made:
                for of in ACCOUNTS:
                    hashed = hashlib.sha256(logins[of.member][1].encode()).hexdigest()
                    statement = statement.replace(f"SHA256-OF-THE-PASSWORD-OF-{of.login}", hashed)
                admin.command(statement.replace("steward_", ours))
        yield logins
    finally:
        for of in ACCOUNTS:
            role = of.role.replace("steward_", ours)
            admin.command(f"DROP USER IF EXISTS {logins[of.member][0]}")
            admin.command(f"DROP ROLE IF EXISTS {role}")
            admin.command(f"DROP SETTINGS PROFILE IF EXISTS {role}")
        admin.close()


def test_on_a_server_the_rendered_sql_gives_each_user_its_rights_and_no_others(
    clickhouse: ClickhouseDatabase, server: dict[str, tuple[str, str]]
) -> None:
    assert migrate(clickhouse.url, server["migrator"], clickhouse.name)
    for of in (SINK, AUDITOR, WITNESS, MIGRATOR):
        store = open_store(clickhouse.url, server[of.member], clickhouse.name)
        if of is not MIGRATOR:
            assert does(store, of.member)
        assert differs(store, of) == []
        for statement, why in refused(store, of.member, server[of.member][0]).items():
            assert why, f"{of.member} was not refused {statement}"
        store.close()


def test_on_a_server_a_password_that_was_not_filled_in_makes_no_user(
    clickhouse: ClickhouseDatabase, server: dict[str, tuple[str, str]]
) -> None:
    from clickhouse_connect.driver.exceptions import ClickHouseError

    (made,) = [
        s for _, some in statements(clickhouse.name) for s in some if s.startswith("CREATE USER") and "sink" in s
    ]
    with pytest.raises(ClickHouseError):
        clickhouse.client().command(made.replace("steward_", f"{clickhouse.name}_unfilled_"))
