"""One gateway for the tests of this folder, or a fresh one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reuse.world import World, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """A gateway of its own, whose ledger is in order when the test ends."""
    with world(tmp_path) as made:
        yield made
        assert made.sound()
