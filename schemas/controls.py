"""The fold of `controls`: who has stopped what, and which policy is in force. Every process keeps one of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from schemas import events
from schemas.policy import Policy
from schemas.values import EVERY_CLUSTER, Poison

KINDS = ("halt", "freeze")  # the stronger first
LISTED_MAX = 3


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
    poisoned: dict[str, Poison] = field(default_factory=dict)  # by place: inputs that nobody has lifted
    lifted: dict[tuple[str, str], int] = field(default_factory=dict)  # (scope, place) of an input -> its latest Lifted
    broken: str = ""  # where this cluster's own ledger is not what its owner wrote: nothing it says is acted on
    read_once: bool = False  # `live` at least once: before that, nobody here knows of any halt
    stops: dict[tuple[str, str], Stop] = field(default_factory=dict)  # by (kind, scope): each is lifted by itself
    policy: Policy = field(default_factory=Policy)
    policy_by: str = ""
    revoked_kids: frozenset[str] = frozenset()

    def stop_for(self, cluster_id: str) -> Stop | None:
        """The stop in force for this cluster, a halt before a freeze."""
        places = [(kind, scope) for kind in KINDS for scope in (EVERY_CLUSTER, cluster_id)]
        return next((s for place in places if (s := self.stops.get(place))), None)

    def kinds_for(self, scope: str) -> tuple[str, ...]:
        """The stops in force for exactly this scope, a halt before a freeze."""
        return tuple(kind for kind in KINDS if (kind, scope) in self.stops)

    def refuses_forward(self, cluster_id: str) -> tuple[str, str] | None:
        """(code, text) of why no forward step may be taken now, or None."""
        if self.broken:
            return "ledger_broken", f"the ledger is not what its owner wrote: {self.broken}"
        if self.poisoned:
            return "controls_unreadable", f"stopped until a person lifts it: {_listed(self.poisoned)}"
        if not self.live:
            return "controls_not_live", "the controls are not proven to be read up to their live end"
        if stop := self.stop_for(cluster_id):
            return ("halted" if stop.kind == "halt" else "frozen"), f"{stop.kind} by {stop.by}: {stop.reason}"
        return None

    def has_lifted(self, poison: Poison) -> bool:
        """Has a person lifted this input since it was found? What was said before, nobody can have meant for it."""
        return self.lifted.get((poison.scope, poison.place), -1) > poison.controls_offset

    def refuses_undo(self, cluster_id: str) -> tuple[str, str] | None:
        """A freeze never stops an undo; only a halt does, or a ledger that can't be believed about what is owed."""
        if self.broken:
            return "ledger_broken", f"the ledger is not what its owner wrote: {self.broken}"
        if not self.read_once:
            return "controls_never_read", "the controls have not been read yet: there could be a halt"
        stop = self.stop_for(cluster_id)
        return ("halted", f"halt by {stop.by}: {stop.reason}") if stop and stop.kind == "halt" else None


def evolve(controls: Controls, event: events.Event, offset: int, at_ms: int) -> Controls:
    """Controls after one more event of the topic."""
    controls = replace(controls, offset=offset)
    match event:
        case events.Frozen():
            stop = Stop("freeze", event.by, event.reason, at_ms)
            return replace(controls, stops={**controls.stops, ("freeze", event.cluster_id): stop})
        case events.Halted():
            halt = Stop("halt", event.by, event.reason, at_ms)
            return replace(controls, stops={**controls.stops, ("halt", EVERY_CLUSTER): halt})
        case events.Lifted(kind="input"):
            named = (event.cluster_id, event.input)
            left = {place: p for place, p in controls.poisoned.items() if (p.scope, place) != named}
            return replace(controls, poisoned=left, lifted={**controls.lifted, named: offset})
        case events.Lifted():
            lifted = [(kind, event.cluster_id) for kind in ((event.kind,) if event.kind else KINDS)]
            return replace(controls, stops={k: s for k, s in controls.stops.items() if k not in lifted})
        case events.PolicyAdopted() if event.version <= controls.policy.version:
            return controls  # two were adopted at once: a version is one policy, and the first has it
        case events.PolicyAdopted():
            return replace(controls, policy=event.policy(), policy_by=event.by)
        case events.KeyRevoked():
            return replace(controls, revoked_kids=controls.revoked_kids | {event.kid})
        case _:
            return unreadable(controls, offset, at_ms, f"{type(event).__name__} is no control")


def unreadable(controls: Controls, offset: int, at_ms: int, text: str) -> Controls:
    """Controls after a record that can't be read: it could be a freeze. Each is lifted by itself."""
    poison = Poison(
        place=f"controls/0@{offset}", stops=EVERY_CLUSTER, text=text[:500], at_ms=at_ms, controls_offset=offset
    )
    return replace(controls, offset=offset, poisoned={**controls.poisoned, poison.place: poison})


def _listed(poisoned: dict[str, Poison]) -> str:
    first = "; ".join(f"{p.place}: {p.text}" for p in list(poisoned.values())[:LISTED_MAX])
    return f"{first}; and {len(poisoned) - LISTED_MAX} more" if len(poisoned) > LISTED_MAX else first
