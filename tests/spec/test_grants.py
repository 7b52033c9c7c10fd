"""One table of rights: what derives from it, and what a server's own word is worth against it."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from infra import kubernetes
from infra.acls import Acl
from infra.acls import beyond as beyond_acls
from infra.acls import short as short_of_acls
from infra.clickhouse.fitness import Setting
from infra.clickhouse.grants import (
    ACCOUNTS,
    AUDITOR,
    SINK,
    NotUnderstood,
    Right,
    beyond,
    grants_of,
    held,
    render,
    short,
    unfixed,
)
from infra.clickhouse.migrations import DIRECTORY, migrations
from infra.clickhouse.questions import questions
from infra.clickhouse.rows import NAMES
from infra.topics import ADMIN, grants
from streams.pipeline import EDGES, PROCESSORS

ROOT = Path(__file__).parents[2]


def as_said(of_member: str, database: str = "steward") -> list[str]:
    """What a server says of an account that has what the table says."""
    of = next(a for a in ACCOUNTS if a.member == of_member)
    return [f"{grant} TO someone" for grant in grants_of(of, database)]


# -- ClickHouse


def test_nobody_at_run_time_may_change_or_end_what_is_on_record() -> None:
    for of in ACCOUNTS:
        allowed = {right.privilege for right in of.rights}
        makes = {"CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "TABLE ENGINE", "ALTER ADD COLUMN", "DROP VIEW"}
        assert allowed <= ({"SELECT", "INSERT"} if of.at_run_time else {"SELECT", "INSERT", *makes}), of.member
    assert [of.member for of in ACCOUNTS if not of.at_run_time] == ["migrator"]
    writers = {(of.member, r.on) for of in ACCOUNTS for r in of.rights if r.privilege == "INSERT"}
    assert writers == {("audit", "events"), ("migrator", "migrations")}
    for of in ACCOUNTS:
        reads_alone = {right.privilege for right in of.rights} == {"SELECT"}
        assert reads_alone == (of.settings.get("readonly") == 1), of.member


def test_every_table_and_column_that_is_granted_is_in_the_migrations() -> None:
    made = "\n".join(m.text for m in migrations(DIRECTORY))
    tables = set(re.findall(r"CREATE (?:TABLE|VIEW) IF NOT EXISTS (\w+)", made)) | {"migrations"}
    for of in ACCOUNTS:
        for right in of.rights:
            if right.privilege == "TABLE ENGINE" or right.on == "." or right.on.startswith("system."):
                continue
            assert right.on in tables
            assert set(right.columns) <= ({"number", "name", "sha256"} if right.on == "migrations" else set(NAMES))


def test_the_rendered_sql_has_every_right_and_no_password() -> None:
    text = render("the_audit")
    for of in ACCOUNTS:
        for grant in grants_of(of, "the_audit"):
            assert f"{grant} TO {of.role};" in text
        for name in of.settings:
            assert re.search(rf"{of.role} SETTINGS .*\b{name} = \S+ CONST", text)
    passwords = re.findall(r"IDENTIFIED WITH sha256_hash BY '([^']*)'", text)
    assert len(passwords) == len(ACCOUNTS)
    for password in passwords:
        assert not re.fullmatch(r"[0-9a-fA-F]{64}", password)
    assert "GRANT SELECT ON `my-audit`.events TO steward_auditor;" in render("my-audit")


@pytest.mark.parametrize("member", [of.member for of in ACCOUNTS])
def test_who_has_what_the_table_says_is_neither_beyond_nor_short(member: str) -> None:
    of = next(a for a in ACCOUNTS if a.member == member)
    for database in ("steward", "my-audit"):
        has = held(as_said(member, database))
        assert beyond(of, database, has) == []
        assert short(of, database, has) == []


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("GRANT SELECT ON steward.events TO u", "SELECT ON steward.events"),
        ("GRANT SELECT(topic, raw) ON steward.events TO u", "SELECT(raw, topic) ON steward.events"),
        ("GRANT ALTER DELETE ON steward.events TO u", "ALTER DELETE ON steward.events"),
        ("GRANT INSERT ON *.* TO u", "INSERT ON *.*"),
        ("GRANT INSERT ON steward.events TO u WITH GRANT OPTION", "INSERT ON steward.events WITH GRANT OPTION"),
        ("GRANT SOURCES ON *.* TO u", "SOURCES ON *.*"),
        ("GRANT READ ON URL TO u", "READ ON URL"),
        ("GRANT INSERT ON other.events TO u", "INSERT ON other.events"),
    ],
)
def test_whatever_the_sink_has_beyond_the_table_is_named(line: str, named: str) -> None:
    assert beyond(SINK, "steward", held([*as_said("audit"), line])) == [named]


def test_what_is_short_is_named_and_a_wider_right_covers() -> None:
    assert short(SINK, "steward", held(["GRANT INSERT ON steward.events TO u"])) == [
        "SELECT(topic, partition, offset) ON steward.events",
        "SELECT(number, name, sha256) ON steward.migrations",
    ]
    assert short(SINK, "steward", held(["GRANT ALL ON *.* TO u"])) == []
    assert short(SINK, "steward", held(["GRANT SELECT, INSERT ON `ste*`.* TO u"])) == []
    halves = ["GRANT INSERT, SELECT(topic) ON steward.events TO u", "GRANT SELECT(partition) ON steward.events TO u"]
    assert short(SINK, "steward", held(halves))[0] == "SELECT(topic, partition, offset) ON steward.events"
    maker = next(a for a in ACCOUNTS if a.member == "migrator")
    assert short(maker, "steward", held(["GRANT CREATE, ALTER, DROP, SELECT, INSERT ON steward.* TO u"])) == [
        "TABLE ENGINE ON MergeTree"
    ]


@pytest.mark.parametrize("line", ["REVOKE SELECT ON steward.events FROM u", "GRANT a_role TO u", "nonsense"])
def test_what_a_server_says_and_nobody_understands_is_not_taken_for_right(line: str) -> None:
    with pytest.raises(NotUnderstood, match="not understood"):
        held([line])


def test_a_setting_that_whoever_logs_in_can_lift_is_named() -> None:
    fixed = {name: Setting(str(value), False) for name, value in AUDITOR.settings.items()}
    assert unfixed(AUDITOR, fixed) == []
    assert unfixed(AUDITOR, {**fixed, "readonly": Setting("0", True)}) == ["readonly is 0; it should be 1"]
    assert unfixed(AUDITOR, {**fixed, "readonly": Setting("1", True)}) == [
        "readonly is 1, and can be changed by whoever logs in"
    ]
    older = {name: there for name, there in fixed.items() if name != "use_query_condition_cache"}
    assert unfixed(AUDITOR, older) == []
    del fixed["readonly"]
    assert unfixed(AUDITOR, fixed) == ["readonly is not known to this server; it should be 1"]


_SQL = re.compile(r"\s*(SELECT|WITH|INSERT|ALTER|DELETE|UPDATE|TRUNCATE|DROP|OPTIMIZE|CREATE|GRANT|SYSTEM|KILL)\s")


WRITE = ("store", "sink", "migrate", "grants", "fitness")  # of the sink, the migrator, and of people
ASKS = [
    *(p for p in (ROOT / "infra/clickhouse").glob("*.py") if p.stem not in WRITE),
    *(ROOT / "console").glob("*.py"),
]


def test_whatever_the_console_asks_is_a_select() -> None:
    """And so of the code that runs as `auditor` or as `witness`, and of every question."""
    found = [asked.sql for asked in questions().values()]
    for path in ASKS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value):
                found.append(node.value)
    assert len(found) > len(questions())
    for sql in found:
        bare = re.sub(r"--[^\n]*\n", "", sql)
        assert (said := _SQL.match(bare)), sql
        assert said[1] in ("SELECT", "WITH"), sql


# -- Kafka


def acls(prefix: str = "p.") -> list[Acl]:
    return [Acl(f"User:{g.principal}", g.kind, g.name, g.prefixed, g.operation) for g in grants(prefix)]


def test_a_broker_that_has_what_is_rendered_is_neither_beyond_nor_short() -> None:
    assert beyond_acls(acls(), "p.", {}) == []
    assert short_of_acls(acls(), "p.", {}) == []


@pytest.mark.parametrize(
    "more",
    [
        Acl("User:execute", "topic", "p.controls", False, "WRITE"),
        Acl("User:execute", "topic", "p.outcomes", False, "ALL"),
        Acl("User:execute", "topic", "*", False, "READ"),
        Acl("User:execute", "topic", "p.", True, "READ"),
        Acl("User:admin", "topic", "p.outcomes", False, "DELETE"),
        Acl("User:admin", "cluster", "kafka-cluster", False, "ALTER"),
        Acl("User:notify", "transactional-id", "p.", True, "WRITE"),
    ],
)
def test_what_a_role_may_do_beyond_the_table_is_named(more: Acl) -> None:
    assert beyond_acls([*acls(), more], "p.", {}) == [(more.principal, str(more))]


def test_what_others_may_do_on_our_topics_counts_but_for_what_is_public() -> None:
    public = [
        Acl("User:monitor", "topic", "p.alerts", False, "WRITE"),
        Acl("User:wallboard", "topic", "p.incidents", False, "READ"),
        Acl("User:wallboard", "topic", "p.", True, "DESCRIBE"),
        Acl("User:theirs", "topic", "theirs", False, "ALL"),
        Acl("User:theirs", "transactional-id", "theirs-", True, "WRITE"),
        Acl("User:theirs", "group", "*", False, "READ"),
    ]
    assert beyond_acls([*acls(), *public], "p.", {}) == []
    everybody = Acl("User:*", "topic", "*", False, "WRITE")
    fences = Acl("User:theirs", "transactional-id", "p.execute-", True, "WRITE")
    reads = Acl("User:theirs", "topic", "p.controls", False, "READ")
    said = beyond_acls([*acls(), everybody, fences, reads], "p.", {})
    assert [who for who, _ in said] == ["User:*", "User:theirs", "User:theirs"]
    assert said[1][1] == "WRITE on transactional-id p.execute-*, and so on p.execute-"
    assert said[2][1] == "READ on topic p.controls, and so on p.controls"


def test_what_a_role_lacks_or_is_denied_is_named() -> None:
    table = acls()
    lost = next(a for a in table if a.principal == "User:execute" and a.operation == "WRITE" and a.kind == "topic")
    left = [a for a in table if a != lost]
    assert short_of_acls(left, "p.", {}) == [("User:execute", str(lost))]
    assert short_of_acls([*left, replace(lost, name="p.", prefixed=True)], "p.", {}) == []
    assert short_of_acls([*left, replace(lost, name="*", operation="ALL", principal="User:*")], "p.", {}) == []
    denied = replace(lost, allows=False)
    assert short_of_acls([*table, denied], "p.", {}) == [("User:execute", f"{lost} is denied")]
    implied = [a for a in table if not (a.principal == "User:execute" and a.operation == "DESCRIBE")]
    assert {what for _, what in short_of_acls(implied, "p.", {})} == {"DESCRIBE on group p.unused"}


def test_users_are_told_by_the_names_that_they_log_in_as() -> None:
    renamed = [replace(a, principal="User:svc-7") if a.principal == "User:execute" else a for a in acls()]
    assert beyond_acls(renamed, "p.", {"execute": "svc-7"}) == []
    assert short_of_acls(renamed, "p.", {"execute": "svc-7"}) == []
    assert short_of_acls(renamed, "p.", {}) != []


def test_admin_makes_and_compares_topics_and_can_neither_alter_nor_delete_them() -> None:
    operations = {g.operation for g in grants("p.") if g.principal == ADMIN}
    assert operations == {"CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"}


# -- Kubernetes


def test_nothing_of_ours_calls_kubernetes_and_no_role_has_a_right_or_a_token_there() -> None:
    text = kubernetes.render()
    roles = [line.role for line in (*EDGES, *PROCESSORS)]
    assert re.findall(r"name: steward-(\S+)", text) == roles
    assert set(re.findall(r"kind: (\S+)", text)) == {"ServiceAccount"}
    assert text.count("automountServiceAccountToken: false") == len(roles)
    ours = ("schemas", "actions", "streams", "agents", "executors", "infra", "console", "bootstrap")
    for path in (p for directory in ours for p in (ROOT / directory).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("kubernetes", "kubernetes_asyncio", "pykube")], path
        if path.name != "kubernetes.py":
            assert "KUBERNETES_SERVICE_HOST" not in path.read_text(), path


def test_a_right_reads_as_it_is_granted() -> None:
    assert str(Right("SELECT", "steward.events", ("topic",))) == "SELECT(topic) ON steward.events"
