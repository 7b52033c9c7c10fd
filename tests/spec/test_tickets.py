"""One ticket an incident: what it says at each turn of the story, how loudly, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions.catalogue import FORBIDDEN
from schemas import events as e
from schemas.controls import Controls
from schemas.processors import Record, Tick
from schemas.text import hh_mm, moment, page, params_text, plain, zoned
from schemas.values import (
    AlertRef,
    Bounds,
    Call,
    Cause,
    Change,
    Evidence,
    Head,
    Objection,
    Plan,
    Reach,
    Sample,
    SignedApproval,
)
from streams.pipeline import may_stand_on
from streams.ticket_story import CALL_WORDS, SENT_KEPT_MAX, CallWords
from streams.tickets import Desk, Tickets

T0 = 1_795_486_260_000  # 2026-11-24 02:11:00 UTC
INC, REM = "INC-2f81", "R-1093"
DIGEST = "9f3c" + "0" * 58 + "e1"
ADD = Call(name="add_evict_leader", args={"store_id": "4"})
REMOVE = Call(name="remove_evict_leader", args={"store_id": "4"})
SHOWN = {
    "add_evict_leader": "POST /schedulers evict-leader store 4",
    "remove_evict_leader": "DELETE evict-leader store 4",
}
REACH = Reach(stores=1, regions=812, leaders=812, leaders_share=0.11)
PLAN = Plan(
    environment="prod",
    cluster_id="prod-eu-7",
    pd_cluster_id=1,
    action="evict_store_leaders",
    action_version=1,
    params='{"keep_s":900,"store_id":4}',
    changes=(Change(do=ADD, undo=REMOVE, keep_s=900),),
    premises=(),
    bounds=Bounds(stores_max=1, regions_max=1000, leaders_max=1000),
    policy_version=1,
    policy_rules=(),
)
DOING: dict[str, Any] = {"action": PLAN.action, "params": PLAN.params}


def alert(name: str = "TiKV_raft_append_log_duration_secs", fp: str = "f1") -> AlertRef:
    return AlertRef(
        fingerprint=fp,
        name=name,
        starts_at_ms=T0,
        level="critical",
        annotations={"runbook_url": "https://runbooks/append", "dashboard": "not a URL"},
    )


def seen(number: int, text: str) -> Evidence:
    return Evidence(id=f"E{number}", text=text, source="GET /stores", entities=("store:4",), seen_at_ms=T0)


@dataclass
class Told:
    """The story of one cluster's tickets. `now_s` counts from 02:11:00."""

    rules: Tickets = field(default_factory=lambda: Tickets(CallWords(as_sent=lambda call: SHOWN[call.name])))
    now_s: float = 0
    decided: list[e.Event] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state: Desk = self.rules.initial("prod-eu-7")

    @property
    def now_ms(self) -> int:
        return T0 + int(self.now_s * 1000)

    def given(self, event: e.Event | None, topic: str = "incidents", offset: int = 0) -> Sequence[e.Event]:
        head = Head(event_id="x", at_ms=self.now_ms)
        said: Record | Tick = Tick("prod-eu-7", self.now_ms)
        if event is not None:
            said = Record(topic, 7, offset, self.now_ms, head, event, Cause(topic=topic))
        decided = self.rules.decide(self.state, said, self.now_ms, Controls())
        for one in decided:
            assert may_stand_on("tickets", one)
            self.state = self.rules.evolve(self.state, one, head)
            self.heads.append(head)
        self.decided += decided
        return decided

    def say(
        self, said: type[e.Event], /, *, at_s: float | None = None, topic: str = "remediations", **fields: Any
    ) -> Sequence[e.Event]:
        self.now_s = self.now_s if at_s is None else at_s
        known: dict[str, Any] = {"incident_id": INC, "remediation_id": REM, "attempt": 1, "cluster_id": "prod-eu-7"}
        for name, value in known.items():
            if name in said.model_fields:
                fields.setdefault(name, value)
        return self.given(said(**fields), topic, offset=88213)

    def ticket(self) -> e.TicketWritten:
        return next(x for x in reversed(self.decided) if isinstance(x, e.TicketWritten))

    def line(self, label: str) -> str:
        return next((line.text for line in self.ticket().lines if line.label == label), "")

    def versions(self) -> int:
        return sum(isinstance(x, e.TicketWritten) for x in self.decided)

    # the story

    def opens(self, **more: Any) -> None:
        first: dict[str, Any] = {
            "family": "slow_store",
            "title": "TiKV_raft_append (10.0.4.12)",
            "level": "critical",
            "alert": alert(),
            "generator_url": "https://prometheus/graph?g0.expr=a",
        }
        self.say(e.IncidentOpened, **{**first, **more})

    def asks(self, by: str = "playbook") -> None:
        self.say(e.DiagnosisAsked, ask_id=f"{INC}-1-{by}", by=by, deadline_ms=T0, family="slow_store", alerts=())

    def adopts(self, **more: Any) -> None:
        known: dict[str, Any] = {
            "ask_id": f"{INC}-1-model",
            "by": "model",
            "final": True,
            "cause": "disk_stall",
            "confidence": 0.86,
            "summary": "",
            "evidence": (seen(1, "slow_score 1 -> 84"), seen(2, "append p99 1.9 s, peers 12 ms")),
            "ruled_out": (
                e.RuledOut(what="hot_region", evidence=("E3",)),
                e.RuledOut(what="network", evidence=("E4",)),
            ),
            "agreed": True,
            "model": "claude-opus-5-5",
        }
        self.say(e.DiagnosisAdopted, **{**known, **more})

    def makes(self, **more: Any) -> None:
        known: dict[str, Any] = {
            "ask_id": f"{INC}-1-model",
            "by": "model",
            "cause": "disk_stall",
            "confidence": 0.86,
            "summary": "",
            "evidence": tuple(seen(n, f"what E{n} shows") for n in range(1, 5)),
            "cited": ("E1", "E2"),
            "for_people": "look at the disk: store 4 (10.0.4.12:20160)",
        }
        self.say(e.DiagnosisMade, topic="diagnoses", **{**known, **more})

    def proposes(self) -> None:
        why: dict[str, Any] = {
            "proposal_id": "P",
            "why": "",
            "cause": "disk_stall",
            "confidence": 0.86,
            "disputed": False,
            "by": "model",
        }
        self.say(e.RemediationOpened, **DOING, **why, evidence=())

    def asks_approval(self, **more: Any) -> None:
        known: dict[str, Any] = {
            "digest": DIGEST,
            "why": "",
            "tier": "MEDIUM",
            "tier_reasons": (),
            "mode": "on",
            "rule": "one",
            "needed": 1,
            "escalation": ("first responder", "leads"),
            "step": 0,
            "expires_at_ms": T0 + 13 * 60_000,
            "plan": PLAN,
            "reach": REACH,
            "facts_taken_at_ms": T0,
            "evidence": (),
            "cause": "disk_stall",
            "confidence": 0.86,
        }
        self.say(e.ApprovalAsked, at_s=180, **DOING, **{**known, **more})

    def approves(self) -> None:
        self.say(e.ApprovalCounted, at_s=300, approval=word("disk known bad"), counted=1, needed=1)

    def authorises(self, mode: str = "on") -> None:
        said: dict[str, Any] = {
            "digest": DIGEST,
            "tier": "MEDIUM",
            "rule": "one",
            "needed": 1,
            "proposed_by": "model",
            "mode": mode,
        }
        self.say(e.ExecutionAuthorized, **DOING, **said, plan=PLAN, reach=REACH, approvals=(), expires_at_ms=T0)

    def claims(self) -> None:
        said: dict[str, Any] = {"digest": DIGEST, "tier": "MEDIUM", "mode": "on", "approvals": (), "deadline_ms": T0}
        self.say(e.Claimed, at_s=331, topic="outcomes", **DOING, **said, plan=PLAN)

    def steps(self, step: int = 1, kind: str = "do", answer: str = "accepted", status: int = 200, **more: Any) -> None:
        call, undo, keep_s = (ADD, REMOVE, 900) if kind == "do" else (REMOVE, None, 0)
        of: dict[str, Any] = {"step": step, "topic": "outcomes"}
        self.say(e.StepIntended, **of, change=0, kind=kind, call=call, undo=undo, keep_s=keep_s, window_s=15)
        self.say(e.StepTaken, **of, answer=answer, status=status, **more)

    def undoes(self) -> None:
        self.steps(2, "undo")
        self.say(e.ChangeUndone, at_s=1235, topic="outcomes", change=0, settled=False)
        self.say(e.ChangeUndone, at_s=1840, topic="outcomes", change=0, settled=True)

    def concludes(self, outcome: str = "succeeded", **more: Any) -> None:
        same = {"down_peers": 0, "stores_up": 9, "pd_settled": 1}
        before = Sample(at_ms=T0, figures={"leaders": 812, "evicting": 0, **same})
        after = Sample(at_ms=T0, figures={"leaders": 0, "evicting": 1, **same})
        known: dict[str, Any] = {
            "code": outcome,
            "text": "",
            "before": before,
            "after": after,
            "samples": 5,
            "errors": 1,
        }
        self.say(e.Concluded, topic="outcomes", outcome=outcome, **{**known, **more})

    def closes_remediation(self, code: str, text: str = "", **more: Any) -> None:
        self.say(e.RemediationClosed, code=code, text=text, **more)

    def runs(self) -> None:
        self.opens()
        self.adopts()
        self.proposes()
        self.asks_approval()
        self.approves()
        self.authorises()
        self.claims()
        self.steps()


