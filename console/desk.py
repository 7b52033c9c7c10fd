"""Every verb of people, once: behind the command line, the HTTP API, and whatever comes later.

Words about a remediation are signed and published; the ledgers decide what they come to. Nothing here acts. Each verb
either returns what it did, acknowledged by the log, or raises Refusal with a code, the field and the reason.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar, get_args

from actions.catalogue import FORBIDDEN
from console.journal import IncidentStory, Journal, Line, Reason, RemediationStory, Waits, overdue_text, said_now
from console.words import lifting, said, stopped
from infra.publisher import Refused
from schemas import events as e
from schemas.alertmanager import fingerprint_of
from schemas.controls import Controls
from schemas.policy import Policy
from schemas.signing import Claims, Jwk, kid_of, sign
from schemas.text import clean, people, zoned
from schemas.values import EVERY_CLUSTER, Poison, SignedApproval, canonical_json

T = TypeVar("T")
Kind = Literal["wrong_use", "forbidden", "not_found", "conflict", "invalid", "too_large", "unavailable"]
DIGITS_MIN = 12
REASON_CHARS_MAX = 500
VALID_MS = 30 * 60 * 1000  # an approval not used by then has expired
TEST_ALERT = "StewardTest"
NAMED_MAX = 10
RESOLUTIONS = tuple(o for o in get_args(e.Outcome) if o not in ("unknown", "rehearsed"))
_HEX = re.compile(r"[0-9a-f]+")
_PLACE = re.compile(r"[a-z-]+/(0|[1-9][0-9]*)@(0|[1-9][0-9]*)", re.ASCII)


class Refusal(Exception):
    """The desk says no: `kind` for the caller, `code`, `field` and `reason` for people and scripts."""

    def __init__(self, kind: Kind, code: str, reason: str, field: str = "") -> None:
        super().__init__(f"{code}: {field + ': ' if field else ''}{reason}")
        self.kind, self.code, self.field, self.reason = kind, code, field, reason


class Publish(Protocol):
    """Writes one event to a topic of the console's and returns once it is acknowledged. Anything else raises."""

    def __call__(self, topic: str, cluster_id: str, event: e.Event) -> Awaitable[None]: ...


