"""What each function over rows means, in Python: a second implementation that shares no code with the gateway's.

Doubles are computed by the same IEEE operations; dates by the standard library.
"""

from __future__ import annotations

import math
import re
import struct
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from gateway.sql.algebra import Call, Constant, Ref, Scalar

TINY = 2.0**-400


def evaluate(scalar: Scalar, row: Mapping[str, Any]) -> Any:
    """The value of an expression for a row of canonical values."""
    match scalar:
        case Ref(name):
            return row[name]
        case Constant(value, kind):
            return value if value is None or kind != "float" else float(value)  # type: ignore[arg-type]
        case Call("case", args):
            for condition, chosen in zip(args[:-1:2], args[1:-1:2], strict=True):
                if evaluate(condition, row) is True:
                    return evaluate(chosen, row)
            return evaluate(args[-1], row)
        case Call(function, args):
            values = [evaluate(arg, row) for arg in args]
            if function in LOOSE:
                return LOOSE[function](*values)
            return None if any(value is None for value in values) else MEANINGS[function](*values)


def _and(*values: bool | None) -> bool | None:
    return False if False in values else None if None in values else True


def _or(*values: bool | None) -> bool | None:
    return True if True in values else None if None in values else False


def _present(*values: Any) -> list[Any]:
    return [value for value in values if value is not None]


LOOSE: Mapping[str, Callable[..., Any]] = {
    "and": _and,
    "or": _or,
    "is_null": lambda value: value is None,
    "is_true": lambda value: value is True,
    "is_false": lambda value: value is False,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "least": lambda *values: min(_present(*values), default=None),
    "greatest": lambda *values: max(_present(*values), default=None),
}
"""Functions that NULL does not make NULL."""


def held(value: float) -> float:
    return (value + TINY) - TINY


def _divide(a: float, b: float) -> float | None:
    return None if held(b) == 0 else held(a) / held(b)


def _quotient(a: int, b: int) -> int | None:
    return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: int, b: int) -> int | None:
    return None if b == 0 else abs(a) % abs(b) * (-1 if a < 0 else 1)


def _half_away(value: float) -> int:
    return math.trunc(value + math.copysign(0.5, value)) if value else 0


def _clamp(value: Any, low: Any, high: Any) -> Any:
    return low if value <= low else high if value >= high else value


def _inverse(base: float, held_by: float, exponent: float) -> float | None:
    found = (base + held_by) - held_by
    return None if found == 0 else math.pow(found, exponent)


def _upper(text: str) -> str:
    pairs = {letter: letter.upper() for letter in "abcdefghijklmnopqrstuvwxyzàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþ"}
    return "".join(pairs.get(letter, letter) for letter in text)


def _lower(text: str) -> str:
    pairs = {letter.upper(): letter for letter in "abcdefghijklmnopqrstuvwxyzàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþ"}
    return "".join(pairs.get(letter, letter) for letter in text)


def _like(text: str, pattern: str, escape: str | None = None) -> bool:
    """LIKE by trying every split: slow, and plainly right."""
    if not pattern:
        return not text
    head, rest = pattern[0], pattern[1:]
    if escape is not None and head == escape:
        return bool(text) and text[0] == rest[0] and _like(text[1:], rest[1:], escape)
    if head == "%":
        return any(_like(text[at:], rest, escape) for at in range(len(text) + 1))
    return bool(text) and head in ("_", text[0]) and _like(text[1:], rest, escape)


def _short_like(text: str, pattern: str, escape: str | None = None) -> bool:
    if len(text) < 60:
        return _like(text, pattern, escape)
    found, at = "", 0
    while at < len(pattern):
        if escape is not None and pattern[at] == escape:
            at += 1
            found += re.escape(pattern[at])
        else:
            found += {"%": "(?s:.*)", "_": "(?s:.)"}.get(pattern[at], re.escape(pattern[at]))
        at += 1
    return re.fullmatch(found, text) is not None


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII) else None


def _number(text: str) -> float | None:
    form = r"[+-]?[0-9]{1,18}([.][0-9]{0,18})?([eE][+-]?[0-9]{1,2})?"
    return float(text) if re.fullmatch(form, text, re.ASCII) else None


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date() if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None  # noqa: DTZ007
    except ValueError:
        return None


def _months(value: date, count: int) -> date:
    total = value.year * 12 + value.month - 1 + count
    year, month = total // 12, total % 12 + 1
    return value.replace(year=year, month=month, day=min(value.day, monthrange(year, month)[1]))


