"""Each way to forge a person's word is refused by name, when it is heard and again before acting."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from joserfc import jwk, jws

from console.keys import make_key
from schemas.approvals import counted, enough, judge, people_needed
from schemas.signing import (
    DECISIONS,
    JWS_CHARS_MAX,
    TYPE,
    BadKey,
    BadSignature,
    Claims,
    kid_in,
    kid_of,
    public_of,
    sign,
    verify,
)
from schemas.values import SignedApproval, Tier, canonical_json
from streams.rules.approval import needed

KEY = make_key()
OTHER = make_key()
KEYS = {kid_of(KEY): public_of(KEY)}
NOW = 1_700_000_000_000
DAY_MS = 24 * 3600 * 1000
DIGEST = "9f3c" + "0" * 60
HERE: dict[str, Any] = {
    "environment": "test",
    "pd_cluster_id": 77,
    "remediation_id": "R-1",
    "digest": DIGEST,
    "now_ms": NOW + 1000,
    "keys": KEYS,
    "revoked_kids": frozenset(),
    "proposer": "playbook",
}


def claims(**more: Any) -> Claims:
    said: dict[str, Any] = {
        "environment": "test",
        "pd_cluster_id": 77,
        "remediation_id": "R-1",
        "digest": DIGEST,
        "decision": "approve",
        "person": "anna",
        "via": "cli",
        "iat": NOW,
        "exp": NOW + 600_000,
        "approval_id": "a-1",
        "reason": "disk known bad",
    }
    return Claims.model_validate({**said, **more})


def approval(key: dict[str, str] = KEY, **more: Any) -> SignedApproval:
    said = claims(**more)
    return SignedApproval(
        approval_id=said.approval_id,
        person=said.person,
        via=said.via,
        kid=kid_of(key),
        decided_at_ms=said.iat,
        expires_at_ms=said.exp,
        reason=said.reason,
        jws=sign(key, said),
    )


def refusal(given: SignedApproval, **here: Any) -> str | None:
    found = judge(given, **{**HERE, "decision": "approve", **here})
    return found[0] if found else None


def test_a_true_approval_of_this_plan_counts() -> None:
    assert refusal(approval()) is None


def test_what_is_signed_is_the_same_in_every_version() -> None:
    """Should this change, no approval that is under way counts any more."""
    header, payload, _ = (base64.urlsafe_b64decode(part + "==") for part in sign(KEY, claims()).split("."))
    assert json.loads(header) == {"alg": "Ed25519", "kid": kid_of(KEY), "typ": "steward-approval+jwt"}
    assert payload.decode() == canonical_json(claims().model_dump())


def test_a_p256_key_signs_too() -> None:
    key = {str(k): str(v) for k, v in jwk.ECKey.generate_key("P-256").as_dict(private=True).items()}

    assert verify(sign(key, claims()), {kid_of(key): public_of(key)}) == claims()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"environment": "prod"}, "wrong_environment"),
        ({"pd_cluster_id": 78}, "wrong_cluster"),
        ({"remediation_id": "R-2"}, "wrong_remediation"),
        ({"digest": "0" * 64}, "wrong_digest"),
        ({"decision": "deny"}, "wrong_decision"),
        ({"exp": NOW + 500}, "expired"),
        ({"exp": NOW - 1}, "wrong_claims"),
        ({"exp": NOW + 25 * 3600 * 1000}, "wrong_claims"),
        ({"iat": NOW + 400_000, "exp": NOW + 500_000}, "from_the_future"),
        ({"person": "playbook"}, "self_approval"),
    ],
)
def test_a_true_signature_over_something_else_does_not_count(more: dict[str, Any], code: str) -> None:
    assert refusal(approval(**more)) == code


@pytest.mark.parametrize(
    ("more", "now_ms", "code"),
    [
        ({"exp": NOW + DAY_MS}, NOW, None),
        ({"exp": NOW + DAY_MS + 1}, NOW, "wrong_claims"),
        ({"exp": NOW}, NOW, "wrong_claims"),
        ({"exp": NOW + 1}, NOW + 1, None),
        ({"exp": NOW + 1}, NOW + 2, "expired"),
        ({}, NOW - 300_000, None),
        ({}, NOW - 300_001, "from_the_future"),
    ],
)
def test_the_first_and_the_last_moment_at_which_an_approval_counts(
    more: dict[str, Any], now_ms: int, code: str | None
) -> None:
    assert refusal(approval(**more), now_ms=now_ms) == code


def test_an_unknown_key_does_not_count() -> None:
    assert refusal(approval(OTHER)) == "unknown_key"


def test_a_revoked_key_does_not_count() -> None:
    assert refusal(approval(), revoked_kids=frozenset({kid_of(KEY)})) == "revoked_key"


def test_an_event_that_names_another_key_than_the_one_that_signed_it_cannot_escape_its_revocation() -> None:
    hiding = approval().model_copy(update={"kid": "another"})

    assert refusal(hiding, revoked_kids=frozenset({kid_of(KEY)})) == "revoked_key"


def test_a_key_that_borrows_a_known_name_is_a_forgery() -> None:
    assert refusal(approval({**OTHER, "kid": kid_of(KEY)})) == "forged"


def test_a_changed_payload_is_a_forgery() -> None:
    header, _, signature = sign(KEY, claims()).split(".")
    payload = (
        base64.urlsafe_b64encode(canonical_json(claims(digest="0" * 64).model_dump()).encode()).rstrip(b"=").decode()
    )

    with pytest.raises(BadSignature) as error:
        verify(f"{header}.{payload}.{signature}", KEYS)
    assert (error.value.code, bool(error.value.text)) == ("forged", True)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA"])
def test_a_token_does_not_choose_its_own_algorithm(algorithm: str) -> None:
    header = {"alg": algorithm, "kid": kid_of(KEY), "typ": TYPE}
    parts = [json.dumps(header).encode(), canonical_json(claims().model_dump()).encode(), b"x"]
    token = ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)

    with pytest.raises(BadSignature) as error:
        verify(token, KEYS)
    assert (error.value.code, bool(error.value.text)) == ("wrong_algorithm", True)


def test_another_kind_of_token_by_the_same_key_is_no_approval() -> None:
    header = {"alg": "Ed25519", "kid": kid_of(KEY), "typ": "JWT"}
    token = jws.serialize_compact(
        header, canonical_json(claims().model_dump()), jwk.OKPKey.import_key(dict(KEY)), algorithms=["Ed25519"]
    )

    with pytest.raises(BadSignature) as error:
        verify(token, KEYS)
    assert error.value.code == "wrong_algorithm"


def signed(payload: str) -> str:
    """Junk, truly signed."""
    header = {"alg": "Ed25519", "kid": kid_of(KEY), "typ": TYPE}
    return jws.serialize_compact(header, payload, jwk.OKPKey.import_key(dict(KEY)), algorithms=["Ed25519"])


@pytest.mark.parametrize(
    "changed",
    [
        {"tier": "LOW"},
        {"iat": str(NOW)},
        {"exp": float(NOW)},
        {"pd_cluster_id": -1},
        {"pd_cluster_id": "77"},
        {"environment": ""},
        {"remediation_id": ""},
        {"person": ""},
        {"approval_id": ""},
        {"digest": None},
        {"decision": "yes"},
        {"decision": "approved"},
        {"decision": "disapprove"},
        {"decision": "resolve:"},
        {"decision": "resolve:UP"},
    ],
    ids=str,
)
def test_a_truly_signed_payload_that_is_no_approval_does_not_count(changed: dict[str, Any]) -> None:
    said = claims().model_dump()
    assert verify(signed(canonical_json(said)), KEYS) == claims()

    with pytest.raises(BadSignature) as error:
        verify(signed(canonical_json({**said, **changed})), KEYS)
    assert (error.value.code, bool(error.value.text)) == ("wrong_claims", True)


@pytest.mark.parametrize("decision", [*DECISIONS, "resolve:no_better"])
def test_what_can_be_decided(decision: str) -> None:
    assert verify(sign(KEY, claims(decision=decision)), KEYS).decision == decision


@pytest.mark.parametrize("payload", ["", "[]", "junk", "[" * 9_000])
def test_a_truly_signed_payload_that_is_no_record_does_not_count(payload: str) -> None:
    with pytest.raises(BadSignature) as error:
        verify(signed(payload), KEYS)
    assert error.value.code == "wrong_claims"


def test_a_token_has_a_longest() -> None:
    over = len(sign(KEY, claims(reason="x" * 12_000))) - JWS_CHARS_MAX
    length = 12_000 - over * 3 // 4
    longest = max(
        (t for n in range(-9, 9) if len(t := sign(KEY, claims(reason="x" * (length + n)))) <= JWS_CHARS_MAX), key=len
    )
    assert len(longest) > JWS_CHARS_MAX - 3
    assert JWS_CHARS_MAX == 16_384
    assert verify(longest, KEYS)

    with pytest.raises(BadSignature) as error:
        verify(sign(KEY, claims(reason="x" * (length + 9))), KEYS)
    assert error.value.code == "malformed"


NO_KID = base64.urlsafe_b64encode(b'{"alg":"Ed25519"}').rstrip(b"=").decode()
KID_7 = base64.urlsafe_b64encode(b'{"alg":"Ed25519","kid":7}').rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("", "not a compact JWS"),
        ("a.b", "not a compact JWS"),
        ("a.b.c", "not a compact JWS"),
        ("....", "not a compact JWS"),
        ("é.é.é", "not a compact JWS"),
        ("x" * 20_000, "not a compact JWS"),
        ("e30.e30.e30", "not a compact JWS"),
        (f"{NO_KID}.e30.e30", "it names no key"),
        (f"{KID_7}.e30.e30", "it names no key"),
    ],
)
def test_junk_is_refused_and_never_raises_anything_else(token: str, text: str) -> None:
    for read in (kid_in, lambda t: verify(t, KEYS)):
        with pytest.raises(BadSignature) as error:
            read(token)
        assert (error.value.code, error.value.text, str(error.value)) == ("malformed", text, f"malformed: {text}")


@pytest.mark.parametrize("field", ["approval_id", "person", "via", "kid", "decided_at_ms", "expires_at_ms", "reason"])
def test_what_an_event_says_beside_its_signature_must_be_what_was_signed(field: str) -> None:
    given = approval()
    value = getattr(given, field)
    changed = given.model_copy(update={field: value + 1 if isinstance(value, int) else value + "x"})

    assert refusal(changed) == "fields_differ"


def test_nothing_can_be_approved_where_there_is_no_plan() -> None:
    assert refusal(approval(digest=""), digest="") == "no_plan"
    assert refusal(approval(), pd_cluster_id=0) == "no_plan"


def test_a_cancel_needs_no_plan() -> None:
    given = approval(decision="cancel", digest="")

    assert refusal(given, decision="cancel", digest="", pd_cluster_id=0) is None


def test_a_cancel_of_a_plan_that_there_is_must_be_of_that_plan() -> None:
    given = approval(decision="cancel")

    assert refusal(given, decision="cancel") is None
    assert refusal(given, decision="cancel", pd_cluster_id=78, digest="") == "wrong_cluster"
    assert refusal(given, decision="cancel", pd_cluster_id=0, digest="0" * 64) == "wrong_digest"


def test_who_proposed_it_may_still_stop_it() -> None:
    assert refusal(approval(decision="cancel", person="playbook"), decision="cancel") is None


def test_a_key_without_a_name_is_named_by_its_thumbprint() -> None:
    nameless = {name: value for name, value in KEY.items() if name != "kid"}
    thumbprint = jwk.OKPKey.import_key({**nameless}).thumbprint()

    assert kid_of(nameless) == public_of(nameless)["kid"] == thumbprint
    assert kid_of({**nameless, "kid": "anna-1"}) == public_of({**nameless, "kid": "anna-1"})["kid"] == "anna-1"


def test_a_public_key_does_not_sign_and_shows_no_private_half() -> None:
    assert "d" not in public_of(KEY)
    with pytest.raises(BadKey, match="a public key can't sign"):
        sign(public_of(KEY), claims())


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-384", "x": "AQ", "y": "AQ"},
        {"kty": "OKP", "crv": "X25519", "x": "AQ"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "OKP", "crv": "Ed25519", "x": "%%%"},
        {"kty": "EC", "crv": "P-256", "x": "AQ"},
    ],
    ids=str,
)
def test_what_is_no_key_for_approvals_is_refused_and_not_repeated(key: dict[str, str]) -> None:
    with pytest.raises(BadKey) as refused:
        public_of(key)
    assert "approvals are signed with" in str(refused.value) or str(refused.value) == "not a JSON Web Key"
    assert not any(value in str(refused.value) for name, value in key.items() if name in "knxy")


# -- how many people ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "tier", "people"),
    [
        ("auto", "LOW", 0),
        ("veto:10m", "LOW", 0),
        ("one", "LOW", 1),
        ("one", "MEDIUM", 1),
        ("auto", "MEDIUM", 1),
        ("two", "HIGH", 2),
        ("one", "HIGH", 2),
        ("never", "LOW", None),
        ("auto", "FORBIDDEN", None),
        ("sometimes", "LOW", None),
    ],
)
def test_a_tier_has_a_floor_that_no_rule_goes_below(rule: str, tier: Tier, people: int | None) -> None:
    assert people_needed(rule, tier) == people


def test_a_disputed_diagnosis_is_for_a_person_even_where_low_acts_alone() -> None:
    assert needed("auto", "LOW", disputed=True) == 1
    assert needed("auto", "LOW", disputed=False) == 0
    assert needed("never", "LOW", disputed=True) is None


def test_one_person_under_two_spellings_is_one_person() -> None:
    assert counted([approval(), approval(person="Anna "), approval(person="ben")]) == 2


def allowed(*approvals: SignedApproval, rule: str = "two", tier: Tier = "HIGH", **more: Any) -> tuple[str, str] | None:
    return enough(approvals, rule=rule, tier=tier, **HERE, **more)


def test_a_high_risk_action_waits_for_two_different_approvers() -> None:
    assert allowed(approval(), approval(person="ben", approval_id="a-2")) is None
    assert allowed(approval(), approval(approval_id="a-2")) == ("too_few_approvals", "1 of 2 people have approved it")


def test_a_refusal_names_every_approval_that_does_not_count() -> None:
    found = allowed(approval(OTHER), approval(person="ben", digest="0" * 64))

    assert found is not None
    assert found[0] == "unknown_key"
    assert "anna" in found[1]
    assert "ben" in found[1]


def test_a_false_approval_does_no_harm_beside_enough_true_ones() -> None:
    assert allowed(approval(), approval(OTHER, person="eve"), rule="one", tier="MEDIUM") is None


def test_what_was_asked_for_on_top_of_the_rule_is_owed_at_execution_too() -> None:
    assert allowed(rule="auto", tier="LOW") is None
    assert allowed(rule="auto", tier="LOW", at_least=1) is not None


def test_forbidden_stays_forbidden_with_any_number_of_people() -> None:
    found = allowed(approval(), approval(person="ben"), tier="FORBIDDEN")

    assert found is not None
    assert found[0] == "forbidden"
