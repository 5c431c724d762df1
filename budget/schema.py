"""The ledger's tables on the project's one MetaData: facts that are never changed, and what is derived from them.

Facts (append-only by trigger, ``triggers.py``; each carries its place in its dataset's hash chain, ``chain.py``):

- ``ledger_grant``       who may spend how much in one scope; a later row supersedes, spending is never reset
- ``ledger_charge``      privacy loss spent, committed before the data is touched
- ``ledger_outcome``     the one end of a charge: answered, failed, or void (a refund); UNIQUE(charge) excludes a second
- ``ledger_attempt``     the one re-execution of a charge whose process died
- ``ledger_suspension``  an analyst suspended on a dataset after an engine failure, and the clearing of it

Derived, kept in the same transaction, rebuilt and compared by ``verify.py``: ``ledger_head`` (end of a dataset's chain,
and the row that is locked first by every writer) and ``ledger_scope`` (balances).

Growing: a new kind of fact is a new table; a new figure of an old kind is a new nullable column, since the hash covers
the columns that are not NULL. A scope is named by text (``cap``, ``analyst:NAME``), and a charge names the scopes that
paid it, so that further kinds of scope change no fact.

Amounts are integers in the units of ``mechanisms.loss``; times are microseconds since 1970 by the database's clock.
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
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from mechanisms.loss import DELTA_UNIT, LIMIT, MAX_EPSILON

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

NAME_LENGTH: Final = 200
"""Longest name of a dataset or analyst, and longest idempotency key, in characters."""

SCOPE_LENGTH: Final = NAME_LENGTH + 20
TEXT_LENGTH: Final = 1000
RECORD_LENGTH: Final = 1_000_000


def _integers(*columns: str) -> list[CheckConstraint]:
    """SQLite keeps 'abc' and 2.5 in an INTEGER column unless told otherwise."""
    return [
        CheckConstraint(f"typeof({name}) IN ('integer', 'null')", name=f"{name}_is_integer").ddl_if(dialect="sqlite")
        for name in columns
    ]


def _flags(*columns: str) -> list[CheckConstraint]:
    """Return what makes a flag on SQLite the integer 0 or 1 and nothing else."""
    return [
        CheckConstraint(f"typeof({name}) = 'integer' AND {name} IN (0, 1)", name=f"{name}_is_flag").ddl_if(
            dialect="sqlite"
        )
        for name in columns
    ]


def _texts(**limits: int) -> list[CheckConstraint]:
    """Text is text, not empty, and bounded, on both databases alike (SQLite knows no VARCHAR length)."""
    return [
        *(
            CheckConstraint(f"typeof({name}) IN ('text', 'null')", name=f"{name}_is_text").ddl_if(dialect="sqlite")
            for name in limits
        ),
        *(
            CheckConstraint(f"length({name}) BETWEEN 1 AND {limit}", name=f"{name}_length")
            for name, limit in limits.items()
        ),
    ]


def _digests(*columns: str) -> list[CheckConstraint]:
    """Return what holds a column to the 32 bytes of a SHA-256 digest."""
    return [
        *(
            CheckConstraint(f"typeof({name}) = 'blob'", name=f"{name}_is_blob").ddl_if(dialect="sqlite")
            for name in columns
        ),
        *(CheckConstraint(f"length({name}) = 32", name=f"{name}_length") for name in columns),
    ]


def _range(column: str, low: int, high: int) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=f"{column}_range")


def _place() -> list[Column[int] | Column[str] | Column[bytes]]:
    """Return the columns that every fact begins with: its place in its dataset's chain."""
    return [
        Column("dataset", String(NAME_LENGTH), nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("hash", LargeBinary(32), nullable=False),
    ]


def _place_rules() -> list[CheckConstraint | PrimaryKeyConstraint | UniqueConstraint]:
    return [
        PrimaryKeyConstraint("dataset", "seq"),
        *_integers("seq", "at"),
        *_digests("hash"),
        *_texts(dataset=NAME_LENGTH),
        CheckConstraint("seq >= 1", name="seq_range"),
        CheckConstraint("at >= 0", name="at_range"),
    ]


def _of_charge(*, nullable: bool = False) -> Column[str]:
    return Column("charge", String(32), nullable=nullable)


def _charge_exists() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["charge", "dataset"], ["ledger_charge.id", "ledger_charge.dataset"])


