"""Signals -> incidents: folded, asked about, adopted, and closed when it is quiet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alert_rules import RULES
from schemas.controls import Controls
from schemas.events import (
    AlertCleared,
    AlertFired,
    AlertFolded,
    AlertResolved,
    DiagnosisAbstained,
    DiagnosisAdopted,
    DiagnosisAsked,
    DiagnosisMade,
    DiagnosisOverdue,
    Event,
    IncidentClosed,
    IncidentOpened,
    RuledOut,
)
from schemas.processors import Record, Tick
from schemas.values import Cause, Evidence, Head
from streams.incidents import OVERFLOW, Cluster, Incidents, IncidentSettings
from streams.pipeline import may_stand_on

T0 = 1_795_454_860_000
MODEL = IncidentSettings(model_deadline_s=60)
FAMILY = next(f for f in (r.family for r in RULES) if sum(r.family == f for r in RULES) >= 3)
ONE, TWO, THREE = [r.name for r in RULES if r.family == FAMILY][:3]
ELSEWHERE = next(r.name for r in RULES if r.family != FAMILY)


@dataclass
class Told:
    """The story of one cluster: what is given, and what was decided of it. Checks what must hold at every step."""

    rules: Incidents = field(default_factory=Incidents)
    now_s: float = 0
    decided: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state: Cluster = self.rules.initial("c1")
        self.heads: list[Head] = []

    @property
    def now_ms(self) -> int:
        return T0 + int(self.now_s * 1000)

    def given(self, event: Event | None) -> Sequence[Event]:
        said: Record | Tick
        if event is None:
            said = Tick("c1", self.now_ms)
        else:
            said = Record(
                "signals", 0, 0, self.now_ms, Head(event_id="x", at_ms=self.now_ms), event, Cause(topic="signals")
            )
        decided = self.rules.decide(self.state, said, self.now_ms, Controls())
        for one in decided:
            assert may_stand_on("incidents", one)
            head = Head(event_id="x", at_ms=self.now_ms)
            self.state = self.rules.evolve(self.state, one, head)
            self.heads.append(head)
        self.decided += decided
        for incident in self.state.open.values():
            assert incident.firing == sum(w.firing for w in incident.alerts.values())
            assert incident.whole == sum(w.ref is not None for w in incident.alerts.values())
            assert incident.whole <= self.rules.settings.alerts_kept_max
            assert len(incident.alerts) <= self.rules.settings.alerts_known_max
        assert (self.rules.wakes_at(self.state) is None) == (not self.state.open), "every open incident has a deadline"
        return decided

    def after(self, seconds: float) -> list[Event]:
        """Time passes, with every tick that is asked for."""
        until = self.now_s + seconds
        found: list[Event] = []
        while (at := self.rules.wakes_at(self.state)) is not None and at <= T0 + int(until * 1000):
            self.now_s = max(self.now_s, (at - T0) / 1000)
            ticked = self.given(None)
            assert ticked, "a tick that was asked for brings something about"
            found += ticked
        self.now_s = until
        return found

    def firing(self, name: str = ONE, fp: str = "f1", starts_s: float = -60, **more: Any) -> Sequence[Event]:
        start = T0 + int(starts_s * 1000)
        return self.given(
            AlertFired(cluster_id="c1", name=name, fingerprint=fp, starts_at_ms=start, level="", labels={}, **more)
        )

    def resolved(self, name: str = ONE, fp: str = "f1", starts_s: float = -60, **more: Any) -> Sequence[Event]:
        start = T0 + int(starts_s * 1000)
        return self.given(
            AlertResolved(
                cluster_id="c1", name=name, fingerprint=fp, starts_at_ms=start, ends_at_ms=self.now_ms, **more
            )
        )

    def ask(self, by: str) -> DiagnosisAsked:
        return next(e for e in reversed(self.decided) if isinstance(e, DiagnosisAsked) and e.by == by)

    def made(self, by: str, cause: str = "slow_store", ask: DiagnosisAsked | None = None) -> Sequence[Event]:
        ask = ask or self.ask(by)
        seen = tuple(Evidence(id=i, text=i, source="alert", seen_at_ms=T0) for i in ("E1", "E2"))
        return self.given(
            DiagnosisMade(
                cluster_id="c1",
                incident_id=ask.incident_id,
                ask_id=ask.ask_id,
                by=ask.by,
                cause=cause,
                confidence=0.8,
                summary=f"{by} says {cause}",
                evidence=seen,
                cited=("E1",),
            )
        )

    def abstained(self, by: str) -> Sequence[Event]:
        ask = self.ask(by)
        return self.given(
            DiagnosisAbstained(
                cluster_id="c1", incident_id=ask.incident_id, ask_id=ask.ask_id, by=ask.by, code="no_key", reason="none"
            )
        )


def record(event: Event) -> Record:
    return Record("diagnoses", 0, 0, T0, Head(event_id="x", at_ms=T0), event, Cause(topic="diagnoses"))


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(e).__name__ for e in events]


def adopted(events: Sequence[Event]) -> DiagnosisAdopted:
    (found,) = [e for e in events if isinstance(e, DiagnosisAdopted)]
    return found


def test_what_holds_where_nobody_has_set_anything() -> None:
    assert asdict(IncidentSettings()) == {
        "close_after_s": 300,
        "close_after_s_max": 3600,
        "silent_close_s": 86_400,
        "repeat_noted_s": 3600,
        "echo_s": 120,
        "playbook_deadline_s": 20,
        "model_deadline_s": None,
        "ask_again_s": 300,
        "alerts_kept_max": 100,
        "alerts_known_max": 2000,
        "alerts_asked_max": 20,
        "incidents_max": 100,
    }


# -- folding --------------------------------------------------------------------------------------------------------


def test_the_first_alert_opens_an_incident_and_asks_the_playbook() -> None:
    told = Told()
    opened, asked = told.firing()
    assert isinstance(opened, IncidentOpened)
    assert isinstance(asked, DiagnosisAsked)
    assert (opened.family, asked.by, asked.deadline_ms) == (FAMILY, "playbook", T0 + 20_000)
    assert opened.incident_id == "INC-" + hashlib.sha256(f"c1|{FAMILY}|{T0}|1".encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("labels", "where"),
    [({"instance": "i:1", "store_id": "4"}, " (i:1)"), ({"store_id": "4"}, " (4)"), ({"job": "tikv"}, "")],
)
def test_an_incident_is_titled_by_its_first_alert(labels: dict[str, str], where: str) -> None:
    told = Told()
    fired = AlertFired(
        cluster_id="c1",
        name=ONE,
        fingerprint="f1",
        starts_at_ms=T0,
        level="emergency",
        labels=labels,
        annotations={"summary": "s"},
        incomplete=True,
        generator_url="http://prometheus/1",
    )
    (opened, asked) = told.given(fired)
    assert isinstance(opened, IncidentOpened)
    assert isinstance(asked, DiagnosisAsked)
    assert (opened.title, opened.level, opened.alert) == (ONE + where, "emergency", fired.ref())
    assert (opened.incomplete, opened.generator_url, opened.synthetic) == (True, "http://prometheus/1", False)
    assert (asked.ask_id, asked.family) == (f"{opened.incident_id}-1-playbook", FAMILY)
    assert asked.alerts == (fired.ref(),)


def test_where_a_model_is_configured_it_is_asked_as_well() -> None:
    told = Told(Incidents(MODEL))
    assert kinds(told.firing()) == ["IncidentOpened", "DiagnosisAsked", "DiagnosisAsked"]
    assert told.ask("model").deadline_ms == T0 + 60_000


def test_a_storm_of_one_cause_is_one_incident() -> None:
    told = Told()
    for n in range(1000):
        told.firing(fp=f"f{n}")
    assert kinds(told.decided).count("IncidentOpened") == 1
    assert kinds(told.decided).count("DiagnosisAsked") == 1
    last = told.decided[-1]
    assert isinstance(last, AlertFolded)
    assert (last.folded, last.firing) == (999, 1000)
    (incident,) = told.state.open.values()
    assert sum(w.ref is not None for w in incident.alerts.values()) == 100


def test_alerts_of_another_family_are_another_incident() -> None:
    told = Told()
    told.firing()
    assert kinds(told.firing(ELSEWHERE, fp="f2")) == ["IncidentOpened", "DiagnosisAsked"]


def test_an_ha_pair_that_says_everything_twice_changes_nothing() -> None:  # Alertmanager #1005, #2447
    told = Told()
    told.firing()
    assert told.firing() == []
    told.resolved()
    assert told.resolved() == []
    told.now_s += 60
    assert told.firing() == [], "the slower half still says firing, after the faster one has said resolved"
    assert kinds(told.after(3600)) == ["DiagnosisOverdue", "IncidentClosed"]


def test_distinct_alerts_of_one_name_are_both_watched() -> None:  # Keep #958
    told = Told()
    told.firing(fp="f1")
    told.firing(fp="f2")
    told.resolved(fp="f1")
    assert kinds(told.after(3600)) == ["DiagnosisOverdue"], "f2 still fires"
    told.resolved(fp="f2")
    assert kinds(told.after(3600)) == ["IncidentClosed"]


def test_a_resolved_signal_of_an_unknown_alert_changes_nothing() -> None:
    told = Told()
    assert told.resolved() == []
    told.firing()
    assert told.resolved(fp="f2") == []
    assert told.resolved(starts_s=-120) == [], "that was an earlier time"


def test_a_missed_resolution_is_made_up_for_by_a_later_one() -> None:
    told = Told()
    told.firing(starts_s=-60)
    assert kinds(told.resolved(starts_s=-30)) == ["AlertCleared"]


def test_a_synthetic_alert_never_folds_into_a_real_incident() -> None:
    told = Told()
    told.firing()
    opened, asked = told.firing(fp="f2", synthetic=True)
    assert isinstance(opened, IncidentOpened)
    assert isinstance(asked, DiagnosisAsked)
    assert opened.synthetic
    assert asked.synthetic
    assert kinds(told.resolved(fp="f2", synthetic=True)) == ["AlertCleared"]


def test_each_synthetic_alert_has_an_incident_of_its_own_and_takes_no_room_of_a_real_one() -> None:
    told = Told(Incidents(IncidentSettings(incidents_max=2)))
    tests = [told.firing(fp=f"t{n}", synthetic=True) for n in range(4)]
    assert [kinds(t) for t in tests[:2]] == [["IncidentOpened", "DiagnosisAsked"]] * 2
    assert told.firing(fp="t0", synthetic=True) == [], "the same one again"
    assert kinds(told.resolved(fp="t1", synthetic=True)) == ["AlertCleared"]
    (opened, _) = told.firing(fp="real")
    assert isinstance(opened, IncidentOpened)
    assert opened.family != OVERFLOW


def test_alerts_of_endless_new_names_do_not_open_endless_incidents() -> None:
    told = Told(Incidents(IncidentSettings(incidents_max=3)))
    for n in range(10):
        told.firing(f"somebody's {n}", fp=f"f{n}")
    assert kinds(told.decided).count("IncidentOpened") == 4
    for n in range(10):
        told.resolved(f"somebody's {n}", fp=f"f{n}")
    told.after(10_000)
    assert not told.state.open


# -- closing --------------------------------------------------------------------------------------------------------


def test_an_incident_closes_only_when_it_has_been_quiet_for_so_long() -> None:
    told = Told()
    told.firing()
    told.made("playbook")
    told.resolved()
    assert told.after(299) == []
    (closed,) = told.after(1)
    assert isinstance(closed, IncidentClosed)
    assert closed.code == "resolved"


def test_an_alert_that_flaps_is_folded_and_waited_for_longer() -> None:
    told = Told()
    told.firing()
    told.made("playbook")
    told.resolved()
    told.now_s += 200
    (folded,) = told.firing(starts_s=190)
    assert isinstance(folded, AlertFolded)
    assert (folded.again, folded.folded, folded.firing) == (True, 0, 1)
    told.resolved(starts_s=190)
    assert told.after(599) == []
    assert kinds(told.after(1)) == ["IncidentClosed"]


def test_the_wait_for_quiet_has_a_maximum() -> None:
    told = Told()
    for n in range(20):
        told.firing(starts_s=told.now_s)
        told.resolved(starts_s=told.now_s)
        told.now_s += 1 + n
    told.made("playbook")
    assert kinds(told.after(3600)) == ["IncidentClosed"]


def test_the_same_alert_fires_again_where_the_monitor_was_gone_for_a_while() -> None:
    told = Told()
    told.firing()
    told.resolved()  # Alertmanager timed it out; its start stays what it was
    told.now_s += 121
    (folded,) = told.firing()
    assert isinstance(folded, AlertFolded)
    assert folded.again


def test_how_long_the_other_half_of_a_pair_is_taken_for_an_echo() -> None:
    told = Told()
    told.firing()
    told.resolved()
    told.now_s = 119.999
    assert told.firing() == []
    (folded,) = told.firing(starts_s=-59)
    assert isinstance(folded, AlertFolded), "it has begun anew: no echo"

    told = Told()
    told.firing()
    told.resolved()
    told.now_s = 120
    assert kinds(told.firing()) == ["AlertFolded"]


def test_echoes_are_forgotten() -> None:
    told = Told()
    told.firing(fp="f1")
    told.firing(fp="f2")
    told.resolved(fp="f1")
    told.now_s = 119.999
    told.resolved(fp="f2")
    assert set(told.state.echoes) == {"f1", "f2"}
    told.firing(fp="f3")
    told.now_s = 120
    told.resolved(fp="f3")
    assert set(told.state.echoes) == {"f2", "f3"}


def test_each_alert_that_fires_again_doubles_the_wait() -> None:
    told = Told()
    told.firing()
    told.made("playbook")
    told.resolved()
    for again in (1, 2, 3):
        told.now_s += 200
        told.firing(starts_s=told.now_s)
        told.resolved(starts_s=told.now_s)
        assert told.rules.wakes_at(told.state) == told.now_ms + 300_000 * 2**again


def test_an_alert_of_which_nothing_is_heard_any_more_closes_its_incident() -> None:
    told = Told()
    told.firing()
    told.made("playbook")
    assert told.after(24 * 3600 - 1) == []
    (closed,) = told.after(1)
    assert isinstance(closed, IncidentClosed)
    assert closed.code == "silent_too_long"


def test_a_repeat_shows_that_the_alert_still_fires() -> None:
    told = Told()
    told.firing()
    told.made("playbook")
    for _ in range(10):
        told.after(4 * 3600)  # Alertmanager's repeat_interval
        assert kinds(told.firing()) == ["AlertFolded"]
        assert told.firing() == []
    assert told.state.open


def test_a_repeat_is_noted_once_an_hour() -> None:
    told = Told()
    told.firing()
    told.made("playbook")
    told.now_s = 3599.999
    assert told.firing() == []
    told.now_s = 3600
    (folded,) = told.firing(generator_url="http://prometheus/2")
    assert isinstance(folded, AlertFolded)
    assert (folded.again, folded.folded, folded.firing) == (False, 0, 1)
    assert folded.generator_url == "http://prometheus/2"


def test_an_alert_after_the_end_opens_a_new_incident() -> None:
    told = Told()
    told.firing()
    told.resolved()
    told.after(3600)
    told.firing(starts_s=3600)
    first, second = (e.incident_id for e in told.decided if isinstance(e, IncidentOpened))
    assert first != second
    assert second == "INC-" + hashlib.sha256(f"c1|{FAMILY}|{T0 + 3_600_000}|2".encode()).hexdigest()[:8]


# -- answers --------------------------------------------------------------------------------------------------------


def test_the_playbooks_answer_is_final_where_nobody_else_is_asked() -> None:
    told = Told()
    told.firing()
    found = adopted(told.made("playbook"))
    assert (found.by, found.final, found.agreed, found.cause) == ("playbook", True, None, "slow_store")
    assert [e.id for e in found.evidence] == ["E1"], "only what is cited goes on"


@pytest.mark.parametrize(("cause", "agreed"), [("slow_store", True), ("hot_region", False)])
def test_the_models_answer_follows_the_playbooks_and_is_final(cause: str, agreed: bool) -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    assert not adopted(told.made("playbook")).final
    found = adopted(told.made("model", cause))
    assert (found.by, found.final, found.agreed, found.cause) == ("model", True, agreed, cause)


def test_the_playbook_is_heard_even_where_the_model_is_quicker() -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    assert not adopted(told.made("model")).final
    found = adopted(told.made("playbook", "hot_region"))
    assert (found.by, found.final, found.agreed, found.cause) == ("model", True, False, "slow_store")


def test_a_model_that_is_late_leaves_the_playbooks_answer() -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    told.made("playbook")
    overdue, found = told.after(60)
    assert isinstance(overdue, DiagnosisOverdue)
    assert isinstance(found, DiagnosisAdopted)
    assert (overdue.by, found.by, found.final, found.agreed) == ("model", "playbook", True, None)
    assert told.made("model") == [], "the answer comes after the last word"


def test_a_model_that_abstains_leaves_the_playbooks_answer() -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    told.made("playbook")
    found = adopted(told.abstained("model"))
    assert (found.by, found.final, found.cause) == ("playbook", True, "slow_store")


def test_a_model_that_knows_stands_where_the_playbook_abstains() -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    assert adopted(told.abstained("playbook")).cause == "unknown"
    found = adopted(told.made("model"))
    assert (found.by, found.final, found.agreed) == ("model", True, None)


def test_where_both_abstain_the_cause_is_unknown() -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    told.abstained("playbook")
    found = adopted(told.abstained("model"))
    assert (found.cause, found.final, found.summary) == ("unknown", True, "no_key: none")


def test_where_the_model_abstains_and_the_playbook_is_late_the_cause_is_unknown_and_the_models_reason_stands() -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    told.abstained("model")
    overdue, found = told.after(60)
    assert isinstance(overdue, DiagnosisOverdue)
    assert isinstance(found, DiagnosisAdopted)
    assert (overdue.by, found.by, found.cause, found.final) == ("playbook", "model", "unknown", True)


def test_what_an_incident_takes_of_an_answer() -> None:
    told = Told()
    told.firing(synthetic=True)
    ask = told.ask("playbook")
    said: dict[str, Any] = {
        "cluster_id": "c1",
        "incident_id": ask.incident_id,
        "ask_id": ask.ask_id,
        "by": "model",
        "model": "m",
        "evidence": tuple(Evidence(id=i, text=i, source="alert", seen_at_ms=T0) for i in ("E1", "E2")),
    }
    ruled_out = (RuledOut(what="load", evidence=("E2",)),)
    made = DiagnosisMade(
        **said, cause="slow_store", confidence=0.8, summary="slow store 4", cited=("E2",), ruled_out=ruled_out
    )
    found = adopted(told.rules.decide(told.state, record(made), T0, Controls()))
    assert (
        found
        == DiagnosisAdopted(
            cluster_id="c1",
            incident_id=ask.incident_id,
            ask_id=ask.ask_id,
            by="playbook",  # who was asked
            final=True,
            cause="slow_store",
            confidence=0.8,
            summary="slow store 4",
            evidence=said["evidence"][1:],
            ruled_out=ruled_out,
            model="m",
            synthetic=True,
        )
    )
    abstained = DiagnosisAbstained(**said, code="no_key", reason="none")
    found = adopted(told.rules.decide(told.state, record(abstained), T0, Controls()))
    assert (found.cause, found.confidence, found.summary) == ("unknown", 0, "no_key: none")
    assert (found.evidence, found.ruled_out) == (said["evidence"], ())


def test_an_answer_that_nobody_waits_for_any_more_is_still_better_than_none() -> None:
    told = Told()
    told.firing()
    assert kinds(told.after(3600)) == ["DiagnosisOverdue"]
    assert adopted(told.made("playbook")).final


def test_an_answer_counts_once_and_only_where_it_was_asked_for() -> None:
    told = Told(Incidents(MODEL))
    told.firing()
    told.made("playbook")
    assert told.made("playbook", "hot_region") == []
    nobody_asked = told.ask("playbook").model_copy(update={"ask_id": "x"})
    assert told.made("playbook", ask=nobody_asked) == []
    nowhere = told.ask("playbook").model_copy(update={"incident_id": "INC-x"})
    assert told.made("playbook", ask=nowhere) == []


def test_an_incident_does_not_close_while_an_answer_is_awaited() -> None:
    told = Told(Incidents(IncidentSettings(close_after_s=5, model_deadline_s=60)))
    told.firing()
    told.made("playbook")
    told.resolved()
    assert told.after(59) == []
    assert kinds(told.after(1)) == ["DiagnosisOverdue", "DiagnosisAdopted", "IncidentClosed"]


def test_an_incident_does_not_close_early_because_time_passes_for_another() -> None:
    told = Told(Incidents(IncidentSettings(close_after_s=5, playbook_deadline_s=60)))
    told.firing(ELSEWHERE, fp="f2")
    told.now_s += 30
    told.firing()
    told.resolved()
    assert kinds(told.after(31)) == ["DiagnosisOverdue"], "the other one's; this one's answer is awaited for 29 s more"


def test_what_fires_no_more_is_not_asked_about_again() -> None:
    told = Told()
    told.firing(ONE, fp="f1")
    told.made("playbook")
    told.firing(TWO, fp="f2")
    told.resolved(ONE, fp="f1")
    told.now_s += 299
    told.resolved(TWO, fp="f2")
    assert kinds(told.after(3600)) == ["IncidentClosed"]


def test_more_alerts_than_can_be_known_forget_those_that_are_over() -> None:
    told = Told(Incidents(IncidentSettings(alerts_kept_max=2, alerts_known_max=4)))
    for n in range(6):
        told.firing(fp=f"f{n}")
    assert kinds(told.decided).count("AlertFolded") == 3, "the fifth and the sixth are too many"
    told.resolved(fp="f1")
    assert kinds(told.firing(fp="f4")) == ["AlertFolded"]


def test_a_new_kind_of_alert_is_asked_about_but_not_in_a_storm() -> None:
    told = Told()
    told.firing(ONE, fp="f1")
    told.made("playbook")
    assert kinds(told.firing(TWO, fp="f2")) == ["AlertFolded"]
    assert kinds(told.firing(THREE, fp="f3")) == ["AlertFolded"]
    (asked,) = told.after(300)
    assert isinstance(asked, DiagnosisAsked)
    assert {a.name for a in asked.alerts} == {ONE, TWO, THREE}
    assert asked.ask_id == f"{asked.incident_id}-2-playbook"
    assert adopted(told.made("playbook")).ask_id == asked.ask_id
    assert told.after(3600) == []


def test_a_new_kind_of_alert_long_after_the_last_question_is_asked_about_at_once() -> None:
    told = Told()
    told.firing(ONE, fp="f1")
    told.made("playbook")
    told.now_s += 301
    assert kinds(told.firing(TWO, fp="f2")) == ["AlertFolded", "DiagnosisAsked"]


def test_one_alert_of_each_name_is_shown_before_a_second_one() -> None:
    told = Told(Incidents(IncidentSettings(alerts_asked_max=3)))
    for n in range(5):
        told.firing(ONE, fp=f"f{n}")
    told.made("playbook")
    told.firing(TWO, fp="g")
    (asked,) = told.after(300)
    assert isinstance(asked, DiagnosisAsked)
    assert [a.name for a in asked.alerts] == [ONE, TWO, ONE]


# -- whatever the order ---------------------------------------------------------------------------------------------

_steps = st.lists(
    st.tuples(
        st.sampled_from(["firing", "resolved", "wait", "playbook", "model", "abstain"]),
        st.sampled_from([ONE, TWO, ELSEWHERE, "somebody's own"]),
        st.sampled_from(["f1", "f2", "f3"]),
        st.sampled_from([-600, -60, 0, 100]),
        st.sampled_from([0, 1, 30, 130, 400, 4000]),
        st.booleans(),
    ),
    max_size=40,
)


def play(told: Told, steps: Sequence[tuple[str, str, str, int, int, bool]]) -> None:
    for what, name, fp, starts_s, wait_s, synthetic in steps:
        asked = [e for e in told.decided if isinstance(e, DiagnosisAsked)]
        match what:
            case "firing":
                told.firing(name, fp + name, starts_s, synthetic=synthetic)
            case "resolved":
                told.resolved(name, fp + name, starts_s, synthetic=synthetic)
            case "wait":
                told.after(wait_s)
            case "abstain" if asked:
                told.abstained("playbook")
            case "playbook" | "model" if asked:
                told.made(what, ask=asked[starts_s % len(asked)])


@settings(max_examples=200, deadline=None)
@given(_steps, st.booleans())
def test_whatever_comes_in_whatever_order_every_incident_ends(
    steps: list[tuple[str, str, str, int, int, bool]], model: bool
) -> None:
    told = Told(Incidents(IncidentSettings(model_deadline_s=60 if model else None, incidents_max=2)))
    play(told, steps)
    told.after(30 * 3600)
    assert not told.state.open
    opened = [e.incident_id for e in told.decided if isinstance(e, IncidentOpened)]
    closed = [e.incident_id for e in told.decided if isinstance(e, IncidentClosed)]
    assert sorted(opened) == sorted(closed)
    assert len(set(opened)) == len(opened)
    for ask in (e for e in told.decided if isinstance(e, DiagnosisAsked)):
        answered = [
            e for e in told.decided if isinstance(e, DiagnosisAdopted | DiagnosisOverdue) and e.ask_id == ask.ask_id
        ]
        final = [
            e for e in told.decided if isinstance(e, DiagnosisAdopted) and e.final and e.incident_id == ask.incident_id
        ]
        assert answered or final, "every ask has an end"


@settings(max_examples=100, deadline=None)
@given(_steps)
def test_an_incident_folded_from_its_events_is_what_it_was_when_it_was_decided(
    steps: list[tuple[str, str, str, int, int, bool]],
) -> None:
    told = Told(Incidents(MODEL))
    play(told, steps)
    restored = told.rules.initial("c1")
    for event, head in zip(told.decided, told.heads, strict=True):
        restored = told.rules.evolve(restored, event, head)
    assert restored == told.state


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["firing", "resolved"]), max_size=10), st.integers(1, 3))
def test_what_is_said_twice_is_decided_once(said: list[str], times: int) -> None:
    once, often = Told(), Told()
    for what in said:
        getattr(once, what)()
        for _ in range(times):
            getattr(often, what)()
    assert once.decided == often.decided


def test_clearing_says_how_many_still_fire() -> None:
    told = Told()
    told.firing(fp="f1")
    told.firing(fp="f2")
    (cleared,) = told.resolved(fp="f1")
    assert isinstance(cleared, AlertCleared)
    assert cleared.firing == 1


def test_an_alert_of_before_the_one_that_is_known_says_nothing_new() -> None:
    told = Told()
    told.firing(starts_s=-60)
    told.now_s = 24 * 3600
    assert not told.firing(starts_s=-61)
    assert told.firing(starts_s=-60), "while the one that is known, heard again after so long, is noted"


def test_an_alert_that_is_cleared_once_more_is_not_counted_once_more() -> None:
    told = Told()
    told.firing()
    told.firing(TWO, "f2")
    told.resolved()
    cleared = next(x for x in told.decided if isinstance(x, AlertCleared))
    for again in (cleared, cleared.model_copy(update={"fingerprint": "f404"})):
        assert told.rules.evolve(told.state, again, Head(event_id="x", at_ms=told.now_ms)) == told.state


def test_what_the_ledger_says_of_an_incident_that_is_not_open_changes_nothing() -> None:
    told = Told()
    told.firing()
    overdue = DiagnosisOverdue(cluster_id="c1", incident_id="INC-404", ask_id="A", by="model")
    assert told.rules.evolve(told.state, overdue, Head(event_id="x", at_ms=told.now_ms)) == told.state
