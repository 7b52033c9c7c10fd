"""What makes a real engine unfit, or shows that its rows were touched: done to it, and named."""

from collections.abc import Iterator

import pytest

from infra import health
from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import row_of
from infra.clickhouse.store import AuditRefused, Store, open_store
from infra.runners.kafka import KafkaSettings
from infra.settings import ConfigError, Problem
from tests.integration.audit_fixtures import START_MS, keep, the_main_story
from tests.servers import ClickhouseDatabase


@pytest.fixture
def store(clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    yield made
    made.close()


def test_each_harm_to_the_table_is_named_and_is_gone_with_its_remedy(
    store: Store, clickhouse: ClickhouseDatabase
) -> None:
    admin = clickhouse.client()

    def said() -> list[str]:
        return [finding.what.partition(":")[0] for finding in store.unfit()]

    assert said() == []
    for harm, what, remedy in (
        (
            "ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 0",
            "events has non_replicated_deduplication_window = 0",
            "ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 100",
        ),
        (
            "ALTER TABLE events RESET SETTING fsync_after_insert",
            "events has no fsync_after_insert",
            "ALTER TABLE events MODIFY SETTING fsync_after_insert = 1",
        ),
        (
            "ALTER TABLE events MODIFY SETTING fsync_part_directory = 0",
            "events has no fsync_part_directory",
            "ALTER TABLE events MODIFY SETTING fsync_part_directory = 1",
        ),
        (
            "ALTER TABLE events MODIFY TTL toDateTime(appended_at) + INTERVAL 1 YEAR",
            "events has a TTL",
            "ALTER TABLE events REMOVE TTL",
        ),
        (
            "CREATE MATERIALIZED VIEW by_kind ENGINE = MergeTree ORDER BY kind AS SELECT kind FROM events",
            f"the materialized view {clickhouse.name}.by_kind is filled by each insert",
            "DROP TABLE by_kind",
        ),
    ):
        admin.command(harm)
        assert said() == [what], harm
        with pytest.raises(AuditRefused, match=what):
            store.check_settings()
        admin.command(remedy)
        assert said() == [], remedy


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("ALTER TABLE events DELETE WHERE topic = 'alerts' SETTINGS mutations_sync = 2", "changed by the mutation"),
        ("ALTER TABLE events UPDATE actor = 'x' WHERE 1 SETTINGS mutations_sync = 2", "changed by the mutation"),
        ("DELETE FROM events WHERE topic = 'alerts'", "changed by the mutation"),
    ],
)
def test_rows_that_somebody_has_changed_show(
    store: Store, clickhouse: ClickhouseDatabase, harm: str, said: str
) -> None:
    keep(store, [row_of(r, START_MS) for r in the_main_story().all()])
    assert store.touched() == []
    clickhouse.client().command(harm)
    assert said in store.touched()[0].what
    store.check_settings()  # the rows that come are kept all the same


def test_rows_deleted_by_patches_show(store: Store, clickhouse: ClickhouseDatabase) -> None:
    """A lightweight update leaves no mutation behind."""
    admin = clickhouse.client()
    admin.command("ALTER TABLE events MODIFY SETTING enable_block_number_column = 1, enable_block_offset_column = 1")
    keep(store, [row_of(r, START_MS) for r in the_main_story().all()])
    admin.command("UPDATE events SET actor = 'mallory' WHERE topic = 'outcomes'")
    assert ["patch rows of others" in f.what for f in store.touched()] == [True]


def test_an_insert_that_may_not_be_as_it_has_to_be_is_named_before_it_is_tried(store: Store) -> None:
    """Of a user whose profile fixes what the sink asks for."""
    if not store.place.embedded:
        pytest.skip("over HTTP a SET ends with its request; test_clickhouse_grants.py has this with a real profile")
    reader = store._client("write")
    reader.command("SET async_insert = 1, readonly = 1")
    assert next(f.what for f in store.unfit()) == "async_insert is 1 and may not be changed; it must be 0"


def test_doctor_says_what_is_wrong_with_it_and_what_to_do(store: Store, clickhouse: ClickhouseDatabase) -> None:
    def no_kafka() -> KafkaSettings:
        raise ConfigError(Problem("kafka", "nothing", "another line says it"))

    place = str(store.place)
    fit = ("clickhouse", True, f"{place}; nobody asks", "")
    assert list(health._written(store, no_kafka, "; nobody asks")) == [fit]
    untouched = ("clickhouse", True, f"{place}: the engine shows no row that was changed or hidden", "")
    assert list(health._read(store)) == [untouched]

    keep(store, [row_of(r, START_MS) for r in the_main_story().all()])
    admin = clickhouse.client()
    admin.command("ALTER TABLE events MODIFY TTL toDateTime(appended_at) + INTERVAL 9 YEAR")
    admin.command("ALTER TABLE events DELETE WHERE topic = 'alerts' SETTINGS mutations_sync = 2")
    (line,) = health._written(store, no_kafka, "")
    assert line == (
        "clickhouse",
        False,
        f"{place}: events has a TTL: an audit does not forget",
        "ALTER TABLE events REMOVE TTL",
    )
    lines = list(health._read(store))
    assert ["MATERIALIZE TTL" in lines[0][2], "DELETE WHERE" in lines[1][2]] == [True, True]
    assert [(ok, "audit verify" in do) for _, ok, _, do in lines] == [(False, True)] * 2

    admin.command("DROP TABLE events")
    lines = list(health._written(store, no_kafka, ""))
    assert [(text, do) for _, _, text, do in lines] == [
        (f"{place}: the table events is not there", "`steward audit migrate`")
    ]
