"""MariaDB's SQL, version 10.6 and later, in the mode that the engine's sessions assert (``gateway.engines.mariadb``).

In that mode backslashes are letters, ``||`` puts texts together and double quotes stand around names. Sums of whole
numbers are decimals of up to 65 digits and exact; doubles have neither NaN nor infinities. Text is compared character
by character, spaces at the end included (``utf8mb4_nopad_bin``). Truth values are whole numbers and leave as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from gateway.policy.model import Column
from gateway.sql.writing.dialects.depth import parser_depth, selects
from gateway.sql.writing.dialects.writer import EARLIEST, LATEST, Kept, Writer

if TYPE_CHECKING:
    from gateway.sql.algebra import Kind

MOST_JOINS = 55
"""MariaDB joins at most 61 tables."""

MOST_DEPTH = 700
"""Entries of a parser's stack, as SQLite would have them; from 2,000 on the server's own stack was full (10.11)."""

MOST_SELECTS = 40
"""MariaDB reads 63 SELECTs within each other; a stage of WITH is read once more where it is used."""

_COLLATION = "COLLATE utf8mb4_nopad_bin"


class MysqlWriter(Writer):
    """Whole numbers are SIGNED or decimals of 40 digits; dates that are no days of the calendar are NULL."""

    types: ClassVar[Mapping[Kind, str]] = MappingProxyType(
        {
            "integer": "SIGNED",
            "decimal": "DECIMAL(1, 0)",
            "float": "DOUBLE",
            "text": "CHAR",
            "boolean": "SIGNED",
            "date": "DATE",
            "timestamp": "DATETIME(6)",
        }
    )

    lists_rows: ClassVar[bool] = False
    """MySQL and MariaDB write rows of constants in two ways."""

    combines: ClassVar[bool] = False
    """Products of decimals have 65 digits at most, and beyond them lose digits."""

    def stored(self, column: Column, raw: str) -> str | None:  # noqa: ARG002
        """Return nothing: doubles are made canonical first."""
        return None

    def timestamp(self, value: datetime) -> str:
        """Return an instant of UTC."""
        return f"TIMESTAMP '{value.isoformat(' ', 'microseconds')}'"

    def canonical(self, column: Column, raw: str) -> str:
        """Return a stored column made canonical; ``0000-00-00`` and ``2020-02-00`` are kept by MariaDB and no days."""
        match column.physical.kind:
            case "integer":
                return f"CAST({raw} AS DECIMAL(20, 0))" if "unsigned" in column.physical.name else raw
            case "boolean":
                return f"(CASE WHEN {raw} IN (0, 1) THEN {raw} END)"
            case "decimal":
                return raw
            case "float":
                return f"(CAST({raw} AS DOUBLE) + 0e0)"
            case "text":
                return f"(CONVERT({raw} USING utf8mb4) {_COLLATION})"
            case "date":
                real = f"FROM_DAYS(TO_DAYS({raw})) = {raw} AND {raw} BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}'"
                return f"(CASE WHEN {real} THEN {raw} END)"
            case "timestamp":
                ends = f"TIMESTAMP '{EARLIEST} 00:00:00' AND TIMESTAMP '{LATEST} 23:59:59.999999'"
                real = f"FROM_DAYS(TO_DAYS({raw})) = CAST({raw} AS DATE) AND {raw} BETWEEN {ends}"
                return f"(CASE WHEN {real} THEN CAST({raw} AS DATETIME(6)) END)"

    def kept(self, column: Column, raw: str) -> Kept | None:
        """Return a stored date and what is kept of it: no day that the calendar does not have."""
        found = super().kept(column, raw) if column.physical.kind == "date" else None
        return None if found is None else replace(found, always=(f"FROM_DAYS(TO_DAYS({raw})) = {raw}",))

    def whole(self, value: str) -> str:
        """Return a whole number below 2^63."""
        return f"CAST({value} AS SIGNED)"

    def scaled(self, value: str, scale: int) -> str:
        """Return a decimal as its whole number of steps."""
        return f"CAST(CAST({value} AS DECIMAL(38, {scale})) * {10**scale} AS SIGNED)"

    def floored(self, value: str) -> str:
        """Return the floor of a double below 2^63, which is a double that a cast leaves as it is."""
        return f"CAST(FLOOR({value}) AS SIGNED)"

    def divided(self, value: str, step: int) -> str:
        """Return a quotient of whole numbers rounded down."""
        return f"({value} DIV {step})"

    def key(self, value: str, kind: Kind) -> str:
        """Return a group key; doubles are finite here."""
        if kind == "float":
            return value
        return f"CAST({super().key(value, kind)} AS SIGNED)" if kind == "integer" else super().key(value, kind)

    def shown(self, name: str, kind: Kind) -> str:
        """Return a group key as it leaves the engine; a truth value as bytes, which nothing else is."""
        return f"CAST({name} AS BINARY)" if kind == "boolean" else name

    def wide(self, whole: str) -> str:
        """Return a whole number as a decimal: products and sums of these have up to 65 digits."""
        return f"CAST({whole} AS DECIMAL(40, 0))"

    def quotient(self, wide: str, divisor: int) -> str:
        """Return a quotient rounded down: what is left over is taken away first, so that the division is exact."""
        return f"CAST((({wide}) - MOD({wide}, {divisor})) / {divisor} AS DECIMAL(40, 0))"

    def weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total`` rounded toward zero; a remainder has the sign of what is divided."""
        product, by = f"(CAST({amount} AS DECIMAL(40, 0)) * {rows})", f"CAST({total} AS DECIMAL(40, 0))"
        return f"CAST(({product} - MOD({product}, {by})) / {by} AS DECIMAL(40, 0))"

    def folded_double(self, whole: str, over: str = "") -> str:
        """Return an owner's exact sum as the nearest double, NULL over nothing."""
        return f"CAST(SUM({whole}){over} AS DOUBLE)"

    def either(self, value: str) -> str:
        """Return whether one of several truth values is true."""
        return f"MAX({value})"

    def ordered(self, written: str, *, descending: bool, nulls_first: bool) -> str:
        """Return a key of an order; MariaDB has no NULLS FIRST."""
        return f"({written}) IS NULL {'DESC' if nulls_first else 'ASC'}, {written} {'DESC' if descending else 'ASC'}"

    def offers(self, function: str, parts: Sequence[str]) -> bool:
        """Whether a function has its meaning with these arguments: TRIM takes away a text here, not its letters."""
        return not function.startswith("trim") or len(parts[1]) == 3

    def lot(self, salt: str, names: Sequence[str]) -> str:
        """Return a keyed hash of columns."""
        parts = [self.text(salt), *(f"COALESCE(CAST({name} AS CHAR), '')" for name in names)]
        hashed = " || '|' || ".join(parts)
        return f"MD5({hashed})"

    def admits(self, sql: str) -> bool:
        """Whether the server reads so long and so deep a text."""
        few = sql.count(" JOIN ") <= MOST_JOINS and selects(sql) <= MOST_SELECTS
        return few and super().admits(sql) and parser_depth(sql) <= MOST_DEPTH
