"""Bounds bought privately: the grid and its reading, what is charged to whom, and exactly once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import psycopg
import pytest

from budget import balance, records
from budget.errors import NoGrant
from gateway import admin, execution
from gateway.admin import histograms, publication
from gateway.admin.histograms import Bound
from gateway.errors import Conflict, DiscreetError, ExecutionFailed, RequestInvalid
from gateway.policy.model import Column, Dataset, RowOwner, Table
from gateway.service import open_service
from gateway.settings import Settings
from gateway.wire import QueryRequest
from tests.policy.health import DOUBLE
from tests.reuse.world import World

POLICY = """
dataset: health
engine: duckdb:///health.duckdb
privacy_unit: {table: person, key: person_id}
tables:
  person:
    columns:
      person_id: {type: integer}
      age: {type: integer}
      debt: {type: number}
      town: {type: text}
      empty: {type: number}
      born: {type: date}
  visit:
    owner: {person_id: person.person_id}
    columns: {cost: {type: number}, size: {type: number}, began: {type: timestamp}, ended: {type: date}}
  item:
    owner: {visit_id: visit.visit_id}
    max_rows_per_unit: 9
    columns: {price: {type: number}}
  site: {public: true, key: site_id}
budget: {epsilon: 50}
per_query: {max_epsilon: 20}
"""
DATA = """
CREATE TABLE person (person_id INTEGER PRIMARY KEY, age INTEGER, debt DOUBLE, town VARCHAR, empty DOUBLE, born DATE);
INSERT INTO person SELECT i, i % 50, -(i % 30), 'x', NULL, make_date(1931 + i % 3, 1, 1) FROM range(2000) t(i);
CREATE TABLE visit (
    visit_id INTEGER PRIMARY KEY, person_id INTEGER, cost DECIMAL(12, 2), size DOUBLE, began TIMESTAMP, ended DATE
);
INSERT INTO visit
SELECT i, i // 4, 0.5 + (i % 70), 1e30, make_timestamp(2019 + i % 4, 12, 31, 23, 59, 59.5), DATE '9999-12-31'
FROM range(8000) t(i);
INSERT INTO visit
SELECT 10000 + i, 7, 1000000, 1e30, TIMESTAMP '1850-05-05', DATE '9999-12-31' FROM range(5000) t(i);
CREATE TABLE item (visit_id INTEGER, price DOUBLE);
INSERT INTO item SELECT i, 3 FROM range(8000) t(i);
CREATE TABLE site (site_id INTEGER);
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bounds")
    with duckdb.connect(str(folder / "health.duckdb")) as conn:
        conn.execute(DATA)
    settings = Settings(home=folder / "home", latency_quantum_ms=0)
    admin.init(settings)
    service = open_service(settings)
    admin.apply_dataset(service.control, settings, POLICY, actor="t", folder=folder, opener=service.engines.get)
    try:
        yield World(service)
    finally:
        service.close()


@pytest.fixture
def here(whole: World) -> Iterator[World]:
    yield whole
    assert whole.sound()


def dataset(here: World) -> Dataset:
    with here.service.reads.connect() as conn:
        return here.service.catalogue.current(conn, "health")


def bought(here: World, *names: str, epsilon: float = 4.0, key: str, dry_run: bool = False) -> admin.Estimate:
    return admin.estimate_bounds(here.service, "health", names, epsilon, actor="root", key=key, dry_run=dry_run)


def spent(here: World) -> float:
    return here.scope("cap")


@pytest.mark.parametrize("grid", [histograms._grid(0, 18), histograms._grid(-6, 16), histograms._grid(-2, 0)])
def test_a_cell_holds_what_lies_between_its_ends(grid: histograms.Grid) -> None:
    marks = [*(-mark for mark in reversed(grid.marks)), Decimal(0), *grid.marks]
    tried = [each for mark in marks for each in (mark, mark * Decimal("1.01"), mark * Decimal("0.99"))]
    with duckdb.connect() as conn:
        conn.execute("CREATE TABLE t (x DECIMAL(38, 9))")
        conn.executemany("INSERT INTO t VALUES (?)", [[each] for each in tried])
        rows = conn.execute(f"SELECT x, {grid.case('x')} FROM t").fetchall()
        assert conn.execute(f"SELECT {grid.case('CAST(NULL AS DOUBLE)')}").fetchone() == (None,)
    assert len(rows) == len(tried)
    for value, cell in rows:
        low, high = grid.ends(cell)
        assert low is None or low <= value
        assert high is None or value <= high
        assert (low is None) == (value < -grid.marks[-1])
        assert (high is None) == (value > grid.marks[-1])
    assert {cell for _, cell in rows} == set(range(grid.cells))
    assert grid.ends(len(grid.marks) + 1) == (Decimal(0), Decimal(0))


