"""Selling a stored answer: who holds none of it buys it at the price that it once cost, and the cap pays nothing.

A purchase is three facts of one transaction: the purchase itself (which answer), the charge (its loss, to the scopes
that have not paid for it yet), and the outcome, whose digest is that of the answer.

Why this is sound: what the buyer sees is the very noisy table that was released before, no further copy of it. For the
dataset as a whole nothing new leaves: the cap has paid. For a scope (an analyst, a project) something leaves when
somebody under it first receives it, and then the whole loss of the answer is charged to it, by the same filter as a
fresh one; what it sees again is a function of what it holds. A failure is never sold, nor anything of an analyst who is
suspended: whether their other queries came to an end is what the suspension withholds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, literal, select

from budget import schema
from budget.errors import NotForSale
from budget.records import Record, scopes_from
from budget.scopes import of_analyst

if TYPE_CHECKING:
    from budget.book import Book


@dataclass(frozen=True, slots=True)
class Sale:
    """A stored answer, the scopes that have paid for it, and the charge by which each analyst holds it."""

    source: Record
    paid: frozenset[str]
    holders: tuple[tuple[str, str], ...]

    def holder(self, analyst: str) -> str | None:
        """Return the charge by which an analyst holds the answer."""
        return dict(self.holders).get(analyst)

    def sold(self, analyst: str, charge: str, scopes: tuple[str, ...]) -> Sale:
        """Return the sale after one more purchase."""
        return replace(self, paid=self.paid | set(scopes), holders=(*self.holders, (analyst, charge)))


def find(conn: Connection, source: Record) -> Sale:
    """Return who has paid for an answer so far."""
    charge, purchase = schema.charge.c, schema.purchase.c
    bought = (
        select(charge.analyst, charge.id, charge.scopes)
        .join(schema.purchase, purchase.charge == charge.id)
        .where(purchase.source == source.charge.id)
        .order_by(charge.seq)
    )
    sale = Sale(source, frozenset(source.charge.scopes), ((source.charge.analyst, source.charge.id),))
    for row in conn.execute(bought):
        sale = sale.sold(row.analyst, row.id, scopes_from(row.scopes))
    return sale


def open_sale(book: Book, source: str) -> Sale:
    """Return the sale of an answer in an open book; ``NotForSale`` unless it is one that may be sold."""
    if source not in book.sales:
        book.sales[source] = find(book.conn, book.charge(source))
    sale = book.sales[source]
    charge, outcome = sale.source.charge, sale.source.outcome
    if charge.dataset != book.dataset or charge.publication is not None or charge.source is not None:
        raise NotForSale(source)
    if outcome is None or outcome.status != "answered" or outcome.payload is None:
        raise NotForSale(source)
    if book.standing(of_analyst(charge.analyst)).suspended:
        raise NotForSale(source)
    return sale


def copy_marks(conn: Connection, source: str, charge: str) -> None:
    """Let a purchase be found as its answer is."""
    mark = schema.mark
    marks = select(literal(charge), mark.c.mark).where(mark.c.charge == source)
    conn.execute(insert(mark).from_select(["charge", "mark"], marks))
