"""The command line against a running console: what it prints, and the exit code that scripts rely on."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
import threading
import time
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from actions.card import describe
from actions.catalogue import CATALOGUE, FORBIDDEN
from console.cli import app
from console.desk import Refusal
from console.onboarding import configuration
from console.web import app as web
from infra.publisher import Unreachable
from infra.settings import Secret, load, parse
from schemas import events as e
from schemas.wire import decode
from tests.console.desks import CLUSTER, PD, Office

CONFIGURATION = f"""
environment = "test"
[clusters.{CLUSTER}]
alert_labels = {{ env = "{CLUSTER}" }}
pd = ["http://127.0.0.1:1"]
pd_cluster_id = {PD}
[policy.actions.evict_store_leaders]
mode = "on"
"""
Steward = Callable[..., Result]
SAME = {"ok": True, "text": "9 decisions of INC-1 come out the same; 2 inputs from outside taken as recorded"}
DIFFERENT = {"ok": False, "text": "DIFFERENT: 1 of 9 decisions of INC-2 come out differently"}


class Replays:
    """Stands for console/replay.py: two incidents, one of them not as it was, and no Kafka."""

    async def replay(self, incident: str, source: str) -> Mapping[str, Any]:
        if source not in ("", "clickhouse", "kafka"):
            raise Refusal("wrong_use", "unknown_source", "one of clickhouse, kafka", "source")
        if source == "kafka":
            raise Refusal("unavailable", "kafka_unreachable", "Kafka lists no topic of ours")
        if incident not in ("INC-1", "INC-2"):
            text = f"clickhouse knows no incident {incident!r}"
            raise Refusal("not_found", "unknown_incident", text, "incident")
        return SAME if incident == "INC-1" else DIFFERENT


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def console(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A console on a free port of the loopback; anna's token is in the environment."""
    monkeypatch.setenv("TOKEN_OF_ANNA", "token-of-anna")
    api = web(office.desk, {"anna": Secret.parse("env:TOKEN_OF_ANNA")}, replays=Replays(), answer_s=0.2)
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def steward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steward:
    """Runs one command in an empty directory with a configuration of one cluster."""
    file = tmp_path / "steward.toml"
    file.write_text(CONFIGURATION)
    for name in ("STEWARD_CONFIG", "STEWARD_CONSOLE", "STEWARD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STEWARD_TOKEN", "token-of-anna")

    def run(*args: str, **more: Any) -> Result:
        return CliRunner().invoke(app, ["--config", str(file), *args], **more)

    return run


@pytest.fixture
def at_console(steward: Steward, console: str, monkeypatch: pytest.MonkeyPatch) -> Steward:
    monkeypatch.setenv("STEWARD_CONSOLE", console)
    return steward


