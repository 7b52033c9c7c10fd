"""The edges' producer: acknowledged with its place, or Unreachable in time, and the loop goes on meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from infra.embedded import EmbeddedBroker
from infra.publisher import Publisher, Refused, Unreachable
from infra.runners.kafka import KafkaSettings
from schemas.topics import partition_of

pytestmark = pytest.mark.local

T = TypeVar("T")
NOBODY = "127.0.0.1:1"


async def eventually(look: Callable[[], T], within_s: float = 20) -> T:
    """What `look` answers, as soon as that is true."""
    async with asyncio.timeout(within_s):
        while not (found := look()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    with EmbeddedBroker(prefix="pub.", partitions=7) as broker:
        made = Publisher(broker.settings, delivery_timeout_s=3)
        yield made
        await made.close()


async def test_a_publish_tells_where_the_record_is(publisher: Publisher) -> None:
    first = await publisher.publish("signals", "prod-eu-7", b"one")
    second = await publisher.publish("signals", "prod-eu-7", b"two")
    assert first[0] == second[0] == partition_of("prod-eu-7", 7)
    assert second[1] == first[1] + 1
    assert second[2] >= first[2] > 1_600_000_000_000


async def test_a_topic_with_one_partition_has_only_that_and_a_named_partition_wins(publisher: Publisher) -> None:
    assert (await publisher.publish("controls", "prod-eu-7", b"x"))[0] == 0
    assert (await publisher.publish("dead-letters.intake", "prod-eu-7", b"x"))[0] == 0
    assert (await publisher.publish("alerts", "prod-eu-7", b"x", 5))[0] == 5


async def test_a_thousand_at_once_are_all_acknowledged_at_different_places(publisher: Publisher) -> None:
    places = await asyncio.gather(*(publisher.publish("alerts", f"c{n}", b"x") for n in range(1000)))
    assert len({(partition, offset) for partition, offset, _ in places}) == 1000


async def test_nobody_there_is_unreachable_in_time_and_the_loop_goes_on() -> None:
    publisher = Publisher(KafkaSettings({"bootstrap.servers": NOBODY, "log_level": 0}), delivery_timeout_s=1)
    loop = asyncio.get_running_loop()
    slowest = 0.0

    async def tick() -> None:
        nonlocal slowest
        while True:
            asked = loop.time()
            await asyncio.sleep(0.01)
            slowest = max(slowest, loop.time() - asked)

    ticking = asyncio.create_task(tick())
    began = loop.time()
    with pytest.raises(Unreachable, match=f"Kafka at {NOBODY}: "):
        await publisher.publish("alerts", "prod-eu-7", b"x")
    assert loop.time() - began < 3
    ticking.cancel()
    assert slowest < 0.5
    await publisher.close()
    with pytest.raises(Unreachable):
        await publisher.publish("alerts", "prod-eu-7", b"x")


async def test_a_record_that_no_broker_takes_is_refused_not_unreachable(publisher: Publisher) -> None:
    with pytest.raises(Refused, match=r"Kafka at 127\.0\.0\.1:\d+: "):
        await publisher.publish("alerts", "prod-eu-7", b"x" * 3_000_000)
    assert await publisher.publish("alerts", "prod-eu-7", b"x"), "and the next one is written"


async def test_a_client_that_never_reports_is_unreachable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivery reports come by the polling thread alone: without it nobody would ever hear of anything."""
    monkeypatch.setattr("infra.publisher._SILENCE_S_MAX", 0.5)
    publisher = Publisher(KafkaSettings({"bootstrap.servers": NOBODY, "log_level": 0}), delivery_timeout_s=0.5)
    publisher._closing.set()
    publisher._thread.join()
    async with asyncio.timeout(5):
        with pytest.raises(Unreachable, match="said nothing of it within 1 s"):
            await publisher.publish("alerts", "prod-eu-7", b"x")
    await publisher.close()
