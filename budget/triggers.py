"""Triggers that make a table append-only, on SQLite and PostgreSQL.

They are the database's own refusal of UPDATE, DELETE, TRUNCATE and SQLite's INSERT OR REPLACE; the hash chain finds
what is done to the files behind their back. Migrations call this module, and the start-up canary compares what the
database holds with it: its text is part of the schema, so that a change of it needs a revision that drops and creates
them anew.

Why INSERT OR REPLACE has a trigger of its own: SQLite removes the row in the way without firing DELETE triggers unless
the writer's connection has ``recursive_triggers`` on, and a tamperer's has not. The tables have no rowid, whose number
would be one more key to replace by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, PrimaryKeyConstraint, Table, UniqueConstraint, text

from budget.schema import FACTS, inner, payload

MESSAGE: Final = "the ledger is append-only"
_FUNCTION: Final = "ledger_refuse_change"
_BODY: Final = f"BEGIN RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'restrict_violation'; END"

GUARDED: Final = tuple(FACTS.values())
"""Every table whose rows are only ever added."""

KEPT: Final = (inner, payload)
"""Tables whose rows never change, and are deleted when their time is over."""

Keys = Sequence[Sequence[str]]
"""The column sets under which a row is unique: any of them could be replaced by."""


def keys(table: Table) -> Keys:
    """Return the primary key and unique constraints of a table, in a fixed order."""
    found = [
        tuple(column.name for column in constraint.columns)
        for constraint in table.constraints
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint)
    ]
    return sorted(found)


def _sqlite(table: str, unique: Keys, *, deletable: bool) -> Mapping[str, str]:
    taken = " OR ".join("(" + " AND ".join(f"{name} = NEW.{name}" for name in key) + ")" for key in unique)
    when = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken})"  # noqa: S608 - names of our own tables
    refuse = f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
    no_delete = {f"{table}_no_delete": f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}"}
    return {
        f"{table}_no_update": f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}",
        **({} if deletable else no_delete),
        f"{table}_no_replace": f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} {when} {refuse}",
    }


def _postgresql(table: str, *, deletable: bool) -> Mapping[str, str]:
    call = f"EXECUTE FUNCTION {_FUNCTION}()"
    what = "UPDATE" if deletable else "UPDATE OR DELETE"
    return {
        f"{table}_no_change": (f"CREATE TRIGGER {table}_no_change BEFORE {what} ON {table} FOR EACH ROW {call}"),
        f"{table}_no_truncate": (
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}"
        ),
    }


def create(conn: Connection, tables: Mapping[str, Keys], *, deletable: bool = False) -> None:
    """Create the triggers of those tables, given as name and unique keys (a migration states both itself).

    ``deletable`` leaves DELETE alone.
    """
    if conn.dialect.name == "sqlite":
        for table, unique in tables.items():
            for statement in _sqlite(table, sorted(tuple(key) for key in unique), deletable=deletable).values():
                conn.execute(text(statement))
        return
    conn.execute(
        text(f"CREATE OR REPLACE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $body${_BODY}$body$")
    )
    for table in tables:
        for name, statement in _postgresql(table, deletable=deletable).items():
            conn.execute(text(statement))
            # ALWAYS: a session that calls itself a replica fires them too.
            conn.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"))


def drop(conn: Connection, tables: Sequence[str], *, deletable: bool = False) -> None:
    """Drop what ``create`` made; for a migration that is about to drop or rebuild the tables."""
    if conn.dialect.name == "sqlite":
        for table in tables:
            for name in _sqlite(table, (), deletable=deletable):
                conn.execute(text(f"DROP TRIGGER {name}"))
        return
    for table in tables:
        for name in _postgresql(table, deletable=deletable):
            conn.execute(text(f"DROP TRIGGER {name} ON {table}"))
    used = "SELECT 1 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.proname = :name"
    if conn.execute(text(used), {"name": _FUNCTION}).first() is None:
        conn.execute(text(f"DROP FUNCTION {_FUNCTION}()"))


def missing(conn: Connection) -> list[str]:
    """Return the names of triggers that should guard the ledger and do not: absent, disabled or with another text."""
    expected: dict[str, str] = {}
    if conn.dialect.name == "sqlite":
        for table in (*GUARDED, *KEPT):
            expected |= _sqlite(table.name, keys(table), deletable=table in KEPT)
        rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        held = {str(name): str(sql) for name, sql in rows}
        return [name for name, sql in expected.items() if held.get(name) != sql]
    for table in (*GUARDED, *KEPT):
        expected |= _postgresql(table.name, deletable=table in KEPT)
    rows = conn.execute(
        text(
            "SELECT t.tgname, pg_get_triggerdef(t.oid), t.tgenabled, p.prosrc FROM pg_trigger t"
            " JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND pg_table_is_visible(c.oid)"
        )
    )
    held = {str(name): _comparable(sql) for name, sql, enabled, body in rows if (enabled, body) == ("A", _BODY)}
    return [name for name, sql in expected.items() if held.get(name) != _comparable(sql)]


def _comparable(definition: str) -> str:
    """Drop what PostgreSQL's printing of a trigger adds to or reorders in the text that created it."""
    plain = re.sub(r"\b\w+\.(?=ledger_)", "", definition)
    return plain.replace("DELETE OR UPDATE", "UPDATE OR DELETE")
