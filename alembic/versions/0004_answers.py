"""What outcomes hold is kept apart from the facts, so that it can be deleted; stored answers are found, and sold.

Revision ID: 0004
Revises: 0003

An outcome's place in the hash chain is as it was: what was hashed of the payload is its SHA-256, which the fact now
says itself.
"""

from __future__ import annotations

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

from budget import triggers

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OUTCOME = (("charge",), ("dataset", "seq"))
FACTS = {"ledger_purchase": (("charge",), ("dataset", "seq"))}
KEPT = {"ledger_inner": (("charge", "place"),), "ledger_payload": (("charge",),)}


def _check(rule: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(name))


def _on_sqlite(rule: str, name: str) -> sa.CheckConstraint:
    return _check(rule, name).ddl_if(dialect="sqlite")


def _place(table: str) -> list[sa.schema.SchemaItem]:
    """What every fact begins with: its place in its dataset's chain."""
    return [
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f(f"pk_{table}")),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", f"ck_{table}_seq_is_integer"),
        _on_sqlite("typeof(at) IN ('integer', 'null')", f"ck_{table}_at_is_integer"),
        _on_sqlite("typeof(hash) = 'blob'", f"ck_{table}_hash_is_blob"),
        _check("length(hash) = 32", f"ck_{table}_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", f"ck_{table}_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", f"ck_{table}_dataset_length"),
        _check("seq >= 1", f"ck_{table}_seq_range"),
        _check("at >= 0", f"ck_{table}_at_range"),
    ]


def _charge(table: str, column: str = "charge") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column, "dataset"],
        ["ledger_charge.id", "ledger_charge.dataset"],
        name=op.f(f"fk_{table}_{column}_dataset"),
    )


def _create_outcome(*what: sa.schema.SchemaItem) -> None:
    op.create_table(
        "ledger_outcome",
        *_place("ledger_outcome"),
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        *what,
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.UniqueConstraint("charge", name=op.f("uq_ledger_outcome_charge")),
        _charge("ledger_outcome"),
        _on_sqlite("typeof(reason) IN ('text', 'null')", "ck_ledger_outcome_reason_is_text"),
        _check("length(reason) BETWEEN 1 AND 1000", "ck_ledger_outcome_reason_length"),
        _check("status IN ('answered', 'failed', 'void')", "ck_ledger_outcome_status_known"),
        sqlite_with_rowid=False,
    )
    triggers.create(op.get_bind(), {"ledger_outcome": OUTCOME})


def _put_aside() -> None:
    """Keep the outcomes in a plain table while their own is built anew."""
    triggers.drop(op.get_bind(), ["ledger_outcome"])
    op.execute("CREATE TABLE ledger_outcome_aside AS SELECT * FROM ledger_outcome")
    op.drop_table("ledger_outcome")


def upgrade() -> None:
    conn = op.get_bind()
    op.create_table(
        "ledger_payload",
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("charge", name=op.f("pk_ledger_payload")),
        sa.ForeignKeyConstraint(["charge"], ["ledger_charge.id"], name=op.f("fk_ledger_payload_charge")),
        _on_sqlite("typeof(payload) = 'blob'", "ck_ledger_payload_payload_is_blob"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_mark",
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("mark", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("charge", "mark", name=op.f("pk_ledger_mark")),
        sa.ForeignKeyConstraint(["charge"], ["ledger_charge.id"], name=op.f("fk_ledger_mark_charge")),
        _on_sqlite("typeof(mark) IN ('text', 'null')", "ck_ledger_mark_mark_is_text"),
        _check("length(mark) BETWEEN 1 AND 64", "ck_ledger_mark_mark_length"),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_ledger_mark_mark_charge"), "ledger_mark", ["mark", "charge"])
    op.create_table(
        "ledger_purchase",
        *_place("ledger_purchase"),
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.UniqueConstraint("charge", name=op.f("uq_ledger_purchase_charge")),
        _charge("ledger_purchase"),
        _charge("ledger_purchase", "source"),
        sqlite_with_rowid=False,
    )
    _put_aside()
    _create_outcome(
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        _on_sqlite("typeof(digest) = 'blob'", "ck_ledger_outcome_digest_is_blob"),
        _check("length(digest) = 32", "ck_ledger_outcome_digest_length"),
    )
    if conn.dialect.name == "sqlite":
        conn.connection.create_function("sha256", 1, lambda payload: sha256(payload).digest(), deterministic=True)
    op.execute(
        "INSERT INTO ledger_outcome (dataset, seq, at, hash, charge, status, digest, reason)"
        " SELECT dataset, seq, at, hash, charge, status, sha256(payload), reason FROM ledger_outcome_aside"
    )
    op.execute(
        "INSERT INTO ledger_payload (charge, payload)"
        " SELECT charge, payload FROM ledger_outcome_aside WHERE status <> 'void'"
    )
    op.drop_table("ledger_outcome_aside")
    triggers.drop(conn, ["ledger_inner"])
    triggers.create(conn, KEPT, deletable=True)
    triggers.create(conn, FACTS)


def downgrade() -> None:
    conn = op.get_bind()
    if conn.execute(sa.text("SELECT 1 FROM ledger_purchase LIMIT 1")).first() is not None:
        raise RuntimeError("the ledger holds facts that the revision before does not know: purchases")
    gone = (
        "SELECT 1 FROM ledger_outcome o LEFT JOIN ledger_payload p ON p.charge = o.charge"
        " WHERE p.charge IS NULL AND o.status <> 'void' LIMIT 1"
    )
    if conn.execute(sa.text(gone)).first() is not None:
        raise RuntimeError("the ledger holds outcomes whose payload was deleted, which the revision before cannot hash")
    _put_aside()
    _create_outcome(
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        _on_sqlite("typeof(payload) = 'blob'", "ck_ledger_outcome_payload_is_blob"),
        _check("status <> 'void' OR length(payload) = 0", "ck_ledger_outcome_void_is_empty"),
    )
    empty = "x''" if conn.dialect.name == "sqlite" else "''::bytea"
    back = (
        "INSERT INTO ledger_outcome (dataset, seq, at, hash, charge, status, payload, reason)"
        " SELECT o.dataset, o.seq, o.at, o.hash, o.charge, o.status, coalesce(p.payload, EMPTY), o.reason"
        " FROM ledger_outcome_aside o LEFT JOIN ledger_payload p ON p.charge = o.charge"
    )
    op.execute(back.replace("EMPTY", empty))
    op.drop_table("ledger_outcome_aside")
    triggers.drop(conn, [*KEPT], deletable=True)
    triggers.create(conn, {"ledger_inner": KEPT["ledger_inner"]})
    triggers.drop(conn, [*FACTS])
    op.drop_table("ledger_purchase")
    op.drop_table("ledger_mark")
    op.drop_table("ledger_payload")