@pytest.mark.parametrize("instants", [False, True])
def test_a_cell_of_times_holds_what_lies_between_its_ends(instants: bool) -> None:
    calendar = histograms.Calendar((1850, 1999, 2000, 2024), instants)
    least = timedelta(microseconds=1) if instants else timedelta(days=1)
    starts = [datetime(year, 1, 1) if instants else date(year, 1, 1) for year in calendar.years]  # noqa: DTZ001
    tried = [each for start in starts for each in (start, start - least, start + least)]
    kind = "TIMESTAMP" if instants else "DATE"
    with duckdb.connect() as conn:
        conn.execute(f"CREATE TABLE t (x {kind})")
        conn.executemany("INSERT INTO t VALUES (?)", [[each] for each in tried])
        rows = conn.execute(f"SELECT x, {calendar.case('x')} FROM t").fetchall()
        cases = [calendar.case(f"{end}::{kind}") for end in ("NULL", "'-infinity'", "'infinity'")]
        assert conn.execute(f"SELECT {', '.join(cases)}").fetchone() == (None, 0, len(starts))
    assert len(rows) == len(tried)
    for value, cell in rows:
        low, high = calendar.ends(cell)
        assert low is None or low <= value
        assert high is None or value <= high
        assert (low is None) == (value < starts[0])
        assert (high is None) == (value >= starts[-1])
    assert {cell for _, cell in rows} == set(range(calendar.cells))


