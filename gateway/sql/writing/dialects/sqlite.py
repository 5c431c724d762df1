"""SQLite's SQL, with the few functions that the engine's connections add (``gateway.engines.sqlite``).

SQLite types values, not columns: an INTEGER column may hold ``'abc'`` and ``2.5``, and such values are NULL here. Its
integers have 64 bits and SUM raises an error beyond them, which data would decide; so sums are taken by
``discreet_sum`` and its like, in Python's integers. Keys leave the engine as tagged BLOBs, since a result of SQLite has
no types: ``D`` a date, ``T`` an instant, ``S`` text, ``B`` a truth value, ``I`` a whole number of any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from gateway.errors import SqlRefused
from gateway.policy.model import Column
from gateway.sql.writing.dialects.depth import parser_depth
from gateway.sql.writing.dialects.writer import EARLIEST, LATEST, Kept, Writer

if TYPE_CHECKING:
    from gateway.sql.algebra import Kind

MOST_DEPTH = 100
"""The entries of the parser's stack in versions before 3.46; a deeper text is an error there."""

MOST_JOINS = 60
"""SQLite joins at most 64 tables."""

MOST_SELECTS = 480
"""SQLite puts at most 500 SELECTs together."""

MOST_ARGUMENTS = 50
"""SQLite's functions take at most 100 arguments where nobody raised the limit."""

_STEP = 62


