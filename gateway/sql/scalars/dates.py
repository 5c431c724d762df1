"""Lower functions of dates and timestamps: parts, cuts, differences, and moves by constant intervals.

``EXTRACT(YEAR FROM day)`` with day from 2020 to 2025  →  ``year(clamp(day, 2020-01-01, 2025-12-31))``, 2020 to 2025

Why it is total: every date read lies within the years 1 to 9999 (the scan drops others), behind a clamp to its declared
bounds where it has them; a date is moved only if the result lies within those years, and is NULL otherwise.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta
from typing import NoReturn

from sqlglot import exp

from gateway.sql.algebra import Call, Constant, Kind, Scalar
from gateway.sql.functions import PARTS, UNITS
from gateway.sql.inference.images import cut
from gateway.sql.inference.known import moment, position
from gateway.sql.position import dialect, instant
from gateway.sql.refusals import refuse
from gateway.sql.scalars import constants
from gateway.sql.scalars.arithmetic import binary
from gateway.sql.scalars.casts import to_kind
from gateway.sql.scalars.names import Arm, Lower, Names, about, call, literal
from gateway.sql.scalars.resolve import only

MOMENTS = ("date", "timestamp")
_FIRST, _LAST = date.min, date.max
_SAME = {"dayofweek": "dow", "dayofyear": "doy", "weekofyear": "week", "isoweek": "week", "dayofmonth": "day"}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_FROM_ONE = ("bigquery", "spark", "mysql", "tsql")
"""Dialects in which the days of a week are counted from 1 on Sunday; in others from 0."""


def bounded(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a date or timestamp as it enters a function: behind a clamp to its declared bounds, if it has any."""
    if found.kind not in MOMENTS:
        refuse("type-mismatch", node, message="A date or timestamp is needed here.", hint="DATE '2024-12-31'")
    if isinstance(found, Constant) or names.level == "post":
        return found
    known = about(found, names)
    if known.bounds is None or known.proven:
        return found
    ends = (Constant(moment(end, found.kind), found.kind) for end in known.bounds)
    return Call("clamp", (found, *ends), found.kind)


