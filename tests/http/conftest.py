"""Worlds for the tests of HTTP: one that is only read, and a fresh one for tests that change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.world import InProcess, World, world


@pytest.fixture(scope="package")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that tests must leave as they found it."""
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[World]:
    """A world of the test's own."""
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def client(here: World) -> InProcess:
    """A client of the shared world."""
    return here.client()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that a module's tests share and change."""
    with world(tmp_path_factory.mktemp("used")) as made:
        yield made
