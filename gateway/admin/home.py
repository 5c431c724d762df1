"""Making the home of a gateway: folder, control database, signing key."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from gateway.auth import keys
from gateway.settings import Settings
from gateway.store import migrate
from gateway.store.engine import control_engine


@dataclass(frozen=True, slots=True)
class Initialised:
    """What ``init`` found or made."""

    home: Path
    schema: str
    key_made: bool


def init(settings: Settings) -> Initialised:
    """Make what is missing of a gateway's home, and bring the control database to the schema of this program.

    Done again it changes nothing: an existing key and an existing ledger are kept. The folder is its owner's alone.
    Raises ``ControlDatabaseError``, ``KeyFileError`` or ``OSError``.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.home.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        settings.home.chmod(0o700)
    engine = control_engine(settings.database_url, create=True)
    try:
        migrate.upgrade(engine)
    finally:
        engine.dispose()
    made = not settings.signing_key_file.exists()
    if made:
        keys.create(settings.signing_key_file)
    keys.load(settings.signing_key_file)
    return Initialised(settings.home, migrate.head(), made)
