"""The fold of `controls`: who has stopped what, and which policy is in force. Every process keeps one of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from schemas import events
from schemas.policy import Policy

EVERY_CLUSTER = "*"


@dataclass(frozen=True)
class Stop:
    """A freeze (forward steps stop) or a halt (every write stops)."""

    kind: str  # freeze | halt
    by: str
    reason: str
    at_ms: int


@dataclass(frozen=True)
class Controls:
    """What a person has said to all of Steward. `live`: proven read up to the end of the topic; if not, the answer is
    stop."""

    offset: int = -1
    live: bool = False
    poisoned: str = ""  # a record that could not be read: it could be a freeze, so execution stops
    stops: dict[str, Stop] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    policy_by: str = ""
    revoked_kids: frozenset[str] = frozenset()

    def stop_for(self, cluster_id: str) -> Stop | None:
        """The stop in force for this cluster, a halt before a freeze."""
        found = [s for key in (EVERY_CLUSTER, cluster_id) if (s := self.stops.get(key))]
        return next((s for s in found if s.kind == "halt"), found[0] if found else None)

    def refuses_forward(self, cluster_id: str) -> tuple[str, str] | None:
        """(code, text) of why no forward step may be taken now, or None."""
        if self.poisoned:
            return "controls_unreadable", f"a control could not be read: {self.poisoned}"
        if not self.live:
            return "controls_not_live", "the controls are not proven to be read up to their live end"
        if stop := self.stop_for(cluster_id):
            return ("halted" if stop.kind == "halt" else "frozen"), f"{stop.kind} by {stop.by}: {stop.reason}"
        return None

    def refuses_undo(self, cluster_id: str) -> tuple[str, str] | None:
        """A freeze never stops an undo; only a halt does."""
        stop = self.stop_for(cluster_id)
        return ("halted", f"halt by {stop.by}: {stop.reason}") if stop and stop.kind == "halt" else None


def evolve(controls: Controls, event: events.Event, offset: int, at_ms: int) -> Controls:
    """Controls after one more event of the topic."""
    controls = replace(controls, offset=offset)
    match event:
        case events.Frozen():
            stop = Stop("freeze", event.by, event.reason, at_ms)
            held = controls.stops.get(event.cluster_id)
            if held and held.kind == "halt":  # a freeze never softens a halt
                return controls
            return replace(controls, stops={**controls.stops, event.cluster_id: stop})
        case events.Halted():
            halt = Stop("halt", event.by, event.reason, at_ms)
            return replace(controls, stops={**controls.stops, EVERY_CLUSTER: halt})
        case events.Lifted():
            return replace(controls, stops={k: s for k, s in controls.stops.items() if k != event.cluster_id})
        case events.PolicyAdopted():
            return replace(controls, policy=event.policy(), policy_by=event.by)
        case events.KeyRevoked():
            return replace(controls, revoked_kids=controls.revoked_kids | {event.kid})
        case _:
            return replace(controls, poisoned=f"{type(event).__name__} at offset {offset}")
