"""A time limit that reaches into a database driver: the statement's thread is blocked, another one interrupts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_REPEAT = 0.05


class Watchdog:
    """While entered, calls ``interrupt`` once the deadline has passed or ``cancel`` was called, until it is left.

    It repeats itself because an interrupt that arrives before the driver began the statement is forgotten by most
    drivers. ``interrupt`` is given the seconds since it was first due; it must not raise nor wait for
    long. ``fired`` tells
    afterwards whether a failure was the watchdog's doing.
    """

    def __init__(self, deadline: float, interrupt: Callable[[float], None]) -> None:
        self._deadline, self._interrupt = deadline, interrupt
        self._wake, self._done, self._cancelled = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.fired = False

    def cancel(self) -> None:
        """Interrupt now; from any thread."""
        self._cancelled = True
        self._wake.set()

    def _watch(self) -> None:
        self._wake.wait(max(0.0, self._deadline - time.monotonic()))
        due = time.monotonic()
        while not self._done.is_set():
            self.fired = True
            self._interrupt(time.monotonic() - due)
            self._done.wait(_REPEAT)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._wake.set()
        # without the join a late interrupt could hit the connection's next statement
        self._thread.join()
