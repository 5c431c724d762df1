"""The scopes that a charge falls under, and the names by which facts refer to them.

A scope is something with a grant and a balance of its own. Names are text in facts; a kind that this module does not
know is denied wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from budget.rules import NAME_LENGTH

CAP: Final = "cap"
"""The dataset's own scope, over all analysts together."""

_ANALYST: Final = "analyst:"
_PROJECT: Final = "project:"


def checked_name(name: str) -> str:
    """Return the name of a dataset, analyst or project; ``ValueError`` if it is empty, too long or holds what cannot be
    seen.
    """
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise ValueError("not a name")
    return name


def of_analyst(analyst: str) -> str:
    """Return the scope of one analyst on a dataset."""
    return _ANALYST + analyst


def of_project(project: str) -> str:
    """Return the scope of a project on a dataset."""
    return _PROJECT + project


def analyst_of(scope: str) -> str | None:
    """Return the analyst whose scope this is, None for another kind; ``ValueError`` for a kind that is not known."""
    return _of(_ANALYST, scope)


def project_of(scope: str) -> str | None:
    """Return the project whose scope this is, None for another kind; ``ValueError`` for a kind that is not known."""
    return _of(_PROJECT, scope)


def checked_scope(scope: str) -> str:
    """Return the name of a scope; ``ValueError`` for a kind that is not known."""
    for prefix in (_ANALYST, _PROJECT):
        if scope.startswith(prefix):
            checked_name(scope.removeprefix(prefix))
            return scope
    if scope != CAP:
        raise ValueError("unknown kind of scope")
    return scope


def paying(analyst: str, projects: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the scopes that a fresh charge of this analyst falls under, in the order in which they are locked."""
    return tuple(sorted((CAP, of_analyst(analyst), *(of_project(project) for project in projects))))


def _of(prefix: str, scope: str) -> str | None:
    return scope.removeprefix(prefix) if checked_scope(scope).startswith(prefix) else None
