"""Membership and committed offsets: who is given what, whose word counts, and what a pending offset holds up."""

from __future__ import annotations

import pytest

from tests.contract.log.twin import Member, Producer, Stoppable, Twin, read, ready, until
from tests.simulation.errors import Abortable, Fenced, TimedOut
from tests.simulation.members import Assigned, Lost, Revoked, Word
from tests.simulation.partitions import Place

pytestmark = pytest.mark.contract

NO_CHECK = "the broker inside librdkafka asks no group whether it knows a member"
NO_FENCING = "the broker inside librdkafka fences nobody"
NO_OFFSETS = "the broker inside librdkafka drops the offsets of a transaction"


def settled(log: Twin, *members: Member, places: int) -> None:
    """Everybody has been given something, together they hold that many partitions, and no rebalance goes on."""

    def are() -> bool:
        polled(*members)
        held = [place for member in members for place in member.holds]
        return len(held) == len(set(held)) == places and all(member.holds for member in members)

    until(log, are)
    log.passes(300)  # a cooperative rebalance has a second round
    until(log, are)


def sends(producer: Producer, offsets: dict[Place, int], metadata: object) -> None:
    """One transaction with nothing but offsets."""
    producer.begin()
    producer.send_offsets(offsets, metadata)
    producer.commit()


@pytest.mark.differs(embedded=NO_OFFSETS)
def test_5_committed_waits_while_an_open_transaction_holds_the_offset(log: Twin) -> None:
    topic = log.topic(3)
    producer = ready(log, "t")
    sends(producer, {(topic, 0): 5, (topic, 1): 6}, log.no_member("g"))
    assert log.reader().committed("g", (topic, 0)) == 5
    producer.begin()
    producer.send_offsets({(topic, 0): 9}, log.no_member("g"))
    with pytest.raises(TimedOut):
        log.reader().committed("g", (topic, 0), 700)
    assert log.reader(committed_only=False).committed("g", (topic, 0)) == 5, "who asks uncommitted is told the last one"
    assert log.reader().committed("g", (topic, 1)) == 6, "another partition's is not held"
    assert log.reader().committed("another", (topic, 0)) is None, "nor is another group's"
    producer.commit()
    assert log.reader().committed("g", (topic, 0)) == 9


def test_5_init_first_frees_it(log: Twin) -> None:
    place, producer = (log.topic(), 0), ready(log, "t")
    producer.begin()
    producer.send_offsets({place: 9}, log.no_member("g"))
    ready(log, "t")
    assert log.reader().committed("g", place, 2000) is None


@pytest.mark.differs(embedded=NO_OFFSETS)
def test_offsets_of_an_aborted_transaction_are_dropped(log: Twin) -> None:
    place, producer = (log.topic(), 0), ready(log, "t")
    sends(producer, {place: 5}, log.no_member("g"))
    assert log.reader().committed("g", place) == 5
    producer.begin()
    producer.send_offsets({place: 9}, log.no_member("g"))
    producer.abort()
    assert log.reader().committed("g", place) == 5


@pytest.mark.differs(embedded=NO_OFFSETS)
def test_offsets_and_records_commit_together(log: Twin) -> None:
    place, read_from, producer = (log.topic(), 0), (log.topic(), 0), ready(log, "t")
    log.markers_are_slow()
    producer.begin()
    producer.produce(place, b"answer")
    producer.send_offsets({read_from: 3}, log.no_member("g"))
    producer.commit()
    assert log.reader().committed("g", read_from) == 3
    until(log, lambda: read(log, place).values == [b"answer"])


@pytest.mark.differs(embedded=NO_OFFSETS)
def test_an_offset_that_was_committed_later_stays_whatever_a_transaction_before_it_held(log: Twin) -> None:
    place, producer = (log.topic(), 0), ready(log, "t")
    producer.begin()
    producer.send_offsets({place: 5}, log.no_member("g"))
    log.commit_offset("g", place, 3)
    producer.commit()
    assert log.reader().committed("g", place) == 3
    sends(producer, {place: 5}, log.no_member("g"))
    assert log.reader().committed("g", place) == 5


