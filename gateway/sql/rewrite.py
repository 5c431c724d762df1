"""Rewrite a planned release into the bounded SQL that one engine runs: exact integers per group, all owners bounded.

``SELECT plan, COUNT(*) FROM year GROUP BY plan`` with at most 5 rows a person →
``WITH discreet_r AS (SELECT person_id AS o, plan AS k0 FROM year WHERE person_id IS NOT NULL),
discreet_h AS (SELECT o AS p, COUNT(*) AS n FROM discreet_r GROUP BY o HAVING COUNT(*) > 5)
SELECT k0 AS plan, SUM(CASE WHEN n IS NULL THEN 4096 ELSE 4096 * 5 // n END) AS m0
FROM discreet_r LEFT JOIN discreet_h ON o = p GROUP BY k0``

Why this is sound: every stage but the last is computed for each owner from that owner's rows alone (conditions row by
row, counts and ranks within one owner), so that removing an owner removes exactly its terms from the sums of the last
stage; and those terms are bounded whatever the rows hold, by the clamp inside each value and by the weight of its
owner. All sums are of integers, which no order of rows and no number of threads can change.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from fractions import Fraction

from gateway.policy.model import Column, Dataset, Owner, Table
from gateway.sql.algebra import Constant
from gateway.sql.facts import Quantum, quantum, scanned
from gateway.sql.plan import Bounding, Cell, Key, Measure, PlannedRelease
from gateway.sql.render import canonical, constant, decimal, double, identifier, scalar, text


def rewrite(planned: PlannedRelease, dataset: Dataset) -> PlannedRelease:
    """Return the planned release with its bounded SQL in the dataset's dialect."""
    scan, conditions = scanned(planned.release.source)
    table = dataset.table(scan.table)
    assert table is not None
    rows = _Rows(table, dataset, planned)
    where = [rows.owned, *(scalar(condition, rows.column, dataset.dialect) for condition in conditions), *rows.domains]
    selected = rows.select([part for part in where if part])
    match planned.bounding.how:
        case "one_row":
            sql = _one_row(planned, selected)
        case "weights":
            sql = _weights(planned, selected, dataset.dialect)
        case "owners":
            sql = _owners(planned, selected, dataset)
    return replace(planned, sql=sql)


class _Rows:
    """The first stage: owner, keys and integers of each row that counts."""

    def __init__(self, table: Table, dataset: Dataset, planned: PlannedRelease) -> None:
        self.table, self.dataset, self.planned = table, dataset, planned
        self.dialect = dataset.dialect
        hops = table.owner.hops if isinstance(table.owner, Owner) else ()
        self.source = f"FROM {identifier(table.name)} AS t0"
        for index, hop in enumerate(hops):
            self.source += (
                f" JOIN {identifier(hop.table)} AS t{index + 1}"
                f" ON {self._joined(hop.column, index)} = {self._joined(hop.key, index + 1)}"
            )
        self.last = len(hops)

    def _table(self, index: int) -> Table:
        hops = self.table.owner.hops if isinstance(self.table.owner, Owner) else ()
        found = self.table if index == 0 else self.dataset.table(hops[index - 1].table)
        assert found is not None
        return found

    def _joined(self, column: str, index: int) -> str:
        """Return a column of the owner path, canonical, so that keys that join are identical."""
        found = self._table(index).column(column)
        assert found is not None
        return canonical(found, f"t{index}", self.dialect)

    @property
    def owner(self) -> str | None:
        """The owner of a row, None where each row is its own."""
        return self._joined(self.table.owner.column, self.last) if isinstance(self.table.owner, Owner) else None

    @property
    def owned(self) -> str:
        """The condition that a row has an owner: a path that ends in NULL belongs to nobody."""
        return f"{self.owner} IS NOT NULL" if self.owner is not None else ""

    def column(self, name: str) -> str:
        """Return a column of the table, canonical."""
        found = self.table.column(name)
        assert found is not None
        return canonical(found, "t0", self.dialect)

    @property
    def domains(self) -> list[str]:
        """The conditions that keys lie in their public domains; canonical values that are equal are identical."""
        public = (key for key in self.planned.keys if key.values is not None)
        return [_within(self.column(key.column), key, self.dialect) for key in public]

    def select(self, where: list[str]) -> str:
        """Return the SELECT of owner ``o``, keys and measured values."""
        columns = [] if self.planned.bounding.how == "one_row" else [f"{self.owner} AS o"]
        columns += [f"{self._key(key)} AS {key.name}" for key in self.planned.keys]
        columns += [f"{self._value(name)} AS {alias}" for name, alias in _values(self.planned).items()]
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT {', '.join(columns) or '1 AS one'} {self.source}{condition}"

    def _key(self, key: Key) -> str:
        """Return a group key; values that no client could be shown (infinities, numbers beyond 2^63) become NULL."""
        value = self.column(key.column)
        if key.kind == "float":
            most = constant(Constant(Fraction(sys.float_info.max), "float"), self.dialect)
            return f"CASE WHEN {value} BETWEEN -{most} AND {most} THEN {value} END"
        if key.kind in ("integer", "decimal"):
            value = f"trim_scale(ROUND({value}, 18))" if (key.kind, self.dialect) == ("decimal", "postgres") else value
            return f"CASE WHEN {value} BETWEEN {-(2**63)} AND {2**63 - 1} THEN {value} END"
        return value

    def _value(self, name: str) -> str:
        column = self.table.column(name)
        assert column is not None
        read = any(
            measure.cell is not None and measure.cell.column == name and measure.cell.multiplier
            for measure in self.planned.measures
        )
        if not read:
            return f"CASE WHEN {self.column(name)} IS NULL THEN NULL ELSE 1 END"
        return _quantised(self.column(name), column, quantum(column), self.dialect)