def _cut(value: date, unit: str) -> date:
    day = value.date() if isinstance(value, datetime) else value
    match unit:
        case "year":
            day = day.replace(month=1, day=1)
        case "quarter":
            day = day.replace(month={1: 1, 2: 4, 3: 7, 4: 10}[(day.month + 2) // 3], day=1)
        case "month":
            day = day.replace(day=1)
        case "week":
            day = date.fromordinal(day.toordinal() - day.weekday())
        case _:
            pass
    if not isinstance(value, datetime):
        return day
    whole = datetime(day.year, day.month, day.day)  # noqa: DTZ001
    kept = {"hour": 1, "minute": 2, "second": 3}.get(unit, 0)
    return whole + timedelta(
        **dict(zip(("hours", "minutes", "seconds"), (value.hour, value.minute, value.second)[:kept], strict=False))
    )


PART: Mapping[str, Callable[[date], int]] = {
    "year": lambda value: value.year,
    "quarter": lambda value: (value.month + 2) // 3,
    "month": lambda value: value.month,
    "week": lambda value: value.isocalendar().week,
    "day": lambda value: value.day,
    "doy": lambda value: value.timetuple().tm_yday,
    "dow": lambda value: value.isoweekday() % 7,
    "isodow": lambda value: value.isoweekday(),
    "isoyear": lambda value: value.isocalendar().year,
    "hour": lambda value: value.hour if isinstance(value, datetime) else 0,
    "minute": lambda value: value.minute if isinstance(value, datetime) else 0,
    "second": lambda value: value.second if isinstance(value, datetime) else 0,
}


def _timestamp(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001


MEANINGS: Mapping[str, Callable[..., Any]] = {
    "not": lambda value: not value,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "to_float": float,
    "as_double": float,
    "to_whole": int,
    "clamp": _clamp,
    "clamp_whole": _clamp,
    "within": lambda value, low, high: value if low <= value <= high else None,
    "row_add": lambda a, b: a + b,
    "row_subtract": lambda a, b: a - b,
    "row_multiply": lambda a, b: a * b,
    "row_product": lambda a, b: held(a) * held(b),
    "row_divide": _divide,
    "quotient": _quotient,
    "remainder": _remainder,
    "row_abs": abs,
    "row_floor": lambda value: float(math.floor(value)),
    "row_ceil": lambda value: float(math.ceil(value)),
    "row_trunc": lambda value: float(math.trunc(value)),
    "row_round": lambda value: float(_half_away(value)),
    "floor_whole": math.floor,
    "ceil_whole": math.ceil,
    "trunc_whole": math.trunc,
    "round_whole": _half_away,
    "even_whole": round,
    "row_sqrt": math.sqrt,
    "row_ln": math.log,
    "row_log10": math.log10,
    "row_exp": math.exp,
    "row_power": lambda base, held_by, exponent: math.pow((base + held_by) - held_by, exponent),
    "row_inverse": _inverse,
    "row_raised": math.pow,
    "left": lambda text, count: text[:count],
    "right": lambda text, count: text[-count:] if count else "",
    "substring": lambda text, start, count: text[start - 1 :][:count],
    "upper": _upper,
    "lower": _lower,
    "trim": lambda text, characters: text.strip(characters),
    "trim_left": lambda text, characters: text.lstrip(characters),
    "trim_right": lambda text, characters: text.rstrip(characters),
    "concat": lambda a, b: a + b,
    "replace": lambda text, old, new: new.join(text.split(old)),
    "split_part": lambda text, character, place: [*text.split(character), *[""] * place][place - 1],
    "length": len,
    "position": lambda text, part: text.index(part) + 1 if part in text else 0,
    "like": _short_like,
    "like_escaped": lambda text, pattern: _short_like(text, pattern, "!"),
    "whole_text": str,
    "date_text": lambda day: f"{day.year:04}-{day.month:02}-{day.day:02}",
    "text_whole": _whole,
    "text_float": _number,
    "text_date": _date,
    **PART,
    **{
        f"{kind}_trunc_{unit}": (lambda value, unit=unit: _cut(value, unit))
        for kind in ("date", "timestamp")
        for unit in ("year", "quarter", "month", "week", "day", "hour", "minute", "second")
    },
    "as_date": lambda value: value.date() if isinstance(value, datetime) else value,
    "as_timestamp": _timestamp,
    "seconds": lambda at: (at - datetime.min) // timedelta(seconds=1),  # noqa: DTZ901
    "days_between": lambda first, last: (last - first).days,
    "date_plus_days": lambda day, count: day + timedelta(days=count),
    "date_plus_months": _months,
    "timestamp_plus_months": _months,
    "timestamp_plus_seconds": lambda at, count: at + timedelta(seconds=count),
}
"""Functions that are NULL where an argument is."""


def canonical(value: Any, stored: str) -> Any:
    """A stored value as the scan makes it canonical."""
    if isinstance(value, float) and stored in ("FLOAT", "real"):
        value = struct.unpack("f", struct.pack("f", value))[0]
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0
    if isinstance(value, str) and value in ("infinity", "-infinity"):
        return None
    if isinstance(value, Decimal):
        return float(value) if stored == "DOUBLE" else Fraction(value)
    return value
