"""Lifetimes as people write them: ``8h``."""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """Return the seconds of a lifetime, ``90s``, ``15m``, ``8h`` or ``30d``; ``ValueError`` for anything else."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError("a lifetime is a number and a unit: 90s, 15m, 8h, 30d")
    return int(found[1]) * _SECONDS[found[2]]
