"""Write out what dialects say of dates and timestamps: formats, names, ends of months, ages, intervals of many units.

``STRFTIME(day, '%Y-%m')``  →  ``LEFT(CAST(CAST(DATE_TRUNC('month', day) AS DATE) AS TEXT), 7)``
``LAST_DAY(day)``  →  ``CAST(DATE_TRUNC('month', day) AS DATE) + INTERVAL 1 MONTH - INTERVAL 1 DAY``
``EXTRACT(YEAR FROM AGE(born))``  →  ``TIMESTAMPDIFF(YEAR, born, CURRENT_DATE)``

Why this is sound: as of every abbreviation, only the tree is rewritten; what it becomes passes every rule. A date is
cut to what its format shows before it becomes a text, so that ``%Y-%m`` of declared dates has the public domain of
months.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from sqlglot import Dialect, exp
from sqlglot.errors import SqlglotError

from gateway.sql.refusals import refuse

_Type = exp.DataType.Type
_WRAPPERS = (exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.TsOrDsToDatetime, exp.TimeStrToTime)
"""What parsers put around the argument of a format, to which a date and a timestamp are alike."""

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")
MONTHS = (*_MONTHS, "November", "December")
ENDS = "discreet_ends"
"""What marks a difference of whole months in which the last day of a shorter month is reached by all later days."""

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_SHOWN = "%Y %y %m %d %F %H %M %S %T %j %B %b %A %a %u %V %G %% %-d %-m %-H"
_DIRECTIVE = re.compile(r"%(-?[A-Za-z%])(?:strict)?")
_LETTERS = ("duckdb", "bigquery", "mysql", "sqlite")
"""Dialects whose formats are of directives alone, so that a letter means itself."""


def _text(written: str) -> exp.Expr:
    return exp.Literal.string(written)


def _number(written: int) -> exp.Expr:
    return exp.Literal.number(written)


def _kind(kind: exp.DType) -> exp.DataType:
    return exp.DataType(this=kind, nested=False)


def _bare_value(node: exp.Expr) -> exp.Expr:
    """Return the argument of a format without what the parser put around it."""
    while type(node) in _WRAPPERS or (type(node) is exp.Cast and node.args["to"].this is _Type.DATETIME2):
        node = node.this
    return node


def _cut(value: exp.Expr, unit: str) -> exp.Expr:
    """Return the first day of a date's year or month, or its day."""
    started = value.copy() if unit == "DAY" else exp.TimestampTrunc(this=value.copy(), unit=exp.var(unit))
    return exp.Cast(this=started, to=_kind(_Type.DATE))


def _digits(value: exp.Expr, unit: str, first: int, count: int) -> exp.Expr:
    written = exp.Cast(this=_cut(value, unit), to=_kind(_Type.TEXT))
    return exp.Substring(this=written, start=_number(first), length=_number(count))


def _padded(value: exp.Expr, width: int) -> exp.Expr:
    filled = exp.DPipe(this=_text("0" * (width - 1)), expression=exp.Cast(this=value, to=_kind(_Type.TEXT)))
    return exp.Right(this=filled, expression=_number(width))


def _named(part: exp.Expr, names: Sequence[str], length: int | None = None) -> exp.Expr:
    """Return the name that stands for a number from 1."""
    ifs = [exp.If(this=_number(at), true=_text(name[:length])) for at, name in enumerate(names, 1)]
    return exp.Case(this=part, ifs=ifs)


def _part(value: exp.Expr, part: str) -> exp.Expr:
    return exp.Extract(this=exp.var(part), expression=value.copy())


