"""Committing concurrent charges of one process together.

Whoever finds nobody committing takes all that wait and commits them in one transaction; who comes meanwhile waits for
the next. There is no thread to start or stop, an idle gateway adds no delay, and under load the durable write, which is
what limits charges, is shared.

Verdicts are handed out after the COMMIT, refusals too. A COMMIT whose result is not known (the connection broke) is
read back by the charges' ids before anything runs: under the dataset's lock, which a commit that is still going on in
the server holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from budget import chain, records
from budget.errors import CommitUnknown
from budget.group import Verdict, charge_all
from budget.ledger import ChargeRequest, Receipt

GROUP: Final = 64
"""How many charges one transaction takes at most, so that the first does not wait for ever more of them."""


@dataclass(slots=True)
class _Waiting:
    request: ChargeRequest
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Committer:
    """Commits charges in groups on one control database; shared by all threads of a process."""

    engine: Engine
    _queue: deque[_Waiting] = field(default_factory=deque)
    _turn: Lock = field(default_factory=Lock)

    def charge(self, request: ChargeRequest) -> Receipt:
        """Charge and commit, together with whoever else asks now; raises what ``ledger.charge`` raises.

        ``CommitUnknown`` if the connection broke during COMMIT and the ledger could not be read either.
        """
        waiting = _Waiting(request)
        self._queue.append(waiting)
        while waiting.verdict is None:
            with self._turn:
                if waiting.verdict is None:
                    self._commit([self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))])
        if isinstance(waiting.verdict, Receipt):
            return waiting.verdict
        raise waiting.verdict

    def _commit(self, group: Sequence[_Waiting]) -> None:
        try:
            verdicts = _committed(self.engine, [waiting.request for waiting in group])
        except BaseException as error:
            for waiting in group:
                waiting.verdict = error if isinstance(error, Exception) else CommitUnknown("interrupted")
            if not isinstance(error, Exception):
                raise
            return
        for waiting, verdict in zip(group, verdicts, strict=True):
            waiting.verdict = verdict


def _committed(engine: Engine, requests: Sequence[ChargeRequest]) -> list[Verdict]:
    with engine.connect() as conn:
        transaction = conn.begin()
        try:
            verdicts = charge_all(conn, requests)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            conn.invalidate()
            return _read_back(engine, verdicts, error)
        return verdicts


def _read_back(engine: Engine, verdicts: list[Verdict], error: DBAPIError) -> list[Verdict]:
    """Return the verdicts if the COMMIT took effect after all; a transaction is whole, so that one charge tells."""
    fresh = [verdict.record.charge for verdict in verdicts if isinstance(verdict, Receipt) and not verdict.replayed]
    if not fresh:
        return verdicts
    try:
        with engine.begin() as conn:
            stands = _stands(conn, fresh[0].dataset, fresh[0].id)
    except DBAPIError:
        raise CommitUnknown("the commit's result is not known") from error
    if not stands:
        raise error
    return verdicts


def _stands(conn: Connection, dataset: str, charge_id: str) -> bool:
    chain.lock(conn, dataset)
    return records.find(conn, charge_id) is not None
