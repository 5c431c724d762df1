"""SQLite files: the schema's traps, rights, limits, hostile values, and exact sums of any size."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from pathlib import Path

import pytest

from gateway.engines.alchemy import AlchemyEngine
from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.open import open_engine
from gateway.engines.sqlite import SqliteBackend
from gateway.engines.sqlitefunctions import add_functions, instant, weighted
from gateway.policy.model import Column, ForeignKey, Physical, TableShape
from gateway.sql.algebra import Call, Constant, Ref
from gateway.sql.functions import PARTS, UNITS
from gateway.sql.offered import OFFERED
from gateway.sql.writing.dialects.depth import parser_depth
from gateway.sql.writing.dialects.registry import writer
from gateway.sql.writing.dialects.sqlite import MOST_DEPTH
from gateway.sql.writing.render import scalar
from tests.oracles.clinic import CLINIC
from tests.oracles.composed import composed
from tests.oracles.databases import sqlite_dataset
from tests.oracles.questions import plan, written

LIMITS = Limits(30)
ENDLESS = "SELECT count(*) FROM big AS a, big AS b, big AS c WHERE (a.x * b.x) % 7 = 3"

SCHEMA = """
CREATE TABLE unit (id INTEGER PRIMARY KEY, alt BIGINT UNIQUE);
CREATE TABLE fact (
    person BIGINT REFERENCES unit, a INT NOT NULL, b INT NOT NULL, n NUMERIC(10, 2) UNIQUE, f DOUBLE PRECISION UNIQUE,
    m VARCHAR(9) UNIQUE, o BOOL, dt DATE, ts DATETIME, bl BLOB, untyped, "we""ird" TEXT, UNIQUE (a, b)
);
CREATE UNIQUE INDEX part ON fact (b) WHERE a > 0;
CREATE UNIQUE INDEX expression ON fact (a + b);
CREATE UNIQUE INDEX later ON fact (person);
CREATE TABLE folded (t TEXT COLLATE NOCASE PRIMARY KEY, u TEXT);
CREATE TABLE strict (a INTEGER NOT NULL, b TEXT NOT NULL, r REAL NOT NULL, x ANY, UNIQUE (a, b), UNIQUE (a, r)) STRICT;
CREATE VIEW seen AS SELECT person, m FROM fact;
CREATE VIRTUAL TABLE magic USING fts5 (word);
CREATE TABLE big AS WITH RECURSIVE r (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 3000) SELECT x FROM r;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(SCHEMA)
    return file


@pytest.fixture
def engine(path: Path) -> Iterator[AlchemyEngine]:
    engine = AlchemyEngine(SqliteBackend(path))
    yield engine
    engine.close()


def test_shape(engine: AlchemyEngine) -> None:
    with engine.session(LIMITS) as session:
        found = session.schema(["unit", "fact", "strict", "seen", "absent", "Unit", "magic", "sqlite_schema"])
    assert found.keys() == {"unit", "fact", "strict", "seen"}
    assert found["unit"] == TableShape(
        (("id", Physical("integer", "INTEGER"), False), ("alt", Physical("integer", "INTEGER"), False)),
        frozenset({frozenset({"id"}), frozenset({"alt"})}),
    )
    fact = found["fact"]
    assert {name: physical.kind if physical else None for name, physical, _ in fact.columns} == {
        "person": "integer",
        "a": "integer",
        "b": "integer",
        "n": "float",
        "f": "float",
        "m": "text",
        "o": "boolean",
        "dt": "date",
        "ts": "timestamp",
        "bl": None,
        "untyped": None,
        'we"ird': "text",
    }
    # NOT NULL does not keep a value of another type away, which is NULL to us; nor does a key of two such columns
    assert not any(not_null for _, _, not_null in fact.columns)
    assert fact.unique == frozenset({frozenset({"person"}), frozenset({"m"})})
    assert fact.foreign_keys == frozenset({ForeignKey(("person",), "unit", ("id",))})
    assert [not_null for _, _, not_null in found["strict"].columns] == [True, True, True, False]
    assert found["strict"].physical("x") is None
    assert found["strict"].unique == frozenset({frozenset({"a", "b"})})
    assert found["seen"] == TableShape(
        (("person", Physical("integer", "INTEGER"), False), ("m", found["seen"].physical("m"), False)),
        frozenset(),
        frozenset(),
        view=True,
    )


