"""What actions on one region ask of it. Each objection alone is tested with the actions."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from actions import regions
from actions.action import Limits
from schemas.policy import LimitsPolicy
from tests.actions.clusters import LIMITS, NOW, healthy, region


@pytest.mark.parametrize(
    ("changed", "heard"),
    [
        ({"pd_leader_age_s": 90.0}, True),
        ({"pd_leader_age_s": 89.9}, False),
        ({"pd_leader_age_s": nan}, False),
        ({"schedulers": ()}, False),
    ],
    ids=str,
)
def test_a_pd_leader_has_heard_of_every_region_after_a_minute_and_a_half(changed: dict[str, Any], heard: bool) -> None:
    assert regions.are_heard(healthy(**changed)) == heard


def test_a_region_is_read_twice_where_it_is_in_trouble() -> None:
    one, other = region(180, 1, 2, 3), region(181, 1, 2, 3)
    assert regions.reads(one, healthy(troubled=(other,))) == (one,)
    again = region(180, 1, 2, 3, conf_ver=6)
    assert regions.reads(one, healthy(troubled=(again, other))) == (one, again)


@pytest.mark.parametrize("changed", [{"version": 0}, {"conf_ver": 0}])
def test_a_region_without_an_epoch_is_waited_for(changed: dict[str, int]) -> None:
    (found,) = regions.in_between(region(180, 1, 2, 3, **changed), healthy(), LIMITS)
    assert (found.code, found.kind, found.until_ms) == ("no_epoch", "wait", NOW + 60_000)


def test_a_megabyte_is_a_million_bytes_in_what_is_said_of_writes() -> None:
    limits = Limits(policy=LimitsPolicy(leader_move_bytes_per_s_max=999_999e6), now_ms=NOW)
    (found,) = regions.too_many_writes("store 4", 1e12, limits)
    assert found.text == "store 4 takes 1000000.0 MB/s of writes, at most 999999"
