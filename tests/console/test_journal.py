"""The journal folds what all topics say, in whatever order it reads them, into what people ask about."""

from __future__ import annotations

import json
import random

import pytest

from console import card, words
from console.journal import MACHINERY, Journal
from console.words import said
from infra.runners.books import Raw, dead_letter
from schemas import events as e
from schemas.chain import edge
from schemas.text import clean
from schemas.values import AlertRef
from schemas.wire import encode
from tests.console.desks import ANNA, CLUSTER, START_MS, Office


def around(office: Office) -> card.Around:
    stopped = tuple(office.journal.why_stopped(CLUSTER, office.now))
    return card.Around(1, office.now, office.policy.limits, stopped)


async def told(office: Office) -> Office:
    office.incident()
    digest = office.asked()
    await office.desk.approve(ANNA, "R-1", digest, "disk known bad")
    return office


@pytest.mark.parametrize("seed", range(5))
async def test_the_order_in_which_topics_are_read_changes_no_story(seed: int) -> None:
    office = await told(Office())
    topics = list(office.log.records)
    random.Random(seed).shuffle(topics)

    again = Journal()
    for key in topics:
        for raw in office.log.records[key]:
            again.take(raw)

    assert again.remediations["R-1"].state == "authorised"
    assert again.remediations["R-1"].ask == office.journal.remediations["R-1"].ask
    assert set(again.incidents["INC-1"].remediations) == {"R-1"}


async def test_a_record_that_comes_twice_changes_nothing() -> None:
    office = await told(Office())
    before = office.journal.n

    for held in office.log.records.values():
        for raw in held:
            office.journal.take(raw)

    assert office.journal.n == before
    assert len(office.journal.remediations["R-1"].approvals) == 1


def test_an_ask_waits_for_its_people_until_it_expires() -> None:
    office = Office()
    office.asked(tier="HIGH")

    (waits,) = office.journal.waiting(office.now)

    assert (waits.id, waits.what, waits.who) == ("R-1", "approval by 2 people", "first responder")
    assert waits.until_ms == START_MS + 480_000
    assert waits.verbs == ("approve", "deny", "cancel", "did-it-myself")


def test_why_names_the_code_of_everything_that_was_not_done() -> None:
    office = Office()
    office.incident()

    assert [r.code for r in office.journal.why("INC-1", office.now) or []] == ["no_diagnosis"]
    office.write(
        "proposals",
        e.NothingProposed(
            cluster_id=CLUSTER,
            incident_id="INC-1",
            remediation_id="R-9",
            code="no_repair_for_cause",
            reason="nothing in the catalogue helps a slow disk",
            by="playbook",
        ),
    )

    assert {r.code for r in office.journal.why("INC-1", office.now) or []} == {"no_repair_for_cause"}
    assert office.journal.why("INC-2", office.now) is None


def test_why_says_what_was_said_again_once_with_a_count() -> None:
    office = Office()
    office.incident()
    asked = {"cluster_id": CLUSTER, "incident_id": "INC-1", "ask_id": "a", "by": "playbook"}
    for seconds in (0, 60, 60):
        office.let_pass(seconds)
        office.write("diagnoses", e.DiagnosisAbstained(**asked, code="no_rule", reason="not in the table"))

    said = [r for r in office.journal.why("INC-1", office.now) or [] if r.code == "no_rule"]

    assert [(r.count, r.at_ms) for r in said] == [(3, START_MS + 120_000)]


def test_dead_letters_are_in_sight_with_what_was_wrong() -> None:
    journal = Journal()
    raw = Raw("alerts", 0, 7, START_MS, b"?", b"junk")
    made = dead_letter("intake", raw, e.Unreadable("no_schema", "expected Avro"))

    journal.take(Raw("dead-letters.intake", 0, 0, START_MS, b"?", encode(made.event, made.head)))

    (dead,) = journal.dead
    assert (dead.letter.code, dead.letter.offset, journal.dead_count) == ("no_schema", 7, 1)