class AuditPort(Protocol):
    """The audit store. Raises Refusal: `wrong_use` for a question that nobody has written or that is asked wrongly,
    `not_found` for a cluster that is neither configured nor on record, `conflict`, `unavailable`."""

    async def query(self, name: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        """{"columns": [...], "rows": [[...], ...]}"""
        ...

    async def verify(
        self, cluster_id: str, source: Literal["clickhouse", "kafka", "both"] = "clickhouse"
    ) -> Mapping[str, Any]:
        """{"ok": bool, "text": the headline and what is below it, ...}; empty `cluster_id`: all."""
        ...

    async def export(self, cluster_id: str, since: str, until: str) -> AsyncIterator[bytes]:
        """The record as JSON lines, some at a time; what is empty is not asked for."""
        ...


class ReplayPort(Protocol):
    """Past incidents decided again. Raises Refusal: `not_found` for an incident that the source does not know."""

    async def replay(self, incident: str, source: str) -> Mapping[str, Any]:
        """{"ok": bool, "text": for people, "differing": [...], ...}; `source`: clickhouse, kafka, or empty."""
        ...


@dataclass(frozen=True)
class Place:
    """What the desk must know of a configured cluster."""

    pd_cluster_id: int
    tier: int
    alert_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Who:
    """A person whose identity has been established, and how they came here."""

    person: str
    via: str = "cli"


@dataclass(frozen=True)
class Done:
    """What a verb has done: `text` for people. `awaits`: how many words the ledger had answered before this one."""

    text: str
    id: str = ""
    approval_id: str = ""
    awaits: int = -1


@dataclass
class Desk:
    environment: str
    clusters: Mapping[str, Place]
    journal: Journal
    publish: Publish
    now_ms: Callable[[], int]
    new_id: Callable[[], str]
    key: Jwk | None  # None: nothing can be signed, so nothing can be approved here
    draft: Policy = field(default_factory=Policy)
    take_in: Callable[[bytes], Awaitable[str]] | None = None  # a webhook body, as the gateway would take it
    known_actions: frozenset[str] | None = None  # None: names of actions are not checked
    troubles: Mapping[str, str] = field(default_factory=dict)  # by role of this process: what is wrong with it now
    audit_lag: Callable[[], Mapping[str, int] | None] = lambda: None  # records by topic; None: nobody here knows

    # -- about a remediation: signed ------------------------------------------------------------------------------

    async def approve(self, who: Who, id: str, digest: str, reason: str) -> Done:
        """Counts for the plan that `show` showed, if that is still the one that is asked about."""
        story = self._remediation(id)
        given = digest.strip().lower()
        if not _HEX.fullmatch(given) or not DIGITS_MIN <= len(given) <= 64:
            raise Refusal(
                "invalid", "bad_digest", f"give back the digest that `show` shows: {DIGITS_MIN} hex digits", "digest"
            )
        self._may(story, "approve")
        ask = story.ask
        assert ask is not None  # of a remediation that is asked about
        if self.now_ms() > story.expires_at_ms:
            raise Refusal("conflict", "expired", f"the ask has expired at {zoned(story.expires_at_ms)}")
        if not ask.digest.startswith(given):
            raise Refusal(
                "conflict", "wrong_digest", f"{id} is about plan {ask.digest[:DIGITS_MIN]} now: read it again", "digest"
            )
        if who.person == story.by:
            raise Refusal("forbidden", "self_approval", f"{who.person} proposed it")
        if who.person in {a.person for a in story.approvals}:
            raise Refusal("conflict", "already_counted", f"{who.person} has approved it already")
        signed = self._sign(who, story, "approve", ask.digest, reason)
        event = e.Approved(cluster_id=story.cluster_id, remediation_id=id, digest=ask.digest, approval=signed)
        return await self._say(story, event, signed)

    async def deny(self, who: Who, id: str, reason: str) -> Done:
        story = self._remediation(id)
        self._may(story, "deny")
        signed = self._sign(who, story, "deny", story.ask.digest if story.ask else "", reason)
        return await self._say(story, e.Denied(cluster_id=story.cluster_id, remediation_id=id, approval=signed), signed)

    async def cancel(self, who: Who, id: str, reason: str) -> Done:
        story = self._remediation(id)
        self._may(story, "cancel")
        signed = self._sign(who, story, "cancel", "", reason)
        return await self._say(
            story, e.CancelAsked(cluster_id=story.cluster_id, remediation_id=id, approval=signed), signed
        )

    async def undo(self, who: Who, id: str, reason: str) -> Done:
        story = self._remediation(id)
        if story.state == "running" and story.remedy.is_undone():
            at = max(u.at_ms for u in story.remedy.undone)
            text = f"all that {id} has changed was seen undone at {zoned(at)}; it is watched to stay so"
            raise Refusal("conflict", "already_undone", text)
        self._may(story, "undo")
        signed = self._sign(who, story, "undo", "", reason)
        return await self._say(
            story, e.UndoAsked(cluster_id=story.cluster_id, remediation_id=id, approval=signed), signed
        )

    async def did_it_myself(self, who: Who, id: str, reason: str) -> Done:
        story = self._remediation(id)
        self._may(story, "did-it-myself")
        signed = self._sign(who, story, "by_hand", "", reason)
        return await self._say(
            story, e.DoneByHand(cluster_id=story.cluster_id, remediation_id=id, approval=signed), signed
        )

    async def resolve(self, who: Who, id: str, outcome: str, reason: str) -> Done:
        """How an UNKNOWN ended, by somebody who has looked."""
        story = self._remediation(id)
        if outcome not in RESOLUTIONS:
            raise Refusal("invalid", "bad_outcome", f"one of {', '.join(RESOLUTIONS)}", "outcome")
        self._may(story, "resolve")
        signed = self._sign(who, story, f"resolve:{outcome}", "", reason)
        event = e.OutcomeResolved.model_validate(
            {"cluster_id": story.cluster_id, "remediation_id": id, "outcome": outcome, "approval": signed}
        )
        return await self._say(story, event, signed)

    def answer(self, done: Done) -> Line | None:
        """What the ledger has answered to a word, once it has said all of it, and what it waits for now."""
        story = self.journal.remediations.get(done.id)
        answers = story.answers[done.awaits :] if story and done.awaits >= 0 else []
        if story is None or not answers:
            return None
        last, event = answers[-1]
        if isinstance(event, e.ApprovalCounted) and event.counted >= event.needed:
            return None  # what comes of it is said with it
        text = [line.text for line, _ in answers]
        if isinstance(event, e.ApprovalCounted):
            text.append(f"waits for {people(event.needed - event.counted)} more, until {zoned(story.expires_at_ms)}")
        if isinstance(event, e.ApprovalCounted | e.ExecutionBlocked):
            stops = [r for r in self.journal.why_stopped(story.cluster_id, self.now_ms()) if r.code != "no_policy"]
            text += [f"{r.code.upper()} until it is lifted: {r.command or r.text}" for r in stops]
        return replace(last, text="; ".join(text))

    # -- controls ---------------------------------------------------------------------------------------------------

    async def freeze(self, who: Who, cluster_id: str, reason: str) -> Done:
        """Forward steps stop at once; undos go on. Needs nobody's approval, and not that the journal is caught up."""
        return await self._control(
            e.Frozen(cluster_id=self._scope(cluster_id), by=who.person, reason=_reason(reason), via=who.via)
        )

    async def halt(self, who: Who, reason: str) -> Done:
        """Every write stops, undos included."""
        return await self._control(
            e.Halted(cluster_id=EVERY_CLUSTER, by=who.person, reason=_reason(reason), via=who.via)
        )

    async def lift(self, who: Who, cluster_id: str, reason: str) -> Done:
        scope = self._scope(cluster_id)
        self._is_caught_up()
        kinds = self.journal.controls.kinds_for(scope)
        if not kinds:
            there = ", ".join(sorted({scope for _, scope in self.journal.controls.stops})) or "none"
            text = f"no stop is in force for {scope}; stops in force: {there}; inputs: {self._inputs_in_force()}"
            raise Refusal("conflict", "nothing_to_lift", text)
        lifted = e.Lifted(cluster_id=scope, by=who.person, reason=_reason(reason), via=who.via, kind=kinds[0])
        done = await self._control(lifted)  # one at a time, the stronger first: nobody's freeze goes with a halt
        left = f"; the {kinds[1]} is still in force" if kinds[1:] else ""
        return replace(done, text=f"{done.text}{left}")

    async def lift_input(self, who: Who, cluster_id: str, place: str, reason: str) -> Done:
        """Takes back what this one input has stopped: no later one, and no freeze, halt or quarantine."""
        scope, place = self._scope(cluster_id), place.strip()
        self._is_caught_up()
        if not _PLACE.fullmatch(place):
            raise Refusal(
                "invalid", "bad_input", "TOPIC/PARTITION@OFFSET of one input, as `steward waiting` shows it", "input"
            )
        in_force = self.journal.poisoned()
        left = [p for p in in_force if (p.scope, p.place) != (scope, place)]
        if len(left) == len(in_force):
            where = "everything" if scope == EVERY_CLUSTER else scope
            text = f"{place} does not stop {where}; inputs in force: {self._inputs_in_force()}"
            raise Refusal("conflict", "nothing_to_lift", text, "input")
        event = e.Lifted(
            cluster_id=scope, by=who.person, reason=_reason(reason), via=who.via, kind="input", input=place
        )
        done = await self._control(event)
        also = ", ".join(p.place for p in left[:NAMED_MAX]) + (", ..." if len(left) > NAMED_MAX else "")
        return replace(done, text=f"{done.text}; still in force: {also}") if left else done

    def policy_diff(self, draft: Policy | None = None) -> dict[str, Any]:
        """What adopting the draft would change, key by key: [in force, draft]."""
        self._is_caught_up()
        force, wanted = self.journal.controls.policy, draft or self.draft
        return {
            "version": force.version,
            "by": self.journal.controls.policy_by,
            "changes": _changes(_keys(force), _keys(wanted)),
        }

    async def policy_apply(
        self, who: Who, reason: str, draft: Policy | None = None, after_version: int | None = None
    ) -> Done:
        """The draft is in force from here on. `after_version`: the version that the person has compared it with."""
        self._is_caught_up()
        force, wanted = self.journal.controls.policy, draft or self.draft
        if after_version is not None and after_version != force.version:
            raise Refusal(
                "conflict",
                "policy_moved_on",
                f"version {force.version} is in force, not {after_version}",
                "after_version",
            )
        if never := sorted(set(wanted.actions) & FORBIDDEN.keys()):
            why_not = "; ".join(FORBIDDEN[name].why_not() for name in never)
            raise Refusal("forbidden", "forbidden", why_not, "policy.actions")
        in_windows = {name for window in wanted.windows.values() for name in window.actions}
        for field_, names in (("policy.actions", set(wanted.actions)), ("policy.windows", in_windows)):
            unknown = sorted(names - self.known_actions) if self.known_actions is not None else []
            if unknown:
                text = f"no action {', '.join(map(repr, unknown))} in the catalogue"
                raise Refusal("invalid", "unknown_action", text, field_)
        if force.version and _keys(force) == _keys(wanted):
            raise Refusal("conflict", "no_change", f"the draft is what is in force as version {force.version}")
        text = canonical_json(wanted.model_dump(mode="json", exclude={"version"}))
        return await self._control(
            e.PolicyAdopted(
                cluster_id=EVERY_CLUSTER,
                by=who.person,
                reason=_reason(reason),
                version=force.version + 1,
                policy_json=text,
            )
        )

    # -- alerts -----------------------------------------------------------------------------------------------------

    async def ingest(self, body: bytes) -> Done:
        if self.take_in is None:
            raise Refusal("unavailable", "not_here", "this console takes no alerts")
        try:
            return Done(await _acknowledged(self.take_in(body)))
        except e.Unreadable as error:
            kind: Kind = "too_large" if error.code == "too_large" else "invalid"
            raise Refusal(kind, error.code, error.reason, error.field) from error

    async def test_alert(self, who: Who, cluster_id: str) -> Done:
        """A marked alert, through the whole pipe. `id` of what is returned is its fingerprint, like no other."""
        place = self.clusters.get(cluster_id)
        if place is None:
            raise self._no_cluster(cluster_id)
        now = self.now_ms()
        labels = {
            **place.alert_labels,
            "alertname": TEST_ALERT,
            "level": "warning",
            "steward_test": self.new_id(),
        }
        event = e.AlertReceived(
            cluster_id=cluster_id,
            name=TEST_ALERT,
            status="firing",
            starts_at_ms=now,
            labels=labels,
            annotations={"summary": f"sent by {who.person} to see that the pipe works"},
            fingerprint=fingerprint_of(labels),
            source="steward test-alert",
            synthetic=True,
        )
        await self._publish("alerts", event)
        return Done(f"sent {TEST_ALERT} to {cluster_id}", id=event.fingerprint)

    async def end_test_alert(self, who: Who, cluster_id: str, story: IncidentStory) -> None:
        """Resolve what test_alert has fired, so that its incident closes by itself."""
        for alert in story.alerts.values():
            if alert.name == TEST_ALERT:
                event = e.AlertReceived(
                    cluster_id=cluster_id,
                    name=alert.name,
                    status="resolved",
                    starts_at_ms=alert.starts_at_ms,
                    ends_at_ms=self.now_ms(),
                    labels=alert.labels,
                    fingerprint=alert.fingerprint,
                    source="steward test-alert",
                    synthetic=True,
                )
                await self._publish("alerts", event)

    # -- looking ----------------------------------------------------------------------------------------------------

    def show(self, id: str) -> IncidentStory | RemediationStory:
        self._is_caught_up()
        story = self.journal.remediations.get(id) or self.journal.incidents.get(id)
        if story is None:
            raise self._nothing(id)
        return story

    def why(self, id: str) -> list[Reason]:
        self._is_caught_up()
        found = self.journal.why(id, self.now_ms())
        if found is None and (id in self.clusters or id in self.journal.clusters):
            return self.journal.why_stopped(id, self.now_ms())
        if found is None:
            raise self._nothing(id)
        return found

    def waiting(self) -> list[Waits]:
        self._is_caught_up()
        return self.journal.waiting(self.now_ms())

    def incidents(self, cluster_id: str = "", all: bool = False) -> list[IncidentStory]:
        self._is_caught_up()
        if cluster_id and cluster_id not in self.clusters and cluster_id not in self.journal.clusters:
            raise self._no_cluster(cluster_id)
        return self.journal.all_incidents(cluster_id) if all else self.journal.open_incidents(cluster_id)

    def status(self) -> dict[str, Any]:
        """The fleet at a glance; answers while the journal is still catching up, and says so."""
        journal, controls = self.journal, self.journal.controls
        now = self.now_ms()
        waiting = journal.waiting(now)
        rows = []
        for name in sorted({*self.clusters, *journal.clusters}):
            here = [r for r in journal.remediations.values() if r.cluster_id == name]
            stop = controls.stop_for(name)
            unknown = next((r.remediation_id for r in here if r.state == "unknown"), "")
            rows.append(
                {
                    "cluster": name,
                    "configured": name in self.clusters,
                    "tier": self.clusters[name].tier if name in self.clusters else None,
                    "incidents": len(journal.open_incidents(name)),
                    "waiting": sum(w.cluster_id == name for w in waiting),
                    "running": [r.remediation_id for r in here if r.state in ("authorised", "running")],
                    "undo_overdue": [
                        {
                            "id": r.remediation_id,
                            "due_ms": owed.due_ms,
                            "reason": overdue_text(owed),
                            "by_hand": owed.undo_by_hand,
                        }
                        for r, owed in journal.overdue(name, now)
                    ],
                    "quarantined_by": unknown,
                    "stop": f"{stop.kind} by {stop.by}: {stop.reason}" if stop else "",
                    "stopped_by_inputs": [p.place for p in journal.poisoned(name)],
                    "broken_ledgers": [topic for topic, *_ in journal.broken(name)],
                }
            )
        return {
            "environment": self.environment,
            "caught_up": journal.caught_up,
            "policy": {
                "version": controls.policy.version,
                "by": controls.policy_by,
                "draft_differs": _keys(controls.policy) != _keys(self.draft) or not controls.policy.version,
            },
            "stops": {scope: _stopped(controls, scope) for scope in sorted({scope for _, scope in controls.stops})},
            "clusters": rows,
            "dead_letters": journal.dead_count,
            "controls_unreadable": "; ".join(f"{p.place}: {p.text}" for p in controls.poisoned.values()),
            "stopped_by_inputs": [_poison(p) for p in journal.poisoned()],
            "troubles": dict(sorted(self.troubles.items())),
            "audit_lag": None if (lag := self.audit_lag()) is None else {t: n for t, n in sorted(lag.items()) if n},
            "heard": dict(sorted(journal.heard_ms.items())),
        }

    def tier_of(self, cluster_id: str) -> int | None:
        place = self.clusters.get(cluster_id)
        return place.tier if place else None

    # -- small things -----------------------------------------------------------------------------------------------

    def _inputs_in_force(self) -> str:
        found = self.journal.poisoned()
        more = f"; and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
        return "; ".join(lifting(p.scope, p.place) for p in found[:NAMED_MAX]) + more or "none"

    def _is_caught_up(self) -> None:
        if not self.journal.caught_up:
            raise Refusal("unavailable", "catching_up", "the console is still reading the log: try again in a moment")

    def _remediation(self, id: str) -> RemediationStory:
        self._is_caught_up()
        story = self.journal.remediations.get(id)
        if story is None:
            raise self._nothing(id)
        return story

    def _nothing(self, id: str) -> Refusal:
        there = ", ".join(self.journal.near(id)) or "nothing is open"
        return Refusal("not_found", "unknown_id", f"there is no {clean(id)[:80]!r}; there is: {there}", "id")

    def _no_cluster(self, cluster_id: str) -> Refusal:
        there = ", ".join(sorted(self.clusters)) or "none"
        return Refusal(
            "not_found", "unknown_cluster", f"no cluster {clean(cluster_id)[:80]!r}; configured are: {there}", "cluster"
        )

    def _may(self, story: RemediationStory, verb: str) -> None:
        """The table of the lifecycle says what can be said of it now."""
        verbs = said_now(story)
        if verb not in verbs:
            ended = f": {story.closed.code}" if story.closed else ""
            can = f"; what can be said of it: {', '.join(verbs)}" if verbs else ""
            raise Refusal(
                "conflict", "wrong_state", f"{story.remediation_id} is {story.state or 'not opened'}{ended}{can}"
            )

    def _scope(self, cluster_id: str) -> str:
        """A mistyped name must not be a freeze of nothing."""
        if cluster_id != EVERY_CLUSTER and cluster_id not in self.clusters and cluster_id not in self.journal.clusters:
            raise self._no_cluster(cluster_id)
        return cluster_id

    def _sign(self, who: Who, story: RemediationStory, decision: str, digest: str, reason: str) -> SignedApproval:
        if self.key is None:
            raise Refusal(
                "unavailable", "no_signing_key", "this console has no key to sign with", "console.signing_key"
            )
        place, now = self.clusters.get(story.cluster_id), self.now_ms()
        claims = Claims(
            environment=self.environment,
            pd_cluster_id=story.ask.plan.pd_cluster_id if story.ask else place.pd_cluster_id if place else 0,
            remediation_id=story.remediation_id,
            digest=digest,
            decision=decision,
            person=who.person,
            via=who.via,
            iat=now,
            exp=now + VALID_MS,
            approval_id=self.new_id(),
            reason=_reason(reason),
        )
        return SignedApproval(
            approval_id=claims.approval_id,
            person=claims.person,
            via=claims.via,
            kid=kid_of(self.key),
            decided_at_ms=claims.iat,
            expires_at_ms=claims.exp,
            reason=claims.reason,
            jws=sign(self.key, claims),
        )

    async def _say(self, story: RemediationStory, event: e.Event, signed: SignedApproval) -> Done:
        before = len(story.answers)
        await self._publish("approvals", event)
        return Done(said(event), story.remediation_id, signed.approval_id, before)

    async def _control(self, event: e.Event) -> Done:
        await self._publish("controls", event)
        return Done(said(event))

    async def _publish(self, topic: str, event: e.Event) -> None:
        await _acknowledged(self.publish(topic, event.cluster_id, event))


async def _acknowledged(writing: Awaitable[T]) -> T:
    """What it returns. Raises Refusal where Kafka has not taken it, and lets through what is not about Kafka."""
    try:
        return await writing
    except (Refusal, e.Unreadable):
        raise
    except Refused as error:
        raise Refusal("forbidden", "refused_by_kafka", f"it was not written: {clean(str(error))[:200]}") from error
    except Exception as error:
        text = f"not acknowledged, so it may be written or not: {clean(str(error))[:200] or type(error).__name__}"
        raise Refusal("unavailable", "not_acknowledged", text) from error


def _reason(text: str) -> str:
    """A person's reason goes into tickets and on terminals. Raises Refusal."""
    reason = clean(text)
    if not reason:
        raise Refusal("invalid", "no_reason", "say why: whoever reads the ticket will ask", "reason")
    if len(reason) > REASON_CHARS_MAX:
        raise Refusal("invalid", "too_long", f"{len(reason)} characters, at most {REASON_CHARS_MAX}", "reason")
    return reason


def _keys(policy: Policy) -> dict[str, Any]:
    """The policy as dotted keys, without its version."""
    found: dict[str, Any] = {}

    def walk(at: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{at}.{key}" if at else key, inner)
        elif at and value != {}:
            found[at] = value

    walk("", policy.model_dump(mode="json", exclude={"version"}))
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    keys = sorted({*old, *new})
    return {k: [old.get(k), new.get(k)] for k in keys if old.get(k) != new.get(k)}


def _poison(poison: Poison) -> dict[str, Any]:
    return {
        "input": poison.place,
        "scope": poison.scope,
        "stops": stopped(poison),
        "since_ms": poison.at_ms,
        "reason": poison.text,
        "command": lifting(poison.scope, poison.place),
    }


def _stopped(controls: Controls, scope: str) -> str:
    found = [controls.stops[kind, scope] for kind in controls.kinds_for(scope)]
    return "; ".join(f"{s.kind} by {s.by}: {s.reason}" for s in found)
