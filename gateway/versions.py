"""The data version in force: what admins opened, and what the policy's schedule opened since.

A scheduled version holds from its instant on, whether or not anybody was there to record it: the version at a time is a
function of the admins' acts, the policy and the database's clock. The record is for auditors, and kept by ``record``
before anything that it hangs on changes.

Why this shows nothing: neither data nor questions move a version, so that what analysts see of it, and which stored
answers end with it, could be written down beforehand.
"""

from __future__ import annotations

from sqlalchemy import Connection

from budget import chain
from gateway.policy.model import Dataset, Schedule
from gateway.policy.schedule import instants
from gateway.store import policies

SCHEDULE = "schedule"
"""The actor of the data versions that a schedule opens."""


def due(conn: Connection, dataset: Dataset) -> tuple[int, ...]:
    """Return the scheduled instants that have passed since the last recorded change of a dataset, in order.

    ``dataset`` is the one in force. The time is never earlier than the ledger's last fact, so that a clock that is set
    back takes no version back under which something was charged.
    """
    if dataset.schedule is None:
        return ()
    return tuple(instants(dataset.schedule, policies.changed(conn, dataset.name), chain.time(conn, dataset.name)))


def record(conn: Connection, dataset: Dataset) -> int:
    """Record the data versions that the schedule of the dataset in force has opened, and return how many they were."""
    found = due(conn, dataset)
    for at in found:
        policies.bump(conn, dataset.name, actor=SCHEDULE, at=at)
    return len(found)


def succeed(conn: Connection, dataset: str, schedule: Schedule | None, since: int, until: int) -> None:
    """Record what a schedule opened from the last change until the instant at which another policy took its place."""
    if schedule is not None:
        for at in instants(schedule, since, until):
            policies.bump(conn, dataset, actor=SCHEDULE, at=at)
