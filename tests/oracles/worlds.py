"""The databases that the oracles ask: tables of every type that is read, clean or dirty, on each engine.

A world says by itself which unit a row belongs to; nothing here is taken from the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import product
from random import Random
from typing import Literal, TypeAlias

from gateway.policy.model import Dialect, Listing

Datum: TypeAlias = object
Row: TypeAlias = tuple[Datum, ...]
Data: TypeAlias = dict[str, list[Row]]

INF = float("inf")
NAN = float("nan")


@dataclass(frozen=True)
class Col:
    """One column: its type on each engine, its declaration, and the values that clean and dirty rows hold.

    ``literals`` are constants of SQL that a query may compare it with.
    """

    name: str
    kind: Literal["integer", "number", "text", "boolean", "date", "timestamp"]
    duckdb: str
    postgres: str
    clean: tuple[Datum, ...]
    dirty: tuple[Datum, ...] = ()
    declared: str = ""
    literals: tuple[str, ...] = ()
    bounded: bool = False
    hidden: bool = False

    def stored(self, dialect: Dialect) -> str:
        """The column's type on an engine; SQLite has whole numbers of 64 bits and doubles, and no decimals."""
        match dialect:
            case "duckdb" | "spark":  # Spark reads the Parquet files that DuckDB writes
                return self.duckdb
            case "postgres":
                return self.postgres
            case "sqlite":
                whole = self.duckdb.endswith("INT") or self.duckdb == "INTEGER"
                number = "BIGINT" if whole and self.duckdb != "HUGEINT" else "DOUBLE"
                return {"integer": "BIGINT", "number": number, "text": "VARCHAR(9)"}.get(self.kind, self.kind.upper())
            case "mysql":
                exact = self.duckdb if self.duckdb.startswith("DECIMAL") else "DOUBLE"
                whole = self.duckdb.endswith("INT") or self.duckdb == "INTEGER"
                words = {
                    "integer": "BIGINT",
                    "number": "BIGINT" if whole else exact,
                    "text": "VARCHAR(1000) COLLATE utf8mb4_nopad_bin",
                    "timestamp": "DATETIME(6)",
                }
                return words.get(self.kind, self.kind.upper())

    @property
    def policy(self) -> str:
        return f"{{type: {self.kind}{', ' + self.declared if self.declared else ''}}}"


@dataclass(frozen=True)
class Tab:
    """One table; ``path`` is how a row finds its owner: (column, table, key) steps, then the owner's column.

    ``enforced`` is the primary key, whose values then differ, and ``together`` a key of several columns; an owner of
    None is ``unit: row``, or nobody for a ``public`` table, of which clean rows may be ``listed`` with the policy.
    """

    name: str
    cols: tuple[Col, ...]
    owner: str | None
    path: tuple[tuple[str, str, str], ...] = ()
    policy: str = ""
    enforced: str | None = None
    public: bool = False
    together: tuple[str, ...] = ()
    listed: bool = False

    @property
    def listings(self) -> tuple[Listing, ...]:
        """All rows that clean values make, as ``apply`` would list them, whatever the table holds later."""
        if not self.listed:
            return ()
        return (Listing(tuple(col.name for col in self.cols), tuple(product(*(col.clean for col in self.cols)))),)  # type: ignore[arg-type]

    def index(self, column: str) -> int:
        return [col.name for col in self.cols].index(column)


