"""The functions over rows that SQLite lacks, or has with another meaning: rounding, texts, patterns, dates.

None of them raises, whatever a row holds: a result that does not exist is NULL. Texts come as bytes, since SQLite does
not keep text from being no UTF-8 (which is NULL here), and instants as the texts that the scan has made of them.
"""

from __future__ import annotations

import math
import re
import sqlite3
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Final

TINY: Final = 2.0**-400
"""Added and taken away again, it leaves no double nearer to zero than 2^-453 but zero (``functions.FLUSH``)."""

_LETTERS: Final = "".join(map(chr, (*range(97, 123), *(code for code in range(0xE0, 0xFF) if code != 0xF7))))
_TO_CAPITALS: Final = str.maketrans(_LETTERS, _LETTERS.upper())
_TO_SMALL: Final = str.maketrans(_LETTERS.upper(), _LETTERS)
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}([.][0-9]{0,18})?([eE][+-]?[0-9]{1,2})?")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def add_scalars(connection: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    found: dict[str, tuple[int, Callable[..., Any]]] = {
        "tiny": (0, lambda: TINY),
        **{name: (1, _strict(function)) for name, function in _NUMBERS.items()},
        "power": (2, _strict(math.pow)),
        "least": (-1, lambda *values: min((v for v in values if v is not None), default=None)),
        "greatest": (-1, lambda *values: max((v for v in values if v is not None), default=None)),
        **{name: (count, _of_text(function)) for name, (count, function) in _TEXTS.items()},
        "part": (2, _strict(part)),
        "cut": (2, _strict(cut)),
        "days": (2, _strict(lambda first, last: (_moment(last) - _moment(first)).days)),
        "seconds": (1, _strict(lambda value: (_moment(value) - datetime.min) // timedelta(seconds=1))),  # noqa: DTZ901
        "plus": (3, _strict(plus)),
    }
    for name, (arguments, function) in found.items():
        connection.create_function(f"discreet_{name}", arguments, function, deterministic=True)


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is NULL of a NULL, and where it has no value."""

    def applied(*values: Any) -> Any:
        if None in values:
            return None
        try:
            return function(*values)
        except (ArithmeticError, ValueError):
            return None

    return applied


def _of_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose first argument comes as bytes, NULL where they are no text."""
    inner = _strict(function)

    def applied(stored: bytes | None, *others: Any) -> Any:
        try:
            return None if stored is None else inner(stored.decode(), *others)
        except UnicodeDecodeError:
            return None

    return applied


def _away(value: float) -> float:
    """Return a double rounded to a whole one, a half away from zero."""
    return float(math.trunc(value + math.copysign(0.5, value))) if value else 0.0


_NUMBERS: Final[Mapping[str, Callable[[float], float]]] = {
    "floor": lambda value: float(math.floor(value)),
    "ceil": lambda value: float(math.ceil(value)),
    "trunc": lambda value: float(math.trunc(value)),
    "round": _away,
    "even": lambda value: float(round(value)),
    "sqrt": math.sqrt,
    "ln": math.log,
    "log10": math.log10,
    "exp": math.exp,
}


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _number(text: str) -> float | None:
    return float(text) + 0.0 if _NUMBER.fullmatch(text) else None


def _day(text: str) -> str | None:
    return date.fromisoformat(text).isoformat() if _DAY.fullmatch(text) else None


_Pattern = tuple[tuple[re.Pattern[str], int], ...]


@cache
def _pieces(pattern: str, escape: str | None) -> _Pattern:
    """Return what stands between the ``%`` of a pattern: texts of a fixed number of characters."""
    pieces: list[list[str]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if escape is not None and character == escape:
            pieces[-1].append(re.escape(next(characters, "")))
        elif character == "%":
            pieces.append([])
        else:
            pieces[-1].append("." if character == "_" else re.escape(character))
    return tuple((re.compile("".join(piece), re.DOTALL), len(piece)) for piece in pieces)


def like(text: str, pattern: str, escape: str | None = None) -> bool:
    """Return whether a text is like a pattern, cases told apart.

    Each piece is looked for once, at the first place where it may stand, so that no pattern takes longer than the
    product of the two lengths.
    """
    (head, _), *rest = _pieces(pattern, escape)
    if not rest:
        return head.fullmatch(text) is not None
    found, (tail, length) = head.match(text), rest[-1]
    for piece, _ in rest[:-1]:
        found = found and piece.search(text, found.end())
    start = len(text) - length
    return found is not None and start >= found.end() and tail.match(text, start) is not None


_TEXTS: Final[Mapping[str, tuple[int, Callable[..., Any]]]] = {
    "left": (2, lambda text, count: text[:count]),
    "right": (2, lambda text, count: text[-count:] if count else ""),
    "substring": (3, lambda text, start, count: text[start - 1 : start - 1 + count]),
    "upper": (1, lambda text: text.translate(_TO_CAPITALS)),
    "lower": (1, lambda text: text.translate(_TO_SMALL)),
    "trim": (2, str.strip),
    "trim_left": (2, str.lstrip),
    "trim_right": (2, str.rstrip),
    "replace": (3, str.replace),
    "split_part": (3, lambda text, character, place: next(iter(text.split(character)[place - 1 : place]), "")),
    "length": (1, len),
    "position": (2, lambda text, wanted: text.find(wanted) + 1),
    "like": (2, like),
    "like_escaped": (2, lambda text, pattern: like(text, pattern, "!")),
    "text_whole": (1, _whole),
    "text_float": (1, _number),
    "text_date": (1, _day),
}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _written(at: datetime, like_text: str) -> str:
    """Return a date or an instant, whichever a text is, as the scan writes it."""
    return at.date().isoformat() if len(like_text) == 10 else at.isoformat(" ", "microseconds")


_PARTS: Final[Mapping[str, Callable[[datetime], int]]] = {
    "year": lambda at: at.year,
    "quarter": lambda at: (at.month + 2) // 3,
    "month": lambda at: at.month,
    "week": lambda at: at.isocalendar().week,
    "day": lambda at: at.day,
    "doy": lambda at: at.timetuple().tm_yday,
    "dow": lambda at: at.isoweekday() % 7,
    "isodow": lambda at: at.isoweekday(),
    "isoyear": lambda at: at.isocalendar().year,
    "hour": lambda at: at.hour,
    "minute": lambda at: at.minute,
    "second": lambda at: at.second,
}


def part(name: str, text: str) -> int:
    """Return a part of a date or instant."""
    return _PARTS[name](_moment(text))


_FINER: Final[Mapping[str, Mapping[str, int]]] = {
    "second": {"microsecond": 0},
    "minute": {"second": 0, "microsecond": 0},
    "hour": {"minute": 0, "second": 0, "microsecond": 0},
}


def cut(unit: str, text: str) -> str:
    """Return a date or instant cut to the start of a unit; weeks start on Monday."""
    at = _moment(text)
    if unit in _FINER:
        return _written(at.replace(**_FINER[unit]), text)  # type: ignore[arg-type]
    day = datetime(at.year, at.month, at.day)  # noqa: DTZ001 - no instant here has a zone
    match unit:
        case "week":
            day -= timedelta(days=day.weekday())
        case "month":
            day = day.replace(day=1)
        case "quarter":
            day = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            day = day.replace(month=1, day=1)
    return _written(day, text)


def plus(unit: str, text: str, count: int) -> str:
    """Return a date or instant moved by days, months or seconds; a month's last days become its last one."""
    at = _moment(text)
    if unit == "month":
        year, month = divmod(at.year * 12 + at.month - 1 + count, 12)
        moved = at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))
    else:
        moved = at + timedelta(**{f"{unit}s": count})
    return _written(moved, text)
