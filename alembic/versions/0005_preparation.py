"""Copies of a dataset's rows that plans read in place of the data.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "control_preparation",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("data_version", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("shapes", sa.Text(), nullable=True),
        sa.Column("dropped_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_preparation")),
        sa.ForeignKeyConstraint(
            ["dataset", "policy_version"],
            ["control_policy.dataset", "control_policy.version"],
            name=op.f("fk_control_preparation_dataset_policy_version"),
        ),
        sa.CheckConstraint("length(id) = 32", name=op.f("ck_control_preparation_id_length")),
        sa.CheckConstraint(
            "(ready_at IS NULL) = (shapes IS NULL)", name=op.f("ck_control_preparation_ready_with_shapes")
        ),
    )
    op.create_index(
        op.f("ix_control_preparation_dataset_policy_version_data_version"),
        "control_preparation",
        ["dataset", "policy_version", "data_version"],
    )


def downgrade() -> None:
    op.drop_table("control_preparation")
