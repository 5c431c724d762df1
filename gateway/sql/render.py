"""Write scalars, constants and columns in an engine's SQL; what reaches an engine is made here and in ``rewrite``.

The column that an engine stores is made canonical where it is read, so that values that are equal are identical:
binary collation, NaN and infinite numbers of decimals to NULL, -0 to 0, dates outside the years 1 to 9999 to NULL.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from fractions import Fraction
from typing import assert_never

from gateway.policy.model import Column
from gateway.sql.algebra import Call, Constant, Ref, Scalar
from gateway.sql.functions import FUNCTIONS, template
from gateway.sql.quantum import Quantum

SQL_TYPES = {"integer": "BIGINT", "decimal": "DECIMAL", "text": "VARCHAR", "boolean": "BOOLEAN"}


def identifier(name: str) -> str:
    """Return a name as a quoted identifier (the same in both engines)."""
    return '"' + name.replace('"', '""') + '"'


def double(dialect: str) -> str:
    """Return the engine's word for a 64-bit float."""
    return "DOUBLE PRECISION" if dialect == "postgres" else "DOUBLE"


def text(value: str) -> str:
    """Return a string literal; both engines take backslashes as they are, which each session asserts."""
    return "'" + value.replace("'", "''") + "'"


def constant(found: Constant, dialect: str) -> str:
    """Return a literal of the constant's own kind, so that no engine has to guess or convert one."""
    value, kind = found.value, found.kind
    if value is None:
        # The narrowest decimal: beside a column it changes nothing, where the default type would add decimals.
        narrow = {"decimal": "DECIMAL(1, 0)", "float": double(dialect), "date": "DATE", "timestamp": "TIMESTAMP"}
        words = {**SQL_TYPES, **narrow}
        return f"CAST(NULL AS {words[kind]})"
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return text(value)
        case datetime():
            return f"TIMESTAMP {text(value.isoformat(' '))}"
        case date():
            return f"DATE {text(value.isoformat())}"
        case int() | Fraction() if kind == "float":
            return f"CAST({text(repr(float(value)))} AS {double(dialect)})"
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


def scalar(found: Scalar, column: Callable[[str], str], dialect: str) -> str:
    """Return a scalar as SQL; ``column`` says how the relation below writes a column of that name."""
    match found:
        case Ref(name):
            return column(name)
        case Constant():
            return constant(found, dialect)
        case Call(function, args):
            parts = [scalar(arg, column, dialect) for arg in args]
            return f"({_applied(function, parts, dialect)})"
    assert_never(found)


def _applied(function: str, parts: list[str], dialect: str) -> str:
    if function == "case":
        pairs = zip(parts[:-1:2], parts[1:-1:2], strict=True)
        return "CASE " + " ".join(f"WHEN {when} THEN {then}" for when, then in pairs) + f" ELSE {parts[-1]} END"
    joined, written = FUNCTIONS[function].variadic, template(function, dialect)
    if joined is not None:
        return written.replace("{*}", joined.join(parts)) if written else joined.join(parts)
    return written.format(*parts)


def canonical(column: Column, table: str, dialect: str) -> str:
    """Return a stored column made canonical, so that equal values are identical whatever the database keeps."""
    raw = f"{table}.{identifier(column.name)}"
    match column.physical.kind:
        case "integer" | "boolean":
            return raw
        case "text" if dialect == "postgres":
            return f'(CAST({raw} AS TEXT) COLLATE "C")'
        case "text":
            return f'({raw} COLLATE "binary")'
        case "float" if dialect == "postgres":
            wide = f"CAST({raw} AS DOUBLE PRECISION)"
            return f"(CASE WHEN {wide} = 'NaN' THEN NULL ELSE {wide} + 0.0 END)"
        case "float":
            return f"(CASE WHEN isnan({raw}) THEN NULL ELSE CAST({raw} AS DOUBLE) + 0.0 END)"
        case "decimal" if dialect == "postgres":
            return f"(CASE WHEN {raw} > '-Infinity' AND {raw} < 'Infinity' THEN trim_scale({raw}) END)"
        case "decimal":
            return raw
        case "date":
            return f"(CASE WHEN {raw} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {raw} END)"
        case "timestamp":
            ends = "TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
            return f"(CASE WHEN {raw} BETWEEN {ends} THEN {raw} END)"
    assert_never(column.physical.kind)


def quantised(value: str, found: Quantum, dialect: str) -> str:
    """Return a row's integer between the quantum's ends, NULL for NULL: clamped, then rounded once.

    The clamp stands inside the cast, so that no value can make the cast fail.
    """
    if found.how == "integer":
        return f"CAST({clamped(value, str(found.lower), str(found.upper))} AS BIGINT)"
    low, high = found.lower * found.step, found.upper * found.step
    if found.how == "decimal":
        # 38 digits: the bound is below 2^40 and is multiplied by 10^scale twice, once by the type and once here.
        exact = f"CAST({clamped(value, decimal(low), decimal(high))} AS DECIMAL(38, {found.scale}))"
        return f"CAST({exact} * {10**found.scale} AS BIGINT)"
    # Converted first and clamped as a double: between two doubles the rounding below keeps order (quantum._rounded).
    wide = value if found.kind == "float" else template("to_float", dialect).format(value)
    near = clamped(wide, _float(low, dialect), _float(high, dialect))
    half, step = _float(found.step / 2, dialect), _float(found.step, dialect)
    return f"CAST(FLOOR(({near} + {half}) / {step}) AS BIGINT)"


def clamped(value: str, low: str, high: str) -> str:
    """Return a value held between two others; CASE, since GREATEST and LEAST take NaN and NULL otherwise."""
    return f"CASE WHEN {value} <= {low} THEN {low} WHEN {value} >= {high} THEN {high} ELSE {value} END"


def _float(value: Fraction, dialect: str) -> str:
    return constant(Constant(value, "float"), dialect)
