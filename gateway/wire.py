"""The request and response models of HTTP, shared by server and client; standard library and pydantic only.

Those of ``/v1/admin`` are in ``wire_admin.py``, which the client does not need.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonValue = None | bool | int | float | str

LabelName = Annotated[str, Field(max_length=100)]
LabelText = Annotated[str, Field(max_length=500)]
"""Labels stand in the ledger for ever, with each charge."""


class Request(BaseModel):
    """What a client sends: nothing that is not known, and nothing guessed at."""

    # Strict: a price of "1" or true, or a dry_run of "no", is a mistake to be told of, not one to be guessed at.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Response(BaseModel):
    """What a client is sent."""

    model_config = ConfigDict(frozen=True)


class TypedParameter(Request):
    """The value of a parameter with its type, where JSON has no word for it: a date, a timestamp, a typed NULL."""

    type: Literal["integer", "number", "text", "boolean", "date", "timestamp"]
    value: JsonValue


ParameterValue = JsonValue | TypedParameter


class ErrorTarget(Request):
    """How close the answer shall be, in place of a price: ``within`` a number, or ``relative`` to the value."""

    column: str | None = Field(None, description="A column of the answer; every column with noise by default.")
    within: float | None = Field(None, description="The largest error: 50 is 50 either way.")
    relative: float | None = Field(None, description="The largest error as a part of the value: 0.02 is 2 %.")
    confidence: float = Field(0.95, description="With which it holds: for all public groups together.")


class QueryRequest(Request):
    """One question: SQL over one dataset, and the price of the whole request (``epsilon``, ``rho`` or a target)."""

    sql: str
    dataset: str
    epsilon: float | None = Field(None, description="Total price of the request; pure epsilon for Laplace noise.")
    rho: float | None = Field(None, description="Total price in zCDP, instead of epsilon.")
    error_target: ErrorTarget | None = Field(None, description="How close to come, in place of a price.")
    mechanism: Literal["auto", "laplace", "gaussian"] = "auto"
    max_groups_contributed: int | None = Field(None, ge=1, description="Groups that one privacy unit may reach.")
    keys_from: str | None = Field(
        None,
        pattern="^[0-9a-f]{32}$",
        description="An answered query of one's own: private group keys have the values that it listed.",
    )
    bounding: Literal["auto", "declared", "above_threshold", "exponential", "r2t"] = Field(
        "auto", description="How a privacy unit is held to its part: as declared, or by a bound that is chosen."
    )
    dialect: str | None = Field(None, description="SQL dialect of the text; the dataset's own by default.")
    parameters: list[ParameterValue] | dict[str, ParameterValue] | None = Field(
        None,
        max_length=1000,
        description="Values of the text's parameters: a list for `?` and `$1`, by name for `:name`, `@name`, `$name`.",
    )
    dry_run: bool = False
    confidence: float = Field(0.95, gt=0, lt=1, description="Coverage of the intervals.")
    non_negative: bool = Field(
        False, description="Hold counts, and sums of what is never negative, at 0 or above; on average too high then."
    )
    use_cache: bool = True
    plan_id: str | None = Field(
        None, description="Run only if the plan still is the one that a dry run showed; or take the offer of that id."
    )
    clipped_count: bool = Field(
        False, description="For a tenth of the price, tell about how many units count for less than they have."
    )
    labels: dict[LabelName, LabelText] = Field(default_factory=dict, max_length=16)


class Column(Response):
    """One column of an answer; ``role`` says what it rests on."""

    name: str
    type: Literal["integer", "number", "text", "boolean", "date", "timestamp"]
    role: Literal["key", "noisy", "derived", "public"]


class CostItem(Response):
    """One vector of measures drawn with one noise, and its part of the price."""

    release: int
    measures: list[str]
    mechanism: Literal["laplace", "gaussian", "exponential", "above_threshold"]
    scale: float
    epsilon: float | None
    rho: float
    delta: float


class Cost(Response):
    """What a request cost: ``epsilon`` is the price as asked for; ``pure`` says whether it holds without a delta."""

    epsilon: float
    rho: float
    delta: float
    pure: bool
    items: list[CostItem]


class Budget(Response):
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
    more_like_this: int | None = Field(
        None,
        description="How many more queries like this one fit; in a list of budgets, like the last one that was charged."
        " Null where there is none, or where it is free.",
    )


class PlanKey(Response):
    """One group key: ``values`` lists a public domain, NULL as null."""

    name: str
    domain: Literal["public", "private"]
    values: list[JsonValue] | None = None


class PlanBlock(Response):
    """Measures drawn as one vector; l1 and l2 bound one privacy unit's part over all groups, in their integers."""

    l1: int
    l2: float
    mechanism: Literal["laplace", "gaussian", "exponential", "above_threshold"]
    scale: float
    measures: list[str]


