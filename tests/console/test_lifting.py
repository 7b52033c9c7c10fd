"""What an input has stopped is in sight of people, with the command that lifts it; and it is lifted alone."""

from __future__ import annotations

import random

import pytest

from console.journal import Journal
from console.words import lifting
from schemas import events as e
from schemas.topics import partition_of
from tests.console.desks import ANNA, BEN, CLUSTER, START_MS, Office
from tests.console.test_desk import refused


def places(office: Office) -> list[str]:
    return [p.place for p in office.journal.poisoned()]


async def test_each_input_that_stops_acting_waits_for_a_person_with_its_command() -> None:
    office = Office()
    office.junk("controls")
    office.let_pass(1)
    office.junk("approvals")
    office.let_pass(1)
    office.chokes(7)

    waits = {w.id: w for w in office.desk.waiting()}

    assert {(w.id, w.cluster_id, w.who, w.since_ms, w.command) for w in waits.values()} == {
        ("controls/0@0", "*", "anyone", START_MS, 'steward lift --all --input controls/0@0 --reason "..."'),
        ("approvals/0@0", "*", "anyone", START_MS + 1000, 'steward lift --all --input approvals/0@0 --reason "..."'),
        (
            "remediations/0@7",
            CLUSTER,
            "anyone",
            START_MS + 2000,
            f'steward lift {CLUSTER} --input remediations/0@7 --reason "..."',
        ),
    }
    assert "executions everywhere: no_schema" in waits["controls/0@0"].reason
    assert "the clusters of partition 0: no_schema" in waits["approvals/0@0"].reason
    assert f"on {CLUSTER}: KeyError: 'x'" in waits["remediations/0@7"].reason


async def test_status_and_why_say_it_of_the_clusters_that_are_stopped() -> None:
    office = Office()
    everywhere, partition, here = office.junk("controls"), office.junk("approvals"), office.chokes(7)
    other = office.chokes(8, cluster_id="prod-eu-8")

    status = office.desk.status()
    by_cluster = {row["cluster"]: row["stopped_by_inputs"] for row in status["clusters"]}
    assert by_cluster == {CLUSTER: [partition, everywhere, here], "prod-eu-8": [partition, everywhere, other]}
    assert status["controls_unreadable"].startswith("controls/0@0: no_schema")
    assert [p["input"] for p in status["stopped_by_inputs"]] == [partition, everywhere, here, other]

    await office.desk.freeze(BEN, CLUSTER, "deploy")
    reasons = {(r.code, r.id): r for r in office.desk.why(CLUSTER)}
    assert set(reasons) == {
        *(("controls_unreadable", place) for place in (everywhere, partition, here)),
        ("frozen", CLUSTER),
        ("no_policy", CLUSTER),
    }
    poison = reasons["controls_unreadable", here]
    assert (poison.at_ms, poison.command) == (START_MS, lifting(CLUSTER, here))
    assert "KeyError: 'x'" in poison.text
    assert reasons["frozen", CLUSTER].command == lifting(CLUSTER)


async def test_it_goes_on_record_with_who_and_why_and_what_is_left_is_named() -> None:
    office = Office()
    first, second = office.chokes(7), office.chokes(8)

    done = await office.desk.lift_input(ANNA, CLUSTER, first, "read it: an old alert of a test")

    (lifted,) = office.events("controls")
    assert lifted == e.Lifted(
        cluster_id=CLUSTER, by="anna", reason="read it: an old alert of a test", kind="input", input=first
    )
    assert done.text == f"lifted input {first} of {CLUSTER} by anna: {lifted.reason}; still in force: {second}"
    assert places(office) == [second]
    assert [w.id for w in office.desk.waiting()] == [second]


async def test_what_is_not_in_force_is_not_lifted_and_what_is_is_named() -> None:
    office = Office()
    here, partition = office.chokes(7), office.junk("approvals")
    await office.desk.freeze(BEN, CLUSTER, "deploy")

    for scope, place in ((CLUSTER, "remediations/0@8"), (CLUSTER, partition), ("*", here), ("*", "controls/0@0")):
        error = await refused(office.desk.lift_input(ANNA, scope, place, "because"))
        assert (error.kind, error.code, error.field) == ("conflict", "nothing_to_lift", "input")
        assert lifting(CLUSTER, here) in error.reason
        assert lifting("*", partition) in error.reason
    await office.desk.lift_input(ANNA, CLUSTER, here, "because")
    again = await refused(office.desk.lift_input(BEN, CLUSTER, here, "because"))
    assert again.code == "nothing_to_lift"
    assert office.said("controls") == ["Frozen", "Lifted"]
    assert office.journal.controls.stop_for(CLUSTER) is not None


