"""What functions of texts and dates give, computed here as every engine does: for public domains and for constants.

``UPPER(status)`` over the declared values open and paid  →  OPEN and PAID
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import product
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.policy.model import Value
from gateway.sql.algebra import Call, Constant, Scalar
from gateway.sql.functions import CAPITALS, LETTERS, PARTS, UNITS
from gateway.sql.inference.intervals import Bounds

if TYPE_CHECKING:
    from gateway.sql.inference.known import Known

LONGEST = 10_000
"""Characters at which texts are cut before a function reads them, and after each concatenation."""

MOST_LISTED = 1_000
"""Public values that a function is applied to one by one, to know what it may give."""

MOST_WHOLE = 256
"""Whole numbers between two ends that a function is applied to so."""

CALENDAR = frozenset(PARTS)
CUT = frozenset(f"{kind}_trunc_{unit}" for unit in UNITS for kind in ("date", "timestamp"))
MOVED = frozenset(
    {"as_date", "as_timestamp", "date_plus_days", "date_plus_months", "timestamp_plus_months", "timestamp_plus_seconds"}
    | CUT
)
FIRST, LAST = Fraction(1), Fraction(date.max.toordinal() + 1)
"""The days of the years 1 to 9999, the last one's end included."""

_PARTS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "quarter": (1, 4),
        "month": (1, 12),
        "week": (1, 53),
        "day": (1, 31),
        "doy": (1, 366),
        "dow": (0, 6),
        "isodow": (1, 7),
        "hour": (0, 23),
        "minute": (0, 59),
        "second": (0, 59),
    }
)


def upper(text: str) -> str:
    """Return a text with the small letters of ASCII and Latin-1 as capitals."""
    return text.translate(str.maketrans(LETTERS, CAPITALS))


def lower(text: str) -> str:
    """Return a text with the capitals of ASCII and Latin-1 as small letters."""
    return text.translate(str.maketrans(CAPITALS, LETTERS))


@cache
def _pattern(pattern: str, *, escaped: bool) -> re.Pattern[str]:
    """Return what LIKE asks for; what stands between two ``%`` is taken where it comes first, and nowhere else.

    No text matches later that does not match so, and none takes longer than its length times the pattern's: a search
    that goes back tries every way to share a text out among the ``%``, and holds the interpreter all the while.
    """
    parts, rest = [""], iter(pattern)
    for character in rest:
        if character == "%":
            parts.append("")
        elif escaped and character == "!":
            parts[-1] += re.escape(next(rest))
        else:
            parts[-1] += "." if character == "_" else re.escape(character)
    first, *between = parts
    last = f".*{between.pop()}" if between else ""
    return re.compile(first + "".join(f"(?>.*?{part})" for part in between if part) + last, re.DOTALL)


def week(day: date) -> date:
    """Return the Monday of a day's week."""
    return day - timedelta(days=day.isoweekday() - 1)


def cut(day: date, unit: str) -> date:
    """Return a date cut to the start of its year, quarter, month, week or day."""
    match unit:
        case "year":
            return date(day.year, 1, 1)
        case "quarter":
            return date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
        case "month":
            return date(day.year, day.month, 1)
        case "week":
            return week(day)
    return day


def _strict(compute: Callable[..., Value]) -> Callable[..., Value]:
    """Return a function that is NULL where an argument is."""

    def computed(*args: Any) -> Value:
        return None if any(arg is None for arg in args) else compute(*args)

    return computed


_COMPUTED: Mapping[str, Callable[..., Value]] = {
    "left": lambda text, count: text[:count],
    "right": lambda text, count: text[max(len(text) - count, 0) :],
    "substring": lambda text, start, count: text[start - 1 : start - 1 + count],
    "upper": upper,
    "lower": lower,
    "trim": lambda text, characters: text.strip(characters),
    "trim_left": lambda text, characters: text.lstrip(characters),
    "trim_right": lambda text, characters: text.rstrip(characters),
    "concat": lambda first, second: first + second,
    "replace": lambda text, old, new: text.replace(old, new),
    "split_part": lambda text, character, place: next(iter(text.split(character)[place - 1 : place]), ""),
    "length": len,
    "position": lambda text, part: text.find(part) + 1,
    "like": lambda text, pattern: _pattern(pattern, escaped=False).fullmatch(text) is not None,
    "like_escaped": lambda text, pattern: _pattern(pattern, escaped=True).fullmatch(text) is not None,
    "whole_text": str,
    "date_text": lambda day: day.isoformat(),
    "date_trunc_year": lambda day: cut(day, "year"),
    "date_trunc_quarter": lambda day: cut(day, "quarter"),
    "date_trunc_month": lambda day: cut(day, "month"),
    "date_trunc_week": week,
    "date_trunc_day": lambda day: day,
}

IMAGES: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {name: _strict(compute) for name, compute in _COMPUTED.items()}
)
"""Functions of texts and dates; each is what DuckDB and PostgreSQL compute of the same values."""


def _quotient(number: int, divisor: int) -> int | None:
    """Return a whole quotient, rounded toward zero; NULL for a divisor of zero."""
    if divisor == 0:
        return None
    return abs(number) // abs(divisor) * (1 if (number < 0) == (divisor < 0) else -1)


def _remainder(number: int, divisor: int) -> int | None:
    """Return what a whole quotient leaves, which has the sign of the number."""
    whole = _quotient(number, divisor)
    return None if whole is None else number - whole * divisor


