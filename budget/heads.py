"""The heads of all chains as one statement that can be signed, kept elsewhere, and compared with the ledger later.

What ``verify`` cannot see, a head kept elsewhere shows: a tail that was cut together with its balances, an older copy
that was restored, a chain that was rewritten as a whole. All grant again what was spent.

Why an acknowledgement is a fact: who serves a ledger that is behind vouches that the answers paid for by what is
missing are counted otherwise (a lower grant), and an auditor must see who did and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, select, union_all

from budget import schema
from budget.book import opened
from budget.chain import Head, canonical_json
from budget.rules import TEXT_LENGTH
from budget.scopes import checked_name

_PURPOSE: Final = "discreet ledger heads 1"


@dataclass(frozen=True, slots=True)
class Behind:
    """A dataset whose ledger does not continue the one whose head was signed.

    ``missing``: its chain ends before the signed head (or there is none). ``rewritten``: another fact stands there.
    """

    signed: Head
    found: int
    problem: Literal["missing", "rewritten"]


def read(conn: Connection) -> tuple[Head, ...]:
    """Return the head of every chain, by dataset."""
    rows = conn.execute(select(schema.head).where(schema.head.c.seq > 0).order_by(schema.head.c.dataset))
    return tuple(Head(row.dataset, row.seq, row.at, bytes(row.hash)) for row in rows)


def statement(heads: Sequence[Head], at: int) -> bytes:
    """Return the text to sign: its purpose, so that it can be taken for nothing else, the time, and every head."""
    said = [[head.dataset, head.seq, head.at, head.hash.hex()] for head in heads]
    return f"{_PURPOSE}\n{canonical_json([at, said])}".encode()


def behind(conn: Connection, signed: Sequence[Head]) -> tuple[Behind, ...]:
    """Return the datasets whose ledger does not continue the signed one, those acknowledged left out."""
    found = []
    for head in signed:
        if _acknowledged(conn, head):
            continue
        hashes = [select(t.c.hash).where(t.c.dataset == head.dataset, t.c.seq == head.seq) for t in _FACTS]
        held = [bytes(each) for each in conn.execute(union_all(*hashes)).scalars()]
        if held == [head.hash]:
            continue
        last = conn.execute(select(schema.head.c.seq).where(schema.head.c.dataset == head.dataset)).scalar() or 0
        found.append(Behind(head, last, "missing" if last < head.seq else "rewritten"))
    return tuple(found)


def acknowledge(conn: Connection, each: Behind, *, actor: str, reason: str) -> None:
    """Note that a dataset is served although its ledger is not the signed one: who, and why."""
    if not 1 <= len(reason) <= TEXT_LENGTH:
        raise ValueError("an acknowledgement needs a reason of 1 to 1000 characters")
    fact = {"signed_seq": each.signed.seq, "signed_at": each.signed.at, "signed_hash": each.signed.hash}
    with opened(conn, each.signed.dataset, begin=True) as book:
        book.post("acknowledgement", fact | {"actor": checked_name(actor), "reason": reason})


_FACTS: Final = tuple(schema.FACTS.values())


def _acknowledged(conn: Connection, head: Head) -> bool:
    said = schema.acknowledgement.c
    same = (said.dataset == head.dataset) & (said.signed_seq == head.seq) & (said.signed_hash == head.hash)
    return conn.execute(select(said.seq).where(same).limit(1)).first() is not None
