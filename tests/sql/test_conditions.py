"""Conditions on stored columns keep the very rows that conditions on canonical ones keep, on every engine at hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from random import Random

import duckdb
import psycopg
import pyarrow as pa
import pytest

from gateway.engines.sqlitefunctions import add_functions
from gateway.policy.model import Column, Dialect, Physical
from gateway.sql.algebra import Call, Constant, Kind, Ref, Scalar
from gateway.sql.writing import conditions
from gateway.sql.writing.conditions import Conditions, bare_column
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.dialects.writer import Kept, Writer
from gateway.sql.writing.render import canonical, scalar

DATES = (date(1, 1, 1), date(9999, 12, 31), date(2020, 2, 29), date(1999, 12, 31))
INSTANTS = (
    datetime(1, 1, 1),  # noqa: DTZ001
    datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
    datetime(2020, 2, 29, 12),  # noqa: DTZ001
)
CONSTANTS: Mapping[Kind, Sequence[object]] = {
    "integer": (0, 1, -5, 2**31, -(2**63), 2**63 - 1),
    "decimal": (Fraction(0), Fraction(5, 4), Fraction(-1, 2)),
    "float": (Fraction(0), Fraction(1, 2), Fraction(-(10**300)), Fraction(10**300)),
    "text": ("", "a", "A", "b", "a ", "é", "2020-02-29", "17"),
    "date": DATES,
    "timestamp": INSTANTS,
}
ENDS: Mapping[Kind, Sequence[tuple[object, object]]] = {
    "float": ((Fraction(0), Fraction(1, 2)), (Fraction(-1, 2), Fraction(0)), (Fraction(10**300), Fraction(10**300))),
    "date": ((date(1999, 12, 31), date(2020, 2, 29)), (date(1, 1, 1), date(1, 1, 1)), (DATES[1], DATES[1])),
    "timestamp": ((INSTANTS[0], INSTANTS[2]), (INSTANTS[2], INSTANTS[2]), (INSTANTS[1], INSTANTS[1])),
}
_DAYS = ("'2020-02-29'", "'1999-12-31'", "'0001-01-01'", "'9999-12-31'", "'infinity'", "'-infinity'", "NULL")
_DOUBLES = ("'NaN'", "'Infinity'", "'-Infinity'", "'-0.0'", "0", "5e-324", "-1e300", "1e300", "0.5", "NULL")
_SINGLES = ("'NaN'", "'Infinity'", "'-Infinity'", "'-0.0'", "0", "1e-45", "0.5", "-3e38", "NULL")
_TEXTS = ("''", "'a'", "'A'", "'b'", "'a '", "'é'", "'e\u0301'", "'17'", "NULL")
_LONG = ("'9223372036854775807'", "'-9223372036854775808'", "0", "1", "-5", "2147483648", "NULL")
# Values of SQLite's columns are of any type, whatever is declared.
_ANY = (
    *(
        None,
        0,
        1,
        -5,
        2**31,
        2**63 - 1,
        -(2**63),
        0.0,
        -0.0,
        2.5,
        1.0,
        1e308,
        float("inf"),
        float("-inf"),
        "",
        "a",
        "A",
    ),
    *(
        "b",
        "a ",
        "é",
        "17",
        "1",
        "1.0",
        "0",
        b"",
        b"a",
        b"17",
        b"2020-02-29",
        "2020-02-29",
        "2020-02-29 ",
        "2020-02-30",
    ),
    *(
        "0001-01-01",
        "9999-12-31",
        "10000-01-01",
        "0000-12-31",
        "-4713-11-24",
        "2020-02-29 12:00:00",
        "now",
        "1999-12-31",
    ),
)

Fetch = Callable[[str], list[tuple[int, int]]]


@dataclass(frozen=True)
class Stored:
    """A column of the table of hostile values: its kind, the engine's type, and literals of what it holds."""

    name: str
    kind: Kind
    type: str
    values: tuple[str, ...] = ()
    scale: int | None = None
    exact: bool = True

    @property
    def column(self) -> Column:
        assert self.kind != "boolean"
        physical = Physical(self.kind, self.type, self.scale, self.exact)
        return Column(self.name, "number" if self.kind in ("float", "decimal") else self.kind, physical)  # type: ignore[arg-type]


