"""Lower window functions below the frontier: each row's place among the rows of its owner, and what stands around it.

``ROW_NUMBER() OVER (PARTITION BY person_id ORDER BY day)``
→  ``Window(…, row_number, partition [person_id], order [day], ties broken by every column)``

Why this is sound: a partition is asked for that says whose rows they are, and the rewriting adds the owner to it, so
that no value is made of two people's rows. Where the order of rows decides, every column of the input is appended to
it: rows that still tie are identical, so that it does not matter which of them comes first. RANK, DENSE_RANK and
aggregates over RANGE frames, of days too, treat ties alike, and need no such order. Sums are of exact integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from sqlglot import exp

from gateway.errors import SqlRefused
from gateway.sql.algebra import (
    Call,
    Constant,
    Filter,
    Frame,
    Kind,
    Ordering,
    Ref,
    Relation,
    Scalar,
    Window,
    WindowFunction,
    references,
)
from gateway.sql.below.folds import FOLDED, aggregated, bounded, names_owner
from gateway.sql.functions import Level
from gateway.sql.inference.facts import Facts, facts, window_known
from gateway.sql.inference.known import Known, known
from gateway.sql.refusals import refuse
from gateway.sql.scalars.constants import as_kind
from gateway.sql.scalars.dates import interval
from gateway.sql.scalars.names import RowNames
from gateway.sql.scalars.resolve import Context, matches, only
from gateway.sql.scalars.scalar import scalar

_PLACES = {exp.RowNumber: "row_number", exp.Rank: "rank", exp.DenseRank: "dense_rank"}
_PICKED = {exp.Lag: "lag", exp.Lead: "lead", exp.FirstValue: "first_value", exp.LastValue: "last_value"}
MOST_AWAY = 1_000_000
"""How many rows away from the current one a frame or an offset reaches at most."""

_WHOLE = Frame("rows", None, None)
_SO_FAR = Frame("range", None, 0)
_FRAMED = (
    "Write ROWS BETWEEN … AND …, with UNBOUNDED, CURRENT ROW or numbers; RANGE with INTERVAL '30' DAY beside a date."
)
_FIRST_DAY = date(1, 1, 1)
MOST_DAYS = 4_000_000
"""No two dates are further apart."""


@dataclass(slots=True)
class Aliased:
    """What names mean where those of the select list may be used too: a column's own meaning first."""

    names: RowNames
    aliases: Sequence[tuple[str, Scalar]]
    level: Level = field(default="row", init=False)

    def column(self, node: exp.Column) -> Scalar:
        """Return what a column means, or the item of the select list that it calls by name."""
        try:
            return self.names.column(node)
        except SqlRefused:
            for name, meaning in self.aliases:
                if node.args.get("table") is None and matches(node.this, name):
                    return meaning
            raise

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return what a whole expression means."""
        return self.names.whole(node)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of a column."""
        return self.names.scale(ref)

    def known(self, found: Scalar) -> Known:
        """Return what is known of an expression over the columns in reach."""
        return self.names.known(found)


