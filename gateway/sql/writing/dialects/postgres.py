"""PostgreSQL's SQL, version 14 and later."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from gateway.policy.model import Column
from gateway.sql.algebra import Kind
from gateway.sql.writing.dialects.writer import Kept, Writer


class PostgresWriter(Writer):
    """NUMERIC is exact and knows NaN and infinities; collations are named; there are no 128-bit integers."""

    types: ClassVar[Mapping[Kind, str]] = MappingProxyType({**Writer.types, "float": "DOUBLE PRECISION"})

    inlines: ClassVar[bool] = True
    halves: ClassVar[bool] = True

    def canonical(self, column: Column, raw: str) -> str:
        """Return a stored column made canonical; -0 and NaN of doubles, and numbers without a fixed scale, included."""
        match column.physical.kind:
            case "text":
                return f'(CAST({raw} AS TEXT) COLLATE "C")'
            case "float":
                wide = f"CAST({raw} AS DOUBLE PRECISION)"
                return f"(CASE WHEN {wide} = 'NaN' THEN NULL ELSE {wide} + 0.0 END)"
            case "decimal":
                return f"(CASE WHEN {raw} > '-Infinity' AND {raw} < 'Infinity' THEN trim_scale({raw}) END)"
            case _:
                return super().canonical(column, raw)

    def kept(self, column: Column, raw: str) -> Kept | None:
        """Return a stored column and what is kept of it.

        Text under a collation in which nothing is equal but itself equals what it equals byte for byte; an index of it
        serves only comparisons under that collation, and two columns may have two.
        """
        match column.physical.kind:
            case "text":
                return Kept(raw, ordered=False, columns=False) if column.physical.exact else None
            case "decimal":
                return Kept(raw, (f"{raw} > '-Infinity'",), (f"{raw} < 'Infinity'",), value=f"trim_scale({raw})")
            case _:
                return super().kept(column, raw)

    def to_double(self, value: str) -> str:
        """Return the nearest double; unbounded numerics are cut to its range inside, where a cast would raise."""
        wide = f"CAST({value} AS NUMERIC)"
        return f"CAST(ROUND(CASE WHEN {wide} > -1e300 AND {wide} < 1e300 THEN {wide} END, 300) AS DOUBLE PRECISION)"

    def divided(self, value: str, step: int) -> str:
        """Return a quotient of whole numbers, which PostgreSQL cuts toward zero."""
        return f"({value} / {step})"

    def key(self, value: str, kind: Kind) -> str:
        """Return a group key; equal numerics print alike only once their scales are."""
        return super().key(f"trim_scale(ROUND({value}, 18))" if kind == "decimal" else value, kind)

    def wide(self, whole: str) -> str:
        """Return a whole number as NUMERIC, which is exact at any size."""
        return f"CAST({whole} AS NUMERIC)"

    def quotient(self, wide: str, divisor: int) -> str:
        """Return a quotient rounded down; ``/`` of NUMERIC would round it at some digit."""
        return f"div({wide}, {divisor})"

    def narrowly_weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total``, which PostgreSQL cuts toward zero in BIGINT."""
        return f"(({self.whole(amount)} * {rows}) / {total})"

    def root(self, whole: str) -> str:
        """Return the root rounded up: that of NUMERIC is rounded at some digit, and where that is a whole number whose
        square is less, the next one is above the root.
        """
        low = f"FLOOR(SQRT({whole}))"
        return f"CASE WHEN {low} * {low} >= {whole} THEN {low} ELSE {low} + 1 END"

    def weighted(self, amount: str, total: str, rows: int) -> str:
        """Return ``amount * rows / total`` rounded toward zero, in NUMERIC."""
        return f"div(CAST({amount} AS NUMERIC) * {rows}, CAST({total} AS NUMERIC))"
