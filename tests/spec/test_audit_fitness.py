"""Which engine is unfit for the audit, and which one shows that somebody touched the rows: told from what it says."""

from dataclasses import replace

import pytest

from infra.clickhouse.fitness import MUTATIONS_NAMED, Setting, Table, Traces, touched, unfit_settings, unfit_table
from infra.clickhouse.store import INSERT_SETTINGS

ENGINE = "MergeTree PARTITION BY toYYYYMM(appended_at) ORDER BY (topic, partition, offset)"
FIT = Table(
    "MergeTree",
    "toYYYYMM(appended_at)",
    "topic, partition, offset",
    f"{ENGINE} SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1,"
    " index_granularity = 8192",
)
REPLICATED = replace(FIT, engine="ReplicatedMergeTree", engine_full="ReplicatedMergeTree('/a', '{replica}')")


def without(setting: str) -> Table:
    return replace(FIT, engine_full=FIT.engine_full.replace(f"{setting} = ", f"no_{setting} = "))


def test_the_table_of_the_migrations_is_fit_and_so_is_a_replicated_one() -> None:
    assert list(unfit_table(FIT)) == []
    assert list(unfit_table(REPLICATED)) == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "is not there"),
        (replace(FIT, engine="ReplacingMergeTree"), "is a ReplacingMergeTree"),
        (replace(FIT, partition_key="toYYYYMMDD(appended_at)"), "is partitioned by toYYYYMMDD"),
        (replace(FIT, partition_key=""), "is partitioned by nothing"),
        (replace(FIT, sorting_key="topic, offset"), "is ordered by topic, offset"),
        (replace(FIT, engine_full=f"{ENGINE} TTL appended_at + toIntervalYear(1) SETTINGS a = 1"), "has a TTL"),
        (without("non_replicated_deduplication_window"), "non_replicated_deduplication_window = 0"),
        (
            replace(FIT, engine_full=FIT.engine_full.replace("window = 100", "window = 0")),
            "non_replicated_deduplication_window = 0",
        ),
        (
            replace(REPLICATED, engine_full="ReplicatedMergeTree SETTINGS replicated_deduplication_window = 0"),
            "replicated_deduplication_window = 0",
        ),
        (without("fsync_after_insert"), "no fsync_after_insert"),
        (without("fsync_part_directory"), "no fsync_part_directory"),
        (replace(FIT, views=("steward.by_day",)), "materialized view steward.by_day"),
    ],
)
def test_a_table_that_breaks_a_guarantee_is_named_with_what_to_do(table: Table | None, said: str) -> None:
    findings = list(unfit_table(table))
    assert [f for f in findings if said in f.what], findings
    assert all(f.do for f in findings)


def test_a_setting_that_an_insert_cannot_have_is_named() -> None:
    free = {name: Setting("7", True) for name in INSERT_SETTINGS}
    assert list(unfit_settings(INSERT_SETTINGS, free)) == []
    fixed = {name: Setting(str(value), False) for name, value in INSERT_SETTINGS.items()}
    assert list(unfit_settings(INSERT_SETTINGS, fixed)) == []

    def said(name: str, there: Setting | None) -> list[str]:
        others = {n: s for n, s in free.items() if n != name}
        found = others if there is None else {**others, name: there}
        return [f.what for f in unfit_settings(INSERT_SETTINGS, found)]

    assert said("async_insert", None) == ["the setting async_insert is not known here: this ClickHouse is too old"]
    assert said("async_insert", Setting("1", False)) == ["async_insert is 1 and may not be changed; it must be 0"]
    assert said("timeout_overflow_mode", Setting("break", False)) == [
        "timeout_overflow_mode is break and may not be changed; it must be throw"
    ]
    assert said("max_execution_time", Setting("10", True, most="30")) == [
        "max_execution_time may be anything to 30 only; it must be 60"
    ]
    assert said("max_execution_time", Setting("90", True, least="90")) == [
        "max_execution_time may be 90 to anything only; it must be 60"
    ]
    assert said("max_execution_time", Setting("10", True, "0", "60")) == []
    assert said("max_execution_time", Setting("10", True, least="nonsense")) == []


def test_rows_that_were_changed_or_hidden_are_told() -> None:
    assert list(touched(Traces(rows=5, seen=5))) == []
    assert list(touched(Traces(rows=5, seen=9))) == []  # more were written between the two looks
    index = [("mutation_1.txt", "MATERIALIZE INDEX by_x"), ("mutation_2.txt", "(MATERIALIZE INDEX by_y)")]
    assert list(touched(Traces(5, 5, index))) == []

    def said(traces: Traces) -> list[str]:
        findings = list(touched(traces))
        assert all(f.do for f in findings)
        return [f.what for f in findings]

    assert said(Traces(5, 5, [("mutation_3.txt", "(DELETE WHERE\n topic = 'outcomes')")])) == [
        "events was changed by the mutation mutation_3.txt: (DELETE WHERE topic = 'outcomes')"
    ]
    many = [(f"mutation_{n}.txt", "DELETE WHERE 1") for n in range(MUTATIONS_NAMED + 2)]
    assert said(Traces(5, 5, many))[-1] == "events was changed by 2 more mutations"
    assert said(Traces(5, 4)) == ["of 5 rows of events this user is shown 4: a row policy or a filter hides them"]
    assert said(Traces(5, 4, masked_parts=1)) == ["rows of 1 parts of events are marked as deleted"]
    assert said(Traces(5, 5, patches=2)) == ["events has 2 parts that patch rows of others"]