def word(reason: str) -> SignedApproval:
    return SignedApproval(
        approval_id="A",
        person="anna",
        via="cli",
        kid="k",
        decided_at_ms=T0 + 300_000,
        expires_at_ms=T0,
        reason=reason,
        jws="",
    )


PAGE = """\
prod-eu-7: store 4 disk stall    FIXED, UNDONE   INC-2f81
Alerts    02:11Z TiKV_raft_append_log_duration_secs (+3 folded)
Cause     store 4 disk stall; 0.86; Claude, playbook agrees
Evidence  E1 slow_score 1 -> 84; E2 append p99 1.9 s, peers 12 ms
Ruled out hot region: what E3 shows (E3)
          network: what E4 shows (E4)
Action    R-1093 evict_store_leaders keep_s=900 store_id=4; MEDIUM
Approved  anna, 02:16 CLI, plan 9f3c...e1: "disk known bad" (asked 02:14)
Ran       02:16, 25 min 9 s, attempt 1, token outcomes/7@88213
          POST /schedulers evict-leader store 4 -> 200
          DELETE evict-leader store 4 -> 200
Outcome   SUCCEEDED: leaders 812 -> 0, down peers 0 -> 0, 5 samples
Errors    1 read error, looked again
Undo      removed 02:31; still absent 02:41. Nothing left behind.
For you   look at the disk: store 4 (10.0.4.12:20160)
Links     runbook https://runbooks/append
          graph https://prometheus/graph?g0.expr=a
          steward show INC-2f81 --timeline
          steward audit query incident-story --param incident=INC-2f81
"""


