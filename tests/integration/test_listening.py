"""An address that somebody else listens on is a wrong configuration: its field and port are named, first of all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.commands import up
from bootstrap.processes import may_listen
from infra.settings import ConfigError, Settings, parse

pytestmark = pytest.mark.local


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def settings(**more: Any) -> Settings:
    anywhere = {"listen": "127.0.0.1:0"}
    metrics = dict.fromkeys(("observe", "act", "execute"), "127.0.0.1:0")
    given = {"gateway": anywhere, "console": anywhere, "metrics": metrics, "kafka": {"bootstrap": "127.0.0.1:1"}}
    return parse({"environment": "test", **given, **more})


@pytest.mark.parametrize(
    ("field", "more", "role"),
    [
        ("gateway.listen", {"gateway": {"listen": "127.0.0.1:PORT"}}, "gateway"),
        ("console.listen", {"console": {"listen": "127.0.0.1:PORT"}}, "console"),
        ("metrics.act", {"metrics": {"act": "127.0.0.1:PORT", "observe": "127.0.0.1:0"}}, "propose"),
        ("metrics.execute", {"metrics": {"execute": "127.0.0.1:PORT"}}, "execute"),
    ],
)
def test_a_port_that_is_taken_is_named_with_its_field(field: str, more: Any, role: str, taken: int) -> None:
    there = {s: {k: v.replace("PORT", str(taken)) for k, v in keys.items()} for s, keys in more.items()}

    with pytest.raises(ConfigError) as error:
        may_listen(settings(**there), [role])

    assert error.value.field == field
    assert f"127.0.0.1:{taken}: " in error.value.reason
    assert "in use" in error.value.reason


@pytest.mark.parametrize("embedded", [False, True])
def test_a_second_up_on_a_host_names_every_port_and_starts_nothing(embedded: bool, taken: int) -> None:
    both = settings(gateway={"listen": f"127.0.0.1:{taken}"}, metrics={"execute": f"127.0.0.1:{taken}"})

    with pytest.raises(ConfigError) as error:
        up(both, embedded)

    assert {p.field for p in error.value.problems} >= {"gateway.listen", "metrics.execute"}


def test_one_address_for_two_is_refused_too_and_a_free_one_is_left_free() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one, two = {"listen": f"127.0.0.1:{port}"}, {"listen": f"127.0.0.1:{port}"}

    may_listen(settings(gateway=one), ["gateway"])
    may_listen(settings(gateway=one), ["gateway"])
    with pytest.raises(ConfigError, match=r"console\.listen"):
        may_listen(settings(gateway=one, console=two), ["gateway", "console"])
