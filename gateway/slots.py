"""How many queries may be in flight: of one analyst, and in all."""

from __future__ import annotations

import math
import time
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

    An analyst's own query counts as in flight until the next multiple of ``quantum`` (in seconds) since it was
    submitted: requests that are refused at no charge, sent at many instants, would else tell more finely when it ended.
    """

    def __init__(self, *, per_analyst: int, in_all: int, quantum: float = 0.0) -> None:
        self._per_analyst = per_analyst
        self._in_all = in_all
        self._quantum = quantum
        self._lock = Lock()
        self._held: Counter[str] = Counter()
        self._ending: dict[str, list[tuple[float, float]]] = {}

    @contextmanager
    def hold(self, analyst: str, began: float | None = None, *, told: bool = False) -> Iterator[None]:
        """Hold one slot while the block runs; ``TooManyQueries`` if none is free.

        ``began`` is when the query was submitted, now by default, on the clock that only goes forward. ``told`` if
        anybody may know when it ends, since no data are asked.
        """
        began = time.monotonic() if began is None else began
        with self._lock:
            if self._held[analyst] + self._still(analyst, began) >= self._per_analyst:
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
                if self._quantum and not told:
                    quanta = max(1, math.ceil((time.monotonic() - began) / self._quantum))
                    self._ending.setdefault(analyst, []).append((began + quanta * self._quantum, began))

    def _still(self, analyst: str, began: float) -> int:
        """Return how many queries of an analyst have ended and count still, but for the first part of one that goes on;
        the lock is held.
        """
        now = time.monotonic()
        kept = ((name, [each for each in ends if each[0] > now]) for name, ends in self._ending.items())
        self._ending = {name: ends for name, ends in kept if ends}
        return sum(since != began for _, since in self._ending.get(analyst, ()))

    @property
    def in_flight(self) -> int:
        """The queries in flight now."""
        with self._lock:
            return self._held.total()
