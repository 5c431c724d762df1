"""What becomes of a standard query: answered, thresholded, exact, or refused with a code."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import SqlRefused
from gateway.sql.planning.plan import Plan
from tests.tpch.world import QUERIES, planned


@dataclass(frozen=True)
class Status:
    """``word`` is what the page says: ``answered``, ``thresholded``, ``exact`` or the code of the refusal."""

    word: str
    at: str = ""
    said: str = ""
    planned: bool = False


def status(name: str) -> Status:
    """What becomes of a standard query today."""
    try:
        return Status(word(planned(name)), planned=True)
    except SqlRefused as refusal:
        at = refusal.position
        if at is None:
            return Status(refusal.code, said=f"{refusal.message} {refusal.hint or ''}")
        text = QUERIES[name].splitlines()[at.line - 1][at.column - 1 :]
        return Status(refusal.code, f"{at.line}:{at.column} {text[:40]!r}", f"{refusal.message} {refusal.hint or ''}")


def word(plan: Plan) -> str:
    """Whether a plan needs noise, and whether its groups must be reached by enough people."""
    if not plan.releases:
        return "exact"
    return "thresholded" if any(release.threshold is not None for release in plan.releases) else "answered"
