"""A question on its way: the id that its charge will have, and whether its analyst has taken it back.

Why what a cancellation shows is time and nothing else: from the instant at which it takes effect, a multiple of the
quantum since submission, until the outcome is persisted, the outcome is the constant failure, whatever the engine says
of its own: an answer that is drawn just then is thrown away, and an engine that fails just then fails as cancelled. So
the one thing that hangs on data is whether the question had ended by that instant. The price stays spent, and nobody is
suspended for an act of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock

from budget.ledger import new_id
from gateway.engines.base import Session
from gateway.errors import Conflict


class Cancelled(Exception):
    """The analyst takes the question back; said where a statement would be handed to the engine."""


@dataclass(slots=True, eq=False)
class _Going:
    """What the threads of one submission share."""

    cancelled: bool = False
    session: Session | None = None
    lock: Lock = field(default_factory=Lock)


@dataclass(frozen=True, slots=True)
class Submission:
    """One question, from its arrival to its outcome; shared by the thread that answers it and those that cancel it.

    ``began`` is its arrival, on the clock that only goes forward.
    """

    id: str = field(default_factory=new_id)
    began: float = field(default_factory=time.monotonic)
    _going: _Going = field(default_factory=_Going)

    def first(self) -> Submission:
        """Return the submission of a charge that is made before, for this one's sake: it is cancelled with it."""
        return replace(self, id=new_id())

    @property
    def cancelled(self) -> bool:
        """Whether it was taken back."""
        return self._going.cancelled

    def cancel(self) -> None:
        """Take the question back, and interrupt the statement that runs; said again until it has ended.

        Again, since an interruption between two statements finds none, and the next one is handed over just then.
        """
        with self._going.lock:
            self._going.cancelled = True
            if self._going.session is not None:
                self._going.session.cancel()

    @contextmanager
    def running(self, session: Session) -> Iterator[None]:
        """Let a cancellation reach this session while the block runs; ``Cancelled`` if there was one before."""
        with self._going.lock:
            self.check()
            self._going.session = session
        try:
            yield
        finally:
            with self._going.lock:
                self._going.session = None

    def check(self) -> None:
        """Raise ``Cancelled`` if the question is taken back."""
        if self.cancelled:
            raise Cancelled

    def refuse(self) -> None:
        """Refuse to charge a question that is taken back."""
        if self.cancelled:
            raise Conflict(
                "query-cancelled",
                "The query was cancelled before it was charged.",
                hint="Nothing was charged but the first look of a target, if one was made before.",
            )
