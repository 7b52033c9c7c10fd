"""Each event of an owner holds the hash of the one before it: what is edited, missing or repeated is seen."""

from __future__ import annotations

import pytest

from schemas.chain import BrokenChain, Link, Stamped, edge, follow, id_of, identified, stamp
from schemas.events import IncidentClosed
from schemas.values import Cause, sha256
from schemas.wire import Decoded, decode, frame

CAUSE = Cause(topic="signals", offset=7)


def closed(incident_id: str) -> IncidentClosed:
    return IncidentClosed(cluster_id="c", incident_id=incident_id, code="resolved", text="t")


def three() -> list[Stamped]:
    link, made = Link(), []
    for n in range(3):
        stamped, link = stamp("incidents", link, closed(f"INC-{n}"), CAUSE, 1000 + n, 40 + n)
        made.append(stamped)
    return made


def read(stamped: Stamped) -> Decoded:
    return decode(frame(type(stamped.event), stamped.body))


def test_what_is_stamped_is_followed() -> None:
    first, second, third = made = three()

    assert [s.head.seq for s in made] == [1, 2, 3]
    assert [s.head.prev_hash for s in made] == [b"", sha256(first.body), sha256(second.body)]
    assert [s.head.event_id for s in made] == [id_of(f"incidents/c/{n}") for n in (1, 2, 3)]
    assert [(s.head.at_ms, s.head.cause, s.head.controls_offset) for s in made[1:]] == [
        (1001, CAUSE, 41),
        (1002, CAUSE, 42),
    ]
    link = Link()
    for stamped in made:
        link = follow(link, read(stamped))
    assert link == Link(3, sha256(third.body))


def test_before_anything_is_read_of_the_controls_the_head_says_so() -> None:
    assert stamp("incidents", Link(), closed("INC-1"), None, 5)[0].head.controls_offset == -1


@pytest.mark.parametrize(
    ("link", "index", "says"),
    [
        (Link(), 1, "seq 1 to 1 are missing"),
        (Link(), 2, "seq 1 to 2 are missing"),
        (Link(1, b"x"), 0, "seq 1 comes again or out of order, after 1"),
        (Link(2, b"x"), 0, "seq 1 comes again or out of order, after 2"),
        (Link(1, b"x"), 1, "seq 1 is not what it was when seq 2 was written"),
        (Link(0, b"x"), 0, "seq 0 is not what it was when seq 1 was written"),
    ],
)
def test_what_does_not_continue_its_past_is_not_followed(link: Link, index: int, says: str) -> None:
    with pytest.raises(BrokenChain) as broken:
        follow(link, read(three()[index]))
    assert str(broken.value) == f"c IncidentClosed: {says}"


def test_what_no_owner_makes_has_an_id_and_no_place() -> None:
    made, said = identified("intake/7/0", closed("INC-1"), CAUSE, 5), edge(closed("INC-1"), "e-1", 6)

    assert (made.head.event_id, made.head.at_ms, made.head.cause) == (id_of("intake/7/0"), 5, CAUSE)
    assert (said.head.event_id, said.head.at_ms, said.head.cause) == ("e-1", 6, None)
    assert {made.head.seq, said.head.seq} == {0}
    assert made.body != said.body
