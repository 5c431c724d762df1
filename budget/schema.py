"""The ledger's tables on the project's one MetaData: facts that are never changed, and what is derived from them.

Facts (append-only by trigger, ``triggers.py``; each carries its place in its dataset's hash chain, ``chain.py``):

- ``ledger_grant``       who may spend how much in one scope; a later row supersedes, spending is never reset
- ``ledger_charge``      privacy loss spent, committed before the data is touched
- ``ledger_outcome``     the one end of a charge: answered, failed, or void (a refund); UNIQUE(charge) excludes a second
- ``ledger_attempt``     the one re-execution of a charge whose process died
- ``ledger_suspension``  an analyst suspended on a dataset after an engine failure, and the clearing of it
- ``ledger_renewal``     a scope's next window has begun, found when it was next charged
- ``ledger_membership``  an analyst joined a project on a dataset, or left it
- ``ledger_acknowledgement``  an admin serves a ledger that is not the one whose head was signed
- ``ledger_draw``        a release inside a request was drawn, to feed its other releases; its digest (``inner.py``)
- ``ledger_purchase``    the charge that follows buys the stored answer of another (``sales.py``)

Kept beside them, not facts: ``ledger_inner`` and ``ledger_payload`` (noisy tables: never changed, deleted when their
time is over; an outcome holds the digest of its payload) and ``ledger_mark`` (how stored answers are found).

Derived, kept in the same transaction, rebuilt and compared by ``verify.py``: ``ledger_head`` (end of a dataset's chain,
and the row that is locked first by every writer), ``ledger_scope`` (balances) and ``ledger_member`` (who is in which
project).

Growing: a new kind of fact is a new table; a new figure of an old kind is a new nullable column after the others, since
the hash covers a row's values in this order up to the last that is not NULL. A scope is named by text (``cap``,
``analyst:NAME``, ``project:NAME``), and a charge names the scopes that paid it, so that further kinds of scope change
no fact.

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

from budget.rules import (
    NAME_LENGTH,
    RECORD_LENGTH,
    SCOPE_LENGTH,
    TEXT_LENGTH,
    digests,
    flags,
    integers,
    place,
    place_rules,
    texts,
    within,
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

WINDOWS: Final = ("daily", "weekly", "monthly", "yearly")
"""How often a grant may renew."""

SUMS: Final = (
    "spent_epsilon",
    "spent_gaussian",
    "spent_rho",
    "spent_delta",
    "life_epsilon",
    "life_gaussian",
    "life_rho",
    "life_delta",
)
"""What a balance adds up: in the window in force, and since the scope's first grant."""


def _of_charge(*, nullable: bool = False) -> Column[str]:
    return Column("charge", String(32), nullable=nullable)


def _charge_exists() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["charge", "dataset"], ["ledger_charge.id", "ledger_charge.dataset"])


def _terms() -> list[Column[int] | Column[str] | Column[bool]]:
    """Return the columns that a grant and its scope's balance share, beside the amounts."""
    return [
        Column("paused", Boolean, nullable=False),
        Column("max_epsilon", BigInteger),
        Column("expires", BigInteger),
        Column("renews", String(8)),
        Column("timezone", String(NAME_LENGTH)),
        Column("window_start", BigInteger),
        Column("window_end", BigInteger),
    ]


def _terms_rules() -> list[CheckConstraint]:
    return [
        *integers("max_epsilon", "expires", "window_start", "window_end"),
        *flags("paused"),
        *texts(timezone=NAME_LENGTH),
        within("max_epsilon", 0, MAX_EPSILON),
        CheckConstraint("expires >= 0", name="expires_range"),
        CheckConstraint(f"renews IN ({', '.join(repr(kind) for kind in WINDOWS)})", name="renews_known"),
        CheckConstraint(
            "(renews IS NULL) = (timezone IS NULL) AND (renews IS NULL) = (window_start IS NULL)"
            " AND (renews IS NULL) = (window_end IS NULL)",
            name="window_whole",
        ),
        CheckConstraint("window_start < window_end", name="window_range"),
    ]


grant: Final = Table(
    "ledger_grant",
    metadata,
    *place(),
    Column("scope", String(SCOPE_LENGTH), nullable=False),
    Column("epsilon", BigInteger, nullable=False),
    Column("delta", BigInteger, nullable=False),
    Column("gaussian", Boolean, nullable=False),
    *_terms(),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("reason", String(TEXT_LENGTH)),
    *place_rules(),
    *integers("epsilon", "delta"),
    *flags("gaussian"),
    *texts(scope=SCOPE_LENGTH, actor=NAME_LENGTH, reason=TEXT_LENGTH),
    within("epsilon", 0, MAX_EPSILON),
    within("delta", 0, DELTA_UNIT - 1),
    *_terms_rules(),
    sqlite_with_rowid=False,
)

