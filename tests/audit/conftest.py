"""The database that the audit asks, opened once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oracles.databases import DuckdbDatabase
from tests.oracles.worlds import KEYED_PEOPLE


@pytest.fixture(scope="session")
def base() -> Iterator[DuckdbDatabase]:
    opened = DuckdbDatabase(KEYED_PEOPLE)
    yield opened
    opened.close()
