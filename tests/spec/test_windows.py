"""Maintenance windows and quiet hours: what a clock on the wall shows decides, also when it is changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actions.action import Limits
from actions.preflight import not_now
from schemas.policy import DAYS, Policy, WindowPolicy
from schemas.values import Objection, Tier
from schemas.windows import minutes, zone

ACTION = "evict_store_leaders"


def ms(text: str) -> int:
    """`2026-03-29 01:00` UTC, with seconds and milliseconds where they are given."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def utc(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def window(start: str, end: str, **more: Any) -> WindowPolicy:
    return WindowPolicy.model_validate({"kind": "quiet", "start": start, "end": end, **more})


def asked(at: str, action: str = ACTION, tier: Tier = "LOW", **windows: dict[str, Any]) -> tuple[Objection, ...]:
    policy = Policy.model_validate({"windows": windows})
    return not_now(action, tier, Limits.of(policy, "prod-eu-7", 1, ms(at)))


def kept(at: str, action: str = ACTION, tier: Tier = "LOW", **windows: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = asked(at, action, tier, **windows)
    return [(o.code, o.kind, utc(o.until_ms) if o.until_ms else "") for o in found]


# -- when it is open --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-11-26 08:59:59.999", False),  # a Thursday
        ("2026-11-26 09:00", True),
        ("2026-11-26 16:59:59.999", True),
        ("2026-11-26 17:00", False),
    ],
)
def test_a_window_is_open_from_its_start_to_just_before_its_end(at: str, is_open: bool) -> None:
    assert window("09:00", "17:00").is_open(ms(at)) == is_open


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-11-27 21:59", False),  # a Friday
        ("2026-11-27 22:00", True),
        ("2026-11-28 06:59", True),  # Saturday morning belongs to Friday night
        ("2026-11-28 07:00", False),
        ("2026-11-28 22:00", False),  # on a Saturday it does not begin
        ("2026-11-29 22:00", True),  # a Sunday: over the end of the week too
        ("2026-11-30 06:59", True),
        ("2026-11-30 22:00", False),
    ],
)
def test_what_crosses_midnight_belongs_to_the_day_on_which_it_began(at: str, is_open: bool) -> None:
    assert window("22:00", "07:00", days=["fri", "sun"]).is_open(ms(at)) == is_open


@pytest.mark.parametrize(("at", "is_open"), [("2026-11-26 00:00", True), ("2026-11-26 23:59", True)])
def test_a_whole_day_ends_at_24(at: str, is_open: bool) -> None:
    assert window("00:00", "24:00", days=["thu"]).is_open(ms(at)) == is_open
    assert not window("00:00", "24:00", days=["fri", "wed"]).is_open(ms(at))


def test_hours_are_those_of_the_windows_zone() -> None:
    tokyo = window("22:00", "23:00", zone="Asia/Tokyo", days=["thu"])
    assert [tokyo.is_open(ms(f"2026-11-26 {hour:02}:30")) for hour in (12, 13, 14)] == [False, True, False]
    kathmandu = window("22:00", "23:00", zone="Asia/Kathmandu")  # UTC+5:45
    assert [kathmandu.is_open(ms(f"2026-11-26 16:{m}")) for m in (14, 15)] == [False, True]


@given(st.sets(st.sampled_from(range(7)), min_size=1), st.integers(0, 1439), st.integers(1, 1439))
def test_a_window_has_its_length_on_each_of_its_days(days: set[int], start: int, length: int) -> None:
    end = (start + length) % 1440
    found = minutes(tuple(days), f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}")
    assert found == {(day * 1440 + start + n) % 10_080 for day in days for n in range(length)}
    assert len(found) == length * len(days)


# -- on the days on which clocks are changed --------------------------------------------------------------------------

BERLIN = "Europe/Berlin"
GAP = "2026-03-29"  # at 01:00 UTC the clock jumps from 02:00 to 03:00
FOLD = "2026-10-25"  # at 01:00 UTC it goes back from 03:00 to 02:00


