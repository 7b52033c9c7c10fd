"""Transactional ids: who has one, who is shut out, and what becomes of what they leave open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.log.twin import Producer, Twin, hanging, read, ready, until, write
from tests.simulation.errors import Abortable, Fenced, LogError, Misused
from tests.simulation.partitions import Place

pytestmark = pytest.mark.contract

NO_FENCING = "the broker inside librdkafka fences nobody: a zombie's commit succeeds"
NO_ISOLATION = "the broker inside librdkafka has no isolation: its last stable offset is the high watermark"
NO_SETTINGS = "topics of the broker inside librdkafka have no settings"

Call = Callable[[Producer, Place], object]


def commit(producer: Producer, place: Place) -> None:
    producer.commit()


def produce_and_commit(producer: Producer, place: Place) -> None:
    producer.produce(place, b"from the grave")
    producer.commit()


def flush_more(producer: Producer, place: Place) -> None:
    producer.produce(place, b"from the grave")
    producer.flush()


def abort(producer: Producer, place: Place) -> None:
    producer.abort()


CALLS = (commit, produce_and_commit, flush_more, abort)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.differs(embedded=NO_FENCING)
def test_a_zombie_s_next_call_fails_for_good_and_what_it_wrote_is_aborted(log: Twin, call: Call) -> None:
    place = (log.topic(), 0)
    zombie = hanging(log, "t", place, b"from the grave")
    successor = ready(log, "t")
    with pytest.raises(Fenced):
        call(zombie, place)
    write(successor, place, b"from the living")
    until(log, lambda: read(log, place).values == [b"from the living"])
    for again in (zombie.abort, zombie.begin):
        with pytest.raises(LogError):
            again()


@pytest.mark.differs(embedded=NO_FENCING)
def test_a_zombie_that_had_nothing_open_is_fenced_by_its_first_request(log: Twin) -> None:
    """And commits with pleasure what no broker heard of."""
    place, zombie = (log.topic(), 0), ready(log, "t")
    ready(log, "t")
    zombie.begin()
    zombie.commit()
    zombie.begin()
    zombie.produce(place, b"x")
    with pytest.raises(Fenced):
        zombie.commit()


@pytest.mark.differs(embedded=NO_FENCING)
def test_a_zombie_can_send_no_offsets(log: Twin) -> None:
    place, zombie = (log.topic(), 0), ready(log, "t")
    ready(log, "t")
    zombie.begin()
    with pytest.raises(Fenced):
        zombie.send_offsets({place: 1}, log.no_member("g"))


@pytest.mark.differs(embedded=NO_ISOLATION)
def test_7_a_successor_s_init_ends_a_hung_transaction(log: Twin) -> None:
    """It returns when the abort is marked: what was hidden is there, without waiting."""
    place, writer = (log.topic(), 0), ready(log, "writer")
    log.markers_are_slow()
    hanging(log, "t", place, b"hung")
    write(writer, place, b"hidden")
    until(log, lambda: log.reader(committed_only=False).watermarks(place) == (0, 3))
    assert log.reader().watermarks(place) == (0, 0)
    ready(log, "t")
    assert log.reader().watermarks(place) == (0, 4)
    assert read(log, place).values == [b"hidden"]


def test_init_completes_what_its_predecessor_has_prepared(log: Twin) -> None:
    """An acknowledged commit is not lost by it, and is marked when it returns."""
    topic, producer = log.topic(3), ready(log, "t")
    log.markers_are_slow()
    for done in range(1, 6):
        producer.begin()
        for number in range(3):
            producer.produce((topic, number), b"x")
        producer.commit()
        producer = ready(log, "t")
        for number in range(3):
            assert read(log, (topic, number)).values == [b"x"] * done


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.differs(embedded=NO_ISOLATION)
def test_7_a_transaction_open_for_longer_than_its_time_out_is_aborted_and_its_producer_fenced(
    log: Twin, call: Call
) -> None:
    place = (log.topic(), 0)
    hung = hanging(log, "t", place, b"hung", timeout_ms=1000)
    log.publish(place, b"hidden")
    assert read(log, place).values == []
    until(log, lambda: read(log, place).values == [b"hidden"], 15_000)
    with pytest.raises(Fenced):
        call(hung, place)
    write(ready(log, "t"), place, b"next")
    until(log, lambda: read(log, place).values == [b"hidden", b"next"])


def test_4_two_transactional_ids_let_two_owners_commit(log: Twin) -> None:
    place, one, other = (log.topic(), 0), ready(log, "owner-0"), ready(log, "renamed-0")
    write(one, place, b"one")
    write(other, place, b"other")
    write(one, place, b"one again")
    until(log, lambda: read(log, place).values == [b"one", b"other", b"one again"])


def test_one_transaction_after_another_needs_no_waiting(log: Twin) -> None:
    """By the caller: a client waits by itself until the one before is marked."""
    place, producer = (log.topic(), 0), ready(log, "t")
    log.markers_are_slow()
    for number in range(10):
        producer.begin()
        producer.produce(place, b"%d" % number)
        (producer.abort if number % 3 == 2 else producer.commit)()
    until(log, lambda: read(log, place).values == [b"%d" % n for n in range(10) if n % 3 != 2])


def test_a_call_out_of_turn_is_refused(log: Twin) -> None:
    producer = ready(log, "t")
    with pytest.raises(Misused):
        producer.commit()
    producer.begin()
    with pytest.raises(Misused):
        producer.begin()
    producer.abort()
    with pytest.raises(Misused):
        producer.abort()


@pytest.mark.differs(embedded=NO_SETTINGS)
def test_a_record_that_is_refused_fails_its_transaction_and_the_next_one(log: Twin) -> None:
    """The client's sequence numbers are in order again only after a second abort."""
    place, producer = (log.topic(record_bytes_max=2000), 0), ready(log, "t")
    producer.begin()
    producer.produce(place, b"first", b"x" * 50_000, b"last")
    with pytest.raises(Abortable):
        producer.commit()
    producer.abort()
    with pytest.raises(Abortable) as refused:
        write(producer, place, b"second")
    assert refused.value.code == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    producer.abort()
    write(producer, place, b"next")
    until(log, lambda: read(log, place).values == [b"next"])
