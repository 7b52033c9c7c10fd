"""The main job on a real Kafka, by the command line and real processes: a slow store is relieved and given back, while
processes are killed, and everything is on record. One execution keeps its change for the full 60 s; all specs share it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from pdsim.model import Call
from tests.integration.stack import CLUSTER, PERSON, Running, Said, Stack, acting, alive, now_text, stack

SLOW, LATER = 4, 2


@pytest.fixture(scope="module")
def made(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("whole"), kafka, more=acting(120)) as it:
        assert it.steward("topics", "apply").code == 0
        yield it


@pytest.fixture(scope="module")
def up(made: Stack) -> Running:
    running = made.up()
    made.wait_until_up()
    return running


def post(made: Stack, status: str, starts: str) -> str:
    assert made.alert(status, starts).status_code == 200
    return starts


def fires(made: Stack) -> str:
    """Since when, to resolve it by."""
    return post(made, "firing", now_text())


def evicted(made: Stack) -> list[int]:
    return made.cluster(lambda c: sorted(c.schedulers.evicted))


def leaders(made: Stack, store: int) -> int:
    return made.cluster(lambda c: sum(1 for region in c.cache if region.leader == store))


def writes(made: Stack) -> list[Call]:
    return made.cluster(lambda c: [call for call in c.calls if call.applied])


def asked(made: Stack, already: set[str]) -> dict[str, Any]:
    """What `show` shows of the remediation that is asked about next."""

    def look() -> dict[str, Any] | None:
        for waits in (made.console("/api/v1/waiting") or {"waiting": []})["waiting"]:
            if waits["id"].startswith("R-") and waits["id"] not in already:
                shown = made.console(f"/api/v1/show/{waits['id']}")
                if shown and shown["digest"]:
                    return dict(shown)
        return None

    return made.until("somebody to be asked", look, 90)


def state(made: Stack, remediation: str) -> str:
    return str((made.console(f"/api/v1/show/{remediation}") or {}).get("state", ""))


class Sampler:
    """Asks a process for its metrics, again and again, from a thread; what it was told, and when."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[float, bool, float]] = []  # when asked, whether answered, how long it took
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, start: float, end: float) -> list[tuple[float, bool, float]]:
        return [(at, well, took_s) for at, well, took_s in self.answers if start <= at and at + took_s < end]

    def _ask(self) -> None:
        while not self._stop.wait(0.2):
            at = time.monotonic()
            try:
                well = "steward_role_up" in httpx.get(self._url, timeout=15, trust_env=False).text
            except httpx.HTTPError:
                well = False
            self.answers.append((at, well, time.monotonic() - at))


@dataclass
class Job:
    """What has happened, for the specs below."""

    id: str
    incident: str
    starts: str
    approved: Said
    samplers: dict[str, Sampler]
    acting_from: float  # the scheduler was there
    killed_at: float
    back_at: float
    acting_to: float  # it was gone again
    killed: int
    successor: int


def test_killing_the_acting_processes_changes_nothing_about_observing(made: Stack, up: Running) -> None:
    before = up.children()
    for name in ("act", "execute"):
        os.kill(before[name], signal.SIGKILL)

    said = made.steward("test-alert", CLUSTER)

    assert said.code == 0, said.err + made.logs()
    after = up.children()
    assert after["observe"] == before["observe"]
    assert set(made.roles_up("observe").values()) == {1.0}
    made.until("acting again", lambda: made.roles_up("act") and made.roles_up("execute"), 60)
    assert up.children()["execute"] != before["execute"]
    assert not alive(before["execute"])


def test_until_a_policy_is_adopted_everything_observes(made: Stack, up: Running) -> None:
    diff = made.steward("policy", "diff")
    assert diff.code == 1
    assert "in force: none: everything observes" in diff.out

    applied = made.steward("policy", "apply", "--yes", "--reason", "evictions on the canary")

    assert applied.code == 0, applied.err
    made.until("it is in force", lambda: made.steward("policy", "diff").code == 0, 20)


@pytest.fixture(scope="module")
def job(made: Stack, up: Running) -> Iterator[Job]:
    """From the alert to the end of the undo; `execute` is killed in the middle."""
    samplers = {name: Sampler(made.url(name, "/metrics")) for name in ("observe", "execute")}
    try:
        made.cluster(lambda c: c.set_slow(SLOW, 90))
        starts = fires(made)
        card = asked(made, set())
        approved = made.steward(
            "approve", card["id"], "--digest", card["digest"][:12], "--reason", "disk known bad", "--json"
        )
        assert approved.code == 0, approved.err
        made.until("the eviction", lambda: evicted(made) == [SLOW], 60)
        acting_from = time.monotonic()
        made.until("the leaders to leave", lambda: leaders(made, SLOW) == 0, 60)
        measured = samplers["execute"]
        made.until("its metrics meanwhile", lambda: len(measured.between(acting_from, time.monotonic())) >= 3, 30)

        killed = up.children()["execute"]
        os.kill(killed, signal.SIGKILL)
        killed_at = time.monotonic()
        made.until("a successor", lambda: up.children().get("execute", killed) != killed, 30)
        made.until("its metrics", lambda: made.roles_up("execute"), 60)
        back_at = time.monotonic()
        successor = up.children()["execute"]

        made.cluster(lambda c: c.set_slow(SLOW, 1))
        made.until("the undo", lambda: not evicted(made), 150)
        acting_to = time.monotonic()
        made.until("the end", lambda: state(made, card["id"]) == "closed", 90)
        for sampler in samplers.values():
            sampler.stop()
        yield Job(
            id=card["id"],
            incident=card["incident_id"],
            starts=starts,
            approved=approved,
            samplers=samplers,
            acting_from=acting_from,
            killed_at=killed_at,
            back_at=back_at,
            acting_to=acting_to,
            killed=killed,
            successor=successor,
        )
    finally:
        for sampler in samplers.values():
            sampler.stop()