def test_a_ticket_after_a_repair_reads_like_this() -> None:
    told = Told()
    told.opens()
    for n in range(1, 4):
        told.say(e.AlertFolded, alert=alert(fp=f"g{n}"), folded=n, firing=n + 1)
    told.makes()
    told.adopts()
    told.proposes()
    told.asks_approval()
    told.approves()
    told.authorises()
    told.claims()
    told.steps()
    told.undoes()
    told.concludes()
    told.closes_remediation("succeeded")
    assert page(told.ticket()) == PAGE
    assert told.ticket().remediation_id == REM


def test_what_is_left_for_people_is_said_from_the_diagnosis_on_but_never_before_the_question() -> None:
    told = Told()
    told.opens()
    told.adopts(final=False)
    told.adopts()
    assert told.line("For you") == ""
    told.makes()
    assert told.line("For you") == "look at the disk: store 4 (10.0.4.12:20160)"
    told.proposes()
    told.asks_approval()
    assert "look at the disk" not in told.line("For you")


def test_a_link_is_an_address_whole_on_its_line_and_nothing_else_passes_for_one() -> None:
    long = "https://prometheus/" + "x" * 200
    links = {"runbook_url": "javascript:alert(1)", "runbook": "https://a b", "dashboard_url": "https://a\nUndo"}
    told = Told()
    told.opens(alert=alert().model_copy(update={"annotations": links}), generator_url=long)
    assert told.line("Links").split("\n")[0] == f"graph {long}"
    assert f"Links     graph {long}\n" in page(told.ticket())


def test_a_time_of_another_day_has_its_date() -> None:
    told = Told()
    told.opens(alert=alert().model_copy(update={"starts_at_ms": T0 - 2 * 86_400_000}))
    assert told.line("Alerts").startswith("2026-11-22 02:11Z TiKV_raft_append")
    told.say(e.IncidentClosed, at_s=86_400, code="resolved", text="")
    assert "; 2026-11-25 02:11 resolved" in told.line("Alerts")


# -- without the acting half ----------------------------------------------------------------------------------------


def test_a_ticket_needs_no_remediation() -> None:
    told = Told()
    told.opens()
    assert (told.ticket().status, told.ticket().headline) == ("NEW", "prod-eu-7: TiKV_raft_append (10.0.4.12)")
    told.adopts()
    assert (told.ticket().status, told.ticket().tier, told.ticket().open) == ("DIAGNOSED", "routine", True)
    told.say(e.IncidentClosed, at_s=600, code="resolved", text="all its alerts are resolved")
    assert (told.ticket().status, told.ticket().open, told.ticket().version) == ("RESOLVED", False, 3)
    assert "02:21 resolved: all its alerts are resolved" in told.line("Alerts")


def test_that_alertmanager_left_alerts_out_is_said() -> None:
    told = Told()
    told.opens(incomplete=True)
    assert told.line("Alerts").endswith("; incomplete: Alertmanager left some out")


def test_a_ticket_of_a_release_that_kept_no_facts_is_gone_on_with() -> None:
    told = Told()
    told.opens()
    kept = told.ticket().model_copy(update={"facts": "", "version": 3, "headline": "prod-eu-7: store 4 disk stall"})
    told.state = told.rules.evolve(told.rules.initial("prod-eu-7"), kept, Head(event_id="x", at_ms=T0))
    told.adopts()
    assert (told.ticket().version, told.ticket().incident_id) == (4, INC)
    told.say(e.IncidentClosed, code="resolved", text="")
    assert not told.ticket().open
    over = kept.model_copy(update={"open": False})
    told.state = told.rules.evolve(told.rules.initial("prod-eu-7"), over, Head(event_id="x", at_ms=T0))
    assert not next(iter(told.state.tickets.values())).story.is_open()


