"""Suspending an analyst on a dataset after an engine failure, and clearing it.

Why: whether an engine fails may depend on data (memory, disk or time exhausted), so that a failure is a bit that was
not paid for. An analyst who may go on would collect such bits; suspended from the first one, they keep one.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, select

from budget import schema
from budget.book import opened
from budget.errors import NotSuspended
from budget.scopes import checked_name, of_analyst


def suspend(
    conn: Connection, dataset: str, analyst: str, *, actor: str, reason: str | None = None, charge: str | None = None
) -> None:
    """Suspend an analyst on a dataset, naming the charge whose failure was the cause; every failure leaves a fact."""
    _append(conn, dataset, analyst, "suspend", actor, reason, charge)


def clear(conn: Connection, dataset: str, analyst: str, *, actor: str, reason: str | None = None) -> None:
    """Lift an analyst's suspension; ``NotSuspended`` if there is none."""
    _append(conn, dataset, analyst, "clear", actor, reason, None)


def cause(conn: Connection, dataset: str, analyst: str) -> str | None:
    """Return the charge whose failure the analyst's present suspension began with, None if no charge is named.

    It is the one outcome that is told while suspended. Others are withheld, failed or not: which of several queries in
    flight failed as well would be so many more bits that nobody paid for.
    """
    table = schema.suspension
    mine = (table.c.dataset == dataset) & (table.c.analyst == analyst)
    found: str | None = None
    for row in conn.execute(select(table.c.action, table.c.charge).where(mine).order_by(table.c.seq.desc())):
        if row.action == "clear":
            break
        found = row.charge
    return found


def _append(
    conn: Connection, dataset: str, analyst: str, action: str, actor: str, reason: str | None, charge: str | None
) -> None:
    checked_name(actor)
    scope = of_analyst(checked_name(analyst))
    with opened(conn, dataset) as book:
        before = book.standing(scope)
        if action == "clear" and not before.suspended:
            raise NotSuspended(scope)
        fact = {"analyst": analyst, "action": action, "charge": charge, "actor": actor, "reason": reason or None}
        head = book.post("suspension", fact)
        book.put(replace(before, seq=head.seq, suspended=action == "suspend"))
