"""Says aloud when the suite ran against the simulation alone; and a real PD is only read, unless told otherwise."""

from __future__ import annotations

import os

import pytest

from pdsim.http import Served
from tests.contract.pd.twin import at, real

pytestmark = pytest.mark.contract


def test_a_real_pd_is_sent_nothing_but_reads_unless_it_may_be_written_to(served_for_reading: Served) -> None:
    calls = served_for_reading.cluster.calls
    before = len(calls)
    with at("real", served_for_reading.url, writes=False) as pd:
        for method in ("POST", "PUT", "DELETE"):
            with pytest.raises(pytest.skip.Exception, match="only read"):
                pd.ask(method, "/schedulers", json={"name": "evict-leader-scheduler", "store_id": 4})
        assert pd.get("/schedulers").status_code == 200
    assert [call.method for call in calls[before:]] == ["GET"]


def test_a_real_pd_took_part_in_this_run() -> None:
    if "PD_URL" not in os.environ:
        pytest.skip("PD_URL names no real PD: pdsim was compared with recorded answers only")
    with real() as pd:
        assert pd.get("/cluster").json()["id"] > 0