def within_calendar(found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    """Return a date or timestamp behind a clamp to its declared bounds, or to the years 1 to 9999.

    So an analyst may bound a column that the policy does not: ``GREATEST(LEAST(day, '2024-12-31'), '2024-01-01')``.
    """
    if isinstance(found, Constant) or about(found, names).bounds is not None:
        return bounded(found, node, names)
    ends = (_FIRST, _LAST) if found.kind == "date" else (datetime.min, datetime.max)  # noqa: DTZ901
    return Call("clamp", (found, *(Constant(end, found.kind) for end in ends)), found.kind)


def unit_of(node: exp.Expression | None, at: exp.Expression) -> str:
    """Return the unit that a node names, in the singular."""
    name = node.this if isinstance(node, exp.Var | exp.Literal) else None
    if node is None or not isinstance(name, str):
        refuse("not-supported", at, message="A unit of time is written out: YEAR, MONTH, DAY.")
    only(node, "this", "is_string")
    return name.lower().removesuffix("s")


def _part(name: str, found: Scalar, node: exp.Expression, names: Names) -> Scalar:
    part_ = _SAME.get(name, name)
    if part_ not in PARTS:
        refuse("not-supported", node, message=f"These parts of a date are known: {', '.join(PARTS)}.")
    whole = call(part_, (bounded(found, node, names),), "integer", node, names)
    if part_ == "dow" and (dialect(node) in _FROM_ONE):
        return binary("add", whole, Constant(1, "integer"), node, names) if names.level == "row" else _no(node)
    return whole


def _no(node: exp.Expression) -> NoReturn:
    refuse("not-supported", node, message="This cannot be computed from aggregates.")


def part(name: str) -> Arm:
    """Return the arm of YEAR(x), MONTH(x) and their like."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        return _part(name, lower(node.this), node, names)

    return arm


def extract(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return EXTRACT(part FROM x) or DATE_PART."""
    return _part(unit_of(node.this, node), lower(node.expression), node, names)


def named_part(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return DATE_PART('year', x) where the parser knows no function of that name."""
    if len(node.expressions) != 2:
        refuse("function-unknown", node)
    return _part(unit_of(node.expressions[0], node), lower(node.expressions[1]), node, names)


def truncated(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
    """Return a date or timestamp cut to the start of a unit, of the same type; weeks start on Monday."""
    named = started(node.args.get("unit")) or unit_of(node.args.get("unit"), node)
    unit = {"mm": "month", "mon": "month", "yyyy": "year", "yy": "year"}.get(named, _SAME.get(named, named))
    found = bounded(lower(node.this), node, names)
    if unit not in UNITS or (named == "week" and dialect(node) == "bigquery"):
        refuse("not-supported", node, message=f"Dates are cut to one of: {', '.join(UNITS)}.")
    if isinstance(found, Constant):
        return _cut(found, unit)
    return call(f"{found.kind}_trunc_{unit}", (found,), found.kind, node, names)


def _cut(found: Constant, unit: str) -> Constant:
    """Return a constant cut to the start of a unit."""
    value = found.value
    if isinstance(value, datetime):
        if unit in _SECONDS:
            since = (value - datetime.min) // timedelta(seconds=_SECONDS[unit])  # noqa: DTZ901
            return Constant(datetime.min + since * timedelta(seconds=_SECONDS[unit]), found.kind)  # noqa: DTZ901
        first = cut(value.date(), unit)
        return Constant(datetime(first.year, first.month, first.day), found.kind)  # noqa: DTZ001
    assert isinstance(value, date)
    return Constant(cut(value, unit), found.kind)


def started(node: exp.Expression | None) -> str | None:
    """Return the unit of a week that is said to start on a Monday, as all weeks do here."""
    if type(node) is not exp.WeekStart or type(node.this) is not exp.Var:
        return None
    only(node, "this")
    only(node.this, "this")
    return "isoweek" if node.this.name.upper() == "MONDAY" else None


def dated(found: Scalar, node: exp.Expression) -> Scalar:
    """Return a text that is written out as the date that it writes; anything else as it is."""
    return constants.as_kind(found, "date", node) if isinstance(found, Constant) and found.kind == "text" else found


def interval(node: exp.Expression) -> tuple[int, str]:
    """Return the number and the unit of an interval that is written out, or refuse."""
    only(node, "this", "unit")
    value, unit = node.this, node.args.get("unit")
    sign = ""
    if isinstance(value, exp.Neg):
        only(value, "this")
        sign, value = "-", value.this
    if not isinstance(value, exp.Literal):
        refuse("constant-invalid", node, message="An interval is written out: INTERVAL '3' DAY.")
    only(value, "this", "is_string")
    written = f"{sign}{value.this}"
    alone = re.fullmatch(r"\s*([+-]?\d{1,7})\s*", written)
    if alone is None or unit is None:
        refuse("constant-invalid", node, message="An interval is a whole number of one unit: INTERVAL '3' DAY.")
    return int(alone[1]), unit_of(unit, node)


def shift(found: Scalar, amount: int, unit: str, node: exp.Expression, names: Names) -> Scalar:
    """Return a date or timestamp moved by a constant interval, NULL where that leaves the years 1 to 9999."""
    if found.kind not in MOMENTS:
        refuse("type-mismatch", node, message="An interval is added to a date or a timestamp.")
    if unit not in _SECONDS.keys() | _DAYS.keys() | _MONTHS.keys():
        refuse("not-supported", node, message="Intervals are in years, quarters, months, weeks, days or less.")
    if unit in _SECONDS and found.kind == "date":
        found = to_kind(found, "timestamp", node, names)
    if isinstance(found, Constant):
        assert isinstance(found.value, date)
        moved = _moved(found.value, amount, unit)
        if moved is None:
            refuse("constant-invalid", node, message="This date lies outside the years 1 to 9999.")
        return Constant(moved, found.kind)
    if unit in _MONTHS:
        function, count = f"{found.kind}_plus_months", amount * _MONTHS[unit]
    elif unit in _DAYS and found.kind == "date":
        function, count = "date_plus_days", amount * _DAYS[unit]
    else:
        function, count = "timestamp_plus_seconds", amount * (_DAYS.get(unit, 0) * 86_400 or _SECONDS[unit])
    inside = _inside(bounded(found, node, names), amount, unit, names)
    return call(function, (inside, Constant(count, "integer")), found.kind, node, names)


def _moved(value: date, amount: int, unit: str) -> date | None:
    """Return a date moved by an interval, None outside the years 1 to 9999; a month's end stays one."""
    if unit in _MONTHS:
        total = value.year * 12 + value.month - 1 + amount * _MONTHS[unit]
        year, month = divmod(total, 12)
        if not 1 <= year <= 9999:
            return None
        return value.replace(year=year, month=month + 1, day=min(value.day, calendar.monthrange(year, month + 1)[1]))
    try:
        return value + timedelta(seconds=amount * (_DAYS.get(unit, 0) * 86_400 or _SECONDS[unit]))
    except OverflowError:
        return None


def _inside(found: Scalar, amount: int, unit: str, names: Names) -> Scalar:
    """Return a date that may be moved, NULL for one that would leave the calendar; bare where none can."""
    last: date = _LAST if found.kind == "date" else datetime.max  # noqa: DTZ901
    first: date = _FIRST if found.kind == "date" else datetime.min  # noqa: DTZ901
    # What lands on an end comes from its own distance; a month's end is moved back by at most three days more.
    ends = (first, _back(last, amount, unit)) if amount > 0 else (_back(first, amount, unit), last)
    if ends[0] is None or ends[1] is None:
        return Call("within", (found, Constant(last, found.kind), Constant(first, found.kind)), found.kind)
    bounds = None if names.level == "post" else about(found, names)
    low, high = position(ends[0]), position(ends[1])
    held = None if bounds is None or not bounds.proven else bounds.bounds
    if held is not None and low <= held[0] and held[1] <= high:
        return found
    return Call("within", (found, Constant(ends[0], found.kind), Constant(ends[1], found.kind)), found.kind)


def _back(end: date, amount: int, unit: str) -> date | None:
    return _moved(end, -amount, unit)


def added(sign: int) -> Arm:
    """Return the arm of DATE_ADD or DATE_SUB with a constant interval or number of a unit."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        found = dated(lower(node.this), node)
        if type(node.expression) is exp.Interval:
            amount, unit = interval(node.expression)
        else:
            unit = "day" if node.args.get("unit") is None else unit_of(node.args["unit"], node)
            written = node.expression
            if isinstance(written, exp.Literal) and written.args.get("is_string"):
                amount, unit = interval(exp.Interval(this=written.copy(), unit=exp.var(unit)))
            else:
                amount = literal(written, lower, "The number of units", -9_999_999, 9_999_999)
        return shift(found, sign * amount, unit, node, names)

    return arm


def today(node: exp.Expression, _names: Names, _lower: Lower) -> Scalar:
    """Return the day of planning, in UTC: a literal, so that the answer stands for it."""
    at = instant(node)
    return _no_clock(node) if at is None else Constant(at.date(), "date")


def now(node: exp.Expression, _names: Names, _lower: Lower) -> Scalar:
    """Return the minute of planning, in UTC: a literal, so that the answer stands for it."""
    at = instant(node)
    return _no_clock(node) if at is None else Constant(at.replace(second=0, microsecond=0, tzinfo=None), "timestamp")


def _no_clock(node: exp.Expression) -> NoReturn:
    refuse("not-supported", node, message="The time of the question is not known here.", hint="Write the date out.")


def converted(kind: Kind) -> Arm:
    """Return the arm of DATE(x) and the casts that parsers write around the arguments of functions of dates."""

    def arm(node: exp.Expression, names: Names, lower: Lower) -> Scalar:
        found = lower(node.this)
        if kind == "timestamp" and found.kind == "date":
            return found
        return to_kind(found, kind, node, names)

    return arm
