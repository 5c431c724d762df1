"""The ledger: append-only facts, chain heads, balances and members of projects.

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
    "ledger_renewal": (("dataset", "seq"),),
    "ledger_membership": (("dataset", "seq"),),
    "ledger_acknowledgement": (("dataset", "seq"),),
}


def _check(rule: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(name))


def _on_sqlite(rule: str, name: str) -> sa.CheckConstraint:
    return _check(rule, name).ddl_if(dialect="sqlite")


def _integer(table: str, column: str) -> sa.CheckConstraint:
    return _on_sqlite(f"typeof({column}) IN ('integer', 'null')", f"ck_{table}_{column}_is_integer")


def _place(table: str) -> list[sa.schema.SchemaItem]:
    """What every fact begins with: its place in its dataset's chain."""
    return [
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "seq", name=op.f(f"pk_{table}")),
        _integer(table, "seq"),
        _integer(table, "at"),
        _on_sqlite("typeof(hash) = 'blob'", f"ck_{table}_hash_is_blob"),
        _check("length(hash) = 32", f"ck_{table}_hash_length"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", f"ck_{table}_dataset_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", f"ck_{table}_dataset_length"),
        _check("seq >= 1", f"ck_{table}_seq_range"),
        _check("at >= 0", f"ck_{table}_at_range"),
    ]


def _terms(table: str) -> list[sa.schema.SchemaItem]:
    """What a grant and its scope's balance share, beside the amounts."""
    return [
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("max_epsilon", sa.BigInteger(), nullable=True),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("renews", sa.String(8), nullable=True),
        sa.Column("timezone", sa.String(200), nullable=True),
        sa.Column("window_start", sa.BigInteger(), nullable=True),
        sa.Column("window_end", sa.BigInteger(), nullable=True),
        _integer(table, "max_epsilon"),
        _integer(table, "expires"),
        _integer(table, "window_start"),
        _integer(table, "window_end"),
        _on_sqlite("typeof(paused) = 'integer' AND paused IN (0, 1)", f"ck_{table}_paused_is_flag"),
        _on_sqlite("typeof(timezone) IN ('text', 'null')", f"ck_{table}_timezone_is_text"),
        _check("length(timezone) BETWEEN 1 AND 200", f"ck_{table}_timezone_length"),
        _check("max_epsilon BETWEEN 0 AND 1000000000000000", f"ck_{table}_max_epsilon_range"),
        _check("expires >= 0", f"ck_{table}_expires_range"),
        _check("renews IN ('daily', 'weekly', 'monthly', 'yearly')", f"ck_{table}_renews_known"),
        _check(
            "(renews IS NULL) = (timezone IS NULL) AND (renews IS NULL) = (window_start IS NULL)"
            " AND (renews IS NULL) = (window_end IS NULL)",
            f"ck_{table}_window_whole",
        ),
        _check("window_start < window_end", f"ck_{table}_window_range"),
    ]


