"""A clock that the tests set, in the place of the database's."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection


class Clock:
    """The database's time as the test says; called like ``chain.now``."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now = instant(text)

    def __call__(self, _: Connection) -> int:
        return self.now


def instant(text: str) -> int:
    """Microseconds since 1970 of a time written with its offset, or in UTC."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * 10**6 + moment.microsecond
