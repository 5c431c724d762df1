"""Verifying the ledger: every fact hashed and folded again, the balances and heads rebuilt and compared.

What this finds: a fact that was changed, removed, inserted, replaced or reordered, a tail that was cut, a balance or
head that was edited, a stored answer that is not the one of its outcome, a trigger that is missing. What it cannot
find: a chain rewritten as a whole from some fact on, together with its head, or an older copy restored: for these a
head must be kept elsewhere and compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, union_all

from budget import schema, triggers
from budget.chain import DIGEST, beginning, link
from budget.entries import Rest, datasets, pages
from budget.fold import Fold, Inadmissible
from budget.payloads import altered, undrawn
from budget.standing import Standing, columns

_BALANCE: Final = tuple(column.name for column in schema.scope.columns if column.name != "dataset")


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row that is wrong: its dataset, kind, number in the chain (or scope), and what is wrong with it."""

    dataset: str
    kind: str
    row: str
    problem: str


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """One dataset's facts: how many, the hash they end in, and the first fault if there is one."""

    dataset: str
    facts: int
    hash: bytes
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class Report:
    """What verifying found; ``missing_triggers`` names guards that are absent, disabled or changed."""

    datasets: tuple[DatasetReport, ...]
    missing_triggers: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.missing_triggers and all(report.fault is None for report in self.datasets)


def verify(conn: Connection, dataset: str | None = None, rest: Rest | None = None) -> Report:
    """Verify one dataset's ledger, or all; writers may go on meanwhile, and what they add is not looked at.

    ``rest`` is called between pages of facts: ``entries.Rest``.
    """
    names = datasets(conn) if dataset is None else [dataset]
    return Report(tuple(_verify(conn, name, rest) for name in names), tuple(triggers.missing(conn)))


def _verify(conn: Connection, dataset: str, rest: Rest | None) -> DatasetReport:
    # One statement, so that head, balances and the last fact are of one moment on every database.
    last_fact = select(
        func.max(
            union_all(
                *(select(func.max(t.c.seq).label("seq")).where(t.c.dataset == dataset) for t in schema.FACTS.values())
            )
            .subquery()
            .c.seq
        )
    ).scalar_subquery()
    rows = (
        conn.execute(
            select(schema.head.c.seq.label("head_seq"), schema.head.c.at.label("head_at"), schema.head.c.hash)
            .add_columns(last_fact.label("last_fact"), schema.scope)
            .select_from(schema.head.outerjoin(schema.scope, schema.scope.c.dataset == schema.head.c.dataset))
            .where(schema.head.c.dataset == dataset)
        )
        .mappings()
        .all()
    )
    if not rows:
        return DatasetReport(dataset, 0, b"", Fault(dataset, "head", dataset, "the chain has no head"))
    first = rows[0]
    head = (first["head_seq"], first["head_at"], first["hash"])
    if not (isinstance(head[0], int) and head[0] >= 0 and isinstance(head[2], bytes)):
        return DatasetReport(dataset, 0, b"", Fault(dataset, "head", dataset, "the chain's head is none"))
    # Compared as plain columns: an edited balance need not be one that a Standing could hold.
    held = {row["scope"]: {name: row[name] for name in _BALANCE} for row in rows if row["scope"] is not None}
    count, end, at, fold, fault = _walk(conn, dataset, head[0], rest)
    if fault is None:
        fault = _head_fault(dataset, (count, at, end), head, first["last_fact"] or 0)
    if fault is None:
        fault = _balance_fault(dataset, fold.standings, held) or _member_fault(conn, dataset, fold, head[0])
    if fault is None:
        fault = _payload_fault(conn, dataset)
    return DatasetReport(dataset, count, end, fault)


def _walk(conn: Connection, dataset: str, last: int, rest: Rest | None) -> tuple[int, bytes, int, Fold, Fault | None]:
    """Hash and fold the facts; stop at the first that is wrong."""
    fold, end, at, seq, kind = Fold(), beginning(dataset), 0, 0, "head"
    for page in pages(conn, dataset, last, rest):
        for number, kind, row in page:
            try:
                follows = number == seq + 1 and row[2] >= at and row[3] == _hash(end, kind, row)
            except (ValueError, TypeError, AttributeError):  # a value that no fact could hold (text instead of bytes)
                follows = False
            problem = None if follows else _unfit(seq, at, number, row)
            if follows:
                try:
                    fold.apply(kind, row)
                except Inadmissible as refusal:
                    problem = str(refusal)
            if problem is not None:
                return seq, end, at, fold, Fault(dataset, kind, str(number), problem)
            seq, at, end = number, row[2], row[3]
    try:
        fold.end()
    except Inadmissible as refusal:
        return seq, end, at, fold, Fault(dataset, kind, str(seq), str(refusal))
    return seq, end, at, fold, None