charge: Final = Table(
    "ledger_charge",
    metadata,
    *place(),
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
    Column("publication", String(TEXT_LENGTH)),  # what an admin bought for everybody, from the cap alone
    *place_rules(),
    UniqueConstraint("id"),
    UniqueConstraint("id", "dataset"),
    UniqueConstraint("dataset", "analyst", "idempotency_key", "key_use"),
    *integers("epsilon", "rho", "delta", "price", "key_use", "policy_version", "data_version"),
    *digests("request_hash"),
    *texts(
        analyst=NAME_LENGTH,
        idempotency_key=NAME_LENGTH,
        plan_fingerprint=NAME_LENGTH,
        scopes=RECORD_LENGTH,
        mechanism=RECORD_LENGTH,
        publication=TEXT_LENGTH,
    ),
    CheckConstraint("length(id) = 32", name="id_length"),
    CheckConstraint("length(process) = 32", name="process_length"),
    within("epsilon", 0, MAX_EPSILON),
    within("rho", 0, LIMIT),
    within("delta", 0, DELTA_UNIT),
    within("price", 0, MAX_EPSILON),
    CheckConstraint("key_use >= 1", name="key_use_range"),
    CheckConstraint("policy_version >= 0 AND data_version >= 0", name="versions_range"),
    sqlite_with_rowid=False,
)
Index(None, charge.c.dataset, charge.c.analyst, charge.c.plan_fingerprint, charge.c.data_version, charge.c.seq)

outcome: Final = Table(
    "ledger_outcome",
    metadata,
    *place(),
    _of_charge(),
    Column("status", String(8), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),  # of the payload, which is kept apart: it may be deleted
    Column("reason", String(TEXT_LENGTH)),
    *place_rules(),
    UniqueConstraint("charge"),
    _charge_exists(),
    *digests("digest"),
    *texts(reason=TEXT_LENGTH),
    CheckConstraint("status IN ('answered', 'failed', 'void')", name="status_known"),
    sqlite_with_rowid=False,
)

attempt: Final = Table(
    "ledger_attempt",
    metadata,
    *place(),
    _of_charge(),
    Column("process", String(32), nullable=False),
    *place_rules(),
    UniqueConstraint("charge"),
    _charge_exists(),
    CheckConstraint("length(process) = 32", name="process_length"),
    sqlite_with_rowid=False,
)

draw: Final = Table(
    "ledger_draw",
    metadata,
    *place(),
    _of_charge(),
    Column("place", BigInteger, nullable=False),  # of the release in its plan
    Column("digest", LargeBinary(32), nullable=False),
    *place_rules(),
    UniqueConstraint("charge", "place", name="uq_ledger_draw_charge_place"),
    _charge_exists(),
    *integers("place"),
    *digests("digest"),
    CheckConstraint("place >= 0", name="place_range"),
    sqlite_with_rowid=False,
)

