"""Histories full of trouble, decided again from the record: owners have died, PD has lied, people were late."""

from __future__ import annotations

import pytest

from infra.replay.report import Report
from tests.simulation import histories
from tests.simulation.world import Simulated, is_simulated, starts_s
from tests.spec.world import World, run_world


def replayed(seed: int) -> Report:
    """What a replay says of the history of this seed."""
    reports: list[Report] = []

    async def live(world: World) -> None:
        told = await histories._lived(is_simulated(world), seed, histories.planned(seed), False)
        assert told.wrong == ()
        reports.append(world.replayed())

    run_world(live, lambda: Simulated(seed), starts_s(seed))
    return reports[0]


@pytest.mark.parametrize("seed", [3, 5, 8])  # aborted transactions; what can't be told, by a slow PD; an audit
def test_what_was_decided_in_trouble_comes_out_the_same(seed: int) -> None:
    report = replayed(seed)
    assert report.ok, report.to_text()
    assert sum(report.same.values()) > 200
