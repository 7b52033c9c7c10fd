"""The model of the log by itself: what no real broker can be made to do on demand, and that it is deterministic.

What it has in common with a real one is shown in tests/contract/log/.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.simulation.clients import End, Reader
from tests.simulation.errors import Abortable, Fenced, Misused, NotYet, TimedOut
from tests.simulation.groups import GroupMetadata
from tests.simulation.log import Cluster
from tests.simulation.members import Assigned, Lost, Revoked
from tests.simulation.partitions import Place, Record
from tests.simulation.producers import TransactionalProducer

ROOT = Path(__file__).resolve().parents[2]
A, B = ("a", 0), ("a", 1)


def cluster() -> Cluster:
    return Cluster({"a": 2})


def started(log: Cluster, transactional_id: str = "t", timeout_ms: int = 60_000) -> TransactionalProducer:
    producer = log.producer(log.link(), transactional_id, timeout_ms)
    producer.init_transactions(log.now_ms)
    producer.begin_transaction()
    return producer


def values(log: Cluster, place: Place, committed_only: bool = True) -> list[bytes | None]:
    reader = log.reader(log.link(), committed_only=committed_only)
    reader.assign({place: 0})
    return [one.value for one in reader.poll(1000, log.now_ms) if isinstance(one, Record)]


def test_a_commit_whose_answer_is_lost_was_done() -> None:
    log = cluster()
    link = log.link()
    producer = log.producer(link, "t")
    producer.init_transactions(0)
    producer.begin_transaction()
    producer.produce(A, None, b"x")
    producer.flush(0)
    link.cut(0, after=1)
    with pytest.raises(TimedOut):
        producer.commit_transaction(1)
    assert values(log, A) == [b"x"]
    with pytest.raises(TimedOut):
        producer.commit_transaction(2)
    with pytest.raises(Misused):
        producer.abort_transaction(2)
    link.mend(3)
    producer.commit_transaction(3)
    producer.begin_transaction()


def test_a_commit_that_did_not_arrive_was_not_done_until_it_is_said_again() -> None:
    log = cluster()
    link = log.link()
    producer = log.producer(link, "t")
    producer.init_transactions(0)
    producer.begin_transaction()
    producer.produce(A, None, b"x")
    producer.flush(0)
    link.cut(0)
    with pytest.raises(TimedOut):
        producer.commit_transaction(1)
    assert values(log, A) == []
    link.mend(2)
    producer.commit_transaction(2)
    assert values(log, A) == [b"x"]


def test_a_commit_that_did_not_arrive_is_too_late_once_a_successor_is_there() -> None:
    log = cluster()
    link = log.link()
    producer = log.producer(link, "t")
    producer.init_transactions(0)
    producer.begin_transaction()
    producer.produce(A, None, b"x")
    producer.flush(0)
    link.cut(0)
    with pytest.raises(TimedOut):
        producer.commit_transaction(1)
    started(log)
    link.mend(2)
    with pytest.raises(Fenced):
        producer.commit_transaction(2)
    assert values(log, A) == []


def test_a_producer_that_was_fenced_is_of_no_use_any_more() -> None:
    log = cluster()
    zombie = started(log)
    zombie.produce(A, None, b"x")
    started(log)
    with pytest.raises(Fenced):
        zombie.flush(0)
    for call in (
        zombie.begin_transaction,
        lambda: zombie.produce(A, None, b"y"),
        lambda: zombie.init_transactions(0),
        lambda: zombie.abort_transaction(0),
    ):
        with pytest.raises(Fenced):
            call()


@pytest.mark.parametrize("arrived", [1, 2])
def test_what_was_written_without_an_answer_is_not_written_twice(arrived: int) -> None:
    """One request adds the partition to the transaction, the other writes."""
    log = cluster()
    link = log.link()
    producer = log.producer(link, "t")
    producer.init_transactions(0)
    producer.begin_transaction()
    producer.produce(A, None, b"x")
    link.cut(0, after=arrived)
    with pytest.raises(TimedOut):
        producer.flush(0)
    assert log.partition(A).end == arrived - 1
    link.mend(1)
    (record,) = producer.flush(1)
    assert (record.offset, log.partition(A).end) == (0, 1)


def test_a_publish_without_an_answer_may_be_there_and_repeated_is_there_twice() -> None:
    log = cluster()
    link = log.link()
    producer = log.plain_producer(link)
    link.cut(0)
    with pytest.raises(TimedOut):
        producer.publish(A, None, b"never", 0)
    link.cut(0, after=1)
    with pytest.raises(TimedOut):
        producer.publish(A, None, b"written", 0)
    link.mend(1)
    assert producer.publish(A, None, b"written", 1).offset == 1
    producer.publish(A, None, b"by the client", 1, times=2)
    assert values(log, A) == [b"written", b"written", b"by the client", b"by the client"]


def test_a_publish_that_is_slow_arrives_after_what_came_later() -> None:
    """Its client has been told that it timed out, and somebody has done it over from elsewhere."""
    log = cluster()
    link = log.link()
    link.stall(0)
    with pytest.raises(TimedOut):
        log.plain_producer(link).publish(A, None, b"freeze", 0)
    log.plain_producer(log.link()).publish(A, None, b"lift", 10)
    link.arrive(20)
    assert values(log, A) == [b"lift", b"freeze"]
    assert log.partition(A).entries[-1].record == Record("a", 0, 1, 20, None, b"freeze")


def test_a_commit_that_is_slow_arrives_after_its_producer_is_dead_or_too_late() -> None:
    log = cluster()
    for place, fenced, seen in ((A, False, [b"x"]), (B, True, [])):
        link, name = log.link(), f"t-{place[1]}"
        producer = log.producer(link, name)
        producer.init_transactions(log.now_ms)
        producer.begin_transaction()
        producer.produce(place, None, b"x")
        producer.flush(log.now_ms)
        link.stall(log.now_ms)
        with pytest.raises(TimedOut):
            producer.commit_transaction(log.now_ms)
        assert values(log, place) == []
        if fenced:
            started(log, name)
        link.arrive(log.now_ms + 50)
        assert values(log, place) == seen


def test_what_is_under_way_when_a_link_is_mended_is_lost() -> None:
    log = cluster()
    link = log.link()
    producer = log.plain_producer(link)
    link.stall(0)
    with pytest.raises(TimedOut):
        producer.publish(A, None, b"x", 0)
    link.mend(1)
    link.arrive(1)
    assert values(log, A) == []
    producer.publish(A, None, b"y", 1)


@pytest.mark.parametrize("arrived", [0, 1])
def test_an_abort_ends_also_what_may_have_begun(arrived: int) -> None:
    log = cluster()
    link = log.link()
    producer = log.producer(link, "t", 60_000)
    producer.init_transactions(0)
    producer.begin_transaction()
    producer.produce(A, None, b"x")
    link.cut(0, after=arrived)
    with pytest.raises(TimedOut):
        producer.flush(0)
    link.mend(1)
    producer.abort_transaction(1)
    assert log.coordinator.known["t"].state == "none"
    producer.begin_transaction()
    producer.produce(A, None, b"y")
    producer.commit_transaction(2)
    assert values(log, A) == [b"y"]


def test_nobody_may_have_looked_when_a_transaction_is_past_its_time_out() -> None:
    log = cluster()
    log.reaper_is_late(400)
    late, later = started(log, "late", 1000), started(log, "later", 1000)
    for producer in (late, later):
        producer.produce(A, None, producer.id.encode())
        producer.flush(0)
    late.commit_transaction(1399)
    with pytest.raises(Fenced):
        later.commit_transaction(1400)
    assert values(log, A) == [b"late"]


def test_a_reader_may_take_up_further_partitions() -> None:
    log = cluster()
    for place in (A, B):
        log.plain_producer(log.link()).publish(place, None, b"x", 0)
    reader = log.reader(log.link())
    reader.assign({A: 0})
    assert len(reader.poll(10, 0)) == 2
    reader.add({B: 0})
    assert [type(one) for one in reader.poll(10, 0)] == [Record, End]
    assert reader.positions == {A: 1, B: 1}


def test_a_reader_may_be_given_one_partition_before_the_other() -> None:
    log = cluster()
    for place in (A, B):
        log.plain_producer(log.link()).publish(place, None, b"x", 0)
    for first, second in ((A, B), (B, A)):
        reader = log.reader(log.link())
        reader.assign({A: 0, B: 0})
        found = reader.poll(1, 0, of=[first, second])
        assert {one.partition for one in found} == {first[1]}


def test_who_commits_outside_of_transactions_has_to_belong_to_a_group_that_has_members() -> None:
    log = cluster()
    reader, member = log.reader(log.link()), log.member(log.link(), "g", ["a"])
    reader.commit(member.metadata(), {A: 1}, 0)
    member.poll(0)
    reader.commit(member.metadata(), {A: 2}, 0)
    with pytest.raises(Abortable):
        reader.commit(GroupMetadata("g"), {A: 3}, 0)
    assert reader.committed("g", [A, B], 0) == {A: 2, B: None}


def test_markers_are_written_one_by_one_and_until_the_last_one_the_id_begins_nothing_new() -> None:
    log = cluster()
    log.markers_take(lambda _, topic, partition: {A: 100, B: 300}.get((topic, partition), 200))
    producer = started(log)
    producer.produce(A, None, b"x")
    producer.produce(B, None, b"x")
    producer.send_offsets({("in", 0): 7}, log.member(log.link(), "g", ["a"]).metadata(), 0)
    producer.commit_transaction(0)
    reader = log.reader(log.link())
    seen = []
    for now_ms in (99, 100, 200, 300):
        log.advance(now_ms)
        try:
            offset = reader.committed("g", [("in", 0)], now_ms)[("in", 0)]
        except NotYet:
            offset = -1
        seen.append((values(log, A), values(log, B), offset))
        if now_ms == 200:
            producer.begin_transaction()
            producer.produce(A, None, b"y")
            with pytest.raises(NotYet):
                producer.flush(now_ms)
            with pytest.raises(NotYet):
                log.producer(log.link(), "t").init_transactions(now_ms)
    assert seen == [([], [], -1), ([b"x"], [], -1), ([b"x"], [], 7), ([b"x"], [b"x"], 7)]
    producer.commit_transaction(300)


def test_markers_may_be_written_before_they_are_due() -> None:
    log = cluster()
    log.markers_take(10_000)
    producer = started(log)
    producer.produce(A, None, b"x")
    producer.produce(B, None, b"x")
    producer.commit_transaction(0)
    log.settle(lambda marker: marker.target is log.partition(B))
    assert (values(log, A), values(log, B)) == ([], [b"x"])
    log.settle()
    assert values(log, A) == [b"x"]


def test_a_reader_that_is_cut_off_hears_nothing_and_misses_nothing() -> None:
    log = cluster()
    link = log.link()
    reader = log.reader(link)
    reader.assign({A: 0, B: 0})
    log.plain_producer(log.link()).publish(A, None, b"x", 0)
    link.cut(1)
    assert reader.poll(10, 2) == []
    link.cut(3, after=1)
    assert reader.poll(10, 3) == []
    link.mend(4)
    (record, *ends) = reader.poll(10, 4)
    assert isinstance(record, Record)
    assert record.value == b"x"
    assert ends == [End(*A, 1), End(*B, 0)]


def test_a_member_that_is_cut_off_finds_out_by_itself_when_its_session_is_over() -> None:
    log = cluster()
    link = log.link()
    one = log.member(link, "g", ["a"], session_ms=1000)
    assert one.poll(0) == Assigned((A, B))
    link.cut(500)
    assert one.poll(1400) is None
    assert one.poll(1600) == Lost((A, B))
    other = log.member(log.link(), "g", ["a"])
    assert other.poll(1600) == Assigned((A, B))
    was = one.metadata()
    link.mend(1700)
    assert one.poll(1700) is None
    assert other.poll(1700) == Revoked((A, B))
    other.gave_up(1700)
    assert other.poll(1700) == Assigned((A,))
    assert one.poll(1700) == Assigned((B,))
    assert (one.metadata().generation, was.generation) == (4, 1)


def test_a_rebalance_waits_for_who_does_not_come_until_it_is_thrown_out() -> None:
    log = cluster()
    one, other = (log.member(log.link(), "g", ["a"], rebalance_ms=5000) for _ in range(2))
    one.poll(0)
    assert other.poll(0) is None
    assert one.poll(1) == Revoked((A, B))
    assert (one.poll(4000), other.poll(4000)) == (None, None)
    assert other.poll(5000) == Assigned((A, B))
    one.gave_up(5001)
    assert one.poll(5001) is None, "it joins anew"


def test_while_no_broker_is_up_nothing_times_out() -> None:
    log = cluster()
    producer = started(log, timeout_ms=1000)
    producer.produce(A, None, b"x")
    producer.flush(0)
    member = log.member(log.link(), "g", ["a"], session_ms=10_000)
    member.poll(0)
    log.go_down(500)
    log.advance(9_000)
    with pytest.raises(TimedOut):
        producer.commit_transaction(9_000)
    assert log.partition(A).stable == 0
    log.come_back(9_500)
    assert log.partition(A).end == 2, "the transaction was past its time-out, and is aborted"
    assert member.poll(9_500) is None
    with pytest.raises(Fenced):
        producer.commit_transaction(9_500)


def test_append_times_are_the_broker_s_clock_s_which_may_jump() -> None:
    log = cluster()
    producer = log.plain_producer(log.link())
    assert producer.publish(A, None, b"x", 1000).at_ms == 1000
    log.clock_ahead_ms = -600
    assert producer.publish(A, None, b"x", 1001).at_ms == 401


def test_a_hung_transaction_of_a_foreign_producer_hides_what_comes_after_it() -> None:
    log = cluster()
    log.hang(A, "foreign", 0, timeout_ms=1000)
    log.plain_producer(log.link()).publish(A, None, b"x", 1)
    assert (values(log, A), log.partition(A).stable) == ([], 0)
    log.advance(1000)
    assert values(log, A) == [b"x"]


def test_a_judge_is_given_what_was_committed_on_every_topic_in_the_order_of_appending() -> None:
    log = Cluster({"b": 1, "a": 2})
    plain, b = log.plain_producer(log.link()), ("b", 0)
    aborted, late = started(log, "aborted"), started(log, "late")
    for number, place in enumerate((A, b, B, b, A)):
        plain.publish(place, None, b"%d" % number, 0)
    for producer in (aborted, late):
        producer.produce(B, None, b"in a transaction")
        producer.flush(0)
    aborted.abort_transaction(0)
    plain.publish(B, None, b"behind it", 0)
    plain.publish(b, None, b"last", 0)
    assert [record.value for record in log.records()] == [b"0", b"1", b"2", b"3", b"4", b"last"]
    late.commit_transaction(0)
    assert [record.value for record in log.records()][-3:] == [b"in a transaction", b"behind it", b"last"]


def test_who_waits_is_told_what_has_changed() -> None:
    log = cluster()
    log.markers_take(100)
    changed: list[str] = []
    log.on_change = lambda what: changed.append(what.label)

    def told() -> list[str]:
        found = changed.copy()
        changed.clear()
        return found

    producer = started(log)
    assert told() == []
    producer.produce(A, None, b"x")
    producer.flush(0)
    assert told() == ["a/0"]
    producer.send_offsets({B: 1}, GroupMetadata("g"), 0)
    producer.commit_transaction(0)
    assert told() == []
    log.advance(100)
    assert told() == ["a/0"]
    log.cut_head(A, 1)
    log.lose_tail(A, 1)
    assert told() == ["a/0", "a/0"]
    one, other = log.member(log.link(), "g", ["a"]), log.member(log.link(), "g", ["a"])
    one.poll(100)
    assert told() == ["g", "g"], "a rebalance began, and was completed"
    other.poll(100)
    assert told() == ["g"]


def test_it_is_known_when_time_alone_brings_something_about() -> None:
    log = cluster()
    assert log.next_due_ms() is None
    log.markers_take(100)
    producer = started(log, timeout_ms=1000)
    producer.produce(A, None, b"x")
    producer.flush(10)
    assert log.next_due_ms() == 1010
    producer.commit_transaction(20)
    assert log.next_due_ms() == 120
    log.advance(120)
    assert log.next_due_ms() is None
    link = log.link()
    member = log.member(link, "g", ["a"], session_ms=500, rebalance_ms=9000)
    member.poll(200)
    assert log.next_due_ms() is None
    link.cut(300)
    assert log.next_due_ms() == 800
    log.advance(800)
    assert log.group("g").members == {}
    log.member(log.link(), "g", ["a"]).poll(900)
    log.member(log.link(), "g", ["a"]).poll(1000)
    assert log.next_due_ms() == 10_000


# -- whole histories --------------------------------------------------------------------------------------------------


Batch = tuple[bool, list[bytes]]  # acknowledged, or not known; values
Seen = dict[Place, list[bytes]]


def history(seed: int, jumps: bool = False) -> tuple[Cluster, dict[Place, list[Batch]], Seen]:
    """Nine producers, replaced, cut off and late at random. What each tried to commit, and what somebody who read along
    has seen."""
    chance = Random(seed)
    log = Cluster({"a": 9})
    log.markers_take(lambda *_: chance.randrange(0, 40))
    places = [("a", number) for number in range(9)]
    tried: dict[Place, list[Batch]] = {place: [] for place in places}
    seen: Seen = {place: [] for place in places}
    reader = log.reader(log.link())
    reader.assign(dict.fromkeys(places, 0))
    links = [log.link() for _ in places]
    producers = [log.producer(link, f"t-{n}", 5000) for n, link in enumerate(links)]
    for place, producer in zip(places, producers, strict=True):
        producer.init_transactions(0)
        log.hang(place, f"foreign-{place[1]}", 0, 300)
    for now_ms in range(10, 10 + 60 * 9):
        at = chance.randrange(9)
        place, producer = places[at], producers[at]
        batch = [b"%d.%d" % (now_ms, n) for n in range(chance.randrange(1, 4))]
        try:
            producer.begin_transaction()
            for value in batch:
                producer.produce(place, b"k", value)
            producer.flush(now_ms, chance.randrange(0, 4))
            if chance.random() < 0.1:
                links[at].cut(now_ms, chance.randrange(0, 4))
            if chance.random() < 0.2:
                producer.abort_transaction(now_ms)
            else:
                tried[place].append((False, batch))
                producer.commit_transaction(now_ms)
                tried[place][-1] = (True, batch)
        except (NotYet, TimedOut):
            links[at].mend(now_ms)
            producers[at] = log.producer(links[at], f"t-{at}", 5000)
            try:
                producers[at].init_transactions(now_ms)
            except NotYet:
                log.settle()
                producers[at].init_transactions(now_ms)
        _read_along(reader, log, seen)
    if jumps:
        while (due_ms := log.next_due_ms()) is not None:
            log.advance(due_ms)
    for later_ms in range(log.now_ms, 7_000):
        log.advance(later_ms)
    while _read_along(reader, log, seen):
        pass
    return log, tried, seen


def _read_along(reader: Reader, log: Cluster, seen: Seen) -> bool:
    found = reader.poll(5, log.now_ms)
    for one in found:
        if isinstance(one, Record):
            seen[one.topic, one.partition].append(one.value or b"")
    return bool(found)


@pytest.mark.parametrize("seed", range(50))
def test_a_committed_reader_sees_whole_what_was_committed_once_and_in_order_and_nothing_else(seed: int) -> None:
    log, tried, seen = history(seed)
    unknown = 0
    for place, batches in tried.items():
        expected = [v for known, batch in batches if known or batch[0] in seen[place] for v in batch]
        assert seen[place] == expected == values(log, place)
        unknown += sum(not known for known, _ in batches)
    assert unknown


@pytest.mark.local
def test_the_same_calls_give_the_same_bytes_under_any_hash_seed() -> None:
    code = (
        "import hashlib\nfrom tests.simulation.test_log_model import history\n"
        "print(hashlib.sha256(history(7)[0].dump()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        ).stdout.strip()
        for hash_seed in (1, 2)
    }
    assert said == {hashlib.sha256(history(7)[0].dump()).hexdigest()}


@pytest.mark.parametrize("seed", range(5))
def test_nothing_happens_between_two_times_at_which_something_is_due(seed: int) -> None:
    assert history(seed, jumps=True)[0].dump() == history(seed)[0].dump()


def test_the_model_knows_no_clock_no_chance_and_no_world() -> None:
    modules = ("log", "partitions", "transactions", "groups", "clients", "producers", "members", "errors")
    imported = set()
    for name in modules:
        for node in ast.walk(ast.parse((Path(__file__).parent / f"{name}.py").read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    ours = {f"tests.simulation.{name}" for name in modules}
    assert imported - ours == {"__future__", "collections.abc", "contextlib", "dataclasses", "typing"}


def test_different_histories_give_different_bytes() -> None:
    assert history(7)[0].dump() != history(8)[0].dump()
