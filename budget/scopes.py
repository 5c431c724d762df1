"""The scopes that a charge falls under, and the names by which facts refer to them.

A scope is something with a grant and a balance of its own. Names are text in facts; a kind that this module does not
know is denied wherever it is read.
"""

from __future__ import annotations

from typing import Final

from budget.schema import NAME_LENGTH

CAP: Final = "cap"
"""The dataset's own scope, over all analysts together."""

_ANALYST: Final = "analyst:"


def checked_name(name: str) -> str:
    """Return the name of a dataset or analyst; ``ValueError`` if it is empty, too long or holds what cannot be seen."""
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise ValueError("not a name")
    return name


def of_analyst(analyst: str) -> str:
    """Return the scope of one analyst on a dataset."""
    return _ANALYST + analyst


def analyst_of(scope: str) -> str | None:
    """Return the analyst whose scope this is; None for the cap; ``ValueError`` for a kind that is not known."""
    if scope == CAP:
        return None
    if not scope.startswith(_ANALYST) or scope == _ANALYST:
        raise ValueError("unknown kind of scope")
    return scope.removeprefix(_ANALYST)


def paying(analyst: str) -> tuple[str, ...]:
    """Return the scopes that a fresh charge of this analyst falls under, in the order in which they are locked."""
    return tuple(sorted((CAP, of_analyst(analyst))))
