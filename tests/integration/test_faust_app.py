"""Faust's safe subset, on real Kafka and on librdkafka's broker: what is read, what is acknowledged, what never is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.embedded import EmbeddedBroker
from infra.publisher import Publisher, Unreachable
from infra.runners.books import Raw, dead_letter
from infra.runners.faust_app import FaustStage, NotCarried, transport_of
from infra.runners.kafka import KafkaSettings
from infra.runners.maps import Mapped
from infra.runners.stall import StallWatch
from infra.topics import apply
from schemas.events import Unreadable
from schemas.topics import partition_of
from tests.conftest import StartKafka
from tests.integration.test_publisher import eventually
from tests.integration.test_topics import give_grants

PARTITIONS = 3
Handle = Callable[[Raw], Awaitable[Mapped]]


@pytest.fixture
def real(kafka: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings({"bootstrap.servers": kafka}, prefix=topic_prefix, partitions=PARTITIONS)
    apply(AdminClient(dict(settings.client)), settings)
    return settings


@pytest.fixture
def embedded() -> Iterator[KafkaSettings]:
    with EmbeddedBroker(prefix="faust.", partitions=PARTITIONS) as broker:
        yield broker.settings


@pytest.fixture(
    params=[pytest.param("embedded", marks=pytest.mark.local), pytest.param("real", marks=pytest.mark.kafka)]
)
def settings(request: pytest.FixtureRequest) -> KafkaSettings:
    found: KafkaSettings = request.getfixturevalue(request.param)
    return found


@dataclass
class Bench:
    """Starts stages, and keeps what they were given and why they would have left the process."""

    settings: KafkaSettings
    publisher: Publisher
    seen: list[Raw] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    stages: list[FaustStage] = field(default_factory=list)

    async def start(self, handle: Handle | None = None, publisher: Any = None, **more: Any) -> FaustStage:
        stage = FaustStage(
            self.settings,
            more.pop("role", "intake"),
            more.pop("reads", "alerts"),
            more.pop("writes", "signals"),
            handle or self.note,
            publisher or self.publisher,
            die=self.died.append,
            **more,
        )
        await stage.start()
        self.stages.append(stage)
        await asyncio.wait_for(stage.ready.wait(), 30)
        return stage

    async def close(self) -> None:
        for stage in self.stages:
            await stage.stop()
        await self.publisher.close()

    async def note(self, raw: Raw) -> Mapped:
        self.seen.append(raw)
        return Mapped()

    @property
    def values(self) -> list[bytes | None]:
        return [raw.value for raw in self.seen]

    async def write(self, *values: bytes, topic: str = "alerts", partition: int = 0) -> None:
        for value in values:
            await self.publisher.publish(topic, "c", value, partition)

    async def committed(self, partition: int = 0, group: str = "intake", topic: str = "alerts") -> int:
        """The group's acknowledged position; 0 where it has acknowledged nothing."""
        name = self.settings.prefix + group
        place = TopicPartition(self.settings.topic(topic), partition)

        def ask() -> int:
            consumer = Consumer({**self.settings.client, "group.id": name})
            try:
                return max(0, consumer.committed([place], 15)[0].offset)
            finally:
                consumer.close()

        return await asyncio.to_thread(ask)

    async def committed_becomes(self, offset: int, partition: int = 0, **more: str) -> None:
        async with asyncio.timeout(20):
            while await self.committed(partition, **more) != offset:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    def written(self, topic: str) -> list[tuple[int, bytes | None]]:
        """(partition, key) of every record on a topic."""
        consumer = self.settings.consumer()
        try:
            name = self.settings.topic(topic)
            numbers = list(consumer.list_topics(name, 10).topics[name].partitions)
            consumer.assign([TopicPartition(name, n, 0) for n in numbers])
            found, ended = [], 0
            while ended < len(numbers):
                for message in consumer.consume(100, 0.5):
                    if message.error() is None:
                        found.append((message.partition() or 0, message.key()))
                    else:
                        ended += 1
            return found
        finally:
            consumer.close()


@pytest.fixture
async def bench(settings: KafkaSettings) -> AsyncIterator[Bench]:
    async with _bench(settings) as made:
        yield made