def test_the_main_job_ends_fixed_and_undone_although_execute_was_killed(made: Stack, job: Job) -> None:
    assert job.approved.json()["counts"] is True
    assert job.killed != job.successor

    ticket = made.until("the ticket", lambda: _with(made.steward("show", job.incident).out, "FIXED, UNDONE"), 30)

    assert f"{PERSON}, " in ticket
    assert "disk known bad" in ticket
    assert "Nothing left behind" in ticket
    assert f"store_id={SLOW}" in ticket
    assert "keep_s=120" in ticket
    shown = made.answer("show", job.id)
    assert (shown["state"], shown["outcome"]) == ("closed", "succeeded")


def test_the_cluster_has_seen_exactly_two_writes_and_nothing_is_left(made: Stack, job: Job) -> None:
    seen = [(call.method, call.path, (call.caller_id or "").startswith(f"steward/{job.id}/")) for call in writes(made)]

    assert seen == [
        ("POST", "/pd/api/v1/schedulers", True),
        ("DELETE", f"/pd/api/v1/schedulers/evict-leader-scheduler-{SLOW}", True),
    ]
    leftovers = made.steward("leftovers", CLUSTER)
    assert leftovers.code == 0, leftovers.out
    assert "nothing of ours is there" in leftovers.out


def test_the_change_was_kept_for_what_was_approved(job: Job) -> None:
    assert 115 <= job.acting_to - job.acting_from <= 160


def test_metrics_go_on_being_served_during_an_execution(job: Job) -> None:
    """Of observe all the time; of execute while it lived, before the kill and after."""
    spans = [
        job.samplers["observe"].between(job.acting_from, job.acting_to),
        job.samplers["execute"].between(job.acting_from, job.killed_at),
        job.samplers["execute"].between(job.back_at, job.acting_to),
    ]

    for span in spans:
        assert span
        assert all(well for _, well, _ in span)
        assert max(took_s for _, _, took_s in span) < 5
    assert not all(well for _, well, _ in job.samplers["execute"].between(job.killed_at, job.back_at))  # it can tell


def test_the_audit_has_all_of_it_and_verifies(made: Stack, job: Job) -> None:
    verified = made.until(
        "the record to be whole", lambda: said if (said := made.steward("audit", "verify")).code == 0 else None, 60
    )
    assert "Traceback" not in verified.err
    for question in ("writes-without-approval", "overlapping-claims"):
        answer = made.steward("audit", "query", question, "--json")
        assert answer.code == 0, answer.err
        assert answer.json()["rows"] == []


def test_a_freeze_without_the_console_stops_the_next_step_and_a_lift_brings_it_back(
    made: Stack, up: Running, job: Job
) -> None:
    post(made, "resolved", job.starts)
    made.until("the first incident to close", lambda: not _open(made, job.incident), 60)
    made.cluster(lambda c: c.set_slow(LATER, 90))
    fires(made)
    card = asked(made, {job.id})
    before = len(writes(made))

    os.kill(up.children()["observe"], signal.SIGKILL)
    frozen = made.steward("freeze", CLUSTER, "--reason", "something is odd", "--json")

    assert frozen.code == 0, frozen.err
    assert frozen.json()["via"] == "stop"
    assert "writing the freeze to Kafka directly" in frozen.err
    made.until("the console is back", lambda: made.http("console", "/healthz").status_code == 200, 90)
    approved = made.steward("approve", card["id"], "--digest", card["digest"], "--reason", "go on")
    assert approved.code == 0, approved.err
    made.until("it says why it waits", lambda: "frozen" in made.steward("waiting").out, 30)
    time.sleep(3)  # nothing happens, which can't be waited for otherwise
    assert len(writes(made)) == before

    lifted = made.steward("lift", CLUSTER, "--reason", "it was nothing")
    assert lifted.code == 0, lifted.err
    made.until("the eviction", lambda: evicted(made) == [LATER], 60)

    cancelled = made.steward("cancel", card["id"], "--reason", "seen enough")
    assert cancelled.code == 0, cancelled.err
    made.until("it is taken back at once", lambda: not evicted(made), 40)
    made.until("the end", lambda: state(made, card["id"]) == "closed", 60)
    assert len(writes(made)) == before + 2
    assert made.steward("leftovers", CLUSTER).code == 0


def _with(text: str, wanted: str) -> str | None:
    return text if wanted in text else None


def _open(made: Stack, incident: str) -> bool:
    found = made.console("/api/v1/incidents")
    return found is None or any(i["incident_id"] == incident for i in found["incidents"])
