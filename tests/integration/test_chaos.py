"""The short version of `make chaos`: twelve kills over a repair on a real Kafka, judged by the simulator's checkers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import ACTS, CLOSED_EVERY_S, PARTITIONS, Chaos
from tests.integration.stack import stack

KILLS = 12


@pytest.mark.kafka
def test_a_repair_ends_well_whoever_is_killed_meanwhile(kafka: str, tmp_path: Path) -> None:
    with stack(tmp_path, kafka, partitions=PARTITIONS, more=ACTS, close_books_every_s=CLOSED_EVERY_S) as made:
        report = Chaos(made, 12, kills=KILLS, pause_s=(1, 4), lull_s=10, say=print).run()

    assert report.wrong == [], report.text()
    assert report.kills.total() == KILLS
    assert report.ended >= 1
    assert report.closings > 0
    assert report.writes >= 2
