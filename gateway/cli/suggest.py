"""The command that proposes: a policy for a database, from its catalogue alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.ask import Json
from gateway.cli.opened import opening, settings
from gateway.cli.output import show_json

if TYPE_CHECKING:
    from gateway.admin import Proposal
    from gateway.policy.suggest import TableGuess

Url = Annotated[str, typer.Argument(metavar="URL", show_default=False, help="The database, as `engine` in a policy.")]


def dataset_suggest(url: Url, as_json: Json = False) -> None:
    """Propose a policy for a database, from its catalogue alone: an administrator finishes and applies it."""
    found = settings()
    from gateway import admin

    with opening():
        proposal = admin.suggest_policy(found, url)
    if as_json:
        show_json(_shown(proposal))
    else:
        typer.echo(proposal.policy, nl=False)


def _shown(proposal: Proposal) -> dict[str, object]:
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
