"""The ClickHouse engine of this run: a table is made, written and read back; each test has a database of its own."""

from tests.servers import ClickhouseDatabase


def test_what_is_inserted_into_a_merge_tree_is_read_back(clickhouse: ClickhouseDatabase) -> None:
    client = clickhouse.client()
    client.command(
        "CREATE TABLE audit (at DateTime64(6, 'UTC'), seq UInt64, body String) ENGINE = MergeTree ORDER BY seq"
    )
    client.insert("audit", [[0, 2, "zwei"], [0, 1, "eins"]], column_names=["at", "seq", "body"])

    rows = client.query("SELECT seq, body FROM audit WHERE seq > {after:UInt64} ORDER BY seq", {"after": 0}).result_rows

    assert rows == [(1, "eins"), (2, "zwei")]
    client.close()


def test_a_database_starts_empty(clickhouse: ClickhouseDatabase) -> None:
    client = clickhouse.client()
    assert client.query("SHOW TABLES").result_rows == []
    client.close()
