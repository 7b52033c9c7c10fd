"""Is the cluster still the one that the plan was approved for? Asked again just before the first step."""

from __future__ import annotations

from actions.action import Action
from schemas.facts import Facts
from schemas.values import Bounds, Plan, Reach


def drifted(plan: Plan, facts: Facts, action: Action) -> list[str]:
    """Every premise that no longer holds, and the changes where they would be others now; empty: go on."""
    if facts.pd_cluster_id != plan.pd_cluster_id:
        return [f"PD cluster was {plan.pd_cluster_id}, is {facts.pd_cluster_id}"]
    was = {p.name: p.value for p in plan.premises}
    now = {p.name: p.value for p in action.relies_on(facts)}
    moved = [
        f"{name} was {was.get(name, 'not relied on')}, is {now.get(name, 'not looked at')}"
        for name in sorted({*was, *now})
        if was.get(name) != now.get(name)
    ]
    if not moved and action.plan(facts) != plan.changes:
        return ["the changes would be others now"]
    return moved


def exceeds(bounds: Bounds, reach: Reach) -> list[str]:
    """Every bound that was approved and is exceeded by what it would touch now."""
    pairs = (
        ("stores", reach.stores, bounds.stores_max),
        ("regions", reach.regions, bounds.regions_max),
        ("leaders", reach.leaders, bounds.leaders_max),
        ("bytes moved", reach.bytes_moved, bounds.bytes_moved_max),
    )
    return [f"{what}: {now}, approved were at most {most}" for what, now, most in pairs if now > most]
