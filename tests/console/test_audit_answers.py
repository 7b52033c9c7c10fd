"""What is asked of the audit wrongly is said to be wrong, and a name that nobody knows is never called whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from console.audit import AuditAnswers
from console.desk import Refusal
from infra.clickhouse.export import COLUMNS
from infra.clickhouse.store import AuditRefused, AuditUnreachable, Result
from tests.console.desks import CLUSTER

GONE = "prod-us-1"  # on record, and not configured any more


class Table:
    """Holds something of two clusters, and answers every question with nothing."""

    trouble: Exception | None = None

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result:
        if self.trouble:
            raise self.trouble
        if sql.endswith("LIMIT 1"):
            return Result(("cluster_id",), [(c,) for c in (CLUSTER, GONE) if (params or {})["cluster"] == c])
        return Result(("cluster",), [])

    def stream(self, sql: str, params: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        if self.trouble:
            raise self.trouble
        return iter(())


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def audit(table: Table) -> AuditAnswers:
    return AuditAnswers(table, (CLUSTER, "prod-new"))  # type: ignore[arg-type]


async def refused(asking: Any) -> Refusal:
    with pytest.raises(Refusal) as found:
        await asking
    return found.value


async def test_a_cluster_that_is_neither_configured_nor_on_record_is_not_whole(audit: AuditAnswers) -> None:
    for asking in (audit.verify("prod-eu-77"), audit.query("freezes", {"cluster": "prod-eu-77"})):
        error = await refused(asking)
        assert (error.kind, error.code, error.field) == ("not_found", "unknown_cluster", "cluster")
        assert "'prod-eu-77'" in error.reason
        assert f"did you mean {CLUSTER}?" in error.reason


@pytest.mark.parametrize("cluster", ["", CLUSTER, GONE, "prod-new"])
async def test_what_is_configured_or_on_record_is_judged(audit: AuditAnswers, cluster: str) -> None:
    assert (await audit.verify(cluster))["ok"]
    assert (await audit.query("freezes", {"cluster": cluster}))["rows"] == []


@pytest.mark.parametrize(
    ("name", "params", "code", "field"),
    [
        ("executions", {}, "unknown_question", "name"),
        ("freezes", {"clutser": CLUSTER}, "bad_params", "params"),
        ("incident-story", {}, "bad_params", "params"),
        ("what-touched-store", {"store": "four"}, "bad_params", "params"),
    ],
)
async def test_a_question_that_is_not_one_is_wrong_use(
    audit: AuditAnswers, name: str, params: dict[str, str], code: str, field: str
) -> None:
    error = await refused(audit.query(name, params))

    assert (error.kind, error.code, error.field) == ("wrong_use", code, field)


async def test_an_export_is_asked_as_questions_are(audit: AuditAnswers) -> None:
    for given, code, field in (
        (("prod-eu-77", "", ""), "unknown_cluster", "cluster"),
        (("", "yesterday", ""), "bad_params", "since"),
        (("", "", "2027-02-30"), "bad_params", "until"),
    ):
        error = await refused(audit.export(*given))
        assert (error.code, error.field) == (code, field)
    pages = [page async for page in await audit.export(CLUSTER, "2027-01-31T08:00:00Z", "")]
    assert b'"records":0' in pages[-1]
    assert b'"since":"2027-01-31 08:00:00.000"' in pages[-1]


class Falling(Table):
    """Holds two records of a topic, a page each, and falls silent before the second."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result:
        if "GROUP BY topic, partition" in sql:
            return Result((), [("signals", 0, 0, 1)])
        found = [0 if name in ("partition", "offset", "seq") else b"" if name == "raw" else "" for name in COLUMNS]
        answer = Result((), [tuple(found)]) if self.trouble is None else super().query(sql, params)
        self.trouble = AuditUnreachable("clickhouse:8443/steward: no answer")
        return answer


async def test_an_export_whose_store_falls_silent_has_no_last_line() -> None:
    pages = await AuditAnswers(Falling(), ()).export("", "", "")  # type: ignore[arg-type]
    first = await anext(pages)
    assert b'"topic":""' in first
    with pytest.raises(AuditUnreachable):
        await anext(pages)


async def test_a_store_that_says_no_is_a_no_and_one_that_says_nothing_is_not_reached(
    audit: AuditAnswers, table: Table
) -> None:
    for trouble, kind, code in (
        (AuditRefused("clickhouse:8443/steward: not enough privileges"), "conflict", "audit_refused"),
        (AuditUnreachable("clickhouse:8443/steward: no answer"), "unavailable", "audit_unreachable"),
    ):
        table.trouble = trouble
        for asking in (audit.verify(""), audit.verify("prod-eu-77"), audit.query("freezes", {})):
            error = await refused(asking)
            assert (error.kind, error.code) == (kind, code)
            assert "clickhouse:8443/steward" in error.reason