def test_text_of_a_collation_names_nobody(engine: AlchemyEngine) -> None:
    with engine.session(LIMITS) as session:
        found = session.schema(["folded", "seen"])
    assert [physical and physical.exact for _, physical, _ in found["folded"].columns] == [False, False]
    assert found["folded"].unique == frozenset()
    assert found["seen"].physical("m") == Physical("text", "TEXT with a collation", exact=False)


@pytest.mark.parametrize(
    "words", ['COLLATE"NOCASE"', "COLLATE[NOCASE]", "COLLATE`RTRIM`", "collate/**/NOCASE", "COLLATE--\nNOCASE"]
)
def test_no_spelling_hides_a_collation(words: str, tmp_path: Path) -> None:
    """Owners are tied as they are stored: under a collation nobody knew of, 'a' would be given the rows of 'A'."""
    file = tmp_path / "hidden.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"CREATE TABLE hidden (t TEXT {words})")
        connection.execute("CREATE TABLE plain (t TEXT COLLATE BINARY)")
    hidden = AlchemyEngine(SqliteBackend(file))
    try:
        with hidden.session(LIMITS) as session:
            found = session.schema(["hidden", "plain"])
    finally:
        hidden.close()
    assert found["hidden"].physical("t") == Physical("text", "TEXT with a collation", exact=False)
    assert found["plain"].physical("t") == Physical("text", "TEXT")


def test_tables(engine: AlchemyEngine) -> None:
    assert sorted(engine.tables()) == ["big", "fact", "folded", "seen", "strict", "unit"]


def test_rights_are_read_only(engine: AlchemyEngine, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.read_only()
    monkeypatch.setattr(SqliteBackend, "_connect", lambda self: sqlite3.connect(self._path, isolation_level=None))
    assert not AlchemyEngine(SqliteBackend(path)).read_only()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO unit VALUES (1, 1)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "ATTACH ':memory:' AS m",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('x')",
        "SELECT nothing_such FROM unit",
        "SELECT * FROM absent",
        "SELECT 'unterminated",
        "WITH RECURSIVE r (x) AS (SELECT 1 UNION ALL SELECT x FROM r) SELECT COUNT(*) FROM r",
        "",
    ],
)
def test_everything_else_is_an_engine_error(engine: AlchemyEngine, sql: str) -> None:
    with engine.session(LIMITS) as session, pytest.raises(EngineError):
        session.fetch(sql)


def test_a_percent_sign_is_one(engine: AlchemyEngine) -> None:
    with engine.session(LIMITS) as session:
        assert session.fetch("SELECT '%s %(a)s :b ?' AS t").to_pylist() == [{"t": "%s %(a)s :b ?"}]


def test_a_session_is_one_snapshot(engine: AlchemyEngine, path: Path) -> None:
    with closing(sqlite3.connect(path)) as writer_connection:
        writer_connection.execute("PRAGMA journal_mode = WAL")
        with engine.session(LIMITS) as session:
            before = session.fetch("SELECT COUNT(*) AS n FROM unit").to_pylist()
            writer_connection.execute("INSERT INTO unit VALUES (7, 7)")
            writer_connection.commit()
            assert session.fetch("SELECT COUNT(*) AS n FROM unit").to_pylist() == before
        with engine.session(LIMITS) as session:
            assert session.fetch("SELECT COUNT(*) AS n FROM unit").to_pylist() == [{"n": 1}]


def test_time_limit_and_cancel(engine: AlchemyEngine) -> None:
    with engine.session(Limits(0.3)) as session, pytest.raises(EngineError, match="time limit"):
        session.fetch(ENDLESS)
    with engine.session(LIMITS) as session:
        timer = threading.Timer(0.2, session.cancel)
        timer.start()
        start = time.monotonic()
        with pytest.raises(EngineError, match="cancelled"):
            session.fetch(ENDLESS)
        assert time.monotonic() - start < 20
        timer.join()


def test_missing_and_broken_files(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"not a database" * 1000)
    half = tmp_path / "half.sqlite"
    with closing(sqlite3.connect(half)) as connection:
        connection.executescript(SCHEMA)
    half.write_bytes(half.read_bytes()[:700])
    wide = tmp_path / "wide.sqlite"
    with closing(sqlite3.connect(wide)) as connection:
        connection.executescript("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)")
    for file in (tmp_path / "none.sqlite", broken, half, wide, tmp_path):
        with pytest.raises(EngineUnavailable, match=str(file)), open_engine(f"sqlite:///{file}").session(LIMITS):
            pass
    assert not (tmp_path / "none.sqlite").exists()


