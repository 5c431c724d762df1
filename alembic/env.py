"""Runs migrations on the connection that gateway/store/migrate.py hands over, inside its transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from budget.schema import metadata

connection = context.config.attributes["connection"]
assert isinstance(connection, Connection)
# SQLite's DDL is transactional once the driver begins nothing by itself (gateway/store/engine.py).
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
