"""Lower differences of dates and timestamps: how many starts of a unit lie between them, or how many whole units.

``DATE_DIFF('month', opened, closed)``  →  ``(12 * year(closed) + month(closed)) - (12 * year(opened) + month(opened))``
``TIMESTAMPDIFF(YEAR, born, closed)``  →  the same in months, one less where the last of them is not over, over 12

Why it is total: a date is first a whole number of units since the year 1, computed behind the clamp to its bounds; of
such numbers there are differences and quotients in 64 bits. Nothing below a second is looked at.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime
from typing import Literal

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Scalar
from gateway.sql.position import dialect
from gateway.sql.reading.moments import ENDS
from gateway.sql.refusals import refuse
from gateway.sql.scalars.arithmetic import computed
from gateway.sql.scalars.comparisons import compare
from gateway.sql.scalars.dates import bounded, dated, shift, started, unit_of
from gateway.sql.scalars.names import Lower, Names, call

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_CLOCK = ("hour", "minute", "second")
_PER = {"hour": 24, "minute": 60, "second": 60}
_ORIGIN = Constant(date(1, 1, 1), "date")
"""The first day of the calendar, which is a Monday."""

_SUNDAYS = ("bigquery", "tsql")
"""Dialects in which a difference in weeks counts Sundays."""

_SEVENS = ("duckdb", "sqlite")
"""Dialects in which it counts seven days; in all others, and where the text says so, it counts Mondays."""

_COMPLETE = ("spark",)
"""Dialects in which DATEDIFF with a unit counts whole ones."""


def _named(node: exp.Expression) -> tuple[str, bool]:
    """Return the unit of a difference, and whether its weeks start on Sundays."""
    written = node.args.get("unit")
    if written is None:
        return "day", False
    if type(written) is exp.WeekStart and type(written.this) is exp.Var and written.this.name.upper() == "SUNDAY":
        return "week", True
    if started(written) is not None:
        return "week", False
    unit = unit_of(written, node)
    if unit == "isoweek":
        return "week", False
    return unit, unit == "week" and dialect(node) in _SUNDAYS


def difference(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return DATE_DIFF: how many starts of a unit lie between two dates."""
    unit, sundays = _named(node)
    first, last = lower(node.expression), lower(node.this)
    if node.args.get("unit") is not None and dialect(node) in _COMPLETE:
        return complete(first, last, unit, node, names)
    if unit == "week" and type(node.args["unit"]) is exp.Var and dialect(node) in _SEVENS:
        return _over(between(first, last, "day", node, names), 7, node, names)
    return between(first, last, unit, node, names, sundays=sundays)