HOSTILE: tuple[object, ...] = (
    *(None, 0, 1, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 2.5, 1e308, -1e308, 5e-324, float("inf"), float("-inf")),
    *(
        "",
        "abc",
        "1",
        "1e400",
        "2020-01-02",
        "2020-01-02 ",
        "2020-02-30",
        "2020-01-02 03:04:05",
        "2020-01-02T03:04:05.5",
        "now",
    ),
    *("0000-01-01", "10000-01-01", "2020-01-02 25:00:00", "2020-01-02 24:00:00", "\x00", "a\x00b", "9" * 5000),
    *(b"", b"\xff\xfe", b"2020-01-02", "é", "e\u0301", "\U0001f600", "٣", "2020-01-02 03:04:05.1234567"),
)


@pytest.mark.parametrize("kind", ["integer", "boolean", "float", "text", "date", "timestamp"])
def test_canonical_columns_are_total(engine: AlchemyEngine, path: Path, kind: str) -> None:
    """Every value that SQLite may hold becomes one of the declared kind, or NULL; keys of it reach Arrow."""
    with closing(sqlite3.connect(path)) as connection, connection:
        # A collation of the column decides nothing: '2020-01-02 ' is no date under RTRIM either.
        connection.execute("CREATE TABLE h (id INTEGER PRIMARY KEY, v COLLATE RTRIM)")
        connection.executemany("INSERT INTO h (v) VALUES (?)", [(value,) for value in HOSTILE])
        # text that is no UTF-8, as SQLite keeps it without a word
        connection.execute("INSERT INTO h (v) VALUES (CAST(x'ff41' AS TEXT))")
    write, column = writer("sqlite"), Column("v", "text", Physical(kind, "ANY"))  # type: ignore[arg-type]
    key = write.key(write.canonical(column, "h.v"), column.physical.kind)
    shown = write.shown("k", column.physical.kind)
    sql = f"SELECT {shown} AS k, COUNT(*) AS n FROM (SELECT {key} AS k FROM h) GROUP BY k"
    with engine.session(LIMITS) as session:
        rows = session.fetch(sql).to_pylist()
    found = {row["k"]: row["n"] for row in rows}
    assert sum(found.values()) == len(HOSTILE) + 1
    assert len(found) == len(rows)
    expected: dict[str, set[object]] = {
        "integer": {value for value in HOSTILE if type(value) is int},
        "boolean": {False, True},
        "float": {float(v) for v in HOSTILE if isinstance(v, int | float) and abs(v) != float("inf")},
        "text": {value for value in HOSTILE if isinstance(value, str)},
        "date": {date(2020, 1, 2)},
        "timestamp": {
            datetime(2020, 1, 2),  # noqa: DTZ001
            datetime(2020, 1, 2, 3, 4, 5),  # noqa: DTZ001
            datetime(2020, 1, 2, 3, 4, 5, 500000),  # noqa: DTZ001
        },
    }
    assert found.keys() - {None} == expected[kind]


