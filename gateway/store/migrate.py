"""Bringing the control database to the schema that this program knows, by Alembic, configured in code.

A migration runs in one transaction, the reading of the current revision included: two processes that start at once
migrate one after the other, and one that fails half-way leaves nothing behind.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from gateway.store.engine import reader

_LOCK: Final = 0x6469736372656574
"""The number of PostgreSQL's advisory lock for migrations (the letters of the project's name)."""


def scripts() -> Path:
    """Return the folder of the migrations: package data in an installed wheel, else the source tree's ``alembic``."""
    package = Path(str(files("gateway")))
    installed = package / "migrations"
    return installed if (installed / "env.py").is_file() else package.parent / "alembic"


def head() -> str:
    """Return the revision that this program knows and needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the migrations are missing from the installation")
    return revision


def current(engine: Engine) -> str | None:
    """Return the revision of a control database; None where no migration has run."""
    with reader(engine).begin() as conn:
        return MigrationContext.configure(conn).get_current_revision()


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate a control database up, by default to the newest revision; nothing happens if it is there."""
    with engine.begin() as conn:
        _alone(conn)
        command.upgrade(_config(conn), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate a control database down to a revision (``base``: to none); a ledger that holds facts is never dropped."""
    with engine.begin() as conn:
        _alone(conn)
        command.downgrade(_config(conn), revision)


def _config(conn: Connection | None = None) -> Config:
    config = Config()
    # Doubled: a percent sign in the path is the option parser's own.
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if conn is not None:
        config.attributes["connection"] = conn
    return config


def _alone(conn: Connection) -> None:
    """Wait until no other process migrates; on SQLite the transaction's beginning has done so."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
