"""What a request released first, to feed its other releases.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from budget import triggers

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_inner",
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("charge", "place", name=op.f("pk_ledger_inner")),
        sa.ForeignKeyConstraint(["charge"], ["ledger_charge.id"], name=op.f("fk_ledger_inner_charge")),
        sa.CheckConstraint("place >= 0", name=op.f("ck_ledger_inner_place_range")),
        sa.CheckConstraint("typeof(payload) = 'blob'", name=op.f("ck_ledger_inner_payload_is_blob")).ddl_if(
            dialect="sqlite"
        ),
        sqlite_with_rowid=False,
    )
    triggers.create(op.get_bind(), {"ledger_inner": [("charge", "place")]})


def downgrade() -> None:
    op.drop_table("ledger_inner")
