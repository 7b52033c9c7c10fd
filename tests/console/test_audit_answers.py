"""What is asked of the audit wrongly is said to be wrong, and a name that nobody knows is never called whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from console.audit import AuditAnswers, Evidence
from console.desk import Refusal
from infra.clickhouse.export import COLUMNS, PAGE_BYTES
from infra.clickhouse.rows import row_of
from infra.clickhouse.store import AuditRefused, AuditUnreachable, Result
from infra.publisher import Unreachable
from tests.console.desks import CLUSTER
from tests.integration.audit_fixtures import Story, StoryReader, the_main_story

GONE = "prod-us-1"  # on record, and not configured any more


class Table:
    """Holds something of two clusters, and answers every question with nothing."""

    trouble: Exception | None = None

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result:
        if self.trouble:
            raise self.trouble
        if "GROUP BY topic, partition" in sql:
            return Result((), [])
        if "FROM events " in sql:
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


class Holding(Table):
    """Holds an alert of each, and what came of it."""

    def stream(self, sql: str, params: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        story = Story()
        for cluster in (CLUSTER, GONE):
            story.alerted(f"INC-{cluster}", cluster)
        return (row_of(raw, story.now_ms) for raw in story.all())


@pytest.mark.parametrize("cluster", ["", CLUSTER, GONE, "prod-new"])
async def test_what_is_configured_or_on_record_is_judged(cluster: str) -> None:
    audit = AuditAnswers(Holding(), (CLUSTER, "prod-new"))  # type: ignore[arg-type]
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
        if "length(raw)" in sql and self.trouble is None:
            return Result((), [(0, PAGE_BYTES), (1, PAGE_BYTES)])
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


class Topics(StoryReader):
    """The main story as Kafka has it. `silent`: nobody answers."""

    def __init__(self, silent: bool = False) -> None:
        super().__init__(the_main_story().all())
        self.silent, self.closed = silent, False

    async def ends(self) -> Mapping[tuple[str, int], int]:
        if self.silent:
            raise Unreachable("Kafka at kafka:9092: no answer")
        return await super().ends()

    async def close(self) -> None:
        self.closed = True


async def test_the_topics_alone_are_judged_where_there_is_no_store() -> None:
    reader = Topics()
    audit = AuditAnswers(None, (CLUSTER,), Evidence(lambda: reader))
    said = await audit.verify("", "kafka")
    assert (said["ok"], said["source"], reader.closed) == (True, "kafka", True)
    error = await refused(audit.verify("prod-eu-77", "kafka"))
    assert (error.kind, error.code) == ("not_found", "unknown_cluster")
    for asking in (audit.verify(""), audit.verify("", "both"), audit.query("freezes", {})):
        error = await refused(asking)
        assert (error.kind, error.code, error.field) == ("unavailable", "no_audit", "clickhouse")


async def test_both_are_held_against_each_other(table: Table) -> None:
    said = await AuditAnswers(table, (CLUSTER,), Evidence(Topics)).verify("", "both")  # type: ignore[arg-type]
    assert said["ok"]  # a table that has everything still to come: that is lag
    assert said["counts"]["lag"] == len(the_main_story().all())
    assert said["source"] == "kafka and clickhouse"


async def test_topics_that_are_not_reached_are_named_and_the_reader_is_closed() -> None:
    reader = Topics(silent=True)
    error = await refused(AuditAnswers(None, (), Evidence(lambda: reader)).verify("", "kafka"))
    assert (error.kind, error.code, "kafka:9092" in error.reason) == ("unavailable", "kafka_unreachable", True)
    assert reader.closed


async def test_checkpoints_are_those_that_are_configured(tmp_path: Path) -> None:
    audit = AuditAnswers(None, (CLUSTER,), Evidence(Topics, tmp_path, 3600))
    said = await audit.verify("", "kafka")
    assert [b["topic"] for b in said["breaks"]] == ["checkpoints"]  # none is there
    (tmp_path / "checkpoints-2026-11.jsonl").mkdir()
    error = await refused(audit.verify("", "kafka"))
    assert (error.kind, error.code, error.field) == ("unavailable", "checkpoints_unreadable", "audit.checkpoints")
