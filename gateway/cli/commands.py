"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import answers, ask, grants, manage, prepare, run, suggest


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, add_completion=False)


app = typer.Typer(
    help="A differential-privacy gateway in front of a SQL database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.callback()
def _discreet(
    trace: Annotated[bool, typer.Option("--trace", help="Show Python's trace of an unexpected error.")] = False,
) -> None:
    """Hold the options of every command (``--trace`` is read by ``main``)."""


app.command("demo")(run.demo)
app.command("init")(manage.init)
app.command("serve")(run.serve)
app.command("query")(ask.query)
app.command("explain")(ask.explain)

dataset = _group("Datasets and their policies.")
dataset.command("apply")(manage.dataset_apply)
dataset.command("list")(manage.dataset_list)
dataset.command("show")(manage.dataset_show)
dataset.command("suggest")(suggest.dataset_suggest)
dataset.command("refresh")(answers.dataset_refresh)
dataset.command("prepare")(prepare.dataset_prepare)
app.add_typer(dataset, name="dataset")

stored = _group("Stored answers.")

stored.command("delete")(answers.answers_delete)
app.add_typer(stored, name="answers")

analyst = _group("Who may ask.")
analyst.command("add")(manage.analyst_add)
analyst.command("list")(manage.analyst_list)
analyst.command("disable")(manage.analyst_disable)
analyst.command("enable")(manage.analyst_enable)
analyst.command("resume")(manage.analyst_resume)
app.add_typer(analyst, name="analyst")

token = _group("Tokens.")
token.command("issue")(manage.token_issue)
app.add_typer(token, name="token")

budget = _group("Grants, and what remains of them.")
budget.command("set")(grants.budget_set)
budget.command("show")(ask.budget_show)
budget.command("list")(grants.budget_list)
budget.command("suspend")(grants.budget_suspend)
budget.command("resume")(grants.budget_resume)
app.add_typer(budget, name="budget")

project = _group("Analysts who share a grant on a dataset.")
project.command("join")(grants.project_join)
project.command("leave")(grants.project_leave)
app.add_typer(project, name="project")

ledger = _group("The ledger.")
ledger.command("show")(manage.ledger_show)
ledger.command("verify")(manage.ledger_verify)
ledger.command("export")(grants.ledger_export)
ledger.command("head")(grants.ledger_head)
ledger.command("acknowledge")(grants.ledger_acknowledge)
ledger.command("public")(grants.ledger_public)
ledger.command("report")(grants.ledger_report)
app.add_typer(ledger, name="ledger")
