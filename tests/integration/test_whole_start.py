"""From an empty directory to a ticket, by the command line and real processes on a real Kafka; and every wrong turn."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.local.process import free_port
from pdsim.faults import ConnectionRefused
from tests.integration.stack import CLUSTER, Running, Said, Stack, alive, stack, until


@pytest.fixture(scope="module")
def made(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Configured; the first test makes its topics."""
    with stack(tmp_path_factory.mktemp("whole"), kafka) as it:
        yield it


@pytest.fixture(scope="module")
def planned(made: Stack) -> tuple[Said, Said, Said]:
    """plan, apply, plan."""
    return made.steward("topics", "plan"), made.steward("topics", "apply"), made.steward("topics", "plan", "--json")


@pytest.fixture(scope="module")
def up(made: Stack, planned: tuple[Said, Said, Said]) -> Running:
    running = made.up()
    made.wait_until_up()
    return running


def keeps_its_secrets(made: Stack, *said: Said) -> None:
    for secret in made.all_secrets():
        assert not any(secret in one.out + one.err for one in said)


def test_topics_are_planned_then_applied_then_as_they_should_be(made: Stack, planned: tuple[Said, Said, Said]) -> None:
    plan, applied, again = planned

    assert plan.code == 1
    assert f"{made.prefix}alerts is missing; it is to have 2 partitions" in plan.out
    assert applied.code == 0, applied.err
    assert f"made {made.prefix}alerts" in applied.out
    assert "the broker has every topic as it should be" in applied.out
    assert (again.code, again.json()) == (0, {"verb": "plan", "done": [], "differs": []})


def test_doctor_reaches_everything_and_finds_it_well(made: Stack, planned: tuple[Said, Said, Said]) -> None:
    said = made.steward("doctor")

    assert said.code == 0, said.out + said.err
    lines = said.out.splitlines()
    assert all(line.startswith("ok ") for line in lines), said.out
    for what in ("kafka", "topics", "console.signing_key", CLUSTER):
        assert any(line.startswith(f"ok     {what}: ") for line in lines), said.out
    keeps_its_secrets(made, said)


def test_doctor_names_a_pd_that_is_down_and_what_to_do(made: Stack, planned: tuple[Said, Said, Said]) -> None:
    made.faults.add(ConnectionRefused(), times=None)
    try:
        said = made.steward("doctor")
    finally:
        made.faults.clear()

    assert said.code == 1
    at = next(n for n, line in enumerate(said.out.splitlines()) if line.startswith(f"WRONG  {CLUSTER}: "))
    assert said.out.splitlines()[at + 1].startswith("       -> ")
    assert "ok     kafka: " in said.out


def test_a_broker_that_is_away_is_named(made: Stack) -> None:
    nobody = f"127.0.0.1:{free_port()}"

    def ask(*arguments: str) -> Said:
        return made.steward(*arguments, STEWARD_KAFKA__BOOTSTRAP=nobody)

    with ThreadPoolExecutor() as side_by_side:  # each waits until it gives up
        doctor, plan, run = side_by_side.map(
            lambda arguments: ask(*arguments), [("doctor",), ("topics", "plan"), ("run", "incidents")]
        )

    assert doctor.code == 1
    assert f"WRONG  kafka: {nobody}" in doctor.out
    assert (plan.code, run.code) == (3, 3), (plan, run)
    assert plan.err.startswith(f"Kafka at {nobody}: ")
    said = [json.loads(line) for line in run.err.splitlines()]
    assert (said[0]["event"], said[0]["kafka"]) == ("starting", nobody)
    assert said[-1]["event"] == "stopped"
    assert said[-1]["reason"].startswith(f"Kafka at {nobody}: ")
    assert not any("Traceback" in said.err for said in (doctor, plan, run))
    keeps_its_secrets(made, doctor, plan, run)


def test_nothing_runs_without_its_topics(made: Stack, planned: tuple[Said, Said, Said]) -> None:
    said = made.steward("run", "incidents", STEWARD_KAFKA__TOPIC_PREFIX=f"{made.prefix}other.")

    assert said.code == 2
    assert f"{made.prefix}other." in said.err
    assert "`steward topics apply` makes" in said.err


def test_nothing_runs_on_topics_with_other_partitions_than_configured(
    made: Stack, planned: tuple[Said, Said, Said]
) -> None:
    said = made.steward("run", "incidents", STEWARD_KAFKA__PARTITIONS="5")

    assert said.code == 2
    assert "kafka.partitions: " in said.err
    assert f"{made.prefix}signals has 2 partitions, not 5: set kafka.partitions to 2" in said.err


def test_up_supervises_three_processes_and_a_test_alert_ends_with_its_ticket(made: Stack, up: Running) -> None:
    assert set(up.children()) == {"observe", "act", "execute"}

    said = made.steward("test-alert", CLUSTER)

    assert said.code == 0, said.err + made.logs()
    assert f"TEST {CLUSTER}: StewardTest" in said.out
    made.until("acting's answer", lambda: "NOTHING PROPOSED" in made.steward("incidents").out)


def test_a_second_test_alert_gets_its_answer_too(made: Stack, up: Running) -> None:
    said = made.steward("test-alert", CLUSTER, "--wait", "50")

    assert said.code == 0, said.err + made.logs()


