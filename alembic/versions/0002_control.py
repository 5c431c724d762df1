"""The control plane: principals, tokens, policies, data versions and admin acts.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "control_principal",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_control_principal")),
        sa.CheckConstraint("role IN ('analyst', 'admin')", name=op.f("ck_control_principal_role_known")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name=op.f("ck_control_principal_name_length")),
    )
    op.create_table(
        "control_token",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(3), nullable=False),
        sa.Column("principal", sa.String(200), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_control_token_digest")),
        sa.ForeignKeyConstraint(["principal"], ["control_principal.name"], name=op.f("fk_control_token_principal")),
        sa.CheckConstraint("length(id) = 32", name=op.f("ck_control_token_id_length")),
        sa.CheckConstraint("kind IN ('jwt', 'api')", name=op.f("ck_control_token_kind_known")),
        sa.CheckConstraint("role IN ('analyst', 'admin')", name=op.f("ck_control_token_role_known")),
        sa.CheckConstraint("(kind = 'api') = (digest IS NOT NULL)", name=op.f("ck_control_token_digest_of_api_tokens")),
        sa.CheckConstraint("digest IS NULL OR length(digest) = 32", name=op.f("ck_control_token_digest_length")),
    )
    op.create_index(op.f("ix_control_token_principal"), "control_token", ["principal"], unique=False)
    op.create_table(
        "control_token_revocation",
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "id", name=op.f("pk_control_token_revocation")),
    )
    op.create_table(
        "control_policy",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("shapes", sa.Text(), nullable=False),
        sa.Column("dialect", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", name=op.f("pk_control_policy")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_control_policy_version_range")),
        sa.CheckConstraint("length(dataset) BETWEEN 1 AND 200", name=op.f("ck_control_policy_dataset_length")),
    )
    op.create_table(
        "control_data_version",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", name=op.f("pk_control_data_version")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_control_data_version_version_range")),
    )
    op.create_table(
        "control_act",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("act", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(700), nullable=False),
        sa.Column("detail", sa.String(1000), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_act")),
    )
    op.create_index(op.f("ix_control_act_at"), "control_act", ["at"], unique=False)


def downgrade() -> None:
    op.drop_table("control_token")
    op.drop_table("control_token_revocation")
    op.drop_table("control_principal")
    op.drop_table("control_policy")
    op.drop_table("control_data_version")
    op.drop_table("control_act")
