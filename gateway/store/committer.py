"""Committing concurrent charges and outcomes of one process together.

Whoever finds nobody committing leads: it takes all that wait, commits them in one transaction, and hands the lead to
the first that came meanwhile. There is no thread to start or stop, an idle gateway adds no delay, and under load the
durable write, which is what limits charges, is shared.

After a group of several the next leader waits up to a millisecond for as many: those who were just answered are about
to ask again, and without it two half groups would take turns. Alone, nobody waits.

Verdicts are handed out after the COMMIT, refusals too. A COMMIT whose result is not known (the connection broke) is
read back by what it would have written before anything runs: under the dataset's lock, which a commit that is still
going on in the server holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from budget import balance, chain, records
from budget.book import Book
from budget.errors import CommitUnknown
from budget.group import Act, Verdict, do_all
from budget.ledger import ChargeRequest, OutcomeRequest, Receipt, Settlement
from budget.sight import Sights

GROUP: Final = 64
"""How many acts one transaction takes at most, so that the first does not wait for ever more of them."""

GATHER_SECONDS: Final = 0.001
"""How long a leader waits for a group as large as the last: less than a durable commit takes."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """An act in the queue; ``called`` is set when its verdict is there, or when it is to lead."""

    act: Act
    verdict: Verdict | None = None
    leads: bool = False
    called: Event = field(default_factory=Event)


class Committer:
    """Commits in groups on one control database; shared by all threads of a process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()  # held for a moment only, never during a commit
        self._queue: deque[_Waiting] = deque()
        self._led = False
        self._last = 1
        self._gathering: Event | None = None
        # Used by whoever leads, one at a time. On SQLite there are no round trips to be saved.
        self._swift = _Swift.of(engine) if engine.dialect.name == "postgresql" else None

    def charge(self, request: ChargeRequest) -> Receipt:
        """Charge and commit, together with whoever else asks now; raises what ``ledger.charge`` raises.

        ``CommitUnknown`` if the connection broke during COMMIT and the ledger could not be read either.
        """
        verdict = self._done(request)
        assert isinstance(verdict, Receipt)
        return verdict

    def settle(self, request: OutcomeRequest) -> Settlement:
        """Store an outcome and commit, together with whoever else asks now; raises as ``ledger.conclude`` and
        ``charge`` do.
        """
        verdict = self._done(request)
        assert isinstance(verdict, Settlement)
        return verdict

    def _done(self, act: Act) -> Verdict:
        waiting = _Waiting(act)
        with self._lock:
            self._queue.append(waiting)
            if not self._led:
                self._led = waiting.leads = True
            elif self._gathering is not None and len(self._queue) >= self._last:
                self._gathering.set()
        if not waiting.leads:
            self._wait(waiting)
        if waiting.verdict is None:
            self._lead(waiting)
        verdict = waiting.verdict
        if verdict is None or isinstance(verdict, Exception):
            raise verdict or CommitUnknown("interrupted")
        return verdict

    def _wait(self, waiting: _Waiting) -> None:
        try:
            waiting.called.wait()
        except BaseException:
            # Interrupted: nobody may wait for a leader that is gone.
            with self._lock:
                if waiting in self._queue:
                    self._queue.remove(waiting)
                if waiting.leads:
                    self._hand_over()
            raise

    def _lead(self, mine: _Waiting) -> None:
        group: list[_Waiting] = []
        try:
            self._gather()
            with self._lock:
                group = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
                self._last = len(group)
            verdicts = _committed(self._engine, [each.act for each in group], self._swift)
            for waiting, verdict in zip(group, verdicts, strict=True):
                waiting.verdict = verdict
        except Exception as error:
            for waiting in group:
                waiting.verdict = error
        finally:
            with self._lock:
                if mine in self._queue:  # interrupted before the group was taken
                    self._queue.remove(mine)
                self._hand_over()
            for waiting in group:
                if waiting.verdict is None:
                    waiting.verdict = CommitUnknown("interrupted")
                waiting.called.set()

    def _gather(self) -> None:
        """Wait a moment for a group as large as the last."""
        with self._lock:
            if len(self._queue) >= self._last:
                return
            full = self._gathering = Event()
        full.wait(GATHER_SECONDS)
        with self._lock:
            self._gathering = None

    def _hand_over(self) -> None:
        """Let the first in the queue lead, or nobody; the lock is held."""
        if self._queue:
            self._queue[0].leads = True
            self._queue[0].called.set()
        else:
            self._led = False