class PlanMeasure(Response):
    """One column of exact integers in multiples of ``unit``; ``expected_error`` is its 95 % half-width.

    It is null where the integers do not leave, but a bucket is drawn from them.
    """

    name: str
    kind: str
    unit: float
    l1: int
    l2: float
    linf: int
    expected_error: float | None


class PlanRelease(Response):
    """One noisy table: the exact bounded SQL, its keys, noise and threshold, and why it was planned so."""

    sql: str
    parameters: dict[str, Any]
    keys: list[PlanKey]
    blocks: list[PlanBlock]
    measures: list[PlanMeasure]
    threshold: float | None
    delta: float
    reason: str


class PlanColumn(Response):
    """What to expect of one column: the 95 % half-width where it is known beforehand, and how it comes about."""

    name: str
    role: Literal["key", "noisy", "derived", "public"]
    expected_error: float | None
    note: str | None = None


class Plan(Response):
    """How a question will be answered, from the text, the policy and public facts alone."""

    id: str
    dialect: str
    releases: list[PlanRelease]
    columns: list[PlanColumn]
    post: str | None = Field(None, description="SQL run over the noisy tables, where there is any.")
    notes: list[str]


class Offer(Response):
    """A stored answer to a question: a request with its ``plan_id`` takes it, at ``epsilon`` (0 for what one holds).

    ``unasked`` where a request without ``plan_id`` takes it too, unless ``use_cache`` is false.
    """

    plan_id: str
    held: bool
    unasked: bool
    epsilon: float
    rho: float
    columns: list[PlanColumn]
    notes: list[str]


class Clipped(Response):
    """About how many units count for less than they have in one release, and what the noise leaves open."""

    release: int
    units: int
    interval: tuple[float, float]


class QueryResponse(Response):
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
    clipped: list[Clipped] = Field(default_factory=list, description="Where `clipped_count` was asked for.")
    offers: list[Offer] = Field(default_factory=list, description="Stored answers; of a dry run alone.")


class Submitted(Response):
    """A question that goes on: its answer is fetched from ``/v1/queries/{query_id}``."""

    query_id: str
    status: Literal["running"]


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


class DatasetColumn(Response):
    """A declared column, as analysts may see it."""

    name: str
    type: str
    lower: JsonValue = None
    upper: JsonValue = None
    values: list[JsonValue] | None = None
    nullable: bool


class DatasetTable(Response):
    """A declared table, as analysts may see it."""

    name: str
    public: bool
    owner: str | None
    max_rows_per_unit: int | None
    columns: list[DatasetColumn]


class DatasetInfo(Response):
    """A dataset, as analysts may see it: declarations, never data."""

    name: str
    version: int
    data_version: int
    data_version_changes: str | None = Field(
        None, description="When the next data version begins by itself: `day 03:00 Europe/Berlin`; null if never."
    )
    dialect: str
    privacy_unit: str
    max_epsilon: float
    delta: float
    tables: list[DatasetTable]
    views: dict[str, str] = Field(default_factory=dict, description="Named queries that may be asked like tables.")
    prepared: bool = Field(False, description="Whether plans read a prepared copy, which holds units to their rows.")


class QuerySummary(Response):
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
    labels: dict[str, str] = Field(default_factory=dict, description="What the request called itself.")


class Status(Response):
    """That something is as it should be."""

    status: Literal["ok"] = "ok"
