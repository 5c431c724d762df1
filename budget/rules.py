"""What the ledger's tables are made of: the columns that place a fact, and the rules that hold a column to one type.

SQLite keeps any value in any column unless a rule says otherwise; with these both databases hold the same.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, LargeBinary, PrimaryKeyConstraint, String, UniqueConstraint

NAME_LENGTH: Final = 200
"""Longest name of a dataset or analyst, and longest idempotency key, in characters."""

SCOPE_LENGTH: Final = NAME_LENGTH + 20
TEXT_LENGTH: Final = 1000
RECORD_LENGTH: Final = 1_000_000


def integers(*columns: str) -> list[CheckConstraint]:
    """Return what holds a column to integers (or NULL): SQLite keeps 'abc' and 2.5 in it otherwise."""
    return [
        CheckConstraint(f"typeof({name}) IN ('integer', 'null')", name=f"{name}_is_integer").ddl_if(dialect="sqlite")
        for name in columns
    ]


def flags(*columns: str) -> list[CheckConstraint]:
    """Return what makes a flag on SQLite the integer 0 or 1 and nothing else."""
    return [
        CheckConstraint(f"typeof({name}) = 'integer' AND {name} IN (0, 1)", name=f"{name}_is_flag").ddl_if(
            dialect="sqlite"
        )
        for name in columns
    ]


def texts(**limits: int) -> list[CheckConstraint]:
    """Return what makes text text, not empty, and bounded on both databases (SQLite knows no VARCHAR length)."""
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


def digests(*columns: str) -> list[CheckConstraint]:
    """Return what holds a column to the 32 bytes of a SHA-256 digest."""
    return [
        *(
            CheckConstraint(f"typeof({name}) = 'blob'", name=f"{name}_is_blob").ddl_if(dialect="sqlite")
            for name in columns
        ),
        *(CheckConstraint(f"length({name}) = 32", name=f"{name}_length") for name in columns),
    ]


def within(column: str, low: int, high: int) -> CheckConstraint:
    """Return what holds a column between two ends, both included."""
    return CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=f"{column}_range")


def place() -> list[Column[int] | Column[str] | Column[bytes]]:
    """Return the columns that every fact begins with: its place in its dataset's chain."""
    return [
        Column("dataset", String(NAME_LENGTH), nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("hash", LargeBinary(32), nullable=False),
    ]


def place_rules() -> list[CheckConstraint | PrimaryKeyConstraint | UniqueConstraint]:
    """Return what holds for the place of every fact."""
    return [
        PrimaryKeyConstraint("dataset", "seq"),
        *integers("seq", "at"),
        *digests("hash"),
        *texts(dataset=NAME_LENGTH),
        CheckConstraint("seq >= 1", name="seq_range"),
        CheckConstraint("at >= 0", name="at_range"),
    ]
