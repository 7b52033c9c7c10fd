"""The list of tiers at the end of a run says what happened, and a required tier that did not run fails it."""

from collections.abc import Sequence

import pytest

from tests.tiers import TIERS, TierReport, required

SUITE = """
import pytest

@pytest.fixture
def kafka():
    pytest.skip("no broker")

def test_pure():
    pass

@pytest.mark.clickhouse
@pytest.mark.contract
def test_real_twin():
    pass

def test_needs_a_broker(kafka):
    pass
"""


def run(pytester: pytest.Pytester, require: Sequence[str], *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(SUITE)
    return pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments, plugins=[TierReport(require)]
    )


def test_each_tier_is_listed_as_run_or_with_the_reason_why_not(pytester: pytest.Pytester) -> None:
    result = run(pytester, ())
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "pure          ran 1 tests",
            "contract      ran 1 tests",
            "kafka         NOT RUN: no broker (1)",
            "clickhouse    ran 1 tests",
            "alertmanager  NOT RUN: no test selected",
        ]
    )


def test_a_run_without_a_required_tier_fails_and_names_it(pytester: pytest.Pytester) -> None:
    result = run(pytester, ("clickhouse", "kafka"))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED: required by STEWARD_REQUIRE_TIERS and not run: kafka"])


def test_a_run_with_all_that_is_required_passes(pytester: pytest.Pytester) -> None:
    assert run(pytester, ("pure", "contract", "clickhouse")).ret == 0


def test_tests_are_selected_by_the_marks_that_their_fixtures_imply(pytester: pytest.Pytester) -> None:
    run(pytester, (), "-m", "kafka").assert_outcomes(skipped=1, deselected=2)
    run(pytester, (), "-m", "pure").assert_outcomes(passed=1, deselected=2)


def test_a_tier_that_nobody_knows_is_refused_by_name() -> None:
    assert required("all") == TIERS
    assert required("kafka, clickhouse") == ("kafka", "clickhouse")
    with pytest.raises(pytest.UsageError, match="no tier kafak"):
        required("kafak")
