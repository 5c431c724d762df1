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
        **{name: _bytes(name, "{1}", "{2}") for name in ("substring", "replace", "split_part")},
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
        "seconds": "discreet_seconds({0})",
        "date_plus_days": "discreet_plus('day', {0}, {1})",
        "date_plus_months": "discreet_plus('month', {0}, {1})",
        "timestamp_plus_months": "discreet_plus('month', {0}, {1})",
        "timestamp_plus_seconds": "discreet_plus('second', {0}, {1})",
    }
)
"""SQLite's own arithmetic, whose whole numbers stay within 64 bits here; the rest is ``engines.sqlitescalars``."""

_FLAT = "CAST('{value!r}' AS DOUBLE)"
_SPARK_HELD = f"(({{{{{{0}}}}}} + {_FLAT.format(value=2.0**-400)}) - {_FLAT.format(value=2.0**-400)})"
_LETTERS = "".join(map(chr, (*range(97, 123), *(code for code in range(0xE0, 0xFF) if code != 0xF7))))


def _double(small: str) -> str:
    """Return a whole double, of which Spark's own function would make a BIGINT; from 2^53 on each double is whole."""
    return f"CASE WHEN ABS({{0}}) < 9007199254740992.0D THEN {small} ELSE {{0}} END + 0.0D"


def _matched(pattern: str, kind: str) -> str:
    """Return a cast of the texts that a pattern describes; Java's ``$`` would let a line's end pass."""
    return f"TRY_CAST(CASE WHEN {{0}} RLIKE r'\\A({pattern})\\z' THEN {{0}} END AS {kind})"


_SPARK: Mapping[str, str] = MappingProxyType(
    {
        "to_float": "CAST({0} AS DOUBLE)",
        "least": "LEAST({*})",
        "greatest": "GREATEST({*})",
        "clamp": "CASE WHEN {0} <= {1} THEN {1} WHEN {0} >= {2} THEN {2} ELSE {0} END",
        "clamp_whole": "CAST(CASE WHEN {0} <= {1} THEN {1} WHEN {0} >= {2} THEN {2} ELSE {0} END AS BIGINT)",
        "within": "CASE WHEN {0} BETWEEN {1} AND {2} THEN {0} END",
        "to_whole": "CAST({0} AS BIGINT)",
        "as_double": "CAST({0} AS DOUBLE)",
        "row_add": "{0} + {1}",
        "row_subtract": "{0} - {1}",
        "row_multiply": "{0} * {1}",
        "row_product": f"({_SPARK_HELD.format(0)} * {_SPARK_HELD.format(1)}) + 0.0D",
        "row_divide": f"({_SPARK_HELD.format(0)} / NULLIF({_SPARK_HELD.format(1)}, 0)) + 0.0D",
        "quotient": "{0} div NULLIF({1}, 0)",
        "remainder": "{0} % NULLIF({1}, 0)",
        "row_abs": "ABS({0})",
        "row_floor": _double("FLOOR({0})"),
        "row_ceil": _double("CEIL({0})"),
        "row_trunc": _double("SIGN({0}) * FLOOR(ABS({0}))"),
        "row_round": _double("SIGN({0}) * FLOOR(ABS({0}) + 0.5D)"),
        "floor_whole": "FLOOR({0})",
        "ceil_whole": "CEIL({0})",
        "trunc_whole": "CAST({0} AS BIGINT)",
        "round_whole": "CAST({0} + SIGN({0}) * 0.5D AS BIGINT)",
        "even_whole": "CAST(RINT({0}) AS BIGINT)",
        **{f"row_{name}": f"{name.upper()}({{0}})" for name in ("sqrt", "ln", "log10", "exp")},
        "row_power": "POW(({0} + {1}) - {1}, {2})",
        "row_inverse": "POW(NULLIF(({0} + {1}) - {1}, 0), {2})",
        "row_raised": "POW({0}, {1})",
        "left": "LEFT({0}, {1})",
        "right": "RIGHT({0}, {1})",
        "substring": "SUBSTRING({0}, {1}, {2})",
        "upper": f"TRANSLATE({{0}}, '{_LETTERS}', '{_LETTERS.upper()}')",
        "lower": f"TRANSLATE({{0}}, '{_LETTERS.upper()}', '{_LETTERS}')",
        "trim": "TRIM(BOTH {1} FROM {0})",
        "trim_left": "TRIM(LEADING {1} FROM {0})",
        "trim_right": "TRIM(TRAILING {1} FROM {0})",
        "concat": "{0} || {1}",
        "split_part": "SPLIT_PART({0}, {1}, {2})",
        "replace": "REPLACE({0}, {1}, {2})",
        "length": "CAST(LENGTH({0}) AS BIGINT)",
        "position": "CAST(INSTR({0}, {1}) AS BIGINT)",
        "like": "{0} LIKE {1} ESCAPE '!'",
        "like_escaped": "{0} LIKE {1} ESCAPE '!'",
        "whole_text": "CAST({0} AS STRING)",
        "date_text": "CAST({0} AS STRING)",
        "text_whole": _matched("[+-]?[0-9]{{1,18}}", "BIGINT"),
        "text_float": _matched("[+-]?[0-9]{{1,18}}([.][0-9]{{0,18}})?([eE][+-]?[0-9]{{1,2}})?", "DOUBLE") + " + 0.0D",
        "text_date": _matched("(?!0000)[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}", "DATE"),
        **{
            part: f"CAST(EXTRACT({part} FROM {{0}}) AS BIGINT)"
            for part in ("year", "quarter", "month", "week", "day", "doy")
        },
        "dow": "CAST(DAYOFWEEK({0}) - 1 AS BIGINT)",
        "isodow": "CAST(WEEKDAY({0}) + 1 AS BIGINT)",
        "isoyear": "CAST(EXTRACT(YEAROFWEEK FROM {0}) AS BIGINT)",
        **{
            part: f"CAST({part.upper()}(CAST({{0}} AS TIMESTAMP_NTZ)) AS BIGINT)"
            for part in ("hour", "minute", "second")
        },
        **{
            f"{kind}_trunc_{unit}": f"CAST(DATE_TRUNC('{unit}', CAST({{0}} AS TIMESTAMP)) AS {kept})"
            for unit in _UNITS
            for kind, kept in (("date", "DATE"), ("timestamp", "TIMESTAMP_NTZ"))
        },
        "as_date": "CAST({0} AS DATE)",
        "as_timestamp": "CAST({0} AS TIMESTAMP_NTZ)",
        "days_between": "CAST(DATEDIFF({1}, {0}) AS BIGINT)",
        "seconds": (
            "DATEDIFF(CAST({0} AS DATE), DATE '0001-01-01') * 86400L + HOUR(CAST({0} AS TIMESTAMP_NTZ)) * 3600 "
            "+ MINUTE(CAST({0} AS TIMESTAMP_NTZ)) * 60 + CAST(SECOND(CAST({0} AS TIMESTAMP_NTZ)) AS BIGINT)"
        ),
        "date_plus_days": "DATE_ADD({0}, CAST({1} AS INT))",
        "date_plus_months": "ADD_MONTHS({0}, CAST({1} AS INT))",
        "timestamp_plus_months": "{0} + MAKE_YM_INTERVAL(0, CAST({1} AS INT))",
        "timestamp_plus_seconds": (
            "{0} + MAKE_DT_INTERVAL(CAST({1} div 86400 AS INT), 0, 0, CAST({1} % 86400 AS DECIMAL(18, 6)))"
        ),
    }
)
"""In ANSI mode, where overflow and bad casts raise: so guards stand around arguments as for the other engines."""


