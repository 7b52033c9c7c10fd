"""May the status address that PD names for a store be asked? Pure: only its text is judged, nothing is resolved.

PD repeats whatever a store said when it registered, and so may whoever can write to PD. What is allowed is the port of
another service on the very host that the store itself serves on; who answers there is asked before anything is sent.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?")  # ends in no number: 127.1 is none
_PARTS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9.-]{1,253})):(?P<port>[1-9][0-9]{0,4})")
_METADATA = IPv6Address("fd00:ec2::254")

Host = IPv4Address | IPv6Address | str


def parsed(address: str) -> tuple[Host, int] | None:
    """`host:port` as (host, port); IPv6 in brackets. None: anything else, such as a user, a path or `0x7f.1`."""
    found = _PARTS.fullmatch(address)
    if found is None or (port := int(found["port"])) > 65535:
        return None
    try:
        if found["v6"]:
            six = IPv6Address(found["v6"])
            return six.ipv4_mapped or six, port
        if re.fullmatch(r"[0-9.]+", found["host"]):
            return IPv4Address(found["host"]), port
    except ValueError:
        return None
    return (found["host"].lower(), port) if _NAME.fullmatch(found["host"]) else None


def objection(status_address: str, store_address: str) -> tuple[str, str] | None:
    """(code, text) of why it is not asked, or None. Loopback is the store's own host only where the store serves there
    too, which makes it ours as well."""
    if not status_address:
        return "no_status_address", "PD names no status address"
    if (status := parsed(status_address)) is None:
        return "status_address_odd", f"the status address {status_address[:100]!r} is no host:port"
    if (store := parsed(store_address)) is None:
        return "status_address_odd", f"the store's address {store_address[:100]!r} is no host:port"
    host = status[0]
    if host != store[0]:
        text = f"the status address {status_address} is on another host than the store's {store_address}"
        return "status_address_elsewhere", text
    if not isinstance(host, str) and _is_for_other_uses(host):
        return "status_address_reserved", f"no store serves on {status_address}: it is for other uses"
    if status == store:
        return "status_address_odd", f"the status address {status_address} is the one that the store serves on"
    return None


def _is_for_other_uses(host: IPv4Address | IPv6Address) -> bool:
    reserved = host.is_reserved and not host.is_loopback
    return reserved or host.is_link_local or host.is_multicast or host.is_unspecified or host == _METADATA
