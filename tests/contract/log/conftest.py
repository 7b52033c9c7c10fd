"""The twins: the model, librdkafka's broker, a real Kafka that others use too, and one of the suite's own to break.

A case that a twin is known to fail says so, and why, with `@differs(embedded="...")`: it has to fail there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from infra.embedded import EmbeddedBroker
from infra.local import kafka as local_kafka
from tests.contract.log.modelled import ModelTwin
from tests.contract.log.over_kafka import EmbeddedTwin, KafkaTwin, OwnKafkaTwin
from tests.contract.log.twin import CantDo, Twin
from tests.simulation.errors import LogError

REAL = pytest.param("kafka", marks=pytest.mark.kafka)
OWN = pytest.param("own-kafka", marks=pytest.mark.kafka)


@pytest.fixture(scope="session")
def embedded_log() -> Iterator[tuple[EmbeddedBroker, list[str]]]:
    with EmbeddedBroker(topics=EmbeddedTwin.TOPICS) as broker:
        yield broker, list(EmbeddedTwin.TOPICS)


@pytest.fixture(scope="session")
def kafka_to_break() -> Iterator[local_kafka.LocalKafka]:
    if reason := local_kafka.missing():
        pytest.skip(reason)
    with local_kafka.LocalKafka() as broker:
        yield broker


@pytest.fixture(params=["model", "embedded", REAL])
def log(request: pytest.FixtureRequest) -> Iterator[Twin]:
    """A log to write and to read."""
    with ExitStack() as stack:
        yield _made(request, stack)


@pytest.fixture(params=["model", OWN])
def breakable_log(request: pytest.FixtureRequest) -> Iterator[Twin]:
    """A log that the case may stop or damage."""
    with ExitStack() as stack:
        yield _made(request, stack)


def _made(request: pytest.FixtureRequest, stack: ExitStack) -> Twin:
    """Under a prefix of the case's own."""
    name, prefix = request.param, f"log-{secrets.token_hex(4)}."
    _expect(request, name)
    if name == "model":
        return ModelTwin()
    if name == "embedded":
        broker, left = request.getfixturevalue("embedded_log")
        return stack.enter_context(closing(EmbeddedTwin(broker, prefix, left)))
    if name == "kafka":
        return stack.enter_context(closing(KafkaTwin(request.getfixturevalue("kafka"), prefix)))
    return stack.enter_context(closing(OwnKafkaTwin(request.getfixturevalue("kafka_to_break"), prefix)))


def _expect(request: pytest.FixtureRequest, twin: str) -> None:
    for mark in request.node.iter_markers("differs"):
        if reason := mark.kwargs.get(twin):
            failing = (AssertionError, pytest.fail.Exception, LogError, CantDo)
            request.applymarker(pytest.mark.xfail(reason=reason, raises=failing, strict=True))