@dataclass(frozen=True)
class World:
    name: str
    unit: str
    tables: tuple[Tab, ...]

    def __repr__(self) -> str:
        return f"World({self.name})"

    def table(self, name: str) -> Tab:
        return next(table for table in self.tables if table.name == name)

    def ddl(self, dialect: Dialect) -> list[str]:
        found = []
        for table in self.tables:
            parts = []
            for col in table.cols:
                key = " PRIMARY KEY" if col.name == table.enforced else ""
                parts.append(f"{quoted(col.name)} {col.stored(dialect)}{key}")
            if table.together:
                parts.append(f"PRIMARY KEY ({', '.join(map(quoted, table.together))})")
            found.append(f"CREATE TABLE {quoted(table.name)} ({', '.join(parts)})")
        return found

    def policy(self, engine: str) -> str:
        lines = [f"dataset: {self.name}", f"engine: {engine}", f"privacy_unit: {self.unit}", "tables:"]
        for table in self.tables:
            lines.append(f"  {table.name}:")
            if table.policy:
                lines.append(f"    {table.policy}")
            lines.append("    columns:")
            lines += [f'      "{escaped(col.name)}": {col.policy}' for col in table.cols if not col.hidden]
        lines += ["budget: {epsilon: 1000, delta: 1e-4, gaussian: true}", "per_query: {max_epsilon: 100, delta: 1e-6}"]
        return "\n".join(lines)


def escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def unit_of(table: Tab, row: Row, data: Data, world: World) -> frozenset[Datum]:
    """The units that a row leads to, read off the world's own declaration."""
    assert table.owner is not None
    reached = [row]
    here = table
    for column, target, key in table.path:
        there = world.table(target)
        at, to = here.index(column), there.index(key)
        wanted = {found[at] for found in reached} - {None}
        reached = [found for found in data[target] if found[to] in wanted]
        here = there
    return frozenset(found[here.index(table.owner)] for found in reached) - {None}


def units(world: World, data: Data) -> list[Datum]:
    """Every unit that some row names, whether or not a unit table holds it."""
    found = {
        row[table.index(table.owner)]
        for table in world.tables
        if table.owner is not None and not table.path
        for row in data[table.name]
    }
    return sorted(found - {None}, key=str)


def without(world: World, data: Data, unit: Datum) -> Data:
    """The neighbour: the unit's rows go; a row that leads to others as well stays with them."""
    return {
        table.name: [row for row in data[table.name] if table.public or unit_of(table, row, data, world) != {unit}]
        for table in world.tables
    }


def without_row(data: Data, table: str, index: int) -> Data:
    """The neighbour under ``unit: row``."""
    rows = data[table]
    return {**data, table: rows[:index] + rows[index + 1 :]}


def generate(world: World, random: Random, size: int, *, dirty: bool, heavy: int = 0) -> Data:
    """Random rows; ``dirty`` adds what breaks the policy, ``heavy`` that many rows of one unit in every table.

    Some tables are left empty now and then.
    """
    data: Data = {}
    for table in world.tables:
        count = 0 if dirty and random.random() < 0.05 else random.randint(0, size)
        rows = [_row(table, random, dirty=dirty) for _ in range(count)]
        if heavy and rows and dirty:
            owner = table.owner if not table.path else table.path[0][0]
            pattern = random.choice(rows)
            for _ in range(heavy):
                row = list(_row(table, random, dirty=True))
                if owner is not None:
                    row[table.index(owner)] = pattern[table.index(owner)]
                rows.append(tuple(row))
        if table.enforced is not None:
            at = table.index(table.enforced)
            rows = list({row[at]: row for row in rows if row[at] is not None}.values())
        data[table.name] = rows
    return data


def _row(table: Tab, random: Random, *, dirty: bool) -> Row:
    return tuple(
        random.choice(col.dirty) if dirty and col.dirty and random.random() < 0.35 else random.choice(col.clean)
        for col in table.cols
    )


def shuffled(data: Data, random: Random) -> Data:
    return {name: random.sample(rows, len(rows)) for name, rows in data.items()}