@pytest.mark.parametrize(
    "place",
    [
        *("", "*", "R-1", "../0@0", "approvals", "approvals/0", "approvals/0@", "approvals/-1@0", "approvals/00@0"),
        *("approvals/0@0 ;id", "approvals/0@\u0661", "sre.steward.approvals/0@0"),
    ],
)
async def test_an_input_is_named_in_one_way_only(place: str) -> None:
    office = Office()
    office.junk("approvals")

    error = await refused(office.desk.lift_input(ANNA, "*", place, "because"))

    assert (error.code, error.field) == ("bad_input", "input")
    assert office.said("controls") == []


async def test_the_lift_of_a_stop_leaves_what_an_input_has_stopped() -> None:
    office = Office()
    place = office.junk("approvals")
    await office.desk.freeze(ANNA, "*", "deploy")

    await office.desk.lift(ANNA, "*", "over")

    assert places(office) == [place]
    again = await refused(office.desk.lift(ANNA, "*", "go"))
    assert again.code == "nothing_to_lift"
    assert lifting("*", place) in again.reason


async def test_no_input_is_lifted_without_a_reason_or_by_a_console_that_has_not_read_all() -> None:
    office = Office()
    place = office.junk("approvals")

    assert (await refused(office.desk.lift_input(ANNA, "*", place, " "))).code == "no_reason"
    assert (await refused(office.desk.lift_input(ANNA, "prod-eu-77", place, "x"))).code == "unknown_cluster"
    office.journal.caught_up = False
    assert (await refused(office.desk.lift_input(ANNA, "*", place, "x"))).code == "catching_up"


async def test_what_stops_no_acting_waits_for_nobody() -> None:
    office = Office()
    office.junk("proposals")
    office.chokes(7, ledger="tickets")

    assert places(office) == []
    assert office.desk.waiting() == []


async def test_a_repair_goes_on_once_its_input_is_lifted() -> None:
    office = Office()
    digest = office.asked()
    place = office.junk("approvals")
    await office.desk.approve(ANNA, "R-1", digest, "because")
    blocked = next(w for w in office.desk.waiting() if w.id == "R-1")
    assert (blocked.what, blocked.who) == ("blocked: controls_unreadable", "whoever can lift it")
    assert place in blocked.reason

    await office.desk.lift_input(BEN, "*", place, "a probe of ours")
    office.time_passes()

    assert office.journal.remediations["R-1"].state == "authorised"


@pytest.mark.parametrize("seed", range(5))
async def test_the_order_in_which_topics_are_read_changes_nothing(seed: int) -> None:
    office = Office()
    gone, stays = office.chokes(7), office.chokes(8)
    office.junk("controls")
    await office.desk.lift_input(ANNA, CLUSTER, gone, "because")
    topics = list(office.log.records)
    random.Random(seed).shuffle(topics)

    again = Journal()
    for key in topics:
        for raw in office.log.records[key]:
            again.take(raw)

    assert again.poisoned() == office.journal.poisoned()
    assert [p.place for p in again.poisoned()] == ["controls/0@0", stays]


async def test_an_input_of_another_partition_is_none_of_this_clusters() -> None:
    journal = Journal(partitions=3)
    office = Office()
    office.junk("approvals")
    for raw in office.log.records["remediations", 0]:
        journal.take(raw)

    (poison,) = journal.poisoned()
    assert poison.stops == "~0"
    for name in ("prod-eu-7", "prod-eu-8", "prod-eu-9", "prod-us-1", "prod-us-2"):
        assert (journal.poisoned(name) == [poison]) == (partition_of(name, 3) == 0)


def test_a_command_that_is_copied_into_a_shell_runs_nothing_else() -> None:
    assert lifting("a; reboot", "proposals/0@1").startswith("steward lift 'a; reboot' --input proposals/0@1 ")


async def test_a_broken_ledger_is_listed_until_an_owner_finds_it_whole() -> None:
    office = Office()
    text = "outcomes/0@7: BrokenChain: prod-eu-7 Sampled: seq 3 to 3 are missing"
    start = {"cluster_id": "~0", "role": "execute", "owner": "pid-1", "build": "test"}
    office.write("outcomes", e.OwnerStarted(**start, broken={CLUSTER: text}))

    (waits,) = office.journal.waiting(office.now)
    assert (waits.what, waits.reason, waits.verbs) == ("its ledger is broken", text, ())
    assert waits.command == f"steward audit verify {CLUSTER}"
    assert "ledger_broken" in {r.code for r in office.journal.why_stopped(CLUSTER, office.now)}
    assert office.desk.status()["clusters"][0]["broken_ledgers"] == ["outcomes"]

    office.write("outcomes", e.OwnerStarted(**start))
    assert office.journal.waiting(office.now) == []
    assert office.desk.status()["clusters"][0]["broken_ledgers"] == []
