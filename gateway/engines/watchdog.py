"""A time limit that reaches into a database driver: the statement's thread is blocked, another one interrupts it.

All watchdogs share one thread that waits for the earliest deadline. Only one that is due gets a thread of its own,
since an interrupt may take a while: to start a thread for each statement costs as much as a small statement does.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

_REPEAT = 0.05


class Watchdog:
    """While entered, calls ``interrupt`` once the deadline has passed or ``cancel`` was called, until it is left.

    It repeats itself because an interrupt that arrives before the driver began the statement is forgotten by most
    drivers. ``interrupt`` is given the seconds since it was first due; it must not raise nor wait for long. ``fired``
    tells afterwards whether a failure was the watchdog's doing.
    """

    def __init__(self, deadline: float, interrupt: Callable[[float], None]) -> None:
        self.deadline = deadline
        self._interrupt = interrupt
        self._lock, self._left = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self.fired = False

    def cancel(self) -> None:
        """Interrupt now; from any thread."""
        with self._lock:
            if self._thread is None and not self._left.is_set():
                self._thread = threading.Thread(target=self._insist, name="watchdog", daemon=True)
                self._thread.start()

    def _insist(self) -> None:
        due = time.monotonic()
        while not self._left.is_set():
            self.fired = True
            self._interrupt(time.monotonic() - due)
            self._left.wait(_REPEAT)

    def __enter__(self) -> Self:
        _DEADLINES.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _DEADLINES.remove(self)
        with self._lock:
            self._left.set()
        # without the join a late interrupt could hit the connection's next statement
        if self._thread is not None:
            self._thread.join()


class _Deadlines:
    """The watchdogs that are entered, and the one thread that waits for the first of their deadlines.

    It is woken only by a deadline that is earlier than the one it waits for: statements that end in time, which all but
    a few do, never wake it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._entered: set[Watchdog] = set()
        self._next = math.inf
        self._thread: threading.Thread | None = None

    def add(self, watchdog: Watchdog) -> None:
        """Cancel it when its deadline has passed."""
        with self._changed:
            self._entered.add(watchdog)
            if watchdog.deadline < self._next:
                self._next = watchdog.deadline
                self._changed.notify()
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()

    def remove(self, watchdog: Watchdog) -> None:
        """Forget it."""
        with self._changed:
            self._entered.discard(watchdog)

    def _watch(self) -> None:
        while True:
            self._look()

    def _look(self) -> None:
        """Cancel what is due, or wait; whatever is waited for, no watchdog that was left is held here."""
        with self._changed:
            now = time.monotonic()
            due = [each for each in self._entered if each.deadline <= now]
            self._entered.difference_update(due)
            self._next = min((each.deadline for each in self._entered), default=math.inf)
            if not due:
                self._changed.wait(min(self._next - now, threading.TIMEOUT_MAX))
        for each in due:
            each.cancel()


_DEADLINES: Final = _Deadlines()
