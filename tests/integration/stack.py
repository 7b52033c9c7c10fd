"""A whole Steward for tests: real processes of the real command line, on a broker, against a simulated cluster.

Made as a user makes it: `steward init`, then the file is edited. Everything listens on free loopback ports, and every
secret is made by `init` and dies with the test's directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from infra.local.process import ServerProcess, free_port
from pdsim.faults import Faults
from pdsim.http import Served, serve
from pdsim.model import Cluster
from pdsim.world import Timing

T = TypeVar("T")
CLUSTER = "prod-eu-7"
PERSON = "anna"
COMMAND = (sys.executable, "-m", "console.cli")
CALL_S = 60.0  # how long one call of the command line may take on a busy machine
UP_S = 90.0
PROCESSES = {"gateway": "observe", "propose": "act", "execute": "execute"}  # a role of each


ALERT = Path(__file__).parents[1] / "data" / "alertmanager" / "PD_cluster_slow_tikv_nums-firing.json"


def acting(keep_s: int) -> str:
    """Configuration for evictions that really happen, kept for so long, and on record."""
    return f"""\
[clickhouse]
url = "chdb:audit"
[execution]
poll_s = 0.5
[playbook]
keep_s = {keep_s}
[incidents]
close_after_s = 2
[policy.actions.evict_store_leaders]
mode = "on"
canary = ["{CLUSTER}"]
[policy.limits]
settling_s = 5
pd_leader_age_s_min = 0
cooldown_s = 0
"""


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def alive(pid: int) -> bool:
    """Runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(what: str, found: Callable[[], T | None], within_s: float, otherwise: Callable[[], str] = lambda: "") -> T:
    """What `found` gives once it gives something true. Looks often, and says what it waited for."""
    ends = time.monotonic() + within_s
    while True:
        if value := found():
            return value
        if time.monotonic() > ends:
            raise AssertionError(f"{what}: not within {within_s:g} s\n{otherwise()}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Said:
    """What a command has said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Running:
    """`steward up`, or `steward run`, in the background."""

    server: ServerProcess

    @property
    def pid(self) -> int:
        return self.server.pid

    @property
    def log(self) -> str:
        return self.server.log.read_text(errors="replace")

    def children(self) -> dict[str, int]:
        """The pids of those that it supervises now, by name."""
        found: dict[str, int] = {}
        with contextlib.suppress(OSError):
            for pid in map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()):
                with contextlib.suppress(OSError):
                    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                    if "run" in arguments:
                        roles = arguments[arguments.index("run") + 1 :]
                        found |= {name: pid for role, name in PROCESSES.items() if role in roles}
        return found

    def terminate(self, within_s: float = 60) -> int:
        """SIGTERM; the exit code."""
        process = self.server._process
        process.send_signal(signal.SIGTERM)
        return process.wait(within_s)

    def stop(self) -> None:
        """However it stands, it and its children are gone afterwards."""
        pids = list(self.children().values())
        self.server.stop(60)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)


@dataclass
class Stack:
    """One configuration, the cluster that it names, and the command line over it."""

    directory: Path
    config: Path
    served: Served
    faults: Faults
    prefix: str
    listening: dict[str, str]
    background: list[Running] = field(default_factory=list)

    # the command line

    def steward(self, *arguments: str, given: bytes = b"", timeout_s: float = CALL_S, **over: str) -> Said:
        """One command, as the person whom `init` made; `over` are variables of the environment."""
        ran = subprocess.run(
            [*COMMAND, "--config", str(self.config), *arguments],
            input=given,
            capture_output=True,
            timeout=timeout_s,
            env=self.environment | over,
            cwd=self.directory,
        )
        return Said(ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    def answer(self, *arguments: str) -> Any:
        """The JSON of a command that has to succeed."""
        said = self.steward(*arguments, "--json")
        assert said.code == 0, f"steward {' '.join(arguments)}: exit {said.code}\n{said.out}\n{said.err}"
        return said.json()

    @property
    def environment(self) -> dict[str, str]:
        plain = {k: v for k, v in os.environ.items() if not k.startswith("STEWARD_")}
        return plain | {"STEWARD_TOKEN": self.secret(f"token-{PERSON}")}

    def secret(self, name: str) -> str:
        return (self.directory / "secrets" / name).read_text().strip()

    def all_secrets(self) -> list[str]:
        """What nothing may ever print: tokens, and the private part of the signing key."""
        key = json.loads(self.secret("console-key.json"))
        return [self.secret(f"token-{PERSON}"), self.secret("gateway-token"), key["d"]]

    # processes

    def up(self, *arguments: str, **over: str) -> Running:
        return self.start("up", *arguments, **over)

    def start(self, *arguments: str, **over: str) -> Running:
        """A command that lasts. Its log is in the test's directory."""
        log = self.directory / f"{arguments[0]}-{len(self.background)}.log"
        command = [*COMMAND, "--config", str(self.config), *arguments]
        running = Running(ServerProcess(command, log, env=self.environment | over))
        self.background.append(running)
        return running

    def stop(self) -> None:
        for running in reversed(self.background):
            running.stop()
        self.background.clear()

    def until(self, what: str, found: Callable[[], T | None], within_s: float = 60) -> T:
        """As the function; a server that is not there yet is waited for, one of ours that has ended is not."""

        def look() -> T | None:
            if ended := [r for r in self.background if not r.server.running]:
                raise AssertionError(f"while waiting for {what}: ended by itself\n{ended[0].log[-4000:]}")
            try:
                return found()
            except httpx.TransportError:
                return None

        return until(what, look, within_s, self.logs)

    def logs(self) -> str:
        return "\n".join(f"--- {r.server.log.name}\n{r.server.log_tail(60)}" for r in self.background)

    # what listens

    def url(self, name: str, path: str = "") -> str:
        return f"http://{self.listening[name]}{path}"

    def http(self, name: str, path: str) -> httpx.Response:
        return httpx.get(self.url(name, path), timeout=10, trust_env=False)

    def console(self, path: str, **params: Any) -> Any:
        """What the console's API says; None where it says no."""
        headers = {"Authorization": f"Bearer {self.secret(f'token-{PERSON}')}"}
        reply = httpx.get(self.url("console", path), params=params, headers=headers, timeout=10, trust_env=False)
        return reply.json() if reply.status_code == 200 else None

    def post_alerts(self, body: Mapping[str, Any]) -> httpx.Response:
        """To the gateway, as Alertmanager does."""
        headers = {"Authorization": f"Bearer {self.secret('gateway-token')}"}
        url = self.url("gateway", "/api/v1/alerts")
        return httpx.post(url, json=body, headers=headers, timeout=30, trust_env=False)

    def alert(self, status: str, starts: str) -> httpx.Response:
        """Alertmanager's body, as it was recorded, but of this cluster and of now."""
        body = json.loads(ALERT.read_text())
        body["status"] = status
        (alert,) = body["alerts"]
        for labels in (alert["labels"], body["commonLabels"], body["groupLabels"]):
            labels["env"] = CLUSTER
        alert |= {"status": status, "startsAt": starts} | ({"endsAt": now_text()} if status == "resolved" else {})
        return self.post_alerts(body)

    def wait_until_up(self, within_s: float = UP_S) -> None:
        """The console has read the log, the gateway reaches Kafka, and acting and executing say that they run."""
        self.until("the console", lambda: self.http("console", "/healthz").status_code == 200, within_s)
        self.until("the gateway", lambda: self.http("gateway", "/readyz").status_code == 200, within_s)
        self.until("acting", lambda: self.roles_up("act"), within_s)
        self.until("executing", lambda: self.roles_up("execute"), within_s)

    def roles_up(self, name: str) -> dict[str, float]:
        """Role -> 1 while it runs, as the process' own metrics say."""
        text = self.http(name, "/metrics").text
        return {role: float(value) for role, value in re.findall(r'steward_role_up\{role="(.*?)"\} (\S+)', text)}

    def cluster(self, look: Callable[[Cluster], T]) -> T:
        return self.served.do(look)  # type: ignore[no-any-return]

    def edit(self, *pairs: tuple[str, str]) -> None:
        """Replace in the configuration; what is to be replaced has to be there."""
        text = self.config.read_text()
        for old, new in pairs:
            assert old in text, f"{old!r} is not in the configuration"
            text = text.replace(old, new)
        self.config.write_text(text)

    def append(self, text: str) -> None:
        self.config.write_text(self.config.read_text() + "\n" + text)


@contextlib.contextmanager
def stack(
    directory: Path,
    bootstrap: str,
    *,
    partitions: int = 2,
    more: str = "",
    stores: int = 5,
    regions: int = 200,
    close_books_every_s: float = 86_400,
) -> Iterator[Stack]:
    """A simulated cluster, and a configuration that names it and the broker. Nothing of Steward runs yet.

    `more`: further TOML, at the end of the file.
    """
    faults = Faults()
    cluster = Cluster.healthy(
        cluster_id=secrets.randbelow(2**62) + 1,
        stores=stores,
        regions=regions,
        now=time.time(),
        timing=Timing(store_heartbeat_s=1, region_heartbeat_s=1),
    )
    with serve(cluster, faults=faults) as served:
        prefix = f"test-{secrets.token_hex(4)}."
        listening = {n: f"127.0.0.1:{free_port()}" for n in ("gateway", "console", "observe", "act", "execute")}
        made = Stack(directory, directory / "steward.toml", served, faults, prefix, listening)
        ran = subprocess.run(
            [*COMMAND, "init", str(directory), "--environment", "test", "--user", PERSON],
            capture_output=True,
            timeout=CALL_S,
        )
        assert ran.returncode == 0, ran.stderr.decode()
        made.edit(
            ('bootstrap = "127.0.0.1:9092"', f'bootstrap = "{bootstrap}"'),
            ('topic_prefix = "sre.steward."', f'topic_prefix = "{prefix}"'),
            ("partitions = 16", f"partitions = {partitions}\nclose_books_every_s = {close_books_every_s}"),
            ('listen = "127.0.0.1:9095"', f'listen = "{listening["gateway"]}"'),
            ('listen = "127.0.0.1:9096"', f'listen = "{listening["console"]}"'),
        )
        made.append(
            f"""\
[clusters.{CLUSTER}]
alert_labels = {{ env = "{CLUSTER}" }}
pd = ["{served.url}"]
pd_cluster_id = {cluster.id}
tier = 1
[metrics]
observe = "{listening["observe"]}"
act = "{listening["act"]}"
execute = "{listening["execute"]}"
{more}"""
        )
        try:
            yield made
        finally:
            made.stop()
