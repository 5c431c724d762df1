"""The allow-list of scalar functions, as data: where each may stand, why it is total, how each engine writes it.

Total means: no value and no number of rows makes it raise or grow without bound. What is not here does not exist.
Templates take rendered arguments in order; each is closed in parentheses by the renderer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Literal

Level = Literal["row", "post"]
"""Where a function may stand: over rows inside an engine, or over noisy tables (where all numbers are doubles)."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its template per engine (``*`` for all others), where it may stand, and why it is total."""

    sql: Mapping[str, str]
    levels: frozenset[Level]
    total: str
    variadic: str | None = field(default=None)


def _function(template: str, total: str, *levels: Level, variadic: str | None = None, **engines: str) -> Function:
    return Function(MappingProxyType({"*": template, **engines}), frozenset(levels), total, variadic)


_COMPARED = "a comparison of two values of one kind is true, false or NULL"
_LOGIC = "three-valued logic has no other outcome"
_DOUBLE = "doubles overflow to infinity, which the answer shows as NULL"

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "and": _function("", _LOGIC, "row", "post", variadic=" AND "),
        "or": _function("", _LOGIC, "row", "post", variadic=" OR "),
        "not": _function("NOT {0}", _LOGIC, "row", "post"),
        "eq": _function("{0} = {1}", _COMPARED, "row", "post"),
        "neq": _function("{0} <> {1}", _COMPARED, "row", "post"),
        "lt": _function("{0} < {1}", _COMPARED, "row", "post"),
        "lte": _function("{0} <= {1}", _COMPARED, "row", "post"),
        "gt": _function("{0} > {1}", _COMPARED, "row", "post"),
        "gte": _function("{0} >= {1}", _COMPARED, "row", "post"),
        "is_null": _function("{0} IS NULL", "a test of presence", "row", "post"),
        "is_true": _function("{0} IS TRUE", "a test of a truth value", "row", "post"),
        "is_false": _function("{0} IS FALSE", "a test of a truth value", "row", "post"),
        "to_float": _function(
            "CAST({0} AS DOUBLE)",
            "each integer or decimal has a nearest double; unbounded numerics are cut to its range inside",
            "row",
            "post",
            postgres=(
                "CAST(ROUND(CASE WHEN CAST({0} AS NUMERIC) > -1e300 AND CAST({0} AS NUMERIC) < 1e300 "
                "THEN CAST({0} AS NUMERIC) END, 300) AS DOUBLE PRECISION)"
            ),
        ),
        "add": _function("{0} + {1}", _DOUBLE, "post"),
        "subtract": _function("{0} - {1}", _DOUBLE, "post"),
        "multiply": _function("{0} * {1}", _DOUBLE, "post"),
        "divide": _function("{0} / NULLIF({1}, 0)", "division by zero is NULL", "post"),
        "integer_divide": _function("TRUNC({0} / NULLIF({1}, 0))", "division by zero is NULL", "post"),
        "modulo": _function("FMOD({0}, NULLIF({1}, 0))", "modulus by zero is NULL", "post"),
        "negate": _function("- {0}", _DOUBLE, "post"),
        "abs": _function("ABS({0})", _DOUBLE, "post"),
        "round": _function("ROUND({0})", _DOUBLE, "post"),
        "round_to": _function("ROUND({0}, {1})", "the number of decimals is a literal between -15 and 15", "post"),
        "floor": _function("FLOOR({0})", _DOUBLE, "post"),
        "ceil": _function("CEIL({0})", _DOUBLE, "post"),
        "sqrt": _function("SQRT(CASE WHEN {0} >= 0 THEN {0} END)", "NULL below zero", "post"),
        "ln": _function("LN(CASE WHEN {0} > 0 THEN {0} END)", "NULL at zero and below", "post"),
        "exp": _function("EXP({0})", _DOUBLE, "post"),
        "power": _function("POW({0}, {1})", "doubles give infinity or NaN, which the answer shows as NULL", "post"),
        "coalesce": _function("COALESCE({*})", "picks one of its arguments", "row", "post", variadic=", "),
        "nullif": _function("NULLIF({0}, {1})", "picks its argument or NULL", "post"),
        "least": _function("LEAST({*})", "picks one of its arguments", "post", variadic=", "),
        "greatest": _function("GREATEST({*})", "picks one of its arguments", "post", variadic=", "),
        "case": _function("", "picks one of its arguments", "row", "post"),
    }
)


def template(function: str, engine: str) -> str:
    """Return how an engine writes a function."""
    sql = FUNCTIONS[function].sql
    return sql.get(engine, sql["*"])


@cache
def repeats(function: str, place: int) -> int:
    """Return how often an argument is written where a function is, in the engine that writes it most often."""
    return max(1, *(sql.count(f"{{{place}}}") for sql in FUNCTIONS[function].sql.values()))
