"""Ledgers on both databases, migrated as a gateway's are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.store import migrate
from gateway.store.engine import control_engine


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'control.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty control database, on each database in turn."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A migrated control database, on each database in turn."""
    engine = control_engine(url, create=True)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()
