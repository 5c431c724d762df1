"""A clock that the tests set, in the place of the database's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, select

from budget import balance, chain, schema


class Clock:
    """The database's time as the test says; called like ``chain.now``."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now = instant(text)

    def __call__(self, _: Connection) -> int:
        return self.now

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of the database's clock wherever the ledger looks at it."""
        locked = balance.locked

        def time(conn: Connection, dataset: str) -> int:
            last = conn.execute(select(schema.head.c.at).where(schema.head.c.dataset == dataset)).scalar_one_or_none()
            return max(self.now, last or 0)

        def locked_then(conn: Connection, dataset: str, analysts: Sequence[str]) -> Any:
            found = locked(conn, dataset, analysts)
            return None if found is None else (found[0], self.now, found[2])

        patch.setattr(chain, "now", self)
        patch.setattr(chain, "time", time)
        patch.setattr(balance, "locked", locked_then)


def instant(text: str) -> int:
    """Microseconds since 1970 of a time written with its offset, or in UTC."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * 10**6 + moment.microsecond
