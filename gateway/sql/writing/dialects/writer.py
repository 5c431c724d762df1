"""What an engine's SQL is made of; each dialect overrides what it says in other words.

The words here are DuckDB's, which most engines share. A dialect that is not DuckDB's or PostgreSQL's names every
function that it offers: one whose totality nobody has shown there is refused there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, assert_never

from gateway.policy.model import Column

if TYPE_CHECKING:
    from gateway.sql.algebra import Kind  # which asks the functions how often each writes its arguments

MOST_SQL = 4_000_000
"""Characters of the bounded SQL: the columns of subqueries are written out wherever they are used."""

EARLIEST, LATEST = "0001-01-01", "9999-12-31"


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored column whose canonical value is the stored one where some conditions are true, and NULL elsewhere.

    ``sql`` is the column as comparisons take it, ``value`` the canonical one where it is kept, if that is written in
    another way (-0 is not kept, and equals 0). ``above`` is true of every value above one that is kept, or above a
    constant, ``below`` of every one below; ``always`` are conditions that no comparison implies. ``ordered`` says
    whether the stored values have the order of the canonical ones, or are only equal where those are; ``columns``
    whether they may be compared with other columns too, or with constants alone.
    """

    sql: str
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    ordered: bool = True
    columns: bool = True
    value: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """All conditions of what is kept; NULL is not, though none of them may say so."""
        return (*self.above, *self.below, *self.always)