def _values(planned: PlannedRelease) -> dict[str, str]:
    names = (measure.cell.column for measure in planned.measures if measure.cell is not None)
    return {name: f"v{index}" for index, name in enumerate(dict.fromkeys(name for name in names if name is not None))}


def _within(column: str, key: Key, dialect: str) -> str:
    values = [value for value in key.values or () if value is not None]
    parts = []
    whole = [value for value in values if type(value) is int]
    if len(whole) == len(values) > 2 and whole == list(range(whole[0], whole[0] + len(whole))):
        parts.append(f"{column} BETWEEN {whole[0]} AND {whole[-1]}")
    elif values:
        listed = ", ".join(constant(Constant(value, key.kind), dialect) for value in values)
        parts.append(f"{column} IN ({listed})")
    if None in (key.values or ()):
        parts.append(f"{column} IS NULL")
    return f"({' OR '.join(parts)})" if parts else "FALSE"


def _quantised(value: str, column: Column, found: Quantum, dialect: str) -> str:
    """Return a row's integer between the quantum's ends, NULL for NULL: clamped, rounded once, clamped again.

    The clamp stands inside the cast, so that no value can make the cast fail.
    """
    if found.how == "integer":
        return f"CAST({_clamped(value, str(found.lower), str(found.upper))} AS BIGINT)"
    low, high = found.lower * found.step, found.upper * found.step
    if found.how == "decimal":
        places = column.physical.scale or 0
        exact = f"CAST({_clamped(value, decimal(low), decimal(high))} AS DECIMAL(18, {places}))"
        return f"CAST({exact} * {10**places} AS BIGINT)"
    if column.physical.kind == "float":
        near = _clamped(value, _float(low, dialect), _float(high, dialect))
    else:
        near = _clamped(value, _integer(low, up=False), _integer(high, up=True))
        if dialect == "postgres":
            near = f"ROUND(CAST({near} AS NUMERIC), 30)"  # a numeric too small for a double would raise in the cast
        near = f"CAST({near} AS {double(dialect)})"
    rounded = f"CAST(FLOOR({near} / {_float(found.step, dialect)} + 0.5) AS BIGINT)"
    return _clamped(rounded, str(found.lower), str(found.upper))


def _clamped(value: str, low: str, high: str) -> str:
    return f"CASE WHEN {value} <= {low} THEN {low} WHEN {value} >= {high} THEN {high} ELSE {value} END"


def _float(value: Fraction, dialect: str) -> str:
    return constant(Constant(value, "float"), dialect)


