"""Whose turn it is to do what keeps the interpreter busy: one thread at a time, where nothing is gained by more.

Python runs one thread at a time anyway. Where many have work for it, each statement to a control database in a file
hands the interpreter to another thread, and has to wait for it again: with 32 questions at once, half of the processor
went into that. Who waits for a turn costs nothing.

A turn is a matter of speed alone. Who has waited for it long enough goes on without it, so that a question that takes
long to plan holds nobody up for more than a moment, and nothing can wait for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

PATIENCE: Final = 0.05
"""Seconds that a thread waits for its turn: much longer than what is done in one, but for a plan that is made."""


class Turns:
    """One turn at a time, shared by threads; as many as ask where the control database is a server: who waits for its
    answer keeps nobody from the interpreter.
    """

    def __init__(self, *, server: bool = False) -> None:
        self._lock = None if server else Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the turn while the block runs, or run it without after a while."""
        held = self._lock if self._lock is not None and self._lock.acquire(timeout=PATIENCE) else None
        try:
            yield
        finally:
            if held is not None:
                held.release()