def test_roles_are_up_and_no_secret_is_in_a_log_or_an_answer(made: Stack, up: Running) -> None:
    assert made.roles_up("execute") == {"execute": 1}
    assert set(made.roles_up("act")) == {"propose", "validate", "remediations"}
    said = made.steward("status"), made.steward("doctor"), made.steward("watch", "--for", "1", "--since", "0")

    assert [s.code for s in said] == [0, 0, 0]
    keeps_its_secrets(made, *said, Said(0, up.log, ""))


def test_what_the_processes_log_is_a_json_object_a_line(made: Stack, up: Running) -> None:
    """The libraries' lines too: whoever collects logs parses every one."""
    lines = [json.loads(line) for line in up.log.splitlines()]

    assert {"started", "running"} <= {line["event"] for line in lines}
    assert all({"level", "timestamp"} <= set(line) for line in lines)
    assert not [line for line in lines if line["level"] in ("error", "critical")]


def test_an_exit_by_sigterm_is_0_and_leaves_nobody_behind(made: Stack) -> None:
    """Of a stack of its own, which has just begun: the start can be interrupted too."""
    ports = {f"STEWARD_METRICS__{name}": f"127.0.0.1:{free_port()}" for name in ("OBSERVE", "ACT", "EXECUTE")}
    ports |= {f"STEWARD_{name}__LISTEN": f"127.0.0.1:{free_port()}" for name in ("GATEWAY", "CONSOLE")}
    running = made.up(**ports)
    made.background.remove(running)
    try:
        children = until("the children", lambda: found if len(found := running.children()) == 3 else None, 30)

        code = running.terminate()

        assert code == 0
        assert not [name for name, pid in children.items() if alive(pid)]
    finally:
        running.stop()


def test_a_sigterm_while_it_still_looks_for_its_broker_is_0(made: Stack) -> None:
    elsewhere = {"STEWARD_METRICS__OBSERVE": f"127.0.0.1:{free_port()}"}  # `up` has its own
    running = made.start("run", "incidents", STEWARD_KAFKA__BOOTSTRAP=f"127.0.0.1:{free_port()}", **elsewhere)
    made.background.remove(running)
    try:
        until("it to listen to signals", lambda: catches(running.pid, signal.SIGTERM), 30)

        assert running.terminate(10) == 0
    finally:
        running.stop()


def catches(pid: int, number: int) -> bool:
    (mask,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_supervisor_that_is_killed_takes_its_children_along(made: Stack, up: Running) -> None:
    """Else two executes would meet as soon as somebody starts another `up`."""
    children = up.children()
    made.background.remove(up)
    up.server.kill()

    until("the children to end", lambda: not any(map(alive, children.values())), 30)


def test_it_starts_again_and_a_sigterm_ends_it_in_order(made: Stack, up: Running) -> None:
    """After a kill, on the same log: what was said is still there."""
    again = made.up()
    made.wait_until_up()
    children = again.children()
    incidents = made.answer("incidents", "--all")["incidents"]

    code = again.terminate()
    made.background.remove(again)

    assert code == 0
    assert not [name for name, pid in children.items() if alive(pid)]
    assert [i["synthetic"] for i in incidents] == [True, True]  # of each test alert


# -- wrong configuration --------------------------------------------------------------------------------------------


@pytest.fixture
def file(made: Stack) -> Iterator[Path]:
    """The configuration, to spoil; as it was afterwards."""
    before = made.config.read_text()
    yield made.config
    made.config.write_text(before)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("topic_prefix", "topic_prefx", "kafka.topic_prefx: unknown key; did you mean topic_prefix? (found: text)"),
        ("partitions = 2", 'partitions = "a few"', "kafka.partitions"),
        ("file:secrets/gateway-token", "file:secrets/nowhere", "gateway.token: can't read "),
    ],
)
def test_a_wrong_configuration_is_exit_2_with_field_and_reason(
    made: Stack, planned: tuple[Said, Said, Said], file: Path, old: str, new: str, message: str
) -> None:
    made.edit((old, new))

    said = made.steward("run", "gateway")

    assert said.code == 2
    assert message in said.err
    assert "(found: " in said.err
    assert "Traceback" not in said.err
    keeps_its_secrets(made, said)


def test_up_with_a_secret_that_is_missing_ends_and_names_it(
    made: Stack, planned: tuple[Said, Said, Said], file: Path
) -> None:
    """Its children say exit 2, so that nothing is started over and over."""
    made.edit(("file:secrets/console-key.json", "file:secrets/no-key.json"))

    said = made.steward("up")

    assert said.code == 2, said
    assert "console.signing_key: can't read " in said.err
    keeps_its_secrets(made, said)


def test_another_cluster_than_the_pinned_one_is_refused(
    made: Stack, planned: tuple[Said, Said, Said], file: Path
) -> None:
    pinned = made.cluster(lambda c: c.id)
    made.edit((f"pd_cluster_id = {pinned}", "pd_cluster_id = 17"))

    doctor, leftovers = made.steward("doctor"), made.steward("leftovers", CLUSTER)

    assert doctor.code == 1
    assert f"WRONG  {CLUSTER}: " in doctor.out
    assert str(pinned) in doctor.out
    assert leftovers.code == 3
    assert str(pinned) in leftovers.err


def test_a_clickhouse_that_is_away_is_named(made: Stack, planned: tuple[Said, Said, Said], file: Path) -> None:
    port = free_port()
    made.append(f'[clickhouse]\nurl = "http://127.0.0.1:{port}/steward"\n')

    said = made.steward("doctor")

    assert said.code == 1
    assert "WRONG  clickhouse: " in said.out
    assert str(port) in said.out
    assert "Traceback" not in said.err