def test_an_incident_that_fell_silent_says_so() -> None:
    told = Told()
    told.opens()
    told.say(e.IncidentClosed, code="silent_too_long", text="never resolved")
    assert told.ticket().status == "CLOSED"
    assert "silent_too_long: never resolved" in told.line("Alerts")


def test_who_abstained_and_why_is_in_the_cause() -> None:
    told = Told()
    told.opens()
    told.asks("playbook")
    told.asks("model")
    assert told.line("Cause") == "asked: playbook, model"
    told.adopts(by="playbook", final=False, agreed=None, model="")
    assert told.line("Cause") == "store 4 disk stall; 0.86; playbook; asked: model"
    told.say(
        e.DiagnosisAbstained,
        topic="diagnoses",
        ask_id=f"{INC}-1-model",
        by="model",
        code="refusal",
        reason="it declined",
    )
    told.adopts(by="playbook", final=True, agreed=None, model="")
    assert told.line("Cause") == "store 4 disk stall; 0.86; playbook; model abstains: refusal: it declined"


def test_an_abstention_heard_after_its_adoption_is_still_shown() -> None:
    told = Told()
    told.opens()
    told.asks()
    told.adopts(by="playbook", cause="unknown", summary="no_rule: not in the table", evidence=(), agreed=None)
    assert (told.ticket().status, told.ticket().tier) == ("NOT DIAGNOSED", "notable")
    told.say(
        e.DiagnosisAbstained, topic="diagnoses", ask_id=f"{INC}-1-playbook", by="playbook", code="no_rule", reason="why"
    )
    assert told.line("Cause") == "not known; playbook abstains: no_rule: why"


def test_a_diagnosis_that_nobody_gave_in_time_is_said() -> None:
    told = Told()
    told.opens()
    told.asks()
    told.say(e.DiagnosisOverdue, ask_id=f"{INC}-1-playbook", by="playbook")
    assert (told.ticket().status, told.line("Cause")) == ("DIAGNOSIS OVERDUE", "playbook did not answer in time")


def test_a_disagreement_is_said() -> None:
    told = Told()
    told.opens()
    told.adopts(agreed=False)
    assert "Claude, playbook disagrees" in told.line("Cause")


def test_a_synthetic_incident_is_marked_in_its_headline() -> None:
    told = Told()
    told.opens(synthetic=True)
    assert told.ticket().headline.startswith("TEST prod-eu-7: ")
    assert told.ticket().synthetic
    told.adopts(by="playbook", cause="unknown", summary="no_rule: not in the table", evidence=(), agreed=None)
    assert (told.ticket().status, told.ticket().tier) == ("NOT DIAGNOSED", "routine"), "a test wakes nobody"


def test_a_cause_is_said_once_and_a_summary_only_where_it_says_more() -> None:
    told = Told()
    told.opens()
    told.adopts(cause="slow_store", summary="slow store 4")
    assert told.line("Cause") == "slow store 4; 0.86; Claude, playbook agrees"
    told.adopts(cause="slow_store", summary="slow store 4, by its disk")
    assert told.line("Cause").split("\n")[1] == "slow store 4, by its disk"


def test_evidence_that_stands_nowhere_on_the_page_is_not_cited() -> None:
    told = Told()
    told.opens()
    told.adopts(ruled_out=(e.RuledOut(what="store down", evidence=("E1", "E7")),))
    assert told.line("Ruled out") == "store down: E1"


# -- with it --------------------------------------------------------------------------------------------------------


STUCK = {"objections": (Objection(code="leaders_stuck", kind="no", text="3 regions"),)}


@pytest.mark.parametrize(
    ("code", "more", "status", "said"),
    [
        ("leaders_stuck", STUCK, "REFUSED", "no: leaders_stuck: 3 regions"),
        ("mode_observe", {}, "OBSERVED ONLY", "not done: mode_observe: because"),
        ("denied", {}, "DENIED", "not done: denied: because"),
        ("expired", {}, "EXPIRED", "not done: expired: because"),
        ("cancelled", {}, "CANCELLED", "not done: cancelled: because"),
        ("by_hand", {}, "DONE BY HAND", "not done: by_hand: because"),
        ("claim_frozen", {}, "NOT STARTED", "not done: claim_frozen: because"),
        ("forbidden", {}, "REFUSED", "not done: forbidden: because"),
        ("validation_overdue", {}, "REFUSED", "not done: validation_overdue: because"),
    ],
)
def test_what_is_not_done_shows_its_coded_reason(code: str, more: dict[str, Any], status: str, said: str) -> None:
    told = Told()
    told.opens()
    told.adopts()
    told.proposes()
    assert told.ticket().status == "PROPOSED"
    told.closes_remediation(code, "because", **more)
    assert (told.ticket().status, told.ticket().tier) == (status, "notable")
    assert said in told.line("Action").split("\n")


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_what_is_never_done_shows_the_whole_reason_and_what_to_check(name: str) -> None:
    why_not = FORBIDDEN[name].why_not()
    told = Told()
    told.opens()
    told.adopts()
    told.proposes()
    objection = Objection(code="forbidden", kind="never", text=why_not)
    told.closes_remediation("forbidden", why_not, objections=(objection,))
    assert told.ticket().status == "REFUSED"
    assert f"never: forbidden: {why_not}" in told.line("Action").split("\n")