@pytest.mark.parametrize("value", [None, b"", b"junk", b"\xc3\x01" + b"\0" * 9, b"{}"])
def test_what_cannot_be_read_stops_nothing(value: bytes | None) -> None:
    journal = Journal()

    journal.take(Raw("incidents", 0, 0, START_MS, b"a", value))
    journal.take(Raw("nobody-knows-this", 0, 0, START_MS, b"a", value))

    assert (journal.n, journal.unreadable) == (0, 1)


def test_a_policy_with_keys_that_this_version_does_not_know_stops_no_journal_and_is_said() -> None:
    office = Office()
    unknown = json.dumps({**office.policy.model_dump(mode="json", exclude={"version"}), "quotas": {"per_day": 3}})
    adopted = e.PolicyAdopted(cluster_id="*", by="anna", reason="newer", version=2, policy_json=unknown)
    newer = edge(adopted, "c1", START_MS)

    office.journal.take(office.log.append("controls", "*", encode(newer.event, newer.head)))
    office.incident()

    said = office.desk.status()["controls_unreadable"]
    assert said.startswith("controls/0@0: ")
    assert "quotas" in said
    assert office.journal.controls.policy.version == 0
    assert [i.incident_id for i in office.journal.open_incidents()] == ["INC-1"]
    assert office.journal.policy_adopted == adopted


def test_an_undo_that_is_still_owed_waits_for_a_person_after_all_has_ended() -> None:
    office = Office()
    office.asked()
    plan = office.journal.remediations["R-1"].ask
    assert plan
    concluded = e.Concluded(
        cluster_id=CLUSTER,
        incident_id="INC-1",
        remediation_id="R-1",
        attempt=1,
        outcome="failed_partly",
        code="undo_failed",
        text="the undo did not go through",
        owed=plan.plan.changes,
    )
    office.write("outcomes", concluded)
    closed = e.RemediationClosed(
        cluster_id=CLUSTER, incident_id="INC-1", remediation_id="R-1", code="failed_partly", text="x"
    )
    made = edge(closed, "x", START_MS)
    office.journal.take(office.log.append("remediations", CLUSTER, encode(made.event, made.head)))

    assert [w.what for w in office.journal.waiting(office.now)] == ["an undo is still owed"]


async def test_an_undo_that_is_overdue_is_in_waiting_why_and_status_with_the_command_by_hand() -> None:
    """PD is out of reach while leaders are evicted: the time that has passed tells, and each attempt that is on
    record."""
    office = Office()
    await office.runs()
    office.let_pass(900)
    assert office.desk.waiting() == []
    assert office.desk.status()["clusters"][0]["undo_overdue"] == []

    office.let_pass(60)

    by_hand = "pd-ctl scheduler remove evict-leader-scheduler-4"
    (waits,) = office.desk.waiting()
    assert (waits.what, waits.until_ms) == ("an undo is overdue", START_MS + 900_000)
    assert by_hand in waits.reason
    assert "nothing is on record of it having been tried" in waits.reason
    for id in ("R-1", CLUSTER):
        assert [r.command for r in office.desk.why(id) if r.code == "undo_overdue"] == [by_hand]

    for step in (2, 3):
        office.steps(step, "undo", "never_sent", code="pd_unreachable", body="no endpoint answers")
    (late,) = office.desk.status()["clusters"][0]["undo_overdue"]
    assert (late["id"], late["by_hand"]) == ("R-1", by_hand)
    assert "tried 2 times, last 2026-09-21 14:29:20Z: never sent: pd_unreachable: no endpoint answers" in late["reason"]
    assert "pd_unreachable" in {r.code for r in office.desk.why("R-1")}

    office.steps(4, "undo", "accepted", status=200)
    office.executes(e.ChangeUndone, change=0, settled=False)
    assert office.desk.waiting() == []
    assert office.desk.status()["clusters"][0]["undo_overdue"] == []


