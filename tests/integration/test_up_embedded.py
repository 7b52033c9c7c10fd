"""`steward up --embedded`: no Kafka, no ClickHouse. It says what it isn't good for, and acts on nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.embedded import LIMITS
from infra.local.process import free_port
from tests.integration.stack import CLUSTER, Running, Stack, alive, stack

pytestmark = pytest.mark.local

SLOW = 4
WOULD_ACT = """\
[playbook]
keep_s = 60
[policy.actions.evict_store_leaders]
mode = "on"
[policy.limits]
settling_s = 5
pd_leader_age_s_min = 0
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The broker that it names is nobody's: nothing may need it."""
    with stack(tmp_path_factory.mktemp("whole"), f"127.0.0.1:{free_port()}", more=WOULD_ACT) as it:
        yield it


@pytest.fixture(scope="module")
def up(made: Stack) -> Running:
    running = made.up("--embedded")
    made.wait_until_up()
    return running


def test_it_says_what_it_is_not_good_for(up: Running) -> None:
    for limit in LIMITS:
        assert limit in up.log
    assert "actions are rehearsed at most" in up.log


def test_it_takes_a_test_alert(made: Stack, up: Running) -> None:
    said = made.steward("test-alert", CLUSTER)

    assert said.code == 0, said.err + made.logs()
    assert f"TEST {CLUSTER}: StewardTest" in said.out


def test_actions_are_rehearsed_and_never_run_whatever_the_policy_says(made: Stack, up: Running) -> None:
    assert made.steward("policy", "apply", "--yes", "--reason", "to see").code == 0
    made.cluster(lambda c: c.set_slow(SLOW, 90))
    labels = {"alertname": "PD_cluster_slow_tikv_nums", "env": CLUSTER, "level": "critical", "instance": "10.0.4.1"}
    now = datetime.now(UTC).isoformat()
    alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": now, "fingerprint": "00ab"}
    body = {"version": "4", "status": "firing", "receiver": "x", "alerts": [alert]}
    ingested = made.steward("ingest", "-", given=json.dumps(body).encode())
    assert ingested.code == 0, ingested.err

    def asked() -> Any:
        waiting = (made.console("/api/v1/waiting") or {"waiting": []})["waiting"]
        shown = [s for w in waiting if w["id"].startswith("R-") and (s := made.console(f"/api/v1/show/{w['id']}"))]
        return next((s for s in shown if s["digest"]), None)

    card = made.until("somebody to be asked", asked, 90)
    assert "rehearsed up to the calls, none is sent" in card["text"]
    approved = made.steward("approve", card["id"], "--digest", card["digest"][:12], "--reason", "rehearse it")
    assert approved.code == 0, approved.err

    def rehearsed() -> Any:
        shown = made.console(f"/api/v1/show/{card['id']}")
        return shown if shown and shown["state"] == "closed" else None

    assert made.until("the end", rehearsed, 120)["outcome"] == "rehearsed"
    assert made.cluster(lambda c: [call for call in c.calls if call.method != "GET"]) == []


def test_it_ends_by_sigterm_with_0_and_leaves_nobody_behind(made: Stack, up: Running) -> None:
    children = up.children()

    code = up.terminate()
    made.background.remove(up)

    assert code == 0, up.log[-3000:]
    assert len(children) == 3
    assert not [name for name, pid in children.items() if alive(pid)]


def test_it_starts_again_where_it_ran_before_and_its_audit_is_of_this_broker_alone(made: Stack) -> None:
    again = made.up("--embedded")
    made.wait_until_up()
    assert made.steward("test-alert", CLUSTER).code == 0

    def verified() -> Any:
        said = made.steward("audit", "verify", CLUSTER, "--json")
        return said.json() if said.code == 0 and said.json()["counts"]["records"] else None

    assert made.until("the record", verified, 60)["breaks"] == []
    assert made.answer("status")["troubles"] == {}
    children = again.children()
    *_, kept = re.findall(r"The audit is in (\S+),", again.log)
    assert again.terminate() == 0, again.log[-3000:]
    made.background.remove(again)
    assert len(children) == 3
    assert not Path(kept).exists()
    assert not list(made.directory.glob("*audit*"))
