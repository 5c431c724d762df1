"""What a request draws first is a fact: its digest stands in the chain before anything goes on from it.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from budget import triggers

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FACTS = {"ledger_draw": (("charge", "place"), ("dataset", "seq"))}


def upgrade() -> None:
    op.create_table(
        "ledger_draw",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f("pk_ledger_draw")),
        sa.UniqueConstraint("charge", "place", name=op.f("uq_ledger_draw_charge_place")),
        sa.ForeignKeyConstraint(
            ["charge", "dataset"],
            ["ledger_charge.id", "ledger_charge.dataset"],
            name=op.f("fk_ledger_draw_charge_dataset"),
        ),
        *_on_sqlite("typeof({}) IN ('integer', 'null')", "is_integer", "seq", "at", "place"),
        *_on_sqlite("typeof({}) = 'blob'", "is_blob", "hash", "digest"),
        *_on_sqlite("typeof({}) IN ('text', 'null')", "is_text", "dataset"),
        _check("length(hash) = 32", "hash_length"),
        _check("length(digest) = 32", "digest_length"),
        _check("length(dataset) BETWEEN 1 AND 200", "dataset_length"),
        _check("seq >= 1", "seq_range"),
        _check("at >= 0", "at_range"),
        _check("place >= 0", "place_range"),
        sqlite_with_rowid=False,
    )
    triggers.create(op.get_bind(), FACTS)


def downgrade() -> None:
    if op.get_bind().execute(sa.text("SELECT 1 FROM ledger_draw LIMIT 1")).first() is not None:
        raise RuntimeError("the ledger holds facts that the revision before does not know: draws")
    op.drop_table("ledger_draw")


def _check(rule: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_ledger_draw_{name}"))


def _on_sqlite(rule: str, kind: str, *columns: str) -> list[sa.CheckConstraint]:
    return [_check(rule.format(name), f"{name}_{kind}").ddl_if(dialect="sqlite") for name in columns]
