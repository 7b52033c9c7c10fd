"""Which tests need what, and an honest list at the end of a run of what ran and what did not, and why.

A tier is a mark; a test that uses a tier's fixture has the mark without saying so; a test without one is pure, and
held to it (purity.py).
`STEWARD_REQUIRE_TIERS=all` (or `kafka,clickhouse`) makes a run fail in which one of them did not run.
"""

import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import pytest

from tests import purity

TIERS = ("pure", "local", "contract", "kafka", "clickhouse", "alertmanager")

# Fixture -> the tier that a test is in because it asks for it.
FIXTURES = {
    "kafka": "kafka",
    "own_kafka": "kafka",
    "clickhouse": "clickhouse",
    "clickhouse_engine": "clickhouse",
    "alertmanager": "alertmanager",
    "console": "local",  # tests/console/test_cli.py
}


def tiers_of(item: pytest.Item) -> tuple[str, ...]:
    """A contract test of a real twin is in two: `contract`, and its twin's."""
    return tuple(tier for tier in TIERS if item.get_closest_marker(tier)) or ("pure",)


def required(value: str) -> tuple[str, ...]:
    names = TIERS if value.strip() == "all" else tuple(name.strip() for name in value.split(",") if name.strip())
    if unknown := [name for name in names if name not in TIERS]:
        raise pytest.UsageError(f"STEWARD_REQUIRE_TIERS: no tier {', '.join(unknown)}; there are {', '.join(TIERS)}")
    return names


class TierReport:
    """A plugin that marks, counts and reports. conftest.py registers it."""

    def __init__(self, require: Sequence[str]) -> None:
        self._require = tuple(require)
        self._tiers: dict[str, tuple[str, ...]] = {}
        self._ran: Counter[str] = Counter()
        self._skipped: dict[str, Counter[str]] = {tier: Counter() for tier in TIERS}

    # First, so that `-m pure` and `-m "not kafka"` select by marks that fixtures imply.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for fixture in getattr(item, "fixturenames", ()):
                if fixture in FIXTURES:
                    item.add_marker(FIXTURES[fixture])
            self._tiers[item.nodeid] = tiers_of(item)
            if self._tiers[item.nodeid] == ("pure",):
                item.add_marker("pure")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._held_to_its_tier(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._held_to_its_tier(item))

    def _held_to_its_tier(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """A pure test fails where it touches the world, also where whoever was told has kept it to himself.

        Not so at its teardown: servers that others have shared may end then.
        """
        if self._tiers.get(item.nodeid) != ("pure",):
            with purity.unwatched():
                return (yield)
        with purity.watched() as watch:
            found = yield
        if watch.touched:
            pytest.fail(f"not pure: {'; '.join(watch.touched)}", pytrace=False)
        return found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        tiers = self._tiers.get(report.nodeid, ())
        if report.when == "call" and not report.skipped:
            self._ran.update(tiers)
        elif report.skipped and not hasattr(report, "wasxfail"):
            for tier in tiers:
                self._skipped[tier][_reason(report)] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._not_run_but_required() and session.exitstatus == pytest.ExitCode.OK and not _only_collected(session):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if _only_collected(terminalreporter):
            return
        terminalreporter.section("tiers")
        for line in self.lines():
            terminalreporter.line(line)
        if missing := self._not_run_but_required():
            terminalreporter.line(
                f"FAILED: required by STEWARD_REQUIRE_TIERS and not run: {', '.join(missing)}", red=True, bold=True
            )

    def lines(self) -> Iterable[str]:
        width = max(map(len, TIERS))
        for tier in TIERS:
            yield f"{tier:<{width}}  {self._line(tier)}"

    def _line(self, tier: str) -> str:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in self._skipped[tier].most_common())
        if self._ran[tier]:
            ran = f"ran {self._ran[tier]} tests"
            return f"{ran}, {self._skipped[tier].total()} skipped: {reasons}" if reasons else ran
        return f"NOT RUN: {reasons or 'no test selected'}"

    def _not_run_but_required(self) -> list[str]:
        return [tier for tier in self._require if not self._ran[tier]]


def report_from_environment() -> TierReport:
    return TierReport(required(os.environ.get("STEWARD_REQUIRE_TIERS", "")))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


def _only_collected(where: pytest.Session | pytest.TerminalReporter) -> bool:
    return bool(where.config.getoption("collectonly"))
