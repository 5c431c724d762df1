"""What admins did to the control plane, one row an act; acts upon budgets are facts of the ledger as well."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from budget import chain
from budget.rules import TEXT_LENGTH
from gateway.store.tables import act


@dataclass(frozen=True, slots=True)
class Act:
    """One act: who did what to whom or what; ``at`` in microseconds since 1970."""

    at: int
    actor: str
    act: str
    subject: str
    detail: str | None


def note(conn: Connection, actor: str, name: str, subject: str, detail: str | None = None) -> None:
    """Note an act in the transaction that does it, at the database's time.

    It is after all acts that stand, also where the clock counts in milliseconds and two acts fall in one, or was
    set back: which act was the last one is asked, and is not to be left to chance.
    """
    latest = conn.execute(select(func.max(act.c.at))).scalar_one()
    at = max(chain.now(conn), 0 if latest is None else latest + 1)
    shown = None if detail is None else detail[:TEXT_LENGTH]
    conn.execute(
        insert(act).values(id=secrets.token_hex(16), at=at, actor=actor, act=name, subject=subject, detail=shown)
    )


def last(conn: Connection, name: str, subject: str) -> Act | None:
    """Return the last act of a kind upon a subject, None if there was none."""
    row = conn.execute(
        select(act).where(act.c.act == name, act.c.subject == subject).order_by(act.c.at.desc(), act.c.id).limit(1)
    ).one_or_none()
    return None if row is None else Act(row.at, row.actor, row.act, row.subject, row.detail)


def listed(conn: Connection, limit: int = 100) -> list[Act]:
    """Return the last acts, newest first."""
    rows = conn.execute(select(act).order_by(act.c.at.desc(), act.c.id).limit(limit))
    return [Act(row.at, row.actor, row.act, row.subject, row.detail) for row in rows]