DUCKDB = (
    Stored("i", "integer", "BIGINT", _LONG),
    Stored("h", "integer", "HUGEINT", (*_LONG, "'170141183460469231731687303715884105727'")),
    Stored("u", "integer", "UBIGINT", ("0", "1", "18446744073709551615", "NULL")),
    Stored("m", "decimal", "DECIMAL(12,2)", ("0", "1.25", "-0.5", "9999999999.99", "NULL"), 2),
    Stored("f", "float", "DOUBLE", _DOUBLES),
    Stored("g", "float", "DOUBLE", _DOUBLES),
    Stored("p", "float", "FLOAT", _SINGLES),
    Stored("t", "text", "VARCHAR", _TEXTS),
    Stored(
        "d", "date", "DATE", (*_DAYS, "'10000-01-01'", "'0001-12-31 (BC)'", "'5881580-07-10'", "'5877642-06-25 (BC)'")
    ),
    Stored("e", "date", "DATE", _DAYS),
    Stored(
        "w",
        "timestamp",
        "TIMESTAMP",
        (*_DAYS, "'2020-02-29 12:00:00'", "'9999-12-31 23:59:59.999999'", "'10000-01-01'"),
    ),
)
POSTGRES = (
    Stored("i", "integer", "bigint", _LONG),
    Stored("m", "decimal", "numeric(12, 2)", ("0", "1.25", "-0.5", "9999999999.99", "'NaN'", "NULL"), 2),
    Stored(
        "n",
        "decimal",
        "numeric",
        ("0", "1.25", "1.2500", "-0.5", "1e400", "'NaN'", "'Infinity'", "'-Infinity'", "NULL"),
    ),
    Stored("f", "float", "double precision", _DOUBLES),
    Stored("g", "float", "double precision", _DOUBLES),
    Stored("p", "float", "real", _SINGLES),
    Stored("t", "text", "text", _TEXTS),
    Stored("v", "text", 'varchar(20) COLLATE "ucs_basic"', _TEXTS),
    Stored("c", "text", "character(20)", _TEXTS, exact=False),
    Stored("d", "date", "date", (*_DAYS, "'10000-01-01'", "'0001-12-31 BC'", "'4713-01-01 BC'", "'5874897-12-31'")),
    Stored("e", "date", "date", _DAYS),
    Stored(
        "w",
        "timestamp",
        "timestamp",
        (*_DAYS, "'2020-02-29 12:00:00'", "'9999-12-31 23:59:59.999999'", "'10000-01-01'"),
    ),
)
SQLITE = (
    Stored("i", "integer", "INTEGER"),
    Stored("j", "integer", "BIGINT"),
    Stored("f", "float", "REAL"),
    Stored("t", "text", "TEXT"),
    Stored("v", "text", "VARCHAR(9)"),
    Stored("c", "text", "TEXT COLLATE NOCASE", exact=False),
    Stored("d", "date", "DATE"),
    Stored("e", "date", "DATE COLLATE RTRIM"),
    Stored("w", "timestamp", "DATETIME"),
)
SIZE = 60


@dataclass(frozen=True)
class Held:
    """An engine that holds the tables: ``h`` of all values, ``one`` of a single one, which its statistics know."""

    dialect: Dialect
    columns: tuple[Column, ...]
    fetch: Fetch


def _columns(stored: Sequence[Stored]) -> tuple[Column, ...]:
    return tuple(each.column for each in stored)


def _rows(columns: Sequence[Stored], random: Random) -> Iterator[str]:
    for number in range(SIZE):
        cells = [each.values[number] if number < len(each.values) else random.choice(each.values) for each in columns]
        yield f"({', '.join(map(str, (number, *cells)))})"


def _filled(columns: Sequence[Stored], run: Callable[[str], object], every: str) -> None:
    declared = ", ".join(f"{each.name} {each.type}" for each in columns)
    run(f"CREATE TABLE h (id INTEGER, {declared})")
    run(f"INSERT INTO h VALUES {', '.join(_rows(columns, Random(3)))}")  # noqa: S311 - fixed examples
    for number in range(3):
        run(f"CREATE TABLE one{number} AS SELECT * FROM h WHERE id = {number}")
    for each in columns:
        run(every.format(name=each.name))


def _duckdb() -> Iterator[Held]:
    with duckdb.connect() as connection:
        _filled(DUCKDB, connection.execute, "SELECT {name} FROM h")
        yield Held("duckdb", _columns(DUCKDB), lambda sql: connection.execute(sql).fetchall())


def _sqlite() -> Iterator[Held]:
    random = Random(5)  # noqa: S311 - fixed examples, not noise
    with closing(sqlite3.connect(":memory:")) as connection:
        add_functions(connection)
        connection.execute(f"CREATE TABLE h (id INTEGER, {', '.join(f'{each.name} {each.type}' for each in SQLITE)})")
        for number in range(SIZE):
            cells = [_ANY[number] if number < len(_ANY) else random.choice(_ANY) for _ in SQLITE]
            connection.execute(f"INSERT INTO h VALUES ({', '.join('?' * (len(SQLITE) + 1))})", [number, *cells])
        for number in range(3):
            connection.execute(f"CREATE TABLE one{number} AS SELECT * FROM h WHERE id = {number}")
        for each in SQLITE:
            connection.execute(f"CREATE INDEX by_{each.name} ON h ({each.name})")
        yield Held("sqlite", _columns(SQLITE), lambda sql: connection.execute(sql).fetchall())


