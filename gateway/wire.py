"""The request and response models of HTTP, shared by server and client; standard library and pydantic only."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonValue = None | bool | int | float | str


class _Request(BaseModel):
    # Strict: a price of "1" or true, or a dry_run of "no", is a mistake to be told of, not one to be guessed at.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class QueryRequest(_Request):
    """One question: SQL over one dataset, and the price of the whole request (``epsilon`` or ``rho``)."""

    sql: str
    dataset: str
    epsilon: float | None = Field(None, description="Total price of the request; pure epsilon for Laplace noise.")
    rho: float | None = Field(None, description="Total price in zCDP, instead of epsilon.")
    mechanism: Literal["auto", "laplace", "gaussian"] = "auto"
    max_groups_contributed: int | None = Field(None, ge=1, description="Groups that one privacy unit may reach.")
    dialect: str | None = Field(None, description="SQL dialect of the text; the dataset's own by default.")
    dry_run: bool = False
    confidence: float = Field(0.95, gt=0, lt=1, description="Coverage of the intervals.")
    use_cache: bool = True
    plan_id: str | None = Field(None, description="Run only if the plan still is the one that a dry run showed.")
    labels: dict[str, str] = Field(default_factory=dict, max_length=16)


class Column(_Response):
    """One column of an answer; ``role`` says what it rests on."""

    name: str
    type: Literal["integer", "number", "text", "boolean", "date", "timestamp"]
    role: Literal["key", "noisy", "derived", "public"]


class CostItem(_Response):
    """One vector of measures drawn with one noise, and its part of the price."""

    release: int
    measures: list[str]
    mechanism: Literal["laplace", "gaussian"]
    scale: float
    epsilon: float | None
    rho: float
    delta: float


class Cost(_Response):
    """What a request cost: ``epsilon`` is the price as asked for; ``pure`` says whether it holds without a delta."""

    epsilon: float
    rho: float
    delta: float
    pure: bool
    items: list[CostItem]


class Budget(_Response):
    """An analyst's standing on one dataset: the minimum over the analyst's grant and the dataset's cap."""

    dataset: str
    analyst: str
    epsilon_granted: float
    epsilon_spent: float
    epsilon_remaining: float
    epsilon_remaining_gaussian: float
    delta_granted: float
    delta_spent: float
    delta_remaining: float
    gaussian: bool
    suspended: bool = False


class PlanKey(_Response):
    """One group key: ``values`` lists a public domain, NULL as null."""

    name: str
    domain: Literal["public", "private"]
    values: list[JsonValue] | None = None


class PlanBlock(_Response):
    """Measures drawn as one vector; l1 and l2 bound one privacy unit's part over all groups, in their integers."""

    l1: int
    l2: float
    mechanism: Literal["laplace", "gaussian"]
    scale: float
    measures: list[str]


class PlanMeasure(_Response):
    """One column of exact integers in multiples of ``unit``; ``expected_error`` is its 95 % half-width."""

    name: str
    kind: str
    unit: float
    l1: int
    l2: float
    linf: int
    expected_error: float


class PlanRelease(_Response):
    """One noisy table: the exact bounded SQL, its keys, noise and threshold, and why it was planned so."""

    sql: str
    parameters: dict[str, Any]
    keys: list[PlanKey]
    blocks: list[PlanBlock]
    measures: list[PlanMeasure]
    threshold: float | None
    delta: float
    reason: str


class PlanColumn(_Response):
    """What to expect of one column: the 95 % half-width where it is known beforehand, and how it comes about."""

    name: str
    role: Literal["key", "noisy", "derived", "public"]
    expected_error: float | None
    note: str | None = None


class Plan(_Response):
    """How a question will be answered, from the text, the policy and public facts alone."""

    id: str
    dialect: str
    releases: list[PlanRelease]
    columns: list[PlanColumn]
    post: str | None = Field(None, description="SQL run over the noisy tables, where there is any.")
    notes: list[str]


class QueryResponse(_Response):
    """An answer; of a dry run, one without rows and without a charge."""

    query_id: str | None
    columns: list[Column]
    rows: list[list[JsonValue]]
    intervals: dict[str, list[tuple[float, float] | None]]
    cost: Cost
    budget: Budget | None
    cached: bool
    dry_run: bool = False
    plan: Plan
    warnings: list[str]


