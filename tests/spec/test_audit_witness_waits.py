"""Who asks the audit waits for its own answer alone, and a server that hangs holds up one thread of nobody else's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from infra.clickhouse.witness import AuditWitness
from infra.runners.books import Witnessed


class Answering:
    """infra.clickhouse.store.Store, as far as it is asked."""

    def __init__(self, takes: Callable[[], object]) -> None:
        self.takes = takes
        self.threads: list[int] = []

    def query(self, *_: Any) -> Any:
        self.threads.append(threading.get_ident())
        self.takes()
        return SimpleNamespace(rows=[("c", (7, "ab" * 32, 9, "cd" * 32))])


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def witness_of(store: Answering, within_s: float) -> AuditWitness:
    return AuditWitness(store, within_s)  # type: ignore[arg-type]


async def test_an_audit_that_answers_each_is_not_taken_for_away_because_many_ask() -> None:
    """As a process does that takes over sixteen partitions."""
    witness = witness_of(Answering(lambda: time.sleep(0.05)), within_s=0.5)
    said = await asyncio.gather(*(witness.tails("outcomes", n, 0) for n in range(16)))
    assert said == [{"c": Witnessed(7, b"\xab" * 32, 9, b"\xcd" * 32)}] * 16


async def test_nobody_waits_behind_a_question_that_gets_no_answer(hang: threading.Event) -> None:
    store = Answering(lambda: hang.wait(20))
    witness = witness_of(store, within_s=0.3)
    began_s = time.monotonic()
    assert await asyncio.gather(*(witness.tails("outcomes", n, 0) for n in range(16))) == [None] * 16
    assert await witness.audited("c") == 0
    assert time.monotonic() - began_s < 2
    assert len(store.threads) == 1


async def test_an_audit_that_answers_again_is_asked_again(hang: threading.Event) -> None:
    witness = witness_of(Answering(lambda: hang.wait(20)), within_s=0.3)
    assert await witness.tails("outcomes", 0, 0) is None
    hang.set()
    for _ in range(500):  # until the thread has ended
        if said := await witness.tails("outcomes", 0, 0):
            break
        await asyncio.sleep(0.01)
    assert said


async def test_an_audit_that_hangs_takes_no_thread_that_looks_up_the_name_of_a_pd(hang: threading.Event) -> None:
    """httpx resolves on the loop's default threads: as many of those as there may be, and one more."""
    witness = witness_of(Answering(lambda: hang.wait(20)), within_s=0.02)
    for _ in range(40):
        await witness.audited("c")
    async with asyncio.timeout(5):
        await asyncio.to_thread(lambda: None)
