"""A broker that is away for a while ends no owner: it is waited for, and what was decided is folded again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.embedded import EmbeddedBroker
from infra.runners import roles
from infra.runners.kafka import KafkaOwnLog, KafkaSettings, passes
from infra.runners.roles import OwnerRole
from schemas.controls import Controls
from schemas.processors import Fenced
from streams.pipeline import processor
from streams.tickets import Tickets

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
    return OwnerRole(line, Tickets(show_call=str), settings, NoControls(), name="test", build="test")


async def ready(role: OwnerRole, running: asyncio.Task[None], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not any(owner.ready.is_set() for owner in role.owners.values()):
            assert not running.done(), running.exception()
            await asyncio.sleep(0.02)


def failing(times: int, error: Exception, really: Callable[[KafkaOwnLog], object]) -> Callable[[KafkaOwnLog], object]:
    left = [error] * times

    def call(log: KafkaOwnLog) -> object:
        if left:
            raise left.pop()
        return really(log)

    return call


@pytest.mark.parametrize("code", [KafkaError._UNKNOWN_PARTITION, KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
async def test_an_owner_that_can_not_restore_because_the_broker_is_away_waits_and_tries_again(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(roles, "AGAIN_S", 0.01)
    trouble = KafkaException(KafkaError(code))
    monkeypatch.setattr(KafkaOwnLog, "_proven_end", failing(3, trouble, KafkaOwnLog._proven_end))
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
    really = KafkaOwnLog._read
    broken = [KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))]

    async def read(log: KafkaOwnLog, call: Callable[[], object]) -> object:
        def either() -> object:
            if broken:
                raise broken.pop()
            return call()

        return await really(log, either)

    monkeypatch.setattr(KafkaOwnLog, "_read", read)
    async with asyncio.timeout(30):
        while role.owners.get(0) in (first, None):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    await ready(role, running)
    await role.stop()
    await running


async def test_what_no_waiting_mends_still_ends_it(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    monkeypatch.setattr(KafkaOwnLog, "_proven_end", failing(1, denied, KafkaOwnLog._proven_end))

    with pytest.raises(Fenced):
        async with asyncio.timeout(30):
            await tickets(settings).run()


def test_a_fatal_error_does_not_pass() -> None:
    assert not passes(KafkaError(KafkaError._TRANSPORT, "x", fatal=True))
    assert not passes(KafkaError(KafkaError._FENCED))
    assert not passes(KafkaError(KafkaError._AUTHENTICATION))
