"""Offsets, markers, ends and watermarks; and what is hidden from whom. The numbers in names are those of the ways in
which a control plane on Kafka was seen to go wrong."""

from __future__ import annotations

import pytest

from tests.contract.log.twin import Twin, hanging, read, ready, until, write
from tests.simulation.errors import Gone
from tests.simulation.partitions import Place

pytestmark = pytest.mark.contract

NO_ISOLATION = "the broker inside librdkafka has no isolation: its last stable offset is the high watermark"
NO_APPEND_TIME = "the broker inside librdkafka keeps the producer's time"
NO_MARKERS = "the broker inside librdkafka writes no markers"
NO_ADMIN = "the broker inside librdkafka deletes no records when told to"


def test_a_committed_transaction_is_read_and_its_marker_takes_an_offset(log: Twin) -> None:
    place, producer = (log.topic(), 0), ready(log, "t")
    write(producer, place, b"a", b"b")
    write(producer, place, b"c")
    until(log, lambda: read(log, place).values == [b"a", b"b", b"c"])
    assert read(log, place).offsets == [0, 1, 3]
    until(log, lambda: read(log, place).ends == (5,))


def test_a_transaction_of_which_no_broker_heard_leaves_nothing(log: Twin) -> None:
    """Nor does what was queued when it was aborted."""
    place, producer = (log.topic(), 0), ready(log, "t")
    producer.begin()
    producer.commit()
    producer.begin()
    producer.produce(place, b"queued")
    producer.abort()
    assert log.reader(committed_only=False).watermarks(place) == (0, 0)


def test_a_transaction_on_several_partitions_is_seen_on_all_of_them_in_the_end(log: Twin) -> None:
    topic, producer = log.topic(3), ready(log, "t")
    log.markers_are_slow()
    producer.begin()
    for number in range(3):
        producer.produce((topic, number), b"x")
    producer.commit()
    until(log, lambda: all(read(log, (topic, n)).values == [b"x"] for n in range(3)))


@pytest.mark.differs(embedded=NO_ISOLATION)
def test_1_an_aborted_record_is_seen_by_whoever_reads_uncommitted(log: Twin) -> None:
    place, producer = (log.topic(), 0), ready(log, "t")
    producer.begin()
    producer.produce(place, b"aborted")
    producer.flush()
    producer.abort()
    write(producer, place, b"committed")
    until(log, lambda: b"committed" in read(log, place).values)
    assert read(log, place).values == [b"committed"]
    assert read(log, place, committed_only=False).values == [b"aborted", b"committed"]


@pytest.mark.differs(embedded=NO_ISOLATION)
def test_4_behind_a_foreign_open_transaction_end_and_watermark_say_less_than_there_is(log: Twin) -> None:
    """A committed event is hidden, and nothing that a committed reader is told says so: it has to be compared with what
    an uncommitted one is told."""
    place, producer = (log.topic(), 0), ready(log, "t")
    write(producer, place, b"before")
    until(log, lambda: read(log, place).ends == (2,))
    foreign = hanging(log, "foreign", place, b"open")
    write(producer, place, b"hidden")
    reader = log.reader()
    reader.assign({place: 0})
    seen = reader.read()
    assert (seen.values, seen.ends) == ([b"before"], (2,))
    assert reader.watermarks(place) == (0, 2)
    everything = log.reader(committed_only=False)
    until(log, lambda: everything.watermarks(place) == (0, 5))
    assert read(log, place, committed_only=False).values == [b"before", b"open", b"hidden"]
    foreign.abort()
    until(log, lambda: reader.watermarks(place) == (0, 6))
    assert reader.read().values == [b"hidden"]


@pytest.mark.differs(embedded=NO_ISOLATION)
def test_10_a_freeze_behind_an_open_transaction_is_seen_by_whoever_reads_uncommitted(log: Twin) -> None:
    place = (log.topic(), 0)
    hanging(log, "foreign", place, b"open")
    log.publish(place, b"freeze")
    assert read(log, place).values == []
    assert read(log, place, committed_only=False).values == [b"open", b"freeze"]


def test_an_acknowledged_record_is_seen_by_the_next_read_up_to_the_watermark(log: Twin) -> None:
    """Outside of transactions: so a freeze that was acknowledged stops the next step."""
    place, reader = (log.topic(), 0), log.reader(committed_only=False)
    reader.assign({place: 0})
    for number in range(3):
        ((offset, _),) = log.publish(place, b"%d" % number)
        assert reader.watermarks(place) == (0, offset + 1)
        assert reader.read().values == [b"%d" % number]


def test_a_commit_that_was_acknowledged_is_marked_a_moment_later(log: Twin) -> None:
    """Until then a committed reader sees nothing of it, and the watermark lacks the marker; never a part of it."""
    place, producer = (log.topic(), 0), ready(log, "t")
    log.markers_are_slow()
    asker = log.reader(committed_only=False)
    for done in range(20):
        write(producer, place, b"a", b"b")
        assert asker.watermarks(place)[1] - 3 * done in (2, 3)
        assert len(read(log, place).values) in (2 * done, 2 * done + 2)
    until(log, lambda: asker.watermarks(place) == (0, 60))
    assert len(read(log, place).values) == 40


