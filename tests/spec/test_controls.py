"""What people have said to all of Steward: which stop is in force where, which policy, which keys count no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas import events as e
from schemas.controls import Controls, Stop, evolve, unreadable
from schemas.values import Poison

LIVE = Controls(live=True, read_once=True)


def said(*events: e.Event, held: Controls = LIVE) -> Controls:
    for offset, event in enumerate(events):
        held = evolve(held, event, offset, 1000 + offset)
    return held


def freeze(scope: str = "*", by: str = "anna") -> e.Frozen:
    return e.Frozen(cluster_id=scope, by=by, reason="looking")


def halt(scope: str = "*", by: str = "ben") -> e.Halted:
    return e.Halted(cluster_id=scope, by=by, reason="smoke")


def lift(scope: str = "*", kind: str = "") -> e.Lifted:
    return e.Lifted(cluster_id=scope, by="cy", reason="over", kind=kind)


def adopt(version: int, by: str = "anna", mode: str = "dry_run") -> e.PolicyAdopted:
    return e.PolicyAdopted(
        cluster_id="*", by=by, reason="t", version=version, policy_json=f'{{"default_mode":"{mode}"}}'
    )


FROZEN, HALTED = ("frozen", "freeze by anna: looking"), ("halted", "halt by ben: smoke")


@pytest.mark.parametrize(
    ("events", "forward", "undo", "elsewhere"),
    [
        ([], None, None, None),
        ([freeze()], FROZEN, None, FROZEN),
        ([freeze("prod")], FROZEN, None, None),
        ([halt()], HALTED, ("halted", "halt by ben: smoke"), HALTED),
        ([halt("prod")], HALTED, HALTED, HALTED),  # a halt is for all, whatever it names
        ([freeze("prod"), halt(), freeze()], HALTED, HALTED, HALTED),  # the stronger is told
        ([freeze("prod"), freeze(by="dora")], ("frozen", "freeze by dora: looking"), None, ("frozen",)),
        ([freeze(), lift("prod")], FROZEN, None, FROZEN),
        ([freeze("prod"), lift()], FROZEN, None, None),
        ([freeze("prod"), lift("prod", "halt")], FROZEN, None, None),
        ([halt(), lift("*", "freeze")], HALTED, HALTED, HALTED),
        ([halt(), lift("prod", "halt")], HALTED, HALTED, HALTED),
        ([halt(), freeze(), lift("*", "halt")], FROZEN, None, FROZEN),
        ([halt(), freeze(), lift()], None, None, None),
        ([freeze("prod"), lift("prod", "freeze")], None, None, None),
    ],
)
def test_the_stops_in_force(
    events: list[e.Event],
    forward: tuple[str, str] | None,
    undo: tuple[str, str] | None,
    elsewhere: tuple[str, ...] | None,
) -> None:
    held = said(*events)

    assert held.refuses_forward("prod") == forward
    assert held.refuses_undo("prod") == undo
    assert (held.refuses_forward("other") or ("",))[0] == (elsewhere or ("",))[0]


def test_a_halt_of_one_cluster_would_stop_its_undos() -> None:
    """Nothing says one today; who reads the controls does not count on that."""
    held = replace(LIVE, stops={("halt", "prod"): Stop("halt", "ben", "smoke", 1)})

    assert held.refuses_undo("prod") == held.refuses_forward("prod") == HALTED
    assert held.refuses_undo("other") is None


def test_a_stop_says_who_and_when_and_is_listed_where_it_was_put() -> None:
    held = said(freeze("prod"), halt(), freeze())

    assert held.stops["freeze", "prod"] == Stop("freeze", "anna", "looking", 1000)
    assert held.stops["halt", "*"] == Stop("halt", "ben", "smoke", 1001)
    assert held.kinds_for("prod") == ("freeze",)
    assert held.kinds_for("*") == ("halt", "freeze")
    assert held.kinds_for("other") == ()
    assert held.offset == 2


POISON = Poison(place="controls/0@7", stops="*", text="not Avro", at_ms=5, controls_offset=7)


@pytest.mark.parametrize(
    ("changed", "forward", "undo"),
    [
        ({"live": False}, "controls_not_live", None),
        ({"read_once": False}, None, "controls_never_read"),
        ({"poisoned": {POISON.place: POISON}}, "controls_unreadable", None),
        ({"broken": "seq 7 is missing"}, "ledger_broken", "ledger_broken"),
        ({"broken": "b", "poisoned": {POISON.place: POISON}, "live": False}, "ledger_broken", "ledger_broken"),
        ({"poisoned": {POISON.place: POISON}, "live": False}, "controls_unreadable", None),
    ],
)
def test_what_cannot_be_believed_is_a_stop(changed: dict[str, object], forward: str | None, undo: str | None) -> None:
    held = replace(LIVE, **changed)  # type: ignore[arg-type]

    assert (held.refuses_forward("prod") or (None,))[0] == forward
    assert (held.refuses_undo("prod") or (None,))[0] == undo


def test_nothing_has_been_read_to_begin_with() -> None:
    assert (Controls().live, Controls().read_once, Controls().offset, Controls().policy_by) == (False, False, -1, "")
    assert Controls().broken == ""


def test_each_record_that_cant_be_read_is_a_stop_of_its_own_and_the_first_few_are_named() -> None:
    held = LIVE
    for offset in range(3):
        held = unreadable(held, offset, 10 + offset, "x" * 600)
    assert held.poisoned["controls/0@1"] == Poison(
        place="controls/0@1", stops="*", text="x" * 500, at_ms=11, controls_offset=1
    )
    assert held.offset == 2
    named = "; ".join(f"controls/0@{offset}: {'x' * 500}" for offset in range(3))
    assert held.refuses_forward("prod") == ("controls_unreadable", f"stopped until a person lifts it: {named}")
    found = unreadable(held, 3, 13, "y").refuses_forward("prod")
    assert found is not None
    assert found[1] == f"stopped until a person lifts it: {named}; and 1 more"


def test_what_is_no_control_stops_like_what_cant_be_read() -> None:
    stray = e.IncidentClosed(cluster_id="prod", incident_id="INC-1", code="resolved", text="over")

    assert list(said(freeze(), stray).poisoned.values()) == [
        Poison(place="controls/0@1", stops="*", text="IncidentClosed is no control", at_ms=1001, controls_offset=1)
    ]


@pytest.mark.parametrize(
    ("stops", "scope", "place", "offset", "is_lifted"),
    [
        ("*", "*", "signals/0@4", 8, True),
        ("*", "*", "signals/0@4", 7, False),  # not later than what it would lift
        ("*", "*", "signals/0@5", 8, False),
        ("prod", "prod", "signals/0@4", 8, True),
        ("prod", "*", "signals/0@4", 8, False),
        ("~3", "*", "signals/0@4", 8, True),
    ],
)
def test_an_input_is_lifted_by_what_was_said_of_exactly_it_since(
    stops: str, scope: str, place: str, offset: int, is_lifted: bool
) -> None:
    poison = Poison(place="signals/0@4", stops=stops, text="t", at_ms=5, controls_offset=7)
    lifted = e.Lifted(cluster_id=scope, by="cy", reason="seen", kind="input", input=place)
    held = replace(LIVE, poisoned={poison.place: poison})

    assert not held.has_lifted(poison)
    held = evolve(held, lifted, offset, 0)
    assert held.has_lifted(poison) == is_lifted


def test_an_offset_of_zero_is_later_than_controls_of_which_nothing_was_read() -> None:
    poison = Poison(place="signals/0@4", stops="*", text="t", at_ms=5, controls_offset=-1)

    assert not LIVE.has_lifted(poison)
    lifted = e.Lifted(cluster_id="*", by="cy", reason="seen", kind="input", input="signals/0@4")
    assert said(lifted).has_lifted(poison)


def test_a_version_is_one_policy_and_the_first_has_it() -> None:
    held = said(adopt(1), adopt(2, "ben", "observe"), adopt(2, "cy"), adopt(1, "cy"))

    assert (held.policy.version, held.policy.default_mode, held.policy_by) == (2, "observe", "ben")
    assert held.offset == 3


def test_a_revoked_key_stays_revoked() -> None:
    one, other = (e.KeyRevoked(cluster_id="*", by="anna", reason="lost", kid=kid) for kid in ("k1", "k2"))

    assert said(one, other, lift(), one).revoked_kids == {"k1", "k2"}