def test_that_nothing_was_proposed_shows_its_coded_reason() -> None:
    told = Told()
    told.opens()
    told.adopts()
    told.closes_remediation("no_action_for_cause", "nothing in the catalogue helps")
    assert told.ticket().status == "NOTHING PROPOSED"
    assert told.line("Action") == "none: no_action_for_cause: nothing in the catalogue helps"
    assert told.ticket().remediation_id == ""
    assert "steward why INC-2f81" in told.line("For you")


def test_an_emergency_that_is_left_to_people_is_said_loudly() -> None:
    told = Told()
    told.opens(level="emergency")
    assert told.ticket().tier == "notable"
    told.adopts()
    told.closes_remediation("no_action_for_cause", "")
    assert told.ticket().tier == "critical"


def test_waiting_for_approval_is_critical_and_says_how_to_answer() -> None:
    told = Told()
    told.opens()
    told.proposes()
    told.asks_approval()
    assert (told.ticket().status, told.ticket().tier) == ("WAITING FOR APPROVAL", "critical")
    assert told.line("Approved") == "asked 02:14, now first responder; 1 more; expires 02:24"
    assert told.line("For you").startswith(f"steward approve R-1093 --digest {DIGEST[:12]} --reason")


def test_a_plan_that_acts_unless_it_is_stopped_says_when_and_how_to_stop_it() -> None:
    told = Told()
    told.opens()
    told.proposes()
    told.asks_approval(tier="LOW", rule="veto:10m", needed=0)
    assert told.ticket().status == "WAITING FOR A VETO"
    assert told.line("Approved") == "asked 02:14; acts 02:24 unless somebody denies it, plan 9f3c...e1"
    assert told.line("For you") == "to stop it: steward deny R-1093 --reason ..."


def test_an_automatic_approval_wakes_nobody() -> None:
    told = Told()
    told.opens()
    told.proposes()
    told.asks_approval(tier="LOW", rule="auto", needed=0)
    assert (told.ticket().status, told.ticket().tier) == ("APPROVED", "routine")
    assert told.line("Approved") == "by policy: LOW is auto, plan 9f3c...e1"


def test_a_word_that_does_not_count_is_shown() -> None:
    told = Told()
    told.opens()
    told.proposes()
    told.asks_approval()
    told.say(e.ApprovalRejected, approval_id="A", person="ben", code="wrong_digest", text="another plan")
    assert "not counted: ben: wrong_digest: another plan" in told.line("Approved")


def test_waiting_and_blocking_say_until_when() -> None:
    told = Told()
    told.opens()
    told.proposes()
    young = Objection(code="pd_leader_young", kind="wait", text="leads for 12 s", until_ms=T0 + 300_000)
    told.say(e.ProposalDeferred, until_ms=T0 + 300_000, gives_up_ms=T0 + 1_800_000, objections=(young,))
    assert told.ticket().status == "DEFERRED"
    assert "wait until 02:16: pd_leader_young: leads for 12 s" in told.line("Action")
    told.asks_approval()
    told.approves()
    told.say(e.ExecutionBlocked, code="cooldown", text="just ended", until_ms=T0 + 900_000)
    assert (told.ticket().status, told.ticket().tier) == ("BLOCKED", "notable")
    assert "blocked until 02:26: cooldown: just ended" in told.line("Action")


def test_what_all_have_agreed_to_at_a_wrong_hour_waits_to_be_asked_anew() -> None:
    told = Told()
    told.opens()
    told.proposes()
    told.asks_approval()
    told.approves()
    agreed = told.line("Approved")
    kept = Objection(code="quiet_hours", kind="wait", text="nights", until_ms=T0 + 900_000)
    told.say(e.ProposalDeferred, until_ms=T0 + 900_000, gives_up_ms=T0 + 2_700_000, objections=(kept,))
    assert told.ticket().status == "DEFERRED"
    assert "wait until 02:26: quiet_hours: nights" in told.line("Action")
    assert (agreed != "", told.line("Approved")) == (True, "")


AGAIN: dict[str, Any] = {
    "action": "evict_store_leaders",
    "params": '{"store_id":4}',
    "why": "slow",
    "cause": "slow_store",
    "confidence": 0.9,
    "disputed": False,
    "by": "playbook",
    "evidence": (),
}