@pytest.fixture
async def real_bench(real: KafkaSettings) -> AsyncIterator[Bench]:
    async with _bench(real) as made:
        yield made


@asynccontextmanager
async def _bench(settings: KafkaSettings) -> AsyncIterator[Bench]:
    made = Bench(settings, Publisher(settings))
    try:
        yield made
    finally:
        await made.close()


def answer(raw: Raw, cluster_id: str) -> Any:
    return dead_letter("intake", raw, Unreadable("x", "of a test"), cluster_id)


async def test_a_record_comes_as_it_was_written_a_tombstone_and_junk_included(bench: Bench) -> None:
    await bench.start()
    await bench.write(b"\xc3\x01junk", b"", topic="alerts", partition=1)
    await eventually(lambda: len(bench.seen) == 2)
    first = bench.seen[0]
    assert (first.topic, first.partition, first.offset) == ("alerts", 1, 0)
    assert (first.key, first.value) == (b"c", b"\xc3\x01junk")
    assert first.at_ms > 1_600_000_000_000
    producer = Producer(dict(bench.settings.client))
    producer.produce(bench.settings.topic("alerts"), None, None, 1)
    await asyncio.to_thread(producer.flush, 10)
    await eventually(lambda: len(bench.seen) == 3)
    assert (bench.seen[2].key, bench.seen[2].value) == (None, None)
    await bench.committed_becomes(3, 1)
    assert bench.died == []


@pytest.mark.kafka
async def test_a_record_of_an_aborted_transaction_is_never_seen(real_bench: Bench) -> None:
    bench, real = real_bench, real_bench.settings
    await bench.start()
    producer = Producer({**real.client, "transactional.id": f"{real.prefix}writer"})

    def transact(value: bytes, commit: bool) -> None:
        producer.begin_transaction()
        producer.produce(real.topic("alerts"), value, b"c", 0)
        producer.flush(10)
        if commit:
            producer.commit_transaction(10)
        else:
            producer.abort_transaction(10)

    await asyncio.to_thread(producer.init_transactions, 30)
    for number in range(10):
        await asyncio.to_thread(transact, b"aborted", False)
        await asyncio.to_thread(transact, b"committed %d" % number, True)
    await eventually(lambda: len(bench.seen) >= 10)
    assert bench.values == [b"committed %d" % number for number in range(10)]
    await bench.committed_becomes(39)  # 20 records and 20 markers, the last of them not crossed


async def test_markers_of_transactions_do_not_stop_it(bench: Bench) -> None:
    await bench.start()
    producer = Producer({**bench.settings.client, "transactional.id": f"{bench.settings.prefix}writer"})
    await asyncio.to_thread(producer.init_transactions, 30)
    for number in range(5):
        producer.begin_transaction()
        producer.produce(bench.settings.topic("alerts"), b"%d" % number, b"c", 0)
        await asyncio.to_thread(producer.commit_transaction, 10)
    await eventually(lambda: len(bench.seen) == 5)
    assert bench.died == []


async def test_what_comes_of_a_record_is_on_its_own_clusters_partition_before_it_is_acknowledged(bench: Bench) -> None:
    clusters = [f"cluster-{n}" for n in range(6)]

    async def handle(raw: Raw) -> Mapped:
        return Mapped(
            events=tuple(answer(raw, name) for name in clusters), dead=(answer(raw, "cluster-0"), answer(raw, "b"))
        )

    await bench.start(handle)
    await bench.write(b"x")
    await bench.committed_becomes(1)
    found = await asyncio.to_thread(bench.written, "signals")
    assert sorted(found) == sorted((partition_of(name, PARTITIONS), name.encode()) for name in clusters)
    assert await asyncio.to_thread(bench.written, "dead-letters.intake") == [(0, b"cluster-0"), (0, b"b")]


