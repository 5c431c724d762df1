"""The seam to where a prepared copy is made: a place of its own, filled table by table, and read once it is done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Begun:
    """What a place holds: the secret key under which rows are chosen, and the tables that are done."""

    key: str
    done: Collection[str]


class Copier(Protocol):
    """One place, from the first table until it is finished; every method raises ``EngineError`` where it fails.

    The key is kept with the copy until that is finished, so that a copy that was interrupted goes on as it began; it is
    of no use after that, and forgotten.
    """

    @property
    def target(self) -> str:
        """The schema of the copy, as statements write it; unqualified names are the source's tables."""

    def begin(self, key: str) -> Begun:
        """Make the place with that key, or return what an earlier run left there."""

    def number(self, sql: str) -> int:
        """Return the one whole number that a query gives."""

    def copy(self, table: str, statements: Sequence[str]) -> None:
        """Make one table anew, and note that it is done."""

    def finish(self, reader: str) -> None:
        """Forget the key, write everything out, and let a role read the copy and nothing else."""

    def drop(self) -> None:
        """Remove the place with all that it holds."""

    def close(self) -> None:
        """Release files and connections."""
