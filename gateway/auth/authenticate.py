"""From the text of a bearer token to a principal, or a refusal.

Order: the shape decides which kind of token it claims to be; signature and claims are verified; then, at every request,
the control database says whether the token is revoked and the principal still is who the token says. The role stands
in both places and must agree: an analyst's token never becomes an admin's because the store changed, nor the reverse.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Any, Final, Protocol

import jwt
from jwt import PyJWK, PyJWKClient
from sqlalchemy import Connection

from gateway.auth.issue import ALGORITHM, API_PREFIX, MICROSECONDS
from gateway.auth.keys import SigningKey
from gateway.auth.principal import Principal, Role, valid_name
from gateway.errors import Forbidden, Unauthenticated, Unavailable
from gateway.settings import Settings
from gateway.store import principals, tokens

LONGEST: Final = 8192
"""Longest token that is looked at, in characters."""

KEPT: Final = 1024
"""How many verified tokens are kept."""

_REQUIRED: Final = ["exp", "aud", "iss", "sub", "iat", "jti"]
_ROLES: Final[Mapping[object, Role]] = {"analyst": "analyst", "admin": "admin"}


class KeySource(Protocol):
    """Where the identity provider's keys come from; ``PyJWKClient`` is one."""

    def get_signing_key_from_jwt(self, token: str | bytes) -> PyJWK:
        """Return the key that the token's header names; it may ask the provider, over the network."""


class Verified:
    """Own tokens whose signature was verified lately, with their claims.

    Why this is sound: the signing key is one for as long as the gateway runs, so that what verified once verifies
    again; that a token has expired is looked at each time; that it was revoked, or its holder disabled, is read from
    the control database at each request.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._claims: OrderedDict[bytes, dict[str, Any]] = OrderedDict()

    def find(self, token: str, leeway: int) -> dict[str, Any] | None:
        """Return the claims of a token that was kept and has not expired, else None."""
        key = sha256(token.encode()).digest()
        with self._lock:
            found = self._claims.get(key)
            if found is not None and found["exp"] <= time.time() - leeway:
                del self._claims[key]
                return None
            return found

    def keep(self, token: str, claims: dict[str, Any]) -> None:
        """Keep the claims of a token whose signature is good; those kept longest are let go."""
        with self._lock:
            self._claims[sha256(token.encode()).digest()] = claims
            while len(self._claims) > KEPT:
                self._claims.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What tokens are verified with: the settings, the gateway's own key, the identity provider's if there is one."""

    settings: Settings
    key: SigningKey
    oidc: KeySource | None = None
    verified: Verified = field(default_factory=Verified)


def verifier(settings: Settings, key: SigningKey) -> Verifier:
    """Return the verifier that the settings call for; the provider's keys are fetched when they are first needed."""
    if settings.oidc_jwks_url is None:
        return Verifier(settings, key)
    # The set of keys is kept for its lifespan; keys by themselves would be kept for ever, withdrawn ones too. Who sends
    # unknown key ids makes the gateway ask the provider once in a cooldown.
    provider = PyJWKClient(
        settings.oidc_jwks_url, cache_keys=False, cache_jwk_set=True, lifespan=300, cooldown_duration=30, timeout=5
    )
    return Verifier(settings, key, provider)


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who a token of good signature says it is from; ``issuer`` as in the list of revocations."""

    name: str
    role: Role
    issuer: str
    id: str


def of_provider(source: Verifier, token: str) -> bool:
    """Return whether a token says that it is the identity provider's; proven only by ``claimed``, which may ask it."""
    if source.settings.oidc_issuer is None or len(token) > LONGEST or token.startswith(API_PREFIX):
        return False
    try:
        said = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return False
    return isinstance(said, str) and said == source.settings.oidc_issuer


def claimed(source: Verifier, token: str) -> Claimed | None:
    """Verify a JWT's signature and claims; None for what is an API token. May ask the identity provider."""
    if len(token) > LONGEST:
        raise _invalid()
    if token.startswith(API_PREFIX):
        return None
    oidc = of_provider(source, token)
    try:
        claims = _of_provider(source, token) if oidc else _own(source, token)
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("token-expired", "The token has expired.", hint="Ask for a new one.") from None
    except jwt.PyJWKClientConnectionError:
        raise Unavailable("identity-provider-unavailable", "The identity provider cannot be reached.") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        raise _invalid() from None
    return _claimed(source.settings, claims, oidc=oidc)


