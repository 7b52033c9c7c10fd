"""All of Steward on one machine for some minutes: an embedded broker, a simulated cluster, credentials made at start.

The configuration is made here and read from nowhere, so nothing of it can point at a cluster of anybody's. Only this
composition may act over the embedded broker: it hands the executor the simulated cluster that it has made itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bootstrap.processes import ACTING, APART, OBSERVING, run_roles
from bootstrap.production import production_hands
from bootstrap.roles import Hands
from console.keys import make_key, make_token, write_secret
from infra.embedded import EmbeddedBroker
from infra.settings import Settings, parse
from pdsim.http import Served, serve
from pdsim.model import Cluster
from pdsim.world import Timing

CLUSTER = "demo-1"
PERSON = "scripted-anna"
GROUPS = {"observe": OBSERVING, "act": ACTING, "execute": APART}
KEEP_S = 60
PREFIX, PARTITIONS = "demo.", 2
POLICY: dict[str, Any] = {
    "actions": {"evict_store_leaders": {"mode": "on", "canary": [CLUSTER]}},
    "limits": {"settling_s": 20, "pd_leader_age_s_min": 20, "cooldown_s": 0},
}


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stack:
    """What the story needs to know of the running demo."""

    directory: Path
    served: Served
    settings: Settings
    user_token: str
    gateway_token: str
    children: dict[str, BaseProcess] = field(default_factory=dict)

    @property
    def console(self) -> str:
        return self.settings.console.address()

    @property
    def gateway(self) -> str:
        return f"http://{self.settings.gateway.listen}"

    def dead_children(self) -> list[str]:
        return [name for name, child in self.children.items() if not child.is_alive()]


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Stack]:
    """Start everything in `directory`, and stop it all again, by its own pid."""
    cluster = Cluster.healthy(
        cluster_id=secrets.randbelow(2**62) + 1,
        stores=5,
        regions=200,
        now=time.time(),
        timing=Timing(store_heartbeat_s=1, region_heartbeat_s=1),
    )
    with EmbeddedBroker(PREFIX, PARTITIONS) as broker, serve(cluster) as served:
        given = configuration(directory, cluster.id, served.url, broker.bootstrap)
        stack = Stack(
            directory,
            served,
            parse(given),
            (directory / "token").read_text().strip(),
            (directory / "gateway-token").read_text().strip(),
        )
        try:
            for name, roles in GROUPS.items():
                stack.children[name] = _child(name, roles, given, directory)
            yield stack
        finally:
            for child in reversed(list(stack.children.values())):
                child.terminate()
            for child in stack.children.values():
                child.join(20)
                if child.is_alive():
                    child.kill()


def configuration(directory: Path, pd_cluster_id: int, pd: str, bootstrap_servers: str) -> dict[str, Any]:
    """The demo's own configuration; every secret in it is made here and dies with the directory."""
    write_secret(directory / "token", make_token())
    write_secret(directory / "gateway-token", make_token())
    write_secret(directory / "console-key.json", json.dumps(make_key()))
    listening = {name: f"127.0.0.1:{_port()}" for name in ("gateway", "console", "observe", "act", "execute")}
    return {
        "environment": "demo",
        "kafka": {"bootstrap": bootstrap_servers, "topic_prefix": PREFIX, "partitions": PARTITIONS},
        "clusters": {
            CLUSTER: {"alert_labels": {"env": CLUSTER}, "pd": [pd], "pd_cluster_id": pd_cluster_id, "tier": 1}
        },
        "clickhouse": {"url": f"chdb:{directory / 'audit'}"},
        "gateway": {"listen": listening["gateway"], "token": f"file:{directory / 'gateway-token'}"},
        "console": {
            "listen": listening["console"],
            "users": {PERSON: f"file:{directory / 'token'}"},
            "signing_key": f"file:{directory / 'console-key.json'}",
        },
        "execution": {"poll_s": 1},
        "playbook": {"keep_s": KEEP_S},
        "incidents": {"close_after_s": 5},
        "metrics": {name: listening[name] for name in ("observe", "act", "execute")},
        "policy": POLICY,
    }


def _child(name: str, roles: Sequence[str], given: Mapping[str, Any], directory: Path) -> BaseProcess:
    child = multiprocessing.get_context("spawn").Process(
        target=_run, args=(roles, dict(given), str(directory / f"{name}.log")), name=name
    )
    child.start()
    return child


def _run(roles: Sequence[str], given: Mapping[str, Any], log: str) -> None:
    """One process of the demo. Its output goes to a file: the story has the terminal."""
    from infra.telemetry import set_up_logging

    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    set_up_logging(roles[0])
    settings = parse(given)

    def hands(controls: Any, mode_max: str) -> Hands:
        made = production_hands(settings, roles, controls, mode_max)
        return replace(made, mode_max="on")  # over a broker that forgets, but on a cluster that is not one

    asyncio.run(run_roles(settings, roles, hands))
