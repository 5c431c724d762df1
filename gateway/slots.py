"""How many queries may be in flight: of one analyst, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from gateway.errors import Refusal


class TooManyQueries(Refusal):
    """Over a limit of queries in flight; nothing was charged, and the same request may be sent again."""

    status = 429

    def __init__(self, message: str) -> None:
        super().__init__("too-many-queries", message, hint="Send it again, with the same Idempotency-Key, in a moment.")


class Slots:
    """Counts queries in flight, shared by threads.

    The limit of one analyst is looked at first, so that who floods the gateway is told of their own limit and sees the
    others' load only through the common one (which the promise excludes).
    """

    def __init__(self, *, per_analyst: int, in_all: int) -> None:
        self._per_analyst = per_analyst
        self._in_all = in_all
        self._lock = Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, analyst: str) -> Iterator[None]:
        """Hold one slot while the block runs; ``TooManyQueries`` if none is free."""
        with self._lock:
            if self._held[analyst] >= self._per_analyst:
                raise TooManyQueries("You have too many queries in flight.")
            if self._held.total() >= self._in_all:
                raise TooManyQueries("The gateway has too many queries in flight.")
            self._held[analyst] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[analyst] -= 1
                if not self._held[analyst]:
                    del self._held[analyst]

    @property
    def in_flight(self) -> int:
        """The queries in flight now."""
        with self._lock:
            return self._held.total()
