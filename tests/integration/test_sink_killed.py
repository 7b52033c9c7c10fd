"""The short version of `python -m tests.chaos.sink --kills 50`: kill -9 of the sink, while records are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.sink import Kills, database
from tests.servers import ClickhouseEngine

KILLS = 6


@pytest.mark.clickhouse
def test_a_sink_killed_at_any_moment_leaves_each_committed_record_once(
    kafka: str, clickhouse_engine: ClickhouseEngine, topic_prefix: str, tmp_path: Path
) -> None:
    with database(clickhouse_engine.url, tmp_path) as place:
        report = Kills(kafka, topic_prefix, place, seed=6, kills=KILLS, say=print).run()

    assert report.wrong == [], report.text()
    assert report.kills == KILLS
    assert report.moments["in an insert"] >= 1, report.text()
    assert report.months >= 2, report.text()
    assert report.aborted >= 1, report.text()
    assert report.rows >= 100, report.text()
