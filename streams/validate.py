"""May this proposal be put before people? All objections, or the exact plan with its reach, tier and digest. Pure.

Maps: reads `proposals`, writes `validations`. The shell asks `look_for` what to read, reads it, and hands `check` the
facts or why there are none. Repeats are harmless: the first answer to an attempt counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from actions.action import Action, Limits, never, no, params_json, wait
from actions.catalogue import BadParameters, ForbiddenAction, UnknownAction, parse
from actions.drift import exceeds
from actions.preflight import not_now, objections
from schemas.events import ActionProposed, ProposalRefused, ProposalValidated
from schemas.facts import MAY_PASS, Facts, Look, NoFacts
from schemas.policy import Policy
from schemas.processors import Record
from schemas.values import Mode, Objection, Plan, Tier
from schemas.wire import digest_of
from streams.rules.risk import tier_of

RETRY_S = 30


def look_for(proposal: ActionProposed) -> Look | None:
    """What the shell has to read for this proposal; None: nothing, it is refused as it stands."""
    try:
        return parse(proposal.action, proposal.params).look()
    except (UnknownAction, BadParameters):
        return None


def check(
    record: Record,
    facts: Facts | NoFacts | None,
    *,
    environment: str,
    pd_cluster_id: int | None,
    cluster_tier: int,
    policy: Policy,
    now_ms: int,
) -> tuple[ProposalValidated | ProposalRefused, ...]:
    """One answer to an ActionProposed, none to anything else. `facts` None: `look_for` found nothing to read."""
    proposal = record.event
    if not isinstance(proposal, ActionProposed):
        return ()
    try:
        action = parse(proposal.action, proposal.params)
    except ForbiddenAction as error:
        return (_refused(proposal, (never("forbidden", str(error)),)),)
    except UnknownAction as error:
        return (_refused(proposal, (never("unknown_action", str(error)),)),)
    except BadParameters as error:
        return (_refused(proposal, (never("bad_parameters", str(error)),)),)
    if not isinstance(facts, Facts):
        return (_refused(proposal, (*_uncited(proposal, action), _no_facts(facts, now_ms))),)
    limits = Limits.of(policy, proposal.cluster_id, cluster_tier, now_ms)
    mode = policy.mode(action.name, proposal.cluster_id)
    found = (
        *_uncited(proposal, action),
        *_wrong_cluster(proposal, facts, pd_cluster_id, mode),
        *objections(action, facts, limits),
    )
    if found:
        return (_refused(proposal, found, facts),)
    reach, bounds = action.reach(facts), action.bounds(facts)
    if over := exceeds(bounds, reach):
        return (_refused(proposal, tuple(no("bound_exceeded", text) for text in over), facts),)
    tier, reasons = tier_of(
        action, reach, facts, cluster_tier, proposal.disputed, proposal.by, limits.policy, proposal.confidence
    )
    if kept := not_now(action.name, tier, limits):  # the least tier it could have might start
        return (_refused(proposal, kept, facts),)
    plan = Plan(
        environment=environment,
        cluster_id=proposal.cluster_id,
        pd_cluster_id=facts.pd_cluster_id,
        action=action.name,
        action_version=action.version,
        params=params_json(action),
        changes=action.plan(facts),
        premises=action.relies_on(facts),
        bounds=bounds,
        policy_version=policy.version,
        policy_rules=_rules(policy, mode, action.name, tier, cluster_tier, limits),
    )
    return (
        ProposalValidated(
            cluster_id=proposal.cluster_id,
            incident_id=proposal.incident_id,
            remediation_id=proposal.remediation_id,
            proposal_id=proposal.proposal_id,
            attempt=proposal.attempt,
            action=action.name,
            mode=mode,
            facts=facts,
            plan=plan,
            reach=reach,
            tier=tier,
            tier_reasons=reasons,
            digest=digest_of(plan),
        ),
    )


def _uncited(proposal: ActionProposed, action: Action) -> Iterator[Objection]:
    """A model may name only what it was shown. Whether it exists now is the preflight's question."""
    if proposal.by != "model":
        return
    cited = {entity for evidence in proposal.evidence for entity in evidence.entities}
    for entity in action.entities():
        if entity not in cited:
            yield no("not_in_evidence", f"{entity} occurs in none of the evidence that the model cites")


def _wrong_cluster(proposal: ActionProposed, facts: Facts, pinned: int | None, mode: Mode) -> Iterator[Objection]:
    if facts.cluster_id != proposal.cluster_id:
        yield never("wrong_cluster", f"the facts are of {facts.cluster_id}, the proposal is for {proposal.cluster_id}")
    if pinned is not None and facts.pd_cluster_id != pinned:
        yield no("pd_wrong_cluster", f"PD says it is cluster {facts.pd_cluster_id}, pinned is {pinned}")
    if pinned is None and mode != "observe":
        yield no("pd_cluster_not_pinned", f"set pd_cluster_id of {proposal.cluster_id}: PD says {facts.pd_cluster_id}")


def _no_facts(why: NoFacts | None, now_ms: int) -> Objection:
    if why is None:
        return no("no_facts", "nothing was read of the cluster")
    if why.code in MAY_PASS:
        return wait(why.code, why.text, now_ms + RETRY_S * 1000)
    return no(why.code, why.text)


def _rules(policy: Policy, mode: Mode, action: str, tier: Tier, cluster_tier: int, limits: Limits) -> tuple[str, ...]:
    """What of the policy this plan was judged by. Part of the digest: an approval is for these rules too."""
    return (
        f"mode={mode}",
        f"approval.{tier.lower()}={policy.approval_rule(tier)}",
        f"cluster_tier={cluster_tier}",
        *(f"limits.{name}={value:.15g}" for name, value in sorted(limits.policy.model_dump().items())),
        *(f"windows.{name}={w.kind} {w.hours()}" for name, w in limits.windows_about(action, tier).items()),
    )


def _refused(proposal: ActionProposed, found: tuple[Objection, ...], facts: Facts | None = None) -> ProposalRefused:
    return ProposalRefused(
        cluster_id=proposal.cluster_id,
        incident_id=proposal.incident_id,
        remediation_id=proposal.remediation_id,
        proposal_id=proposal.proposal_id,
        attempt=proposal.attempt,
        action=proposal.action,
        objections=found,
        facts=facts,
    )
