"""The sandbox of the SQL tests, opened once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(memory=2**28, seconds=20)
    yield opened
    opened.close()
