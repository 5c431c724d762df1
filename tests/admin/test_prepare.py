"""Prepared copies: what a gateway answers before, with and after one; what is refused; what an interruption leaves."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import duckdb
import psycopg
import pytest

from budget import balance
from budget.records import Record
from gateway import admin, price, query, wire
from gateway.admin import prepare as making
from gateway.admin.prepare import Progress
from gateway.auth.principal import Principal
from gateway.engines.base import EngineError, EngineUnavailable
from gateway.engines.duckdb import DuckdbEngine
from gateway.engines.duckdbcopier import DuckdbCopier
from gateway.engines.open import open_engine
from gateway.errors import Conflict, NotFound, RequestInvalid, SqlRefused, Unavailable
from gateway.execution import Execution, _same_shapes
from gateway.service import Service, open_service
from gateway.settings import load

ADA = Principal("ada", "analyst")
POLICY = """
dataset: health
engine: {engine}
privacy_unit: {{table: person, key: person_id}}
tables:
  person:
    columns:
      person_id: {{type: integer}}
      sex:       {{type: text, values: [F, M]}}
      income:    {{type: number, lower: 0, upper: 200000}}
  visit:
    owner: {{person_id: person.person_id}}
    max_rows_per_unit: 4
    columns:
      cost:    {{type: number, lower: 0, upper: 1000}}
      site_id: {{type: integer, lower: 0, upper: 3, nullable: false}}
  treatment:
    owner: {{visit_id: visit.visit_id}}
    max_rows_per_unit: 6
    columns: {{dose: {{type: number, lower: 0, upper: 10}}}}
  site: {{public: true, key: site_id, columns: {{site_id: {{type: integer}}, city: {{type: text}}}}}}