def completed(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return TIMESTAMPDIFF or DuckDB's DATE_SUB: how many whole units lie between two dates or timestamps."""
    ends = node.meta.get(ENDS) is True
    return complete(lower(node.expression), lower(node.this), _named(node)[0], node, names, ends=ends)


def between(
    first: Scalar, last: Scalar, unit: str, node: exp.Expression, names: Names, *, sundays: bool = False
) -> Scalar:
    """Return how many starts of a unit lie between two dates or timestamps."""
    sides = _sides(first, last, unit, node, names)
    if unit == "day" and not all(isinstance(side, Constant) for side in sides):
        return call("days_between", tuple(_day(side, node, names) for side in sides), "integer", node, names)
    early, late = (_since(side, unit, node, names, sundays=sundays) for side in sides)
    return computed("subtract", late, early, node, names)


def complete(
    first: Scalar, last: Scalar, unit: str, node: exp.Expression, names: Names, *, ends: bool = False
) -> Scalar:
    """Return how many whole units lie between two dates or timestamps, toward zero.

    Of months, one is not over before the day and time of the first date are reached again; where ``ends``, on the last
    day of the later date's month the day is.
    """
    sides = first, last = _sides(first, last, unit, node, names)
    days = all(side.kind == "date" for side in sides)
    if unit not in _MONTHS:
        fine: Literal["day", "second"] = "day" if days and unit in ("day", "week") else "second"
        found = between(first, last, fine, node, names)
        return _over(found, _SECONDS[unit] // _SECONDS[fine], node, names)
    early, late = (_since(side, "month", node, names) for side in sides)
    months = computed("subtract", late, early, node, names)
    rests = [_rest(side, node, names, days=days) for side in sides]
    if isinstance(months, Constant):  # so are both sides
        refuse("not-supported", node, message="Write the result of this out.")
    args: list[Scalar] = []
    for far, behind, less in (("gt", "lt", "subtract"), ("lt", "gt", "add")):
        away = compare(far, months, Constant(0, "integer"), node, names)
        open_ = compare(behind, rests[1], rests[0], node, names)
        early, late = sides if far == "gt" else sides[::-1]
        over = (_at_end(late, early, node, names, days=days),) if ends else ()
        unless = tuple(call("not", (each,), "boolean", node, names) for each in over)
        args += [
            call("and", (away, open_, *unless), "boolean", node, names),
            computed(less, months, Constant(1, "integer"), node, names),
        ]
    kind = args[1].kind
    whole = Call("case", (*args, months), kind)
    return _over(whole, _MONTHS[unit], node, names)


def _sides(first: Scalar, last: Scalar, unit: str, node: exp.Expression, names: Names) -> tuple[Scalar, Scalar]:
    if unit not in _MONTHS.keys() | _SECONDS.keys():
        units = ", ".join((*_SECONDS, *_MONTHS))
        refuse("not-supported", node, message=f"Dates are subtracted in one of these units: {units}.")
    return bounded(dated(first, node), node, names), bounded(dated(last, node), node, names)


def _over(found: Scalar, count: int, node: exp.Expression, names: Names) -> Scalar:
    if count == 1:
        return found
    return computed("integer_divide", found, Constant(count, "integer"), node, names)


def _day(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return the day of a date or timestamp."""
    if isinstance(found, Constant):
        value = found.value
        return Constant(value.date(), "date") if isinstance(value, datetime) else found
    return found if found.kind == "date" else call("as_date", (found,), "date", node, names)


def _since(found: Scalar, unit: str, node: exp.Expression, names: Names, *, sundays: bool = False) -> Scalar:
    """Return how many starts of a unit lie before a date or timestamp since the year 1 (of months, the year 0)."""
    if isinstance(found, Constant):
        return Constant(_counted(found.value, unit, sundays=sundays), "integer")
    if unit in _MONTHS:
        year: Scalar = call("year", (found,), "integer", node, names)
        if unit == "year":
            return year
        per_year = computed("multiply", year, Constant(12 // _MONTHS[unit], "integer"), node, names)
        return computed("add", per_year, call(unit, (found,), "integer", node, names), node, names)
    if unit in _CLOCK and found.kind == "timestamp":
        return _over(call("seconds", (found,), "integer", node, names), _SECONDS[unit], node, names)
    count: Scalar = call("days_between", (_ORIGIN, _day(found, node, names)), "integer", node, names)
    if unit == "week":
        count = computed("add", count, Constant(1, "integer"), node, names) if sundays else count
        return _over(count, 7, node, names)
    return computed("multiply", count, Constant(86_400 // _SECONDS[unit], "integer"), node, names)


def _counted(value: object, unit: str, *, sundays: bool) -> int:
    """Return the same of a constant."""
    assert isinstance(value, date)
    if unit in _MONTHS:
        # Months and quarters are numbered from 1, as EXTRACT has them.
        return (
            value.year
            if unit == "year"
            else value.year * (12 // _MONTHS[unit]) + (value.month - 1) // _MONTHS[unit] + 1
        )
    days = value.toordinal() - 1
    if unit in ("day", "week"):
        return days if unit == "day" else (days + sundays) // 7
    return (days * 86_400 + _time(value)) // _SECONDS[unit]


def _time(value: date) -> int:
    return value.hour * 3_600 + value.minute * 60 + value.second if isinstance(value, datetime) else 0


def _at_end(late: Scalar, early: Scalar, node: exp.Expression, names: Names, *, days: bool) -> Scalar:
    """Return whether the later date is the last day of its month, at the earlier one's time of day or after."""
    if isinstance(late, Constant):
        assert isinstance(late.value, date)
        last = monthrange(late.value.year, late.value.month)[1]
        end: Scalar = Constant(late.value.day == last, "boolean")
    else:
        tomorrow = call("day", (shift(late, 1, "day", node, names),), "integer", node, names)
        end = compare("eq", tomorrow, Constant(1, "integer"), node, names)
    if days:
        return end
    at, since = _clock(late, node, names), _clock(early, node, names)
    return call("and", (end, compare("gte", at, since, node, names)), "boolean", node, names)


def _clock(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return the seconds of a day that are over."""
    if isinstance(found, Constant):
        assert isinstance(found.value, date)
        return Constant(_time(found.value), "integer")
    if found.kind == "date":
        return Constant(0, "integer")
    count: Scalar = call("hour", (found,), "integer", node, names)
    for part in ("minute", "second"):
        count = computed("multiply", count, Constant(60, "integer"), node, names)
        count = computed("add", count, call(part, (found,), "integer", node, names), node, names)
    return count


def _rest(found: Scalar, node: exp.Expression, names: Names, *, days: bool) -> Scalar:
    """Return how far into its month a date or timestamp is: its day, or in seconds where times count."""
    if isinstance(found, Constant):
        assert isinstance(found.value, date)
        value = found.value
        return Constant(value.day if days else value.day * 86_400 + _time(value), "integer")
    count: Scalar = call("day", (found,), "integer", node, names)
    for part in () if days else _CLOCK:
        count = computed("multiply", count, Constant(_PER[part], "integer"), node, names)
        if found.kind == "timestamp":
            count = computed("add", count, call(part, (found,), "integer", node, names), node, names)
    return count
