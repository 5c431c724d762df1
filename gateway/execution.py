"""Execution of a charged plan: bounded SQL, noise, and the charge's one outcome.

Its failures are one constant outcome: an engine's words, and whether it failed of the data, never leave.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

from budget import inner, ledger, suspensions
from budget.records import Record
from gateway.engines.base import EngineUnavailable, Limits, Session
from gateway.errors import Unavailable
from gateway.feeding import Feeding, feeding
from gateway.noisy import NoisyTable, decode_one, encode
from gateway.policy.model import Dataset, TableShape
from gateway.release import Foreseen, foresee, release
from gateway.reuse import canonical
from gateway.reuse.reading import seal
from gateway.service import Service
from gateway.sql.planning.groups import count
from gateway.sql.planning.plan import Plan, PlannedRelease
from gateway.submission import Submission

log = logging.getLogger("discreet.query")

SUSPENDER = "gateway"


@dataclass(frozen=True, slots=True)
class Execution:
    """A charge with the plan that it is for, and the dataset in the versions that it was charged under.

    ``asked`` is the request in JSON, which is kept with its answer: that can be fetched by its id alone.
    """

    record: Record
    dataset: Dataset
    plan: Plan
    submission: Submission = field(default_factory=Submission)
    asked: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The payload that an execution settled with, and the noisy tables that it holds."""

    payload: bytes
    tables: tuple[NoisyTable, ...]


def execute(service: Service, execution: Execution) -> Settled | None:
    """Run the bounded SQL, draw noise and settle; a failure of any kind is the constant one, and suspends.

    What is returned is no outcome yet: the one that stands is in the ledger, and may be another execution's.

    The one refund: the database could not be reached, or is not as it was when the policy was applied, so that no
    statement of the request was handed to it.
    """
    handed = False
    plan = execution.plan
    try:
        limits = Limits(service.settings.statement_seconds)
        with service.engine(execution.dataset).session(limits) as session, execution.submission.running(session):
            _same_shapes(execution, session.schema([*_tables(plan)]))
            handed = True
            tables = tuple(_released(service, execution, session))
            payload = seal(plan, tables, execution.asked)
        execution.submission.check()
    except Exception as error:
        if isinstance(error, EngineUnavailable) and not handed and execution.record.retaken_by is None:
            _void(service, execution.record, error)
        if execution.submission.cancelled:
            log.info("charge %s was cancelled by its analyst", execution.record.charge.id)
        else:
            log.exception("execution of charge %s failed", execution.record.charge.id)
        fail(service, execution.record, suspends=not execution.submission.cancelled)
        return None
    _settle(service, execution, payload)
    return Settled(payload, tables)


def _released(service: Service, execution: Execution, session: Session) -> list[NoisyTable]:
    """Return the noisy tables of all releases, inner ones first; each that feeds another is kept once it is drawn."""
    plan, charge = execution.plan, execution.record.charge.id
    fed = feeding(plan)
    most = service.settings.released_groups
    source = Feeding(plan, execution.dataset, service.sandbox, session.fetch, most)
    kept: Mapping[int, bytes] = {}
    if fed:
        with service.reads.connect() as conn:
            kept = inner.of(conn, charge)
    found: list[NoisyTable] = []
    for place, planned in enumerate(plan.releases):
        if place in kept:
            found.append(decode_one(planned, kept[place]))
            continue
        execution.submission.check()
        ready = source.ready(place, found)
        with _foreseen(service.drawing, ready) as foreseen:
            tables = [session.fetch(statement.sent) for statement in ready.statements]
        found.append(release(ready, *tables, foreseen=foreseen()))
        if place in fed:
            # Before the next statement: run again after a crash, the rest of the request sees what this one saw.
            with service.control.begin() as conn:
                inner.keep(conn, charge, place, encode(found[-1:]))
    return found


FEW: Final = 16
"""Groups that are drawn for in no time: to hand them to another thread would take longer."""


@contextmanager
def _foreseen(drawing: Executor, planned: PlannedRelease) -> Iterator[Callable[[], Foreseen | None]]:
    """Draw what can be foreseen of a release while the block runs: the engine works, and nobody waits for both.

    On a thread that waits for such work: one that is started here would hold the interpreter before the engine is
    asked. What nobody has begun to draw when the block ends is not foreseen, and drawn as it would be without.
    """
    if not planned.public or count(planned.keys, planned.joint, FEW) is not None:
        yield lambda: None
        return
    drawn = drawing.submit(foresee, planned)
    try:
        yield lambda: None if drawn.cancelled() else drawn.result()
    finally:
        if not drawn.cancel():
            wait((drawn,))


def _tables(plan: Plan) -> Iterator[str]:
    """Yield the tables that a plan's releases read, and those of public reads that feed them."""
    yield from (table for planned in plan.releases for table in planned.tables)
    if feeding(plan):
        yield from (table for read in plan.publics for table in read.tables)


def _same_shapes(execution: Execution, found: Mapping[str, TableShape]) -> None:
    """Refuse to read tables that are no longer as ``dataset apply`` found them: a fact must be enforced now.

    So is what a plan takes for held by a copy: it runs on that copy and on nothing else.
    """
    copy = execution.dataset.preparation
    if execution.plan.preparation != (None if copy is None else copy.id):
        raise EngineUnavailable("the plan was made for another copy of the data")
    known = dict(execution.dataset.shapes)
    for table in _tables(execution.plan):
        if found.get(table) != known.get(table):
            raise EngineUnavailable(f"table {table} is no longer as it was when the policy was applied")


def _void(service: Service, record: Record, error: EngineUnavailable) -> NoReturn:
    log.error("charge %s is taken back: %s", record.charge.id, error)
    with service.control.begin() as conn:
        ledger.void(conn, record.charge.id, process=service.process.id, reason="the database was not reached")
    raise not_reached() from None


def not_reached() -> Unavailable:
    """Return what whoever asked is told of a charge that was taken back."""
    return Unavailable(
        "engine-unavailable", "The database of this dataset cannot be used now.", hint="Nothing was charged."
    )


def _settle(service: Service, execution: Execution, payload: bytes) -> None:
    """Persist a charge's one outcome and COMMIT (with whoever settles or charges now too), before any of it is sent."""
    charge, marks = execution.record.charge, canonical.marks(execution.plan)
    service.committer.settle(
        ledger.OutcomeRequest(charge.dataset, charge.analyst, charge.id, "answered", payload, marks)
    )


def fail(service: Service, record: Record, *, suspends: bool = True) -> None:
    """Settle a charge as the constant failure; unless it was cancelled, the analyst is suspended in the same
    transaction.

    Nor is an admin who bought for everybody: that the engine failed is told to admins anyway, by the log.
    """
    charge = record.charge
    with service.control.begin() as conn:
        settlement = ledger.settle(conn, charge.id, "failed", b"")
        suspends = suspends and service.settings.suspend_on_failure and charge.publication is None
        if settlement.won and suspends:
            suspensions.suspend(
                conn, charge.dataset, charge.analyst, actor=SUSPENDER, reason="execution failed", charge=charge.id
            )
