"""A seed is one history; a few of them break nothing; planted bugs are seen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.over_kafka.histories import tell
from tests.simulation.over_kafka.plants import PLANTS

QUICK = (  # within 20 histories
    "intent-after-request",
    "conclude-with-an-undo-owed",
    "probe-before-the-window-ends",
    "fold-read-uncommitted",
    "init-outside-assign",
    "offset-moves-without-claim-or-refusal",
)


@pytest.mark.parametrize("seed", range(12))
def test_a_history_breaks_nothing(seed: int) -> None:
    told = tell(seed, keep_story=True)
    assert told.wrong == (), told.story


def test_a_seed_is_one_history() -> None:
    assert tell(8) == tell(8)


@pytest.mark.local
def test_a_seed_is_one_history_in_every_process() -> None:
    """Under another hash seed, sets and hashes have another order."""
    code = "from tests.simulation.over_kafka.histories import tell; print(tell(5).mark)"
    marks = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert marks == {f"{tell(5).mark}\n"}


@pytest.mark.parametrize("plant", QUICK)
def test_a_planted_bug_is_seen(plant: str) -> None:
    with PLANTS[plant]():
        assert any(tell(seed).wrong for seed in range(20))
