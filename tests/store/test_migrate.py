"""Migrations up and down, with data in the tables, on both databases; what they build is what the code declares."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from budget import grants, inner, ledger, payloads, records, schema, suspensions, triggers
from budget.grants import Grant
from budget.ledger import ChargeRequest
from budget.verify import verify
from gateway.store import migrate, tables
from gateway.store.engine import control_engine
from mechanisms.loss import Loss

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'control.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = control_engine(url, create=True)
    yield engine
    engine.dispose()


def fill(engine: Engine) -> str:
    """Put a fact of each kind into the ledger, and return the charge's id."""
    with engine.begin() as conn:
        grants.set_cap(conn, "health", Grant(10**10), actor="root")
        grants.set_grant(conn, "health", "ann", Grant(10**9), actor="root")
        charge = ledger.charge(
            conn,
            ChargeRequest("health", "ann", Loss(5, 5), 5, b"h" * 32, "plan", 1, 1, "{}", "d" * 32),
        ).record.charge.id
        ledger.claim_retry(conn, charge, process="e" * 32, is_dead=lambda _: True)
        ledger.settle(conn, charge, "answered", b"rows")
        suspensions.suspend(conn, "health", "ann", actor="gateway", charge=charge)
    return charge


def holds(engine: Engine, charge: str) -> None:
    with engine.begin() as conn:
        report = verify(conn)
        assert report.missing_triggers == ()
        assert [each.fault for each in report.datasets] == [None], report
        assert report.datasets[0].facts == 6
        record = records.get(conn, charge)
        assert record.outcome is not None
        assert record.outcome.payload == b"rows"


def test_the_revisions_are_one_line() -> None:
    config = migrate._config()
    script = ScriptDirectory.from_config(config)
    assert [each.revision for each in reversed(list(script.walk_revisions()))] == list(REVISIONS)
    assert migrate.head() == REVISIONS[-1]


def test_up_step_by_step_and_down_again_with_data(engine: Engine) -> None:
    assert migrate.current(engine) is None
    for revision in REVISIONS:
        migrate.upgrade(engine, revision)
        assert migrate.current(engine) == revision
    charge = fill(engine)
    for _ in range(2):
        migrate.upgrade(engine)
        assert migrate.current(engine) == migrate.head()
        holds(engine, charge)
        with engine.begin() as conn:
            assert triggers.missing(conn) == []
            conn.execute(insert(tables.principal).values(name="ann", role="analyst", disabled=False, created_at=1))
            conn.execute(insert(tables.data_version).values(dataset="health", version=1, at=1, actor="root"))
        migrate.upgrade(engine)  # nothing to do
        migrate.downgrade(engine, "0003")
        with engine.begin() as conn:
            # A payload stands in its outcome there, whose place in the chain is the same.
            [row] = conn.execute(text("SELECT status, payload FROM ledger_outcome")).all()
            assert (row.status, bytes(row.payload)) == ("answered", b"rows")
            with pytest.raises(DBAPIError, match=triggers.MESSAGE), conn.begin_nested():
                conn.execute(text("UPDATE ledger_outcome SET status = status"))
        migrate.downgrade(engine, "0001")
        assert migrate.current(engine) == "0001"
        assert not inspect(engine).has_table("control_principal")


def test_what_the_revision_before_cannot_hold_is_not_taken_back(engine: Engine) -> None:
    migrate.upgrade(engine)
    charge = fill(engine)
    with engine.begin() as conn:
        assert payloads.remove(conn, [charge]) == 1
    with pytest.raises(RuntimeError, match="deleted"):
        migrate.downgrade(engine, "0003")
    assert migrate.current(engine) == migrate.head()


