"""Grants of analysts on datasets, and suspensions."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from budget import balance, grants, records, suspensions
from budget.errors import NoGrant, NotSuspended
from budget.scopes import CAP, analyst_of
from gateway import wire
from gateway.auth.principal import valid_name
from gateway.catalogue import Catalogue, unknown
from gateway.errors import Conflict, NotFound, RequestInvalid
from gateway.standing import shown
from gateway.store import acts, policies, principals
from gateway.store.engine import reader
from mechanisms.loss import DELTA_UNIT, Amount, AmountError, delta_units, epsilon_units


def set_budget(
    control: Engine,
    dataset: str,
    analyst: str,
    *,
    epsilon: Amount,
    delta: Amount = 0,
    gaussian: bool = True,
    actor: str,
    reason: str | None = None,
) -> wire.Budget:
    """Grant an analyst a budget on a dataset in place of any earlier grant, and return what now remains.

    Spending is never reset: a grant below what is spent admits nothing more. ``gaussian`` is whether Gaussian charges
    are admitted, which the dataset's cap must admit as well.
    """
    try:
        grant = grants.Grant(epsilon_units(epsilon, "down"), delta_units(delta, "down"), gaussian)
    except (AmountError, ValueError) as error:
        raise _amount_invalid(str(error)) from None
    if grant.delta >= DELTA_UNIT:
        raise _amount_invalid("delta is below 1")
    if reason is not None and not _valid_reason(reason):
        raise RequestInvalid("reason-invalid", "A reason has at most 1000 printable characters.")
    with control.begin() as conn:
        if policies.current(conn, dataset) is None:
            raise unknown(dataset)
        if principals.get(conn, analyst) is None:
            raise NotFound("analyst-unknown", f"There is no analyst {analyst!r}.")
        grants.set_grant(conn, dataset, analyst, grant, actor=actor, reason=reason)
        acts.note(conn, actor, "budget-set", analyst, dataset)
        return _budget(conn, Catalogue(1), dataset, analyst)


def list_budgets(
    control: Engine, dataset: str | None = None, analyst: str | None = None, *, catalogue: Catalogue | None = None
) -> list[wire.Budget]:
    """Return what was granted, is spent and remains: narrowed to one dataset, one analyst, or neither."""
    with reader(control).connect() as conn:
        return budgets_of(conn, catalogue or Catalogue(64), dataset, analyst)


def budgets_of(
    conn: Connection, catalogue: Catalogue, dataset: str | None = None, analyst: str | None = None
) -> list[wire.Budget]:
    """Return the budgets in a transaction of the caller's."""
    held = [
        (name, holder)
        for name, standing in balance.all_of(conn, dataset, analyst)
        if standing.scope != CAP and (holder := analyst_of(standing.scope)) is not None
    ]
    return [_budget(conn, catalogue, name, holder) for name, holder in held]


def clear_suspension(control: Engine, dataset: str, analyst: str, *, actor: str, reason: str | None = None) -> None:
    """Let an analyst who was suspended after a failure ask again."""
    if reason is not None and not _valid_reason(reason):
        raise RequestInvalid("reason-invalid", "A reason has at most 1000 printable characters.")
    if not (valid_name(dataset) and valid_name(analyst)):
        raise NotFound("grant-unknown", "There is no such grant.")
    with control.begin() as conn:
        try:
            suspensions.clear(conn, dataset, analyst, actor=actor, reason=reason)
        except NoGrant:
            raise NotFound("grant-unknown", f"{analyst!r} has no grant on {dataset!r}.") from None
        except NotSuspended:
            raise Conflict("not-suspended", f"{analyst} is not suspended on {dataset}.") from None
        acts.note(conn, actor, "resume", analyst, dataset)


def _budget(conn: Connection, catalogue: Catalogue, dataset: str, analyst: str) -> wire.Budget:
    per_query = catalogue.current(conn, dataset).per_query
    last = [each.charge for each in records.of_analyst_on(conn, analyst, dataset, limit=1)]
    like, price = (last[0].loss, last[0].price) if last else (None, 0)
    return shown(balance.of(conn, dataset, analyst), per_query.delta, like, price)


def _valid_reason(reason: str) -> bool:
    return 1 <= len(reason) <= 1000 and reason.isprintable()


def _amount_invalid(why: str) -> RequestInvalid:
    return RequestInvalid(
        "amount-invalid",
        f"This budget cannot be granted: {why}.",
        hint="epsilon from 0 to 1000000, delta from 0 to below 1.",
    )
