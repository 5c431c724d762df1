"""DuckDB's SQL: the words of ``Writer``, said so that its optimizer does no more than it has to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from gateway.sql.writing.dialects.writer import Writer

_SHORT: Final = 16
"""Of more values it makes a hash table, which COALESCE would stand in the way of."""


class DuckdbWriter(Writer):
    """What is shared, and DuckDB's own way with lists and with rows that it keeps."""

    keeps: ClassVar[bool] = True

    def among(self, value: str, listed: Sequence[str]) -> str:
        """Return the condition that a value is listed; a short list is kept whole.

        As a filter of its own it would become one comparison a value and row, some 20 ns each; inside COALESCE it is
        asked once of each entry of a column's dictionary. It is not true of NULL either way.
        """
        found = super().among(value, listed)
        return found if len(listed) > _SHORT else f"COALESCE({found}, FALSE)"