@pytest.fixture(scope="module", params=["duckdb", "sqlite", "postgres"])
def held(request: pytest.FixtureRequest) -> Iterator[Held]:
    if request.param != "postgres":
        yield from {"duckdb": _duckdb, "sqlite": _sqlite}[request.param]()
        return
    with psycopg.connect(request.getfixturevalue("postgres_server"), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA conditions")
        connection.execute("SET search_path = conditions")
        _filled(POSTGRES, lambda sql: connection.execute(sql.encode()), "CREATE INDEX ON h ({name})")
        connection.execute("SET enable_seqscan = off")
        yield Held("postgres", _columns(POSTGRES), lambda sql: connection.execute(sql.encode()).fetchall())
        connection.execute("DROP SCHEMA conditions CASCADE")


def _ref(column: Column) -> Ref:
    return Ref(column.name, column.physical.kind)


def _constant(kind: Kind, random: Random) -> Constant:
    return Constant(random.choice(CONSTANTS[kind]), kind)  # type: ignore[arg-type]


def _comparison(columns: Sequence[Column], random: Random) -> Scalar:
    left = _ref(random.choice([each for each in columns if each.physical.kind in CONSTANTS]))
    function = random.choice(["eq", "neq", "lt", "lte", "gt", "gte"])
    alike = [each for each in columns if each.physical.kind == left.kind != "integer"]
    match random.randrange(6):
        case 0 if alike:
            return Call(function, (left, _ref(random.choice(alike))), "boolean")
        case 1:
            return Call("is_null", (left,), "boolean")
        case 2:
            listed = tuple(Call("eq", (left, _constant(left.kind, random)), "boolean") for _ in range(3))
            return Call("or", listed, "boolean")
    return Call(function, (left, _constant(left.kind, random)), "boolean")


def predicates(columns: Sequence[Column], random: Random, number: int) -> list[Scalar]:
    """Random conditions: each comparison alone, and trees of them."""

    def made(depth: int) -> Scalar:
        match random.randrange(4) if depth else 3:
            case 0:
                return Call("not", (made(depth - 1),), "boolean")
            case 1 | 2:
                parts = tuple(made(depth - 1) for _ in range(random.randint(2, 3)))
                return Call(random.choice(["and", "and", "or"]), parts, "boolean")
        return _comparison(columns, random)

    return [made(random.choice([0, 1, 2, 3])) for _ in range(number)]


def differences(held: Held, found: Sequence[Scalar], table: str = "h") -> list[str]:
    """The conditions that keep other rows than those of which the canonical condition is true."""
    names = {each.name: canonical(each, "x", held.dialect) for each in held.columns}
    bare = {each.name: bare_column(each, "x", held.dialect) for each in held.columns}
    written = [Conditions(names, bare, held.dialect).write(predicate) for predicate in found]
    meant = [scalar(predicate, names.__getitem__, held.dialect) for predicate in found]
    said: list[set[tuple[int, int]]] = []
    for asked in (written, [f"COALESCE({each}, FALSE)" for each in meant]):
        parts = (f"SELECT {at} AS q, x.id FROM {table} AS x WHERE {each}" for at, each in enumerate(asked))
        said.append(set(held.fetch(" UNION ALL ".join(parts))))
    wrong = {at for at, _ in said[0] ^ said[1]}
    return [written[at] for at in sorted(wrong)]


def kept_rows(found: pa.Table) -> list[tuple[int, int]]:
    """What an engine's session gives, as rows."""
    return [(int(row["q"]), int(row["id"])) for row in found.to_pylist()]


def test_the_same_rows_are_kept(held: Held) -> None:
    random = Random(11)  # noqa: S311 - fixed examples, not noise
    assert differences(held, predicates(held.columns, random, 150)) == []
    for number in range(3):
        assert differences(held, predicates(held.columns, random, 40), f"one{number}") == []


@pytest.mark.audit
def test_the_same_rows_are_kept_by_many(held: Held) -> None:
    random = Random()  # noqa: S311 - examples, not noise
    for _ in range(40):
        assert differences(held, predicates(held.columns, random, 100)) == []


def test_every_comparison_with_each_constant(held: Held) -> None:
    found = [
        Call(function, (_ref(each), Constant(value, each.physical.kind)), "boolean")  # type: ignore[arg-type]
        for each in held.columns
        for value in CONSTANTS[each.physical.kind]
        for function in ("eq", "lt", "gte")
    ]
    for at in range(0, len(found), 80):
        assert differences(held, found[at : at + 80]) == []


def _less(**dropped: object) -> Callable[[Writer, Column, str], Kept | None]:
    def kept(write: Writer, column: Column, raw: str) -> Kept | None:
        honest = HONEST[type(write)](write, column, raw)
        return None if honest is None else replace(honest, **dropped)  # type: ignore[arg-type]

    return kept


def clamps(held: Held) -> list[str]:
    """The columns that another value is clamped of than of the canonical one, down to the sign of zero."""
    names = {each.name: canonical(each, "x", held.dialect) for each in held.columns}
    bare = {each.name: bare_column(each, "x", held.dialect) for each in held.columns}
    found, wrong = Conditions(names, bare, held.dialect), []
    for each in held.columns:
        kind = each.physical.kind
        for ends in ENDS.get(kind, ()):
            call = Call("clamp", (_ref(each), *(Constant(end, kind) for end in ends)), kind)  # type: ignore[arg-type]
            meant = scalar(call, names.__getitem__, held.dialect)
            asked = f"CAST({found.scalar(call)} AS TEXT) IS DISTINCT FROM CAST({meant} AS TEXT)"
            wrong += [each.name] if held.fetch(f"SELECT 0, x.id FROM h AS x WHERE {asked}") else []
    return wrong


def test_stored_columns_are_clamped_to_the_same(held: Held) -> None:
    assert clamps(held) == []


def test_a_clamp_that_is_broken_shows(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    # SQLite's columns are canonical before they are clamped, unless one forgets that values have types there.
    more: dict[str, object] = {"always": ()} if held.dialect == "sqlite" else {}
    for dropped in ({"above": ()}, {"below": ()}):
        monkeypatch.setattr(type(writer(held.dialect)), "kept", _less(**dropped, **more))
        assert clamps(held) != [], dropped


HONEST = {type(writer(dialect)): type(writer(dialect)).kept for dialect in ("duckdb", "sqlite", "postgres")}


BROKEN: Mapping[Dialect, Sequence[dict[str, object]]] = {
    "duckdb": ({"above": ()}, {"below": ()}),
    "postgres": ({"above": ()}, {"below": ()}),
    # date() knows no year after 9999, so that nothing is below the last day by that alone.
    "sqlite": ({"above": ()}, {"always": ()}),
}


def test_a_rule_that_is_broken_shows(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    found = predicates(held.columns, Random(11), 150)  # noqa: S311 - fixed examples, not noise
    for dropped in BROKEN[held.dialect]:
        monkeypatch.setattr(type(writer(held.dialect)), "kept", _less(**dropped))
        assert differences(held, found) != [], dropped


def test_ends_are_implied_by_constants_alone(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = conditions._ends
    monkeypatch.setattr(conditions, "_ends", lambda kept, *_: honest(kept, True, True))
    assert differences(held, predicates(held.columns, Random(11), 150)) != []  # noqa: S311


def test_texts_are_ordered_by_their_bytes() -> None:
    """Equal under a collation is equal, but no order is the same: an index of the column serves equality alone."""
    [column] = [each.column for each in POSTGRES if each.name == "v"]
    write = Conditions(
        {"v": canonical(column, "x", "postgres")}, {"v": bare_column(column, "x", "postgres")}, "postgres"
    )
    value, constant = Ref("v", "text"), Constant("a", "text")
    assert write.write(Call("eq", (value, constant), "boolean")) == "(x.\"v\" = 'a')"
    assert write.write(Call("lt", (value, constant), "boolean")) == '((CAST(x."v" AS TEXT) COLLATE "C") < \'a\')'
    both = write.write(Call("eq", (value, value), "boolean"))
    assert both.count('COLLATE "C"') == 2


def test_what_is_no_part_of_a_list_stays_beside_it() -> None:
    x = Ref("x", "integer")
    constants = (Constant(1, "integer"), Constant(2, "integer"), Constant(Fraction(3), "decimal"))
    parts = tuple(Call("eq", (x, each), "boolean") for each in constants)
    said = Conditions({"x": "t.x"}, {}, "duckdb").write(Call("or", parts, "boolean"))
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT x FROM (VALUES (1), (2), (3), (4)) AS t(x) WHERE {said} ORDER BY x"
        ).fetchall()
    assert rows == [(1,), (2,), (3,)]