def test_what_is_asked_again_in_vain_goes_on_waiting_on_the_ticket() -> None:
    """It said PROPOSED and DEFERRED by turns, and people were told of each (seed 1000000: 300 times in half an
    hour)."""
    told = Told()
    told.opens()
    told.proposes()
    for attempt in (1, 2, 3):
        until_ms = T0 + 60_000 * attempt
        young = Objection(code="pd_leader_young", kind="wait", text="leads for 12 s", until_ms=until_ms)
        told.say(
            e.ProposalDeferred, attempt=attempt, until_ms=until_ms, gives_up_ms=T0 + 1_800_000, objections=(young,)
        )
        told.say(e.ProposalAskedAgain, **AGAIN, attempt=attempt + 1)
    versions = [x.status for x in told.decided if isinstance(x, e.TicketWritten)]
    assert versions[:2] == ["NEW", "PROPOSED"]
    assert set(versions[2:]) == {"DEFERRED"}
    told.asks_approval()
    assert told.ticket().status == "WAITING FOR APPROVAL"


def test_while_it_runs_the_ticket_says_what_is_owed() -> None:
    told = Told()
    told.runs()
    assert (told.ticket().status, told.ticket().tier) == ("RUNNING", "routine")
    assert told.line("Undo") == "owed 02:31: DELETE evict-leader store 4"


def test_an_undo_that_does_not_come_is_seen_though_no_event_says_so() -> None:
    """While PD can't be read nothing is on record: the step that was made, and for how long, tell all the same."""
    told = Told()
    told.runs()
    wakes = told.rules.wakes_at(told.state)
    assert wakes == T0 + (331 + 900 + 60) * 1000, "due since the answer of the step, and some polls"
    told.now_s = 331 + 900 + 59
    assert not told.given(None)
    told.now_s += 1
    told.given(None)
    assert (told.ticket().status, told.ticket().tier) == ("RUNNING, UNDO OVERDUE", "critical")
    assert told.line("Undo") == "OVERDUE since 02:31: DELETE evict-leader store 4"
    assert "by hand: pd-ctl scheduler remove evict-leader-scheduler-4" in told.line("For you")
    assert told.rules.wakes_at(told.state) is None, "it is said once"

    told.undoes()
    assert told.ticket().status == "RUNNING"
    told.concludes()
    assert told.ticket().status == "FIXED, UNDONE"


def test_each_undo_that_was_not_sent_is_an_error_of_the_ticket() -> None:
    told = Told()
    told.runs()
    told.now_s = 331 + 900
    for step in (2, 3, 4):
        told.steps(step, "undo", answer="never_sent", status=0, code="pd_unreachable", body="no endpoint answers")
        told.now_s += 20
    assert told.line("Errors") == "the undo was not sent 3 times, last 02:32: pd_unreachable: no endpoint answers"
    assert "DELETE evict-leader store 4 -> never_sent pd_unreachable (3 times)" in told.line("Ran")
    assert told.ticket().status == "RUNNING"
    told.now_s += 10
    told.given(None)
    assert told.ticket().status == "RUNNING, UNDO OVERDUE"


def test_an_abort_brings_the_undo_forward() -> None:
    told = Told()
    told.runs()
    told.say(e.ExecutionAborting, at_s=400, topic="outcomes", code="frozen", text="freeze by anna: deploy")
    assert told.line("Undo") == "owed 02:17: DELETE evict-leader store 4"
    told.now_s = 460
    told.given(None)
    assert told.ticket().status == "RUNNING, UNDO OVERDUE"


def test_what_is_owed_outlasts_any_number_of_undos_that_were_tried() -> None:
    told = Told()
    told.runs()
    for step in range(2, SENT_KEPT_MAX + 20):
        told.steps(step, "undo", answer="never_sent", status=0)
    assert "DELETE evict-leader store 4" in told.line("Undo")


