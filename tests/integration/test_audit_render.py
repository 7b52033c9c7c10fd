"""The audit's tables as SQL for one server, replicas and shards: the first is run, the others are parsed by the engine.

No replica and no shard is run here: the engine in this process has neither.
"""

import json
import re

import pytest
from typer.testing import CliRunner

from console.cli import app
from infra.clickhouse.migrate import migrate
from infra.clickhouse.migrations import Migration, migrations
from infra.clickhouse.render import CantRender, Variant, rendered
from infra.clickhouse.rows import row_of
from infra.clickhouse.store import open_store
from tests.integration.audit_fixtures import START_MS, keep, the_main_story
from tests.servers import ClickhouseDatabase

VARIANTS = {
    "plain": Variant("steward"),
    "replicated": Variant("steward", replicated=True),
    "replicated on a cluster": Variant("steward", replicated=True, cluster="prod"),
    "sharded": Variant("steward", sharded=True, cluster="prod"),
}


def test_rendered_for_one_server_it_is_what_migrate_makes_and_may_be_run_again(clickhouse: ClickhouseDatabase) -> None:
    client = clickhouse.client()
    other = f"{clickhouse.name}_rendered"
    shape = (
        "SELECT table, name, type, default_kind, default_expression, comment, compression_codec FROM system.columns"
        " WHERE database = {d:String} ORDER BY table, position"
    )
    try:
        for _ in range(2):
            for statement in rendered(migrations(), Variant(other)):
                client.command(statement)
        migrate(clickhouse.url, database=clickhouse.name)
        found = client.query(shape, {"d": other}).result_rows
        assert len(found) > 100
        assert found == client.query(shape, {"d": clickhouse.name}).result_rows
        store = open_store(clickhouse.url, database=other)
        store.check_settings()
        assert migrate(clickhouse.url, database=other) == []
        keep(store, [row_of(raw, START_MS) for raw in the_main_story().all()])
        assert len(store.query("SELECT kind FROM events_read").rows) == len(the_main_story().all())
        store.close()
    finally:
        client.command(f"DROP DATABASE IF EXISTS {other}")


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_engine_parses_every_statement_of_every_variant(clickhouse: ClickhouseDatabase, variant: Variant) -> None:
    client = clickhouse.client()
    for statement in rendered(migrations(), variant):
        assert client.query(f"EXPLAIN AST {statement}").result_rows, statement


def test_a_replicated_table_knows_a_repeated_block_for_a_week() -> None:
    (events,) = made("replicated", "events")
    assert "ReplicatedMergeTree('/clickhouse/tables/{shard}/steward/events', '{replica}')" in events
    assert "non_replicated_deduplication_window =" not in events
    assert "replicated_deduplication_window_seconds = 604800" in events
    assert "PARTITION BY toYYYYMM(appended_at)\nORDER BY (topic, partition, offset)" in events


def test_sharded_a_partition_lives_on_one_shard_and_each_shard_drops_its_own_repeats() -> None:
    (local,) = made("sharded", "events_local")
    assert "ReplicatedMergeTree" in local
    text = "\n".join(rendered(migrations(), VARIANTS["sharded"]))
    assert "Distributed(`prod`, steward, events_local, cityHash64(topic, partition))" in text
    assert "Distributed(`prod`, steward, events_read_local)" in text
    for view in re.findall(r"VIEW.* AS\n(?:.*\n)*?FROM (\S+)", text):
        assert view == "steward.events_local"
    heads = re.findall(r"(?m)^(?:CREATE|ALTER) .*", text)
    assert len(heads) == len([head for head in heads if " ON CLUSTER `prod`" in head])


def test_every_server_reads_one_book_of_migrations_with_the_hashes_of_their_source() -> None:
    statements = rendered(migrations(), VARIANTS["sharded"])
    assert any("'/clickhouse/tables/all/steward/migrations', '{shard}-{replica}'" in s for s in statements)
    noted = [s for s in statements if s.startswith("INSERT INTO steward.migrations")]
    assert [m.sha256 in s for m, s in zip(migrations(), noted, strict=True)] == [True] * len(noted)


def made(variant: str, table: str) -> list[str]:
    head = f"CREATE TABLE IF NOT EXISTS steward.{table}"
    return [s for s in rendered(migrations(), VARIANTS[variant]) if re.search(rf"(?m)^{head}( ON CLUSTER|$)", s)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"database": "steward; DROP"}, "database: 'steward; DROP' is no plain name"),
        ({"database": "s", "cluster": "a`b"}, "cluster: 'a`b' is no plain name"),
        ({"database": "s", "sharded": True}, "has to be named"),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(CantRender, match=re.escape(said)):
        Variant(**fields)  # type: ignore[arg-type]


def test_a_migration_of_a_kind_that_can_not_be_spread_is_refused_not_guessed() -> None:
    for text in ("RENAME TABLE events TO past;", "CREATE TABLE IF NOT EXISTS more\n(a UInt8)\nENGINE = MergeTree;"):
        with pytest.raises(CantRender):
            rendered([Migration(1, "x", text)], VARIANTS["replicated"])


def test_steward_audit_render_prints_it_and_names_what_is_wrong() -> None:
    said = CliRunner().invoke(app, ["audit", "render", "--replicated", "--database", "past", "--json"])
    assert said.exit_code == 0
    assert json.loads(said.stdout)["statements"] == rendered(migrations(), Variant("past", replicated=True))
    refused = CliRunner().invoke(app, ["audit", "render", "--sharded"])
    assert refused.exit_code == 2
    assert "--cluster" in refused.stderr
