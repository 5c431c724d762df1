"""The seam to a database that holds data: a dialect, a catalogue, and bounded SQL in, Arrow out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from gateway.policy.model import Dialect, TableShape


class EngineError(Exception):
    """The database failed, in words for the admin's log alone: they may hold data and never reach an analyst."""


class EngineUnavailable(EngineError):
    """The database could not be opened, so that no statement was handed to it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use: wall time in seconds."""

    seconds: float


class Session(Protocol):
    """One read-only transaction: every statement of a request sees the same snapshot."""

    def schema(self, tables: Collection[str]) -> Mapping[str, TableShape]:
        """Return the catalogue's entries of those tables, without those that do not exist."""

    def fetch(self, sql: str) -> pa.Table:
        """Run one statement and return its rows; ``EngineError`` on any failure, the time limit included."""

    def cancel(self) -> None:
        """Stop the statement that runs, from another thread; does nothing if none does."""


class Engine(Protocol):
    """A database, opened lazily and shared by threads."""

    @property
    def dialect(self) -> Dialect:
        """The dialect in which bounded SQL is to be written."""

    def tables(self) -> Collection[str]:
        """Return the names of the tables and views that the gateway could read."""

    def session(self, limits: Limits) -> AbstractContextManager[Session]:
        """Open a read-only session; ``EngineUnavailable`` if the database cannot be reached."""

    def read_only(self) -> bool:
        """Whether the rights that the gateway holds cannot change the data."""

    def renew(self) -> None:
        """Read files as they are now from the next session on: an admin said that the data changed, or a schedule did.

        Does nothing where sessions read the data as they are anyway.
        """

    def close(self) -> None:
        """Release files and connections."""
