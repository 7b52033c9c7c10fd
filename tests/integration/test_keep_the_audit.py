"""What docs/howto/keep-the-audit.md says of months that are moved away, dropped, and brought back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.clickhouse.migrate import migrate
from infra.clickhouse.rows import row_of
from infra.clickhouse.store import Store, open_store
from infra.clickhouse.verify import verify_store
from tests.integration.audit_fixtures import FEBRUARY_MS, START_MS, Story, keep, sink_all
from tests.servers import ClickhouseDatabase


@pytest.fixture
def store(clickhouse: ClickhouseDatabase) -> Iterator[Store]:
    migrate(clickhouse.url, database=clickhouse.name)
    made = open_store(clickhouse.url, database=clickhouse.name)
    yield made
    made.close()


def over_two_months() -> Story:
    """An incident in January, and its repair on either side of the end of the month."""
    story = Story(now_ms=FEBRUARY_MS - 20_000)
    story.alerted("INC-1")
    story.repaired("R-1", "INC-1")
    return story


def said(store: Store) -> list[tuple[str, str]]:
    return [(b.kind, b.topic) for b in verify_store(store).breaks]


def test_the_engine_reads_every_statement_of_the_page(clickhouse: ClickhouseDatabase) -> None:
    text = (Path(__file__).parents[2] / "docs/howto/keep-the-audit.md").read_text()
    blocks = re.findall(r"^ *```sql\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    made = [s.strip() for block in blocks for s in block.split(";") if s.strip()]
    assert len(made) == 5
    client = clickhouse.client()
    for statement in made:
        assert client.query("SELECT formatQuery({sql:String})", parameters={"sql": statement}).result_rows[0][0]


def test_a_month_that_was_backed_up_and_dropped_is_proven_once_it_is_restored(
    store: Store, clickhouse: ClickhouseDatabase
) -> None:
    if not store.place.embedded:
        pytest.skip("where a server may write backups is its own configuration")
    story, admin = over_two_months(), clickhouse.client()
    keep(store, [row_of(r, START_MS) for r in story.all()])
    to = f"Memory('{clickhouse.name}')"
    admin.command(f"BACKUP TABLE events PARTITION '202701' TO {to}")
    admin.command("ALTER TABLE events DROP PARTITION 202701")
    assert said(store) == [("missing", "remediations")]
    admin.command(
        f"RESTORE TABLE {clickhouse.name}.events AS {clickhouse.name}.events PARTITION '202701' FROM {to}"
        " SETTINGS allow_non_empty_tables = true"
    )
    assert said(store) == []


async def test_a_month_that_is_away_is_missed_and_is_proven_again_once_it_is_back(
    store: Store, clickhouse: ClickhouseDatabase
) -> None:
    story, admin = over_two_months(), clickhouse.client()
    keep(store, [row_of(r, START_MS) for r in story.all()])
    assert said(store) == []

    admin.command("ALTER TABLE events DETACH PARTITION 202701")
    assert said(store) == [("missing", "remediations")]
    admin.command("ALTER TABLE events ATTACH PARTITION 202701")
    assert said(store) == []
    assert store.touched() == []

    admin.command("CREATE TABLE events_of_old AS events")
    admin.command("ALTER TABLE events_of_old ATTACH PARTITION 202701 FROM events")
    admin.command("ALTER TABLE events DROP PARTITION 202701")
    assert said(store) == [("missing", "remediations")]
    admin.command("ALTER TABLE events ATTACH PARTITION 202701 FROM events_of_old")
    assert said(store) == []


async def test_what_kafka_still_has_of_a_dropped_month_comes_back_where_nothing_is_left_after_it(
    store: Store, clickhouse: ClickhouseDatabase
) -> None:
    story, admin = over_two_months(), clickhouse.client()
    keep(store, [row_of(r, START_MS) for r in story.all()])
    quiet = [place for place, held in story.records.items() if held[-1].at_ms < FEBRUARY_MS]
    goes_on = [place for place in story.records if place not in quiet]
    assert quiet
    assert goes_on
    admin.command("ALTER TABLE events DROP PARTITION 202701")
    assert set(store.positions()) == set(goes_on)

    await sink_all(store, story.all())

    assert set(store.positions()) == set(story.records)
    assert said(store) == [("missing", "remediations")]  # where later rows are left, nobody goes back
