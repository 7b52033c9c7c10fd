"""How TiKV writes sizes and settings down, and what of that is believed."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.tikv_config import (
    CONFIG_BYTES_MAX,
    GIB,
    KEYS,
    KIB,
    MIB,
    NoSetting,
    Shown,
    bytes_of,
    ended,
    shown,
    size_text,
    version_of,
)

CACHE = "storage.block-cache.capacity"
MEANT = {"store_id": "4", "address": "10.0.4.4:20160", "status_address": "10.0.4.4:20180", "started_at_s": "1800000000"}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1),
        ("1025B", 1025),
        ("1KiB", KIB),
        ("1536KiB", 1536 * KIB),
        ("512MiB", 512 * MIB),
        ("8GiB", 8 * GIB),
        ("3TiB", 3 * 2**40),
        ("2PiB", 2**51),
        ("8PiB", 2**53),
    ],
)
def test_a_size_is_read_as_tikv_writes_it(text: str, size: int) -> None:
    assert bytes_of(text) == size
    assert size_text(size) == text


@given(st.integers(1, 2**53))
def test_every_size_has_one_spelling(size: int) -> None:
    assert bytes_of(size_text(size)) == size


@pytest.mark.parametrize(
    "text",
    ["", "0KiB", "0B", "8", "8GB", "8G", "8gib", "8 GiB", " 8GiB", "8GiB\n", "8.0GiB", "8.5GiB", "1e3MiB",
     "-8GiB", "+8GiB", "08GiB", "8192MiB", "1024KiB", "1024B", "45%", "8EiB", "9PiB", "9007199254740993B",
     "9223372036854775807B", "\u0668GiB", "8GiB8GiB", "GiB", "None"],
)  # fmt: skip
def test_another_spelling_is_unknown(text: str) -> None:
    assert bytes_of(text) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("8.5.4", (8, 5, 4)),
        ("v7.4.0", (7, 4, 0)),
        ("8.5.4-nightly", (8, 5, 4)),
        ("7.1.10-20240101-abc", (7, 1, 10)),
        ("", None),
        ("8.5", None),
        ("8.5.4.1", None),
        ("8.5.x", None),
        ("8.5.4 ", None),
        ("8.5.4-", None),
        ("vv8.5.4", None),
    ],
)
def test_a_version_is_three_numbers(text: str, version: tuple[int, int, int] | None) -> None:
    assert version_of(text) == version


def test_the_list_is_short_and_its_ranges_are_sane() -> None:
    assert CONFIG_BYTES_MAX == 2**20
    assert {k: (v.least, v.most, v.factor, v.only_down, v.unit) for k, v in KEYS.items()} == {
        CACHE: (GIB, 256 * GIB, 2, True, "bytes"),
        "server.snap-io-max-bytes-per-sec": (10 * MIB, GIB, 10, False, "bytes/s"),
        "rocksdb.rate-bytes-per-sec": (128 * MIB, 10 * GIB, 100, False, "bytes/s"),
    }


def test_nobody_can_widen_a_range_or_alter_what_was_shown() -> None:
    with pytest.raises(FrozenInstanceError):
        KEYS[CACHE].most = 2**60  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        shown(config(), CACHE).value = "1GiB"  # type: ignore[misc]


def config(**changed: Any) -> bytes:
    server = {"addr": "0.0.0.0:20160", "advertise-addr": "10.0.4.4:20160"} | changed.pop("server", {})
    return json.dumps({"server": server, "storage": {"block-cache": {"capacity": "8GiB"}}} | changed).encode()


def test_a_configuration_says_who_it_is_of() -> None:
    assert shown(config(), CACHE) == Shown("10.0.4.4:20160", "8GiB")
    assert shown(config(server={"advertise-addr": ""}), CACHE) == Shown("0.0.0.0:20160", "8GiB")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (config()[:40], "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "server.advertise-addr is missing"),
        (b"{}", "server.advertise-addr is missing"),
        (b'{"raftstore-proxy":{}}', "server.advertise-addr is missing"),  # TiFlash
        (config(server={"advertise-addr": None}), "server.advertise-addr is no text"),
        (config(storage={}), f"{CACHE} is missing"),
        (config(storage={"block-cache": "8GiB"}), f"{CACHE} is missing"),
        (config(storage={"block-cache": {"capacity": None}}), f"{CACHE} is no text"),
        (config(storage={"block-cache": {"capacity": 8}}), f"{CACHE} is no text"),
        (config(storage={"block-cache": {"capacity": {"a": 1}}}), f"{CACHE} is no text"),
        (config(storage={"block-cache": {"capacity": "x" * 301}}), f"{CACHE} is no text"),
        (config(storage={"block-cache": {"capacity": "\ud800"}}), f"{CACHE} is no UTF-8"),
    ],
)
def test_a_configuration_that_is_not_as_tikv_sends_it_is_none(body: bytes, says: str) -> None:
    with pytest.raises(NoSetting) as none:
        shown(body, CACHE)
    assert none.value.code == "tikv_malformed"
    assert says in str(none.value)


def test_a_value_is_as_long_as_300_characters_at_most() -> None:
    longest = "x" * 300
    assert shown(config(storage={"block-cache": {"capacity": longest}}), CACHE).value == longest


def test_of_what_is_not_json_the_beginning_is_told_whatever_it_is_made_of() -> None:
    with pytest.raises(NoSetting) as none:
        shown(b"\xff" * 70, CACHE)
    assert str(none.value) == f"GET /config: not JSON: {chr(0xFFFD) * 60!r}"


def store(**changed: Any) -> bytes:
    known = {"id": 4, "address": "10.0.4.4:20160", "status_address": "10.0.4.4:20180", "state_name": "Up"}
    return json.dumps({"store": known | {"start_timestamp": 1_800_000_000} | changed, "status": {}}).encode()


@pytest.mark.parametrize("state", ["Up", "Disconnected", "Down", "Offline"])
def test_a_process_is_still_there(state: str) -> None:
    assert ended(store(state_name=state), MEANT) == ""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (store(state_name="Tombstone"), "the store is a Tombstone"),
        (store(start_timestamp=1_800_000_001), "the store's start_timestamp was 1800000000, is 1800000001"),
        (store(start_timestamp=None), "the store's start_timestamp was 1800000000, is None"),
        (store(address="10.0.4.9:20160"), "the store's address was 10.0.4.4:20160, is 10.0.4.9:20160"),
        (store(status_address="10.0.4.4:80"), "the store's status_address was 10.0.4.4:20180, is 10.0.4.4:80"),
        (store(address="x" * 101), f"the store's address was 10.0.4.4:20160, is {'x' * 100}"),
        (b'"[PD:core:ErrStoreNotFound]store 4 not found"', "PD knows this store no more"),
    ],
)
def test_a_process_has_ended_or_moved(body: bytes, says: str) -> None:
    assert ended(body, MEANT) == says


@pytest.mark.parametrize(
    ("body", "says"),
    [
        *((body, "GET /store: not JSON") for body in (b"", b"404 page not found", b"[" * 100_000)),
        *((b, "GET /store: not about store 4") for b in (b"null", b'"x"', b"{}", b'{"store":[]}', store(id=5))),
    ],
)
def test_an_answer_about_another_store_or_none_tells_nothing(body: bytes, says: str) -> None:
    with pytest.raises(NoSetting) as none:
        ended(body, MEANT)
    assert none.value.code == "pd_malformed"
    assert str(none.value) == says