class WindowNames:
    """What names mean where window functions may stand: what they mean without, and each window under a new name."""

    level: Level = "row"

    def __init__(self, names: RowNames, number: int, rows: int | None) -> None:
        self.names, self.number, self.rows = names, number, rows
        self.functions: list[tuple[str, WindowFunction, exp.Expression]] = []

    def column(self, node: exp.Column) -> Scalar:
        """Return what a column means without windows."""
        return self.names.column(node)

    def scale(self, ref: Ref) -> int | None:
        """Return the decimals of a column; those of what a window picks, and 0 of a place."""
        found = next((function for name, function, _ in self.functions if name == ref.name), None)
        if found is None:
            return self.names.scale(ref)
        if ref.kind == "integer":
            return 0
        return self.names.scale(found.argument) if isinstance(found.argument, Ref) else None

    def known(self, found: Scalar) -> Known:
        """Return what is known of an expression over columns and windows."""
        windows = {name: function for name, function, _ in self.functions}
        columns = {name: self.names.known(Ref(name, found.kind)) for name in references(found) if name not in windows}
        for name in references(found) & windows.keys():
            function = windows[name]
            read = [] if function.argument is None else references(function.argument)
            below = {each: self.names.known(Ref(each, found.kind)) for each in read}
            columns[name] = window_known(function, Facts(below, True, None, self.rows, one_row=False))
        return known(found, columns)

    def whole(self, node: exp.Expression) -> Scalar | None:
        """Return the window that an expression is, under a name; else what it means without."""
        if type(node) is not exp.Window:
            return self.names.whole(node)
        only(node, "this", "partition_by", "order", "spec", "over", code="window-unsupported")
        function = self._function(node)
        for name, known_, _ in self.functions:
            if known_ == function:
                return Ref(name, _kind(function))
        name = f"w{len(self.functions)}#{self.number}"
        self.functions.append((name, function, node))
        return Ref(name, _kind(function))

    def _function(self, node: exp.Window) -> WindowFunction:
        partition = tuple(scalar(item, self.names) for item in node.args.get("partition_by") or ())
        order: tuple[Ordering, ...] = ()
        if node.args.get("order") is not None:
            only(node.args["order"], "expressions")
            order = tuple(ordering(item, self.names) for item in node.args["order"].expressions)
        frame = _frame(node.args.get("spec"), ordered=bool(order))
        if _by_distance(frame):
            order = (_in_days(order, node),)
        inner = node.this
        if type(inner) in _PLACES:
            only(inner, code="window-unsupported")
            kind = _PLACES[type(inner)]
            # Equal places are equal by rank, whatever else a row holds; a number has to tell every two rows apart.
            return WindowFunction(kind, None, partition, order, None, 1, None, ties=kind == "row_number")  # type: ignore[arg-type]
        if type(inner) in _PICKED:
            return self._picked(node, _PICKED[type(inner)], partition, order, frame)
        plain = inner.this if type(inner) is exp.Filter else inner
        found = aggregated(inner, self.names) if type(plain) in (*FOLDED, exp.CountIf) else None
        if found is None or found.kind == "count_distinct":
            refuse("window-unsupported", node)
        ties = frame.unit == "rows" and frame != _WHOLE
        return WindowFunction(found.kind, found.argument, partition, order, frame, 1, None, ties)  # type: ignore[arg-type]

    def _picked(
        self, node: exp.Window, kind: str, partition: tuple[Scalar, ...], order: tuple[Ordering, ...], frame: Frame
    ) -> WindowFunction:
        inner = node.this
        only(inner, "this", *(("offset", "default") if kind in ("lag", "lead") else ()), code="window-unsupported")
        argument = scalar(inner.this, self.names)
        if isinstance(argument, Constant):
            refuse("window-unsupported", inner, message="This window function takes a column.")
        if kind in ("lag", "lead"):
            offset = _steps(inner.args.get("offset"), node)
            default = inner.args.get("default")
            otherwise = None if default is None else scalar(default, self.names)
            if otherwise is not None and not isinstance(otherwise, Constant):
                refuse("window-unsupported", default, message="The default of a window function is a constant.")
            given = None if otherwise is None else as_kind(otherwise, argument.kind, node)
            if given is not None and not _fits(given):
                hint = "Write COALESCE(LAG(…) OVER (…), …) around it."
                refuse("window-unsupported", default, message="This default may not fit the column.", hint=hint)
            return WindowFunction(kind, argument, partition, order, None, offset, given, ties=True)  # type: ignore[arg-type]
        if frame == _SO_FAR:
            # The first row so far is the first of all; which of the rows that tie with this one is last, nothing says.
            if kind == "last_value":
                refuse("window-unsupported", node, message="LAST_VALUE needs a frame of rows.", hint=_FRAMED)
            frame = Frame("rows", None, 0)
        if frame.unit == "range":
            refuse("window-unsupported", node, hint=_FRAMED)
        return WindowFunction(kind, argument, partition, order, frame, 1, None, ties=True)  # type: ignore[arg-type]

    def over(self, relation: Relation, context: Context, node: exp.Expression) -> Relation:
        """Return a relation with its windows beside its columns; refuse those that reach across owners."""
        if not self.functions:
            return relation
        about = facts(relation, context.dataset)
        for _, function, where in self.functions:
            if about.private and not names_owner(function.partition, about, context):
                owner = next((f.origin[1] for f in about.columns.values() if f.owner and f.origin is not None), None)
                hint = None if owner is None else f"Write PARTITION BY {owner}, and what else there is."
                refuse("window-crosses-owners", where, hint=hint)
            if function.frame is not None and _by_distance(function.frame) and context.dataset.dialect == "mysql":
                refuse("window-unsupported", where, message="MariaDB orders no NULL among distances.", hint=_FRAMED)
            if function.kind in ("sum", "average") and function.argument is not None:
                bounded(function.argument, about, where)
        return Window(relation, context.number(node), tuple((name, function) for name, function, _ in self.functions))


def _fits(default: Constant) -> bool:
    """Whether every column of its kind can hold a default, which engines turn into the column's own type.

    The narrowest whole numbers are bytes without a sign, the narrowest decimals below one; elsewhere any value fits.
    """
    if default.kind == "decimal":
        return default.value in (None, 0)
    return default.kind != "integer" or (isinstance(default.value, int) and 0 <= default.value <= 127)


def _kind(function: WindowFunction) -> Kind:
    match function.kind:
        case "row_number" | "rank" | "dense_rank" | "count" | "count_rows":
            return "integer"
        case "average":
            return "float"
        case "sum":
            return "integer" if function.argument is not None and function.argument.kind == "integer" else "float"
        case _:
            assert function.argument is not None
            return function.argument.kind


