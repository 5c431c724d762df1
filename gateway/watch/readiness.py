"""Whether a gateway may answer: what its canary found, and found again for as long as there was something.

A gateway with a fault answers no question. What an admin does about it (a ledger acknowledged, rights taken away, a
policy applied) is seen by looking again, and not by starting anew. One that may answer is not looked at again here: its
guards are checked where they stand.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

log = logging.getLogger("discreet.canary")

AGAIN_SECONDS: Final = 2.0
"""How long what was found holds before it is looked at again; whoever asks more often costs nothing."""

Check = Callable[[], tuple[str, ...]]


class Readiness:
    """What stands against answering, each in a sentence for admins; empty when the gateway may answer."""

    def __init__(self, faults: tuple[str, ...] = ()) -> None:
        self.faults = faults
        self._check: Check | None = None
        self._looked = 0.0
        self._looking = Lock()

    def begin(self, check: Check) -> None:
        """Look for the first time; ``check`` is what is done again for as long as it finds something."""
        self._check = check
        with self._looking:
            self._look(check)

    def look(self) -> tuple[str, ...]:
        """Return what stands against answering, looked at again if that is due; may take as long as starting does.

        Who comes while another looks is given what was found before: nobody waits, and nothing is answered early.
        """
        due = self.faults and self._check is not None and time.monotonic() - self._looked >= AGAIN_SECONDS
        if due and self._looking.acquire(blocking=False):
            try:
                self._look(self._check)
            finally:
                self._looking.release()
        return self.faults

    def again(self) -> None:
        """Look at once, also where nothing was wrong: somebody has seen something."""
        with self._looking:
            self._look(self._check)

    def _look(self, check: Check | None) -> None:
        if check is None:
            return
        found = check()
        for fault in found:
            if fault not in self.faults:
                log.error("canary: %s", fault)
        if self.faults and not found:
            log.warning("canary: nothing is wrong any more")
        self.faults, self._looked = found, time.monotonic()
