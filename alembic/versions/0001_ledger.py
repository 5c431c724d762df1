"""The ledger: append-only facts, chain heads and balances.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from budget import triggers

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# What must never change once written, and under which keys a row could be replaced.
FACTS = {
    "ledger_grant": (("dataset", "seq"),),
    "ledger_charge": (
        ("dataset", "analyst", "idempotency_key", "key_use"),
        ("dataset", "seq"),
        ("id",),
        ("id", "dataset"),
    ),
    "ledger_outcome": (("charge",), ("dataset", "seq")),
    "ledger_attempt": (("charge",), ("dataset", "seq")),
    "ledger_suspension": (("dataset", "seq"),),
}


def _check(rule: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(name))


def _on_sqlite(rule: str, name: str) -> sa.CheckConstraint:
    return _check(rule, name).ddl_if(dialect="sqlite")


def upgrade() -> None:
    op.create_table(
        "ledger_grant",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("scope", sa.String(220), nullable=False),
        sa.Column("epsilon", sa.BigInteger(), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.Column("gaussian", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f("pk_ledger_grant")),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_grant_seq_is_integer"),
        _on_sqlite("typeof(at) IN ('integer', 'null')", "ck_ledger_grant_at_is_integer"),
        _on_sqlite("typeof(hash) = 'blob'", "ck_ledger_grant_hash_is_blob"),
        _check("length(hash) = 32", "ck_ledger_grant_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_grant_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_grant_dataset_length"),
        _check("seq >= 1", "ck_ledger_grant_seq_range"),
        _check("at >= 0", "ck_ledger_grant_at_range"),
        _on_sqlite("typeof(epsilon) IN ('integer', 'null')", "ck_ledger_grant_epsilon_is_integer"),
        _on_sqlite("typeof(delta) IN ('integer', 'null')", "ck_ledger_grant_delta_is_integer"),
        _on_sqlite("typeof(gaussian) = 'integer' AND gaussian IN (0, 1)", "ck_ledger_grant_gaussian_is_flag"),
        _on_sqlite("typeof(scope) IN ('text', 'null')", "ck_ledger_grant_scope_is_text"),
        _on_sqlite("typeof(actor) IN ('text', 'null')", "ck_ledger_grant_actor_is_text"),
        _on_sqlite("typeof(reason) IN ('text', 'null')", "ck_ledger_grant_reason_is_text"),
        _check("length(scope) BETWEEN 1 AND 220", "ck_ledger_grant_scope_length"),
        _check("length(actor) BETWEEN 1 AND 200", "ck_ledger_grant_actor_length"),
        _check("length(reason) BETWEEN 1 AND 1000", "ck_ledger_grant_reason_length"),
        _check("epsilon BETWEEN 0 AND 1000000000000000", "ck_ledger_grant_epsilon_range"),
        _check("delta BETWEEN 0 AND 999999999999999999", "ck_ledger_grant_delta_range"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_charge",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("analyst", sa.String(200), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("epsilon", sa.BigInteger(), nullable=True),
        sa.Column("rho", sa.BigInteger(), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=True),
        sa.Column("key_use", sa.BigInteger(), nullable=False),
        sa.Column("plan_fingerprint", sa.String(200), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("data_version", sa.BigInteger(), nullable=False),
        sa.Column("mechanism", sa.Text(), nullable=False),
        sa.Column("process", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f("pk_ledger_charge")),
        sa.UniqueConstraint("id", name=op.f("uq_ledger_charge_id")),
        sa.UniqueConstraint("id", "dataset", name=op.f("uq_ledger_charge_id_dataset")),
        sa.UniqueConstraint(
            "dataset",
            "analyst",
            "idempotency_key",
            "key_use",
            name=op.f("uq_ledger_charge_dataset_analyst_idempotency_key_key_use"),
        ),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_charge_seq_is_integer"),
        _on_sqlite("typeof(at) IN ('integer', 'null')", "ck_ledger_charge_at_is_integer"),
        _on_sqlite("typeof(hash) = 'blob'", "ck_ledger_charge_hash_is_blob"),
        _check("length(hash) = 32", "ck_ledger_charge_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_charge_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_charge_dataset_length"),
        _check("seq >= 1", "ck_ledger_charge_seq_range"),
        _check("at >= 0", "ck_ledger_charge_at_range"),
        _on_sqlite("typeof(epsilon) IN ('integer', 'null')", "ck_ledger_charge_epsilon_is_integer"),
        _on_sqlite("typeof(rho) IN ('integer', 'null')", "ck_ledger_charge_rho_is_integer"),
        _on_sqlite("typeof(delta) IN ('integer', 'null')", "ck_ledger_charge_delta_is_integer"),
        _on_sqlite("typeof(price) IN ('integer', 'null')", "ck_ledger_charge_price_is_integer"),
        _on_sqlite("typeof(key_use) IN ('integer', 'null')", "ck_ledger_charge_key_use_is_integer"),
        _on_sqlite("typeof(policy_version) IN ('integer', 'null')", "ck_ledger_charge_policy_version_is_integer"),
        _on_sqlite("typeof(data_version) IN ('integer', 'null')", "ck_ledger_charge_data_version_is_integer"),
        _on_sqlite("typeof(request_hash) = 'blob'", "ck_ledger_charge_request_hash_is_blob"),
        _check("length(request_hash) = 32", "ck_ledger_charge_request_hash_length"),
        _on_sqlite("typeof(analyst) IN ('text', 'null')", "ck_ledger_charge_analyst_is_text"),
        _on_sqlite("typeof(idempotency_key) IN ('text', 'null')", "ck_ledger_charge_idempotency_key_is_text"),
        _on_sqlite("typeof(plan_fingerprint) IN ('text', 'null')", "ck_ledger_charge_plan_fingerprint_is_text"),
        _on_sqlite("typeof(scopes) IN ('text', 'null')", "ck_ledger_charge_scopes_is_text"),
        _on_sqlite("typeof(mechanism) IN ('text', 'null')", "ck_ledger_charge_mechanism_is_text"),
        _check("length(analyst) BETWEEN 1 AND 200", "ck_ledger_charge_analyst_length"),
        _check("length(idempotency_key) BETWEEN 1 AND 200", "ck_ledger_charge_idempotency_key_length"),
        _check("length(plan_fingerprint) BETWEEN 1 AND 200", "ck_ledger_charge_plan_fingerprint_length"),
        _check("length(scopes) BETWEEN 1 AND 1000000", "ck_ledger_charge_scopes_length"),
        _check("length(mechanism) BETWEEN 1 AND 1000000", "ck_ledger_charge_mechanism_length"),
        _check("length(id) = 32", "ck_ledger_charge_id_length"),
        _check("length(process) = 32", "ck_ledger_charge_process_length"),
        _check("epsilon BETWEEN 0 AND 1000000000000000", "ck_ledger_charge_epsilon_range"),
        _check("rho BETWEEN 0 AND 9223372036854775807", "ck_ledger_charge_rho_range"),
        _check("delta BETWEEN 0 AND 1000000000000000000", "ck_ledger_charge_delta_range"),
        _check("price BETWEEN 0 AND 1000000000000000", "ck_ledger_charge_price_range"),
        _check("key_use >= 1", "ck_ledger_charge_key_use_range"),
        _check("policy_version >= 0 AND data_version >= 0", "ck_ledger_charge_versions_range"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_ledger_charge_dataset_analyst_plan_fingerprint_data_version_seq"),
        "ledger_charge",
        ["dataset", "analyst", "plan_fingerprint", "data_version", "seq"],
        unique=False,
    )
    op.create_table(
        "ledger_outcome",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f("pk_ledger_outcome")),
        sa.UniqueConstraint("charge", name=op.f("uq_ledger_outcome_charge")),
        sa.ForeignKeyConstraint(
            ["charge", "dataset"],
            ["ledger_charge.id", "ledger_charge.dataset"],
            name=op.f("fk_ledger_outcome_charge_dataset"),
        ),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_outcome_seq_is_integer"),
        _on_sqlite("typeof(at) IN ('integer', 'null')", "ck_ledger_outcome_at_is_integer"),
        _on_sqlite("typeof(hash) = 'blob'", "ck_ledger_outcome_hash_is_blob"),
        _check("length(hash) = 32", "ck_ledger_outcome_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_outcome_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_outcome_dataset_length"),
        _check("seq >= 1", "ck_ledger_outcome_seq_range"),
        _check("at >= 0", "ck_ledger_outcome_at_range"),
        _on_sqlite("typeof(payload) = 'blob'", "ck_ledger_outcome_payload_is_blob"),
        _on_sqlite("typeof(reason) IN ('text', 'null')", "ck_ledger_outcome_reason_is_text"),
        _check("length(reason) BETWEEN 1 AND 1000", "ck_ledger_outcome_reason_length"),
        _check("status IN ('answered', 'failed', 'void')", "ck_ledger_outcome_status_known"),
        _check("status <> 'void' OR length(payload) = 0", "ck_ledger_outcome_void_is_empty"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_attempt",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("process", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f("pk_ledger_attempt")),
        sa.UniqueConstraint("charge", name=op.f("uq_ledger_attempt_charge")),
        sa.ForeignKeyConstraint(
            ["charge", "dataset"],
            ["ledger_charge.id", "ledger_charge.dataset"],
            name=op.f("fk_ledger_attempt_charge_dataset"),
        ),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_attempt_seq_is_integer"),
        _on_sqlite("typeof(at) IN ('integer', 'null')", "ck_ledger_attempt_at_is_integer"),
        _on_sqlite("typeof(hash) = 'blob'", "ck_ledger_attempt_hash_is_blob"),
        _check("length(hash) = 32", "ck_ledger_attempt_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_attempt_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_attempt_dataset_length"),
        _check("seq >= 1", "ck_ledger_attempt_seq_range"),
        _check("at >= 0", "ck_ledger_attempt_at_range"),
        _check("length(process) = 32", "ck_ledger_attempt_process_length"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_suspension",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("analyst", sa.String(200), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("charge", sa.String(32), nullable=True),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f("pk_ledger_suspension")),
        sa.ForeignKeyConstraint(
            ["charge", "dataset"],
            ["ledger_charge.id", "ledger_charge.dataset"],
            name=op.f("fk_ledger_suspension_charge_dataset"),
        ),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_suspension_seq_is_integer"),
        _on_sqlite("typeof(at) IN ('integer', 'null')", "ck_ledger_suspension_at_is_integer"),
        _on_sqlite("typeof(hash) = 'blob'", "ck_ledger_suspension_hash_is_blob"),
        _check("length(hash) = 32", "ck_ledger_suspension_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_suspension_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_suspension_dataset_length"),
        _check("seq >= 1", "ck_ledger_suspension_seq_range"),
        _check("at >= 0", "ck_ledger_suspension_at_range"),
        _on_sqlite("typeof(analyst) IN ('text', 'null')", "ck_ledger_suspension_analyst_is_text"),
        _on_sqlite("typeof(actor) IN ('text', 'null')", "ck_ledger_suspension_actor_is_text"),
        _on_sqlite("typeof(reason) IN ('text', 'null')", "ck_ledger_suspension_reason_is_text"),
        _check("length(analyst) BETWEEN 1 AND 200", "ck_ledger_suspension_analyst_length"),
        _check("length(actor) BETWEEN 1 AND 200", "ck_ledger_suspension_actor_length"),
        _check("length(reason) BETWEEN 1 AND 1000", "ck_ledger_suspension_reason_length"),
        _check("action IN ('suspend', 'clear')", "ck_ledger_suspension_action_known"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_head",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("dataset", name=op.f("pk_ledger_head")),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_head_seq_is_integer"),
        _on_sqlite("typeof(at) IN ('integer', 'null')", "ck_ledger_head_at_is_integer"),
        _on_sqlite("typeof(hash) = 'blob'", "ck_ledger_head_hash_is_blob"),
        _check("length(hash) = 32", "ck_ledger_head_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_head_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_head_dataset_length"),
        _check("seq >= 0", "ck_ledger_head_seq_range"),
        _check("at >= 0", "ck_ledger_head_at_range"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_scope",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("scope", sa.String(220), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("epsilon", sa.BigInteger(), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.Column("gaussian", sa.Boolean(), nullable=False),
        sa.Column("spent_epsilon", sa.BigInteger(), nullable=False),
        sa.Column("spent_gaussian", sa.BigInteger(), nullable=False),
        sa.Column("spent_rho", sa.BigInteger(), nullable=False),
        sa.Column("spent_delta", sa.BigInteger(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "scope", name=op.f("pk_ledger_scope")),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_scope_seq_is_integer"),
        _on_sqlite("typeof(epsilon) IN ('integer', 'null')", "ck_ledger_scope_epsilon_is_integer"),
        _on_sqlite("typeof(delta) IN ('integer', 'null')", "ck_ledger_scope_delta_is_integer"),
        _on_sqlite("typeof(spent_epsilon) IN ('integer', 'null')", "ck_ledger_scope_spent_epsilon_is_integer"),
        _on_sqlite("typeof(spent_gaussian) IN ('integer', 'null')", "ck_ledger_scope_spent_gaussian_is_integer"),
        _on_sqlite("typeof(spent_rho) IN ('integer', 'null')", "ck_ledger_scope_spent_rho_is_integer"),
        _on_sqlite("typeof(spent_delta) IN ('integer', 'null')", "ck_ledger_scope_spent_delta_is_integer"),
        _on_sqlite("typeof(gaussian) = 'integer' AND gaussian IN (0, 1)", "ck_ledger_scope_gaussian_is_flag"),
        _on_sqlite("typeof(suspended) = 'integer' AND suspended IN (0, 1)", "ck_ledger_scope_suspended_is_flag"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_scope_dataset_is_text"),
        _on_sqlite("typeof(scope) IN ('text', 'null')", "ck_ledger_scope_scope_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_scope_dataset_length"),
        _check("length(scope) BETWEEN 1 AND 220", "ck_ledger_scope_scope_length"),
        _check("epsilon BETWEEN 0 AND 1000000000000000", "ck_ledger_scope_epsilon_range"),
        _check("delta BETWEEN 0 AND 999999999999999999", "ck_ledger_scope_delta_range"),
        _check(
            "spent_epsilon >= 0 AND spent_gaussian >= 0 AND spent_rho >= 0 AND spent_delta >= 0",
            "ck_ledger_scope_spent_range",
        ),
        sqlite_with_rowid=False,
    )
    triggers.create(op.get_bind(), FACTS)


def downgrade() -> None:
    # Losing the ledger would grant again what was spent: with facts in it, it is not a migration's to drop.
    for table in FACTS:
        if op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1")).first() is not None:  # noqa: S608
            raise RuntimeError("the ledger holds facts and is not dropped by a migration")
    triggers.drop(op.get_bind(), list(FACTS))
    for table in ("ledger_scope", "ledger_head", "ledger_suspension", "ledger_attempt", "ledger_outcome"):
        op.drop_table(table)
    op.drop_table("ledger_charge")
    op.drop_table("ledger_grant")
