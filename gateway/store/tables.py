"""The control plane's tables other than the ledger: who may ask, with which tokens, and what is declared.

On the ledger's MetaData, since one migration history carries both. Rows of ``control_policy``,
``control_data_version``, ``control_token_revocation`` and ``control_act`` are only ever added; a version once applied
never changes, because charges refer to it. A row of ``control_preparation`` is once made ready and once dropped. Times
are microseconds since 1970 by the database's clock.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from budget.rules import NAME_LENGTH, TEXT_LENGTH
from budget.schema import metadata

TOKEN_ID_LENGTH: Final = 200
"""Longest token id; own ids have 32 characters, an identity provider's ``jti`` may have more."""

ISSUER_LENGTH: Final = 500

principal: Final = Table(
    "control_principal",
    metadata,
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("role", String(10), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("name"),
    CheckConstraint("role IN ('analyst', 'admin')", name="role_known"),
    CheckConstraint(f"length(name) BETWEEN 1 AND {NAME_LENGTH}", name="name_length"),
)

token: Final = Table(
    "control_token",
    metadata,
    Column("id", String(32), nullable=False),
    Column("kind", String(3), nullable=False),
    Column("principal", String(NAME_LENGTH), nullable=False),
    Column("role", String(10), nullable=False),
    Column("digest", LargeBinary(32)),  # SHA-256 of an API token; the token itself is kept nowhere
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("digest"),
    ForeignKeyConstraint(["principal"], ["control_principal.name"]),
    CheckConstraint("length(id) = 32", name="id_length"),
    CheckConstraint("kind IN ('jwt', 'api')", name="kind_known"),
    CheckConstraint("role IN ('analyst', 'admin')", name="role_known"),
    CheckConstraint("(kind = 'api') = (digest IS NOT NULL)", name="digest_of_api_tokens"),
    CheckConstraint("digest IS NULL OR length(digest) = 32", name="digest_length"),
)
Index(None, token.c.principal)

token_revocation: Final = Table(
    "control_token_revocation",
    metadata,
    Column("issuer", String(ISSUER_LENGTH), nullable=False),
    Column("id", String(TOKEN_ID_LENGTH), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    PrimaryKeyConstraint("issuer", "id"),
)

policy: Final = Table(
    "control_policy",
    metadata,
    Column("dataset", String(NAME_LENGTH), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("source", Text, nullable=False),  # as the admin wrote it
    Column("document", Text, nullable=False),  # JSON of the validated document
    Column("shapes", Text, nullable=False),  # JSON of the catalogue entries that ``apply`` found
    Column("dialect", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    PrimaryKeyConstraint("dataset", "version"),
    CheckConstraint("version >= 1", name="version_range"),
    CheckConstraint(f"length(dataset) BETWEEN 1 AND {NAME_LENGTH}", name="dataset_length"),
)

data_version: Final = Table(
    "control_data_version",
    metadata,
    Column("dataset", String(NAME_LENGTH), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    PrimaryKeyConstraint("dataset", "version"),
    CheckConstraint("version >= 1", name="version_range"),
)

preparation: Final = Table(
    "control_preparation",
    metadata,
    Column("id", String(32), nullable=False),
    Column("dataset", String(NAME_LENGTH), nullable=False),
    Column("policy_version", BigInteger, nullable=False),
    Column("data_version", BigInteger, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("ready_at", BigInteger),  # from this instant on plans read the copy
    Column("shapes", Text),  # JSON of the catalogue entries of the copy
    Column("dropped_at", BigInteger),
    PrimaryKeyConstraint("id"),
    ForeignKeyConstraint(["dataset", "policy_version"], ["control_policy.dataset", "control_policy.version"]),
    CheckConstraint("length(id) = 32", name="id_length"),
    CheckConstraint("(ready_at IS NULL) = (shapes IS NULL)", name="ready_with_shapes"),
)
Index(None, preparation.c.dataset, preparation.c.policy_version, preparation.c.data_version)

act: Final = Table(
    "control_act",
    metadata,
    Column("id", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("act", String(40), nullable=False),
    Column("subject", String(ISSUER_LENGTH + TOKEN_ID_LENGTH), nullable=False),
    Column("detail", String(TEXT_LENGTH)),
    PrimaryKeyConstraint("id"),
)
Index(None, act.c.at)