def test_bounds_of_times_are_whole_years(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One person has visits in a year that nobody else has: it is not seen. What never ended lies beyond the grid."""
    monkeypatch.setattr(histograms, "CHANCE", 1e-9)
    found = bought(here, "person.born", "visit.began", "visit.ended", epsilon=14.0, key="times")
    assert {(each.table, each.column): each for each in found.bounds} == {
        (each.table, each.column): each
        for each in (
            Bound("person", "born", date(1931, 1, 1), date(1933, 12, 31)),
            Bound("visit", "began", datetime(2019, 1, 1), datetime(2022, 12, 31, 23, 59, 59, 999_999)),  # noqa: DTZ001
            Bound("visit", "ended", date(2200, 1, 1), None, beyond=True),
            Bound("visit", None, None, Decimal(5)),
        )
    }


def test_bounds_hold_nearly_everybody_and_no_more(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 people visit, of whom one has a cost and a number of visits that nobody else has: that one is not seen."""
    monkeypatch.setattr(
        histograms, "CHANCE", 1e-9
    )  # so that noise alone makes this fail less than once in a billion runs
    before = spent(here)
    found = bought(here, "visit.cost", "person.age", "person.debt", "item.price", "visit.size", epsilon=18.0, key="all")
    assert found.epsilon == 18.0
    assert round(spent(here) - before, 6) == 18.0
    assert {(each.table, each.column): each for each in found.bounds} == {
        (each.table, each.column): each
        for each in (
            Bound("visit", "cost", Decimal("0.2"), Decimal(100)),
            Bound("person", "age", Decimal(0), Decimal(50)),
            Bound("person", "debt", Decimal(-50), Decimal(0)),
            Bound("item", "price", Decimal(2), Decimal(5)),
            Bound("visit", "size", Decimal("5e16"), None, beyond=True),
            Bound("visit", None, None, Decimal(5)),
        )
    }


def test_one_owner_counts_once(here: World) -> None:
    """The bounded SQL's sensitivity is one for every histogram, whatever number of rows an owner has."""
    names = ("visit.cost", "visit", "person.age", "item.price", "person.born", "visit.began")
    found = publication.planned(here.service, "health", _asked(names, 2.0))[1]
    assert [(block.l1, block.linf) for release in found.releases for block in release.blocks] == [(1, 1)] * 9
    assert found.loss.epsilon is not None
    assert 0 <= 2_000_000_000 - found.loss.epsilon < 10
    assert found.loss.delta == 0


def test_without_one_owner_each_histogram_differs_by_one(here: World, tmp_path: Path) -> None:
    """The neighbour oracle's question of these statements, for the owner of thousands of rows."""
    plan = publication.planned(
        here.service,
        "health",
        _asked(("visit.cost", "visit", "person.age", "item.price", "person.born", "visit.began"), 2.0),
    )[1]
    found = []
    for gone in (-1, 7):
        file = tmp_path / f"{gone}.duckdb"
        with duckdb.connect(str(file)) as conn:
            conn.execute(DATA)
            conn.execute("DELETE FROM item WHERE visit_id IN (SELECT visit_id FROM visit WHERE person_id = ?)", [gone])
            for table in ("visit", "person"):
                conn.execute(f"DELETE FROM {table} WHERE person_id = ?", [gone])
            found.append([conn.execute(statement.sql).fetchall() for statement in plan.statements])
    for whole, without in zip(*found, strict=True):
        counts, fewer = dict(whole), dict(without)
        differences = [counts.get(cell, 0) - fewer.get(cell, 0) for cell in counts.keys() | fewer.keys()]
        assert sum(map(abs, differences)) == 1


def _asked(names: tuple[str, ...], epsilon: float) -> publication.Asked:
    def asked(found: Dataset) -> QueryRequest:
        sql = histograms.question(histograms.parts(found, names))
        return QueryRequest(sql=sql, dataset="health", epsilon=epsilon, mechanism="laplace", dialect="duckdb")

    return asked


def test_it_is_public_loss_and_a_ledger_row_says_what_ran(here: World) -> None:
    found = bought(here, "person.age", epsilon=0.5, key="row")
    with here.service.reads.connect() as conn:
        charge = records.published(conn, "health")[-1].charge
        assert charge.id == found.query_id
        assert charge.scopes == ("cap",)
        assert charge.publication == "bounds of person.age"
        assert '"mechanism":"laplace"' in charge.mechanism
        with pytest.raises(NoGrant):
            balance.of(conn, "health", "root")  # no grant of the admin's own is needed, or made


def test_a_dry_run_costs_nothing(here: World) -> None:
    before = spent(here)
    told = bought(here, "visit.cost", epsilon=1.0, key="dry", dry_run=True)
    assert (told.query_id, told.bounds, told.bought) == (None, (), "bounds of visit.cost, rows a unit of visit")
    assert bought(here, "visit.cost", epsilon=10.0, key="dry", dry_run=True).least_units < told.least_units
    assert spent(here) == before


def test_an_answer_that_would_be_cut_is_refused_before_it_is_paid(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = spent(here)
    published = publication.publish(
        here.service, "health", "root", _asked(("person.debt",), 0.5), "bounds of person.debt", "rows"
    )
    assert len(published.rows) == histograms.rows(histograms.parts(dataset(here), ["person.debt"]))
    monkeypatch.setattr(histograms, "rows", lambda _: here.service.settings.released_groups + 1)
    with pytest.raises(RequestInvalid, match="released_groups"):
        bought(here, "person.age", epsilon=0.5, key="cut")
    assert round(spent(here) - before, 6) == 0.5


def test_one_key_gets_one_estimate_at_one_price(here: World) -> None:
    first = bought(here, "person.age", epsilon=0.5, key="once")
    before = spent(here)
    assert bought(here, "person.age", epsilon=0.5, key="once") == first
    assert spent(here) == before
    with pytest.raises(Conflict):
        bought(here, "person.debt", epsilon=0.5, key="once")
    other = bought(here, "person.age", epsilon=0.5, key="twice")
    assert other.query_id != first.query_id


def test_a_process_that_died_is_taken_up_once(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the charge: a retry executes it; killed again: the constant failure, and the loss stays."""
    before = spent(here)

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(publication, "execute", die)
        with pytest.raises(SystemExit):
            bought(here, "person.age", epsilon=0.5, key="died")
        with pytest.raises(Conflict):  # its process may be alive
            bought(here, "person.age", epsilon=0.5, key="died")
    monkeypatch.setattr(type(here.service), "is_dead", lambda *_: True)
    found = bought(here, "person.age", epsilon=0.5, key="died")
    assert found.bounds[0].upper is not None
    assert round(spent(here) - before, 6) == 0.5
    with monkeypatch.context() as patch:
        patch.setattr(publication, "execute", die)
        for _ in range(2):
            with pytest.raises(SystemExit):
                bought(here, "person.debt", epsilon=0.5, key="lost")
    with pytest.raises(ExecutionFailed):
        bought(here, "person.debt", epsilon=0.5, key="lost")
    with pytest.raises(ExecutionFailed):
        bought(here, "person.debt", epsilon=0.5, key="lost")
    assert round(spent(here) - before, 6) == 1.0


def test_an_engine_that_fails_is_the_constant_failure(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("person 17")

    monkeypatch.setattr(execution, "_released", broken)
    with pytest.raises(ExecutionFailed) as caught:
        bought(here, "person.age", epsilon=0.5, key="broken")
    assert "17" not in str(caught.value)
    monkeypatch.undo()
    with pytest.raises(ExecutionFailed):
        bought(here, "person.age", epsilon=0.5, key="broken")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nowhere.cost"], "no table"),
        (["visit.nothing"], "no column"),
        (["site.site_id"], "public"),
        (["person.town"], "of type text"),
        (["item"], "bounds an owner's rows"),
        (["person"], "bounds an owner's rows"),
        (
            [f"visit.{name}" for name in ("cost", "size")] * 9
            + ["item.price", "person.age", "person.debt", "person.empty"],
            "",
        ),
    ],
)
def test_what_cannot_be_estimated(here: World, names: list[str], said: str) -> None:
    before = spent(here)
    if not said:
        assert len(histograms.parts(dataset(here), names)) == 10
        return
    with pytest.raises(RequestInvalid, match=said):
        bought(here, *names, key="refused")
    assert spent(here) == before


def test_estimates_are_of_the_data_themselves_whatever_copy_is_prepared(here: World) -> None:
    control, settings = here.service.control, here.service.settings
    first = bought(here, "item.price", epsilon=0.5, key="copied")
    assert admin.prepare_dataset(control, settings, "health", actor="root", opener=here.service.engines.get).made
    try:
        assert dataset(here).preparation is not None
        assert bought(here, "item.price", epsilon=0.5, key="copied") == first
        planned = publication.planned(here.service, "health", _asked(("item.price",), 0.5))
        assert planned[0].preparation is None
    finally:
        admin.drop_copy(control, settings, "health", actor="root")


def test_more_than_the_cap_or_a_query_may_cost_is_refused(here: World) -> None:
    with pytest.raises(DiscreetError) as caught:
        bought(here, "person.age", epsilon=21.0, key="dear")
    assert caught.value.code == "price-too-high"
    for number in range(2):
        if spent(here) <= 30:
            bought(here, "person.age", epsilon=20.0, key=f"dear{number}")
    with pytest.raises(DiscreetError) as caught:
        bought(here, "person.age", epsilon=20.0, key="last")
    assert caught.value.code == "budget-exhausted"


ROWS = """
dataset: rows
engine: {url}
privacy_unit: {unit}
tables: {{t: {{{owner} columns: {{who: {{type: integer}}, x: {{type: number}}, day: {{type: date}}}}}}}}
budget: {{epsilon: 50}}
per_query: {{max_epsilon: 20}}
"""


@pytest.mark.audit
@pytest.mark.parametrize(("kind", "unit", "owner"), [("sqlite", "row", ""), ("postgres", "{key: who}", "owner: who,")])
def test_other_engines_and_units(
    here: World,
    kind: str,
    unit: str,
    owner: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(histograms, "CHANCE", 1e-9)
    name = f"rows_{kind}_{unit.strip('{}')[:3]}"
    rows = [(number % 500, number % 70 + 0.3, f"202{number % 2}-02-28") for number in range(1000)]
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/t.sqlite"
        with closing(sqlite3.connect(tmp_path / "t.sqlite")) as lite, lite:
            lite.execute("CREATE TABLE t (who INTEGER, x REAL, day DATE)")
            lite.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    else:
        server: str = request.getfixturevalue("postgres_url")
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute("CREATE TABLE t (who INTEGER, x DOUBLE PRECISION, day DATE)")
            conn.cursor().executemany("INSERT INTO t VALUES (%s, %s, %s)", rows)
            conn.execute("DROP ROLE IF EXISTS looker")
            conn.execute("CREATE ROLE looker LOGIN")
            conn.execute("GRANT SELECT ON t TO looker")
        url = json.dumps(server.replace("postgres:@", "looker@").replace("postgres@", "looker@"))
    text = ROWS.format(url=url, unit=unit, owner=owner).replace("dataset: rows", f"dataset: {name}")
    service = here.service
    admin.apply_dataset(service.control, service.settings, text, actor="t", opener=service.engines.get)
    found = admin.estimate_bounds(service, name, ["t.x", "t.day"], 18.0, actor="root", key=name)
    expected = [
        Bound("t", "x", Decimal("0.2"), Decimal(100)),
        Bound("t", "day", date(2020, 1, 1), date(2021, 12, 31)),
    ]
    if owner:
        expected.append(Bound("t", None, None, Decimal(2)))
    assert list(found.bounds) == expected


def test_columns_that_hold_nothing_say_so() -> None:
    grid = histograms._grid(0, 2)
    table = _table()
    part = histograms.Part(table, table.columns[0], "both", grid)
    assert histograms.read([part], [[0, None, 500.0], [0, 4, 3.0]], 10) == (Bound("t", "x", None, None),)
    assert histograms.read([part], [[0, 0, 11.0]], 10)[0].beyond


def _table() -> Table:
    return Table("t", (Column("x", "number", DOUBLE),), RowOwner())
