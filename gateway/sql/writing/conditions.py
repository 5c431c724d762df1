"""Write conditions so that engines can use them: on the column as it is stored, beside what keeps its canonical values.

``(CASE WHEN day BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN day END) < DATE '2020-02-01'`` →
``day < DATE '2020-02-01' AND day >= DATE '0001-01-01'``

Neither the least and greatest values that engines keep of blocks of rows nor any index apply to a CASE.

Why this is sound: a canonical column is the stored one wherever the conditions of ``Kept`` hold, and NULL elsewhere. So
a comparison of it is true exactly where those hold and the comparison of the stored column is true. It may be NULL
where this is false, so that it is written only where the two mean the same: as what WHERE, ON and EXISTS ask, and below
AND and OR there; below NOT, CASE and IS NULL columns stay canonical. Ends of what is kept are left out where another
conjunct implies them: what is above a constant is above the lowest value that is kept. Whether a row is kept is as much
a function of the row alone as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.policy.model import Column, Dialect, Table
from gateway.sql.algebra import Call, Constant, Ref, Scalar, conjuncts
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.dialects.writer import Kept
from gateway.sql.writing.render import canonical, constant, scalar

_WORDS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_UP, _DOWN = frozenset({"gt", "gte"}), frozenset({"lt", "lte"})


@dataclass(frozen=True, slots=True)
class Bare:
    """A column of a table and how it is written there as it is stored."""

    column: Column
    raw: str


def bare_column(column: Column, table: str, dialect: Dialect) -> Bare:
    """Return a column of a table as it is stored; ``table`` is what the table is called there."""
    return Bare(column, f"{table}.{writer(dialect).identifier(column.name)}")


@dataclass(frozen=True, slots=True)
class _Said:
    """A condition on stored columns: what is needed beside it, and which such needs of others it implies."""

    sql: str
    needs: Sequence[str]
    implies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """How conditions over some columns are written: each column canonical, and as it is stored where that is known."""

    columns: Mapping[str, str]
    bare: Mapping[str, Bare]
    dialect: Dialect
    _kept: dict[str, Kept | None] = field(default_factory=dict, repr=False, compare=False)

    def scalar(self, found: Scalar) -> str:
        """Return a scalar over the columns."""
        return scalar(found, self.columns.__getitem__, self.dialect, self._of)

    def write(self, predicate: Scalar) -> str:
        """Return a condition that is true of the rows of which a predicate is, and of no others; else false or NULL."""
        said, needs, implied = [], dict[str, None](), set[str]()
        for part in conjuncts(predicate):
            found = self._said(part)
            said.append(found.sql)
            needs |= dict.fromkeys(found.needs)
            implied |= {*found.implies}
        parts = [*said, *(f"({need})" for need in needs if need not in implied)]
        return parts[0] if len(parts) == 1 else f"({writer(self.dialect).joined(parts, ' AND ')})"

    def _said(self, part: Scalar) -> _Said:
        match part:
            case Call("or", parts):
                return self._either(parts)
            case Call(function, (left, right)) if function in _WORDS:
                return self._compared(function, left, right) or self._canonical(part)
            case Call("not", (Call("is_null", (Ref(name),)),)):
                kept = self._of(name)
                return self._canonical(part) if kept is None else _Said(f"({kept.sql} IS NOT NULL)", kept.all)
        return self._canonical(part)

    def _canonical(self, part: Scalar) -> _Said:
        return _Said(self.scalar(part), ())

    def _compared(self, function: str, left: Scalar, right: Scalar) -> _Said | None:
        """Return a comparison of which a side is a stored column, None if none is."""
        first, second = self._stored(left), self._stored(right)
        operator = _WORDS[function]
        if isinstance(right, Constant):
            if first is None or right.value is None or not (_alike(left, right) and _takes(first, function)):
                return None
            implies = (*_ends(first, function in _UP or function == "eq", function in _DOWN or function == "eq"),)
            return _Said(f"({first.sql} {operator} {constant(right, self.dialect)})", first.all, implies)
        if (first or second) is None or left.kind != right.kind:
            return None
        if not all(side is None or (_takes(side, function) and side.columns) for side in (first, second)):
            return None
        one, other = (
            self.scalar(side) if kept is None else kept.sql for side, kept in ((left, first), (right, second))
        )
        if first is None or second is None or function == "neq":
            needs = [*(first.all if first else ()), *(second.all if second else ())]
        else:
            # Of two stored values in their order, what is below the greater one's end is below the lesser's.
            low, high = (second, first) if function in _UP else (first, second)
            needs = [*_ends(low, True, False), *_ends(high, False, True), *first.always, *second.always]
        return _Said(f"({one} {operator} {other})", needs)

    def _either(self, parts: Sequence[Scalar]) -> _Said:
        """Return a disjunction: equalities of one value with constants as a list."""
        lists: dict[Scalar, list[Constant]] = {}
        for part in parts:
            match part:
                case Call("eq", (left, Constant(value, kind) as right)) if value is not None and kind == left.kind:
                    lists.setdefault(left, []).append(right)
        written: dict[str, None] = {}
        for part in parts:
            match part:
                case Call("eq", (left, Constant() as right)) if (
                    len(listed := lists.get(left, [])) > 1 and right in listed
                ):
                    written[self._among(left, listed)] = None
                case _:
                    written[self.write(part)] = None
        found = [*written]
        return _Said(found[0] if len(found) == 1 else f"({writer(self.dialect).joined(found, ' OR ')})", ())

    def _among(self, value: Scalar, listed: Sequence[Constant]) -> str:
        write, kept = writer(self.dialect), self._stored(value)
        constants = [constant(each, self.dialect) for each in dict.fromkeys(listed)]
        named = self.scalar(value) if kept is None else kept.sql
        among = write.among(named, constants) if value.kind == "text" else f"{named} IN ({', '.join(constants)})"
        return f"({' AND '.join([among, *(kept.always if kept else ())])})"

    def _stored(self, side: Scalar) -> Kept | None:
        return self._of(side.name) if isinstance(side, Ref) else None

    def _of(self, name: str) -> Kept | None:
        if name not in self._kept:
            found = self.bare.get(name)
            self._kept[name] = None if found is None else writer(self.dialect).kept(found.column, found.raw)
        return self._kept[name]


def _alike(left: Scalar, right: Scalar) -> bool:
    return left.kind == right.kind or {left.kind, right.kind} == {"integer", "decimal"}


def _takes(kept: Kept, function: str) -> bool:
    return kept.ordered or function in ("eq", "neq")


def _ends(kept: Kept, above: bool, below: bool) -> Sequence[str]:
    return (*(kept.above if above else ()), *(kept.below if below else ()))


def met(left: tuple[Table, str, str], right: tuple[Table, str, str], dialect: Dialect) -> str:
    """Return that columns of an owner path are equal as canonical ones are, whatever their collations.

    Each is given as its table, its name, and what the table is called there.
    """
    columns, bare, sides = {}, {}, []
    for table, name, alias in (left, right):
        column = table.column(name)
        assert column is not None
        columns[alias] = canonical(column, alias, dialect)
        bare[alias] = bare_column(column, alias, dialect)
        sides.append(Ref(alias, column.physical.kind))
    return Conditions(columns, bare, dialect).write(Call("eq", tuple(sides), "boolean"))
