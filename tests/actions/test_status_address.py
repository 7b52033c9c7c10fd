"""Which status addresses of PD's are asked, and why the others are not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.status_address import Host, objection, parsed


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.4.4:20180", IPv4Address("10.0.4.4"), 20180),
        ("10.0.4.4:1", IPv4Address("10.0.4.4"), 1),
        ("10.0.4.4:65535", IPv4Address("10.0.4.4"), 65535),
        ("[fd00::4]:20180", IPv6Address("fd00::4"), 20180),
        ("[::ffff:10.0.4.4]:20180", IPv4Address("10.0.4.4"), 20180),
        ("tikv-4:20180", "tikv-4", 20180),
        ("db-tikv-0.db-tikv-peer.NS.svc:20180", "db-tikv-0.db-tikv-peer.ns.svc", 20180),
        ("10.tikv.example:20180", "10.tikv.example", 20180),
        ("localhost:20180", "localhost", 20180),
    ],
)
def test_what_a_host_and_a_port_are(address: str, host: Host, port: int) -> None:
    assert parsed(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["", "10.0.4.4", ":20180", "10.0.4.4:", "10.0.4.4:0", "10.0.4.4:020180", "10.0.4.4:65536", "10.0.4.4:99999",
     "10.0.4.4:201800", "10.0.4.4:-1", "10.0.4.4:+80", "10.0.4.4:8e3", "http://10.0.4.4:20180", "10.0.4.4:20180/",
     "10.0.4.4:20180/config", "10.0.4.4:20180?x", "10.0.4.4:20180#x", "u@10.0.4.4:20180", "u:p@10.0.4.4:20180",
     "10.0.4.4:20180@evil:80", "10.0.4.4\\@evil:80", " 10.0.4.4:20180", "10.0.4.4:20180\n", "10.0.4.4 :20180",
     "fd00::4:20180", "[fd00::4]", "[fd00::4", "[fd00::4]20180", "[10.0.4.4]:20180", "[fe80::1%eth0]:20180",
     "[fd00::4]:20180/x", "127.1:20180", "2130706433:20180", "0x7f000001:20180", "0x7f.1:20180", "0177.0.0.1:20180",
     "010.0.4.4:20180", "10.0.4.4.:20180", "10.0.4.256:20180", "tikv_4:20180", "-tikv:20180", "tikv-:20180",
     "tikv..x:20180", ".tikv:20180", "tikv.:20180", "tikv.4:20180", "tikv.0x4:20180", "ti%6bv:20180", "tikv,x:20180",
     "*:20180", f"{'a' * 64}:20180", f"{'a.' * 127}aa:20180", "\u0661\u0660.0.4.4:20180", "10.0.4.4:\u0662",
     "t\u0131kv:20180", "\uff54ikv:20180"],
)  # fmt: skip
def test_what_is_no_host_and_port(address: str) -> None:
    assert parsed(address) is None
    assert objection(address, "10.0.4.4:20160") is not None
    assert objection("10.0.4.4:20180", address) is not None


@given(st.text(max_size=40))
def test_what_is_read_has_nothing_in_it_that_leads_elsewhere(address: str) -> None:
    if parsed(address) is not None:
        assert not set(address) & set("@/\\?#% \t\r\n,;'\"")


@pytest.mark.parametrize(
    ("status", "store"),
    [
        ("10.0.4.4:20180", "10.0.4.4:20160"),
        ("[fd00::4]:20180", "[fd00:0::4]:20160"),
        ("TIKV-4.peer:20180", "tikv-4.peer:20160"),
        ("127.0.0.1:20180", "127.0.0.1:20160"),  # everything is on one host, which is the store's
        ("[::1]:20180", "[::1]:20160"),
        ("localhost:20180", "localhost:20160"),
        ("8.8.8.8:20180", "8.8.8.8:20160"),
    ],
)
def test_the_port_beside_the_store_s_own_is_asked(status: str, store: str) -> None:
    assert objection(status, store) is None


@pytest.mark.parametrize(
    ("status", "store", "code"),
    [
        ("", "10.0.4.4:20160", "no_status_address"),
        ("10.0.4.4", "10.0.4.4:20160", "status_address_odd"),
        ("10.0.4.4:20180", "10.0.4.4", "status_address_odd"),
        ("10.0.4.4:20160", "10.0.4.4:20160", "status_address_odd"),
        ("10.0.4.5:20180", "10.0.4.4:20160", "status_address_elsewhere"),
        ("tikv-4:20180", "10.0.4.4:20160", "status_address_elsewhere"),
        ("tikv-4.evil:20180", "tikv-4:20160", "status_address_elsewhere"),
        ("127.0.0.1:20180", "10.0.4.4:20160", "status_address_elsewhere"),
        ("localhost:20180", "10.0.4.4:20160", "status_address_elsewhere"),
        ("localhost:20180", "127.0.0.1:20160", "status_address_elsewhere"),
        ("[::1]:20180", "10.0.4.4:20160", "status_address_elsewhere"),
        ("169.254.169.254:80", "10.0.4.4:20160", "status_address_elsewhere"),
        ("169.254.169.254:80", "169.254.169.254:20160", "status_address_reserved"),
        ("[fe80::1]:20180", "[fe80::1]:20160", "status_address_reserved"),
        ("[fd00:ec2::254]:80", "[fd00:ec2::254]:20160", "status_address_reserved"),
        ("[::ffff:169.254.169.254]:80", "169.254.169.254:20160", "status_address_reserved"),
        ("0.0.0.0:20180", "0.0.0.0:20160", "status_address_reserved"),
        ("[::]:20180", "[::]:20160", "status_address_reserved"),
        ("224.0.0.1:20180", "224.0.0.1:20160", "status_address_reserved"),
        ("255.255.255.255:20180", "255.255.255.255:20160", "status_address_reserved"),
    ],
)
def test_why_another_is_not_asked(status: str, store: str, code: str) -> None:
    found = objection(status, store)
    assert found is not None
    assert found[0] == code


def test_an_odd_address_is_told_in_part() -> None:
    found = objection("x" * 1000, "10.0.4.4:20160")
    assert found == ("status_address_odd", f"the status address {'x' * 100!r} is no host:port")
    other = objection("10.0.4.4:20180", "x" * 1000)
    assert other == ("status_address_odd", f"the store's address {'x' * 100!r} is no host:port")
