"""What commands open on this machine: settings, control database, signing key, a whole service."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli.output import fail, failing, misused

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.service import Service
    from gateway.settings import Settings

LOG: Final = "discreet.log"
"""The file in the home folder for what happens while a command acts as the gateway."""


def settings(**overrides: object) -> Settings:
    """Return the settings in force, some of them given on the command line; a wrong one ends the command as misuse."""
    from gateway.settings import SettingsError, load

    try:
        return load(**overrides)
    except SettingsError as error:
        misused(str(error))


@contextmanager
def opening(sql: str | None = None) -> Iterator[None]:
    """Turn what can go wrong with a home, its database and its key into a message and exit status 1."""
    from sqlalchemy.exc import SQLAlchemyError

    from gateway.auth.keys import KeyFileError
    from gateway.store.engine import ControlDatabaseError

    try:
        with failing(sql):
            yield
    except (ControlDatabaseError, KeyFileError) as error:
        fail(f"{error} [home-unusable]")
    except SQLAlchemyError as error:
        # The driver's text may quote rows, and its kind says enough.
        fail(f"the control database failed ({type(error).__name__}) [control-database]")
    except OSError as error:
        fail(f"{error.strerror or type(error).__name__}: {error.filename or 'a file'} [home-unusable]")


@contextmanager
def control(found: Settings) -> Iterator[Engine]:
    """Open the control database as it is, and close it again."""
    from gateway.control import open_control

    with opening():
        engine = open_control(found)
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Send the gateway's log to a file in a folder that only its owner reads.

    It may hold what the database said of rows: for whoever runs the gateway, and not for the terminal of whoever asks.
    """
    from gateway.observe import ROOT, JsonLines

    handler = logging.FileHandler(folder / LOG, encoding="utf-8", delay=True)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(ROOT)
    before = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = before
        handler.close()


@contextmanager
def service(found: Settings, sql: str | None = None) -> Iterator[Service]:
    """Open a whole gateway in this process, checked like a serving one, and close it again."""
    from gateway.service import open_service

    with opening(sql), logged(found.home):
        opened = open_service(found)
        try:
            if opened.faults:
                fail("this gateway may not answer: " + "; ".join(opened.faults) + " [not-ready]")
            yield opened
        finally:
            opened.close()


def actor() -> str:
    """Return who acts, as the ledger notes it: the operating system's user."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"local:{name}"