@pytest.mark.parametrize(
    ("outcome", "status", "tier"),
    [
        ("succeeded", "FIXED, UNDONE", "notable"),
        ("no_better", "NO BETTER, UNDONE", "notable"),
        ("worse", "WORSE, UNDONE", "critical"),
        ("failed_without_effect", "FAILED, NO EFFECT", "notable"),
        ("failed_partly", "FAILED PARTLY", "critical"),
        ("not_started", "NOT STARTED", "notable"),
        ("rehearsed", "REHEARSED", "routine"),
    ],
)
def test_each_outcome_has_its_word_and_its_loudness(outcome: str, status: str, tier: str) -> None:
    told = Told()
    told.runs()
    told.undoes()
    told.concludes(outcome)
    told.closes_remediation(outcome)
    assert (told.ticket().status, told.ticket().tier) == (status, tier)


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        ("cancelled", "anna: wrong store", "TAKEN BACK: cancelled by anna: wrong store; leaders 812 -> 0"),
        ("undo_asked", "anna: enough", "TAKEN BACK: undo asked by anna: enough; leaders 812 -> 0"),
        ("frozen", "freeze by ben: deploy", "TAKEN BACK: frozen: freeze by ben: deploy; leaders 812 -> 0"),
        ("deadline", "longer than allowed", "TAKEN BACK: out of time: longer than allowed; leaders 812 -> 0"),
    ],
)
def test_what_was_ended_by_a_word_or_a_limit_is_taken_back_and_by_what(code: str, text: str, said: str) -> None:
    told = Told()
    told.runs()
    told.undoes()
    told.concludes("no_better", code=code, text=text)
    told.closes_remediation("no_better", text)
    assert (told.ticket().status, told.ticket().tier) == ("TAKEN BACK", "notable")
    assert told.line("Outcome").startswith(said)
    assert told.line("Undo").endswith("Nothing left behind.")


def test_unknown_needs_a_person_and_ends_with_that_persons_word() -> None:
    told = Told()
    told.runs()
    told.concludes("unknown", code="cant_tell", text="PD does not answer", owed=PLAN.changes)
    told.say(e.ClusterQuarantined, text="quarantined")
    told.say(e.IncidentClosed, code="resolved", text="all resolved")
    assert (told.ticket().status, told.ticket().tier, told.ticket().open) == (
        "UNKNOWN: PERSON NEEDED",
        "critical",
        True,
    )
    assert told.line("Undo") == "OWED: DELETE evict-leader store 4"
    assert told.line("For you").startswith("undo by hand: pd-ctl scheduler remove evict-leader-scheduler-4\n")
    assert "steward resolve R-1093" in told.line("For you")
    told.say(e.ResolutionOrdered, outcome="succeeded", person="anna", reason="looked", approval=word("looked"))
    told.closes_remediation("resolved", "by anna: looked")
    assert (told.ticket().status, told.ticket().open) == ("FIXED", False)
    assert "succeeded by anna: looked" in told.line("Outcome")


def test_a_call_of_unknown_fate_shows_what_the_look_found() -> None:
    told = Told()
    told.runs()
    told.steps(step=2, kind="undo", answer="may_have_run", status=504)
    told.say(e.StepProbed, topic="outcomes", step=2, finding="not_started")
    assert "step 2: no answer to count on, looked: not started" in told.line("Errors")


def test_the_outcome_stays_when_the_incident_ends() -> None:
    told = Told()
    told.runs()
    told.concludes()
    told.closes_remediation("succeeded")
    told.say(e.IncidentClosed, code="resolved", text="all resolved")
    assert (told.ticket().status, told.ticket().open) == ("FIXED", False)


def test_topics_that_are_read_in_another_order_tell_the_same_story() -> None:
    told, other = Told(), Told()
    told.opens()
    told.proposes()
    told.claims()
    told.concludes("worse")
    other.now_s = 331
    other.claims()
    other.concludes("worse")
    assert other.versions() == 0, "nobody knows yet what it is about"
    other.proposes()
    other.now_s = 0
    other.opens()
    assert told.ticket().lines == other.ticket().lines


def test_an_event_of_an_unknown_remediation_makes_no_ticket() -> None:
    told = Told()
    assert told.say(e.ApprovalEscalated, step=1, asked="leads", expires_at_ms=T0) == ()
    assert told.say(e.ClaimRefused, topic="outcomes", code="frozen", text="") == ()


# -- how often ------------------------------------------------------------------------------------------------------


def test_a_storm_of_folded_alerts_does_not_write_a_version_each() -> None:
    told = Told()
    told.opens()
    for n in range(1, 1001):
        told.now_s = n * 0.07  # over a minute in all
        told.say(e.AlertFolded, alert=alert(fp=f"g{n}"), folded=n, firing=n + 1)
    assert told.versions() <= 4
    wakes = told.rules.wakes_at(told.state)
    assert wakes is not None
    told.now_s = (wakes - T0) / 1000
    told.given(None)
    assert "(+1000 folded)" in told.line("Alerts")
    assert told.rules.wakes_at(told.state) is None


def test_counts_alone_make_a_version_each_half_minute() -> None:
    told = Told()
    told.opens()
    (noted,) = told.say(e.AlertFolded, at_s=29.999, alert=alert(fp="g1"), folded=1, firing=2)
    assert isinstance(noted, e.TicketNoted)
    assert told.rules.wakes_at(told.state) == T0 + 30_000
    assert told.given(None) == []
    (written,) = told.say(e.AlertFolded, at_s=30, alert=alert(fp="g2"), folded=2, firing=3)
    assert isinstance(written, e.TicketWritten)
    assert told.rules.wakes_at(told.state) is None


