"""Issuing the gateway's own tokens."""

from __future__ import annotations

import secrets
import time
from typing import Final

import jwt
from sqlalchemy import Connection

from gateway.auth.keys import SigningKey
from gateway.auth.principal import Principal
from gateway.settings import Settings
from gateway.store import tokens

ALGORITHM: Final = "EdDSA"

API_PREFIX: Final = "dsc_"
"""Begins every API token, so that it is told from a JWT and found by scanners of leaked secrets."""

MICROSECONDS: Final = 1_000_000


def issue_jwt(
    conn: Connection, settings: Settings, key: SigningKey, principal: Principal, seconds: int, *, actor: str
) -> tuple[str, tokens.Issued]:
    """Return a signed token of this principal, good for that many seconds, and note it in the control database."""
    issued = _issued("jwt", principal, seconds, actor)
    claims = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": principal.name,
        "role": principal.role,
        "iat": issued.created_at // MICROSECONDS,
        "exp": issued.expires_at // MICROSECONDS,
        "jti": issued.id,
    }
    tokens.record(conn, issued, None)
    return jwt.encode(claims, key.private, algorithm=ALGORITHM), issued


def issue_api(conn: Connection, principal: Principal, seconds: int, *, actor: str) -> tuple[str, tokens.Issued]:
    """Return a random token of this principal, good for that many seconds; only its digest is kept."""
    issued = _issued("api", principal, seconds, actor)
    secret = API_PREFIX + secrets.token_urlsafe(32)
    tokens.record(conn, issued, tokens.digest(secret))
    return secret, issued


def _issued(kind: tokens.Kind, principal: Principal, seconds: int, actor: str) -> tokens.Issued:
    # By this machine's clock, as expiry is judged.
    now = int(time.time()) * MICROSECONDS
    return tokens.Issued(
        secrets.token_hex(16), kind, principal.name, principal.role, now, now + seconds * MICROSECONDS, actor
    )