async def test_what_a_halt_leaves_undone_is_listed() -> None:
    office = await told(Office())
    ask = office.journal.remediations["R-1"].ask
    assert ask
    change = ask.plan.changes[0]
    of_it = {"cluster_id": CLUSTER, "remediation_id": "R-1", "attempt": 1}
    office.write(
        "outcomes",
        e.StepIntended(**of_it, step=1, change=0, kind="do", call=change.do, undo=change.undo, window_s=15),
    )
    await office.desk.halt(ANNA, "it does the wrong thing")

    (waits,) = office.journal.waiting(office.now)

    assert (waits.what, waits.who) == ("halted in the middle", "whoever can lift it")
    assert "remove_evict_leader(store_id=4)" in waits.reason
    office.write("outcomes", e.ChangeUndone(**of_it, change=0, settled=True))
    assert "owed meanwhile: nothing" in office.journal.waiting(office.now)[0].reason


def test_the_card_shows_what_is_approved_in_80_columns() -> None:
    office = Office()
    digest = office.asked()
    office.let_pass(8)

    text = card.asking(office.journal.remediations["R-1"], around(office))

    assert all(len(line) <= 80 for line in text.splitlines())
    assert "\nEvict leaders" in text
    for expected in (
        "APPROVE? prod-eu-7, tier 1. MEDIUM: 1 person. Expires ",
        "then leads, then deny",
        "Evict leaders from store 4 for 15 min",
        "slow_store, 0.86: E1 slow_score 84",
        "1 of 9 stores, 812 leaders (11%), 812 regions; writes 4 MB/s, limit 20; at most 1 store, 1031 leaders",
        "somebody freezes, or it takes over 1 h",
        "pd-ctl scheduler add evict-leader-scheduler 4",
        "pd-ctl scheduler remove evict-leader-scheduler-4",
        f"Facts 8 s old, plan {digest[:12]}; drift voids this",
        f"steward approve R-1 --digest {digest[:12]} --reason",
    ):
        assert expected in " ".join(text.split()), text


RUNNING = """\
R-1 prod-eu-7 RUNNING since 2026-09-21 14:13:20Z
Evict leaders from store 4 for 15 min
Incident  INC-1
Action    R-1 evict_store_leaders keep_s=900 store_id=4; MEDIUM
Approved  anna, 14:13 CLI, plan {plan}: "disk known bad" (asked 14:13)
Calls     POST /pd/api/v1/schedulers
          {{"name":"evict-leader-scheduler","store_id":4}}; after 15 min: DELETE
          /pd/api/v1/schedulers/evict-leader-scheduler-4
Ran       14:13, attempt 1, token outcomes/0@0
          POST /pd/api/v1/schedulers
          {{"name":"evict-leader-scheduler","store_id":4}} -> 200
Undo      owed 14:28: DELETE /pd/api/v1/schedulers/evict-leader-scheduler-4
Now       1 of 1 change made; kept until 14:28, then undone by itself
By hand   pd-ctl scheduler add evict-leader-scheduler 4
          undo: pd-ctl scheduler remove evict-leader-scheduler-4
You may   steward cancel R-1 --reason ...
          steward undo R-1 --reason ...
          steward did-it-myself R-1 --reason ..."""


async def test_after_approval_show_goes_on_with_what_is_run_how_far_it_is_and_what_can_be_said() -> None:
    office = Office()
    await office.runs()
    story = office.journal.remediations["R-1"]
    assert story.ask
    digest = story.ask.digest

    text = card.remediation(story, around(office))

    assert text == RUNNING.format(plan=f"{digest[:4]}...{digest[-2:]}")

    office.let_pass(905)
    office.steps(2, "undo", "never_sent", code="pd_unreachable", body="no endpoint answers")
    text = card.remediation(story, around(office))
    assert "Now       1 of 1 change made; its undo, due 14:28, was tried once" in text
    assert "Errors    the undo was not sent 14:28: pd_unreachable: no endpoint answers" in text

    office.steps(3, "undo", "accepted", status=200)
    office.executes(e.ChangeUndone, change=0, settled=False)
    text = card.remediation(story, around(office))
    assert "undone 14:28; watched to stay so" in text
    assert "steward undo" not in text

    change = story.ask.plan.changes[0]
    office.executes(e.Concluded, outcome="unknown", code="cant_tell", text="?", incident_id="INC-1", owed=(change,))
    text = card.remediation(story, around(office))
    assert text.startswith("R-1 prod-eu-7 UNKNOWN since ")
    assert "By hand   pd-ctl scheduler add evict-leader-scheduler 4" in text
    assert "You may   steward resolve R-1 --outcome ... --reason ..." in text