def test_sums_are_exact_beyond_64_bits(engine: AlchemyEngine) -> None:
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(sqlite3.OperationalError, match="overflow"):
        connection.execute("SELECT SUM(x) FROM (SELECT 9223372036854775807 AS x UNION ALL SELECT 1)").fetchall()
    write = writer("sqlite")
    sql = f"SELECT {write.total('x * 2251799813685248')} AS s, {write.total('NULL')} AS z FROM big"
    with engine.session(LIMITS) as session:
        assert session.fetch(sql).to_pylist() == [{"s": 2251799813685248 * 3000 * 3001 // 2, "z": 0}]
        nothing = session.fetch(f"{sql} WHERE x < 0").to_pylist()
        assert nothing == [{"s": 0, "z": 0}]
        held = session.fetch(f"SELECT {write.folded_sum('x', 2**62)} AS s, {write.folded_double('x')} AS d FROM big")
        assert held.to_pylist() == [{"s": 2**63 - 1, "d": 4501500.0}]


@pytest.mark.parametrize(("amount", "total"), [(7, 3), (-7, 3), (2**70, 5), (-(2**70), 5), (0, 1), ("123", "7")])
def test_weights_round_toward_zero(amount: int | str, total: int | str) -> None:
    exact = int(amount) * 2**31 / int(total)
    found = int(weighted(amount, 2**31, total) or "")
    assert abs(found) <= abs(int(amount) * 2**31) // int(total)
    assert found == pytest.approx(exact)
    assert weighted(None, 1, 2) is None
    assert weighted(1, 1, 0) is None


def test_instants_are_told_apart_by_what_they_say() -> None:
    assert instant(b"2020-01-02") == "2020-01-02 00:00:00.000000"
    assert instant("٢020-01-02".encode()) is None


def test_doubles_are_written_bit_by_bit() -> None:
    write, chance = writer("sqlite"), random.Random(7)  # noqa: S311
    values = [0.1, -0.1, 1e300, 5e-324, 1.7976931348623157e308, 2.0**-1022, 0.0, 200000.0000001, 2.0**62]
    values += [chance.uniform(-1, 1) * 10.0 ** chance.randint(-300, 300) for _ in range(300)]
    with closing(sqlite3.connect(":memory:")) as connection:
        for value in values:
            assert connection.execute(f"SELECT {write.double(value)}").fetchall() == [(value,)]


def test_the_parser_reads_all_that_is_admitted(tmp_path: Path) -> None:
    """The bound of the parser's stack is one: a real parser needs no more."""
    dataset = sqlite_dataset(CLINIC, tmp_path / "clinic.sqlite")
    with closing(sqlite3.connect(tmp_path / "clinic.sqlite")) as connection:
        add_functions(connection)
        for seed in range(40):
            asked = composed(CLINIC, seed)
            try:
                planned = plan(written(asked.text), dataset)
            except Exception:  # noqa: S112 - refused, as others are
                continue
            sql = planned.releases[0].sql
            free = MOST_DEPTH - parser_depth(sql)
            # as many entries more as the bound leaves: the parser has room for them
            connection.execute(f"EXPLAIN SELECT {'(' * free}EXISTS ({sql}){')' * free}").fetchall()


def test_deeper_texts_are_not_admitted() -> None:
    nested = "a"
    for _ in range(40):
        nested = f"(CASE WHEN ({nested} = 1) THEN 1 ELSE NULL END)"
    assert not writer("sqlite").admits(f"SELECT {nested} FROM t")
    assert writer("duckdb").admits(f"SELECT {nested} FROM t")
    many = " JOIN t ON TRUE" * 70
    assert not writer("sqlite").admits(f"SELECT COUNT(*) FROM t{many}")


SCALARS: dict[str, tuple[tuple[object, ...], ...]] = {
    **dict.fromkeys(("left", "right"), ((3,),)),
    "substring": ((2, 3),),
    "replace": (("a", "bbbbbbbbbb"),),
    **dict.fromkeys(("trim", "trim_left", "trim_right", "position"), ((" ",), ("é",))),
    **dict.fromkeys(("like", "like_escaped"), (("%a_c%",), ("",), ("!%",), ("%",), ("a%b%",))),
    "power": ((-0.5,), (1e300,), (float("inf"),), (0.0,)),
    "plus": (),
    "split_part": ((",", 1), ("é", 10_000)),
    **dict.fromkeys(("least", "greatest"), ((1,), (None, None))),
}
"""The further arguments of the functions that have some; those that begin with a name are below."""


def test_functions_of_ours_raise_nothing() -> None:
    """Each function that a template names, on whatever SQLite may hold."""
    names = {name for sql in OFFERED["sqlite"].values() for name in re.findall(r"discreet_([a-z_0-9]+)", sql)}
    texts = [value for value in HOSTILE if isinstance(value, str | bytes)]
    raw = [value.encode() if isinstance(value, str) else value for value in texts]
    numbers = [float(value) for value in HOSTILE if isinstance(value, int | float)]
    moments = [value for value in HOSTILE if isinstance(value, str)]
    calls: list[tuple[str, tuple[object, ...]]] = [("tiny", ())]
    for name in names - {"tiny", "part", "cut", "days", "plus", "seconds"}:
        of_text = f"discreet_{name}(CAST" in "".join(OFFERED["sqlite"].values())
        firsts: list[object] = [None, *(raw if of_text else numbers)]
        calls += [(name, (first, *more)) for first in firsts for more in SCALARS.get(name, ((),))]
    for moment in (None, *moments):
        calls += [("part", (part, moment)) for part in PARTS] + [("cut", (unit, moment)) for unit in UNITS]
        calls += [("plus", (unit, moment, n)) for unit in ("day", "month", "second") for n in (1, -9_999_999, 10**12)]
        calls += [("days", (moment, other)) for other in moments] + [("seconds", (moment,))]
    assert {name for name, _ in calls} == names
    with closing(sqlite3.connect(":memory:")) as connection:
        add_functions(connection)
        for name, values in calls:
            connection.execute(f"SELECT discreet_{name}({', '.join('?' * len(values))})", values).fetchall()


def test_no_pattern_takes_long() -> None:
    text = ("ab" * 5_000).encode()
    with closing(sqlite3.connect(":memory:")) as connection:
        add_functions(connection)
        hard = "%a_a%" * 150 + "c"
        [(found,)] = connection.execute("SELECT discreet_like(?, ?)", (text, hard)).fetchall()
        assert found == 0


def test_many_arguments_are_functions_of_functions() -> None:
    values = [str(value) for value in range(1000)]
    with closing(sqlite3.connect(":memory:")) as connection:
        add_functions(connection)
        connection.setlimit(sqlite3.SQLITE_LIMIT_FUNCTION_ARG, 100)
        write = writer("sqlite")
        for template, found in (("discreet_least({*})", 0), ("discreet_greatest({*})", 999), ("COALESCE({*})", 0)):
            for count in (1, 2, 51, 1000):
                sql = f"SELECT {write.variadic(template, values[:count])}"
                expected = count - 1 if found else 0
                assert connection.execute(sql).fetchall() == [(expected,)]


@pytest.mark.parametrize(
    ("function", "others", "expected"),
    [
        ("least", ("b",), ["61FF", "62", "61"]),
        ("greatest", ("a",), ["61FF", "61", "61"]),
        ("upper", (), ["", "", "41"]),
    ],
)
def test_text_that_is_no_utf_8_is_no_error_where_texts_are_compared(
    path: Path, engine: AlchemyEngine, function: str, others: tuple[str, ...], expected: list[str]
) -> None:
    """LEAST and GREATEST were given it as text, which no function of Python's can take: one row was an error."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE words (w TEXT)")
        connection.execute("INSERT INTO words VALUES (CAST(x'61ff' AS TEXT)), (NULL), ('a')")
        connection.commit()
    call = Call(function, (Ref("w", "text"), *(Constant(other, "text") for other in others)), "text")
    written_call = scalar(call, str, "sqlite")
    with engine.session(LIMITS) as session:
        rows = session.fetch(f"SELECT hex({written_call}) AS h FROM words ORDER BY rowid").to_pylist()
    assert [row["h"] for row in rows] == expected


def test_a_text_with_the_character_nul_is_a_literal_as_well(engine: AlchemyEngine) -> None:
    """Groups that an earlier answer listed are texts of the data; SQLite takes no statement that holds one."""
    for text in ("x\0y", "\0", "'\0", "x", ""):
        written = writer("sqlite").text(text)
        same = f"SELECT {written} COLLATE BINARY = CAST(CAST(x'{text.encode().hex()}' AS BLOB) AS TEXT) AS a"
        with engine.session(LIMITS) as session:
            assert session.fetch(f"{same}, hex(CAST({written} AS BLOB)) AS b").to_pylist() == [
                {"a": 1, "b": text.encode().hex().upper()}
            ]


def test_what_is_computed_whenever_it_is_read_is_not_read(tmp_path: Path) -> None:
    # added to a table that has rows, it is computed of none of them before somebody asks
    with closing(sqlite3.connect(tmp_path / "computed.sqlite")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER, w INTEGER AS (v + 1) STORED)")
        connection.execute(f"INSERT INTO t (id, v) VALUES (1, 2), (2, {-(2**63)})")
        connection.execute("ALTER TABLE t ADD COLUMN n INTEGER AS (abs(v)) VIRTUAL")
        connection.commit()
    with open_engine(f"sqlite:///{tmp_path / 'computed.sqlite'}").session(LIMITS) as session:
        shape = session.schema(["t"])["t"]
        with pytest.raises(EngineError):
            session.fetch("SELECT COUNT(n) FROM t")
    assert [(name, physical is None) for name, physical, _ in shape.columns] == [
        *(("id", False), ("v", False), ("w", False), ("n", True))
    ]
