"""Where an embedded engine puts what does not fit into its memory: a folder of its own, which goes with who uses it."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Final

from gateway.engines.held import Alone

PREFIX: Final = "discreet-spill-"


class Spill:
    """A folder that its owner alone reads (0700), removed with all that is in it once nothing refers to this any more.

    It holds private rows. A process that was killed leaves its folders behind: the next one removes them, and tells
    them from those of processes that live by a lock that goes with whoever holds it.
    """

    def __init__(self) -> None:
        _sweep()
        alone = None
        while alone is None:  # a sweep may have been quicker than the lock
            path = Path(tempfile.mkdtemp(prefix=PREFIX))
            alone = _alone(path)
        self.path: Final = path
        weakref.finalize(self, _remove, path, alone)
        _LIVE[str(path)] = self


_LIVE: weakref.WeakValueDictionary[str, Spill] = weakref.WeakValueDictionary()


def at(path: str) -> Spill | None:
    """Return the folder at a path, if it is one of this process: who refers to it keeps it."""
    return _LIVE.get(path)


def _alone(path: Path) -> Alone | None:
    """Return the lock of a folder, None where another has it or the folder is gone."""
    try:
        found = Alone(path)
    except OSError:
        return None
    if path.is_dir():
        return found
    found.close()
    return None


def _remove(path: Path, alone: Alone) -> None:
    shutil.rmtree(path, ignore_errors=True)
    alone.close()


def _sweep() -> None:
    """Remove the folders of one's own user that nobody holds."""
    with os.scandir(tempfile.gettempdir()) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(PREFIX) and _mine(entry)]
    for path in left:
        alone = _alone(path)
        if alone is not None:
            _remove(path, alone)


def _mine(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()
    except OSError:
        return False  # gone meanwhile
