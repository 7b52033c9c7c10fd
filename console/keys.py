"""Keys and tokens: made once, at random, and read from where the settings say they are."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.settings import ConfigError, Problem, Secret, Settings
from schemas.signing import BadKey, kid_of, public_of


def make_key() -> dict[str, str]:
    """A new private Ed25519 JWK; its kid is its thumbprint."""
    from joserfc.jwk import OKPKey

    key = OKPKey.generate_key("Ed25519")
    private = {str(k): str(v) for k, v in key.as_dict(private=True).items()}
    return {**private, "kid": key.thumbprint()}


def make_token() -> str:
    """A bearer token of a local user: 256 bits."""
    return secrets.token_urlsafe(32)


def write_secret(path: Path, text: str) -> None:
    """Readable by its owner alone from its first byte on. Raises FileExistsError: a secret is never overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text + "\n")


def signing_key(settings: Settings) -> dict[str, str]:
    """The console's private key. Raises ConfigError."""
    secret = settings.console.signing_key
    if secret is None:
        raise ConfigError(
            Problem("console.signing_key", "nothing", "is needed to sign approvals; `steward init` makes one")
        )
    key = _jwk(secret, "console.signing_key")
    if "d" not in key:
        raise ConfigError(Problem("console.signing_key", "public key", "a private key is needed to sign"))
    return key


def public_keys(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Whose signatures count, by kid: [approvals] keys, or else the console's own. Raises ConfigError."""
    named = settings.approvals.keys or ((settings.console.signing_key,) if settings.console.signing_key else ())
    found: dict[str, Mapping[str, str]] = {}
    for secret in named:
        key = _jwk(secret, secret.field)
        found[kid_of(key)] = public_of(key)
    return found


def _jwk(secret: Secret, field: str) -> dict[str, str]:
    try:
        key: Any = json.loads(secret.read())
        public_of(key)
    except (BadKey, ValueError, AttributeError) as error:
        reason = str(error) if isinstance(error, BadKey) else "is not a JSON Web Key"
        raise ConfigError(Problem(field, "text", reason)) from None
    return {str(k): str(v) for k, v in key.items()}
