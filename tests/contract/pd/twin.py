"""One PD to ask, real or simulated, and a clock to wait by: what lets the same case run against all of them."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from bootstrap.production import tls
from infra.settings import Secret

PREFIX = "/pd/api/v1"
ONLY_READ = "PD_WRITES=1 is not set: the real PD is only read"


@dataclass
class Twin:
    """`sleep` passes time in its own way: a virtual clock's is free. Paths are below /pd/api/v1."""

    name: str
    client: httpx.Client
    sleep: Callable[[float], None]

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(PREFIX + path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        return self.client.post(PREFIX + path, json=json, **more)

    def delete(self, path: str, **more: Any) -> httpx.Response:
        return self.client.request("DELETE", PREFIX + path, **more)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.client.request(method, PREFIX + path, **more)

    def root(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def until(self, true: Callable[[], bool], within_s: float = 15.0) -> bool:
        """Ask until it is true or the time is over; whether it became true."""
        waited = 0.0
        while not true():
            if waited >= within_s:
                return False
            self.sleep(0.1)
            waited += 0.1
        return True

    # What a case needs to know of the cluster at hand

    def stores(self) -> list[dict[str, Any]]:
        """The Up stores, by id."""
        listed: list[dict[str, Any]] = self.get("/stores").json()["stores"]
        return sorted((s for s in listed if s["store"]["state_name"] == "Up"), key=lambda s: s["store"]["id"])

    def store_id(self) -> int:
        return int(self.stores()[0]["store"]["id"])

    def leader_count(self, store_id: int) -> int:
        return int(self.get(f"/store/{store_id}").json()["status"]["leader_count"])

    def region(self) -> dict[str, Any]:
        """A settled region: led, three voters, no operator."""
        for region in self.get("/regions/key", params={"limit": "64"}).json()["regions"]:
            roles = [peer["role_name"] for peer in region["peers"]]
            settled = region["leader"].get("store_id") and roles == ["Voter"] * 3
            if settled and self.get(f"/operators/{region['id']}").status_code == 500:
                return dict(region)
        raise AssertionError("the cluster has no settled region")

    def follower(self, region: dict[str, Any]) -> int:
        """A store with a voter that does not lead."""
        return int(next(p["store_id"] for p in region["peers"] if p["store_id"] != region["leader"]["store_id"]))

    def outsider(self, region: dict[str, Any]) -> int:
        """An Up store without a peer of the region."""
        held = {peer["store_id"] for peer in region["peers"]}
        return int(next(s["store"]["id"] for s in self.stores() if s["store"]["id"] not in held))

    def leader_of(self, region_id: int) -> int | None:
        leader = self.get(f"/region/id/{region_id}").json()["leader"].get("store_id")
        return None if leader is None else int(leader)


@contextmanager
def at(name: str, url: str, *, writes: bool = True, verify: ssl.SSLContext | None = None) -> Iterator[Twin]:
    """The PD at a URL; without `writes` a case that would send anything but a GET is skipped before it does."""
    hooks: list[Callable[..., Any]] = [] if writes else [_only_read]
    with httpx.Client(
        base_url=url, timeout=10, trust_env=False, verify=verify or True, event_hooks={"request": hooks}
    ) as client:
        yield Twin(name, client, real_sleep)


def real() -> AbstractContextManager[Twin]:
    """The PD at PD_URL, with the certificates in the directory PD_TLS where it asks for some."""
    there = os.environ.get("PD_TLS")
    context = tls(Secret.parse(f"dir:{there}"), "PD_TLS") if there else None
    return at("real", os.environ["PD_URL"], writes=os.environ.get("PD_WRITES") == "1", verify=context)


def _only_read(request: httpx.Request) -> None:
    if request.method != "GET":
        pytest.skip(ONLY_READ)


def real_sleep(seconds: float) -> None:
    time.sleep(seconds)
