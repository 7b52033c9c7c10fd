"""A broker that is away for a while ends no owner: it is waited for, and what was decided is folded again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.embedded import EmbeddedBroker
from infra.publisher import Publisher
from infra.runners import kafka, owners
from infra.runners.kafka import KafkaSettings, passes, records_of
from infra.runners.roles import OwnerRole
from infra.topics import apply
from schemas.chain import edge
from schemas.controls import Controls
from schemas.events import AlertFired, TicketWritten
from schemas.processors import Fenced
from schemas.wire import decode, frame
from streams.incidents import Incidents
from streams.pipeline import processor
from streams.tickets import Tickets
from tests.conftest import StartKafka

pytestmark = pytest.mark.local


class NoControls:
    """`tickets` consults none."""

    def current(self) -> Controls:
        return Controls()

    async def read(self) -> Controls:
        return Controls()


@pytest.fixture
def settings() -> Iterator[KafkaSettings]:
    with EmbeddedBroker("waits.", 1) as broker:
        yield broker.settings


def tickets(settings: KafkaSettings) -> OwnerRole:
    line = processor("tickets")
    return OwnerRole(line, Tickets(), settings, NoControls(), name="test", build="test")


async def ready(role: OwnerRole, running: asyncio.Task[None], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not any(owner.ready.is_set() for owner in role.owners.values()):
            assert not running.done(), running.exception()
            await asyncio.sleep(0.02)


def failing(times: int, error: Exception, really: Callable[..., object]) -> Callable[..., object]:
    """As the client's call fails, and then no more."""
    left = [error] * times

    def call(*given: object) -> object:
        if left:
            raise left.pop()
        return really(*given)

    return call


@pytest.mark.parametrize("code", [KafkaError._UNKNOWN_PARTITION, KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
async def test_an_owner_that_can_not_restore_because_the_broker_is_away_waits_and_tries_again(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(owners, "AGAIN_S", 0.01)
    trouble = KafkaException(KafkaError(code))
    monkeypatch.setattr(kafka, "ends_of", failing(3, trouble, kafka.ends_of))
    role = tickets(settings)
    running = asyncio.create_task(role.run())

    await ready(role, running)

    await role.stop()
    await running


async def test_a_read_that_fails_while_it_works_restores_it_and_ends_nothing(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = tickets(settings)
    running = asyncio.create_task(role.run())
    await ready(role, running)
    first = role.owners[0]
    trouble = KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    monkeypatch.setattr(kafka, "records_of", failing(1, trouble, kafka.records_of))
    async with asyncio.timeout(30):
        while role.owners.get(0) in (first, None):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    await ready(role, running)
    await role.stop()
    await running


async def test_what_no_waiting_mends_still_ends_it(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    monkeypatch.setattr(kafka, "ends_of", failing(1, denied, kafka.ends_of))

    with pytest.raises(Fenced):
        async with asyncio.timeout(30):
            await tickets(settings).run()


def test_a_fatal_error_does_not_pass() -> None:
    assert not passes(KafkaError(KafkaError._TRANSPORT, "x", fatal=True))
    assert not passes(KafkaError(KafkaError._FENCED))
    assert not passes(KafkaError(KafkaError._AUTHENTICATION))


PAUSE_S = 25  # beyond the session, the transaction's time and the delivery's


@pytest.mark.kafka
async def test_a_broker_that_stands_still_for_25_s_ends_no_role_and_each_goes_on(
    own_kafka: StartKafka, topic_prefix: str
) -> None:
    broker = own_kafka()
    settings = KafkaSettings({**broker.client_config(), "log_level": 2}, topic_prefix, 2)
    apply(AdminClient(dict(settings.client)), settings)
    line = processor("incidents")
    made = [tickets(settings), OwnerRole(line, Incidents(), settings, NoControls(), name="test", build="test")]
    running = [asyncio.create_task(role.run()) for role in made]
    for role, task in zip(made, running, strict=True):
        await ready(role, task)

    broker.pause()
    await asyncio.sleep(PAUSE_S)
    broker.resume()

    for role, task in zip(made, running, strict=True):
        await ready(role, task, 120)
    signal = AlertFired(
        cluster_id="prod-eu-7", name="TiKV_server_is_down", fingerprint="f", starts_at_ms=1, level="critical", labels={}
    )
    publisher = Publisher(settings)
    made_one = edge(signal, "s1", 1)
    await publisher.publish("signals", "prod-eu-7", frame(AlertFired, made_one.body))
    await publisher.close()
    consumer = settings.consumer()
    consumer.assign([TopicPartition(settings.topic("tickets"), p, 0) for p in range(2)])
    async with asyncio.timeout(120):
        while True:
            found = [
                decode(r.value).event for r in records_of(await asyncio.to_thread(consumer.consume, 50, 0.5), settings)
            ]
            assert not any(task.done() for task in running)
            if any(isinstance(event, TicketWritten) for event in found):
                break
    consumer.close()
    for role in made:
        await role.stop()
    await asyncio.gather(*running)
