"""Which charges threads of this process execute: any other of its own is abandoned, as if its process were dead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from budget.records import Record
from gateway.service import Service

_RUNNING: set[str] = set()


@dataclass(frozen=True, slots=True)
class Held:
    """The charges that one thread executes."""

    charges: list[str]

    def add(self, charge_id: str) -> None:
        """Count a charge as executing: said before the COMMIT that lets others see it."""
        self.charges.append(charge_id)
        _RUNNING.add(charge_id)


@contextmanager
def executing() -> Iterator[Held]:
    """Hold the charges that this thread executes until the block ends."""
    held = Held([])
    try:
        yield held
    finally:
        _RUNNING.difference_update(held.charges)


def is_dead(service: Service, charge_id: str, process: str) -> bool:
    """Return whether nobody executes a charge for that process any more."""
    return service.is_dead(process) or (process == service.process.id and charge_id not in _RUNNING)


def abandoned(service: Service, record: Record) -> bool:
    """Return whether nobody works at a charge without an outcome any more, so that a retry may."""
    executes = record.retaken_by or record.charge.process
    return record.outcome is None and is_dead(service, record.charge.id, executes)