def _replaced(before: str, after: str) -> str:
    """Return a text with letters put in the place of others, one after the other: MariaDB has no TRANSLATE."""
    pairs = "".join(f", '{old}', '{new}')" for old, new in zip(before, after, strict=True))
    return "REPLACE(" * len(before) + "{0}" + pairs


_MYSQL_HELD = "(({{{0}}} + CAST('" + repr(2.0**-400) + "' AS DOUBLE)) - CAST('" + repr(2.0**-400) + "' AS DOUBLE))"
_START: Mapping[str, str] = {
    "year": "CAST({0} AS DATE) - INTERVAL (DAYOFYEAR({0}) - 1) DAY",
    "quarter": "CAST({0} AS DATE) - INTERVAL (DAY({0}) - 1) DAY - INTERVAL ((MONTH({0}) - 1) % 3) MONTH",
    "month": "CAST({0} AS DATE) - INTERVAL (DAY({0}) - 1) DAY",
    "week": "CAST({0} AS DATE) - INTERVAL WEEKDAY({0}) DAY",
    "day": "CAST({0} AS DATE)",
}
_CLOCK: Mapping[str, str] = {"hour": "%H:00:00", "minute": "%H:%i:00", "second": "%H:%i:%s"}

_MYSQL: Mapping[str, str] = MappingProxyType(
    {
        **{name: template for name, template in _SPARK.items() if name in ("clamp", "within", "row_abs")},
        "to_float": "CAST({0} AS DOUBLE)",
        "clamp_whole": "CAST(CASE WHEN {0} <= {1} THEN {1} WHEN {0} >= {2} THEN {2} ELSE {0} END AS SIGNED)",
        "to_whole": "CAST({0} AS SIGNED)",
        "as_double": "CAST({0} AS DOUBLE)",
        "row_add": "{0} + {1}",
        "row_subtract": "{0} - {1}",
        "row_multiply": "{0} * {1}",
        "row_product": f"({_MYSQL_HELD.format(0)} * {_MYSQL_HELD.format(1)}) + 0e0",
        "row_divide": f"({_MYSQL_HELD.format(0)} / NULLIF({_MYSQL_HELD.format(1)}, 0)) + 0e0",
        "quotient": "{0} DIV NULLIF({1}, 0)",
        "remainder": "{0} % NULLIF({1}, 0)",
        "row_floor": "FLOOR({0}) + 0e0",
        "row_ceil": "CEIL({0}) + 0e0",
        "row_trunc": "SIGN({0}) * FLOOR(ABS({0})) + 0e0",
        "row_round": "SIGN({0}) * FLOOR(ABS({0}) + 0.5e0) + 0e0",
        "floor_whole": "CAST(FLOOR({0}) AS SIGNED)",
        "ceil_whole": "CAST(CEIL({0}) AS SIGNED)",
        "trunc_whole": "CAST(SIGN({0}) * FLOOR(ABS({0})) AS SIGNED)",
        "round_whole": "CAST(SIGN({0}) * FLOOR(ABS({0}) + 0.5e0) AS SIGNED)",
        "even_whole": "CAST(ROUND({0}, 0) AS SIGNED)",
        **{f"row_{name}": f"{name.upper()}({{0}})" for name in ("sqrt", "ln", "log10", "exp")},
        "row_power": "POW(({0} + {1}) - {1}, {2})",
        "row_inverse": "POW(NULLIF(({0} + {1}) - {1}, 0), {2})",
        "row_raised": "POW({0}, {1})",
        "left": "LEFT({0}, {1})",
        "right": "RIGHT({0}, {1})",
        "substring": "SUBSTRING({0}, {1}, {2})",
        "upper": _replaced(_LETTERS, _LETTERS.upper()),
        "lower": _replaced(_LETTERS.upper(), _LETTERS),
        "trim": "TRIM(BOTH {1} FROM {0})",
        "trim_left": "TRIM(LEADING {1} FROM {0})",
        "trim_right": "TRIM(TRAILING {1} FROM {0})",
        "concat": "{0} || {1}",
        "split_part": (
            "CASE WHEN CHAR_LENGTH({0}) - CHAR_LENGTH(REPLACE({0}, {1}, '')) >= {2} - 1 "
            "THEN SUBSTRING_INDEX(SUBSTRING_INDEX({0}, {1}, {2}), {1}, -1) WHEN {0} IS NOT NULL THEN '' END"
        ),
        "replace": "REPLACE({0}, {1}, {2})",
        "length": "CHAR_LENGTH({0})",
        "position": "LOCATE({1}, {0})",
        "like": "{0} LIKE {1} ESCAPE '!'",
        "like_escaped": "{0} LIKE {1} ESCAPE '!'",
        "whole_text": "CAST({0} AS CHAR)",
        "date_text": "CAST({0} AS CHAR)",
        "text_whole": "CAST(CASE WHEN {0} REGEXP '\\A[+-]?[0-9]{{1,18}}\\z' THEN {0} END AS SIGNED)",
        "text_float": (
            "CAST(CASE WHEN {0} REGEXP '\\A[+-]?[0-9]{{1,18}}([.][0-9]{{0,18}})?([eE][+-]?[0-9]{{1,2}})?\\z' "
            "THEN {0} END AS DOUBLE) + 0e0"
        ),
        "text_date": (
            "CAST(CASE WHEN {0} REGEXP '\\A(?!0000)[0-9]{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\\z' "
            "THEN {0} END AS DATE)"
        ),
        **{part: f"{part.upper()}({{0}})" for part in ("year", "quarter", "month", "day")},
        "week": "WEEK({0}, 3)",
        "doy": "DAYOFYEAR({0})",
        "dow": "DAYOFWEEK({0}) - 1",
        "isodow": "WEEKDAY({0}) + 1",
        "isoyear": "YEARWEEK({0}, 3) DIV 100",
        **{part: f"{part.upper()}(CAST({{0}} AS DATETIME(6)))" for part in _CLOCK},
        **{f"date_trunc_{unit}": _START.get(unit, "{0}") for unit in _UNITS},
        **{f"timestamp_trunc_{unit}": f"CAST({start} AS DATETIME(6))" for unit, start in _START.items()},
        **{
            f"timestamp_trunc_{unit}": f"CAST(DATE_FORMAT({{0}}, '%Y-%m-%d {clock}') AS DATETIME(6))"
            for unit, clock in _CLOCK.items()
        },
        "as_date": "CAST({0} AS DATE)",
        "as_timestamp": "CAST({0} AS DATETIME(6))",
        "days_between": "DATEDIFF({1}, {0})",
        "seconds": "TIMESTAMPDIFF(SECOND, TIMESTAMP '0001-01-01 00:00:00', {0})",
        "date_plus_days": "{0} + INTERVAL {1} DAY",
        "date_plus_months": "{0} + INTERVAL {1} MONTH",
        "timestamp_plus_months": "{0} + INTERVAL {1} MONTH",
        "timestamp_plus_seconds": "{0} + INTERVAL {1} SECOND",
    }
)
"""Without LEAST and GREATEST, which are NULL in MariaDB where one argument is; in the mode that sessions assert."""

OFFERED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "sqlite": MappingProxyType({**_LOGIC, **_SQLITE}),
        "spark": MappingProxyType({**_LOGIC, **_SPARK}),
        "mysql": MappingProxyType({**_LOGIC, **_MYSQL}),
    }
)
"""Dialect → function → template."""