def test_the_first_alerts_that_fold_wait_no_longer_than_a_diagnosis() -> None:
    told = Told()
    told.opens()
    told.say(e.AlertFolded, alert=alert(fp="g"), folded=1, firing=2)
    told.adopts()
    assert "(+1 folded)" in told.line("Alerts")


def test_what_changes_no_text_writes_no_version() -> None:
    told = Told()
    told.opens()
    told.adopts()
    count = told.versions()
    told.adopts()
    told.say(e.Sampled, topic="outcomes", sample=Sample(at_ms=T0))
    assert told.versions() == count


def test_closed_tickets_do_not_pile_up_for_ever() -> None:
    told = Told()
    for n in range(250):
        told.opens(incident_id=f"INC-{n}")
        told.say(e.IncidentClosed, incident_id=f"INC-{n}", code="resolved", text="")
    told.opens(incident_id="INC-open")
    assert list(told.state.tickets) == [*(f"INC-{n}" for n in range(51, 250)), "INC-open"]


def test_an_open_ticket_outlasts_any_number_of_closed_ones() -> None:
    told = Told()
    told.opens(incident_id="INC-open")
    for n in range(3):
        told.opens(incident_id=f"INC-{n}")
        told.say(e.IncidentClosed, incident_id=f"INC-{n}", code="resolved", text="")
    assert len(told.state.tickets) == 4, "there is room for all"
    for n in range(3, 250):
        told.opens(incident_id=f"INC-{n}")
        told.say(e.IncidentClosed, incident_id=f"INC-{n}", code="resolved", text="")
    assert len(told.state.tickets) == 200
    assert "INC-open" in told.state.tickets


# -- whatever is said -----------------------------------------------------------------------------------------------

STEPS = "opens asks makes adopts proposes asks_approval approves authorises claims steps undoes concludes".split()  # noqa: SIM905


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*STEPS, "fold", "tick", "wait", "close", "end"]), max_size=30))
def test_a_ticket_folded_from_its_events_is_what_it_was_when_it_was_decided(said: list[str]) -> None:
    told = Told()
    for what in said:
        match what:
            case "fold":
                told.say(e.AlertFolded, alert=alert(fp="g"), folded=3, firing=2)
            case "tick":
                told.given(None)
            case "wait":
                told.now_s += 31
            case "close":
                told.say(e.IncidentClosed, code="resolved", text="")
            case "end":
                told.closes_remediation("denied")
            case _:
                getattr(told, what)()
    restored = told.rules.initial("prod-eu-7")
    for event, head in zip(told.decided, told.heads, strict=True):
        restored = told.rules.evolve(restored, event, head)
    assert restored == told.state
    versions = [x.version for x in told.decided if isinstance(x, e.TicketWritten)]
    assert versions == list(range(1, len(versions) + 1))
    for _ in range(2):  # counts that wait, and an undo that does not come
        if (wakes := told.rules.wakes_at(told.state)) is not None:
            told.now_s = max(told.now_s, (wakes - T0) / 1000)
            assert told.given(None), "a tick that was asked for brings something about"
    assert told.rules.wakes_at(told.state) is None


@given(st.text(max_size=600))
def test_text_from_outside_is_one_plain_line(text: str) -> None:
    told = Told()
    told.opens(title=text, alert=alert(name=text))
    told.adopts(summary=text, cause="x", evidence=(seen(1, text),))
    told.closes_remediation(plain(text)[:40] or "code", text)
    text_of_it = page(told.ticket())
    assert max(len(line) for line in text_of_it.split("\n")) <= 160
    assert all(c == "\n" or c.isprintable() for c in text_of_it)
    assert text_of_it.count("\n") <= 60


def test_a_time_that_no_calendar_has_is_said_as_one_and_stops_no_ticket() -> None:
    assert (hh_mm(10**18), zoned(10**18), moment(10**18)) == ("?", "?Z", "-")
    told = Told()
    told.opens(alert=alert().model_copy(update={"starts_at_ms": 10**18}))
    assert told.line("Alerts").startswith("?Z TiKV_raft_append_log_duration_secs")


def test_parameters_are_said_plainly_even_where_they_are_not_what_they_should_be() -> None:
    assert params_text('{"keep_s":900,"store_id":4}') == "keep_s=900 store_id=4"
    assert params_text("[4]") == "[4]"
    assert params_text("{not json\x1b") == "{not json?"


@pytest.mark.parametrize(
    "call", [Call(name="add_cheese", args={"to": "4", "by": "7"}), Call(name="add_evict_leader", args={"to": "4"})]
)
def test_a_call_that_this_release_does_not_know_is_named_with_its_arguments(call: Call) -> None:
    said = " ".join([call.name, *(f"{k}={call.args[k]}" for k in sorted(call.args))])
    assert CALL_WORDS.as_sent(call) == CALL_WORDS.by_hand(call) == said


def test_an_alert_cannot_draw_on_a_terminal() -> None:
    assert plain("a\x1b[2Jb\u202ec\r\nd\u200b") == "a?[2Jb?c d?"
