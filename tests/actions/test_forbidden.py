"""What the catalogue explains and refuses: it can be read, and there is no way from it to a plan or a call."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import calls
from actions.action import Action, Undo, params_schema
from actions.calls import CALLS, BadCall, render
from actions.card import describe
from actions.catalogue import CATALOGUE, FORBIDDEN, BadParameters, ForbiddenAction, UnknownAction, named, parse
from actions.forbidden import Forbidden
from agents.causes import CAUSES
from schemas.text import TEXT_MAX
from schemas.values import Call

NAMES = sorted(FORBIDDEN)
ENDPOINTS = (
    "POST /pd/api/v1/admin/unsafe/remove-failed-stores",
    "/pd/api/v1/admin/unsafe/remove-failed-stores",
    "debugpb.Debug/Compact",
)


def test_these_are_refused() -> None:
    assert NAMES == ["compact_store", "unsafe_remove_failed_stores"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_no_action_and_may_call_nothing(name: str) -> None:
    kind = FORBIDDEN[name]
    assert kind.name == name
    assert not issubclass(kind, Action)
    assert name not in CATALOGUE
    assert named(name) is kind
    assert (kind.version, kind.risk, kind.undo, kind.may_call) == (1, "FORBIDDEN", Undo.IRREVERSIBLE, frozenset())


def test_what_is_done_is_an_action_of_a_tier_that_people_can_allow() -> None:
    for name, kind in CATALOGUE.items():
        assert kind.name == name
        assert issubclass(kind, Action)
        assert kind.risk != "FORBIDDEN"
        assert kind.may_call


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("compact_store", '{"store_id":4,"column_family":"write"}'),
        ("unsafe_remove_failed_stores", '{"store_ids":[4,5],"timeout_s":600}'),
        *((name, params) for name in NAMES for params in ("{}", "[]", "junk", '{"force":true}', '{"store_ids":[0]}')),
    ],
)
def test_it_is_refused_with_the_reason_whatever_its_parameters(name: str, params: str) -> None:
    """Nobody mends parameters only to hear that it was never to be."""
    with pytest.raises(ForbiddenAction) as forbidden:
        parse(name, params)
    assert isinstance(forbidden.value, UnknownAction)  # whoever only knows unknown ones refuses it too
    assert str(forbidden.value) == FORBIDDEN[name].why_not()


def test_what_is_unknown_is_not_forbidden() -> None:
    with pytest.raises(UnknownAction) as unknown:
        parse("unsafe_remove_failed_store", "{}")
    assert not isinstance(unknown.value, ForbiddenAction)
    with pytest.raises(BadParameters):
        parse("evict_store_leaders", "{}")


@pytest.mark.parametrize("name", NAMES)
def test_the_refusal_has_the_reason_and_what_a_person_checks_first(name: str) -> None:
    kind = FORBIDDEN[name]
    assert kind.why_not() == (
        f"{name} is never done by a machine: {kind.because}. A person checks first {kind.check_first}; more in"
        f" `steward actions show {name}`"
    )
    assert len(kind.why_not()) <= TEXT_MAX  # a ticket shows it whole


# no call


@given(
    st.sampled_from([*NAMES, *ENDPOINTS]),
    st.dictionaries(st.sampled_from(["store_id", "store_ids", "stores", "timeout", "region_id"]), st.text()),
)
def test_no_call_of_that_name_can_be_said(name: str, args: dict[str, str]) -> None:
    for say in (render, calls.by_hand):
        with pytest.raises(BadCall):
            say(Call(name=name, args=args))


@given(
    st.sampled_from(sorted(CALLS)),
    st.dictionaries(
        st.sampled_from(["store_id", "region_id", "to_store_id"]),
        st.sampled_from(["4", "../admin/unsafe/remove-failed-stores", "4/../../admin/unsafe/remove-failed-stores"]),
    ),
)
def test_no_other_call_becomes_such_a_request(name: str, args: dict[str, str]) -> None:
    try:
        request = render(Call(name=name, args=args))
    except BadCall:
        return
    assert not re.search(r"unsafe|admin|compact|debug", str(request), re.IGNORECASE)


def test_no_row_of_the_table_is_such_a_request() -> None:
    for name, row in CALLS.items():
        assert not re.search(r"unsafe|admin|compact|debug", f"{name} {row}", re.IGNORECASE)


def test_no_cause_admits_it() -> None:
    assert {name for cause in CAUSES.values() for name in cause.admits} <= set(CATALOGUE)


# at 3 a.m.


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_read_at_3_am(name: str) -> None:
    kind = FORBIDDEN[name]
    text = describe(kind)
    first, _, what = text.split("\n")[:3]
    assert first == f"{name}, version 1: FORBIDDEN, whoever asks, irreversible"
    assert what.startswith("Never done here: ")
    places = [
        text.index(part)
        for part in (
            "What the call does",
            "What clients notice",
            "Why no machine does it",
            "What a person checks first",
            "By hand",
            "Parameters\n  store_id",
            "May call\n  nothing\n",
            "Forbidden ",
            "First     ",
        )
    ]
    assert places == sorted(places)
    assert kind.because in " ".join(text.split())
    assert kind.check_first in " ".join(text.split())
    for never in ("at least", "Stops if", "Undo  "):
        assert never not in text


def test_its_parameters_are_those_that_a_person_would_name() -> None:
    unsafe, compact = (describe(FORBIDDEN[n]) for n in ("unsafe_remove_failed_stores", "compact_store"))
    assert "store_ids: 1 to 100 ids, required" in unsafe
    assert "timeout_s: whole number 60..3600, default 300" in unsafe
    assert "store_id: id, required" in compact
    assert "column_family: default or lock or write, required" in compact
    assert "threads: whole number 1..64, default 8" in compact
    for name in NAMES:
        assert params_schema(FORBIDDEN[name])["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "unsafe_remove_failed_stores",
            (
                "/pd/api/v1/admin/unsafe/remove-failed-stores",
                "pd-ctl unsafe remove-failed-stores 4,5 --timeout 600",
                "pd-ctl unsafe remove-failed-stores show",
                "Unsafe recovery Finished",
                "Unsafe recovery Failed",
                "ErrUnsafeRecoveryIsRunning",
                "Tombstone at once",
                "is up and connected",
                "it loses data by design",
                "`unsafe_recovery`",
            ),
        ),
        (
            "compact_store",
            (
                "debugpb.Debug/Compact on the store's port 20160",
                "neither bounded, cancelled nor undone",
                "tikv-ctl --host 10.0.4.12:20160 compact -d kv -c write -n 1",
                "compact-cluster. It does this to every store at once",
                "tikv_engine_pending_compaction_bytes",
            ),
        ),
    ],
)
def test_it_says_what_is_known_of_the_call(name: str, facts: tuple[str, ...]) -> None:
    text = " ".join(describe(FORBIDDEN[name]).split())
    for fact in facts:
        assert fact in text


class Toy(Forbidden):
    """Not in the catalogue: another one is a class and its line."""

    name = "toy"
    because = "it is one"
    check_first = "whether it is"

    store_id: int


def test_another_one_is_a_reason_and_what_to_check() -> None:
    assert Toy.why_not() == (
        "toy is never done by a machine: it is one. A person checks first whether it is; more in"
        " `steward actions show toy`"
    )
    assert describe(Toy).endswith("May call\n  nothing\n\nForbidden it is one\nFirst     whether it is")
