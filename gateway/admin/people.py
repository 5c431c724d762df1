"""Analysts, admins and their tokens."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from gateway.auth.issue import issue_api, issue_jwt
from gateway.auth.keys import SigningKey
from gateway.auth.principal import Role, valid_name
from gateway.errors import Conflict, NotFound, RequestInvalid
from gateway.settings import Settings
from gateway.store import acts, principals, tokens
from gateway.store.engine import reader


def add_analyst(control: Engine, name: str, *, actor: str, role: Role = "analyst") -> principals.Record:
    """Add an analyst (or, by role, an admin)."""
    with control.begin() as conn:
        return _add(conn, name, role, actor)


def list_analysts(control: Engine) -> list[principals.Record]:
    """Return all analysts and admins by name."""
    with reader(control).connect() as conn:
        return principals.listed(conn)


def disable_analyst(control: Engine, name: str, *, actor: str) -> principals.Record:
    """Refuse a principal from the next request on; their tokens and grants stay as they are."""
    return _set_disabled(control, name, actor, disabled=True)


def enable_analyst(control: Engine, name: str, *, actor: str) -> principals.Record:
    """Admit a principal again, with the tokens that are still good."""
    return _set_disabled(control, name, actor, disabled=False)


def issue_token(
    control: Engine,
    settings: Settings,
    key: SigningKey,
    name: str,
    role: Role,
    *,
    actor: str,
    seconds: int | None = None,
    kind: tokens.Kind = "jwt",
    create_admin: bool = False,
) -> tuple[str, tokens.Issued]:
    """Return a new token of a principal and what is kept of it; the token itself is kept nowhere.

    ``role`` must be the principal's. ``create_admin`` adds an admin who does not exist yet: on the command line, where
    who holds the signing key is trusted already, that is how the first one comes to be.
    """
    lifetime = settings.token_seconds if seconds is None else seconds
    if not 1 <= lifetime <= settings.token_seconds_max:
        raise RequestInvalid(
            "lifetime-invalid",
            f"A token lives from 1 second to {settings.token_seconds_max} seconds.",
            hint="The setting token_seconds_max holds the limit.",
        )
    with control.begin() as conn:
        stored = principals.get(conn, name)
        if stored is None and create_admin and role == "admin":
            stored = _add(conn, name, role, actor)
        if stored is None:
            raise _unknown(name)
        if stored.role != role:
            raise Conflict("role-differs", f"{name} has the role {stored.role}.", hint="Ask for a token of that role.")
        if kind == "api":
            text, issued = issue_api(conn, stored.principal, lifetime, actor=actor)
        else:
            text, issued = issue_jwt(conn, settings, key, stored.principal, lifetime, actor=actor)
        acts.note(conn, actor, "token-issue", name, f"{kind} {issued.id}")
        return text, issued


def list_tokens(control: Engine, name: str | None = None) -> list[tokens.Issued]:
    """Return issued tokens (never their texts), newest first."""
    with reader(control).connect() as conn:
        return tokens.listed(conn, name)


def revoke_token(control: Engine, settings: Settings, token_id: str, *, actor: str, issuer: str | None = None) -> None:
    """Refuse a token from the next request on: an own one by its id, an identity provider's by issuer and ``jti``."""
    with control.begin() as conn:
        if issuer is None:
            if tokens.by_id(conn, token_id) is None:
                raise NotFound("token-unknown", "No token has this id.")
            issuer = tokens.OWN
        elif issuer != settings.oidc_issuer:
            raise NotFound("issuer-unknown", "No tokens of this issuer are accepted.")
        elif not tokens.valid_id(token_id):
            raise RequestInvalid("token-id-invalid", "This cannot be the id of a token.")
        if tokens.revoke(conn, issuer, token_id, actor=actor):
            acts.note(conn, actor, "token-revoke", token_id, None if issuer == tokens.OWN else issuer)


def _add(conn: Connection, name: str, role: Role, actor: str) -> principals.Record:
    if not valid_name(name):
        raise RequestInvalid(
            "name-invalid",
            "This cannot be a name.",
            hint="Letters, digits and ._@+:|=- (a letter or digit first), at most 200 characters.",
        )
    if principals.get(conn, name) is not None:
        raise Conflict("analyst-exists", f"{name} exists already.")
    added = principals.add(conn, name, role)
    acts.note(conn, actor, f"{role}-add", name)
    return added


def _set_disabled(control: Engine, name: str, actor: str, *, disabled: bool) -> principals.Record:
    with control.begin() as conn:
        if not principals.set_disabled(conn, name, disabled=disabled):
            raise _unknown(name)
        acts.note(conn, actor, "disable" if disabled else "enable", name)
        stored = principals.get(conn, name)
    if stored is None:
        raise _unknown(name)
    return stored


def _unknown(name: str) -> NotFound:
    return NotFound("analyst-unknown", f"There is no analyst {name!r}.", hint="`discreet analyst list` shows them.")
