"""PostgreSQL: the catalogue's traps, rights, settings, limits, and Arrow of exact values."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pyarrow as pa
import pytest

from gateway.engines import postgres
from gateway.engines.base import Engine, EngineError, EngineUnavailable, Limits
from gateway.engines.open import open_engine
from gateway.policy.model import ForeignKey, Physical

LIMITS = Limits(30)
ENDLESS = "SELECT pg_sleep(60)::text"

SCHEMA = """
CREATE COLLATION ci FROM "C";
CREATE DOMAIN age AS integer;
CREATE TABLE unit (id bigint PRIMARY KEY, alt integer UNIQUE DEFERRABLE, code text UNIQUE NULLS NOT DISTINCT);
CREATE TABLE fact (
    person bigint REFERENCES unit (id), a integer NOT NULL, b integer NOT NULL, c integer,
    folded text COLLATE ci UNIQUE, binary_text text COLLATE "C" UNIQUE, blank character(3) UNIQUE,
    short varchar(5), d numeric(10, 2) UNIQUE, loose numeric UNIQUE, odd numeric(3, -2), f double precision UNIQUE,
    r real, s smallint, o boolean, dt date, ts timestamp, tz timestamptz, u uuid, dom age, arr integer[], j jsonb,
    UNIQUE (a, b), UNIQUE (a, c)
);
CREATE UNIQUE INDEX part ON fact (b) WHERE a > 0;
CREATE UNIQUE INDEX expression ON fact ((a + b));
CREATE UNIQUE INDEX covering ON fact (s) INCLUDE (a);
CREATE TABLE parent (id integer PRIMARY KEY, x integer NOT NULL);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE young (x integer);
INSERT INTO young VALUES (NULL);
ALTER TABLE young ADD CONSTRAINT nn NOT NULL x NOT VALID;
CREATE VIEW seen AS SELECT id FROM unit;
CREATE SCHEMA other; CREATE TABLE other.only_there (x integer); CREATE TABLE other.unit (y text);
CREATE TABLE pointing (x integer);
-- the test's server is built without ICU, which alone makes such collations: the catalogue is told that this is one
UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'ci';
"""


@pytest.fixture
def reader_url(postgres_url: str) -> Iterator[str]:
    """The database with a schema in it, and the URL of a role that may SELECT and nothing else."""
    database = urlsplit(postgres_url).path[1:]
    role = f"reader_{database}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        for schema in ("public", "other"):
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}".encode())
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}".encode())
    parts = urlsplit(postgres_url)
    yield urlunsplit(parts._replace(netloc=f"{role}@"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}".encode())


@pytest.fixture
def engine(reader_url: str) -> Engine:
    return open_engine(reader_url)


def test_shape(engine: Engine) -> None:
    with engine.session(LIMITS) as session:
        found = session.schema(["unit", "fact", "seen", "absent", "only_there"])
    assert found.keys() == {"unit", "fact", "seen"}
    # a deferrable key is unchecked while a transaction runs; NULLS NOT DISTINCT only says more
    assert found["unit"].unique == frozenset({frozenset({"id"}), frozenset({"code"})})
    assert [not_null for _, _, not_null in found["unit"].columns] == [True, False, False]
    fact = found["fact"]
    assert {name: physical for name, physical, _ in fact.columns} == {
        "person": Physical("integer", "bigint"),
        "a": Physical("integer", "integer"),
        "b": Physical("integer", "integer"),
        "c": Physical("integer", "integer"),
        "folded": Physical("text", "text COLLATE ci", exact=False),
        "binary_text": Physical("text", "text COLLATE C"),
        "blank": Physical("text", "character", exact=False),
        "short": Physical("text", "character varying"),
        "d": Physical("decimal", "numeric(10,2)", 2),
        "loose": Physical("decimal", "numeric"),
        "odd": None,
        "f": Physical("float", "double precision"),
        "r": Physical("float", "real"),
        "s": Physical("integer", "smallint"),
        "o": Physical("boolean", "boolean"),
        "dt": Physical("date", "date"),
        "ts": Physical("timestamp", "timestamp without time zone"),
        "tz": None,
        "u": None,
        "dom": None,
        "arr": None,
        "j": None,
    }
    # neither the partial nor the expression index, nor inexact columns, nor (a, c) where c may be NULL
    keys = {frozenset({"a", "b"}), frozenset({"binary_text"}), frozenset({"d"}), frozenset({"s"})}
    assert fact.unique == frozenset(keys)
    assert fact.foreign_keys == frozenset({ForeignKey(("person",), "unit", ("id",))})
    assert found["seen"].unique == frozenset()
    assert found["seen"].columns == (("id", Physical("integer", "bigint"), False),)


def test_inherited_and_unvalidated_constraints_are_no_facts(engine: Engine) -> None:
    with engine.session(LIMITS) as session:
        found = session.schema(["parent", "parts", "young"])
    assert found["parent"].unique == frozenset()
    assert [not_null for _, _, not_null in found["parent"].columns] == [False, False]
    assert found["parts"].unique == frozenset({frozenset({"id"})})
    assert [not_null for _, _, not_null in found["young"].columns] == [False]


def test_citext_is_not_read(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        available = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'citext'").fetchone()
        if available is None:
            # the extension's own definition in one line: what matters is a type outside pg_catalog
            connection.execute("CREATE TYPE citext AS ENUM ('a')")
        else:
            connection.execute("CREATE EXTENSION citext")
        connection.execute("CREATE TABLE t (x citext UNIQUE)")
    with open_engine(postgres_url).session(LIMITS) as session:
        shape = session.schema(["t"])["t"]
    assert shape.columns == (("x", None, False),)
    assert shape.unique == frozenset()


def test_what_is_computed_elsewhere_is_read_as_computed_or_not_at_all(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        version = connection.info.server_version
        # since version 18 a column may be computed whenever it is read, and so raise an error at one row
        virtual = "VIRTUAL" if version >= 180_000 else "STORED"
        connection.execute(f"CREATE TABLE t (x integer, y integer GENERATED ALWAYS AS (100 / x) {virtual})".encode())
        connection.execute(b"CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w")
        connection.execute(b"CREATE FOREIGN TABLE elsewhere (x integer NOT NULL) SERVER s")
    with open_engine(postgres_url).session(LIMITS) as session:
        found = session.schema(["t", "elsewhere"])
    assert (found["t"].physical("y") is None) == (version >= 180_000)
    assert found["t"].physical("x") is not None
    assert found["elsewhere"].view
    assert found["elsewhere"].columns == (("x", Physical("integer", "integer"), False),)


def test_rows_that_a_policy_chooses_are_read_as_a_view(engine: Engine, postgres_url: str) -> None:
    # which rows there are may hang on other people's: here on how many there are
    with engine.session(LIMITS) as session:
        assert not session.schema(["unit"])["unit"].view
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(b"ALTER TABLE unit ENABLE ROW LEVEL SECURITY")
        connection.execute(b"CREATE POLICY few ON unit USING ((SELECT count(*) FROM fact) < 100)")
    with engine.session(LIMITS) as session:
        assert session.schema(["unit"])["unit"].view


def test_another_encoding_is_refused(postgres_server: str) -> None:
    # bytes that are no UTF-8, or a letter that it lacks, would raise an error in everybody's questions
    server, _, options = postgres_server.partition("?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(b"CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            engine = open_engine(f"{server.rsplit('/', 1)[0]}/bytes?{options}")
            with pytest.raises(EngineUnavailable, match="server_encoding at 'SQL_ASCII'"), engine.session(LIMITS):
                pass
        finally:
            connection.execute(b"DROP DATABASE bytes WITH (FORCE)")


def test_schema_of_the_url(reader_url: str) -> None:
    other = open_engine(f"{reader_url}&schema=other")
    assert sorted(other.tables()) == ["only_there", "unit"]
    with other.session(LIMITS) as session:
        assert session.schema(["unit"])["unit"].columns == (("y", Physical("text", "text"), False),)
        assert session.fetch("SELECT count(*) AS n FROM only_there").to_pylist() == [{"n": 0}]
        with pytest.raises(EngineError):
            session.fetch("SELECT * FROM fact")


def test_arrow_of_every_type(engine: Engine) -> None:
    sql = """
        SELECT CAST(1 AS bigint) AS i, CAST(2 AS smallint) AS s, CAST(99999999999999999999 AS numeric) AS n,
            CAST(1.50 AS numeric(10, 2)) AS d, CAST(0.1 AS double precision) AS f, true AS o, 'ä' AS t,
            DATE '2020-02-29' AS dt, TIMESTAMP '2020-01-01 00:00:00.000001' AS ts,
            TIMESTAMPTZ '2020-01-01 02:00:00+02' AS tz, CAST(NULL AS numeric) AS nothing
    """
    with engine.session(LIMITS) as session:
        rows = session.fetch(sql)
        empty = session.fetch(f"SELECT * FROM ({sql}) AS q WHERE false")
    assert rows.to_pylist() == [
        {
            "i": 1,
            "s": 2,
            "n": Decimal(99999999999999999999),
            "d": Decimal("1.50"),
            "f": 0.1,
            "o": True,
            "t": "ä",
            "dt": date(2020, 2, 29),
            "ts": datetime(2020, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001 - a timestamp without zone
            "tz": datetime.fromisoformat("2020-01-01T00:00:00+00:00"),
            "nothing": None,
        }
    ]
    assert rows.schema.field("n").type == pa.decimal128(38, 0)
    assert empty.num_rows == 0
    assert empty.schema.names == rows.schema.names
    with engine.session(LIMITS) as session:
        wide = session.fetch("SELECT CAST(10 ^ CAST(50 AS numeric) AS numeric(60, 0)) AS n")
    assert wide.to_pylist() == [{"n": Decimal(10) ** 50}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO young VALUES (1)",
        "CREATE TEMP TABLE t (x integer)",
        "SELECT 1 / 0 AS x",
        "SELECT * FROM absent",
        "SELECT CAST('secret' AS integer) AS x",
        "SELECT CAST('NaN' AS numeric) AS x",
        "SELECT DATE 'infinity' AS x",
        "SELECT ARRAY[1] AS x",
        "SELECT 'unterminated",
        "SELECT '\0' AS x",
        "SET TIME ZONE 'Europe/Berlin'",
        "",
    ],
)
def test_everything_else_is_an_engine_error(engine: Engine, sql: str) -> None:
    with engine.session(LIMITS) as session, pytest.raises(EngineError):
        session.fetch(sql)


def test_percent_signs_are_text(engine: Engine) -> None:
    with engine.session(LIMITS) as session:
        assert session.fetch("SELECT '%s' AS x WHERE 'abc' LIKE 'a%'").to_pylist() == [{"x": "%s"}]


def test_one_snapshot_a_session(engine: Engine, postgres_url: str) -> None:
    count = "SELECT count(*) AS n FROM pointing"
    with engine.session(LIMITS) as session:
        assert session.fetch(count).to_pylist() == [{"n": 0}]
        with psycopg.connect(postgres_url, autocommit=True) as writer:
            writer.execute("INSERT INTO pointing VALUES (1)")
        assert session.fetch(count).to_pylist() == [{"n": 0}]
    with engine.session(LIMITS) as session:
        assert session.fetch(count).to_pylist() == [{"n": 1}]


def test_settings_of_the_role_do_not_matter(engine: Engine, reader_url: str, postgres_url: str) -> None:
    role = urlsplit(reader_url).username
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for setting in ("TimeZone = 'Asia/Tokyo'", "search_path = other", "standard_conforming_strings = off"):
            connection.execute(f"ALTER ROLE {role} SET {setting}".encode())
    with engine.session(LIMITS) as session:
        shown = "SELECT current_setting('TimeZone') AS z, current_setting('standard_conforming_strings') AS s"
        assert session.fetch(shown).to_pylist() == [{"z": "UTC", "s": "on"}]
        assert session.fetch("SELECT count(*) AS n FROM pointing").num_rows == 1


def test_time_limit_and_cancel(engine: Engine) -> None:
    start = time.monotonic()
    with engine.session(Limits(0.4)) as session, pytest.raises(EngineError):
        session.fetch(ENDLESS)
    with engine.session(LIMITS) as session:
        timer = threading.Timer(0.2, session.cancel)
        timer.start()
        with pytest.raises(EngineError, match="cancelled"):
            session.fetch(ENDLESS)
        timer.join()
    assert time.monotonic() - start < 10


def test_deadline_holds_where_the_server_ignores_its_timeout(engine: Engine) -> None:
    start = time.monotonic()
    with engine.session(Limits(0.5)) as session:
        session.fetch("SELECT set_config('statement_timeout', '0', true) AS x")
        with pytest.raises(EngineError, match="time limit"):
            session.fetch(ENDLESS)
    assert time.monotonic() - start < 10


def test_rights(engine: Engine, postgres_url: str, reader_url: str) -> None:
    role = urlsplit(reader_url).username
    assert engine.read_only()
    assert not open_engine(postgres_url).read_only()  # a superuser
    ways = [
        ("GRANT INSERT ON fact TO {}", "REVOKE INSERT ON fact FROM {}"),
        ("GRANT UPDATE (a) ON fact TO {}", "REVOKE UPDATE (a) ON fact FROM {}"),
        ("GRANT TRUNCATE ON fact TO PUBLIC", "REVOKE TRUNCATE ON fact FROM PUBLIC"),
        ("ALTER TABLE young OWNER TO {}", "ALTER TABLE young OWNER TO CURRENT_USER"),
        ("GRANT pg_write_all_data TO {}", "REVOKE pg_write_all_data FROM {}"),
        ("GRANT pg_execute_server_program TO {}", "REVOKE pg_execute_server_program FROM {}"),
        ("ALTER ROLE {} CREATEROLE", "ALTER ROLE {} NOCREATEROLE"),
        # a role without INHERIT holds nothing until it says SET ROLE
        (
            "CREATE ROLE w_{0}; GRANT DELETE ON fact TO w_{0}; ALTER ROLE {0} NOINHERIT; GRANT w_{0} TO {0}",
            "REVOKE w_{0} FROM {0}; DROP OWNED BY w_{0}; DROP ROLE w_{0}",
        ),
    ]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for give, take in ways:
            connection.execute(give.format(role).encode())
            assert not engine.read_only(), give
            connection.execute(take.format(role).encode())
            assert engine.read_only() or "OWNER" in take, take
            if "OWNER" in take:
                connection.execute(f"REVOKE ALL ON young FROM {role}".encode())
                connection.execute(f"GRANT SELECT ON young TO {role}".encode())


def test_server_that_is_gone() -> None:
    for url in ("postgresql://x@127.0.0.1:1/d", "postgresql://x@/d?host=/nowhere/at/all"):
        with pytest.raises(EngineUnavailable), open_engine(url).session(Limits(5)):
            pass


def test_server_that_cuts_the_line(engine: Engine, postgres_url: str) -> None:
    with engine.session(LIMITS) as session:
        pid = session.fetch("SELECT pg_backend_pid() AS p").to_pylist()[0]["p"]
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(EngineError):
            session.fetch("SELECT 1 AS a")


PID = "SELECT pg_backend_pid() AS pid, current_setting('work_mem') AS changed"


def test_the_next_session_takes_the_connection_over_as_new(engine: Engine) -> None:
    with engine.session(LIMITS) as session:
        session.fetch("SELECT set_config('work_mem', '77MB', false) AS x")
        [first] = session.fetch(PID).to_pylist()
        with engine.session(LIMITS) as beside:
            [other] = beside.fetch(PID).to_pylist()
    with engine.session(LIMITS) as session:
        [second] = session.fetch(PID).to_pylist()
        [zone] = session.fetch("SELECT current_setting('TimeZone') AS z").to_pylist()
    assert other["pid"] != first["pid"]
    assert second["pid"] == first["pid"]
    assert first["changed"] == "77MB" != second["changed"]
    assert zone == {"z": "UTC"}


def test_no_session_takes_over_what_was_interrupted_or_failed(engine: Engine) -> None:
    with engine.session(LIMITS) as session:
        [first] = session.fetch(PID).to_pylist()
        timer = threading.Timer(0.2, session.cancel)
        timer.start()
        with pytest.raises(EngineError, match="cancelled"):
            session.fetch(ENDLESS)
        timer.join()
    pids = [first["pid"]]

    def fails() -> None:
        with engine.session(LIMITS) as session:
            pids.append(session.fetch(PID).to_pylist()[0]["pid"])
            session.fetch("SELECT no_such_column FROM pointing")

    with pytest.raises(EngineError):
        fails()
    with engine.session(LIMITS) as session:
        pids.append(session.fetch(PID).to_pylist()[0]["pid"])
    assert len(set(pids)) == 3


def test_a_connection_that_was_lost_while_it_waited_is_made_anew(engine: Engine, postgres_url: str) -> None:
    with engine.session(LIMITS) as session:
        [first] = session.fetch(PID).to_pylist()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (first["pid"],))
    with engine.session(LIMITS) as session:
        [second] = session.fetch(PID).to_pylist()
    assert second["pid"] != first["pid"]


def test_connections_wait_for_a_minute_at_most(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.session(LIMITS) as session:
        [first] = session.fetch(PID).to_pylist()
    monkeypatch.setattr(postgres, "_KEPT_SECONDS", 0.0)
    with engine.session(LIMITS) as session:
        [second] = session.fetch(PID).to_pylist()
    engine.close()
    with engine.session(LIMITS) as session:
        [third] = session.fetch(PID).to_pylist()
    assert len({first["pid"], second["pid"], third["pid"]}) == 3
