"""The functions that engines other than DuckDB and PostgreSQL offer: what is not named here is refused there.

Why a list of their own: a template that is total in DuckDB may raise, wrap or round elsewhere. Each one stands here
only where the contract suite (``tests/engines``) tries it on hostile values. Arguments are written as in
``gateway.sql.functions``; that page says where a function may stand and how many arguments it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LOGIC: Mapping[str, str] = MappingProxyType(
    {
        "and": "",
        "or": "",
        "not": "NOT {0}",
        "eq": "{0} = {1}",
        "neq": "{0} <> {1}",
        "lt": "{0} < {1}",
        "lte": "{0} <= {1}",
        "gt": "{0} > {1}",
        "gte": "{0} >= {1}",
        "is_null": "{0} IS NULL",
        "is_true": "{0} IS TRUE",
        "is_false": "{0} IS FALSE",
        "coalesce": "COALESCE({*})",
        "case": "",
    }
)

_PARTS = ("year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "isoyear", "hour", "minute", "second")
_UNITS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")


def _bytes(name: str, *others: str) -> str:
    """Return a function of the gateway's own over a text, which it takes as bytes: SQLite's may be no UTF-8."""
    return f"discreet_{name}({', '.join(('CAST({0} AS BLOB)', *others))})"


_HELD = "(({{{0}}} + discreet_tiny()) - discreet_tiny())"

_SQLITE: Mapping[str, str] = MappingProxyType(
    {
        "to_float": "CAST({0} AS REAL)",
        "least": "discreet_least({*})",
        "greatest": "discreet_greatest({*})",
        "clamp": "CASE WHEN {0} <= {1} THEN {1} WHEN {0} >= {2} THEN {2} ELSE {0} END",
        "clamp_whole": "CASE WHEN {0} <= {1} THEN {1} WHEN {0} >= {2} THEN {2} ELSE {0} END",
        "within": "CASE WHEN {0} BETWEEN {1} AND {2} THEN {0} END",
        "to_whole": "CAST({0} AS INTEGER)",
        "as_double": "CAST({0} AS REAL)",
        "row_add": "{0} + {1}",
        "row_subtract": "{0} - {1}",
        "row_multiply": "{0} * {1}",
        "row_product": f"({_HELD.format(0)} * {_HELD.format(1)}) + 0.0",
        "row_divide": f"({_HELD.format(0)} / NULLIF({_HELD.format(1)}, 0)) + 0.0",
        "quotient": "{0} / NULLIF({1}, 0)",
        "remainder": "{0} % NULLIF({1}, 0)",
        "row_abs": "ABS({0})",
        **{f"row_{name}": f"discreet_{name}({{0}}) + 0.0" for name in ("floor", "ceil", "trunc", "round")},
        **{f"{name}_whole": f"CAST(discreet_{name}({{0}}) AS INTEGER)" for name in ("floor", "ceil", "trunc", "round")},
        "even_whole": "CAST(discreet_even({0}) AS INTEGER)",
        **{f"row_{name}": f"discreet_{name}({{0}})" for name in ("sqrt", "ln", "log10", "exp")},
        "row_power": "discreet_power(({0} + {1}) - {1}, {2})",
        "row_inverse": "discreet_power(NULLIF(({0} + {1}) - {1}, 0), {2})",
        "row_raised": "discreet_power({0}, {1})",
        **{name: _bytes(name, "{1}") for name in ("left", "right", "position", "like", "like_escaped")},
        **{name: _bytes(name, "{1}") for name in ("trim", "trim_left", "trim_right")},
        **{name: _bytes(name, "{1}", "{2}") for name in ("substring", "replace")},
        **{name: _bytes(name) for name in ("upper", "lower", "length", "text_whole", "text_float", "text_date")},
        "concat": "{0} || {1}",
        "whole_text": "CAST({0} AS TEXT)",
        "date_text": "{0}",
        **{part: f"discreet_part('{part}', {{0}})" for part in _PARTS},
        **{
            f"{kind}_trunc_{unit}": f"discreet_cut('{unit}', {{0}})"
            for unit in _UNITS
            for kind in ("date", "timestamp")
        },
        "as_date": "SUBSTR({0}, 1, 10)",
        "as_timestamp": "{0} || ' 00:00:00.000000'",
        "days_between": "discreet_days({0}, {1})",
        "date_plus_days": "discreet_plus('day', {0}, {1})",
        "date_plus_months": "discreet_plus('month', {0}, {1})",
        "timestamp_plus_months": "discreet_plus('month', {0}, {1})",
        "timestamp_plus_seconds": "discreet_plus('second', {0}, {1})",
    }
)
"""SQLite's own arithmetic, whose whole numbers stay within 64 bits here; the rest is ``engines.sqlitescalars``."""

OFFERED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sqlite": MappingProxyType({**_LOGIC, **_SQLITE}),
        "spark": MappingProxyType({**_LOGIC, "to_float": "CAST({0} AS DOUBLE)"}),
    }
)
"""Dialect → function → template."""
