"""Write out what SQL and its dialects abbreviate, so that lowering knows the long form alone.

``SUM(x) OVER w … WINDOW w AS (PARTITION BY a)``  →  ``SUM(x) OVER (PARTITION BY a)``
``(a, b) IN ((1, 2), (3, 4))``  →  ``(a = 1 AND b = 2) OR (a = 3 AND b = 4)``
``NVL2(a, b, c)``  →  ``CASE WHEN NOT a IS NULL THEN b ELSE c END``

Why this is sound: only trees of the text are rewritten, before any of it is understood; the long form passes every rule
that it would pass if the analyst had written it. A node with an argument that is not read here is left as it is, so
that lowering, which denies by default, refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from sqlglot import exp

from gateway.sql.reading.moments import MOMENTS
from gateway.sql.reading.patterns import PATTERNS
from gateway.sql.reading.semijoins import semi_joins
from gateway.sql.refusals import refuse

MOST_WRITTEN = 20_000
"""Nodes that a list of rows, or of patterns, may become."""

_Type = exp.DataType.Type


def _bare(node: exp.Expr, *read: str) -> bool:
    """Whether a node has no filled argument besides those that are read."""
    return all(name in read or value in (None, False, []) for name, value in node.args.items())


# --- windows by their names


def named_windows(select: exp.Select) -> None:
    """Write the windows that a SELECT names out where they are used; a name that is not there is refused."""
    windows: dict[str, exp.Window] = {}
    for window in select.args.get("windows") or ():
        if not isinstance(window, exp.Window) or not isinstance(window.this, exp.Identifier):
            refuse("window-unsupported", select)
        name = window.this.name.lower()
        if name in windows:
            refuse("window-unsupported", window.this, message="Two windows have the same name.")
        if window.args.get("alias") is not None:
            _inherit(window, windows)
        windows[name] = window
    select.set("windows", None)
    for used in list(select.find_all(exp.Window)):
        if used.args.get("alias") is not None and used.parent_select is select:
            _inherit(used, windows)


def _inherit(window: exp.Window, windows: Mapping[str, exp.Window]) -> None:
    """Give a window what the one that it names says: its partition, its order, its frame.

    Why two of a kind are refused: which of them holds is not for us to guess. (SQL lets a window add an order and a
    frame to what it names, and nothing else.)
    """
    name = window.args["alias"]
    found = windows.get(name.name.lower()) if isinstance(name, exp.Identifier) else None
    if found is None:
        refuse("window-unsupported", name, message="No window of that name is declared.")
    for part in ("partition_by", "order", "spec"):
        told = found.args.get(part)
        if window.args.get(part) and (told or part == "partition_by"):
            refuse("window-unsupported", name, message="A window adds an order or a frame to the one that it names.")
        if told:
            window.set(part, [each.copy() for each in told] if isinstance(told, list) else told.copy())
    window.set("alias", None)


# --- GROUP BY ALL


def everything(select: exp.Select) -> None:
    """Write GROUP BY ALL and ORDER BY ALL out as positions of the select list.

    Groups are the items that read a column and hold no aggregate, window, subquery, nor the alias of an item that does.
    """
    group, order = select.args.get("group"), select.args.get("order")
    if group is not None and group.args.get("all") is True and _bare(group, "all"):
        keys = [exp.Literal.number(at) for at in _grouped(select)]
        select.set("group", exp.Group(expressions=keys) if keys else None)
    items = [] if order is None else order.expressions
    [only] = items if len(items) == 1 else [None]
    if order is None or type(only) is not exp.Ordered or type(only.this) is not exp.Var:
        return
    if only.this.name.upper() == "ALL":
        written = []
        for at, item in enumerate(select.expressions, 1):
            _not_starred(item, "order by")
            written.append(only.copy())
            written[-1].set("this", exp.Literal.number(at))
        order.set("expressions", written)


def constant_keys(select: exp.Select) -> None:
    """Take from GROUP BY what is written out, or the position of an item that is: one value parts no rows.

    Where nothing else is grouped by, of the outermost query alone: of no rows it then has one group, and not none.
    """
    group = select.args.get("group")
    if group is None or not _bare(group, "expressions"):
        return
    kept = [key for key in group.expressions if not _written_out(key, select)]
    alone = select.parent is None and any(item.find(exp.AggFunc) for item in select.expressions)
    if len(kept) < len(group.expressions) and (kept or alone):
        select.set("group", exp.Group(expressions=kept) if kept else None)


def _written_out(key: exp.Expr, select: exp.Select) -> bool:
    if type(key) is not exp.Literal or key.args.get("is_string"):
        return type(key) is exp.Literal
    items = select.expressions[int(key.name) - 1 : int(key.name)] if re.fullmatch("[1-9][0-9]{0,3}", key.name) else []
    return any(type(item.this if type(item) is exp.Alias else item) is exp.Literal for item in items)


def _not_starred(item: exp.Expr, what: str) -> None:
    if item.is_star and isinstance(item, exp.Expression):
        refuse("not-supported", item, message="ALL stands for no star.", hint=f"Name the columns to {what}.")


def _grouped(select: exp.Select) -> list[int]:
    """Return the positions of the items that GROUP BY ALL groups by."""
    computed: set[str] = set()
    found = []
    for at, item in enumerate(select.expressions, 1):
        if type(item) is not exp.Count:
            _not_starred(item, "group by")
        meant = item.this if type(item) is exp.Alias else item
        columns = [node for node in meant.walk() if type(node) is exp.Column]
        named = any(node.args.get("table") is None and node.name.lower() in computed for node in columns)
        if named or meant.find(exp.AggFunc, exp.Window, exp.Query) is not None:
            computed.add(item.alias.lower())
        elif columns:
            found.append(at)
    return found


# --- rows and lists


def _all(parts: Sequence[exp.Expr], word: type[exp.And | exp.Or]) -> exp.Expr:
    found = parts[0]
    for part in parts[1:]:
        found = word(this=found, expression=part)
    return found if len(parts) == 1 else exp.Paren(this=found)


def _equal(left: exp.Tuple, right: exp.Tuple) -> exp.Expr | None:
    """Return the equality of two rows, column by column; None of rows that have not as many."""
    if not _bare(left, "expressions") or not _bare(right, "expressions"):
        return None
    pairs = list(zip(left.expressions, right.expressions, strict=False))
    if len(pairs) < 2 or len(left.expressions) != len(right.expressions):
        return None
    return _all([exp.EQ(this=here.copy(), expression=there.copy()) for here, there in pairs], exp.And)


def _member(node: exp.Expr) -> exp.Expr | None:
    """Return IN of a list of rows, or of an array that is written out."""
    subject = node.this
    if node.args.get("unnest") is not None and _bare(node, "this", "unnest"):
        [*arrays] = node.args["unnest"].expressions
        listed = _array(arrays[0]) if len(arrays) == 1 and _bare(node.args["unnest"], "expressions") else None
        return None if listed is None else exp.In(this=subject.copy(), expressions=listed)
    if type(subject) is not exp.Tuple or not _bare(node, "this", "expressions") or not node.expressions:
        return None
    rows = [_equal(subject, row) if type(row) is exp.Tuple else None for row in node.expressions]
    return _all([row for row in rows if row is not None], exp.Or) if all(rows) else None


def _array(node: exp.Expr | None) -> list[exp.Expr] | None:
    """Return the items of an array or a list that is written out, None of anything else."""
    while type(node) is exp.Paren:
        node = node.this
    if type(node) is exp.Tuple and _bare(node, "expressions"):
        return [item.copy() for item in node.expressions] or None
    marks = ("value_constructor", "struct_name_inheritance")  # how it was written
    if type(node) is exp.Array and _bare(node, "expressions", *marks):
        return [item.copy() for item in node.expressions] or None
    return None


def _compared(node: exp.Expr) -> exp.Expr | None:
    """Return = of two rows, ``= ANY`` and ``<> ALL`` of an array that is written out."""
    left, right = node.this, node.expression
    equal = type(node) is exp.EQ
    if type(left) is exp.Tuple and type(right) is exp.Tuple:
        found = _equal(left, right)
        return found if found is None or equal else exp.Not(this=exp.Paren(this=found))
    wanted: type[exp.Expr] = exp.Any if equal else exp.All
    listed: list[exp.Expr] | None = None
    if type(right) is wanted and _bare(right, "this"):
        listed = _array(right.this)
    elif not equal and type(right) is exp.Anonymous and str(right.this).upper() == "ALL":
        [*many] = right.expressions
        listed = _array(many[0]) if len(many) == 1 else [item.copy() for item in many]
    if listed is None:
        return None
    member = exp.In(this=left.copy(), expressions=listed)
    return member if equal else exp.Not(this=member)


_STRICT: Mapping[type[exp.Expr], type[exp.Expr]] = MappingProxyType(
    {exp.GT: exp.GT, exp.GTE: exp.GT, exp.LT: exp.LT, exp.LTE: exp.LT}
)


def _before(node: exp.Expr) -> exp.Expr | None:
    """Return ``(a, b) < (c, d)`` as ``a < c OR (a = c AND b < d)``."""
    left, right = node.this, node.expression
    rows = type(left) is exp.Tuple and type(right) is exp.Tuple and _equal(left, right) is not None
    if not rows:
        return None
    pairs = list(zip(left.expressions, right.expressions, strict=True))
    here, there = pairs[-1]
    found: exp.Expr = type(node)(this=here.copy(), expression=there.copy())
    for here, there in reversed(pairs[:-1]):
        same = exp.EQ(this=here.copy(), expression=there.copy())
        strict = _STRICT[type(node)](this=here.copy(), expression=there.copy())
        found = exp.Paren(this=exp.Or(this=strict, expression=exp.And(this=same, expression=found)))
    return found


def _symmetric(node: exp.Expr) -> exp.Expr | None:
    """Return BETWEEN SYMMETRIC as BETWEEN in either order."""
    if not node.args.get("symmetric"):
        return None
    ends = (node.args["low"], node.args["high"])
    both = [exp.Between(this=node.this.copy(), low=a.copy(), high=b.copy()) for a, b in (ends, ends[::-1])]
    return _all(both, exp.Or)


def _patterns(node: exp.Expr) -> exp.Expr | None:
    """Return LIKE ANY and LIKE ALL of patterns that are written out."""
    many = node.expression
    if type(many) not in (exp.Any, exp.All) or not _bare(many, "this") or not _bare(node, "this", "expression"):
        return None
    listed = _array(many.this)
    if listed is None:
        return None
    each = [type(node)(this=node.this.copy(), expression=pattern) for pattern in listed]
    return _all(each, exp.Or if type(many) is exp.Any else exp.And)


# --- functions that are others by another name


def _either(node: exp.Expr) -> exp.Expr | None:
    """NVL2(a, b, c)."""
    present = exp.Not(this=exp.Is(this=node.this.copy(), expression=exp.Null()))
    return exp.Case(ifs=[exp.If(this=present, true=node.args["true"].copy())], default=_copied(node.args.get("false")))


def _copied(node: exp.Expr | None) -> exp.Expr | None:
    return None if node is None else node.copy()


def _decoded(node: exp.Expr) -> exp.Expr | None:
    """DECODE(a, 1, 'x', 2, 'y', 'z'), in which NULL equals NULL."""
    subject, *rest = node.expressions
    if len(rest) < 2:
        return None
    pairs = [(rest[at], rest[at + 1]) for at in range(0, len(rest) - 1, 2)]
    ifs = [exp.If(this=exp.NullSafeEQ(this=subject.copy(), expression=a.copy()), true=b.copy()) for a, b in pairs]
    return exp.Case(ifs=ifs, default=rest[-1].copy() if len(rest) % 2 else None)


def _converted(node: exp.Expr) -> exp.Expr | None:
    """CONVERT(INT, x), in which the type comes first."""
    cast = exp.TryCast if node.args.get("safe") else exp.Cast
    return cast(this=node.expression.copy(), to=node.this.copy())


def _as(kind: exp.DType) -> Callable[[exp.Expr], exp.Expr | None]:
    return lambda node: exp.Cast(this=node.this.copy(), to=exp.DataType(this=kind, nested=False))


def _date(node: exp.Expr) -> exp.Expr | None:
    parts = [node.args.get(name) for name in ("year", "month", "day")]
    return _written_date(parts) or _begun(*parts)


def _begun(year: exp.Expr | None, month: exp.Expr | None, day: exp.Expr | None) -> exp.Expr | None:
    """Return the first day of the month, or of the year, that a day is in: MAKE_DATE(YEAR(d), MONTH(d), 1)."""
    ones = [type(each) is exp.Literal and each.this == "1" and not each.args.get("is_string") for each in (month, day)]
    if type(year) is not exp.Year or not _bare(year, "this") or not ones[1]:
        return None
    if not ones[0] and (type(month) is not exp.Month or not _bare(month, "this") or month.this != year.this):
        return None
    truncated = exp.TimestampTrunc(this=year.this.copy(), unit=exp.var("YEAR" if ones[0] else "MONTH"))
    return exp.Cast(this=truncated, to=exp.DataType(this=_Type.DATE, nested=False))


def _negated(node: exp.Expr) -> exp.Expr | None:
    """Return ``30 * -1`` as ``-30``: so some parsers write what is taken away."""
    number, sign = node.this, node.expression
    minus = type(sign) is exp.Neg and type(sign.this) is exp.Literal and sign.this.this == "1"
    if not minus or type(number) is not exp.Literal or not number.this.isdigit():
        return None
    return exp.Neg(this=number.copy())


def _share(node: exp.Expr) -> exp.Expr | None:
    """Return RATIO_TO_REPORT(x) OVER (…) as what it is: x / SUM(x) OVER (…)."""
    function = node.this
    if type(function) is not exp.Anonymous or str(function.this).upper() != "RATIO_TO_REPORT":
        return None
    if len(function.expressions) != 1 or node.args.get("order") is not None:
        return None
    [amount] = function.expressions
    whole = node.copy()
    whole.set("this", exp.Sum(this=amount.copy()))
    return exp.Div(this=exp.Paren(this=amount.copy()), expression=whole, typed=False, safe=False)


def _counted(node: exp.Expr) -> exp.Expr | None:
    """Return COUNT() as COUNT(*)."""
    return None if node.this is not None else exp.Count(this=exp.Star(), big_int=node.args.get("big_int"))


def _written_date(parts: Sequence[exp.Expr | None]) -> exp.Expr | None:
    """Return the date of a year, a month and a day that are written out."""
    numbers = [p.this for p in parts if type(p) is exp.Literal and not p.args.get("is_string") and p.this.isdigit()]
    if len(numbers) != 3 or len(parts) != 3 or any(len(number) > 4 for number in numbers):
        return None
    year, month, day = (int(number) for number in numbers)
    text = exp.Literal.string(f"{year:04}-{month:02}-{day:02}")
    assert parts[0] is not None
    text.meta.update(parts[0].meta)
    return exp.Cast(this=text, to=exp.DataType(this=_Type.DATE, nested=False))


def _monthly(node: exp.Expr) -> exp.Expr | None:
    return exp.DateAdd(this=node.this.copy(), expression=node.expression.copy(), unit=exp.var("MONTH"))


def _unparsed(node: exp.Expr) -> exp.Expr | None:
    """Return a function that the dialect's parser knows by its name alone."""
    args = [arg.copy() for arg in node.expressions]
    match str(node.this).upper(), args:
        case "MID", [text, start, length]:
            return exp.Substring(this=text, start=start, length=length)
        case "MAKE_DATE", _:
            return _written_date(node.expressions)
        case "ADDDATE", [day, days]:
            return exp.DateAdd(this=day, expression=days, unit=exp.var("DAY"))
        case "ISNULL", [value]:
            return exp.Paren(this=exp.Is(this=value, expression=exp.Null()))
        case "ISNOTNULL", [value]:
            return exp.Not(this=exp.Is(this=value, expression=exp.Null()))
    return None