class SqliteWriter(Writer):
    """Doubles, 64-bit integers and text; everything else is one of these."""

    types: ClassVar[Mapping[Kind, str]] = MappingProxyType(
        {
            **dict.fromkeys(("integer", "boolean"), "INTEGER"),
            **dict.fromkeys(("decimal", "float"), "REAL"),
            **dict.fromkeys(("text", "date", "timestamp"), "TEXT"),
        }
    )

    combines: ClassVar[bool] = False
    """Sums are digits, and integers have 64 bits."""

    def double(self, value: float) -> str:
        """Return the very double, put together from whole numbers: SQLite may read its digits one place off.

        Why it matters: a bound that is read a trifle too high lets one row weigh more than the price allows for. Whole
        numbers below 2^53 and powers of two convert and multiply exactly.
        """
        mantissa, exponent = math.frexp(value)
        whole, exponent = int(mantissa * 2**53), exponent - 53
        while whole and whole % 2 == 0:
            whole, exponent = whole // 2, exponent + 1
        steps, rest = divmod(abs(exponent), _STEP)
        factors = [*([2**_STEP] * steps), *([2**rest] if rest else [])] if whole else []
        operator = " * " if exponent > 0 else " / "
        return f"({operator.join(f'CAST({factor} AS REAL)' for factor in (whole, *factors))})"

    def text(self, value: str) -> str:
        """Return a string literal; a text that holds the character NUL, which no statement may, by its bytes."""
        return f"CAST(x'{value.encode().hex()}' AS TEXT)" if "\0" in value else super().text(value)

    def date(self, value: date) -> str:
        """Return a date, which is text."""
        return self.text(value.isoformat())

    def timestamp(self, value: datetime) -> str:
        """Return an instant, which is text with six decimals."""
        return self.text(value.isoformat(" ", "microseconds"))

    def joined(self, parts: Sequence[str], operator: str) -> str:
        """Return a chain as a balanced tree: SQLite's expressions are at most 1,000 deep."""
        if len(parts) <= 2:
            return operator.join(parts)
        half = len(parts) // 2
        return operator.join(f"({self.joined(side, operator)})" for side in (parts[:half], parts[half:]))

    def variadic(self, template: str, parts: Sequence[str]) -> str:
        """Return a function of any number of arguments, as functions of functions where they are many."""
        while len(parts) > MOST_ARGUMENTS:
            groups = [parts[at : at + MOST_ARGUMENTS] for at in range(0, len(parts), MOST_ARGUMENTS)]
            parts = [self.variadic(template, group) for group in groups]
        # SQLite's COALESCE takes two arguments at least
        return super().variadic(template, parts) if len(parts) > 1 else parts[0]

    def compared(self, text: str) -> str:
        """Return a text as bytes: a function of ours that is given text raises where it is no UTF-8."""
        return f"CAST({text} AS BLOB)"

    def as_text(self, picked: str) -> str:
        """Return bytes as the text that they were."""
        return f"CAST({picked} AS TEXT)"

    def canonical(self, column: Column, raw: str) -> str:
        """Return a stored column made canonical: a value of another type than the declared one is NULL."""
        match column.physical.kind:
            case "integer":
                return f"(CASE WHEN typeof({raw}) = 'integer' THEN {raw} END)"
            case "boolean":
                return f"(CASE WHEN typeof({raw}) = 'integer' AND {raw} IN (0, 1) THEN {raw} END)"
            case "float" | "decimal":
                return f"(CASE WHEN typeof({raw}) IN ('integer', 'real') THEN CAST({raw} AS REAL) + 0.0 END)"
            case "text":
                return f"(CASE WHEN typeof({raw}) = 'text' THEN {raw} END COLLATE BINARY)"
            case "date":
                # with a modifier the 30th of February becomes the 1st of March; without one it stays as it is
                real = f"date({raw}, '+0 days') = {raw} COLLATE BINARY AND {raw} BETWEEN '{EARLIEST}' AND '{LATEST}'"
                return f"(CASE WHEN typeof({raw}) = 'text' AND {real} THEN {raw} END)"
            case "timestamp":
                return f"(CASE WHEN typeof({raw}) = 'text' THEN discreet_instant(CAST({raw} AS BLOB)) END)"

    def stored(self, column: Column, raw: str) -> str | None:  # noqa: ARG002
        """Return nothing: what type a value has shows in the value alone."""
        return None

    def kept(self, column: Column, raw: str) -> Kept | None:
        """Return a stored column and what is kept of it: instants are read from text, and numbers become doubles.

        Whole numbers, texts and dates are compared as they are stored once their type is known: a column's affinity
        makes numbers of texts, but none of a date, nor of what is compared with a column of texts. A date that is
        written in full compares the same under every collation.
        """
        kind = column.physical.kind
        if kind == "integer":
            return Kept(raw, always=(f"typeof({raw}) = 'integer'",))
        if kind == "text" and column.physical.exact:
            return Kept(raw, always=(f"typeof({raw}) = 'text'",))
        if kind == "date":
            real = (f"typeof({raw}) = 'text'", f"date({raw}, '+0 days') = {raw} COLLATE BINARY")
            return Kept(raw, (f"{raw} >= '{EARLIEST}'",), (f"{raw} <= '{LATEST}'",), real)
        return None

    def to_double(self, value: str) -> str:
        """Return the nearest double."""
        return f"CAST({value} AS REAL)"

    def whole(self, value: str) -> str:
        """Return a whole number below 2^63."""
        return f"CAST({value} AS INTEGER)"

    def scaled(self, value: str, scale: int) -> str:
        """Return a decimal constant, a double here, as its steps: below 2^40 of them the nearest one is the exact."""
        return f"CAST(ROUND(({value}) * {10**scale}) AS INTEGER)"

    def floored(self, value: str) -> str:
        """Return the floor of a double below 2^63; not every SQLite has FLOOR, and CAST rounds toward zero."""
        return f"CAST({value} AS INTEGER) - (CAST({value} AS INTEGER) > {value})"

    def divided(self, value: str, step: int) -> str:
        """Return a quotient of whole numbers, which SQLite cuts toward zero."""
        return f"({value} / {step})"

    def wide(self, whole: str) -> str:
        """Refuse what needs more than 64 bits between two operators: SQLite would go on in doubles without a word."""
        del whole
        raise SqlRefused(
            "aggregate-unsupported",
            "Second moments need wider whole numbers than SQLite has.",
            hint="COUNT, SUM, AVG, quantiles, MIN and MAX can be released on this dataset.",
        )

    def key(self, value: str, kind: Kind) -> str:
        """Return a group key; text that is no valid UTF-8 becomes NULL."""
        if kind == "text":
            return f"discreet_text(CAST({value} AS BLOB))"
        return super().key(value, "float" if kind == "decimal" else kind)

    def shown(self, name: str, kind: Kind) -> str:
        """Return a group key tagged with what it is."""
        tags: Mapping[Kind, str] = {"text": "S", "date": "D", "timestamp": "T", "boolean": "B"}
        return f"CAST('{tags[kind]}' || {name} AS BLOB)" if kind in tags else name

    def total(self, amount: str) -> str:
        """Return the exact sum over a group, 0 over nothing."""
        # over nothing, SQLite does not ask an aggregate of ours
        return f"COALESCE(discreet_total({amount}), CAST('I0' AS BLOB))"

    def part(self, amount: str) -> str:
        """Return the exact sum over one owner's rows, as the digits that ``weighted`` and ``total`` read."""
        return f"discreet_part({amount})"

    def weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total`` rounded toward zero, as digits."""
        return f"discreet_weighted({amount}, {rows}, {total})"

    def folded_sum(self, whole: str, step: int, over: str = "") -> str:
        """Return an owner's sum held within 63 bits, which is as much a function of the owner's rows as the sum is."""
        return f"COALESCE(discreet_held({whole}, {step}){over}, 0)"

    def folded_double(self, whole: str, over: str = "") -> str:
        """Return an owner's exact sum as the nearest double, NULL over nothing."""
        return f"discreet_double({whole}){over}"

    def either(self, value: str) -> str:
        """Return whether one of several truth values is true."""
        return f"MAX({value})"

    def lot(self, salt: str, names: Sequence[str]) -> str:
        """Return a keyed hash of columns."""
        parts = [self.text(salt), *(f"CAST({name} AS BLOB)" for name in names)]
        return f"discreet_lot({', '.join(parts)})"

    def admits(self, sql: str) -> bool:
        """Whether any SQLite reads so long and so deep a text."""
        few = sql.count(" JOIN ") <= MOST_JOINS and sql.count(" UNION ALL ") <= MOST_SELECTS
        return few and super().admits(sql) and parser_depth(sql) <= MOST_DEPTH
