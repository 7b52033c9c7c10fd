"""A broker that is silent, and one that has lost what it acknowledged."""

from __future__ import annotations

import pytest

from tests.contract.log.twin import Twin, read, ready, until, write
from tests.simulation.errors import Gone, TimedOut

pytestmark = pytest.mark.contract


def test_nobody_answers_so_every_call_times_out_and_afterwards_all_is_as_it_was(breakable_log: Twin) -> None:
    log = breakable_log
    place, producer = (log.topic(), 0), ready(log, "t")
    write(producer, place, b"before")
    until(log, lambda: read(log, place).values == [b"before"])
    log.go_down()
    with pytest.raises(TimedOut):
        log.publish(place, b"unknown", within_ms=1500)
    log.come_back()
    write(producer, place, b"after")
    until(log, lambda: read(log, place).values[-1] == b"after")
    assert read(log, place).values in ([b"before", b"after"], [b"before", b"unknown", b"after"])


def test_a_lost_tail_is_told_to_whoever_had_read_it_and_its_offsets_are_used_again(breakable_log: Twin) -> None:
    """Who comes back with nothing but an offset is not told: it reads what stands there now."""
    log = breakable_log
    place = (log.topic(), 0)
    log.publish(place, *(b"%d" % n for n in range(10)))
    beyond, within = log.reader(), log.reader()
    beyond.assign({place: 0})
    within.assign({place: 0})
    assert beyond.read().values[-1] == b"9"
    log.lose_tail(place, 6)
    assert read(log, place).values == [b"%d" % n for n in range(6)]
    with pytest.raises(Gone):
        beyond.read()
    with pytest.raises(Gone):
        read(log, place, 10)
    log.publish(place, *(b"new %d" % n for n in range(6)))
    assert read(log, place, 10).values == [b"new 4", b"new 5"]
    assert read(log, place, 4).values == [b"4", b"5", *(b"new %d" % n for n in range(6))]


def test_a_transaction_whose_marker_is_lost_hangs_until_its_id_s_next_one_there(breakable_log: Twin) -> None:
    """The coordinator believes that it is complete: neither its time-out nor an init ends it."""
    log = breakable_log
    place, producer = (log.topic(), 0), ready(log, "t", 1000)
    write(producer, place, b"a", b"b")
    write(producer, place, b"c")
    until(log, lambda: read(log, place).ends == (5,))
    log.lose_tail(place, 4)
    assert read(log, place).ends == (3,)
    assert log.reader(committed_only=False).watermarks(place) == (0, 4)
    successor = ready(log, "t")
    log.passes(1500)
    assert read(log, place).ends == (3,)
    write(successor, place, b"d")
    until(log, lambda: read(log, place).values == [b"a", b"b", b"c", b"d"])
    assert read(log, place).offsets == [0, 1, 3, 4]
