"""Says aloud when the suite ran against the simulation alone."""

from __future__ import annotations

import os

import httpx
import pytest

pytestmark = pytest.mark.contract


def test_a_real_pd_took_part_in_this_run() -> None:
    url = os.environ.get("PD_URL")
    if not url:
        pytest.skip("PD_URL names no real PD: pdsim was compared with recorded answers only")
    assert httpx.get(f"{url}/pd/api/v1/cluster").json()["id"] > 0