budget: {{epsilon: 1000000, delta: 1e-6}}
per_query: {{max_epsilon: 10000, delta: 1e-9}}
"""
DATA = (
    "CREATE TABLE person (person_id BIGINT, sex VARCHAR, income DOUBLE PRECISION)",
    "CREATE TABLE visit (visit_id BIGINT, person_id BIGINT, cost DOUBLE PRECISION, site_id INTEGER)",
    "CREATE TABLE treatment (visit_id BIGINT, dose NUMERIC(8, 2))",
    "CREATE TABLE site (site_id INTEGER, city VARCHAR)",
    # a person who is there three times, and rows of nobody
    "INSERT INTO person VALUES (1, 'F', 10), (1, 'F', 10), (1, 'M', 20), (2, 'M', 'NaN'), (3, 'X', -5), (NULL, 'F', 1)",
    # ten rows of one person; a number twice, of two people; a person whom no table holds; a row of nobody
    "INSERT INTO visit VALUES (1, 1, 1, 0), (2, 1, 2, 0), (3, 1, 3, 0), (4, 1, 4, 0), (5, 1, 5, 0), (6, 1, 6, 0), "
    "(7, 1, 7, 0), (8, 1, 8, 0), (9, 1, 9, 0), (10, 1, 10, 0), (20, 2, 5, 1), (20, 3, 5, 1), (30, 99, 7, 2), "
    "(40, NULL, 9, 2)",
    # of two people each, of one, of nobody
    "INSERT INTO treatment VALUES (20, 1), (20, 1), (1, 2), (NULL, 3), (77, 3)",
    "INSERT INTO site VALUES (0, 'Aarau'), (1, 'Bern'), (2, 'Chur'), (3, 'Davos')",
)
VISITS = "SELECT site_id, COUNT(*) AS n FROM visit GROUP BY site_id ORDER BY site_id"


@contextmanager
def gateway(folder: Path, engine: str, writer: str | None = None) -> Iterator[Service]:
    """A gateway in this process, with the dataset applied and an analyst who may ask."""
    settings = load(
        home=folder / "home",
        database=None,
        signing_key=None,
        process_folder=None,
        latency_quantum_ms=0,
        prepare_writer=writer,
    )
    admin.init(settings)
    service = open_service(settings)
    try:
        admin.apply_dataset(service.control, settings, POLICY.format(engine=engine), actor="root", folder=folder)
        admin.add_analyst(service.control, ADA.name, actor="root")
        admin.set_budget(service.control, "health", ADA.name, epsilon=100_000, delta=1e-7, actor="root")
        yield service
    finally:
        service.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("duck")
    with duckdb.connect(str(folder / "health.duckdb")) as connection:
        for statement in DATA:
            connection.execute(statement)
    with gateway(folder, "duckdb:///health.duckdb") as service:
        yield service


@pytest.fixture
def duck(shared: Service) -> Service:
    """A dataset without a copy, of a data version of its own."""
    admin.bump_data_version(shared.control, "health", actor="root")
    admin.drop_copy(shared.control, shared.settings, "health", actor="root")
    return shared


@pytest.fixture
def postgres(tmp_path: Path, postgres_url: str) -> Iterator[Service]:
    role = f"reads_{urlsplit(postgres_url).path[1:]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in DATA:
            connection.execute(statement.encode())
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}".encode())
    parts = urlsplit(postgres_url)
    reader = urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))
    try:
        with gateway(tmp_path, reader, postgres_url) as service:
            yield service
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {role} CASCADE".encode())
            connection.execute(f"DROP ROLE {role}".encode())


def request(sql: str, **more: object) -> wire.QueryRequest:
    return wire.QueryRequest.model_validate({"sql": sql, "dataset": "health", "epsilon": 1000, **more})


def ask(service: Service, sql: str, key: str | None = None, **more: object) -> wire.QueryResponse:
    return query.answer(service, ADA, request(sql, **more), key)


def bounded(service: Service, sql: str) -> str:
    [release] = ask(service, sql, dry_run=True).plan.releases
    return release.sql


def prepare(service: Service, told: list[Progress] | None = None) -> admin.PreparationReport:
    steps = told if told is not None else []
    return admin.prepare_dataset(service.control, service.settings, "health", actor="root", told=steps.append)


def spent(service: Service) -> int:
    with service.reads.connect() as conn:
        return balance.of(conn, "health", ADA.name).spent_epsilon


@pytest.mark.parametrize("kind", ["duck", "postgres"])
def test_plans_read_the_copy_until_the_data_change(kind: str, request: pytest.FixtureRequest) -> None:
    service: Service = request.getfixturevalue(kind)
    source = bounded(service, VISITS)
    assert "discreet_h" in source
    first = ask(service, VISITS, "once")
    before = spent(service)

    report = prepare(service)
    found = {table.name: (table.rows, table.owned, table.kept, table.owners, table.most) for table in report.tables}
    assert found == {
        "person": (6, 5, 3, 3, 1),
        "visit": (14, 13, 7, 4, 4),
        "treatment": (5, 5, 5, 3, 6),
        "site": (4, 4, 4, None, None),
    }
    assert report.tables[3].key
    assert spent(service) == before
    assert not prepare(service).made

    flat = bounded(service, VISITS)
    assert "discreet_h" not in flat
    assert "JOIN" not in bounded(service, "SELECT SUM(dose) FROM treatment")
    # a retry finds what it was answered, and the question itself is held already
    assert ask(service, VISITS, "once").query_id == first.query_id
    assert ask(service, VISITS).cached
    assert spent(service) == before
    # four rows of each, whoever has ten, and none of nobody
    fresh = ask(service, VISITS, use_cache=False)
    assert [round(float(str(row[1]))) for row in fresh.rows] == [4, 2, 1, 0]
    assert "no more are in the prepared copy" in " ".join(fresh.warnings)
    joined = ask(service, "SELECT city, COUNT(*) FROM visit v JOIN site s ON s.site_id = v.site_id GROUP BY city")
    assert len(joined.rows) == 4 or joined.plan.releases[0].threshold is not None
    assert ask(service, "SELECT COUNT(*) FROM site").rows == [[4]]
    for column in ("discreet_rank", "discreet_owner"):
        with pytest.raises(SqlRefused, match="column"):
            ask(service, f"SELECT COUNT({column}) FROM treatment")

    admin.bump_data_version(service.control, "health", actor="root")
    assert bounded(service, VISITS) == source
    assert [round(float(str(row[1]))) for row in ask(service, VISITS).rows] == [4, 2, 1, 0]
    assert prepare(service).made
    assert bounded(service, VISITS) == flat
    assert admin.drop_copy(service.control, service.settings, "health", actor="root") == 1
    assert bounded(service, VISITS) == source


def test_a_retry_finds_its_answer_when_the_copy_is_gone(duck: Service) -> None:
    service = duck
    sql = (
        "SELECT city, n FROM site s JOIN (SELECT site_id, COUNT(*) AS n FROM visit GROUP BY site_id) v USING (site_id)"
    )
    prepare(service)
    first = ask(service, sql, "copied")
    assert first.plan.releases[0].sql.count("discreet_h") == 0
    admin.bump_data_version(service.control, "health", actor="root")
    admin.drop_copy(service.control, service.settings, "health", actor="root")
    again = ask(service, sql, "copied")
    assert (again.query_id, sorted(map(str, again.rows))) == (first.query_id, sorted(map(str, first.rows)))


def test_a_plan_runs_on_its_own_copy_alone(duck: Service) -> None:
    prepare(duck)
    with duck.reads.connect() as conn:
        source, copy = duck.catalogue.source(conn, "health"), duck.catalogue.current(conn, "health")
    question = price.question(request(VISITS), copy, duck.settings, gaussian=False, at=datetime.now(UTC))
    plan = duck.plans.get(question, copy)
    with pytest.raises(EngineUnavailable):
        _same_shapes(Execution(cast("Record", None), source, plan), dict(source.shapes))
    _same_shapes(Execution(cast("Record", None), copy, plan), dict(copy.shapes))


def test_a_policy_edit_drops_the_copy(duck: Service) -> None:
    source = bounded(duck, VISITS)
    prepare(duck)
    assert bounded(duck, VISITS) != source
    text = admin.show_dataset(duck.control, "health").source
    admin.apply_dataset(duck.control, duck.settings, text, actor="root", folder=duck.settings.home.parent)
    assert bounded(duck, VISITS) == source


def test_the_file_is_its_owners_alone_and_the_last_one(duck: Service) -> None:
    for _ in range(2):
        prepare(duck)
        [file] = duck.settings.copies.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        admin.bump_data_version(duck.control, "health", actor="root")


def test_a_running_gateway_removes_what_no_plan_reads(duck: Service) -> None:
    prepare(duck)
    ask(duck, VISITS)
    [file] = duck.settings.copies.iterdir()
    admin.bump_data_version(duck.control, "health", actor="root")
    assert duck.upkeep is not None
    duck.upkeep.look()
    assert not file.exists()
    assert [url for url in duck.engines._open if str(file) in url] == []
    assert len(ask(duck, VISITS).rows) == 4


def test_a_file_that_was_dropped_and_is_there_still_is_removed(duck: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise EngineError("the folder is read-only")

    prepare(duck)
    [file] = duck.settings.copies.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(making, "_remove", fails)
        with pytest.raises(Unavailable, match="read-only"):
            admin.drop_copy(duck.control, duck.settings, "health", actor="root")
    assert file.exists()
    assert duck.upkeep is not None
    duck.upkeep.look()
    assert not file.exists()


def test_a_copy_is_removed_where_it_was_made_though_the_data_are_elsewhere_now(tmp_path: Path) -> None:
    with (
        duckdb.connect(str(tmp_path / "health.duckdb")) as connection,
        closing(sqlite3.connect(tmp_path / "health.sqlite")) as lite,
        lite,
    ):
        for statement in DATA:
            connection.execute(statement)
            lite.execute(statement)
    with gateway(tmp_path, "duckdb:///health.duckdb") as service:
        prepare(service)
        [file] = service.settings.copies.iterdir()
        moved = POLICY.format(engine="sqlite:///health.sqlite")
        admin.apply_dataset(service.control, service.settings, moved, actor="root", folder=tmp_path)
        assert file.exists()
        assert service.upkeep is not None
        service.upkeep.look()
        assert not file.exists()


def test_the_copy_holds_what_it_should_and_no_key(duck: Service) -> None:
    prepare(duck)
    [file] = duck.settings.copies.iterdir()
    shutil.copy(file, duck.settings.home / "looked-at.duckdb")
    with duckdb.connect(str(duck.settings.home / "looked-at.duckdb")) as copy:
        schemas = copy.execute("SELECT DISTINCT schema_name FROM duckdb_tables()").fetchall()
        assert schemas == [("main",)]
        rows = copy.execute("SELECT person_id, discreet_rank FROM visit ORDER BY ALL").fetchall()
        assert rows == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (3, 1), (99, 1)]
        owners = copy.execute("SELECT discreet_owner, dose FROM treatment ORDER BY ALL").fetchall()
        assert [(owner, float(dose)) for owner, dose in owners] == [(1, 2), (2, 1), (2, 1), (3, 1), (3, 1)]
        person = copy.execute("SELECT person_id, income FROM person WHERE person_id > 1 ORDER BY ALL").fetchall()
        assert person == [(2, None), (3, -5)]
        with pytest.raises(duckdb.ConstraintException):
            copy.execute("INSERT INTO visit SELECT * FROM visit LIMIT 1")
        with pytest.raises(duckdb.ConstraintException):
            copy.execute("INSERT INTO visit SELECT * REPLACE (5 AS discreet_rank) FROM visit LIMIT 1")


def test_the_reading_role_reads_the_copy_and_no_more(postgres: Service) -> None:
    without = postgres.settings.model_copy(update={"prepare_writer": None})
    with pytest.raises(RequestInvalid) as refused:
        admin.prepare_dataset(postgres.control, without, "health", actor="root")
    assert refused.value.code == "prepare-no-writer"
    prepare(postgres)
    with postgres.reads.connect() as conn:
        dataset = postgres.catalogue.current(conn, "health")
    assert dataset.preparation is not None
    with closing(open_engine(dataset.preparation.engine)) as engine:
        assert engine.read_only()
        assert set(engine.tables()) == {"person", "visit", "treatment", "site"}


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("REVOKE SELECT ON visit FROM {role}", "permission denied"),
        (
            "REVOKE SELECT ON visit FROM {role}; GRANT SELECT (visit_id, person_id, site_id) ON visit TO {role}",
            "denied",
        ),
        ("ALTER TABLE visit ENABLE ROW LEVEL SECURITY", "no longer as they were"),
    ],
)
def test_a_copy_gives_no_right_that_the_reading_role_has_not(
    postgres: Service, postgres_url: str, taken: str, said: str
) -> None:
    role = f"reads_{urlsplit(postgres_url).path[1:]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(taken.format(role=role).encode())
    with pytest.raises(Unavailable, match=said):
        prepare(postgres)


def test_rows_that_a_policy_chooses_are_not_copied(postgres: Service, postgres_url: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(b"ALTER TABLE visit ENABLE ROW LEVEL SECURITY")
        connection.execute(b"CREATE POLICY others ON visit USING (person_id <> 1)")
    with postgres.reads.connect() as conn:
        engine = postgres.catalogue.source(conn, "health").engine
    text = POLICY.replace("max_rows_per_unit: 4", "max_rows_per_unit: 4\n    row_wise_view: true").format(engine=engine)
    admin.apply_dataset(postgres.control, postgres.settings, text, actor="root", folder=tmp_path)
    with pytest.raises(Unavailable, match="row-level security"):
        prepare(postgres)


def test_a_view_that_asks_who_reads_is_not_copied(postgres: Service, postgres_url: str, tmp_path: Path) -> None:
    """What its tables show is the asking role's: the writer would copy what the reader never sees."""
    role = f"reads_{urlsplit(postgres_url).path[1:]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (
            "ALTER TABLE visit RENAME TO visit_rows",
            "ALTER TABLE visit_rows ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY others ON visit_rows TO {role} USING (person_id <> 1)",
            "CREATE VIEW visit WITH (security_invoker = on) AS SELECT * FROM visit_rows",
            f"GRANT SELECT ON visit TO {role}",
        ):
            connection.execute(statement.encode())
    with postgres.reads.connect() as conn:
        engine = postgres.catalogue.source(conn, "health").engine
    text = POLICY.replace("max_rows_per_unit: 4", "max_rows_per_unit: 4\n    row_wise_view: true").format(engine=engine)
    admin.apply_dataset(postgres.control, postgres.settings, text, actor="root", folder=tmp_path)
    with pytest.raises(Unavailable, match="security_invoker"):
        prepare(postgres)