def _distinct(node: exp.Expr) -> exp.Expr | None:
    """APPROX_COUNT_DISTINCT(x), whose accuracy is that of the noise here."""
    return exp.Count(this=exp.Distinct(expressions=[node.this.copy()]))


def _rolled(node: exp.Expr) -> exp.Expr | None:
    """GROUP BY a, b WITH ROLLUP (or WITH CUBE)."""
    for name in ("rollup", "cube"):
        found = node.args.get(name) or []
        if len(found) == 1 and not found[0].expressions and node.expressions and _bare(node, "expressions", name):
            whole = type(found[0])(expressions=[item.copy() for item in node.expressions])
            return exp.Group(expressions=[whole])
    return None


def _summed(node: exp.Expr) -> exp.Expr | None:
    """SUM(1), which tools write for the number of rows; SUM over nothing is 0 here, as COUNT is."""
    if type(node.this) is not exp.Literal or node.this.args.get("is_string") or node.this.name != "1":
        return None
    found = exp.Count(this=exp.Star(), big_int=True)
    found.meta.update(node.meta)
    return found


_Rewrite = tuple[Callable[[exp.Expr], exp.Expr | None], tuple[str, ...]]

_LONG: Mapping[type[exp.Expr], _Rewrite] = MappingProxyType(
    {
        exp.In: (_member, ("this", "expressions", "unnest")),
        exp.EQ: (_compared, ("this", "expression")),
        exp.NEQ: (_compared, ("this", "expression")),
        **dict.fromkeys(_STRICT, (_before, ("this", "expression"))),
        exp.Between: (_symmetric, ("this", "low", "high", "symmetric")),
        exp.ApproxDistinct: (_distinct, ("this", "accuracy")),
        exp.Like: (_patterns, ("this", "expression")),
        exp.ILike: (_patterns, ("this", "expression")),
        exp.Nvl2: (_either, ("this", "true", "false")),
        exp.DecodeCase: (_decoded, ("expressions",)),
        exp.EqualNull: (
            lambda n: exp.NullSafeEQ(this=n.this.copy(), expression=n.expression.copy()),
            ("this", "expression"),
        ),
        exp.Convert: (_converted, ("this", "expression", "safe")),
        exp.ToChar: (_as(_Type.TEXT), ("this",)),
        exp.Timestamp: (_as(_Type.TIMESTAMP), ("this", "with_tz")),
        exp.TsOrDsToDatetime: (_as(_Type.TIMESTAMP), ("this",)),
        exp.DateFromParts: (_date, ("year", "month", "day", "allow_overflow")),  # of 13 months, which is refused
        exp.Mul: (_negated, ("this", "expression")),
        exp.Window: (_share, ("this", "partition_by", "over")),
        exp.Count: (_counted, ("this", "expressions", "big_int")),
        exp.Sum: (_summed, ("this",)),
        exp.UtcDate: (lambda _: exp.CurrentDate(), ()),
        exp.AddMonths: (_monthly, ("this", "expression")),
        exp.Anonymous: (_unparsed, ("this", "expressions")),
        exp.Group: (_rolled, ("expressions", "rollup", "cube")),
        **PATTERNS,
    }
)


def _long(node: exp.Expr, dialect: str) -> exp.Expr | None:
    """Return the long form of a node, None of what is no abbreviation."""
    found, rewrite, dated = None, _LONG.get(type(node)), MOMENTS.get(type(node))
    if rewrite is not None and _bare(node, *rewrite[1]):
        found = rewrite[0](node)
    if found is None and dated is not None and _bare(node, *dated[1]):
        found = dated[0](node, dialect)
    return found


def write_out(tree: exp.Expr, dialect: str) -> None:
    """Rewrite a tree in place, inner abbreviations first."""
    for select in list(tree.find_all(exp.Select)):
        semi_joins(select)
        named_windows(select)
        everything(select)
        constant_keys(select)
    written = 0
    for node in reversed(list(tree.walk())):
        found = _long(node, dialect)
        if found is None:
            continue
        written += sum(1 for _ in found.walk())
        if written > MOST_WRITTEN:
            refuse("sql-too-deep", node if isinstance(node, exp.Expression) else None, hint="Write shorter lists.")
        node.replace(found)