grant: Final = Table(
    "ledger_grant",
    metadata,
    *_place(),
    Column("scope", String(SCOPE_LENGTH), nullable=False),
    Column("epsilon", BigInteger, nullable=False),
    Column("delta", BigInteger, nullable=False),
    Column("gaussian", Boolean, nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("reason", String(TEXT_LENGTH)),
    *_place_rules(),
    *_integers("epsilon", "delta"),
    *_flags("gaussian"),
    *_texts(scope=SCOPE_LENGTH, actor=NAME_LENGTH, reason=TEXT_LENGTH),
    _range("epsilon", 0, MAX_EPSILON),
    _range("delta", 0, DELTA_UNIT - 1),
    sqlite_with_rowid=False,
)

charge: Final = Table(
    "ledger_charge",
    metadata,
    *_place(),
    Column("id", String(32), nullable=False),
    Column("analyst", String(NAME_LENGTH), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("epsilon", BigInteger),  # NULL: no pure bound exists (a Gaussian charge)
    Column("rho", BigInteger, nullable=False),
    Column("delta", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("idempotency_key", String(NAME_LENGTH)),
    Column("key_use", BigInteger, nullable=False),
    Column("plan_fingerprint", String(NAME_LENGTH), nullable=False),
    Column("policy_version", BigInteger, nullable=False),
    Column("data_version", BigInteger, nullable=False),
    Column("mechanism", Text, nullable=False),
    Column("process", String(32), nullable=False),
    *_place_rules(),
    UniqueConstraint("id"),
    UniqueConstraint("id", "dataset"),
    UniqueConstraint("dataset", "analyst", "idempotency_key", "key_use"),
    *_integers("epsilon", "rho", "delta", "price", "key_use", "policy_version", "data_version"),
    *_digests("request_hash"),
    *_texts(
        analyst=NAME_LENGTH,
        idempotency_key=NAME_LENGTH,
        plan_fingerprint=NAME_LENGTH,
        scopes=RECORD_LENGTH,
        mechanism=RECORD_LENGTH,
    ),
    CheckConstraint("length(id) = 32", name="id_length"),
    CheckConstraint("length(process) = 32", name="process_length"),
    _range("epsilon", 0, MAX_EPSILON),
    _range("rho", 0, LIMIT),
    _range("delta", 0, DELTA_UNIT),
    _range("price", 0, MAX_EPSILON),
    CheckConstraint("key_use >= 1", name="key_use_range"),
    CheckConstraint("policy_version >= 0 AND data_version >= 0", name="versions_range"),
    sqlite_with_rowid=False,
)
Index(None, charge.c.dataset, charge.c.analyst, charge.c.plan_fingerprint, charge.c.data_version, charge.c.seq)

outcome: Final = Table(
    "ledger_outcome",
    metadata,
    *_place(),
    _of_charge(),
    Column("status", String(8), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("reason", String(TEXT_LENGTH)),
    *_place_rules(),
    UniqueConstraint("charge"),
    _charge_exists(),
    CheckConstraint("typeof(payload) = 'blob'", name="payload_is_blob").ddl_if(dialect="sqlite"),
    *_texts(reason=TEXT_LENGTH),
    CheckConstraint("status IN ('answered', 'failed', 'void')", name="status_known"),
    CheckConstraint("status <> 'void' OR length(payload) = 0", name="void_is_empty"),
    sqlite_with_rowid=False,
)

attempt: Final = Table(
    "ledger_attempt",
    metadata,
    *_place(),
    _of_charge(),
    Column("process", String(32), nullable=False),
    *_place_rules(),
    UniqueConstraint("charge"),
    _charge_exists(),
    CheckConstraint("length(process) = 32", name="process_length"),
    sqlite_with_rowid=False,
)

suspension: Final = Table(
    "ledger_suspension",
    metadata,
    *_place(),
    Column("analyst", String(NAME_LENGTH), nullable=False),
    Column("action", String(8), nullable=False),
    _of_charge(nullable=True),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("reason", String(TEXT_LENGTH)),
    *_place_rules(),
    _charge_exists(),
    *_texts(analyst=NAME_LENGTH, actor=NAME_LENGTH, reason=TEXT_LENGTH),
    CheckConstraint("action IN ('suspend', 'clear')", name="action_known"),
    sqlite_with_rowid=False,
)

FACTS: Final = {"grant": grant, "charge": charge, "outcome": outcome, "attempt": attempt, "suspension": suspension}
"""The kinds of fact, by the name under which they are hashed. A name never changes its meaning."""

head: Final = Table(
    "ledger_head",
    metadata,
    Column("dataset", String(NAME_LENGTH), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("dataset"),
    *_integers("seq", "at"),
    *_digests("hash"),
    *_texts(dataset=NAME_LENGTH),
    CheckConstraint("seq >= 0", name="seq_range"),
    CheckConstraint("at >= 0", name="at_range"),
    sqlite_with_rowid=False,
)

scope: Final = Table(
    "ledger_scope",
    metadata,
    Column("dataset", String(NAME_LENGTH), nullable=False),
    Column("scope", String(SCOPE_LENGTH), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("epsilon", BigInteger, nullable=False),
    Column("delta", BigInteger, nullable=False),
    Column("gaussian", Boolean, nullable=False),
    Column("spent_epsilon", BigInteger, nullable=False),
    Column("spent_gaussian", BigInteger, nullable=False),
    Column("spent_rho", BigInteger, nullable=False),
    Column("spent_delta", BigInteger, nullable=False),
    Column("suspended", Boolean, nullable=False),
    PrimaryKeyConstraint("dataset", "scope"),
    *_integers("seq", "epsilon", "delta", "spent_epsilon", "spent_gaussian", "spent_rho", "spent_delta"),
    *_flags("gaussian", "suspended"),
    *_texts(dataset=NAME_LENGTH, scope=SCOPE_LENGTH),
    _range("epsilon", 0, MAX_EPSILON),
    _range("delta", 0, DELTA_UNIT - 1),
    CheckConstraint(
        "spent_epsilon >= 0 AND spent_gaussian >= 0 AND spent_rho >= 0 AND spent_delta >= 0", name="spent_range"
    ),
    sqlite_with_rowid=False,
)