def _hash(previous: bytes, kind: str, row: Sequence[Any]) -> bytes:
    return link(previous, DIGEST[kind]([*row[4:]]), row[1], row[2])


def _unfit(seq: int, at: int, number: int, row: Sequence[Any]) -> str:
    """Say why a row does not follow the fact ``seq`` of the time ``at``."""
    if number != seq + 1:
        return "a fact is missing before it" if number > seq else "its number stands twice"
    if isinstance(row[2], int) and row[2] < at:
        return "it is older than the fact before it"
    return "its hash does not follow"


def _head_fault(
    dataset: str, walked: tuple[int, int, bytes], head: tuple[int, int, bytes], last_fact: Any
) -> Fault | None:
    if walked[0] < head[0]:
        return Fault(dataset, "head", str(walked[0] + 1), "the chain's tail is missing")
    if not isinstance(last_fact, int) or last_fact > head[0]:  # text is greater than any number
        return Fault(dataset, "head", str(head[0] + 1), "facts stand beyond the chain's head")
    if walked != head:
        return Fault(dataset, "head", str(head[0]), "the head is not the last fact's")
    return None


def _balance_fault(dataset: str, folded: Mapping[str, Standing], held: Mapping[str, Mapping[str, Any]]) -> Fault | None:
    for scope in sorted(folded.keys() | held.keys(), key=str):
        if scope not in held:
            return Fault(dataset, "balance", scope, "the balance is missing")
        if scope not in folded:
            return Fault(dataset, "balance", scope, "a balance without facts")
        if columns(folded[scope]) != held[scope]:
            return Fault(dataset, "balance", scope, "the balance is not what the facts add up to")
    return None


def _member_fault(conn: Connection, dataset: str, fold: Fold, last: int) -> Fault | None:
    """Compare who is in which project, unless somebody joined or left after the facts that were walked."""
    head, member, fact = schema.head, schema.member, schema.membership
    newest = select(func.max(fact.c.seq)).where(fact.c.dataset == dataset).scalar_subquery()
    rows = conn.execute(
        select(member.c.analyst, member.c.project, member.c.seq, newest.label("newest"))
        .select_from(head.outerjoin(member, member.c.dataset == head.c.dataset))
        .where(head.c.dataset == dataset)
    ).all()
    if rows and (rows[0].newest or 0) > last:
        return None
    differing = fold.members ^ {(row.analyst, row.project, row.seq) for row in rows if row.analyst is not None}
    if not differing:
        return None
    analyst, project, _ = min(differing, key=str)  # names, or whatever stands in their place
    return Fault(dataset, "member", f"{project}/{analyst}", "not what the facts say of who is in the project")


def _payload_fault(conn: Connection, dataset: str) -> Fault | None:
    """Compare what outcomes hold, where it is still kept, with the digests of their facts; and bought with sold."""
    bought, sold, purchase = schema.outcome.alias("bought"), schema.outcome.alias("sold"), schema.purchase
    other = conn.execute(
        select(purchase.c.seq)
        .join(sold, sold.c.charge == purchase.c.source)
        .outerjoin(bought, bought.c.charge == purchase.c.charge)
        .where(
            purchase.c.dataset == dataset,
            (bought.c.digest.is_(None)) | (bought.c.digest != sold.c.digest) | (bought.c.status != "answered"),
        )
        .order_by(purchase.c.seq)
    ).first()
    if other is not None:
        return Fault(dataset, "purchase", str(other.seq), "it ends otherwise than the answer that was bought")
    for charge in altered(conn, dataset):
        return Fault(dataset, "payload", charge, "it is not what the outcome says")
    for charge, place in undrawn(conn, dataset):
        return Fault(dataset, "inner", f"{charge}/{place}", "it is not what was drawn")
    return None
