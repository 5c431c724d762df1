"""The allow-list of scalar functions, as data: where each may stand, why it is total, how each engine writes it.

Total means: no value and no number of rows makes it raise or grow without bound. What is not here does not exist.
Templates take rendered arguments in order; each is closed in parentheses by the renderer. Those over rows alone rely on
what ``arithmetic``, ``texts`` and ``dates`` put around their arguments: clamps, guards and static lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Literal

from gateway.errors import SqlRefused
from gateway.sql.offered import OFFERED

Level = Literal["row", "post"]
"""Where a function may stand: over rows inside an engine, or over noisy tables (where all numbers are doubles)."""

FLUSH = 2.0**-400
"""Added and taken away again, it leaves no double nearer to zero than 2^-453 but zero itself."""

LETTERS = "".join(letter for letter in map(chr, [*range(97, 123), *range(0xE0, 0xFF)]) if letter != "÷")
"""The small letters that have a capital in UPPER and LOWER: ASCII's and Latin-1's, the same on every engine."""

CAPITALS = LETTERS.upper()


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
_FITS = "the interval of the result fits the type that it is computed in"
_TEXT = "of a text of static length; it makes none longer than its arguments together"
_CALENDAR = "every date of the years 1 to 9999 has one"

_BARE: Mapping[str, Function] = {
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
    "coalesce": _function("COALESCE({*})", "picks one of its arguments", "row", "post", variadic=", "),
    "least": _function("LEAST({*})", "picks one of its arguments", "row", "post", variadic=", "),
    "greatest": _function("GREATEST({*})", "picks one of its arguments", "row", "post", variadic=", "),
    "case": _function("", "picks one of its arguments", "row", "post"),
}

_POST: Mapping[str, Function] = {
    "add": _function("{0} + {1}", _DOUBLE, "post"),
    "subtract": _function("{0} - {1}", _DOUBLE, "post"),
    "multiply": _function("{0} * {1}", _DOUBLE, "post"),
    "divide": _function("{0} / NULLIF({1}, 0)", "division by zero is NULL", "post"),
    "integer_divide": _function("TRUNC({0} / NULLIF({1}, 0))", "division by zero is NULL", "post"),
    "modulo": _function("{0} % NULLIF({1}, 0)", "modulus by zero is NULL", "post"),
    "negate": _function("- {0}", _DOUBLE, "post"),
    "abs": _function("ABS({0})", _DOUBLE, "post"),
    "sign": _function("CAST(SIGN({0}) AS DOUBLE)", _DOUBLE, "post"),
    "round": _function("ROUND({0})", _DOUBLE, "post"),
    "round_to": _function("ROUND({0}, {1})", "the number of decimals is a literal between -15 and 15", "post"),
    "trunc": _function("TRUNC({0})", _DOUBLE, "post"),
    "floor": _function("FLOOR({0})", _DOUBLE, "post"),
    "ceil": _function("CEIL({0})", _DOUBLE, "post"),
    "sqrt": _function("SQRT(CASE WHEN {0} >= 0 THEN {0} END)", "NULL below zero", "post"),
    "ln": _function("LN(CASE WHEN {0} > 0 THEN {0} END)", "NULL at zero and below", "post"),
    "log10": _function("LOG10(CASE WHEN {0} > 0 THEN {0} END)", "NULL at zero and below", "post"),
    "exp": _function("EXP({0})", _DOUBLE, "post"),
    "power": _function("POW({0}, {1})", "doubles give infinity or NaN, which the answer shows as NULL", "post"),
    "nullif": _function("NULLIF({0}, {1})", "picks its argument or NULL", "post"),
    "date_of_days": _function(
        "{0} + CAST(CASE WHEN {1} >= 0 AND {1} < 3652059 THEN {1} END AS INTEGER)",
        "NULL for what is no number of days of the years 1 to 9999",
        "post",
    ),
    "timestamp_of_seconds": _function(
        "{0} + TO_SECONDS(CAST(CASE WHEN {1} >= 0 AND {1} < 315537897600 THEN {1} END AS BIGINT))",
        "NULL for what is no number of seconds of the years 1 to 9999",
        "post",
    ),
}


def _doubles(template: str, total: str) -> Function:
    """Return a function over doubles of rows; ``<0>`` is an argument with what is nearer to zero than 2^-453 put there.

    PostgreSQL refuses products and quotients that vanish; what is held so, and below 2^500, makes none.
    """
    for place in ("0", "1"):
        held = f"(({{{place}}} + CAST('{FLUSH!r}' AS double)) - CAST('{FLUSH!r}' AS double))"
        template = template.replace(f"<{place}>", held)
    written = {name: template.replace("double", word) for name, word in (("*", "DOUBLE"), ("pg", "DOUBLE PRECISION"))}
    return _function(written["*"], total, "row", postgres=written["pg"])


_HALF = "TRUNC({0} + SIGN({0}) * CAST('0.5' AS double))"

_ROWS: Mapping[str, Function] = {
    "clamp": _function("CASE WHEN {0} <= {1} THEN {1} WHEN {0} >= {2} THEN {2} ELSE {0} END", _COMPARED, "row"),
    "clamp_whole": _function(
        "CAST(CASE WHEN {0} <= {1} THEN {1} WHEN {0} >= {2} THEN {2} ELSE {0} END AS BIGINT)",
        "both ends fit 64 bits",
        "row",
    ),
    # Each engine scales in its own way, as it does a column that is summed alone (``Writer.scaled``).
    "units": _function(
        "CASE WHEN {0} BETWEEN {1} AND {2} THEN {0} WHEN {0} < {1} THEN {1} WHEN {0} > {2} THEN {2} END",
        "both ends are below 2^40 units",
        "row",
    ),
    "within": _function("CASE WHEN {0} BETWEEN {1} AND {2} THEN {0} END", _COMPARED, "row", "post"),
    "to_whole": _function("CAST({0} AS BIGINT)", _FITS, "row", "post"),
    "as_double": _function(
        "CAST({0} AS DOUBLE)", "a 64-bit integer has a nearest double", "row", postgres="CAST({0} AS DOUBLE PRECISION)"
    ),
    "row_add": _function("{0} + {1}", _FITS, "row"),
    "row_subtract": _function("{0} - {1}", _FITS, "row"),
    "row_multiply": _function("{0} * {1}", _FITS, "row"),
    "row_product": _doubles("(<0> * <1>) + 0.0", "factors are below 2^500, and zero or above 2^-453"),
    "row_divide": _doubles("(<0> / NULLIF(<1>, 0)) + 0.0", "both are below 2^500, the divisor NULL or above 2^-453"),
    "quotient": _function("{0} // NULLIF({1}, 0)", "by zero NULL; " + _FITS, "row", postgres="{0} / NULLIF({1}, 0)"),
    "remainder": _function("{0} % NULLIF({1}, 0)", "by zero NULL; " + _FITS, "row"),
    "row_abs": _function("ABS({0})", _FITS, "row"),
    "row_floor": _function("FLOOR({0}) + 0.0", "of a finite double", "row"),
    "row_ceil": _function("CEIL({0}) + 0.0", "of a finite double", "row"),
    "row_trunc": _function("TRUNC({0}) + 0.0", "of a finite double", "row"),
    "row_round": _doubles(f"{_HALF} + 0.0", "of a finite double"),
    "floor_whole": _function("CAST(FLOOR({0}) AS BIGINT)", _FITS, "row"),
    "ceil_whole": _function("CAST(CEIL({0}) AS BIGINT)", _FITS, "row"),
    "trunc_whole": _function("CAST(TRUNC({0}) AS BIGINT)", _FITS, "row"),
    "round_whole": _doubles(f"CAST({_HALF} AS BIGINT)", _FITS),
    "even_whole": _doubles("CAST({0} AS BIGINT)", _FITS),
    "row_sqrt": _function("SQRT({0})", "its argument is NULL below zero", "row"),
    "row_ln": _function("LN({0})", "its argument is NULL at zero and below", "row"),
    "row_log10": _function("LOG10({0})", "its argument is NULL at zero and below", "row", postgres="LOG({0})"),
    "row_exp": _function("EXP({0})", "its argument lies between -690 and 346, or is NULL", "row"),
    "row_power": _function(
        "POW(({0} + {1}) - {1}, {2})", "the base is held where the power neither overflows nor vanishes", "row"
    ),
    "row_inverse": _function(
        "POW(NULLIF(({0} + {1}) - {1}, 0), {2})", "a negative power of what is held away from zero", "row"
    ),
    "row_raised": _function(
        "POW({0}, {1})", "the exponent is held so that the power neither overflows nor vanishes", "row"
    ),
}

_TEXTS: Mapping[str, Function] = {
    "left": _function("LEFT({0}, {1})", _TEXT, "row", "post"),
    "right": _function("RIGHT({0}, {1})", _TEXT, "row", "post"),
    "substring": _function("SUBSTRING({0}, {1}, {2})", "literals, from 1 and from 0", "row", "post"),
    "upper": _function(f"TRANSLATE({{0}}, '{LETTERS}', '{CAPITALS}')", _TEXT, "row", "post"),
    "lower": _function(f"TRANSLATE({{0}}, '{CAPITALS}', '{LETTERS}')", _TEXT, "row", "post"),
    "trim": _function("TRIM({0}, {1})", _TEXT, "row", "post", postgres="BTRIM({0}, {1})"),
    "trim_left": _function("LTRIM({0}, {1})", _TEXT, "row", "post"),
    "trim_right": _function("RTRIM({0}, {1})", _TEXT, "row", "post"),
    "concat": _function("{0} || {1}", _TEXT, "row", "post"),
    "replace": _function("REPLACE({0}, {1}, {2})", "of literals, the new at most ten times the old", "row", "post"),
    "split_part": _function("SPLIT_PART({0}, {1}, {2})", "of a literal character, from 1", "row", "post"),
    "length": _function("CAST(LENGTH({0}) AS BIGINT)", _TEXT, "row", "post"),
    "position": _function("CAST(STRPOS({0}, {1}) AS BIGINT)", _TEXT, "row", "post"),
    "like": _function("{0} LIKE {1}", "the pattern is a literal without escapes", "row", "post"),
    "like_escaped": _function("{0} LIKE {1} ESCAPE '!'", "the pattern is a literal made here", "row", "post"),
    "whole_text": _function(
        "CAST({0} AS VARCHAR)", "20 digits at most", "row", "post", postgres='(CAST({0} AS TEXT) COLLATE "C")'
    ),
    "date_text": _function(
        "CAST({0} AS VARCHAR)",
        _CALENDAR,
        "row",
        "post",
        postgres="(TO_CHAR({0}, 'YYYY-MM-DD') COLLATE \"C\")",
    ),
}

_WHOLE = "[+-]?[0-9]{{1,18}}"
_NUMBER = "[+-]?[0-9]{{1,18}}([.][0-9]{{0,18}})?([eE][+-]?[0-9]{{1,2}})?"
_YEAR = "([1-9][0-9][0-9][0-9]|0[1-9][0-9][0-9]|00[1-9][0-9]|000[1-9])"
_DAY = (
    f"({_YEAR}-(((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01]))|((0[469]|11)-(0[1-9]|[12][0-9]|30))"
    "|(02-(0[1-9]|1[0-9]|2[0-8])))|(([0-9][0-9](0[48]|[2468][048]|[13579][26]))"
    "|((0[48]|[2468][048]|[13579][26])00))-02-29)"
)
"""The texts that are a day: years 0001 to 9999, with the leap days of the Gregorian calendar and no other."""


def _parsed(pattern: str, kind: str, wide: str | None = None, *, positive_zero: str = "") -> Function:
    """Return a cast of the texts that a pattern describes; the guard stands inside, so that no engine may pass it."""
    return _function(
        f"TRY_CAST(CASE WHEN regexp_full_match({{0}}, '{pattern}') THEN {{0}} END AS {kind}){positive_zero}",
        "every text of the pattern is a value of the type; any other is NULL",
        "row",
        postgres=f"CAST(CASE WHEN {{0}} ~ '^({pattern})$' THEN {{0}} END AS {wide or kind}){positive_zero}",
    )


_PARSED: Mapping[str, Function] = {
    "text_whole": _parsed(_WHOLE, "BIGINT"),
    # '-0' is the zero of every other row, as it is where a column of doubles is read.
    "text_float": _parsed(_NUMBER, "DOUBLE", "DOUBLE PRECISION", positive_zero=" + 0.0"),
    "text_date": _parsed(_DAY, "DATE"),
}

PARTS = ("year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "isoyear", "hour", "minute", "second")
"""The parts of a date or timestamp that EXTRACT takes; the last three are zero of a date."""

UNITS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")
"""What DATE_TRUNC cuts to; the last three leave a date as it is."""

_DATES: Mapping[str, Function] = {
    **{
        part: _function(
            f"CAST(EXTRACT({part} FROM {{0}}) AS BIGINT)",
            _CALENDAR,
            "row",
            "post",
            postgres=f"CAST(FLOOR(EXTRACT({part} FROM CAST({{0}} AS TIMESTAMP))) AS BIGINT)",
        )
        for part in PARTS
    },
    **{
        f"{kind}_trunc_{unit}": _function(
            f"CAST(DATE_TRUNC('{unit}', CAST({{0}} AS TIMESTAMP)) AS {kind.upper()})", _CALENDAR, "row", "post"
        )
        for unit in UNITS
        for kind in ("date", "timestamp")
    },
    "as_date": _function("CAST({0} AS DATE)", _CALENDAR, "row", "post"),
    "as_timestamp": _function("CAST({0} AS TIMESTAMP)", _CALENDAR, "row", "post"),
    "days_between": _function("CAST({1} - {0} AS BIGINT)", _CALENDAR, "row", "post"),
    "seconds": _function(
        "CAST(DATE_DIFF('second', TIMESTAMP '0001-01-01 00:00:00', {0}) AS BIGINT)",
        _CALENDAR,
        "row",
        "post",
        postgres="CAST(FLOOR(EXTRACT(EPOCH FROM CAST({0} AS TIMESTAMP))) AS BIGINT) + 62135596800",
    ),
    "date_plus_days": _function("{0} + CAST({1} AS INTEGER)", "held within the years 1 to 9999", "row", "post"),
    "date_plus_months": _function(
        "CAST({0} + {1} * INTERVAL '1' MONTH AS DATE)", "held within the years 1 to 9999", "row", "post"
    ),
    "timestamp_plus_months": _function(
        "{0} + {1} * INTERVAL '1' MONTH", "held within the years 1 to 9999", "row", "post"
    ),
    "timestamp_plus_seconds": _function(
        "{0} + {1} * INTERVAL '1' SECOND", "held within the years 1 to 9999", "row", "post"
    ),
}

FUNCTIONS: Mapping[str, Function] = MappingProxyType({**_BARE, **_POST, **_ROWS, **_TEXTS, **_PARSED, **_DATES})


def template(function: str, engine: str) -> str:
    """Return how an engine writes a function; refuse one that it does not offer."""
    sql, offered = FUNCTIONS[function].sql, OFFERED.get(engine)
    if offered is None:
        return sql.get(engine, sql["*"])
    if function not in offered:
        raise not_offered(function)
    return offered[function]


def not_offered(function: str) -> SqlRefused:
    """Return the refusal of a function that an engine does not offer, or not with such arguments."""
    return SqlRefused(
        "function-unknown",
        f"{function.replace('_', ' ').upper()} is not offered on this dataset's engine.",
        hint="Compare columns with constants and with each other; compute on the aggregates.",
    )


@cache
def repeats(function: str, place: int) -> int:
    """Return how often an argument is written where a function is, in the engine that writes it most often."""
    others = (offered[function] for offered in OFFERED.values() if function in offered)
    return max(1, *(sql.count(f"{{{place}}}") for sql in (*FUNCTIONS[function].sql.values(), *others)))
