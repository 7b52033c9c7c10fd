"""Signals -> incidents: one incident a cluster and cause, asked about, adopted, and closed when it is quiet.

Read `Incidents.decide` first. Each waiting state has its deadline in `wakes_at`: an answer that does not come, a name
not yet asked about, the quiet after the last alert, and the silence of a monitor that never says how it ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.alert_rules import family_of, level_of
from schemas.controls import Controls
from schemas.events import (
    AlertCleared,
    AlertFired,
    AlertFolded,
    AlertResolved,
    By,
    DiagnosisAbstained,
    DiagnosisAdopted,
    DiagnosisAsked,
    DiagnosisMade,
    DiagnosisOverdue,
    Event,
    IncidentClosed,
    IncidentOpened,
)
from schemas.processors import Record, Tick
from schemas.values import AlertRef, Head

UNKNOWN = "unknown"
OVERFLOW = "other:many"  # where alerts go that would open one incident too many


@dataclass(frozen=True)
class IncidentSettings:
    close_after_s: float = 300  # all alerts resolved for so long: over
    close_after_s_max: float = 3600  # each alert that fires again doubles the wait, up to here
    silent_close_s: float = 24 * 3600  # firing, but not a word for so long: closed as such
    repeat_noted_s: float = 3600  # a repeat is noted at most so often: it shows that the alert still fires
    echo_s: float = 120  # the other half of an HA pair may still say `firing` so long after `resolved`
    playbook_deadline_s: float = 20
    model_deadline_s: float | None = None  # None: no model configured
    ask_again_s: float = 300  # a new kind of alert is asked about at most so often
    alerts_kept_max: int = 100  # whole, for those who diagnose
    alerts_known_max: int = 2000  # by fingerprint, for knowing when all is over
    alerts_asked_max: int = 20
    incidents_max: int = 100  # open at once on one cluster


@dataclass(frozen=True)
class Watched:
    """One alert of an incident. `ref` is None where there are more than are kept whole."""

    starts_at_ms: int
    firing: bool
    ref: AlertRef | None


@dataclass(frozen=True)
class Round:
    """One question, put to the playbook and, where there is one, to the model."""

    number: int = 0
    asked_at_ms: int = 0
    asks: tuple[DiagnosisAsked, ...] = ()
    answers: Mapping[str, DiagnosisAdopted] = field(default_factory=dict)  # by ask
    overdue: frozenset[str] = frozenset()
    final: bool = False

    def pending(self) -> list[DiagnosisAsked]:
        """Asked, not answered, and still in time."""
        if self.final:
            return []
        return [a for a in self.asks if a.ask_id not in self.answers and a.ask_id not in self.overdue]


@dataclass(frozen=True)
class Incident:
    """An open one."""

    incident_id: str
    family: str
    synthetic: bool
    first: str  # the fingerprint that opened it
    heard_at_ms: int  # the last word of a monitor that changed something
    alerts: Mapping[str, Watched] = field(default_factory=dict)  # by fingerprint
    whole: int = 0  # of them with their `ref`
    firing: int = 0
    folded: int = 0  # distinct alerts beside the first
    again: int = 0  # how often one has fired again
    names: frozenset[str] = frozenset()
    unasked: frozenset[str] = frozenset()
    round: Round = Round()


@dataclass(frozen=True)
class Cluster:
    cluster_id: str
    opened: int = 0
    open: Mapping[str, Incident] = field(default_factory=dict)  # by family; synthetic ones, each by itself, apart
    echoes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # fingerprint -> (its start, cleared at)

    def incident(self, incident_id: str) -> Incident | None:
        return next((i for i in self.open.values() if i.incident_id == incident_id), None)


@dataclass(frozen=True)
class Incidents:
    """Decides: reads signals and diagnoses, writes incidents."""

    settings: IncidentSettings = IncidentSettings()

    def initial(self, cluster_id: str) -> Cluster:
        return Cluster(cluster_id)

    def decide(self, state: Cluster, given: Record | Tick, now_ms: int, controls: Controls) -> Sequence[Event]:
        said = _Said(self, state, now_ms)
        if isinstance(given, Tick):
            said.time_passes()
            return said.events
        match given.event:
            case AlertFired() as fired:
                said.fired(fired)
            case AlertResolved() as resolved:
                said.resolved(resolved)
            case DiagnosisMade() | DiagnosisAbstained() as answer:
                said.answered(answer)
        return said.events

    def evolve(self, state: Cluster, event: Event, head: Head) -> Cluster:
        return _evolve(self.settings, state, event, head.at_ms)

    def wakes_at(self, state: Cluster) -> int | None:
        return min((self._wakes_at(i) for i in state.open.values()), default=None)

    def _wakes_at(self, incident: Incident) -> int:
        times = [ask.deadline_ms for ask in incident.round.pending()] or [self.closes_at(incident)]
        if (at := self.asks_again_at(incident)) is not None:
            times.append(at)
        return min(times)

    def closes_at(self, incident: Incident) -> int:
        """When it is over if nothing is heard until then (ms)."""
        s = self.settings
        if incident.firing:
            return incident.heard_at_ms + _ms(s.silent_close_s)
        quiet_s = min(s.close_after_s * 2 ** min(incident.again, 32), max(s.close_after_s, s.close_after_s_max))
        return incident.heard_at_ms + _ms(quiet_s)

    def asks_again_at(self, incident: Incident) -> int | None:
        """When a name that was not asked about yet may be (ms); None: there is none, or answers are awaited."""
        if not incident.unasked or not incident.firing or incident.round.pending():
            return None
        return incident.round.asked_at_ms + _ms(self.settings.ask_again_s)


# -- the fold -------------------------------------------------------------------------------------------------------


def _evolve(settings: IncidentSettings, state: Cluster, event: Event, at_ms: int) -> Cluster:
    match event:
        case IncidentOpened():
            key = _key(event.family, event.synthetic, event.alert.fingerprint)
            opened = Incident(event.incident_id, event.family, event.synthetic, event.alert.fingerprint, at_ms)
            opened = _watch(settings, opened, event.alert, at_ms, again=False)
            return replace(state, opened=state.opened + 1, open={**state.open, key: replace(opened, folded=0)})
        case AlertFolded() | AlertCleared() | DiagnosisAsked() | DiagnosisAdopted() | DiagnosisOverdue():
            incident = state.incident(event.incident_id)
        case IncidentClosed():
            left = {k: i for k, i in state.open.items() if i.incident_id != event.incident_id}
            return replace(state, open=left)
        case _:
            return state
    if incident is None:
        return state
    asked = incident.round
    match event:
        case AlertFolded():
            incident = _watch(settings, incident, event.alert, at_ms, again=event.again)
        case AlertCleared():
            known = incident.alerts.get(event.fingerprint)
            if known and known.firing:
                alerts = {**incident.alerts, event.fingerprint: replace(known, firing=False)}
                incident = replace(incident, alerts=alerts, firing=incident.firing - 1, heard_at_ms=at_ms)
                since = at_ms - _ms(settings.echo_s)
                echoes = {f: e for f, e in state.echoes.items() if e[1] > since}
                echoes[event.fingerprint] = (event.starts_at_ms, at_ms)
                state = replace(state, echoes=echoes)
        case DiagnosisAsked(by="playbook"):  # the playbook is always asked, and first: it begins a round
            asked = Round(number=asked.number + 1, asked_at_ms=at_ms, asks=(event,))
            incident = replace(incident, unasked=frozenset())
        case DiagnosisAsked():
            asked = replace(asked, asks=(*asked.asks, event))
        case DiagnosisAdopted():
            answers = {**asked.answers, event.ask_id: event}
            asked = replace(asked, answers=answers, final=asked.final or event.final)
        case _:
            asked = replace(asked, overdue=asked.overdue | {event.ask_id})
    if asked is not incident.round:
        incident = replace(incident, round=asked)
    return replace(state, open={**state.open, _key(incident.family, incident.synthetic, incident.first): incident})


def _watch(settings: IncidentSettings, incident: Incident, alert: AlertRef, at_ms: int, *, again: bool) -> Incident:
    """One alert fires: a new one, one again, or one that still does."""
    alerts = dict(incident.alerts)
    known = alerts.get(alert.fingerprint)
    if known is None and len(alerts) >= settings.alerts_known_max:
        gone = alerts.pop(next(f for f, w in alerts.items() if not w.firing))
        incident = replace(incident, whole=incident.whole - (gone.ref is not None))
    whole = incident.whole - (known is not None and known.ref is not None)
    keep = whole < settings.alerts_kept_max
    alerts[alert.fingerprint] = Watched(alert.starts_at_ms, True, alert if keep else None)
    is_new_name = alert.name not in incident.names
    return replace(
        incident,
        alerts=alerts,
        whole=whole + keep,
        heard_at_ms=at_ms,
        firing=incident.firing + (known is None or not known.firing),
        folded=incident.folded + (known is None),
        again=incident.again + again,
        names=incident.names | {alert.name} if is_new_name else incident.names,
        unasked=incident.unasked | {alert.name} if is_new_name else incident.unasked,
    )


def _key(family: str, synthetic: bool, first: str) -> str:
    """A test folds neither into the real thing nor into another test: whoever sent it waits for its own ticket."""
    return f"{family}~{OVERFLOW if family == OVERFLOW else first}" if synthetic else family


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


# -- the decisions --------------------------------------------------------------------------------------------------


class _Said:
    """What is decided about one input, each event on top of those before it."""

    def __init__(self, rules: Incidents, state: Cluster, now_ms: int) -> None:
        self.rules, self.settings, self.state, self.now_ms = rules, rules.settings, state, now_ms
        self.events: list[Event] = []

    def say(self, event: Event) -> None:
        self.events.append(event)
        self.state = _evolve(self.settings, self.state, event, self.now_ms)

    # signals

    def fired(self, event: AlertFired) -> None:
        echo = self.state.echoes.get(event.fingerprint)
        if echo and event.starts_at_ms <= echo[0] and self.now_ms - echo[1] < _ms(self.settings.echo_s):
            return
        incident = self._home(event)
        if incident is None:
            self._open(event)
            return
        known = incident.alerts.get(event.fingerprint)
        if known is None:
            if incident.firing < self.settings.alerts_known_max:
                self._fold(incident, event, again=False)
            return
        if event.starts_at_ms < known.starts_at_ms:
            return
        again = event.starts_at_ms > known.starts_at_ms or not known.firing
        if again or self.now_ms - incident.heard_at_ms >= _ms(self.settings.repeat_noted_s):
            self._fold(incident, event, again=again)

    def resolved(self, event: AlertResolved) -> None:
        incident = self._home(event)
        known = incident.alerts.get(event.fingerprint) if incident else None
        if incident and known and known.firing and event.starts_at_ms >= known.starts_at_ms:
            self.say(
                AlertCleared(
                    cluster_id=self.state.cluster_id,
                    incident_id=incident.incident_id,
                    fingerprint=event.fingerprint,
                    starts_at_ms=event.starts_at_ms,
                    firing=incident.firing - 1,
                )
            )

    def _home(self, event: AlertFired | AlertResolved) -> Incident | None:
        """The open incident that this alert belongs to."""
        overflow = self.state.open.get(_key(OVERFLOW, event.synthetic, ""))
        if overflow and event.fingerprint in overflow.alerts:
            return overflow
        if event.synthetic:
            tests = (i for i in self.state.open.values() if i.synthetic and event.fingerprint in i.alerts)
            found = next(tests, None)
        else:
            found = self.state.open.get(family_of(event.name))
        return found or (overflow if self._is_full(event.synthetic) else None)

    def _is_full(self, synthetic: bool) -> bool:
        """Tests take no room of the real thing."""
        return sum(i.synthetic == synthetic for i in self.state.open.values()) >= self.settings.incidents_max

    def _open(self, event: AlertFired) -> None:
        family = OVERFLOW if self._is_full(event.synthetic) else family_of(event.name)
        named = f"{self.state.cluster_id}|{family}|{self.now_ms}|{self.state.opened + 1}"
        where = event.labels.get("instance") or event.labels.get("store_id") or ""
        self.say(
            IncidentOpened(
                cluster_id=self.state.cluster_id,
                incident_id=f"INC-{hashlib.sha256(named.encode()).hexdigest()[:8]}",
                family=family,
                title=f"{event.name} ({where})" if where else event.name,
                level=level_of(event.name, event.level),
                alert=event.ref(),
                incomplete=event.incomplete,
                synthetic=event.synthetic,
                generator_url=event.generator_url,
            )
        )
        self._ask(self.state.open[_key(family, event.synthetic, event.fingerprint)])

    def _fold(self, incident: Incident, event: AlertFired, *, again: bool) -> None:
        known = incident.alerts.get(event.fingerprint)
        folded = AlertFolded(
            cluster_id=self.state.cluster_id,
            incident_id=incident.incident_id,
            alert=event.ref(),
            again=again,
            folded=incident.folded + (known is None),
            firing=incident.firing + (known is None or not known.firing),
            generator_url=event.generator_url,
        )
        if event.name in incident.names and not incident.unasked:
            self.events.append(folded)  # the last word on this input, in a storm: not folded twice
            return
        self.say(folded)
        incident = self._now(incident)
        at = self.rules.asks_again_at(incident)
        if at is not None and at <= self.now_ms:
            self._ask(incident)

    # diagnoses

    def _ask(self, incident: Incident) -> None:
        s, number = self.settings, incident.round.number + 1
        alerts = tuple(_telling(incident.alerts.values(), s.alerts_asked_max))
        deadlines: tuple[tuple[By, float | None], ...] = (
            ("playbook", s.playbook_deadline_s),
            ("model", s.model_deadline_s),
        )
        for by, deadline_s in deadlines:
            if deadline_s is not None:
                self.say(
                    DiagnosisAsked(
                        cluster_id=self.state.cluster_id,
                        incident_id=incident.incident_id,
                        ask_id=f"{incident.incident_id}-{number}-{by}",
                        by=by,
                        deadline_ms=self.now_ms + _ms(deadline_s),
                        family=incident.family,
                        alerts=alerts,
                        synthetic=incident.synthetic,
                    )
                )

    def answered(self, answer: DiagnosisMade | DiagnosisAbstained) -> None:
        """The first answer to an ask that is still open counts. Late is better than never: it counts too."""
        incident = self.state.incident(answer.incident_id)
        if incident is None or incident.round.final or answer.ask_id in incident.round.answers:
            return
        ask = next((a for a in incident.round.asks if a.ask_id == answer.ask_id), None)
        if ask is None:
            return
        adopted = _adopted(answer, ask, incident.synthetic)
        others = [a for a in incident.round.pending() if a.ask_id != ask.ask_id]
        if others:
            self.say(adopted)
        else:
            self._settle([*incident.round.answers.values(), adopted])

    def _settle(self, answers: Sequence[DiagnosisAdopted]) -> None:
        """Nobody is waited for any more: the model's answer stands, else the playbook's, else that nobody knows."""
        made = {a.by: a for a in answers if a.cause != UNKNOWN}
        best = made.get("model") or made.get("playbook") or next((a for a in answers if a.by == "playbook"), answers[0])
        agreed = made["model"].cause == made["playbook"].cause if len(made) == 2 else None
        self.say(best.model_copy(update={"final": True, "agreed": agreed}))

    # time

    def time_passes(self) -> None:
        for incident in list(self.state.open.values()):
            self._overdue(incident)
            incident = self._now(incident)
            at = self.rules.asks_again_at(incident)
            if at is not None and at <= self.now_ms:
                self._ask(incident)
                incident = self._now(incident)
            if not incident.round.pending() and self.rules.closes_at(incident) <= self.now_ms:
                self._close(incident)

    def _overdue(self, incident: Incident) -> None:
        late = [ask for ask in incident.round.pending() if ask.deadline_ms <= self.now_ms]
        for ask in late:
            self.say(
                DiagnosisOverdue(
                    cluster_id=self.state.cluster_id, incident_id=incident.incident_id, ask_id=ask.ask_id, by=ask.by
                )
            )
        asked = self._now(incident).round
        if late and asked.answers and not asked.pending():
            self._settle(list(asked.answers.values()))

    def _close(self, incident: Incident) -> None:
        if incident.firing:
            code, text = "silent_too_long", "it was never resolved, and nothing was heard of it any more"
        else:
            code, text = "resolved", "all its alerts are resolved"
        self.say(
            IncidentClosed(cluster_id=self.state.cluster_id, incident_id=incident.incident_id, code=code, text=text)
        )

    def _now(self, incident: Incident) -> Incident:
        return self.state.open[_key(incident.family, incident.synthetic, incident.first)]


def _telling(alerts: Iterable[Watched], at_most: int) -> list[AlertRef]:
    """Those that say most: one of each name before a second one, what fires before what fired."""
    refs = [w.ref for w in sorted(alerts, key=lambda w: not w.firing) if w.ref]
    seen: dict[str, int] = {}
    ranked = []
    for ref in refs:
        ranked.append((seen.get(ref.name, 0), ref))
        seen[ref.name] = seen.get(ref.name, 0) + 1
    return [ref for _, ref in sorted(ranked, key=lambda pair: pair[0])[:at_most]]


def _adopted(answer: DiagnosisMade | DiagnosisAbstained, ask: DiagnosisAsked, synthetic: bool) -> DiagnosisAdopted:
    """An answer as the incident takes it, not final yet. Of the evidence only what is cited goes on."""
    made = answer if isinstance(answer, DiagnosisMade) else None
    return DiagnosisAdopted(
        cluster_id=answer.cluster_id,
        incident_id=answer.incident_id,
        ask_id=ask.ask_id,
        by=ask.by,
        final=False,
        cause=made.cause if made else UNKNOWN,
        confidence=made.confidence if made else 0,
        summary=answer.summary if isinstance(answer, DiagnosisMade) else f"{answer.code}: {answer.reason}",
        evidence=tuple(e for e in answer.evidence if made is None or e.id in made.cited),
        ruled_out=made.ruled_out if made else (),
        model=answer.model,
        synthetic=synthetic,
    )
