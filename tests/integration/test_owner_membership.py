"""What the group gives and takes away before a role has got round to it: a real member, on librdkafka's broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.embedded import EmbeddedBroker
from infra.runners.kafka import KafkaControls
from infra.runners.roles import OwnerRole
from streams.incidents import Incidents
from streams.pipeline import processor
from tests.integration.test_publisher import eventually

pytestmark = pytest.mark.local

Rebalanced = Callable[[Consumer, list[TopicPartition]], None]


class ChangesItsMind(Consumer):
    """A member to whose group it happens that a partition is taken away in the very poll that has brought it."""

    how = ""

    def subscribe(self, topics: list[str], **called: Rebalanced) -> None:  # type: ignore[override]
        assigned, gone = called["on_assign"], called[self.how]

        def both(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            assigned(consumer, partitions)
            gone(consumer, [p for p in partitions if p.partition == 0])

        super().subscribe(topics, **{**called, "on_assign": both})


class Revokes(ChangesItsMind):
    how = "on_revoke"


class Loses(ChangesItsMind):
    how = "on_lost"


@asynccontextmanager
async def running(broker: EmbeddedBroker, member: Callable[[dict[str, Any]], Consumer]) -> AsyncIterator[OwnerRole]:
    controls = KafkaControls(broker.settings)
    role = OwnerRole(
        processor("incidents"), Incidents(), broker.settings, controls, name="test", build="test", member=member
    )
    task = asyncio.ensure_future(role.run())
    try:
        yield role
    finally:
        await role.stop()
        await task
        await asyncio.to_thread(controls.close)


async def ready(role: OwnerRole, partition: int) -> None:
    """Partitions are taken over in their order: with this one, those before it have been."""
    await eventually(lambda: partition in role.owners and role.owners[partition].ready.is_set())


async def test_what_the_group_gives_is_taken_over() -> None:
    with EmbeddedBroker("m.", 2) as broker:
        async with running(broker, Consumer) as role:
            await ready(role, 1)
            await ready(role, 0)


@pytest.mark.parametrize("member", [Revokes, Loses])
async def test_what_is_taken_away_before_it_was_handed_on_is_not_taken_over(member: type[ChangesItsMind]) -> None:
    with EmbeddedBroker("m.", 2) as broker:
        async with running(broker, member) as role:
            await ready(role, 1)
            assert set(role.owners) == {1}