WHOLE: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        name: _strict(compute)
        for name, compute in (
            ("row_add", lambda first, second: first + second),
            ("row_subtract", lambda first, second: first - second),
            ("row_multiply", lambda first, second: first * second),
            ("row_abs", abs),
            ("quotient", _quotient),
            ("remainder", _remainder),
        )
    }
)
"""Functions of whole numbers, exact on every engine: what they give of few values may be far fewer than lie between
the ends of its interval, as the decades of years do."""


def few(lists: Sequence[Collection[Value] | None]) -> list[Collection[Value]] | None:
    """Return the values of each argument, None where some are not known or their combinations are too many."""
    found = [values for values in lists if values is not None]
    return found if len(found) == len(lists) and prod(map(len, found)) <= MOST_LISTED else None


def whole(function: str, args: Sequence[Scalar], lists: Sequence[Collection[Value] | None]) -> frozenset[Value] | None:
    """Return what a function of ``WHOLE`` gives of the values of its arguments; None where they are too many.

    ``x - x % 10`` is ``x // 10 * 10``: taken apart, the two would give every difference.
    """
    match function, args:
        case "row_subtract", (number, Call("remainder", (dividend, Call("to_whole", (Constant(divisor),))))) if (
            number == dividend
        ):
            alone = few(lists[:1])
            subtract, remainder = WHOLE["row_subtract"], WHOLE["remainder"]
            return None if alone is None else frozenset(subtract(n, remainder(n, divisor)) for n in alone[0])
    found = few(lists)
    return None if found is None else frozenset(WHOLE[function](*chosen) for chosen in product(*found))


def length(function: str, each: Sequence[int | None], args: Sequence[Scalar]) -> int | None:
    """Return the most characters that a function's text may have, None if it is no text or not known."""
    match function:
        case "left" | "right":
            return _least(each[0], _number(args[1]))
        case "substring":
            return _least(each[0], _number(args[2]))
        case "split_part" | "upper" | "lower" | "trim" | "trim_left" | "trim_right":
            return each[0]
        case "concat":
            return None if each[0] is None or each[1] is None else each[0] + each[1]
        case "replace":
            return None if each[0] is None else each[0] * 10
        case "whole_text":
            return 20
        case "date_text":
            return 10
    return None


def _least(known: int | None, limit: int | None) -> int | None:
    return limit if known is None else known if limit is None else min(known, limit)


def _number(arg: Scalar) -> int | None:
    return arg.value if isinstance(arg, Constant) and isinstance(arg.value, int) else None


def part_bounds(part: str, of: Known) -> Bounds:
    """Return the interval of a part of a date: the calendar's, or that of the dates' own clamp."""
    if part in _PARTS:
        low, high = _PARTS[part]
        if part in ("quarter", "month") and of.proven and of.bounds is not None:
            start, end = (_day(position) for position in of.bounds)
            if start.year == end.year:  # within one year, neither goes back
                low, high = start.month, end.month
                low, high = (low, high) if part == "month" else ((low + 2) // 3, (high + 2) // 3)
        return Fraction(low), Fraction(high)
    slack = 1 if part == "isoyear" else 0
    first, last = 1 - slack, 9999 + slack
    if of.proven and of.bounds is not None:
        first, last = (_day(end).year for end in of.bounds)
        first, last = first - slack, last + slack
    return Fraction(first), Fraction(last)


def _day(position: Fraction) -> date:
    return date.fromordinal(int(min(max(position, FIRST), LAST - 1)))


def moved(function: str, args: Sequence[Scalar], each: Sequence[Known]) -> Bounds | None:
    """Return the interval of a date or timestamp that was cut or moved by a constant, in days."""
    of = each[0]
    if of.bounds is None or not of.proven:
        return None
    low, high = of.bounds
    if function in CUT:
        # What is later is cut to nothing earlier; hours and less are cut within their day.
        unit = function.partition("_trunc_")[2]
        return Fraction(cut(_day(low), unit).toordinal()), high
    if function in ("as_date", "as_timestamp"):
        return max(low - 1, FIRST), high
    amount = _number(args[1])
    assert amount is not None
    if function == "date_plus_days":
        return low + amount, high + amount
    if function == "timestamp_plus_seconds":
        return low + Fraction(amount, 86_400), high + Fraction(amount, 86_400)
    days = (Fraction(amount * 28), Fraction(amount * 31))
    return max(low + min(days) - 31, FIRST), min(high + max(days) + 31, LAST)


def periods(function: str, bounds: Bounds, most: int) -> tuple[Value, ...] | None:
    """Return the periods that dates between two ends are cut to, None if they are more than ``most``."""
    kind, _, unit = function.partition("_trunc_")
    if unit in ("hour", "minute", "second") and kind == "timestamp":
        return None
    first, last = (_day(end) for end in bounds)
    found: list[Value] = []
    at = cut(first, unit)
    while at <= last:
        found.append(datetime(at.year, at.month, at.day) if kind == "timestamp" else at)  # noqa: DTZ001
        if len(found) > most:
            return None
        following = _following(at, unit)
        if following is None:
            break
        at = following
    return tuple(found)


def _following(at: date, unit: str) -> date | None:
    """Return the start of the next period, None beyond the year 9999."""
    months = {"year": 12, "quarter": 3, "month": 1}.get(unit)
    try:
        if months is None:
            return at + timedelta(days=7 if unit == "week" else 1)
        total = at.year * 12 + at.month - 1 + months
        return date(total // 12, total % 12 + 1, 1)
    except (OverflowError, ValueError):
        return None