class Problem(BaseModel):
    """RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    charged: bool = False
    hint: str | None = None
    sql_position: dict[str, int] | None = None


class DatasetColumn(_Response):
    """A declared column, as analysts may see it."""

    name: str
    type: str
    lower: JsonValue = None
    upper: JsonValue = None
    values: list[JsonValue] | None = None
    nullable: bool


class DatasetTable(_Response):
    """A declared table, as analysts may see it."""

    name: str
    public: bool
    owner: str | None
    max_rows_per_unit: int | None
    columns: list[DatasetColumn]


class DatasetInfo(_Response):
    """A dataset, as analysts may see it: declarations, never data."""

    name: str
    version: int
    data_version: int
    dialect: str
    privacy_unit: str
    max_epsilon: float
    delta: float
    tables: list[DatasetTable]


class QuerySummary(_Response):
    """One of the caller's own charges; ``status`` is withheld while the caller is suspended on the dataset."""

    query_id: str
    dataset: str
    charged_at: str = Field(description="UTC, ISO 8601.")
    status: Literal["answered", "failed", "void", "running", "withheld"]
    epsilon: float
    rho: float
    delta: float
    pure: bool
    policy_version: int
    data_version: int


class Status(_Response):
    """That something is as it should be."""

    status: Literal["ok"] = "ok"


class DatasetAdmin(_Response):
    """A dataset, as admins see it: its policy's text, and the engine without its password."""

    name: str
    version: int
    data_version: int
    engine: str
    applied_at: str
    applied_by: str
    policy: str
    info: DatasetInfo


class DataVersion(_Response):
    """The data version now in force."""

    dataset: str
    data_version: int


class AnalystRequest(_Request):
    """An analyst (or admin) to be added."""

    name: str
    role: Literal["analyst", "admin"] = "analyst"


class AnalystInfo(_Response):
    """An analyst or admin."""

    name: str
    role: Literal["analyst", "admin"]
    disabled: bool
    created_at: str


class ResumeRequest(_Request):
    """The dataset on which an analyst's suspension is to be cleared, and why."""

    dataset: str
    reason: str | None = None


class TokenRequest(_Request):
    """A token to be issued; ``seconds`` is its lifetime, the setting ``token_seconds`` by default."""

    name: str
    role: Literal["analyst", "admin"]
    seconds: int | None = Field(None, ge=1)
    kind: Literal["jwt", "api"] = "jwt"


class TokenInfo(_Response):
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


class BudgetRequest(_Request):
    """A grant; it takes the place of an earlier one, and what is spent stays spent."""

    dataset: str
    analyst: str
    epsilon: float
    delta: float = 0.0
    gaussian: bool = True
    reason: str | None = None


class Scope(_Response):
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


class ScopeRequest(_Request):
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


class ScopeAct(_Request):
    """Whose grant is suspended or resumed, and why."""

    dataset: str
    analyst: str | None = None
    project: str | None = None
    reason: str | None = None


class MemberAct(_Request):
    """Who joins a project on a dataset, or leaves it, and why."""

    dataset: str
    analyst: str
    reason: str | None = None


class Acknowledgement(_Request):
    """Why a dataset is served although its ledger is behind its signed head."""

    dataset: str
    reason: str


class ChainHead(_Response):
    """The last fact of a dataset's chain: its number, time (microseconds since 1970) and hash (hexadecimal)."""

    dataset: str
    seq: int
    at: int
    hash: str


class SignedHead(_Response):
    """The heads of all datasets, signed with the gateway's Ed25519 key (hexadecimal); docs/ledger.md says over what."""

    at: int
    heads: list[ChainHead]
    key: str
    signature: str


class LedgerEntry(_Response):
    """One fact of the ledger; amounts in exact units (epsilon 1e-9, rho 1e-12, delta 1e-18), hashes in hexadecimal."""

    dataset: str
    seq: int
    at: str
    kind: str
    hash: str
    says: dict[str, Any]


class LedgerFault(_Response):
    """The first row of a dataset's ledger that is wrong."""

    dataset: str
    kind: str
    row: str
    problem: str


class LedgerReport(_Response):
    """What verifying the ledger found."""

    ok: bool
    facts: dict[str, int] = Field(description="Facts checked, by dataset.")
    faults: list[LedgerFault]
    missing_triggers: list[str]