_DIRECTIVES: Mapping[str, Callable[[exp.Expr], exp.Expr]] = MappingProxyType(
    {
        "Y": lambda v: _digits(v, "YEAR", 1, 4),
        "y": lambda v: _digits(v, "YEAR", 3, 2),
        "m": lambda v: _digits(v, "MONTH", 6, 2),
        "d": lambda v: _digits(v, "DAY", 9, 2),
        "F": lambda v: _digits(v, "DAY", 1, 10),
        "H": lambda v: _padded(_part(v, "HOUR"), 2),
        "M": lambda v: _padded(_part(v, "MINUTE"), 2),
        "S": lambda v: _padded(_part(v, "SECOND"), 2),
        "j": lambda v: _padded(_part(v, "DOY"), 3),
        "V": lambda v: _padded(_part(v, "WEEK"), 2),
        "G": lambda v: exp.Cast(this=_part(v, "ISOYEAR"), to=_kind(_Type.TEXT)),
        "u": lambda v: exp.Cast(this=_part(v, "ISODOW"), to=_kind(_Type.TEXT)),
        "-d": lambda v: exp.Cast(this=_part(v, "DAY"), to=_kind(_Type.TEXT)),
        "-m": lambda v: exp.Cast(this=_part(v, "MONTH"), to=_kind(_Type.TEXT)),
        "-H": lambda v: exp.Cast(this=_part(v, "HOUR"), to=_kind(_Type.TEXT)),
        "B": lambda v: _named(_part(v, "MONTH"), MONTHS),
        "b": lambda v: _named(_part(v, "MONTH"), MONTHS, 3),
        "A": lambda v: _named(_part(v, "ISODOW"), DAYS),
        "a": lambda v: _named(_part(v, "ISODOW"), DAYS, 3),
    }
)
_WHOLE = MappingProxyType({"%Y-%m-%d": ("DAY", 10), "%F": ("DAY", 10), "%Y-%m": ("MONTH", 7), "%Y": ("YEAR", 4)})
"""Formats that are the beginning of a date's own text."""


def formatted(value: exp.Expr, written: str, where: exp.Expr, dialect: str) -> exp.Expr:
    """Return a date or timestamp as a text of a constant format, piece by piece."""
    written = written.replace("strict", "").replace("%T", "%H:%M:%S")
    value = _bare_value(value)
    if written in _WHOLE:
        unit, count = _WHOLE[written]
        return exp.Left(this=exp.Cast(this=_cut(value, unit), to=_kind(_Type.TEXT)), expression=_number(count))
    pieces: list[exp.Expr] = []
    at = 0
    for found in _DIRECTIVE.finditer(written):
        pieces += _verbatim(written[at : found.start()], where, dialect)
        if found[1] == "%":
            pieces.append(_text("%"))
        elif found[1] in _DIRECTIVES:
            pieces.append(_DIRECTIVES[found[1]](value))
        else:
            _refuse_format(where)
        at = found.end()
    pieces += _verbatim(written[at:], where, dialect)
    # A format without a directive is no format: sqlglot makes 'None' of an empty one, and three names of T-SQL's 'D'.
    if not _DIRECTIVE.search(written) or (dialect == "tsql" and written == "%A,%B,%Y"):
        _refuse_format(where)
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = exp.DPipe(this=whole, expression=piece)
    return exp.Paren(this=whole)


def _verbatim(written: str, where: exp.Expr, dialect: str) -> list[exp.Expr]:
    """Return the text between two directives; refuse letters that may be a directive which nobody translated."""
    odd = "%" in written or (dialect not in _LETTERS and re.search(r"[^\W\d_]|[\"'\\]", written))
    if odd:
        _refuse_format(where)
    return [_text(written)] if written else []


def _refuse_format(where: exp.Expr) -> None:
    hint = f"Of a format these are known, in the spelling of the dialect: {_SHOWN}."
    node = where if isinstance(where, exp.Expression) else None
    refuse("constant-invalid", node, message="This format of a date is not known here.", hint=hint)


def _literal(node: exp.Expr | None) -> str | None:
    """Return a text that is written out, None for anything else."""
    return str(node.this) if type(node) is exp.Literal and node.args.get("is_string") else None


def time_to_str(node: exp.Expr, dialect: str) -> exp.Expr | None:
    """STRFTIME, DATE_FORMAT, FORMAT_DATE, FORMAT and DATENAME, as sqlglot reads them all."""
    written = _literal(node.args.get("format"))
    return None if written is None else formatted(node.this, written, node, dialect)


def to_char(node: exp.Expr, dialect: str) -> exp.Expr | None:
    """TO_CHAR(day, 'YYYY-MM'), whose format the parser leaves as it was where it may be of a number."""
    written = _literal(node.args.get("format"))
    if written is None or re.search("[09$]", written):
        return None
    try:
        translated = Dialect.get_or_raise(dialect).format_time(_text(written))
    except SqlglotError:
        return None
    return formatted(node.this, translated.name if translated is not None else written, node, dialect)


_STYLES = MappingProxyType(
    {
        **{
            (style, size): "%Y-%m-%d"[:end]
            for style in ("23", "120", "121", "126")
            for size, end in ((4, 2), (7, 5), (10, 8))
        },
        **{("112", size): "%Y%m%d"[:end] for size, end in ((4, 2), (6, 4), (8, 6))},
    }
)