async def test_a_handler_that_raises_acknowledges_nothing_and_the_process_is_left(bench: Bench) -> None:
    async def handle(raw: Raw) -> Mapped:
        bench.seen.append(raw)
        if raw.value == b"two":
            raise RuntimeError("a bug of ours")
        return Mapped()

    stage = await bench.start(handle)
    await bench.write(b"one", b"two", b"three")
    await eventually(lambda: bench.died)
    assert "a bug of ours" in bench.died[0]
    assert "alerts/0@1" in bench.died[0]
    await bench.committed_becomes(1)
    await asyncio.sleep(1.5)  # a commit interval, in which Faust alone would have acknowledged it
    assert await bench.committed() == 1
    await stage.stop()
    assert await bench.committed() == 1, "nor does an orderly end"
    assert bench.values == [b"one", b"two"], "and nothing was taken after it"

    bench.seen.clear()
    await bench.start()
    await eventually(lambda: len(bench.seen) == 2)
    assert bench.values == [b"two", b"three"], "the next process is given it again"
    await bench.committed_becomes(3)


async def test_what_is_cut_off_by_a_stop_is_not_acknowledged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.runners.faust_app.STOP_WAIT_S", 0.2)

    async def handle(raw: Raw) -> Mapped:
        bench.seen.append(raw)
        await asyncio.Event().wait()
        raise AssertionError

    stage = await bench.start(handle)
    await bench.write(b"one", b"two")
    await eventually(lambda: bench.seen)
    await stage.stop()
    assert await bench.committed() == 0
    assert bench.died == []


async def test_what_is_in_flight_at_a_stop_is_finished_and_acknowledged(bench: Bench) -> None:
    async def handle(raw: Raw) -> Mapped:
        bench.seen.append(raw)
        await asyncio.sleep(0.5)
        return Mapped(events=(answer(raw, "c"),))

    stage = await bench.start(handle)
    await bench.write(b"one", b"two")
    await eventually(lambda: bench.seen)
    await stage.stop()
    assert bench.values == [b"one"]
    assert await bench.committed() == 1
    assert len(await asyncio.to_thread(bench.written, "signals")) == 1


class Flaky:
    """The world's trouble, and then the real publisher."""

    def __init__(self, real: Publisher, troubles: int) -> None:
        self.real, self.troubles, self.asked = real, troubles, 0

    async def publish(self, topic: str, key: str, value: bytes, partition: int | None = None) -> tuple[int, int, int]:
        self.asked += 1
        if self.asked <= self.troubles:
            raise Unreachable("of a test")
        return await self.real.publish(topic, key, value, partition)


async def test_an_unreachable_broker_is_tried_again_in_place_and_nothing_is_acknowledged_meanwhile(
    bench: Bench,
) -> None:
    async def handle(raw: Raw) -> Mapped:
        bench.seen.append(raw)
        return Mapped(events=(answer(raw, "c"),))

    flaky = Flaky(bench.publisher, 3)
    await bench.start(handle, flaky)
    await bench.write(b"one", b"two")
    await eventually(lambda: flaky.asked == 3)
    assert await bench.committed() == 0
    await bench.committed_becomes(2)
    assert bench.values == [b"one", b"two"], "handled once, published until it was taken"
    assert bench.died == []


async def test_with_isolated_partitions_a_slow_record_holds_up_only_its_own(bench: Bench) -> None:
    going_on = asyncio.Event()

    async def handle(raw: Raw) -> Mapped:
        if raw.value == b"slow":
            await going_on.wait()
        return await bench.note(raw)

    await bench.start(handle, isolated=True)
    await bench.write(b"slow", b"behind it", partition=0)
    await bench.write(b"other", partition=1)
    await eventually(lambda: bench.values == [b"other"])
    await bench.committed_becomes(1, 1)
    assert await bench.committed(0) == 0
    going_on.set()
    await eventually(lambda: bench.values == [b"other", b"slow", b"behind it"])
    await bench.committed_becomes(2, 0)


async def test_two_stages_in_one_process_hand_on_to_each_other(bench: Bench) -> None:
    async def first(raw: Raw) -> Mapped:
        return Mapped(events=(answer(raw, "c"),))

    await bench.start(first)
    await bench.start(role="validate", reads="signals", writes="validations")
    await bench.write(*(b"%d" % n for n in range(50)))
    await eventually(lambda: len(bench.seen) == 50)
    assert {raw.topic for raw in bench.seen} == {"signals"}


async def test_when_faust_itself_gives_up_the_process_is_left(bench: Bench) -> None:
    stage = await bench.start()
    await stage._app.consumer.crash(RuntimeError("Faust's own trouble"))
    await eventually(lambda: bench.died)
    assert "Faust stopped" in bench.died[0]