async def test_the_card_of_a_cluster_that_is_stopped_says_so_and_what_approving_comes_to() -> None:
    office = Office()
    office.asked()
    office.chokes(7)
    await office.desk.freeze(ANNA, CLUSTER, "deploy")

    text = " ".join(card.asking(office.journal.remediations["R-1"], around(office)).split())

    assert "CONTROLS UNREADABLE: stops executions on prod-eu-7: KeyError" in text
    assert 'FROZEN: freeze by anna: deploy -> steward lift prod-eu-7 --reason "..."' in text
    assert "approving counts, and waits until that is lifted" in text


def test_a_ticket_is_headline_status_lines_and_nothing_that_moves_a_cursor() -> None:
    office = Office()
    office.incident()
    office.write(
        "tickets",
        e.TicketWritten(
            cluster_id=CLUSTER,
            incident_id="INC-1",
            version=2,
            headline="prod-eu-7: store 4 disk stall",
            status="FIXED, UNDONE",
            lines=(
                e.TicketLine(label="Cause", text="disk stall \x1b[31mred\x1b[0m"),
                e.TicketLine(label="Ran", text="word " * 40 + "\nApproved  by nobody"),
            ),
            tier="notable",
        ),
    )

    lines = card.ticket(office.journal.incidents["INC-1"], []).splitlines()

    assert lines[0] == "prod-eu-7: store 4 disk stall    FIXED, UNDONE   INC-1"
    assert lines[1] == "Cause     disk stall ?[31mred?[0m"
    assert lines[-1] == "          Approved by nobody"
    assert all(len(line) <= 80 for line in lines)


def test_an_older_version_of_a_ticket_does_not_replace_a_newer_one() -> None:
    office = Office()
    for version in (2, 1):
        office.write(
            "tickets",
            e.TicketWritten(
                cluster_id=CLUSTER,
                incident_id="INC-1",
                version=version,
                headline="h",
                status=f"v{version}",
                lines=(),
                tier="routine",
            ),
        )

    story = office.journal.incidents["INC-1"].ticket
    assert story
    assert story.version == 2


def test_a_test_alert_that_joins_an_open_incident_waits_for_a_ticket_written_since() -> None:
    """An older ticket proves nothing about the pipe of now."""
    office = Office()
    ticket = e.TicketWritten(
        cluster_id=CLUSTER, incident_id="INC-1", version=1, headline="h", status="NEW", lines=(), tier="routine"
    )
    office.incident(synthetic=True)
    assert office.journal.ticket_of_test("f1") is None
    office.write("tickets", ticket)
    assert office.journal.ticket_of_test("f1") is not None
    office.let_pass(60)

    second = AlertRef(fingerprint="f2", name="StewardTest", starts_at_ms=office.now, level="warning")
    office.write("incidents", e.AlertFolded(cluster_id=CLUSTER, incident_id="INC-1", alert=second, folded=1))

    assert office.journal.ticket_of_test("f2") is None
    office.let_pass(1)
    office.write("tickets", ticket.model_copy(update={"version": 2}))
    story = office.journal.ticket_of_test("f2")
    assert story is office.journal.incidents["INC-1"]


def test_every_event_of_a_story_has_words() -> None:
    for event in e.all_events().values():
        assert event in words.WORDS or event in MACHINERY, event.__name__


def test_words_of_others_lose_what_is_not_a_letter() -> None:
    opened = e.IncidentOpened(
        cluster_id=CLUSTER,
        incident_id="INC-1",
        family="x",
        title="a\r\nFAKE LINE \u202e\x9b31m",
        level="critical",
        alert=AlertRef(fingerprint="f", name="n", starts_at_ms=1, level=""),
    )

    assert said(opened) == "opened: a FAKE LINE ??31m (critical)"
    assert clean("é ü 中 🙂") == "é ü 中 🙂"