inner: Final = Table(
    "ledger_inner",
    metadata,
    _of_charge(),
    Column("place", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    PrimaryKeyConstraint("charge", "place"),
    ForeignKeyConstraint(["charge"], ["ledger_charge.id"]),
    CheckConstraint("place >= 0", name="place_range"),
    CheckConstraint("typeof(payload) = 'blob'", name="payload_is_blob").ddl_if(dialect="sqlite"),
    sqlite_with_rowid=False,
)
"""What a request released first, to feed its other releases: kept when drawn, so that nobody draws it twice."""

payload: Final = Table(
    "ledger_payload",
    metadata,
    _of_charge(),
    Column("payload", LargeBinary, nullable=False),
    PrimaryKeyConstraint("charge"),
    ForeignKeyConstraint(["charge"], ["ledger_charge.id"]),
    CheckConstraint("typeof(payload) = 'blob'", name="payload_is_blob").ddl_if(dialect="sqlite"),
    sqlite_with_rowid=False,
)
"""What a charge's outcome holds, until it is deleted; the fact holds its digest."""

mark: Final = Table(
    "ledger_mark",
    metadata,
    _of_charge(),
    Column("mark", String(64), nullable=False),
    PrimaryKeyConstraint("charge", "mark"),
    ForeignKeyConstraint(["charge"], ["ledger_charge.id"]),
    *texts(mark=64),
    sqlite_with_rowid=False,
)
"""By what an answered charge is found when the same is asked again; deleted with the payload."""
Index(None, mark.c.mark, mark.c.charge)

suspension: Final = Table(
    "ledger_suspension",
    metadata,
    *place(),
    Column("analyst", String(NAME_LENGTH), nullable=False),
    Column("action", String(8), nullable=False),
    _of_charge(nullable=True),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("reason", String(TEXT_LENGTH)),
    *place_rules(),
    _charge_exists(),
    *texts(analyst=NAME_LENGTH, actor=NAME_LENGTH, reason=TEXT_LENGTH),
    CheckConstraint("action IN ('suspend', 'clear')", name="action_known"),
    sqlite_with_rowid=False,
)

renewal: Final = Table(
    "ledger_renewal",
    metadata,
    *place(),
    Column("scope", String(SCOPE_LENGTH), nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("window_end", BigInteger, nullable=False),
    *place_rules(),
    *integers("window_start", "window_end"),
    *texts(scope=SCOPE_LENGTH),
    CheckConstraint("window_start < window_end", name="window_range"),
    sqlite_with_rowid=False,
)

membership: Final = Table(
    "ledger_membership",
    metadata,
    *place(),
    Column("project", String(NAME_LENGTH), nullable=False),
    Column("analyst", String(NAME_LENGTH), nullable=False),
    Column("action", String(8), nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("reason", String(TEXT_LENGTH)),
    *place_rules(),
    *texts(project=NAME_LENGTH, analyst=NAME_LENGTH, actor=NAME_LENGTH, reason=TEXT_LENGTH),
    CheckConstraint("action IN ('join', 'leave')", name="action_known"),
    sqlite_with_rowid=False,
)

acknowledgement: Final = Table(
    "ledger_acknowledgement",
    metadata,
    *place(),
    Column("signed_seq", BigInteger, nullable=False),
    Column("signed_at", BigInteger, nullable=False),
    Column("signed_hash", LargeBinary(32), nullable=False),
    Column("actor", String(NAME_LENGTH), nullable=False),
    Column("reason", String(TEXT_LENGTH), nullable=False),
    *place_rules(),
    *integers("signed_seq", "signed_at"),
    *digests("signed_hash"),
    *texts(actor=NAME_LENGTH, reason=TEXT_LENGTH),
    CheckConstraint("signed_seq >= 1", name="signed_seq_range"),
    CheckConstraint("signed_at >= 0", name="signed_at_range"),
    sqlite_with_rowid=False,
)

purchase: Final = Table(
    "ledger_purchase",
    metadata,
    *place(),
    Column("charge", String(32), nullable=False),
    Column("source", String(32), nullable=False),
    *place_rules(),
    UniqueConstraint("charge"),
    _charge_exists(),
    ForeignKeyConstraint(["source", "dataset"], ["ledger_charge.id", "ledger_charge.dataset"]),
    sqlite_with_rowid=False,
)

FACTS: Final = {
    "grant": grant,
    "charge": charge,
    "outcome": outcome,
    "attempt": attempt,
    "suspension": suspension,
    "renewal": renewal,
    "membership": membership,
    "acknowledgement": acknowledgement,
    "purchase": purchase,
    "draw": draw,
}
"""The kinds of fact, by the name under which they are hashed. A name never changes its meaning."""

head: Final = Table(
    "ledger_head",
    metadata,
    Column("dataset", String(NAME_LENGTH), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("dataset"),
    *integers("seq", "at"),
    *digests("hash"),
    *texts(dataset=NAME_LENGTH),
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
    *_terms(),
    Column("suspended", Boolean, nullable=False),
    Column("opened", BigInteger, nullable=False),  # the fact that began the window; 0 for life
    Column("windows", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in SUMS),
    PrimaryKeyConstraint("dataset", "scope"),
    *integers("seq", "epsilon", "delta", "opened", "windows", *SUMS),
    *flags("gaussian", "suspended"),
    *texts(dataset=NAME_LENGTH, scope=SCOPE_LENGTH),
    within("epsilon", 0, MAX_EPSILON),
    within("delta", 0, DELTA_UNIT - 1),
    *_terms_rules(),
    CheckConstraint(" AND ".join(f"{name} >= 0" for name in SUMS), name="sums_range"),
    CheckConstraint("opened >= 0 AND windows >= 1", name="windows_range"),
    sqlite_with_rowid=False,
)

member: Final = Table(
    "ledger_member",
    metadata,
    Column("dataset", String(NAME_LENGTH), nullable=False),
    Column("analyst", String(NAME_LENGTH), nullable=False),
    Column("project", String(NAME_LENGTH), nullable=False),
    Column("seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("dataset", "analyst", "project"),
    *integers("seq"),
    *texts(dataset=NAME_LENGTH, analyst=NAME_LENGTH, project=NAME_LENGTH),
    sqlite_with_rowid=False,
)
