"""A broker that is silent, and one that has lost what it acknowledged."""

from __future__ import annotations

import contextlib

import pytest

from tests.contract.log.twin import Twin, read, ready, until, write
from tests.simulation.errors import Fenced, Gone, LogError, TimedOut

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


def test_a_commit_that_timed_out_may_be_said_again(breakable_log: Twin) -> None:
    log = breakable_log
    place, producer = (log.topic(), 0), ready(log, "t")
    producer.begin()
    producer.produce(place, b"a")
    producer.flush()
    log.go_down()
    with pytest.raises(TimedOut):
        producer.commit(1000)
    with pytest.raises(LogError):
        producer.abort()
    log.come_back()
    producer.commit()
    until(log, lambda: read(log, place).values == [b"a"])
    write(producer, place, b"b")
    until(log, lambda: read(log, place).values == [b"a", b"b"])


def test_a_commit_that_timed_out_is_whole_or_not_at_all_once_a_successor_is_there(breakable_log: Twin) -> None:
    log = breakable_log
    place, producer = (log.topic(), 0), ready(log, "t")
    producer.begin()
    producer.produce(place, b"a", b"b")
    producer.flush()
    log.go_down()
    with pytest.raises(TimedOut):
        producer.commit(1000)
    log.come_back()
    ready(log, "t")
    found = read(log, place).values
    assert found in ([], [b"a", b"b"])
    with contextlib.suppress(Fenced):
        producer.commit()
        assert found, "it may hear late that it has committed, if it has"
    assert read(log, place).values == found


def test_a_lost_tail_is_told_to_whoever_had_read_it_and_its_offsets_are_used_again(breakable_log: Twin) -> None:
    """Who comes back with nothing but an offset is not told: it reads what stands there now."""
    log = breakable_log
    place = (log.topic(), 0)
    log.publish(place, *(b"%d" % n for n in range(10)))
    beyond = log.reader()
    beyond.assign({place: 0})
    assert beyond.read().values[-1] == b"9"
    log.lose_tails({place: 6})
    assert read(log, place).values == [b"%d" % n for n in range(6)]
    with pytest.raises(Gone):
        read(log, place, 10)
    log.publish(place, *(b"new %d" % n for n in range(6)))
    with pytest.raises(Gone):
        beyond.read()
    assert read(log, place, 10).values == [b"new 4", b"new 5"]
    assert read(log, place, 4).values == [b"4", b"5", *(b"new %d" % n for n in range(6))]


def test_records_of_a_transaction_are_lost_and_only_its_producer_s_next_write_there_tells(breakable_log: Twin) -> None:
    """The coordinator knows nothing of it: a commit passes, without them; and a transaction whose marker is lost is
    open again, until the next one of its id on that partition ends both."""
    log = breakable_log
    marker, commits, writes = ((log.topic(), 0) for _ in range(3))
    unmarked = ready(log, "unmarked", 1000)
    write(unmarked, marker, b"a", b"b")
    write(unmarked, marker, b"c")
    producers = {place: ready(log, name) for place, name in ((commits, "commits"), (writes, "writes"))}
    for place, producer in producers.items():
        write(producer, place, b"base")
        producer.begin()
        for value in (b"a", b"b", b"c"):
            producer.produce(place, value)
            producer.flush()
    until(log, lambda: read(log, marker).ends == (5,) and read(log, commits).ends == (2,) == read(log, writes).ends)
    log.lose_tails({marker: 4, commits: 4, writes: 4})

    producers[commits].commit()
    until(log, lambda: read(log, commits).values == [b"base", b"a", b"b"])
    with pytest.raises(Fenced):
        write(producers[commits], commits, b"next")

    producers[writes].produce(writes, b"d")
    with pytest.raises(Fenced):
        producers[writes].commit()
    assert read(log, writes).ends == (2,), "it is still open"
    write(ready(log, "writes"), writes, b"next")
    until(log, lambda: read(log, writes).values == [b"base", b"next"])

    assert read(log, marker).ends == (3,)
    assert log.reader(committed_only=False).watermarks(marker) == (0, 4)
    successor = ready(log, "unmarked")
    log.passes(1500)
    assert read(log, marker).ends == (3,), "neither a time-out nor an init ends it"
    write(successor, marker, b"d")
    until(log, lambda: read(log, marker).values == [b"a", b"b", b"c", b"d"])
    assert read(log, marker).offsets == [0, 1, 3, 4]
