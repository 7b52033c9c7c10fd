"""What a verification keeps of each record is small, and found again whatever the order."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from infra.clickhouse.held import Citation, Citations, Held
from schemas.values import sha256

MANY = 200_000


def hash_of(number: int) -> bytes:
    return sha256(b"%d" % number)


@given(st.lists(st.integers(0, 40), max_size=60))
def test_the_first_record_at_an_offset_is_found_whatever_the_order(offsets: list[int]) -> None:
    held, wanted = Held(), dict[int, bytes]()
    for n, offset in enumerate(offsets):
        held.add(offset, hash_of(n))
        wanted.setdefault(offset, hash_of(n))
    assert {o: held.get(o) for o in range(42)} == {o: wanted.get(o) for o in range(42)}
    assert (len(held), held.first, held.last) == (len(wanted), min(wanted, default=-1), max(wanted, default=-1))
    assert held.after(20) == sum(o > 20 for o in wanted)


@given(
    st.dictionaries(st.integers(0, 12), st.integers(0, 1)),
    st.dictionaries(st.integers(0, 12), st.integers(0, 1)),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_the_first_difference_of_two_is_the_one_that_a_plain_look_finds(
    one: dict[int, int], two: dict[int, int], since: int, upto: int
) -> None:
    a, b = Held(), Held()
    for held, said in ((a, one), (b, two)):
        for offset, number in said.items():
            held.add(offset, hash_of(number))
    plain = next((o for o in range(since, upto + 1) if one.get(o) != two.get(o)), None)
    found = a.differs(b, since, upto)
    assert (found and found[0]) == plain
    if found:
        assert found[1:] == (a.get(found[0]), b.get(found[0]))


def test_what_owes_an_answer_is_found_among_housekeeping() -> None:
    held = Held()
    for offset in (2, 4, 6, 8):
        held.add(offset, hash_of(offset))
    held.is_housekeeping(4)
    assert [held.to_answer(*span) for span in ((0, 9), (3, 6), (3, 7), (4, 5), (9, 20))] == [2, None, 6, None, None]


def test_a_record_takes_41_bytes_and_a_citation_64_and_what_arrays_keep_in_reserve() -> None:
    held, cited = Held(), Citations()
    for offset in range(MANY):
        held.add(3 * offset, hash_of(offset))
        cited.add(Citation("prod-eu-7", ("outcomes", 3), offset, offset, ("remediations", 3), offset, b"x" * 32, 5))
    a_record = sum(map(sys.getsizeof, (held.offsets, held.hashes, held.housekeeping))) / MANY
    ((numbers, hashes),) = cited._kept.values()
    a_citation = (sys.getsizeof(numbers) + sys.getsizeof(hashes)) / MANY
    assert 41 <= a_record < 48
    assert 64 <= a_citation < 74
    assert list(cited)[7] == Citation("prod-eu-7", ("outcomes", 3), 7, 7, ("remediations", 3), 7, b"x" * 32, 5)
    assert cited.waiting_for() == {("remediations", 3): MANY - 1}