def test_no_offsets_are_no_request(log: Twin) -> None:
    producer = ready(log, "t")
    producer.begin()
    producer.send_offsets({}, log.no_member("g"))
    producer.commit()


@pytest.mark.differs(embedded=NO_CHECK)
def test_3_a_member_that_has_left_can_send_no_offsets(log: Twin) -> None:
    topic, producer = log.topic(3), ready(log, "t")
    stays, leaves = log.member("g", [topic]), log.member("g", [topic])
    settled(log, stays, leaves, places=3)
    was = leaves.metadata()
    sends(producer, {(topic, 0): 1}, was)
    leaves.close()
    producer.begin()
    producer.produce((topic, 0), b"of no use")
    with pytest.raises(Abortable) as refused:
        producer.send_offsets({(topic, 0): 2}, was)
    assert refused.value.code == "UNKNOWN_MEMBER_ID"
    with pytest.raises(Abortable):
        producer.commit()
    producer.abort()
    settled(log, stays, places=3)
    sends(producer, {(topic, 0): 3}, stays.metadata())
    assert log.reader().committed("g", (topic, 0)) == 3


@pytest.mark.differs(embedded=NO_CHECK)
def test_3_the_last_member_s_word_counts_for_nothing_either_once_it_has_left(log: Twin) -> None:
    topic, producer = log.topic(), ready(log, "t")
    member = log.member("g", [topic])
    settled(log, member, places=1)
    was = member.metadata()
    member.close()
    producer.begin()
    with pytest.raises(Abortable) as refused:
        producer.send_offsets({(topic, 0): 2}, was)
    assert refused.value.code == "UNKNOWN_MEMBER_ID"


@pytest.mark.differs(embedded=NO_FENCING)
def test_3_a_former_owner_with_the_same_id_and_no_metadata_commits_and_fences_the_rightful_one(log: Twin) -> None:
    place, rightful = (log.topic(), 0), ready(log, "owner-0")
    evicted = ready(log, "owner-0")
    evicted.begin()
    evicted.produce(place, b"ledger only")
    evicted.commit()
    until(log, lambda: read(log, place).values == [b"ledger only"])
    rightful.begin()
    rightful.produce(place, b"rightful")
    with pytest.raises(Fenced):
        rightful.commit()


@pytest.mark.differs(embedded=NO_OFFSETS)
def test_3_a_member_may_send_offsets_of_a_partition_that_it_has_lost_and_nobody_s_word_is_believed(log: Twin) -> None:
    topic, producer = log.topic(3), ready(log, "t")
    one, other = log.member("g", [topic]), log.member("g", [topic])
    settled(log, one, other, places=3)
    for number in range(3):
        sends(producer, {(topic, number): 7}, one.metadata())
        assert log.reader().committed("g", (topic, number)) == 7
    sends(producer, {(topic, 0): 8}, log.no_member("g"))
    assert log.reader().committed("g", (topic, 0)) == 8


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
@pytest.mark.differs(embedded=NO_CHECK)
def test_8_metadata_of_an_earlier_generation_is_refused_also_for_kept_partitions(log: Twin, strategy: str) -> None:
    topic, producer = log.topic(3), ready(log, "t")
    one = log.member("g", [topic], "range" if strategy == "range" else "cooperative-sticky")
    settled(log, one, places=3)
    before = one.metadata()
    producer.begin()
    other = log.member("g", [topic], "range" if strategy == "range" else "cooperative-sticky")
    settled(log, one, other, places=3)
    with pytest.raises(Abortable) as refused:
        producer.send_offsets({one.holds[0]: 2}, before)
    assert refused.value.code == "ILLEGAL_GENERATION"
    producer.abort()
    sends(producer, {one.holds[0]: 2}, one.metadata())


