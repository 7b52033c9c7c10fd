"""The list of tiers at the end of a run says what happened, and a required tier that did not run fails it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tiers import TIERS, TierReport, required

ROOT = Path(__file__).parent.parent
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


def run(pytester: pytest.Pytester, require: Sequence[str], *arguments: str, suite: str = SUITE) -> pytest.RunResult:
    pytester.makepyfile(suite)
    return pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments, plugins=[TierReport(require)]
    )


# What each does is told to nobody: the run has to notice.
IMPURE = """
import socket
import subprocess
import sys
import threading

import pytest
from confluent_kafka import Producer

from infra.embedded import EmbeddedBroker

def listens():
    socket.create_server(("127.0.0.1", 0)).close()

@pytest.fixture(scope="module")
def server():
    listens()

def test_asks_for_what_listens(server):
    pass

def test_listens():
    listens()

def test_connects():
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", 1), 1)

def test_starts_a_process():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_makes_a_kafka_client():
    Producer({"log_level": 0})

def test_starts_the_embedded_broker():
    EmbeddedBroker().close()

def test_does_it_on_a_thread():
    thread = threading.Thread(target=listens)
    thread.start()
    thread.join()

def test_keeps_it_to_itself():
    try:
        listens()
    except BaseException:
        pass

def test_only_thinks():
    socket.socketpair()[0].close()

@pytest.mark.local
def test_says_so():
    listens()
    subprocess.run([sys.executable, "-c", ""], check=True)
    Producer({"log_level": 0})
"""


def test_a_pure_test_that_opens_a_socket_starts_a_process_or_makes_a_kafka_client_fails(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, (), suite=IMPURE)

    result.assert_outcomes(passed=2, failed=7, errors=1)
    for name in ("test_asks_for_what_listens", "test_does_it_on_a_thread", "test_keeps_it_to_itself"):
        assert any(name in line for line in result.outlines if line.startswith(("FAILED", "ERROR"))), name
    result.stdout.fnmatch_lines(["*socket.bind ('127.0.0.1', 0)*"])


def test_each_tier_is_listed_as_run_or_with_the_reason_why_not(pytester: pytest.Pytester) -> None:
    result = run(pytester, ())
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "pure          ran 1 tests",
            "local         NOT RUN: no test selected",
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


LEAVES_A_THREAD = """
import threading
def test_it(): threading.Thread(target=threading.Event().wait).start()
"""


@pytest.mark.local
@pytest.mark.parametrize(("required", "code"), [("pure", 0), ("kafka", 1)])
def test_a_required_tier_that_did_not_run_fails_a_run_that_leaves_threads_behind(
    required: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text(LEAVES_A_THREAD)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", os.devnull, str(tmp_path)]
    environment = {**os.environ, "STEWARD_REQUIRE_TIERS": required, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert "left behind" in ended.stdout, ended.stdout
    assert ended.returncode == code, ended.stdout
