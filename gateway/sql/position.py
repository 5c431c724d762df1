"""Where in the analyst's own text a node stands."""

from __future__ import annotations

from datetime import datetime

from sqlglot import exp

from gateway.errors import Position

TEXT = "discreet_text"
"""The key in the root's ``meta`` under which the parser leaves the analyst's text."""

DIALECT = "discreet_dialect"
"""The key for the dialect of the text, which says what some functions mean."""

INSTANT = "discreet_instant"
"""The key for the instant of planning, which CURRENT_DATE and NOW are."""


def position(node: exp.Expression) -> Position | None:
    """Return the first place of a node: the least start of the tokens known below it, or of its nearest known ancestor.

    sqlglot records a token's end line and column, so both are counted from its start offset here; operators have no
    token of their own.
    """
    text = node.root().meta.get(TEXT)
    if not isinstance(text, str):
        return None
    at: exp.Expr | None = node
    while at is not None:
        starts = [found.meta["start"] for found in at.walk() if isinstance(found.meta.get("start"), int)]
        if starts:
            return locate(text, min(starts))
        at = at.parent
    return Position(1, 1)


def locate(text: str, offset: int) -> Position:
    """Return the line and column, both from 1, of an offset into a text."""
    before = text[:offset]
    return Position(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def dialect(node: exp.Expression) -> str | None:
    """Return the dialect that a node was written in, None where the parser did not say."""
    found = node.root().meta.get(DIALECT)
    return found if isinstance(found, str) else None


def instant(node: exp.Expression) -> datetime | None:
    """Return the instant at which a node's text is planned, None where nobody said."""
    found = node.root().meta.get(INSTANT)
    return found if isinstance(found, datetime) else None
