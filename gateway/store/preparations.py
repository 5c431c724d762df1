"""Prepared copies of datasets: which were begun, which are ready to be read, and which were dropped.

A copy is of one policy version and one data version. It is read from the instant at which it is noted as ready until
either version is no longer in force, or until an admin drops it: public instants, all of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from budget import chain
from gateway.store.tables import preparation

# Made once, as every question needs it.
_LATEST: Final = (
    select(preparation)
    .where(
        preparation.c.dataset == bindparam("dataset"),
        preparation.c.policy_version == bindparam("policy_version"),
        preparation.c.data_version == bindparam("data_version"),
        preparation.c.dropped_at.is_(None),
    )
    .order_by(preparation.c.ready_at.is_(None), preparation.c.began_at.desc(), preparation.c.id)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One copy: ``shapes`` is the text of its catalogue entries once it is ready, None before."""

    id: str
    dataset: str
    policy_version: int
    data_version: int
    shapes: str | None


def begin(conn: Connection, dataset: str, policy_version: int, data_version: int, *, actor: str) -> Prepared:
    """Note that a copy is begun, or return the one that was begun for these versions and is still there."""
    found = _latest(conn, dataset, policy_version, data_version)
    if found is not None:
        return found
    made = Prepared(secrets.token_hex(16), dataset, policy_version, data_version, None)
    conn.execute(
        insert(preparation).values(
            id=made.id,
            dataset=dataset,
            policy_version=policy_version,
            data_version=data_version,
            began_at=chain.now(conn),
            actor=actor,
        )
    )
    return made


def finish(conn: Connection, id: str, shapes: str) -> bool:  # noqa: A002 - the column's name
    """Note that a copy is ready; False if it was dropped, or finished, meanwhile."""
    done = conn.execute(
        update(preparation)
        .where(preparation.c.id == id, preparation.c.ready_at.is_(None), preparation.c.dropped_at.is_(None))
        .values(ready_at=chain.now(conn), shapes=shapes)
    )
    return done.rowcount == 1


def ready(conn: Connection, dataset: str, policy_version: int, data_version: int) -> Prepared | None:
    """Return the copy that is read for these versions, None if there is none."""
    found = _latest(conn, dataset, policy_version, data_version)
    return found if found is not None and found.shapes is not None else None


def made(conn: Connection, dataset: str, policy_version: int, data_version: int) -> list[Prepared]:
    """Return all copies that were ever read for these versions, the last one first; also those that were dropped."""
    rows = conn.execute(
        select(preparation)
        .where(
            preparation.c.dataset == dataset,
            preparation.c.policy_version == policy_version,
            preparation.c.data_version == data_version,
            preparation.c.ready_at.is_not(None),
        )
        .order_by(preparation.c.ready_at.desc(), preparation.c.id)
    )
    return [_read(row) for row in rows]


def standing(conn: Connection, dataset: str) -> list[Prepared]:
    """Return all copies of a dataset that were begun and not dropped, of whichever versions."""
    rows = conn.execute(
        select(preparation)
        .where(preparation.c.dataset == dataset, preparation.c.dropped_at.is_(None))
        .order_by(preparation.c.began_at, preparation.c.id)
    )
    return [_read(row) for row in rows]


def drop(conn: Connection, id: str) -> None:  # noqa: A002
    """Note that a copy is no longer there."""
    conn.execute(
        update(preparation)
        .where(preparation.c.id == id, preparation.c.dropped_at.is_(None))
        .values(dropped_at=chain.now(conn))
    )


def dropped(conn: Connection, ids: Sequence[str]) -> list[str]:
    """Return those of some copies that were dropped."""
    rows = conn.execute(
        select(preparation.c.id).where(preparation.c.id.in_(ids), preparation.c.dropped_at.is_not(None))
    )
    return sorted(rows.scalars())


def _latest(conn: Connection, dataset: str, policy_version: int, data_version: int) -> Prepared | None:
    row = conn.execute(
        _LATEST, {"dataset": dataset, "policy_version": policy_version, "data_version": data_version}
    ).one_or_none()
    return None if row is None else _read(row)


def _read(row: Row[Any]) -> Prepared:
    return Prepared(row.id, row.dataset, row.policy_version, row.data_version, row.shapes)