def literal(value: Datum) -> str:
    """A value as the engine's SQL has it, for an INSERT."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return f"'{value!r}'"
        case int() | Decimal():
            return f"'{value}'"
        case datetime() | date():
            return f"'{value.isoformat()}'"
        case _:
            text = str(value).replace("'", "''")
            return f"'{text}'"


PEOPLE = (1, 2, 3, 4, 5, 6, 7, 8)
DAYS = tuple(date(2020, 1, day) for day in (1, 2, 3, 28))
INSTANTS = tuple(datetime(2020, 1, day, 12, 30, 15, 250000) for day in (1, 2, 3))  # noqa: DTZ001
FIGURES = ("0", "1", "-1", "2.5", "-0.5", "3", "7", "1e3", "100", "0.1", "9223372036854775807", "12345678.000000001")


def _id(name: str, *, dirty: tuple[Datum, ...] = (), pool: tuple[Datum, ...] = PEOPLE) -> Col:
    return Col(name, "integer", "BIGINT", "bigint", pool, dirty, literals=("1", "3", "-7", "2.5"))


def _person(enforced: str | None) -> Tab:
    return Tab(
        "person",
        (
            _id("person_id", dirty=(1, 1, 2, 99, None, -(2**63))),
            Col(
                "sex",
                "text",
                "VARCHAR",
                "varchar(9)",
                ("F", "M", None),
                ("f", "X", "", "F ", "it's"),
                "values: [F, M]",
                ("'F'", "'M'", "'X'", "'it''s'"),
            ),
            Col(
                "city",
                "text",
                "VARCHAR",
                "text",
                ("Ulm", "Aachen", None, "Äô", "ulm"),
                ("", "a|b", "\t", "x" * 200),
                "",
                ("'Ulm'", "'ulm'", "'Z'"),
            ),
            Col(
                "age",
                "integer",
                "INTEGER",
                "integer",
                (0, 18, 30, 44, 110, None),
                (-5, 2**31 - 1, -(2**31), 111),
                "lower: 0, upper: 110",
                ("18", "30.5", "-1", "44", "200"),
                bounded=True,
            ),
            Col(
                "income",
                "number",
                "DOUBLE",
                "double precision",
                (0.0, 1.5, 2e4, 33333.5, 2e5, None),
                (NAN, INF, -INF, -0.0, -1e300, 1e300, 5e-324, 0.1, 200000.0000001),
                "lower: 0, upper: 200000",
                ("0", "1.5", "20000", "1e5", "0.1"),
                bounded=True,
            ),
            Col("ok", "boolean", "BOOLEAN", "boolean", (True, False, None), (), "", ("TRUE", "FALSE")),
            Col(
                "tiny",
                "integer",
                "TINYINT",
                "smallint",
                (0, 1, 2, 3),
                (-128, 127, None),
                "lower: 0, upper: 3, nullable: false",
                ("1", "0.5", "300", "-70000"),
                bounded=True,
            ),
            Col(
                "born",
                "date",
                "DATE",
                "date",
                (*DAYS, None),
                (date(1, 1, 1), date(9999, 12, 31), "0044-03-15 (BC)", "infinity", "-infinity"),
                "lower: 1900-01-01, upper: 2024-12-31",
                ("'2020-01-02'", "DATE '2020-01-03'"),
            ),
            Col(
                "vast",
                "number",
                "HUGEINT",
                "numeric(39, 0)",
                (0, 5, -5, 1000, None),
                (2**127 - 1, 2**40, -(2**126), 2**63, -(2**63), 2**63 - 1),
                "lower: -1000, upper: 1000",
                ("0", "-5", "9223372036854775807", "3.5"),
                bounded=True,
            ),
        ),
        "person_id",
        enforced=enforced,
    )


def _visit(enforced: str | None, most: str = "\n    max_rows_per_unit: 4") -> Tab:
    return Tab(
        "visit",
        (
            _id("visit_id", dirty=(1, 2, 77, None), pool=tuple(range(1, 15))),
            _id("person_id", dirty=(55, 56, None, 2**63 - 1)),
            Col(
                "cost",
                "number",
                "DECIMAL(12,2)",
                "numeric(12, 2)",
                (Decimal("0.00"), Decimal("12.50"), Decimal("4999.99"), Decimal("5000.00"), None),
                (Decimal("-0.01"), Decimal("9999999999.99"), Decimal("-9999999999.99"), Decimal("5000.01")),
                "lower: 0, upper: 5000",
                ("0", "12.5", "12.505", "4999.99", "-1", "1e9"),
                bounded=True,
            ),
            Col(
                "fine",
                "number",
                "DECIMAL(38,10)",
                "numeric",
                (Decimal("0.5"), Decimal("-0.25"), Decimal("0.1234567891"), Decimal("1.0"), None),
                (Decimal("99999999999999999999999999.9999999999"), Decimal("-1.0000000001"), Decimal("9e18")),
                "lower: -1, upper: 1",
                ("0.5", "0", "0.25000000001", "-0.25", "7"),
                bounded=True,
            ),
            Col("day", "date", "DATE", "date", (*DAYS, None), ("infinity", date(1, 1, 1)), "", ("'2020-01-02'",)),
            Col(
                "at",
                "timestamp",
                "TIMESTAMP",
                "timestamp",
                (*INSTANTS, None),
                ("infinity", "-infinity"),
                "",
                ("'2020-01-02'", "'2020-01-02 12:30:15.25'", "TIMESTAMP '2020-01-03 00:00:00'"),
            ),
            Col(
                "kind", "text", "VARCHAR", "character(4)", ("x", "y", None), ("", "zz", " y"), "", ("'x'", "'y'", "'w'")
            ),
            Col(
                "score",
                "number",
                "FLOAT",
                "real",
                (0.5, -2.25, 10.0, None),
                (NAN, INF, -INF, -0.0, 3e38, 1e-45),
                "lower: -10, upper: 10",
                ("0.5", "-2.25", "0.1", "3"),
                bounded=True,
            ),
            Col(
                "size",
                "integer",
                "UBIGINT",
                "bigint",
                (0, 1, 1000, 10**6, None),
                (10**18, 10**6 + 1),
                "lower: 0, upper: 1000000",
                ("-1", "1000", "0.5", "9223372036854775807"),
                bounded=True,
            ),
        ),
        "person_id",
        policy="owner: {person_id: person.person_id}" + most,
        enforced=enforced,
    )


def _item(most: str = "\n    max_rows_per_unit: 6") -> Tab:
    return Tab(
        "item",
        (
            _id("visit_id", dirty=(77, 78, None), pool=tuple(range(1, 15))),
            Col(
                "qty",
                "integer",
                "SMALLINT",
                "smallint",
                (-5, 0, 3, 10, None),
                (-32768, 32767, 11),
                "lower: -5, upper: 10",
                ("0", "3", "-5.5"),
                bounded=True,
            ),
            Col(
                "label",
                "text",
                "VARCHAR",
                "text",
                ("a", "b"),
                ("c", None, "A"),
                "values: [a, b], nullable: false",
                ("'a'", "'c'"),
            ),
            Col(
                "price",
                "number",
                "DOUBLE",
                "double precision",
                (0.0, 0.25, 0.125, 1.0, None),
                (NAN, INF, -INF, -0.0, 1.0000001, 0.8),
                "lower: 0, upper: 1",
                ("0.25", "1", "0"),
                bounded=True,
            ),
            Col(
                "weight",
                "number",
                "DOUBLE",
                "double precision",
                (0.5, 0.1, None),
                (0.8, NAN),
                "lower: 0, upper: 0.8",
                ("0.5",),
                bounded=True,
            ),
            Col(
                "far",
                "integer",
                "BIGINT",
                "bigint",
                (0, 2**50, -(2**50), None),
                (2**63 - 1, -(2**63)),
                "lower: -1000000000000000000, upper: 1000000000000000000",
                ("0", "-3.5"),
                bounded=True,
            ),
            Col("due", "boolean", "BOOLEAN", "boolean", (True, False), (None,), "nullable: false", ("TRUE",)),
        ),
        "person_id",
        path=(("visit_id", "visit", "visit_id"),),
        policy="owner: {visit_id: visit.visit_id}" + most,
    )


def _log() -> Tab:
    return Tab(
        "log",
        (
            _id("person_id", dirty=(55, None, 99)),
            Col("page", "text", "VARCHAR", "text", ("in", "out", None), ("", "off"), "", ("'in'",)),
        ),
        "person_id",
        policy="owner: {person_id: person.person_id}",
    )


def _people(name: str, *, keyed: bool) -> World:
    person, visit = ("person_id", "visit_id") if keyed else (None, None)
    tables = (_person(person), _visit(visit), _item(), _log())
    return World(name, "{table: person, key: person_id}", tables)


def _loose() -> World:
    tables = (_person("person_id"), _visit("visit_id", ""), _item(""), _log())
    return World("loose", "{table: person, key: person_id}", tables)


def _users() -> World:
    names = ("ann", "bob", "Bob", "cy", "ann ")
    user = Col("user", "text", "VARCHAR", "text", names, (None, "", "ghost", "a|b"), literals=("'ann'", "'Bob'"))
    event = Tab(
        "event",
        (
            user,
            Col(
                "n",
                "integer",
                "INTEGER",
                "integer",
                (1, 2, 3, None),
                (-9, 2**31 - 1),
                "lower: 0, upper: 3",
                ("2", "1.5"),
                bounded=True,
            ),
            Col("o", "text", "VARCHAR", "text", ("p", "q"), (None, "r"), "", ("'p'",)),
            Col(
                "k0",
                "integer",
                "BIGINT",
                "bigint",
                (4, 5, 6),
                (2**62, None),
                "lower: 4, upper: 6",
                ("5",),
                bounded=True,
            ),
            Col("m0", "integer", "BIGINT", "bigint", (1, 2), (None, -1), "", ("1",)),
            Col('t "0', "boolean", "BOOLEAN", "boolean", (True, False), (None,)),
            Col(
                "discreet_r",
                "number",
                "DECIMAL(4,1)",
                "numeric(4, 1)",
                (Decimal("1.5"), Decimal("2.5")),
                (Decimal("-999.9"), None),
                "lower: 0.25, upper: 2.75",
                ("1.5", "99999"),
                bounded=True,
            ),
        ),
        "user",
        policy="owner: user\n    max_rows_per_unit: 3",
    )
    single = Tab(
        "login",
        (
            user,
            Col("v0", "integer", "INTEGER", "integer", (0, 1), (None, 7), "lower: 0, upper: 1", ("1",), bounded=True),
            Col("g", "text", "VARCHAR", "text", ("u", "v"), (None, "w"), "", ("'u'",)),
        ),
        "user",
        policy="owner: user\n    max_rows_per_unit: 1",
    )
    return World("users", "{key: user}", (event, single))


def _rows() -> World:
    cell = Tab(
        "reading",
        (
            Col(
                "x",
                "number",
                "DOUBLE",
                "double precision",
                (0.0, 1.0, 2.5, -3.0, None),
                (NAN, INF, -INF, 1e300, -0.0),
                "lower: -3, upper: 3",
                ("0", "2.5", "0.1"),
                bounded=True,
            ),
            Col("place", "text", "VARCHAR", "text", ("n", "s", None), ("N", ""), "values: [n, s]", ("'n'", "'N'")),
            Col(
                "step",
                "integer",
                "INTEGER",
                "integer",
                (0, 1, 2),
                (None, -1, 9),
                "lower: 0, upper: 2",
                ("1",),
                bounded=True,
            ),
            Col("tag", "text", "VARCHAR", "text", ("r", "s"), (None, "t"), "", ("'r'",)),
        ),
        None,
    )
    return World("readings", "row", (cell,))


def _extremes(name: str, who: Col) -> World:
    edge = Tab(
        "edge",
        (
            who,
            Col(
                "small",
                "integer",
                "UTINYINT",
                "smallint",
                (0, 1, 200),
                (None, 255),
                "lower: 0, upper: 200",
                ("-1", "256", "70000", "0.5"),
                bounded=True,
            ),
            Col(
                "unsigned",
                "integer",
                "UBIGINT",
                "bigint",
                (0, 5),
                (2**63 - 1, None),
                "lower: -5, upper: 5",
                ("-9223372036854775807", "5"),
                bounded=True,
            ),
            Col(
                "wide",
                "number",
                "DECIMAL(38,19)",
                "numeric(38, 19)",
                (Decimal("0.5"), Decimal("1.25")),
                (Decimal("9" * 19 + "." + "9" * 19), Decimal("-" + "9" * 19 + "." + "9" * 19), None),
                "lower: -100000, upper: 100000",
                ("9223372036854775807", "-9223372036854775807", "0.5", "1e-19", "1e-30"),
                bounded=True,
            ),
            Col(
                "whole",
                "number",
                "DECIMAL(38,0)",
                "numeric(38, 0)",
                (Decimal(0), Decimal(3)),
                (Decimal("9" * 38), Decimal("-" + "9" * 38), None),
                "lower: -1e30, upper: 1e30",
                ("1.5", "-3", "9e18"),
                bounded=True,
            ),
            Col(
                "huge",
                "integer",
                "HUGEINT",
                "bigint",
                (0, -3),
                (2**63 - 1, -(2**63), None),
                "lower: -1e20, upper: 1e20",
                ("0", "-9223372036854775807", "0.1"),
                bounded=True,
            ),
            Col(
                "loose",
                "number",
                "DOUBLE",
                "numeric",
                (Decimal("0.5"), Decimal("3")),
                (NAN, INF, -INF, Decimal("1e-300"), Decimal("-7.50000000000000000001"), None),
                "lower: -1, upper: 3",
                ("0.5", "3", "1e-300"),
                bounded=True,
            ),
            Col(
                "flat",
                "number",
                "DOUBLE",
                "double precision",
                (2.0,),
                (5.0, NAN, -0.0, None),
                "lower: 2, upper: 2",
                ("2",),
                bounded=True,
            ),
            Col(
                "nought",
                "number",
                "REAL",
                "real",
                (0.0,),
                (1.0, -0.0, NAN, INF, None),
                "lower: 0, upper: 0",
                ("0",),
                bounded=True,
            ),
            Col(
                "late",
                "date",
                "DATE",
                "date",
                (date(9999, 12, 31), date(1, 1, 1)),
                (None, "infinity"),
                "",
                ("'9999-12-31'", "'0001-01-01'"),
            ),
            Col(
                "word",
                "text",
                "VARCHAR",
                "text",
                ("", " ", "A"),
                (None, "a", "é", "\u0065\u0301", "\\", "%_"),
                'values: ["", " ", "A", "\\\\"]',
                ("''", "' '", "'a'"),
            ),
        ),
        "who",
        policy="owner: who\n    max_rows_per_unit: 2",
    )
    return World(name, "{key: who}", (edge,))


DIRTY_PEOPLE = _people("people", keyed=False)
KEYED_PEOPLE = _people("keyed", keyed=True)
LOOSE_PEOPLE = _loose()
"""Nobody says how many visits, items and log entries a person has."""

USERS = _users()
READINGS = _rows()
EXTREMES = _extremes(
    "extremes",
    Col("who", "number", "DECIMAL(9,3)", "numeric(9, 3)", (Decimal("1.000"), Decimal("2.500")), (None,)),
)
COUNTED_EXTREMES = _extremes("counted_extremes", Col("who", "integer", "BIGINT", "bigint", (1, -(2**63)), (None,)))
WORLDS = (DIRTY_PEOPLE, KEYED_PEOPLE, LOOSE_PEOPLE, USERS, READINGS, EXTREMES)
SQLITE_WORLDS = (DIRTY_PEOPLE, KEYED_PEOPLE, LOOSE_PEOPLE, USERS, READINGS, COUNTED_EXTREMES)
"""Without exact decimals, which SQLite does not have, as owners."""
FOLDER_WORLDS = (DIRTY_PEOPLE, KEYED_PEOPLE, USERS, READINGS)
"""Without whole numbers beyond 64 bits, which Parquet does not have."""
