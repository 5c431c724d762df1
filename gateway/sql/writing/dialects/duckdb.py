"""DuckDB's SQL: the words of ``Writer``, said so that its optimizer does no more than it has to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from gateway.sql.writing.dialects.writer import Writer

_SHORT: Final = 16
"""Of more values it makes a hash table, which COALESCE would stand in the way of."""


_BRIEF: Final = 120
"""Characters of what is written several times, which therefore cannot grow from one function to the next."""

_USUAL: Final = 1_000
"""Characters that hardly any text has."""


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

    def quicker(self, function: str, parts: Sequence[str]) -> str | None:
        """Return a function with the usual case first: where it holds for a batch of rows nothing else is computed.

        A text of so many bytes has no more characters, which LEFT would count one by one.
        """
        if len(parts[0]) > _BRIEF:
            return None
        match function, parts:
            case "left", [text, length] if length.isdigit() and int(length) >= _USUAL:
                return f"CASE WHEN STRLEN({text}) <= {length} THEN {text} ELSE LEFT({text}, {length}) END"
            case "clamp", [value, low, high]:
                within, below = f"{value} BETWEEN {low} AND {high}", f"{value} < {low}"
                return f"CASE WHEN {within} THEN {value} WHEN {below} THEN {low} WHEN {value} > {high} THEN {high} END"
            case "clamp_whole", _:
                return f"CAST({self.quicker('clamp', parts)} AS BIGINT)"
        return None
