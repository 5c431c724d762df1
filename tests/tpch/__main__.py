"""``python -m tests.tpch [q01 …]``: what becomes of the standard queries today, one a line."""

from __future__ import annotations

import sys

from tests.tpch.status import status
from tests.tpch.world import QUERIES

for name in sys.argv[1:] or QUERIES:
    found = status(name)
    place = f" at {found.at}" if found.at else ""
    sys.stdout.write(f"{name}: {found.word}{place}{f': {found.said}' if found.said else ''}\n")