def bootstrap(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    package: Any = types.ModuleType("bootstrap")
    package.commands = types.SimpleNamespace(**functions)
    monkeypatch.setitem(sys.modules, "bootstrap", package)


# -- with the console -------------------------------------------------------------------------------------------------


def test_show_then_approve_with_the_digest_that_it_showed(at_console: Steward, office: Office) -> None:
    office.incident()
    digest = office.asked()

    shown = at_console("show", "R-1")
    assert shown.exit_code == 0
    assert f"--digest {digest[:12]}" in shown.stdout
    done = at_console("approve", "R-1", "--digest", digest[:12], "--reason", "disk known bad")

    assert (done.exit_code, done.stdout) == (
        0,
        "approved by anna, 1 of 1: disk known bad; authorised: evict_store_leaders keep_s=900 store_id=4 (on)\n",
    )
    (approved,) = office.events("approvals")
    assert isinstance(approved, e.Approved)
    assert (approved.approval.person, approved.approval.via) == ("anna", "cli")


def test_a_replay_that_differs_exits_1_and_shows_what(at_console: Steward) -> None:
    same, different = at_console("replay", "INC-1"), at_console("replay", "INC-2")
    assert (same.exit_code, same.stdout) == (0, f"{SAME['text']}\n")
    assert (different.exit_code, different.stdout) == (1, f"{DIFFERENT['text']}\n")
    assert json.loads(at_console("replay", "INC-1", "--from", "clickhouse", "--json").stdout) == SAME


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("approve", "R-1", "--digest", "0" * 12, "--reason", "x"), 1, "wrong_digest"),
        (("approve", "R-2", "--digest", "0" * 12, "--reason", "x"), 1, "there is: R-1"),
        (("approve", "../x", "--digest", "0" * 12, "--reason", "x"), 1, "not_found"),
        (("approve", "R-1", "--digest", "short", "--reason", "x"), 2, "bad_digest"),
        (("approve", "R-1", "--digest", "not-hex-at-all", "--reason", "x"), 2, "bad_digest"),
        (("approve", "R-1", "--digest", "0" * 64, "--reason", "x"), 1, "wrong_digest"),
        (("approve", "R-1", "--reason", "x"), 2, "--digest"),
        (("deny", "R-1", "--reason", " "), 2, "no_reason"),
        (("undo", "R-1"), 1, "wrong_state"),
        (("resolve", "R-1", "--outcome", "fine", "--reason", "x"), 2, "bad_outcome"),
        (("show", "INC-9"), 1, "unknown_id"),
        (("incidents", "nowhere"), 1, "unknown_cluster"),
        (("freeze", "nowhere", "--reason", "x"), 1, "unknown_cluster"),
        (("freeze", "--reason", "x"), 2, "--all"),
        (("freeze", CLUSTER, "--all", "--reason", "x"), 2, "--all"),
        (("halt", "--reason", "x"), 2, "--all"),
        (("lift", CLUSTER), 1, "nothing_to_lift"),
        (("lift", CLUSTER, "--input", "proposals/0@0", "--reason", "x"), 1, "nothing_to_lift"),
        (("lift", CLUSTER, "--input", "R-1", "--reason", "x"), 2, "bad_input"),
        (("lift", CLUSTER, "--input", "proposals/0@0"), 2, "--reason"),
        (("lift", "--input", "proposals/0@0", "--reason", "x"), 2, "--all"),
        (("audit", "verify"), 3, "no_audit"),
        (("audit", "query", "x", "--param", "novalue"), 2, "K=V"),
        (("replay", "INC-9"), 2, "clickhouse knows no incident"),
        (("replay", "INC-1", "--from", "tape"), 2, "source: one of"),
        (("replay", "INC-1", "--from", "kafka"), 3, "kafka_unreachable"),
        (("ingest", "/nowhere"), 2, "can't read"),
        (("nonsense",), 2, "nonsense"),
        (("connect", "nowhere"), 2, CLUSTER),
        (("actions", "show", "reboot"), 1, "evict_store_leaders"),
    ],
)
def test_a_no_has_its_exit_code_and_says_why(
    at_console: Steward, office: Office, args: tuple[str, ...], code: int, says: str
) -> None:
    office.asked()

    result = at_console(*args)

    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert office.said("approvals") + office.said("controls") == []


def test_every_list_prints_for_people_and_for_scripts(at_console: Steward, office: Office) -> None:
    office.incident()
    office.asked()
    for command, expected in {
        ("status",): CLUSTER,
        ("incidents",): "INC-1",
        ("waiting",): "approval by 1 person",
        ("show", "INC-1"): "APPROVE?",
        ("show", "INC-1", "--timeline"): "opened: store 4 disk stall",
        ("why", "INC-1"): "nothing has stood in its way",
        ("dead-letters",): "no dead letters",
        ("watch", "--since", "0", "--for", "0.1"): "opened: store 4 disk stall",
        ("actions", "list"): "evict_store_leaders",
        ("actions", "show", "evict_store_leaders"): "keep_s",
        ("actions", "show", "compact_store"): "FORBIDDEN, whoever asks",
        ("connect", CLUSTER): "continue: true",
    }.items():
        plain, data = at_console(*command), at_console(*command, "--json")
        assert plain.exit_code == data.exit_code == 0, plain.output + data.output
        assert expected in plain.stdout
        for line in data.stdout.splitlines() if command[0] == "watch" else [data.stdout]:
            json.loads(line)


def test_the_command_that_is_shown_lifts_the_input_and_nothing_else(at_console: Steward, office: Office) -> None:
    office.junk("controls")
    office.chokes(7)
    at_console("freeze", CLUSTER, "--reason", "deploy")
    for command in (("status",), ("waiting",), ("why", CLUSTER)):
        plain = at_console(*command).stdout
        for place, scope in (("controls/0@0", "--all"), ("remediations/0@7", CLUSTER)):
            assert f'steward lift {scope} --input {place} --reason "..."' in plain
        assert "09-21 14:13:20Z" in plain
        assert "KeyError: 'x'" in plain

    shown = [w["command"] for w in json.loads(at_console("waiting", "--json").stdout)["waiting"]]
    for command in shown:
        done = at_console(*shlex.split(command)[1:])
        assert done.exit_code == 0, done.output

    assert json.loads(at_console("status", "--json").stdout)["stopped_by_inputs"] == []
    lifted = [decode(raw.value).event for raw in office.log.read("controls", 0, 2)]
    assert [x.input for x in lifted if isinstance(x, e.Lifted)] == ["controls/0@0", "remediations/0@7"]
    assert "freeze by anna" in at_console("status").stdout