def _frame(node: exp.Expression | None, *, ordered: bool) -> Frame:
    """Return the frame that a window writes out, or the one that it has without."""
    if node is None:
        return _SO_FAR if ordered else _WHOLE
    only(node, "kind", "start", "start_side", "end", "end_side", code="window-unsupported")
    unit = str(node.args.get("kind") or "").upper()
    if unit not in ("ROWS", "RANGE"):
        refuse("window-unsupported", node, hint=_FRAMED)
    away = _days if unit == "RANGE" else _steps
    first = _end(node, "start", away, before=True)
    last = 0 if node.args.get("end") is None else _end(node, "end", away, before=False)
    if first is not None and last is not None and first > last:
        refuse("window-unsupported", node, message="This frame ends before it begins.")
    if unit == "RANGE":
        return Frame("range", first, last) if (first, last) != (None, None) else _WHOLE
    return Frame("rows", first, last)


def _by_distance(frame: Frame) -> bool:
    """Whether a frame reaches as far as a distance between values of its order, which has to be one key then."""
    return frame.unit == "range" and any(end not in (None, 0) for end in (frame.first, frame.last))


def _in_days(order: Sequence[Ordering], node: exp.Expression) -> Ordering:
    """Return an order of dates as one of whole days, whose distances every engine counts alike.

    Why no sum of a day and a distance overflows: the days are those of the years 1 to 9999.
    """
    if len(order) != 1 or order[0].by.kind != "date":
        refuse("window-unsupported", node, message="RANGE with a distance takes one ORDER BY, of dates.", hint=_FRAMED)
    days = Call("days_between", (Constant(_FIRST_DAY, "date"), order[0].by), "integer")
    return replace(order[0], by=days)


def _days(value: object, node: exp.Expression) -> int:
    """Return the days of an interval that is written out."""
    if not isinstance(value, exp.Interval):
        refuse("window-unsupported", node, hint=_FRAMED)
    amount, unit = interval(value)
    days = amount * (7 if unit == "week" else 1)
    if unit not in ("day", "week") or not 0 <= days <= MOST_DAYS:
        refuse("window-unsupported", node, message="Distances here are whole days or weeks.", hint=_FRAMED)
    return days


def _end(node: exp.Expression, name: str, away: Callable[[object, exp.Expression], int], *, before: bool) -> int | None:
    """Return how many rows or days away a frame ends, negative before the current row; None for the partition's own
    end.
    """
    value, side = node.args.get(name), str(node.args.get(f"{name}_side") or "").upper()
    if side not in (("",) if value == "CURRENT ROW" else ("PRECEDING", "FOLLOWING")):
        refuse("window-unsupported", node, hint=_FRAMED)
    if value == "CURRENT ROW":
        return 0
    if value == "UNBOUNDED":
        if side != ("PRECEDING" if before else "FOLLOWING"):
            refuse("window-unsupported", node, message="This frame ends before it begins.")
        return None
    steps = away(value, node)
    return -steps if side == "PRECEDING" else steps


def _steps(value: object, node: exp.Expression) -> int:
    """Return a number of rows that is written out; one if none is."""
    if value is None:
        return 1
    if type(value) is not exp.Literal or value.args.get("is_string") or not value.this.isdigit():
        refuse("window-unsupported", node, hint=_FRAMED)
    only(value, "this")
    if len(value.this) > 9 or int(value.this) > MOST_AWAY:
        refuse("window-unsupported", node, hint=f"At most {MOST_AWAY} rows away.")
    return int(value.this)


def ordering(node: exp.Expression, names: RowNames) -> Ordering:
    """Return an item of ORDER BY over rows."""
    if type(node) is not exp.Ordered:
        refuse("order-invalid", node)
    only(node, "this", "desc", "nulls_first")
    by = scalar(node.this, names)
    return Ordering(by, bool(node.args.get("desc")), bool(node.args.get("nulls_first")))


def first_rows(
    relation: Relation,
    partition: Sequence[Scalar],
    order: Sequence[Ordering],
    between: tuple[int, int | None],
    number: int,
) -> Relation:
    """Return the rows of each partition after the first so many, and at most so many of them, in an order.

    The order is total: ties are broken by every column.
    """
    name, (skipped, most) = f"r#{number}", between
    function = WindowFunction("row_number", None, tuple(partition), tuple(order), None, 1, None, ties=True)
    tests = [Call("gt", (Ref(name, "integer"), Constant(skipped, "integer")), "boolean")]
    if most is not None:
        tests.append(Call("lte", (Ref(name, "integer"), Constant(skipped + most, "integer")), "boolean"))
    ranked = Window(relation, number, ((name, function),))
    return Filter(ranked, tests[0] if len(tests) == 1 else Call("and", tuple(tests), "boolean"))
