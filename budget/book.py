"""A dataset's book, open for writing: its chain locked, its balances read once, its facts posted and then written.

Every writer goes through a book, so that one charge and a group of a hundred are the same code. What is refused is
refused before it is posted, and leaves nothing to undo.

Why balances may be held in memory meanwhile: the chain's head is locked before the first balance is read, every writer
of the dataset locks it first, and the conditions under which balances and head are written find whoever did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from budget import balance, chain, journal, payloads, records
from budget.chain import Head
from budget.errors import NoGrant
from budget.records import Record
from budget.sales import Sale, copy_marks
from budget.standing import Standing


@dataclass(slots=True)
class Book:
    """A locked dataset: its head as read and as posted, and the standings as they will be written."""

    conn: Connection
    read: Head
    head: Head
    now: int
    standings: dict[str, Standing] = field(default_factory=dict)
    projects: dict[str, list[str]] = field(default_factory=dict)
    keyed: dict[tuple[str, str], Record | None] = field(default_factory=dict)
    charges: dict[str, Record] = field(default_factory=dict)
    sales: dict[str, Sale] = field(default_factory=dict)
    _kept: list[tuple[str, bytes, Sequence[str]]] = field(default_factory=list)
    _bought: list[tuple[str, str]] = field(default_factory=list)
    _before: dict[str, Standing] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _facts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.head.dataset

    @property
    def at(self) -> int:
        """The time of the next fact: the database's, never before the last fact's."""
        return max(self.now, self.head.at)

    def know(self, analysts: Sequence[str]) -> None:
        """Read every scope that charges of these analysts fall under."""
        self.learn(analysts, balance.paid_by(self.conn, self.dataset, analysts))

    def learn(self, analysts: Sequence[str], held: balance.Held) -> None:
        """Take over what was read of these analysts under the lock."""
        for scope, standing in held.standings.items():
            self._before.setdefault(scope, standing)
            self.standings.setdefault(scope, standing)
        for analyst in analysts:
            self.projects.setdefault(analyst, held.projects.get(analyst, []))
        self._known.update(analysts)

    def projects_of(self, analyst: str) -> Sequence[str]:
        """Return the projects that an analyst is in on this dataset."""
        if analyst not in self._known:
            self.know([analyst])
        return self.projects[analyst]

    def standing(self, scope: str) -> Standing:
        """Return a scope's standing; ``NoGrant`` if it has none."""
        if scope not in self.standings:
            (standing,) = balance.read(self.conn, self.dataset, [scope])
            self._before[scope] = self.standings[scope] = standing
        return self.standings[scope]

    def find(self, scope: str) -> Standing | None:
        """Return a scope's standing, or None."""
        try:
            return self.standing(scope)
        except NoGrant:
            return None

    def under_key(self, analyst: str, key: str) -> Record | None:
        """Return the last charge under an analyst's idempotency key, one that was posted meanwhile included."""
        if (analyst, key) not in self.keyed:
            self.keyed[analyst, key] = records.find_key(self.conn, self.dataset, analyst, key)
        return self.keyed[analyst, key]

    def charge(self, charge_id: str) -> Record:
        """Return a charge as it stands, what was posted meanwhile included; ``UnknownCharge``."""
        if charge_id not in self.charges:
            self.charges[charge_id] = records.get(self.conn, charge_id)
        return self.charges[charge_id]

    def foresee(self, keys: Sequence[tuple[str, str]], charges: Sequence[str]) -> None:
        """Read at once what a group will ask for: charges by (analyst, idempotency key), and by id."""
        if len(keys) > 1:
            self.keyed |= dict.fromkeys(keys)
            self.keyed |= records.find_keys(self.conn, self.dataset, keys)
        if len(charges) > 1:
            self.charges |= {each.charge.id: each for each in records.find_all(self.conn, charges)}

    def post(self, kind: str, values: Mapping[str, Any]) -> Head:
        """Post a fact at the end of the chain and return the new head."""
        self.head, row = chain.follow(self.head, kind, values, self.now)
        self._facts.append((kind, row))
        return self.head

    @property
    def facts(self) -> Sequence[journal.Fact]:
        """What was posted so far."""
        return self._facts

    def keep(self, charge: str, payload: bytes, marks: Sequence[str]) -> None:
        """Keep what an outcome that was posted holds."""
        self._kept.append((charge, payload, marks))

    def share(self, source: str, charge: str) -> None:
        """Let a purchase that was posted be found as the answer that it bought."""
        self._bought.append((source, charge))

    def put(self, standing: Standing) -> None:
        """Put a scope's next standing."""
        self.standings[standing.scope] = standing

    def renew(self, standing: Standing) -> Standing:
        """Post the renewal that is due in a scope, if one is, and return the standing that is in force."""
        begun = standing.due(self.at)
        if begun is None:
            return standing
        start, end = begun
        head = self.post("renewal", {"scope": standing.scope, "window_start": start, "window_end": end})
        renewed = standing.renewed(head.seq, begun)
        self.put(renewed)
        return renewed

    def write(self) -> None:
        """Write what was posted: facts, balances, head."""
        if self.head == self.read:
            return
        made, changed = [], []
        for scope, after in sorted(self.standings.items()):
            before = self._before.get(scope)
            if before is None:
                made.append(after)
            elif before != after:
                changed.append((before, after))
        journal.write(self.conn, self.read, self.head, self._facts, made=made, changed=changed)
        for charge, payload, marks in self._kept:
            payloads.keep(self.conn, charge, payload, marks)
        for source, charge in self._bought:
            copy_marks(self.conn, source, charge)


@contextmanager
def opened(conn: Connection, dataset: str, analysts: Sequence[str] = (), *, begin: bool = False) -> Iterator[Book]:
    """Lock a dataset's chain and open its book; what was posted is written when the block ends without an error.

    The balances of these analysts are read at once with the head, others when they are asked for. ``NoGrant`` where the
    dataset has no facts, unless ``begin`` begins them.
    """
    if begin:
        chain.begin(conn, dataset)
    found = balance.locked(conn, dataset, analysts)
    if found is None:
        raise NoGrant(dataset)
    head, now, held = found
    book = Book(conn, head, head, now)
    book.learn(analysts, held)
    yield book
    book.write()