async def test_what_was_read_and_thrown_away_before_the_first_commit_is_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust goes back to what is committed; where nothing is, that is the beginning."""
    monkeypatch.setattr("infra.runners.faust_app.COMMIT_INTERVAL_S", 60.0)
    stage = await bench.start()
    await bench.write(b"one", b"two")
    await eventually(lambda: len(bench.seen) == 2)
    await stage._app.consumer.perform_seek()
    await eventually(lambda: len(bench.seen) == 4)
    assert bench.values == [b"one", b"two"] * 2


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.runners.faust_app.STALL_LOOK_S", 1.0)
    monkeypatch.setattr("infra.runners.faust_app.STEP_S_MAX", 1.5)


@pytest.mark.usefixtures("quick")
async def test_a_handler_that_hangs_is_left_and_acknowledges_nothing(bench: Bench) -> None:
    async def handle(raw: Raw) -> Mapped:
        await asyncio.Event().wait()
        raise AssertionError

    await bench.start(handle, isolated=True)
    await bench.write(b"one", partition=1)
    await eventually(lambda: bench.died)
    assert bench.died == ["intake: the record of partition 1 has been in one step for 1.5 s"]
    assert await bench.committed(1) == 0


class Silent:
    """A client that lost the message, and its report."""

    async def publish(self, topic: str, key: str, value: bytes, partition: int | None = None) -> tuple[int, int, int]:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.usefixtures("quick")
async def test_a_publish_that_hangs_is_left_and_acknowledges_nothing(bench: Bench) -> None:
    async def handle(raw: Raw) -> Mapped:
        return Mapped(events=(answer(raw, "c"),))

    await bench.start(handle, Silent())
    await bench.write(b"one")
    await eventually(lambda: bench.died)
    assert bench.died == ["intake: the record of partition 0 has been in one step for 1.5 s"]
    assert await bench.committed() == 0


@pytest.mark.usefixtures("quick")
async def test_a_broker_that_is_unreachable_for_long_is_no_hang(bench: Bench) -> None:
    async def handle(raw: Raw) -> Mapped:
        return Mapped(events=(answer(raw, "c"),))

    flaky = Flaky(bench.publisher, 4)  # 0.5 + 1 + 2 + 4 s, each attempt anew
    await bench.start(handle, flaky)
    await bench.write(b"one")
    await bench.committed_becomes(1)
    assert flaky.asked == 5
    assert bench.died == []


@pytest.mark.usefixtures("quick")
async def test_a_record_that_faust_does_not_deliver_is_noticed_and_the_process_left(bench: Bench) -> None:
    stage = await bench.start()
    await bench.write(b"one")
    await bench.committed_becomes(1)
    stage._app.flow_control.suspend()
    await bench.write(b"two")
    await eventually(lambda: bench.died)
    assert bench.died[0] == "intake: stalled: alerts/0@1 waits and is not delivered"
    assert bench.values == [b"one"]


async def test_what_only_a_slow_broker_hides_is_still_looked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.write(b"one")
    watch = StallWatch(bench.settings, "intake", "alerts")
    try:
        with monkeypatch.context() as slow:
            slow.setattr("infra.runners.stall.READ_S", 0.0)
            assert await asyncio.to_thread(watch.waiting, {0}, {}) is None
        assert await asyncio.to_thread(watch.waiting, {0}, {}) == (0, 0)
        assert await asyncio.to_thread(watch.waiting, {0}, {0: 1}) is None
    finally:
        watch.close()


async def test_what_another_member_has_answered_meanwhile_does_not_wait(bench: Bench) -> None:
    """A partition went away and has come back: what was answered here before says less than what is committed."""
    for body in (b"one", b"two", b"three"):
        await bench.write(body)
    group = bench.settings.consumer(**{"group.id": f"{bench.settings.prefix}intake"})
    place = TopicPartition(bench.settings.topic("alerts"), 0, 3)
    await asyncio.to_thread(group.commit, offsets=[place], asynchronous=False)
    watch = StallWatch(bench.settings, "intake", "alerts")
    try:
        assert await asyncio.to_thread(watch.waiting, {0}, {0: 1}) is None
    finally:
        watch.close()
        group.close()


async def test_markers_of_transactions_are_not_taken_for_records_that_wait(bench: Bench) -> None:
    producer = Producer({**bench.settings.client, "transactional.id": f"{bench.settings.prefix}writer"})
    await asyncio.to_thread(producer.init_transactions, 30)
    producer.begin_transaction()
    producer.produce(bench.settings.topic("alerts"), b"one", b"c", 0)
    await asyncio.to_thread(producer.commit_transaction, 10)
    watch = StallWatch(bench.settings, "intake", "alerts")
    try:
        assert await asyncio.to_thread(watch.waiting, {0}, {0: 1}) is None
    finally:
        watch.close()


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.kafka
async def test_nothing_is_lost_while_members_come_and_go(real_bench: Bench, isolated: bool) -> None:
    bench = real_bench

    async def handle(raw: Raw) -> Mapped:
        await asyncio.sleep(0.002)
        return await bench.note(raw)

    async def write() -> None:
        for number in range(600):
            await bench.write(b"%d" % number, partition=number % PARTITIONS)
            await asyncio.sleep(0.01)

    first = await bench.start(handle, isolated=isolated)
    writing = asyncio.create_task(write())
    await asyncio.sleep(1)
    await bench.start(handle, isolated=isolated)
    await asyncio.sleep(2)
    await first.stop()
    await asyncio.sleep(1)
    await bench.start(handle, isolated=isolated)
    await writing
    for partition in range(PARTITIONS):
        await bench.committed_becomes(200, partition)
    times = Counter(bench.values)
    assert set(times) == {b"%d" % number for number in range(600)}
    assert bench.died == []


@pytest.mark.kafka
async def test_it_lives_on_what_the_table_of_grants_gives_its_role(own_kafka: StartKafka, topic_prefix: str) -> None:
    broker = own_kafka(users=("intake", "gateway"))
    admin = AdminClient(broker.client_config())

    def settings_of(user: str) -> KafkaSettings:
        return KafkaSettings(broker.client_config(user), prefix=topic_prefix, partitions=PARTITIONS)

    apply(admin, KafkaSettings(broker.client_config(), prefix=topic_prefix, partitions=PARTITIONS))
    give_grants(admin, topic_prefix)
    gateway, writer = Publisher(settings_of("gateway")), Publisher(settings_of("intake"))
    bench = Bench(settings_of("intake"), gateway)

    async def handle(raw: Raw) -> Mapped:
        return Mapped(events=(answer(raw, "c"),), dead=(answer(raw, "c"),))

    try:
        await bench.start(handle, writer)
        await bench.write(b"x")
        await bench.committed_becomes(1)
    finally:
        await bench.close()
        await writer.close()


@pytest.mark.kafka
async def test_a_broker_that_is_gone_does_not_hold_up_an_end(own_kafka: StartKafka, topic_prefix: str) -> None:
    broker = own_kafka()
    settings = KafkaSettings(broker.client_config(), prefix=topic_prefix, partitions=PARTITIONS)
    apply(AdminClient(dict(settings.client)), settings)
    bench = Bench(settings, Publisher(settings))
    await bench.start()
    await bench.write(b"x")
    await eventually(lambda: bench.seen)
    broker.kill()
    async with asyncio.timeout(25):
        await bench.close()


def test_settings_are_carried_to_fausts_transport_or_named() -> None:
    scram = transport_of(
        {
            "bootstrap.servers": "k1:9093, SSL://[::1]:9094",
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "intake",
            "sasl.password": "secret",
            "socket.timeout.ms": 1000,
        }
    )
    assert scram["broker"] == ["kafka://k1:9093", "kafka://[::1]:9094"]
    credentials = scram["broker_credentials"]
    assert (credentials.username, credentials.password) == ("intake", "secret")
    assert (credentials.protocol.value, credentials.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert credentials.ssl_context.check_hostname
    assert transport_of({"bootstrap.servers": "k"}) == {"broker": ["kafka://k"]}
    with pytest.raises(NotCarried, match=r"ssl\.keystore\.location"):
        transport_of({"bootstrap.servers": "k", "security.protocol": "ssl", "ssl.keystore.location": "x"})
    with pytest.raises(NotCarried, match="GSSAPI"):
        transport_of({"bootstrap.servers": "k", "security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"})
