"""Charging by what was seen: on PostgreSQL one statement, which charges only if nothing has moved since.

A process that wrote a dataset's last fact knows what stands there, and need not lock and read it again: the statement
takes the place of BEGIN, the reading, the writing and COMMIT, each of which is a round trip.

Why this is sound: whoever writes anything about a dataset moves its head to a hash that was never there before, and
balances, grants and members change only together with it. The statement moves the head from the very hash that was
seen, and writes the fact and the sums only if that one row was moved; so it is admitted by what stands, or nothing is
written and the charge is judged anew, under the lock. The rest of what admission depends on is in the statement too:
the time, which it takes from the database and holds against the end of every window and grant that pays, and the
idempotency key, whose second use the table's key refuses. What was seen refuses nobody: a refusal is judged anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from sqlalchemy import BigInteger, Connection, LargeBinary

from budget import chain, ledger, schema
from budget.balance import Balance, Held
from budget.book import Book
from budget.chain import Head
from budget.errors import LedgerError
from budget.journal import given_scopes, scope_values
from budget.ledger import ChargeRequest, Receipt
from budget.standing import Standing
from mechanisms.loss import LIMIT


@dataclass(frozen=True, slots=True)
class Sight:
    """What stood in a dataset when its head was this: balances by scope, and the projects of the analysts seen."""

    head: Head
    standings: Mapping[str, Standing]
    projects: Mapping[str, Sequence[str]]

    def charge(self, conn: Connection, request: ChargeRequest) -> tuple[Receipt, Sight] | None:
        """Charge at once, and return the receipt and what is seen now; None where it must be judged under the lock.

        ``conn`` commits each statement by itself. What the database refuses (an id or a key that is taken, a balance
        that is not what was seen) is raised, and nothing is written then.
        """
        if request.source is not None or request.analyst not in self.projects:
            return None
        book = Book(conn, self.head, self.head, self.head.at)
        book.learn([request.analyst], Held(dict(self.standings), {each: [*of] for each, of in self.projects.items()}))
        if request.idempotency_key is not None:
            book.keyed[request.analyst, request.idempotency_key] = None
        try:
            receipt = ledger.post(book, request)
        except LedgerError:
            return None
        (_, row), charge = book.facts[-1], receipt.record.charge
        if len(book.facts) != 1 or not self.standings.keys() >= set(charge.scopes):
            return None  # a window has begun, or a scope has a grant that it had not when the head was seen
        changed = [(self.standings[scope], book.standings[scope]) for scope in charge.scopes]
        said = {f"fact_{name}": row[name] for name in _SAID} | scope_values(changed)
        said |= {
            "dataset": charge.dataset,
            "seq_before": self.head.seq,
            "hash_before": self.head.hash,
            "at_before": self.head.at,
            "seq_after": charge.seq,
            "content": chain.content("charge", row),
            "until": min(_until(standing) for standing, _ in changed),
            "paying": len(changed),
        }
        moved = conn.exec_driver_sql(_statement(), said).one_or_none()
        if moved is None:
            return None
        head = Head(charge.dataset, charge.seq, moved.at, bytes(moved.hash))
        record = replace(receipt.record, charge=replace(charge, at=head.at))
        shown = tuple(standing.as_of(head.at) for standing in receipt.balance.standings)
        balance = Balance(charge.dataset, charge.analyst, shown)
        return Receipt(record, balance, replayed=False), Sight(head, book.standings, self.projects)


class Sights:
    """What one process has seen, by dataset. Nobody else may use it meanwhile: it takes no lock.

    Only a dataset whose last two facts are this process's own is kept in sight: where others write as well, the
    attempt would fail more often than it is worth.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Sight] = {}
        self._last: dict[str, bytes] = {}

    def of(self, dataset: str) -> Sight | None:
        """Return what was seen of a dataset; it may have moved since."""
        return self._seen.get(dataset)

    def keep(self, sight: Sight) -> None:
        """Keep what is seen after a commit."""
        self._seen[sight.head.dataset] = sight
        self._last[sight.head.dataset] = sight.head.hash

    def learn(self, book: Book) -> None:
        """Keep what a book held, after its commit."""
        before, last = self._seen.pop(book.dataset, None), self._last.get(book.dataset)
        self._last[book.dataset] = book.head.hash
        if last != book.read.hash:
            return
        standings: dict[str, Standing] = dict(book.standings)
        projects: dict[str, Sequence[str]] = dict(book.projects)
        if before is not None and before.head == book.read:
            standings = {**before.standings, **standings}
            projects = {**before.projects, **projects}
        self.keep(Sight(book.head, standings, projects))


def _until(standing: Standing) -> int:
    """Return the instant from which a scope's window, or its grant, is another than the one that was seen."""
    ends = (None if standing.span is None else standing.span[1], standing.grant.expires)
    return min((end for end in ends if end is not None), default=LIMIT)


_SAID: Final = tuple(column.name for column in schema.charge.columns if column.name not in chain.PLACE)


@cache
def _statement() -> str:
    """Return the statement, in the words of PostgreSQL's driver.

    The clock is read once; the hash is ``chain.link``. A balance that is not what was seen ends it by an error, since
    the head has moved by then.
    """
    values = ", ".join(f"%(fact_{name})s::{_type(name)}" for name in _SAID)
    return (
        f"WITH now AS MATERIALIZED (SELECT greatest({chain.TIME['postgresql']}, %(at_before)s::bigint) AS at),"  # noqa: S608 - our own names
        " head AS (UPDATE ledger_head h SET seq = %(seq_after)s, at = now.at, hash = sha256(%(hash_before)s::bytea"
        " || %(content)s::bytea || convert_to(%(seq_after)s::bigint || ':' || now.at, 'UTF8')) FROM now"
        " WHERE h.dataset = %(dataset)s AND h.seq = %(seq_before)s AND h.hash = %(hash_before)s"
        " AND now.at < %(until)s RETURNING h.at, h.hash),"
        f" scopes AS ({given_scopes('head')} RETURNING 1),"
        f" fact AS (INSERT INTO ledger_charge ({', '.join((*chain.PLACE, *_SAID))})"
        f" SELECT %(dataset)s::text, %(seq_after)s::bigint, head.at, head.hash, {values} FROM head)"
        " SELECT head.at, head.hash, 1 / CASE WHEN (SELECT count(*) FROM scopes) = %(paying)s THEN 1 ELSE 0 END"
        " FROM head"
    )


def _type(name: str) -> str:
    match schema.charge.c[name].type:
        case BigInteger():
            return "bigint"
        case LargeBinary():
            return "bytea"
        case _:
            return "text"
