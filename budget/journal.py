"""Writing what a book posted: facts, balances, and the chain's new head; all of it in the caller's transaction.

Balances and head are written under the condition that they are what was read. The chain's lock makes sure of that
already; the conditions catch a transaction that did not take it, and then nothing may be committed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, bindparam, insert, text, update

from budget import schema
from budget.chain import Head
from budget.errors import Contended
from budget.standing import Standing, columns, sums

Fact: TypeAlias = tuple[str, dict[str, Any]]
"""A fact's kind and its whole row."""

Change: TypeAlias = tuple[Standing, Standing]
"""A standing before and after."""

# Statements that every charge needs are made once: SQLAlchemy takes longer to make one than PostgreSQL to run it.
_INSERT: Final = {kind: insert(table) for kind, table in schema.FACTS.items()}
_SCOPE: Final = insert(schema.scope)
_CHANGE: Final = (
    update(schema.scope)
    .where(
        schema.scope.c.dataset == bindparam("of"),
        schema.scope.c.scope == bindparam("held"),
        schema.scope.c.seq == bindparam("before"),
    )
    .values({column.name: bindparam(column.name) for column in schema.scope.columns if column.name != "dataset"})
)
_MOVE: Final = text(
    "UPDATE ledger_head SET seq = :seq_after, at = :at_after, hash = :hash_after"
    " WHERE dataset = :dataset AND seq = :seq_before AND hash = :hash_before"
)
_DRIVER_MOVE: Final = re.sub(r":(\w+)", r"%(\1)s", _MOVE.text)


def write(
    conn: Connection,
    before: Head,
    after: Head,
    facts: Sequence[Fact],
    *,
    made: Sequence[Standing] = (),
    changed: Sequence[Change] = (),
) -> None:
    """Write facts, the standings that are new, those that changed, and the head; ``Contended`` if a balance or the head
    is no longer what was read.
    """
    if conn.dialect.name == "postgresql" and len(facts) == 1 and not made and all(_spent(each) for each in changed):
        _at_once(conn, before, after, facts[0], changed)
        return
    for kind in schema.FACTS:
        rows = [row for each, row in facts if each == kind]
        if rows:
            conn.execute(_INSERT[kind], rows if len(rows) > 1 else rows[0])
    if made:
        conn.execute(_SCOPE, [{"dataset": after.dataset, **columns(standing)} for standing in made])
    if changed:
        rows = [columns(new) | {"of": after.dataset, "held": old.scope, "before": old.seq} for old, new in changed]
        if conn.execute(_CHANGE, rows).rowcount != len(rows):
            raise Contended("a balance moved on")
    if conn.execute(_MOVE, _moved(before, after)).rowcount != 1:
        raise Contended("the dataset's chain moved on")


def _spent(change: Change) -> bool:
    """Return whether nothing but sums (and the last fact's number) changed, as a charge or a refund changes them."""
    old, new = change
    return old.grant is new.grant and (old.span, old.opened, old.windows, old.paused, old.suspended) == (
        new.span,
        new.opened,
        new.windows,
        new.paused,
        new.suspended,
    )


def _at_once(conn: Connection, before: Head, after: Head, fact: Fact, changed: Sequence[Change]) -> None:
    """Write one fact, the sums that it changed, and the head in one statement: on PostgreSQL each is a round trip.

    Its parts see one snapshot and touch different tables' rows, so that their order means nothing; each part that
    changes a row returns it, and one that found its row changed returns none.
    """
    kind, row = fact
    said = {f"fact_{name}": value for name, value in row.items()} | _moved(before, after) | scope_values(changed)
    moved = conn.exec_driver_sql(_statement(kind, tuple(row)), said).scalar_one()
    if moved != len(changed) + 1:
        raise Contended("a balance or the dataset's chain moved on")


@lru_cache(maxsize=64)
def _statement(kind: str, names: tuple[str, ...]) -> str:
    """Return the statement in the words of PostgreSQL's driver, since nothing of it needs SQLAlchemy's."""
    return (
        f"WITH fact AS (INSERT INTO {schema.FACTS[kind].name} ({', '.join(names)})"  # noqa: S608 - our own names
        f" VALUES ({', '.join(f'%(fact_{name})s' for name in names)})),"
        f" head AS ({_DRIVER_MOVE} RETURNING 1),"
        f" scopes AS ({given_scopes()} RETURNING 1)"
        " SELECT (SELECT count(*) FROM head) + (SELECT count(*) FROM scopes)"
    )


def given_scopes(*beside: str) -> str:
    """Return the UPDATE of the sums of several scopes, in the words of PostgreSQL's driver; ``beside`` are further
    relations, without whose rows it changes nothing.

    Scopes are given as arrays: one UPDATE prepares the many rules of their table once, and a charge names a scope once.
    """
    given = ", ".join(f"%({name})s::bigint[]" for name in ("before", *_FIGURES))
    return (
        f"UPDATE ledger_scope s SET {', '.join(f'{name} = given.{name}' for name in _FIGURES)} FROM"  # noqa: S608 - our own
        f" {''.join(f'{name}, ' for name in beside)}"
        f"unnest(%(scope)s::text[], {given}) AS given (scope, before, {', '.join(_FIGURES)})"
        " WHERE s.dataset = %(dataset)s AND s.scope = given.scope AND s.seq = given.before"
    )


def scope_values(changed: Sequence[Change]) -> dict[str, Any]:
    """Return the arrays that ``given_scopes`` asks for."""
    after = [{"seq": new.seq, **sums(new)} for _, new in changed]
    given = {name: [each[name] for each in after] for name in _FIGURES}
    return {"scope": [old.scope for old, _ in changed], "before": [old.seq for old, _ in changed], **given}


_FIGURES: Final = ("seq", *schema.SUMS)


def _moved(before: Head, after: Head) -> dict[str, Any]:
    return {
        "dataset": before.dataset,
        "seq_after": after.seq,
        "at_after": after.at,
        "hash_after": after.hash,
        "seq_before": before.seq,
        "hash_before": before.hash,
    }
