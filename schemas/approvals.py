"""Does this approval count? One function, asked when it is heard and again, independently, just before acting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from schemas.policy import veto_s
from schemas.signing import BadSignature, Claims, Jwk, kid_in, verify
from schemas.values import SignedApproval, Tier

AHEAD_MS_MAX = 300_000  # the console's clock may be before the log's by so much
LIVES_MS_MAX = 24 * 3600 * 1000
PEOPLE_AT_LEAST: dict[Tier, int] = {"LOW": 0, "MEDIUM": 1, "HIGH": 2}  # whatever a policy says

Refusal = tuple[str, str]  # (code, text)


def judge(
    approval: SignedApproval,
    *,
    environment: str,
    pd_cluster_id: int,
    remediation_id: str,
    digest: str,
    decision: str,
    now_ms: int,
    keys: Mapping[str, Jwk],
    revoked_kids: Iterable[str],
    proposer: str,
) -> Refusal | None:
    """Why it does not count here and now, or None. `pd_cluster_id` 0 and `digest` empty: there is no plan yet, so
    neither is compared; nothing can be approved then."""
    try:
        kid = kid_in(approval.jws)
        if kid in set(revoked_kids):
            return "revoked_key", f"key {kid[:64]} has been revoked"
        claims = verify(approval.jws, keys)
    except BadSignature as error:
        return error.code, error.text
    if differing := _disagreements(approval, claims, kid):
        return "fields_differ", f"not as signed: {', '.join(differing)}"
    if claims.environment != environment:
        return "wrong_environment", f"it was given in {claims.environment}, not {environment}"
    if claims.remediation_id != remediation_id:
        return "wrong_remediation", f"it was given for {claims.remediation_id}"
    if claims.decision != decision:
        return "wrong_decision", f"what was signed is {claims.decision}, not {decision}"
    if decision == "approve" and not (digest and pd_cluster_id):
        return "no_plan", "there is no plan that could be approved"
    if pd_cluster_id and claims.pd_cluster_id != pd_cluster_id:
        return "wrong_cluster", f"it was given for PD cluster {claims.pd_cluster_id}"
    if digest and claims.digest != digest:
        return "wrong_digest", "it was given for another plan"
    if claims.exp - claims.iat > LIVES_MS_MAX or claims.exp <= claims.iat:
        return "wrong_claims", "it would live for longer than a day, or not at all"
    if claims.iat > now_ms + AHEAD_MS_MAX:
        return "from_the_future", "it was given later than now: whose clock is wrong?"
    if now_ms > claims.exp:
        return "expired", "it has expired"
    if decision == "approve" and claims.person == proposer:
        return "self_approval", f"{claims.person} proposed it"
    return None


def _disagreements(approval: SignedApproval, claims: Claims, kid: str) -> list[str]:
    """Fields of the event that are not what the signature says."""
    signed = {
        "approval_id": claims.approval_id,
        "person": claims.person,
        "kid": kid,
        "via": claims.via,
        "decided_at_ms": claims.iat,
        "expires_at_ms": claims.exp,
        "reason": claims.reason,
    }
    return [name for name, value in signed.items() if getattr(approval, name) != value]


def counted(approvals: Iterable[SignedApproval]) -> int:
    """How many different people these are; names differ by more than case and blanks."""
    return len({a.person.strip().casefold() for a in approvals})


def people_needed(rule: str, tier: Tier) -> int | None:
    """How many different people a rule of the policy asks for at this tier; None: nobody may allow it."""
    asked = 0 if rule == "auto" or veto_s(rule) is not None else {"one": 1, "two": 2}.get(rule)
    least = PEOPLE_AT_LEAST.get(tier)
    return None if asked is None or least is None else max(asked, least)


def enough(
    approvals: Sequence[SignedApproval],
    *,
    rule: str,
    tier: Tier,
    environment: str,
    pd_cluster_id: int,
    remediation_id: str,
    digest: str,
    now_ms: int,
    keys: Mapping[str, Jwk],
    revoked_kids: Iterable[str],
    proposer: str,
    at_least: int = 0,
) -> Refusal | None:
    """Why these approvals don't allow this plan, all objections in one text; None: they do.

    `at_least`: people that whoever asked wanted on top of the rule, e.g. because two diagnoses disagreed."""
    needed = people_needed(rule, tier)
    if needed is None:
        return "forbidden", f"{tier} under the rule `{rule}` is never allowed"
    needed = max(needed, at_least)
    valid: list[SignedApproval] = []
    refused: list[Refusal] = []
    revoked = frozenset(revoked_kids)
    for approval in approvals:
        refusal = judge(
            approval,
            environment=environment,
            pd_cluster_id=pd_cluster_id,
            remediation_id=remediation_id,
            digest=digest,
            decision="approve",
            now_ms=now_ms,
            keys=keys,
            revoked_kids=revoked,
            proposer=proposer,
        )
        if refusal:
            refused.append((refusal[0], f"{approval.person}: {refusal[1]}"))
        else:
            valid.append(approval)
    if counted(valid) >= needed:
        return None
    text = f"{counted(valid)} of {needed} people have approved it"
    if refused:
        return refused[0][0], "; ".join([text, *(t for _, t in refused)])
    return "too_few_approvals", text