def test_the_end_is_said_where_the_markers_end_and_again_when_it_has_moved(log: Twin) -> None:
    place, producer = (log.topic(), 0), ready(log, "t")
    reader = log.reader()
    reader.assign({place: 0})
    assert reader.read().ends == (0,)
    assert reader.read(200).ends == ()
    write(producer, place, b"a")
    until(log, lambda: reader.watermarks(place) == (0, 2))
    seen = reader.read()
    assert (seen.values, seen.ends[-1]) == ([b"a"], 2)


@pytest.mark.differs(embedded=NO_APPEND_TIME)
def test_13_a_delivery_report_gives_the_broker_s_append_time(log: Twin) -> None:
    """As every reader sees it, whatever time the producer wrote on the record."""
    place, producer = (log.topic(), 0), ready(log, "t")
    before_ms = log.now_ms()
    ((_, plain_ms),) = log.publish(place, b"plain")
    producer.begin()
    producer.produce(place, b"a", b"b")
    told = producer.flush()
    producer.commit()
    assert all(before_ms - 5 <= at_ms <= log.now_ms() + 5 for at_ms in (plain_ms, *(t for _, t in told)))
    until(log, lambda: len(read(log, place).values) == 3)
    assert read(log, place).times == (plain_ms, *(at_ms for _, at_ms in told))


@pytest.mark.differs(embedded=NO_ADMIN)
def test_6_a_reader_that_starts_at_the_earliest_folds_a_cut_log_to_less_without_a_word(log: Twin) -> None:
    place = (log.topic(), 0)
    log.publish(place, b"claimed", b"b", b"c")
    log.cut_head(place, 2)
    reader = log.reader(earliest=True)
    reader.assign({place: 0})
    assert reader.read().values == [b"c"]
    log.cut_head(place, 3)
    again = log.reader(earliest=True)
    again.assign({place: 0})
    seen = again.read()
    assert (seen.values, seen.ends) == ([], (3,))


@pytest.mark.differs(embedded=NO_ADMIN)
def test_6_a_reader_that_may_not_reset_is_told_that_the_head_is_gone(log: Twin) -> None:
    place = (log.topic(), 0)
    log.publish(place, b"claimed", b"b", b"c")
    log.cut_head(place, 2)
    for committed_only in (True, False):
        reader = log.reader(committed_only=committed_only)
        assert reader.watermarks(place)[0] == 2
        reader.assign({place: 0})
        with pytest.raises(Gone):
            reader.read()
        log.publish(place, b"more")
        assert reader.read(300).values == [], "said once; after that it is silent"
        reader.assign({place: 2})
        assert reader.read().values[0] == b"c"


@pytest.mark.differs(embedded=NO_ADMIN)
def test_a_reader_whose_next_record_is_cut_away_is_told(log: Twin) -> None:
    place = (log.topic(), 0)
    log.publish(place, b"a")
    reader = log.reader()
    reader.assign({place: 0})
    assert reader.read().values == [b"a"]
    log.cut_head(place, 1)
    log.publish(place, b"b")
    assert reader.read().values == [b"b"], "what it has read may go"


def test_a_position_beyond_the_end_is_told(log: Twin) -> None:
    place = (log.topic(), 0)
    log.publish(place, b"a")
    reader = log.reader()
    reader.assign({place: 1})
    assert (reader.read().ends) == (1,)
    reader.assign({place: 5})
    with pytest.raises(Gone):
        reader.read()


@pytest.mark.differs(embedded=NO_ISOLATION)
def test_at_a_position_beyond_the_stable_offset_nothing_is_said_not_even_an_end(log: Twin) -> None:
    place = (log.topic(), 0)
    foreign = hanging(log, "foreign", place, b"open", b"open too")
    reader = log.reader()
    for position in (1, 2):
        reader.assign({place: position})
        seen = reader.read(500)
        assert (seen.values, seen.ends) == ([], ())
    reader.assign({place: 3})
    with pytest.raises(Gone):
        reader.read()
    reader.assign({place: 1})
    foreign.commit()
    assert reader.read().values == [b"open too"]


@pytest.mark.differs(embedded=NO_ADMIN)
def test_one_partition_whose_head_is_gone_doesn_t_hold_up_the_others(log: Twin) -> None:
    topic = log.topic(3)
    for number in range(3):
        log.publish((topic, number), b"%d" % number, b"more")
    log.cut_head((topic, 1), 1)
    reader = log.reader()
    reader.assign({(topic, number): 0 for number in range(3)})
    found: list[bytes] = []
    told: list[Place] = []
    for _ in range(4):
        try:
            found += reader.read(500).values
        except Gone as gone:
            told.append(gone.place)
    assert told == [(topic, 1)]
    assert {b"0", b"2"} <= set(found) <= {b"0", b"2", b"more"}
