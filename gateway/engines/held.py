"""Locks on files: one that keeps writers of other processes away, and one that a single process has at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import weakref
from pathlib import Path
from typing import Final

_SHARED: Final = getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" and sys.maxsize > 2**32 else None


class Held:
    """A file that no other process opens for writing, until nothing refers to this any more.

    Why an engine that has locked its file holds it like this as well: the lock of ``fcntl`` belongs to the process, and
    is gone as soon as the process closes any descriptor of the file, whichever it locked by. This one belongs to its
    own descriptor. Systems that know none (all but Linux) have the engine's alone.
    """

    def __init__(self, path: Path) -> None:
        if _SHARED is None:
            return  # nothing is opened either: its closing would take the engine's own lock away
        descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        try:
            # struct flock: the whole file, shared
            fcntl.fcntl(descriptor, _SHARED, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            if error.errno != errno.EINVAL:  # a kernel that says Linux and knows no such lock
                raise


class Alone:
    """A file that one process at a time has for its own, as far as all of them ask; ``OSError`` if another one has."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        self._closing = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        self._closing()
