"""The request and response models of ``/v1/admin``; admins' commands print the same."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.wire import DatasetInfo, Request, Response


class DatasetAdmin(Response):
    """A dataset, as admins see it: its policy's text, and the engine without its password."""

    name: str
    version: int
    data_version: int
    engine: str
    applied_at: str
    applied_by: str
    policy: str
    info: DatasetInfo
    files_changed: bool | None = Field(
        None,
        description="Whether the data's files differ from what they were when the policy was applied or the data "
        "version raised; null where there are no files to compare. Never shown to analysts.",
    )


class DataVersion(Response):
    """The data version now in force."""

    dataset: str
    data_version: int


class AnswersRequest(Request):
    """Which stored answers are deleted: exactly one of the three."""

    older_than_seconds: int | None = Field(None, ge=0, description="Charged so long ago.")
    below_data_version: int | None = Field(None, ge=1, description="Of data versions before this one.")
    query_id: str | None = Field(None, pattern="^[0-9a-f]{32}$", description="That of one query.")


class AnswersDeleted(Response):
    """How many stored answers were deleted."""

    dataset: str
    deleted: int


class CopiedTable(Response):
    """One table of a copy: rows at the source, those that lead to a unit, those kept, and the units of these.

    ``most`` is how many rows of a unit are kept, null for all; ``key`` whether a public table's key holds each value
    once. Null for a table that an earlier run made is what that run counted.
    """

    name: str
    rows: int
    owned: int | None
    kept: int | None
    owners: int | None
    most: int | None
    key: bool | None


class CopyReport(Response):
    """What a run came to; ``made`` is false if plans read the copy already."""

    dataset: str
    version: int
    data_version: int
    made: bool
    estimated: int = Field(description="About how many bytes the copy takes.")
    tables: list[CopiedTable]


class CopyStep(Response):
    """How far a run is: what it did last, or does now, with table ``number`` of ``tables``."""

    table: str
    what: Literal["counted", "copying", "copied", "kept"]
    number: int
    tables: int
    rows: int
    seconds: float


class CopyProblem(Response):
    """Why a run came to nothing."""

    code: str
    message: str


class CopyState(Response):
    """Whether plans read a copy, and what the last run of this gateway does or came to."""

    dataset: str
    state: Literal["none", "running", "ready", "failed"]
    step: CopyStep | None = None
    report: CopyReport | None = None
    problem: CopyProblem | None = None


class CopiesDropped(Response):
    """How many copies were removed."""

    dataset: str
    dropped: int


class AnalystRequest(Request):
    """An analyst (or admin) to be added."""

    name: str
    role: Literal["analyst", "admin"] = "analyst"


class AnalystInfo(Response):
    """An analyst or admin."""

    name: str
    role: Literal["analyst", "admin"]
    disabled: bool
    created_at: str


class ResumeRequest(Request):
    """The dataset on which an analyst's suspension is to be cleared, and why."""

    dataset: str
    reason: str | None = None


class TokenRequest(Request):
    """A token to be issued; ``seconds`` is its lifetime, the setting ``token_seconds`` by default."""

    name: str
    role: Literal["analyst", "admin"]
    seconds: int | None = Field(None, ge=1)
    kind: Literal["jwt", "api"] = "jwt"


class TokenInfo(Response):
    """An issued token, without its text."""

    id: str
    kind: Literal["jwt", "api"]
    name: str
    role: Literal["analyst", "admin"]
    created_at: str
    expires_at: str
    issued_by: str
    revoked: bool


class TokenIssued(TokenInfo):
    """A token just issued; its text is shown this once."""

    token: str


class BudgetRequest(Request):
    """A grant; it takes the place of an earlier one, and what is spent stays spent."""

    dataset: str
    analyst: str
    epsilon: float
    delta: float = 0.0
    gaussian: bool = True
    reason: str | None = None


class Scope(Response):
    """A grant of an analyst, a project or the dataset (``cap``), with what is spent in its window and in all.

    A grant with a ``window`` promises ``epsilon_granted`` for each window; what all of them together released is
    bounded by ``lifetime_epsilon_spent`` alone.
    """

    dataset: str
    kind: Literal["analyst", "project", "cap"]
    name: str | None
    epsilon_granted: float
    epsilon_spent: float
    epsilon_remaining: float
    delta_granted: float
    delta_spent: float
    gaussian: bool
    max_epsilon: float | None
    window: Literal["daily", "weekly", "monthly", "yearly"] | None
    timezone: str | None
    window_ends: str | None
    windows: int
    lifetime_epsilon_spent: float
    lifetime_delta_spent: float
    expires: str | None
    paused: bool
    suspended: bool


class ScopeRequest(Request):
    """A grant with all its terms, for an analyst, a project, or with neither for the dataset's cap."""

    dataset: str
    analyst: str | None = None
    project: str | None = None
    epsilon: float
    delta: float = 0.0
    gaussian: bool | None = None
    max_epsilon: float | None = None
    window: Literal["daily", "weekly", "monthly", "yearly"] | None = None
    timezone: str | None = None
    expires: str | None = None
    reason: str | None = None


class ScopeAct(Request):
    """Whose grant is suspended or resumed, and why."""

    dataset: str
    analyst: str | None = None
    project: str | None = None
    reason: str | None = None


class MemberAct(Request):
    """Who joins a project on a dataset, or leaves it, and why."""

    dataset: str
    analyst: str
    reason: str | None = None


class Acknowledgement(Request):
    """Why a dataset is served although its ledger is behind its signed head."""

    dataset: str
    reason: str


class ChainHead(Response):
    """The last fact of a dataset's chain: its number, time (microseconds since 1970) and hash (hexadecimal)."""

    dataset: str
    seq: int
    at: int
    hash: str


class SignedHead(Response):
    """The heads of all datasets, signed with the gateway's Ed25519 key (hexadecimal); docs/ledger.md says over what."""

    at: int
    heads: list[ChainHead]
    key: str
    signature: str


class LedgerEntry(Response):
    """One fact of the ledger; amounts in exact units (epsilon 1e-9, rho 1e-12, delta 1e-18), hashes in hexadecimal."""

    dataset: str
    seq: int
    at: str
    kind: str
    hash: str
    says: dict[str, Any]


class LedgerFault(Response):
    """The first row of a dataset's ledger that is wrong."""

    dataset: str
    kind: str
    row: str
    problem: str


class LedgerReport(Response):
    """What verifying the ledger found."""

    ok: bool
    facts: dict[str, int] = Field(description="Facts checked, by dataset.")
    faults: list[LedgerFault]
    missing_triggers: list[str]
