"""The passes by their text: what each question becomes, and why each other one is refused."""

from __future__ import annotations

import os

import pytest

from gateway.sql.refusals import CODES
from tests.sql import golden
from tests.sql.golden import Block, every, made, write

if os.environ.get("GOLDEN") == "write":
    write()
ACCEPTED, REFUSED = every(golden.ACCEPTED), every(golden.REFUSED)


@pytest.mark.parametrize("block", ACCEPTED, ids=lambda block: block.title)
def test_accepted(block: Block) -> None:
    assert made(block) == block.expected


@pytest.mark.parametrize("block", REFUSED, ids=lambda block: block.title)
def test_refused(block: Block) -> None:
    assert made(block) == block.expected
    assert "not at all" not in block.expected


def test_every_code_has_an_example() -> None:
    shown = {block.expected.split()[2] for block in REFUSED}
    elsewhere = {"sql-too-long", "rows-unbounded", "groups-too-many"}  # in test_limits.py
    elsewhere |= {"keys-unmatched"}  # in tests/reuse/test_given.py
    elsewhere |= {"bounding-unavailable"}  # in tests/release/test_bounding.py
    assert CODES.keys() - shown == elsewhere | {"parameter-unused"}  # in test_parameters.py
