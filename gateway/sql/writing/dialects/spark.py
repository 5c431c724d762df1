"""Spark's SQL, version 4, in ANSI mode.

SUM of a BIGINT is a BIGINT and raises an error beyond it, which data would decide: what rows add is summed some bits at
a time, over fewer than 2^42 rows, and what is wider than 64 bits as decimals of 28 digits, whose sums have 38: of these
ten thousand million million million of the largest integer fit. No row count is asked for. Text literals are written
character by character, since Spark reads backslashes, and ``${…}`` elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from gateway.policy.model import Column
from gateway.sql.writing.dialects.writer import EARLIEST, LATEST, Kept, Writer

if TYPE_CHECKING:
    from gateway.sql.algebra import Kind

_LIMB = 21

_PLAIN = frozenset(" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/()")


class SparkWriter(Writer):
    """Decimals of 38 digits are the widest whole numbers; identifiers stand between backticks."""

    types: ClassVar[Mapping[Kind, str]] = MappingProxyType(
        {**Writer.types, "text": "STRING", "timestamp": "TIMESTAMP_NTZ"}
    )

    lists_rows: ClassVar[bool] = False
    """Lists of many rows were tried with this engine as branches alone."""

    counts_beside: ClassVar[bool] = True

    combines: ClassVar[bool] = False
    """A product of decimals loses digits, or raises, where both have 38."""

    def identifier(self, name: str) -> str:
        """Return a name as a quoted identifier."""
        return "`" + name.replace("`", "``") + "`"

    def text(self, value: str) -> str:
        """Return a string literal whose characters stand for nothing but themselves."""
        return "'" + "".join(char if char in _PLAIN else _escaped(char) for char in value) + "'"

    def timestamp(self, value: datetime) -> str:
        """Return an instant without a time zone, whatever the session's is."""
        return f"TIMESTAMP_NTZ '{value.isoformat(' ')}'"

    def canonical(self, column: Column, raw: str) -> str:
        """Return a stored column made canonical; sessions are in UTC, so that an instant has one reading."""
        match column.physical.kind:
            case "text":
                return f"(CAST({raw} AS STRING) COLLATE UTF8_BINARY)"
            case "timestamp":
                wide = f"CAST({raw} AS TIMESTAMP_NTZ)"
                first, last = f"TIMESTAMP_NTZ '{EARLIEST} 00:00:00'", f"TIMESTAMP_NTZ '{LATEST} 23:59:59.999999'"
                return f"(CASE WHEN {wide} BETWEEN {first} AND {last} THEN {wide} END)"
            case _:
                return super().canonical(column, raw)

    def stored(self, column: Column, raw: str) -> str | None:  # noqa: ARG002
        """Return nothing: doubles are made canonical first."""
        return None

    def kept(self, column: Column, raw: str) -> Kept | None:
        """Return a stored date and what is kept of it; instants are converted, and doubles are left as they are."""
        return super().kept(column, raw) if column.physical.kind == "date" else None

    def divided(self, value: str, step: int) -> str:
        """Return a quotient of whole numbers, cut toward zero."""
        return f"({value} div {step})"

    def key(self, value: str, kind: Kind) -> str:
        """Return a group key; text that is no valid UTF-8 becomes NULL, since no client could be shown it."""
        return f"try_validate_utf8({value})" if kind == "text" else super().key(value, kind)

    def total(self, amount: str) -> str:
        """Return the exact sum over a group, 0 over nothing."""
        return f"COALESCE({self.part(amount)}, 0)"

    def rows_total(self, amount: str, most: int) -> str:
        """Return the exact sum over a group of what rows add, 0 over nothing: as sums of 21 bits at a time.

        ``amount = high * 2^21 + low``, 0 <= low < 2^21, whatever its sign: shifts round down. Over fewer than 2^42 rows
        no such sum leaves 64 bits, and sums of 64 bits take a small part of the time that those of decimals take.
        """
        limbs, amount = -(-most.bit_length() // _LIMB), f"CAST({amount} AS BIGINT)"
        sums = []
        for place in range(max(limbs, 1)):
            shifted = f"SHIFTRIGHT({amount}, {place * _LIMB})" if place else amount
            limb = shifted if place >= limbs - 1 else f"{shifted} & {2**_LIMB - 1}"
            summed = f"CAST(SUM({limb}) AS DECIMAL(38, 0))"
            sums.append(f"{summed} * {2 ** (place * _LIMB)}" if place else summed)
        return f"COALESCE({' + '.join(sums)}, 0)"

    def part(self, amount: str) -> str:
        """Return the exact sum over one owner's rows."""
        return f"SUM(CAST({amount} AS DECIMAL(28, 0)))"

    def wide(self, whole: str) -> str:
        """Return a whole number in the widest exact type: 38 digits are just above 2^126."""
        return f"CAST({whole} AS DECIMAL(38, 0))"

    def quotient(self, wide: str, divisor: int) -> str:
        """Return a quotient rounded down: what is left over is taken away first, so that the division is exact.

        A quotient has 32 digits before the point at most; those asked for are places on a grid and parts of a row.
        """
        by = f"CAST({divisor} AS DECIMAL(38, 0))"
        return f"CAST((({wide}) - (({wide}) % {by})) / {by} AS DECIMAL(38, 0))"

    def narrowly_weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total`` rounded toward zero, the product being known to be below 2^63."""
        return f"((CAST({amount} AS BIGINT) * {rows}) div {total})"

    def weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total`` rounded toward zero; the remainder has the sign of what is divided."""
        product = f"(CAST({amount} AS DECIMAL(38, 0)) * CAST({rows} AS DECIMAL({max(len(str(rows)), 10)}, 0)))"
        by = f"CAST({total} AS DECIMAL(38, 0))"
        return f"CAST(({product} - ({product} % {by})) / {by} AS DECIMAL(38, 0))"

    def folded_sum(self, whole: str, step: int, over: str = "") -> str:
        """Return the sum of an owner's whole numbers, each of that many units; 0 over nothing."""
        return f"COALESCE({self.part(whole)}{over} * CAST({step} AS DECIMAL(20, 0)), 0)"

    def folded_double(self, whole: str, over: str = "") -> str:
        """Return an owner's exact sum as the nearest double, NULL over nothing."""
        return f"CAST({self.part(whole)}{over} AS DOUBLE)"

    def lot(self, salt: str, names: Sequence[str]) -> str:
        """Return a keyed hash of columns."""
        parts = [self.text(salt), *(f"COALESCE(CAST({name} AS STRING), '')" for name in names)]
        hashed = " || '|' || ".join(parts)
        return f"md5({hashed})"


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