def opened(w: WindowPolicy, day: str) -> list[tuple[str, str]]:
    """From when to when it is open in this day of UTC and the night before."""
    first = ms(f"{day} 00:00") - 4 * 3_600_000
    at = [t for t in range(first, first + 20 * 3_600_000, 60_000) if w.is_open(t)]
    begins = [t for t in at if t - 60_000 not in at]
    ends = [t + 60_000 for t in at if t + 60_000 not in at]
    return [(utc(a)[11:], utc(b)[11:]) for a, b in zip(begins, ends, strict=True)]


@pytest.mark.parametrize(
    ("start", "end", "day", "spans"),
    [
        ("22:00", "07:00", GAP, [("21:00", "05:00")]),  # eight hours and not nine
        ("22:00", "07:00", FOLD, [("20:00", "06:00")]),  # ten
        ("02:30", "05:00", GAP, [("01:00", "03:00")]),  # begins when the clock has jumped over its start
        ("01:00", "02:30", GAP, [("00:00", "01:00")]),  # ends when it jumps over its end
        ("02:10", "02:50", GAP, []),  # no clock shows it
        ("02:10", "02:50", FOLD, [("00:10", "00:50"), ("01:10", "01:50")]),  # every clock shows it twice
        ("01:00", "02:30", FOLD, [("23:00", "00:30"), ("01:00", "01:30")]),
        ("02:30", "05:00", FOLD, [("00:30", "01:00"), ("01:30", "04:00")]),
        ("03:00", "04:00", FOLD, [("02:00", "03:00")]),
    ],
)
def test_hours_that_are_skipped_and_hours_that_come_twice(
    start: str, end: str, day: str, spans: list[tuple[str, str]]
) -> None:
    assert opened(window(start, end, zone=BERLIN), day) == spans


def test_until_when_it_is_kept_is_said_over_a_change_of_clocks() -> None:
    nights = {"kind": "quiet", "start": "22:00", "end": "07:00", "zone": BERLIN}
    assert kept("2026-03-28 23:00", nights=nights) == [("quiet_hours", "wait", "2026-03-29 05:00")]
    assert kept("2026-10-24 23:00", nights=nights) == [("quiet_hours", "wait", "2026-10-25 06:00")]
    twice = {"kind": "quiet", "start": "02:10", "end": "02:50", "zone": BERLIN}
    assert kept("2026-10-25 00:20", twice=twice) == [("quiet_hours", "wait", "2026-10-25 00:50")]
    skipped = {"kind": "maintenance", "start": "02:10", "end": "02:50", "zone": BERLIN, "days": ["sun"]}
    assert kept("2026-03-22 02:00", skipped=skipped) == [("outside_window", "wait", "2026-04-05 00:10")]


def test_where_clocks_change_at_midnight_and_by_half_an_hour_the_clock_decides_too() -> None:
    santiago = window("00:00", "02:00", zone="America/Santiago", days=["sun"])  # 2026-09-06: 00:00 is 01:00
    assert opened(santiago, "2026-09-06") == [("04:00", "05:00")]
    lord_howe = window("01:40", "02:10", zone="Australia/Lord_Howe")  # 2026-04-05: 02:00 is 01:30
    assert opened(lord_howe, "2026-04-04") == [("14:40", "15:00"), ("15:10", "15:40")]


# -- what it is about -------------------------------------------------------------------------------------------------

NIGHTS = {"kind": "quiet", "start": "22:00", "end": "07:00"}
NIGHT = "2026-11-26 23:30:01.5"


@pytest.mark.parametrize(
    ("keys", "is_kept"),
    [
        ({}, True),
        ({"clusters": ["prod-eu-7"]}, True),
        ({"clusters": ["stage-*", "prod-*"]}, True),
        ({"clusters": ["prod"]}, False),
        ({"clusters": ["PROD-*"]}, False),
        ({"cluster_tiers": [2, 1]}, True),
        ({"cluster_tiers": [2]}, False),
        ({"actions": ["split_region", ACTION]}, True),
        ({"actions": ["split_region"]}, False),
        ({"risk_min": "MEDIUM"}, True),
        ({"risk_min": "HIGH"}, False),
        ({"days": ["wed"]}, False),
        ({"days": ["thu"]}, True),
        ({"clusters": ["prod-*"], "cluster_tiers": [2]}, False),
        ({"actions": [ACTION], "risk_min": "HIGH"}, False),
    ],
)
def test_a_window_is_about_what_all_its_keys_name(keys: dict[str, Any], is_kept: bool) -> None:
    wait = [("quiet_hours", "wait", "2026-11-27 07:00")]
    assert kept(NIGHT, ACTION, "MEDIUM", nights={**NIGHTS, **keys}) == (wait if is_kept else [])