@pytest.mark.differs(embedded=NO_CHECK)
def test_while_a_member_gives_up_its_word_still_counts_and_nobody_is_given_anything(log: Twin) -> None:
    """Between revoke and its answer an owner may still commit what is in flight; the next generation waits for it."""
    topic, producer = log.topic(3), ready(log, "t")
    one = log.member("g", [topic], waits=True)
    settled(log, one, places=3)
    was = one.metadata()
    other = log.member("g", [topic])
    said: list[Word] = []
    until(log, lambda: polled(other) and bool(heard(said, one)))
    assert said == [Revoked(one.holds)]
    sends(producer, {(topic, 0): 1}, was)
    log.passes(300)
    assert polled(other)
    assert other.holds == ()
    one.give_up()
    settled(log, one, other, places=3)
    producer.begin()
    with pytest.raises(Abortable):
        producer.send_offsets({(topic, 0): 2}, was)


def by_number(member: Member) -> dict[str, set[int]]:
    held: dict[str, set[int]] = {}
    for topic, number in member.holds:
        held.setdefault(topic, set()).add(number)
    return held


def test_2_range_keeps_the_partitions_of_one_number_together(log: Twin) -> None:
    topics = [log.topic(3), log.topic(3)]
    one, other = log.member("g", topics), log.member("g", topics)
    settled(log, one, other, places=6)
    for member in (one, other):
        held = by_number(member)
        assert held[topics[0]] == held[topics[1]]


def test_2_cooperative_sticky_tears_them_apart(log: Twin) -> None:
    topics = [log.topic(3), log.topic(3)]
    one = log.member("g", topics, "cooperative-sticky")
    settled(log, one, places=6)
    other = log.member("g", topics, "cooperative-sticky")
    settled(log, one, other, places=6)
    for member in (one, other):
        assert by_number(member).get(topics[0]) != by_number(member).get(topics[1])


def polled(*members: Member) -> bool:
    for member in members:
        member.poll()
    return True


def heard(said: list[Word], member: Member | Stoppable) -> list[Word]:
    said.extend(member.poll())
    return said


def test_an_eager_member_gives_everything_up_before_it_is_given_anew(log: Twin) -> None:
    topic = log.topic(3)
    everything = tuple((topic, number) for number in range(3))
    one = log.member("g", [topic])
    said: list[Word] = []
    until(log, lambda: bool(heard(said, one)))
    assert said == [Assigned(everything)]
    other = log.member("g", [topic])
    until(log, lambda: polled(other) and len(heard(said, one)) >= 3 and bool(other.holds))
    assert said[1] == Revoked(everything)
    assert said[2] == Assigned(one.holds)
    assert sorted(one.holds + other.holds) == sorted(everything)


def test_range_gives_each_partition_to_one_member_and_a_leaver_s_to_the_others(log: Twin) -> None:
    topic = log.topic(3)
    members = [log.member("g", [topic]) for _ in range(3)]
    settled(log, *members, places=3)
    members[0].close()
    settled(log, *members[1:], places=3)
    counts = sorted(len(member.holds) for member in members[1:])
    assert counts == [1, 2]
    members[1].close()
    settled(log, members[2], places=3)


def test_one_member_more_than_partitions_holds_none(log: Twin) -> None:
    topic = log.topic()
    one, other = log.member("g", [topic]), log.member("g", [topic])

    def one_holds_it() -> bool:
        polled(one, other)
        return len(one.holds) + len(other.holds) == 1

    until(log, one_holds_it)
    (holder, idle) = (one, other) if one.holds else (other, one)
    holder.close()
    settled(log, idle, places=1)


def test_a_member_that_is_stopped_past_its_session_s_time_out_has_lost_its_partitions(log: Twin) -> None:
    """They are given to others while it is stopped, and it hears of it when it goes on."""
    topic = log.topic(3)
    stopped, other = log.stoppable_member("g", topic), log.member("g", [topic])
    said: list[Word] = []

    def both_hold() -> bool:
        said.extend(stopped.poll())
        other.poll()
        return bool(stopped.holds and other.holds and len(stopped.holds + other.holds) == 3)

    until(log, both_hold)
    lost = stopped.holds
    said.clear()
    stopped.stop()
    log.passes(log.session_ms)
    settled(log, other, places=3)
    assert said == []
    stopped.go_on()
    until(log, lambda: bool(heard(said, stopped)))
    assert said[0] == Lost(lost)
    until(log, both_hold)
