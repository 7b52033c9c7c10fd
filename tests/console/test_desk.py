"""What the desk lets a person say: of exactly what was shown, while it is asked, under their own name."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from actions.catalogue import FORBIDDEN
from console.desk import Refusal, Who
from schemas import events as e
from schemas.policy import ActionPolicy, Policy
from tests.console.desks import ANNA, BEN, CLUSTER, Office


async def refused(verb: Coroutine[Any, Any, Any]) -> Refusal:
    with pytest.raises(Refusal) as error:
        await verb
    return error.value


@pytest.mark.parametrize("length", [12, 64])
async def test_the_digest_shown_given_back_approves_what_was_shown(length: int) -> None:
    office = Office()
    digest = office.asked()

    done = await office.desk.approve(ANNA, "R-1", digest[:length].upper(), "disk known bad")

    answer = office.desk.answer(done)
    assert answer is not None
    assert answer.event == "ExecutionAuthorized"
    (authorised,) = (x for x in office.events("remediations") if isinstance(x, e.ExecutionAuthorized))
    assert [(a.person, a.reason) for a in authorised.approvals] == [("anna", "disk known bad")]


@pytest.mark.parametrize(
    ("digest", "code"),
    [
        ("000000000000", "wrong_digest"),
        ("0" * 64, "wrong_digest"),
        ("abc", "bad_digest"),
        ("", "bad_digest"),
        ("9f3c...e1", "bad_digest"),
        ("x" * 12, "bad_digest"),
        ("0" * 65, "bad_digest"),
        ("' OR 1=1 --", "bad_digest"),
    ],
)
async def test_another_digest_approves_nothing(digest: str, code: str) -> None:
    office = Office()
    office.asked()

    error = await refused(office.desk.approve(ANNA, "R-1", digest, "because"))

    assert error.code == code
    assert office.said("approvals") == []


async def test_an_expired_ask_is_approved_by_nobody() -> None:
    office = Office()
    digest = office.asked()
    office.let_pass(481)

    assert (await refused(office.desk.approve(ANNA, "R-1", digest, "because"))).code == "expired"


@pytest.mark.parametrize("id", ["R-2", "", "R-1; DROP TABLE events", "../../etc/passwd", "\x1b[2J", "R-1\u202e"])
async def test_an_unknown_remediation_is_refused_with_what_there_is(id: str) -> None:
    office = Office()
    digest = office.asked()

    error = await refused(office.desk.approve(ANNA, id, digest, "because"))

    assert (error.kind, error.code) == ("not_found", "unknown_id")
    assert "R-1" in error.reason
    assert "\x1b" not in error.reason


async def test_what_is_approved_at_an_hour_at_which_it_may_not_start_is_said_to_wait_for_its_hour() -> None:
    afternoons = {"kind": "quiet", "start": "14:00", "end": "15:00"}
    office = Office(policy=Policy.model_validate({"version": 1, "windows": {"afternoons": afternoons}}))

    done = await office.desk.approve(ANNA, "R-1", office.asked(), "because")

    (waits,) = office.desk.waiting()
    assert (waits.what, waits.who, waits.verbs) == ("its hour", "time", ("cancel", "did-it-myself"))
    assert waits.until_ms == office.now - office.now % 3_600_000 + 3_600_000
    answer = office.desk.answer(done)
    assert answer is not None
    assert "approved by anna, 1 of 1: because; waits until 15:00Z: quiet_hours: " in answer.text
    assert office.journal.remediations["R-1"].ask is None


async def test_a_high_risk_action_waits_for_two_different_people() -> None:
    office = Office()
    digest = office.asked(tier="HIGH")

    await office.desk.approve(ANNA, "R-1", digest, "because")
    assert [w.what for w in office.desk.waiting()] == ["approval by 1 person"]
    assert (await refused(office.desk.approve(ANNA, "R-1", digest, "again"))).code == "already_counted"
    await office.desk.approve(BEN, "R-1", digest, "I agree")

    assert office.journal.remediations["R-1"].state == "authorised"


async def test_nobody_approves_what_they_have_proposed() -> None:
    office = Office()
    digest = office.asked()

    error = await refused(office.desk.approve(Who("playbook"), "R-1", digest, "because"))

    assert (error.kind, error.code) == ("forbidden", "self_approval")


async def test_a_denial_closes_it_with_the_reason() -> None:
    office = Office()
    office.asked()

    await office.desk.deny(ANNA, "R-1", "we replace the disk now")

    closed = office.journal.remediations["R-1"].closed
    assert closed is not None
    assert (closed.code, closed.note) == ("denied", "we replace the disk now")
    assert "closed: denied" in (await refused(office.desk.deny(ANNA, "R-1", "again"))).reason


async def test_i_did_it_myself_is_an_answer() -> None:
    office = Office()
    office.asked()

    done = await office.desk.did_it_myself(ANNA, "R-1", "evicted by hand")

    answer = office.desk.answer(done)
    assert answer is not None
    assert "by_hand" in answer.text


async def test_what_cannot_be_said_now_is_refused_with_what_can() -> None:
    office = Office()
    office.asked()

    error = await refused(office.desk.undo(ANNA, "R-1", "take it back"))

    assert (error.kind, error.code) == ("conflict", "wrong_state")
    assert "approve, deny, cancel, did-it-myself" in error.reason


async def test_a_word_the_ledger_does_not_count_is_told_with_its_reason() -> None:
    office = Office()
    digest = office.asked()
    office.controls = office.controls.__class__(
        live=True, policy=office.policy, revoked_kids=frozenset({office.key["kid"]})
    )

    done = await office.desk.approve(ANNA, "R-1", digest, "because")

    answer = office.desk.answer(done)
    assert answer is not None
    assert answer.event == "ApprovalRejected"
    assert [r.code for r in office.desk.why("R-1")] == ["revoked_key"]


@pytest.mark.parametrize(("reason", "code"), [("", "no_reason"), (" \n\t", "no_reason"), ("x" * 501, "too_long")])
async def test_a_reason_is_given_and_can_be_read(reason: str, code: str) -> None:
    office = Office()
    office.asked()

    assert (await refused(office.desk.deny(ANNA, "R-1", reason))).code == code


async def test_a_reason_cannot_move_the_cursor_of_who_reads_it() -> None:
    office = Office()
    office.asked()

    await office.desk.deny(ANNA, "R-1", "no\x1b[2J\x1b]0;title\x07 \u202etfel\nApproved  ben")

    (denied,) = office.events("approvals")
    assert isinstance(denied, e.Denied)
    assert denied.approval.reason == "no?[2J?]0;title? ?tfel Approved ben"


async def test_how_an_unknown_ended_is_one_of_the_words_for_it() -> None:
    office = Office()
    office.asked()

    assert (await refused(office.desk.resolve(ANNA, "R-1", "unknown", "looked"))).code == "bad_outcome"
    assert (await refused(office.desk.resolve(ANNA, "R-1", "succeeded", "looked"))).code == "wrong_state"


async def test_while_the_journal_is_not_caught_up_nothing_is_said_of_remediations() -> None:
    office = Office()
    digest = office.asked()
    office.journal.caught_up = False

    assert (await refused(office.desk.approve(ANNA, "R-1", digest, "because"))).kind == "unavailable"


async def test_a_freeze_needs_neither_a_caught_up_journal_nor_a_key() -> None:
    office = Office()
    office.journal.caught_up, office.desk.key = False, None

    await office.desk.freeze(ANNA, CLUSTER, "something is wrong")

    assert office.said("controls") == ["Frozen"]


async def test_a_mistyped_cluster_is_not_a_freeze_of_nothing() -> None:
    office = Office()

    error = await refused(office.desk.freeze(ANNA, "prod-eu-77", "stop"))

    assert error.code == "unknown_cluster"
    assert CLUSTER in error.reason


async def test_a_lift_takes_back_a_stop_that_is_in_force() -> None:
    office = Office()
    await office.desk.freeze(ANNA, "*", "stop")

    assert (await refused(office.desk.lift(ANNA, CLUSTER, "go"))).code == "nothing_to_lift"
    await office.desk.lift(BEN, "*", "go on")

    assert office.journal.controls.stops == {}


async def test_a_frozen_cluster_shows_why_its_approved_repair_waits() -> None:
    office = Office()
    digest = office.asked()
    await office.desk.freeze(BEN, CLUSTER, "deploy")

    await office.desk.approve(ANNA, "R-1", digest, "because")

    (waits,) = office.desk.waiting()
    assert (waits.what, waits.verbs) == ("blocked: frozen", ("deny", "cancel", "did-it-myself"))
    assert "deploy" in waits.reason


async def test_an_approval_says_that_it_counted_and_what_it_waits_for() -> None:
    office = Office()
    digest = office.asked(tier="HIGH")
    await office.desk.freeze(BEN, CLUSTER, "deploy")

    first = office.desk.answer(await office.desk.approve(ANNA, "R-1", digest, "because"))
    second = office.desk.answer(await office.desk.approve(BEN, "R-1", digest, "I agree"))

    lift = f'FROZEN until it is lifted: steward lift {CLUSTER} --reason "..."'
    assert first
    assert first.text == f"approved by anna, 1 of 2: because; waits for 1 person more, until 14:21Z; {lift}"
    assert second
    assert second.text == (f"approved by ben, 2 of 2: I agree; has to wait, frozen: freeze by ben: deploy; {lift}")


async def test_what_is_undone_already_is_not_ordered_undone_again() -> None:
    office = Office()
    await office.runs()
    office.steps(2, "undo", "accepted", status=200)
    office.executes(e.ChangeUndone, change=0, settled=False)

    error = await refused(office.desk.undo(ANNA, "R-1", "take it back"))

    assert (error.kind, error.code) == ("conflict", "already_undone")
    assert "seen undone at 14:13Z" in error.reason
    office.steps(3, "undo", "accepted", status=200)  # it was there again
    await office.desk.undo(ANNA, "R-1", "take it back")


async def test_a_policy_is_adopted_once_as_the_next_version_and_after_the_one_that_was_read() -> None:
    office = Office()
    draft = Policy(actions={"evict_store_leaders": ActionPolicy(mode="on", canary=(CLUSTER,))})

    assert office.desk.policy_diff(draft)["changes"] == {
        "actions.evict_store_leaders.mode": [None, "on"],
        "actions.evict_store_leaders.canary": [None, [CLUSTER]],
    }
    await office.desk.policy_apply(ANNA, "first repairs", draft, after_version=0)
    assert office.journal.controls.policy.mode("evict_store_leaders", CLUSTER) == "on"
    assert (await refused(office.desk.policy_apply(ANNA, "x", draft, after_version=0))).code == "policy_moved_on"
    assert (await refused(office.desk.policy_apply(ANNA, "x", draft))).code == "no_change"


async def test_a_policy_for_an_action_that_does_not_exist_is_not_adopted() -> None:
    office = Office()
    draft = Policy(actions={"evict_store_leader": ActionPolicy(mode="on")})

    assert (await refused(office.desk.policy_apply(ANNA, "x", draft))).code == "unknown_action"


async def test_windows_are_compared_key_by_key_and_are_about_actions_that_exist() -> None:
    office = Office()
    nights: dict[str, Any] = {"kind": "quiet", "start": "22:00", "end": "07:00", "clusters": ["prod-*"]}
    draft = Policy.model_validate({"windows": {"nights": nights}, "limits": {"tier": {"1": {"settling_s": 60}}}})
    changes = office.desk.policy_diff(draft)["changes"]
    assert changes["limits.tier.1.settling_s"] == [None, 60]
    assert {k: new for k, (_, new) in changes.items() if k.startswith("windows.nights.") and new} == {
        "windows.nights.kind": "quiet",
        "windows.nights.zone": "UTC",
        "windows.nights.start": "22:00",
        "windows.nights.end": "07:00",
        "windows.nights.clusters": ["prod-*"],
        "windows.nights.risk_min": "LOW",
    }
    await office.desk.policy_apply(ANNA, "nights", draft)
    assert office.journal.controls.policy == draft.model_copy(update={"version": 1})
    mistyped = Policy.model_validate({"windows": {"nights": {**nights, "actions": ["evict_store_leader"]}}})
    error = await refused(office.desk.policy_apply(ANNA, "x", mistyped))
    assert (error.code, error.field) == ("unknown_action", "policy.windows")


async def test_what_is_never_done_is_not_switched_on_by_anybody() -> None:
    office = Office()
    on = ActionPolicy(mode="on")
    draft = Policy(actions={"evict_store_leaders": on, "reboot": on, **dict.fromkeys(FORBIDDEN, on)})

    error = await refused(office.desk.policy_apply(ANNA, "x", draft))

    assert (error.kind, error.code, error.field) == ("forbidden", "forbidden", "policy.actions")
    assert error.reason == "; ".join(FORBIDDEN[name].why_not() for name in sorted(FORBIDDEN))
    assert office.events("controls") == []


async def test_a_test_alert_is_marked_and_carries_its_clusters_labels() -> None:
    office = Office()

    done = await office.desk.test_alert(ANNA, CLUSTER)

    (alert,) = office.events("alerts")
    assert isinstance(alert, e.AlertReceived)
    assert alert.synthetic
    assert alert.labels["env"] == CLUSTER
    assert alert.fingerprint == done.id


async def test_what_kafka_has_not_acknowledged_is_not_done() -> None:
    office = Office()
    office.reachable = False

    error = await refused(office.desk.freeze(ANNA, CLUSTER, "stop"))

    assert (error.kind, error.code) == ("unavailable", "not_acknowledged")
