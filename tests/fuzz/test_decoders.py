"""No decoder crashes, hangs or takes unbounded memory on 2,000 bad inputs; what `make fuzz` has found stays mended."""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from tests.fuzz.decoders import DECODERS, Decoder
from tests.fuzz.mutations import mutated

INPUTS = 2_000
HANGS_AFTER_S = 10.0
MEMORY_MAX = 32 << 20  # bytes, and so many a byte of input:
MEMORY_OF_A_BYTE = 200
FOUND = Path(__file__).parent / "found"
of_each = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refusal(decoder: Decoder, data: bytes) -> str | None:
    """None where it was taken. Anything but a decoder's own errors goes through to the test."""
    try:
        with within(HANGS_AFTER_S):
            decoder.decode(data)
    except decoder.errors as error:
        return str(error)
    return None


@of_each
def test_good_inputs_are_taken(decoder: Decoder) -> None:
    """But for a header that the signature is not of."""
    for data in decoder.seeds() if decoder.name != "approval-header" else ():
        decoder.decode(data)


@of_each
def test_bad_inputs_are_refused_in_words_and_nothing_else_happens(decoder: Decoder) -> None:
    refused = 0
    decoder.decode(decoder.seeds()[0])  # what is made once
    tracemalloc.start()
    try:
        for data in mutated(decoder.seeds(), INPUTS, decoder.name):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            reason = refusal(decoder, data)
            assert reason is None or reason.strip(), f"refused without a word: {data[:200]!r}"
            refused += reason is not None
            took = tracemalloc.get_traced_memory()[1] - before
            assert took < MEMORY_MAX + MEMORY_OF_A_BYTE * len(data), f"{took} bytes for {data[:200]!r}"
    finally:
        tracemalloc.stop()
    assert not decoder.errors or refused > INPUTS / 10  # else these inputs were none


@pytest.mark.parametrize("case", sorted(FOUND.glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_what_was_found_is_refused(case: Path) -> None:
    assert refusal(DECODERS[case.parent.name], case.read_bytes()) != ""
