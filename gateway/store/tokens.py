"""Tokens that were issued, and those that are no longer good.

An API token is a random text of 256 bits, of which only the SHA-256 is kept: a fast hash suffices, since there is
nothing to guess. A JWT of the gateway's own is good only while its id stands here, so that a stolen signing key alone
makes no token that the control database does not know of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, Row, Select, and_, bindparam, insert, select

from budget import chain
from gateway.auth.principal import Role
from gateway.store.tables import TOKEN_ID_LENGTH, principal, token, token_revocation

Kind: TypeAlias = Literal["jwt", "api"]

OWN = "discreet"
"""Stands for the issuer of own tokens in the list of revocations, whatever the setting ``issuer`` says today."""


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued token; times in microseconds since 1970. ``held`` is the role that its principal has now."""

    id: str
    kind: Kind
    principal: str
    role: Role
    created_at: int
    expires_at: int
    actor: str
    revoked: bool = False
    disabled: bool = False
    held: Role | None = None


def digest(secret: str) -> bytes:
    """Return what is stored of an API token."""
    return sha256(secret.encode()).digest()


def valid_id(token_id: str) -> bool:
    """Return whether a text can be the id of a token."""
    return 1 <= len(token_id) <= TOKEN_ID_LENGTH and token_id.isprintable()


def record(conn: Connection, issued: Issued, secret_digest: bytes | None) -> None:
    """Note a token that is being issued; an API token with its digest."""
    conn.execute(
        insert(token).values(
            id=issued.id,
            kind=issued.kind,
            principal=issued.principal,
            role=issued.role,
            digest=secret_digest,
            created_at=issued.created_at,
            expires_at=issued.expires_at,
            actor=issued.actor,
        )
    )


def by_id(conn: Connection, token_id: str) -> Issued | None:
    """Return an issued token by its id, or None."""
    return _one(conn, _BY_ID, {"of": token_id})


def by_digest(conn: Connection, secret_digest: bytes) -> Issued | None:
    """Return an API token by the digest of its text, or None."""
    return _one(conn, _BY_DIGEST, {"of": secret_digest})


def listed(conn: Connection, name: str | None = None) -> list[Issued]:
    """Return issued tokens, newest first, of one principal or of all."""
    query = _issued().order_by(token.c.created_at.desc(), token.c.id)
    if name is not None:
        query = query.where(token.c.principal == name)
    return [_read(row) for row in conn.execute(query)]


def revoke(conn: Connection, issuer: str, token_id: str, *, actor: str) -> bool:
    """Note that a token is no longer good; False if that was noted before."""
    if revoked(conn, issuer, token_id):
        return False
    conn.execute(insert(token_revocation).values(issuer=issuer, id=token_id, at=chain.now(conn), actor=actor))
    return True


def revoked(conn: Connection, issuer: str, token_id: str) -> bool:
    """Return whether a token is no longer good."""
    c = token_revocation.c
    return conn.execute(select(c.at).where(c.issuer == issuer, c.id == token_id)).first() is not None


def _issued() -> Select[Any]:
    gone = and_(token_revocation.c.issuer == OWN, token_revocation.c.id == token.c.id)
    return select(
        token, token_revocation.c.at.label("revoked_at"), principal.c.disabled, principal.c.role.label("held")
    ).select_from(token.join(principal, principal.c.name == token.c.principal).outerjoin(token_revocation, gone))


# Made once, as every request needs one of them.
_BY_ID: Final = _issued().where(token.c.id == bindparam("of"))
_BY_DIGEST: Final = _issued().where(token.c.digest == bindparam("of"))


def _one(conn: Connection, query: Select[Any], named: Mapping[str, Any]) -> Issued | None:
    row = conn.execute(query, named).one_or_none()
    return None if row is None else _read(row)


def _read(row: Row[Any]) -> Issued:
    return Issued(
        row.id,
        row.kind,
        row.principal,
        row.role,
        row.created_at,
        row.expires_at,
        row.actor,
        revoked=row.revoked_at is not None,
        disabled=row.disabled,
        held=row.held,
    )
