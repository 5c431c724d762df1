"""Analysts and admins: added once, disabled and enabled, never removed, since the ledger names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select, update

from budget import chain
from gateway.auth.principal import Principal, Role
from gateway.store.tables import principal

_BY_NAME: Final = select(principal).where(principal.c.name == bindparam("of"))


@dataclass(frozen=True, slots=True)
class Record:
    """A principal as stored; ``created_at`` in microseconds since 1970."""

    name: str
    role: Role
    disabled: bool
    created_at: int

    @property
    def principal(self) -> Principal:
        """The principal without the particulars."""
        return Principal(self.name, self.role)


def add(conn: Connection, name: str, role: Role) -> Record:
    """Add a principal that does not exist yet (the primary key refuses a second one)."""
    record = Record(name, role, disabled=False, created_at=chain.now(conn))
    conn.execute(insert(principal).values(name=name, role=role, disabled=False, created_at=record.created_at))
    return record


def get(conn: Connection, name: str) -> Record | None:
    """Return a principal, or None."""
    row = conn.execute(_BY_NAME, {"of": name}).one_or_none()
    return None if row is None else Record(row.name, row.role, row.disabled, row.created_at)


def listed(conn: Connection) -> list[Record]:
    """Return all principals by name."""
    rows = conn.execute(select(principal).order_by(principal.c.name))
    return [Record(row.name, row.role, row.disabled, row.created_at) for row in rows]


def set_disabled(conn: Connection, name: str, *, disabled: bool) -> bool:
    """Disable or enable a principal; False if there is none of that name."""
    changed = conn.execute(update(principal).where(principal.c.name == name).values(disabled=disabled))
    return changed.rowcount == 1