def authenticate(conn: Connection, token: str, who: Claimed | None) -> Principal:
    """Return the principal of a verified token, as the control database stands now."""
    if who is None:
        return _api(conn, token)
    if who.issuer == tokens.OWN:
        issued = tokens.by_id(conn, who.id)
        if issued is not None and issued.revoked:
            raise _revoked()
        if issued is None or (issued.kind, issued.principal, issued.role) != ("jwt", who.name, who.role):
            raise _invalid()
        return _holder(issued)
    if tokens.revoked(conn, who.issuer, who.id):
        raise _revoked()
    return _known(conn, who.name, who.role)


def _api(conn: Connection, token: str) -> Principal:
    issued = tokens.by_digest(conn, tokens.digest(token))
    if issued is None:
        raise _invalid()
    if issued.revoked:
        raise _revoked()
    if issued.expires_at <= time.time() * MICROSECONDS:
        raise Unauthenticated("token-expired", "The token has expired.", hint="Ask for a new one.")
    return _holder(issued)


def _holder(issued: tokens.Issued) -> Principal:
    """Return the principal of an issued token as ``_known`` does: it was read with the token, in one statement."""
    if issued.held != issued.role:
        raise _invalid()
    if issued.disabled:
        raise _disabled()
    return Principal(issued.principal, issued.role)


def _own(source: Verifier, token: str) -> dict[str, Any]:
    settings = source.settings
    found = source.verified.find(token, settings.token_leeway_seconds)
    if found is None:
        found = _decode(token, source.key.public, [ALGORITHM], settings.issuer, settings)
        source.verified.keep(token, found)
    return found


def _of_provider(source: Verifier, token: str) -> dict[str, Any]:
    settings = source.settings
    if source.oidc is None or settings.oidc_issuer is None:
        raise jwt.InvalidIssuerError
    # The algorithm is pinned before a key is fetched for a token that could not be accepted.
    if jwt.get_unverified_header(token).get("alg") not in settings.oidc_algorithms:
        raise jwt.InvalidAlgorithmError
    signing = source.oidc.get_signing_key_from_jwt(token)
    return _decode(token, signing, list(settings.oidc_algorithms), settings.oidc_issuer, settings)


def _decode(token: str, key: Any, algorithms: list[str], issuer: str, settings: Settings) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=algorithms,
        issuer=issuer,
        audience=settings.audience,
        leeway=settings.token_leeway_seconds,
        options={"require": _REQUIRED},
    )
    return claims


def _claimed(settings: Settings, claims: Mapping[str, Any], *, oidc: bool) -> Claimed:
    # A provider that says nothing about the role vouches for the lesser one.
    stated = claims.get(settings.oidc_role_claim, "analyst") if oidc else claims.get("role")
    role = _ROLES.get(stated) if isinstance(stated, str) else None
    name, token_id = claims["sub"], claims["jti"]
    if role is None or not isinstance(name, str) or not valid_name(name):
        raise _invalid()
    if not isinstance(token_id, str) or not tokens.valid_id(token_id):
        raise _invalid()
    return Claimed(name, role, claims["iss"] if oidc else tokens.OWN, token_id)


def _known(conn: Connection, name: str, role: Role) -> Principal:
    """Return the principal if the control database knows it in this role; both unknowns look the same from outside."""
    stored = principals.get(conn, name)
    if stored is None or stored.role != role:
        raise _invalid()
    if stored.disabled:
        raise _disabled()
    return stored.principal


def _disabled() -> Forbidden:
    return Forbidden("principal-disabled", "This account is disabled.", hint="Ask an administrator.")


def _invalid() -> Unauthenticated:
    return Unauthenticated("token-invalid", "The token does not verify.", hint="Ask for a new one.")


def _revoked() -> Unauthenticated:
    return Unauthenticated("token-revoked", "The token was revoked.", hint="Ask for a new one.")
