"""Who may spend how much: grants of analysts and projects and caps of datasets, and who is in which project.

Each act is a fact that supersedes the one before, with who did it and why. A grant never resets what is spent. One that
is lower than what is spent admits nothing more. One that an admin suspended stays so, whatever else is set, until it is
resumed.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, delete, insert

from budget import schema
from budget.book import Book, opened
from budget.errors import NoChange
from budget.rules import TEXT_LENGTH
from budget.scopes import CAP, checked_name, checked_scope, of_analyst, of_project
from budget.standing import Grant, Standing, terms
from budget.windows import span

__all__ = ["Grant", "join", "leave", "resume", "set_cap", "set_grant", "set_project", "set_scope", "suspend"]


def set_grant(
    conn: Connection, dataset: str, analyst: str, grant: Grant, *, actor: str, reason: str | None = None
) -> Standing:
    """Grant an analyst a budget on a dataset, in place of any earlier one, and return the scope's standing."""
    return set_scope(conn, dataset, of_analyst(checked_name(analyst)), grant, actor=actor, reason=reason)


def set_project(
    conn: Connection, dataset: str, project: str, grant: Grant, *, actor: str, reason: str | None = None
) -> Standing:
    """Grant all analysts of a project together a budget on a dataset, in place of any earlier one.

    It narrows what its members may spend; it does not take the place of a member's own grant.
    """
    return set_scope(conn, dataset, of_project(checked_name(project)), grant, actor=actor, reason=reason)


def set_cap(conn: Connection, dataset: str, grant: Grant, *, actor: str, reason: str | None = None) -> Standing:
    """Set what all analysts together may spend on a dataset, in place of any earlier cap."""
    return set_scope(conn, dataset, CAP, grant, actor=actor, reason=reason)


def set_scope(
    conn: Connection, dataset: str, scope: str, grant: Grant, *, actor: str, reason: str | None = None
) -> Standing:
    """Set what one scope may spend."""
    with opened(conn, checked_name(dataset), begin=True) as book:
        return _set(book, checked_scope(scope), grant, actor, reason)


def suspend(conn: Connection, dataset: str, scope: str, *, actor: str, reason: str | None = None) -> Standing:
    """Suspend a scope's grant: it admits nothing until it is resumed. ``NoGrant``; ``NoChange`` if it is already.

    What was answered before stays answered: a failure, and not an admin's act, withholds outcomes (``suspensions.py``).
    """
    return _pause(conn, dataset, scope, actor, reason, paused=True)


def resume(conn: Connection, dataset: str, scope: str, *, actor: str, reason: str | None = None) -> Standing:
    """Resume a suspended grant as it was. ``NoGrant``; ``NoChange`` if it is not suspended."""
    return _pause(conn, dataset, scope, actor, reason, paused=False)


def join(conn: Connection, dataset: str, project: str, analyst: str, *, actor: str, reason: str | None = None) -> None:
    """Let an analyst's charges on a dataset fall under a project's grant too, from now on.

    ``NoGrant`` where the project has none on that dataset; ``NoChange`` if the analyst is in it already.
    """
    _member(conn, dataset, project, analyst, "join", actor, reason)


def leave(conn: Connection, dataset: str, project: str, analyst: str, *, actor: str, reason: str | None = None) -> None:
    """End an analyst's membership; what they spent stays spent. ``NoChange`` if there is none."""
    _member(conn, dataset, project, analyst, "leave", actor, reason)


def _set(
    book: Book, scope: str, grant: Grant, actor: str, reason: str | None, *, paused: bool | None = None
) -> Standing:
    before = book.find(scope)
    if before is not None:
        before = book.renew(before)
    if paused is None:
        paused = before is not None and before.paused
    window = None
    if grant.window is not None and grant.timezone is not None:
        window = span(grant.window, grant.timezone, book.at)
    fact = {"scope": scope, **terms(grant, window, paused=paused), **_why(actor, reason)}
    head = book.post("grant", fact)
    fresh = Standing(scope, head.seq, grant, window, paused=paused)
    after = fresh if before is None else before.granted(head.seq, grant, window, paused=paused)
    book.put(after)
    return after


def _pause(conn: Connection, dataset: str, scope: str, actor: str, reason: str | None, *, paused: bool) -> Standing:
    with opened(conn, dataset) as book:
        before = book.standing(checked_scope(scope))
        if before.paused == paused:
            raise NoChange(scope)
        return _set(book, scope, before.grant, actor, reason, paused=paused)


def _member(
    conn: Connection,
    dataset: str,
    project: str,
    analyst: str,
    action: Literal["join", "leave"],
    actor: str,
    reason: str | None,
) -> None:
    with opened(conn, dataset) as book:
        book.standing(of_project(checked_name(project)))
        if (project in book.projects_of(checked_name(analyst))) == (action == "join"):
            raise NoChange(project)
        head = book.post(
            "membership", {"project": project, "analyst": analyst, "action": action, **_why(actor, reason)}
        )
        member = schema.member
        if action == "join":
            row = {"dataset": dataset, "analyst": analyst, "project": project, "seq": head.seq}
            conn.execute(insert(member).values(row))
        else:
            conn.execute(
                delete(member).where(
                    member.c.dataset == dataset, member.c.analyst == analyst, member.c.project == project
                )
            )


def _why(actor: str, reason: str | None) -> dict[str, str | None]:
    if reason is not None and len(reason) > TEXT_LENGTH:
        raise ValueError("a reason is too long")
    return {"actor": checked_name(actor), "reason": reason or None}