def test_draws_are_not_taken_back(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.begin() as conn:
        grants.set_cap(conn, "health", Grant(10**10), actor="root")
        grants.set_grant(conn, "health", "ann", Grant(10**9), actor="root")
        asked = ChargeRequest("health", "ann", Loss(5, 5), 5, b"h" * 32, "plan", 1, 1, "{}", "d" * 32)
        inner.keep(conn, ledger.charge(conn, asked).record.charge.id, 0, b"first")
    with pytest.raises(RuntimeError, match="draws"):
        migrate.downgrade(engine, "0005")
    assert migrate.current(engine) == migrate.head()


def test_a_ledger_with_facts_is_never_dropped(engine: Engine) -> None:
    migrate.upgrade(engine)
    charge = fill(engine)
    with pytest.raises(RuntimeError, match="holds facts"):
        migrate.downgrade(engine, "base")
    assert migrate.current(engine) == migrate.head()  # in one transaction: not even the newer revision was undone
    holds(engine, charge)
    assert inspect(engine).has_table("control_principal")


def test_down_to_nothing_and_up_again(engine: Engine) -> None:
    migrate.upgrade(engine)
    migrate.downgrade(engine, "base")
    assert migrate.current(engine) is None
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    if engine.dialect.name == "postgresql":
        with engine.begin() as conn:
            left = conn.execute(text("SELECT proname FROM pg_proc WHERE proname LIKE 'ledger%'")).all()
            assert left == []
    migrate.upgrade(engine)
    holds(engine, fill(engine))


def described(engine: Engine) -> dict[str, Any]:
    """Everything that the database says of its tables."""
    if engine.dialect.name == "sqlite":
        with engine.begin() as conn:
            rows = conn.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL")
            ).all()
        # Line by line: constraints may come in any order.
        return {row.name: sorted(line.strip().rstrip(",") for line in row.sql.split("\n")) for row in rows}
    with engine.begin() as conn:
        columns = conn.execute(
            text(
                "SELECT table_name || '.' || column_name, data_type, character_maximum_length, is_nullable,"
                " column_default FROM information_schema.columns WHERE table_schema = 'public'"
            )
        ).all()
        constraints = conn.execute(
            text(
                "SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
                " WHERE connamespace = 'public'::regnamespace"
            )
        ).all()
        indexes = conn.execute(text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")).all()
    return {row[0]: tuple(row[1:]) for row in (*columns, *constraints, *indexes)}


def test_what_is_migrated_is_what_is_declared(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    migrate.upgrade(engine)
    with engine.begin() as conn:
        assert compare_metadata(MigrationContext.configure(conn), schema.metadata) == []
    migrated = {name: what for name, what in described(engine).items() if not name.startswith("alembic_version")}
    if engine.dialect.name == "sqlite":
        other = create_engine(f"sqlite:///{tmp_path / 'declared.sqlite'}")
        schema.metadata.create_all(other)
        declared = described(other)
        other.dispose()
    else:
        migrate.downgrade(engine, "base")
        schema.metadata.create_all(engine)
        declared = {name: what for name, what in described(engine).items() if not name.startswith("alembic_version")}
    assert migrated.keys() == declared.keys()
    for name, what in declared.items():
        assert migrated[name] == what, name


def test_what_a_migration_guards_is_what_the_tables_hold_unique() -> None:
    scripts = ScriptDirectory.from_config(migrate._config())
    stated: dict[str, Any] = {}
    for revision in ("0001", "0004", "0006"):
        script = scripts.get_revision(revision)
        assert script is not None
        stated |= script.module.FACTS | getattr(script.module, "KEPT", {})
    assert {name: sorted(keys) for name, keys in stated.items()} == {
        table.name: triggers.keys(table) for table in (*triggers.GUARDED, *triggers.KEPT)
    }


def test_a_migration_that_fails_leaves_nothing_behind(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("half-way")

    monkeypatch.setattr(triggers, "create", fail)
    with pytest.raises(RuntimeError, match="half-way"):
        migrate.upgrade(engine)
    assert inspect(engine).get_table_names() == []
    monkeypatch.undo()
    migrate.upgrade(engine)
    holds(engine, fill(engine))


def test_scripts_come_from_package_data_if_there_is_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(str(files("gateway"))).parent / "alembic"
    assert migrate.scripts() == source
    assert not (source / "__init__.py").exists()  # it would hide the library of that name
    package = tmp_path / "100% gateway"
    (package / "migrations" / "versions").mkdir(parents=True)
    monkeypatch.setattr(migrate, "files", lambda _: package)
    assert migrate.scripts() == tmp_path / "alembic"  # an empty folder is none
    for name in ("env.py", "script.py.mako", "versions/0001_ledger.py", "versions/0002_control.py"):
        (package / "migrations" / name).write_text((source / name).read_text())
    assert migrate.scripts() == package / "migrations"
    engine = control_engine(f"sqlite:///{tmp_path / 'control.sqlite'}", create=True)
    migrate.upgrade(engine)
    assert migrate.current(engine) == "0002"
    with engine.begin() as conn:
        assert conn.execute(select(schema.head)).all() == []
    engine.dispose()
