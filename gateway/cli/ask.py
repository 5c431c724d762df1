"""The commands that ask, over HTTP or on this machine: ``query``, ``explain`` and ``budget show``."""

from __future__ import annotations

import json
import math
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from gateway.cli.opened import control, service, settings
from gateway.cli.output import fail, failing, misused, say, show_json, show_table
from gateway.client import display
from gateway.wire import Budget, ErrorTarget, JsonValue, QueryRequest, QueryResponse

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gateway.auth.principal import Principal
    from gateway.client.client import Client

Sql = Annotated[
    str, typer.Argument(metavar="SQL", help="One SELECT; `-` reads it from standard input.", show_default=False)
]
DatasetName = Annotated[str, typer.Option("--dataset", help="The dataset to ask about.", show_default=False)]
Epsilon = Annotated[float | None, typer.Option("--epsilon", help="Total price of the request.")]
Rho = Annotated[float | None, typer.Option("--rho", help="Total price in zCDP, instead of --epsilon.")]
Within = Annotated[float | None, typer.Option("--within", help="The largest error, in place of a price.")]
Relative = Annotated[
    float | None, typer.Option("--relative", help="The largest error as a part of the value: 0.02 is 2 %.")
]
TargetColumn = Annotated[
    str | None, typer.Option("--target-column", help="The column that --within or --relative is about; else all.")
]
Mechanism = Annotated[Literal["auto", "laplace", "gaussian"], typer.Option("--mechanism", help="The noise.")]
Groups = Annotated[
    int | None, typer.Option("--max-groups-contributed", min=1, help="Groups that one privacy unit may reach.")
]
KeysFrom = Annotated[
    str | None, typer.Option("--keys-from", help="An answered query of yours: private keys have the values it listed.")
]
Bounding = Annotated[
    Literal["auto", "declared", "above_threshold", "exponential", "r2t"],
    typer.Option("--bounding", help="How a privacy unit is held to its part."),
]
ClippedCount = Annotated[
    bool, typer.Option("--clipped-count", help="For a tenth of the price, count who counts for less than they have.")
]
Dialect = Annotated[str | None, typer.Option("--dialect", help="SQL dialect of the text; the database's by default.")]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the text: a number, true, null, else a text."),
]
Confidence = Annotated[float, typer.Option("--confidence", help="Coverage of the intervals, between 0 and 1.")]
NonNegative = Annotated[
    bool, typer.Option("--non-negative", help="Hold counts, and sums of what is never negative, at 0 or above.")
]
Analyst = Annotated[
    str | None, typer.Option("--analyst", help="Ask as this analyst on this machine's control database, not over HTTP.")
]
Url = Annotated[str | None, typer.Option("--url", envvar="DISCREET_URL", help="The gateway to ask.")]
Token = Annotated[
    str | None, typer.Option("--token", envvar="DISCREET_TOKEN", show_envvar=True, help="An analyst's token.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

LONGEST_SQL = 2**22
"""Characters that are read from standard input; the gateway's own limit is far below."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A gateway reached over HTTP."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Local:
    """The control database of this machine, as one analyst; who can open it may act as anybody in it."""

    analyst: str


def query(
    sql: Sql,
    dataset: DatasetName,
    epsilon: Epsilon = None,
    rho: Rho = None,
    within: Within = None,
    relative: Relative = None,
    target_column: TargetColumn = None,
    mechanism: Mechanism = "auto",
    max_groups_contributed: Groups = None,
    keys_from: KeysFrom = None,
    bounding: Bounding = "auto",
    clipped_count: ClippedCount = False,
    dialect: Dialect = None,
    param: Param = None,
    confidence: Confidence = 0.95,
    non_negative: NonNegative = False,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Take an answer already paid for.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan only, at no charge.")] = False,
    plan_id: Annotated[str | None, typer.Option("--plan-id", help="Run only if this still is the plan.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="One key gets one answer at one price.")
    ] = None,
    analyst: Analyst = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Ask one question at a price, and print the noisy answer with intervals, cost and what remains."""
    request = _request(
        sql=sql,
        dataset=dataset,
        epsilon=epsilon,
        rho=rho,
        error_target=_target(target_column, within, relative, confidence),
        mechanism=mechanism,
        max_groups_contributed=max_groups_contributed,
        keys_from=keys_from,
        bounding=bounding,
        clipped_count=clipped_count,
        dialect=dialect,
        parameters=_parameters(param),
        confidence=confidence,
        non_negative=non_negative,
        use_cache=cache,
        dry_run=dry_run,
        plan_id=plan_id,
    )
    key = secrets.token_urlsafe(24) if idempotency_key is None else idempotency_key
    if not re.fullmatch(r"[!-~]{1,200}", key):
        misused("--idempotency-key is 1 to 200 visible ASCII characters")
    try:
        answer = _answer(_where(analyst, url, token), request, key)
    except KeyboardInterrupt:
        fail(f"interrupted [interrupted]\nhint: With --idempotency-key {key} it is not charged twice.")
    if as_json:
        show_json(answer)
    else:
        say(display.text(answer))


def explain(
    sql: Sql,
    dataset: DatasetName,
    epsilon: Epsilon = None,
    rho: Rho = None,
    within: Within = None,
    relative: Relative = None,
    target_column: TargetColumn = None,
    mechanism: Mechanism = "auto",
    max_groups_contributed: Groups = None,
    keys_from: KeysFrom = None,
    bounding: Bounding = "auto",
    clipped_count: ClippedCount = False,
    dialect: Dialect = None,
    param: Param = None,
    confidence: Confidence = 0.95,
    analyst: Analyst = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show how a question would be answered: price, expected errors, the exact SQL. Free; no data is touched."""
    request = _request(
        sql=sql,
        dataset=dataset,
        epsilon=epsilon,
        rho=rho,
        error_target=_target(target_column, within, relative, confidence),
        mechanism=mechanism,
        max_groups_contributed=max_groups_contributed,
        keys_from=keys_from,
        bounding=bounding,
        clipped_count=clipped_count,
        dialect=dialect,
        parameters=_parameters(param),
        confidence=confidence,
        dry_run=True,
    )
    answer = _answer(_where(analyst, url, token), request, secrets.token_urlsafe(24))
    if as_json:
        show_json(answer)
    else:
        say(display.explanation(answer))


def budget_show(
    dataset: Annotated[str | None, typer.Option("--dataset", help="This dataset alone.")] = None,
    analyst: Annotated[
        str | None, typer.Option("--analyst", help="This analyst alone, from this machine's control database.")
    ] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show what was granted, is spent and remains: one's own over HTTP, everybody's on this machine."""
    if url or token:
        where = _where(analyst, url, token)
        assert isinstance(where, Remote)
        with failing(), _client(where) as client:
            budgets = client.budgets() if dataset is None else [client.budget(dataset)]
    else:
        budgets = _local_budgets(dataset, analyst)
    if as_json:
        show_json(budgets)
    else:
        show_budgets(budgets)


def show_budgets(budgets: list[Budget]) -> None:
    """Print budgets as a table."""
    numbers = ("granted", "spent", "remaining", "gaussian remaining", "δ remaining", "more like the last")
    show_table(
        ("dataset", "analyst", *numbers, ""),
        [
            (
                budget.dataset,
                budget.analyst,
                display.number(budget.epsilon_granted),
                display.number(budget.epsilon_spent),
                display.number(budget.epsilon_remaining),
                display.number(budget.epsilon_remaining_gaussian) if budget.gaussian else "not admitted",
                display.number(budget.delta_remaining),
                "" if budget.more_like_this is None else f"{budget.more_like_this:,}",
                "suspended" if budget.suspended else "",
            )
            for budget in budgets
        ],
        right=numbers,
    )


def _request(*, sql: str, **fields: Any) -> QueryRequest:
    try:
        return QueryRequest(sql=sys.stdin.read(LONGEST_SQL) if sql == "-" else sql, **fields)
    except ValidationError as error:
        names = ", ".join(sorted({"--" + str(problem["loc"][0]).replace("_", "-") for problem in error.errors()}))
        misused(f"not a possible value of {names}")


def _target(column: str | None, within: float | None, relative: float | None, confidence: float) -> ErrorTarget | None:
    """Return the error that the options state in place of a price, if any."""
    if within is None and relative is None:
        if column is not None:
            misused("--target-column needs --within or --relative")
        return None
    return ErrorTarget(column=column, within=within, relative=relative, confidence=confidence)


def _parameters(given: list[str] | None) -> dict[str, JsonValue] | None:
    """Return what ``--param`` options say: ``least=30`` a number, ``city="30"`` and ``city=Ulm`` texts."""
    found: dict[str, JsonValue] = {}
    for option in given or ():
        name, equals, text = option.partition("=")
        if not name or not equals or name in found:
            misused("--param is NAME=VALUE, each name once")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        no_scalar = isinstance(value, list | dict) or (isinstance(value, float) and not math.isfinite(value))
        found[name] = text if no_scalar else value
    return found or None


def _where(analyst: str | None, url: str | None, token: str | None) -> Remote | Local:
    match analyst, url, token:
        case None, str(), str():
            return Remote(url, token)
        case str(), None, None:
            return Local(analyst)
        case None, None, None:
            misused("give --url and --token (or DISCREET_URL and DISCREET_TOKEN), or --analyst to ask on this machine")
        case None, _, _:
            misused("a URL and a token are given together (--url, --token, or DISCREET_URL, DISCREET_TOKEN)")
        case _:
            misused(
                "--analyst asks on this machine; leave it out, or leave out URL and token (also DISCREET_URL/_TOKEN)"
            )


@contextmanager
def _client(where: Remote) -> Iterator[Client]:
    from gateway.client.client import Client

    try:
        client = Client(where.url, where.token)
    except ValueError as error:
        misused(str(error))
    with client:
        yield client


def _answer(where: Remote | Local, request: QueryRequest, key: str) -> QueryResponse:
    match where:
        case Remote():
            from gateway.client.errors import Unavailable

            fields = request.model_dump(exclude={"sql"})
            with failing(), _client(where) as client:
                try:
                    return client.sql(request.sql, idempotency_key=key, **fields).response
                except Unavailable as error:
                    fail(f"{error}\nhint: With --idempotency-key {key} it is not charged twice.")
        case Local(analyst):
            return _local_answer(analyst, request, key)


def _local_answer(analyst: str, request: QueryRequest, key: str) -> QueryResponse:
    found = settings()
    from gateway import query as conductor

    with service(found, request.sql) as opened:
        with opened.reads.connect() as conn:
            principal = _principal(conn, analyst)
        return conductor.answer(opened, principal, request, key)


def _principal(conn: Connection, name: str) -> Principal:
    """Return who asks, held to the same conditions as over HTTP."""
    from gateway.errors import Forbidden, NotFound
    from gateway.store import principals

    record = principals.get(conn, name)
    if record is None:
        raise NotFound("analyst-unknown", f"There is no analyst {name!r}.", hint="`discreet analyst list` shows them.")
    if record.disabled:
        raise Forbidden("principal-disabled", "This account is disabled.", hint="`discreet analyst enable` admits it.")
    return record.principal


def _local_budgets(dataset: str | None, analyst: str | None) -> list[Budget]:
    from gateway import admin

    with control(settings()) as engine:
        return admin.list_budgets(engine, dataset, analyst)