@pytest.mark.parametrize(("tier", "is_kept"), [("LOW", False), ("MEDIUM", True), ("HIGH", True)])
def test_quiet_hours_of_a_tier_are_those_of_all_above(tier: Tier, is_kept: bool) -> None:
    assert bool(kept(NIGHT, ACTION, tier, nights={**NIGHTS, "risk_min": "MEDIUM"})) == is_kept


def test_the_objection_names_the_window_and_its_hours() -> None:
    (quiet,) = asked(NIGHT, nights={**NIGHTS, "days": ["thu", "mon"], "zone": "Africa/Abidjan"})
    assert quiet.text == "nothing of the kind starts in quiet hours nights: mon,thu 22:00-07:00 Africa/Abidjan"
    (outside,) = asked(NIGHT, b={**NIGHTS, "kind": "maintenance", "days": ["mon"]}, a=SUNDAYS)
    assert outside.text == ("it starts in maintenance windows alone: a, sun 02:00-04:00 UTC; b, mon 22:00-07:00 UTC")


# -- several of them --------------------------------------------------------------------------------------------------

SUNDAYS = {"kind": "maintenance", "start": "02:00", "end": "04:00", "days": ["sun"]}


def test_without_a_window_about_it_an_action_starts_at_any_hour() -> None:
    assert kept(NIGHT) == []
    assert kept(NIGHT, sundays={**SUNDAYS, "actions": ["split_region"]}) == []


def test_what_has_a_maintenance_window_starts_in_it_alone() -> None:
    assert kept("2026-11-29 01:59:59.999", sundays=SUNDAYS) == [("outside_window", "wait", "2026-11-29 02:00")]
    assert kept("2026-11-29 02:00", sundays=SUNDAYS) == []
    assert kept("2026-11-29 03:59:59.999", sundays=SUNDAYS) == []
    assert kept("2026-11-29 04:00", sundays=SUNDAYS) == [("outside_window", "wait", "2026-12-06 02:00")]


def test_of_several_maintenance_windows_one_that_is_open_is_enough() -> None:
    mondays = {**SUNDAYS, "days": ["mon"]}
    assert kept("2026-11-30 03:00", sundays=SUNDAYS, mondays=mondays) == []
    assert kept("2026-11-29 05:00", sundays=SUNDAYS, mondays=mondays) == [
        ("outside_window", "wait", "2026-11-30 02:00")
    ]


def test_quiet_hours_are_stronger_and_it_is_kept_until_both_let_it_start() -> None:
    quiet = {"kind": "quiet", "start": "01:00", "end": "03:00"}
    assert kept("2026-11-29 02:30", quiet=quiet, sundays=SUNDAYS) == [("quiet_hours", "wait", "2026-11-29 03:00")]
    assert kept("2026-11-29 01:30", quiet=quiet, sundays=SUNDAYS) == [
        ("quiet_hours", "wait", "2026-11-29 03:00"),
        ("outside_window", "wait", "2026-11-29 03:00"),
    ]


def test_quiet_hours_one_after_the_other_are_one_wait() -> None:
    evening = {"kind": "quiet", "start": "20:00", "end": "22:00"}
    assert kept("2026-11-26 21:00", evening=evening, nights=NIGHTS) == [("quiet_hours", "wait", "2026-11-27 07:00")]


