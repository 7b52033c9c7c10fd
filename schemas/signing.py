"""A person's word as a compact JWS: what is signed, with which keys, and every way in which a signature fails.

Pure: keys and times are arguments. Two kinds of key, each with one algorithm, so that a token never chooses its own:
Ed25519 (`Ed25519`, RFC 9864) and P-256 (`ES256`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from joserfc import jwk, jws
from joserfc.errors import JoseError
from pydantic import ConfigDict, Field, ValidationError

from schemas.values import Model, canonical_json

Jwk = Mapping[str, str]
TYPE = "steward-approval+jwt"  # nothing else that this key might ever sign can be taken for an approval
JWS_CHARS_MAX = 16 * 1024
DECISIONS = ("approve", "deny", "cancel", "undo", "by_hand")  # and resolve:OUTCOME


class Claims(Model):
    """What a person said: of exactly this plan of this remediation on this cluster, and until when it counts."""

    model_config = ConfigDict(strict=True)

    environment: Annotated[str, Field(min_length=1)]
    pd_cluster_id: Annotated[int, Field(ge=0)]
    remediation_id: Annotated[str, Field(min_length=1)]
    digest: str  # empty where no plan exists yet
    decision: Annotated[str, Field(pattern=r"^(approve|deny|cancel|undo|by_hand|resolve:[a-z_]{1,40})$")]
    person: Annotated[str, Field(min_length=1)]
    via: str
    iat: int  # ms since 1970
    exp: int
    approval_id: Annotated[str, Field(min_length=1)]
    reason: str


class BadSignature(Exception):
    """No signature of ours: `code` is `malformed`, `unknown_key`, `wrong_algorithm`, `forged` or `wrong_claims`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


class BadKey(ValueError):
    """Not a key that may sign or verify an approval. Never holds the key."""


def kid_of(key: Jwk) -> str:
    """The key's name: its `kid`, else its RFC 7638 thumbprint."""
    return key.get("kid") or _imported(key).thumbprint()


def public_of(key: Jwk) -> dict[str, str]:
    """The public half, with its kid: what may be shown to everybody."""
    return {str(k): str(v) for k, v in _imported(key).as_dict(private=False).items()} | {"kid": kid_of(key)}


def sign(private: Jwk, claims: Claims) -> str:
    """The compact JWS. Raises BadKey for a key that cannot sign."""
    if "d" not in private:
        raise BadKey("a public key can't sign")
    header = {"alg": _algorithm(private), "kid": kid_of(private), "typ": TYPE}
    return jws.serialize_compact(
        header, canonical_json(claims.model_dump()), _imported(private), algorithms=[header["alg"]]
    )


def verify(token: str, keys: Mapping[str, Jwk]) -> Claims:
    """What was signed, by one of `keys` (kid -> public JWK). Raises BadSignature."""
    header, kid = _header(token), kid_in(token)
    key = keys.get(kid)
    if key is None:
        raise BadSignature("unknown_key", f"signed with key {kid[:64]!r}, which nobody has configured here")
    algorithm = _algorithm(key)
    if header.get("alg") != algorithm or header.get("typ") != TYPE:
        raise BadSignature("wrong_algorithm", f"expected {TYPE} by {algorithm}")
    try:
        payload = jws.deserialize_compact(token, _imported(key), algorithms=[algorithm]).payload
    except (JoseError, ValueError, RecursionError) as error:
        raise BadSignature("forged", f"the signature is not that of key {kid}") from error
    try:
        return Claims.model_validate(json.loads(payload))
    except (ValidationError, ValueError, RecursionError) as error:
        raise BadSignature("wrong_claims", "the payload is no approval") from error


def kid_in(token: str) -> str:
    """The key that the token says it is signed with: to be believed only once it is verified. Raises BadSignature."""
    kid = _header(token).get("kid")
    if not isinstance(kid, str):
        raise BadSignature("malformed", "it names no key")
    return kid


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > JWS_CHARS_MAX or token.count(".") != 2:
        raise BadSignature("malformed", "not a compact JWS")
    try:
        return jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, RecursionError) as error:
        raise BadSignature("malformed", "not a compact JWS") from error


def _algorithm(key: Jwk) -> str:
    match key.get("kty"), key.get("crv"):
        case "OKP", "Ed25519":
            return "Ed25519"
        case "EC", "P-256":
            return "ES256"
    raise BadKey("approvals are signed with Ed25519 or P-256 keys")


def _imported(key: Jwk) -> Any:
    _algorithm(key)
    try:
        return jwk.import_key(dict(key))
    except (JoseError, ValueError, KeyError, TypeError):
        raise BadKey("not a JSON Web Key") from None
