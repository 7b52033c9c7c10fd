"""One run: repairs go on while processes are killed, stopped and told to go, PD loses answers, and brokers fall; then
peace, and the simulator's own checkers judge by the topics, by PD's record of calls and by the audit."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from infra.local.kafka import LocalKafka
from pdsim import faults as pd_faults
from schemas.signing import kid_of, public_of
from tests.chaos.fleet import ROLES, Fleet, Name
from tests.chaos.watch import Watch
from tests.integration.stack import CLUSTER, Stack, acting, now_text
from tests.simulation.chance import Chance
from tests.simulation.invariants import History, judge, left_on

PARTITIONS = 3
SLOW = 4
SESSION_S = 10
ON_ITS_WAY_S = 20  # a step whose intent was durable before may be sent within its window
BURST = 8  # kills, and then for a while what is done gets on
LULL_S = 30
BROKER_EACH = 15  # kills of processes to one of a broker
CLEAR_S = 8  # by then an incident whose alerts have ended is closed
NOTHING_COMES_S = 60  # for so long an alert fires of which nothing is proposed
PEACE_S = 420  # by then what was begun has ended
MOMENTS: dict[str, tuple[str, ...]] = {  # at which a process of this role is killed
    "validate": ("ActionProposed", "ProposalValidated"),
    "remediations": ("ProposalValidated", "Approved", "ExecutionAuthorized", "Concluded"),
    "execute": ("Claimed", "Looked", "StepIntended", "StepTaken", "Sampled", "ChangeUndone", "TakenOver"),
    "propose": ("DiagnosisMade", "ProposalStarted"),
    "diagnose": ("IncidentOpened", "DiagnosisStarted"),
    "incidents": ("AlertFired", "DiagnosisMade"),
    "tickets": ("TicketWritten",),
    "notify": ("NotificationStarted",),
    "intake": ("AlertReceived",),
}
ALL_MOMENTS = tuple((role, kind) for role, kinds in MOMENTS.items() for kind in kinds)
ACTS = acting(60)
CLOSED_EVERY_S = 60  # the books, so that those who are killed begin with them


@dataclass
class Report:
    seed: int
    kills: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # role, how, the step before
    brokers: Counter[str] = field(default_factory=Counter)
    rolled_s: float = 0.0  # a restart of everything, one after the other
    repairs: int = 0  # asked for
    ended: int = 0
    records: int = 0
    closings: int = 0  # of the books of a partition
    writes: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        by_role = Counter[str]()
        by_step = Counter[str]()
        by_way = Counter[str]()
        for (role, how, step), n in self.kills.items():
            by_role[role] += n
            by_step[step] += n
            by_way[how] += n
        lines = [
            f"seed {self.seed}: {self.kills.total()} kills: " + _counts(by_way),
            "by role: " + _counts(by_role),
            "by the step before: " + _counts(by_step),
            "brokers fallen: " + (_counts(self.brokers) or "none"),
            f"a rolling restart of everything took {self.rolled_s:.0f} s",
            f"{self.repairs} repairs were asked for, {self.ended} remediations have ended",
            f"{self.records} records, {self.closings} closings of books, {self.writes} writes to PD",
            *(f"{invariant}: {what}" for invariant, what in self.wrong),
            f"{len(self.wrong)} things are wrong",
        ]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counter.most_common())


class Chaos:
    """`kills` at least, or for so long; whichever comes later."""

    def __init__(
        self,
        stack: Stack,
        seed: int,
        *,
        kills: int,
        seconds: float = 0,
        broker: LocalKafka | None = None,
        pause_s: tuple[float, float] = (1, 6),
        lull_s: float = LULL_S,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.stack, self.fleet, self.chance, self.say = stack, Fleet(stack), Chance(seed), say
        self.watch = Watch(stack, PARTITIONS)
        self.report = Report(seed)
        self._kills, self._seconds, self._pause_s, self._lull_s = kills, seconds, pause_s, lull_s
        self._broker = broker
        self._continue: list[tuple[float, Name]] = []
        self._approved: set[str] = set()
        self._firing: str | None = None  # since when, to resolve it by
        self._since_s = 0.0  # it fires, or doesn't
        self._opened_before = 0
        self._resting = False

    def run(self) -> Report:
        assert self.stack.steward("topics", "apply").code == 0
        self.fleet.keep()
        self.watch.start()
        try:
            self._wait("the console", lambda: self.stack.http("console", "/healthz").status_code == 200, 180)
            applied = self.stack.steward("policy", "apply", "--yes", "--reason", "chaos")
            assert applied.code == 0, applied.err
            self._trouble()
            if self._seconds:
                self._roll()
            self._peace()
            self._judge()
        finally:
            self.watch.stop()
            self.fleet.stop()
        return self.report

    # trouble

    def _trouble(self) -> None:
        ends_s = time.monotonic() + self._seconds
        turn = 0
        while self.report.kills.total() < self._kills or time.monotonic() < ends_s:
            name = self._turn(turn)
            if turn % BURST == 0:
                role, kind = ALL_MOMENTS[turn // BURST % len(ALL_MOMENTS)]
                name = role, name[1]
                self._moment(kind, self._lull_s)
            else:
                self._for(self.chance.between(*self._pause_s))
                if self.chance.happens(0.6):
                    self._moment(self.chance.one_of(MOMENTS[name[0]]), 5)
            turn += 1
            self._strike(name, self.watch.last)
            if self.chance.happens(0.3):
                self._pd_loses_an_answer()
            if self._broker is not None and turn % BROKER_EACH == 0:
                self._broker_falls(self._broker)

    def _moment(self, kind: str, within_s: float) -> None:
        before, until_s = self.watch.seen[kind], time.monotonic() + within_s
        while self.watch.seen[kind] == before and time.monotonic() < until_s:
            self._for(0.05)

    def _roll(self) -> None:
        """A rolling restart under load: each process goes in its turn, the next once its successor is there."""
        self.say("a rolling restart")
        self._all_go_on()
        began_s = time.monotonic()
        for name in self.fleet.names:
            self.fleet.term(name)
            self._wait(f"a successor of {name}", partial(self._is_another, name, self.fleet.living[name].pid), 60)
            self._for(2)
        self.report.rolled_s = time.monotonic() - began_s

    def _all_go_on(self) -> None:
        for _, name in self._continue:
            self.fleet.go_on(name)
        self._continue.clear()

    def _is_another(self, name: Name, pid: int) -> bool:
        return self.fleet.living[name].pid != pid

    def _turn(self, turn: int) -> Name:
        """Each role in its turn, and one that executes between any two."""
        role = "execute" if turn % 2 else ROLES[(turn // 2) % len(ROLES)]
        return role, 1 + int(self.chance.share() * 2)

    def _strike(self, name: Name, step: str) -> None:
        how = self.chance.one_of(("kill -9", "kill -9", "kill -9", "SIGSTOP", "SIGTERM"))
        match how:
            case "kill -9":
                self.fleet.kill(name)
            case "SIGTERM":
                self.fleet.term(name)
            case _:
                self.fleet.pause(name)
                on_s = time.monotonic() + self.chance.between(1, 2 * SESSION_S)
                self._continue.append((on_s, name))
        self.report.kills[name[0], how, step] += 1
        self.say(f"{self.report.kills.total()}: {how} {name[0]}-{name[1]} after {step}")

    def _pd_loses_an_answer(self) -> None:
        method = self.chance.one_of(("POST", "DELETE"))
        self.stack.faults.add(pd_faults.DroppedAfter(), method=method, times=1)

    def _broker_falls(self, broker: LocalKafka) -> None:
        """Of three: whichever leads something, or two at once, and then nothing may act."""
        fallen = self.chance.shuffled(range(broker.brokers))[: 1 + (broker.brokers == 3 and self.chance.happens(0.4))]
        self.say(f"{len(fallen)} of {broker.brokers} brokers killed, and started again")
        for number in fallen:
            broker.kill(number)
        if len(fallen) == 2:
            self._for(ON_ITS_WAY_S)
            before = self._writes()
            self._for(self.chance.between(5, 15))
            if (after := self._writes()) != before:
                self.report.wrong.append(("NOTHING_ACTS_WITHOUT_ITS_LOG", f"{after - before} writes to PD"))
        else:
            self._for(self.chance.between(1, 15))
        for number in fallen:
            broker.restart(number)
        self.report.brokers[f"{len(fallen)} of {broker.brokers}"] += 1

    def _writes(self) -> int:
        return int(self.stack.cluster(lambda c: sum(call.method != "GET" for call in c.calls)))

    # what goes on all the time

    def _for(self, seconds: float) -> None:
        """Supervisors and people do their work meanwhile."""
        ends_s = time.monotonic() + seconds
        while True:
            self._tend()
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(0.3, left_s))

    def _tend(self) -> None:
        for on_s, name in list(self._continue):
            if time.monotonic() >= on_s:
                self.fleet.go_on(name)
                self._continue.remove((on_s, name))
        self.fleet.keep()
        try:
            self._people()
        except httpx.HTTPError:
            return

    def _people(self) -> None:
        """Whoever sees an alert fires it; whoever is asked approves; what is closed is followed by the next."""
        waiting = self.stack.console("/api/v1/waiting") or {"waiting": []}
        for waits in waiting["waiting"]:
            if waits["id"].startswith("R-"):
                self._answer(waits["id"])
        lasts_s = time.monotonic() - self._since_s
        if self._firing is None and not self._resting and lasts_s > CLEAR_S:
            self.stack.cluster(lambda c: c.set_slow(SLOW, 90))
            self._opened_before = self._opened()
            if self.stack.alert("firing", starts := now_text()).status_code == 200:
                self._firing, self._since_s = starts, time.monotonic()
                self.report.repairs += 1
            return
        over = self._opened() > self._opened_before or lasts_s > NOTHING_COMES_S
        if self._firing is not None and over and not self._open():
            self.stack.cluster(lambda c: c.set_slow(SLOW, 1))
            if self.stack.alert("resolved", self._firing).status_code == 200:
                self._firing, self._since_s = None, time.monotonic()

    def _opened(self) -> int:
        return self.watch.seen["RemediationOpened"]

    def _open(self) -> bool:
        return self.watch.seen["RemediationClosed"] < self._opened()

    def _answer(self, remediation: str) -> None:
        shown = self.stack.console(f"/api/v1/show/{remediation}")
        if not shown or not shown.get("digest"):
            return
        if shown.get("state") == "unknown":
            self._word(remediation, "resolve", {"outcome": "no_better", "reason": "chaos"})
        elif remediation not in self._approved:
            self._word(remediation, "approve", {"digest": shown["digest"], "reason": "chaos"})
            self._approved.add(remediation)

    def _word(self, remediation: str, verb: str, body: dict[str, str]) -> None:
        headers = {"Authorization": f"Bearer {self.stack.secret('token-anna')}", "X-Steward-Via": "cli"}
        url = self.stack.url("console", f"/api/v1/remediations/{remediation}/{verb}")
        httpx.post(url, json=body, headers=headers, timeout=20, trust_env=False)

    def _wait(self, what: str, found: Callable[[], Any], within_s: float) -> None:
        ends_s = time.monotonic() + within_s
        while True:
            self.fleet.keep()
            try:
                if found():
                    return
            except (httpx.HTTPError, AssertionError):
                pass
            assert time.monotonic() < ends_s, f"{what}: not within {within_s:g} s\n{self.fleet.logs()}"
            time.sleep(0.5)

    # the end

    def _peace(self) -> None:
        self.say("peace")
        self._resting = True
        self.stack.faults.clear()
        self._all_go_on()

        def ended() -> bool:
            self._tend()
            nothing_there = not self.stack.cluster(lambda c: list(c.schedulers.evicted))
            return self._opened() > 0 and not self._open() and nothing_there and self._firing is None

        self._wait("everything to end", ended, PEACE_S)
        time.sleep(2 * SESSION_S)

    def _judge(self) -> None:
        records = self.watch.all()
        self._wait("the audit to be whole", lambda: self._audited() >= len(records), 120)
        history = self._history(self.watch.all())
        self.report.wrong += judge(history)
        self.report.records, self.report.writes = len(history.records), len(history.writes)
        self.report.closings = sum(type(r.event).__name__ == "DayClosed" for r in history.records)
        self.report.ended = sum(type(r.event).__name__ == "RemediationClosed" for r in history.records)
        verified = self.stack.steward("audit", "verify")
        if verified.code != 0:
            self.report.wrong.append(("EVERYTHING_ON_RECORD", verified.out.strip()[:500]))

    def _audited(self) -> int:
        verified = self.stack.steward("audit", "verify", "--json")
        return int(verified.json()["counts"]["records"]) if verified.code == 0 else 0

    def _history(self, records: Sequence[Any]) -> History:
        key = json.loads(self.stack.secret("console-key.json"))
        return History(
            records=records,
            calls={CLUSTER: self.stack.cluster(lambda c: list(c.calls))},
            left={CLUSTER: self.stack.cluster(lambda c: left_on(c.schedulers, c.now))},
            others={},
            keys={kid_of(key): public_of(key)},
            environment="test",
            pd_ids={CLUSTER: self.stack.cluster(lambda c: c.id)},
            roles=ROLES,
            ended=True,
        )
