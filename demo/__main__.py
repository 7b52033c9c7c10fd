"""`make demo`: a store goes slow, and Steward relieves it, asks, acts, takes its change back, and proves what it
did."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from demo.stack import CLUSTER, KEEP_S, PERSON, POLICY, Stack, running
from infra.clickhouse.questions import questions
from pdsim.model import Cluster

T = TypeVar("T")
SLOW = 4
BANNER = """
################################################################################
##                                                                            ##
##   DEMO: a SIMULATED TiKV cluster, an embedded broker that forgets,         ##
##   credentials made a moment ago, and a SCRIPTED person who approves.       ##
##   Nothing here can reach a real cluster.                                   ##
##                                                                            ##
################################################################################
"""


class Failed(Exception):
    """The story did not go as it has to."""


class Story:
    """Tells what happens, with seconds since the start."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.began = stack, time.monotonic()
        self.http = httpx.Client(
            base_url=stack.console, headers={"Authorization": f"Bearer {stack.user_token}"}, timeout=30, trust_env=False
        )

    def say(self, text: str) -> None:
        first, *rest = text.rstrip().splitlines()
        print(f"[{time.monotonic() - self.began:5.1f} s] {first}", *(f"          {line}" for line in rest), sep="\n")
        sys.stdout.flush()

    def until(self, what: str, found: Callable[[], T | None], within_s: float) -> T:
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            if dead := self.stack.dead_children():
                raise Failed(f"while waiting for {what}: the process {', '.join(dead)} has ended\n{self.logs()}")
            try:
                if value := found():
                    return value
            except httpx.TransportError:
                pass
            time.sleep(0.3)
        raise Failed(f"{what}: not within {within_s:g} s\n{self.logs()}")

    def logs(self) -> str:
        tails = []
        for log in sorted(self.stack.directory.glob("*.log")):
            tails.append(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]))
        return "\n".join(tails)

    def get(self, path: str) -> Any:
        reply = self.http.get(path)
        return reply.json() if reply.status_code == 200 else None

    def post(self, path: str, body: Any) -> Any:
        reply = self.http.post(path, json=body)
        if reply.status_code != 200:
            raise Failed(f"POST {path}: {reply.status_code} {reply.text}")
        return reply.json()

    def cluster(self, look: Callable[[Cluster], T]) -> T:
        def now(cluster: Cluster) -> T:
            cluster.advance(time.time())
            return look(cluster)

        return self.stack.served.do(now)  # type: ignore[no-any-return]

    # the chapters

    def tell(self) -> None:
        self.until("the console", lambda: httpx.get(f"{self.stack.console}/healthz").status_code == 200, 60)
        self.until("the gateway", lambda: httpx.get(f"{self.stack.gateway}/readyz").status_code == 200, 30)
        self.say(f"Steward runs: observing, acting and executing, a process each. Cluster {CLUSTER}: 5 stores.")
        self.adopt_policy()
        self.store_goes_slow()
        ask = self.diagnosis_and_ask()
        self.approve(ask)
        self.leaders_leave(ask)
        self.taken_back(ask)
        self.prove(ask)

    def adopt_policy(self) -> None:
        self.say("Until somebody adopts a policy, everything observes.")
        self.post("/api/v1/policy", {"policy": POLICY, "reason": "demo"})
        self.say(f"{PERSON} adopts one: evict_store_leaders may run on {CLUSTER}, where one person has agreed.")

    def store_goes_slow(self) -> None:
        self.cluster(lambda c: c.set_slow(SLOW, 90))
        leaders = self.cluster(lambda c: _leaders(c, SLOW))
        self.say(f"Store {SLOW} goes slow: slow_score 90, {leaders} leaders on it. PD itself waits for 100.")
        body = json.loads((Path(__file__).parent / "alert.json").read_text())
        starts = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body["alerts"][0]["startsAt"] = starts
        reply = httpx.post(
            f"{self.stack.gateway}/api/v1/alerts",
            json=body,
            headers={"Authorization": f"Bearer {self.stack.gateway_token}"},
            timeout=30,
        )
        if reply.status_code != 200:
            raise Failed(f"the gateway answered {reply.status_code}: {reply.text}")
        self.say("Alertmanager posts PD_cluster_slow_tikv_nums: it names no store. Acknowledged by Kafka: 200.")

    def diagnosis_and_ask(self) -> Any:
        incident = self.until("an incident", lambda: self._incidents(), 30)[0]
        self.say(f"Incident {incident['incident_id']} is open; the playbook looks at PD, read-only.")
        told: set[str] = set()
        seen = 0

        def asked() -> Any:
            nonlocal seen
            events = self.get(f"/api/v1/events?since={seen}")
            if events:
                seen = events["next"]
                for line in events["events"]:
                    if line["event"] in ("DiagnosisAdopted", "ProposalDeferred", "ApprovalAsked", "ProposalRefused"):
                        if line["text"] not in told:
                            self.say(f"{line['event']}: {line['text']}")
                        told.add(line["text"])
            waiting = (self.get("/api/v1/waiting") or {"waiting": []})["waiting"]
            return next((w for w in waiting if w["id"].startswith("R-") and self._card(w["id"])), None)

        waits = self.until("somebody to be asked", asked, 120)
        shown = self._card(waits["id"])
        self.say(f"`steward show {waits['id']}`:\n{shown['text']}")
        return {**shown, "id": waits["id"], "incident": incident["incident_id"]}

    def _incidents(self) -> Any:
        return (self.get("/api/v1/incidents") or {}).get("incidents")

    def _card(self, remediation: str) -> Any:
        shown = self.get(f"/api/v1/show/{remediation}")
        return shown if shown and shown.get("digest") else None

    def approve(self, ask: Any) -> None:
        said = self.post(
            f"/api/v1/remediations/{ask['id']}/approve", {"digest": ask["digest"][:12], "reason": "disk known bad"}
        )
        self.say(f"{PERSON} approves the plan {ask['digest'][:12]} through the console: {said['text']}")

    def leaders_leave(self, ask: Any) -> None:
        last = -1

        def gone() -> bool:
            nonlocal last
            left = self.cluster(lambda c: _leaders(c, SLOW))
            if left != last:
                self.say(f"store {SLOW}: {left} leaders")
            last = left
            return left == 0

        self.until("the leaders to leave", gone, 90)

    def taken_back(self, ask: Any) -> None:
        settling_s = POLICY["limits"]["settling_s"]
        self.say(f"Kept for {KEEP_S} s, then taken back, then watched for {settling_s} s more.")
        self.cluster(lambda c: c.set_slow(SLOW, 1))
        self.until("the scheduler to be removed", lambda: not self.cluster(_evicting), KEEP_S + 60)
        self.say("The scheduler is removed again.")
        self.until("the end", lambda: (self.get(f"/api/v1/show/{ask['id']}") or {}).get("state") == "closed", 90)

    def prove(self, ask: Any) -> None:
        ticket = self.until("the ticket", lambda: self._ticket(ask["incident"]), 20)
        self.say(f"The ticket:\n{ticket}")
        if left := self.cluster(_evicting):
            raise Failed(f"left behind: {left}")
        calls = self.cluster(lambda c: [f"{x.method} {x.path} <- {x.caller_id}" for x in c.calls if x.applied])
        self.say("The cluster's own record of writes:\n" + "\n".join(calls))
        if len(calls) != 2:
            raise Failed(f"expected two writes, the cluster has seen {len(calls)}")
        verdict = self.until("the audit to verify", self._verified, 60)
        self.say(f"`steward audit verify`: {verdict['text']}")
        self.ask_everything(ask)
        self.say("Done: repaired, taken back, nothing left behind, and on record.")

    def ask_everything(self, ask: Any) -> None:
        """Every named question, of the record of this story; a check must find nothing, and nothing may be owed."""
        about = {"incident": ask["incident"], "remediation": ask["id"], "cluster": CLUSTER, "store": str(SLOW)}

        def answer(name: str) -> Any:
            given = {p.name: about[p.name] for p in questions()[name].params if p.default is None}
            return self.post("/api/v1/audit/query", {"name": name, "params": given})

        self.until("the end to be on record", lambda: "RemediationClosed" in str(answer("incident-story")["rows"]), 30)
        answers = {name: answer(name) for name in questions()}
        lines = [f"{name:<24} {_found(said)}" for name, said in answers.items()]
        self.say("\n".join(["`steward audit query NAME`, for every question that there is:", *lines]))
        empty = {"owed-undos", *(name for name, said in answers.items() if said["must_be_empty"])}
        wrong = {name: answers[name]["rows"] for name in sorted(empty) if answers[name]["rows"]}
        if wrong:
            raise Failed(f"what has to be empty is not: {wrong}")

    def _ticket(self, incident: str) -> str | None:
        shown = self.get(f"/api/v1/show/{incident}") or {}
        text = str(shown.get("text", ""))
        return text if "FIXED" in text and "UNDONE" in text else None

    def _verified(self) -> Any:
        """The verdict, once the audit has caught up with the story's last event."""
        told = self.post("/api/v1/audit/query", {"name": "completeness", "params": {}})
        verdict = self.post("/api/v1/audit/verify", {"cluster": ""})
        return verdict if verdict["ok"] and told["rows"] else None


def _found(said: Any) -> str:
    rows = f"{len(said['rows']):>3} rows"
    return (
        f"{rows}  {'as it has to be' if said['ok'] else 'WRONG: there must be none'}" if said["must_be_empty"] else rows
    )


def _leaders(cluster: Cluster, store: int) -> int:
    return sum(1 for region in cluster.cache if region.leader == store)


def _evicting(cluster: Cluster) -> list[int]:
    return sorted(cluster.schedulers.evicted)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__, epilog="Example: make demo")
    parser.add_argument("--keep-logs", type=Path, help="copy the processes' logs there at the end")
    options = parser.parse_args()
    print(BANNER)
    with tempfile.TemporaryDirectory(prefix="steward-demo-") as directory, running(Path(directory)) as stack:
        story = Story(stack)
        try:
            story.tell()
        except Failed as failure:
            print(f"\nDEMO FAILED: {failure}", file=sys.stderr)
            return 1
        finally:
            if options.keep_logs:
                options.keep_logs.mkdir(parents=True, exist_ok=True)
                for log in Path(directory).glob("*.log"):
                    (options.keep_logs / log.name).write_bytes(log.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