def _integer(value: Fraction, *, up: bool) -> str:
    return str(-((-value.numerator) // value.denominator) if up else value.numerator // value.denominator)


def _cell(cell: Cell, values: dict[str, str]) -> str:
    """Return what one row adds to a measure."""
    if cell.column is None:
        return str(cell.offset)
    value = values[cell.column]
    if cell.when == "absent":
        return f"CASE WHEN {value} IS NULL THEN {cell.offset} ELSE 0 END"
    amount = str(cell.offset)
    if cell.multiplier:
        amount = f"({value} - ({cell.origin})) * ({cell.multiplier}) + ({cell.offset})"
    return f"CASE WHEN {value} IS NULL THEN 0 ELSE {amount} END"


def _keys(planned: PlannedRelease) -> tuple[list[str], str]:
    """Return the key columns under the analyst's names, and the GROUP BY clause."""
    named = [f"{key.name} AS {identifier(key.label)}" for key in planned.keys]
    grouped = f" GROUP BY {', '.join(key.name for key in planned.keys)}" if planned.keys else ""
    return named, grouped


def _summed(measure: Measure, amount: str) -> str:
    return f"COALESCE(SUM({amount}), 0) AS {measure.name}"


def _one_row(planned: PlannedRelease, selected: str) -> str:
    named, grouped = _keys(planned)
    values = _values(planned)
    cells = [(measure, measure.cell) for measure in planned.measures]
    named += [_summed(measure, _cell(cell, values)) for measure, cell in cells if cell is not None]
    return f"SELECT {', '.join(named)} FROM ({selected}) AS discreet_r{grouped}"


def _weighted(amount: str, total: str, rows: int, dialect: str) -> str:
    """Return ``amount * rows / total`` rounded toward zero, in 128 bits."""
    if dialect == "postgres":
        return f"div(CAST({amount} AS NUMERIC) * {rows}, CAST({total} AS NUMERIC))"
    return f"(CAST({amount} AS HUGEINT) * {rows}) // CAST({total} AS HUGEINT)"


def _weights(planned: PlannedRelease, selected: str, dialect: str) -> str:
    rows = planned.bounding.rows
    assert rows is not None
    named, grouped = _keys(planned)
    values = _values(planned)
    for measure in planned.measures:
        assert measure.cell is not None
        amount = _cell(measure.cell, values)
        heavy = _weighted(amount, "n", rows, dialect)
        named.append(_summed(measure, f"CASE WHEN n IS NULL THEN {amount} ELSE {heavy} END"))
    return (
        f"WITH discreet_r AS ({selected}), "
        f"discreet_h AS (SELECT o AS p, COUNT(*) AS n FROM discreet_r GROUP BY o HAVING COUNT(*) > {rows}) "
        f"SELECT {', '.join(named)} FROM discreet_r LEFT JOIN discreet_h ON o = p{grouped}"
    )


def _owners(planned: PlannedRelease, selected: str, dataset: Dataset) -> str:
    values = _values(planned)
    keys = [key.name for key in planned.keys]
    cells = [(measure, measure.cell) for measure in planned.measures if measure.cell is not None]
    sums = [f"SUM({_cell(cell, values)}) AS {measure.name}" for measure, cell in cells]
    by_owner = ", ".join(["o", *keys])
    stages = [
        f"discreet_r AS ({selected})",
        f"discreet_p AS (SELECT {', '.join([by_owner, 'COUNT(*) AS n', *sums])} FROM discreet_r GROUP BY {by_owner})",
    ]
    last = "discreet_p"
    bounding = planned.bounding
    if bounding.groups is not None and keys:
        ranked = f"ROW_NUMBER() OVER (PARTITION BY o ORDER BY {_lot(keys, dataset)}) AS g"
        stages += [
            f"discreet_d AS (SELECT *, {ranked} FROM discreet_p)",
            f"discreet_e AS (SELECT * FROM discreet_d WHERE g <= {bounding.groups})",
        ]
        last = "discreet_e"
    if bounding.rows is not None:
        stages.append(f"discreet_w AS (SELECT *, SUM(n) OVER (PARTITION BY o) AS t FROM {last})")
        last = "discreet_w"
    named, grouped = _keys(planned)
    named += [_owned(measure, bounding, dataset.dialect) for measure in planned.measures]
    return f"WITH {', '.join(stages)} SELECT {', '.join(named)} FROM {last}{grouped}"


def _owned(measure: Measure, bounding: Bounding, dialect: str) -> str:
    if measure.cell is None:
        return f"COUNT(*) AS {measure.name}"
    assert bounding.rows is not None
    heavy = _weighted(measure.name, "t", bounding.rows, dialect)
    return _summed(measure, f"CASE WHEN t > {bounding.rows} THEN {heavy} ELSE {measure.name} END")


def _lot(keys: list[str], dataset: Dataset) -> str:
    """Return the order in which an owner's groups are kept: by a keyed hash of owner and group, then by the group.

    Why this is sound: it depends on the owner's own rows alone, ties are broken by the distinct keys themselves, and
    privacy does not rest on the salt, which is fixed for a dataset so that the same question keeps the same groups.
    """
    salt = hashlib.sha256(f"discreet group lot: {dataset.name}".encode()).hexdigest()[:16]
    parts = [text(salt), *(f"COALESCE(CAST({name} AS VARCHAR), '')" for name in ("o", *keys))]
    hashed = " || '|' || ".join(parts)
    return ", ".join([f"md5({hashed})", *keys])