def styled(node: exp.Expr, dialect: str) -> exp.Expr | None:
    """CONVERT(VARCHAR(7), day, 120), which is a format of so many characters."""
    style, kind = node.args.get("style"), node.this
    sizes = [detail.name for detail in kind.expressions] if isinstance(kind, exp.DataType) else []
    if type(style) is not exp.Literal or kind.this not in (_Type.VARCHAR, _Type.NVARCHAR) or len(sizes) != 1:
        return None
    written = _STYLES.get((style.name, int(sizes[0]) if sizes[0].isdigit() else 0))
    return None if written is None else formatted(node.expression, written, node, dialect)


_SHORT = ("snowflake", "spark")
"""Dialects in which MONTHNAME and DAYNAME give three letters."""


def month_name(node: exp.Expr, dialect: str) -> exp.Expr | None:
    """MONTHNAME(day)."""
    return _named(_part(_bare_value(node.this), "MONTH"), MONTHS, 3 if dialect in _SHORT else None)


def day_name(node: exp.Expr, dialect: str) -> exp.Expr | None:
    """DAYNAME(day)."""
    return _named(_part(_bare_value(node.this), "ISODOW"), DAYS, 3 if dialect in _SHORT else None)


def last_day(node: exp.Expr, _dialect: str) -> exp.Expr | None:
    """LAST_DAY(day) and EOMONTH(day), of a month, quarter or year."""
    unit = node.args.get("unit")
    name = "MONTH" if unit is None else unit.name.upper()
    months = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}.get(name)
    if months is None:
        return None
    following = exp.Add(this=_cut(_bare_value(node.this), name), expression=_interval(months, "MONTH"))
    return exp.Paren(this=exp.Sub(this=following, expression=_interval(1, "DAY")))


def _interval(count: int, unit: str) -> exp.Expr:
    value = _number(abs(count))
    return exp.Interval(this=value if count >= 0 else exp.Neg(this=value), unit=exp.var(unit))


# --- parts


def extracted(node: exp.Expr, _dialect: str) -> exp.Expr | None:
    """EXTRACT of what is no number of the calendar by itself: a date, a year and month, the years of an AGE.

    Of a difference there are the whole days, and the seconds; seconds are also counted since 1970.
    """
    name, value = node.this.name.upper(), node.expression
    apart = _difference(value)
    if name == "EPOCH":
        return _seconds(*(apart or (value, None)))
    if name in ("DAY", "DAYS") and apart is not None:
        return exp.TimestampDiff(this=apart[0].copy(), expression=apart[1].copy(), unit=exp.var("DAY"))
    if type(value) is exp.Anonymous and str(value.this).upper() == "AGE":
        return _aged(name, value.expressions)
    if name == "DATE":
        return exp.Cast(this=value.copy(), to=_kind(_Type.DATE))
    if name == "YEAR_MONTH":
        years = exp.Mul(this=_part(value, "YEAR"), expression=_number(100))
        return exp.Paren(this=exp.Add(this=years, expression=_part(value, "MONTH")))
    return None


def _aged(name: str, given: Sequence[exp.Expr]) -> exp.Expr | None:
    """Return the whole years between two dates; of the months and days of an AGE there is no name here."""
    if name not in ("YEAR", "YEARS") or len(given) not in (1, 2):
        return None
    until = given[0].copy() if len(given) == 2 else exp.CurrentDate()
    return exp.TimestampDiff(this=until, expression=given[-1].copy(), unit=exp.var("YEAR"))


def _difference(node: exp.Expr) -> tuple[exp.Expr, exp.Expr] | None:
    """Return the two sides of ``a - b``, of which none is an interval or a number that is written out."""
    bare = node.this if type(node) is exp.Paren else node
    if type(bare) is not exp.Sub or any(type(side) in (exp.Interval, exp.Literal) for side in bare.args.values()):
        return None
    return bare.this, bare.expression


def since_1970(node: exp.Expr, _dialect: str) -> exp.Expr:
    """EPOCH(x) of DuckDB and UNIX_SECONDS(x) of BigQuery; of a difference the seconds between its sides."""
    return _seconds(*(_difference(node.this) or (node.this, None)))


