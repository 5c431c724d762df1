"""Charging and settling for several requests in one transaction: one commit, and one turn at the dataset's lock.

Each is admitted or refused as if it stood alone, in the order given; what one is refused leaves no trace in the others.
Verdicts are to be sent only after the commit: until then the facts that they rest on may still roll back.

Why no savepoint for each: a refusal happens before anything of its request is posted (``book.py``), so that there is
nothing to take back. What the database itself refuses (a duplicate id, a value out of range) undoes the whole dataset's
part to the savepoint before it; then each is done alone, under a savepoint of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from budget import ledger
from budget.book import Book, opened
from budget.errors import LedgerError, NoGrant
from budget.ledger import ChargeRequest, OutcomeRequest, Receipt, Settlement
from budget.scopes import of_analyst

Act: TypeAlias = ChargeRequest | OutcomeRequest
"""What may be committed together: charges, and outcomes of charges."""

Verdict: TypeAlias = Receipt | Settlement | Exception
"""What became of one request of a group: what it asked for, or why it was refused (a ``LedgerError``) or failed."""


def do_all(conn: Connection, acts: Sequence[Act], books: list[Book] | None = None) -> list[Verdict]:
    """Do each, and return what became of each in the order given; ``books`` takes those that were opened.

    Datasets are locked in the order of their names, whatever the order of the requests, so that two groups never wait
    for each other. What the database itself refuses one request alone is raised, since nothing else stands beside it.
    """
    books = [] if books is None else books
    if len(acts) == 1:
        try:
            with opened(conn, acts[0].dataset, [acts[0].analyst]) as book:
                verdict = _post(book, acts[0])
        except LedgerError as refusal:
            return [refusal]
        books.append(book)
        return [verdict]
    verdicts: dict[int, Verdict] = {}
    for dataset in sorted({act.dataset for act in acts}):
        of_dataset = {i: act for i, act in enumerate(acts) if act.dataset == dataset}
        try:
            with conn.begin_nested():
                found = _together(conn, dataset, of_dataset, books)
        except IntegrityError:
            found = {i: _apart(conn, act) for i, act in of_dataset.items()}
        verdicts |= found
    return [verdicts[i] for i in range(len(acts))]


def _together(conn: Connection, dataset: str, acts: dict[int, Act], books: list[Book]) -> dict[int, Verdict]:
    verdicts: dict[int, Verdict] = {}
    try:
        with opened(conn, dataset, sorted({act.analyst for act in acts.values()})) as book:
            charges = [act for act in acts.values() if isinstance(act, ChargeRequest)]
            keys = [(act.analyst, act.idempotency_key) for act in charges if act.idempotency_key is not None]
            book.foresee(keys, [act.charge for act in acts.values() if isinstance(act, OutcomeRequest)])
            for i, act in acts.items():
                try:
                    verdicts[i] = _post(book, act)
                except LedgerError as refusal:
                    verdicts[i] = refusal
        books.append(book)
    except NoGrant:
        if len(verdicts) < len(acts):  # the dataset has no facts at all
            return {i: NoGrant(of_analyst(act.analyst)) for i, act in acts.items()}
        raise
    return verdicts


def _post(book: Book, act: Act) -> Verdict:
    return ledger.post(book, act) if isinstance(act, ChargeRequest) else ledger.post_outcome(book, act)


def _apart(conn: Connection, act: Act) -> Verdict:
    try:
        with conn.begin_nested():
            return _alone(conn, act)
    except (LedgerError, IntegrityError) as refusal:
        return refusal


def _alone(conn: Connection, act: Act) -> Verdict:
    return ledger.charge(conn, act) if isinstance(act, ChargeRequest) else ledger.conclude(conn, act)