@dataclass(frozen=True, slots=True)
class _Swift:
    """What a charge in one statement needs: what was seen, and connections that commit each statement by itself."""

    sights: Sights
    engine: Engine

    @classmethod
    def of(cls, engine: Engine) -> _Swift:
        return cls(Sights(), engine.execution_options(isolation_level="AUTOCOMMIT"))


def _committed(engine: Engine, acts: Sequence[Act], swift: _Swift | None = None) -> list[Verdict]:
    if swift is not None and len(acts) == 1 and isinstance(acts[0], ChargeRequest):
        receipt = _charged_by_sight(engine, acts[0], swift)
        if receipt is not None:
            return [receipt]
    books: list[Book] = []
    with engine.connect() as conn:
        transaction = conn.begin()
        try:
            verdicts = do_all(conn, acts, books)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            conn.invalidate()
            return _read_back(engine, acts, verdicts, error)
    if swift is not None:
        for book in books:
            swift.sights.learn(book)
    return verdicts


def _charged_by_sight(engine: Engine, request: ChargeRequest, swift: _Swift) -> Receipt | None:
    """Charge in one statement by what this process saw last; None where it must be judged under the lock."""
    sight = swift.sights.of(request.dataset)
    if sight is None:
        return None
    try:
        with swift.engine.connect() as conn:
            found = sight.charge(conn, request)
    except (IntegrityError, DataError):  # the statement was refused as a whole
        return None
    except DBAPIError as error:
        return _found_again(engine, request, error)
    if found is None:
        return None
    receipt, seen = found
    swift.sights.keep(seen)
    return receipt


def _found_again(engine: Engine, request: ChargeRequest, error: DBAPIError) -> Receipt | None:
    """Return the receipt of a charge whose statement broke off, if it took effect after all.

    Else None, so that it is judged under the lock: what is written there moves the head, and a statement that the
    server has yet to begin finds nothing that it could still charge.
    """
    try:
        with engine.begin() as conn:
            chain.lock(conn, request.dataset)
            record = records.find(conn, request.id)
            if record is not None:
                return Receipt(record, balance.of(conn, request.dataset, request.analyst), replayed=False)
    except DBAPIError:
        raise CommitUnknown("the commit's result is not known") from error
    return None


def _read_back(engine: Engine, acts: Sequence[Act], verdicts: list[Verdict], error: DBAPIError) -> list[Verdict]:
    """Return the verdicts if the COMMIT took effect after all; a transaction is whole, so that one fact tells."""
    wrote = [(act, verdict) for act, verdict in zip(acts, verdicts, strict=True) if _wrote(verdict)]
    if not wrote:
        return verdicts
    try:
        with engine.begin() as conn:
            stands = _stands(conn, *wrote[0])
    except DBAPIError:
        raise CommitUnknown("the commit's result is not known") from error
    if not stands:
        raise error
    return verdicts


def _wrote(verdict: Verdict) -> bool:
    return (isinstance(verdict, Receipt) and not verdict.replayed) or (isinstance(verdict, Settlement) and verdict.won)


def _stands(conn: Connection, act: Act, verdict: Verdict) -> bool:
    """Return whether the fact that a verdict rests on is in the ledger: this very outcome, and not another's."""
    chain.lock(conn, act.dataset)
    if isinstance(act, ChargeRequest):
        return records.find(conn, act.id) is not None
    record = records.find(conn, act.charge)
    return isinstance(verdict, Settlement) and record is not None and record.outcome == verdict.outcome