def upgrade() -> None:
    op.create_table(
        "ledger_grant",
        *_place("ledger_grant"),
        sa.Column("scope", sa.String(220), nullable=False),
        sa.Column("epsilon", sa.BigInteger(), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.Column("gaussian", sa.Boolean(), nullable=False),
        *_terms("ledger_grant"),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
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
        *_place("ledger_charge"),
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
        sa.Column("publication", sa.String(1000), nullable=True),
        sa.UniqueConstraint("id", name=op.f("uq_ledger_charge_id")),
        sa.UniqueConstraint("id", "dataset", name=op.f("uq_ledger_charge_id_dataset")),
        sa.UniqueConstraint(
            "dataset",
            "analyst",
            "idempotency_key",
            "key_use",
            name=op.f("uq_ledger_charge_dataset_analyst_idempotency_key_key_use"),
        ),
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
        _on_sqlite("typeof(publication) IN ('text', 'null')", "ck_ledger_charge_publication_is_text"),
        _check("length(analyst) BETWEEN 1 AND 200", "ck_ledger_charge_analyst_length"),
        _check("length(idempotency_key) BETWEEN 1 AND 200", "ck_ledger_charge_idempotency_key_length"),
        _check("length(plan_fingerprint) BETWEEN 1 AND 200", "ck_ledger_charge_plan_fingerprint_length"),
        _check("length(scopes) BETWEEN 1 AND 1000000", "ck_ledger_charge_scopes_length"),
        _check("length(mechanism) BETWEEN 1 AND 1000000", "ck_ledger_charge_mechanism_length"),
        _check("length(publication) BETWEEN 1 AND 1000", "ck_ledger_charge_publication_length"),
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
        *_place("ledger_outcome"),
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.UniqueConstraint("charge", name=op.f("uq_ledger_outcome_charge")),
        sa.ForeignKeyConstraint(
            ["charge", "dataset"],
            ["ledger_charge.id", "ledger_charge.dataset"],
            name=op.f("fk_ledger_outcome_charge_dataset"),
        ),
        _on_sqlite("typeof(payload) = 'blob'", "ck_ledger_outcome_payload_is_blob"),
        _on_sqlite("typeof(reason) IN ('text', 'null')", "ck_ledger_outcome_reason_is_text"),
        _check("length(reason) BETWEEN 1 AND 1000", "ck_ledger_outcome_reason_length"),
        _check("status IN ('answered', 'failed', 'void')", "ck_ledger_outcome_status_known"),
        _check("status <> 'void' OR length(payload) = 0", "ck_ledger_outcome_void_is_empty"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_attempt",
        *_place("ledger_attempt"),
        sa.Column("charge", sa.String(32), nullable=False),
        sa.Column("process", sa.String(32), nullable=False),
        sa.UniqueConstraint("charge", name=op.f("uq_ledger_attempt_charge")),
        sa.ForeignKeyConstraint(
            ["charge", "dataset"],
            ["ledger_charge.id", "ledger_charge.dataset"],
            name=op.f("fk_ledger_attempt_charge_dataset"),
        ),
        _check("length(process) = 32", "ck_ledger_attempt_process_length"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_suspension",
        *_place("ledger_suspension"),
        sa.Column("analyst", sa.String(200), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("charge", sa.String(32), nullable=True),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.ForeignKeyConstraint(
            ["charge", "dataset"],
            ["ledger_charge.id", "ledger_charge.dataset"],
            name=op.f("fk_ledger_suspension_charge_dataset"),
        ),
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
        "ledger_renewal",
        *_place("ledger_renewal"),
        sa.Column("scope", sa.String(220), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=False),
        _on_sqlite("typeof(window_start) IN ('integer', 'null')", "ck_ledger_renewal_window_start_is_integer"),
        _on_sqlite("typeof(window_end) IN ('integer', 'null')", "ck_ledger_renewal_window_end_is_integer"),
        _on_sqlite("typeof(scope) IN ('text', 'null')", "ck_ledger_renewal_scope_is_text"),
        _check("length(scope) BETWEEN 1 AND 220", "ck_ledger_renewal_scope_length"),
        _check("window_start < window_end", "ck_ledger_renewal_window_range"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_membership",
        *_place("ledger_membership"),
        sa.Column("project", sa.String(200), nullable=False),
        sa.Column("analyst", sa.String(200), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=True),
        _on_sqlite("typeof(project) IN ('text', 'null')", "ck_ledger_membership_project_is_text"),
        _on_sqlite("typeof(analyst) IN ('text', 'null')", "ck_ledger_membership_analyst_is_text"),
        _on_sqlite("typeof(actor) IN ('text', 'null')", "ck_ledger_membership_actor_is_text"),
        _on_sqlite("typeof(reason) IN ('text', 'null')", "ck_ledger_membership_reason_is_text"),
        _check("length(project) BETWEEN 1 AND 200", "ck_ledger_membership_project_length"),
        _check("length(analyst) BETWEEN 1 AND 200", "ck_ledger_membership_analyst_length"),
        _check("length(actor) BETWEEN 1 AND 200", "ck_ledger_membership_actor_length"),
        _check("length(reason) BETWEEN 1 AND 1000", "ck_ledger_membership_reason_length"),
        _check("action IN ('join', 'leave')", "ck_ledger_membership_action_known"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_acknowledgement",
        *_place("ledger_acknowledgement"),
        sa.Column("signed_seq", sa.BigInteger(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("signed_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        _on_sqlite("typeof(signed_seq) IN ('integer', 'null')", "ck_ledger_acknowledgement_signed_seq_is_integer"),
        _on_sqlite("typeof(signed_at) IN ('integer', 'null')", "ck_ledger_acknowledgement_signed_at_is_integer"),
        _on_sqlite("typeof(signed_hash) = 'blob'", "ck_ledger_acknowledgement_signed_hash_is_blob"),
        _check("length(signed_hash) = 32", "ck_ledger_acknowledgement_signed_hash_length"),
        _on_sqlite("typeof(actor) IN ('text', 'null')", "ck_ledger_acknowledgement_actor_is_text"),
        _on_sqlite("typeof(reason) IN ('text', 'null')", "ck_ledger_acknowledgement_reason_is_text"),
        _check("length(actor) BETWEEN 1 AND 200", "ck_ledger_acknowledgement_actor_length"),
        _check("length(reason) BETWEEN 1 AND 1000", "ck_ledger_acknowledgement_reason_length"),
        _check("signed_seq >= 1", "ck_ledger_acknowledgement_signed_seq_range"),
        _check("signed_at >= 0", "ck_ledger_acknowledgement_signed_at_range"),
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
        *_terms("ledger_scope"),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("spent_epsilon", sa.BigInteger(), nullable=False),
        sa.Column("spent_gaussian", sa.BigInteger(), nullable=False),
        sa.Column("spent_rho", sa.BigInteger(), nullable=False),
        sa.Column("spent_delta", sa.BigInteger(), nullable=False),
        sa.Column("life_epsilon", sa.BigInteger(), nullable=False),
        sa.Column("life_gaussian", sa.BigInteger(), nullable=False),
        sa.Column("life_rho", sa.BigInteger(), nullable=False),
        sa.Column("life_delta", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "scope", name=op.f("pk_ledger_scope")),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_scope_seq_is_integer"),
        _on_sqlite("typeof(epsilon) IN ('integer', 'null')", "ck_ledger_scope_epsilon_is_integer"),
        _on_sqlite("typeof(delta) IN ('integer', 'null')", "ck_ledger_scope_delta_is_integer"),
        _on_sqlite("typeof(opened) IN ('integer', 'null')", "ck_ledger_scope_opened_is_integer"),
        _on_sqlite("typeof(windows) IN ('integer', 'null')", "ck_ledger_scope_windows_is_integer"),
        _on_sqlite("typeof(spent_epsilon) IN ('integer', 'null')", "ck_ledger_scope_spent_epsilon_is_integer"),
        _on_sqlite("typeof(spent_gaussian) IN ('integer', 'null')", "ck_ledger_scope_spent_gaussian_is_integer"),
        _on_sqlite("typeof(spent_rho) IN ('integer', 'null')", "ck_ledger_scope_spent_rho_is_integer"),
        _on_sqlite("typeof(spent_delta) IN ('integer', 'null')", "ck_ledger_scope_spent_delta_is_integer"),
        _on_sqlite("typeof(life_epsilon) IN ('integer', 'null')", "ck_ledger_scope_life_epsilon_is_integer"),
        _on_sqlite("typeof(life_gaussian) IN ('integer', 'null')", "ck_ledger_scope_life_gaussian_is_integer"),
        _on_sqlite("typeof(life_rho) IN ('integer', 'null')", "ck_ledger_scope_life_rho_is_integer"),
        _on_sqlite("typeof(life_delta) IN ('integer', 'null')", "ck_ledger_scope_life_delta_is_integer"),
        _on_sqlite("typeof(gaussian) = 'integer' AND gaussian IN (0, 1)", "ck_ledger_scope_gaussian_is_flag"),
        _on_sqlite("typeof(suspended) = 'integer' AND suspended IN (0, 1)", "ck_ledger_scope_suspended_is_flag"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_scope_dataset_is_text"),
        _on_sqlite("typeof(scope) IN ('text', 'null')", "ck_ledger_scope_scope_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_scope_dataset_length"),
        _check("length(scope) BETWEEN 1 AND 220", "ck_ledger_scope_scope_length"),
        _check("epsilon BETWEEN 0 AND 1000000000000000", "ck_ledger_scope_epsilon_range"),
        _check("delta BETWEEN 0 AND 999999999999999999", "ck_ledger_scope_delta_range"),
        _check(
            "spent_epsilon >= 0 AND spent_gaussian >= 0 AND spent_rho >= 0 AND spent_delta >= 0"
            " AND life_epsilon >= 0 AND life_gaussian >= 0 AND life_rho >= 0 AND life_delta >= 0",
            "ck_ledger_scope_sums_range",
        ),
        _check("opened >= 0 AND windows >= 1", "ck_ledger_scope_windows_range"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_member",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("analyst", sa.String(200), nullable=False),
        sa.Column("project", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "analyst", "project", name=op.f("pk_ledger_member")),
        _on_sqlite("typeof(seq) IN ('integer', 'null')", "ck_ledger_member_seq_is_integer"),
        _on_sqlite("typeof(dataset) IN ('text', 'null')", "ck_ledger_member_dataset_is_text"),
        _on_sqlite("typeof(analyst) IN ('text', 'null')", "ck_ledger_member_analyst_is_text"),
        _on_sqlite("typeof(project) IN ('text', 'null')", "ck_ledger_member_project_is_text"),
        _check("length(dataset) BETWEEN 1 AND 200", "ck_ledger_member_dataset_length"),
        _check("length(analyst) BETWEEN 1 AND 200", "ck_ledger_member_analyst_length"),
        _check("length(project) BETWEEN 1 AND 200", "ck_ledger_member_project_length"),
        sqlite_with_rowid=False,
    )
    triggers.create(op.get_bind(), FACTS)


def downgrade() -> None:
    # Losing the ledger would grant again what was spent: with facts in it, it is not a migration's to drop.
    for table in FACTS:
        if op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} LIMIT 1")).first() is not None:  # noqa: S608
            raise RuntimeError("the ledger holds facts and is not dropped by a migration")
    triggers.drop(op.get_bind(), list(FACTS))
    for table in ("ledger_member", "ledger_scope", "ledger_head", *reversed(FACTS)):
        op.drop_table(table)