def test_what_may_start_at_no_hour_at_all_is_not_waited_for() -> None:
    always = {"kind": "quiet", "start": "00:00", "end": "24:00"}
    (never,) = asked(NIGHT, always=always, sundays=SUNDAYS)
    assert (never.code, never.kind, never.until_ms) == ("no_window", "no", 0)
    assert never.text == (
        "at no hour of 15 days may it start: quiet always, 00:00-24:00 UTC; maintenance sundays, sun 02:00-04:00 UTC"
    )
    assert kept("2026-11-29 02:30", always=always, sundays=SUNDAYS) == [("no_window", "no", "")]


@given(st.integers(1_600_000_000_000, 2_000_000_000_000), st.sampled_from([BERLIN, "UTC", "America/Santiago"]))
def test_what_is_said_of_an_hour_is_true_when_it_comes_and_not_before(now_ms: int, named: str) -> None:
    windows = {"nights": {**NIGHTS, "zone": named}, "weekend": {**SUNDAYS, "end": "12:00", "days": ["sat", "sun"]}}
    policy = Policy.model_validate({"windows": windows})

    def at(when_ms: int) -> tuple[Objection, ...]:
        return not_now(ACTION, "LOW", Limits.of(policy, "prod", 1, when_ms))

    for objection in at(now_ms)[:1]:
        assert now_ms < objection.until_ms <= now_ms + 7 * 86_400_000
        assert at(objection.until_ms) == ()
        assert at(objection.until_ms - 1)


# -- what may be written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "field", "reason"),
    [
        ({"zone": "Europe/Berlyn"}, "zone", "unknown time zone; did you mean Europe/Berlin?"),
        ({"zone": "here"}, "zone", "unknown time zone; they are named as in Europe/Berlin or UTC"),
        ({"zone": "../../etc/localtime"}, "zone", "unknown time zone"),
        ({"zone": ""}, "zone", "unknown time zone"),
        ({"start": "24:00"}, "start", ""),
        ({"start": "7:00"}, "start", ""),
        ({"start": "07:60"}, "start", ""),
        ({"start": "07:00\n"}, "start", ""),
        ({"start": "\u0660\u0667:\u0660\u0660"}, "start", ""),  # digits, but not ours
        ({"end": "24:01"}, "end", ""),
        ({"end": "22:00"}, "end", "is its start too; a whole day is 00:00 to 24:00"),
        ({"days": ["monday"]}, "days", ""),
        ({"kind": "freeze"}, "kind", ""),
        ({"risk_min": "FORBIDDEN"}, "risk_min", ""),
        ({"cluster_tiers": [0]}, "cluster_tiers", ""),
        ({"cluster_tiers": [10]}, "cluster_tiers", ""),
        ({"until": "07:00"}, "until", ""),
    ],
)
def test_what_is_no_window_is_refused_and_its_field_named(keys: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Policy.model_validate({"windows": {"nights": {**NIGHTS, **keys}}})
    first = refused.value.errors()[0]
    assert first["loc"][:3] == ("windows", "nights", field)
    assert reason in first["msg"]


@pytest.mark.parametrize("missing", ["kind", "start", "end"])
def test_kind_start_and_end_are_needed(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        WindowPolicy.model_validate({name: value for name, value in NIGHTS.items() if name != missing})


@pytest.mark.parametrize("name", ["", "a b", "-a", "a.b", "a" * 65])
def test_a_window_has_a_name_that_can_be_said(name: str) -> None:
    with pytest.raises(ValidationError, match="windows"):
        Policy.model_validate({"windows": {name: NIGHTS}})


def test_what_nobody_has_said_of_a_window_leaves_nothing_out() -> None:
    quiet = WindowPolicy.model_validate(NIGHTS)
    assert quiet.model_dump() == {
        **NIGHTS,
        "zone": "UTC",
        "days": (),
        "clusters": (),
        "cluster_tiers": (),
        "actions": (),
        "risk_min": "LOW",
    }
    assert quiet.hours() == "22:00-07:00 UTC"


def test_the_zones_are_those_of_the_package_and_not_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import zoneinfo

    zone.cache_clear()
    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    assert zone(BERLIN).key == BERLIN
    assert zone(BERLIN) is zone(BERLIN)
    assert DAYS[0] == "mon"