def _seconds(last: exp.Expr, first: exp.Expr | None) -> exp.Expr:
    """Return the seconds between two moments, whole ones as a number with decimals; since 1970 without a first one."""
    since = exp.cast(exp.Literal.string("1970-01-01"), _Type.TIMESTAMP) if first is None else first.copy()
    seconds = exp.var("SECOND")
    count = exp.DateDiff(this=last.copy(), expression=since, unit=seconds, date_part_boundary=True)
    return exp.Cast(this=count, to=_kind(_Type.DOUBLE))


_EXACT = ("week", "day", "hour", "minute", "second")
"""Units of which every one is as long as any other: what is further apart than so many is later than a move by them."""


def further(node: exp.Expr, _dialect: str) -> exp.Expr | None:
    """Return ``a - b > INTERVAL '2' HOUR`` as ``a > b + INTERVAL '2' HOUR``."""
    apart, away = _difference(node.this), node.expression
    unit = away.args.get("unit") if type(away) is exp.Interval else None
    if apart is None or unit is None or unit.name.lower().removesuffix("s") not in _EXACT:
        return None
    return type(node)(this=apart[0].copy(), expression=exp.Add(this=apart[1].copy(), expression=away.copy()))


def called(node: exp.Expr, dialect: str) -> exp.Expr | None:
    """Return a function of dates that the dialect's parser knows by its name alone."""
    args = list(node.expressions)
    match str(node.this).upper(), args:
        case (("DATESUB" | "DATE_SUB"), [exp.Literal() as unit, first, last]) if dialect == "duckdb":
            whole = exp.TimestampDiff(this=last.copy(), expression=first.copy(), unit=exp.var(unit.name.upper()))
            whole.meta[ENDS] = True
            return whole
        case "DATE_PART", [exp.Literal() as unit, value]:
            return extracted(exp.Extract(this=exp.var(unit.name), expression=value.copy()), dialect)
        case "WEEKDAY", [day] if dialect == "mysql":
            return exp.Paren(this=exp.Sub(this=_part(day, "ISODOW"), expression=_number(1)))
        case "WEEKDAY", [day] if dialect == "duckdb":
            return _part(day, "DOW")
        case ("ISODOW" | "ISOYEAR") as name, [day]:
            return _part(day, name)
    return None


# --- intervals of several units

_SEVERAL = re.compile(r"\s*([+-]?)\s*(\d{1,7})\s+([A-Za-z]+)\s*")
_ORDER = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")


def moved(node: exp.Expr, _dialect: str) -> exp.Expr | None:
    """Return ``x + INTERVAL '1 year 2 months'`` as a move for each unit, months before days, as PostgreSQL moves."""
    several = node.expression
    if type(several) is not exp.Interval or several.args.get("unit") is not None:
        return None
    written = _literal(several.this)
    if written is None or not re.fullmatch(f"({_SEVERAL.pattern})+", written):
        return None
    found = [(sign, int(count), unit.lower().removesuffix("s")) for sign, count, unit in _SEVERAL.findall(written)]
    units = [unit for _, _, unit in found]
    if len(set(units)) != len(units) or not set(units) <= set(_ORDER):
        return None
    whole = node.this.copy()
    for sign, count, unit in sorted(found, key=lambda part: _ORDER.index(part[2])):
        away = (type(node) is exp.Sub) ^ (sign == "-")
        step = exp.Interval(this=_number(count), unit=exp.var(unit.upper()))
        whole = (exp.Sub if away else exp.Add)(this=whole, expression=step)
    return exp.Paren(this=whole)


_DATED = tuple[Callable[[exp.Expr, str], exp.Expr | None], tuple[str, ...]]

MOMENTS: Mapping[type[exp.Expr], _DATED] = MappingProxyType(
    {
        exp.TimeToStr: (time_to_str, ("this", "format")),
        exp.ToChar: (to_char, ("this", "format", "_type")),
        exp.Convert: (styled, ("this", "expression", "style")),
        exp.Monthname: (month_name, ("this", "abbreviated")),
        exp.Dayname: (day_name, ("this", "abbreviated")),
        exp.LastDay: (last_day, ("this", "unit")),
        exp.Extract: (extracted, ("this", "expression")),
        exp.TimeToUnix: (since_1970, ("this",)),
        exp.UnixSeconds: (since_1970, ("this",)),
        exp.Anonymous: (called, ("this", "expressions")),
        **dict.fromkeys((exp.GT, exp.GTE, exp.LT, exp.LTE), (further, ("this", "expression"))),
        exp.Add: (moved, ("this", "expression")),
        exp.Sub: (moved, ("this", "expression")),
    }
)
