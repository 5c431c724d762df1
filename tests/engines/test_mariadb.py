"""MariaDB: its catalogue, settings, rights and limits; every function on hostile values; the oracles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings

from gateway.engines.base import Engine, EngineError, EngineUnavailable, Limits
from gateway.engines.open import open_engine
from gateway.errors import SqlRefused
from gateway.policy.model import Dataset, ForeignKey
from gateway.sandbox import Sandbox
from gateway.sql.writing.dialects.registry import writer
from tests.mariadb import MariadbDatabase, mariadb_folder, root, stored, url
from tests.oracles import neighbours, test_infinite
from tests.oracles import test_neighbours as test_over_one_table
from tests.oracles.clinic import CLINICS
from tests.oracles.composed import Composed
from tests.oracles.databases import Bases
from tests.oracles.databases import dataset as resolved
from tests.oracles.questions import Asked, plan, written
from tests.oracles.test_composed import CASES, under_answers, under_neighbours
from tests.oracles.test_neighbours import RANDOM, SLOW, SQLITE_CASES
from tests.oracles.worlds import SQLITE_WORLDS, Data, World
from tests.sql.hostile import EXPRESSIONS, HOSTILE, data
from tests.sql.test_conditions import Held, differences, kept_rows, predicates
from tests.sql.test_functions import lowered, mistakes, values
from tests.sql.test_units import MEANT, check

__all__ = ["mariadb_folder"]

pytestmark = [
    pytest.mark.mariadb,
    # PyMySQL leaves the socket of a refused connection to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
LIMITS = Limits(60)


@pytest.fixture(scope="module")
def base(mariadb_folder: Path) -> MariadbDatabase:
    return MariadbDatabase(HOSTILE, mariadb_folder, "hostile")


@pytest.fixture(scope="module")
def hostile(base: MariadbDatabase) -> Data:
    """The rows as MariaDB is given them; days that are none are NULL to us."""
    rows = data(Random(7), 60)["hostile"]  # noqa: S311 - fixed examples, not noise
    base.fill({"hostile": rows})
    none = ("0000-00-00", "2020-02-00")
    return {"hostile": [tuple(None if stored(v) in none else stored(v) for v in row) for row in rows]}


@pytest.fixture(scope="module")
def dataset(base: MariadbDatabase) -> Dataset:
    return resolved(HOSTILE, "mysql", base.url)


@pytest.mark.parametrize(("dialect", "expression"), EXPRESSIONS)
def test_a_function(dialect: str, expression: str, base: MariadbDatabase, dataset: Dataset, hostile: Data) -> None:
    try:
        made = lowered(expression, dialect, dataset)
    except SqlRefused as refusal:
        assert refusal.code == "function-unknown"  # noqa: PT017 - which are refused, tests/sql/test_functions.py says
        return
    assert list(mistakes(expression, made, "mysql", values(base.fetch, made.sql), hostile)) == []


def test_sums_and_products_of_decimals_are_exact(base: MariadbDatabase, dataset: Dataset, hostile: Data) -> None:
    assert [check(meant, [(dataset, base)], hostile) for meant in MEANT] == [1] * len(MEANT)


def test_conditions_keep_the_same_rows(base: MariadbDatabase, dataset: Dataset, hostile: Data) -> None:
    """Days that the calendar does not have are stored too, above and below others, and are kept by no condition."""
    assert len(hostile["hostile"]) == len(kept_rows(base.fetch("SELECT 0 AS q, id FROM hostile")))
    [table] = dataset.tables
    held = Held("mysql", table.columns, lambda sql: kept_rows(base.fetch(sql)))
    random = Random(11)  # noqa: S311 - fixed examples, not noise
    for _ in range(8):
        assert differences(held, predicates(held.columns, random, 30), "hostile") == []


@pytest.fixture(scope="module")
def mariadbs(mariadb_folder: Path) -> Bases:
    """Two databases for each world."""
    found = Bases()
    for world in (*SQLITE_WORLDS, *CLINICS):
        first, second = (MariadbDatabase(world, mariadb_folder, f"{world.name}_{number}") for number in (0, 1))
        found[world] = resolved(world, "mysql", first.url), (first, second)
    return found


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=2**28, seconds=20)
    yield opened
    opened.close()


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW, phases=[Phase.generate])
@given(case=SQLITE_CASES, random=RANDOM)
def test_neighbours(mariadbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random) -> None:
    world, asked = case
    test_over_one_table.check(world, *mariadbs[world], sandbox, asked, random)


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW, phases=[Phase.generate])
@given(case=SQLITE_CASES, random=RANDOM)
def test_infinite_epsilon(
    mariadbs: Bases, sandbox: Sandbox, case: tuple[World, list[Asked]], random: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_infinite.silence(monkeypatch)
    world, asked = case
    dataset, (base, _) = mariadbs[world]
    test_infinite.check(world, dataset, base, sandbox, asked, random)


@settings(max_examples=12, deadline=None, suppress_health_check=SLOW, phases=[Phase.generate])
@given(case=CASES, random=RANDOM)
def test_joins_and_windows(
    mariadbs: Bases, sandbox: Sandbox, case: tuple[World, list[Composed]], random: Random
) -> None:
    world, asked = case
    dataset, bases = mariadbs[world]
    under_neighbours(world, dataset, bases, sandbox, asked, random)
    under_answers(world, dataset, bases[0], sandbox, asked, random)


SCHEMA = """
CREATE TABLE unit (id BIGINT PRIMARY KEY, alt BIGINT UNIQUE) ENGINE=InnoDB;
CREATE TABLE fact (
  person BIGINT, a INT UNSIGNED NOT NULL, b BIGINT UNSIGNED NOT NULL, n DECIMAL(10, 2), w DECIMAL(60, 2), f FLOAT,
  o BOOLEAN NOT NULL, d DATE NOT NULL, ts TIMESTAMP NULL, dt DATETIME(3), t VARCHAR(20) COLLATE utf8mb4_general_ci,
  x VARCHAR(20) COLLATE utf8mb4_nopad_bin, wide VARCHAR(2000), body TEXT, e ENUM('p', 'q'), bl BLOB,
  once BIGINT AS (b + 1) STORED, anew BIGINT AS (b + 1) VIRTUAL,
  PRIMARY KEY (a, b), FOREIGN KEY (person) REFERENCES unit (id)
) ENGINE=InnoDB;
CREATE TABLE days (d DATE PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE folded (t VARCHAR(9) COLLATE utf8mb4_general_ci PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE begun (
  person BIGINT, t VARCHAR(20) COLLATE utf8mb4_nopad_bin, PRIMARY KEY (person, t(2))
) ENGINE=InnoDB;
CREATE TABLE elsewhere (id BIGINT PRIMARY KEY) ENGINE=MyISAM;
CREATE VIEW seen AS SELECT person, t FROM fact;
INSERT INTO unit VALUES (1, 1), (2, NULL)
"""


@pytest.fixture(scope="module")
def shop(mariadb_folder: Path) -> str:
    with closing(root(mariadb_folder)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE DATABASE shop CHARACTER SET utf8mb4")
        cursor.execute("USE shop")
        for statement in SCHEMA.split(";"):
            cursor.execute(statement)
        cursor.execute("CREATE USER IF NOT EXISTS shopper IDENTIFIED BY 'hidden'")
        cursor.execute("GRANT SELECT ON shop.* TO shopper")
    return url(mariadb_folder, "shop", "shopper:hidden")


@pytest.fixture
def engine(shop: str) -> Iterator[Engine]:
    opened = open_engine(shop)
    yield opened
    opened.close()


def test_shape(engine: Engine) -> None:
    assert engine.dialect == "mysql"
    assert sorted(engine.tables()) == ["begun", "days", "fact", "folded", "seen", "unit"]
    with engine.session(LIMITS) as session:
        found = session.schema(["unit", "fact", "days", "folded", "begun", "seen", "elsewhere", "absent"])
    assert found.keys() == {"unit", "fact", "days", "folded", "begun", "seen"}
    # with unique_checks off, another unique index than the primary key may hold a value twice
    assert found["unit"].unique == frozenset({frozenset({"id"})})
    fact = found["fact"]
    kinds = {name: physical and (physical.kind, physical.exact) for name, physical, _ in fact.columns}
    assert kinds == {
        "person": ("integer", True),
        "a": ("integer", True),
        "b": ("integer", True),
        "n": ("decimal", True),
        "w": None,
        "f": ("float", True),
        "o": ("boolean", False),
        "d": ("date", False),
        "ts": ("timestamp", False),
        "dt": ("timestamp", False),
        "t": ("text", False),
        "x": ("text", True),
        "wide": None,
        "body": None,
        "e": None,
        "bl": None,
        "once": ("integer", True),
        "anew": None,  # computed whenever it is read, which may raise an error at one row
    }
    assert {name for name, _, not_null in fact.columns if not_null} == {"a", "b"}
    assert fact.unique == frozenset({frozenset({"a", "b"})})
    assert fact.foreign_keys == frozenset({ForeignKey(("person",), "unit", ("id",))})
    # a day that is none becomes NULL, and texts that the collation folds are two to us
    assert found["days"].unique == found["folded"].unique == frozenset()
    # a person may have many texts, and so many rows, under a key of their first letters
    assert found["begun"].unique == frozenset()
    assert found["seen"].view


def test_rights(engine: Engine, shop: str, mariadb_folder: Path) -> None:
    assert engine.read_only()
    assert not open_engine(url(mariadb_folder, "shop", "root")).read_only()
    for more in ("INSERT ON shop.*", "DELETE ON shop.unit", "FILE ON *.*", "EXECUTE ON shop.*"):
        with closing(root(mariadb_folder)) as connection, connection.cursor() as cursor:
            cursor.execute(f"GRANT {more} TO shopper")
            assert not engine.read_only(), more
            cursor.execute(f"REVOKE {more} FROM shopper")
    assert engine.read_only()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO unit VALUES (9, 9)",
        "CREATE TABLE other (x INT)",
        "SET SESSION sql_mode = ''",
        "SELECT * FROM absent",
        "SELECT 'unterminated",
        "SELECT 1 INTO OUTFILE '/tmp/discreet'",
        "SELECT POW(1e300, 2)",
        "",
    ],
)
def test_everything_else_is_an_engine_error(engine: Engine, sql: str) -> None:
    with engine.session(LIMITS) as session, pytest.raises(EngineError):
        session.fetch(sql)


def test_texts_are_texts(engine: Engine) -> None:
    sql = "SELECT 'a\\b' AS a, '%s :x' AS b, 'é😀' AS c, 'a' = 'a ' AS d, 'a' = 'A' AS e, 'x' || 'y' AS f"
    with engine.session(LIMITS) as session:
        [row] = session.fetch(sql).to_pylist()
    assert list(row.values()) == ["a\\b", "%s :x", "é😀", 0, 0, "xy"]


def test_sums_are_exact(engine: Engine) -> None:
    write, most, rows = writer("mysql"), 2**63 - 1, 1000
    source = f"SELECT CAST({most} AS SIGNED) AS x FROM (SELECT seq FROM seq_1_to_{rows}) AS s"
    items = [
        f"{write.total('x')} AS s",
        f"{write.total('CASE WHEN x < 0 THEN x END')} AS z",
        f"{write.weighted(write.part('x'), '7', 2**31)} AS w",
        f"{write.weighted(write.part('-x'), '7', 2**31)} AS v",
        f"{write.folded_sum('x', 2**20)} AS f",
        f"{write.folded_double('x')} AS d",
        f"{write.quotient(write.wide(str(2**60)) + f' * {2**60}', 7 * 2**40)} AS q",
    ]
    with engine.session(LIMITS) as session:
        [row] = session.fetch(f"SELECT {', '.join(items)} FROM ({source}) AS t").to_pylist()
    heavy = most * rows * 2**31 // 7
    whole = {"s": most * rows, "z": 0, "w": heavy, "v": -heavy, "f": most * rows * 2**20, "q": 2**80 // 7}
    assert {name: int(value) for name, value in row.items()} == {**whole, "d": int(float(most * rows))}


def test_a_session_is_one_snapshot(engine: Engine, mariadb_folder: Path) -> None:
    with closing(root(mariadb_folder, "shop")) as connection, connection.cursor() as cursor:
        with engine.session(LIMITS) as session:
            cursor.execute("INSERT INTO unit VALUES (7, 7)")
            assert session.fetch("SELECT COUNT(*) AS n FROM unit").to_pylist() == [{"n": 2}]
        cursor.execute("DELETE FROM unit WHERE id = 7")


ENDLESS = "SELECT COUNT(*) AS n FROM seq_1_to_100000 AS a, seq_1_to_100000 AS b WHERE (a.seq * b.seq) % 7 = 3"


def test_time_limit_and_cancel(engine: Engine) -> None:
    with engine.session(Limits(0.5)) as session, pytest.raises(EngineError):
        session.fetch(ENDLESS)
    with engine.session(LIMITS) as session:
        timer = threading.Timer(0.3, session.cancel)
        timer.start()
        with pytest.raises(EngineError, match="cancelled"):
            session.fetch(ENDLESS)
        timer.join()


def test_settings_of_the_server_do_not_matter(engine: Engine, mariadb_folder: Path) -> None:
    with closing(root(mariadb_folder)) as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL sql_mode = 'ORACLE', GLOBAL time_zone = '+05:00', GLOBAL max_sort_length = 8")
        try:
            with engine.session(LIMITS) as session:
                [row] = session.fetch("SELECT @@sql_mode AS m, @@time_zone AS z, @@tx_read_only AS r").to_pylist()
        finally:
            cursor.execute(
                "SET GLOBAL sql_mode = DEFAULT, GLOBAL time_zone = DEFAULT, GLOBAL max_sort_length = DEFAULT"
            )
    assert "NO_BACKSLASH_ESCAPES" in row["m"]
    assert row["z"] == "+00:00"


def test_a_server_that_is_gone_or_goes(shop: str, mariadb_folder: Path) -> None:
    for wrong in (url(mariadb_folder, "shop", "shopper:wrong"), url(mariadb_folder, "absent", "shopper:hidden")):
        with pytest.raises(EngineUnavailable) as told, open_engine(wrong).session(LIMITS):
            pass
        assert "hidden" not in str(told.value)
    with pytest.raises(EngineUnavailable), open_engine("mariadb://u@localhost/d?socket=/nowhere/s").session(LIMITS):
        pass
    engine = open_engine(shop)
    with engine.session(LIMITS) as session, closing(root(mariadb_folder)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'shopper'")
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
        with pytest.raises(EngineError):
            session.fetch("SELECT COUNT(*) AS n FROM unit")
    with engine.session(LIMITS) as session:
        assert session.fetch("SELECT COUNT(*) AS n FROM unit").to_pylist() == [{"n": 2}]


def test_the_server_reads_all_that_is_admitted(engine: Engine) -> None:
    write = writer("mysql")
    nested, value = "SELECT id FROM unit", "id"
    with engine.session(LIMITS) as session:
        while write.admits(f"SELECT e.id FROM ({nested}) AS e"):
            nested = f"SELECT e.id FROM ({nested}) AS e"
        assert len(session.fetch(nested)) == 2
        while write.admits(f"SELECT (CASE WHEN (COALESCE(({value} + 1), 2) = 1) THEN 1 ELSE 2 END) AS v FROM unit"):
            value = f"(CASE WHEN (COALESCE(({value} + 1), 2) = 1) THEN 1 ELSE 2 END)"
        assert len(session.fetch(f"SELECT {value} AS v FROM unit")) == 2


def test_a_question_in_its_own_words(mariadbs: Bases, sandbox: Sandbox) -> None:
    dataset, (base, _) = mariadbs[CLINICS[0]]
    base.fill({})
    for sql in (
        'SELECT `sex`, COUNT(*) FROM `person` WHERE `age` DIV 2 > 10 AND sex <> "it\'s" GROUP BY `sex`',
        "SELECT YEAR(day) AS y, SUM(cost) FROM visit WHERE kind LIKE 'a\\_%' GROUP BY YEAR(day)",
    ):
        planned = plan(written(sql), dataset, "mysql")
        neighbours.answered(planned, base.fetch, sandbox, dataset)
