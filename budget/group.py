"""Charging several requests in one transaction: one commit, and one turn at the dataset's lock, for all of them.

Each is admitted or refused as if it stood alone, in the order given; what one is refused leaves no trace in the others.
Refusals are to be sent only after the commit: until then the charges that they were measured against may still roll
back.

Why no savepoint for each: a refusal happens before anything of its charge is posted (``book.py``), so that there is
nothing to take back. What the database itself refuses (a duplicate id, a value out of range) undoes the whole dataset's
part to the savepoint before it; then each is charged alone, under a savepoint of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from budget import ledger
from budget.book import opened
from budget.errors import LedgerError, NoGrant
from budget.ledger import ChargeRequest, Receipt
from budget.scopes import of_analyst

Verdict: TypeAlias = Receipt | Exception
"""What became of one request of a group: a receipt, or why it was refused (a ``LedgerError``) or failed."""


def charge_all(conn: Connection, requests: Sequence[ChargeRequest]) -> list[Verdict]:
    """Charge each request, and return what became of each in the order given.

    Datasets are locked in the order of their names, whatever the order of the requests, so that two groups never wait
    for each other. What the database itself refuses one request alone is raised, since nothing else stands beside it.
    """
    if len(requests) == 1:
        try:
            return [ledger.charge(conn, requests[0])]
        except LedgerError as refusal:
            return [refusal]
    verdicts: dict[int, Verdict] = {}
    for dataset in sorted({request.dataset for request in requests}):
        of_dataset = {i: request for i, request in enumerate(requests) if request.dataset == dataset}
        try:
            with conn.begin_nested():
                found = _together(conn, dataset, of_dataset)
        except IntegrityError:
            found = {i: _alone(conn, request) for i, request in of_dataset.items()}
        verdicts |= found
    return [verdicts[i] for i in range(len(requests))]


def _together(conn: Connection, dataset: str, requests: dict[int, ChargeRequest]) -> dict[int, Verdict]:
    verdicts: dict[int, Verdict] = {}
    try:
        with opened(conn, dataset) as book:
            book.know(sorted({request.analyst for request in requests.values()}))
            for i, request in requests.items():
                try:
                    verdicts[i] = ledger.post(book, request)
                except LedgerError as refusal:
                    verdicts[i] = refusal
    except NoGrant:
        if len(verdicts) < len(requests):  # the dataset has no facts at all
            return {i: NoGrant(of_analyst(request.analyst)) for i, request in requests.items()}
        raise
    return verdicts


def _alone(conn: Connection, request: ChargeRequest) -> Verdict:
    try:
        with conn.begin_nested():
            return ledger.charge(conn, request)
    except (LedgerError, IntegrityError) as refusal:
        return refusal
