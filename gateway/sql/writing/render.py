"""Write scalars, constants and columns in an engine's SQL; what reaches an engine is made here and in ``rewrite``.

The column that an engine stores is made canonical where it is read, so that values that are equal are identical:
binary collation, NaN and infinite numbers of decimals to NULL, -0 to 0, dates outside the years 1 to 9999 to NULL.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from fractions import Fraction
from typing import assert_never

from gateway.policy.model import Column, Dialect
from gateway.sql.algebra import Call, Constant, Ref, Scalar
from gateway.sql.functions import FUNCTIONS, not_offered, template
from gateway.sql.planning.quantum import Quantum
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.dialects.writer import Kept


def identifier(name: str, dialect: Dialect = "duckdb") -> str:
    """Return a name as a quoted identifier; the sandbox's dialect is DuckDB's."""
    return writer(dialect).identifier(name)


def constant(found: Constant, dialect: Dialect) -> str:
    """Return a literal of the constant's own kind, so that no engine has to guess or convert one."""
    value, kind, write = found.value, found.kind, writer(dialect)
    match value:
        case None:
            return write.null(kind)
        case bool():
            return write.boolean(value)
        case str():
            return write.text(value)
        case datetime():
            return write.timestamp(value)
        case date():
            return write.date(value)
        case int() | Fraction() if kind == "float":
            return write.double(float(value))
        case int():
            return str(value) if value >= 0 else f"({value})"
        case Fraction():
            return decimal(value)
    assert_never(value)


def decimal(value: Fraction) -> str:
    """Return the exact decimal text of a fraction whose denominator is a product of twos and fives."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
        if places > 400:
            raise ValueError("not a decimal fraction")
    digits = str(abs(value.numerator * 10**places // value.denominator)).rjust(places + 1, "0")
    whole = digits if places == 0 else f"{digits[:-places]}.{digits[-places:]}"
    return whole if value >= 0 else f"(-{whole})"


def scalar(
    found: Scalar, column: Callable[[str], str], dialect: Dialect, kept: Callable[[str], Kept | None] = lambda _: None
) -> str:
    """Return a scalar as SQL; ``column`` says how the relation below writes a column of that name.

    ``kept`` says of a column what of the stored one it is, if that is known: there it is clamped at once.
    """
    match found:
        case Ref(name):
            return column(name)
        case Constant():
            return constant(found, dialect)
        case Call("clamp", (Ref(name), Constant() as low, Constant() as high)) if (
            (held := kept(name)) is not None and held.ordered and not held.always
        ):
            return f"({_held(held, constant(low, dialect), constant(high, dialect))})"
        case Call("units", (Ref(name), low, high, Constant(int() as scale))):
            held, low_sql, high_sql = kept(name), scalar(low, column, dialect), scalar(high, column, dialect)
            near = clamped(column(name), low_sql, high_sql)
            if held is not None and held.ordered and not held.always:
                near = _held(replace(held, value=None), low_sql, high_sql)  # how a number is written says nothing here
            return f"({writer(dialect).scaled(near, scale)})"
        case Call(function, args, "text") if function in ("least", "greatest"):
            write = writer(dialect)
            parts = [write.compared(scalar(arg, column, dialect, kept)) for arg in args]
            return f"({write.as_text(_applied(function, parts, dialect))})"
        case Call(function, args):
            parts = [scalar(arg, column, dialect, kept) for arg in args]
            return f"({_applied(function, parts, dialect)})"
    assert_never(found)


def _held(kept: Kept, low: str, high: str) -> str:
    """Return a canonical column held between two constants, NULL where the stored one is not kept.

    Why it is the same: between constants lies only what is kept, and what is beyond them is kept up to its own end.
    """
    beneath = " AND ".join([f"{kept.sql} < {low}", *kept.above])
    beyond = " AND ".join([f"{kept.sql} > {high}", *kept.below])
    within = f"{kept.sql} BETWEEN {low} AND {high} THEN {kept.value or kept.sql}"
    return f"CASE WHEN {within} WHEN {beneath} THEN {low} WHEN {beyond} THEN {high} END"


def _applied(function: str, parts: list[str], dialect: Dialect) -> str:
    if function == "case":
        pairs = zip(parts[:-1:2], parts[1:-1:2], strict=True)
        return "CASE " + " ".join(f"WHEN {when} THEN {then}" for when, then in pairs) + f" ELSE {parts[-1]} END"
    joined, written = FUNCTIONS[function].variadic, template(function, dialect)
    if not writer(dialect).offers(function, parts):
        raise not_offered(function)
    quicker = writer(dialect).quicker(function, parts)
    if quicker is not None:
        return quicker
    if joined is not None:
        write = writer(dialect)
        return write.variadic(written, parts) if written else write.joined(parts, joined)
    return written.format(*parts)


def canonical(column: Column, table: str, dialect: Dialect) -> str:
    """Return a stored column made canonical, so that equal values are identical whatever the database keeps."""
    write = writer(dialect)
    return write.canonical(column, f"{table}.{write.identifier(column.name)}")


def quantised(value: str, found: Quantum, dialect: Dialect, *, stored: bool = False) -> str:
    """Return a row's integer between the quantum's ends, NULL for NULL: clamped, then rounded once.

    ``stored`` says that the value is a double as the engine keeps it (``Writer.stored``): the clamp takes NaN for NULL
    then, and -0 and 0 round to one integer, so that nothing has to be made canonical first.

    The clamp stands inside the cast, so that no value can make the cast fail.
    """
    write = writer(dialect)
    if found.how == "units":
        return value  # whole, and within its ends by what it is computed from (``inference.units``)
    if found.how == "integer":
        return write.whole(clamped(value, str(found.lower), str(found.upper)))
    low, high = found.lower * found.step, found.upper * found.step
    if found.how == "decimal":
        return write.scaled(clamped(value, decimal(low), decimal(high)), found.scale)
    # Converted first and clamped as a double: between two doubles the rounding below keeps order (quantum._rounded).
    wide = value if found.kind == "float" else write.to_double(value)
    near = clamped(
        wide, write.double(float(low)), write.double(float(high)), write.double(math.inf) if stored else None
    )
    half, step = write.double(float(found.step / 2)), write.double(float(found.step))
    return write.floored(f"({near} + {half}) / {step}")


def clamped(value: str, low: str, high: str, most: str | None = None) -> str:
    """Return a value held between two others; CASE, since GREATEST and LEAST take NaN and NULL otherwise.

    The usual case stands first: where it holds for a whole batch of rows, engines compute nothing else. With ``most``,
    what is above it (NaN, where it is infinity) is NULL.
    """
    above = f"{value} > {high}" if most is None else f"{value} <= {most}"
    within, below = f"{value} BETWEEN {low} AND {high}", f"{value} < {low}"
    return f"CASE WHEN {within} THEN {value} WHEN {below} THEN {low} WHEN {above} THEN {high} END"
