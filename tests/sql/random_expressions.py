"""Random expressions over the hostile table, of a kind that is asked for; functions of libraries stand outermost only.

(They may differ in their last place between two builds, which rounding inside would make a whole step of.)
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_NUMBERS = ("0", "1", "2", "-3", "7", "100", "0.5", "2.5", "1e-3", "1e9")
_WHOLE = (
    "i",
    "j",
    "n",
    "LENGTH(t)",
    "YEAR(d)",
    "MONTH(e)",
    "SIGN(u)",
    "SIGN(x)",
    "STRPOS(t, 'a')",
    "CAST(b AS INTEGER)",
    "DATE_DIFF('month', d, e)",
    "DATE_SUB('year', e, d)",
)
_REAL = (
    "f",
    "p",
    "g",
    "m",
    "GREATEST(LEAST(x, 50), -50)",
    "LEAST(GREATEST(u, 0), 9)",
    "GREATEST(LEAST(CAST(t AS DOUBLE), 9), 0)",
)
_COMPARED = ("=", "<>", "<", "<=", ">", ">=")
_OUTER = (
    "{}",
    "{}",
    "LN({})",
    "EXP({})",
    "LOG10({})",
    "SQRT({})",
    "POWER({}, 3)",
    "POWER({}, -2)",
    "POWER({}, 0.5)",
    "POWER(2, {})",
)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(("number", "number", "text", "date", "condition")))
    match kind:
        case "number":
            return draw(st.sampled_from(_OUTER)).format(_number(draw, 3))
        case "text":
            return _text(draw, 3)
        case "date":
            return _date(draw, 3)
    return f"({_condition(draw, 3)})"


def _number(draw: Any, depth: int) -> str:
    form = draw(st.integers(0, 15 if depth else 1))
    if form == 0:
        return str(draw(st.sampled_from(_WHOLE)))
    if form == 1:
        return str(draw(st.sampled_from((*_REAL, *_REAL, *_NUMBERS))))
    left = _number(draw, depth - 1)
    if form <= 8:
        right = _number(draw, depth - 1)
        return f"({left} {draw(st.sampled_from(('+', '-', '*', '/', '+', '*')))} {right})"
    match form:
        case 9:
            return f"(FLOOR({left}) % {draw(st.sampled_from(_WHOLE))})"
        case 10:
            return f"{draw(st.sampled_from(('FLOOR', 'CEIL', 'TRUNC', 'ROUND', 'ABS', '-')))}({left})"
        case 11:
            return f"ROUND({left}, {draw(st.integers(-3, 4))})"
        case 12:
            return f"{draw(st.sampled_from(('LEAST', 'GREATEST', 'COALESCE')))}({left}, {_number(draw, depth - 1)})"
        case 13:
            return f"CASE WHEN {_condition(draw, depth - 1)} THEN {left} ELSE {_number(draw, depth - 1)} END"
        case 14:
            ends = draw(st.sampled_from(("-5, 5", "0, 0.3", "1, 1e6")))
            return f"WIDTH_BUCKET({left}, {ends}, {draw(st.integers(1, 12))})"
    return f"NULLIF({left}, {_number(draw, depth - 1)})"


def _text(draw: Any, depth: int) -> str:
    form = draw(st.integers(0, 9 if depth else 0))
    if form == 0:
        return str(
            draw(
                st.sampled_from(
                    (
                        "t",
                        "s",
                        "t",
                        "CAST(i AS VARCHAR)",
                        "CAST(e AS VARCHAR)",
                        "CAST(b AS VARCHAR)",
                        "STRFTIME(e, '%d.%m')",
                    )
                )
            )
        )
    inner = _text(draw, depth - 1)
    return str(
        [
            f"UPPER({inner})",
            f"LOWER({inner})",
            f"TRIM({inner})",
            f"SUBSTRING({inner}, {draw(st.integers(1, 4))}, {draw(st.integers(0, 5))})",
            f"LEFT({inner}, {draw(st.integers(0, 4))})",
            f"RIGHT({inner}, {draw(st.integers(0, 4))})",
            f"REPLACE({inner}, 'a', '{draw(st.sampled_from(('', 'bb', '%')))}')",
            f"({inner} || {_text(draw, depth - 1)})",
            f"COALESCE({inner}, {_text(draw, depth - 1)})",
        ][form - 1]
    )


def _date(draw: Any, depth: int) -> str:
    form = draw(st.integers(0, 6 if depth else 0))
    if form == 0:
        return str(draw(st.sampled_from(("d", "e", "CAST(w AS DATE)", "CAST(t AS DATE)"))))
    inner = _date(draw, depth - 1)
    unit = draw(st.sampled_from(("YEAR", "QUARTER", "MONTH", "WEEK", "DAY")))
    return str(
        [
            f"DATE_TRUNC('{unit}', {inner})",
            f"({inner} + INTERVAL '{draw(st.integers(0, 400))}' {unit})",
            f"({inner} - INTERVAL '{draw(st.integers(0, 400))}' {unit})",
            f"LEAST({inner}, {_date(draw, depth - 1)})",
            f"CASE WHEN {_condition(draw, depth - 1)} THEN {inner} END",
            f"LAST_DAY({inner})",
        ][form - 1]
    )


def _condition(draw: Any, depth: int) -> str:
    compared = draw(st.sampled_from(_COMPARED))
    match draw(st.integers(0, 6 if depth else 2)):
        case 0:
            return f"{_number(draw, 0)} {compared} {_number(draw, 0)}"
        case 1:
            return "b"
        case 2:
            pattern = draw(st.sampled_from(("a%", "%_", "", "%é", "Ä%")))
            return f"t {draw(st.sampled_from(('LIKE', 'NOT LIKE', 'ILIKE')))} '{pattern}'"
        case 3:
            return f"{_number(draw, depth - 1)} {compared} {_number(draw, depth - 1)}"
        case 4:
            return f"{_text(draw, depth - 1)} {compared} {_text(draw, depth - 1)}"
        case 5:
            return f"{_date(draw, depth - 1)} {compared} {_date(draw, depth - 1)}"
    return f"NOT ({_condition(draw, depth - 1)} {draw(st.sampled_from(('AND', 'OR')))} {_condition(draw, depth - 1)})"