def test_an_interrupted_run_is_gone_on_with_and_serves_nothing(duck: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bounded(duck, VISITS)
    sound, keys = DuckdbCopier.copy, []

    def failing(self: DuckdbCopier, table: str, statements: tuple[str, ...]) -> None:
        keys.append(self.begin("unused").key)
        if table == "treatment" and len(keys) == 3:
            raise EngineError("the disk is full")
        sound(self, table, statements)

    monkeypatch.setattr(DuckdbCopier, "copy", failing)
    with pytest.raises(Unavailable, match="the disk is full"):
        prepare(duck)
    assert bounded(duck, VISITS) == source
    steps: list[Progress] = []
    assert prepare(duck, steps).made
    assert [(step.table, step.what) for step in steps if step.what != "counted"] == [
        ("person", "kept"),
        ("visit", "kept"),
        ("treatment", "copying"),
        ("treatment", "copied"),
        ("site", "copying"),
        ("site", "copied"),
    ]
    assert len(set(keys)) == 1
    assert bounded(duck, VISITS) != source


def test_a_copy_of_a_version_that_ended_meanwhile_is_not_read(duck: Service) -> None:
    source = bounded(duck, VISITS)

    def bump(step: Progress) -> None:
        if (step.table, step.what) == ("site", "copied"):
            admin.bump_data_version(duck.control, "health", actor="root")

    with pytest.raises(Conflict):
        admin.prepare_dataset(duck.control, duck.settings, "health", actor="root", told=bump)
    assert bounded(duck, VISITS) == source
    assert list(duck.settings.copies.iterdir()) == []


@pytest.mark.parametrize("kind", ["duck", "postgres"])
def test_who_comes_late_does_not_make_a_finished_copy_anew(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its last statement and the instant from which it is read, a copy has its place to itself as before."""
    service: Service = request.getfixturevalue(kind)
    sound, tried = making._checked, False

    def late(*given: Any) -> str:
        nonlocal tried
        if not tried:
            tried = True
            with pytest.raises(Unavailable, match="another process makes this copy now"):
                prepare(service)
        return sound(*given)

    monkeypatch.setattr(making, "_checked", late)
    assert prepare(service).made
    assert tried


def test_who_began_before_a_copy_was_ready_leaves_it_as_it_is(duck: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, reports = making._copier, list[admin.PreparationReport]()

    def slow(*given: Any) -> object:
        if not reports:
            with monkeypatch.context() as patch:
                patch.setattr(making, "_copier", sound)
                reports.append(prepare(duck))
        return sound(*given)

    monkeypatch.setattr(making, "_copier", slow)
    assert not prepare(duck).made
    assert reports[0].made
    assert len(ask(duck, VISITS, use_cache=False).rows) == 4


def test_macros_of_a_file_that_took_the_place_of_the_data_are_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "data.duckdb")) as connection:
        connection.execute("CREATE TABLE person (person_id BIGINT)")
    with duckdb.connect(str(tmp_path / "new.duckdb")) as connection:
        connection.execute("CREATE MACRO md5(x) AS 'all alike'")
    with closing(DuckdbEngine(tmp_path / "data.duckdb")) as engine:
        assert engine.read_only()
        (tmp_path / "new.duckdb").rename(tmp_path / "data.duckdb")
        with pytest.raises(EngineError, match="macros: md5"):
            DuckdbCopier(tmp_path / "copy.duckdb", engine, 2**30)


def test_a_folder_of_files_is_copied(shared: Service) -> None:
    folder = shared.settings.home.parent
    (folder / "files").mkdir()
    with duckdb.connect() as files:
        for statement in DATA:
            files.execute(statement)
        for table in ("person", "visit", "treatment", "site"):
            files.execute(f"COPY {table} TO '{folder / 'files' / table}.parquet'")
    policy = POLICY.replace("dataset: health", "dataset: files").format(engine="parquet:///files")
    admin.apply_dataset(shared.control, shared.settings, policy, actor="root", folder=folder)
    admin.set_budget(shared.control, "files", ADA.name, epsilon=10_000, delta=1e-7, actor="root")
    report = admin.prepare_dataset(shared.control, shared.settings, "files", actor="root", opener=shared.engines.get)
    assert [(table.rows, table.kept) for table in report.tables] == [(6, 3), (14, 7), (5, 5), (4, 4)]
    found = ask(shared, VISITS, dataset="files")
    assert [round(float(str(row[1]))) for row in found.rows] == [4, 2, 1, 0]
    assert "discreet_h" not in found.plan.releases[0].sql


def test_without_room_nothing_is_copied(duck: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(duck.settings.home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(RequestInvalid) as refused:
        prepare(duck)
    assert refused.value.code == "prepare-no-room"


def test_what_cannot_be_copied_is_refused(duck: Service) -> None:
    folder = duck.settings.home.parent
    with closing(sqlite3.connect(folder / "health.sqlite")) as connection, connection:
        for statement in DATA:
            connection.execute(statement)
    policy = POLICY.replace("dataset: health", "dataset: lite").format(engine="sqlite:///health.sqlite")
    admin.apply_dataset(duck.control, duck.settings, policy, actor="root", folder=folder)
    with pytest.raises(RequestInvalid) as refused:
        admin.prepare_dataset(duck.control, duck.settings, "lite", actor="root")
    assert refused.value.code == "prepare-unsupported"
    with pytest.raises(NotFound):
        admin.prepare_dataset(duck.control, duck.settings, "nowhere", actor="root")


def test_a_copy_that_is_lost_is_not_read(duck: Service) -> None:
    source = bounded(duck, VISITS)
    prepare(duck)
    for file in duck.settings.copies.iterdir():
        file.unlink()
    assert bounded(duck, VISITS) == source