async def test_status_waiting_and_why_show_an_undo_that_is_overdue(at_console: Steward, office: Office) -> None:
    await office.runs()
    office.let_pass(960)

    for command in (("status",), ("waiting",), ("why", "R-1"), ("why", CLUSTER)):
        plain = at_console(*command).stdout
        assert "due 2026-09-21 14:28:20Z, not seen undone: DELETE /pd/api/v1/schedulers/" in plain, command
        assert "pd-ctl scheduler remove evict-leader-scheduler-4" in plain


def test_what_is_wrong_with_a_role_beside_the_console_is_in_status_and_doctor(
    at_console: Steward, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap(monkeypatch, doctor=lambda settings: [])
    assert at_console("doctor").exit_code == 0
    office.desk.troubles = {"audit": "alerts/0 ends at 0, and the audit holds up to 3: records were lost"}

    assert "TROUBLE audit: alerts/0 ends at 0" in at_console("status").stdout
    assert json.loads(at_console("status", "--json").stdout)["troubles"] == office.desk.troubles
    result = at_console("doctor")
    assert result.exit_code == 1
    assert "WRONG  role audit: alerts/0 ends at 0" in result.stdout


def test_a_denied_word_of_the_ledger_is_exit_1(at_console: Steward, office: Office) -> None:
    digest = office.asked()
    office.controls = type(office.controls)(
        live=True, policy=office.policy, revoked_kids=frozenset({office.key["kid"]})
    )

    result = at_console("approve", "R-1", "--digest", digest, "--reason", "x")

    assert result.exit_code == 1
    assert "revoked_key" in result.stdout


def test_the_draft_in_the_file_is_compared_and_adopted(at_console: Steward, office: Office) -> None:
    diff = at_console("policy", "diff")
    assert diff.exit_code == 1
    assert '+ actions.evict_store_leaders.mode = "on"' in diff.stdout

    assert at_console("policy", "apply", "--reason", "go").exit_code == 2  # nobody is there to ask
    assert at_console("policy", "apply", "--reason", "go", "--yes").exit_code == 0
    assert office.journal.controls.policy.mode("evict_store_leaders", CLUSTER) == "on"
    assert at_console("policy", "diff").exit_code == 0


def test_the_list_of_actions_ends_with_what_is_never_done(at_console: Steward) -> None:
    listed = json.loads(at_console("actions", "list", "--json").stdout)["actions"]

    assert [a["name"] for a in listed] == [*CATALOGUE, *FORBIDDEN]
    assert [a["name"] for a in listed if a["risk"] == "FORBIDDEN"] == [*FORBIDDEN]
    for action in listed:
        assert action["what"].startswith("Never done here: ") == (action["risk"] == "FORBIDDEN")
    plain = at_console("actions", "list").stdout
    assert all(name in plain for name in FORBIDDEN)
    assert plain.count("FORBIDDEN") == len(FORBIDDEN)


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_what_is_never_done_is_shown_with_the_reason(at_console: Steward, name: str) -> None:
    plain, data = at_console("actions", "show", name), json.loads(at_console("actions", "show", name, "--json").stdout)

    assert plain.stdout == describe(FORBIDDEN[name]) + "\n"
    assert (data["name"], data["risk"], data["undo"], data["may_call"]) == (name, "FORBIDDEN", "irreversible", [])
    assert data["forbidden"] == FORBIDDEN[name].why_not()
    assert data["text"] == describe(FORBIDDEN[name])
    assert set(data["parameters"]["properties"]) == set(FORBIDDEN[name].model_fields)
    assert json.loads(at_console("actions", "show", "evict_store_leaders", "--json").stdout)["forbidden"] == ""


def test_a_test_alert_waits_for_its_ticket(at_console: Steward, office: Office) -> None:
    result = at_console("test-alert", CLUSTER, "--wait", "1")

    assert result.exit_code == 1
    assert "no ticket" in result.stderr
    assert office.said("alerts") == ["AlertReceived"]


def test_who_has_no_token_or_a_wrong_one_is_told_so(at_console: Steward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEWARD_TOKEN", "wrong")
    assert at_console("waiting").exit_code == 2
    monkeypatch.delenv("STEWARD_TOKEN")
    result = at_console("waiting")

    assert result.exit_code == 2
    assert "STEWARD_TOKEN" in result.stderr


def test_a_token_can_be_in_a_file(at_console: Steward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEWARD_TOKEN")
    (tmp_path / "token").write_text("token-of-anna\n")

    assert at_console("--token-file", str(tmp_path / "token"), "waiting").exit_code == 0
    assert at_console("--token-file", str(tmp_path / "absent"), "waiting").exit_code == 2


# -- without it -------------------------------------------------------------------------------------------------------


@pytest.mark.local
def test_a_console_that_does_not_answer_is_exit_3_and_named(steward: Steward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEWARD_CONSOLE", "http://127.0.0.1:1")

    result = steward("waiting")

    assert result.exit_code == 3
    assert "http://127.0.0.1:1" in result.stderr
    assert "token-of-anna" not in result.output


@pytest.mark.local
def test_a_freeze_works_without_the_console(steward: Steward, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[e.Event] = []
    bootstrap(monkeypatch, publish_control=lambda settings, event: written.append(event))
    monkeypatch.setenv("STEWARD_CONSOLE", "http://127.0.0.1:1")

    assert steward("freeze", CLUSTER, "--reason", "it is on fire").exit_code == 0
    assert steward("freeze", "--all", "--reason", "all of it").exit_code == 0
    assert steward("freeze", "prod-eu-77", "--reason", "typo").exit_code == 2

    assert [(x.cluster_id, x.via) for x in written if isinstance(x, e.Frozen)] == [(CLUSTER, "stop"), ("*", "stop")]


def test_a_freeze_that_nobody_has_acknowledged_names_kafka_and_promises_nothing(
    steward: Steward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(settings: Any, event: e.Event) -> None:
        raise Unreachable("Kafka at 127.0.0.1:9092: timed out")

    bootstrap(monkeypatch, publish_control=lost)
    monkeypatch.delenv("STEWARD_TOKEN")

    result = steward("freeze", CLUSTER, "--reason", "it is on fire")

    assert result.exit_code == 3
    assert "Kafka at 127.0.0.1:9092 has not acknowledged the freeze: timed out" in result.stderr
    assert "It may still arrive" in result.stderr
    assert "FROZEN" not in result.stdout


def test_a_freeze_works_for_who_has_no_token(at_console: Steward, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[e.Event] = []
    bootstrap(monkeypatch, publish_control=lambda settings, event: written.append(event))
    monkeypatch.delenv("STEWARD_TOKEN")

    assert at_console("freeze", CLUSTER, "--reason", "it is on fire").exit_code == 0
    assert len(written) == 1


def test_a_wrong_configuration_is_exit_2_with_field_kind_and_reason(steward: Steward, tmp_path: Path) -> None:
    (tmp_path / "steward.toml").write_text('environment = "test"\n[kafka]\nbootstap = "x"\npartitions = "many"\n')

    result = steward("connect", "a")

    assert result.exit_code == 2
    assert "kafka.bootstap: unknown key; did you mean bootstrap? (found: text)" in result.stderr
    assert "kafka.partitions" in result.stderr


@pytest.mark.local
def test_doctor_says_per_line_what_is_wrong_and_what_to_do(steward: Steward, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("kafka", True, "3 brokers", ""), ("pd of prod-eu-7", False, "no answer", "open port 2379")]
    bootstrap(monkeypatch, doctor=lambda settings: rows)

    result = steward("doctor")

    assert result.exit_code == 1
    assert "WRONG  pd of prod-eu-7: no answer\n       -> open port 2379" in result.stdout
    assert "policy: not compared" in result.stdout
    rows[-1] = ("dead letters", True, "1 x not_json", "`steward dead-letters` shows them")
    noted = steward("doctor")
    assert noted.exit_code == 0
    assert "note   dead letters: 1 x not_json\n       -> `steward dead-letters` shows them" in noted.stdout


@pytest.mark.local
def test_doctor_says_what_the_clocks_of_windows_show(
    steward: Steward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap(monkeypatch, doctor=lambda settings: [])
    monkeypatch.setattr("console.cli.time.time", lambda: 1_800_000_000.0)  # 17:00 in Tokyo
    window = '\n[policy.windows.{}]\nkind = "quiet"\nzone = "Asia/Tokyo"\nstart = "{}"\nend = "23:00"\n{}'
    later = window.format("later", "17:01", 'clusters = ["stage-*"]')
    stage = CONFIGURATION.replace(CLUSTER, "stage-1").replace('environment = "test"\n', "").split("[policy")[0]
    stage = stage.replace(str(PD), "8").replace(':1"', ':2"')
    (tmp_path / "steward.toml").write_text(CONFIGURATION + stage + window.format("evenings", "17:00", "") + later)

    said = steward("doctor").stdout

    assert "ok     policy.windows.evenings: quiet, 17:00-23:00 Asia/Tokyo, open now; 2 of 2 clusters\n" in said
    assert "ok     policy.windows.later: quiet, 17:01-23:00 Asia/Tokyo, not open now; 1 of 2 clusters\n" in said


def test_topics_that_differ_are_exit_1(steward: Steward, monkeypatch: pytest.MonkeyPatch) -> None:
    differ = ["sre.steward.alerts is missing; it is to have 16 partitions"]
    bootstrap(monkeypatch, topics=lambda settings, verb: ([f"{verb}: what it did"], list(differ)))

    planned, applied = steward("topics", "plan", "--json"), steward("topics", "apply")

    assert (planned.exit_code, applied.exit_code) == (1, 1)
    assert json.loads(planned.stdout) == {"verb": "plan", "done": ["plan: what it did"], "differs": differ}
    assert applied.stdout == f"apply: what it did\n{differ[0]}\n"
    differ.clear()
    assert steward("topics", "plan").exit_code == 0
    assert "the broker has every topic as it should be" in steward("topics", "apply").stdout


def test_leftovers_are_exit_1(steward: Steward, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["evict-leader-scheduler-4"]
    bootstrap(monkeypatch, leftovers=lambda settings, cluster: found)

    assert steward("leftovers", CLUSTER).exit_code == 1
    found.clear()
    assert steward("leftovers", CLUSTER).exit_code == 0


def test_an_unknown_role_is_wrong_use_and_the_roles_are_named(
    steward: Steward, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap(monkeypatch, run=lambda settings, roles: 0)

    result = steward("run", "gateway", "cook")

    assert result.exit_code == 2
    assert "validate" in result.stderr
    assert steward("run", "gateway", "intake").exit_code == 0


def test_init_writes_what_loads_observes_and_keeps_its_secrets_to_itself(tmp_path: Path) -> None:
    where = tmp_path / "new"

    result = CliRunner().invoke(app, ["init", str(where), "--environment", "prod", "--user", "anna"])

    assert result.exit_code == 0, result.output
    settings = load(where / "steward.toml", {})
    assert settings.policy.default_mode == "observe"
    assert settings.policy.actions == {}
    for path in (where / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().strip() not in result.output
    again = CliRunner().invoke(app, ["init", str(where), "--user", "anna"])
    assert again.exit_code == 1
    assert "overwritten" in again.stderr


def test_what_init_shows_of_a_policy_loads_when_it_is_no_comment_any_more() -> None:
    text = configuration("prod", "anna")
    text = re.sub(
        r"^# (?=\[(clusters|policy)|(alert_labels|pd|pd_cluster_id|tier|mode|canary) =)", "", text, flags=re.M
    )
    policy = text[text.index("[policy]") :]
    text = text.replace(policy, re.sub(r"^# ", "", policy, flags=re.M))

    settings = parse(tomllib.loads(text))

    assert settings.policy.windows["nights"].hours() == "mon,tue,wed,thu,fri 22:00-07:00 Europe/Berlin"
    assert settings.policy.limits.of(1).leaders_share_max == 0.2


@pytest.mark.parametrize("name", ['a"b', "a b", "../x", "a\nb"])
def test_init_refuses_names_that_no_configuration_holds(tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "new"), "--user", name])

    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_every_command_has_help_with_an_example() -> None:
    def commands(at: Any, path: list[str]) -> Iterator[list[str]]:
        for info in at.registered_commands:
            yield [*path, info.name or info.callback.__name__]
        for group in at.registered_groups:
            yield from commands(group.typer_instance, [*path, group.name])

    for path in commands(app, []):
        result = CliRunner().invoke(app, [*path, "--help"])
        assert result.exit_code == 0
        assert "Example: steward" in result.stdout, path


@pytest.mark.local
def test_help_costs_less_than_half_a_second_of_cpu() -> None:
    program = "import resource, sys; from console.cli import app; app(['--help'], standalone_mode=False); "
    program += "u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert float(done.stderr.split()[-1]) < 0.5
