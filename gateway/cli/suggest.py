"""The command that proposes: a policy for a database from its catalogue, or bounds for a dataset, bought privately."""

from __future__ import annotations

import re
import secrets
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.ask import Json
from gateway.cli.opened import actor, opening, service, settings
from gateway.cli.output import fail, misused, say, show_json

if TYPE_CHECKING:
    from gateway.admin import Estimate, Proposal
    from gateway.admin.histograms import Bound, End
    from gateway.policy.suggest import TableGuess

Target = Annotated[
    str,
    typer.Argument(
        metavar="URL|NAME",
        show_default=False,
        help="A database, as `engine` in a policy; or with --columns a dataset in force.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", help="Whose bounds to estimate: visit.cost,person.age; a table: its rows a unit."),
]
Epsilon = Annotated[float | None, typer.Option("--epsilon", help="What that costs the dataset's cap, in all.")]


def dataset_suggest(
    target: Target,
    columns: Columns = None,
    epsilon: Epsilon = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the price of bounds, and charge nothing.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="One key gets one estimate at one price.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Propose a policy for a database, from its catalogue alone; or estimate bounds of a dataset's columns, privately.

    A proposed policy is for an administrator to finish and apply. Estimates cost the dataset's cap what is stated,
    as public loss.
    """
    if columns is None:
        if epsilon is not None or dry_run or idempotency_key is not None:
            misused("--epsilon, --dry-run and --idempotency-key go with --columns")
        _propose(target, as_json)
    elif epsilon is None:
        misused("--columns needs --epsilon: the estimates are bought")
    else:
        key = secrets.token_urlsafe(24) if idempotency_key is None else idempotency_key
        if not re.fullmatch(r"[!-~]{1,200}", key):
            misused("--idempotency-key is 1 to 200 visible ASCII characters")
        _estimate(target, [name.strip() for name in columns.split(",")], epsilon, key, dry_run, as_json)


def _propose(url: str, as_json: bool) -> None:
    found = settings()
    from gateway import admin

    with opening():
        proposal = admin.suggest_policy(found, url)
    if as_json:
        show_json(_proposed(proposal))
    else:
        typer.echo(proposal.policy, nl=False)


def _estimate(dataset: str, names: list[str], epsilon: float, key: str, dry_run: bool, as_json: bool) -> None:
    found = settings()
    from gateway import admin

    try:
        with service(found) as opened:
            estimate = admin.estimate_bounds(opened, dataset, names, epsilon, actor=actor(), key=key, dry_run=dry_run)
    except KeyboardInterrupt:
        fail(f"interrupted [interrupted]\nhint: With --idempotency-key {key} it is not charged twice.")
    if as_json:
        show_json(_estimated(estimate))
        return
    if estimate.query_id is None:
        say(f"{estimate.bought} would cost the cap ε = {estimate.epsilon:g}, as public loss")
        say(f"no bound is placed where fewer than about {estimate.least_units:,} units are")
        return
    say(f"# {estimate.bought}, estimated privately: charged to the cap, ε = {estimate.epsilon:g}, as public loss")
    say(f"# no bound is placed where fewer than about {estimate.least_units:,} units are; those beyond are clipped")
    for bound in estimate.bounds:
        say(_line(bound))


def _line(bound: Bound) -> str:
    name = bound.table if bound.column is None else f"{bound.table}.{bound.column}"
    if bound.beyond:
        return f"{name}:  # values lie beyond all that is looked at; declare what the design of the data says"
    if bound.upper is None or (bound.column is not None and bound.lower is None):
        return f"{name}:  # too few units hold any value to tell at this price"
    if bound.column is None:
        return f"{name}: {{max_rows_per_unit: {_end(bound.upper)}}}"
    return f"{name}: {{lower: {_end(bound.lower)}, upper: {_end(bound.upper)}}}"


def _end(end: End | None) -> str | None:
    """Return an end as a policy writes it."""
    return end.isoformat() if isinstance(end, date) else None if end is None else f"{end:f}"


def _estimated(estimate: Estimate) -> dict[str, object]:
    return {
        "query_id": estimate.query_id,
        "epsilon": estimate.epsilon,
        "least_units": estimate.least_units,
        "bounds": [
            {
                "table": bound.table,
                "column": bound.column,
                "lower": _end(bound.lower),
                "upper": _end(bound.upper),
                "beyond": bound.beyond,
            }
            for bound in estimate.bounds
        ],
    }


def _proposed(proposal: Proposal) -> dict[str, object]:
    unit = proposal.guess.unit
    return {
        "dataset": proposal.dataset,
        "engine": proposal.engine,
        "privacy_unit": None if unit is None else {"table": unit.table, "key": unit.key, "reasons": unit.reasons},
        "tables": [_table(table) for table in proposal.guess.tables],
        "policy": proposal.policy,
    }


def _table(table: TableGuess) -> dict[str, object]:
    owner = table.owner
    if owner is not None and not isinstance(owner, str):
        said: object = {"column": owner.column, "references": [owner.target, owner.key], "declared": owner.declared}
    else:
        said = owner and {"column": owner}
    return {"name": table.name, "role": table.role, "owner": said, "also_about": table.also}
