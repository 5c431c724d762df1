"""A process's identity, and the proof that a process is dead.

A process holds an exclusive ``flock`` on a file named by its random id for as long as it lives; the kernel lets go of
it when the last descriptor is gone, by whatever death. A lease that has lapsed proves nothing: its holder may only be
slow, and would answer a second time.

Only who can lock the file has proof: a file that is missing or out of reach (another machine's) leaves a process
"perhaps alive". A child forked without exec keeps the lock, on the safe side. ``flock``, not POSIX locks: those a
process loses as soon as it closes any descriptor of the file, as a look at its own would. Files are never removed,
since a charge may name them at any later time; they are empty, one for each start.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Process:
    """A living process: its id, the folder of the lock files, and the descriptor that keeps it alive."""

    id: str
    folder: Path
    descriptor: int

    def close(self) -> None:
        """Give up the identity: from now on the process counts as dead. Nothing of it may be executing."""
        os.close(self.descriptor)


def begin(folder: Path) -> Process:
    """Take on a fresh identity in a folder that all processes of one control database share (made if missing)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = secrets.token_hex(16)
    descriptor = os.open(folder / identity, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    # Waits for nobody in earnest: until this returns no charge names the id.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return Process(identity, folder, descriptor)


def is_dead(folder: Path, identity: str) -> bool:
    """Return True only if the process with this id is proven dead: its lock can be taken.

    The lock is tried shared, so that two that ask at once do not take each other for the process.
    """
    if not _ID.fullmatch(identity):
        return False
    try:
        descriptor = os.open(folder / identity, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
