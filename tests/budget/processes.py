"""Processes of their own, made quickly: forked from one that has imported what they need.

A fresh interpreter takes most of a second of one core before it reaches the ledger; three hundred of them would be most
of an audit. A forked process is killed like any other.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any, Final

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["budget.ledger", "gateway.store.committer", "gateway.store.engine", "psycopg", "sqlalchemy.dialects.postgresql"]
)


class Child:
    """A process that runs a function, whose first argument is where to say things (``say``)."""

    def __init__(self, work: Callable[..., None], *given: Any) -> None:
        self._reads, writes = _CONTEXT.Pipe(duplex=False)
        self.process: BaseProcess = _CONTEXT.Process(target=work, args=(writes, *given), daemon=True)
        self.process.start()
        writes.close()

    def until(self, word: str, seconds: float = 60) -> str:
        """Return what it says until a whole line that begins with a word."""
        said = b""
        while not (said.endswith(b"\n") and said.splitlines()[-1].startswith(word.encode())):
            assert self._reads.poll(seconds), "it says nothing"
            more = os.read(self._reads.fileno(), 1)
            assert more, "it died before it said that"
            said += more
        return said.decode()

    def rest(self) -> str:
        """Return what else it says until it ends."""
        said = b""
        while more := os.read(self._reads.fileno(), 1 << 16):
            said += more
        self._reads.close()
        self.process.join(60)
        return said.decode()


def say(writes: Any, line: str) -> None:
    """Say one line, whole."""
    os.write(writes.fileno(), line.encode() + b"\n")
