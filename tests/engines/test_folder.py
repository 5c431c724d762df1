"""Folders of Parquet and CSV files: what is a table, what is locked, and what becomes of files that change or break."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.engines.base import EngineError, EngineUnavailable, Limits
from gateway.engines.folder import FolderEngine
from gateway.engines.open import open_engine
from gateway.policy.document import load
from gateway.policy.model import Column, Physical
from gateway.policy.resolve import resolve
from gateway.sql.algebra import Call, Constant, Ref
from gateway.sql.writing.conditions import Conditions, bare_column
from gateway.sql.writing.render import canonical
from tests.oracles.questions import plan, written

LIMITS = Limits(30)

POLICY = """
dataset: health
engine: {url}
privacy_unit: {{table: person, key: person_id}}
tables:
  person: {{columns: {{age: {{type: integer, lower: 0, upper: 110}}}}}}
  visit:
    owner: {{person_id: person.person_id}}
    max_rows_per_unit: 3
    columns: {{cost: {{type: number, lower: 0, upper: 100}}, day: {{type: date}}}}
budget: {{epsilon: 20, delta: 1e-6}}
per_query: {{max_epsilon: 2, delta: 1e-9}}
"""
SCHEMA = """
CREATE TABLE person (person_id BIGINT, age INTEGER);
CREATE TABLE visit (visit_id BIGINT, person_id BIGINT, cost DECIMAL(9, 2), day DATE); -- two files
"""
PEOPLE = "SELECT range AS person_id, CAST(range % 90 AS INTEGER) AS age FROM range(100)"
VISITS = (
    "SELECT range AS visit_id, range % 100 AS person_id, CAST(range % 50 AS DECIMAL(9, 2)) AS cost, "
    "DATE '2020-01-01' + CAST(range % 9 AS INTEGER) AS day FROM range({0}, {1})"
)


def write(folder: Path, suffix: str) -> None:
    """The same rows in files of either kind."""
    (folder / "visit" / "day=1").mkdir(parents=True)
    with duckdb.connect() as connection:
        for name, sql in (
            ("person", PEOPLE),
            ("visit/one", VISITS.format(0, 150)),
            ("visit/day=1/two", VISITS.format(150, 400)),
        ):
            connection.execute(f"COPY ({sql}) TO '{folder / name}.{suffix}'")
    if suffix == "csv":
        (folder / "schema.sql").write_text(SCHEMA)
    (folder / "README.md").write_text("no table")


@pytest.fixture(params=["parquet", "csv"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FolderEngine]:
    write(tmp_path, request.param)
    engine = open_engine(f"{request.param}:///{tmp_path}")
    assert isinstance(engine, FolderEngine)
    yield engine
    engine.close()


@pytest.fixture
def csv(tmp_path: Path) -> Iterator[FolderEngine]:
    write(tmp_path, "csv")
    engine = FolderEngine(tmp_path, "csv")
    yield engine
    engine.close()


@pytest.fixture
def parquet(tmp_path: Path) -> Iterator[FolderEngine]:
    write(tmp_path, "parquet")
    engine = FolderEngine(tmp_path, "parquet")
    yield engine
    engine.close()


def test_tables_and_shape(engine: FolderEngine) -> None:
    assert sorted(engine.tables()) == ["person", "visit"]
    assert engine.dialect == "duckdb"
    with engine.session(LIMITS) as session:
        found = session.schema(["person", "visit", "absent"])
    assert found.keys() == {"person", "visit"}
    assert {name: physical for name, physical, _ in found["visit"].columns} == {
        "visit_id": Physical("integer", "BIGINT"),
        "person_id": Physical("integer", "BIGINT"),
        "cost": Physical("decimal", "DECIMAL(9,2)", 2),
        "day": Physical("date", "DATE"),
    }
    assert found["visit"].unique == frozenset()
    assert not found["visit"].view


def test_a_question_is_answered_as_over_tables(engine: FolderEngine, tmp_path: Path) -> None:
    document = load(POLICY.format(url=f"parquet:///{tmp_path}"))
    with engine.session(LIMITS) as session:
        dataset = resolve(document, session.schema(list(document.tables)), engine.dialect, 1)
        for sql in (
            "SELECT COUNT(*), SUM(age), AVG(age) FROM person",
            "SELECT SUM(v.cost), COUNT(*) FROM visit v JOIN person p ON p.person_id = v.person_id WHERE p.age > 18",
            "SELECT day, COUNT(*) FROM visit GROUP BY day",
        ):
            [planned] = plan(written(sql), dataset).releases
            with duckdb.connect() as plain:
                plain.execute(f"CREATE TABLE person AS {PEOPLE}; CREATE TABLE visit AS {VISITS.format(0, 400)}")
                expected = plain.sql(planned.sql).to_arrow_table().to_pylist()
            found = session.fetch(planned.sql).to_pylist()
            assert sorted(map(repr, found)) == sorted(map(repr, expected))


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
@pytest.mark.parametrize("others", [[6.0, 6.0], [6.0, 7.0], [6.0, None], []])
def test_what_is_nan_hangs_on_no_other_row(others: list[float | None], kind: pa.DataType, tmp_path: Path) -> None:
    """Statistics of a file leave NaN out, by which an engine may take it for a number, or for the only other one."""
    values = pa.array([float("nan"), float("nan"), *others], kind)
    pq.write_table(
        pa.table({"person_id": pa.array(range(len(values)), pa.int64()), "x": values}), tmp_path / "one.parquet"
    )
    engine = FolderEngine(tmp_path, "parquet")
    column = Column("x", "number", Physical("float", "DOUBLE"))
    written, found = canonical(column, "t", "duckdb"), Ref("x", "float")
    conditions = Conditions({"x": written}, {"x": bare_column(column, "t", "duckdb")}, "duckdb")
    six = Constant(Fraction(6), "float")
    expected = {
        f"{written} IS NULL": 2 + others.count(None),
        "isnan(t.x)": 2,
        **{
            conditions.write(Call(function, (found, six), "boolean")): sum(x is not None and how(x, 6) for x in others)
            for function, how in (("eq", eq), ("neq", ne), ("gt", gt), ("gte", ge), ("lt", lt), ("lte", le))
        },
    }
    try:
        with engine.session(LIMITS) as session:
            for condition, count in expected.items():
                rows = session.fetch(f"SELECT COUNT(*) AS n FROM one AS t WHERE {condition}").to_pylist()
                assert rows == [{"n": count}], condition
    finally:
        engine.close()


@pytest.mark.parametrize("values", [[b"\xff\xfe"] * 50 + [b"b"] * 3, [b"b\xff", b"ba"]])
def test_a_text_is_compared_by_what_is_read_of_it(values: list[bytes], tmp_path: Path) -> None:
    """Statistics of a file are of bytes that may be no UTF-8, in whose place something else is read."""
    raw = pa.array(values, pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(pa.table({"x": texts}), tmp_path / "one.parquet")
    engine = FolderEngine(tmp_path, "parquet")
    try:
        with engine.session(LIMITS) as session:
            read = [row["x"] for row in session.fetch("SELECT x FROM one").to_pylist()]
            for bound in ("0", "?", "??", "a", "b", "b?", "ba", "c"):
                for how, word in ((lt, "<"), (le, "<="), (gt, ">"), (ge, ">="), (eq, "="), (ne, "<>")):
                    [row] = session.fetch(f"SELECT COUNT(*) AS n FROM one WHERE x {word} '{bound}'").to_pylist()
                    assert row == {"n": sum(how(x, bound) for x in read)}, (word, bound)
    finally:
        engine.close()


def test_rights(engine: FolderEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.read_only()
    (tmp_path / "other.txt").write_text("a\n1\n")
    first = next(iter(sorted(tmp_path.rglob("person.*"))))
    for sql in (
        f"COPY person TO '{first}'",
        f"COPY person TO '{tmp_path / 'new.parquet'}'",
        f"SELECT * FROM read_csv('{tmp_path / 'other.txt'}')",
        f"SELECT * FROM glob('{tmp_path}/*')",
        "CREATE VIEW v AS SELECT 1",
        "SET threads = 1",
    ):
        with engine.session(LIMITS) as session, pytest.raises(EngineError):
            session.fetch(sql)
    engine.close()
    monkeypatch.setattr(FolderEngine, "_restrict", lambda *_: None)
    assert not engine.read_only()


def test_files_that_change_are_opened_anew(parquet: FolderEngine, tmp_path: Path) -> None:
    with parquet.session(LIMITS) as session:
        before = session.fetch("SELECT COUNT(*) AS n FROM person").to_pylist()
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({PEOPLE} WHERE range < 7) TO '{tmp_path / 'person.parquet'}'")
    with parquet.session(LIMITS) as session:
        after = session.fetch("SELECT COUNT(*) AS n FROM person").to_pylist()
        kept = session.schema(["person"])["person"]
    assert (before, after) == ([{"n": 100}], [{"n": 7}])
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 'x' AS person_id) TO '{tmp_path / 'person.parquet'}'")
    with parquet.session(LIMITS) as session:
        assert session.schema(["person"])["person"] != kept
    (tmp_path / "person.parquet").unlink()
    with parquet.session(LIMITS) as session:
        assert session.schema(["person"]) == {}


def test_a_half_written_file_is_found_before_anything_is_asked(parquet: FolderEngine, tmp_path: Path) -> None:
    file = tmp_path / "visit" / "one.parquet"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(EngineUnavailable, match=r"one\.parquet"), parquet.session(LIMITS):
        pass
    file.unlink()
    with parquet.session(LIMITS) as session:
        assert session.fetch("SELECT COUNT(*) AS n FROM visit").to_pylist() == [{"n": 250}]


def test_files_of_one_table_have_one_schema(parquet: FolderEngine, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS visit_id) TO '{tmp_path / 'visit' / 'three.parquet'}'")
    with pytest.raises(EngineUnavailable, match="other columns"), parquet.session(LIMITS):
        pass


@pytest.mark.parametrize("name", ["p*", "perso?", "perso[n]", "{person,visit}"])
def test_a_name_that_is_a_pattern_is_refused(parquet: FolderEngine, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.parquet").write_bytes((tmp_path / "person.parquet").read_bytes())
    with pytest.raises(EngineUnavailable, match="pattern"), parquet.session(LIMITS):
        pass


def test_no_line_of_a_csv_file_raises(csv: FolderEngine, tmp_path: Path) -> None:
    lines = [
        b"person_id,age",
        b"1,30",
        b"2,abc",
        b"3",
        b"4,99999999999",
        b"5,1,2,3",
        b'"6",""',
        b"7,\xff\xfe",
        b"8," + b"9" * 3_000_000,
        b"\x00,\x00",
        b"",
        b'9,"a"b',
        b"10,12",
    ]
    (tmp_path / "person.csv").write_bytes(b"\n".join(lines))
    with csv.session(LIMITS) as session:
        rows = session.fetch("SELECT person_id, age FROM person").to_pylist()
    found = {row["person_id"]: row["age"] for row in rows}
    assert {1: 30, 2: None, 3: None, 4: None, 6: None, 10: 12}.items() <= found.items()
    with csv.session(LIMITS) as session:
        assert session.fetch("SELECT MIN(day) AS d FROM visit").to_pylist() == [{"d": date(2020, 1, 1)}]


@pytest.mark.parametrize(
    "line",
    [b"2,40\r", b"2,4\r0", b"2\r", b"\r2,40", b"2,40\r\r", b'2,"40"\r', b'2,"4\r0"', b'2,"40"\rx', b"\r", b"2,\r\n40"],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_carriage_return_in_a_csv_file_raises_nothing(
    csv: FolderEngine, tmp_path: Path, line: bytes, end: bytes
) -> None:
    (tmp_path / "person.csv").write_bytes(end.join([b"person_id,age", b"1,30", line, b"10,12", b"11,13", b""]))
    with csv.session(LIMITS) as session:
        rows = session.fetch("SELECT person_id, age FROM person").to_pylist()
    found = {row["person_id"]: row["age"] for row in rows}
    assert {1: 30, 10: 12, 11: 13}.items() <= found.items()


def test_instants_that_raise_when_they_are_read_are_of_no_type(parquet: FolderEngine, tmp_path: Path) -> None:
    (tmp_path / "event").mkdir()
    for name, kind in (("one", pa.timestamp("us")), ("two", pa.timestamp("ms"))):  # both are a TIMESTAMP to DuckDB
        instants = pa.table({"id": [1, 2], "at": pa.array([1, 2**62], type=kind)})
        pq.write_table(instants, tmp_path / "event" / f"{name}.parquet")
    with parquet.session(LIMITS) as session:
        shape = session.schema(["event"])["event"]
    assert {name: kind for name, kind, _ in shape.columns}["at"] is None


TEXTS = (b"ok", b"\xff\xfe", None, b"long " * 9 + b"\xed\xa0\x80", b"\xc0\x80", "\U0001f600".encode(), b"x\x00y", b"?")
ENCODINGS: dict[str, dict[str, Any]] = {
    "dictionary": {},
    "plain": {"use_dictionary": False},
    "delta": {"use_dictionary": False, "column_encoding": {"t": "DELTA_BYTE_ARRAY", "id": "PLAIN"}},
    "lengths": {"use_dictionary": False, "column_encoding": {"t": "DELTA_LENGTH_BYTE_ARRAY", "id": "PLAIN"}},
    "pages": {"write_page_index": True},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("rows", [1, 3, 8], ids=lambda rows: f"{rows} in a group of rows")
def test_text_that_is_no_utf8_raises_nothing(parquet: FolderEngine, tmp_path: Path, encoding: str, rows: int) -> None:
    """Whatever stands beside a row in its group of rows, and so in the file's statistics, the row is read alike."""
    raw = pa.array(TEXTS, pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(TEXTS), raw.buffers(), null_count=1)
    table = pa.table({"id": range(len(TEXTS)), "t": texts})
    pq.write_table(table, tmp_path / "odd.parquet", row_group_size=rows, **ENCODINGS[encoding])
    expected = ["ok", "??", None, "long " * 9 + "???", "??", "\U0001f600", "x\x00y", "?"]
    with parquet.session(LIMITS) as session:
        assert session.fetch("SELECT t FROM odd ORDER BY id").column("t").to_pylist() == expected
        for text in ("?", "??", "ok", "x", "\U0001f600"):
            for operator, meant in (("=", str.__eq__), ("<", str.__lt__), (">=", str.__ge__)):
                where = f"(t COLLATE \"binary\") {operator} '{text}'"
                [(found,)] = session.fetch(f"SELECT COUNT(*) AS n FROM odd WHERE {where}").to_pydict().values()
                assert found == sum(meant(value, text) for value in expected if value is not None)
        assert session.fetch("SELECT MIN(t) AS a, MAX(t) AS b FROM odd").to_pylist() == [{"a": "?", "b": "\U0001f600"}]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (None, "schema.sql is missing"),
        ("CREATE TABLE person (person_id BIGINT, age INTEGER)", "declares no table visit"),
        (SCHEMA.replace("person_id BIGINT, age INTEGER", "age INTEGER, person_id BIGINT"), "other columns"),
        (SCHEMA + "DROP TABLE visit", "no CREATE TABLE"),
        (SCHEMA + "CREATE TABLE x AS SELECT * FROM read_csv('/etc/passwd')", "disabled"),
        ("CREATE TABLE", "syntax error"),
    ],
)
def test_a_schema_that_does_not_fit(csv: FolderEngine, tmp_path: Path, schema: str | None, message: str) -> None:
    if schema is None:
        (tmp_path / "schema.sql").unlink()
    else:
        (tmp_path / "schema.sql").write_text(schema)
    with pytest.raises(EngineUnavailable, match=message), csv.session(LIMITS):
        pass


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="is no folder"):
        open_engine(f"parquet:///{tmp_path / 'none'}").tables()
    write(tmp_path, "parquet")
    (tmp_path / "visit.parquet").write_bytes((tmp_path / "person.parquet").read_bytes())
    with pytest.raises(EngineUnavailable, match="a file and a folder"):
        open_engine(f"parquet:///{tmp_path}").tables()
