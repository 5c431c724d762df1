"""Policies as they were applied, one row a version, and the data versions of their datasets.

A version holds what a ``Dataset`` is rebuilt from (the document and the catalogue entries that ``apply`` found), so
that planning never asks the data engine; and a charge made under it can still be executed after the next ``apply``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, insert, select

from budget import chain
from gateway.store.tables import data_version, policy

# Made once, as every question needs it.
_CURRENT: Final = select(
    select(func.max(policy.c.version)).where(policy.c.dataset == bindparam("of")).scalar_subquery(),
    select(func.max(data_version.c.version)).where(data_version.c.dataset == bindparam("of")).scalar_subquery(),
)


@dataclass(frozen=True, slots=True)
class Version:
    """One applied policy: the admin's text, canonical texts of document and catalogue, and when and by whom."""

    dataset: str
    version: int
    source: str
    document: str
    shapes: str
    dialect: str
    at: int
    actor: str


def append(
    conn: Connection, dataset: str, *, source: str, document: str, shapes: str, dialect: str, actor: str
) -> Version:
    """Store the next version of a dataset's policy; the first one opens data version 1 as well."""
    last = latest(conn, dataset)
    number = 1 if last is None else last.version + 1
    stored = Version(dataset, number, source, document, shapes, dialect, chain.now(conn), actor)
    conn.execute(
        insert(policy).values(
            dataset=dataset,
            version=number,
            source=source,
            document=document,
            shapes=shapes,
            dialect=dialect,
            at=stored.at,
            actor=actor,
        )
    )
    if last is None:
        conn.execute(insert(data_version).values(dataset=dataset, version=1, at=stored.at, actor=actor))
    return stored


def latest(conn: Connection, dataset: str) -> Version | None:
    """Return the version in force, or None for a dataset that was never applied."""
    row = conn.execute(
        select(policy).where(policy.c.dataset == dataset).order_by(policy.c.version.desc()).limit(1)
    ).one_or_none()
    return None if row is None else _read(row)


def get(conn: Connection, dataset: str, version: int) -> Version | None:
    """Return one version, or None."""
    row = conn.execute(select(policy).where(policy.c.dataset == dataset, policy.c.version == version)).one_or_none()
    return None if row is None else _read(row)


def current(conn: Connection, dataset: str) -> tuple[int, int] | None:
    """Return (policy version, data version) in force, or None for a dataset that was never applied."""
    row = conn.execute(_CURRENT, {"of": dataset}).one()
    return None if row[0] is None else (row[0], row[1])


def changed(conn: Connection, dataset: str) -> int:
    """Return when a dataset's policy or its recorded data version last changed, in microseconds since 1970."""
    row = conn.execute(
        select(
            select(func.max(policy.c.at)).where(policy.c.dataset == dataset).scalar_subquery(),
            select(func.max(data_version.c.at)).where(data_version.c.dataset == dataset).scalar_subquery(),
        )
    ).one()
    return max(row[0] or 0, row[1] or 0)


def names(conn: Connection) -> list[str]:
    """Return the names of all datasets."""
    return list(conn.execute(select(policy.c.dataset).distinct().order_by(policy.c.dataset)).scalars())


def bump(conn: Connection, dataset: str, *, actor: str, at: int | None = None) -> int:
    """Open the next data version of a dataset that exists, now or as of an instant, and return its number."""
    last = conn.execute(select(func.max(data_version.c.version)).where(data_version.c.dataset == dataset)).scalar_one()
    begun = chain.time(conn, dataset) if at is None else at
    conn.execute(insert(data_version).values(dataset=dataset, version=last + 1, at=begun, actor=actor))
    return int(last) + 1


def _read(row: Row[Any]) -> Version:
    return Version(row.dataset, row.version, row.source, row.document, row.shapes, row.dialect, row.at, row.actor)