class Writer:
    """One engine's SQL: literals, types, columns made canonical, and the arithmetic of exact integers."""

    types: ClassVar[Mapping[Kind, str]] = MappingProxyType(
        {
            "integer": "BIGINT",
            # The narrowest decimal: beside a column it changes nothing, where the default type would add decimals.
            "decimal": "DECIMAL(1, 0)",
            "float": "DOUBLE",
            "text": "VARCHAR",
            "boolean": "BOOLEAN",
            "date": "DATE",
            "timestamp": "TIMESTAMP",
        }
    )

    combines: ClassVar[bool] = True
    """Whether sums and numbers of rows, once taken, are multiplied and added in a type that holds the results."""

    lists_rows: ClassVar[bool] = True
    """Whether it is looked up in a table of its own which of many rows of constants several columns hold."""

    keeps: ClassVar[bool] = False
    """Whether rows that are kept are read by all threads, as the table is that they come from."""

    halves: ClassVar[bool] = False
    """Whether branches of a UNION ALL are done by several workers, where what is joined to a scan is done by each."""

    counts_beside: ClassVar[bool] = False
    """Whether the number of an owner's rows is counted by a window beside each, for less than joining it to them."""

    inlines: ClassVar[bool] = False
    """Whether what a subquery computes is computed wherever its columns are used, as often as they are."""

    def identifier(self, name: str) -> str:
        """Return a name as a quoted identifier."""
        return '"' + name.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        """Return a string literal; where an engine could read backslashes, its sessions assert that it does not."""
        return "'" + value.replace("'", "''") + "'"

    def double(self, value: float) -> str:
        """Return the very double, whatever the engine makes of decimal digits."""
        return f"CAST('{value!r}' AS {self.types['float']})"

    def boolean(self, value: bool) -> str:
        """Return a truth value."""
        return "TRUE" if value else "FALSE"

    def date(self, value: date) -> str:
        """Return a date."""
        return f"DATE '{value.isoformat()}'"

    def timestamp(self, value: datetime) -> str:
        """Return an instant of UTC."""
        return f"TIMESTAMP '{value.isoformat(' ')}'"

    def null(self, kind: Kind) -> str:
        """Return a NULL of a kind."""
        return f"CAST(NULL AS {self.types[kind]})"

    def canonical(self, column: Column, raw: str) -> str:
        """Return a stored column made canonical, so that equal values are identical whatever the database keeps."""
        match column.physical.kind:
            case "integer" | "boolean" | "decimal":
                return raw
            case "text":
                return f'({raw} COLLATE "binary")'
            case "float":
                return f"(CASE WHEN isnan({raw}) THEN NULL ELSE CAST({raw} AS DOUBLE) + 0.0 END)"
            case "date":
                return f"(CASE WHEN {raw} BETWEEN DATE '{EARLIEST}' AND DATE '{LATEST}' THEN {raw} END)"
            case "timestamp":
                ends = f"TIMESTAMP '{EARLIEST} 00:00:00' AND TIMESTAMP '{LATEST} 23:59:59.999999'"
                return f"(CASE WHEN {raw} BETWEEN {ends} THEN {raw} END)"
        assert_never(column.physical.kind)

    def stored(self, column: Column, raw: str) -> str | None:
        """Return a stored float as a double in which NaN is above infinity; None where an engine has no such order."""
        return f"CAST({raw} AS {self.types['float']})" if column.physical.kind == "float" else None

    def kept(self, column: Column, raw: str) -> Kept | None:
        """Return a stored column and what is kept of it; None where the canonical one is the stored, or is computed.

        NaN stands above infinity in the order of doubles.
        """
        match column.physical.kind:
            case "date":
                return Kept(raw, (f"{raw} >= DATE '{EARLIEST}'",), (f"{raw} <= DATE '{LATEST}'",))
            case "timestamp":
                first, last = f"TIMESTAMP '{EARLIEST} 00:00:00'", f"TIMESTAMP '{LATEST} 23:59:59.999999'"
                return Kept(raw, (f"{raw} >= {first}",), (f"{raw} <= {last}",))
            case "float":
                wide = f"CAST({raw} AS {self.types['float']})"
                return Kept(wide, (), (f"{wide} <= {self.double(math.inf)}",), value=f"{wide} + 0.0")
            case _:
                return None

    def to_double(self, value: str) -> str:
        """Return the nearest double of a whole number or decimal."""
        return f"CAST({value} AS {self.types['float']})"

    def whole(self, value: str) -> str:
        """Return a whole number, known to be below 2^63, in the type whose sums are exact."""
        return f"CAST({value} AS BIGINT)"

    def scaled(self, value: str, scale: int) -> str:
        """Return a decimal, known to be below 2^40 steps, as its whole number of steps of 10^-scale."""
        # The bound is below 2^40 and is multiplied by 10^scale twice, once by the type and once here. Where 18 digits
        # hold that, engines compute in 64 bits instead of 128, several times as fast.
        digits = 18 if 2**40 * 10**scale < 10**18 else 38
        return f"CAST(CAST({value} AS DECIMAL({digits}, {scale})) * {10**scale} AS BIGINT)"

    def floored(self, value: str) -> str:
        """Return the largest whole number not above a double that is known to be below 2^63."""
        return f"CAST(FLOOR({value}) AS BIGINT)"

    def divided(self, value: str, step: int) -> str:
        """Return a whole number that is at least zero, divided by a constant and rounded down."""
        return f"({value} // {step})"

    def key(self, value: str, kind: Kind) -> str:
        """Return a group key; what cannot be shown to a client (infinities, numbers beyond 2^63) becomes NULL."""
        if kind == "float":
            most = self.double(1.7976931348623157e308)
            return f"CASE WHEN {value} BETWEEN -{most} AND {most} THEN {value} END"
        if kind in ("integer", "decimal"):
            return f"CASE WHEN {value} BETWEEN {-(2**63)} AND {2**63 - 1} THEN {value} END"
        return value

    def shown(self, name: str, kind: Kind) -> str:
        """Return a group key as it leaves the engine; ``name`` is a column of the last stage."""
        del kind
        return name

    def total(self, amount: str) -> str:
        """Return the exact sum of whole numbers over a group, 0 over nothing."""
        return f"COALESCE(SUM({amount}), 0)"

    def rows_total(self, amount: str, most: int) -> str:  # noqa: ARG002
        """Return the exact sum over a group of what rows add, 0 over nothing.

        Each is a whole number of 64 bits, and ``most`` at most.
        """
        return self.total(amount)

    def part(self, amount: str) -> str:
        """Return the exact sum over one owner's rows, NULL over nothing, in a form that ``weighted`` takes."""
        return f"SUM({amount})"

    def wide(self, whole: str) -> str:
        """Return a whole number in a type whose sums and products are exact up to 2^126."""
        return f"CAST({whole} AS HUGEINT)"

    def quotient(self, wide: str, divisor: int) -> str:
        """Return a wide whole number that is not negative divided by a constant, rounded down."""
        return f"(({wide}) // {divisor})"

    def narrowly_weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total`` rounded toward zero, the product being known to be below 2^63."""
        return f"(({self.whole(amount)} * {rows}) // {total})"

    def weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total`` rounded toward zero, in 128 bits."""
        return f"(CAST({amount} AS HUGEINT) * {rows}) // CAST({total} AS HUGEINT)"

    def magnitude(self, part: str) -> str:
        """Return the absolute value of one owner's exact sum."""
        return f"ABS({part})"

    def root(self, whole: str) -> str:
        """Return the root of an owner's whole number below 2^126, rounded up; ``whole`` is a column.

        Why it is no less than the root: the cast, the root and the product each err by 2^-52 of it at most, and the
        factor adds 2^-50, so that the next whole number above ``low`` is above the root; ``low`` itself is taken where
        its square is no less. It is a function of the exact number alone, the same whoever else is in the data.
        """
        factor = self.double(1 + 2.0**-50)
        low = self.wide(f"FLOOR(SQRT({self.to_double(whole)}) * {factor})")
        return f"CASE WHEN {low} * {low} >= {whole} THEN {low} ELSE {low} + 1 END"

    def folded_sum(self, whole: str, step: int, over: str = "") -> str:
        """Return the sum of an owner's whole numbers, each of that many units; 0 over nothing; ``over`` as a window."""
        return f"COALESCE(SUM({whole}){over} * {step}, 0)"

    def folded_double(self, whole: str, over: str = "") -> str:
        """Return the sum of an owner's whole numbers as the nearest double, NULL over nothing; ``over`` as a window."""
        return f"CAST(SUM({whole}){over} AS {self.types['float']})"

    def among(self, value: str, listed: Sequence[str]) -> str:
        """Return the condition that a value is one of a list."""
        return f"{value} IN ({', '.join(listed)})"

    def either(self, value: str) -> str:
        """Return whether one of several truth values is true, NULL over nothing."""
        return f"BOOL_OR({value})"

    def joined(self, parts: Sequence[str], operator: str) -> str:
        """Return a chain of conditions."""
        return operator.join(parts)

    def ordered(self, written: str, *, descending: bool, nulls_first: bool) -> str:
        """Return one key of an order."""
        return f"{written} {'DESC' if descending else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}"

    def offers(self, function: str, parts: Sequence[str]) -> bool:
        """Whether a function means the same here with these arguments, each as it is written."""
        del function, parts
        return True

    def quicker(self, function: str, parts: Sequence[str]) -> str | None:
        """Return another way to write a function of arguments that may be written several times, if there is one."""
        del function, parts
        return None

    def variadic(self, template: str, parts: Sequence[str]) -> str:
        """Return a function of any number of arguments, which stand where its template has ``{*}``."""
        return template.replace("{*}", ", ".join(parts))

    def compared(self, text: str) -> str:
        """Return a text as LEAST and GREATEST take it."""
        return text

    def as_text(self, picked: str) -> str:
        """Return what LEAST or GREATEST picked among texts as ``compared`` gives them."""
        return picked

    def admits(self, sql: str) -> bool:
        """Whether the engine reads a text of that length and depth, decided before anything is charged."""
        return len(sql) <= MOST_SQL

    def lot(self, salt: str, names: Sequence[str]) -> str:
        """Return a keyed hash of columns, which orders an owner's groups; it depends on nothing but their values."""
        parts = [self.text(salt), *(f"COALESCE(CAST({name} AS VARCHAR), '')" for name in names)]
        hashed = " || '|' || ".join(parts)
        return f"md5({hashed})"
